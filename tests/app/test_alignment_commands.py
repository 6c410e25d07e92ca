"""`jukebox-hf align` and `find-alignment-head` on a tiny model and songs of every form."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
import soundfile

from jukebox_hf import JukeboxModel, JukeboxVQVAE
from jukebox_hf.app import alignment_files, cli
from jukebox_hf.app.alignment_commands import add_alignment_commands
from jukebox_hf.model.alignment.alignment_heads import HeadScore
from jukebox_hf.model.alignment.alignment_times import TimedLyrics

if "align" not in {command.name for command in cli.app.registered_commands}:
    add_alignment_commands(cli.app)


@pytest.fixture(scope="session")
def song(whole_song, tmp_path_factory):
    """A copy of a finished song: song.wav, song.json, song.codes.safetensors."""
    folder = tmp_path_factory.mktemp("song")
    for path in whole_song.folder.glob("song.*"):
        shutil.copy(path, folder)
    return folder


def test_a_finished_song_is_aligned_to_its_own_lyrics_in_every_format(run_cli, repository, song, tmp_path):
    done = run_cli("align", repository, song / "song.wav", "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"song.lrc", "song.words.lrc", "song.srt", "song.vtt", "song.alignment.json", "song.html"}
    assert (found["lines"], found["layer"], found["head"]) == (1, 31, 1)  # its 0.1 s are a part of 0.5 s
    content = json.loads((tmp_path / "song.alignment.json").read_text(encoding="utf-8"))
    assert (content.pop("layer"), content.pop("head")) == (31, 1)
    lyrics = TimedLyrics.from_dict(content)
    assert [line.text for line in lyrics.lines] == ["Row, row, row your boat", "Gently"]
    assert lyrics.seconds == pytest.approx(found["seconds"])
    page = (tmp_path / "song.html").read_text(encoding="utf-8")
    assert "<title>The Testers</title>" in page
    assert "data:audio/wav;base64," in page
    assert page.count("data:image/png;base64,") == 2


def test_codes_and_side_car_and_audio_say_the_same(run_cli, repository, song, tmp_path):
    for place, name in enumerate(("song.codes.safetensors", "song.json", "song.wav")):
        done = run_cli("align", repository, song / name, "--out", tmp_path / str(place), "--format", "srt")
        assert done.code == 0, done.err
    files = [(tmp_path / str(place) / "song.srt").read_text() for place in range(3)]
    assert files[0] == files[1] == files[2]
    assert "Row, row, row your boat" in files[0]


def test_codes_alone_are_made_audible_for_the_player(run_cli, repository, song, tmp_path):
    shutil.copy(song / "song.codes.safetensors", tmp_path / "alone.codes.safetensors")
    (tmp_path / "words.txt").write_text("[Intro]\nla la", encoding="utf-8")
    done = run_cli(
        "align", repository, tmp_path / "alone.codes.safetensors", "--lyrics-file", tmp_path / "words.txt",
        "--artist", "the testers", "--genre", "soft rock", "--out", tmp_path / "out", "--format", "html,lrc",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "data:audio/flac;base64," in (tmp_path / "out" / "alone.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "alone.lrc").read_text().splitlines()[-1].endswith("]la la")


def test_a_recording_is_encoded_and_its_lyrics_may_lie_beside_it(run_cli, repository, recording, tmp_path):
    path = recording(0.2, "Field Song.wav")
    path.with_suffix(".txt").write_text("Привет 100%", encoding="utf-8")
    done = run_cli("align", repository, path, "--out", tmp_path / "out", "--format", "json")
    assert done.code == 0, done.err
    assert "'Привет' becomes 'Privet'" in done.err
    assert "'%' at 10 (line 1, column 11)" in done.err
    assert done.err.count("\n") == 2
    content = json.loads((tmp_path / "out" / "Field Song.alignment.json").read_text(encoding="utf-8"))
    assert [word["text"] for word in content["lines"][0]["words"]] == ["Привет", "100%"]
    assert content["seconds"] == pytest.approx(0.2, abs=0.003)


def test_the_model_may_be_named_as_of_every_other_command(run_cli, repository, song, tmp_path):
    codes = song / "song.codes.safetensors"
    before, after = (tmp_path / name for name in ("before", "after"))
    words = ("--lyrics-file", song / "song.json", "--format", "srt")
    assert run_cli("align", repository, codes, *words, "--out", before).code == 0
    assert run_cli("align", codes, "--model", repository, *words, "--out", after).code == 0
    assert (after / "song.srt").read_bytes() == (before / "song.srt").read_bytes()


def test_a_file_is_no_artist(run_cli, repository, recording, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("la")
    for who, line in (((), ""), (("--artist", "Bo Vale"), "[ar:Bo Vale]")):
        out = tmp_path / f"out{len(who)}"
        done = run_cli("align", repository, recording(), "--lyrics-file", words, *who, "--out", out, "--format", "lrc")
        assert done.code == 0, done.err
        head = (out / "prompt.lrc").read_text(encoding="utf-8").splitlines()
        assert [each for each in head if each.startswith("[ar:")] == [line] * bool(who)


def test_lyrics_are_said_or_found_in_the_list_of_the_folder(
    run_cli, repository, recording, tmp_path, says_one_sentence
):
    path, words = recording(0.2, "part.wav"), tmp_path / "words.txt"
    words.write_text("from a file")
    path.with_name("metadata.csv").write_text('file_name,artist,lyrics\nother.wav,,no\n./part.wav,Bo,"from the list"\n')
    for said, heard in (((), "from the list"), (("--lyrics", "from the line"), "from the line")):
        out = tmp_path / heard
        done = run_cli("align", repository, path, *said, "--out", out, "--format", "lrc")
        assert done.code == 0, done.err
        assert heard in (out / "part.lrc").read_text(encoding="utf-8")
    both = ("--lyrics", "la", "--lyrics-file", words, "--out", tmp_path / "both")
    says_one_sentence(run_cli("align", repository, path, *both), "--lyrics and --lyrics-file are both given")
    path.with_name("metadata.csv").write_text("file_name;lyrics\npart.wav;la;la\n")
    says_one_sentence(run_cli("align", repository, path, "--out", tmp_path / "bad"), "metadata.csv, line 2")


def test_the_place_in_the_song_decides_which_lyrics_are_read(run_cli, repository, recording, tmp_path):
    path, words = recording(0.1, "part.wav"), tmp_path / "words.txt"
    words.write_text("\n".join(f"line {number:02d}" for number in range(30)), encoding="utf-8")
    starts = []
    for place in ("0", "2"):
        done = run_cli("align", repository, path, "--lyrics-file", words, "--out", tmp_path / place, "--format", "lrc",
                       "--song-seconds", "2.5", "--offset", place)  # fmt: skip
        assert done.code == 0, done.err
        starts.append(re.findall(r"\](line \d+)", (tmp_path / place / "part.lrc").read_text()))
    assert (starts[0][0], len(starts[0]) < 5) == ("line 00", True)
    assert int(starts[1][0][5:]) > 20


def test_what_can_not_be_aligned_is_refused_in_a_sentence(
    run_cli, repository, song, recording, tmp_path, says_one_sentence
):
    align = ("align", repository)
    out = ("--out", tmp_path / "out")
    says_one_sentence(run_cli(*align, tmp_path / "no.wav", *out), "no.wav is not a file; name codes, a song.json or")
    says_one_sentence(run_cli(*align, recording(), *out), "prompt.wav comes without lyrics; give them with")
    says_one_sentence(run_cli(*align, song / "song.wav", *out, "--format", "lrc,ass"), "is none of lrc, srt, vtt")
    says_one_sentence(run_cli(*align, song / "song.wav", *out, "--layer", 31), "--layer and --head belong together")
    says_one_sentence(
        run_cli(*align, song / "song.wav", *out, "--layer", 30, "--head", 0),
        "layer=30 does not attend to lyrics; those that do: 15, 31",
    )
    assert not list(tmp_path.glob("out/*"))
    assert run_cli(*align, song / "song.wav", *out, "--format", "srt").code == 0
    says_one_sentence(run_cli(*align, song / "song.wav", *out, "--format", "srt"), "song.srt exists already", "--force")
    assert run_cli(*align, song / "song.wav", *out, "--format", "srt", "--force").code == 0


@pytest.fixture
def unopened(monkeypatch):
    """No network may be opened."""
    for network in (JukeboxModel, JukeboxVQVAE):
        monkeypatch.setattr(network, "from_pretrained", lambda *_, **__: pytest.fail("a network was opened"))


def test_what_the_configuration_rules_out_is_refused_before_a_network_is_opened(
    run_cli, repository, song, recording, tmp_path, says_one_sentence, unopened
):
    align = ("align", repository, recording(0.2, "record.wav"), "--out", tmp_path / "new")
    says_one_sentence(
        run_cli(*align, "--layer", 99, "--head", 0), "layer=99 does not attend to lyrics; those that do: 15, 31"
    )
    says_one_sentence(run_cli(*align, "--layer", 31, "--head", 99), "head=99 must be from 0 to 1")
    says_one_sentence(run_cli(*align, "--artist", "The Tester"), "did you mean 'the testers'")
    says_one_sentence(run_cli(*align, "--device", "cuda:99"), "--device cuda:99 is not there")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "record.srt").write_text("mine")
    says_one_sentence(run_cli(*align), "record.srt exists already")
    says_one_sentence(run_cli("align", repository, song / "song.wav", "--out", song / "song.json"), "name the folder")
    says_one_sentence(run_cli("align", repository, "a.wav", "b.wav", "--out", tmp_path), "b.wav is one word too many")
    says_one_sentence(run_cli(*align, "--model", "tiny"), "--model tiny and the MODEL", "are both named")
    gone = run_cli("find-alignment-head", repository, song / "song.json", tmp_path / "gone.wav", "--dry-run")
    says_one_sentence(gone, "gone.wav is not there")


def test_a_recording_without_lyrics_is_refused_before_it_is_encoded(
    run_cli, repository, recording, tmp_path, says_one_sentence, monkeypatch
):
    monkeypatch.setattr(JukeboxVQVAE, "encode", lambda *_, **__: pytest.fail("a recording was encoded"))
    done = run_cli("align", repository, recording(0.2, "record.wav"), "--out", tmp_path / "new")
    says_one_sentence(done, "record.wav comes without lyrics; give them with --lyrics-file")


def test_the_name_of_a_file_is_no_folder_to_write_into(run_cli, repository, song, tmp_path):
    done = run_cli("align", repository, song / "song.wav", "--format", "srt", "--out", tmp_path / "words.SRT")
    assert done.code == 2
    assert "words.SRT is to be a folder, into which song.SRT goes; name it without .SRT" in done.err
    assert not (tmp_path / "words.SRT").exists()


def test_formats_may_be_spelt_as_one_likes(run_cli, repository, song, tmp_path):
    done = run_cli(
        "align", repository, song / "song.wav", "--out", tmp_path, "--format", "SRT, .Json", "--device", "CPU"
    )
    assert done.code == 0, done.err
    assert {path.name for path in tmp_path.iterdir()} == {"song.srt", "song.alignment.json"}


def test_help_says_that_the_model_may_be_left_out(run_cli):
    shown = run_cli("align", "--help").out
    assert "[OPTIONS] {[MODEL] SONG}" in shown
    (row,) = [line for line in shown.splitlines() if "[MODEL] SONG " in line and "OPTIONS" not in line]
    assert "*" in row
    assert "may be left out" in " ".join(shown.replace("│", " ").split())


def test_a_dry_run_prints_every_head_and_writes_nothing(run_cli, repository, song):
    before = (repository / "config.json").read_bytes()
    done = run_cli("find-alignment-head", repository, song / "song.json", "--dry-run")
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["layer", "head", "score", "sharp", "monotonic", "linear"]
    assert {(row[0], row[1]) for row in rows[1:5]} == {("15", "0"), ("15", "1"), ("31", "0"), ("31", "1")}
    assert [float(row[2]) for row in rows[1:5]] == sorted((float(row[2]) for row in rows[1:5]), reverse=True)
    assert "nothing was written" in done.out
    assert (repository / "config.json").read_bytes() == before


def test_the_best_head_goes_into_both_configurations(run_cli, repository, song, recording, tmp_path, monkeypatch):
    copy = tmp_path / "model"
    shutil.copytree(repository, copy)
    heard = []

    def score_heads(prior, songs):
        heard.extend(len(labels.lyrics.ids) for _, labels in songs)
        return [HeadScore(15, 0, 0.9, 0.9, 0.9), HeadScore(31, 1, 0.1, 0.1, 0.1)]

    monkeypatch.setattr(alignment_files, "score_heads", score_heads)
    other = recording(0.1, "other.wav")
    other.with_suffix(".txt").write_text("la la", encoding="utf-8")
    done = run_cli("find-alignment-head", copy, song / "song.wav", other)
    assert done.code == 0, done.err
    assert heard == [30, 5]
    assert "wrote layer 15, head 0 into" in done.out
    model = JukeboxModel.from_pretrained(copy)
    config = model.prior(2).config  # raises where the two copies differ
    assert (config.alignment_layer, config.alignment_head) == (15, 0)


def test_heads_are_scored_on_a_folder_of_songs(run_cli, repository, song, tmp_path, monkeypatch, says_one_sentence):
    heard = []

    def score_heads(prior, songs):
        heard.extend((len(labels.lyrics.ids), len(codes)) for codes, labels in songs)
        return [HeadScore(15, 0, 0.9, 0.9, 0.9)]

    monkeypatch.setattr(alignment_files, "score_heads", score_heads)
    samples, rate = soundfile.read(song / "song.wav")
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", samples, rate)
    head = "file_name,artist,genre,lyrics"
    (tmp_path / "metadata.csv").write_text(f"{head}\na.wav,x,y,la la la\nb.wav,x,y, \nc.wav,x,y,row\n")
    done = run_cli("find-alignment-head", repository, tmp_path, "--dry-run")
    assert done.code == 0, done.err
    assert [characters for characters, _ in heard] == [8, 3]  # the one without lyrics is left out
    assert all(codes > 0 for _, codes in heard)
    text = tmp_path / "words.txt"
    text.write_text("la")
    says_one_sentence(
        run_cli("find-alignment-head", repository, tmp_path, "--dry-run", "--lyrics-file", text),
        "--lyrics-file is for one song, but",
    )
    (tmp_path / "metadata.csv").write_text(f"{head}\na.wav,x,y,\n")
    says_one_sentence(run_cli("find-alignment-head", repository, tmp_path, "--dry-run"), "holds no song with lyrics")


def test_a_model_whose_heads_follow_nothing_is_left_alone(
    run_cli, repository, song, tmp_path, monkeypatch, says_one_sentence
):
    shutil.copytree(repository, tmp_path / "model")
    monkeypatch.setattr(alignment_files, "score_heads", lambda prior, songs: [HeadScore(15, 0, 0.5, 0.0, 0.0)])
    before = (tmp_path / "model" / "config.json").read_bytes()
    done = run_cli("find-alignment-head", tmp_path / "model", song / "song.json")
    says_one_sentence(done, "no head follows the lyrics of these songs; the configuration stays as it is")
    assert (tmp_path / "model" / "config.json").read_bytes() == before
    says_one_sentence(
        run_cli("find-alignment-head", "some/name", song / "song.json"), "some/name is no folder to write"
    )


def test_silence_and_stereo_are_songs_too(run_cli, repository, tmp_path):
    path = tmp_path / "quiet.wav"
    soundfile.write(path, np.zeros((8000, 2)), 22050)
    path.with_suffix(".txt").write_text("la", encoding="utf-8")
    done = run_cli("align", repository, path, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "nan" not in (tmp_path / "out" / "quiet.html").read_text(encoding="utf-8").split("base64")[0]


def test_the_commands_of_the_page_work_as_they_stand(run_cli, repository, song, recording, root, tmp_path, monkeypatch):
    page = (root / "docs/how-to/lyrics-and-time.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    commands = [words for words in commands if words[1] != "generate"]  # tests/docs sings it
    assert [words[1] for words in commands] == ["align", "align", "find-alignment-head"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-jukebox").symlink_to(repository)
    for path in song.iterdir():
        shutil.copy(path, tmp_path)
    recording(0.1, "record.wav")
    (tmp_path / "words.txt").write_text("[Verse]\nla la", encoding="utf-8")
    for words in commands:
        done = run_cli(*words[1:])
        assert done.code == 0, done.err
    made = {path.name for path in (tmp_path / "timed").iterdir()}
    assert set(re.findall(r"`(song\.[\w.]+)`(?=[,| ].*\|.*\|)", page)) <= made
    assert {"record.html", "record.lrc", "record.words.lrc"} <= made


@pytest.mark.parametrize("more", [(), ("--hop-fraction", "2=0.5")])
def test_a_song_that_followed_its_words_is_aligned_in_the_windows_it_read(run_cli, repository, more, tmp_path):
    words = "\n".join(f"row {number:02d}" for number in range(12))
    done = run_cli(
        "generate", "--model", repository, "--lyrics", words, "--artist", "the testers", "--seconds", "0.6",
        "--levels", "2", "--seed", "5", "--follow-lyrics", *more, "--out", tmp_path / "song.wav",
    )  # fmt: skip
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "song.json").read_text(encoding="utf-8"))

    def aligned(name):
        done = run_cli("align", repository, tmp_path / "song.wav", "--out", tmp_path / name, "--format", "json")
        assert done.code == 0, done.err
        lines = json.loads((tmp_path / name / "song.alignment.json").read_text(encoding="utf-8"))["lines"]
        return [(line["text"], line["start"], line["end"], line["confidence"]) for line in lines]

    followed = aligned("followed")
    sung = [tuple(line[name] for name in ("text", "start", "end", "confidence")) for line in told["lyrics"]]
    assert len(sung) > 1
    assert sung == followed[: len(sung)]
    told["request"]["follow_lyrics"] = False
    (tmp_path / "song.json").write_text(json.dumps(told), encoding="utf-8")
    assert aligned("linear") != followed
