"""`JukeboxModel.stream`: the song of `generate`, heard while it is written; no level runs ahead of what is heard."""

import pytest
import torch

from jukebox_hf import JukeboxModel
from jukebox_hf.model.sampling.jacobi import JacobiLoop
from jukebox_hf.model.songs.song_plan import plan_song

HOP, RATE, TOP_CODES = 128, 44100, 40
WORDS = {"lyrics": "a song of the first", "artist": "the testers", "genre": "soft rock", "seed": 5}
PIECE = 100 * 8 / RATE  # a hundred codes of the finest level


def _codes(state, song=0):
    return [codes[song] for codes in state.codes]


def _same(state, output, song=0):
    return all(map(torch.equal, _codes(state, song), (codes[song] for codes in output.codes)))


@pytest.fixture(scope="module")
def song(model, processor):
    """Of more than one window at every level."""
    return model.generate(processor(WORDS), max_new_tokens=TOP_CODES, return_codes=True)


@pytest.fixture(scope="module")
def pieces(model, processor):
    return list(model.stream(processor(WORDS), max_new_tokens=TOP_CODES, piece_seconds=PIECE))


def test_pieces_are_the_song_of_generate(pieces, song):
    assert [piece.start for piece in pieces] == list(range(0, TOP_CODES * HOP, 800))
    assert [piece.audio.shape[1] for piece in pieces[:-1]] == [800] * (len(pieces) - 1)
    assert _same(pieces[-1].state, song)
    heard = torch.cat([piece.audio for piece in pieces], dim=1)
    assert heard.shape == song.audio.shape
    assert (heard - song.audio).abs().max() < 1e-5 * song.audio.abs().max()


def test_no_level_is_written_further_than_the_sound_needs(model, pieces):
    plan = plan_song(model.config, TOP_CODES * HOP)
    top, middle, finest = plan.levels
    for piece in pieces[:-1]:
        codes = _codes(piece.state)
        assert piece.start // 8 + 100 <= len(codes[0]) < piece.start // 8 + 250, "and what its last sample depends on"
        needed = min(window.stop for window in finest.windows if window.stop >= len(codes[0])) // 4
        assert len(codes[1]) == needed, "what conditions the window"
        assert len(codes[2]) == min(window.stop for window in middle.windows if window.stop >= needed) // 4
    reached = [len(_codes(piece.state)[2]) for piece in pieces]
    assert reached[0] < top.windows[0].stop < reached[-1] == TOP_CODES, "the first is in the midst of a window"


def test_less_lookahead_is_heard_sooner_and_changes_the_ends_of_pieces_alone(model, processor, pieces):
    options = {"max_new_tokens": TOP_CODES, "piece_seconds": PIECE}
    sooner = list(model.stream(processor(WORDS), lookahead_seconds=4 * 8 / RATE, **options))
    assert [len(piece.state.codes[0][0]) for piece in sooner[:3]] == [104, 204, 304]
    assert len(pieces[0].state.codes[0][0]) > 104
    assert all(map(torch.equal, _codes(sooner[-1].state), _codes(pieces[-1].state))), "the song is the same"
    pairs = zip(sooner, pieces, strict=True)
    differs = torch.stack([(one.audio - other.audio)[0].abs() > 1e-5 for one, other in pairs][:-1])  # beyond rounding
    assert differs[:, -8:].any()
    assert not differs[:, :80].any()
    (most,) = {
        len(piece.state.codes[0][0]) for piece in model.stream(processor(WORDS), lookahead_seconds=9, seconds=0.1)
    }
    assert most == 0.1 * RATE // HOP * HOP // 8, "no further than the song"


def test_songs_are_streamed_side_by_side_on_from_what_is_known(model, processor, sound):
    words = [WORDS | {"prompt": sound(0.03)}, {"seed": 9, "prompt": sound(0.03, seed=1)}]
    inputs = processor(words)
    whole = model.generate(inputs, seconds=0.11, return_codes=True)
    *_, last = model.stream(inputs, seconds=0.11, chunk=5, backend="eager")
    assert all(_same(last.state, whole, song) for song in (0, 1))
    finer = model.generate(inputs, seconds=0.11, levels=[2], return_codes=True)
    *_, last = model.stream(processor([WORDS, {"seed": 9}]), levels=[1, 0], codes={2: finer.codes[2]})
    again = model.generate(processor([WORDS, {"seed": 9}]), levels=[1, 0], codes={2: finer.codes[2]}, return_codes=True)
    assert all(_same(last.state, again, song) for song in (0, 1))


def test_a_stream_of_many_codes_per_forward_is_the_same(model, processor, pieces, monkeypatch):
    """What a stretch found beyond a piece is not heard before its time."""
    advance, widths = JacobiLoop.advance, []
    monkeypatch.setattr(JacobiLoop, "advance", lambda *given: widths.append(given[1]) or advance(*given))
    options = {"max_new_tokens": TOP_CODES, "piece_seconds": PIECE, "jacobi": {2: 3, 1: 8, 0: 5}}
    found = list(model.stream(processor(WORDS), **options))
    assert set(widths) >= {3, 5, 8}
    for one, other in zip(found, pieces, strict=True):
        assert all(map(torch.equal, _codes(one.state), _codes(other.state)))
        assert torch.equal(one.audio, other.audio)


def test_a_hook_may_change_every_draw(model, processor):
    def only_code_seven(logits, level, position):
        wished = torch.full_like(logits, float("-inf"))
        wished[:, 7] = 0
        return wished

    *_, last = model.stream(processor(WORDS), None, only_code_seven, max_new_tokens=4)
    assert all((codes == 7).all() for codes in _codes(last.state))


def test_priors_are_let_go_when_the_song_ends_or_nobody_listens_any_more(repository, processor):
    model = JukeboxModel.from_pretrained(repository)
    for listener in (list, next):
        stream = model.stream(processor(WORDS), max_new_tokens=4)
        listener(stream)
        assert listener is list or model.loaded_levels == (0, 1, 2), "all take turns"
        stream.close()
        assert model.loaded_levels == ()


def test_priors_are_let_go_when_one_can_not_be_loaded(repository, processor, monkeypatch):
    model = JukeboxModel.from_pretrained(repository)
    load = model.lend

    def scarce(level):
        if level == 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return load(level)

    monkeypatch.setattr(model, "lend", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        next(model.stream(processor(WORDS), max_new_tokens=4))
    assert model.loaded_levels == ()


def test_a_piece_may_be_as_long_as_the_song(model, processor):
    (piece,) = model.stream(processor(WORDS), max_new_tokens=4, piece_seconds=1e308, lookahead_seconds=1e308)
    assert piece.audio.shape == (1, 4 * HOP)


@pytest.mark.parametrize(
    ("songs", "options", "message"),
    [
        ([WORDS], {"piece_seconds": 0}, "piece_seconds=0 must be a positive number of seconds"),
        ([WORDS], {"lookahead_seconds": -1}, "lookahead_seconds=-1 must be a number of seconds, 0 or more"),
        ([WORDS], {"parallel_windows": True}, "parallel_windows=True writes a level as a whole"),
        ([WORDS, WORDS], {"batch": 1}, "batch=1 is less than the 2 songs"),
        ([WORDS], {"return_codes": True}, "take the codes from the last piece's state"),
        ([{"seconds": 0.05}, {"seconds": 0.1}], {"max_new_tokens": None}, "the songs have 2 different lengths"),
        ([WORDS, WORDS, WORDS], {"batch": 2}, "batch=2 is less than the 3 songs"),
        ([WORDS], {"streamer": object()}, "streamer is of generate; stream gives a song's sound"),
        ([WORDS], {"offload": True}, "offload=True keeps one prior on the device"),
        ([WORDS], {"temperature": -1}, "temperature=-1 must be"),
    ],
)
def test_what_can_not_be_followed_is_refused_at_once(model, processor, songs, options, message):
    with pytest.raises(ValueError, match=message):
        model.stream(processor(songs), **{"max_new_tokens": 4, **options})


def test_songs_that_know_unequally_much_are_refused(model, processor, sound):
    songs = [WORDS | {"prompt": sound(0.03)}, WORDS]
    with pytest.raises(ValueError, match="the songs know 0, 10 codes of level 2"):
        model.stream(processor(songs), seconds=0.05)
    finished = model.generate(processor([WORDS, {"seed": 9}]), max_new_tokens=4, return_codes=True)
    codes = {level: own.clone() for level, own in enumerate(finished.codes)}
    codes[0][1, 20:] = -1
    with pytest.raises(ValueError, match="the songs know 20, 64 codes of level 0"):
        model.stream(processor([WORDS, {"seed": 9}]), codes=codes, seconds=6 * HOP / RATE)


def test_offloaded_priors_can_not_take_turns(repository, processor):
    model = JukeboxModel.from_pretrained(repository, offload=True)
    with pytest.raises(ValueError, match="offload=True keeps one prior on the device"):
        model.stream(processor(WORDS), max_new_tokens=4)
