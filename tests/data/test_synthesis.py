"""The synthetic singer and band: what a network is to learn from them is really in the sound."""

from itertools import product

import numpy as np
import pytest

from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.data.synthesis.lyrics import SHORTEST_SLOT, known_words, lyric_timing, make_lyrics, slot_edges
from jukebox_hf.data.synthesis.song import SynthSpec, synthesize
from jukebox_hf.data.synthesis.sounds import SOUNDS, VOWELS
from jukebox_hf.data.synthesis.voice import Note, sing

RATE, SLOT = 16_000, 0.1875
PAIRS = list(product(ARTISTS, GENRES))


def spectra(audio):
    """Log magnitudes of overlapping frames of 32 ms, (frames, 257)."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 512)[::256] * np.hanning(512)
    return np.log(np.abs(np.fft.rfft(frames)) + 1e-3)


def features(audio):
    frames = spectra(audio)
    return np.concatenate([frames.mean(0), frames.std(0), np.abs(np.diff(frames, axis=0)).mean(0)])


def vowel(letter, artist="Bo Vale"):
    """One vowel of a singer, sung for 0.6 seconds on A2, alone: its mean spectrum (257,)."""
    timing = lyric_timing(letter, 0.6)
    audio = sing(timing.sounds, (Note(0, 0.6, 45.0),), ARTISTS[artist], 0.6, RATE, np.random.default_rng(0))
    return spectra(audio)[5:-5].mean(0)


@pytest.fixture(scope="module")
def songs():
    """Two songs of 6 s of each artist and genre, with unlike words: [(order, song)]."""
    orders = [
        SynthSpec(artist, genre, make_lyrics(np.random.default_rng(7 * place + turn), 32), 100 * turn + place)
        for turn in range(2)
        for place, (artist, genre) in enumerate(PAIRS)
    ]
    return [(order, synthesize(order)) for order in orders]


def test_the_same_seed_makes_the_same_song_and_another_another():
    order = SynthSpec("Ada Brook", "rock", "sing the river", 3)
    assert np.array_equal(synthesize(order).audio, synthesize(order).audio)
    other = synthesize(SynthSpec("Ada Brook", "rock", "sing the river", 4)).audio
    assert np.abs(synthesize(order).audio - other).max() > 0.2


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_song_lasts_a_slot_for_each_character_at_any_rate(rate):
    song = synthesize(SynthSpec("Dex Marlow", "jazz", "oh my moon", 0, rate))
    assert len(song.audio) == round(10 * SLOT * rate)
    assert np.isfinite(song.audio).all()
    assert np.abs(song.audio).max() == pytest.approx(0.95)
    assert np.sqrt(np.mean(song.audio**2)) > 0.05


def test_genres_and_artists_are_told_apart_by_the_nearest_centroid(songs):
    table = np.array([features(song.audio) for _, song in songs])
    known, unseen = table[: len(PAIRS)], table[len(PAIRS) :]
    scale = known.std(0)
    distance = (((unseen[:, None] - known[None]) / scale) ** 2).sum(-1)
    found = [PAIRS[place] for place in distance.argmin(1)]
    genre = np.mean([guess[1] == pair[1] for guess, pair in zip(found, PAIRS, strict=True)])
    artist = np.mean([guess[0] == pair[0] for guess, pair in zip(found, PAIRS, strict=True)])
    assert genre >= 0.95  # chance 0.2
    assert artist >= 0.75  # chance 0.25


def test_the_same_classifier_is_near_chance_where_labels_are_shuffled(songs):
    table = np.array([features(song.audio) for _, song in songs])
    known, unseen = table[: len(PAIRS)], table[len(PAIRS) :]
    found = (((unseen[:, None] - known[None]) / known.std(0)) ** 2).sum(-1).argmin(1)
    shuffled = np.random.default_rng(0).permutation(len(PAIRS))
    assert np.mean([PAIRS[shuffled[a]][1] == PAIRS[b][1] for b, a in enumerate(found)]) < 0.5


def test_vowels_differ_in_spectrum_and_peak_where_their_formants_are():
    means = {letter: vowel(letter) for letter in VOWELS}
    for one, other in product(VOWELS, VOWELS):
        if one < other:
            assert np.sqrt(np.mean((means[one] - means[other]) ** 2)) > 0.5, (one, other)
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    for letter in VOWELS:
        peaks = np.array(SOUNDS[letter].formants[:2]) * ARTISTS["Bo Vale"].formant_scale
        assert np.abs(hertz[np.argmax(means[letter])] - peaks).min() < 120, letter


def test_vowels_of_a_mix_are_found_by_a_linear_reader_in_other_songs(songs):
    rows, letters, numbers = [], [], []
    for number, (order, song) in enumerate(songs):
        frames = spectra(song.audio)
        for letter, (start, end) in zip(order.lyrics.lower(), song.times, strict=True):
            if letter in "aeiou":
                span = slice(int((start + 0.04) * RATE / 256), int((end - 0.02) * RATE / 256))
                rows.append(frames[span].mean(0))
                letters.append("aeiou".index(letter))
                numbers.append(number)
    table, letters, numbers = np.array(rows), np.array(letters), np.array(numbers)
    train = numbers < 30
    table = (table - table[train].mean(0)) / table[train].std(0)
    table = np.c_[table, np.ones(len(table))]
    square = table[train].T @ table[train] + 30 * np.eye(table.shape[1])
    weights = np.linalg.solve(square, table[train].T @ np.eye(5)[letters[train]])
    right = (table[~train] @ weights).argmax(1) == letters[~train]
    assert len(right) > 60
    assert right.mean() > 0.7  # chance 0.2; 0.94 with 40 songs of 12 s


def test_the_voice_is_silent_where_nothing_is_sung():
    timing = lyric_timing("la   la", SLOT)
    audio = sing(timing.sounds, (Note(0, 2, 48.0),), ARTISTS["Bo Vale"], 7 * SLOT, RATE, np.random.default_rng(0))
    rest = audio[round((2 * SLOT + 0.06) * RATE) : round((5 * SLOT - 0.02) * RATE)]
    assert np.abs(rest).max() < 1e-4
    assert np.abs(audio[round(SLOT * RATE) : round(2 * SLOT * RATE)]).max() > 0.1


def test_every_vowel_fills_its_slot_and_no_character_leaves_its_own():
    text = "strange  moonlit quay"
    timing = lyric_timing(text, SLOT)
    assert len(timing.times) == len(text)
    for place, (letter, (start, end)) in enumerate(zip(text, timing.times, strict=True)):
        assert place * SLOT - 1e-9 <= start < (place + 1) * SLOT
        if letter in VOWELS:
            assert start == pytest.approx(place * SLOT)
            assert end >= (place + 1) * SLOT - 1e-9
    ends = [sung.end for sung in timing.sounds]
    starts = [sung.start for sung in timing.sounds]
    assert all(end <= start + 1e-9 for end, start in zip(ends, starts[1:], strict=False))


def test_a_vowel_is_held_until_the_consonant_that_ends_its_syllable():
    timing = lyric_timing("sun", SLOT)
    assert timing.times == (
        (pytest.approx(SLOT - 0.09), SLOT),
        (SLOT, pytest.approx(3 * SLOT - 0.09)),
        (pytest.approx(3 * SLOT - 0.09), pytest.approx(3 * SLOT)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_uneven_pacing_moves_words_but_neither_the_end_nor_any_slot_under_the_shortest(seed):
    text = make_lyrics(np.random.default_rng(seed), 64)
    edges = np.array(slot_edges(text, SLOT, "uneven", seed))
    assert (len(edges), edges[0], edges[-1]) == (65, 0, 64 * SLOT)
    assert np.diff(edges).min() > SHORTEST_SLOT - 1e-9
    assert np.array_equal(edges, slot_edges(text, SLOT, "uneven", seed))
    assert slot_edges(text, SLOT) == tuple(index * SLOT for index in range(65))


def test_uneven_pacing_leaves_words_seconds_away_from_where_even_pacing_has_them():
    away = []
    for seed in range(40):
        text = make_lyrics(np.random.default_rng(seed), 64)
        edges = np.array(slot_edges(text, SLOT, "uneven", seed))
        starts = [index for index in range(1, 64) if text[index].isalpha() and text[index - 1].isspace()]
        away += np.abs(edges[starts] - np.array(starts) * SLOT).tolist()
    assert 0.5 < np.mean(away) < 3.0
    assert np.mean(np.array(away) < 0.3) < 0.5


def test_an_uneven_song_is_sung_at_its_own_times():
    spec = SynthSpec("Bo Vale", "folk", "la la la la\nma ma ma ma", 5, RATE, SLOT, "uneven")
    even = SynthSpec("Bo Vale", "folk", "la la la la\nma ma ma ma", 5, RATE, SLOT)
    song = synthesize(spec)
    assert song.times == spec.timing.times
    assert song.times != synthesize(even).times
    assert len(song.audio) == len(synthesize(even).audio)


@pytest.mark.parametrize("seed", range(5))
def test_lyrics_fill_their_characters_with_known_words(seed):
    text = make_lyrics(np.random.default_rng(seed), 64)
    assert len(text) == 64
    assert set(text.split()) <= known_words()
    assert len(text.split()) > 6
    assert "  " not in text.strip()
    invented = make_lyrics(np.random.default_rng(seed), 64, invented=True)
    assert len(set(invented.split()) - known_words()) > 6


def test_given_words_are_sung_in_capitals_and_small_letters_alike():
    one, other = (synthesize(SynthSpec("Bo Vale", "folk", text, 1)).audio for text in ("Row, Row!", "row, row!"))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, synthesize(SynthSpec("Bo Vale", "folk", "ray, ray!", 1)).audio)


def test_each_instrumental_is_the_band_alone():
    song = synthesize(SynthSpec("Bo Vale", "reggae", " " * 16, 1))
    assert np.sqrt(np.mean(song.audio**2)) > 0.05
    assert song.times[3] == (3 * SLOT, 4 * SLOT)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"artist": "Nobody"}, "artist='Nobody' is none of Ada Brook"),
        ({"genre": "polka"}, "genre='polka' is none of electronic"),
        ({"lyrics": ""}, "lyrics is empty"),
        ({"sampling_rate": 4000}, "sampling_rate=4000 must be an integer from 8000"),
        ({"slot": 0.01}, "slot=0.01 must be from 0.1 to 1"),
    ],
)
def test_what_can_not_be_sung_is_refused_in_a_sentence(changed, sentence):
    order = {"artist": "Bo Vale", "genre": "folk", "lyrics": "la", "seed": 0} | changed
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        SynthSpec(**order)
