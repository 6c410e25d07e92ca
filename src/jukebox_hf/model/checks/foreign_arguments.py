"""Arguments of other models of transformers that a Jukebox does not use: accepted where true anyway, else refused.

Flows in: the name and value of an argument. Flows out: nothing, or a ValueError that says what to say instead. Nothing
is ever ignored that would have changed another model's answer.
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

from .validation import plain, require


@dataclass(frozen=True)
class Foreign:
    """An argument of transformers that means nothing here.

    Attributes:
        cure: why, and what to say instead.
        harmless: values that ask for what happens anyway; None and empty lists always do.
    """

    cure: str
    harmless: tuple[Any, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether a value changes nothing."""
        value = plain(value)
        if value is None or (isinstance(value, Sized) and not isinstance(value, str) and len(value) == 0):
            return True
        return isinstance(value, (bool, int, float, str)) and value in self.harmless


_OF_TEXT = "codes are no text"
_ONE_BY_ONE = "every code is drawn, one after the other, without beams or candidates"
_PENALTIES = "codes are no words that could be repeated; a logits_processor may change any logits"
_CUTS = "use top_k, top_p, min_p, typical_p or epsilon_cutoff, or a logits_processor"
_NOT_KEPT = "nothing is kept of single steps; JukeboxPrior.forward gives logits, hidden states and attentions"
_LENGTH = "say seconds=, or max_new_tokens= for top-level codes"
_BY_BACKEND = "how steps are computed is said by backend="
_DRAFTS = "no smaller model drafts codes; parallel_windows=True is what makes songs faster"
_IDS = Foreign("the codes of songs have no special ones")

GENERATE = {
    **{
        name: Foreign(_LENGTH)
        for name in ("max_length", "max_time", "stop_strings", "exponential_decay_length_penalty")
    },
    **{name: Foreign(_LENGTH, (0,)) for name in ("min_length", "min_new_tokens")},
    **{name: Foreign(_ONE_BY_ONE, (1,)) for name in ("num_beams", "num_beam_groups")},
    **{name: Foreign(_ONE_BY_ONE) for name in ("constraints", "force_words_ids", "dola_layers")},
    **{name: Foreign(_ONE_BY_ONE, (False,)) for name in ("early_stopping", "use_mtp", "low_memory")},
    **{name: Foreign(_ONE_BY_ONE, (0.0,)) for name in ("diversity_penalty", "penalty_alpha")},
    "length_penalty": Foreign(_ONE_BY_ONE, (1.0,)),
    **{name: Foreign(_PENALTIES, (1.0,)) for name in ("repetition_penalty", "encoder_repetition_penalty")},
    **{name: Foreign(_PENALTIES, (0,)) for name in ("no_repeat_ngram_size", "encoder_no_repeat_ngram_size")},
    **{name: Foreign(_CUTS, (0.0,)) for name in ("top_h", "eta_cutoff")},
    **{
        name: Foreign("a logits_processor may forbid or force codes", (False,))
        for name in (
            "bad_words_ids",
            "suppress_tokens",
            "begin_suppress_tokens",
            "sequence_bias",
            "renormalize_logits",
            "remove_invalid_values",
            "prefix_allowed_tokens_fn",
        )
    },
    **{
        name: Foreign(
            "guidance_on= says what guidance_scale moves a song away from, and no song is that of other words"
        )
        for name in ("negative_prompt_ids", "negative_prompt_attention_mask")
    },
    **{name: Foreign(_OF_TEXT, (False,)) for name in ("token_healing", "watermarking_config", "tokenizer")},
    **{
        name: Foreign(_NOT_KEPT, (False,))
        for name in ("output_attentions", "output_hidden_states", "output_scores", "output_logits")
    },
    "return_dict_in_generate": Foreign("the answer is always a JukeboxGenerateOutput; take its .audio", (True,)),
    "use_cache": Foreign("songs are always written with caches", (True,)),
    "cache_implementation": Foreign("caches are always static", ("static",)),
    **{
        name: Foreign("caches are made by the model itself")
        for name in ("cache_config", "max_cache_len", "past_key_values")
    },
    **{
        name: Foreign(_BY_BACKEND, (False,))
        for name in ("compile_config", "continuous_batching_config", "custom_generate")
    },
    "disable_compile": Foreign(_BY_BACKEND, (False, True)),
    "prefill_chunk_size": Foreign("say chunk="),
    "synced_gpus": Foreign("a song is written on one device", (False,)),
    **{
        name: Foreign(_DRAFTS, (False,))
        for name in (
            "assistant_model",
            "assistant_tokenizer",
            "is_assistant",
            "prompt_lookup_num_tokens",
            "max_matching_ngram_size",
            "assistant_early_exit",
            "assistant_ensemble_weight",
            "speculation_type",
        )
    },
    "num_assistant_tokens": Foreign(_DRAFTS, (20,)),
    "num_assistant_tokens_schedule": Foreign(_DRAFTS, ("constant",)),
    "assistant_confidence_threshold": Foreign(_DRAFTS, (0.4,)),
    **{name: Foreign(_DRAFTS, (10,)) for name in ("assistant_lookbehind", "target_lookbehind")},
    **dict.fromkeys(
        ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id"), _IDS
    ),
    "input_ids": Foreign("make inputs with JukeboxProcessor"),
    "attention_mask": Foreign("lyric_lengths and prompt_lengths say what is padding"),
}
FORWARD = {
    "input_ids": Foreign("codes are given as codes="),
    "inputs_embeds": Foreign("codes are given as codes="),
    "labels": Foreign("the codes are their own targets, shifted by one; return_loss=True gives the loss"),
    "attention_mask": Foreign("every code sees those before it, and lyrics are padded with 0"),
    **{name: Foreign("positions count from the start of the window") for name in ("position_ids", "cache_position")},
    "past_key_values": Foreign("use prefill and step with a JukeboxCache"),
    "use_cache": Foreign("use prefill and step with a JukeboxCache", (False,)),
    **{name: Foreign("a prior has no decoder apart") for name in ("decoder_input_ids", "decoder_attention_mask")},
    "decoder_inputs_embeds": Foreign("a prior has no decoder apart"),
    **{name: Foreign("codes answer no questions") for name in ("start_positions", "end_positions")},
    "num_items_in_batch": Foreign("losses are means already"),
}
_LONGEST_ROW = "nothing is cut or filled up beyond the longest row of a batch"
PREPARE = {
    "truncation": Foreign("lyrics and recordings are taken whole, and each window reads its part of them", (False,)),
    **{name: Foreign(_LONGEST_ROW) for name in ("max_length", "pad_to_multiple_of", "stride")},
    "return_attention_mask": Foreign("lengths and padding_mask say where padding is", (True, False)),
    "return_token_type_ids": Foreign("lyrics are of one type", (False,)),
    "return_overflowing_tokens": Foreign(_LONGEST_ROW, (False,)),
    "return_special_tokens_mask": Foreign("lyrics have no special tokens", (False,)),
    "return_offsets_mapping": Foreign("processor.encode_lyrics gives the offset of every character", (False,)),
    "return_length": Foreign("lengths are always given", (True, False)),
    "add_special_tokens": Foreign("lyrics have no special tokens", (True, False)),
    "is_split_into_words": Foreign("lyrics are one text per song", (False,)),
    "padding_side": Foreign("padding stands in front, where priors expect it", ("left",)),
    "verbose": Foreign("warnings are Python's", (True, False)),
    "do_normalize": Foreign("sound is taken as loud as it is", (False,)),
    **{name: Foreign("a song is made of words and sound") for name in ("images", "videos")},
    **{
        name: Foreign("say the words of a song themselves")
        for name in ("text_kwargs", "audio_kwargs", "common_kwargs", "processor_kwargs", "text_pair")
    },
}
# Set by transformers' own pipelines, whatever the model; it says what padding is, which our tensors say themselves.
UNASKED = ("pad_token_id", "transformers_version")


def check_foreign(caller: str, table: Mapping[str, Foreign], name: str, value: Any, takes: str) -> None:
    """Refuse an argument that is not in the caller's own list, unless it asks for what happens anyway.

    Args:
        caller: the function, for the sentence.
        table: arguments of other models.
        takes: what the caller takes instead, for the sentence.

    Raises:
        ValueError: in one sentence.
    """
    foreign = table.get(name)
    if foreign is None:
        raise ValueError(f"{caller}: unknown argument {name}; known: {takes}")
    shown = repr(value) if isinstance(plain(value), (bool, int, float, str)) else f"({type(value).__name__})"
    require(foreign.allows(value), f"{caller} does not use {name}={shown[:80]}: {foreign.cure}")


def no_text_generation(*args: Any, **kwargs: Any) -> None:
    """In the place of `prepare_inputs_for_generation`, which peft looks up in what it takes for a language model.

    Raises:
        ValueError: always, with the cure.
    """
    raise ValueError(
        "one prior writes codes, not text, and has no generate; sample a window with jukebox_hf.sample_window, or "
        "write songs with JukeboxModel.generate"
    )
