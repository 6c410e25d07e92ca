"""From requests to planned songs: the words of each song become a plan, labels and a first state, all checked at once.

Flows in: requests and an open model. Flows out: `PlannedSongs`, none of which can fail for what a user said. Nothing is
sampled and nothing is written.
"""

import contextlib
import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from jukebox_hf.app.label_names import open_lists
from jukebox_hf.app.output import sentence_of
from jukebox_hf.app.progress import warnings_said_after
from jukebox_hf.app.repository_facts import stored_dtype
from jukebox_hf.app.runs.closed_model import ClosedModel
from jukebox_hf.app.runs.device_choice import NO_MODEL, Group, the_device, unusable
from jukebox_hf.app.runs.model_fingerprint import check_vqvae, check_vqvae_sizes
from jukebox_hf.app.runs.requests import DEFAULT_SECONDS, check_recording, replaced_source
from jukebox_hf.app.runs.song_folder import load_codes
from jukebox_hf.app.runs.song_request import SONG_WORDS_OF_REQUESTS, SongRequest, drawing_arguments
from jukebox_hf.app.runs.song_values import level_list
from jukebox_hf.data.recordings import heard_now
from jukebox_hf.model.checkpoints.quantization import int8_config
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.takes_wanted import TakesWanted, read_takes
from jukebox_hf.model.checks.validation import check_level, is_integer, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.model.inputs.label_files import NO_LISTS
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.inputs.song_inputs import AUTO
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.generation_arguments import default_generation_config, read_generate_arguments
from jukebox_hf.model.songs.lyric_writing import lyrics_for
from jukebox_hf.model.songs.song import SongBatch
from jukebox_hf.model.songs.song_batches import take_batches
from jukebox_hf.model.songs.song_plan import ComputeOptions, SamplingPlan
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.stereo import check_stereo
from jukebox_hf.model.takes.repaint import Repaint, read_repaints, snap
from jukebox_hf.model.takes.takes import check_takes

TORCH_DTYPES = {
    "keep": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": None,
}
_GIVEN, _GIVEN_CODES = "given_samples", "given_codes"


@dataclass(frozen=True)
class PlannedSongs:
    """Songs that are written together.

    Attributes:
        requests: one per song.
        batch: what is sampled; the notes of its state say how many samples of each song were given, by a prompt or by
            codes.
        compute: how it is computed.
        group: songs of one group are written together, and with no others; None: with any that have the same plan.
        repaint: the stretch that is to be sung again; None for a song that is written to its end.
    """

    requests: tuple[SongRequest, ...]
    batch: SongBatch
    compute: ComputeOptions
    group: str | None = None
    repaint: Repaint | None = None

    @property
    def taking(self) -> TakesWanted | None:
        """How many takes of the top level these songs are chosen from; None: of no others."""
        return None if self.repaint is not None else read_takes(vars(self.requests[0]))

    @property
    def given_samples(self) -> list[int]:
        """How much of each song was there before its first step."""
        return _read_given(self.batch.state.notes, self.batch.state.num_songs)[0]

    def given_codes(self, level: int) -> list[int]:
        """How many codes of a level each song had before its first step."""
        given, codes = _read_given(self.batch.state.notes, self.batch.state.num_songs)
        if codes is not None:
            return codes[level]
        hop = self.batch.labels[level][0].config.hop_length
        pairs = zip(self.batch.state.codes[level], given, strict=True)
        return [min(len(own), samples // hop) for own, samples in pairs]


def read_song_dtype(dtype: str | None) -> str:
    """The dtype that is meant; None is as stored.

    Raises:
        ValueError: a word that is none, or int8 where torchao is missing.
    """
    dtype = dtype or "keep"
    require(dtype in TORCH_DTYPES, f"--dtype {dtype} is none of {', '.join(TORCH_DTYPES)}; choose one")
    if dtype == "int8":
        int8_config()
    return dtype


def open_model(name: str, *, revision: str | None = None, dtype: str | None = None, device: str = "auto") -> Any:
    """Open a repository quietly; priors are loaded when their level comes.

    Raises:
        ValueError, OSError: no model named or found, a dtype that its int8 matrices cannot take or that torchao is
            missing for, or a device that is not here.
    """
    require(bool(name), NO_MODEL)
    dtype = read_song_dtype(dtype)
    resolved = the_device(device)
    transformers.utils.logging.disable_progress_bar()
    stored = stored_dtype(name, revision=revision)
    require(
        stored != "int8" or dtype in ("keep", "int8"),
        f"--dtype {dtype} is not possible: the matrices of {name} are int8 already; leave --dtype out, or name the "
        f"model it was made from",
    )
    quantization = int8_config() if "int8" in (stored, dtype) else None  # refuses where torchao is missing
    model = JukeboxModel.from_pretrained(
        located(name),
        dtype=TORCH_DTYPES[dtype],
        revision=revision,
        quantization_config=None if stored == "int8" else quantization,
    )
    try:
        return model.to(resolved)
    except (RuntimeError, AssertionError) as error:
        raise unusable(device, error) from None


def open_processor(config: JukeboxConfig, name: str, revision: str | None = None) -> JukeboxProcessor:
    """The processor of a model, made from its configuration and the lists of its repository.

    Raises:
        ValueError, OSError: a repository without lists of artists and genres, or with damaged ones.
    """
    try:
        tokenizer = JukeboxTokenizer.from_pretrained(located(name), revision=revision)
    except (OSError, ValueError) as error:
        if str(error) != NO_LISTS and _has_lists(name, revision):
            raise
        raise ValueError(f"{name} has no lists of artists and genres; convert it again with --labels") from None
    return JukeboxProcessor.from_config(config, tokenizer)


def _has_lists(name: str, revision: str | None) -> bool:
    """Whether a repository has lists, be they damaged."""
    try:
        open_lists(name, revision)
    except (OSError, ValueError) as error:
        return str(error) != NO_LISTS
    return True


def take(
    requests: Sequence[SongRequest],
    model: JukeboxModel | ClosedModel,
    processor: JukeboxProcessor,
    *,
    names: Sequence[str] = (),
    begun: SongState | None = None,
    backend: str = "auto",
    jacobi: Any = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[PlannedSongs]:
    """Plan the song of each request; what the tokenizer warns of is said once, as one line.

    Args:
        model: open, or closed: then nothing tells how prompts sound and whether codes are its own.
        names: by which a refusal calls each song; "" or none where only one can be meant.
        begun: what an interrupted run has saved of these songs; then prompts and codes are not read again.
        backend, jacobi: as in `JukeboxModel.generate`.

    Raises:
        ValueError: what cannot be sampled to its end.
    """
    said: set[str] = set()
    all_planned = []
    for song, request in enumerate(requests):
        own = None if begun is None else replace(begun.only(song), notes=_notes_of(begun.notes, song))
        with _naming(names, song), warnings_said_after(say, said):
            all_planned.append(_take_one(request, model, processor, own, {"backend": backend, "jacobi": jacobi}))
    return all_planned


def with_sound(
    all_planned: Sequence[PlannedSongs],
    requests: Sequence[SongRequest],
    model: JukeboxModel,
    processor: JukeboxProcessor,
    *,
    names: Sequence[str] = (),
    backend: str = "auto",
    jacobi: Any = None,
) -> list[PlannedSongs]:
    """Plans that a closed model made, each song planned again whose prompt or codes only an open one knows.

    Raises:
        ValueError: as `take`.
    """
    unheard = [song for song, one in enumerate(requests) if one.prompt is not None or one.codes is not None]
    own = [names[song] for song in unheard] if names else ()
    heard = take([requests[song] for song in unheard], model, processor, names=own, backend=backend, jacobi=jacobi)
    by_song = dict(zip(unheard, heard, strict=True))
    return [by_song.get(song, planned) for song, planned in enumerate(all_planned)]


def check_requests(requests: Sequence[SongRequest], config: JukeboxConfig, names: Sequence[str] = ()) -> None:
    """Refuse what recordings, codes and the configuration alone can tell, before a model is opened.

    Raises:
        ValueError: in one sentence.
    """
    own = default_generation_config(config)
    for song, request in enumerate(requests):
        with _naming(names, song):
            read_takes(vars(request))
            if request.prompt is not None:
                check_recording(request.prompt)
            # Whether there is a scale that it goes with, the model's own generation_config.json may say.
            said = drawing_arguments(request) | {"guidance_on": None}
            for level in read_generate_arguments(config, own, None, said).levels or ():
                check_level("levels", level, len(config.prior_configs))
            if request.codes is not None:
                _check_codes(request, config)


def noted(planned: PlannedSongs, notes: Mapping[str, str]) -> PlannedSongs:
    """The same with more said in the notes of the first state."""
    state = replace(planned.batch.state, notes={**planned.batch.state.notes, **notes})
    return replace(planned, batch=replace(planned.batch, state=state))


@contextlib.contextmanager
def _naming(names: Sequence[str], song: int) -> Iterator[None]:
    """Inside, a refusal names the song."""
    try:
        yield
    except (ValueError, OSError) as error:
        if not names or not names[song]:
            raise
        raise ValueError(f"{names[song]}: {sentence_of(error)}") from None


def together(
    all_planned: Sequence[PlannedSongs], names: Sequence[Any], batch: int
) -> list[tuple[PlannedSongs, list[Any]]]:
    """Put up to `batch` songs with the same plan together; `names` go along."""
    groups: dict[tuple[SamplingPlan, str | int | None], list[int]] = {}
    for index, planned in enumerate(all_planned):
        group = index if planned.group is None and planned.taking else planned.group  # the best of its own takes
        groups.setdefault((planned.batch.plan, group), []).append(index)
    joined = []
    for (_, group), indices in groups.items():
        size = batch if group is None else len(indices)
        for start in range(0, len(indices), size):
            chosen = indices[start : start + size]
            joined.append((_joined([all_planned[index] for index in chosen]), [names[index] for index in chosen]))
    return joined


def only(planned: PlannedSongs, song: int) -> PlannedSongs:
    """One of the songs alone."""
    own = planned.batch
    labels = tuple((songs[song],) for songs in own.labels)
    state = replace(own.state.only(song), notes=_notes_of(own.state.notes, song))
    return replace(planned, requests=(planned.requests[song],), batch=SongBatch((0,), own.plan, labels, state))


def some(planned: PlannedSongs, songs: Sequence[int]) -> PlannedSongs:
    """Some of the songs."""
    is_all = len(songs) == len(planned.requests)
    return planned if is_all else _joined([only(planned, song) for song in songs])


def with_rows(planned: PlannedSongs, rows: int) -> PlannedSongs:
    """The same with at most so many windows, of different songs or side by side, at once."""
    return replace(planned, compute=replace(planned.compute, batch=rows))


def group_of(planned: PlannedSongs) -> Group:
    """How many songs, and windows of each level, are written at once."""
    songs, batch, windows = len(planned.requests), planned.compute.batch, {}
    top = planned.batch.plan.levels[0]
    for plan in planned.batch.plan.levels:
        count = (
            max(planned.requests[0].takes, songs) if plan is top else songs * max(map(len, plan.rounds(songs, batch)))
        )
        windows[plan.level] = min(count, plan.at_once(batch) or count)
    return Group(songs, windows, {plan.level: plan.settings.rows for plan in planned.batch.plan.levels})


def _take_one(
    request: SongRequest,
    model: JukeboxModel | ClosedModel,
    processor: JukeboxProcessor,
    begun: SongState | None,
    computing: Mapping[str, Any],
) -> PlannedSongs:
    config, arguments = model.config, drawing_arguments(request) | computing
    state, prompt = begun, None
    if begun is None:
        prompt, request = _prompt(request, config.sampling_rate), replace(request, prompt_sha256=_digest_now(request))
        if request.codes is not None:
            if isinstance(model, JukeboxModel):
                check_vqvae(load_codes(Path(request.codes)), model, Path(request.codes))
            state = _known_codes(request, config)
        if request.kind == "upsample":
            arguments["levels"], state = _refined_levels(arguments["levels"], state, config)
            request = replace(request, levels=",".join(map(str, arguments["levels"])))
    if request.seconds is None and request.kind in ("generate", "continue"):
        request = replace(request, seconds=default_seconds(config) + _seconds_to_go_on_from(request, state, config))
    words = {name: getattr(request, name) for name in (*SONG_WORDS_OF_REQUESTS, "seed")}
    inputs = processor(words, seconds=request.seconds, prompt=prompt)
    said = read_generate_arguments(config, model.generation_config, None, arguments)
    if request.kind == "repaint":
        said = replace(said, seed=request.seed)
        stretch = (request.from_second, request.to_second)
        (repaint,) = read_repaints(config, model.vqvae, inputs, said, state, stretch, request.takes)
        return _take_repaint(request, repaint, said.compute, begun)
    (batch,) = take_batches(config, model.vqvae, inputs, said, state)
    if said.stereo:
        check_stereo(config, [plan.level for plan in batch.plan.levels])
    if begun is None and (taking := read_takes(vars(request))) is not None:
        check_takes(config, [batch], taking)
    hops = config.vqvae_config.hop_lengths
    known = max(len(batch.state.codes[plan.level][0]) * hops[plan.level] for plan in batch.plan.levels)
    notes = _given([known], [[len(songs[0])] for songs in batch.state.codes]) if begun is None else begun.notes
    seeds = (request.seed,) if begun is None else begun.seeds  # of takes, that of the best
    return PlannedSongs((request,), replace(batch, state=SongState(batch.state.codes, seeds, notes)), said.compute)


def _take_repaint(
    request: SongRequest, repaint: Repaint, compute: ComputeOptions, begun: SongState | None
) -> PlannedSongs:
    """A song of which a stretch is to be sung again, as it is, or as far as an interrupted run came."""
    own = repaint.of_row(0, repaint.batch.state).batch
    codes = own.state.codes
    spans = [repaint.spans.get(level) for level in range(len(codes))]
    kept = [[len(songs[0]) - (span.length if span else 0)] for songs, span in zip(codes, spans, strict=True)]
    state = replace(own.state, notes=_given([0], kept)) if begun is None else begun
    return PlannedSongs((request,), replace(own, state=state), compute, repaint=repaint)


def _given(samples: list[int], codes: list[list[int]] | None) -> dict[str, str]:
    """Notes of what songs had before their first step: samples, and codes by level and song."""
    return {_GIVEN: json.dumps(samples)} | ({} if codes is None else {_GIVEN_CODES: json.dumps(codes)})


def _notes_of(notes: Mapping[str, str], song: int) -> dict[str, str]:
    """The notes of one of the songs that are written together; errors as in `_read_given`."""
    samples, codes = _read_given(notes, song + 1)
    return {**notes, **_given([samples[song]], None if codes is None else [[counts[song]] for counts in codes])}


def check_given(state: SongState, where: Path) -> None:
    """Refuse a state that is not of unfinished songs, such as the codes of a whole one; errors as in `_read_given`."""
    _read_given(state.notes, state.num_songs, where)


def _read_given(
    notes: Mapping[str, str], num_songs: int, where: object = "the state"
) -> tuple[list[int], list[list[int]] | None]:
    """How many samples each song had, and how many codes by level and song; older versions noted samples alone.

    Raises:
        ValueError: notes that do not say it of every song.
    """
    told = f"what {where} says in its notes {_GIVEN!r} and {_GIVEN_CODES!r}"
    cure = "put the state that was saved beside these songs back, or begin them anew"
    require(_GIVEN in notes, f"{where} is not the state of these unfinished songs; {cure}")
    samples = parse_json(notes[_GIVEN], told, list, cure=cure)
    codes = parse_json(notes[_GIVEN_CODES], told, list, cure=cure) if _GIVEN_CODES in notes else None
    require(
        all(
            isinstance(counts, list) and len(counts) >= num_songs and all(map(_is_count, counts[:num_songs]))
            for counts in (samples, *(codes or ()))
        ),
        f"{told} does not tell how much of its songs was given; {cure}",
    )
    return samples[:num_songs], codes


def _is_count(value: object) -> bool:
    return is_integer(value) and value >= 0


def _prompt(request: SongRequest, sampling_rate: int) -> tuple[Any, int] | None:
    if request.prompt is None:
        require(request.prompt_seconds is None, "--prompt-seconds needs a --prompt to cut; name a recording")
        return None
    samples = read_audio(request.prompt, sampling_rate)
    if request.prompt_seconds is not None:
        wanted = round(request.prompt_seconds * sampling_rate)
        if wanted - len(samples) > sampling_rate // 100:  # a decoder may leave out a few
            warnings.warn(
                f"--prompt-seconds {request.prompt_seconds:g} is more than the {len(samples) / sampling_rate:.2f} s of "
                f"{request.prompt}: all of it is heard",
                stacklevel=2,
            )
        samples = samples[:wanted]
    return samples, sampling_rate


def is_prompt_changed(request: SongRequest, songs: Iterable[Path]) -> bool:
    """Whether the prompt's file is another than that which a song was begun with; older versions did not note it.

    Args:
        songs: files of the same run, which may have taken the prompt's place.
    """
    now, begun = _digest_now(request), request.prompt_sha256
    return None not in (now, begun) and now != begun and not replaced_source(request, songs)


def _digest_now(request: SongRequest) -> str | None:
    """None: no prompt, or none any more."""
    return None if request.prompt is None else heard_now(Path(request.prompt)).get("sha256")


def with_words(request: SongRequest, model: JukeboxModel, processor: JukeboxProcessor) -> SongRequest:
    """A song whose lyrics the model is to write, with as many words as it has time for.

    Raises:
        ValueError: a song that goes on from another, or a model that never learnt to write.
    """
    require(
        request.kind == "generate",
        f"--lyrics {AUTO} writes the words of a new song, but {request.kind} goes on with one; give the words",
    )
    seconds = request.song_seconds or request.seconds or default_seconds(model.config)
    said = {name: getattr(request, name) for name in ("artist", "genre", "seed")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names, which are said once the song is planned
        inputs = processor(said)
    text = lyrics_for(model, processor, inputs, seconds - (request.lyrics_from or 0.0))
    require(text != "", f"the model wrote no words for seed {request.seed}; give another --seed, or the words")
    return replace(request, lyrics=text, lyrics_written=True)


def default_seconds(config: JukeboxConfig) -> float:
    """As long as a song is by default, or as long as all songs were that a prior of shorter ones has learnt."""
    timed = [prior for prior in config.prior_configs if prior.has_timing]
    return next(
        (prior.min_song_seconds for prior in timed if prior.max_song_seconds <= DEFAULT_SECONDS), DEFAULT_SECONDS
    )


def _seconds_to_go_on_from(request: SongRequest, state: SongState | None, config: JukeboxConfig) -> float:
    """How long the song is that `continue` makes longer."""
    if request.kind != "continue" or state is None:
        return 0.0
    hops = config.vqvae_config.hop_lengths
    samples = max(len(songs[0]) * hop for songs, hop in zip(state.codes, hops, strict=True))
    return samples / config.sampling_rate


def _check_codes(request: SongRequest, config: JukeboxConfig) -> None:
    """Refuse codes that cannot be kept, refined or gone on from as a request says."""
    state = _known_codes(request, config)
    if request.kind == "upsample":
        _refined_levels(level_list(request.levels), state, config)
        return
    if request.kind == "repaint":
        require(
            request.from_second is not None and request.to_second is not None,
            "a stretch has two ends; say where it begins and ends, such as --from 4.2 --to 6.8",
        )
        snap(config, len(state.codes[len(config.prior_configs) - 1][0]), request.from_second, request.to_second)
        return
    hop, known = config.vqvae_config.hop_lengths[len(state.codes) - 1], len(state.codes[-1][0])
    wanted = math.inf if request.seconds is None else request.seconds * config.sampling_rate
    require(
        known * hop < wanted + hop,
        f"--seconds {request.seconds or 0:g} is shorter than the {known * hop / config.sampling_rate:.4g} s of "
        f"{request.codes} that are kept; ask for more, or keep less with --keep",
    )


def _known_codes(request: SongRequest, config: JukeboxConfig) -> SongState:
    """The codes to go on from, cut to what is kept, under this request's seed."""
    state = load_codes(Path(request.codes))
    require(state.num_songs == 1, f"{request.codes} holds {state.num_songs} songs; give the codes of one")
    is_begun = any(len(songs[0]) for songs in state.codes)  # as no run is that was stopped before its first code
    require(is_begun, f"{request.codes} holds no codes; give the codes of a song, or begin one with generate")
    state.check(config)
    check_vqvae_sizes(state, config, Path(request.codes))
    if request.keep_seconds is not None:
        hops = config.vqvae_config.hop_lengths
        top = hops[len(config.prior_configs) - 1]
        samples = round(request.keep_seconds * config.sampling_rate) // top * top
        require(samples > 0, f"--keep {request.keep_seconds:g} is shorter than one code; keep more, or use generate")
        known = max(len(songs[0]) * hop for songs, hop in zip(state.codes, hops, strict=True))
        require(
            samples <= known,
            f"--keep {request.keep_seconds:g} is more than the {known / config.sampling_rate:g} s that "
            f"{request.codes} holds; keep less, or leave it out",
        )
        state = replace(
            state,
            codes=tuple(
                tuple(codes[: samples // hop] for codes in songs) for songs, hop in zip(state.codes, hops, strict=True)
            ),
        )
    return replace(state, seeds=(request.seed,), notes={})


def _refined_levels(levels: list[int] | None, state: SongState, config: JukeboxConfig) -> tuple[list[int], SongState]:
    """Which levels `upsample` writes, and the state without what it writes anew."""
    top = len(config.prior_configs) - 1
    finer = f", or --levels {','.join(map(str, reversed(range(top))))}" * (top > 0)
    require(
        top not in (levels or ()),
        f"--levels {','.join(map(str, levels or ()))}: {top} is the top level, which nothing stands above; use generate"
        f"{finer}",
    )
    there = [level for level, songs in enumerate(state.codes) if len(songs[0])]
    if levels is None:
        levels = list(range(min(there)))[::-1]
        require(
            len(levels) > 0,
            "the codes are there down to the finest level already; name the --levels to write anew, such as 1,0",
        )
    require(
        max(levels, default=0) + 1 in there,
        f"--levels {','.join(map(str, levels))} needs the codes of level {max(levels, default=0) + 1}, which the file "
        f"does not hold; it holds {', '.join(map(str, there))}",
    )
    empty = torch.zeros(0, dtype=torch.long, device="cpu")
    codes = tuple((empty,) if level in levels else songs for level, songs in enumerate(state.codes))
    return levels, replace(state, codes=codes)


def _joined(all_planned: Sequence[PlannedSongs]) -> PlannedSongs:
    """Several with the same plan as one."""
    batches = [planned.batch for planned in all_planned]
    labels = zip(*(batch.labels for batch in batches), strict=True)
    codes = zip(*(batch.state.codes for batch in batches), strict=True)
    requests = tuple(request for planned in all_planned for request in planned.requests)
    state = SongState(
        tuple(tuple(itertools.chain(*songs)) for songs in codes),
        tuple(seed for batch in batches for seed in batch.state.seeds),
        {**batches[0].state.notes, **_joined_given(all_planned)},
    )
    songs, joined = tuple(range(len(requests))), tuple(tuple(itertools.chain(*songs)) for songs in labels)
    return replace(all_planned[0], requests=requests, batch=SongBatch(songs, batches[0].plan, joined, state))


def _joined_given(all_planned: Sequence[PlannedSongs]) -> dict[str, str]:
    samples = [samples for planned in all_planned for samples in planned.given_samples]
    if any(_GIVEN_CODES not in planned.batch.state.notes for planned in all_planned):
        return _given(samples, None)
    codes = zip(*(json.loads(planned.batch.state.notes[_GIVEN_CODES]) for planned in all_planned), strict=True)
    return _given(samples, [list(itertools.chain(*songs)) for songs in codes])
