"""The songs of a fine-tuning run, looked at before anything is computed: how many, how long, whose, and what is new.

Flows in: a request, and the model's lists of names. Flows out: a `SongSurvey`, or a refusal in one sentence.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jukebox_hf.app.finetuning.finetune_request import FinetuneRequest
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.recordings import digest_of
from jukebox_hf.data.songs import Song, Songs
from jukebox_hf.model.checks.validation import require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxConfig
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training.prior.label_lists import choose_labels
from jukebox_hf.training.prior.style_inversion import new_artists

_NAMED_SONGS = 5
_ONE_IN = 6  # songs held out


@dataclass(frozen=True)
class SongSurvey:
    """What is known of the songs.

    Attributes:
        songs: opened, with their words.
        seconds: of each.
        held_out: names of songs that are not trained on; empty where there is one song of each artist.
        new: names of artists and genres that the model does not know yet.
        naming_levels: levels to which some of them are new.
        filled: words of every song, where its source says none.
        lines: what to say of it.
    """

    songs: Songs
    seconds: tuple[float, ...]
    held_out: tuple[str, ...]
    new: tuple[str, ...]
    naming_levels: tuple[int, ...]
    filled: dict[str, str]
    lines: tuple[str, ...]

    def files(self) -> list[list[str | int]]:
        """What tells these songs from others: names, lengths and words; `recordings` tells their files."""
        headers = self.songs.headers
        return [[song.name, header.num_frames, header.rate, _digest(song)]
                for song, header in zip(_all(self.songs), headers, strict=True)]  # fmt: skip

    def recordings(self) -> dict[str, str]:
        """A digest of each file, by the name of its song: another may have the same name and length."""
        return {song.name: digest_of(self.songs.table.audio[row])[:16]
                for song, row in zip(_all(self.songs), self.songs.rows, strict=True)}  # fmt: skip


def survey(request: FinetuneRequest, config: JukeboxConfig, tokenizer: JukeboxTokenizer | None) -> SongSurvey:
    """Look at all songs.

    Raises:
        ValueError: nothing to read, songs without names, a name that the model knows already, or words that do not fit.
    """
    songs = open_songs(request.songs, allow_outside_files=request.allow_outside_files)
    has_labels = any(prior.has_labels for prior in config.prior_configs)
    _check_artist(request, songs, tokenizer, has_labels)
    filled = _words(request, songs, has_labels)
    songs.fill_in(filled)
    songs.check_labels()
    every = _all(songs)
    by_level = _new_names(config, tokenizer, every)
    new = tuple(dict.fromkeys(name for names in by_level.values() for name in names))
    if request.method == "style":
        _check_style(request, config, tokenizer, every, has_labels)
    held_out = _held_out(every)
    seconds = tuple(header.seconds for header in songs.headers)
    naming = tuple(level for level, names in by_level.items() if names)
    require(
        bool(naming) or request.name_rate is None,
        f"--name-rate {request.name_rate} is of new names, but the model knows all those of the songs; leave it out",
    )
    lines = tuple(_lines(songs, every, seconds, held_out, new))
    return SongSurvey(songs, seconds, held_out, new, naming, filled, lines)


def _all(songs: Songs) -> list[Song]:
    return [songs[index] for index in range(len(songs))]


def _check_artist(request: FinetuneRequest, songs: Songs, tokenizer: JukeboxTokenizer | None, has_labels: bool) -> None:
    name = request.artist or request.genre
    require(
        has_labels or name is None,
        f"--artist and --genre are names, but {request.model} is not conditioned on any; leave {name!r} out",
    )
    require(
        not has_labels or "artist" in songs.table.words or request.artist is not None,
        f'{songs.table.where} does not say whose songs these are; name them, such as --artist "My Band", or write a '
        f"metadata.csv (file_name,artist,genre,lyrics)",
    )
    if request.artist is None or tokenizer is None:
        return
    known = [version for version, words in tokenizer.vocabularies.items() if words.find_artist(request.artist)]
    require(
        not known,
        f"--artist {request.artist!r} is an artist that {request.model} knows already ({', '.join(known)}); choose "
        f"another name, or list the songs in a metadata.csv to train that one further",
    )


def _words(request: FinetuneRequest, songs: Songs, has_labels: bool) -> dict[str, str]:
    """What is said of all songs, and unknown names and no lyrics where nobody says anything."""
    silent = {"artist": "unknown", "genre": "unknown", "lyrics": ""}
    said = request.words() if has_labels else {}
    return {name: word for name, word in silent.items() if name in songs.table.missing} | said


def _new_names(
    config: JukeboxConfig, tokenizer: JukeboxTokenizer | None, songs: Sequence[Song]
) -> dict[int, tuple[str, ...]]:
    """Names that a level does not know, as the songs spell them, by level; the lists with them are tried once.

    Raises:
        ValueError: a name that cannot be listed.
    """
    found = {}
    for prior in config.prior_configs:
        if prior.has_labels:
            lists = choose_labels("add", tokenizer, prior, songs, len(config.vqvae_config.hop_lengths))
            before = tokenizer.vocabularies[lists.label_versions[prior.level]]
            names = (
                (name, is_known)
                for song in songs
                for name, is_known in (
                    (song.artist, before.find_artist(song.artist) is not None),
                    (song.genre, all(number is not None for _, number in before.find_genres(song.genre))),
                )
            )
            found[prior.level] = tuple(dict.fromkeys(name for name, is_known in names if name.strip() and not is_known))
    return found


def _check_style(
    request: FinetuneRequest,
    config: JukeboxConfig,
    tokenizer: JukeboxTokenizer | None,
    songs: Sequence[Song],
    has_labels: bool,
) -> None:
    """A style is the vector of an artist who is new, in genres that are known.

    Raises:
        ValueError: in one sentence.
    """
    require(
        has_labels and tokenizer is not None,
        f"--method style learns the vector of a name, but {request.model} is not conditioned on any, or has no lists "
        f"of them; take --method lora or full",
    )
    for prior in config.prior_configs:
        if prior.has_labels:
            lists = choose_labels("add", tokenizer, prior, songs, len(config.vqvae_config.hop_lengths))
            version = lists.label_versions[prior.level]
            new_artists(tokenizer.vocabularies[version], lists.vocabularies[version])


def _held_out(songs: Sequence[Song]) -> tuple[str, ...]:
    """One song in six, but at least one, and of no artist the only one; chosen by a hash of names."""
    left = Counter(song.artist for song in songs)
    wanted, found = max(1, round(len(songs) / _ONE_IN)), []
    for song in sorted(songs, key=lambda song: hashlib.sha256(song.name.encode()).digest()):
        if len(found) < wanted and left[song.artist] > 1:
            left[song.artist] -= 1
            found.append(song.name)
    return tuple(sorted(found))


def _lines(
    songs: Songs, every: Sequence[Song], seconds: Sequence[float], held_out: Sequence[str], new: Sequence[str]
) -> list[str]:
    artists = Counter(song.artist for song in every)
    sung = sum(bool(song.lyrics.strip()) for song in every)
    lines = [
        f"{len(every)} song{'s' * (len(every) != 1)} of {_lengths(seconds)} s, "
        f"{sum(seconds) / 60:.3g} minutes in all, by {_named(list(artists))}; {sung or 'none'} with lyrics",
        f"new names: {_named(new)}" if new else "no new names: the model knows them all",
    ]
    skipped = songs.skipped()
    lines += [f"{len(skipped)} cannot be read: {'; '.join(song.reason for song in skipped)}"] if skipped else []
    lines += [songs.table.left_out] if songs.table.left_out else []
    if held_out:
        lines.append(f"held out, to measure on: {_named(held_out)}")
    else:
        lines.append("no song can be held out, so what is measured is measured on the songs that are learnt")
    return lines


def _lengths(seconds: Sequence[float]) -> str:
    shortest, longest = f"{min(seconds):.4g}", f"{max(seconds):.4g}"
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_SONGS} more" if len(names) > _NAMED_SONGS else ""
    return ", ".join(names[:_NAMED_SONGS]) + more


def _digest(song: Song) -> str:
    told = repr((song.artist, song.genre, song.lyrics, song.lyric_times))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
