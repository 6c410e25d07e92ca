"""Recordings that are cut, damaged or joined are refused: words would be spread over a part of their song."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from jukebox_hf import JukeboxFeatureExtractor
from jukebox_hf.data.recordings import read_header, read_span
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.model.inputs.whole_audio import flaw_of_header, is_joined

RATE = 16_000
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}


def sound(kind, seconds=6.0):
    beat = 0.3 * np.sin(np.arange(round(seconds * RATE)) * 0.05)
    memory = io.BytesIO()
    container, subtype = KINDS[kind]
    noise = np.random.default_rng(0).normal(0, 0.02, len(beat))
    soundfile.write(memory, (beat + noise).astype(np.float32), RATE, format=container, subtype=subtype)
    return memory.getvalue()


def refusals(content, path):
    """What each road says of a file and of its bytes; None where it reads them."""
    path.write_bytes(content)
    return [refusal(read, source) for source in (path, content) for read in (read_all, lambda x: read_audio(x, RATE))]


def read_all(source):
    header = read_header(source, "x")
    return read_span(source, "x", 0, header.num_frames, header.rate)


def refusal(read, source):
    try:
        read(source)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_recordings_are_read(kind, tmp_path):
    assert refusals(sound(kind), tmp_path / "x") == [None] * 4
    tagged = b"ID3\x03\x00\x00\x00\x00\x00\x10" + bytes(16) + sound("mp3") + b"TAG" + bytes(125)
    assert refusals(tagged, tmp_path / "y") == [None] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_what_is_cut_short_is_refused(kind, share, tmp_path):
    content = sound(kind)
    for said in refusals(content[: int(share * len(content))], tmp_path / "x"):
        assert any(words in said for words in ("cut short", "cannot be"))
        assert "holds no samples" not in said
        assert "object at" not in said


@pytest.mark.parametrize("kind", ["ogg", "flac"])
def test_a_short_recording_that_is_cut_is_not_said_to_hold_nothing(kind, tmp_path):
    content = sound(kind, 2.0)
    for said in refusals(content[: len(content) // 2], tmp_path / "x"):
        assert "cut short" in said or "cannot be" in said


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "opus"])
def test_recordings_joined_by_their_bytes_are_refused_as_the_second_would_be_lost(kind, tmp_path):
    for said in refusals(sound(kind) + sound(kind, 3.0), tmp_path / "x"):
        assert "is several recordings joined to one, of which only the first is played" in said


def test_a_hole_in_an_ogg_is_missed_at_its_end(tmp_path):
    content = bytearray(sound("ogg"))
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    for said in refusals(bytes(content), tmp_path / "x"):
        assert "s before its header says, so it is cut short or damaged; get the file again" in said


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_whose_writer_did_not_know_its_length_is_read(size, tmp_path):
    content = bytearray(sound("wav"))
    content[40:44] = size.to_bytes(4, "little")
    assert flaw_of_header(io.BytesIO(content)) is None
    assert read_audio(bytes(sound("wav")), RATE).shape == (6 * RATE,)


def test_a_mark_in_the_first_pages_is_no_second_recording():
    content = sound("ogg")
    assert not is_joined(io.BytesIO(content[:58] + content))  # streams that sound together begin together
    assert is_joined(io.BytesIO(content + content))


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def by_ffmpeg(path, tmp_path):
    (tmp_path / "x.wav").write_bytes(sound("wav"))
    words = ["ffmpeg", "-nostdin", "-v", "error", "-i", str(tmp_path / "x.wav"), str(path)]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    return path.read_bytes()


@needs_ffmpeg
def test_what_ffmpeg_says_of_a_damaged_recording_is_told(tmp_path, caplog, monkeypatch):
    content = bytearray(by_ffmpeg(tmp_path / "x.m4a", tmp_path))
    said = []
    monkeypatch.setattr("jukebox_hf.model.inputs.foreign_audio.logger.warning", said.append)
    read_audio(tmp_path / "x.m4a", RATE)
    assert said == []
    start = content.index(b"mdat") + 2000
    content[start : start + 3000] = b"\xff" * 3000
    (tmp_path / "y.m4a").write_bytes(content)
    read_audio(tmp_path / "y.m4a", RATE)
    assert len(said) == 1
    assert "y.m4a (M4A or MP4): ffmpeg says " in said[0]
    assert "a part of its sound may be missing" in said[0]


@needs_ffmpeg
def test_the_bytes_of_an_m4a_are_read_as_its_file_is(tmp_path):
    content = by_ffmpeg(tmp_path / "x.m4a", tmp_path)
    wanted = read_audio(tmp_path / "x.m4a", RATE)
    assert np.array_equal(read_audio(content, RATE), wanted)
    extractor = JukeboxFeatureExtractor(sampling_rate=RATE, hop_length=16)
    found = extractor({"bytes": content, "path": "x.m4a"}, return_tensors="np").input_values
    assert np.array_equal(found[0, 0], wanted[: found.shape[-1]])
    header = read_header(content, "x")
    assert header == read_header(tmp_path / "x.m4a", "x.m4a")
    assert read_span(memoryview(content), "x", 100, 400, RATE).shape == (1, 400)


def test_noise_as_bytes_is_refused_without_the_address_of_an_object():
    with pytest.raises(ValueError, match="the audio cannot be read as audio") as refused:
        read_audio(np.random.default_rng(0).bytes(5000), RATE)
    assert "0x" not in str(refused.value)


# --- open files ---


def test_an_open_file_is_read_as_its_bytes(tmp_path):
    (tmp_path / "x.wav").write_bytes(sound("wav", 1.0))
    extractor = JukeboxFeatureExtractor(sampling_rate=RATE, hop_length=16)
    wanted = extractor(str(tmp_path / "x.wav"), return_tensors="np").input_values
    assert np.array_equal(extractor(io.BytesIO(sound("wav", 1.0)), return_tensors="np").input_values, wanted)
    with (tmp_path / "x.wav").open("rb") as file:
        assert np.array_equal(extractor([file], return_tensors="np").input_values, wanted)
        with pytest.raises(ValueError, match=r"raw_audio is an open file at its end; call its seek\(0\) first"):
            extractor(file)
    with pytest.raises(ValueError, match="raw_audio is an open file that cannot be read"):
        extractor(file)
    with pytest.raises(ValueError, match="raw_audio is an open file that gives str, not bytes; open it with 'rb'"):
        extractor(io.StringIO("la"))
