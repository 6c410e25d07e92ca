"""Values that the options of a song can have: each is checked in one sentence, and read as `generate` takes it.

Flows in: where a value stands, its name, and what somebody wrote there. Flows out: the value as a request keeps it.
Imports neither torch nor transformers before a value is checked.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from jukebox_hf.model.checks.seeds import check_seed
from jukebox_hf.model.checks.takes_wanted import MOST_TAKES
from jukebox_hf.model.checks.text_input import MAX_NAME, MAX_PATH, check_here, check_lyric_text, check_text, check_words
from jukebox_hf.model.checks.validation import MAX_SONG_SECONDS, is_integer, is_number, require
from jukebox_hf.model.inputs.label_mixes import label_text, read_labels
from jukebox_hf.model.inputs.lyric_times import lyric_times_text, read_lyric_times

MOST_WEIGHT = 10  # of an adapter
LEAST_SECONDS = 0.001  # no code is shorter
TIMES_OF_FILE = "file"  # said of lyric_times: those in --lyrics-file
Check = Callable[[str, str, Any], Any]  # where it stands, name, value -> value as it is kept


def by_level(name: str, text: str | None, kind: Callable[[str], Any]) -> Any:
    """`0.9` becomes a number for all levels, `2=0.9,1=0.8` a dictionary; None stays None.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        if "=" not in text:
            return kind(text)
        pairs = [(int(level), kind(value)) for level, value in (piece.split("=") for piece in text.split(","))]
    except ValueError:
        raise ValueError(
            f"--{name.replace('_', '-')} {text!r} must be a number, or numbers by level such as 2=0.9,1=0.8"
        ) from None
    twice = [level for level, count in Counter(level for level, _ in pairs).items() if count > 1]
    require(not twice, f"--{name.replace('_', '-')} {text!r} says level {twice[0] if twice else ''} twice; keep one")
    return dict(pairs)


def numbers_at_once(text: str | None) -> Any:
    """`8` or `auto` is for all levels, `1=8,0=auto` a dictionary; None stays None.

    Raises:
        ValueError: anything else.
    """
    try:
        return by_level("jacobi", text, lambda number: number if number == "auto" else int(number))
    except ValueError as error:
        require("twice" in str(error), f"--jacobi {text!r} must be a number, auto, or such by level as 1=8,0=auto")
        raise


def level_list(text: str | None) -> list[int] | None:
    """`2,1,0` becomes a list.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError:
        raise ValueError(f"--levels {text!r} must be levels with commas between them, such as 2,1,0") from None


def stretch(name: str, text: str | None) -> tuple[float, float, float | None] | None:
    """`0-8` becomes a stretch of seconds, `0-8@20` one and from when it counts; None stays None.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        seconds, _, begin = text.partition("@")
        start, stop = map(float, seconds.split("-"))
        return start, stop, float(begin) if begin else None
    except ValueError:
        raise ValueError(f"{name} {text!r} must be seconds such as 0-8, or 0-8@20 for from second 20 on") from None


def read_stretch(where: str, name: str, value: Any) -> str:
    """A stretch of seconds, as the command line writes it, or a list of its numbers."""
    if isinstance(value, list) and len(value) in (2, 3) and all(map(is_number, value)):
        value = f"{value[0]:g}-{value[1]:g}" + "".join(f"@{second:g}" for second in value[2:])
    stretch(f"{where} {name}", read_name(where, name, value))
    return value


def read_name(where: str, name: str, value: Any) -> str:
    """A line of text that people read."""
    return check_words(f"{where} {name}", value, MAX_NAME)


def read_label_mix(where: str, name: str, value: Any) -> str:
    """An artist or a genre, or a mix, which is kept as the command line writes it."""
    text = label_text(f"{where} {name}", value)
    check_words(f"{where} {name}", text, MAX_NAME)  # an id is a number, and a file holds names
    read_labels(f"{where} {name}", text)
    return text


def read_path(where: str, name: str, value: Any) -> str:
    """A path, or a name on the Hub, that need not exist."""
    return check_text(f"{where} {name}", value, MAX_PATH)


def adapter_and_weight(where: str, text: str) -> tuple[str, float]:
    """`band:0.7` becomes a name and a weight; a name alone has weight 1.

    Raises:
        ValueError: a weight that is no finite number, or no name.
    """
    name, colon, weight = text.rpartition(":")
    if not colon:
        name, weight = text, "1"
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    require(
        math.isfinite(value) and abs(value) <= MOST_WEIGHT,
        f"{where} {text!r} gives the weight {weight!r}, which must be a number from -{MOST_WEIGHT} to {MOST_WEIGHT}; "
        f"write such as {name or 'band'}:0.7",
    )
    require(name.strip() != "", f"{where} {text!r} names no adapter; write such as band:0.7")
    return name, value


def read_adapters(where: str, name: str, value: Any) -> tuple[str, ...]:
    """Adapters with their weights, as the command line writes them, one or several."""
    texts = [value] if isinstance(value, str) else value
    require(
        isinstance(texts, (list, tuple)),
        f"{where} has {name}={value!r:.80}, which must be a list of names such as 'band:0.7'",
    )
    read = (adapter_and_weight(f"{where} {name}", read_path(where, name, text))[0] for text in texts)
    names = [os.path.normpath(each) for each in read]  # band/ is band
    twice = [each for each, count in Counter(names).items() if count > 1]
    require(not twice, f"{where} {name} names {twice[0] if twice else ''} twice; say it once, with one weight")
    return tuple(texts)


def read_file(where: str, name: str, value: Any) -> str:
    """The path of a file."""
    read_path(where, name, value)
    require(value != "", f"{where} has {name}='', which must name a file; name one")
    return value


def read_recording(where: str, name: str, value: Any) -> str:
    """The path of a recording on this machine."""
    check_here(read_path(where, name, value))
    return read_file(where, name, value)


def read_lyric_text(where: str, name: str, value: Any) -> str:
    """Lyrics, and no file of another kind."""
    return check_lyric_text(f"{where} {name}", value)


def read_times(where: str, name: str, value: Any) -> str:
    """Times of lyrics, as the command line writes them, or a list of pairs."""
    require(
        value != TIMES_OF_FILE,
        f"{where} has {name}={TIMES_OF_FILE!r}, which means those in --lyrics-file, but there is none; name it",
    )
    return lyric_times_text(read_lyric_times(f"{where} {name}", value))


def seconds_from(least: float) -> Check:
    """The check of a number of seconds, at least so many."""

    def check(where: str, name: str, value: Any) -> float:
        require(
            is_number(value) and least <= value <= MAX_SONG_SECONDS,
            f"{where} has {name}={value!r}, which must be a number of seconds from {least:g} to {MAX_SONG_SECONDS}",
        )
        return float(value)

    return check


def read_seed(where: str, name: str, value: Any) -> int:
    """A seed."""
    check_seed(value, f"{where} has {name}=", ", which")
    return value


def read_count(where: str, name: str, value: Any) -> int:
    """A number of takes."""
    require(
        is_integer(value) and 1 <= value <= MOST_TAKES,
        f"{where} has {name}={value!r}, which must be a whole number from 1 to {MOST_TAKES}",
    )
    return value


def read_switch(where: str, name: str, value: Any) -> bool:
    """True or false."""
    require(isinstance(value, bool), f"{where} has {name}={value!r}, which must be true or false")
    return value


def read_levels(where: str, name: str, value: Any) -> str:
    """A list of levels, as the command line writes it."""
    return read_numbers(where, name, ",".join(map(str, value)) if isinstance(value, list) else value)


def read_numbers(where: str, name: str, value: Any) -> str:
    """A number, or a dictionary by level, as the command line writes them."""
    if isinstance(value, dict):
        value = ",".join(f"{level}={number}" for level, number in value.items())
    return read_name(where, name, str(value) if is_number(value) else value)


def one_of(choices: Callable[[], Collection[str]], spelt: Callable[[str], str] = str.lower) -> Check:
    """The check of a word out of a few, which are looked up when it is read."""

    def check(where: str, name: str, value: Any) -> str:
        known, said = choices(), read_name(where, name, value)
        require(spelt(said) in known, f"{where} has {name}={said!r}, which is none of {', '.join(known)}; choose one")
        return spelt(said)

    return check


def audio_formats() -> tuple[str, ...]:
    """The formats that audio is written in."""
    from jukebox_hf.data.audio_io import AUDIO_FORMATS  # which imports transformers: too slow for --help

    return tuple(AUDIO_FORMATS)


def audio_format(name: str) -> str:
    """A format as that list writes it."""
    from jukebox_hf.data.audio_io import spelt_format

    return spelt_format(name)


def draws() -> tuple[str, ...]:
    """How codes may be drawn."""
    from jukebox_hf.model.sampling.sampling_ops import DRAWS

    return tuple(DRAWS)


def guided_by() -> tuple[str, ...]:
    """What guidance may compare with."""
    from jukebox_hf.model.sampling.sampling_ops import GUIDED_BY

    return GUIDED_BY


def normalizations() -> tuple[str, ...]:
    """What may be done to the loudness of a file."""
    from jukebox_hf.data.audio_io import NORMALIZATIONS

    return NORMALIZATIONS
