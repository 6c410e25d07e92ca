"""One attention layer: project, fold as its kind says, attend, project back.

Flows in: hidden states (B, T, D). Flows out: the same shape, and the probabilities when asked for. The layer remembers
nothing; what a sampler must keep lies in a cache tensor (2, B, slots, H, E) that the caller hands in.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrize import is_parametrized
from transformers import PreTrainedConfig

from .attention_kinds import Address, AttentionKind, Folded, LyricsCross, StretchAddress
from .initialization import scaled_linear
from .plain_modules import is_packed, patch_of


@dataclass(frozen=True)
class LayerSettings:
    """Sizes and switches that all layers of one transformer share."""

    width: int
    attention_size: int
    mlp_size: int
    num_heads: int
    states_width: int = 0  # of the lyric states that cross layers read
    init_scale: float = 1.0
    zero_init_residual: bool = False
    residual_scale: float = 1.0
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    config: PreTrainedConfig | None = None  # asked for _attn_implementation only, which may change after building


class JukeboxAttention(nn.Module):
    """Multi-head attention of one kind (paper section A.1)."""

    def __init__(self, kind: AttentionKind, settings: LayerSettings) -> None:
        super().__init__()
        self.kind = kind
        self.num_heads = settings.num_heads
        self.dropout = settings.attention_dropout
        self.config = settings.config
        self.is_cross = isinstance(kind, LyricsCross)
        std, width, size = 0.02 * settings.init_scale, settings.width, settings.attention_size
        if self.is_cross:
            self.query = scaled_linear(width, size, std)
            self.key_value = scaled_linear(settings.states_width, 2 * size, std)
        else:
            self.query_key_value = scaled_linear(width, 3 * size, std)
        # Cross layers start with a zero output projection (zero_init), as the original's do.
        self.output = scaled_linear(size, width, 0.0 if settings.zero_init_residual or self.is_cross else std)

    @property
    def use_sdpa(self) -> bool:
        return getattr(self.config, "_attn_implementation", None) != "eager"

    def forward(
        self,
        hidden: Tensor,
        lyric_states: Tensor | None = None,
        start: int | Address | StretchAddress = 0,
        cache: Tensor | None = None,
        with_probabilities: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from a run of positions, in parallel, and store it in the cache.

        Args:
            hidden: (B, T, D), positions start .. start+T-1.
            lyric_states: (B, N, D'), read by `lyrics_cross` layers where the cache does not hold them yet.
            start: first position; anything but 0 needs the cache that holds what came before. An address is of the
                one position of a `step`, and a stretch of several for `stretch`.
            cache: (2, B, slots, H, E), changed in place.
            with_probabilities: also return them, folded as the kind folds: (F, H, Tq, Tk).
        """
        if isinstance(start, Address):
            return self.step(hidden, start, cache), None
        if isinstance(start, StretchAddress):
            return self.stretch(hidden, start, cache)
        mixed, probabilities = self.mix(self.entry(hidden), lyric_states, start, cache, with_probabilities)
        return self.output(mixed), probabilities

    @property
    def entry(self) -> nn.Module:
        """The projection that hidden states meet first."""
        return self.query if self.is_cross else self.query_key_value

    def mix(
        self,
        projected: Tensor,
        lyric_states: Tensor | None = None,
        start: int = 0,
        cache: Tensor | None = None,
        with_probabilities: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """What happens between `entry` and `output`: all that lets positions meet. (B, T, size) to (B, T, H*E)."""
        batch, length, _ = projected.shape
        queries, kv = self._split(projected, lyric_states, start, cache)
        folded = self.kind.fold(queries, kv, start, cache)
        if cache is not None and not (self.is_cross and start > 0):
            self.kind.store(cache, kv, start)
        out, probabilities = self._attend(folded, with_probabilities)
        return self.kind.unfold(out, batch, start, length).flatten(-2), probabilities

    def step(self, hidden: Tensor, address: Address, cache: Tensor) -> Tensor:
        """Attend from one position (B, 1, D); where it writes and reads, `address` says in device tensors."""
        if self.is_cross:
            queries = self._heads(self.query(hidden), 1)[0]
        else:
            queries, *new = self._heads(self.query_key_value(hidden), 3)
            old = cache.index_select(2, address.write_slot)
            kept = torch.where(address.is_kept, torch.stack(new).to(cache.dtype), old)
            cache.index_copy_(2, address.write_slot, kept)
        kv = cache.index_select(2, address.read_slots).to(queries.dtype)
        out, _ = self._attend(Folded(queries, kv, mask=address.is_visible), with_probabilities=False)
        return self.output(out.flatten(-2))

    def stretch(self, hidden: Tensor, stretch: StretchAddress, cache: Tensor) -> tuple[Tensor, Tensor | None]:
        """Attend from W positions of each row (B, W, D), which read the cache and each other; the cache stays as it is.

        Returns:
            The output, and keys and values (2, B, W, H, E) to store once they are final; None of a cross layer.
        """
        old = cache
        if stretch.read_slots is not None:
            rows = torch.arange(len(hidden), device=hidden.device)[:, None]
            old = cache[:, rows, stretch.read_slots]
        if self.is_cross:
            queries, fresh, kv = self._heads(self.query(hidden), 1)[0], None, old.to(hidden.dtype)
            mask = stretch.is_visible[..., : kv.shape[2]]
        else:
            heads = self._heads(self.query_key_value(hidden), 3)
            queries, fresh, mask = heads[0], heads[1:], stretch.is_visible
            kv = torch.cat([old, fresh.to(old.dtype)], dim=2).to(queries.dtype)
        out, _ = self._attend(Folded(queries, kv, mask=mask.unsqueeze(1)), with_probabilities=False)
        return self.output(out.flatten(-2)), fresh

    def probabilities(self, hidden: Tensor, lyric_states: Tensor | None, heads: Sequence[int]) -> Tensor:
        """Attention probabilities, for a few heads and without the layer's output: (F, heads, Tq, Tk)."""
        queries, kv = self._split(self.entry(hidden), lyric_states, 0, None)
        folded = self.kind.fold(queries, kv, 0, None)
        queries, keys = (x[:, :, list(heads)].transpose(1, 2) for x in (folded.queries, folded.kv[0]))
        return attention_probabilities(queries, keys, folded)

    def _split(
        self, projected: Tensor, lyric_states: Tensor | None, start: int, cache: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, T, H, E) and kv (2, B, T, H, E); a cross layer projects the lyric states once per window."""
        if not self.is_cross:
            heads = self._heads(projected, 3)
            return heads[0], heads[1:]
        queries = self._heads(projected, 1)[0]
        if start > 0 and cache is not None:
            return queries, cache.to(queries.dtype)
        key_value = widened(self.key_value, projected.dtype)
        return queries, self._heads(key_value(lyric_states.to(projected.dtype)), 2)

    def _heads(self, projected: Tensor, parts: int) -> Tensor:
        """(B, T, parts*H*E) -> (parts, B, T, H, E)."""
        return projected.unflatten(-1, (parts, self.num_heads, -1)).movedim(-3, 0)

    def _attend(self, folded: Folded, with_probabilities: bool) -> tuple[Tensor, Tensor | None]:
        queries, keys, values = (x.transpose(1, 2) for x in (folded.queries, *folded.kv))  # (F, H, T, E)
        dropout = self.dropout if self.training else 0.0
        if self.use_sdpa and not with_probabilities:
            out = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=folded.mask, dropout_p=dropout, is_causal=folded.is_causal
            )
            return out.transpose(1, 2), None
        probabilities = attention_probabilities(queries, keys, folded)
        out = F.dropout(probabilities, dropout).to(values.dtype) @ values
        return out.transpose(1, 2), probabilities


def widened(module: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The module, with its bfloat16 parameters in float32 where `dtype` is that, for as long as the result is held.

    Widening takes a short time beside products of many rows, which some processors have no bfloat16 for.
    """
    parameters = dict(module.named_parameters())
    if dtype != torch.float32 or all(parameter.dtype != torch.bfloat16 for parameter in parameters.values()):
        return module
    if any(map(is_packed, parameters.values())):
        return module  # a quantizer's own, which takes what it is given
    wide = {name: parameter.float() for name, parameter in parameters.items()}
    if not all(map(_may_be_copied, module.modules())):
        return lambda hidden: functional_call(module, wide, (hidden,))
    return _twin(module, {id(parameters[name]): weight for name, weight in wide.items()})


def _may_be_copied(module: nn.Module) -> bool:
    """Whether a module is one of torch's or ours as it is: others may hold on to themselves, or remember calls."""
    root = type(module).__module__.partition(".")[0]
    return (
        root in ("torch", __name__.partition(".")[0]) and not is_parametrized(module) and patch_of(module, "") is None
    )


def _twin(module: nn.Module, weights: Mapping[int, Tensor]) -> nn.Module:
    """The module with other weights, by the id of its own; it stays as it is, for threads that run it meanwhile."""
    twin = copy.copy(module)
    own = {name: weights.get(id(weight), weight) for name, weight in module._parameters.items()}
    parts = {name: part and _twin(part, weights) for name, part in module._modules.items()}
    vars(twin).update(_parameters=own, _modules=parts)
    return twin


def attention_probabilities(queries: Tensor, keys: Tensor, folded: Folded) -> Tensor:
    """Softmax of the scores, in float32: (F, H, Tq, Tk). The plain twin of scaled_dot_product_attention."""
    scale = queries.shape[-1] ** -0.25  # on both sides, so that half precision does not overflow
    scores = ((queries * scale) @ (keys * scale).transpose(-1, -2)).float()
    mask = folded.mask
    if folded.is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1)
