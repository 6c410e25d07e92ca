"""JukeboxModel: the VQ-VAE and the priors of all levels, each loaded when its turn comes.

Flows in: a Hub repository, a folder or a configuration. Flows out: the parts, of which the largest decides how much
memory a song needs, not their sum. The root config.json is the truth; a part's own is a copy of its piece of it.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from .adapters.adapted_model import CarriesAdapters
from .adapters.peft_adapters import Adapter, TakesPeftAdapters, find_adapter
from .alignment.alignment import SongAlignment
from .alignment.batch_alignment import BatchAligner, align_songs, lyric_level
from .checkpoints.companions import processor_of
from .checkpoints.later_priors import ReachesLaterPriors
from .checkpoints.lent_priors import LendsPriors
from .checkpoints.part_loader import PartSource
from .checkpoints.repository_writer import WritesRepository
from .checks.validation import plain, read_flag, require
from .configuration.configuration_jukebox import JukeboxConfig
from .configuration.legacy_configuration import is_legacy_config
from .files.checkpoint_files import check_format, check_name, inside, pin, read_root_config
from .files.loading_arguments import (
    check_device_map,
    check_devices,
    check_kinds,
    check_source,
    read_dtype,
    read_loading,
)
from .files.weight_types import KeepsFloat32
from .generate_output import JukeboxGenerateOutput, check_sound_weights, decoded_songs
from .inputs.song_inputs import SONG_INPUTS
from .networks.initialization import init_module
from .networks.modeling_jukebox_prior import JukeboxPrior
from .networks.modeling_jukebox_vqvae import JukeboxVQVAE
from .networks.plain_modules import check_in_memory, say_uncalled
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
from .songs.stereo import check_stereo, written_again
from .songs.streaming import PIECE_SECONDS, SongPiece, stream_song
from .takes.repaint import read_repaints, refuse_lengths, sing_songs
from .takes.song_scores import SongScore, score_songs
from .takes.takes import check_memory, check_takes, refined, write_takes


class JukeboxModel(
    KeepsFloat32,
    ReachesLaterPriors,
    LendsPriors,
    TakesPeftAdapters,
    CarriesAdapters,
    WritesRepository,
    PreTrainedModel,
    GenerationMixin,
):
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
        self.generation_config = default_generation_config(config)
        self.post_init()

    def get_input_embeddings(self) -> None:
        """None: each prior has its own (quantisers ask)."""

    def get_output_embeddings(self) -> None:
        """None: each prior has its own (quantisers ask)."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_module(module)

    def _float32_tensors(self) -> Iterator[Tensor]:
        """The VQ-VAE's; of the priors, each knows its own."""
        yield from self.vqvae.parameters()
        yield from self.vqvae.buffers()

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> None:
        """Refused: every prior has a vocabulary of its own.

        Raises:
            ValueError: always, with the cure.
        """
        raise ValueError(
            "a Jukebox has a vocabulary for each prior; for more lyric characters use resize_lyric_embeddings, for "
            "more names jukebox-hf finetune"
        )

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
            logits_processor: a function (logits (B, codes), level, position in the song) -> logits, before each draw;
                or processors of transformers, which see the codes of a level so far (B, n) and scores (B, codes).
            stopping_criteria: of transformers, asked with the codes so far (B, n) after each code of the coarsest level
                that is written; a song that they end is refined and decoded as far as it goes.
            streamer: gets, level by level from the coarsest, what is known (B, n) and then each code (B,).
            codes: known already: a `SongState`, a dictionary level -> (B, T), or a list of all levels, finest first and
                None where nothing is known; of one song (T,) will do, in tensors, arrays or lists.
            offload, keep_loaded: as in `from_pretrained`, for this call.
            kwargs: `seconds` or `max_new_tokens` (top-level codes after what is known); every field of
                `SamplingSettings`, such as `temperature` and `top_p`, of which numbers may also be dictionaries by
                level, as `hop_fractions` may; `do_sample=False` for the likeliest code; `levels` to write; `seed` (the
                songs of a batch count on from it); `parallel_windows` (see `plan_song`); `recall`, seconds such as
                (0, 8) or (0, 8, 30) of a stretch that later windows read again; `follow_lyrics`
                (docs/how-to/lyrics-and-time.md); `takes` of the top level, of which the best `keep` are refined,
                `choose_by` "likelihood", "self" or "lyrics" (docs/how-to/takes-and-repaint.md); `stereo`
                (docs/how-to/stereo.md); `batch`, `chunk` to bound memory; `backend`, `jacobi` (see `sample_window`);
                `return_codes`; `return_alignment`. See docs/reference/generation.md.

        Raises:
            ValueError: what cannot be sampled to its end, before the first step, in one sentence.
            FloatingPointError: logits that are not finite or that a hook leaves empty, with level, song and position; a
                VQ-VAE whose weights or sound are not finite.
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
        songs = decoded_songs(self.vqvae, batches, states, finest, arguments.return_codes, second)
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
        levels = sorted({level_plan.level for batch in batches for level_plan in batch.plan.levels})
        self.check_priors(levels)
        check_sound_weights(self.vqvae, levels[0])

    def _check_takes(self, batches: Sequence[SongBatch], arguments: GenerateArguments) -> None:
        check_takes(self.config, batches, arguments.taking)
        rows = max(len(batch.songs) * batch.plan.levels[0].settings.rows for batch in batches)
        self._check_rows(rows, arguments, f"takes={arguments.taking.takes}")

    def _check_rows(self, rows: int, arguments: GenerateArguments, said: str) -> None:
        prior, rows = getattr(self, f"prior_{self.num_levels - 1}"), min(rows, arguments.compute.batch or rows)
        itemsize = self.bytes_per_weight if prior is None else prior.dtype.itemsize
        check_memory(self.config.prior_configs[-1], self.device, itemsize, rows, said)

    def check_songs(
        self,
        inputs: Mapping[str, Any] | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsHook | LogitsProcessorList | None = None,
        codes: Codes | None = None,
        **kwargs: Any,
    ) -> None:
        """Refuse what `generate` would refuse of the same songs, without writing a code; prompts are encoded.

        Raises:
            ValueError: as `generate` does.
        """
        self._batches(inputs, generation_config, logits_processor, codes, kwargs)

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
        given, codes = copied(self.config, given, codes, copies, are_takes=taking is not None)
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
        say_uncalled(self, JukeboxModel, "the model", "model.prior(level).transformer")
        say_uncalled(self.vqvae, JukeboxVQVAE, "the VQ-VAE", "model.vqvae.decoders[level]")
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
            self.check_priors([level])
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
        check_sound_weights(self.vqvae, min(asked[0].spans))
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
        songs = decoded_songs(self.vqvae, batches, states, min(asked[0].spans), arguments.return_codes)
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
        self.check_priors(here for here in self.loaded_levels if level in (None, here))
        return score_songs(self, inputs, codes, level)

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
        """The processor of the repository that this was opened from; None where there is none that fits.

        Raises:
            OSError, ValueError: lists that cannot be read.
        """
        if self._source is None:
            return None
        check_name(self._source.name_or_path)  # a folder may have gone since
        where = self._source.name_or_path, self._source.hub
        own = processor_of(self._source.config, *where, trusts=bool(self.is_remote_code()))
        return None if own is None else self.with_adapter_names(own)

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
