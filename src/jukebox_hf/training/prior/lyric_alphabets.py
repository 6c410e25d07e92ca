"""Lyrics in one's own script: characters named by a flag or found in songs, and rows for them in a trained prior.

Flows in: a file, a text or songs, and the tokenizer that a prior was trained with. Flows out: a tokenizer with more
characters, and lyric embeddings in which each new one starts from the letters of its romanised spelling.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from jukebox_hf.data.songs import Song
from jukebox_hf.model.checks.file_kinds import read_head, refuse_kind
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.lyric_characters import lyric_vocabulary
from jukebox_hf.model.inputs.lyric_structure import is_foreign
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior

FROM_SONGS = "songs"


def with_characters(tokenizer: JukeboxTokenizer, wanted: str, songs: Iterable[Song]) -> JukeboxTokenizer:
    """Add lyric characters to a tokenizer.

    Args:
        tokenizer: of the prior.
        wanted: a text file of characters, the characters themselves, or "songs": the letters of other scripts than the
            Latin one in the lyrics of the songs. Blanks and line ends mean nothing; known characters are skipped.
        songs: all that will be trained and evaluated on.

    Raises:
        ValueError: a missing or unreadable file, nothing to add, or characters that cannot be added.
    """
    extended = tokenizer.with_lyric_characters(_characters(wanted, songs))
    require(
        bool(extended.lyric_characters),
        f"lyric_characters={wanted!r:.80} is no file and holds only characters that every prior knows; name those of "
        f"your script, or leave it out",
    )
    return extended


def check_same_characters(wanted: str, asked: JukeboxTokenizer, begun: JukeboxTokenizer, folder: Path) -> None:
    """A run that goes on keeps its characters, so they must be those that are asked for.

    Args:
        wanted, asked: as `with_characters` took it, and what it gave; songs may be others than at the beginning.
        begun: of the checkpoint.
        folder: of the checkpoint.

    Raises:
        ValueError: they are others, in one sentence.
    """
    here, there = asked.lyric_characters, begun.lyric_characters
    require(
        bool(there) if wanted == FROM_SONGS else set(here) == set(there),
        f"lyric_characters={wanted!r:.80} asks for {here!r:.80}, but {folder} has {there!r:.80}; give what the run was "
        f"begun with, leave it out to keep its characters, or choose another output_dir",
    )


def add_characters(prior: JukeboxPrior, tokenizer: JukeboxTokenizer) -> None:
    """Give a prior rows for the characters that its tokenizer got, in place; known ones keep theirs bit for bit.

    Raises:
        ValueError: a prior with more characters than the tokenizer.
    """
    config = prior.config
    size = tokenizer.num_lyric_characters(config.level)
    if config.lyrics == "none" or size == config.lyric_vocab_size:
        return
    released = lyric_vocabulary(tokenizer.label_versions[config.level])
    new = lyric_vocabulary(released.version, tokenizer.lyric_characters).characters[config.lyric_vocab_size :]
    prior.resize_lyric_embeddings(size, like=[released.encode(character).ids for character in new])


def characters_of_songs(songs: Iterable[Song]) -> str:
    """Letters of other scripts than the Latin one, with the marks that belong to them, in Unicode's order."""
    found = {character for song in songs for character in unicodedata.normalize("NFC", song.lyrics)}
    return "".join(sorted(character for character in found if is_foreign(character) or _is_own_mark(character)))


def _characters(wanted: str, songs: Iterable[Song]) -> str:
    if wanted == FROM_SONGS:
        found = characters_of_songs(songs)
        require(
            bool(found),
            f"lyric_characters={wanted!r}, but the lyrics of these songs hold Latin letters only; leave it out",
        )
        return found
    if not os.path.isfile(wanted):  # a text may be longer than a path: pathlib would raise
        require(
            not wanted.endswith(".txt"),
            f"lyric_characters={wanted!r} is missing; name a file, or the characters themselves",
        )
        return wanted
    refuse_kind(
        wanted, read_head(wanted), wanted="characters of lyrics", cure="name a text file in UTF-8, or the characters"
    )
    try:
        return Path(wanted).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"lyric_characters={wanted!r} is not text in UTF-8 ({error}); save it as such") from None


def _is_own_mark(character: str) -> bool:
    """A mark of one script, such as a vowel sign, not one of those that any letter can carry."""
    name = unicodedata.name(character, "")
    return unicodedata.category(character).startswith("M") and not name.startswith(("COMBINING", "VARIATION"))
