"""Legacy repositories converted by the command, and damaged ones refused."""

import json
import os
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from jukebox_hf import JukeboxModel, tiny_repository

LAYOUTS = [
    ("tiny_1b", "bin"),
    ("tiny_1b", "bin_sharded"),
    ("tiny_1b", "safetensors"),
    ("tiny_5b", "bin"),
    ("tiny_5b", "safetensors"),
]


@pytest.fixture
def legacy_copy(reference, tmp_path):
    """A legacy repository that a test may damage."""

    def copy(name="tiny_1b", layout="bin"):
        return shutil.copytree(reference / "transformers_v4" / name / layout, tmp_path / "legacy")

    return copy


def _parameters(model):
    return {
        f"{part}.{name}": tensor
        for part, module in [("vqvae", model.vqvae), *((f"prior_{level}", model.prior(level)) for level in range(3))]
        for name, tensor in module.state_dict().items()
    }


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_converted_repository_equals_the_legacy_one_read_directly(run_cli, reference, tmp_path, name, layout):
    source = reference / "transformers_v4" / name / layout
    code, said, errors = run_cli("convert", "transformers", source, tmp_path / "repo")
    assert (code, errors) == (0, "")
    assert "wrote" in said
    direct, converted = (_parameters(JukeboxModel.from_pretrained(path)) for path in (source, tmp_path / "repo"))
    assert direct.keys() == converted.keys()
    assert all(torch.equal(direct[key], converted[key]) for key in direct)
    stored = load_file(tmp_path / "repo" / "prior_1" / "model.safetensors")
    assert "lm_head.weight" not in stored, "of a tied pair one name is stored"


def test_older_files_that_list_their_priors_one_by_one_are_read_too(legacy_copy):
    folder = legacy_copy()
    config = json.loads((folder / "config.json").read_text())
    config |= {f"prior_{place}": prior for place, prior in enumerate(config.pop("prior_config_list"))}
    model = JukeboxModel.from_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    older = JukeboxModel.from_pretrained(folder)
    assert older.config.to_dict() == model.config.to_dict()
    assert torch.equal(older.prior(2).lm_head.weight, model.prior(2).lm_head.weight)


def test_older_files_that_hold_more_priors_than_they_count_are_refused(run_cli, legacy_copy, tmp_path):
    folder = legacy_copy()
    config = json.loads((folder / "config.json").read_text())
    config |= {f"prior_{place}": prior for place, prior in enumerate(config.pop("prior_config_list"))}
    (folder / "config.json").write_text(json.dumps(config | {"nb_priors": 2}))
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, "nb_priors=2 in config.json, but it describes 3 priors" in error) == (2, True)


def test_a_repository_of_ours_is_not_taken_for_a_legacy_one(run_cli, tmp_path, is_clean):
    code, _, error = run_cli("convert", "transformers", tiny_repository(), tmp_path / "repo")
    assert code == 2
    assert error == f"jukebox-hf: {tiny_repository()} is a repository of this package already; use it as it is\n"
    assert is_clean(tmp_path)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/passwd", "sub/inside.bin", ".."])
def test_shards_outside_the_folder_are_refused(run_cli, legacy_copy, tmp_path, name):
    folder = legacy_copy(layout="bin_sharded")
    index = folder / "pytorch_model.bin.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert code == 2
    assert "shards must be plain file names" in error
    assert not (tmp_path / "repo").exists()


class _Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def _edit_config(key, value):
    def damage(folder):
        config = json.loads((folder / "config.json").read_text())
        config[key] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def _edit_state(edit):
    def damage(folder):
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        edit(state)
        torch.save(state, folder / "pytorch_model.bin")

    return damage


EMBEDDING = "priors.0.prior.embed_tokens.weight"
TIED = ("priors.1.prior.fc_proj_out.weight", "priors.1.prior.embed_tokens.weight")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON ("),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json must hold a JSON object"),
        (_edit_config("model_type", "bert"), "is not a Jukebox repository of transformers 4"),
        (_edit_config("vqvae_config", {}), "lacks 'levels'"),
        (_edit_config("nb_priors", 0), "nb_priors=0 in config.json must be an integer from 1 to 16"),
        (_edit_config("nb_priors", "3"), "nb_priors='3' in config.json must be an integer from 1 to 16"),
        (_edit_config("nb_priors", 5), "nb_priors=5 in config.json, but it describes 3 priors"),
        (lambda folder: (folder / "pytorch_model.bin").unlink(), "holds none of model.safetensors"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b""), "pytorch_model.bin is empty"),
        (lambda folder: torch.save({"a": _Evil()}, folder / "pytorch_model.bin"), "it holds code ("),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"noise" * 9), "is not a safetensors file"),
        (_edit_state(lambda state: state.pop(EMBEDDING)), f"1 missing ({EMBEDDING})"),
        (_edit_state(lambda state: state.update(stranger=torch.zeros(1))), "1 unexpected (stranger)"),
        (_edit_state(lambda state: state.update({EMBEDDING: state[EMBEDDING].T.contiguous()})), "has shape"),
        (_edit_state(lambda state: state[EMBEDDING].fill_(float("inf"))), "not finite"),
        (
            lambda folder: (folder / "artists.json").write_text('{"unknown": 0, "unknown.v2": 0, "someone.v2": 70}'),
            "artist list of level",
        ),
    ],
    ids=[
        "json",
        "list",
        "type",
        "field",
        "no priors",
        "text",
        "five priors",
        "gone",
        "empty",
        "code",
        "noise",
        "missing",
        "extra",
        "shape",
        "inf",
        "ids",
    ],
)
def test_damaged_legacy_repository_is_refused_in_one_sentence(
    run_cli, legacy_copy, tmp_path, monkeypatch, damage, message, is_clean
):
    monkeypatch.chdir(tmp_path)
    folder = legacy_copy()
    damage(folder)
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert is_clean(tmp_path, "legacy")


TOKENIZER_FILES = ("artists.json", "genres.json", "lyrics.json", "tokenizer_config.json")


@pytest.mark.parametrize("gone", [*([name] for name in TOKENIZER_FILES), TOKENIZER_FILES[1:]], ids=" ".join)
def test_names_are_not_thrown_away_where_one_of_their_files_is_missing(run_cli, legacy_copy, tmp_path, gone, is_clean):
    folder = legacy_copy(layout="safetensors")
    for name in gone:
        (folder / name).unlink()
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, error) == (2, f"jukebox-hf: {folder} lacks {' and '.join(gone)}; complete the download\n")
    assert is_clean(tmp_path, "legacy")


def test_a_legacy_repository_without_any_names_is_converted_and_says_so(run_cli, legacy_copy, tmp_path):
    folder = legacy_copy(layout="safetensors")
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    code, said, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, error) == (0, "")
    assert f"{folder} has no tokenizer files, so artists and genres have no names but their ids" in said


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda state: state.update({TIED[0]: state[TIED[0]] + 1}), f"{TIED[0]} and {TIED[1]} differ, but this"),
        (lambda state: state.update({TIED[1]: state[TIED[1]].to_sparse()}), f"{TIED[1]} is not a dense tensor"),
    ],
    ids=["untied", "sparse"],
)
def test_damaged_legacy_tensors_are_refused_where_they_are_read_directly_too(legacy_copy, edit, message):
    folder = legacy_copy()
    _edit_state(edit)(folder)
    model = JukeboxModel.from_pretrained(folder)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.prior(1)


@pytest.mark.parametrize("out", [".", ".."])
def test_target_that_holds_the_working_folder_is_refused(run_cli, legacy_copy, tmp_path, monkeypatch, out, is_clean):
    folder = legacy_copy()
    (tmp_path / "in" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "in" / "here")
    code, _, error = run_cli("convert", "transformers", folder, out)
    assert (code, error.count("\n")) == (2, 1)
    assert f"{out} is the folder you are in, or holds it, and cannot be replaced; name a new folder" in error
    assert is_clean(tmp_path, "in", "legacy")


def test_truncated_shard_is_refused(run_cli, legacy_copy, tmp_path):
    folder = legacy_copy(layout="bin_sharded")
    shard = folder / "pytorch_model-00002-of-00003.bin"
    shard.write_bytes(shard.read_bytes()[:-2000])
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, "is not a checkpoint of plain tensors" in error) == (2, True)


def test_missing_shard_is_refused(run_cli, legacy_copy, tmp_path):
    folder = legacy_copy(layout="bin_sharded")
    (folder / "pytorch_model-00002-of-00003.bin").unlink()
    code, _, error = run_cli("convert", "transformers", folder, tmp_path / "repo")
    assert (code, "lacks the shard pytorch_model-00002-of-00003.bin" in error) == (2, True)


def test_half_precision_legacy_files_keep_their_dtype(legacy_copy):
    folder = legacy_copy(layout="safetensors")
    state = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in state.items()}, folder / "model.safetensors")
    model = JukeboxModel.from_pretrained(folder)
    assert model.prior(2).dtype == torch.float16
    assert model.prior(2).lm_head.weight.dtype == torch.float32
    assert JukeboxModel.from_pretrained(folder, dtype=torch.float32).prior(2).dtype == torch.float32
