"""A picture of numbers as a PNG: enough for heat maps, with zlib alone.

Flows in: values from 0 to 1, (rows, columns). Flows out: the bytes of a PNG with a palette from night blue to light.
"""

import struct
import zlib

import numpy as np

_STOPS = np.array(
    [[0.0, 9, 12, 30], [0.35, 84, 27, 110], [0.65, 214, 69, 91], [0.85, 252, 165, 80], [1.0, 252, 249, 200]]
)


def heat_png(values: np.ndarray) -> bytes:
    """Draw values, row 0 at the top; beyond 0 and 1 they are cut."""
    height, width = values.shape
    levels = (np.nan_to_num(values).clip(0, 1) * 255).astype(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)  # a 0 before each row: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    points = np.linspace(0, 1, 256)
    palette = np.stack([np.interp(points, _STOPS[:, 0], _STOPS[:, colour]) for colour in (1, 2, 3)], axis=1)
    chunks = [
        (b"IHDR", header),
        (b"PLTE", palette.round().astype(np.uint8).tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def shrunk(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """At most `height` x `width` values, each the largest of its piece, so that thin lines stay."""
    for axis, size in ((0, height), (1, width)):
        count = values.shape[axis]
        if count > size:
            edges = np.unique(np.linspace(0, count, size + 1).astype(int))[:-1]
            values = np.maximum.reduceat(values, edges, axis=axis)
    return values


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
