"""Label vectors of songs and of their windows, against OpenAI's labeller."""

import warnings

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxTokenizer
from jukebox_hf.conversion.openai_labels import unpack_labels
from jukebox_hf.model.inputs.labels import SongDescription, window_inputs

SECOND = 44100


@pytest.fixture
def config_of(tiny_prior_config):
    """The prior a recorded configuration stands for: level 2 reads v3, level 0 reads v2, as in `tokenizer`."""

    def of(recorded_config, **changes):
        is_v3 = recorded_config["v3"]
        sizes = {
            "level": 2 if is_v3 else 0,
            "context_length": recorded_config["sample_length"] // 128,
            "hop_length": 128,
            "max_genres": recorded_config["max_bow_genre_size"],
        }
        if not recorded_config["n_tokens"]:
            return tiny_prior_config("labelled", **sizes, **changes)
        lyrics = {"lyric_length": recorded_config["n_tokens"], "lyric_vocab_size": 79 if is_v3 else 80}
        return tiny_prior_config("encoder", **sizes, **lyrics, lyric_encoder_attention_rows=4, **changes)

    return of


@pytest.fixture
def quiet():
    """Some recorded names are unknown on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def song_of(meta):
    names = {name: meta[name] for name in ("artist", "genre", "lyrics")}
    return SongDescription(meta["total_length"], **names, offset_samples=meta["offset"])


def complete(recorded):
    return [case for case in recorded["labels"] if "y" in case]


@pytest.mark.usefixtures("quiet")
def test_recorded_label_vectors_are_reproduced_whole(recorded, tokenizer, config_of):
    cases = complete(recorded)
    assert len(cases) == 25
    for case in cases:
        config = config_of(case["config"])
        labels = tokenizer.labels(song_of(case["meta"]), config)
        row = labels.row()
        assert row.dtype == np.int64
        assert row.tolist() == case["y"], (case["config"]["name"], case["meta"]["artist"])
        assert labels.lyrics.cleaned == case["lyrics_clean"]
        assert len(labels.lyrics.ids) == case["full_tokens_len"]
        assert case["full_tokens"] is None or list(labels.lyrics.ids) == case["full_tokens"]
        genres_end = 4 + config.max_genres
        assert case["describe_label"] == {
            "artist": tokenizer.artist_name(int(row[3]), config.level),
            "genre": tokenizer.genre_name(row[4:genres_end].tolist(), config.level),
            "lyrics": tokenizer.decode_lyrics(row[genres_end:], config.level),
        }


def test_six_genre_words_are_refused_by_v2_and_one_genre_in_v3(recorded, tokenizer, label_folder, config_of):
    cases = [case for case in recorded["labels"] if case["meta"] == "genre of six words"]
    configs = {case["config"]["name"]: case["config"] for case in complete(recorded)}
    assert len(cases) == 5
    song = SongDescription(60 * SECOND, genre="Rock Pop Jazz Blues Country Metal")
    for case in cases:
        name = case["config"]["name"] if isinstance(case["config"], dict) else case["config"]
        if "error" in case:
            message = "in v2: 6 genres, but the prior of level 0 takes at most max_genres=5; use fewer"
            with pytest.raises(ValueError, match=message):
                tokenizer.labels(song, config_of(configs[name]))
        else:
            assert case["ok"]
            with pytest.warns(UserWarning, match="is not listed in v3"):
                labels = JukeboxTokenizer.from_label_files(label_folder, ["v2", "v2", "v3"]).labels(
                    song, config_of(configs[name])
                )
            assert labels.genre_ids == (0,)


@pytest.mark.usefixtures("quiet")
def test_recorded_windows_get_the_labels_that_sampling_recomputed(recorded, tokenizer, config_of):
    metas, configs = {}, {}
    for case in complete(recorded):
        metas.setdefault(case["config"]["name"], []).append(case["meta"])
        configs[case["config"]["name"]] = case["config"]
    refused = 0
    assert len(recorded["get_y_per_window"]["cases"]) == 120
    for case in recorded["get_y_per_window"]["cases"]:
        config = config_of(configs[case["config"]])
        songs = [tokenizer.labels(song_of(metas[case["config"]][i]), config) for i in case["metas"]]
        start_sample = case["start"] * case["raw_to_tokens"]
        if "error" in case:
            refused += 1
            with pytest.raises(ValueError, match="must be under total_samples"):
                window_inputs(songs, start_sample)
            continue
        rows = [song.window_row(start_sample) for song in songs]
        assert [row.tolist() for row in rows] == case["y"]
        inputs, unpacked = window_inputs(songs, start_sample), unpack_labels(torch.tensor(np.stack(rows)), config)
        assert inputs.keys() == unpacked.keys()
        for name, value in inputs.items():
            assert value.dtype == torch.int64
            assert torch.equal(value, unpacked[name]), name
        for song, indices in zip(songs, case["indices"] or [], strict=case["indices"] is not None):
            characters = song.window_characters(start_sample)
            assert characters.tolist() == indices or [characters[0], characters[-1]] == indices
    assert refused == 16


def test_the_first_label_is_in_double_and_a_window_s_in_float32(recorded, tokenizer, config_of):
    config = config_of({"v3": False, "sample_length": 1048576, "max_bow_genre_size": 5, "n_tokens": 512})
    for case in recorded["float32_divergence"]["examples"]:
        lyrics = ("abcdefghijklmnopqrstuvwxyz" * 200)[: case["full_len"]]
        song = SongDescription(case["total_length"], lyrics=lyrics, offset_samples=case["offset"])
        labels = tokenizer.labels(song, config)
        first = case["python_first_index"]
        assert labels.row()[-512:].tolist() == list(labels.lyrics.ids[first : first + 512])
        first = case["tensor_first_index"]
        assert labels.window_row()[-512:].tolist() == list(labels.lyrics.ids[first : first + 512])


def test_a_prior_without_labels_gets_an_empty_row(recorded, tokenizer, tiny_prior_config):
    assert recorded["empty_labeller"]["y_shape"] == [2, 0]
    assert all(info["full_tokens"] == [] for info in recorded["empty_labeller"]["info"])
    labels = tokenizer.labels(SongDescription(10_000, artist="Nobody"), tiny_prior_config("bare"))
    assert labels.row().shape == labels.window_row(8).shape == (0,)
    assert window_inputs([labels, labels]) == {}


def test_the_inputs_of_a_window_are_what_every_prior_asks_for(tokenizer, tiny_prior, flavour, inputs_for):
    changes = {"level": 0 if flavour == "upsampler" else 2}
    if flavour != "bare":
        changes |= {"num_artists": 7898, "num_genres": 604}
    if flavour in ("prefix", "encoder"):
        changes["lyric_vocab_size"] = 79
    prior = tiny_prior(flavour, **changes)
    songs = [
        tokenizer.labels(SongDescription(5000, "the beatles", "Pop", "Let it be"), prior.config),
        tokenizer.labels(SongDescription(6000, "alan jackson", "Country", "old town road " * 4), prior.config),
    ]
    inputs = inputs_for(prior.config)
    labels = window_inputs(songs, start_sample=64)
    assert labels.keys() == inputs.keys() - {"codes", "upper_codes"}
    assert torch.isfinite(prior(**{**inputs, **labels}).loss)


def test_short_lyrics_are_followed_by_the_prior_s_filler(tokenizer, config_of):
    recorded_config = {"v3": True, "sample_length": 8192, "n_tokens": 8, "max_bow_genre_size": 1}
    blank = tokenizer.encode_lyrics(" ").ids[0]
    ids = tokenizer.encode_lyrics("la!").ids
    song = SongDescription(60 * SECOND, "unknown", "unknown", "la!")
    for filler, wanted in ((None, [0] * 5 + [*ids]), (blank, [*ids] + [blank] * 5)):
        labels = tokenizer.labels(song, config_of(recorded_config, lyric_filler=filler))
        assert window_inputs([labels])["lyric_ids"].tolist() == [wanted]
        assert labels.row()[-8:].tolist() == wanted
        assert sorted(labels.window_characters().tolist()) == [-1] * 5 + [0, 1, 2]


def test_window_characters_lead_back_to_the_text_as_typed(tokenizer, config_of):
    config = config_of({"v3": True, "sample_length": 3072, "max_bow_genre_size": 1, "n_tokens": 12})
    text = "Déjà — vu % encore et encore"
    labels = tokenizer.labels(SongDescription(40_000, lyrics=text), config)
    characters = labels.window_characters(20_000)
    places = [labels.lyrics.offsets[i] for i in characters if i >= 0]
    read = tokenizer.decode_lyrics(labels.window_row(20_000)[-12:], level=2)
    assert len(places) == len(read) == 12
    assert "".join(text[place] for place in places if text[place].isascii()) == read


def test_a_wrong_vocabulary_size_names_the_cure(tokenizer, config_of):
    config = config_of({"v3": False, "sample_length": 3072, "max_bow_genre_size": 5, "n_tokens": 12})
    config.level = 2
    with pytest.raises(ValueError, match="lyric_vocab_size=80 of the prior of level 2 does not fit the 79 characters"):
        tokenizer.labels(SongDescription(10_000), config)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"artist": None}, "artist=None must be a string; use '' where there is none"),
        ({"lyrics": ["a"]}, r"lyrics=\['a'\] must be a string"),
        ({"total_samples": 1.0}, r"total_samples=1\.0 must be a number of samples"),
        ({"offset_samples": -5}, "offset_samples=-5 must be a number of samples, 0 or more"),
    ],
)
def test_a_song_that_makes_no_sense_is_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SongDescription(**{"total_samples": 1000, **change})


def test_inputs_of_no_song_or_of_different_priors_are_refused(tokenizer, tiny_prior_config):
    with pytest.raises(ValueError, match="songs is empty"):
        window_inputs([])
    song = SongDescription(10_000)
    pair = [tokenizer.labels(song, tiny_prior_config("labelled", max_genres=n)) for n in (1, 2)]
    with pytest.raises(ValueError, match="songs were labelled for different priors"):
        window_inputs(pair)
