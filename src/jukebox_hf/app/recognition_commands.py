"""The command about what can be understood: error rates of what was sung.

Flows in: words of a command line. Flows out: a table or one JSON on stdout. What is heavy is imported when it runs.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from jukebox_hf.app.options import Json, as_command
from jukebox_hf.app.output import say, say_json
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_request import SongRequest

Separate = Annotated[
    str | None,
    typer.Option(
        help='Program that takes the singing out of a recording first, such as "my-separator {input} {output}": it '
        "is given two files, and writes the second, a WAV as long as the first. Started without a shell."
    ),
]


def add_recognition_commands(app: typer.Typer) -> None:
    """Put the command of this file into the command line."""
    app.command("wer", epilog="Example: jukebox-hf wer song.wav --asr openai/whisper-small")(
        as_command(wer, "wer", RunOptions, SongRequest, only=("lyrics_file", "device", "revision"))
    )


def wer(
    songs: Annotated[
        list[Path],
        typer.Argument(
            help="Songs with lyrics: a song that jukebox-hf made, a recording NAME.wav with NAME.txt beside it, or a "
            "folder."
        ),
    ],
    *,
    asr: Annotated[
        str, typer.Option(help="Speech recogniser of transformers (CTC, Whisper ...): folder, or name on the Hub.")
    ],
    separate: Separate = None,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Print word and character error rates of what a speech recogniser hears in songs.

    Both texts are compared in lower case, without headings and marks; long songs count for more in the last line.
    """
    from jukebox_hf.app.runs.device_choice import the_device
    from jukebox_hf.app.runs.lyric_files import read_lyrics
    from jukebox_hf.app.sung_errors import heard_errors, songs_to_hear, table_of_errors, total_errors
    from jukebox_hf.model.checks.validation import require
    from jukebox_hf.recognition.error_rates import check_jiwer
    from jukebox_hf.recognition.separation import separation_words
    from jukebox_hf.recognition.transcription import Transcriber

    check_jiwer()
    file = options["lyrics_file"]
    require(
        file is None or (len(songs) == 1 and not songs[0].is_dir()),
        "--lyrics-file is for one song; put NAME.txt beside each NAME.wav",
    )
    words = None if separate is None else separation_words(separate)
    said = (
        {} if file is None else {"lyrics": read_lyrics(file, cure="write the lyrics that are sung into it")["lyrics"]}
    )
    found = songs_to_hear(songs, said)
    require(
        words is None or all(song.path is not None for song in found),
        "--separate is for recordings that are named one by one; leave it out for a folder",
    )
    transcriber = Transcriber.from_pretrained(
        asr, revision=options["revision"], device=the_device(options["device"] or "auto")
    )
    with tqdm(total=len(found), unit=" songs", disable=not sys.stderr.isatty()) as bar:
        heard = []
        for each in heard_errors(found, transcriber, words):
            heard.append(each)
            bar.update()
    if as_json:
        words_in_all, characters_in_all = total_errors(heard)
        totals = {"wer": words_in_all.to_dict(), "cer": characters_in_all.to_dict()}
        say_json({"asr": asr, **totals, "songs": [each.to_dict() for each in heard]})
        return
    say(table_of_errors(heard))
