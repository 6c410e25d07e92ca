"""Audio files: every format holds the sound, its tags and its true numbers, and equal samples are equal files."""

import io
import time

import numpy as np
import pytest
import soundfile

from jukebox_hf.data import audio_io
from jukebox_hf.data.audio_io import AUDIO_FORMATS, encode_audio, format_of, suffix_of, write_audio

RATE = 16000
LOSSY = [name for name, kind in AUDIO_FORMATS.items() if kind.is_lossy]


def _tone(seconds=0.5, rate=RATE, peak=0.4):
    return (peak * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("name", AUDIO_FORMATS)
def test_facts_describe_the_file_as_it_is_read(tmp_path, name):
    path = tmp_path / f"a{suffix_of(name)}"
    written = write_audio(
        path,
        3 * _tone(),
        RATE,
        format=name,
        tags={"title": "Lied: Ärger 歌", "comment": "made", "software": "jukebox_hf", "artist": "é" * 40},
    )
    heard, rate = soundfile.read(path, dtype="float32")
    assert (written.format, written.sampling_rate, written.num_samples) == (name, rate, len(heard))
    assert np.allclose(written.samples, heard, atol=1e-6)
    assert written.peak == pytest.approx(np.abs(heard).max(), abs=2e-6)
    assert written.sampled_peak == pytest.approx(1.2, rel=1e-4)
    assert written.num_clamped == (0 if name == "wavfloat" else int((np.abs(3 * _tone()) > 1).sum()))
    assert written.facts()["seconds"] == len(heard) / rate
    assert "samples" not in written.facts()
    with soundfile.SoundFile(path) as file:
        assert file.title == "Lied: Ärger 歌"
        assert (file.comment, file.artist) == ("made", "é" * 40)
    assert format_of(path) == {"wav24": "wav", "wavfloat": "wav", "flac24": "flac"}.get(name, name)


@pytest.mark.parametrize("name", AUDIO_FORMATS)
def test_peak_normalisation_reaches_full_scale_and_never_beyond(name):
    written = encode_audio(_tone(), RATE, format=name, normalize="peak")[1]
    assert 0.8 < written.peak <= 1.0 if name != "opus" else written.peak > 0.8  # Opus overshoots at a sudden end
    assert written.sampled_peak == pytest.approx(0.4, rel=1e-4)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_formats_sound_like_what_was_written(name):
    heard = encode_audio(_tone(), RATE, format=name)[1].samples
    middle = slice(RATE // 10, RATE // 3)
    assert np.sqrt(np.mean((heard[middle] - _tone()[middle]) ** 2)) < 0.03


@pytest.mark.parametrize(
    ("name", "rate", "wanted"), [("opus", 44100, 48000), ("mp3", 16001, 22050), ("mp3", 96000, 48000)]
)
def test_rates_that_a_format_can_not_hold_are_resampled(name, rate, wanted):
    written = encode_audio(_tone(rate=rate), rate, format=name)[1]
    assert written.sampling_rate == wanted
    assert written.num_samples == pytest.approx(wanted / 2, abs=2)
    spectrum = np.abs(np.fft.rfft(written.samples))
    assert np.argmax(spectrum) * wanted / written.num_samples == pytest.approx(300, abs=3)


@pytest.mark.parametrize("name", ["ogg", "opus", "wavfloat", "mp3"])
def test_equal_samples_are_equal_files_whenever_they_are_written(name, monkeypatch):
    """libsndfile draws a number for each Ogg stream, and writes the second into float WAVs."""
    first = encode_audio(_tone(), RATE, format=name)[0]
    time.sleep(1.01 if name == "wavfloat" else 0)
    assert encode_audio(_tone(), RATE, format=name)[0] == first


def test_checksums_of_an_ogg_file_are_those_of_libsndfile(monkeypatch):
    """Numbering a stream by the number that it has gives it back as it was."""
    found = []
    monkeypatch.setattr(audio_io, "number_ogg", lambda content: found.append(bytes(content)))
    encode_audio(_tone(), RATE, format="ogg")
    from jukebox_hf.data import audio_bytes

    plain = found[0]
    numbered = bytearray(plain)
    audio_bytes.number_ogg(numbered)
    assert numbered != plain
    number = plain[14:18]
    place = 0
    while place < len(numbered):  # the same pages with the number put back
        stop = place + 27 + numbered[place + 26]
        stop += sum(numbered[place + 27 : stop])
        page = bytearray(numbered[place:stop])
        page[14:18], page[22:26] = number, bytes(4)
        assert audio_bytes._checksum(page) == int.from_bytes(plain[place + 22 : place + 26], "little")
        place = stop


def test_a_long_ogg_is_written_in_blocks():
    """In one piece, libsndfile's encoder overruns the stack."""
    assert encode_audio(np.zeros(2_000_000, np.float32), 44100, format="ogg")[1].num_samples == 2_000_000


def test_a_format_that_this_libsndfile_lacks_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV"})
    with pytest.raises(ValueError, match="format='mp3' is not possible with the libsndfile"):
        encode_audio(_tone(), RATE, format="mp3")
    assert encode_audio(_tone(), RATE)[1].num_samples == RATE // 2


def test_tags_that_are_no_text_a_file_can_hold_never_stop_a_song():
    content = encode_audio(_tone(), RATE, tags={"title": "half \ud83d\0 \x1b\u202e" + "x" * 900})[0]
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        assert file.title.startswith("half ?")
