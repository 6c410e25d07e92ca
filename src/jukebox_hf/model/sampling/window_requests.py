"""What a window may be asked for, and what a hook may answer: refusals in one sentence.

Flows in: a prior, tokens, a length, numbers, conditioning; logits of a hook. Flows out: those logits, or nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..checks.validation import is_integer, require
from ..networks.conditioning import Conditioning
from ..networks.modeling_jukebox_prior import JukeboxPrior
from .gumbel_noise import DrawCounters
from .jacobi_pace import check_jacobi
from .sampling_ops import SamplingSettings

Hook = Callable[[Tensor, int], Tensor]  # logits (B, V), position in the window -> logits


@dataclass(frozen=True)
class DecodeOptions:
    """How windows are decoded.

    Attributes:
        settings: temperature, cuts, guidance and kind of draw.
        backend: how each step is computed, see `sample_window`.
        chunk: known tokens are read in pieces of this size, to bound memory; None for one pass.
        may_draw_lyrics: let characters of a lyric prefix be drawn among the codes.
        jacobi: how many codes to guess and check in one forward, see `sample_window`.
    """

    settings: SamplingSettings = SamplingSettings()  # noqa: RUF009 - a frozen value
    backend: str = "auto"
    chunk: int | None = None
    may_draw_lyrics: bool = False
    jacobi: int | str = 0

    def __post_init__(self) -> None:
        check_jacobi(self.jacobi)
        require(
            self.chunk is None or (is_integer(self.chunk) and self.chunk > 0),
            f"chunk={self.chunk!r} must be a positive integer, or None for one pass",
        )


def check_request(
    prior: JukeboxPrior,
    tokens: Tensor,
    length: int,
    settings: SamplingSettings,
    uniforms: Tensor | DrawCounters | None,
) -> None:
    """Refuse tokens (R * B, N+known), a length and numbers that do not fit a prior and each other.

    Raises:
        ValueError: in one sentence.
    """
    rows, known = tokens.shape[0], tokens.shape[1] - prior.config.prefix_length
    batch = rows // settings.rows
    shortest, longest = max(known, 1), prior.config.context_length
    require(
        is_integer(length) and shortest <= length <= longest,
        f"length={length!r} must be an integer from {shortest} (codes known already) to {longest} (the window)",
    )
    require(
        rows % settings.rows == 0,
        f"tokens has {rows} rows, but guidance takes {settings.rows} of every song; give the songs, then the same "
        f"codes with what settings.contrasts hides",
    )
    if settings.draw == "gumbel":
        is_counted = isinstance(uniforms, DrawCounters) and len(uniforms.seeds) == len(uniforms.starts) == batch
        require(
            settings.temperature == 0 or is_counted,
            f"uniforms must be DrawCounters of {batch} songs for draw='gumbel', which takes a number for every code "
            f"there is; give DrawCounters(seeds, level, starts), or set temperature=0",
        )
        return
    require(
        settings.temperature == 0
        or (isinstance(uniforms, Tensor) and uniforms.is_floating_point() and uniforms.shape == (batch, length)),
        f"uniforms must be a tensor ({batch}, {length}), one number per song and code; or set temperature=0",
    )


def check_conditioning(conditioning: Conditioning, batch: int, length: int) -> None:
    """Refuse conditioning that lacks a song, or a position of the sequence up to `length`.

    Raises:
        ValueError: in one sentence.
    """
    parts = (conditioning.start, conditioning.positions, conditioning.lyric_states)
    sizes = {len(part) for part in parts if part is not None}
    require(
        sizes <= {batch},
        f"tokens has {batch} songs, but conditioning is of {', '.join(map(str, sorted(sizes)))}; condition every song",
    )
    reach = length if conditioning.positions is None else conditioning.positions.shape[1]
    require(
        length <= reach,
        f"a window of {length} positions is asked for, but its upper_codes condition only {reach}; pass more "
        f"upper_codes to prior.condition or ask for a smaller length",
    )


def changed_by(hook: Hook, position: int, logits: Tensor) -> Tensor:
    """What a hook makes of logits (B, V).

    Raises:
        ValueError: anything but logits.
    """
    changed, wanted = hook(logits, position), tuple(logits.shape)
    is_tensor = isinstance(changed, Tensor)
    found = f"{changed.dtype} {tuple(changed.shape)}" if is_tensor else type(changed).__name__
    require(
        is_tensor and changed.shape == wanted and changed.is_floating_point(),
        f"the logits_processor gave {found} for logits {wanted}; let it return logits of this shape",
    )
    return changed
