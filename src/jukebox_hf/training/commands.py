"""What the training commands share: words to dataclasses, errors to one sentence, and which checkpoint to go on from.

Flows in: the words of a command line. Flows out: checked arguments, a checkpoint or none, and an exit code.
"""

import argparse
import difflib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser, TrainingArguments
from transformers.utils import logging

from jukebox_hf.app.output import USER_ERRORS, guarded_output, how_to_sing, say, say_line, sentence_of
from jukebox_hf.model.checks.repository_names import PART_FOLDER, model_type_of
from jukebox_hf.model.checks.text_input import check_way, real_path
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig, JukeboxVQVAEConfig
from jukebox_hf.model.files.loading_arguments import without_bars
from jukebox_hf.training.checkpoints import SEAL, check_checkpoint, checkpoint_folders, newest_checkpoint
from jukebox_hf.training.run_record import RECORD_FILE

logger = logging.get_logger(__name__)

CONFIG_FILE = "config.json"
# Beside a configuration: of our priors, before their first step, and copied with them; of any Trainer, after the model.
_WRITTEN_BESIDE = ("trained_on.json", "trainer_state.json", "training_args.bin")
# What an empty name, as of an unset variable of a shell, would make the working directory, or a fault later on.
_NEVER_EMPTY = ("config", "model_name_or_path", "train_codes", "train_songs", "into")
# What a run writes at its end, by what is trained, and nobody could tell afterwards from what lay there before.
_REPLACED = {
    JukeboxVQVAEConfig.model_type: ("model.safetensors",),
    JukeboxPriorConfig.model_type: ("model.safetensors", "artists.json", "genres.json", "tokenizer_config.json"),
}


def read_arguments(kinds: Sequence[type], words: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Read dataclasses from flags, or from a YAML or JSON file given first, whose values flags may then overrule.

    Raises:
        ValueError: a file that cannot be read, or a value that is not allowed, in one sentence.
    """
    words, parser = list(sys.argv[1:] if words is None else words), _Parser(kinds)
    if words and Path(words[0]).suffix in (".yaml", ".yml", ".json"):
        words = _words_of(Path(words[0]), parser) + words[1:]
    *found, unknown = parser.parse_args_into_dataclasses(words, return_remaining_strings=True, look_for_args_file=False)
    require(not unknown, f"{_unknown(unknown[0] if unknown else '', parser)}; --help lists all options")
    return tuple(found)


class SentenceParser(argparse.ArgumentParser):
    """A parser whose refusals are ValueErrors, so that `run` makes one sentence of them."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists all options")


class _Parser(SentenceParser, HfArgumentParser):
    """The same for dataclasses."""

    @property
    def names(self) -> list[str]:
        """What may be said, as files say it."""
        return [option.removeprefix("--") for action in self._actions for option in action.option_strings]

    def takes_mapping(self, name: str) -> bool:
        """Whether an argument is a dictionary, which is said as JSON."""
        said = [vars(base).get("__annotations__", {}) for kind in self.dataclass_types for base in kind.__mro__]
        return any("dict" in str(names.get(name)) for names in said)  # a field's type was made plain by transformers

    def as_choice(self, name: str, value: Any) -> Any:
        """The words no and yes where they are choices: YAML reads both as false and true unless they are quoted."""
        options = [f"--{name}", *(f"--{known}" for known in self.names if known.startswith(name))]
        choices = next((one.choices for option in options for one in self._actions if option in one.option_strings), ())
        word = {False: "no", True: "yes"}.get(value) if isinstance(value, bool) else None
        return word if word in (choices or ()) else value


class _KeysOnce(yaml.SafeLoader):
    """Reads YAML, where a key that is there twice is refused."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """As composed, once its keys were compared."""
        node = super().compose_mapping_node(anchor)
        found: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            require(key.value not in found, f"line {key.start_mark.line + 1} says {key.value[:60]!r} again; keep one")
            found.add(key.value)
        return node


def _unknown(name: str, parser: _Parser) -> str:
    """The beginning of a sentence: what is not known, and what may have been meant."""
    close = difflib.get_close_matches(name.partition("=")[0].lstrip("-"), parser.names, n=2, cutoff=0.75)
    return f"unknown argument {name[:60]}" + (f" (did you mean {' or '.join(close)}?)" if close else "")


def _words_of(path: Path, parser: _Parser) -> list[str]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _KeysOnce)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    require(isinstance(values, dict), f"{path} must hold names and values, such as `learning_rate: 0.0003`")
    words = []
    for name, value in values.items():
        is_known = any(known.startswith(str(name)) for known in parser.names)  # argparse takes beginnings, too
        require(is_known, f"{path}: {_unknown(str(name), parser)}; rename it, or take it out")
        if isinstance(value, dict):
            words += [f"--{name}", _json_of(path, name, value, parser)]
        elif value is not None:
            given = value if isinstance(value, list) else [value]
            words += [f"--{name}", *(str(parser.as_choice(str(name), one)) for one in given)]
    return words


def _json_of(path: Path, name: str, value: dict[Any, Any], parser: _Parser) -> str:
    """A mapping as TrainingArguments take it from a command line."""
    require(parser.takes_mapping(name), f"{path}: {name} is a mapping, but must be a single value; give one")
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:  # dates, sets, aliases to itself
        raise ValueError(f"{path}: {name} cannot be written as JSON ({error}); use numbers, text and lists") from None


def checkpoint_to_resume(arguments: TrainingArguments) -> Path | None:
    """The checkpoint that `resume_from_checkpoint` asks for: `auto` (or `true`) for the newest whole one, or a folder.

    Raises:
        ValueError: a folder that is no whole checkpoint, or a new run over an older one's checkpoints.
    """
    wanted, output_dir = arguments.resume_from_checkpoint, arguments.output_dir
    said = str(wanted).lower() if wanted is not None and not Path(wanted).is_dir() else wanted
    if said in ("auto", "true"):
        return newest_checkpoint(output_dir)
    if wanted is not None and said != "false":
        return check_checkpoint(wanted)
    older = checkpoint_folders(output_dir)
    require(
        not older,
        f"output_dir={output_dir!r} already holds {older[0].name if older else ''}; pass --resume_from_checkpoint auto "
        f"to go on, or choose another folder",
    )
    return None


def check_output_dir(output_dir: str, kind: str, **sources: str | Path | None) -> None:
    """Refuse to write a trained network over what it is made from, or over another model; nothing is written yet.

    Args:
        output_dir: where the run is to write; a new or an empty folder, or that of an earlier run.
        kind: the model_type of what is trained.
        sources: what the run reads, by the names of its flags.

    Raises:
        ValueError: in one sentence.
    """
    said = {"output_dir": output_dir} | {name: sources[name] for name in _NEVER_EMPTY if name in sources}
    for name, value in said.items():
        require(value is None or str(value).strip() != "", f"{name}={value!r} names nothing; give a name, or drop it")
    target = real_path(output_dir)
    require(not target.exists() or target.is_dir(), f"output_dir={output_dir!r} is a file; name a new folder")
    check_way(f"output_dir={output_dir!r}", output_dir)
    for name, source in sources.items():
        if source is None or not (os.path.exists(source) or name == "into"):  # which may be made at the end
            continue
        theirs = real_path(source)
        folder = theirs.parent if theirs.name == CONFIG_FILE else theirs
        is_inside = name == "into" and target.is_relative_to(folder)  # where nothing else may lie
        require(
            target != folder and not is_inside,
            f"output_dir={output_dir!r} {'lies in' if target != folder else 'is'} the folder of {name}="
            f"{str(source)!r}, whose files would be overwritten; name a new folder",
        )
    for folder in (target, target.parent):
        is_whole = model_type_of(folder) == JukeboxConfig.model_type
        require(
            not is_whole or not (folder == target or PART_FOLDER.fullmatch(target.name)),
            f"output_dir={output_dir!r} is {'' if folder == target else 'a part of '}a whole Jukebox, which this run "
            f"would overwrite; name a new folder, and put the result into one with --into or assemble",
        )
    found = model_type_of(target)
    require(
        found == "" or _is_own(target, found, kind),
        f"output_dir={output_dir!r} holds another model ({found}: {CONFIG_FILE}), which this run would overwrite; name "
        f"a new folder",
    )
    foreign = [] if _is_of_a_run(target) else [name for name in _REPLACED[kind] if (target / name).exists()]
    require(
        not foreign,
        f"output_dir={output_dir!r} holds {', '.join(foreign)}, but nothing of an earlier run, and this one would "
        f"overwrite that; name a new folder",
    )


def _is_of_a_run(folder: Path) -> bool:
    """Whether a run of training has written into a folder, finished or not."""
    return _is_marked(folder) or any((folder / name).is_file() for name in _WRITTEN_BESIDE)


def _is_marked(folder: Path) -> bool:
    """Whether a folder holds what runs of ours alone write."""
    return (folder / RECORD_FILE).is_file() or any((each / SEAL).is_file() for each in checkpoint_folders(folder))


def _is_own(folder: Path, found: str, kind: str) -> bool:
    """Whether a folder with a configuration is that of an earlier run, killed perhaps while it saved its model.

    Args:
        folder: where the run is to write.
        found, kind: the model_type of what lies there, and of what is trained.
    """
    if found == "unreadable":  # cut short; what else is beside it could be somebody else's
        return _is_marked(folder)
    return found == kind and _is_of_a_run(folder)


def run(main: Callable[[], None]) -> int:
    """Run a command; whatever a user can cause becomes one sentence on stderr and exit code 2."""
    with guarded_output(), without_advice(), without_bars():
        try:
            main()
        except KeyboardInterrupt:
            return 130
        except (*USER_ERRORS, ImportError) as error:
            say_line(f"jukebox-hf: {sentence_of(error)}", err=True)
            return 2
        except Exception:
            say(traceback.format_exc().rstrip(), err=True)
            return 1
    return 0


def train_as_told(train: Callable[..., None], arguments: Sequence[Any], what: str) -> None:
    """Train, and say at the end what lies where; the last of the arguments are those of the Trainer."""
    train(*arguments)
    if arguments[-1].should_save:
        say_line(f"{arguments[-1].output_dir}: {what}")


def say_whole(out: Path) -> None:
    """Say where a whole Jukebox lies, and how it sings, which takes lists of names."""
    has_lists = (out / "artists.json").exists()
    say_line(f"{out}: a whole Jukebox; {f'sing: {how_to_sing(out)}' if has_lists else 'it has no lists of names'}")


@contextmanager
def without_advice() -> Iterator[None]:
    """A context: transformers' loggers at ERROR, unless its verbosity was changed or `log_level` says more."""
    level = logging.get_verbosity()
    if level == logging.WARNING:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
