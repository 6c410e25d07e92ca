"""model/ travels with the weights: alone in a folder it is the same network."""

import json
import runpy
import shutil
from pathlib import Path

import pytest
import torch

from jukebox_hf import JukeboxModel, JukeboxTokenizer
from jukebox_hf import model as model_package
from jukebox_hf.model.checkpoints.remote_code import carried, code_files
from jukebox_hf.model.sampling import cpp_source

LABELS = {"artist_ids": torch.tensor([1]), "genre_ids": torch.tensor([[1]])}

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
from lonely.networks.modeling_jukebox_prior import JukeboxPrior
for folder in sys.argv[1:]:
    expected = torch.load(f"{folder}/expected.pt", weights_only=True)
    prior = JukeboxPrior.from_pretrained(f"{folder}/weights")
    assert type(prior).__module__ == "lonely.networks.modeling_jukebox_prior"
    with torch.no_grad():
        print(torch.equal(prior(**expected["inputs"]).logits, expected["logits"]))
"""
    )
    flavours = sorted(path.name for path in flavour_folder.iterdir() if path.name != "lonely")
    assert run_python(code, *flavours, cwd=flavour_folder).split() == ["True"] * 3


def _carry_code(folder, **auto_maps):
    """Lay the code beside the weights, and name its classes in the JSON files that Auto classes read."""
    for file in code_files():
        (folder / file.name).write_text(carried(file))
    for name, auto_map in auto_maps.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": auto_map}))


def test_transformers_loads_it_as_remote_code(flavour_folder, run_python):
    classes = {
        "AutoConfig": "configuration_jukebox.JukeboxPriorConfig",
        "AutoModel": "modeling_jukebox_prior.JukeboxPrior",
    }
    _carry_code(flavour_folder / "prefix" / "weights", config=classes)
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


@torch.no_grad()
def test_transformers_loads_the_whole_model_and_its_tokenizer_as_remote_code(tmp_path, root, run_python):
    source = root / "tests" / "reference" / "transformers_v4" / "tiny_1b" / "bin"
    model, tokenizer = JukeboxModel.from_pretrained(source), JukeboxTokenizer.from_transformers_v4(source)
    model.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    classes = {"AutoConfig": "configuration_jukebox.JukeboxConfig", "AutoModel": "modeling_jukebox.JukeboxModel"}
    words = {"AutoTokenizer": ["tokenization_jukebox.JukeboxTokenizer", None]}
    _carry_code(tmp_path / "whole", config=classes, tokenizer_config=words)
    audio, upper = torch.randn(1, 1, 1024), torch.arange(4)[None]
    expected = {"audio": audio, "upper": upper, "codes": model.vqvae.encode(audio).audio_codes}
    expected["logits"] = model.prior(1)(upper, upper_codes=upper, **LABELS).logits
    torch.save(expected, tmp_path / "expected.pt")
    code = (
        BLOCK
        + f"""
import torch
torch.set_num_threads(1)
from transformers import AutoModel, AutoTokenizer
expected = torch.load("expected.pt", weights_only=True)
model = AutoModel.from_pretrained("whole", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained("whole", trust_remote_code=True)
labels = {{"artist_ids": torch.tensor([1]), "genre_ids": torch.tensor([[1]])}}
for part in (model, model.vqvae, model.prior(1), tokenizer):
    assert type(part).__module__.startswith("transformers_modules"), type(part)
with torch.no_grad():
    codes = model.vqvae.encode(expected["audio"]).audio_codes
    logits = model.prior(1)(expected["upper"], upper_codes=expected["upper"], **labels).logits
print(all(map(torch.equal, codes, expected["codes"])), torch.equal(logits, expected["logits"]))
print(tokenizer("La la").input_ids == {tokenizer("La la").input_ids})
"""
    )
    environment = {"HF_MODULES_CACHE": str(tmp_path / "cache")}
    assert run_python(code, cwd=tmp_path, env=environment).split()[-3:] == ["True"] * 3


def test_the_c_of_native_steps_travels_as_text_and_again_from_where_it_came(tmp_path):
    folder = Path(cpp_source.__file__).parent
    assert cpp_source.source_files()["cpp_step.c"] == (folder / "cpp_step.c").read_text()
    for _ in range(2):
        (tmp_path / "cpp_source.py").write_text(carried(folder / "cpp_source.py"))
        found = runpy.run_path(str(tmp_path / "cpp_source.py"))
        assert found["CARRIED"] == found["source_files"]() == cpp_source.source_files()
        folder = tmp_path
