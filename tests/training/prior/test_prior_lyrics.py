# ruff: noqa: RUF001
"""Lyrics in one's own script: from a flag of the training command to a Jukebox that sings them as they are typed."""

import json
import warnings

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.app import cli
from jukebox_hf.data.code_shards import CodedSong, CodeShardWriter
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.training.assemble import main as assemble
from jukebox_hf.training.assemble import put_prior
from jukebox_hf.training.prior.lyric_alphabets import add_characters, characters_of_songs
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.train_prior import main

LYRICS = ("жук и пони", "Ну что ж la", "зима, зима")
OF_SONGS = "Нажзикмноптуч"  # in Unicode's order
ALIGNED = {"alignment_layer": 3, "alignment_head": 0}
LISTS = LabelVocabulary("v3", {"unknown": 0, "ann ash": 1}, {"unknown": 0, "folk": 1})


@pytest.fixture
def codes(tmp_path, coding_vqvae):
    """Codes of twelve songs in Russian, as the VQ-VAE could have made them."""
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    with CodeShardWriter(tmp_path / "codes", facts_of(coding_vqvae)) as writer:
        for number in range(12):
            draws = np.random.default_rng(number)
            song = Song(f"{number}.flac", "Ann Ash", "folk", LYRICS[number % 3])
            codes = draws.integers(0, 24, 288), draws.integers(0, 24, 72)
            writer.add(CodedSong(song, 72 * 16, codes))
    return tmp_path / "codes"


@pytest.fixture
def whole(tmp_path, tiny_prior, coded_config, coding_vqvae):
    """A maker of a whole Jukebox of an upsampler and a top prior: (folder of the prior or None for one that knows
    Latin letters only, name)."""

    def make(top=None, name="whole"):
        lists = JukeboxTokenizer.from_vocabularies({"v3": LISTS}, ["v3", "v3"])
        parts = [tmp_path / f"{name}_0", top or tmp_path / f"{name}_1"]
        for flavour, folder in zip(("upsampler", "prefix"), parts, strict=True):
            if folder == top:
                continue
            config = coded_config(flavour, num_artists=2, num_genres=2)
            fields = {field: getattr(config, field) for field in type(config).__annotations__}
            tiny_prior(flavour, **fields).save_pretrained(folder)
            lists.save_pretrained(folder)
        coding_vqvae.save_pretrained(tmp_path / "vqvae")
        assert assemble([str(tmp_path / name), "--vqvae", str(tmp_path / "vqvae"), "--priors", *map(str, parts)]) == 0
        return tmp_path / name

    return make


def characters_in(folder):
    return JukeboxTokenizer.from_pretrained(folder).lyric_characters


def test_characters_of_songs_are_letters_of_other_scripts_with_their_marks():
    songs = [Song("1", lyrics="Где ещё и\N{COMBINING BREVE} é?"), Song("2", lyrics="हिन्दी, 日本 5"), Song("3")]
    assert characters_of_songs(songs) == "".join(sorted(set("Гдеещёйहिन्दी日本")))


def test_a_new_prior_of_ones_own_script_is_trained_assembled_and_sings_without_romanising(
    prior_words, codes, whole, tmp_path, monkeypatch, capsys
):
    (tmp_path / "alphabet.txt").write_text("абвгдеж зийклмн\nопрстуфхцчшщъыьэюя\n", "utf-8-sig")
    words = {"train_codes": codes, "save_strategy": "steps", "save_steps": 2, "label_dropout": 0.1}
    assert main(prior_words("prefix", ALIGNED, lyric_characters=tmp_path / "alphabet.txt", **words)) == 0
    own = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
    assert characters_in(tmp_path / "run") == own
    assert JukeboxPrior.from_pretrained(tmp_path / "run").config.lyric_vocab_size == 79 + 32
    # What is left out of the command line of a resumed run is kept, as labels are.
    goes_on = {**words, "max_steps": 4, "resume_from_checkpoint": "auto"}
    assert main(prior_words("prefix", ALIGNED, lyric_characters="жλ", **goes_on)) == 2
    assert f"lyric_characters='жλ' asks for 'жλ', but {tmp_path / 'run' / 'checkpoint-3'} has '{own}'; " in (
        capsys.readouterr().err
    )
    assert main(prior_words("prefix", ALIGNED, **goes_on)) == 0
    assert characters_in(tmp_path / "run") == own
    assert JukeboxPrior.from_pretrained(tmp_path / "run").config.lyric_vocab_size == 79 + 32
    jukebox = whole(tmp_path / "run")
    assert [prior.lyric_vocab_size for prior in JukeboxModel.from_pretrained(jukebox).config.prior_configs] == [79, 111]
    assert sung_ids(jukebox, "Жук, λ") == [79 + own.index(letter) for letter in "жук"] + [64, 76, 38]

    (tmp_path / "words.txt").write_text("Жук и пони\n", "utf-8")
    flags = ["--seconds", "1", "--artist", "Ann Ash", "--genre", "folk", "--lyrics-file", tmp_path / "words.txt"]
    monkeypatch.setattr("sys.argv", ["jukebox-hf", "generate", "--model", str(jukebox), *map(str, flags), "--out",
                                     str(tmp_path / "song.wav")])  # fmt: skip
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "romanised" not in "".join(capsys.readouterr())
    assert np.abs(soundfile.read(tmp_path / "song.wav")[0]).max() > 0

    sing = pipeline("text-to-audio", model=str(jukebox))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        song = sing("Жук и пони", artist="ann ash", genre="folk", seconds=1, return_alignment=True)
    assert [word.text for word in song["alignment"].words] == ["Жук", "и", "пони"]
    with pytest.warns(UserWarning, match="are romanised, .*'λ' becomes 'l'"):
        sing("жук λ", seconds=1)


def sung_ids(repository, lyrics):
    processor = JukeboxProcessor.from_pretrained(repository)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return processor(lyrics, artist="ann ash", genre="folk")["lyric_ids"][0].tolist()


@pytest.mark.parametrize("reader", ["prefix", "encoder"])
def test_new_characters_start_like_their_romanised_spelling(reader, tiny_prior):
    tokenizer = JukeboxTokenizer.from_vocabularies({"v3": LISTS}, ["v3", "v3"])
    prior = tiny_prior(reader, lyric_vocab_size=79)
    table = (prior.transformer if reader == "prefix" else prior.lyrics.transformer).token_embedding
    before = table.weight.detach().clone()
    add_characters(prior, tokenizer)
    assert len(table.weight) == len(before)
    add_characters(prior, tokenizer.with_lyric_characters("аж"))
    assert torch.equal(table.weight[:79], before[:79])
    wanted = torch.stack([before[27], (before[52] + before[34]) / 2])  # a; z, h
    away = (table.weight[79:81] - wanted) / before[1:79].std(dim=0)
    assert 0.03 < away.abs().mean() < 0.2


def test_a_trained_prior_learns_another_script_and_keeps_what_it_knew(whole, prior_words, codes, tmp_path, capsys):
    jukebox = whole()
    words = {"config": None, "model_name_or_path": jukebox, "level": 1, "train_codes": codes, "labels": "keep"}
    assert main(prior_words(**words, lora_rank=2, lyric_characters="songs")) == 2
    assert f"lyric_characters brings {len(OF_SONGS)} new characters, but lora_rank=2" in capsys.readouterr().err
    still = {"learning_rate": 0, "max_steps": 1}
    assert main(prior_words(**words, **still, lyric_characters="songs", into=tmp_path / "mine")) == 0
    before, mine = (JukeboxModel.from_pretrained(folder).prior(1) for folder in (jukebox, tmp_path / "mine"))
    assert characters_in(tmp_path / "mine") == characters_in(tmp_path / "run") == OF_SONGS
    assert torch.equal(mine.lm_head.weight[:79], before.lm_head.weight[:79])
    assert torch.equal(mine.lm_head.weight[79 + len(OF_SONGS) :], before.lm_head.weight[79:])
    # Once more, with one letter that is new: the others keep their ids and rows.
    again = {**words, "model_name_or_path": tmp_path / "mine", "output_dir": tmp_path / "again"}
    assert main(prior_words(**again, **still, lyric_characters="їзима"[:4])) == 0
    assert characters_in(tmp_path / "again") == OF_SONGS + "ї"
    more = JukeboxPrior.from_pretrained(tmp_path / "again")
    assert torch.equal(more.lm_head.weight[: 79 + len(OF_SONGS)], mine.lm_head.weight[: 79 + len(OF_SONGS)])
    # Without the flag it goes on with what it has.
    assert main(prior_words(**{**again, "output_dir": tmp_path / "third"}, **still)) == 0
    assert characters_in(tmp_path / "third") == OF_SONGS


def test_levels_that_read_lyrics_in_different_alphabets_are_not_joined(
    tiny_prior, coded_config, tmp_path, whole, capsys
):
    jukebox = whole()
    tokenizer = JukeboxTokenizer.from_pretrained(jukebox)

    def save(name, characters):
        own = tokenizer.with_lyric_characters(characters)
        config = coded_config("prefix", num_artists=2, num_genres=2, lyric_vocab_size=own.vocab_size)
        prior = tiny_prior("prefix", **{field: getattr(config, field) for field in type(config).__annotations__})
        prior.save_pretrained(tmp_path / name)
        own.save_pretrained(tmp_path / name)
        return tmp_path / name

    russian = save("russian", "жза")
    put_prior(russian, jukebox)
    assert (characters_in(jukebox), JukeboxModel.from_pretrained(jukebox).prior(1).config.lyric_vocab_size) == (
        "жза",
        82,
    )
    # A new upsampler reads no lyrics: the alphabet stays, whatever its own folder says.
    put_prior(tmp_path / "whole_0", jukebox)
    assert characters_in(jukebox) == "жза"
    # A prior with fewer rows than the alphabet names the cure.
    settings = json.loads((russian / "tokenizer_config.json").read_text("utf-8"))
    (russian / "tokenizer_config.json").write_text(json.dumps({**settings, "lyric_characters": "жзаб"}), "utf-8")
    with pytest.raises(ValueError, match=r"lyric_vocab_size=82 .* the 83 characters .*resize_lyric_embeddings\(83\)"):
        put_prior(russian, jukebox)
    assert characters_in(jukebox) == "жза"


@pytest.mark.parametrize(
    ("flavour", "replaced", "sentence"),
    [
        (
            "labelled",
            {"lyric_characters": "жз"},
            "lyric_characters='жз', but this prior is not conditioned on lyrics (lyrics='none')",
        ),
        (
            "prefix",
            {"lyric_characters": "no.txt"},
            "lyric_characters='no.txt' is missing; name a file, or the characters",
        ),
        ("prefix", {"lyric_characters": "songs"}, "lyric_characters='songs', but the lyrics of these songs hold Latin"),
        (
            "prefix",
            {"lyric_characters": "abc"},
            "lyric_characters='abc' is no file and holds only characters that every",
        ),
        (
            "prefix",
            {"lyric_characters": "жзж"},
            "lyric_characters holds 'ж' twice, again at 2; name every character once",
        ),
        (
            "prefix",
            {"lyric_characters": " "},
            "lyric_characters=' ' holds no character; name those that the lyrics are",
        ),
        ("prefix", {"lyric_characters": "ж\x07"}, "lyric_characters holds '\\x07' at 1, a control character"),
    ],
)
def test_alphabets_that_can_not_be_trained_are_refused_in_a_sentence(flavour, replaced, sentence, prior_words, capsys):
    assert main(prior_words(flavour, **replaced)) == 2
    assert sentence in capsys.readouterr().err


def test_a_file_that_is_no_text_is_refused(prior_words, tmp_path, capsys):
    (tmp_path / "alphabet.txt").write_bytes(b"\xff\xfe\x00")
    assert main(prior_words("prefix", lyric_characters=tmp_path / "alphabet.txt")) == 2
    assert "alphabet.txt' is not text in UTF-8" in capsys.readouterr().err
