"""model/ travels with the weights: alone in a folder it is the same network."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from jukebox_hf import model as model_package

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jukebox_hf", "conversion"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
try:
    import jukebox_hf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("jukebox_hf can be imported; this would prove nothing")
"""


@pytest.fixture
def flavour_folder(tmp_path, tiny_prior, inputs_for):
    """A folder with the weights, inputs and logits of three kinds of prior."""
    for flavour in ("prefix", "encoder", "upsampler"):
        prior = tiny_prior(flavour)
        (tmp_path / flavour).mkdir()
        _save(prior, inputs_for(prior.config), tmp_path / flavour)
    return tmp_path


def _save(prior, inputs, folder):
    prior.save_pretrained(folder / "weights")
    with torch.no_grad():
        torch.save({"inputs": inputs, "logits": prior(**inputs).logits}, folder / "expected.pt")


def test_model_alone_in_a_folder_gives_the_same_logits(flavour_folder, run_python):
    shutil.copytree(model_package.__path__[0], flavour_folder / "lonely", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        BLOCK
        + """
import torch
torch.set_num_threads(1)
sys.path.insert(0, ".")
from lonely.modeling_jukebox_prior import JukeboxPrior
for folder in sys.argv[1:]:
    expected = torch.load(f"{folder}/expected.pt", weights_only=True)
    prior = JukeboxPrior.from_pretrained(f"{folder}/weights")
    assert type(prior).__module__ == "lonely.modeling_jukebox_prior"
    with torch.no_grad():
        print(torch.equal(prior(**expected["inputs"]).logits, expected["logits"]))
"""
    )
    flavours = sorted(path.name for path in flavour_folder.iterdir() if path.name != "lonely")
    assert run_python(code, *flavours, cwd=flavour_folder).split() == ["True"] * 3


def test_transformers_loads_it_as_remote_code(flavour_folder, run_python):
    weights = flavour_folder / "prefix" / "weights"
    for file in Path(model_package.__path__[0]).glob("[!_]*.py"):
        shutil.copy(file, weights)
    config = json.loads((weights / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_jukebox.JukeboxPriorConfig",
        "AutoModel": "modeling_jukebox_prior.JukeboxPrior",
    }
    (weights / "config.json").write_text(json.dumps(config))
    code = (
        BLOCK
        + """
import torch
torch.set_num_threads(1)
from transformers import AutoModel
expected = torch.load("prefix/expected.pt", weights_only=True)
prior = AutoModel.from_pretrained("prefix/weights", trust_remote_code=True)
assert type(prior).__module__.startswith("transformers_modules"), type(prior)
with torch.no_grad():
    print(torch.equal(prior(**expected["inputs"]).logits, expected["logits"]))
"""
    )
    environment = {"HF_MODULES_CACHE": str(flavour_folder / "cache")}
    assert run_python(code, cwd=flavour_folder, env=environment).endswith("True")
