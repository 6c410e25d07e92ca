"""Styles: what bands of five genres may play. Patterns are data: beats of a bar of four, as in `genres`.

A band takes one of each: drums, bass, chords, colour, their instruments, a progression and a tempo. Instruments are
General MIDI programs (from 0), drums its percussion keys.
"""

from dataclasses import dataclass

Events = tuple[tuple[float, tuple[int, ...], float], ...]  # (beat, tones of the chord, length in beats)
Drums = tuple[tuple[int, float, tuple[float, ...]], ...]  # (key, loudness, beats)
_NOTE_SPAN = 24  # semitones from the lowest pitch of a part: a root within one octave, tones to the octave above it
_NOTE_STEP = 3  # semitones between notes that are sampled; those between are a semitone away from one


@dataclass(frozen=True)
class PartStyle:
    """One chair of a band.

    Attributes:
        programs: instruments of which one plays.
        lowest: lowest pitch (MIDI) it plays.
        gain: loudness.
        patterns: bars of which one is played.
    """

    programs: tuple[int, ...]
    lowest: int
    gain: float
    patterns: tuple[Events, ...]


@dataclass(frozen=True)
class BandStyle:
    """A genre.

    Attributes:
        slots_per_beat: tempi, as the number of characters that a beat takes.
        drums: bars of which one is played.
        parts: bass, chords and colour.
        progressions: steps of the scale, one chord a bar.
    """

    slots_per_beat: tuple[float, ...]
    drums: tuple[Drums, ...]
    parts: tuple[PartStyle, ...]
    progressions: tuple[tuple[int, ...], ...]


def _each(beats: tuple[float, ...], tones: tuple[int, ...], length: float) -> Events:
    return tuple((beat, tones, length) for beat in beats)


def _walk(tones: tuple[int, ...], step: float, length: float) -> Events:
    return tuple((place * step, (tone,), length) for place, tone in enumerate(tones))


_KICK, _STICK, _SNARE, _CLAP, _HAT, _OPEN, _RIDE, _TAMBOURINE, _CONGA, _SHAKER = 36, 37, 38, 39, 42, 46, 51, 54, 63, 70
_QUARTERS, _OFFBEATS = (0, 1, 2, 3), (0.5, 1.5, 2.5, 3.5)
_ALL_EIGHTHS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)
_TRIAD, _HIGH = (0, 1, 2), (1, 2, 3)

STYLES = {
    "electronic": BandStyle(
        (2.0, 2.5, 3.0),
        (
            ((_KICK, 1.0, _QUARTERS), (_CLAP, 0.6, (1, 3)), (_OPEN, 0.35, _OFFBEATS)),
            ((_KICK, 1.0, _QUARTERS), (_SNARE, 0.5, (1, 3)), (_HAT, 0.3, _ALL_EIGHTHS)),
            ((_KICK, 1.0, (0, 1.5, 2.5)), (_CLAP, 0.6, (1, 3)), (_HAT, 0.3, _ALL_EIGHTHS)),
            ((_KICK, 1.0, (0, 2)), (_CLAP, 0.6, (1, 3)), (_SHAKER, 0.4, _ALL_EIGHTHS), (_OPEN, 0.3, (3.5,))),
        ),
        (
            PartStyle(
                (38, 39),
                33,
                0.9,
                (
                    _each(_ALL_EIGHTHS, (0,), 0.45),
                    _each(_OFFBEATS, (0,), 0.45),
                    _walk((0, 0, 3, 0, 0, 3, 0, 2), 0.5, 0.4),
                    _each((0, 0.75, 1.5, 2, 2.75, 3.5), (0,), 0.5),
                ),
            ),
            PartStyle(
                (62, 81, 90),
                55,
                0.5,
                (
                    _each((0, 1.5, 3), _TRIAD, 1.0),
                    _each(_OFFBEATS, _TRIAD, 0.4),
                    _each((0, 2), _HIGH, 1.6),
                    _each((0, 0.75, 1.5, 2.5, 3.25), _TRIAD, 0.4),
                ),
            ),
            PartStyle(
                (80, 88),
                60,
                0.35,
                ((), _walk((0, 2, 3, 2, 1, 2, 3, 2), 0.5, 0.4), _walk((3, 2, 1, 0), 1, 0.5), _each((0,), (3,), 3.5)),
            ),
        ),
        ((0, 5, 3, 4), (0, 3, 5, 4), (5, 3, 0, 4), (0, 4, 5, 3), (3, 4, 5, 5), (0, 0, 5, 3)),
    ),
    "rock": BandStyle(
        (2.5, 3.0, 3.5),
        (
            ((_KICK, 0.9, (0, 1.5, 2)), (_SNARE, 0.8, (1, 3)), (_HAT, 0.3, _ALL_EIGHTHS)),
            ((_KICK, 0.9, (0, 2, 2.5)), (_SNARE, 0.8, (1, 3)), (_RIDE, 0.35, _QUARTERS)),
            ((_KICK, 0.9, (0, 0.5, 2)), (_SNARE, 0.8, (1, 3, 3.5)), (_HAT, 0.3, _QUARTERS)),
            ((_KICK, 0.9, (0, 1, 2, 3)), (_SNARE, 0.8, (1, 3)), (_OPEN, 0.3, _QUARTERS)),
        ),
        (
            PartStyle(
                (33, 34),
                28,
                0.8,
                (
                    _each(_ALL_EIGHTHS, (0,), 0.48),
                    _each(_QUARTERS, (0,), 0.95),
                    _walk((0, 0, 2, 2, 3, 3, 2, 2), 0.5, 0.45),
                    _each((0, 1.5, 2), (0,), 0.9),
                ),
            ),
            PartStyle(
                (29, 30),
                40,
                0.8,
                (
                    _each(_ALL_EIGHTHS, (0, 2), 0.45),
                    _each((0, 1.5, 2, 3.5), (0, 2, 3), 0.9),
                    _each((0, 2), (0, 2, 3), 1.8),
                    _each((0, 0.5, 1.5, 2.5, 3), (0, 2), 0.45),
                ),
            ),
            PartStyle(
                (27, 18),
                55,
                0.3,
                ((), _walk((0, 1, 2, 3, 2, 1, 0, 1), 0.5, 0.5), _each((0,), _HIGH, 3.0), _walk((3, 2, 1, 2), 1, 0.9)),
            ),
        ),
        ((0, 3, 4, 3), (0, 6, 3, 0), (0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (5, 4, 3, 4)),
    ),
    "folk": BandStyle(
        (3.0, 3.5, 4.0),
        (
            (),
            ((_TAMBOURINE, 0.3, (1, 3)),),
            ((_SHAKER, 0.4, _ALL_EIGHTHS),),
            ((_STICK, 0.3, (1, 3)), (_SHAKER, 0.3, _QUARTERS)),
        ),
        (
            PartStyle(
                (32,),
                31,
                0.7,
                (
                    _each((0, 2), (0,), 1.8),
                    _walk((0, 2, 0, 2), 1, 0.9),
                    _each((0,), (0,), 3.0),
                    _walk((0, 0, 2, 3), 1, 0.9),
                ),
            ),
            PartStyle(
                (24, 25),
                52,
                1.0,
                (
                    _walk((0, 2, 3, 1, 0, 2, 1, 3), 0.5, 1.4),
                    _walk((0, 1, 2, 3, 2, 1, 2, 3), 0.5, 1.4),
                    ((0, (0,), 2.0), (1, _HIGH, 1.0), (2, (2,), 2.0), (3, _HIGH, 1.0)),
                    _each((0, 1, 1.5, 2.5, 3), (0, 1, 2, 3), 0.9),
                ),
            ),
            PartStyle(
                (105, 22, 73),
                60,
                0.4,
                ((), _walk((3, 2, 1, 2), 1, 0.9), _each((0, 2), (1,), 1.8), _walk((0, 1, 2, 3), 1, 0.9)),
            ),
        ),
        ((0, 4, 5, 3), (0, 3, 0, 4), (0, 5, 3, 4), (0, 0, 3, 4), (5, 3, 0, 4), (0, 4, 3, 4)),
    ),
    "jazz": BandStyle(
        (2.0, 2.5, 3.0),
        (
            ((_RIDE, 0.4, (0, 1, 1.667, 2, 3, 3.667)), (_HAT, 0.3, (1, 3)), (_KICK, 0.25, (0,))),
            ((_RIDE, 0.4, (0, 1, 1.667, 2, 3, 3.667)), (_STICK, 0.35, (3,))),
            ((_HAT, 0.35, (0.667, 1, 1.667, 2.667, 3, 3.667)), (_KICK, 0.3, (0, 2))),
            ((_RIDE, 0.4, _QUARTERS), (_SNARE, 0.25, (1.667, 3.667)), (_HAT, 0.3, (1, 3))),
        ),
        (
            PartStyle(
                (32, 33),
                31,
                1.0,
                (
                    _walk((0, 1, 2, 3), 1, 0.95),
                    _walk((3, 2, 1, 0), 1, 0.95),
                    _walk((0, 2, 3, 2), 1, 0.95),
                    _each((0, 2), (0,), 1.5),
                ),
            ),
            PartStyle(
                (0, 4, 26),
                55,
                0.55,
                (
                    ((0.667, _TRIAD, 1.0), (2.667, _HIGH, 1.2)),
                    _each((1, 3), _TRIAD, 0.6),
                    ((0, _TRIAD, 0.7), (1.667, _HIGH, 1.0)),
                    ((0, _HIGH, 1.6), (2.667, _TRIAD, 0.5), (3.667, _HIGH, 0.3)),
                ),
            ),
            PartStyle(
                (11, 65),
                60,
                0.35,
                (
                    (),
                    _walk((0, 1, 3, 2), 1, 0.8),
                    ((1.667, (3,), 0.6), (2.667, (2,), 0.6), (3.667, (1,), 0.3)),
                    _each((0,), (2,), 2.5),
                ),
            ),
        ),
        ((1, 4, 0, 0), (0, 5, 1, 4), (2, 5, 1, 4), (3, 6, 2, 5), (1, 4, 2, 5), (0, 3, 1, 4)),
    ),
    "reggae": BandStyle(
        (3.0, 3.5, 4.0),
        (
            ((_KICK, 1.0, (2,)), (_STICK, 0.5, (1, 2, 3)), (_HAT, 0.3, _OFFBEATS)),
            ((_KICK, 1.0, (2,)), (_SNARE, 0.5, (2,)), (_HAT, 0.3, _ALL_EIGHTHS)),
            ((_KICK, 1.0, _QUARTERS), (_STICK, 0.5, (2,)), (_OPEN, 0.25, (3.5,)), (_HAT, 0.3, _OFFBEATS)),
            ((_KICK, 1.0, (0, 2)), (_STICK, 0.5, (1, 3)), (_CONGA, 0.4, (1.5, 3, 3.5))),
        ),
        (
            PartStyle(
                (33, 35),
                31,
                1.1,
                (
                    ((0, (0,), 0.75), (1, (0,), 0.5), (1.5, (2,), 0.5), (2.5, (3,), 0.75)),
                    ((0.5, (0,), 0.5), (1, (1,), 0.5), (2, (2,), 0.9), (3, (0,), 0.5)),
                    _walk((0, 3, 2, 0), 1, 0.6),
                    ((0, (0,), 0.5), (0.5, (0,), 0.5), (1.5, (2,), 1.0), (3.5, (1,), 0.4)),
                ),
            ),
            PartStyle(
                (16, 17, 27),
                57,
                0.7,
                (
                    _each(_OFFBEATS, _TRIAD, 0.25),
                    _each((1, 3), _TRIAD, 0.3),
                    _each((0.5, 0.75, 1.5, 2.5, 2.75, 3.5), _TRIAD, 0.2),
                    _each(_OFFBEATS, _HIGH, 0.4),
                ),
            ),
            PartStyle(
                (28, 56),
                60,
                0.3,
                (
                    (),
                    _walk((0, 0, 2, 2, 3, 3, 2, 2), 0.5, 0.3),
                    ((2.5, (3,), 0.5), (3, (2,), 0.8)),
                    _each((0, 1.5), (1, 3), 0.6),
                ),
            ),
        ),
        ((0, 3, 0, 4), (0, 1, 0, 1), (0, 6, 5, 6), (0, 3, 4, 3), (0, 5, 3, 4), (5, 4, 5, 4)),
    ),
}  # fmt: skip


def drum_keys() -> tuple[int, ...]:
    """All percussion that styles ask for."""
    return tuple(sorted({key for style in STYLES.values() for drums in style.drums for key, _, _ in drums}))


def tuned_notes() -> tuple[tuple[int, int], ...]:
    """All (program, pitch) to sample, so that every note that styles may ask for in any key has one near it."""
    parts = [part for style in STYLES.values() for part in style.parts]
    return tuple(
        sorted({
            (program, sampled_pitch(pitch))
            for part in parts
            for program in part.programs
            for pitch in range(part.lowest, part.lowest + _NOTE_SPAN)
        })
    )  # fmt: skip


def sampled_pitch(pitch: int) -> int:
    """The sampled pitch that is nearest, at most a semitone away."""
    return _NOTE_STEP * round(pitch / _NOTE_STEP)
