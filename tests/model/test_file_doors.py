import json
import os
import struct

import numpy as np
import pytest
from safetensors.numpy import save_file

from jukebox_hf.model.json_files import parse_json, read_json
from jukebox_hf.model.safetensors_files import StoredTensor, check_safetensors

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
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
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
