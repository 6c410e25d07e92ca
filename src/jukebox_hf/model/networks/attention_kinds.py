"""Which positions a layer reads, and which it must remember: one small frozen class per attention kind.

Flows in: queries (B, T, H, E), keys and values stacked as kv (2, B, T, H, E), and where they start in the sequence.
Flows out: the same, folded so that one plain attention call serves every kind. Caches are tensors (2, B, slots, H, E)
that the caller owns; a kind only knows the arithmetic of their slots.

Positions form a grid of `rows` x `columns` (picture in __init__.py; paper section A.1, after Child et al. 2019).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Sizes that the kinds share: R rows of L columns, lyric prefix P, tail of a row, length N of the encoder."""

    rows: int
    columns: int
    prefix: int = 0
    tail: int = 0
    cross: int = 0


class Folded(NamedTuple):
    """Queries (F, Tq, H, E), kv (2, F, Tk, H, E); a query sees all keys, those up to itself, or a mask (Tq, Tk)."""

    queries: Tensor
    kv: Tensor
    is_causal: bool = False
    mask: Tensor | None = None


class Address(NamedTuple):
    """Where one step writes and reads; every entry is a device tensor: no synchronisation within a step."""

    write_slot: Tensor  # (1,)
    is_kept: Tensor  # () bool: False leaves the slot as it is
    read_slots: Tensor  # (slots read,)
    is_visible: Tensor  # (1, slots read) bool


class StretchAddress(NamedTuple):
    """Where W positions of each row read, each row from its own first one; nothing is written before they are final."""

    positions: Tensor  # (B, W)
    read_slots: Tensor | None  # (B, slots read); None: all slots, in their order
    is_visible: Tensor  # (B, W, slots read + W) bool: what caches hold, then the stretch itself


@dataclass(frozen=True)
class AttentionKind(ABC):
    """One attention pattern over the grid."""

    grid: Grid

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many positions a cache of this kind holds."""

    @abstractmethod
    def slot(self, positions: Tensor) -> Tensor:
        """The slot of each position; only meaningful where `is_kept`."""

    def is_kept(self, positions: Tensor) -> Tensor:
        """Which positions some later query may read."""
        return torch.ones_like(positions, dtype=torch.bool)

    @abstractmethod
    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        """Arrange a run of positions from `start`; what lies before it comes from the cache (none: start is 0)."""

    def unfold(self, out: Tensor, batch: int, start: int, length: int) -> Tensor:
        """Undo `fold` for the attention output: back to (B, length, H, E)."""
        return out

    def store(self, cache: Tensor, kv: Tensor, start: int) -> None:
        """Remember a run of positions."""
        stop = start + kv.shape[2]
        positions = self.kept_positions(max(start, self._oldest_kept(stop)), stop)
        if len(positions):
            kept = kv[:, :, (positions - start).to(kv.device)]
            cache.index_copy_(2, self.slot(positions).to(kv.device), kept.to(cache.dtype))

    def kept_positions(self, start: int, stop: int) -> Tensor:
        """The positions of a run that `is_kept` says: a static range, no data-dependent shape under torch.compile."""
        return torch.arange(start, stop, device="cpu")

    def _oldest_kept(self, stop: int | Tensor) -> int | Tensor:
        """First position before `stop` whose slot has not been given to a later one."""
        return stop * 0

    @abstractmethod
    def address(self, position: Tensor) -> Address:
        """Where a step at `position` (a 0-d tensor) writes its key and which slots it reads."""

    @abstractmethod
    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Whether queries at these positions read keys at those; keys under 0 are what stands for those not there."""

    @abstractmethod
    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        """The position that each slot belongs to while `position` is run; what is not before that is not there yet."""

    def slots_of(self, positions: Tensor) -> Tensor | None:
        """The slots that a stretch (B, W) may read: (B, some), none twice; None: all of them."""
        return None

    def stretch(self, positions: Tensor) -> StretchAddress:
        """Where W positions of each row (B, W), one after the other, read; what lies before them is in the cache."""
        first = positions[:, :1]
        slots = self.slots_of(positions)
        held = self.held(torch.arange(self.slots, device=positions.device) if slots is None else slots, first)
        in_cache = self.sees(positions[..., None], held[:, None]) & (held < first)[:, None]
        in_stretch = self.sees(positions[..., None], positions[:, None]) & self.is_kept(positions)[:, None]
        return StretchAddress(positions, slots, torch.cat([in_cache, in_stretch], dim=-1))

    def keep(self, cache: Tensor, fresh: Tensor, positions: Tensor, counts: Tensor) -> None:
        """Store the first `counts` (B,) positions of a stretch (B, W), of which kv (2, B, W, H, E) was made."""
        stops, device = positions[:, 0] + counts, counts.device
        rows, columns = (torch.arange(size, device=device) for size in positions.shape)
        is_final = columns < counts[:, None]
        is_final &= self.is_kept(positions) & (positions >= self._oldest_kept(stops)[:, None])
        # Shapes are fixed and nobody waits for a device, as CUDA graphs ask: who is not final writes once more what the
        # last final one writes, or, where there is none, what slot 0 holds.
        last = torch.where(is_final, columns, -1).amax(dim=1)
        source = torch.where(is_final, columns, last[:, None].clamp(min=0))
        is_there = (last >= 0)[:, None]
        slots = torch.where(is_there, self.slot(positions.gather(1, source)), 0)
        values = fresh[:, rows[:, None], source].to(cache.dtype)
        values = torch.where(is_there[None, :, :, None, None], values, cache[:, :, :1])
        cache[:, rows[:, None], slots] = values


@dataclass(frozen=True)
class Dense(AttentionKind):
    """Every earlier position."""

    @property
    def slots(self) -> int:
        return self.grid.rows * self.grid.columns

    def slot(self, positions: Tensor) -> Tensor:
        return positions.clamp(max=self.slots - 1)

    def is_kept(self, positions: Tensor) -> Tensor:
        return positions < self.slots

    def kept_positions(self, start: int, stop: int) -> Tensor:
        return torch.arange(start, max(start, min(stop, self.slots)), device="cpu")

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        if start > 0:
            kv = torch.cat([cache[:, :, : min(start, self.slots)].to(kv.dtype), kv], dim=2)
        return _causal(queries, kv[:, :, : self.slots], start)

    def address(self, position: Tensor) -> Address:
        slots = torch.arange(self.slots, device=position.device)
        return Address(self.slot(position).view(1), self.is_kept(position), slots, (slots <= position)[None])

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return keys <= queries

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        return slots.expand(len(position), -1)


@dataclass(frozen=True)
class LyricsPrefix(Dense):
    """The first positions of the sequence: the lyric characters and, as trained, a few codes behind them."""

    @property
    def slots(self) -> int:
        return min(self.grid.prefix, self.grid.rows * self.grid.columns)


@dataclass(frozen=True)
class Row(AttentionKind):
    """The position's own row, up to itself."""

    @property
    def slots(self) -> int:
        return self.grid.columns

    def slot(self, positions: Tensor) -> Tensor:
        return positions % self.slots

    def _oldest_kept(self, stop: int | Tensor) -> int | Tensor:
        return stop - self.slots

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        columns, column = self.grid.columns, start % self.grid.columns
        if column:
            kv = torch.cat([cache[:, :, :column].to(kv.dtype), kv], dim=2)
        queries, kv = _whole_rows(queries, column, columns), _whole_rows(kv, 0, columns)
        return _causal(_fold_rows(queries, columns), _fold_rows(kv, columns), 0)

    def unfold(self, out: Tensor, batch: int, start: int, length: int) -> Tensor:
        column = start % self.grid.columns
        out = out.reshape(batch, -1, *out.shape[2:])  # (B*R, L, H, E) -> (B, R*L, H, E)
        return out[:, column : column + length]

    def address(self, position: Tensor) -> Address:
        slots = torch.arange(self.slots, device=position.device)
        slot = self.slot(position)
        return Address(slot.view(1), self.is_kept(position), slots, (slots <= slot)[None])

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return (keys <= queries) & (keys // self.grid.columns == queries // self.grid.columns)

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        return position - position % self.grid.columns + slots


@dataclass(frozen=True)
class PreviousRow(Row):
    """The whole row above. Row 0 has none: it reads zeros and so gives zero, as the trained weights expect."""

    @property
    def slots(self) -> int:
        return 2 * self.grid.columns

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        columns, column = self.grid.columns, start % self.grid.columns
        above = torch.arange(start - column - columns, start, device="cpu")  # positions under 0 are slots still zero
        if start > 0:
            past = cache[:, :, self.slot(above).to(kv.device)].to(kv.dtype)
        else:
            past = kv.new_zeros(2, kv.shape[1], columns, *kv.shape[3:])
        queries, kv = _whole_rows(queries, column, columns), torch.cat([past, kv], dim=2)
        kv = _whole_rows(kv, 0, columns)[:, :, : queries.shape[1]]  # shifted down by one row
        return Folded(_fold_rows(queries, columns), _fold_rows(kv, columns))

    def address(self, position: Tensor) -> Address:
        columns = self.grid.columns
        other_half = (position // columns + 1) % 2 * columns
        slots = other_half + torch.arange(columns, device=position.device)
        visible = torch.ones(1, columns, dtype=torch.bool, device=position.device)
        return Address(self.slot(position).view(1), self.is_kept(position), slots, visible)

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return keys // self.grid.columns == queries // self.grid.columns - 1

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        half, column = slots // self.grid.columns, slots % self.grid.columns
        row = position // self.grid.columns
        return (row - (half != row % 2).long()) * self.grid.columns + column


@dataclass(frozen=True)
class Column(AttentionKind):
    """The same column of every row so far; slots lie column by column, so that a step reads a contiguous run."""

    @property
    def slots(self) -> int:
        return self.grid.rows * self.grid.columns

    def slot(self, positions: Tensor) -> Tensor:
        return positions % self.grid.columns * self.grid.rows + positions // self.grid.columns

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        columns, column = self.grid.columns, start % self.grid.columns
        if start > 0:
            past = torch.arange(start, device="cpu")
            kv = torch.cat([cache[:, :, self.slot(past).to(kv.device)].to(kv.dtype), kv], dim=2)
        queries, kv = _whole_rows(queries, column, columns), _whole_rows(kv, 0, columns)
        return _causal(_fold_columns(queries, columns), _fold_columns(kv, columns), start // columns)

    def unfold(self, out: Tensor, batch: int, start: int, length: int) -> Tensor:
        column = start % self.grid.columns
        out = out.unflatten(0, (batch, -1)).transpose(1, 2).flatten(1, 2)  # (B*L, R, H, E) -> (B, R*L, H, E)
        return out[:, column : column + length]

    def address(self, position: Tensor) -> Address:
        rows = torch.arange(self.grid.rows, device=position.device)
        slots = position % self.grid.columns * self.grid.rows + rows
        visible = (rows <= position // self.grid.columns)[None]
        return Address(self.slot(position).view(1), self.is_kept(position), slots, visible)

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return (keys <= queries) & (keys % self.grid.columns == queries % self.grid.columns)

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        return slots % self.grid.rows * self.grid.columns + slots // self.grid.rows

    def slots_of(self, positions: Tensor) -> Tensor | None:
        columns = positions[:, : self.grid.columns] % self.grid.columns  # each but once
        rows = torch.arange(self.grid.rows, device=positions.device)
        return (columns[..., None] * self.grid.rows + rows).flatten(1)


@dataclass(frozen=True)
class RowTails(AttentionKind):
    """The last `tail` columns of every row but the last, and as many null keys that are always visible."""

    @property
    def tail(self) -> int:
        return self.grid.tail

    @property
    def slots(self) -> int:
        return self.tail * self.grid.rows  # the null keys, then the tails of rows 0 .. R-2

    def slot(self, positions: Tensor) -> Tensor:
        row, from_tail = positions // self.grid.columns, positions % self.grid.columns - (self.grid.columns - self.tail)
        return ((row + 1) * self.tail + from_tail).clamp(0, self.slots - 1)

    def is_kept(self, positions: Tensor) -> Tensor:
        in_tail = positions % self.grid.columns >= self.grid.columns - self.tail
        return in_tail & (positions // self.grid.columns < self.grid.rows - 1)

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        stop = start + queries.shape[1]
        kept = kv[:, :, (self.kept_positions(start, stop) - start).to(kv.device)]
        if start > 0:
            past = cache[:, :, : self.tail + self._kept_before(start)].to(kv.dtype)
        else:
            past = kv.new_zeros(2, kv.shape[1], self.tail, *kv.shape[3:])
        kv = torch.cat([past, kept], dim=2)
        positions = torch.arange(start, stop, device=kv.device)
        mask = self._slot_positions(kv.device)[: kv.shape[2]] <= positions[:, None]
        return Folded(queries, kv, mask=mask)

    def address(self, position: Tensor) -> Address:
        slots = torch.arange(self.slots, device=position.device)
        visible = (self._slot_positions(position.device) <= position)[None]
        return Address(self.slot(position).view(1), self.is_kept(position), slots, visible)

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return keys <= queries

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        return self._slot_positions(position.device).expand(len(position), -1)

    def kept_positions(self, start: int, stop: int) -> Tensor:
        numbers = torch.arange(self._kept_before(start), self._kept_before(stop), device="cpu")
        return (numbers // self.tail + 1) * self.grid.columns - self.tail + numbers % self.tail

    def _kept_before(self, stop: int) -> int:
        """How many positions before `stop` are kept."""
        row, column = divmod(stop, self.grid.columns)
        in_row = max(column - (self.grid.columns - self.tail), 0)
        return min(row * self.tail + in_row, (self.grid.rows - 1) * self.tail)

    def _slot_positions(self, device: torch.device) -> Tensor:
        """The position each slot holds; -1 for the null keys."""
        slots = torch.arange(self.slots, device=device)
        positions = (slots // self.tail) * self.grid.columns - self.tail + slots % self.tail
        return torch.where(slots < self.tail, -1, positions)


@dataclass(frozen=True)
class RowEnds(RowTails):
    """The last column of every row but the last, and one null key."""

    @property
    def tail(self) -> int:
        return 1


@dataclass(frozen=True)
class LyricsCross(AttentionKind):
    """Every state of the lyric encoder, whose keys and values are stored once and never move."""

    @property
    def slots(self) -> int:
        return self.grid.cross

    def slot(self, positions: Tensor) -> Tensor:
        return positions

    def fold(self, queries: Tensor, kv: Tensor, start: int, cache: Tensor | None) -> Folded:
        return Folded(queries, kv)

    def address(self, position: Tensor) -> Address:
        slots = torch.arange(self.slots, device=position.device)
        nothing_is_kept = torch.zeros((), dtype=torch.bool, device=position.device)
        return Address(slots[:1], nothing_is_kept, slots, torch.ones_like(slots, dtype=torch.bool)[None])

    def is_kept(self, positions: Tensor) -> Tensor:
        return torch.zeros_like(positions, dtype=torch.bool)

    def sees(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.ones_like(queries + keys, dtype=torch.bool)

    def held(self, slots: Tensor, position: Tensor) -> Tensor:
        return torch.full_like(slots.expand(len(position), -1), -1)


ATTENTION_KINDS: dict[str, type[AttentionKind]] = {
    "dense": Dense,
    "row": Row,
    "previous_row": PreviousRow,
    "column": Column,
    "row_ends": RowEnds,
    "row_tails": RowTails,
    "lyrics_prefix": LyricsPrefix,
    "lyrics_cross": LyricsCross,
}


# --- folding ----------------------------------------------------------------------------------------------------------


def _causal(queries: Tensor, kv: Tensor, start: int) -> Folded:
    """Let query i, which stands at key start + i, see the keys up to its own."""
    num_queries, num_keys = queries.shape[1], kv.shape[2]
    if start == 0 and num_queries == num_keys:
        return Folded(queries, kv, is_causal=True)
    positions = torch.arange(start, start + num_queries, device=kv.device)
    return Folded(queries, kv, mask=torch.arange(num_keys, device=kv.device) <= positions[:, None])


def _whole_rows(x: Tensor, column: int, columns: int) -> Tensor:
    """Pad positions (dim -3) in front to the start of their row and behind to the end of their last row."""
    behind = -(column + x.shape[-3]) % columns
    return F.pad(x, (0, 0, 0, 0, column, behind)) if column or behind else x


def _fold_rows(x: Tensor, columns: int) -> Tensor:
    """(..., B, R*L, H, E) -> (..., B*R, L, H, E)."""
    return x.unflatten(-3, (-1, columns)).flatten(-5, -4)


def _fold_columns(x: Tensor, columns: int) -> Tensor:
    """(..., B, R*L, H, E) -> (..., B*L, R, H, E)."""
    return x.unflatten(-3, (-1, columns)).transpose(-4, -3).flatten(-5, -4)
