"""What a studio writes: takes that are the command line's songs, whatever stops it meanwhile."""

import json
import signal
import time
from importlib import import_module

import numpy as np
import pytest
import soundfile

from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.studio.job import News, StoppedError
from jukebox_hf.app.studio.project import Project, read_tree
from jukebox_hf.app.studio.studio import Limits, Studio
from jukebox_hf.app.studio.views import status_html


def states(studio):
    return [(node.id, node.parent, node.kind, node.state) for node in studio.project.tree.nodes]


def test_takes_are_the_songs_that_the_command_line_makes(studio, words, generate, codes_of, tmp_path):
    assert studio.sketch(words, takes=2).result() == [1, 2]
    assert states(studio) == [(1, None, "generate", "done"), (2, None, "generate", "done")]
    said = ["--lyrics", words["lyrics"], "--artist", words["artist"], "--genre", words["genre"], "--levels", "2"]
    assert generate(tmp_path / "line.wav", *said, "--seed", 8, seconds=0.15).code == 0
    assert codes_of(studio.project.song(2, ".codes.safetensors")) == codes_of(tmp_path / "line.codes.safetensors")
    assert [studio.project.tree.node(one).request["seed"] for one in (1, 2)] == [7, 8]


def test_a_name_that_the_model_does_not_know_is_told_to_whoever_asked(studio, words):
    job = studio.sketch(words | {"artist": "Zzyzx Qwq"}, takes=2)
    assert job.result() == [1, 2]
    (said,) = job.progress.warnings
    assert said.startswith("artist='Zzyzx Qwq' is not listed")
    assert said.endswith("take 'unknown' instead")
    job = studio.continue_take(1, {"artist": words["artist"]}, 0.1)
    job.result()
    assert job.progress.warnings == []


def test_a_song_grows_by_branches_cuts_repaints_and_is_refined(studio, words, codes_of):
    studio.sketch(words).result()
    studio.continue_take(1, {"lyrics": "else"}, 0.1, takes=2).result()
    studio.cut(3, 0.2).result()
    studio.repaint(4, 0.1, 0.15, takes=2).result()
    studio.upsample(5).result()
    assert states(studio) == [
        (1, None, "generate", "done"),
        (2, 1, "continue", "done"),
        (3, 1, "continue", "done"),
        (4, 3, "cut", "done"),
        (5, 4, "repaint", "done"),
        (6, 5, "upsample", "done"),
    ]
    nodes = studio.project.tree.nodes
    assert [node.level for node in nodes] == [2, 2, 2, 2, 2, 0]
    codes = {node.id: codes_of(studio.project.folder / node.codes) for node in nodes}
    count = len(codes[1][2])
    assert codes[2][2][:count] == codes[3][2][:count] == codes[1][2]
    assert codes[2][2] != codes[3][2]
    assert codes[4][2] == codes[3][2][: len(codes[4][2])]
    assert nodes[3].seconds == pytest.approx(0.2, abs=0.01)
    assert codes[5][2] != codes[4][2] == codes[5][2][:0] + codes[4][2]
    assert codes[6][2] == codes[5][2]
    assert len(codes[6][0]) > len(codes[6][1]) > len(codes[6][2])
    assert nodes[1].request["lyrics"] == "else"
    assert nodes[3].request["lyrics"] == "else"  # a cut keeps the words


def test_a_take_is_written_from_a_recording_that_the_project_keeps(studio, words, recording):
    path = recording(0.1)
    studio.sketch(words | {"prompt": str(path), "seconds": 0.3}).result()
    path.unlink()
    node = studio.project.tree.node(1)
    assert node.request["prompt"] == "recordings/1.wav"
    assert (studio.project.folder / "recordings/1.wav").is_file()
    assert studio.told(1)["given_seconds"] > 0.09


def test_a_recording_as_long_as_the_song_is_refused_since_nothing_would_be_sung(studio, words, recording):
    path = recording(0.3)
    with pytest.raises(ValueError, match=r"the recording has 0\.3 s, and seconds=0\.3 counts it in.* ask for more"):
        studio.sketch(words | {"prompt": str(path), "seconds": 0.3})
    with pytest.raises(ValueError, match="seconds"):
        studio.sketch(words | {"prompt": str(path), "seconds": "x"})
    assert studio.project.tree.nodes == ()


def _by(name, value):
    """What a function of the endpoints, which need gradio, makes of a value."""
    pytest.importorskip("gradio")
    return getattr(import_module("jukebox_hf.app.studio.endpoints"), name)(value)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda studio, words: studio.sketch(words | {"artist": "the tester"}), "did you mean"),
        (lambda studio, words: studio.sketch(words | {"seconds": 3.0}), "more than the 2 that this studio allows"),
        (lambda studio, words: studio.sketch(words | {"seconds": "x"}), "must be a number of seconds"),
        (lambda studio, words: studio.sketch(words | {"seconds": float("nan")}), "must be a number of seconds"),
        (lambda studio, words: studio.names("artists", 5), "text=5 must be a string"),
        (
            lambda studio, words: studio.sketch(_by("as_said", words | {"seed": "9" * 5000})),
            "must be an integer from 0",
        ),
        (lambda studio, words: studio.sketch(words, takes=_by("whole", 1.5)), "whole number from 1 to 3"),
        (lambda studio, words: studio.sketch(words, takes=_by("whole", None)), "whole number from 1 to 3"),
        (lambda studio, words: studio.sketch(words | {"guidance_scale": "loud"}), "must be a number"),
        (lambda studio, words: studio.sketch(words | {"tempo": 3}), "tempo, which is no option"),
        (lambda studio, words: studio.sketch(words, takes=4), "whole number from 1 to 3"),
        (lambda studio, words: studio.sketch(words | {"prompt": "/no/such.wav"}), "is not a file"),
        (lambda studio, words: studio.repaint(9, 0.0, 0.1), "take 9 is not in this project"),
        (lambda studio, words: studio.continue_take(9, {}, 1.0), "take 9 is not in this project"),
        (lambda studio, words: studio.go_on(1), "is not in this project"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_leaves_nothing(studio, words, act, said):
    with pytest.raises(ValueError, match=said):
        act(studio, words).result()
    assert studio.project.tree.nodes == ()
    assert not list((studio.project.folder / "songs").glob("*.json"))


def test_a_song_whose_length_is_not_said_is_held_to_what_the_studio_allows_too(project, words):
    short = Studio(project, {}, RunOptions(device="cpu"), Limits(seconds=0.2))
    del words["seconds"]
    with pytest.raises(ValueError, match=r"seconds=0.5 is more than the 0.2 that this studio allows"):
        short.sketch(words)


def test_stretches_and_cuts_outside_of_a_take_are_refused_and_leave_nothing(studio, words):
    studio.sketch(words).result()
    for act, said in (
        (lambda: studio.cut(1, 0.2), "cannot be cut at"),
        (lambda: studio.cut(1, 0.0001), "cannot be cut at"),
        (lambda: studio.cut(1, 1e308), "cannot be cut at"),
        (lambda: studio.repaint(1, 0.12, 0.1), "is empty"),
        (lambda: studio.repaint(1, None, 0.1), "from_second is not said"),
        (lambda: studio.repaint(1, 3.0, 4.0), "lies outside the song"),
    ):
        with pytest.raises(ValueError, match=said):
            act().result()
    assert states(studio) == [(1, None, "generate", "done")]


def test_refining_is_heard_while_it_is_written_and_then_whole(studio, words):
    studio.sketch(words).result()
    job = studio.upsample(1)
    job.result()
    pieces = {0: [], 1: []}
    while not job.progress.pieces.empty():
        piece = job.progress.pieces.get()
        pieces[piece.level].append(piece.samples)
    finished, _ = soundfile.read(studio.project.folder / "songs/2.wav", dtype="float32")
    heard = np.concatenate(pieces[0])
    assert len(pieces[0]) > 1
    assert np.abs(heard.clip(-1, 1) - finished).max() < 1e-3
    assert len(np.concatenate(pieces[1])) == len(finished)


def test_a_stopped_take_goes_on_to_the_same_codes(studio, words, codes_of):
    studio.sketch(words).result()
    job = studio.upsample(1)
    while job.progress.news.share < 0.05 and not job.is_over():
        time.sleep(0.001)
    job.progress.stop()
    with pytest.raises(StoppedError):
        job.result()
    assert states(studio)[1] == (2, 1, "upsample", "stopped")
    studio.go_on(2).result()
    assert states(studio)[1] == (2, 1, "upsample", "done")
    studio.upsample(1).result()
    assert codes_of(studio.project.song(3, ".codes.safetensors")) == codes_of(
        studio.project.song(2, ".codes.safetensors")
    )


def test_a_take_that_cannot_be_gone_on_with_stays_and_so_do_the_later_ones(studio, words, recording):
    (first,) = studio.project.add(None, "generate", [words | {"kind": "generate", "prompt": "recordings/1.wav"}])
    studio.project.change(first, state="stopped")  # before anything of it was written
    studio.sketch(words).result()
    before = studio.project.tree.node(2)
    with pytest.raises(ValueError, match=r"recordings/1\.wav is not a file"):
        studio.go_on(1).result()
    assert states(studio) == [(1, None, "generate", "failed"), (2, None, "generate", "done")]
    assert "1.wav is not a file" in studio.project.tree.node(1).reason
    assert studio.project.tree.node(2) == before
    studio.sketch(words).result()
    assert studio.project.tree.node(3).state == "done"


def test_progress_counts_up_to_all_and_guesses_the_time_left(studio, words):
    studio.sketch(words).result()
    job, shares, left = studio.upsample(1), [], []
    while not job.is_over(0.002):
        shares.append(job.progress.news.share)
        left.append(job.progress.news.seconds_left)
    assert shares == sorted(shares)
    assert job.progress.news.share == 1.0
    assert any(seconds is not None and 0 < seconds < 600 for seconds in left)


def _refine_for_ever(folder, repository):
    with Project.opened(folder, str(repository)) as project:
        Studio(project, {}, RunOptions(device="cpu"), Limits()).upsample(1).result()


def test_a_studio_that_was_killed_goes_on_where_it_was(tmp_path, repository, words, codes_of, start):
    folder = tmp_path / "project"
    with Project.opened(folder, str(repository)) as project:
        Studio(project, {}, RunOptions(device="cpu"), Limits()).sketch(words).result()
    child = start("--version", before=lambda: _refine_for_ever(folder, repository))
    state = folder / "songs/2.partial/state.safetensors"
    while not (state.is_file() and state.stat().st_size > 4_000) and child.poll() is None:
        time.sleep(0.002)
    child.send(signal.SIGKILL)
    child.wait()
    assert read_tree(folder).node(2).state == "writing"
    with Project.opened(folder, "") as project:
        studio = Studio(project, {}, RunOptions(device="cpu"), Limits())
        assert states(studio)[1] == (2, 1, "upsample", "stopped")
        studio.go_on(2).result()
        studio.upsample(1).result()
        assert codes_of(project.song(3, ".codes.safetensors")) == codes_of(project.song(2, ".codes.safetensors"))


def test_a_project_that_was_moved_goes_on(tmp_path, repository, words):
    with Project.opened(tmp_path / "here", str(repository)) as project:
        Studio(project, {}, RunOptions(device="cpu"), Limits()).sketch(words).result()
    (tmp_path / "here").rename(tmp_path / "there")
    with Project.opened(tmp_path / "there", "") as project:
        studio = Studio(project, {}, RunOptions(device="cpu"), Limits())
        assert studio.continue_take(1, {}, 0.1).result() == [2]
    assert str(tmp_path) not in json.dumps(read_tree(tmp_path / "there").node(2).request | {"model": ""})


def test_names_are_found_while_they_are_typed(studio):
    assert studio.names("artists", None) == studio.names("artists", "")
    for text in ("th", "tester", "the testrs"):  # its beginning, a part, and a name that is misspelt
        assert studio.names("artists", text)[0].lower() == "the testers"
    assert studio.names("genres")
    with pytest.raises(ValueError, match="is none of artists, genres"):
        studio.names("keys")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--batch-size", "0"), "--batch-size 0 must be 1 or more"),
        (("--backend", "foo"), "is none of auto, eager"),
        (("--device", "foo"), "--device foo cannot be used"),
        (("--dtype", "foo"), "--dtype foo is none of keep, float32"),
    ],
)
def test_options_of_no_studio_are_refused_before_a_project_is_begun(
    words, sentence, run_cli, says_one_sentence, tmp_path
):
    says_one_sentence(run_cli("studio", tmp_path / "project", *words), sentence)
    assert not (tmp_path / "project").exists()


def test_a_song_whose_codes_are_all_there_is_told_to_be_put_into_files():
    told = status_html("Sketching", News(2, 1.0, 0.0))
    assert "Sketching: level 2, 100%, writing the files" in told
    assert "about 12 s left" in status_html("Sketching", News(2, 0.5, 12.0))
