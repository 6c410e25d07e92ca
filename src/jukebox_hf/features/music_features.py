"""JukeboxFeatures: recordings to what a prior or the VQ-VAE makes of them, for probes, retrieval and conditioning.

Flows in: paths, samples, or lists of them. Flows out: one array per recording, or a padded batch with its mask. Only
the layers up to the last wanted one are loaded and run; a recording is never averaged with its neighbours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import ModelOutput

from jukebox_hf.features.opened_parts import OpenedParts, open_parts
from jukebox_hf.features.recipes import FeatureRecipe, read_recipe
from jukebox_hf.features.recording_windows import RecordingWindow, plan_recording, timing_of
from jukebox_hf.features.time_pooling import pooling
from jukebox_hf.model.checkpoints.quantization import num_quantized
from jukebox_hf.model.checks.validation import check_level, is_integer, require
from jukebox_hf.model.inputs.audio_containers import as_list, unpack
from jukebox_hf.model.inputs.audio_input import read_audio
from jukebox_hf.model.networks.conditioning import Conditioning, joined
from jukebox_hf.model.networks.convolution import reach_in_codes


@dataclass(frozen=True)
class TrackFeatures:
    """The features of one recording.

    Attributes:
        values: float32 (layers, D) for pool="mean", else (layers, T, D), with slices in front of that where the recipe
            cuts any; int64 for kind="codes". Of the VQ-VAE "layers" is 1.
        seconds: length of the recording.
        windows: how many windows a prior read, in all slices; 0 of the VQ-VAE alone.
    """

    values: np.ndarray
    seconds: float
    windows: int


@dataclass
class JukeboxFeaturesOutput(ModelOutput):
    """The features of a batch, zeros behind what is shorter.

    Attributes:
        features: (B, ...) as `TrackFeatures.values`.
        mask: (B, T), or (B, W, T) with slices, or (B, W) of means of slices: True where features are; None for one mean
            per recording.
        seconds: (B,) length of each recording, float64.
    """

    features: Tensor | None = None
    mask: Tensor | None = None
    seconds: Tensor | None = None


class JukeboxFeatures:
    """Makes features of recordings.

    Args:
        model: a `JukeboxModel`, or a `JukeboxVQVAE` for what needs no prior.
        preset: a published recipe to begin with: jukemir, sheetsage or edge; None: the plain one.
        batch_size: windows that are run at once.
        said: `layers=(36,)`, `pool=30.0` and whatever else `FeatureRecipe` has, instead of the preset's.

    Raises:
        ValueError: a recipe that this model cannot follow, in one sentence.
    """

    def __init__(self, model: Any, preset: str | None = None, *, batch_size: int = 1, **said: Any) -> None:
        self._set_up(open_parts(model), read_recipe(preset, said), batch_size)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        preset: str | None = None,
        *,
        layers: int | Sequence[int] | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        batch_size: int = 1,
        revision: str | None = None,
        **said: Any,
    ) -> "JukeboxFeatures":
        """Open a repository, of which only the first layers of one prior and the VQ-VAE are read.

        Args:
            pretrained_model_name_or_path: Hub name or folder; a VQ-VAE alone gives codes, vectors and latents.
            preset, layers, batch_size, said: as in the constructor.
            dtype: of the prior's matrices: float32, bfloat16, float16 or "int8"; None keeps what the files hold. What
                `jukebox-hf quantize` made is int8 alone.
            device: where to compute; None: the CPU.
            revision: of a repository on the Hub.

        Raises:
            ValueError: a recipe that the model cannot follow, a bad dtype or device, in one sentence.
            OSError: nothing to read there.
        """
        said = said if layers is None else said | {"layers": layers}
        recipe = read_recipe(preset, said)
        features = cls.__new__(cls)
        features._set_up(
            open_parts(pretrained_model_name_or_path, recipe=recipe, dtype=dtype, device=device, revision=revision),
            recipe,
            batch_size,
        )
        return features

    def _set_up(self, parts: OpenedParts, recipe: FeatureRecipe, batch_size: int) -> None:
        require(is_integer(batch_size) and batch_size > 0, f"batch_size={batch_size!r} must be 1 window or more")
        self._parts, self.recipe, self.batch_size = parts, recipe, batch_size
        config = parts.vqvae.config
        if recipe.kind == "hidden_states":
            self.level, self.layers = parts.level_and_layers(recipe)
            self.prior = parts.first_layers(self.level, max(self.layers))
            plan_recording(recipe, self.prior.config, 1, config.sampling_rate)  # refuses what no window can be
        else:
            self.level = config.num_levels - 1 if recipe.level is None else recipe.level
            check_level("level", self.level, config.num_levels)
            self.layers, self.prior = (), None
        self.vqvae, self.sampling_rate = parts.vqvae, config.sampling_rate
        self._hop = config.hop_lengths[self.level]
        self._reach = reach_in_codes(config.level_strides[: self._levels[-1] + 1], config.dilations(self._levels[-1]))
        require(
            isinstance(recipe.pool, str) or recipe.pool <= self.code_rate,
            f"pool={recipe.pool} frames per second is over the {self.code_rate:g} codes per second of level "
            f"{self.level}; say pool='none' for all of them",
        )
        slices = (recipe.slice_seconds, recipe.slice_hop_seconds)
        for name, seconds in zip(("slice_seconds", "slice_hop_seconds"), slices, strict=True):
            require(
                seconds is None or seconds * self.sampling_rate >= self._coarsest,
                f"{name}={seconds} is shorter than one code, {self._coarsest / self.sampling_rate:g} s; say more",
            )

    @property
    def code_rate(self) -> float:
        """Vectors per second before pooling."""
        return self.sampling_rate / self._hop

    @property
    def frame_rate(self) -> float | None:
        """Vectors per second after pooling; None of means."""
        pool = self.recipe.pool
        return pool if isinstance(pool, float) else (self.code_rate if pool == "none" else None)

    @property
    def dtype_name(self) -> str:
        """What the prior's matrices are of, such as bfloat16 or int8; float32 of the VQ-VAE alone."""
        if self.prior is None:
            return "float32"
        return "int8" if num_quantized(self.prior) else str(self.prior.dtype).removeprefix("torch.")

    @property
    def revision(self) -> str:
        """Which weights these are: the commit of a repository on the Hub, or a digest of the files of a folder."""
        return self._parts.revision(self.level if self.prior is not None else None)

    @property
    def feature_size(self) -> int:
        """D: numbers per vector."""
        if self.prior is not None:
            return self.prior.config.hidden_size
        return 1 if self.recipe.kind == "codes" else self.vqvae.config.codebook_dim

    def bytes_read(self) -> tuple[int, int]:
        """Bytes of the prior's files that were read for its layers, and those there are; (0, 0) without files."""
        return (0, 0) if self.prior is None else self._parts.bytes_read(self.level, self.prior)

    def __call__(self, audio: Any, sampling_rate: int | None = None) -> JukeboxFeaturesOutput:
        """Make the features of one or several recordings, in their order.

        Args:
            audio: a path, bytes, samples (S,) or stereo (2, S), (samples, rate), a dictionary of `datasets`; or a list
                of those. Several recordings are a list, never the rows of an array.
            sampling_rate: of samples that do not say theirs; None: the model's.

        Raises:
            ValueError: what cannot be read, or is shorter than a code, in one sentence that says which recording.
        """
        clips = self._read_all(audio, sampling_rate)
        return padded_batch(self._of_clips(clips), self.recipe)

    def track(self, audio: Any, sampling_rate: int | None = None) -> TrackFeatures:
        """The features of one recording alone, without padding; arguments as of a call."""
        clips = self._read_all(audio, sampling_rate)
        require(
            len(clips) == 1, f"audio lists {len(clips)} recordings, but a track is one; call the features with them"
        )
        return self._of_clips(clips)[0]

    # --- inside the door ---

    @property
    def _levels(self) -> list[int]:
        """The levels that are encoded: an upsampler reads the codes above its own, too."""
        above = self.prior is not None and self.prior.config.upper_strides is not None
        return [self.level, self.level + 1] if above else [self.level]

    @property
    def _coarsest(self) -> int:
        """Samples per code of the coarsest level that is encoded."""
        return self.vqvae.config.hop_lengths[self._levels[-1]]

    def _read_all(self, audio: Any, sampling_rate: int | None) -> list[np.ndarray]:
        recordings = as_list(audio)
        require(len(recordings) > 0, "audio is an empty list; give a recording")
        names = ["audio"] if len(recordings) == 1 else [f"audio[{index}]" for index in range(len(recordings))]
        return [self._read(one, name, sampling_rate) for one, name in zip(recordings, names, strict=True)]

    def _read(self, audio: Any, name: str, sampling_rate: int | None) -> np.ndarray:
        recording = unpack(audio, name)
        rate = recording.rate if recording.rate is not None or recording.is_file else sampling_rate
        samples = read_audio(recording.source, self.sampling_rate, source_rate=rate)
        label = str(recording.source) if isinstance(recording.source, (str, PathLike)) else name
        require(
            len(samples) >= self._coarsest,
            f"{label} has {len(samples)} samples at {self.sampling_rate} Hz, fewer than the {self._coarsest} of one "
            f"code; give a longer recording",
        )
        return samples

    @torch.no_grad()
    def _of_clips(self, clips: Sequence[np.ndarray]) -> list[TrackFeatures]:
        pieces = [list(self._slices(samples)) for samples in clips]
        flat = [
            (piece, start, len(samples)) for cut, samples in zip(pieces, clips, strict=True) for start, piece in cut
        ]
        made = iter(self._of_pieces(flat))
        found = []
        for cut, samples in zip(pieces, clips, strict=True):
            values, windows = zip(*(next(made) for _ in cut), strict=True)
            whole = np.stack(values) if self.recipe.slice_seconds is not None else values[0]
            found.append(TrackFeatures(whole, len(samples) / self.sampling_rate, sum(windows)))
        return found

    def _slices(self, samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """First sample and samples of each slice; a recording that is shorter than one is one."""
        recipe, rate = self.recipe, self.sampling_rate
        if recipe.slice_seconds is None:
            yield 0, samples
            return
        size = round(recipe.slice_seconds * rate)
        hop = size if recipe.slice_hop_seconds is None else round(recipe.slice_hop_seconds * rate)
        for start in range(0, max(len(samples) - size, 0) + 1, hop):
            yield start, samples[start : start + size]

    def _of_pieces(self, pieces: Sequence[tuple[np.ndarray, int, int]]) -> list[tuple[np.ndarray, int]]:
        """Values and number of windows of each piece (samples, first sample in its song, samples of the song)."""
        codes = [self._codes(samples) for samples, _, _ in pieces]
        pools = [
            self._pool(found[self.level].shape[1], len(samples))
            for found, (samples, _, _) in zip(codes, pieces, strict=True)
        ]
        if self.prior is None:
            for pool, found in zip(pools, codes, strict=True):
                pool.add(found[self.level])
            return [(pool.finish().numpy(), 0) for pool in pools]
        plans = [
            plan_recording(self.recipe, self.prior.config, found[self.level].shape[1], song, start)
            for found, (_, start, song) in zip(codes, pieces, strict=True)
        ]
        windows = [(piece, window) for piece, plan in enumerate(plans) for window in plan]
        for first in range(0, len(windows), self.batch_size):
            batch = windows[first : first + self.batch_size]
            for (piece, _), states in zip(batch, self._states([(codes[i], w) for i, w in batch]), strict=True):
                pools[piece].add(states)
        return [(pool.finish().numpy(), len(plan)) for pool, plan in zip(pools, plans, strict=True)]

    def _pool(self, num_codes: int, num_samples: int) -> Any:
        """What the vectors of a piece are given to; where only a part of it is read, that is as long as its codes."""
        is_all = num_codes == num_samples // self._hop
        return pooling(
            self.recipe.pool,
            self.code_rate,
            num_codes,
            num_samples / self.sampling_rate if is_all else num_codes / self.code_rate,
        )

    def _codes(self, samples: np.ndarray) -> dict[int, Tensor]:
        """By level what is needed of a piece: codes (1, T) on the device; of the VQ-VAE alone (1, T, D) on the CPU."""
        if self.recipe.normalize == "peak" and (peak := float(np.abs(samples).max())) > 0:
            samples = samples / np.float32(peak)
        kept = self._kept_codes()
        most = len(samples) if kept is None else (kept * self._hop // self._coarsest + self._reach) * self._coarsest
        whole = min(len(samples), most) // self._coarsest * self._coarsest
        values = torch.from_numpy(np.ascontiguousarray(samples[:whole]))[None, None].to(self.vqvae.device)
        if self.recipe.kind == "latents":
            return {self.level: self.vqvae.encode_latents(values, self.level).transpose(1, 2).float().cpu()}
        levels, hops = self._levels, self.vqvae.config.hop_lengths
        codes = dict(zip(levels, self.vqvae.encode(values, levels).audio_codes, strict=True))
        if self.recipe.kind == "codes":
            return {self.level: codes[self.level].cpu()[..., None]}
        if self.recipe.kind == "vectors":
            return {
                self.level: self.vqvae.codebooks[self.level].vectors(codes[self.level]).transpose(1, 2).float().cpu()
            }
        return {level: found[:, : _share(kept, self._hop, hops[level])] for level, found in codes.items()}

    def _kept_codes(self) -> int | None:
        """How many codes of a recording are read, where the recipe says so; they are those of the whole recording."""
        if self.prior is None or self.recipe.max_windows is None:
            return None
        plan = plan_recording(self.recipe, self.prior.config, 2**62, self.sampling_rate)
        return plan[-1].stop

    def _states(self, batch: Sequence[tuple[dict[int, Tensor], RecordingWindow]]) -> list[Tensor]:
        """Hidden states (layers, new codes, D) of each window, on the CPU in float32."""
        device = self.prior.device
        rows = [codes[self.level][0, window.start : window.stop].to(device) for codes, window in batch]
        # What is behind the last code of a row changes nothing before it: the layers are causal.
        codes = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        conditioning = joined([self._condition(codes_of, window) for codes_of, window in batch])
        lyric_ids = self._no_lyrics(len(batch))
        layers = self.prior.hidden_states(
            codes, self.layers, conditioning, lyric_ids, reduce=lambda hidden: hidden.float().cpu()
        )
        stacked = torch.stack(layers)  # (layers, B, T, D)
        return [stacked[:, row, window.new : window.stop - window.start] for row, (_, window) in enumerate(batch)]

    def _condition(self, codes: dict[int, Tensor], window: RecordingWindow) -> Conditioning:
        """That of one window: nobody's artist, genre and lyrics, its time, and the codes above it."""
        config, device, given = self.prior.config, self.prior.device, {}
        if config.has_labels:
            given["artist_ids"] = torch.zeros(1, dtype=torch.long, device=device)
            given["genre_ids"] = torch.tensor([[0] + [-1] * (config.max_genres - 1)], device=device)
        if config.has_timing:
            given["timing"] = timing_of([window], config).to(device)
        if config.upper_strides is not None:
            ratio = config.upper_ratio
            given["upper_codes"] = codes[self.level + 1][:, window.start // ratio : -(-window.stop // ratio)].to(device)
        return self.prior.condition(lyric_ids=self._no_lyrics(1), **given)

    def _no_lyrics(self, rows: int) -> Tensor | None:
        config = self.prior.config
        if config.lyrics == "none":
            return None
        filler = config.lyric_filler or 0
        return torch.full((rows, config.lyric_length), filler, dtype=torch.long, device=self.prior.device)


def padded_batch(tracks: Sequence[TrackFeatures], recipe: FeatureRecipe) -> JukeboxFeaturesOutput:
    """Put the features of several recordings into one tensor, zeros behind what is shorter."""
    values = [torch.from_numpy(track.values) for track in tracks]
    shape = [max(sizes) for sizes in zip(*(one.shape for one in values), strict=True)]
    varying = [0] * (recipe.slice_seconds is not None) + [len(shape) - 2] * (recipe.pool != "mean")
    features = values[0].new_zeros(len(values), *shape)
    mask = torch.zeros(len(values), *(shape[axis] for axis in varying), dtype=torch.bool, device="cpu")
    for row, one in enumerate(values):
        features[(row, *map(slice, one.shape))] = one
        mask[(row, *(slice(one.shape[axis]) for axis in varying))] = True
    seconds = torch.tensor([track.seconds for track in tracks], dtype=torch.float64, device="cpu")
    return JukeboxFeaturesOutput(features, mask if varying else None, seconds)


def _share(kept: int | None, hop: int, other_hop: int) -> int | None:
    """So many codes of one level as codes of another."""
    return None if kept is None else kept * hop // other_hop
