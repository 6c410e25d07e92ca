"""Metadata of an open corpus (FMA, MTG-Jamendo) becomes the song list beside your audio, free licences only.

    python -m examples.open_jukebox.corpus fma tracks.csv fma_full/
    python -m examples.open_jukebox.corpus jamendo raw.tsv raw.meta.tsv licences.tsv jamendo/

Flows in: tables as both projects publish them, and a folder with the audio that you got yourself. Flows out:
metadata.csv (AudioFolder layout) of the songs that are there and free, and attribution.csv: CC BY wants it published.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jukebox_hf.model.checks.validation import require

_FREE = re.compile(r"cc0|public ?domain|attribution|licenses/by(-sa)?/|\bby(-sa)?\b", re.IGNORECASE)
_NOT_FREE = re.compile(r"non-?\s?commercial|no-?\s?deriv|\bnc\b|\bnd\b|-nc|-nd|all rights", re.IGNORECASE)
csv.field_size_limit(2**20)


@dataclass(frozen=True)
class Track:
    """One song as its corpus tells it; `licence` in the corpus' words or as a URL."""

    file: str
    title: str
    artist: str
    genre: str
    licence: str


def is_free(licence: str) -> bool:
    """Whether a licence lets anybody use a song for anything: CC0, public domain, CC BY, CC BY-SA.

    What is not known to be free is not.
    """
    return _FREE.search(licence) is not None and _NOT_FREE.search(licence) is None


def fma_tracks(table: Path) -> Iterator[Track]:
    """Tracks of FMA's tracks.csv, whose first two rows together name the columns; audio lies in 000/000002.mp3.

    Raises:
        ValueError: another table.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        names = list(zip(next(rows, []), next(rows, []), strict=False))
        wanted = {
            "title": ("track", "title"),
            "artist": ("artist", "name"),
            "genre": ("track", "genre_top"),
            "licence": ("track", "license"),
        }
        missing = [" ".join(column) for column in wanted.values() if column not in names]
        require(not missing, f"{table} has no columns {', '.join(missing)}; give tracks.csv of FMA as it is")
        place = {name: names.index(column) for name, column in wanted.items()}
        for row in rows:
            if len(row) == len(names) and row[0].isdigit():  # a third row says track_id and nothing else
                number = f"{int(row[0]):06d}"
                told = {name: " ".join(row[index].split()) for name, index in place.items()}
                yield Track(f"{number[:3]}/{number}.mp3", **told)


def jamendo_tracks(table: Path, names: Path, licences: Path) -> Iterator[Track]:
    """Tracks of MTG-Jamendo: raw.tsv (paths, tags), raw.meta.tsv (names), and your table of path and licence.

    Raises:
        ValueError: other tables.
    """
    told = {row["TRACK_ID"]: row for row in _table(names, "TRACK_ID", "TRACK_NAME", "ARTIST_NAME")}
    licence = {row["PATH"]: row["LICENSE"] for row in _table(licences, "PATH", "LICENSE")}
    for row in _table(table, "TRACK_ID", "PATH", "TAGS"):
        tags = [row["TAGS"], *(row.get(None) or ())]  # a column more for each further tag
        genres = [tag.removeprefix("genre---") for tag in tags if tag.startswith("genre---")]
        words = told.get(row["TRACK_ID"], {"TRACK_NAME": row["TRACK_ID"], "ARTIST_NAME": "unknown"})
        yield Track(
            row["PATH"], words["TRACK_NAME"], words["ARTIST_NAME"], genres[0] if genres else "unknown",
            licence.get(row["PATH"], ""),
        )  # fmt: skip


def _table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [name for name in columns if name not in (rows.fieldnames or ())]
        require(not missing, f"{path} has no columns {', '.join(missing)}; give a table with tabs between its columns")
        yield from rows


def write_list(tracks: Iterator[Track], audio: Path) -> tuple[int, dict[str, int]]:
    """Write metadata.csv and attribution.csv beside the audio; gives how many songs they have, and why others are out.

    Raises:
        ValueError: no song that is there and free, or a list that is there already.
    """
    require(audio.is_dir(), f"{audio} is no folder; give the one with the audio of the corpus")
    target = audio / "metadata.csv"
    require(not target.exists(), f"{target} exists already; remove it to write it again")
    kept, left_out = [], {"not free": 0, "no audio here": 0}
    for track in tracks:
        if not is_free(track.licence):
            left_out["not free"] += 1
        elif not (audio / track.file).is_file():
            left_out["no audio here"] += 1
        else:
            kept.append(track)
    require(len(kept) > 0, f"{audio} holds none of the free songs ({left_out}); look at the paths in the table")
    with (audio / "attribution.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file_name", "title", "artist", "license"))
        rows.writerows((track.file, track.title, track.artist, track.licence) for track in kept)
    with target.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file_name", "artist", "genre", "lyrics"))
        rows.writerows((track.file, track.artist or "unknown", track.genre or "unknown", "") for track in kept)
    return len(kept), left_out


def main(words: Sequence[str]) -> int:
    """Read the table of a corpus, write the list; exit code 2 with one sentence where that cannot be."""
    readers = {"fma": (fma_tracks, 1), "jamendo": (jamendo_tracks, 3)}
    try:
        require(
            len(words) > 1 and words[0] in readers and len(words) == readers[words[0]][1] + 2,
            "give: fma tracks.csv AUDIO/, or jamendo raw.tsv raw.meta.tsv licences.tsv AUDIO/",
        )
        *tables, audio = map(Path, words[1:])
        count, left_out = write_list(readers[words[0]][0](*tables), audio)
    except (ValueError, OSError) as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    print(f"{audio / 'metadata.csv'}: {count} songs; left out: {left_out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
