"""Recordings of any kind become mono samples at the model's rate, in whole codes; what is hostile is refused."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor

from jukebox_hf import JukeboxFeatureExtractor
from jukebox_hf.model.inputs.audio_input import read_audio

RATE = 44100


@pytest.fixture
def extractor():
    return JukeboxFeatureExtractor()


def _tone(rate, seconds=0.5, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.stack([wave * (1 - channel) for channel in range(channels)], axis=1).squeeze()


def test_samples_are_cut_to_whole_codes(extractor, sound):
    features = extractor(sound(0.1), sampling_rate=RATE, return_tensors="pt")
    assert tuple(features["input_values"].shape) == (1, 1, 4410 // 128 * 128)
    assert np.array_equal(features["input_values"][0, 0], sound(0.1)[: 34 * 128])
    assert features["input_lengths"].tolist() == [34 * 128]


def test_shorter_recordings_are_padded_in_front(extractor, sound):
    features = extractor([sound(0.1), sound(0.05)], sampling_rate=RATE, return_tensors="np")
    short = 2205 // 128 * 128
    assert features["input_values"].shape[0] == 2
    assert not features["input_values"][1, 0, :-short].any()
    assert np.array_equal(features["input_values"][1, 0, -short:], sound(0.05)[:short])
    assert features["padding_mask"].sum(axis=1).tolist() == [34 * 128, short]
    with pytest.raises(ValueError, match="pass padding=True"):
        extractor([sound(0.1), sound(0.05)], sampling_rate=RATE, padding=False)


@pytest.mark.parametrize("pack", [lambda samples: samples, lambda samples: (samples, RATE)], ids=["bare", "with rate"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sound: torch.from_numpy(sound).to("meta"), "on meta, out of which no samples can be read"),
        (lambda sound: torch.from_numpy(sound).to_sparse(), r"such as .to_dense\(\) of a sparse one"),
        (lambda sound: torch.nested.nested_tensor([torch.from_numpy(sound)]), "no samples can be read"),
        (lambda sound: np.ma.masked_array(sound, mask=sound > 0.1), r"masked samples are none; .* .filled\(0\)"),
        (lambda sound: sound.astype(np.complex64), "audio must be numbers"),
        (lambda sound: torch.from_numpy(sound).to(torch.complex64).conj(), "audio must be numbers"),
        (lambda sound: sound.astype(object), "no numbers"),
    ],
    ids=["meta", "sparse", "nested", "masked", "complex", "conjugated", "object"],
)
def test_arrays_without_samples_to_read_are_refused_in_a_sentence(extractor, sound, make, message, pack):
    with pytest.raises(ValueError, match=message) as caught:
        extractor(pack(make(sound(0.1))))
    assert "\n" not in str(caught.value)


def test_a_masked_array_without_a_mask_is_samples(extractor, sound):
    found = extractor(np.ma.masked_array(sound(0.1)), sampling_rate=RATE)["input_values"]
    assert np.array_equal(found, extractor(sound(0.1), sampling_rate=RATE)["input_values"])


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_other_rates_are_resampled(extractor, rate):
    values = extractor(_tone(rate), sampling_rate=rate)["input_values"][0, 0]
    middle = slice(2000, 18000)
    assert np.abs(values[middle] - _tone(RATE)[: len(values)][middle]).max() < 2e-3


def test_channels_are_averaged_whichever_way_they_lie(extractor):
    stereo = _tone(RATE, channels=2)
    one, other = (extractor(audio, sampling_rate=RATE)["input_values"] for audio in (stereo, stereo.T))
    assert np.array_equal(one, other)
    assert np.allclose(one[0, 0], _tone(RATE)[: one.shape[-1]] / 2, atol=1e-6)


@pytest.mark.parametrize(
    "box", [lambda x: x, torch.from_numpy, lambda x: [x], lambda x: (x, RATE), lambda x: {"array": x}]
)
def test_rows_that_may_be_a_batch_are_refused_and_not_averaged(extractor, sound, box):
    batch = np.stack([sound(0.1, 1), sound(0.1, 2), sound(0.1, 3)])
    with pytest.raises(ValueError, match=r"shape \(3, \d+\), which may be a batch or many channels"):
        extractor(box(batch))


@pytest.mark.parametrize("box", ["file", "decoder"])
def test_a_file_may_have_many_channels(processor, sound, tmp_path, box):
    channels = np.stack([sound(0.1, seed) for seed in range(4)])
    given = tmp_path / "four.wav"
    soundfile.write(given, channels.T, RATE, subtype="FLOAT")
    if box == "decoder":
        given = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=channels, sample_rate=RATE))
    expected = processor.feature_extractor.samples(channels.mean(axis=0))
    assert np.allclose(processor.feature_extractor(given)["input_values"][0, 0], expected, atol=1e-6)
    assert np.allclose(processor("la", prompt=given)["prompt_values"][0], expected, atol=1e-6)
    if box == "decoder":
        at_its_rate = processor("la", audio=given, sampling_rate=RATE)
        assert np.allclose(at_its_rate["prompt_values"][0], expected, atol=1e-6)


def test_integers_are_scaled_by_their_range():
    assert read_audio(np.array([-32768, 0, 16384], np.int16), RATE).tolist() == [-1, 0, 0.5]
    assert read_audio(np.array([0, 128, 192], np.uint8), RATE).tolist() == [-1, 0, 0.5]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_files_say_their_own_rate(extractor, tmp_path, suffix):
    path = tmp_path / f"stereo{suffix}"
    soundfile.write(path, _tone(22050, channels=2), 22050)
    values = extractor(path)["input_values"][0, 0]
    assert len(values) == RATE // 2 // 128 * 128
    assert np.abs(values[2000:18000] - _tone(RATE)[2000:18000] / 2).max() < 0.02


def test_it_is_the_same_after_saving(extractor, tmp_path):
    JukeboxFeatureExtractor(sampling_rate=16000, hop_length=32).save_pretrained(tmp_path)
    again = JukeboxFeatureExtractor.from_pretrained(tmp_path)
    assert (again.sampling_rate, again.hop_length, again.padding_side) == (16000, 32, "left")


def test_arguments_that_mean_nothing_are_refused_but_not_those_in_a_file(extractor, tmp_path):
    """They were kept, and did nothing."""
    with pytest.raises(ValueError, match=r"does not use do_normalize=True: sound is taken as loud as it is"):
        JukeboxFeatureExtractor(do_normalize=True)
    with pytest.raises(ValueError, match="unknown argument sampling_rat; known: feature_size, sampling_rate, padding_"):
        JukeboxFeatureExtractor(sampling_rat=16000)
    said = {**extractor.to_dict(), "do_normalize": True, "of_later_versions": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    again = JukeboxFeatureExtractor.from_pretrained(tmp_path, of_later_versions=4)
    assert again.to_dict() == {**said, "of_later_versions": 4}
    assert JukeboxFeatureExtractor(do_normalize=False, **extractor.to_dict()).hop_length == extractor.hop_length


def test_arguments_that_mean_nothing_are_refused_while_it_is_read(extractor, tmp_path):
    """Transformers drops what it does not use; arguments of loading, and of a tokenizer, may be there."""
    extractor.save_pretrained(tmp_path)
    for said, message in (
        ({"do_normalize": True}, "from_pretrained does not use do_normalize=True: sound is taken as loud as it is"),
        ({"sampling_rat": 3}, "from_pretrained: unknown argument sampling_rat; known: feature_size, sampling_rate"),
    ):
        with pytest.raises(ValueError, match=message):
            JukeboxFeatureExtractor.from_pretrained(tmp_path, **said)
        assert JukeboxFeatureExtractor.from_pretrained(tmp_path, return_unused_kwargs=True, **said)[1] == said
    harmless = {"do_normalize": False, "local_files_only": True, "trust_remote_code": True, "device_map": "cpu"}
    for read in (JukeboxFeatureExtractor, AutoFeatureExtractor):
        assert read.from_pretrained(tmp_path, **harmless).to_dict() == extractor.to_dict()
    assert AutoFeatureExtractor.from_pretrained(tmp_path, use_fast=False).to_dict() == extractor.to_dict()


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        (np.array([0.0, np.nan]), {}, "not finite"),
        (np.zeros((65, 70)), {}, "65 channels"),
        (np.zeros((2, 2, 2)), {}, "must be numbers"),
        (np.array(["a"]), {}, "must be numbers"),
        (np.zeros(0), {}, "holds no samples"),
        (np.zeros(10), {"source_rate": 999}, "source_rate=999 must be a whole number"),
        (np.zeros(10), {"source_rate": 10**9}, "source_rate=1000000000"),
        (np.zeros(3000), {"source_rate": 1000, "max_seconds": 2.5}, "is 3.0 s long"),
    ],
)
def test_hostile_samples_are_refused_in_one_sentence(audio, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_audio(audio, RATE, **options)
    assert "\n" not in str(caught.value)


def test_hostile_files_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVEnonsense")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "page.wav").write_bytes(b"<html>404</html>")
    (tmp_path / "pointer.mp3").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    (tmp_path / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(9000))
    os.mkfifo(tmp_path / "pipe.wav")
    soundfile.write(tmp_path / "long.wav", np.zeros(4000), 1000)
    for name, message in (
        ("text.wav", "cannot be read as audio"),
        ("empty.wav", "empty.wav is empty"),
        ("page.wav", "page.wav is a web page"),
        ("pointer.mp3", "pointer.mp3 is a git-LFS pointer"),
        ("noise.mp3", r"cannot be read as audio \(its format is not known"),
        ("http://host/a.wav", "is an address, not a file; download it"),
        ("pipe.wav", "is not a file"),
        ("nothing.wav", "is not a file"),
        (".", "is not a file"),
        ("long.wav", "is 4.0 s long, but at most 3 s"),
    ):
        with pytest.raises(ValueError, match=message):
            read_audio(name if "://" in name else tmp_path / name, RATE, max_seconds=3)


def test_too_short_or_odd_requests_are_refused(extractor):
    with pytest.raises(ValueError, match="fewer than the 128 of one code"):
        extractor(np.zeros(100), sampling_rate=RATE)
    with pytest.raises(ValueError, match="padding_side='right' must be 'left'"):
        JukeboxFeatureExtractor(padding_side="right")
    with pytest.raises(ValueError, match="Jukebox is mono"):
        JukeboxFeatureExtractor(feature_size=2)
