"""The commands about lyrics and time: write a song's lyrics in time, and find the head that knows it.

Flows in: words of a command line. Flows out: files the user named, one JSON or a few lines on stdout. What is heavy is
imported when a command runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_hf.app.options import Json, as_command
from jukebox_hf.app.output import say, say_json, say_line
from jukebox_hf.app.progress import warnings_said_after
from jukebox_hf.app.recognition_commands import Separate
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import COMMAND_LINE, SONG_OPTIONS, SongRequest, read_request
from jukebox_hf.model.checks.text_input import check_here, check_no_file_name

_ALIGNED_WORDS = ("lyrics_file", "artist", "genre", "title", "song_seconds", "offset", "lyrics_from")
_OF_PRIORS = ("model", "song_seconds", "offset", "lyrics_from", "strict", "dtype")  # mean nothing to a CTC


def add_alignment_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command(
        "align",
        epilog="Examples: jukebox-hf align song.wav --out timed/  |  "
        "... align record.wav --model my-jukebox --out timed/  |  ... align record.wav --ctc my-ctc --out timed/",
    )(
        as_command(
            align,
            "align",
            RunOptions,
            SongRequest,
            only=(*_ALIGNED_WORDS, "model", "strict", "revision", "dtype", "device", "force"),
        )
    )
    app.command("find-alignment-head", epilog="Example: jukebox-hf find-alignment-head my-jukebox song.json --dry-run")(
        as_command(
            find_alignment_head,
            "find-alignment-head",
            RunOptions,
            SongRequest,
            only=("lyrics_file", "artist", "genre", "device"),
        )
    )


def align(
    song: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] SONG",
            help="SONG: codes, a song that jukebox-hf made, or a recording. MODEL: folder of a converted repository, "
            "its name on the Hub, or tiny, also as --model; may be left out for a song that jukebox-hf made.",
        ),
    ],
    *,
    out: Annotated[str, typer.Option(help="Folder to write into.", callback=check_here)],
    format: Annotated[
        str,
        typer.Option(
            help="Formats to write, with commas between them; metadata adds the song to OUT/metadata.csv, to train on."
        ),
    ] = "lrc,srt,vtt,json,html",
    ctc: Annotated[
        str | None,
        typer.Option(
            help="Speech recogniser of transformers (AutoModelForCTC) that finds the words instead of a Jukebox: "
            "folder, or name on the Hub.",
        ),
    ] = None,
    separate: Separate = None,
    lyrics: Annotated[
        str | None, typer.Option(help="Lyrics that are sung, instead of those beside the song or in a file.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer whose attention is read, instead of the model's alignment_layer.")
    ] = None,
    head: Annotated[
        int | None, typer.Option(help="Head whose attention is read, instead of the model's alignment_head.")
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Write when the lyrics of a song are sung: subtitles, LRC, JSON, a karaoke player."""
    from jukebox_hf.app.alignment_files import align_files, know_song, model_of
    from jukebox_hf.app.alignment_formats import check_listed_recording, plan_files, times_left_in_list
    from jukebox_hf.app.listed_names import check_listed
    from jukebox_hf.app.older_songs import naming_older
    from jukebox_hf.app.repository_facts import configuration_of
    from jukebox_hf.app.runs.planned_songs import open_model, open_processor
    from jukebox_hf.app.runs.song_adapters import read_song_adapters
    from jukebox_hf.model.alignment.alignment import choose_head
    from jukebox_hf.model.alignment.batch_alignment import lyric_level
    from jukebox_hf.model.checks.validation import require
    from jukebox_hf.recognition.separation import separation_words

    require(out != "", "--out is empty; name the folder to write into")
    require(
        lyrics is None or options["lyrics_file"] is None, "--lyrics and --lyrics-file are both given; leave one out"
    )
    options["lyrics"] = lyrics
    words = None if separate is None else separation_words(separate)
    if ctc is not None:
        refused = [name for name in _OF_PRIORS if options[name] not in (None, "")]
        refused += [name for name, value in (("layer", layer), ("head", head)) if value is not None]
        named = "no_strict" if refused[:1] == ["strict"] and options["strict"] is False else "".join(refused[:1])
        require(
            not refused,
            f"--{named.replace('_', '-')} is for a Jukebox, and --ctc reads none; leave one of the two out",
        )
        require(
            len(song) == 1, f"--ctc takes one SONG and no MODEL, but {len(song)} words are given; name the recording"
        )
        _align_by_ctc(Path(check_here(song[0])), ctc, Path(out), format, words, options, as_json)
        return
    require(len(song) <= 2, f"{' '.join(song[2:])} is one word too many: name a MODEL, if any, and one SONG")
    named = options["model"] or None
    require(
        named is None or len(song) == 1,
        f"--model {named} and the MODEL {song[0]} are both named; leave one of the two out",
    )
    require((layer is None) == (head is None), "--layer and --head belong together; give both or neither")
    said = _said(options)
    path = Path(check_here(song[-1]))
    require(path.is_file(), f"{path} is not a file; name codes, a song.json or a recording, after the MODEL if any")
    named = song[0] if len(song) == 2 else named
    model, told, beside = model_of(path) if named is None else (named, None, ())
    revision = options["revision"] or told
    targets = plan_files(path, Path(out), format, options["force"])
    with naming_older(path, model if named is None else None, beside, has_adapter_option=False):
        config = configuration_of(model, revision=revision)
        chosen = choose_head(config.prior_configs[lyric_level(config)], layer, head)
        adapters = read_song_adapters(beside)
        config, processor = adapters.told_to(config, open_processor(config, model, revision))
        if options["strict"] is not False:
            check_listed([said], processor.tokenizer, config)
        opened = adapters.put_on(open_model(model, revision=revision, dtype=options["dtype"], device=options["device"]))
    known = know_song(path, opened, said, words, Path(out))
    check_listed_recording(targets, known.recording, options["force"])
    with warnings_said_after(lambda line: say_line(line, err=True), set()):
        found = align_files(known, opened, processor, targets, chosen)
    _say_aligned(found, as_json)
    _say_left(times_left_in_list(targets, known.recording))


def _align_by_ctc(
    path: Path, ctc: str, out: Path, formats: str, separate: list[str] | None, options: Mapping[str, Any], as_json: bool
) -> None:
    """Align a recording by a CTC and say so; what is wrong is refused before its weights are read."""
    from jukebox_hf.app.alignment_formats import check_listed_recording, plan_files, times_left_in_list
    from jukebox_hf.app.ctc_alignment_files import align_by_ctc
    from jukebox_hf.app.known_recordings import known_recording
    from jukebox_hf.app.runs.device_choice import the_device
    from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer

    file = options["lyrics_file"]
    where = str(file) if file is not None else "" if options["lyrics"] is None else "--lyrics"
    song = known_recording(path, _said(options), where)
    targets = plan_files(path, out, formats, options["force"])
    check_listed_recording(targets, song.path, options["force"])
    device = the_device(options["device"] or "auto")
    recognizer = CTCRecognizer.from_pretrained(ctc, revision=options["revision"], device=device)
    _say_aligned(align_by_ctc(song, recognizer, targets, separate), as_json)
    _say_left(times_left_in_list(targets, song.path))


def _say_left(sentence: str | None) -> None:
    if sentence is not None:
        say_line(sentence, err=True)


def _say_aligned(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    source = found["ctc"] if "ctc" in found else f"layer {found['layer']}, head {found['head']}"
    say_line(f"{found['seconds']:.4g} s, {found['lines']} lines, mean confidence {found['confidence']:.2f} ({source})")
    for path in found["files"].values():
        say_line(f"  {path}")
    if found["confidence"] < 0.1:
        what = "the recogniser hardly hears" if "ctc" in found else "the attention hardly follows"
        say_line(f"  {what} these lyrics: the times are little more than an even spread")


def find_alignment_head(
    model: Annotated[str, typer.Argument(help=SONG_OPTIONS["model"].help)],
    songs: Annotated[
        list[Path],
        typer.Argument(
            help="Songs with lyrics: codes, song.json, a recording NAME.wav with NAME.txt beside it, or a folder."
        ),
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the table of heads; write nothing.")] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Find the layer and head that follow the lyrics, and write them into the model's configuration."""
    from jukebox_hf.app.alignment_files import find_head, table_of_heads
    from jukebox_hf.model.checks.validation import require

    require(
        options["lyrics_file"] is None or len(songs) == 1,
        "--lyrics-file is for one song; put NAME.txt beside each NAME.wav",
    )
    said = _said(options)
    with warnings_said_after(lambda line: say_line(line, err=True), set()):
        scores, level = find_head(model, songs, said, device=options["device"], dry_run=dry_run)
    if as_json:
        rows = [vars(one) | {"score": one.score} for one in scores]
        say_json({"level": level, "written": not dry_run, "heads": rows})
        return
    say(table_of_heads(scores))
    best = f"layer {scores[0].layer}, head {scores[0].head}"
    if scores[0].score < 0.1:
        say_line("even the best one hardly follows these lyrics; try songs whose singing is clear")
    say_line(f"best: {best}; nothing was written" if dry_run else f"wrote {best} into {model}/config.json")


def _said(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said, by the names of `JukeboxProcessor`."""
    from jukebox_hf.app.runs.lyric_files import read_lyrics

    words = {name: options[name] for name in _ALIGNED_WORDS if name in options and name != "lyrics_file"}
    file, lyrics = options["lyrics_file"], options.get("lyrics")
    read_request(words | {"lyrics": lyrics}, COMMAND_LINE)  # refuses what is no such word, before a model is opened
    if file is not None:
        lyrics = read_lyrics(file, cure="write the lyrics that are sung into it")["lyrics"]
    else:
        check_no_file_name("--lyrics", lyrics or "", [""], "give it with --lyrics-file")
    return {"lyrics": lyrics, **words}
