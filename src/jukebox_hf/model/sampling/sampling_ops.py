"""From logits to a drawn code: guidance, temperature, the cuts of `SamplingSettings`, and a draw without a generator.

Flows in: logits (B, V) and one uniform per song, or noise per token. Flows out: one token per song (B,). All stays on
the device. What may be said to `generate` and in generation_config.json, its checks and the table of cuts in
docs/reference/generation.md are read from `SamplingSettings`, `NUMBER_RULES`, `WORD_CHOICES` and `CUTS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks.text_input import shown
from ..checks.validation import is_integer, is_number, plain, require

GUIDED_BY = ("labels", "lyrics", "both")  # what guidance may hide in the rows it compares with
MOST_TEMPERATURE = 1e20  # beyond, or under one by it, logits could leave what float32 reaches
MOST_GUIDANCE = 100  # beyond, differences of logits could overflow
DRAWS = {"inverse": 1, "gumbel": 1}  # what a draw may be, and its version: another one gives other songs


class Rule(NamedTuple):
    """What a number of `SamplingSettings` may be: whether a value is one, and a sentence for what is none."""

    allows: Callable[[Any], bool]
    must: str  # "top_p=2 must ..."
    cure: str = ""


NUMBER_RULES = {  # numbers of `SamplingSettings`, each for all levels or by level
    "temperature": Rule(
        lambda value: is_number(value) and (value == 0 or 1 / MOST_TEMPERATURE <= value <= MOST_TEMPERATURE),
        f"be 0 (always the likeliest code) or a positive number, from {1 / MOST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}",
        "try 0.99",
    ),
    "top_k": Rule(lambda value: is_integer(value) and value >= 0, "be 0 (keep all) or a whole number of codes to keep"),
    "top_p": Rule(lambda value: is_number(value) and 0 < value <= 1, "lie over 0 and up to 1 (keep all)"),
    "min_p": Rule(lambda value: is_number(value) and 0 <= value <= 1, "be 0 (keep all) or lie over 0 and up to 1"),
    "typical_p": Rule(lambda value: is_number(value) and 0 < value <= 1, "lie over 0 and up to 1 (keep all)"),
    "epsilon_cutoff": Rule(
        lambda value: is_number(value) and 0 <= value < 1, "be 0 (keep all) or lie over 0 and under 1", "try 0.0005"
    ),
    **dict.fromkeys(
        ("guidance_scale", "lyrics_guidance"),
        Rule(
            lambda value: is_number(value) and 1 <= value <= MOST_GUIDANCE,
            f"be 1 (off) or a larger number, at most {MOST_GUIDANCE}",
            "try 2",
        ),
    ),
}
WORD_CHOICES = {"guidance_on": GUIDED_BY, "draw": tuple(DRAWS)}  # words of `SamplingSettings`, the same for all levels


@dataclass(frozen=True)
class SamplingSettings:
    """How boldly to draw, and from what.

    Attributes:
        temperature: logits are divided by it; 0 takes the likeliest code.
        top_k: keep the k likeliest codes (ties with the k-th too); 0 keeps all.
        top_p: keep the likeliest codes, up to the one with which their probabilities exceed p; 1 keeps all.
        min_p: keep the codes at least p times as likely as the likeliest; 0 keeps all.
        typical_p: keep the codes whose surprise is nearest to the expected one, the entropy, until their probabilities
            reach p (ties with the last too); 1 keeps all.
        epsilon_cutoff: keep the codes of this probability or more, and always the likeliest; 0 keeps all.
        guidance_scale: classifier-free guidance, see `guided`; 1 is off.
        guidance_on: what guidance contrasts: "labels" (artist and genre), "lyrics" or "both".
        lyrics_guidance: how far to move away from a song without lyrics, first; 1 is off.
        draw: how a code is found: "inverse", by the inverse distribution function at one uniform (`draw`), or "gumbel",
            the largest of logits and noise (`draw_gumbel`): the same probabilities, another song.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    guidance_scale: float = 1.0
    guidance_on: str = "both"
    lyrics_guidance: float = 1.0
    draw: str = "inverse"

    def __post_init__(self) -> None:
        for name, rule in NUMBER_RULES.items():
            value, cure = plain(getattr(self, name)), f"; {rule.cure}" if rule.cure else ""
            require(rule.allows(value), f"{name}={shown(value)} must {rule.must}{cure}")
            object.__setattr__(self, name, value)
        for name, words in WORD_CHOICES.items():
            word = getattr(self, name)
            require(word in words, f"{name}={word!r} is none of {', '.join(words)}; choose one")
        said = [f"{name}={number}" for name, number in self.cuts.items()]
        require(len(said) <= 1, f"{' and '.join(said)} exclude each other; set one of them")
        require(
            self.guidance_on == "both" or 1 in (self.guidance_scale, self.lyrics_guidance),
            f"guidance_on={self.guidance_on!r} and lyrics_guidance={self.lyrics_guidance} exclude each other: the "
            f"double form hides lyrics, and then labels and lyrics; leave one of them out",
        )

    @property
    def cuts(self) -> dict[str, float]:
        """The cuts that leave something out, and their numbers; the default of each keeps all."""
        numbers = {name: getattr(self, name) for name in CUTS}
        return {name: number for name, number in numbers.items() if number != getattr(SamplingSettings, name)}

    @property
    def contrasts(self) -> tuple[tuple[str, ...], ...]:
        """What each further row of a song hides, of "labels" and "lyrics"; none without guidance."""
        everything, lyrics = ("labels", "lyrics"), ("lyrics",)
        outer = everything if self.guidance_on == "both" else (self.guidance_on,)
        inner = [lyrics] * (self.lyrics_guidance != 1)
        return (*inner, *[outer] * (self.guidance_scale != 1))

    @property
    def rows(self) -> int:
        """How many rows of a batch a song, or a window, takes."""
        return 1 + len(self.contrasts)

    def contrasting(self, has_labels: bool, has_lyrics: bool) -> "SamplingSettings":
        """The same, guided by what there is to hide alone; what is off is as if nobody had said it."""
        lyrics = self.lyrics_guidance if has_lyrics else 1.0
        there = {"labels": has_labels, "lyrics": has_lyrics}
        hidden = [part for part, is_there in there.items() if is_there and self.guidance_on in (part, "both")]
        scale = self.guidance_scale if hidden else 1.0
        is_double = scale != 1 and lyrics != 1
        by = hidden[0] if scale != 1 and len(hidden) == 1 and not is_double else "both"
        return replace(self, guidance_scale=scale, lyrics_guidance=lyrics, guidance_on=by)


def uniforms(seeds: Sequence[int], level: int, start: int, stop: int) -> Tensor:
    """The numbers that decide codes start .. stop-1 of a level: one row per seed, (B, stop - start) float64 in [0, 1).

    Counter based (Philox, Salmon et al. 2011): the number of a code depends on its song's seed, its level and its place
    alone; not on the batch, the window or what was drawn before.
    """
    rows = []
    for seed in seeds:
        generator = np.random.Philox(key=np.array([seed % 2**64, level], dtype=np.uint64))
        generator.advance(start // 4)  # four numbers to a count
        raw = generator.random_raw(stop - start // 4 * 4)[start % 4 :]
        rows.append((raw >> np.uint64(11)) * 2.0**-53)
    return torch.from_numpy(np.stack(rows))


def guided(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """Move the logits of songs away from those of songs that are told less (classifier-free guidance).

    u + s (c - u) as in MusicGen (Copet et al. 2023), with c of all that is known and u of what `guidance_on` leaves. In
    the double form of MusicGen-Style (Rouard et al. 2024) it is u + a (w + b (c - w) - u), where w lacks the lyrics,
    a is `guidance_scale` and b `lyrics_guidance`.

    Args:
        logits: (R * B, V), raw: all songs as they are, then all with the first of `contrasts`, and so on.

    Returns:
        (B, V); the same tensor without guidance.
    """
    if settings.rows == 1:
        return logits
    conditioned, *less = logits.chunk(settings.rows)
    if settings.lyrics_guidance != 1:
        conditioned = _away_from(less.pop(0), conditioned, settings.lyrics_guidance)
    return _away_from(less[0], conditioned, settings.guidance_scale) if less else conditioned


def _away_from(contrast: Tensor, logits: Tensor, scale: float) -> Tensor:
    return contrast + scale * (logits - contrast)


def choose(logits: Tensor, settings: SamplingSettings, numbers: Tensor | None) -> Tensor:
    """Pick one token per song from logits (B, V).

    Args:
        numbers: uniforms (B,) in [0, 1), or Gumbel noise (B, V) for such a draw; unused at temperature 0.
    """
    return pick(filtered(logits, settings), settings, numbers)


def filtered(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """What temperature and cuts leave of logits (B, V); at temperature 0 the logits themselves."""
    if settings.temperature == 0:
        return logits
    logits = logits / settings.temperature
    for name, number in settings.cuts.items():
        logits = CUTS[name](logits, number)
    return logits


def pick(logits: Tensor, settings: SamplingSettings, numbers: Tensor | None) -> Tensor:
    """One token per row of what `filtered` left (B, V); numbers as in `choose`."""
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    return draw_gumbel(logits, numbers) if settings.draw == "gumbel" else draw(logits, numbers)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Rule out all but the k largest logits (..., V) and their ties."""
    smallest_kept = logits.topk(min(k, logits.shape[-1]), dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest_kept, float("-inf"))


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the likeliest tokens whose probabilities first exceed p (Holtzman et al. 2020)."""
    descending, order = logits.sort(dim=-1, descending=True)
    probabilities = descending.softmax(dim=-1)
    is_beyond = probabilities.cumsum(dim=-1) - probabilities > p  # the one that crosses p is kept
    return logits.masked_fill(torch.zeros_like(is_beyond).scatter(-1, order, is_beyond), float("-inf"))


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Rule out the tokens that are less than p times as likely as the likeliest (Nguyen et al. 2024)."""
    probabilities = logits.softmax(dim=-1)
    smallest_kept = p * probabilities.amax(dim=-1, keepdim=True)
    return logits.masked_fill(probabilities < smallest_kept, float("-inf"))


def keep_typical_p(logits: Tensor, p: float) -> Tensor:
    """Rule out all but the tokens of the most typical surprise whose probabilities reach p (Meister et al. 2022)."""
    log_probabilities = logits.log_softmax(dim=-1)
    entropy = -(log_probabilities * log_probabilities.exp()).nansum(dim=-1, keepdim=True)  # 0 of what is ruled out
    distances = (-log_probabilities - entropy).abs()
    ascending, order = distances.sort(dim=-1)
    cumulative = logits.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
    last_kept = (cumulative < p).sum(dim=-1, keepdim=True).clamp(max=logits.shape[-1] - 1)  # rounding may not reach p
    return logits.masked_fill(distances > ascending.gather(-1, last_kept), float("-inf"))


def keep_over_epsilon(logits: Tensor, epsilon: float) -> Tensor:
    """Rule out the tokens of a probability under epsilon, but never the likeliest (Hewitt et al. 2022)."""
    is_rare = logits.softmax(dim=-1) < epsilon
    return logits.masked_fill(is_rare & (logits < logits.amax(dim=-1, keepdim=True)), float("-inf"))


CUTS: dict[str, Callable[[Tensor, float], Tensor]] = {  # by their names in `SamplingSettings`; songs take one at most
    "top_k": keep_top_k,
    "top_p": keep_top_p,
    "min_p": keep_min_p,
    "typical_p": keep_typical_p,
    "epsilon_cutoff": keep_over_epsilon,
}


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw from softmax(logits (B, V)) by its inverse distribution function at uniforms (B,): tokens (B,).

    Same distribution as a multinomial, but a song's draw depends on its own uniform alone. Where rounding leaves the
    sum under the uniform, the last allowed token is taken.
    """
    cumulative = logits.float().softmax(dim=-1).double().cumsum(dim=-1)
    tokens = torch.searchsorted(cumulative, uniforms.double().unsqueeze(-1).contiguous(), right=True)
    is_allowed = logits > float("-inf")
    indices = torch.arange(logits.shape[-1], device=logits.device)
    last_allowed = torch.where(is_allowed, indices, 0).amax(dim=-1, keepdim=True)
    return torch.minimum(tokens, last_allowed).squeeze(-1)


def draw_gumbel(logits: Tensor, noise: Tensor) -> Tensor:
    """Draw from softmax(logits (B, V)) with Gumbel noise (B, V): the token where their sum is largest, (B,).

    Same distribution as a multinomial (Gumbel 1954). Both are float32 and their sum is float64, which holds it exactly:
    it is rounded nowhere, whatever the device. Of equal sums the first is taken.
    """
    return (logits.float().double() + noise.double()).argmax(dim=-1)
