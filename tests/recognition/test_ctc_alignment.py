"""Recordings aligned by a CTC whose letters are tones, so that every time is known."""

import shutil

import numpy as np
import pytest

from jukebox_hf.recognition.ctc_alignment import align_recording
from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer
from jukebox_hf.recognition.transcription import Transcriber

WORDS = "row row row your boat\ngently down the stream"


@pytest.fixture(scope="module")
def recognizer(tone_ctc):
    return CTCRecognizer.from_pretrained(str(tone_ctc))


def starts_of(lyrics, tones, before=0.0):
    """When each word of plain lyrics begins."""
    text = " " + lyrics.replace("\n", " ")
    return [before + place * tones.SLOT for place in range(len(lyrics)) if text[place] == " " != text[place + 1]]


def test_every_word_is_found_where_it_sounds(recognizer, tones):
    samples = tones.sing(WORDS, before=0.7)
    found = align_recording(recognizer, samples, tones.RATE, WORDS)
    words = found.lyrics.words
    assert [word.text for word in words] == WORDS.split()
    assert [word.start for word in words] == pytest.approx(starts_of(WORDS, tones, 0.7), abs=0.07)
    for word in words:
        assert word.start < word.end <= word.start + len(word.text) * tones.SLOT
    assert min(word.confidence for word in words) > 0.5
    assert found.lyrics.seconds == pytest.approx(len(samples) / tones.RATE)
    assert found.picture.shape[1] == sum(map(len, WORDS.split()))
    assert found.picture.max() <= 1


def test_headings_marks_capitals_and_accents_stand_where_they_were_typed(recognizer, tones):
    typed = "[Chorus]\nRów, row -- \u201crow\u201d your boat!\n\n[Verse 2]\nGENTLY down the stream"
    found = align_recording(recognizer, tones.sing(WORDS), tones.RATE, typed).lyrics
    assert [line.text for line in found.lines if line.is_heading] == ["[Chorus]", "[Verse 2]"]
    words = [word for word in found.words if any(map(str.isalpha, word.text))]
    assert [typed[word.first : word.last] for word in words] == [word.text for word in words]
    assert [word.start for word in words] == pytest.approx(starts_of(WORDS, tones), abs=0.07)
    starts = [word.start for word in found.words]
    assert starts == sorted(starts)


@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_another_rate_of_the_recording_moves_nothing(recognizer, tones, rate):
    words = "abc fed"
    found = align_recording(recognizer, tones.sing(words, rate), rate, words).lyrics
    assert [word.start for word in found.words] == pytest.approx(starts_of(words, tones), abs=0.07)


def test_windows_of_a_long_recording_join_without_a_seam(recognizer, tones):
    lyrics = " ".join([WORDS.replace("\n", " ")] * 3)
    samples = tones.sing(lyrics)
    whole = recognizer.hear(samples, window_seconds=60)
    pieces = recognizer.hear(samples, window_seconds=8, margin_seconds=1)
    assert pieces.seconds.tolist() == pytest.approx(whole.seconds.tolist())
    assert (np.diff(pieces.seconds) > 0.019).all()
    assert (pieces.log_probs.argmax(1) == whole.log_probs.argmax(1)).mean() > 0.95


def test_a_function_of_the_users_takes_the_singing_out_first(recognizer, tones):
    sung, asked = tones.sing(WORDS), []
    band = np.random.default_rng(1).normal(0, 3, len(sung)).astype(np.float32)  # the words are 23 dB below it

    def separate(samples, rate):
        asked.append((samples.shape, rate))
        return samples - band

    def error_of(**how):
        found = align_recording(recognizer, sung + band, tones.RATE, WORDS, **how).lyrics
        return np.abs(np.array([word.start for word in found.words]) - starts_of(WORDS, tones)).mean()

    assert error_of(separate=separate) < 0.07 < error_of()
    assert asked == [(sung.shape, tones.RATE)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda samples, rate: samples[: len(samples) // 2], "separate gave 4.45 s for a recording of 8.90 s"),
        (lambda samples, rate: samples * 0, "what separate made of the recording is silent"),
        (lambda samples, rate: samples * np.nan, "holds samples that are not finite"),
    ],
)
def test_a_function_that_gives_something_else_back_is_refused(recognizer, tones, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        align_recording(recognizer, tones.sing(WORDS), tones.RATE, WORDS, separate=given)


@pytest.mark.parametrize(
    ("lyrics", "sentence"),
    [
        ("row row\nrow 99 boats", r"words\.txt, line 2, has '9', which .* cannot write; spell it out in its letters"),
        ("[Chorus]\n...", r"words\.txt holds nothing that is sung; write the words"),
        ("", r"words\.txt holds nothing that is sung"),
        (
            "row your boat " * 60,
            r"words\.txt have 839 letters, for which .* needs 839 frames, but it hears \d+ in 8.9 s",
        ),
    ],
)
def test_lyrics_that_cannot_be_found_are_refused_with_their_line(recognizer, tones, lyrics, sentence):
    with pytest.raises(ValueError, match=sentence):
        align_recording(recognizer, tones.sing(WORDS), tones.RATE, lyrics, where="words.txt")


def test_silence_and_a_moment_are_refused(recognizer, tones):
    with pytest.raises(ValueError, match=r"the recording is silent \(its loudest sample is 0 of full scale\)"):
        align_recording(recognizer, np.zeros(32_000, np.float32), tones.RATE, "row")
    with pytest.raises(ValueError, match=r"the recording has 0\.050 s, under the 0\.1 s"):
        align_recording(recognizer, tones.sing("row")[:800], tones.RATE, "row")


def test_what_is_no_ctc_or_was_never_trained_to_write_is_refused(tone_ctc, tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import BertConfig

    BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="is a bert, which is no CTC of transformers"):
        CTCRecognizer.from_pretrained(str(tmp_path / "bert"))
    shutil.copytree(tone_ctc, tmp_path / "headless")
    weights = load_file(tmp_path / "headless/model.safetensors")
    save_file(
        {name: each for name, each in weights.items() if "lm_head" not in name},
        tmp_path / "headless/model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=r"holds no weights for lm_head\.bias, lm_head\.weight"):
        CTCRecognizer.from_pretrained(str(tmp_path / "headless"))
    with pytest.raises(FileNotFoundError, match="is no folder here and cannot be a name on the Hub"):
        CTCRecognizer.from_pretrained(str(tmp_path / "gone"))


@pytest.mark.parametrize("damage", ["cut weights", "no letters"])
def test_a_recogniser_whose_files_are_damaged_is_refused_by_its_name(tone_ctc, tmp_path, damage):
    shutil.copytree(tone_ctc, tmp_path / "bad")
    if damage == "cut weights":
        weights = (tmp_path / "bad/model.safetensors").read_bytes()
        (tmp_path / "bad/model.safetensors").write_bytes(weights[:2000])
    else:
        (tmp_path / "bad/vocab.json").unlink()
    for opened, kind in ((CTCRecognizer, "a CTC"), (Transcriber, "a speech recogniser")):
        with pytest.raises(ValueError, match=rf"bad cannot be opened as {kind} of transformers \(.*\); check"):
            opened.from_pretrained(str(tmp_path / "bad"))


def test_a_recogniser_whose_weights_are_a_web_page_is_told_so_by_the_file(tone_ctc, tmp_path):
    shutil.copytree(tone_ctc, tmp_path / "bad")
    (tmp_path / "bad/model.safetensors").write_text("<!DOCTYPE html><p>Sign in")
    for opened in (CTCRecognizer, Transcriber):
        with pytest.raises(ValueError, match=r"bad/model\.safetensors is a web page, not the file; download it again"):
            opened.from_pretrained(str(tmp_path / "bad"))
