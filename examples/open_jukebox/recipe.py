"""An open Jukebox from songs that anybody may use: every stage in one line, which goes on where it was stopped.

    python -m examples.open_jukebox.recipe small songs/ my-open-jukebox/
    python -m examples.open_jukebox.recipe 1b songs/ my-open-jukebox/ --launch "accelerate launch --config_file ..."

Flows in: a size (a file of `sizes/`), songs in AudioFolder layout (`corpus.py` writes the list), a folder. Flows out:
`jukebox/`, a whole Jukebox, and a song of it. Stages: vqvae, codes, prior_2, prior_1, prior_0, jukebox, song.
`stages.json` says which are done; a stage that was cut short goes on from its newest whole checkpoint.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from examples.open_jukebox.size_files import PRIORS, Sanity, Size, read_size
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole

_DONE = "stages.json"
_COMMON = {
    "bf16": True,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 1000,
    "seed": 0,
    "shift": True,
    "logging_steps": 10,
    "save_strategy": "steps",
    "save_total_limit": 2,
    "report_to": "none",
    "disable_tqdm": True,
}
_CHECKPOINTS = 20  # of a stage, at least


class Recipe:
    """The stages of a size on some songs, in one folder."""

    def __init__(self, size: Size, songs: Path, out: Path, launch: Sequence[str] = (), seconds: float = 20.0) -> None:
        self.size, self.songs, self.out, self.launch, self.seconds = size, songs, out, list(launch), seconds
        self.stages = ("vqvae", "codes", *PRIORS, "jukebox", "song")

    def done(self) -> dict[str, Any]:
        """What finished stages told."""
        file = self.out / _DONE
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def words(self, stage: str) -> list[str]:
        """The command of a stage; those that train or encode are launched by `launch`."""
        out = self.out
        if stage == "codes":
            return self._many("encode-dataset", self.songs, out / "codes", "--model", out / "vqvae")
        if stage == "jukebox":
            priors = [out / name for name in reversed(PRIORS)]
            return self._one("assemble", out / "jukebox", "--vqvae", out / "vqvae", "--priors", *priors)
        if stage == "song":
            length = ["--seconds", self.seconds, "--seed", 0, "--force", "--out", out / "song.wav"]
            return self._one("generate", "--model", out / "jukebox", *length)
        name = "train-vqvae" if stage == "vqvae" else "train-prior"
        return self._many(name, out / "settings" / f"{stage}.yaml", "--resume_from_checkpoint", "auto")

    def settings(self, stage: str) -> dict[str, Any]:
        """All arguments of a training stage."""
        told, data = self.size.stages[stage], {"train_codes": str(self.out / "codes")}
        steps = told.arguments["max_steps"]
        return {
            "config": str(self.out / "settings" / f"{stage}.json"),
            **({"train_songs": str(self.songs)} if stage == "vqvae" else data),
            "output_dir": str(self.out / stage),
            **_COMMON,
            "warmup_steps": min(_COMMON["warmup_steps"], steps // 10),
            "save_steps": max(1, min(2000, steps // _CHECKPOINTS)),
            **told.arguments,
        }

    def write_settings(self) -> None:
        """Write down what every training stage is told; an unfinished run must be told the same.

        Raises:
            ValueError: another run is in the folder.
        """
        folder = self.out / "settings"
        folder.mkdir(parents=True, exist_ok=True)
        for stage, told in self.size.stages.items():
            for name, text in (
                (f"{stage}.json", told.config.to_json_string()),
                (f"{stage}.yaml", yaml.safe_dump(self.settings(stage), sort_keys=False)),
            ):
                file = folder / name
                require(
                    not file.is_file() or file.read_text(encoding="utf-8") == text,
                    f"{file} was written by a run of other sizes, songs or arguments; go on with those, or name a new "
                    f"folder",
                )
                write_whole(file, text.encode())

    def run(self) -> None:
        """Run what is not done.

        Raises:
            ValueError: a stage that failed, or does not learn, in one sentence.
        """
        self.write_settings()
        for stage in self.stages:
            done = self.done()
            if stage in done:
                print(f"{stage}: done")
                continue
            words = self.words(stage)
            print(f"{stage}: {shlex.join(words)}", flush=True)
            code = subprocess.run(words).returncode
            require(code == 0, f"{stage} ended with exit code {code}; mend what it says, and run this again to go on")
            told = self._checked(stage) if stage in self.size.stages else {}
            write_whole(self.out / _DONE, json.dumps(done | {stage: told}, indent=1).encode())

    def _checked(self, stage: str) -> dict[str, float]:
        """What the sanity of a stage was.

        Raises:
            ValueError: it has not learnt.
        """
        log = json.loads((self.out / stage / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
        sanity = self.size.stages[stage].sanity
        found = measured(log, sanity)
        require(
            found < sanity.below,
            f"{stage} has {sanity.metric} {found:.4g} at step {sanity.step}, but one that learns is below "
            f"{sanity.below:g}; listen to the songs, and try a lower learning rate",
        )
        return {sanity.metric: found}

    def _one(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "jukebox_hf", *map(str, words)]

    def _many(self, *words: object) -> list[str]:
        return [*(self.launch or [sys.executable]), "-m", "jukebox_hf", *map(str, words)]


def measured(log: Sequence[dict[str, Any]], sanity: Sanity) -> float:
    """The mean of a metric over the five entries of a log up to a step.

    Raises:
        ValueError: no such entry.
    """
    values = [entry[sanity.metric] for entry in log if sanity.metric in entry and entry["step"] <= sanity.step]
    require(len(values) > 0, f"the log has no {sanity.metric} up to step {sanity.step}; log more often")
    return sum(values[-5:]) / len(values[-5:])


def main(words: Sequence[str] | None = None) -> int:
    """Run as the words of a command line say; exit code 2 with one sentence where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m examples.open_jukebox.recipe", description=__doc__.split("\n")[0])
    parser.add_argument("size", help="small, 1b, 5b, toy, or a file of your own")
    parser.add_argument("songs", type=Path, help="songs in AudioFolder layout, with metadata.csv")
    parser.add_argument("out", type=Path, help="the folder to make, or to go on with")
    parser.add_argument(
        "--launch", default="", help="what starts many processes, such as 'torchrun --nproc-per-node 8'"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the song at the end")
    parser.add_argument("--dry-run", action="store_true", help="print the commands; write nothing")
    told = parser.parse_args(words)
    try:
        require((told.songs / "metadata.csv").is_file(), f"{told.songs} holds no metadata.csv; write it with corpus.py")
        recipe = Recipe(read_size(told.size), told.songs, told.out, shlex.split(told.launch), told.seconds)
        if told.dry_run:
            for stage in recipe.stages:
                print(f"{stage}: {shlex.join(recipe.words(stage))}")
        else:
            recipe.run()
    except (ValueError, OSError) as error:
        print(f"recipe: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
