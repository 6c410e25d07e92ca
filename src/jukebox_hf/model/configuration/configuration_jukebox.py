"""What a Jukebox network looks like: three declarative, validated configurations.

Flows in: numbers and names, from Python or config.json. Flows out: configurations that are safe to build, because
types, ranges and the parameter count are checked before any memory is taken.
"""

import math
from typing import Any

from transformers import PreTrainedConfig

from ..checks.validation import require
from .attention_patterns import ATTENTION_KIND_NAMES, ATTENTION_ORDERS, MAX_LAYERS, attention_kinds_of_order
from .configuration_fields import (
    MAX_LEVELS,
    ChoosesAttention,
    choice,
    number,
    numbers,
    refuse_typos,
    short_repr,
    strict_config,
)
from .legacy_configuration import is_legacy_config, translate_legacy_config
from .parameter_counts import prior_parameters, transformer_sizes, vqvae_parameters
from .released_sizes import MODEL_PARTS, PRIOR_SIZES

MAX_PARAMETERS = 20_000_000_000  # a config that asks for more is a mistake or an attack; nothing is allocated for it
MAX_CACHE = 2**34  # numbers in the caches of one song, if every layer keeps every position; the 5b models need 2**30.5
MAX_DILATION = 2**20

Ints = list[int] | tuple[int, ...]
Number = int | float

# --- the three configurations -----------------------------------------------------------------------------------------


@strict_config
class JukeboxVQVAEConfig(ChoosesAttention, PreTrainedConfig):
    r"""The three-level VQ-VAE that turns audio into codes and back (paper section 3; SPEC of the released `vqvae`).

    Lists have one entry per level, finest (level 0) first.

    Args:
        sampling_rate: samples per second of the audio, one channel.
        level_strides: per level, the strides of its stages; level i runs the stages of levels 0 to i, so its hop is the
            product of all of them. Even numbers.
        codebook_size: codes per level (K).
        codebook_dim: width of a code vector and of what passes between level blocks.
        hidden_sizes: channels of the residual stacks, per level.
        residual_depths: residual units per stage, per level.
        residual_multiplier: hidden channels of a residual unit, as a multiple of its channels.
        dilation_growth, dilation_cycle: unit i of a stack has dilation growth ** (i % cycle); no cycle: growth ** i.
        reverse_decoder_dilation: decoders walk their dilations from large to small.
        reconstruction_loss: `l1`, `l2`, `linf` or `lmix`, the weighted sum of the three.
        l1_weight, l2_weight, linf_weight: weights inside `lmix`.
        relative_weight: weight inside `lmix` of the squared error relative to the song's energy; not the original's.
        linf_top_k: how many of the largest squared errors of a song `linf` averages.
        spectral_weight, multispectral_weight, commit_weight: weights of the further training losses.
        spectral_loss: `magnitude` (the original's default) or `convergence` for the single-resolution term.
        multispectral_loss: the same choice for the multi-resolution term; the original knows only `magnitude`.
        log_magnitude_weight: weight of the distance of log magnitudes over the resolutions; 0 (the original) skips it.
        log_magnitude_bands: of how many mel bands, at most, those magnitudes are; 0: of every bin of the transforms.
        multispectral_fft_sizes, multispectral_hop_lengths, multispectral_window_lengths: the STFTs of the
            multi-resolution term, in samples.
        l1_bandwidth, l2_bandwidth, spectral_bandwidth: statistics of the training audio that the losses are divided by.

    Raises:
        ValueError: one sentence for every number, type or combination that cannot be built.
    """

    model_type = "jukebox_vqvae"
    base_config_key = "vqvae_config"
    keys_to_ignore_at_inference = ["latents", "metrics"]

    sampling_rate: int = number(44100, 1000, 384_000)
    level_strides: list[Ints] | tuple[Ints, ...] = numbers(((2, 2, 2), (2, 2), (2, 2)), 2, 64, 64)
    codebook_size: int = number(2048, 2, 2**20)
    codebook_dim: int = number(64, 1, 2**14)
    hidden_sizes: Ints = numbers((64, 32, 32), 1, 2**14, 16)
    residual_depths: Ints = numbers((8, 4, 4), 1, 256, 16)
    residual_multiplier: Number = number(1.0, 0.01, 64)
    dilation_growth: int = number(3, 1, 64)
    dilation_cycle: int | None = number(None, 1, 256)
    reverse_decoder_dilation: bool = True
    reconstruction_loss: str = choice("lmix", ("l1", "l2", "linf", "lmix"))
    l1_weight: Number = number(0.0, 0, 1e6)
    l2_weight: Number = number(1.0, 0, 1e6)
    linf_weight: Number = number(0.02, 0, 1e6)
    relative_weight: Number = number(0.0, 0, 1e6)
    linf_top_k: int = number(2048, 1, 2**31)
    spectral_weight: Number = number(0.0, 0, 1e6)
    multispectral_weight: Number = number(1.0, 0, 1e6)
    commit_weight: Number = number(0.02, 0, 1e6)
    spectral_loss: str = choice("magnitude", ("magnitude", "convergence"))
    multispectral_loss: str = choice("magnitude", ("magnitude", "convergence"))
    log_magnitude_weight: Number = number(0.0, 0, 1e6)
    log_magnitude_bands: int = number(0, 0, 4096)
    multispectral_fft_sizes: Ints = numbers((2048, 1024, 512), 4, 2**16, 16)
    multispectral_hop_lengths: Ints = numbers((240, 120, 50), 1, 2**16, 16)
    multispectral_window_lengths: Ints = numbers((1200, 600, 240), 2, 2**16, 16)
    l1_bandwidth: Number = number(1.0, 1e-12, 1e12)
    l2_bandwidth: Number = number(1.0, 1e-12, 1e12)
    spectral_bandwidth: Number = number(1.0, 1e-12, 1e12)

    def __post_init__(self, **kwargs: Any) -> None:
        refuse_typos(self, kwargs)
        super().__post_init__(**kwargs)

    @property
    def num_levels(self) -> int:
        return len(self.level_strides)

    @property
    def hop_lengths(self) -> tuple[int, ...]:
        """Samples per code of each level, finest first."""
        hops = [math.prod(strides) for strides in self.level_strides]
        return tuple(math.prod(hops[: level + 1]) for level in range(self.num_levels))

    def dilations(self, level: int) -> tuple[int, ...]:
        """Dilation of each residual unit of a stage of a level."""
        return dilations(self.residual_depths[level], self.dilation_growth, self.dilation_cycle)

    def residual_size(self, level: int) -> int:
        return int(self.residual_multiplier * self.hidden_sizes[level])

    def parameter_count(self) -> int:
        """Parameters of the network; its codebooks are buffers and not counted."""
        return vqvae_parameters(self)

    def validate_architecture(self) -> None:
        for name in ("hidden_sizes", "residual_depths"):
            require(
                len(getattr(self, name)) == self.num_levels,
                f"{name}={getattr(self, name)!r} must have one entry for each of the {self.num_levels} levels in "
                f"level_strides; lengthen or shorten it",
            )
        require(
            all(strides and all(stride % 2 == 0 for stride in strides) for strides in self.level_strides),
            f"level_strides={self.level_strides!r} must hold, for every level, at least one even stride; with an odd "
            f"one a stage does not divide the length evenly",
        )
        require(
            self.hop_lengths[-1] <= 2**20,
            f"level_strides={self.level_strides!r} make a hop over {2**20} samples; use fewer or smaller strides",
        )
        require(
            min(self.residual_size(level) for level in range(self.num_levels)) >= 1,
            f"residual_multiplier={self.residual_multiplier} leaves a residual unit without channels; enlarge it",
        )
        _check_dilations("dilation_growth", max(self.residual_depths), self.dilation_growth, self.dilation_cycle)
        require(
            len(self.multispectral_fft_sizes)
            == len(self.multispectral_hop_lengths)
            == len(self.multispectral_window_lengths),
            f"multispectral_fft_sizes={self.multispectral_fft_sizes!r}, multispectral_hop_lengths="
            f"{self.multispectral_hop_lengths!r} and multispectral_window_lengths="
            f"{self.multispectral_window_lengths!r} must have the same length; give one of each per resolution",
        )
        require(
            all(w <= f for w, f in zip(self.multispectral_window_lengths, self.multispectral_fft_sizes, strict=True)),
            f"multispectral_window_lengths={self.multispectral_window_lengths!r} must not exceed "
            f"multispectral_fft_sizes={self.multispectral_fft_sizes!r}; shorten the windows",
        )
        _check_parameter_count(self)


@strict_config
class JukeboxPriorConfig(ChoosesAttention, PreTrainedConfig):
    r"""One prior: the transformer that writes the codes of one level (paper section 4; defaults: `prior_1b_lyrics`).

    Args:
        level: which level of the VQ-VAE it writes; 0 is the finest.
        codebook_size: codes of its level, and of the level above (K).
        context_length: codes in one window (T).
        hop_length: samples per code.
        sampling_rate: samples per second.
        hidden_size, num_hidden_layers, num_attention_heads: width, depth and heads of the transformer.
        attention_multiplier, mlp_multiplier: widths inside attention and MLP, as multiples of hidden_size.
        attention_kinds: one word per layer out of `ATTENTION_KIND_NAMES`; None: row, column, previous_row in turn.
        attention_rows: rows of the grid (R); must divide the length of the sequence, lyric prefix included.
        attention_tail: columns per row that `row_tails` layers attend to.
        scale_residual: multiply both residual branches by 1 / num_hidden_layers.
        zero_init_residual: start with zero output projections.
        init_scale: scale of the initial weights.
        attention_dropout, residual_dropout, embedding_dropout: probabilities, active in training only.
        tie_word_embeddings: share the output matrix with the code embedding. As the trained weights expect, a tied head
            also sees the conditioning added a second time, after the transformer.
        num_artists, num_genres: rows of the label embeddings; both 0: no labels.
        max_genres: genre slots per song (G), filled up with -1.
        timing_bins: bins of each of the three timing embeddings of a labelled top prior.
        min_song_seconds, max_song_seconds: song lengths the timing embeddings span.
        lyrics: `none`; `prefix`: characters stand before the codes in one sequence and one vocabulary; `encoder`: a
            causal transformer of its own encodes them.
        lyric_length, lyric_vocab_size: characters per window (N), and how many different ones.
        lyric_filler: the character that follows lyrics shorter than N, such as the blank where a model learnt that
            blanks are rests; None: 0 stands in front of them, as in the original.
        lyric_loss_weight: weight of the bits per character in the loss.
        lyric_encoder_*: the transformer of `lyrics="encoder"`.
        alignment_layer, alignment_head: the layer and head whose attention follows the lyrics while they are sung, both
            from 0; None: not known (`jukebox-hf find-alignment-head` finds them).
        upper_strides: strides of the level above; None: a top prior, which nothing conditions from above.
        conditioner_*: the dilated convolutions that upsample the codes of the level above.

    Raises:
        ValueError: one sentence for every number, type or combination that cannot be built.
    """

    model_type = "jukebox_prior"
    keys_to_ignore_at_inference = ["hidden_states", "attentions"]

    level: int = number(2, 0, 15)
    codebook_size: int = number(2048, 2, 2**20)
    context_length: int = number(6144, 1, 2**20)
    hop_length: int = number(128, 1, 2**20)
    sampling_rate: int = number(44100, 1000, 384_000)

    hidden_size: int = number(2048, 1, 2**16)
    num_hidden_layers: int = number(72, 1, MAX_LAYERS)
    num_attention_heads: int = number(2, 1, 1024)
    attention_multiplier: Number = number(0.25, 0.001, 64)
    mlp_multiplier: Number = number(1.0, 0.001, 64)
    attention_kinds: list[str] | tuple[str, ...] | None = ATTENTION_ORDERS[12] + ATTENTION_ORDERS[12][:24]
    attention_rows: int = number(64, 1, 2**20)
    attention_tail: int | None = number(None, 1, 2**20)
    scale_residual: bool = False
    zero_init_residual: bool = False
    init_scale: Number = number(0.2, 0, 1e3)
    attention_dropout: Number = number(0.0, 0, 0.999)
    residual_dropout: Number = number(0.0, 0, 0.999)
    embedding_dropout: Number = number(0.0, 0, 0.999)
    tie_word_embeddings: bool = True

    num_artists: int = number(7898, 0, 10**7)
    num_genres: int = number(604, 0, 10**6)
    max_genres: int = number(1, 1, 1024)
    timing_bins: int = number(64, 1, 2**20)
    min_song_seconds: Number = number(17.84, 0, 1e6)
    max_song_seconds: Number = number(600.0, 0, 1e6)

    lyrics: str = choice("prefix", ("none", "prefix", "encoder"))
    lyric_length: int = number(384, 0, 2**18)
    lyric_vocab_size: int = number(79, 0, 2**20)
    lyric_filler: int | None = number(None, 0, 2**20)
    lyric_loss_weight: Number = number(0.4, 0, 1e6)
    lyric_encoder_hidden_size: int = number(1280, 1, 2**16)
    lyric_encoder_num_hidden_layers: int = number(18, 1, MAX_LAYERS)
    lyric_encoder_num_attention_heads: int = number(4, 1, 1024)
    lyric_encoder_attention_multiplier: Number = number(0.25, 0.001, 64)
    lyric_encoder_mlp_multiplier: Number = number(1.0, 0.001, 64)
    lyric_encoder_attention_kinds: list[str] | tuple[str, ...] | None = None
    lyric_encoder_attention_rows: int = number(32, 1, 2**20)
    lyric_encoder_init_scale: Number = number(0.7, 0, 1e3)
    alignment_layer: int | None = number(None, 0, 1023)
    alignment_head: int | None = number(None, 0, 1023)

    upper_strides: Ints | None = numbers(None, 2, 64, 64)
    conditioner_hidden_size: int = number(1024, 1, 2**15)
    conditioner_residual_depth: int = number(16, 1, 256)
    conditioner_residual_multiplier: Number = number(1.0, 0.01, 64)
    conditioner_dilation_growth: int = number(3, 1, 64)
    conditioner_dilation_cycle: int | None = number(8, 1, 256)
    conditioner_scale_residual: bool = False
    conditioner_zero_init_residual: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        refuse_typos(self, kwargs)
        if self.attention_kinds is None:
            self.attention_kinds = attention_kinds_of_order(2, self.num_hidden_layers)
        if self.lyric_encoder_attention_kinds is None:
            self.lyric_encoder_attention_kinds = attention_kinds_of_order(2, self.lyric_encoder_num_hidden_layers)
        super().__post_init__(**kwargs)

    @property
    def has_labels(self) -> bool:
        return self.num_artists > 0

    @property
    def has_timing(self) -> bool:
        """Only labelled top priors know where in the song they are; upsamplers get it from the level above."""
        return self.has_labels and self.upper_strides is None

    @property
    def prefix_length(self) -> int:
        """Lyric characters that stand before the codes in the prior's own sequence."""
        return self.lyric_length if self.lyrics == "prefix" else 0

    @property
    def sequence_length(self) -> int:
        return self.prefix_length + self.context_length

    @property
    def code_offset(self) -> int:
        """What a code is shifted by in the prior's own vocabulary, where lyric characters come first."""
        return self.lyric_vocab_size if self.lyrics == "prefix" else 0

    @property
    def vocab_size(self) -> int:
        return self.code_offset + self.codebook_size

    @property
    def upper_ratio(self) -> int:
        """Codes of this level per code of the level above; 1 for a top prior."""
        return math.prod(self.upper_strides or ())

    @property
    def upper_length(self) -> int:
        """Codes of the level above that condition one window; 0 for a top prior."""
        return self.context_length // self.upper_ratio if self.upper_strides else 0

    @property
    def window_samples(self) -> int:
        return self.context_length * self.hop_length

    @property
    def lyric_layers(self) -> tuple[int, ...]:
        """The layers in which codes attend to lyrics, in order."""
        kinds = {"none": (), "prefix": ("lyrics_prefix", "dense"), "encoder": ("lyrics_cross",)}[self.lyrics]
        return tuple(layer for layer, kind in enumerate(self.attention_kinds) if kind in kinds)

    def parameter_count(self) -> int:
        """Parameters of the network, a tied head counted once."""
        return prior_parameters(self)

    def validate_architecture(self) -> None:
        _check_transformer(self, "", self.sequence_length)
        require(
            ("lyrics_prefix" in self.attention_kinds) <= (self.lyrics == "prefix"),
            f"attention_kinds holds lyrics_prefix, which needs lyrics='prefix', not {self.lyrics!r}",
        )
        require(
            ("lyrics_cross" in self.attention_kinds) <= (self.lyrics == "encoder"),
            f"attention_kinds holds lyrics_cross, which needs lyrics='encoder', not {self.lyrics!r}",
        )
        require(
            (self.num_artists > 0) == (self.num_genres > 0),
            f"num_artists={self.num_artists} and num_genres={self.num_genres} must both be positive (labels) or both 0",
        )
        if self.lyrics != "none":
            require(
                self.lyric_length > 0 and self.lyric_vocab_size > 0,
                f"lyrics={self.lyrics!r} needs lyric_length and lyric_vocab_size over 0, not {self.lyric_length} and "
                f"{self.lyric_vocab_size}; set them or lyrics='none'",
            )
            require(
                self.lyric_filler is None or self.lyric_filler < self.lyric_vocab_size,
                f"lyric_filler={self.lyric_filler} must be under lyric_vocab_size={self.lyric_vocab_size}, or None",
            )
        if self.lyrics == "prefix":
            require(
                self.has_labels,
                "lyrics='prefix' needs labels, whose embedding starts the sequence; set num_artists and num_genres",
            )
        if self.lyrics == "encoder":
            _check_transformer(self, "lyric_encoder_", self.lyric_length)
            require(
                not {"lyrics_prefix", "lyrics_cross", "row_tails"} & set(self.lyric_encoder_attention_kinds),
                "lyric_encoder_attention_kinds cannot hold lyrics_prefix, lyrics_cross or row_tails; drop them",
            )
        require(
            (self.alignment_layer is None) == (self.alignment_head is None),
            f"alignment_layer={self.alignment_layer} and alignment_head={self.alignment_head} must be given together",
        )
        if self.alignment_layer is not None:
            require(
                self.alignment_layer in self.lyric_layers,
                f"alignment_layer={self.alignment_layer} must be a layer that attends to lyrics, which here are "
                f"{list(self.lyric_layers)}; choose one of them, or None",
            )
            require(
                self.alignment_head < self.num_attention_heads,
                f"alignment_head={self.alignment_head} must be under num_attention_heads={self.num_attention_heads}",
            )
        if self.has_timing:
            require(
                self.min_song_seconds < self.max_song_seconds,
                f"min_song_seconds={self.min_song_seconds} must be under max_song_seconds={self.max_song_seconds}",
            )
        if self.upper_strides:
            require(
                all(stride % 2 == 0 for stride in self.upper_strides),
                f"upper_strides={self.upper_strides!r} must be even, as the VQ-VAE's are",
            )
            require(
                self.context_length % self.upper_ratio == 0,
                f"context_length={self.context_length} must be a multiple of {self.upper_ratio} codes per upper code",
            )
            require(
                int(self.conditioner_residual_multiplier * self.conditioner_hidden_size) >= 1,
                f"conditioner_residual_multiplier={self.conditioner_residual_multiplier} leaves a residual unit "
                f"without channels; enlarge it",
            )
            _check_dilations(
                "conditioner_dilation_growth",
                self.conditioner_residual_depth,
                self.conditioner_dilation_growth,
                self.conditioner_dilation_cycle,
            )
        _check_parameter_count(self)
        _check_cache(self)


@strict_config
class JukeboxConfig(ChoosesAttention, PreTrainedConfig):
    r"""A whole Jukebox: the VQ-VAE and one prior per level, finest first (defaults: the `1b_lyrics` assembly).

    Args:
        vqvae_config: a `JukeboxVQVAEConfig`, or its dictionary.
        prior_configs: `JukeboxPriorConfig`s or their dictionaries; entry i writes level i.

    Raises:
        ValueError: where the parts do not fit each other.
    """

    model_type = "jukebox"
    sub_configs = {"vqvae_config": JukeboxVQVAEConfig}

    vqvae_config: JukeboxVQVAEConfig | dict | None = None
    prior_configs: list[JukeboxPriorConfig | dict] | tuple[JukeboxPriorConfig | dict, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        refuse_typos(self, kwargs)
        if self.vqvae_config is None or isinstance(self.vqvae_config, dict):
            self.vqvae_config = JukeboxVQVAEConfig(**_own(self.vqvae_config or {}, "vqvae_config", JukeboxVQVAEConfig))
        if self.prior_configs is None:
            self.prior_configs = [PRIOR_SIZES[name] for name in MODEL_PARTS["1b_lyrics"][1]]
        require(
            len(self.prior_configs) <= MAX_LEVELS,
            f"prior_configs has {len(self.prior_configs)} entries, but a Jukebox has at most {MAX_LEVELS} levels; give "
            f"one for each level",
        )
        self.prior_configs = [
            JukeboxPriorConfig(**_own(prior, f"prior_configs[{level}]", JukeboxPriorConfig))
            if isinstance(prior, dict)
            else prior
            for level, prior in enumerate(self.prior_configs)
        ]
        super().__post_init__(**kwargs)

    @property
    def sampling_rate(self) -> int:
        return self.vqvae_config.sampling_rate

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> "JukeboxConfig":
        """Read a config.json: ours, or of transformers 4's Jukebox, which says the same in other words."""
        if is_legacy_config(config_dict):
            config_dict = translate_legacy_config(config_dict)
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Serialise the list of priors too, which transformers leaves as objects; only what differs from defaults."""
        output = super().to_dict()
        output["prior_configs"] = [prior.to_diff_dict() for prior in self.prior_configs]
        return output

    def attention_parts(self) -> dict[str, PreTrainedConfig]:
        """The VQ-VAE, which has no attention, goes along under both its names, as transformers' models of parts do."""
        vqvae = dict.fromkeys(("vqvae", "vqvae_config"), self.vqvae_config)
        return vqvae | {f"prior_{level}": prior for level, prior in enumerate(self.prior_configs)}

    def validate_architecture(self) -> None:
        vqvae = self.vqvae_config
        require(
            1 <= len(self.prior_configs) <= vqvae.num_levels,
            f"prior_configs has {len(self.prior_configs)} entries for a VQ-VAE of {vqvae.num_levels} levels; give "
            f"one for each level, finest first",
        )
        for level, prior in enumerate(self.prior_configs):
            is_top = level == vqvae.num_levels - 1
            wanted = {
                "level": level,
                "codebook_size": vqvae.codebook_size,
                "hop_length": vqvae.hop_lengths[level],
                "sampling_rate": vqvae.sampling_rate,
                "upper_strides": None if is_top else list(vqvae.level_strides[level + 1]),
            }
            for name, value in wanted.items():
                found = getattr(prior, name)
                found = list(found) if isinstance(found, tuple) else found
                require(
                    found == value,
                    f"prior_configs[{level}].{name}={found!r} does not fit vqvae_config, which needs {value!r}",
                )


def _own(part: dict[str, Any], name: str, kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """A part's dictionary, refused where it says that it is of another model."""
    found = part.get("model_type", kind.model_type)
    require(
        found == kind.model_type,
        f"{name} has model_type={short_repr(found)}, but must be a {kind.model_type!r}; give a {kind.__name__}",
    )
    return part


# --- arithmetic shared by the configurations --------------------------------------------------------------------------


def dilations(depth: int, growth: int, cycle: int | None) -> tuple[int, ...]:
    """Dilation of each unit of a residual stack: powers of `growth` that start again every `cycle` units."""
    return tuple(growth ** (unit % cycle if cycle else unit) for unit in range(depth))


def prefix_span(lyric_length: int, rows: int) -> int:
    """How many positions lyrics_prefix layers read: rounded up past the lyrics, as the trained weights expect."""
    return (lyric_length // rows + 1) * rows


def _check_transformer(config: JukeboxPriorConfig, prefix: str, length: int) -> None:
    kinds = getattr(config, f"{prefix}attention_kinds")
    layers = getattr(config, f"{prefix}num_hidden_layers")
    heads = getattr(config, f"{prefix}num_attention_heads")
    rows = getattr(config, f"{prefix}attention_rows")
    _, attention, mlp = transformer_sizes(config, prefix)
    require(
        len(kinds) == layers,
        f"{prefix}attention_kinds has {len(kinds)} words for {prefix}num_hidden_layers={layers}; give one per layer",
    )
    unknown = short_repr(sorted(set(kinds) - set(ATTENTION_KIND_NAMES)))
    require(unknown == "[]", f"{prefix}attention_kinds holds {unknown}; choose from {', '.join(ATTENTION_KIND_NAMES)}")
    require(
        attention >= heads and attention % heads == 0,
        f"{prefix}num_attention_heads={heads} must divide the attention width {attention} "
        f"(= {prefix}attention_multiplier * {prefix}hidden_size)",
    )
    require(
        mlp >= 1,
        f"{prefix}mlp_multiplier={getattr(config, f'{prefix}mlp_multiplier')} leaves an MLP of width {mlp}; enlarge it",
    )
    require(
        length % rows == 0,
        f"{prefix}attention_rows={rows} must divide the sequence length {length}; choose a divisor of it",
    )
    if "row_tails" in kinds:
        require(
            config.attention_tail is not None and config.attention_tail <= length // rows,
            f"attention_tail={config.attention_tail} must be 1 to {length // rows}, columns of a row, for row_tails",
        )


def _check_dilations(name: str, depth: int, growth: int, cycle: int | None) -> None:
    largest = growth ** ((min(cycle, depth) if cycle else depth) - 1)
    require(
        largest <= MAX_DILATION,
        f"{name}={growth} grows to a dilation over {MAX_DILATION} in {depth} units; set a cycle or lower the growth",
    )


def _check_parameter_count(config: JukeboxVQVAEConfig | JukeboxPriorConfig) -> None:
    count = config.parameter_count()
    if isinstance(config, JukeboxVQVAEConfig):  # codebooks are buffers, but take memory all the same
        count += config.num_levels * config.codebook_size * config.codebook_dim
    require(
        count <= MAX_PARAMETERS,
        f"this {type(config).__name__} asks for {count:,} parameters, over the limit of {MAX_PARAMETERS:,}; shrink it",
    )


def _check_cache(config: JukeboxPriorConfig) -> None:
    _, attention, _ = transformer_sizes(config, "")
    count = 2 * config.num_hidden_layers * config.sequence_length * attention
    require(
        count <= MAX_CACHE,
        f"context_length={config.context_length} asks for caches of {count:,} numbers a song, over the limit of "
        f"{MAX_CACHE:,}; shorten it",
    )
