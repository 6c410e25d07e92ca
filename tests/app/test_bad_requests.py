"""Whatever a user can get wrong is one sentence on stderr and exit code 2, before anything is written."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import jukebox_hf
from jukebox_hf import JukeboxModel
from jukebox_hf.app.output import sentence_of
from jukebox_hf.app.runs.requests import read_lyric_file
from jukebox_hf.app.runs.song_request import SongRequest, read_request
from jukebox_hf.app.runs.song_values import by_level
from jukebox_hf.model.checks.text_input import check_here


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--seconds", "0"), "seconds=0"),
        (("--seconds", "nan"), "seconds=nan"),
        (("--seconds", "1e300"), "seconds=1e+300"),
        (("--seconds", "1e-9"), "seconds=1e-09"),
        (("--seconds", "0.001"), "less than one code"),
        (("--seconds", "1e12"), "from 0.001 to 86400"),
        (("--song-seconds", "inf"), "--song-seconds=inf"),
        (("--offset", "-1"), "offset=-1"),
        (("--lyrics-from", "nan"), "--lyrics-from=nan"),
        (("--lyrics-from", "0.6"), "lyrics_from=0.6 leaves no time for lyrics"),
        (("--prompt", "a.wav", "--prompt-seconds", "1e-9"), "--prompt-seconds=1e-09"),
        (("--song-seconds", "1", "--offset", "2"), "song_seconds=1 ends before its audio, which goes from 2 to"),
        (("--song-seconds", "0.05"), "song_seconds=0.05 ends before its audio"),
        (("--seed", "-1"), "seed=-1"),
        (("--levels", "2,0"), "neighbouring"),
        (("--levels", "7"), "level"),
        (("--levels", "top"), "--levels 'top'"),
        (("--levels", "0"), "level 1"),
        (("--temperature", "hot"), "--temperature 'hot'"),
        (("--temperature", "-1"), "temperature"),
        (("--top-k", "2=3", "--top-p", "2=0.5"), "exclude each other"),
        (("--top-p", "2=0.5", "--min-p", "0.1"), "exclude each other"),
        (("--min-p", "0.1", "--epsilon-cutoff", "2=0.01"), "exclude each other"),
        (("--jacobi", "fast"), "--jacobi 'fast' must be a number, auto, or such by level"),
        (("--jacobi", "1"), "jacobi=1 must be 0"),
        (("--jacobi", "2=9999"), "jacobi[2]=9999 is more than"),
        (("--draw", "fair"), "draw='fair', which is none of inverse, gumbel"),
        (("--hop-fraction", "0"), "hop_fractions"),
        (("--format", "m4a"), "format='m4a'"),
        (("--format", "mp3"), "must end in .mp3"),
        (("--normalize", "loud"), "normalize='loud'"),
        (("--dtype", "float8"), "--dtype float8"),
        (("--device", "cuda:99"), "--device cuda:99"),
        (("--device", "toaster"), "--device toaster"),
        (("--count", "0"), "--count 0"),
        (("--count", "3", "--seed", str(2**62 - 2)), f"--seed {2**62 - 2} with --count 3 goes on beyond the last seed"),
        (("--takes", "2", "--seed", str(2**62 - 1)), f"--seed {2**62 - 1} with --takes 2 goes on beyond the last seed"),
        (("--batch-size", "0"), "--batch-size 0"),
        (("--prompt", "nowhere.wav"), "nowhere.wav"),
        (("--prompt-seconds", "1"), "needs a --prompt"),
        (("--lyrics", "x" * 100_001), "100000"),
        (("--lyrics-file", "nowhere.txt"), "nowhere.txt is not a file"),
        (("--resume", "--force"), "exclude each other"),
        (("--prompt", ""), "prompt='', which must name a file"),
        (("--out", ""), "--out is empty; name a file"),
        (("--out", ".wav"), "--out .wav has no name before its ending; name a file, such as song.wav"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(generate, tmp_path, words, parts, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", *words), parts)
    assert list(tmp_path.iterdir()) == []


def test_lines_with_seeds_of_their_own_do_not_count_on(run_cli, tmp_path, says_one_sentence):
    lines = [{"name": "a"}, {"name": "b", "seed": 1}, {"name": "c", "seed": 2}, {"name": "d"}]
    for count, sentence in ((3, "no-jukebox is no folder here"), (4, f"--seed {2**62 - 1} with the 4 lines of ")):
        (tmp_path / "songs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:count]))
        said = ("--songs-file", tmp_path / "songs.jsonl", "--seed", 2**62 - 1, "--out", f"{tmp_path}/out/")
        says_one_sentence(run_cli("generate", *said, "--model", tmp_path / "no-jukebox"), sentence)


def test_a_line_whose_takes_count_on_too_far_is_named_with_its_own_words(run_cli, tmp_path, says_one_sentence):
    (tmp_path / "songs.jsonl").write_text(json.dumps({"seed": 2**62 - 1, "takes": 2}) + "\n")
    done = run_cli("generate", "--songs-file", tmp_path / "songs.jsonl", "--out", f"{tmp_path}/out/", "--model", "tiny")
    says_one_sentence(done, f"songs.jsonl, line 1: seed {2**62 - 1} with takes 2 goes on beyond the last seed")


def test_what_a_cut_may_not_be_is_refused_in_a_sentence(generate, tmp_path, cut, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", cut.flag, "some"), f"{cut.flag} 'some' must be a number")
    refused = cut.refused[0]
    says_one_sentence(generate(tmp_path / "a.wav", cut.flag, refused), f"{cut.name}={refused} {cut.sentence}")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_model_is_asked_for_in_one_clear_sentence(generate, run_cli, tmp_path, says_one_sentence):
    says_one_sentence(run_cli("encode", tmp_path / "a.wav", tmp_path / "a.safetensors"), "--model is missing")
    says_one_sentence(generate(tmp_path / "a.wav", "--model", tmp_path, model=False), tmp_path)


@pytest.mark.parametrize("kind", ["text", "cut", "not finite", "too short", "folder", "endless"])
def test_hostile_recordings_are_refused(generate, tmp_path, kind, says_one_sentence):
    prompt, out = tmp_path / "prompt.wav", tmp_path / "out" / "a.wav"
    audio = np.zeros(44100 // 20)
    if kind == "text":
        prompt.write_text("RIFF no sound")
    elif kind == "folder":
        prompt.mkdir()
    elif kind == "endless":
        prompt.symlink_to("/dev/zero")
    else:
        audio = audio + np.nan if kind == "not finite" else audio[:50] if kind == "too short" else audio
        soundfile.write(prompt, audio, 44100, subtype="FLOAT")
    if kind == "cut":
        prompt.write_bytes(prompt.read_bytes()[:30])
    says_one_sentence(generate(out, "--prompt", prompt))
    assert not out.parent.exists()


def test_a_prompt_longer_than_the_song_is_refused(generate, tmp_path, recording, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", "--prompt", recording(0.2)), "shorten the prompt")


def test_lyrics_of_other_files_are_refused(generate, tmp_path, says_one_sentence):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    says_one_sentence(generate(tmp_path / "a.wav", "--lyrics-file", tmp_path / "a.txt"), "UTF-8")
    says_one_sentence(
        generate(tmp_path / "a.wav", "--lyrics-file", tmp_path / "a.txt", "--lyrics", "x"), "exclude each other"
    )


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("generate", "--model", "tiny", "--out", "a.wav", "--lyrics"), "give it with --lyrics-file"),
        (("align", "tiny", "song.wav", "--out", "timed", "--lyrics"), "give it with --lyrics-file"),
        (("finetune", "songs", "out", "--model", "tiny", "--sample-lyrics"), "give its words themselves"),
    ],
)
def test_lyrics_that_name_a_file_that_is_there_are_refused(
    run_cli, tmp_path, monkeypatch, says_one_sentence, words, cure
):
    monkeypatch.chdir(tmp_path)
    Path("row.txt").write_text("Row, row")
    said = f"{words[-1]} is 'row.txt', the name of a file that is there, and the name itself would be sung; {cure}"
    says_one_sentence(run_cli(*words, "row.txt"), said)


def test_no_lyrics_are_fine(generate, tmp_path):
    assert generate(tmp_path / "a.wav", "--lyrics", "", "--levels", 2).code == 0


def test_a_request_refuses_what_no_song_knows():
    with pytest.raises(ValueError, match="has parallel_windows='yes', which must be true or false"):
        read_request({"parallel_windows": "yes"})
    with pytest.raises(TypeError):
        SongRequest(tempo=3)
    assert by_level("temperature", "2=0.9,0=1", float) == {2: 0.9, 0: 1.0}
    assert by_level("temperature", "0.9", float) == 0.9


def test_help_shows_examples_and_every_command(run_cli):
    done = run_cli("--help")
    assert done.code == 0
    for command in ("generate", "continue", "upsample", "encode", "decode", "convert", "labels", "info"):
        assert command in done.out
        if command not in ("convert", "labels"):
            assert "Example" in run_cli(command, "--help").out


def test_files_given_for_models_and_codes_that_are_not_there_are_named(run_cli, recording, says_one_sentence, tmp_path):
    path = recording()
    says_one_sentence(run_cli("info", path), f"{path} is a file; give the folder of a model")
    out = ("--out", tmp_path / "song.wav")  # a song may lie beside the tests, of the README's first command
    says_one_sentence(run_cli("generate", "--model", path, *out, "--dry-run"), f"{path} is a file")
    says_one_sentence(run_cli("labels", "list", path), f"{path} is a file; give the folder of a model")
    for command in ("export", "quantize"):
        says_one_sentence(run_cli(command, "", tmp_path / "out"), "a model without a name was asked for")
        says_one_sentence(run_cli(command, path, tmp_path / "out"), f"{path} is a file; give the folder of a model")
    gone = tmp_path / "gone.codes.safetensors"
    says_one_sentence(run_cli("upsample", gone), f"{gone} is not a file; give codes that jukebox-hf wrote")


def test_a_device_or_a_pipe_given_for_a_model_is_no_folder(run_cli, says_one_sentence, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/null", pipe):
        says_one_sentence(run_cli("info", path), f"{path} is no folder; give the folder of a model")
        words = ("generate", "--model", path, "--out", tmp_path / "song.wav", "--dry-run")
        says_one_sentence(run_cli(*words), f"{path} is no folder; give the folder")


def test_a_dry_run_refuses_the_place_that_the_run_itself_would(run_cli, repository, says_one_sentence, tmp_path):
    song = tmp_path / "song.wav"
    song.write_bytes(b"mine")
    words = ("generate", "--model", repository, "--seconds", 0.05, "--out", song, "--dry-run")
    says_one_sentence(run_cli(*words), f"{tmp_path} already has song.wav; choose another --out, or pass --force")
    assert run_cli(*words, "--force").code == 0
    assert song.read_bytes() == b"mine"


def test_the_tiny_model_is_exported_by_name(run_cli, tmp_path):
    assert run_cli("export", "tiny", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "modeling_jukebox.py").is_file()


def test_lyrics_from_a_pipe_of_the_shell_are_read_and_no_other_pipe_is_waited_for(tmp_path):
    inlet, outlet = os.pipe()
    os.write(outlet, b"row\r\nrow\n")
    os.close(outlet)
    assert read_lyric_file(Path(f"/dev/fd/{inlet}")) == "row\nrow\n"
    os.close(inlet)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a file; check the path"):
            read_lyric_file(path)


def test_what_the_system_refuses_names_file_and_cure():
    error = PermissionError(13, "Permission denied", "l.txt")
    assert sentence_of(error) == "l.txt cannot be used (Permission denied); check that path and who may use it"
    assert sentence_of(OSError(28, "No space left")) == "No space left"


def test_a_line_break_in_a_name_makes_no_line_of_its_own(generate, tmp_path):
    done = generate(tmp_path / "s\njukebox-hf: all songs deleted\n.wav", "--levels", 2)
    assert done.code == 0
    assert not any(line.startswith("jukebox-hf: all songs") for line in done.err.splitlines())


def test_a_folder_of_a_name_that_is_needed_is_found_before_a_code_is_drawn(generate, tmp_path, says_one_sentence):
    (tmp_path / "a.partial" / "0.audio").mkdir(parents=True)
    done = generate(tmp_path / "a.wav", "--levels", 2)
    says_one_sentence(done, "0.audio is a folder, but a song needs that name; move it away")


@pytest.mark.parametrize("content", ["", " \n\t\r\n", "\ufeff\n"])
@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("generate", "--model", "tiny", "--out", "a.wav"), "leave --lyrics-file out for an instrumental"),
        (("continue", "song.codes.safetensors", "--out", "a.wav"), "leave --lyrics-file out for an instrumental"),
        (("align", "tiny", "song.wav", "--out", "timed"), "write the lyrics that are sung into it"),
    ],
)
def test_a_file_of_lyrics_without_words_is_named(
    run_cli, tmp_path, monkeypatch, words, cure, content, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    for name, text in (("empty.txt", content), ("song.codes.safetensors", "not looked at")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    says_one_sentence(run_cli(*words, "--lyrics-file", "empty.txt"), f"empty.txt holds no words; {cure}")


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "--model", "tiny", "--out", "https://x.org/a.wav"),
        ("generate", "--model", "tiny", "--out", "file:///a.wav"),
        ("generate", "--model", "tiny", "--prompt", "https://x.org/a.wav"),
        ("generate", "--model", "tiny", "--lyrics-file", "https://x.org/a.txt"),
        ("continue", "https://x.org/a.wav", "--seconds", "1"),
        ("encode", "https://x.org/a.wav", "a.safetensors", "--model", "tiny"),
        ("encode", "a.wav", "https://x.org/a.safetensors", "--model", "tiny"),
        ("decode", "a.safetensors", "https://x.org/a.wav"),
        ("align", "tiny", "https://x.org/a.wav", "--out", "timed"),
        ("align", "tiny", "a.wav", "--out", "https://x.org/timed"),
        ("synth-corpus", "https://x.org/songs"),
        ("export", "tiny", "https://x.org/model"),
    ],
)
def test_an_address_is_refused_as_it_was_typed(run_cli, tmp_path, monkeypatch, words, says_one_sentence):
    monkeypatch.chdir(tmp_path)
    address = next(word for word in words if "://" in word)
    says_one_sentence(run_cli(*words), f"{address!r} is an address, not a file; ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a: b/c.wav", "C:/songs/a.wav", "https.wav", "./https:/a.wav"])
def test_a_path_with_a_colon_is_no_address(name):
    assert check_here(name) == name


def test_a_level_that_is_said_twice_is_refused():
    with pytest.raises(ValueError, match=r"--hop-fraction '2=0\.5,2=0\.25' says level 2 twice; keep one"):
        by_level("hop_fraction", "2=0.5,2=0.25", float)


@pytest.mark.parametrize("command", [("encode", "nope.wav", "a.safetensors"), ("generate", "--prompt", "nope.wav")])
def test_a_recording_is_looked_for_before_its_model(
    run_cli, repository, tmp_path, command, says_one_sentence, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where no song.wav lies, as the README's first command leaves one in a checkout
    model = shutil.copytree(repository, tmp_path / "model")
    (model / "vqvae" / "model.safetensors").write_bytes(b"")
    says_one_sentence(run_cli(*command, "--model", model), "nope.wav is not a file that can be read as audio")


def test_the_version_is_told(run_cli):
    done = run_cli("--version")
    assert (done.code, done.out) == (0, f"jukebox-hf {jukebox_hf.__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("quantize", "tiny", "q/../q"),
        ("export", "tiny", "q/../q"),
        ("convert", "transformers", "tiny", "q/../../w"),
        ("generate", "--model", "tiny", "--out", "q/../../w/song.wav"),
        ("generate", "--model", "tiny", "--out", "q/../w/"),
        ("encode", "sound.wav", "q/../w.safetensors", "--model", "tiny"),
        ("encode-dataset", "songs", "q/../w", "--model", "tiny"),
        ("embed", "songs", "q/../w", "--model", "tiny"),
        ("align", "tiny", "song.wav", "--out", "q/../w", "--lyrics", "la"),
        ("synth-corpus", "q/../w"),
        ("finetune", "songs", "q/../w", "--artist", "Bo Vale", "--model", "tiny"),
        ("assemble", "q/../w", "--vqvae", "tiny", "--priors", "tiny", "tiny", "tiny"),
        ("train-prior", "--output_dir", "q/../w", "--model", "tiny", "--level", "2", "--train_songs", "songs"),
        ("train-vqvae", "--output_dir", "q/../w", "--model", "tiny", "--train_songs", "songs"),
    ],
)
def test_a_way_behind_a_folder_that_is_not_there_is_refused_at_once(
    run_cli, tmp_path, monkeypatch, words, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "songs").mkdir()
    soundfile.write("sound.wav", np.zeros(4000), 16000)
    shutil.copy("sound.wav", "songs/sound.wav")
    shutil.copy("sound.wav", "song.wav")
    before = sorted(tmp_path.rglob("*"))
    says_one_sentence(run_cli(*words), " leads through q, which is no folder; name the place to write itself")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("generate", "--dry-run", "--out", "file.wav/"), "--out file.wav/: file.wav is a file, not a folder"),
        (("generate", "--dry-run", "--out", "file.wav/a/b.wav"), "--out file.wav/a/b.wav: file.wav is a file"),
        (("generate", "--out", "lost/b.wav"), "--out lost/b.wav: lost is a link to nothing, not a folder"),
        (("encode", "file.wav", "file.wav/a.safetensors", "--model", "tiny"), "file.wav is a file, not a folder"),
        (("quantize", "tiny", "file.wav/q"), "file.wav/q: file.wav is a file, not a folder"),
        (("synth-corpus", "file.wav/q"), "file.wav/q: file.wav is a file, not a folder"),
    ],
)
def test_a_file_in_the_way_of_a_folder_is_seen_before_a_network_is_opened(
    run_cli, tmp_path, monkeypatch, words, told, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(JukeboxModel, "from_pretrained", None)
    Path("file.wav").write_bytes(b"older")
    Path("lost").symlink_to("nowhere")
    says_one_sentence(run_cli(*words), told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.wav", "lost"]


@pytest.mark.parametrize(
    ("name", "told"), [("artists.json", "artists.json is not JSON"), ("", "has no lists of artists")]
)
def test_lists_that_lack_or_are_damaged_are_told_apart(run_cli, repository, tmp_path, name, told, says_one_sentence):
    model = shutil.copytree(repository, tmp_path / "model")
    if name:
        (model / name).write_text("{")
    else:
        (model / "artists.json").unlink()
    done = run_cli("generate", "--model", model, "--seconds", "0.1", "--out", tmp_path / "a.wav")
    says_one_sentence(done, told)
    assert done.err.count("--labels") == (not name)
