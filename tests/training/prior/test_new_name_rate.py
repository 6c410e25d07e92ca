"""A rate of their own for new names: known names keep their vectors, new ones move far, runs go on bit for bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf import JukeboxPrior
from jukebox_hf.data.code_shards import CodedSong, CodeShards, CodeShardWriter
from jukebox_hf.data.songs import Song
from jukebox_hf.training.train_prior import main

LORA = {"lora_rank": 2, "lora_labels": True}


@pytest.fixture
def base(prior_words, tmp_path):
    """A prior that knows two artists."""
    assert main(prior_words(max_steps=2, output_dir=tmp_path / "base")) == 0
    return tmp_path / "base"


@pytest.fixture
def band(coded_songs, tmp_path):
    """Codes of the same songs, half of them by an artist who is new."""
    shards = CodeShards(coded_songs())
    with CodeShardWriter(tmp_path / "band", shards.facts) as writer:
        for index in range(4):
            codes = tuple(shards.codes(index, level) for level in (0, 1))
            song = shards.song(index)
            artist = "My Band" if index % 2 else song.artist
            renamed = Song(song.name, artist, song.genre, song.lyrics)
            writer.add(CodedSong(renamed, shards.words[index]["total_samples"], codes))
    return tmp_path / "band"


def trained(prior_words, base, band, out, **more):
    words = prior_words(config=None, model_name_or_path=base, train_codes=band, labels="add", output_dir=out,
                        learning_rate=1e-3, max_steps=4, new_name_learning_rate=0.1, **more)  # fmt: skip
    return main(words)


@pytest.mark.parametrize("more", [{}, LORA, {"original_adam": True}])
def test_known_names_keep_their_vectors_and_new_ones_move_far(more, prior_words, base, band, tmp_path):
    assert trained(prior_words, base, band, tmp_path / "new", **more) == 0
    old, new = (JukeboxPrior.from_pretrained(folder).labels for folder in (base, tmp_path / "new"))
    assert torch.equal(old.artist.weight, new.artist.weight[:3])
    assert torch.equal(old.genre.weight, new.genre.weight)
    moved = (new.artist.weight[3] - old.artist.weight[0]).abs()
    assert moved.max() > 0.05, "far more than four steps at 0.001 could"
    assert moved.min() > 0


def test_a_run_with_such_a_rate_goes_on_bit_for_bit(prior_words, base, band, tmp_path):
    saved = {"save_strategy": "steps", "save_steps": 2}
    assert trained(prior_words, base, band, tmp_path / "whole", **saved) == 0
    assert trained(prior_words, base, band, tmp_path / "cut", **saved) == 0
    for name in ("model.safetensors", "checkpoint-4"):
        path = tmp_path / "cut" / name
        path.rename(tmp_path / f"away-{name}")
    assert trained(prior_words, base, band, tmp_path / "cut", resume_from_checkpoint="auto", **saved) == 0
    steps = json.loads((tmp_path / "cut" / "checkpoint-4" / "trainer_state.json").read_text())["global_step"]
    assert steps == 4
    whole, cut = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "cut"))
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"labels": "keep", "train_codes": None}, "is of names that are new to a trained prior, but there are none"),
        ({"style": True}, "with style=True nothing else does, give learning_rate"),
        ({"new_name_learning_rate": 2}, "new_name_learning_rate=2.0 must be over 0 and up to 1; try 0.1"),
    ],
)
def test_a_rate_that_would_do_nothing_is_refused(more, sentence, prior_words, base, band, coded_songs, capsys):
    words = {"train_codes": band, "labels": "add", "new_name_learning_rate": 0.1}
    more = {name: coded_songs() if name == "train_codes" else value for name, value in more.items()}
    assert main(prior_words(config=None, model_name_or_path=base, **(words | more))) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())
