"""`jukebox-hf`: make songs, convert checkpoints, look names up, see what a model is.

Flows in: words of a command line. Flows out: lines of text, folders the user named, and an exit code: 0 done, 2 refused
with one sentence, 130 or 143 interrupted.
"""

import os
import sys
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from jukebox_hf.app.alignment_commands import add_alignment_commands
from jukebox_hf.app.corpus_commands import add_corpus_commands
from jukebox_hf.app.feature_commands import add_feature_commands
from jukebox_hf.app.finetune_commands import add_finetune_commands
from jukebox_hf.app.lyric_commands import add_lyric_commands
from jukebox_hf.app.options import Json, in_lower_case
from jukebox_hf.app.output import (
    USER_ERRORS,
    guarded_output,
    how_to_sing,
    say,
    say_found,
    say_json,
    say_line,
    sentence_of,
)
from jukebox_hf.app.recognition_commands import add_recognition_commands
from jukebox_hf.app.runs.song_request import SONG_OPTIONS
from jukebox_hf.app.serving_commands import add_serving_commands
from jukebox_hf.app.song_commands import add_song_commands
from jukebox_hf.app.studio_commands import add_studio_commands
from jukebox_hf.app.style_commands import add_style_commands
from jukebox_hf.app.training_commands import add_training_commands
from jukebox_hf.model.checks.text_input import check_here, check_way
from jukebox_hf.model.checks.validation import require

app = typer.Typer(
    name="jukebox-hf",
    help="OpenAI's Jukebox for the Hugging Face world.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
convert = typer.Typer(help="Turn other checkpoints into a Jukebox repository.", no_args_is_help=True)
labels = typer.Typer(help="Look artists and genres up.", no_args_is_help=True)
add_song_commands(app)
add_serving_commands(app)
add_lyric_commands(app)
add_alignment_commands(app)
add_recognition_commands(app)
add_corpus_commands(app)
add_feature_commands(app)
add_finetune_commands(app)
add_training_commands(app)
add_style_commands(app)
add_studio_commands(app)
app.add_typer(convert, name="convert")
app.add_typer(labels, name="labels")


def _folder_to_write(path: Path) -> Path:
    """Refuse a way to the folder on which work would end in vain.

    Raises:
        ValueError: in one sentence.
    """
    check_way(str(check_here(path)), path)
    return path


Dtype = Annotated[
    str,
    typer.Option(
        help="Data type of the priors' matrices: keep (as stored), float32, bfloat16 or float16.",
        callback=in_lower_case,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the Jukebox repository that is at OUT.")]
Out = Annotated[Path, typer.Argument(help="Folder to write.", callback=_folder_to_write)]
Repository = Annotated[str, typer.Argument(help=SONG_OPTIONS["model"].help)]


def _say_version(is_asked: bool) -> None:
    if is_asked:
        import jukebox_hf

        say_line(f"jukebox-hf {jukebox_hf.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    """What holds for all commands."""


@convert.command(
    "openai",
    epilog="Example: jukebox-hf convert openai my-jukebox --preset 1b_lyrics --labels ids/",
)
def convert_openai(
    out: Out,
    preset: Annotated[
        str | None,
        typer.Option(help="Released model: 1b_lyrics, 5b_lyrics or 5b; downloaded where no files are given."),
    ] = None,
    vqvae: Annotated[Path | None, typer.Option(help="Checkpoint file of the VQ-VAE.")] = None,
    prior: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint file of a prior; once per level, finest level first.")
    ] = None,
    label_folder: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Folder with OpenAI's lists of artists and genres, v2_artist_ids.txt and the like."
        ),
    ] = None,
    dtype: Dtype = "keep",
    force: Force = False,
) -> None:
    """Convert OpenAI's checkpoints: the released ones, or of your own training."""
    from jukebox_hf.conversion import convert_openai as conversion

    require(
        (vqvae is None) == (not prior),
        "--vqvae and --prior belong together; give both, or neither with --preset to download",
    )
    files = conversion.OpenAIFiles(vqvae, tuple(prior)) if vqvae and prior else None
    with _DownloadBars() as bars:
        conversion.convert_openai(
            out,
            preset=preset,
            files=files,
            labels=label_folder,
            dtype=dtype,
            force=force,
            say=say_line,
            progress=bars.show,
        )


@convert.command("transformers", epilog="Example: jukebox-hf convert transformers openai/jukebox-1b-lyrics my-jukebox")
def convert_transformers(
    source: Annotated[str, typer.Argument(help="Folder of a model of transformers 4, or its name on the Hub.")],
    out: Out,
    dtype: Dtype = "keep",
    force: Force = False,
) -> None:
    """Convert a Jukebox repository of transformers 4."""
    from jukebox_hf.conversion.convert_transformers_v4 import convert_transformers_v4
    from jukebox_hf.model.checkpoints.tiny_model import located

    convert_transformers_v4(located(source), out, dtype=dtype, force=force, say=say_line)


@labels.command("search", epilog='Example: jukebox-hf labels search my-jukebox "beatles"')
def search_labels(
    repository: Repository,
    text: Annotated[str, typer.Argument(help="Name of an artist or a genre, as you would write it.")],
    limit: Annotated[int, typer.Option(help="Number of close names to list per level.", min=1)] = 5,
    as_json: Json = False,
) -> None:
    """List the artists and genres whose names are close to a text, for each level of the model."""
    from jukebox_hf.app.label_names import close_labels, search_in_words

    found = close_labels(repository, text, limit)
    say_json(found) if as_json else say(search_in_words(found))


@labels.command("list", epilog="Example: jukebox-hf labels list my-jukebox --limit 20")
def list_labels(
    repository: Repository,
    limit: Annotated[int, typer.Option(help="Number of names of each list to print.", min=1)] = 50,
    skip: Annotated[int, typer.Option(help="Number of names of each list to skip first.", min=0)] = 0,
    everything: Annotated[bool, typer.Option("--all", help="Print all names, however many there are.")] = False,
    as_json: Json = False,
) -> None:
    """List the artists and genres that a model knows, in the order of the alphabet, each with its id."""
    from jukebox_hf.app.label_names import listed_labels, lists_in_words

    found = listed_labels(repository, None if everything else limit, skip)
    say_json(found) if as_json else say(lists_in_words(found, skip))


def _named(repository: str) -> Path:
    """The repository that a command is to copy; what is none is refused before work is done."""
    from jukebox_hf.model.checkpoints.tiny_model import located
    from jukebox_hf.model.checks.repository_names import check_name

    name = located(repository)
    check_name(name)
    return Path(name)


@app.command("export", epilog="Example: jukebox-hf export my-jukebox my-jukebox-with-code")
def export(
    source: Annotated[str, typer.Argument(help="Folder of a converted repository, or tiny (inside the package).")],
    out: Out,
    force: Force = False,
) -> None:
    """Copy a repository together with the code that runs it, for people who do not have jukebox_hf."""
    from jukebox_hf.conversion.export_hub import export_hub

    export_hub(_named(source), out, force=force)
    say_line(f"{out}: loads with trust_remote_code=True where jukebox_hf is not installed")


@app.command("quantize", epilog="Example: jukebox-hf quantize my-jukebox my-jukebox-int8")
def quantize(
    source: Annotated[str, typer.Argument(help="Folder of a converted repository, or tiny (inside the package).")],
    out: Out,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace the Jukebox repository that is at OUT; save the result even where its logits are far off.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy a repository with int8 matrices, and say how far its logits lie from the exact ones."""
    from jukebox_hf.app.label_names import known_names
    from jukebox_hf.conversion.quantize import quantize_repository as make

    found = make(_named(source), out, force=force, say=(lambda line: None) if as_json else say_line)
    sing = f"sing: {how_to_sing(out)}" if known_names(str(out)) else "it has no lists of artists and genres either"
    say_found(found, as_json, f"{out}: a copy with int8 matrices; {sing}")


@app.command("info", epilog="Example: jukebox-hf info my-jukebox")
def info(
    repository: Annotated[
        str | None, typer.Argument(help=f"{SONG_OPTIONS['model'].help} It may be left out with --machine.")
    ] = None,
    machine: Annotated[
        bool,
        typer.Option(
            "--machine", help="Say what this machine has: processor, instructions in use and why, threads, memory."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what a model is: levels, sizes, parameters, what fits into which memory, and names. Loads no weights."""
    require(
        repository is not None or machine,
        "name a model, such as jukebox-hf info my-jukebox, or ask for this machine: jukebox-hf info --machine",
    )
    found, words = {}, []
    if repository is not None:
        from jukebox_hf.app.label_names import known_names, names_in_words
        from jukebox_hf.app.memory import tiers_in_words
        from jukebox_hf.app.repository_facts import describe, table_of, what_fits

        parts, fits, names = describe(repository), what_fits(repository), known_names(repository)
        rows = [{"memory_gb": size, **asdict(choice)} for size, choice in fits]
        found = {"parts": parts, "fits": rows, "names": names}
        words = [table_of(parts), tiers_in_words(fits), names_in_words(names)]
    if machine:
        from jukebox_hf.app.machine_facts import describe_machine, machine_in_words

        found["machine"] = describe_machine()
        words.append(machine_in_words(found["machine"]))
    say_json(found) if as_json else say("\n\n".join(words))


def main() -> None:
    """Run the command line; whatever a user can cause becomes one sentence and exit code 2, a bug a traceback and 1."""
    _let_threads_sleep()
    with guarded_output(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: say_line(f"jukebox-hf: {message}", err=True)
        try:
            app()
        except KeyboardInterrupt:
            sys.exit(130)
        except USER_ERRORS as error:
            say_line(f"jukebox-hf: {sentence_of(error)}", err=True)
            sys.exit(2)
        except Exception:
            say(traceback.format_exc().rstrip(), err=True)
            sys.exit(1)


def _let_threads_sleep() -> None:
    """Have torch's threads sleep while they wait for each other, unless the user has said how they are to wait.

    Small networks meet thousands of times a second. Threads that spin until then keep the one that they wait for from
    its core as soon as anything else runs there (decision 091). OpenMP looks when torch is imported, and never again.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _DownloadBars:
    """One bar per file that is being fetched."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm] = {}

    def __enter__(self) -> "_DownloadBars":
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = tqdm(total=total, desc=name, unit="B", unit_scale=True)
        self._bars[name].update(done - self._bars[name].n)
