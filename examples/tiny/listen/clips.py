"""`python -m examples.tiny.listen.clips OUT --bank voice-bank.zip [--vqvae FOLDER ...]`: clips for the tester.

Flows in: a voice bank, and VQ-VAEs if their reconstructions are to be heard. Flows out: OUT/clips.csv and recordings,
of songs that no corpus of a seed under 9000 holds, a cappella and with the band 10 dB below, as they are and through
every level; OUT/convergence.json, the spectral convergence of every level, of real music too where a folder is given.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from examples.tiny.listen.clip_list import LIST_NAME, check_without_clips
from examples.tiny.metrics import convergence_decibels, reconstruct
from jukebox_hf import JukeboxVQVAE
from jukebox_hf.data.song_tables import SUFFIXES
from jukebox_hf.data.synthesis.corpus import CorpusSettings, recorded_spec
from jukebox_hf.data.synthesis.recorded.recorded_song import RecordedSpec, RecordingStudio
from jukebox_hf.data.synthesis.recorded.singers import SINGERS
from jukebox_hf.data.synthesis.recorded.speakers import SPEECH_RATE
from jukebox_hf.data.synthesis.recorded.voice_bank import open_bank

SEED = 9000
MIXES = {"a cappella": -math.inf, "band at -10 dB": -10.0}
COLUMNS = ("file", "text", "sound", "mix", "artist", "pacing")


def main(words: Sequence[str] | None = None) -> int:
    """Write clips as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="clips", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--vqvae", type=Path, nargs="*", default=[])
    parser.add_argument("--songs", type=int, default=10, help="of each singer")
    parser.add_argument("--music", type=Path, help="folder of recordings of real music, to measure VQ-VAEs on alone")
    args = parser.parse_args(words)
    try:
        write_clips(args.out, args.bank, args.vqvae, args.songs, args.music)
    except (ValueError, OSError) as error:
        print(f"clips: {error}", file=sys.stderr)
        return 2
    return 0


def write_clips(out: Path, bank: Path, vqvaes: Sequence[Path], songs: int, music: Path | None = None) -> None:
    """Write recordings and their lists.

    Raises:
        ValueError: no songs, a folder that holds clips already, no bank or no VQ-VAE.
    """
    if songs < 1:
        raise ValueError(f"songs={songs} must be at least 1 of each singer")
    check_without_clips(out)
    studio = RecordingStudio(open_bank(bank))
    models = {folder.name: JukeboxVQVAE.from_pretrained(folder).float().eval() for folder in vqvaes}
    out.mkdir(parents=True, exist_ok=True)
    convergence: dict[str, list[float]] = {}
    with (out / LIST_NAME).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for place, spec in enumerate(chosen_songs(songs)):
            for mix, decibels in MIXES.items():
                audio = studio.record(spec, band_db=decibels).audio
                for sound, heard in _sounds(audio, models, convergence, mix):
                    name = f"{place:03d}-{sound}-{mix}.wav".replace(" ", "_")
                    soundfile.write(out / name, heard, SPEECH_RATE)
                    pacing = "uneven" if spec.is_uneven else "even"
                    table.writerow([name, " ".join(spec.lyrics.split()), sound, mix, spec.artist, pacing])
    for excerpt in _excerpts(music) if music else ():
        for _ in _sounds(excerpt, models, convergence, "real music"):
            pass
    means = {name: {"decibels": round(float(np.mean(values)), 2), "songs": len(values)} for name, values in
             convergence.items()}  # fmt: skip
    (out / "convergence.json").write_text(json.dumps(means, indent=1))
    for name, line in means.items():
        print(f"{line['decibels']:7.2f} dB  {name}")


def chosen_songs(count: int) -> list[RecordedSpec]:
    """The first `count` songs with words of each singer, of a corpus that is not trained on."""
    settings = CorpusSettings(hours=100, seed=SEED, voices="recorded")
    chosen: dict[str, list[RecordedSpec]] = {name: [] for name in SINGERS}
    for index in range(settings.num_songs):
        spec = recorded_spec(settings, index)
        if spec.lyrics.strip() and len(chosen[spec.artist]) < count:
            chosen[spec.artist].append(spec)
        if all(len(specs) == count for specs in chosen.values()):
            break
    return [spec for specs in chosen.values() for spec in specs]


def _excerpts(music: Path) -> Iterator[np.ndarray]:
    """12 seconds out of the middle of every recording of a folder, mono at 16 kHz; silent ones are left out.

    Raises:
        ValueError: no recordings.
    """
    paths = sorted(path for path in music.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{music} holds no recordings; name a folder of {', '.join(SUFFIXES)}")
    for path in paths:
        with soundfile.SoundFile(path) as file:
            file.seek(max(file.frames // 2 - 6 * file.samplerate, 0))
            sound, rate = file.read(12 * file.samplerate, dtype="float32", always_2d=True), file.samplerate
        excerpt = soxr.resample(sound.mean(axis=1), rate, SPEECH_RATE)
        if np.abs(excerpt).max() > 0.01:
            yield excerpt.astype(np.float32)


def _sounds(
    audio: np.ndarray, models: dict[str, JukeboxVQVAE], convergence: dict[str, list[float]], mix: str
) -> Iterator[tuple[str, np.ndarray]]:
    """The song itself, then through every level of every VQ-VAE; notes how near each comes."""
    yield "corpus", audio
    for name, model in models.items():
        with torch.inference_mode():
            song = torch.from_numpy(audio)[None]
            for level in range(model.config.num_levels):
                heard = reconstruct(model, song, level)[:, : song.shape[1]]
                sound = f"{name} level {level}"
                decibels = float(convergence_decibels(song[:, : heard.shape[1]], heard))
                convergence.setdefault(f"{sound}, {mix}", []).append(decibels)
                yield sound, heard[0].clamp(-1, 1).numpy()


if __name__ == "__main__":
    sys.exit(main())
