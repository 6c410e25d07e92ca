"""Label lists on disk: OpenAI's `name;id` lines, ours and transformers 4's JSON.

Flows in: untrusted files. Flows out: dictionaries name -> id that are safe to look names up in.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checks.file_kinds import check_file, read_head, refuse_kind
from ..checks.json_files import LARGEST_JSON, read_json
from ..checks.validation import require
from .label_vocabulary import RULES
from .lyric_characters import CHARACTERS, UNKNOWN_CHARACTER

LabelTable = dict[str, int]
MAX_ID = 10**7  # as many rows as a configuration allows
_V2_SUFFIX = ".v2"
NO_LISTS = (
    "there are no lists of artists and genres here (no label_versions, which tokenizer_config.json holds); convert the "
    "model again with --labels, or make a tokenizer with JukeboxTokenizer.from_label_files"
)


def checked_versions(versions: object) -> list[str]:
    """The label version of each level, as a list; what is none is refused."""
    require(versions is not None, NO_LISTS)
    require(
        isinstance(versions, (list, tuple))
        and 0 < len(versions) <= 16
        and all(version in list(RULES) for version in versions),
        f"label_versions={versions!r:.80} must hold one of {', '.join(RULES)} for each level, finest first, such as "
        f"['v2', 'v2', 'v3']",
    )
    return list(versions)


def read_label_list(path: Path) -> LabelTable:
    """Read one of OpenAI's lists, a `name;id` on each line.

    Lines are stripped, names are not. Where a name stands twice, the last line counts.

    Raises:
        ValueError: a missing file, or a line that is not `name;id`, with file and line.
    """
    table: LabelTable = {}
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if number > 1 and not line.strip():
            continue
        name, separator, label_id = line.strip().rpartition(";")
        require(
            bool(separator) and re.fullmatch("[0-9]{1,8}", label_id) is not None and int(label_id) < MAX_ID,
            f"{path}, line {number}, is {line.strip()[:60]!r}, but must be `name;id` with an id under {MAX_ID}; get "
            f"OpenAI's list again",
        )
        table[name.lower()] = int(label_id)
    return table


def read_tables(path: Path, versions: Sequence[str]) -> dict[str, LabelTable]:
    """Read the lists of the given versions from JSON, ours or transformers 4's.

    Ours holds one dictionary per version. transformers 4's is one flat dictionary, where v2 names end in ".v2".

    Raises:
        ValueError: a missing or damaged file, or one without a version that is needed.
    """
    found = read_json_dictionary(path)
    if found and not any(isinstance(value, dict) for value in found.values()):
        found = {
            "v2": {name.removesuffix(_V2_SUFFIX): i for name, i in found.items() if name.endswith(_V2_SUFFIX)},
            "v3": {name: i for name, i in found.items() if not name.endswith(_V2_SUFFIX)},
        }
    for version in versions:
        require(
            bool(found.get(version)),
            f"{path} holds no {version} names, but the label versions are {', '.join(versions)}; use the file that "
            f"belongs to this model",
        )
    return {version: checked_table(str(path), found[version]) for version in dict.fromkeys(versions)}


def checked_table(source: str, table: object) -> LabelTable:
    """Refuse a table that is not names with ids."""
    require(isinstance(table, dict), f"{source} must map names to ids, not be a {type(table).__name__}")
    for name, label_id in table.items():
        require(
            isinstance(name, str) and type(label_id) is int and 0 <= label_id < MAX_ID,
            f"{source} gives {str(name)[:60]!r} the id {label_id!r:.60}, but ids are integers from 0 to under "
            f"{MAX_ID}; get the list again",
        )
    return dict(table)


def check_lyrics_file(path: Path, version: str) -> None:
    """Refuse transformers 4's lyrics.json where its characters are not those of the version that reads them."""
    expected = {character: index for index, character in enumerate((UNKNOWN_CHARACTER, *CHARACTERS[version]))}
    require(
        read_json_dictionary(path) == expected,
        f"{path} does not hold the {len(expected)} characters of {version}, which tokenizer_config.json names for the "
        f"top level; use files of one model",
    )


def write_tables(path: Path, tables: dict[str, LabelTable]) -> None:
    """Write the lists as plain JSON, one name a line."""
    path.write_text(json.dumps(tables, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json_dictionary(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold a dictionary."""
    require(Path(path).is_file(), f"{path} is missing; give the folder that holds it")
    return read_json(path)


def _read(path: Path) -> str:
    require(path.is_file(), f"{path} is missing; give the folder that holds it")
    check_file(path, LARGEST_JSON)
    refuse_kind(path, read_head(path), wanted="a list of names")
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 ({error}); get the file again") from error
