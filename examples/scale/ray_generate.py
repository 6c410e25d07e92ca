"""Songs of a songs.jsonl on a Ray cluster: one model per GPU, each song a file with its side-car.

    ray job submit -- python examples/scale/ray_generate.py songs.jsonl /shared/songs my-jukebox 8

`model` and the folder must be seen by every node. A line is one song in the words of `jukebox-hf generate`. The same
line of command again skips finished songs, and goes on with unfinished ones where they stopped.
"""

import json
import sys
from pathlib import Path
from typing import Any

import ray


class Sing:
    """Makes the songs of a batch, one after another."""

    def __init__(self, out: str, model: str) -> None:
        self.out, self.model = Path(out), model

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Columns name and error."""
        from jukebox_hf.app.runs.run_options import RunOptions
        from jukebox_hf.app.runs.song_runs import run_songs

        errors = []
        for name, line in zip(batch["name"], batch["request"], strict=True):
            file = self.out / f"{name}.wav"
            is_begun = file.with_suffix(".partial").exists() or file.exists()
            try:
                song = {"model": self.model, **json.loads(line)}
                run_songs([{} if is_begun else song], RunOptions(out=str(file), resume=is_begun))
                errors.append("")
            except (ValueError, OSError) as error:  # one song's failure is not that of the others
                errors.append(" ".join(str(error).split()))
        return {"name": batch["name"], "error": errors}


def main(songs: str, out: str, model: str, gpus: int) -> int:
    """Share the lines, wait for all songs, tell which failed."""
    lines = [json.loads(line) for line in Path(songs).read_text(encoding="utf-8").splitlines() if line.strip()]
    Path(out).mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "name": f"{number:05d}",
            "request": json.dumps({"seed": number} | {k: v for k, v in line.items() if k != "name"}),
        }
        for number, line in enumerate(lines)
    ]
    sung = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Sing,
        fn_constructor_args=[out, model],
        batch_size=1,
        concurrency=gpus or 2,
        num_gpus=1 if gpus else 0,
    )
    failed = [f"{row['name']}: {row['error']}" for row in sung.iter_rows() if row["error"]]
    print(f"{len(rows) - len(failed)} of {len(rows)} songs are in {out}", *failed, sep="\n")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
