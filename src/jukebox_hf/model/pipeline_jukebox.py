"""JukeboxPipeline: words in, a song out, as transformers' text-to-audio pipelines do it.

Flows in: lyrics, or a dictionary of words, or many of these. Flows out: `{"audio", "sampling_rate"}` per song. The same
arguments work in transformers 5.17 and 5.23, whose own pipelines hand them on in different ways.
"""

import copy
import itertools
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, TextToAudioPipeline
from transformers.utils import logging

from .alignment.alignment import times_as_rows
from .alignment.alignment_times import time_lyrics, times_of_rows
from .checks.repository_names import saving_folder
from .checks.text_input import shown
from .checks.validation import is_integer, plain, read_flag, require
from .files.loading_arguments import PUSH_ARGUMENTS, check_present
from .inputs.audio_containers import one_each
from .inputs.feature_extraction_jukebox import JukeboxFeatureExtractor
from .inputs.processing_jukebox import SONG_WORDS, JukeboxProcessor, merged
from .inputs.song_inputs import AUTO, NOT_SAID
from .inputs.tokenization_jukebox import JukeboxTokenizer
from .modeling_jukebox import JukeboxModel
from .networks.free_memory import free_bytes
from .songs.generation_arguments import KNOWN
from .songs.lyric_writing import lyrics_for, writing_level
from .takes.repaint import refuse_lengths

logger = logging.get_logger(__name__)

# Arguments of `generate` that a call may say directly; seconds and seed are words of a song.
_DIRECT = (
    *(name for name in KNOWN if name not in SONG_WORDS and not name.startswith("return_")),
    "codes",
    "generation_config",
    "repaint",
    "logits_processor",
    "stopping_criteria",
    "streamer",
    "offload",
    "keep_loaded",
)
_OF_BATCHES = ("batch_size", "num_workers")
_OF_CALLS = ("stopping_criteria", "streamer", "offload", "keep_loaded")  # which say nothing of songs
_TYPED, _TIMES = "lyric_characters", "lyric_times"  # lyrics as code points and their times, on the way to their timing
_WRITTEN = "written_characters"  # lyrics that the model wrote, as code points
_TOLD = "told_as_json"  # of takes, as code points too: a batch is taken apart as tensors


class JukeboxPipeline(TextToAudioPipeline):
    """Songs from lyrics, artist and genre.

    `import jukebox_hf; pipeline("text-to-audio", model=...)` gives this class for a Jukebox. Words may be given when it
    is made, and replaced in every call.

    Args:
        model: a `JukeboxModel`.
        processor: a `JukeboxProcessor`; made from `tokenizer` and the model's configuration if None.
        tokenizer: a `JukeboxTokenizer`.

    Raises:
        ValueError: neither processor nor tokenizer.
    """

    _load_tokenizer = False
    _load_processor = True
    _default_generation_config = None

    def __init__(
        self,
        model: JukeboxModel,
        *args: Any,
        processor: JukeboxProcessor | None = None,
        tokenizer: Any = None,
        **kwargs: Any,
    ) -> None:
        _check_making(model, kwargs)
        processor = processor or (model.own_processor() if tokenizer is None else None)
        if hasattr(processor, "lyric_level") and tokenizer is not None:
            _check_ours("tokenizer", tokenizer, "label_versions", JukeboxTokenizer)
            is_models = tokenizer.name_or_path != "" and tokenizer.name_or_path == model.config.name_or_path
            if not is_models and _lists(tokenizer) != _lists(processor.tokenizer):
                processor = None  # transformers found it beside the model, and this one was given
        if not hasattr(processor, "lyric_level"):
            tokenizer = processor or tokenizer
            if tokenizer is None:
                tokenizer = JukeboxTokenizer.by_number(model.config)
                logger.warning(
                    "this Jukebox has no lists of artists and genres, so name them by their ids, such as artist=17; "
                    "convert it with --labels to name them in words"
                )
            _check_ours("tokenizer", tokenizer, "label_versions", JukeboxTokenizer)
            processor = JukeboxProcessor.from_config(model.config, tokenizer)
        require(
            processor.sampling_rate == model.config.sampling_rate,
            f"processor has a sampling_rate of {processor.sampling_rate}, but the model sings at "
            f"{model.config.sampling_rate}; use the processor that belongs to it, or leave it out",
        )
        self._generation_config: GenerationConfig | None = None
        self._keeps_priors: bool | None = None
        kwargs = {"sampling_rate": model.config.sampling_rate} | kwargs
        _check_extractor(kwargs.get("feature_extractor"), processor.feature_extractor)
        kwargs["feature_extractor"] = processor.feature_extractor
        super().__init__(model, *args, processor=processor, tokenizer=processor.tokenizer, **kwargs)

    def __call__(self, text_inputs: Any = None, **words: Any) -> Any:
        """Write one song, or many.

        Args:
            text_inputs: lyrics, a dictionary of words, or a list, generator or data set of these; None: the words say
                all.
            words: what songs do not say themselves, as `JukeboxProcessor` takes it: `lyrics`, `artist`, `genre`,
                `seconds`, `song_seconds`, `offset`, `lyrics_from`, `prompt`, `seed`; `strict`; `return_codes` to have
                the codes of every level and the seed too; `return_alignment` to have the lyrics in time
                (`TimedLyrics`); `generate_kwargs` for `JukeboxModel.generate`; `batch_size`.

        Returns:
            `{"audio": float32 (S,), "sampling_rate": int}`, for a list a list of them, for a generator an iterator;
            with `lyrics="auto"` the `"lyrics"` that the model wrote;
            with `takes=8` the best of as many, and `"takes"`, what the scores of all of them are; with
            `stereo=True` audio of (2, S) and its `"correlation"`; with
            `repaint=(4.2, 6.8)` and `codes` these seconds of an older song sung again (`JukeboxModel.repaint`).
        """
        _check_batches(words)
        require(
            "inputs" not in words, "inputs= is called text_inputs= here, or lyrics= for words alone; say one of them"
        )
        if text_inputs is None or isinstance(text_inputs, (str, Mapping)):
            return super().__call__(text_inputs or {}, **words)
        is_indexed = hasattr(text_inputs, "__getitem__") and hasattr(text_inputs, "__len__")
        has_order = (hasattr(text_inputs, "__iter__") or is_indexed) and not isinstance(text_inputs, (bytes, Set))
        require(
            has_order,
            f"text_inputs={shown(text_inputs)} must be lyrics, a dictionary of words, or a list of these",
        )
        require(
            not (hasattr(text_inputs, "to_dict") and hasattr(text_inputs, "columns")),
            "text_inputs is a table, which goes through its columns; give its rows: table.to_dict('records')",
        )
        labels = getattr(text_inputs, "index", ()) if hasattr(text_inputs, "to_dict") else ()
        require(
            not any(isinstance(label, str) for label in labels),
            "text_inputs is a row of a table, whose values would all be lyrics; give row.to_dict(), or column.tolist()",
        )
        prompts: Iterable[Any] = itertools.repeat(None)  # the processor has the one for all
        prompt = words.get("prompt", self._preprocess_params.get("prompt"))
        if prompt is not None and hasattr(text_inputs, "__len__"):
            prompts = one_each(prompt, len(text_inputs))
            words = {name: word for name, word in words.items() if name != "prompt"}
        if not hasattr(text_inputs, "__iter__"):  # a data set that is only indexed, such as transformers' KeyDataset
            text_inputs = map(text_inputs.__getitem__, range(len(text_inputs)))
        seed = plain(words.pop("seed", self._preprocess_params.get("seed")))
        pairs = enumerate(zip(text_inputs, prompts, strict=False))
        songs = (merged(song, {"seed": seed, "prompt": prompt}, index) for index, (song, prompt) in pairs)
        is_list = isinstance(text_inputs, (list, tuple))
        if is_list and not text_inputs:
            self._sanitize_parameters(**{name: word for name, word in words.items() if name not in _OF_BATCHES})
            return []
        return super().__call__(list(songs) if is_list else _lazily(songs), **words)

    @property
    def generation_config(self) -> GenerationConfig:
        """What songs are written with where a call says nothing else; to be changed in place."""
        if self._generation_config is None:
            given = dict(getattr(self, "_generate_kwargs", {}))
            self._generation_config = copy.deepcopy(given.pop("generation_config", self.model.generation_config))
            for name, value in given.items():
                setattr(self._generation_config, name, value)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, config: GenerationConfig) -> None:
        self._generation_config = config

    def save_pretrained(self, save_directory: str | PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write a whole repository: processor, lists of names, and all that `JukeboxModel.save_pretrained` writes.

        Args:
            save_directory: a folder, made if need be.
            push_to_hub: also upload it; `repo_id` (else the folder's name) and what `push_to_hub` takes go along.
            kwargs: as `JukeboxModel.save_pretrained` takes them.

        Raises:
            ValueError: a model that would not open again; nothing is written then.
        """
        folder = saving_folder(save_directory)
        repo_id = kwargs.pop("repo_id", folder.name)
        if isinstance(self.model, JukeboxModel):  # and not in peft's own
            self.model.check_saved()
        # First, so that the model finds a processor that fits and writes no other.
        if kwargs.get("is_main_process", True):
            self.processor.save_pretrained(save_directory)
        self.model.save_pretrained(save_directory, **kwargs)
        if push_to_hub:
            self.push_to_hub(
                repo_id, **{name: kwargs[name] for name in (*PUSH_ARGUMENTS, "max_shard_size") if name in kwargs}
            )

    def _sanitize_parameters(
        self,
        generate_kwargs: Mapping[str, Any] | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
        return_codes: bool | None = None,
        return_alignment: bool | None = None,
        **words: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name, said in (
            ("generate_kwargs", generate_kwargs),
            ("forward_params", forward_params),
            ("preprocess_params", preprocess_params),
        ):
            require(said is None or isinstance(said, Mapping), f"{name}={said!r:.80} must be a dictionary of arguments")
        wanted = {"return_codes": return_codes, "return_alignment": return_alignment}
        for name, said in (wanted | {name: words.get(name) for name in ("strict", "offload")}).items():
            read_flag(name, said)
        direct = {name: words.pop(name) for name in _DIRECT if name in words}
        unknown = sorted(set(words) - {*SONG_WORDS, "strict"})
        require(
            not unknown,
            f"the pipeline does not know {', '.join(unknown)}; it takes {', '.join(SONG_WORDS)}, strict, return_codes, "
            f"return_alignment, batch_size, {', '.join(_DIRECT)}, and generate_kwargs={{...}} for all else",
        )
        twice = sorted(direct.keys() & (generate_kwargs or {}).keys())
        require(not twice, f"{', '.join(twice)} is said twice, by itself and in generate_kwargs; say it once")
        generate = {**(forward_params or {}), **direct, **(generate_kwargs or {})}
        if generate.get("repaint") is not None:
            refuse_lengths(words)
        seconds, codes = words.get("seconds"), generate.get("max_new_tokens")
        require(
            seconds is None or codes is None,
            f"seconds={seconds!r:.80} and max_new_tokens={codes!r:.80} both give the length; say one of them",
        )
        copies = plain(generate.get("num_return_sequences"))
        require(
            copies in (None, 1),
            f"num_return_sequences={copies!r}, but a pipeline gives one song for each it is given; list the "
            f"song several times",
        )
        keep = plain(generate.get("keep"))
        require(
            keep in (None, 1),
            f"keep={keep!r}, but a pipeline gives one song for each it is given, the best of its takes; use "
            f"JukeboxModel.generate for more",
        )
        wanted = {name: value for name, value in wanted.items() if value is not None}
        aligned = {name: value for name, value in wanted.items() if name == "return_alignment"}
        return {**(preprocess_params or {}), **words, **aligned}, {**generate, **wanted}, wanted

    def get_iterator(self, inputs: Any, num_workers: int, batch_size: int, *params: Mapping[str, Any]) -> Any:
        """What goes through a list; all of its songs are checked before the first is sung, as those after it are lost.

        Raises:
            ValueError: a song that cannot be sung to its end, in one sentence.
        """
        if isinstance(inputs, list) and len(inputs) > 1:
            with warnings.catch_warnings(), torch.random.fork_rng(devices=()):
                warnings.simplefilter("ignore")  # each is said when its song is sung
                self._check_songs(inputs, *params[:2])
        return super().get_iterator(inputs, num_workers, batch_size, *params)

    def _check_songs(self, songs: Sequence[Any], words: Mapping[str, Any], generate: Mapping[str, Any]) -> None:
        said, stretch = self._said(generate)
        own = {name: value for name, value in said.items() if name not in _OF_CALLS}
        for song in songs:
            if _merged_with_all(song, words)["lyrics"] == AUTO:
                continue  # which the model writes when its song comes
            inputs = self._ensure_tensor_on_device(dict(self.preprocess(song, **words)), device=self.device)
            if stretch is None:
                tensors = {name: tensor for name, tensor in inputs.items() if name not in (_TYPED, _WRITTEN)}
                self.model.check_songs(tensors, **own)

    def preprocess(self, song: Any, return_alignment: bool = False, **words: Any) -> Mapping[str, Tensor]:
        """Words to tensors, one row; the lyrics as typed go along where they are to be timed, or were written now."""
        song, words, written = self._worded(song, words)
        inputs = self.model.with_adapter_names(self.processor)(song, **words)
        inputs[_WRITTEN] = torch.tensor([[*map(ord, written)] or [0]], device="cpu")
        if return_alignment:
            typed = _merged_with_all(song, words)["lyrics"] or ""
            inputs[_TYPED] = torch.tensor([[*map(ord, typed)] or [0]], device="cpu")
        return inputs

    def _worded(self, song: Any, words: dict[str, Any]) -> tuple[Any, dict[str, Any], str]:
        """The song and the words for all, and what the model wrote where they leave the lyrics to it: "" elsewhere."""
        given = _merged_with_all(song, words)
        if given["lyrics"] != AUTO:
            return song, words, ""
        if given["seed"] is None:
            given["seed"] = int(torch.randint(2**31, (1,), device="cpu"))
        prior = self.model.config.prior_configs[writing_level(self.model.config)]
        seconds = given["song_seconds"] or given["seconds"] or prior.window_samples / prior.sampling_rate
        said = {name: given[name] for name in ("artist", "genre", "seed")}
        processor = self.model.with_adapter_names(self.processor)
        given["lyrics"] = lyrics_for(self.model, processor, processor(said), seconds - (given["lyrics_from"] or 0.0))
        own = {name: value for name, value in given.items() if value is not None}
        return own, {name: value for name, value in words.items() if name not in SONG_WORDS}, given["lyrics"]

    def _forward(self, model_inputs: Mapping[str, Tensor], **generate: Any) -> dict[str, Tensor]:
        """Songs as batch-first tensors only, so that transformers can take a batch apart again."""
        inputs = dict(model_inputs)
        typed, written = inputs.pop(_TYPED, None), inputs.pop(_WRITTEN)
        said, stretch = self._said({"keep_loaded": self._keep_loaded(), **generate})
        sing = self.model.generate if stretch is None else partial(self.model.repaint, stretch=stretch)
        output = sing(inputs, **said)
        codes = {f"codes_{level}": codes for level, codes in enumerate(output.codes or ())}
        if output.alignment is not None and typed is not None:
            rows = [torch.from_numpy(times_as_rows(song)) for song in output.alignment]  # (C, 5) each
            codes |= {_TYPED: typed, _TIMES: pad_sequence(rows, batch_first=True)}
        told = [{"takes": [take.to_dict() for take in takes]} for takes in output.takes or ()]
        if output.correlation is not None:
            told = told or [{} for _ in output.correlation]
            told = [one | {"correlation": value} for one, value in zip(told, output.correlation.tolist(), strict=True)]
        told += [{"repaint": scores.to_dict()} for scores in output.repaint or ()]
        if told:
            rows = [torch.tensor([*map(ord, json.dumps(song))], device="cpu") for song in told]
            codes[_TOLD] = pad_sequence(rows, batch_first=True, padding_value=ord(" "))
        codes[_WRITTEN] = written
        return {"audio": output.audio, "audio_lengths": output.audio_lengths, "seeds": output.seeds, **codes}

    def _said(self, generate: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """What the model is told for a call, and the stretch that is to be sung again, if any."""
        given = dict(getattr(self, "_generate_kwargs", {}))  # from 5.23 on: what the pipeline was made with
        if self._generation_config is not None:  # looked at, so perhaps changed; or 5.17, which makes it itself
            given = {"generation_config": self._generation_config}
        if "generation_config" in generate:  # replaces all of them, as in transformers
            given = {}
        said = {**given, **generate}
        return said, said.pop("repaint", None)

    def _keep_loaded(self) -> bool | None:
        """Whether the model keeps its priors for the next call: unless memory is short or its owner has decided (None).

        Memory is short where the priors that are still to be loaded, counted at 4 bytes a weight (2 in half precision),
        would take more than half of what the device has left when the pipeline first sings.
        """
        model = self.model
        if model.keep_loaded is not None or model.offload:
            return None
        if self._keeps_priors is None:
            absent = set(range(model.num_levels)) - set(model.loaded_levels)
            weights = sum(model.config.prior_configs[level].parameter_count() for level in absent)
            self._keeps_priors = weights * model.bytes_per_weight <= free_bytes(model.device) // 2
        return self._keeps_priors or None

    def postprocess(
        self, songs: Mapping[str, Tensor], return_codes: bool = False, return_alignment: bool = False
    ) -> dict[str, Any]:
        """One song as an array, without its padding."""
        audio = self.processor.decode(songs["audio"], songs["audio_lengths"][0])
        result = {"audio": audio, "sampling_rate": self.sampling_rate}
        if return_codes:
            levels = [songs[name][0] for name in sorted(songs) if name.startswith("codes_")]
            result["codes"] = tuple(codes[codes != NOT_SAID].numpy() for codes in levels)
            result["seed"] = int(songs["seeds"][0])
        if _TOLD in songs:
            result |= json.loads("".join(map(chr, songs[_TOLD][0].tolist())))
        if written := "".join(map(chr, songs[_WRITTEN][0].tolist())).strip("\0"):
            result["lyrics"] = written
        if return_alignment:
            lyrics = "".join(map(chr, songs[_TYPED][0].tolist())).lstrip("\0")
            encoding = self.processor.encode_lyrics(lyrics)
            times = times_of_rows(songs[_TIMES][0].cpu().numpy()[: len(encoding.ids)], encoding.offsets)
            result["alignment"] = time_lyrics(lyrics, times, audio.shape[-1] / self.sampling_rate)
        return result


def _merged_with_all(song: Any, words: Mapping[str, Any]) -> dict[str, Any]:
    """What a song says, and beneath it the words for all."""
    return merged(song or None, {name: words.get(name) for name in SONG_WORDS}, 0)


def _check_ours(name: str, given: Any, mark: str, wanted: type) -> None:
    """Refuse what was made for another model; by what it can do, for one's code may have come with a repository.

    Raises:
        ValueError: in one sentence.
    """
    kind = wanted.__name__
    require(hasattr(given, mark), f"{name}={type(given).__name__} is not of Jukebox; use a {kind}, or leave it out")


def _lists(tokenizer: JukeboxTokenizer) -> tuple[Any, ...]:
    """What two tokenizers that read alike have in common."""
    words = {version: (dict(own.artists), dict(own.genres)) for version, own in tokenizer.vocabularies.items()}
    return list(tokenizer.label_versions), tokenizer.lyric_characters, words


def _check_making(model: JukeboxModel, said: Mapping[str, Any]) -> None:
    """Refuse what a pipeline cannot be made with, before anything is moved."""
    for name in ("image_processor", "video_processor"):
        require(said.get(name) is None, f"{name}= means nothing to a Jukebox, which neither sees nor shows; drop it")
    rate, own = said.get("sampling_rate"), model.config.sampling_rate
    require(rate in (None, own), f"sampling_rate={rate!r}, but songs of this model have {own}; resample what it gives")
    device = said.get("device")
    if isinstance(device, (str, torch.device)) and str(device) != "meta":
        check_present("device", device, device)
    _check_batches(said)


def _check_extractor(given: Any, own: JukeboxFeatureExtractor) -> None:
    """A feature extractor that was given must hear as the model does."""
    if given is None:
        return
    if isinstance(given, (str, PathLike)):
        given = JukeboxFeatureExtractor.from_pretrained(given)
    _check_ours("feature_extractor", given, "hop_length", JukeboxFeatureExtractor)
    found, wanted = ((each.sampling_rate, each.hop_length) for each in (given, own))
    require(
        found == wanted,
        f"feature_extractor has (sampling_rate, hop_length)={found}, but this model needs {wanted}; leave it out",
    )


def _check_batches(said: Mapping[str, Any]) -> None:
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        count = plain(said.get(name))
        require(
            count is None or (is_integer(count) and count >= least),
            f"{name}={count!r:.80} must be an integer, {least} or more",
        )


def _lazily(songs: Iterable[Any]) -> Any:
    """A generator, which transformers streams; anything else iterable it would take for one input."""
    yield from songs
