"""Arguments of transformers' `generate` that mean nothing for a song, with what to say instead.

Flows in: the cuts that songs take. Flows out: a table by name, for `generation_arguments.py`.
"""

from ..checks.foreign_arguments import Foreign
from ..sampling.sampling_ops import CUTS

_OF_TEXT = "codes are no text"
_ONE_BY_ONE = "every code is drawn, one after the other, without beams or candidates"
_PENALTIES = "codes are no words that could be repeated; a logits_processor may change any logits"
_OUR_CUTS = f"use {', '.join(list(CUTS)[:-1])} or {list(CUTS)[-1]}, or a logits_processor"
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
    **{name: Foreign(_OUR_CUTS, (0.0,)) for name in ("top_h", "eta_cutoff") if name not in CUTS},
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
# Set by transformers' own pipelines, whatever the model; it says what padding is, which our tensors say themselves.
UNASKED = ("pad_token_id", "transformers_version")
