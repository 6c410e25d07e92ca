"""Lyrics in the tokens of recognisers: characters, pieces of words, and what neither can write."""

from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jukebox_hf.recognition.ctc_alphabet import CTCAlphabet


def characters(letters):
    vocabulary = {token: index for index, token in enumerate(["<pad>", "|", "<unk>", *letters])}
    return SimpleNamespace(
        get_vocab=lambda: vocabulary, all_special_ids=[0, 2], word_delimiter_token_id=1, unk_token_id=2
    )


def written(found, vocabulary):
    names = {index: token for token, index in vocabulary.items()}
    return [names[index] for index in found.ids]


@pytest.mark.parametrize("letters", ["abcdef'", "ABCDEF'"])
def test_words_are_written_in_the_case_that_is_known_with_one_mark_between_them(letters):
    tokenizer = characters(letters)
    lyrics = "  Bad,  cab --\n\nfaçade'd!"
    found = CTCAlphabet(tokenizer, 0, "a-ctc").encode(lyrics)
    assert "".join(written(found, tokenizer.get_vocab())).lower() == "bad|cab|facade'd"
    for token, sources in zip(written(found, tokenizer.get_vocab()), found.sources, strict=True):
        assert (token == "|") == (sources == ())
        assert all(lyrics[source].lower().replace("ç", "c") == token.lower() for source in sources)


def test_one_typed_letter_may_be_several_of_the_recogniser():
    tokenizer = characters("aeghjkopst")
    found = CTCAlphabet(tokenizer, 0, "a-ctc").encode("Straße".replace("r", ""))
    assert "".join(written(found, tokenizer.get_vocab())) == "stasse"
    assert found.sources == ((0,), (1,), (2,), (3,), (3,), (4,))


def test_a_letter_of_its_own_script_wins_over_its_romanisation():
    tokenizer = characters("жпривет")
    found = CTCAlphabet(tokenizer, 0, "a-ctc").encode("Привет")
    assert "".join(written(found, tokenizer.get_vocab())) == "привет"


def test_what_cannot_be_written_is_named_with_its_line_and_the_letters_there_are():
    alphabet = CTCAlphabet(characters("abc"), 0, "a-ctc")
    with pytest.raises(ValueError, match=r"song\.txt, line 3, has 'z', which a-ctc cannot write; .* \(abc\)"):
        alphabet.encode("[Zebra]\nabc\nabz", "song.txt")
    with pytest.raises(ValueError, match=r"line 1, has '4', which a-ctc cannot write"):
        alphabet.encode("4 abc")


def test_pieces_of_words_know_the_characters_that_they_write():
    vocabulary = {"<pad>": 0, "<unk>": 1, "▁ro": 2, "w": 3, "▁": 4, "b": 5, "oat": 6}
    backend = Tokenizer(models.BPE(
        {**vocabulary, "r": 7, "o": 8, "a": 9, "t": 10, "at": 11, "▁r": 12},
        [("▁", "r"), ("▁r", "o"), ("a", "t"), ("o", "at")], unk_token="<unk>",
    ))  # fmt: skip
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    alphabet = CTCAlphabet(tokenizer, 0, "pieces")
    lyrics = "[Hey]\nrow boat"
    found = alphabet.encode(lyrics)
    assert ["".join(lyrics[source] for source in sources) for sources in found.sources] == ["ro", "w", "", "b", "oat"]
    with pytest.raises(ValueError, match="line 2, has 'z', which pieces cannot write"):
        alphabet.encode("row\nz")


def test_a_recogniser_of_sounds_is_refused():
    class PhonemeTokenizer(SimpleNamespace):
        pass

    with pytest.raises(ValueError, match="sounds writes no letters"):
        CTCAlphabet(PhonemeTokenizer(**vars(characters("abc"))), 0, "sounds")
    with pytest.raises(ValueError, match="sounds writes no letters"):
        CTCAlphabet(characters("123"), 0, "sounds")
