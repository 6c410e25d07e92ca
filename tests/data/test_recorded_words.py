"""Words, times and bands of recorded voices: all that is decided before anything sounds."""

import re
from itertools import pairwise

import numpy as np
import pytest

from jukebox_hf.data.synthesis.recorded.bands import choose_band, number_of_bands, play, shifted
from jukebox_hf.data.synthesis.recorded.pacing import even_borders, uneven_borders
from jukebox_hf.data.synthesis.recorded.speakers import Phone
from jukebox_hf.data.synthesis.recorded.spelling import spelt, syllables
from jukebox_hf.data.synthesis.recorded.styles import STYLES, drum_keys, sampled_pitch, tuned_notes
from jukebox_hf.data.synthesis.recorded.sung_words import sung_text, words_of
from jukebox_hf.data.synthesis.recorded.verses import vocabulary, write_verse

SLOT = 0.1875
SAID = {
    "night": ("n", "ay", "t"), "shadow": ("sh", "ae", "d", "ow"), "stream": ("s", "t", "r", "iy", "m"),
    "a": ("ax",), "fire": ("f", "ay", "er"), "you": ("y", "uw"), "the": ("dh", "ax"),
}  # fmt: skip


def phones_of(word):
    return tuple(Phone(name, 0.1 * place, 0.1 * (place + 1)) for place, name in enumerate(SAID[word]))


def test_verses_fill_their_length_with_words_of_the_vocabulary():
    words = set(vocabulary())
    assert len(words) > 200
    for seed in range(200):
        verse = write_verse(np.random.default_rng(seed), 64)
        assert len(verse) == 64
        assert len(verse.strip()) > 40
        assert set(words_of(verse)) <= words
        assert re.fullmatch(r"[a-z \n]+", verse)


def test_two_verses_hardly_ever_are_the_same():
    assert len({write_verse(np.random.default_rng(seed), 64) for seed in range(2000)}) > 1990


@pytest.mark.parametrize(
    ("word", "spans"),
    [
        ("night", [(0, 0), (1, 1), (1, 1), (1, 1), (2, 2)]),
        ("shadow", [(0, 0), (0, 0), (1, 1), (2, 2), (3, 3), (3, 3)]),
        ("stream", [(0, 0), (1, 1), (2, 2), (3, 3), (3, 3), (4, 4)]),
        ("the", [(0, 0), (0, 0), (1, 1)]),
        ("a", [(0, 0)]),
    ],
)
def test_letters_find_their_sounds(word, spans):
    assert list(spelt(word, SAID[word])) == spans


@pytest.mark.parametrize("word", sorted(SAID))
def test_every_sound_of_a_word_belongs_to_a_letter(word):
    spans = spelt(word, SAID[word])
    assert {place for first, last in spans for place in range(first, last + 1)} == set(range(len(SAID[word])))
    assert all(one[1] <= other[0] or one == other or one[1] == other[0] for one, other in pairwise(spans))


def test_one_consonant_or_a_stop_and_r_goes_to_the_vowel_that_follows():
    assert syllables(("sh", "ae", "d", "ow")) == ((0, 1, 2), (2, 3, 4))
    assert syllables(("b", "ah", "n", "t", "r", "iy")) == ((0, 1, 3), (3, 5, 6))
    assert syllables(("h", "m")) == ((0, 1, 2),)


def test_vowels_begin_at_the_turn_of_their_first_letter():
    text = " shadow night"
    sung = sung_text(text, even_borders(text, SLOT), phones_of)
    assert sung.vowels == pytest.approx([3 * SLOT, 5 * SLOT, 9 * SLOT])


@pytest.mark.parametrize("is_even", [True, False])
def test_times_of_characters_cover_the_song_without_gaps_or_steps_back(is_even):
    text = "  the stream\n  a fire night you  "
    borders = even_borders(text, SLOT) if is_even else uneven_borders(text, SLOT, np.random.default_rng(1))
    sung = sung_text(text, borders, phones_of)
    assert len(sung.times) == len(text)
    assert sung.times[0][0] == 0.0
    assert sung.times[-1][1] == pytest.approx(len(text) * SLOT)
    for (start, end), (following, _) in pairwise(sung.times):
        assert end >= start - 1e-9
        assert following >= start - 1e-9
    for phone, after in pairwise(sung.phones):
        assert phone.end <= after.start + 1e-9


def test_words_have_the_time_from_their_first_letter_to_their_last():
    text = "you  fire"
    sung = sung_text(text, even_borders(text, SLOT), phones_of)
    assert [word[:2] for word in sung.words] == [(0, 3), (5, 9)]
    for first, end, start, stop in sung.words:
        assert (start, stop) == (sung.times[first][0], sung.times[end - 1][1])


def test_uneven_pacing_lasts_as_long_and_differs_from_even():
    text = "you  fire the night"
    uneven = uneven_borders(text, SLOT, np.random.default_rng(0))
    assert uneven[-1] == pytest.approx(len(text) * SLOT)
    assert (np.diff(uneven) > 0.05).all()
    assert np.abs(uneven - even_borders(text, SLOT)).max() > SLOT


def test_every_genre_has_thousands_of_bands():
    assert all(number_of_bands(genre) > 3000 for genre in STYLES)


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_two_songs_hardly_ever_have_the_same_band(genre):
    bands = [choose_band(genre, np.random.default_rng([5, seed])) for seed in range(200)]
    assert len(set(bands)) > 180


@pytest.mark.parametrize("genre", sorted(STYLES))
def test_a_band_plays_within_the_notes_that_a_bank_holds(genre):
    asked = set()

    def note(program, pitch):
        asked.add((program, pitch))
        return np.ones(1000, np.float32)

    for seed in range(40):
        band = choose_band(genre, np.random.default_rng(seed))
        music = play(band, note, lambda key: note(-1, key), tonic=seed % 12, scale=(0, 2, 3, 5, 7, 9, 10), slot=SLOT,
                     seconds=3.0, rate=8000)  # fmt: skip
        assert len(music) == 24_000
        assert np.abs(music).max() > 0
    assert {(program, sampled_pitch(pitch)) for program, pitch in asked if program >= 0} <= set(tuned_notes())
    assert all(abs(pitch - sampled_pitch(pitch)) <= 1 for _, pitch in asked)
    assert {key for program, key in asked if program < 0} <= set(drum_keys())


@pytest.mark.parametrize("semitones", [-1, 0, 1])
def test_notes_between_sampled_ones_are_played_faster_or_slower(semitones):
    rate, hertz = 16_000, 220.0
    tone = np.sin(2 * np.pi * hertz * np.arange(rate) / rate).astype(np.float32)
    moved = shifted(tone, semitones)[2000:10_192]
    found = np.abs(np.fft.rfft(moved * np.hanning(len(moved)), 1 << 17)).argmax() * rate / (1 << 17)
    assert 1200 * np.log2(found / hertz) == pytest.approx(100 * semitones, abs=3)
