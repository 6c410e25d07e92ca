"""What a page shows of a project, as HTML: takes side by side, the chosen one, the tree, how far a song is.

Flows in: an open project. Flows out: HTML, in which every word of others is text. What it does when somebody clicks is
in `page_script`.
"""

import html
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from jukebox_hf.app.runs.estimate import duration
from jukebox_hf.app.studio.job import News
from jukebox_hf.app.studio.project import Node, Project, Tree
from jukebox_hf.app.studio.tree_in_words import how_made

_NO_TREE = '<p class="hint">All takes will stand here, each below the one that it came from.</p>'
_WAVE_COLUMNS = 240  # of a drawn waveform
_TIMED_NAMES = {".lrc": "LRC", ".words.lrc": "LRC by word", ".srt": "SRT", ".vtt": "WebVTT", ".alignment.json": "JSON",
                ".html": "Karaoke page"}  # fmt: skip


def url_of(path: Path) -> str:
    """Where the page finds a file of the project."""
    return f"gradio_api/file={quote(str(path.resolve()))}"


def takes_html(project: Project, numbers: Sequence[int], chosen: int | None) -> str:
    """Takes side by side, each to be heard and chosen; those that were withdrawn in the meantime are not there."""
    nodes = project.tree.nodes  # as they are now: a thread that fails may take some back at any moment
    numbers = [number for number in numbers if number <= len(nodes)]
    if not numbers:
        return '<p class="hint">Write some words, and sketch a few takes: they will stand here, side by side.</p>'
    return f'<div class="cards">{"".join(_card(project, nodes[one - 1], one == chosen) for one in numbers)}</div>'


def _card(project: Project, node: Node, is_chosen: bool) -> str:
    name, seed = f"Take {node.id}", node.request.get("seed")
    head = f"<h3>{name}</h3><p>{escaped(how_made(node))} · seed {escaped(seed)}</p>"
    opened = f'<section class="card{" chosen" * is_chosen}" aria-label="{name}">{head}'
    if node.state != "done":
        pick = "" if node.state == "writing" else _pick(node, is_chosen)
        return f'{opened}<p class="state">{_state(node)}</p>{pick}</section>'
    audio = project.folder / node.audio
    return (
        f"{opened}{_wave(audio)}"
        f'<audio controls preload="metadata" aria-label="{name}" src="{url_of(audio)}"></audio>'
        f"{_pick(node, is_chosen)}</section>"
    )


def _pick(node: Node, is_chosen: bool = False) -> str:
    pressed = "true" if is_chosen else "false"
    word = "Chosen" if is_chosen else "Choose"
    return f'<button type="button" data-take="{node.id}" aria-pressed="{pressed}">{word} take {node.id}</button>'


def desk_html(project: Project, node: Node | None, told: Mapping[str, Any] | None) -> str:
    """The chosen take: its waveform to drag over, its sound, its words, its files."""
    if node is None:
        return '<p class="hint">Choose a take, to hear it whole, go on from it, or change it.</p>'
    if node.state != "done" or told is None:
        return f'<p class="hint">Take {node.id} is {_state(node)}.</p>'
    audio = project.folder / node.audio
    top = max(one.level for one in project.tree.nodes if one.level is not None)  # every song begins as a sketch
    level = {top: f"level {top}, top", 0: "finest level"}.get(node.level, f"level {node.level}")
    return (
        f'<p class="about"><strong>Take {node.id}</strong> · {escaped(how_made(node))} · {node.seconds:.4g} s'
        f" · {level}</p>"
        f'<div class="wave big" data-seconds="{node.seconds}" title="Drag to mark a stretch">{_wave(audio)}'
        f'<i class="stretch" hidden></i><i class="now"></i></div>'
        f'<audio controls preload="auto" aria-label="Take {node.id}, whole" src="{url_of(audio)}"></audio>'
        f'<div class="marks"><button type="button" data-mark="from">Mark: from here</button>'
        f'<button type="button" data-mark="to">Mark: to here</button></div>'
        f"{_words(told)}{_files(project, node)}"
    )


def _words(told: Mapping[str, Any]) -> str:
    """The words, each a button that knows when it is sung."""
    lines = told.get("lyrics") or []
    rows = []
    for line in lines:
        words = line.get("words") or [line]
        buttons = " ".join(
            f'<button type="button" data-start="{float(word["start"]):.3f}" data-end="{float(word["end"]):.3f}">'
            f"{escaped(word['text'])}</button>"
            for word in words
        )
        rows.append(f"<p>{buttons}</p>")
    return f'<div class="words" aria-label="Words as they are sung" role="group">{"".join(rows)}</div>' if rows else ""


def _files(project: Project, node: Node) -> str:
    kinds = {".wav": "Audio", ".codes.safetensors": "Codes", ".json": "Details", ".png": "Picture"}
    links = " ".join(
        f'<a href="{url_of(project.song(node, suffix))}" download>{name}</a>' for suffix, name in kinds.items()
    )
    return f'<p class="files">Download: {links}</p>'


def links_html(paths: Sequence[Path]) -> str:
    """Files to download."""
    names = {path: _TIMED_NAMES.get("".join(path.suffixes), path.name) for path in paths}
    links = " ".join(f'<a href="{url_of(path)}" download>{escaped(name)}</a>' for path, name in names.items())
    return f'<p class="files">Ready: {links}</p>'


def tree_html(tree: Tree) -> str:
    """The tree of takes, drawn: a list in a list for each branch, every take a button."""
    return f'<nav class="tree" aria-label="Tree of takes">{_branches(tree)}</nav>' if tree.nodes else _NO_TREE


def _branches(tree: Tree) -> str:
    children, drawn = tree.children(), []

    def below(number: int | None) -> list[Node | str]:
        """What is drawn below a take, the last first."""
        return ["</ul>", *reversed(children[number]), "<ul>"] if number in children else []

    left = below(None)
    while left:  # however deep it is
        one = left.pop()
        if isinstance(one, str):
            drawn.append(one)
        else:
            drawn.append(f"<li>{_leaf(tree, one)}")
            left += ["</li>", *below(one.id)]
    return "".join(drawn)


def _leaf(tree: Tree, node: Node) -> str:
    current = ' aria-current="true"' if tree.chosen == node.id else ""
    facts = f"{node.seconds:.4g} s" if node.state == "done" else node.state
    fine = " · fine" if node.level == 0 else ""
    return (
        f'<button type="button" class="{node.state}" data-take="{node.id}"{current}>'
        f"{node.id} {escaped(how_made(node))}<small>{facts}{fine}</small></button>"
    )


def status_html(text: str, news: News | None = None, is_error: bool = False) -> str:
    """One line on what goes on; with a bar while a song is written."""
    if news is None:
        role = "alert" if is_error else "status"
        return f'<p class="said{" error" * is_error}" role="{role}">{escaped(text)}</p>' if text else ""
    left = "" if news.seconds_left is None else f", about {duration(news.seconds_left)} left"
    if news.share >= 1:
        left = ", writing the files"
    far = "getting ready" if news.level is None else f"level {news.level}, {news.share:.0%}{left}"
    return (
        f'<p class="said" role="status">{escaped(text)}: {far}</p>'
        f'<progress max="1" value="{news.share:.4f}" aria-label="{escaped(text)}"></progress>'
    )


def _state(node: Node) -> str:
    return escaped(node.state + (f": {node.reason}" if node.reason else ""))


def _wave(audio: Path) -> str:
    """A waveform as one path."""
    try:
        peaks = _peaks(str(audio), audio.stat().st_mtime_ns)
    except (OSError, RuntimeError):  # a file that somebody moved away: the rest of the page stays
        return ""
    upper = " ".join(f"L{x} {50 - 48 * peak:.1f}" for x, peak in enumerate(peaks))
    lower = " ".join(f"L{x} {50 + 48 * peaks[x]:.1f}" for x in range(len(peaks) - 1, -1, -1))
    return (
        f'<svg viewBox="0 0 {len(peaks)} 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M0 50 {upper} {lower}Z"/></svg>'
    )


@lru_cache(maxsize=256)
def _peaks(path: str, changed: int) -> tuple[float, ...]:
    """The largest sample of each of `_WAVE_COLUMNS` pieces; `changed` makes another file another entry."""
    samples = np.abs(soundfile.read(path, dtype="float32", always_2d=True)[0]).max(axis=1)
    edges = np.unique(np.linspace(0, len(samples), _WAVE_COLUMNS + 1).astype(int))[:-1]
    return tuple(float(peak) for peak in np.maximum.reduceat(samples, edges).clip(0, 1))


def escaped(value: object) -> str:
    """Words of others, as text."""
    return html.escape(str(value))
