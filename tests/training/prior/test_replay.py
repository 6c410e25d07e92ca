"""Old songs among new ones, evaluations that end a run, and songs of lengths that a prior does not know."""

import json

import numpy as np
import pytest
import torch

from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShards, CodeShardWriter
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.prior_batches import prior_inputs
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.prior_inputs import check_inputs
from jukebox_hf.model.songs.song_plan import told_song_samples
from jukebox_hf.training.prior.replay import WithReplay
from jukebox_hf.training.train_prior import main

LISTS = {"artists": {"v3": {"unknown": 0, "ann": 1}}, "genres": {"v3": {"unknown": 0, "folk": 1}}}


class Numbers(torch.utils.data.Dataset):
    """Windows that are numbers, which count on in every epoch."""

    def __init__(self, first, count):
        self.first, self.count, self.epoch = first, count, 0

    def __len__(self):
        return self.count

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, item):
        return self.first + item, self.epoch


def test_every_epoch_holds_all_new_windows_and_the_next_of_the_old_ones():
    mixed = WithReplay(Numbers(0, 6), Numbers(100, 4), 1 / 3)
    assert len(mixed) == 6 + 3
    epochs = []
    for epoch in range(3):
        mixed.set_epoch(epoch)
        epochs.append([mixed[item][0] for item in range(len(mixed))])
        assert {mixed[item][1] for item in range(len(mixed))} == {epoch}
    assert all(epoch[:6] == list(range(6)) for epoch in epochs)
    assert [epoch[6:] for epoch in epochs] == [[100, 101, 102], [103, 100, 101], [102, 103, 100]]
    assert mixed[-1] == mixed[8]
    with pytest.raises(IndexError):
        mixed[9]
    assert len(WithReplay(Numbers(0, 6), Numbers(100, 4), 0.0)) == 6


def test_replayed_songs_keep_what_a_prior_knew(prior_words, coded_songs, tmp_path):
    """Bits on songs that are not trained on again: with them among the new ones fewer are lost."""
    common = {"per_device_train_batch_size": 16, "learning_rate": 1e-2, "original_adam": True}
    wide = {"hidden_size": 32, "init_scale": 3.0}
    assert main(prior_words(changes=wide, max_steps=60, output_dir=tmp_path / "old", **common)) == 0
    new = tmp_path / "new"
    with CodeShardWriter(new, CodeShards(coded_songs()).facts) as writer:
        for number in range(4):  # codes that fall
            top = (np.arange(72) * 22 + number) % 24
            writer.add(CodedSong(Song(f"{number}.wav", "Cleo Crab", "folk"), 72 * 16, (np.repeat(top, 4), top)))
    lost = {}
    for name, replayed in (("with", {"replay_codes": coded_songs()}), ("without", {})):
        words = prior_words(config=None, model_name_or_path=tmp_path / "old", train_codes=new, labels="add",
                            max_steps=15, eval_codes=coded_songs(24), output_dir=tmp_path / name, **common,
                            **replayed)  # fmt: skip
        assert main(words) == 0
        lost[name] = json.loads((tmp_path / name / "eval_results.json").read_text())["eval_bits_per_code"]
    assert lost["with"] < lost["without"] - 0.5


def test_a_run_stops_when_evaluations_bring_nothing_and_keeps_the_best(prior_words, tmp_path, coded_songs, capsys):
    words = prior_words(
        max_steps=12, learning_rate=0.5, test_fraction=0.2, eval_windows=3, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, save_total_limit=2, load_best_model_at_end=True,
        metric_for_best_model="bits_per_code", early_stop=2,
    )  # fmt: skip
    assert main(words) == 0
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    bits = [entry["eval_bits_per_code"] for entry in state["log_history"] if "eval_bits_per_code" in entry]
    stopped = state["global_step"]
    assert 3 <= stopped < 12
    assert min(bits[:stopped]) == bits[stopped - 3]  # then twice nothing
    best = json.loads((tmp_path / "run" / "eval_results.json").read_text())["eval_bits_per_code"]
    assert best == pytest.approx(min(bits), abs=1e-5)
    capsys.readouterr()
    assert main([*words, "--resume_from_checkpoint", "auto"]) == 0  # as after a kill when all was done
    again = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert again["global_step"] == stopped


@pytest.mark.parametrize("seconds", [0.5, 3.0, 20.0])
def test_songs_of_any_length_are_told_as_when_they_are_sampled(seconds, coded_config, tmp_path):
    config = coded_config("prefix", min_song_seconds=1.0, max_song_seconds=10.0, num_artists=2, num_genres=2)
    tokenizer = JukeboxTokenizer(**LISTS, label_versions=["v3"] * 2)
    samples, length = round(seconds * 1000), round(seconds * 1000) // 16
    with CodeShardWriter(tmp_path / "codes", CodeFacts(1000, (4, 16), 24, ("a", "b"))) as writer:
        writer.add(CodedSong(Song("0", "Ann", "folk", "row row row"), samples, (np.zeros(length * 4, int),
                                                                              np.zeros(length, int))))  # fmt: skip
    windows = CodeWindows(CodeShards(tmp_path / "codes"), 1, config.context_length)
    batch = [windows[item] for item in range(len(windows))]
    inputs = prior_inputs(batch, tokenizer, config)
    check_inputs(config, torch.stack([window["codes"] for window in batch]), **inputs)  # which refuses other lengths
    told = told_song_samples(config, samples)
    assert set(inputs["timing"][:, 0].tolist()) == {samples if told is None else told}
    assert (told is None) == (seconds == 3.0)
    for window, timing in zip(batch, inputs["timing"].tolist(), strict=True):
        wanted = SongTiming(samples, window["offset_samples"], config.window_samples, told).told()  # as in sampling
        assert timing == [wanted.total_samples, wanted.offset_samples, wanted.window_samples]
