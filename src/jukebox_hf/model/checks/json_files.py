"""The door for JSON: whatever is read as JSON, from a file, a line or a state, is read here.

Flows in: a path or a text. Flows out: plain values of the kind that was asked for, finite, each key once; or one
sentence that names the source and the cause.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .file_kinds import GET_AGAIN, check_file, refuse_kind
from .validation import require

LARGEST_JSON = 2**26  # bytes: label lists have one million, a song's times ten
_DEEPEST = 100  # what any of ours holds is under ten deep; deeper values cannot even be printed
_JSON_KINDS = {dict: "a JSON object", list: "a JSON list"}


def read_json(path: str | Path, kind: type | None = dict, *, largest: int = LARGEST_JSON) -> Any:
    """Read a JSON file.

    Args:
        kind: what it must hold: dict, list, or None for anything.
        largest: more bytes are refused unread.

    Raises:
        FileNotFoundError: no such file, in one sentence.
        ValueError: no JSON, no UTF-8, nested deeply, too large, empty, a web page, a git-LFS pointer, no regular
            file, a key that is there twice, a number that is not finite, or another outer type; in one sentence.
        OSError: a file that may not be read.
    """
    check_file(path, largest)
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    refuse_kind(path, content[:512], wanted="JSON")
    return parse_json(content, path, kind, largest=largest)


def parse_json(
    text: str | bytes, source: object, kind: type | None = dict, *, cure: str = GET_AGAIN, largest: int = LARGEST_JSON
) -> Any:
    """Read JSON out of a text, such as a line of a file or a fact of a state.

    Args:
        source: what to call it in a refusal, such as "songs.jsonl, line 3".
        kind: what it must hold: dict, list, or None for anything.

    Raises:
        ValueError: as `read_json`, in one sentence that begins with `source` and ends with `cure`.
    """
    require(isinstance(text, (str, bytes)), f"{source} is not text but a {type(text).__name__}; {cure}")
    require(len(text) <= largest, f"{source} has more than {largest:,} bytes; {cure}")
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_each_once, parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not text in UTF-8 (byte {error.start}); {cure}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{source} is not JSON ({error.msg}: {where}); {cure}") from None
    except RecursionError:
        raise ValueError(f"{source} is nested too deeply; {cure}") from None
    except ValueError as error:  # a key twice, a number that is not finite or has thousands of digits
        reason = str(error).partition("; use sys.")[0]  # Python's cure for long numbers is for programs
        raise ValueError(f"{source} is no JSON to rely on ({reason}); {cure}") from None
    require(not _is_deep(value), f"{source} is nested too deeply; {cure}")
    require(
        kind is None or isinstance(value, kind),
        f"{source} must hold {_JSON_KINDS.get(kind, kind)}, not a {type(value).__name__}; {cure}",
    )
    return value


def _each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} is there twice")
        found[key] = value
    return found


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number[:60]} is no finite number")
    return value


def _is_deep(value: Any) -> bool:
    layer = [value]
    for _ in range(_DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, (dict, list)))
        layer = [value for values in inner for value in values if isinstance(value, (dict, list))]
    return bool(layer)
