"""A corpus of recorded voices: the same from the same recordings, and told apart from those of others."""

import csv
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.synthesis.corpus import CorpusSettings, recorded_spec, write_corpus
from jukebox_hf.data.synthesis.recorded.recorded_song import A_CAPPELLA, RecordedSpec, RecordingStudio
from jukebox_hf.data.synthesis.recorded.verses import vocabulary
from jukebox_hf.data.synthesis.recorded.voice_bank import bank_bytes, open_bank

RATE = 16_000
SMALL = CorpusSettings(hours=6 * 1.5 / 3600, characters=8, format="wav", voices="recorded", lyrics="row boat")


@pytest.fixture(scope="module")
def bank(stand_in_bank, tmp_path_factory):
    path = tmp_path_factory.mktemp("bank") / "voice-bank.zip"
    path.write_bytes(bank_bytes(stand_in_bank(["row", "boat"])))
    return path


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_formant_voice_writes_what_it_wrote_before_there_were_others(tmp_path):
    write_corpus(tmp_path, CorpusSettings(hours=0.0001, sampling_rate=8000, characters=8, format="wav"))
    facts = json.loads((tmp_path / "corpus.json").read_text())
    assert list(facts) == ["version", "hours", "seed", "sampling_rate", "characters", "slot", "instrumentals",
                           "invented", "format", "lyrics"]  # fmt: skip
    assert facts["invented"] == 0.3
    with (tmp_path / "metadata.csv").open() as file:
        assert next(file).strip() == "file_name,artist,genre,lyrics,timed_lyrics"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"voices": "espeak"}, "voices='espeak' is none of formant, recorded; choose one"),
        ({"sampling_rate": 44_100}, "sampling_rate=44100 is not that of the recorded voices; leave it at 16000"),
        ({"invented": 0.1}, "invented=0.1 needs voices='formant'"),
        ({"a_cappella": 1.5}, "a_cappella=1.5 must be from 0 to 1"),
        ({"a_cappella": 0.5, "voices": "formant"}, "a_cappella=0.5 needs voices='recorded'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_a_sentence(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        CorpusSettings(**{"voices": "recorded", **changed})


def test_a_corpus_that_is_replaced_from_its_own_recordings_keeps_them_when_it_is_killed(tmp_path, bank, monkeypatch):
    pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")
    write_corpus(tmp_path, SMALL, voice_bank=bank)
    own = tmp_path / "voice-bank.zip"

    def killed(path, content):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("jukebox_hf.data.synthesis.corpus.write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write_corpus(tmp_path, replace(SMALL, seed=1), voice_bank=own, force=True)
    assert own.read_bytes() == bank.read_bytes()
    write_corpus(tmp_path, replace(SMALL, seed=1), voice_bank=own, force=True)
    assert own.read_bytes() == bank.read_bytes()
    assert len(list((tmp_path / "songs").glob("1-*.wav"))) == 6


def test_recordings_for_the_formant_voice_are_refused(tmp_path, bank):
    with pytest.raises(ValueError, match=r"voice_bank=.* needs voices='recorded'"):
        write_corpus(tmp_path / "out", CorpusSettings(hours=0.001), voice_bank=bank)
    assert not (tmp_path / "out").exists()


def test_songs_of_a_seed_are_decided_without_any_recording():
    settings = CorpusSettings(hours=10, voices="recorded")
    specs = [recorded_spec(settings, index) for index in range(300)]
    assert specs[:5] == [recorded_spec(settings, index) for index in range(5)]
    assert len({spec.lyrics for spec in specs}) > 270
    assert 40 < sum(spec.is_uneven for spec in specs) < 110
    assert 5 <= sum(not spec.lyrics.strip() for spec in specs) <= 40
    words = {word for spec in specs for word in spec.lyrics.split()}
    assert words <= set(vocabulary())


def test_a_share_of_sung_songs_is_a_cappella_and_all_else_of_them_stays():
    settings = [CorpusSettings(hours=10, voices="recorded", a_cappella=share) for share in (0.0, 0.5, 1.0)]
    none, half, whole = ([recorded_spec(each, index) for index in range(300)] for each in settings)
    assert not any(spec.genre == A_CAPPELLA for spec in none)
    assert 110 < sum(spec.genre == A_CAPPELLA for spec in half) < 190
    assert all((spec.genre == A_CAPPELLA) == bool(spec.lyrics.strip()) for spec in whole)
    assert [replace(spec, genre="") for spec in none] == [replace(spec, genre="") for spec in half]


class TestSinging:
    """What needs pyworld, with voices that are buzzes."""

    @pytest.fixture(autouse=True)
    def _pyworld(self):
        pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")

    def test_a_corpus_is_the_same_from_the_same_recordings_by_one_process_or_two(self, tmp_path, bank):
        for processes in (1, 2):
            write_corpus(tmp_path / str(processes), SMALL, processes=processes, voice_bank=bank)
        assert files_of(tmp_path / "1") == files_of(tmp_path / "2")

    def test_its_list_has_the_times_of_characters_and_words_and_its_settings_the_recordings(self, tmp_path, bank):
        write_corpus(tmp_path, SMALL, voice_bank=bank)
        facts = json.loads((tmp_path / "corpus.json").read_text())
        assert facts["recordings"]["sha256"] == open_bank(bank).digest()
        assert facts["recordings"]["flite"] == "stand-in"
        with (tmp_path / "metadata.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            assert soundfile.info(tmp_path / row["file_name"]).frames == 24_000
            assert len(json.loads(row["timed_lyrics"])) == 8
            words = json.loads(row["timed_words"])
            assert [row["lyrics"][first:end] for first, end, _, _ in words] == ["row", "boat"]
        assert {row["pacing"] for row in rows} <= {"even", "uneven"}
        songs = open_songs(tmp_path)
        assert len(songs) == 6
        assert songs.report() is None

    def test_a_song_a_cappella_is_its_voice_alone(self, bank):
        spec = RecordedSpec("Bo Vale", A_CAPPELLA, "row boat", 3, 0.1875)
        song = RecordingStudio(open_bank(bank)).record(spec)
        assert not song.band.any()
        assert np.array_equal(song.audio, song.voice)
        assert np.abs(song.audio).max() == pytest.approx(0.95)

    def test_a_corpus_says_how_many_songs_are_a_cappella_where_some_are(self, tmp_path, bank):
        write_corpus(tmp_path / "none", SMALL, voice_bank=bank)
        settings = replace(SMALL, a_cappella=1.0)
        write_corpus(tmp_path / "all", settings, voice_bank=bank)
        facts = [json.loads((tmp_path / name / "corpus.json").read_text()) for name in ("none", "all")]
        assert "a_cappella" not in facts[0]
        assert facts[1]["a_cappella"] == 1
        (tmp_path / "all" / "metadata.csv").unlink()
        assert write_corpus(tmp_path / "all", settings) == 0
        with (tmp_path / "all" / "metadata.csv").open(newline="") as file:
            assert {row["genre"] for row in csv.DictReader(file)} == {A_CAPPELLA}

    def test_a_stopped_corpus_goes_on_with_its_own_recordings(self, tmp_path, bank):
        write_corpus(tmp_path, SMALL, voice_bank=bank)
        whole = files_of(tmp_path)
        (tmp_path / "metadata.csv").unlink()
        next((tmp_path / "songs").iterdir()).unlink()
        assert write_corpus(tmp_path, SMALL) == 1
        assert files_of(tmp_path) == whole

    def test_a_corpus_of_other_recordings_is_not_mixed_with_it(self, tmp_path, bank, stand_in_bank):
        write_corpus(tmp_path / "out", SMALL, voice_bank=bank)
        (tmp_path / "out/metadata.csv").unlink()
        other = tmp_path / "other.zip"
        other.write_bytes(bank_bytes(stand_in_bank(["row", "boat", "gently"])))
        with pytest.raises(ValueError, match="other settings or recordings, begun with another voice bank; pass"):
            write_corpus(tmp_path / "out", SMALL, voice_bank=other)
        assert write_corpus(tmp_path / "out", SMALL, voice_bank=other, force=True) == 6
        assert (tmp_path / "out/voice-bank.zip").read_bytes() == other.read_bytes()

    def test_a_bank_without_the_words_is_refused_before_anything_is_written(self, tmp_path, bank):
        with pytest.raises(ValueError, match="the voice bank lacks the word 'a' "):
            write_corpus(tmp_path / "out", CorpusSettings(hours=0.01, voices="recorded"), voice_bank=bank)
        assert not (tmp_path / "out").exists()

    def test_notes_are_sung_at_their_pitch(self, bank):
        """The voice alone, every vowel: its strongest period against the melody's."""
        from jukebox_hf.data.synthesis.recorded.recorded_voice import analyse, sing_recorded
        from jukebox_hf.data.synthesis.recorded.singers import SINGERS
        from jukebox_hf.data.synthesis.voice import Note

        studio = RecordingStudio(open_bank(bank))
        spec = RecordedSpec("Bo Vale", "folk", "row boat row boat", 1, 0.25)
        text = studio.text(spec)
        pitches = [43.0, 45.0, 48.0, 50.0, 47.0, 52.0]
        notes = tuple(Note(start, start + 0.5, pitch) for start, pitch in zip(text.vowels, pitches, strict=False))
        words = {word: analyse(studio.bank.words["rms", word]) for word in ("row", "boat")}
        audio = sing_recorded(text.phones, notes, SINGERS["Bo Vale"], words, spec.seconds)
        for note in notes:
            first = round((note.start + 0.05) * RATE)
            part = audio[first : first + 1600].astype(float)
            similar = np.correlate(part, part, "full")[len(part) - 1 :]
            lags = slice(round(RATE / 260), round(RATE / 80))
            period = lags.start + similar[lags].argmax()
            cents = 1200 * np.log2(RATE / period / (440 * 2 ** ((note.pitch - 69) / 12)))
            assert abs(cents) < 60, note

    def test_the_band_is_as_loud_beside_the_voice_as_it_is_told(self, bank):
        studio = RecordingStudio(open_bank(bank))
        spec = RecordedSpec("Ada Brook", "rock", "row boat", 3, 0.25)
        assert not studio.record(spec, band_db=-float("inf")).band.any()
        song = studio.record(spec, band_db=-10.0)
        heard = song.voice[np.abs(song.voice) > 1e-4]
        loudness = [np.sqrt(np.mean(np.square(part))) for part in (song.band, heard)]
        assert 20 * np.log10(loudness[0] / loudness[1]) == pytest.approx(-10, abs=0.5)
        assert np.abs(song.audio).max() == pytest.approx(0.95, abs=1e-3)

    def test_songs_without_words_of_two_seeds_differ(self, bank):
        studio = RecordingStudio(open_bank(bank))
        one, other = (studio.record(RecordedSpec("Bo Vale", "jazz", " " * 16, seed, 0.1875)) for seed in (1, 2))
        assert not one.voice.any()
        assert np.abs(one.audio - other.audio).max() > 0.1


def test_a_folder_that_is_taken_is_refused_before_any_word_is_spoken(tmp_path, monkeypatch):
    monkeypatch.setattr("jukebox_hf.data.synthesis.corpus.require_pyworld", lambda: pytest.fail("too late"))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds 'thesis\.txt' and is no corpus"):
        write_corpus(tmp_path, SMALL)


def test_a_missing_library_is_said_with_the_command_that_installs_it(tmp_path, monkeypatch, bank):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ValueError, match=r'needs the library pyworld .*pip install "jukebox_hf\[voice\]"'):
        write_corpus(tmp_path / "out", SMALL, voice_bank=bank)
    assert not (tmp_path / "out").exists()
