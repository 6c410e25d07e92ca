"""The model that a server sings with: opened once, and the door through which every song passes.

Flows in: what was said of a song. Flows out: a planned song that can be sampled to its end, or a refusal.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jukebox_hf.app.label_names import listed_labels
from jukebox_hf.app.listed_names import check_listed
from jukebox_hf.app.repository_facts import check_parts, configuration_of
from jukebox_hf.app.runs.closed_model import ClosedModel
from jukebox_hf.app.runs.device_choice import Group, choose_run, levels_needed, settle
from jukebox_hf.app.runs.model_fingerprint import Fingerprint, fingerprint
from jukebox_hf.app.runs.planned_songs import (
    PlannedSongs,
    check_given,
    check_requests,
    noted,
    open_model,
    open_processor,
    take,
    with_rows,
)
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_adapters import read_song_adapters
from jukebox_hf.app.runs.song_request import SongRequest
from jukebox_hf.app.runs.song_values import numbers_at_once, read_adapters
from jukebox_hf.app.serving.speech_request import checked_song, refused
from jukebox_hf.model.adapters.style_file import NAME_KINDS
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.sampling.backends import check_backend, check_backend_here
from jukebox_hf.model.songs.song_state import SongState

_USUAL_ROWS = 16  # rows of a batch, unless --batch-size says more


@dataclass(frozen=True)
class ServedModel:
    """An open model, and how songs are made with it.

    Attributes:
        name: by which clients know it.
        words: `model`, `revision`, `dtype` and `adapter` of every request.
        computing: `backend` and `jacobi`.
        rows: of a batch, at most.
        stays: whether all priors stay in memory, so that going from level to level costs nothing.
        files: which model it is.
        line: device, dtype and memory, for people.
    """

    name: str
    words: Mapping[str, Any]
    computing: Mapping[str, Any]
    model: JukeboxModel
    processor: JukeboxProcessor
    closed: ClosedModel
    rows: int
    stays: bool
    files: Fingerprint
    line: str
    _door: threading.Lock = field(default_factory=threading.Lock)  # one at a time: warnings are the process's

    def plan(self, said: Mapping[str, Any], longest: float) -> tuple[PlannedSongs, list[str]]:
        """Plan a song, and what is to be said of it, such as that a name is not listed.

        Args:
            said: of the song, by the names of `SongRequest`, `seed` included.
            longest: seconds of a song; one of which no length is said is no longer.

        Raises:
            ApiError: what cannot be sampled to its end.
        """
        request = checked_song(said, self.words)
        planned, lines = self._planned(request)
        if request.seconds is None and planned.requests[0].seconds > longest:
            planned, lines = self._planned(replace(request, seconds=longest))
        return with_rows(noted(planned, self.files.as_notes()), self.rows), lines

    def plan_again(self, request: SongRequest, begun: SongState, where: Any) -> PlannedSongs:
        """Plan a song that was begun.

        Raises:
            ValueError: another model began it, or what is there does not fit.
        """
        check_given(begun, where)
        self.files.check_same(begun.notes, where, lambda line: None, levels_needed([request], self.model.config))
        with self._door:
            (planned,) = take([request], self.model, self.processor, begun=begun, **self.computing)
        return with_rows(planned, self.rows)

    def labels(self) -> dict[str, list[str]]:
        """The artists and genres that the top level hears."""
        top = self.model.num_levels - 1
        try:
            found = listed_labels(self.words["model"], None)
        except (ValueError, OSError):  # a model that hears neither
            return {"artists": [], "genres": []}
        (own,) = [one for one in found if top in one["levels"]]
        new = [(kind, name) for kind, name, levels in self.model.new_names() if top in levels]
        return {
            f"{kind}s": [label["name"] for label in own[f"{kind}s"]["names"]] + [name for of, name in new if of == kind]
            for kind in NAME_KINDS
        }

    def _planned(self, request: SongRequest) -> tuple[PlannedSongs, list[str]]:
        lines: list[str] = []
        with self._door:
            self.processor.tokenizer.warn_again()
            try:
                check_requests([request], self.closed.config)
                if request.strict:
                    check_listed([vars(request)], self.processor.tokenizer, self.closed.config)
                (planned,) = take([request], self.closed, self.processor, **self.computing, say=lines.append)
            except (ValueError, OSError) as error:
                raise refused(error) from None
        return planned, [line.removeprefix("jukebox-hf: ") for line in lines]


def open_served(
    words: Mapping[str, Any], options: RunOptions, say: Callable[[str], None] = lambda line: None
) -> ServedModel:
    """Open a model for a server, its priors where they fit.

    Args:
        words: `model`, `revision`, `dtype` and, where all songs are sung with some, `adapter`.
        options: device, batch size, offload, backend and jacobi; the rest is not looked at.

    Raises:
        ValueError, OSError: no such model, one that is damaged, or one that fits nowhere.
    """
    check_backend(options.backend)
    wanted = options.batch_size or _USUAL_ROWS
    one = checked_model(words)
    choice = choose_run([one] * wanted, options)
    one = replace(one, dtype=choice.dtype)
    config = configuration_of(one.model, revision=one.revision)
    own = check_parts(one.model, config, choice.levels, revision=one.revision)
    adapters = read_song_adapters(one.adapter)
    config, processor = adapters.told_to(config, open_processor(config, one.model, one.revision))
    model = open_model(one.model, revision=one.revision, dtype=one.dtype, device=str(choice.device))
    adapters.put_on(model).check_priors(choice.levels)
    files = adapters.noted_in(fingerprint(one.model, model, choice.levels))
    rows = min(choice.rows, wanted)
    waiting = settle(choice, [Group(min(choice.songs, rows), dict.fromkeys(choice.levels, rows))] * 2)
    model.offload, model.keep_loaded = waiting.offload, waiting.keep_loaded
    if options.backend != "auto":
        top = max(choice.levels)
        check_backend_here(model.lend(top), rows, options.backend)
        model.take_back(top)
    return ServedModel(
        served_name(one.model),
        {"model": one.model, "revision": one.revision, "dtype": one.dtype, "adapter": list(one.adapter)},
        {"backend": options.backend, "jacobi": numbers_at_once(options.jacobi)},
        model,
        processor,
        ClosedModel(config, own),
        rows,
        waiting.keep_loaded,
        files,
        waiting.line,
    )


def checked_model(words: Mapping[str, Any]) -> SongRequest:
    """A request of nothing but a model, for choosing a device."""
    said = {name: value for name, value in words.items() if value is not None}
    said["adapter"] = read_adapters("serve", "--adapter", said.get("adapter", ()))
    return SongRequest(**said, lyrics="la")  # words, so that the prior that reads them counts


def served_name(model: str) -> str:
    """What clients call a model: its name on the Hub, or that of its folder, which says nothing of the disk."""
    return Path(model).resolve().name if Path(model).is_dir() else model
