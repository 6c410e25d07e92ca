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

_COLUMNS = 1200  # no more detail than the picture has pixels, however long the song
_DECIBELS = 80
_LONGEST_LINE = 60  # characters
_INK, _ACCENT = "#223344", "#d1495b"


@dataclass(frozen=True)
class LevelSound:
    """One level of a song.

    Attributes:
        level: 0 is the finest.
        hop: samples per code.
        audio: (S,) decoded from this level's codes.
    """

    level: int
    hop: int
    audio: np.ndarray


def draw_song(
    sounds: Sequence[LevelSound],
    sampling_rate: int,
    *,
    title: str,
    start_second: float = 0.0,
    known_seconds: float = 0,
    lines: Sequence[tuple[float, float, str]] = (),
) -> bytes:
    """Draw a song as a PNG.

    Args:
        sounds: its levels, coarsest first; the waveform is the last one's.
        sampling_rate: of all of them.
        title: artist, genre, seed; written as it is.
        start_second: where in the whole song the audio begins.
        known_seconds: how much of the start was given (a prompt, a continued song); marked if over 0.
        lines: start and end, in seconds of this audio, and words of every line of lyrics; written over the waveform.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.2 + 2.1 * len(sounds)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        1 + len(sounds), 1, sharex=True, squeeze=False, height_ratios=[0.8] + [1] * len(sounds)
    ).ravel()
    stop_second = start_second + max(len(sound.audio) for sound in sounds) / sampling_rate
    figure.suptitle(title, color=_INK, fontsize=13, parse_math=False)  # a "$" in a name is no formula
    _draw_waveform(axes[0], sounds[-1].audio, start_second, sampling_rate)
    _write_lyrics(axes[0], lines, start_second)
    for panel, sound in zip(axes[1:], sounds, strict=True):
        image = _draw_spectrogram(panel, sound, start_second, sampling_rate)
        names = {0: " (finest)"} if sound.level == 0 else {}
        place = names.get(sound.level, " (top)" if sound is sounds[0] and len(sounds) > 1 else "")
        rate = sampling_rate / sound.hop
        label = f"level {sound.level}{place}: {rate:,.0f} codes per second"
        panel.text(
            0.006, 0.96, label, transform=panel.transAxes, va="top", fontsize=9, color="white",
            bbox={"facecolor": _INK, "alpha": 0.85, "edgecolor": "none", "pad": 2.5},
        )  # fmt: skip
    for panel in axes:
        panel.set_xlim(start_second, stop_second)
        panel.tick_params(colors=_INK, labelsize=9)
        if known_seconds > 0:
            panel.axvline(start_second + known_seconds, color=_ACCENT, linewidth=1.5, linestyle="--")
    if known_seconds > 0:
        axes[0].annotate(
            "given | new", (start_second + known_seconds, 1), xycoords=("data", "axes fraction"), ha="center",
            va="bottom", fontsize=8, color=_ACCENT, annotation_clip=False,
        )  # fmt: skip
    axes[-1].set_xlabel("seconds", color=_INK)
    figure.colorbar(image, ax=list(axes[1:]), label="dB under the loudest", shrink=0.9, pad=0.01)
    memory = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the font lacks becomes a box, which is no news for the user
        figure.savefig(memory, format="png", metadata={"Software": "jukebox_hf", "Title": title})
    return memory.getvalue()


def envelope(audio: np.ndarray, columns: int = _COLUMNS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest sample of each of at most `columns` pieces: (first sample, lowest, highest)."""
    edges = np.unique(np.linspace(0, len(audio), min(columns, len(audio)) + 1).astype(int))[:-1]
    return edges, np.minimum.reduceat(audio, edges), np.maximum.reduceat(audio, edges)


def spectrogram(audio: np.ndarray, columns: int = _COLUMNS) -> tuple[np.ndarray, int]:
    """Decibels under the loudest (F, columns), and the size of the Fourier transform."""
    size = int(min(2048, max(64, 2 ** int(np.log2(max(len(audio) // 16, 1))))))
    padded = np.pad(audio.astype(np.float32), size // 2)
    count = int(min(columns, max(1, len(audio) // (size // 8))))
    starts = np.linspace(0, len(padded) - size, count).astype(int)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, axis=1)).T ** 2
    decibels = 10 * np.log10(power / max(float(power.max()), 1e-20) + 1e-20)
    return decibels.clip(-_DECIBELS, 0), size


def _draw_waveform(panel: Any, audio: np.ndarray, start_second: float, sampling_rate: int) -> None:
    first, lowest, highest = envelope(audio)
    seconds = start_second + first / sampling_rate
    panel.fill_between(seconds, lowest, highest, color=_INK, linewidth=0.4)
    reach = max(1.0, float(np.abs(audio).max()) * 1.05)
    panel.set_ylim(-reach, reach)
    panel.set_ylabel("amplitude", color=_INK)


def _write_lyrics(panel: Any, lines: Sequence[tuple[float, float, str]], start_second: float) -> None:
    """Each line of lyrics where it is sung; neighbours stand at different heights, so that they do not overlap."""
    for place, (start, end, words) in enumerate(lines):
        panel.axvspan(
            start_second + start, start_second + end, color=_ACCENT, alpha=0.12 + 0.1 * (place % 2), linewidth=0
        )
        panel.text(
            start_second + start, 0.96 - 0.12 * (place % 4), words[:_LONGEST_LINE], va="top", fontsize=7.5,
            color=_ACCENT, clip_on=True, parse_math=False, transform=panel.get_xaxis_transform(),
        )  # fmt: skip


def _draw_spectrogram(panel: Any, sound: LevelSound, start_second: float, sampling_rate: int) -> Any:
    decibels, _ = spectrogram(sound.audio)
    stop_second = start_second + len(sound.audio) / sampling_rate
    panel.set_ylabel("kHz", color=_INK)
    return panel.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=-_DECIBELS, vmax=0, interpolation="nearest",
        extent=(start_second, stop_second, 0, sampling_rate / 2000),
    )  # fmt: skip
