"""Folders of songs hold recordings that libsndfile does not read: opened where ffmpeg is, else counted."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import read_header, read_span

RATE = 16000


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_m4a_is_a_song_like_any_other_and_its_stretches_are_those_of_the_whole(tmp_path):
    tone = (0.4 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone / 2], axis=1), RATE)
    words = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / "b.m4a")]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    assert open_songs(tmp_path).table.names == ["a.wav", "b.m4a"]
    path = tmp_path / "b.m4a"
    header = read_header(path, "b.m4a")
    assert (header.rate, header.channels) == (RATE, 2)
    assert header.seconds == pytest.approx(2, abs=0.2)
    whole = read_span(path, "b.m4a", 0, header.num_frames, RATE)
    assert np.array_equal(read_span(path, "b.m4a", 5000, 4000, RATE), whole[:, 5000:9000])
    assert np.abs(whole[0, 8000:16000]).max() == pytest.approx(0.4, abs=0.05)
