"""Which head follows the lyrics: every layer and head that looks at them is scored on a few songs.

Flows in: a prior, codes and labels of songs with lyrics. Flows out: scores, best first. A head that follows
attends to one position at a time (sharp), moves only forward (monotonic) and at an even pace (linear); the authors
looked for the same when they chose theirs (paper section 4.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..checks.validation import require
from ..inputs.labels import LevelLabels
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..songs.song_plan import TOP_HOP_FRACTION
from ..songs.windows import plan_windows
from .alignment import window_attention

_BLOCKS = 32  # a window is compared as means of this many blocks, so that jitter of single codes is no step back


@dataclass(frozen=True)
class HeadScore:
    """How well a head follows the lyrics; all numbers from 0 to 1, means over windows.

    Attributes:
        layer, head: both from 0.
        sharp: the share of attention on the most attended character and its two neighbours.
        monotonic: of all the way that the attended position travels, the part that goes forward, less the part back.
        linear: correlation of the attended position with time; 0 where it runs backwards.
        score: the product of the three.
    """

    layer: int
    head: int
    sharp: float
    monotonic: float
    linear: float

    @property
    def score(self) -> float:
        return self.sharp * self.monotonic * self.linear


def score_heads(
    prior: JukeboxPrior, songs: Sequence[tuple[Tensor, LevelLabels]], max_windows: int = 8
) -> list[HeadScore]:
    """Score every layer and head that attends to lyrics, best first.

    Args:
        prior: one that is conditioned on lyrics.
        songs: codes (T,) of its level, and labels with the song's lyrics. A few seconds say little: give whole windows.
        max_windows: of each song, evenly spread, are scored.

    Raises:
        ValueError: a prior without lyrics, or songs without any.
    """
    config = prior.config
    require(
        config.lyrics != "none",
        "this prior is not conditioned on lyrics (lyrics='none'), so none of its heads follows them",
    )
    require(any(len(labels.lyrics.ids) for _, labels in songs), "no song has lyrics; give songs whose lyrics are known")
    heads = {layer: range(config.num_attention_heads) for layer in config.lyric_layers}
    require(len(heads) > 0, "no layer of this prior attends to lyrics; see attention_kinds in its config.json")
    found: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for codes, labels in songs:
        window_stride = max(1, int(TOP_HOP_FRACTION * config.context_length))
        windows = plan_windows(len(codes), config.context_length, window_stride)
        chosen = np.unique(np.linspace(0, len(windows) - 1, min(max_windows, len(windows))).round().astype(int))
        for window in (windows[index] for index in chosen) if len(labels.lyrics.ids) else ():
            is_character = labels.window_characters(window.start * config.hop_length) >= 0
            for layer, attentions in window_attention(prior, codes, labels, window, heads).items():
                for head, attention in enumerate(attentions):
                    found.setdefault((layer, head), []).append(score_map(attention[:, is_character]))
    scores = [HeadScore(*head, *np.mean(parts, axis=0).tolist()) for head, parts in found.items()]
    return sorted(scores, key=lambda one: one.score, reverse=True)


def score_map(attention: np.ndarray) -> tuple[float, float, float]:
    """How sharp, monotonic and linear attention (T, C) is, each from 0 to 1; nothing can be said of one character."""
    num_rows, count = attention.shape
    mass = attention.sum(axis=1)
    if count < 2 or num_rows < 2 or mass.sum() <= 0:
        return 0.0, 0.0, 0.0
    peaks = attention.argmax(axis=1)
    around = np.pad(attention, ((0, 0), (1, 1)))
    sharp = float(np.mean([around[row, peak : peak + 3].sum() for row, peak in enumerate(peaks)]))
    positions = (attention * np.arange(count)).sum(axis=1) / np.maximum(mass, 1e-12)
    edges = np.linspace(0, num_rows, min(_BLOCKS, num_rows) + 1).astype(int)[:-1]
    weights = np.add.reduceat(mass, edges)
    means = np.add.reduceat(positions * mass, edges) / np.maximum(weights, 1e-12)
    steps = np.diff(means)
    travelled = float(np.abs(steps).sum())
    monotonic = max(0.0, float(steps.sum()) / travelled) if travelled > 1e-9 else 0.0
    return min(sharp, 1.0), monotonic, max(0.0, _correlation(edges, means, weights))


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Pearson's, weighted; 0 where either does not vary."""
    x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
    size = float(np.sqrt(np.average(x * x, weights=weights) * np.average(y * y, weights=weights)))
    return float(np.average(x * y, weights=weights)) / size if size > 1e-9 else 0.0
