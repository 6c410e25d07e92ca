"""From a half-precision checkpoint, float32 arithmetic gives the original's numbers; half-precision nearly so."""

import pytest
import torch

from jukebox_hf import JukeboxPrior
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.sampling.window_decoder import sample_window

STEM = "fp16/fp16_params"


@pytest.fixture
def half_prior(load_prior, tmp_path):
    """The recorded prior computing in half precision: matrices of the transformers only, as `from_pretrained` casts."""
    load_prior("fp16").save_pretrained(tmp_path)
    return JukeboxPrior.from_pretrained(tmp_path, dtype=torch.float16).eval()


@pytest.mark.compares(STEM, "logits_fp32_compute", given=("z", "y"))
@torch.no_grad()
def test_half_precision_weights_in_float32_give_the_originals_logits(recording, load_prior, labels_of):
    prior = load_prior("fp16")
    assert {parameter.dtype for parameter in prior.parameters()} == {torch.float32}
    output = prior(recording.given("z"), **labels_of(recording, prior.config))
    recording.compare("logits_fp32_compute", output.logits, "stored_half")
    recording.compare_number("loss", recording.facts["loss_fp32_compute"], output.loss, "stored_half")


@pytest.mark.compares(STEM, "logits_fp16_compute_cpu", given=("z", "y"))
@torch.no_grad()
def test_half_precision_arithmetic_stays_near_the_originals(recording, half_prior, labels_of):
    assert half_prior.transformer.layers[0].mlp.up.weight.dtype == torch.float16
    assert half_prior.transformer.token_embedding.weight.dtype == torch.float32
    output = half_prior(recording.given("z"), **labels_of(recording, half_prior.config))
    assert output.logits.dtype == torch.float32
    recording.compare("logits_fp16_compute_cpu", output.logits, "computed_half")
    recording.compare_number("loss", recording.facts["loss_fp16_compute_cpu"], output.loss, "computed_half")


@pytest.mark.compares(STEM, "sample_fp16_cpu.*", given=("y",))
@torch.no_grad()
def test_sampling_with_half_precision_caches_gives_the_originals_codes(recording, half_prior, labels_of):
    labels = labels_of(recording, half_prior.config)
    assert half_prior.new_cache(2).layers[0].dtype == torch.float16
    codes, logits = sample_window(
        half_prior,
        half_prior.sequence(torch.zeros(2, 0, dtype=torch.long), labels["lyric_ids"]),
        half_prior.condition(**labels),
        half_prior.config.context_length,
        SamplingSettings(temperature=0),
        keep_logits=True,
    )
    recording.compare("sample_fp16_cpu.z", codes, "sampled_half")
    recording.compare("sample_fp16_cpu.logits", logits, "computed_half")
