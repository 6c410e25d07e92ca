"""The parts of a run, as far as they exist: songs, codes, the VQ-VAE and the priors.

Flows in: the folder of a run (`runs/tiny`), or a finished repository. Flows out: what is trained so far; of a network
that is still being trained its newest checkpoint.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jukebox_hf import JukeboxConfig, JukeboxModel, JukeboxPrior, JukeboxTokenizer, JukeboxVQVAE
from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.songs import Song
from jukebox_hf.training.checkpoints import newest_checkpoint
from jukebox_hf.training.vqvae.codebook_ema import CodebookEMA

PRIORS = ("prior_0", "prior_1", "prior_top")  # finest level first


@dataclass(frozen=True)
class Recordings:
    """Songs of one length.

    Attributes:
        audio: (B, S).
        songs: their words.
    """

    audio: Tensor
    songs: list[Song]

    def only(self, places: list[int]) -> "Recordings":
        """Some of them."""
        return Recordings(self.audio[places], [self.songs[place] for place in places])

    def first(self, most: int) -> "Recordings":
        """The first few."""
        return Recordings(self.audio[:most], self.songs[:most])

    def sung(self) -> "Recordings":
        """Those with words."""
        return self.only([place for place, song in enumerate(self.songs) if song.lyrics.strip()])

    def instrumental(self) -> "Recordings":
        """Those without."""
        return self.only([place for place, song in enumerate(self.songs) if not song.lyrics.strip()])


@dataclass(frozen=True)
class Networks:
    """What is trained so far.

    Attributes:
        vqvae: the codec.
        priors: by level.
        tokenizers: by level, with the lists the priors were trained with.
        weights: SHA-256 of each file they were read from, by its path inside the run or repository.
    """

    vqvae: JukeboxVQVAE
    priors: dict[int, JukeboxPrior] = field(default_factory=dict)
    tokenizers: dict[int, JukeboxTokenizer] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def top(self) -> int:
        return self.vqvae.config.num_levels - 1

    def whole(self) -> JukeboxModel:
        """A Jukebox of these parts; levels that are not trained yet cannot be written.

        Raises:
            ValueError: no prior of the top level.
        """
        if self.top not in self.priors:
            raise ValueError("the prior of the top level is not trained yet, so nothing can be written; train it first")
        configs = [
            self.priors[level].config if level in self.priors else self._stand_in(level)
            for level in range(self.top + 1)
        ]
        model = JukeboxModel(JukeboxConfig(vqvae_config=self.vqvae.config, prior_configs=configs), with_priors=False)
        model.vqvae = self.vqvae
        for level, prior in self.priors.items():
            setattr(model, f"prior_{level}", prior)
        return model.eval()

    def _stand_in(self, level: int) -> dict[str, Any]:
        """A configuration of a level below the top one that is not trained yet, as fits the codec."""
        config = json.loads((Path(__file__).parent / f"prior_{level}.json").read_text(encoding="utf-8"))
        codec, hops = self.vqvae.config, self.vqvae.config.hop_lengths
        return config | {
            "codebook_size": codec.codebook_size,
            "sampling_rate": codec.sampling_rate,
            "hop_length": hops[level],
            "upper_strides": [hops[level + 1] // hops[level]],
        }


def open_recordings(folder: Path, most: int, hop: int = 1) -> Recordings:
    """The first songs of a folder, at their own rate, cut to a multiple of `hop` samples.

    Raises:
        ValueError: songs of different lengths.
    """
    songs = open_songs(str(folder))
    chosen = range(min(most, len(songs)))
    headers = [songs.header(index) for index in chosen]
    lengths = {(header.rate, header.num_samples(header.rate)) for header in headers}
    if len(lengths) != 1:
        raise ValueError(f"the songs of {folder} have {len(lengths)} different lengths or rates; make them all alike")
    ((rate, length),) = lengths
    audio = np.stack([mix(songs.read(index, 0, length // hop * hop, rate)) for index in chosen])
    return Recordings(torch.from_numpy(audio), [songs[index] for index in chosen])


def open_codes(folder: Path) -> CodeShards | None:
    """The codes of a folder, if they are finished."""
    return CodeShards(folder) if (folder / "codes.json").is_file() else None


def open_networks(run: Path) -> Networks:
    """Load what is trained so far.

    Raises:
        ValueError: not even a checkpoint of the VQ-VAE.
    """
    folder = _trained(run / "vqvae")
    if folder is None:
        raise ValueError(f"{run / 'vqvae'} holds no VQ-VAE and no whole checkpoint of one; train it first")
    networks = Networks(JukeboxVQVAE.from_pretrained(folder).float().eval())
    networks.weights.update(weights_in(folder, run))
    for name in PRIORS:
        if (folder := _trained(run / name)) is not None:
            networks.weights.update(weights_in(folder, run))
            prior = JukeboxPrior.from_pretrained(folder).float().eval()
            networks.priors[prior.config.level] = prior
            networks.tokenizers[prior.config.level] = JukeboxTokenizer.from_pretrained(folder)
    return networks


def open_repository(folder: Path) -> Networks:
    """Load a finished model, such as the one inside the package.

    Raises:
        OSError, ValueError: no such repository.
    """
    model = JukeboxModel.from_pretrained(folder).float().eval()
    levels = range(model.num_levels)
    tokenizer = JukeboxTokenizer.from_pretrained(folder)
    return Networks(
        model.vqvae,
        {level: model.prior(level) for level in levels},
        dict.fromkeys(levels, tokenizer),
        weights_in(folder, folder),
    )


def weights_in(folder: Path, beside: Path) -> dict[str, str]:
    """SHA-256 of each file of weights of a folder, by its path beside another."""
    return {
        path.relative_to(beside).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }


def untrained(networks: Networks, audio: Tensor) -> Networks:
    """The same networks with random weights, as a control; codebooks are drawn from latents of some audio (B, S)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        vqvae = JukeboxVQVAE(networks.vqvae.config).eval()
        CodebookEMA().start(vqvae.codebooks, [encoder(audio[:, None]) for encoder in vqvae.encoders])
        priors = {level: JukeboxPrior(prior.config).eval() for level, prior in networks.priors.items()}
    return Networks(vqvae, priors, networks.tokenizers)


def _trained(folder: Path) -> Path | None:
    """A finished model, or the newest whole checkpoint of one, or None."""
    return folder if (folder / "model.safetensors").is_file() else newest_checkpoint(folder)
