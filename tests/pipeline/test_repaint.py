"""Repaint: a stretch is sung again, what follows chooses the take, and everything else stays bit for bit."""

import itertools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from jukebox_hf import JukeboxPipeline, SamplingSettings, sample_window
from jukebox_hf.model.inputs.labels import window_inputs
from jukebox_hf.model.sampling.sampling_ops import uniforms
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.takes import repaint, takes

WORDS = {"artist": "the testers", "genre": "soft rock"}
HOP, RATE, RATIOS = 128, 44100, (16, 4, 1)  # codes of each level for one of the top
START, STOP = 30, 38  # codes of the top level
STRETCH = (START * HOP / RATE, STOP * HOP / RATE)
HOT = {"temperature": 3.0}  # the network is sure of itself, and would sing the same again


@pytest.fixture(scope="module")
def inputs(processor):
    return processor("Here I am, a song of words", **WORDS, seed=40)


@pytest.fixture(scope="module")
def older(model, inputs):
    """A song of 64 codes at the top: several windows on every level."""
    return model.generate(inputs, seconds=64 * HOP / RATE, return_codes=True, seed=5, **HOT)


@pytest.fixture(scope="module")
def again(model, inputs, older):
    return model.repaint(inputs, older.codes, STRETCH, takes=5, return_codes=True, **HOT)


def _outside(codes, span):
    start, stop = span
    return torch.cat([codes[0, :start], codes[0, stop:]])


def test_outside_of_the_stretch_and_its_mended_seams_every_code_stays(older, again, model):
    told = again.repaint[0]
    assert (told.start_second, told.stop_second) == pytest.approx(STRETCH)
    assert told.changed[2] == (START, STOP)
    windows = [prior.context_length for prior in model.config.prior_configs]
    assert told.changed[1] == (START * 4, STOP * 4 + windows[1] // 8)
    assert told.changed[0] == (START * 16, told.changed[1][1] * 4 + windows[0] // 8)
    for level in range(3):
        one, other = older.codes[level], again.codes[level]
        assert one.shape == other.shape
        assert torch.equal(_outside(one, told.changed[level]), _outside(other, told.changed[level]))
        start, _ = told.changed[level]
        inside = slice(start, STOP * RATIOS[level])
        assert not torch.equal(one[0, inside], other[0, inside]), "the stretch is sung again"


def test_the_audio_is_the_same_beyond_the_reach_of_the_decoder(older, again):
    first, last = (round(second * RATE) for second in again.repaint[0].changed_seconds)
    assert 0 < first < START * HOP
    assert STOP * HOP < last < older.audio.shape[1]
    assert torch.equal(older.audio[0, :first], again.audio[0, :first])
    assert torch.equal(older.audio[0, last:], again.audio[0, last:])
    assert not torch.equal(older.audio[0, first:last], again.audio[0, first:last])


def test_the_take_that_makes_what_follows_likeliest_is_kept(model, inputs, older, again):
    """Computed once more from `forward`, for each take as a song of its own."""
    told, songs = again.repaint[0], []
    assert told.chosen_by == "following"
    assert [take.seed for take in told.takes] == [40, 41, 42, 43, 44]
    for take in told.takes:
        alone = model.repaint(inputs, older.codes, STRETCH, seed=take.seed, return_codes=True, **HOT)
        songs.append(alone.codes[2])
        if take.is_kept:
            assert all(torch.equal(one, other) for one, other in zip(alone.codes, again.codes, strict=True))
            assert again.seeds.tolist() == [take.seed]
    prior = model.prior(2)
    length = prior.config.context_length
    start = STOP - length // 2
    (labels,) = (rows[0] for rows in [repaint_labels(model, inputs, older)])
    row = labels.window_row(start * HOP).tolist()
    given = {
        "artist_ids": torch.tensor([row[3]]),
        "genre_ids": torch.tensor([row[4 : 4 + prior.config.max_genres]]),
        "timing": torch.tensor([row[:3]]),
        "lyric_ids": torch.tensor([row[-prior.config.lyric_length :]]),
    }

    def bits(codes):
        window = codes[:, start : start + length]
        logits = prior(window, **given).logits[0, prior.config.prefix_length :].double()
        losses = F.cross_entropy(logits, window[0] + prior.config.code_offset, reduction="none")
        return float(losses[STOP - start :].mean()) / 0.6931471805599453

    with torch.no_grad():
        values = [bits(codes) for codes in songs]
        assert [take.value for take in told.takes] == pytest.approx(values, abs=1e-4)
        assert told.older == pytest.approx(bits(older.codes[2]), abs=1e-4)
    assert told.codes == length - length // 2
    best = min(told.takes, key=lambda take: take.value)
    assert best.is_kept
    assert best.place == 1
    assert sum(take.is_kept for take in told.takes) == 1
    assert len(set(values)) > 2


def repaint_labels(model, inputs, older):
    _, labels, _ = repaint_codes(model.config, inputs, older)
    return [labels]


def repaint_codes(config, inputs, older):
    from jukebox_hf.model.alignment.batch_alignment import labelled_codes

    return labelled_codes(config, inputs, {2: older.codes[2]}, 2)[0]


def test_with_its_own_seed_and_words_a_stretch_is_sung_as_it_was(model, inputs, older):
    """It is written in the windows, with the numbers and from the codes of the song itself."""
    same = model.repaint(inputs, older.codes, STRETCH, seed=5, return_codes=True, **HOT)
    for one, other in zip(older.codes, same.codes, strict=True):
        assert torch.equal(one, other)


def test_finer_levels_are_written_from_the_new_codes_above(model, inputs, older, again):
    """As an upsampler would that was given the new top and all before the stretch: the plain twin."""
    kept = next(take.seed for take in again.repaint[0].takes if take.is_kept)
    known = {2: again.codes[2], 1: older.codes[1][:, : START * 4]}
    seconds = 64 * HOP / RATE
    plain = model.generate(inputs, codes=known, levels=[1], seconds=seconds, seed=kept, return_codes=True, **HOT)
    stop = again.repaint[0].changed[1][1]
    assert torch.equal(plain.codes[1][0, :stop], again.codes[1][0, :stop])


@pytest.fixture(scope="module")
def side_by_side(model, inputs):
    """A song whose finer levels were written in windows side by side."""
    return model.generate(inputs, seconds=0.15, parallel_windows=True, return_codes=True, seed=5, **HOT)


@pytest.mark.parametrize(("codes", "again_so"), [((9, 30), True), ((33, 42), False), ((44, 51), True)])
def test_of_a_song_of_windows_side_by_side_all_else_stays_too(model, inputs, side_by_side, codes, again_so):
    """Wherever the stretch begins in its windows, and however it is sung again; even with its own seed."""
    older, stretch = side_by_side, tuple(code * HOP / RATE for code in codes)
    for seed in (5, 40):
        how = {"seed": seed, "parallel_windows": again_so, "return_codes": True, **HOT}
        found = model.repaint(inputs, older.codes, stretch, **how)
        told = found.repaint[0]
        for level in range(3):
            assert torch.equal(_outside(older.codes[level], told.changed[level]),
                               _outside(found.codes[level], told.changed[level]))  # fmt: skip
        assert torch.equal(older.codes[2], found.codes[2]) == (seed == 5)
        first, last = (round(second * RATE) for second in told.changed_seconds)
        assert torch.equal(older.audio[0, :first], found.audio[0, :first])
        assert torch.equal(older.audio[0, last:], found.audio[0, last:])


@pytest.mark.parametrize("batch", [None, 2])
def test_windows_side_by_side_keep_what_is_outside_too(model, inputs, older, batch):
    how = {"parallel_windows": True, "batch": batch, "takes": 3, "return_codes": True, **HOT}
    found = model.repaint(inputs, older.codes, (0.02, 0.15), **how)
    for level in range(3):
        span = found.repaint[0].changed[level]
        assert torch.equal(_outside(older.codes[level], span), _outside(found.codes[level], span))
    other = model.repaint(inputs, older.codes, (0.02, 0.15), **how | {"batch": 1})
    assert all(torch.equal(one, two) for one, two in zip(found.codes, other.codes, strict=True))
    plain = model.repaint(inputs, older.codes, (0.02, 0.15), takes=3, return_codes=True, **HOT)
    assert torch.equal(plain.codes[2], found.codes[2])
    assert not torch.equal(plain.codes[0], found.codes[0])


def test_side_by_side_every_seam_inside_is_mended(model, inputs, older, monkeypatch):
    own, seams = repaint.LevelSampler.seams, []

    def counted(self, state, rows):
        found = own(self, state, rows)
        seams.append((self.plan.level, [row.window.start for row in rows if row.window.start > 0], found))
        return found

    monkeypatch.setattr(repaint.LevelSampler, "seams", counted)
    found = model.repaint(inputs, older.codes, (0.02, 0.15), parallel_windows=True, return_codes=True, **HOT)
    for level, starts, mended in seams:
        if level < 2:
            inside = [start for start in starts if start >= found.repaint[0].changed[level][0]]
            assert len(mended) >= len(inside) > 0


def test_at_the_end_of_a_song_the_likeliest_take_is_kept(model, inputs, older):
    end = 64 * HOP / RATE
    found = model.repaint(inputs, older.codes, (50 * HOP / RATE, end), takes=3, return_codes=True, **HOT)
    assert found.repaint[0].chosen_by == "stretch"
    assert found.repaint[0].codes == 14
    assert [found.repaint[0].changed[level] for level in (2, 1, 0)] == [(50, 64), (200, 256), (800, 1024)]
    best = min(found.repaint[0].takes, key=lambda take: take.value)
    assert best.is_kept
    score = takes.score_song(model.prior(2), found.codes[2][0], repaint_labels(model, inputs, older)[0], start=50)
    assert best.value == pytest.approx(score.own, abs=1e-4)


def test_a_sketch_can_be_sung_again_and_one_take_is_enough(model, inputs, older):
    sketch = {2: older.codes[2]}
    found = model.repaint(inputs, sketch, STRETCH, return_codes=True, **HOT)
    assert list(found.repaint[0].changed) == [2]
    assert len(found.repaint[0].takes) == 1
    assert torch.equal(_outside(older.codes[2], (START, STOP)), _outside(found.codes[2], (START, STOP)))
    state = SongState(tuple((older.codes[level][0],) for level in range(3)), (5,))
    same = model.repaint(inputs, state, STRETCH, return_codes=True, **HOT)
    assert torch.equal(same.codes[2], found.codes[2]), "a state's own seed would sing the same again"


def test_several_songs_come_out_as_each_alone(model, processor, older, side_by_side, monkeypatch):
    """Of two lengths, with a stretch and words for each; every prior is loaded once."""
    texts = ["Here I am, a song of words", {"lyrics": "None of that", "artist": "quiet ones", "genre": "country"}]
    inputs = processor(texts, **WORDS, seed=40)
    stretches, how = [STRETCH, (0.05, 0.06)], {"takes": 2, "return_codes": True, "return_alignment": True, **HOT}
    songs = [older, side_by_side]
    both = {level: pad_sequence([song.codes[level][0] for song in songs], True, -1) for level in (1, 2)}
    lent, own = [], type(model).lend
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "lend", lambda self, level, *how: lent.append(level) or own(self, level, *how))
        found = model.repaint(inputs, both, stretches, **how)
    assert [level for level, _ in itertools.groupby(lent)] == [2, 1, 2], "the last is asked for the alignment"
    for song, (text, stretch) in enumerate(zip(texts, stretches, strict=True)):
        own = {level: songs[song].codes[level] for level in (1, 2)}
        alone = model.repaint(processor(text, **WORDS, seed=40 + song), own, stretch, **how)
        assert found.repaint[song] == alone.repaint[0]
        assert found.seeds[song] == alone.seeds[0]
        assert (found.alignment[song].attention == alone.alignment[0].attention).all()
        length = int(found.audio_lengths[song])
        assert torch.equal(found.audio[song, :length], alone.audio[0])
        for level in own:
            codes = found.codes[level][song]
            assert torch.equal(codes[codes >= 0], alone.codes[level][0])
    assert found.repaint[0].changed != found.repaint[1].changed
    nothing = torch.zeros(0, dtype=torch.long)
    codes = [tuple(song.codes[level][0] if level == 2 else nothing for song in songs) for level in range(3)]
    same = model.repaint(inputs, SongState(tuple(codes), (1, 2)), STRETCH, takes=2, **HOT)
    assert [told.changed for told in same.repaint] == [{2: (START, STOP)}] * 2, "one stretch is that of all"
    assert same.repaint[0].takes == found.repaint[0].takes, "a state's own seeds would sing the same again"


def test_a_stretch_is_sung_with_an_earlier_one_in_sight(model, inputs, older):
    """The first window of the stretch reads what is recalled in place of the oldest codes it knows: the plain twin."""
    sketch, how = {2: older.codes[2]}, {"return_codes": True, "seed": 9, **HOT}
    start, end = 9, 9 + model.config.prior_configs[2].context_length  # of the first window that adds to the stretch
    stretch, recall = (START * HOP / RATE, 50 * HOP / RATE), (0, 12 * HOP / RATE)
    found = model.repaint(inputs, sketch, stretch, recall=recall, **how).codes[2][0]
    plain = model.repaint(inputs, sketch, stretch, **how).codes[2][0]
    later = model.repaint(inputs, sketch, stretch, recall=(*recall, 40 * HOP / RATE), **how).codes[2][0]
    assert not torch.equal(found, plain)
    assert torch.equal(found[:START], older.codes[2][0, :START])
    assert torch.equal(found[50:], older.codes[2][0, 50:])
    assert torch.equal(later[:40], plain[:40])
    prior, (labels,) = model.prior(2), repaint_labels(model, inputs, older)
    words = window_inputs([labels], start * HOP)
    read = torch.cat([older.codes[2][:, :12], older.codes[2][:, start + 12 : START]], dim=1)
    codes = sample_window(
        prior,
        prior.sequence(read, words.get("lyric_ids")),
        prior.condition(**words),
        end - start,
        uniforms=uniforms([9], 2, start, end),
        settings=SamplingSettings(HOT["temperature"]),
    ).codes
    assert torch.equal(codes[0, START - start :], found[START:end])


def test_a_recalled_song_is_sung_as_it_was_under_the_same_recall(model, inputs):
    how = {"recall": (0, 6 * HOP / RATE), "return_codes": True, "seed": 5, "levels": [2], **HOT}
    older = model.generate(inputs, seconds=64 * HOP / RATE, **how)
    how.pop("levels")
    assert torch.equal(model.repaint(inputs, {2: older.codes[2]}, STRETCH, **how).codes[2], older.codes[2])
    how.pop("recall")
    assert not torch.equal(model.repaint(inputs, {2: older.codes[2]}, STRETCH, **how).codes[2], older.codes[2])


def test_no_window_is_read_in_which_nothing_is_left_to_write(model, inputs, older, monkeypatch):
    own, written = repaint.LevelSampler.write, []

    def write(self, state, rows, *watched, **more):
        written.extend(row for row in rows if len(row.known) >= row.stop)
        return own(self, state, rows, *watched, **more)

    monkeypatch.setattr(repaint.LevelSampler, "write", write)
    model.repaint(inputs, older.codes, STRETCH, **HOT)
    assert written == []


def test_other_words_sing_another_stretch(model, inputs, older, processor):
    one, other = (
        model.repaint(given, {2: older.codes[2]}, STRETCH, seed=9, return_codes=True, **HOT)
        for given in (inputs, processor("None of that, but something else", artist="quiet ones", genre="country"))
    )
    assert not torch.equal(one.codes[2], other.codes[2])


def test_the_pipeline_sings_a_stretch_again(model, processor, older, again):
    pipe = JukeboxPipeline(model, processor=processor)
    codes = [level[0].numpy() for level in older.codes]
    song = pipe(
        "Here I am, a song of words", **WORDS, seed=40, codes=codes, repaint=STRETCH, takes=5, return_codes=True, **HOT
    )
    assert (song["audio"] == again.audio[0].numpy()).all()
    assert song["repaint"] == again.repaint[0].to_dict()
    for one, other in zip(song["codes"], again.codes, strict=True):
        assert (one == other[0].numpy()).all()
    both = {"codes": {2: older.codes[2].repeat(2, 1)}, "repaint": [STRETCH, (0.1, 0.11)], "batch_size": 2, **HOT}
    songs = pipe(["Here I am, a song of words"] * 2, **WORDS, seed=40, recall=(0, 0.01), takes=2, **both)
    assert [one["repaint"]["changed_codes"]["2"] for one in songs] == [[START, STOP], [34, 38]]
    with pytest.raises(ValueError, match="seconds=3 means nothing where a stretch is sung again"):
        pipe("Here I am", **WORDS, codes=codes, repaint=STRETCH, seconds=3)


def test_a_length_that_is_not_that_of_the_song_is_refused_whoever_says_it(
    model, inputs, processor, older, again, monkeypatch
):
    said = {"lyrics": "Here I am, a song of words", **WORDS, "seed": 40, "seconds": 64.5 * HOP / RATE}
    same = model.repaint(processor(said), older.codes, STRETCH, takes=5, return_codes=True, **HOT)
    assert all(torch.equal(one, other) for one, other in zip(same.codes, again.codes, strict=True))
    monkeypatch.setattr(type(model), "lend", None)
    codes = [level[0].numpy() for level in older.codes]
    told = r"seconds=3 is not the length of the song, a stretch of which is sung again \(0.18576 s\); leave it out"
    for sing in (
        lambda: JukeboxPipeline(model, processor=processor, seconds=3)("a", codes=codes, repaint=STRETCH),
        lambda: JukeboxPipeline(model, processor=processor)(
            {"lyrics": "a", "seconds": 3}, codes=codes, repaint=STRETCH
        ),
        lambda: model.repaint(processor("a", seconds=3), older.codes, STRETCH),
    ):
        with pytest.raises(ValueError, match=told):
            sing()


@pytest.mark.parametrize(
    ("stretch", "said", "message"),
    [
        ((0.1, 0.19), {}, r"the stretch from 0.1 to 0.19 s lies outside the song, which has 0.1858 s"),
        ((-0.1, 0.1), {}, r"lies outside the song"),
        ((0.05, 0.05), {}, r"is empty"),
        ((0.06, 0.05), {}, r"is empty"),
        ((0.05, 0.052), {}, r"is shorter than one code of the top level \(0.0029 s\)"),
        ((0.05, "x"), {}, r"must be two numbers of seconds"),
        ((0.05, float("nan")), {}, r"must be two numbers of seconds"),
        (0.05, {}, r"stretch=0.05 must be two numbers"),
        (None, {}, r"stretch=None must be two numbers"),
        (STRETCH, {"takes": 0}, r"takes=0 must be a whole number of takes"),
        (STRETCH, {"seconds": 3}, r"seconds=3 means nothing where a stretch is sung again"),
        (STRETCH, {"levels": [2]}, r"levels=\[2\] means nothing"),
        (STRETCH, {"recall": (0.1, 0.11)}, r"recall is read by none of the windows in which the stretch is sung"),
        ((0, 0.05), {"recall": (0, 0.01)}, r"recall is read by none of the windows in which the stretch is sung"),
        (STRETCH, {"recall": (0.01, 0.01)}, r"recall=\(0.01, 0.01\) ends before it begins"),
        (STRETCH, {"recall": (0, 0.08)}, r"recall of 27 codes is longer than the 18 that a window has room for"),
        ([STRETCH, STRETCH], {}, r"has a beginning and an end for 2 songs, but 1 are given"),
        (STRETCH, {"temperature": -1}, r"temperature=-1 must be 0"),
        (STRETCH, {"nonsense": 1}, r"unknown argument nonsense"),
    ],
)
def test_what_cannot_be_sung_again_is_refused_before_the_first_code(
    model, inputs, older, monkeypatch, stretch, said, message
):
    monkeypatch.setattr(type(model), "lend", None)
    with pytest.raises(ValueError, match=message):
        model.repaint(inputs, older.codes, stretch, **said)


def test_songs_that_are_not_there_are_refused(model, inputs, older, processor, monkeypatch):
    monkeypatch.setattr(type(model), "lend", None)
    for codes, message in (
        (None, "codes of level 2 are missing"),
        (SongState(((), (), ()), ()), "codes hold no songs"),
        ({1: older.codes[1]}, "codes of level 2 are missing"),
        ({2: older.codes[2], 1: older.codes[1][:, :100]}, "level 1 of the song has 100 codes of 256"),
        ({2: older.codes[2], 0: older.codes[0]}, "level 1 of the song has 0 codes of 256"),
        (
            [level.repeat(2, 1) for level in older.codes],
            r"codes of level 0 must be integers \(1, T\), one row per song",
        ),
        (
            {2: older.codes[2].repeat(2, 1), 1: torch.stack([older.codes[1][0], older.codes[1][0] * 0 - 1])},
            "level 1 of the song 1 has 0 codes of 256",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            model.repaint({} if "song 1" in message else inputs, codes, STRETCH)


def test_takes_that_do_not_fit_into_memory_are_refused(model, inputs, older, monkeypatch):
    row = takes.bytes_per_row(model.config.prior_configs[-1], "float32")
    monkeypatch.setattr(takes, "free_bytes", lambda device: 3 * row)
    with pytest.raises(ValueError, match=r"takes=4 needs .* GB to write 4 rows side by side.*say batch=3"):
        model.repaint(inputs, older.codes, STRETCH, takes=4)


@pytest.mark.parametrize(("code", "total", "window"), [(10, 64, (0, 24)), (30, 64, (18, 42)), (60, 64, (40, 64))])
def test_what_follows_is_read_in_a_window_around_the_end(code, total, window):
    found = repaint.window_around(code, total, 24)
    assert (found.start, found.stop) == window
    assert repaint.window_around(code, 20, 24).length == 20


@pytest.mark.parametrize(
    ("start", "stop", "codes"),
    [
        (0, 0.5, (0, 4)),
        (0.06, 0.44, (0, 4)),
        (0.07, 0.3, (1, 2)),
        (0.45, 0.9, (4, 7)),
        (0.84, 1.06, (7, 8)),
        (0.84, 1.1, (7, 8)),
        (0.96, 1.1, (7, 8)),
    ],
)
def test_the_ends_of_a_stretch_are_moved_to_the_nearest_codes(start, stop, codes):
    sizes = SimpleNamespace(hop_lengths=(2, 16))
    config = SimpleNamespace(vqvae_config=sizes, prior_configs=(0, 0), sampling_rate=128)  # a code is an eighth
    found = repaint.snap(config, 8, start, stop)
    assert (found.start, found.stop) == codes
