"""Arguments of training a VQ-VAE: which one, on which audio, and how its codebooks move.

Flows in: words of a command line or a YAML file. Flows out: dataclasses, checked when made.
"""

from dataclasses import dataclass, field
from pathlib import Path

from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import is_number, read_seconds, require
from jukebox_hf.training.arguments import JukeboxTrainingArguments
from jukebox_hf.training.vqvae.codebook_ema import CodebookSettings


@dataclass
class JukeboxVQVAETrainingArguments(JukeboxTrainingArguments):
    """How to train a VQ-VAE: the above, and how its codebooks follow the encoders (see CodebookSettings)."""

    train_levels: list[int] | None = field(
        default=None,
        metadata={"help": "Train only these levels, such as 0 1; the others stay as they are and cost nothing."},
    )
    codebook_decay: float = field(default=0.99, metadata={"help": "Share of the running counts that a step keeps."})
    restart_threshold: float = field(
        default=1.0, metadata={"help": "Codes with a smaller running count restart; -1: never."}
    )
    restart_share: float | None = field(
        default=None,
        metadata={"help": "Instead: codes below this share of equal use restart. 0.1 suits small batches."},
    )
    start_count: float | None = field(
        default=None,
        metadata={"help": "Running count, in thresholds, of new and restarted codes. 1.05 suits small batches."},
    )

    def codebook_settings(self) -> CodebookSettings:
        """The settings of the codebooks.

        Raises:
            ValueError: a number out of range, in one sentence.
        """
        return CodebookSettings(
            decay=self.codebook_decay,
            restart_threshold=self.restart_threshold,
            restart_share=self.restart_share,
            start_count=self.start_count,
            seed=self.seed,
        )


@dataclass
class VQVAEModelArguments:
    """Which VQ-VAE to train: one of the two."""

    config: str | None = field(
        default=None,
        metadata={"help": "A new model: a preset (vqvae, small_vqvae), or a config.json or its folder."},
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Go on from the weights of a VQ-VAE: its folder, a whole Jukebox, a name on the Hub, or tiny (the "
            "model inside the package).",
            "aliases": ["--model"],
        },
    )
    config_overrides: str | None = field(
        default=None,
        metadata={"help": "Changes to its configuration, such as relative_weight=0.1,commit_weight=0.02."},
    )

    def __post_init__(self) -> None:
        require(
            (self.config is None) != (self.model_name_or_path is None),
            f"config={self.config!r} and model_name_or_path={self.model_name_or_path!r}: give exactly one of them, "
            f"config for a new model or model_name_or_path to go on from trained weights",
        )
        if self.model_name_or_path is not None:
            self.model_name_or_path = _vqvae_in(located(self.model_name_or_path))


@dataclass
class AudioArguments:
    """What to train on."""

    train_songs: str = field(metadata={"help": "Songs to train on: a folder, parquet files, or a data set of the Hub."})
    eval_songs: str | None = field(default=None, metadata={"help": "Songs to evaluate on, of the same kinds."})
    test_fraction: float = field(
        default=0.0, metadata={"help": "Without eval_songs: the share of train_songs to set aside for evaluation."}
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read train_songs while training, over and over: parquet or tar shards on this disk or wherever "
            "fsspec reaches, such as s3://bucket/songs-*.tar. Needs max_steps."
        },
    )
    allow_outside_files: bool = field(
        default=False, metadata={"help": "Let lists and tables name files outside their folder: any of this machine."}
    )
    shift: bool = field(default=False, metadata={"help": "Move windows by up to half their length in every epoch."})
    blend: bool = field(default=False, metadata={"help": "Mix left and right by a share drawn for each window."})
    window_seconds: float = field(
        default=9.0,
        metadata={"help": "Length of a training window; rounded down to whole codes. The original: about 9 s."},
    )
    bandwidth_seconds: float = field(
        default=600.0,
        metadata={"help": "New models: seconds of audio to measure the loss normalisers on; 0 keeps the config's."},
    )

    def __post_init__(self) -> None:
        require(
            is_number(self.test_fraction) and 0 <= self.test_fraction < 1,
            f"test_fraction={self.test_fraction!r} must be from 0 (no songs) to under 1; try 0.1",
        )
        require(
            self.eval_songs is None or self.test_fraction == 0,
            f"eval_songs={self.eval_songs!r} and test_fraction={self.test_fraction} exclude each other; drop one",
        )
        require(
            not self.streaming or self.test_fraction == 0,
            f"test_fraction={self.test_fraction} sets songs aside, which a stream cannot; keep some in files of their "
            f"own, and name them as eval_songs",
        )
        read_seconds("window_seconds", self.window_seconds, at_least=0.001, cure="try 9")
        read_seconds("bandwidth_seconds", self.bandwidth_seconds, cure="try 600")


def _vqvae_in(name: str) -> str:
    """The folder of the VQ-VAE where `name` is that of a whole Jukebox."""
    part = Path(name, "vqvae")
    return str(part) if (part / "config.json").is_file() else name
