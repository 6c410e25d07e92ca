"""Recordings that are cut short, or several joined to one, of which libsndfile plays a part and says nothing.

Flows in: the bytes of a file. Flows out: what is wrong with it, as the end of a sentence, or None. Words would else be
spread over a part of their song.
"""

import os
import re
import struct
from typing import BinaryIO

from ..checks.validation import require
from ..files.atomic_files import BYTES_AT_ONCE

FORGIVEN_SECONDS = 0.1  # headers of lossy formats promise a little more than there is
_TAIL = 1 << 17  # bytes: a page of Ogg has at most 65,307
_UNKNOWN_SIZE = 0x7FFFF000  # sizes from here on say that the writer did not know the length
_TOLERATED = 4096  # bytes that a header may promise too many, as when padding is missing
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_OGG = re.compile(rb"OggS\x00[\x02\x03\x06\x07].{20}[\x01-\xff]{2}(?:\x01vorbis|OpusHead|\x7fFLAC|Speex   )", re.S)
_PAGE = re.compile(rb"OggS\x00[\x00-\x07]")
_CUT, _SAVE_ANEW = "is cut short", "get the file again, or save what there is anew"
_JOINED = "is several recordings joined to one, of which only the first is played; save them anew as one, or apart"


def flaw_of_header(file: BinaryIO) -> str | None:
    """What the beginning and the end of a file tell: that sound is missing, or comes after its end.

    Args:
        file: to be read anywhere; its position is changed.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _flaw_of_chunks(file, size, "<", b"data")
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        return _flaw_of_chunks(file, size, ">", b"SSND")
    if head[:4] == b"OggS":
        return _flaw_of_pages(file, size)
    return _flaw_of_mp3(file, size) if head[:3] == b"ID3" or head[:1] == b"\xff" else None


def check_whole(file: BinaryIO, name: object, *, thorough: bool) -> None:
    """Refuse a file that is cut short, or several joined to one; its position is as before.

    Args:
        thorough: look for a second stream in the whole of a FLAC or Ogg file too.

    Raises:
        ValueError: in one sentence.
    """
    before = file.tell()
    flaw = flaw_of_header(file)
    require(flaw is None, f"{name} {flaw}")
    require(not (thorough and is_joined(file)), f"{name} {_JOINED}")
    file.seek(before)


def check_end(name: object, have: int, promised: int, rate: int) -> None:
    """Refuse sound that ends before its header says.

    Raises:
        ValueError: in one sentence.
    """
    missing = (promised - have) / rate
    require(
        missing <= FORGIVEN_SECONDS,
        f"{name} ends {missing:.2f} s before its header says, so it is cut short or damaged; {_SAVE_ANEW}",
    )


def is_joined(file: BinaryIO) -> bool:
    """Whether a second FLAC or Ogg stream comes behind the first; reads the whole file."""
    file.seek(0)
    mark = {b"fLaC": _FLAC, b"OggS": _OGG}.get(file.read(4))
    if mark is None:
        return False
    offset, before = 0, b""
    file.seek(0)
    # Streams that sound together begin together, in the first pages of a file.
    while piece := file.read(BYTES_AT_ONCE):
        text = before + piece
        if any(offset - len(before) + found.start() > _TOLERATED for found in mark.finditer(text)):
            return True
        offset, before = offset + len(piece), text[-64:]
    return False


def _flaw_of_chunks(file: BinaryIO, size: int, order: str, wanted: bytes) -> str | None:
    """WAV and AIFF: the chunk with the sound must be there as its size says."""
    offset = 12
    while offset + 8 <= size:
        file.seek(offset)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == wanted:
            missing = offset + 8 + length - size
            is_known = 0 < length < _UNKNOWN_SIZE
            return _missing(missing, length) if is_known and missing > _TOLERATED else None
        offset += 8 + length + length % 2
    return None


def _flaw_of_pages(file: BinaryIO, size: int) -> str | None:
    """Ogg: the last page must be whole."""
    file.seek(max(size - _TAIL, 0))
    tail = file.read()
    offset = max((found.start() for found in _PAGE.finditer(tail)), default=-1)
    if offset < 0:
        return f"{_CUT} or damaged (its last {_TAIL:,} bytes hold no page of Ogg); {_SAVE_ANEW}"
    count = tail[offset + 26] if offset + 26 < len(tail) else 0
    lengths = tail[offset + 27 : offset + 27 + count]
    is_whole = offset + 27 <= len(tail) and len(lengths) == count and offset + 27 + count + sum(lengths) <= len(tail)
    return None if is_whole else f"{_CUT} (its last page is not whole); {_SAVE_ANEW}"


def _flaw_of_mp3(file: BinaryIO, size: int) -> str | None:
    """MP3: where its first frame is a Xing header, that knows how many bytes there are."""
    start = 0
    file.seek(0)
    head = file.read(10)
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(start)
    frame = file.read(200)
    mark = next((at for at in (13, 21, 36) if frame[at : at + 4] in (b"Xing", b"Info")), None)
    if frame[:1] != b"\xff" or mark is None or len(frame) < mark + 16:
        return None
    (flags,) = struct.unpack_from(">I", frame, mark + 4)
    if not flags & 2:
        return None
    (length,) = struct.unpack_from(">I", frame, mark + (12 if flags & 1 else 8))
    missing = start + length - size
    if missing > _TOLERATED and length < _UNKNOWN_SIZE:
        return _missing(missing, length)
    file.seek(start + length)
    behind = file.read(4)
    is_next = behind[:3] == b"ID3" or (behind[:1] == b"\xff" and len(behind) == 4 and behind[1] & 0xE0 == 0xE0)
    return _JOINED if length > 0 and size - start - length > _TOLERATED and is_next else None


def _missing(missing: int, length: int) -> str:
    return f"{_CUT} ({missing:,} of {length:,} bytes of its sound are missing); {_SAVE_ANEW}"
