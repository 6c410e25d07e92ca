"""A picture beside a song: its waveform, and what each level of codes sounds like as a spectrogram.

Flows in: audio as numpy. Flows out: the bytes of a PNG. The finer levels add treble to what the top level wrote, which
is what the panels, coarsest first, let one see.
"""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jukebox_hf.rendering.lyric_panel import LANES, Line, columns_of, fits_over, shortened

_PIXELS = 1200  # no more detail than the picture has pixels, however long the song
DECIBELS = 80
_LONGEST_TITLE = 130  # letters
_ROW = 0.144  # inches that a row of lyrics takes
INK, ACCENT = "#223344", "#d1495b"


@dataclass(frozen=True)
class LevelSound:
    """One level of a song.

    Attributes:
        level: 0 is the finest.
        hop_length: samples per code.
        audio: (S,) decoded from this level's codes.
    """

    level: int
    hop_length: int
    audio: np.ndarray


def draw_song(
    sounds: Sequence[LevelSound],
    sampling_rate: int,
    *,
    title: str,
    start_second: float = 0.0,
    known_seconds: float = 0,
    lines: Sequence[Line] = (),
    written: tuple[np.ndarray, int] | None = None,
) -> bytes:
    """Draw a song as a PNG.

    Args:
        sounds: its levels, coarsest first.
        sampling_rate: of all of them.
        title: artist, genre, seed; written as it is, cut where it is longer than the picture is wide.
        start_second: where in the whole song the audio begins.
        known_seconds: how much of the start was given (a prompt, a continued song); marked if over 0.
        lines: start and end, in seconds of this audio, and words of every line of lyrics; written over the waveform, or
            in columns under all panels where there they would lie over each other.
        written: samples (S,) or (S, 2) of the file as it was written, and their rate, for the waveform; None: those of
            the last level.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = max(len(sound.audio) for sound in sounds) / sampling_rate
    columns = [] if fits_over(lines, seconds) else columns_of(lines, start_second)
    words = _ROW * max((column.count("\n") + 1 for column in columns), default=0)  # inches
    height = 2.2 + 2.1 * len(sounds)
    figure = Figure(figsize=(12, height + words), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels, below = figure, None
    if columns:
        panels, below = figure.subfigures(2, 1, height_ratios=[height, words])
    axes = panels.subplots(
        1 + len(sounds), 1, sharex=True, squeeze=False, height_ratios=[0.8] + [1] * len(sounds)
    ).ravel()
    stop_second = start_second + seconds
    _write_title(panels, figure, title)
    _draw_waveform(axes[0], *(written or (sounds[-1].audio, sampling_rate)), start_second)
    _mark_lyrics(axes[0], lines, start_second, with_words=not columns)
    _write_columns(below, columns)
    for panel, sound in zip(axes[1:], sounds, strict=True):
        image = _draw_spectrogram(panel, sound, start_second, sampling_rate)
        names = {0: " (finest)"} if sound.level == 0 else {}
        note = names.get(sound.level, " (top)" if sound is sounds[0] and len(sounds) > 1 else "")
        rate = sampling_rate / sound.hop_length
        label = f"level {sound.level}{note}: {rate:,.0f} codes per second"
        panel.text(
            0.006, 0.96, label, transform=panel.transAxes, va="top", fontsize=9, color="white",
            bbox={"facecolor": INK, "alpha": 0.85, "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip
    for panel in axes:
        panel.set_xlim(start_second, stop_second)
        panel.tick_params(colors=INK, labelsize=9)
        if known_seconds > 0:
            panel.axvline(start_second + known_seconds, color=ACCENT, linewidth=1.5, linestyle="--")
    if known_seconds > 0:
        axes[0].annotate(
            "given | new", (start_second + known_seconds, 1), xycoords=("data", "axes fraction"), ha="center",
            va="bottom", fontsize=8, color=ACCENT, annotation_clip=False,
        )  # fmt: skip
    axes[-1].set_xlabel("seconds", color=INK)
    panels.colorbar(image, ax=list(axes[1:]), label="dB under the loudest", shrink=0.9, pad=0.01)
    memory = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the font lacks becomes a box, which is no news for the user
        figure.savefig(memory, format="png", metadata={"Software": "jukebox_hf", "Title": title})
    return memory.getvalue()


def envelope(audio: np.ndarray, columns: int = _PIXELS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest sample of each of at most `columns` pieces: (first sample, lowest, highest)."""
    edges = np.unique(np.linspace(0, len(audio), min(columns, len(audio)) + 1).astype(int))[:-1]
    return edges, np.minimum.reduceat(audio, edges), np.maximum.reduceat(audio, edges)


def spectrogram(audio: np.ndarray, columns: int = _PIXELS) -> tuple[np.ndarray, int]:
    """Decibels under the loudest (F, columns), and the size of the Fourier transform."""
    size = int(min(2048, max(64, 2 ** int(np.log2(max(len(audio) // 16, 1))))))
    padded = np.pad(audio.astype(np.float32), size // 2)
    count = int(min(columns, max(1, len(audio) // (size // 8))))
    starts = np.linspace(0, len(padded) - size, count).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    decibels = 10 * np.log10(power / max(float(power.max()), 1e-20) + 1e-20)
    return decibels.clip(-DECIBELS, 0), size


def _write_title(panels: Any, figure: Any, title: str) -> None:
    """The title, cut where it is wider than the picture."""
    letters, most = _LONGEST_TITLE, 0.97 * figure.bbox.width
    # a "$" in a name is no formula
    heading = panels.suptitle(shortened(title, letters), color=INK, fontsize=13, parse_math=False)
    while (wide := _extent(heading, figure)) > most and letters > 1:
        letters = min(letters - 1, int(letters * most / wide))
        heading.set_text(shortened(title, letters))


def _extent(text: Any, figure: Any) -> float:
    """Pixels that a text is wide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return text.get_window_extent(figure.canvas.get_renderer()).width


def _draw_waveform(panel: Any, audio: np.ndarray, sampling_rate: int, start_second: float) -> None:
    reach = max(1.0, float(np.abs(audio).max()) * 1.05)
    is_stereo = audio.ndim == 2
    for channel, middle in zip(audio.T, (reach, -reach), strict=True) if is_stereo else [(audio, 0)]:
        first, lowest, highest = envelope(channel)
        seconds = start_second + first / sampling_rate
        panel.fill_between(seconds, lowest + middle, highest + middle, color=INK, linewidth=0.4)
    if is_stereo:
        reach *= 2
        panel.axhline(0, color=INK, linewidth=0.4)
        panel.set_yticks([-reach / 2, reach / 2], ["right", "left"])
    panel.set_ylim(-reach, reach)
    panel.set_ylabel("" if is_stereo else "amplitude", color=INK)


def _mark_lyrics(panel: Any, lines: Sequence[Line], start_second: float, with_words: bool) -> None:
    """Where each line is sung; neighbours stand at different heights, so that they do not overlap."""
    spans = [(start_second + start, end - start) for start, end, _ in lines]
    for first, alpha in ((0, 0.12), (1, 0.22)):
        panel.broken_barh(
            spans[first::2], (0, 1), color=ACCENT, alpha=alpha, linewidth=0, transform=panel.get_xaxis_transform()
        )
    for index, (start, _, words) in enumerate(lines if with_words else ()):
        panel.text(
            start_second + start, 0.96 - 0.12 * (index % LANES), words, va="top", fontsize=7.5,
            color=ACCENT, clip_on=True, parse_math=False, transform=panel.get_xaxis_transform(),
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _write_columns(below: Any, columns: Sequence[str]) -> None:
    for index, column in enumerate(columns):
        below.text(
            0.05 + 0.31 * index, 1, column, va="top", fontsize=7.5, linespacing=1.25, color=INK, parse_math=False
        )


def _draw_spectrogram(panel: Any, sound: LevelSound, start_second: float, sampling_rate: int) -> Any:
    decibels, _ = spectrogram(sound.audio)
    stop_second = start_second + len(sound.audio) / sampling_rate
    panel.set_ylabel("kHz", color=INK)
    return panel.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=-DECIBELS, vmax=0, interpolation="nearest",
        extent=(start_second, stop_second, 0, sampling_rate / 2000),
    )  # fmt: skip
