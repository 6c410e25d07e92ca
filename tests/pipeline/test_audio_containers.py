"""Recordings come in the boxes that datasets, gradio, soundfile and pipelines use, and go out as files."""

import io

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf import JukeboxPipeline

RATE = 44100


class _Samples:
    def __init__(self, data):
        self.data, self.sample_rate = torch.from_numpy(data)[None], RATE


class _Decoder:
    """As torchcodec's AudioDecoder, in which datasets gives audio."""

    def __init__(self, data):
        self._data = data

    def get_all_samples(self):
        return _Samples(self._data)


@pytest.fixture(scope="module")
def samples(sound):
    return sound(0.05)


def _file(samples):
    memory = io.BytesIO()
    soundfile.write(memory, samples, RATE, format="WAV", subtype="FLOAT")
    return memory.getvalue()


BOXES = {
    "array and rate": lambda x: {"array": x, "sampling_rate": RATE},
    "raw, of transformers": lambda x: {"raw": x, "sampling_rate": float(RATE)},
    "bytes, of datasets": lambda x: {"bytes": _file(x), "path": None},
    "bytes": _file,
    "decoder, of datasets": _Decoder,
    "rate first, of gradio": lambda x: (np.int64(RATE), x),
    "rate behind, of soundfile": lambda x: (x, RATE),
    "tensor and rate": lambda x: (torch.from_numpy(x), torch.tensor(RATE)),
    "list and rate": lambda x: (x.tolist(), RATE),
    "two channels": lambda x: (RATE, np.stack([x, x], axis=1)),
}


@pytest.mark.parametrize("box", BOXES)
def test_a_recording_is_the_same_in_every_box(processor, samples, box):
    extractor = processor.feature_extractor
    expected = extractor(samples, sampling_rate=RATE)["input_values"]
    boxed = BOXES[box](samples)
    assert np.allclose(extractor(boxed)["input_values"], expected, atol=1e-6)
    assert extractor([boxed, boxed])["input_values"].shape == (2, *expected.shape[1:])
    prompt = processor("la", prompt=boxed)["prompt_values"]
    assert torch.allclose(prompt, torch.from_numpy(expected[0]), atol=1e-6)


def test_gradios_integers_are_scaled(processor, samples):
    whole = (samples * 32767).astype(np.int16)
    found = processor.feature_extractor((RATE, whole))["input_values"]
    assert np.allclose(found[0, 0], samples[: found.shape[-1]], atol=1e-4)


def test_a_dictionary_with_a_path_is_a_file(processor, samples, tmp_path):
    (tmp_path / "x.wav").write_bytes(_file(samples))
    extractor = processor.feature_extractor
    found = extractor({"path": str(tmp_path / "x.wav"), "bytes": None})["input_values"]
    assert np.array_equal(found, extractor(samples, sampling_rate=RATE)["input_values"])
    mixed = extractor([samples, tmp_path / "x.wav"], sampling_rate=RATE)["input_values"]
    assert np.array_equal(mixed[0], mixed[1])


def test_a_column_of_numbers_is_one_recording(processor, samples):
    extractor, series = processor.feature_extractor, pytest.importorskip("pandas").Series(samples)
    wanted = extractor(samples, sampling_rate=RATE)["input_values"]
    assert np.array_equal(extractor(series, sampling_rate=RATE)["input_values"], wanted)


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        ({}, {}, "dictionary with nothing"),
        ({"url": "x"}, {}, "dictionary with url"),
        ({"array": None, "sampling_rate": 16000}, {}, "^raw_audio is a dictionary whose array is None; give"),
        (np.zeros(1), {"sampling_rate": 192000}, "the audio is shorter than one sample at 44100 Hz; give a longer one"),
        (None, {}, "NoneType is no recording"),
        (5, {}, "int is no recording"),
        (object(), {}, "object is no recording"),
        (b"nonsense", {}, "cannot be read as audio"),
        ({"array": np.zeros(999), "sampling_rate": "44100"}, {}, "must be a whole number"),
        ({"array": np.zeros(999), "sampling_rate": 44100}, {"sampling_rate": 22050}, "say one of them"),
        (np.zeros(999), {"truncation": True}, "does not use truncation"),
        (np.zeros(999), {"max_length": 100}, "does not use max_length"),
        (np.zeros(999), {"padding": "max_length"}, "padding='max_length' must be"),
        (np.zeros(999), {"speed": 2}, "unknown argument speed"),
        (np.zeros(999), {"sampling_rate": 5}, "^sampling_rate=5 must be a whole number from 1000"),
        (np.zeros(999), {"sampling_rate": 44100.5}, "has the sampling_rate 44100.5, which must be a whole number"),
        (b"nonsense", {"sampling_rate": 44100}, "sampling_rate=44100 is that of samples, but a file says its own"),
    ],
)
def test_what_is_no_recording_is_refused(processor, audio, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        processor.feature_extractor(audio, **options)
    assert "\n" not in str(caught.value)


def test_a_processor_takes_what_others_take(processor, samples):
    plain = processor("la", prompt=(samples, RATE), seed=3)
    other = processor(text="la", audio=samples, sampling_rate=RATE, seed=np.int64(3), padding=True, truncation=False)
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert processor(text=["a", "b"], padding=False, return_tensors="pt", add_special_tokens=False)["seeds"].shape == (
        2,
    )
    for rate in (float(RATE), np.float64(RATE), torch.tensor(float(RATE))):
        assert processor.feature_extractor(samples, sampling_rate=rate).keys()
    timed = processor("la", seconds=np.float32(1), offset=torch.tensor(0))
    assert timed["wanted_samples"].tolist() == [RATE]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": False}, "padding=False, but the songs' lyrics"),
        ({"truncation": True}, "does not use truncation=True"),
        ({"max_length": 3}, "does not use max_length=3"),
        ({"images": [1]}, "does not use images"),
        ({"return_tensors": "np"}, "must be 'pt'"),
        ({"sampling_rate": 44100}, "there is no prompt"),
        ({"audio": np.zeros(999), "prompt": np.zeros(999)}, "give it once"),
        ({"audio": "x.wav", "sampling_rate": 44100}, "says its own rate"),
        ({"seconds": True}, "seconds=True must be"),
        ({"seed": np.bool_(True)}, "seed=True must be"),
        ({"artist": True}, "artist=True must be a name, an id, or a mix"),
    ],
)
def test_a_processor_refuses_what_means_nothing(processor, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        processor(["la", "lalala"], **options)
    assert "\n" not in str(caught.value)


def test_shorter_recordings_get_the_codes_that_they_have_alone(model, processor, samples):
    extractor, vqvae = processor.feature_extractor, model.vqvae
    both = extractor([samples, samples[:1280]], sampling_rate=RATE, return_tensors="pt")
    alone = extractor(samples[:1280], sampling_rate=RATE, return_tensors="pt")
    for found, expected in zip(vqvae.encode(**both).audio_codes, vqvae.encode(**alone).audio_codes, strict=True):
        assert torch.equal(found[1, -expected.shape[1] :], expected[0])
        assert found.shape[0] == 2
    by_length = vqvae.encode(both["input_values"], input_lengths=both["input_lengths"]).audio_codes
    assert all(torch.equal(a, b) for a, b in zip(by_length, vqvae.encode(**both).audio_codes, strict=True))
    assert vqvae.decode(by_length[2], level=2).audio_values.shape == both["input_values"].shape
    with pytest.raises(ValueError, match="cut the recordings to one length"):
        vqvae(**both, return_loss=False)


@pytest.mark.parametrize(
    ("mask", "lengths", "message"),
    [
        (torch.ones(1, 3), None, "padding_mask has shape"),
        (torch.zeros(1, 256), None, "no sound in row 0"),
        (torch.cat([torch.zeros(1, 5), torch.ones(1, 251)], dim=1), None, "whole codes"),
        (None, torch.tensor([0]), "input_lengths must be"),
        (None, torch.tensor([300]), "input_lengths must be"),
        (torch.ones(1, 256), torch.tensor([128]), "input_lengths says 128"),
    ],
)
def test_masks_that_do_not_fit_are_refused(model, mask, lengths, message):
    with pytest.raises(ValueError, match=message):
        model.vqvae.encode(torch.zeros(1, 1, 256), padding_mask=mask, input_lengths=lengths)


def test_songs_are_saved_as_files(model, processor, tmp_path):
    output = model.generate(processor(["a", "b"], seed=1), max_new_tokens=2)
    processor.save_audio(output, [tmp_path / "a.wav", str(tmp_path / "b.flac")])
    processor.save_audio({"audio": np.zeros(400, np.float32), "sampling_rate": 22050}, tmp_path / "c.ogg")
    with pytest.raises(ValueError, match="must end in a format"):
        processor.save_audio(output, [tmp_path / "z.wav", tmp_path / "z.xyz"])  # before the first is written
    processor.save_audio(output.audio[:, None] * 100, [tmp_path / "d.wav", tmp_path / "e.wav"])
    infos = {path.name: soundfile.info(path) for path in tmp_path.iterdir()}
    assert {name: info.samplerate for name, info in infos.items()} == {
        "a.wav": RATE,
        "b.flac": RATE,
        "c.ogg": 22050,
        "d.wav": RATE,
        "e.wav": RATE,
    }
    assert infos["a.wav"].frames == infos["b.flac"].frames == 256
    read, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert np.allclose(read, output.audio[0].clamp(-1, 1), atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "name", "message"),
    [
        (np.zeros((2, 99), np.float32), "x.wav", "1 files for 2 songs"),
        (np.zeros(99, np.float32), "x.xyz", "must end in a format"),
        (np.zeros(99, np.float32), "x", "must end in a format"),
        (np.zeros(99, np.float32), "no/x.wav", "x.wav' lies in a folder that is not there; make it first"),
        (np.zeros(99, np.float32), ".", "is a folder; name a file in it"),
        (np.zeros((1, 3, 99), np.float32), "x.wav", r"must be .* samples \(S,\) or \(2, S\), not float32 \(3, 99\)"),
        (np.zeros((1, 2, 99), np.float32), "x.wve", "x.wve' cannot hold this sound"),
        (np.full(99, np.nan, np.float32), "x.wav", "must be finite"),
        (np.zeros(99, np.int16), "x.wav", "must be finite floating-point"),
        ("y.wav", "x.wav", "is a file already"),
    ],
)
def test_what_can_not_be_saved_is_refused(processor, tmp_path, audio, name, message):
    folder = tmp_path / "songs.wav"
    folder.mkdir()
    with pytest.raises(ValueError, match=message):
        processor.save_audio(audio, folder / name)
    assert not list(folder.iterdir())


def test_a_song_in_stereo_is_saved_with_both_channels(model, processor, tmp_path):
    said = {"max_new_tokens": 2, "stereo": True}
    output = model.generate(processor(["a", "b"], seed=1), **said)
    processor.save_audio(output, [tmp_path / "a.wav", tmp_path / "b.flac"])
    processor.save_audio(output.audio, [tmp_path / "c.wav", tmp_path / "d.wav"])
    song = JukeboxPipeline(model, processor=processor)("a", seed=1, generate_kwargs=said)
    processor.save_audio(song, tmp_path / "e.wav")
    processor.save_audio([song, song], [tmp_path / "f.wav", tmp_path / "g.ogg"])
    for name in "acef":
        read, _ = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")
        assert np.allclose(read.T, output.audio[0].clamp(-1, 1), atol=1e-4)
    assert {soundfile.info(path).channels for path in tmp_path.iterdir()} == {2}


def test_two_rows_in_a_dictionary_are_two_songs_where_two_files_are_named(processor, tmp_path):
    songs = {"audio": np.stack([np.zeros(99, np.float32), np.full(99, 0.5, np.float32)]), "sampling_rate": 22050}
    processor.save_audio(songs, [tmp_path / "a.wav", tmp_path / "b.wav"])
    for name, row in zip("ab", songs["audio"], strict=True):
        read, rate = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")
        assert (rate, read.shape) == (22050, (99,))
        assert np.allclose(read, row, atol=1e-4)
    with pytest.raises(ValueError, match="3 files for 1 songs"):
        processor.save_audio(songs, [tmp_path / f"{name}.wav" for name in "cde"])


@pytest.mark.parametrize("names", [("d.wav", "d.wav"), ("d.wav", "here/../d.wav")])
def test_songs_are_saved_all_or_none(processor, tmp_path, names):
    (tmp_path / "here").mkdir()
    audio = np.zeros((2, 99), np.float32)
    with pytest.raises(ValueError, match=r"saving_path names '.*d.wav' twice; give each song a file of its own"):
        processor.save_audio(audio, [tmp_path / name for name in names])
    audio[1, 3] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        processor.save_audio(audio, [tmp_path / "d.wav", tmp_path / "e.wav"])
    assert not list(tmp_path.glob("*.wav"))


def test_a_list_of_recordings_beside_a_list_of_songs_is_one_for_each(processor, samples):
    own = [processor("la", prompt=each, seed=1)["prompt_values"] for each in (samples, samples[: len(samples) // 2])]
    lists = [samples, samples[: len(samples) // 2]]
    for both in (lists, tuple(lists), [torch.from_numpy(each) for each in lists], [each.tolist() for each in lists]):
        inputs = processor(["la", "lo"], prompt=both)
        assert inputs["prompt_lengths"].tolist() == [each.shape[1] for each in own]
        assert torch.equal(inputs["prompt_values"][0], own[0][0])
        assert torch.equal(inputs["prompt_values"][1, -own[1].shape[1] :], own[1][0])
        named = processor(["la", "lo"], audio=both, sampling_rate=RATE)
        assert torch.equal(named["prompt_values"], inputs["prompt_values"])
    assert torch.equal(processor(["la"], audio=[samples])["prompt_values"], own[0])
    assert processor(["la", "lo"], prompt=[None, samples])["prompt_lengths"].tolist() == [0, own[0].shape[1]]
    assert processor(["la", "lo"], prompt=samples)["prompt_lengths"].tolist() == [own[0].shape[1]] * 2, "one for all"


@pytest.mark.parametrize(
    ("text", "make", "message"),
    [
        (["a", "b", "c"], lambda x: [x, x], "prompt lists 2 recordings for 3 songs; give one for each song"),
        (["a", "b"], lambda x: [x], "prompt lists 1 recordings for 2 songs"),
        ("a", lambda x: [x, x], "prompt lists 2 recordings for 1 song; .* channels are in one array"),
        ({"lyrics": "a", "prompt": [np.zeros(999), np.zeros(999)]}, lambda x: None, "lists 2 recordings for 1 song;"),
        (["a", "b"], lambda x: np.stack([x, x]), r"prompt of shape \(2, \d+\) may be the channels of one recording or"),
        (["a", "b"], lambda x: torch.zeros(2, len(x)), "list the recordings, or give"),
    ],
)
def test_recordings_that_may_be_meant_otherwise_are_refused(processor, samples, text, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        processor(text, prompt=make(samples))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prompt", ["data:audio/wav;base64," + "QUJD" * 9000, "QUJD" * 9000, "a.b/" * 9000])
def test_text_that_is_no_path_is_refused_shortly(processor, prompt):
    with pytest.raises(
        ValueError, match=r"prompt(?: is (?:a data URI|base64 text), not a path|=.* has 36,000 )"
    ) as caught:
        processor("a", prompt=prompt)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("rate", ["44100", None])
def test_a_rate_that_is_none_is_named(processor, samples, rate):
    with pytest.raises(ValueError, match=f"prompt has the sampling_rate {rate!r}, which must be a whole number"):
        processor("a", prompt=(samples, rate))
