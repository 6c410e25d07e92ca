"""Guided songs: what is compared with what, how many rows it takes, and what stays as it was."""

from dataclasses import replace

import pytest
import torch

from jukebox_hf import JukeboxConfig, SamplingSettings, sample_window
from jukebox_hf.model.inputs.label_mixes import LabelPart
from jukebox_hf.model.inputs.labels import LevelLabels, window_inputs
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling.sampling_ops import uniforms
from jukebox_hf.model.songs.contrasts import check_guidance, guided_plan, told_less
from jukebox_hf.model.songs.level_sampler import LevelSampler
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, plan_song
from jukebox_hf.model.songs.song_state import SongState

SAMPLES = 40 * 8  # more than one window at each level
SHORT = 24 * 8  # one window at the top
PLAINLY = ComputeOptions()
DOUBLE = SamplingSettings(temperature=2.0, guidance_scale=2.0, lyrics_guidance=1.5)


@pytest.fixture
def labels_of(config):
    """Labels of songs that differ in all that they are told: (*artists, lyrics) -> labels by level."""

    def make(*artists, lyrics="la la la, what a song it is", genre=2):
        encoding = lyric_vocabulary("v3").encode(lyrics)
        return [
            [
                LevelLabels(prior, artist, (genre, -1), encoding, SongTiming(2000, 100, prior.window_samples))
                for artist in artists
            ]
            for prior in config.prior_configs
        ]

    return make


def _run(model, plan, labels, state, compute=PLAINLY):
    for progress in sample_song(model, plan, labels, state, compute):
        state = progress.state
    return state


def _same(one, other):
    pairs = (
        (a, b) for left, right in zip(one.codes, other.codes, strict=True) for a, b in zip(left, right, strict=True)
    )
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture
def batch_sizes(monkeypatch):
    """How many rows each window was read with, by level."""
    seen, own = [], LevelSampler.open

    def heard(self, *words):
        decoder = own(self, *words)
        seen.append((self.plan.level, decoder.cache.batch_size))
        return decoder

    monkeypatch.setattr(LevelSampler, "open", heard)
    return seen


def test_who_is_told_less_has_an_unknown_artist_and_genre_or_no_lyrics_in_the_same_time(labels_of):
    song = labels_of(3)[1][0]
    unknown = told_less(song, ("labels",))
    assert (unknown.artist_id, unknown.genre_ids) == (0, (0, -1)), "as unknown is written in words"
    assert unknown.lyrics == song.lyrics
    silent = told_less(song, ("lyrics",))
    assert (silent.artist_id, silent.genre_ids) == (3, (2, -1))
    assert window_inputs([silent])["lyric_ids"].eq(0).all()
    nothing = told_less(song, ("labels", "lyrics"))
    assert nothing == told_less(unknown, ("lyrics",))
    assert nothing.timing == song.timing
    assert told_less(song, ()) == song


@pytest.mark.parametrize("mix", [(), (LabelPart(2, 0.25, 0), LabelPart(4, 0.75, 0))], ids=["named", "mixed"])
def test_a_guided_song_is_a_window_of_its_rows(model, labels_of, mix):
    """A mix stays where lyrics alone are hidden, in the inner contrast of the double form."""
    (plan,) = plan_song(model.config, SHORT, levels=[1], settings=DOUBLE).levels
    labels, prior = labels_of(1, 3), model.prior(1)
    labels = [[replace(song, artist_mix=mix) for song in songs] for songs in labels]
    state = _run(model, replace(plan_song(model.config, SHORT), levels=(plan,)), labels, SongState.empty(2, [5, 6]))
    told = [[told_less(song, hidden) for song in labels[1]] for hidden in ((), *DOUBLE.contrasts)]
    inputs = [window_inputs([song]) for songs in told for song in songs]
    lyrics = torch.cat([one["lyric_ids"] for one in inputs])
    with torch.no_grad():
        window = sample_window(
            prior,
            prior.sequence(torch.zeros(6, 0, dtype=torch.long), lyrics),
            joined([prior.condition(**one) for one in inputs]),
            24,
            DOUBLE,
            uniforms=uniforms([5, 6], 1, 0, 24),
        )
    assert torch.equal(window.codes, torch.stack(state.codes[1]))
    plain = _run(model, plan_song(model.config, SHORT, levels=[1]), labels, SongState.empty(2, [5, 6]))
    assert not _same(plain, state), "guidance does something"


def test_without_guidance_a_song_takes_one_row_and_stays_as_it_was(model, labels_of, batch_sizes):
    off = SamplingSettings(0.99, guidance_scale=1.0, guidance_on="labels", lyrics_guidance=1.0)
    song, labels = SongState.empty(2, [3]), labels_of(2)
    plain = _run(model, plan_song(model.config, SAMPLES), labels, song)
    assert _same(plain, _run(model, plan_song(model.config, SAMPLES, settings=off), labels, song))
    assert plan_song(model.config, SAMPLES, settings=off) == plan_song(model.config, SAMPLES)
    assert {rows for _, rows in batch_sizes} == {1}


def test_a_level_takes_as_many_rows_as_it_has_to_hide(model, labels_of, batch_sizes):
    _run(model, plan_song(model.config, SAMPLES, settings=DOUBLE), labels_of(2), SongState.empty(2, [3]))
    assert set(batch_sizes) == {(1, 3), (0, 2)}, "the upsampler reads no lyrics"


def test_a_song_does_not_depend_on_its_neighbours_nor_on_the_rows_at_once(model, labels_of, batch_sizes):
    plan = plan_song(model.config, SAMPLES, settings=DOUBLE)
    together = _run(model, plan, labels_of(1, 2), SongState.empty(2, [3, 4]))
    batch_sizes.clear()
    fewer = _run(model, plan, labels_of(1, 2), SongState.empty(2, [3, 4]), ComputeOptions(batch=5))
    assert {level: max(rows for own, rows in batch_sizes if own == level) for level in (1, 0)} == {1: 3, 0: 4}
    assert _same(together, fewer)
    for song, (artist, seed) in enumerate(((1, 3), (2, 4))):
        alone = _run(model, plan, labels_of(artist), SongState.empty(2, [seed]), ComputeOptions(batch=1))
        assert _same(alone, together.only(song))


def test_a_guided_song_that_is_gone_on_with_is_the_same(model, labels_of, tmp_path):
    plan = plan_song(model.config, SAMPLES, settings=DOUBLE)
    states = [progress.state for progress in sample_song(model, plan, labels_of(2), SongState.empty(2, [9]))]
    for state in (states[0], states[len(states) // 2]):
        state.save(tmp_path / "state.safetensors")
        assert _same(_run(model, plan, labels_of(2), SongState.load(tmp_path / "state.safetensors")), states[-1])


def test_guided_windows_side_by_side_are_the_same_however_many_rows_fit(model, labels_of, batch_sizes):
    plan = plan_song(model.config, SAMPLES, settings=DOUBLE, parallel_windows=True)
    whole = _run(model, plan, labels_of(2), SongState.empty(2, [3]))
    batch_sizes.clear()
    for batch, most in ((4, 4), (1, 3)):  # the top window has three rows and is always written
        assert _same(_run(model, plan, labels_of(2), SongState.empty(2, [3]), ComputeOptions(batch=batch)), whole)
        assert max(rows for _, rows in batch_sizes) == most
        batch_sizes.clear()


def test_where_memory_runs_out_fewer_guided_songs_are_written_at_once(model, labels_of, monkeypatch):
    plan = plan_song(model.config, SHORT, levels=[1], settings=DOUBLE)
    wanted = _run(model, plan, labels_of(1, 2), SongState.empty(2, [3, 4]))
    own = LevelSampler.open

    def short_of_memory(self, state, rows, *words):
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        return own(self, state, rows, *words)

    monkeypatch.setattr(LevelSampler, "open", short_of_memory)
    with pytest.warns(UserWarning, match="1 at once work and give the same songs, ask for batch=3"):
        found = _run(model, plan, labels_of(1, 2), SongState.empty(2, [3, 4]))
    assert _same(found, wanted)


@pytest.mark.parametrize(
    ("artist", "genre", "lyrics", "contrasts"),
    [
        (1, 2, "la", [(("labels", "lyrics"),), (("labels",),)]),
        (0, 0, "la", [(("lyrics",),), ()]),
        (0, 1, "", [(("labels",),), (("labels",),)]),
    ],
)
def test_a_level_is_guided_by_what_its_songs_are_told(model, labels_of, artist, genre, lyrics, contrasts):
    asked = dict.fromkeys(range(2), SamplingSettings(guidance_scale=3))
    labels = labels_of(artist, genre=genre, lyrics=lyrics)
    plan = guided_plan(plan_song(model.config, SAMPLES, settings=asked), labels, asked)
    assert [level.settings.contrasts for level in plan.levels] == contrasts
    refined = guided_plan(plan_song(model.config, SAMPLES, levels=[0], settings=asked), labels, asked)
    assert refined.levels == plan.levels[1:], "of a song that was guided at the top, whatever is left below"


def test_a_level_is_guided_by_what_any_of_its_songs_is_told(model, labels_of):
    asked = dict.fromkeys(range(2), SamplingSettings(guidance_scale=3))
    songs = labels_of(1, lyrics=""), labels_of(0, genre=0, lyrics="la")
    both = [[*one, *other] for one, other in zip(*songs, strict=True)]
    plan = guided_plan(plan_song(model.config, SAMPLES, settings=asked), both, asked)
    assert [level.settings.contrasts for level in plan.levels] == [(("labels", "lyrics"),), (("labels",),)]


def test_songs_that_are_told_nothing_to_hide_are_refused(model, labels_of):
    asked = dict.fromkeys(range(2), SamplingSettings(guidance_scale=3))
    plan = plan_song(model.config, SAMPLES, settings=asked)
    with pytest.raises(ValueError, match=r"guidance_scale=3 on both .* song 0 is told nothing that could be hidden"):
        guided_plan(plan, labels_of(0, genre=0, lyrics=""), asked)
    double = dict.fromkeys(range(2), DOUBLE)
    with pytest.raises(ValueError, match=r"lyrics_guidance=1.5 listens harder to lyrics, but song 0 has none"):
        guided_plan(plan_song(model.config, SAMPLES, settings=double), labels_of(1, lyrics=""), double)
    plain = plan_song(model.config, SAMPLES)
    off = dict.fromkeys(range(2), SamplingSettings())
    assert guided_plan(plain, labels_of(0, genre=0, lyrics=""), off) == plain


@pytest.mark.parametrize("name", ["guidance_scale", "lyrics_guidance"])
def test_guidance_of_a_model_that_reads_no_words_is_refused(config, name):
    silent = config.to_dict()
    for prior in silent["prior_configs"]:
        prior |= {"num_artists": 0, "num_genres": 0, "lyrics": "none", "num_hidden_layers": 3, "attention_kinds": None}
    bare = JukeboxConfig.from_dict(silent)
    settings = dict.fromkeys(range(2), SamplingSettings(**{name: 3}))
    with pytest.raises(ValueError, match=f"{name}=3 is guidance by .*, but no prior of this model knows any"):
        check_guidance(bare, settings, {name: 3})
    with pytest.raises(ValueError, match=r"asks for guidance by .* at level \[0\], whose prior knows none"):
        check_guidance(bare, settings, {name: {0: 3}})


def test_a_mix_is_what_guidance_on_labels_hides(model, labels_of):
    mix, unknown = (LabelPart(1, 0.5, 0), LabelPart(3, 0.5, 0)), labels_of(0, genre=0)
    mixed = [[replace(songs[0], artist_mix=mix)] for songs in unknown]
    assert told_less(mixed[1][0], ("labels",)) == unknown[1][0]
    asked = dict.fromkeys(range(2), SamplingSettings(temperature=2.0, guidance_scale=2.0, guidance_on="labels"))
    plan = plan_song(model.config, SHORT, settings=asked)
    assert [level.settings.rows for level in guided_plan(plan, mixed, asked).levels] == [2, 2]
    with pytest.raises(ValueError, match="is told nothing"):
        guided_plan(plan, unknown, asked)
