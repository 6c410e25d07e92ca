"""examples/ctc and examples/align: trained for a moment, stopped and gone on with, and tables at the end."""

import importlib
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs") / "uneven"
    write_corpus(folder, CorpusSettings(hours=0.002, characters=16, instrumentals=0, uneven=1.0))
    return folder


def run(root, script, monkeypatch, *words, **replaced):
    monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
    main = runpy.run_path(str(root / "examples" / script))["main"]
    main.__globals__.update(replaced)
    main()


def test_a_stopped_training_of_a_ctc_goes_on_from_its_checkpoint_to_the_same_weights(
    root, songs, tmp_path, monkeypatch
):
    def train(name, **replaced):
        words = ("--out", tmp_path / name, "--batch", 2, "--save-steps", 1, "--steps", 4)
        run(root, "ctc/train_ctc.py", monkeypatch, songs, *words, **replaced)

    collate, calls = runpy.run_path(str(root / "examples/ctc/train_ctc.py"))["collate"], []

    def stop_at_the_third(batch):
        calls.append(len(batch))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return collate(batch)

    with pytest.raises(KeyboardInterrupt):
        train("stopped", collate=stop_at_the_third)
    assert not (tmp_path / "stopped/model.safetensors").exists()
    train("stopped")
    train("whole")
    stopped, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("stopped", "whole"))
    assert stopped.keys() == whole.keys()
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)
    assert CTCRecognizer.from_pretrained(str(tmp_path / "whole")).sampling_rate == 16_000


def test_words_of_songs_are_written_in_its_letters(root):
    in_letters = runpy.run_path(str(root / "examples/ctc/train_ctc.py"))["in_letters"]
    assert in_letters("  Ría, go!\nDON'T 7") == "ria go don t"


def test_distances_of_words_are_those_of_their_true_beginnings(root, songs, tone_ctc, capsys, monkeypatch):
    run(root, "align/measure_alignment.py", monkeypatch, songs, "--ctc", tone_ctc, "--count", 2)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["songs", "times from", "words", "mean error, s", "median, s", "within 0.3 s"]
    assert [row[:2] for row in rows[2:]] == [["uneven", "even spread"], ["uneven", "CTC"]]
    even = float(rows[2][3])
    assert 0.05 < even < 3.0
    measure = runpy.run_path(str(root / "examples/align/measure_alignment.py"))

    def told(song, path, samples, rate):
        spans = [measure["TimedLyrics"]]  # the words as the corpus sings them, half a second late
        return spans[0](song.lyrics, 1.0, tuple(lines_of(song, 0.5)), ())

    found = measure["measure"](songs, {"late": told}, 2)["late"]
    assert found == pytest.approx(np.full(len(found), 0.5))


def lines_of(song, late):
    from jukebox_hf.model.alignment.alignment_times import TimedLine, TimedSpan

    for place, letter in enumerate(song.lyrics):
        if letter.isalpha() and not song.lyrics[place - 1 : place].isalpha():
            start = song.lyric_times[place][0] + late
            word = TimedSpan(letter, place, place + 1, start, start, 1.0, True)
            yield TimedLine(letter, place, place + 1, start, start, 1.0, True, (word,))


def test_both_trainings_differ_in_nothing_but_whether_times_are_read(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root))
    example = importlib.import_module("examples.align.word_aligned_training")
    run_of = []
    monkeypatch.setattr(example, "_jukebox_hf", lambda *words: run_of.append([str(word) for word in words]))
    example.make_codes(tmp_path, "songs", 0.5, 21)
    for name, is_timed in example.ARMS.values():
        example.train(tmp_path, name, is_timed, 7)
    assert [words[0] for words in run_of] == ["synth-corpus", "encode-dataset", "train-prior", "train-prior"]
    linear, timed = ([word for word in words if "linear" not in word and "timed" not in word] for words in run_of[2:])
    assert [pair for pair in zip(linear, timed, strict=True) if pair[0] != pair[1]] == [("false", "true")]
    example.train(tmp_path, "other", True, 7, ["--bf16", "true"])
    assert run_of[-1][-2:] == ["--bf16", "true"]


def test_what_is_sung_to_words_not_heard_before_is_heard_whole(root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root))
    example = importlib.import_module("examples.align.word_aligned_training")
    example.make_codes(tmp_path, "unseen", 12 / 3600, 1021)
    song = example.CodeShards(tmp_path / "unseen-codes").song(0)
    heard = []

    def transcribe(samples, sampling_rate):
        heard.append((len(samples) / sampling_rate, float(np.abs(samples).max())))
        return song.lyrics.strip()[3:]

    recognizer = SimpleNamespace(transcribe=transcribe)
    for is_timed in (False, True):
        found = example.sung_errors(example.located(example.TINY), tmp_path / "unseen-codes", 1, is_timed, recognizer)
        assert 0 < found.rate < 0.2  # three letters were not heard
    assert [seconds for seconds, _ in heard] == pytest.approx([12, 12], abs=0.1)
    assert all(loudest > 0.01 for _, loudest in heard)
