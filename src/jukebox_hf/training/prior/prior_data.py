"""What a prior is trained on: songs as codes or as sound, checked to their last word, cut into windows.

Flows in: folders, and the configuration of a prior. Flows out: two data sets of windows, or a sentence about what does
not fit. Everything is checked before a weight is loaded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset, Subset
from transformers.utils import logging

from jukebox_hf.data.audio_windows import AudioWindows
from jukebox_hf.data.code_shard_windows import facts_of_shards
from jukebox_hf.data.code_shards import CodeFacts, CodeShards, vqvae_fingerprints
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.data.prior_batches import check_vocabulary
from jukebox_hf.data.shard_files import list_shards
from jukebox_hf.data.songs import Song, Songs, check_lyrics, in_split
from jukebox_hf.model.checks.validation import check_level, require
from jukebox_hf.model.configuration.configuration_jukebox import JukeboxPriorConfig
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.model.networks.modeling_jukebox_vqvae import JukeboxVQVAE
from jukebox_hf.training.prior.label_dropout import WithLabelDropout
from jukebox_hf.training.prior.prior_arguments import PriorDataArguments
from jukebox_hf.training.prior.prior_collators import needs_words
from jukebox_hf.training.prior.replay import WithReplay
from jukebox_hf.training.prior.streamed_songs import StreamedSongs, streamed_windows

logger = logging.get_logger(__name__)


class CodedSongs:
    """Some of the songs of a folder of codes; `CodeWindows` and `check_vocabulary` read it as they read all of them.

    Args:
        shards: all of the folder.
        kept: which of its songs.
    """

    def __init__(self, shards: CodeShards, kept: list[int]) -> None:
        self.shards, self.kept, self.facts = shards, kept, shards.facts
        self.words = [shards.words[song] for song in kept]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> Song:
        return self.song(index)

    def song(self, index: int) -> Song:
        """The words of a song."""
        return self.shards.song(self.kept[index])

    def num_codes(self, index: int, level: int) -> int:
        """Codes of a song at a level."""
        return self.shards.num_codes(self.kept[index], level)

    def codes(self, index: int, level: int) -> np.ndarray:
        """The codes of a song at a level, (T,) integers."""
        return self.shards.codes(self.kept[index], level)

    def num_samples(self, index: int) -> int:
        """Length of the recording."""
        return self.words[index]["total_samples"]

    def check_labels(self) -> None:
        """Refuse lyrics that nobody can sing in the time."""
        for index in range(len(self)):
            check_lyrics(self[index], self.num_samples(index) / self.facts.sampling_rate)

    def report(self) -> str | None:
        """Nothing is skipped: codes are read or they are damaged."""
        return None


@dataclass(frozen=True)
class PriorSongs:
    """Songs to train on, to evaluate on or None, and to keep or None; and what their codes have in common."""

    train: Songs | CodedSongs | StreamedSongs
    evaluation: Songs | CodedSongs | None
    facts: CodeFacts
    replay: CodedSongs | None = None

    def __iter__(self) -> Iterator[Song]:
        for songs in self.counted:
            for index in range(len(songs)):
                yield songs[index]

    @property
    def counted(self) -> list[Songs | CodedSongs]:
        """Those that are known before the first step: all but a stream."""
        known = [self.train, self.evaluation, self.replay]
        return [songs for songs in known if songs is not None and not isinstance(songs, StreamedSongs)]


def open_prior_songs(
    data_args: PriorDataArguments, config: JukeboxPriorConfig, vqvae: JukeboxVQVAE | None
) -> PriorSongs:
    """Open what to train on.

    Args:
        data_args: as the user said.
        config: of the prior.
        vqvae: that encodes sound, or that belongs to the model; None where codes alone are known.

    Raises:
        ValueError: sound without a VQ-VAE, codes of another VQ-VAE, or codes that this prior does not write.
    """
    own = None if vqvae is None else facts_of(vqvae)
    if data_args.train_codes is not None:
        folders = (data_args.train_codes, data_args.eval_codes, data_args.replay_codes)
        opened = [_streamed_codes(data_args) if data_args.streaming else CodeShards(data_args.train_codes)]
        opened += [None if folder is None else CodeShards(folder) for folder in folders[1:]]
        for folder, each in zip(folders, opened, strict=True):
            if each is not None:
                check_facts(each.facts, config)
                check_same_vqvae(folder, each.facts, "this model's VQ-VAE" if own else data_args.train_codes,
                                 own or opened[0].facts, config)  # fmt: skip
        if data_args.test_fraction > 0:
            train, evaluation = (_within(opened[0], data_args, split) for split in ("train", "test"))
        else:
            train = opened[0] if data_args.streaming else _within(opened[0], data_args, None)
            evaluation = None if opened[1] is None else _within(opened[1], data_args, None)
        replay = None if opened[2] is None else _within(opened[2], data_args, None)
        return PriorSongs(train, evaluation, opened[0].facts, replay)
    require(
        own is not None,
        f"train_songs={data_args.train_songs!r} is sound, which a VQ-VAE must encode; pass --vqvae, or encode the "
        f"songs first and pass --train_codes",
    )
    require(
        not any(codebook.is_untrained for codebook in vqvae.codebooks),
        "the codebooks of the VQ-VAE were never trained, so every code would be the same; train it first",
    )
    check_facts(own, config)
    outside = {"allow_outside_files": data_args.allow_outside_files}
    if data_args.test_fraction > 0:
        train, evaluation = (
            open_songs(data_args.train_songs, split=split, test_fraction=data_args.test_fraction, **outside)
            for split in ("train", "test")
        )
    else:
        is_stream = data_args.streaming
        train = (
            StreamedSongs(list_shards(data_args.train_songs), are_codes=False, facts=own)
            if is_stream
            else open_songs(data_args.train_songs, **outside)
        )
        evaluation = None if data_args.eval_songs is None else open_songs(data_args.eval_songs, **outside)
    return PriorSongs(train, evaluation, own)


def facts_of(vqvae: JukeboxVQVAE, levels: Sequence[int] | None = None) -> CodeFacts:
    """What all codes of a VQ-VAE have in common, of all levels or those given."""
    config = vqvae.config
    chosen = None if levels is None else tuple(sorted(set(levels)))
    prints = vqvae_fingerprints(vqvae, range(config.num_levels) if chosen is None else chosen)
    return CodeFacts(config.sampling_rate, config.hop_lengths, config.codebook_size, prints, chosen)


def check_same_vqvae(name: str, found: CodeFacts, owner: str, wanted: CodeFacts, config: JukeboxPriorConfig) -> None:
    """Codes of different VQ-VAEs mean different sounds; of a prior's own level and the one above it, that is.

    Raises:
        ValueError: in one sentence.
    """
    require(
        found.is_same_vqvae(wanted, (config.level, config.level + 1)),
        f"the codes of {name} were made by another VQ-VAE (fingerprint {'-'.join(found.fingerprints)}) than {owner} "
        f"({'-'.join(wanted.fingerprints)}), so they mean other sounds; encode the songs with that one",
    )


def check_facts(facts: CodeFacts, config: JukeboxPriorConfig) -> None:
    """A prior must be made for codes as these.

    Raises:
        ValueError: the first number that differs, in one sentence.
    """
    hops, level = facts.hop_lengths, config.level
    check_level("level", level, len(hops))
    is_top = level == len(hops) - 1
    wanted = {
        "codebook_size": (config.codebook_size, facts.codebook_size),
        "sampling_rate": (config.sampling_rate, facts.sampling_rate),
        "hop_length": (config.hop_length, hops[level]),
        "codes per upper code": (config.upper_ratio, 1 if is_top else hops[level + 1] // hops[level]),
    }
    for name, (ours, theirs) in wanted.items():
        require(
            ours == theirs,
            f"{name} of the prior of level {level} is {ours}, but its codes have {theirs}; use a configuration that "
            f"fits them"
            + (" (upper_strides must be those of the level above, and None at the top)" if "upper" in name else ""),
        )


def check_songs(songs: PriorSongs, tokenizer: JukeboxTokenizer | None, config: JukeboxPriorConfig) -> None:
    """Look at every word once, so that none stops the run later.

    Raises:
        ValueError: missing columns, unlisted names, too many genres, lyrics that are too long or cannot be romanised.
    """
    if not needs_words(config):
        return
    for each in songs.counted:
        check_vocabulary(each, tokenizer, config)
        for index in range(len(each)):
            _check_words(each[index], tokenizer, config)


def _check_words(song: Song, tokenizer: JukeboxTokenizer, config: JukeboxPriorConfig) -> None:
    try:
        tokenizer.labels(SongDescription(config.window_samples, song.artist, song.genre, song.lyrics), config)
    except ValueError as error:
        raise ValueError(f"{song.name}: {error}") from None


def windows_of(
    songs: PriorSongs,
    data_args: PriorDataArguments,
    config: JukeboxPriorConfig,
    seed: int,
    tokenizer: JukeboxTokenizer | None = None,
    ranks: Sequence[int] = (0, 1),
) -> tuple[Dataset, Dataset | None]:
    """Windows to train on, words hidden by chance; and windows to evaluate on, or None.

    Args:
        songs, data_args, config: as they were opened and said.
        seed: of shifts and of what is hidden.
        tokenizer: of a stream's words, which are checked as they come.
        ranks: of a stream, which of how many processes this is.

    Raises:
        ValueError: a window that the prior's context does not hold, or songs that are all shorter.
    """
    codes = config.context_length if data_args.window_codes is None else data_args.window_codes
    require(
        codes <= config.context_length,
        f"window_codes={codes} is longer than the prior's context_length={config.context_length}; shorten it",
    )
    require(
        codes % config.upper_ratio == 0,
        f"window_codes={codes} must be a multiple of {config.upper_ratio}, the codes that share one of the level above",
    )
    evaluation = None
    if songs.evaluation is not None:
        evaluation = _some(_windows(songs.evaluation, codes, False, False, config, seed), data_args.eval_windows)
    if isinstance(songs.train, StreamedSongs):
        return streamed_windows(songs.train, data_args, config, tokenizer, codes, seed, ranks), evaluation
    train = _windows(songs.train, codes, data_args.shift, data_args.blend, config, seed)
    if songs.replay is not None:
        old = _windows(songs.replay, codes, data_args.shift, False, config, seed + 1)
        train = WithReplay(train, old, data_args.replay_share)
    if needs_words(config):
        train = WithLabelDropout(train, data_args.dropout(), seed)
    return train, evaluation


def _streamed_codes(data_args: PriorDataArguments) -> StreamedSongs:
    shards = list_shards(data_args.train_codes)
    return StreamedSongs(shards, are_codes=True, facts=facts_of_shards(shards))


def _some(windows: Dataset, most: int | None) -> Dataset:
    """At most so many windows, spread evenly."""
    if most is None or len(windows) <= most:
        return windows
    return Subset(windows, [index * len(windows) // most for index in range(most)])


def _windows(
    songs: Songs | CodedSongs, codes: int, shift: bool, blend: bool, config: JukeboxPriorConfig, seed: int
) -> Dataset:
    with_labels = needs_words(config)
    if isinstance(songs, CodedSongs):
        windows = CodeWindows(songs, config.level, codes, seed, shift=shift, with_labels=with_labels)
        return _told_left_out(windows, len(songs), config)
    windows = AudioWindows(
        songs, codes * config.hop_length, config.sampling_rate, seed, shift=shift, blend=blend, with_labels=with_labels
    )
    return _told_left_out(windows, len(songs), config)


def _within(shards: CodeShards, data_args: PriorDataArguments, split: str | None) -> CodedSongs:
    """The songs of a side of the split."""
    side = [song for song in range(len(shards)) if in_split(shards.words[song]["name"], split, data_args.test_fraction)]
    require(
        len(side) > 0,
        f"split={split!r} of {shards.folder} holds none of its {len(shards)} songs; change test_fraction="
        f"{data_args.test_fraction:g} or add songs",
    )
    return CodedSongs(shards, side)


def _told_left_out(windows: Dataset, total: int, config: JukeboxPriorConfig) -> Dataset:
    """The windows, after a word about songs that are too short for one."""
    if count := total - len(windows.kept):
        logger.warning(
            f"{count} of {total} songs are left out, being shorter than a window "
            f"(at level {config.level} one of {config.context_length} codes lasts "
            f"{config.window_samples / config.sampling_rate:.4g} s; --window_codes shortens it)"
        )
    return windows
