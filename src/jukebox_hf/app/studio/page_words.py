"""Sentences of the command line as a studio says them: advice that its page and its tools cannot follow is left out.

Flows in: one sentence, "what is wrong; a cure, or another cure". Flows out: the same, without cures that name options
or commands of others. What whoever starts the studio can say stays.
"""

import re

from jukebox_hf.app.output import sentence_of

STUDIO_FLAGS = (  # of `jukebox-hf studio`
    *("model", "revision", "dtype", "device", "backend", "batch-size", "port", "share", "mcp-server"),
    *("max-seconds", "max-takes", "max-waiting", "max-megabytes"),
)
_ANY_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_COMMAND = re.compile(r"\bjukebox-hf (?!studio\b)[a-z]")
_ASIDE = re.compile(r" \([^()]*\bjukebox-hf [^()]*\)")
_BETWEEN_CURES = re.compile(r",? or ")


def said_here(error: BaseException) -> str:
    """What an error says, in the words of a studio."""
    return in_words_of_studio(sentence_of(error))


def in_words_of_studio(sentence: str) -> str:
    """A sentence of the command line without what only a command line can do; its options elsewhere are plain words."""
    wrong, *cures = _ASIDE.sub("", sentence).split("; ")
    kept = [wrong, *(own for cure in cures if (own := _possible(cure)))]
    return _ANY_FLAG.sub(_in_plain_words, "; ".join(kept))


def _possible(cure: str) -> str:
    """The alternatives of a cure that can be followed here."""
    ways = _BETWEEN_CURES.split(cure)
    own = [way for way in ways if not _COMMAND.search(way) and set(_ANY_FLAG.findall(way)) <= {*STUDIO_FLAGS}]
    return cure if own == ways else " or ".join(own)


def _in_plain_words(found: re.Match) -> str:
    name = found[1]
    return found[0] if name in STUDIO_FLAGS else name.removeprefix("no-").replace("-", "_")
