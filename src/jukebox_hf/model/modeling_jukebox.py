"""JukeboxModel: the VQ-VAE and the priors of all levels, each loaded when its turn comes.

Flows in: a Hub repository, a folder or a configuration. Flows out: the parts, of which the largest decides how much
memory a song needs, not their sum. The root config.json is the truth; a part's own is a copy of its piece of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from .alignment import SongAlignment
from .alignment_orders import OrderAligner, align_songs
from .checkpoint_files import pin, read_json_beside, read_root_config
from .configuration_jukebox import JukeboxConfig
from .generation_arguments import (
    SongWishes,
    check_generation_defaults,
    default_generation_config,
    read_hook,
    read_wishes,
    refuse_listeners,
)
from .initialization import init_module
from .legacy_configuration import is_legacy_config
from .modeling_jukebox_prior import JukeboxPrior
from .modeling_jukebox_vqvae import JukeboxVQVAE
from .part_source import PartSource
from .song import LogitsHook
from .song_orders import NOT_SAID, SONG_INPUTS, Codes, SongOrder, take_orders, write_orders
from .song_state import SongState
from .streaming import PIECE_SECONDS, SongPiece, stream_song
from .validation import check_level, require

_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision")
_PUSH_ARGUMENTS = ("token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")


@dataclass
class JukeboxGenerateOutput(ModelOutput):
    """Finished songs, one per row.

    Attributes:
        audio: (B, S) float32, not clamped to [-1, 1]; zeros behind shorter songs. Its rate is `config.sampling_rate`.
        audio_lengths: (B,) samples of each song.
        seeds: (B,) the seeds that make these songs again.
        codes: per level, finest first, (B, T) with -1 behind shorter songs; (B, 0) where a level was not written. None
            unless asked for.
        alignment: when the lyrics of each song are sung, a `SongAlignment` per song. None unless asked for.
    """

    audio: Tensor | None = None
    audio_lengths: Tensor | None = None
    seeds: Tensor | None = None
    codes: tuple[Tensor, ...] | None = None
    alignment: tuple[SongAlignment, ...] | None = None


class JukeboxModel(PreTrainedModel, GenerationMixin):
    """The VQ-VAE and one prior per level.

    Args:
        config: what to build.
        with_priors: False builds the VQ-VAE alone; `prior` can then load priors only if a repository stands behind.
    """

    config_class = JukeboxConfig
    base_model_prefix = "jukebox"
    main_input_name = "codes"
    input_modalities = ("text", "audio")
    output_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["JukeboxBlock", "DownBlock", "UpBlock"]

    def __init__(self, config: JukeboxConfig, with_priors: bool = True) -> None:
        super().__init__(config)
        config.validate_architecture()  # parts may have been assigned since it was built
        self.vqvae = JukeboxVQVAE(config.vqvae_config)
        for level, prior_config in enumerate(config.prior_configs):
            # Named children, not a list: transformers finds tied weights in named children only.
            self.register_module(f"prior_{level}", JukeboxPrior(prior_config) if with_priors else None)
        self._source: PartSource | None = None
        self.keep_loaded = True
        self.offload = False
        self.generation_config = default_generation_config(config)
        self.post_init()

    def get_input_embeddings(self) -> None:
        """None: each prior has its own (quantisers ask)."""

    def get_output_embeddings(self) -> None:
        """None: each prior has its own (quantisers ask)."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_module(module)

    @property
    def num_levels(self) -> int:
        """Levels that have a prior."""
        return len(self.config.prior_configs)

    @property
    def loaded_levels(self) -> tuple[int, ...]:
        """Levels whose prior is in memory now."""
        return tuple(level for level in range(self.num_levels) if getattr(self, f"prior_{level}") is not None)

    def prior(self, level: int) -> JukeboxPrior:
        """Give the prior of a level, loading it first if it is not in memory."""
        check_level("level", level, self.num_levels)
        name = f"prior_{level}"
        if getattr(self, name) is None:
            require(
                self._source is not None,
                f"the prior of level {level} was never built; use JukeboxModel.from_pretrained, or with_priors=True",
            )
            device = torch.device("cpu") if self.offload else self.device
            prior = self._source.load_prior(level, self.config.prior_configs[level], device)
            setattr(self, name, prior.train(self.training))
        if self.offload:
            self._put_away(other for other in self.loaded_levels if other != level)
            getattr(self, name).to(self.device)
        return getattr(self, name)

    def set_attn_implementation(self, attn_implementation: str, allow_all_kernels: bool = False) -> None:
        """Choose "sdpa" or "eager" for every prior, those that are loaded later too; the VQ-VAE has no attention."""
        require(
            attn_implementation in ("sdpa", "eager"),
            f"attn_implementation={attn_implementation!r} is not known to Jukebox; choose sdpa or eager",
        )
        self.config._attn_implementation = {"": attn_implementation}
        for level in self.loaded_levels:
            getattr(self, f"prior_{level}").set_attn_implementation(attn_implementation)
        if self._source is not None:
            chosen = self._source.options | {"attn_implementation": attn_implementation}
            self._source = replace(self._source, options=chosen)

    def resize_lyric_embeddings(self, new_size: int, **how: Any) -> None:
        """Make room for more lyric characters in every prior that reads them, as `JukeboxPrior` does for itself.

        These priors stay in memory from now on (`keep_loaded`): the repository has their old size.

        Raises:
            ValueError: no level reads lyrics, or what `JukeboxPrior.resize_lyric_embeddings` refuses.
        """
        readers = [level for level, prior in enumerate(self.config.prior_configs) if prior.lyrics != "none"]
        require(bool(readers), f"new_size={new_size!r}, but no prior of this model reads lyrics; use one that does")
        self.keep_loaded = True
        for level in readers:
            prior = self.prior(level)
            prior.resize_lyric_embeddings(new_size, **how)
            self.config.prior_configs[level] = prior.config

    def release(self, level: int) -> None:
        """Let a prior go after its level: to the CPU's memory with `offload`, else freed unless `keep_loaded`."""
        check_level("level", level, self.num_levels)
        if self.offload:
            self._put_away([level])
        elif self._source is not None and not self.keep_loaded:
            setattr(self, f"prior_{level}", None)

    def _put_away(self, levels: Iterable[int]) -> None:
        for level in levels:
            if (prior := getattr(self, f"prior_{level}")) is not None:
                prior.to("cpu")

    @torch.no_grad()
    def generate(
        self,
        inputs: Mapping[str, Any] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsHook | None = None,
        stopping_criteria: Any = None,
        streamer: Any = None,
        *,
        codes: Codes | None = None,
        offload: bool | None = None,
        **kwargs: Any,
    ) -> JukeboxGenerateOutput:
        """Write songs from words, go on from prompts or codes, or refine codes.

        Args:
            inputs: what `JukeboxProcessor` gives; its tensors may also be passed by name. None: an unknown artist.
            generation_config: may hold the plain arguments below. What it does not set is as in the model's own.
            logits_processor: a function (logits (B, V), level, position in the song) -> logits, before each draw.
            codes: known already: a `SongState`, a dictionary level -> (B, T), or a list finest level first.
            offload: as in `from_pretrained`, for this call.
            kwargs: `seconds` or `max_new_tokens` (top-level codes after what is known); `temperature`, `top_k`,
                `top_p`, `hop_fractions` (a number, or a dictionary by level); `do_sample=False` for the likeliest code;
                `levels` to write; `seed` (the songs of a batch count on from it); `parallel_windows` (see
                `plan_song`); `batch`, `chunk` to bound memory; `stepping` (see `sample_window`); `return_codes`;
                `return_alignment`. See docs/reference/generation.md.

        Raises:
            ValueError: what can not be sampled to its end, before the first step, in one sentence.
            FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position.
        """
        refuse_listeners(stopping_criteria, streamer)
        orders, wishes, hook = self._orders(inputs, generation_config, logits_processor, codes, kwargs)
        before = self.offload
        self.offload = before if offload is None else offload
        aligner = OrderAligner(self, orders) if wishes.return_alignment else None
        try:
            states = write_orders(self, orders, hook, aligner and aligner.after_level)
            alignment = aligner and tuple(aligner.finish(states))
        finally:
            self.offload = before
        return replace(self._listen(orders, states, wishes.return_codes), alignment=alignment)

    def stream(
        self,
        inputs: Mapping[str, Any] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsHook | None = None,
        *,
        codes: Codes | None = None,
        piece_seconds: float = PIECE_SECONDS,
        lookahead_seconds: float | None = None,
        **kwargs: Any,
    ) -> Iterator[SongPiece]:
        """Write songs as `generate` does and give their sound while they are written, piece after piece.

        The pieces, one behind the other, are the audio of `generate` (to rounding), and the last one's `state` has its
        codes. All priors are in memory at once.

        Args:
            inputs, generation_config, logits_processor, codes, kwargs: as in `generate`, for songs of one length.
            piece_seconds: how much sound a piece has, but for the last.
            lookahead_seconds: how much must be written behind a piece before it is decoded, see `stream_song`; None for
                so much that nothing that comes later changes it.

        Raises:
            ValueError: what `generate` refuses, and what can not be followed from its beginning on; before any piece.
            FloatingPointError: as in `generate`.
        """
        refuse_listeners(kwargs.pop("stopping_criteria", None), kwargs.pop("streamer", None))
        offload = self.offload or kwargs.pop("offload", False)
        orders, wishes, hook = self._orders(inputs, generation_config, logits_processor, codes, kwargs)
        require(
            not (wishes.return_codes or wishes.return_alignment),
            "return_codes and return_alignment are of finished songs; take the codes from the last piece's state",
        )
        require(
            len(orders) == 1,
            f"the songs have {len(orders)} different lengths, but are streamed side by side; say seconds= for all, or "
            f"stream them one by one",
        )
        require(
            not offload,
            "offload=True keeps one prior on the device, but to stream a song all of them take turns; open the model "
            "without it",
        )
        (order,) = orders
        sizes = {"piece_seconds": piece_seconds, "lookahead_seconds": lookahead_seconds}
        return stream_song(self, order.plan, order.labels, order.state, hook=hook, **sizes)

    def _orders(
        self,
        inputs: Mapping[str, Any] | None,
        generation_config: GenerationConfig | None,
        logits_processor: LogitsHook | None,
        codes: Codes | None,
        arguments: dict[str, Any],
    ) -> tuple[tuple[SongOrder, ...], SongWishes, LogitsHook | None]:
        """What `generate` was given, checked: orders, wishes and the hook."""
        by_name = {name: arguments.pop(name) for name in SONG_INPUTS if name in arguments}
        require(
            inputs is None or (isinstance(inputs, Mapping) and not by_name),
            f"inputs={type(inputs).__name__} must be what JukeboxProcessor gives, or its tensors by name, not both",
        )
        hook = read_hook(logits_processor)
        wishes = read_wishes(self.config, self.generation_config, generation_config, arguments)
        orders = take_orders(self.config, self.vqvae, dict(inputs or by_name), wishes, codes)
        return orders, wishes, hook

    @torch.no_grad()
    def align(
        self, inputs: Mapping[str, Any], codes: Codes, *, layer: int | None = None, head: int | None = None
    ) -> list[SongAlignment]:
        """Find out when the lyrics of finished or recorded songs are sung; arguments as in `align_songs`."""
        return align_songs(self, inputs, codes, layer=layer, head=head)

    def _listen(
        self, orders: Sequence[SongOrder], states: Sequence[SongState], return_codes: bool
    ) -> JukeboxGenerateOutput:
        """Decode the finest level that was written, every song in its row of the batch."""
        finest, hops = orders[0].plan.levels[-1].level, self.config.vqvae_config.hop_lengths
        rows: dict[int, tuple[Tensor, int, list[Tensor]]] = {}
        for order, state in zip(orders, states, strict=True):
            for place, song in enumerate(order.songs):
                codes = [own[place][: order.plan.samples // hop] for own, hop in zip(state.codes, hops, strict=True)]
                audio = self.vqvae.decode(codes[finest][None].to(self.vqvae.device), finest).audio_values[0, 0]
                rows[song] = audio.float().cpu(), state.seeds[place], codes
        audio, seeds, codes = zip(*(rows[song] for song in sorted(rows)), strict=True)
        levels = zip(*codes, strict=True)
        return JukeboxGenerateOutput(
            audio=pad_sequence(list(audio), batch_first=True),
            audio_lengths=torch.tensor([len(samples) for samples in audio]),
            seeds=torch.tensor(seeds),
            codes=tuple(pad_sequence(list(level), batch_first=True, padding_value=NOT_SAID) for level in levels)
            if return_codes
            else None,
        )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        config: JukeboxConfig | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        keep_loaded: bool = False,
        offload: bool = False,
        attn_implementation: str | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> "JukeboxModel":
        """Open a Jukebox repository: the VQ-VAE at once, each prior when `prior` asks for it.

        Also reads repositories of transformers 4's Jukebox (`prior_config_list`, one checkpoint for all parts).

        Args:
            pretrained_model_name_or_path: Hub name or folder.
            config: instead of the repository's root config.json.
            dtype: of the priors' matrices; None or "auto" keeps what the files hold. The VQ-VAE is always float32.
            device_map: handed to every part.
            keep_loaded: keep priors in memory after `release`.
            offload: keep priors in the CPU's memory, and only the working one on the device.
            attn_implementation: "sdpa" or "eager", for every prior.
            quantization_config: of transformers, for every prior; `quantization.int8_config()` is one.
            kwargs: cache_dir, force_download, local_files_only, token, revision.

        Raises:
            ValueError: parts that do not fit the root configuration, or lack or have too many tensors.
            OSError: nothing to read there.
        """
        hub = {name: kwargs.pop(name) for name in _HUB_ARGUMENTS if kwargs.get(name) is not None}
        for ignored in (*_HUB_ARGUMENTS, "trust_remote_code", "_from_auto", "adapter_kwargs", "torch_dtype"):
            value = kwargs.pop(ignored, None)
            dtype = value if ignored == "torch_dtype" and dtype is None else dtype
        require(not kwargs, f"from_pretrained does not know {sorted(kwargs)}; see its docstring for what it takes")
        name, hub = pin(str(pretrained_model_name_or_path), **hub)
        root = read_root_config(name, **hub)
        is_legacy = is_legacy_config(root)
        if config is None:
            config = JukeboxConfig.from_dict(root)
        elif attn_implementation is None:  # the Auto classes put it there
            found = getattr(config, "_attn_implementation", None)
            attn_implementation = found if found in ("sdpa", "eager") else None
        options = {
            "device_map": device_map,
            "attn_implementation": attn_implementation,
            "quantization_config": quantization_config,
        }
        source = PartSource(name, is_legacy, config, dtype, {k: v for k, v in options.items() if v is not None}, hub)
        with torch.device("meta"):
            model = cls(config, with_priors=False)
        model.vqvae = source.load_vqvae()
        require(
            not (offload and device_map is not None),
            f"device_map={device_map!r} and offload=True both place priors; choose one",
        )
        model._source = source
        model.keep_loaded, model.offload = keep_loaded, offload
        model.generation_config = _generation_config(name, config, hub)
        return model.eval()

    def save_pretrained(self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write the repository: root and generation configuration, and a folder per part; absent parts are copied.

        Args:
            save_directory: a folder, made if need be.
            push_to_hub: also upload it.
            kwargs: for every part's own `save_pretrained`, such as max_shard_size; and, to upload, `repo_id` (else the
                folder's name), token, private, commit_message, commit_description, create_pr, revision, tags.
        """
        folder = Path(save_directory)
        repo_id = kwargs.pop("repo_id", folder.name)
        hub = {name: kwargs.pop(name) for name in _PUSH_ARGUMENTS if name in kwargs}
        folder.mkdir(parents=True, exist_ok=True)
        self.vqvae.save_pretrained(folder / "vqvae", **kwargs)
        for level in range(self.num_levels):
            name = f"prior_{level}"
            prior = getattr(self, name)
            # Matrices that were read as int8 can not be written again by transformers, but copied they can.
            if prior is not None and not (self._source is not None and self._source.stores_int8(prior)):
                prior.save_pretrained(folder / name, **kwargs)
            elif self._source is not None:
                self._source.copy_prior(level, folder, **kwargs)
        self.generation_config.save_pretrained(folder)
        save_root_config(self.config, folder)
        if push_to_hub:
            sizes = {name: kwargs[name] for name in ("max_shard_size",) if name in kwargs}
            self.push_to_hub(repo_id, **hub, **sizes)


def _generation_config(name: str, config: JukeboxConfig, hub: dict[str, Any]) -> GenerationConfig:
    """The repository's generation_config.json; where there is none, or it is of transformers 4, our defaults."""
    own = default_generation_config(config)
    if (said := read_json_beside(name, "generation_config.json", "", **hub)) is not None:
        check_generation_defaults(said, f"generation_config.json of {name}")
    try:
        found = GenerationConfig.from_pretrained(name, **hub)
    except OSError:
        return own
    for field_name in ("do_sample", "temperature", "top_k", "max_new_tokens"):
        if getattr(found, field_name, None) is None:
            setattr(found, field_name, getattr(own, field_name))
    return found


def save_root_config(config: JukeboxConfig, folder: Path) -> None:
    """Write the root config.json; last, so that a folder with one is whole."""
    config = JukeboxConfig.from_dict(config.to_dict())
    config.architectures = [JukeboxModel.__name__]
    config.save_pretrained(folder)
