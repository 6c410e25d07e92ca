"""A run of one or many songs: who is new, who is unfinished, who is done; then every new one is checked, then made.

Flows in: what was said of each song, and how to run. Flows out: side-cars, in the order of the songs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jukebox_hf.app.accuracy import int8_accuracy
from jukebox_hf.app.interruption import exits_at_once
from jukebox_hf.app.listed_names import check_listed
from jukebox_hf.app.output import sentence_of, shell_word
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.repository_facts import check_parts, configuration_of
from jukebox_hf.app.runs.closed_model import ClosedModel
from jukebox_hf.app.runs.device_choice import NO_MODEL, DeviceChoice, Residency, choose_run, levels_needed, settle
from jukebox_hf.app.runs.estimate import estimate, in_words
from jukebox_hf.app.runs.held_folder import SONG_GOES_ON
from jukebox_hf.app.runs.model_fingerprint import Fingerprint, fingerprint
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.planned_songs import (
    check_given,
    check_requests,
    group_of,
    is_prompt_changed,
    noted,
    open_model,
    open_processor,
    take,
    together,
    with_rows,
    with_sound,
    with_words,
)
from jukebox_hf.app.runs.requests import MOST_SONGS_PER_COMMAND, new_seed, rank_among_processes
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_adapters import read_song_adapters
from jukebox_hf.app.runs.song_folder import SongTarget, check_folder, is_folder, plan_targets
from jukebox_hf.app.runs.song_making import Job, begin, bytes_needed, check_told, make_songs, read_sidecar
from jukebox_hf.app.runs.song_request import COMMAND_LINE, SongRequest, differences, read_request, said_as
from jukebox_hf.app.runs.song_takes import asked_for
from jukebox_hf.app.runs.song_values import numbers_at_once
from jukebox_hf.data.audio_io import format_of, suffix_of
from jukebox_hf.model.checkpoints.tiny_model import TINY
from jukebox_hf.model.checks.seeds import later_seed
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.inputs.song_inputs import AUTO
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.sampling.backends import check_backend, check_backend_here
from jukebox_hf.model.songs.lyric_writing import writing_level
from jukebox_hf.model.songs.song_state import SongState


def run_songs(
    given: Sequence[dict[str, Any]], options: RunOptions, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Make songs and give their side-cars; with `dry_run`, estimates.

    Args:
        given: what was said of each song, `name` included; nothing is filled in.
        options: how to run.
        progress: who sees it; a person at a terminal by default.

    Raises:
        ValueError, OSError: before the first step wherever that can be known.
    """
    require(not (options.resume and options.force), "--resume and --force exclude each other; choose one")
    options.check()
    check_backend(options.backend)
    progress, is_begun = progress or Progress(), []
    with exits_at_once(lambda: _farewell(options, given, bool(is_begun))):
        return _SongRun(given, options, progress, is_begun).results()


class SongsFailedError(ValueError):
    """Some songs of a run are not finished; `results` are the side-cars of the others."""

    def __init__(self, message: str, results: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.results = results


@dataclass
class _OneSong:
    """One song of this run: its target and what was said."""

    target: SongTarget
    given: dict[str, Any]
    where: str | None = None  # the line of a songs.jsonl
    group: str | None = None  # of the songs that are kept of the same takes
    is_own: bool = True

    @property
    def group_name(self) -> str:
        """What tells apart songs that may be made by different processes."""
        return self.target.name if self.group is None else self.group


class _SongRun:
    """The steps of a run; holds nothing that a crash could lose."""

    def __init__(self, given: Sequence[dict[str, Any]], options: RunOptions, progress: Progress, begun: list) -> None:
        self.options, self.progress, self.is_begun = options, progress, begun
        self._computing = {"backend": options.backend, "jacobi": numbers_at_once(options.jacobi)}
        self.songs = _targets(given, options)
        self.by_name = {song.target.name: song for song in self.songs}
        rank, world = rank_among_processes()
        places = {name: place for place, name in enumerate(dict.fromkeys(song.group_name for song in self.songs))}
        for song in self.songs:
            song.is_own = places[song.group_name] % world == rank
        self.failures: dict[str, Exception] = {}
        self.unread: list[Path] = []  # unfinished folders of which nobody can tell which songs they hold

    def results(self) -> list[dict[str, Any]]:
        """All of it, in order."""
        unfinished, finished, new = self._sorted()
        states = self._states(unfinished)
        unfinished = {leader: songs for leader, songs in unfinished.items() if leader in states}
        groups = [[request for _, request in songs] for songs in unfinished.values()]
        requests = [*(request for group in groups for request in group), *(request for _, request in new)]
        if not requests:
            return self._told(finished)
        _check_one_model(requests)
        self._check_places([target for target, _ in new])
        config = configuration_of(requests[0].model, revision=requests[0].revision)
        called = self._called([target.name for target, _ in new])
        check_requests([request for _, request in new], config, called)
        choice = choose_run(requests, self.options, is_begun=bool(groups))
        if not groups:  # a dtype that was chosen becomes part of the request
            new = [(target, replace(request, dtype=choice.dtype)) for target, request in new]
            requests = [request for _, request in new]
        one = requests[0]
        own = check_parts(one.model, config, choice.levels, revision=one.revision)
        adapters = read_song_adapters(one.adapter)
        config, processor = adapters.told_to(config, open_processor(config, one.model, one.revision))
        typed = [vars(request) | {"where": where} for (_, request), where in zip(new, called, strict=True)]
        check_listed([song for song in typed if song["strict"]], processor.tokenizer, config)
        how = {"names": called, **self._computing}
        model = None
        if any(request.lyrics == AUTO for _, request in new):
            level = writing_level(config)  # refuses what never learnt to write, before weights are read
            model = adapters.put_on(self._open(requests, choice))
            model.check_priors([level])
            new = self._worded(new, model, processor)
        asked = [request for _, request in new]
        all_planned = take(asked, ClosedModel(config, own), processor, say=self.progress.warn, **how)
        model = model or adapters.put_on(self._open(requests, choice))
        model.check_priors(choice.levels)
        all_planned = with_sound(all_planned, asked, model, processor, **how)
        # It reads every weight, so what can fail comes first.
        files = adapters.noted_in(fingerprint(one.model, model, choice.levels))
        all_planned = [
            replace(noted(planned, files.as_notes()), group=self.by_name[target.name].group)
            for planned, (target, _) in zip(all_planned, new, strict=True)
        ]
        jobs = self._begun_jobs(unfinished, states, model, processor, files)
        fresh = together(all_planned, [target for target, _ in new], choice.songs)
        fresh = [Job(planned, tuple(targets)) for planned, targets in fresh]
        jobs, fresh = (
            [Job(with_rows(job.planned, choice.rows), job.targets) for job in some] for some in (jobs, fresh)
        )
        if not (jobs or fresh):
            return self._told(finished)
        waiting = settle(choice, [group_of(job.planned) for job in (*jobs, *fresh)])
        model.offload, model.keep_loaded = waiting.offload, waiting.keep_loaded
        if not self.options.dry_run:
            self._check(fresh, model)
            self._check_backend((*jobs, *fresh), model)
        self._say(waiting, requests[0])
        if self.options.dry_run:
            return self._estimates((*jobs, *fresh), model)
        for job in fresh:
            begin(job, self.options.force)
            self.is_begun.append(True)
        self.is_begun.append(True)
        return self._told(finished | self._made((*jobs, *fresh), model, processor))

    def _worded(
        self, new: Sequence[tuple[SongTarget, SongRequest]], model: JukeboxModel, processor: JukeboxProcessor
    ) -> list[tuple[SongTarget, SongRequest]]:
        """The songs with words, written now where they are left to the model; takes of one song sing the same."""
        found, written = [], {}
        for target, request in new:
            group = self.by_name[target.name].group_name
            if request.lyrics == AUTO:
                if group not in written:
                    written[group] = with_words(request, model, processor).lyrics
                    self.progress.say(f"jukebox-hf: the model wrote: {written[group]}")
                request = replace(request, lyrics=written[group], lyrics_written=True)
            found.append((target, request))
        return found

    def _called(self, names: Sequence[str]) -> list[str]:
        """What a refusal calls each song: by its name where there are several, and by its line of a songs.jsonl."""
        lines = [self.by_name[name].where for name in names]
        several = [f"the song {name}" + f" in {line}" * bool(line) for name, line in zip(names, lines, strict=True)]
        return several if len(self.songs) > 1 or any(lines) else [""] * len(names)

    def _states(self, unfinished: dict[str, list]) -> dict[str, SongState]:
        """What is known of unfinished songs, by leader; what nobody can go on with is their loss."""
        states = {}
        for leader, songs in unfinished.items():
            partial = PartialFolder(self.by_name[leader].target)
            try:
                partial.check_idle()
                states[leader] = partial.load_state()
            except (ValueError, OSError) as error:
                self._fail([name for name, _ in songs], error)
        return states

    def _begun_jobs(
        self,
        unfinished: dict[str, list],
        states: Mapping[str, SongState],
        model: JukeboxModel,
        processor: JukeboxProcessor,
        files: Fingerprint,
    ) -> list[Job]:
        """What is to be gone on with; what cannot be is one song's loss, or that of those written with it."""
        jobs = []
        for leader, songs in unfinished.items():
            targets = [self.by_name[name].target for name, _ in songs]
            try:
                begun = states[leader]
                check_given(begun, PartialFolder(targets[0]).state)
                needed = levels_needed([request for _, request in songs], model.config)
                files.check_same(begun.notes, targets[0].partial, self.progress.say, needed)
                all_planned = take(
                    [request for _, request in songs],
                    model,
                    processor,
                    names=self._called([name for name, _ in songs]),
                    begun=begun,
                    **self._computing,
                    say=self.progress.warn,
                )
                group = targets[0].name if all_planned[0].taking else None
                all_planned = [replace(planned, group=group) for planned in all_planned]
                joined = together(all_planned, targets, len(all_planned))
                require(
                    len(joined) == 1, f"{targets[0].partial} holds songs that have no one plan any more; use --force"
                )
                jobs += [Job(planned, tuple(names)) for planned, names in joined]
            except (ValueError, OSError) as error:
                self._fail([name for name, _ in songs], error)
        return jobs

    def _estimates(self, jobs: Sequence[Job], model: JukeboxModel) -> list[dict[str, Any]]:
        """What each job would take; jobs that are alike are measured once."""
        measured: dict[Any, dict[str, Any]] = {}
        estimates = []
        for job in jobs:
            planned = job.planned
            known = tuple(tuple(map(len, songs)) for songs in planned.batch.state.codes)
            alike = planned.batch.plan, planned.compute, known
            found = measured[alike] = measured.get(alike) or estimate(planned, model)
            estimates.append(found | {"text": in_words(found)})
        return estimates

    def _made(self, jobs: Sequence[Job], model: JukeboxModel, processor: JukeboxProcessor) -> dict[str, dict]:
        sidecars: dict[str, dict[str, Any]] = {}
        for job in jobs:
            try:
                made = make_songs(job, model, processor, self.progress)
            except Exception as error:  # whatever it is, other songs can do without these
                self._fail([target.name for target in job.targets], error)
                continue
            sidecars |= made.sidecars
            for name, error in made.failures.items():
                self._fail([name], error)
        return sidecars

    def _fail(self, names: Sequence[str], error: Exception) -> None:
        """Remember why songs are not finished; where there is only one, nothing else is left to do."""
        if len(self.songs) == 1:
            raise error
        for name in names:
            self.failures[name] = error
            self.progress.say(f"jukebox-hf: {self.by_name[name].target.audio} is not finished: {_reason(error)}")

    def _told(self, made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Side-cars in the order of the songs.

        Raises:
            SongsFailedError: there is none of some of them.
        """
        results = [made[song.target.name] for song in self.songs if song.target.name in made]
        if not self.failures:
            return results
        reasons = [f"{name} ({_reason(error)})" for name, error in self.failures.items()]
        some = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
        raise SongsFailedError(
            f"{len(reasons)} of {len(self.songs)} songs are not finished: {some}; what else was to be made is; "
            f"{_how_to_go_on(self.options, self.songs[0].given)}",
            results,
        )

    def _sorted(self) -> tuple[dict[str, list], dict[str, dict], list[tuple[SongTarget, SongRequest]]]:
        """Which songs of this process are unfinished (by leader), finished, and new."""
        unfinished, finished, new = {}, {}, []
        groups = self._recorded_groups() if self.options.resume else {}
        self._check_begun(groups)
        led = {name for leader, songs in groups.items() for name, _ in songs if name != leader}
        base = new_seed()
        for index, song in enumerate(self.songs):
            name = song.target.name
            if not song.is_own or name in self.failures or name in led:  # another song's folder holds it
                if song.is_own and name in led:
                    self._check_led(song, groups)
                continue
            if name in groups:
                self._check_same(song, dict(groups[name])[name])
                unfinished[name] = groups[name]
            elif self.options.resume and song.target.sidecar.is_file():
                try:
                    finished[name] = self._finished(song)
                except (ValueError, OSError) as error:
                    self._fail([name], error)
            elif self.unread:
                reason = f"{self.unread[0]} is damaged and may hold it; remove that folder, then {SONG_GOES_ON}"
                self._fail([name], ValueError(reason))
            else:
                defaults = {"seed": later_seed(base, index), "format": format_of(self.options.out)}
                if song.given.get("kind") == "generate":
                    defaults["model"] = TINY
                require(bool(song.given.get("model") or defaults.get("model")), NO_MODEL)
                new.append((song.target, read_request(defaults | song.given, COMMAND_LINE)))
        return unfinished, finished, new

    def _recorded_groups(self) -> dict[str, list[tuple[str, SongRequest]]]:
        groups = {}
        for song in self.songs:
            partial = PartialFolder(song.target)
            if not partial.exists:
                continue
            try:
                recorded = partial.songs()
                where = f"{partial.path / 'request.json'}"
                requests = [(name, read_request(request, where)) for name, request in recorded]
            except (ValueError, OSError) as error:
                self._fail([song.target.name], error)
                self.unread.append(partial.path)
                continue
            names = [name for name, _ in recorded]
            partial.check_not_renamed(recorded, suffix_of(requests[0][1].format))
            require(
                song.target.name == names[0] and all(name in self.by_name for name in names),
                f"{partial.path} was begun with the songs {', '.join(names)}; name them all again to go on",
            )
            for name, request in requests:
                self._take_suffix(self.by_name[name], suffix_of(request.format))
            groups[names[0]] = requests
        return groups

    def _take_suffix(self, song: _OneSong, suffix: str, *, is_made: bool = False) -> None:
        """A song goes on, or stays, in the format it was begun in."""
        if song.target.suffix.lower() != suffix:
            target, cure = song.target, "go on with that --out"
            told = f"{target.partial} was begun"
            if is_made:
                told = f"the song {target.folder / target.name} is finished"
                cure = f"name that --out, or make {target.audio.name} of its codes with jukebox-hf decode"
            require(
                len(self.songs) > 1 or is_folder(self.options.out),
                f"{told} as {target.name}{suffix}; {cure}",
            )
            song.target = replace(song.target, suffix=suffix)

    def _check_begun(self, groups: Mapping[str, Any]) -> None:
        """There must be something to resume: a song that nobody began would be a new one, of another seed."""
        if self.options.resume and not groups and not self.failures:
            first, many = self.songs[0].target, len(self.songs)
            for song in self.songs:
                PartialFolder(song.target).check_no_link()
            what = f"at {first.audio}" if many == 1 else f"of these {many} songs in {first.folder}"
            require(
                any(song.target.sidecar.is_file() for song in self.songs),
                f"nothing was begun {what}, so nothing can be resumed; leave --resume out to start",
            )

    def _check_led(self, song: _OneSong, groups: Mapping[str, list[tuple[str, SongRequest]]]) -> None:
        recorded = next(dict(songs) for songs in groups.values() if song.target.name in dict(songs))
        self._check_same(song, recorded[song.target.name])

    def _check_same(self, song: _OneSong, recorded: SongRequest, *, is_made: bool = False) -> None:
        """What is said again must be what was said at first."""
        said = set(song.given) - {"kind", "strict"}  # generate --resume goes on with anything, under any names
        if song.given.get("lyrics") == AUTO and recorded.lyrics_written:
            said -= {"lyrics"}
        wanted = replace(
            recorded, **{k: v for k, v in vars(read_request(song.given, COMMAND_LINE)).items() if k in said}
        )
        where = song.where or COMMAND_LINE
        different = [said_as(name, where) for name in differences(recorded, wanted)]
        files = (file for one in self.songs for file in one.target.files)
        if "prompt" in said and wanted.prompt == recorded.prompt and is_prompt_changed(recorded, files):
            different.append(f"{said_as('prompt', where)} ({recorded.prompt} is another file now)")
        made, begun = f"{song.target.audio} was made", f"{song.target.partial} was begun"
        cure = f"leave it out to {'keep it' if is_made else 'go on as begun'}, or start anew with --force"
        require(not different, f"{made if is_made else begun} with another {', '.join(different)}; {cure}")

    def _finished(self, song: _OneSong) -> dict[str, Any]:
        sidecar = read_sidecar(song.target.sidecar)
        check_told(sidecar, song.target.sidecar)
        recorded = read_request(asked_for(sidecar), str(song.target.sidecar))
        self._take_suffix(song, suffix_of(recorded.format), is_made=True)
        self._check_same(song, recorded, is_made=True)
        song.target.check_whole()
        partial = PartialFolder(song.target)
        if (partial.path / "lock").is_file():  # what a crash in the very last moment left
            with partial.locked():
                partial.remove([song.target])
        self.progress.say(f"{song.target.audio} is finished already")
        return sidecar

    def _say(self, waiting: Residency, one: SongRequest) -> None:
        self.progress.say(f"jukebox-hf: {waiting.line}")
        if (accuracy := int8_accuracy(one.model, dtype=one.dtype, revision=one.revision)) is not None:
            self.progress.say(f"jukebox-hf: {accuracy}")

    def _open(self, requests: Sequence[SongRequest], choice: DeviceChoice) -> Any:
        one = requests[0]
        return open_model(one.model, revision=one.revision, dtype=one.dtype, device=str(choice.device))

    def _check(self, jobs: Sequence[Job], model: Any) -> None:
        """Everything that can be refused is refused here, before the first file and the first step."""
        for job in jobs:  # again: opening a model takes its time
            self._check_places(job.targets)
        if jobs:
            check_folder(jobs[0].targets[0].folder, sum(bytes_needed(job.planned, model) for job in jobs))

    def _check_places(self, targets: Sequence[SongTarget]) -> None:
        """Refuse to begin songs where others are, finished or not."""
        for target in targets:
            partial = PartialFolder(target)
            partial.check_idle()
            target.check_free(self.options.force)
            partial.check_ours()

    def _check_backend(self, jobs: Sequence[Job], model: Any) -> None:
        """A way to step that was asked for is tried on the prior that begins; `auto` is always possible."""
        if self.options.backend != "auto":
            planned = jobs[0].planned
            first = planned.batch.plan.levels[0]
            rows = len(planned.requests) * first.settings.rows
            check_backend_here(model.lend(first.level), rows, self.options.backend)


def _check_one_model(requests: Sequence[SongRequest]) -> None:
    one = requests[0]
    require(
        all(_model_of(request) == _model_of(one) for request in requests),
        "the songs were begun with different models or adapters; go on with them in separate commands",
    )


def _model_of(request: SongRequest) -> tuple[Any, ...]:
    return request.model, request.revision, request.dtype, request.adapter


def _targets(given: Sequence[dict[str, Any]], options: RunOptions) -> list[_OneSong]:
    require(
        len(given) <= MOST_SONGS_PER_COMMAND,
        f"{len(given):,} songs are asked for at once; make at most {MOST_SONGS_PER_COMMAND:,}",
    )
    formats = {song.get("format") or format_of(options.out) for song in given}
    suffixes = {suffix_of(name) for name in formats}
    require(len(suffixes) == 1, "the songs of one command must all be of one kind of file, such as all WAV or all FLAC")
    names = [
        song.get("name") or song.get("title") or f"{song.get('artist', 'unknown')} {song.get('genre', 'unknown')}"
        for song in given
    ]
    targets = plan_targets(options.out, names, suffixes.pop(), are_begun=options.resume)
    for target in targets:
        target.check_names()
    return [
        _OneSong(
            target,
            {key: value for key, value in song.items() if key not in ("name", "where", "group")},
            song.get("where"),
            song.get("group"),
        )
        for target, song in zip(targets, given, strict=True)
    ]


def _reason(error: Exception) -> str:
    told = sentence_of(error)
    return told if isinstance(error, (ValueError, OSError, FloatingPointError)) else f"{type(error).__name__}: {told}"


def _how_to_go_on(options: RunOptions, song: Mapping[str, Any]) -> str:
    """The command that goes on with several songs, since --resume is an option of one."""
    if song.get("kind") == "generate":
        return "go on with the same command and --resume"
    return f"{SONG_GOES_ON} --out {shell_word(str(options.out))}"


def _farewell(options: RunOptions, given: Sequence[Mapping[str, Any]], is_begun: bool) -> str:
    if not is_begun and not options.resume:
        return "jukebox-hf: interrupted; nothing was written"
    if len(given) > 1:
        return f"jukebox-hf: interrupted; finished windows are saved: {_how_to_go_on(options, given[0])}"
    line = f"python -m jukebox_hf generate --resume --out {shell_word(str(options.out))}"
    return f"jukebox-hf: interrupted; finished windows are saved, go on with: {line}"
