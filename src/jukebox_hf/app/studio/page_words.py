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
_ON_THE_FORM = ("artist", "genre", "lyrics", "seconds", "seed", "takes")
# In quotes, with no letter before them and none behind (what is the possessive of a word is no quotation), or nested.
_AS_GIVEN = re.compile(r"(?<!\w)'[^']*'(?!\w)|\([^()]*\)")
_HIDDEN = re.compile("\0([0-9]+)\0")
_ANY_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
_COMMAND = re.compile(r"\bjukebox-hf (?!studio\b)[a-z]")
_ASIDE = re.compile(r" \([^()]*\bjukebox-hf [^()]*\)")
_BETWEEN_CURES = re.compile(r",? or ")


def said_here(error: BaseException) -> str:
    """What an error says, in the words of a studio."""
    return in_words_of_studio(sentence_of(error))


def in_words_of_studio(sentence: str) -> str:
    """A sentence of the command line without what only a command line can do; its options elsewhere are plain words.

    What stands in quotes is a user's name or file, and stays as it is, as does a reason in parentheses with its cures.
    """
    kept: list[str] = []
    hidden = _AS_GIVEN.sub(lambda found: _hide(found[0], kept), _ASIDE.sub("", sentence))
    wrong, *cures = hidden.split("; ")
    own = [wrong, *(said for cure in cures if (said := _possible(cure)))]
    said = _ANY_FLAG.sub(_in_plain_words, "; ".join(own))
    return _HIDDEN.sub(lambda found: kept[int(found[1])], said)


def _hide(given: str, kept: list[str]) -> str:
    """Put a number in the place of what is not to be read."""
    kept.append(in_words_of_studio(given[1:-1]).join("()") if given.startswith("(") else given)
    return f"\0{len(kept) - 1}\0"


def _possible(cure: str) -> str:
    """The alternatives of a cure that can be followed here: options of the page's form are words there."""
    ways = _BETWEEN_CURES.split(cure)
    own = [
        way
        for way in ways
        if not _COMMAND.search(way) and set(_ANY_FLAG.findall(way)) <= {*STUDIO_FLAGS, *_ON_THE_FORM}
    ]
    return cure if own == ways else " or ".join(own)


def _in_plain_words(found: re.Match) -> str:
    name = found[1]
    return found[0] if name in STUDIO_FLAGS else name.removeprefix("no-").replace("-", "_")
