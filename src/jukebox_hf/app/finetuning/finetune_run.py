"""A fine-tuning run, stage by stage: look, encode, replay, measure, train, measure again, assemble, sing, publish.

Flows in: a request and a folder to make. Flows out: a whole Jukebox there, and a report. Every stage leaves a mark in
`OUT.finetune/`, so the same line goes on where a run was stopped, with the same result.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import soundfile

from jukebox_hf.app.finetuning.disk_and_time import check_disk, estimate_run, sample_seconds
from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.app.finetuning.level_training import LEAST_GAIN, clear_checkpoints, curve_of, plan_level, train_level
from jukebox_hf.app.finetuning.measures import measure
from jukebox_hf.app.finetuning.report import (
    MODEL_CARD,
    REPORT,
    SAMPLE,
    card_of,
    gain,
    level_lines,
    measured_table,
    warnings_of,
)
from jukebox_hf.app.finetuning.song_codes import (
    SplitCodes,
    hold_out_old,
    is_finished,
    levels_with_upper,
    make_replay,
    release,
    replay_requests,
    split_codes,
)
from jukebox_hf.app.finetuning.song_survey import SongSurvey, survey
from jukebox_hf.app.finetuning.stage_clock import StageClock
from jukebox_hf.app.finetuning.training_choice import TrainingChoice, choose_training
from jukebox_hf.app.finetuning.work_folder import WorkFolder
from jukebox_hf.app.output import json_text
from jukebox_hf.app.repository_facts import check_parts, configuration_of
from jukebox_hf.app.runs.model_fingerprint import fingerprint
from jukebox_hf.app.runs.run_options import RunOptions
from jukebox_hf.app.runs.song_making import GENERATED
from jukebox_hf.app.runs.song_runs import run_songs
from jukebox_hf.conversion.known_files import check_copied
from jukebox_hf.conversion.staging import check_target
from jukebox_hf.data.audio_io import write_audio
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.song_tables import check_song_source
from jukebox_hf.model.adapters.style_file import STYLE_FILE
from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.text_input import check_apart, levels_in_words, real_path
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from jukebox_hf.model.files.atomic_files import flush, write_whole
from jukebox_hf.model.files.loading_arguments import without_bars
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.assemble import put_priors
from jukebox_hf.training.commands import without_advice
from jukebox_hf.training.encode_dataset import encode_dataset
from jukebox_hf.training.prior.prior_data import facts_of
from jukebox_hf.training.prior.prior_sources import check_trainable, tokenizer_of
from jukebox_hf.training.share import base_of, import_adapter, style_of, write_adapter

_STAGES = 7
_OLD_CODES = "made"  # folder of the codes of --old-songs


def run_finetuning(
    request: FinetuneRequest, out: Path, say: Callable[[str], None], dry_run: bool = False
) -> dict[str, Any]:
    """Run all stages that are not done yet; gives the report, or with `dry_run` an estimate.

    Raises:
        ValueError, OSError: in one sentence; before the first code wherever that can be known.
    """
    return FinetuneRun(request, out, say).dry_run() if dry_run else FinetuneRun(request, out, say).result()


class FinetuneRun:
    """The stages of a run; holds nothing that a crash could lose."""

    def __init__(self, request: FinetuneRequest, out: Path, say: Callable[[str], None]) -> None:
        require(
            int(os.environ.get("WORLD_SIZE", 1)) == 1,
            "finetune runs in one process; for several, take encode-dataset, train-prior and assemble "
            "(docs/how-to/fine-tune-on-your-songs.md)",
        )
        self.request, self.out, self.say = request, out, say
        self.work = WorkFolder(out)
        self.config: JukeboxConfig = configuration_of(request.model)
        self.num_levels = len(self.config.prior_configs)
        for level in request.levels or ():
            check_level("--levels", level, self.num_levels)
        self.levels = tuple(sorted(request.levels or range(self.num_levels), reverse=True))
        check_parts(request.model, self.config, range(self.num_levels))
        check_trainable(request.model, self.levels)
        self.tokenizer = tokenizer_of(request.model)

    def dry_run(self) -> dict[str, Any]:
        """What the run would take, measured in a few steps; nothing is written."""
        self._check_places()
        found, choice = self._looked()
        self.say("a few steps of every stage are measured; that takes a minute or more")
        estimate = estimate_run(self.request, self.config, self.levels, found, choice)
        check_disk(self.out, estimate["disk_bytes"])
        return estimate

    def result(self) -> dict[str, Any]:
        """The report of a finished run."""
        self._check_places()
        found, choice = self._looked()
        model = JukeboxModel.from_pretrained(located(self.request.model))
        run = self.request.to_dict() | {
            "songs": found.files(),
            "recordings": found.recordings(),
            "model": fingerprint(self.request.model, model, range(self.num_levels)).digests,
            "device": choice.device.type,
            "bf16": choice.bf16,
        }
        if not self.work.path.exists():
            estimate = estimate_run(self.request, self.config, self.levels, found, choice, measures=False)
            check_disk(self.out, estimate["disk_bytes"])
        with self.work.locked(run), contextlib.redirect_stdout(sys.stderr), without_bars(), without_advice():
            if (done := self.work.found("done")) is not None:
                require(
                    self.out.exists(),
                    f"{self.work.path} says that {self.out} is finished, but it is gone; remove that folder to make it "
                    f"again",
                )
                return done
            choice = self._same_choice(choice)
            return self._stages(found, choice, model.to(choice.device))

    def _check_places(self) -> None:
        """Refuse folders that a run cannot write into, unless it was begun there."""
        if self.out.exists() and self.work.is_begun:
            return
        _check_free(self.out)
        if not self.work.is_begun:
            check_copied(Path(located(self.request.model)))
        songs = check_song_source(self.request.songs)
        if os.path.exists(songs):
            check_apart(f"{self.out}", self.out, f"the songs, {songs},", songs, "name a folder beside the songs")
        if (old := self.request.old_songs) is not None and os.path.exists(old):
            check_apart(f"{self.out}", self.out, f"the old songs, {old},", old, "name a folder beside them")
        self._check_adapter_folder()

    def _check_adapter_folder(self) -> None:
        folder = self.request.keep_adapter
        if folder is None or WorkFolder(self.out).is_begun:
            return
        _check_free(Path(folder))
        for what, taken in (("OUT", self.out), ("the folder of the run", self.work.path)):
            theirs = f"{what}, {real_path(taken).name},"
            check_apart(f"--keep-adapter {folder}", folder, theirs, taken, "name a folder elsewhere")

    def _looked(self) -> tuple[SongSurvey, TrainingChoice]:
        found = survey(self.request, self.config, self.tokenizer)
        for line in found.lines:
            self.say(line)
        if self.request.old_songs is not None and not is_finished(self.work.path / _OLD_CODES):
            self._check_old_songs(self.request.old_songs)
        choice = choose_training(self.request, self.config, self.levels)
        self.say(choice.line)
        return found, choice

    def _check_old_songs(self, source: str) -> None:
        """Refuse old songs that cannot be read, before the new ones are encoded."""
        try:
            open_songs(source, allow_outside_files=self.request.allow_outside_files).check_labels()
        except ValueError as error:
            said = f"source={source!r} " if str(error).startswith(f"source={source!r} ") else ""
            raise ValueError(f"--old-songs {source!r}{' ' if said else ': '}{str(error)[len(said) :]}") from None

    def _same_choice(self, choice: TrainingChoice) -> TrainingChoice:
        """What a run was begun with stands, however much memory is free now."""
        names = ("method", "batch_size", "accumulation", "checkpointing")
        begun = self.work.found("choice") or self.work.mark("choice", {name: getattr(choice, name) for name in names})
        return replace(choice, **begun)

    def _stages(self, found: SongSurvey, choice: TrainingChoice, model: JukeboxModel) -> dict[str, Any]:
        clock, steps = StageClock(self.work), {}
        with clock.of("codes"):
            new = self._encoded(found)
        with clock.of("replay"):
            old = self._replayed(model)
        with clock.of("measuring"):
            before = self._measured_before(model, new, old)
        release(model)
        for level in self.levels:
            with clock.of(f"level {level}"):
                steps[level] = self._trained(level, found, choice, new, old.get(level))
        with clock.of("measuring"):
            report = self._measured_after(found, choice, new, old, before, steps)
        with clock.of("sample"):
            self._assembled(report)
            report = self._with_sample(report, found)
        report = self._published(report, found)
        self.say(clock.line())
        return report

    def _tell(self, stage: int, what: str) -> None:
        self.say(f"{stage}/{_STAGES} {what}")

    # --- data ---

    def _encoded(self, found: SongSurvey) -> SplitCodes:
        self._tell(1, f"songs to codes, once ({sum(found.seconds):.4g} s of sound)")
        codes = self.work.path / "codes"
        if not is_finished(codes):
            encode_dataset(
                self.request.songs,
                codes,
                self.request.model,
                levels=levels_with_upper(self.levels, self.num_levels),
                allow_outside_files=self.request.allow_outside_files,
                words=found.filled,
            )
        return split_codes(codes, self.work.path / "new", found.held_out)

    def _replayed(self, model: JukeboxModel) -> dict[int, SplitCodes]:
        """Old songs by level."""
        if not self.request.has_replay:
            told = "so old artists may be forgotten"
            if self.request.method == "style":
                told = "since all but the new artist stays as it is"
            self._tell(2, f"no old songs are replayed, {told}")
            return {}
        if self.request.old_songs is not None:
            return self._given_old_songs()
        count = f"{self.request.replay} song{'s' * (self.request.replay != 1)}"
        self._tell(2, f"{count} of old artists for each level, made by the model before it learns")
        folders = {}
        for level in self.levels:
            made = self.work.path / f"made_{level}"
            if not is_finished(made):
                requests = replay_requests(self.config, self.tokenizer, level, self.request.replay, self.request.seed)
                own = levels_with_upper([level], self.num_levels)
                make_replay(model, facts_of(model.vqvae, own), level, requests, made, self.request.seed)
            folders[level] = split_codes(made, self.work.path / f"old_{level}", hold_out_old(made))
        return folders

    def _given_old_songs(self) -> dict[int, SplitCodes]:
        self._tell(2, f"old songs of {self.request.old_songs} to codes")
        codes = self.work.path / _OLD_CODES
        if not is_finished(codes):
            encode_dataset(self.request.old_songs, codes, self.request.model,
                           levels=levels_with_upper(self.levels, self.num_levels),
                           allow_outside_files=self.request.allow_outside_files)  # fmt: skip
        split = split_codes(codes, self.work.path / "old", hold_out_old(codes))
        return dict.fromkeys(self.levels, split)

    # --- learning ---

    def _measured_before(
        self, model: JukeboxModel, new: SplitCodes, old: Mapping[int, SplitCodes]
    ) -> dict[str, dict[str, Any]]:
        self._tell(3, "how well the songs are known before")
        found = self.work.found("before")
        if found is None:
            measured = {}
            for level in self.levels:
                prior = model.lend(level).float()
                measured[str(level)] = self._measures(prior, self.tokenizer, new, old.get(level))
                model.release(level)
            found = self.work.mark("before", measured)
        return found

    def _measures(self, prior: JukeboxPrior, tokenizer: Any, new: SplitCodes, old: SplitCodes | None) -> dict[str, Any]:
        found = {"new": measure(prior, tokenizer, new.held_out or new.train).to_dict()}
        if old is not None and old.held_out is not None:
            found["old"] = measure(prior, tokenizer, old.held_out).to_dict()
        return found

    def _trained(
        self, level: int, survey: SongSurvey, choice: TrainingChoice, new: SplitCodes, old: SplitCodes | None
    ) -> int:
        prior = self.config.prior_configs[level]
        plan = plan_level(self.request, self.config, level, new.train, choice.batch_size * choice.accumulation)
        rate = self.request.rate_for(choice.method)
        self._tell(4, f"level {level}: at most {plan.steps} steps at a learning rate of {rate:g}, measured every "
                      f"{plan.eval_steps} steps")  # fmt: skip
        found, out = self.work.found(f"level {level}"), self.work.path / f"prior_{level}"
        if found is None:
            brings = level in survey.naming_levels
            steps = train_level(self.request, choice, plan, new, old, out, prior.has_labels, brings, self.say)
            found = self.work.mark(f"level {level}", {"steps": steps, "curve": curve_of(out)})
        clear_checkpoints(out)  # also those that a run was killed before it had cleared
        return found["steps"]

    def _measured_after(
        self,
        survey: SongSurvey,
        choice: TrainingChoice,
        new: SplitCodes,
        old: Mapping[int, SplitCodes],
        before: Mapping[str, Any],
        steps: Mapping[int, int],
    ) -> dict[str, Any]:
        self._tell(5, "how well they are known now, and the old artists")
        found = self.work.found("after")
        if found is None:
            levels = {}
            for level in self.levels:
                folder = self.work.path / f"prior_{level}"
                prior = JukeboxPrior.from_pretrained(folder).eval().to(choice.device)
                after = self._measures(prior, tokenizer_of(str(folder)), new, old.get(level))
                levels[str(level)] = {"steps": steps[level], "before": before[str(level)], "after": after}
                levels[str(level)]["curve"] = self.work.found(f"level {level}")["curve"]
            for one in levels.values():
                one["is_kept"] = self.request.levels is not None or gain(one) >= LEAST_GAIN
            if not any(one["is_kept"] for one in levels.values()):
                levels[str(self.levels[0])]["is_kept"] = True  # so that the names are there
            found = self.work.mark(
                "after",
                {
                    "request": self.request.to_dict(),
                    "method": choice.method,
                    "rank": self.request.adapter_rank if choice.method == "lora" else None,
                    "learning_rate": self.request.rate_for(choice.method),
                    "songs": len(survey.seconds),
                    "seconds": round(sum(survey.seconds), 2),
                    "held_out": list(survey.held_out),
                    "new_names": list(survey.new),
                    "levels": levels,
                },
            )
        for line in [*level_lines(found), *warnings_of(found)]:
            self.say(line)
        return found

    # --- the result ---

    @property
    def _model(self) -> Path:
        return self.work.path / "model"

    def _assembled(self, report: Mapping[str, Any]) -> None:
        kept = [level for level, one in report["levels"].items() if one["is_kept"]]
        new = f"new prior{'s' * (len(kept) != 1)} of {levels_in_words(kept)}"
        self._tell(6, f"a whole Jukebox with the {new}" + ", and a sample song" * (sample_seconds(self.request) > 0))
        if self.work.found("assembled") is None:
            priors = [self.work.path / f"prior_{level}" for level in kept]
            if report["method"] == "style":
                self._put_style(priors, report["new_names"])
            else:
                put_priors(priors, self._model, self.request.model)
            self.work.mark("assembled", {"levels": kept})

    def _put_style(self, priors: Sequence[Path], names: Sequence[str]) -> None:
        """Put the vectors alone into a copy of the base, so that all else is as it is stored there."""
        levels = sorted(JukeboxPriorConfig.from_pretrained(prior).level for prior in priors)
        base = base_of(self.request.model, JukeboxModel.from_pretrained(located(self.request.model)), levels)
        file = self.work.path / STYLE_FILE
        write_whole(file, style_of(priors, names, base).to_bytes())
        import_adapter(str(file), self._model, self.request.model, force=True)

    def _with_sample(self, report: dict[str, Any], found: SongSurvey) -> dict[str, Any]:
        seconds = sample_seconds(self.request)
        if self.work.found("sample") is None:
            if seconds > 0:
                self._sing(seconds, found)
            self.work.mark("sample", {"seconds": seconds})
        return report | {"has_sample": seconds > 0}

    def _sing(self, seconds: float, found: SongSurvey) -> None:
        sample, one = self.work.path / SAMPLE, found.songs[0]
        is_begun = sample.with_suffix(".partial").exists() or sample.exists()
        song = {"kind": "generate", "name": sample.stem, "model": str(self._model), "seconds": seconds,
                "seed": self.request.seed, "lyrics": self.request.sample_lyrics, "dtype": "keep"}  # fmt: skip
        if any(prior.has_labels for prior in self.config.prior_configs):
            song |= {"artist": one.artist, "genre": one.genre}
        device = self.request.device
        run_songs([song], RunOptions(out=str(sample), device=device, resume=is_begun, force=not is_begun))

    def _publish_sample(self) -> None:
        """The sample song without tags that name paths of this machine."""
        sound, rate = soundfile.read(self.work.path / SAMPLE, dtype="float32")
        write_audio(self._model / SAMPLE, sound, rate, tags={"comment": GENERATED})

    def _keep_adapter(self, report: Mapping[str, Any], found: SongSurvey) -> None:
        """Leave the adapters alone, for who has the base already."""
        folder = Path(self.request.keep_adapter)
        if self.work.found("adapter") is None:
            kept = [level for level, one in report["levels"].items() if one["is_kept"]]
            priors = [self.work.path / f"prior_{level}" for level in kept]
            if not folder.exists():  # else a run that was stopped has put it there
                write_adapter(folder, self.request.model, priors, names=found.new, card=measured_table(report))
            self.work.mark("adapter", {"folder": str(folder), "levels": kept})

    def _published(self, report: dict[str, Any], found: SongSurvey) -> dict[str, Any]:
        self._tell(7, "a card with what was measured")
        if self.request.keep_adapter is not None:
            self._keep_adapter(report, found)
        if self._model.exists():
            if report["has_sample"]:
                self._publish_sample()
            told = json_text(report, indent=1) + "\n"
            write_whole(self._model / REPORT, told.encode())
            card = card_of(self.out.name, report, found.new)
            write_whole(self._model / MODEL_CARD, card.encode())
            _check_free(self.out)
            with contextlib.suppress(OSError):  # where nothing is
                self.out.rmdir()
            os.rename(self._model, self.out)
            flush(self.out.parent)
        return self.work.mark("done", json.loads(json_text(report)))


def _check_free(folder: Path) -> None:
    """Refuse a folder that something is in; nothing is replaced here, so the cure is another one."""
    is_free = not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))
    require(is_free, f"{folder} exists already; choose another folder")
    check_target(folder, force=False)
