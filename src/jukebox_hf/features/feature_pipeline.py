"""JukeboxFeaturePipeline: recordings in, features out, as transformers' feature-extraction pipelines give them.

Flows in: a recording, or many. Flows out: nested lists of numbers, or a tensor with `return_tensors=True`: (layers, D)
for pool="mean", (layers, T, D) with time.
"""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers import Pipeline

from jukebox_hf.features.music_features import JukeboxFeatures
from jukebox_hf.features.recipes import FeatureRecipe
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.modeling_jukebox import JukeboxModel

_OF_RECIPES = ("preset", *(one.name for one in fields(FeatureRecipe)))


class JukeboxFeaturePipeline(Pipeline):
    """Features of music.

    `import jukebox_hf; pipeline("music-feature-extraction", model=...)` gives this class. `preset`, `layers`, `pool`
    and what else a `FeatureRecipe` has are said when it is made.

    Args:
        model: a `JukeboxModel`, of which only the wanted layers of one prior are loaded.
        batch_size: windows that are run at once, here or in a call.

    Raises:
        ValueError: another model, or a recipe that it cannot follow.
    """

    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_processor = False

    def __init__(self, model: JukeboxModel, *args: Any, batch_size: int | None = None, **kwargs: Any) -> None:
        kind = getattr(getattr(model, "config", None), "model_type", None)
        require(
            kind == "jukebox", f"model is of the kind {kind!r}, but music-feature-extraction is of a Jukebox; give one"
        )
        recipe = {name: kwargs.pop(name) for name in _OF_RECIPES if name in kwargs}
        super().__init__(model, *args, **kwargs)
        with torch.device("cpu"):
            self.features = JukeboxFeatures(self.model, batch_size=batch_size or 1, **recipe)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Make the features of one recording, or of each of a list, generator or data set.

        Args:
            inputs: what `JukeboxFeatures` takes; a list is many recordings, and so is a data set.
            kwargs: `sampling_rate` of samples that do not say theirs, `return_tensors`, `batch_size`.

        Raises:
            ValueError: what cannot be read, in one sentence.
        """
        if (size := kwargs.pop("batch_size", None)) is not None:
            self.features.batch_size = size
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, sampling_rate: int | None = None, return_tensors: bool | None = None, **unknown: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        require(
            not unknown,
            f"{', '.join(sorted(unknown))} says nothing here; a call takes sampling_rate, return_tensors and "
            f"batch_size, and a recipe is said when the pipeline is made",
        )
        before = {} if sampling_rate is None else {"sampling_rate": sampling_rate}
        return before, {}, {} if return_tensors is None else {"return_tensors": return_tensors}

    def preprocess(self, inputs: Any, sampling_rate: int | None = None) -> dict[str, Any]:
        return {"audio": inputs, "sampling_rate": sampling_rate}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Tensor]:
        return {"features": torch.from_numpy(self.features.track(**model_inputs).values)}

    def postprocess(self, model_outputs: dict[str, Tensor], return_tensors: bool = False) -> Any:
        found = model_outputs["features"]
        return found if return_tensors else found.tolist()
