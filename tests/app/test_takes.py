"""Takes and repaint on the command line: what is kept, told and drawn; killed at any moment they come out the same."""

import json
import random
import shlex
import signal
import time

import pytest
import torch

from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs import sampled, song_takes
from jukebox_hf.app.runs.song_folder import load_codes, save_codes
from jukebox_hf.model.songs.level_sampler import LevelSampler

WORDS = (
    "--lyrics", "Row, row, row your boat", "--artist", "The Testers", "--genre", "Soft Rock", "--seconds", "0.1",
    "--temperature", "3", "--seed", "7",
)  # fmt: skip
START, STOP = 12, 18  # codes of the top level
STRETCH = ("--from", str(START * 128 / 44100), "--to", str(STOP * 128 / 44100))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("takes")


@pytest.fixture(scope="module")
def words(repository):
    return ("generate", "--model", repository, *WORDS, "--takes", "3")


@pytest.fixture(scope="module")
def chosen(run_to_the_end, words, folder):
    """The best of three takes."""
    run_to_the_end(*words, "--out", folder / "song.wav")
    return folder / "song.wav"


@pytest.fixture(scope="module")
def repainted(run_to_the_end, chosen, folder):
    """A stretch of it, sung again."""
    run_to_the_end("repaint", chosen, *STRETCH, "--takes", "3", "--seed", "90", "--out", folder / "again.wav")
    return folder / "again.wav"


def test_the_best_take_is_the_plain_song_of_its_seed(chosen, run_cli, repository, tmp_path, read_json, codes_of):
    told = read_json(chosen.with_suffix(".json"))
    takes = told["takes"]["takes"]
    assert [take["seed"] for take in takes] == [7, 8, 9]
    (best,) = (take for take in takes if take["kept"])
    assert best["place"] == 1
    assert best["own"] == min(take["own"] for take in takes)
    assert told["seed"] == told["request"]["seed"] == best["seed"]
    assert (told["request"]["takes"], told["takes"]["asked"]["takes"]) == (1, 3)
    assert "--takes" not in told["command"]
    plain = [*WORDS[:-1], best["seed"]]
    done = run_cli("generate", "--model", repository, *plain, "--out", tmp_path / "plain.wav")
    assert done.code == 0, done.err
    assert codes_of(tmp_path / "plain.codes.safetensors") == codes_of(chosen.with_suffix(".codes.safetensors"))
    assert (tmp_path / "plain.wav").read_bytes()[400:] == chosen.read_bytes()[400:]


def test_files_table_and_contact_sheet(chosen, run_cli, words, read_json):
    assert chosen.with_suffix(".takes.png").read_bytes()[:4] == b"\x89PNG"
    assert read_json(chosen.with_suffix(".json"))["files"]["takes"] == "song.takes.png"
    assert not chosen.with_suffix(".partial").exists()
    done = run_cli(*words, "--out", chosen, "--resume")
    assert "finished already" in done.err
    rows = [line.split() for line in done.out.splitlines() if line.startswith("   ")]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][-1] == "kept"
    assert run_cli(*words, "--seed", 8, "--out", chosen, "--resume").code == 2


def test_several_are_kept_in_a_folder_best_first(words, run_cli, tmp_path, read_json):
    done = run_cli(*words, "--keep", 2, "--levels", 2, "--out", f"{tmp_path}/songs/", "--json")
    assert done.code == 0, done.err
    songs = json.loads(done.out)["songs"]
    assert [song["files"]["audio"] for song in songs] == ["the-testers-soft-rock.wav", "the-testers-soft-rock-2.wav"]
    by_place = {take["place"]: take["seed"] for take in songs[0]["takes"]["takes"]}
    assert [song["seed"] for song in songs] == [by_place[1], by_place[2]]
    said = [line for line in done.err.splitlines() if ".wav: seed " in line]
    assert said == [f"{tmp_path}/songs/{song['files']['audio']}: seed {song['seed']}" for song in songs]
    sheets = sorted(path.name for path in (tmp_path / "songs").glob("*.takes.png"))
    assert sheets == ["the-testers-soft-rock.takes.png"]


def test_lyrics_can_choose_and_a_songs_file_has_takes_line_by_line(repository, run_cli, tmp_path, read_json):
    lines = [{"name": "one", "lyrics": "Row row", "takes": 2, "choose_by": "lyrics"}, {"name": "two", "seed": 3}]
    (tmp_path / "songs.jsonl").write_text("\n".join(json.dumps({**line, "seconds": 0.05}) for line in lines))
    given = ("--songs-file", tmp_path / "songs.jsonl", "--levels", 2, "--out", f"{tmp_path}/out/")
    assert run_cli("generate", "--model", repository, *given).code == 0
    assert read_json(tmp_path / "out" / "one.json")["takes"]["chosen_by"] == "lyrics"
    assert "takes" not in read_json(tmp_path / "out" / "two.json")
    assert not (tmp_path / "out" / "two.takes.png").exists()


def test_a_song_without_takes_replaces_the_contact_sheet_too(words, run_cli, tmp_path):
    out = ("--levels", 2, "--out", tmp_path / "song.wav")
    assert run_cli(*words, *out).code == 0
    assert (tmp_path / "song.takes.png").exists()
    assert run_cli(*words[:-2], *out).code == 2, "what is there is not replaced"
    assert run_cli(*words[:-2], *out, "--force").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ("song.wav", "song.png", "song.codes.safetensors", "song.json")
    )


def test_a_stretch_is_sung_again_and_all_else_stays(chosen, repainted, codes_of, read_json):
    older, newer = (codes_of(path.with_suffix(".codes.safetensors")) for path in (chosen, repainted))
    told = read_json(repainted.with_suffix(".json"))["repaint"]
    assert told["changed_codes"]["2"] == [START, STOP]
    for level, (one, other) in enumerate(zip(older, newer, strict=True)):
        first, last = told["changed_codes"][str(level)]
        assert one[:first] == other[:first]
        assert one[last:] == other[last:]
        assert one != other
    assert [take["seed"] for take in told["takes"]] == [90, 91, 92]
    best = min(told["takes"], key=lambda take: take["value"])
    assert best["kept"]
    assert best["place"] == 1
    assert told["chosen_by"] == "following"
    assert isinstance(told["older"], float)


def test_bars_of_a_stretch_end_where_it_ends_and_its_table_says_what_the_numbers_are(
    chosen, run_cli, tmp_path, read_json, monkeypatch
):
    bars = {}
    monkeypatch.setattr(Progress, "begin_level", lambda self, level, total, done: bars.update({level: (done, total)}))
    done = run_cli("repaint", chosen, *STRETCH, "--takes", "2", "--seed", "91", "--out", tmp_path / "again.wav")
    told = read_json(tmp_path / "again.json")["repaint"]
    assert bars == {int(level): tuple(span) for level, span in told["changed_codes"].items()}
    lines = done.out.splitlines()
    (begin,) = (number for number, line in enumerate(lines) if line.endswith("s sung again"))
    header, first, second, older = lines[begin + 1 : begin + 5]
    assert header.split() == ["place", "seed", "bits", "per", "code", "of", "what", "follows"]
    assert [first.split()[-1], second.split()[0]] == ["kept", "2"]
    assert older.split() == ["as", "it", "was", f"{told['older']:.3f}"]


def test_a_repainted_song_names_the_line_that_makes_it_again(repainted, run_cli, tmp_path, read_json):
    line = shlex.split(read_json(repainted.with_suffix(".json"))["command"])
    assert line[3] == "repaint"
    again = [*line[3:-1], str(tmp_path / "again.wav")]
    assert run_cli(*again).code == 0
    for suffix in (".wav", ".codes.safetensors"):
        assert (tmp_path / "again").with_suffix(suffix).read_bytes() == repainted.with_suffix(suffix).read_bytes()


def test_a_repainted_song_goes_on_and_is_repainted(repainted, run_cli, tmp_path, codes_of):
    assert run_cli("continue", repainted, "--seconds", 0.11, "--levels", 2, "--out", tmp_path / "on.wav").code == 0
    assert run_cli("repaint", repainted, *STRETCH, "--parallel-windows", "--out", tmp_path / "two.wav").code == 0
    kept = codes_of(repainted.with_suffix(".codes.safetensors"))[2]
    assert codes_of(tmp_path / "on.codes.safetensors")[2][: len(kept)] == kept
    two = codes_of(tmp_path / "two.codes.safetensors")[2]
    assert two[:START] + two[STOP:] == kept[:START] + kept[STOP:]


@pytest.mark.parametrize("what", ["generate", "repaint"])
def test_killed_at_random_moments_it_comes_out_the_same(what, chosen, repainted, start, words, tmp_path, read_json):
    """Also in the moments of scoring and choosing; what is recorded of scores too."""
    if what == "generate":
        older, given = chosen, [*words, "--out", tmp_path / "song.wav"]
    else:
        older = repainted
        given = ["repaint", chosen, *STRETCH, "--takes", 3, "--seed", 90, "--out", tmp_path / "again.wav"]
    name, dice, reached = older.stem, random.Random(5), set()
    partial = tmp_path / f"{name}.partial"

    def resume():
        return ["generate", "--resume", "--out", tmp_path / f"{name}.wav"]

    child = start(*given)
    while child.poll() is None and not (partial / "takes.safetensors").exists():
        time.sleep(0.001)
    for kill in range(4):
        time.sleep((kill > 0) * dice.uniform(0, 0.1) + (kill > 1) * 0.4 * kill)  # at once, then further and further
        child.send(signal.SIGKILL)
        assert child.wait() in (0, -signal.SIGKILL), child.said
        if not (partial / "request.json").exists():
            break
        reached.add("takes" in load_codes(partial / "state.safetensors").notes)
        child = start(*resume())
    assert child.wait(120) in (0, -signal.SIGKILL), child.said
    if partial.exists():  # killed while it was tidied up
        assert start(*resume()).wait(120) == 0
    assert False in reached, "killed while takes were written"
    for suffix in (".wav", ".codes.safetensors", ".png", *[".takes.png"] * (what == "generate")):
        assert (tmp_path / name).with_suffix(suffix).read_bytes() == older.with_suffix(suffix).read_bytes(), suffix
    one, other = (read_json(path.with_suffix(".json")) for path in (older, tmp_path / f"{name}.wav"))
    assert one.pop("command") != other.pop("command")
    assert one == other
    assert not partial.exists()


@pytest.mark.parametrize("stage", ["score", "refined"])
@pytest.mark.parametrize("what", ["generate", "repaint"])
def test_stopped_before_and_after_the_choice_it_goes_on(
    what, stage, chosen, repainted, words, run_cli, tmp_path, monkeypatch
):
    """A disk that refuses stands for a kill: at the scores, and at the second state after the choice."""
    older = chosen if what == "generate" else repainted
    given = words if what == "generate" else ("repaint", chosen, *STRETCH, "--takes", 3, "--seed", 90)
    with monkeypatch.context() as broken:
        if stage == "score":
            for name in ("score_rows", "choose_take"):
                broken.setattr(song_takes, name, lambda *_: (_ for _ in ()).throw(OSError("cut")))
        else:
            own, left = song_takes.PartialFolder.save_state, [2]

            def save(self, state):
                left[0] -= 1 if "takes" in state.notes else 0
                if left[0] == 0:
                    raise OSError("cut")
                own(self, state)

            broken.setattr(song_takes.PartialFolder, "save_state", save)
        assert run_cli(*given, "--out", tmp_path / older.name).code == 2
    codes = load_codes(tmp_path / f"{older.stem}.partial" / "state.safetensors")
    assert ("takes" in codes.notes) == (stage == "refined")
    steps = []
    seen = sampled.sample_songs
    monkeypatch.setattr(sampled, "sample_songs", lambda *a, **k: (steps.append(s.level) or s for s in seen(*a, **k)))
    assert run_cli("generate", "--resume", "--out", tmp_path / older.name).code == 0
    assert 2 not in steps, "takes that are there are not written again"
    for suffix in (".wav", ".codes.safetensors"):
        assert (tmp_path / older.stem).with_suffix(suffix).read_bytes() == older.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (("--takes", 0), "takes=0, which must be a whole number from 1 to 100"),
        (("--takes", 3, "--keep", 4), "keep=4 must be a whole number from 1 to the number of takes, 3"),
        (("--keep", 2), "keep=2 must be a whole number from 1 to the number of takes, 1"),
        (
            ("--takes", 3, "--choose-by", "ear"),
            "choose_by='ear' is no rule that takes are chosen by; use likelihood or self or lyrics",
        ),
        (("--takes", 3, "--keep", 2), "names one file, but 2 songs"),
        (("--takes", 3, "--count", 2), "--count and --takes exclude each other"),
        (("--takes", 3, "--choose-by", "lyrics"), "choose_by='lyrics' needs lyrics"),
        (("--takes", 3, "--choose-by", "self"), "choose_by='self' asks what artist and genre save, but song [0]"),
    ],
)
def test_takes_that_cannot_be_are_refused(repository, run_cli, tmp_path, says_one_sentence, given, parts):
    says_one_sentence(run_cli("generate", "--model", repository, *given, "--out", tmp_path / "a.wav"), parts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ((), "a stretch has two ends"),
        (("--from", 0.01), "a stretch has two ends"),
        (("--from", 0.01, "--to", 0.2), "lies outside the song, which has 0.09868 s"),
        (("--from", 0.05, "--to", 0.05), "is empty"),
        (("--from", 0.05, "--to", 0.051), "is shorter than one code of the top level"),
        (("--from", -1, "--to", 0.051), "--from=-1.0"),
        ((*STRETCH, "--takes", 101), "takes=101"),
    ],
)
def test_stretches_that_cannot_be_are_refused(chosen, run_cli, tmp_path, says_one_sentence, given, parts):
    says_one_sentence(run_cli("repaint", chosen, *given, "--out", tmp_path / "a.wav"), parts)
    assert list(tmp_path.iterdir()) == []


def test_a_sketch_can_be_repainted_and_an_unfinished_song_not(chosen, run_cli, tmp_path, repository, says_one_sentence):
    state = load_codes(chosen.with_suffix(".codes.safetensors"))
    save_codes(state.with_codes(0, 0, torch.zeros(5, dtype=torch.long)), tmp_path / "cut.codes.safetensors")
    given = ("--model", repository, "--artist", "the testers", "--genre", "country", "--lyrics", "la", *STRETCH)
    done = run_cli("repaint", tmp_path / "cut.codes.safetensors", *given, "--out", tmp_path / "a.wav")
    says_one_sentence(done, "level 0 of the song has 5 codes of 544; finish it first, by upsample")
    none = torch.zeros(0, dtype=torch.long)
    save_codes(state.with_codes(0, 0, none).with_codes(1, 0, none), tmp_path / "top.codes.safetensors")
    done = run_cli("repaint", tmp_path / "top.codes.safetensors", *given, "--out", tmp_path / "a.wav")
    assert done.code == 0, done.err


def test_a_stretch_is_sung_with_an_earlier_one_in_sight(chosen, run_cli, tmp_path, codes_of, read_json, monkeypatch):
    state, none = load_codes(chosen.with_suffix(".codes.safetensors")), torch.zeros(0, dtype=torch.long)
    state = state.with_codes(0, 0, none).with_codes(1, 0, none)
    save_codes(state, tmp_path / "top.codes.safetensors")
    own, seen = LevelSampler._read, []

    def read(self, state, row):
        found = own(self, state, row)
        seen.append((found[:17].tolist(), row.known[:17].tolist()))
        return found

    monkeypatch.setattr(LevelSampler, "_read", read)
    given = ("--from", 25 * 128 / 44100, "--to", 34 * 128 / 44100, "--seed", 3, "--recall", "0-0.05")
    model = read_json(chosen.with_suffix(".json"))["request"]["model"]
    done = run_cli("repaint", tmp_path / "top.codes.safetensors", "--model", model, *given, "--out", tmp_path / "a.wav")
    assert done.code == 0, done.err
    older, newer = (
        codes_of(path)[2] for path in (tmp_path / "top.codes.safetensors", tmp_path / "a.codes.safetensors")
    )
    assert newer[:25] == older[:25]
    assert [found for found, _ in seen] == [older[:17]] * len(seen)
    assert seen[0][1] == older[3:20], "what the window has in its own place"
    line = shlex.split(read_json(tmp_path / "a.json")["command"])
    assert line[line.index("--recall") + 1] == "0-0.05"


def test_estimates_count_takes_and_stretches(words, chosen, run_cli, tmp_path):
    done = run_cli(*words, "--out", tmp_path / "a.wav", "--dry-run", "--json")
    assert [level["steps"] for level in json.loads(done.out)["songs"][0]["levels"]] == [34, 136, 544]
    done = run_cli("repaint", chosen, *STRETCH, "--out", tmp_path / "a.wav", "--dry-run", "--json")
    steps = [level["steps"] for level in json.loads(done.out)["songs"][0]["levels"]]
    assert steps[0] == STOP - START
    assert steps[1] < 136
    assert list(tmp_path.iterdir()) == []


def test_the_kept_songs_of_some_takes_are_made_by_one_process(words, run_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        done = run_cli(*words, "--keep", 2, "--levels", 2, "--out", f"{tmp_path}/songs/", "--json")
        assert done.code == 0, done.err
        made.append(len(json.loads(done.out)["songs"]))
    assert made == [2, 0]
