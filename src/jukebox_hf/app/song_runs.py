"""A run of one or many songs: who is new, who is unfinished, who is done; then every new one is checked, then made.

Flows in: what was said of each song, and how to run. Flows out: side-cars, in the order of the songs.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jukebox_hf.app.accuracy import int8_accuracy
from jukebox_hf.app.estimate import estimate, in_words
from jukebox_hf.app.interruption import exits_at_once
from jukebox_hf.app.orders import group_of, open_model, open_processor, take, together, with_rows
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.requests import SongRequest, differences, new_seed, read_request
from jukebox_hf.app.run_choice import NO_MODEL, RunChoice, RunWishes, Waiting, choose_run, settle
from jukebox_hf.app.song_folder import PartialFolder, SongTarget, check_folder, plan_targets
from jukebox_hf.app.song_making import Job, begin, bytes_needed, make_songs
from jukebox_hf.data.audio_io import suffix_of
from jukebox_hf.model.embedded import TINY
from jukebox_hf.model.generation import check_stepping_here
from jukebox_hf.model.json_files import read_json
from jukebox_hf.model.sampling_ops import check_stepping
from jukebox_hf.model.validation import is_number, require


@dataclass(frozen=True, kw_only=True)
class RunOptions(RunWishes):
    """How to run, whatever the songs are.

    Attributes:
        out: a file for one song, a folder for many.
        resume, force, dry_run: go on; replace; only say what would be done.
    """

    out: str
    resume: bool = False
    force: bool = False
    dry_run: bool = False


def run_songs(given: Sequence[dict[str, Any]], options: RunOptions) -> list[dict[str, Any]]:
    """Make songs and give their side-cars; with `dry_run`, estimates.

    Args:
        given: what was said of each song, `name` included; nothing is filled in.
        options: how to run.

    Raises:
        ValueError, OSError: before the first step wherever that can be known.
    """
    require(not (options.resume and options.force), "--resume and --force exclude each other; choose one")
    require(
        options.batch_size is None or options.batch_size > 0, f"--batch-size {options.batch_size} must be 1 or more"
    )
    check_stepping(options.stepping)
    progress, is_begun = Progress(), []
    with exits_at_once(lambda: _farewell(options, len(given), bool(is_begun))):
        return _Run(given, options, progress, is_begun).results()


@dataclass
class _Song:
    """One song of this run: its target and what was said."""

    target: SongTarget
    given: dict[str, Any]


class _Run:
    """The steps of a run; holds nothing that a crash could lose."""

    def __init__(self, given: Sequence[dict[str, Any]], options: RunOptions, progress: Progress, begun: list) -> None:
        self.options, self.progress, self.is_begun = options, progress, begun
        self.songs = _targets(given, options)
        rank, world = _place_among_processes()
        self.own = self.songs[rank::world]

    def results(self) -> list[dict[str, Any]]:
        """All of it, in order."""
        unfinished, finished, new = self._sorted()
        groups = [[request for _, request in songs] for songs in unfinished.values()]
        requests = [*(request for group in groups for request in group), *(request for _, request in new)]
        if not requests:
            return list(finished.values())
        choice = self._chosen(requests, is_begun=bool(groups))
        if not groups:  # a dtype that was chosen becomes part of the request
            new = [(target, replace(request, dtype=choice.dtype)) for target, request in new]
            requests = [request for _, request in new]
        model = self._open(requests, choice)
        processor = open_processor(model, requests[0].model, requests[0].revision)
        said = {"stepping": self.options.stepping, "say": self.progress.say}
        jobs = []
        for leader, songs in unfinished.items():
            begun = PartialFolder(self._by_name(leader)).load_state()
            orders = take([request for _, request in songs], model, processor, begun=begun, **said)
            targets = [self._by_name(name) for name, _ in songs]
            jobs += [Job(order, tuple(names)) for order, names in together(orders, targets, len(orders))]
        orders = take([request for _, request in new], model, processor, **said)
        fresh = together(orders, [target for target, _ in new], choice.songs)
        fresh = [Job(order, tuple(targets)) for order, targets in fresh]
        jobs, fresh = ([Job(with_rows(job.order, choice.rows), job.targets) for job in some] for some in (jobs, fresh))
        waiting = settle(choice, [group_of(job.order) for job in (*jobs, *fresh)])
        model.offload, model.keep_loaded = waiting.offload, waiting.keep_loaded
        if not self.options.dry_run:
            self._check(fresh, model)
            self._check_stepping((*jobs, *fresh), model)
        self._say(waiting, requests[0])
        if self.options.dry_run:
            estimates = [estimate(job.order, model) for job in (*jobs, *fresh)]
            return [found | {"text": in_words(found)} for found in estimates]
        for job in fresh:
            begin(job)
            self.is_begun.append(True)
        self.is_begun.append(True)
        made = dict(finished)
        for job in (*jobs, *fresh):
            sidecars = make_songs(job, model, processor, self.progress)
            made |= {target.name: sidecar for target, sidecar in zip(job.targets, sidecars, strict=True)}
        return [made[song.target.name] for song in self.songs if song.target.name in made]

    def _sorted(self) -> tuple[dict[str, list], dict[str, dict], list[tuple[SongTarget, SongRequest]]]:
        """Which songs of this process are unfinished (by leader), finished, and new."""
        unfinished, finished, new = {}, {}, []
        groups = self._recorded_groups() if self.options.resume else {}
        led = {name for leader, songs in groups.items() for name, _ in songs if name != leader}
        base = new_seed()
        for place, song in enumerate(self.songs):
            if song not in self.own:
                continue
            name = song.target.name
            if name in groups:
                self._check_same(song, dict(groups[name])[name])
                unfinished[name] = groups[name]
            elif name in led:
                continue  # another song's folder holds it
            elif self.options.resume and song.target.sidecar.is_file():
                finished[name] = self._finished(song)
            else:
                defaults = {"seed": base + place, "format": _format_of(self.options.out)}
                if song.given.get("kind") == "generate":
                    defaults["model"] = TINY
                require(bool(song.given.get("model") or defaults.get("model")), NO_MODEL)
                new.append((song.target, read_request(defaults | song.given)))
        return unfinished, finished, new

    def _recorded_groups(self) -> dict[str, list[tuple[str, SongRequest]]]:
        groups = {}
        for song in self.songs:
            partial = PartialFolder(song.target)
            if partial.exists:
                recorded = partial.songs()
                names = [name for name, _ in recorded]
                require(
                    song.target.name == names[0] and all(self._has(name) for name in names),
                    f"{partial.path} was begun with the songs {', '.join(names)}; name them all again to go on",
                )
                where = f"{partial.path / 'request.json'}"
                groups[names[0]] = [(name, read_request(request, where)) for name, request in recorded]
        return groups

    def _check_same(self, song: _Song, recorded: SongRequest) -> None:
        """What is said again must be what was said at first."""
        said = set(song.given) - {"kind"}  # generate --resume goes on with anything
        wanted = replace(recorded, **{k: v for k, v in vars(read_request(song.given)).items() if k in said})
        different = differences(recorded, wanted)
        require(
            not different,
            f"{song.target.partial} was begun with another {', '.join(different)}; leave it out to go on as begun, or "
            f"start anew with --force",
        )

    def _finished(self, song: _Song) -> dict[str, Any]:
        sidecar = read_sidecar(song.target.sidecar)
        _check_told(sidecar, song.target.sidecar)
        self._check_same(song, read_request(sidecar["request"], str(song.target.sidecar)))
        PartialFolder(song.target).remove()  # what a crash in the very last moment left
        self.progress.say(f"{song.target.audio} is finished already")
        return sidecar

    def _chosen(self, requests: Sequence[SongRequest], is_begun: bool) -> RunChoice:
        """How to use the machine."""
        one = requests[0]
        require(
            all((r.model, r.revision, r.dtype) == (one.model, one.revision, one.dtype) for r in requests),
            "the songs were begun with different models; go on with them in separate commands",
        )
        return choose_run(requests, self.options, is_begun)

    def _say(self, waiting: Waiting, one: SongRequest) -> None:
        self.progress.say(f"jukebox-hf: {waiting.line}")
        if (accuracy := int8_accuracy(one.model, dtype=one.dtype, revision=one.revision)) is not None:
            self.progress.say(f"jukebox-hf: {accuracy}")

    def _open(self, requests: Sequence[SongRequest], choice: RunChoice) -> Any:
        one = requests[0]
        return open_model(one.model, revision=one.revision, dtype=one.dtype, device=str(choice.device))

    def _check(self, jobs: Sequence[Job], model: Any) -> None:
        """Everything that can be refused is refused here, before the first file and the first step."""
        for job in jobs:
            for target in job.targets:
                target.check_free(self.options.force)
        if jobs:
            check_folder(jobs[0].targets[0].folder, sum(bytes_needed(job.order, model) for job in jobs))

    def _check_stepping(self, jobs: Sequence[Job], model: Any) -> None:
        """A way to step that was asked for is tried on the prior that begins; `auto` is always possible."""
        if self.options.stepping != "auto":
            order = jobs[0].order
            check_stepping_here(model.prior(order.plan.levels[0].level), len(order.requests), self.options.stepping)

    def _has(self, name: str) -> bool:
        return any(song.target.name == name for song in self.songs)

    def _by_name(self, name: str) -> SongTarget:
        return next(song.target for song in self.songs if song.target.name == name)


def read_sidecar(path: Path) -> dict[str, Any]:
    """A song's JSON.

    Raises:
        ValueError: something else.
    """
    content, cure = read_json(path), "give one that jukebox-hf wrote"
    require(
        str(content.get("format")).startswith("jukebox-song") and isinstance(content.get("request"), dict),
        f"{path} is not the side-car of a song; {cure}",
    )
    return content


def _check_told(content: dict[str, Any], path: Path) -> None:
    """What is said of a song that is finished must be in its side-car."""
    audio, files = (content.get(name) for name in ("audio", "files"))
    numbers = [audio.get(name) for name in ("seconds", "num_clamped")] if isinstance(audio, dict) else [None]
    require(
        isinstance(files, dict)
        and all(isinstance(file, str) for file in (files.get("audio"), content.get("command")))
        and all(map(is_number, (*numbers, content.get("seed")))),
        f"{path} does not say what its song is (files, audio, seed and command); remove it, or pass --force",
    )


def _targets(given: Sequence[dict[str, Any]], options: RunOptions) -> list[_Song]:
    formats = {song.get("format") or _format_of(options.out) for song in given}
    suffixes = {suffix_of(name) for name in formats}
    require(len(suffixes) == 1, "the songs of one command must all be WAV or all be FLAC")
    names = [song.get("name") or f"{song.get('artist', 'unknown')} {song.get('genre', 'unknown')}" for song in given]
    targets = plan_targets(options.out, names, suffixes.pop())
    return [
        _Song(target, {key: value for key, value in song.items() if key != "name"})
        for target, song in zip(targets, given, strict=True)
    ]


def _format_of(out: str) -> str:
    return "flac" if out.lower().endswith(".flac") else "wav"


def unfinished_in(folder: Path) -> Iterator[str]:
    """Names of the unfinished songs of a folder."""
    for path in sorted(folder.glob("*.partial/request.json")):
        yield path.parent.name.removesuffix(".partial")


def _place_among_processes() -> tuple[int, int]:
    """Which share of the songs is ours under `accelerate launch` or torchrun."""
    try:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    except ValueError:
        rank, world = -1, 1
    require(0 <= rank < world, "RANK and WORLD_SIZE in the environment are no share of anything; unset them")
    return rank, world


def _farewell(options: RunOptions, num_songs: int, is_begun: bool) -> str:
    if not is_begun and not options.resume:
        return "jukebox-hf: interrupted; nothing was written"
    if num_songs > 1:
        return "jukebox-hf: interrupted; finished windows are saved: give the same command with --resume to go on"
    line = f"python -m jukebox_hf generate --resume --out {options.out}"
    return f"jukebox-hf: interrupted; finished windows are saved, go on with: {line}"
