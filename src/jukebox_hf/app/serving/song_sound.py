"""What a song sounds like so far: pieces of sound, each as soon as all codes that it depends on are there.

Flows in: a planned song and its codes. Flows out: samples, in order, the same as those of the finished file.
"""

import numpy as np
import torch

from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.data.streamed_audio import FORMATS_FROM_THE_FRONT
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.streaming import PieceSizes

SERVED_PIECE_SECONDS = 0.2


def is_streamable(song: PlannedSongs, format: str) -> bool:
    """Whether a song can be sent before it is whole: not in a format, loudness or stereo that all of it decides."""
    (request,) = song.requests
    return format in FORMATS_FROM_THE_FRONT and request.normalize == "none" and not request.stereo


class SongSound:
    """The sound of one song, from its beginning on.

    Attributes:
        num_samples: of the whole song.
    """

    def __init__(self, model: JukeboxModel, song: PlannedSongs) -> None:
        plan = song.batch.plan
        self._model, self._finest = model, plan.levels[-1]
        self._sizes = PieceSizes.of(model.config, plan, SERVED_PIECE_SECONDS, None)
        self._hop = model.config.vqvae_config.hop_lengths[self._finest.level]
        self._given = 0  # codes that were decoded
        self.num_samples = self._finest.total * self._hop

    @property
    def is_over(self) -> bool:
        return self._given >= self._finest.total

    def is_ready(self, state: SongState) -> bool:
        """Whether the codes of the next piece are there, and those that its last samples depend on."""
        return not self.is_over and len(state.codes[self._finest.level][0]) >= self._span()[1]

    @torch.no_grad()
    def next(self, state: SongState) -> np.ndarray:
        """The next piece: float32 (S,), not clamped."""
        first, last = self._span()
        stop = min(self._given + self._sizes.piece, self._finest.total)
        codes = state.codes[self._finest.level][0][None, first:last].to(self._model.vqvae.device)
        audio = self._model.vqvae.decode(codes, self._finest.level).audio_values[0, 0]
        piece = audio[(self._given - first) * self._hop : (stop - first) * self._hop]
        self._given = stop
        return piece.float().cpu().numpy()

    def _span(self) -> tuple[int, int]:
        """The codes that the next piece is decoded from."""
        stop = min(self._given + self._sizes.piece, self._finest.total)
        return max(self._given - self._sizes.reach, 0), min(stop + self._sizes.ahead, self._finest.total)
