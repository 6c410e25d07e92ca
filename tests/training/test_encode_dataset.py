"""Songs become codes once: all levels, in shards, by several processes, and after an interruption."""

import io
import json
import os
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from accelerate import PartialState

from jukebox_hf.data.code_shards import CodeShards, vqvae_fingerprints
from jukebox_hf.data.songs import SkippedSong
from jukebox_hf.model.networks.convolution import Encoder
from jukebox_hf.training import encode_dataset as module
from jukebox_hf.training.encode_dataset import encode_dataset, main

COUNT = 23


@pytest.fixture
def sounds(tmp_path):
    """23 recordings of different lengths, one of them too short for a code, one in stereo, one at another rate."""
    (tmp_path / "songs").mkdir()
    rows = ["file_name,artist,genre,lyrics,timed_lyrics"]
    for number in range(COUNT):
        length = 10 if number == 3 else 300 + 7 * number
        shape = (length, 2) if number == 4 else length
        noise = np.random.default_rng(number).normal(0, 0.2, shape)
        soundfile.write(tmp_path / "songs" / f"{number:02}.wav", noise, 2000 if number == 5 else 1000)
        rows.append(
            f"{number:02}.wav,Ann Ash,folk,{'' if number == 3 else 'la'},"
            + ('"[[0, 0.1], [0.1, 0.2]]"' * (number == 6))
        )
    (tmp_path / "songs" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "songs"


@pytest.fixture
def vqvae(coding_vqvae, tmp_path):
    coding_vqvae.save_pretrained(tmp_path / "vqvae")
    return coding_vqvae


def write_what_is_no_number(path):
    """A recording whose header is in order; only who decodes it finds out."""
    soundfile.write(path, np.full(400, np.nan, dtype=np.float32), 1000, subtype="FLOAT")


def encode_in_a_child(words, environment):
    """Run the command in a fork, as torchrun would start it; gives its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(environment)
        PartialState._reset_state()
        code = main(words)
    finally:  # a child must never come back into pytest
        os._exit(code)


def contents(folder):
    """Words and codes of all songs of a folder, by name."""
    shards = CodeShards(folder)
    return {
        shards.song(song).name: (shards.song(song), shards.words[song]["total_samples"],
                                 *(shards.codes(song, level).tolist() for level in range(2)))
        for song in range(len(shards))
    }  # fmt: skip


def test_every_song_becomes_codes_of_every_level_with_its_words(sounds, vqvae, tmp_path):
    out = tmp_path / "codes"
    assert main([str(sounds), str(out), "--model", str(tmp_path / "vqvae"), "--songs-per-shard", "5"]) == 0
    assert len(list(out.glob("*.parquet"))) == 5
    found = contents(out)
    assert set(found) == {f"{number:02}.wav" for number in range(COUNT) if number != 3}
    assert CodeShards(out).facts.fingerprints == vqvae_fingerprints(vqvae, range(2))
    sound = soundfile.read(sounds / "07.wav", dtype="float32")[0]
    song, total, fine, top = found["07.wav"]
    codes = vqvae.encode(torch.from_numpy(sound[: 349 // 16 * 16])[None, None]).audio_codes
    assert (total, song.artist, song.genre, song.lyrics) == (349, "Ann Ash", "folk", "la")
    assert [fine, top] == [level[0].tolist() for level in codes]
    assert found["06.wav"][0].lyric_times == ((0.0, 0.1), (0.1, 0.2))
    stereo = soundfile.read(sounds / "04.wav", dtype="float32")[0].mean(axis=1)
    codes = vqvae.encode(torch.from_numpy(stereo[: 328 // 16 * 16])[None, None]).audio_codes
    assert found["04.wav"][3] == codes[1][0].tolist()
    assert found["05.wav"][1] == 335 // 2  # at the VQ-VAE's rate
    skipped = json.loads((out / "skipped.json").read_text())
    assert [song["name"] for song in skipped] == ["03.wav"]
    assert "shorter than one code of the top level, 16 samples" in skipped[0]["reason"]


def test_only_the_wanted_levels_are_encoded(sounds, vqvae, tmp_path, monkeypatch, capsys):
    worked = []
    monkeypatch.setattr(Encoder, "forward", _counting(Encoder.forward, worked))
    words = [str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae"), "--levels"]
    assert main([*words, "2"]) == 2
    assert "levels=2 is not a level of this model; choose from 0 (finest) to 1 (top)" in capsys.readouterr().err
    assert main([*words, "1"]) == 0
    assert set(worked) == {2}  # blocks of the top level's encoder
    shards = CodeShards(tmp_path / "codes")
    encode_dataset(str(sounds), tmp_path / "whole", str(tmp_path / "vqvae"))
    assert shards.facts.levels == (1,)
    assert [shards.codes(song, 1).tolist() for song in range(len(shards))] == [
        codes[3] for codes in contents(tmp_path / "whole").values()
    ]


def _counting(forward, worked):
    def counted(encoder, audio):
        worked.append(len(encoder.blocks))
        return forward(encoder, audio)

    return counted


def test_a_stopped_run_goes_on_and_ends_as_the_uninterrupted_one(sounds, vqvae, tmp_path, monkeypatch):
    encode_dataset(str(sounds), tmp_path / "whole", str(tmp_path / "vqvae"), songs_per_shard=4)
    encoded, encode_song = [], module.encode_song

    def stopping(*args):
        encoded.append(1)
        if len(encoded) == 10:
            raise KeyboardInterrupt
        return encode_song(*args)

    monkeypatch.setattr(module, "encode_song", stopping)
    words = [str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae"), "--songs-per-shard", "4"]
    assert main(words) == 130
    with pytest.raises(ValueError, match=r"has no codes\.json, so it holds no finished codes"):
        CodeShards(tmp_path / "codes")
    encoded.clear()
    monkeypatch.setattr(module, "encode_song", lambda *args: encoded.append(1) or encode_song(*args))
    assert main([*words, "--workers", "2"]) == 0
    assert len(encoded) == COUNT - 1 - 9
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def _write_another(songs, length):
    soundfile.write(songs / "01.wav", np.random.default_rng(99).normal(0, 0.2, length), 1000)


@pytest.fixture
def stopped(sounds, vqvae, tmp_path, monkeypatch):
    """The words of a run that stopped after its first two shards."""
    encode_song, encoded = module.encode_song, []

    def stopping(*args):
        encoded.append(1)
        if len(encoded) == 10:
            raise KeyboardInterrupt
        return encode_song(*args)

    words = [str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae"), "--songs-per-shard", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_song", stopping)
        assert main(words) == 130
    return words


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda songs: _write_another(songs, 200), "01.wav, which has another length now"),
        (
            lambda songs: _write_another(songs, soundfile.info(songs / "01.wav").frames),
            "01.wav, which is another recording now",
        ),
        (lambda songs: _list(songs, "01.wav,Ann Ash", "01.wav,Bo Bell"), "01.wav, which has other words now"),
        (lambda songs: _list(songs, "01.wav,Ann Ash,folk,la,\n", ""), "01.wav, which is no song any more"),
    ],
    ids=["length", "sound", "words", "list"],
)
def test_codes_of_songs_that_were_changed_since_are_not_mixed_with_new_ones(
    change, sentence, stopped, sounds, tmp_path, capsys
):
    change(sounds)
    assert main(stopped) == 2
    shard = tmp_path / "codes" / "codes-00000.parquet"
    assert f"{shard} holds the codes of {sentence}" in capsys.readouterr().err
    shard.unlink()
    assert main(stopped) == 0
    encode_dataset(str(sounds), tmp_path / "whole", str(tmp_path / "vqvae"), songs_per_shard=4)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def test_recordings_that_are_newer_than_their_codes_are_told_of(stopped, sounds, tmp_path, caplog):
    made = (tmp_path / "codes/codes-00000.parquet").stat().st_mtime_ns
    os.utime(sounds / "01.wav", ns=(made + 10**9,) * 2)  # copied here again, or recorded anew
    assert main(stopped) == 0
    assert "codes-00000.parquet is older than recordings that it holds the codes of, such as 01.wav" in caplog.text


def test_a_song_that_cannot_be_opened_for_a_moment_keeps_its_codes_and_is_told_of(stopped, sounds, tmp_path, caplog):
    (sounds / "01.wav").rename(tmp_path / "away.wav")
    (sounds / "01.wav").write_bytes(b"")  # as a network's disk may show it
    assert main(stopped) == 0
    assert "codes-00000.parquet holds the codes of songs that cannot be read now, such as 01.wav" in caplog.text
    (tmp_path / "away.wav").rename(sounds / "01.wav")
    encode_dataset(str(sounds), tmp_path / "whole", str(tmp_path / "vqvae"), songs_per_shard=4)
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")


def _list(songs, old, new):
    text = (songs / "metadata.csv").read_text()
    assert old in text
    (songs / "metadata.csv").write_text(text.replace(old, new))


def test_corrupt_songs_are_skipped_counted_and_listed(sounds, vqvae, tmp_path, capsys):
    (sounds / "08.wav").write_bytes(b"no sound")
    write_what_is_no_number(sounds / "09.wav")
    skipped = encode_dataset(str(sounds), tmp_path / "codes", str(tmp_path / "vqvae"))
    assert {song.name for song in skipped} == {"03.wav", "08.wav", "09.wav"}
    listed = json.loads((tmp_path / "codes" / "skipped.json").read_text())
    assert {song["name"] for song in listed} == {"03.wav", "08.wav", "09.wav"}
    assert len(CodeShards(tmp_path / "codes")) == COUNT - 3
    (sounds / "10.wav").write_bytes(b"no sound")
    (sounds / "11.wav").write_bytes(b"no sound")
    assert main([str(sounds), str(tmp_path / "more"), "--model", str(tmp_path / "vqvae")]) == 2
    assert "at most a tenth may be" in capsys.readouterr().err
    assert not (tmp_path / "more" / "codes.json").exists()


def test_what_all_processes_together_could_not_decode_counts(sounds, vqvae, tmp_path, monkeypatch, capsys):
    elsewhere = [SkippedSong(f"{number}.wav", "no sound") for number in (20, 21, 22)]
    monkeypatch.setattr(module, "_of_all_processes", lambda skipped: skipped + elsewhere)
    assert main([str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae")]) == 2
    assert "at most a tenth may be corrupt, so repair them and run this again" in capsys.readouterr().err
    assert not (tmp_path / "codes" / "codes.json").exists()


def test_what_cannot_be_encoded_is_refused_in_a_sentence(sounds, vqvae, tmp_path, capsys):
    words = [str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae")]
    assert main(words) == 0
    assert main(words) == 2
    assert "holds finished codes; name another folder" in capsys.readouterr().err
    (tmp_path / "codes" / "codes.json").unlink()
    with torch.no_grad():
        vqvae.codebooks[1].codes[0] += 1
    vqvae.save_pretrained(tmp_path / "vqvae")
    assert main(words) == 2
    assert "codes of different VQ-VAEs cannot be mixed, so use another folder" in capsys.readouterr().err
    table = sounds / "metadata.csv"
    table.write_text(table.read_text().replace("artist,genre", "singer,style"))
    words[1] = str(tmp_path / "more")
    assert main(words) == 2
    assert "has no column artist, genre; a prior needs artist, genre and lyrics" in capsys.readouterr().err
    assert main([*words, "--without-labels"]) == 0
    assert CodeShards(tmp_path / "more").song(0).artist == "unknown"


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--songs-per-shard", "0"], "songs_per_shard=0 must be at least 1"), (["--workers", "-1"], "workers=-1 must be")],
)
def test_impossible_numbers_are_refused_before_a_model_is_loaded(words, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "open_vqvae", lambda name: pytest.fail("a model was loaded"))
    assert main([str(tmp_path / "songs"), str(tmp_path / "codes"), "--model", "m", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(
    not (hasattr(os, "fork") and torch.distributed.is_gloo_available()) or torch.cuda.is_available(),
    reason="needs fork, gloo, and no accelerator that a fork could not share",
)
def test_two_processes_share_the_songs_and_finish_what_one_began(sounds, vqvae, tmp_path, monkeypatch):
    (sounds / "08.wav").write_bytes(b"no sound")
    write_what_is_no_number(sounds / "10.wav")
    encode_dataset(str(sounds), tmp_path / "whole", str(tmp_path / "vqvae"), songs_per_shard=4)
    words = [str(sounds), str(tmp_path / "codes"), "--model", str(tmp_path / "vqvae"), "--songs-per-shard", "4"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(probe.getsockname()[1])}  # fmt: skip
    ranks = [encode_in_a_child(words, {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(rank, 0)[1]) for rank in ranks] == [0, 0]
    assert contents(tmp_path / "codes") == contents(tmp_path / "whole")
    assert len(list((tmp_path / "codes").glob("*.parquet"))) == 3 + 3  # of each process its own
    listed = json.loads((tmp_path / "codes" / "skipped.json").read_text())
    assert {song["name"] for song in listed} == {"03.wav", "08.wav", "10.wav"}


@pytest.mark.parametrize("flag", ["--allow-outside-files", "--allow_outside_files"])
def test_a_flag_lets_tables_name_files_outside(monkeypatch, flag):
    asked = {}
    monkeypatch.setattr(module, "encode_dataset", lambda **said: asked.update(said))
    assert main(["songs", "out", "--model", "m", flag]) == 0
    assert asked["allow_outside_files"] is True
    assert main(["songs", "out", "--model", "m"]) == 0
    assert asked["allow_outside_files"] is False


def test_songs_of_one_name_are_refused_before_the_first_is_encoded(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(8000, np.float32), 8000, format="WAV")
    audio = [{"bytes": memory.getvalue(), "path": "audio.wav"}] * 2
    parquet.write_table(pa.table({"audio": audio}), tmp_path / "songs.parquet")
    vqvae = SimpleNamespace(config=SimpleNamespace(num_levels=1), codebooks=[])
    monkeypatch.setattr(module, "open_vqvae", lambda name: vqvae)
    with pytest.raises(ValueError, match=r"holds 2 songs named 'audio\.wav'; give every song a path of its own"):
        encode_dataset(str(tmp_path / "songs.parquet"), tmp_path / "out", "model", without_labels=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_no_shard_can_be_written_into_is_refused_before_songs_are_encoded(tmp_path, sounds, capsys):
    for out, sentence in (("co\udcffdes", "out holds a byte that is not UTF-8"), ("x" * 300, "out has a part of 300")):
        assert main([str(sounds), str(tmp_path / out), "--model", "tiny"]) == 2
        assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [sounds.name]


def test_a_folder_without_a_name_is_not_the_one_we_are_in(tmp_path, sounds, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(sounds), "", "--model", str(tmp_path / "none")]) == 2
    assert "jukebox-hf: out='' names nothing; give the folder to make ('.' for this one)" in capsys.readouterr().err


def test_a_link_that_leads_back_to_itself_is_refused_in_a_sentence(tmp_path, sounds, capsys):
    (tmp_path / "loop").symlink_to("loop")
    assert main([str(sounds), str(tmp_path / "loop"), "--model", "tiny"]) == 2
    assert f"{tmp_path / 'loop'} is a link to nothing, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["songs", "songs/codes", "."])
def test_codes_are_not_written_among_the_songs(tmp_path, sounds, out, capsys):
    assert main([str(sounds), str(tmp_path / out), "--model", "nowhere"]) == 2
    assert "lie one in the other; name a folder beside the songs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["metadata.csv", "b.FLAC", "artist/a.m4a"])
def test_codes_are_not_written_among_other_songs(tmp_path, sounds, name, capsys):
    (tmp_path / "others" / name).parent.mkdir(parents=True)
    (tmp_path / "others" / name).touch()
    (tmp_path / "others" / "._a.wav").touch()
    assert main([str(sounds), str(tmp_path / "others"), "--model", "nowhere"]) == 2
    assert f"holds {name}, so it is of other songs; name a new folder" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [-1, 100_000, True])
def test_so_many_processes_as_no_machine_has_are_refused_before_a_song_is_opened(workers, tmp_path, capsys):
    with pytest.raises(ValueError, match=rf"workers={workers} must be from 0 \(no other process\) to \d+ on this"):
        encode_dataset("nowhere", tmp_path / "out", "tiny", workers=workers)
    if workers is not True:
        assert main(["nowhere", str(tmp_path / "out"), "--model", "tiny", "--workers", str(workers)]) == 2
        assert f"workers={workers} must be from 0" in capsys.readouterr().err


def test_no_more_processes_decode_than_there_are_songs(sounds, vqvae, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(module, "DataLoader", lambda songs, **how: made.append(how["num_workers"]) or iter(()))
    with pytest.raises(ValueError, match="has no songs"):
        encode_dataset(str(sounds), tmp_path / "codes", str(tmp_path / "vqvae"), workers=60)
    assert made == [COUNT - 1]  # one is too short
