"""Audio that is sent while it is made: one behind the other the pieces are a file, and sound as one written at once."""

import io
import wave

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.audio_io import encode_audio
from jukebox_hf.data.streamed_audio import FORMATS_FROM_THE_FRONT, StreamedAudio, samples_of_wav

RATE = 44100


def _sound(seconds=1.3):
    return (np.sin(np.arange(round(seconds * RATE)) / 20) * 0.5).astype(np.float32)


def _streamed(format, samples, piece=5000):
    file = StreamedAudio(format, RATE, len(samples))
    pieces = [file.write(samples[start : start + piece]) for start in range(0, len(samples), piece)]
    return [*pieces, file.end()], file.sampling_rate


@pytest.mark.parametrize("format", [one for one in FORMATS_FROM_THE_FRONT if one != "pcm"])
def test_pieces_sound_as_a_file_that_is_written_at_once(format):
    pieces, _ = _streamed(format, _sound())
    found, rate = soundfile.read(io.BytesIO(b"".join(pieces)), dtype="int16")
    wanted, wanted_rate = soundfile.read(io.BytesIO(encode_audio(_sound(), RATE, format=format)[0]), dtype="int16")
    assert rate == wanted_rate
    assert len(found) == len(wanted)
    lossy = format in ("opus", "ogg")  # whose encoders end a last frame that is not full as they like
    apart = np.abs(found.astype(int) - wanted)[: -960 if lossy else None]
    assert apart.max() <= (1000 if lossy else 0)


def test_a_wav_and_plain_samples_are_the_same_bit_for_bit():
    wav, _ = _streamed("wav", _sound())
    pcm, _ = _streamed("pcm", _sound())
    assert samples_of_wav(b"".join(wav)) == b"".join(pcm)
    assert samples_of_wav(encode_audio(_sound(), RATE)[0]) == b"".join(pcm)


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_the_first_bytes_say_how_long_the_file_will_be(format):
    first = _streamed(format, _sound())[0][0]
    if format == "wav":
        with wave.open(io.BytesIO(first)) as file:
            assert file.getnframes() == len(_sound())
    else:
        assert soundfile.info(io.BytesIO(first)).frames == len(_sound())


@pytest.mark.parametrize("format", FORMATS_FROM_THE_FRONT)
def test_bytes_come_before_the_last_sample(format):
    pieces, _ = _streamed(format, _sound(3))
    assert sum(map(len, pieces[: len(pieces) // 2])) > 0


def test_loud_samples_are_cut_to_full_scale():
    pieces, _ = _streamed("pcm", np.array([2.0, -2.0, 0.0], np.float32))
    assert np.frombuffer(b"".join(pieces), "<i2").tolist() == [32767, -32768, 0]


def test_mp3_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="format='mp3' cannot be streamed; choose one of pcm, wav, flac, opus, ogg"):
        StreamedAudio("mp3", RATE, 1)
