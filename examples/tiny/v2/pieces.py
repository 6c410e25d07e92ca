"""A trained network as pieces under 16 MB, which is what comes back from a borrowed machine; and back to a folder.

Flows in: the folder of a network. Flows out: NAME.tar.000, NAME.tar.001, ... and NAME.json with how many they are and
their SHA-256; numbers are stored in 16 bits, as in the package. `python -m examples.tiny.v2.pieces FOLDER OUT` joins
all that lie in a folder.
"""

import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save

from examples.tiny.command import run

MOST_BYTES = 15_000_000  # of a piece
_NEEDED = ("config.json", "model.safetensors")
_SUFFIXES = (".json", ".safetensors")  # what a network is loaded from; optimisers stay behind


def main(words: Sequence[str] | None = None) -> int:
    """Join as the words of a command line say."""
    return run("pieces", "python -m examples.tiny.v2.pieces FOLDER OUT", words, join_all, counts=[2])


def cut(folder: Path, out: Path, name: str) -> list[Path]:
    """Write a network's files as pieces; an older one of that name is replaced.

    Raises:
        ValueError: a folder without a network.
    """
    missing = [file for file in _NEEDED if not (folder / file).is_file()]
    if missing:
        raise ValueError(f"{folder} has no {missing[0]}, so it holds no trained network; train one first")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES):
            data = _halved(path) if path.suffix == ".safetensors" else path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = packed.getvalue()
    out.mkdir(parents=True, exist_ok=True)
    for older in out.glob(f"{name}.tar.*"):
        older.unlink()
    paths = []
    for place, start in enumerate(range(0, len(data), MOST_BYTES)):
        paths.append(out / f"{name}.tar.{place:03d}")
        paths[-1].write_bytes(data[start : start + MOST_BYTES])
    facts = {"pieces": len(paths), "sha256": hashlib.sha256(data).hexdigest()}
    (out / f"{name}.json").write_text(json.dumps(facts))
    return paths


def _halved(path: Path) -> bytes:
    """The tensors of a file in 16 bits; networks read them back in what their configuration says, 32."""
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
    }
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point()):
        raise ValueError(f"{path} holds numbers that float16 does not reach; train it with a smaller learning rate")
    return save(tensors, metadata={"format": "pt"})


def has_pieces(folder: Path | None, name: str) -> bool:
    """Whether a network of that name lies there in pieces."""
    return folder is not None and (folder / f"{name}.tar.000").is_file()


def join(folder: Path, out: Path, name: str) -> None:
    """Put a network together again.

    Raises:
        ValueError: pieces that are missing or damaged.
    """
    facts = json.loads((folder / f"{name}.json").read_text())
    paths = [folder / f"{name}.tar.{place:03d}" for place in range(facts["pieces"])]
    lost = next((path for path in paths if not path.is_file()), None)
    if lost is not None:
        raise ValueError(f"{lost} is missing; fetch all {len(paths)} pieces of {name}")
    data = b"".join(path.read_bytes() for path in paths)
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise ValueError(f"the pieces of {name} in {folder} are damaged, or not of one network; fetch them again")
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar.getmembers():
            if Path(member.name).name != member.name or not member.isfile() or member.name.startswith("."):
                raise ValueError(f"the pieces of {name} hold {member.name!r}, which is no file of a network")
            (out / member.name).write_bytes(tar.extractfile(member).read())


def join_all(folder: Path, out: Path) -> None:
    """Put every network of a folder together, each into a folder of its name."""
    names = sorted(path.name.removesuffix(".tar.000") for path in folder.glob("*.tar.000"))
    if not names:
        raise ValueError(f"{folder} holds no pieces; name the folder that came back")
    for name in names:
        join(folder, out / name, name)
        print(out / name)


if __name__ == "__main__":
    sys.exit(main())
