"""Artists: four invented singers who differ in voice and in habit."""

from dataclasses import dataclass

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}


@dataclass(frozen=True)
class Artist:
    """A singer.

    Attributes:
        name: as the labels have it.
        formant_scale: size of the mouth; 1 is the table's, more is a smaller mouth.
        centre, reach: middle of the voice (MIDI number) and how far it goes from there, in semitones.
        vibrato_hertz, vibrato_cents: speed and depth.
        breath: noise in the voice.
        tilt: how dark the voice is, in dB per octave.
        glide: seconds from note to note.
        mode, keys: scales sung in, and their tonics (MIDI pitch classes).
        leap: how far the melody moves, in steps of the scale.
        ornament: "none", "scoop" (from below), "turn" (a quick neighbour) or "fall" (down at the end).
        echo: loudness of an echo.
    """

    name: str
    formant_scale: float
    centre: float
    reach: float
    vibrato_hertz: float
    vibrato_cents: float
    breath: float
    tilt: float
    glide: float
    mode: str
    keys: tuple[int, ...]
    leap: int
    ornament: str
    echo: float = 0.0


ARTISTS = {
    artist.name: artist
    for artist in (
        Artist("Ada Brook", 1.22, 62, 7, 6.2, 45, 0.02, 3.0, 0.03, "major", (0, 7), 2, "turn"),
        Artist("Bo Vale", 0.86, 46, 6, 4.6, 12, 0.008, 1.5, 0.05, "mixolydian", (2, 9), 1, "none"),
        Artist("Cora Finch", 1.08, 57, 8, 5.4, 25, 0.04, 4.5, 0.09, "minor", (4, 11), 3, "scoop", echo=0.3),
        Artist("Dex Marlow", 0.95, 51, 5, 7.0, 70, 0.015, 6.0, 0.02, "dorian", (5, 10), 4, "fall"),
    )
}
