"""What the tiny model is measured by: numbers of sounds, codes and words; no network is involved.

Flows in: audio, codes, lyrics. Flows out: decibels, bits, shares, and lyrics that are wrong in a known way.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from jukebox_hf.data.synthesis.sounds import VOWELS
from jukebox_hf.model.networks.audio_losses import Resolution, spectral_convergence

RESOLUTION = Resolution(2048, 240, 1200)  # of the goals: FFT, hop and window in samples
CLASSES = (*VOWELS, "consonant", "rest")  # what one character can sound like
_CONSONANTS = "bcdfghjklmnpqrstvwxz"


def convergence_decibels(target: Tensor, prediction: Tensor) -> Tensor:
    """Spectral convergence of each song in dB (B,), of audio (B, S): 20 log10 of the ratio of norms; lower is better.

    Raises:
        ValueError: a silent song, which has no ratio.
    """
    ratio = spectral_convergence(target, prediction, RESOLUTION)
    if not bool((ratio > 0).all()):
        raise ValueError(
            "a song is silent or its reconstruction exact, so it has no spectral convergence; leave it out"
        )
    return 20 * ratio.log10()


def share_in_use(codes: Iterable[np.ndarray], size: int) -> float:
    """Share of a codebook of `size` codes that occurs at all."""
    return float((_counts(codes, size) > 0).mean())


def unigram_entropy(codes: Iterable[np.ndarray], size: int) -> float:
    """Bits per code of one who knows only how often each code comes."""
    counts = _counts(codes, size)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def replayed_share(written: Iterable[np.ndarray], known: Iterable[np.ndarray], length: int = 24) -> float:
    """Share of all runs of `length` codes that stand word for word in what is known: 1 is a copy."""
    book = {run for codes in known for run in _runs(codes, length)}
    found = [run in book for codes in written for run in _runs(codes, length)]
    return sum(found) / max(len(found), 1)


def shared_with_one_song(songs: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> np.ndarray:
    """Of each song the share of codes (N,) that stand at the same time in the known song that shares the most."""
    stacked = np.stack([np.asarray(codes, dtype=np.int16) for codes in known if len(codes) == len(songs[0])])
    return np.array([(stacked == np.asarray(codes, dtype=np.int16)).mean(axis=1).max() for codes in songs])


def nearest_distance(written: Sequence[np.ndarray], known: Sequence[np.ndarray], length: int = 64) -> float:
    """Mean share of codes that differ between a run of `length` and the likest run in what is known: 0 is a copy.

    Runs are compared place by place. Written runs follow each other without overlap; known ones begin anywhere.
    """
    songs = [np.asarray(codes) for codes in known if len(codes) >= length]
    line = np.concatenate(songs)
    is_begin = np.concatenate([np.arange(len(codes)) <= len(codes) - length for codes in songs])
    # Where every code stands, so that only places with that code are counted.
    places, most = np.argsort(line, kind="stable"), line.max()
    bounds = np.searchsorted(line, np.arange(most + 2), sorter=places)
    distances = []
    for codes in written:
        for start in range(0, len(codes) - length + 1, length):
            run = enumerate(np.asarray(codes[start : start + length]).tolist())
            begins = [places[bounds[code] : bounds[code + 1]] - turn for turn, code in run if code <= most]
            begins = np.concatenate([np.zeros(0, dtype=int), *begins])
            begins = begins[(begins >= 0) & is_begin[begins]]
            _, equal = np.unique(begins, return_counts=True)
            distances.append(1 - equal.max(initial=0) / length)
    return float(np.mean(distances))


def fit_lyrics(text: str, length: int) -> str:
    """Cut lyrics, or fill them up with blanks (rests): the tiny model reads exactly as many as it was trained on."""
    return text[:length].ljust(length)


def swap_letters(text: str) -> str:
    """The same shape of words in other letters: each vowel becomes the next vowel, each consonant the next one."""
    table = {}
    for letters in (VOWELS, _CONSONANTS):
        for letter, following in zip(letters, letters[1:] + letters[0], strict=True):
            table |= {letter: following, letter.upper(): following.upper()}
    return text.translate(str.maketrans(table))


def classes_of(lyrics: str) -> np.ndarray:
    """What each character sounds like, as an index into `CLASSES` (N,)."""
    return np.array([_class_of(character) for character in lyrics.lower()])


def is_vowel(classes: np.ndarray) -> np.ndarray:
    """Which characters are vowels (N,) bool."""
    return classes < len(VOWELS)


def in_unseen_words(lyrics: str, seen: frozenset[str]) -> np.ndarray:
    """Which characters belong to words that are not in `seen` (N,) bool."""
    marks = np.zeros(len(lyrics), dtype=bool)
    place = 0
    for word in lyrics.replace("\n", " ").split(" "):
        marks[place : place + len(word)] = bool(word) and word.lower() not in seen
        place += len(word) + 1
    return marks


def words_of(lyrics: Iterable[str]) -> frozenset[str]:
    """All words of some lyrics."""
    return frozenset(word.lower() for text in lyrics for word in text.split())


def standard_error(share: float, count: int) -> float:
    """Of a share that was counted in `count` independent cases."""
    return math.sqrt(share * (1 - share) / max(count, 1))


def reconstruct(vqvae: torch.nn.Module, audio: Tensor, level: int) -> Tensor:
    """Audio (B, S) through the codes of one level and back, (B, S)."""
    codes = vqvae.encode(audio[:, None], levels=[level]).audio_codes[0]
    return vqvae.decode(codes, level).audio_values[:, 0]


def _class_of(character: str) -> int:
    if character in VOWELS:
        return VOWELS.index(character)
    return CLASSES.index("consonant" if character in _CONSONANTS else "rest")


def _counts(codes: Iterable[np.ndarray], size: int) -> np.ndarray:
    return sum((np.bincount(each, minlength=size) for each in codes), np.zeros(size, dtype=np.int64))


def _runs(codes: np.ndarray, length: int) -> Iterable[bytes]:
    codes = np.asarray(codes, dtype=np.int32)
    return (codes[start : start + length].tobytes() for start in range(len(codes) - length + 1))
