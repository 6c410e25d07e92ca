"""`info` and `labels search`: what a repository is, and which names it knows."""

import json

import pytest

from jukebox_hf import JukeboxTokenizer

NAMES = {
    "v2_artist_ids.txt": ["unknown;0", "the_beatles;1", "c_line_dion;2", "alan_jackson;3"],
    "v2_genre_ids.txt": ["unknown;0", "pop;1", "rock;2", "country;3"],
    "v3_artist_ids.txt": ["unknown;0", "The Beatles;1", "Céline Dion;2", "The Beat Farmers;3"],
    "v3_genre_ids.txt": ["unknown;0", "Pop Rock;1", "Country;2"],
}


@pytest.fixture
def labels(tmp_path):
    """OpenAI's four lists, in small."""
    folder = tmp_path / "ids"
    folder.mkdir()
    for name, lines in NAMES.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def repository(run_cli, convert_words, labels, tmp_path):
    code, said, error = run_cli(*convert_words(tmp_path / "repo", "--labels", labels))
    assert (code, error) == (0, "")
    assert "no tokenizer" not in said
    return tmp_path / "repo"


def test_converted_repository_carries_the_lists_of_each_level(repository):
    tokenizer = JukeboxTokenizer.from_pretrained(repository)
    assert tokenizer.label_versions == ["v2", "v2", "v3"]
    assert [tokenizer.artist_id("The Beatles", level) for level in range(3)] == [1, 1, 1]
    assert tokenizer.genre_ids("Pop Rock", 0) == (1, 2)
    assert tokenizer.genre_ids("Pop Rock", 2) == (1,)


def test_search_lists_close_artists_and_genres_of_each_level(run_cli, repository):
    code, said, _ = run_cli("labels", "search", repository, "beatles", "--json")
    assert code == 0
    levels = json.loads(said)
    assert [(level["level"], level["version"]) for level in levels] == [(0, "v2"), (1, "v2"), (2, "v3")]
    assert levels[0]["artists"][0] == {"name": "the_beatles", "id": 1}
    assert levels[2]["artists"][0] == {"name": "the beatles", "id": 1}
    code, said, _ = run_cli("labels", "search", repository, "celine dion")
    assert [line for line in said.splitlines() if line.startswith("level")] == [
        "levels 0, 1 (lists v2)",
        "level 2 (lists v3)",
    ]
    assert "céline dion (2)" in said
    assert "c_line_dion (2)" in said


def test_search_says_so_where_nothing_is_close_or_no_list_is_there(run_cli, repository, convert_words, tmp_path):
    assert "none is close" in run_cli("labels", "search", repository, "zzzzqqqq")[1]
    run_cli(*convert_words(tmp_path / "bare"))
    (tmp_path / "bare" / "artists.json").unlink()
    code, _, error = run_cli("labels", "search", tmp_path / "bare", "beatles")
    assert code == 2
    assert "no lists of artists and genres here" in error
    assert error.count("\n") == 1


def test_info_prints_levels_sizes_windows_parameters_and_memory(run_cli, repository):
    code, said, _ = run_cli("info", repository, "--json")
    assert code == 0
    vqvae, bottom, middle, top = json.loads(said)["parts"]
    assert [row["memory_gb"] for row in json.loads(said)["fits"]] == [4, 8, 12, 16, 24, 80]
    assert (vqvae["hop"], vqvae["sampling_rate"]) == ([8, 32, 128], 44100)
    assert [part["part"] for part in (bottom, middle, top)] == ["prior_0", "prior_1", "prior_2"]
    assert [part["window_codes"] for part in (bottom, middle, top)] == [32, 32, 24]
    assert top["window_seconds"] == round(24 * 128 / 44100, 3)
    assert (top["lyrics"], top["lyric_length"], bottom["lyrics"]) == ("prefix", 12, "none")
    assert all(part["dtype"] == "float32" for part in (bottom, middle, top))
    code, said, _ = run_cli("info", repository)
    assert code == 0
    assert said.splitlines()[0].split()[:2] == ["part", "parameters"]
    assert said.splitlines()[5:7] == ["", "memory  what fits"]
    assert len(said.splitlines()) == 5 + 2 + 6 + 1 + 4
    assert "artists of levels 0, 1 (lists v2): 4: alan_jackson; c_line_dion; the_beatles; unknown" in said
    assert "genres of level 2 (lists v3): 3: country; pop rock; unknown" in said


def test_list_pages_through_the_names_of_each_list(run_cli, repository):
    code, said, _ = run_cli("labels", "list", repository, "--limit", 2, "--skip", 1)
    assert code == 0
    assert said.splitlines()[:4] == [
        "artists of levels 0, 1 (lists v2): 4",
        "  c_line_dion (2)",
        "  the_beatles (1)",
        "  ... and 1 more: --skip 3 goes on, --all prints all",
    ]
    v2, v3 = json.loads(run_cli("labels", "list", repository, "--all", "--json")[1])
    assert (v2["version"], v2["levels"], v3["levels"]) == ("v2", [0, 1], [2])
    assert v3["artists"]["total"] == 4
    assert v3["genres"]["names"][1] == {"name": "pop rock", "id": 1}
    assert json.loads(run_cli("labels", "list", repository, "--skip", 9, "--json")[1])[0]["artists"]["names"] == []


def test_list_says_where_a_repository_has_no_names_and_info_tells_the_rest(run_cli, convert_words, tmp_path):
    run_cli(*convert_words(tmp_path / "bare"))
    (tmp_path / "bare" / "artists.json").unlink()
    code, _, error = run_cli("labels", "list", tmp_path / "bare")
    assert (code, error.count("\n")) == (2, 1)
    assert "no lists of artists and genres here" in error
    code, said, _ = run_cli("info", tmp_path / "bare")
    assert code == 0
    assert said.splitlines()[-1].startswith("no lists of artists and genres")


def test_names_are_those_of_the_tokenizer_in_legacy_repositories_too(reference):
    from jukebox_hf.app.label_names import open_lists

    folder = reference / "transformers_v4" / "tiny_1b" / "bin"
    lists, tokenizer = open_lists(str(folder)), JukeboxTokenizer.from_pretrained(folder)
    assert list(lists.versions) == tokenizer.label_versions
    assert lists.words == tokenizer.vocabularies


def test_info_knows_the_sizes_of_the_released_models(run_cli, tmp_path):
    """No weights are needed, only the configuration, so a folder with that alone tells the memory."""
    from jukebox_hf import model_preset

    config = model_preset("1b_lyrics")
    config.save_pretrained(tmp_path / "released")
    for level, prior in enumerate(config.prior_configs):
        prior.dtype = "float16" if level < 2 else "float32"
        prior.save_pretrained(tmp_path / "released" / f"prior_{level}")
    _, bottom, _, top = json.loads(run_cli("info", tmp_path / "released", "--json")[1])["parts"]
    assert (top["parameters"], bottom["parameters"]) == (942_643_200, 981_298_176)
    assert top["weights_gb"] == pytest.approx(942_643_200 * 4 / 1e9, abs=1e-3)
    matrices = 72 * (4 * 1920 * 480 + 2 * 1920 * 1920 + 3 * 480 + 3 * 1920)  # weights and biases, per layer
    assert bottom["weights_gb"] == pytest.approx((matrices * 2 + (981_298_176 - matrices) * 4) / 1e9, abs=1e-3)
    assert bottom["cache_gb"] == pytest.approx(193.2e6 * 2 / 1e9, rel=0.01), "PERFORMANCE: 193.2 M numbers a song"
    assert top["cache_gb"] == pytest.approx(168.9e6 * 4 / 1e9, rel=0.01)


def test_info_reads_legacy_repositories_too(run_cli, reference):
    code, said, _ = run_cli("info", reference / "transformers_v4" / "tiny_5b" / "bin", "--json")
    assert code == 0
    assert [part["part"] for part in json.loads(said)["parts"]] == ["vqvae", "prior_0", "prior_1", "prior_2"]


@pytest.mark.parametrize("command", [["info"], ["labels", "search"], ["labels", "list"]])
def test_folder_that_is_no_model_is_refused_in_one_sentence(run_cli, tmp_path, command):
    words = [*command, tmp_path] + (["name"] if "search" in command else [])
    code, _, error = run_cli(*words)
    assert code == 2
    assert error.startswith("jukebox-hf: ")
    assert error.count("\n") == 1


OURS = {"model_type": "jukebox"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "config.json is nested too deeply"),
        ({"model_type": "bert"}, "is not of a Jukebox (model_type must be 'jukebox', not 'bert')"),
        ({**OURS, "dtype": "nonsense"}, "dtype='nonsense' is not one of torch's"),
        ({**OURS, "dtype": ["float32"]}, "dtype=['float32'] is not one of torch's"),
        ({**OURS, "id2label": 5}, "JukeboxConfig: an argument is of another kind than it must be"),
        ({**OURS, "prior_configs": [5]}, "prior_configs=[5] is not allowed"),
    ],
    ids=["deep", "bert", "dtype", "dtypes", "of transformers", "of ours"],
)
def test_info_refuses_a_configuration_that_is_none_in_one_sentence(run_cli, tmp_path, content, message):
    (tmp_path / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))
    code, _, error = run_cli("info", tmp_path)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda config: config.update(vqvae_config=5), "is not of a Jukebox ('int' object is not subscriptable)"),
        (lambda config: config.update(dtype="int8"), "says dtype='int8', which is none that torch computes in"),
        (
            lambda config: config.update(prior_config_list=7),
            "prior_config_list in config.json must list 1 to 16 priors",
        ),
        (lambda config: config["vqvae_config"].update(res_strides_t=[2]), "strides [2] and how many stages have them"),
        (
            lambda config: config["vqvae_config"].update(res_downs_t=[9**9, 1, 1]),
            "two lists of integers from 1 to 64",
        ),
        (lambda config: config["vqvae_config"].update(levels=2), "vqvae_config.levels=2 must be 3"),
        (
            lambda config: config["prior_config_list"][1].update(res_strides_t=[2]),
            "strides [2] and how many stages have them",
        ),
        (lambda config: config["prior_config_list"][0].update(metadata_dims=[2]), "(list index out of range)"),
        (lambda config: config["prior_config_list"][0].update(num_layers=10**12), "an integer from 1 to 1024"),
    ],
    ids=["vqvae", "dtype", "priors", "short", "long", "levels", "strides", "labels", "depth"],
)
def test_info_refuses_a_damaged_legacy_configuration_in_one_sentence(run_cli, reference, tmp_path, edit, message):
    config = json.loads((reference / "transformers_v4" / "tiny_1b" / "bin" / "config.json").read_text())
    edit(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, _, error = run_cli("info", tmp_path)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error


@pytest.mark.parametrize("command", [["info"], ["labels", "search"], ["labels", "list"]])
def test_path_that_is_not_there_is_not_looked_up_on_the_hub(run_cli, tmp_path, command):
    words = [*command, tmp_path / "gone"] + (["name"] if "search" in command else [])
    code, _, error = run_cli(*words)
    assert (code, error.count("\n")) == (2, 1)
    assert "is no folder here and cannot be a name on the Hub, such as someone/model; check the path" in error


def test_lists_with_ids_outside_the_embedding_are_refused(run_cli, convert_words, labels, tmp_path):
    (labels / "v3_artist_ids.txt").write_text("unknown;0\nsomeone;64\n", encoding="utf-8")
    code, _, error = run_cli(*convert_words(tmp_path / "repo", "--labels", labels))
    assert code == 2
    assert "the artist list of level 2 has ids up to 64, but the prior's embedding holds 64" in error
    assert not (tmp_path / "repo").exists()


def test_missing_list_is_refused(run_cli, convert_words, labels, tmp_path):
    (labels / "v2_genre_ids.txt").unlink()
    code, said, error = run_cli(*convert_words(tmp_path / "repo", "--labels", labels))
    assert (code, "v2_genre_ids.txt" in error, error.count("\n")) == (2, True, 1)
    assert said == "", "no checkpoint was summed before"


def test_lists_that_are_no_folder_are_refused_before_a_checkpoint_is_opened(run_cli, convert_words, labels, tmp_path):
    for place in (tmp_path / "nope", labels / "v2_artist_ids.txt"):
        noise = tmp_path / "noise.pth.tar"
        noise.write_bytes(b"noise")
        code, said, error = run_cli(*convert_words(tmp_path / "repo", "--labels", place, vqvae=noise))
        assert (code, said, error.count("\n")) == (2, "", 1)
        assert f"{place} is not a folder; give the one that holds OpenAI's lists" in error
