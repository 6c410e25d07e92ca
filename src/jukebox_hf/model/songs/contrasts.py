"""What guided songs are compared with: the same songs, told less.

Flows in: what was asked of guidance, labels. Flows out: plans whose levels are guided by what there is to hide, and the
labels of songs of an unknown artist and genre, or without lyrics.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..checks.validation import require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..inputs.labels import LevelLabels
from ..inputs.lyric_characters import LyricEncoding
from ..sampling.sampling_ops import SamplingSettings
from .song_plan import SamplingPlan

_GUIDES = ("guidance_scale", "lyrics_guidance")
_OFF = "guidance_scale and lyrics_guidance are 1, so nothing is guided; say one of them too, or leave it out"


def told_less(song: LevelLabels, hidden: Collection[str]) -> LevelLabels:
    """A song's labels without what is hidden, of "labels" and "lyrics": as if nobody had said it, in the same time."""
    if "labels" in hidden and song.config.has_labels:
        genres = (0, *[-1] * (len(song.genre_ids) - 1)) if song.genre_ids else ()
        song = replace(song, artist_id=0, genre_ids=genres, artist_mix=(), genre_mix=())
    return replace(song, lyrics=LyricEncoding("", "", (), ())) if "lyrics" in hidden else song


def guided_plan(plan: SamplingPlan, labels: Sequence[Sequence[LevelLabels]]) -> SamplingPlan:
    """The plan with guidance at the levels where one of its songs is told what can be hidden.

    Args:
        labels: per level, finest first, of every song.

    Raises:
        ValueError: a song that is told nothing that could be hidden.
    """
    if not any(level.settings.contrasts for level in plan.levels):
        return plan
    asked = max((level.settings for level in plan.levels), key=lambda settings: settings.rows)
    scales = ", ".join(f"{name}={getattr(asked, name)}" for name in _GUIDES if getattr(asked, name) != 1)
    for song in range(len(labels[plan.levels[0].level])):
        told = [_told(labels[level.level][song]) for level in plan.levels]
        pairs = list(zip(plan.levels, told, strict=True))
        require(
            asked.lyrics_guidance == 1 or any(has_lyrics for _, has_lyrics in told),
            f"lyrics_guidance={asked.lyrics_guidance} listens harder to lyrics, but song {song} has none; give some, "
            f"or leave it out",
        )
        require(
            any(level.settings.contrasting(*parts).contrasts for level, parts in pairs),
            f"{scales} on {asked.guidance_on} compares a song with one that is told less, but song {song} is told "
            f"nothing that could be hidden there; say an artist, a genre or lyrics, or leave guidance out",
        )
    levels = []
    for level in plan.levels:
        told = [_told(song) for song in labels[level.level]]
        has_labels, has_lyrics = (any(parts) for parts in zip(*told, strict=True))
        levels.append(replace(level, settings=level.settings.contrasting(has_labels, has_lyrics)))
    return replace(plan, levels=tuple(levels))


def check_guidance(
    config: JukeboxConfig,
    settings: Mapping[int, SamplingSettings],
    asked: Mapping[str, Any],
    levels: Sequence[int] | None,
) -> None:
    """Refuse guidance that no level could follow, or a level that it was asked for.

    Args:
        settings: by level, as asked.
        asked: what was said of guidance by name; a dictionary is by level, a number for those that can.
        levels: that are written; None for all.

    Raises:
        ValueError: in one sentence.
    """
    possible = {}
    for level, prior in enumerate(config.prior_configs):
        possible[level] = settings[level].contrasting(prior.has_labels, prior.lyrics != "none")
    written = [level for level in possible if levels is None or level in levels]
    for name in _GUIDES:
        value = asked.get(name)
        is_by_level = isinstance(value, Mapping)
        wanted = [level for level, own in settings.items() if getattr(own, name) != 1]
        lost = [level for level in wanted if getattr(possible[level], name) == 1]
        by = "lyrics" if name == "lyrics_guidance" else settings[0].guidance_on
        what = {"both": "labels and lyrics"}.get(by, by)
        require(
            not (is_by_level and lost),
            f"{name}={value!r} asks for guidance by {what} at level {lost[:1]}, whose prior knows none; leave that "
            f"level out",
        )
        require(
            is_by_level or not wanted or not {*written} <= {*lost},
            f"{name}={value!r} is guidance by {what}, but no prior that writes this song knows any; leave it out",
        )
    require(
        asked.get("guidance_on") is None or any(own.contrasts for own in settings.values()),
        f"guidance_on={asked.get('guidance_on')!r}, but {_OFF}",
    )


def _told(song: LevelLabels) -> tuple[bool, bool]:
    """Whether a song is told an artist or a genre, and lyrics, that its prior reads."""
    ids = (song.artist_id, *song.genre_ids, *(part.id for part in (*song.artist_mix, *song.genre_mix)))
    return song.config.has_labels and any(number > 0 for number in ids), song.config.lyrics != "none" and len(
        song.lyrics.ids
    ) > 0
