"""A misspelt artist or genre is stopped before it becomes "unknown", with the names that it may have meant.

Flows in: names that people typed, and the tokenizer that will number them. Flows out: nothing, or one sentence. A name
that nothing listed is like goes on: the model hears "unknown", and one line says so. So does one that only finer levels
list, unless the coarsest level that hears it lists the same name in another spelling.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.inputs.label_mixes import LabelEntry, read_labels
from jukebox_hf.model.inputs.label_vocabulary import RULES, fold
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer

_LISTED_KINDS = ("artist", "genre")
_MOST_NAMES, _MOST_TOLD, _MOST_LOOKED_AT = 3, 3, 20


def check_listed(songs: Iterable[Mapping[str, Any]], tokenizer: JukeboxTokenizer, config: JukeboxConfig) -> None:
    """Refuse artists and genres that no level lists, or not the coarsest that hears them, where a listed name is close.

    Args:
        songs: with `artist` and `genre`; what is missing or None is not looked at; `where` names a song, and `levels`
            and `kind` tell which levels are written.
        tokenizer: of the model.
        config: of it; levels whose priors read no names do not count.

    Raises:
        ValueError: in one sentence, up to three of the names and what each may have meant.
    """
    levels = [level for level, prior in enumerate(config.prior_configs) if prior.has_labels]
    typed: dict[tuple[str, str], str] = {}
    heard: dict[tuple[str, str], dict[int, None]] = {}  # the coarsest level that hears a name, in each song
    for song in songs if levels else ():
        for kind in _LISTED_KINDS:
            entries = read_labels(kind, song[kind]) if song.get(kind) is not None else ()
            for entry in entries:
                typed.setdefault((kind, entry.name), song.get("where") or "")
                heard.setdefault((kind, entry.name), {})[_coarsest(song, entry, entries, levels)] = None
    meant = {
        each: close
        for each in typed
        if (close := next(filter(None, (_may_mean(*each, tokenizer, levels, top) for top in heard[each])), None))
    }
    if not meant:
        return
    told = [
        f"{kind}={name!r}{' of ' * bool(where := typed[kind, name])}{where} (did you mean "
        f"{' or '.join(map(repr, close))}?)"
        for (kind, name), close in list(meant.items())[:_MOST_TOLD]
    ]
    more = f" and {len(meant) - len(told)} more" if len(meant) > len(told) else ""
    is_one = len(meant) == 1
    raise ValueError(
        f"{', '.join(told)}{more} {'is' if is_one else 'are'} not listed in this model; correct "
        f"{'it' if is_one else 'them'} or write 'unknown'; --no-strict lets the model hear 'unknown' in place of "
        f"such names"
    )


def _coarsest(song: Mapping[str, Any], entry: LabelEntry, entries: Sequence[LabelEntry], levels: Sequence[int]) -> int:
    """The coarsest level that hears a name, of those that are written if any is."""
    finer = levels[:-1] if song.get("kind") == "upsample" else levels
    written = [int(level) for level in song["levels"].split(",")] if song.get("levels") else finer  # checked before
    named = {entry.level} if entry.level is not None else {*levels}.difference(other.level for other in entries)
    heard = named.intersection(levels) or {levels[-1]}
    return max(heard.intersection(written) or heard)


def _may_mean(kind: str, name: str, tokenizer: JukeboxTokenizer, levels: Sequence[int], top: int) -> list[str]:
    """Listed names that one may mean; nothing where the level `top` lists it, or none is close."""
    listed = [level for level in levels if _is_listed(kind, name, tokenizer, level)]
    if top in listed:
        return []
    if listed:  # the lists differ, so only the same name in the spelling of `top` tells that another was meant
        return _spelt_as_at(kind, name, tokenizer, top, listed)
    close = []
    for level in reversed(levels):  # the top level's names are written as people write them
        close += getattr(tokenizer, f"search_{kind}s")(name, level, _MOST_NAMES)
        if kind == "genre":  # v2 hears single words
            words = tokenizer.vocabularies[tokenizer.label_versions[level]]
            missing = [word for word, found in words.find_genres(name) if found is None]
            close += [match for word in missing for match in words.genre_index.search(word, _MOST_NAMES)]
    return list(dict.fromkeys(match.name for match in close))[:_MOST_NAMES]


def _spelt_as_at(kind: str, name: str, tokenizer: JukeboxTokenizer, top: int, listed: Sequence[int]) -> list[str]:
    """Names of the level `top` that are a name which other levels list, but for case, accents and punctuation."""
    if not isinstance(name, str):  # an id
        return []
    keys = [RULES[tokenizer.label_versions[level]].key for level in listed]
    found = getattr(tokenizer, f"search_{kind}s")(name, top, _MOST_LOOKED_AT)
    same = [one.name for one in found if any(key(one.name) == key(name) for key in (fold, *keys))]
    return same[:_MOST_NAMES]


def _is_listed(kind: str, name: str, tokenizer: JukeboxTokenizer, level: int) -> bool:
    find = tokenizer.artist_id if kind == "artist" else tokenizer.genre_ids
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find(name, level, strict=True)
    except ValueError:
        return False
    return True
