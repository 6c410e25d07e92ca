"""JukeboxVQVAE: levels on their own, chunks that leave no seam, losses whose gradients are finite."""

import math

import pytest
import torch

from jukebox_hf import JukeboxVQVAE, vqvae_preset
from jukebox_hf.model.networks.convolution import level_reach


def _noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


# --- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "expected"), [(None, [0, 1, 2]), ([1], [1]), ([2, 0], [0, 2]), ((2, 2), [2]), (range(2), [0, 1])]
)
def test_only_the_wanted_encoders_run_and_answers_come_finest_first(levels, expected, tiny_vqvae):
    model = tiny_vqvae()
    ran = []
    for level, encoder in enumerate(model.encoders):
        encoder.register_forward_hook(lambda *_, level=level: ran.append(level))
    codes = model.encode(_noise(2, 1, 320), levels=levels).audio_codes
    assert ran == expected
    assert [tuple(level.shape) for level in codes] == [(2, 320 // (4, 8, 32)[level]) for level in expected]


def test_a_level_encodes_the_same_alone_and_among_others(tiny_vqvae):
    model, audio = tiny_vqvae(), _noise(2, 1, 320)
    together = model.encode(audio).audio_codes
    for level in range(3):
        assert torch.equal(model.encode(audio, levels=[level]).audio_codes[0], together[level])
        assert together[level].dtype == torch.int64
        assert len(together[level].unique()) > 3


def test_a_fine_level_takes_lengths_that_a_coarse_one_can_not(tiny_vqvae):
    assert tiny_vqvae().encode(_noise(1, 1, 36), levels=[0]).audio_codes[0].shape == (1, 9)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_codes_of_any_level_become_audio_of_their_length(level, tiny_vqvae):
    model = tiny_vqvae()
    codes = torch.randint(32, (2, 7))
    audio = model.decode(codes, level=level).audio_values
    assert audio.shape == (2, 1, 7 * model.config.hop_lengths[level])
    alone = model.decode(codes[1:], level=level).audio_values
    assert (audio[1:] - alone).abs().max() < 1e-5 * audio.abs().max()


def test_forward_encodes_and_decodes_as_encode_and_decode_do(tiny_vqvae):
    model, audio = tiny_vqvae(), _noise(2, 1, 320)
    with torch.no_grad():
        out = model(audio, return_loss=False)
    assert all(torch.equal(a, b) for a, b in zip(out.audio_codes, model.encode(audio).audio_codes, strict=True))
    assert (out.audio_values - model.decode(out.audio_codes[0]).audio_values).abs().max() < 1e-4


def test_outputs_come_as_tuples_on_request(tiny_vqvae):
    model, audio = tiny_vqvae(), _noise(1, 1, 320)
    (codes,) = model.encode(audio, return_dict=False)
    (decoded,) = model.decode(codes[0], return_dict=False)
    assert decoded.shape == audio.shape
    assert (model(audio, return_loss=False, return_dict=False)[0] - decoded).abs().max() < 1e-4


def test_sound_that_is_not_finite_is_refused(tiny_vqvae):
    model = tiny_vqvae()
    model.decoders[1].blocks[0].into.bias.data[0] = float("inf")
    with pytest.raises(
        FloatingPointError, match="the sound of the codes of level 1 is not finite; check the weights of"
    ):
        model.decode(torch.zeros(1, 4, dtype=torch.long), level=1)


# --- chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_seconds", [0.004, 0.03, 0.1, 0.25, 0.6])
def test_chunks_leave_no_seam_in_a_small_vqvae(chunk_seconds, tiny_vqvae):
    model, audio = tiny_vqvae(), _noise(2, 1, 960)
    whole, pieces = (model.encode(audio, chunk_seconds=s).audio_codes for s in (None, chunk_seconds))
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))
    for level, codes in enumerate(whole):
        at_once = model.decode(codes, level=level, chunk_seconds=None).audio_values
        in_chunks = model.decode(codes, level=level, chunk_seconds=chunk_seconds).audio_values
        assert (at_once - in_chunks).abs().max() < 1e-5 * max(1, at_once.abs().max())


@pytest.mark.parametrize(("level", "chunk_seconds"), [(0, 0.6), (0, 1.2), (1, 0.05), (1, 0.7), (2, 0.1), (2, 0.7)])
@torch.no_grad()
def test_chunks_leave_no_seam_in_the_released_size(level, chunk_seconds, assert_same_but_for_rounding):
    torch.manual_seed(1)
    model = JukeboxVQVAE(vqvae_preset()).eval()
    audio = _noise(1, 1, 128 * 450)  # 1.3 s; levels look 1.04, 0.06 and 0.24 s far, so one chunk is shorter, one longer
    latents = model.encoders[level](audio)
    spread = torch.randn_like(model.codebooks[level].codes) * latents.std(dim=2)
    model.codebooks[level].codes.copy_(latents.mean(dim=2) + spread)
    whole = model.encode(audio, [level], chunk_seconds=None).audio_codes[0]
    assert len(whole.unique()) > 20, "nearly all codes are one, so no seam could be seen"
    pieces = model.encode(audio, [level], chunk_seconds=chunk_seconds).audio_codes[0]
    assert (pieces != whole).float().mean() < 0.02, "more than a tie here and there"
    far, farther = ((latents - model.codebooks[level].vectors(codes)).square().sum(dim=1) for codes in (whole, pieces))
    # Latents err by as much as their sums explain, and a squared distance by twice that, times the distance.
    terms = sum(weight[0].numel() for weight in model.encoders[level].parameters() if weight.dim() > 1)
    rounding = 4 * torch.finfo(torch.float32).eps * terms**0.5 * latents.square().sum(dim=1).max()
    assert (farther - far).abs().max() < rounding, "a code differs that is not one of two equally near"
    at_once = model.decode(whole, level, chunk_seconds=None).audio_values
    in_chunks = model.decode(whole, level, chunk_seconds=chunk_seconds).audio_values
    assert_same_but_for_rounding(in_chunks, at_once, model.decoders[level])


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_overlap_covers_the_receptive_field_and_little_more(level, tiny_vqvae):
    model = tiny_vqvae()
    hop, reach = model.config.hop_lengths[level], level_reach(model.config, level)
    middle = 3 * reach
    audio = _noise(1, 1, 6 * reach * hop)
    click = audio.clone()
    click[:, :, middle * hop : (middle + 1) * hop] += 1.0
    encoder, decoder = model.encoders[level], model.decoders[level]
    heard = ((encoder(click) - encoder(audio)).abs().amax(dim=(0, 1)) > 0).nonzero().flatten()
    distance = int((heard - middle).abs().max())
    assert reach / 3 - 1 <= distance <= reach
    vectors = _noise(1, model.config.codebook_dim, 6 * reach)
    other = vectors.clone()
    other[:, :, middle] += 1.0
    heard = ((decoder(other) - decoder(vectors)).abs()[0, 0] > 0).nonzero().flatten() // hop
    distance = int((heard - middle).abs().max())
    assert reach / 3 - 1 <= distance <= reach


def test_a_long_recording_takes_no_more_memory_than_a_short_one(run_python):
    """A tenfold longer recording adds its own bytes and those of its codes; without chunks it adds far more."""
    code = """
import torch
from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
torch.set_num_threads(1)
torch.manual_seed(0)
config = JukeboxVQVAEConfig(sampling_rate=8000, level_strides=[[4, 4], [4]], hidden_sizes=[8, 4], codebook_size=16,
                            codebook_dim=4, residual_depths=[2, 2])
model = JukeboxVQVAE(config).eval()

def peak_mib(seconds, chunk_seconds):
    codes = model.encode(torch.randn(1, 1, seconds * 8000), chunk_seconds=chunk_seconds).audio_codes
    for level in (0, 1):
        model.decode(codes[level], level, chunk_seconds=chunk_seconds)
    with open("/proc/self/status") as status:  # getrusage would answer for the parent process too
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

short, long = peak_mib(32, 4.0), peak_mib(320, 4.0)
unchunked = peak_mib(320, None)
print(long - short, unchunked - long)
"""
    added, saved = map(float, run_python(code).split())
    assert added < 45, f"{added:.0f} MiB more for a tenfold recording, whose audio, codes and answer are 33 MiB"
    assert saved > 45, "chunking saved nothing, so this test could not tell"


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_forward_never_changes_a_codebook(training, tiny_vqvae):
    model = tiny_vqvae().train(training)
    before = [codebook.codes.clone() for codebook in model.codebooks]
    model(_noise(2, 1, 1088)).loss.backward()
    assert all(torch.equal(a, b.codes) for a, b in zip(before, model.codebooks, strict=True))
    assert not any(codebook.codes.requires_grad for codebook in model.codebooks)


ALL_LOSSES = [
    {"reconstruction_loss": name, "spectral_loss": spectral, "spectral_weight": 1.0, "multispectral_weight": 1.0}
    for name in ("l1", "l2", "linf", "lmix")
    for spectral in ("magnitude", "convergence")
]


@pytest.mark.parametrize("losses", ALL_LOSSES, ids=lambda losses: "-".join(map(str, list(losses.values())[:2])))
@pytest.mark.parametrize("sound", ["noise", "silence", "one silent song", "itself"])
def test_gradients_are_finite_on_any_sound(losses, sound, tiny_vqvae):
    model = tiny_vqvae(**losses, l1_weight=0.5).train()
    audio = _noise(2, 1, 1088)
    if sound == "silence":
        audio = torch.zeros_like(audio)
    if sound == "one silent song":
        audio[0] = 0
    if sound == "itself":  # the target is the reconstruction of level 0: every distance of that level is 0
        with torch.no_grad():
            for parameter in model.decoders[0].out.parameters():
                parameter.zero_()
        audio = torch.zeros_like(audio)
    out = model(audio)
    out.loss.backward()
    assert out.loss.isfinite()
    assert all(value.isfinite() for value in out.metrics.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_every_weight_of_a_vqvae_is_trained(tiny_vqvae):
    model = tiny_vqvae().train()
    model(_noise(2, 1, 1088)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_loss_is_the_weighted_sum_of_its_metrics_over_all_levels(tiny_vqvae):
    model = tiny_vqvae(spectral_weight=0.3, multispectral_weight=0.7, commit_weight=0.05)
    with torch.no_grad():
        out = model(_noise(2, 1, 1088))
    metrics = out.metrics
    for name in ("recons", "spectral", "multispectral"):
        levels = sum(metrics[f"{name}_loss_l{level}"] for level in (1, 2, 3))
        assert torch.allclose(metrics[f"{name}_loss"], levels)
    total = metrics["recons_loss"] + 0.3 * metrics["spectral_loss"] + 0.7 * metrics["multispectral_loss"]
    assert torch.allclose(out.loss, total + 0.05 * metrics["commit_loss"])
    assert not any(value.requires_grad for value in metrics.values())
    assert all(latent.dtype == torch.float32 for latent in out.latents)


def test_commitment_pulls_encoders_only_and_reconstruction_passes_straight_through(tiny_vqvae):
    model = tiny_vqvae(reconstruction_loss="l2", multispectral_weight=0.0, commit_weight=0.0)
    model(_noise(2, 1, 1088)).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.encoders.parameters()), "no gradient came through the codebook"
    model = tiny_vqvae(reconstruction_loss="lmix", l2_weight=0, linf_weight=0, multispectral_weight=0.0)
    model(_noise(2, 1, 1088)).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.encoders.parameters())
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.decoders.parameters())


def test_gradient_checkpointing_gives_the_same_gradients(recompute_activations, tiny_vqvae):
    model, audio = tiny_vqvae().train(), _noise(2, 1, 1088)
    calls = []
    model.encoders[0].blocks[0].stacks[0][0].dilated.register_forward_pre_hook(lambda *_: calls.append(1))
    plain = _gradients(model, audio)
    assert len(calls) == 1
    recompute_activations(model)
    recomputed = _gradients(model, audio)
    assert len(calls) == 3, "nothing was recomputed"
    assert len(plain) == len(list(model.parameters()))
    for name, gradient in plain.items():
        assert torch.allclose(gradient, recomputed[name], rtol=1e-4, atol=1e-6), name


def _gradients(model, audio):
    model.zero_grad()
    model(audio).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_a_recording_too_short_for_a_spectrum_is_refused_with_the_length_it_needs(tiny_vqvae):
    model = tiny_vqvae()
    with pytest.raises(
        ValueError, match=r"^input_values has 1024 samples, but the spectral losses need over 1024; give"
    ):
        model(torch.zeros(1, 1, 1024))
    assert model(_noise(1, 1, 1056)).loss.isfinite()
    assert model(_noise(1, 1, 32), return_loss=False).loss is None
    larger = tiny_vqvae(multispectral_fft_sizes=[4096, 128])
    with pytest.raises(ValueError, match=r"has 2048 samples, but the spectral losses need over 2048"):
        larger(torch.zeros(1, 1, 2048))


def test_audio_of_another_scale_is_refused_and_loud_audio_is_not(tiny_vqvae):
    model = tiny_vqvae()
    assert model.encode(_noise(1, 1, 32) * 3).audio_codes[-1].shape == (1, 1)
    for encode in (model.encode, lambda audio: model.encode_latents(audio, 0)):
        with pytest.raises(ValueError, match=r"input_values holds -?\d+.* full scale is 1, so divide 16-bit samples"):
            encode(_noise(1, 1, 32) * 32767)


def test_a_fresh_vqvae_knows_that_its_codes_were_never_trained(tiny_vqvae, tiny_vqvae_config):
    model = JukeboxVQVAE(tiny_vqvae_config())
    assert all(codebook.is_untrained and not codebook.codes.any() for codebook in model.codebooks)
    assert not any(codebook.is_untrained for codebook in tiny_vqvae().codebooks)
    assert math.isfinite(float(model(_noise(1, 1, 1056)).loss))


@pytest.mark.parametrize(
    ("option", "weight", "metric"),
    [("log_magnitude_weight", 0.3, "log_magnitude_loss"), ("relative_weight", 2.0, None)],
)
def test_a_further_loss_adds_its_weighted_term_and_is_off_by_default(option, weight, metric, tiny_vqvae):
    audio = _noise(2, 1, 1056)
    plain, weighted = (tiny_vqvae(**changes)(audio) for changes in ({}, {option: weight}))
    if metric is None:
        alone = tiny_vqvae(l2_weight=0.0, linf_weight=0.0, relative_weight=1.0)
        term = alone(audio).metrics["recons_loss"]
    else:
        term = weighted.metrics[metric]
        levels = [weighted.metrics[f"{metric}_l{level}"] for level in (1, 2, 3)]
        assert float(term) == pytest.approx(float(sum(levels)), rel=1e-5)
        assert metric not in plain.metrics
    assert float(weighted.loss - plain.loss) == pytest.approx(weight * float(term), rel=1e-2)


def test_log_magnitudes_may_be_those_of_mel_bands(tiny_vqvae):
    audio = _noise(2, 1, 1056)
    bins, bands = (tiny_vqvae(log_magnitude_weight=1.0, log_magnitude_bands=count)(audio) for count in (0, 8))
    assert float(bands.metrics["log_magnitude_loss"]) != pytest.approx(
        float(bins.metrics["log_magnitude_loss"]), rel=1e-2
    )
    difference = float(bands.metrics["log_magnitude_loss"] - bins.metrics["log_magnitude_loss"])
    assert float(bands.loss - bins.loss) == pytest.approx(difference, abs=1e-3)


def test_the_multispectral_term_can_be_relative_too(tiny_vqvae):
    audio = _noise(2, 1, 1056)
    absolute, relative = (
        tiny_vqvae(multispectral_loss=kind)(audio).metrics["multispectral_loss_l1"]
        for kind in ("magnitude", "convergence")
    )
    louder = tiny_vqvae(multispectral_loss="convergence")(audio * 1e-6).metrics["multispectral_loss_l1"]
    assert float(absolute) != pytest.approx(float(relative), rel=0.1)
    assert float(louder) == 0  # below what counts as sound


@pytest.mark.parametrize("kind", ["l1", "l2", "linf", "lmix"])
@pytest.mark.parametrize("spectral", ["magnitude", "convergence"])
def test_every_loss_has_finite_gradients_on_silence(kind, spectral, tiny_vqvae_config):
    model = JukeboxVQVAE(
        tiny_vqvae_config(
            reconstruction_loss=kind,
            spectral_loss=spectral,
            multispectral_loss=spectral,
            l1_weight=1.0,
            relative_weight=1.0,
            spectral_weight=1.0,
            log_magnitude_weight=1.0,
        )
    )
    output = model.train()(torch.zeros(2, 1, 1056))
    output.loss.backward()
    assert output.loss.isfinite()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
