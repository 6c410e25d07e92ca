"""A repository whose priors are int8, and how far its logits lie from the exact ones.

Flows in: a repository of ours, or of transformers 4. Flows out: the same model with quantized matrices, as a repository
that `from_pretrained` opens like any other where torchao is installed; refused where int8 moves the logits too far.

The gate: the exact priors write a few short windows from the top level down, each level on the codes of the one above,
as a song is written. Both priors then run on those codes, and their logits at every position are compared. Codes
drawn evenly would be simpler and prove less: no song has them, and a prior that is lost agrees with nobody.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_hf.conversion.known_files import check_copied, copy_known
from jukebox_hf.conversion.staging import staged
from jukebox_hf.model.checkpoints.companions import check_lists
from jukebox_hf.model.checkpoints.quantization import LogitAgreement, int8_config, num_quantized
from jukebox_hf.model.checks.validation import check_finite, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.sampling.window_decoder import sample_window

# Random weights of the released shapes err by 0.1 standard deviations in int8 and by more than 1 in four bits, which
# sound like another model; trained ones err less.
LARGEST_ERROR = 0.5
LEAST_AGREEMENT = 0.8
COMPARED_WINDOWS = 4
_LEGACY_WEIGHTS = ("model.safetensors", "pytorch_model")  # of repositories of transformers 4
_GRID_ROWS, _LEAST_CODES, _MOST_CODES = 3, 64, 384


def quantize_repository(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Quantize every prior of a repository to int8.

    Args:
        source: a folder in our layout.
        out: the folder to make; it appears whole or not at all.
        force: replace an older repository at `out`, and save what fails the gate.
        say: called with each level's agreement with the exact prior.

    Returns:
        Per level, coarsest first: level, largest_error, argmax_agreement, num_positions, as `LogitAgreement`; which
        `LogitAgreement.stored` reads again from the repository.

    Raises:
        ValueError: torchao is missing, nothing was quantized, or is already, a target that is taken, or logits that
            int8 moves by more than half a standard deviation, or to another likeliest code at a fifth of positions;
            weights that are not finite, or lists that no song could be made with.
        FloatingPointError: logits that are not finite though all weights are.
    """
    source, out = Path(source), Path(out)
    require(source.is_dir(), f"{source} is not a folder; give a repository that jukebox_hf saved")
    check_copied(source)
    with staged(out, force, [source]) as staging:
        exact = JukeboxModel.from_pretrained(source)
        check_lists(exact.config, source)
        exact.check_priors(range(exact.num_levels))
        small = JukeboxModel.from_pretrained(source, quantization_config=int8_config())
        found, codes = {}, None
        for level in reversed(range(exact.num_levels)):
            prior = exact.prior(level)
            require(
                num_quantized(prior) == 0,
                f"prior_{level} of {source} is quantized already; quantize the model that it was made from",
            )
            inputs = compared_inputs(prior.config, codes)
            codes = _codes_of(prior, inputs, f"prior_{level} of {source}")
            agreement = logit_agreement(prior, small.prior(level), codes, inputs)
            exact.release(level)
            small.release(level)
            found[level] = agreement
            say(
                f"level {level}: largest logit error {agreement.largest_error:.3f} standard deviations, same likeliest "
                f"code at {agreement.argmax_agreement:.0%} of {agreement.num_positions} positions"
            )
            require(force or not _is_far(agreement), _refusal(level, agreement, source))
        small.save_pretrained(staging)
        for level, agreement in found.items():
            agreement.save(staging / f"prior_{level}")
        # Tokenizer, processor, card: all that is no weights and not written already.
        copy_known(source, staging, lambda name: not name.startswith(_LEGACY_WEIGHTS) and not (staging / name).exists())
    return [{"level": level, **asdict(agreement)} for level, agreement in found.items()]


def _codes_of(prior: JukeboxPrior, inputs: Mapping[str, Tensor], said: str) -> Tensor:
    """As `written_codes`; weights that are not finite are refused before, and logits that are not with the prior."""
    for name, tensor in prior.state_dict().items():
        check_finite(f"{said}: {name}", tensor, "which cannot be sung; get the file again, or train it anew")
    try:
        return written_codes(prior, inputs)
    except FloatingPointError as error:
        what, *_, cure = error.args
        raise FloatingPointError(f"{what}: {said}; {cure}") from None


def _is_far(agreement: LogitAgreement) -> bool:
    is_near = agreement.largest_error <= LARGEST_ERROR and agreement.argmax_agreement >= LEAST_AGREEMENT
    return not is_near  # which a NaN is not either


def _refusal(level: int, agreement: LogitAgreement, source: Path) -> str:
    if not math.isfinite(agreement.largest_error):
        return (
            f"int8 cannot be compared: the logits of prior_{level} of {source} are all alike, as those of weights that "
            f"are zeros, or not finite in int8; nothing was saved: get the file again, use bfloat16, or --force"
        )
    return (
        f"int8 moves a logit of level {level} by {agreement.largest_error:.3f} standard deviations and keeps the "
        f"likeliest code at {agreement.argmax_agreement:.0%} of positions; past {LARGEST_ERROR} or under "
        f"{LEAST_AGREEMENT:.0%} the model would write other songs, so nothing was saved: use bfloat16, or --force"
    )


def compared_inputs(config: JukeboxPriorConfig, upper_codes: Tensor | None = None, seed: int = 0) -> dict[str, Tensor]:
    """What conditions the windows that priors are compared on: the first knows of nothing, the others of all there is.

    Args:
        config: of the prior.
        upper_codes: (COMPARED_WINDOWS, any number) of the level above, repeated or cut to fit; None draws them evenly.
        seed: of what is drawn: artist, genre and lyrics of all windows but the first.
    """
    draw = torch.Generator().manual_seed(seed)

    def ids(high: int, *shape: int) -> Tensor:
        return torch.cat(
            [torch.zeros(1, *shape).long(), torch.randint(high, (COMPARED_WINDOWS - 1, *shape), generator=draw)]
        )

    inputs = {}
    if config.upper_strides:
        wanted = -(-num_codes(config) // config.upper_ratio)
        if upper_codes is None:
            upper_codes = torch.randint(config.codebook_size, (COMPARED_WINDOWS, wanted), generator=draw)
        inputs["upper_codes"] = upper_codes.repeat(1, -(-wanted // upper_codes.shape[1]))[:, :wanted]
    if config.has_labels:
        inputs |= {"artist_ids": ids(config.num_artists), "genre_ids": ids(config.num_genres, 1)}
    if config.has_timing:
        seconds = max(config.min_song_seconds, config.window_samples / config.sampling_rate)
        timing = [round(seconds * config.sampling_rate), 0, config.window_samples]
        inputs["timing"] = torch.tensor([timing] * COMPARED_WINDOWS)
    if config.lyrics != "none":
        inputs["lyric_ids"] = ids(config.lyric_vocab_size, config.lyric_length)
    return inputs


def num_codes(config: JukeboxPriorConfig) -> int:
    """Codes of a window to compare: three rows of the attention's grid, so that each kind looks back; 64 to 384.

    Released shapes have 192 or 306, which four windows side by side write in a minute or two (5b: in about five).
    """
    rows = _GRID_ROWS * config.sequence_length // config.attention_rows
    return min(max(rows, _LEAST_CODES), _MOST_CODES, config.context_length)


@torch.no_grad()
def written_codes(prior: JukeboxPrior, inputs: Mapping[str, Tensor], seed: int = 0) -> Tensor:
    """Let a prior write the windows that `inputs` condition: (COMPARED_WINDOWS, num_codes)."""
    inputs, length = {name: value.to(prior.device) for name, value in inputs.items()}, num_codes(prior.config)
    nothing = torch.zeros(COMPARED_WINDOWS, 0, dtype=torch.long, device=prior.device)
    uniforms = torch.rand(COMPARED_WINDOWS, length, generator=torch.Generator().manual_seed(seed)).to(prior.device)
    tokens, settings = prior.sequence(nothing, inputs.get("lyric_ids")), SamplingSettings(temperature=0.99)
    return sample_window(prior, tokens, prior.condition(**inputs), length, settings, uniforms=uniforms).codes


@torch.no_grad()
def logit_agreement(
    exact: JukeboxPrior, quantized: JukeboxPrior, codes: Tensor, inputs: Mapping[str, Tensor]
) -> LogitAgreement:
    """Run both priors on the same windows, and compare their logits at every code.

    Args:
        exact, quantized: of the same weights; the first as its repository stores it.
        codes: (B, T), each window read alone.
        inputs: what conditions them, as `JukeboxPrior.forward` takes it.
    """
    offset, prefix = exact.config.code_offset, exact.config.prefix_length
    inputs = {"codes": codes, **inputs}
    ours, theirs = (
        torch.cat(
            [
                prior(
                    **{name: value[row, None].to(prior.device) for name, value in inputs.items()}, return_loss=False
                ).logits[0, prefix:, offset:]
                for row in range(len(codes))
            ]
        ).float()
        for prior in (exact, quantized)
    )
    return LogitAgreement(
        float((ours - theirs).abs().max() / ours.std()),
        float((ours.argmax(-1) == theirs.argmax(-1)).float().mean()),
        len(ours),
    )
