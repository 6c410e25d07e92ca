"""Song lists: metadata.csv and metadata.jsonl become rows, each word where its writer meant it, or a refusal by line.

Flows in: files that people make by hand, with spreadsheets or scripts. Flows out: rows with the same columns. Nothing
is guessed: a row whose cells do not fit the header, or a cell that is no text, is named with its line and a cure.
"""

import csv
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.utils import logging

from jukebox_hf.model.checks.file_kinds import check_file, refuse_kind
from jukebox_hf.model.checks.json_files import parse_json
from jukebox_hf.model.checks.text_input import (
    MAX_PATH,
    check_lyric_text,
    check_no_file_name,
    check_text,
    check_words,
    utf8_text,
)
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.lyric_structure import with_new_lines

logger = logging.get_logger(__name__)

FILE_NAME = "file_name"
WORD_COLUMNS = ("artist", "genre", "lyrics")
TIMED_LYRICS = "timed_lyrics"
_FOR_PEOPLE = ("timed_words", "pacing")  # what our own corpora add, for other readers
_NOTHING = ("nan", "none", "null", "n/a", "#n/a", "<na>")  # what programs write where nothing is known
_LIST = re.compile(r"\[\s*(?:(['\"]).*['\"])?\s*\]|[({]\s*(['\"]).*\2\s*[,:].*[)}]", re.S)
_MOST_LIST_BYTES = 2**31  # bytes: a million songs with their times
_LONGEST_CELL = 2**25
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class ListedRow:
    """One song of a list: its line, counted from 1, and its cells by column."""

    line: int
    cells: dict[str, Any]


def read_song_list(path: Path) -> list[ListedRow]:
    """Read a metadata.csv, separated by commas, semicolons, tabs or bars, or a metadata.jsonl.

    Raises:
        ValueError: what is no such file, or has a row that does not fit; in one sentence with the line.
    """
    text = read_listed_text(path)
    rows = list(_csv_rows(path, text) if path.suffix == ".csv" else _json_rows(path, text))
    require(len(rows) > 0, f"{path} lists no song; add one line for each")
    cure = f"write its words into the cell, or name it under {TIMED_LYRICS} where it has their times"
    for row in rows:
        check_no_file_name(
            f"{path}, line {row.line}, lyrics", row.cells.get("lyrics") or "", _folders_beside(path, row), cure
        )
    return rows


def _folders_beside(path: Path, row: ListedRow) -> Iterator[Path]:
    """Where a file that a row names may lie: beside the list, or beside the recording."""
    yield path.parent
    yield path.parent.joinpath(row.cells.get(FILE_NAME) or "").parent


def checked_word(where: str, column: str, value: Any) -> Any:
    """A cell that is to be a song's word: text, or None where nothing is said.

    Args:
        where: file and line, or data set and row.

    Raises:
        ValueError: another kind of value, or text that cannot be kept or sung; in one sentence.
    """
    if value is None or column not in (*WORD_COLUMNS, FILE_NAME):
        return value
    name = f"{where} {column}"
    require(
        isinstance(value, str),
        f"{name}={value!r:.60} is {_kind(value)}, but must be text; write it in quotes, or leave it empty",
    )
    plain = value.strip()
    require(
        column == FILE_NAME or plain.lower() not in _NOTHING,
        f"{name}={plain!r} is what programs write where nothing is known; leave it empty",
    )
    require(
        column == FILE_NAME or _LIST.fullmatch(plain) is None,
        f"{name}={plain!r:.60} is a list written as text; write the words alone",
    )
    if column == "lyrics":
        return with_new_lines(check_lyric_text(name, value))
    return check_text(name, value, MAX_PATH) if column == FILE_NAME else check_words(name, value)


def check_column_names(where: object, columns: Sequence[str], first: str) -> None:
    """Refuse columns that are nearly those that are read, and say which are not read at all.

    Args:
        first: the column that names the sound.

    Raises:
        ValueError: in one sentence.
    """
    read = (first, *WORD_COLUMNS, TIMED_LYRICS)
    unread = [name for name in columns if name and name not in (*read, *_FOR_PEOPLE)]
    for name in unread:
        near = difflib.get_close_matches(name.strip().lower(), [each for each in read if each not in columns], 1, 0.8)
        require(
            not near,
            f"{where} has the column {name!r:.60}, and no {near[0] if near else ''}; rename it, or remove it",
        )
    if unread:
        logger.warning_once(f"{where}: the columns {', '.join(unread):.200} are not read, only {', '.join(read)}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth value"
    names = {int: "a number", float: "a number", list: "a list", dict: "a table", bytes: "bytes"}
    return names.get(type(value), f"a {type(value).__name__}")


def read_listed_text(path: Path, wanted: str = "a list of songs") -> str:
    """The file as text; what is not UTF-8 is named with its line.

    Raises:
        ValueError: in one sentence.
    """
    check_file(path, _MOST_LIST_BYTES)
    content = path.read_bytes()
    refuse_kind(path, content[:512], wanted=wanted, cure="name a text file in UTF-8")
    return utf8_text(path, content)


def _csv_rows(path: Path, text: str) -> Iterator[ListedRow]:
    text, before_header = _without_sep(text)
    separator = _separator(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    before = csv.field_size_limit(_LONGEST_CELL)
    columns: list[str] | None = None
    line = 1 + before_header
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                where = f"{path}, line {line},"
                if columns is None:
                    columns = _columns(path, cells)
                else:
                    yield ListedRow(line, _fitted(where, columns, cells, separator))
            line = reader.line_num + 1 + before_header
    except csv.Error as error:
        is_long = "field limit" in str(error)
        cure = "shorten that cell" if is_long else "put cells with quotes in quotes, and double those inside"
        raise ValueError(f"{path}, line {line}, cannot be read ({error}); {cure}") from None
    finally:
        csv.field_size_limit(before)


def _without_sep(text: str) -> tuple[str, int]:
    """The text without the line `sep=;` that tells spreadsheets what separates cells; how many lines are gone."""
    found = re.match(r"sep=.?\r?\n", text, re.I)
    return (text[found.end() :], 1) if found else (text, 0)


def _separator(path: Path, text: str) -> str:
    """What stands between cells: what makes a file_name of a piece of the header."""
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    for separator in _SEPARATORS:
        if FILE_NAME in (_column(cell.strip().strip('"')) for cell in header.split(separator)):
            return separator
    found = ", ".join(cell.strip() for cell in header.split(",")) or "no line"
    raise ValueError(f"{path} has the columns {found:.200}, but no {FILE_NAME}; add it")


def _column(name: str) -> str:
    return name.strip().lower()


def _columns(path: Path, cells: Sequence[str]) -> list[str]:
    columns = [_column(cell) for cell in cells]
    double = next((name for index, name in enumerate(columns) if name and name in columns[:index]), None)
    require(double is None, f"{path} has the column {double!r} twice in its header; keep one")
    check_column_names(path, columns, FILE_NAME)
    return columns


def _fitted(where: str, columns: Sequence[str], cells: Sequence[str], separator: str) -> dict[str, Any]:
    """The cells of a row by column; as many as the header has, or the row is refused."""
    require(
        len(cells) <= len(columns),
        f"{where} has {len(cells)} cells, but the header {len(columns)}; put text that holds "
        f"{_SEPARATORS[separator]} in double quotes",
    )
    require(
        len(cells) == len(columns),
        f"{where} has {len(cells)} cell{'s' * (len(cells) > 1)}, but the header {len(columns)}; write all, and leave "
        f"empty what is not known",
    )
    stray = next((cell for name, cell in zip(columns, cells, strict=True) if not name and cell.strip()), None)
    require(stray is None, f"{where} has {stray!r:.60} in a column without a name; name it, or remove it")
    row = {name: cell for name, cell in zip(columns, cells, strict=True) if name}
    return {name: checked_word(where, name, cell if name == "lyrics" else cell.strip()) for name, cell in row.items()}


def _json_rows(path: Path, text: str) -> Iterator[ListedRow]:
    columns: list[str] | None = None
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        given = parse_json(line, where, cure="write one JSON object per line")
        row = {_column(name): value for name, value in given.items()}
        require(len(row) == len(given), f"{where}, has a name twice, apart from case and blanks; keep one")
        if columns is None:
            columns = list(row)
            check_column_names(path, columns, FILE_NAME)
        require(FILE_NAME in row, f"{where}, has the columns {', '.join(row):.200}, but no {FILE_NAME}; add it")
        missing = [name for name in (*WORD_COLUMNS, TIMED_LYRICS) if (name in columns) != (name in row)]
        require(
            not missing,
            f"{where}, {'has' if missing and missing[0] in row else 'lacks'} {', '.join(missing)}, other than the "
            f"lines before; write all for every song, and null for what is not known",
        )
        yield ListedRow(number, {name: checked_word(f"{where},", name, value) for name, value in row.items()})
