"""Codes of a window written by cpp_window.c, without a way back to Python between them.

Flows in: a native step, buffers of a window. Flows out: tokens in the buffers, the very ones that `decode_one` draws;
or logits to draw from, where rounding could decide. Around a small network Python takes longer than the network.
"""

import ctypes
import time

import torch
from torch import Tensor, nn

from ..networks.modeling_jukebox_prior import JukeboxPrior
from .backends import Step
from .cpp_step import C_TYPES, CppStepper, address_of
from .sampling_ops import SamplingSettings
from .window_buffers import WindowBuffers
from .window_requests import DecodeOptions

MOMENT_SECONDS = 0.03  # of codes at a time: Ctrl-C and progress wait so long
MOST_CODES_AT_ONCE = 256


class _CWindow(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in (
            "tokens", "positions", "conditions", "runs", "sequence", "uniforms", "firsts", "here", "hidden", "logits",
            "upto", "drawn",
        )),
        *((name, ctypes.c_int64) for name in (
            "type", "condition_rows", "is_tied", "kinds", "length", "codes", "prefix", "first_code", "vocabulary",
            "has_logits",
        )),
        ("temperature", ctypes.c_float),
    ]  # fmt: skip


def writer_of(step: Step, prior: JukeboxPrior, buffers: WindowBuffers, options: DecodeOptions) -> "CodeWriter | None":
    """The writer that goes with a step, where nobody wants to be asked about each code; None where Python draws."""
    stepper = getattr(step, "__self__", None)
    if not isinstance(stepper, CppStepper) or options.jacobi:
        return None
    if reason_against_codes(prior, buffers, options.settings) is not None:
        return None
    return CodeWriter(stepper, prior, buffers, options.settings, options.may_draw_lyrics)


def reason_against_codes(prior: JukeboxPrior, buffers: WindowBuffers, settings: SamplingSettings) -> str | None:
    """Why codes are drawn by Python, one at a time, where steps are native; None if they need not be."""
    if settings.rows > 1 or settings.cuts or buffers.noise is not None:
        return "guidance, cuts and Gumbel draws are Python's"
    transformer = prior.transformer
    embeddings = (transformer.token_embedding, transformer.position_embedding)
    if any(type(one) is not nn.Embedding or one.max_norm is not None for one in embeddings):
        return "embeddings were replaced"
    if type(transformer.dropout) is not nn.Dropout or transformer.dropout.training:
        return "inputs are embedded in another way"
    tables = [one.weight for one in embeddings] + [one for one in (buffers.conditioning.positions,) if one is not None]
    dtype, width = tables[0].dtype, embeddings[0].embedding_dim
    is_plain = all(
        type(one) in (Tensor, nn.Parameter) and one.is_contiguous() and not one.is_neg() and one.dtype == dtype
        and one.device.type == "cpu" and one.shape[-1] == width
        for one in tables
    )  # fmt: skip
    length = buffers.tokens.shape[1]
    if not is_plain or dtype not in (torch.float32, torch.bfloat16) or tables[1].shape[0] != length:
        return "embeddings or conditioning are not there in one piece of one type"
    return None if tables[0].shape[0] == prior.lm_head.out_features else "its head has another vocabulary"


class CodeWriter:
    """Writes codes into the buffers of one window; made anew for each, and where weights are replaced.

    Attributes:
        at_once: codes to write before looking up again, as many as take a moment.
    """

    def __init__(
        self,
        stepper: CppStepper,
        prior: JukeboxPrior,
        buffers: WindowBuffers,
        settings: SamplingSettings,
        may_draw_lyrics: bool,
    ) -> None:
        config, (songs, length) = prior.config, buffers.tokens.shape
        self._stepper, self._kept, self.at_once = stepper, [], 1
        width, vocabulary = prior.transformer.token_embedding.embedding_dim, prior.lm_head.out_features
        self.logits = torch.empty(songs, vocabulary, dtype=torch.float32, device="cpu")
        tokens, positions = (
            one.weight.detach() for one in (prior.transformer.token_embedding, prior.transformer.position_embedding)
        )
        conditions, uniforms, dtype = buffers.conditioning.positions, buffers.uniforms, tokens.dtype
        runs, codes = stepper.runs, 0 if uniforms is None else uniforms.shape[1]
        rows = 0 if conditions is None else conditions.shape[1]
        self._last = length if conditions is None else min(length, rows)
        at = self._at
        self._window = _CWindow(
            tokens=at(tokens, (vocabulary, width), dtype),
            positions=at(positions, (length, width), dtype),
            conditions=None if conditions is None else at(conditions, (songs, rows, width), dtype),
            runs=at(runs, (len(runs), length, 4), torch.long),
            sequence=at(buffers.tokens, (songs, length), torch.long),
            uniforms=None if uniforms is None else at(uniforms, (songs, codes), torch.float64),
            firsts=at(torch.arange(songs + 1, dtype=torch.long, device="cpu"), (songs + 1,), torch.long),
            here=self._room(len(runs), songs, 4, dtype=torch.long),
            hidden=self._room(songs, width, dtype=torch.float32),
            logits=at(self.logits, (songs, vocabulary), torch.float32),
            upto=self._room(vocabulary, dtype=torch.float64),
            drawn=self._room(songs, dtype=torch.long),
            type=C_TYPES[dtype], condition_rows=rows, is_tied=bool(config.tie_word_embeddings), kinds=len(runs),
            length=length, codes=codes, prefix=config.prefix_length, vocabulary=vocabulary,
            first_code=0 if may_draw_lyrics else config.code_offset, temperature=settings.temperature or 1.0,
        )  # fmt: skip

    def write(self, first: int, last: int) -> tuple[int, bool]:
        """Write tokens first .. last-1 of the sequence, whose caches hold all before.

        Returns:
            How many were written, and whether the one behind them is only to be drawn, from `logits`.

        Raises:
            ValueError: places that the window does not have.
        """
        if not 1 <= first <= last <= self._last:
            raise ValueError(f"codes {first} to {last} are none of the {self._last} places of the window")
        begun = time.perf_counter()
        count = self._stepper.write_codes(self._window, first, last)
        if count:
            each = (time.perf_counter() - begun) / count
            self.at_once = max(1, min(MOST_CODES_AT_ONCE, int(MOMENT_SECONDS / max(each, 1e-9))))
        return count, bool(self._window.has_logits) and count < last - first

    def _at(self, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        self._kept.append(tensor)  # alive as long as its address is in use
        return address_of(tensor, shape, dtype)

    def _room(self, *shape: int, dtype: torch.dtype) -> int:
        """The address of memory that C alone uses."""
        return self._at(torch.empty(shape, dtype=dtype, device="cpu"), shape, dtype)
