"""What a training run was begun with, beside its checkpoints, so that one that goes on says what is another thing now.

Flows in: songs, a seed, the weights that adapters are learnt for. Flows out: `begun_with.json`: digests and counts,
nothing of this machine. Other songs or another seed may be wanted, and are told of; another base of adapters is
refused, since a checkpoint of adapters holds nothing of it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor, nn
from transformers.utils import logging

from jukebox_hf.data.songs import Song
from jukebox_hf.model.adapters.base_digest import numbers_digest
from jukebox_hf.model.checks.json_files import read_json
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole

logger = logging.get_logger(__name__)

RECORD_FILE = "begun_with.json"


@dataclass(frozen=True)
class RunRecord:
    """What a run is of.

    Attributes:
        songs: digest of the names and words of those that are learnt; "" of a stream.
        num_songs: how many they are.
        seed: of their order and of first weights.
        base: digest of the weights that adapters are learnt for; "" without adapters.
    """

    songs: str
    num_songs: int
    seed: int
    base: str = ""

    @classmethod
    def of(cls, songs: Iterable[Song], seed: int, base: nn.Module | None = None) -> "RunRecord":
        """Of a run with these songs, and, where it learns adapters, with their base."""
        digest, count = hashlib.sha256(), 0
        for count, song in enumerate(songs, start=1):  # noqa: B007 (how many there were is asked after the last)
            digest.update(f"{json.dumps([song.name, song.artist, song.genre, song.lyrics])}\n".encode())
        of_songs = digest.hexdigest() if count else ""
        return cls(of_songs, count, seed, "" if base is None else _digest_of_weights(base.state_dict()))

    def keep(self, output_dir: Path, *, is_new: bool) -> None:
        """Write it down: of a run that begins, and of one that goes on where nothing is written yet."""
        output_dir.mkdir(parents=True, exist_ok=True)
        if not is_new and (output_dir / RECORD_FILE).exists():
            return
        write_whole(output_dir / RECORD_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

    def compare(self, output_dir: Path, *, tell: bool = True) -> None:
        """Tell what is another thing than when the run of a folder began; nothing is known of runs of older versions.

        Args:
            output_dir: the folder that the checkpoints lie in.
            tell: whether this process is the one that warns.

        Raises:
            ValueError: adapters would go on beside another base than the one they were learnt for.
        """
        try:
            begun = RunRecord(**read_json(output_dir / RECORD_FILE))
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError):
            if tell:
                logger.warning(f"{output_dir / RECORD_FILE} cannot be read, so nothing is compared with it")
            return
        require(
            begun.base == self.base,
            f"the run in {output_dir} learnt its adapters for other weights than those of model_name_or_path; give the "
            f"model it was begun with, or choose another output_dir",
        )
        if tell and (begun.songs, begun.seed) != (self.songs, self.seed):
            other = "other " * (begun.songs != self.songs)
            logger.warning(
                f"the run in {output_dir} was begun with {begun.num_songs} {other}songs and seed {begun.seed}, and "
                f"goes on with {self.num_songs} songs and seed {self.seed}; choose another output_dir to begin anew"
            )


def _digest_of_weights(weights: Mapping[str, Tensor]) -> str:
    """What `numbers_digest` says, and the types that the numbers have, which a run is begun with as well."""
    kinds = sorted({str(tensor.dtype) for tensor in weights.values()})
    return f"{numbers_digest(weights, weights)} in {', '.join(kinds)}"
