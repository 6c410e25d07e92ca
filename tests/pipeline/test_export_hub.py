"""An exported repository makes the same songs where jukebox_hf is not installed."""

import re
import shutil

import numpy as np
import pytest
from transformers import pipeline

from jukebox_hf import JukeboxModel, JukeboxPipeline, JukeboxProcessor
from jukebox_hf.conversion.export_hub import export_hub

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jukebox_hf", "conversion"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
import numpy as np, torch
torch.set_num_threads(1)
"""
WORDS = "dict(artist='the testers', genre='soft rock', seed=7)"


@pytest.fixture
def exported(repository, tmp_path):
    export_hub(repository, tmp_path / "exported")
    return tmp_path / "exported"


def _song(model, processor):
    inputs = processor("a song", artist="the testers", genre="soft rock", seed=7)
    return processor.batch_decode(model.generate(inputs, max_new_tokens=4))[0]


def test_remote_code_makes_the_same_song(exported, model, processor, run_python, tmp_path):
    code = (
        BLOCK
        + f"""
from transformers import AutoModelForTextToWaveform, AutoProcessor
processor = AutoProcessor.from_pretrained("exported", trust_remote_code=True)
model = AutoModelForTextToWaveform.from_pretrained("exported", trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules"), type(model)
assert type(processor.feature_extractor).__module__.startswith("transformers_modules")
inputs = processor("a song", **{WORDS})
np.save("song.npy", processor.batch_decode(model.generate(inputs, max_new_tokens=4))[0])
library = sys.modules[type(model).__module__.replace("modeling_jukebox", "cpp_library")]
print("native steps:", library.native_library())
"""
    )
    said = run_python(code, cwd=tmp_path, env={"HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"})
    if shutil.which("cc"):
        assert re.search(r"native steps: .*words='compiled with \S+, since exported code has no C extension", said)
    assert np.array_equal(np.load(tmp_path / "song.npy"), _song(model, processor))


def test_stock_pipeline_plays_remote_code(exported, model, processor, run_python, tmp_path):
    code = (
        BLOCK
        + f"""
from transformers import pipeline
pipe = pipeline("text-to-audio", "exported", trust_remote_code=True)
song = pipe("a song", preprocess_params={WORDS}, generate_kwargs={{"max_new_tokens": 4}})
print(song["sampling_rate"])
np.save("song.npy", song["audio"])
"""
    )
    environment = {"HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    assert run_python(code, cwd=tmp_path, env=environment).endswith("44100")
    assert np.array_equal(np.load(tmp_path / "song.npy"), _song(model, processor))


def test_exporting_leaves_the_source_alone_and_refuses_taken_folders(exported, repository, tmp_path):
    assert not list(repository.glob("*.py"))
    assert (exported / "modeling_jukebox.py").is_file()
    assert not (exported / "__init__.py").exists()
    with pytest.raises(ValueError, match="exists already"):
        export_hub(repository, exported)
    export_hub(repository, exported, force=True)
    with pytest.raises(ValueError, match="is the source itself"):
        export_hub(exported, exported, force=True)
    with pytest.raises(ValueError, match="is not a folder"):
        export_hub(tmp_path / "nothing", tmp_path / "out")


def test_with_the_package_imported_an_export_needs_no_flag(exported):
    pipe = pipeline("text-to-audio", model=str(exported))
    assert type(pipe) is JukeboxPipeline
    assert type(pipe.model) is JukeboxModel
    assert type(pipe.processor) is JukeboxProcessor
