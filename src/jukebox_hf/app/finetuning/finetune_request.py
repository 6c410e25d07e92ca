"""What `jukebox-hf finetune` was asked for, as a checked value.

Flows in: options. Flows out: a `FinetuneRequest`, the same after a trip through JSON, so that a run goes on with what
it was begun with.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from jukebox_hf.app.runs.requests import MOST_SONGS_PER_COMMAND
from jukebox_hf.model.checks.text_input import check_lyric_text, check_no_file_name
from jukebox_hf.model.checks.validation import is_integer, require
from jukebox_hf.model.inputs.label_mixes import new_name
from jukebox_hf.training.arguments import LAST_SEED
from jukebox_hf.training.prior.replay import check_share

METHODS = ("auto", "lora", "full", "style")
SWITCHES = ("auto", "true", "false")
DEFAULT_REPLAY, DEFAULT_RANK, DEFAULT_NAME_RATE = 16, 16, 0.1
_BY_METHOD = {"full": 1e-4, "lora": 1e-3, "style": 1e-1}  # learning rates, docs/explanation/decisions/060.md


@dataclass(frozen=True)
class FinetuneRequest:
    """One run of fine-tuning; None is as if not said.

    Attributes:
        songs: a folder of recordings, parquet files, or a data set of the Hub.
        model: the Jukebox to begin from.
        artist, genre: of every song, where the songs' list does not say them.
        method: `full` trains all weights, `lora` adapters, `style` the vectors of new artists alone, `auto` all weights
            or adapters, by what fits into memory.
        levels: whose priors to train; None for all that profit.
        rank: of the adapters; None: the usual one.
        learning_rate: None: by the method.
        name_rate: learning rate of the vectors of new names; 0: they learn as all else, None: the usual one.
        steps: at most; None: by the number of songs.
        batch_size: windows per step; None: what fits into memory.
        replay: songs of its old artists that the model makes and hears among the new ones; 0 for none.
        replay_share: of the windows of an epoch.
        old_songs: recordings to replay instead.
        early_stop: evaluations without gain after which training stops; 0: never.
        bf16: `true`, `false`, or `auto`: where the device computes in bfloat16.
        device: auto, cpu or cuda.
        seed: of first adapters, of the order of windows, and of what is generated.
        sample_seconds: length of the sample song; 0 for none, None for a short one.
        sample_lyrics: what it sings.
        keep_adapter: a folder to make besides: the adapters of `lora` alone, for the Hub.
        allow_outside_files: let lists name files outside their folder.
    """

    songs: str
    model: str
    artist: str | None = None
    genre: str | None = None
    method: str = "auto"
    levels: tuple[int, ...] | None = None
    rank: int | None = None
    learning_rate: float | None = None
    name_rate: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    replay: int = DEFAULT_REPLAY
    replay_share: float = 0.5
    old_songs: str | None = None
    early_stop: int = 3
    bf16: str = "auto"
    device: str = "auto"
    seed: int = 0
    sample_seconds: float | None = None
    sample_lyrics: str = ""
    allow_outside_files: bool = False
    keep_adapter: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("bf16", SWITCHES), ("device", ("auto", "cpu", "cuda"))):
            value = getattr(self, name)
            require(value in allowed, f"--{name} {value} is none of {', '.join(allowed)}; choose one")
        for name in ("artist", "genre"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, new_name(f"--{name}", value))
        check_lyric_text("--sample-lyrics", self.sample_lyrics)
        check_no_file_name("--sample-lyrics", self.sample_lyrics, [""], "give its words themselves")
        for name, least, most in (
            ("rank", 1, math.inf),
            ("steps", 1, math.inf),
            ("batch_size", 1, math.inf),
            ("replay", 0, MOST_SONGS_PER_COMMAND),
            ("early_stop", 0, math.inf),
            ("seed", 0, LAST_SEED),
        ):
            value = getattr(self, name)
            require(
                value is None or (is_integer(value) and least <= value <= most),
                f"--{name.replace('_', '-')} {value} must be a whole number from {least} "
                f"{'on' if most == math.inf else f'to {most}'}",
            )
        check_share(self.replay_share, "--replay-share ")
        rate = self.learning_rate
        require(rate is None or 0 < rate <= 1, f"--learning-rate {rate} must be over 0 and up to 1; try 0.0001")
        rate = self.name_rate
        require(
            rate is None or 0 <= rate <= 1,
            f"--name-rate {rate} must be from 0 (new names learn as all else) to 1; try {DEFAULT_NAME_RATE}",
        )
        require(
            rate is None or self.method != "style",
            f"--name-rate {rate} is of names that learn beside all else, but --method style learns nothing else; give "
            f"--learning-rate",
        )
        seconds = self.sample_seconds
        require(
            seconds is None or 0 <= seconds <= 600,
            f"--sample-seconds {seconds} must be from 0 (no sample) to 600",
        )
        require(
            self.method != "style" or self.old_songs is None,
            f"--old-songs {self.old_songs} would be replayed, but --method style changes no old artist; drop one of "
            f"them",
        )
        require(
            self.rank is None or self.method in ("auto", "lora"),
            f"--rank {self.rank} is of the adapters of --method lora, but --method {self.method} was said; drop one of "
            f"them",
        )
        require(
            self.keep_adapter is None or self.method in ("auto", "lora"),
            f"--keep-adapter {self.keep_adapter} keeps what --method lora trains, but --method {self.method} was said; "
            f"drop one of them",
        )
        require(
            self.old_songs is None or self.has_replay,
            f"--old-songs {self.old_songs} is to be replayed, but --replay or --replay-share is 0; drop one of them",
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """Those to choose from, the first that fits; whoever says a rank, or keeps adapters, wants adapters."""
        if self.method != "auto":
            return (self.method,)
        return ("full", "lora") if self.rank is None and self.keep_adapter is None else ("lora",)

    @property
    def adapter_rank(self) -> int:
        """Rank of the adapters, where there are some."""
        return DEFAULT_RANK if self.rank is None else self.rank

    @property
    def has_replay(self) -> bool:
        """Whether old songs are heard among the new ones."""
        return self.replay > 0 and self.replay_share > 0 and self.method != "style"  # which changes no old artist

    def rate_for(self, method: str) -> float:
        """The learning rate of a method."""
        return _BY_METHOD[method] if self.learning_rate is None else self.learning_rate

    def name_rate_for(self, method: str) -> float | None:
        """The learning rate of new names beside all else; None where they have none of their own."""
        if method == "style":
            return None
        return (DEFAULT_NAME_RATE if self.name_rate is None else self.name_rate) or None

    def words(self) -> dict[str, str]:
        """What is said of every song."""
        said = {"artist": self.artist, "genre": self.genre}
        return {name: word.strip() for name, word in said.items() if word is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        said = asdict(self) | {"levels": None if self.levels is None else list(self.levels)}
        return {name: value for name, value in said.items() if name != "keep_adapter" or value is not None}
