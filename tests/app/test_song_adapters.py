"""`--adapter` on the command line: names that it brings, weights, side-cars, and runs that go on with the same ones."""

import json
import shutil
from functools import partial

import pytest
import torch

from jukebox_hf import JukeboxModel, tiny_repository
from jukebox_hf.model.adapters.style_file import Style, read_style
from jukebox_hf.training.share import base_of

NEW = ("--artist", "Eve Lark", "--lyrics", "row", "--seed", "7", "--levels", "2")


@pytest.fixture(scope="module")
def styles(repository, tmp_path_factory):
    """Two styles of the random model's top level."""
    return write_styles(repository, tmp_path_factory.mktemp("styles"))


def write_styles(repository, folder):
    model = JukeboxModel.from_pretrained(repository)
    base, width = base_of(str(repository), model, [2]), model.config.prior_configs[2].hidden_size
    for number, name in enumerate(("eve", "eva")):
        rows = {"Eve Lark": 30 * torch.randn(width, generator=torch.Generator().manual_seed(number))}
        style = Style({2: {"artist": rows}}, base, {"artist": ("Eve Lark",)})
        (folder / f"{name}.safetensors").write_bytes(style.to_bytes())
    return folder


def test_a_song_is_sung_with_a_style_and_made_again_by_its_line(generate, tmp_path, codes_of, run_cli):
    styles = write_styles(tiny_repository(), tmp_path)  # which hears a name, as the random model hardly does
    style = styles / "eve.safetensors"
    generate = partial(generate, model=False, seconds=0.5)
    done = generate(tmp_path / "a.wav", "--adapter", f"{style}:0.5", *NEW)
    assert done.code == 0, done.err
    sidecar = json.loads((tmp_path / "a.json").read_text())
    assert sidecar["request"]["adapter"] == [f"{style}:0.5"]
    (told,) = sidecar["model"]["adapters"]
    assert (told["name"], told["weight"], len(told["sha256"])) == (str(style), 0.5, 64)
    assert generate(tmp_path / "b.wav", "--adapter", styles / "eva.safetensors", *NEW).code == 0
    assert codes_of(tmp_path / "a.codes.safetensors") != codes_of(tmp_path / "b.codes.safetensors")
    line = sidecar["command"].split()
    assert f"--adapter {style}:0.5" in sidecar["command"]
    assert generate(tmp_path / "c.wav", "--adapter", f"{style}:0.5", *NEW).code == 0
    assert codes_of(tmp_path / "a.codes.safetensors") == codes_of(tmp_path / "c.codes.safetensors")
    assert line[:4] == ["python", "-m", "jukebox_hf", "generate"]
    longer = run_cli(
        "continue", tmp_path / "a.wav", "--seconds", "0.6", "--levels", "2", "--out", tmp_path / "longer.wav"
    )
    assert longer.code == 0, longer.err
    assert json.loads((tmp_path / "longer.json").read_text())["request"]["adapter"] == [f"{style}:0.5"]


def test_songs_without_adapters_tell_of_none(generate, tmp_path):
    assert generate(tmp_path / "a.wav", "--levels", "2").code == 0
    assert "adapters" not in json.loads((tmp_path / "a.json").read_text())["model"]


def test_several_adapters_sing_at_once(generate, styles, tmp_path, codes_of):
    words = ["--adapter", f"{styles / 'eve.safetensors'}:0.7", "--adapter", f"{styles / 'eva.safetensors'}:0.3", *NEW]
    done = generate(tmp_path / "a.wav", *words)
    assert done.code == 0, done.err
    assert [each["weight"] for each in json.loads((tmp_path / "a.json").read_text())["model"]["adapters"]] == [0.7, 0.3]


def test_a_run_that_was_stopped_goes_on_with_the_same_adapter_only(start, repository, styles, tmp_path, run_cli):
    style = tmp_path / "eve.safetensors"
    shutil.copyfile(styles / "eve.safetensors", style)
    words = ["--model", repository, "--seconds", "0.3", "--adapter", style, *NEW]
    child = start("generate", *words, "--out", tmp_path / "a.wav", before=_dies_at_once)
    assert child.wait() != 0
    assert (tmp_path / "a.partial").is_dir(), child.said
    other = run_cli("generate", "--resume", "--adapter", styles / "eva.safetensors", "--out", tmp_path / "a.wav")
    assert other.code == 2
    assert "was begun with another --adapter; leave it out to go on as begun" in other.err
    shutil.copyfile(styles / "eva.safetensors", style)
    changed = run_cli("generate", "--resume", "--out", tmp_path / "a.wav")
    assert changed.code == 2
    assert f"(the adapter {style} changed)" in changed.err
    shutil.copyfile(styles / "eve.safetensors", style)
    assert run_cli("generate", "--resume", "--out", tmp_path / "a.wav").code == 0


def _dies_at_once():
    """The process ends after the first window is saved, or when it is planned."""
    import os

    from jukebox_hf.app.runs import song_making

    begin = song_making.begin

    def begun(*args, **kwargs):
        begin(*args, **kwargs)
        os._exit(9)

    from jukebox_hf.app.runs import song_runs

    song_runs.begin = begun


@pytest.mark.parametrize(("words", "said"), [
    (["--adapter", "eve:much"], "gives the weight 'much', which must be a number"),
    (["--adapter", "eve:nan"], "gives the weight 'nan', which must be a number"),
    (["--adapter", "nowhere/at/all"], "is no folder here and cannot be a name on the Hub"),
    (["--adapter", ":0.5"], "names no adapter"),
    (["--adapter", "{style}", "--adapter", "{style}:0.2"], "twice; say it once, with one weight"),
    (["--adapter", "{style}", "--adapter", "{styles}/./eve.safetensors"], "twice; say it once, with one weight"),
    (["--adapter", "{style}", "--artist", "Eva Larch"], "did you mean 'eve lark'?"),
    (["--adapter", "{repository}"], "is a model, not an adapter; name it with --model"),
    (["--adapter", "{other}"], "was learnt on another model than"),
])  # fmt: skip
def test_bad_adapters_are_refused_in_a_sentence(generate, repository, styles, tmp_path, words, said):
    style = read_style(styles / "eve.safetensors")
    (tmp_path / "o.safetensors").write_bytes(
        Style(style.vectors, type(style.base)({"prior_2": "0" * 64}), style.new).to_bytes()
    )
    places = {
        "styles": styles,
        "style": styles / "eve.safetensors",
        "repository": repository,
        "other": tmp_path / "o.safetensors",
    }
    done = generate(tmp_path / "a.wav", *(word.format(**places) for word in words), "--levels", "2")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()[-1]) < 600
    assert not list(tmp_path.glob("a*"))


def test_a_style_goes_into_a_jukebox_and_out_again(run_cli, repository, styles, tmp_path, generate):
    style, mine = styles / "eve.safetensors", tmp_path / "mine"
    done = run_cli("style", "import", style, mine, "--model", repository, "--artist", "Eve Two")
    assert done.code == 0, done.err
    assert '--artist "Eve Two"' in done.out or "--artist 'Eve Two'" in done.out
    assert [line[:8] for line in done.out.splitlines()] == [f"{mine}"[:8], "  sing: "]
    done = run_cli("generate", "--model", mine, "--artist", "Eve Two", "--seconds", "0.1", "--levels", "2", "--out",
                   tmp_path / "a.wav")  # fmt: skip
    assert done.code == 0, done.err
    done = run_cli("style", "export", mine, tmp_path / "two.safetensors", "--artist", "Eve Two", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["levels"] == [2]
    assert (
        read_style(tmp_path / "two.safetensors")
        .vectors[2]["artist"]["Eve Two"]
        .equal(read_style(style).vectors[2]["artist"]["Eve Lark"])
    )
    again = run_cli("style", "export", mine, tmp_path / "two.safetensors", "--artist", "Eve Two")
    assert again.code == 2
    assert "exists already" in again.err
