"""A voice bank is the same recordings everywhere, and what is missing for one is said in a sentence."""

import shutil
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from jukebox_hf.data.synthesis.recorded.sampled_notes import (
    DRUM_KIT,
    SOUNDFONTS,
    find_soundfont,
    sample_notes,
)
from jukebox_hf.data.synthesis.recorded.singers import voices
from jukebox_hf.data.synthesis.recorded.speakers import speak
from jukebox_hf.data.synthesis.recorded.voice_bank import bank_bytes, make_bank, open_bank

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
needs_notes = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not any(path.is_file() for path in SOUNDFONTS),
    reason="fluidsynth or a SoundFont is not installed",
)


@pytest.fixture(scope="module")
def bank(stand_in_bank):
    return stand_in_bank(["row", "boat"])


def test_a_bank_is_read_as_it_was_written(bank, tmp_path):
    (tmp_path / "bank.zip").write_bytes(bank_bytes(bank))
    again = open_bank(tmp_path / "bank.zip")
    assert again.digest() == bank.digest()
    assert again.words.keys() == bank.words.keys()
    for key, word in bank.words.items():
        assert np.array_equal(word.samples, again.words[key].samples)
        assert word.phones == again.words[key].phones
    assert bank_bytes(again) == bank_bytes(bank)


def test_other_recordings_have_another_digest(bank, stand_in_bank):
    assert bank.digest() != stand_in_bank(["row", "goat"]).digest()
    assert bank.facts["sha256"] == bank.digest()


@pytest.mark.parametrize("damage", ["no zip", "cut", "other names", "short"])
def test_a_file_that_is_no_bank_is_refused_in_a_sentence(bank, tmp_path, damage):
    path, data = tmp_path / "bank.zip", bank_bytes(bank)
    if damage == "other names":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("letter.txt", "dear all")
    elif damage == "short":
        path.write_bytes(data)
        with zipfile.ZipFile(path) as file:
            parts = {name: file.read(name) for name in file.namelist()}
        parts["words.flac"] = parts["notes.flac"]
        with zipfile.ZipFile(path, "w") as file:
            for name, content in parts.items():
                file.writestr(name, content)
    else:
        path.write_bytes(b"nothing" if damage == "no zip" else data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cannot be read as a voice bank .*; give the voice-bank\.zip"):
        open_bank(path)


@pytest.mark.parametrize(
    "change",
    [
        {"bank.json": b"[" * 100_000},
        {"bank.json": b"[]"},
        {"bank.json": b'{"version": 1, "made_by": {}, "words": 3, "notes": []}'},
        {"bank.json": b'{"version": 1, "made_by": {}, "words": [["a", "b"]], "notes": []}'},
        {"bank.json": b'{"version": 1, "made_by": {}, "words": [["a", "b", 1000000000000, []]], "notes": []}'},
        {"bank.json": b'{"version": 1, "made_by": {}, "words": [["a", "b", -5, []], ["a", "c", 9, []]], "notes": []}'},
    ],
)
def test_an_index_that_is_none_is_refused_in_a_sentence(bank, tmp_path, change):
    path = _with_parts(tmp_path, bank, change)
    with pytest.raises(ValueError, match="cannot be read as a voice bank"):
        open_bank(path)


@pytest.mark.parametrize("how", ["packed", "encrypted", "of an unknown method"])
def test_a_bank_that_is_packed_is_not_unpacked(bank, tmp_path, how):
    path = _with_parts(tmp_path, bank, {}, zipfile.ZIP_DEFLATED if how == "packed" else zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)) if how != "packed" else ():  # flags, then the method
        place = content.find(mark)
        while place >= 0:
            content[place + at + (0 if how == "encrypted" else 2)] |= 1 if how == "encrypted" else 99
            place = content.find(mark, place + 4)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a voice bank"):
        open_bank(path)


def test_a_bank_that_promises_more_than_it_holds_is_refused_in_a_sentence(bank, tmp_path):
    path = _with_parts(tmp_path, bank, {})
    content = bytearray(path.read_bytes())
    place = content.rfind(b"PK\x01\x02")  # of the last file
    content[place + 20 : place + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as a voice bank"):
        open_bank(path)


def test_a_recording_whose_header_lies_is_refused_or_read_as_it_was(bank, tmp_path):
    with zipfile.ZipFile(_with_parts(tmp_path, bank, {})) as file:
        flac = bytearray(file.read("words.flac"))
    flac[21] |= 0x0F  # of STREAMINFO: 2**36 - 1 samples
    flac[22:26] = b"\xff" * 4
    path = _with_parts(tmp_path, bank, {"words.flac": bytes(flac)})
    told = bank.digest()
    with suppress(ValueError):  # by versions of libsndfile that look where the file ends
        told = open_bank(path).digest()
    assert told == bank.digest()


def _with_parts(folder, bank, change, compression=zipfile.ZIP_STORED):
    path = folder / "bank.zip"
    path.write_bytes(bank_bytes(bank))
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()} | change
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def test_words_that_a_bank_lacks_are_named(bank):
    with pytest.raises(ValueError, match=r"lacks the word 'gently' \(and 1 more\); use others, or make"):
        bank.check_words(["row", "gently", "stream"], voices())


def test_a_missing_program_is_said_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"needs the program flite .*apt-get install flite"):
        make_bank(["row"], voices())
    with pytest.raises(ValueError, match=r"needs the program fluidsynth .*apt-get install fluidsynth"):
        find_soundfont(None)


def test_a_missing_soundfont_is_said_with_the_command_that_installs_one(monkeypatch, tmp_path):
    fluidsynth = tmp_path / "fluidsynth"
    fluidsynth.write_text("#!/bin/sh\n")
    fluidsynth.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("jukebox_hf.data.synthesis.recorded.sampled_notes.SOUNDFONTS", (tmp_path / "none.sf2",))
    with pytest.raises(ValueError, match="apt-get install fluid-soundfont-gm"):
        find_soundfont(None)
    with pytest.raises(ValueError, match=r"soundfont='.*mine.sf2' is no file"):
        find_soundfont(tmp_path / "mine.sf2")
    (tmp_path / "mine.sf2").write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")  # which fluidsynth would play as silence
    with pytest.raises(ValueError, match=r"soundfont='.*mine.sf2' is no SoundFont; give one"):
        find_soundfont(tmp_path / "mine.sf2")


@needs_flite
def test_flite_says_a_word_with_every_voice_the_same_every_time():
    spoken = [speak(["window"], voices()) for _ in range(2)]
    for voice in voices():
        one, other = (words[voice, "window"] for words in spoken)
        assert np.array_equal(one.samples, other.samples)
        assert [phone.name for phone in one.phones] == ["w", "ih", "n", "d", "ow"]
        assert one.phones[-1].end < len(one.samples) / 16_000 <= one.phones[-1].end + 0.03
        assert np.abs(one.samples.astype(int)).max() > 3000


@needs_notes
def test_notes_of_a_soundfont_have_their_pitch():
    notes = sample_notes(find_soundfont(None), [(0, 69), (32, 45), (DRUM_KIT, 38)])
    for pitch, program in ((69, 0), (45, 32)):
        samples = notes[program, pitch][1600:9792].astype(float)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 16))
        wanted = 440 * 2 ** ((pitch - 69) / 12)
        near = np.arange(len(spectrum)) * 16_000 / (1 << 16)
        window = (near > wanted * 0.9) & (near < wanted * 1.1)
        found = near[window][spectrum[window].argmax()]
        assert abs(12 * np.log2(found / wanted)) < 0.3
    assert len(notes[DRUM_KIT, 38]) > 1000
