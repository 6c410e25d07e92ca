"""Mixed labels: several artists or genres at once with weights, others at each level, others from a second on.

Flows in: what a person wrote for an artist or a genre. Flows out: entries by level, normalised, and rows of numbers
that stand in a tensor. Imports neither torch nor transformers, so that names are looked up quickly.

    Ada Brook                        one name
    Ada Brook:0.7,Bo Vale:0.3        both, their embeddings mixed by weight
    2=Ada Brook,0=Bo Vale            another at each level
    Ada Brook@0,Bo Vale@6.5          another from a second of the audio on
    2=Ada Brook:0.7@0,2=Bo Vale@6.5,0=Ada Brook
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..checks.text_input import check_words, shown
from ..checks.validation import MAX_SONG_SECONDS, is_integer, is_number, plain, require

MOST_PARTS = 16  # ids that one level of a song mixes, over all its styles
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf)"
_LEVEL = re.compile(r"\s*(\d+)\s*=")
_SECOND = re.compile(rf"@\s*({_NUMBER})\s*$", re.IGNORECASE)
_WEIGHT = re.compile(rf":\s*({_NUMBER})\s*$", re.IGNORECASE)
# Which some scripts and emoji are spelt with.
_JOINERS = frozenset(["\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))])
_GRAMMAR = "write NAME:WEIGHT,NAME:WEIGHT, LEVEL=NAME,LEVEL=NAME or NAME@0,NAME@SECOND"


@dataclass(frozen=True)
class LabelEntry:
    """One name of a mix.

    Attributes:
        name: or an id.
        weight: beside the others of its level and second; 1 where it is not said.
        level: which hears it; None: every level that no entry names.
        second: of the audio, from which it is heard.
    """

    name: str | int
    weight: float = 1.0
    level: int | None = None
    second: float = 0.0


class LabelPart(NamedTuple):
    """A label id of a mix at one level: its share, and the sample of the audio from which it is heard."""

    id: int
    weight: float
    from_sample: int


def read_labels(kind: str, said: Any) -> tuple[LabelEntry, ...]:
    """What was said for an artist or a genre, as entries; one with nothing but a name where nothing is mixed.

    Args:
        kind: `artist` or `genre`, for the sentence.
        said: a name, an id, a mix as the module's docstring writes it, or dictionaries: weights by name, such as
            {"Ada Brook": 0.7, "Bo Vale": 0.3}, or any of these by level, such as {2: "Ada Brook", 0: "Bo Vale"}.

    Raises:
        ValueError: weights that are no numbers or sum to 0, a level or a beginning that is left out, or too many names.
    """
    said = plain(said)
    if is_integer(said):
        return (LabelEntry(said),)
    entries = tuple(_of_mapping(kind, said)) if isinstance(said, Mapping) else tuple(_of_text(kind, said))
    _check(kind, said, entries)
    return entries


def new_name(said: str, name: str) -> str:
    """A name that is to be listed, with single blanks, so that nothing stands beside it which looks the same.

    Args:
        said: option or field, for the sentence.

    Raises:
        ValueError: an empty name, one with characters that nobody sees, or one that is a mix where it is sung.
    """
    name = " ".join(check_words(said, name).split())
    require(name != "", f"{said} is empty; give a name, or leave it out")
    unseen = next((one for one in name if unicodedata.category(one) == "Cf" and one not in _JOINERS), None)
    require(unseen is None, f"{said} holds {unseen!r} in {shown(name)}, which nobody sees; type the name again")
    try:
        is_one = read_labels(said, name) == (LabelEntry(name),)
    except ValueError:
        is_one = False
    require(is_one, f"{said} {shown(name)} is read as a mix where it is sung (LEVEL=NAME, NAME:WEIGHT); give another")
    return name


def is_mixed(entries: Sequence[LabelEntry]) -> bool:
    """Whether these say more than one name for all levels and all of the song."""
    return len(entries) > 1 or entries[0].level is not None


def at_level(kind: str, entries: Sequence[LabelEntry], level: int) -> tuple[LabelEntry, ...]:
    """The entries that a level hears, their weights adding up to 1 in every style, by the second they begin at.

    Raises:
        ValueError: a level of which nothing is said.
    """
    own = [entry for entry in entries if entry.level == level] or [entry for entry in entries if entry.level is None]
    named = ", ".join(sorted({str(entry.level) for entry in entries}))
    require(
        len(own) > 0, f"{kind} names levels {named}, but not level {level}; add {level}=NAME, or one without a level"
    )
    totals: dict[float, float] = {}
    for entry in own:
        totals[entry.second] = totals.get(entry.second, 0.0) + entry.weight
    shares = [LabelEntry(one.name, one.weight / totals[one.second], level, one.second) for one in own]
    return tuple(sorted(shares, key=lambda one: one.second))


def label_parts(
    kind: str, entries: Sequence[LabelEntry], level: int, rate: int, ids: Callable[[str | int], Sequence[int]]
) -> tuple[LabelPart, ...]:
    """The ids of a level's entries with their weights, and the samples they begin at.

    Args:
        rate: samples per second.
        ids: of a name; all of a name's ids have its weight, since the embeddings of a genre's words are added up.

    Raises:
        ValueError: a level of which nothing is said, or more ids than a mix holds.
    """
    heard = at_level(kind, entries, level)
    parts = tuple(LabelPart(number, one.weight, round(one.second * rate)) for one in heard for number in ids(one.name))
    require(
        len(parts) <= MOST_PARTS,
        f"{kind} mixes {len(parts)} ids at level {level}, over the {MOST_PARTS} allowed; use fewer names",
    )
    return parts


def parts_at(parts: Sequence[LabelPart], sample: int) -> tuple[LabelPart, ...]:
    """Those of the style that is heard at a sample of the audio."""
    begun = [part.from_sample for part in parts if part.from_sample <= sample]
    return tuple(part for part in parts if part.from_sample == max(begun, default=0))


def label_text(kind: str, said: Any) -> Any:
    """A mix given as a dictionary in the words of the command line; anything else as it is.

    Raises:
        ValueError: as in `read_labels`.
    """
    if not isinstance(said, Mapping):
        return said
    return ",".join(map(_in_words, read_labels(kind, said)))


def _in_words(entry: LabelEntry) -> str:
    level = "" if entry.level is None else f"{entry.level}="
    second = f"@{entry.second:g}" if entry.second else ""
    return f"{level}{entry.name}:{repr(entry.weight).removesuffix('.0')}{second}"


def _of_mapping(kind: str, said: Mapping[Any, Any], level: int | None = None) -> Iterator[LabelEntry]:
    require(0 < len(said) <= MOST_PARTS, f"{kind} mixes {len(said)} names; give 1 to {MOST_PARTS}")
    is_by_level = level is None and any(isinstance(value, (str, Mapping)) for value in said.values())
    for key, value in said.items():
        key, value = plain(key), plain(value)
        if is_by_level and is_integer(value):  # an id, beside names of other levels
            value = {value: 1}
        if is_by_level:  # JSON turns numbers into strings
            require(
                is_integer(key) or (isinstance(key, str) and key.isdecimal()),
                f"{kind} holds {shown(key)}: {shown(value)}, where a weight is a number and a level a whole number; "
                f"write weights by name, or names by level",
            )
            inner = _of_mapping(kind, value, int(key)) if isinstance(value, Mapping) else _of_text(kind, value)
            for entry in inner:
                require(
                    entry.level in (None, int(key)), f"{kind} names levels inside of level {key}; name each level once"
                )
                yield LabelEntry(entry.name, entry.weight, int(key), entry.second)
            continue
        require(
            is_integer(key) or isinstance(key, str), f"{kind} holds {shown(key)}, which is no name; write names, or ids"
        )
        require(
            is_number(value), f"{kind}={shown(key)} has the weight {shown(value)}, which must be a number; {_GRAMMAR}"
        )
        yield LabelEntry(key if is_integer(key) else check_words(kind, key), float(value), level)


def _of_text(kind: str, said: object) -> Iterator[LabelEntry]:
    """The entries of a text. Names may hold commas: an entry ends at its mark, or where a level begins the next."""
    several = "several songs are a list of dictionaries, or a batch of them; " * isinstance(said, (list, tuple))
    require(
        isinstance(said, str),
        f"{kind}={shown(said)} must be a name, an id, or a mix, {{name: weight}}; {several}use '' where there is none",
    )
    text = check_words(kind, said)
    pieces, entries = text.split(","), [""]
    for piece in pieces:
        before = entries[-1]
        is_closed = bool(_SECOND.search(before) or _WEIGHT.search(before) or _LEVEL.match(piece))
        if before and is_closed:
            entries.append(piece)
        else:
            entries[-1] = f"{before},{piece}" if before else piece
    if len(entries) == 1 and not _LEVEL.match(text):
        yield LabelEntry(text)  # a name of its own, even if a number ends it
        return
    for entry in entries:
        yield _entry(kind, entry)


def _entry(kind: str, text: str) -> LabelEntry:
    rest, level, second, weight = text, None, 0.0, 1.0
    is_marked = False
    if found := _LEVEL.match(rest):
        level, rest, is_marked = int(found[1]), rest[found.end() :], True
    if found := _SECOND.search(rest):
        second, rest, is_marked = float(found[1]), rest[: found.start()], True
    if found := _WEIGHT.search(rest):
        weight, rest, is_marked = float(found[1]), rest[: found.start()], True
    require(
        is_marked and rest.strip() != "",
        f"{kind} mixes names, but {shown(text)} has {'no name' if is_marked else 'no weight, level or second'}; "
        f"{_GRAMMAR}",
    )
    name = rest.strip()
    return LabelEntry(name, weight, level, second)


def _check(kind: str, said: Any, entries: Sequence[LabelEntry]) -> None:
    styles: dict[tuple[int | None, float], float] = {}
    for entry in entries:
        require(
            math.isfinite(entry.weight) and entry.weight >= 0,
            f"{kind}: {shown(entry.name)} has the weight {entry.weight:g}, which must be 0 or more; {_GRAMMAR}",
        )
        require(
            0 <= entry.second <= MAX_SONG_SECONDS,
            f"{kind}: {shown(entry.name)} is to begin at second {entry.second:g}, which must lie from 0 to "
            f"{MAX_SONG_SECONDS}; {_GRAMMAR}",
        )
        style = entry.level, entry.second
        styles[style] = styles.get(style, 0.0) + entry.weight
    empty = next((style for style, total in styles.items() if total <= 0), None)
    require(empty is None, f"{kind}={shown(said)}: the weights sum to 0; give one of them a positive weight")
    require(
        all(math.isfinite(total) for total in styles.values()),
        f"{kind}={shown(said)}: the weights sum to more than any number holds; divide them all by the largest",
    )
    for level in dict.fromkeys(level for level, _ in styles):
        first = min(second for of, second in styles if of == level)
        where = "" if level is None else f" at level {level}"
        require(
            first == 0,
            f"{kind}={shown(said)} begins at second {first:g}{where}, and nothing says what is heard before; let one "
            f"name begin at @0",
        )
