"""The tree of takes: what is on the disk at every moment, and what a studio that was killed leaves."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from jukebox_hf.app.studio.project import TREE_FORMAT, Node, Project, Tree, read_tree
from jukebox_hf.app.studio.tree_in_words import tree_in_words
from jukebox_hf.app.studio.views import tree_html

ASKED = {"kind": "generate", "model": "tiny", "seed": 3, "lyrics": "row row", "seconds": 4.0}


def finish(project, node):
    """Put the files of a finished song where a run would put them."""
    project.song(node, ".wav").write_bytes(b"sound")
    project.song(node, ".codes.safetensors").write_bytes(b"codes")
    files = {"audio": f"{node.id}.wav", "codes": f"{node.id}.codes.safetensors"}
    told = {"files": files, "audio": {"seconds": 4.0}, "plan": [{"level": 2}, {"level": 1}]}
    project.song(node, ".json").write_text(json.dumps(told))


@pytest.fixture
def folder(tmp_path):
    """A project with a finished take, one that goes on from it and was being written, and one that failed."""
    folder = tmp_path / "song"
    with Project.opened(folder, "tiny") as project:
        first, second = project.add(None, "generate", [ASKED, ASKED | {"seed": 4}])
        finish(project, first)
        project.finish(first)
        project.change(second, state="failed", reason="the disk is full")
        (child,) = project.add(1, "continue", [ASKED | {"kind": "continue", "seconds": 8.0}])
        project.change(child, state="writing")
        project.choose(1)
    return folder


def test_a_tree_is_read_back_as_it_was_written(folder):
    tree = read_tree(folder)
    assert [(node.id, node.parent, node.kind, node.state) for node in tree.nodes] == [
        (1, None, "generate", "done"),
        (2, None, "generate", "failed"),
        (3, 1, "continue", "writing"),
    ]
    first = tree.node(1)
    assert (first.seconds, first.level, first.together) == (4.0, 1, (1, 2))
    assert (first.audio, first.codes) == ("songs/1.wav", "songs/1.codes.safetensors")
    assert [node.id for node in tree.way_to(3)] == [1, 3]
    assert (tree.chosen, tree.model) == (1, "tiny")
    assert json.loads((folder / "tree.json").read_text())["format"] == TREE_FORMAT


def test_what_was_being_written_is_stopped_when_a_project_is_opened_again(folder):
    with Project.opened(folder, "") as project:
        assert [node.state for node in project.tree.nodes] == ["done", "failed", "stopped"]


def test_a_song_that_was_whole_when_its_studio_was_killed_is_done(folder):
    with Project.opened(folder, "") as project:
        project.change(project.tree.node(3), state="writing")
        finish(project, project.tree.node(3))
    with Project.opened(folder, "") as project:
        assert project.tree.node(3).state == "done"


def test_one_project_is_open_in_one_studio_only(folder):
    with (
        Project.opened(folder, ""),
        pytest.raises(ValueError, match=r"is open in process \d+ on"),
        Project.opened(folder, ""),
    ):
        pass
    with Project.opened(folder, ""):  # and free again
        assert read_tree(folder).node(1).state == "done"


def test_a_folder_of_other_things_is_no_project(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds letter.txt and no tree.json"), Project.opened(tmp_path, "tiny"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(ValueError, match=r"holds no tree\.json"):
        read_tree(tmp_path)


def test_a_studio_that_was_killed_before_its_first_tree_is_opened_again(tmp_path):
    for name in ("songs", "recordings"):
        (tmp_path / name).mkdir()
    for name in ("lock", ".17.tree.json"):
        (tmp_path / name).touch()
    with Project.opened(tmp_path, "tiny"):
        assert read_tree(tmp_path).nodes == ()
    (tmp_path / "tree.json").unlink()
    (tmp_path / "songs/1.wav").touch()
    with pytest.raises(ValueError, match="holds songs and no"), Project.opened(tmp_path, "tiny"):
        pass


def _write_for_ever(folder):
    with Project.opened(folder, "tiny") as project:
        while True:
            (node,) = project.add(None, "generate", [ASKED])
            project.change(node, state="failed", reason="x" * 5000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_tree_is_whole_whenever_its_writer_is_killed(tmp_path):
    seen = 0
    for number in range(3):
        child = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(tmp_path / "song",))
        child.start()
        while not (tmp_path / "song/tree.json").is_file() or len(read_tree(tmp_path / "song").nodes) < seen + 3:
            time.sleep(0.01)
        time.sleep(0.013 * number)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        nodes = read_tree(tmp_path / "song").nodes
        assert len(nodes) >= seen + 3
        seen = len(nodes)
    with Project.opened(tmp_path / "song", "") as project:
        assert {node.state for node in project.tree.nodes} <= {"failed", "stopped"}


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("format",), "jukebox-tree-2", "update jukebox_hf"),
        (("format",), "else", "is no tree of takes"),
        (("nodes", 0, "id"), 2, "ids count from 1"),
        (("nodes", 0, "kind"), "steal", "is none of generate"),
        (("nodes", 0, "state"), "lost", "is none of writing"),
        (("nodes", 0, "parent"), 3, "no earlier take"),
        (("nodes", 2, "parent"), None, "no earlier take"),
        (("nodes", 0, "audio"), "../../etc/passwd", "must name a file in songs/"),
        (("nodes", 0, "codes"), "songs/..", "must name a file in songs/"),
        (("nodes", 0, "seconds"), -1, "seconds=-1"),
        (("nodes", 0, "together"), [7], "must be numbers of takes"),
        (("nodes", 0, "request"), {"tempo": 3}, "tempo, which is no option"),
        (("nodes", 0, "request"), ASKED | {"prompt": "/etc/passwd"}, "outside of recordings/"),
        (("nodes", 1, "reason"), "a\x1b[2Jb", "control character"),
        (("chosen",), 9, "none of its takes"),
        (("nodes", 0, "request"), {"kind": "generate"}, "a request without seed"),
        (("nodes", 2, "kind"), "repaint", "a request without from_second"),
        (("nodes", 2, "parent"), 2, "goes on from take 2, which is not done"),
    ],
)
def test_a_tree_that_others_changed_is_refused_in_a_sentence(folder, where, value, said):
    content = json.loads((folder / "tree.json").read_text())
    inner = content
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    (folder / "tree.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=said) as refusal:
        read_tree(folder)
    assert str(refusal.value).count("\n") == 0


def test_the_command_prints_the_tree_as_it_grew(run_cli, folder):
    done = run_cli("tree", folder)
    assert done.code == 0
    assert done.out.splitlines() == [
        "3 takes by tiny, 1 of them done",
        "|- 1 sketch, 4 s, level 1, seed 3, 'row row' *",
        "|  `- 3 continue, writing, seed 3, 'row row'",
        "`- 2 sketch, failed, seed 4, 'row row', the disk is full",
    ]
    assert json.loads(run_cli("tree", folder, "--json").out)["nodes"][2]["parent"] == 1


def test_a_tree_of_any_depth_is_drawn_by_the_command_and_on_the_page(tmp_path):
    def node(id):
        parent, kind = (id - 1, "continue") if id > 1 else (None, "generate")
        return Node(id, parent, kind, ASKED, (id,), "done", 4.0, 2, f"songs/{id}.wav", f"songs/{id}.codes.safetensors")

    deep = Tree("tiny", tuple(map(node, range(1, 3001))), 3000)
    assert tree_in_words(deep).splitlines()[-1].strip().startswith("`- 3000 continue")
    drawn = tree_html(deep)
    assert drawn.count("<li>") == drawn.count("</li>") == 3000
    assert drawn.count("<ul") == drawn.count("</ul>") == 3000


@pytest.mark.parametrize(
    "told",
    [{}, {"files": []}, {"files": {"audio": "../../x", "codes": "y"}, "plan": [{"level": 2}], "audio": {"seconds": 1}}],
)
def test_a_side_car_that_no_take_left_is_refused_in_a_sentence_and_the_tree_stays(told, folder):
    before = (folder / "tree.json").read_bytes()
    (folder / "songs" / "3.json").write_text(json.dumps(told))
    refused = pytest.raises(ValueError, match=r"3\.json is not what a take's song leaves; put it back")
    with refused, Project.opened(folder, ""):
        pass
    assert (folder / "tree.json").read_bytes() == before


def test_the_command_refuses_what_is_no_project(run_cli, says_one_sentence, tmp_path):
    says_one_sentence(run_cli("tree", tmp_path), "holds no tree.json")


def test_long_words_are_cut_in_the_drawing(folder):
    with Project.opened(folder, "") as project:
        project.add(None, "generate", [ASKED | {"lyrics": "la " * 50}])
    assert "'la la la la la la la la la la...'" in tree_in_words(read_tree(folder))
