"""First weights of a prior that are not the original's: small priors then learn to follow lyrics sooner.

Flows in: a fresh prior. Flows out: the same, some of its weights drawn anew. Off by default; nothing of this is in a
configuration, because only the first step sees it. Figures are in docs/how-to/train-a-prior.md.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.training.arguments import check_meant

_SLOWEST = 0.5  # cycles per song; the fastest makes one in two characters
_READERS = ("lyrics_prefix", "lyrics_cross")


@dataclass
class PriorInitialization:
    """How to draw the first weights of a new prior, where not as the original does."""

    shared_positions: bool = field(
        default=False,
        metadata={"help": "Start lyric positions and times in the song from the same sinusoids."},
    )
    shared_positions_std: float = field(default=0.3, metadata={"help": "Standard deviation of these sinusoids."})
    tied_query_key: bool = field(
        default=False, metadata={"help": "Start lyric-reading layers with equal queries and keys."}
    )
    embedding_std: float | None = field(
        default=None,
        metadata={"help": "Standard deviation of code, character, artist and genre embeddings, whatever init_scale."},
    )

    def __post_init__(self) -> None:
        require(
            0 < self.shared_positions_std <= 100,
            f"shared_positions_std={self.shared_positions_std!r} must be over 0; try 0.3",
        )
        require(
            self.embedding_std is None or 0 < self.embedding_std <= 100,
            f"embedding_std={self.embedding_std!r} must be over 0; try 0.4, or leave it out",
        )
        check_meant(self, "shared_positions_std", "shared_positions")

    @property
    def is_wanted(self) -> bool:
        return self.shared_positions or self.tied_query_key or self.embedding_std is not None

    def check(self, config: JukeboxPriorConfig) -> None:
        """Refuse what a prior has no weights for.

        Raises:
            ValueError: in one sentence.
        """
        require(
            not self.shared_positions or (config.lyrics != "none" and config.has_timing),
            f"shared_positions=True joins lyric positions and times in the song, but lyrics={config.lyrics!r} and "
            f"num_artists={config.num_artists} give this prior only one or none of them; drop it",
        )
        require(
            not self.tied_query_key or bool(set(_READERS) & set(config.attention_kinds)),
            f"tied_query_key=True is for layers of kind {' or '.join(_READERS)}, but this prior has none; drop it",
        )


@torch.no_grad()
def initialize(prior: JukeboxPrior, how: PriorInitialization) -> None:
    """Draw weights anew, in place, with torch's global generator.

    Raises:
        ValueError: a prior without the weights in question.
    """
    how.check(prior.config)
    if how.embedding_std is not None:
        for table in _embeddings(prior):
            table.weight.normal_(0.0, how.embedding_std)
    if how.tied_query_key:
        _tie_queries_and_keys(prior)
    if how.shared_positions:
        _share_positions(prior, how.shared_positions_std)


def sinusoids(times: Tensor, width: int, num_characters: int) -> Tensor:
    """Times (n,) of a song, 0 its start and 1 its end, as waves (n, width) whose mean square is 1."""
    half = (width + 1) // 2
    cycles = torch.logspace(
        math.log10(_SLOWEST), math.log10(max(num_characters / 2, 1.0)), half, dtype=torch.float64, device=times.device
    )
    angles = 2 * math.pi * times.double()[:, None] * cycles
    return (math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], dim=1))[:, :width].float()


def _embeddings(prior: JukeboxPrior) -> list[nn.Embedding]:
    """What stands for codes, characters and names."""
    tables = [prior.transformer.token_embedding]
    if prior.labels is not None:
        tables += [prior.labels.artist, prior.labels.genre]
    if prior.upper is not None:
        tables.append(prior.upper.embedding)
    if prior.config.lyrics == "encoder":
        tables.append(prior.lyrics.transformer.token_embedding)
    return tables


def _tie_queries_and_keys(prior: JukeboxPrior) -> None:
    """Equal times then attend to each other from the first step on."""
    for kind, layer in zip(prior.config.attention_kinds, prior.transformer.layers, strict=True):
        if kind not in _READERS:
            continue
        attention = layer.attention
        size = attention.output.in_features
        std = prior.config.hidden_size**-0.5
        if attention.is_cross:
            attention.query.weight.normal_(0.0, std)
            attention.key_value.weight[:size] = attention.query.weight
        else:
            weight = attention.query_key_value.weight  # (3 S, D): queries, keys, values
            weight[:size].normal_(0.0, std)
            weight[size : 2 * size] = weight[:size]


def _share_positions(prior: JukeboxPrior, std: float) -> None:
    """Lyric position i and the stretch of the song in which its character is sung start from one and the same wave."""
    length, bins = prior.config.lyric_length, prior.config.timing_bins
    # Inputs are shifted by one: position i holds character i - 1, whose middle is at (i - 0.5) / N of the song.
    characters, stretches = (
        (torch.arange(length, dtype=torch.float32, device="cpu") - 0.5) / length,
        (torch.arange(bins, dtype=torch.float32, device="cpu") + 0.5) / bins,
    )
    if prior.config.lyrics == "prefix":
        table, width = prior.transformer.position_embedding.weight[:length], prior.config.hidden_size
        table.copy_(std * sinusoids(characters, width, length))
        prior.timing.relative.weight.copy_(std * sinusoids(stretches, width, length))
        return
    table = prior.lyrics.transformer.position_embedding.weight
    table.copy_(std * sinusoids(characters, table.shape[1], length))
    # What the codes see of the encoder went through its projection, so that is what times in the song must equal.
    seen = prior.lyrics.projection(sinusoids(stretches, table.shape[1], length).to(table))
    prior.timing.relative.weight.copy_(std * seen / seen.square().mean().sqrt())
