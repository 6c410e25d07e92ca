"""A codebook: the nearest code of a vector, and the vector of a code (paper section 3.1).

Flows in: latents (B, C, T) or codes (B, T). Flows out: the other. The code vectors are a buffer that only training
changes, from outside; reading them never does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROWS_AT_ONCE = 2**14  # bounds the table of distances: rows x codebook size x 4 bytes


class Codebook(nn.Module):
    """K code vectors of one level; all zero until training has drawn them from its first batch."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, width))

    @property
    def is_untrained(self) -> bool:
        """Whether every code is still zero; waits for the device."""
        return not bool(self.codes.any())

    def nearest(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Give the nearest code (B, T) of each latent (B, C, T), and the squared distance to it (B, T)."""
        vectors = latents.transpose(1, 2).reshape(-1, latents.shape[1])  # (B, C, T) -> (B*T, C)
        nearest = [self._nearest_rows(rows) for rows in vectors.float().split(_ROWS_AT_ONCE)]
        codes, distances = (torch.cat(parts).view(latents.shape[0], -1) for parts in zip(*nearest, strict=True))
        return codes, distances

    def vectors(self, codes: Tensor) -> Tensor:
        """Look codes (B, T) up: (B, C, T)."""
        return F.embedding(codes, self.codes).transpose(1, 2)

    def _nearest_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.codes.float()
        with torch.autocast(rows.device.type, enabled=False):  # half-precision products would choose other codes
            squares = rows.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
            distances, nearest = torch.min(squares - 2 * rows @ codes.T, dim=1)
        return nearest, distances
