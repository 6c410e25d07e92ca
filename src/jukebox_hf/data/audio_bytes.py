"""The same samples give the same bytes: libsndfile writes the clock or random numbers into some files.

Flows in: the bytes of an audio file. Out: the same file, with the same sound, as every run writes it.
"""

import struct

_PAGE_HEADER = 27  # bytes, before the table of segments (RFC 3533, section 6)


def stop_clock(content: bytearray) -> None:
    """Put 0 for the time that the PEAK chunk of a float WAV holds."""
    place = 12  # after "RIFF", size, "WAVE"
    while place + 8 <= len(content):
        (size,) = struct.unpack_from("<I", content, place + 4)
        if content[place : place + 4] == b"PEAK":
            struct.pack_into("<I", content, place + 12, 0)
            return
        place += 8 + size + size % 2


def number_ogg(content: bytearray) -> None:
    """Put 1 for the random number of an Ogg stream, and right the checksum of every page."""
    place = 0
    while place + _PAGE_HEADER <= len(content):
        lengths = place + _PAGE_HEADER + content[place + 26]
        stop = lengths + sum(content[place + _PAGE_HEADER : lengths])
        struct.pack_into("<I", content, place + 14, 1)
        struct.pack_into("<I", content, place + 22, 0)
        struct.pack_into("<I", content, place + 22, _checksum(content[place:stop]))
        place = stop


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
