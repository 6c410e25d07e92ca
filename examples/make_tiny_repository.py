"""Make a tiny Jukebox repository from the test data: python examples/make_tiny_repository.py FOLDER

Three levels, 75,000 parameters of random weights: it sings noise, in seconds and offline. For trying commands, and for
tests. Its songs are 0.5 to 3 seconds long.
"""

import sys
import tempfile
from pathlib import Path

from jukebox_hf.conversion.convert_openai import OpenAIFiles, convert_openai

REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "reference" / "openai"
LABELS = {
    "v2_artist_ids": ("unknown", "the_testers", "quiet_ones"),
    "v2_genre_ids": ("unknown", "soft", "rock"),
    "v3_artist_ids": ("unknown", "the testers", "quiet ones"),
    "v3_genre_ids": ("unknown", "soft rock", "country"),
}


def make_tiny_repository(out: Path) -> Path:
    """Convert the reference checkpoints into a repository at `out`, with made-up lists of artists and genres."""
    names = ("chain_level_0", "chain_level_1", "chain_top_single")
    files = OpenAIFiles(
        REFERENCE / "vqvae" / "vqvae_3level" / "checkpoint_step_7.pth.tar",
        tuple(REFERENCE / "chain" / f"checkpoint_{name}.pth.tar" for name in names),
    )
    with tempfile.TemporaryDirectory() as labels:
        for name, words in LABELS.items():
            lines = "\n".join(f"{word};{number}" for number, word in enumerate(words))
            (Path(labels) / f"{name}.txt").write_text(lines, encoding="utf-8")
        convert_openai(out, files=files, labels=Path(labels))
    return out


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(f"wrote {make_tiny_repository(Path(sys.argv[1]))}")
