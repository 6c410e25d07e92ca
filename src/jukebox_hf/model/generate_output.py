"""Songs whose codes are all there: decoded, and side by side in one output.

Flows in: batches of songs with their states. Flows out: what `generate` and `repaint` return, every song in its row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import ModelOutput

from .alignment.alignment import SongAlignment
from .inputs.song_inputs import NOT_SAID
from .networks.modeling_jukebox_vqvae import JukeboxVQVAE
from .songs.song import SongBatch
from .songs.song_state import SongState
from .songs.stereo import stereo_of
from .takes.repaint_scores import RepaintScores
from .takes.takes import Take


@dataclass
class JukeboxGenerateOutput(ModelOutput):
    """Finished songs, one per row.

    Attributes:
        audio: (B, S) float32, not clamped to [-1, 1]; zeros behind shorter songs. Its rate is `config.sampling_rate`.
            With `stereo` (B, 2, S), left and right.
        audio_lengths: (B,) samples of each song.
        seeds: (B,) the seeds that make these songs again.
        codes: per level, finest first, (B, T) with -1 behind shorter songs; (B, 0) where a level was not written. None
            unless asked for.
        alignment: when the lyrics of each song are sung, a `SongAlignment` per song. None unless asked for.
        takes: of each song asked for, every `Take` with its score, in the order of their seeds; the songs are those
            that were kept, best first. None without `takes`.
        correlation: (B,) of left and right; None without `stereo`.
        repaint: of each song, what was changed by `JukeboxModel.repaint`, and by what its takes were chosen; None
            elsewhere.
    """

    audio: Tensor | None = None
    audio_lengths: Tensor | None = None
    seeds: Tensor | None = None
    codes: tuple[Tensor, ...] | None = None
    alignment: tuple[SongAlignment, ...] | None = None
    takes: tuple[tuple[Take, ...], ...] | None = None
    correlation: Tensor | None = None
    repaint: tuple[RepaintScores, ...] | None = None


def check_sound_weights(vqvae: JukeboxVQVAE, level: int) -> None:
    """Refuse, before the first code, a VQ-VAE that could only decode a level to sound that is not finite.

    Raises:
        FloatingPointError: a weight of the level's decoder or codebook that is not finite.
    """
    decoder = (f"decoders.{level}", vqvae.decoders[level], torch.all)
    codebook = (f"codebooks.{level}", vqvae.codebooks[level], torch.any)  # songs may draw none but finite vectors
    weights = {
        f"{name}.{own}": enough(torch.isfinite(weight))
        for name, part, enough in (decoder, codebook)
        for own, weight in chain(part.named_parameters(), part.named_buffers())
    }
    are_finite = torch.stack(list(weights.values()))
    if not are_finite.all():  # one wait for the device
        bad = next(name for name, is_finite in zip(weights, are_finite.tolist(), strict=True) if not is_finite)
        raise FloatingPointError(
            f"the VQ-VAE holds weights that are not finite, in {bad}, so its sound would not be either; open the model "
            f"again, or train the VQ-VAE anew"
        )


def decoded_songs(
    vqvae: JukeboxVQVAE,
    batches: Sequence[SongBatch],
    states: Sequence[SongState],
    finest: int,
    return_codes: bool,
    second: Sequence[SongState] | None = None,
) -> JukeboxGenerateOutput:
    """Decode the finest level that was written, every song in its row; in stereo with the states of a `second`."""
    hops = vqvae.config.hop_lengths
    rows: dict[int, tuple[Tensor, int, list[Tensor], float]] = {}
    for number, (batch, state) in enumerate(zip(batches, states, strict=True)):
        for index, song in enumerate(batch.songs):
            codes = [own[index][: batch.plan.samples // hop] for own, hop in zip(state.codes, hops, strict=True)]
            audio, correlation = _decoded(vqvae, codes[finest], finest), 1.0
            if second is not None:
                again = second[number].codes[finest][index][: len(codes[finest])]
                wide = stereo_of(audio, _decoded(vqvae, again, finest))
                audio, correlation = wide.audio.T, wide.correlation
            rows[song] = audio, state.seeds[index], codes, correlation
    audio, seeds, codes, correlations = zip(*(rows[song] for song in sorted(rows)), strict=True)
    levels, padded = zip(*codes, strict=True), pad_sequence(list(audio), batch_first=True)
    return JukeboxGenerateOutput(
        audio=padded if second is None else padded.transpose(1, 2),  # (B, S, 2) -> (B, 2, S)
        audio_lengths=torch.tensor([len(samples) for samples in audio], device="cpu"),
        seeds=torch.tensor(seeds, device="cpu"),
        codes=tuple(pad_sequence(list(level), batch_first=True, padding_value=NOT_SAID) for level in levels)
        if return_codes
        else None,
        correlation=None if second is None else torch.tensor(correlations, device="cpu"),
    )


def _decoded(vqvae: JukeboxVQVAE, codes: Tensor, level: int) -> Tensor:
    """The sound (S,) of the codes (T,) of a level."""
    return vqvae.decode(codes[None].to(vqvae.device), level).audio_values[0, 0].float().cpu()
