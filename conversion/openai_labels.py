"""OpenAI's packed label rows as our forward arguments.

Flows in: rows (B, 4 + G + N) of song length, offset, window length, artist, genres and lyric characters. Flows out: the
labels as `JukeboxPrior.forward` takes them.
"""

from torch import Tensor

from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig


def unpack_labels(rows: Tensor, config: JukeboxPriorConfig) -> dict[str, Tensor]:
    """Split packed label rows into the arguments this prior takes; what it does not take is left out."""
    genres_end = 4 + config.max_genres
    characters = config.lyric_length if config.lyrics != "none" else 0
    if config.has_labels and rows.shape[1] != genres_end + characters:
        raise ValueError(
            f"rows has {rows.shape[1]} columns, but this prior's labels take {genres_end + characters}: 4, "
            f"{config.max_genres} genres and {characters} characters; use the rows made for this prior"
        )
    labels: dict[str, Tensor] = {}
    if config.has_labels:
        labels |= {"artist_ids": rows[:, 3], "genre_ids": rows[:, 4:genres_end]}
    if config.has_timing:
        labels["timing"] = rows[:, :3]
    if characters:
        labels["lyric_ids"] = rows[:, -characters:]
    return labels
