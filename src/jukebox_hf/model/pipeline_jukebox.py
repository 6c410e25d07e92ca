"""JukeboxPipeline: words in, a song out, as transformers' text-to-audio pipelines do it.

Flows in: lyrics, or a dictionary of words, or many of these. Flows out: `{"audio", "sampling_rate"}` per song. The same
arguments work in transformers 5.17 and 5.23, whose own pipelines hand them on in different ways.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import TextToAudioPipeline

from .alignment import times_as_rows
from .alignment_times import time_lyrics, times_of_rows
from .modeling_jukebox import JukeboxModel
from .processing_jukebox import SONG_WORDS, JukeboxProcessor, merged
from .song_orders import NOT_SAID
from .validation import require

_TYPED, _TIMES = "lyric_characters", "lyric_times"  # lyrics as code points and their times, on the way to their timing


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
        if not hasattr(processor, "lyric_level"):
            tokenizer = processor or tokenizer
            require(
                tokenizer is not None,
                "the pipeline needs a processor or a tokenizer, but the repository has none; convert it with --labels",
            )
            processor = JukeboxProcessor.from_config(model.config, tokenizer)
        kwargs = {"sampling_rate": model.config.sampling_rate} | kwargs
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
            `{"audio": float32 (S,), "sampling_rate": int}`, for a list a list of them, for a generator an iterator.
        """
        if text_inputs is None or isinstance(text_inputs, (str, Mapping)):
            return super().__call__(text_inputs or {}, **words)
        seed = words.pop("seed", self._preprocess_params.get("seed"))
        songs = (merged(song, {"seed": seed}, place) for place, song in enumerate(text_inputs))
        is_list = isinstance(text_inputs, (list, tuple))
        return super().__call__(list(songs) if is_list else _lazily(songs), **words)

    def _sanitize_parameters(
        self,
        generate_kwargs: Mapping[str, Any] | None = None,
        forward_params: Mapping[str, Any] | None = None,
        preprocess_params: Mapping[str, Any] | None = None,
        return_codes: bool | None = None,
        return_alignment: bool | None = None,
        **words: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        unknown = sorted(set(words) - {*SONG_WORDS, "strict"})
        require(
            not unknown,
            f"the pipeline does not know {', '.join(unknown)}; it takes {', '.join(SONG_WORDS)}, strict, return_codes, "
            f"return_alignment, batch_size, and generate_kwargs={{...}} for all else",
        )
        generate = {**(forward_params or {}), **(generate_kwargs or {})}
        wanted = {"return_codes": return_codes, "return_alignment": return_alignment}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        aligned = {name: value for name, value in wanted.items() if name == "return_alignment"}
        return {**(preprocess_params or {}), **words, **aligned}, {**generate, **wanted}, wanted

    def preprocess(self, song: Any, return_alignment: bool = False, **words: Any) -> Mapping[str, Tensor]:
        """Words to tensors, one row; the lyrics as typed go along where they are to be timed."""
        inputs = self.processor(song, **words)
        if return_alignment:
            typed = merged(song or None, {name: words.get(name) for name in SONG_WORDS}, 0)["lyrics"] or ""
            inputs[_TYPED] = torch.tensor([[*map(ord, typed)] or [0]])
        return inputs

    def _forward(self, model_inputs: Mapping[str, Tensor], **generate: Any) -> dict[str, Tensor]:
        """Songs as batch-first tensors only, so that transformers can take a batch apart again."""
        given = getattr(self, "_generate_kwargs", None)  # 5.23: what the pipeline was made with
        if given is None:
            given = {"generation_config": vars(self).get("generation_config")}  # 5.17: the same, made one object
        if "generation_config" in generate:  # replaces all of them, as in transformers
            given = {}
        inputs = dict(model_inputs)
        typed = inputs.pop(_TYPED, None)
        output = self.model.generate(inputs, **{**given, **generate})
        codes = {f"codes_{level}": codes for level, codes in enumerate(output.codes or ())}
        if output.alignment is not None and typed is not None:
            rows = [torch.from_numpy(times_as_rows(song)) for song in output.alignment]  # (C, 5) each
            codes |= {_TYPED: typed, _TIMES: pad_sequence(rows, batch_first=True)}
        return {"audio": output.audio, "audio_lengths": output.audio_lengths, "seeds": output.seeds, **codes}

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
        if return_alignment:
            lyrics = "".join(map(chr, songs[_TYPED][0].tolist())).lstrip("\0")
            encoding = self.processor.encode_lyrics(lyrics)
            times = times_of_rows(songs[_TIMES][0].cpu().numpy()[: len(encoding.ids)], encoding.offsets)
            result["alignment"] = time_lyrics(lyrics, times, len(audio) / self.sampling_rate)
        return result


def _lazily(songs: Iterable[Any]) -> Any:
    """A generator, which transformers streams; anything else iterable it would take for one input."""
    yield from songs
