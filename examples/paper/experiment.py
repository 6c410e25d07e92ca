"""`python -m examples.paper.experiment OUT`: does a toy learn what the paper found? Four ways to train one VQ-VAE.

Flows in: seeds. Flows out: OUT/rows.json, a row for each arm and seed, written as soon as it is measured. The same line
goes on where it was stopped: rows that are there are not made again. Each arm differs from `paper` in one thing.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, set_seed

from examples.paper.hierarchy import HierarchicalVQVAE, TopAlone
from examples.paper.measures import LevelMeasures, measure, with_other_top_codes
from jukebox_hf import JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.app.output import json_text
from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.training import JukeboxVQVAETrainer
from jukebox_hf.training.trainer import JukeboxTrainer
from jukebox_hf.training.vqvae.bandwidth import measure_bandwidth, spread_windows
from jukebox_hf.training.vqvae.vqvae_arguments import JukeboxVQVAETrainingArguments

ROWS = "rows.json"
ARMS = ("paper", "no restarts", "no spectral loss", "one hierarchy")
_RATE = 8000
_TEST_SEED = 7  # of the corpus that is measured on
_RESTARTS = {"restart_share": 0.1, "start_count": 1.05}
_NO_RESTARTS = {"restart_threshold": -1.0}


@dataclass(frozen=True)
class ToySizes:
    """How much is trained and measured.

    Attributes:
        seconds, test_seconds: of music to train and to measure on.
        window_samples: of a training window.
        batch: windows in a step.
        steps: of training.
        measured: how often along the way.
        codes: in each codebook.
        width: channels of the separate autoencoders' residual stacks.
        hierarchy_width: of the hierarchy's; wider, so that it has as many parameters in its half as many blocks.
    """

    seconds: float = 240.0
    test_seconds: float = 40.0
    window_samples: int = 4096
    batch: int = 4
    steps: int = 400
    measured: int = 8
    codes: int = 128
    width: int = 32
    hierarchy_width: int = 50


@dataclass(frozen=True)
class ArmRow:
    """What one arm with one seed gave.

    Attributes:
        arm: one of ARMS.
        seed: of weights, of the order of windows, of restarts.
        minutes: of training and measuring.
        parameters: of the network.
        levels: at the end, finest first.
        curve: along the way: `step`, and `levels` as above.
        other_top: of the hierarchy, spectral convergence in dB with the top codes of another window.
    """

    arm: str
    seed: int
    minutes: float
    parameters: int
    levels: list[LevelMeasures]
    curve: list[dict[str, Any]] = field(default_factory=list)
    other_top: float | None = None


def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.paper.experiment", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="the folder to work in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="seeds, in this order")
    parser.add_argument("--arms", nargs="+", default=ARMS, help="arms, in this order")
    parser.add_argument("--steps", type=int, default=ToySizes.steps, help="steps of training for each")
    said = parser.parse_args(words)
    try:
        run(said.out, said.arms, said.seeds, ToySizes(steps=said.steps), lambda line: print(line, flush=True))
    except (ValueError, OSError) as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 2
    return 0


def run(
    out: Path, arms: Sequence[str], seeds: Sequence[int], sizes: ToySizes, say: Callable[[str], None]
) -> list[ArmRow]:
    """Make the rows that are not there yet, seed by seed; gives all.

    Raises:
        ValueError: an arm that is none of ARMS, in one sentence.
    """
    for arm in arms:
        require(arm in ARMS, f"arms={arm!r} is none of {', '.join(ARMS)}; choose of these")
    out.mkdir(parents=True, exist_ok=True)
    rows = {(row.arm, row.seed): row for row in read_rows(out / ROWS)}
    stage = None
    for arm, seed in ((arm, seed) for seed in seeds for arm in arms):
        if (arm, seed) in rows:
            continue
        stage = stage or _Corpus(out, sizes)
        rows[arm, seed] = row = stage.trained(arm, seed)
        say(json.dumps({"arm": arm, "seed": seed, "minutes": row.minutes, "levels": list(map(asdict, row.levels))}))
        _write_rows(out, rows.values())
    return list(rows.values())


def read_rows(file: Path) -> list[ArmRow]:
    """The rows that are measured already."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return [ArmRow(**(row | {"levels": _levels(row["levels"]), "curve": [_point(p) for p in row["curve"]]}))
            for row in found]  # fmt: skip


class _Corpus:
    """What all rows share: windows to train on, and songs to measure on."""

    def __init__(self, out: Path, sizes: ToySizes) -> None:
        self.out, self.sizes = out, sizes
        self.train = self._windows("train", sizes.seconds, 0)
        test = self._windows("test", sizes.test_seconds, _TEST_SEED)
        self.test = torch.stack([test[index]["input_values"] for index in range(len(test))])
        self.bandwidth = measure_bandwidth(spread_windows(self.train, 64))

    def trained(self, arm: str, seed: int) -> ArmRow:
        """Train one arm, and measure it."""
        start = time.monotonic()
        set_seed(seed)
        model = self._network(arm)
        curve = _Curve(model, self.test, max(1, self.sizes.steps // self.sizes.measured))
        how = _NO_RESTARTS if arm == "no restarts" else _RESTARTS
        JukeboxVQVAETrainer(model, self._arguments(seed, **how), train_dataset=self.train, callbacks=[curve]).train()
        alone, other_top = None, None
        if isinstance(model, HierarchicalVQVAE):
            other_top = with_other_top_codes(model, self.test)
            alone = TopAlone(model.requires_grad_(False).eval(), self.sizes.width)
            JukeboxTrainer(alone, self._arguments(seed), train_dataset=self.train).train()
        levels = measure(model, self.test, alone)
        minutes = round((time.monotonic() - start) / 60, 2)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        return ArmRow(arm, seed, minutes, parameters, levels, curve.points, other_top)

    def _network(self, arm: str) -> JukeboxVQVAE:
        config = JukeboxVQVAEConfig(
            sampling_rate=_RATE, level_strides=((8,), (4,), (4,)), codebook_size=self.sizes.codes, codebook_dim=32,
            hidden_sizes=(self.sizes.hierarchy_width if arm == "one hierarchy" else self.sizes.width,) * 3,
            residual_depths=(2, 2, 2), reconstruction_loss="l2", commit_weight=0.02,
            multispectral_weight=0.0 if arm == "no spectral loss" else 1.0,
            multispectral_fft_sizes=(512, 256, 128), multispectral_hop_lengths=(60, 30, 15),
            multispectral_window_lengths=(300, 150, 60),
        )  # fmt: skip
        self.bandwidth.write_to(config)
        return (HierarchicalVQVAE if arm == "one hierarchy" else JukeboxVQVAE)(config)

    def _arguments(self, seed: int, **how: float) -> JukeboxVQVAETrainingArguments:
        steps = self.sizes.steps
        return JukeboxVQVAETrainingArguments(
            output_dir=str(self.out / "trainer"), seed=seed, max_steps=steps, warmup_steps=min(20, steps - 1),
            per_device_train_batch_size=self.sizes.batch, learning_rate=1e-3, lr_scheduler_type="cosine",
            save_strategy="no", logging_steps=steps, report_to="none", disable_tqdm=True, use_cpu=True, **how,
        )  # fmt: skip

    def _windows(self, name: str, seconds: float, seed: int) -> AudioWindows:
        folder = self.out / name
        if not (folder / "metadata.csv").is_file():  # it comes last: what is whole is not made again
            write_corpus(folder, CorpusSettings(hours=seconds / 3600, seed=seed, sampling_rate=_RATE))
        songs = open_songs(str(folder))
        return AudioWindows(songs, self.sizes.window_samples, _RATE, shift=name == "train")


class _Curve(TrainerCallback):
    """Measures the network along the way."""

    def __init__(self, model: JukeboxVQVAE, audio: Tensor, every: int) -> None:
        self.model, self.audio, self.every = model, audio, every
        self.points: list[dict[str, Any]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.every == 0:
            self.points.append({"step": state.global_step, "levels": measure(self.model, self.audio)})


def _point(stored: dict[str, Any]) -> dict[str, Any]:
    return stored | {"levels": _levels(stored["levels"])}


def _levels(stored: Iterable[dict[str, Any]]) -> list[LevelMeasures]:
    return [LevelMeasures(**level) for level in stored]


def _write_rows(out: Path, rows: Iterable[ArmRow]) -> None:
    write_whole(out / ROWS, (json_text([asdict(row) for row in rows], indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
