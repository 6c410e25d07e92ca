"""JukeboxVQVAE: audio to codes of three levels, and codes of any level back to audio (paper section 3).

Flows in: audio (B, 1, S). Flows out: codes (B, T) per level, finest first, and audio again. Every level has an encoder
and a decoder of its own; none shares a weight with another. Nothing here changes a codebook: training
does, from outside.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput, can_return_tuple, logging

from ..checks.validation import (
    LARGEST_SAMPLE,
    check_codes,
    check_finite,
    check_level,
    check_range,
    is_number,
    plain,
    require,
)
from ..configuration.configuration_jukebox import JukeboxVQVAEConfig
from ..files.checkpoint_files import CheckedWeights
from ..files.loading_arguments import check_part
from ..files.weight_types import KeepsFloat32
from .audio_losses import (
    SPECTRAL_RESOLUTION,
    Resolution,
    Spectra,
    largest_errors,
    multispectral_convergence,
    multispectral_distance,
    multispectral_log_distance,
    relative_errors,
    spectral_convergence,
    spectral_distance,
)
from .codebook import Codebook
from .convolution import Decoder, Encoder, StackSettings, level_reach
from .initialization import init_module
from .padding import padded_rows

logger = logging.get_logger(__name__)

_CHUNK_SECONDS = 30.0
_MOST_CHUNK_SECONDS = 1e9  # cap: avoids overflow of chunk_seconds * rate


@dataclass
class JukeboxVQVAEEncoderOutput(ModelOutput):
    """Codes per wanted level, finest first, each (B, S / hop)."""

    audio_codes: tuple[Tensor, ...] | None = None


@dataclass
class JukeboxVQVAEDecoderOutput(ModelOutput):
    """Audio (B, 1, S), not clamped to [-1, 1]."""

    audio_values: Tensor | None = None


@dataclass
class JukeboxVQVAEOutput(ModelOutput):
    """What a training forward gives.

    Attributes:
        loss: the sum to minimise, over all levels; None with `return_loss=False`.
        audio_values: (B, 1, S) reconstruction from the finest level.
        audio_codes: per level (B, T).
        latents: per level (B, C, T) float32, what the encoders gave before quantization; codebook training needs them.
        metrics: scalars by the original's names (`recons_loss_l1` is level 0, ...), detached.
    """

    loss: Tensor | None = None
    audio_values: Tensor | None = None
    audio_codes: tuple[Tensor, ...] | None = None
    latents: tuple[Tensor, ...] | None = None
    metrics: dict[str, Tensor] | None = None


class JukeboxVQVAE(CheckedWeights, KeepsFloat32, PreTrainedModel):
    """The VQ-VAE of all levels."""

    config_class = JukeboxVQVAEConfig
    base_model_prefix = "vqvae"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    output_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # true of a network without attention; the Auto classes and pipelines hand the choice on
    accepts_loss_kwargs = False  # losses are means: Trainer must divide by the accumulation steps itself
    _keep_in_fp32_modules_strict = ["codebooks"]
    _no_split_modules = ["DownBlock", "UpBlock"]
    moves_codebooks = False  # True while a training run moves the codebooks after each of its steps

    def __init__(self, config: JukeboxVQVAEConfig) -> None:
        super().__init__(config)
        config.validate_architecture()  # fields may have been assigned since it was built
        levels = range(config.num_levels)
        self.encoders = nn.ModuleList(
            Encoder(config.level_strides[: level + 1], config.codebook_dim, _stack(config, level)) for level in levels
        )
        self.decoders = nn.ModuleList(
            Decoder(
                config.level_strides[: level + 1],
                config.codebook_dim,
                _stack(config, level, is_reversed=config.reverse_decoder_dilation),
            )
            for level in levels
        )
        self.codebooks = nn.ModuleList(Codebook(config.codebook_size, config.codebook_dim) for _ in levels)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str] | None, *model_args: Any, **kwargs: Any
    ) -> "JukeboxVQVAE":
        """Load a VQ-VAE, as transformers loads its models; out of a whole Jukebox too.

        Raises:
            ValueError: a repository of transformers 4, or arguments that mean nothing here.
        """
        given = check_part("vqvae", pretrained_model_name_or_path, kwargs, cls.config_class)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **given)

    def get_input_embeddings(self) -> None:
        """None: audio goes in, not tokens (quantizers ask)."""

    def get_output_embeddings(self) -> None:
        """None: audio comes out, not tokens (quantizers ask)."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        init_module(module)

    @can_return_tuple
    @torch.no_grad()
    def encode(
        self,
        input_values: Tensor,
        levels: Sequence[int] | None = None,
        chunk_seconds: float | None = _CHUNK_SECONDS,
        return_dict: bool | None = None,
        *,
        padding_mask: Tensor | None = None,
        input_lengths: Tensor | None = None,
    ) -> JukeboxVQVAEEncoderOutput:
        """Encode audio to codes; only the encoders of the wanted levels run.

        Args:
            input_values: (B, 1, S) in [-1, 1] at the config's sampling rate, S a multiple of the coarsest wanted hop.
            levels: which levels; None for all. The answer is ordered finest first, whatever the order here.
            chunk_seconds: longer audio is cut into chunks that overlap by the receptive field, so that memory stays
                flat and the codes equal those of one pass; None for one pass.
            padding_mask: (B, S), 1 where sound is, as `JukeboxFeatureExtractor` gives it: a recording that is shorter
                than its batch then gets the codes that it has alone, and its padding those of silence.
            input_lengths: (B,) samples of sound, at the end of each row; follows from `padding_mask`.

        Raises:
            ValueError: wrong shape, length, level, chunk or mask, in one sentence.
        """
        wanted = self._wanted_levels(levels)
        self._check_audio(input_values, wanted[-1])
        _check_values(input_values)
        codes = self._encode(input_values, wanted, chunk_seconds)
        if padding_mask is not None or input_lengths is not None:
            hops = self.config.hop_lengths
            for row, start, stop in padded_rows(input_values, padding_mask, input_lengths, hops[wanted[-1]]):
                alone = self._encode(input_values[row : row + 1, :, start:stop], wanted, chunk_seconds)
                for level, of_batch, of_row in zip(wanted, codes, alone, strict=True):
                    of_batch[row, start // hops[level] : stop // hops[level]] = of_row[0]
        return JukeboxVQVAEEncoderOutput(audio_codes=tuple(codes))

    @torch.no_grad()
    def encode_latents(self, input_values: Tensor, level: int, chunk_seconds: float | None = _CHUNK_SECONDS) -> Tensor:
        """What the encoder of a level gives before quantization: (B, codebook_dim, S / hop); arguments as in `encode`.

        Raises:
            ValueError: wrong shape, length, level or chunk, in one sentence.
        """
        check_level("level", plain(level), self.config.num_levels)
        self._check_audio(input_values, level)
        _check_values(input_values)
        return self._latents(input_values, level, chunk_seconds, lambda latents: latents)

    def _encode(self, audio: Tensor, wanted: Sequence[int], chunk_seconds: float | None) -> list[Tensor]:
        return [
            self._latents(audio, level, chunk_seconds, lambda found, book=self.codebooks[level]: book.nearest(found)[0])
            for level in wanted
        ]

    def _latents(
        self, audio: Tensor, level: int, chunk_seconds: float | None, then: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """What `then` makes of the latents of audio, chunk by chunk."""
        hop = self.config.hop_lengths[level]

        def encode_chunk(first: int, last: int) -> Tensor:
            return then(self.encoders[level](audio[:, :, first * hop : last * hop].to(self.dtype)))

        return self._in_chunks(encode_chunk, audio.shape[-1] // hop, 1, level, chunk_seconds)

    @can_return_tuple
    @torch.no_grad()
    def decode(
        self,
        audio_codes: Tensor,
        level: int = 0,
        chunk_seconds: float | None = _CHUNK_SECONDS,
        return_dict: bool | None = None,
    ) -> JukeboxVQVAEDecoderOutput:
        """Decode the codes of one level to audio.

        Args:
            audio_codes: (B, T) of `level`.
            level: which level the codes are of; each has its own decoder.
            chunk_seconds: as in `encode`.

        Returns:
            Audio (B, 1, T * hop), which may overshoot [-1, 1] a little.

        Raises:
            ValueError: wrong shape, level, chunk or code, in one sentence.
            FloatingPointError: sound that is not finite.
        """
        level = plain(level)
        check_level("level", level, self.config.num_levels)
        check_codes("audio_codes", audio_codes, self.config.codebook_size)

        def decode_chunk(first: int, last: int) -> Tensor:
            vectors = self.codebooks[level].vectors(audio_codes[:, first:last])
            return self.decoders[level](vectors.to(self.dtype))

        hop_length = self.config.hop_lengths[level]
        audio = self._in_chunks(decode_chunk, audio_codes.shape[1], hop_length, level, chunk_seconds)
        if not torch.compiler.is_compiling() and not torch.isfinite(audio).all():  # an exported graph cannot stop
            raise FloatingPointError(
                f"the sound of the codes of level {level} is not finite; check the weights of the VQ-VAE that decodes "
                f"them, or use a wider dtype"
            )
        return JukeboxVQVAEDecoderOutput(audio_values=audio)

    @can_return_tuple
    def forward(
        self,
        input_values: Tensor,
        return_loss: bool = True,
        levels: Sequence[int] | None = None,
        return_dict: bool | None = None,
        *,
        padding_mask: Tensor | None = None,
        input_lengths: Tensor | None = None,
    ) -> JukeboxVQVAEOutput:
        """Encode, quantize and decode every level, with the training losses (paper section 3.2).

        The codebooks are read, never changed; gradients pass straight through them to the encoders.

        Args:
            input_values: (B, 1, S), S a multiple of the coarsest hop, and over 1024 samples for the spectral losses.
            return_loss: False leaves the losses out.
            levels: only these, each of which is an autoencoder of its own; None for all. Every tuple of the answer then
                holds these, finest first, and its audio is that of the finest.
            padding_mask, input_lengths: as in `encode`, but without padding, which would be learnt.

        Raises:
            ValueError: wrong shape, length or level, or recordings of different lengths, in one sentence.
        """
        wanted = self._wanted_levels(levels)
        self._check_audio(input_values, wanted[-1])
        if padding_mask is not None or input_lengths is not None:
            hop_length = self.config.hop_lengths[wanted[-1]]
            require(
                not list(padded_rows(input_values, padding_mask, input_lengths, hop_length)),
                "padding_mask names padding, whose silence would count as sound; cut the recordings to one length",
            )
        if return_loss:
            self._check_long_enough(input_values)
        if self.training and torch.is_grad_enabled() and not self.moves_codebooks:
            logger.warning_once(
                "The codebooks stay as they are while the rest of this JukeboxVQVAE trains; use "
                "jukebox_hf.training.JukeboxVQVAETrainer, or add jukebox_hf.training.CodebookEMACallback() to your "
                "Trainer"
            )
        latents = tuple(self.encoders[level](input_values.to(self.dtype)) for level in wanted)
        codes, commitments = [], []
        reconstructions: dict[int, Tensor] = {}
        for level, latent in zip(wanted, latents, strict=True):
            codebook = self.codebooks[level]
            codes.append(codebook.nearest(latent.detach())[0])
            vectors = codebook.vectors(codes[-1])
            commitments.append(F.mse_loss(latent.float(), vectors))
            reconstructions[level] = self.decoders[level](latent + (vectors.to(latent.dtype) - latent).detach())
        loss, metrics = None, None
        if return_loss:
            loss, metrics = self._losses(input_values, reconstructions, commitments)
        return JukeboxVQVAEOutput(
            loss=loss,
            audio_values=reconstructions[wanted[0]],
            audio_codes=tuple(codes),
            latents=tuple(latent.detach().float() for latent in latents),
            metrics=metrics,
        )

    # --- losses ---

    def _losses(
        self, input_values: Tensor, reconstructions: Mapping[int, Tensor], commitments: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config, target = self.config, input_values[:, 0].float()
        weights = {
            "recons": 1.0,
            "spectral": config.spectral_weight,
            "multispectral": config.multispectral_weight,
            "commit": config.commit_weight,
            "log_magnitude": config.log_magnitude_weight,
        }
        metrics: dict[str, Tensor] = {"commit_loss": torch.stack(list(commitments)).sum()}
        wanted = Spectra(target)
        heard = {level: Spectra(reconstruction[:, 0].float()) for level, reconstruction in reconstructions.items()}
        for level, spectra in heard.items():
            prediction = spectra.audio
            metrics[f"recons_loss_l{level + 1}"] = self._sample_loss(config.reconstruction_loss, target, prediction)
            # A term of weight 0 is still worth watching, but not worth a backward pass.
            with torch.set_grad_enabled(torch.is_grad_enabled() and weights["spectral"] > 0):
                metrics[f"spectral_loss_l{level + 1}"] = self._spectral_loss(wanted, spectra)
            with torch.set_grad_enabled(torch.is_grad_enabled() and weights["multispectral"] > 0):
                metrics[f"multispectral_loss_l{level + 1}"] = self._multispectral_loss(wanted, spectra)
            if config.log_magnitude_weight > 0:
                bands, rate = config.log_magnitude_bands, config.sampling_rate
                logs = multispectral_log_distance(wanted, spectra, self._resolutions(), bands, rate)
                metrics[f"log_magnitude_loss_l{level + 1}"] = logs.mean()
        summed = ("recons", "spectral", "multispectral", "log_magnitude")
        for name in summed if config.log_magnitude_weight > 0 else summed[:-1]:
            metrics[f"{name}_loss"] = sum(metrics[f"{name}_loss_l{level + 1}"] for level in reconstructions)
        loss = sum(weight * metrics[f"{name}_loss"] for name, weight in weights.items() if weight > 0)
        with torch.no_grad():
            finest = next(iter(heard.values()))
            metrics["spectral_convergence"] = spectral_convergence(wanted, finest).mean()
            for name in ("l1", "l2", "linf"):
                metrics[f"{name}_loss"] = self._sample_loss(name, target, finest.audio)
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _sample_loss(self, name: str, target: Tensor, prediction: Tensor) -> Tensor:
        config = self.config
        if name == "l1":
            return F.l1_loss(prediction, target) / config.l1_bandwidth
        if name == "l2":
            return F.mse_loss(prediction, target) / config.l2_bandwidth
        if name == "linf":
            return largest_errors(target, prediction, config.linf_top_k).mean() / config.l2_bandwidth
        if name == "relative":
            return relative_errors(target, prediction).mean()
        mixture = {
            "l1": config.l1_weight,
            "l2": config.l2_weight,
            "linf": config.linf_weight,
            "relative": config.relative_weight,
        }
        terms = [w * self._sample_loss(part, target, prediction) for part, w in mixture.items() if w > 0]
        return torch.stack(terms).sum() if terms else prediction.sum() * 0.0

    def _spectral_loss(self, target: Spectra, prediction: Spectra) -> Tensor:
        if self.config.spectral_loss == "convergence":
            return spectral_convergence(target, prediction).mean()
        return spectral_distance(target, prediction).mean() / self.config.spectral_bandwidth

    def _multispectral_loss(self, target: Spectra, prediction: Spectra) -> Tensor:
        if self.config.multispectral_loss == "convergence":
            return multispectral_convergence(target, prediction, self._resolutions()).mean()
        distance = multispectral_distance(target, prediction, self._resolutions())
        return distance.mean() / self.config.spectral_bandwidth

    def _resolutions(self) -> list[Resolution]:
        config = self.config
        sizes = (
            config.multispectral_fft_sizes,
            config.multispectral_hop_lengths,
            config.multispectral_window_lengths,
        )
        return [Resolution(*resolution) for resolution in zip(*sizes, strict=True)]

    # --- chunks ---

    def _in_chunks(
        self,
        work: Callable[[int, int], Tensor],
        num_codes: int,
        outputs_per_code: int,
        level: int,
        chunk_seconds: float | None,
    ) -> Tensor:
        """Run `work` on chunks of codes that overlap by the receptive field, and join them without the overlaps."""
        size = self._chunk_codes(level, chunk_seconds)
        if size is None or num_codes <= size:
            return work(0, num_codes)
        reach = level_reach(self.config, level)
        chunks = []
        for start in range(0, num_codes, size):
            stop = min(start + size, num_codes)
            first, last = max(start - reach, 0), min(stop + reach, num_codes)
            chunk = work(first, last)
            chunks.append(chunk[..., (start - first) * outputs_per_code : (stop - first) * outputs_per_code])
        return torch.cat(chunks, dim=-1)

    def _chunk_codes(self, level: int, chunk_seconds: float | None) -> int | None:
        if chunk_seconds is None:
            return None
        chunk_seconds = plain(chunk_seconds)
        require(
            is_number(chunk_seconds) and 0 < chunk_seconds < float("inf"),
            f"chunk_seconds={chunk_seconds!r} must be a positive number of seconds, or None for one pass",
        )
        return max(
            1, int(min(chunk_seconds, _MOST_CHUNK_SECONDS) * self.config.sampling_rate / self.config.hop_lengths[level])
        )

    # --- the door ---

    def _wanted_levels(self, levels: Sequence[int] | None) -> list[int]:
        if levels is None:
            return list(range(self.config.num_levels))
        levels = plain(levels.tolist() if hasattr(levels, "tolist") else levels)
        require(
            isinstance(levels, Sequence) and len(levels) > 0,
            f"levels={levels!r} must be a list such as [0, 2], or None for all",
        )
        for level in levels:
            check_level("levels", level, self.config.num_levels)
        return sorted(set(levels))

    def _check_audio(self, input_values: Tensor, coarsest: int) -> None:
        require(
            isinstance(input_values, Tensor) and input_values.is_floating_point(),
            f"input_values must be a floating-point tensor (B, 1, S), not {_kind_of(input_values)}; "
            f"convert it with torch.as_tensor(audio, dtype=torch.float32)",
        )
        shape = tuple(input_values.shape)
        require(
            len(shape) == 3 and shape[1] == 1 and shape[0] > 0,
            f"input_values has shape {shape}, but must be (B, 1, S): songs, one channel, samples; reshape or mix down",
        )
        hop_length = self.config.hop_lengths[coarsest]
        crop = f"crop to {shape[2] // hop_length * hop_length} or " if shape[2] > hop_length else ""
        require(
            shape[2] > 0 and shape[2] % hop_length == 0,
            f"input_values has {shape[2]} samples, but level {coarsest} needs a positive multiple of its hop of "
            f"{hop_length}; {crop}pad to {max(1, -(-shape[2] // hop_length)) * hop_length}",
        )

    def _check_long_enough(self, input_values: Tensor) -> None:
        largest = max(SPECTRAL_RESOLUTION.fft_size, *self.config.multispectral_fft_sizes)
        require(
            input_values.shape[-1] > largest // 2,
            f"input_values has {input_values.shape[-1]} samples, but the spectral losses need over {largest // 2}; "
            f"give longer audio or pass return_loss=False",
        )


def _stack(config: JukeboxVQVAEConfig, level: int, is_reversed: bool = False) -> StackSettings:
    """Residual stacks of one level; decoders walk their dilations backwards."""
    dilations = config.dilations(level)
    return StackSettings(
        width=config.hidden_sizes[level],
        inner=config.residual_size(level),
        dilations=dilations[::-1] if is_reversed else dilations,
    )


def _check_values(audio: Tensor) -> None:
    """Refuse samples that are not finite, or integers of another scale."""
    check_finite("input_values", audio, "which no code stands for; repair or cut the audio")
    cure = "full scale is 1, so divide 16-bit samples by 32768"
    check_range("input_values", audio, -LARGEST_SAMPLE, LARGEST_SAMPLE, cure)


def _kind_of(value: object) -> str:
    return f"a {value.dtype} tensor" if isinstance(value, Tensor) else f"a {type(value).__name__}"
