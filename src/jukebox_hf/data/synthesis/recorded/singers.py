"""Singers: who sings with which recorded voice, and how. Their names are those of `artists`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RecordedSinger:
    """A singer.

    Attributes:
        name: as the labels have it.
        voice: flite's.
        formant_scale: stretch of the recorded voice's spectral envelope; more is a smaller mouth.
        centre, reach: middle of the voice (MIDI number) and how far it goes from there, in semitones.
        vibrato_hertz, vibrato_cents: speed and depth.
        glide: seconds from note to note.
        mode, keys: scales sung in, and their tonics (MIDI pitch classes).
        leap: how far the melody moves, in steps of the scale.
    """

    name: str
    voice: str
    formant_scale: float
    centre: float
    reach: float
    vibrato_hertz: float
    vibrato_cents: float
    glide: float
    mode: str
    keys: tuple[int, ...]
    leap: int


SINGERS = {
    singer.name: singer
    for singer in (
        RecordedSinger("Ada Brook", "slt", 1.0, 58, 5, 6.0, 20, 0.05, "major", (0, 2, 5, 7, 9, 10), 2),
        RecordedSinger("Bo Vale", "rms", 1.0, 47, 5, 5.0, 12, 0.06, "mixolydian", (1, 2, 4, 7, 9, 11), 1),
        RecordedSinger("Cora Finch", "awb", 1.08, 54, 5, 5.4, 16, 0.07, "minor", (0, 2, 4, 6, 9, 11), 2),
        RecordedSinger("Dex Marlow", "kal16", 1.0, 45, 5, 6.5, 25, 0.04, "dorian", (0, 2, 3, 5, 7, 10), 3),
    )
}


def voices() -> tuple[str, ...]:
    """The recorded voices that singers use."""
    return tuple(dict.fromkeys(singer.voice for singer in SINGERS.values()))
