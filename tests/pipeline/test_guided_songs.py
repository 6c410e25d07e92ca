"""Guidance in `generate`, `stream` and the pipeline, from arguments and from a repository's generation_config.json."""

import json
import shutil

import pytest
import torch
from transformers import GenerationConfig, TopKLogitsWarper

from jukebox_hf import JukeboxModel, JukeboxPipeline
from jukebox_hf.model.songs.generation_arguments import check_generation_defaults, read_generate_arguments

WORDS = {"lyrics": "a song of the first", "artist": "the testers", "genre": "soft rock", "seed": 5}
SHORT = {"max_new_tokens": 4, "return_codes": True}
GUIDED = {"guidance_scale": {2: 2.0, 0: 1.5}, "guidance_on": "labels", "temperature": 1.5, "top_k": 5}


@pytest.fixture(scope="module")
def words(processor):
    return processor(WORDS)


def test_guidance_makes_another_song_and_one_is_off(model, words, same):
    plain = model.generate(words, **SHORT)
    assert same(plain, model.generate(words, guidance_scale=1, lyrics_guidance=1.0, **SHORT))
    found = [model.generate(words, guidance_scale=30, guidance_on=by, **SHORT) for by in ("labels", "lyrics", "both")]
    double = model.generate(words, guidance_scale=30, lyrics_guidance=30, **SHORT)
    assert not any(same(one, plain) for one in (*found, double))
    assert same(model.generate(words, guidance_scale=30, **SHORT), found[2]), "both is the default"


def test_what_a_level_is_guided_by_is_what_its_prior_reads(model, words):
    arguments = read_generate_arguments(model.config, model.generation_config, None, {"guidance_scale": 2})
    assert {own.guidance_on for own in arguments.settings.values()} == {"both"}
    plan = model._batches(words, None, None, None, {"guidance_scale": 2, "max_new_tokens": 4})[0][0].plan
    assert [level.settings.contrasts for level in plan.levels] == [
        (("labels", "lyrics"),),
        (("labels",),),
        (("labels",),),
    ]
    plan = model._batches(words, None, None, None, {"guidance_scale": 2, "guidance_on": "lyrics", **SHORT})[0][0].plan
    assert [level.settings.rows for level in plan.levels] == [2, 1, 1], "upsamplers read no lyrics"


def test_a_sketch_that_lyrics_guided_is_refined_without(model, processor, same):
    song = processor({**WORDS, "artist": None, "genre": None})
    sketch = model.generate(song, levels=[2], lyrics_guidance=30, **SHORT)
    said = {"levels": [1, 0], "codes": sketch.codes, "return_codes": True}
    assert same(model.generate(song, lyrics_guidance=30, guidance_scale=2, **said), model.generate(song, **said))


def test_a_guided_song_is_streamed_as_it_is_generated(model, words):
    said = {"max_new_tokens": 30, "guidance_scale": 3, "lyrics_guidance": 2}
    *_, last = model.stream(words, **said)
    output = model.generate(words, return_codes=True, **said)
    assert all(torch.equal(own[0], codes[0]) for own, codes in zip(last.state.codes, output.codes, strict=True))


def test_guided_lyrics_are_timed(model, words, monkeypatch):
    monkeypatch.setattr(model.config.prior_configs[2], "alignment_layer", model.config.prior_configs[2].lyric_layers[0])
    monkeypatch.setattr(model.config.prior_configs[2], "alignment_head", 0)
    output = model.generate(words, return_alignment=True, levels=[2], guidance_scale=2, **SHORT)
    assert len(output.alignment) == 1


def test_a_configuration_of_a_repository_says_all_of_it(repository, words, same, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder)
    whole = GUIDED | {"lyrics_guidance": {0: 1.0}, "max_new_tokens": 4, "do_sample": True, "parallel_windows": False}
    GenerationConfig(**whole).save_pretrained(folder)
    assert json.loads((folder / "generation_config.json").read_text())["guidance_scale"] == {"2": 2.0, "0": 1.5}
    opened = JukeboxModel.from_pretrained(folder, keep_loaded=True)
    said = opened.generate(**words, **GUIDED, return_codes=True, max_new_tokens=4)
    loaded = GenerationConfig.from_pretrained(folder)
    plain = JukeboxModel.from_pretrained(repository, keep_loaded=True)
    assert same(said, plain.generate(**words, generation_config=loaded, return_codes=True))
    assert same(said, opened.generate(**words, return_codes=True))
    assert same(said, plain.generate(**words, **GUIDED, **SHORT))
    off = opened.generate(**words, guidance_scale=1, return_codes=True)
    assert same(off, plain.generate(**words, temperature=1.5, top_k=5, **SHORT))
    opened.save_pretrained(tmp_path / "saved")
    again = JukeboxModel.from_pretrained(tmp_path / "saved")
    assert same(said, again.generate(**words, logits_processor=[TopKLogitsWarper(5)], return_codes=True))


def test_a_pipeline_is_guided_by_its_call_and_by_its_configuration(model, processor):
    pipe = JukeboxPipeline(model, processor=processor)
    said = pipe(WORDS, guidance_scale=30, **SHORT)
    assert (said["codes"][2] != pipe(WORDS, **SHORT)["codes"][2]).any()
    config = GenerationConfig(guidance_scale=30, max_new_tokens=4)
    configured = pipe(WORDS, return_codes=True, generate_kwargs={"generation_config": config})
    assert (configured["codes"][2] == said["codes"][2]).all()


@pytest.mark.parametrize(
    ("song", "said", "message"),
    [
        ({}, {"guidance_scale": 0.5}, r"guidance_scale=0.5 must be 1 \(off\) or a larger number"),
        ({}, {"guidance_scale": "3"}, "guidance_scale='3' must be a number, or a dictionary from level to number"),
        ({}, {"guidance_scale": {7: 3.0}}, "a key of guidance_scale=7 is not a level"),
        ({}, {"guidance_scale": float("nan")}, "guidance_scale=nan"),
        ({}, {"lyrics_guidance": 1000}, "lyrics_guidance=1000 must be 1"),
        ({}, {"guidance_scale": 3, "guidance_on": "artist"}, "guidance_on='artist' is none of labels, lyrics, both"),
        ({}, {"guidance_on": "labels"}, "guidance_on='labels', but guidance_scale and lyrics_guidance are 1"),
        ({}, {"guidance_scale": 3, "guidance_on": "labels", "lyrics_guidance": 2}, "exclude each other"),
        (
            {},
            {"guidance_scale": {1: 3}, "guidance_on": "lyrics"},
            r"guidance by lyrics at level \[1\], whose",
        ),
        ({}, {"lyrics_guidance": {2: 2, 0: 2}}, r"guidance by lyrics at level \[0\], whose prior knows none"),
        (
            {"artist": None, "genre": None, "lyrics": ""},
            {"guidance_scale": 3},
            "guidance_scale=3 on both .* song 0",
        ),
        ({"lyrics": ""}, {"guidance_scale": 3, "guidance_on": "lyrics"}, "on lyrics compares .* but song 0 is told"),
        (
            {"lyrics": ""},
            {"guidance_scale": 3, "lyrics_guidance": 2},
            "lyrics_guidance=2 listens .* song 0 has none",
        ),
        ({}, {"negative_prompt_ids": [[1]]}, "guidance_on= says what guidance_scale moves a song away from"),
    ],
)
def test_guidance_that_cannot_be_is_refused_before_the_first_step(model, processor, song, said, message, monkeypatch):
    monkeypatch.setattr(type(model), "lend", lambda *_: pytest.fail("was loaded"))
    with pytest.raises(ValueError, match=message) as caught:
        model.generate(processor({**WORDS, **song}), **SHORT, **said)
    assert "\n" not in str(caught.value)


def test_a_stream_counts_the_rows_of_guidance(model, processor):
    songs = processor([WORDS, {**WORDS, "seed": 6}])
    with pytest.raises(ValueError, match="batch=3 is less than the 2 songs with rows of guidance"):
        model.stream(songs, max_new_tokens=3, guidance_scale=2, batch=3)


@pytest.mark.parametrize(
    "said",
    [
        {"guidance_scale": 0.5},
        {"guidance_scale": "3"},
        {"lyrics_guidance": {"2": 101}},
        {"guidance_on": "artist"},
        {"draw": "fair"},
    ],
)
def test_a_repository_that_says_guidance_wrongly_is_refused_when_it_is_opened(said):
    name = next(iter(said))
    with pytest.raises(ValueError, match=f"x/generation_config.json says {name}=.*, which must be .*; correct it"):
        check_generation_defaults(said, "x/generation_config.json")
