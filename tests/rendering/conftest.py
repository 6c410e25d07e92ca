"""What the rendering tests share: timed lyrics made by hand, strange ones too."""

import io

import numpy as np
import pytest
import soundfile

from jukebox_hf.model.alignment.alignment_times import CharacterTimes, time_lyrics

HOSTILE = (
    "[Verse </title>]\n"
    "Row </script><img src=x onerror=window.pwned=1> & \"quotes\" 'single'\n"
    "[00:99.00] <00:01.00>fake --> times {b}\n"
    "日本 \u2028 tail\n"
    "<!-- <script>window.pwned=2</script>"
)


@pytest.fixture
def hostile():
    """Lyrics that try everything."""
    return HOSTILE


@pytest.fixture
def timed():
    """A maker of timed lyrics: every character of the text takes a step, of 0.1 s by default."""

    def make(text, step=0.1, start=0.0, unread=()):
        places = [place for place, character in enumerate(text) if not character.isspace()]
        starts = start + step * np.arange(len(places))
        seen = np.ones(len(places), bool)
        read = np.array([place not in unread for place in places], bool)
        times = CharacterTimes(places, starts, starts + step, np.full(len(places), 0.5), seen, read)
        return time_lyrics(text, times, start + step * len(places) + 1)

    return make


@pytest.fixture(scope="session")
def sound():
    """Two seconds of a rising tone: (samples, rate, the bytes of a WAV)."""
    rate = 8000
    samples = (0.2 * np.sin(np.linspace(0, 2000, 2 * rate) ** 1.1)).astype(np.float32)
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype="PCM_16")
    return samples, rate, memory.getvalue()
