"""One declaration of an option: a field of a dataclass becomes an option of each command that takes it.

Flows in: dataclasses whose fields carry an `Option`: songs' in `runs/song_request.py`, runs' in `runs/run_options.py`,
the server's in `serving/serve_options.py`. Flows out: functions whose signatures typer reads. Imports neither torch nor
transformers, so that `--help` is quick.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from jukebox_hf.model.checks.text_input import check_here

PANELS = {
    "model": None,
    "file": None,
    "song": "The song",
    "drawing": "How it is drawn",
    "run": "The run",
    "server": "The server",
    "caps": "Caps",
}
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")]
_OPTION_KEY = "option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """What a field says of itself as an option of the command line.

    Attributes:
        help: a full phrase for `--help`.
        of: what it is about, a key of `PANELS`, such as the model, the song or the run.
        commands: which commands take it, where one takes all of a dataclass.
        flag: its name on the command line; "" for that of the field.
        file_help: of a second option, `--NAME-file`, which reads the value from a file; "" for none.
        callback: what typer does with a value, such as checking a path.
        is_repeated: it may be said several times; the field is then a tuple.
        env: a variable of the environment that says it where the command line does not; "" for none.
        can_be_off: a switch that is off by itself can be said to be off, as something else may have switched it on.
    """

    help: str
    of: str
    commands: tuple[str, ...]
    flag: str = ""
    file_help: str = ""
    callback: Callable[[Any], Any] | None = None
    is_repeated: bool = False
    env: str = ""
    can_be_off: bool = False


def declared(default: Any, option: Option) -> Any:
    """A field of a dataclass that is an option too."""
    return field(default=default, metadata={_OPTION_KEY: option})


def options_of(kind: type) -> dict[str, Any]:
    """The options among the fields of a dataclass, by the names of the fields."""
    return {one.name: one.metadata[_OPTION_KEY] for one in fields(kind) if _OPTION_KEY in one.metadata}


def flag_of(name: str, option: Option, value: Any = True) -> str:
    """How an option is written on the command line, such as --top-k; `--no-strict` where the value is False."""
    return f"--{'no-' * (value is False)}{(option.flag or name).replace('_', '-')}"


def in_lower_case(word: str | None) -> str | None:
    """A word out of a few, as they are written: MP3 means mp3."""
    return None if word is None else word.strip().lower()


def as_command(
    function: Callable[..., None], name: str, *kinds: type, only: Collection[str] | None = None
) -> Callable[..., None]:
    """The function as typer takes it: where it has `**options`, the options of dataclasses are spelt out.

    Args:
        function: its positional parameters come first in `--help`; its keyword-only ones lead the panel that they name.
        name: of the command; of each dataclass it takes the options that name it.
        kinds: dataclasses. What is not said is None, so that it can be told from a default, unless the dataclass has
            `FILLS_IN = True`.
        only: names of fields, and of `NAME_file`, instead of those that name the command.
    """
    own = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    found = [one for kind in kinds for one in _parameters(kind, name, only)]
    named = [one for one in own if one.kind is one.KEYWORD_ONLY]
    paneled, plain = [one for one in named if _panel(one)], [one for one in named if not _panel(one)]
    spelt = sorted([*paneled, *found, *plain], key=lambda one: list(PANELS.values()).index(_panel(one)))
    parameters = [one for one in own if one.kind is not one.KEYWORD_ONLY] + spelt

    @functools.wraps(function)
    def command(**given: Any) -> None:
        function(**given)

    del command.__wrapped__
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _parameters(kind: type, command: str, only: Collection[str] | None) -> Iterator[inspect.Parameter]:
    hints, fills_in = get_type_hints(kind), getattr(kind, "FILLS_IN", False)
    for one in fields(kind):
        option = one.metadata.get(_OPTION_KEY)
        if option is None:
            continue
        is_wanted = command in option.commands if only is None else one.name in only
        if is_wanted:
            default = one.default if fills_in and one.default is not MISSING else None
            hint = list[str] if option.is_repeated else hints[one.name]
            hint = hint if fills_in else hint | None
            yield _parameter(one.name, hint, default, option, _declarations(one, option))
        name = f"{one.name}_file"
        if option.file_help and (is_wanted if only is None else name in only):
            from_file = Option(help=option.file_help, of=option.of, commands=(), callback=check_here)
            yield _parameter(name, Path | None, None, from_file, (flag_of(name, from_file),))


def _declarations(one: Field, option: Option) -> tuple[str, ...]:
    """The names of an option; what is on, or undecided, unless it is said can be switched off too."""
    flag = flag_of(one.name, option)
    is_switch = one.type in (bool, bool | None)
    has_both = is_switch and (one.default is not False or option.can_be_off)
    return (f"{flag}/{flag_of(one.name, option, False)}",) if has_both else (flag,)


def _parameter(name: str, hint: Any, default: Any, option: Option, flags: tuple[str, ...]) -> inspect.Parameter:
    told = typer.Option(
        *flags,
        help=option.help,
        rich_help_panel=PANELS[option.of],
        callback=option.callback,
        show_default=True,
        envvar=option.env or None,
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, told])


def _panel(one: inspect.Parameter) -> str | None:
    return next((told.rich_help_panel for told in getattr(one.annotation, "__metadata__", ())), None)
