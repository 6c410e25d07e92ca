"""A misspelt artist or genre is stopped before it becomes "unknown", with the names that it may have meant.

Flows in: names that people typed, and the tokenizer that will number them. Flows out: nothing, or one sentence. A name
that nothing listed is like goes on: the model hears "unknown", and one line says so.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.inputs.label_mixes import names_in
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer

_LISTED_KINDS = ("artist", "genre")
_MOST_NAMES, _MOST_TOLD = 3, 3


def check_listed(songs: Iterable[Mapping[str, Any]], tokenizer: JukeboxTokenizer, config: JukeboxConfig) -> None:
    """Refuse artists and genres that no level lists, where a listed name is close.

    Args:
        songs: with `artist` and `genre`; what is missing or None is not looked at; `where` names a song.
        tokenizer: of the model.
        config: of it; levels whose priors read no names do not count.

    Raises:
        ValueError: in one sentence, up to three of the names and what each may have meant.
    """
    levels = [level for level, prior in enumerate(config.prior_configs) if prior.has_labels]
    typed: dict[tuple[str, str], str] = {}
    for song in songs:
        for kind in _LISTED_KINDS:
            for name in names_in(kind, song[kind]) if song.get(kind) is not None else ():
                typed.setdefault((kind, name), song.get("where") or "")
    meant = {each: close for each in typed if (close := _may_mean(*each, tokenizer, levels))}
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


def _may_mean(kind: str, name: str, tokenizer: JukeboxTokenizer, levels: Sequence[int]) -> list[str]:
    """Listed names close to one that no level lists; nothing where a level lists it, or none is close."""
    if not levels or any(_is_listed(kind, name, tokenizer, level) for level in levels):
        return []
    close = []
    for level in reversed(levels):  # the top level's names are written as people write them
        close += getattr(tokenizer, f"search_{kind}s")(name, level, _MOST_NAMES)
        if kind == "genre":  # v2 hears single words
            words = tokenizer.vocabularies[tokenizer.label_versions[level]]
            missing = [word for word, found in words.find_genres(name) if found is None]
            close += [match for word in missing for match in words.genre_index.search(word, _MOST_NAMES)]
    return list(dict.fromkeys(match.name for match in close))[:_MOST_NAMES]


def _is_listed(kind: str, name: str, tokenizer: JukeboxTokenizer, level: int) -> bool:
    find = tokenizer.artist_id if kind == "artist" else tokenizer.genre_ids
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            find(name, level, strict=True)
    except ValueError:
        return False
    return True
