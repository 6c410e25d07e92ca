"""Pacing: when each character's turn comes, evenly or as a free singer takes it.

Flows in: a text. Flows out: borders in seconds, one more than there are characters. A small prior learns to read lyrics
from even songs; uneven ones are for those that learn to follow.
"""

import re

import numpy as np

_WORD_PACES = (0.75, 0.9, 1.0, 1.2, 1.5)
_REST_PACES = (0.6, 1.0, 1.5, 2.5)


def even_borders(text: str, slot: float) -> np.ndarray:
    """Character i has its turn from i x slot on; (N + 1,) seconds."""
    return np.arange(len(text) + 1) * slot


def uneven_borders(text: str, slot: float, random: np.random.Generator) -> np.ndarray:
    """Every word and every rest has a pace of its own; the whole lasts as long as if it were even."""
    paces = np.ones(len(text))
    for match in re.finditer(r"[^\W_]+|[\W_]+", text):
        choices = _WORD_PACES if match[0].strip() and match[0][0].isalnum() else _REST_PACES
        paces[match.start() : match.end()] = choices[random.integers(len(choices))]
    borders = np.concatenate([[0.0], np.cumsum(paces)])
    return borders * (len(text) * slot / borders[-1])
