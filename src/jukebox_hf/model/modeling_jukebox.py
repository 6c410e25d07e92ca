"""JukeboxModel: the VQ-VAE and the priors of all levels, each loaded when its turn comes.

Flows in: a Hub repository, a folder or a configuration. Flows out: the parts, of which the largest decides how much
memory a song needs, not their sum. The root config.json is the truth; a part's own is a copy of its piece of it.
"""

import copy
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer
from transformers.utils import ModelOutput

from .adapters.adapted_model import CarriesAdapters
from .adapters.adapter_files import is_adapter
from .alignment.alignment import SongAlignment
from .alignment.batch_alignment import BatchAligner, align_songs, lyric_level
from .checkpoints.companions import (
    Adapter,
    adapted_levels,
    find_adapter,
    processor_of,
    write_companions,
    write_missing_card,
)
from .checkpoints.later_priors import ReachesLaterPriors
from .checkpoints.part_loader import LOADING, PartSource
from .checkpoints.remote_code import write_code
from .checks.validation import check_level, is_integer, plain, read_flag, require
from .configuration.configuration_fields import attention_by_part
from .configuration.configuration_jukebox import JukeboxConfig
from .configuration.legacy_configuration import is_legacy_config
from .files.checkpoint_files import check_format, check_name, inside, pin, read_root_config
from .files.loading_arguments import (
    PART_SAVING,
    PUSH_ARGUMENTS,
    check_device_map,
    check_devices,
    check_kinds,
    check_saving,
    check_source,
    read_dtype,
    read_loading,
    without_bars,
)
from .files.weight_types import KeepsFloat32, asked_dtype
from .inputs.song_inputs import NOT_SAID, SONG_INPUTS
from .networks.initialization import init_module
from .networks.modeling_jukebox_prior import JukeboxPrior
from .networks.modeling_jukebox_vqvae import JukeboxVQVAE
from .networks.plain_modules import check_in_memory
from .sampling.sampling_ops import SamplingSettings
from .songs.code_listeners import Ending, LogitsHook, read_criteria, read_hook, read_streamer
from .songs.early_ends import check_followable, codes_between_ends, end_early
from .songs.generation_arguments import (
    GenerateArguments,
    default_generation_config,
    generation_config_of,
    read_generate_arguments,
)
from .songs.level_sampler import Listeners
from .songs.lyric_writing import WrittenLyrics, song_lyric_log_likelihoods, write_song_lyrics
from .songs.song import LentForCall, SongBatch, sample_songs
from .songs.song_batches import copied, take_batches
from .songs.song_codes import Codes
from .songs.song_state import SongState
from .songs.stereo import check_stereo, stereo_of, written_again
from .songs.streaming import PIECE_SECONDS, SongPiece, stream_song
from .takes.repaint import read_repaints, refuse_lengths, sing_songs
from .takes.repaint_scores import RepaintScores
from .takes.song_scores import SongScore, score_songs
from .takes.takes import Take, check_memory, check_takes, refined, write_takes


@dataclass
class JukeboxGenerateOutput(ModelOutput):
    """Finished songs, one per row.

    Attributes:
        audio: (B, S) float32, not clamped to [-1, 1]; zeros behind shorter songs. Its rate is `config.sampling_rate`.
            With `stereo` (B, 2, S), left and right.
        audio_lengths: (B,) samples of each song.
        seeds: (B,) the seeds that make these songs again.
        codes: per level, finest first, (B, T) with -1 behind shorter songs; (B, 0) where a level was not written. None
            unless asked for.
        alignment: when the lyrics of each song are sung, a `SongAlignment` per song. None unless asked for.
        takes: of each song asked for, every `Take` with its score, in the order of their seeds; the songs are those
            that were kept, best first. None without `takes`.
        correlation: (B,) of left and right; None without `stereo`.
        repaint: of each song, what was changed by `JukeboxModel.repaint`, and by what its takes were chosen; None
            elsewhere.
    """

    audio: Tensor | None = None
    audio_lengths: Tensor | None = None
    seeds: Tensor | None = None
    codes: tuple[Tensor, ...] | None = None
    alignment: tuple[SongAlignment, ...] | None = None
    takes: tuple[tuple[Take, ...], ...] | None = None
    correlation: Tensor | None = None
    repaint: tuple[RepaintScores, ...] | None = None


class JukeboxModel(KeepsFloat32, ReachesLaterPriors, CarriesAdapters, PreTrainedModel, GenerationMixin):
    """The VQ-VAE and one prior per level.

    `parameters` and `state_dict` are of the parts in memory: take `prior(level)` first to have it among them.

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
        with_priors = read_flag("with_priors", with_priors)
        config.validate_architecture()  # parts may have been assigned since it was built
        self.vqvae = JukeboxVQVAE(config.vqvae_config)
        for level, prior_config in enumerate(config.prior_configs):
            # Named children, not a list: transformers finds tied weights in named children only.
            self.register_module(f"prior_{level}", JukeboxPrior(prior_config) if with_priors else None)
        self._source: PartSource | None = None
        self._lent: set[int] = set()  # levels whose prior nobody but a song has asked for, so that it may go after it
        self.keep_loaded: bool | None = True
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

    @property
    def bytes_per_weight(self) -> int:
        """How much memory a weight of a prior takes at most once it is loaded."""
        asked = self._source.dtype if self._source is not None else None
        return asked.itemsize if isinstance(asked, torch.dtype) else torch.float32.itemsize

    def prior(self, level: int) -> JukeboxPrior:
        """Give the prior of a level, loading it first if it is not in memory; it stays, and all that is done to it.

        `release` lets it go again.
        """
        prior = self.lend(level)
        self._lent.discard(level)
        return prior

    def lend(self, level: int, offload: bool | None = None) -> JukeboxPrior:
        """As `prior`, but only until `take_back`: what songs are written with. `offload` as in `generate`."""
        offload = self.offload if offload is None else offload
        check_level("level", level, self.num_levels)
        name = f"prior_{level}"
        with LOADING:  # a second thread takes what the first has loaded
            prior = getattr(self, name)
            if prior is None:
                require(
                    self._source is not None,
                    f"the prior of level {level} was never built; use JukeboxModel.from_pretrained, or "
                    f"with_priors=True",
                )
                device = torch.device("cpu") if offload else self.device
                prior = self._adapt(level, self._source.load_prior(level, self._stored_config(level), device))
                setattr(self, name, self.tell(prior.train(self.training)))
                self._lent.add(level)
        if offload:
            self._put_away(other for other in self.loaded_levels if other != level)
            prior.to(self.device)
        return prior

    def first_layers(self, level: int, depth: int) -> JukeboxPrior:
        """The first `depth` layers of the prior of a level, for its `hidden_states`; no more is read from its files.

        It is the caller's alone; where the prior is in memory, they share its weights, and where adapters or others'
        modules stand in it, it is that prior itself.

        Raises:
            ValueError, OSError: no such level or depth, or a prior that cannot be loaded.
        """
        check_level("level", level, self.num_levels)
        config, prior = self.config.prior_configs[level], getattr(self, f"prior_{level}")
        most = config.num_hidden_layers
        require(
            is_integer(depth) and 0 < depth <= most, f"depth={depth!r} must be from 1 to {most}, the layers there are"
        )
        self.check_priors([level])
        if prior is None:
            return self._adapted_alone(self._source.load_prior(level, self._stored_config(level), self.device, depth))
        with torch.device("meta"):
            cut = JukeboxPrior(prior.config, depth)
        kinds = {name: type(module) for name, module in prior.named_modules()}
        if any(kinds.get(name) is not type(module) for name, module in cut.named_modules()):
            return prior.eval()  # with modules of another's, such as adapters, which act whole or not at all
        wanted = cut.state_dict().keys()
        state = {name: tensor for name, tensor in prior.state_dict(keep_vars=True).items() if name in wanted}
        cut.load_state_dict(state, assign=True)
        return cut.eval()

    def check_priors(self, levels: Iterable[int]) -> None:
        """Refuse, before the first code, priors that could not be loaded when their turn comes.

        Raises:
            ValueError, OSError: in one sentence that names the folder and the cause.
        """
        here = {level: getattr(self, f"prior_{level}") for level in levels}
        for level, prior in here.items():
            if prior is not None:
                check_in_memory(f"the prior of level {level}", prior)
        away = [level for level, prior in here.items() if prior is None]
        for level in away:
            require(
                self._source is not None,
                f"the prior of level {level} was never built; use JukeboxModel.from_pretrained, or with_priors=True",
            )
        if away:
            self._source.check_priors(away)

    def source_files(self, levels: Iterable[int]) -> dict[str, list[Path]]:
        """The files of the repository that decide how songs of these levels sound, by part; empty without one."""
        return {} if self._source is None else self._source.files(levels)

    def _float32_tensors(self) -> Iterator[Tensor]:
        """The VQ-VAE's; of the priors, each knows its own."""
        yield from self.vqvae.parameters()
        yield from self.vqvae.buffers()

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> "JukeboxModel":
        """A dtype that is asked for is that of priors which are loaded later, too."""
        if self._source is not None and (dtype := asked_dtype(fn)) is not None:
            self._source = replace(self._source, dtype=dtype)
        return super()._apply(fn, *args, **kwargs)

    def set_attn_implementation(
        self, attn_implementation: str | Mapping[str, str], allow_all_kernels: bool = False
    ) -> None:
        """Choose "sdpa" or "eager" for every prior, or by part; also for those that are loaded later."""
        require(attn_implementation is not None, "attn_implementation=None chooses nothing; choose sdpa or eager")
        self.config._attn_implementation = attn_implementation
        names = [f"prior_{level}" for level in self.loaded_levels]
        for name, chosen in attention_by_part(attn_implementation, self.config.attention_parts()).items():
            if name in names:
                getattr(self, name).set_attn_implementation(chosen)

    def resize_lyric_embeddings(self, new_size: int, **how: Any) -> None:
        """Make room for more lyric characters in every prior that reads them, as `JukeboxPrior` does for itself.

        These priors stay in memory from now on (`keep_loaded`): the repository has their old size.

        Raises:
            ValueError: no level reads lyrics, or what `JukeboxPrior.resize_lyric_embeddings` refuses.
        """
        readers = [level for level, prior in enumerate(self.config.prior_configs) if prior.lyrics != "none"]
        require(
            bool(readers),
            f"new_size={new_size!r}, but no prior of this model is conditioned on lyrics; use one that is",
        )
        self.keep_loaded = True
        for level in readers:
            prior = self.prior(level)
            prior.resize_lyric_embeddings(new_size, **how)
            self.config.prior_configs[level] = prior.config

    def release(self, level: int) -> None:
        """Let a prior go: to the CPU's memory with `offload`, else freed, with its changes, unless `keep_loaded`."""
        check_level("level", level, self.num_levels)
        if self._source is not None:
            self._lent.add(level)
        self.take_back(level)

    def take_back(self, level: int, offload: bool | None = None, keep_loaded: bool | None = None) -> None:
        """As `release`, but a prior that somebody asked for, by `prior`, stays; arguments as in `generate`."""
        if self.offload if offload is None else offload:
            self._put_away([level])
        elif level in self._lent and not (self.keep_loaded if keep_loaded is None else keep_loaded):
            self._lent.discard(level)
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
        logits_processor: LogitsHook | LogitsProcessorList | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        streamer: BaseStreamer | None = None,
        *,
        codes: Codes | None = None,
        offload: bool | None = None,
        keep_loaded: bool | None = None,
        **kwargs: Any,
    ) -> JukeboxGenerateOutput:
        """Write songs from words, go on from prompts or codes, or refine codes.

        Args:
            inputs: what `JukeboxProcessor` gives; its tensors may also be passed by name. None: an unknown artist.
            generation_config: may hold the plain arguments below. What it does not set is as in the model's own.
            logits_processor: a function (logits (B, V), level, position in the song) -> logits, before each draw; or
                processors of transformers, which see the codes of a level so far (B, n) and scores (B, codes).
            stopping_criteria: of transformers, asked with the codes so far (B, n) after each code of the coarsest level
                that is written; a song that they end is refined and decoded as far as it goes.
            streamer: gets, level by level from the coarsest, what is known (B, n) and then each code (B,).
            codes: known already: a `SongState`, a dictionary level -> (B, T), or a list finest level first; of one song
                (T,) will do, in tensors, arrays or lists.
            offload, keep_loaded: as in `from_pretrained`, for this call.
            kwargs: `seconds` or `max_new_tokens` (top-level codes after what is known); `temperature`, `top_k`,
                `top_p`, `min_p`, `typical_p`, `epsilon_cutoff`, `guidance_scale`, `lyrics_guidance`, `hop_fractions` (a
                number, or a dictionary by level); `guidance_on`; `draw` "inverse" or "gumbel"; `do_sample=False` for
                the likeliest code; `levels` to write; `seed` (the songs of a batch count on from it);
                `parallel_windows` (see `plan_song`); `recall`, seconds such as (0, 8) or (0, 8, 30) of a stretch that
                later windows read again; `follow_lyrics` (docs/how-to/lyrics-and-time.md);
                `takes` of the top level, of which the best `keep` are refined, `choose_by` "likelihood", "self" or
                "lyrics" (docs/how-to/takes-and-repaint.md); `stereo` (docs/how-to/stereo.md); `batch`, `chunk` to bound
                memory; `backend`, `jacobi` (see `sample_window`); `return_codes`; `return_alignment`. See
                docs/reference/generation.md.

        Raises:
            ValueError: what cannot be sampled to its end, before the first step, in one sentence.
            FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position.
        """
        criteria, streamer = read_criteria(stopping_criteria), read_streamer(streamer)
        offload, keep_loaded = read_flag("offload", offload), read_flag("keep_loaded", keep_loaded)
        batches, arguments, hook = self._batches(inputs, generation_config, logits_processor, codes, kwargs)
        priors = LentForCall(self, self.offload if offload is None else offload, keep_loaded)
        aligner = BatchAligner(priors, batches, arguments.follow_lyrics) if arguments.return_alignment else None
        self._check_priors_of(batches)
        coarsest, finest = batches[0].plan.levels[0].level, batches[0].plan.levels[-1].level
        ending = criteria and Ending(criteria, codes_between_ends(self.config, coarsest))
        listeners = Listeners(hook, ending=ending, streamer=streamer)
        check_followable(batches, arguments.compute, listeners)
        left, takes = batches, None
        if arguments.taking is not None:
            require(
                ending is None and streamer is None,
                f"takes={arguments.taking.takes} are written side by side, and most of them are dropped, so "
                f"stopping_criteria and a streamer cannot follow; leave these out, or write one take",
            )
            self._check_takes(batches, arguments)
            batches, takes = write_takes(priors, batches, arguments.taking, arguments.compute, listeners)
            left = [refined(batch) for batch in batches]
            aligner = aligner and BatchAligner(priors, batches, arguments.follow_lyrics)
        if ending is not None:
            batches, listeners = end_early(priors, batches, arguments, listeners), replace(listeners, ending=None)
            left, aligner = batches, aligner and BatchAligner(priors, batches, arguments.follow_lyrics)
        states = [batch.state for batch in batches]
        after_level = aligner and aligner.after_level
        for written in sample_songs(priors, left, arguments.compute, listeners, after_level):
            states[written.batch] = written.state
        if streamer is not None:
            streamer.end()
        alignment = aligner and tuple(aligner.finish(states))
        second = None
        if arguments.stereo:
            second = written_again(priors, batches, states, arguments.compute, hook)
        songs = self._listen(batches, states, finest, arguments.return_codes, second)
        return replace(songs, alignment=alignment, takes=takes and tuple(map(tuple, takes)))

    def stream(
        self,
        inputs: Mapping[str, Any] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsHook | LogitsProcessorList | None = None,
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
            ValueError: what `generate` refuses, and what cannot be followed from its beginning on; before any piece.
            FloatingPointError: as in `generate`.
        """
        for name in ("stopping_criteria", "streamer"):
            require(
                not kwargs.pop(name, None),
                f"{name} is of generate; stream gives a song's sound piece by piece, and who takes no more ends it",
            )
        asked = read_flag("offload", kwargs.pop("offload", None))
        offload = self.offload or asked
        batches, arguments, hook = self._batches(inputs, generation_config, logits_processor, codes, kwargs)
        require(
            not (arguments.return_codes or arguments.return_alignment),
            "return_codes and return_alignment are of finished songs; take the codes from the last piece's state",
        )
        require(
            arguments.taking is None,
            "takes cannot be streamed, since the best is known once all are there; use generate, or stream its seed",
        )
        require(
            not arguments.stereo,
            "stereo=True writes a finished song a second time, so it cannot be streamed; use generate, or leave it out",
        )
        require(
            len(batches) == 1,
            f"the songs have {len(batches)} different lengths, but are streamed side by side; say seconds= for all, or "
            f"stream them one by one",
        )
        require(
            not offload,
            "offload=True keeps one prior on the device, but to stream a song all of them take turns; open the model "
            "without it",
        )
        self._check_priors_of(batches)
        sizes = {"piece_seconds": plain(piece_seconds), "lookahead_seconds": plain(lookahead_seconds)}
        return stream_song(self, batches[0], arguments.compute, hook=hook, **sizes)

    def _check_priors_of(self, batches: Sequence[SongBatch]) -> None:
        self.check_priors(sorted({level_plan.level for batch in batches for level_plan in batch.plan.levels}))

    def _check_takes(self, batches: Sequence[SongBatch], arguments: GenerateArguments) -> None:
        check_takes(self.config, batches, arguments.taking)
        rows = max(len(batch.songs) * batch.plan.levels[0].settings.rows for batch in batches)
        self._check_rows(rows, arguments, f"takes={arguments.taking.takes}")

    def _check_rows(self, rows: int, arguments: GenerateArguments, said: str) -> None:
        prior, rows = getattr(self, f"prior_{self.num_levels - 1}"), min(rows, arguments.compute.batch or rows)
        itemsize = self.bytes_per_weight if prior is None else prior.dtype.itemsize
        check_memory(self.config.prior_configs[-1], self.device, itemsize, rows, said)

    def _batches(
        self,
        inputs: Mapping[str, Any] | None,
        generation_config: GenerationConfig | None,
        logits_processor: LogitsHook | LogitsProcessorList | None,
        codes: Codes | None,
        said: dict[str, Any],
    ) -> tuple[tuple[SongBatch, ...], GenerateArguments, LogitsHook | LogitsProcessorList | None]:
        """What `generate` was given, checked: batches, arguments and the hook."""
        given, arguments, hook = self._read(inputs, generation_config, logits_processor, said)
        taking = arguments.taking
        copies = arguments.copies if taking is None else taking.takes
        given, codes = copied(given, codes, copies, are_takes=taking is not None)
        batches = take_batches(self.config, self.vqvae, given, arguments, codes, hook)
        if arguments.stereo:
            check_stereo(self.config, [plan.level for plan in batches[0].plan.levels])
        return batches, arguments, hook

    def _read(
        self,
        inputs: Mapping[str, Any] | None,
        generation_config: GenerationConfig | None,
        logits_processor: LogitsHook | None,
        said: dict[str, Any],
    ) -> tuple[Mapping[str, Any], GenerateArguments, LogitsHook | None]:
        """The song inputs among what was said, the arguments and the hook."""
        by_name = {name: said.pop(name) for name in SONG_INPUTS if name in said}
        require(
            inputs is None or (isinstance(inputs, Mapping) and not by_name),
            f"inputs={type(inputs).__name__} must be what JukeboxProcessor gives, or its tensors by name, not both",
        )
        check_in_memory("the VQ-VAE", self.vqvae)
        hook = read_hook(logits_processor)
        arguments = read_generate_arguments(self.config, self.generation_config, generation_config, said)
        return inputs or by_name, arguments, hook

    @torch.no_grad()
    def align(
        self,
        inputs: Mapping[str, Any],
        codes: Codes,
        *,
        layer: int | None = None,
        head: int | None = None,
        follow_lyrics: bool = False,
        hop_fraction: float | None = None,
    ) -> list[SongAlignment]:
        """Find out when the lyrics of finished or recorded songs are sung; arguments as in `align_songs`."""
        if (level := lyric_level(self.config)) in self.loaded_levels:
            check_in_memory(f"the prior of level {level}", getattr(self, f"prior_{level}"))
        read = {"follow_lyrics": follow_lyrics, "hop_fraction": hop_fraction}
        return align_songs(self, inputs, codes, layer=layer, head=head, **read)

    @torch.no_grad()
    def repaint(
        self,
        inputs: Mapping[str, Any] | None = None,
        codes: Codes | None = None,
        stretch: Sequence[float] | Sequence[Sequence[float]] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsHook | None = None,
        *,
        takes: int = 1,
        offload: bool | None = None,
        keep_loaded: bool | None = None,
        **kwargs: Any,
    ) -> JukeboxGenerateOutput:
        """Sing a stretch of finished songs again; their other codes stay as they are.

        Of several takes the one is kept under which the codes that follow are likeliest; at the end of a song, the
        likeliest one itself. The finer levels are written again in the stretch, and an eighth of a
        window behind it, so that its seam is mended.

        Args:
            inputs: the words of the whole songs, which may be others than before.
            codes: of the songs, every level that they have, as `generate(return_codes=True)` gives them.
            stretch: second of the audio at which it begins, and at which it ends, or such a pair for each song; each is
                moved to the nearest code of the top level.
            takes: how many to write of each song; their seeds count on from that of the song.
            generation_config, logits_processor, offload, keep_loaded: as in `generate`.
            kwargs: what `generate` takes, but for lengths, levels and numbers of songs. With `recall` the stretch is
                sung with an earlier one in sight.

        Returns:
            As `generate`; `repaint` says what the takes and each song as it was are worth, and what may have changed.

        Raises:
            ValueError: what `generate` refuses, a song that is not finished, a stretch that is outside the song, empty
                or shorter than a code, or a recall that it cannot read; before the first step, in one sentence.
            FloatingPointError: as in `generate`.
        """
        offload, keep_loaded = read_flag("offload", offload), read_flag("keep_loaded", keep_loaded)
        refuse_lengths(kwargs)
        for name in ("stopping_criteria", "streamer"):
            require(
                not kwargs.pop(name, None),
                f"{name} is of generate; a stretch that is sung again is as long as it was, so leave it out",
            )
        given, arguments, hook = self._read(inputs, generation_config, logits_processor, kwargs | {"takes": takes})
        require(
            not arguments.stereo,
            "stereo=True is of generate; a song that was sung again in part is widened by generate(codes=..., "
            "stereo=True) from its codes of the top level",
        )
        count = 1 if arguments.taking is None else arguments.taking.takes
        asked = read_repaints(self.config, self.vqvae, given, arguments, codes, plain(stretch), count, hook)
        self.check_priors(asked[0].spans)
        rows = max(song.batch.plan.levels[0].settings.rows for song in asked)
        self._check_rows(count * rows, arguments, f"takes={count}")
        priors = LentForCall(self, self.offload if offload is None else offload, keep_loaded)
        batches, scores = sing_songs(priors, asked, arguments.compute, Listeners(hook))
        states = [batch.state for batch in batches]
        alignment = None
        if arguments.return_alignment:
            fraction = arguments.hop_fractions.get(lyric_level(self.config))
            read = {"follow_lyrics": arguments.follow_lyrics, "hop_fraction": fraction}
            alignment = tuple(align_songs(priors, given, SongState.joined(states), **read))
        songs = self._listen(batches, states, min(asked[0].spans), arguments.return_codes)
        return replace(songs, alignment=alignment, repaint=tuple(scores))

    @torch.no_grad()
    def write_lyrics(
        self,
        inputs: Mapping[str, Any] | None = None,
        *,
        characters: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> list[WrittenLyrics]:
        """Write words for songs: the prior that reads lyrics has learnt to write them too.

        Args:
            inputs: what `JukeboxProcessor` gives: artist and genre are told (an encoder hears neither), and lyrics are
                what the words go on from. None: an unknown artist.
            characters: how many to write at most; None: as many as a window holds.
            temperature, top_k, top_p: how boldly to draw, as in `generate`.
            seed: of the first song; None: the songs' own, or new ones.

        Returns:
            By song: the `ids` of the characters, which `tokenizer.decode_lyrics` makes text of, and the bits of each.

        Raises:
            ValueError: a model that has no lyrics or never learnt to write them, in one sentence.
        """
        settings = SamplingSettings(temperature=plain(temperature), top_k=plain(top_k), top_p=plain(top_p))
        how = {"characters": plain(characters), "settings": settings, "seed": plain(seed)}
        return write_song_lyrics(self, inputs or {}, **how)

    @torch.no_grad()
    def lyric_log_likelihood(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """How likely the model finds the lyrics of songs: (T,) natural logarithms each, one for each character.

        Errors as in `write_lyrics`.
        """
        return song_lyric_log_likelihoods(self, inputs)

    @torch.no_grad()
    def score(self, inputs: Mapping[str, Any], codes: Codes, *, level: int | None = None) -> list[SongScore]:
        """Say how well finished or recorded songs fit their words, by the prior alone; arguments as in `score_songs`.

        A `SongScore` per song: bits per code under its own labels, under unknown artist and genre, without lyrics, and
        how far and how orderly the lyrics are followed.
        """
        return score_songs(self, inputs, codes, level)

    def _listen(
        self,
        batches: Sequence[SongBatch],
        states: Sequence[SongState],
        finest: int,
        return_codes: bool,
        second: Sequence[SongState] | None = None,
    ) -> JukeboxGenerateOutput:
        """Decode the finest level that was written, every song in its row; in stereo with the states of a `second`."""
        hops = self.config.vqvae_config.hop_lengths
        rows: dict[int, tuple[Tensor, int, list[Tensor], float]] = {}
        for number, (batch, state) in enumerate(zip(batches, states, strict=True)):
            for index, song in enumerate(batch.songs):
                codes = [own[index][: batch.plan.samples // hop] for own, hop in zip(state.codes, hops, strict=True)]
                audio, correlation = self._decoded(codes[finest], finest), 1.0
                if second is not None:
                    again = second[number].codes[finest][index][: len(codes[finest])]
                    wide = stereo_of(audio, self._decoded(again, finest))
                    audio, correlation = wide.audio.T, wide.correlation
                rows[song] = audio, state.seeds[index], codes, correlation
        audio, seeds, codes, correlations = zip(*(rows[song] for song in sorted(rows)), strict=True)
        levels, padded = zip(*codes, strict=True), pad_sequence(list(audio), batch_first=True)
        return JukeboxGenerateOutput(
            audio=padded if second is None else padded.transpose(1, 2),  # (B, S, 2) -> (B, 2, S)
            audio_lengths=torch.tensor([len(samples) for samples in audio], device="cpu"),
            seeds=torch.tensor(seeds, device="cpu"),
            codes=tuple(pad_sequence(list(level), batch_first=True, padding_value=NOT_SAID) for level in levels)
            if return_codes
            else None,
            correlation=None if second is None else torch.tensor(correlations, device="cpu"),
        )

    def _decoded(self, codes: Tensor, level: int) -> Tensor:
        """The sound (S,) of the codes (T,) of a level."""
        return self.vqvae.decode(codes[None].to(self.vqvae.device), level).audio_values[0, 0].float().cpu()

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Refused: no single pass makes a song.

        Raises:
            ValueError: always, with the cure.
        """
        raise ValueError(
            "a Jukebox is a chain of networks, of which each has a forward of its own; write songs with "
            "model.generate(**inputs), or call model.prior(level) or model.vqvae"
        )

    def own_processor(self) -> Any:
        """The processor of the repository that this was opened from; None where there is none that fits."""
        if self._source is None:
            return None
        check_name(self._source.name_or_path)  # a folder may have gone since
        where = self._source.name_or_path, self._source.hub
        own = processor_of(self._source.config, *where, trusts=bool(self.is_remote_code()))
        return None if own is None else self.with_adapter_names(own)

    # --- adapters ---

    def load_adapter(self, peft_model_id: str | None = None, adapter_name: str | None = None, **kwargs: Any) -> Any:
        """Sing with an adapter or a style from now on: new artists beside the old ones, or LoRA matrices.

        An adapter repository of this package, or a style, is loaded beside those there are (`take_adapter`, whose
        `weight` and `keep_base` may be given); `set_adapters` weighs them. A peft adapter of the whole model goes onto
        the priors that it was trained on, as in transformers, and these then stay in memory.

        Args:
            peft_model_id: a folder, a style file, or a name on the Hub.
            adapter_name: to call it by.
            kwargs: of transformers, such as `adapter_kwargs`, with which files are fetched.

        Raises:
            ValueError: an adapter of another base, of one part alone, or of a name that is known.
        """
        hub = kwargs.get("adapter_kwargs") or {}
        if peft_model_id is not None and is_adapter(str(peft_model_id), hub):
            require(
                not getattr(self, "_hf_peft_config_loaded", False),
                f"{peft_model_id} is merged into matrices, but peft's adapters stand in their place; open the model "
                f"again, without these",
            )
            said = {name: kwargs.pop(name) for name in ("weight", "keep_base") if name in kwargs}
            unknown = sorted(set(kwargs) - {"adapter_kwargs"})
            require(not unknown, f"load_adapter takes weight, keep_base and adapter_kwargs here, not {unknown[:1]}")
            return self.take_adapter(str(peft_model_id), adapter_name, hub=hub, **said)
        require(
            self._adapters is None,
            f"{peft_model_id} would stand in matrices that {', '.join(self.adapters)} are merged into; delete_adapter "
            f"these first",
        )
        if peft_model_id is not None:
            levels = adapted_levels(str(peft_model_id), kwargs.get("adapter_kwargs") or {})
        else:
            levels = range(self.num_levels)
        self._keep(levels)
        return super().load_adapter(peft_model_id, adapter_name, **kwargs)

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Put a new peft adapter on every prior; all of them then stay in memory."""
        require(
            self._adapters is None,
            f"{', '.join(self.adapters)} are merged into the matrices; delete_adapter these before add_adapter",
        )
        self._keep(range(self.num_levels))
        super().add_adapter(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Module]]:
        """As of any module; but peft, which looks for what to adapt here, finds the priors where none is in memory."""
        asks = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]  # peft asks for nothing else of a model
        if asks == "peft" and self._source is not None and not self.loaded_levels:
            self._keep(range(self.num_levels))
        return super().named_modules(*args, **kwargs)

    def _keep(self, levels: Iterable[int]) -> None:
        for level in levels:
            check_level("a level of the adapter", level, self.num_levels)
            self.prior(level)
        self.keep_loaded = True

    # --- on disk ---

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        config: JukeboxConfig | str | PathLike[str] | None = None,
        dtype: torch.dtype | str | None = None,
        device_map: Any = None,
        keep_loaded: bool | None = None,
        offload: bool = False,
        attn_implementation: str | Mapping[str, str] | None = None,
        quantization_config: Any = None,
        **kwargs: Any,
    ) -> "JukeboxModel":
        """Open a Jukebox repository: the VQ-VAE at once, each prior when `prior` asks for it.

        Also reads repositories of transformers 4's Jukebox (`prior_config_list`, one checkpoint for all parts), and
        peft adapters of a whole Jukebox, whose priors then stay in memory.

        Args:
            pretrained_model_name_or_path: Hub name or folder.
            config: instead of the repository's root config.json.
            dtype: of the priors' matrices; None or "auto" keeps what the files hold. The VQ-VAE is always float32.
            device_map: handed to every part; a dictionary may say where each lies: {"vqvae": "cpu", "prior_0": 0, ...}.
            keep_loaded: keep priors in memory after their level; None frees those that nobody asked for by `prior`, but
                lets a pipeline keep them.
            offload: keep priors in the CPU's memory, and only the working one on the device.
            attn_implementation: "sdpa" or "eager", for every prior; or by part, as {"prior_0": "eager"}.
            quantization_config: of transformers, for every prior; `quantization.int8_config()` is one.
            kwargs: cache_dir, force_download, local_files_only, token, revision, subfolder, variant, use_safetensors,
                max_memory, offload_folder, offload_buffers, generation_config, output_loading_info, adapter_kwargs.
                What transformers' own models take besides is accepted where it is true anyway
                (docs/reference/generation.md).

        Raises:
            ValueError: parts that do not fit the root configuration, or lack or have too many tensors; arguments that
                mean nothing here.
            OSError: nothing to read there.
        """
        check_source(pretrained_model_name_or_path)
        check_kinds({"offload": offload, "keep_loaded": keep_loaded, "quantization_config": quantization_config})
        dtype = read_dtype(dtype, kwargs.pop("torch_dtype", None))
        check_devices(device_map)
        loading = read_loading(kwargs, device_map)
        require(
            not (offload and device_map is not None),
            f"device_map={device_map!r} and offload=True both place priors; choose one",
        )
        given = str(pretrained_model_name_or_path)
        adapter = find_adapter(given, loading.hub) if loading.adapter is None else Adapter(loading.adapter, given)
        name = inside(given if adapter is None else adapter.base, loading.subfolder, **loading.hub)
        name, hub = pin(name, **loading.hub)
        root = read_root_config(name, **hub)
        is_legacy = is_legacy_config(root)
        check_format(name, is_legacy, loading.use_safetensors, loading.options.get("variant"), **hub)
        config = _config_of(config, root)
        check_device_map(device_map, len(config.prior_configs))
        if attn_implementation is not None:  # else as the Auto classes wrote into the configuration they made
            config._attn_implementation = attn_implementation
        config.name_or_path = given if adapter is None else adapter.base
        options = {
            "device_map": device_map,
            "quantization_config": quantization_config,
            **loading.options,
        }
        source = PartSource(name, is_legacy, config, dtype, {k: v for k, v in options.items() if v is not None}, hub)
        source = source.seen_now()
        source.check_memory()
        generation_config = loading.generation_config or generation_config_of(name, config, is_legacy, **hub)
        with torch.device("meta"):
            model = cls(config, with_priors=False)
        model.vqvae = source.load_vqvae()
        model._source = source
        model.keep_loaded, model.offload = plain(keep_loaded), bool(offload)
        model.generation_config = generation_config
        model.eval()
        if adapter is not None:
            model.load_adapter(adapter.name_or_path, loading.adapter_name, adapter_kwargs=loading.adapter_options)
        if not loading.wants_report:
            return model
        # Whatever is missing, left over or misshapen was refused.
        return model, {kind: [] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        push_to_hub: bool = False,
        is_main_process: bool = True,
        **kwargs: Any,
    ) -> None:
        """Write the repository: root and generation configuration, and a folder per part; absent parts are copied.

        Where the model was opened from a repository with a processor, lists of names and a card, these are written
        too, unless the folder has some that fit; and so is the code of a repository that carries it. A model with
        peft adapters writes only these, as in transformers.

        Args:
            save_directory: a folder, made if need be.
            push_to_hub: also upload it.
            is_main_process: False writes nothing.
            kwargs: for every part's own `save_pretrained`, max_shard_size and variant; and, to upload, `repo_id` (else
                the folder's name), token, private, commit_message, commit_description, create_pr, revision, tags.
        """
        folder = Path(save_directory)
        repo_id = kwargs.pop("repo_id", folder.name)
        check_saving(kwargs)
        if not is_main_process:
            return
        if getattr(self, "_hf_peft_config_loaded", False):
            super().save_pretrained(folder, push_to_hub=push_to_hub, **kwargs)
            return
        hub = {name: kwargs.pop(name) for name in PUSH_ARGUMENTS if name in kwargs}
        kwargs = {name: value for name, value in kwargs.items() if name in PART_SAVING and value is not None}
        require(
            not (push_to_hub and "variant" in kwargs),
            f"variant={kwargs.get('variant')!r} cannot be uploaded by push_to_hub=True; save it and upload the folder "
            f"with `hf upload`",
        )
        if self._adapters is not None and (own := self.own_processor()) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            own.save_pretrained(folder)  # with the names that adapters bring
        if copied := [level for level in range(self.num_levels) if self._is_copied(level)]:
            self._source.check_priors(copied)
        for level in copied:
            self._source.check_copy(level, getattr(self, f"prior_{level}"), **kwargs)
        folder.mkdir(parents=True, exist_ok=True)
        with without_bars():
            self.vqvae.save_pretrained(folder / "vqvae", **kwargs)
            for level in range(self.num_levels):
                self._save_prior(level, folder, **kwargs)
        self.generation_config.save_pretrained(folder)
        if self._source is not None:
            where = self._source.name_or_path, self._source.hub
            write_companions(self.config, *where, folder, trusts=bool(self.is_remote_code()))
        write_missing_card(self.config, self._source.name_or_path if self._source is not None else None, folder)
        save_root_config(self.config, folder)
        if getattr(self.config, "auto_map", None) or self.is_remote_code():
            write_code(folder)
        if self._source is not None and folder.resolve() == Path(self._source.name_or_path).resolve():
            self._source = self._source.seen_now()
        if push_to_hub:
            sizes = {name: kwargs[name] for name in ("max_shard_size",) if name in kwargs}
            self.push_to_hub(repo_id, **hub, **sizes)

    def _save_prior(self, level: int, folder: Path, **kwargs: Any) -> None:
        name = f"prior_{level}"
        if self._is_copied(level):
            self._source.copy_prior(level, folder, **kwargs)
        elif self._is_adapted(level):  # with the adapters, which it then needs no more
            require(
                not self._source.is_quantized(level),
                f"{name} is quantized, so it cannot be written again with what adapters changed; keep them beside it",
            )
            self.lend(level).save_pretrained(folder / name, **kwargs)
            self.take_back(level)
        elif (prior := getattr(self, name)) is not None:
            prior.save_pretrained(folder / name, **kwargs)

    def _is_copied(self, level: int) -> bool:
        """Whether a prior is saved as the repository has it: also int8, which transformers cannot write again."""
        prior = getattr(self, f"prior_{level}")
        if self._source is None or self._is_adapted(level):
            return False
        return prior is None or self._source.stores_int8(prior)


def _config_of(given: JukeboxConfig | str | PathLike[str] | None, root: dict[str, Any]) -> JukeboxConfig:
    """The configuration to build: given, read from where it was said to be, or the repository's own."""
    if given is None:
        return JukeboxConfig.from_dict(root)
    if isinstance(given, (str, PathLike)):
        return JukeboxConfig.from_pretrained(given)
    require(
        isinstance(given, PreTrainedConfig) and given.model_type == JukeboxConfig.model_type,  # remote code's own too
        f"config={type(given).__name__} must be a JukeboxConfig, or where its config.json is",
    )
    return copy.deepcopy(given)


def save_root_config(config: JukeboxConfig, folder: Path) -> None:
    """Write the root config.json; last, so that a folder with one is whole."""
    config = JukeboxConfig.from_dict(config.to_dict())
    config.architectures = [JukeboxModel.__name__]
    config.save_pretrained(folder)
