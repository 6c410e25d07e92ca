"""The corpus command: a folder that is whole, or goes on where it was stopped, and is never lost by accident."""

import csv
import json
from collections import Counter
from dataclasses import replace

import pytest
import soundfile
import typer
from typer.testing import CliRunner

from jukebox_hf.app.corpus_commands import add_corpus_commands
from jukebox_hf.data.synthesis import corpus as corpus_module
from jukebox_hf.data.synthesis.corpus import CorpusSettings, synth_spec, write_corpus

SMALL = CorpusSettings(hours=6 * 1.5 / 3600, sampling_rate=8000, characters=8, format="wav")


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(folder):
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def command():
    app = typer.Typer()
    add_corpus_commands(app)
    app.command("other")(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["synth-corpus", *map(str, words)])


def test_a_corpus_lists_every_song_with_its_words_and_times(corpus):
    rows = rows_of(corpus)
    assert len(rows) == 24
    for row in rows:
        info = soundfile.info(corpus / row["file_name"])
        assert (info.samplerate, info.frames) == (8000, 36_000)
        times = json.loads(row["timed_lyrics"])
        assert len(times) == len(row["lyrics"]) == 24
        assert times[-1][1] <= 4.5 + 1e-6


def test_pairs_of_artist_and_genre_come_equally_often():
    orders = [synth_spec(CorpusSettings(), index) for index in range(60)]
    assert set(Counter((order.artist, order.genre) for order in orders).values()) == {3}


def test_some_songs_have_no_words_and_some_invented_ones():
    orders = [synth_spec(CorpusSettings(), index) for index in range(300)]
    assert 8 <= sum(not order.lyrics.strip() for order in orders) <= 40
    assert len({order.lyrics for order in orders}) > 250


def test_an_uneven_corpus_is_another_one_and_says_so_while_an_even_one_says_what_it_always_said(tmp_path, command):
    words = ("--hours", 0.0005, "--sampling-rate", 8000, "--characters", 48, "--instrumentals", 0, "--format", "wav")
    for pacing, share in (("even", 0), ("uneven", 1)):
        assert command(tmp_path / pacing, *words, "--uneven", share).exit_code == 0
    assert command(tmp_path / "default", *words).exit_code == 0
    assert files_of(tmp_path / "default") == files_of(tmp_path / "even")
    facts = [json.loads((tmp_path / name / "corpus.json").read_text()) for name in ("even", "uneven")]
    assert "uneven" not in facts[0]
    assert facts[1] == facts[0] | {"uneven": 1}
    even, uneven = (rows_of(tmp_path / name)[0] for name in ("even", "uneven"))
    assert even["lyrics"] == uneven["lyrics"]
    assert even["timed_lyrics"] != uneven["timed_lyrics"]
    refused = command(tmp_path / "other", *words, "--uneven", 1.5)
    assert "uneven=1.5 must be from 0 to 1" in str(refused.exception)
    assert "is no corpus" not in str(command(tmp_path / "uneven", *words, "--uneven", 1).exception)
    assert command(tmp_path / "uneven", *words, "--force").exit_code == 0


def test_a_stopped_corpus_goes_on_and_equals_one_that_was_not_stopped(tmp_path, monkeypatch):
    write_corpus(tmp_path / "whole", SMALL)
    write, left = corpus_module._write_song, [2]

    def stop_after_two(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(*args)

    monkeypatch.setattr(corpus_module, "_write_song", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "stopped", SMALL)
    assert not (tmp_path / "stopped/metadata.csv").exists()
    monkeypatch.undo()
    assert write_corpus(tmp_path / "stopped", SMALL) == 4
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def test_a_finished_corpus_is_replaced_only_by_force(tmp_path):
    write_corpus(tmp_path, SMALL)
    with pytest.raises(ValueError, match="holds a finished corpus; name another folder, or pass --force"):
        write_corpus(tmp_path, SMALL)
    assert write_corpus(tmp_path, CorpusSettings(**{**vars(SMALL), "seed": 5}), force=True) == 6
    assert {name.split("-")[0] for name in files_of(tmp_path) if name.startswith("songs/")} == {"songs/5"}


def test_a_folder_of_other_things_is_never_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(ValueError, match=r"holds 'thesis\.txt' and is no corpus"):
            write_corpus(tmp_path, SMALL, force=force)
    assert files_of(tmp_path) == {"thesis.txt": b"years of work"}


def test_force_replaces_no_folder_whose_corpus_json_is_another_programs(tmp_path):
    (tmp_path / "songs").mkdir()
    for name, content in {"corpus.json": '{"name": "mine"}', "metadata.csv": "a", "songs/mine.wav": "b"}.items():
        (tmp_path / name).write_text(content)
    before = files_of(tmp_path)
    with pytest.raises(ValueError, match="is no corpus of this command"):
        write_corpus(tmp_path, SMALL, force=True)
    assert files_of(tmp_path) == before


def test_force_removes_only_files_that_the_older_corpus_planned(tmp_path):
    write_corpus(tmp_path, SMALL)
    (tmp_path / "songs/mine.wav").write_bytes(b"mine")
    write_corpus(tmp_path, CorpusSettings(**{**vars(SMALL), "seed": 5, "hours": 0.0001}), force=True)
    assert sorted(path.name for path in (tmp_path / "songs").iterdir()) == ["5-000000.wav", "mine.wav"]


def test_nothing_is_written_through_a_link_inside_the_folder(tmp_path):
    music, out = tmp_path / "music", tmp_path / "out"
    music.mkdir(), out.mkdir()
    (out / "songs").symlink_to(music)
    with pytest.raises(ValueError, match=r"songs is a symbolic link; remove it"):
        write_corpus(out, SMALL, force=True)
    assert not list(music.iterdir())


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_songs_that_are_no_longer_whole_are_made_again(tmp_path, format):
    settings = CorpusSettings(**{**vars(SMALL), "format": format})
    write_corpus(tmp_path, settings)
    (tmp_path / "metadata.csv").unlink()
    first, second, *_ = sorted((tmp_path / "songs").iterdir())
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    assert write_corpus(tmp_path, settings) == 2


def test_an_unfinished_corpus_of_other_settings_is_refused(tmp_path):
    write_corpus(tmp_path, SMALL)
    (tmp_path / "metadata.csv").unlink()
    begun = r"an unfinished corpus of other settings, begun with "
    with pytest.raises(ValueError, match=begun + rf"seed={SMALL.seed} \(now 5\); pass"):
        write_corpus(tmp_path, CorpusSettings(**{**vars(SMALL), "seed": 5}))
    other = {"slot": 0.2, "lyrics": "la"}
    with pytest.raises(
        ValueError,
        match=begun + rf"--seconds-per-character {SMALL.slot} \(now 0.2\) and lyrics=None \(now 'la'\); pass",
    ):
        write_corpus(tmp_path, CorpusSettings(**{**vars(SMALL), **other}))


def test_two_processes_make_what_one_makes(tmp_path):
    for processes in (1, 2):
        write_corpus(tmp_path / str(processes), SMALL, processes=processes)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")


def test_the_command_sings_the_words_it_is_given(tmp_path, command):
    done = command(tmp_path / "out", "--hours", 0.001, "--characters", 16, "--lyrics", "Hello, moon", "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert (facts["songs"], facts["written"], facts["song_seconds"]) == (2, 2, 3.0)
    assert [row["lyrics"] for row in rows_of(tmp_path / "out")] == ["Hello, moon     "] * 2
    assert all((tmp_path / "out" / row["file_name"]).suffix == ".flac" for row in rows_of(tmp_path / "out"))


@pytest.mark.parametrize(
    ("lyrics", "sentence"),
    [
        ("日本", "lyrics hold '日', '本', which the voices here do not sing"),
        ("party like 1999", "lyrics hold '1', '9', which the voices here do not sing"),
        ("caf\u00e9", "lyrics hold 'é', which"),
        ("cafe\u0301", "do not sing"),
        ("...", "lyrics hold no letter from a to z; give words"),
        ("  ", "lyrics hold no letter from a to z; give words"),
    ],
)
def test_lyrics_that_are_not_sung_are_refused(tmp_path, lyrics, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_corpus(tmp_path / "out", replace(SMALL, characters=16, lyrics=lyrics))
    assert not (tmp_path / "out").exists()


def test_signs_are_rests_and_an_older_corpus_may_have_digits(tmp_path):
    one_song = replace(SMALL, hours=1e-4, characters=16)
    assert write_corpus(tmp_path / "out", replace(one_song, lyrics="Don't\n-- \u2018row\u2019!")) == 1
    facts = json.loads((tmp_path / "out" / "corpus.json").read_text())
    (tmp_path / "out" / "corpus.json").write_text(json.dumps(facts | {"lyrics": "like 1999"}))
    for path in (tmp_path / "out").glob("*/*.wav"):
        path.unlink()
    (tmp_path / "out" / "metadata.csv").unlink()
    assert write_corpus(tmp_path / "out", replace(one_song, lyrics="like 1999")) == 1  # goes on
    with pytest.raises(ValueError, match="do not sing"):
        write_corpus(tmp_path / "out", replace(one_song, lyrics="like 1999"), force=True)
    assert (tmp_path / "out" / "metadata.csv").exists()
    assert write_corpus(tmp_path / "out", replace(one_song, lyrics="like it"), force=True) == 1


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"hours": float("nan")}, "hours=nan must be a number over 0 .*; choose one"),
        ({"hours": True}, "hours=True must be a number over 0 .*; choose one"),
        ({"seed": -1}, "seed=-1 must be an integer"),
        ({"characters": 4}, "characters=4 must be from 8"),
        ({"instrumentals": 2}, "instrumentals=2 must be from 0 to 1"),
        ({"format": "midi"}, "format='midi' is none of wav"),
        ({"lyrics": "far too long", "characters": 8}, "lyrics have 12 characters, but 1 to characters=8"),
        ({"slot": 3.0}, r"slot=3.0 \(--seconds-per-character\) must be from 0.1"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_a_sentence(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        CorpusSettings(**changed)


def test_a_number_of_processes_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="processes=0 must be from 1 to 256; choose"):
        write_corpus(tmp_path / "new", SMALL, processes=0)
    assert not (tmp_path / "new").exists()
