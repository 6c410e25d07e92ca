"""One window of one level: read what is known in parallel, then write the rest code by code.

Flows in: known codes, conditioning, one uniform per code to write. Flows out: the window, full. The caches, and what
was captured over them, live only as long as the call unless the caller hands them in to be used again.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.utils import logging

from ..checks.validation import is_integer, require
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.cpu_memory import trim_heap
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.plain_modules import check_in_memory, hooks_made, interception
from .cpp_step import CppStepper, reason_against
from .sampling_ops import SamplingSettings, check_backend
from .step_checks import listener
from .triton_step import MOST_SONGS, TritonStepper, reason_against_fused
from .window_loop import Drawing, Step, WindowLoop

logger = logging.get_logger(__name__)

_CAPTURED = ("cuda_graph", "triton")


class WindowSample(NamedTuple):
    """One window of codes.

    Attributes:
        codes: (B, length).
        logits: (B, positions, V) of every position that was run; None unless they were asked for.
    """

    codes: Tensor
    logits: Tensor | None


def sample_window(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    length: int,
    settings: SamplingSettings = SamplingSettings(),  # noqa: B008 - a frozen value
    *,
    uniforms: Tensor | None = None,
    chunk: int | None = None,
    may_draw_lyrics: bool = False,
    keep_logits: bool = False,
    hook: Callable[[Tensor, int], Tensor] | None = None,
    watch: Callable[[int], None] | None = None,
    cache: JukeboxCache | None = None,
    backend: str = "auto",
    loops: dict[object, WindowLoop] | None = None,
) -> WindowSample:
    """Continue one window of codes; what is already known is kept as it is.

    Args:
        tokens: (B, known) from `prior.sequence`: the lyric prefix, if any, and the codes known so far.
        conditioning: from `prior.condition`.
        length: codes the window should hold at the end, known ones included.
        uniforms: (B, length) floating-point in [0, 1), one per code of the window; needed unless the temperature is 0.
        chunk: read the known tokens in pieces of this size, to bound memory; None for one pass.
        may_draw_lyrics: let a prior with a lyric prefix draw characters among its codes, as the original does, which
            then returns code 0 for them.
        hook: given the logits (B, V) and the place in the window before each draw, gives the logits to draw from. The
            draw is then left out of a captured step.
        watch: told the place in the window of each code as its step is started; sees nothing of it and costs nothing.
        keep_logits: also give the logits of every position, which takes memory.
        cache: from `prior.new_cache`, to be used again; made anew if None.
        backend: how each step is computed: `eager` by `prior.step`; `cpp` by compiled code for CPUs (cpp_step.py);
            `cuda_graph` by `prior.step` in a CUDA graph (cuda_graph.py), without CUDA as `eager`; `triton` by Triton
            kernels in such a graph (triton_step.py); `auto` is `cuda_graph` on CUDA, `cpp` where that is possible, else
            `eager`.
        loops: an empty dictionary at first, to be used again with the same `cache`: it keeps the graphs from window to
            window; None for this window only.

    Raises:
        ValueError: a length that the window can not hold or its conditioning does not reach, a chunk of no codes,
            missing uniforms, or a way to step that is not possible here, in one sentence.
        FloatingPointError: logits that are not finite, or a hook that leaves nothing to draw; its arguments are what
            happened, the song, the place in the window and the cure.
    """
    require(
        settings.temperature == 0
        or not isinstance(uniforms, Tensor)
        or bool(((uniforms >= 0) & (uniforms < 1)).all()),  # NaN is neither
        "uniforms holds numbers outside of [0, 1); draw them with torch.rand",
    )
    window = OpenWindow(
        prior,
        tokens,
        conditioning,
        length,
        settings,
        uniforms=uniforms,
        chunk=chunk,
        may_draw_lyrics=may_draw_lyrics,
        keep_logits=keep_logits,
        hook=hook,
        watch=watch,
        cache=cache,
        backend=backend,
        loops=loops,
    )
    codes = window.write_until(length)
    return WindowSample(codes, torch.cat(window.kept_logits, dim=1) if keep_logits else None)


class OpenWindow:
    """One window while it is written: what is known is read at once, the rest follows as far as it is asked for.

    Nothing else may use the cache, or `loops`, until it is full. Arguments and errors as in `sample_window`.

    Attributes:
        reached: codes that it holds by now.
        kept_logits: of the positions that were run, (B, some, V) each; none unless they were asked for.
    """

    @torch.no_grad()
    def __init__(
        self,
        prior: JukeboxPrior,
        tokens: Tensor,
        conditioning: Conditioning,
        length: int,
        settings: SamplingSettings,
        *,
        uniforms: Tensor | None = None,
        chunk: int | None = None,
        may_draw_lyrics: bool = False,
        keep_logits: bool = False,
        hook: Callable[[Tensor, int], Tensor] | None = None,
        watch: Callable[[int], None] | None = None,
        cache: JukeboxCache | None = None,
        backend: str = "auto",
        loops: dict[object, WindowLoop] | None = None,
    ) -> None:
        prefix = prior.config.prefix_length
        _check_request(prior, tokens, length, settings, uniforms, chunk)
        _check_conditioning(conditioning, tokens.shape[0], prefix + length)
        check_in_memory("the prior", prior)
        cache = cache or prior.new_cache(tokens.shape[0])
        drawing = Drawing(settings, prefix, prior.config.code_offset, may_draw_lyrics)
        self._hooks, self._is_chosen = hooks_made(), backend != "auto"
        if backend == "auto":
            backend = _best_backend(prior, cache)
        else:
            _check_backend(prior, cache, backend)
        self._loop = _loop(prior, cache, drawing, conditioning, backend, {} if loops is None else loops)
        self._prior, self._cache, self._backend, self._seen = prior, cache, backend, _looked_up(prior)
        self._drawing, self._length, self._keeps = drawing, length, keep_logits
        self._hook, self._watch = hook, watch
        self.reached = tokens.shape[1] - prefix
        self.kept_logits: list[Tensor] = []
        read = _read_song_by_song if backend == "cpp" else _read
        trim_heap()  # what conditioning left
        for logits in read(prior, tokens, conditioning, cache, chunk, last_only=not keep_logits):
            self._keep(logits)
            self._first = logits[:, -1]
        trim_heap()  # what reading left
        self._loop.open(tokens, conditioning, uniforms, length)

    @torch.no_grad()
    def write_until(self, stop: int) -> Tensor:
        """Write codes until there are `stop` of them, and give all of them: (B, stop)."""
        require(self.reached <= stop <= self._length, f"stop={stop} must lie from {self.reached} to {self._length}")
        for place in range(self.reached, stop):
            if place == self.reached or self._hook is not None:  # code of others may have run before
                self._look_again()
            if self._watch is not None:
                self._watch(place)
            may_be_heard = place == self.reached or self._hook is not None or self._watch is not None
            if self._hooks != hooks_made() or (may_be_heard and interception() is not None):
                self._hear_of_hooks()
            hook = None if self._hook is None else partial(_at_place, self._hook, place)
            if self._first is not None:
                self._loop.write(self._first, hook)
                self._first = None
            else:
                self._keep(self._loop.advance(hook)[:, None])
        self.reached = stop
        # Once a call: asking at every step would wait for the device.
        page = self._loop.page
        _refuse_from(page.first_bad, stop, "the logits are not finite", "use a wider dtype or check the weights")
        _refuse_from(
            page.first_unclear,
            stop,
            "the hook gives logits that are NaN or +inf",
            "give finite ones; to force a code, give all others -inf",
        )
        _refuse_from(page.first_empty, stop, "the hook leaves no code to draw", "let it keep at least one logit finite")
        prefix, offset = self._drawing.prefix, self._drawing.code_offset
        return (page.tokens[:, prefix : prefix + stop] - offset).clamp(min=0)

    @property
    def backend(self) -> str:
        """How codes are found indeed, where it was to be chosen."""
        return self._backend

    def _hear_of_hooks(self) -> None:
        """Go on plainly where a hook, or who else listens, has come since the window was opened."""
        self._hooks = hooks_made()
        if self._backend != "eager" and (reason := _silenced(self._prior, self._backend, self._loop.device)):
            _refuse_backend(self._backend if self._is_chosen else None, reason)
            self._loop, self._backend = self._loop.stepped_by(self._prior.step), "eager"

    def _look_again(self) -> None:
        """Step with what a prior holds by now where weights or modules were replaced since they were looked up."""
        if self._backend == "eager" or (seen := _looked_up(self._prior)) == self._seen:
            return
        if self._backend == "cpp" and self._is_chosen:
            _check_backend(self._prior, self._cache, "cpp")
        can_go_on = self._backend == "cpp" and (self._is_chosen or not reason_against(self._prior, self._cache))
        self._seen, self._backend = seen, "cpp" if can_go_on else "eager"  # what is captured lasts for a window
        self._loop = self._loop.stepped_by(_stepper(self._prior, self._cache, self._backend))

    def _keep(self, logits: Tensor) -> None:
        if self._keeps:
            self.kept_logits.append(logits.clone())  # a captured step overwrites its own


def check_backend_here(prior: JukeboxPrior, batch: int, backend: str) -> None:
    """Refuse a way to step that is not possible with this prior and so many songs.

    Raises:
        ValueError: with the reason.
    """
    if backend != "auto":
        cache = prior.new_cache(min(batch, MOST_SONGS))  # more are never stepped at once so
        _check_backend(prior, cache, backend)
        _stepper(prior, cache, backend)


def _loop(
    prior: JukeboxPrior,
    cache: JukeboxCache,
    drawing: Drawing,
    conditioning: Conditioning,
    backend: str,
    loops: dict[object, WindowLoop],
) -> WindowLoop:
    """What writes the codes; a captured one is taken from `loops`, or kept there."""
    if backend not in _CAPTURED:
        return WindowLoop(prior, cache, _stepper(prior, cache, backend), drawing, conditioning)
    key = (prior, cache, drawing, backend, conditioning.positions is None)
    seen = _looked_up(prior)
    if key not in loops or loops[key].seen != seen:
        step = _stepper(prior, cache, backend)
        loops[key] = WindowLoop(prior, cache, step, drawing, conditioning, is_captured=True)
        loops[key].seen = seen
    return loops[key]


def _looked_up(prior: JukeboxPrior) -> tuple[object, ...]:
    """Where weights lie and what modules are: a graph reads the same memory again, whatever stands there by then."""
    weights = (weight.data_ptr() if type(weight) is nn.Parameter else id(weight) for weight in prior.parameters())
    return (*weights, *map(type, prior.modules()))


def _best_backend(prior: JukeboxPrior, cache: JukeboxCache) -> str:
    """Fused kernels are not chosen: nobody has measured them on a GPU yet (docs/explanation/speed.md)."""
    best = "cuda_graph" if cache.position.is_cuda else "cpp"
    reason = _silenced(prior, best, cache.position.device) if best == "cuda_graph" else reason_against(prior, cache)
    if reason is None:
        return best
    _refuse_backend(None, reason)
    return "eager"


def _stepper(prior: JukeboxPrior, cache: JukeboxCache, backend: str) -> Step:
    """What finds the next logits, in a way that was found possible."""
    makers = {"cpp": CppStepper, "triton": TritonStepper}
    return makers[backend](prior, cache).step if backend in makers else prior.step


def _check_backend(prior: JukeboxPrior, cache: JukeboxCache, backend: str) -> None:
    check_backend(backend)
    if backend == "eager":
        return
    reason_for = {"cpp": reason_against, "triton": reason_against_fused}.get(backend)
    reason = reason_for(prior, cache) if reason_for else _silenced(prior, backend, cache.position.device)
    if reason is not None:
        _refuse_backend(backend, reason)


def _silenced(prior: JukeboxPrior, backend: str, device: torch.device) -> str | None:
    """Who would not be called by steps of a kind; without CUDA captured ones are plain."""
    return None if backend == "cuda_graph" and device.type != "cuda" else listener(prior)


def _refuse_backend(backend: str | None, reason: str) -> None:
    """Say once why steps are plain; a way to step that was asked for by name is refused.

    Raises:
        ValueError: with the reason.
    """
    require(backend is None, f"backend={backend!r} is not possible here: {reason}; use 'auto' or 'eager'")
    logger.warning_once(f"steps are plain, which is slower: {reason}")


def _check_request(
    prior: JukeboxPrior,
    tokens: Tensor,
    length: int,
    settings: SamplingSettings,
    uniforms: Tensor | None,
    chunk: int | None,
) -> None:
    batch, known = tokens.shape[0], tokens.shape[1] - prior.config.prefix_length
    shortest, longest = max(known, 1), prior.config.context_length
    require(
        is_integer(length) and shortest <= length <= longest,
        f"length={length!r} must be an integer from {shortest} (codes known already) to {longest} (the window)",
    )
    require(
        chunk is None or (is_integer(chunk) and chunk > 0),
        f"chunk={chunk!r} must be a positive integer, or None for one pass",
    )
    require(
        settings.temperature == 0
        or (isinstance(uniforms, Tensor) and uniforms.is_floating_point() and uniforms.shape == (batch, length)),
        f"uniforms must be a tensor ({batch}, {length}), one number per song and code; or set temperature=0",
    )


def _check_conditioning(conditioning: Conditioning, batch: int, length: int) -> None:
    """Every song needs its own, and every position of the sequence up to `length`."""
    parts = (conditioning.start, conditioning.positions, conditioning.lyric_states)
    sizes = {len(part) for part in parts if part is not None}
    require(
        sizes <= {batch},
        f"tokens has {batch} songs, but conditioning is of {', '.join(map(str, sorted(sizes)))}; condition every song",
    )
    reach = length if conditioning.positions is None else conditioning.positions.shape[1]
    require(
        length <= reach,
        f"a window of {length} positions is asked for, but its upper_codes condition only {reach}; pass more "
        f"upper_codes to prior.condition or ask for a smaller length",
    )


def _at_place(hook: Callable[[Tensor, int], Tensor], place: int, logits: Tensor) -> Tensor:
    """What a hook makes of logits (B, V).

    Raises:
        ValueError: anything but logits.
    """
    changed, wanted = hook(logits, place), tuple(logits.shape)
    is_tensor = isinstance(changed, Tensor)
    found = f"{changed.dtype} {tuple(changed.shape)}" if is_tensor else type(changed).__name__
    require(
        is_tensor and changed.shape == wanted and changed.is_floating_point(),
        f"the logits_processor gave {found} for logits {wanted}; let it return logits of this shape",
    )
    return changed


def _refuse_from(first: Tensor, length: int, what: str, cure: str) -> None:
    place, song = (int(value) for value in first.min(dim=0))
    if place < length:
        raise FloatingPointError(what, song, place, cure)


def _read(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    cache: JukeboxCache,
    chunk: int | None,
    last_only: bool,
) -> Iterator[Tensor]:
    """Prefill all known tokens, in one pass or in chunks; the last logits predict the first unknown one."""
    stop = min(tokens.shape[1] + 1, prior.config.sequence_length)
    size = chunk or stop
    for start in range(0, stop, size):
        yield prior.prefill(tokens, conditioning, cache, start, min(start + size, stop), last_only=last_only)


def _read_song_by_song(
    prior: JukeboxPrior,
    tokens: Tensor,
    conditioning: Conditioning,
    cache: JukeboxCache,
    chunk: int | None,
    last_only: bool,
) -> Iterator[Tensor]:
    """The same. What a song's numbers are in their last bits then does not depend on the songs beside it.

    A product of few rows is summed in another order than one of many; native steps keep one order (cpp_step.py).
    """
    places = range(cache.batch_size)
    songs = [(tokens[place : place + 1], conditioning.row(place), cache.row(place), chunk) for place in places]
    for logits in zip(*(_read(prior, *song, last_only) for song in songs), strict=True):
        yield torch.cat(logits)
    cache.position.copy_(songs[0][2].position)
