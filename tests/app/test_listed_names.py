"""Artists and genres on the command line: a misspelt one stops, with what it may have meant; --no-strict goes on."""

import pytest


@pytest.fixture
def dry_run(run_cli, repository, tmp_path):
    def run(*words):
        return run_cli(
            "generate", "--model", repository, "--seconds", 0.1, "--out", f"{tmp_path}/out/", "--dry-run", *words
        )

    return run


@pytest.mark.parametrize(
    ("option", "name", "meant"),
    [("artist", "The Tester", "the testers"), ("genre", "Soft Rok", "soft rock"), ("genre", "sofd", "soft")],
)
def test_misspelt_name_stops_with_what_it_may_have_meant(dry_run, says_one_sentence, tmp_path, option, name, meant):
    says_one_sentence(dry_run(f"--{option}", name), f"{option}={name!r} (did you mean ", meant, "--no-strict")
    assert not (tmp_path / "out").exists()


def test_misspelt_name_goes_on_as_unknown_when_told_so(dry_run):
    done = dry_run("--artist", "The Tester", "--no-strict")
    assert done.code == 0
    assert "artist='The Tester' is not listed" in done.err
    assert "take 'unknown' instead" in done.err


def test_name_that_nothing_is_like_goes_on_as_unknown(dry_run):
    done = dry_run("--artist", "Zzyzx Qwq", "--genre", "xylol")
    assert done.code == 0
    assert "nothing is close" in done.err


@pytest.mark.parametrize(
    ("option", "name", "meant"),
    [
        ("artist", "The Testers,", "the testers"),
        ("artist", "the_testers", "the testers"),
        ("artist", "2=the_testers,1=The Testers,0=quiet_ones", "the testers"),
        ("genre", "soft_rock", "soft rock"),
    ],
)
def test_a_name_in_another_spelling_than_the_top_levels_stops(dry_run, says_one_sentence, option, name, meant):
    """As finer levels list it, so that only the level that makes the song would not know it."""
    for levels in ("2,1,0", "2"):
        said = dry_run(f"--{option}", name, "--levels", levels)
        says_one_sentence(said, f"(did you mean {meant!r}?) is not listed in this model", "--no-strict")
    assert dry_run(f"--{option}", name, "--no-strict").code == 0


def test_a_name_that_the_levels_which_hear_it_list_goes_on(generate, run_cli, dry_run, tmp_path):
    assert dry_run("--artist", "2=The Testers,1=The Testers,0=quiet_ones").code == 0
    assert generate(tmp_path / "song.wav", "--levels", "2", "--seed", 3).code == 0
    fine = ("upsample", tmp_path / "song.wav", "--out", tmp_path / "fine.wav", "--dry-run")
    assert run_cli(*fine, "--artist", "the_testers").code == 0
    assert run_cli(*fine, "--artist", "the_tester").code == 2


def test_a_name_that_only_finer_levels_list_goes_on_with_a_warning(dry_run):
    """v2 knows the single words of genres; v3 lists `soft rock`, which is like it, but is another."""
    done = dry_run("--genre", "Soft")
    assert done.code == 0
    assert "genre='Soft' (of it: 'soft') is not listed in v3, read by level 2 (close: 'soft rock')" in done.err


def test_listed_names_in_any_case_and_none_at_all_are_right(dry_run):
    assert dry_run("--artist", "THE TESTERS", "--genre", "soft rock").code == 0
    assert dry_run("--artist", "unknown", "--genre", "").code == 0


def test_misspelt_names_of_a_batch_are_told_together_and_one_line_may_be_lenient(dry_run, says_one_sentence, tmp_path):
    batch = tmp_path / "songs.jsonl"
    batch.write_text('{"artist": "The Tester"}\n{"artist": "The Testers"}\n{"genre": "Soft Rok"}\n')
    says_one_sentence(dry_run("--songs-file", batch), "artist='The Tester'", "genre='Soft Rok'", "are not listed")
    batch.write_text('{"artist": "The Tester", "strict": false}\n{"artist": "The Testers"}\n')
    assert dry_run("--songs-file", batch).code == 0
    batch.write_text('{"artist": "The Tester", "strict": "no"}\n')
    says_one_sentence(dry_run("--songs-file", batch), "strict='no', which must be true or false")


def test_song_of_misspelt_names_can_be_repeated_resumed_and_refined(generate, run_cli, read_json, tmp_path):
    """Its `again:` line says --no-strict; what goes on from it uses its names without asking again."""
    out = tmp_path / "song.wav"
    done = generate(out, "--artist", "The Tester", "--no-strict", "--levels", "2", "--seed", 3)
    assert done.code == 0, done.err
    sidecar = read_json(out.with_suffix(".json"))
    assert " --no-strict" in sidecar["command"]
    assert sidecar["request"]["strict"] is False
    assert generate(out, "--artist", "The Tester", "--levels", "2", "--seed", 3, "--resume").code == 0
    assert run_cli("upsample", out, "--out", tmp_path / "fine.wav", "--dry-run").code == 0
    assert run_cli("upsample", out, "--artist", "Te Testers", "--out", tmp_path / "fine.wav", "--dry-run").code == 2
    del sidecar["request"]["strict"]  # as side-cars were before
    import json

    out.with_suffix(".json").write_text(json.dumps(sidecar))
    assert run_cli("upsample", out, "--out", tmp_path / "fine.wav", "--dry-run").code == 0


def test_every_name_of_a_mix_is_looked_up(dry_run, says_one_sentence):
    assert dry_run("--artist", "The Testers:1,Quiet Ones:2").code == 0
    says_one_sentence(dry_run("--artist", "The Testers:1,Quiet One:2"), "artist='Quiet One' (did you mean 'quiet ones'")
    says_one_sentence(dry_run("--artist", "The Testers:0,Quiet Ones:0"), "the weights sum to 0")
    says_one_sentence(dry_run("--artist", "7=The Testers,0=Quiet Ones"), "names level 7")


def test_a_mix_is_in_the_side_car_and_sung_again_from_it(generate, run_cli, read_json, tmp_path):
    out, again = tmp_path / "song.wav", tmp_path / "again.wav"
    assert generate(out, "--artist", "The Testers:1,Quiet Ones:3", "--seed", 3).code == 0
    assert read_json(out.with_suffix(".json"))["request"]["artist"] == "The Testers:1,Quiet Ones:3"
    lines = tmp_path / "songs.jsonl"
    lines.write_text('{"artist": {"The Testers": 1, "Quiet Ones": 3}, "seed": 3, "name": "again"}\n')
    assert generate(f"{tmp_path}/", "--songs-file", lines).code == 0
    assert again.read_bytes() == out.read_bytes()
    assert generate(tmp_path / "plain.wav", "--artist", "Quiet Ones", "--seed", 3).code == 0
    assert (tmp_path / "plain.wav").read_bytes() != out.read_bytes()
