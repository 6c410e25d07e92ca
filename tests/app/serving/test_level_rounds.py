"""Songs that wait at a level are one batch, and come out as they would alone."""

from dataclasses import replace

import pytest

from jukebox_hf.app.serving.level_rounds import LevelRounds, kind_of_window, next_level, songs_at_once
from jukebox_hf.model.songs.song import sample_songs


@pytest.fixture(scope="module")
def alone(served):
    """The codes of a song that is sampled as the command line does."""

    def codes(song):
        for step in sample_songs(served.model, [song.batch], song.compute):
            state = step.state
        return _codes(state)

    return codes


def _codes(state):
    return [songs[0].tolist() for songs in state.codes]


def _to_the_end(served, songs, joins=()):
    """Songs sampled round by round, level by level; of `joins`, one more comes after each round."""
    songs, joins, sizes = list(songs), list(joins), []
    while any(next_level(song) for song in songs):
        first = next(song for song in songs if next_level(song))
        level, kind = next_level(first).level, kind_of_window(first)
        places = [i for i, song in enumerate(songs) if next_level(song) and kind_of_window(song) == kind]
        written = LevelRounds(served.model.lend(level)).write([songs[place] for place in places])
        served.model.take_back(level)
        sizes.append(len(places))
        for place, song in zip(places, written, strict=True):
            songs[place] = song
        if joins:
            songs.append(joins.pop(0))
    return songs, sizes


def test_songs_of_other_lengths_and_starts_are_rows_of_one_batch_and_come_out_as_alone(served, plan, alone):
    songs = [plan(), plan(seed=8, seconds=0.2), plan(seed=9, artist="Quiet Ones", seconds=0.3)]
    made, sizes = _to_the_end(served, songs[:1], songs[1:])
    assert [_codes(song.batch.state) for song in made] == [alone(song) for song in songs]
    assert max(sizes) > 1
    assert len(sizes) < sum(len(level.windows) for song in songs for level in song.batch.plan.levels)


@pytest.mark.parametrize(
    "said", [{"guidance_scale": "2"}, {"parallel_windows": True}, {"draw": "gumbel"}, {"levels": "2"}]
)
def test_songs_of_every_kind_of_sampling_come_out_as_alone(said, served, plan, alone):
    songs = [plan(seconds=0.2, **said), plan(seed=8, seconds=0.2, **said)]
    made, sizes = _to_the_end(served, songs)
    assert [_codes(song.batch.state) for song in made] == [alone(song) for song in songs]
    assert set(sizes) == {2}


def test_songs_that_are_drawn_otherwise_do_not_share_a_batch(plan):
    assert kind_of_window(plan()) == kind_of_window(plan(seed=8, seconds=0.2, lyrics="other words"))
    assert kind_of_window(plan()) != kind_of_window(plan(temperature="0.9"))
    assert kind_of_window(plan()) != kind_of_window(plan(guidance_scale="2"))


def test_no_more_songs_are_written_at_once_than_rows_are_asked_for(plan):
    song = plan(guidance_scale="2")
    assert songs_at_once(replace(song, compute=replace(song.compute, batch=5))) == 2
    assert songs_at_once(replace(song, compute=replace(song.compute, batch=1))) == 1


def test_the_notes_of_a_song_are_its_own(served, plan):
    songs = [plan(), plan(seed=8, draw="inverse")]
    made, _ = _to_the_end(served, songs)
    for before, after in zip(songs, made, strict=True):
        assert before.batch.state.notes.items() <= after.batch.state.notes.items()
        assert "stepping" in after.batch.state.notes
