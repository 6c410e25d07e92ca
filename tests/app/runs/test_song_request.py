"""An option is declared once, as a field: from there it is in --help, songs.jsonl, `again:`, the pages, the pipeline.

A new option needs an example here; a cut of sampling has its one in tests/conftest.py, and no other.
"""

import json
import runpy
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from jukebox_hf import SamplingSettings, tiny_repository
from jukebox_hf.app import transcoding
from jukebox_hf.app.options import flag_of, options_of
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs import song_runs
from jukebox_hf.app.runs.requests import SONGS_FILE_WORDS, read_songs_file, repeat_line
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SONG_COMMANDS, SONG_OPTIONS, SongRequest, drawing_arguments, read_request
from jukebox_hf.model.inputs.processing_jukebox import SONG_WORDS
from jukebox_hf.model.pipeline_jukebox import _DIRECT
from jukebox_hf.model.songs.generation_arguments import default_generation_config, read_generate_arguments

ROOT = Path(__file__).parents[3]
EXAMPLES = {
    "kind": "upsample",
    "model": "my-jukebox",
    "revision": "main",
    "dtype": "bfloat16",
    "adapter": ["band:0.7", "style.safetensors"],
    "lyrics": "row, row",
    "lyrics_written": True,
    "lyric_times": "0@1.5,5@2.25",
    "artist": "Bo Vale",
    "genre": "folk",
    "strict": False,
    "title": "Row",
    "seconds": 12.5,
    "song_seconds": 30.0,
    "offset": 1.5,
    "lyrics_from": 2.0,
    "prompt": "prompt.wav",
    "prompt_seconds": 3.0,
    "prompt_sha256": "0" * 64,
    "codes": "a.codes.safetensors",
    "keep_seconds": 4.0,
    "from_second": 4.2,
    "to_second": 6.8,
    "seed": 17,
    "levels": "2,1",
    "hop_fraction": "2=0.125",
    "temperature": "2=0.98,1=0.9",
    "recall": "0-2@8",
    "follow_lyrics": True,
    "guidance_scale": "2=3.0",
    "guidance_on": "labels",
    "lyrics_guidance": "2.5",
    "draw": "gumbel",
    "parallel_windows": True,
    "stereo": True,
    "takes": 8,
    "keep": 2,
    "choose_by": "lyrics",
    "format": "flac",
    "normalize": "peak",
}
RUN_EXAMPLES = {
    "out": "b.wav",
    "batch_size": 3,
    "device": "cpu",
    "offload": False,
    "backend": "eager",
    "jacobi": "1=8,0=auto",
    "resume": True,
    "force": True,
    "dry_run": True,
}
TYPED = [name for name, option in SONG_OPTIONS.items() if option.commands]


@pytest.fixture
def example(cuts):
    """What somebody may say of a field of `SongRequest`: (name) -> a value that is no default."""
    examples = EXAMPLES | {cut.name: f"2={cut.number}" for cut in cuts}

    def of(name):
        assert name in examples, (
            f"{name} has no example: add one to EXAMPLES; or, of a cut, to _CUTS, tests/conftest.py"
        )
        return examples[name]

    return of


@pytest.fixture
def said(run_cli, monkeypatch):
    """What a command line asks for: (*words) -> what was said of the songs, and how to run; nothing is made."""
    found = []
    monkeypatch.setattr(song_runs, "run_songs", lambda *asked: found.append(asked) or [])
    monkeypatch.setattr(transcoding, "find_codes", lambda path: (path, {"strict": True}))

    def run(*words):
        done = run_cli(*words, "--json")
        assert done.code == 0, done.err
        return found.pop()

    return run


def test_every_field_has_an_example_that_is_no_default(example, cuts):
    assert {*EXAMPLES, *(cut.name for cut in cuts)} <= {field.name for field in fields(SongRequest)}
    assert list(RUN_EXAMPLES) == [field.name for field in fields(RunOptions)]
    for kind, of in ((SongRequest, example), (RunOptions, RUN_EXAMPLES.get)):
        assert all(of(field.name) != field.default for field in fields(kind))
        assert list(options_of(kind)) == [field.name for field in fields(kind)]


@pytest.mark.parametrize("name", [field.name for field in fields(SamplingSettings)])
def test_all_that_is_said_of_a_draw_can_be_said_of_a_song(name):
    arguments = [option.argument for option in SONG_OPTIONS.values()]
    assert name in arguments, f"{name} is no option of the commands: add a field to SongRequest, with its help"


@pytest.mark.parametrize("command", SONG_COMMANDS)
def test_every_field_is_an_option_of_the_commands_that_it_names(run_cli, command):
    told, options = run_cli(command, "--help").out, SONG_OPTIONS | options_of(RunOptions)
    taken = {flag_of(name, option) for name, option in options.items() if command in option.commands}
    for name, option in options.items():  # `--keep` is of takes for one command, of seconds for another
        assert (f"{flag_of(name, option)} " in told) == (flag_of(name, option) in taken), name


@pytest.mark.parametrize("name", TYPED)
def test_every_field_comes_back_from_a_side_car_through_the_printed_line(said, name, example):
    kind = SONG_OPTIONS[name].commands[0]
    codes = {} if kind == "generate" else {"codes": "a.codes.safetensors"}
    request = read_request({"kind": kind, **codes, name: example(name)})
    kept = read_request(json.loads(json.dumps(request.to_dict())))
    assert kept == request
    words = shlex.split(repeat_line(kept, Path("a.wav")))
    assert words[:3] == ["python", "-m", "jukebox_hf"]
    (song,), _ = said(*words[3:])
    assert song[name] == example(name)
    assert read_request(song) == request


@pytest.mark.parametrize("name", SONG_OPTIONS)
def test_songs_files_take_every_field_that_may_differ_between_songs(tmp_path, name, example):
    path, option = tmp_path / "songs.jsonl", SONG_OPTIONS[name]
    path.write_text(json.dumps({name.replace("_", "-"): example(name)}))
    if name in SONGS_FILE_WORDS:
        assert read_songs_file(path)[0][name] == example(name)
        return
    assert option.of == "model" or "generate" not in option.commands
    with pytest.raises(ValueError, match=f"line 1, has {name}, which is (the same for all songs|no option of a song)"):
        read_songs_file(path)


@pytest.mark.parametrize("name", [name for name, option in SONG_OPTIONS.items() if option.argument])
def test_every_option_of_drawing_is_an_argument_of_generate_and_of_the_pipeline(name, example):
    argument, beside = SONG_OPTIONS[name].argument, {"guidance_on": {"guidance_scale": "3"}}.get(name, {})
    assert argument in _DIRECT
    config = configuration_of(tiny_repository())
    own = default_generation_config(config)
    said, without = (drawing_arguments(read_request(words)) for words in ({name: example(name), **beside}, beside))
    assert read_generate_arguments(config, own, None, said) != read_generate_arguments(config, own, None, without)


def test_every_word_of_a_song_is_one_of_the_processor():
    apart = {"seconds", "prompt", "seed"}  # cut, or counted on, before the processor has them
    assert {name for name, option in SONG_OPTIONS.items() if option.is_word} | apart == set(SONG_WORDS)


@pytest.mark.parametrize("name", RUN_EXAMPLES)
def test_every_option_of_a_run_reaches_it(said, name):
    value, flag = RUN_EXAMPLES[name], flag_of(name, options_of(RunOptions)[name], RUN_EXAMPLES[name])
    _, options = said("generate", flag, *([] if isinstance(value, bool) else [value]))
    assert getattr(options, name) == value


def test_what_is_not_said_is_left_open(said):
    songs, options = said("generate")
    assert songs == [{"kind": "generate"}]
    assert options == RunOptions(out="song.wav")


def test_the_page_of_options_is_what_the_fields_say():
    written = runpy.run_path(str(ROOT / "docs/reference/write_command_line_page.py"))
    assert written["PAGE"].read_text(encoding="utf-8") == written["page"](), "run `make pages`"
    for name, option in (SONG_OPTIONS | options_of(RunOptions)).items():
        assert (f"`{flag_of(name, option)}`" in written["page"]()) == bool(option.commands)


def test_the_old_name_of_the_songs_file_is_told(run_cli, says_one_sentence):
    says_one_sentence(
        run_cli("generate", "--batch", "songs.jsonl"), "--batch is called --songs-file now", "--songs-file songs.jsonl"
    )
    assert "--batch " not in run_cli("generate", "--help").out
