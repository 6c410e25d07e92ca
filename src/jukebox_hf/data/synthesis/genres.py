"""Genres: five bands that differ in tempo, rhythm and instruments. Patterns are data: beats of a bar of four.

Tempi are multiples of the time one character takes, so that words and drums share a grid.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drum:
    """A drum and the beats of a bar at which it is struck."""

    name: str
    gain: float
    beats: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """An instrument and its bar.

    Attributes:
        name: of the instrument.
        gain: loudness.
        lowest: lowest pitch (MIDI) it plays; chords are laid out above.
        events: (beat, tones of the chord, length in beats); tone 0 is the root, 1 the third, 2 the fifth, 3 the octave.
    """

    name: str
    gain: float
    lowest: int
    events: tuple[tuple[float, tuple[int, ...], float], ...]


@dataclass(frozen=True)
class Genre:
    """A band.

    Attributes:
        name: as the labels have it.
        slots_per_beat: how long a beat is, in characters.
        drums, parts: who plays.
        progressions: steps of the scale, one chord a bar.
    """

    name: str
    slots_per_beat: float
    drums: tuple[Drum, ...]
    parts: tuple[Part, ...]
    progressions: tuple[tuple[int, ...], ...]


def _each(beats: tuple[float, ...], tones: tuple[int, ...], length: float) -> tuple:
    return tuple((beat, tones, length) for beat in beats)


_EIGHTHS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)

GENRES = {
    genre.name: genre
    for genre in (
        Genre(
            "electronic",
            2.5,
            (
                Drum("kick", 1.0, (0, 1, 2, 3)),
                Drum("clap", 0.5, (1, 3)),
                Drum("open_hat", 0.3, (0.5, 1.5, 2.5, 3.5)),
            ),
            (
                Part("saw_bass", 0.9, 33, _each((0.25, 0.5, 0.75, 1.5, 1.75, 2.25, 2.5, 3.25, 3.5, 3.75), (0,), 0.25)),
                Part("saw_pad", 0.5, 57, _each((0, 1.5, 3), (0, 1, 2), 1.0)),
            ),
            ((0, 5, 3, 4), (0, 3, 5, 4), (5, 3, 0, 4)),
        ),
        Genre(
            "rock",
            3.0,
            (
                Drum("kick", 0.9, (0, 1.5, 2)),
                Drum("snare", 0.8, (1, 3)),
                Drum("hat", 0.25, _EIGHTHS),
            ),
            (
                Part("power_chord", 0.9, 40, _each(_EIGHTHS, (0,), 0.5)),
                Part("picked_bass", 0.8, 28, _each((0, 1, 2, 3), (0,), 1.0)),
            ),
            ((0, 3, 4, 3), (0, 6, 3, 0), (0, 4, 5, 3)),
        ),
        Genre(
            "folk",
            4.0,
            (),
            (
                Part(
                    "steel_string",
                    1.0,
                    52,
                    tuple((0.5 * beat, (tone,), 1.5) for beat, tone in enumerate((0, 2, 3, 1, 0, 2, 1, 3))),
                ),
                Part("steel_string", 0.8, 40, _each((0, 2), (0,), 2.0)),
            ),
            ((0, 4, 5, 3), (0, 3, 0, 4), (0, 5, 3, 4)),
        ),
        Genre(
            "jazz",
            2.0,
            (
                Drum("ride", 0.35, (0, 1, 1.667, 2, 3, 3.667)),
                Drum("hat", 0.3, (1, 3)),
                Drum("kick", 0.25, (0,)),
            ),
            (
                Part("upright_bass", 1.1, 31, ((0, (0,), 1.0), (1, (1,), 1.0), (2, (2,), 1.0), (3, (3,), 1.0))),
                Part("electric_piano", 0.6, 55, ((0.667, (0, 1, 2), 1.0), (2.667, (1, 2, 3), 1.2))),
            ),
            ((1, 4, 0, 0), (0, 5, 1, 4), (2, 5, 1, 4)),
        ),
        Genre(
            "reggae",
            4.0,
            (
                Drum("kick", 1.0, (2,)),
                Drum("rim", 0.5, (1, 2, 3)),
                Drum("hat", 0.3, _EIGHTHS[1::2]),
            ),
            (
                Part("organ", 0.7, 57, _each((0.5, 1.5, 2.5, 3.5), (0, 1, 2), 0.25)),
                Part("round_bass", 1.3, 31, ((0, (0,), 0.75), (1, (0,), 0.5), (1.5, (2,), 0.5), (2.5, (3,), 0.75))),
            ),
            ((0, 3, 0, 4), (0, 1, 0, 1), (0, 6, 5, 6)),
        ),
    )
}
