"""`jukebox-hf consolidate CHECKPOINT OUT`: a checkpoint whose weights lie in parts becomes an ordinary folder.

Flows in: a checkpoint of ranks that shared the weights (FSDP2, SHARDED_STATE_DICT). Flows out: `model.safetensors`, the
configuration and the lists of names, for `from_pretrained`, `assemble` and a run on one GPU. Neither the ranks nor
their number are needed, and no GPU.
"""

import shutil
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from accelerate.utils import merge_fsdp_weights

from jukebox_hf.conversion.staging import staged
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.checkpoints import check_checkpoint, load_tensors, save_tensors
from jukebox_hf.training.commands import CONFIG_FILE, SentenceParser, run
from jukebox_hf.training.sharded_weights import PARTS_FOLDER
from jukebox_hf.training.weights_ema import AVERAGES_FILE

_WHOLE_FILE = "model.safetensors"
_NAME_LISTS = ("artists.json", "genres.json", "tokenizer_config.json", "preprocessor_config.json")


def main(words: Sequence[str] | None = None) -> int:
    """Consolidate as the words of a command line say."""
    parser = SentenceParser(prog="jukebox-hf consolidate", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a folder checkpoint-N of a run with FSDP2")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--averages", action="store_true", help="the moving averages of --weights_ema instead")
    return run(lambda: consolidate(**vars(parser.parse_args(words))))


def consolidate(checkpoint: str | PathLike[str], out: str | PathLike[str], *, averages: bool = False) -> None:
    """Write the whole weights of a checkpoint in parts as an ordinary folder, which appears whole or not at all.

    Args:
        checkpoint: as a run wrote it; it is only read.
        out: a new folder.
        averages: write the moving averages of the weights (`weights_ema`), which the end of a run publishes.

    Raises:
        ValueError: a checkpoint that is damaged or is whole already, a folder that is taken, or no averages there.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    check_checkpoint(checkpoint, where=str(checkpoint))
    require(
        (checkpoint / PARTS_FOLDER).is_dir(),
        f"{checkpoint} holds no {PARTS_FOLDER}, so its weights do not lie in parts; use the folder as it is",
    )
    require(
        not averages or (checkpoint / AVERAGES_FILE).is_file(),
        f"{checkpoint} holds no {AVERAGES_FILE}, as the run had no --weights_ema true; leave --averages out",
    )
    require(not out.exists(), f"{out} exists already; name a new folder")
    with staged(out, force=False, sources=[checkpoint]) as staging:
        merge_fsdp_weights(str(checkpoint / PARTS_FOLDER), str(staging))
        if averages:
            found, weights = load_tensors(checkpoint / AVERAGES_FILE), load_tensors(staging / _WHOLE_FILE)
            for head, table in JukeboxPrior._tied_weights_keys.items():
                if head in weights and head not in found:  # one weight under two names, of which averages know one
                    found[head] = found[table].clone()
            save_tensors({**weights, **found}, staging / _WHOLE_FILE, format="pt")
        for name in (CONFIG_FILE, *_NAME_LISTS):
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, staging / name)


if __name__ == "__main__":
    sys.exit(main())
