"""JukeboxPrior: the transformer that writes the codes of one level (paper section 4).

Flows in: codes, and what conditions them: labels, timing, lyrics or the codes one level up. Flows out: logits and
losses from one parallel `forward`; or, to sample, from `prefill` and `step` with caches that the caller holds.

A prior thinks in tokens of its own vocabulary: its codes, shifted past the lyric characters where those share its
sequence. `sequence` makes them from codes; positions count from the start of that sequence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple

from ..checks.foreign_arguments import FORWARD, check_foreign, no_text_generation
from ..checks.validation import Allowed, check_ids, check_ranges, is_integer, require
from ..configuration.configuration_jukebox import JukeboxPriorConfig, prefix_span
from ..files.checkpoint_files import CheckedWeights
from ..files.loading_arguments import check_part
from ..files.weight_types import KeepsFloat32
from .attention import LayerSettings
from .attention_kinds import Grid
from .cache import JukeboxCache
from .character_models import CharacterModel, character_log_likelihood, check_writes_lyrics
from .conditioning import Conditioning, LabelEmbedding, TimingEmbedding, UpperConditioner
from .initialization import init_module
from .lyric_conditioning import LyricEncoder, LyricPrefix, NewRows, NoLyrics, bits, resize_lyrics
from .plain_modules import compute_dtype
from .prior_inputs import check_inputs, chosen_layers
from .transformer import POSITIONS_AT_ONCE, GiveBack, JukeboxTransformer, Trace, TransformerSettings

MATRIX = "transformer.layers.0.mlp.up.weight"  # one of the tensors that half precision is for


@dataclass
class JukeboxPriorOutput(ModelOutput):
    """What a forward gives.

    Attributes:
        loss: bits, weighted over codes and characters; None with `return_loss=False`.
        logits: (B, N+T, V) float32 in the prior's own vocabulary; N is 0 unless lyrics are a prefix.
        code_loss: bits per code.
        lyric_loss: bits per character; None without lyrics.
        hidden_states: chosen hidden states (B, N+T, D), in the order asked for.
        attentions: probabilities of chosen layers, folded as their kind folds (attention_kinds.py).
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    code_loss: Tensor | None = None
    lyric_loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class JukeboxPrior(CheckedWeights, KeepsFloat32, PreTrainedModel):
    """A top prior or an upsampler; which one, its configuration says.

    Args:
        config: what to build.
        depth: build only the first `depth` layers, for `hidden_states` alone; None: all.
    """

    config_class = JukeboxPriorConfig
    base_model_prefix = "prior"
    main_input_name = "codes"
    input_modalities = ("text", "audio")
    output_modalities = ("audio",)
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # losses are means: Trainer must divide by the accumulation steps itself
    _supports_sdpa = True
    _no_split_modules = ["JukeboxBlock"]
    _tied_weights_keys = {"lm_head.weight": "transformer.token_embedding.weight"}
    # Half precision is for the transformers' matrices; what is small or sensitive stays float32, as trained.
    _keep_in_fp32_modules_strict = [
        "token_embedding",
        "position_embedding",
        "start_embedding",
        "attention_norm",
        "mlp_norm",
        "norm",
        "labels",
        "timing",
        "upper",
        "head",
        "lm_head",
    ]

    def __init__(self, config: JukeboxPriorConfig, depth: int | None = None) -> None:
        super().__init__(config)
        config.validate_architecture()  # fields may have been assigned since it was built
        self.transformer = JukeboxTransformer(_music_settings(config, depth))
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.labels = LabelEmbedding(config) if config.has_labels else None
        self.timing = TimingEmbedding(config) if config.has_timing else None
        self.upper = UpperConditioner(config) if config.upper_strides else None
        self.lyrics = _build_lyrics(config)
        if depth is not None:  # layers that are left out are neither read nor missed
            self._keys_to_ignore_on_load_unexpected = [r"^transformer\.layers\."]
        self.prepare_inputs_for_generation = no_text_generation  # else peft's task_type="CAUSAL_LM" is not accepted
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> "JukeboxPrior":
        """Load one prior, as transformers loads its models; out of a whole Jukebox with subfolder="prior_0".

        With `depth=36` only the first 36 layers are read and built, for `hidden_states`.

        Raises:
            ValueError: a whole Jukebox without subfolder, or arguments that mean nothing here.
        """
        depth = {name: value for name, value in kwargs.items() if name == "depth" and value is not None}
        kwargs = {name: value for name, value in kwargs.items() if name != "depth"}
        given = check_part("prior", pretrained_model_name_or_path, kwargs, cls.config_class) | depth
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **given)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the transformer's matrices; embeddings, norms and heads may be wider."""
        matrix = self.transformer.layers[0].mlp.up.weight
        return matrix.dtype if matrix.is_floating_point() else super().dtype

    def set_attn_implementation(
        self, attn_implementation: str | Mapping[str, str], allow_all_kernels: bool = False
    ) -> None:
        """Choose "sdpa" or "eager"."""
        require(attn_implementation is not None, "attn_implementation=None chooses nothing; choose sdpa or eager")
        self.config._attn_implementation = attn_implementation

    def get_input_embeddings(self) -> nn.Module:
        return self.transformer.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.transformer.token_embedding = value

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a vocabulary is codes and characters together, and a new size says nothing about either.

        Raises:
            ValueError: always, with the cure.
        """
        raise ValueError(
            f"the vocabulary of {self.config.vocab_size} is made of codebook_size and, before a lyric prefix, "
            f"lyric_vocab_size; use resize_lyric_embeddings for more characters, or build a prior with other sizes and "
            f"copy the rows that stay"
        )

    def resize_lyric_embeddings(
        self, new_size: int, *, like: Sequence[Sequence[int]] | None = None, noise: float = 0.1, seed: int = 0
    ) -> None:
        """Make room for more lyric characters, in place; make optimisers and adapters afterwards.

        Old characters and codes keep their rows bit for bit. Codes move behind the new characters in the vocabulary of
        a prior that reads lyrics as a prefix.

        Args:
            new_size: ids of lyrics, padding included: `tokenizer.num_lyric_characters()`.
            like, noise, seed: how new rows begin, see `NewRows`; by default near the mean of the old characters.

        Raises:
            ValueError: a prior without lyrics, fewer characters than now, or too many, in one sentence.
        """
        tables = self.lyrics.tables(self.transformer.token_embedding, self.lm_head)
        resize_lyrics(self.config, tables, new_size, NewRows(like, noise, seed))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_module(module)

    @can_return_tuple
    def forward(
        self,
        codes: Tensor,
        upper_codes: Tensor | None = None,
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        timing: Tensor | None = None,
        lyric_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
        return_loss: bool = True,
        output_hidden_states: bool | Sequence[int] | None = None,
        output_attentions: bool | Sequence[int] | None = None,
        return_dict: bool | None = None,
        **foreign: Any,
    ) -> JukeboxPriorOutput:
        """Predict every code of a window from the codes before it.

        Args:
            codes: (B, T) int64, T up to the context length.
            upper_codes: (B, U) of the level above, for upsamplers; U * ratio codes can be conditioned.
            artist_ids: (B,), for labelled priors; 0 is "unknown".
            genre_ids: (B, G), G up to max_genres, filled up with -1.
            timing: (B, 3) int64 samples: song length, offset of the window, length of the window; for top priors.
            lyric_ids: (B, N), exactly lyric_length characters, for priors with lyrics; 0 is padding.
            artist_weights: (B, A), to mix artists: `artist_ids` is then (B, A), filled up with -1, and embeddings are
                added up by weight.
            genre_weights: (B, G), the same for genres, of which there may then be any number.
            return_loss: False leaves the losses out.
            output_hidden_states: True for all, or indices: 0 is the input of layer 0, i the output of layer i-1; None:
                as the configuration says.
            output_attentions: the same for layers whose probabilities are wanted.
            foreign: what wrappers of language models pass to any model (peft does), as long as it is None.

        Raises:
            ValueError: a missing, unwanted or misshapen input, or an id out of range, in one sentence.
        """
        inputs = {
            "upper_codes": upper_codes,
            "artist_ids": artist_ids,
            "genre_ids": genre_ids,
            "timing": timing,
            "lyric_ids": lyric_ids,
            "artist_weights": artist_weights,
            "genre_weights": genre_weights,
        }
        for name, value in foreign.items():
            check_foreign("JukeboxPrior", FORWARD, name, value, f"codes, {', '.join(inputs)}")
        check_inputs(self.config, codes, **inputs)
        depth = self.config.num_hidden_layers
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        trace = Trace(
            chosen_layers("output_hidden_states", output_hidden_states, depth + 1),
            chosen_layers("output_attentions", output_attentions, depth),
        )
        conditioning = self._condition(**inputs)
        tokens = self.lyrics.sequence(codes, lyric_ids)
        logits = self._run(tokens, conditioning, 0, tokens.shape[1], trace=trace)
        code_loss, lyric_loss, loss = None, None, None
        if return_loss:
            prefix = self.config.prefix_length
            code_loss = bits(logits[:, prefix:], tokens[:, prefix:])
            lyric_loss = self.lyrics.loss(logits, conditioning.lyric_states, lyric_ids)
            loss = self._weigh(code_loss, codes.shape[1], lyric_loss)
        return JukeboxPriorOutput(
            loss=loss,
            logits=logits,
            code_loss=code_loss,
            lyric_loss=lyric_loss,
            hidden_states=tuple(trace.hidden_states[i] for i in trace.hidden_state_layers) or None,
            attentions=tuple(trace.attentions[i] for i in trace.attention_layers) or None,
        )

    @torch.no_grad()
    def hidden_states(
        self,
        codes: Tensor,
        layers: Sequence[int],
        conditioning: Conditioning,
        lyric_ids: Tensor | None = None,
        *,
        reduce: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, ...]:
        """Hidden states of some layers at each code; layers above the last of them are not run, nor is the head.

        Layer i is the output of block i, counted from 1, as `output_hidden_states=[i]` of `forward` gives it; 0 is the
        input of block 1. No norm follows. Position t has read the codes before t.

        Args:
            codes: (B, T), T up to the context length. Codes further right change nothing at t: pad rows on the right.
            layers: from 0 to the number of layers, in any order.
            conditioning: of the window, as `condition` gives it.
            lyric_ids: (B, N), for a prior with lyrics as a prefix, whose positions are left out of the answer.
            reduce: what to keep of each hidden state (B, T, D), as soon as it is there; None keeps all of it.

        Returns:
            (B, T, D) by layer, in the order of `layers`, in the dtype the layers compute in.

        Raises:
            ValueError: codes or layers that do not fit, in one sentence.
        """
        depth = len(self.transformer.layers)
        require(
            len(layers) > 0 and all(is_integer(layer) and 0 <= layer <= depth for layer in layers),
            f"layers={list(layers)} must be one or more from 0 (the input) to {depth} (the output of the last block)",
        )
        tokens, prefix = self.sequence(codes, lyric_ids), self.config.prefix_length
        kept = None if reduce is None else lambda hidden: reduce(hidden[:, prefix:])
        trace = Trace(hidden_state_layers=tuple(layers), reduce=kept)
        inputs = self._inputs(tokens, conditioning, 0, tokens.shape[1])
        self.transformer(inputs, conditioning.lyric_states, trace=trace, depth=max(layers))
        found = (trace.hidden_states[layer] for layer in layers)
        return tuple(found if reduce is not None else (hidden[:, prefix:] for hidden in found))

    @torch.no_grad()
    def lyric_attention(
        self,
        codes: Tensor,
        heads: Mapping[int, Sequence[int]],
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        timing: Tensor | None = None,
        lyric_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Attention of the prediction of each code to each lyric position; layers above the last one are not run.

        Args:
            codes: (B, T), as in `forward`, and so are the other inputs.
            heads: for each layer of interest, out of `config.lyric_layers`, its heads of interest.

        Returns:
            By layer: probabilities (B, heads, T, N), float32. Position j has read the characters before j. Rows need
            not sum to 1: a prefix is followed by keys that are no lyrics.

        Raises:
            ValueError: an input or a layer that does not fit, in one sentence.
        """
        inputs = {
            "artist_ids": artist_ids,
            "genre_ids": genre_ids,
            "timing": timing,
            "lyric_ids": lyric_ids,
            "artist_weights": artist_weights,
            "genre_weights": genre_weights,
        }
        check_inputs(self.config, codes, **inputs)
        layers = list(self.config.lyric_layers)
        require(
            len(heads) > 0 and set(heads) <= set(layers),
            f"heads names layers {list(heads)}, but must name one or more of those that attend to lyrics: {layers}",
        )
        most = self.config.num_attention_heads
        for layer, wanted in heads.items():
            require(
                len(wanted) > 0 and all(is_integer(head) and 0 <= head < most for head in wanted),
                f"heads[{layer}]={list(wanted)} must be one or more heads of the layer, from 0 to {most - 1}",
            )
        conditioning = self._condition(None, **inputs)
        tokens, prefix = self.lyrics.sequence(codes, lyric_ids), self.config.prefix_length
        trace, depth = Trace(hidden_state_layers=tuple(heads)), max(heads)
        embedded = self._inputs_at_once(tokens, conditioning, 0, tokens.shape[1])
        self.transformer(embedded, conditioning.lyric_states, trace=trace, depth=depth)
        found = {}
        for layer, wanted in heads.items():
            block = self.transformer.layers[layer]
            hidden = block.attention_norm(trace.hidden_states.pop(layer))
            attention = block.attention.probabilities(hidden, conditioning.lyric_states, wanted)
            found[layer] = attention[:, :, prefix:, : self.config.lyric_length]
        return found

    # --- words ---

    def characters(
        self,
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> CharacterModel:
        """What this prior has learnt of words: it predicts characters of lyrics, one row at a time.

        Args:
            artist_ids: (1,), and the others as in `forward`; None: unknown ones. A lyric encoder is told none of them.

        Raises:
            ValueError: a prior without lyrics, or one that has not learnt to write them, in one sentence.
        """
        check_writes_lyrics(self.config)
        if self.labels is None:
            return self.lyrics.characters(self, None)
        device = self.transformer.position_embedding.weight.device
        artist_ids = torch.zeros(1, dtype=torch.long, device=device) if artist_ids is None else artist_ids
        genre_ids = torch.zeros(1, 1, dtype=torch.long, device=device) if genre_ids is None else genre_ids
        told = {"artist_ids": artist_ids, "genre_ids": genre_ids}
        weights = {"artist_weights": artist_weights, "genre_weights": genre_weights}
        check_inputs(self.config, None, only=tuple(told), **told, **weights)
        return self.lyrics.characters(self, self._start(artist_ids, genre_ids, artist_weights, genre_weights))

    @torch.no_grad()
    def lyric_log_likelihood(
        self,
        lyric_ids: Tensor,
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> Tensor:
        """How likely this prior finds each character of a text, told those before it.

        Args:
            lyric_ids: (T,) int64 of any length; beyond `lyric_length` windows go on from half of the one before.
            artist_ids: (1,), and the others as in `characters`.

        Returns:
            (T,) float32, natural logarithms; divided by -ln 2, they are the bits of `forward`'s `lyric_loss`.

        Raises:
            ValueError: no text, ids that are no characters, or a prior that has not learnt to write lyrics.
        """
        model = self.characters(artist_ids, genre_ids, artist_weights, genre_weights)
        check_ids("lyric_ids", lyric_ids, "(T,)", 1)
        require(len(lyric_ids) > 0, "lyric_ids is empty; give the characters of a text")
        check_ranges(Allowed("lyric_ids", lyric_ids, 0, model.size - 1, "use characters of its own tokenizer"))
        return character_log_likelihood(model, lyric_ids.long())

    # --- sampling ---

    def condition(
        self,
        upper_codes: Tensor | None = None,
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        timing: Tensor | None = None,
        lyric_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> Conditioning:
        """Compute, once per window, all that conditions it; arguments as in `forward`."""
        inputs = {
            "upper_codes": upper_codes,
            "artist_ids": artist_ids,
            "genre_ids": genre_ids,
            "timing": timing,
            "lyric_ids": lyric_ids,
            "artist_weights": artist_weights,
            "genre_weights": genre_weights,
        }
        check_inputs(self.config, None, **inputs)
        return self._condition(**inputs)

    def reworded(
        self,
        conditioning: Conditioning,
        artist_ids: Tensor | None = None,
        genre_ids: Tensor | None = None,
        lyric_ids: Tensor | None = None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> Conditioning:
        """Conditioning of other words in the same place; codes above and time, which stay, are not worked out again.

        Arguments as in `condition`, which has checked them for the same window.
        """
        start = self._start(artist_ids, genre_ids, artist_weights, genre_weights)
        return replace(conditioning, start=start, lyric_states=self.lyrics.states(lyric_ids))

    def sequence(self, codes: Tensor, lyric_ids: Tensor | None = None) -> Tensor:
        """Turn codes (B, T), T may be 0, into tokens (B, N+T) of the prior's own, behind the lyrics of a prefix."""
        check_inputs(self.config, codes, lyric_ids=lyric_ids, only=("lyric_ids",), may_be_empty=True)
        return self.lyrics.sequence(codes, lyric_ids)

    def new_cache(self, batch_size: int) -> JukeboxCache:
        """Allocate empty caches for `batch_size` rows.

        Raises:
            ValueError: no rows, or a prior that a device_map spread over devices.
        """
        require(
            is_integer(batch_size) and batch_size > 0,
            f"batch_size={batch_size!r} must be a positive number of rows",
        )
        devices = {str(device) for device in getattr(self, "hf_device_map", {}).values()}
        require(
            len(devices) <= 1 and "disk" not in devices,
            f"a prior must lie on one device to sample, but device_map put it on {', '.join(sorted(devices))}; use "
            f'device_map="cuda:0" or "cpu", and JukeboxModel.from_pretrained(offload=True) where memory is short',
        )
        return self.transformer.new_cache(batch_size)

    def prefill(
        self,
        tokens: Tensor,
        conditioning: Conditioning,
        cache: JukeboxCache,
        start: int = 0,
        stop: int | None = None,
        *,
        last_only: bool = False,
        give_back: GiveBack | None = None,
    ) -> Tensor:
        """Run known tokens in one parallel pass and fill the caches; the last logits predict the next token.

        Position i sees the tokens before it, so `stop` may be one past the number of tokens. A long prefix may be run
        in chunks of any size: call again with `start` at the last `stop`. Starting at 0 empties the caches first.

        Args:
            tokens: (B, known) from the beginning of the sequence, of `sequence` or sampled.
            start, stop: the positions to run; by default all that can be.
            last_only: give the logits of the last position alone, (B, 1, V), and save the memory of the others.
            give_back: called between halves of layers where a long run on a CPU has freed what the next tensors do not
                fit into, such as `trim_heap` of `sampling/heap.py`.

        Returns:
            Logits (B, stop - start, V), float32.

        Raises:
            ValueError: positions the tokens or the sequence do not reach, or tokens out of range, in one sentence.
        """
        check_ids("tokens", tokens, "(B, known)", 2)
        require(
            isinstance(conditioning, Conditioning),
            f"conditioning must be what `condition` gives, not {type(conditioning).__name__}; call prior.condition "
            f"with what conditions the window",
        )
        limit = min(tokens.shape[1] + 1, self.config.sequence_length)
        stop = limit if stop is None else stop
        require(
            is_integer(start) and is_integer(stop) and 0 <= start < stop <= limit,
            f"start={start!r}, stop={stop!r} must be 0 <= start < stop <= {limit}, with {tokens.shape[1]} known tokens "
            f"in a sequence of {self.config.sequence_length}; give more tokens or fewer positions",
        )
        require(
            tokens.shape[0] == cache.batch_size,
            f"tokens has {tokens.shape[0]} rows, but the cache was made for {cache.batch_size}; make another cache",
        )
        ranges = [Allowed("tokens", tokens, 0, self.config.vocab_size - 1, "use tokens of `sequence`, or sampled ones")]
        if start > 0:
            cure = f"start={start} must be where the cache has got to, or 0 to begin again"
            ranges.append(Allowed("cache.position", cache.position, start, start, cure))
        check_ranges(*ranges)
        if start == 0:
            cache.reset()
        logits = self._run(tokens, conditioning, start, stop, cache, last_only=last_only, give_back=give_back)
        cache.position.fill_(stop)
        return logits

    def step(self, token: Tensor, conditioning: Conditioning, cache: JukeboxCache) -> Tensor:
        """Predict the token at the cache's position from the one before it (B, 1), and advance; after a `prefill`.

        No device synchronisation, so a CUDA graph can record the call: the caller sees to it that the token is one of
        the vocabulary, and the position within the sequence.

        Returns:
            Logits (B, 1, V), float32.
        """
        inputs, here = self.enter_step(token, conditioning, cache)
        return self.logits(self.transformer(inputs, start=cache.position, cache=cache), here)

    def enter_step(
        self, token: Tensor, conditioning: Conditioning, cache: JukeboxCache
    ) -> tuple[Tensor, Tensor | None]:
        """The inputs of the layers at the cache's position (B, 1, D), and the conditioning of that position, if any.

        Every way to step begins here; inputs are (1, 1, D) where neither tokens nor conditioning tell rows apart.
        """
        position = cache.position.clone()
        inputs = self.transformer.embed_step(token, position)
        if conditioning.positions is None:
            return inputs, None
        here = conditioning.positions.index_select(1, position.view(1))
        return inputs + here, here

    def stretch(
        self, tokens: Tensor, positions: Tensor, conditioning: Conditioning, cache: JukeboxCache
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Predict W tokens of each row at once, from tokens (B, W) of which those behind the first may be guesses.

        Args:
            positions: (B, W) int64, one after the other, each row from its own first one, which nothing before is
                missing of in the cache. Those behind the sequence's end are run for nothing.

        The cache and its position stay as they are; `transformer.keep` stores what was found to be final.

        Returns:
            Logits (B, W, V), float32, and by layer keys and values for `transformer.keep`.
        """
        inputs, here = self.enter_stretch(tokens, positions, conditioning)
        hidden, fresh = self.transformer.stretch(inputs, positions, cache)
        return self.logits(hidden, here), fresh

    def enter_stretch(
        self, tokens: Tensor, positions: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, Tensor | None]:
        """The inputs of the layers at positions (B, W), and the conditioning of those, if any: (B, W, D) both.

        Those behind the sequence's end are given some number or other. Every way to run several begins here.
        """
        inside = positions.clamp(max=self.config.sequence_length - 1)
        inputs = self.transformer.embed_stretch(tokens, inside)
        if conditioning.positions is None:
            return inputs, None
        rows = torch.arange(len(positions), device=positions.device)[:, None]
        here = conditioning.positions[rows, inside.clamp(max=conditioning.positions.shape[1] - 1)]
        return inputs + here, here

    def logits(self, hidden: Tensor, conditioning: Tensor | None) -> Tensor:
        """Logits (B, T, V), float32, of hidden states (B, T, D) and what conditions their positions, if anything."""
        if self.config.tie_word_embeddings and conditioning is not None:
            hidden = hidden + conditioning  # the second time; the first was at the input
        return self.lm_head(hidden.to(compute_dtype(self.lm_head))).float()

    # --- inside the door ---

    def _condition(
        self,
        upper_codes: Tensor | None,
        artist_ids: Tensor | None,
        genre_ids: Tensor | None,
        timing: Tensor | None,
        lyric_ids: Tensor | None,
        artist_weights: Tensor | None = None,
        genre_weights: Tensor | None = None,
    ) -> Conditioning:
        start = self._start(artist_ids, genre_ids, artist_weights, genre_weights)
        positions = None
        if self.upper is not None:
            positions = self.upper(upper_codes)
        elif self.timing is not None:
            positions = self.lyrics.spread(self.timing(timing, self.config.context_length))
        return Conditioning(start, positions, self.lyrics.states(lyric_ids))

    def _start(
        self,
        artist_ids: Tensor | None,
        genre_ids: Tensor | None,
        artist_weights: Tensor | None,
        genre_weights: Tensor | None,
    ) -> Tensor | None:
        """The embedding (B, 1, D) of artist and genres in front of the sequence; None without labels."""
        if self.labels is None:
            return None
        mixes = {"artist_weights": artist_weights, "genre_weights": genre_weights}
        return self.labels(artist_ids, genre_ids, **{name: own for name, own in mixes.items() if own is not None})

    def _run(
        self,
        tokens: Tensor,
        conditioning: Conditioning,
        start: int,
        stop: int,
        cache: JukeboxCache | None = None,
        trace: Trace | None = None,
        last_only: bool = False,
        give_back: GiveBack | None = None,
    ) -> Tensor:
        self._check_depth()
        here = None if conditioning.positions is None else conditioning.positions[:, start:stop]
        inputs = self._inputs(tokens, conditioning, start, stop)
        hidden = self.transformer(inputs, conditioning.lyric_states, start, cache, trace, give_back=give_back)
        if last_only:
            hidden, here = hidden[:, -1:], None if here is None else here[:, -1:]
        return self.logits(hidden, here)

    def _check_depth(self) -> None:
        """Refuse other layers than the configuration's: loaded in part, or taken out or put in since."""
        there, all_layers = len(self.transformer.layers), self.config.num_hidden_layers
        is_loaded_so = there == len(self.transformer.pattern)
        require(
            there == all_layers or is_loaded_so,
            f"this prior has {there} layers, which are not the {all_layers} of its configuration: some were taken out "
            f"or put in; load it again",
        )
        require(
            there == all_layers,
            f"this prior was loaded with depth={there} of {all_layers} layers, for hidden_states alone; load all of it",
        )

    def _inputs(self, tokens: Tensor, conditioning: Conditioning, start: int, stop: int) -> Tensor:
        """The inputs of the layers, (B, stop - start, D); in chunks when autograd is off."""
        if torch.is_grad_enabled() or stop - start <= POSITIONS_AT_ONCE:
            return self._inputs_at_once(tokens, conditioning, start, stop)
        inputs = None
        for first in range(start, stop, POSITIONS_AT_ONCE):
            chunk = self._inputs_at_once(tokens, conditioning, first, min(first + POSITIONS_AT_ONCE, stop))
            if inputs is None:
                inputs = chunk.new_empty(len(chunk), stop - start, chunk.shape[-1])
            inputs[:, first - start : first - start + chunk.shape[1]] = chunk
        return inputs

    def _inputs_at_once(self, tokens: Tensor, conditioning: Conditioning, start: int, stop: int) -> Tensor:
        embedded = self.transformer.embed(tokens, conditioning.start, start, stop)
        return embedded if conditioning.positions is None else embedded + conditioning.positions[:, start:stop]

    def _weigh(self, code_loss: Tensor, num_codes: int, lyric_loss: Tensor | None) -> Tensor:
        """Mean over codes and characters, characters at their own weight."""
        if lyric_loss is None:
            return code_loss
        num_characters = self.config.lyric_length
        weighted = self.config.lyric_loss_weight * num_characters * lyric_loss + num_codes * code_loss
        return weighted / (num_characters + num_codes)


def _music_settings(config: JukeboxPriorConfig, depth: int | None) -> TransformerSettings:
    require(
        depth is None or (is_integer(depth) and 0 < depth <= config.num_hidden_layers),
        f"depth={depth!r} must be from 1 to the {config.num_hidden_layers} layers there are, or None for all",
    )
    grid = Grid(
        rows=config.attention_rows,
        columns=config.sequence_length // config.attention_rows,
        prefix=prefix_span(config.prefix_length, config.attention_rows),
        tail=config.attention_tail or 0,
        cross=config.lyric_length if config.lyrics == "encoder" else 0,
    )
    layer = LayerSettings(
        width=config.hidden_size,
        attention_size=int(config.attention_multiplier * config.hidden_size),
        mlp_size=int(config.mlp_multiplier * config.hidden_size),
        num_heads=config.num_attention_heads,
        states_width=config.hidden_size,
        init_scale=config.init_scale,
        zero_init_residual=config.zero_init_residual,
        residual_scale=1 / config.num_hidden_layers if config.scale_residual else 1.0,
        attention_dropout=config.attention_dropout,
        residual_dropout=config.residual_dropout,
        config=config,
    )
    return TransformerSettings(
        vocab_size=config.vocab_size,
        grid=grid,
        kinds=tuple(config.attention_kinds[:depth]),
        layer=layer,
        has_start_embedding=not config.has_labels,
        embedding_dropout=config.embedding_dropout,
    )


def _lyric_settings(config: JukeboxPriorConfig) -> TransformerSettings:
    rows, width = config.lyric_encoder_attention_rows, config.lyric_encoder_hidden_size
    depth = config.lyric_encoder_num_hidden_layers
    layer = LayerSettings(
        width=width,
        attention_size=int(config.lyric_encoder_attention_multiplier * width),
        mlp_size=int(config.lyric_encoder_mlp_multiplier * width),
        num_heads=config.lyric_encoder_num_attention_heads,
        init_scale=config.lyric_encoder_init_scale,
        zero_init_residual=config.zero_init_residual,
        residual_scale=1 / depth if config.scale_residual else 1.0,
        attention_dropout=config.attention_dropout,
        residual_dropout=config.residual_dropout,
        config=config,
    )
    return TransformerSettings(
        vocab_size=config.lyric_vocab_size,
        grid=Grid(rows=rows, columns=config.lyric_length // rows),
        kinds=tuple(config.lyric_encoder_attention_kinds),
        layer=layer,
        embedding_dropout=config.embedding_dropout,
    )


def _build_lyrics(config: JukeboxPriorConfig) -> NoLyrics:
    if config.lyrics == "prefix":
        return LyricPrefix(config)
    if config.lyrics == "encoder":
        return LyricEncoder(config, _lyric_settings(config))
    return NoLyrics()
