"""`python -m examples.tiny.listen.upsampled OUT --songs FOLDER --model FOLDER`: what upsamplers make of real codes.

Flows in: songs that no training heard, and a whole model. Flows out: OUT/clips.csv and recordings for the tester: each
song as it is, through the codes of every level, and with its codes of one level refined by the priors below, so that
one hears which prior loses the words.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from examples.tiny.clips import sampled
from examples.tiny.listen.clip_list import check_without_clips, write_list
from examples.tiny.listen.sung import TEMPERATURE
from examples.tiny.metrics import reconstruct
from examples.tiny.parts import Networks, Recordings, open_recordings, open_repository
from jukebox_hf.data.synthesis.recorded.recorded_song import A_CAPPELLA
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.sampling.sampling_ops import SamplingSettings
from jukebox_hf.model.songs.song_plan import plan_song
from jukebox_hf.model.songs.song_state import SongState

COLUMNS = ("file", "text", "sound", "artist")
_MOST_READ = 1000  # songs of a folder, among which those of the genre are looked for


def main(words: Sequence[str] | None = None) -> int:
    """Write clips as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="upsampled", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--songs", type=Path, required=True, help="a folder of songs")
    parser.add_argument("--model", type=Path, required=True, help="a whole model")
    parser.add_argument("--count", type=int, default=8, help="how many songs")
    parser.add_argument("--genre", default=A_CAPPELLA)
    parser.add_argument(
        "--temperatures", nargs="+", default=[], metavar="LEVEL=NUMBER", help=f"where not {TEMPERATURE}"
    )
    args = parser.parse_args(words)
    try:
        networks = open_repository(args.model)
        temperatures = read_temperatures(args.temperatures, networks.top)
        chosen = _chosen(args.songs, args.count, args.genre, networks.vqvae.config.hop_lengths[-1])
        write_upsampled(args.out, networks, chosen, temperatures)
    except (ValueError, OSError) as error:
        print(f"upsampled: {error}", file=sys.stderr)
        return 2
    return 0


def read_temperatures(words: Sequence[str], top: int) -> dict[int, float]:
    """The temperature of every level below the top one, from `0=0.7` and the like.

    Raises:
        ValueError: a level that refines no other, or no temperature.
    """
    found = dict.fromkeys(range(top), TEMPERATURE)
    for word in words:
        level, _, number = word.partition("=")
        if level not in map(str, found):
            raise ValueError(f"--temperatures {word} must be LEVEL=NUMBER, LEVEL one of {', '.join(map(str, found))}")
        try:
            found[int(level)] = SamplingSettings(float(number)).temperature
        except ValueError as error:
            raise ValueError(f"--temperatures {word}: {error}") from None
    return found


def write_upsampled(out: Path, networks: Networks, songs: Recordings, temperatures: dict[int, float]) -> None:
    """Write recordings and their list.

    Args:
        out: the folder.
        networks: with the priors of all levels below the top one.
        songs: of one length.
        temperatures: by level.

    Raises:
        ValueError: a folder that holds clips already.
    """
    check_without_clips(out)
    out.mkdir(parents=True, exist_ok=True)
    rate, rows = networks.vqvae.config.sampling_rate, []
    for sound, audio in _sounds(networks, songs, temperatures):
        for place, (song, heard) in enumerate(zip(songs.songs, audio, strict=True)):
            name = f"{place:03d}-{sound}.wav".replace(" ", "_")
            soundfile.write(out / name, heard.clamp(-1, 1).numpy(), rate)
            rows.append((name, " ".join(song.lyrics.split()), sound, song.artist))
    write_list(out, COLUMNS, rows)


@torch.no_grad()
def _sounds(networks: Networks, songs: Recordings, temperatures: dict[int, float]) -> Iterator[tuple[str, Tensor]]:
    """What is to be heard, (B, S) each: the songs, and what codec and priors keep of them."""
    yield "corpus", songs.audio
    for level in range(networks.top + 1):
        heard = torch.cat([reconstruct(networks.vqvae, song, level) for song in songs.audio.split(1)])
        yield f"level {level}", heard
    for upper in range(networks.top, 0, -1):
        state = refined(networks, songs, upper, temperatures)
        for level in range(upper):
            codes = state.batch(level).split(1)
            heard = torch.cat([networks.vqvae.decode(own, level).audio_values[:, 0] for own in codes])
            yield f"level {level} from {upper}", heard


def refined(networks: Networks, songs: Recordings, upper: int, temperatures: dict[int, float]) -> SongState:
    """The songs' codes of one level, and of all finer ones what the priors make of them."""
    model, samples = networks.whole(), songs.audio.shape[1]
    state = SongState.empty(networks.top + 1, range(len(songs.songs)))
    for place, song in enumerate(songs.audio):
        (codes,) = networks.vqvae.encode(song[None, None], levels=[upper]).audio_codes
        state = state.with_codes(upper, place, codes[0])
    told = [SongDescription(samples, song.artist, song.genre, song.lyrics, 0) for song in songs.songs]
    settings = {level: SamplingSettings(number) for level, number in temperatures.items() if level < upper}
    plan = plan_song(model.config, samples, levels=range(upper), settings=settings)
    return sampled(networks, model, plan, told, state)


def _chosen(folder: Path, count: int, genre: str, hop: int) -> Recordings:
    """The first sung songs of a genre.

    Raises:
        ValueError: too few of them.
    """
    songs = open_recordings(folder, _MOST_READ, hop).sung()
    places = [place for place, song in enumerate(songs.songs) if song.genre == genre]
    if not 0 < count <= len(places):
        raise ValueError(f"--count {count} must be 1 to {len(places)}, the sung songs of genre {genre!r} in {folder}")
    return songs.only(places[:count])


if __name__ == "__main__":
    sys.exit(main())
