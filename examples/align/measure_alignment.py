"""How far aligned words are from where they are sung, on songs whose times are known: a CTC, a Jukebox, an even spread.

    jukebox-hf synth-corpus songs --hours 0.2 --seed 2000 --uneven 1 --instrumentals 0
    python examples/align/measure_alignment.py songs --ctc ctc --model tiny

SONGS is a folder with `timed_lyrics`, as `synth-corpus` writes it; CTC a repository such as examples/ctc trains. Prints
a table: the mean and the median distance of words' beginnings, and the share of them within 0.3 s, as contests of
lyrics alignment count it. An even spread puts character i of C at i / C of the song, as training does without times.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from jukebox_hf import JukeboxModel
from jukebox_hf.app.alignment_files import know_song
from jukebox_hf.app.repository_facts import configuration_of
from jukebox_hf.app.runs.planned_songs import open_model, open_processor
from jukebox_hf.app.runs.sung_lyrics import timed
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.songs import Song, Songs
from jukebox_hf.model.alignment.alignment_times import CharacterTimes, TimedLyrics, time_lyrics
from jukebox_hf.model.inputs.processing_jukebox import JukeboxProcessor
from jukebox_hf.recognition.ctc_alignment import align_recording
from jukebox_hf.recognition.ctc_recognizer import CTCRecognizer

NEAR = 0.3  # seconds
Aligner = Callable[[Song, Path, np.ndarray, int], TimedLyrics]  # of a song: its words, file, samples and rate


def main() -> None:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("songs", type=Path, nargs="+", help="folders of songs with timed_lyrics")
    parser.add_argument("--ctc", help="repository of a CTC")
    parser.add_argument("--model", help="a Jukebox with lyrics, such as tiny")
    parser.add_argument("--count", type=int, default=40, help="songs of each folder")
    said = parser.parse_args()
    aligners: dict[str, Aligner] = {"even spread": spread_evenly}
    if said.model:
        aligners[f"attention of {said.model}"] = by_attention(said.model)
    if said.ctc:
        aligners["CTC"] = by_ctc(said.ctc)
    print("| songs | times from | words | mean error, s | median, s | within 0.3 s |\n|---|---|---:|---:|---:|---:|")
    for folder in said.songs:
        for name, errors in measure(folder, aligners, said.count).items():
            near = 100 * np.mean(errors < NEAR)
            numbers = f"{len(errors)} | {errors.mean():.3f} | {np.median(errors):.3f} | {near:.1f} %"
            print(f"| {folder.name} | {name} | {numbers} |", flush=True)


def measure(folder: Path, aligners: Mapping[str, Aligner], count: int) -> dict[str, np.ndarray]:
    """Distances in seconds of all words' beginnings from the true ones (W,), by the name of who aligned."""
    songs = open_songs(folder)
    found: dict[str, list[float]] = {name: [] for name in aligners}
    for song, samples, rate in sung_songs(songs, count):
        for name, align in aligners.items():
            for word in align(song, folder / song.name, samples, rate).words:
                found[name].append(abs(word.start - song.lyric_times[word.first][0]))
    return {name: np.array(errors) for name, errors in found.items()}


def sung_songs(songs: Songs, count: int) -> Iterator[tuple[Song, np.ndarray, int]]:
    """The first songs with words and times: words, samples and rate."""
    chosen = [place for place in range(len(songs)) if songs[place].lyrics.strip() and songs[place].lyric_times]
    for place in chosen[:count]:
        header = songs.header(place)
        yield songs[place], mix(songs.read(place, 0, header.num_samples(header.rate), header.rate)), header.rate


def spread_evenly(song: Song, path: Path, samples: np.ndarray, rate: int) -> TimedLyrics:
    """Every character as long as every other."""
    edges = np.linspace(0, len(samples) / rate, len(song.lyrics) + 1)
    seen, sure = np.ones(len(song.lyrics), bool), np.zeros(len(song.lyrics))
    times = CharacterTimes(range(len(song.lyrics)), edges[:-1], edges[1:], sure, seen, seen)
    return time_lyrics(song.lyrics, times, len(samples) / rate)


def by_ctc(name: str) -> Aligner:
    """As `jukebox-hf align --ctc` does."""
    recognizer = CTCRecognizer.from_pretrained(name)
    return lambda song, path, samples, rate: align_recording(recognizer, samples, rate, song.lyrics).lyrics


def by_attention(name: str) -> Aligner:
    """As `jukebox-hf align MODEL` does."""
    model: JukeboxModel = open_model(name)
    processor: JukeboxProcessor = open_processor(configuration_of(name), name)

    def align(song: Song, path: Path, samples: np.ndarray, rate: int) -> TimedLyrics:
        known = know_song(path, model, {"lyrics": song.lyrics, "artist": song.artist, "genre": song.genre})
        (found,) = model.align(processor(known.sung), known.state)
        return timed(found, song.lyrics, processor)

    return align


if __name__ == "__main__":
    main()
