"""What is done of some songs: their codes so far, on every level, and the seeds that decide the rest.

Flows in: codes. Flows out: the same state again after a crash: a file is written beside its target, flushed and moved
into place, so it is always whole.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor

from ..checks.json_files import parse_json
from ..checks.validation import check_ids, check_range, is_integer, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.atomic_files import write_whole
from ..files.safetensors_files import check_safetensors

_FORMAT = "jukebox-song-1"
_LEVELS = tuple(str(number) for number in range(1, 17))  # a VQ-VAE has at most 16
_STATE_CURE = "give a state that jukebox_hf saved"


@dataclass(frozen=True)
class SongState:
    """Codes and seeds of the songs of a batch.

    Attributes:
        codes: per level, finest first, one tensor (T,) of int64 per song; empty where nothing is written yet.
        seeds: one per song.
    """

    codes: tuple[tuple[Tensor, ...], ...]
    seeds: tuple[int, ...]
    notes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, num_levels: int, seeds: Sequence[int]) -> "SongState":
        """Songs of which nothing is written."""
        nothing = torch.zeros(0, dtype=torch.long, device="cpu")
        return cls(tuple(tuple(nothing for _ in seeds) for _ in range(num_levels)), tuple(seeds))

    @property
    def num_songs(self) -> int:
        return len(self.seeds)

    def with_codes(self, level: int, song: int, codes: Tensor) -> "SongState":
        """The same state with the codes of one song and level replaced."""
        own = (*self.codes[level][:song], codes.detach().cpu().long(), *self.codes[level][song + 1 :])
        return SongState((*self.codes[:level], own, *self.codes[level + 1 :]), self.seeds, self.notes)

    def only(self, song: int) -> "SongState":
        """The state of one of the songs."""
        return SongState(tuple((songs[song],) for songs in self.codes), (self.seeds[song],), self.notes)

    @classmethod
    def joined(cls, states: "Sequence[SongState]") -> "SongState":
        """The songs of several states in one, with the notes of the first."""
        levels = zip(*(state.codes for state in states), strict=True)
        codes = tuple(tuple(chain(*songs)) for songs in levels)
        return cls(codes, tuple(chain(*(state.seeds for state in states))), states[0].notes)

    def batch(self, level: int) -> Tensor:
        """The codes of a level as one tensor (B, T); all songs must have equally many."""
        lengths = {len(codes) for codes in self.codes[level]}
        require(len(lengths) == 1, f"the songs have {sorted(lengths)} codes at level {level}; take them one by one")
        return torch.stack(self.codes[level])

    def check(self, config: JukeboxConfig) -> None:
        """Refuse codes that this model did not write.

        Raises:
            ValueError: another number of levels, or codes out of range.
        """
        require(
            len(self.codes) == config.vqvae_config.num_levels,
            f"the state has {len(self.codes)} levels, but the model has {config.vqvae_config.num_levels}; use the "
            f"model it was made with",
        )
        for level, songs in enumerate(self.codes):
            for codes in songs:
                check_ids(f"codes of level {level}", codes, "(T,)", 1)
                check_range(
                    f"codes of level {level}",
                    codes,
                    0,
                    config.vqvae_config.codebook_size - 1,
                    "use the model they were made with",
                )

    def to_bytes(self) -> bytes:
        """The state as the bytes of its file: equal states give equal bytes."""
        tensors = {
            f"level_{level}.song_{song}": codes.contiguous()
            for level, songs in enumerate(self.codes)
            for song, codes in enumerate(songs)
        }
        facts = {"format": _FORMAT, "seeds": json.dumps(self.seeds), "notes": json.dumps(self.notes, sort_keys=True)}
        facts["levels"] = str(len(self.codes))
        return _with_facts(as_safetensors(tensors), facts)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state so that the file is whole or the older one stays; runs of the command line do it in
        their song.partial (`PartialFolder.save_state`)."""
        write_whole(Path(path), self.to_bytes())

    @staticmethod
    def is_in(path: str | PathLike[str]) -> bool:
        """Whether a file says that it holds such a state; only its header is read."""
        try:
            return check_safetensors(path).metadata.get("format") == _FORMAT
        except (ValueError, OSError):
            return False

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "SongState":
        """Read a state again.

        Raises:
            ValueError: a file that is not such a state.
        """
        header = check_safetensors(path, dtypes={"I64", "I32"}, cure=_STATE_CURE)
        facts, said = header.metadata, f"{path} is not the state of a song"
        require(facts.get("format") == _FORMAT, f"{said}; {_STATE_CURE}")
        seeds, notes = (
            parse_json(facts.get(name), f"what {path} says of its {name}", kind, cure=_STATE_CURE)
            for name, kind in (("seeds", list), ("notes", dict))
        )
        levels = facts.get("levels", "")
        require(levels in _LEVELS, f"{said} (levels={levels[:20]!r}); {_STATE_CURE}")
        require(
            all(is_integer(seed) and abs(seed) < 2**64 for seed in seeds)
            and all(isinstance(note, str) for note in notes.values()),
            f"{said} (seeds that are no integers, or notes that are no text); {_STATE_CURE}",
        )
        # Counted before names are made: what a file claims may be far more than what it holds.
        require(
            int(levels) * len(seeds) == len(header.tensors),
            f"{said} (its {len(header.tensors)} tensors are not {levels} levels of {len(seeds)} songs); {_STATE_CURE}",
        )
        names = [[f"level_{level}.song_{song}" for song in range(len(seeds))] for level in range(int(levels))]
        for name in (name for level in names for name in level):
            require(name in header.tensors, f"{said} (it lacks {name}); {_STATE_CURE}")
            require(len(header.tensors[name].shape) == 1, f"{said} ({name} is no row of codes); {_STATE_CURE}")
        with safe_open(path, framework="pt", device="cpu") as file:
            codes = tuple(tuple(file.get_tensor(name) for name in level) for level in names)
        return cls(codes, tuple(seeds), notes)


def _with_facts(content: bytes, facts: dict[str, str]) -> bytes:
    """Put facts into the header of a safetensors file, in their order: the library writes them in any order."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": facts, **json.loads(content[8 : 8 + size])}, separators=(",", ":"))
    header += " " * (-len(header) % 8)  # ASCII; tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header.encode("ascii") + content[8 + size :]
