"""The commands that make, continue and refine songs, and turn audio into codes and back.

Flows in: words of a command line. Flows out: files the user named, one JSON or a few lines on stdout. What is heavy is
imported when a command runs, so that `--help` is quick.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_hf.app.older_songs import inherited, naming_older
from jukebox_hf.app.options import PANELS, Json, as_command
from jukebox_hf.app.output import clean, say, say_found, say_json, say_line
from jukebox_hf.app.runs.requests import MOST_SONGS_PER_COMMAND, read_songs_file, replaced_source, short_repeat_line
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import COMMAND_LINE, SONG_OPTIONS, SongRequest, read_request, said_as
from jukebox_hf.model.checks.seeds import check_last_seed, later_seed
from jukebox_hf.model.checks.takes_wanted import read_takes
from jukebox_hf.model.checks.text_input import check_here, check_no_file_name
from jukebox_hf.model.checks.validation import require

Count = Annotated[
    int, typer.Option(help="Number of songs to make, with seeds that count on.", rich_help_panel=PANELS["run"])
]
Codes = Annotated[
    Path,
    typer.Argument(
        help="File of codes, song.codes.safetensors, or the song.json or song.wav beside it.", callback=check_here
    ),
]


def add_song_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    songs = {
        "generate": (
            generate,
            "Examples:  jukebox-hf generate --model my-jukebox --lyrics 'Row, row' --artist 'Alan Jackson' --out "
            "song.wav  |  ... --songs-file songs.jsonl --out songs/  |  jukebox-hf generate --resume --out song.wav",
        ),
        "continue": (continue_song, "Example:  jukebox-hf continue song.wav --seconds 40 --out longer.wav"),
        "upsample": (upsample, "Example:  jukebox-hf upsample sketch.codes.safetensors --out song.wav"),
        "repaint": (
            repaint,
            "Example:  jukebox-hf repaint song.wav --from 4.2 --to 6.8 --takes 8 --out mended.wav",
        ),
    }
    for name, (function, epilog) in songs.items():
        app.command(name, epilog=epilog)(as_command(function, name, RunOptions, SongRequest))
    of_both = ("model", "revision", "device", "force")
    app.command("encode", epilog="Example:  jukebox-hf encode record.flac record.safetensors --model my-jukebox")(
        as_command(encode, "encode", RunOptions, SongRequest, only=of_both)
    )
    app.command("decode", epilog="Example:  jukebox-hf decode song.codes.safetensors top.wav --level 2")(
        as_command(decode, "decode", RunOptions, SongRequest, only=(*of_both, "format", "normalize"))
    )


def generate(
    *,
    count: Count = 1,
    songs_file: Annotated[
        Path | None,
        typer.Option(
            help="File of songs, songs.jsonl: one song per line, in the names of these options.",
            callback=check_here,
            rich_help_panel=PANELS["run"],
        ),
    ] = None,
    batch: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Make songs from words, or from a recording to go on from."""
    from jukebox_hf.app.runs.partial_folder import unfinished_in
    from jukebox_hf.data.audio_io import suffix_of

    require(batch is None, f"--batch is called --songs-file now: --songs-file {batch}")
    said, run = _said("generate", options), _run_options(options)
    seed, out = said.get("seed"), run.out
    require(
        songs_file is None or count == 1,
        "--songs-file and --count exclude each other; repeat lines of the file instead",
    )
    songs = _counted(said, count)
    if songs_file is not None:
        songs = [said | {k: v for k, v in song.items() if v is not None} for song in read_songs_file(songs_file)]
    elif run.resume and out is not None and not set(said) - {"kind"} and Path(out).is_dir():
        songs = [said | {"name": name} for name in unfinished_in(Path(out))]
        require(len(songs) > 0, f"{out} holds no unfinished song; nothing is left to resume")
    if songs_file is not None and seed is not None:  # songs count on from it, unless a line says its own
        counting = [number for number, song in enumerate(songs, start=1) if song["seed"] == seed]
        check_last_seed(seed, max(counting, default=1), f"the {len(songs)} lines of {songs_file}")
        songs = [song if song["seed"] != seed else song | {"seed": later_seed(seed, i)} for i, song in enumerate(songs)]
    require(
        count == 1 or (said.get("takes") or 1) == 1,
        "--count and --takes exclude each other; --keep says how many of the takes become songs",
    )
    songs = _kept(songs)
    is_one = songs_file is None and len(songs) == 1
    _run(songs, run, f"song{suffix_of(said.get('format') or 'wav')}" if is_one else "songs/", as_json)


def continue_song(codes: Codes, *, count: Count = 1, as_json: Json = False, **options: Any) -> None:
    """Go on from a song: its codes are kept, its words are used again unless said otherwise."""
    _go_on("continue", codes, options, "continued/" if count > 1 else "continued.wav", as_json, count)


def upsample(codes: Codes, *, as_json: Json = False, **options: Any) -> None:
    """Write the finer levels of a song whose coarser codes are there."""
    _go_on("upsample", codes, options, "upsampled.wav", as_json)


def repaint(codes: Codes, *, as_json: Json = False, **options: Any) -> None:
    """Sing a stretch of a song again: all else stays, code for code; the best of several takes is kept."""
    _go_on("repaint", codes, options, "repainted.wav", as_json)


def encode(
    audio: Annotated[
        str,
        typer.Argument(
            help="Recording to encode, or a folder of them; formats beyond WAV, FLAC, OGG and MP3 need ffmpeg."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="File of codes to write, *.safetensors, or a folder for many.", callback=check_here)
    ],
    *,
    measure: Annotated[
        bool,
        typer.Option("--measure/--no-measure", help="Decode the codes again, to say how close they are to the sound."),
    ] = True,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Turn recordings into codes of every level, and say what these cost and keep."""
    from jukebox_hf.app.codec import measures_in_words
    from jukebox_hf.app.transcoding import encode_file, encode_folder

    how = {name: options[name] for name in ("revision", "device", "force")} | {"measure": measure}
    model = options["model"] or ""
    if Path(audio).is_dir():
        _tell_folder(encode_folder(Path(audio), out, model, say=_quietly(as_json), **how), as_json, "codes")
        return
    found = encode_file(audio, out, model, **how)
    levels = [measures_in_words(level, **one) for level, one in enumerate(found["levels"])]
    line = f"{out}: {found['seconds']:.4g} s, codes by level {found['codes']}"
    say_json(found) if as_json else say("\n  ".join([clean(line), *levels]))


def decode(
    codes: Annotated[
        Path,
        typer.Argument(
            help="File of codes, song.codes.safetensors, or the song.json or song.wav beside it; or a folder of such.",
            callback=check_here,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="Audio file to write: .wav, .flac, .mp3, .ogg or .opus; or a folder for many.", callback=check_here
        ),
    ],
    *,
    level: Annotated[int | None, typer.Option(help="Level to decode (default: the finest in the file).")] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Turn the codes of one level into audio."""
    from jukebox_hf.app.transcoding import DecodedAudioOptions, decode_file, decode_folder, find_codes

    said = {name: options[name] for name in ("format", "normalize", "device", "force") if options[name] is not None}
    how, revision = DecodedAudioOptions(level, **said), options["revision"]
    if codes.is_dir() and out.suffix == "":
        found = decode_folder(codes, out, options["model"], how, say=_quietly(as_json), revision=revision)
        _tell_folder(found, as_json, "sound")
        return
    path, sidecar = find_codes(codes)
    model = options["model"] or (sidecar or {}).get("model")
    found = decode_file(path, out, model, how, revision=revision)
    cost = f"{found['bits_per_second'] / 1000:.3g} kbit/s"
    say_found(found, as_json, f"{out}: {found['seconds']:.4g} s of level {found['level']}, {cost}")


def _go_on(command: str, codes: Path, options: Mapping[str, Any], out: str, as_json: bool, count: int = 1) -> None:
    """Make one song, or more, of an older one."""
    said = _said(command, options)
    told = inherited(said, codes)
    taken = {name: value for name, value in told.items() if name not in said}
    with naming_older(codes, taken.get("model"), taken.get("adapter") or ()):
        _run(_counted(told, count), _run_options(options), out, as_json)


def _quietly(as_json: bool) -> Any:
    return (lambda line: None) if as_json else say_line


def _tell_folder(found: dict[str, Any], as_json: bool, what: str) -> None:
    changed = f" ({found['changed']} anew, as they were changed)" if found.get("changed") else ""
    there = f", {found['there']} there already" if found["there"] else ""
    skipped = f", {len(found['skipped'])} skipped" if found["skipped"] else ""
    say_found(found, as_json, f"{found['folder']}: {what} of {found['written']} written now{changed}{there}{skipped}")


def _said(command: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said of the song, by the names of `SongRequest`."""
    from jukebox_hf.app.runs.lyric_files import read_lyrics

    said = {name: options[name] for name in SONG_OPTIONS if options.get(name) not in (None, [])}
    if (file := options["lyrics_file"]) is not None:
        require(file != Path(), "--lyrics-file is empty, or this folder; name a file, or leave it out")
        require("lyrics" not in said, "--lyrics and --lyrics-file exclude each other; choose one")
        said |= read_lyrics(file, said.get("lyric_times"))
    else:
        check_no_file_name("--lyrics", said.get("lyrics", ""), [""], "give it with --lyrics-file")
    return said | {"kind": command}


def _run_options(options: Mapping[str, Any]) -> RunOptions:
    require(options["out"] != "", "--out is empty; name a file, or a folder with / at its end")
    return RunOptions(**{one.name: options[one.name] for one in fields(RunOptions) if one.name in options})


def _counted(said: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """So many songs of which the same was said; their seeds count on from one that was."""
    require(
        0 < count <= MOST_SONGS_PER_COMMAND,
        f"--count {count} must be 1 to {MOST_SONGS_PER_COMMAND}; make more in several commands",
    )
    if "seed" not in said:
        return [said] * count
    check_last_seed(said["seed"], count, f"--count {count}")
    return [said | {"seed": later_seed(said["seed"], index)} for index in range(count)]


def _kept(songs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A song for every take that is kept, one or more; those of the same takes are one group."""
    kept: list[dict[str, Any]] = []
    for number, song in enumerate(songs):
        wanted = read_takes(song) if (song.get("takes") or 1) > 1 else None
        is_one = wanted is None or wanted.keep == 1
        kept += [song] if is_one else [song | {"group": f"takes {number}"}] * wanted.keep
    return kept


def _run(songs: list[dict[str, Any]], options: RunOptions, out: str, as_json: bool) -> None:
    """Make songs, in `out` where no --out was said, and tell of them."""
    from jukebox_hf.app.runs.song_runs import SongsFailedError, run_songs

    options = replace(options, out=options.out or out)
    for song in songs:
        where, takes = song.get("where"), song.get("takes") or 1
        counted = f"{said_as('takes', where or COMMAND_LINE)} {takes}"
        check_last_seed(song.get("seed"), takes, counted, f"{where}: seed" if where else "--seed")
    try:
        results, failure = run_songs(songs, options), None
    except SongsFailedError as error:  # what is finished is told all the same
        results, failure = error.results, error
    if as_json:
        say_json({"songs": results})
    else:
        _tell(results, options)
    if failure is not None:
        raise failure


def _tell(results: list[dict[str, Any]], options: RunOptions) -> None:
    from jukebox_hf.app.runs.song_folder import is_folder
    from jukebox_hf.app.runs.song_takes import takes_in_words

    folder = Path(options.out) if is_folder(options.out) else Path(options.out).parent
    for result in results:
        if options.dry_run:
            say(result["text"])
            continue
        audio = result["audio"]
        say_line(f"{result['files']['audio']}: {audio['seconds']:.4g} s, seed {result['seed']}")
        if audio["num_clamped"]:
            say_line(f"  {audio['num_clamped']} samples were beyond full scale; --normalize peak keeps their shape")
        if "stereo" in result:
            say_line(f"  stereo: left and right correlate by {result['stereo']['correlation']:.3f} (1 is mono)")
        request, files = read_request(result["request"]), {k: folder / name for k, name in result["files"].items()}
        for line in takes_in_words(result) if "takes" in files or "repaint" in result else ():
            say_line(line)
        replaced = replaced_source(request, files.values())
        no_line = f"no line makes it again: it took the place of {replaced}, from which it goes on"
        say_line(f"  {no_line}" if replaced else f"  again: {short_repeat_line(request, files['audio'])}")
