"""The command that makes features of songs for research.

Flows in: words of a command line. Flows out: a folder, lines on stderr and one on stdout. What is heavy is imported
when the command runs, so that `--help` is quick.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_hf.app.options import Json, in_lower_case
from jukebox_hf.app.output import say_json, say_line
from jukebox_hf.model.checks.text_input import check_here
from jukebox_hf.model.checks.validation import require

_EXAMPLES = (
    "Examples:  jukebox-hf embed songs/ features/ --model my-jukebox --layers 36  |  accelerate launch "
    "--num_processes 4 -m jukebox_hf embed songs/ features/ --model my-jukebox --preset jukemir"
)


def add_feature_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command("embed", epilog=_EXAMPLES)(embed)


def embed(
    songs: Annotated[str, typer.Argument(help="Folder of recordings, parquet files, or a data set of the Hub.")],
    out: Annotated[Path, typer.Argument(help="Folder to make, or to go on with.", callback=check_here)],
    model: Annotated[str, typer.Option(help="Model: folder, name on the Hub, or tiny (inside the package).")] = "",
    preset: Annotated[
        str | None,
        typer.Option(help="Published recipe to begin with: jukemir, sheetsage or edge.", callback=in_lower_case),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Layers, counted from 1, such as 36 or 12,36 (default: the preset's, or the middle one)."),
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="Over time: mean, none, or a rate in frames per second (default: mean).")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Kind of features: hidden_states of a prior, or codes, vectors or latents of the VQ-VAE.",
            callback=in_lower_case,
        ),
    ] = None,
    level: Annotated[int | None, typer.Option(help="Level, 0 the finest (default: the top one).")] = None,
    hop_seconds: Annotated[
        float | None, typer.Option(help="Seconds from window to window (default: as long as a window).")
    ] = None,
    max_windows: Annotated[int | None, typer.Option(help="Number of windows of each recording (default: all).")] = None,
    slice_seconds: Annotated[
        float | None, typer.Option(help="Cut recordings into slices of so many seconds (default: no slices).")
    ] = None,
    slice_hop_seconds: Annotated[
        float | None, typer.Option(help="Seconds from slice to slice (default: as long as a slice).")
    ] = None,
    total_seconds: Annotated[
        float | None, typer.Option(help="Length of the song, as the prior is told it (default: the truth).")
    ] = None,
    offset_seconds: Annotated[
        float | None,
        typer.Option(help="Place of each window in the song, as the prior is told it (default: the truth)."),
    ] = None,
    normalize: Annotated[
        str | None,
        typer.Option(help="Loudness of recordings: none or peak (default: none).", callback=in_lower_case),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Data type of the prior's matrices: float32, bfloat16, float16 or int8 (default: as stored).",
            callback=in_lower_case,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:1 and so on.", callback=in_lower_case)
    ] = "auto",
    batch_size: Annotated[int, typer.Option(help="Number of windows of a recording run at once.", min=1)] = 1,
    revision: Annotated[str | None, typer.Option(help="Revision of a model on the Hub.")] = None,
    format: Annotated[str, typer.Option(help="Kind of file: npy or safetensors.", callback=in_lower_case)] = "npy",
    store: Annotated[
        str, typer.Option(help="Data type in the files: float32 or float16.", callback=in_lower_case)
    ] = "float32",
    shard: Annotated[
        str | None, typer.Option(help="Share of this run among several, such as 0/4 (default: all of it).")
    ] = None,
    streaming: Annotated[bool, typer.Option("--streaming", help="Read parquet or the Hub while it arrives.")] = False,
    allow_outside_files: Annotated[
        bool, typer.Option("--allow-outside-files", help="Let lists and tables name any file of this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make features of songs for probes, retrieval and conditioning: one file per recording, and an index.

    A stopped run goes on when the same line is run again. What cannot be read is skipped and listed.
    """
    from jukebox_hf.app.embedding import embed_folder

    said = {
        "layers": None if layers is None else _layer_list(layers),
        "pool": _pool(pool),
        "kind": kind,
        "level": level,
        "hop_seconds": hop_seconds,
        "max_windows": max_windows,
        "slice_seconds": slice_seconds,
        "slice_hop_seconds": slice_hop_seconds,
        "total_seconds": total_seconds,
        "offset_seconds": offset_seconds,
        "normalize": normalize,
    }
    found = embed_folder(
        songs,
        out,
        model,
        {name: value for name, value in said.items() if value is not None},
        preset=preset,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
        revision=revision,
        shard=shard,
        say=lambda line: say_line(f"jukebox-hf: {line}", err=True),
        format=format,
        store=store,
        streaming=streaming,
        allow_outside_files=allow_outside_files,
    )
    if not found.pop("is_main"):
        return
    if as_json:
        say_json(found)
        return
    skipped = f", {len(found['skipped'])} skipped" if found["skipped"] else ""
    changed = f" ({found['changed']} anew, as they were changed)" if found["changed"] else ""
    say_line(f"{out}: features of {found['done']} recordings, {found['written']} of them written now{changed}{skipped}")


def _layer_list(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    require(
        all(part.removeprefix("-").isdecimal() for part in parts),
        f"--layers {text} must be layers with commas between, such as 36 or 12,36",
    )
    return [int(part) for part in parts]


def _pool(text: str | None) -> Any:
    """A word, or a number of frames per second."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text.strip().lower()
