"""Which model a song was begun with: digests of the files that decide how it sounds.

Flows in: an open model. Flows out: a digest per part, kept beside the codes of an unfinished song, so that it never
goes on with other weights. Names and places do not count, neither do the cuts between shards: a folder that was moved,
copied or downloaded again is the same model. And since every byte passes by, weights that are not finite are refused
here, not when their level is reached.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jukebox_hf.model.checks.json_files import parse_json, read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.files.safetensors_files import check_safetensors
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState

_FILES_NOTE, VQVAE_NOTE, _PRIOR = "model_files", "vqvae", "prior_"
_BLOCK = 2**22
_EXPONENTS = {  # of numbers of each type: all their bits are set in infinities and NaN alone
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
_NOT_OF_SOUND = (
    *("transformers_version", "_name_or_path", "architectures", "auto_map"),
    *("alignment_layer", "alignment_head"),  # tell when lyrics are sung, not how
)


@dataclass(frozen=True)
class Fingerprint:
    """Digests of a model's files, by part; "" names what belongs to the whole."""

    name: str
    digests: Mapping[str, str]

    def as_notes(self) -> dict[str, str]:
        """To be kept with a state."""
        return {_FILES_NOTE: json.dumps(self.digests, sort_keys=True)}

    def check_same(
        self, notes: Mapping[str, str], where: Path, say: Callable[[str], None], levels: Iterable[int]
    ) -> None:
        """Refuse to go on with a model whose files are not those a song was begun with.

        Args:
            levels: whose priors the song needs; songs that were begun beside it may have needed others.

        Raises:
            ValueError: in one sentence, with the parts that differ.
        """
        if _FILES_NOTE not in notes:
            say(f"jukebox-hf: {where} was begun by an older version, which did not note the model's files; going on")
            return
        begun = parse_json(notes[_FILES_NOTE], f"the state in {where}", cure="start anew with --force")
        priors = {f"{_PRIOR}{level}" for level in levels} & begun.keys() & self.digests.keys()
        names = [name for name in sorted(begun.keys() | self.digests.keys()) if name in priors or not _is_prior(name)]
        changed = [name or "its configurations" for name in names if begun.get(name) != self.digests.get(name)]
        require(
            not changed,
            f"{where} was begun with other files of {self.name} than are there now ({', '.join(changed)} changed); put "
            f"the old ones back to go on, or start anew with --force",
        )


def fingerprint(name: str, model: JukeboxModel, levels: Iterable[int]) -> Fingerprint:
    """Digest all that decides how songs of these levels sound: every weight, since fine-tuning may change a few.

    Raises:
        ValueError, OSError: files that are damaged or not there, or weights that are not finite.
    """
    files = model.source_files(sorted(levels))
    with ThreadPoolExecutor() as pool:  # hashing leaves Python to other threads
        parts = {part: [pool.submit(_digests, path) for path in paths] for part, paths in files.items()}
        found = {part: sorted(line for waiting in some for line in waiting.result()) for part, some in parts.items()}
    return Fingerprint(name, {part: _of_text("\n".join(lines)) for part, lines in found.items()})


def vqvae_notes(model: JukeboxModel) -> dict[str, str]:
    """What codes mean to the VQ-VAE of a model, to be kept with them."""
    return {VQVAE_NOTE: json.dumps(_facts_of(model), sort_keys=True)}


def check_vqvae(state: SongState, model: JukeboxModel, where: Path, or_else: str = "") -> None:
    """Refuse codes that another VQ-VAE wrote; those of older versions, which did not note it, go on.

    Args:
        or_else: another cure than to name the model that wrote them, where there is one.

    Raises:
        ValueError: in one sentence, with what differs.
    """
    _check_facts(state, _facts_of(model), where, or_else)


def check_vqvae_sizes(state: SongState, config: JukeboxConfig, where: Path) -> None:
    """The same for what a configuration tells, before weights are read; errors as in `check_vqvae`."""
    _check_facts(state, _sizes_of(config), where)


def _check_facts(state: SongState, facts: Mapping[str, Any], where: Path, or_else: str = "") -> None:
    if VQVAE_NOTE not in state.notes:
        return
    wrote = parse_json(
        state.notes[VQVAE_NOTE], f"what {where} says of its VQ-VAE", cure="give codes that jukebox-hf wrote"
    )
    there = [level for level, songs in enumerate(state.codes) if any(map(len, songs))]
    differ = [
        f"{what.replace('_', ' ')} {wrote.get(what)} there, {own} here" if what != "codebooks" else "other codebooks"
        for what, own in sorted(facts.items(), reverse=True)
        if _of_levels(wrote.get(what), there) != _of_levels(own, there)
    ]
    model_there = f", {state.notes['model']}" if state.notes.get("model") else ""
    require(
        not differ,
        f"{where} holds codes of another VQ-VAE than this model has ({'; '.join(differ)}): they would sound as noise; "
        f"name the model that wrote them{model_there}{or_else}",
    )


def _facts_of(model: JukeboxModel) -> dict[str, Any]:
    """A VQ-VAE's sampling rate, hop lengths and digests of its codebooks, as JSON gives them back."""
    books = model.vqvae.codebooks
    digests = [hashlib.sha256(book.codes.float().cpu().numpy().tobytes()).hexdigest() for book in books]
    return _sizes_of(model.config) | {"codebooks": digests}


def _sizes_of(config: JukeboxConfig) -> dict[str, Any]:
    own = config.vqvae_config
    return {"sampling_rate": own.sampling_rate, "hop_lengths": list(own.hop_lengths)}


def _of_levels(fact: Any, levels: Iterable[int]) -> Any:
    """What a fact says of some levels, where it says something of each."""
    return [fact[level] for level in levels if level < len(fact)] if isinstance(fact, list) else fact


def _is_prior(part: str) -> bool:
    return part.removeprefix(_PRIOR).isdecimal()


def _digests(path: Path) -> list[str]:
    """A line for each thing in a file that counts: a tensor, or a JSON object."""
    if path.suffix == ".safetensors":
        return _of_tensors(path)
    if path.suffix != ".json":
        with path.open("rb") as file:
            return [f"{path.name} {_of_blocks(file, path.stat().st_size)}"]
    text = json.dumps(_of_sound(read_json(path, None)), sort_keys=True)
    return [f"{path.name} {_of_text(text)}"]


def _of_sound(content: Any) -> Any:
    """What of a configuration decides how songs sound."""
    if isinstance(content, dict):
        return {key: _of_sound(value) for key, value in content.items() if key not in _NOT_OF_SOUND}
    return [_of_sound(value) for value in content] if isinstance(content, list) else content


def _of_tensors(path: Path) -> list[str]:
    tensors = check_safetensors(path).tensors
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        lines = []
        for name, (dtype, shape) in tensors.items():
            begin, stop = header[name]["data_offsets"]
            file.seek(8 + size + begin)
            lines.append(f"{name} {dtype} {shape} {_of_blocks(file, stop - begin, dtype, f'{path}: {name}')}")
    return lines


def _of_blocks(file: BinaryIO, size: int, dtype: str = "", name: str = "") -> str:
    """The digest of so many bytes; those that are numbers of a floating-point type must be finite."""
    digest = hashlib.sha256()
    integers, exponent = _EXPONENTS.get(dtype, (None, 0))
    while size and (block := file.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
        require(
            integers is None or not bool(((np.frombuffer(block, integers) & exponent) == exponent).any()),
            f"{name} holds numbers that are not finite, which cannot be sung; get the file again, or train it anew",
        )
    return digest.hexdigest()


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
