"""A tree of takes as lines for people.

Flows in: a `Tree`. Flows out: text.
"""

from jukebox_hf.app.studio.project import Node, Tree

_LONGEST_WORDS = 32


def tree_in_words(tree: Tree) -> str:
    """The tree as it grew: a line for each take, below the one that it goes on from."""
    count, done = len(tree.nodes), sum(take.state == "done" for take in tree.nodes)
    lines = [f"{count} take{'s' * (count != 1)} by {tree.model}, {done} of them done"]
    children = tree.children()
    left = [(take, "") for take in reversed(children.get(None, []))]
    while left:  # however deep it is
        take, before = left.pop()
        is_last = take is children[take.parent][-1]
        lines.append(f"{before}{'`-' if is_last else '|-'} {take_in_words(tree, take)}")
        inner = before + ("   " if is_last else "|  ")
        left += [(child, inner) for child in reversed(children.get(take.id, []))]
    return "\n".join(lines)


def take_in_words(tree: Tree, take: Node) -> str:
    """One take in a line: number, how it was made, length, level, seed, state, words."""
    words = " ".join(str(take.request.get("lyrics") or "").split())
    words = words if len(words) <= _LONGEST_WORDS else f"{words[: _LONGEST_WORDS - 3]}..."
    facts = [
        f"{take.id} {how_made(take)}",
        *([f"{take.seconds:.4g} s", f"level {take.level}"] if take.state == "done" else [take.state]),
        f"seed {take.request.get('seed')}",
        *([repr(words)] if words else []),
        *([take.reason] if take.reason else []),
    ]
    return ", ".join(facts) + " *" * (tree.chosen == take.id)


def how_made(take: Node) -> str:
    """How a take came to be, in the words of the page."""
    request = take.request
    if take.kind == "repaint":
        return f"repaint {request.get('from_second', 0):g}-{request.get('to_second', 0):g} s"
    if take.kind == "cut":
        return f"cut to {request.get('seconds', 0):.4g} s"
    if take.kind == "generate":
        return "sketch after a recording" if request.get("prompt") else "sketch"
    return "refine" if take.kind == "upsample" else take.kind
