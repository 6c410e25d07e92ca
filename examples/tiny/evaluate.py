"""`python -m examples.tiny.evaluate`: measure a run of the tiny model on songs it has never seen.

Flows in: the folder of a run. Flows out: one table with goals, controls and ceilings, and beside the networks
`evaluation.json` and `confusion.json`. Only what is trained by then is measured, of a network in training its newest
checkpoint. The same run gives the same numbers.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from examples.tiny import clips as made
from examples.tiny.likelihoods import bits_per_code, share_right, with_wrong
from examples.tiny.metrics import (
    convergence_decibels,
    fit_lyrics,
    nearest_distance,
    reconstruct,
    replayed_share,
    share_in_use,
    standard_error,
    unigram_entropy,
    words_of,
)
from examples.tiny.parts import Networks, Recordings, open_codes, open_networks, open_recordings, untrained
from examples.tiny.report import Row, as_markdown, save, save_confusions
from jukebox_hf.data.code_shards import CodeShards
from jukebox_hf.data.code_windows import CodeWindows
from jukebox_hf.training.prior_data import facts_of

LEVELS = ("bottom", "middle", "top")
CONVERGENCE = ((-15.0, -18.0), (-11.0, -13.0), (-9.0, -10.5))  # dB, must and stretch, finest level first
BITS = (3.6, 4.0, 3.5)
TEMPERATURES = {2: 0.95, 1: 0.4, 0: 0.4}
TRAINING_CODES = {"top-codes": (2,), "more-codes": (1, 2), "codes": (0, 1)}  # and the levels that learn them
_UNUSUAL = 40  # clips of short and of no lyrics
_TRAINING_SONGS = 400  # whose reconstructions train the listeners


@dataclass(frozen=True)
class Evaluation:
    """What every part of the evaluation needs.

    Attributes:
        networks, control: as trained, and with random weights.
        train, unseen: songs.
        train_codes: by level, the codes that its prior learns; empty while there are none.
        unseen_codes: of the same VQ-VAE; None while there are none.
        num_clips, num_final: clips to write at the top level alone, and at all levels.
        heard: what listeners heard in clips, filled as they are judged.
    """

    networks: Networks
    control: Networks
    train: Recordings
    unseen: Recordings
    train_codes: dict[int, list[CodeShards]]
    unseen_codes: CodeShards | None
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
    parser.add_argument("--songs", type=int, default=120, help="unseen songs to measure on")
    parser.add_argument("--clips", type=int, default=200, help="clips to write at the top level")
    parser.add_argument("--final", type=int, default=200, help="clips to write at all three levels")
    said = parser.parse_args(words)
    try:
        evaluation = open_evaluation(said.run, said.songs, said.clips, said.final)
        rows = list(evaluate(evaluation))
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(as_markdown(rows))
    save(rows, said.run / "evaluation.json")
    save_confusions(evaluation.heard, said.run / "confusion.json")
    return 0


def open_evaluation(run: Path, songs: int, clips: int, final: int) -> Evaluation:
    """Open a run.

    Raises:
        ValueError: no VQ-VAE, no songs, or codes of another VQ-VAE.
    """
    networks = open_networks(run)
    hop = networks.vqvae.config.hop_lengths[-1]
    unseen = open_recordings(run / "unseen", songs, hop)
    train = open_recordings(run / "songs", _TRAINING_SONGS, hop)
    found = {name: open_codes(run / name) for name in (*TRAINING_CODES, "unseen-codes")}
    own = facts_of(networks.vqvae)
    for each in found.values():
        if each is not None and not each.facts.is_same_vqvae(own, own.present):
            raise ValueError(
                f"{each.folder} holds codes of another VQ-VAE than {run / 'vqvae'}; encode the songs again"
            )
    held_out = found.pop("unseen-codes")
    learnt = {}
    for level in range(networks.top + 1):
        shards = [found[name] for name, levels in TRAINING_CODES.items() if level in levels and found[name] is not None]
        # A run without songs of its own for the top prior trains it on those of the lower ones.
        if shards or found["codes"] is not None:
            learnt[level] = shards or [found["codes"]]
    control = untrained(networks, unseen.audio[:4])
    return Evaluation(networks, control, train, unseen, learnt, held_out, clips, final)


def evaluate(evaluation: Evaluation) -> Iterator[Row]:
    """All rows of the table, as far as there are networks for them."""
    yield from codec_rows(evaluation)
    if not evaluation.train_codes or evaluation.unseen_codes is None:
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
    windows = _windows(evaluation.unseen_codes, level, prior.config.context_length)
    right = bits_per_code(prior, tokenizer, windows)
    control = bits_per_code(evaluation.control.priors[level], tokenizer, windows[:8])
    codes = evaluation.learnt(level)
    unigram = unigram_entropy(codes, prior.config.codebook_size)
    note = f"{len(windows)} windows of unseen songs; random weights {control.mean():.2f}"
    yield Row(f"{name}: bits per code", right.mean(), "bits", BITS[level], None, True, note)
    note = f"unigram entropy {unigram:.2f} bits"
    yield Row(f"{name}: bits under the unigram entropy", 1 - right.mean() / unigram, "%", 0.4, note=note)
    wrongs = ["upper_codes"] if prior.config.upper_strides else ["artist", "genre", "lyrics", "letters"]
    goals = {"artist": 0.95, "genre": 0.95, "lyrics": 0.99, "letters": 0.97}
    for wrong in wrongs:
        chosen = [n for n, window in enumerate(windows) if wrong in ("artist", "genre", "upper_codes")
                  or window["lyrics"].strip()]  # fmt: skip
        some = [windows[n] for n in chosen]
        other = bits_per_code(prior, tokenizer, with_wrong(some, wrong))
        blank = bits_per_code(evaluation.control.priors[level], tokenizer, with_wrong(some, wrong)[:40])
        before = bits_per_code(evaluation.control.priors[level], tokenizer, some[:40])
        note = (
            f"wrong costs {(other - right[chosen]).mean():.3f} bits; n={len(some)}; random weights "
            f"{100 * share_right(before, blank):.0f} %"
        )
        yield Row(f"{name}: right {wrong.replace('_', ' ')} likelier", share_right(right[chosen], other), "%",
                  goals.get(wrong), note=note)  # fmt: skip
    instrumental = [n for n, window in enumerate(windows) if not window["lyrics"].strip()]
    if instrumental and not prior.config.upper_strides:
        note = f"blank lyrics, n={len(instrumental)}"
        yield Row(f"{name}: bits per code of instrumentals", right[instrumental].mean(), "bits", note=note)


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
    control = made.listen(
        listeners, made.write_clips(evaluation.control_on_codec, orders[:20], samples, temperatures), seen
    ) if level else None  # fmt: skip
    for what, must, stretch in (("genre", 0.85, 0.95), ("artist", 0.80, 0.90)):
        share = getattr(heard, what).right
        note = (
            f"± {_percent(standard_error(share, count))}, n={count}; reconstructions "
            f"{_percent(getattr(ceiling, what).right)}, shuffled labels {_percent(getattr(shuffled, what).right)}"
            + (f", random weights {_percent(getattr(control, what).right)}" if control else "")
        )
        yield Row(f"{name}: {what} as asked", share, "%", must, stretch, note=note)
    for what, title in (("vowels", "vowels"), ("unseen_vowels", "vowels of unseen words")):
        most = getattr(ceiling, what)
        note = (
            f"{_percent(getattr(heard, what))} right; reconstructions {_percent(most)}, wrong lyrics "
            f"{_percent(heard.wrong_vowels)}; n={heard.num_vowels if what == 'vowels' else heard.num_unseen}"
        )
        yield Row(
            f"{name}: {title}, of the ceiling",
            getattr(heard, what) / most if most else float("nan"),
            "%",
            0.85,
            0.95,
            note=note,
        )
    note = f"of {made.CANDIDATES}, chance 5 %; reconstructions {_percent(ceiling.picked)}"
    yield Row(f"{name}: the right lyric picked", heard.picked, "%", *goal_picked, note=note)
    if level:
        yield from _unusual_lyrics(evaluation, listeners, orders, seen)
        codes = evaluation.learnt(level)
        real_codes = [evaluation.unseen_codes.codes(song, level) for song in range(len(evaluation.unseen_codes))]
        ours = list(written.codes[level].numpy())
        note = f"24 codes word for word; unseen real songs {100 * replayed_share(real_codes, codes):.1f} %"
        yield Row(f"{name}: copied from training songs", replayed_share(ours, codes), "%", note=note)
        real_distance = nearest_distance(real_codes[:20], codes)
        note = f"of 64 codes, to the likest run of training; unseen real songs {_percent(real_distance)}"
        yield Row(f"{name}: codes that differ", nearest_distance(ours[:20], codes), "%", note=note)


def _unusual_lyrics(
    evaluation: Evaluation, listeners: made.Listeners, orders: list[made.Order], seen: frozenset[str]
) -> Iterator[Row]:
    """Clips of short and of empty lyrics, which are filled up with rests."""
    for title, kept in (("short", 20), ("no", 0)):
        some = [
            made.Order(replace(order.song, lyrics=fit_lyrics(order.song.lyrics[:kept], len(order.song.lyrics))), 0)
            for order in orders[:_UNUSUAL]
        ]
        temperature = {evaluation.networks.top: TEMPERATURES[evaluation.networks.top]}
        heard = made.listen(
            listeners, made.write_clips(evaluation.networks, some, evaluation.clip_samples, temperature), seen
        )
        note = f"vowels {_percent(heard.vowels)} right, n={heard.num_vowels}" if kept else f"n={heard.count}"
        yield Row(f"top clips of {title} lyrics: genre as asked", heard.genre.right, "%", note=note)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _codec(networks: Networks, songs: Recordings, level: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Decibels of each song (B,), and its codes."""
    decibels, codes = [], []
    for audio in songs.audio.split(4):
        codes += list(networks.vqvae.encode(audio[:, None], levels=[level]).audio_codes[0].numpy())
        decibels.append(convergence_decibels(audio, reconstruct(networks.vqvae, audio, level)).numpy())
    return np.concatenate(decibels), codes


def _windows(shards: CodeShards, level: int, length: int) -> list[dict]:
    """One window of each song; where it begins differs from song to song."""
    windows = []
    whole = CodeWindows(shards, level, shards.num_codes(0, level))
    ratio = whole.ratio
    for song in range(len(whole)):
        window = whole[song]
        last = (len(window["codes"]) - length) // ratio
        start = song * 97 % (last + 1) * ratio
        window["codes"] = window["codes"][start : start + length]
        window["offset_samples"] = start * shards.facts.hop_lengths[level]
        if "upper_codes" in window:
            window["upper_codes"] = window["upper_codes"][start // ratio : (start + length) // ratio]
        windows.append(window)
    return windows


if __name__ == "__main__":
    sys.exit(main())
