"""An encoder as MARBLE v2 takes one from outside: waveforms in, one hidden state (B, L, T, H) out.

In MARBLE's configuration: `class_path: jukebox_hf.features.marble_encoder.JukeboxEncoder`. MARBLE hands out batches at
one rate, usually 24 kHz; they are resampled to the model's here.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.inputs.audio_input import check_rate, resample


class JukeboxEncoder(nn.Module):
    """A frozen encoder of music.

    Args:
        pre_trained_folder: the model, as `JukeboxFeatures.from_pretrained` takes it.
        layers: which layers stand along L; None: all, with the input of the first as layer 0.
        sampling_rate: of the waveforms.
        pool: `none` for a vector per code, or frames per second.
        options: further words of `JukeboxFeatures.from_pretrained`, such as dtype.

    Attributes:
        NUM_FEATURES, N_TRANSFORMER_LAYERS, SAMPLING_RATE, TOKEN_RATE: what MARBLE's tasks read of an encoder.
    """

    def __init__(
        self,
        pre_trained_folder: str,
        layers: list[int] | None = None,
        sampling_rate: int = 24000,
        pool: str | float = "none",
        **options: Any,
    ) -> None:
        super().__init__()
        check_rate("sampling_rate", sampling_rate)
        require(pool != "mean", "pool='mean' leaves no time, over which MARBLE pools itself; say 'none' or a rate")
        if layers is None:
            most = len(
                JukeboxFeatures.from_pretrained(pre_trained_folder, layers=-1, **options).prior.transformer.layers
            )
            layers = list(range(most + 1))
        self.features = JukeboxFeatures.from_pretrained(pre_trained_folder, layers=layers, pool=pool, **options)
        self.SAMPLING_RATE = sampling_rate
        self.NUM_FEATURES = self.features.feature_size
        self.N_TRANSFORMER_LAYERS = len(self.features.layers)
        self.TOKEN_RATE = self.features.frame_rate

    @torch.no_grad()
    def forward(self, x: Tensor, input_lengths: Tensor | None = None, **unused: Any) -> list[Tensor]:
        """Hidden states of a batch of waveforms.

        Args:
            x: (B, S) or (B, 1, S) at `sampling_rate`; each row is a recording, none is averaged with another.
            input_lengths: (B,) samples of each row; None: all of them.

        Returns:
            One tensor (B, L, T, H), zeros behind shorter rows, on the device of `x`.
        """
        rows = x.squeeze(1) if x.dim() == 3 and x.shape[1] == 1 else x
        require(rows.dim() == 2, f"x has shape {tuple(x.shape)}, but must be (B, S) or (B, 1, S); mix it down first")
        lengths = [rows.shape[1]] * len(rows) if input_lengths is None else [int(length) for length in input_lengths]
        clips = [row[:length].float().cpu().numpy() for row, length in zip(rows, lengths, strict=True)]
        wanted = self.features.sampling_rate
        resampled = [np.ascontiguousarray(resample(clip, self.SAMPLING_RATE, wanted)) for clip in clips]
        return [self.features(resampled).features.to(x.device)]
