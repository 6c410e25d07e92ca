"""A prior with a lyric encoder that was trained with the loss on lyrics writes words of its songs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jukebox_hf import JukeboxTokenizer
from jukebox_hf.data.code_shards import CodedSong, CodeShardWriter
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.training.assemble import main as assemble
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.train_prior import main

WORDS = ("sail", "moon", "hey")
LISTS = LabelVocabulary("v3", {"unknown": 0, "ann ash": 1}, {"unknown": 0, "folk": 1})
SIZES = {"lyric_encoder_hidden_size": 32, "lyric_encoder_attention_multiplier": 1.0}


def words_in_a_row(seed, count=11):
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


@pytest.fixture
def codes(tmp_path, coding_vqvae):
    """Codes of songs whose words come in any order."""
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    with CodeShardWriter(tmp_path / "codes", facts_of(coding_vqvae)) as writer:
        for number in range(40):
            draws = np.random.default_rng(number)
            song = Song(f"{number}.flac", "Ann Ash", "folk", words_in_a_row(number))
            writer.add(CodedSong(song, 72 * 16, (draws.integers(0, 24, 288), draws.integers(0, 24, 72))))
    return tmp_path / "codes"


def test_a_trained_prior_writes_words_of_its_songs_and_finds_them_likelier_than_shuffled_ones(
    codes, prior_words, tiny_prior, coded_config, tmp_path
):
    changes = {"alignment_layer": 3, "alignment_head": 0, "lyric_loss_weight": 1.0, **SIZES}
    steps = {"max_steps": 300, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 250}
    top, fine, whole = tmp_path / "run", tmp_path / "fine", tmp_path / "whole"
    assert main(prior_words("encoder", changes, train_codes=codes, **steps)) == 0
    config = coded_config("upsampler", num_artists=2, num_genres=2)
    tiny_prior("upsampler", **{name: getattr(config, name) for name in type(config).__annotations__}).save_pretrained(
        fine
    )
    JukeboxTokenizer.from_vocabularies({"v3": LISTS}, ["v3", "v3"]).save_pretrained(fine)
    assert assemble([str(whole), "--vqvae", str(tmp_path / "vqvae"), "--priors", str(fine), str(top)]) == 0

    def write(*words):
        line = [sys.executable, "-m", "jukebox_hf", "write-lyrics", "--model", str(whole), "--artist", "Ann Ash"]
        return json.loads(subprocess.run([*line, *words, "--json"], check=True, capture_output=True).stdout)

    (written,) = write("--seed", "3", "--characters", "120", "--temperature", "0.7")
    words = written["lyrics"].split()
    assert len(words) > 12
    known = [word in WORDS for word in words[1:]]  # the first may be the end of a word
    assert np.mean(known) > 0.9
    assert len(set(words[1:])) > 2
    (tmp_path / "new.txt").write_text(words_in_a_row(999))
    bits = write("--compare", str(tmp_path / "new.txt"))
    assert bits["as_written"] < bits["characters_shuffled"] - 1
