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
