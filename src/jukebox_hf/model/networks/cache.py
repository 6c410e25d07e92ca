"""Keys and values that a sampler keeps between steps: static slots per layer, as many as its kind can ever read.

Flows in: slot counts. Out: tensors allocated once, changed in place by the layers, zeroed between windows. The position
is a device tensor, so that a captured step can advance it without the host.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor


class JukeboxCache:
    """Caches of all layers of one transformer for one batch.

    Attributes:
        layers: per layer, keys and values (2, B, slots, H, E).
        position: 0-d int64 tensor, the next position a step will run.
    """

    def __init__(
        self,
        slots: Sequence[int],
        batch_size: int,
        head_shape: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.layers: list[Tensor] = [
            torch.zeros(2, batch_size, count, *head_shape, dtype=dtype, device=device) for count in slots
        ]
        self.position = torch.zeros((), dtype=torch.long, device=device)

    @property
    def batch_size(self) -> int:
        return self.layers[0].shape[1]

    @property
    def num_bytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    def row(self, index: int) -> "JukeboxCache":
        """The caches of one row of the batch, in the same memory; the position is a copy."""
        view = copy.copy(self)
        view.layers = [layer[:, index : index + 1] for layer in self.layers]
        view.position = self.position.clone()
        return view

    def reset(self) -> None:
        """Forget everything. Zeros matter: the row above row 0 is read as zeros, and so are null keys."""
        for layer in self.layers:
            layer.zero_()
        self.position.zero_()
