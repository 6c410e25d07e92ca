"""A causal transformer over a sequence of tokens: embed, shift, run the layers.

Flows in: tokens (B, T), a start embedding and conditioning per position. Flows out: hidden states (B, T, D). It serves
the priors and, without conditioning, the lyric encoder. There is no norm after the last layer (paper section A.1).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GradientCheckpointingLayer

from .attention import JukeboxAttention, LayerSettings, widened
from .attention_kinds import ATTENTION_KINDS, Address, AttentionKind, Grid, StretchAddress
from .cache import JukeboxCache
from .cpu_features import has_bfloat16
from .initialization import scaled_embedding, scaled_linear
from .plain_modules import PlainClasses, compute_dtype, hook_on

POSITIONS_AT_ONCE = 768  # chunk length of a layer's matrix products without autograd: bounds activations
MANY_ROWS = 32  # rows from which upcasting the weights to float32 pays off
GiveBack = Callable[[], None]  # returns freed memory to the system


@dataclass(frozen=True)
class TransformerSettings:
    """Everything that shapes one transformer."""

    vocab_size: int
    grid: Grid
    kinds: tuple[str, ...]
    layer: LayerSettings
    has_start_embedding: bool = True
    embedding_dropout: float = 0.0


@dataclass
class Trace:
    """Which hidden states and attentions to keep while the layers run: indices in, tensors out.

    `reduce` makes of a hidden state what is kept of it, so that those of many layers need not be held at once.
    """

    hidden_state_layers: Collection[int] = ()
    attention_layers: Collection[int] = ()
    hidden_states: dict[int, Tensor] = field(default_factory=dict)
    attentions: dict[int, Tensor] = field(default_factory=dict)
    reduce: Callable[[Tensor], Tensor] | None = None

    def see(self, index: int, hidden: Tensor) -> None:
        """Keep the hidden state of an index, if it is wanted."""
        if index in self.hidden_state_layers:
            self.hidden_states[index] = hidden if self.reduce is None else self.reduce(hidden)


class JukeboxTransformer(nn.Module):
    """Token and position embeddings, and a stack of layers whose kinds follow a pattern."""

    def __init__(self, settings: TransformerSettings) -> None:
        super().__init__()
        layer, length = settings.layer, settings.grid.rows * settings.grid.columns
        self.length = length
        self.token_embedding = scaled_embedding(settings.vocab_size, layer.width, 0.02 * layer.init_scale)
        self.position_embedding = scaled_embedding(length, layer.width, 0.01 * layer.init_scale)
        if settings.has_start_embedding:
            self.start_embedding = scaled_embedding(1, layer.width, 0.01 * layer.init_scale)
        self.pattern = tuple(settings.kinds)
        self.kinds = {name: ATTENTION_KINDS[name](settings.grid) for name in settings.kinds}
        self.head_shape = (layer.num_heads, layer.attention_size // layer.num_heads)
        self.layers = nn.ModuleList(JukeboxBlock(self.kinds[name], layer) for name in settings.kinds)
        self.dropout = nn.Dropout(settings.embedding_dropout)

    def forward(
        self,
        inputs: Tensor,
        lyric_states: Tensor | None = None,
        start: int | Tensor = 0,
        cache: JukeboxCache | None = None,
        trace: Trace | None = None,
        depth: int | None = None,
        give_back: GiveBack | None = None,
    ) -> Tensor:
        """Run the layers over embedded inputs (B, T, D) at positions start .. start+T-1, in parallel.

        A tensor as `start` is the cache's position, where one input is to be run: `step`, so that forward hooks run.
        With a cache, what lies before `start` is read from it and the run is stored in it; without gradients and a
        trace the layers then write over `inputs`, which saves most of the memory, and call `give_back` where they have
        freed what the next tensors do not fit into. `depth` stops before that layer.
        """
        if isinstance(start, Tensor):
            return self.step(inputs, cache)
        is_in_place = cache is not None and trace is None and not torch.is_grad_enabled() and self._may_overwrite()
        trace = trace or Trace()
        depth = len(self.layers) if depth is None else depth
        is_widened = is_in_place and inputs.shape[1] >= MANY_ROWS and self._lacks_bfloat16_matmul()
        hidden = inputs.float() if is_widened else self._enter(inputs)
        lyric_states = None if lyric_states is None else lyric_states.to(hidden.dtype)
        for index, layer in islice(enumerate(self.layers), depth):
            trace.see(index, hidden)
            slots = None if cache is None else cache.layers[index]
            with_probabilities = index in trace.attention_layers
            hidden, probabilities = layer(
                hidden, lyric_states, start, slots, with_probabilities, is_in_place, give_back
            )
            if index in trace.attention_layers:
                trace.attentions[index] = probabilities
        trace.see(depth, hidden)
        return hidden.float()

    def step(self, inputs: Tensor, cache: JukeboxCache) -> Tensor:
        """Run the layers over one embedded input (B, 1, D) at the cache's position, and advance the position."""
        hidden = self._enter(inputs)
        addresses = {name: kind.address(cache.position) for name, kind in self.kinds.items()}
        for name, layer, slots in zip(self.pattern, self.layers, cache.layers, strict=True):
            hidden, _ = layer(hidden, None, addresses[name], slots)
        cache.position.add_(1)
        return hidden.float()

    def stretch(self, inputs: Tensor, positions: Tensor, cache: JukeboxCache) -> tuple[Tensor, list[Tensor | None]]:
        """Run the layers over embedded inputs (B, W, D) at each row's own positions (B, W); the cache stays as it is.

        Returns:
            Hidden states, and by layer keys and values for `keep`.
        """
        hidden, fresh = self._enter(inputs), []
        stretches = {name: kind.stretch(positions) for name, kind in self.kinds.items()}
        for name, layer, slots in zip(self.pattern, self.layers, cache.layers, strict=True):
            hidden, kv = layer(hidden, None, stretches[name], slots)
            fresh.append(kv)
        return hidden.float(), fresh

    def keep(self, fresh: list[Tensor | None], positions: Tensor, counts: Tensor, cache: JukeboxCache) -> None:
        """Store the first `counts` (B,) positions of a `stretch` in the caches; the others are as if never run."""
        for name, kv, slots in zip(self.pattern, fresh, cache.layers, strict=True):
            if kv is not None:
                self.kinds[name].keep(slots, kv, positions, counts)

    def embed(self, tokens: Tensor, start_embedding: Tensor | None, start: int, stop: int) -> Tensor:
        """Embed the inputs of positions start .. stop-1: position i sees token i-1, position 0 the start embedding.

        Args:
            tokens: (B, at least stop-1) from the beginning of the sequence.
            start_embedding: (B, 1, D), or None for the transformer's own.
        """
        if start_embedding is None:
            start_embedding = self.start_embedding.weight.expand(tokens.shape[0], 1, -1)
        embedded = self.token_embedding(tokens[:, max(start - 1, 0) : stop - 1])
        if start == 0:
            embedded = torch.cat([start_embedding.to(embedded.dtype), embedded], dim=1)
        positions = torch.arange(start, stop, device=tokens.device)
        return self.dropout(embedded) + self.dropout(self.position_embedding(positions))

    def embed_step(self, token: Tensor, position: Tensor) -> Tensor:
        """Embed the input (B, 1) of the one position that follows `token`."""
        return self.dropout(self.token_embedding(token)) + self.dropout(self.position_embedding(position.view(1)))

    def embed_stretch(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Embed the inputs (B, W) of positions (B, W) that follow these tokens."""
        return self.dropout(self.token_embedding(tokens)) + self.dropout(self.position_embedding(positions))

    def new_cache(self, batch_size: int) -> JukeboxCache:
        """Empty caches for a batch, on the weights' device and in the dtype the layers compute in."""
        slots = [self.kinds[name].slots for name in self.pattern]
        device = next(self.layers.parameters()).device
        return JukeboxCache(slots, batch_size, self.head_shape, dtype=self.compute_dtype, device=device)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype the layers compute in: that of their matrices; float32 where those are quantized."""
        mlp = getattr(self.layers[0], "mlp", self.layers[0])
        return compute_dtype(getattr(mlp, "up", mlp))

    def _lacks_bfloat16_matmul(self) -> bool:
        """bfloat16 weights on a CPU without bfloat16 matmul."""
        return (
            self.compute_dtype == torch.bfloat16
            and next(self.layers.parameters()).device.type == "cpu"
            and has_bfloat16() is False
        )

    @property
    def drops_out(self) -> bool:
        """Whether a part whose training mode differs from its evaluation mode is in training mode."""
        parts = (part for part in self.modules() if isinstance(part, (nn.Dropout, JukeboxAttention)))
        return self.training or any(part.training for part in parts)

    def _may_overwrite(self) -> bool:
        """Whether the layers may run out of their `forward`: no hooks, no patches, no replaced modules, no dropout."""
        if self.drops_out or PLAIN.patched() or hook_on(self, ""):
            return False
        return not any(
            PLAIN.altered(layer, JukeboxBlock, "")
            or PLAIN.altered(layer.attention, JukeboxAttention, "")
            or PLAIN.altered(layer.dropout, nn.Dropout, "")
            for layer in self.layers
        )

    def _enter(self, inputs: Tensor) -> Tensor:
        """Activations in the dtype of the matrices; embeddings and heads keep theirs."""
        return inputs.to(self.compute_dtype)


class JukeboxBlock(GradientCheckpointingLayer):
    """a = attention(norm(x)); m = mlp(norm(x + a)); out = x + a + m (paper section A.1)."""

    def __init__(self, kind: AttentionKind, settings: LayerSettings) -> None:
        super().__init__()
        self.attention_norm = FloatLayerNorm(settings.width)
        self.attention = JukeboxAttention(kind, settings)
        self.mlp_norm = FloatLayerNorm(settings.width)
        self.mlp = JukeboxMLP(settings, zero_init=self.attention.is_cross)
        self.dropout = nn.Dropout(settings.residual_dropout)
        self.residual_scale = settings.residual_scale

    def forward(
        self,
        hidden: Tensor,
        lyric_states: Tensor | None = None,
        start: int | Address | StretchAddress = 0,
        cache: Tensor | None = None,
        with_probabilities: bool = False,
        is_in_place: bool = False,
        give_back: GiveBack | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, T, D) to hidden states, and the layer's attention probabilities when asked for.

        An address as `start` is of the one position of a step; with a stretch, keys and values to store are given in
        place of probabilities. `is_in_place` writes over them, without gradients,
        dropout or probabilities: the same numbers in less memory; `give_back` is called after each half of it.
        """
        if isinstance(start, Address):
            return self.step(hidden, start, cache), None
        if isinstance(start, StretchAddress):
            attended, fresh = self.attention(self.attention_norm(hidden), None, start, cache)
            return self._add(hidden, self.dropout(attended), self.mlp), fresh
        if is_in_place:
            return self._overwrite(hidden, lyric_states, start, cache, give_back), None
        attended, probabilities = self.attention(
            self.attention_norm(hidden), lyric_states, start, cache, with_probabilities
        )
        return self._add(hidden, self.dropout(attended), self.mlp), probabilities

    def step(self, hidden: Tensor, address: Address, cache: Tensor) -> Tensor:
        """One position (B, 1, D)."""
        attended, _ = self.attention(self.attention_norm(hidden), None, address, cache)
        return self._add(hidden, self.dropout(attended), self.mlp)

    def _overwrite(
        self,
        hidden: Tensor,
        lyric_states: Tensor | None,
        start: int,
        cache: Tensor | None,
        give_back: GiveBack | None,
    ) -> Tensor:
        """The twin of `forward` in place: all but the attention itself runs in chunks of positions."""
        is_long = hidden.shape[1] > POSITIONS_AT_ONCE and hidden.device.type == "cpu"
        fragments_heap = give_back is not None and is_long
        mixed, _ = self.attention.mix(self._projected(hidden), lyric_states, start, cache)
        if fragments_heap:
            give_back()  # freed blocks of one half are too small for the tensors of the next
        self._finish(hidden, mixed)
        if fragments_heap:
            give_back()
        return hidden

    def _projected(self, hidden: Tensor) -> Tensor:
        """The first projection of the attention, in chunks: hidden states (B, T, D) to (B, T, size)."""
        entry = widened(self.attention.entry, hidden.dtype)
        whole, start = None, 0
        for piece in hidden.split(POSITIONS_AT_ONCE, dim=1):
            projected = entry(self.attention_norm(piece))
            if whole is None:
                whole = hidden.new_empty(*hidden.shape[:2], projected.shape[-1])
            whole[:, start : start + piece.shape[1]] = projected
            start += piece.shape[1]
        return whole

    def _finish(self, hidden: Tensor, mixed: Tensor) -> None:
        """Overwrite hidden states with the output of the layer, in chunks, from them and the mixed values."""
        output, mlp = widened(self.attention.output, hidden.dtype), widened(self.mlp, hidden.dtype)
        for piece, attended in zip(
            hidden.split(POSITIONS_AT_ONCE, dim=1), mixed.split(POSITIONS_AT_ONCE, dim=1), strict=True
        ):
            self._add(piece, output(attended), mlp, out=piece)

    def _add(
        self, hidden: Tensor, attended: Tensor, mlp: Callable[[Tensor], Tensor], out: Tensor | None = None
    ) -> Tensor:
        # The MLP reads the unscaled attention even where the residual is scaled, as trained.
        both = hidden + attended
        mlp = self.dropout(mlp(self.mlp_norm(both)))
        if self.residual_scale == 1.0:
            return torch.add(both, mlp, out=out)
        return torch.add(hidden, self.residual_scale * (attended + mlp), out=out)


class JukeboxMLP(nn.Module):
    """Two linear layers around a quick GELU."""

    def __init__(self, settings: LayerSettings, zero_init: bool) -> None:
        super().__init__()
        std = 0.02 * settings.init_scale
        self.up = scaled_linear(settings.width, settings.mlp_size, std)
        self.down = scaled_linear(
            settings.mlp_size, settings.width, 0.0 if settings.zero_init_residual or zero_init else std
        )

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(quick_gelu(self.up(hidden)))


class FloatLayerNorm(nn.LayerNorm):
    """A layer norm that computes in float32 whatever the dtype around it."""

    def forward(self, hidden: Tensor) -> Tensor:
        normed = F.layer_norm(hidden.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normed.to(hidden.dtype)


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), the approximation the weights were trained with (Hendrycks and Gimpel 2016)."""
    return x * (1.702 * x).sigmoid_()


# The classes that compiled steps reimplement, as they are defined here.
PLAIN = PlainClasses(
    (
        JukeboxTransformer, JukeboxBlock, JukeboxAttention, JukeboxMLP, FloatLayerNorm,
        nn.LayerNorm, nn.Linear, nn.Dropout, nn.ModuleList, nn.Embedding,
    )
)  # fmt: skip
