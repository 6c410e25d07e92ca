"""A model whose weights nobody has read: songs are planned with it, so that what cannot be is refused at once.

Flows in: configurations. Flows out: what planning asks of a model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAEEncoderOutput


@dataclass(frozen=True)
class ClosedModel:
    """What songs are planned with while weights are not read: a prompt counts, but sounds like nothing.

    Attributes:
        config: of the model.
        generation_config: its generation_config.json.
    """

    config: JukeboxConfig
    generation_config: GenerationConfig

    @property
    def vqvae(self) -> "ClosedModel":
        """What encodes prompts."""
        return self

    @property
    def device(self) -> torch.device:
        """Where prompts are encoded."""
        return torch.device("cpu")

    def encode(self, input_values: torch.Tensor, levels: Sequence[int]) -> JukeboxVQVAEEncoderOutput:
        """As many codes as `JukeboxVQVAE.encode` gives, all of them 0."""
        lengths = [input_values.shape[-1] // self.config.vqvae_config.hop_lengths[level] for level in levels]
        return JukeboxVQVAEEncoderOutput(tuple(input_values.new_zeros((1, length)).long() for length in lengths))
