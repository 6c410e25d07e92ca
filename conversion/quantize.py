"""A repository whose priors are int8, and how far its logits lie from the exact ones.

Flows in: a repository of ours, or of transformers 4. Flows out: the same model with quantised matrices, as a repository
that `from_pretrained` opens like any other where torchao is installed.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jukebox_hf.conversion.repository import staged
from jukebox_hf.model.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.generation import sample_window
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.quantization import int8_config, num_quantized
from jukebox_hf.model.validation import require

_WEIGHTS = ("model.safetensors", "pytorch_model")  # of repositories of transformers 4
_WINDOW = 64


@dataclass(frozen=True)
class LogitAgreement:
    """How well a quantised prior agrees with the exact one, on the same window read by both.

    Attributes:
        largest_error: of any logit, in standard deviations of the exact logits.
        argmax_agreement: share of positions at which both find the same code likeliest.
        num_positions: how many were compared.
    """

    largest_error: float
    argmax_agreement: float
    num_positions: int


def quantize(
    source: Path, out: Path, *, force: bool = False, say: Callable[[str], None] = lambda line: None
) -> list[dict[str, Any]]:
    """Quantise every prior of a repository to int8.

    Args:
        source: a folder in our layout.
        out: the folder to make; it appears whole or not at all.
        force: replace an older repository at `out`.
        say: is told each level's agreement with the exact prior.

    Returns:
        Per level, coarsest first: level, largest_error, argmax_agreement, num_positions, as `LogitAgreement`.

    Raises:
        ValueError: torchao is missing, nothing was quantised, or is already, or a target that is taken.
    """
    source, out = Path(source), Path(out)
    require(source.is_dir(), f"{source} is not a folder; give a repository that jukebox_hf saved")
    require(source.resolve() != out.resolve(), f"{out} is the source itself; choose another folder")
    with staged(out, force) as staging:
        exact = JukeboxModel.from_pretrained(source)
        small = JukeboxModel.from_pretrained(source, quantization_config=int8_config())
        found = []
        for level in reversed(range(exact.num_levels)):
            inputs = nothing_said(exact.config.prior_configs[level])
            require(
                num_quantized(exact.prior(level)) == 0,
                f"prior_{level} of {source} is quantised already; quantise the model that it was made from",
            )
            agreement = logit_agreement(exact.prior(level), small.prior(level), inputs)
            exact.release(level)
            small.release(level)
            found.append({"level": level, **asdict(agreement)})
            say(
                f"level {level}: largest logit error {agreement.largest_error:.3f} standard deviations, same likeliest "
                f"code at {agreement.argmax_agreement:.0%} of {agreement.num_positions} positions"
            )
        small.save_pretrained(staging)
        for path in source.iterdir():  # tokenizer, processor, card: all that is no weights and not written already
            if path.is_file() and not path.name.startswith(_WEIGHTS) and not (staging / path.name).exists():
                shutil.copyfile(path, staging / path.name)
    return found


def nothing_said(config: JukeboxPriorConfig, seed: int = 0) -> dict[str, Tensor]:
    """Inputs (of one song) to compare priors with: unknown artist and genre, no lyrics, upper codes drawn evenly."""
    inputs = {}
    if config.upper_strides:
        draw = torch.Generator().manual_seed(seed)
        inputs["upper_codes"] = torch.randint(config.codebook_size, (1, config.upper_length), generator=draw)
    if config.has_labels:
        inputs |= {"artist_ids": torch.zeros(1, dtype=torch.long), "genre_ids": torch.zeros(1, 1, dtype=torch.long)}
    if config.has_timing:
        seconds = max(config.min_song_seconds, config.window_samples / config.sampling_rate)
        inputs["timing"] = torch.tensor([[round(seconds * config.sampling_rate), 0, config.window_samples]])
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.zeros(1, config.lyric_length, dtype=torch.long)
    return inputs


@torch.no_grad()
def logit_agreement(
    exact: JukeboxPrior, quantized: JukeboxPrior, inputs: Mapping[str, Tensor], seed: int = 0
) -> LogitAgreement:
    """Let the exact prior write a short window, have both read it, and compare what they would write.

    Args:
        exact, quantized: of the same weights.
        inputs: what conditions one song, as `JukeboxPrior.forward` takes it.
        seed: of the window.
    """
    inputs = {name: value.to(exact.device) for name, value in inputs.items()}
    length = min(_WINDOW, exact.config.context_length)
    nothing = torch.zeros(1, 0, dtype=torch.long, device=exact.device)
    uniforms = torch.rand(1, length, generator=torch.Generator().manual_seed(seed)).to(exact.device)
    tokens = exact.sequence(nothing, inputs.get("lyric_ids"))
    codes = sample_window(exact, tokens, exact.condition(**inputs), length, uniforms=uniforms).codes
    offset, prefix = exact.config.code_offset, exact.config.prefix_length
    ours, theirs = (
        prior(codes, **inputs, return_loss=False).logits[0, prefix:, offset:].float() for prior in (exact, quantized)
    )
    return LogitAgreement(
        float((ours - theirs).abs().max() / ours.std()),
        float((ours.argmax(-1) == theirs.argmax(-1)).float().mean()),
        length,
    )
