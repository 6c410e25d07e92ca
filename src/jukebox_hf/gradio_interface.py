"""`gradio.Interface.from_pipeline(pipe)` for a Jukebox.

gradio makes forms for the pipelines it knows, by their class, and knows none that sings. So once somebody imports it,
we stand in front of the function it asks for a form, and answer for ours alone (docs/explanation/decisions/042.md).
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from .after_import import stop_waiting, when_imported

if TYPE_CHECKING:
    import numpy as np

_INTERFACE = "gradio.interface"
_ASKED = "load_from_pipeline"
_replaced: list[tuple[ModuleType, Any]] = []


def install() -> None:
    """Answer from now on; calling it again changes nothing."""
    when_imported(_INTERFACE, _enter)


def uninstall() -> None:
    """Give gradio its own function back."""
    stop_waiting(_INTERFACE, _enter)
    while _replaced:
        module, theirs = _replaced.pop()
        setattr(module, _ASKED, theirs)


def _enter(interface: ModuleType) -> None:
    theirs = getattr(interface, _ASKED, None)
    if theirs is None or _replaced:  # another gradio, which asks in another way
        return

    def load_from_pipeline(pipeline: Any) -> dict[str, Any]:
        from .model.pipeline_jukebox import JukeboxPipeline

        return form_of(pipeline) if isinstance(pipeline, JukeboxPipeline) else theirs(pipeline)

    _replaced.append((interface, theirs))
    setattr(interface, _ASKED, load_from_pipeline)


def form_of(pipeline: Any) -> dict[str, Any]:
    """What `gradio.Interface` takes to sing with a pipeline: lyrics, artist, genre, seconds and seed in, sound out."""
    import gradio

    def sing(
        lyrics: str, artist: str, genre: str, seconds: float | None, seed: float | None
    ) -> "tuple[int, np.ndarray]":
        said = {"artist": artist, "genre": genre, "seconds": seconds or None}
        said |= {"seed": None if seed is None else int(seed)}
        try:
            song = pipeline(lyrics or "", **{name: value for name, value in said.items() if value is not None})
        except ValueError as error:  # a sentence for whoever filled in the form
            raise gradio.Error(str(error)) from None
        return song["sampling_rate"], (song["audio"].clip(-1, 1) * 32767).astype("int16")

    return {
        "fn": sing,
        "inputs": [
            gradio.Textbox(label="Lyrics", lines=8),
            gradio.Textbox(label="Artist"),
            gradio.Textbox(label="Genre"),
            gradio.Number(label="Seconds", value=None),
            gradio.Number(label="Seed", value=None, precision=0),
        ],
        "outputs": gradio.Audio(label="Song", type="numpy"),
        "title": "Jukebox",
    }
