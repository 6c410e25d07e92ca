"""The page on sharing an artist: its commands and code run as they stand, one after the other, on a small Jukebox.

Only the sizes differ: few steps, short songs, and level 1 is the top one.
"""

import os
import re
import shlex

import numpy as np
import pytest
import soundfile

from jukebox_hf import JukeboxModel

pytest.importorskip("peft")
QUICK = {
    "finetune": ["--steps", "3", "--replay", "2", "--sample-seconds", "0", "--device", "cpu", "--bf16", "false"],
    "generate": ["--seconds", "0.5"],
}


@pytest.fixture(scope="module")
def page(request):
    root = request.config.rootpath
    return (root / "docs/how-to/share-an-artist.md").read_text(encoding="utf-8").replace("prior_2", "prior_1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_whole):
    place = tmp_path_factory.mktemp("share")
    make_whole(place)
    (place / "whole").rename(place / "my-jukebox")
    (place / "songs").mkdir()
    for number in range(3):
        sound = np.random.default_rng(number).normal(0, 0.1, 1500)
        soundfile.write(place / "songs" / f"{number}.wav", sound, 1000)
    return place


@pytest.fixture(scope="module")
def done(page, folder, run_to_the_end):
    """What each command printed."""
    printed = {}
    for block in re.findall(r"^```bash\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL):
        for command in block.replace("\\\n", " ").strip().splitlines():
            words = shlex.split(command.replace("--levels 2", "--levels 1"))[1:]
            printed[command] = run_to_the_end(*words, *QUICK.get(words[0], ()), folder=folder)
    return printed


def test_every_command_of_the_page_runs(done, folder):
    assert len(done) == 8
    assert (folder / "band.safetensors").stat().st_size < 4000
    for name in ("song", "again", "tuned", "mixed"):
        assert (folder / f"{name}.wav").is_file()
    songs = [soundfile.read(folder / f"{name}.wav")[0] for name in ("song", "again")]
    assert np.array_equal(*songs) or len(songs[0]) == len(songs[1])
    assert (folder / "band-lora" / "prior_1" / "adapter_model.safetensors").is_file()


@pytest.mark.usefixtures("done")
def test_the_code_of_the_page_runs(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    found = {}
    for block in blocks:
        exec(compile(block.replace("seconds=6", "seconds=0.5"), "page", "exec"), found)
    assert len(found["song"]["audio"]) == 500 // 16 * 16
    assert found["pipe"].model.active_adapters() == []
    base = JukeboxModel.from_pretrained("my-jukebox").prior(1).state_dict()
    state = found["pipe"].model.prior(1).state_dict()
    assert all(state[name].shape != tensor.shape or (state[name] == tensor).all() for name, tensor in base.items())
    assert "lora_A" in str(found["prior"])
    assert os.getcwd() == str(folder)
