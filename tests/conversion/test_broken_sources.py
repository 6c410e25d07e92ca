"""A repository that nobody could load is refused before anything is written; a model that is nowhere, by its name."""

import os
import shutil
import zipfile

import pytest
import torch

from jukebox_hf.app.label_names import known_names, listed_labels
from jukebox_hf.app.repository_facts import describe
from jukebox_hf.conversion.export_hub import export_hub
from jukebox_hf.conversion.quantize import quantize_repository
from jukebox_hf.model.checkpoints.tiny_model import tiny_repository
from jukebox_hf.model.files import checkpoint_files
from jukebox_hf.model.modeling_jukebox import JukeboxModel

INDEX = "model.safetensors.index.json"


@pytest.fixture
def source(tmp_path):
    """A copy of the tiny model."""
    return shutil.copytree(tiny_repository(), tmp_path / "source")


def with_index(folder, text):
    """Weights in shards, as an index says that nobody wrote."""
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(text)


DAMAGES = {
    "prior_1/model.safetensors is not there": lambda source: (source / "prior_1" / "model.safetensors").unlink(),
    "vqvae/model.safetensors is a web page": lambda source: (source / "vqvae/model.safetensors").write_text("<html>"),
    "prior_1/config.json": lambda source: shutil.rmtree(source / "prior_1"),
    "vqvae/config.json": lambda source: shutil.rmtree(source / "vqvae"),
    "must be plain file names": lambda source: with_index(source / "prior_2", '{"weight_map": {"a": "../../passwd"}}'),
    "of shape": lambda source: shutil.copy(source / "prior_1/model.safetensors", source / "prior_0/model.safetensors"),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_a_broken_repository_is_not_exported(source, tmp_path, words):
    DAMAGES[words](source)
    with pytest.raises((ValueError, OSError), match=words):
        export_hub(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


UNSINGABLE = {
    r"source/artists\.json gives '0' the id 'x'": ("artists.json", '{"0": "x"}'),
    r"artists\.json and genres\.json, but no tokenizer_config\.json": ("tokenizer_config.json", None),
    r"tokenizer_config\.json and genres\.json, but no artists\.json": ("artists.json", None),
    r"label_versions=\['v3', 'v3'\] has 2 levels": ("tokenizer_config.json", '{"label_versions": ["v3", "v3"]}'),
    r"tokenizer_config\.json is a web page": ("tokenizer_config.json", "<html>"),
    r"says temperature='hot'": ("generation_config.json", '{"temperature": "hot"}'),
}


@pytest.mark.parametrize("words", UNSINGABLE)
def test_what_could_not_be_sung_with_is_neither_exported_nor_quantized(source, tmp_path, words):
    name, text = UNSINGABLE[words]
    (source / name).unlink() if text is None else (source / name).write_text(text)
    said = []
    with pytest.raises(ValueError, match=words):
        export_hub(source, tmp_path / "out")
    with pytest.raises(ValueError, match=words) as refusal:
        quantize_repository(source, tmp_path / "out", say=said.append)
    assert not said, "of a level that was quantized in vain"
    assert "jukebox-hf/new" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_repository_without_lists_is_copied_and_nobody_is_told_to_sing_by_name(source, run_cli, tmp_path):
    for name in ("tokenizer_config.json", "artists.json", "genres.json"):
        (source / name).unlink()
    assert run_cli("export", source, tmp_path / "with_code")[0] == 0
    code, said, error = run_cli("quantize", source, tmp_path / "int8")
    assert code == 0, error
    assert "int8: a copy with int8 matrices; it has no lists of artists and genres either" in said
    assert "sing:" not in said


def test_a_variant_is_exported(source, tmp_path):
    JukeboxModel.from_pretrained(source).save_pretrained(tmp_path / "variant", variant="fp16")
    export_hub(tmp_path / "variant", tmp_path / "out")
    assert (tmp_path / "out" / "prior_0" / "model.fp16.safetensors").is_file()


def test_a_broken_prior_is_refused_before_another_is_quantized(source, tmp_path):
    with_index(source / "prior_0", '{"weight_map": {}}')
    said = []
    with pytest.raises(ValueError, match="is not an index of shards"):
        quantize_repository(source, tmp_path / "out", say=said.append)
    assert not said


@pytest.mark.parametrize("name", ["no/where", "nowhere", "", " ", "n" * 300])
def test_a_model_that_is_nowhere_is_named_and_not_the_hubs_address(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for ask in (describe, JukeboxModel.from_pretrained, listed_labels):
        with pytest.raises((ValueError, OSError), match=name if name.strip() else "without a name") as refusal:
            ask(name, 1) if ask is listed_labels else ask(name)
        assert "huggingface.co" not in str(refusal.value)
        assert "Errno" not in str(refusal.value)


def test_a_folder_that_may_not_be_read_is_not_called_empty(source, monkeypatch):
    access = os.access  # root may read anything
    monkeypatch.setattr(checkpoint_files.os, "access", lambda path, mode: "prior_1" not in str(path))
    with pytest.raises(ValueError, match="prior_1 may not be read by you"):
        describe(str(source))
    assert access(source, os.R_OK)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", ""])
def test_info_refuses_damaged_lists_and_does_without_any(source, text):
    (source / "artists.json").write_text(text)
    with pytest.raises(ValueError, match=r"artists\.json"):
        known_names(str(source))
    (source / "artists.json").unlink()
    assert known_names(str(source)) == []


# --- the checksums inside a zip file ---


def flip_a_byte(file, marker):
    """Change one bit in the middle of the entry whose name ends so; it is called so in full."""
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        entry = next(name for name in archive.namelist() if name.endswith(marker))
        data = archive.read(entry)
    content[content.index(data) + len(data) // 2] ^= 1
    file.write_bytes(content)
    return entry


def test_one_flipped_byte_of_a_checkpoint_is_noticed(run_cli, convert_words, chain_files, tmp_path, is_clean):
    file = shutil.copy(chain_files[1][0], tmp_path / "prior.pth.tar")
    entry = flip_a_byte(file, "/data/7")
    code, said, error = run_cli(*convert_words(tmp_path / "repo", priors=[file, *chain_files[1][1:]]))
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith(f"jukebox-hf: {file} is damaged in its entry {entry!r} (")
    assert error.endswith("; remove it and get it again\n")
    assert "wrote" not in said
    assert is_clean(tmp_path, file.name)


def test_one_flipped_byte_of_a_legacy_shard_is_noticed(run_cli, reference, tmp_path):
    folder = shutil.copytree(reference / "transformers_v4" / "tiny_1b" / "bin_sharded", tmp_path / "legacy")
    shard = folder / "pytorch_model-00002-of-00003.bin"
    entry = flip_a_byte(shard, "/data/7")
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, f"{shard} is damaged in its entry {entry!r} (" in error) == (2, True)
    assert not (tmp_path / "repo").exists()


def test_checkpoints_written_without_checksums_are_taken(run_cli, convert_words, chain_files, changed, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        file = changed(chain_files[1][0], lambda content: content)
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(file) as archive:
        assert not any(entry.CRC for entry in archive.infolist())
    assert run_cli(*convert_words(tmp_path / "repo", priors=[file, *chain_files[1][1:]]))[0] == 0
