"""The command that makes a corpus of synthetic songs, to learn on and to test with.

Flows in: words of a command line. Flows out: a folder, a bar on stderr and one line on stdout.
"""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from jukebox_hf.app.options import Json, in_lower_case
from jukebox_hf.app.output import say_json, say_line
from jukebox_hf.model.checks.text_input import check_here, check_way

_EXAMPLE = "Example:  jukebox-hf synth-corpus songs --hours 1 --seed 0 --processes 2"


def add_corpus_commands(app: typer.Typer) -> None:
    """Put the commands of this file into the command line."""
    app.command("synth-corpus", epilog=_EXAMPLE)(synth_corpus)


def synth_corpus(
    out: Annotated[Path, typer.Argument(help="Folder to write.", callback=check_here)],
    hours: Annotated[float, typer.Option(help="Length of the whole corpus in hours.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed gives the same songs.")] = 0,
    sampling_rate: Annotated[int, typer.Option(help="Sampling rate of the recordings in samples per second.")] = 16_000,
    characters: Annotated[int, typer.Option(help="Length of the lyrics of each song in characters.")] = 64,
    seconds_per_character: Annotated[
        float, typer.Option(help="Pace in seconds per character; a song lasts --characters times this.")
    ] = 0.1875,
    lyrics: Annotated[str | None, typer.Option(help="Lyrics of every song, instead of generated ones.")] = None,
    instrumentals: Annotated[float, typer.Option(help="Share of songs without lyrics.")] = 0.07,
    invented: Annotated[
        float | None,
        typer.Option(
            help="Share of songs with invented words, which no dictionary has (default: 0.3; recorded voices: 0)."
        ),
    ] = None,
    voices: Annotated[
        str,
        typer.Option(
            help="Voices: formant (a synthesizer's) or recorded (people's words, with sampled instruments; needs the "
            "extra voice, and the programs flite and fluidsynth or --voice-bank).",
            callback=in_lower_case,
        ),
    ] = "formant",
    uneven: Annotated[
        float | None,
        typer.Option(
            help="Share of songs whose words have paces of their own (default: recorded voices 0.25; others 0)."
        ),
    ] = None,
    a_cappella: Annotated[
        float, typer.Option(help='Recorded voices: share of sung songs without a band, of the genre "a cappella".')
    ] = 0.0,
    voice_bank: Annotated[
        Path | None,
        typer.Option(
            help="Recorded voices: voice-bank.zip of an earlier corpus, all its words and notes, instead of new ones."
        ),
    ] = None,
    soundfont: Annotated[
        Path | None,
        typer.Option(
            help="Recorded voices: SoundFont of the bands, instead of the first of MIT licence that is installed."
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="Format of the recordings: flac, flac24, wav, wav24, wavfloat, mp3, ogg or opus.",
            callback=in_lower_case,
        ),
    ] = "flac",
    processes: Annotated[int, typer.Option(help="Number of processes that work at once.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace the corpus that is at OUT.")] = False,
    as_json: Json = False,
) -> None:
    """Make songs of five genres by four artists, with lyrics, and the time at which each character is sung.

    A stopped run goes on when the same line is run again.
    """
    from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus

    check_way(str(out), out)
    settings = CorpusSettings(
        hours=hours,
        seed=seed,
        sampling_rate=sampling_rate,
        characters=characters,
        slot=seconds_per_character,
        instrumentals=instrumentals,
        invented=invented,
        format=format,
        lyrics=lyrics,
        voices=voices,
        uneven=uneven,
        a_cappella=a_cappella,
    )
    began = time.monotonic()
    with tqdm(total=settings.num_songs, unit=" songs", disable=not sys.stderr.isatty()) as bar:
        written = write_corpus(
            out,
            settings,
            processes=processes,
            force=force,
            voice_bank=voice_bank,
            soundfont=soundfont,
            progress=lambda done: bar.update(done - bar.n),
        )
    took, song_seconds = time.monotonic() - began, characters * seconds_per_character
    facts = {"folder": str(out), "songs": settings.num_songs, "written": written, "song_seconds": song_seconds}
    facts["times_real_time"] = round(written * song_seconds / max(took, 1e-9), 1)
    if as_json:
        say_json(facts)
        return
    say_line(
        f"{out}: {settings.num_songs} songs of {song_seconds:g} s, {written} of them written now "
        f"({facts['times_real_time']:g} times real time)"
    )
