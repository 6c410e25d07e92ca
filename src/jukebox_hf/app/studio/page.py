"""The page of the studio: what stands where, and what happens when somebody clicks.

Flows in: a `Studio`. Flows out: `gradio.Blocks`. What is shown of takes is made in `views`, what other programs call in
`endpoints`; gradio is imported when a page is built.
"""

import queue
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import numpy as np

from jukebox_hf.app.output import USER_ERRORS, clean, sentence_of
from jukebox_hf.app.studio import views
from jukebox_hf.app.studio.endpoints import add_endpoints, as_said
from jukebox_hf.app.studio.job import PageJob, StoppedError
from jukebox_hf.app.studio.page_script import CHOOSING, DESK, DRAW_STRETCH, SHOWING
from jukebox_hf.app.studio.page_words import said_here
from jukebox_hf.app.studio.project import Node
from jukebox_hf.app.studio.studio import Studio

ONE_AT_A_TIME = {
    "concurrency_id": "songs",
    "concurrency_limit": 1,
    "api_visibility": "private",
    "show_progress": "hidden",
}
AT_ONCE = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
_DOING = {
    "generate": "Sketching",
    "continue": "Continuing",
    "cut": "Cutting",
    "repaint": "Repainting",
    "upsample": "Refining",
}
_TICK = 0.3  # seconds between two looks at a song that is being written
_HELP = {  # what a page can do: the command line's own words tell of commands and of numbers by level
    "lyrics": "All lyrics of the song, line by line.",
    "artist": "Type, and close names appear. A mix is typed as NAME:0.7,NAME:0.3.",
    "genre": "Type, and close names appear; or a mix, as of artists.",
    "guidance_scale": "How hard the model listens to these words; 1 is off.",
}
_KEPT_COPIES = (3_600, 86_400)  # seconds: gradio's copies of what was lent and fetched, looked for, and then removed
FORM_WORDS = ("lyrics", "artist", "genre", "seconds", "seed", "guidance_scale", "prompt")  # of the form, in its order


def build_page(studio: Studio) -> gr.Blocks:
    """The page over an open project; `launch_settings` has what belongs to its start.

    Args:
        studio: writes and reads.
    """
    title = f"{studio.project.folder.name} · jukebox studio"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=_KEPT_COPIES) as page:
        _Page(studio, page)
    return page


class _Page:
    """The parts of a page, and what they do. Numbers have no bounds of gradio's: the doors say it in their sentence."""

    def __init__(self, studio: Studio, page: gr.Blocks) -> None:
        self.studio = studio
        project = studio.project
        gr.HTML(
            f"<h1>Jukebox studio</h1><p>{views.escaped(project.folder.name)} · model "
            f"{views.escaped(project.tree.model)} · takes are kept as they are made</p>",
            elem_id="head",
        )
        self.shown = gr.State([])  # numbers of the takes side by side
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self._form()
            with gr.Column(scale=4, min_width=300):
                self._now()
                gr.Markdown("## Takes")
                self.takes = gr.HTML("", elem_id="takes", js_on_load=CHOOSING, padding=False)
                gr.Markdown("## The chosen take")
                self.desk = gr.HTML("", elem_id="desk", js_on_load=DESK, padding=False)
                self.go_on = gr.Button("Go on with this take", visible=False, elem_id="go-on")
                with gr.Column(visible="hidden") as self.actions:
                    self._actions()
                gr.Markdown("## Tree")
                self.tree = gr.HTML("", elem_id="tree", js_on_load=CHOOSING, padding=False)
        self._wire(page)
        add_endpoints(studio, self.words, self.count)

    def _now(self) -> None:
        """What goes on, in sight wherever somebody has scrolled to: how far a song is, how to stop it, its sound."""
        with gr.Column(elem_id="now"):
            with gr.Row(equal_height=False):
                self.status = gr.HTML("", elem_id="status", js_on_load=SHOWING, padding=False, scale=4)
                self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop", scale=0, min_width=90)
            self.live = gr.Audio(
                streaming=True, autoplay=True, label="While it is written", interactive=False, buttons=[],
                visible=shutil.which("ffmpeg") is not None, elem_id="live",
            )  # fmt: skip

    def _form(self) -> None:
        """The words of a song."""
        most = self.studio.limits.takes
        gr.Markdown("## Words")
        self.words = {
            "lyrics": gr.Textbox(label="Lyrics", lines=5, max_lines=14, info=_HELP["lyrics"], elem_id="lyrics"),
            "artist": self._names("artist", "artists"),
            "genre": self._names("genre", "genres"),
        }
        with gr.Row():
            first = min(4.0, self.studio.limits.seconds)
            self.words["seconds"] = gr.Number(first, label="Seconds", step=0.5, min_width=90, elem_id="seconds")
            self.words["seed"] = gr.Textbox(label="Seed", placeholder="new", max_lines=1, min_width=90, elem_id="seed")
        self.count = gr.Slider(1, most, value=min(3, most), step=1, label="Takes", elem_id="count")
        self.words["guidance_scale"] = gr.Slider(
            1.0, 6.0, value=1.0, step=0.1, label="Guidance", info=_HELP["guidance_scale"], elem_id="guidance"
        )
        with gr.Accordion("Begin with a recording", open=False):
            self.words["prompt"] = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[], elem_id="prompt"
            )
            _name_what_is_not_fetched(self.words["prompt"])
            gr.Markdown("The song goes on from its end; *Seconds* counts it in.")
        self.sketch = gr.Button("Sketch takes", variant="primary", elem_id="sketch")

    def _names(self, name: str, kind: str) -> gr.Dropdown:
        """Artists or genres, searched while somebody types; mixes and names that nobody lists may be typed too."""
        box = gr.Dropdown(
            choices=_found(self.studio, kind, ""), value=None, label=name.capitalize(), allow_custom_value=True,
            info=_HELP[name], elem_id=name,
        )  # fmt: skip

        def search(event: gr.KeyUpData) -> Any:
            return gr.update(choices=_found(self.studio, kind, event.input_value))

        box.key_up(search, None, box, trigger_mode="always_last", **AT_ONCE)
        return box

    def _actions(self) -> None:
        """What can be done with the chosen take."""
        most = self.studio.limits.takes
        with gr.Tabs(elem_id="actions"):
            with gr.Tab("Refine"):
                gr.Markdown("Write the finer levels of this take. It plays while it is written.")
                self.upsample = gr.Button("Refine this take", elem_id="upsample")
            with gr.Tab("Continue"):
                gr.Markdown("Go on from its end, with the words at the side.")
                with gr.Row():
                    self.more = gr.Number(4.0, label="Seconds more", min_width=90, elem_id="more")
                    self.branches = gr.Slider(1, most, value=min(2, most), step=1, label="Branches", elem_id="branches")
                self.continue_take = gr.Button("Continue this take", elem_id="continue")
            with gr.Tab("Repaint"):
                gr.Markdown("Sing a stretch again. Drag over the waveform, or type where it begins and ends.")
                with gr.Row():
                    self.begin = gr.Number(0.0, label="From second", step=0.1, min_width=90, elem_id="from")
                    self.end = gr.Number(1.0, label="To second", step=0.1, min_width=90, elem_id="to")
                    self.tries = gr.Slider(1, most, value=1, step=1, label="Best of", elem_id="tries")
                self.repaint = gr.Button("Repaint the stretch", elem_id="repaint")
            with gr.Tab("Cut"):
                gr.Markdown("Keep its beginning, as a new take.")
                self.keep = gr.Number(1.0, label="Keep until second", step=0.1, elem_id="keep")
                self.cut = gr.Button("Cut there", elem_id="cut")
            with gr.Tab("Export"):
                gr.Markdown("Audio and codes are above. Here: LRC, subtitles, and a karaoke page.")
                self.export = gr.Button("Time the words", elem_id="export")
                self.exported = gr.HTML("", elem_id="exported", js_on_load=SHOWING, padding=False)

    def _wire(self, page: gr.Blocks) -> None:
        seen = [self.status, self.takes, self.desk, self.tree, self.shown, self.stop, self.go_on, self.actions]
        form = list(self.words.values())
        studio = self.studio

        def chosen() -> int:
            return studio.project.tree.chosen or 0

        def words(values: tuple[Any, ...], *left_out: str) -> dict[str, Any]:
            said = as_said(dict(zip(self.words, values, strict=True)))
            return {name: value for name, value in said.items() if name not in left_out}

        def show_sketch(shown: list[int], count: int, *values: Any) -> Iterator[list[Any]]:
            yield from self._follow(lambda: studio.sketch(words(values), int(count)), _DOING["generate"], shown)

        def show_continue(shown: list[int], more: float, count: int, *values: Any) -> Iterator[list[Any]]:
            said = words(values, "seconds", "prompt")
            yield from self._follow(
                lambda: studio.continue_take(chosen(), said, more, int(count)), _DOING["continue"], shown
            )

        def show_cut(shown: list[int], second: float) -> Iterator[list[Any]]:
            yield from self._follow(lambda: studio.cut(chosen(), second), _DOING["cut"], shown)

        def show_repaint(shown: list[int], begin: float, end: float, tries: int) -> Iterator[list[Any]]:
            yield from self._follow(lambda: studio.repaint(chosen(), begin, end, int(tries)), _DOING["repaint"], shown)

        def show_upsample(shown: list[int]) -> Iterator[list[Any]]:
            yield from self._heard(lambda: studio.upsample(chosen()), _DOING["upsample"], shown)

        def show_go_on(shown: list[int]) -> Iterator[list[Any]]:
            yield from self._heard(lambda: studio.go_on(chosen()), "Going on", shown)

        self.sketch.click(show_sketch, [self.shown, self.count, *form], seen, **ONE_AT_A_TIME)
        further = [self.shown, self.more, self.branches, *form]
        self.continue_take.click(show_continue, further, seen, **ONE_AT_A_TIME)
        self.cut.click(show_cut, [self.shown, self.keep], seen, **ONE_AT_A_TIME)
        self.repaint.click(show_repaint, [self.shown, self.begin, self.end, self.tries], seen, **ONE_AT_A_TIME)
        self.upsample.click(show_upsample, [self.shown], [*seen, self.live], **ONE_AT_A_TIME)
        self.go_on.click(show_go_on, [self.shown], [*seen, self.live], **ONE_AT_A_TIME)
        self.export.click(self._export, None, [self.status, self.exported], **ONE_AT_A_TIME)
        self.stop.click(self._stop, None, None, **AT_ONCE)
        refilled = [
            self.words["lyrics"],
            self.words["artist"],
            self.words["genre"],
            self.keep,
            self.exported,
            self.live,
        ]
        for drawn in (self.takes, self.tree):
            drawn.choose(self._choose, None, [*seen, *refilled], **AT_ONCE)
        self.desk.stretch(self._mark, None, [self.begin, self.end], **AT_ONCE)
        for number in (self.begin, self.end):
            number.change(None, [self.begin, self.end], None, js=DRAW_STRETCH)
        page.load(self._arrive, None, [*seen, *refilled], **AT_ONCE).then(
            self._rejoin, self.shown, seen, api_visibility="private", show_progress="hidden", concurrency_limit=None
        )

    # --- what happens -------------------------------------------------------------------------------------------------

    def _choose(self, event: gr.EventData) -> list[Any]:
        """A take was clicked: it comes onto the desk, with those made beside it, and its words to the side."""
        try:
            node = self.studio.project.tree.node(event.take)
            self.studio.project.choose(node.id)
        except USER_ERRORS as error:
            return [views.status_html(said_here(error), is_error=True), *[gr.skip()] * 13]
        return [*self._seen("", list(node.together)), *self._refilled(node)]

    def _mark(self, event: gr.EventData) -> tuple[float, float]:
        """A stretch was dragged, or marked by its buttons."""
        return event.begin, event.end

    def _arrive(self) -> list[Any]:
        """Somebody opens the page: all is as it was left."""
        tree = self.studio.project.tree
        last = tree.node(tree.chosen) if tree.chosen else (tree.nodes[-1] if tree.nodes else None)
        shown = list(last.together) if last else []
        return [*self._seen("", shown), *(self._refilled(last) if tree.chosen else [gr.skip()] * 6)]

    def _refilled(self, node: Node) -> list[Any]:
        request = node.request
        sound = gr.skip() if self._job() else None  # of a song that was written before
        return [request.get("lyrics", ""), request.get("artist"), request.get("genre"), node.seconds or 1.0, "", sound]

    def _job(self) -> PageJob | None:
        """What is being written."""
        job = self.studio.job
        return None if job is None or job.is_over() else job

    def _rejoin(self, shown: list[int]) -> Iterator[list[Any]]:
        """A page that was opened while a song is written shows how far it is too."""
        job = self._job()
        if job is None or not job.takes:
            yield [gr.skip()] * 8
        else:
            word = _DOING[self.studio.project.tree.node(job.takes[0]).kind]
            yield from self._follow(lambda: job, word, shown, is_begun_here=False)

    def _follow(
        self, start: Callable[[], PageJob], word: str, shown: list[int], *, is_begun_here: bool = True
    ) -> Iterator[list[Any]]:
        """Start a job and show how far it is until it ends; new takes appear as soon as each is there.

        Args:
            is_begun_here: by this page, which chooses what was made; others that look on choose nothing.
        """
        for seen, _ in self._watched(start, word, shown, is_begun_here=is_begun_here):
            yield seen

    def _heard(self, start: Callable[[], PageJob], word: str, shown: list[int]) -> Iterator[list[Any]]:
        """The same, with the sound of it."""
        for seen, job in self._watched(start, word, shown):
            yield [*seen, None if job is None else _new_sound(job)]

    def _watched(
        self, start: Callable[[], PageJob], word: str, shown: list[int], *, is_begun_here: bool = True
    ) -> Iterator[tuple[list[Any], PageJob | None]]:
        try:
            job = start()
            takes_before, is_over = None, False
            while not is_over:
                is_over = job.is_over(_TICK)
                shown = self._still_there(job.takes) or shown
                now = views.takes_html(self.studio.project, shown, self.studio.project.tree.chosen)
                is_new, takes_before = now != takes_before, now
                takes, tree = (now, views.tree_html(self.studio.project.tree)) if is_new else (gr.skip(), gr.skip())
                status = views.status_html(word, job.progress.news)
                yield [status, takes, gr.skip(), tree, shown, gr.update(visible=True), gr.skip(), gr.skip()], job
            made = job.result()
            if len(made) == 1 and is_begun_here:
                self.studio.project.choose(made[0])
            yield self._seen(" ".join([_done_in_words(made), *map(_as_sentence, job.progress.warnings)]), shown), job
        except StoppedError as error:
            self._choose_first(shown)  # also on a page that only looked on: it may be the one that stopped it
            yield self._seen(_as_sentence(said_here(error)), shown), None
        except USER_ERRORS as error:
            yield self._seen(said_here(error), self._still_there(shown), is_error=True), None

    def _stop(self) -> None:
        self.studio.stop()

    def _choose_first(self, shown: list[int]) -> None:
        """What was stopped is chosen, so that it can be gone on with."""
        if shown:
            self.studio.project.choose(shown[0])

    def _still_there(self, shown: list[int]) -> list[int]:
        """Without takes that came to nothing and were withdrawn."""
        return [number for number in shown if number <= len(self.studio.project.tree.nodes)]

    def _seen(self, text: str, shown: list[int], is_error: bool = False) -> list[Any]:
        """All that is seen of the project, as it is now."""
        project = self.studio.project
        node = project.tree.node(project.tree.chosen) if project.tree.chosen else None
        told = self.studio.told(node.id) if node is not None and node.state == "done" else None
        is_left = node is not None and node.state in ("stopped", "failed")
        return [
            views.status_html(text, is_error=is_error),
            views.takes_html(project, shown, project.tree.chosen),
            views.desk_html(project, node, told),
            views.tree_html(project.tree),
            shown,
            gr.update(visible=False),
            gr.update(visible=is_left),
            gr.update(visible=True if told is not None else "hidden"),  # nothing can be done with what is not there
        ]

    def _export(self) -> tuple[str, str]:
        try:
            paths = self.studio.time_words(self.studio.project.tree.chosen or 0)
        except USER_ERRORS as error:
            return views.status_html(said_here(error), is_error=True), ""
        return "", views.links_html(paths)


def _found(studio: Studio, kind: str, text: str) -> list[str]:
    """Names close to what is typed, and then the first of the alphabet; none where a model has no lists.

    There are always as many: an open list of gradio's that becomes shorter looks for names that are gone.
    """
    try:
        first = studio.names(kind)
        return list(dict.fromkeys([*(studio.names(kind, text) if text.strip() else ()), *first]))[: len(first)]
    except USER_ERRORS:
        return []


def _name_what_is_not_fetched(box: gr.Audio) -> None:
    """Say in a sentence what gradio cannot, or will not, fetch of a recording that programs give by its address."""
    fetch = box.async_move_resource_to_block_cache

    async def fetched(address: Any) -> str | None:
        try:
            return await fetch(address)
        except Exception as error:
            reason = clean(f"prompt={str(address)[:200]!r} cannot be fetched ({sentence_of(error)})")
            cure = "give the address of a recording that anybody may fetch, or send the file"
            raise gr.Error(f"{reason}; {cure}", print_exception=False) from None

    box.async_move_resource_to_block_cache = fetched


def _new_sound(job: PageJob) -> tuple[int, np.ndarray] | None:
    """All that can be heard since the last look."""
    pieces = []
    try:
        while True:
            pieces.append(job.progress.pieces.get_nowait())
    except queue.Empty:
        pass
    if not pieces:
        return None
    samples = np.concatenate([piece.samples for piece in pieces])
    return pieces[0].sampling_rate, (samples.clip(-1, 1) * 32767).astype(np.int16)


def _as_sentence(said: str) -> str:
    return f"{said[0].upper()}{said[1:].rstrip('.')}."


def _done_in_words(made: list[int]) -> str:
    if len(made) == 1:
        return f"Take {made[0]} is there."
    return f"Takes {made[0]} {'and' if len(made) == 2 else 'to'} {made[-1]} are there; choose one."
