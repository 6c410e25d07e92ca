"""Everything this program prints goes through here: no text from a file reaches the terminal as a command to it.

Names of songs, labels, tensors and files are other people's words. Control characters (C0, C1, DEL), bidirectional
and other invisible format characters, line separators and lone surrogates are shown as escapes such as \\x1b.

    clean(name)        one line, nothing but what can be seen; newlines are escaped too
    say_line(text)     print one line (stderr with err=True)
    say(text)          print lines that we composed; newlines and tabs stay
    say_json(value)    print valid JSON, with what `clean` would escape escaped as JSON does
    shell_word(word)   a word of a command that can be pasted into a shell and shows no control character
    guarded_output()   within it, all that anything else writes to stdout and stderr is cleaned as well

Imports neither torch nor transformers.
"""

import contextlib
import json
import logging
import math
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError

# What a user can cause: files, values, a disk that is full. Anything else is a bug and shows where.
USER_ERRORS = (ValueError, OSError, FloatingPointError, SafetensorError)
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_SHELL = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_MOVES = re.compile(r"(?:\n|\r|\x1b\[A)*")


def clean(text: object) -> str:
    """One line of what can be seen: everything else is shown as an escape, newlines and tabs too."""
    text = str(text)
    return text if text.isprintable() else "".join(map(_seen, text))


def clean_lines(text: object) -> str:
    """As `clean`, but newlines and tabs stay, for texts of several lines that we composed ourselves."""
    return "".join(c if c in "\n\t" else _seen(c) for c in str(text))


def say(text: object = "", err: bool = False) -> None:
    """Print lines to stdout, or to stderr."""
    stream = sys.stderr if err else sys.stdout
    print(_encodable(clean_lines(text), stream), file=stream, flush=True)


def say_line(text: object, err: bool = False) -> None:
    """Print one line to stdout, or to stderr, whatever names it holds."""
    say(clean(text), err)


def json_text(value: Any, **options: Any) -> str:
    """JSON text of a value, in which all that cannot be seen is escaped; a number that is not finite becomes null."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)
    return "".join(c if c == "\n" or not _is_unseen(c) else json.dumps(c)[1:-1] for c in text)


def say_json(value: Any) -> None:
    """Print a value to stdout as one line of JSON."""
    text = json_text(value)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(_finite(value), allow_nan=False)
    print(text, flush=True)


def say_found(found: Any, is_json: bool, line: str) -> None:
    """Print what was found as JSON for programs, or in a line for people."""
    if is_json:
        say_json(found)
    else:
        say_line(line)


def sentence_of(error: BaseException) -> str:
    """What an error says, in one line; a system's error names its file, what is wrong and a cure."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, (str, os.PathLike)):
        return f"{os.fspath(error.filename)} cannot be used ({error.strerror}); check that path and who may use it"
    if isinstance(error, FileNotFoundError) and _is_here_gone():
        return "the folder that this shell stands in was removed; go to one that is there, such as with cd ~"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # without [Errno 27]
    return " ".join(said.split()) or type(error).__name__


def _is_here_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def shell_word(word: str) -> str:
    """Quote a word for bash, zsh or ksh; what cannot be seen is written as in $'\\033'."""
    if not any(map(_is_unseen, word)):
        return shlex.quote(word)
    return "$'" + "".join(map(_shell_letter, word)) + "'"


def how_to_sing(model: Path, words: str = "") -> str:
    """The line that makes a song with a model, with more words of a command line where there are some."""
    return f"jukebox-hf generate --model {shell_word(str(model))}{words} --out song.wav"


@contextlib.contextmanager
def guarded_output() -> Iterator[None]:
    """Within, stdout and stderr clean all that is written to them: warnings, logs, tracebacks, other people's bars.

    A terminal still gets colours, and the moves between several bars. A stream that is closed is as good as /dev/null;
    what stderr cannot take is lost, as no song may end for it.
    """
    old = tuple(_there(stream, number) for number, stream in ((1, sys.stdout), (2, sys.stderr)))
    new = _Cleaned(old[0], "standard output"), _Cleaned(old[1], None)
    sys.stdout, sys.stderr = new
    _redirect_logs(dict(zip(map(id, old), new, strict=True)))
    try:
        yield
    finally:
        _redirect_logs(dict(zip(map(id, new), old, strict=True)))
        sys.stdout, sys.stderr = old


class _Cleaned:
    """A stream that cleans what is written to it, and is the other stream in all else.

    What cannot be written is lost where the stream has no name, and else refused once, by that name.
    """

    def __init__(self, stream: TextIO, name: str | None) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # asked so, libraries find out that this is no stream of bytes
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._refusals_named():
            self._stream.write(_encodable(self._cleaned(text), self._stream))
        return len(text)

    def flush(self) -> None:
        with self._refusals_named():
            self._stream.flush()

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _refusals_named(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # of `| head`, which has read enough
            if self._name is not None:
                raise
            _to_nowhere(self._stream)
        except OSError as error:
            _to_nowhere(self._stream)
            if self._name is not None:
                raise OSError(
                    f"{self._name} cannot be written ({error.strerror}); free space, or send it elsewhere"
                ) from None

    def _cleaned(self, text: str) -> str:
        is_terminal = self._stream.isatty()
        if is_terminal and _MOVES.fullmatch(text):
            return text
        kept = [*_COLOUR.findall(text), ""] if is_terminal else [""]
        parts = _COLOUR.split(text) if is_terminal else [text]
        return "".join(
            "".join(c if c in "\n\r\t" else _seen(c) for c in part) + colour
            for part, colour in zip(parts, kept, strict=True)
        )


def _there(stream: TextIO | None, number: int) -> TextIO:
    """A stream, or one to nowhere in place of a closed one, whose number no file of ours may get."""
    if stream is not None:
        return stream
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    try:
        os.fstat(number)
    except OSError:
        os.dup2(nowhere.fileno(), number)
    return nowhere


def _to_nowhere(stream: TextIO) -> None:
    """Lose what a stream holds and will be given: at its end Python would fail over it once more."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _redirect_logs(streams: dict[int, Any]) -> None:
    loggers = [logging.root, *(one for one in logging.root.manager.loggerDict.values() if hasattr(one, "handlers"))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if id(vars(handler).get("stream")) in streams:
            handler.stream = streams[id(handler.stream)]


def _is_unseen(c: str) -> bool:
    return not c.isprintable() and unicodedata.category(c) in _UNSEEN


def _seen(c: str) -> str:
    if not _is_unseen(c):
        return c
    if c in _SHELL:
        return _SHELL[c]
    code = ord(c)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _encodable(text: str, stream: TextIO) -> str:
    """What a stream of another encoding, such as ASCII, cannot write is shown as an escape too."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _shell_letter(c: str) -> str:
    if not _is_unseen(c):
        return f"\\{c}" if c in "\\'" else c
    if c in _SHELL:
        return _SHELL[c]
    try:
        spelt = os.fsencode(c)
    except UnicodeEncodeError:  # half an emoji, which no shell could be given
        spelt = c.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in spelt)  # of \xNN some shells read on into the next letters
