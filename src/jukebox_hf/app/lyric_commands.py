"""The command about words alone: the model that sings writes them, or another one does; and how likely words are.

Flows in: words of a command line. Flows out: text on stdout, or in a file that the user named. What is heavy is
imported when the command runs.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from jukebox_hf.app.options import Json, as_command
from jukebox_hf.app.output import say, say_json, say_line
from jukebox_hf.app.progress import warnings_said_after
from jukebox_hf.app.runs.requests import MOST_SONGS_PER_COMMAND, new_seed
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import COMMAND_LINE, SongRequest, read_request
from jukebox_hf.model.checks.seeds import check_last_seed, check_seed, seeds_from
from jukebox_hf.model.checks.text_input import check_here, check_lyric_text
from jukebox_hf.model.checks.validation import require

_NAMES_TOLD = ("artist", "genre")


def add_lyric_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    only = ("model", "revision", "dtype", "adapter", *_NAMES_TOLD, "strict", "seed", "device", "force")
    app.command(
        "write-lyrics",
        epilog="Examples:  jukebox-hf write-lyrics --model my-jukebox --artist 'Alan Jackson' --genre Country --out "
        "words.txt  |  ... --writer gpt2 --theme 'a river at night'  |  ... --compare words.txt",
    )(as_command(write_words, "write-lyrics", RunOptions, SongRequest, only=only))


def write_words(
    *,
    begin: Annotated[str, typer.Option(help="Words that the lyrics go on from.")] = "",
    characters: Annotated[
        int | None,
        typer.Option(help="Number of characters to write at most (default: as many as the prior reads at once)."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of texts to write, with seeds that count on.")] = 1,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0: always the likeliest character.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Sample from the k likeliest characters only; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Sample from the likeliest characters whose probabilities add up to p; 1: all.")
    ] = 1.0,
    writer: Annotated[
        str | None,
        typer.Option(help="Causal language model of transformers that writes instead: folder, or name on the Hub."),
    ] = None,
    theme: Annotated[str | None, typer.Option(help="Theme of the words, for a --writer.")] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="File of lyrics whose likelihood is told, as they are and shuffled.", callback=check_here),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, or a folder for several (default: print the words).", callback=check_here),
    ] = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Write lyrics with the model that sings them, or with another one; or say how likely it finds lyrics."""
    from jukebox_hf.app.listed_names import check_listed
    from jukebox_hf.app.repository_facts import configuration_of
    from jukebox_hf.app.runs.lyric_files import read_lyrics
    from jukebox_hf.app.runs.planned_songs import open_model, open_processor
    from jukebox_hf.app.runs.song_adapters import read_song_adapters
    from jukebox_hf.app.written_lyrics import (
        Wish,
        bits_in_words,
        likelihoods,
        lyric_paths,
        save_texts,
        words_of_model,
        words_of_writer,
    )
    from jukebox_hf.model.checkpoints.tiny_model import TINY
    from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
    from jukebox_hf.model.songs.lyric_writing import writing_level

    words = {name: options[name] for name in _NAMES_TOLD}
    read_request(words, COMMAND_LINE)  # refuses what is no such word, before a model is opened
    check_lyric_text("--begin", begin)
    require(theme is None or writer is not None, "--theme is told to a --writer; name one, or use --begin")
    require(
        compare is None or not (begin or writer or out),
        "--compare writes nothing, so --begin, --writer and --out mean nothing beside it; leave them out",
    )
    require(0 < count <= MOST_SONGS_PER_COMMAND, f"--count {count} must be 1 to {MOST_SONGS_PER_COMMAND}; write fewer")
    SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    require(characters is None or characters > 0, f"--characters {characters} must be 1 or more")
    seed = new_seed() if options["seed"] is None else options["seed"]
    check_seed(seed, "--seed ", "")
    check_last_seed(seed, count, f"--count {count}")
    seeds = tuple(seeds_from(seed, count))
    if out is not None:
        lyric_paths(out, seeds, options["force"])
    text = None if compare is None else read_lyrics(compare, cure="write some into it")["lyrics"]
    name, revision = options["model"] or TINY, options["revision"]
    config = configuration_of(name, revision=revision)
    adapters = read_song_adapters(options["adapter"] or ())
    config, processor = adapters.told_to(config, open_processor(config, name, revision))
    require(processor.lyric_level is not None, f"{name} reads no lyrics, so it sings no words; use a model with lyrics")
    if options["strict"] is not False:
        check_listed([words], processor.tokenizer, config)
    can_tell = config.prior_configs[processor.lyric_level].lyric_loss_weight > 0
    if writer is None:
        writing_level(config)  # refuses before weights are read
    require(
        text is None or len(processor.encode_lyrics(text).ids) > 0,
        f"--compare {compare} holds no character that {name} sings; give lyrics",
    )
    wish = Wish(
        words["artist"] or "unknown", words["genre"] or "unknown", begin, characters, temperature, top_k, top_p, seeds
    )
    model = None
    if can_tell:
        model = adapters.put_on(open_model(name, revision=revision, dtype=options["dtype"], device=options["device"]))
        model.prior(processor.lyric_level)  # so that it is read once, and stays until all is told
    with warnings_said_after(lambda line: say_line(line, err=True), set()):
        if text is not None:
            found = likelihoods(model, processor, wish, text)
            say_json(found) if as_json else say_line(f"{compare}: {bits_in_words(found)}")
            return
        if writer is None:
            texts = words_of_model(model, processor, wish)
        else:
            length = config.prior_configs[processor.lyric_level].lyric_length
            texts = words_of_writer(writer, processor, wish, theme, length)
        told = [likelihoods(model, processor, wish, one) if can_tell and one.strip() else None for one in texts]
    paths = [None] * count if out is None else save_texts(texts, out, seeds, options["force"])
    if as_json:
        rows = zip(seeds, texts, told, paths, strict=True)
        say_json(
            [
                {"seed": own, "lyrics": one, "bits_per_character": bits, "file": None if path is None else str(path)}
                for own, one, bits, path in rows
            ]
        )
        return
    for own, one, bits, path in zip(seeds, texts, told, paths, strict=True):
        how = "" if bits is None else f": {bits_in_words(bits)}"
        if path is None:
            say(one)
            say_line(f"jukebox-hf: seed {own}, {len(one)} characters{how}", err=True)
        else:
            say_line(f"{path}: seed {own}, {len(one)} characters{how}")
