"""`jukebox-hf embed`: whole or not there, the same however often it was killed, and by however many processes."""

import io
import json
import os
import signal
import sys
import threading
import time

import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile
from accelerate import PartialState

from jukebox_hf import JukeboxFeatures
from jukebox_hf.app import cli
from jukebox_hf.data import recordings
from jukebox_hf.features import embedded_songs
from jukebox_hf.features.embedded_songs import EmbedSettings, embed_songs, load_features, safe_name

RATE = 1000


@pytest.fixture
def songs(tmp_path, sound):
    folder = tmp_path / "songs"
    (folder / "more").mkdir(parents=True)
    for number in range(4):
        soundfile.write(
            folder / ("more" if number % 2 else "") / f"{number}.wav", sound(0.5 + number / 5, number), RATE
        )
    return folder


@pytest.fixture
def made(model):
    return JukeboxFeatures(model, layers=(1, 2))


def _files(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted((out / "features").rglob("*"))
        if path.is_file()
    }


def test_every_recording_gets_a_file_and_a_row_of_the_index(songs, tmp_path, made):
    out, seen = tmp_path / "out", []
    found = embed_songs(str(songs), out, made, facts={"model": "the model"}, progress=seen.append)
    assert (found["written"], found["done"], found["skipped"]) == (4, 4, {})
    rows = parquet.read_table(out / "index.parquet").to_pylist()
    assert [row["path"] for row in rows] == ["0.wav", "2.wav", "more/1.wav", "more/3.wav"]
    for row in rows:
        assert np.array_equal(load_features(out / row["file"]), made.track(songs / row["path"]).values)
        assert row["seconds"] == soundfile.info(songs / row["path"]).duration
        assert (row["layers"], row["windows"] >= 1, row["model"]) == ([1, 2], True, "the model")
        assert row["revision"] == made.revision
    assert [(reached.done, reached.total) for reached in seen] == [(number, 4) for number in (1, 2, 3, 4)]
    said = json.loads(parquet.read_schema(out / "index.parquet").metadata[b"jukebox_features"])
    assert said["recipe"] == made.recipe.to_dict()


@pytest.mark.parametrize(("format", "store", "dtype"), [("safetensors", "float32", "f4"), ("npy", "float16", "f2")])
def test_files_may_be_of_other_kinds(songs, tmp_path, made, format, store, dtype):
    embed_songs(str(songs), tmp_path / "out", made, EmbedSettings(format=format, store=store))
    found = load_features(tmp_path / "out/features" / f"0.wav.{format}")
    assert found.dtype == np.dtype(dtype)
    assert np.allclose(found, made.track(songs / "0.wav").values, atol=2e-3)


def test_a_second_run_writes_nothing_and_a_new_song_alone(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    before = {path: path.stat().st_mtime_ns for path in (out / "features").rglob("*.npy")}
    assert embed_songs(str(songs), out, made)["written"] == 0
    soundfile.write(songs / "new.wav", sound(0.3, 9), RATE)
    found = embed_songs(str(songs), out, made)
    assert (found["written"], found["done"]) == (1, 5)
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())


def test_a_recording_that_was_changed_since_gets_new_features(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    soundfile.write(songs / "0.wav", sound(0.5, 99), RATE)
    later = (out / "features/0.wav.npy").stat().st_mtime_ns + 10**9
    os.utime(songs / "0.wav", ns=(later, later))
    assert embed_songs(str(songs), out, made)["written"] == 1
    assert np.allclose(load_features(out / "features/0.wav.npy"), made.track(songs / "0.wav").values, atol=1e-5)
    index = {row["path"]: row["seconds"] for row in parquet.read_table(out / "index.parquet").to_pylist()}
    assert abs(index["0.wav"] - 0.5) < 0.1


def test_what_cannot_be_read_is_skipped_listed_and_tried_again(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    (songs / "noise.wav").write_bytes(b"RIFF, but no sound at all")
    (songs / "empty.flac").write_bytes(b"")
    soundfile.write(songs / "three.wav", np.zeros(3, np.float32), RATE)
    soundfile.write(songs / "nan.wav", np.full(500, np.nan, np.float32), RATE, subtype="FLOAT")
    found = embed_songs(str(songs), out, made)
    assert found["done"] == 4
    assert sorted(found["skipped"]) == ["empty.flac", "nan.wav", "noise.wav", "three.wav"]
    listed = json.loads((out / "skipped.json").read_text())
    assert "fewer than the 8 of one code" in {row["path"]: row["reason"] for row in listed}["three.wav"]
    soundfile.write(songs / "three.wav", sound(0.4), RATE)
    found = embed_songs(str(songs), out, made)
    assert (found["written"], sorted(found["skipped"])) == (1, ["empty.flac", "nan.wav", "noise.wav"])


def test_a_folder_of_another_run_or_model_is_refused_and_stays(songs, tmp_path, made, model):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    before = _files(out)
    with pytest.raises(ValueError, match=r"holds features of another run: its layers is \[1, 2\], not \[3\]"):
        embed_songs(str(songs), out, JukeboxFeatures(model, layers=3))
    with pytest.raises(ValueError, match="its store is 'float32', not 'float16'"):
        embed_songs(str(songs), out, made, EmbedSettings(store="float16"))
    other = JukeboxFeatures(model, layers=(1, 2))
    type(other).revision, kept = property(lambda self: "0" * 16), type(other).revision
    try:
        with pytest.raises(ValueError, match="its revision is "):
            embed_songs(str(songs), out, other)
    finally:
        type(other).revision = kept
    assert _files(out) == before
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files and no embed.json"):
        embed_songs(str(songs), tmp_path / "own", made)
    with pytest.raises(ValueError, match="lie one in the other; name a folder beside the songs, or the next"):
        embed_songs(str(songs), songs / "out", made)


def test_shards_make_together_what_one_run_makes(songs, tmp_path, made):
    embed_songs(str(songs), tmp_path / "one", made)
    for shard in (1, 0, 2):
        found = embed_songs(str(songs), tmp_path / "three", made, EmbedSettings(shard=shard, num_shards=3))
    assert found["done"] == 4
    assert _files(tmp_path / "one") == _files(tmp_path / "three")
    one, three = ((tmp_path / name / "index.parquet").read_bytes() for name in ("one", "three"))
    assert one == three


def _wait_until(is_so):
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_process_that_ends_while_another_writes_the_index_waits_and_writes_it_anew(
    songs, tmp_path, made, monkeypatch
):
    out, real, others, written = tmp_path / "two", embedded_songs.write_bytes, [], []
    share = out / "parts" / "1-of-2.jsonl"

    def write(path, content, **how):
        if path.name == "index.parquet" and not others:  # rows were read already: the other process ends here
            settings = EmbedSettings(shard=1, num_shards=2)
            others.append(threading.Thread(target=embed_songs, args=(str(songs), out, made, settings)))
            others[0].start()
            _wait_until(lambda: share.is_file() and share.read_bytes().count(b"\n") == 2)
            others[0].join(0.3)
            assert others[0].is_alive(), "it wrote an index, over which the older rows of this one now come to lie"
        real(path, content, **how)
        if path.name == "index.parquet":
            written.append(len(parquet.read_table(path)))

    monkeypatch.setattr(embedded_songs, "write_bytes", write)
    embed_songs(str(songs), out, made, EmbedSettings(shard=0, num_shards=2))
    others[0].join(60)
    assert written == [2, 4]


def test_the_line_that_was_written_last_counts_wherever_it_stands(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)  # into 0-of-1.jsonl
    soundfile.write(songs / "0.wav", sound(2.0, 99), RATE)
    later = (out / "features/0.wav.npy").stat().st_mtime_ns + 10**9
    os.utime(songs / "0.wav", ns=(later, later))
    assert embed_songs(str(songs), out, made, EmbedSettings(shard=0, num_shards=2))["written"] == 1
    os.utime(out / "parts/0-of-1.jsonl")  # as a later line of another recording leaves it
    embed_songs(str(songs), out, made, EmbedSettings(shard=1, num_shards=2))
    index = {row["path"]: row["seconds"] for row in parquet.read_table(out / "index.parquet").to_pylist()}
    assert index["0.wav"] == 2.0


def test_lines_of_older_runs_count_but_less_than_any_that_says_when_it_was_written(songs, tmp_path, made):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    parts = out / "parts" / "0-of-1.jsonl"
    lines = [json.loads(line) for line in parts.read_text().splitlines()]
    new = ("written_ns", "bytes", "mtime_ns", "sha256")
    old = [{key: value for key, value in line.items() if key not in new} | {"seconds": 99.0} for line in lines]
    (out / "parts" / "1-of-1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    parts.write_text(json.dumps(lines[0]) + "\n")
    assert embed_songs(str(songs), out, made)["written"] == 0
    index = {row["path"]: row["seconds"] for row in parquet.read_table(out / "index.parquet").to_pylist()}
    assert sorted(index.values()) == [lines[0]["seconds"], 99.0, 99.0, 99.0]


def test_a_changed_recording_that_cannot_be_read_loses_its_features_and_is_listed(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    (songs / "0.wav").write_bytes(b"RIFF, but no sound at all")
    later = (out / "features/0.wav.npy").stat().st_mtime_ns + 10**9
    os.utime(songs / "0.wav", ns=(later, later))
    found = embed_songs(str(songs), out, made)
    assert (found["written"], found["done"], list(found["skipped"])) == (0, 3, ["0.wav"])
    assert not (out / "features/0.wav.npy").exists()
    assert [row["path"] for row in json.loads((out / "skipped.json").read_text())] == ["0.wav"]
    assert "0.wav" not in parquet.read_table(out / "index.parquet")["path"].to_pylist()
    soundfile.write(songs / "0.wav", sound(0.5), RATE)
    found = embed_songs(str(songs), out, made)
    assert (found["written"], found["done"], found["skipped"]) == (1, 4, {})


def test_a_recording_whose_name_leaves_no_room_for_that_of_its_features_is_skipped(songs, tmp_path, made):
    (songs / "0.wav").rename(songs / f"{'k' * 248}.wav")
    found = embed_songs(str(songs), tmp_path / "out", made)
    assert (found["done"], list(found["skipped"])) == (3, [f"{'k' * 248}.wav"])
    assert "a file's name can have 255 here; shorten it" in found["skipped"][f"{'k' * 248}.wav"]


def test_recordings_that_were_only_copied_again_are_not_read_again(songs, tmp_path, made, monkeypatch):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    later = time.time_ns() + 10**9
    for path in songs.rglob("*.wav"):
        os.utime(path, ns=(later, later))
    found = embed_songs(str(songs), out, made)
    assert (found["written"], found["changed"], found["done"]) == (0, 0, 4)
    monkeypatch.setattr(recordings, "heard_now", None)  # not even to compare: their new times are known now
    assert embed_songs(str(songs), out, made)["written"] == 0


def test_another_recording_of_an_older_time_is_read(songs, tmp_path, made, sound):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    soundfile.write(songs / "0.wav", sound(0.5, 99), RATE)
    os.utime(songs / "0.wav", ns=(10**18, 10**18))  # as `cp -p` leaves it
    assert embed_songs(str(songs), out, made)["changed"] == 1
    assert np.allclose(load_features(out / "features/0.wav.npy"), made.track(songs / "0.wav").values, atol=1e-5)


def test_a_line_that_was_cut_off_is_done_again(songs, tmp_path, made):
    out = tmp_path / "out"
    embed_songs(str(songs), out, made)
    parts = out / "parts" / "0-of-1.jsonl"
    parts.write_bytes(parts.read_bytes()[:-20])
    assert embed_songs(str(songs), out, made)["written"] == 1
    assert len(parquet.read_table(out / "index.parquet")) == 4
    assert embed_songs(str(songs), out, made)["written"] == 0


@pytest.mark.parametrize("format", ["npy", "safetensors"])
def test_a_file_of_another_size_than_was_written_is_made_again(format, songs, tmp_path, made):
    out, settings = tmp_path / "out", EmbedSettings(format=format)
    embed_songs(str(songs), out, made, settings)
    before = _files(out)
    for name, content in ((f"features/0.wav.{format}", b""), (f"features/more/1.wav.{format}", bytes(9))):
        (out / name).write_bytes(before[name][:20] + content)
    found = embed_songs(str(songs), out, made, settings)
    assert (found["written"], found["changed"], found["done"]) == (2, 0, 4)
    assert _files(out) == before
    assert embed_songs(str(songs), out, made, settings)["written"] == 0


def test_files_of_an_older_run_that_does_not_say_their_size_are_kept(songs, tmp_path, made):
    embed_songs(str(songs), tmp_path / "out", made)
    parts = tmp_path / "out" / "parts" / "0-of-1.jsonl"
    lines = [json.loads(line) for line in parts.read_text().splitlines()]
    for line in lines:
        del line["file_bytes"]
    parts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert embed_songs(str(songs), tmp_path / "out", made)["written"] == 0


def test_parquet_is_read_too_as_a_stream_or_not(songs, tmp_path, made):
    datasets = pytest.importorskip("datasets")
    rows = [{"bytes": (songs / name).read_bytes(), "path": name} for name in ("0.wav", "2.wav")]
    datasets.Dataset.from_dict({"audio": rows}).to_parquet(tmp_path / "songs.parquet")
    for streaming in (False, True):
        out = tmp_path / f"out-{streaming}"
        assert embed_songs(str(tmp_path / "songs.parquet"), out, made, EmbedSettings(streaming=streaming))["done"] == 2
        assert np.array_equal(load_features(out / "features/2.wav.npy"), made.track(songs / "2.wav").values)


def test_a_file_of_facts_that_somebody_else_wrote_is_not_taken_for_another_run(songs, tmp_path, made):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "embed.json").write_text('{"theme": "dark"}')
    with pytest.raises(ValueError, match=r"embed\.json is not of this command, so .* name another folder"):
        embed_songs(str(songs), tmp_path / "out", made)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["embed.json"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("a/b.wav", "a/b.wav"), ("../../etc/passwd", "etc/passwd"), ("/root/a.wav", "root/a.wav"), ("..", "unnamed")],
)
def test_no_name_leads_out_of_the_folder(name, file):
    assert safe_name(name) == file


def _embed(log, *words, **environment):
    """The command in a fork of this process, which has imported everything already; gives its number."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            PartialState._reset_state()  # of a test that trained here
            for stream, kind in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{log}.{kind}", os.O_WRONLY | os.O_CREAT, 0o644), stream)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(stream, "w"), write_through=True) for stream in (1, 2))
            os.environ.update(environment)
            sys.argv = ["jukebox-hf", "embed", *map(str, words)]
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:  # a child must never come back into pytest
            os._exit(code)
    return process


def _ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_files(songs, tmp_path, made, repository, sound, run_cli):
    for number in range(20, 60):
        soundfile.write(songs / f"{number}.wav", sound(0.5, number), RATE)
    embed_songs(str(songs), tmp_path / "whole", made)
    out = tmp_path / "killed"
    run = _embed(tmp_path / "log", songs, out, "--model", repository, "--layers", "1,2")
    while not list(out.glob("features/**/*.npy")):
        assert os.waitpid(run, os.WNOHANG)[0] == 0, (tmp_path / "log.err").read_text()
        time.sleep(0.002)
    os.kill(run, signal.SIGKILL)
    assert _ended(run) == -signal.SIGKILL
    there = len(list(out.glob("features/**/*.npy")))
    done = run_cli("embed", songs, out, "--model", repository, "--layers", "1,2", "--json")
    found = json.loads(done.out)
    assert done.code == 0
    assert found["done"] == 44
    assert 0 < found["written"] <= 44 - there + 1
    assert _files(out) == _files(tmp_path / "whole")


def test_two_processes_share_the_songs(songs, tmp_path, made, repository):
    """As `accelerate launch --cpu --num_processes 2` starts them: gloo, and the environment that says who is who."""
    embed_songs(str(songs), tmp_path / "one", made)
    port = str(20000 + os.getpid() % 20000)
    said = (songs, tmp_path / "two", "--model", repository, "--layers", "1,2")
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": "2"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    runs = [_embed(tmp_path / rank["RANK"], *said, **rank, **common) for rank in ranks]
    assert [_ended(run) for run in runs] == [0, 0], [(tmp_path / f"{rank}.err").read_text() for rank in range(2)]
    assert [bool((tmp_path / f"{rank}.out").read_text()) for rank in range(2)] == [True, False]  # the main one tells
    assert len(list((tmp_path / "two/parts").glob("*.jsonl"))) == 2
    assert _files(tmp_path / "one") == _files(tmp_path / "two")
    assert len(parquet.read_table(tmp_path / "two/index.parquet")) == 4


def test_the_command_says_what_was_read_and_refuses_in_a_sentence(songs, tmp_path, repository, run_cli):
    done = run_cli("embed", songs, tmp_path / "out", "--model", repository, "--layers", "36", "--pool", "30")
    assert "layers 36: " in done.err
    assert "of the prior read (4" in done.err
    assert done.out.startswith(f"{tmp_path / 'out'}: features of 4 recordings, 4 of them written now")
    soundfile.write(songs / "0.wav", np.zeros(700, np.float32), RATE)
    done = run_cli("embed", songs, tmp_path / "out", "--model", repository, "--layers", "36", "--pool", "30")
    assert "4 recordings, 1 of them written now (1 anew, as they were changed)" in done.out
    assert "also holds" not in done.err
    other = tmp_path / "others"
    other.mkdir()
    (songs / "2.wav").rename(other / "2.wav")
    done = run_cli("embed", other, tmp_path / "out", "--model", repository, "--layers", "36", "--pool", "30")
    assert (
        f"{tmp_path / 'out'} also holds features of 3 recordings that {other} does not hold, such as 0.wav; name "
        "another folder to keep them apart\n"
    ) in done.err
    (other / "2.wav").rename(songs / "2.wav")
    for words, sentence in (
        (("--layers", "a"), "--layers a must be layers with commas between"),
        (("--layers", "99"), "names layer 99, but the prior of level 1 has 72"),
        (("--preset", "mert"), "preset='mert' is none of"),
        (("--shard", "4/4"), "--shard 4/4 must be a number from 0"),
        (("--pool", "often"), "pool='often' must be mean, none"),
        (("--layers", "36", "--pool", "20"), "holds features of another run: its rate is 30.0, not 20.0"),
    ):
        done = run_cli("embed", songs, tmp_path / "out", "--model", repository, *words)
        assert (done.code, done.err.count("\n") <= 2) == (2, True)
        assert sentence in done.err
