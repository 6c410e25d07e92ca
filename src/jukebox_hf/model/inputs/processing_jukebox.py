"""JukeboxProcessor: a song as people order it becomes the tensors that `JukeboxModel.generate` takes.

Flows in: lyrics, artist, genre, lengths in seconds, a prompt in sound. Flows out: a BatchFeature with one row per song
(song_inputs.py lists its tensors), and afterwards audio without its padding. It needs no model: what it must know of
one is saved with it.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from ..checks.foreign_arguments import PREPARE
from ..checks.seeds import check_seed, later_seed
from ..checks.text_input import check_lyric_text, check_no_file_name, shown
from ..checks.validation import is_integer, plain, read_flag, read_seconds, require
from ..configuration.configuration_jukebox import JukeboxConfig
from ..files.atomic_files import write_whole
from .audio_containers import as_list, one_each, read_rate, unpack, unpack_songs
from .audio_input import audio_file, check_audio_target
from .feature_extraction_jukebox import JukeboxFeatureExtractor, read_padding
from .label_mixes import LabelPart, at_level, label_parts, read_labels
from .labels import check_genre_count
from .lyric_characters import LyricEncoding
from .lyric_structure import read_structure, remarks
from .lyric_times import read_lyric_times
from .lyric_windows import character_starts
from .processor_files import OwnFiles
from .song_inputs import AUTO, NOT_SAID, mix_rows
from .tokenization_jukebox import JukeboxTokenizer

# A name may be an id.
_NUMBERS = ("artist", "genre", "seconds", "song_seconds", "offset", "lyrics_from", "seed")
SONG_WORDS = (
    "lyrics",
    "lyric_times",
    "artist",
    "genre",
    "seconds",
    "song_seconds",
    "offset",
    "lyrics_from",
    "prompt",
    "seed",
)
SongWords = str | Mapping[str, Any]


class JukeboxProcessor(OwnFiles, ProcessorMixin):
    """Turns orders for songs into tensors, and audio back into arrays.

    Args:
        feature_extractor: for prompts.
        tokenizer: for words.
        max_genres: per level, finest first, how many genres condition its prior; 0 without labels.
        lyric_level: the level with lyrics: `lyric_ids` are in its characters. None: no level does.

    Raises:
        ValueError: numbers that do not fit the tokenizer.
    """

    def __init__(
        self,
        feature_extractor: JukeboxFeatureExtractor,
        tokenizer: JukeboxTokenizer,
        max_genres: Sequence[int] = (5, 5, 1),
        lyric_level: int | None = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_extractor, tokenizer, **kwargs)
        levels = len(tokenizer.label_versions)
        require(
            isinstance(max_genres, (list, tuple))
            and len(max_genres) == levels
            and all(is_integer(count) and 0 <= count <= 1024 for count in max_genres),
            f"max_genres={max_genres!r:.80} must hold a number from 0 to 1024 for each of the tokenizer's {levels} "
            f"levels; make the processor with JukeboxProcessor.from_config",
        )
        require(
            lyric_level is None or (is_integer(lyric_level) and lyric_level in range(levels)),
            f"lyric_level={lyric_level!r:.80} must be one of the tokenizer's {levels} levels, or None",
        )
        self.max_genres, self.lyric_level = list(max_genres), lyric_level

    @classmethod
    def from_config(cls, config: JukeboxConfig, tokenizer: JukeboxTokenizer) -> "JukeboxProcessor":
        """Make the processor of a model.

        Raises:
            ValueError: a tokenizer of another model or alphabet, or levels with different lyric characters.
        """
        priors = config.prior_configs
        versions = tokenizer.label_versions
        require(
            len(versions) == len(priors),
            f"label_versions={versions} has {len(versions)} levels, but the model has {len(priors)} priors; use the "
            f"tokenizer that belongs to it",
        )
        readers = [prior.level for prior in priors if prior.lyrics != "none"]
        require(
            len({versions[level] for level in readers}) <= 1,
            f"levels {readers} read lyrics in different characters; one song's lyric_ids cannot serve both",
        )
        for level in readers:
            tokenizer.check_alphabet(priors[level])
        hop_length = config.vqvae_config.hop_lengths[len(priors) - 1]
        return cls(
            JukeboxFeatureExtractor(sampling_rate=config.sampling_rate, hop_length=hop_length),
            tokenizer,
            max_genres=[prior.max_genres if prior.has_labels else 0 for prior in priors],
            lyric_level=readers[-1] if readers else None,
        )

    @property
    def sampling_rate(self) -> int:
        """Samples per second of prompts and songs."""
        return self.feature_extractor.sampling_rate

    def __call__(
        self,
        text: SongWords | Sequence[SongWords] | None = None,
        *,
        strict: bool = False,
        padding: bool | str | None = True,
        return_tensors: str | None = "pt",
        audio: Any = None,
        sampling_rate: int | None = None,
        **words: Any,
    ) -> BatchFeature:
        """Prepare one song or a list of songs.

        Args:
            text: lyrics, or a dictionary of words, or a list of these.
            strict: refuse artists and genres that are not listed, instead of one warning.
            padding: songs of a batch are filled up to the longest; False refuses those of different lengths.
            return_tensors: "pt" only, as `generate` takes them.
            audio, sampling_rate: another name for `prompt`, and the rate of its samples.
            words: what songs do not say themselves: `lyrics`, `artist`, `genre` (strings); `seconds` of audio,
                prompt included; `song_seconds`, the length of the song it is part of; `offset`, the second of that song
                where the audio begins; `lyrics_from`, the second of the audio where its lyrics begin; `lyric_times`,
                from which second of the whole song on which character of `lyrics` is sung, as pairs or as the command
                line writes them (docs/how-to/lyrics-and-time.md); `prompt`, sound to go on from, in any form that
                `JukeboxFeatureExtractor` takes, or a list with one for each song; `seed`, from which the songs of a
                list count on. Artist and genre may be ids, or mixed: weights by name (`{"Ada Brook": 0.7, "Bo Vale":
                0.3}`), names by level, or as the command line writes them (docs/how-to/mix-styles.md). What other
                processors are told is accepted where it is true of this one anyway.

        Returns:
            The tensors listed in song_inputs.py, whatever words were given, so that songs can be batched later.

        Raises:
            ValueError: a word that is unknown, said twice or impossible, in one sentence.
        """
        strict = read_flag("strict", strict) or False
        require(return_tensors in ("pt", None), f"return_tensors={return_tensors!r} must be 'pt'; generate takes these")
        foreign = {name: words.pop(name) for name in PREPARE if name in words}
        pads = read_padding("JukeboxProcessor", padding, foreign)
        is_one = isinstance(text, (str, bytes, bytearray)) or not isinstance(text, Sequence)
        texts = [text] if is_one else text
        require(len(texts) > 0, "the list of songs is empty; give at least one")
        lyrics = words.get("lyrics")
        require(
            not isinstance(lyrics, (list, tuple)),
            f"lyrics={shown(lyrics)} must be a string; several songs are a list of lyrics, or of dictionaries",
        )
        prompts = _prompts(words.get("prompt"), audio, sampling_rate, len(texts))
        pairs = enumerate(zip(texts, prompts, strict=True))
        songs = [merged(song, {**words, "prompt": prompt}, index) for index, (song, prompt) in pairs]
        require(
            not any(isinstance(song["lyrics"], str) and song["lyrics"] == AUTO for song in songs),
            f"lyrics={AUTO!r} are written by the model in a pipeline and on the command line, not by a processor; call "
            f"model.write_lyrics first and give its words, or 'Auto' to have that word sung",
        )
        rows = [self._row(song, strict) for song in songs]
        rate = self.sampling_rate
        lyrics, lyric_lengths = _left_padded([row["lyric_ids"] for row in rows], torch.long)
        starts, _ = _left_padded([row["lyric_starts"] for row in rows], torch.float64)
        prompts, prompt_lengths = _left_padded([row["prompt"] for row in rows], torch.float32)
        for name, lengths in (("lyrics", lyric_lengths), ("prompts", prompt_lengths)):
            require(
                pads or bool((lengths == lengths[0]).all()),
                f"padding=False, but the songs' {name} have lengths {lengths.tolist()}, which fit no tensor; drop it",
            )
        return BatchFeature(
            {
                "artist_ids": torch.tensor([row["artist_ids"] for row in rows], device="cpu"),
                "genre_ids": torch.tensor([row["genre_ids"] for row in rows], device="cpu"),
                "artist_mix": _mixes([row["artist_mix"] for row in rows]),
                "genre_mix": _mixes([row["genre_mix"] for row in rows]),
                "lyric_ids": lyrics,
                "lyric_starts": starts,
                "lyric_lengths": lyric_lengths,
                "wanted_samples": torch.tensor([_samples("seconds", song, rate) for song in songs], device="cpu"),
                "song_samples": torch.tensor([_samples("song_seconds", song, rate) for song in songs], device="cpu"),
                "offset_samples": torch.tensor(
                    [max(_samples("offset", song, rate), 0) for song in songs], device="cpu"
                ),
                "lyrics_from_samples": torch.tensor(
                    [max(_samples("lyrics_from", song, rate), 0) for song in songs], device="cpu"
                ),
                "seeds": torch.tensor(
                    [NOT_SAID if song["seed"] is None else song["seed"] for song in songs], device="cpu"
                ),
                "prompt_values": prompts,
                "prompt_lengths": prompt_lengths,
                "sampling_rates": torch.full((len(songs),), rate, dtype=torch.int64, device="cpu"),
            }
        )

    def encode_lyrics(self, lyrics: str, *, warn: bool = False) -> LyricEncoding:
        """Number the characters of lyrics that are sung, each with its offset in the text as typed.

        Lines that are nothing but a heading, such as [Chorus], are not sung. Empty if no level takes lyrics.

        Args:
            lyrics: as typed.
            warn: about characters that are lost and scripts that are romanised.
        """
        if self.lyric_level is None:
            return LyricEncoding(lyrics, "", (), ())
        structure = read_structure(lyrics)
        sung = self.tokenizer.encode_lyrics(structure.sung, self.lyric_level)
        offsets = tuple(structure.sources[offset] for offset in sung.offsets)
        encoding = LyricEncoding(lyrics, sung.cleaned, sung.ids, offsets)
        for sentence in remarks(lyrics, encoding.cleaned, offsets, structure.headings) if warn else ():
            warnings.warn(sentence, stacklevel=2)
        return encoding

    def decode(self, audio: Tensor, audio_length: int | None = None, clamp: bool = False) -> np.ndarray:
        """One song (S,) or (2, S) of `generate` as a float32 array without its padding; `clamp` cuts it to [-1, 1].

        Raises:
            ValueError: audio that is no tensor.
        """
        require(isinstance(audio, Tensor), f"audio={shown(audio)} must be one song of what generate gives, a tensor")
        shape = (2, -1) if audio.dim() > 1 and audio.shape[-2] == 2 else (-1,)
        samples = audio.detach().float().cpu().reshape(shape)
        samples = samples[..., : None if audio_length is None else int(audio_length)]
        return (samples.clamp(-1, 1) if clamp else samples).numpy()

    def batch_decode(self, audio: Any, audio_lengths: Tensor | None = None, clamp: bool = False) -> list[np.ndarray]:
        """All songs of `generate`'s output, or of (B, S) and its lengths, as arrays without their padding."""
        if isinstance(audio, Mapping):
            audio, audio_lengths = audio["audio"], audio["audio_lengths"]
        require(
            isinstance(audio, (Tensor, list, tuple)) and all(isinstance(song, Tensor) for song in audio),
            f"audio={shown(audio)} must be what generate gives, or its tensor (B, S) and the lengths of its rows",
        )
        lengths = [None] * len(audio) if audio_lengths is None else audio_lengths.tolist()
        return [self.decode(song, length, clamp) for song, length in zip(audio, lengths, strict=True)]

    @property
    def model_input_names(self) -> list[str]:
        return ["lyric_ids", "artist_ids", "genre_ids", "prompt_values"]

    def _row(self, song: dict[str, Any], strict: bool) -> dict[str, Any]:
        """The words of one song in numbers."""
        artist, genre, lyrics = ("" if song[name] is None else song[name] for name in ("artist", "genre", "lyrics"))
        artists = self._heard("artist", artist, partial(self._artist_ids, strict))
        genres = self._heard("genre", genre, partial(self._genre_ids, strict))
        slots = max(*self.max_genres, 1)
        encoding = self.encode_lyrics(lyrics, warn=True)
        check_no_file_name("lyrics", lyrics, [""], "read it, and give its words")
        return {
            "artist_ids": [next(iter(ids), 0) for ids, _ in artists],
            "genre_ids": [[*ids, *[-1] * (slots - len(ids))] for ids, _ in genres],
            "artist_mix": [mix_rows(parts) for _, parts in artists],
            "genre_mix": [mix_rows(parts) for _, parts in genres],
            "lyric_ids": encoding.ids,
            "lyric_starts": _starts(song, encoding),
            "prompt": () if song["prompt"] is None else self._prompt(song["prompt"]),
        }

    def _heard(
        self, kind: str, said: Any, ids: Callable[[int, str | int], tuple[int, ...]]
    ) -> list[tuple[tuple[int, ...], tuple[LabelPart, ...]]]:
        """What each level hears of an artist or a genre: the ids of a name, and the parts where names are mixed.

        Those of a mix are the heaviest name that it begins with, for what can hear one alone.
        """
        entries, levels = read_labels(kind, said), range(len(self.max_genres))
        foreign = [entry.level for entry in entries if entry.level is not None and entry.level not in levels]
        require(
            not foreign,
            f"{kind}={shown(said)} names level {foreign[0] if foreign else ''}, but the levels of this model are "
            f"{', '.join(map(str, levels))}; choose from these",
        )
        heard = []
        for level in levels:
            if not self.max_genres[level]:
                heard.append(((), ()))
                continue
            own, ids_here = at_level(kind, entries, level), partial(ids, level)
            main = max((entry for entry in own if entry.second == 0), key=lambda entry: entry.weight)
            parts = label_parts(kind, own, level, self.sampling_rate, ids_here) if len(own) > 1 else ()
            heard.append((ids_here(main.name), parts))
        return heard

    def _artist_ids(self, strict: bool, level: int, name: str | int) -> tuple[int, ...]:
        return (self.tokenizer.artist_id(name, level, strict=strict),)

    def _genre_ids(self, strict: bool, level: int, name: str | int) -> tuple[int, ...]:
        ids = self.tokenizer.genre_ids(name, level, strict=strict)
        said = f"genre={name!r} in {self.tokenizer.label_versions[level]}"
        check_genre_count(len(ids), self.max_genres[level], level, said)
        return ids

    def _prompt(self, prompt: Any) -> np.ndarray:
        """A prompt in any of its forms as samples (S,)."""
        (one,) = one_each(prompt, 1)
        return self.feature_extractor.samples(one, name="prompt")

    def save_audio(
        self,
        audio: Any,
        saving_path: str | PathLike[str] | Sequence[str | PathLike[str]],
        sampling_rate: int | None = None,
    ) -> None:
        """Write songs as audio files, cut to [-1, 1]; all of them, or none where one is refused.

        Args:
            audio: what `generate` gives, what a pipeline gives for one song, or samples (S,), (B, S) or (B, 2, S). Of a
                dictionary with samples (2, S) one path takes a song in stereo, two take two songs.
            saving_path: a file, or one for each song; its ending says the format, such as .wav, .flac, .ogg or .mp3.
            sampling_rate: None: the model's.

        Raises:
            ValueError: not one path per song, one path twice, an unknown format, or samples that are none.
            ImportError: soundfile is not installed.
        """
        rate = None if sampling_rate is None else read_rate(sampling_rate, "audio")
        paths = [saving_path] if isinstance(saving_path, (str, PathLike)) else list(saving_path)
        if isinstance(audio, Mapping) and "audio_lengths" in audio:
            songs = [(song, rate) for song in self.batch_decode(audio)]
        else:
            given = [(unpack_songs(one), isinstance(one, Mapping)) for one in as_list(audio)]
            require(not any(one.is_file for one, _ in given), "audio is a file already; give samples")
            stereo, mono = (
                [(song, rate or one.rate) for one, is_one in given for song in _songs(one.source, is_one and has_two)]
                for has_two in (True, False)
            )
            songs = mono if len(mono) == len(paths) else stereo
        require(
            len(paths) == len(songs),
            f"saving_path names {len(paths)} files for {len(songs)} songs; give one for each",
        )
        paths, places = [Path(path) for path in paths], set()
        for path in paths:
            check_audio_target(path)
            place = path.parent.resolve() / path.name
            require(place not in places, f"saving_path names {str(path)!r} twice; give each song a file of its own")
            places.add(place)
        pairs = zip(paths, songs, strict=True)
        files = [audio_file(path, song, own_rate or self.sampling_rate) for path, (song, own_rate) in pairs]
        for path, content in zip(paths, files, strict=True):
            write_whole(path, content)


def _songs(samples: np.ndarray, are_channels: bool) -> Sequence[np.ndarray]:
    """The songs in samples (S,), (B, S), (B, 1, S) or (B, 2, S); in (2, S) one in stereo where these are channels."""
    if samples.ndim == 3:
        return samples[:, 0] if samples.shape[1] == 1 else samples
    return samples[None] if are_channels and samples.shape[:-1] == (2,) else np.atleast_2d(samples)


def _prompts(prompt: Any, audio: Any, sampling_rate: int | None, count: int) -> list[Any]:
    """What each song goes on from; `audio` is what other processors call a prompt."""
    require(audio is None or prompt is None, "audio and prompt are two names for the sound to go on from; give it once")
    name, sound = ("prompt", prompt) if audio is None else ("audio", audio)
    require(
        sampling_rate is None or sound is not None,
        f"sampling_rate={sampling_rate!r} is the rate of a prompt's samples, but there is no prompt; drop it",
    )
    prompts = [None] * count if sound is None else one_each(sound, count, name)
    return prompts if sampling_rate is None else [_at_rate(each, plain(sampling_rate), name) for each in prompts]


def _at_rate(prompt: Any, sampling_rate: int, name: str) -> Any:
    if prompt is None:
        return None
    recording = unpack(prompt, name)
    require(
        not recording.is_file and recording.rate in (None, sampling_rate),
        f"sampling_rate={sampling_rate!r}, but the prompt says its own rate; drop it",
    )
    return (recording.source, sampling_rate) if recording.rate is None else prompt


def merged(song: SongWords | None, words: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The words of one song: its own, else those said for all; a seed said for all counts on from song to song.

    Raises:
        ValueError: words that are unknown, said twice or of the wrong kind.
    """
    require(
        song is None or isinstance(song, (str, Mapping)),
        f"a song must be lyrics or a dictionary of words, not {type(song).__name__}",
    )
    if isinstance(song, str):
        require(words.get("lyrics") is None, "lyrics are given twice, as text and as lyrics=; give them once")
        song = {"lyrics": song}
    unknown = sorted({*map(str, song or ()), *map(str, words)} - set(SONG_WORDS))
    require(not unknown, f"unknown argument {', '.join(unknown)}; known: {', '.join(SONG_WORDS)}")
    said = {name: plain(value) if name in _NUMBERS else value for name, value in words.items() if value is not None}
    if "seed" in said:
        check_seed(said["seed"])
        said["seed"] = later_seed(said["seed"], index)
    own = {name: plain(value) if name in _NUMBERS else value for name, value in (song or {}).items()}
    blank = {name for name in ("lyrics", "artist", "genre") if _is_blank(own.get(name))}
    said.update({name: value for name, value in own.items() if value is not None and name not in blank})
    for name in ("artist", "genre"):
        read_labels(name, said.get(name, ""))
    check_lyric_text("lyrics", said.get("lyrics", ""))
    check_seed(said.get("seed", 0))
    return {name: said.get(name) for name in SONG_WORDS}


def _is_blank(value: Any) -> bool:
    """Whether this is NaN, as pandas writes words that a row does not say; of numbers it is refused."""
    return isinstance(value, float) and value != value


def _starts(song: Mapping[str, Any], encoding: LyricEncoding) -> np.ndarray:
    """When each character begins, in seconds of the song: (C,); -1 where nobody says it."""
    if song["lyric_times"] is None:
        return np.full(len(encoding.ids), NOT_SAID, np.float64)
    times = read_lyric_times("lyric_times", song["lyric_times"])
    require(bool(encoding.text.strip()), "lyric_times are given, but no lyrics; give the lyrics that they are of")
    require(
        song["lyrics_from"] is None,
        f"lyrics_from={song['lyrics_from']!r} and lyric_times both say when the lyrics begin; give one of them",
    )
    return character_starts("lyric_times", encoding.text, times, encoding.offsets)


def _samples(name: str, song: Mapping[str, Any], rate: int) -> int:
    """Seconds of a song in samples; -1 where they are not said."""
    seconds = song[name]
    if seconds is None:
        return NOT_SAID
    is_moment = name in ("offset", "lyrics_from")
    return round(read_seconds(name, seconds, at_least=0 if is_moment else 1 / rate) * rate)


def _mixes(rows: Sequence[Sequence[list[list[float]]]]) -> Tensor:
    """Mixes (B, levels, 16, 3), float64: a sample of a long song is no float32."""
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


def _left_padded(rows: Sequence[Any], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as one tensor, zeros in front, at least one column; and their lengths."""
    lengths = [len(row) for row in rows]
    padded = torch.zeros(len(rows), max(*lengths, 1), dtype=dtype, device="cpu")
    for number, row in enumerate(rows):
        if len(row):
            padded[number, -len(row) :] = torch.as_tensor(np.asarray(row), dtype=dtype, device="cpu")
    return padded, torch.tensor(lengths, device="cpu")
