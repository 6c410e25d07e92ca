"""Many songs in one folder: their names, their shares, and how they go on."""

import json
import re
import signal
import time

import pytest
import torch

from jukebox_hf import JukeboxModel
from jukebox_hf.app.memory import memory_needs
from jukebox_hf.app.runs import device_choice
from jukebox_hf.app.runs.song_folder import distinct_slugs, plan_targets, slug
from jukebox_hf.model.sampling.window_decoder import WindowDecoder

SONGS = [
    {"artist": "The Testers", "genre": "Soft Rock", "lyrics": "one", "seconds": 0.1},
    {"artist": "The Testers", "genre": "Soft Rock", "lyrics": "two", "seconds": 0.1, "seed": 5},
    {"name": "../Ünder/the sea\u0000", "seconds": 0.12, "temperature": {"2": 5}},
]
NAMES = ["the-testers-soft-rock", "the-testers-soft-rock-2", "ünder-the-sea"]


@pytest.fixture
def batch(tmp_path):
    """The songs as a file."""
    path = tmp_path / "songs.jsonl"
    path.write_text("\n".join(map(json.dumps, SONGS)) + "\n\n", encoding="utf-8")
    return path


@pytest.fixture
def make(run_cli, repository, batch, tmp_path):
    """`generate --songs-file`: (*more words), into tmp_path/songs/."""
    return lambda *words: run_cli(
        "generate", "--model", repository, "--songs-file", batch, "--out", f"{tmp_path / 'songs'}/", *words
    )


def _names(folder, ending=".json"):
    return sorted(path.name.removesuffix(ending) for path in folder.iterdir() if path.name.endswith(ending))


def test_a_batch_makes_each_song_under_its_own_name(make, tmp_path, read_json):
    done = make("--seed", 3, "--levels", 2, "--json")
    assert done.code == 0, done.err
    assert _names(tmp_path / "songs") == NAMES
    assert len(list((tmp_path / "songs").iterdir())) == 4 * 3
    sidecars = json.loads(done.out)["songs"]
    assert [sidecar["seed"] for sidecar in sidecars] == [3, 5, 5]
    assert [sidecar["request"]["lyrics"] for sidecar in sidecars] == ["one", "two", ""]
    assert read_json(tmp_path / "songs" / "ünder-the-sea.json") == sidecars[2]


def test_songs_written_at_once_are_the_songs_written_one_by_one(make, tmp_path, codes_of):
    assert make("--seed", 3, "--levels", 2, "--batch-size", 1).code == 0
    alone = {name: codes_of(tmp_path / "songs" / f"{name}.codes.safetensors") for name in NAMES}
    assert make("--seed", 3, "--levels", 2, "--force", "--batch-size", 2).code == 0
    assert {name: codes_of(tmp_path / "songs" / f"{name}.codes.safetensors") for name in NAMES} == alone


def test_songs_are_written_side_by_side_as_memory_allows(make, tmp_path, codes_of, monkeypatch, repository):
    """Chosen and said, as few as one and as many as all; the songs stay the same; a flag overrides."""
    needs = memory_needs(JukeboxModel.from_pretrained(repository).config)
    rooms = {songs: max(level.bytes_for(songs) for level in needs["float32"]) * 5 // 4 + 10 for songs in (1, 2, 3)}
    lengths, found = [], {}
    prefill = WindowDecoder.prefill
    monkeypatch.setattr(WindowDecoder, "prefill", lambda *a, **k: lengths.append(len(a[1])) or prefill(*a, **k))
    for songs, room in rooms.items():
        monkeypatch.setattr(device_choice, "free_bytes", lambda device, room=room: room)
        lengths.clear()
        done = make("--seed", 3, "--levels", 2, "--force")
        assert done.code == 0, done.err
        (line,) = [line for line in done.err.splitlines() if "side by side" in line]
        assert f", {min(songs, 2)} of 3 songs side by side, " in line
        assert max(lengths) == min(songs, 2)  # the third has settings of its own
        found[songs] = {name: codes_of(tmp_path / "songs" / f"{name}.codes.safetensors") for name in NAMES}
    assert found[1] == found[2] == found[3]
    lengths.clear()
    done = make("--seed", 3, "--levels", 2, "--force", "--batch-size", 1)
    assert "1 of 3 songs side by side" in done.err
    assert set(lengths) == {1}


def test_an_interrupted_batch_goes_on_where_it_was(make, start, repository, batch, tmp_path, codes_of):
    out = tmp_path / "songs"
    words = ["generate", "--model", repository, "--songs-file", batch, "--seed", 3, "--batch-size", 2]
    child = start(*words, "--out", f"{out}/")
    while not list(out.glob("*.partial/*.level_1.wav")):
        assert child.poll() is None, child.said
        time.sleep(0.002)
    child.send(signal.SIGTERM)
    assert child.wait() == 143
    assert "go on with the same command and --resume" in child.said
    assert make("--resume", "--seed", 3, "--batch-size", 2).code == 0
    assert _names(out) == NAMES
    assert list(out.glob("*.partial")) == []
    resumed = {name: codes_of(out / f"{name}.codes.safetensors") for name in NAMES}
    assert start(*words, "--out", f"{out}/", "--force").wait() == 0
    assert {name: codes_of(out / f"{name}.codes.safetensors") for name in NAMES} == resumed


def test_processes_divide_a_batch(make, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert make("--seed", 3, "--levels", 2).code == 0
    assert _names(tmp_path / "songs") == NAMES[1:2]
    monkeypatch.setenv("RANK", "0")
    assert make("--seed", 3, "--levels", 2).code == 0
    assert _names(tmp_path / "songs") == NAMES


def test_count_makes_songs_whose_seeds_count_on(generate, tmp_path, read_json):
    assert generate(f"{tmp_path}/songs/", "--count", 2, "--seed", 8, "--levels", 2).code == 0
    names = ["unknown-unknown", "unknown-unknown-2"]
    assert _names(tmp_path / "songs") == names
    assert [read_json(tmp_path / "songs" / f"{name}.json")["seed"] for name in names] == [8, 9]


def test_older_songs_are_never_replaced_unasked(generate, tmp_path, says_one_sentence):
    (tmp_path / "a.png").write_text("mine")
    says_one_sentence(generate(tmp_path / "a.wav"), "already has a.png", "--force")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.wav", "a.json", "a.partial"])
def test_nothing_is_written_through_a_link(generate, tmp_path, name, says_one_sentence):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere" / "file")
    says_one_sentence(generate(tmp_path / "a.wav", "--force"), name, "symbolic link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("{", "line 1, is not JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"sings": "x"}', "has sings"),
        ('{"seconds": "long"}', "seconds='long'"),
        ('{"seconds": NaN}', "NaN is no finite number"),
        ('{"seed": -1}', "seed=-1"),
        ('{"lyrics": 3}', "lyrics=3"),
        ('{"model": "other"}', "same for all songs"),
        ("", "holds no song"),
    ],
)
def test_a_line_that_is_no_song_is_named(make, batch, tmp_path, line, parts, says_one_sentence):
    batch.write_text(line + "\n")
    says_one_sentence(make(), parts)
    assert not (tmp_path / "songs").exists()


def test_several_songs_need_a_folder(generate, tmp_path, says_one_sentence):
    says_one_sentence(generate(tmp_path / "a.wav", "--count", 2), "name a folder")
    says_one_sentence(generate(tmp_path / "a.m4a"), "must end in ")


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "..", "", ".hidden", "-rf", "a/b\\c", "東京", "x" * 300, "CON", "a\nb", "Ä ö"]
)
def test_a_slug_is_a_plain_name(text):
    assert re.fullmatch(r"[\w.-]+", slug(text))
    assert len(slug(text).encode()) <= 80
    assert not slug(text).startswith((".", "-"))
    assert slug(slug(text)) == slug(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Żółć", "żółć"),
        ("Z\u0307", "ż"),  # as macOS spells it
        ("日本", "日本"),
        ("हिन्दी गाना", "हिन्दी-गाना"),
        ("My Song (final)", "my-song-final"),
        ("Ⅷ", "viii"),
        ("🔥", "song"),
        ("❤\ufe0f", "song"),  # whose selector alone would be a name that nobody sees
        ("☀\ufe0f love ☀\ufe0f", "love"),
        (".\u0301a", "a"),
        ("\u3164", "song"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\ud800", "song"),
        ("日" * 30, "日" * 26),
    ],
)
def test_a_slug_keeps_the_letters_of_every_script(text, name):
    assert slug(text) == name
    assert len(name.encode()) <= 80


def test_equal_names_get_numbers_and_stay_short():
    slugs = distinct_slugs(["a", "A", "a-2", "a", "x" * 90, "x" * 99])
    assert slugs == ["a", "a-2", "a-2-2", "a-3", "x" * 80, "x" * 78 + "-2"]
    assert distinct_slugs(["日" * 27, "日" * 28]) == ["日" * 26, "日" * 26 + "-2"]
    assert all(target.folder.name == "songs" for target in plan_targets("songs/", ["..", "/etc"], ".wav"))


def test_when_memory_runs_out_fewer_songs_are_written_at_once(make, tmp_path, codes_of, monkeypatch):
    """The songs are those of the undivided batch, and one line says what happened."""
    prefill = WindowDecoder.prefill

    def scarce(self, tokens, *rest, **words):
        if len(tokens) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return prefill(self, tokens, *rest, **words)

    assert make("--seed", 3, "--levels", 2, "--batch-size", 1).code == 0
    alone = {name: codes_of(tmp_path / "songs" / f"{name}.codes.safetensors") for name in NAMES}
    monkeypatch.setattr(WindowDecoder, "prefill", scarce)
    done = make("--seed", 3, "--levels", 2, "--batch-size", 2, "--force")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "memory ran out" in line]
    assert line.startswith("jukebox-hf: memory ran out with 2 songs at once at level 2; 1 at once work")
    assert {name: codes_of(tmp_path / "songs" / f"{name}.codes.safetensors") for name in NAMES} == alone


def test_too_little_memory_for_one_song_is_said(generate, tmp_path, monkeypatch):
    def scarce(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(WindowDecoder, "prefill", scarce)
    done = generate(tmp_path / "a.wav", "--seed", 1)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("jukebox-hf: the device has too little memory for one song; go on with")
    assert (tmp_path / "a.partial" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ({"artist": "The Testrs"}, "artist='The Testrs' of the song b in {where} (did you mean 'the testers'"),
        ({"prompt": "nowhere.wav"}, "the song b in {where}: nowhere.wav is not a file"),
        ({"temperature": {"9": 0.9}}, "the song b in {where}: a key of temperature=9"),
    ],
)
@pytest.mark.parametrize("before", [[], [{"name": "a"}]])
def test_a_song_of_a_batch_that_is_refused_after_reading_is_named_with_its_line(
    run_cli, repository, tmp_path, line, parts, before, says_one_sentence
):
    batch = tmp_path / "songs.jsonl"
    songs = [*before, {"name": "b", **line}]
    batch.write_text("\n".join(json.dumps({"seconds": 0.1} | song) for song in songs), encoding="utf-8")
    done = run_cli("generate", "--model", repository, "--songs-file", batch, "--out", f"{tmp_path / 'songs'}/")
    says_one_sentence(done, parts.format(where=f"{batch}, line {len(songs)}"))
    assert not (tmp_path / "songs").exists()
