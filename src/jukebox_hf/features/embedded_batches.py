"""Features of batches of rows, for `datasets.map(batched=True)` and for Ray Data's `map_batches`.

Flows in: a batch as a dictionary of columns. Flows out: the features and what is known of them, a column each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.model.checks.validation import require


class EmbedBatches:
    """Makes features of a column of recordings; opens the model when the first batch comes.

        dataset.map(EmbedBatches("my-jukebox", preset="jukemir"), batched=True, batch_size=8)
        ray_dataset.map_batches(EmbedBatches, fn_constructor_args=["my-jukebox"], concurrency=2, batch_size=8)

    It can be pickled, copied and sent to other processes, as what it holds then is the name of the model alone.

    Args:
        model: folder or name on the Hub.
        column: the one with recordings: paths, bytes, or what `datasets` makes of audio, decoded or not.
        device: where to compute; None: a GPU if there is one.
        options: of `JukeboxFeatures.from_pretrained`.
    """

    def __init__(self, model: str, column: str = "audio", device: str | None = None, **options: Any) -> None:
        self.model, self.column, self.device, self.options = str(model), column, device, options
        self._features: JukeboxFeatures | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_features": None}

    @property
    def features(self) -> JukeboxFeatures:
        """The opened model."""
        if self._features is None:
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._features = JukeboxFeatures.from_pretrained(self.model, device=device, **self.options)
        return self._features

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Columns `features`, `seconds` and `error` of a batch, one row for each of its own.

        A row that cannot be read has no features (None; of Ray an empty array) and says why in `error`.

        Raises:
            ValueError: no such column.
        """
        require(
            self.column in batch,
            f"column={self.column!r} is not there; the batch has {', '.join(map(str, batch))}",
        )
        rows = [self._row(audio) for audio in batch[self.column]]
        is_ray = any(isinstance(column, np.ndarray) for column in batch.values())
        features: Any = [row[0] for row in rows]
        if is_ray:
            features = _as_column([np.zeros(0, np.float32) if one is None else one for one in features])
            return {
                **{name: column for name, column in batch.items() if name != self.column},
                "features": features,
                "seconds": np.array([row[1] for row in rows]),
                "error": np.array([row[2] for row in rows], dtype=object),
            }
        return {"features": features, "seconds": [row[1] for row in rows], "error": [row[2] for row in rows]}

    def _row(self, audio: Any) -> tuple[np.ndarray | None, float, str]:
        features = self.features  # a model that cannot be opened is no fault of the row's
        try:
            track = features.track(audio)
        except (ValueError, OSError) as error:
            return None, 0.0, " ".join(str(error).split())
        return track.values, track.seconds, ""


def _as_column(arrays: list[np.ndarray]) -> np.ndarray:
    """One array of rows where they are of one shape, else an array of arrays."""
    if len({one.shape for one in arrays}) == 1:
        return np.stack(arrays)
    column = np.empty(len(arrays), dtype=object)
    column[:] = arrays
    return column
