"""`python -m examples.tiny.v2.voices OUT BANK CORPUS`: songs of a corpus and voices alone, to train a codec on.

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
    return run("voices", __doc__, words, write_voices, counts=[3])


def write_voices(out: Path, bank: Path, corpus: Path, count: int = VOICES) -> None:
    """Write the folder, with `count` different voices.

    Raises:
        ValueError, OSError: a folder that is there already, no bank, or no recordings.
    """
    recordings = sorted(path for path in (corpus / "songs").glob("*") if path.suffix in SUFFIXES)
    if not recordings:
        raise ValueError(f"{corpus} holds no songs; name a corpus of jukebox-hf synth-corpus")
    studio = RecordingStudio(open_bank(bank))
    out.mkdir(parents=True)
    for path in recordings:
        os.link(path, out / path.name)
    settings = CorpusSettings(hours=100, seed=SEED, voices="recorded")
    sung = (spec for index in range(settings.num_songs) if (spec := recorded_spec(settings, index)).lyrics.strip())
    for place, spec in enumerate(islice(sung, count)):
        names = [out / f"voice-{place:06d}-{copy}.wav" for copy in range(1, TIMES + 1)]
        soundfile.write(names[0], studio.record(spec, band_db=-math.inf).audio, SPEECH_RATE)
        for name in names[1:]:
            os.link(names[0], name)


if __name__ == "__main__":
    sys.exit(main())
