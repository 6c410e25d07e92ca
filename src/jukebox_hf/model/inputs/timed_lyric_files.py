"""Lyrics in time from files of others: LRC (a time per line or per word), SRT, WebVTT, and JSON of timed words.

Flows in: the text of a file. Flows out: `TimedText`, the words as they are sung and, where they are wanted, their
times. Every line is read once, so that long files take linear time; what cannot be is named with its line.
"""

import html
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from ..checks.json_files import parse_json
from ..checks.text_input import check_lyric_text, shown
from ..checks.timed_text import other_format
from ..checks.validation import is_number, require
from .lyric_structure import read_structure
from .lyric_times import LyricTime, read_lyric_times

ALIGNMENT_FORMAT = "jukebox-alignment-1"  # of `TimedLyrics.to_dict`
_CLOCK = r"(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2})(?:[.,:](\d{1,9}))?"
_TIME_MARK = re.compile(rf"[\[<][ \t]*{_CLOCK}[ \t]*[\]>]")
# Once those are gone: at the beginning of a line, or with a part of a second.
_NO_TIME_MARK = re.compile(
    r"(?:^\s*[\[<][ \t]*[+-]?\d+:\d{1,2}|[\[<][ \t]*[+-]?\d+:\d{2}[.,]\d+)(?:[.,:]\d+){0,2}[ \t]*[\]>]"
)
_ARROW = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?")
_LEADING = re.compile(rf"\s*\[[ \t]*{_CLOCK}[ \t]*\]")
_LRC_TAGS = "al|ar|au|by|encoding|hash|id|kana|la|length|lr|offset|re|sign|ti|tool|total|ve|#"
_LRC_TAG = re.compile(rf"\s*\[({_LRC_TAGS}):([^\]]*)\]\s*", re.I)
_HEADER = re.compile(rf"(?:\s*\[(?:{_LRC_TAGS}):[^\]]*\])+\s*(?=$|[\[<][ \t]*{_CLOCK}[ \t]*[\]>])", re.I)
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_IN_BRACKETS = re.compile(r"\s*\[[^\[\]]{1,80}\]\s*")
_UNTIMED = "or sing it without its times"


@dataclass(frozen=True)
class TimedText:
    """Words as they are sung, without stamps; from which second on which of their characters is; () if not wanted."""

    lyrics: str
    times: tuple[LyricTime, ...] = ()


class _Piece(NamedTuple):
    """Words, and the second at which they begin."""

    text: str
    start: float | None


class _Line(NamedTuple):
    """A line that is sung: where it stands in the file, its pieces, and the second at which it ends, if it says one."""

    where: str
    pieces: tuple[_Piece, ...]
    end: float | None = None

    @property
    def start(self) -> float | None:
        return self.pieces[0].start


def read_timed_text(name: str, text: str, *, with_times: bool = True) -> TimedText | None:
    """Read the text of a file; None for one without times, whose words are the lyrics.

    Args:
        name: of the file, for the sentence.
        text: all of it.
        with_times: whether its times are wanted, and so must be whole.

    Raises:
        ValueError: no words, times that run backwards, words without times; in one sentence with the line.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = other_format(text)
    if found is None or found[0] not in _TIMED_READERS:
        return None
    return _TIMED_READERS[found[0]](name, text, with_times)


def fitted_times(name: str, lyrics: str, timed: TimedText) -> tuple[LyricTime, ...]:
    """The times of a file for lyrics that were typed apart: the same letters, in other lines or with other marks.

    Raises:
        ValueError: other words, in one sentence with the first that differ.
    """
    typed, sung = (
        [place for place in read_structure(text).sources if text[place].isalnum()] for text in (lyrics, timed.lyrics)
    )
    pairs = zip(typed, sung, strict=False)
    wrong = next((pair for pair in pairs if lyrics[pair[0]].casefold() != timed.lyrics[pair[1]].casefold()), None)
    if wrong is None and len(typed) != len(sung):
        wrong = (
            [*typed, len(lyrics)][min(len(typed), len(sung))],
            [*sung, len(timed.lyrics)][min(len(typed), len(sung))],
        )
    if wrong is not None:
        number = lyrics.count("\n", 0, wrong[0]) + 1
        raise ValueError(
            f"{name} has the words {_around(timed.lyrics, wrong[1])} where line {number} of the lyrics has "
            f"{_around(lyrics, wrong[0])}; give the times of these lyrics"
        )
    times: dict[int, float] = {}
    for character, second in timed.times:
        before = bisect_left(sung, character)
        is_end = character == len(timed.lyrics) or timed.lyrics[character].isspace() or before == len(sung)
        place = (typed[before - 1] + 1 if before else 0) if is_end else typed[before]
        times.setdefault(place, second)
    return read_lyric_times(name, [[place, times[place]] for place in sorted(times)])


# --- formats ----------------------------------------------------------------------------------------------------------


def _lrc(name: str, text: str, with_times: bool) -> TimedText:
    lines: list[_Line] = []
    later, is_sorted = 0.0, False
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            for tag, value in _LRC_TAG.findall(header[0]):
                if tag.lower() != "offset" or not value.strip():
                    continue
                is_whole = re.fullmatch(r"\s*[+-]?\d{1,9}\s*", value) is not None
                require(
                    is_whole or not with_times,
                    f"{name}, line {number}, has the offset {shown(value)}, which is no whole number of "
                    f"milliseconds; correct it, such as [offset:+250], or remove it",
                )
                # as players have it: more than 0 brings the words earlier
                later = -int(value) / 1000 if is_whole else later
            line = line[header.end() :]
            if not line:
                continue
        where, starts, at = f"{name}, line {number},", [], 0
        wrong = _NO_TIME_MARK.search(_TIME_MARK.sub("", line))
        if wrong is not None:
            require(
                not with_times,
                f"{where} has the time {shown(wrong[0])}, which no song has; correct it, such as [01:02.50], or remove "
                f"it",
            )
            line = line.replace(wrong[0], "")
        while stamp := _LEADING.match(line, at):
            starts.append(_seconds(stamp.groups()))
            at = stamp.end()
        rest = line[at:]
        if _TIME_MARK.search(rest):
            lines.append(_line_of_words(where, rest, starts))
        elif rest.strip() or starts:
            lines += [_Line(where, (_Piece(rest.strip(), start),)) for start in starts or [None]]
            is_sorted = is_sorted or len(starts) > 1
    lines = [_moved(line, later) for line in lines]
    if is_sorted:  # a chorus that is written once, with all its times; headings stay before what they head
        starts = [line.start if line.start is not None else next_start for line, next_start in _with_next(lines)]
        order = sorted(range(len(lines)), key=lambda i: math.inf if starts[i] is None else starts[i])
        lines = [lines[index] for index in order]
    return _joined(name, lines, with_times)


def _line_of_words(where: str, text: str, starts: Sequence[float]) -> _Line:
    """A line with a time before each word, and perhaps one behind the last."""
    stamps = list(_TIME_MARK.finditer(text))
    edges = zip([0, *(stamp.end() for stamp in stamps)], [*(stamp.start() for stamp in stamps), len(text)], strict=True)
    seconds = [next(iter(starts), None), *(_seconds(stamp.groups()) for stamp in stamps)]
    pieces = [_Piece(text[first:last], second) for second, (first, last) in zip(seconds, edges, strict=True)]
    end = None if pieces[-1].text.strip() else pieces[-1].start
    return _Line(where, tuple(piece for piece in pieces if piece.text.strip()) or tuple(pieces[:1]), end)


def _cues(name: str, text: str, with_times: bool) -> TimedText:
    """SRT and WebVTT: blocks with a line `from --> to`."""
    is_vtt, lines = text.lstrip().startswith("WEBVTT"), []
    numbered = enumerate(text.split("\n"), start=1)
    for is_block, block in groupby(numbered, lambda pair: bool(pair[1].strip())):
        if not is_block:
            continue
        rows = list(block)
        arrow = next((place for place, (_, row) in enumerate(rows[:2]) if "-->" in row), None)
        if arrow is None:
            stray = [] if is_vtt else [row for row in rows if not row[1].strip().isdigit()]
            lines += [_Line(f"{name}, line {number},", (_Piece(_bare(row), None),)) for number, row in stray]
            continue
        number, row = rows[arrow]
        found = _ARROW.fullmatch(row)
        require(
            found is not None,
            f"{name}, line {number}, has the times {shown(row.strip())}, but they are written as 00:01:02.500 --> "
            f"00:01:04.000; correct them",
        )
        start, end = _seconds(found.groups()[:4], hours=True), _seconds(found.groups()[4:], hours=True)
        require(
            not with_times or start <= end,
            f"{name}, line {number}, ends at {end:g} s, before it begins at {start:g} s; correct its times, {_UNTIMED}",
        )
        lines += _cue_lines(name, rows[arrow + 1 :], start, end)
    return _joined(name, lines, with_times)


def _cue_lines(name: str, rows: Sequence[tuple[int, str]], start: float, end: float) -> Iterator[_Line]:
    """The lines of a cue; the second and later ones begin where the words before them leave off."""
    texts = [(number, row) for number, row in rows if _bare(row)]
    total, done = sum(len(_bare(row)) for _, row in texts) or 1, 0
    for place, (number, row) in enumerate(texts):
        begin = start + (end - start) * done / total
        stamps = list(_TIME_MARK.finditer(row))
        edges = [0, *(stamp.end() for stamp in stamps)], [*(stamp.start() for stamp in stamps), len(row)]
        seconds = [begin, *(_seconds(stamp.groups(), hours=True) for stamp in stamps)]
        pieces = [
            _Piece(_unmarked(row[first:last]), second) for second, first, last in zip(seconds, *edges, strict=True)
        ]
        kept = tuple(piece for piece in pieces if piece.text.strip())
        done += len(_bare(row))
        yield _Line(f"{name}, line {number},", kept, end if place + 1 == len(texts) else None)


def _json(name: str, text: str, with_times: bool) -> TimedText:
    content = parse_json(text, name, None, cure="give JSON that jukebox-hf align wrote")
    return read_timed_json(name, content, with_times=with_times)


def read_timed_json(name: str, content: Any, *, with_times: bool = True) -> TimedText:
    """As `read_timed_text`, of parsed JSON: an alignment of ours, or words in time as many aligners write them.

    Raises:
        ValueError: JSON without timed words too.
    """
    if isinstance(content, dict) and content.get("format") == ALIGNMENT_FORMAT:
        return _alignment(name, content, with_times)
    by_key = content if isinstance(content, dict) else {"words": content}
    key = next((key for key in ("words", "chunks", "segments", "lines") if isinstance(by_key.get(key), list)), "")
    listed, are_lines = by_key.get(key), key in ("segments", "lines")
    require(
        isinstance(listed, list) and len(listed) > 0,
        f"{name} is JSON without timed words; give what jukebox-hf align wrote, or a list of objects with word, start "
        f"and end in seconds",
    )
    lines: list[_Line] = []
    for number, entry in enumerate(listed, start=1):
        where = f"{name}, entry {number},"
        own, start, end = _entry(where, entry)
        inner = entry.get("words") if are_lines else None
        if isinstance(inner, list) and inner:
            words = [_entry(f"{where} word {place},", word) for place, word in enumerate(inner, start=1)]
            lines.append(_Line(where, tuple(_Piece(f" {word.strip()}", at) for word, at, _ in words), words[-1][2]))
        else:
            lines.append(_Line(where, (_Piece(own, start),), end))
    return _joined(name, lines, with_times, between="\n" if are_lines else " ")


def _entry(where: str, entry: Any) -> tuple[str, float | None, float | None]:
    """Text, start and end of a word or a line, by the names that aligners and transformers give them."""
    require(isinstance(entry, Mapping), f"{where} is {shown(entry)}, but must be an object with word, start and end")
    text = next((entry[key] for key in ("word", "text") if isinstance(entry.get(key), str)), None)
    require(text is not None, f"{where} has no word; write it as word or text")
    pair = entry.get("timestamp")
    start, end = pair if isinstance(pair, list) and len(pair) == 2 else (entry.get("start"), entry.get("end"))
    for second in (start, end):
        require(
            second is None or (is_number(second) and second >= 0),
            f"{where} has the time {shown(second)}, which must be a number of seconds, 0 or more; correct it",
        )
    return text, start, end


def _alignment(name: str, content: Mapping[str, Any], with_times: bool) -> TimedText:
    """What `jukebox-hf align` wrote: the lyrics as typed, and words with their places in them."""
    lyrics = check_lyric_text(f"{name} lyrics", content.get("lyrics"))
    if not with_times:
        return TimedText(lyrics)
    times: list[list[Any]] = []
    try:
        for line in content["lines"]:
            for word in line["words"]:
                if word["is_sung"]:
                    pairs = [[word["first"], word["start"]], [word["last"], word["end"]]]
                    times += pairs[1:] if times and times[-1][0] == word["first"] else pairs
    except (KeyError, TypeError, IndexError):
        raise ValueError(
            f"{name} is no alignment of format {ALIGNMENT_FORMAT}; make it with jukebox-hf align"
        ) from None
    require(len(times) > 0, f"{name} times no word that is sung; align the song again, {_UNTIMED}")
    # An end never lies behind the next word's start.
    for before, after in pairwise(times):
        if is_number(before[1]) and is_number(after[1]) and 0 <= before[1] - after[1] <= 1e-6:
            before[1] = after[1]
    return TimedText(lyrics, read_lyric_times(name, times))


_TIMED_READERS: dict[str, Callable[[str, str, bool], TimedText]] = {
    "LRC": _lrc,
    "SRT or WebVTT": _cues,
    "WebVTT": _cues,
    "JSON": _json,
}


# --- lines to text ----------------------------------------------------------------------------------------------------


def _joined(name: str, lines: Sequence[_Line], with_times: bool, between: str = "\n") -> TimedText:
    """Lines as one text, and the times of its characters."""
    require(any(piece.text.strip() for line in lines for piece in line.pieces), f"{name} holds no words; give some")
    texts: list[str] = []
    times: list[LyricTime] = []
    length, latest = 0, 0.0
    for line, following in _with_next(lines):
        if not any(piece.text.strip() for piece in line.pieces):  # a time alone: what was sung before ends here
            if with_times and times and line.start is not None and length > times[-1].character:
                latest = _later(line.where, latest, line.start)
                times.append(LyricTime(length, latest))
            continue
        length += len(between) if texts else 0
        text = "".join(piece.text for piece in line.pieces)
        margin, at = len(text) - len(text.lstrip()), length
        texts.append(text.strip())
        for piece in line.pieces if with_times and not _IN_BRACKETS.fullmatch(text) else ():
            require(
                piece.start is not None,
                f"{line.where} has words without a time ({shown(piece.text.strip())}); put one before them, {_UNTIMED}",
            )
            latest = _later(line.where, latest, piece.start)
            place = max(at - margin + len(piece.text) - len(piece.text.lstrip()), length)
            while times and times[-1].character >= place:
                times.pop()
            times.append(LyricTime(place, latest))
            at += len(piece.text)
        length += len(texts[-1])
        end = line.end if following is None or line.end is None else min(line.end, following)
        if with_times and end is not None and times and end >= latest:
            times.append(LyricTime(length, end))
    lyrics = check_lyric_text(name, between.join(texts))
    require(not with_times or len(times) > 0, f"{name} times no words that are sung; give a time for each line")
    return TimedText(lyrics, read_lyric_times(name, times) if with_times else ())


def _with_next(lines: Sequence[_Line]) -> list[tuple[_Line, float | None]]:
    """Lines, each with the second at which the next one that says it begins."""
    found: list[tuple[_Line, float | None]] = []
    after = None
    for line in reversed(lines):
        found.append((line, after))
        after = line.start if line.start is not None else after
    return found[::-1]


def _later(where: str, latest: float, second: float) -> float:
    require(
        second >= latest,
        f"{where} goes back to {second:g} s after {latest:g} s; put the lines in order, or correct a time, {_UNTIMED}",
    )
    return second


def _moved(line: _Line, seconds: float) -> _Line:
    """The line so many seconds later, never before the song begins."""
    if not seconds:
        return line
    pieces = (
        piece._replace(start=None if piece.start is None else max(piece.start + seconds, 0.0)) for piece in line.pieces
    )
    return line._replace(pieces=tuple(pieces), end=None if line.end is None else max(line.end + seconds, 0.0))


def _seconds(parts: Iterable[str | None], *, hours: bool = False) -> float:
    """A time from its digits; in LRC three numbers are minutes, seconds and hundredths."""
    hour, minute, second, fraction = parts
    if hour is not None and fraction is None and not hours:
        hour, minute, second, fraction = None, hour, minute, second
    share = int(fraction) / 10 ** len(fraction) if fraction else 0.0
    return int(hour or 0) * 3600 + int(minute) * 60 + int(second) + share


def _unmarked(text: str) -> str:
    return html.unescape(_MARKUP.sub("", text))


def _bare(row: str) -> str:
    return _unmarked(_TIME_MARK.sub("", row)).strip()


def _around(text: str, place: int) -> str:
    return shown(text[place : place + 20].split("\n", 1)[0]) if place < len(text) else "nothing more"
