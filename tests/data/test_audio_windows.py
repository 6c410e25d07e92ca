"""Windows of sound: the original's stretches and mixes, in an order that nobody but seed and epoch decides."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from jukebox_hf.data.audio_windows import AudioWindows, EpochSampler, StretchPlan, mix
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.songs import CorruptSongsError
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus

PIECES = json.loads(
    (Path(__file__).parents[1] / "reference/openai/training_data/pieces.json").read_text(encoding="utf-8")
)
RATE = 8000


@pytest.fixture(scope="module")
def songs(corpus):
    return open_songs(corpus)


@pytest.fixture
def noise(tmp_path):
    """A folder of ten recordings of one second, each in stereo."""
    for number in range(10):
        values = np.random.default_rng(number).normal(0, 0.1, (RATE, 2))
        soundfile.write(tmp_path / f"{number}.wav", values, RATE, subtype="FLOAT")
    return tmp_path


def test_stretches_are_those_of_the_original():
    known = PIECES["dataset_offsets"]
    plan = StretchPlan(tuple(known["durations"]), known["sample_length"])
    assert len(plan) == known["n_items"]
    still = [[item, plan.stretch(item).song, plan.stretch(item).start] for item in range(len(plan))]
    assert still == known["no_shift_item_file_offset"]
    for item, shift, song, start in known["with_shift_item_shift_file_offset"]:
        assert (plan.stretch(item, shift).song, plan.stretch(item, shift).start) == (song, start)


@given(st.lists(st.integers(100, 350), min_size=1, max_size=6), st.integers(2, 100), st.data())
def test_every_stretch_lies_in_its_song(lengths, window, data):
    plan = StretchPlan(tuple(lengths), window)
    item = data.draw(st.integers(0, len(plan) - 1))
    shift = data.draw(st.integers(-(window // 2), window // 2 - 1))
    stretch = plan.stretch(item, shift)
    assert 0 <= stretch.start <= lengths[stretch.song] - window


def test_odd_windows_stay_inside_their_songs_too():
    plan = StretchPlan((100, 100), 51)
    starts = [plan.stretch(item, shift).start for item in range(len(plan)) for shift in range(-25, 25)]
    assert max(starts) == 49


def test_stereo_is_mixed_as_the_original_mixes_it():
    known = {name: np.array(values, np.float32) for name, values in PIECES["audio_preprocess"].items()}
    for song in range(2):
        sound = known["in"][song].T
        assert np.array_equal(mix(sound), known["out"][song, :, 0])
        share = float(known["blend_mix"][song, 0])
        assert np.abs(mix(sound, share) - known["blend_out"][song, :, 0]).max() < 1e-7


def test_a_window_holds_the_samples_of_its_song(songs, corpus):
    windows = AudioWindows(songs, 9000, RATE, with_labels=True)
    assert len(windows) == 24 * 4
    window = windows[5]
    assert window["input_values"].shape == (1, 9000)
    assert window["input_values"].dtype == torch.float32
    assert (window["name"], window["offset_samples"], window["total_samples"]) == ("songs/0-000001.wav", 9000, 36_000)
    whole, _ = soundfile.read(corpus / window["name"], dtype="float32")
    assert np.array_equal(window["input_values"][0].numpy(), whole[9000:18_000])
    assert (window["artist"], window["genre"], len(window["lyrics"])) == (songs[1].artist, songs[1].genre, 24)
    assert window["lyric_times"] == songs[1].lyric_times


def test_without_labels_a_window_can_be_stacked_by_any_collator(songs):
    batch = next(iter(DataLoader(AudioWindows(songs, 4000, RATE), batch_size=3)))
    assert list(batch) == ["input_values"]
    assert batch["input_values"].shape == (3, 1, 4000)


def test_another_rate_gives_windows_of_that_rate(songs):
    windows = AudioWindows(songs, 16_000, 16_000, with_labels=True)
    assert windows[0]["input_values"].shape == (1, 16_000)
    assert windows[0]["total_samples"] == 72_000


@pytest.mark.parametrize("option", ["shift", "blend"])
def test_an_epoch_changes_shifts_and_mixes_and_comes_again_exactly(noise, option):
    windows = AudioWindows(open_songs(noise), 2000, RATE, seed=3, **{option: True})
    first = windows[7]["input_values"]
    assert torch.equal(first, windows[7]["input_values"])
    windows.set_epoch(1)
    assert not torch.equal(first, windows[7]["input_values"])
    windows.set_epoch(0)
    assert torch.equal(first, windows[7]["input_values"])
    other_seed = AudioWindows(open_songs(noise), 2000, RATE, seed=4, **{option: True})
    assert not torch.equal(first, other_seed[7]["input_values"])


def test_without_augmentation_epochs_are_alike(noise):
    windows = AudioWindows(open_songs(noise), 2000, RATE)
    first = windows[7]["input_values"]
    windows.set_epoch(1)
    assert torch.equal(first, windows[7]["input_values"])


def test_workers_give_what_one_process_gives_and_hear_of_a_new_epoch(noise):
    windows = AudioWindows(open_songs(noise), 2000, RATE, seed=1, shift=True, blend=True)
    loader = DataLoader(windows, batch_size=4, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        windows.set_epoch(epoch)
        alone = torch.stack([windows[item]["input_values"] for item in range(len(windows))])
        together = torch.cat([batch["input_values"] for batch in loader])
        assert torch.equal(together, alone)


def test_the_order_of_an_epoch_is_resumed_where_it_stopped():
    order = list(EpochSampler(50, seed=2, epoch=3))
    assert sorted(order) == list(range(50))
    assert order != list(EpochSampler(50, seed=2, epoch=4)) != list(EpochSampler(50, seed=5, epoch=4))
    resumed = EpochSampler(50, seed=2, epoch=3, done=20)
    assert len(resumed) == 30
    assert list(resumed) == order[20:]
    resumed.set_epoch(4)
    assert list(resumed) == list(EpochSampler(50, seed=2, epoch=4))


def test_a_broken_song_is_replaced_by_the_next_window_and_listed(tmp_path):
    settings = CorpusSettings(hours=12 * 1.5 / 3600, sampling_rate=RATE, characters=8, format="flac")
    write_corpus(tmp_path / "songs", settings)
    songs = open_songs(tmp_path / "songs")
    path = tmp_path / "songs" / songs[4].name
    path.write_bytes(path.read_bytes()[:3000])
    windows = AudioWindows(open_songs(tmp_path / "songs"), 12_000, RATE, with_labels=True)
    assert len(windows) == 12
    loader = DataLoader(windows, batch_size=4, num_workers=2, collate_fn=list)
    names = [window["name"] for batch in loader for window in batch]
    assert len(names) == 12
    assert names[4] == names[5] == songs[5].name
    assert windows.songs.report().startswith(f"1 of 12 songs were skipped: {songs[4].name} ")


def test_more_than_a_tenth_of_broken_songs_stop_the_run(noise):
    songs = open_songs(noise)
    windows = AudioWindows(songs, RATE, RATE)
    for number in (2, 5):
        soundfile.write(noise / f"{number}.wav", np.full((RATE, 2), np.nan), RATE, subtype="FLOAT")
    windows[2]
    with pytest.raises(
        CorruptSongsError, match=r"2 of 10 songs were skipped: 2\.wav holds samples that are not finite"
    ):
        windows[5]


def test_songs_outside_of_the_wanted_lengths_are_left_out(songs):
    assert len(AudioWindows(songs, 9000, RATE, min_seconds=4.5, max_seconds=4.6)) == 96
    with pytest.raises(ValueError, match=r"none of the 24 songs lasts a window .* the longest has 4\.50 s"):
        AudioWindows(songs, 9000, RATE, min_seconds=4.6)
    with pytest.raises(ValueError, match="none of the 24 songs"):
        AudioWindows(songs, 9000, RATE, max_seconds=4.5)  # the end is not allowed itself, as in the original


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"window_samples": 0}, "window_samples=0 must be an integer, 1 or more"),
        ({"window_samples": 36_001}, "none of the 24 songs lasts a window of 4.50 s"),
        ({"sampling_rate": 1.5}, "sampling_rate=1.5 must be an integer"),
        ({"seed": -1}, "seed=-1 must be an integer, 0 or more"),
        ({"songs": [1]}, "songs=list has no order"),
    ],
)
def test_windows_that_mean_nothing_are_refused_in_a_sentence(songs, changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        AudioWindows(**{"songs": songs, "window_samples": 9000, "sampling_rate": RATE} | changed)


def test_an_item_that_is_not_there_ends_iteration(songs):
    windows = AudioWindows(songs, 9000, RATE)
    assert torch.equal(windows[-1]["input_values"], windows[len(windows) - 1]["input_values"])
    with pytest.raises(IndexError, match="item=96 is not one of the 96 windows"):
        windows[96]
