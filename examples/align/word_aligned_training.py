"""Word-aligned training against evenly spread lyrics, on songs whose lines are quick and slow.

    python -m examples.align.word_aligned_training runs/uneven --ctc ctc

Makes a corpus of uneven pacing, encodes it by the tiny model's VQ-VAE, and trains the tiny model's top prior on it
twice for as long: once choosing a window's lyrics by their times (`--timed_lyrics true`), once by the linear heuristic.
Prints for both, and for the prior as it was: bits per code of songs not heard before, what wrong words cost (other
letters in the same shape of words), in how many windows they cost anything, and with --ctc the character error rate of
what it sings. What is done is not done again: a stopped run goes on, its trainings from their checkpoints. What
stands behind ` -- ` are options of `train-prior`, such as `--bf16 true --torch_compile true` where the processor
multiplies bfloat16; they count for trainings that are still to be done.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from examples.tiny.metrics import swap_letters
from jukebox_hf import JukeboxModel, JukeboxPrior, JukeboxProcessor, JukeboxTokenizer
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.prior_batches import prior_inputs
from jukebox_hf.data.songs import Song
from jukebox_hf.model.checkpoints.tiny_model import TINY, located
from jukebox_hf.recognition.error_rates import ErrorCounts, character_errors
from jukebox_hf.recognition.transcription import Transcriber

LEVEL, TEMPERATURE, BATCH = 2, 0.95, 6
ARMS = {"linear heuristic": ("linear", False), "word-aligned": ("timed", True)}  # folder, and whether times are read


def main() -> None:
    """Make what is missing, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path, help="folder for songs, codes and models")
    parser.add_argument("--hours", type=float, default=1.0, help="of songs to train on")
    parser.add_argument("--steps", type=int, default=240, help="of training, for each; 0: the model as it is")
    parser.add_argument("--windows", type=int, default=48, help="of songs not heard before, to measure on")
    parser.add_argument("--sing", type=int, default=20, help="songs to sing and to have heard by the CTC")
    parser.add_argument("--ctc", help="repository of a speech recogniser, such as examples/ctc trains")
    parser.add_argument("training", nargs="*", help="behind --: options of train-prior")
    said = parser.parse_args()
    make_codes(said.run, "unseen", max(0.01, said.windows / 600), 1021)
    arms = ARMS if said.steps else {}
    if arms:
        make_codes(said.run, "songs", said.hours, 21)
    for folder, is_timed in arms.values():
        train(said.run, folder, is_timed, said.steps, said.training)
    recognizer = Transcriber.from_pretrained(said.ctc) if said.ctc else None
    print("| training | lyrics | bits per code | wrong letters cost | in windows | character errors sung |")
    print("|---|---|---:|---:|---:|---:|")
    untrained = {f"none, {name}": (located(TINY), is_timed) for name, (_, is_timed) in ARMS.items()}
    trained = {name: (str(said.run / folder), is_timed) for name, (folder, is_timed) in arms.items()}
    for name, (model, is_timed) in (untrained | trained).items():
        bits, cost = bits_per_code(model, said.run / "unseen-codes", said.windows, is_timed)
        errors = sung_errors(model, said.run / "unseen-codes", said.sing, is_timed, recognizer)
        heard = "" if errors is None else f"{100 * errors.rate:.1f} %"
        print(
            f"| {name} | {'by their times' if is_timed else 'spread evenly'} | {bits.mean():.3f} | {cost.mean():.3f} | "
            f"{100 * np.mean(cost > 0):.0f} % | {heard} |",
            flush=True,
        )


def make_codes(run: Path, name: str, hours: float, seed: int) -> None:
    """Songs of uneven pacing, and their codes, unless they are there."""
    songs, codes = run / name, run / f"{name}-codes"
    if not (songs / "metadata.csv").is_file():
        _jukebox_hf("synth-corpus", songs, "--hours", hours, "--seed", seed, "--uneven", "1", "--format", "wav",
                    "--instrumentals", 0)  # fmt: skip
    if not (codes / "codes.json").is_file():
        _jukebox_hf("encode-dataset", songs, codes, "--model", Path(located(TINY)) / "vqvae", "--levels", LEVEL)


def train(run: Path, name: str, is_timed: bool, steps: int, more: Sequence[str] = ()) -> None:
    """Train the tiny model's top prior, or go on, and put it into a Jukebox of its own, unless that is there.

    Args:
        run, name: the folder of all, and the name of this training in it.
        is_timed: whether a window's lyrics are chosen by their times.
        steps: of training.
        more: options of `train-prior`, which win over those given here.
    """
    if (run / name).is_dir():
        return
    _jukebox_hf(
        "train-prior", "--model_name_or_path", TINY, "--level", LEVEL, "--train_codes", run / "songs-codes",
        "--output_dir", run / f"{name}-prior", "--into", run / name, "--timed_lyrics", str(is_timed).lower(),
        "--resume_from_checkpoint", "auto", "--max_steps", steps, "--per_device_train_batch_size", BATCH,
        "--learning_rate", 6e-4, "--adam_beta2", 0.95, "--weight_decay", 0.01, "--optim", "adamw_torch",
        "--lr_scheduler_type", "cosine", "--warmup_steps", 20, "--shift", "true", "--seed", 31, "--use_cpu",
        str(not torch.cuda.is_available()).lower(), "--save_strategy", "steps", "--save_steps", 20,
        "--save_total_limit", 1, "--logging_steps", 20, "--report_to", "none", "--disable_tqdm", "true", *more,
    )  # fmt: skip


def bits_per_code(model: str, codes: Path, count: int, is_timed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bits per code (W,) of the first windows, and what other letters in the same shape of words add to them (W,)."""
    opened = JukeboxModel.from_pretrained(model)
    prior, tokenizer = opened.prior(LEVEL).eval(), JukeboxTokenizer.from_pretrained(model)
    windows = CodeWindows(CodeShards(codes), LEVEL, prior.config.context_length)
    chosen = [windows[place] for place in range(min(count, len(windows)))]
    swapped = [{**window, "lyrics": swap_letters(window["lyrics"])} for window in chosen]
    right, wrong = (_bits(prior, tokenizer, each, is_timed) for each in (chosen, swapped))
    return right, wrong - right


@torch.no_grad()
def _bits(
    prior: JukeboxPrior, tokenizer: JukeboxTokenizer, windows: Sequence[Mapping[str, Any]], is_timed: bool
) -> np.ndarray:
    found = []
    for start in range(0, len(windows), BATCH):
        group = windows[start : start + BATCH]
        codes = torch.stack([window["codes"] for window in group])
        inputs = prior_inputs(group, tokenizer, prior.config, timed=is_timed)
        logits = prior(codes, **inputs, return_loss=False).logits[:, prior.config.prefix_length :]
        losses = F.cross_entropy(logits.transpose(1, 2), codes + prior.config.code_offset, reduction="none")
        found.append((losses.mean(1) / np.log(2)).numpy())
    return np.concatenate(found)


def sung_errors(
    model: str, codes: Path, count: int, is_timed: bool, recognizer: Transcriber | None
) -> ErrorCounts | None:
    """What a recogniser misunderstands in songs of the top level, sung to words of songs not heard before."""
    if recognizer is None or count == 0:
        return None
    shards = CodeShards(codes)
    songs = [shards.song(place) for place in range(min(count, len(shards)))]
    opened, processor = JukeboxModel.from_pretrained(model), JukeboxProcessor.from_pretrained(model)
    seconds = shards.words[0]["total_samples"] / processor.sampling_rate
    inputs = processor([_words(song, is_timed) for song in songs], seconds=seconds, seed=1)
    audio = opened.generate(inputs, levels=[LEVEL], temperature=TEMPERATURE).audio
    heard = [
        recognizer.transcribe(each.reshape(-1).float().numpy(), processor.sampling_rate) for each in audio[: len(songs)]
    ]
    return reduce(add, (character_errors(song.lyrics, text) for song, text in zip(songs, heard, strict=True)))


def _words(song: Song, is_timed: bool) -> dict[str, Any]:
    words = {"lyrics": song.lyrics, "artist": song.artist, "genre": song.genre}
    times = [(place, start) for place, (start, _) in enumerate(song.lyric_times)]
    return words | ({"lyric_times": times} if is_timed else {})


def _jukebox_hf(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "jukebox_hf", *map(str, words)], check=True)


if __name__ == "__main__":
    main()
