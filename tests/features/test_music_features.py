"""JukeboxFeatures: which layers, whose sound, and nothing of the neighbours."""

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf import JukeboxFeatures, JukeboxPrior, JukeboxVQVAE

RATE, WINDOW = 1000, 120


def test_layer_i_is_the_output_of_block_i_counted_from_one(model, inputs_for):
    """And index i of output_hidden_states; 0 is what the first block reads."""
    prior = model.prior(1)
    inputs = inputs_for(prior.config)
    outputs = []
    hooks = [
        block.register_forward_hook(lambda _, __, out: outputs.append(out[0])) for block in prior.transformer.layers
    ]
    with torch.no_grad():
        whole = prior(**inputs, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    codes = inputs.pop("codes")
    found = prior.hidden_states(codes, [0, 1, 36, 72], prior.condition(**inputs))
    assert torch.equal(found[2], outputs[35])
    for layer, states in zip((0, 1, 36, 72), found, strict=True):
        assert torch.equal(states, whole.hidden_states[layer])


@pytest.mark.parametrize("flavour", ["bare", "labelled", "prefix", "encoder", "upsampler"])
def test_hidden_states_are_those_of_forward_for_every_kind_of_prior(tiny_prior, inputs_for, flavour):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config, length=9)
    with torch.no_grad():
        whole = prior(**inputs, output_hidden_states=[2, 1], return_loss=False)
    codes = inputs.pop("codes")
    lyrics = inputs.get("lyric_ids")
    found = prior.hidden_states(codes, [2, 1], prior.condition(**inputs), lyrics)
    for states, wanted in zip(found, whole.hidden_states, strict=True):
        assert torch.equal(states, wanted[:, prior.config.prefix_length :])


def test_layers_above_the_last_wanted_one_and_the_head_are_not_run(model, inputs_for):
    prior, ran = model.prior(1), []
    inputs = inputs_for(prior.config)
    hooks = [prior.lm_head.register_forward_hook(lambda *_: ran.append("head"))]
    for index, block in enumerate(prior.transformer.layers, start=1):
        hooks.append(block.register_forward_hook(lambda *_, index=index: ran.append(index)))
    codes = inputs.pop("codes")
    prior.hidden_states(codes, [5, 2], prior.condition(**inputs))
    for hook in hooks:
        hook.remove()
    assert ran == [1, 2, 3, 4, 5]


def test_only_the_first_layers_are_read(stored_features, repository):
    made = stored_features(layers=36)
    assert len(made.prior.transformer.layers) == 36
    read, there = made.bytes_read()
    layers = [
        t.nbytes for name, t in JukeboxPrior.from_pretrained(repository, subfolder="prior_1").state_dict().items()
    ]
    kept = [tensor.nbytes for tensor in made.prior.state_dict().values()]
    assert read <= sum(kept) < sum(layers) <= there * 1.2  # a tied head is stored once
    assert 0.35 < read / there < 0.6  # of so thin layers names take much of the file


def test_a_prior_of_some_layers_is_no_prior_to_sample_with(features):
    prior = features(layers=2).prior
    codes = torch.zeros(1, 3, dtype=torch.long)
    said = {
        "artist_ids": torch.tensor([0]),
        "genre_ids": torch.tensor([[0]]),
        "timing": torch.tensor([[60000, 0, 960]]),
    }
    with pytest.raises(ValueError, match="loaded with depth=2 of 72 layers, for hidden_states alone"):
        prior(codes, **said)


def test_layers_of_a_model_in_memory_are_the_same(model, stored_features, sound):
    wanted = stored_features(layers=(3, 4)).track(sound(1.2)).values
    found = JukeboxFeatures(model, layers=(3, 4))
    assert np.array_equal(found.track(sound(1.2)).values, wanted)
    block = model.prior(1).transformer.layers[0]
    assert found.prior.transformer.layers[0].mlp.up.weight is block.mlp.up.weight


def test_what_a_neighbour_sings_changes_no_bit(features, sound):
    made = features(layers=(1, 3), batch_size=8)
    clips = [sound(1.0, 1), sound(2.3, 2), sound(0.4, 3)]
    others = [clips[0], sound(2.3, 8), sound(0.4, 9)]
    assert torch.equal(made(clips).features[0], made(others).features[0])
    assert not torch.equal(made(clips).features[1], made(others).features[1])


def test_a_clip_in_a_batch_has_the_features_that_it_has_alone(features, sound, assert_same_but_for_rounding):
    """But for what rounding makes of matrix products of another size."""
    clips = [sound(1.0, 1), sound(2.3, 2), sound(0.05, 3)]
    for pool in ("mean", "none", 30.0):
        together = features(layers=(1, 3), batch_size=8, pool=pool)(clips)
        for row, clip in enumerate(clips):
            alone = features(layers=(1, 3), pool=pool)(clip)
            got = together.features[row][..., : alone.features.shape[-2], :]
            assert_same_but_for_rounding(got, alone.features[0], 16 * 3 * 12, pool)
            if pool != "mean":
                assert together.mask[row].sum() == alone.features.shape[-2]
                assert not together.features[row][:, ~together.mask[row]].any()


def test_one_recording_with_a_rate_and_a_file_are_the_same(features, sound, tmp_path):
    made, clip = features(layers=4), sound(1.5)
    soundfile.write(tmp_path / "a.wav", clip, RATE, subtype="FLOAT")
    wanted = made.track(clip).values
    for form in (str(tmp_path / "a.wav"), tmp_path / "a.wav", (clip, RATE), {"array": clip, "sampling_rate": RATE}):
        assert np.array_equal(made.track(form).values, wanted)
    resampled = made.track(clip, sampling_rate=2000)
    assert resampled.seconds == pytest.approx(0.75, abs=0.01)


def test_all_of_a_recording_is_heard(features, sound):
    """Not only its first window: a change at the end changes the mean."""
    clip = sound(3.0)
    changed = clip.copy()
    changed[-100:] = 0
    made = features(layers=3)
    assert not np.array_equal(made.track(clip).values, made.track(changed).values)
    first = features(layers=3, max_windows=1)
    assert np.array_equal(first.track(clip).values, first.track(changed).values)


def test_the_first_window_has_the_codes_of_the_whole_recording(features, model, sound):
    clip = sound(3.0)
    made = features(layers=(0,), max_windows=1, pool="none")
    whole = features(layers=(0,), pool="none", offset_seconds=0).track(clip).values
    assert np.array_equal(made.track(clip).values[0], whole[0, :WINDOW])


def test_overlapping_windows_give_what_has_heard_more(features, sound):
    clip = sound(2.0)
    half = features(layers=(2,), pool="none", hop_seconds=0.48, total_seconds=70, offset_seconds=0).track(clip)
    plain = features(layers=(2,), pool="none", total_seconds=70, offset_seconds=0).track(clip)
    assert half.values.shape == plain.values.shape == (1, 250, 16)
    assert half.windows == 4
    assert np.allclose(half.values[0, :120], plain.values[0, :120], atol=1e-4)
    assert not np.allclose(half.values[0, 120:180], plain.values[0, 120:180], atol=1e-2)


def test_an_upsampler_reads_the_codes_above(features, model, sound):
    clip = sound(0.5)[:480]
    found = features(level=0, layers=2, pool="none").track(clip).values[0]
    codes = model.vqvae.encode(torch.from_numpy(clip)[None, None], [0, 1]).audio_codes
    with torch.no_grad():
        wanted = model.prior(0)(
            codes[0],
            upper_codes=codes[1],
            artist_ids=torch.tensor([0]),
            genre_ids=torch.tensor([[0, -1, -1]]),
            output_hidden_states=[2],
        ).hidden_states[0][0]
    assert np.allclose(found, wanted.numpy(), atol=1e-5)


def test_codes_vectors_and_latents_are_those_of_the_vqvae(features, model, sound):
    clip = sound(1.0)
    audio = torch.from_numpy(clip)[None, None]
    for level in (0, 1):
        codes = model.vqvae.encode(audio, [level]).audio_codes[0]
        latents = model.vqvae.encode_latents(audio, level)
        assert torch.equal(model.vqvae.codebooks[level].nearest(latents)[0], codes)
        found = {
            k: features(kind=k, level=level, pool="none").track(clip).values for k in ("codes", "vectors", "latents")
        }
        assert np.array_equal(found["codes"][0, :, 0], codes[0].numpy())
        assert np.array_equal(found["latents"][0], latents[0].T.numpy())
        assert np.array_equal(found["vectors"][0], model.vqvae.codebooks[level].codes[codes[0]].numpy())
        assert np.allclose(features(kind="latents", level=level).track(clip).values[0], latents[0].mean(-1), atol=1e-6)


def test_latents_do_not_depend_on_chunks(model, sound):
    audio = torch.from_numpy(sound(2.0))[None, None]
    whole = model.vqvae.encode_latents(audio, 1, chunk_seconds=None)
    assert torch.allclose(model.vqvae.encode_latents(audio, 1, chunk_seconds=0.3), whole, atol=1e-5)


def test_a_vqvae_alone_gives_latents_and_has_no_layers(model, repository, sound):
    wanted = JukeboxFeatures(model, kind="latents").track(sound(0.5)).values
    for vqvae in (model.vqvae, repository / "vqvae"):
        made = (JukeboxFeatures if isinstance(vqvae, JukeboxVQVAE) else JukeboxFeatures.from_pretrained)(
            vqvae, kind="latents"
        )
        assert np.array_equal(made.track(sound(0.5)).values, wanted)
        assert len(made.revision) == 16
    with pytest.raises(ValueError, match="is a VQ-VAE without priors, which have the layers; say kind='latents'"):
        JukeboxFeatures(model.vqvae, layers=3)


@pytest.mark.parametrize(("dtype", "far"), [("float32", 0), ("bfloat16", 0.3), ("float16", 0.05), ("int8", 0.3)])
def test_smaller_weights_give_nearby_features(features, stored_features, sound, dtype, far):
    exact = features(layers=6).track(sound(0.5)).values
    made = stored_features(layers=6, dtype=dtype)
    found = made.track(sound(0.5)).values
    assert found.dtype == np.float32
    assert made.dtype_name == dtype
    assert np.abs(found - exact).max() <= far * np.abs(exact).max()
    assert np.array_equal(made.track(sound(0.5)).values, found)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"layers": 73}, "names layer 73, but the prior of level 1 has 72; choose from 1 to 72"),
        ({"layers": -73}, "names layer -73, but the prior of level 1 has 72"),
        ({"level": 2}, "level=2 is not a level of this model"),
        ({"pool": 500.0}, "pool=500.0 frames per second is over the 125 codes per second of level 1"),
        ({"total_seconds": 20.0}, "total_seconds=20.0 is not of this prior, whose songs last 60 to under 600 s"),
        ({"hop_seconds": 2.0}, "hop_seconds=2 must be from one code to the 0.96 s of a window"),
        ({"slice_seconds": 0.002}, "slice_seconds=0.002 is shorter than one code, 0.008 s"),
        ({"offset_seconds": 90}, "offset_seconds=90 must be before the end of the song, 60 s"),
        ({"batch_size": 0}, "batch_size=0 must be 1 window or more"),
        ({"dtype": "int4"}, "dtype='int4' must be float32, bfloat16 or float16.*; for int8 say dtype='int8'"),
        ({"dtype": "float64"}, "dtype='float64' must be float32, .*; for int8 say dtype='int8'"),
        ({"device": "gpu"}, "^device='gpu' names 'gpu', which is no device; say 'cpu' or 'cuda:0'$"),
        ({"device": "auto"}, "^device='auto' names 'auto', which is no device"),
        ({"device": 99}, "^device=99 needs 99, but torch finds no such device here"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_a_sentence(features, stored_features, said, sentence):
    with pytest.raises(ValueError, match=sentence):
        (stored_features if {"dtype", "device"} & set(said) else features)(**said)


@pytest.mark.parametrize(
    ("audio", "sentence"),
    [
        ([], "audio is an empty list"),
        (np.zeros(0, np.float32), "holds no samples"),
        (np.zeros(3, np.float32), "has 3 samples at 1000 Hz, fewer than the 8 of one code"),
        (np.full(1000, np.nan, np.float32), "not finite"),
        (np.zeros((8, 1000), np.float32), r"shape \(8, 1000\), which may be a batch or many channels"),
        (np.zeros(36_000_000, np.float32), "36000.0 s long, but at most 3600 s are read"),
        ([np.ones(100, np.float32), np.zeros(3, np.float32)], r"audio\[1\] has 3 samples"),
    ],
)
def test_bad_sound_is_refused_in_a_sentence(features, audio, sentence):
    with pytest.raises(ValueError, match=sentence):
        features(layers=1)(audio)


def test_silence_has_features(features):
    for normalize in ("none", "peak"):
        found = features(layers=2, normalize=normalize).track(np.zeros(1000, np.float32)).values
        assert np.isfinite(found).all()


def test_stereo_is_mixed_down_and_nothing_else_is_averaged(features, sound):
    made = features(layers=2)
    left, right = sound(0.5, 1), sound(0.5, 2)
    stereo = made.track(np.stack([left, right])).values
    assert np.array_equal(stereo, made.track((left + right) / 2).values)
    assert made([left, right]).features.shape == (2, 1, 16)
