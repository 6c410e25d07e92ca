"""OUT.finetune/: which stages of a run are done, and with what, so that it goes on wherever it was stopped.

Flows in: what was asked for, and what each stage found. Flows out: the same again. A stage is done when its mark is
there; each mark is written whole, after all that the stage wrote.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jukebox_hf.app.runs.held_folder import HeldFolder
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.text_input import beside
from jukebox_hf.model.checks.validation import require

SUFFIX = ".finetune"
_RUN_LOCK, _STAGE_MARKS, _RUN = "lock", "stages.json", "run"
_STAGES_FORMAT = "jukebox-finetune-1"
_SONG_NAMES, _FILE_DIGESTS = "songs", "recordings"  # names and words, and digests of files


class WorkFolder:
    """The folder of a run, beside its result; use it within `locked`.

    Args:
        out: the result.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, beside(out, SUFFIX)
        self._held: HeldFolder | None = None
        self._marks: dict[str, Any] = {}

    @contextlib.contextmanager
    def locked(self, run: Mapping[str, Any]) -> Iterator[None]:
        """Hold the folder for a run; what is there must have been begun with the same.

        Args:
            run: all that decides what comes out, as plain values.

        Raises:
            ValueError: another process is at work there, or another run began it.
            OSError: it cannot be made or written.
        """
        require(not self.path.is_symlink(), f"{self.path} is a symbolic link; remove it or choose another OUT")
        self.path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as open_now:
            self._held = open_now.enter_context(HeldFolder.opened(self.path, go_on="give the same line again"))
            handle = self._held.open_to_keep(_RUN_LOCK)
            open_now.callback(os.close, handle)
            holder = self._held.take_lock(handle, _RUN_LOCK)
            require(holder is None, f"{self.path} is in use by {holder}; wait for it, or choose another OUT")
            self._marks = self._read()
            self._check_same(run)
            yield
        self._held = None

    @property
    def is_begun(self) -> bool:
        """Whether a run has left marks here; looks only."""
        return (self.path / _STAGE_MARKS).is_file()

    def found(self, stage: str) -> dict[str, Any] | None:
        """What a stage that is done found; None where it is still to be done."""
        return self._marks.get(stage)

    def mark(self, stage: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """A stage is done; gives what it found as JSON gives it back."""
        self._marks = json.loads(json.dumps(self._marks | {stage: found}))
        self._held.write(_STAGE_MARKS, (json.dumps(self._marks, indent=1, ensure_ascii=False) + "\n").encode())
        return self._marks[stage]

    def _read(self) -> dict[str, Any]:
        content = self._held.read(_STAGE_MARKS)
        if content is None:
            foreign = [name for name in self._held.names() if name not in (_RUN_LOCK, ".staged")]
            require(
                not foreign,
                f"{self.path} holds {', '.join(foreign[:3])}, but no {_STAGE_MARKS} of a run; move it away, or choose "
                f"another OUT",
            )
            return {"format": _STAGES_FORMAT}
        cure = "remove that folder to begin anew"
        marks = parse_json(content.decode("utf-8", "replace"), str(self.path / _STAGE_MARKS), cure=cure)
        require(marks.get("format") == _STAGES_FORMAT, f"{self.path / _STAGE_MARKS} is of another format; {cure}")
        return marks

    def _check_same(self, run: Mapping[str, Any]) -> None:
        begun, run = self._marks.get(_RUN), json.loads(json.dumps(run))
        if begun is None:
            self.mark(_RUN, run)
            return
        begun = {_FILE_DIGESTS: run.get(_FILE_DIGESTS)} | begun  # which older versions did not write down
        begun |= {name: " ".join(begun[name].split()) for name in ("artist", "genre") if begun.get(name)}  # nor so
        changed = [name for name in sorted(run.keys() | begun.keys()) if run.get(name) != begun.get(name)]
        if _FILE_DIGESTS in changed:  # which tell of songs that were added or removed too
            changed = [name for name in changed if name != _SONG_NAMES]
        told = "; ".join(_told(name.replace("_", "-"), begun.get(name), run.get(name)) for name in changed[:3])
        require(
            not changed,
            f"{self.path} was begun with other values ({told}); say the same again to go on, or remove that folder to "
            f"begin anew",
        )


def _told(name: str, begun: Any, now: Any) -> str:
    """What has changed; of files and songs by their names, the first of them that is another one."""
    if name == _SONG_NAMES and isinstance(begun, list) and isinstance(now, list):
        begun, now = ({str(song[0]): song[1:] for song in songs} for songs in (begun, now))
    if isinstance(begun, dict) and isinstance(now, dict):
        others = [key for key in sorted(begun.keys() | now.keys()) if begun.get(key) != now.get(key)]
        if not others:
            return f"{name} in another order"
        other = others[0]
        change = "has other words or another length now" if name == _SONG_NAMES else "is another file now"
        if (other in begun) != (other in now):
            change = "was added" if other in now else "was removed"
        more = f", and {len(others) - 1} more" * (len(others) > 1)
        return f"{name}: {other or 'a configuration'} {change}{more}"
    return f"{name} {_short(begun)}, now {_short(now)}"


def _short(value: Any) -> str:
    if value is None:
        return "not said"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
