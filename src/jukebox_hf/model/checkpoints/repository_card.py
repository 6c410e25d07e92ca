"""The model card of a whole repository: front matter that the Hub reads, and what its configuration says.

Flows in: a configuration, and where the weights came from. Flows out: Markdown. Sizes are counted, and nothing is said
of quality.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..configuration.configuration_jukebox import JukeboxConfig, JukeboxPriorConfig
from .tiny_model import tiny_repository

OPENAI_LICENSE = {
    "license": "other",
    "license_name": "openai-jukebox-non-commercial",
    "license_link": "https://github.com/openai/jukebox/blob/master/LICENSE",
}
_OPENAI_TERMS = "**OpenAI's weights, and what is made with them, are for non-commercial use only.** "
_UNKNOWN_TERMS = (
    "The terms of these weights are those of what they were made from; whoever publishes them says which. Weights that "
    "descend from OpenAI's may be used for non-commercial purposes only. "
)
_CODE_TERMS = "The code that reads them, jukebox_hf, is Apache-2.0."


def converted_card(config: JukeboxConfig, source: str, base_model: str | None = None) -> str:
    """The card of a repository that was converted from OpenAI's weights.

    Args:
        config: of the repository.
        source: what it was converted from, in words.
        base_model: the model on the Hub that it was converted from, if it was.
    """
    data = {**OPENAI_LICENSE, "base_model": base_model}
    return _card(config, f"Jukebox, converted from {source}", data, _OPENAI_TERMS)


def saved_card(config: JukeboxConfig, repository: str | None) -> str:
    """The card of a model that is saved and has none yet.

    Args:
        config: of the model.
        repository: the name or folder that it was opened from; None of a new one.
    """
    if repository is not None and _is_tiny(repository):
        return _card(config, "A tiny Jukebox", {"license": "apache-2.0"}, "These weights are Apache-2.0. ")
    data = {"license": "other", "base_model": name_on_hub(repository)}
    return _card(config, "A Jukebox", data, _UNKNOWN_TERMS)


def front_matter(*, has_adapters: bool = False, **data: Any) -> ModelCardData:
    """What the Hub reads of a card of ours: `data`, and what is true of all of them."""
    tags = ["jukebox", "music-generation", *(["lora"] if has_adapters else [])]
    return ModelCardData(**data, library_name="transformers", pipeline_tag="text-to-audio", tags=tags)


def name_on_hub(name: str | None) -> str | None:
    """A model's name, where it is one of the Hub's; paths of this machine are nobody else's business."""
    if name is None or Path(name).is_absolute() or Path(name).exists() or name.count("/") != 1:
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _is_tiny(repository: str) -> bool:
    try:
        return Path(repository).resolve() == Path(tiny_repository()).resolve()
    except FileNotFoundError:
        return False


def _card(config: JukeboxConfig, title: str, data: dict[str, Any], terms: str) -> str:
    front = front_matter(**data)
    rate = config.vqvae_config.sampling_rate
    card = f"""---
{front.to_yaml()}
---

# {title}

{terms}{_CODE_TERMS}

Jukebox (Dhariwal et al. 2020, arXiv:2005.00341) sings raw audio from lyrics, an artist and a genre; this one at {rate}
Hz, with a VQ-VAE of {config.vqvae_config.parameter_count():,} parameters.

| level | codes a second | window | parameters | is told |
|---:|---:|---:|---:|---|
{_rows(config.prior_configs)}

```python
import jukebox_hf
from transformers import pipeline

sing = pipeline("text-to-audio", model="this repository")
song = sing("the lyrics", artist="an artist", genre="a genre", seconds=20, seed=1)
```
"""
    ModelCard(card)  # refuses front matter that the Hub could not read
    return card


def _rows(priors: Sequence[JukeboxPriorConfig]) -> str:
    return "\n".join(
        f"| {prior.level} | {prior.sampling_rate / prior.hop_length:.1f} | "
        f"{prior.window_samples / prior.sampling_rate:.2f} s | {prior.parameter_count():,} | {told(prior)} |"
        for prior in reversed(priors)
    )


def told(prior: JukeboxPriorConfig) -> str:
    """What a prior is conditioned on, in words."""
    conditions = (
        ("artist and genre", prior.has_labels),
        ("its position in the song", prior.has_timing),
        ("lyrics", prior.lyrics != "none"),
        (f"the codes of level {prior.level + 1}", prior.upper_strides is not None),
    )
    return ", ".join(word for word, is_used in conditions if is_used) or "nothing but its own codes"
