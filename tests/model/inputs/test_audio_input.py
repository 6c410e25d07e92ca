"""Samples in arrays: the type says the scale, or they are refused; nothing is sung as silence or as noise."""

import numpy as np
import pytest

from jukebox_hf.model.inputs.audio_input import read_audio

WAVE = np.sin(np.arange(4000) / 9)


@pytest.mark.parametrize(
    "samples",
    [
        (WAVE * 32767).astype(np.int16),
        (WAVE * (2**31 - 1)).astype(np.int32),
        (WAVE * 127).astype(np.int8),
        (WAVE * 127 + 128).astype(np.uint8),
        WAVE.astype(np.float16),
        WAVE.astype(">f4"),
        (WAVE * 32767).astype(">i2"),
    ],
    ids=lambda samples: samples.dtype.str,
)
def test_samples_of_every_type_have_the_same_scale(samples):
    assert np.abs(read_audio(samples, 8000) - WAVE).max() < 0.02


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ((WAVE * 32767).astype(np.int64), "int64 says nothing of its scale; give 16-bit samples as .astype"),
        ((WAVE * 32767).astype(np.int64).tolist(), "int64 says nothing of its scale"),
        ((WAVE * 32767 + 32768).astype(np.uint16), "uint16 says nothing of its scale"),
        ((WAVE * 32767).astype(np.int32), r"int32 reaches only 3276\d of 2147483647, as 16-bit"),
        ((WAVE * (2**23 - 1)).astype(np.int32), "int32 reaches only"),
        (WAVE * 32768, r"the audio reaches 32\d{3}.*but full scale is 1; divide 16-bit"),
        ((WAVE * 32768).astype(np.float32), "but full scale is 1"),
        (WAVE * 127, "reaches 12"),
        (WAVE > 0, "must be numbers"),
        (WAVE * 1j, "must be numbers"),
        (WAVE.astype(object), "must be numbers"),
        (WAVE.astype(str), "must be numbers"),
    ],
)
def test_samples_whose_scale_nobody_knows_are_refused(samples, said):
    with pytest.raises(ValueError, match=said):
        read_audio(np.asarray(samples), 8000)


def test_silence_and_samples_a_little_over_full_scale_are_audio():
    for samples in (
        np.zeros(9, np.int32),
        np.zeros(9, np.int16),
        np.array([0.0, 1.5, -3.9]),
        np.array([1, -1], np.int16),
    ):
        assert np.abs(read_audio(samples, 8000)).max() < 4
