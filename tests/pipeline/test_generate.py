"""`JukeboxModel.generate`: every way to ask for a song, and the same song whichever way it is asked for."""

import copy
import logging
import re
import warnings

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, set_seed

from jukebox_hf import JukeboxModel, JukeboxPipeline, SamplingSettings
from jukebox_hf.model.inputs.song_inputs import read_songs
from jukebox_hf.model.networks import plain_modules
from jukebox_hf.model.songs.generation_arguments import read_generate_arguments
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_batches import take_batches
from jukebox_hf.model.songs.song_state import SongState

HOP, RATE = 128, 44100
SONGS = [
    {"lyrics": "a song of the first", "artist": "the testers", "genre": "soft rock", "seed": 5},
    {"lyrics": "another, much longer song of the second", "artist": "quiet ones", "genre": "country", "seed": 6},
    {"seed": 7},
]


def _codes(output, song=0):
    return [codes[song][codes[song] >= 0] for codes in output.codes]


def _equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def words(processor):
    return processor(SONGS[0])


@pytest.fixture(scope="module")
def song(model, words):
    """One song of a window and a bit, three levels."""
    return model.generate(words, max_new_tokens=32, return_codes=True)


def test_finer_codes_that_are_given_stay_where_a_coarser_level_alone_is_written(model, words):
    short = model.generate(words, seconds=0.05, return_codes=True).codes
    longer = model.generate(words, codes=list(short), seconds=0.1, levels=[2], return_codes=True).codes
    assert longer[2].shape[1] > short[2].shape[1]
    for level, codes in enumerate(short):
        assert torch.equal(longer[level][:, : codes.shape[1]], codes)
    assert [longer[level].shape for level in (0, 1)] == [short[level].shape for level in (0, 1)]


def test_the_length_is_what_was_asked(model, words):
    output = model.generate(words, seconds=0.05, levels=[2], return_codes=True)
    assert output.audio.shape == (1, 2205 // HOP * HOP)
    assert [codes.shape[1] for codes in output.codes] == [0, 0, 17]
    assert model.generate(words, max_new_tokens=3, levels=[2]).audio_lengths.tolist() == [3 * HOP]
    assert model.generate(words, levels=[2]).audio_lengths.tolist() == [24 * HOP], "generation_config.json: one window"


def test_a_songs_own_length_is_kept_unless_all_are_told_another(model, processor):
    inputs = processor([{"seconds": 0.05, "seed": 1}, {"seconds": 0.02, "seed": 2}])
    output = model.generate(inputs, levels=[2], return_codes=True)
    assert output.audio_lengths.tolist() == [17 * HOP, 6 * HOP]
    assert not output.audio[1, 6 * HOP :].any()
    assert output.codes[2][1].tolist()[6:] == [-1] * 11
    assert model.generate(inputs, seconds=0.01, levels=[2]).audio_lengths.tolist() == [3 * HOP, 3 * HOP]


def test_audio_is_the_finest_written_level_decoded(model, song):
    audio = model.vqvae.decode(song.codes[0], 0).audio_values[:, 0]
    assert torch.equal(song.audio, audio)
    assert [codes.shape[1] for codes in song.codes] == [512, 128, 32]


def test_a_batch_equals_its_songs_one_by_one(model, processor):
    together = model.generate(processor(SONGS), max_new_tokens=26, return_codes=True)
    assert together.seeds.tolist() == [5, 6, 7]
    for place, words in enumerate(SONGS):
        alone = model.generate(processor(words), max_new_tokens=26, return_codes=True)
        assert _equal(_codes(together, place), _codes(alone))
    in_pairs = model.generate(processor(SONGS), max_new_tokens=26, return_codes=True, batch=2, chunk=5, backend="eager")
    assert _equal(in_pairs.codes, together.codes)


def test_songs_of_different_lengths_are_those_written_alone(model, processor, sound):
    songs = [
        {**SONGS[0], "seconds": 0.08},
        {**SONGS[1], "seconds": 0.04},
        {**SONGS[2], "seconds": 0.08, "prompt": sound(0.02)},
    ]
    together = model.generate(processor(songs), return_codes=True)
    for place, words in enumerate(songs):
        assert _equal(_codes(together, place), _codes(model.generate(processor(words), return_codes=True)))


def test_a_seed_decides_a_song(model, processor, song):
    again = model.generate(processor({**SONGS[0], "seed": 1}), max_new_tokens=32, seed=5, return_codes=True)
    assert _equal(_codes(again), _codes(song))
    other = model.generate(processor(SONGS[0]), max_new_tokens=32, seed=6, return_codes=True)
    assert not _equal(_codes(other), _codes(song))
    assert model.generate(processor(SONGS[:2]), max_new_tokens=1, levels=[2], seed=3).seeds.tolist() == [3, 4]


def test_without_a_seed_transformers_set_seed_decides(model, processor):
    seeds = []
    for torch_seed in (1, 1, 2):
        set_seed(torch_seed)
        seeds.append(model.generate(processor(["a", "b"]), max_new_tokens=1, levels=[2]).seeds.tolist())
    assert seeds[0] == seeds[1] != seeds[2]


def test_levels_can_be_written_in_turns(model, words, song):
    top = model.generate(words, max_new_tokens=32, levels=[2], return_codes=True)
    assert torch.equal(top.codes[2], song.codes[2])
    rest = model.generate(words, levels=[1, 0], codes={2: top.codes[2]}, return_codes=True)
    assert _equal(rest.codes, song.codes)
    middle = model.generate(words, levels=[1], codes=[None, None, top.codes[2]], return_codes=True)
    assert middle.codes[0].shape == (1, 0)
    last = model.generate(words, levels=[0], codes=middle.codes, return_codes=True)
    assert _equal(last.codes, song.codes)


def test_continued_codes_equal_one_long_run(model, words):
    """With windows that do not move, what is known decides the rest; so a song may be written in two sittings."""
    long = model.generate(words, max_new_tokens=24, return_codes=True)
    begun = {level: codes[:, : codes.shape[1] // 2] for level, codes in enumerate(long.codes)}
    assert _equal(model.generate(words, max_new_tokens=12, codes=begun, return_codes=True).codes, long.codes)
    state = SongState(tuple((codes[0],) for codes in begun.values()), (5,))
    assert _equal(model.generate(words, seconds=24 * HOP / RATE, codes=state, return_codes=True).codes, long.codes)


def test_a_prompt_is_kept_and_continued(model, processor, sound):
    output = model.generate(processor(SONGS[0], prompt=sound(0.03)), seconds=0.06, return_codes=True)
    whole = sound(0.03)[: 10 * HOP]
    known = model.vqvae.encode(torch.from_numpy(whole)[None, None]).audio_codes
    for codes, prompt in zip(output.codes, known, strict=True):
        assert torch.equal(codes[:, : prompt.shape[1]], prompt)
    assert output.audio_lengths.tolist() == [20 * HOP]
    more = model.generate(processor(SONGS[0], prompt=sound(0.03)), max_new_tokens=5, levels=[2])
    assert more.audio_lengths.tolist() == [15 * HOP], "new tokens come after the prompt"


def test_tensors_may_be_passed_by_name_or_not_at_all(model, words, song):
    assert _equal(model.generate(**words, max_new_tokens=32, return_codes=True).codes, song.codes)
    assert model.generate(max_new_tokens=2, seed=0).audio.shape == (1, 2 * HOP)
    assert model.can_generate()


def test_do_sample_false_takes_the_likeliest_code(model, words):
    options = {"max_new_tokens": 8, "levels": [2], "return_codes": True}
    greedy = [model.generate(words, do_sample=False, seed=seed, **options).codes[2] for seed in (1, 2)]
    assert torch.equal(*greedy)
    assert torch.equal(model.generate(words, temperature=0, **options).codes[2], greedy[0])
    assert torch.equal(model.generate(words, top_k=1, **options).codes[2], greedy[0])
    assert torch.equal(model.generate(words, min_p=1.0, **options).codes[2], greedy[0])
    assert torch.equal(model.generate(words, temperature={2: 0}, **options).codes[2], greedy[0])
    config = GenerationConfig(do_sample=False)
    assert torch.equal(model.generate(words, config, **options).codes[2], greedy[0])


def test_windows_side_by_side_can_be_asked_for(model, words, song):
    side_by_side = model.generate(words, max_new_tokens=32, parallel_windows=True, return_codes=True)
    assert torch.equal(side_by_side.codes[2], song.codes[2]), "the top level is what it was"
    assert not torch.equal(side_by_side.codes[0], song.codes[0])
    one_at_a_time = model.generate(words, max_new_tokens=32, parallel_windows=True, batch=1, return_codes=True)
    assert _equal(one_at_a_time.codes, side_by_side.codes)
    config = GenerationConfig(parallel_windows=True)
    assert _equal(model.generate(words, config, max_new_tokens=32, return_codes=True).codes, side_by_side.codes)
    with pytest.raises(ValueError, match="parallel_windows='yes' must be True or False"):
        model.generate(words, parallel_windows="yes")
    told = []
    with pytest.raises(ValueError, match="told one position"):
        model.generate(words, parallel_windows=True, logits_processor=lambda logits, *_: told.append(1) or logits)
    assert told == [], "refused before the first step"


def test_a_models_own_hops_give_way_to_windows_side_by_side(model):
    changed = copy.copy(model)
    changed.generation_config = GenerationConfig(hop_fractions={"2": 0.5, "0": 0.25})
    assert _read(changed).hop_fractions == {2: 0.5, 0: 0.25}
    assert _read(changed, parallel_windows=True).hop_fractions == {2: 0.5}
    assert _read(changed, parallel_windows=True, hop_fractions=0.5).hop_fractions == {2: 0.5, 1: 0.5, 0: 0.5}


def _read(model, config=None, **said):
    return read_generate_arguments(model.config, model.generation_config, config, said)


def test_settings_may_differ_between_levels(model):
    arguments = _read(
        model, temperature={2: 0.98}, top_p={"0": 0.9}, top_k={1: 5}, min_p={2: 0.1}, hop_fractions={2: 0.5}
    )
    assert [arguments.settings[level].temperature for level in range(3)] == [0.99, 0.99, 0.98]
    assert [arguments.settings[level].top_p for level in range(3)] == [0.9, 1.0, 1.0]
    assert [arguments.settings[level].top_k for level in range(3)] == [0, 5, 0]
    assert [arguments.settings[level].min_p for level in range(3)] == [0.0, 0.0, 0.1]
    assert arguments.hop_fractions == {2: 0.5}


def test_every_cut_may_be_said_in_a_call_in_a_configuration_and_in_the_models_own(model, cut):
    name, value, off = cut.name, cut.number, getattr(SamplingSettings, cut.name)

    def found(read):
        return [getattr(read.settings[level], name) for level in range(3)]

    assert found(_read(model, GenerationConfig(**{name: value})))[0] == value
    changed = copy.copy(model)
    changed.generation_config = GenerationConfig(**{name: {"0": value}})
    assert found(_read(changed)) == [value, off, off]
    assert found(_read(changed, **{name: off}))[0] == off
    assert _read(model, **{name: off}) == _read(model)


def test_a_draw_may_be_said_wherever_a_temperature_may(model):
    assert {own.draw for own in _read(model).settings.values()} == {"inverse"}
    assert _read(model, GenerationConfig(draw="gumbel")).settings[0].draw == "gumbel"
    changed = copy.copy(model)
    changed.generation_config = GenerationConfig(draw="gumbel")
    assert {own.draw for own in _read(changed).settings.values()} == {"gumbel"}
    assert _read(changed, draw="inverse") == _read(model)
    for wrong in ("fair", {2: "gumbel"}):
        with pytest.raises(ValueError, match=r"draw=.* is none of inverse, gumbel; choose one"):
            _read(model, draw=wrong)


def test_how_many_codes_are_checked_at_once_is_said_for_all_levels_or_by_level(model):
    assert _read(model).compute.jacobi == 0
    assert _read(model, jacobi="auto").compute.jacobi_at(2) == "auto"
    by_level = _read(model, GenerationConfig(jacobi={"0": 8, "1": "auto"})).compute
    assert [by_level.jacobi_at(level) for level in range(3)] == [8, "auto", 0]
    for wrong, message in (
        (1, r"jacobi=1 must be 0 \(one code at a time\), 2 or more"),
        ({1: "fast"}, r"jacobi\[1\]='fast' must be 0"),
        ({7: 2}, "a key of jacobi=7 is not a level"),
        (9999, "jacobi=9999 is more than the .* codes of a window; ask for fewer, such as 8, or 'auto'"),
    ):
        with pytest.raises(ValueError, match=message):
            _read(model, jacobi=wrong)


def test_levels_left_out_keep_the_models_own_setting(model):
    changed = copy.copy(model)
    own = {"temperature": {"0": 0.95, "1": 0.7, "2": 0.9}, "top_k": {"1": 4}, "hop_fractions": {"2": 0.25, "0": 0.5}}
    changed.generation_config = GenerationConfig(**own)
    given = {"temperature": {2: 0.5}, "top_k": {2: 7}, "hop_fractions": {1: 0.125}}
    for said in ({"config": GenerationConfig(**given)}, given):
        arguments = _read(changed, **said)
        assert [arguments.settings[level].temperature for level in range(3)] == [0.95, 0.7, 0.5]
        assert [arguments.settings[level].top_k for level in range(3)] == [0, 4, 7]
        assert arguments.hop_fractions == {2: 0.25, 1: 0.125, 0: 0.5}


def test_what_transformers_fills_in_is_no_wish(model):
    """5.17's pipelines hand over a whole configuration."""
    filled = GenerationConfig(
        **{**GenerationConfig._get_default_generation_params(), **model.generation_config.to_dict()}
    )
    assert _read(model, filled) == _read(model)
    changed = GenerationConfig(**{**filled.to_dict(), "do_sample": False, "max_new_tokens": 5})
    arguments = _read(model, changed)
    assert (arguments.new_codes, arguments.settings[0].temperature) == (5, 0)
    assert _read(model, GenerationConfig(top_k=50)).settings[0].top_k == 50, "said by the user"
    assert _read(model, GenerationConfig(temperature=1.0)).settings[0].temperature == 1.0


def test_plain_arguments_win_over_a_configuration(model):
    config = GenerationConfig(temperature=0.5, max_new_tokens=7)
    arguments = _read(model, config, temperature=0.6, seconds=1.0)
    assert (arguments.settings[0].temperature, arguments.seconds, arguments.new_codes) == (0.6, 1.0, None)
    assert _read(model, config).new_codes == 7


def test_generation_defaults_are_saved_with_the_model(model, repository, tmp_path):
    assert (model.generation_config.temperature, model.generation_config.max_new_tokens) == (0.99, 24)
    changed = JukeboxModel.from_pretrained(repository)
    changed.generation_config.temperature = 0.5
    changed.generation_config.hop_fractions = {"2": 0.5}
    changed.save_pretrained(tmp_path / "again")
    arguments = _read(JukeboxModel.from_pretrained(tmp_path / "again"))
    assert arguments.settings[1].temperature == 0.5
    assert arguments.hop_fractions == {2: 0.5}


def test_a_hook_may_change_the_logits(model, words):
    """It sees a column per code at every level, none of lyric characters."""
    seen, size = [], model.config.vqvae_config.codebook_size

    def only_three(logits, level, position):
        seen.append((level, position))
        assert logits.shape == (1, size)
        return torch.full_like(logits, float("-inf")).index_fill(1, torch.tensor([3]), 0.0)

    output = model.generate(words, logits_processor=only_three, max_new_tokens=2, levels=[2, 1], return_codes=True)
    assert output.codes[2].tolist() == [[3, 3]]
    assert seen == [(2, 0), (2, 1), *((1, place) for place in range(8))]


@pytest.mark.parametrize("answer", [lambda logits: None, lambda logits: logits.numpy(), lambda logits: logits[:, :3]])
def test_a_hook_must_give_logits(model, words, answer):
    with pytest.raises(ValueError, match=r"the logits_processor gave .* for logits \(1, \d+\); let it return"):
        model.generate(words, max_new_tokens=4, logits_processor=lambda logits, level, position: answer(logits))


def test_priors_are_freed_level_by_level(repository, words, song):
    model = JukeboxModel.from_pretrained(repository)
    seen = []

    def look(logits, level, position):
        seen.append(model.loaded_levels)
        return logits

    output = model.generate(words, logits_processor=look, max_new_tokens=32, return_codes=True)
    assert set(seen) == {(2,), (1,), (0,)}
    assert model.loaded_levels == ()
    assert _equal(output.codes, song.codes)


def test_offloaded_priors_stay_in_memory_but_only_one_on_the_device(repository, words, song, monkeypatch):
    model = JukeboxModel.from_pretrained(repository, offload=True)
    moves = []
    for _ in range(2):
        output = model.generate(words, max_new_tokens=32, return_codes=True)
        assert _equal(output.codes, song.codes)
    assert model.loaded_levels == (0, 1, 2), "loaded once"
    for level in range(3):
        prior = model.prior(level)
        monkeypatch.setattr(
            prior, "to", lambda device, level=level, own=prior.to: moves.append((level, str(device))) or own(device)
        )
    moves.clear()
    model.prior(1)
    assert moves == [(0, "cpu"), (2, "cpu"), (1, "cpu")], "the others go before it comes"
    model.release(1)
    assert moves[-1] == (1, "cpu")
    assert model.loaded_levels == (0, 1, 2)
    with pytest.raises(ValueError, match="both place priors"):
        JukeboxModel.from_pretrained(repository, offload=True, device_map="cpu")


def test_generate_may_offload_for_one_call(repository, words, song):
    model = JukeboxModel.from_pretrained(repository)
    assert _equal(model.generate(words, max_new_tokens=32, offload=True, return_codes=True).codes, song.codes)
    assert model.offload is False
    assert model.loaded_levels == (0, 1, 2)


def test_where_priors_wait_in_a_call_is_no_property_of_the_model(repository, words):
    """Two calls at once, of which the second begins and ends inside the first."""
    model, seen = JukeboxModel.from_pretrained(repository), []
    words = {**words, "wanted_samples": torch.tensor([3 * HOP])}

    def inside(logits, level, position):
        if not seen:
            seen.append(model.offload)
            model.generate(words, levels=[2], offload=False)
            seen.append(model.offload)
        return logits

    model.generate(words, levels=[2], offload=True, logits_processor=inside)
    assert [*seen, model.offload] == [False, False, False]
    assert model.loaded_levels == (), "the inner call let go what it was lent"
    model.generate(words, levels=[2], offload=True)
    assert model.loaded_levels == (2,), "a call that offloads keeps it in the CPU's memory"


@pytest.mark.parametrize("part", ["vqvae", "prior_0"])
@pytest.mark.parametrize("way", ["accelerate", "meta"])
def test_weights_that_are_not_there_are_refused_before_the_first_step(repository, words, part, way):
    model, steps = JukeboxModel.from_pretrained(repository), []
    module = model.vqvae if part == "vqvae" else model.prior(0)
    if way == "meta":
        module.to("meta")
    else:
        accelerate = pytest.importorskip("accelerate")
        accelerate.cpu_offload(module, execution_device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"the weights of the (VQ-VAE|prior of level 0) are not there .* offload=True"):
        model.generate(words, logits_processor=lambda logits, *place: steps.append(place) or logits)
    assert steps == []


@pytest.mark.parametrize("part", ["decoders.0.out", "codebooks.0"])
@pytest.mark.parametrize("way", ["generate", "stream", "repaint", "pipeline"])
def test_a_vqvae_that_is_not_finite_is_refused_before_the_first_code(way, part, repository, processor, words, song):
    model, steps = JukeboxModel.from_pretrained(repository), []
    next(iter(model.vqvae.get_submodule(part).state_dict().values())).fill_(float("nan"))
    told = {"logits_processor": lambda logits, *place: steps.append(place) or logits}
    ways = {
        "generate": lambda: model.generate(words, **told),
        "stream": lambda: next(model.stream(words, **told)),
        "repaint": lambda: model.repaint(words, song.codes, (0.0, 0.02), **told),
        "pipeline": lambda: JukeboxPipeline(model, processor=processor)("a song", seconds=0.1),
    }
    with pytest.raises(FloatingPointError, match=rf"the VQ-VAE holds weights that are not finite, in {part}\."):
        ways[way]()
    assert steps == []


def test_a_vqvae_that_is_not_finite_where_it_is_not_needed_sings(repository, words):
    model = JukeboxModel.from_pretrained(repository)
    model.vqvae.decoders[1].out.bias.data.fill_(float("nan"))
    model.vqvae.codebooks[1].codes.fill_(float("nan"))
    done = model.generate(words, max_new_tokens=4, return_codes=True)
    assert torch.isfinite(done.audio).all()
    other = next(code for code in range(model.vqvae.config.codebook_size) if not (done.codes[0] == code).any())
    model.vqvae.codebooks[0].codes[other] = float("nan")
    assert torch.equal(model.generate(words, max_new_tokens=4).audio, done.audio), "no song need draw every code"


@pytest.mark.parametrize(("part", "name"), [("", "model"), ("vqvae", "VQ-VAE")])
def test_hooks_that_songs_do_not_call_are_named(part, name, repository, words, caplog, monkeypatch):
    model = JukeboxModel.from_pretrained(repository)
    model.get_submodule(part).register_forward_hook(lambda *_: pytest.fail("is called"))
    monkeypatch.setattr(plain_modules.logger, "warning_once", plain_modules.logger.warning)
    monkeypatch.setattr(logging.getLogger("jukebox_hf"), "propagate", True)
    model.generate(words, max_new_tokens=4)
    assert f"a hook on the {name} is not called while a song is written" in caplog.text


def test_lyrics_are_not_aligned_by_weights_that_are_not_there(repository, words, song):
    model = JukeboxModel.from_pretrained(repository)
    model.prior(2).to("meta")
    with pytest.raises(ValueError, match=r"the weights of the prior of level 2 are not there .* offload=True"):
        model.align(words, song.codes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_writes_songs(repository, words, dtype):
    model = JukeboxModel.from_pretrained(repository, dtype=dtype, keep_loaded=True)
    output = model.generate(words, max_new_tokens=4)
    assert {model.prior(level).dtype for level in range(3)} == {dtype}
    assert output.audio.dtype == torch.float32
    assert torch.isfinite(output.audio).all()


def test_the_song_loop_beneath_gives_the_same(model, words, song):
    """`generate` is a door: what stands behind it can be used alone, window by window."""
    arguments = _read(model, max_new_tokens=32)
    (batch,) = take_batches(model.config, model.vqvae, words, arguments, None)
    *_, last = sample_song(model, batch.plan, batch.labels, batch.state)
    assert _equal([level[0] for level in last.state.codes], _codes(song))


def test_the_song_is_by_default_the_shortest_the_prior_knows(model, processor):
    (batch,) = take_batches(model.config, model.vqvae, processor("la"), _read(model), None)
    assert batch.labels[2][0].timing.total_samples == RATE // 2
    (batch,) = take_batches(model.config, model.vqvae, processor("la", offset=1.0), _read(model, seconds=1.0), None)
    assert batch.labels[2][0].timing.total_samples == RATE + RATE // HOP * HOP


@pytest.mark.parametrize(
    ("song", "options", "message"),
    [
        ({}, {"speed": 2}, "generate: unknown argument speed"),
        ({}, {"num_beams": 4}, "generate does not use num_beams"),
        ({}, {"generation_config": GenerationConfig(num_beams=4)}, "generation_config.num_beams=4 is not supported"),
        ({}, {"seconds": 1, "max_new_tokens": 3}, "choose one"),
        ({}, {"seconds": -1}, "seconds=-1 must be a number of seconds"),
        ({}, {"seconds": float("inf")}, "seconds=inf must be a number of seconds"),
        ({}, {"seconds": True}, "seconds=True must be a number of seconds"),
        ({}, {"seconds": "1"}, "seconds='1' must be a number of seconds"),
        ({}, {"seconds": 1e9}, "to 86400"),
        ({}, {"max_new_tokens": 10**12}, "ask for at most 86400"),
        ({}, {"seconds": 0.001}, "less than one code of the coarsest level"),
        ({}, {"max_new_tokens": 0}, "max_new_tokens=0 must be a positive integer"),
        ({"song_seconds": 0.5, "offset": 1}, {}, "ends before its audio"),
        ({"song_seconds": 2.9, "offset": 2.8}, {"seconds": 0.2}, "ends before its audio"),
        ({"lyrics_from": 0.5}, {}, "lyrics_from=0.5 leaves no time for lyrics: the audio ends after"),
        ({"lyrics_from": 0.1}, {"seconds": 1}, "lyrics_from=0.1 says where lyrics begin, but there are none"),
        ({}, {"levels": [2, 0]}, "neighbouring levels"),
        ({}, {"levels": [2, 2]}, r"levels=\[2, 2\] must be one or more neighbouring levels, each once"),
        ({}, {"levels": [3]}, "levels=3 is not a level of this model"),
        ({}, {"levels": 2}, "levels=2 must be a list"),
        ({}, {"levels": [1]}, "less than one code"),
        ({}, {"levels": [1], "seconds": 0.1}, "is to be written from"),
        ({}, {"temperature": -1}, "temperature=-1 must be 0"),
        ({}, {"temperature": "hot"}, "temperature='hot' must be a number"),
        ({}, {"temperature": {5: 1.0}}, "a key of temperature=5 is not a level"),
        ({}, {"top_k": 5, "top_p": 0.9}, "exclude each other"),
        ({}, {"top_p": {2: 0.9}, "min_p": 0.1}, "top_p=0.9 and min_p=0.1 exclude each other"),
        ({}, {"top_k": {0: 5}, "typical_p": 0.9}, "top_k=5 and typical_p=0.9 exclude each other"),
        ({}, {"top_k": {0: 5}, "epsilon_cutoff": 0.1}, "top_k=5 and epsilon_cutoff=0.1 exclude each other"),
        ({}, {"hop_fractions": 2.0}, "must lie over 0"),
        ({}, {"do_sample": 1}, "do_sample=1 must be True"),
        ({}, {"seed": -3}, "seed=-3 must be an integer"),
        ({}, {"batch": 0}, "batch=0 must be a positive integer"),
        ({}, {"codes": {2: torch.zeros(2, 3)}}, "must be integers"),
        ({}, {"codes": {2: torch.full((1, 3), 99)}}, "holds 99"),
        ({}, {"codes": {7: torch.zeros(1, 3, dtype=torch.long)}}, "a level of codes=7 is not a level"),
        ({}, {"codes": {2: torch.zeros(1, 3, dtype=torch.bool)}}, r"must be integers .* not torch\.bool \(1, 3\)"),
        ({}, {"codes": {2: [[1, 2], [3]]}, "num_return_sequences": 2}, "must be integers .* not list"),
        ({}, {"codes": {0: torch.zeros(1, 3, dtype=torch.long)}, "levels": [2]}, "are given, but levels=.2. neither"),
        ({}, {"num_return_sequences": 10**9}, "more than the 10,000 that a call may write"),
        ({}, {"codes": 3}, "codes=int must be a SongState"),
        ({}, {"codes": {2: torch.zeros(1, 30, dtype=torch.long)}, "seconds": 0.05}, "are known already"),
    ],
)
def test_what_can_not_be_sampled_is_refused_before_the_first_step(model, processor, song, options, message):
    steps = []
    options.setdefault("logits_processor", lambda logits, level, position: steps.append(position) or logits)
    with pytest.raises(ValueError, match=message) as caught:
        model.generate(processor(song), **options)
    assert "\n" not in str(caught.value)
    assert steps == []


def test_prompts_that_do_not_fit_are_refused(model, processor, sound):
    with pytest.raises(ValueError, match="are known already, but only"):
        model.generate(processor(prompt=sound(0.1)), seconds=0.05)
    with pytest.raises(ValueError, match="give one of them"):
        model.generate(processor(prompt=sound(0.1)), codes={2: torch.zeros(1, 3, dtype=torch.long)})


def test_damaged_inputs_are_refused(model, processor, words):
    with pytest.raises(ValueError, match="unknown song inputs input_ids"):
        model.generate({"input_ids": torch.zeros(1, 1)})
    with pytest.raises(ValueError, match="artist_ids must be a tensor"):
        model.generate({**words, "artist_ids": torch.zeros(1, 2)})
    with pytest.raises(ValueError, match="lyric_lengths"):
        model.generate({**words, "lyric_lengths": torch.tensor([10**6])})
    with pytest.raises(ValueError, match="artist_ids holds 99"):
        model.generate({**words, "artist_ids": torch.full((1, 3), 99)})
    with pytest.raises(ValueError, match="not both"):
        model.generate(words, **words)
    assert read_songs(model.config, {}, 1)["seeds"].tolist() == [-1]


def test_inputs_of_another_models_processor_are_refused(model, words):
    for rate in (model.config.sampling_rate, -1):
        assert read_songs(model.config, {**words, "sampling_rates": torch.tensor([rate])}, 1)
    older = {name: value for name, value in words.items() if name != "sampling_rates"}
    assert read_songs(model.config, older, 1)["sampling_rates"].tolist() == [-1]
    other = {**words, "sampling_rates": torch.tensor([12_000])}
    said = r"sampling_rate=12000, but this model sings at 44100; make them with the processor of its own repository"
    for door in (lambda: model.generate(other, levels=[2]), lambda: model.align(other, [None, None, [1] * 24])):
        with pytest.raises(ValueError, match=said):
            door()


def test_codes_of_every_form_are_the_same_codes(model, words, song):
    known = [codes[:, : 4 ** (2 - level) * 8] for level, codes in enumerate(song.codes)]
    wanted = model.generate(words, max_new_tokens=4, codes=known, return_codes=True).codes
    forms = (
        [codes[0] for codes in known],
        [codes.numpy() for codes in known],
        tuple(codes[0].numpy().astype(np.uint16) for codes in known),
        [codes.tolist() for codes in known],
        [codes[0].tolist() for codes in known],
        {str(level): codes for level, codes in enumerate(known)},
        {np.int64(level): codes.int() for level, codes in enumerate(known)},
    )
    for form in forms:
        assert _equal(model.generate(words, max_new_tokens=4, codes=form, return_codes=True).codes, wanted)
    assert _equal(
        model.generate(words, levels=[2], max_new_tokens=2, codes=[[], None, []]).audio,
        model.generate(words, levels=[2], max_new_tokens=2).audio,
    )
    aligned = model.align(words, [None, None, song.codes[2]])[0]
    assert np.array_equal(model.align(words, {"2": song.codes[2][0].numpy()})[0].starts, aligned.starts)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({2: [1, 2], "2": [1, 2]}, "codes name level 2 twice"),
        ({2: [[1, 2], [3]]}, r"codes of level 2 must be integers \(1, T\), one row per song, not list"),
        ({2: np.array([0.5, 1])}, r"must be integers \(1, T\), one row per song, not float64 \(2,\)"),
        ([1, 2, 3], r"codes of level 0 must be integers \(1, T\), one row per song, not int"),
        ({2: torch.zeros(1, 3, dtype=torch.long, device="meta")}, "codes of level 2 are on the meta device"),
        (np.zeros((3, 4), int), "codes=ndarray must be a SongState"),
    ],
)
def test_codes_that_can_not_be_meant_are_refused(model, words, codes, message):
    with pytest.raises(ValueError, match=message) as caught:
        model.generate(words, codes=codes)
    assert "\n" not in str(caught.value)


def test_a_state_of_other_songs_than_the_inputs_is_refused_as_such(model, processor, song):
    state = SongState(tuple((codes[0],) for codes in song.codes), (5,))
    for door in (model.generate, model.align):
        with pytest.raises(ValueError, match=r"another number of songs \(1\) than the inputs \(2\); give"):
            door(processor(["la", "lo"]), codes=state)


def test_a_list_of_other_codes_than_of_all_levels_is_refused(model, words, song):
    """It was taken for the finest levels, whichever they were."""
    two = song.codes[1:]
    for door in (
        lambda: model.generate(words, codes=two),
        lambda: model.align(words, two),
        lambda: model.repaint(words, two, (0.02, 0.03)),
        lambda: model.generate(words, codes=[*song.codes, None]),
    ):
        with pytest.raises(ValueError, match=r"has [24] entries, but this model has 3 levels; give one for each"):
            door()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("artist_ids", lambda ids: ids + 0.7, "artist_ids holds 1.7.*, but only whole numbers are allowed"),
        ("artist_ids", lambda ids: ids * float("nan"), "artist_ids holds nan, but only whole numbers"),
        ("lyric_lengths", lambda ids: ids > 0, "lyric_lengths is of torch.bool, but holds whole numbers"),
        ("genre_ids", lambda ids: ids.to("meta"), "genre_ids is on the meta device and holds no numbers"),
        ("prompt_values", lambda ids: ids.to("meta"), "prompt_values is on the meta device"),
    ],
)
def test_inputs_that_are_no_whole_numbers_are_refused(model, words, name, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        model.generate({**words, name: change(words[name])})
    assert "\n" not in str(caught.value)
    assert (
        read_songs(model.config, {**words, "artist_ids": words["artist_ids"].double()}, None)["artist_ids"].tolist()
        == words["artist_ids"].tolist()
    )


@pytest.mark.parametrize("given", [float("inf"), float("nan")])
def test_a_hook_is_told_what_it_gave(model, words, given):
    column = torch.tensor([5])
    with pytest.raises(FloatingPointError, match=r"hook gives logits that are NaN or \+inf: level 2, song 0, code 0"):
        model.generate(words, max_new_tokens=2, logits_processor=lambda logits, *_: logits.index_fill(1, column, given))


def test_a_length_in_the_models_own_configuration_is_refused(repository, words):
    model = JukeboxModel.from_pretrained(repository)
    model.generation_config.max_length = 50
    with pytest.raises(ValueError, match=r"generation_config\.max_length=50 cannot be a default.*; say seconds="):
        model.generate(words)


@pytest.mark.parametrize("of_call", [True, False, None])
def test_whether_priors_stay_may_be_said_for_one_call(repository, words, of_call):
    """And leaves the model's own choice as it is."""
    model = JukeboxModel.from_pretrained(repository)
    model.generate(words, max_new_tokens=1, levels=[2], keep_loaded=of_call)
    assert model.loaded_levels == ((2,) if of_call else ())
    assert not model.keep_loaded
    with pytest.raises(ValueError, match="keep_loaded='yes' must be True or False"):
        model.generate(words, keep_loaded="yes")


@pytest.mark.parametrize(
    ("artist", "seconds", "sentences"),
    [
        ("A@0,B@0.03", 0.06, ["artist from second 0.03 on is not heard: no window of level 2 begins after 0.00 s"]),
        ("A@0,B@0.03", 0.1, ["artist from second 0.03 on is heard from 0.07 s on, when the next window"]),
        ("A@0,B@9", 0.1, ["artist from second 9 on is not heard: no window of level 2 begins after 0.10 s"]),
        (
            "A@0,B@0.02,C@0.03",
            0.1,
            [
                "artist from second 0.02 on is not heard: .*, at 0.07 s, that from second 0.03 on has begun",
                "artist from second 0.03 on is heard from 0.07 s on",
            ],
        ),
        (
            "A@0,B@0.071,C@0.073,B@0.075",
            0.1,
            [
                "artist from second 0.071 on is not heard: .* that from second 0.075 on",
                "artist from second 0.073 on is not heard",
            ],
        ),
        ("A@0,A@0.03", 0.1, []),  # which changes nothing
        ("A@0,B@0.0686", 0.1, []),  # not later than a window's hop
        ("A@0,B@0.08", 0.1, []),
        ("A:2,B:1", 0.1, []),
    ],
)
def test_a_change_that_no_window_sings_in_time_is_told(model, processor, artist, seconds, sentences):
    names = {"A": "the testers", "B": "quiet ones", "C": "unknown"}
    inputs = processor("la", artist=re.sub("[ABC]", lambda found: names[found[0]], artist), seconds=seconds)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.generate(inputs, levels=[2])
    told = [str(one.message) for one in told if "second" in str(one.message)]
    assert len(told) == len(sentences), told
    assert all(re.match(f"the {sentence}", one) for sentence, one in zip(sentences, told, strict=True)), told


@pytest.mark.parametrize(
    ("recall", "sentence"),
    [
        ("0-8", "must be .start, stop. or .start, stop, from. in seconds"),
        ((8,), "must be .start, stop."),
        ((0.2, 0.1), "ends before it begins"),
        ((0, float("nan")), "recall=nan must be a number of seconds"),
        ((0, 0.1, 0.05), "is to be read again from 0.05 s on, before it ends; let that be 0.1 or later"),
        (
            (0, 0.1),
            "recall has nobody to read it: the song's .* codes are one window, which sees all of itself",
        ),
    ],
)
def test_a_stretch_that_means_nothing_is_refused_before_the_first_code(model, processor, recall, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.generate(**processor("la", seconds=0.05), recall=recall)


def test_a_song_is_as_long_as_its_audio_unless_it_was_begun_otherwise(model, processor):
    inputs = processor("la", artist="the testers", song_seconds=0.25, seed=1)
    with pytest.raises(ValueError, match=r"song_seconds=0.25 ends before its audio, which goes from 0 to 0.299 s"):
        model.generate(inputs, seconds=0.3, levels=[2])
    begun = SongState.empty(model.num_levels, [1])
    assert model.generate(inputs, seconds=0.3, levels=[2], codes=begun).audio.shape[-1] > 0.25 * 44100
