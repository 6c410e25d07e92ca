"""What other programs may ask a studio for, by name: the same as its page, as values; and, behind a flag, as MCP tools.

Flows in: values. Flows out: takes as dictionaries, or files. What a parameter means is taken from where it is declared.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import gradio as gr

from jukebox_hf.app.output import USER_ERRORS
from jukebox_hf.app.runs.song_request import SONG_OPTIONS
from jukebox_hf.app.studio.job import PageJob
from jukebox_hf.app.studio.page_words import said_here
from jukebox_hf.app.studio.studio import Studio
from jukebox_hf.model.checks.validation import is_number

_OWN_WORDS = {
    "take": "Number of a take in the tree.",
    "second": "Second at which the take ends.",
    "kind": "Kind of names: artists or genres.",
    "text": "Name as you would write it; empty for the first of the list.",
}
_ANY_NAME = ("artist", "genre")
_LONGEST_SEED = 40  # digits, more than any seed has
SONGS_IN_TURN = {"concurrency_id": "songs", "concurrency_limit": 1}


def add_endpoints(studio: Studio, words: Mapping[str, gr.components.Component], count: gr.components.Component) -> None:
    """Give a page its named endpoints: sketch, continue, cut, repaint, upsample, go_on, stop, tree, names, files.

    Args:
        studio: writes and reads.
        words: the fields of the form, by the names of `SongRequest`; their labels and defaults are those of sketch.
        count: the field of how many takes.
    """

    def told(job: PageJob) -> list[dict[str, Any]]:
        made = [studio.project.tree.node(number) for number in job.result()]
        return [asdict(node) | {"warnings": list(job.progress.warnings)} for node in made]

    def sketch(
        lyrics: str | None = None,
        artist: str | None = None,
        genre: str | None = None,
        seconds: float | None = None,
        seed: str | None = None,
        guidance_scale: float | None = None,
        prompt: str | None = None,
        takes: int | None = None,
    ) -> list[dict[str, Any]]:
        """Write takes of a new song at the top level, side by side; what is not said is as on the page."""
        said = {"lyrics": lyrics, "artist": artist, "genre": genre, "seconds": seconds, "seed": seed, "prompt": prompt}
        return told(studio.sketch(as_said(said | {"guidance_scale": guidance_scale}), whole(takes)))

    def continue_take(
        take: int, seconds: float = 4.0, takes: int = 1, lyrics: str = "", artist: str = "", genre: str = ""
    ) -> list[dict[str, Any]]:
        """Go on from a take by so many seconds; words that are not said are those of the take."""
        return told(
            studio.continue_take(
                whole(take), {"lyrics": lyrics, "artist": artist, "genre": genre}, seconds, whole(takes)
            )
        )

    def cut(take: int, second: float) -> list[dict[str, Any]]:
        """Keep a take's beginning, up to this second, as a new take."""
        return told(studio.cut(whole(take), second))

    def repaint(take: int, from_second: float, to_second: float, takes: int = 1) -> list[dict[str, Any]]:
        """Sing a stretch of a take again; the best of several takes is kept."""
        return told(studio.repaint(whole(take), from_second, to_second, whole(takes)))

    def upsample(take: int) -> list[dict[str, Any]]:
        """Write the finer levels of a take."""
        return told(studio.upsample(whole(take)))

    def go_on(take: int) -> list[dict[str, Any]]:
        """Go on with a take that was stopped, where it was."""
        return told(studio.go_on(whole(take)))

    def stop() -> None:
        """Stop what is being written; what was written is saved."""
        studio.stop()

    def tree() -> dict[str, Any]:
        """All takes of the project, each with its parent."""
        return studio.project.tree.to_dict()

    def names(kind: str, text: str = "") -> list[str]:
        """Listed artists or genres that are close to a text."""
        return studio.names(kind, text)

    for function, name in ((continue_take, "continue"), (cut, "cut"), (repaint, "repaint"), (upsample, "upsample"),
                           (go_on, "go_on")):  # fmt: skip
        gr.api(_told(function), api_name=name, **SONGS_IN_TURN)
    for function in (stop, tree, names):
        gr.api(_told(function), api_name=function.__name__, concurrency_limit=None)

    found, take, files = gr.JSON(visible=False), gr.Number(1, precision=0, visible=False), gr.Files(visible=False)
    for_sketch, for_files = gr.Button(visible=False), gr.Button(visible=False)
    # Boxes of the form offer the names it shows; programs may say any name, and any mix.
    typed = {name: gr.Textbox(label=words[name].label, visible=False) for name in _ANY_NAME}
    for_sketch.click(_told(sketch), [*{**words, **typed}.values(), count], found, api_name="sketch", **SONGS_IN_TURN)

    def files_of(take: int) -> list[str]:
        """All files of a finished take: audio, codes, side-car, picture, and its words in time."""
        return [str(path) for path in studio.files(whole(take))]

    for_files.click(_told(files_of), take, files, api_name="files", **SONGS_IN_TURN)


def as_said(words: Mapping[str, Any]) -> dict[str, Any]:
    """The words of the form as a request has them: a seed is typed, and a guidance of 1 is none."""
    seed, guidance = words.get("seed"), words.get("guidance_scale")
    seed = "" if seed is None else str(seed).strip()
    return {
        **words,
        "seed": int(seed) if seed.isascii() and seed.isdigit() and len(seed) < _LONGEST_SEED else seed or None,
        "guidance_scale": None if guidance in (None, 1) else str(guidance),
    }


def whole(number: Any) -> Any:
    """A number of the page as a whole one, where it is one; what is none is refused behind this."""
    return int(number) if is_number(number) and number == number // 1 else number


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its parameters explained, and with refusals that a caller sees."""
    names = [name for name in function.__annotations__ if name != "return"]
    said = {name: _OWN_WORDS.get(name) or SONG_OPTIONS[name].help for name in names}
    help_of = {name: text.replace("`jukebox-hf labels list`", "`names`") for name, text in said.items()}

    def endpoint(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except USER_ERRORS as error:
            raise gr.Error(said_here(error), print_exception=False) from None

    endpoint.__name__, endpoint.__annotations__ = function.__name__, function.__annotations__
    endpoint.__signature__ = inspect.signature(function)
    arguments = "\n".join(f"    {name}: {text}" for name, text in help_of.items())
    endpoint.__doc__ = f"{function.__doc__}\n\nArgs:\n{arguments}\n" if names else function.__doc__
    return endpoint
