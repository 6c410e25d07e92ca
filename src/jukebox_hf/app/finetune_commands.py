"""The command that fine-tunes a Jukebox on a folder of songs, from sound to a whole Jukebox.

Flows in: words of a command line. Flows out: a folder, lines on stderr, and what to type next on stdout. What is heavy
is imported when the command runs, so that `--help` is quick.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from jukebox_hf.app.options import Json, in_lower_case
from jukebox_hf.app.output import say, say_json, say_line, shell_word
from jukebox_hf.app.training_commands import PANEL, needs_of_training
from jukebox_hf.model.checks.text_input import check_here, check_way
from jukebox_hf.model.checks.validation import require

_ROOM = "jukebox_hf.app.finetuning"
_FINETUNE_EXAMPLES = (
    'Examples:  jukebox-hf finetune songs/ my-own-jukebox --model my-jukebox --artist "My Band"  |  jukebox-hf '
    "finetune songs/ my-own-jukebox --model tiny --dry-run"
)


def add_finetune_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command("finetune", epilog=_FINETUNE_EXAMPLES, rich_help_panel=PANEL)(finetune)


def finetune(
    songs: Annotated[str, typer.Argument(help="Folder of recordings, parquet files, or a data set of the Hub.")],
    out: Annotated[Path, typer.Argument(help="Folder to make: a whole Jukebox.", callback=check_here)],
    model: Annotated[
        str, typer.Option(help="Jukebox to begin from: folder, name on the Hub, or tiny (inside the package).")
    ] = "",
    artist: Annotated[
        str | None, typer.Option(help="Artist of all songs, where no metadata.csv names them: a name that is new.")
    ] = None,
    genre: Annotated[
        str | None, typer.Option(help="Genre of all songs, where no metadata.csv names it (default: unknown).")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Weights to train: full (all weights), lora (adapters), style (a vector for each new artist, all else "
            "frozen), or auto: full where memory allows, else lora.",
            callback=in_lower_case,
        ),
    ] = "auto",
    levels: Annotated[
        str | None,
        typer.Option(help="Levels to train, such as 2 or 2,1 (default: all, and those that profit are kept)."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of the adapters, which are trained then (default: 16, where lora is).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate (default: 0.0001 for full, 0.001 for lora, 0.1 for style).")
    ] = None,
    name_rate: Annotated[
        float | None,
        typer.Option(
            help="Learning rate of the vectors of new names, while known ones keep theirs; 0: all names learn as all "
            "else (default: 0.1)."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of steps for each level at most (default: by the length of the songs).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Number of windows at once (default: what fits into memory).")
    ] = None,
    replay: Annotated[
        int,
        typer.Option(
            help="Number of songs of its old artists that the model makes and hears again, so that it keeps them; "
            "none with --method style, which changes none of them."
        ),
    ] = 16,
    replay_share: Annotated[float, typer.Option(help="Share of the windows that are of old songs.")] = 0.5,
    old_songs: Annotated[
        str | None, typer.Option(help="Recordings by its old artists to replay, instead of songs that it makes.")
    ] = None,
    early_stop: Annotated[
        int, typer.Option(help="Number of evaluations without gain after which training stops; 0: never.")
    ] = 3,
    bf16: Annotated[
        str,
        typer.Option(help="Compute in bfloat16: true, false, or auto: where the device does.", callback=in_lower_case),
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="Device to train on: auto, cpu or cuda.", callback=in_lower_case)
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Random seed: the same seed gives the same Jukebox.")] = 0,
    sample_seconds: Annotated[
        float | None, typer.Option(help="Length of the sample song in seconds; 0 for none (default: 6).")
    ] = None,
    sample_lyrics: Annotated[str, typer.Option(help="Lyrics of the sample song.")] = "",
    keep_adapter: Annotated[
        Path | None,
        typer.Option(help="Folder to make besides: the adapters of lora alone, for the Hub.", callback=check_here),
    ] = None,
    allow_outside_files: Annotated[
        bool, typer.Option("--allow-outside-files", help="Let lists and tables name any file of this machine.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and its time, memory and disk; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a Jukebox on your songs: from a folder of audio to a whole Jukebox that knows your band.

    A stopped run goes on when the same line is run again; what it needs for that lies in OUT.finetune/.
    """
    require(model != "", "--model is missing: name the Jukebox to begin from, such as --model my-jukebox, or tiny")
    check_way(str(out), out)
    with needs_of_training("finetune"):
        run, report = map(import_module, (f"{_ROOM}.finetune_run", f"{_ROOM}.report"))
        costs = import_module(f"{_ROOM}.disk_and_time")
        request = import_module(f"{_ROOM}.finetune_request").FinetuneRequest(
            songs=songs,
            model=model,
            artist=artist,
            genre=genre,
            method=method,
            levels=None if levels is None else _level_list(levels),
            rank=rank,
            learning_rate=learning_rate,
            name_rate=name_rate,
            steps=steps,
            batch_size=batch_size,
            replay=replay,
            replay_share=replay_share,
            old_songs=old_songs,
            early_stop=early_stop,
            bf16=bf16,
            device=device,
            seed=seed,
            sample_seconds=sample_seconds,
            sample_lyrics=sample_lyrics,
            allow_outside_files=allow_outside_files,
            keep_adapter=None if keep_adapter is None else str(keep_adapter),
        )
    found = run.run_finetuning(request, out, lambda line: say_line(f"jukebox-hf: {line}", err=True), dry_run)
    if as_json:
        say_json(found | ({} if dry_run else {"folder": str(out)}))
        return
    say("\n".join(costs.costs_in_words(found) if dry_run else report.closing_lines(found, out, shell_word)))


def _level_list(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    require(
        all(part.isdecimal() for part in parts),
        f"--levels {text} must be levels with commas between, such as 2 or 2,1; 0 is the finest",
    )
    return tuple(sorted({int(part) for part in parts}))
