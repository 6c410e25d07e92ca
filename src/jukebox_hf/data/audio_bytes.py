"""What libsndfile does not do well: it writes the clock or random numbers into some files, and tags of MP3 as mojibake.

Flows in: the bytes of an audio file. Out: the same file, with the same sound, as every run writes it; or a tag.
"""

import struct
from collections.abc import Mapping

_PAGE_HEADER = 27  # bytes, before the table of segments (RFC 3533, section 6)


def stop_clock(content: bytearray) -> None:
    """Put 0 for the time that the PEAK chunk of a float WAV holds."""
    offset = 12  # after "RIFF", size, "WAVE"
    while offset + 8 <= len(content):
        (size,) = struct.unpack_from("<I", content, offset + 4)
        if content[offset : offset + 4] == b"PEAK":
            struct.pack_into("<I", content, offset + 12, 0)
            return
        offset += 8 + size + size % 2


def number_ogg(content: bytearray) -> None:
    """Put 1 for the random number of an Ogg stream, and right the checksum of every page."""
    offset = 0
    while offset + _PAGE_HEADER <= len(content):
        lengths = offset + _PAGE_HEADER + content[offset + 26]
        stop = lengths + sum(content[offset + _PAGE_HEADER : lengths])
        struct.pack_into("<I", content, offset + 14, 1)
        struct.pack_into("<I", content, offset + 22, 0)
        struct.pack_into("<I", content, offset + 22, _checksum(content[offset:stop]))
        offset = stop


def _checksum(page: bytes) -> int:
    checksum = 0
    for byte in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ _REMAINDERS[checksum >> 24 ^ byte]
    return checksum


def _remainder(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


_REMAINDERS = [_remainder(byte) for byte in range(256)]


def id3_tag(texts: Mapping[str, str]) -> bytes:
    """What stands before the sound of an MP3: ID3v2.3 in UTF-16. (libsndfile writes UTF-8 there and calls it Latin-1.)

    Args:
        texts: by tag, such as "title"; those that ID3 has no frame for are left out.
    """
    frames = b"".join(_frame(_ID3_FRAMES[name], text) for name, text in texts.items() if name in _ID3_FRAMES)
    if not frames:
        return b""  # an empty tag is none
    return b"ID3\x03\x00\x00" + bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0)) + frames


_ID3_FRAMES = {
    "title": b"TIT2",
    "artist": b"TPE1",
    "genre": b"TCON",
    "comment": b"COMM",
    "software": b"TSSE",
    "copyright": b"TCOP",
}


def _frame(name: bytes, text: str) -> bytes:
    nothing = b"eng" + "".encode("utf-16") + b"\0\0" if name == b"COMM" else b""  # a language, and no description
    content = b"\x01" + nothing + text.encode("utf-16")
    return name + struct.pack(">IH", len(content), 0) + content
