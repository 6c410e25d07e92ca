"""Whole songs over three levels, with argmax decisions, against the original's: codes, audio, windows and labels."""

import pytest
import torch

from jukebox_hf import JukeboxConfig, SamplingSettings
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, plan_song
from jukebox_hf.model.songs.song_state import SongState

TOPS = {"chain_top_single": "v3", "chain_top_sep": "v3"}
LEVELS = {"ancestral": None, "continue": None, "primed": None, "upsample": [1, 0], "short_top": [2]}
each_top = pytest.mark.parametrize("top", TOPS)


class Model:
    """The three recorded priors and their VQ-VAE, all in memory."""

    def __init__(self, vqvae, priors):
        self.vqvae, self.priors = vqvae, priors
        self.config = JukeboxConfig(vqvae_config=vqvae.config, prior_configs=[prior.config for prior in priors])

    def lend(self, level):
        return self.priors[level]

    def take_back(self, level):
        """Nothing to free."""


@pytest.fixture
def recorded_model(load_vqvae, load_prior):
    def load(top):
        names = ("checkpoint_chain_level_0", "checkpoint_chain_level_1", f"checkpoint_{top}")
        return Model(load_vqvae("vqvae_3level"), [load_prior(f"chain/{name}") for name in names])

    return load


def labels_of_songs(recording, model, top):
    """Labels per level, made of the recorded ids and the lyrics as typed; their rows must be the recorded rows."""
    levels = []
    for level, prior in enumerate(model.priors):
        rows = recording.given(f"labels_y.{level}")
        version, slots = (TOPS[top] if level == 2 else "v2"), 4 + prior.config.max_genres
        songs = []
        for row, meta in zip(rows.tolist(), recording.facts["metas"], strict=True):
            timing = SongTiming(meta["total_length"], meta["offset"], prior.config.window_samples)
            lyrics = lyric_vocabulary(version).encode(meta["lyrics"])
            songs.append(LevelLabels(prior.config, row[3], tuple(row[4:slots]), lyrics, timing))
            assert songs[-1].row().tolist() == row
        levels.append(songs)
    return levels


def first_state(recording, model, case):
    """What is known before the first step: nothing, given codes, or the codes of an audio prompt."""
    nothing = torch.zeros(2, 0, dtype=torch.long)
    if case == "primed":
        codes = model.vqvae.encode(recording.given("in_x").transpose(1, 2)).audio_codes
    else:
        codes = [recording.given(f"in_zs.{level}", default=nothing) for level in range(3)]
    return SongState(tuple(tuple(level) for level in codes), seeds=(0, 1))


def sample(recording, model, top, case, samples, batch):
    plan = plan_song(
        model.config,
        samples,
        levels=LEVELS.get(case, [2]),
        hop_fractions=dict(enumerate(recording.facts["hop_fraction"])),
        settings=SamplingSettings(temperature=0),
    )
    compute = ComputeOptions(batch, chunk=5 if batch == 1 else None)
    labels, state, windows = labels_of_songs(recording, model, top), first_state(recording, model, case), []
    for progress in sample_song(model, plan, labels, state, compute, may_draw_lyrics=True):
        windows.append((progress.level, progress.window.start))
        state = progress.state
    return state, windows


@pytest.mark.parametrize("batch", [None, 1], ids=["together", "one by one"])
@pytest.mark.parametrize("case", LEVELS)
@each_top
@pytest.mark.compares("chain/{top}_{case}", "zs.*", "x_decoded_*", given=("labels_y.*", "in_*"))
@torch.no_grad()
def test_songs_have_the_originals_codes_audio_and_windows(top, case, batch, recording, recorded_model):
    model = recorded_model(top)
    state, windows = sample(recording, model, top, case, recording.facts["sample_length"], batch)
    wanted = [
        (window["level"], window["start"])
        for window in recording.facts["windows"]
        if window["tokens_after"] > window["tokens_before"]
    ]
    assert windows == wanted
    for name in recording.names("zs.*"):
        recording.compare(name, state.batch(int(name[-1])), "song_codes")
    for name in recording.names("x_decoded_*"):
        audio = model.vqvae.decode(state.batch(int(name[-1])), int(name[-1])).audio_values
        recording.compare(name, audio.transpose(1, 2), "audio")


@pytest.mark.parametrize(("case", "shared"), [("short_top_primed5", 16), ("short_top_primed12", 12)])
@each_top
@pytest.mark.compares("chain/{top}_{case}", given=("zs.*", "x_decoded_*", "labels_y.*", "in_*"))
@torch.no_grad()
def test_short_songs_that_begin_with_a_prompt_have_the_length_that_was_asked_for(
    top, case, shared, recording, recorded_model
):
    """The original takes the total for the number of new codes, and so writes 21 and 28 codes where 16 were asked for.

    As long as its window begins where ours does, the codes are equal; with a prompt of 12 it drops the first 4 of them
    from the window, so only the prompt itself is shared. See decisions/009.
    """
    model = recorded_model(top)
    state, _ = sample(recording, model, top, case, recording.facts["sample_length"], None)
    theirs, ours = recording.given("zs.2"), state.batch(2)
    assert (ours.shape[1], theirs.shape[1]) == (16, 16 + recording.given("in_zs.2").shape[1])
    assert torch.equal(ours[:, :shared], theirs[:, :shared])
    audio = model.vqvae.decode(theirs, 2).audio_values.transpose(1, 2)
    recording.compare_values("x_decoded", recording.given("x_decoded_level_2"), audio, "audio")
    assert recording.given("zs.0").numel() == recording.given("zs.1").numel() == 0
