"""The commands that make, continue and refine songs, and turn audio into codes and back.

Flows in: words of a command line. Flows out: files the user named, one JSON or a few lines on stdout. What is heavy is
imported when a command runs, so that `--help` is quick.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jukebox_hf.app.output import say, say_found, say_json, say_line
from jukebox_hf.model.checks.text_input import check_here

if TYPE_CHECKING:
    from jukebox_hf.app.runs.song_runs import RunOptions

_SONG = "The song"
_DRAW = "How it is drawn"
_RUN = "The run"


def in_lower_case(word: str | None) -> str | None:
    """A word out of a few, as they are written: MP3 means mp3."""
    return None if word is None else word.strip().lower()


Model = Annotated[str | None, typer.Option(help="A converted repository, a name on the Hub, or tiny (in here).")]
Revision = Annotated[str | None, typer.Option(help="A branch, tag or commit of a model on the Hub.")]
Lyrics = Annotated[str | None, typer.Option(help="All lyrics of the song.", rich_help_panel=_SONG)]
LyricsFile = Annotated[
    Path | None,
    typer.Option(
        help="A text file with the lyrics, or the .json of an older song.", callback=check_here, rich_help_panel=_SONG
    ),
]
Artist = Annotated[
    str | None, typer.Option(help="Who sings, as `jukebox-hf labels list` names them.", rich_help_panel=_SONG)
]
Genre = Annotated[
    str | None,
    typer.Option(help="What kind of music it is, as `jukebox-hf labels list` names it.", rich_help_panel=_SONG),
]
Strict = Annotated[
    bool | None,
    typer.Option(
        "--strict/--no-strict",
        help="Stop where an artist or genre is not listed but a listed name is close (the default), or go on with "
        "'unknown' in its place.",
        show_default=False,
        rich_help_panel=_SONG,
    ),
]
Seconds = Annotated[
    float | None, typer.Option(help="How long the audio is to be, given sound included.", rich_help_panel=_SONG)
]
SongSeconds = Annotated[
    float | None, typer.Option(help="Length of the whole song that the audio is part of.", rich_help_panel=_SONG)
]
Offset = Annotated[
    float | None, typer.Option(help="The second of the whole song where the audio begins.", rich_help_panel=_SONG)
]
LyricsFrom = Annotated[
    float | None, typer.Option(help="The second of the audio where the lyrics begin.", rich_help_panel=_SONG)
]
Prompt = Annotated[str | None, typer.Option(help="A recording to go on from.", rich_help_panel=_SONG)]
PromptSeconds = Annotated[
    float | None,
    typer.Option(help="How many seconds of the recording to keep; all of it if left out.", rich_help_panel=_SONG),
]
Seed = Annotated[
    int | None, typer.Option(help="The same seed makes the same song; one is drawn if left out.", rich_help_panel=_DRAW)
]
Levels = Annotated[
    str | None,
    typer.Option(help="The levels to write, such as 2,1,0 for all or 2 for the top level only.", rich_help_panel=_DRAW),
]
HopFraction = Annotated[
    str | None, typer.Option(help="New part of each next window: 0.5, or by level 2=0.125.", rich_help_panel=_DRAW)
]
Temperature = Annotated[
    str | None,
    typer.Option(
        help="How freely codes are drawn; one number such as 0.99, or by level 2=0.99,1=0.9.", rich_help_panel=_DRAW
    ),
]
TopK = Annotated[
    str | None,
    typer.Option(help="Draw only from the k likeliest codes; one number, or by level 2=100.", rich_help_panel=_DRAW),
]
TopP = Annotated[
    str | None,
    typer.Option(
        help="Draw only from the likeliest codes that together reach this probability.", rich_help_panel=_DRAW
    ),
]
ParallelWindows = Annotated[
    bool,
    typer.Option(
        "--parallel-windows", help="Upsamplers write windows side by side: faster, another song.", rich_help_panel=_DRAW
    ),
]
Count = Annotated[int, typer.Option(help="How many songs, with seeds that count on.", rich_help_panel=_RUN)]
Title = Annotated[
    str | None,
    typer.Option(help="What the song is called: written into its file, side-car and picture.", rich_help_panel=_SONG),
]
Format = Annotated[
    str | None,
    typer.Option(
        help="wav (16 bit), wav24, wavfloat, flac, flac24, mp3, ogg or opus; else what --out ends in.",
        callback=in_lower_case,
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(
        help="none keeps the loudness; peak puts the loudest sample at full scale (mp3, ogg, opus: 1 dB under it).",
        callback=in_lower_case,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="keep, float32, bfloat16, float16, or int8 (torchao).", callback=in_lower_case, rich_help_panel=_RUN
    ),
]
Device = Annotated[
    str,
    typer.Option(help="Where to sample: auto, cpu, cuda:1 and so on.", callback=in_lower_case, rich_help_panel=_RUN),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Songs, or parallel windows, written at once; else as many as fit.", rich_help_panel=_RUN),
]
Offload = Annotated[
    bool | None,
    typer.Option(
        "--offload/--no-offload",
        help="Priors wait in the CPU's memory; else where that helps many songs.",
        rich_help_panel=_RUN,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        help="How each step of a prior is computed: auto, eager, cpp, cuda_graph or triton.",
        callback=in_lower_case,
        rich_help_panel=_RUN,
    ),
]
Out = Annotated[
    str | None, typer.Option(help="The file to write, for one song; or a folder/, for any number.", callback=check_here)
]
Force = Annotated[bool, typer.Option("--force", help="Replace the song that is there.", rich_help_panel=_RUN)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be done, and its time and memory; nothing is written.", rich_help_panel=_RUN
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.", rich_help_panel=_RUN)]
Codes = Annotated[
    Path, typer.Argument(help="song.codes.safetensors, or the song.json or song.wav beside it.", callback=check_here)
]

_NOT_OF_SONG = {"lyrics_file", "count", "batch", "out", "as_json", "keep", "codes"} | {
    *("batch_size", "device", "offload", "backend", "resume", "force", "dry_run")  # how to run it
}
_NOT_INHERITED = ("kind", "prompt", "prompt_seconds", "codes", "keep_seconds", "seconds", "levels", "format")


def add_song_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    examples = {
        generate: "Examples:  jukebox-hf generate --model my-jukebox --lyrics 'Row, row' --artist 'Alan Jackson' "
        "--out song.wav  |  ... --batch songs.jsonl --out songs/  |  jukebox-hf generate --resume --out song.wav",
        continue_song: "Example:  jukebox-hf continue song.wav --seconds 40 --out longer.wav",
        upsample: "Example:  jukebox-hf upsample sketch.codes.safetensors --out song.wav",
        encode: "Example:  jukebox-hf encode record.flac record.safetensors --model my-jukebox",
        decode: "Example:  jukebox-hf decode song.codes.safetensors top.wav --level 2",
    }
    for command, epilog in examples.items():
        app.command(command.__name__.replace("_song", ""), epilog=epilog)(command)


def generate(
    ctx: typer.Context,
    model: Model = None,
    out: Out = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    artist: Artist = None,
    genre: Genre = None,
    strict: Strict = None,
    title: Title = None,
    seconds: Seconds = None,
    song_seconds: SongSeconds = None,
    offset: Offset = None,
    lyrics_from: LyricsFrom = None,
    prompt: Prompt = None,
    prompt_seconds: PromptSeconds = None,
    seed: Seed = None,
    levels: Levels = None,
    hop_fraction: HopFraction = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    parallel_windows: ParallelWindows = False,
    count: Count = 1,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="songs.jsonl: a song per line, named as these options.", callback=check_here, rich_help_panel=_RUN
        ),
    ] = None,
    batch_size: BatchSize = None,
    format: Format = None,
    normalize: Normalize = None,
    dtype: Dtype = None,
    revision: Revision = None,
    device: Device = "auto",
    offload: Offload = None,
    backend: Backend = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run stopped.", rich_help_panel=_RUN)
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make songs from words, or from a recording to go on from."""
    from jukebox_hf.app.runs.requests import read_batch
    from jukebox_hf.app.runs.song_runs import unfinished_in
    from jukebox_hf.data.audio_io import suffix_of
    from jukebox_hf.model.checks.validation import require

    said = _said(ctx)
    require(batch is None or count == 1, "--batch and --count exclude each other; repeat lines of the batch instead")
    songs = _counted(said, count)
    if batch is not None:
        songs = [said | {k: v for k, v in song.items() if v is not None} for song in read_batch(batch)]
    elif resume and out is not None and not set(said) - {"kind"} and Path(out).is_dir():
        songs = [said | {"name": name} for name in unfinished_in(Path(out))]
        require(len(songs) > 0, f"{out} holds no unfinished song; nothing is left to resume")
    if batch is not None and seed is not None:  # songs count on from it, unless a line says its own
        songs = [song if song["seed"] != seed else song | {"seed": seed + i} for i, song in enumerate(songs)]
    if out is None:
        out = "songs/" if batch is not None or count > 1 else f"song{suffix_of(format or 'wav')}"
    _run(songs, ctx, out)


def continue_song(
    ctx: typer.Context,
    codes: Codes,
    seconds: Seconds = None,
    out: Out = None,
    keep: Annotated[float | None, typer.Option(help="Keep only these first seconds.", rich_help_panel=_SONG)] = None,
    model: Model = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    artist: Artist = None,
    genre: Genre = None,
    strict: Strict = None,
    title: Title = None,
    song_seconds: SongSeconds = None,
    offset: Offset = None,
    lyrics_from: LyricsFrom = None,
    seed: Seed = None,
    levels: Levels = None,
    hop_fraction: HopFraction = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    parallel_windows: ParallelWindows = False,
    format: Format = None,
    normalize: Normalize = None,
    count: Count = 1,
    dtype: Dtype = None,
    revision: Revision = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    offload: Offload = None,
    backend: Backend = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Go on from a song: its codes are kept, its words are used again unless said otherwise."""
    said = _inherited(ctx, codes) | ({} if keep is None else {"keep_seconds": keep})
    _run(_counted(said, count), ctx, out or ("continued/" if count > 1 else "continued.wav"))


def upsample(
    ctx: typer.Context,
    codes: Codes,
    out: Out = None,
    model: Model = None,
    lyrics: Lyrics = None,
    lyrics_file: LyricsFile = None,
    artist: Artist = None,
    genre: Genre = None,
    strict: Strict = None,
    title: Title = None,
    seconds: Seconds = None,
    song_seconds: SongSeconds = None,
    offset: Offset = None,
    lyrics_from: LyricsFrom = None,
    seed: Seed = None,
    levels: Levels = None,
    hop_fraction: HopFraction = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    parallel_windows: ParallelWindows = False,
    format: Format = None,
    normalize: Normalize = None,
    dtype: Dtype = None,
    revision: Revision = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    offload: Offload = None,
    backend: Backend = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write the finer levels of a song whose coarser codes are there."""
    _run([_inherited(ctx, codes)], ctx, out or "upsampled.wav")


def encode(
    audio: Annotated[str, typer.Argument(help="A recording; kinds beyond WAV, FLAC, OGG and MP3 need ffmpeg.")],
    out: Annotated[Path, typer.Argument(help="The file of codes to write, *.safetensors.", callback=check_here)],
    model: Model = None,
    revision: Revision = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn a recording into codes of every level."""
    from jukebox_hf.app.transcoding import encode_file

    found = encode_file(audio, out, model or "", revision=revision, device=device, force=force)
    say_found(found, as_json, f"{out}: {found['seconds']:.4g} s, codes by level {found['codes']}")


def decode(
    codes: Codes,
    out: Annotated[
        Path, typer.Argument(help="The audio file to write: .wav, .flac, .mp3, .ogg or .opus.", callback=check_here)
    ],
    level: Annotated[
        int | None, typer.Option(help="Which level to hear; the finest that is there if left out.")
    ] = None,
    model: Model = None,
    revision: Revision = None,
    format: Format = None,
    normalize: Normalize = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn the codes of one level into audio."""
    from jukebox_hf.app.transcoding import DecodedAudioOptions, decode_file, find_codes

    path, sidecar = find_codes(codes)
    options = DecodedAudioOptions(level, format, normalize or "none", device, force)
    found = decode_file(path, out, model or (sidecar or {}).get("model"), options, revision=revision)
    say_found(found, as_json, f"{out}: {found['seconds']:.4g} s of level {found['level']}")


def _said(ctx: typer.Context) -> dict[str, Any]:
    """What the user said of the song, by the names of `SongRequest`."""
    from jukebox_hf.app.transcoding import read_lyrics
    from jukebox_hf.model.checks.validation import require

    require(ctx.params.get("out") != "", "--out is empty; name a file, or a folder with / at its end")
    said = {k: v for k, v in ctx.params.items() if v is not None and v is not False and k not in _NOT_OF_SONG}
    if ctx.params.get("strict") is False:
        said["strict"] = False
    if (file := ctx.params.get("lyrics_file")) is not None:
        require("lyrics" not in said, "--lyrics and --lyrics-file exclude each other; choose one")
        said["lyrics"] = read_lyrics(Path(file))
    return said | {"kind": ctx.info_name}


def _counted(said: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """So many songs of which the same was said; their seeds count on from one that was."""
    from jukebox_hf.app.runs.requests import MOST_SONGS
    from jukebox_hf.model.checks.validation import require

    require(0 < count <= MOST_SONGS, f"--count {count} must be 1 to {MOST_SONGS}; make more in several commands")
    return [said | ({"seed": said["seed"] + place} if "seed" in said else {}) for place in range(count)]


def _inherited(ctx: typer.Context, codes: Path) -> dict[str, Any]:
    """The words of the older song, under what is said now."""
    from jukebox_hf.app.transcoding import find_codes, told_by_codes

    path, older = find_codes(codes)
    said = _said(ctx) | {"codes": str(path)}
    told = told_by_codes(path, said, lambda line: say_line(line, err=True)) if older is None else older
    inherited = {k: v for k, v in told.items() if k not in _NOT_INHERITED and v is not None}
    if older is not None and not set(said) & {"artist", "genre"}:
        inherited["strict"] = older.get("strict", False)  # the names were accepted when the older song was made
    else:
        inherited.pop("strict", None)
    grows = said["kind"] == "continue"  # without --seconds by as much as a song has by default
    needed = said.get("seconds", math.inf if grows else 0) + said.get("offset", inherited.get("offset", 0))
    if inherited.get("song_seconds", math.inf) < needed:
        del inherited["song_seconds"]  # the song grew
    return inherited | said


def _run(songs: list[dict[str, Any]], ctx: typer.Context, out: str) -> None:
    from jukebox_hf.app.runs.song_runs import RunOptions, SongsFailedError, run_songs

    names = ("batch_size", "device", "offload", "backend", "resume", "force", "dry_run")
    options = RunOptions(out=out, **{name: ctx.params[name] for name in names if name in ctx.params})
    try:
        results, failure = run_songs(songs, options), None
    except SongsFailedError as error:  # what is finished is told all the same
        results, failure = error.results, error
    _tell(results, ctx, options)
    if failure is not None:
        raise failure


def _tell(results: list[dict[str, Any]], ctx: typer.Context, options: "RunOptions") -> None:
    from jukebox_hf.app.runs.requests import read_request, replaced_source, short_repeat_line
    from jukebox_hf.app.runs.song_folder import is_folder

    folder = Path(options.out) if is_folder(options.out) else Path(options.out).parent
    if ctx.params["as_json"]:
        say_json({"songs": results})
        return
    for result in results:
        if options.dry_run:
            say(result["text"])
            continue
        audio = result["audio"]
        say_line(f"{result['files']['audio']}: {audio['seconds']:.4g} s, seed {result['seed']}")
        if audio["num_clamped"]:
            say_line(f"  {audio['num_clamped']} samples were beyond full scale; --normalize peak keeps their shape")
        request, files = read_request(result["request"]), {k: folder / name for k, name in result["files"].items()}
        replaced = replaced_source(request, files.values())
        no_line = f"no line makes it again: it took the place of {replaced}, from which it goes on"
        say_line(f"  {no_line}" if replaced else f"  again: {short_repeat_line(request, files['audio'])}")
