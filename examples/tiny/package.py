"""`python -m examples.tiny.package RUN OUT`: the finished tiny model in 16 bits, as it lies inside the package.

Flows in: the folder of a run, with its assembled model. Flows out: a repository of at most 30 MB whose generation
settings are those the evaluation used. It takes the place of an older one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from examples.tiny.command import run
from examples.tiny.evaluate import TEMPERATURES
from jukebox_hf import JukeboxModel, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.conversion.staging import staged

MOST_BYTES = 30_000_000


def main(words: Sequence[str] | None = None) -> int:
    """Package as the words of a command line say."""
    return run("package", __doc__, words, _package_run, counts=[2])


def _package_run(folder: Path, out: Path) -> None:
    print(f"{out}: {package(folder / 'model', out) / 1e6:.1f} MB")


def package(model: Path, out: Path) -> int:
    """Write the repository; gives its size in bytes.

    Raises:
        ValueError: a model of more than 30 MB.
    """
    jukebox = JukeboxModel.from_pretrained(model)
    jukebox.generation_config.temperature = {str(level): value for level, value in sorted(TEMPERATURES.items())}
    tokenizer = JukeboxTokenizer.from_pretrained(model)
    with staged(out, force=True) as staging:
        jukebox.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        JukeboxProcessor.from_config(jukebox.config, tokenizer).save_pretrained(staging)
        for path in staging.rglob("*.safetensors"):
            _halve(path)
        size = sum(path.stat().st_size for path in staging.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ValueError(f"the model takes {size / 1e6:.1f} MB, but at most {MOST_BYTES / 1e6:.0f} may be packed")
    return size


def _halve(path: Path) -> None:
    """Store numbers in 16 bits; they are read back into what the configuration beside them says, float32."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
    }
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{path.parent.name} holds numbers that float16 does not reach")
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    sys.exit(main())
