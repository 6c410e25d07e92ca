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


def told_less(song: LevelLabels, hidden: Collection[str]) -> LevelLabels:
    """A song's labels without what is hidden, of "labels" and "lyrics": as if nobody had said it, in the same time."""
    if "labels" in hidden and song.config.has_labels:
        genres = (0, *[-1] * (len(song.genre_ids) - 1)) if song.genre_ids else ()
        song = replace(song, artist_id=0, genre_ids=genres, artist_mix=(), genre_mix=())
    return replace(song, lyrics=LyricEncoding("", "", (), ()), lyric_starts=()) if "lyrics" in hidden else song


def guided_plan(
    plan: SamplingPlan, labels: Sequence[Sequence[LevelLabels]], asked: Mapping[int, SamplingSettings]
) -> SamplingPlan:
    """The plan with guidance at the levels where one of its songs is told what can be hidden.

    Args:
        labels: per level, finest first, of every song; of levels that are not written, too.
        asked: by level, as it was asked for.

    Raises:
        ValueError: a song that is told nothing that could be hidden, at any level.
    """
    guided = {level: settings for level, settings in asked.items() if settings.contrasts}
    if not guided:
        return plan
    said = max(guided.values(), key=lambda settings: settings.rows)
    scales = ", ".join(f"{name}={getattr(said, name)}" for name in _GUIDES if getattr(said, name) != 1)
    for song in range(len(labels[0])):
        told = {level: what_is_told(labels[level][song]) for level in guided}
        require(
            said.lyrics_guidance == 1 or any(has_lyrics for _, has_lyrics in told.values()),
            f"lyrics_guidance={said.lyrics_guidance} listens harder to lyrics, but song {song} has none; give some, or "
            f"leave it out",
        )
        require(
            any(settings.contrasting(*told[level]).contrasts for level, settings in guided.items()),
            f"{scales} on {said.guidance_on} compares a song with one that is told less, but song {song} is told "
            f"nothing that could be hidden there; say an artist, a genre or lyrics, or set the scale to 1",
        )
    levels = []
    for level in plan.levels:
        told = [what_is_told(song) for song in labels[level.level]]
        has_labels, has_lyrics = (any(parts) for parts in zip(*told, strict=True))
        levels.append(replace(level, settings=level.settings.contrasting(has_labels, has_lyrics)))
    return replace(plan, levels=tuple(levels))


def check_guidance(config: JukeboxConfig, settings: Mapping[int, SamplingSettings], said: Mapping[str, Any]) -> None:
    """Refuse guidance that no prior could follow, or not that of a level that it was asked for.

    Args:
        settings: by level, as asked.
        said: what was said, by name; a dictionary is by level, a number for the levels that can.

    Raises:
        ValueError: in one sentence.
    """
    possible = {
        level: settings[level].contrasting(prior.has_labels, prior.lyrics != "none")
        for level, prior in enumerate(config.prior_configs)
    }
    for name in _GUIDES:
        value, is_by_level = said.get(name), isinstance(said.get(name), Mapping)
        wanted = [level for level, own in settings.items() if getattr(own, name) != 1]
        lost = [level for level in wanted if getattr(possible[level], name) == 1]
        by = "lyrics" if name == "lyrics_guidance" else settings[0].guidance_on
        by = "labels and lyrics" if by == "both" else by
        require(
            not (is_by_level and lost),
            f"{name}={value!r} asks for guidance by {by} at level {lost[:1]}, whose prior knows none; leave that level "
            f"out",
        )
        require(
            not wanted or wanted != lost,
            f"{name}={value!r} is guidance by {by}, but no prior of this model knows any; leave it out",
        )
    require(
        said.get("guidance_on") is None or any(own.contrasts for own in settings.values()),
        f"guidance_on={said.get('guidance_on')!r}, but guidance_scale and lyrics_guidance are 1, so nothing is guided; "
        f"say one of them too, or leave it out",
    )


def what_is_told(song: LevelLabels) -> tuple[bool, bool]:
    """Whether a song is told an artist or a genre, and lyrics, that its prior reads."""
    ids = (song.artist_id, *song.genre_ids, *(part.id for part in (*song.artist_mix, *song.genre_mix)))
    return song.config.has_labels and any(number > 0 for number in ids), song.config.lyrics != "none" and len(
        song.lyrics.ids
    ) > 0
