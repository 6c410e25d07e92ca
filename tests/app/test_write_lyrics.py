"""Words from the model on the command line: written by a seed, sung by `--lyrics auto`, told how likely they are."""

import json
import shlex

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline

from jukebox_hf import JukeboxModel, JukeboxProcessor
from jukebox_hf.app import written_lyrics
from jukebox_hf.model.adapters.style_file import Style
from jukebox_hf.training.share import base_of

HOT = ("--temperature", 3)


def request_of(folder, name="song"):
    return json.loads((folder / f"{name}.json").read_text())["request"]


@pytest.fixture
def write(run_cli, repository):
    return lambda *words: run_cli("write-lyrics", "--model", repository, "--artist", "The Testers", *words)


def test_the_same_seed_writes_the_same_words_alone_or_beside_others(write, tmp_path):
    one, again = (json.loads(write("--seed", 5, *HOT, "--json").out) for _ in range(2))
    assert one == again
    three = json.loads(write("--seed", 4, "--count", 3, *HOT, "--json").out)
    assert [song["seed"] for song in three] == [4, 5, 6]
    assert three[1]["lyrics"] == one[0]["lyrics"]
    assert len({song["lyrics"] for song in three}) == 3
    assert write("--seed", 4, "--count", 3, *HOT, "--out", tmp_path / "words").code == 0
    texts = [(tmp_path / "words" / f"lyrics-{seed}.txt").read_text() for seed in (4, 5, 6)]
    assert texts == [song["lyrics"] + "\n" for song in three]


def test_words_go_on_from_a_beginning_and_stop_at_a_length(write, tmp_path):
    done = write("--seed", 1, "--begin", "Row, row ", "--characters", 9, *HOT, "--out", tmp_path / "a.txt")
    text = (tmp_path / "a.txt").read_text()
    assert text.startswith("Row, row ")
    assert len(text.rstrip("\n")) <= 18
    assert "bits per character" in done.out
    assert "shuffled" in done.out


def test_python_and_the_command_write_the_same(write, repository):
    model, processor = JukeboxModel.from_pretrained(repository), JukeboxProcessor.from_pretrained(repository)
    (written,) = model.write_lyrics(processor(artist="the testers", seed=5), temperature=3.0)
    text = processor.tokenizer.decode_lyrics(written.ids).strip()
    assert [text] == [song["lyrics"] for song in json.loads(write("--seed", 5, *HOT, "--json").out)]
    (bits,) = model.lyric_log_likelihood(processor(text, artist="the testers"))
    assert bits.shape == (len(processor.encode_lyrics(text).ids),)
    assert bool((bits < 0).all())


def test_the_likelihood_of_a_file_is_told_as_it_is_and_shuffled(write, tmp_path):
    (tmp_path / "words.txt").write_text("Row, row, row your boat\ngently down the stream")
    found = json.loads(write("--compare", tmp_path / "words.txt", "--json").out)
    assert list(found) == ["as_written", "words_shuffled", "lines_shuffled", "characters_shuffled"]
    assert all(value > 0 for value in found.values())
    (tmp_path / "line.txt").write_text("Row, row, row your boat\n")
    assert "lines_shuffled" not in json.loads(write("--compare", tmp_path / "line.txt", "--json").out)
    assert len(set(found.values())) == 4
    assert "bits per character; " in write("--compare", tmp_path / "words.txt").out


def test_a_bar_counts_the_readings_of_a_long_text(write, tmp_path, monkeypatch):
    (tmp_path / "words.txt").write_text("Row, row, row your boat\ngently down the stream")
    bars = []
    monkeypatch.setattr(written_lyrics, "tqdm", lambda texts, **how: bars.append((len(texts), how)) or texts)
    assert write("--compare", tmp_path / "words.txt").code == 0
    ((readings, how),) = bars
    assert readings == 1 + 3 * 4  # as it is; words, lines and characters shuffled four times
    assert how["disable"], "a bar is for a terminal, and the test has none"


def test_a_song_sings_what_its_model_wrote_and_its_line_makes_it_again(run_cli, generate, tmp_path, codes_of):
    assert generate(tmp_path / "song.wav", "--lyrics", "auto", "--seed", 7, "--levels", 2).code == 0
    request, command = (json.loads((tmp_path / "song.json").read_text())[name] for name in ("request", "command"))
    assert request["lyrics_written"] is True
    assert request["lyrics"] not in ("", "auto")
    words = shlex.split(command)
    assert words[words.index("--lyrics") + 1] == request["lyrics"]
    words[words.index("--out") + 1] = str(tmp_path / "again.wav")
    assert run_cli(*words[3:]).code == 0
    assert codes_of(tmp_path / "again.codes.safetensors") == codes_of(tmp_path / "song.codes.safetensors")
    assert request_of(tmp_path, "again")["lyrics_written"] is False


def test_a_finished_song_with_words_of_the_model_is_known_again(generate, tmp_path):
    words = ("--lyrics", "auto", "--seed", 7, "--levels", 2)
    assert generate(tmp_path / "song.wav", *words).code == 0
    done = generate(tmp_path / "song.wav", *words, "--resume")
    assert done.code == 0
    assert "is finished already" in done.err


def test_songs_of_a_file_and_takes_that_are_kept_sing_words_of_the_model(generate, tmp_path):
    (tmp_path / "songs.jsonl").write_text('{"name": "a", "lyrics": "auto"}\n{"name": "b", "lyrics": "la la"}\n')
    out = f"{tmp_path}/songs/"
    assert generate(out, "--songs-file", tmp_path / "songs.jsonl", "--seed", 3, "--levels", 2).code == 0
    assert request_of(tmp_path / "songs", "a")["lyrics_written"] is True
    assert request_of(tmp_path / "songs", "b")["lyrics"] == "la la"
    out = f"{tmp_path}/takes/"
    assert generate(out, "--lyrics", "auto", "--takes", 2, "--keep", 2, "--levels", 2).code == 0
    kept = [json.loads(path.read_text())["request"]["lyrics"] for path in (tmp_path / "takes").glob("*.json")]
    assert len(kept) == 2
    assert len(set(kept)) == 1


def test_the_pipeline_sings_words_of_the_model_and_gives_them(repository):
    pipe = pipeline("text-to-audio", model=str(repository))
    song = pipe(lyrics="auto", artist="the testers", seconds=0.1, seed=3, levels=[2], return_codes=True)
    again = pipe(song["lyrics"], artist="the testers", seconds=0.1, seed=3, levels=[2], return_codes=True)
    assert song["lyrics"] not in ("", "auto")
    assert (song["codes"][2] == again["codes"][2]).all()
    assert "lyrics" not in again
    both = pipe([{"lyrics": "auto"}, "la"], seconds=0.1, seed=3, levels=[2], batch_size=2)
    assert ["lyrics" in one for one in both] == [True, False]


def test_weights_that_are_not_finite_write_nothing(repository):
    model = JukeboxModel.from_pretrained(repository, keep_loaded=True)
    processor = JukeboxProcessor.from_pretrained(repository)
    next(model.prior(2).transformer.parameters()).data.fill_(float("nan"))
    for told in (model.write_lyrics, model.lyric_log_likelihood):
        with pytest.raises(FloatingPointError, match="the logits of characters are not finite"):
            told(processor("Row, row", seed=3))


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """The folder of a tiny GPT-2 of random weights, which writes characters."""
    folder = tmp_path_factory.mktemp("gpt2")
    characters = ["<end>", *map(chr, range(32, 127)), "\n", "é"]
    words = Tokenizer(models.WordLevel({character: index for index, character in enumerate(characters)}, "<end>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<end>").save_pretrained(folder)
    config = GPT2Config(
        vocab_size=len(characters), n_positions=96, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def test_another_language_model_writes_in_the_characters_that_the_model_sings(write, writer, repository):
    said = ("--writer", writer, "--theme", "rain", "--characters", 30, "--seed", 2, "--json")
    (one,), (again,) = (json.loads(write(*said).out) for _ in range(2))
    assert one == again
    assert 0 < len(one["lyrics"]) <= 30
    processor = JukeboxProcessor.from_pretrained(repository)
    assert processor.tokenizer.encode_lyrics(one["lyrics"]).cleaned == one["lyrics"]
    (begun,) = json.loads(write(*said, "--begin", "Row ").out)
    assert begun["lyrics"].startswith("Row ")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--theme", "rain"), "--theme is told to a --writer; name one"),
        (("--characters", 0), "--characters 0 must be 1 or more"),
        (("--count", 0), "--count 0 must be 1 to"),
        (("--temperature", -1), "temperature=-1.0 must be 0"),
        (("--seed", -1), "--seed -1 must be an integer"),
        (("--seed", 2**62 - 1, "--count", 2), f"--seed {2**62 - 1} with --count 2 goes on beyond the last seed"),
        (("--begin", "[00:01.00]la"), "--begin is LRC, not lyrics"),
        (("--compare", "smiles.txt"), "--compare smiles.txt holds no character that"),
        (("--compare", "words.txt", "--begin", "la"), "--compare writes nothing"),
        (("--compare", "none.txt"), "none.txt is not a file"),
        (("--writer", "."), "--writer . cannot be opened as a causal language model of transformers"),
        (("--out", "words.txt"), "words.txt is there already; name another --out, or pass --force"),
        (("--out", "words.txt", "--count", 2), "words.txt is a file, not a folder"),
        (("--out", "words.txt/a.txt"), "words.txt is a file, not a folder"),
        (("--artist", "The Tester"), "did you mean 'the testers'"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_sentence(
    write, tmp_path, monkeypatch, words, parts, says_one_sentence
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("la la")
    (tmp_path / "smiles.txt").write_text("\N{GRINNING FACE}")
    says_one_sentence(write(*words), parts)
    assert (tmp_path / "words.txt").read_text() == "la la"


def test_words_replace_words_and_nothing_else(write, repository, tmp_path, says_one_sentence):
    weights = repository / "prior_0" / "model.safetensors"
    before = weights.read_bytes()
    says_one_sentence(write("--out", weights, "--force"), "is there and is no text; --force does not replace it")
    assert weights.read_bytes() == before
    (tmp_path / "song.txt").write_text("la la")
    (tmp_path / "song.json").write_text('{"format": "jukebox-song-1", "files": {"audio": "song.wav"}}')
    assert write("--seed", 1, *HOT, "--out", tmp_path / "song.txt", "--force").code == 0
    assert (tmp_path / "song.txt").read_text() != "la la"


def test_a_theme_that_fills_the_writers_context_is_refused(write, writer, says_one_sentence):
    says_one_sentence(write("--writer", writer, "--theme", "rain " * 30), "reads 96 tokens", "shorten these")


def test_a_model_that_never_learnt_to_write_is_refused(run_cli, tmp_path, says_one_sentence):
    says_one_sentence(run_cli("write-lyrics"), "reads lyrics, but never learnt to write them")
    done = run_cli("generate", "--lyrics", "auto", "--out", tmp_path / "a.wav")
    says_one_sentence(done, "reads lyrics, but never learnt to write them")
    assert not list(tmp_path.iterdir())


def test_a_song_that_goes_on_is_told_its_words(run_cli, generate, tmp_path, says_one_sentence):
    assert generate(tmp_path / "a.wav", "--levels", 2, "--lyrics", "la").code == 0
    done = run_cli("continue", tmp_path / "a.wav", "--lyrics", "auto", "--levels", 2, "--out", tmp_path / "b.wav")
    says_one_sentence(done, "--lyrics auto writes the words of a new song, but continue goes on with one")


def test_an_adapter_writes_as_the_artist_it_brings(run_cli, repository, tmp_path):
    model = JukeboxModel.from_pretrained(repository)
    base, width = base_of(str(repository), model, [2]), model.config.prior_configs[2].hidden_size
    rows = {"Eve Lark": 30 * torch.randn(width, generator=torch.Generator().manual_seed(0))}
    style = tmp_path / "eve.safetensors"
    style.write_bytes(Style({2: {"artist": rows}}, base, {"artist": ("Eve Lark",)}).to_bytes())
    told = ("write-lyrics", "--model", repository, "--seed", 5, *HOT, "--json")

    def bits(*words):
        done = run_cli(*told, *words)
        assert done.code == 0, done.err
        return json.loads(done.out)[0]["bits_per_character"]["as_written"]

    own, half = (bits("--artist", "Eve Lark", "--adapter", f"{style}:{weight}") for weight in (1, 0.5))
    assert len({own, half, bits("--artist", "The Testers")}) == 3
    assert "Eve Lark" in run_cli(*told, "--artist", "Eve Lark").err
