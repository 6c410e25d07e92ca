"""Features as a step of scikit-learn: `make_pipeline(JukeboxFeatureTransformer("my-jukebox"), SVC())`.

Flows in: recordings. Flows out: one row of numbers each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jukebox_hf.features.feature_files import INSTALL
from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.model.checks.validation import require

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.exceptions import NotFittedError
except ImportError:
    raise ImportError(
        f"JukeboxFeatureTransformer is a step of scikit-learn, which is not installed; {INSTALL}"
    ) from None


class JukeboxFeatureTransformer(TransformerMixin, BaseEstimator):
    """Turns recordings into rows of means over time; nothing is learnt, so `fit` only opens the model.

    Args:
        model: folder or name on the Hub, or a `JukeboxModel` in memory.
        preset, layers, level, kind, normalize: as `FeatureRecipe` has them; features of several layers stand side by
            side in a row.
        dtype, device: as `JukeboxFeatures.from_pretrained` takes them; of a name alone.
    """

    def __init__(
        self,
        model: Any = "tiny",
        preset: str | None = None,
        layers: Sequence[int] | int | None = None,
        level: int | None = None,
        kind: str | None = None,
        normalize: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        self.model = model
        self.preset = preset
        self.layers = layers
        self.level = level
        self.kind = kind
        self.normalize = normalize
        self.dtype = dtype
        self.device = device

    def fit(self, recordings: Any = None, y: Any = None) -> "JukeboxFeatureTransformer":
        """Open the model; recordings are not looked at."""
        names = ("layers", "level", "kind", "normalize")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        if isinstance(self.model, str) or hasattr(self.model, "__fspath__"):
            made = JukeboxFeatures.from_pretrained(
                self.model, self.preset, dtype=self.dtype, device=self.device, **said
            )
        else:
            made = JukeboxFeatures(self.model, self.preset, **said)
        require(
            made.recipe.pool == "mean" and made.recipe.slice_seconds is None,
            f"preset={self.preset!r} gives several vectors per recording, but a row is one; choose jukemir, or none",
        )
        self.features_ = made
        self.n_features_out_ = made.feature_size * max(len(made.layers), 1)
        return self

    def transform(self, recordings: Sequence[Any]) -> np.ndarray:
        """Make the features of recordings: paths, arrays, or whatever `JukeboxFeatures` takes.

        Returns:
            float32 (recordings, layers * D).

        Raises:
            ValueError: what cannot be read, or (NotFittedError) a transformer that was not fitted.
        """
        made = self._fitted()
        rows = [made.track(one).values.reshape(-1) for one in recordings]
        return np.stack(rows) if rows else np.zeros((0, self.n_features_out_), np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names such as layer36_0000."""
        made = self._fitted()
        parts = [f"layer{layer}" for layer in made.layers] or [f"{made.recipe.kind}{made.level}"]
        names = [f"{part}_{number:04d}" for part in parts for number in range(made.feature_size)]
        return np.array(names, dtype=object)

    def _fitted(self) -> JukeboxFeatures:
        if not hasattr(self, "features_"):
            raise NotFittedError("this JukeboxFeatureTransformer is not fitted; call fit() first")
        return self.features_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "features_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.input_tags.two_d_array = False  # recordings are no matrix
        tags.input_tags.string = True
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []  # features are float32, whatever the sound was
        return tags
