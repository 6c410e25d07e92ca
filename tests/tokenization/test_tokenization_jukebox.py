"""JukeboxTokenizer as transformers uses it, and what it says about names it does not know."""

import copy
import json
import pickle
import warnings

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxConfig, JukeboxTokenizer
from jukebox_hf.model.checkpoints.remote_code import code_files, flattened
from jukebox_hf.model.inputs.labels import SongDescription


def small(**changes):
    tables = {"artists": {"v2": {"unknown": 0, "metallica": 169}}, "genres": {"v2": {"unknown": 0, "pop": 14}}}
    return JukeboxTokenizer(**{**tables, "label_versions": ["v2"], **changes})


# --- saving and loading ---


def test_a_saved_tokenizer_loads_equal(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = JukeboxTokenizer.from_pretrained(tmp_path)
    assert loaded.vocabularies == tokenizer.vocabularies
    assert loaded.label_versions == tokenizer.label_versions == ["v2", "v2", "v3"]
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.padding_side, loaded.pad_token_id, len(loaded)) == ("left", 0, 79)
    assert loaded("Hé — no").input_ids == tokenizer("Hé — no").input_ids != []


def test_saved_files_are_plain_json_and_saving_again_changes_nothing(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "once")
    JukeboxTokenizer.from_pretrained(tmp_path / "once").save_pretrained(tmp_path / "twice")
    names = {path.name for path in (tmp_path / "once").iterdir()}
    assert names == {"artists.json", "genres.json", "tokenizer_config.json"}
    for name in names:
        once, twice = (
            json.loads((tmp_path / folder / name).read_text(encoding="utf-8")) for folder in ("once", "twice")
        )
        remarks = {"is_local", "local_files_only"}  # transformers notes where it loaded from
        assert once == {key: value for key, value in twice.items() if key not in remarks}


def test_names_with_invisible_marks_and_blanks_survive_saving(tmp_path):
    odd = {"unknown": 0, "pop\N{LEFT-TO-RIGHT MARK}": 1, "a  b ": 2, 's music",': 3, "céline\u2028": 4}
    small(genres={"v2": odd}).save_pretrained(tmp_path)
    assert JukeboxTokenizer.from_pretrained(tmp_path).vocabularies["v2"].genres == odd


def test_auto_tokenizer_finds_it_once_the_package_is_imported(tokenizer, tmp_path, run_python):
    tokenizer.save_pretrained(tmp_path)
    JukeboxConfig().save_pretrained(tmp_path)
    code = (
        "import sys, jukebox_hf\n"
        "assert 'jukebox_hf.model.inputs.tokenization_jukebox' not in sys.modules\n"
        "from transformers import AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "print(type(tokenizer).__module__, type(tokenizer).__name__, len(tokenizer))"
    )
    assert run_python(code, tmp_path) == "jukebox_hf.model.inputs.tokenization_jukebox JukeboxTokenizer 79"


def test_it_runs_where_only_the_model_folder_travelled(tokenizer, tmp_path, run_python):
    alone, saved = tmp_path / "alone" / "remote", tmp_path / "saved"
    alone.mkdir(parents=True)
    for file in code_files():
        (alone / file.name).write_text(flattened(file.read_text()))
    tokenizer.save_pretrained(saved)
    code = (
        "import sys\n"
        "sys.modules |= {'jukebox_hf': None, 'anyascii': None}\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from remote.tokenization_jukebox import JukeboxTokenizer\n"
        "tokenizer = JukeboxTokenizer.from_pretrained(sys.argv[2])\n"
        "print(tokenizer('old “town”').input_ids, tokenizer.artist_id('the beatles', 2))\n"
        "try: tokenizer('Ж')\n"
        "except ValueError as refusal: print(refusal)"
    )
    ids, refusal = run_python(code, alone.parent, saved).splitlines()
    assert ids == f"{tokenizer('old “town”').input_ids} 7026"
    assert "only the anyascii package can write in ASCII: 'Ж' at 0" in refusal


def test_it_copies_and_pickles(tokenizer):
    for twin in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert twin.vocabularies == tokenizer.vocabularies
        assert twin("a+b").input_ids == tokenizer("a+b").input_ids


@pytest.mark.parametrize("name", ["artists.json", "genres.json"])
def test_a_folder_without_a_list_is_refused(tokenizer, tmp_path, name):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    kind = name.removesuffix(".json")
    with pytest.raises(ValueError, match=f"{kind} and {kind}_file are neither given.*folder with {kind}.json"):
        JukeboxTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("versions", [[], "v2", ["v1"], [["v2"]], {"v2": 1}])
def test_label_versions_must_name_a_version_for_each_level(versions):
    with pytest.raises(ValueError, match=r"label_versions=.* must hold one of v2, v3 for each level, finest first"):
        small(label_versions=versions)


def test_folder_without_lists_says_where_to_get_them(tmp_path):
    JukeboxConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no lists of artists and genres here .*; convert the model again with --lab"):
        JukeboxTokenizer.from_pretrained(tmp_path)


def test_lists_that_do_not_fit_the_versions_are_refused():
    with pytest.raises(ValueError, match=r"artists holds no \['v3'\] names, but label_versions=\['v2', 'v3'\]"):
        small(label_versions=["v2", "v3"])
    with pytest.raises(ValueError, match=r"genres\['v2'\] gives 'pop' the id -3"):
        small(genres={"v2": {"pop": -3}})


def test_table_sizes_are_the_rows_that_embeddings_need(tokenizer, known_names):
    for level, version in enumerate(tokenizer.label_versions):
        artists, genres = known_names[version]
        assert tokenizer.table_sizes(level) == (max(genres.values()) + 1, max(artists.values()) + 1)
    assert small().table_sizes(0) == (15, 170)


# --- lyrics through transformers' door ---


def test_a_string_gives_lyric_ids_of_the_top_level(tokenizer, recorded):
    for case in recorded["v3"]["text"]:
        assert tokenizer(case["input"]).input_ids == case["tokens"]
    assert tokenizer("a+b").input_ids == [27, 28]
    assert small()("a+b").input_ids == [27, 70, 28]
    assert (tokenizer.vocab_size, small().vocab_size) == (79, 80)


def test_a_batch_is_padded_in_front_with_zero(tokenizer):
    batch = tokenizer(["ab", "", "abcd"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[0, 0, 27, 28], [0, 0, 0, 0], [27, 28, 29, 30]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["input_ids"].dtype == torch.int64
    full = tokenizer("ab", padding="max_length", max_length=5, truncation=True)
    assert full.input_ids == [0, 0, 0, 27, 28]


def test_vocabulary_length_and_ids_agree(tokenizer, recorded):
    vocabulary = tokenizer.get_vocab()
    assert len(tokenizer) == tokenizer.vocab_size == len(vocabulary) == recorded["v3"]["n_vocab"]
    assert sorted(vocabulary.values()) == list(range(79))
    assert tokenizer.convert_ids_to_tokens(range(79)) == sorted(vocabulary, key=vocabulary.get)
    assert tokenizer.convert_tokens_to_ids(list(vocabulary)) == list(vocabulary.values())
    assert tokenizer.convert_tokens_to_ids("é") == tokenizer.unk_token_id == tokenizer.pad_token_id == 0


def test_decoding_returns_the_cleaned_lyrics(tokenizer):
    text = "  Hello ,  <unk> world\\ it's  me\t!"
    batch = tokenizer([text, "x"], padding=True).input_ids
    assert tokenizer.batch_decode(batch) == ["  Hello ,  unk world\n it's  me\t!", "x"]
    assert tokenizer.decode(batch[1], skip_special_tokens=True) == tokenizer.decode_lyrics(batch[1]) == "x"


@pytest.mark.parametrize(
    "ids",
    [
        [1.7],
        [1.0],
        [True],
        [float("nan")],
        [None],
        ["1"],
        "12",
        5,
        [[1, 2]],
        np.ones(2),
        np.ones(2, bool),
        np.ones((1, 2), int),
    ],
)
def test_ids_that_are_no_integers_are_refused_in_a_sentence(tokenizer, ids):
    with pytest.raises(ValueError, match=r"^ids(=.* must be a list of integers, | holds .*, which is no integer; )"):
        tokenizer.decode_lyrics(ids)


def test_ids_are_integers_of_any_kind(tokenizer):
    for ids in ([27, 0, 28], np.array([27, 0, 28]), torch.tensor([27, 0, 28]), [np.int64(27), torch.tensor(28)]):
        assert tokenizer.decode_lyrics(ids) == tokenizer.decode(ids, skip_special_tokens=True) == "ab"
    with pytest.raises(ValueError, match=r"ids holds 1\.7, which is no integer"):
        tokenizer.decode([1.7])


def test_lyrics_are_encoded_for_a_level_of_choice(tokenizer):
    assert tokenizer.encode_lyrics("1+1", 0).cleaned == "1+1"
    assert tokenizer.encode_lyrics("1+1", 2) == tokenizer.encode_lyrics("1+1")
    assert tokenizer.encode_lyrics("1+1").cleaned == "11"
    assert tokenizer.decode_lyrics([54, 70, 54], 0) == "1+1"


# --- unknown names ---


def test_an_unknown_name_is_warned_of_once_for_all_levels(tokenizer):
    with pytest.warns(UserWarning, match="Frank Sinatre") as caught:
        ids = [tokenizer.artist_id("Frank Sinatre", level) for level in (2, 1, 0, 2)]
    assert ids == [0, 0, 0, 0]
    assert [str(warning.message) for warning in caught] == [
        "artist='Frank Sinatre' is not listed in v2, read by levels 0 and 1 (close: 'frank_sinatra'); "
        "artist='Frank Sinatre' is not listed in v3, read by level 2 (close: 'frank sinatra'); "
        "these levels take 'unknown' instead (`jukebox-hf labels list` prints all names)"
    ]


def test_a_warning_names_only_the_levels_that_miss_the_name(tokenizer):
    with pytest.warns(UserWarning, match=r"^artist='Adele' is not listed in v2, read by levels 0 and 1 ") as caught:
        assert [tokenizer.artist_id("Adele", level) for level in (0, 1, 2)] == [0, 0, 191]
    assert len(caught) == 1
    assert "v3" not in str(caught[0].message)


def test_unknown_words_of_a_genre_are_named(tokenizer):
    with pytest.warns(UserWarning, match=r"genre='Rok Pop' \(of it: 'rok'\) is not listed in v2, .*close: 'rock'"):
        assert tokenizer.genre_ids("Rok Pop", 0) == (0, 14)


@pytest.mark.parametrize("name", ["", " ", "unknown", "Unknown"])
def test_asking_for_unknown_is_no_reason_to_warn(tokenizer, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for level in (0, 2):
            assert tokenizer.artist_id(name, level, strict=True) == 0
            assert tokenizer.genre_ids(name, level, strict=True) == (0,)


def test_strict_refuses_unknown_names_and_names_close_ones(tokenizer):
    sentence = r"artist='The Beetles' is not listed in v3, read by level 2 \(close: 'the beatles'\); use a listed name"
    with pytest.raises(ValueError, match=sentence):
        tokenizer.artist_id("The Beetles", 2, strict=True)
    with pytest.raises(ValueError, match=r"genre='qqqq' is not listed in v2, read by level 0 \(nothing is close\)"):
        tokenizer.genre_ids("qqqq", 0, strict=True)
    assert tokenizer.artist_id("The Beatles", 2, strict=True) == 7026


def test_strict_labels_refuse_and_lenient_ones_hear_unknown(tokenizer, tiny_prior_config):
    config = tiny_prior_config("labelled", level=0)
    song = SongDescription(5000, artist="The Beetles", genre="Pop")
    with pytest.raises(ValueError, match="artist='The Beetles' is not listed in v2"):
        tokenizer.labels(song, config, strict=True)
    with pytest.warns(UserWarning, match="artist='The Beetles'"):
        labels = tokenizer.labels(song, config)
    assert (labels.artist_id, labels.genre_ids) == (0, (14, -1))


def test_names_must_be_strings(tokenizer):
    for ask in (tokenizer.artist_id, tokenizer.genre_ids):
        with pytest.raises(ValueError, match=r"name=7\.5 must be a string; use '' where there is none"):
            ask(7.5, 0)  # integers are ids


def test_offsets_are_refused_with_where_they_are(tokenizer):
    with pytest.raises(ValueError, match=r"return_offsets_mapping=True: processor\.encode_lyrics gives the offset of"):
        tokenizer("ab", return_offsets_mapping=True)
    assert tokenizer("ab", return_offsets_mapping=False)["input_ids"] == tokenizer("ab")["input_ids"]
