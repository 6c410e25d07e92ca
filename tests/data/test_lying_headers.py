"""Recordings whose headers promise what is not there: each costs itself alone, and memory for what is there."""

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
import soundfile

from jukebox_hf.data import recordings
from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import read_header, read_span
from jukebox_hf.model.inputs.audio_input import read_audio

HOUR = 3600 * 44_100


def sound(format="FLAC", seconds=1.0, rate=8000, channels=1, subtype=None, scale=0.1):
    memory = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-scale, scale, (round(seconds * rate), channels))
    soundfile.write(memory, noise, rate, format=format, subtype=subtype)
    return memory.getvalue()


def lying(frames, rate=8000, channels=1):
    """A FLAC file whose header has other numbers: 20 bits of rate, 3 of channels, 5 of depth, 36 of frames."""
    content = bytearray(sound())
    packed = rate << 44 | (channels - 1) << 41 | 15 << 36 | frames
    content[18:26] = packed.to_bytes(8, "big")
    return bytes(content)


@pytest.mark.parametrize(
    "bytes_of", [lambda: lying(3600 * 8000), lambda: lying(HOUR, 44_100, 2)], ids=["mono", "stereo"]
)
def test_a_flac_that_promises_hours_takes_memory_for_what_is_there(bytes_of, tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(bytes_of())
    tracemalloc.start()
    try:
        header = read_header(path, "a.flac")
        with pytest.raises(ValueError, match=r"a\.flac (ends [\d.]+ s before|cannot be decoded)"):
            read_span(path, "a.flac", 0, header.num_frames, header.rate)
        with pytest.raises(ValueError, match=r"a\.flac (ends [\d.]+ s before|cannot be decoded)"):
            read_span(path, "a.flac", 0, header.num_samples(16_000), 16_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: lying(2**36 - 1), "s long, but at most|holds no samples|cannot be read"),
        (lambda: lying(3600 * 300_000, rate=300_000, channels=8), "samples in 8 channels, but at most|cannot be"),
        (lambda: lying(8000, rate=700_000), "samples per second, but|cannot be read"),
        (lambda: sound("FLAC", rate=600), "600 samples per second, but 1000 to"),
        (lambda: sound("WAV", channels=65, seconds=0.1), "65 channels, but at most 64"),
    ],
)
def test_headers_beyond_the_caps_are_refused_before_anything_is_read(content, said):
    with pytest.raises(ValueError, match=said):
        read_header(content(), "a.flac")


def test_one_lying_file_costs_a_data_set_itself_alone(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.flac").write_bytes(sound(seconds=2))
    (tmp_path / "zz.flac").write_bytes(lying(8000 * 600))
    songs = open_songs(tmp_path)
    windows = AudioWindows(songs, 8000, 8000)
    read = [windows[item] for item in range(0, len(windows), 10)]
    assert all(window["input_values"].shape == (1, 8000) for window in read)
    assert songs.report().startswith("1 of 21 songs were skipped: zz.flac")


@pytest.mark.parametrize("format", ["FLAC", "WAV", "OGG"])
def test_a_stretch_in_blocks_is_the_stretch_at_once(format, monkeypatch):
    content = sound(format, channels=2)
    whole = read_span(content, "a", 100, 7000, 8000)
    monkeypatch.setattr(recordings, "BLOCK_VALUES", 500)
    assert np.array_equal(read_span(content, "a", 100, 7000, 8000), whole)


@pytest.mark.parametrize("format", ["FLAC", "WAV", "OGG", "MP3"])
def test_a_file_cut_anywhere_is_read_or_refused_with_a_value_error(format, tmp_path):
    content = sound(format)
    for length in (0, 1, 4, 12, 40, 44, 100, len(content) // 2, len(content) - 1):
        for change in (content[:length], b"\0" * length + content[length:], content[:length] + b"\xff" * 40):
            path = tmp_path / "a"
            path.write_bytes(change)
            for read in (
                lambda path=path: read_span(path, "a", 0, read_header(path, "a").num_frames, 8000),
                lambda path=path: read_audio(path, 8000),
            ):
                with contextlib.suppress(ValueError):
                    read()


def test_floats_at_the_scale_of_integers_are_refused_and_counted():
    content = sound("WAV", subtype="FLOAT", scale=20_000)
    with pytest.raises(ValueError, match=r"a reaches \d+.*, but full scale is 1; divide 16-bit samples by 32768"):
        read_span(content, "a", 0, 8000, 8000)
    assert read_span(sound("WAV", subtype="FLOAT", scale=2), "a", 0, 8000, 8000).max() > 1.9
