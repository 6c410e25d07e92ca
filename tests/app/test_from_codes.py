"""`continue`, `upsample`, `encode` and `decode`: what must hold between songs and their codes."""

import json
import resource
import shlex
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from jukebox_hf import JukeboxModel, tiny_repository
from jukebox_hf.app.runs.requests import repeat_line
from jukebox_hf.app.runs.song_folder import load_codes, save_codes
from jukebox_hf.app.runs.song_request import SongRequest, without_replaced
from jukebox_hf.model.inputs.audio_input import read_audio

BOUNDARY = 24 * 128 / 44100  # where windows end at all three levels: 24 top codes, 96 middle, 384 fine


def test_a_song_cut_where_windows_end_continues_as_if_it_had_never_stopped(whole_song, run_cli, tmp_path, codes_of):
    done = run_cli(
        "continue", whole_song.folder / "song.wav", "--seconds", 0.1, "--keep", BOUNDARY, "--out", tmp_path / "a.wav"
    )
    assert done.code == 0, done.err
    assert codes_of(tmp_path / "a.codes.safetensors") == codes_of(whole_song.folder / "song.codes.safetensors")
    assert (tmp_path / "a.wav").read_bytes()[1000:] == (whole_song.folder / "song.wav").read_bytes()[1000:]


def test_a_continued_song_keeps_every_code_it_had_and_its_words(whole_song, run_cli, tmp_path, codes_of, read_json):
    codes = whole_song.folder / "song.codes.safetensors"
    done = run_cli("continue", codes, "--seconds", 0.12, "--out", tmp_path / "a.wav", "--json")
    assert done.code == 0, done.err
    for old, new in zip(codes_of(codes), codes_of(tmp_path / "a.codes.safetensors"), strict=True):
        assert new[: len(old)] == old
        assert len(new) > len(old)
    (sidecar,) = json.loads(done.out)["songs"]
    older = read_json(whole_song.folder / "song.json")
    for name in ("lyrics", "artist", "genre", "seed", "model"):
        assert sidecar["request"][name] == older["request"][name]
    assert sidecar["given_seconds"] == older["audio"]["seconds"]
    assert sidecar["command"].startswith("python -m jukebox_hf continue ")


def test_what_is_taken_back_stands_in_the_line_that_makes_the_song_again(
    generate, run_cli, tmp_path, codes_of, read_json
):
    """A default that is said in place of the older song's: left out, the older one's would come back."""
    told = ("--lyrics", "row row row", "--artist", "the testers", "--genre", "soft rock", "--offset", 0.05)
    more = ("--normalize", "peak", "--parallel-windows", "--levels", 2, "--seconds", 0.05, "--song-seconds", 1)
    assert generate(tmp_path / "old.wav", *told, *more).code == 0
    back = (
        "--lyrics",
        "",
        "--artist",
        "unknown",
        "--genre",
        "unknown",
        "--offset",
        0,
        "--normalize",
        "none",
        "--no-parallel-windows",
    )
    done = run_cli(
        "continue", tmp_path / "old.wav", *back, "--levels", 2, "--seconds", 0.1, "--out", tmp_path / "a.wav"
    )
    assert done.code == 0, done.err
    assert not read_json(tmp_path / "a.json")["request"]["parallel_windows"]
    again = shlex.split(next(line for line in done.out.splitlines() if "again: " in line).split("again: ")[1])
    assert run_cli(*again[3:-1], tmp_path / "b.wav").code == 0
    assert codes_of(tmp_path / "a.codes.safetensors") == codes_of(tmp_path / "b.codes.safetensors")
    assert (tmp_path / "a.wav").read_bytes()[1000:] == (tmp_path / "b.wav").read_bytes()[1000:]
    assert read_json(tmp_path / "a.json")["request"] == read_json(tmp_path / "b.json")["request"]


def test_codes_whose_name_looks_like_an_option_are_named_by_their_folder(tmp_path):
    line = repeat_line(SongRequest(kind="upsample", codes="-x.codes.safetensors", model="tiny"), tmp_path / "a.wav")
    assert line.startswith("python -m jukebox_hf upsample ./-x.codes.safetensors --model tiny --lyrics '' ")


def test_what_is_said_now_takes_the_place_of_what_it_excludes(generate, run_cli, tmp_path, read_json):
    words = ("--lyrics", "row", "--lyrics-from", 0.01, "--artist", "the testers", "--levels", 2, "--seconds", 0.05)
    old = ("--guidance-scale", 2, "--guidance-on", "labels", "--top-k", "1=3,0=3")
    assert generate(tmp_path / "old.wav", *words, *old).code == 0
    now = ("--guidance-scale", 1, "--top-p", "1=0.9", "--lyrics", "", "--levels", 2, "--seconds", 0.1)
    done = run_cli("continue", tmp_path / "old.wav", *now, "--out", tmp_path / "a.wav")
    assert done.code == 0, done.err
    request = read_json(tmp_path / "a.json")["request"]
    gone = ("guidance_on", "top_k", "lyrics_from")
    assert [request[name] for name in gone] == [None, "0=3", None]
    assert (request["guidance_scale"], request["top_p"]) == ("1", "1=0.9")


@pytest.mark.parametrize(
    ("older", "said", "kept"),
    [
        ({"top_k": "5"}, {"top_p": "0.9"}, {}),
        ({"top_k": "5"}, {"top_p": "1"}, {"top_k": "5"}),  # which cuts nothing
        ({"top_k": "2=50,1=20,0=20"}, {"min_p": "2=0.1,1=0"}, {"top_k": "1=20,0=20"}),
        ({"top_k": "5"}, {"min_p": "2=0.1"}, {"top_k": "5"}),  # and both are refused
        ({"top_p": "2=0.95"}, {"top_k": "1=9"}, {"top_p": "2=0.95"}),
        ({"top_k": "2=5"}, {"typical_p": "0.9"}, {}),
        ({"top_k": "2=5"}, {"epsilon_cutoff": "2=0.001"}, {}),
        ({"guidance_on": "labels", "guidance_scale": "3"}, {"guidance_scale": "1"}, {"guidance_scale": "3"}),
        ({"guidance_on": "labels"}, {"guidance_scale": "2=1"}, {"guidance_on": "labels"}),  # the model's own guide 1, 0
        ({"guidance_on": "labels"}, {"top_k": "5"}, {"guidance_on": "labels"}),
        ({"guidance_on": "labels", "lyrics_guidance": "1"}, {"lyrics_guidance": "2"}, {"lyrics_guidance": "1"}),
        ({"lyrics_guidance": "2", "guidance_scale": "2"}, {"guidance_on": "labels"}, {"guidance_scale": "2"}),
        (
            {"lyrics_guidance": "2", "guidance_scale": "2"},
            {"guidance_on": "both"},
            {"lyrics_guidance": "2", "guidance_scale": "2"},
        ),
        ({"lyrics_guidance": "2", "guidance_scale": "2"}, {"lyrics": ""}, {"guidance_scale": "2"}),
        ({"guidance_on": "lyrics", "guidance_scale": "2"}, {"lyrics": ""}, {}),
        ({"lyrics_from": 2.0, "lyric_times": None}, {"lyrics": "la"}, {"lyrics_from": 2.0}),
        ({"lyrics_from": 2.0}, {"lyrics": ""}, {}),
        ({"lyric_times": "0@1"}, {"follow_lyrics": True}, {}),
        ({"hop_fraction": "1=0.25"}, {"kind": "upsample", "parallel_windows": True}, {}),
        ({"hop_fraction": "0.25"}, {"kind": "continue", "parallel_windows": True}, {"hop_fraction": "0.25"}),
    ],
)
def test_an_older_song_gives_up_what_would_contradict(older, said, kept):
    assert without_replaced(older, said) == kept


def test_a_sketch_of_the_top_level_upsamples_to_the_song_made_in_one_go(
    whole_song, generate, run_cli, tmp_path, codes_of, read_json
):
    request = read_json(whole_song.folder / "song.json")["request"]
    words = [w for name in ("lyrics", "artist", "genre", "seed") for w in (f"--{name}", request[name])]
    assert generate(tmp_path / "sketch.wav", *words, "--levels", 2).code == 0
    sketch = tmp_path / "sketch.codes.safetensors"
    assert [len(codes) for codes in codes_of(sketch)] == [0, 0, 34]
    assert run_cli("upsample", sketch, "--out", tmp_path / "a.wav").code == 0
    assert codes_of(tmp_path / "a.codes.safetensors") == codes_of(whole_song.folder / "song.codes.safetensors")
    assert read_json(tmp_path / "a.json")["request"]["levels"] == "1,0"


def test_upsampling_in_two_steps_equals_one(generate, run_cli, tmp_path, codes_of):
    assert generate(tmp_path / "s.wav", "--levels", 2, "--seed", 3).code == 0
    assert run_cli("upsample", tmp_path / "s.json", "--out", tmp_path / "one.wav").code == 0
    assert run_cli("upsample", tmp_path / "s.json", "--levels", 1, "--out", tmp_path / "half.wav").code == 0
    assert run_cli("upsample", tmp_path / "half.wav", "--out", tmp_path / "two.wav").code == 0
    assert codes_of(tmp_path / "two.codes.safetensors") == codes_of(tmp_path / "one.codes.safetensors")


def test_an_interrupted_upsampling_goes_on(whole_song, start, run_cli, tmp_path, codes_of):
    codes = whole_song.folder / "song.codes.safetensors"
    child = start("upsample", codes, "--levels", "1,0", "--out", tmp_path / "a.wav")
    while not list(tmp_path.glob("a.partial/a.level_1.wav")):
        assert child.poll() is None, child.said
        time.sleep(0.002)
    child.send(signal.SIGKILL)
    child.wait()
    assert run_cli("generate", "--resume", "--out", tmp_path / "a.wav").code == 0
    assert codes_of(tmp_path / "a.codes.safetensors") == codes_of(codes)


def test_encoding_and_decoding_are_the_vq_vaes(repository, recording, run_cli, tmp_path, codes_of):
    audio = recording(0.1, rate=22050)
    done = run_cli("encode", audio, tmp_path / "a.safetensors", "--model", repository, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    vqvae = JukeboxModel.from_pretrained(repository).vqvae
    samples = read_audio(audio, 44100)
    values = torch.from_numpy(samples[: len(samples) // 128 * 128])[None, None]
    assert codes_of(tmp_path / "a.safetensors") == [codes[0].tolist() for codes in vqvae.encode(values).audio_codes]
    assert found["codes"] == [len(codes) for codes in codes_of(tmp_path / "a.safetensors")]
    for level in (0, 2):
        out = tmp_path / f"level_{level}.wav"
        done = run_cli("decode", tmp_path / "a.safetensors", out, "--level", level, "--format", "wavfloat")
        assert done.code == 0, done.err
        codes = torch.tensor(codes_of(tmp_path / "a.safetensors")[level])[None]
        assert np.array_equal(soundfile.read(out, dtype="float32")[0], vqvae.decode(codes, level).audio_values[0, 0])


def test_decoding_a_song_gives_its_audio(whole_song, run_cli, tmp_path):
    assert run_cli("decode", whole_song.folder / "song.json", tmp_path / "a.wav").code == 0
    assert np.array_equal(soundfile.read(tmp_path / "a.wav")[0], soundfile.read(whole_song.folder / "song.wav")[0])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("continue", "{song}", "--seconds", "0.05"), "ask for more, or keep less with --keep"),
        (("continue", "{song}", "--seconds", "0.1", "--keep", "0.0001"), "--keep=0.0001"),
        (("continue", ".", "--seconds", "1"), ". is a folder; name the song"),
        (("upsample", "/"), "/ is a folder; name the song"),
        (("decode", "..", "out.wav"), ".. is a folder; name the song"),
        (("continue", "{folder}", "--seconds", "1"), "is a folder; name the song"),
        (("continue", "nowhere.wav", "--seconds", "1"), "nowhere.wav is not there; name a song that is"),
        (("upsample", "nowhere.json"), "nowhere.json is not there; name a song that is"),
        (("decode", "nowhere/", "out/"), "nowhere is not there; name a song that is"),
        (("upsample", "{song}"), "name the --levels to write anew"),
        (
            ("upsample", "{song}", "--levels", "2"),
            "--levels 2: 2 is the top level, which nothing stands above; use generate, or --levels 1,0",
        ),
        (("decode", "{song}", "out.wav", "--level", "5"), "--level=5"),
        (("decode", "{song}", "out.m4a"), "must end in .wav"),
        (("decode", "{song}", "{song}"), "is a name among the files of a song"),
        (("encode", "{song}", "out.wav", "--model", "m"), "must end in .safetensors"),
        (("encode", "{song}", "out.safetensors"), "--model is missing"),
    ],
)
def test_impossible_wishes_are_refused_in_a_sentence(
    whole_song, run_cli, tmp_path, monkeypatch, words, parts, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    says_one_sentence(
        run_cli(*(word.format(song=whole_song.folder / "song.wav", folder=whole_song.folder) for word in words)), parts
    )
    assert list(tmp_path.iterdir()) == []


def test_a_side_car_without_codes_is_no_recording_to_go_on_from(run_cli, tmp_path, says_one_sentence):
    (tmp_path / "lone.json").write_text("{}")
    done = run_cli("upsample", tmp_path / "lone.json")
    assert done.err.endswith("lone.json has no lone.codes.safetensors beside it; give the file of codes\n")
    says_one_sentence(done)


def test_encode_replaces_codes_of_ours_and_never_weights(
    run_cli, recording, repository, tmp_path, whole_song, says_one_sentence
):
    weights = repository / "prior_0" / "model.safetensors"
    before = weights.read_bytes()
    words = ("encode", recording(), "--model", repository, "--force")
    says_one_sentence(run_cli(*words[:2], weights, *words[2:]), "is no file of codes that jukebox-hf wrote")
    assert weights.read_bytes() == before
    codes = tmp_path / "a.codes.safetensors"
    codes.write_bytes((whole_song.folder / "song.codes.safetensors").read_bytes())
    assert run_cli(*words[:2], codes, *words[2:]).code == 0


@pytest.mark.parametrize(
    ("name", "beside", "is_taken"),
    [
        ("song.wav", ("song.json",), True),
        ("song.mp3", ("song.json",), True),  # of which `align` would make the song's sound
        ("song.wav", ("song.codes.safetensors",), True),
        ("song.codes.safetensors", ("song.json", "song.wav"), True),
        ("song.codes.safetensors", ("song.partial/request.json",), True),
        ("song.codes.safetensors", ("song.wav",), False),
        ("song.safetensors", ("song.json",), False),
    ],
)
def test_files_of_a_song_are_replaced_together_or_not_at_all(
    whole_song, run_cli, recording, repository, tmp_path, name, beside, is_taken, says_one_sentence
):
    other = tmp_path / "other.codes.safetensors"
    shutil.copy(whole_song.folder / "song.codes.safetensors", other)
    for path in (tmp_path / file for file in beside):
        path.parent.mkdir(exist_ok=True)
        shutil.copy(whole_song.folder / ("song.json" if "partial" in str(path) else path.name), path)
    target = tmp_path / name
    if is_taken:
        target.write_text("older")
    source = ("encode", recording()) if name.endswith(".safetensors") else ("decode", other)
    done = run_cli(*source, target, "--force", "--model", repository)
    if not is_taken:
        assert done.code == 0, done.err
        return
    says_one_sentence(done, f"{target} is a name among the files of a song ({tmp_path / beside[0]}", "another file")
    assert target.read_text() == "older"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("write-lyrics --model {model} --out {target}", "song.json"),
        ("write-lyrics --model {model} --out {target}", "song.wav"),
        ("style export {model} {target} --artist testers", "song.codes.safetensors"),
        ("align {others}/song.wav --out {folder} --format metadata", "song.wav"),
    ],
)
def test_no_command_replaces_a_file_of_a_song_alone(
    whole_song, run_cli, recording, repository, tmp_path, command, name, says_one_sentence
):
    shutil.copytree(whole_song.folder, tmp_path / "songs")
    shutil.copytree(whole_song.folder, tmp_path / "others")
    before = (tmp_path / "songs" / name).read_bytes()
    places = {"model": repository, "folder": tmp_path / "songs", "others": tmp_path / "others"}
    words = (word.format(**places, target=tmp_path / "songs" / name) for word in command.split())
    says_one_sentence(run_cli(*words, "--force"), f"{name} is a name among the files of a song", "another file")
    assert (tmp_path / "songs" / name).read_bytes() == before


def test_codes_of_a_song_become_audio_of_another_format_beside_it(whole_song, run_cli, tmp_path, says_one_sentence):
    for path in whole_song.folder.iterdir():
        shutil.copy(path, tmp_path)
    for _ in range(2):
        assert run_cli("decode", tmp_path / "song.json", tmp_path / "song.flac", "--force").code == 0
    done = run_cli("decode", tmp_path / "song.json", tmp_path / "song.wav", "--level", 2, "--force")
    says_one_sentence(done, "song.wav is a name among the files of a song")


@pytest.fixture
def trained_further(repository, tmp_path):
    """The tiny model with another codebook at the top level: it takes all codes, but means another sound by them."""
    other = shutil.copytree(repository, tmp_path / "other")
    path = other / "vqvae" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if "codebooks.2" in name)
    save_file({**tensors, name: tensors[name] + 1}, path, metadata={"format": "pt"})
    return other


@pytest.mark.parametrize(
    "words",
    [
        ("decode", "{song}", "out.wav"),
        ("continue", "{song}", "--seconds", "0.2", "--out", "out.wav"),
        ("upsample", "{song}", "--levels", "0", "--out", "out.wav", "--dry-run"),
    ],
)
def test_codes_of_another_vq_vae_are_refused(
    whole_song, trained_further, repository, run_cli, tmp_path, monkeypatch, words, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    said = [word.format(song=whole_song.folder / "song.wav") for word in words]
    parts = "codes of another VQ-VAE", f"name the model that wrote them, {repository}"
    says_one_sentence(run_cli(*said, "--model", trained_further), "other codebooks", *parts)
    done = run_cli(*said, "--model", "tiny")  # which has as many levels and more codes
    says_one_sentence(done, "sampling rate 44100 there, 16000 here", "hop lengths [8, 32, 128] there", *parts)
    assert not (tmp_path / "out.wav").exists()


def test_codes_of_levels_whose_codebooks_are_the_same_are_taken(trained_further, generate, run_cli, tmp_path):
    assert generate(tmp_path / "a.wav", "--seed", 1).code == 0
    state = load_codes(tmp_path / "a.codes.safetensors")
    fine = replace(state, codes=(state.codes[0], *(((torch.zeros(0, dtype=torch.long),),) * 2)))
    save_codes(fine, tmp_path / "fine.codes.safetensors")
    words = (tmp_path / "fine.codes.safetensors", tmp_path / "b.wav", "--model", trained_further)
    done = run_cli("decode", *words)
    assert done.code == 0, done.err


def test_codes_of_older_versions_which_note_no_vq_vae_go_on(whole_song, trained_further, run_cli, tmp_path):
    state = load_codes(whole_song.folder / "song.codes.safetensors")
    older = {name: note for name, note in state.notes.items() if name != "vqvae"}
    assert older != state.notes
    save_codes(replace(state, notes=older), tmp_path / "old.codes.safetensors")
    done = run_cli("decode", tmp_path / "old.codes.safetensors", tmp_path / "a.wav", "--model", trained_further)
    assert done.code == 0, done.err


def test_codes_without_their_side_car_find_their_model_and_say_what_nobody_knows(
    whole_song, repository, run_cli, tmp_path, read_json
):
    lone = tmp_path / "lone.codes.safetensors"
    lone.write_bytes((whole_song.folder / "song.codes.safetensors").read_bytes())
    words = ("upsample", lone, "--levels", "0", "--genre", "Country", "--out")
    done = run_cli(*words, tmp_path / "a.wav")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "lone.json" in line]
    told = f"{lone} has no lone.json beside it, so its words are unknown (lyrics, artist); they can be said again"
    assert line == f"jukebox-hf: {told}"
    assert read_json(tmp_path / "a.json")["request"]["model"] == str(repository)
    done = run_cli(*words, tmp_path / "b.wav", "--lyrics", "Row", "--artist", "The Testers", "--dry-run")
    assert done.code == 0, done.err
    assert "lone.json" not in done.err


def _no_large_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def test_codes_that_can_not_be_written_are_named(repository, recording, start, tmp_path):
    words = ("encode", recording(0.5), tmp_path / "codes" / "a.safetensors", "--model", repository)
    child = start(*words, before=_no_large_files)
    assert child.wait() == 2, child.said
    (line,) = child.said.splitlines()
    assert line.startswith(f"jukebox-hf: {words[2]} could not be written (")
    assert line.endswith("bytes: File too large); free space or choose another folder")
    assert list((tmp_path / "codes").iterdir()) == []


@pytest.mark.parametrize("older", [{}, {"song.lrc": "older"}])
def test_lyrics_in_time_are_written_all_or_none(whole_song, repository, start, tmp_path, older):
    timed = tmp_path / "timed"
    timed.mkdir()
    for name, text in older.items():
        (timed / name).write_text(text)
    words = ("align", whole_song.folder / "song.wav", "--out", timed, "--force")
    child = start(*words, before=_no_large_files)
    assert child.wait() == 2, child.said
    told = f"jukebox-hf: {timed} cannot be written to (File too large); choose another folder for --out"
    assert child.said.splitlines()[-1] == told
    assert {path.name: path.read_text() for path in timed.iterdir()} == older


def test_a_song_that_took_the_place_of_its_codes_names_no_line_that_would_make_another(
    whole_song, run_cli, tmp_path, read_json
):
    for path in whole_song.folder.iterdir():
        shutil.copy(path, tmp_path)
    song = tmp_path / "song.wav"
    done = run_cli("continue", song, "--seconds", 0.12, "--out", song, "--force")
    assert done.code == 0, done.err
    assert "again: " not in done.out.replace("makes it again: it took the place of", "")
    assert f"it took the place of {tmp_path / 'song.codes.safetensors'}" in done.out
    assert read_json(tmp_path / "song.json")["command"] == ""


def test_a_side_car_of_a_later_version_is_refused(whole_song, run_cli, tmp_path, says_one_sentence):
    for path in whole_song.folder.iterdir():
        shutil.copy(path, tmp_path)
    sidecar = tmp_path / "song.json"
    sidecar.write_text(sidecar.read_text().replace('"jukebox-song-1"', '"jukebox-song-2"'))
    done = run_cli("continue", tmp_path / "song.wav", "--seconds", 0.12, "--out", tmp_path / "a.wav")
    says_one_sentence(done, "song.json is the side-car of a song in the format 'jukebox-song-2'", "update jukebox_hf")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("continue", "{song}", "--seconds", "0.05"), ("--seconds 0.05 is shorter than the 0.0986", "--keep")),
        (("continue", "{song}", "--seconds", "0.2", "--keep", "9"), ("--keep 9 is more than the 0.0986",)),
        (("continue", "{song}", "--keep", "0.001"), ("--keep 0.001 is shorter than one code",)),
        (("upsample", "{song}"), ("down to the finest level already",)),
        (("decode", "{song}", "{out}", "--level", "7"), ("--level",)),
    ],
)
def test_what_codes_and_configuration_tell_is_refused_before_weights_are_read(
    whole_song, repository, run_cli, tmp_path, words, parts, says_one_sentence
):
    model = shutil.copytree(repository, tmp_path / "model")
    (model / "vqvae" / "model.safetensors").write_bytes(b"")
    names = {"song": whole_song.folder / "song.wav", "out": tmp_path / "a.wav"}
    out = [] if "{out}" in words else ["--out", names["out"]]
    says_one_sentence(run_cli(*(word.format(**names) for word in words), "--model", model, *out), *parts)


def test_codes_of_other_sizes_are_refused_before_weights_are_read(whole_song, run_cli, tmp_path, says_one_sentence):
    model = shutil.copytree(tiny_repository(), tmp_path / "model")
    (model / "vqvae" / "model.safetensors").write_bytes(b"")
    for command, out in (("decode", ()), ("continue", ("--out",))):
        done = run_cli(command, whole_song.folder / "song.wav", *out, tmp_path / "a.wav", "--model", model)
        says_one_sentence(done, "codes of another VQ-VAE", "sampling rate 44100 there, 16000 here")


def test_codes_of_a_run_that_was_stopped_before_its_first_code_are_refused_by_name(whole_song, run_cli, tmp_path):
    state = load_codes(whole_song.folder / "song.codes.safetensors")
    empty, out = tmp_path / "empty.codes.safetensors", ("--out", tmp_path / "a.wav")
    save_codes(replace(state, codes=tuple((songs[0][:0],) for songs in state.codes)), empty)
    for words in (
        ("continue", empty, "--seconds", 0.1),
        ("upsample", empty),
        ("repaint", empty, "--from", 0, "--to", 1),
    ):
        done = run_cli(*words, *out)
        assert done.code == 2
        assert f"{empty} holds no codes; give the codes of a song" in done.err
    assert not (tmp_path / "a.wav").exists()
