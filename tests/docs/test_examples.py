"""Every example of every page runs, here or in the test that is named; what cannot run is listed with its reason.

Those of this file run in this process, in one folder, with a tiny model under the name that the pages use. Training
takes one step, on small things of the kind that the pages read.
"""

import contextlib
import importlib.util
import io
import json
import re
import runpy
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from jukebox_hf import JukeboxPrior, JukeboxTokenizer, prior_preset, vqvae_preset
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.synthesis.recorded.sampled_notes import SOUNDFONTS
from jukebox_hf.training import encode_dataset
from jukebox_hf.training.commands import read_arguments

ROOT = Path(__file__).parents[2]
ROOT_PAGES = ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in ROOT_PAGES), *sorted((ROOT / "docs").rglob("*.md"))]
ELSEWHERE = {  # page: the test that runs its blocks of these languages
    ("README.md", "bash"): "tests/docs/test_readme.py",
    ("README.md", "python"): "tests/docs/test_readme.py",
    ("make-a-song.md", "bash"): "tests/docs/test_how_to.py",
    ("guidance.md", "bash"): "tests/docs/test_how_to.py",
    ("mix-styles.md", "bash"): "tests/docs/test_how_to.py",
    ("takes-and-repaint.md", "bash"): "tests/docs/test_how_to.py",
    ("studio.md", "bash"): "tests/app/studio/test_page.py",
    ("studio.md", "python"): "tests/app/studio/test_page.py",
    ("stereo.md", "bash"): "tests/docs/test_how_to.py",
    ("share-an-artist.md", "bash"): "tests/training/test_share_page.py",
    ("share-an-artist.md", "python"): "tests/training/test_share_page.py",
    ("words-from-the-model.md", "bash"): "tests/docs/test_how_to.py",
    ("words-from-the-model.md", "python"): "tests/docs/test_examples.py",
    ("resume-and-batches.md", "bash"): "tests/docs/test_how_to.py",
    ("resume-and-batches.md", "json"): "tests/docs/test_how_to.py",
    ("serve.md", "bash"): "tests/docs/test_serving_pages.py",
    ("serve.md", "python"): "tests/docs/test_serving_pages.py",
    ("align-recordings.md", "bash"): "tests/app/test_recognition_commands.py",
    ("align-recordings.md", "python"): "tests/app/test_recognition_commands.py",
    ("generation.md", "python"): "tests/pipeline/test_generation_page.py",
    ("text_and_labels.md", "python"): "tests/tokenization/test_text_and_labels_page.py",
    ("train-a-vqvae.md", "yaml"): "tests/training/test_training_page.py",
    ("train-a-vqvae.md", "json"): "tests/training/test_training_page.py",
    ("train-a-prior.md", "yaml"): "tests/training/prior/test_prior_pages.py",
    ("train-an-open-jukebox.md", "bash"): "tests/examples/test_open_jukebox.py",
    ("train-on-many-machines.md", "python"): "tests/training/test_streamed_training.py",
    ("CONTRIBUTING.md", "bash"): ".ci/run",
}
TUTORIALS = ("first-song.md", "a-friends-voice.md", "train-a-tiny-jukebox.md", "hear-what-it-hears.md")
ELSEWHERE |= {
    (page, language): "tests/docs/test_tutorials.py" for page in TUTORIALS for language in ("bash", "python", "csv")
}
NOT_RUN = {  # page: why its commands are only read
    "train-the-tiny-model.md": "takes days; tests/examples runs each of its steps on little",
    "speed-details.md": "needs a GPU; tests/benchmarks runs the others",
    "train-on-many-machines.md": "needs GPUs and clusters; tests/examples/test_scale.py runs its files on CPUs",
    "numerics_and_parity.md": "prints the table whose numbers tests/parity checks",
}


def _blocks(page):
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _commands(block):
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def test_every_block_says_its_language_and_is_run_somewhere():
    here = {"README.md", "convert-a-checkpoint.md", "lyrics-and-time.md", "prepare-songs.md"}
    here |= {"train-a-vqvae.md", "train-a-prior.md", "fine-tune-on-your-songs.md", "music-features.md"}
    for page in PAGES:
        for language, block in _blocks(page):
            name = page.name
            assert language or name == "README.md", f"{name}: say what this is:\n{block}"
            known = language in ("text", "mermaid") or (name, language) in ELSEWHERE or name in NOT_RUN or name in here
            assert known, f"{name}: nothing runs this {language}:\n{block}"
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name == "how-to"], ids=lambda page: page.name)
def test_pages_with_commands_say_where_the_commands_come_from(page):
    text = page.read_text(encoding="utf-8")
    assert "source .venv/bin/activate" in text[: text.find("```")]


def test_every_command_has_only_options_that_exist(run_cli):
    """Of the command line and of training alike; those of pages that nothing runs too."""
    seen, helps = 0, {}
    for page in PAGES:
        for language, block in _blocks(page):
            for words in _commands(block) if language == "bash" else ():
                if "jukebox-hf" not in words[:1]:
                    continue
                depth = 3 if words[1] in ("convert", "labels", "style") else 2
                command = tuple(words[1:depth])
                if command not in helps:
                    helps[command] = run_cli(*command, "--help").out
                for word in words:
                    if word.startswith("--"):
                        seen += 1
                        assert word.split("=")[0] in helps[command], f"{page.name}: {shlex.join(words)}"
    assert seen > 50


# --- one folder for all pages -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the pages speak of, each tiny: my-jukebox, songs, ids, record.wav, words.txt, run.yaml, top.json ..."""
    place = tmp_path_factory.mktemp("pages")
    make = runpy.run_path(str(ROOT / "examples" / "make_tiny_repository.py"))
    make["make_tiny_repository"](place / "my-jukebox")
    noise = np.random.default_rng(0).normal(0, 0.1, (12, 44100)).astype(np.float32)
    (place / "songs").mkdir()
    rows = ["file_name,artist,genre,lyrics"]
    for number, sound in enumerate(noise):
        soundfile.write(place / "songs" / f"{number}.wav", sound, 44100)
        rows.append(f"{number}.wav,The Testers,Soft Rock,row row row your boat")
    (place / "songs" / "metadata.csv").write_text("\n".join(rows))
    soundfile.write(place / "record.wav", noise[0], 44100)
    soundfile.write(place / "song.wav", noise[1, :4410], 44100)
    (place / "words.txt").write_text("row row row your boat")
    (place / "song.txt").write_text("row row row your boat")
    (place / "alphabet.txt").write_text("ж")
    return place


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def _python(page, number=0):
    """One of the Python blocks of a page."""
    return [block for language, block in _blocks(ROOT / page) if language == "python" or "import " in block][number]


def _run_python(block, **names):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "page", "exec"), names)
    return names, printed.getvalue()


# --- pages ------------------------------------------------------------------------------------------------------------


def test_the_song_of_the_readme_in_python(here):
    block = _python("README.md").replace("seconds=20", "seconds=0.1")
    block = block.replace("Alan Jackson", "the testers").replace('"Country"', '"soft rock"')
    names, _ = _run_python(block)
    assert names["song"]["sampling_rate"] == 44100
    assert len(names["song"]["audio"]) == 4352


def test_the_features_of_the_readme(here):
    block = _python("README.md", 1).replace("layers=(36,)", "layers=(1,)")
    names, _ = _run_python(block)
    assert names["vectors"].shape[:2] == (2, 1)


def test_the_fine_tuning_of_the_readme_is_that_of_its_page_which_runs():
    lines = [line for _, block in _blocks(ROOT / "README.md") for line in block.splitlines()]
    (tune,) = (line for line in lines if line.startswith("jukebox-hf finetune"))
    (sing,) = (line for line in lines if line.startswith("jukebox-hf generate --model my-own-jukebox"))
    page = (ROOT / "docs/how-to/fine-tune-on-your-songs.md").read_text(encoding="utf-8")
    assert f"{tune}\n{sing}\n" in page


def test_lyrics_and_time(here, run_cli):
    page = ROOT / "docs/how-to/lyrics-and-time.md"
    config = json.loads((here / "my-jukebox/config.json").read_text())
    if config["prior_configs"][2]["alignment_layer"] is None:  # the page's model knows its head
        for path in (here / "my-jukebox/config.json", here / "my-jukebox/prior_2/config.json"):
            content = json.loads(path.read_text())
            top = content["prior_configs"][2] if "prior_configs" in content else content
            top |= {"alignment_layer": top["attention_kinds"].index("lyrics_prefix"), "alignment_head": 0}
            path.write_text(json.dumps(content))
    for words in (words for language, block in _blocks(page) if language == "bash" for words in _commands(block)):
        words = ["0.5" if word == "200" else word for word in words]
        done = run_cli(*words[1:], *(["--force"] if "align" in words else []))
        assert done.code == 0, done.err
    assert {path.name for path in (here / "timed").iterdir()} >= {"song.lrc", "song.srt", "song.html", "record.html"}
    _, printed = _run_python(_python(page).replace("seconds=1", "seconds=0.1"))
    assert "boat" in printed
    assert (here / "row.lrc").read_text().startswith("[ar:the testers]")


@pytest.mark.usefixtures("here")
def test_words_from_the_model():
    names, printed = _run_python(_python("docs/how-to/words-from-the-model.md").replace("seconds=1,", "seconds=0.1,"))
    assert names["song"]["lyrics"] in printed
    assert "bits per character" in printed
    assert names["likelihoods"].shape == (23,)


def test_convert_a_checkpoint(here, run_cli, monkeypatch):
    """The released files are 12 GB: their commands are read to the end, and refused for the files that are not here."""
    page = ROOT / "docs/how-to/convert-a-checkpoint.md"
    bash = [words for language, block in _blocks(page) if language == "bash" for words in _commands(block)]
    assert [words[1] for words in bash] == ["convert", "convert", "convert", "info", "labels"]
    local = run_cli(*bash[1][1:], "--force")
    assert local.code == 2
    assert "vqvae.pth.tar" in local.err or "ids" in local.err
    for words in bash[3:]:
        assert run_cli(*words[1:]).code == 0
    names, _ = _run_python(_python(page))
    assert names["model"].loaded_levels == ()


def test_prepare_songs(here, run_cli):
    page = "docs/how-to/prepare-songs.md"
    names, _ = _run_python(_python(page))
    assert names["songs"][0].artist == "The Testers"
    shards = here / "shards"
    shards.mkdir(exist_ok=True)
    import datasets

    sound = {"bytes": (here / "record.wav").read_bytes(), "path": "a.wav"}
    rows = {"audio": [sound] * 2, "artist": ["a"] * 2, "genre": ["b"] * 2, "lyrics": ["c"] * 2}
    datasets.Dataset.from_dict(rows).to_parquet(shards / "0.parquet")
    local = "\n".join(line for line in _python(page, 1).splitlines() if "someone/" not in line)  # nothing of the Hub
    _run_python(local)
    block = _python(page, 2).replace("65_536, 16_000", "4_096, 44_100").replace("num_workers=4", "num_workers=0")
    names, _ = _run_python(block)
    assert len(next(iter(names["loader"]))) == 8
    commands = [words for language, block in _blocks(ROOT / page) if language == "bash" for words in _commands(block)]
    command, recorded = commands
    shorter = {"10": "0.002", "1": "0.002", "songs": "made", "2": "1"}
    assert run_cli(*[shorter.get(word, word) for word in command[1:]]).code == 0
    done = run_cli(*[shorter.get(word, word) for word in recorded[1:]], "--lyrics", "row the boat")
    has_all = all(map(importlib.util.find_spec, ("pyworld", "pkg_resources")))  # which pyworld imports
    has_all = has_all and shutil.which("flite") and shutil.which("fluidsynth")
    if has_all and any(path.is_file() for path in SOUNDFONTS):
        assert done.code == 0, done.err
        assert (here / "sung/voice-bank.zip").is_file()
    else:
        assert done.code == 2
        assert re.search("voices='recorded' needs .* install", done.err)


QUICK = {"max_steps": 1, "gradient_accumulation_steps": 1, "bf16": "false", "use_cpu": "true", "disable_tqdm": "true"}
QUICK |= {"report_to": "none", "save_strategy": "no", "eval_strategy": "no", "per_device_train_batch_size": 1}


def _train(words, run_cli, replaced=None):
    """A line of a page that trains, assembles or sings: in one step, with what is replaced."""
    words = [(replaced or {}).get(word, word) for word in words]
    quick = [f"--{name}={value}" for name, value in QUICK.items()] if words[1].startswith("train-") else []
    done = run_cli(*words[1:], *quick)
    assert done.code == 0, done.err


def _lines(page):
    blocks = _blocks(ROOT / "docs/how-to" / page)
    return [words for language, block in blocks if language == "bash" for words in _commands(block)]


def test_fine_tune_on_your_songs(here, run_cli):
    short = {"rock": "soft rock", "song.wav": "mine.wav"}
    shutil.copytree(here / "songs", here / "band", ignore=shutil.ignore_patterns("*.csv", "*.jsonl"))
    for number, words in enumerate(_lines("fine-tune-on-your-songs.md")):
        again = {"my-prior": "my-lora", "my-own-jukebox": "my-lora-jukebox"} if "--lora_rank" in words else {}
        if "--early_stop" in words:  # one step is never evaluated
            again |= {"3": "0", "true": "false", "old-codes/": "codes/"}
        if number < 2:  # in one line
            again = {"songs/": "band", "my-own-jukebox": "my-band-jukebox", "song.wav": "band.wav"}
        words += ["--steps=1", "--replay=2", "--sample-seconds=0.1", "--device=cpu"] if words[1] == "finetune" else []
        words += ["--seconds", "0.1"] if words[1] == "generate" else []
        _train(words, run_cli, short | again)
    assert (here / "mine.wav").is_file()
    _run_python(_python("docs/how-to/fine-tune-on-your-songs.md"))
    names, _ = _run_python(_python("docs/how-to/fine-tune-on-your-songs.md", 1))
    assert type(names["merged"]).__name__ == "JukeboxPrior"


ONE_STEP = 'max_steps=1, use_cpu=True, report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=1'


def test_train_a_vqvae_in_python(here):
    block = _python("docs/how-to/train-a-vqvae.md").replace("max_steps=1000", ONE_STEP)
    windows = [{"input_values": torch.randn(1, 16_384) / 10} for _ in range(8)]
    names, _ = _run_python(block, windows=windows)
    assert names["trainer"].state.global_step == 1


def test_train_a_prior_in_python(here):
    """Lyrics in one's own script, then the trainer; nothing is sent to the Hub."""
    tokenizer = JukeboxTokenizer.from_pretrained("my-jukebox")
    names, _ = _run_python(
        _page_python("train-a-prior.md", 0),
        prior=JukeboxPrior.from_pretrained("my-jukebox/prior_2"),
        tokenizer=tokenizer,
    )
    assert names["prior"].config.lyric_vocab_size == 79 + 33
    block = _page_python("train-a-prior.md", 1).replace("max_steps=1000", ONE_STEP)
    assert "trainer.push_to_hub()" in block
    assert encode_dataset.main(["songs/", "codes-in-python/", "--model", "my-jukebox"]) == 0
    prior = JukeboxPrior.from_pretrained("my-jukebox/prior_2")
    shards = CodeShards(here / "codes-in-python")
    windows = CodeWindows(shards, 2, prior.config.context_length, 0, with_labels=True)
    block = "\n".join(line for line in block.splitlines() if "push_to_hub" not in line)
    names, _ = _run_python(block, prior=prior, tokenizer=tokenizer, windows=windows)
    assert names["trainer"].state.global_step == 1


def _page_python(page, number):
    return [block for language, block in _blocks(ROOT / "docs/how-to" / page) if language == "python"][number]


TRAINING = (
    *("train-a-vqvae.md", "train-a-prior.md", "fine-tune-on-your-songs.md", "train-the-tiny-model.md"),
    "train-on-many-machines.md",
)


@pytest.mark.parametrize("page", TRAINING)
def test_training_commands_are_read_to_their_end(page, here, monkeypatch):
    """With the parsers of the commands themselves; tests/training runs such commands."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    read = 0
    yaml = [block for language, block in _blocks(ROOT / "docs/how-to" / page) if language == "yaml"]
    if yaml:
        (here / "run.yaml").write_text(yaml[0].replace("bf16: true", "bf16: false"))
    for language, block in _blocks(ROOT / "docs/how-to" / page):
        for words in _commands(block) if language == "bash" else ():
            found = set(words) & {"train-vqvae", "encode-dataset", "train-prior", "assemble", "consolidate"}
            if not found:
                continue
            (name,) = found
            if words[0] == "sbatch":
                continue  # tests/examples/test_scale.py
            assert words[0] == "jukebox-hf" or words[words.index(name) - 2 : words.index(name)] == ["-m", "jukebox_hf"]
            module = import_module(f"jukebox_hf.training.{name.replace('-', '_')}")
            own = words[words.index(name) + 1 :]
            own = [str(ROOT / word) if word.startswith("examples/") else word for word in own]
            if hasattr(module, "ARGUMENT_CLASSES"):
                read_arguments(module.ARGUMENT_CLASSES, [*own, "--bf16", "false", "--use_cpu", "true"])
            else:
                with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                    module.main([*own, "--help"])
            read += 1
    assert read > 2


def test_the_presets_that_the_pages_name_exist():
    assert vqvae_preset("vqvae").num_levels == 3
    assert prior_preset("small_labelled_prior").lyrics == "none"


def test_music_features_are_made_as_the_page_says(capsys):
    page = next(page for page in PAGES if page.name == "music-features.md" and page.parent.name == "how-to")
    (block,) = [block for language, block in _blocks(page) if language == "python"]
    exec(compile(block, str(page), "exec"), {})
    shape, read = capsys.readouterr().out.splitlines()[-2:]
    assert shape == "torch.Size([1, 2, 256])"
    few, many = eval(read)
    assert few < 0.8 * many
