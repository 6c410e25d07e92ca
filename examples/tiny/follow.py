"""`python -m examples.tiny.follow`: are words sung once, and in order, where the linear guess of their place is wrong?

Flows in: the folder of a run, with its `songs` and `test-songs`, and a repository. Flows out: a Markdown table, and in
the run's folder `follow.json`. Lyrics of several densities are sung by the linear guess and with `follow_lyrics`, and
judged twice: by the alignment head over the final codes, and by a listener that knows nothing of the model.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from examples.tiny import clips as made
from examples.tiny.classifiers import slot_features
from examples.tiny.evaluate import TEMPERATURES
from examples.tiny.metrics import classes_of
from examples.tiny.parts import Networks, open_recordings, open_repository
from jukebox_hf.model.alignment.alignment import evidence_of, join_windows, window_attention
from jukebox_hf.model.inputs.labels import LevelLabels
from jukebox_hf.model.inputs.lyric_windows import SongTiming
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.songs.lyric_following import LyricFollower
from jukebox_hf.model.songs.song import sample_song
from jukebox_hf.model.songs.song_plan import ComputeOptions, plan_song, told_song_samples
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.windows import Window

DENSITIES = (0.5, 1.0, 1.5, 2.0)  # characters, over as many as the model learnt for a song of that length
_TRAINING_SONGS, _UNSEEN_SONGS = 400, 240
_LEAST_ROWS = 4  # 32 ms: a glance at a word is not singing it
_MATCHED = 0.75  # of a word's letters

Row = dict[str, Any]


@torch.no_grad()
def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny.follow", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the folder of the run")
    parser.add_argument("--model", type=Path, default=Path("src/jukebox_hf/tiny"), help="the repository to measure")
    parser.add_argument("--songs", type=int, default=12, help="songs of each density, and each way")
    parser.add_argument("--seconds", type=float, default=24.0, help="length of a song")
    parser.add_argument("--density", type=float, nargs="+", default=DENSITIES, help="characters, over those that fit")
    said = parser.parse_args(words)
    networks = open_repository(said.model)
    hop, rate = networks.vqvae.config.hop_lengths[-1], networks.vqvae.config.sampling_rate
    samples = networks.priors[networks.top].config.window_samples
    train = open_recordings(said.run / "songs", _TRAINING_SONGS, hop)
    unseen = open_recordings(said.run / "test-songs", _UNSEEN_SONGS, hop).sung()
    with torch.enable_grad():
        listeners = made.train_listeners(
            made.through(networks, made.cut_clips(train, rate, samples), networks.top), rate
        )
    path = said.run / "follow.json"
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for density in said.density:
        texts = lyrics_of(unseen, said.songs, density, said.seconds)
        for follows in (False, True):
            key = {"density": density, "follows": follows, "songs": said.songs, "seconds": said.seconds}
            if any(key.items() <= row.items() for row in rows):
                continue
            row = key | measure(networks, listeners, texts, said.seconds, follows)
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    rows.sort(key=lambda row: (row["density"], row["follows"]))
    print(as_markdown(rows))
    return 0


def lyrics_of(unseen: Any, count: int, density: float, seconds: float) -> list[tuple[str, str, str]]:
    """Artist, genre and words of songs: whole words of unseen songs, one song behind the other."""
    wanted, texts = round(density * seconds / made.SLOT), [song.lyrics.strip() for song in unseen.songs]
    found = []
    for number in range(count):
        text = " ".join((texts * 4)[(number + turn * count) % len(texts)] for turn in range(wanted // 32 + 2))
        text = " ".join(text.split())[: wanted + 1]
        song = unseen.songs[number]
        found.append((song.artist, song.genre, text[: text.rindex(" ")]))
    return found


def measure(
    networks: Networks, listeners: made.Listeners, texts: Sequence[tuple[str, str, str]], seconds: float, follows: bool
) -> Row:
    """What both judges say of songs of these words."""
    prior, tokenizer, rate = networks.priors[networks.top], networks.tokenizers[networks.top], listeners.rate
    config, model = prior.config, networks.whole()
    plan = plan_song(
        model.config,
        round(seconds * rate),
        levels=[networks.top],
        settings=SamplingSettings(TEMPERATURES[networks.top]),
        follow_lyrics=follows,
    )
    timing = SongTiming(plan.samples, 0, config.window_samples, told_song_samples(config, plan.samples))
    labels = [
        LevelLabels(
            config,
            tokenizer.artist_id(artist, networks.top),
            tokenizer.genre_ids(genre, networks.top),
            tokenizer.encode_lyrics(text, networks.top),
            timing,
        )
        for artist, genre, text in texts
    ]
    state = SongState.empty(networks.top + 1, range(len(labels)))
    of_level: list[list[LevelLabels]] = [[] for _ in range(networks.top)]
    for progress in sample_song(model, plan, [*of_level, labels], state, ComputeOptions(len(labels))):
        state = progress.state
    codes, windows = state.codes[networks.top], plan.levels[0].windows
    judged = [
        visits_of_words(attention_as_written(prior, own, told, windows, follows), told.lyrics.cleaned)
        for own, told in zip(codes, labels, strict=True)
    ]
    audio = networks.vqvae.decode(torch.stack(list(codes)), networks.top).audio_values[:, 0]
    heard = listeners.letters.log_probabilities(slot_features(audio, rate, made.SLOT)).argmax(dim=-1)
    right = [words_heard(one, text) for one, (_, _, text) in zip(heard, texts, strict=True)]
    wrong = [words_heard(one, texts[place - 1][2]) for place, one in enumerate(heard)]
    once, visited, repeated, skipped, number = np.sum(judged, axis=0)
    return {
        "once": once / number,
        "visited": visited / number,
        "repeated": repeated / number,
        "skipped": skipped / number,
        "heard": sum(map(sum, right)) / sum(map(len, right)),
        "heard_of_another": sum(map(sum, wrong)) / sum(map(len, wrong)),
        "room": min(1.0, seconds / made.SLOT / np.mean([len(text) for _, _, text in texts])),
    }


def attention_as_written(
    prior: JukeboxPrior, codes: Tensor, labels: LevelLabels, windows: Sequence[Window], follows: bool
) -> np.ndarray:
    """Attention (T, C) of each code in the window that wrote it, with the words that this window was shown."""
    config, follower = prior.config, LyricFollower(prior, windows, [labels]) if follows else None
    found, columns = {}, {}
    for window in windows:
        told = labels if follower is None else follower.labels(0, codes, window)
        own = window_attention(prior, codes, told, window, {config.alignment_layer: [config.alignment_head]})
        found[window.start] = own[config.alignment_layer][0]
        columns[window.start] = told.window_characters(window.start * config.hop_length)
    return join_windows(found, columns, len(codes), len(labels.lyrics.ids))


def visits_of_words(attention: np.ndarray, text: str) -> tuple[int, int, int, int, int]:
    """How many words are sung exactly once and in order, at all, more than once, left out before a later one; and all.

    A visit is a stretch of codes that look at one word, at half of its characters or more.
    """
    evidence = evidence_of(attention)
    peaks = np.where(evidence.max(axis=1) > 2 / 64, evidence.argmax(axis=1), -1)
    word_of = np.full(len(text), -1)
    words, place = text.split(" "), 0
    for number, word in enumerate(words):
        word_of[place : place + len(word)] = number
        place += len(word) + 1
    visits: list[tuple[int, set[int], int]] = []  # word, characters, codes
    for character in peaks[peaks >= 0]:
        word = int(word_of[character])
        if word < 0:
            continue
        if visits and visits[-1][0] == word:
            visits[-1] = (word, visits[-1][1] | {int(character)}, visits[-1][2] + 1)
        else:
            visits.append((word, {int(character)}, 1))
    # A glance elsewhere does not part one visit into two.
    merged: list[tuple[int, set[int], int]] = []
    for word, characters, rows in visits:
        if rows < _LEAST_ROWS:
            continue
        if merged and merged[-1][0] == word:
            merged[-1] = (word, merged[-1][1] | characters, merged[-1][2] + rows)
        else:
            merged.append((word, characters, rows))
    order = [word for word, characters, _ in merged if 2 * len(characters) >= len(words[word])]
    counts = np.bincount(np.array(order, dtype=int), minlength=len(words))
    in_order = set(longest_increasing([word for word in order if counts[word] == 1]))
    furthest = max(order, default=-1)
    skipped = int((counts[: furthest + 1] == 0).sum())
    return len(in_order), int((counts > 0).sum()), int((counts > 1).sum()), skipped, len(words)


def longest_increasing(numbers: Sequence[int]) -> list[int]:
    """The longest subsequence that grows."""
    best: list[list[int]] = []
    for number in numbers:
        longest = max((own for own in best if own[-1] < number), key=len, default=[])
        best.append([*longest, number])
    return max(best, key=len, default=[])


def words_heard(slots: Tensor, text: str) -> list[bool]:
    """Which words are heard, in order: three quarters of their letters in the best alignment of all sounds with all
    letters (Needleman and Wunsch 1970: 1 for the same, -1 for another, for none and for one too many).

    Args:
        slots: (N,) the class of each slot.
        text: the words.
    """
    sounds, letters = slots.numpy(), classes_of(text)
    score = np.zeros((len(sounds) + 1, len(letters) + 1))
    score[0], score[:, 0] = -np.arange(len(letters) + 1), -np.arange(len(sounds) + 1)
    same = sounds[:, None] == letters[None]
    for row in range(1, len(sounds) + 1):
        for column in range(1, len(letters) + 1):
            diagonal = score[row - 1, column - 1] + (1 if same[row - 1, column - 1] else -1)
            score[row, column] = max(diagonal, score[row - 1, column] - 1, score[row, column - 1] - 1)
    matched, row, column = np.zeros(len(letters), bool), len(sounds), len(letters)
    while row and column:
        is_same = same[row - 1, column - 1]
        if score[row, column] == score[row - 1, column - 1] + (1 if is_same else -1):
            row, column = row - 1, column - 1
            matched[column] = is_same
        elif score[row, column] == score[row - 1, column] - 1:
            row -= 1
        else:
            column -= 1
    place, found = 0, []
    for word in text.split(" "):
        found.append(bool(matched[place : place + len(word)].mean() >= _MATCHED))
        place += len(word) + 1
    return found


def as_markdown(rows: Sequence[Row]) -> str:
    """The table of the page."""
    lines = [
        "| characters, over those that fit | windows chosen by | once, in order | at all | more than once | left out "
        "| heard, in order | another song's words heard |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        names = ("once", "visited", "repeated", "skipped", "heard", "heard_of_another")
        shares = " | ".join(f"{100 * row[name]:.1f}" for name in names)
        lines.append(f"| {row['density']:g} | {'what was sung' if row['follows'] else 'the linear guess'} | {shares} |")
    return "\n".join([*lines, "", f"Percent of all words; {rows[0]['songs']} songs in each row."])


if __name__ == "__main__":
    sys.exit(main())
