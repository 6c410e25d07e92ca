"""Which artists and genres a repository knows, from its lists alone: no torch, no transformers, no weights.

Flows in: a folder or Hub name. Flows out: plain values per level, ready to print or to dump as JSON. `JukeboxTokenizer`
reads the same files; importing it takes seconds, which somebody who looks a name up should not wait.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.repository_names import check_name
from jukebox_hf.model.checks.text_input import levels_in_words
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.label_files import NO_LISTS, checked_versions, read_json_dictionary, read_tables
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary, search

_FILES = ("tokenizer_config.json", "artists.json", "genres.json")
LABEL_KINDS = ("artists", "genres")
_A_FEW = 8


@dataclass(frozen=True)
class LabelLists:
    """The lists of a repository.

    Attributes:
        versions: of each level, finest first.
        words: artists and genres of each version.
    """

    versions: tuple[str, ...]
    words: Mapping[str, LabelVocabulary]


def open_lists(repository: str, revision: str | None = None) -> LabelLists:
    """Read the lists of a repository, ours or transformers 4's.

    Raises:
        ValueError: a repository without lists, or with damaged ones.
        OSError: nothing to read there.
    """
    settings, artists, genres = (_file(located(repository), name, revision) for name in _FILES)
    facts = {} if settings is None else read_json_dictionary(settings)
    versions = checked_versions(facts.get("label_versions") or facts.get("version"))
    if "label_versions" not in facts:
        versions = versions[::-1]  # transformers 4 lists versions top level first
    require(artists is not None and genres is not None, NO_LISTS)
    tables = [read_tables(path, versions) for path in (artists, genres)]
    words = {version: LabelVocabulary(version, *(table[version] for table in tables)) for version in versions}
    return LabelLists(tuple(versions), words)


def close_labels(repository: str, text: str, limit: int) -> list[dict[str, Any]]:
    """Artists and genres close to a text, per level.

    Raises:
        ValueError: a repository without lists.
        OSError: nothing to read there.
    """
    lists = open_lists(repository)
    found = {
        version: {kind: _rows(search(getattr(words, kind), text, limit)) for kind in LABEL_KINDS}
        for version, words in lists.words.items()
    }
    return [{"level": level, "version": version, **found[version]} for level, version in enumerate(lists.versions)]


def listed_labels(repository: str, limit: int | None, skip: int = 0) -> list[dict[str, Any]]:
    """All artists and genres in the order of the alphabet, or a page of them, per label version.

    Returns:
        For each version: the levels that read it, and for artists and for genres how many there are (`total`) and the
        names of the page with their ids.

    Raises:
        ValueError: a repository without lists.
        OSError: nothing to read there.
    """
    lists = open_lists(repository)
    stop = None if limit is None else skip + limit
    return [
        {
            "version": version,
            "levels": [level for level, own in enumerate(lists.versions) if own == version],
            **{kind: _page(getattr(words, kind), skip, stop) for kind in LABEL_KINDS},
        }
        for version, words in lists.words.items()
    ]


def known_names(repository: str) -> list[dict[str, Any]]:
    """The first few names of each list, as `listed_labels` gives them; nothing where a repository has no lists.

    Raises:
        ValueError: damaged lists.
    """
    try:
        return listed_labels(repository, _A_FEW)
    except ValueError as error:
        if str(error) != NO_LISTS:
            raise
    except OSError:  # lists that cannot be fetched now are not what the model is
        pass
    return []


def search_in_words(found: list[dict[str, Any]]) -> str:
    """What `close_labels` gives, for people."""
    lines = []
    for version in dict.fromkeys(level["version"] for level in found):
        own = [level for level in found if level["version"] == version]
        lines.append(_levels({"levels": [level["level"] for level in own], "version": version}))
        lines += [f"  {kind}: {_names(own[0][kind]) or 'none is close'}" for kind in LABEL_KINDS]
    return "\n".join(lines)


def lists_in_words(found: list[dict[str, Any]], skip: int = 0) -> str:
    """What `listed_labels` gives, for people: one name a line, with its id."""
    lines = []
    for lists in found:
        for kind in LABEL_KINDS:
            total, rows = lists[kind]["total"], lists[kind]["names"]
            lines.append(f"{kind} of {_levels(lists)}: {total:,}")
            lines += [f"  {row['name']} ({row['id']})" for row in rows]
            if (rest := total - skip - len(rows)) > 0:
                lines.append(f"  ... and {rest:,} more: --skip {skip + len(rows)} goes on, --all prints all")
    return "\n".join(lines)


def names_in_words(found: list[dict[str, Any]]) -> str:
    """What `known_names` gives, in a line per list."""
    lines = [] if found else ["no lists of artists and genres: see jukebox-hf labels list"]
    for lists in found:
        for kind in LABEL_KINDS:
            total, rows = lists[kind]["total"], lists[kind]["names"]
            more = "; ..." if total > len(rows) else ""
            lines.append(f"{kind} of {_levels(lists)}: {total:,}: {'; '.join(row['name'] for row in rows)}{more}")
    return "\n".join(lines)


def _levels(lists: dict[str, Any]) -> str:
    return f"{levels_in_words(lists['levels'])} (lists {lists['version']})"


def _names(rows: list[dict[str, Any]]) -> str:
    return "; ".join(f"{row['name']} ({row['id']})" for row in rows)


def _page(names: Mapping[str, int], skip: int, stop: int | None) -> dict[str, Any]:
    return {"total": len(names), "names": _rows(sorted(names.items(), key=_in_order)[skip:stop])}


def _in_order(name_and_id: tuple[str, int]) -> tuple[bool, int, str]:
    """Numbers by their size, then names by the alphabet."""
    name, _ = name_and_id
    is_number = name.isdecimal()
    return not is_number, len(name) * is_number, name


def _rows(names: Any) -> list[dict[str, Any]]:
    return [{"name": name, "id": label_id} for name, label_id in names]


def _file(repository: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a folder, or of a repository of the Hub; None where it has none."""
    check_name(repository)
    if os.path.exists(repository):  # which a name of any length can be asked of
        file = Path(repository, name)
        return file if file.is_file() else None
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
    except errors.LocalEntryNotFoundError:
        raise FileNotFoundError(
            f"{repository} is no folder here, and {name} of that name on the Hub cannot be fetched now; check the "
            f"name and the connection"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except (errors.HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise OSError(f"{repository} is no folder here, and cannot be read on the Hub ({reason})") from None
