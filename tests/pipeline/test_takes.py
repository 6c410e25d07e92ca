"""Takes: the top level several times, scored by the model itself, and the best refined; what they are is told."""

import dataclasses

import pytest
import torch

from jukebox_hf import JukeboxPipeline
from jukebox_hf.model.networks import free_memory
from jukebox_hf.model.songs.song_plan import level_windows
from jukebox_hf.model.takes import song_scores, takes
from jukebox_hf.model.takes.song_scores import SongScore, lyrics_followed, score_song
from jukebox_hf.model.takes.takes import ranks

WORDS = {"artist": "the testers", "genre": "soft rock"}


@pytest.fixture(scope="module")
def inputs(processor):
    return processor("Here I am, a song of words", **WORDS, seed=5)


@pytest.fixture(scope="module")
def plain(model, inputs):
    """The songs of seeds 5 to 8, each written without any takes."""
    return [model.generate(inputs, seconds=0.1, seed=seed, return_codes=True) for seed in range(5, 9)]


@pytest.fixture(scope="module")
def taken(model, inputs):
    return model.generate(inputs, seconds=0.1, takes=4, keep=2, return_codes=True)


def test_a_kept_take_is_the_song_of_its_seed(taken, plain):
    (takes_of_song,) = taken.takes
    assert [take.seed for take in takes_of_song] == [5, 6, 7, 8]
    best = sorted((take for take in takes_of_song if take.is_kept), key=lambda take: take.place)
    assert [take.place for take in best] == [1, 2]
    assert taken.seeds.tolist() == [take.seed for take in best], "best first"
    for row, take in enumerate(best):
        for level in range(3):
            assert torch.equal(taken.codes[level][row], plain[take.seed - 5].codes[level][0])
        assert torch.equal(taken.audio[row], plain[take.seed - 5].audio[0])


def test_the_scores_are_those_of_the_songs_and_decide_what_is_kept(taken, plain, model, inputs):
    scores = [model.score(inputs, song.codes)[0] for song in plain]
    for take, score in zip(taken.takes[0], scores, strict=True):
        assert dataclasses.astuple(take.score) == pytest.approx(dataclasses.astuple(score), abs=1e-4)
    bits = [score.own for score in scores]
    assert len(set(bits)) == 4
    assert [take.place for take in taken.takes[0]] == [sorted(bits).index(one) + 1 for one in bits]


def test_what_artist_and_genre_save_can_choose(model, inputs, plain):
    scores = [model.score(inputs, song.codes)[0] for song in plain]
    saved = [score.unknown - score.own for score in scores]
    assert [score.self_score for score in scores] == saved
    found = model.generate(inputs, seconds=0.1, takes=4, levels=[2], choose_by="self")
    assert [take.place for take in found.takes[0]] == [sorted(saved, reverse=True).index(one) + 1 for one in saved]


def test_only_what_is_kept_is_refined(model, inputs, monkeypatch):
    rows = []
    own = takes.sample_songs

    def counted(*given, **more):
        for written in own(*given, **more):
            rows.append((written.level, written.state.num_songs))
            yield written

    monkeypatch.setattr(takes, "sample_songs", counted)
    monkeypatch.setattr("jukebox_hf.model.modeling_jukebox.sample_songs", counted)
    model.generate(inputs, seconds=0.1, takes=4, keep=1)
    assert {songs for level, songs in rows if level == 2} == {4}
    assert {songs for level, songs in rows if level < 2} == {1}


def test_songs_of_a_batch_have_their_own_takes(model, processor):
    inputs = processor(["Here I am", "There you are, far away"], **WORDS, seed=5)
    found = model.generate(inputs, seconds=0.1, takes=2, levels=[2], return_codes=True)
    assert [[take.seed for take in own] for own in found.takes] == [[5, 6], [6, 7]], (
        "those of a song do not depend on its neighbours"
    )
    both = model.generate(inputs, seconds=0.02, takes=2, keep=2, levels=[2])
    best_first = [sorted(own, key=lambda take: take.place) for own in both.takes]
    assert both.seeds.tolist() == [take.seed for own in best_first for take in own], "song by song"
    for song, words in enumerate(["Here I am", "There you are, far away"]):
        (best,) = (take for take in found.takes[song] if take.place == 1)
        alone = model.generate(processor(words, **WORDS, seed=best.seed), seconds=0.1, levels=[2], return_codes=True)
        assert torch.equal(alone.codes[2][0], found.codes[2][song])
        assert int(found.seeds[song]) == best.seed


def test_takes_go_on_from_a_prompt_and_from_codes(model, inputs, plain):
    start = {2: plain[0].codes[2][:, :3]}
    found = model.generate(inputs, codes=start, seconds=0.1, takes=3, levels=[2], return_codes=True)
    assert torch.equal(found.codes[2][0, :3], start[2][0])
    assert len({take.score.own for take in found.takes[0]}) > 1


def test_lyrics_choose_and_are_timed_where_a_head_follows_them(model, inputs):
    found = model.generate(
        inputs, seconds=0.1, takes=3, levels=[2], choose_by="lyrics", return_alignment=True, return_codes=True
    )
    scores = [take.score for take in found.takes[0]]
    assert len({score.words for score in scores}) == 1
    best = max(scores, key=lambda score: (score.lyric_score, score.confidence))
    assert next(take.score for take in found.takes[0] if take.place == 1) == best
    (alone,) = model.align(inputs, {2: found.codes[2]})
    assert alone.attention.shape == found.alignment[0].attention.shape


def test_the_pipeline_gives_the_best_take_and_tells_of_all(model, processor, taken):
    pipe = JukeboxPipeline(model, processor=processor)
    song = pipe("Here I am, a song of words", **WORDS, seed=5, seconds=0.1, takes=4, return_codes=True)
    assert song["seed"] == int(taken.seeds[0])
    assert (song["audio"] == taken.audio[0].numpy()).all()
    assert song["takes"] == [take.to_dict() | {"kept": take.place == 1} for take in taken.takes[0]]
    with pytest.raises(ValueError, match="keep=2, but a pipeline gives one song"):
        pipe("la", takes=4, keep=2)


def test_a_model_may_have_takes_as_its_habit(model, inputs, taken, tmp_path, monkeypatch):
    from transformers import GenerationConfig

    own = model.generation_config
    GenerationConfig(**{**own.to_diff_dict(), "takes": 4, "keep": 2}).save_pretrained(tmp_path)
    monkeypatch.setattr(model, "generation_config", GenerationConfig.from_pretrained(tmp_path))
    assert torch.equal(model.generate(inputs, seconds=0.1).audio, taken.audio)


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"takes": 0}, "takes=0 must be a whole number of takes from 1 to 100"),
        ({"takes": 101}, "takes=101 must be"),
        ({"takes": 2.5}, "takes=2.5 must be"),
        ({"takes": True}, "takes=True must be"),
        ({"takes": 2, "keep": 3}, "keep=3 must be a whole number from 1 to the number of takes, 2"),
        ({"keep": 2}, "keep=2 must be a whole number from 1 to the number of takes, 1"),
        ({"choose_by": "lyrics"}, "choose_by='lyrics' says how takes are chosen, but there is one; say takes=8"),
        ({"takes": 2, "choose_by": "ear"}, "choose_by='ear' is no rule .* use likelihood or self or lyrics"),
        ({"takes": 2, "num_return_sequences": 2}, "takes=2 and num_return_sequences=2 exclude each other"),
        ({"takes": 2, "levels": [1, 0]}, "takes=2 are of the top level, 2, but levels=.1, 0. do not write it"),
    ],
)
def test_takes_that_cannot_be_chosen_are_refused_before_the_first_code(model, inputs, plain, said, parts, monkeypatch):
    monkeypatch.setattr(type(model), "lend", None)
    codes = plain[0].codes if "levels" in said else None
    if codes is not None:
        codes = {2: codes[2]}
    with pytest.raises(ValueError, match=parts):
        model.generate(inputs, codes=codes, seconds=0.1, **said)


def test_labels_choose_only_where_there_are_some(model, processor):
    with pytest.raises(ValueError, match=r"choose_by='self' asks what artist and genre save, but song .0. has none"):
        model.generate(processor("la"), seconds=0.1, takes=2, choose_by="self")


def test_no_song_and_the_whole_of_what_generate_gave_are_refused(model, inputs, plain):
    with pytest.raises(ValueError, match="the inputs hold no song; give at least one"):
        model.generate({name: value[:0] for name, value in inputs.items()}, seconds=0.1)
    with pytest.raises(ValueError, match=r"^codes=JukeboxGenerateOutput is all that generate gave; give its \.codes"):
        model.generate(inputs, codes=plain[0], seconds=0.1)


def test_lyrics_choose_only_where_there_are_some_and_a_head_follows_them(model, processor, monkeypatch):
    with pytest.raises(ValueError, match=r"choose_by='lyrics' needs lyrics, but song .0. has none"):
        model.generate(processor("", **WORDS), seconds=0.1, takes=2, choose_by="lyrics")
    monkeypatch.setattr(model.config.prior_configs[2], "alignment_layer", None)
    with pytest.raises(ValueError, match="choose_by='lyrics' needs alignment_layer and alignment_head"):
        model.generate(processor("la", **WORDS), seconds=0.1, takes=2, choose_by="lyrics")


def test_takes_that_do_not_fit_into_memory_are_refused_with_how_many_do(model, inputs, monkeypatch):
    row = takes.bytes_per_row(model.config.prior_configs[-1], "float32")
    monkeypatch.setattr(takes, "free_bytes", lambda device: 3 * row)
    with pytest.raises(ValueError, match=r"takes=4 needs .* GB to write 4 rows side by side.*say batch=3"):
        model.generate(inputs, seconds=0.1, takes=4, levels=[2])
    assert free_memory.free_bytes(torch.device("cpu")) > 0
    found = model.generate(inputs, seconds=0.1, takes=4, levels=[2], batch=3)
    assert len(found.takes[0]) == 4


def test_takes_are_not_streamed(model, inputs):
    with pytest.raises(ValueError, match="takes cannot be streamed"):
        model.stream(inputs, seconds=0.1, takes=2)


# --- scores ---


def test_a_score_tells_bits_under_each_of_the_words(model, inputs, plain, processor):
    (score,) = model.score(inputs, plain[0].codes)
    assert (score.level, score.codes) == (2, 34)
    nameless = processor("Here I am, a song of words")
    wordless = processor("", **WORDS)
    assert model.score(nameless, plain[0].codes)[0].own == pytest.approx(score.unknown, abs=1e-5)
    assert model.score(wordless, plain[0].codes)[0].own == pytest.approx(score.without_lyrics, abs=1e-5)
    told = score.to_dict()
    assert told["self_score"] == round(score.unknown - score.own, 4)
    assert told["lyric_score"] == round(score.words_reached / score.words * score.order, 4)
    (mute,) = model.score(wordless, plain[0].codes)
    assert (mute.words, mute.without_lyrics, mute.lyric_score) == (None, None, 0.0)
    assert "lyric_score" not in mute.to_dict()


@pytest.mark.parametrize("level", [0, 1])
def test_finer_levels_are_scored_by_their_own_prior(model, inputs, plain, level):
    (score,) = model.score(inputs, plain[0].codes, level=level)
    assert (score.level, score.codes) == (level, plain[0].codes[level].shape[1])
    assert 0 < score.own < 20
    with pytest.raises(ValueError, match=f"level {level} refines level {level + 1}, of which"):
        model.score(inputs, {level: plain[0].codes[level]}, level=level)


def test_what_cannot_be_scored_is_refused(model, inputs, plain):
    with pytest.raises(ValueError, match="level=3"):
        model.score(inputs, plain[0].codes, level=3)
    with pytest.raises(ValueError, match="codes of level 2 are missing"):
        model.score(inputs, {1: plain[0].codes[1]})


def test_lyrics_in_order_reach_every_word_and_backwards_none_in_order(model, processor, inputs, plain, monkeypatch):
    """Attention made by hand: a diagonal, its mirror image, and one that stays at the beginning."""
    (_, labels, _), *_ = song_scores.labelled_codes(model.config, inputs, {2: plain[0].codes[2]}, 2)
    count, rows = len(labels.lyrics.ids), 4 * len(labels.lyrics.ids)
    diagonal = torch.zeros(rows, count)
    for row in range(rows):
        diagonal[row, min(row // 4 + 1, count - 1)] = 0.9  # attention to the position that has read the character

    def told(attention):
        prior = model.prior(2)
        found = song_scores.align_song(prior, plain[0].codes[2][0], labels, windows=level_windows(prior.config, 34))
        seen = torch.zeros(count, dtype=torch.bool)
        columns = attention[:, 1:].amax(dim=0) > 0.5
        seen[: len(columns)] = columns
        found = dataclasses.replace(found, attention=attention.numpy(), is_seen=seen.numpy())
        found = dataclasses.replace(found, is_read=torch.ones(count, dtype=torch.bool).numpy())
        return lyrics_followed(found, labels)

    straight, backwards = told(diagonal), told(diagonal.flip(0))
    assert (straight["words"], straight["words_reached"], straight["order"]) == (7, 7, 1.0)
    assert (backwards["words_reached"], backwards["order"]) == (7, 0.0)
    half = diagonal.clone()
    half[rows // 2 :] = 0
    assert 2 <= told(half)["words_reached"] <= 4
    assert isinstance(straight["confidence"], float)


def test_a_score_of_a_stretch_is_of_its_codes_alone(model, inputs, plain):
    (own, labels, _), *_ = song_scores.labelled_codes(model.config, inputs, {2: plain[0].codes[2]}, 2)
    assert score_song(model.prior(2), own, labels, start=10, stop=15).codes == 5


def test_of_equal_takes_the_earlier_comes_first():
    scores = [SongScore(2, 10, 3.0, unknown=3.0 + saved) for saved in (0.5, 1.0, 0.5, 2.0)]
    assert ranks(scores, "self") == [2, 1, 3, 0]
    assert ranks([SongScore(2, 10, bits) for bits in (3.0, 2.0, 4.0, 2.0)], "likelihood") == [2, 0, 3, 1]
    assert ranks([SongScore(2, 10, 3.0)] * 3, "lyrics") == [0, 1, 2]
    followed = [SongScore(2, 10, 3.0, words=2, words_reached=1, order=1.0, confidence=sure) for sure in (1.0, 3.0, 2.0)]
    assert ranks(followed, "lyrics") == [2, 0, 1], "by how clearly, where as many words are reached"
