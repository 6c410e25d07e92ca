"""A contact sheet: the spectrograms of all takes of a song beside each other, to see at once how they differ."""

import io
import warnings
from collections.abc import Sequence

import numpy as np

from jukebox_hf.rendering.picture import ACCENT, DECIBELS, INK, spectrogram

_ACROSS = 4
_SHEET_PIXELS = 300  # of a spectrogram's width


def draw_takes(
    sounds: Sequence[np.ndarray], sampling_rate: int, *, labels: Sequence[str], kept: Sequence[bool], title: str
) -> bytes:
    """Draw takes as a PNG.

    Args:
        sounds: samples (S,) of each take.
        sampling_rate: of all of them.
        labels: written over each.
        kept: which of them are framed.
        title: written over all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_ACROSS, len(sounds))
    rows = -(-len(sounds) // columns)
    figure = Figure(figsize=(3 * columns + 1, 1.8 * rows + 0.7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=INK, fontsize=11, parse_math=False)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for panel, sound, label, is_kept in zip(panels, sounds, labels, kept, strict=False):
        decibels, _ = spectrogram(sound, _SHEET_PIXELS)
        panel.imshow(
            decibels, origin="lower", aspect="auto", cmap="magma", vmin=-DECIBELS, vmax=0, interpolation="nearest",
            extent=(0, len(sound) / sampling_rate, 0, sampling_rate / 2000),
        )  # fmt: skip
        panel.set_title(label, fontsize=8, color=ACCENT if is_kept else INK, parse_math=False)
        panel.tick_params(colors=INK, labelsize=7)
        for edge in panel.spines.values():
            edge.set(color=ACCENT if is_kept else INK, linewidth=2.5 if is_kept else 0.5)
    for panel in panels[len(sounds) :]:
        panel.set_visible(False)
    figure.supxlabel("seconds", fontsize=8, color=INK)
    figure.supylabel("kHz", fontsize=8, color=INK)
    memory = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the font lacks becomes a box
        figure.savefig(memory, format="png", metadata={"Software": "jukebox_hf", "Title": title})
    return memory.getvalue()
