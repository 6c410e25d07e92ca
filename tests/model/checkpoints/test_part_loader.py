"""Where the parts of a model come from: the same place from the first file to the last, whatever happens meanwhile."""

import shutil

import pytest
import torch

from jukebox_hf import JukeboxModel, JukeboxPrior, sample_window
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings

CODES = torch.arange(8)[None]
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def hub(repository, model, tmp_path):
    """The Hub's cache with two commits of one repository; `main` is the first, and the second's top prior differs."""
    cache = tmp_path / "cache" / "models--someone--jukebox"
    shutil.copytree(repository, cache / "snapshots" / FIRST)
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(3)
    model.save_pretrained(cache / "snapshots" / SECOND)
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(FIRST)
    return cache


def _head(model):
    return model.prior(1).lm_head.weight


def test_relative_folder_is_found_again_from_another_folder(repository, model, tmp_path, monkeypatch):
    monkeypatch.chdir(repository.parent)
    opened = JukeboxModel.from_pretrained(repository.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert torch.equal(_head(opened), _head(model))
    opened.save_pretrained("copy")
    assert (tmp_path / "elsewhere" / "copy" / "prior_0" / "model.safetensors").is_file(), "copied from the old place"


def test_priors_loaded_later_come_from_the_commit_of_the_configuration(hub, tmp_path):
    options = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    opened = JukeboxModel.from_pretrained("someone/jukebox", **options)
    (hub / "refs" / "main").write_text(SECOND)
    moved = JukeboxModel.from_pretrained("someone/jukebox", **options)
    torch.testing.assert_close(_head(moved), 3 * _head(opened))
    opened.release(1)
    opened.save_pretrained(tmp_path / "copy")
    assert torch.equal(_head(JukeboxModel.from_pretrained(tmp_path / "copy")), _head(opened)), "copies are of it too"


@pytest.mark.parametrize("placed", [{"transformer": "cpu", "lm_head": "disk"}, {"": "disk"}, {"a": 0, "b": 1}])
def test_prior_that_a_device_map_scatters_is_refused_before_it_samples(tiny_prior, inputs_for, placed):
    prior = tiny_prior("bare")
    prior.hf_device_map = {"": "cpu"}
    tokens, greedy = inputs_for(prior.config)["codes"], SamplingSettings(temperature=0)
    assert sample_window(prior, tokens[:, :2], prior.condition(), 3, greedy).codes.shape == (2, 3)
    prior.hf_device_map = placed
    with pytest.raises(ValueError, match=r"on one device to sample, but device_map put it on .*; use"):
        sample_window(prior, tokens[:, :2], prior.condition(), 3, greedy)


def test_a_model_whose_folder_has_gone_is_saved_whole_or_not_at_all(repository, model, tmp_path):
    part, whole = JukeboxModel.from_pretrained(repository), JukeboxModel.from_pretrained(repository)
    for opened, levels in ((part, (0,)), (whole, (0, 1))):
        for level in levels:
            opened.prior(level)
    shutil.rmtree(repository)
    for refused in (lambda: part.save_pretrained(tmp_path / "part"), part.own_processor):
        with pytest.raises(FileNotFoundError, match=r"is no folder here and cannot be a name .*; check the path"):
            refused()
    assert not (tmp_path / "part").exists()
    with pytest.warns(UserWarning, match="is gone since the model was opened, so its processor and card are not saved"):
        whole.save_pretrained(tmp_path / "whole")
    assert torch.equal(_head(JukeboxModel.from_pretrained(tmp_path / "whole")), _head(model))


def test_a_part_that_is_not_there_is_told_from_those_that_are(repository):
    with pytest.raises(ValueError, match=r"subfolder='prior_3' is not in .*, which has prior_0, prior_1, vqvae;"):
        JukeboxPrior.from_pretrained(repository, subfolder="prior_3")


def _overwritten(model, repository, tmp_path):
    """Another prior of the same shape where the top prior was."""
    with torch.no_grad():
        model.prior(1).lm_head.weight.mul_(3)
    model.prior(1).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", repository / "prior_1" / "model.safetensors")


def test_a_prior_that_was_replaced_since_the_model_was_opened_is_refused(repository, model, tmp_path):
    opened = JukeboxModel.from_pretrained(repository)
    _overwritten(model, repository, tmp_path)
    said = r"prior_1.model\.safetensors changed since the model was opened, .*; open the model again with from_pretr"
    doors = (
        lambda: opened.generate(seconds=0.05, levels=[1]),
        lambda: opened.prior(1),
        lambda: opened.save_pretrained(tmp_path / "copy"),
    )
    for door in doors:
        with pytest.raises(ValueError, match=said):
            door()
    assert opened.prior(0) is not None, "which is as it was"
    assert torch.equal(_head(JukeboxModel.from_pretrained(repository)), _head(model))


def test_shards_in_place_of_one_file_are_another_prior(repository, model):
    opened = JukeboxModel.from_pretrained(repository)
    (repository / "prior_1" / "model.safetensors").unlink()
    model.prior(1).save_pretrained(repository / "prior_1", max_shard_size="1KB")
    with pytest.raises(ValueError, match=r"prior_1.model-00001-of-\d+\.safetensors changed since the model was opened"):
        opened.prior(1)


def test_a_model_saved_over_its_own_folder_goes_on(repository):
    opened = JukeboxModel.from_pretrained(repository)
    with torch.no_grad():
        opened.prior(1).lm_head.weight.mul_(3)
    wanted = _head(opened).clone()
    opened.save_pretrained(repository)
    opened.release(1)
    assert opened.loaded_levels == ()
    assert torch.equal(_head(opened), wanted)


def test_a_file_of_the_cache_that_was_fetched_again_is_the_same(hub, tmp_path):
    snapshot, blobs = hub / "snapshots" / FIRST, hub / "blobs"
    blobs.mkdir()
    file = snapshot / "prior_1" / "model.safetensors"
    shutil.move(file, blobs / "digest")
    file.symlink_to(blobs / "digest")
    opened = JukeboxModel.from_pretrained(snapshot)
    content = (blobs / "digest").read_bytes()
    (blobs / "digest").unlink()
    (blobs / "digest").write_bytes(content)
    assert opened.prior(1) is not None
