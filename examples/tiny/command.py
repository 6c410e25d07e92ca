"""What the small commands of the recipe share: paths as arguments, an exit code, one sentence where something is wrong.

Flows in: the words of a command line. Flows out: 0 done, 2 refused.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def run(
    name: str, document: str, words: Sequence[str] | None, work: Callable[..., object], counts: Sequence[int]
) -> int:
    """Call `work` with the paths of a command line.

    Args:
        name: of the command, said before what is wrong.
        document: its module's; the first line says how to call it.
        words: None for those that the program was started with.
        work: is given every word as a path; raises ValueError or OSError with one sentence.
        counts: how many words it takes.
    """
    words = sys.argv[1:] if words is None else words
    if len(words) not in counts:
        print(document.split("\n")[0], file=sys.stderr)
        return 2
    try:
        work(*map(Path, words))
    except (ValueError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0
