"""Read a checkpoint as OpenAI's training leaves it: a dictionary with `hps`, `model`, `opt` and `step`.

Flows in: a file path. Flows out: hyper-parameters and a state dict. Only tensors and plain values are read: a pickle
that holds code is refused by torch, and there is no switch to allow it.
"""

from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from jukebox_hf.conversion.openai_config import prior_config, vqvae_config
from jukebox_hf.conversion.openai_keys import conditioner_units_of, openai_prior_keys, openai_vqvae_keys, to_ours
from jukebox_hf.model.checkpoints.checkpoint_keys import without_tied_head
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxVQVAEConfig
from jukebox_hf.model.files.checkpoint_files import read_pickled_tensors
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE


def read_checkpoint(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read hyper-parameters (empty where the file has none) and the state dict, without `module.` prefixes.

    Raises:
        ValueError: the file is not a checkpoint of tensors, or holds no `model`.
    """
    content = read_pickled_tensors(Path(path))
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} holds no state dict under 'model'; give a checkpoint as OpenAI's training saves it")
    hps = content.get("hps") or {}
    if not isinstance(hps, dict) or not all(isinstance(name, str) for name in content["model"]):
        raise ValueError(
            f"{path} holds names that are no text, or hyper-parameters that are no dictionary; get it again"
        )
    state = {name.removeprefix("module."): tensor for name, tensor in content["model"].items()}
    return dict(hps), state


def load_vqvae(path: str | PathLike[str]) -> JukeboxVQVAE:
    """Build a VQ-VAE, in evaluation mode, from a checkpoint and the hyper-parameters inside it."""
    hps, state = read_checkpoint(path)
    model = JukeboxVQVAE(vqvae_config(hps))
    model.load_state_dict(to_ours(state, openai_vqvae_keys(model.config)))
    return model.eval()


def load_prior(path: str | PathLike[str], vqvae: JukeboxVQVAEConfig) -> JukeboxPrior:
    """Build a prior, in evaluation mode, from a checkpoint and the hyper-parameters inside it.

    Half-precision matrices become float32 without loss.
    """
    hps, state = read_checkpoint(path)
    model = JukeboxPrior(prior_config(hps, vqvae))
    pairs = openai_prior_keys(model.config, conditioner_units_of(state))
    if model.config.tie_word_embeddings:
        without_tied_head(state, {pair.ours: pair for pair in pairs}, model.lm_head.weight.shape)
    model.load_state_dict(to_ours(state, pairs))
    return model.eval()
