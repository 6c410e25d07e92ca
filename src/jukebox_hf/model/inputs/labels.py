"""Labels: what conditions a prior on a song, for the whole song and for each of its windows.

Flows in: ids of artist and genres, numbered lyrics, and times in samples. Flows out: OpenAI's packed label rows, and
the arguments that `JukeboxPrior.forward` takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks.text_input import check_lyric_text, check_words
from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from .label_mixes import LabelPart, parts_at
from .lyric_characters import LyricEncoding
from .lyric_windows import SongTiming, first_lyric_span, lyric_span, placed_lyric_span, timed_lyric_span


@dataclass(frozen=True)
class SongDescription:
    """A song in words, as a person would order it.

    Args:
        total_samples: length of the whole song, even if only a part of it is to be sampled.
        artist, genre: names; "unknown" is one the models know.
        lyrics: all of the song's lyrics.
        offset_samples: where in the song the first window begins.
    """

    total_samples: int
    artist: str = "unknown"
    genre: str = "unknown"
    lyrics: str = ""
    offset_samples: int = 0

    def __post_init__(self) -> None:
        for name in ("artist", "genre"):
            check_words(name, getattr(self, name))
        check_lyric_text("lyrics", self.lyrics)
        SongTiming(self.total_samples, self.offset_samples, 0)


@dataclass(frozen=True)
class LevelLabels:
    """The labels of one song as the prior of one level takes them (SPEC of the original, 6.3 and 5.3).

    Args:
        config: of the prior that they condition.
        artist_id: 0 is "unknown".
        genre_ids: one for each of the prior's genre slots, -1 in empty ones.
        lyrics: all of the song's lyrics, numbered for this level.
        timing: the song's length, its first window's offset, and the length of this level's windows, in samples.
        artist_mix, genre_mix: artists or genres that are mixed, or follow each other; empty where one is heard, the
            one above. Label rows, which hold one, have the one above in any case.
        lyric_starts: second of the song at which each of the lyrics' characters begins, which then choose those of a
            window; empty: they are spread evenly.
        is_followed: whether these were heard while the song is written, not said; so there may be more characters than
            a song of its length has room for.
    """

    config: JukeboxPriorConfig
    artist_id: int
    genre_ids: tuple[int, ...]
    lyrics: LyricEncoding
    timing: SongTiming
    artist_mix: tuple[LabelPart, ...] = ()
    genre_mix: tuple[LabelPart, ...] = ()
    lyric_starts: tuple[float, ...] = ()
    is_followed: bool = False

    @classmethod
    def of(
        cls,
        config: JukeboxPriorConfig,
        artist_id: int,
        genre_ids: Sequence[int],
        lyrics: LyricEncoding,
        timing: SongTiming,
        *,
        said: str,
    ) -> "LevelLabels":
        """The labels of ids, of words or of tensors alike: the one road to what a prior is conditioned on.

        Args:
            genre_ids: as many as there are; empty slots are filled up.
            said: what a refusal calls the genres, such as genre='rock pop' in v2.

        Raises:
            ValueError: more genres than the prior has slots for.
        """
        slots = genre_slots(genre_ids, config.max_genres, config.level, said) if config.has_labels else ()
        return cls(config, artist_id if config.has_labels else 0, slots, lyrics, timing)

    def row(self) -> np.ndarray:
        """The packed label vector of the whole song, as OpenAI's labeller makes it.

        Returns:
            int64 (4 + G + N,): song length, offset, window length, artist, genres, characters. A prior without labels
            has no first 4 + G, one without lyrics no N.

        Raises:
            ValueError: an offset after the song's end, where that leaves a window without lyrics.
        """
        return self._packed(self.timing, self._read(self.timing, first_lyric_span))

    def window_row(self, start_sample: int = 0) -> np.ndarray:
        """The label vector of the window that begins `start_sample` after the offset, as sampling recomputes it."""
        timing = self.timing.later(start_sample)
        return self._packed(timing, self._read(timing, self._span))

    def window_characters(self, start_sample: int = 0) -> np.ndarray:
        """Which characters a window reads: (N,) indices into `lyrics.ids`, -1 for what fills short ones up."""
        return self._read(self.timing.later(start_sample), self._span)

    def _span(self, num_characters: int, length: int, timing: SongTiming, is_filled_behind: bool) -> np.ndarray:
        is_blank = np.array(self.lyrics.ids, dtype=np.int64) == self.config.lyric_filler if is_filled_behind else None
        rate, starts = self.config.sampling_rate, self.lyric_starts
        if starts and is_filled_behind:
            return placed_lyric_span(starts, length, timing, rate, is_blank, may_overflow=self.is_followed)
        if starts:
            return timed_lyric_span(starts, length, timing.middle_second(rate))
        return lyric_span(num_characters, length, timing, is_filled_behind, is_blank)

    def _read(self, timing: SongTiming, span: Callable[[int, int, SongTiming, bool], np.ndarray]) -> np.ndarray:
        if self.config.lyrics == "none":
            return np.zeros(0, dtype=np.int64)
        return span(len(self.lyrics.ids), self.config.lyric_length, timing, self.config.lyric_filler is not None)

    def _packed(self, timing: SongTiming, characters: np.ndarray) -> np.ndarray:
        head = [*_samples(timing), self.artist_id, *self.genre_ids] if self.config.has_labels else []
        return np.array([*head, *self.lyric_ids(characters)], dtype=np.int64)

    def lyric_ids(self, characters: np.ndarray) -> np.ndarray:
        """The ids of characters given as indices into `lyrics.ids`; -1 is what fills short lyrics up."""
        filler = self.config.lyric_filler or 0
        return np.array([filler, *self.lyrics.ids], dtype=np.int64)[characters + 1]


def genre_slots(genre_ids: Sequence[int], most: int, level: int, said: str) -> tuple[int, ...]:
    """The ids in a prior's genre slots, -1 in empty ones.

    Raises:
        ValueError: more genres than slots.
    """
    check_genre_count(len(genre_ids), most, level, said)
    return (*genre_ids, *[-1] * (most - len(genre_ids)))


def check_genre_count(count: int, most: int, level: int, said: str) -> None:
    """Refuse more genres than a prior has slots for.

    Raises:
        ValueError: in one sentence, which begins with what was said.
    """
    require(
        count <= most,
        f"{said}: {count} genres, but the prior of level {level} takes at most max_genres={most}; use fewer",
    )


def window_inputs(
    songs: Sequence[LevelLabels], start_sample: int = 0, style_sample: int | None = None
) -> dict[str, Tensor]:
    """The labels of a window as arguments of `JukeboxPrior.forward`, one row per song; what it cannot use is left out.

    Args:
        songs: labels of one and the same prior.
        start_sample: where the window begins, in samples after each song's offset.
        style_sample: where the style is looked up, for labels that change: the first code that the window adds; None:
            where it begins.

    Returns:
        `artist_ids` (B,), `genre_ids` (B, G), `timing` (B, 3) and `lyric_ids` (B, N), int64; where labels are mixed,
        `artist_ids` (B, A) with `artist_weights` (B, A), `genre_ids` (B, G) with `genre_weights` (B, G), float32.

    Raises:
        ValueError: no songs, or songs labelled for different priors.
    """
    require(len(songs) > 0, "songs is empty; give the labels of at least one song")
    config = songs[0].config
    require(
        all(song.config is config or song.config == config for song in songs),
        "songs were labelled for different priors; make all their labels with the same config",
    )
    inputs: dict[str, Tensor] = {}
    if config.has_labels:
        inputs["artist_ids"] = torch.tensor([song.artist_id for song in songs], device="cpu")
        inputs["genre_ids"] = torch.tensor([song.genre_ids for song in songs], device="cpu")
        at = start_sample if style_sample is None else style_sample
        if any(song.artist_mix for song in songs):
            mixes = [parts_at(song.artist_mix, at) or (LabelPart(song.artist_id, 1.0, 0),) for song in songs]
            inputs["artist_ids"], inputs["artist_weights"] = _mixed(mixes)
        if any(song.genre_mix for song in songs):
            mixes = [parts_at(song.genre_mix, at) or [LabelPart(i, 1.0, 0) for i in song.genre_ids] for song in songs]
            inputs["genre_ids"], inputs["genre_weights"] = _mixed(mixes)
    if config.has_timing:
        timings = [_samples(song.timing.later(start_sample).told()) for song in songs]
        inputs["timing"] = torch.tensor(timings, device="cpu")
    if config.lyrics != "none":
        rows = [song.lyric_ids(song.window_characters(start_sample)) for song in songs]
        inputs["lyric_ids"] = torch.from_numpy(np.stack(rows))
    return inputs


def _mixed(mixes: Sequence[Sequence[LabelPart]]) -> tuple[Tensor, Tensor]:
    """Ids (B, most), int64, -1 in empty slots, and their weights, float32."""
    ids = torch.full((len(mixes), max(map(len, mixes))), -1, dtype=torch.int64, device="cpu")
    weights = torch.zeros(ids.shape, dtype=torch.float32, device="cpu")
    for row, parts in enumerate(mixes):
        for column, part in enumerate(parts):
            ids[row, column], weights[row, column] = part.id, part.weight
    return ids, weights


def _samples(timing: SongTiming) -> tuple[int, int, int]:
    return timing.total_samples, timing.offset_samples, timing.window_samples
