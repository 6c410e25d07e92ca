"""What is learnt beside a model, alone: styles in a file, adapters in a repository, and both put into a model for good.

Flows in: trained priors, or whole Jukeboxes. Flows out: kilobytes or megabytes that anybody with the same base sings
with, or a whole Jukebox with them inside.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch import Tensor

from jukebox_hf.conversion.known_files import check_copied
from jukebox_hf.conversion.staging import check_target, staged
from jukebox_hf.model.adapters.adapter_files import ADAPTER_FORMAT, ADAPTER_ROOT, LORA_WEIGHTS, read_adapter
from jukebox_hf.model.adapters.base_digest import base_digest
from jukebox_hf.model.adapters.style_file import NAME_KINDS, STYLE_FILE, AdapterBase, Style, read_style
from jukebox_hf.model.checkpoints.repository_card import front_matter, name_on_hub
from jukebox_hf.model.checkpoints.tiny_model import TINY, located
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.text_input import check_words, levels_in_words
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.model.files.loading_arguments import ADAPTER_FILE
from jukebox_hf.model.inputs.label_mixes import new_name
from jukebox_hf.model.inputs.label_vocabulary import RULES, UNKNOWN_ID, LabelVocabulary
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.assemble import copy_rest
from jukebox_hf.training.prior.prior_sources import tokenizer_of

_README = "README.md"
_MOST_CLOSE = 3  # names that may have been meant
_TRAINED = "adapters"  # where training leaves what peft writes, beside a merged prior


def base_of(name: str, model: JukeboxModel, levels: Sequence[int]) -> AdapterBase:
    """What a model is to adapters of these levels.

    Args:
        name: as the user named it; it is written down where it is one of the Hub's, or tiny.
        model: the same, open.
    """
    digests = {}
    for level in levels:
        files = model.source_files([level])
        weights = files.get(f"prior_{level}") or files["weights"]
        digests[f"prior_{level}"] = base_digest(path for path in weights if path.suffix != ".json")
    known = name if name == TINY else name_on_hub(name)
    return AdapterBase(digests, known or "", getattr(model.config, "_commit_hash", None) or "")


# --- styles ---


def style_of(priors: Sequence[str | PathLike[str]], names: Sequence[str], base: AdapterBase) -> Style:
    """The vectors of new artists in trained priors.

    Args:
        priors: folders as training leaves them, each with its lists of names.
        names: of the artists, as people write them.
    """
    vectors = {}
    for folder in map(Path, priors):
        level, words = JukeboxPriorConfig.from_pretrained(folder).level, _words_of(folder)
        table = _tables(folder)["artist"]
        ids = {name: words.find_artist(name) for name in names}
        vectors[level] = {"artist": {name: table[number] for name, number in ids.items() if number is not None}}
    return Style(vectors, base, {"artist": tuple(names)})


def export_style(model: str | PathLike[str], artist: str, out: str | PathLike[str], *, force: bool = False) -> Style:
    """Write the vectors of one artist of a Jukebox into a file.

    Args:
        model: folder or Hub name of a whole Jukebox.
        artist: the name.
        out: a new file, *.safetensors.
        force: replace an older file.

    Raises:
        ValueError: no such artist, one that sounds like nobody, or a file that is there already.
    """
    model, out = str(model), Path(out)
    check_words("--artist", artist)
    require(artist.strip() != "", "--artist is empty; give the name of an artist")
    require(out.suffix == ".safetensors", f"{out} must end in .safetensors; name such a file")
    _check_style_target(out)
    require(force or not out.exists(), f"{out} exists already; name another file, or pass --force to replace it")
    opened, lists = JukeboxModel.from_pretrained(located(model)), tokenizer_of(model)
    require(lists is not None, f"{model} has no lists of artists and genres, so it knows no artist by name")
    vectors: dict[int, dict[str, dict[str, Tensor]]] = {}
    is_listed = False
    for level, config in enumerate(opened.config.prior_configs):
        number = lists.vocabularies[lists.label_versions[level]].find_artist(artist) if config.has_labels else None
        if number is None:
            continue
        is_listed = True
        table = opened.lend(level).labels.artist.weight.detach().float().cpu()
        opened.take_back(level)
        if not torch.equal(table[number], table[UNKNOWN_ID]):
            vectors[level] = {"artist": {artist: table[number].clone()}}
    close = [] if is_listed else lists.search_artists(artist, opened.num_levels - 1, _MOST_CLOSE)
    meant = f" (did you mean {' or '.join(repr(match.name) for match in close)}?)" if close else ""
    require(
        is_listed,
        f"{model} does not know the artist {artist!r}{meant}; see its names with jukebox-hf labels list "
        f"{shlex.quote(model)}",
    )
    require(bool(vectors), f"the artist {artist!r} of {model} sounds like an unknown one; there is no style to export")
    style = Style(vectors, _origin(model, opened, sorted(vectors)), {"artist": (artist,)})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, style.to_bytes())
    return style


def _check_style_target(path: Path) -> None:
    """Of what is there only a style is replaced: weights and codes have the same suffix."""
    if path.exists():
        try:
            read_style(path)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{path} is there and is no style that jukebox-hf wrote ({error}); --force does not replace it: name "
                f"another file"
            ) from None


def _origin(model: str, opened: JukeboxModel, levels: Sequence[int]) -> AdapterBase:
    """The base of a style, named as the style says that the model was made with, if it was."""
    base, made_with = base_of(model, opened, levels), Path(located(model)) / STYLE_FILE
    if made_with.is_file():
        older = read_style(made_with).base
        if all(older.digests.get(part) == digest for part, digest in base.digests.items()):
            return replace(base, name=older.name, revision=older.revision)
    return base


def import_adapter(
    adapter: str | PathLike[str],
    out: str | PathLike[str],
    base: str | PathLike[str],
    *,
    artist: str | None = None,
    force: bool = False,
) -> JukeboxModel:
    """Put a style or an adapter into a copy of its base, for good: a whole Jukebox that needs nothing beside it.

    Args:
        adapter: a style file, a folder or a name on the Hub.
        out: a new folder.
        base: the whole Jukebox that it belongs to.
        artist: another name for the artist of a style.
        force: replace an older Jukebox at `out`.

    Raises:
        ValueError: an adapter of another base, a name that is known already, or a folder that is taken.
    """
    adapter, out, base = str(adapter), Path(out), str(base)
    check_target(out, force, also=[STYLE_FILE])
    check_copied(Path(located(base)))
    parts = read_adapter(adapter)
    if artist is not None:
        require(parts.style is not None, f"--artist {artist!r} names a style, but {adapter} holds none; leave it out")
        parts = replace(parts, style=renamed(parts.style, artist))
    model = JukeboxModel.from_pretrained(located(base))
    model.take_adapter(parts, keep_base=False)
    origin = Path(located(base))
    with staged(out, force, [origin] if origin.is_dir() else [], [STYLE_FILE]) as staging:
        model.save_pretrained(staging)
        if origin.is_dir():
            copy_rest(origin, staging)
        if parts.style is not None:
            write_whole(staging / STYLE_FILE, parts.style.to_bytes())
    return model


def renamed(style: Style, artist: str) -> Style:
    """A style whose one new artist has another name.

    Raises:
        ValueError: a style of several artists, or a name that cannot be sung.
    """
    artist = new_name("--artist", artist)
    new = style.new.get("artist", ())
    require(
        len(new) == 1,
        f"--artist {artist!r} is one name, but the style brings {len(new)} artists ({', '.join(new)}); leave it out",
    )
    vectors = {
        level: {kind: {artist if (kind, name) == ("artist", new[0]) else name: row for name, row in rows.items()}
                for kind, rows in kinds.items()}
        for level, kinds in style.vectors.items()
    }  # fmt: skip
    return replace(style, vectors=vectors, new={**style.new, "artist": (artist,)})


# --- adapters ---


def write_adapter(
    out: str | PathLike[str],
    base: str | PathLike[str],
    priors: Sequence[str | PathLike[str]],
    *,
    names: Sequence[str] = (),
    card: str = "",
) -> None:
    """Write an adapter repository of priors that were trained by LoRA.

    Args:
        out: a new folder: peft's layout for each level, `jukebox_adapter.json`, a style with the vectors that were
            learnt or changed, and a card.
        base: the whole Jukebox that they were trained on.
        priors: folders as training leaves them, with `adapters/` in each.
        names: new names, as people write them.
        card: what the card says besides.

    Raises:
        ValueError: a prior without adapters, or a folder that is taken.
    """
    out, base, priors = Path(out), str(base), [Path(folder) for folder in priors]
    check_target(out, force=False)
    model, old = JukeboxModel.from_pretrained(located(base)), tokenizer_of(base)
    for folder in priors:
        require(
            (folder / _TRAINED / LORA_WEIGHTS).is_file(),
            f"{folder} holds no {_TRAINED}/{LORA_WEIGHTS}, so it was not trained by LoRA; train it with --lora_rank",
        )
    levels = {JukeboxPriorConfig.from_pretrained(folder).level: folder for folder in priors}
    own = base_of(base, model, sorted(levels))
    vectors, new = {}, {kind: {} for kind in NAME_KINDS}
    with staged(out, force=False) as staging:
        for level, folder in sorted(levels.items()):
            _write_lora(folder / _TRAINED, staging / f"prior_{level}", own.name)
            if old is not None and model.config.prior_configs[level].has_labels:
                found = _changed_vectors(folder, model, level, old, names)
                vectors |= {level: found[0]} if any(found[0].values()) else {}
                for kind in NAME_KINDS:
                    new[kind] |= dict.fromkeys(found[1][kind])
        if vectors:
            style = Style(vectors, own, {kind: tuple(found) for kind, found in new.items() if found})
            (staging / STYLE_FILE).write_bytes(style.to_bytes())
        said = {"format": ADAPTER_FORMAT, "levels": sorted(levels), "base": own.to_dict()}
        (staging / ADAPTER_ROOT).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
        told = _adapter_card(out.name, base, own, sorted(levels), list(new["artist"]), card)
        (staging / _README).write_text(told, encoding="utf-8")


def _write_lora(source: Path, target: Path, base: str) -> None:
    """What peft wrote, without the tables of names, which stand in the style."""
    target.mkdir()
    tensors = {name: tensor for name, tensor in load_file(source / LORA_WEIGHTS).items() if ".lora_" in name}
    save_file(tensors, target / LORA_WEIGHTS, metadata={"format": "pt"})
    said = read_json(source / ADAPTER_FILE) | {"modules_to_save": None, "base_model_name_or_path": base}
    (target / ADAPTER_FILE).write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _changed_vectors(
    folder: Path, model: JukeboxModel, level: int, old: JukeboxTokenizer, names: Sequence[str]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, list[str]]]:
    """The rows of a trained prior's tables that the base has not so, and which names are new."""
    before, after = old.vocabularies[old.label_versions[level]], _words_of(folder)
    spelt = {RULES[after.version].key(name): name for name in names}
    prior = model.lend(level)
    rows: dict[str, dict[str, Tensor]] = {}
    new: dict[str, list[str]] = {}
    for kind, table in _tables(folder).items():
        known = getattr(before, f"{kind}s")
        base = getattr(prior.labels, kind).weight.detach().float().cpu()
        by_id = {number: name for name, number in reversed(getattr(after, f"{kind}s").items())}
        changed = {number: name for number, name in by_id.items()
                   if name not in known or not torch.equal(table[number], base[known[name]])}  # fmt: skip
        new[kind] = [spelt.get(name, name) for name in changed.values() if name not in known]
        rows[kind] = {spelt.get(name, name): table[number] for number, name in sorted(changed.items())}
    model.take_back(level)
    return rows, new


def _words_of(folder: Path) -> LabelVocabulary:
    lists = tokenizer_of(str(folder))
    return lists.vocabularies[lists.label_versions[JukeboxPriorConfig.from_pretrained(folder).level]]


def _tables(folder: Path) -> dict[str, Tensor]:
    """The tables of names of a trained prior, in float32."""
    labels = JukeboxPrior.from_pretrained(folder).labels
    return {kind: getattr(labels, kind).weight.detach().float().clone() for kind in NAME_KINDS}


# --- cards ---


def licence_of(base: str) -> dict[str, str]:
    """The licence of the model that something was made from; "other" where none is said."""
    if base == TINY:
        return {"license": "apache-2.0"}
    card = Path(located(base)) / _README
    if card.is_file():
        try:
            data: Mapping[str, Any] = ModelCard.load(card).data.to_dict()
            found = {
                key: data[key] for key in ("license", "license_name", "license_link") if isinstance(data.get(key), str)
            }
            if "license" in found:
                return found
        except (ValueError, OSError, yaml.YAMLError):  # somebody's own card
            pass
    return {"license": "other"}


def _adapter_card(
    name: str, base: str, own: AdapterBase, levels: Sequence[int], artists: Sequence[str], said: str
) -> str:
    on_hub = name_on_hub(base)
    relation = {"base_model_relation": "adapter"} if on_hub else {}
    front = front_matter(**licence_of(base), has_adapters=True, base_model=on_hub, **relation)
    called = own.name or "the model that it was trained on"
    artist = f" --artist {json.dumps(artists[0], ensure_ascii=False)}" if artists else ""
    text = f"""---
{front.to_yaml()}
---

# {name}

LoRA adapters of a Jukebox, of {levels_in_words(levels)}. They belong to {called} and are refused by any
other model: `{ADAPTER_ROOT}` holds the digest of its weights. New artists: {", ".join(artists) or "none"}.

```bash
jukebox-hf generate --model {own.name or "BASE"} --adapter {name}:1.0{artist} --out song.wav
```

Each `prior_N` is in peft's layout; `{STYLE_FILE}`, if there is one, holds the vectors of names.
{said}"""
    ModelCard(text)  # refuses front matter that the Hub could not read
    return text
