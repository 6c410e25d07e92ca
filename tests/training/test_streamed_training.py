"""Training from shards: the trainers read them, a checkpoint knows the place, a resumed run sees the same windows."""

import json

import pytest
import torch

from jukebox_hf.data.shard_files import list_shards
from jukebox_hf.data.shard_windows import ShardWindows
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training import (
    JukeboxPriorTrainer,
    JukeboxPriorTrainingArguments,
    LabelDropout,
    PriorCollator,
    train_prior,
    train_vqvae,
)

pa = pytest.importorskip("pyarrow")
RATE, SECONDS = 1000, 5


def write_shards(folder, count=3, songs=4):
    """Parquet files of songs of a beat each."""
    import io

    import numpy as np
    import pyarrow.parquet as parquet
    import soundfile

    folder.mkdir()
    for shard in range(count):
        audio = []
        for number in range(shard * songs, shard * songs + songs):
            memory = io.BytesIO()
            sound = 0.3 * np.sin(np.arange(SECONDS * RATE) * (0.05 + 0.04 * number))
            soundfile.write(memory, sound, RATE, format="WAV")
            audio.append({"bytes": memory.getvalue(), "path": f"{number}.wav"})
        words = {name: ["unknown"] * songs for name in ("artist", "genre")} | {"lyrics": [""] * songs}
        parquet.write_table(pa.table({"audio": audio, **words}), folder / f"songs-{shard}.parquet")
    return str(folder / "songs-*.parquet")


@pytest.fixture
def pattern(tmp_path):
    return write_shards(tmp_path / "shards")


def words_of(pattern, config, out, **more):
    flags = {
        "config": config,
        "train_songs": pattern,
        "streaming": True,
        "output_dir": out,
        "window_seconds": 1.056,
        "bandwidth_seconds": 8,
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 3,
        "shift": True,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        **more,
    }
    return [str(word) for name, value in flags.items() for word in (f"--{name}", value)]


@pytest.fixture
def config(tmp_path, tiny_vqvae_config):
    file = tmp_path / "vqvae.json"
    file.write_text(tiny_vqvae_config().to_json_string())
    return file


def log_of(folder):
    state = json.loads((folder / "checkpoint-6/trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_stream_trains_on_the_windows_of_a_run_that_was_not_stopped(pattern, config, tmp_path, workers):
    more = {"dataloader_num_workers": workers, "lr_scheduler_type": "constant"}
    for out, steps, goes_on in (("once", 6, None), ("cut", 3, None), ("cut", 6, "auto")):
        words = words_of(pattern, config, tmp_path / out, **more, max_steps=steps)
        assert train_vqvae.main([*words, *(("--resume_from_checkpoint", goes_on) if goes_on else ())]) == 0
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "once")
    assert len(set(log_of(tmp_path / "once"))) == 6
    places = json.loads((tmp_path / "cut/checkpoint-6/stream_places.json").read_text())
    assert places["readers"] == len(places["places"]) == max(1, workers)


def test_a_checkpoint_without_a_place_is_refused(pattern, config, tmp_path, capsys):
    assert train_vqvae.main(words_of(pattern, config, tmp_path / "run", max_steps=3)) == 0
    (tmp_path / "run/checkpoint-3/stream_places.json").unlink()
    seal = json.loads((tmp_path / "run/checkpoint-3/sealed.json").read_text())
    del seal["files"]["stream_places.json"]
    (tmp_path / "run/checkpoint-3/sealed.json").write_text(json.dumps(seal))
    assert train_vqvae.main(words_of(pattern, config, tmp_path / "run", resume_from_checkpoint="auto")) == 2
    assert "holds no stream_places.json, so nobody knows which shards it had read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_steps": -1}, "max_steps=-1, but a stream has no end; say after how many steps to stop"),
        ({"test_fraction": 0.1}, "test_fraction=0.1 sets songs aside, which a stream cannot"),
        ({"train_songs": "nothing-*.tar"}, "nothing-*.tar names no shards"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(pattern, config, tmp_path, capsys, more, said):
    assert train_vqvae.main(words_of(pattern, config, tmp_path / "run", **more)) == 2
    assert said in capsys.readouterr().err


def test_a_prior_is_trained_on_a_stream_of_sound(pattern, tmp_path, coded_config, coding_vqvae, tiny_prior):
    prior = tiny_prior("bare", level=1, hop_length=16, codebook_size=24)
    windows = ShardWindows(list_shards(pattern), prior.config.window_samples, RATE)
    arguments = JukeboxPriorTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=2, logging_steps=1,
        report_to="none", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = JukeboxPriorTrainer(
        prior, arguments, train_dataset=windows, data_collator=PriorCollator(prior.config), vqvae=coding_vqvae
    )
    trainer.train()
    assert len([entry for entry in trainer.state.log_history if "loss" in entry]) == 3
    assert windows.places[0].given == 6
    assert all(torch.isfinite(weight).all() for weight in prior.parameters())


@pytest.fixture
def lists(tmp_path):
    """A folder with lists of the names of `coded_songs`."""
    names = {"unknown": 0, "ann ash": 1, "bob birch": 2}
    genres = {"unknown": 0, "folk": 1, "rock": 2}
    JukeboxTokenizer(artists={"v3": names}, genres={"v3": genres}, label_versions=["v3"] * 2).save_pretrained(
        tmp_path / "lists"
    )
    return tmp_path / "lists"


@pytest.mark.parametrize(("flavour", "workers"), [("prefix", 0), ("upsampler", 2)])
def test_a_prior_reads_shards_of_codes_and_a_resumed_run_goes_on_with_their_windows(
    flavour, workers, tmp_path, prior_words, coded_songs, lists, monkeypatch
):
    hidden, plain = [], LabelDropout.hide
    monkeypatch.setattr(
        LabelDropout, "hide", lambda self, window, draws: hidden.append(plain(self, window, draws)) or hidden[-1]
    )
    more = {"train_codes": coded_songs() / "codes-*.parquet", "streaming": True, "labels": lists, "shift": True,
            "dataloader_num_workers": workers, "label_dropout": 0.5, "save_strategy": "steps", "save_steps": 3,
            "lr_scheduler_type": "constant", "eval_codes": coded_songs(4)}  # fmt: skip
    for out, steps, goes_on in (("once", 6, None), ("cut", 3, None), ("cut", 6, "auto")):
        words = prior_words(flavour, output_dir=tmp_path / out, max_steps=steps, resume_from_checkpoint=goes_on, **more)
        assert train_prior.main(words) == 0
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "once")
    assert len(set(log_of(tmp_path / "once"))) == 6
    places = json.loads((tmp_path / "cut/checkpoint-6/stream_places.json").read_text())
    assert places["readers"] == len(places["places"]) == max(1, workers)
    assert json.loads((tmp_path / "cut/eval_results.json").read_text())["eval_bits_per_code"] > 0
    if not workers:
        assert {window["artist"] for window in hidden} == {"unknown", "Ann Ash", "Bob Birch"}


def test_many_songs_of_a_stream_whose_names_nobody_knows_stop_the_run(
    tmp_path, prior_words, coded_songs, lists, caplog, capsys
):
    names = json.loads((lists / "artists.json").read_text())
    known = {version: {name: number for name, number in each.items() if name != "bob birch"}
             for version, each in names.items()}  # fmt: skip
    (lists / "artists.json").write_text(json.dumps(known))
    words = prior_words(train_codes=coded_songs() / "codes-*.parquet", streaming=True, labels=lists)
    assert train_prior.main(words) == 2
    assert "1.flac is left out: artist='Bob Birch' is not listed in v3" in caplog.text
    assert "8 of 20 songs were skipped: artist='Bob Birch' is not listed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_steps": -1}, "max_steps=-1, but a stream has no end"),
        ({"test_fraction": 0.1}, "test_fraction=0.1 sets songs aside, which a stream cannot"),
        ({"labels": "songs"}, "labels='songs' lists the names of all songs, which a stream tells only as it is read"),
        ({"replay_codes": "codes"}, "replay_codes='codes' are mixed among songs whose number is known"),
        ({"lyric_characters": "songs"}, "lyric_characters='songs' looks for letters in all songs"),
        ({"train_codes": "nothing-*.parquet"}, "nothing-*.parquet names no shards"),
    ],
)
def test_what_a_stream_of_codes_cannot_do_is_refused(tmp_path, prior_words, coded_songs, lists, capsys, more, said):
    words = {"train_codes": coded_songs() / "codes-*.parquet", "streaming": True, "labels": lists, **more}
    assert train_prior.main(prior_words("prefix", **words)) == 2
    assert said in capsys.readouterr().err


def test_the_command_line_trains_a_prior_on_shards_of_sound(pattern, tmp_path, coded_config, coding_vqvae, prior_words):
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    words = prior_words("bare", {"hop_length": 16, "codebook_size": 24}, train_songs=pattern, streaming=True,
                        vqvae=tmp_path / "vqvae")  # fmt: skip
    assert train_prior.main(words) == 0
    assert (tmp_path / "run/model.safetensors").is_file()


def test_the_python_of_the_page_reads_shards(tmp_path, monkeypatch, capsys, root):
    """With tar shards of a second each."""
    import io
    import re
    import tarfile

    import numpy as np
    import soundfile

    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/songs-0.tar", "w") as archive:
        memory = io.BytesIO()
        soundfile.write(memory, 0.1 * np.ones(44100), 44100, format="FLAC")
        for name, content in (("1.flac", memory.getvalue()), ("1.json", b'{"artist": "Bo Vale"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    page = (root / "docs/how-to/train-on-many-machines.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "page", "exec"), {})
    assert capsys.readouterr().out.strip() == "Bo Vale (1, 44100)"
