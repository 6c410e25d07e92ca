"""Tokenizers of transformers 4 repositories: read by us, they give OpenAI's ids, also where the old one did not."""

import json
import warnings

import pytest

from jukebox_hf import JukeboxTokenizer

VERSIONS = {"1b": ["v3", "v2", "v2"], "5b": ["v2", "v2", "v2"]}  # as the old files list them: top level first
SLOTS = {"1b": 1, "5b": 5}
UNKNOWN = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


@pytest.fixture
def legacy_folder(tmp_path, known_names, recorded):
    """A maker of folders as the Hub's repositories hold them, with the names that the cases need."""

    def make(model):
        (artists_v2, genres_v2), (artists_v3, genres_v3) = known_names["v2"], known_names["v3"]
        artists = {**artists_v3, "zac brown band": 7169} | {f"{name}.v2": i for name, i in artists_v2.items()}
        artists |= {"zac_brown_band.v2": 1069}
        genres = {**genres_v3, "rock": 40} | {f"{name}.v2": i for name, i in genres_v2.items()} | {"hard.v2": 7}
        characters = recorded[VERSIONS[model][0]]["vocab"]
        files = {
            "artists": artists,
            "genres": genres,
            "lyrics": {character or "<unk>": i for i, character in enumerate(characters)},
            "special_tokens_map": {"unk_token": UNKNOWN},
            "tokenizer_config": {
                "added_tokens_decoder": {"0": {**UNKNOWN, "special": True}, "3": {**UNKNOWN, "special": True}},
                "clean_up_tokenization_spaces": False,
                "extra_special_tokens": {},
                "max_n_lyric_tokens": 384,
                "n_genres": SLOTS[model],
                "tokenizer_class": "JukeboxTokenizer",
                "unk_token": "<|endoftext|>",
                "version": VERSIONS[model],
            },
        }
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture(params=[JukeboxTokenizer.from_transformers_v4, JukeboxTokenizer.from_pretrained])
def read(request):
    return request.param


@pytest.mark.parametrize("model", VERSIONS)
def test_openai_s_answers_win_over_the_old_tokenizer_s(model, read, legacy_folder, reference):
    path = reference / "transformers_v4" / "tokenizer_real" / "cases.json"
    cases = [case for case in json.loads(path.read_text(encoding="utf-8")) if case["tokenizer"] == model]
    tokenizer = read(legacy_folder(model))
    assert tokenizer.label_versions == VERSIONS[model][::-1]
    assert len(cases) == 6
    differing = 0
    for case in cases:
        answers = zip(case["openai"], case["v4_input_ids"], case["equal_per_level"], strict=True)
        for level, (openai, old_row, is_equal) in zip((2, 1, 0), answers, strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                artist, genres = tokenizer.artist_id(case["artist"], level), tokenizer.genre_ids(case["genres"], level)
            lyrics = list(tokenizer.encode_lyrics(case["lyrics"], level).ids) if level == 2 else []
            assert {"artist_id": artist, "genre_ids": list(genres), "lyric_tokens": lyrics} == openai
            row = [0, 0, 0, artist, *genres, *[-1] * (SLOTS[model] - len(genres)), *lyrics]
            assert (row == old_row) == is_equal
            differing += not is_equal
    assert differing == {"1b": 10, "5b": 12}[model]


def test_both_ways_of_reading_give_the_same_tokenizer_and_it_saves_as_ours(legacy_folder, tmp_path_factory):
    folder = legacy_folder("1b")
    first, second = JukeboxTokenizer.from_transformers_v4(folder), JukeboxTokenizer.from_pretrained(folder)
    assert first.vocabularies == second.vocabularies
    assert len(first) == len(second) == 79
    assert first.pad_token == second.pad_token == first.unk_token == second.unk_token == "<unk>"
    saved = tmp_path_factory.mktemp("saved")
    second.save_pretrained(saved)
    assert "version" not in json.loads((saved / "tokenizer_config.json").read_text())
    assert JukeboxTokenizer.from_pretrained(saved).vocabularies == first.vocabularies


def test_lyrics_of_another_version_are_refused(legacy_folder, recorded):
    folder = legacy_folder("1b")
    other = {character or "<unk>": i for i, character in enumerate(recorded["v2"]["vocab"])}
    (folder / "lyrics.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"lyrics\.json does not hold the 79 characters of v3"):
        JukeboxTokenizer.from_transformers_v4(folder)


@pytest.mark.parametrize("name", ["artists", "genres", "lyrics", "tokenizer_config"])
def test_a_missing_file_is_named(name, legacy_folder):
    folder = legacy_folder("5b")
    (folder / f"{name}.json").unlink()
    with pytest.raises(ValueError, match=rf"{name}\.json is missing; give the folder that holds it"):
        JukeboxTokenizer.from_transformers_v4(folder)


def test_files_of_this_package_are_not_taken_for_old_ones(legacy_folder):
    folder = legacy_folder("5b")
    (folder / "tokenizer_config.json").write_text('{"label_versions": ["v2"]}')
    with pytest.raises(ValueError, match=r"names no version, so it is not of transformers 4's Jukebox; use from_pretr"):
        JukeboxTokenizer.from_transformers_v4(folder)
