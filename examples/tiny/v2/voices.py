"""`python -m examples.tiny.v2.voices OUT BANK CORPUS [VOICES TIMES]`: songs and voices alone, to train a codec on.

Flows in: a voice bank, and the corpus of recorded voices that was made of it. Flows out: a folder of recordings: those
of the corpus, as links, and songs of another seed without their bands, each of which counts several times. What a band
plays covers the noise that a codec leaves between the harmonics of a voice; a voice alone does not.
"""

import math
import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import soundfile

from examples.tiny.command import run
from jukebox_hf.conversion.staging import staged
from jukebox_hf.data.song_tables import SUFFIXES
from jukebox_hf.data.synthesis.corpus import CorpusSettings, recorded_spec
from jukebox_hf.data.synthesis.recorded.recorded_song import RecordingStudio
from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE
from jukebox_hf.data.synthesis.recorded.voice_bank import open_bank

SEED = 200
VOICES = 65
TIMES = 4  # that a voice is there


def main(words: Sequence[str] | None = None) -> int:
    """Write the folder as the words of a command line say."""
    return run("voices", __doc__, words, _write, counts=[3, 5])


def _write(out: Path, bank: Path, corpus: Path, *numbers: Path) -> None:
    if not all(str(number).isdecimal() and int(str(number)) >= 1 for number in numbers):
        raise ValueError(f"VOICES TIMES are {' '.join(map(str, numbers))}, but must be whole numbers of at least 1")
    write_voices(out, bank, corpus, *(int(str(number)) for number in numbers))


def write_voices(out: Path, bank: Path, corpus: Path, count: int = VOICES, times: int = TIMES) -> None:
    """Write the folder, with `count` different voices, each of them so many times; it is there whole or not at all.

    Raises:
        ValueError, OSError: a folder that is there already, no bank, or no recordings.
    """
    recordings = sorted(path for path in (corpus / "songs").glob("*") if path.suffix in SUFFIXES)
    if not recordings:
        raise ValueError(f"{corpus} holds no songs; name a corpus of jukebox-hf synth-corpus")
    studio = RecordingStudio(open_bank(bank))
    settings = CorpusSettings(hours=100, seed=SEED, voices="recorded")
    sung = (spec for index in range(settings.num_songs) if (spec := recorded_spec(settings, index)).lyrics.strip())
    with staged(out, force=False) as staging:
        for path in recordings:
            os.link(path, staging / path.name)
        for place, spec in enumerate(islice(sung, count)):
            names = [staging / f"voice-{place:06d}-{copy}.wav" for copy in range(1, times + 1)]
            soundfile.write(names[0], studio.record(spec, band_db=-math.inf).audio, SPEECH_RATE)
            for name in names[1:]:
                os.link(names[0], name)


if __name__ == "__main__":
    sys.exit(main())
