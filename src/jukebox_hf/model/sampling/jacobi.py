"""Many codes per forward, the same codes: Jacobi iteration over stretches of a window.

A code is drawn with numbers that its place fixes, so it is a function of the codes before it. A forward of W positions
draws all of them from guesses; the codes up to the first wrong guess, and the one that puts it right, are what one
after the other would have given (docs/explanation/parallel_decoding.md).

Flows in: a stretcher, buffers of a window, the logits of its last code. Flows out: codes, row by row further.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.modeling_jukebox_prior import JukeboxPrior
from .sampling_ops import SamplingSettings, filtered, guided, pick
from .stretches import Stretcher
from .window_buffers import WindowBuffers, note_first


class JacobiLoop:
    """Decodes one window a stretch at a time, its rows each at their own pace.

    Attributes:
        stretcher: runs W positions.
        starts: by song, the first code that is not final yet.
    """

    def __init__(
        self, prior: JukeboxPrior, stretcher: Stretcher, settings: SamplingSettings, may_draw_lyrics: bool, most: int
    ) -> None:
        """`most`: positions that are run at once."""
        self.stretcher, self._prior, self._settings = stretcher, prior, settings
        self._may_draw_lyrics, self._most = may_draw_lyrics, most
        self.starts: list[int] = []

    def begin(self, buffers: WindowBuffers, start: int, logits: Tensor) -> None:
        """Go on from `start` codes in all rows; `logits` (B, V), guided, are those the last one was drawn from."""
        self._buffers, songs = buffers, len(logits)
        self.starts = [start] * songs
        self._at = torch.full((songs, 1), start, dtype=torch.long, device=logits.device)
        self._steps = torch.arange(2 * self._most, device=logits.device)
        # Room behind the end, for guesses that nobody needs.
        self._tokens = F.pad(buffers.tokens[:songs], (0, 2 * self._most))
        spots = self._at + self._steps[: self._most]
        self._reach(self._most)
        kept = self._filtered(logits[:, None]).expand(-1, self._most, -1)
        self._write(spots, self._picked(kept, spots))

    @property
    def reached(self) -> int:
        """How many codes of every row are final."""
        return min(self.starts)

    def advance(self, width: int, limit: int) -> int:
        """One forward of `width` positions of each row, which goes on up to `limit` codes; how many became final."""
        prefix = self._prior.config.prefix_length
        spots = self._at + self._steps[: 2 * width]
        self._reach(2 * width)
        drawn = spots[:, :width]
        positions = drawn + prefix
        guesses = self._tokens.gather(1, positions)
        tokens = self._of_all_rows(torch.cat([self._tokens.gather(1, positions[:, :1] - 1), guesses[:, :-1]], dim=1))
        positions = self._of_all_rows(positions)
        raw = self.stretcher.step_many(tokens, positions, self._buffers.conditioning, prefix + limit)
        logits = guided(raw, self._settings)
        kept = self._filtered(logits)
        new = self._picked(kept, drawn)
        counts = ((new == guesses).long().cumprod(dim=1).sum(dim=1) + 1).clamp(max=width)
        counts = counts.minimum((limit - self._at[:, 0]).clamp(min=0))
        self.stretcher.keep(self._of_all_rows(counts))
        found = counts.tolist()
        behind = spots[:, width : width + max(found)]  # as many as the next stretch may reach
        if not torch.isfinite(logits.sum()):
            self._note_bad(logits, drawn, counts)
        self._write(drawn, new)
        self._write(behind, self._picked(kept[:, -1:].expand(-1, behind.shape[1], -1), behind))
        self._at = self._at + counts[:, None]
        self.starts = [start + count for start, count in zip(self.starts, found, strict=True)]
        return sum(found)

    def align(self) -> None:
        """Bring all rows to where the furthest is, one code at a time."""
        while self.reached < max(self.starts):
            self.advance(1, max(self.starts))

    def give(self) -> None:
        """Put the codes that are final into the buffers of the window, and the cache behind those of all rows."""
        rows, length = self._buffers.tokens.shape
        self._buffers.tokens.copy_(self._tokens[:, :length].repeat(rows // len(self.starts), 1))

    def _of_all_rows(self, songs: Tensor) -> Tensor:
        """Of songs (B, ...), for all their rows (R * B, ...)."""
        rows = self._settings.rows
        return songs if rows == 1 else songs.repeat(rows, *[1] * (songs.dim() - 1))

    def _reach(self, count: int) -> None:
        if self._buffers.noise is not None:
            self._buffers.noise.reach([start + count for start in self.starts])

    def _filtered(self, logits: Tensor) -> Tensor:
        """What temperature and cuts leave of logits (B, n, V), characters ruled out."""
        offset = self._prior.config.code_offset
        if offset and not self._may_draw_lyrics:
            logits = F.pad(logits[..., offset:], (offset, 0), value=float("-inf"))
        return filtered(logits.flatten(0, 1), self._settings).view_as(logits)

    def _picked(self, kept: Tensor, spots: Tensor) -> Tensor:
        """Tokens (B, n) at the codes `spots` (B, n), each with its own numbers."""
        numbers = self._buffers.numbers_at(spots)
        numbers = None if numbers is None else numbers.flatten(0, 1)
        return pick(kept.flatten(0, 1), self._settings, numbers).view_as(spots)

    def _write(self, spots: Tensor, tokens: Tensor) -> None:
        last = self._tokens.shape[1] - 1
        self._tokens.scatter_(1, (spots + self._prior.config.prefix_length).clamp(max=last), tokens)

    def _note_bad(self, logits: Tensor, spots: Tensor, counts: Tensor) -> None:
        """Note where a row first had logits that are not finite, of those that a code was drawn from."""
        is_final = self._steps[: spots.shape[1]] < counts[:, None]
        is_bad = is_final & ~torch.isfinite(logits).all(dim=-1)
        at = torch.where(is_bad, spots, spots[:, -1:]).amin(dim=1)
        note_first(self._buffers.first_bad, at, is_bad.any(dim=1))
