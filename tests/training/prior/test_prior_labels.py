"""Own artists and genres: lists out of songs, embeddings that follow them, and a whole Jukebox that sings by them."""

import json

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf import JukeboxModel, JukeboxPrior
from jukebox_hf.app import cli
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training import put_prior, relabel
from jukebox_hf.training.assemble import main as assemble
from jukebox_hf.training.encode_dataset import encode_dataset
from jukebox_hf.training.prior.label_lists import with_songs
from jukebox_hf.training.train_prior import main

OLD = LabelVocabulary("v3", {"unknown": 0, "ann ash": 1, "bob birch": 2}, {"unknown": 0, "folk": 1, "rock": 2})


def tokenizer_of(lists, levels=2):
    return JukeboxTokenizer(
        artists={lists.version: lists.artists}, genres={lists.version: lists.genres},
        label_versions=[lists.version] * levels,
    )  # fmt: skip


def test_lists_of_songs_stand_behind_what_is_listed_already():
    songs = [Song("1", "Cleo Crab", "folk"), Song("2", "ANN ASH", "Free Jazz"), Song("3", "", "unknown")]
    lists = with_songs(OLD, songs)
    assert lists.artists == {"unknown": 0, "ann ash": 1, "bob birch": 2, "cleo crab": 3}
    assert lists.genres == {"unknown": 0, "folk": 1, "rock": 2, "free jazz": 3}
    v2 = with_songs(LabelVocabulary("v2", {"unknown": 0}, {"unknown": 0}), songs)
    assert v2.artists == {"unknown": 0, "ann_ash": 1, "cleo_crab": 2}
    assert v2.genres == {"unknown": 0, "folk": 1, "free": 2, "jazz": 3}
    with pytest.raises(ValueError, match="artist='日本' of 4 has nothing that v2 lists can spell"):
        with_songs(v2, [Song("4", "日本")])


def test_known_names_keep_their_embeddings_and_new_ones_start_as_unknown(tiny_prior):
    prior = tiny_prior("labelled", num_artists=3, num_genres=4)
    artists, genres = prior.labels.artist.weight.clone(), prior.labels.genre.weight.clone()
    new = LabelVocabulary("v3", {"unknown": 0, "bob birch": 1, "cleo crab": 2, "ann ash": 3}, OLD.genres)
    relabel(prior, OLD, new)
    assert torch.equal(prior.labels.artist.weight, artists[[0, 2, 0, 1]])
    assert torch.equal(prior.labels.genre.weight, genres)  # its list is the same, spare row and all
    assert (prior.config.num_artists, prior.config.num_genres) == (4, 4)
    assert prior.labels.artist.weight.requires_grad
    with pytest.raises(ValueError, match="the list of artists goes up to id 3, but this prior has num_artists=2"):
        relabel(tiny_prior("labelled", num_artists=2), new, OLD)


@pytest.fixture
def sounds(tmp_path):
    """Six recordings of four seconds: the folk of an artist whom no model has heard."""
    (tmp_path / "songs").mkdir()
    rows = ["file_name,artist,genre,lyrics"]
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 0.3, 4000)
        soundfile.write(tmp_path / "songs" / f"{number}.wav", noise, 1000)
        rows.append(f"{number}.wav,Cleo Crab,folk,la la")
    (tmp_path / "songs" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "songs"


@pytest.fixture
def whole(tmp_path, make_whole):
    """A whole Jukebox of two levels that knows the names of OLD."""
    return make_whole(tmp_path)


def sing(model, out, monkeypatch):
    words = ["generate", "--model", model, "--seconds", "1", "--seed", "3", "--artist", "Cleo Crab", "--genre", "folk"]
    monkeypatch.setattr("sys.argv", ["jukebox-hf", *map(str, words), "--out", str(out)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    return soundfile.read(out)[0]


def test_an_artist_of_ones_own_is_trained_into_a_whole_jukebox_that_sings(
    whole, sounds, prior_words, tmp_path, monkeypatch, recwarn
):
    encode_dataset(str(sounds), tmp_path / "codes", str(whole))
    words = prior_words(
        config=None, model_name_or_path=whole, level=1, labels="add", train_codes=tmp_path / "codes", max_steps=2,
        into=tmp_path / "mine", lyric_dropout=0.1,
    )  # fmt: skip
    assert main(words) == 0
    mine, before = JukeboxModel.from_pretrained(tmp_path / "mine"), JukeboxModel.from_pretrained(whole)
    lists = JukeboxTokenizer.from_pretrained(tmp_path / "mine").vocabularies["v3"]
    assert lists.artists == {**OLD.artists, "cleo crab": 3}
    trained = JukeboxPrior.from_pretrained(tmp_path / "run")
    for name, tensor in mine.prior(1).state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[name]), name
    # The upsampler shares the list, so it knows the new name as "unknown".
    rows = before.prior(0).labels.artist.weight
    assert torch.equal(mine.prior(0).labels.artist.weight, rows[[0, 1, 2, 0]])
    assert (tmp_path / "mine" / "LICENSE").read_text() == "ours"
    assert (before.config.prior_configs[1].num_artists, mine.config.prior_configs[1].num_artists) == (3, 4)
    audio = sing(tmp_path / "mine", tmp_path / "song.wav", monkeypatch)
    assert len(audio) == 1000 // 16 * 16
    assert np.abs(audio).max() > 0
    assert not any("not listed" in str(warning.message) for warning in recwarn)


def test_a_prior_replaces_the_one_of_an_existing_jukebox(whole, tiny_prior, coded_config, tmp_path):
    config = coded_config("prefix", num_artists=3, num_genres=3)
    other = tiny_prior("prefix", **{k: getattr(config, k) for k in type(config).__annotations__})
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    other.save_pretrained(tmp_path / "other")
    put_prior(tmp_path / "other", whole)
    assert torch.equal(JukeboxModel.from_pretrained(whole).prior(1).lm_head.weight, other.lm_head.weight)
    assert (whole / "LICENSE").exists()
    assert {path.name for path in tmp_path.iterdir()} >= {"whole", "other"}
    assert not list(tmp_path.glob(".whole*"))


def test_what_does_not_belong_together_is_not_put_together(whole, tiny_prior, coded_config, tmp_path, prior_words,
                                                           capsys, coded_songs):  # fmt: skip
    words = prior_words("labelled", max_steps=1, into=whole)
    assert main(words) == 2
    assert "the VQ-VAE of this Jukebox" in capsys.readouterr().err
    tuned = {"config": None, "model_name_or_path": whole}
    for replaced, sentence in (
        ({**tuned}, "holds priors of levels 0 to 1; say which: --level"),
        ({**tuned, "level": 2}, "level=2 is not a level of this model"),
        ({**tuned, "level": 1}, "were made by another VQ-VAE (fingerprint abc-abc) than this model's VQ-VAE"),
        ({**tuned, "model_name_or_path": whole / "vqvae"}, "is a 'jukebox_vqvae'; give a whole Jukebox with --level"),
        ({"into": whole / "vqvae"}, "config.json is not of a Jukebox (model_type must be 'jukebox'"),
    ):
        assert main(prior_words("labelled", output_dir=tmp_path / "no", **replaced)) == 2
        assert sentence in capsys.readouterr().err
    parts = [str(tmp_path / name) for name in ("part_0", "part_1")]
    lists = LabelVocabulary("v3", {"unknown": 0, "x": 1}, OLD.genres)
    tokenizer_of(lists).save_pretrained(parts[1])
    assert assemble([str(tmp_path / "two"), "--vqvae", str(whole), "--priors", *parts]) == 2
    assert "the prior of level 1 was trained with other v3 lists" in capsys.readouterr().err
    assert assemble([str(whole), "--vqvae", str(whole), "--priors", *parts]) == 2
    assert "exists already; name a new folder" in capsys.readouterr().err
    assert assemble([str(tmp_path / "two"), "--vqvae", str(whole), "--priors", *parts[::-1]]) == 2
    assert (
        "is of level 1, but stands where level 0 belongs; give one prior for each level, finest first"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "two").exists()


def test_unlisted_names_are_refused_with_the_models_own_lists(whole, sounds, prior_words, tmp_path, capsys):
    encode_dataset(str(sounds), tmp_path / "codes", str(whole))
    words = {"config": None, "model_name_or_path": whole, "level": 1, "train_codes": tmp_path / "codes"}
    assert main(prior_words(**words)) == 2
    assert "artist='Cleo Crab' of 6 of the 6 songs is not listed in v3; rename them" in capsys.readouterr().err
    assert main(prior_words(**words, labels="songs", max_steps=1)) == 0
    assert json.loads((tmp_path / "run" / "artists.json").read_text())["v3"] == {"unknown": 0, "cleo crab": 1}
    assert JukeboxPrior.from_pretrained(tmp_path / "run").config.num_artists == 2


def test_a_folder_of_lists_serves_a_new_prior_and_a_trained_one(prior_words, tmp_path, whole):
    lists = LabelVocabulary("v3", {**OLD.artists, "dan daw": 3}, OLD.genres)
    tokenizer_of(lists).save_pretrained(tmp_path / "lists")
    assert main(prior_words(labels=tmp_path / "lists", max_steps=1)) == 0
    assert JukeboxPrior.from_pretrained(tmp_path / "run").config.num_artists == 4
