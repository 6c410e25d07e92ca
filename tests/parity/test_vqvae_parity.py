"""The VQ-VAE gives the original's codes, audio, losses and gradients, and a training step its codebooks."""

from pathlib import Path

import pytest
import torch

from jukebox_hf.conversion.openai_keys import openai_vqvae_keys
from jukebox_hf.model.networks import audio_losses
from jukebox_hf.model.networks.audio_losses import Resolution
from jukebox_hf.training.vqvae.codebook_ema import CodebookEMA, CodebookSettings

REFERENCE = Path(__file__).parents[1] / "reference" / "openai"
AUTOENCODERS = sorted(folder.name for folder in (REFERENCE / "vqvae").iterdir())
METRICS_OF_THE_CODEBOOK_UPDATE = {"entropy", "used_curr", "usage", "dk", "fit", "pn"}

each_autoencoder = pytest.mark.parametrize("name", AUTOENCODERS)


def channels_first(audio):
    """(B, S, 1) as recorded -> (B, 1, S) as ours."""
    return audio.transpose(1, 2)


def normalised_as(model, facts):
    """Give a model the loss normalisers of a recording, which checkpoints do not hold."""
    bandwidth = facts["bandwidth"]
    model.config.l1_bandwidth = bandwidth["l1"]
    model.config.l2_bandwidth = bandwidth["l2"]
    model.config.spectral_bandwidth = bandwidth["spec"]
    return model


def assert_losses(recording, theirs, output, without=frozenset()):
    """The loss and every metric by the original's name; none is missing and none is extra."""
    assert set(output.metrics) == set(theirs["metrics"]) - without
    recording.compare_number("loss", theirs["loss"], output.loss, "audio_losses")
    for name, value in output.metrics.items():
        recording.compare_number(name, theirs["metrics"][name], value, "audio_losses")


def test_all_three_recorded_autoencoders_are_here():
    assert AUTOENCODERS == ["vqvae_1level_noreverse", "vqvae_2level", "vqvae_3level"]


@each_autoencoder
@pytest.mark.compares("vqvae/{name}/eval", "zs.*", given=("x",))
def test_encoding_gives_the_originals_codes(name, recording, load_vqvae):
    codes = load_vqvae(name).encode(channels_first(recording.given("x"))).audio_codes
    assert len(codes) == len(recording.names("zs.*"))
    for level, ours in enumerate(codes):
        recording.compare(f"zs.{level}", ours, "codes")


@pytest.mark.compares("vqvae/vqvae_3level/eval", "encode.start1_end3.*", given=("x",))
def test_encoding_only_the_upper_levels_gives_the_originals_codes(recording, load_vqvae):
    audio = channels_first(recording.given("x"))
    for place, ours in enumerate(load_vqvae("vqvae_3level").encode(audio, levels=[1, 2]).audio_codes):
        recording.compare(f"encode.start1_end3.{place}", ours, "codes")


@each_autoencoder
@pytest.mark.compares("vqvae/{name}/eval", "encoder.*", given=("x",))
@torch.no_grad()
def test_every_encoder_block_gives_the_originals_latents(name, recording, load_vqvae):
    for level, encoder in enumerate(load_vqvae(name).encoders):
        hidden = channels_first(recording.given("x"))
        for index, block in enumerate(encoder.blocks):
            hidden = block(hidden)
            recording.compare(f"encoder.{level}.out.{index}", hidden, "latents")


@each_autoencoder
@pytest.mark.compares("vqvae/{name}/eval", "decode.*", given=("zs.*",))
def test_decoding_from_each_level_gives_the_originals_audio(name, recording, load_vqvae):
    model = load_vqvae(name)
    for level in range(model.config.num_levels):
        audio = model.decode(recording.given(f"zs.{level}"), level).audio_values
        recording.compare(f"decode.start_level_{level}", channels_first(audio), "audio")


@pytest.mark.parametrize("loss", ["l1", "l2", "linf", "lmix"])
@each_autoencoder
@pytest.mark.compares("vqvae/{name}/eval", "eval.{loss}.x_out", given=("x",))
@torch.no_grad()
def test_every_reconstruction_loss_gives_the_originals_metrics(name, loss, recording, load_vqvae):
    model = normalised_as(load_vqvae(name), recording.facts)
    theirs = recording.facts["losses"][f"eval.{loss}"]
    model.config.reconstruction_loss = loss
    model.config.l1_weight, model.config.l2_weight, model.config.linf_weight = theirs["lmix"]
    output = model(channels_first(recording.given("x")))
    recording.compare(f"eval.{loss}.x_out", channels_first(output.audio_values), "audio")
    assert_losses(recording, theirs, output)


@each_autoencoder
@pytest.mark.compares(
    "vqvae/{name}/loss_functions",
    "spectral_loss",
    "multispectral_loss",
    "spectral_convergence",
    given=("target", "pred"),
)
@torch.no_grad()
def test_each_audio_loss_alone_equals_the_originals(name, recording, load_vqvae):
    target, prediction = recording.given("target")[..., 0], recording.given("pred")[..., 0]
    model = load_vqvae(name)
    config = model.config
    resolutions = zip(
        config.multispectral_fft_sizes,
        config.multispectral_hop_lengths,
        config.multispectral_window_lengths,
        strict=True,
    )
    ours = {
        "spectral_loss": audio_losses.spectral_distance(target, prediction),
        "multispectral_loss": audio_losses.multispectral_distance(
            target, prediction, [Resolution(*sizes) for sizes in resolutions]
        ),
        "spectral_convergence": audio_losses.spectral_convergence(target, prediction),
    }
    for quantity, value in ours.items():
        recording.compare(quantity, value, "audio_losses")
    log_magnitude = audio_losses.log_magnitude_distance(target, prediction).mean()
    recording.compare_number("log_magnitude_loss", recording.facts["log_magnitude_loss"], log_magnitude, "audio_losses")
    # The recorded scalars are divided by the bandwidths of the evaluation recording: 0.25 (l1), 0.1 (l2 and linf).
    difference = target - prediction
    scalars = {
        "l1": difference.abs().mean() / 0.25,
        "l2": difference.square().mean() / 0.1,
        "linf": audio_losses.largest_errors(target, prediction, config.linf_top_k).mean() / 0.1,
    }
    assert set(scalars) == set(recording.facts["scalar"])
    for quantity, value in scalars.items():
        recording.compare_number(quantity, recording.facts["scalar"][quantity], value, "audio_losses")


def drawn_as(recording, names):
    """Draw the latents that the original drew: a latent's priority is its place in the recorded permutation."""

    def draw(purpose, step, level, start, stop):
        return recording.given(f"{names[purpose]}.{level}").argsort().double()[start:stop]

    return draw


def assert_codebooks_after_the_step(recording, model, ema, output):
    """Move the codebooks once: vectors, running sums and counts, and every metric of the move."""
    ema.add(model.codebooks, output.latents, output.audio_codes, step=0)
    metrics = ema.apply(model.codebooks, step=0)
    for level, codebook in enumerate(model.codebooks):
        recording.compare(f"after.{level}.k", codebook.codes, "codebooks")
        recording.compare(f"after.{level}.k_sum", ema.sums[level], "codebooks")
        recording.compare(f"after.{level}.k_elem", ema.counts[level], "codebooks")
    assert set(metrics) == METRICS_OF_THE_CODEBOOK_UPDATE
    for name, value in metrics.items():
        recording.compare_number(name, recording.facts["metrics"][name], value, "codebook_metrics")


def counts_before(case, latents, size):
    """The running counts that the original's restoring gives; the recorder made the first four codes rare."""
    counts = torch.ones(size)
    if case == "restart_threshold1":
        counts *= latents.shape[0] * latents.shape[2] / size
        counts[:4] = 0.5
    return counts


@pytest.mark.parametrize("case", ["restart_disabled", "restart_threshold1"])
@each_autoencoder
@pytest.mark.compares("vqvae/{name}/train_step_{case}", "x_out", "before.*", "after.*", given=("x", "randperm.*"))
def test_a_training_step_gives_the_originals_losses_gradients_and_codebooks(name, case, recording, load_vqvae):
    facts = recording.facts
    model = normalised_as(load_vqvae(name), facts).train()
    model.config.reconstruction_loss = facts["loss_fn"]
    output = model(channels_first(recording.given("x")))
    recording.compare("x_out", channels_first(output.audio_values), "audio")
    assert_losses(recording, facts, output, without=METRICS_OF_THE_CODEBOOK_UPDATE)
    output.loss.backward()
    ours = {pair.theirs: pair.ours for pair in openai_vqvae_keys(model.config)}
    assert {ours[key] for key in facts["grad_norms"]} == {key for key, _ in model.named_parameters()}
    for key, theirs in facts["grad_norms"].items():
        gradient = model.get_parameter(ours[key]).grad
        recording.compare_number(key, theirs, gradient.norm(), "vqvae_gradients")
    settings = CodebookSettings(decay=facts["hps"]["l_mu"], restart_threshold=facts["threshold"])
    ema = CodebookEMA(settings, drawn_as(recording, {"restart": "randperm"}))
    for level, codebook in enumerate(model.codebooks):
        recording.compare(f"before.{level}.k", codebook.codes, "codes")  # and the forward left it as it was
        ema.set_level(level, codebook.codes, counts_before(case, output.latents[level], len(codebook.codes)))
        recording.compare(f"before.{level}.k_sum", ema.sums[level], "codebooks")
        recording.compare(f"before.{level}.k_elem", ema.counts[level], "codebooks")
    assert_codebooks_after_the_step(recording, model, ema, output)


@each_autoencoder
@pytest.mark.compares(
    "vqvae/{name}/train_step_init_from_data",
    "x_out",
    "after.*",
    given=("x", "randperm_init.*", "randperm_update.*"),
)
@torch.no_grad()
def test_codebooks_drawn_from_the_first_batch_are_the_originals(name, recording, load_vqvae):
    model = normalised_as(load_vqvae(name), recording.facts).train()
    audio = channels_first(recording.given("x"))
    for codebook in model.codebooks:
        codebook.codes.zero_()  # never trained
    settings = CodebookSettings(decay=recording.facts["hps"]["l_mu"])
    ema = CodebookEMA(settings, drawn_as(recording, {"start": "randperm_init", "restart": "randperm_update"}))
    ema.start(model.codebooks, [encoder(audio) for encoder in model.encoders])
    output = model(audio)
    recording.compare("x_out", channels_first(output.audio_values), "audio")
    assert_losses(recording, recording.facts, output, without=METRICS_OF_THE_CODEBOOK_UPDATE)
    assert_codebooks_after_the_step(recording, model, ema, output)
