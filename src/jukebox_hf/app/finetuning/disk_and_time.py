"""What a fine-tuning run will take: disk by arithmetic, time measured on this machine in a few steps, then multiplied.

Flows in: a request and what was chosen. Flows out: plain values. Nothing is written.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.level_training import EVAL_WINDOWS, EVALUATIONS, most_steps
from jukebox_hf.app.finetuning.measures import MOST_SONGS, WINDOWS_PER_SONG, score
from jukebox_hf.app.finetuning.song_codes import num_held_out, replay_requests, replay_seconds
from jukebox_hf.app.finetuning.song_survey import SongSurvey
from jukebox_hf.app.finetuning.training_choice import TrainingChoice
from jukebox_hf.app.progress import Progress
from jukebox_hf.app.runs.estimate import duration
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_runs import run_songs
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.songs import Song
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.encode_dataset import encode_song
from jukebox_hf.training.prior.prior_sources import tokenizer_of

SAMPLE_SECONDS = 6.0
_SPARE = 50_000_000  # bytes: logs, lists, a sample song
_CHECKPOINTS = 3  # the best, the newest, and the one that is being written
_ENCODED_SECONDS = 10  # of sound, to measure how fast that goes


def estimate_run(
    request: FinetuneRequest,
    config: JukeboxConfig,
    levels: Sequence[int],
    found: SongSurvey,
    choice: TrainingChoice,
    measures: bool = True,
) -> dict[str, Any]:
    """Bytes of memory and disk, and with `measures` seconds, stage by stage."""
    estimate: dict[str, Any] = {
        "memory_gb": round(choice.num_bytes / 1e9, 2),
        "disk_bytes": disk_bytes(request, config, levels, found, choice),
    }
    if not measures:
        return estimate
    model = JukeboxModel.from_pretrained(located(request.model)).to(choice.device)
    steps = most_steps(request, config, found.seconds, choice.batch_size * choice.accumulation)
    stages = {"codes": _encoding(model, found) * sum(found.seconds)}
    if request.has_replay and request.old_songs is None:
        stages["replay"] = sum(_singing(request, _replayed(request, config, level), level, len(config.prior_configs))
                               for level in levels)  # fmt: skip
    stages["measuring"] = 0.0
    for level in levels:
        prior = model.lend(level).float()
        one, heard = _pass(prior, choice), _pass(prior, choice, learns=False)
        evaluated = (EVALUATIONS + 2) * _held_out_windows(prior.config, found) * heard / choice.batch_size
        stages[f"level {level}"] = one * choice.accumulation * steps + evaluated
        stages["measuring"] += 2 * _measured_songs(request, found) * _scoring(prior, tokenizer_of(request.model))
        model.release(level)
    if (seconds := sample_seconds(request)) > 0:
        stages["sample"] = _singing(request, [{"seconds": seconds}], 0, len(config.prior_configs))
    estimate["stages"] = {name: round(value, 1) for name, value in stages.items()}
    return estimate | {"steps": {str(level): steps for level in levels}, "seconds": round(sum(stages.values()), 1)}


def costs_in_words(estimate: dict[str, Any]) -> list[str]:
    """An estimate as lines."""
    lines = [f"{name}: about {duration(value)}" for name, value in estimate["stages"].items()]
    steps = ", ".join(f"level {level} {count}" for level, count in estimate["steps"].items())
    return [
        *lines,
        f"steps, where nothing stops them early: {steps}",
        f"about {duration(estimate['seconds'])} at most, {estimate['memory_gb']:.3g} GB of memory and "
        f"{estimate['disk_bytes'] / 1e9:.2g} GB of disk; nothing was written",
    ]


def sample_seconds(request: FinetuneRequest) -> float:
    """Length of the sample song; 0 for none."""
    return SAMPLE_SECONDS if request.sample_seconds is None else request.sample_seconds


def check_disk(out: Path, needed: int) -> None:
    """Refuse a disk that is too small for what a run writes.

    Raises:
        ValueError: in one sentence.
    """
    folder = next(path for path in (out.absolute().parent, *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    require(
        free >= needed,
        f"{folder} has {free / 1e9:.2f} GB free, but codes, checkpoints and the new Jukebox need about "
        f"{needed / 1e9:.2f} GB; free some, or choose another OUT",
    )


def disk_bytes(
    request: FinetuneRequest,
    config: JukeboxConfig,
    levels: Sequence[int],
    found: SongSurvey,
    choice: TrainingChoice,
) -> int:
    """Bytes that a run writes, at most."""
    hops, rate = config.vqvae_config.hop_lengths, config.sampling_rate
    replayed = sum(request.replay * replay_seconds(config, level) for level in levels) if request.has_replay else 0.0
    codes = 4 * 2 * (sum(found.seconds) + replayed) * sum(rate / hop for hop in hops)  # once whole, once split
    sizes = {level: 4 * config.prior_configs[level].parameter_count() for level in range(len(config.prior_configs))}
    per_weight = {"full": 3, "lora": 0.2, "style": 1}[choice.method]  # with Adam's two moments of what learns
    trained = sum(sizes[level] for level in levels)
    largest = max(sizes[level] for level in levels)
    whole = sum(sizes.values()) + 4 * config.vqvae_config.parameter_count()
    return int(codes + trained + _CHECKPOINTS * per_weight * largest + whole + _SPARE)


# --- time ---


def _encoding(model: JukeboxModel, found: SongSurvey) -> float:
    """Seconds per second of sound."""
    rate = model.config.sampling_rate
    length = min(found.songs.header(0).num_samples(rate), _ENCODED_SECONDS * rate)
    sound = mix(found.songs.read(0, 0, length, rate))
    return _timed(lambda: encode_song(sound, model.vqvae)) * rate / max(length, 1)


def _pass(prior: JukeboxPrior, choice: TrainingChoice, learns: bool = True) -> float:
    """Seconds of a pass over a batch, forward, and backward where it learns."""
    inputs = _noise(prior.config, choice.batch_size)
    inputs = {name: value.to(choice.device) for name, value in inputs.items()}
    prior = prior.to(choice.device).train(learns)

    def run() -> None:
        with torch.autocast(choice.device.type, torch.bfloat16, enabled=choice.bf16), torch.set_grad_enabled(learns):
            loss = prior(**inputs).loss
            if learns:
                loss.backward()
        prior.zero_grad()

    run()  # to warm up
    return _timed(run)


def _held_out_windows(config: JukeboxPriorConfig, found: SongSurvey) -> int:
    """About as many as an evaluation hears."""
    mean = sum(found.seconds) / len(found.seconds) * config.sampling_rate
    return min(len(found.held_out) * max(int(mean / config.window_samples), 1), EVAL_WINDOWS)


def _measured_songs(request: FinetuneRequest, found: SongSurvey) -> int:
    """How many are measured before, and again after."""
    old = num_held_out(request.replay) if request.has_replay and request.old_songs is None else 0
    return min(len(found.held_out) or len(found.seconds), MOST_SONGS) + min(old, MOST_SONGS)


def _scoring(prior: JukeboxPrior, tokenizer: JukeboxTokenizer | None) -> float:
    """Seconds of measuring a song."""
    config, prior = prior.config, prior.eval()
    codes = torch.zeros(WINDOWS_PER_SONG * config.context_length, dtype=torch.long, device="cpu")
    upper = None if config.upper_strides is None else codes[: len(codes) // config.upper_ratio]
    return _timed(lambda: score(prior, tokenizer, Song("-"), len(codes) * config.hop_length, codes, upper))


def _noise(config: JukeboxPriorConfig, batch: int) -> dict[str, torch.Tensor]:
    """Inputs that a prior takes."""
    zeros = lambda *shape: torch.zeros(batch, *shape, dtype=torch.long, device="cpu")  # noqa: E731
    inputs = {"codes": zeros(config.context_length)}
    if config.upper_strides is not None:
        inputs["upper_codes"] = zeros(config.upper_length)
    if config.has_labels:
        inputs |= {"artist_ids": zeros(), "genre_ids": zeros(config.max_genres)}
    if config.has_timing:
        total = int(config.sampling_rate * (config.min_song_seconds + config.max_song_seconds) / 2)
        inputs["timing"] = torch.tensor([[total, 0, config.window_samples]] * batch, device="cpu")
    if config.lyrics != "none":
        inputs["lyric_ids"] = zeros(config.lyric_length)
    return inputs


def _replayed(request: FinetuneRequest, config: JukeboxConfig, level: int) -> list[dict[str, Any]]:
    return replay_requests(config, tokenizer_of(request.model), level, request.replay, request.seed)


def _singing(request: FinetuneRequest, songs: list[dict[str, Any]], lowest: int, num_levels: int) -> float:
    """Seconds of writing songs together, down to a level."""
    levels = ",".join(str(level) for level in range(num_levels - 1, lowest - 1, -1))
    given = [{"kind": "generate", "name": f"song-{number}", "model": request.model, "levels": levels,
              "dtype": "keep"} | song for number, song in enumerate(songs)]  # fmt: skip
    found = run_songs(given, RunOptions(out="songs/", device=request.device, dry_run=True), _Silent())
    return sum(each["seconds"] for each in found)


class _Silent(Progress):
    """Of songs that are only counted: how they would be made is no news."""

    def say(self, line: str) -> None:
        """Nothing."""


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
