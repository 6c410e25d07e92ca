"""Recordings that libsndfile does not read: through ffmpeg or torchcodec where they are, else refused with the cure."""

import shutil
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf.model.inputs import foreign_audio
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.model.inputs.foreign_audio import foreign_kind

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
RATE = 16000
TONE = (0.4 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture
def wav(tmp_path):
    soundfile.write(tmp_path / "tone.wav", np.stack([TONE, TONE], axis=1), RATE)
    return tmp_path / "tone.wav"


@pytest.fixture
def converted(wav):
    def make(name, *options):
        path = wav.with_name(name)
        words = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(wav), *options, str(path)]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
        return path

    return make


@needs_ffmpeg
@pytest.mark.parametrize("name", ["song é 歌.m4a", "-y.m4a", "a.mp4", "a.aac", "a.mka", "a.wma", "a.wv", "a.ac3"])
def test_recordings_of_other_kinds_are_read_through_ffmpeg(converted, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = converted(name if not name.startswith("-") else "plain.m4a")
    if name.startswith("-"):
        path = path.rename(tmp_path / name)
    heard = read_audio(path.name, RATE)
    assert len(heard) == pytest.approx(RATE, abs=0.2 * RATE)  # encoders fill up their last block
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * RATE / len(heard) == pytest.approx(300, abs=4)


@needs_ffmpeg
def test_caps_hold_and_the_program_is_gone_afterwards(converted):
    path = converted("a.m4a")
    with pytest.raises(ValueError, match=r"s long, but at most 0.5 s are read"):
        read_audio(path, RATE, max_seconds=0.5)
    with foreign_audio.open_foreign(path, foreign_kind(path), 10.0) as file:
        assert file.read(10).shape == (10, 2)
    assert file._process.returncode is not None


@needs_ffmpeg
def test_a_damaged_file_is_refused_in_a_sentence(converted, tmp_path):
    whole = converted("a.m4a").read_bytes()
    path = tmp_path / "cut.m4a"
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match=r"cut.m4a \(M4A or MP4\) cannot be read by ffmpeg \(") as refusal:
        read_audio(path, RATE)
    assert "\n" not in str(refusal.value)


@needs_ffmpeg
def test_a_file_that_names_other_files_is_never_followed(wav, tmp_path):
    """Playlists are not among the containers; what only pretends to be one is read as that one."""
    for content in (f"ffconcat version 1.0\nfile {wav}\n", f"#EXTM3U\n#EXTINF:1,\n{wav}\n", f"\0\0\0\x18ftyp\n{wav}\n"):
        path = tmp_path / "list.m4a"
        path.write_text(content)
        with pytest.raises(ValueError, match="cannot be read"):
            read_audio(path, RATE)


def test_without_ffmpeg_the_sentence_names_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_audio.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with pytest.raises(ValueError, match="is M4A or MP4, which needs ffmpeg to be read; install ffmpeg"):
        read_audio(path, RATE)


def test_torchcodec_reads_where_there_is_no_ffmpeg(tmp_path, monkeypatch):
    class AudioDecoder:
        def __init__(self, path):
            self.metadata = SimpleNamespace(sample_rate=100, num_channels=2, duration_seconds_from_header=25.0)

        def get_samples_played_in_range(self, start, stop):
            return SimpleNamespace(data=torch.arange(int(100 * start), int(100 * stop)).float().expand(2, -1) / 2500)

    module = ModuleType("torchcodec.decoders")
    module.AudioDecoder = AudioDecoder
    monkeypatch.setattr(foreign_audio.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    with foreign_audio.open_foreign(path, foreign_kind(path), 10.0) as file:
        blocks = []
        while len(block := file.read(1 << 20)):
            blocks.append(block)
    assert np.array_equal(np.concatenate(blocks)[:, 1], (np.arange(2500) / 2500).astype(np.float32))


def test_what_libsndfile_reads_is_left_to_it(wav, tmp_path):
    assert foreign_kind(wav) is None
    for suffix in ("mp3", "ogg", "flac"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, TONE, RATE)
        assert foreign_kind(path) is None
    (tmp_path / "empty").write_bytes(b"")
    assert foreign_kind(tmp_path / "empty") is None
