"""The tokenizer: a song in words becomes the ids that each prior was trained on.

Flows in: artist, genre and lyrics as people write them. Flows out: label rows and forward arguments (labels.py), lyric
ids with their offsets in the text, names close to a search.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AddedToken, BatchEncoding, PreTrainedTokenizer

from ..checks.foreign_arguments import PREPARE, check_foreign
from ..checks.text_input import shown
from ..checks.validation import check_level, is_integer, plain, read_ids, require
from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from .label_files import (
    LabelTable,
    check_lyrics_file,
    checked_table,
    checked_versions,
    read_json_dictionary,
    read_label_list,
    read_tables,
    write_tables,
)
from .label_vocabulary import UNKNOWN_ID, LabelMatch, LabelVocabulary
from .labels import LevelLabels, SongDescription
from .lyric_characters import (
    CHARACTERS,
    UNKNOWN_CHARACTER,
    LyricEncoding,
    LyricVocabulary,
    lyric_vocabulary,
    own_characters,
)
from .lyric_windows import SongTiming
from .processor_files import OwnFiles

_NAMED_IN_WARNINGS = 3


class JukeboxTokenizer(OwnFiles, PreTrainedTokenizer):
    """Turns lyrics, artist and genre into ids; each level's prior has its own label version, `v2` or `v3`.

    Called with lyrics, it gives their ids for the top level, the one with lyrics. Padding is id 0 and
    stands in front, where the priors expect it.

    Args:
        artists_file, genres_file: JSON with the lists of every version, as `save_pretrained` writes them.
        artists, genres: the lists themselves, instead of files: version -> name -> id.
        label_versions: version of each level, finest first, such as `["v2", "v2", "v3"]` for 1b_lyrics.
        lyric_characters: one's own, read as they are typed; their ids follow those of the label version.

    Raises:
        ValueError: missing or damaged lists, versions that are not `v2` or `v3`, or characters that cannot be added.
    """

    vocab_files_names = {"artists_file": "artists.json", "genres_file": "genres.json"}
    model_input_names = ["input_ids", "attention_mask"]
    padding_side = "left"

    def __init__(
        self,
        artists_file: str | None = None,
        genres_file: str | None = None,
        *,
        artists: Mapping[str, Mapping[str, int]] | None = None,
        genres: Mapping[str, Mapping[str, int]] | None = None,
        label_versions: Sequence[str] | None = None,
        lyric_characters: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.label_versions = checked_versions(label_versions)
        self.lyric_characters = own_characters(lyric_characters, self.label_versions)
        artist_tables = _tables("artists", artists, artists_file, self.label_versions)
        genre_tables = _tables("genres", genres, genres_file, self.label_versions)
        self.vocabularies = {
            version: LabelVocabulary(version, artist_tables[version], genre_tables[version])
            for version in dict.fromkeys(self.label_versions)
        }
        self._already_warned: set[tuple[str, str]] = set()
        super().__init__(
            label_versions=self.label_versions,
            **({"lyric_characters": self.lyric_characters} if self.lyric_characters else {}),
            **{"unk_token": UNKNOWN_CHARACTER, "pad_token": UNKNOWN_CHARACTER, "clean_up_tokenization_spaces": False}
            | kwargs,
        )

    # --- where lists and characters come from ---

    def with_lyric_characters(self, characters: str | Sequence[str]) -> "JukeboxTokenizer":
        """The same tokenizer with more lyric characters behind those that it has; no id changes.

        A prior then needs embeddings for them: `prior.resize_lyric_embeddings`.

        Args:
            characters: a string, whose blanks mean nothing, or single characters; known ones are skipped.

        Raises:
            ValueError: no character at all, one that stands there twice or cannot be sung.
        """
        given = "".join(characters.split()) if isinstance(characters, str) else characters
        require(
            given not in ("", [], (), None),
            f"lyric_characters={characters!r} holds no character; name those that the lyrics are written in",
        )
        own_characters(given, ())
        known = set.intersection(*(set(lyric_vocabulary(version).characters) for version in self.label_versions))
        added = [each for each in given if each not in known and each not in self.lyric_characters]
        return self.from_vocabularies(self.vocabularies, self.label_versions, self.lyric_characters + "".join(added))

    @classmethod
    def from_vocabularies(
        cls, vocabularies: Mapping[str, LabelVocabulary], label_versions: Sequence[str], lyric_characters: str = ""
    ) -> "JukeboxTokenizer":
        """Make a tokenizer of lists by version, and one's own lyric characters."""
        return cls(
            artists={version: dict(words.artists) for version, words in vocabularies.items()},
            genres={version: dict(words.genres) for version, words in vocabularies.items()},
            label_versions=label_versions,
            lyric_characters=lyric_characters,
        )

    @classmethod
    def by_number(cls, config: JukeboxConfig, label_versions: Sequence[str] | None = None) -> "JukeboxTokenizer":
        """Make a tokenizer for a model without lists: artists and genres are named by their ids, as "17".

        Args:
            config: of the model, which says how many artists and genres each level knows.
            label_versions: of each level, finest first; None: as the characters and genre slots of each level tell.

        Raises:
            ValueError: lyrics in characters of no known version, or another config.
        """
        require(
            hasattr(config, "prior_configs"),
            f"config={shown(config)} must be a JukeboxConfig; give JukeboxConfig.from_pretrained(repository)",
        )
        priors = config.prior_configs
        versions = checked_versions(label_versions or [_likely_version(prior) for prior in priors])
        artists: dict[str, dict[str, int]] = {}
        genres: dict[str, dict[str, int]] = {}
        for version in dict.fromkeys(versions):
            own = [prior for prior, of in zip(priors, versions, strict=True) if of == version and prior.has_labels]
            artists[version] = _numbers(min((prior.num_artists for prior in own), default=1))
            genres[version] = _numbers(min((prior.num_genres for prior in own), default=1))
        return cls(artists=artists, genres=genres, label_versions=versions)

    @classmethod
    def from_label_files(cls, folder: str | Path, label_versions: Sequence[str]) -> "JukeboxTokenizer":
        """Read OpenAI's own lists: `v2_artist_ids.txt`, `v2_genre_ids.txt`, and the same for v3.

        Raises:
            ValueError: a missing file or a line that is not `name;id`, with file and line.
        """
        versions = checked_versions(label_versions)
        artists, genres = (
            {
                version: read_label_list(Path(folder) / f"{version}_{kind}_ids.txt")
                for version in dict.fromkeys(versions)
            }
            for kind in ("artist", "genre")
        )
        return cls(artists=artists, genres=genres, label_versions=versions)

    @classmethod
    def from_transformers_v4(cls, folder: str | Path) -> "JukeboxTokenizer":
        """Read the tokenizer of a transformers 4 repository; ids are OpenAI's, where the old tokenizer gave others.

        Raises:
            ValueError: a missing or damaged file, or files of different models.
        """
        folder = Path(folder)
        settings = read_json_dictionary(folder / "tokenizer_config.json")
        require(
            "version" in settings,
            f"{folder / 'tokenizer_config.json'} names no version, so it is not of transformers 4's Jukebox; use "
            f"from_pretrained for repositories of this package",
        )
        versions = _finest_first(settings["version"])
        check_lyrics_file(folder / "lyrics.json", versions[-1])
        return cls(str(folder / "artists.json"), str(folder / "genres.json"), label_versions=versions)

    @classmethod
    def convert_to_native_format(cls, **kwargs: Any) -> dict[str, Any]:
        """Let `from_pretrained` read transformers 4 repositories: a hook of transformers, before `__init__`."""
        if "version" not in kwargs:
            return kwargs
        kept = ("artists_file", "genres_file", "name_or_path", "is_local", "local_files_only")
        ours = {name: kwargs[name] for name in kept if name in kwargs}
        return ours | {"label_versions": _finest_first(kwargs["version"])}

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write artists.json and genres.json: version -> name -> id."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        paths = [Path(save_directory) / f"{prefix}{name}" for name in self.vocab_files_names.values()]
        write_tables(paths[0], {version: dict(words.artists) for version, words in self.vocabularies.items()})
        write_tables(paths[1], {version: dict(words.genres) for version, words in self.vocabularies.items()})
        return tuple(map(str, paths))

    def table_sizes(self, level: int) -> tuple[int, int]:
        """How many rows a level's embeddings need at least: for genres and for artists, the largest id plus one."""
        words = self._words(level)
        return max(words.genres.values()) + 1, max(words.artists.values()) + 1

    # --- labels ---

    def labels(self, song: SongDescription, config: JukeboxPriorConfig, *, strict: bool = False) -> LevelLabels:
        """Label a song for the prior of one level.

        Args:
            song: artist, genre, lyrics, and times in samples.
            config: of the prior that the labels condition.
            strict: refuse names that its version does not list, instead of one warning.

        Raises:
            ValueError: too many genres for the prior, lyrics that cannot be romanised, a config whose characters are
                not this tokenizer's, and, if strict, unknown names.
        """
        words = self._words(config.level)
        timing = SongTiming(song.total_samples, song.offset_samples, config.window_samples)
        characters = self._characters(config.level)
        self.check_alphabet(config)
        artist_id, genre_ids = UNKNOWN_ID, ()
        if config.has_labels:
            artist_id = self.artist_id(song.artist, config.level, strict=strict)
            genre_ids = self.genre_ids(song.genre, config.level, strict=strict)
        said = f"genre={song.genre!r} in {words.version}"
        return LevelLabels.of(config, artist_id, genre_ids, characters.encode(song.lyrics), timing, said=said)

    def artist_id(self, name: str | int, level: int, *, strict: bool = False) -> int:
        """The id of an artist at a level; 0 for one that is not listed, with one warning that names close ones.

        An integer is an id already, which other label versions may have given to somebody else.

        Raises:
            ValueError: an id out of range; an artist that is not listed, if strict.
        """
        if is_integer(name):
            return _checked_id("artist", name, self._words(level).version, self._words(level).artists)
        found = self._words(level).find_artist(name)
        if found is None:
            self._unlisted("artist", name, level, strict)
        return found or UNKNOWN_ID

    def genre_ids(self, name: str | int, level: int, *, strict: bool = False) -> tuple[int, ...]:
        """The ids of a genre at a level: one per word in v2, just one in v3; 0 for what is not listed.

        An integer is an id already, which other label versions may have given to another genre.

        Raises:
            ValueError: an id out of range; a word or genre that is not listed, if strict.
        """
        if is_integer(name):
            return (_checked_id("genre", name, self._words(level).version, self._words(level).genres),)
        found = self._words(level).find_genres(name)
        if any(genre_id is None for _, genre_id in found):
            self._unlisted("genre", name, level, strict)
        return tuple(genre_id or UNKNOWN_ID for _, genre_id in found)

    def artist_name(self, artist_id: int, level: int) -> str:
        """The listed name of an artist's id, as OpenAI prints it."""
        return self._words(level).artist_name(artist_id)

    def genre_name(self, genre_ids: Sequence[int], level: int) -> str:
        """The listed words of genre ids, joined by underscores; -1 is skipped."""
        return self._words(level).genre_name(genre_ids)

    def search_artists(self, text: str, level: int, limit: int = 10) -> list[LabelMatch]:
        """Artists of a level whose names are close to a text, best first; accents and case do not count."""
        return self._words(level).artist_index.search(text, limit)

    def search_genres(self, text: str, level: int, limit: int = 10) -> list[LabelMatch]:
        """Genres of a level (in v2: words of genres) close to a text, best first."""
        return self._words(level).genre_index.search(text, limit)

    # --- lyrics ---

    def encode_lyrics(self, text: str, level: int | None = None) -> LyricEncoding:
        """Number the characters of lyrics, each with its offset in the text as typed; by default for the top level."""
        return self._characters(level).encode(text)

    def check_alphabet(self, config: JukeboxPriorConfig) -> None:
        """Refuse a prior whose lyric embeddings are not those of this tokenizer's characters.

        Raises:
            ValueError: too few or too many, with the cure.
        """
        version, size = self._words(config.level).version, self.num_lyric_characters(config.level)
        cure = "use the tokenizer that belongs to this model"
        if self.lyric_characters and config.lyric_vocab_size < size:
            cure = f"call prior.resize_lyric_embeddings({size})"
        require(
            config.lyrics == "none" or config.lyric_vocab_size == size,
            f"lyric_vocab_size={config.lyric_vocab_size} of the prior of level {config.level} does not fit the {size} "
            f"characters of {version}{' and of lyric_characters' * bool(self.lyric_characters)}; {cure}",
        )

    def num_lyric_characters(self, level: int | None = None) -> int:
        """How many ids lyrics have, padding included; by default at the top level."""
        return len(self._characters(level).characters)

    def decode_lyrics(self, ids: Iterable[int], level: int | None = None) -> str:
        """Turn lyric ids back into text; padding leaves nothing.

        Raises:
            ValueError: what is no list of integers, or an id outside the vocabulary.
        """
        return self._characters(level).decode(ids)

    # --- what other tokenizers can and this one cannot ---

    def __call__(
        self, text: Any = None, text_pair: Any = None, text_target: Any = None, text_pair_target: Any = None, **how: Any
    ) -> BatchEncoding:
        """Number the characters of one song's lyrics, or of a list of songs, for the top level.

        Raises:
            ValueError: more than one text per song: names are not text here.
        """
        words = {name: how.pop(name, None) for name in ("artist", "genre", "lyrics")}
        _refuse_texts(text_pair=text_pair, text_target=text_target, text_pair_target=text_pair_target, **words)
        return super().__call__(text, **how)

    def _encode_plus(self, text: Any, text_pair: Any = None, **how: Any) -> BatchEncoding:
        _refuse_texts(text_pair=text_pair)
        if (name := "return_offsets_mapping") in how:  # which transformers drops silently
            check_foreign("JukeboxTokenizer", PREPARE, name, how[name], "")
        return super()._encode_plus(text, **how)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Refused, but for characters that it has: ids are those that the priors have embeddings for.

        Raises:
            ValueError: anything new, with the cure.
        """
        tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens or ())
        known = self.get_vocab()
        new = [str(token) for token in tokens if str(token) not in known]
        require(
            not new,
            f"{', '.join(map(repr, new[:3]))} cannot be added, since every id needs an embedding in the prior; use "
            f"tokenizer.with_lyric_characters, then prior.resize_lyric_embeddings",
        )
        return 0

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> int:
        """Refused, as `add_tokens`."""
        for tokens in special_tokens_dict.values():
            self.add_tokens(tokens)
        return super().add_special_tokens(special_tokens_dict, *args, **kwargs)

    # --- what transformers asks of a tokenizer: the characters of the top level ---

    @property
    def vocab_size(self) -> int:
        return self.num_lyric_characters()

    def get_vocab(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self._characters().characters)}

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """Clean lyrics into characters; no special tokens are looked for, "<unk>" in lyrics is five characters."""
        return list(self.encode_lyrics(text).cleaned)

    def convert_ids_to_tokens(self, ids: Any, *args: Any, **kwargs: Any) -> Any:
        """The character of an id, or those of several; floats, which transformers would round, are refused."""
        ids = plain(ids)
        return super().convert_ids_to_tokens(ids if is_integer(ids) else read_ids("ids", ids), *args, **kwargs)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(token for token in tokens if token != UNKNOWN_CHARACTER)

    def _convert_token_to_id(self, token: str) -> int:
        return self._characters().ids.get(token, UNKNOWN_ID)

    def _convert_id_to_token(self, index: int) -> str:
        characters = self._characters().characters
        return characters[index] if 0 <= index < len(characters) else UNKNOWN_CHARACTER

    def warn_again(self) -> None:
        """Forget which unlisted names were warned of: what comes next is somebody else's."""
        self._already_warned.clear()

    # --- inside the door ---

    def _words(self, level: int) -> LabelVocabulary:
        check_level("level", level, len(self.label_versions))
        return self.vocabularies[self.label_versions[level]]

    def _characters(self, level: int | None = None) -> LyricVocabulary:
        version = self.label_versions[-1] if level is None else self._words(level).version
        return lyric_vocabulary(version, self.lyric_characters)

    def _unlisted(self, kind: str, name: str, level: int, strict: bool) -> None:
        """Raise for one level, or warn once for all levels that do not list a name."""
        if strict:
            sentence = self._describe_unlisted(kind, name, self.label_versions[level], [level])
            raise ValueError(f"{sentence}; use a listed name, or strict=False for 'unknown'")
        if (kind, name) in self._already_warned:
            return
        self._already_warned.add((kind, name))
        levels: dict[str, list[int]] = {}
        for each, version in enumerate(self.label_versions):
            if self._is_unlisted(kind, name, version):
                levels.setdefault(version, []).append(each)
        sentences = [self._describe_unlisted(kind, name, version, own) for version, own in levels.items()]
        warnings.warn(
            f"{'; '.join(sentences)}; these levels take 'unknown' instead (`jukebox-hf labels list` prints all names)",
            stacklevel=3,
        )

    def _is_unlisted(self, kind: str, name: str, version: str) -> bool:
        words = self.vocabularies[version]
        if kind == "artist":
            return words.find_artist(name) is None
        return any(genre_id is None for _, genre_id in words.find_genres(name))

    def _describe_unlisted(self, kind: str, name: str, version: str, levels: list[int]) -> str:
        words = self.vocabularies[version]
        index = words.artist_index if kind == "artist" else words.genre_index
        missing = [name] if kind == "artist" else [word for word, found in words.find_genres(name) if found is None]
        close = [match.name for word in missing for match in index.search(word, _NAMED_IN_WARNINGS)]
        where = " and ".join(map(str, levels))
        parts = "" if missing == [name] else f" (of it: {', '.join(map(repr, missing))})"
        return (
            f"{kind}={name!r}{parts} is not listed in {version}, read by level{'s' * (len(levels) > 1)} {where} "
            f"({'close: ' + ', '.join(map(repr, dict.fromkeys(close))) if close else 'nothing is close'})"
        )


def _refuse_texts(**others: Any) -> None:
    given = [name for name, value in others.items() if value is not None]
    require(
        not given,
        f"the tokenizer numbers one text per song, its lyrics, but was given {', '.join(given)}; artist and genre go "
        f"to JukeboxProcessor, or to tokenizer.artist_id and genre_ids",
    )


def _checked_id(kind: str, given: int, version: str, table: Mapping[str, int]) -> int:
    most = max(table.values())
    require(
        0 <= given <= most,
        f"{kind}={given} is no id of {version}, which has 0 (unknown) to {most}; give one of these, or a name",
    )
    return given


def _numbers(count: int) -> dict[str, int]:
    """Ids as their own names; 0 is unknown."""
    return {"unknown": UNKNOWN_ID, **{str(number): number for number in range(1, count)}}


def _likely_version(prior: JukeboxPriorConfig) -> str:
    """The label version of a prior, by its lyric characters, or else by its genre slots."""
    if prior.lyrics == "none":
        return "v2" if prior.max_genres > 1 else "v3"
    found = [version for version in CHARACTERS if prior.lyric_vocab_size == len(CHARACTERS[version]) + 1]
    require(
        bool(found),
        f"lyric_vocab_size={prior.lyric_vocab_size} of level {prior.level} is of no label version (v2: 80, v3: 79), so "
        f"nobody knows its characters; use the tokenizer that belongs to this model",
    )
    return found[0]


def _finest_first(versions: object) -> list[str]:
    """transformers 4 lists versions top level first."""
    return checked_versions(versions)[::-1]


def _tables(
    name: str, tables: Mapping[str, Mapping[str, int]] | None, file: str | None, versions: list[str]
) -> dict[str, LabelTable]:
    require(
        (tables is None) != (file is None),
        f"{name} and {name}_file are {'both' if tables is not None else 'neither'} given, but the tokenizer needs one "
        f"of them; pass lists as {name}=, or a folder with {name}.json to from_pretrained",
    )
    if tables is None:
        return read_tables(Path(file), versions)
    missing = [version for version in versions if not tables.get(version)]
    require(
        not missing,
        f"{name} holds no {missing[:1]} names, but label_versions={versions}; add its list",
    )
    return {
        version: checked_table(f"{name}[{version!r}]", dict(tables[version])) for version in dict.fromkeys(versions)
    }
