"""The tiny model inside the package: where it lies.

Flows in: nothing, or the name of a model. Flows out: its folder.
"""

from pathlib import Path

TINY = "tiny"  # its name on the command line
_TINY_FOLDER = Path(__file__).parents[2] / "tiny"


def tiny_repository() -> str:
    """The folder of the tiny model that comes with the package, for `from_pretrained` and `pipeline`.

    It was trained from nothing on songs made by `jukebox-hf synth-corpus`, sings at 16 kHz, and is Apache-2.0.

    Raises:
        FileNotFoundError: a package without it.
    """
    if not (_TINY_FOLDER / "config.json").is_file():
        raise FileNotFoundError(f"this jukebox_hf came without its tiny model ({_TINY_FOLDER.name}/); install it again")
    return str(_TINY_FOLDER)


def located(name: str) -> str:
    """The folder of a model's name: `tiny` is the one inside the package, unless a model of that name is here."""
    return tiny_repository() if name == TINY and not Path(name, "config.json").is_file() else name
