"""Lists of one's own artists and genres: made from songs, and put under the embeddings of a trained prior.

Flows in: the names of songs, and the lists that a prior was trained with. Flows out: new lists, and label embeddings
whose known names keep their rows while new names start as copies of "unknown".
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from transformers.utils import logging

from jukebox_hf.data.songs import Song
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.label_vocabulary import RULES, UNKNOWN_ID, LabelVocabulary
from jukebox_hf.model.inputs.lyric_characters import CHARACTERS
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.initialization import scaled_embedding
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior

logger = logging.get_logger(__name__)

LABEL_CHOICES = ("keep", "add", "songs")
_UNKNOWN_ALONE = {"unknown": UNKNOWN_ID}


def choose_labels(
    wanted: str | None,
    own: JukeboxTokenizer | None,
    config: JukeboxPriorConfig,
    songs: Iterable[Song],
    num_levels: int,
) -> JukeboxTokenizer:
    """Choose the names that condition a prior.

    Args:
        wanted: one of `LABEL_CHOICES`, or a folder with artists.json; None: "keep" where there are lists, else "songs".
        own: the tokenizer of the model, if it has one.
        config: of the prior.
        songs: all that will be trained and evaluated on.
        num_levels: of the VQ-VAE.

    Raises:
        ValueError: nothing to keep or to add to, a folder without lists, or names that cannot be listed.
    """
    wanted = wanted or ("songs" if own is None else "keep")
    if wanted in ("keep", "add"):
        require(
            own is not None,
            f"labels={wanted!r} needs lists of artists and genres, but this model has none; use labels='songs', or a "
            f"folder with artists.json",
        )
        if wanted == "keep":
            return own
    if wanted not in LABEL_CHOICES:
        require(
            Path(wanted).is_dir(),
            f"labels={wanted!r} is none of {', '.join(LABEL_CHOICES)} and no folder; choose one, or give a folder with "
            f"artists.json, genres.json and tokenizer_config.json",
        )
        given = JukeboxTokenizer.from_pretrained(located(wanted))
        if own is None:
            return given
        version = own.label_versions[config.level]
        require(
            version in given.vocabularies,
            f"labels={wanted!r} holds lists of {', '.join(given.vocabularies)}, but this prior reads {version}; name "
            f"that version in its label_versions",
        )
        return with_lists(own, version, given.vocabularies[version])
    version = own.label_versions[config.level] if own is not None else version_of(config)
    before = own.vocabularies[version] if wanted == "add" else LabelVocabulary(version, _UNKNOWN_ALONE, _UNKNOWN_ALONE)
    lists = with_songs(before, songs) if config.has_labels else before
    if own is not None:
        return with_lists(own, version, lists)
    return JukeboxTokenizer(
        artists={version: lists.artists}, genres={version: lists.genres}, label_versions=[version] * num_levels
    )


def check_same_labels(
    wanted: str,
    asked: JukeboxTokenizer,
    begun: JukeboxTokenizer,
    own: JukeboxTokenizer | None,
    config: JukeboxPriorConfig,
    folder: Path,
) -> None:
    """A run that goes on keeps its lists, so they must be of the kind that is asked for.

    Its songs may be others than those it was begun with, so names that are in one of the lists alone are no matter, but
    where all of the model's should be: what was begun with "add" or "keep" and goes on with "songs" is only told of,
    for the songs may have had all these names.

    Args:
        wanted, asked: as `choose_labels` took it, and what it gave.
        begun: of the checkpoint.
        own: of the model, if it has one.
        config: of the prior.
        folder: of the checkpoint.

    Raises:
        ValueError: a name with another number in both, in one sentence.
    """
    if not config.has_labels:
        return
    there, here, before = (_numbered(tokenizer, config.level) for tokenizer in (begun, asked, own))
    if wanted == "add":
        here = before
        other = [key for key in before if before[key] != there.get(key)]
    elif wanted == "songs":
        other = []
        if before.items() <= there.items() and not before.keys() <= here.keys():
            logger.warning(
                f"{folder} has all names of the model, which labels='songs' leaves out; they stay in its lists"
            )
    else:
        other = [key for key in here | there if here.get(key) != there.get(key)]
    for kind, name in other[:1]:
        of, at = (row.get((kind, name), "none") for row in (here, there))
        raise ValueError(
            f"labels={wanted!r} asks for other lists than {folder} has: the number of {kind} {name!r} is {of}, and "
            f"there it is {at}; give what the run was begun with, leave labels out to keep its lists, or choose "
            f"another output_dir"
        )


def version_of(config: JukeboxPriorConfig) -> str:
    """The label version of a new prior: by its lyric characters, else by how many genres a song has.

    Raises:
        ValueError: characters of no version.
    """
    if config.lyrics == "none":
        return "v3" if config.max_genres == 1 else "v2"
    sizes = {len(characters) + 1: version for version, characters in CHARACTERS.items()}
    require(
        config.lyric_vocab_size in sizes,
        f"lyric_vocab_size={config.lyric_vocab_size} is of no label version; choose "
        f"{' or '.join(f'{size} ({version})' for size, version in sizes.items())}, and lyric_characters for more",
    )
    return sizes[config.lyric_vocab_size]


def with_songs(before: LabelVocabulary, songs: Iterable[Song]) -> LabelVocabulary:
    """Lists with the names of songs behind those that are there already, in the order of the alphabet.

    Raises:
        ValueError: a name of which the version's spelling leaves nothing.
    """
    rules = RULES[before.version]
    artists, genres = set(), set()
    for song in songs:
        for kind, name in (("artist", song.artist), ("genre", song.genre)):
            key = rules.key(name)
            require(
                bool(key) or not name.strip(),
                f"{kind}={name!r} of {song.name} has nothing that {before.version} lists can spell (a-z and digits); "
                f"write it in Latin letters",
            )
            if kind == "artist":
                artists.add(key)
            elif key:
                genres.update(rules.genre_words(key))
    return LabelVocabulary(before.version, _extended(before.artists, artists), _extended(before.genres, genres))


def with_lists(tokenizer: JukeboxTokenizer, version: str, lists: LabelVocabulary) -> JukeboxTokenizer:
    """The same tokenizer with other lists for one version."""
    return JukeboxTokenizer.from_vocabularies(
        {**tokenizer.vocabularies, version: lists}, tokenizer.label_versions, tokenizer.lyric_characters
    )


def table_sizes(lists: LabelVocabulary) -> tuple[int, int]:
    """Rows that the embeddings of artists and of genres need."""
    return max(lists.artists.values()) + 1, max(lists.genres.values()) + 1


def new_names(old: LabelVocabulary, new: LabelVocabulary) -> list[str]:
    """Names that a prior trained on the old lists was not trained on."""
    return [name for kind in ("artists", "genres") for name in getattr(new, kind) if name not in getattr(old, kind)]


@torch.no_grad()
def relabel(prior: JukeboxPrior, old: LabelVocabulary, new: LabelVocabulary) -> None:
    """Give a prior the embeddings of other lists, in place: known names keep theirs, new ones start as "unknown".

    Raises:
        ValueError: old lists that do not belong to the prior.
    """
    for kind in ("artist", "genre"):
        before, after = getattr(old, f"{kind}s"), getattr(new, f"{kind}s")
        if before == after:
            continue
        table = getattr(prior.labels, kind)
        require(
            max(before.values()) < table.num_embeddings,
            f"the list of {kind}s goes up to id {max(before.values())}, but this prior has num_{kind}s="
            f"{table.num_embeddings}; use the lists that belong to it",
        )
        rows = torch.full((max(after.values()) + 1,), before.get("unknown", UNKNOWN_ID), device="cpu", dtype=torch.long)
        for name, number in after.items():
            if name in before:
                rows[number] = before[name]
        fresh = scaled_embedding(len(rows), table.embedding_dim, table.init_std).to(table.weight)
        fresh.weight.copy_(table.weight[rows.to(table.weight.device)])
        setattr(prior.labels, kind, fresh)
        setattr(prior.config, f"num_{kind}s", len(rows))


def _numbered(tokenizer: JukeboxTokenizer | None, level: int) -> dict[tuple[str, str], int]:
    """The number of every artist and genre of a level's lists; none without a tokenizer."""
    if tokenizer is None:
        return {}
    lists = tokenizer.vocabularies[tokenizer.label_versions[level]]
    found = {"artist": lists.artists, "genre": lists.genres}
    return {(kind, name): number for kind, names in found.items() for name, number in names.items()}


def _extended(before: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    added = sorted(set(names) - set(before) - {"", "unknown"})
    first = max(before.values()) + 1
    return {**before, **{name: number for number, name in enumerate(added, first)}}
