"""When the lyrics of a finished song are sung, where its model knows: for its picture, its side-car, its subtitles.

Flows in: an alignment, or codes and words. Flows out: `TimedLyrics`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jukebox_hf.app.runs.song_request import SONG_WORDS_OF_REQUESTS, SongRequest
from jukebox_hf.app.runs.song_values import by_level
from jukebox_hf.model.alignment.alignment import SongAlignment
from jukebox_hf.model.alignment.alignment_times import CharacterTimes, TimedLyrics, time_lyrics
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState


def timed(found: SongAlignment, text: str, processor: JukeboxProcessor) -> TimedLyrics:
    """The times of a song's characters as lines and words of the text as typed."""
    offsets = processor.encode_lyrics(text).offsets
    times = CharacterTimes(offsets, found.starts, found.ends, found.confidences, found.is_seen, found.is_read)
    return time_lyrics(text, times, found.seconds)


def read_as_written(request: SongRequest, level: int) -> dict[str, Any]:
    """How the windows of a song read its words while it was written, by the names of `JukeboxModel.align`."""
    fraction = by_level("hop_fraction", request.hop_fraction, float)
    fraction = fraction.get(level) if isinstance(fraction, Mapping) else fraction
    return {"follow_lyrics": request.follow_lyrics, "hop_fraction": fraction}


def sung_lyrics(
    requests: Sequence[SongRequest],
    state: SongState,
    model: JukeboxModel,
    processor: JukeboxProcessor,
    say: Callable[[str], None],
) -> list[TimedLyrics | None]:
    """The lyrics of each song in time; None without lyrics, without their codes, or where no head is known to follow.

    Where they cannot be timed, as in too little memory, that is said and they are left out: the song itself is whole.
    The prior that reads lyrics is loaded once more, after the last level, and let go again.
    """
    level = processor.lyric_level
    nothing = [None] * len(requests)
    if level is None or model.config.prior_configs[level].alignment_layer is None:
        return nothing
    return [
        _of_one_if_possible(request, song, state, model, processor, say)
        if request.lyrics.strip() and len(state.codes[level][song])
        else None
        for song, request in enumerate(requests)
    ]


def _of_one_if_possible(
    request: SongRequest,
    song: int,
    state: SongState,
    model: JukeboxModel,
    processor: JukeboxProcessor,
    say: Callable[[str], None],
) -> TimedLyrics | None:
    try:
        return _of_one(request, song, state, model, processor)
    except Exception as error:  # whatever it is, hours of sampling lie behind this song
        reason = " ".join(str(error).split()) or type(error).__name__
        say(f"jukebox-hf: the song is whole, but its lyrics were not timed ({reason})")
        return None


def _of_one(
    request: SongRequest, song: int, state: SongState, model: JukeboxModel, processor: JukeboxProcessor
) -> TimedLyrics:
    own = SongState(tuple((songs[song],) for songs in state.codes), (request.seed,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what there is to say of the words was said before the first step
        inputs = processor({name: getattr(request, name) for name in SONG_WORDS_OF_REQUESTS})
        (found,) = model.align(inputs, own, **read_as_written(request, processor.lyric_level))
    return timed(found, request.lyrics, processor)
