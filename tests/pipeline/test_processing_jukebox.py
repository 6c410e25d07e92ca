"""Words become tensors whose shapes never depend on the words, so that any batching works."""

import copy
import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoProcessor

from jukebox_hf import JukeboxFeatureExtractor, JukeboxPipeline, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.model.inputs.song_inputs import SONG_INPUTS

RATE = 44100


def test_every_song_gives_the_same_tensors(processor, sound):
    for song in ("la la", {}, {"artist": "the testers", "seconds": 1, "prompt": sound(0.1)}, None):
        inputs = processor(song)
        assert tuple(inputs) == SONG_INPUTS
        assert all(isinstance(value, torch.Tensor) and len(value) == 1 for value in inputs.values())


def test_each_level_hears_labels_of_its_own_version(processor):
    inputs = processor({"artist": "The Testers", "genre": "Soft Rock"})
    assert inputs["artist_ids"].tolist() == [[1, 1, 1]]
    assert inputs["genre_ids"].tolist() == [[[1, 2, -1, -1, -1], [1, 2, -1, -1, -1], [1, -1, -1, -1, -1]]]


def test_lyrics_are_in_the_characters_of_the_level_that_reads_them(processor):
    inputs = processor(["a+b", "hello"])
    assert inputs["lyric_lengths"].tolist() == [2, 5], "the v3 characters have no plus sign"
    assert inputs["lyric_ids"][0].tolist() == [0, 0, 0, 27, 28], "padding stands in front"
    assert processor.tokenizer.decode_lyrics(inputs["lyric_ids"][1].tolist()) == "hello"


def test_words_for_all_stand_behind_a_songs_own(processor):
    inputs = processor(
        ["one", {"lyrics": "two", "artist": "quiet ones", "seed": 9, "seconds": 2}],
        artist="the testers",
        seed=4,
        seconds=1,
        song_seconds=3,
        offset=0.5,
    )
    assert inputs["artist_ids"].tolist() == [[1, 1, 1], [2, 2, 2]]
    assert inputs["seeds"].tolist() == [4, 9]
    assert inputs["sampling_rates"].tolist() == [RATE, RATE]
    assert inputs["wanted_samples"].tolist() == [RATE, 2 * RATE]
    assert inputs["song_samples"].tolist() == [3 * RATE, 3 * RATE]
    assert inputs["offset_samples"].tolist() == [RATE // 2, RATE // 2]
    assert processor(["one", "two"], seed=4)["seeds"].tolist() == [4, 5]


def test_what_is_not_said_is_minus_one(processor):
    inputs = processor("la")
    assert [inputs[name].item() for name in ("wanted_samples", "song_samples", "offset_samples", "seeds")] == [
        -1,
        -1,
        0,
        -1,
    ]


def test_prompts_of_every_form_are_the_same_sound(processor, sound, tmp_path):
    wave = sound(0.1)
    soundfile.write(tmp_path / "prompt.wav", wave, RATE, subtype="FLOAT")
    forms = (
        wave,
        torch.from_numpy(wave),
        (wave, RATE),
        {"array": wave, "sampling_rate": RATE},
        tmp_path / "prompt.wav",
        str(tmp_path / "prompt.wav"),
        {"path": str(tmp_path / "prompt.wav")},
        wave.tolist(),
        (np.stack([wave, wave]), RATE),
    )
    for form in forms:
        inputs = processor(prompt=form)
        assert inputs["prompt_lengths"].tolist() == [34 * 128]
        assert np.allclose(inputs["prompt_values"][0], wave[: 34 * 128], atol=1e-6)
    assert processor(prompt=(wave, RATE // 2))["prompt_lengths"].tolist() == [68 * 128]


def test_prompts_in_a_batch_end_together(processor, sound):
    inputs = processor([{"prompt": sound(0.1)}, {"prompt": sound(0.05)}, {}])
    assert inputs["prompt_lengths"].tolist() == [34 * 128, 17 * 128, 0]
    assert np.array_equal(inputs["prompt_values"][1, -17 * 128 :], sound(0.05)[: 17 * 128])
    assert not inputs["prompt_values"][1, : -17 * 128].any()


def test_it_is_the_same_after_saving_and_needs_no_model(processor, repository, tmp_path):
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(repository)
    assert isinstance(again, JukeboxProcessor)
    assert isinstance(AutoFeatureExtractor.from_pretrained(repository), JukeboxFeatureExtractor)
    alone = JukeboxProcessor.from_pretrained(tmp_path)
    for other in (again, alone):
        assert (other.max_genres, other.lyric_level, other.sampling_rate) == ([5, 5, 1], 2, RATE)
        one, two = (it("la", artist="the testers") for it in (processor, other))
        assert all(torch.equal(one[name], two[name]) for name in one)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["feature_extractor"]["hop_length"] == 128


def test_it_is_made_from_a_models_configuration(processor, model):
    made = JukeboxProcessor.from_config(model.config, processor.tokenizer)
    assert made.to_dict() == processor.to_dict()
    tables = {"v2": {"unknown": 0}}
    other = JukeboxTokenizer(artists=tables, genres=tables, label_versions=["v2"])
    with pytest.raises(ValueError, match="has 1 levels, but the model has 3 priors"):
        JukeboxProcessor.from_config(model.config, other)


def test_audio_comes_back_without_its_padding(processor):
    audio = torch.tensor([[0.5, 2.0, 0.0], [1.0, -3.0, 4.0]])
    songs = processor.batch_decode(audio, torch.tensor([2, 3]))
    assert [song.tolist() for song in songs] == [[0.5, 2.0], [1.0, -3.0, 4.0]]
    assert processor.decode(audio[1], clamp=True).tolist() == [1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    ("song", "words", "message"),
    [
        ({"tempo": 3}, {}, "unknown argument tempo"),
        ("la", {"lyrics": "lo"}, "lyrics are given twice"),
        (3, {}, "must be lyrics or a dictionary"),
        (b"la", {}, "must be lyrics or a dictionary of words, not bytes"),
        (None, {"lyrics": ["row", "la"]}, r"lyrics=\['row', 'la'\] must be a string; several songs are a list"),
        ({"lyrics": "auto"}, {}, "'auto' are written by the model in a pipeline .* call model.write_lyrics first"),
        ([{}, {"lyrics": "la"}], {"lyrics": "auto"}, "'auto' are written by the model"),
        ([], {}, "list of songs is empty"),
        ({"lyrics": 3}, {}, "lyrics=3 must be a string"),
        ({"artist": b"x"}, {}, "must be a name, an id, or a mix"),
        ("x" * 100_001, {}, "over the 100000 allowed"),
        ({"seconds": 0}, {}, "seconds=0 must be a number of seconds"),
        ({"seconds": float("nan")}, {}, "seconds=nan must be"),
        ({"seconds": 1e12}, {}, "to 86400"),
        ({"offset": -1}, {}, "offset=-1 must be"),
        ({"song_seconds": "long"}, {}, "song_seconds='long' must be"),
        ({"seed": -1}, {}, "seed=-1 must be an integer"),
        ({"seed": True}, {}, "seed=True must be an integer"),
        ({"genre": "soft rock rock rock rock rock"}, {}, "in v2: 6 genres, but the prior of level 0 takes at most"),
        ({"artist": "nobody"}, {"strict": True}, "is not listed in v2"),
        ({"prompt": 3}, {}, "prompt=int is no recording"),
        ({"prompt": np.zeros((3, 500))}, {}, r"prompt has shape \(3, 500\), which may be a batch"),
        ({"prompt": "/nowhere.wav"}, {}, "is not a file"),
        ({"prompt": np.zeros(5)}, {}, "fewer than the 128 of one code"),
        ("la", {"return_tensors": "tf"}, "must be 'pt'"),
    ],
)
def test_impossible_songs_are_refused_in_one_sentence(processor, song, words, message):
    with pytest.raises(ValueError, match=message) as caught:
        processor(song, **words)
    assert "\n" not in str(caught.value)


def test_words_that_a_table_leaves_out_are_not_said(processor):
    row = {"lyrics": float("nan"), "artist": np.nan, "genre": None, "seed": 3}
    found, wanted = processor(row), processor({"seed": 3})
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_unlisted_names_are_heard_as_unknown_with_one_warning(repository):
    processor = JukeboxProcessor.from_pretrained(repository)
    with pytest.warns(UserWarning, match="is not listed"):
        assert processor("la", artist="the tester")["artist_ids"].tolist() == [[0, 0, 0]]


def test_the_rate_of_a_model_is_not_changed_by_its_processor(repository, processor, model):
    for name, cls in (("sampling_rate", JukeboxProcessor), ("hop_length", AutoFeatureExtractor)):
        with pytest.raises(ValueError, match=rf"{name}=22050 is not the \d+ of this repository's model; leave it out"):
            cls.from_pretrained(repository, **{name: 22050})
    assert JukeboxProcessor.from_pretrained(repository, sampling_rate=np.int64(RATE)).sampling_rate == RATE
    other = copy.deepcopy(processor)
    other.feature_extractor.sampling_rate = 22050
    with pytest.raises(ValueError, match="processor has a sampling_rate of 22050, but the model sings at 44100; use"):
        JukeboxPipeline(model, processor=other)


def test_an_empty_path_is_no_prompt(processor):
    with pytest.raises(ValueError, match="the path of a recording is empty; give one"):
        processor("la", prompt="")


# --- mixed labels ---


def test_a_mix_is_by_level_with_shares_and_samples(processor):
    inputs = processor(artist="The Testers:1,Quiet Ones:3,Quiet Ones@0.5", genre={2: "Soft Rock", 1: "soft", 0: "rock"})
    assert inputs["artist_ids"].tolist() == [[2, 2, 2]], "the heaviest name that it begins with"
    for level in inputs["artist_mix"][0]:
        assert level[:3].tolist() == [[1, 0.25, 0], [2, 0.75, 0], [2, 1, RATE // 2]]
        assert (level[3:] == -1).all()
    assert inputs["genre_ids"].tolist() == [[[2, *[-1] * 4], [1, *[-1] * 4], [1, *[-1] * 4]]]
    assert (inputs["genre_mix"] == -1).all(), "one name at each level is no mix"


def test_a_batch_of_the_pipeline_may_mix(model, processor):
    songs = [{"artist": "the testers", "seed": 1}, {"artist": {"The Testers": 1, "Quiet Ones": 1}, "seed": 2}]
    sing = JukeboxPipeline(model=model, processor=processor)
    together, apart = (sing(songs, seconds=0.1, batch_size=size, return_codes=True) for size in (2, 1))
    for one, other in zip(together, apart, strict=True):
        assert all(
            torch.equal(torch.as_tensor(a), torch.as_tensor(b))
            for a, b in zip(one["codes"], other["codes"], strict=True)
        )
    plain = sing({"artist": "the testers", "seed": 2}, seconds=0.1, return_codes=True)
    assert not torch.equal(torch.as_tensor(plain["codes"][2]), torch.as_tensor(apart[1]["codes"][2]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"artist": "3=The Testers,0=Quiet Ones"}, "names level 3, but the levels of this model are 0, 1, 2; choose"),
        ({"artist": "2=The Testers"}, "artist names levels 2, but not level 0; add 0=NAME"),
        ({"genre": "soft rock:0,country:0"}, "the weights sum to 0"),
        ({"genre": "a b c d e f:1,rock:1"}, "genre='a b c d e f' in v2: 6 genres, but the prior of level 0 takes at"),
    ],
)
def test_a_mix_that_cannot_be_heard_is_refused(processor, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        processor(**words)


@pytest.mark.parametrize("part", [(10_000, 1, 0), (1, -1, 0), (1, float("nan"), 0), (1, 1, -2), (1, 1, 5)])
def test_a_mix_in_tensors_that_fits_no_model_is_refused(model, processor, part):
    inputs = processor(artist="the testers", seconds=0.1)
    inputs["artist_mix"][0, :, 0] = torch.tensor(part, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"artist_mix (holds|begins)"):
        model.generate(**inputs)


def test_the_name_of_a_file_of_words_is_not_sung(processor, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    processor("lyrics.txt")  # there is no such file, so these may be words
    (tmp_path / "lyrics.txt").write_text("row row")
    for said in ("lyrics.txt", {"lyrics": " lyrics.txt\n"}, ["la", str(tmp_path / "lyrics.txt")]):
        with pytest.raises(ValueError, match=r"the name of a file that is there, .*; read it, and give its words"):
            processor(said)
    processor("the end of lyrics.txt")
