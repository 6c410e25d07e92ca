"""What a song sounds like so far: pieces of sound, each as soon as all codes that it depends on are there.

Flows in: a planned song and its codes. Flows out: samples, in order, the same as those of the finished file.
"""

import numpy as np

from jukebox_hf.app.runs.planned_songs import PlannedSongs
from jukebox_hf.data.streamed_audio import FORMATS_FROM_THE_FRONT
from jukebox_hf.model.modeling_jukebox import JukeboxModel
from jukebox_hf.model.songs.song_state import SongState
from jukebox_hf.model.songs.streaming import PieceSizes, decode_stretch

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
        self._vqvae, self._finest = model.vqvae, plan.levels[-1]
        self._sizes = PieceSizes.of(model.config, plan, SERVED_PIECE_SECONDS, None)
        self._given = 0  # codes that were decoded
        self.num_samples = self._finest.total * model.config.vqvae_config.hop_lengths[self._finest.level]

    @property
    def is_over(self) -> bool:
        return self._given >= self._finest.total

    def is_ready(self, state: SongState) -> bool:
        """Whether the codes of the next piece are there, and those that its last samples depend on."""
        needed = min(self._stop() + self._sizes.ahead, self._finest.total)
        return not self.is_over and len(state.codes[self._finest.level][0]) >= needed

    def next(self, state: SongState) -> np.ndarray:
        """The next piece: float32 (S,), not clamped."""
        level, start, self._given = self._finest.level, self._given, self._stop()
        return decode_stretch(self._vqvae, state.codes[level], level, start, self._given, self._sizes)[0].numpy()

    def _stop(self) -> int:
        """The code behind the next piece."""
        return min(self._given + self._sizes.piece, self._finest.total)
