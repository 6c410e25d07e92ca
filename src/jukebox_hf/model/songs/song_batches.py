"""Batches of songs: tensors become labels, a plan and a first state per song length.

Flows in: what `JukeboxProcessor` gives (`song_inputs`). Flows out: `SongBatch`s, checked to their end before the first
code.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..checks.seeds import later_seed, seeds_from
from ..checks.validation import MAX_SONG_SECONDS, check_level, require
from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from ..inputs.labels import LevelLabels
from ..inputs.lyric_characters import LyricEncoding, new_line_id
from ..inputs.lyric_times import ROUNDED_SECONDS
from ..inputs.lyric_windows import SongTiming
from ..inputs.song_inputs import NOT_SAID, SONG_INPUTS, read_mix, read_songs
from ..networks.modeling_jukebox_vqvae import JukeboxVQVAE
from .code_listeners import LogitsHook
from .contrasts import guided_plan
from .generation_arguments import GenerateArguments
from .label_changes import warn_of_late_changes
from .lyric_following import check_followed
from .song import SongBatch, check_batch
from .song_codes import Codes, read_codes, state_of
from .song_plan import plan_song, told_song_samples
from .song_state import SongState

MOST_SONGS_OF_CALL = 10_000  # of one call


def take_batches(
    config: JukeboxConfig,
    vqvae: JukeboxVQVAE,
    inputs: Mapping[str, Any],
    arguments: GenerateArguments,
    codes: Codes | None,
    hook: LogitsHook | None = None,
) -> tuple[SongBatch, ...]:
    """Make batches of songs, one for each length of song among them.

    Args:
        config: of the model.
        vqvae: encodes prompts.
        inputs: see `song_inputs`; what is missing is not said.
        arguments: for all songs.
        codes: known already, in any form that `read_codes` takes.
        hook: will be called before every draw.

    Raises:
        ValueError: tensors, lengths or codes that cannot be sampled to their end.
    """
    codes = read_codes(codes, config.vqvae_config.num_levels)
    songs = read_songs(config, inputs, batch_size(inputs, codes))
    levels = _written_levels(config, arguments)
    state = _first_state(config, vqvae, songs, arguments, codes, levels)
    rows: dict[int, list[int]] = {}
    for song in range(state.num_songs):
        rows.setdefault(_samples(config, songs, arguments, state, levels, song), []).append(song)
    if not isinstance(codes, SongState):  # whoever goes on from one goes on as it was begun
        for samples, own in rows.items():
            _check_songs_hold(config, songs, own, samples)
    batches = tuple(_batch(config, songs, arguments, state, samples, own) for samples, own in rows.items())
    for batch in batches:
        check_batch(config, batch, hook)
    warn_of_late_changes(batches)
    warn_of_other_lengths(labels for batch in batches for level in batch.labels for labels in level)
    return batches


# --- the batch --------------------------------------------------------------------------------------------------------


def copied(
    config: JukeboxConfig, inputs: Mapping[str, Any], codes: Codes | None, copies: int, *, are_takes: bool = False
) -> tuple[dict[str, Any], Codes | None]:
    """Repeat every song `copies` times, one behind the other; the seeds of copies count on behind those of all songs.

    Those of takes count on from the song's own, so that takes do not depend on which songs are written beside it.

    Raises:
        ValueError: codes of a state, which has one seed per song.
    """
    codes = read_codes(codes, config.vqvae_config.num_levels)
    require(batch_size(inputs, codes) > 0, "the inputs hold no song; give at least one")
    if copies == 1:
        return dict(inputs), codes
    require(
        not isinstance(codes, SongState),
        f"{copies} songs of each (num_return_sequences, takes) and a SongState exclude each other, since a state has "
        f"the seeds of its songs; give its codes by level",
    )
    batch = batch_size(inputs, codes)
    require(
        batch * copies <= MOST_SONGS_OF_CALL,
        f"{copies} of each (num_return_sequences, takes) of {batch} songs are more than the "
        f"{MOST_SONGS_OF_CALL:,} that a call may write; call several times, each with its own seed",
    )
    rows = {name: value.repeat_interleave(copies, 0) for name, value in inputs.items() if isinstance(value, Tensor)}
    seeds = rows.get("seeds", torch.full((batch * copies,), NOT_SAID, dtype=torch.int64, device="cpu"))
    further = (1 if are_takes else batch) * torch.arange(copies, device=seeds.device).repeat(batch)
    rows["seeds"] = torch.where(seeds == NOT_SAID, seeds, later_seed(seeds, further))
    known = {
        level: tensor.repeat_interleave(copies, 0) if isinstance(tensor, Tensor) else tensor
        for level, tensor in (codes or {}).items()
    }
    return {**inputs, **rows}, known or None


def batch_size(given: Mapping[str, Any], codes: Codes | None) -> int:
    """How many songs tensors of a batch, or codes, are of; 1 where nothing says it.

    Raises:
        ValueError: the state of another number of songs than the inputs are of.
    """
    if isinstance(codes, SongState):
        tensors = [value for name in SONG_INPUTS if isinstance(value := given.get(name), Tensor) and value.dim()]
        rows = len(tensors[0]) if tensors else codes.num_songs
        require(
            rows == codes.num_songs,
            f"codes is the state of another number of songs ({codes.num_songs}) than the inputs ({rows}); give the "
            f"inputs of the same songs, in their order",
        )
        return rows
    tensors = [
        value for value in (*given.values(), *(codes or {}).values()) if isinstance(value, Tensor) and value.dim()
    ]
    return len(tensors[0]) if tensors else 1


# --- one batch --------------------------------------------------------------------------------------------------------


def _batch(
    config: JukeboxConfig,
    songs: Mapping[str, Tensor],
    arguments: GenerateArguments,
    state: SongState,
    samples: int,
    rows: list[int],
) -> SongBatch:
    plan = plan_song(
        config,
        samples,
        levels=arguments.levels,
        hop_fractions=arguments.hop_fractions,
        parallel_windows=arguments.parallel_windows,
        recall=_recall(arguments.recall, config.sampling_rate),
        follow_lyrics=arguments.follow_lyrics,
        settings=arguments.settings,
    )
    for level_plan in plan.levels:
        known = max(len(state.codes[level_plan.level][song]) for song in rows)
        require(
            known <= level_plan.total,
            f"{_seconds(config, known, level_plan.level):.4g} s of level {level_plan.level} are known already, but "
            f"only {plan.samples / config.sampling_rate:.4g} s of audio are asked for; ask for more seconds or shorten "
            f"the prompt or codes",
        )
    for song in rows:
        _check_lyrics_begin(config, songs, song, plan.samples)
    labels = tuple(
        tuple(level_labels(prior, songs, song, song_samples(config, songs, song, plan.samples)) for song in rows)
        for prior in config.prior_configs
    )
    for level_plan in plan.levels:
        for song, own in zip(rows, labels[level_plan.level], strict=True) if level_plan.follows_lyrics else ():
            check_followed(own, song)
    _warn_of_long_lyrics(labels)
    own = SongState(
        tuple(tuple(level[song] for song in rows) for level in state.codes),
        tuple(state.seeds[song] for song in rows),
        state.notes,
    )
    return SongBatch(tuple(rows), guided_plan(plan, labels, arguments.settings), labels, own)


def _recall(seconds: Sequence[float | None] | None, rate: int) -> tuple[int, int, int | None] | None:
    if seconds is None:
        return None
    start, stop, begin = seconds
    return round(start * rate), round(stop * rate), None if begin is None else round(begin * rate)


def _check_songs_hold(config: JukeboxConfig, songs: Mapping[str, Tensor], rows: Sequence[int], samples: int) -> None:
    """The audio is a part of its song, to the code."""
    rate = config.sampling_rate
    for song in rows:
        said, begin = int(songs["song_samples"][song]), int(songs["offset_samples"][song])
        require(
            said == NOT_SAID or begin + samples < said + max(config.vqvae_config.hop_lengths),
            f"song_seconds={said / rate:g} ends before its audio, which goes from {begin / rate:g} to "
            f"{(begin + samples) / rate:.4g} s of the song; ask for fewer seconds, or say a longer song_seconds",
        )


def _check_lyrics_begin(config: JukeboxConfig, songs: Mapping[str, Tensor], song: int, samples: int) -> None:
    """Lyrics that begin behind the audio are never sung, unless the song is said to go on behind it.

    Raises:
        ValueError: that, or a beginning without lyrics.
    """
    begin, rate = int(songs["lyrics_from_samples"][song]), config.sampling_rate
    if begin <= 0:
        return
    require(
        begin < samples or int(songs["song_samples"][song]) != NOT_SAID,
        f"lyrics_from={begin / rate:g} leaves no time for lyrics: the audio ends after {samples / rate:g} s; let them "
        f"begin before, or give song_seconds if the song goes on behind it",
    )
    require(
        int(songs["lyric_lengths"][song]) > 0,
        f"lyrics_from={begin / rate:g} says where lyrics begin, but there are none; give lyrics, or leave it out",
    )


def _warn_of_long_lyrics(labels: Sequence[Sequence[LevelLabels]]) -> None:
    """Priors that learnt to read whole lyrics, filled up behind, have never moved along denser ones."""
    for song in (song for level in labels for song in level if song.config.lyric_filler is not None):
        timing, most, characters = song.timing, song.config.lyric_length, len(song.lyrics.ids)
        if timing.is_longer_than_told:
            most = most * timing.total_samples // timing.told_samples
        if characters > most:
            warnings.warn(
                f"the lyrics have {characters} characters, but this model learnt songs of at most "
                f"{song.config.lyric_length}{f', which is {most} for one as long' * timing.is_longer_than_told}; it "
                f"will sing them badly, so shorten them",
                stacklevel=2,
            )
            return


def warn_of_other_lengths(songs: Iterable[LevelLabels]) -> None:
    """Say once that a prior is told another length than a song has."""
    for song in songs:
        if (told := song.timing.told_samples) is None:
            continue
        config, is_longer = song.config, song.timing.is_longer_than_told
        how = (
            "a longer one begins and ends as those do, and the model takes all between for the middle of a song"
            if is_longer
            else "a shorter one is hurried through"
        )
        warnings.warn(
            f"this model learnt songs of {config.min_song_seconds:g} to under {config.max_song_seconds:g} s: {how} "
            f"(it is told of one of {told / config.sampling_rate:.4g} s)",
            stacklevel=2,
        )
        return


def level_labels(prior: JukeboxPriorConfig, songs: Mapping[str, Tensor], song: int, song_samples: int) -> LevelLabels:
    """The labels of one song of a batch as the prior of one level reads them."""
    count = int(songs["lyric_lengths"][song])
    ids = songs["lyric_ids"][song].tolist()
    ids = tuple(ids[len(ids) - count :])
    if prior.lyrics != "none":
        _check_ids("lyric_ids", ids, 0, prior.lyric_vocab_size)
    artist, genres, mixes = 0, (), {}
    if prior.has_labels:
        artist = int(songs["artist_ids"][song, prior.level])
        genres = [genre for genre in songs["genre_ids"][song, prior.level].tolist() if genre != -1]
        _check_ids("artist_ids", (artist,), 0, prior.num_artists)
        _check_ids("genre_ids", genres, 0, prior.num_genres)
        sizes = {"artist_mix": prior.num_artists, "genre_mix": prior.num_genres}
        mixes = {name: read_mix(name, songs[name][song, prior.level], size) for name, size in sizes.items()}
    told, offset = told_song_samples(prior, song_samples), int(songs["offset_samples"][song])
    lyrics_from = int(songs["lyrics_from_samples"][song])
    lyrics_from = lyrics_from + offset if lyrics_from > 0 else 0  # 0: as if not said
    timing = SongTiming(song_samples, offset, prior.window_samples, told, lyrics_from)
    require(
        lyrics_from < song_samples,
        f"lyrics_from={(lyrics_from - offset) / prior.sampling_rate:g} leaves no time for lyrics: the song ends after "
        f"{(song_samples - offset) / prior.sampling_rate:g} s; let them begin before",
    )
    labels = LevelLabels.of(prior, artist, genres, LyricEncoding("", "", ids, ()), timing, said="a row of genre_ids")
    return replace(labels, **mixes, lyric_starts=_starts(prior, songs["lyric_starts"][song], ids, song_samples))


def _starts(prior: JukeboxPriorConfig, starts: Tensor, ids: Sequence[int], song_samples: int) -> tuple[float, ...]:
    """When each character of a song begins; () where nobody says it, or the prior reads no lyrics.

    Raises:
        ValueError: characters that would be sung after the song.
    """
    starts = starts[len(starts) - len(ids) :].tolist()
    if not starts or starts[0] < 0 or prior.lyrics == "none":
        return ()
    seconds = song_samples / prior.sampling_rate
    late = next((place for place, second in enumerate(starts) if second > seconds + ROUNDED_SECONDS), None)
    if late is not None:
        line = 1 + ids[:late].count(new_line_id(prior.lyric_vocab_size))
        raise ValueError(
            f"lyric_times go on to {starts[-1]:.4g} s, but the song ends after {seconds:.4g} s, before line {line} of "
            f"the sung ones is over; ask for more seconds, say song_seconds, or correct the times"
        )
    return tuple(starts)


def _check_ids(name: str, ids: Sequence[int], low: int, size: int) -> None:
    wrong = next((number for number in ids if not low <= number < size), None)
    require(
        wrong is None,
        f"{name} holds {wrong}, but this model knows {low} to {size - 1}; use the processor that belongs to it",
    )


# --- lengths ----------------------------------------------------------------------------------------------------------


def _written_levels(config: JukeboxConfig, arguments: GenerateArguments) -> list[int]:
    """Coarsest first; `plan_song` checks them."""
    wanted = arguments.levels or range(len(config.prior_configs))
    for level in wanted:
        check_level("levels", level, len(config.prior_configs))
    return sorted(set(wanted), reverse=True)


def _samples(
    config: JukeboxConfig,
    songs: Mapping[str, Tensor],
    arguments: GenerateArguments,
    state: SongState,
    levels: Sequence[int],
    song: int,
) -> int:
    """How long a song's audio is to be: as said for all, or for this song, or as its upper codes are, or the default.

    Always whole codes of the coarsest level, so that songs that come out equally long are written together.
    """
    hops, rate = config.vqvae_config.hop_lengths, config.sampling_rate
    coarsest, top = hops[len(config.prior_configs) - 1], levels[0]
    known = len(state.codes[top][song]) * hops[top]
    if arguments.seconds is not None:
        samples = round(arguments.seconds * rate)
    elif arguments.new_codes is not None:
        samples = known + arguments.new_codes * coarsest
    elif int(songs["wanted_samples"][song]) != NOT_SAID:
        samples = int(songs["wanted_samples"][song])
    elif config.prior_configs[top].upper_strides:
        samples = len(state.codes[top + 1][song]) * hops[top + 1]
    else:
        samples = known + arguments.default_codes * coarsest
    whole = samples // coarsest * coarsest
    require(
        whole > 0,
        f"{samples} samples of audio are asked for, less than one code of the coarsest level ({coarsest} samples, "
        f"{coarsest / rate:.3g} s); ask for more seconds, or give the codes of the level above",
    )
    require(
        whole <= MAX_SONG_SECONDS * rate,
        f"{whole / rate:g} s of audio are asked for; ask for at most {MAX_SONG_SECONDS}",
    )
    return whole


def song_samples(config: JukeboxConfig, songs: Mapping[str, Tensor], song: int, samples: int) -> int:
    """The length of the whole song; if not said, the shortest the top prior was trained on that holds the audio."""
    said = int(songs["song_samples"][song])
    if said != NOT_SAID:
        return said
    timed = [prior for prior in config.prior_configs if prior.has_timing]
    shortest = max((math.ceil(prior.min_song_seconds * prior.sampling_rate) for prior in timed), default=0)
    return max(samples + int(songs["offset_samples"][song]), shortest)


def _seconds(config: JukeboxConfig, num_codes: int, level: int) -> float:
    return num_codes * config.vqvae_config.hop_lengths[level] / config.sampling_rate


# --- what is known before the first step ------------------------------------------------------------------------------


def _first_state(
    config: JukeboxConfig,
    vqvae: JukeboxVQVAE,
    songs: Mapping[str, Tensor],
    arguments: GenerateArguments,
    codes: Codes | None,
    levels: Sequence[int],
) -> SongState:
    num_songs = len(songs["seeds"])
    seeds = None if arguments.seed is None else seeds_from(arguments.seed, num_songs)
    if isinstance(codes, SongState):
        state = SongState(codes.codes, codes.seeds if seeds is None else tuple(seeds), codes.notes)
    else:
        state = state_of(config, codes, song_seeds(songs) if seeds is None else seeds)
        given = [level for level, known in enumerate(state.codes) if any(map(len, known))]
        require(
            not given or not {*levels, levels[0] + 1}.isdisjoint(given),
            f"codes of level {given[:1]} are given, but levels={sorted(levels, reverse=True)} neither go on from them "
            f"nor are written from them; leave them out, or say other levels",
        )
    state.check(config)
    for song in range(num_songs):
        length = int(songs["prompt_lengths"][song])
        if length:
            require(
                not any(len(state.codes[level][song]) for level in levels),
                "codes and prompt both say how a song begins; give one of them",
            )
            state = _with_prompt(config, vqvae, state, song, songs["prompt_values"][song, -length:], levels)
    return state


def _with_prompt(
    config: JukeboxConfig, vqvae: JukeboxVQVAE, state: SongState, song: int, prompt: Tensor, levels: Sequence[int]
) -> SongState:
    """Encode a prompt at every level that will be written; alone, so that its codes do not depend on the batch."""
    hop = config.vqvae_config.hop_lengths[len(config.prior_configs) - 1]
    whole = len(prompt) // hop * hop
    require(whole > 0, f"the prompt has {len(prompt)} samples, fewer than the {hop} of one code; give a longer one")
    audio = prompt[None, None, :whole].float().to(vqvae.device)
    wanted = sorted(levels)
    for level, encoded in zip(wanted, vqvae.encode(audio, levels=wanted).audio_codes, strict=True):
        state = state.with_codes(level, song, encoded[0])
    return state


def song_seeds(songs: Mapping[str, Tensor]) -> list[int]:
    """As said song by song; else drawn by torch, so that `transformers.set_seed` decides them."""
    drawn = (
        torch.randint(2**31, (len(songs["seeds"]),), device="cpu").tolist()
        if bool((songs["seeds"] == NOT_SAID).any())
        else []
    )
    return [drawn[song] if seed == NOT_SAID else seed for song, seed in enumerate(songs["seeds"].tolist())]
