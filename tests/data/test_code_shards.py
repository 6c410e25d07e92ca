"""Codes on disk: what is read is what was written, of one VQ-VAE, and a stopped run goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShards, CodeShardWriter, vqvae_fingerprints
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.songs import Song

pytest.importorskip("pyarrow")
FACTS = CodeFacts(8000, (4, 8, 16), 300, ("abc",) * 3)


def coded(number, units=20, **changed):
    """A song of `units` top codes; its codes say which song, level and place they are."""
    times = tuple((place / 10, place / 10 + 0.1) for place in range(5)) if number % 2 else None
    codes = tuple((np.arange(units * 16 // hop) * (level + 2) + number) % 300 for level, hop in enumerate((4, 8, 16)))
    song = Song(f"{number}.flac", "Bo Vale", "folk", "la la", times)
    return CodedSong(**{"song": song, "total_samples": units * 16 + 7, "codes": codes} | changed)


@pytest.fixture
def folder(tmp_path):
    """21 songs in three shards; song i has 20 + i top codes."""
    with CodeShardWriter(tmp_path / "codes", FACTS, songs_per_shard=9) as writer:
        for number in range(21):
            writer.add(coded(number, 20 + number))
    return tmp_path / "codes"


def test_what_is_read_is_what_was_written(folder):
    assert len(list(folder.glob("*.parquet"))) == 3
    shards = CodeShards(folder)
    assert shards.facts == FACTS
    assert len(shards) == 21
    for number in (0, 8, 9, 20):
        wanted = coded(number, 20 + number)
        assert shards.song(number) == wanted.song
        assert shards.words[number]["total_samples"] == wanted.total_samples
        for level in range(3):
            assert np.array_equal(shards.codes(number, level), wanted.codes[level])


def test_codes_of_large_codebooks_keep_their_value(tmp_path):
    facts = CodeFacts(8000, (16,), 70_000, ("abc",))
    with CodeShardWriter(tmp_path, facts) as writer:
        writer.add(coded(0, 1, codes=(np.array([69_999]),)))
    assert CodeShards(tmp_path).codes(0, 0).tolist() == [69_999]


def add_twelve_and_stop(writer):
    for number in range(12):
        writer.add(coded(number, 20 + number))
    raise KeyboardInterrupt


def test_a_stopped_run_goes_on_after_its_last_song(tmp_path, folder):
    writer = CodeShardWriter(tmp_path / "stopped", FACTS, songs_per_shard=9)
    with pytest.raises(KeyboardInterrupt), writer:
        add_twelve_and_stop(writer)
    with pytest.raises(ValueError, match=r"has no codes\.json, so it holds no finished codes"):
        CodeShards(tmp_path / "stopped")
    with CodeShardWriter(tmp_path / "stopped", FACTS, songs_per_shard=9) as writer:
        assert writer.written == {f"{number}.flac" for number in range(12)}
        for number in range(12, 21):
            writer.add(coded(number, 20 + number))
    one, other = CodeShards(folder), CodeShards(tmp_path / "stopped")
    assert one.words == other.words
    assert all(np.array_equal(one.codes(song, 0), other.codes(song, 0)) for song in range(21))


def test_finished_codes_are_not_written_over(folder):
    with pytest.raises(ValueError, match="holds finished codes; name another folder"):
        CodeShardWriter(folder, FACTS)


def test_codes_of_another_vqvae_are_not_mixed_in(folder):
    (folder / "codes.json").unlink()
    with pytest.raises(ValueError, match="codes of different VQ-VAEs cannot be mixed"):
        CodeShardWriter(folder, CodeFacts(8000, (4, 8, 16), 300, ("def",) * 3))


def test_codes_of_other_levels_of_the_same_vqvae_are_told_apart(folder):
    (folder / "codes.json").unlink()
    ours = replace(FACTS, levels=(1, 2), fingerprints=FACTS.fingerprints[1:])
    with pytest.raises(ValueError, match=r"holds codes of levels 0, 1, 2, not of levels 1, 2; ask for the same levels"):
        CodeShardWriter(folder, ours)


def test_a_damaged_or_missing_shard_is_named(folder):
    path = folder / "codes-00001.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"codes-00001\.parquet is no shard of codes or is damaged"):
        CodeShards(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"holds 12 songs, but its codes\.json counts 21"):
        CodeShards(folder)


def test_codes_of_another_format_are_refused(folder):
    index = folder / "codes.json"
    index.write_text(index.read_text().replace("jukebox-codes-1", "jukebox-codes-9"))
    with pytest.raises(ValueError, match="is of another format"):
        CodeShards(folder)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"codes": (np.zeros(80, int),)}, "0.flac has codes of 1 levels"),
        ({"total_samples": 319}, r"the codes of 0.flac stand for \[320, 320, 320\] samples by level, but must for 304"),
        ({"total_samples": 336}, r"stand for \[320, 320, 320\] samples by level, but must for 336"),
        (
            {"codes": tuple(np.full(n, 300) for n in (80, 40, 20))},
            "0.flac holds codes that are no integers from 0 to 299",
        ),
        ({"codes": tuple(np.zeros(n) for n in (80, 40, 20))}, "0.flac holds codes that are no integers"),
    ],
)
def test_codes_that_do_not_fit_are_refused_when_they_are_added(tmp_path, changed, sentence):
    writer = CodeShardWriter(tmp_path, FACTS)
    with pytest.raises(ValueError, match=sentence):
        writer.add(coded(0, **changed))
    writer.add(coded(1))
    with pytest.raises(ValueError, match=r"1\.flac is in .* already; give every song its own name"):
        writer.add(coded(1))


def test_a_folder_without_songs_is_not_finished(tmp_path):
    with pytest.raises(ValueError, match="has no songs; add at least one"):
        CodeShardWriter(tmp_path, FACTS).finish()
    assert not (tmp_path / "codes.json").exists()


def test_a_fingerprint_changes_with_one_weight(tiny_vqvae_config):
    torch.manual_seed(0)
    vqvae = JukeboxVQVAE(tiny_vqvae_config())
    before = vqvae_fingerprints(vqvae, range(3))
    assert [len(digits) for digits in before] == [16, 16, 16]
    assert before == vqvae_fingerprints(vqvae, range(3))
    with torch.no_grad():
        next(vqvae.encoders[1].parameters()).view(-1)[0] += 1e-3
    after = vqvae_fingerprints(vqvae, range(3))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert vqvae_fingerprints(vqvae, [0, 2]) == before[::2]
    old, new = (CodeFacts(8000, (4, 8, 16), 300, digits) for digits in (before, after))
    assert old.is_same_vqvae(new, (2, 3))
    assert not old.is_same_vqvae(new, (0, 1))
    assert not old.is_same_vqvae(CodeFacts(8000, (4, 8, 16), 300, before[2:], levels=(2,)), (0, 1))


def test_fingerprints_are_stored_as_one_word_as_they_always_were():
    facts = CodeFacts(8000, (4, 8, 16), 300, ("ab", "cd"), levels=(1, 2))
    stored = json.loads(json.dumps(facts.to_dict()))
    assert list(stored) == ["sampling_rate", "hop_lengths", "codebook_size", "fingerprint", "levels"]
    assert stored["fingerprint"] == "ab-cd"
    assert CodeFacts.from_dict(stored) == facts


def test_a_folder_may_hold_some_levels_alone(tmp_path):
    facts = CodeFacts(8000, (4, 8, 16), 300, ("def",) * 2, levels=(1, 2))
    with CodeShardWriter(tmp_path / "some", facts) as writer:
        with pytest.raises(ValueError, match=r"has codes of 3 levels, but .* takes those of \[1, 2\]"):
            writer.add(coded(0))
        whole = coded(0)
        writer.add(CodedSong(whole.song, whole.total_samples, whole.codes[1:]))
    shards = CodeShards(tmp_path / "some")
    assert np.array_equal(shards.codes(0, 2), whole.codes[2])
    assert np.array_equal(shards.codes(0, 1), whole.codes[1])
    with pytest.raises(ValueError, match=r"holds codes of levels \[1, 2\] alone, not of level 0"):
        shards.codes(0, 0)
    with pytest.raises(ValueError, match=r"not of level 0; encode the songs again"):
        CodeWindows(shards, 0, 2)


def test_a_window_has_the_upper_codes_that_stand_above_it(folder):
    windows = CodeWindows(CodeShards(folder), 0, 24, shift=True, seed=5)
    for item in range(len(windows)):
        window = windows[item]
        assert window["codes"].shape == (24,)
        assert window["upper_codes"].shape == (12,)
        number = int(window["name"].split(".")[0])
        song, start = coded(number, 20 + number), window["offset_samples"] // 4
        assert start % 2 == 0
        assert window["codes"].tolist() == song.codes[0][start : start + 24].tolist()
        assert window["upper_codes"].tolist() == song.codes[1][start // 2 : start // 2 + 12].tolist()
        assert window["total_samples"] == song.total_samples


def test_the_top_level_has_no_upper_codes(folder):
    window = CodeWindows(CodeShards(folder), 2, 10)[0]
    assert "upper_codes" not in window
    assert window["lyrics"] == "la la"
    assert set(CodeWindows(CodeShards(folder), 2, 10, with_labels=False)[0]) == {"codes"}


def test_shifts_change_with_the_epoch_and_come_again(folder):
    windows = CodeWindows(CodeShards(folder), 1, 10, shift=True, seed=5)
    first = [windows[item]["offset_samples"] for item in range(len(windows))]
    windows.set_epoch(1)
    second = [windows[item]["offset_samples"] for item in range(len(windows))]
    windows.set_epoch(0)
    assert first == [windows[item]["offset_samples"] for item in range(len(windows))] != second


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_what_one_process_reads(folder, method):
    windows = CodeWindows(CodeShards(folder), 0, 24, with_labels=False)
    alone = torch.stack([windows[item]["codes"] for item in range(len(windows))])
    loader = DataLoader(windows, batch_size=8, num_workers=1, multiprocessing_context=method)
    assert torch.equal(torch.cat([batch["codes"] for batch in loader]), alone)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"level": 3}, "level=3 is not a level"),
        ({"window_codes": 25}, "window_codes=25 must be a multiple of the 2 codes"),
        ({"window_codes": 1000}, "none of the 21 songs has a window of 1000 codes at level 0; the longest has 160"),
        ({"level": 2, "with_upper": True}, "level=2 is the top one"),
    ],
)
def test_windows_that_mean_nothing_are_refused(folder, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        CodeWindows(**{"shards": CodeShards(folder), "level": 0, "window_codes": 24} | words)


def test_codes_that_were_changed_on_disk_are_refused_when_read(folder):
    shards = CodeShards(folder)
    shards.facts = CodeFacts.from_dict(json.loads(json.dumps(FACTS.to_dict() | {"codebook_size": 100})))
    with pytest.raises(ValueError, match=r"the codes of 0\.flac in .* are damaged"):
        shards.codes(0, 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"songs": "21"},
        {"songs": None},
        {"hop_lengths": 8},
        {"hop_lengths": [4, 8, 16] * 10**4},
        {"hop_lengths": [4, 8, -16]},
        {"hop_lengths": ["4"]},
        {"codebook_size": 10**12},
        {"codebook_size": 1.5},
        {"sampling_rate": None},
        {"levels": [7]},
        {"levels": 10**12},
        {"fingerprint": ["abc"]},
        {"more": 1},
        [],
        "{" * 10**5,
        "",
        "<html>",
        '{"songs": NaN}',
    ],
    ids=lambda changed: str(changed)[:30],
)
def test_a_damaged_index_is_one_sentence(folder, changed):
    index = folder / "codes.json"
    content = json.loads(index.read_text())
    index.write_text(changed if isinstance(changed, str) else json.dumps(content | changed if changed else []))
    with pytest.raises(ValueError, match=r"codes\.json") as caught:
        CodeShards(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_shard_damaged_anywhere_is_named_or_read_as_it_was(folder):
    path = folder / "codes-00001.parquet"
    content = path.read_bytes()
    whole = [CodeShards(folder).codes(song, 0).tolist() for song in range(21)]
    random = np.random.default_rng(0)
    for place in random.integers(4, len(content) - 8, 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            shards = CodeShards(folder)
            read = [shards.codes(song, 0).tolist() for song in range(21)]
        except ValueError as error:
            assert "damaged" in str(error) or "codes-00001" in str(error)  # noqa: PT017
            continue
        assert len(read) == len(whole)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("name", [None] * 12, "row 0, name=None must be a string"),
        ("artist", list(range(12)), "row 0, artist=0 must be a string"),
        ("total_samples", [-1] * 12, "row 0, has total_samples=-1"),
        ("total_samples", [None] * 12, "row 0, has total_samples=None"),
        ("codes_0", [[-1] * 80] * 12, r"the codes of 0\.flac .* are damaged"),
        ("codes_0", [[]] * 12, "damaged"),
        ("codes_0", [None] * 12, "damaged"),
        ("codes_0", [["x"] * 80] * 12, "damaged"),
        ("lyrics", None, "damaged|lacks columns"),
    ],
)
def test_a_shard_with_rows_of_wrong_kinds_is_refused(tmp_path, column, values, said):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    with CodeShardWriter(tmp_path / "codes", FACTS) as writer:
        for number in range(12):
            writer.add(coded(number))
    path = tmp_path / "codes" / "codes-00000.parquet"
    table = parquet.read_table(path)
    place = table.column_names.index(column)
    table = table.remove_column(place) if values is None else table.set_column(place, column, pa.array(values))
    parquet.write_table(table, path, row_group_size=8)
    with pytest.raises(ValueError, match=said):
        CodeShards(tmp_path / "codes").codes(0, 0)


def test_a_shard_cut_into_other_groups_is_refused(tmp_path, folder):
    import pyarrow.parquet as parquet

    path = folder / "codes-00000.parquet"
    parquet.write_table(parquet.read_table(path), path, row_group_size=3)
    with pytest.raises(ValueError, match="other groups of songs than 8"):
        CodeShards(folder)
