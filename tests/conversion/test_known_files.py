"""What leaves the house: only files we know, no code of others, nothing from elsewhere, modes as the umask says."""

import errno
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors import SafetensorError

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.finetune_run import run_finetuning
from jukebox_hf.conversion.convert_openai import OpenAIFiles, convert_openai
from jukebox_hf.conversion.convert_transformers_v4 import convert_transformers_v4
from jukebox_hf.conversion.export_hub import export_hub
from jukebox_hf.conversion.quantize import quantize_repository
from jukebox_hf.conversion.staging import staged
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.training.assemble import assemble, put_prior, put_priors
from jukebox_hf.training.checkpoints import seal
from jukebox_hf.training.consolidate import consolidate
from jukebox_hf.training.encode_dataset import encode_dataset
from jukebox_hf.training.share import export_style, import_adapter, write_adapter


@pytest.fixture
def source(tmp_path):
    """A copy of the tiny model."""
    return shutil.copytree(tiny_repository(), tmp_path / "source")


@pytest.fixture
def mask():
    """A setter of the umask, which is put back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_a_link_to_a_secret_is_refused_by_name(source, tmp_path):
    (tmp_path / "secret").write_text("password")
    (source / "README.md").unlink(missing_ok=True)
    (source / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=r"README\.md is a symbolic link to .*secret"):
        export_hub(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "make",
    [
        quantize_repository,
        lambda source, out: put_priors([source / "prior_0"], out, str(source)),
        lambda source, out: import_adapter("a-style", out, str(source)),
        lambda source, out: run_finetuning(FinetuneRequest(songs="songs", model=str(source), artist="Bo"), out, print),
    ],
    ids=["quantize", "put_priors", "import_adapter", "finetune"],
)
@pytest.mark.parametrize("name", ["LICENSE", "sample.wav", "trained_on.json"])
def test_a_link_is_refused_before_the_model_is_opened_that_is_copied(source, tmp_path, monkeypatch, make, name):
    monkeypatch.setattr(JukeboxModel, "from_pretrained", lambda *_, **__: pytest.fail("a model is opened"))
    (tmp_path / "secret").write_text("{}")
    (source / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match=rf"{name} is a symbolic link to .*secret"):
        make(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "source"]


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (lambda source, out: put_prior(f"{source}/prior_0", out, source), None),
        (lambda source, out: assemble(out, Path(source), [source] * 3), None),
        (lambda source, out: export_style(Path(source), "Bo Vale", f"{out}.safetensors"), None),
        (lambda source, out: import_adapter(Path(source), out, source), "not an adapter"),
        (lambda source, out: write_adapter(out, Path(source), [f"{source}/prior_0"]), "was not trained by LoRA"),
        (lambda source, out: consolidate(f"{source}/checkpoint-1", out), "weights do not lie in parts"),
        (
            lambda source, out: convert_openai(out, files=OpenAIFiles(f"{source}/vqvae", ()), labels=source),
            "is not a file",
        ),
        (lambda source, out: convert_transformers_v4(Path(source), out), "of this package already"),
        (lambda source, out: quantize_repository(source, source), "is the source itself"),
        (lambda source, out: encode_dataset(Path(source, "songs"), out, Path(source)), "is no folder"),
    ],
    ids=["put_prior", "assemble", "export", "import", "write", "consolidate", "openai", "v4", "quantize", "encode"],
)
def test_folders_are_named_by_text_or_path(source, tmp_path, make, refused):
    (source / "checkpoint-1").mkdir()
    seal(source / "checkpoint-1")
    with nullcontext() if refused is None else pytest.raises(ValueError, match=refused):
        make(str(source), str(tmp_path / "out"))
    assert refused or list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["prior_0", "vqvae"])
def test_a_folder_or_weights_that_are_links_elsewhere_are_refused(source, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    (source / name).rename(elsewhere)
    (source / name).symlink_to(elsewhere)
    with pytest.raises(ValueError, match=f"{name} is a symbolic link"):
        export_hub(source, tmp_path / "out")
    (source / name).unlink()
    (source / name).mkdir()
    for file in elsewhere.iterdir():
        (source / name / file.name).symlink_to(file)
    with pytest.raises(ValueError, match=f"{name}.* is a symbolic link"):
        export_hub(source, tmp_path / "out")
    if name != "vqvae":  # which is in memory and written anew
        with pytest.raises(ValueError, match=f"{name}.* is a symbolic link"):
            JukeboxModel.from_pretrained(source).save_pretrained(tmp_path / "saved")


def test_a_snapshot_of_the_hubs_cache_is_links_and_is_exported(source, tmp_path):
    cache = tmp_path / "models--someone--jukebox"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots" / "abc"
    for number, path in enumerate(path for path in sorted(source.rglob("*")) if path.is_file()):
        path.rename(cache / "blobs" / str(number))
        link = snapshot / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(cache / "blobs" / str(number))
    export_hub(snapshot, tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert (tmp_path / "out" / "prior_0" / "model.safetensors").stat().st_size > 0
    JukeboxModel.from_pretrained(snapshot).save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "prior_2" / "model.safetensors").is_file()


def test_code_of_others_and_what_nobody_knows_stay_behind(source, tmp_path):
    for name in ("evil.py", "modeling_jukebox_extra.py", ".env", "id_rsa", "pytorch_model.bin", "prior_0/evil.py"):
        (source / name).write_text("print('run')")
    (source / ".git").mkdir()
    for name in ("config.json", "prior_0/config.json", "tokenizer_config.json", "generation_config.json"):
        content = json.loads((source / name).read_text())
        content["auto_map"] = {"AutoModel": "evil--repo.Evil"}
        (source / name).write_text(json.dumps(content))
    export_hub(source, tmp_path / "out")
    copied = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert not copied & {"evil.py", "modeling_jukebox_extra.py", ".env", "id_rsa", "pytorch_model.bin", ".git"}
    assert "prior_0/evil.py" not in copied
    assert "modeling_jukebox.py" in copied
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.json")]
    assert not any("evil" in text for text in texts)


@pytest.mark.parametrize("bits", [0o077, 0o022, 0o002, 0o000])
def test_folders_and_files_have_the_modes_of_the_umask(source, tmp_path, mask, bits):
    mask(bits)
    export_hub(source, tmp_path / "out")
    JukeboxModel.from_pretrained(source).save_pretrained(tmp_path / "saved")
    for root in (tmp_path / "out", tmp_path / "saved"):
        for path in (root, *root.rglob("*")):
            wanted = (0o777 if path.is_dir() else 0o666) & ~bits
            assert path.stat().st_mode & 0o777 == wanted, path


def test_a_full_disk_is_named_and_leaves_the_older_repository(source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_hub(source, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match=f"{out} could not be written .No space left on device.; what was there"):
        export_hub(source, out, force=True)
    with (
        pytest.raises(OSError, match="could not be written"),
        staged(out, force=True),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
