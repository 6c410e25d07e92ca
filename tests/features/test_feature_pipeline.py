"""Features by transformers' pipelines, in `datasets.map`, and in Ray Data."""

import pickle
import sys

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

from jukebox_hf import JukeboxFeatures, register
from jukebox_hf.features.embedded_batches import EmbedBatches
from jukebox_hf.registration import unregister

TASK, RATE = "music-feature-extraction", 1000


def test_a_task_of_transformers_gives_features(repository, model, sound, tmp_path):
    made = pipeline(TASK, model=str(repository), layers=(2, 3), pool="none")
    assert type(made).__name__ == "JukeboxFeaturePipeline"
    assert made.model.loaded_levels == ()  # the whole prior is never loaded
    wanted = JukeboxFeatures(model, layers=(2, 3), pool="none")
    clips = [sound(0.5, 1), sound(0.3, 2)]
    soundfile.write(tmp_path / "a.wav", clips[0], RATE, subtype="FLOAT")
    assert np.array_equal(np.float32(made(clips[0])), wanted.track(clips[0]).values)
    for many in (made(clips, return_tensors=True), list(made(one for one in (tmp_path / "a.wav", clips[1])))):
        for found, clip in zip(many, clips, strict=True):
            assert np.array_equal(np.float32(found), wanted.track(clip).values)
    assert made(clips[0], sampling_rate=2000, return_tensors=True).shape == (2, 31, 16)
    with pytest.raises(ValueError, match="layers says nothing here; a call takes sampling_rate"):
        made(clips[0], layers=2)


def test_the_task_is_for_a_jukebox_alone(model):
    with pytest.raises(ValueError, match="kind 'jukebox_vqvae', but music-feature-extraction is of a Jukebox"):
        pipeline(TASK, model=model.vqvae)


def test_the_task_comes_and_goes_with_registration():
    tasks = sys.modules["transformers.pipelines"].SUPPORTED_TASKS
    assert TASK in tasks
    unregister()
    try:
        assert TASK not in tasks
    finally:
        register()
    assert TASK in tasks


def test_a_map_over_a_data_set_gives_the_same_and_says_what_failed(repository, model, sound, tmp_path):
    datasets = pytest.importorskip("datasets")
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", sound(0.3, number), RATE, subtype="FLOAT")
    paths = [str(tmp_path / name) for name in ("0.wav", "none.wav", "1.wav")]
    embed = pickle.loads(pickle.dumps(EmbedBatches(str(repository), layers=2)))
    found = datasets.Dataset.from_dict({"audio": paths}).map(embed, batched=True, batch_size=2)
    wanted = JukeboxFeatures(model, layers=2)
    for row in (0, 2):
        assert np.array_equal(np.float32(found[row]["features"]), wanted.track(paths[row]).values)
    assert found[1]["features"] is None
    assert "none.wav is not a file" in found[1]["error"]
    with pytest.raises(ValueError, match="column='audio' is not there; the batch has sound"):
        embed({"sound": paths})


def test_a_batch_of_arrays_gets_arrays(repository, sound):
    embed = EmbedBatches(str(repository), layers=2)
    clips = np.empty(2, dtype=object)
    clips[:] = [sound(0.3), sound(0.4)]
    found = embed({"audio": clips, "id": np.array([7, 8])})
    assert found["features"].shape == (2, 1, 16)
    assert found["id"].tolist() == [7, 8]
    assert "audio" not in found
    clips[1] = np.zeros(3, np.float32)
    found = embed({"audio": clips})
    assert [one.shape for one in found["features"]] == [(1, 16), (0,)]
    assert "fewer than the 8 of one code" in found["error"][1]


def test_two_actors_of_ray_make_what_one_process_makes(repository, model, sound, tmp_path):
    ray = pytest.importorskip("ray")
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", sound(0.3, number), RATE, subtype="FLOAT")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray.data.from_items([{"audio": str(tmp_path / f"{number}.wav")} for number in range(4)])
        options = {"fn_constructor_args": [str(repository)], "fn_constructor_kwargs": {"layers": 2}}
        found = rows.map_batches(EmbedBatches, **options, concurrency=2, batch_size=2).take_all()
    finally:
        ray.shutdown()
    wanted = JukeboxFeatures(model, layers=2)
    got = sorted(np.asarray(row["features"]).tobytes() for row in found)
    assert got == sorted(wanted.track(tmp_path / f"{number}.wav").values.tobytes() for number in range(4))
    assert torch.is_grad_enabled()
