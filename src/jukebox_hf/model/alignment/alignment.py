"""Alignment: when each lyric character is sung, from the attention of a prior that is conditioned on lyrics.

Flows in: the finished codes of that level, and its labels. Flows out: attention of one layer and head
over the whole song, and times of every character (paper section 4.4; SPEC of the original, 8). Pure: nothing is sampled
and nothing is kept, so the prior may go as soon as this returns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..checks.validation import check_ids, require
from ..configuration.configuration_jukebox import JukeboxPriorConfig
from ..inputs.labels import LevelLabels, window_inputs
from ..networks.free_memory import free_bytes
from ..networks.modeling_jukebox_prior import JukeboxPrior
from ..songs.song_plan import TOP_HOP_FRACTION
from ..songs.windows import Window, plan_windows
from .alignment_paths import locate_characters

_FINEST_SECONDS = 0.01  # times need no finer rows; those of the released models last 2.9 ms


@dataclass(frozen=True)
class SongAlignment:
    """When each lyric character of a song is sung, in seconds after the beginning of its audio.

    Attributes:
        attention: (T, C) float32, row t: attention of the prediction of code t to the position that has just read
            character c - 1, and so is about to sing character c; as the original assembles it. 0 outside all windows.
        starts, ends: (C,) float64; see `CharacterRows`.
        confidences: (C,) 0 to 1, how much of the attention lies there, over chance; 0 for what was laid between
            neighbours.
        is_seen: (C,) bool, whether attention shows the character.
        is_read: (C,) bool, whether any window read it; the others are not sung in this part of the song.
        seconds: length of the audio.
        layer, head: where the attention comes from.
    """

    attention: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    confidences: np.ndarray
    is_seen: np.ndarray
    is_read: np.ndarray
    seconds: float
    layer: int
    head: int


def align_song(
    prior: JukeboxPrior,
    codes: Tensor,
    labels: LevelLabels,
    *,
    windows: Sequence[Window] | None = None,
    layer: int | None = None,
    head: int | None = None,
) -> SongAlignment:
    """Find out when each character of a song is sung.

    Args:
        prior: one that is conditioned on lyrics.
        codes: (T,) of its level, generated or encoded from a recording.
        labels: of the song, for this prior.
        windows: in which the codes are read; None: as the original plans them.
        layer, head: instead of the configuration's `alignment_layer` and `alignment_head`.

    Raises:
        ValueError: a prior without lyrics or without a known head, codes that do not fit, or a song whose attention
            does not fit into free memory; before any attention is computed.
    """
    layer, head = choose_head(prior.config, layer, head)
    windows = _checked_windows(prior, codes, windows)
    config, num_characters = prior.config, len(labels.lyrics.ids)
    _check_memory(windows, len(codes), num_characters, config.lyric_length)
    if num_characters == 0:
        attention, is_read = np.zeros((len(codes), 0), np.float32), np.zeros(0, bool)
    else:
        attentions = {
            window.start: window_attention(prior, codes, labels, window, {layer: [head]})[layer][0]
            for window in windows
        }
        columns = {start: labels.window_characters(start * config.hop_length) for start in attentions}
        attention = join_windows(attentions, columns, len(codes), num_characters)
        is_read = np.isin(np.arange(num_characters), np.concatenate(list(columns.values())))
    row_seconds = config.hop_length / config.sampling_rate
    times = _times(attention, is_read, 1 / config.lyric_length, row_seconds, _first_sung_row(labels, len(codes)))
    return SongAlignment(attention, *times, is_read=is_read, seconds=len(codes) * row_seconds, layer=layer, head=head)


def times_as_rows(song: SongAlignment) -> np.ndarray:
    """Starts, ends, confidences, is_seen and is_read of every character as one array (C, 5) of float64."""
    return np.stack([song.starts, song.ends, song.confidences, song.is_seen, song.is_read], axis=1).astype(np.float64)


def window_attention(
    prior: JukeboxPrior, codes: Tensor, labels: LevelLabels, window: Window, heads: Mapping[int, Sequence[int]]
) -> dict[int, np.ndarray]:
    """Attention of a window of a song to its lyric characters: by layer (heads, length, N), float32."""
    inputs = {name: value.to(prior.device) for name, value in _window_inputs(prior, labels, window).items()}
    own = codes[window.start : window.stop][None].long().to(prior.device)
    found = prior.lyric_attention(own, heads, **inputs)
    return {layer: attention[0].float().cpu().numpy() for layer, attention in found.items()}


def join_windows(
    windows: Mapping[int, np.ndarray], columns: Mapping[int, np.ndarray], num_codes: int, num_characters: int
) -> np.ndarray:
    """Attention (T, C) of the whole song from that of its windows; where they overlap, the earlier one counts.

    Args:
        windows: by first code of the window, (length, N).
        columns: by first code, the character (N,) of each column, -1 for padding.
    """
    whole = np.zeros((num_codes, num_characters + 1), np.float32)  # padding, -1, lands in the extra column
    for start in sorted(windows, reverse=True):
        whole[start : start + len(windows[start]), columns[start]] = windows[start]
    return whole[:, :-1]


def evidence_of(attention: np.ndarray) -> np.ndarray:
    """Attention as displayed by the original, one column to the left: column c speaks for character c.

    The position that has just read a character is attended to while that character sounds. The last character of a song
    is read by no position; a lone one has only the position before it to speak for it.
    """
    if attention.shape[1] == 1:
        return attention
    return np.concatenate([attention[:, 1:], np.zeros_like(attention[:, :1])], axis=1)


def _first_sung_row(labels: LevelLabels, num_rows: int) -> int:
    """The first code that begins where the lyrics are said to, or later; 0 where nothing is said."""
    timing = labels.timing
    silent = max(timing.lyrics_from_samples - timing.offset_samples, 0) if timing.lyrics_from_samples else 0
    return min(-(-silent // labels.config.hop_length), num_rows - 1)


def _times(
    attention: np.ndarray, is_read: np.ndarray, diffuse: float, row_seconds: float, first_row: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends, confidences and whether they were seen, of every character; those not read stand outside.

    No character is looked for, or laid, before `first_row`.
    """
    seconds, begins = len(attention) * row_seconds, first_row * row_seconds
    attention = attention[first_row:]
    count = attention.shape[1]
    read = np.flatnonzero(is_read)
    first, stop = (read[0], read[-1] + 1) if len(read) else (0, 0)
    # The windows read a part of long lyrics: what lies outside of it is not copied.
    begin = max(first - 1, 0)
    evidence = evidence_of(attention[:, begin : stop + 1])[:, first - begin : stop - begin]
    pooled, pool = _pooled(evidence, max(1, int(_FINEST_SECONDS / row_seconds)))
    rows = locate_characters(pooled, diffuse)
    starts, ends = np.zeros(count), np.zeros(count)
    starts[stop:] = ends[stop:] = seconds
    scale = pool * row_seconds
    starts[first:stop] = np.minimum(begins + rows.starts * scale, seconds)
    ends[first:stop] = np.minimum(begins + rows.ends * scale, seconds)
    confidences, is_seen = np.zeros(count), np.zeros(count, bool)
    confidences[first:stop], is_seen[first:stop] = rows.confidences, rows.is_seen
    return starts, ends, confidences, is_seen


def _pooled(evidence: np.ndarray, wanted: int) -> tuple[np.ndarray, int]:
    """Means of `wanted` rows, fewer where that would leave under two rows per character; and how many it was."""
    num_rows, count = evidence.shape
    pool = max(1, min(wanted, num_rows // (2 * max(count, 1))))
    edges = np.arange(0, num_rows, pool)
    sizes = np.diff(np.append(edges, num_rows))
    return np.add.reduceat(evidence, edges, axis=0) / sizes[:, None], pool


def _check_memory(windows: Sequence[Window], num_codes: int, num_characters: int, lyric_length: int) -> None:
    """Attention is dense: of the windows, of the song (T, C), its evidence and what is pooled of it."""
    in_windows = sum(window.length for window in windows) * lyric_length
    needed, free = 4 * (in_windows + 3 * num_codes * num_characters), free_bytes(torch.device("cpu"))
    require(
        needed <= free,
        f"attention of {num_codes:,} codes to {num_characters:,} characters takes {needed / 1e9:.1f} GB of memory, "
        f"but {free / 1e9:.1f} GB are free; give a shorter song or lyrics, or more memory",
    )


def _window_inputs(prior: JukeboxPrior, labels: LevelLabels, window: Window) -> dict[str, Tensor]:
    return window_inputs([labels], window.start * prior.config.hop_length)


def choose_head(config: JukeboxPriorConfig, layer: int | None = None, head: int | None = None) -> tuple[int, int]:
    """The layer and head to read, the configuration's unless said; needs no weights.

    Raises:
        ValueError: a prior without lyrics or without a known head, or a layer or head that does not attend to lyrics.
    """
    require(
        config.lyrics != "none",
        "this prior is not conditioned on lyrics (lyrics='none'), so nothing can be aligned; use its top",
    )
    require((layer is None) == (head is None), f"layer={layer} and head={head} must be given together")
    if layer is None:
        layer, head = config.alignment_layer, config.alignment_head
    require(
        layer is not None,
        "this prior's configuration names no alignment_layer and alignment_head; find them with "
        "`jukebox-hf find-alignment-head`, or give layer and head",
    )
    readers = ", ".join(map(str, config.lyric_layers)) or "none"
    require(layer in config.lyric_layers, f"layer={layer} does not attend to lyrics; those that do: {readers}")
    require(
        0 <= head < config.num_attention_heads,
        f"head={head} must be from 0 to {config.num_attention_heads - 1}",
    )
    return layer, head


def _checked_windows(prior: JukeboxPrior, codes: Tensor, windows: Sequence[Window] | None) -> Sequence[Window]:
    check_ids("codes", codes, "(T,)", 1)
    require(len(codes) > 0, "codes is empty; give the codes of a song")
    length = prior.config.context_length
    windows = plan_windows(len(codes), length, max(1, int(TOP_HOP_FRACTION * length))) if windows is None else windows
    covered = sorted((window.start, window.stop) for window in windows)
    reach = 0
    for start, stop in covered:
        require(start <= reach, f"windows leave out codes {reach} to {start}; plan them with plan_windows")
        reach = max(reach, stop)
    require(reach == len(codes), f"windows end at code {reach}, but codes has {len(codes)}; plan them for this song")
    return windows
