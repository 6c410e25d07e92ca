"""`jukebox-hf finetune`: from a folder of recordings to a whole Jukebox, the same wherever it was killed meanwhile."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import ModelCard

from jukebox_hf import JukeboxModel, JukeboxPrior
from jukebox_hf.app.finetuning import disk_and_time, finetune_request, finetune_run, training_choice
from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.finetune_run import run_finetuning
from jukebox_hf.app.finetuning.level_training import curve_of
from jukebox_hf.app.finetuning.measures import measure
from jukebox_hf.app.finetuning.work_folder import WorkFolder
from jukebox_hf.data.code_shards import CodeShards, CodeShardWriter
from jukebox_hf.model.adapters.style_file import read_style
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training.checkpoints import SealCallback

RATE, SECONDS = 1000, (1.0, 1.3, 1.1, 11.0)  # the last is longer than any song that the model knows


def write_songs(folder):
    folder.mkdir()
    for number, seconds in enumerate(SECONDS):
        times = np.arange(round(seconds * RATE)) / RATE
        noise = np.random.default_rng(number).normal(0, 0.05, len(times))
        soundfile.write(folder / f"{number}.wav", 0.4 * np.sin(2 * np.pi * 40 * times) + noise, RATE)
    (folder / "notes.txt").write_text("not a song")
    return folder


def request_of(folder, **changes):
    quick = {"artist": "My Band", "steps": 6, "replay": 5, "sample_seconds": 0.5, "early_stop": 2, "device": "cpu",
             "bf16": "false", "learning_rate": 3e-3}  # fmt: skip
    return FinetuneRequest(songs=str(folder / "songs"), model=str(folder / "whole"), **quick | changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_whole):
    """A folder with a whole Jukebox and with songs of a band that it does not know."""
    folder = tmp_path_factory.mktemp("finetune")
    make_whole(folder)
    write_songs(folder / "songs")
    return folder


@pytest.fixture(scope="module")
def story(place):
    """A run from its beginning to its end: its report, and what it said."""
    said = []
    report = run_finetuning(request_of(place), place / "out", said.append)
    return report, said


def test_a_folder_of_songs_becomes_a_whole_jukebox_that_knows_the_band(place, story):
    report, said = story
    mine = JukeboxModel.from_pretrained(place / "out")
    tokenizer = JukeboxTokenizer.from_pretrained(place / "out")
    assert tokenizer.vocabularies["v3"].find_artist("my band") == 3
    kept = [int(level) for level, found in report["levels"].items() if found["is_kept"]]
    assert 1 in kept
    for level in kept:
        trained = JukeboxPrior.from_pretrained(place / "out.finetune" / f"prior_{level}").state_dict()
        assert all(torch.equal(tensor, trained[name]) for name, tensor in mine.prior(level).state_dict().items())
    before = JukeboxModel.from_pretrained(place / "whole")
    assert not torch.equal(before.prior(1).lm_head.weight, mine.prior(1).lm_head.weight)
    assert torch.equal(before.vqvae.codebooks[0].codes, mine.vqvae.codebooks[0].codes)
    audio, rate = soundfile.read(place / "out" / "sample.wav")
    assert (len(audio), rate) == (500 // 16 * 16, RATE)
    assert (place / "out" / "LICENSE").read_text() == "ours"
    assert not list((place / "out.finetune").glob("prior_*/checkpoint-*"))
    told = "\n".join(said)
    assert "it took " in said[-1]
    steps = [line for line in said if line.startswith("level 1, step ")]
    for step, line in enumerate(steps, 1):
        assert line.startswith(f"level 1, step {step} of 6: ")
        assert "bits per code on held-out songs" in line
    assert len(steps) > 1
    assert "4 songs of 1 to 11 s, 0.24 minutes in all, by My Band; none with lyrics" in told
    assert "new names: My Band" in told
    assert "all weights (full), levels 1, 0, 4 windows at once, float32" in told


def test_a_single_song_of_which_none_can_be_held_out_is_learnt(place, tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "whole").symlink_to(place / "whole")
    (tmp_path / "songs" / "alone.wav").write_bytes((place / "songs" / "0.wav").read_bytes())
    said = []
    report = run_finetuning(request_of(tmp_path, levels=[1], replay=0, steps=2), tmp_path / "out", said.append)
    assert report["held_out"] == []
    assert "no song can be held out" in "\n".join(said)
    assert JukeboxModel.from_pretrained(tmp_path / "out").prior(1).lm_head.weight.isfinite().all()


def test_the_numbers_of_the_report_are_those_of_the_priors(place, story):
    report, _ = story
    work, found = place / "out.finetune", report["levels"]["1"]
    assert report["held_out"] == [song["name"] for song in CodeShards(work / "new" / "held_out").words]
    assert set(report["held_out"]).isdisjoint(song["name"] for song in CodeShards(work / "new" / "train").words)
    lists = JukeboxTokenizer.from_pretrained(place / "out")
    prior, old = (JukeboxPrior.from_pretrained(folder / "prior_1") for folder in (place / "out", place / "whole"))
    again = measure(prior, lists, work / "new" / "held_out").to_dict()
    assert again == pytest.approx(found["after"]["new"], abs=1e-4)
    again = measure(old, JukeboxTokenizer.from_pretrained(place / "whole"), work / "old_1" / "held_out").to_dict()
    assert again == pytest.approx(found["before"]["old"], abs=1e-4)
    assert found["before"]["new"]["own"] == found["before"]["new"]["unknown"]  # nobody knows the band yet
    assert found["after"]["new"]["own"] != found["after"]["new"]["unknown"]
    assert found["after"]["new"]["own"] < found["before"]["new"]["own"] - 0.1
    artists = [song["artist"] for song in CodeShards(work / "made_1").words]
    assert sorted(set(artists)) == ["ann ash", "bob birch"]
    assert found["curve"] == [list(point) for point in curve_of(work / "prior_1")]
    assert json.loads((place / "out" / "finetuning.json").read_text()) == report


def test_names_that_the_model_knew_keep_their_vectors(place, story):
    old, new = (JukeboxModel.from_pretrained(place / name).prior(1).labels for name in ("whole", "out"))
    for kind in ("artist", "genre"):
        before, after = (getattr(labels, kind).weight for labels in (old, new))
        assert torch.equal(before, after[: len(before)])
    assert not torch.equal(new.artist.weight[3], new.artist.weight[0])


def test_the_card_is_one_that_the_hub_reads(place, story):
    report, _ = story
    card = ModelCard.load(place / "out" / "README.md")
    results = card.data.eval_results
    values = {result.metric_name: result.metric_value for result in results}
    assert values["bits per code, level 1"] == round(report["levels"]["1"]["after"]["new"]["own"], 4)
    assert card.data.pipeline_tag == "text-to-audio"
    assert card.data.license == "other"
    assert str(place) not in card.content


def test_the_same_line_says_what_is_done_and_other_values_are_refused(place, story):
    report, _ = story
    stamp = (place / "out" / "config.json").stat().st_mtime_ns
    assert run_finetuning(request_of(place), place / "out", lambda line: None) == report
    assert (place / "out" / "config.json").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match=r"was begun with other values \(steps 6, now 7\); say the same again"):
        run_finetuning(request_of(place, steps=7), place / "out", lambda line: None)
    song = place / "songs" / "0.wav"
    before = song.read_bytes()
    soundfile.write(song, 0.1 * np.ones(round(SECONDS[0] * RATE)), RATE)  # of the same name and length
    try:
        with pytest.raises(ValueError, match=r"was begun with other values \(recordings: 0.wav is another file now"):
            run_finetuning(request_of(place), place / "out", lambda line: None)
    finally:
        song.write_bytes(before)


@pytest.mark.parametrize(
    ("songs", "told"),
    [
        ({"a": "1w", "b": "2w", "c": "3w"}, "recordings: c was added"),
        ({"a": "1w"}, "recordings: b was removed"),
        ({"c": "3w", "d": "4w"}, "recordings: a was removed, and 3 more"),
        ({"a": "1w", "b": "9w", "c": "3w"}, "recordings: b is another file now, and 1 more"),
        ({"a": "1v", "b": "2w"}, "songs: a has other words or another length now"),
        ({"b": "2w", "a": "1w"}, "songs in another order"),
    ],
)
@pytest.mark.parametrize("is_older", [False, True])
def test_songs_that_came_or_went_are_named(tmp_path, songs, told, is_older):
    def run_of(songs, noted=True):  # each with the digests of its file and of its words
        files = {"recordings": {name: digests[0] for name, digests in songs.items()}} if noted else {}
        return {"songs": [[name, 800, 16000, digests[1]] for name, digests in songs.items()], "steps": 6} | files

    with WorkFolder(tmp_path / "out").locked(run_of({"a": "1w", "b": "2w"}, noted=not is_older)):
        pass
    if is_older and "another file" in told:
        told = "recordings: c was added"
    told = told.replace("recordings", "songs") if is_older else told
    with (
        pytest.raises(ValueError, match=rf"was begun with other values \({told}\); say the same again"),
        WorkFolder(tmp_path / "out").locked(run_of(songs)),
    ):
        pass


class Killed:
    """Kills the process at each event once: events are the ends of stages, of codes, and of checkpoints."""

    def __init__(self, log):
        self.log = log

    def at(self, event):
        seen = self.log.read_text().splitlines() if self.log.exists() else []
        if event not in seen:
            self.log.write_text("\n".join([*seen, event]))
            os.kill(os.getpid(), signal.SIGKILL)

    def patch(self):
        mark, finish, save = WorkFolder.mark, CodeShardWriter.finish, SealCallback.on_save

        def marked(work, stage, found):
            if stage in ("before", "level 1", "assembled", "done"):
                self.at(f"before the mark of {stage}")
            return mark(work, stage, found)

        def finished(writer):
            if writer.folder.name in ("codes", "made_1"):
                self.at(f"before {writer.folder.name} is finished")
            finish(writer)

        def saved(callback, args, state, control, **kwargs):
            save(callback, args, state, control, **kwargs)
            if state.global_step == 3:
                self.at("in the middle of training")

        WorkFolder.mark, CodeShardWriter.finish, SealCallback.on_save = marked, finished, saved


def in_a_child(request, out, log, killed):
    """Run in a fork; gives how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        killed.patch()
        run_finetuning(request, out, print)
        code = 0
    finally:  # a child must never come back into pytest
        os._exit(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_killed_at_every_stage_ends_as_one_that_was_not(place, story, tmp_path):
    report, _ = story
    killed, ends = Killed(tmp_path / "killed"), []
    while not ends or ends[-1] == -signal.SIGKILL:
        assert len(ends) < 12, killed.log.read_text()
        ends.append(in_a_child(request_of(place), tmp_path / "again", tmp_path / "log", killed))
    assert ends[-1] == 0, (tmp_path / "log").read_text()
    assert len(ends) == 1 + 7, killed.log.read_text()  # at each event once
    assert json.loads((tmp_path / "again" / "finetuning.json").read_text()) == report
    ours, theirs = (JukeboxModel.from_pretrained(folder) for folder in (place / "out", tmp_path / "again"))
    for level in (0, 1):
        one, two = ours.prior(level).state_dict(), theirs.prior(level).state_dict()
        assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    songs = [(folder / "sample.wav").read_bytes() for folder in (place / "out", tmp_path / "again")]
    assert songs[0] == songs[1]


def test_adapters_are_trained_where_memory_is_short_and_the_line_says_so(place, tmp_path, monkeypatch):
    config = JukeboxModel.from_pretrained(place / "whole").config
    prior = training_choice.empty_prior(config.prior_configs[1])
    monkeypatch.setattr(finetune_request, "DEFAULT_RANK", 4)
    needs = {method: training_choice.training_bytes(prior, method, 4, 1, True) for method in ("full", "lora")}
    assert needs["lora"] < needs["full"]
    monkeypatch.setattr(training_choice, "room", lambda device: (needs["lora"] + needs["full"]) // 2)
    said, request = [], request_of(place, levels=(1,), batch_size=1, sample_seconds=0.0, replay=0, steps=2)
    report = run_finetuning(request, tmp_path / "out", said.append)
    assert (report["method"], report["rank"]) == ("lora", 4)
    assert any("adapters of rank 4 (lora), since all weights need about" in line for line in said)
    assert (tmp_path / "out.finetune" / "prior_1" / "adapters" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "out" / "sample.wav").exists()
    assert "old" not in report["levels"]["1"]["before"]
    monkeypatch.setattr(training_choice, "room", lambda device: 10**6)
    with pytest.raises(ValueError, match=r"0.0 GB free, but training full or lora needs about 0.8 GB"):
        run_finetuning(request, tmp_path / "none", said.append)


def test_a_dry_run_says_time_memory_and_disk_and_writes_nothing(place, tmp_path, capsys):
    said = []
    found = run_finetuning(request_of(place), tmp_path / "out", said.append, dry_run=True)
    assert said[-1].startswith("a few steps of every stage are measured")
    assert "override" not in capsys.readouterr().err  # how songs are run that are not written
    assert set(found["stages"]) == {"codes", "replay", "measuring", "level 1", "level 0", "sample"}
    assert found["seconds"] == pytest.approx(sum(found["stages"].values()), abs=0.3)
    assert found["steps"] == {"1": 6, "0": 6}
    assert found["memory_gb"] > 0.5
    assert found["disk_bytes"] > sum(path.stat().st_size for path in (place / "whole").rglob("*"))
    assert list(tmp_path.iterdir()) == []
    assert "of disk; nothing was written" in disk_and_time.costs_in_words(found)[-1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"artist": "ANN ASH"}, "--artist 'ANN ASH' is an artist that .* knows already"),
        ({"artist": None}, "does not say whose songs these are; name them, such as --artist"),
        ({"songs": "nothing"}, "nothing"),
        ({"method": "lora", "rank": 10**4}, "lora_rank=10000 is more than any matrix of this prior has"),
        ({"name_rate": 2}, "--name-rate 2 must be from 0"),
        ({"levels": (2,)}, "--levels=2 is not a level of this model"),
        ({"replay": 10**9}, "--replay 1000000000 must be a whole number from 0 to 10000$"),
        ({"seed": 2**32}, "--seed 4294967296 must be a whole number from 0 to 4294967295$"),
        ({"old_songs": "no/such/folder"}, "^--old-songs 'no/such/folder' is no folder, no file and no name on the"),
        ({"old_songs": ""}, "^--old-songs '' names nothing"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(changes, sentence, place, tmp_path):
    for is_dry in (False, True):
        with pytest.raises((ValueError, OSError), match=sentence):
            run_finetuning(replace(request_of(place), **changes), tmp_path / "out", lambda line: None, is_dry)
    assert list(tmp_path.iterdir()) == []


def test_folders_and_disks_that_will_not_do_are_refused(place, story, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    say = lambda line: None  # noqa: E731
    with pytest.raises(ValueError, match="holds no songs"):
        run_finetuning(replace(request_of(place), songs=str(tmp_path / "empty")), tmp_path / "out", say)
    with pytest.raises(ValueError, match=r"^--old-songs '.*empty': .*empty holds no songs"):
        run_finetuning(replace(request_of(place), old_songs=str(tmp_path / "empty")), tmp_path / "out", say)
    with pytest.raises(ValueError, match="exists already; choose another folder"):
        run_finetuning(request_of(place), place / "whole", say)
    for is_dry in (False, True):
        with pytest.raises(ValueError, match="exists already; choose another folder"):
            run_finetuning(request_of(place), place / "whole", say, is_dry)
        with pytest.raises(ValueError, match="lie one in the other; name a folder beside the songs"):
            run_finetuning(request_of(place), Path(request_of(place).songs) / "out", say, is_dry)
        monkeypatch.chdir(place)
        with pytest.raises(ValueError, match=r"exists already; choose another folder|is the folder you are in"):
            run_finetuning(request_of(place), Path(), say, is_dry)
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(disk_and_time.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ValueError, match=r"has 0.00 GB free, but codes, checkpoints and the new Jukebox need about"):
        run_finetuning(request_of(place), tmp_path / "out", say)
    assert not (tmp_path / "out.finetune").exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="finetune runs in one process"):
        finetune_run.FinetuneRun(request_of(place), tmp_path / "out", say)


def test_the_command_prints_what_to_type_next(place, story, run_cli, says_one_sentence):
    words = ["--model", place / "whole", "--artist", "My Band", "--steps", 6, "--replay", 5, "--sample-seconds", 0.5,
             "--early-stop", 2, "--device", "cpu", "--bf16", "false", "--learning-rate", 3e-3]  # fmt: skip
    done = run_cli("finetune", place / "songs", place / "out", *words)
    assert done.code == 0, done.err
    assert f"jukebox-hf generate --model {place / 'out'} --artist 'My Band' --out song.wav" in done.out
    says_one_sentence(run_cli("finetune", place / "songs", place / "new"), "--model is missing")
    refused = run_cli("finetune", place / "songs", place / "new", *words, "--method", "both")
    says_one_sentence(refused, "--method both is none of auto, lora, full, style; choose one")


# --- styles and adapters ---


def test_a_style_is_learnt_in_one_line_and_old_songs_stay_bit_for_bit(place, tmp_path, capsys):
    said, request = [], request_of(place, method="style", learning_rate=None, levels=(1,))
    report = run_finetuning(request, tmp_path / "out", said.append)
    told = "\n".join(said)
    assert report["method"] == "style"
    assert "a vector for each new artist, all else frozen (style), level 1," in told
    shown = capsys.readouterr().err
    assert "Loading weights" not in shown
    assert "Writing model shards" not in shown
    assert "no old songs are replayed, since all but the new artist stays as it is" in told
    base, mine = (JukeboxModel.from_pretrained(folder) for folder in (place / "whole", tmp_path / "out"))
    for level in (0, 1):
        old, new = base.prior(level).state_dict(), mine.prior(level).state_dict()
        rows = new.pop("labels.artist.weight")
        assert torch.equal(rows[:3], old.pop("labels.artist.weight"))
        assert torch.equal(rows[3], rows[0]) == (level == 0)
        assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    assert read_style(tmp_path / "out" / "style.safetensors").new == {"artist": ("My Band",)}
    assert "the vector of each new artist" in ModelCard.load(tmp_path / "out" / "README.md").content
    assert run_finetuning(request, tmp_path / "out", said.append) == report


def test_a_style_needs_an_artist_who_is_new_in_a_genre_that_is_known(place, tmp_path):
    with pytest.raises(ValueError, match="the genre 'polka' is new to the model"):
        run_finetuning(request_of(place, method="style", genre="polka"), tmp_path / "out", print)
    with pytest.raises(ValueError, match=r"is an artist that .* knows already"):
        run_finetuning(request_of(place, method="style", artist="Ann Ash"), tmp_path / "out", print)
    with pytest.raises(ValueError, match="--old-songs old would be replayed, but --method style changes no old artist"):
        request_of(place, method="style", old_songs="old")
    for method in ("style", "full"):
        with pytest.raises(
            ValueError, match=f"--rank 4 is of the adapters of --method lora, but --method {method} was"
        ):
            request_of(place, method=method, rank=4)
    with pytest.raises(ValueError, match=r"--name-rate 0\.1 is of names that learn beside all else"):
        request_of(place, method="style", name_rate=0.1)
    assert not list(tmp_path.iterdir())


def test_a_list_of_songs_stands_for_its_folder_where_places_are_checked(place, tmp_path):
    (tmp_path / "songs").mkdir()
    for path in Path(request_of(place).songs).glob("*.wav"):
        (tmp_path / "songs" / path.name).write_bytes(path.read_bytes())
    names = [path.name for path in (tmp_path / "songs").iterdir()]
    (tmp_path / "songs/metadata.csv").write_text("\n".join(["file_name,lyrics", *(f"{name},la" for name in names)]))
    listed = replace(request_of(place), songs=str(tmp_path / "songs/metadata.csv"))
    with pytest.raises(ValueError, match="lie one in the other; name a folder beside the songs"):
        run_finetuning(listed, tmp_path / "songs/out", lambda line: None, True)


@pytest.mark.parametrize("folder", ["out", "out/band", "out.finetune", "out.finetune/band", "."])
def test_adapters_that_would_lie_in_the_jukebox_or_in_its_run_are_refused(place, tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"lie one in the other|is the folder you are in"):
        run_finetuning(request_of(place, keep_adapter=folder), tmp_path / "out", print)
    assert list(tmp_path.iterdir()) == []


def test_a_run_leaves_its_adapters_for_who_has_the_base(place, tmp_path):
    pytest.importorskip("peft")
    changes = {"levels": (1,), "rank": 2, "keep_adapter": str(tmp_path / "band"), "sample_seconds": 0.0}
    report = run_finetuning(request_of(place, **changes), tmp_path / "out", lambda line: None)
    assert report["method"] == "lora"
    whole = JukeboxModel.from_pretrained(tmp_path / "out").prior(1)
    model = JukeboxModel.from_pretrained(place / "whole")
    model.load_adapter(str(tmp_path / "band"))
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(model.prior(1).state_dict()[name], tensor, atol=1e-5), name
    assert "## Measured" in ModelCard.load(tmp_path / "band" / "README.md").content
    for changes, match in (
        ({"method": "full"}, "--keep-adapter .* keeps what --method lora trains, but --method full was said"),
        ({"rank": 1000}, "lora_rank=1000 is more than any matrix of this prior has"),
    ):
        with pytest.raises(ValueError, match=match):
            run_finetuning(request_of(place, keep_adapter=str(tmp_path / "b"), **changes), tmp_path / "c", print)
    with pytest.raises(ValueError, match=r"exists already; choose another folder$"):
        run_finetuning(request_of(place, keep_adapter=str(tmp_path / "band")), tmp_path / "c", print)
