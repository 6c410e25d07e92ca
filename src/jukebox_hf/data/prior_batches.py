"""Prior batches: the words beside windows become the tensors that `JukeboxPrior.forward` takes.

Flows in: windows with labels, of sound or of codes. Flows out: `artist_ids`, `genre_ids`, `timing`, `lyric_ids`. The
lyrics of a window are those around its middle: by the original's rule, which spreads them evenly over the song
(SPEC 6.4), or, as when a song is written, by the times at which they are sung, where these are known. A song that is
longer or shorter than those of the prior is told as it will be when such a song is written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jukebox_hf.data.songs import Song, Songs
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.labels import LevelLabels, SongDescription, check_genre_count, window_inputs
from jukebox_hf.model.inputs.lyric_windows import first_lyric_span
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.songs.song_plan import told_song_samples

# How a plain Trainer keeps the columns that no argument of the network is called after.
KEEP_COLUMNS = "with transformers' own TrainingArguments, pass remove_unused_columns=False, or they are taken away"
_SHOWN_NAMES = 3
_COLUMNS_OF_WORDS = ("total_samples", "artist", "genre", "lyrics", "offset_samples")


def prior_inputs(
    windows: Sequence[Mapping[str, Any]],
    tokenizer: JukeboxTokenizer,
    config: JukeboxPriorConfig,
    *,
    timed: bool = False,
) -> dict[str, Tensor]:
    """Label a batch of windows.

    Args:
        windows: with `artist`, `genre`, `lyrics`, `offset_samples`, `total_samples` and, if `timed`, `lyric_times`.
        tokenizer, config: of the prior.
        timed: choose a window's lyrics by the times at which they are sung; songs without times follow the rule.

    Returns:
        Those of `artist_ids` (B,), `genre_ids` (B, G), `timing` (B, 3), `lyric_ids` (B, N) that the prior takes, int64.

    Raises:
        ValueError: windows without words, more genres than the prior takes, or lyrics that cannot be romanised.
    """
    songs, rows = [], []
    for window in windows:
        missing = next((name for name in _COLUMNS_OF_WORDS if name not in window), None)
        require(
            missing is None,
            f"windows have {', '.join(sorted(window)) or 'no column'}, but no {missing!r}; open the songs with their "
            f"words; {KEEP_COLUMNS}",
        )
        song = SongDescription(
            total_samples=window["total_samples"],
            artist=window["artist"],
            genre=window["genre"],
            lyrics=window["lyrics"],
            offset_samples=window["offset_samples"],
        )
        labels = told_labels(tokenizer, song, config)
        songs.append(labels)
        if config.lyrics != "none":
            times = window.get("lyric_times") if timed else None
            rows.append(_lyric_row(labels, times))
    inputs = window_inputs(songs)
    if config.lyrics != "none":
        inputs["lyric_ids"] = torch.from_numpy(np.stack(rows))
    return inputs


def told_labels(tokenizer: JukeboxTokenizer, song: SongDescription, config: JukeboxPriorConfig) -> LevelLabels:
    """The labels of a song of any length: its timing is clamped to the songs that the prior knows, as in sampling."""
    labels = tokenizer.labels(song, config)
    told = told_song_samples(config, song.total_samples)
    return replace(labels, timing=replace(labels.timing, told_samples=told))


def check_vocabulary(songs: Songs, tokenizer: JukeboxTokenizer, config: JukeboxPriorConfig) -> None:
    """Refuse songs whose artists or genres the prior's lists do not hold: they would become "unknown".

    Raises:
        ValueError: unlisted names, too many genres, or lyrics that cannot be romanised.
    """
    songs.check_labels()
    check_names([songs[index] for index in range(len(songs))], tokenizer, config)


def check_names(songs: Sequence[Song], tokenizer: JukeboxTokenizer, config: JukeboxPriorConfig) -> None:
    """The same of songs in memory; errors as `check_vocabulary`."""
    artists: dict[str, int] = {}
    genres: dict[str, int] = {}
    for song in songs:
        artists[song.artist] = artists.get(song.artist, 0) + 1
        genres[song.genre] = genres.get(song.genre, 0) + 1
    words = tokenizer.vocabularies[tokenizer.label_versions[config.level]]
    if config.has_labels:
        _refuse("artist", artists, lambda name: words.find_artist(name) is None, words.version)
        _refuse("genre", genres, lambda name: any(found is None for _, found in words.find_genres(name)), words.version)
        for name in genres:
            said = f"genre={name!r} in {words.version}"
            check_genre_count(len(words.find_genres(name)), config.max_genres, config.level, said)


def _refuse(kind: str, counts: Mapping[str, int], is_unlisted: Callable[[str], bool], version: str) -> None:
    total = sum(counts.values())
    missing = [name for name in counts if name not in ("", "unknown") and is_unlisted(name)]
    songs = sum(counts[name] for name in missing)
    of_songs = f" of {songs} of the {total} songs" if total > 1 else ""
    listed = ", ".join(map(repr, missing[:_SHOWN_NAMES])) + (
        f" and {len(missing) - _SHOWN_NAMES} more" * (len(missing) > _SHOWN_NAMES)
    )
    require(
        not missing,
        f"{kind}={listed}{of_songs} is not listed in {version}; rename them, write 'unknown', or "
        f"make a tokenizer with your own lists",
    )


def _lyric_row(labels: LevelLabels, times: Sequence[tuple[float, float]] | None) -> np.ndarray:
    """The characters of one window (N,)."""
    config, lyrics = labels.config, labels.lyrics
    if times is None or not lyrics.ids:
        return labels.lyric_ids(
            first_lyric_span(len(lyrics.ids), config.lyric_length, labels.timing, config.lyric_filler is not None)
        )
    timed = replace(labels, lyric_starts=tuple(times[offset][0] for offset in lyrics.offsets))
    return timed.lyric_ids(timed.window_characters())
