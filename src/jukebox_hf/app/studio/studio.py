"""The studio without its page: sketch, go on, cut, sing again, refine, each a new take in the tree of a project.

Flows in: words and numbers that somebody typed. Flows out: takes. Everything is made by `run_songs`, so what the
command line refuses is refused here, in the same sentence, and what it can resume is resumed.
"""

import contextlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jukebox_hf.app.alignment_files import align_files, know_song
from jukebox_hf.app.alignment_formats import plan_files
from jukebox_hf.app.label_names import LABEL_KINDS, close_labels, listed_labels
from jukebox_hf.app.older_songs import inherited
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs.partial_folder import PartialFolder
from jukebox_hf.app.runs.planned_songs import default_seconds, open_model, open_processor
from jukebox_hf.app.runs.requests import check_recording, new_seed
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_folder import SongTarget
from jukebox_hf.app.runs.song_request import read_request
from jukebox_hf.app.runs.song_runs import SongsFailedError, run_songs
from jukebox_hf.app.studio.job import JobProgress, PageJob, StoppedError
from jukebox_hf.app.studio.page_words import said_here
from jukebox_hf.app.studio.project import RECORDINGS_FOLDER, SONGS_FOLDER, TIMED_FOLDER, Node, Project
from jukebox_hf.data.recordings import read_header
from jukebox_hf.model.alignment.alignment import choose_head
from jukebox_hf.model.alignment.batch_alignment import lyric_level
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.seeds import later_seed
from jukebox_hf.model.checks.text_input import check_text
from jukebox_hf.model.checks.validation import is_integer, is_number, require

_NAMES_SHOWN = 40


@dataclass(frozen=True)
class Limits:
    """What a page may ask for at most: whoever starts a studio decides, not whoever types.

    Attributes:
        seconds: length of a song.
        takes: written side by side.
        waiting: requests that wait for their turn.
        megabytes: size of a recording.
    """

    seconds: float = 120.0
    takes: int = 4
    waiting: int = 8
    megabytes: int = 64


class Studio:
    """A project, and the model that writes into it; one song, or one set of takes, is written at a time.

    Args:
        project: that is open.
        model: what is said of the model: its name, and where they are said `revision` and `dtype`.
        options: how songs are run; `out` is the project's.
        limits: of what may be asked for.
    """

    def __init__(
        self, project: Project, model: Mapping[str, Any], options: RunOptions, limits: Limits = Limits()
    ) -> None:
        self.project, self.limits = project, limits
        self.job: PageJob | None = None
        self._model = {"model": project.tree.model} | {k: v for k, v in model.items() if v}
        self._options = replace(options, out=f"{project.folder / SONGS_FOLDER}/", resume=False, force=False)
        self._turn = threading.Lock()

    @cached_property
    def config(self) -> Any:
        """The configuration of the model."""
        return configuration_of(self._model["model"], revision=self._model.get("revision"))

    @property
    def top(self) -> int:
        """The coarsest level, at which takes are sketched."""
        return len(self.config.prior_configs) - 1

    def names(self, kind: str, text: str = "") -> list[str]:
        """Artists or genres that begin with a text, hold it, or are close to it; the first of the alphabet without one.

        Args:
            kind: artists or genres.

        Raises:
            ValueError: another kind, or a model without lists.
        """
        check_text("text", "" if text is None else text)
        require(kind in LABEL_KINDS, f"kind={kind!r} is none of {', '.join(LABEL_KINDS)}; choose one")
        listed, typed = self._listed[kind], (text or "").strip().casefold()
        if not typed:
            return listed[:_NAMES_SHOWN]
        found = [name for name in listed if name.casefold().startswith(typed)]
        found += [name for name in listed if typed in name.casefold()]
        close = close_labels(self._model["model"], text, _NAMES_SHOWN) if len(found) < _NAMES_SHOWN else []
        found += [row["name"] for level in close if level["level"] == self.top for row in level[kind]]
        return list(dict.fromkeys(found))[:_NAMES_SHOWN]

    @cached_property
    def _listed(self) -> dict[str, list[str]]:
        """All names that the top level knows, as it writes them, in the order of the alphabet."""
        lists = [own for own in listed_labels(self._model["model"], None, 0) if self.top in own["levels"]]
        return {kind: [row["name"] for own in lists for row in own[kind]["names"]] for kind in LABEL_KINDS}

    # --- what becomes a new take --------------------------------------------------------------------------------------

    def sketch(self, words: Mapping[str, Any], takes: int = 1) -> PageJob:
        """Write takes of a new song at the top level, side by side; their seeds count on.

        Args:
            words: of the song, by the names of `SongRequest`; `seconds` among them.
            takes: how many.
        """
        said = {"kind": "generate", **self._model, "levels": str(self.top), **_said(words)}
        self._check_seconds(said.get("seconds", default_seconds(self.config)))
        if said.get("prompt"):
            self._check_recording(Path(said["prompt"]), said.get("seconds", default_seconds(self.config)))
        return self._start(None, "generate", said, takes)

    def continue_take(self, number: int, words: Mapping[str, Any], seconds: float, takes: int = 1) -> PageJob:
        """Go on from a take by so many seconds, at the top level, in several takes.

        Args:
            words: that win over those of the older take.
        """
        older = self._done(number)
        self._check_number("seconds", seconds)
        whole = older.seconds + seconds
        self._check_seconds(whole)
        said = {"kind": "continue", "seconds": whole, "levels": str(self.top), **_said(words)}
        return self._start(older, "continue", said, takes)

    def cut(self, number: int, second: float) -> PageJob:
        """Keep a take's beginning: a shorter take, at every level that the older one has."""
        older = self._done(number)
        self._check_number("second", second)
        hops, rate = self.config.vqvae_config.hop_lengths, self.config.sampling_rate
        samples = round(min(second, older.seconds) * rate) // hops[self.top] * hops[self.top]
        require(
            0 < samples < round(older.seconds * rate),
            f"take {number} has {older.seconds:.4g} s and cannot be cut at {second:g} s; choose a second inside of it",
        )
        levels = ",".join(str(level) for level in range(self.top, older.level - 1, -1))
        said = {"kind": "continue", "keep_seconds": samples / rate, "seconds": samples / rate, "levels": levels}
        return self._start(older, "cut", said | {"seed": older.request["seed"]}, 1)

    def repaint(
        self, number: int, from_second: float, to_second: float, takes: int = 1, seed: int | None = None
    ) -> PageJob:
        """Sing a stretch of a take again; the best of several takes is kept."""
        older = self._done(number)
        for name, second in (("from_second", from_second), ("to_second", to_second)):
            require(second is not None, f"{name} is not said; give the second at which the stretch begins or ends")
        said = {"kind": "repaint", "from_second": from_second, "to_second": to_second, "takes": takes}
        self._check_count(takes)
        return self._start(older, "repaint", said | ({} if seed is None else {"seed": seed}), 1)

    def upsample(self, number: int) -> PageJob:
        """Write the finer levels of a take; its sound can be heard meanwhile."""
        older = self._done(number)
        require(self.top > 0, "this model has one level, so nothing can be refined")
        require(older.level > 0, f"take {number} is refined to the finest level already; choose another one")
        levels = ",".join(str(level) for level in range(older.level - 1, -1, -1))
        said = {"kind": "upsample", "levels": levels, "seed": older.request["seed"]}
        return self._start(older, "upsample", said, 1)

    def go_on(self, number: int) -> PageJob:
        """Go on with a take that was stopped, or that failed, where it was; with those beside it."""
        node = self.project.tree.node(number)
        require(node.state in ("stopped", "failed"), f"take {number} is {node.state}: nothing is left to go on with")
        return self._run(lambda: [self.project.tree.node(one) for one in node.together], list(node.together), node)

    def stop(self) -> None:
        """Stop what is being written, if anything is; what was written is saved."""
        if self.job is not None:
            self.job.progress.stop()

    # --- what is there ------------------------------------------------------------------------------------------------

    def told(self, number: int) -> dict[str, Any]:
        """The side-car of a finished take."""
        return read_json(self.project.song(self._done(number), ".json"))

    def files(self, number: int) -> list[Path]:
        """All files of a finished take: audio, codes, picture, side-car, and its words in time where it has words.

        Raises:
            ValueError: as `time_words`.
        """
        node = self._done(number)
        own = [self.project.song(node, suffix) for suffix in (".wav", ".codes.safetensors", ".png", ".json")]
        is_sung = bool(str(node.request.get("lyrics") or "").strip()) and self._hears_words()
        return own + (self.time_words(number) if is_sung else [])

    def time_words(self, number: int) -> list[Path]:
        """LRC, subtitles, JSON and the karaoke page of a finished take; written the first time.

        Raises:
            ValueError: no lyrics, or a model that does not tell when they are sung.
        """
        node = self._done(number)
        song, folder = self.project.song(node, ".wav"), self.project.folder / TIMED_FOLDER
        with self._turn:
            targets = plan_files(song, folder, "lrc,srt,vtt,json,html", force=True)
            if not all(path.is_file() for path in targets.values()):
                request = read_request(self.told(number)["request"])
                config = self.config
                chosen = choose_head(config.prior_configs[lyric_level(config)])
                model = open_model(
                    request.model, revision=request.revision, dtype=request.dtype, device=self._options.device
                )
                processor = open_processor(config, request.model, request.revision)
                align_files(know_song(song, model, {}), model, processor, targets, chosen)
        return list(targets.values())

    def _hears_words(self) -> bool:
        with contextlib.suppress(ValueError):
            return self.config.prior_configs[lyric_level(self.config)].alignment_layer is not None
        return False

    # --- how it is written --------------------------------------------------------------------------------------------

    def _start(self, older: Node | None, kind: str, said: dict[str, Any], takes: int) -> PageJob:
        """Write takes of which the same is said, once it is their turn."""
        self._check_count(takes)
        read_request(said)
        if older is not None:
            said = inherited(said, self.project.folder / older.codes)
            del said["codes"]  # which are those of the parent, wherever the project lies
        seed = said.get("seed", new_seed())
        requests = [said | {"seed": later_seed(seed, take)} for take in range(takes)]
        parent = None if older is None else older.id

        def put_down() -> list[Node]:
            prompt = said.get("prompt")
            if prompt is None:
                return self.project.add(parent, kind, requests)
            name = f"{RECORDINGS_FOLDER}/{len(self.project.tree.nodes) + 1}{Path(prompt).suffix.lower()}"
            shutil.copyfile(prompt, self.project.folder / name)
            return self.project.add(parent, kind, [one | {"prompt": name} for one in requests])

        return self._run(put_down, [], Node(0, parent, kind, requests[0], ()), is_new=True)

    def _run(self, put_down: Any, ids: list[int], like: Node, is_new: bool = False) -> PageJob:
        """Write takes in a thread, in their turn; `like` is one of them, for its progress.

        Args:
            is_new: they are put down now, so that they are forgotten where nothing of them can be written.
        """
        progress = JobProgress(self._spans(like), is_heard=like.kind == "upsample")

        def work() -> None:
            with self._turn:
                self.job = job
                nodes = [self.project.change(one, state="writing", reason=None) for one in put_down()]
                job.takes[:] = [node.id for node in nodes]
                self._write(nodes, progress, is_new)

        started = threading.Event()
        job = PageJob(progress, ids, lambda: (started.wait(), work()))
        started.set()  # the thread knows its job
        return job

    def _write(self, nodes: list[Node], progress: JobProgress, is_new: bool) -> None:
        error: Exception | None = None
        nodes = [self.project.finish(node) for node in nodes]
        left = [node for node in nodes if node.state != "done"]
        try:
            if left:
                begun = self._begun(nodes)
                songs = [self._given(node, node.id in begun) for node in nodes]
                run_songs(songs, replace(self._options, resume=bool(begun)), progress)
        except Exception as failure:
            error = failure
        for node in nodes:
            finished = self.project.finish(node)
            if finished.state != "done" and progress.is_stopped:
                self.project.change(node, state="stopped")
            elif finished.state != "done":
                self.project.change(node, state="failed", reason=_reason(error))
        if error is not None and not progress.is_stopped:
            if is_new and not self._begun(nodes):
                self.project.withdraw(nodes)
            if isinstance(error, SongsFailedError):  # its cure is for the command line
                error = ValueError(f"{str(error).partition('; what else')[0]}; choose one, and go on with it")
            raise error
        if progress.is_stopped and any(self.project.tree.node(node.id).state != "done" for node in nodes):
            raise StoppedError("stopped; what was written is saved, and can be gone on with")

    def _given(self, node: Node, is_begun: bool) -> dict[str, Any]:
        """What is said of a take to `run_songs`; of one that was begun, nothing that was said before."""
        if is_begun:
            return {"kind": "generate", "name": str(node.id)}
        said = dict(node.request) | {"name": str(node.id)}
        if said.get("prompt"):
            said["prompt"] = str(self.project.folder / said["prompt"])
        if node.parent is not None:
            said["codes"] = str(self.project.folder / self.project.tree.node(node.parent).codes)
        return said

    def _begun(self, nodes: Sequence[Node]) -> set[int]:
        """Which of the takes have something on the disk: a whole song, or a place in an unfinished run."""
        found = {node.id for node in nodes if self.project.song(node, ".json").is_file()}
        for node in nodes:
            partial = PartialFolder(SongTarget(self.project.folder / SONGS_FOLDER, str(node.id), ".wav"))
            if partial.exists:
                found |= {int(name) for name, _ in partial.songs() if name.isdigit()}
        return found

    def _spans(self, node: Node) -> dict[int, tuple[int, int]]:
        """By level, which codes a take writes, as near as a bar needs it."""
        hops, rate, request = self.config.vqvae_config.hop_lengths, self.config.sampling_rate, node.request
        older = None if node.parent is None else self.project.tree.node(node.parent)
        if node.kind == "repaint":
            first, last = request["from_second"], request["to_second"]
            levels = range(older.level, self.top + 1)
        else:
            known = older.seconds if node.kind in ("continue", "cut") else 0.0
            first, last = known, request.get("seconds") or (older.seconds if older else 0.0)
            levels = map(int, str(request.get("levels", self.top)).split(","))
        at = {level: (int(first * rate / hops[level]), int(last * rate / hops[level])) for level in levels}
        return {level: (begin, max(end, begin)) for level, (begin, end) in at.items()}

    # --- doors that the command line does not need --------------------------------------------------------------------

    def _done(self, number: Any) -> Node:
        node = self.project.tree.node(number)
        require(node.state == "done", f"take {number} is {node.state}; choose one that is done, or go on with it first")
        return node

    def _check_seconds(self, seconds: Any) -> None:
        require(
            not (is_number(seconds) and seconds > self.limits.seconds),
            f"seconds={seconds} is more than the {self.limits.seconds:g} that this studio allows; ask for less, or "
            f"start it with --max-seconds",
        )

    def _check_number(self, name: str, value: Any) -> None:
        require(is_number(value) and value > 0, f"{name}={value!r} must be a number of seconds above 0")

    def _check_count(self, takes: Any) -> None:
        most = self.limits.takes
        require(is_integer(takes) and 1 <= takes <= most, f"takes={takes!r} must be a whole number from 1 to {most}")

    def _check_recording(self, path: Path, seconds: Any) -> None:
        check_recording(str(path))
        most = self.limits.megabytes
        require(
            path.stat().st_size <= most * 2**20, f"{path.name} has over the {most} MB that this studio allows; cut it"
        )
        if not is_number(seconds):  # which is refused with the other words
            return
        recorded = read_header(path, path.name).seconds
        require(
            recorded < seconds,
            f"the recording has {recorded:.4g} s, and seconds={seconds:g} counts it in, so nothing would be sung; "
            f"ask for more seconds, or cut the recording",
        )


def _said(words: Mapping[str, Any]) -> dict[str, Any]:
    """What somebody did say: an empty field of a page says nothing."""
    return {name: value for name, value in words.items() if value is not None and value != ""}


def _reason(error: Exception | None) -> str:
    return "it did not end" if error is None else said_here(error)[:1000]
