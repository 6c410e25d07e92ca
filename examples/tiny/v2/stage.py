"""`python -m examples.tiny.v2.stage OUT --bank voice-bank.zip`: one stage of training v2 within so many minutes.

Flows in: a voice bank, and networks in pieces from earlier stages. Flows out: OUT, networks in pieces and report.json.
A stage is songs, a VQ-VAE, codes and one prior; what is given is not made again: a given VQ-VAE is kept (or trained on
where no prior is asked for), a given prior is trained on. Steps are counted so that schedules end with the time: two
short runs tell how long a step takes. Should time run out all the same, the newest checkpoint goes out.

Each level of a VQ-VAE is trained by itself, one after the other, by losses of its own (decisions 081 and 083).
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from examples.tiny.join_levels import join_levels
from examples.tiny.v2.pieces import cut, has_pieces, join
from jukebox_hf.data.synthesis.corpus import CorpusSettings, write_corpus
from jukebox_hf.training import encode_dataset, train_prior, train_vqvae
from jukebox_hf.training.checkpoints import newest_checkpoint

PRIORS = ("prior_top", "prior_1", "prior_0")
# Of each level, finest first: of the top one errors of the wave weigh least; spectra as in train_vqvae.sh.
_DISTANCES = "multispectral_loss=magnitude,spectral_bandwidth=300"
_LEVEL_LOSSES = (
    f"relative_weight=0.05,multispectral_weight=0.5,log_magnitude_weight=1,{_DISTANCES}",
    f"relative_weight=0.05,multispectral_weight=0.5,log_magnitude_weight=1,{_DISTANCES}",
    f"relative_weight=0.02,multispectral_weight=0.3,log_magnitude_weight=1,{_DISTANCES}",
)
_LEVELS = {"prior_top": "2", "prior_1": "1 2", "prior_0": "0 1"}
_SONGS = {"uneven": 0.0, "a_cappella": 0.5, "instrumentals": 0.04}  # decision 084
_PROBES = (8, 24)  # steps of the two short runs
_SPENT = 0.9  # of the time that is left, so that saving fits in
_VQVAE_SHARE = 0.5  # of what is left after the songs, where a prior follows
_RESERVE = 20.0  # seconds before the end at which whatever is there goes out
_MOST_READERS = 8  # processes that read windows ahead of a GPU
_FIRST_WEIGHTS = ("shared_positions", "tied_query_key", "embedding_std")
SEED = 100


@dataclass
class Stage:
    """What to do with which time.

    Attributes:
        out, work: folders of what goes out, and of everything else.
        bank: words and notes.
        given: folder of pieces, or None.
        prior: one of `PRIORS`, or None for the VQ-VAE alone.
        deadline: by the clock of `time.monotonic`.
        sizes: folder of configurations and training settings.
        hours: of songs.
        processes: that make songs.
        is_cpu: no GPU here.
        most_steps: of each network, however much time there is; None for no limit.
        report: what was done and how long it took.
    """

    out: Path
    work: Path
    bank: Path
    given: Path | None
    prior: str | None
    deadline: float
    sizes: Path
    hours: float
    processes: int
    is_cpu: bool
    most_steps: int | None = None
    report: dict[str, Any] = field(default_factory=dict)

    def left(self) -> float:
        """Seconds that may still be spent."""
        return max(self.deadline - _RESERVE - time.monotonic(), 0.0)

    def timed(self, name: str, work: Callable[[], object]) -> None:
        """Do something, and note how long it took."""
        began = time.monotonic()
        work()
        self.report.setdefault("seconds", {})[name] = round(time.monotonic() - began, 1)
        print(f"{name}: {self.report['seconds'][name]} s, {self.left():.0f} s left", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Run a stage as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="stage", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bank", type=Path, required=True, help="voice-bank.zip of a corpus of recorded voices")
    parser.add_argument("--given", type=Path, help="folder of pieces of earlier stages")
    parser.add_argument("--prior", choices=PRIORS, help="train this one; without it the VQ-VAE alone")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--hours", type=float, default=6.0, help="of songs")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sizes", type=Path, default=Path("examples/tiny/v2"))
    parser.add_argument("--work", type=Path, default=Path("runs/v2"))
    parser.add_argument("--cpu", action="store_true", help="train without a GPU")
    parser.add_argument("--most-steps", type=int, help="of each network, to rehearse")
    args = parser.parse_args(words)
    deadline = time.monotonic() + 60 * args.minutes
    stage = Stage(args.out, args.work, args.bank, args.given, args.prior, deadline, args.sizes, args.hours,
                  args.processes, args.cpu, args.most_steps)  # fmt: skip
    try:
        if args.minutes * 60 <= 2 * _RESERVE:
            raise ValueError(f"minutes={args.minutes:g} leave no time to train; give at least 1")
        run_stage(stage)
    except (ValueError, OSError) as error:
        print(f"stage: {error}", file=sys.stderr)
        return 2
    return 0


def run_stage(stage: Stage) -> None:
    """Songs, VQ-VAE, codes and prior, as far as they are asked for and not given."""
    alarm = threading.Timer(stage.left() + 0.5 * _RESERVE, _let_out, [stage])
    alarm.daemon = True
    alarm.start()
    stage.work.mkdir(parents=True, exist_ok=True)
    stage.timed("songs", lambda: _make_songs(stage))
    vqvae = stage.work / "vqvae"
    if has_pieces(stage.given, "vqvae") and not vqvae.is_dir():
        join(stage.given, vqvae, "vqvae")
    if stage.prior is None or not (vqvae / "model.safetensors").is_file():
        share = 1.0 if stage.prior is None else _VQVAE_SHARE
        stage.timed("vqvae", lambda: _train_levels(stage, share * stage.left()))
        cut(vqvae, stage.out, "vqvae")
        join(stage.out, vqvae, "vqvae")  # codes are of the numbers that go out, not of those in 32 bits
    if stage.prior is not None:
        stage.timed("codes", lambda: _encode(stage))
        stage.timed(stage.prior, lambda: _train(stage, stage.prior, stage.left(), train_prior.main))
        cut(stage.work / stage.prior, stage.out, stage.prior)
    alarm.cancel()
    _write_report(stage)


def _make_songs(stage: Stage) -> None:
    songs = stage.work / "songs"
    if not (songs / "metadata.csv").is_file():
        settings = CorpusSettings(hours=stage.hours, seed=SEED, voices="recorded", format="wav", **_SONGS)
        write_corpus(songs, settings, processes=stage.processes, voice_bank=stage.bank)


def _encode(stage: Stage) -> None:
    codes = stage.work / "codes"
    levels = _LEVELS[stage.prior].split()
    words = [str(stage.work / "songs"), str(codes), "--model", str(stage.work / "vqvae"), "--levels", *levels]
    _checked(encode_dataset.main(words), "the codes were not made")


def _train_levels(stage: Stage, seconds: float) -> None:
    """Train a VQ-VAE for so many seconds, each level from the same weights, and join the levels."""
    end = time.monotonic() + seconds
    for level in range(len(_LEVEL_LOSSES)):  # of an earlier run: when the time is up they would pass for this one's
        shutil.rmtree(stage.work / f"vqvae_{level}", ignore_errors=True)
    for level, losses in enumerate(_LEVEL_LOSSES):
        share = (end - time.monotonic()) / (len(_LEVEL_LOSSES) - level)
        changes = {"train_levels": [level], "config_overrides": losses}
        _train(stage, "vqvae", share, train_vqvae.main, run=f"vqvae_{level}", changes=changes)
    shutil.rmtree(stage.work / "vqvae", ignore_errors=True)
    join_levels(stage.work / "vqvae", *(stage.work / f"vqvae_{level}" for level in range(len(_LEVEL_LOSSES))))


def _train(
    stage: Stage,
    name: str,
    seconds: float,
    command: Callable[[Sequence[str]], int],
    *,
    run: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Train a network for so many seconds: as many steps as fit, by two short runs, in one schedule.

    Args:
        name: of its settings.
        run: name of what comes out, if it is another.
        changes: of its settings.
    """
    run = run or name
    began, out = time.monotonic(), stage.work / run
    settings = _settings(stage, name) | (changes or {})
    took = []
    for steps in _PROBES:
        start, probe = time.monotonic(), stage.work / "probe"
        shutil.rmtree(probe, ignore_errors=True)
        settings_now = {**settings, "output_dir": str(probe), "max_steps": steps, "save_strategy": "no"}
        _checked(command([str(_written(stage, f"{run}-probe", settings_now))]), f"a short run of {run} failed")
        took.append(time.monotonic() - start)
    shutil.rmtree(stage.work / "probe", ignore_errors=True)
    step = max((took[1] - took[0]) / (_PROBES[1] - _PROBES[0]), 1e-3)
    room = _SPENT * (seconds - (time.monotonic() - began))
    steps = max(min(int(room / step), stage.most_steps or sys.maxsize), 1)
    stage.report.setdefault("steps", {})[run] = {"steps": steps, "seconds_per_step": round(step, 4)}
    settings |= {"output_dir": str(out.with_name(f"{run}-run")), "max_steps": steps}
    settings["save_steps"] = max(steps // 8, 1)
    _checked(command([str(_written(stage, run, settings)), "--resume_from_checkpoint", "auto"]),
             f"training {run} failed")  # fmt: skip
    new = out.with_name(f"{run}-new")  # a folder that is half copied when the time is up must not pass for a whole one
    for folder in (new, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out.with_name(f"{run}-run"), new, ignore=shutil.ignore_patterns("checkpoint-*"))
    os.replace(new, out)


def _settings(stage: Stage, name: str) -> dict[str, Any]:
    """The settings of `sizes`, with what is given to go on from and this machine's folders."""
    settings = yaml.safe_load((stage.sizes / f"{name}.yaml").read_text())
    settings["config"] = str(stage.sizes / f"{name}.json")
    source = "train_songs" if name == "vqvae" else "train_codes"
    settings[source] = str(stage.work / source.removeprefix("train_"))
    if has_pieces(stage.given, name):
        begun = stage.work / f"{name}-given"
        join(stage.given, begun, name)
        settings["model_name_or_path"] = str(begun)
        for key in ("config", *_FIRST_WEIGHTS, "bandwidth_seconds"):
            settings.pop(key, None)
    if stage.is_cpu:
        settings |= {"use_cpu": True, "bf16": False}
    else:
        settings["dataloader_num_workers"] = min(stage.processes, _MOST_READERS)
    return settings


def _written(stage: Stage, name: str, settings: dict[str, Any]) -> Path:
    path = stage.work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def _checked(code: int | None, what: str) -> None:
    if code:
        raise ValueError(f"{what}; the lines above say why")


def _let_out(stage: Stage) -> None:
    """The time is up: what the run in progress has saved last goes out, and the program ends."""
    print("the time is up: the newest checkpoints go out", flush=True)
    for name in ("vqvae", *PRIORS):
        if not has_pieces(stage.out, name):
            try:
                newest = _newest_vqvae(stage) if name == "vqvae" else newest_checkpoint(stage.work / f"{name}-run")
                if newest is not None:
                    cut(newest, stage.out, name)
            except Exception as error:  # of whatever kind: the others and the report still go out
                print(f"stage: {name} does not go out ({type(error).__name__}: {error})", file=sys.stderr, flush=True)
    stage.report["out_of_time"] = True
    _write_report(stage)
    os._exit(0)


def _newest_vqvae(stage: Stage) -> Path | None:
    """The levels as far as they are trained, joined; None where none is begun."""
    folders = [
        done
        if (done := stage.work / f"vqvae_{level}").is_dir()
        else newest_checkpoint(done.with_name(f"{done.name}-run"))
        for level in range(len(_LEVEL_LOSSES))
    ]
    begun = next((folder for folder in folders if folder is not None), None)
    if begun is None:
        return None
    late = stage.work / "vqvae-late"
    shutil.rmtree(late, ignore_errors=True)
    join_levels(late, *(folder or begun for folder in folders))  # a level that is not begun is as it was in all of them
    return late


def _write_report(stage: Stage) -> None:
    stage.out.mkdir(parents=True, exist_ok=True)
    stage.report |= {"prior": stage.prior, "hours": stage.hours, "seed": SEED}
    (stage.out / "report.json").write_text(json.dumps(stage.report, indent=1))


if __name__ == "__main__":
    sys.exit(main())
