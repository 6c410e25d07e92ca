"""What a person sees while a song is written: one bar per level with the time that is left, and lines between.

Bars and lines go to stderr, results to stdout, so that `--json` can be piped.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tqdm import tqdm

from jukebox_hf.app.output import clean, say_line

if TYPE_CHECKING:  # torch: too slow for --help
    from jukebox_hf.model.modeling_jukebox import JukeboxModel
    from jukebox_hf.model.songs.song_state import SongState


@contextlib.contextmanager
def warnings_said_after(say: Callable[[str], None], said: set[str]) -> Iterator[None]:
    """Warnings of the block become lines of ours once it has ended well, each once; `said` are those that were."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        line = _as_line(warning.message)
        if line not in said:
            said.add(line)
            say(line)


def _as_line(message: Warning | str) -> str:
    return clean(f"jukebox-hf: {' '.join(str(message).split())}")


class Progress:
    """Bars where stderr is a terminal, lines anywhere."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._is_terminal = sys.stderr.isatty()

    def say(self, line: str) -> None:
        """One line on stderr, over the bar."""
        with tqdm.external_write_mode(file=sys.stderr):
            say_line(line, err=True)

    def warn(self, line: str) -> None:
        """One line on what becomes other than was asked for, such as an artist whom the model does not know."""
        self.say(line)

    @contextlib.contextmanager
    def warnings_as_lines(self) -> Iterator[None]:
        """Inside, a warning is at once one line of ours, without the file and the code it comes from."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: self.warn(_as_line(message))
            yield

    def begin_level(self, level: int, total: int, done: int) -> None:
        """A level of `total` codes begins, `done` of which are there."""
        self.end_level()
        if self._is_terminal:
            self._bar = tqdm(total=total, initial=done, desc=f"level {level}", unit=" codes", mininterval=0.5)

    def reach(self, position: int) -> None:
        """The code at `position` is being written."""
        if self._bar is not None and position >= self._bar.n:
            self._bar.update(position + 1 - self._bar.n)

    def tell(self, words: str) -> None:
        """Words behind the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str(words)

    def saved(self, state: "SongState", level: int, model: "JukeboxModel") -> None:
        """After each window, all codes so far are on the disk; whoever wants to hear them decodes them."""

    def end_level(self) -> None:
        """The level is done, or will not be."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
