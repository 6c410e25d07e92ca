"""Alignment of the songs of a batch: from what `JukeboxProcessor` gives, and codes, to a `SongAlignment` per song.

Flows in: a model, the tensors of song_inputs.py, codes of the level with lyrics; or songs that were just written.
Flows out: alignments, in the order of the songs. The prior is let go at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.labels import LevelLabels
from ..inputs.song_inputs import read_songs
from ..songs.lyric_following import heard_labels
from ..songs.song import Priors, SongBatch, check_timing
from ..songs.song_batches import batch_size, level_labels, song_samples, warn_of_other_lengths
from ..songs.song_codes import Codes, read_codes, state_of
from ..songs.song_plan import TOP_HOP_FRACTION, check_follows, level_windows
from ..songs.song_state import SongState
from .alignment import SongAlignment, align_song


def lyric_level(config: JukeboxConfig) -> int:
    """The coarsest level whose prior is conditioned on lyrics.

    Raises:
        ValueError: no prior does.
    """
    readers = [prior.level for prior in config.prior_configs if prior.lyrics != "none"]
    require(
        len(readers) > 0,
        "no prior of this model is conditioned on lyrics, so nothing can be aligned; use a model with lyrics",
    )
    return readers[-1]


def align_songs(
    model: Priors,
    inputs: Mapping[str, Any],
    codes: Codes,
    *,
    layer: int | None = None,
    head: int | None = None,
    follow_lyrics: bool = False,
    hop_fraction: float | None = None,
) -> list[SongAlignment]:
    """Align songs whose codes are known, generated or encoded from recordings.

    Args:
        model: lends the prior that is conditioned on lyrics; no other is asked for.
        inputs: as for `JukeboxModel.generate`; only words and times in the song count.
        codes: of at least the level with lyrics, as `generate` takes them.
        layer, head: instead of the configuration's.
        follow_lyrics: windows read what they read while such songs were written.
        hop_fraction: of the level with lyrics, as those songs were written with; None: as the original's.

    Raises:
        ValueError: inputs, codes or times that do not fit, in one sentence.
    """
    level = lyric_level(model.config)
    songs = labelled_codes(model.config, inputs, codes, level)
    prior = model.lend(level)
    try:
        if follow_lyrics:
            check_follows(prior.config)
            hop_fraction = TOP_HOP_FRACTION if hop_fraction is None else hop_fraction
        found = []
        for own, labels, _ in songs:
            windows = None if hop_fraction is None else level_windows(prior.config, len(own), hop_fraction)
            labels = heard_labels(prior, own, labels, windows) if follow_lyrics else labels
            found.append(align_song(prior, own, labels, windows=windows, layer=layer, head=head))
        return found
    finally:
        del prior
        model.take_back(level)


def labelled_codes(
    config: JukeboxConfig, inputs: Mapping[str, Any], codes: Codes, level: int
) -> list[tuple[Tensor, LevelLabels, Tensor | None]]:
    """The codes of each song at a level, with their labels and the codes above, where its prior refines these.

    Other arguments as in `align_songs`.

    Raises:
        ValueError: inputs, codes or times that do not fit, in one sentence.
    """
    prior_config, hop_length = config.prior_configs[level], config.vqvae_config.hop_lengths[level]
    words = {name: value for name, value in inputs.items() if not name.startswith("prompt")}
    codes = read_codes(codes, config.vqvae_config.num_levels)
    songs = read_songs(config, words, batch_size(words, codes))
    state = codes if isinstance(codes, SongState) else state_of(config, codes, [0] * len(songs["seeds"]))
    state.check(config)
    _check_there(level, state.codes[level])
    found = []
    for song, own in enumerate(state.codes[level]):
        upper = state.codes[level + 1][song] if prior_config.upper_strides else None
        needed = 0 if upper is None else -(-len(own) // prior_config.upper_ratio)
        require(
            needed == 0 or len(upper) >= needed,
            f"level {level} refines level {level + 1}, of which {needed} codes are needed for song {song}, but "
            f"{0 if upper is None else len(upper)} are there; give those too",
        )
        total = song_samples(config, songs, song, len(own) * hop_length)
        labels = level_labels(prior_config, songs, song, total)
        check_timing(labels, max(0, len(own) - prior_config.context_length) * hop_length)
        found.append((own, labels, upper))
    warn_of_other_lengths(labels for _, labels, _ in found)
    return found


class BatchAligner:
    """Aligns songs right after the level with lyrics is written, while its prior is still there.

    Attributes:
        found: the alignments so far, by row of the batch.

    Raises:
        ValueError: a model that cannot align, before anything is written.
    """

    def __init__(self, model: Priors, batches: Sequence[SongBatch], follow_lyrics: bool = False) -> None:
        self._model, self._batches, self._follows = model, batches, follow_lyrics
        self.level = lyric_level(model.config)
        self.found: dict[int, SongAlignment] = {}
        require(
            model.config.prior_configs[self.level].alignment_layer is not None,
            f"return_alignment=True needs alignment_layer and alignment_head of prior_configs[{self.level}], which are "
            f"None; find them with `jukebox-hf find-alignment-head`",
        )
        for batch in batches:
            if all(plan.level != self.level for plan in batch.plan.levels):
                _check_there(self.level, batch.state.codes[self.level])

    def after_level(self, level: int, states: Sequence[SongState]) -> None:
        """Align if this was the level."""
        if level == self.level:
            self._align(states)

    def finish(self, states: Sequence[SongState]) -> list[SongAlignment]:
        """All alignments in the order of the songs; where the level was given, not written, they are made now."""
        if not self.found:
            self._align(states)
            self._model.take_back(self.level)
        return [self.found[song] for song in sorted(self.found)]

    def _align(self, states: Sequence[SongState]) -> None:
        prior, hop = self._model.lend(self.level), self._model.config.vqvae_config.hop_lengths[self.level]
        for batch, state in zip(self._batches, states, strict=True):
            windows = next((plan.windows for plan in batch.plan.levels if plan.level == self.level), None)
            for index, song in enumerate(batch.songs):
                own = state.codes[self.level][index][: batch.plan.samples // hop]
                labels = batch.labels[self.level][index]
                if self._follows:
                    labels = heard_labels(prior, own, labels, windows or level_windows(prior.config, len(own)))
                self.found[song] = align_song(prior, own, labels, windows=windows)


def _check_there(level: int, known: Sequence[Any]) -> None:
    empty = [song for song, own in enumerate(known) if len(own) == 0]
    require(not empty, f"codes of level {level} are missing for song {empty[:1]}, but are what is read; give those")
