"""Arguments of training a prior: which prior, which songs, how labels are dropped, how it is optimised.

Flows in: flags, a YAML file, or keyword arguments. Flows out: checked dataclasses.
"""

from dataclasses import dataclass, field, fields

from jukebox_hf.model.checkpoints.tiny_model import located
from jukebox_hf.model.checks.validation import is_number, require
from jukebox_hf.training.arguments import JukeboxTrainingArguments, check_meant
from jukebox_hf.training.prior.label_dropout import LabelDropout
from jukebox_hf.training.prior.replay import check_share


@dataclass
class JukeboxPriorTrainingArguments(JukeboxTrainingArguments):
    """How to train a prior: as any network, but its data are words and codes, and logits are too many to collect."""

    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay false: a window's words are columns that the collator reads."}
    )
    prediction_loss_only: bool = field(
        default=True, metadata={"help": "Evaluate the loss only: the logits of a data set fill any memory."}
    )
    new_name_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the vectors of artists and genres that are new to the prior, such as 0.1; those "
            "that it knew then stay as they are (default: all names learn at the rate of all else)."
        },
    )

    def __post_init__(self) -> None:
        require(
            self.remove_unused_columns is False,
            f"remove_unused_columns={self.remove_unused_columns!r} takes a window's words away; leave it out",
        )
        rate = self.new_name_learning_rate
        require(
            rate is None or (is_number(rate) and 0 < rate <= 1),
            f"new_name_learning_rate={rate!r} must be over 0 and up to 1; try 0.1",
        )
        super().__post_init__()


@dataclass
class PriorModelArguments:
    """Which prior to train, and what its codes and names mean."""

    config: str | None = field(
        default=None, metadata={"help": "A new prior: a preset (small_prior, ...), or a config.json or its folder."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Fine-tune: a whole Jukebox with --level, the folder of one prior, or tiny (the model inside the "
            "package) with --level.",
            "aliases": ["--model"],
        },
    )
    level: int | None = field(default=None, metadata={"help": "Which prior of a whole Jukebox; 0 is the finest."})
    vqvae: str | None = field(
        default=None, metadata={"help": "The VQ-VAE that encodes --train_songs: its folder, a whole Jukebox, or tiny."}
    )
    labels: str | None = field(
        default=None,
        metadata={
            "help": "Artists and genres: 'keep' (the model's own lists; default when fine-tuning), 'add' (and those of "
            "the songs), 'songs' (of the songs only; default for new priors), or a folder with artists.json."
        },
    )
    lyric_characters: str | None = field(
        default=None,
        metadata={
            "help": "Lyrics in your own script: a text file of its characters, the characters themselves, or 'songs' "
            "(all letters of the songs' lyrics). They are added behind those that the prior knows; see "
            "docs/how-to/train-a-prior.md."
        },
    )
    style: bool = field(
        default=False,
        metadata={"help": "Learn the vectors of new artists alone, all else frozen (style inversion); needs labels."},
    )
    into: str | None = field(
        default=None,
        metadata={
            "help": "At the end, put the prior into this whole Jukebox; a new folder becomes a copy of "
            "--model_name_or_path with it."
        },
    )

    def __post_init__(self) -> None:
        require(
            (self.config is None) != (self.model_name_or_path is None),
            f"config={self.config!r} and model_name_or_path={self.model_name_or_path!r}: give exactly one of them, "
            f"config for a new prior or model_name_or_path to fine-tune a trained one",
        )
        require(
            self.level is None or self.model_name_or_path is not None,
            f"level={self.level} is of a whole Jukebox named by model_name_or_path; a config says its level itself",
        )
        if self.model_name_or_path is not None:
            self.model_name_or_path = located(self.model_name_or_path)


@dataclass
class PriorDataArguments:
    """What to train on: songs as sound or as codes, and how much of their words to hide."""

    train_codes: str | None = field(default=None, metadata={"help": "A folder that encode_dataset made."})
    train_songs: str | None = field(
        default=None, metadata={"help": "Songs as sound: a folder, parquet files, or a data set of the Hub."}
    )
    eval_codes: str | None = field(default=None, metadata={"help": "Codes to evaluate on."})
    eval_songs: str | None = field(default=None, metadata={"help": "Songs to evaluate on."})
    replay_codes: str | None = field(
        default=None,
        metadata={
            "help": "Codes of songs that the prior knows already, heard among the new ones so that it keeps them."
        },
    )
    replay_share: float = field(default=0.5, metadata={"help": "Share of an epoch's windows that are of replay_codes."})
    eval_windows: int | None = field(
        default=None, metadata={"help": "Evaluate on so many windows at most, spread over all songs (default: all)."}
    )
    test_fraction: float = field(
        default=0.0, metadata={"help": "Without those: the share of the songs to set aside for evaluation."}
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read train_codes or train_songs while training, over and over: shards of codes (parquet), or of "
            "songs (parquet or tar), on this disk or wherever fsspec reaches, such as s3://bucket/codes-*.parquet. "
            "Needs max_steps, and lists of names that are there already."
        },
    )
    allow_outside_files: bool = field(
        default=False, metadata={"help": "Let lists and tables name files outside their folder: any of this machine."}
    )
    window_codes: int | None = field(
        default=None, metadata={"help": "Codes per window; by default as many as the prior's context holds."}
    )
    shift: bool = field(default=False, metadata={"help": "Move windows by up to half their length in every epoch."})
    blend: bool = field(default=False, metadata={"help": "Sound only: mix left and right by chance."})
    timed_lyrics: bool = field(
        default=False, metadata={"help": "Choose a window's lyrics by the times in timed_lyrics where songs have them."}
    )
    label_dropout: float = field(
        default=0.0, metadata={"help": "Probability to hide all words of a window, lyrics too."}
    )
    artist_dropout: float = field(default=0.0, metadata={"help": "Probability to say an unknown artist."})
    genre_dropout: float = field(default=0.0, metadata={"help": "Probability to say an unknown genre."})
    lyric_dropout: float = field(default=0.0, metadata={"help": "Probability to say no lyrics."})
    artist_genre_dropout: float = field(
        default=0.0, metadata={"help": "Probability to say an unknown artist and genre, with the lyrics."}
    )

    def __post_init__(self) -> None:
        require(
            (self.train_codes is None) != (self.train_songs is None),
            f"train_codes={self.train_codes!r} and train_songs={self.train_songs!r}: give exactly one of them",
        )
        mixed = self.eval_songs if self.train_codes is not None else self.eval_codes
        require(
            mixed is None,
            f"evaluation is on {mixed!r}, but training on {self.train_codes or self.train_songs!r}: both must be codes "
            f"or both sound; encode one of them",
        )
        require(
            is_number(self.test_fraction) and 0 <= self.test_fraction < 1,
            f"test_fraction={self.test_fraction!r} must be from 0 (no songs) to under 1; try 0.1",
        )
        require(
            self.evaluation is None or self.test_fraction == 0,
            f"eval songs or codes ({self.evaluation!r}) and test_fraction={self.test_fraction} exclude each other; "
            f"drop one",
        )
        require(
            not self.blend or self.train_songs is not None,
            "blend=True mixes left and right, but train_codes holds no sound; drop it, or train on train_songs",
        )
        require(
            self.replay_codes is None or self.train_codes is not None,
            f"replay_codes={self.replay_codes!r} are codes, but train_songs={self.train_songs!r} is sound; encode "
            f"those too, and give train_codes",
        )
        require(
            not self.streaming or self.test_fraction == 0,
            f"test_fraction={self.test_fraction} sets songs aside, which a stream cannot; keep some in files of their "
            f"own, and name them as eval_codes or eval_songs",
        )
        require(
            not self.streaming or self.replay_codes is None,
            f"replay_codes={self.replay_codes!r} are mixed among songs whose number is known, which a stream's is not; "
            f"drop streaming, or write shards that hold both",
        )
        check_share(self.replay_share)
        check_meant(self, "replay_share", "replay_codes")
        require(
            self.eval_windows is None or self.eval_windows > 0,
            f"eval_windows={self.eval_windows!r} must be positive; leave it out for all windows",
        )
        require(
            self.eval_windows is None or self.evaluation is not None or self.test_fraction > 0,
            f"eval_windows={self.eval_windows!r} is of songs to evaluate on, and there are none; say test_fraction, "
            f"eval_codes or eval_songs, or leave it out",
        )
        require(
            self.window_codes is None or self.window_codes > 0,
            f"window_codes={self.window_codes!r} must be positive; leave it out for the prior's whole context",
        )
        self.dropout()

    @property
    def evaluation(self) -> str | None:
        """What to evaluate on, if it is apart from the training data."""
        return self.eval_codes or self.eval_songs

    def dropout(self) -> LabelDropout:
        """The probabilities of hiding words.

        Raises:
            ValueError: one that is none.
        """
        return LabelDropout(**{one.name: getattr(self, one.name) for one in fields(LabelDropout)})
