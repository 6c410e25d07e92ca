"""`python -m examples.tiny.evaluate`: measure the tiny model on songs it has never seen.

Flows in: the folder of a run, and where it is finished the model made of it. Flows out: one table with goals, controls
and ceilings, and in the run's folder `evaluation.json` and `confusion.json`. Without a model the run's own networks are
measured as far as they are trained, of one in training its newest checkpoint. The same weights give the same numbers.

Goals are measured on sung songs. Backings of the corpus are 120 in all (genre, key, progression, way of playing), so a
song without words is one that training has heard, sample for sample.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from examples.tiny import clips as made
from examples.tiny.likelihoods import bits_per_code, share_right, with_wrong
from examples.tiny.metrics import (
    convergence_decibels,
    fit_lyrics,
    nearest_distance,
    reconstruct,
    replayed_share,
    share_in_use,
    shared_with_one_song,
    standard_error,
    unigram_entropy,
    words_of,
)
from examples.tiny.parts import (
    Networks,
    Recordings,
    open_codes,
    open_networks,
    open_recordings,
    open_repository,
    untrained,
)
from examples.tiny.report import Row, as_markdown, save, save_confusions
from jukebox_hf.data.audio_windows import labels_of
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.training.encode_dataset import encode_song
from jukebox_hf.training.prior.prior_data import facts_of

LEVELS = ("bottom", "middle", "top")
CONVERGENCE = ((-15.0, -18.0), (-11.0, -13.0), (-9.0, -10.5))  # dB, must and stretch, finest level first
BITS = (3.6, 4.0, 3.5)
TEMPERATURES = {2: 0.95, 1: 0.7, 0: 0.95}
TRAINING_CODES = {"top-codes": (2,), "more-codes": (1, 2), "last-codes": (2,), "codes": (0, 1)}  # who learns them
_UNUSUAL = 40  # clips of short and of no lyrics
_CONTROL = 20  # clips of random weights
_SHORT = 20  # characters
_TRAINING_SONGS = 400  # whose reconstructions train the listeners


Codes = tuple[np.ndarray, ...]  # of a song, finest level first


@dataclass(frozen=True)
class Evaluation:
    """What every part of the evaluation needs.

    Attributes:
        networks, control: as trained, and with random weights.
        train, unseen, instrumental: songs; the unseen ones are sung.
        unseen_codes, instrumental_codes: of these songs, every level's, finest first.
        train_codes: by level, the codes that its prior learns; empty while there are none.
        num_clips, num_final: clips to write at the top level alone, and at all levels.
        heard: what listeners heard in clips, filled as they are judged.
    """

    networks: Networks
    control: Networks
    train: Recordings
    unseen: Recordings
    instrumental: Recordings
    unseen_codes: list[Codes]
    instrumental_codes: list[Codes]
    train_codes: dict[int, list[CodeShards]]
    num_clips: int
    num_final: int
    heard: dict[str, made.Hearing] = field(default_factory=dict)

    @property
    def control_on_codec(self) -> Networks:
        """Random priors behind the trained codec."""
        return replace(self.control, vqvae=self.networks.vqvae)

    def learnt(self, level: int) -> list[np.ndarray]:
        """The codes of a level that its prior learns, song by song."""
        return [shards.codes(song, level) for shards in self.train_codes[level] for song in range(len(shards))]

    @property
    def rate(self) -> int:
        return self.networks.vqvae.config.sampling_rate

    @property
    def clip_samples(self) -> int:
        """Length of a clip: the window of the top prior."""
        return self.networks.priors[self.networks.top].config.window_samples


def main(words: list[str] | None = None) -> int:
    """Evaluate as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the folder of the run")
    parser.add_argument("--model", type=Path, help="measure this repository instead of the run's own networks")
    parser.add_argument("--songs", type=int, default=120, help="unseen songs to measure on")
    parser.add_argument("--clips", type=int, default=200, help="clips to write at the top level")
    parser.add_argument("--final", type=int, default=200, help="clips to write at all three levels")
    said = parser.parse_args(words)
    try:
        evaluation = open_evaluation(said.run, said.songs, said.clips, said.final, said.model)
        rows = []
        for row in evaluate(evaluation):
            print(f"{row.name}: {row.shown}", file=sys.stderr, flush=True)
            rows.append(row)
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(as_markdown(rows))
    save(rows, evaluation.networks.weights, said.run / "evaluation.json")
    save_confusions(evaluation.heard, said.run / "confusion.json")
    return 0


def open_evaluation(run: Path, songs: int, clips: int, final: int, model: Path | None = None) -> Evaluation:
    """Open a run, and the model that was made of it.

    Raises:
        ValueError: no VQ-VAE, no songs, too few of them, or codes of another VQ-VAE.
    """
    networks = open_networks(run) if model is None else open_repository(model)
    hop = networks.vqvae.config.hop_lengths[-1]
    test = open_recordings(run / "test-songs", 2 * songs, hop)
    unseen = test.sung().first(songs)
    if len(unseen.songs) < songs:
        raise ValueError(f"{run / 'test-songs'} has {len(unseen.songs)} sung songs of songs={songs}; make more hours")
    train = open_recordings(run / "songs", _TRAINING_SONGS, hop)
    found = {name: open_codes(run / name) for name in TRAINING_CODES}
    owners = [facts_of(networks.vqvae)]
    if model is not None and (run / "vqvae").is_dir():
        # A packaged model keeps the codec of its run in 16 bits; what its priors learnt are the codes of the run's.
        owners.append(facts_of(open_networks(run).vqvae))
    for each in found.values():
        if each is not None and not any(each.facts.is_same_vqvae(own, own.present) for own in owners):
            raise ValueError(f"{each.folder} holds codes of another VQ-VAE; encode the songs again")
    learnt = {}
    for level in range(networks.top + 1):
        shards = [found[name] for name, levels in TRAINING_CODES.items() if level in levels and found[name] is not None]
        # A run without songs of its own for the top prior trains it on those of the lower ones.
        if shards or found["codes"] is not None:
            learnt[level] = shards or [found["codes"]]
    control = untrained(networks, unseen.audio[:4])
    without = test.instrumental()
    codes = [codes_of(networks, songs) for songs in (unseen, without)]
    return Evaluation(networks, control, train, unseen, without, *codes, learnt, clips, final)


def evaluate(evaluation: Evaluation) -> Iterator[Row]:
    """All rows of the table, as far as there are networks for them."""
    yield from codec_rows(evaluation)
    if not evaluation.train_codes:
        return
    for level in sorted(set(evaluation.networks.priors) & set(evaluation.train_codes), reverse=True):
        yield from likelihood_rows(evaluation, level)
    if evaluation.networks.top in evaluation.networks.priors:
        yield from clip_rows(evaluation)


def codec_rows(evaluation: Evaluation) -> Iterator[Row]:
    """How much of a sound survives the codes of each level."""
    for level, (must, stretch) in enumerate(CONVERGENCE):
        decibels, codes = _codec(evaluation.networks, evaluation.unseen, level)
        control, _ = _codec(evaluation.control, evaluation.unseen.first(8), level)
        note = f"songs {decibels.min():.1f} to {decibels.max():.1f}; random weights {control.mean():.1f} dB"
        yield Row(f"{LEVELS[level]}: spectral convergence", decibels.mean(), "dB", must, stretch, True, note)
        size = evaluation.networks.vqvae.config.codebook_size
        note = f"of {size}, on {sum(map(len, codes))} codes"
        yield Row(f"{LEVELS[level]}: codes in use", share_in_use(codes, size), "%", 0.95, note=note)


def likelihood_rows(evaluation: Evaluation, level: int) -> Iterator[Row]:
    """How well a prior foresees unseen songs, told the truth and otherwise."""
    prior, name = evaluation.networks.priors[level], LEVELS[level]
    tokenizer = evaluation.networks.tokenizers[level]
    windows = windows_of(evaluation.networks, evaluation.unseen, evaluation.unseen_codes, level)
    right = bits_per_code(prior, tokenizer, windows)
    control = bits_per_code(evaluation.control.priors[level], tokenizer, windows[:8])
    codes = evaluation.learnt(level)
    unigram = unigram_entropy(codes, prior.config.codebook_size)
    note = f"{len(windows)} windows of unseen sung songs; random weights {control.mean():.2f}"
    yield Row(f"{name}: bits per code", right.mean(), "bits", BITS[level], None, True, note)
    note = f"unigram entropy {unigram:.2f} bits"
    yield Row(f"{name}: bits under the unigram entropy", 1 - right.mean() / unigram, "%", 0.4, note=note)
    wrongs = ["upper_codes"] if prior.config.upper_strides else ["artist", "genre", "lyrics", "letters"]
    goals = {"artist": 0.95, "genre": 0.95, "lyrics": 0.99, "letters": 0.97}
    for wrong in wrongs:
        tried = with_wrong(windows, wrong)
        others = [bits_per_code(prior, tokenizer, some) for some in tried]
        random = evaluation.control.priors[level]
        by_chance = share_right(
            bits_per_code(random, tokenizer, windows[:40]),
            [bits_per_code(random, tokenizer, some[:40]) for some in tried],
        )
        note = (
            f"than each of {len(tried)} wrong, which cost {(np.mean(others, axis=0) - right).mean():.3f} bits; "
            f"n={len(windows)}; random weights {_percent(by_chance)}"
        )
        yield Row(f"{name}: right {wrong.replace('_', ' ')} likelier", share_right(right, others), "%",
                  goals.get(wrong), note=note)  # fmt: skip
    alike = shared_with_one_song([own[level] for own in evaluation.unseen_codes], codes)
    note = f"at the same time, on average; at most {_percent(alike.max())}"
    yield Row(f"{name}: codes that an unseen song shares with one training song", alike.mean(), "%", note=note)
    without = evaluation.instrumental
    if without.songs:
        windows = windows_of(evaluation.networks, without, evaluation.instrumental_codes, level)
        bits = bits_per_code(prior, tokenizer, windows).mean()
        alike = shared_with_one_song([own[level] for own in evaluation.instrumental_codes], codes)
        note = f"n={len(without.songs)}; {_percent(alike.mean())} of their codes are those of one training song"
        yield Row(f"{name}: bits per code of songs without words", bits, "bits", note=note)


def clip_rows(evaluation: Evaluation) -> Iterator[Row]:
    """What listeners hear in clips that the priors write."""
    yield from _clip_rows(evaluation, evaluation.networks.top, evaluation.num_clips, goal_picked=(0.90, 0.99))
    if all(level in evaluation.networks.priors for level in range(evaluation.networks.top)):
        yield from _clip_rows(evaluation, 0, evaluation.num_final, goal_picked=(0.50, 0.80))


def _clip_rows(evaluation: Evaluation, level: int, count: int, goal_picked: tuple[float, float]) -> Iterator[Row]:
    networks, rate, samples = evaluation.networks, evaluation.rate, evaluation.clip_samples
    name = "top clips" if level else "final clips"
    sung = evaluation.train_codes[networks.top]
    seen = words_of(shards.song(number).lyrics for shards in sung for number in range(len(shards)))
    listeners = made.train_listeners(
        made.through(networks, made.cut_clips(evaluation.train, rate, samples), level), rate
    )
    real = made.through(networks, made.cut_clips(evaluation.unseen, rate, samples), level)
    ceiling = made.listen(listeners, real, seen)
    lyrics = [song.lyrics for song in evaluation.unseen.sung().songs]
    orders = made.make_orders(count, lyrics, listeners.artists, listeners.genres)
    temperatures = {each: TEMPERATURES[each] for each in range(level, networks.top + 1)}
    written = made.write_clips(networks, orders, samples, temperatures)
    heard = evaluation.heard[name] = made.listen(listeners, written, seen)
    shuffled = made.listen(listeners, made.with_shuffled_labels(written), seen)
    noise = made.write_clips(evaluation.control_on_codec, orders[:_CONTROL], samples, temperatures)
    control = made.listen(listeners, noise, seen)
    for what, must, stretch in (("genre", 0.85, 0.95), ("artist", 0.80, 0.90)):
        share = getattr(heard, what).right
        note = (
            f"± {_percent(standard_error(share, count))}, n={count}; reconstructions "
            f"{_percent(getattr(ceiling, what).right)}, shuffled labels {_percent(getattr(shuffled, what).right)}, "
            f"random weights {_percent(getattr(control, what).right)}"
        )
        yield Row(f"{name}: {what} as asked", share, "%", must, stretch, note=note)
    for what, title in (("vowels", "vowels"), ("unseen_vowels", "vowels of unseen words")):
        most = getattr(ceiling, what)
        note = (
            f"{_percent(getattr(heard, what))} right; reconstructions {_percent(most)}, wrong lyrics "
            f"{_percent(heard.wrong_vowels)}, random weights {_percent(control.vowels)}; "
            f"n={heard.num_vowels if what == 'vowels' else heard.num_unseen}"
        )
        yield Row(
            f"{name}: {title}, of the ceiling",
            getattr(heard, what) / most if most else float("nan"),
            "%",
            0.85,
            0.95,
            note=note,
        )
    note = (
        f"of {made.CANDIDATES}, chance 5 %; reconstructions {_percent(ceiling.picked)}, random weights "
        f"{_percent(control.picked)}"
    )
    yield Row(f"{name}: the right lyric picked", heard.picked, "%", *goal_picked, note=note)
    if level:
        yield from _unusual_lyrics(evaluation, listeners, orders, seen, heard)
    yield from _copy_rows(evaluation, name, level, [written.codes[level][clip].numpy() for clip in range(count)])


def _copy_rows(evaluation: Evaluation, name: str, level: int, ours: list[np.ndarray]) -> Iterator[Row]:
    """How near the codes of clips come to those that the prior learnt, beside unseen songs."""
    known = evaluation.learnt(level)
    real = [codes[level] for codes in evaluation.unseen_codes]
    note = f"24 codes word for word; unseen sung songs {100 * replayed_share(real, known):.1f} %"
    yield Row(f"{name}: copied from training songs", replayed_share(ours, known), "%", note=note)
    note = (
        f"of 64 codes, to the likest run of training; unseen sung songs {_percent(nearest_distance(real[:20], known))}"
    )
    yield Row(f"{name}: codes that differ", nearest_distance(ours[:20], known), "%", note=note)


def _unusual_lyrics(
    evaluation: Evaluation,
    listeners: made.Listeners,
    orders: list[made.Order],
    seen: frozenset[str],
    usual: made.Hearing,
) -> Iterator[Row]:
    """Clips of short and of empty lyrics, which are filled up with rests; all begin with their song."""
    for title, kept in (("short", _SHORT), ("no", 0)):
        some = [
            made.Order(replace(order.song, lyrics=fit_lyrics(order.song.lyrics[:kept], len(order.song.lyrics))), 0)
            for order in orders[:_UNUSUAL]
        ]
        temperature = {evaluation.networks.top: TEMPERATURES[evaluation.networks.top]}
        heard = made.listen(
            listeners, made.write_clips(evaluation.networks, some, evaluation.clip_samples, temperature), seen
        )
        note = f"n={heard.count}; {kept} characters, then rests"
        yield Row(f"top clips of {title} lyrics: genre as asked", heard.genre.right, "%", note=note)
        if kept:
            note = f"n={heard.num_vowels}; of whole lyrics {_percent(usual.vowels)}"
            yield Row(f"top clips of {title} lyrics: vowels right", heard.vowels, "%", note=note)
        note = f"of whole lyrics {_percent(usual.voiced)}"
        yield Row(f"top clips of {title} lyrics: time that sounds like a vowel", heard.voiced, "%", note=note)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _codec(networks: Networks, songs: Recordings, level: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Decibels of each song (B,), and its codes."""
    decibels, codes = [], []
    for audio in songs.audio.split(4):
        codes += list(networks.vqvae.encode(audio[:, None], levels=[level]).audio_codes[0].numpy())
        decibels.append(convergence_decibels(audio, reconstruct(networks.vqvae, audio, level)).numpy())
    return np.concatenate(decibels), codes


def codes_of(networks: Networks, songs: Recordings) -> list[Codes]:
    """The codes of each song."""
    return [encode_song(audio.numpy(), networks.vqvae) for audio in songs.audio]


def windows_of(networks: Networks, songs: Recordings, codes: list[Codes], level: int) -> list[dict]:
    """One window of each song, which has these codes; where it begins differs from song to song."""
    length, hops = networks.priors[level].config.context_length, networks.vqvae.config.hop_lengths
    ratio = hops[level + 1] // hops[level] if level < networks.top else 1
    windows = []
    for place, (song, own) in enumerate(zip(songs.songs, codes, strict=True)):
        start = place * 97 % ((len(own[level]) - length) // ratio + 1) * ratio
        window = {"codes": torch.from_numpy(own[level][start : start + length])}
        if level < networks.top:
            window["upper_codes"] = torch.from_numpy(own[level + 1][start // ratio : (start + length) // ratio])
        windows.append(window | labels_of(song, start * hops[level], len(own[level]) * hops[level]))
    return windows


if __name__ == "__main__":
    sys.exit(main())
