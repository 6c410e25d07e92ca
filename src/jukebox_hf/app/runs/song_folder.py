"""Where a song goes, and where its unfinished part lives so that nothing is ever lost.

`--out song.wav` gives song.wav, song.png, song.codes.safetensors and, last, song.json. While it runs, song.partial/
(`partial_folder`) holds the request, a lock, the codes so far (state.safetensors) and previews. Whatever is killed at
whatever moment, the files of an older song and those of the new one never stand side by side.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jukebox_hf.app.output import shell_word
from jukebox_hf.data.audio_io import AUDIO_FORMATS, write_bytes
from jukebox_hf.model.checks.text_input import check_path, check_way, shown
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.files.atomic_files import write_whole
from jukebox_hf.model.songs.song_state import SongState

_LONGEST_SLUG = 80  # bytes
_NOT_SEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))
_MOST_AT_ONCE = 1 << 26  # bytes of codes, above which a file is written in pieces
_SPARE_BYTES = 4 * 2**20  # pictures, side-cars, and what file systems keep for themselves


@dataclass(frozen=True)
class SongTarget:
    """The files of one song.

    Attributes:
        folder: where they lie; the user named it.
        name: their common beginning.
        suffix: of the audio, ".wav" or ".flac".
    """

    folder: Path
    name: str
    suffix: str

    @property
    def audio(self) -> Path:
        return self.folder / f"{self.name}{self.suffix}"

    @property
    def sidecar(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def picture(self) -> Path:
        return self.folder / f"{self.name}.png"

    @property
    def takes_picture(self) -> Path:
        """Beside a song that is the best of several takes."""
        return self.folder / f"{self.name}.takes.png"

    @property
    def codes(self) -> Path:
        return self.folder / f"{self.name}.codes.safetensors"

    @property
    def partial(self) -> Path:
        return self.folder / f"{self.name}.partial"

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order they take their places; the side-car last, so that a song with one is whole."""
        return self.audio, self.codes, self.picture, self.sidecar

    @property
    def is_whole(self) -> bool:
        return self.lacks is None

    @property
    def lacks(self) -> Path | None:
        """The first of its files that is not there, or has nothing in it."""
        return next((path for path in self.files if not (path.is_file() and path.stat().st_size > 0)), None)

    def check_names(self) -> None:
        """Refuse names that the file system would refuse once the song is there, or that JSON cannot hold.

        Raises:
            ValueError: in one sentence.
        """
        check_path("--out", self.audio)
        longest = max((*self.files, self.partial), key=lambda path: len(os.fsencode(path.name)))
        size, most = len(os.fsencode(longest.name)), _limit(self.folder, "PC_NAME_MAX", 255)
        require(
            size <= most,
            f"--out {self.audio}: {longest.name} would have {size} bytes in its name, over the {most} allowed "
            f"here; choose a name that is {size - most} bytes shorter",
        )
        size, most = len(os.fsencode(self.partial)) + 1 + most, _limit(self.folder, "PC_PATH_MAX", 4096)
        require(
            size < most,
            f"--out {shown(str(self.audio))} is too long a path ({most} bytes are allowed); choose a shorter one",
        )

    def check_whole(self) -> None:
        """Refuse a song that its side-car calls finished, but that lacks a file.

        Raises:
            ValueError: in one sentence.
        """
        require(
            self.is_whole,
            f"{self.lacks} is missing or empty, though {self.sidecar.name} says that its song is finished; put it "
            f"back, or make the song again with --force",
        )

    def check_free(self, force: bool) -> None:
        """Refuse to lose an older song, to write through a link, or to forget an unfinished one.

        Raises:
            ValueError: in one sentence, which file and what to do.
        """
        for path in (*self.files, self.takes_picture, self.partial):
            require(not path.is_symlink(), f"{path} is a symbolic link; remove it or choose another --out")
        for path in (*self.files, self.takes_picture):
            require(not path.is_dir(), f"{path} is a folder; choose another --out for the song")
        taken = [path.name for path in (*self.files, self.takes_picture) if path.exists()]
        require(
            force or not taken,
            f"{self.folder} already has {', '.join(taken)}; choose another --out, or pass --force to replace the song",
        )
        require(
            force or not (self.partial / "request.json").exists(),
            f"{self.partial} holds an unfinished song; go on with jukebox-hf generate --resume --out "
            f"{shell_word(str(self.audio))}, or start anew with --force",
        )


def is_audio_of(file: object, song: str) -> bool:
    """Whether a file's name is that of a song's audio, in any format: a bare name, which leads to no other folder."""
    suffixes = {kind.suffix for kind in AUDIO_FORMATS.values()}
    return isinstance(file, str) and file.startswith(song) and file[len(song) :].lower() in suffixes


def is_folder(out: str) -> bool:
    """Whether `--out` names a folder, there or not."""
    return out.endswith(("/", os.sep)) or Path(out).is_dir()


def plan_targets(out: str, names: Sequence[str], suffix: str, *, are_begun: bool = False) -> list[SongTarget]:
    """Say where songs go: one to the file `out`, or any number into the folder `out`, each under a name of its own.

    Args:
        out: a file, or a folder if it ends in "/" or is one.
        names: what each song would like to be called; made harmless, and told apart by numbers where equal.
        suffix: of the audio files.
        are_begun: a name under which an unfinished song lies in the folder is taken as it is.

    Raises:
        ValueError: a file for several songs, or one with another suffix.
    """
    check_path("--out", out)
    if is_folder(out):
        folder = Path(out)
        check_way(f"--out {out}", folder)
        begun = {path.parent.name for path in folder.glob("*.partial/request.json")} if are_begun else ()
        slugs = distinct_slugs(names)
        pairs = zip(names, slugs, strict=True)
        return [SongTarget(folder, name if f"{name}.partial" in begun else own, suffix) for name, own in pairs]
    require(
        len(names) == 1,
        f"--out {out} names one file, but {len(names)} songs are asked for; name a folder, such as --out songs/",
    )
    path = Path(out)
    check_way(f"--out {out}", path.parent)
    require(
        path.name.lower() != suffix, f"--out {out} has no name before its ending; name a file, such as song{suffix}"
    )
    require(
        path.suffix.lower() == suffix,
        f"--out {out} must end in {suffix} for this format, or in / for a folder (.wav, .flac, .mp3, .ogg, .opus)",
    )
    return [SongTarget(path.parent, path.stem, path.suffix)]


def _limit(folder: Path, name: str, default: int) -> int:
    """What the file system of a folder, which may not be there yet, allows."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.pathconf(next(one for one in (folder, *folder.parents) if one.is_dir()), name)
    return default


def slug(text: str) -> str:
    """A file name of small letters of any script, digits and ._-, at most 80 bytes long, that is no hidden file and no
    way out of a folder."""
    small = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept: list[str] = []
    for character in small:
        is_alone = not kept or not _is_written(kept[-1])  # where a mark would stand, or an emoji's selector
        kept.append(character if _is_in_names(character, is_alone) else "\0")
    return cut_name(re.sub("\0+", "-", "".join(kept)), _LONGEST_SLUG).strip("-.") or "song"


def _is_written(character: str) -> bool:
    """Whether it is a letter, a mark or a digit, as Unicode sorts characters."""
    return unicodedata.category(character)[0] in "LMN"


def _is_in_names(character: str, is_alone: bool) -> bool:
    """Whether names may have a character: one that is seen, and that this system can write in one."""
    if character in "._-":
        return True
    is_seen = _is_written(character) and character not in _NOT_SEEN
    if not is_seen or (is_alone and unicodedata.category(character)[0] == "M"):
        return False
    try:
        os.fsencode(character)
    except UnicodeEncodeError:
        return False
    return True


def cut_name(name: str, most: int) -> str:
    """The beginning of a name that takes at most so many bytes, as file systems count them."""
    return name.encode(errors="ignore")[:most].decode(errors="ignore")


def distinct_slugs(names: Sequence[str]) -> list[str]:
    """Slugs of names; equal ones get a number: a, a-2, a-3."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the last one given, so that equal names do not try all again
    slugs = []
    for name in names:
        found = own = slug(name)
        while found in taken:
            numbers[own] = numbers.get(own, 1) + 1
            ending = f"-{numbers[own]}"
            found = cut_name(own, _LONGEST_SLUG - len(ending)) + ending
        taken.add(found)
        slugs.append(found)
    return slugs


def save_codes(state: SongState, path: Path) -> None:
    """Write codes with a digest of them, so that a change is noticed.

    Raises:
        OSError: the disk refuses, with the path and the bytes.
    """
    state = with_digest(state)
    if sum(codes.nbytes for songs in state.codes for codes in songs) <= _MOST_AT_ONCE:
        write_bytes(path, state.to_bytes())
    else:
        _save_in_pieces(state, path)


def _save_in_pieces(state: SongState, path: Path) -> None:
    """The same file, without a copy of hours of codes in memory; it appears whole or not at all."""
    hollow = replace(state, codes=tuple(tuple(codes[:0] for codes in songs) for songs in state.codes)).to_bytes()
    header, offset = json.loads(hollow[8 : 8 + int.from_bytes(hollow[:8], "little")]), 0
    tensors = [
        (header[f"level_{level}.song_{song}"], codes.contiguous().numpy())
        for level, songs in enumerate(state.codes)
        for song, codes in enumerate(songs)
    ]
    for entry, codes in tensors:
        entry |= {"shape": [len(codes)], "data_offsets": [offset, offset + codes.nbytes]}
        offset += codes.nbytes
    text = json.dumps(header, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text.encode("ascii")
    write_whole(path, (head, *(codes for _, codes in tensors)))


def with_digest(state: SongState) -> SongState:
    """The state with a digest of its codes among its notes."""
    return replace(state, notes={**state.notes, "digest": _digest_of_codes(state)})


def load_codes(path: Path) -> SongState:
    """Read codes that `save_codes` wrote.

    Raises:
        ValueError: no such file, not such a file, or codes that are not those that were saved.
    """
    require(path.is_file(), f"{path} is not a file; give codes that jukebox-hf wrote")
    state = SongState.load(path)
    require(
        state.notes.get("digest") == _digest_of_codes(state),
        f"{path} was changed or damaged since it was written; its codes cannot be trusted",
    )
    return state


def check_folder(folder: Path, num_bytes: int) -> None:
    """Refuse, before anything is sampled, a folder that cannot be written to or has too little room.

    Raises:
        ValueError, OSError: in one sentence, with the folder and the bytes.
    """
    with refusals_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:  # has no name to be left behind, where systems can
            probe.write(b"x")
        free = shutil.disk_usage(folder).free
    needed = num_bytes + _SPARE_BYTES
    require(
        free >= needed,
        f"{folder} has {free:,} bytes free, but {needed:,} are needed; free some space or choose another --out",
    )


@contextlib.contextmanager
def refusals_named(folder: Path) -> Iterator[None]:
    """An error of the system inside becomes one that names the folder and the cure."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} cannot be written to ({error.strerror}); choose another folder for --out") from None


def _digest_of_codes(state: SongState) -> str:
    digest = hashlib.sha256(json.dumps(state.seeds).encode())
    for level, songs in enumerate(state.codes):
        for song, codes in enumerate(songs):
            digest.update(f"{level}/{song}/{tuple(codes.shape)}/{codes.dtype}".encode())
            digest.update(codes.contiguous().cpu().numpy())
    return digest.hexdigest()
