"""Scores of songs: how well codes fit what was asked for, by the prior that wrote them.

Flows in: a prior, codes, labels. Flows out: bits that the right words save, and how far and how orderly the lyrics are
followed. No listener is asked, so a score needs nothing beside the model; what scores are worth is in
docs/how-to/takes-and-repaint.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..alignment.alignment import SongAlignment, align_song, evidence_of
from ..alignment.batch_alignment import labelled_codes
from ..checks.validation import check_level
from ..inputs.labels import LevelLabels
from ..inputs.lyric_characters import blank_ids
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..songs.contrasts import told_less
from ..songs.likelihood import code_bits
from ..songs.song import Priors
from ..songs.song_codes import Codes
from ..songs.song_plan import UPSAMPLER_HOP_FRACTION, level_windows
from ..songs.windows import Window


@dataclass(frozen=True)
class SongScore:
    """What a prior says of a song at its level.

    Attributes:
        level: of the codes; 0 is the finest.
        codes: how many were scored.
        own: bits per code under the song's own labels.
        unknown: the same under unknown artist and genre; None for a prior without labels.
        without_lyrics: the same under its artist and genre, without words; None for a song or a prior without any.
        words: how many words the windows read; None where no attention head is known to follow them, or without words.
        words_reached: of them, those that attention shows over half of.
        order: share of pairs of reached words that attention visits in their order; 1.0 for under two.
        confidence: of the characters that were read, the mean of the attention that follows them, over chance.
    """

    level: int
    codes: int
    own: float
    unknown: float | None = None
    without_lyrics: float | None = None
    words: int | None = None
    words_reached: int | None = None
    order: float | None = None
    confidence: float | None = None

    @property
    def self_score(self) -> float:
        """Bits per code that the right artist and genre save."""
        return 0.0 if self.unknown is None else self.unknown - self.own

    @property
    def lyric_score(self) -> float:
        """Share of the words that were reached, times the share that is in order; 0 where nobody knows."""
        return self.words_reached / self.words * self.order if self.words else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded to what is sure; what nobody knows is left out."""
        told = asdict(self) | {"self_score": self.self_score, "lyric_score": self.lyric_score if self.words else None}
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in told.items()}
        return {name: value for name, value in rounded.items() if value is not None}


def score_songs(model: Priors, inputs: Mapping[str, Any], codes: Codes, level: int | None = None) -> list[SongScore]:
    """Score songs whose codes are known, generated or encoded from recordings.

    Args:
        model: lends the prior of the level; no other is asked for.
        inputs: as for `JukeboxModel.generate`; only words and times in the song count.
        codes: of at least the level, for an upsampler also of the level above, as `generate` takes them.
        level: whose prior is asked; None for the top.

    Raises:
        ValueError: inputs, codes or times that do not fit, in one sentence.
    """
    level = len(model.config.prior_configs) - 1 if level is None else level
    check_level("level", level, len(model.config.prior_configs))
    songs = labelled_codes(model.config, inputs, codes, level)
    prior = model.lend(level)
    try:
        return [score_song(prior, own, labels, upper_codes=upper) for own, labels, upper in songs]
    finally:
        del prior
        model.take_back(level)


def score_song(
    prior: JukeboxPrior,
    codes: Tensor,
    labels: LevelLabels,
    *,
    upper_codes: Tensor | None = None,
    windows: Sequence[Window] | None = None,
    start: int = 0,
    stop: int | None = None,
    with_words: bool = True,
) -> SongScore:
    """Score codes (T,) of a song, or those from `start` to `stop`; arguments as in `code_bits`.

    Args:
        with_words: tell what the words are worth and how they are followed, which needs attention.

    Raises:
        ValueError: no codes to score, or attention that does not fit into memory.
    """
    config = prior.config
    windows = level_windows(config, len(codes), UPSAMPLER_HOP_FRACTION) if windows is None else windows
    how = {"upper_codes": upper_codes, "windows": windows, "start": start, "stop": stop}
    bits = code_bits(prior, codes, labels, **how)
    has_words = with_words and config.lyrics != "none" and len(labels.lyrics.ids) > 0
    hidden = {
        "unknown": told_less(labels, ("labels",)) if config.has_labels else None,
        "without_lyrics": told_less(labels, ("lyrics",)) if has_words else None,
    }
    others = {
        name: float(code_bits(prior, codes, other, **how).double().mean())
        for name, other in hidden.items()
        if other is not None
    }
    followed = {}
    if has_words and config.alignment_layer is not None:
        followed = lyrics_followed(align_song(prior, codes, labels, windows=windows), labels)
    return SongScore(config.level, len(bits), float(bits.double().mean()), **others, **followed)


def lyrics_followed(found: SongAlignment, labels: LevelLabels) -> dict[str, int | float]:
    """`words`, `words_reached`, `order` and `confidence` of a `SongScore`."""
    blank = np.isin(np.array(labels.lyrics.ids), list(blank_ids(labels.config.lyric_vocab_size)))
    edges = np.flatnonzero(np.diff(np.concatenate([[True], blank, [True]])))
    words = [slice(first, last) for first, last in edges.reshape(-1, 2) if found.is_read[first:last].all()]
    reached = [word for word in words if 2 * found.is_seen[word].sum() > word.stop - word.start]
    evidence = evidence_of(found.attention)
    peaks = np.array([evidence[:, word].argmax(axis=0)[found.is_seen[word]].mean() for word in reached])
    earlier, later = np.triu_indices(len(reached), 1)
    order = float((peaks[earlier] < peaks[later]).mean()) if len(reached) > 1 else 1.0
    confidence = float(found.confidences[found.is_read].mean()) if words else 0.0
    return {"words": len(words), "words_reached": len(reached), "order": order, "confidence": confidence}
