"""The code that travels with the weights: model/ in one flat folder, and what tells transformers which class is which.

Flows out: Python files and `auto_map` entries in a repository, which transformers runs for those who pass
`trust_remote_code=True`. Nobody who imports jukebox_hf needs them.
"""

import json
import re
from pathlib import Path
from typing import Any

from ..checks.json_files import read_json
from ..sampling.cpp_source import source_files

_MODEL = "modeling_jukebox.JukeboxModel"
_PROCESSOR_CLASS = "processing_jukebox.JukeboxProcessor"
_EXTRACTOR_CLASS = "feature_extraction_jukebox.JukeboxFeatureExtractor"
_NOTHING_CARRIED = "\nCARRIED: dict[str, str] = {}\n"  # in cpp_source.py
_RELATIVE = re.compile(r"from \.+(?:\w+\.)*(\w+) import")
AUTO_MAPS: dict[str, dict[str, Any]] = {
    "config.json": {
        "AutoConfig": "configuration_jukebox.JukeboxConfig",
        "AutoModel": _MODEL,
        "AutoModelForTextToWaveform": _MODEL,
    },
    "processor_config.json": {"AutoProcessor": _PROCESSOR_CLASS, "AutoFeatureExtractor": _EXTRACTOR_CLASS},
    "tokenizer_config.json": {
        "AutoTokenizer": ["tokenization_jukebox.JukeboxTokenizer", None],
        "AutoProcessor": _PROCESSOR_CLASS,
    },
}


def code_files() -> list[Path]:
    """The Python files that travel: all of model/, or all beside this one, where it has travelled itself."""
    top = next(folder for folder in Path(__file__).parents if (folder / "modeling_jukebox.py").is_file())
    return sorted(top.rglob("[!_]*.py"), key=lambda file: file.name)


def flattened(code: str) -> str:
    """A file's code with its imports out of other rooms as imports from beside it.

    transformers' loader takes the dotted path of a relative import for the name of one file, so code that travels has
    no folders; the names of its files are all different (`tests/architecture`).
    """
    return _RELATIVE.sub(r"from .\1 import", code)


def carried(file: Path) -> str:
    """A file's code as it travels: flat, and with the C of native steps as text, since only Python is fetched."""
    code = flattened(file.read_text(encoding="utf-8"))
    return code.replace(_NOTHING_CARRIED, f"\nCARRIED: dict[str, str] = {source_files()!r}  # noqa: E501\n")


def write_code(folder: Path) -> None:
    """Put the code beside the weights of a repository, and its names into the files that have `auto_map`s."""
    for file in code_files():
        (folder / file.name).write_text(carried(file), encoding="utf-8")
    for name, auto_map in AUTO_MAPS.items():
        if (folder / name).is_file():
            _add_auto_map(folder / name, auto_map)


def _add_auto_map(path: Path, auto_map: dict[str, Any]) -> None:
    content = read_json(path)
    content["auto_map"] = auto_map
    if isinstance(content.get("feature_extractor"), dict):
        content["feature_extractor"]["auto_map"] = {"AutoFeatureExtractor": auto_map["AutoFeatureExtractor"]}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
