"""Lyrics in time from `generate`, `align` and the pipeline."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from jukebox_hf import JukeboxModel
from jukebox_hf.model.alignment.alignment_times import TimedLyrics

LYRICS = "[Verse]\nRow, row, row\nyour boat"
SECOND = 128 / 44100  # of one code


@pytest.fixture(scope="module")
def pipe(model, processor):
    return pipeline("text-to-audio", model=model, processor=processor, device="cpu")


def same_alignment(one, other):
    return np.array_equal(one.attention, other.attention) and one.starts.tolist() == other.starts.tolist()


def test_generate_aligns_when_asked_and_only_then(model, processor):
    inputs = processor([LYRICS, "another song"], artist="the testers", seed=1)
    output = model.generate(inputs, max_new_tokens=30, levels=[2], return_alignment=True, return_codes=True)
    assert [song.attention.shape for song in output.alignment] == [(30, 23), (30, 12)]
    assert all(song.seconds == pytest.approx(30 * SECOND) for song in output.alignment)
    assert (output.alignment[0].layer, output.alignment[0].head) == (31, 1)
    again = model.align(inputs, output.codes)
    assert all(same_alignment(*pair) for pair in zip(output.alignment, again, strict=True))
    assert not np.array_equal(again[0].attention[:, :12], again[1].attention)
    plain = model.generate(inputs, max_new_tokens=30, levels=[2], return_codes=True)
    assert plain.alignment is None
    assert torch.equal(plain.codes[2], output.codes[2])


def test_songs_of_different_lengths_keep_their_own_alignment(model, processor):
    inputs = processor([{"lyrics": LYRICS, "seconds": 0.1}, {"lyrics": "abc", "seconds": 0.05}], seed=1)
    found = model.generate(inputs, levels=[2], return_alignment=True).alignment
    assert [song.attention.shape for song in found] == [(34, 23), (17, 3)]


def test_no_word_is_timed_before_the_second_at_which_lyrics_begin(model, processor):
    said = {"artist": "the testers", "seed": 1, "seconds": 60 * SECOND, "lyrics_from": 40 * SECOND}
    inputs = processor(LYRICS, **said)
    output = model.generate(inputs, levels=[2], return_alignment=True, return_codes=True)
    for found in (*output.alignment, *model.align(inputs, output.codes)):
        assert found.is_read.any()
        assert found.starts.min() >= 40 * SECOND - 1e-9
        assert (np.diff(found.starts) >= 0).all()
        assert (found.starts <= found.ends).all()
        assert found.ends.max() <= found.seconds
    later = processor(LYRICS, **said | {"lyrics_from": 30 * SECOND, "offset": 10 * SECOND, "song_seconds": 1})
    (part,) = model.align(later, output.codes)
    assert part.starts[part.is_read].min() >= 30 * SECOND - 1e-9, "seconds of the audio, wherever it stands in the song"
    assert model.align(processor(LYRICS, artist="the testers"), output.codes)[0].starts.min() < 30 * SECOND


def test_the_top_prior_is_loaded_once_and_let_go_before_the_next_level(repository, processor, monkeypatch):
    model, log = JukeboxModel.from_pretrained(repository), []
    load = model._source.load_prior
    monkeypatch.setattr(
        type(model._source), "load_prior", lambda _, level, *rest: log.append(level) or load(level, *rest)
    )
    model.generate(processor("la la la la la", seed=1), max_new_tokens=8, return_alignment=True)
    assert log == [2, 1, 0]
    assert model.loaded_levels == ()


def test_given_top_codes_are_aligned_when_only_finer_levels_are_written(model, processor):
    inputs = processor(LYRICS, artist="the testers", seed=1)
    top = model.generate(inputs, max_new_tokens=26, levels=[2], return_codes=True, return_alignment=True)
    finer = model.generate(inputs, levels=[1], codes=top.codes, return_alignment=True)
    assert same_alignment(finer.alignment[0], top.alignment[0])


def test_an_alignment_that_could_not_be_made_is_refused_before_the_first_step(repository, processor):
    model = JukeboxModel.from_pretrained(repository)
    model.config.prior_configs[2].alignment_layer = model.config.prior_configs[2].alignment_head = None
    with pytest.raises(ValueError, match=r"needs alignment_layer and alignment_head of prior_configs\[2\], .*; find"):
        model.generate(processor("la"), max_new_tokens=4, return_alignment=True)
    assert model.loaded_levels == ()
    with pytest.raises(ValueError, match="codes of level 2 are missing for song"):
        model.align(processor("la"), {1: torch.zeros(1, 8, dtype=torch.long)})


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_pipeline_gives_lyrics_as_typed_in_time(pipe, model, processor, batch_size):
    songs = pipe([LYRICS, "Ça va?"], artist="the testers", seed=1, batch_size=batch_size, return_alignment=True,
                 generate_kwargs={"max_new_tokens": 30})  # fmt: skip
    first, second = (song["alignment"] for song in songs)
    assert isinstance(first, TimedLyrics)
    assert [line.text for line in first.lines] == ["[Verse]", "Row, row, row", "your boat"]
    assert [word.text for word in second.words] == ["Ça", "va?"]
    assert first.seconds == pytest.approx(30 * SECOND)
    alone = model.generate(processor(LYRICS, artist="the testers", seed=1), max_new_tokens=30, return_alignment=True)
    starts = [character.start for character in first.characters]
    assert starts == pytest.approx(alone.alignment[0].starts.tolist(), abs=1e-9)
    assert "alignment" not in pipe("la", seed=1, generate_kwargs={"max_new_tokens": 4})


def test_the_pipeline_times_lyrics_said_by_name_and_songs_without_any(pipe):
    short = {"generate_kwargs": {"max_new_tokens": 4}, "return_alignment": True}
    assert [word.text for word in pipe(lyrics="la la", **short)["alignment"].words] == ["la", "la"]
    assert pipe({"artist": "the testers"}, **short)["alignment"].lines == ()
