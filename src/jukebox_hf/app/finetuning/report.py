"""What a fine-tuning run found, for people and for the Hub: lines, a report as JSON, a model card.

Flows in: marks of the stages. Flows out: text whose numbers are those that were measured.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from jukebox_hf.app.finetuning.measures import Measure, measure_in_words
from jukebox_hf.app.finetuning.work_folder import WorkFolder
from jukebox_hf.model.checkpoints.repository_card import front_matter, name_on_hub
from jukebox_hf.model.checkpoints.tiny_model import TINY
from jukebox_hf.model.checks.text_input import levels_in_words
from jukebox_hf.training.share import licence_of

REPORT, SAMPLE, MODEL_CARD = "finetuning.json", "sample.wav", "README.md"
_OPENAIS_TERMS = "Weights that were fine-tuned from OpenAI's may be used for non-commercial purposes only, as theirs."
_FORGOTTEN = 0.1  # bits per code that old artists may lose before it is said


def level_lines(report: Mapping[str, Any]) -> list[str]:
    """Before and after, level by level."""
    lines = []
    for level, found in report["levels"].items():
        what = "held-out songs" if report["held_out"] else "the songs themselves"
        words = measure_in_words(f"level {level}, {what}", found["before"]["new"], found["after"]["new"])
        lines.append(words + ("" if found["is_kept"] else "; it does not profit, and stays as it was"))
        if "old" in found["before"]:
            kind = "songs of old artists" if report["request"]["old_songs"] else "songs that the model made before"
            lines.append(measure_in_words(f"level {level}, {kind}", found["before"]["old"], found["after"]["old"]))
    return lines


def warnings_of(report: Mapping[str, Any]) -> list[str]:
    """What a person should know of a run that did not go well."""
    kept = {level: found for level, found in report["levels"].items() if found["is_kept"]}
    lost = {level: found["after"]["old"]["own"] - found["before"]["old"]["own"]
            for level, found in kept.items() if "old" in found["before"]}  # fmt: skip
    other = {"lora": ", and --method style changes none of them", "full": ", and so does --method lora"}
    lines = [
        f"level {level}: the old artists lost {bits:.2f} bits per code; more --replay or a smaller --learning-rate "
        f"keeps more of them{other.get(report['method'], '')}"
        for level, bits in lost.items()
        if bits > _FORGOTTEN
    ]
    if not any(gain(found) > 0 for found in kept.values()):
        lines.append("no level became better on the held-out songs; give more songs, or more --steps")
    return lines


def gain(found: Mapping[str, Any]) -> float:
    """Bits per code that training saved on the new songs."""
    return found["before"]["new"]["own"] - found["after"]["new"]["own"]


def closing_lines(report: Mapping[str, Any], out: Path, say_word: Callable[[str], str]) -> Sequence[str]:
    """What to type next."""
    request = report["request"]
    artist = request["artist"] or next(iter(report["new_names"]), None)
    words = ["jukebox-hf generate --model", say_word(str(out))]
    words += ["--artist", say_word(artist)] if artist else []
    words += ["--genre", say_word(request["genre"])] if request["genre"] else []
    work = WorkFolder(out).path
    shared = f"hf upload me/{out.name} {say_word(str(out))}"
    if report["method"] == "style":
        shared = f"jukebox-hf style export {say_word(str(out))} style.safetensors --artist {say_word(artist)}"
    adapter = request.get("keep_adapter")
    return [
        f"{out}: a whole Jukebox, with a card ({MODEL_CARD}), what was measured ({REPORT})"
        + f" and a sample song ({SAMPLE})" * report["has_sample"],
        f"  sing:   {' '.join([*words, '--out song.wav'])}",
        f"  share:  {shared}",
        *([f"  adapter alone: {adapter}, for jukebox-hf generate --adapter"] if adapter else []),
        f"  {work} holds codes" + " and adapters" * (report["method"] == "lora") + "; it may be removed",
    ]


def card_of(name: str, report: Mapping[str, Any], new: Sequence[str]) -> str:
    """The card of the whole Jukebox: valid front matter, and what was measured.

    Args:
        name: what it is called.
        report: of the run.
        new: names that the model learnt.
    """
    request = report["request"]
    kept = {level: found for level, found in report["levels"].items() if found["is_kept"]}
    base = name_on_hub(request["model"])
    data = front_matter(
        **licence_of(request["model"]),
        base_model=base,
        datasets=[songs] if (songs := name_on_hub(request["songs"])) else None,
        has_adapters=report["method"] == "lora",
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="text-to-audio",
                dataset_type="audiofolder",
                dataset_name="held-out songs" if report["held_out"] else "the songs that were learnt",
                metric_type="bits_per_code",
                metric_name=f"bits per code, level {level}",
                metric_value=round(found["after"]["new"]["own"], 4),
            )
            for level, found in kept.items()
        ],
    )
    how = {"lora": f"LoRA of rank {report['rank']}", "style": "the vector of each new artist, all else frozen"}.get(
        report["method"], "all weights"
    )
    singer = request["artist"] or next(iter(new), "unknown")
    steps = ", ".join(_counted(found["steps"], "step") for found in kept.values())
    songs = _counted(report["songs"], "song")
    levels = levels_in_words(kept)
    sample = f"`{SAMPLE}` is a song that it made. " if report["has_sample"] else ""
    origin = "the tiny model inside jukebox_hf" if request["model"] == TINY else base or "another Jukebox"
    terms = "" if request["model"] == TINY else _OPENAIS_TERMS
    text = f"""# {name}

A Jukebox that was fine-tuned from {origin} on {songs} ({report["seconds"] / 60:.3g} minutes)
by `jukebox-hf finetune`: {how}, {levels}, {steps}. New names: {", ".join(new) or "none"}.
{measured_table(report)}
## Use

```python
from transformers import pipeline

import jukebox_hf

song = pipeline("text-to-audio", model="{name}")({{"artist": {singer!r}}})
```

{sample}{terms}""".rstrip()
    card = f"---\n{data.to_yaml()}\n---\n\n{text}\n"
    ModelCard(card)  # refuses front matter that the Hub could not read
    return card


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def measured_table(report: Mapping[str, Any]) -> str:
    """What was measured before and after, as a part of a card."""
    request = report["request"]
    rows = [_row(level, what, found["before"][kind], found["after"][kind])
            for level, found in report["levels"].items()
            for kind, what in (("new", "new songs"), ("old", "old artists")) if kind in found["before"]]  # fmt: skip
    old = "recordings" if request["old_songs"] else "made by the model before the training"
    measured_on = (
        _counted(len(report["held_out"]), "held-out song") if report["held_out"] else "the songs that were learnt"
    )
    has_old = any("old" in found["before"] for found in report["levels"].values())
    others = f" and on songs of artists that the model\nknew before ({old}; not trained on)" if has_old else ""
    return f"""
## Measured

Bits per code, teacher-forced, on {measured_on}{others}. Smaller is better; what a name
saves is the difference to an unknown artist and genre.

| level | songs | before | after | the name saves, before | and after |
|---|---|---:|---:|---:|---:|
{chr(10).join(rows)}

"""


def _row(level: str, what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    first, last = Measure(**before), Measure(**after)
    return f"| {level} | {what} | {first.own:.3f} | {last.own:.3f} | {first.name_bits:.2f} | {last.name_bits:.2f} |"
