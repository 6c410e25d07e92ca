import json
import os
import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from jukebox_hf import JukeboxModel
from jukebox_hf.model.checks.json_files import parse_json, read_json
from jukebox_hf.model.files import checkpoint_files
from jukebox_hf.model.files.checkpoint_files import read_root_config
from jukebox_hf.model.files.safetensors_files import StoredTensor, check_safetensors
from jukebox_hf.model.songs.song_state import SongState

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n"
PAGE = b"\n<!DOCTYPE html><html><body>Not found</body></html>"
STRANGE = {"empty": b"", "LFS pointer": LFS, "web page": PAGE, "pickle": b"\x80\x04K\x01.", "zip": b"PK\x03\x04aaaa"}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize(("content", "cause"), [(content, cause) for cause, content in STRANGE.items()])
@pytest.mark.parametrize("read", [read_json, check_safetensors])
def test_a_file_of_another_kind_is_named_with_what_it_is(read, content, cause, file):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=cause) as error:
        read(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("read", [read_json, check_safetensors])
def test_what_is_no_file_is_not_waited_for(read, file):
    with pytest.raises(FileNotFoundError, match="missing"):
        read(file)
    os.mkfifo(file)
    with pytest.raises(ValueError, match="no regular file"):
        read(file)
    with pytest.raises(ValueError, match="no regular file"):
        read(file.parent)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"{", "not JSON"),
        (b"\xff{}", "UTF-8"),
        (b"[" * 10**6, "nested"),
        (b"[" * 500 + b"]" * 500, "nested"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "nested"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": NaN}', "finite"),
        (b'{"a": -Infinity}', "finite"),
        (b'{"a": 1e999}', "finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"5000 digits\); get the file again"),
        (b"[1]", "must hold a JSON object"),
        (b"null", "must hold a JSON object"),
    ],
)
def test_json_that_can_not_be_relied_on_is_refused_in_one_sentence(text, cause, file):
    file.write_bytes(text)
    for read in (lambda: read_json(file), lambda: parse_json(text, file)):
        with pytest.raises(ValueError, match=cause) as error:
            read()
        assert str(error.value).startswith(str(file))
        assert len(str(error.value)) < 400


def test_json_over_its_cap_is_not_read(file):
    file.write_bytes(b'{"a": "' + b"x" * 100 + b'"}')
    with pytest.raises(ValueError, match="at most 50"):
        read_json(file, largest=50)


def test_json_that_is_fine_is_read_with_a_byte_order_mark_too(file):
    file.write_bytes("\ufeff".encode() + b'{"a": [1.5, {"b": null}]}')
    assert read_json(file) == {"a": [1.5, {"b": None}]}
    assert parse_json("[1]", "line 3", list) == [1]


def _header(tensors, tail=b"", **metadata):
    text = json.dumps(tensors | ({"__metadata__": metadata} if metadata else {})).encode()
    return struct.pack("<Q", len(text)) + text + tail


def _tensor(begin, end, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


GOOD = _header({"a": _tensor(0, 8), "b": _tensor(8, 12)}, bytes(12))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (GOOD[:5], "cut short"),
        (GOOD[:40], "cut short"),
        (GOOD[:-1], "cut short"),
        (GOOD + b"x", "no tensor owns"),
        (struct.pack("<Q", 2**63) + GOOD[8:], "not a safetensors file"),
        (struct.pack("<Q", 10) + GOOD[8:], "not JSON"),
        (b"hello, this is a text", "not a safetensors file"),
        (_header({"a": _tensor(0, 8), "b": _tensor(4, 8)}, bytes(8)), "overlaps"),
        (_header({"a": _tensor(4, 8)}, bytes(8)), "hole"),
        (_header({"a": _tensor(0, 8, "Q4")}, bytes(8)), "no known type"),
        (_header({"a": _tensor(0, 8, shape=[3])}, bytes(8)), "shape"),
        (_header({"a": _tensor(0, 8, shape=[-2])}, bytes(8)), "does not say"),
        (_header({"a": _tensor(0, 8, shape=[2.0])}, bytes(8)), "does not say"),
        (_header({"a": [1]}, bytes(8)), "does not say"),
        (_header({"a": _tensor(8, 0, shape=[])}, bytes(8)), "does not say"),
        (_header({"a": _tensor(0, 8)}, bytes(8), note=[1]), "metadata"),
        (struct.pack("<Q", 9 * 10**5) + b'{"a":' * 180000, "nested"),
        (b"\x0a\0\0\0\0\0\0\0" + b'{"a":1,"a":2}'[:10] + b"", "not JSON"),
    ],
)
def test_a_damaged_safetensors_file_is_named_with_its_damage(content, cause, file):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=cause) as error:
        check_safetensors(file, cure="copy it again")
    assert str(file) in str(error.value)
    assert str(error.value).endswith("copy it again")


def test_a_whole_file_says_what_it_holds(file):
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64)}, file, metadata={"k": "v"})
    found = check_safetensors(file, {"a": (2, 3), "b": None}, dtypes={"F32", "I64"})
    assert found.tensors == {"a": StoredTensor("F32", (2, 3)), "b": StoredTensor("I64", ())}
    assert found.metadata == {"k": "v"}


@pytest.mark.parametrize(
    ("shapes", "dtypes", "cause"),
    [
        ({"a": (2, 3)}, None, "also holds 'b'"),
        ({"a": (2, 3), "b": (), "c": ()}, None, "lacks 'c'"),
        ({"a": (3, 2), "b": ()}, None, r"\(2, 3\), but \(3, 2\)"),
        (None, {"F32"}, "'b' as I64"),
    ],
)
def test_other_tensors_than_expected_are_named(shapes, dtypes, cause, file):
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64)}, file)
    with pytest.raises(ValueError, match=cause):
        check_safetensors(file, shapes, dtypes=dtypes)


# --- networks and states ---

DAMAGE = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "inside its header": lambda file: file.write_bytes(file.read_bytes()[:60]),
    "is empty": lambda file: file.write_bytes(b""),
    "LFS pointer": lambda file: file.write_bytes(LFS),
    "web page": lambda file: file.write_bytes(PAGE),
    "pickle": lambda file: file.write_bytes(b"\x80\x04K\x01."),
    "holds 'norm": lambda file: save_file({"norm": np.zeros(3, np.int8)}, file),
    "lacks": lambda file: save_file({}, file) or save_file({"x": np.zeros(1, np.float32)}, file),
}


@pytest.mark.parametrize("cause", DAMAGE)
@pytest.mark.parametrize("network", ["prior", "vqvae"])
def test_weights_are_refused_in_a_sentence_that_names_file_and_cause(network, cause, tiny_prior, tiny_vqvae, tmp_path):
    model = tiny_prior() if network == "prior" else tiny_vqvae()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    DAMAGE[cause](file)
    with pytest.raises(ValueError, match=cause) as error:
        type(model).from_pretrained(tmp_path)
    assert str(file) in str(error.value)


def test_shards_are_refused_where_they_differ_from_their_index(tiny_prior, tmp_path):
    prior = tiny_prior()
    prior.save_pretrained(tmp_path, max_shard_size="4KB")
    index = tmp_path / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    type(prior).from_pretrained(tmp_path)
    for change, cause in (
        ({"weight_map": said["weight_map"] | {"more": "model-00001-of-00002.safetensors"}}, "differ|lacks the shard"),
        ({"weight_map": said["weight_map"] | {"more": "../outside.safetensors"}}, "plain file names"),
        ({"weight_map": said["weight_map"] | {"more": 3}}, "plain file names"),
        ({"weight_map": []}, "not an index"),
    ):
        index.write_text(json.dumps(said | change))
        with pytest.raises(ValueError, match=cause):
            type(prior).from_pretrained(tmp_path)


def test_pickles_with_code_are_never_run_and_torchs_advice_is_not_repeated(tiny_prior, tmp_path):
    prior = tiny_prior()
    prior.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": _Code()}))
    with pytest.raises(ValueError, match=r"pytorch_model\.bin .* holds code \(posix.mkdir\)") as error:
        type(prior).from_pretrained(tmp_path)
    assert "weights_only" not in str(error.value)


class _Code:
    def __reduce__(self):
        return os.mkdir, ("/nowhere/at/all",)


STATE = {"format": "jukebox-song-1", "seeds": "[1]", "notes": "{}", "levels": "1"}


@pytest.mark.parametrize(
    ("facts", "codes", "cause"),
    [
        ({"levels": str(10**12)}, {}, "levels="),
        ({"levels": "0"}, {}, "levels="),
        ({"levels": "-1"}, {}, "levels="),
        ({"levels": "2"}, {}, "tensors are not 2 levels"),
        ({"seeds": f"[{'1,' * 10**6}1]"}, {}, "tensors are not"),
        ({"seeds": "[" * 10**5}, {}, "nested"),
        ({"seeds": "{}"}, {}, "seeds must hold a JSON list"),
        ({"seeds": "[1.5]"}, {}, "no integers"),
        ({"seeds": "[true]"}, {}, "no integers"),
        ({"seeds": "[NaN]"}, {}, "finite"),
        ({"notes": "[]"}, {}, "notes must hold a JSON object"),
        ({"notes": '{"a": 1}'}, {}, "no text"),
        ({"notes": '{"a": "1", "a": "2"}'}, {}, "twice"),
        ({"format": "another"}, {}, "not the state"),
        ({}, {"level_0.song_1": np.zeros(3, np.int64)}, "lacks level_0.song_0"),
        ({}, {"level_0.song_0": np.zeros((3, 1), np.int64)}, "no row of codes"),
        ({}, {"level_0.song_0": np.zeros(3, np.float32)}, "F32"),
    ],
)
def test_a_state_that_claims_too_much_or_the_wrong_thing_is_refused_at_once(facts, codes, cause, file):
    save_file(codes or {"level_0.song_0": np.zeros(3, np.int64)}, file, metadata=STATE | facts)
    with pytest.raises(ValueError, match=cause) as error:
        SongState.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("name", STATE)
def test_a_state_that_lacks_a_fact_is_refused(name, file):
    facts = {key: value for key, value in STATE.items() if key != name}
    save_file({"level_0.song_0": np.zeros(3, np.int64)}, file, metadata=facts)
    with pytest.raises(ValueError, match="state"):
        SongState.load(file)


@pytest.mark.parametrize("mark", [b"\x80\x02", b"\x80\x05", b"\x1f\x8b", b"BZh", b"ID3", b"PK\x03"])
def test_a_safetensors_file_is_one_whatever_its_headers_length_looks_like(mark, file):
    length = int.from_bytes(mark, "little")
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    file.write_bytes(struct.pack("<Q", length) + header + b"\0")
    assert check_safetensors(file).tensors == {"w": StoredTensor("U8", (1,))}


@pytest.mark.parametrize("read", [read_root_config, JukeboxModel.from_pretrained])
def test_a_mistyped_folder_is_refused_at_once_with_a_close_name(read, tmp_path, monkeypatch):
    for name in ("my-jukebox", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    find = checkpoint_files.cached_file

    def find_here(*names, **said):
        assert said["local_files_only"], "the Hub was asked"
        return find(*names, **said)

    monkeypatch.setattr(checkpoint_files, "cached_file", find_here)
    with pytest.raises(FileNotFoundError, match=r"my-jukebos is no folder here, .*; did you mean my-jukebox"):
        read("my-jukebos")
    with pytest.raises(FileNotFoundError, match=r"quite-different is no folder here, .* its owner"):
        read("quite-different")
