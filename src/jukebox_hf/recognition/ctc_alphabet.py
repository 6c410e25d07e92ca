"""Lyrics in the tokens of somebody else's recogniser, with the way back to the text as typed.

Flows in: lyrics, a tokenizer of transformers. Flows out: ids, and from which typed characters each came. Headings such
as [Chorus] are not sung. Marks that a recogniser does not write are left out; a letter or a digit that it cannot write
is refused, for where it is sung could not be known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jukebox_hf.model.checks.text_input import shown
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.lyric_structure import read_structure
from jukebox_hf.model.inputs.romanization import romanize


@dataclass(frozen=True)
class TokenizedLyrics:
    """Tokens of lyrics.

    Attributes:
        ids: (C,) of the recogniser.
        sources: for each of them the typed characters that it writes, as indices of the text; none between words.
    """

    ids: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]


class CTCAlphabet:
    """What a CTC can write: single characters, or pieces of words.

    Args:
        tokenizer: of transformers.
        blank: the token of the CTC that says nothing.
        name: of the recogniser, for the sentence.

    Raises:
        ValueError: a tokenizer that writes no letters, such as one of phonemes.
    """

    def __init__(self, tokenizer: Any, blank: int, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        special = {blank, *tokenizer.all_special_ids}
        self._between = getattr(tokenizer, "word_delimiter_token_id", None)
        known = {token: index for token, index in tokenizer.get_vocab().items() if index not in special}
        self._characters = {
            token: index for token, index in known.items() if len(token) == 1 and index != self._between
        }
        self._has_pieces = self._between is None and any(len(token) > 1 for token in known)
        writes_sounds = "phoneme" in type(tokenizer).__name__.lower()
        require(
            not writes_sounds and any(token.isalpha() for token in self._characters),
            f"{name} writes no letters, so lyrics cannot be found by it; name a CTC that was trained on written words",
        )

    def encode(self, lyrics: str, where: str = "the lyrics") -> TokenizedLyrics:
        """The tokens of what is sung.

        Args:
            lyrics: as typed.
            where: what to call them, for the sentence.

        Raises:
            ValueError: nothing to sing, or a letter that the recogniser cannot write, with its line.
        """
        structure = read_structure(lyrics)
        if self._has_pieces:
            found = self._in_pieces(structure.sung, structure.sources, lyrics, where)
        else:
            found = self._in_characters(structure.sung, structure.sources, lyrics, where)
        require(
            any(found.sources), f"{where} holds nothing that is sung; write the words that are sung in the recording"
        )
        return found

    def _in_characters(self, sung: str, sources: Sequence[int], lyrics: str, where: str) -> TokenizedLyrics:
        ids: list[int] = []
        typed: list[tuple[int, ...]] = []
        is_parted = False
        for character, source in zip(sung, sources, strict=True):
            if character.isspace():
                is_parted = bool(ids)
                continue
            spelt = self._spelt(character)
            if spelt is None:
                require(not character.isalnum(), self._cannot_write(character, source, lyrics, where))
                continue
            if is_parted and spelt and self._between is not None:
                ids.append(self._between)
                typed.append(())
            is_parted = is_parted and not spelt
            ids += spelt
            typed += [(source,)] * len(spelt)
        return TokenizedLyrics(tuple(ids), tuple(typed))

    def _spelt(self, character: str) -> list[int] | None:
        """Ids of a character as it is, in another case, or romanised; None where it cannot be written."""
        for text in (character, character.lower(), character.upper(), romanize(character).text.strip()):
            found = [_first_known(self._characters, each) for each in text]
            if found and None not in found:
                return found
        return None

    def _in_pieces(self, sung: str, sources: Sequence[int], lyrics: str, where: str) -> TokenizedLyrics:
        require(
            getattr(self._tokenizer, "is_fast", False),
            f"{self._name} has a tokenizer that does not tell where its pieces stand in the text; name a CTC with a "
            f"tokenizer.json",
        )
        found = self._tokenizer(sung, add_special_tokens=False, return_offsets_mapping=True)
        ids: list[int] = []
        typed: list[tuple[int, ...]] = []
        for token, (first, last) in zip(found["input_ids"], found["offset_mapping"], strict=True):
            own = tuple(sources[place] for place in range(first, last) if not sung[place].isspace())
            if token == self._tokenizer.unk_token_id:
                letter = next((place for place in range(first, last) if sung[place].isalnum()), None)
                if letter is not None:
                    raise ValueError(self._cannot_write(sung[letter], sources[letter], lyrics, where))
                continue
            ids.append(token)
            typed.append(own)
        return TokenizedLyrics(tuple(ids), tuple(typed))

    def _cannot_write(self, character: str, source: int, lyrics: str, where: str) -> str:
        line = lyrics.count("\n", 0, source) + 1
        return (
            f"{where}, line {line}, has {shown(character)}, which {self._name} cannot write; spell it out in its "
            f"letters ({self._letters()}), or name a recogniser that knows it"
        )

    def _letters(self) -> str:
        letters = sorted(character for character in self._characters if character.isalpha())
        return "".join(letters[:30]) + "..." * (len(letters) > 30)


def _first_known(known: Mapping[str, int], character: str) -> int | None:
    return next((known[each] for each in (character, character.lower(), character.upper()) if each in known), None)
