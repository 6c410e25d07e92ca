"""`jukebox-hf align --ctc` and `jukebox-hf wer`, with a recogniser that hears tones."""

import csv
import json
import os
import re
import shlex
import shutil
import sys

import numpy as np
import pytest
import soundfile

from jukebox_hf import JukeboxModel, TimedLyrics
from jukebox_hf.app import alignment_files, alignment_formats
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.recognition.transcription import Transcriber

WORDS = "row row your boat\ngently down"


@pytest.fixture
def sung(tones, tmp_path):
    """A maker of recordings with their words beside them: (words, name)."""

    def make(words=WORDS, name="record.wav", rate=None):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tones.sing(words, rate or tones.RATE), rate or tones.RATE)
        path.with_suffix(".txt").write_text(words, encoding="utf-8")
        return path

    return make


@pytest.fixture
def no_jukebox(monkeypatch):
    monkeypatch.setattr(JukeboxModel, "from_pretrained", lambda *_, **__: pytest.fail("a Jukebox was opened"))


def starts_of(words, tones):
    text = " " + words.replace("\n", " ")
    return [place * tones.SLOT for place in range(len(words)) if text[place] == " " != text[place + 1]]


def test_a_recording_is_aligned_in_every_format_without_a_jukebox(run_cli, tone_ctc, tones, sung, tmp_path, no_jukebox):
    path = sung()
    done = run_cli("align", path, "--ctc", tone_ctc, "--out", tmp_path / "out", "--artist", "The Testers", "--json",
                   "--format", "lrc,srt,vtt,json,html,metadata")  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["lines"], found["ctc"]) == (2, str(tone_ctc))
    assert found["confidence"] > 0.5
    names = {each.name for each in (tmp_path / "out").iterdir()}
    own = {f"record.{ending}" for ending in ("lrc", "words.lrc", "srt", "vtt", "alignment.json", "html", "wav")}
    assert names == own | {"metadata.csv"}
    content = json.loads((tmp_path / "out/record.alignment.json").read_text(encoding="utf-8"))
    assert content.pop("ctc") == str(tone_ctc)
    lyrics = TimedLyrics.from_dict(content)
    assert [word.start for word in lyrics.words] == pytest.approx(starts_of(WORDS, tones), abs=0.07)
    assert (tmp_path / "out/record.lrc").read_text().splitlines()[0] == "[ar:The Testers]"
    page = (tmp_path / "out/record.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "data:audio/wav;base64," in page


def test_metadata_of_several_recordings_is_a_folder_to_train_on(run_cli, tone_ctc, tones, sung, tmp_path):
    out = tmp_path / "out"
    for name, words, more in (("a.wav", WORDS, ("--artist", "Ada", "--genre", "folk")), ("b.wav", "oh la la", ())):
        done = run_cli("align", sung(words, name), "--ctc", tone_ctc, "--out", out, "--format", "metadata", *more)
        assert done.code == 0, done.err
    songs = open_songs(out)
    assert [(songs[place].name, songs[place].artist, songs[place].lyrics) for place in range(2)] == [
        ("a.wav", "Ada", WORDS), ("b.wav", "", "oh la la")
    ]  # fmt: skip
    starts = [songs[0].lyric_times[place][0] for place in range(len(WORDS)) if (" " + WORDS)[place] in " \n"]
    assert starts == pytest.approx(starts_of(WORDS, tones), abs=0.07)
    assert (out / "a.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_a_row_is_replaced_by_force_alone_and_other_rows_and_columns_stay(
    run_cli, tone_ctc, sung, tmp_path, says_one_sentence
):
    path = sung(name="out/record.wav")
    out = path.parent
    list_of = "file_name,mood,lyrics,timed_lyrics\nother.wav,sad,la,\nrecord.wav,glad,old words,\n"
    (out / "metadata.csv").write_text(list_of)
    align = ("align", path, "--ctc", tone_ctc, "--out", out, "--format", "metadata")
    says_one_sentence(run_cli(*align), "metadata.csv lists record.wav already; pass --force to replace its row")
    assert (out / "metadata.csv").read_text() == list_of
    assert run_cli(*align, "--force").code == 0
    with (out / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file_name"], row["mood"], row["lyrics"]) for row in rows] == [
        ("other.wav", "sad", "la"), ("record.wav", "", WORDS)
    ]  # fmt: skip
    (out / "metadata.csv").write_bytes(b"file_name,lyrics\n\xff.wav,la\n")
    says_one_sentence(run_cli(*align), "metadata.csv, line 2, is not UTF-8")


def test_times_that_stay_in_a_list_beside_newer_ones_are_told_and_not_touched(run_cli, tone_ctc, sung, tmp_path):
    path = sung(name="out/record.wav")
    out = path.parent
    align = ("align", path, "--ctc", tone_ctc, "--force", "--format")
    told = "metadata.csv has other times of record.wav, and keeps them; name metadata in --format too, with --force"
    for list_of, is_told in (
        ("file_name,lyrics\nrecord.wav,no times\n", False),
        ('file_name,lyrics,timed_lyrics\nother.wav,la,"[[0,1],[1,2]]"\n', False),
        ('file_name,lyrics,timed_lyrics\nrecord.wav,la,"[[0,1],[1,2]]"\n', True),
    ):
        (out / "metadata.csv").write_text(list_of)
        done = run_cli(*align, "vtt", "--out", out)
        assert done.code == 0, done.err
        assert (told in done.err) == is_told
        assert (out / "metadata.csv").read_text() == list_of
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(out / "metadata.csv", tmp_path / "elsewhere")  # a row of another recording of that name
    assert "other times" not in run_cli(*align, "vtt", "--out", tmp_path / "elsewhere").err
    assert "other times" not in run_cli(*align, "vtt,metadata", "--out", out).err


def test_no_other_process_reads_or_writes_the_list_while_a_row_is_added(run_cli, tone_ctc, sung, tmp_path, monkeypatch):
    fcntl, out, seen = pytest.importorskip("fcntl"), tmp_path / "out", []
    parts = {name: getattr(alignment_formats, name) for name in ("written_rows", "_write_all")}
    for name, part in parts.items():

        def checked(*given, own=part):
            handle = os.open(out, os.O_RDONLY)
            with pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(handle)
            seen.append(own)
            return own(*given)

        monkeypatch.setattr(alignment_formats, name, checked)
    done = run_cli("align", sung(), "--ctc", tone_ctc, "--out", out, "--format", "metadata")
    assert done.code == 0, done.err
    assert len(seen) == 2


def test_a_program_takes_the_singing_out_first_and_leaves_nothing_behind(run_cli, tone_ctc, tones, sung, tmp_path):
    path = sung()
    samples, rate = soundfile.read(path)
    band = np.random.default_rng(1).normal(0, 3, len(samples))
    soundfile.write(path, samples + band, rate, subtype="FLOAT")
    np.save(tmp_path / "band.npy", band)
    script = tmp_path / "split.py"
    script.write_text(
        "import sys, numpy as np, soundfile\ns, r = soundfile.read(sys.argv[1])\n"
        "soundfile.write(sys.argv[2], s - np.load(sys.argv[3]), r)\n"
    )
    command = f"{sys.executable} {script} {{input}} {{output}} {tmp_path / 'band.npy'}"
    errors = []
    for name, more in (("mixed", ()), ("split", ("--separate", command))):
        done = run_cli("align", path, "--ctc", tone_ctc, "--out", tmp_path / name, "--format", "json", *more)
        assert done.code == 0, done.err
        words = json.loads((tmp_path / name / "record.alignment.json").read_text())["lines"]
        starts = [word["start"] for line in words for word in line["words"]]
        errors.append(np.abs(np.array(starts) - starts_of(WORDS, tones)).mean())
    assert errors[1] < 0.07 < errors[0]
    assert [each.name for each in (tmp_path / "split").iterdir()] == ["record.alignment.json"]


def test_a_jukebox_may_be_given_the_singing_alone_too(
    run_cli, repository, recording, whole_song, tmp_path, monkeypatch, says_one_sentence
):
    path = recording(0.3)
    path.with_suffix(".txt").write_text("la la")
    script = tmp_path / "quiet.py"
    script.write_text(
        "import sys, soundfile\ns, r = soundfile.read(sys.argv[1])\nsoundfile.write(sys.argv[2], s / 8, r)\n"
    )
    separate = ("--separate", f"{sys.executable} {script} {{input}} {{output}}")
    encoded, heard = alignment_files._encoded, []
    monkeypatch.setattr(
        alignment_files, "_encoded", lambda samples, *more: heard.append(samples) or encoded(samples, *more)
    )
    for name, more in (("whole", ()), ("sung", separate)):
        done = run_cli("align", repository, path, "--out", tmp_path / name, "--format", "json", *more)
        assert done.code == 0, done.err
    assert heard[1] == pytest.approx(heard[0] / 8, abs=1e-4)
    ours = run_cli("align", whole_song.folder / "song.wav", "--out", tmp_path / "ours", *separate)
    says_one_sentence(ours, "--separate is for recordings, but", "song.wav has codes")


def test_what_a_ctc_cannot_do_is_refused_in_a_sentence(
    run_cli, tone_ctc, sung, recording, tmp_path, says_one_sentence, no_jukebox
):
    path, out = sung(), ("--out", tmp_path / "out")
    ctc = ("--ctc", tone_ctc)
    says_one_sentence(run_cli("align", "tiny", path, *ctc, *out), "--ctc takes one SONG and no MODEL")
    says_one_sentence(run_cli("align", path, *ctc, *out, "--layer", 1, "--head", 1), "--layer is for a Jukebox")
    says_one_sentence(run_cli("align", path, *ctc, *out, "--song-seconds", 9), "--song-seconds is for a Jukebox")
    says_one_sentence(run_cli("align", path, *ctc, *out, "--model", "tiny"), "--model is for a Jukebox")
    says_one_sentence(run_cli("align", path, *ctc, *out, "--no-strict"), "--no-strict is for a Jukebox")
    says_one_sentence(run_cli("align", recording(), *ctc, *out), "prompt.wav comes without lyrics; give them with")
    says_one_sentence(run_cli("align", path, "--ctc", tmp_path / "gone", *out), "is no folder here and cannot be")
    says_one_sentence(run_cli("align", path, *ctc, *out, "--separate", "rm -r {input}"), "has no {output}")
    empty = f"{sys.executable} -c \"import sys; open(sys.argv[2], 'w')\" {{input}} {{output}}"
    says_one_sentence(run_cli("align", path, *ctc, *out, "--separate", empty), "--separate: what", "is no recording")
    words = path.with_suffix(".txt")
    words.write_text("row\n99 boats")
    says_one_sentence(run_cli("align", path, *ctc, *out), "record.txt, line 2, has '9', which", "spell it out")
    words.write_bytes("row\nfür".encode("latin-1"))
    says_one_sentence(run_cli("align", path, *ctc, *out), "record.txt, line 2, is not UTF-8 (byte 0xfc)")
    words.write_text("[Chorus]\n")
    says_one_sentence(run_cli("align", path, *ctc, *out), "record.txt holds nothing that is sung")
    words.write_text("row")
    soundfile.write(path, np.zeros(16_000), 16_000)
    says_one_sentence(run_cli("align", path, *ctc, *out), "record.wav is silent", "give one with singing in it")
    assert not list(tmp_path.glob("out/*"))


def test_a_file_of_timed_lyrics_is_aligned_anew_without_its_stamps(run_cli, tone_ctc, tones, sung, tmp_path):
    lrc = tmp_path / "old.lrc"
    lrc.write_text("[00:09.00]row row your boat\n[00:20.00]gently down\n")
    done = run_cli(
        "align", sung(), "--ctc", tone_ctc, "--lyrics-file", lrc, "--out", tmp_path / "out", "--format", "json"
    )
    assert done.code == 0, done.err
    lines = json.loads((tmp_path / "out/record.alignment.json").read_text())["lines"]
    assert [line["start"] for line in lines] == pytest.approx([0, 18 * tones.SLOT], abs=0.07)


# --- error rates ------------------------------------------------------------------------------------------------------


def test_error_rates_are_printed_for_each_song_and_for_all(run_cli, tone_ctc, sung, monkeypatch):
    monkeypatch.setattr(Transcriber, "transcribe", lambda *_: "Row row your boat, gently down")
    right, wrong = sung(name="right.wav"), sung(name="wrong.wav")
    wrong.with_suffix(".txt").write_text("[Chorus]\nRow, row, your BOAT!\ngently downwards now")
    done = run_cli("wer", right, wrong, "--asr", tone_ctc)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[0] == ["song", "WER", "%", "CER", "%", "words", "subst.", "delet.", "insert."]
    assert rows[1] == [str(right), "0.0", "0.0", "6", "0", "0", "0"]
    assert (rows[2][0], rows[2][1], rows[2][3:]) == (str(wrong), "28.6", ["7", "1", "1", "0"])
    assert (rows[3][0], rows[3][1], rows[3][3]) == ("all", "15.4", "13")
    as_json = json.loads(run_cli("wer", right, wrong, "--asr", tone_ctc, "--json").out)
    assert as_json["wer"] == {
        "rate": 2 / 13,
        "total": 13,
        "hits": 11,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 0,
    }
    assert [song["song"] for song in as_json["songs"]] == [str(right), str(wrong)]
    assert as_json["songs"][1]["lyrics"] == "row row your boat gently downwards now"
    assert as_json["songs"][1]["heard"] == "row row your boat gently down"


def test_a_folder_of_songs_and_a_long_song_are_heard_whole(run_cli, tone_ctc, sung, tmp_path):
    words = " ".join(["row your boat gently down the stream"] * 4)  # 30 s, more than one chunk
    sung(words, "songs/long.wav")
    sung("oh la la", "songs/short.wav", rate=44_100)
    (tmp_path / "songs/metadata.csv").write_text(f"file_name,lyrics\nlong.wav,{words}\nshort.wav,oh la la\n")
    found = json.loads(run_cli("wer", tmp_path / "songs", "--asr", tone_ctc, "--json").out)
    assert [song["wer"]["total"] for song in found["songs"]] == [28, 3]
    assert found["cer"]["rate"] < 0.4  # of all letters; one that hears only a part, or nothing, is over 0.7
    assert all(len(song["heard"]) > 0.8 * len(song["lyrics"]) for song in found["songs"])


def test_lyrics_of_our_own_songs_are_those_of_the_side_car(run_cli, tone_ctc, whole_song, tmp_path):
    for path in whole_song.folder.glob("song.*"):
        shutil.copy(path, tmp_path)
    found = [
        json.loads(run_cli("wer", tmp_path / name, "--asr", tone_ctc, "--json").out)["songs"][0]["lyrics"]
        for name in ("song.wav", "song.json", "song.codes.safetensors")
    ]
    assert found == ["row row row your boat gently"] * 3


def test_what_error_rates_cannot_be_told_of_is_refused(
    run_cli, tone_ctc, repository, sung, recording, tmp_path, says_one_sentence
):
    path = sung()
    says_one_sentence(run_cli("wer", path, "--asr", repository), "is a jukebox, which recognises no speech")
    says_one_sentence(run_cli("wer", tmp_path / "no.wav", "--asr", tone_ctc), "no.wav is not a file; name a recording")
    says_one_sentence(run_cli("wer", recording(), "--asr", tone_ctc), "prompt.wav comes without lyrics")
    path.with_suffix(".txt").write_text("[Chorus]\n...")
    says_one_sentence(run_cli("wer", path, "--asr", tone_ctc), "record.txt holds no letter to compare with")
    other = sung(name="other.wav")
    says_one_sentence(
        run_cli("wer", path, other, "--asr", tone_ctc, "--lyrics-file", other.with_suffix(".txt")), "is for one song"
    )
    assert re.search("jiwer|Usage|asr", run_cli("wer", path).err)  # --asr has no default


def test_error_rates_without_jiwer_name_what_to_install(run_cli, tone_ctc, sung, monkeypatch, says_one_sentence):
    monkeypatch.setitem(sys.modules, "jiwer", None)
    says_one_sentence(
        run_cli("wer", sung(), "--asr", tone_ctc), 'error rates need jiwer; pip install "jukebox_hf[asr]"'
    )


# --- the page ---------------------------------------------------------------------------------------------------------


def test_commands_and_code_of_the_page_work_as_they_stand(
    run_cli, tone_ctc, whole_song, root, sung, tmp_path, monkeypatch, capsys
):
    page = (root / "docs/how-to/align-recordings.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if kind == "bash" for line in block.replace("\\\n", " ").splitlines()]
    own = [shlex.split(line) for line in lines if "my-ctc" in line]
    assert [words[1] for words in own] == ["align", "align", "align", "wer"]
    programs = {words[1] if words[1] != "-m" else words[2] for words in map(shlex.split, lines) if words[0] == "python"}
    for name in programs:  # which tests/examples runs on little
        assert (root / f"{name.removesuffix('.py').replace('.', '/')}.py").is_file()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-ctc").symlink_to(tone_ctc)
    sung("row row your boat").with_suffix(".txt").rename(tmp_path / "words.txt")
    shutil.copy(tmp_path / "words.txt", tmp_path / "record.txt")
    for path in whole_song.folder.glob("song.*"):
        shutil.copy(path, tmp_path)
    script = tmp_path / "my-separator"
    script.write_text('#!/bin/sh\ncp -- "$1" "$2"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for words in own:
        done = run_cli(*words[1:])
        assert done.code == 0, done.err
    assert (tmp_path / "timed/record.html").is_file()
    assert (tmp_path / "sung/record.lrc").is_file()
    assert open_songs("aligned")[0].artist == "The Testers"
    (code,) = [block for kind, block in blocks if kind == "python"]
    exec(compile(code, "align-recordings.md", "exec"), {})
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["row", "row", "your", "boat"]
