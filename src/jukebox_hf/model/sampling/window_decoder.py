"""One window of one level: read what is known in parallel, then decode the rest code by code.

Flows in: known codes, conditioning, random numbers for codes to draw. Flows out: the window, full. The position is read
from the cache, a device tensor, so that a step is the same call everywhere, waits for nobody and can be replayed.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import logging

from ..checks.validation import require
from ..networks.cache import JukeboxCache
from ..networks.conditioning import Conditioning
from ..networks.lyric_conditioning import NoLyrics
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..networks.plain_modules import check_in_memory, hooks_made, interception, say_uncalled
from .backends import (
    GRAPHS,
    Step,
    chosen_backend,
    fixed_parts,
    reason_against_backend,
    refuse_backend,
    step_of,
    unheard,
)
from .cpp_window import CodeWriter, writer_of
from .cuda_graph import CudaGraph
from .gumbel_noise import DrawCounters
from .heap import trim_heap
from .jacobi import JacobiLoop
from .jacobi_pace import Pace
from .sampling_ops import SamplingSettings, choose, guided
from .step_checks import listener
from .stretches import GraphStretcher, Stretcher, reason_against_stretches, stretcher_of
from .window_buffers import WindowBuffers, note_first
from .window_reading import read_known, read_row_by_row
from .window_requests import DecodeOptions, Hook, changed_by, check_conditioning, check_request

logger = logging.get_logger(__name__)


class WindowSample(NamedTuple):
    """One window of codes.

    Attributes:
        codes: (B, length).
        logits: (B, positions, V) of every position that was run, guided; None unless they were asked for.
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
    uniforms: Tensor | DrawCounters | None = None,
    chunk: int | None = None,
    may_draw_lyrics: bool = False,
    keep_logits: bool = False,
    hook: Hook | None = None,
    watch: Callable[[int], None] | None = None,
    cache: JukeboxCache | None = None,
    backend: str = "auto",
    jacobi: int | str = 0,
) -> WindowSample:
    """Continue one window of codes; what is already known is kept as it is.

    Args:
        tokens: (B, known) from `prior.sequence`: the lyric prefix, if any, and the codes known so far. With guidance
            (R * B, known): all songs as they are, then all of them with what the first of `settings.contrasts` hides,
            and so on; the codes of a song are the same in all its rows.
        conditioning: from `prior.condition`, of these rows.
        length: codes the window should hold at the end, known ones included.
        uniforms: (B, length) floating-point in [0, 1), one per code of the window; for draw="gumbel" the `DrawCounters`
            of every song, which noise is made from code by code; needed unless the temperature is 0.
        chunk: read the known tokens in pieces of this size, to bound memory; None for one pass.
        may_draw_lyrics: let a prior with a lyric prefix draw characters among its codes, as the original does, which
            then returns code 0 for them.
        hook: given the logits (B, V) and the position in the window before each draw, gives the logits to draw from;
            V counts the characters of a lyric prefix, which stand in front. The draw is then left out of a CUDA graph.
        watch: told the position in the window of each code before its step, or the stretch of them that native code
            writes, is started; sees nothing of it and is cheap.
        keep_logits: also give the logits of every position, which takes memory.
        cache: from `prior.new_cache`, to be used again; made anew if None.
        backend: how each step is computed: `eager` by `prior.step`; `cpp` by compiled code for CPUs (cpp_step.py);
            `cuda_graph` by `prior.step` in a CUDA graph (cuda_graph.py), without CUDA as `eager`; `triton` by Triton
            kernels in such a graph (triton_step.py); `auto` is `cuda_graph` on CUDA, `cpp` where that is possible, else
            `eager`.
        jacobi: how many codes of each song to guess and check in one forward, which gives the same codes sooner
            (jacobi.py); 0 draws one at a time, `auto` finds out what is fastest. With a hook or `keep_logits` it is 0.

    Raises:
        ValueError: a length that the window cannot hold or its conditioning does not reach, a chunk of no codes,
            missing uniforms, or a backend that is not possible here, in one sentence.
        FloatingPointError: logits that are not finite, or a hook that leaves nothing to draw; its arguments are what
            happened, the row, the position in the window and the cure.
    """
    require(
        settings.temperature == 0
        or not isinstance(uniforms, Tensor)
        or bool(((uniforms >= 0) & (uniforms < 1)).all()),  # NaN is neither
        "uniforms holds numbers outside of [0, 1); draw them with torch.rand",
    )
    options = DecodeOptions(settings, backend, chunk, may_draw_lyrics, jacobi)
    decoder = WindowDecoder(prior, cache or prior.new_cache(tokens.shape[0]), options, keep_logits)
    decoder.prefill(tokens, conditioning, length, uniforms, hook=hook, watch=watch)
    codes = decoder.decode_until(length)
    return WindowSample(codes, torch.cat(decoder.kept_logits, dim=1) if keep_logits else None)


def decode_one(
    step: Step,
    options: DecodeOptions,
    prior: JukeboxPrior,
    buffers: WindowBuffers,
    cache: JukeboxCache,
    hook: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Predict the token at the cache's position from the one before it, and write it: the body of the loop.

    Returns:
        Logits (B, V), guided, before the hook; the next call may change them.
    """
    torch.index_select(buffers.tokens, 1, cache.position.view(1) - 1, out=buffers.token)
    logits = guided(step(buffers.token, buffers.conditioning, cache)[:, -1], options.settings)
    draw_one(options, prior, buffers, cache, logits, hook)
    return logits


def draw_one(
    options: DecodeOptions,
    prior: JukeboxPrior,
    buffers: WindowBuffers,
    cache: JukeboxCache,
    logits: Tensor,
    hook: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Draw from logits (B, V) the token that they predict, at the cache's position less 1; write it into all rows."""
    at = cache.position.view(1) - 1
    position, offset = at - prior.config.prefix_length, prior.config.code_offset
    note_first(buffers.first_bad, position, ~torch.isfinite(logits).all(dim=-1))
    allowed = logits if options.may_draw_lyrics else _codes_alone(logits, offset)
    if hook is not None:
        allowed = hook(allowed)
        allowed = allowed if options.may_draw_lyrics else _codes_alone(allowed, offset)  # a hook may have let them in
        largest = allowed.amax(dim=-1)  # NaN if any is
        note_first(buffers.first_empty, position, largest == float("-inf"))
        note_first(buffers.first_unclear, position, ~(largest < float("inf")))
    numbers = None if buffers.uniforms is None else buffers.uniforms.index_select(1, position).squeeze(1)
    if buffers.noise is not None:
        numbers = buffers.noise.at(position)
    chosen = choose(allowed, options.settings, numbers).unsqueeze(1)
    buffers.tokens.index_copy_(1, at, chosen if options.settings.rows == 1 else chosen.repeat(options.settings.rows, 1))


def _codes_alone(logits: Tensor, offset: int) -> Tensor:
    """Logits (B, V) with lyric characters ruled out, since codes are due."""
    return F.pad(logits[:, offset:], (offset, 0), value=float("-inf"))


Body = Callable[[Callable[[Tensor], Tensor] | None], Tensor]  # `decode_one` over given tensors: hook -> logits (B, V)


def recorded(
    step: Step, options: DecodeOptions, prior: JukeboxPrior, buffers: WindowBuffers, cache: JukeboxCache
) -> Body:
    """`decode_one` as a CUDA graph; with a hook, which is code of the host's, the step alone is one."""
    device = cache.position.device
    whole = CudaGraph(partial(decode_one, step, options, prior, buffers, cache), device)
    alone = CudaGraph(partial(step, buffers.token, buffers.conditioning, cache), device)

    def body(hook: Callable[[Tensor], Tensor] | None) -> Tensor:
        if hook is None:
            return whole()
        return decode_one(lambda *_: alone(), options, prior, buffers, cache, hook)

    return body


class _Recorded(NamedTuple):
    """What was recorded for one window and is replayed for those that follow, as long as `key` stays the same."""

    key: tuple[object, ...]
    buffers: WindowBuffers
    body: Body
    stretcher: GraphStretcher


class WindowDecoder:
    """Decodes windows over one cache, one after the other; what was recorded for the first is replayed for the rest.

    Nothing else may use the cache between `prefill` and the end of the window. Errors as in `sample_window`.

    Attributes:
        backend: the one in use, where it was to be chosen.
        reached: codes that the window holds by now.
        kept_logits: of the positions that were run, (B, some, V) each; none unless they were asked for.
        pace: how many codes are checked at once, and how many that gave.
    """

    def __init__(
        self,
        prior: JukeboxPrior,
        cache: JukeboxCache,
        options: DecodeOptions,
        keep_logits: bool = False,
        pace: Pace | None = None,
    ) -> None:
        """`pace`: goes on with what was found to be fastest before."""
        self.prior, self.cache, self.options = prior, cache, options
        self.pace = pace or Pace(options.jacobi, prior.config.context_length)
        self.backend, self.reached, self._done = options.backend, 0, 0  # more may be done than was asked for
        self.kept_logits: list[Tensor] = []
        self._keeps_logits = keep_logits
        self._recorded: _Recorded | None = None
        self._writer: CodeWriter | None = None
        self._step: Step = prior.step  # but where a graph is replayed
        self._jacobi: JacobiLoop | None = None

    @torch.no_grad()
    def prefill(
        self,
        tokens: Tensor,
        conditioning: Conditioning,
        length: int,
        uniforms: Tensor | DrawCounters | None = None,
        *,
        hook: Hook | None = None,
        watch: Callable[[int], None] | None = None,
        after: Callable[[Tensor], bool] | None = None,
    ) -> None:
        """Begin a window: read its known tokens (R * B, N+known) at once.

        Args:
            after: given the codes of the window (B, some) after each that is drawn, says whether to stop there; it
                waits for the device.
            tokens, conditioning, length, uniforms, hook, watch: as in `sample_window`.
        """
        prior, cache, settings = self.prior, self.cache, self.options.settings
        check_request(prior, tokens, length, settings, uniforms)
        check_conditioning(conditioning, tokens.shape[0], prior.config.prefix_length + length)
        check_in_memory("the prior", prior)
        say_uncalled(prior, JukeboxPrior, "the prior", "prior.transformer, or prior.lm_head for its logits")
        instead = "prior.transformer, or prior.lyrics.transformer of a lyric encoder"
        say_uncalled(prior.lyrics, NoLyrics, "prior.lyrics", instead)
        self._hooks, self._hook, self._watch, self._after = hooks_made(), hook, watch, after
        self.backend = chosen_backend(prior, cache, self.options.backend)
        self._fixed = fixed_parts(prior)
        self._open(conditioning)
        self.reached = self._done = tokens.shape[1] - prior.config.prefix_length
        self._length, self._told = length, 0
        self.kept_logits = []
        read = read_row_by_row if self.backend == "cpp" else read_known
        trim_heap()  # what conditioning left
        for raw in read(prior, tokens, conditioning, cache, self.options.chunk, last_only=not self._keeps_logits):
            logits = guided(raw, settings)
            self._keep(logits)
            self._first = logits[:, -1]
        trim_heap()  # what reading left
        self._buffers.begin(tokens, conditioning, uniforms, length, self.reached)
        self._jacobi = self._jacobi_loop()

    @torch.no_grad()
    def decode_until(self, stop: int) -> Tensor:
        """Decode until there are `stop` codes, or `after` says so, and give all of them: (B, stop)."""
        require(self.reached <= stop <= self._length, f"stop={stop} must lie from {self.reached} to {self._length}")
        if self._jacobi is not None:
            self._decode_stretches(stop)
        begun, is_over = self._done, False
        while self._done < stop and not is_over:
            if self._first is None and self._writer is not None and self._write_natively(begun, stop):
                continue
            was_read, body = self._first is not None, self._body_at(self._done, is_heard=self._done == begun)
            self._last = body()
            self._done += 1
            if not was_read:
                self._keep(self._last[:, None])
            is_over = self._after is not None and self._after(self._codes(self._done))
        self.reached = stop = self._done if is_over else stop
        return self._finished(stop)

    def _body_at(self, position: int, is_heard: bool) -> Callable[[], Tensor]:
        """What draws one code of each row there, and gives its logits; `is_heard`: others may have run code before."""
        is_heard = is_heard or self._hook is not None
        if is_heard:
            self._look_for_other_parts()
        self._tell(position)
        if self._may_be_heard(is_heard):
            self._look_for_hooks()
        hook = None if self._hook is None else partial(changed_by, self._hook, position)
        if self._buffers.noise is not None:
            self._buffers.noise.reach([position + 1] * len(self._buffers.first_bad))
        return partial(self._body if self._first is None else self._draw_first, hook)

    def _tell(self, position: int) -> None:
        """Tell whoever watches of a code, once."""
        if self._watch is not None and position >= self._told:
            self._watch(position)
        self._told = max(self._told, position + 1)

    def _may_be_heard(self, is_heard: bool) -> bool:
        """Whether somebody may listen since the last look; `is_heard`: others may have run code meanwhile."""
        return self._hooks != hooks_made() or ((is_heard or self._watch is not None) and interception() is not None)

    def _write_natively(self, begun: int, stop: int) -> bool:
        """Write some codes without Python; whether there is any done, or this is to be asked again.

        Args:
            begun: the first code of the call, before which others may have run code.
        """
        first, last, prefix = self._done, self._done, self.prior.config.prefix_length
        if first == begun:
            self._look_for_other_parts()
        while self._writer is not None and last < min(first + self._writer.at_once, stop):
            self._tell(last)
            if self._may_be_heard(last == begun):
                break
            last += 1
        if last == first:
            return False
        count, is_undrawn = self._writer.write(prefix + first, prefix + last)
        self.cache.position.fill_(prefix + first + count + is_undrawn)
        if is_undrawn:
            draw_one(self.options, self.prior, self._buffers, self.cache, self._writer.logits)
        self._done = first + count + is_undrawn
        return self._done > first

    def _draw_first(self, hook: Callable[[Tensor], Tensor] | None) -> Tensor:
        """The first code of a window, from logits that were found with what it knows."""
        logits, self._first = self._first, None
        draw_one(self.options, self.prior, self._buffers, self.cache, logits, hook)
        return logits

    def _jacobi_loop(self) -> JacobiLoop | None:
        """What checks many codes at once, where that was asked for and is possible."""
        if self.options.jacobi == 0:
            return None
        reason = "the logits of every position are kept" if self._keeps_logits else None
        if self._hook is not None or self._after is not None:
            reason = "who listens is asked once for every code"
        reason = reason or reason_against_stretches(self.prior, self.backend, self.pace.is_auto)
        if reason is not None:
            logger.warning_once(f"codes are drawn one at a time in spite of jacobi={self.options.jacobi!r}: {reason}")
            return None
        settings, may_draw_lyrics = self.options.settings, self.options.may_draw_lyrics
        return JacobiLoop(self.prior, self._stretcher(), settings, may_draw_lyrics, self.pace.most)

    def _stretcher(self) -> Stretcher:
        if self.backend in GRAPHS:
            return self._recorded.stretcher
        return stretcher_of(self.prior, self.cache, self._step)

    def _decode_stretches(self, stop: int) -> None:
        """Decode until every row has `stop` codes; those that guess well go on. Gives up where somebody listens."""
        loop = self._jacobi
        self._look_for_other_parts()
        if not loop.starts:
            self._decode_some(min(1, stop - self._done))
        while loop.starts and loop.reached < stop:
            if self._hooks != hooks_made() or interception() is not None:
                self._hooks = hooks_made()
                if listener(self.prior) is not None:
                    self._leave(loop)
                    self._look_for_hooks()
                    self._jacobi = None
                    return
            width, count = self.pace.next()
            if width == 1:
                self._leave(loop)
                self._decode_some(min(count, self._length - self._done))
            else:
                if self._watch is not None:
                    self._watch(loop.reached)
                begun = time.perf_counter()
                self.pace.note(width, loop.advance(width, self._length), len(loop.starts), begun)
        if loop.starts:
            loop.give()
            self._done = stop

    def _leave(self, loop: JacobiLoop) -> None:
        """Be where all rows have as many codes, to go on one at a time."""
        loop.align()
        loop.give()
        self._done = loop.reached
        self.cache.position.fill_(self.prior.config.prefix_length + loop.reached)

    def _decode_some(self, count: int) -> None:
        """So many codes one at a time, and guesses behind them."""
        songs = len(self._buffers.first_bad)
        for number in range(count):
            begun = time.perf_counter()
            self._last = self._body_at(self._done, is_heard=number == 0)()
            self._done += 1
            self.pace.note(1, songs, songs, begun)
        if count:
            self._jacobi.begin(self._buffers, self._done, self._last)

    @property
    def codes_by(self) -> str:
        """The backend that finds codes: that of steps, or of stretches where a number of positions was asked for."""
        return self.backend if self._jacobi is None or self.pace.is_auto else self._jacobi.stretcher.backend

    def _open(self, conditioning: Conditioning) -> None:
        """Buffers and the body of the loop for a window; recorded ones where they still hold."""
        prior, cache, settings = self.prior, self.cache, self.options.settings
        positions, ahead = conditioning.positions, 2 * self.pace.most
        if self.backend not in GRAPHS:
            self._buffers = WindowBuffers.empty(prior, cache, positions, settings, ahead)
            self._step_by(step_of(prior, cache, self.backend))
            return
        key = (self.backend, positions is None, self._fixed)
        if self._recorded is None or self._recorded.key != key:
            if positions is not None:  # of its own: a graph reads the same memory again
                positions = positions.new_zeros(cache.batch_size, prior.config.sequence_length, positions.shape[-1])
            buffers = WindowBuffers.empty(prior, cache, positions, settings, ahead)
            body = recorded(step_of(prior, cache, self.backend), self.options, prior, buffers, cache)
            self._recorded = _Recorded(key, buffers, body, GraphStretcher(prior, cache))
        self._buffers, self._body = self._recorded.buffers, self._recorded.body

    def _step_by(self, step: Step) -> None:
        self._step, self._writer = step, None
        if self._hook is None and self._after is None and not self._keeps_logits:
            self._writer = writer_of(step, self.prior, self._buffers, self.options)
        self._body = partial(decode_one, step, self.options, self.prior, self._buffers, self.cache)

    def _look_for_hooks(self) -> None:
        """Go on eagerly where a hook, or who else listens, has come since the window was begun."""
        self._hooks = hooks_made()
        if reason := unheard(self.prior, self.backend, self.cache.position.device):
            refuse_backend(self.options.backend, reason)
            self._go_on_by("eager")

    def _look_for_other_parts(self) -> None:
        """Step with what a prior holds by now where weights or modules were replaced since they were looked up."""
        if self.backend == "eager" or (fixed := fixed_parts(self.prior)) == self._fixed:
            return
        self._fixed = fixed
        if self.backend != "cpp":
            self._go_on_by("eager")  # what is recorded lasts for a window
            return
        reason = reason_against_backend(self.prior, self.cache, "cpp")
        if reason is not None and self.options.backend == "cpp":
            refuse_backend("cpp", reason)
        self._go_on_by("cpp" if reason is None else "eager")

    def _go_on_by(self, backend: str) -> None:
        self.backend = backend
        self._step_by(step_of(self.prior, self.cache, backend))
        if self._jacobi is not None:
            self._jacobi.stretcher = self._stretcher()

    def _keep(self, logits: Tensor) -> None:
        if self._keeps_logits:
            self.kept_logits.append(logits.clone())  # a graph overwrites its own

    def _finished(self, stop: int) -> Tensor:
        """The codes so far (B, stop), looked at once a call: asking at every step would wait for the device."""
        buffers = self._buffers
        firsts = torch.stack([buffers.first_bad, buffers.first_unclear, buffers.first_empty]).tolist()
        for first, (what, cure) in zip(firsts, _WRONG, strict=True):
            position = min(first)
            if position < stop:
                raise FloatingPointError(what, first.index(position), position, cure)
        return self._codes(stop)

    def _codes(self, stop: int) -> Tensor:
        """The first codes of the window (B, stop)."""
        songs, prefix = len(self._buffers.first_bad), self.prior.config.prefix_length
        return (self._buffers.tokens[:songs, prefix : prefix + stop] - self.prior.config.code_offset).clamp(min=0)


_WRONG = (
    ("the logits are not finite", "use a wider dtype or check the weights"),
    ("the hook gives logits that are NaN or +inf", "give finite ones; to force a code, give all others -inf"),
    ("the hook leaves no code to draw", "let it keep at least one logit finite"),
)
