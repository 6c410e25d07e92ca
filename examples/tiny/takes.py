"""`python -m examples.tiny.takes`: are the takes that scores choose right more often than any take?

Flows in: the folder of a run with songs, and the model. Flows out: a table: what listeners that know nothing of the
model hear in the takes that each rule chooses, and in takes chosen blindly. The same weights give the same numbers.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from examples.tiny import clips as made
from examples.tiny.evaluate import TEMPERATURES
from examples.tiny.parts import Networks, open_recordings, open_repository
from jukebox_hf.model.inputs.labels import SongDescription
from jukebox_hf.model.takes.song_scores import SongScore, score_song

RULES: dict[str, Callable[[SongScore], float]] = {  # the greatest first
    "self": lambda score: score.self_score,
    "lyrics": lambda score: score.lyric_score + 1e-3 * (score.confidence or 0.0),
    "words saved": lambda score: (score.without_lyrics or score.own) - score.own,
    "likeliest": lambda score: -score.own,
}
_TRAINING_SONGS = 400


def main() -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny.takes", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="folder with songs and test-songs")
    parser.add_argument("--model", type=Path, default=Path("src/jukebox_hf/tiny"), help="the repository to measure")
    parser.add_argument("--orders", type=int, default=60, help="clips to order")
    parser.add_argument("--takes", type=int, default=8, help="takes of each")
    said = parser.parse_args()
    rows = measure(open_repository(said.model), said.run, said.orders, said.takes)
    print(f"{said.orders} clips, {said.takes} takes of each; share that is right, %\n")
    print("| | artist | genre | vowels | lyric of 20 |\n|---|---|---|---|---|")
    for name, shares in rows.items():
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |")
    return 0


def measure(networks: Networks, run: Path, num_orders: int, takes: int) -> dict[str, Sequence[float]]:
    """Shares of artists, genres, vowels and lyrics that are right, by how takes are chosen; scores go to takes.json.

    Args:
        networks: with a prior of the top level.
        run: a folder with songs and test-songs.
        num_orders: clips to order.
        takes: of each of them.
    """
    config = networks.priors[networks.top].config
    rate, samples, hop = config.sampling_rate, config.window_samples, config.hop_length
    train = open_recordings(run / "songs", _TRAINING_SONGS, hop)
    lyrics = [song.lyrics for song in open_recordings(run / "test-songs", 120, hop).sung().songs]
    heard = made.through(networks, made.cut_clips(train, rate, samples), networks.top)
    listeners = made.train_listeners(heard, rate)
    orders = made.make_orders(num_orders, lyrics, listeners.artists, listeners.genres)
    all_orders = [order for order in orders for _ in range(takes)]
    written = made.write_clips(networks, all_orders, samples, {networks.top: TEMPERATURES[networks.top]})
    scores = [_score(networks, written, clip) for clip in range(len(all_orders))]
    (run / "takes.json").write_text(json.dumps([asdict(score) for score in scores], indent=1))
    firsts = np.arange(num_orders) * takes
    blind = [_listen(listeners, written, firsts + take) for take in range(takes)]
    rows = {"any take": np.mean(blind, axis=0).tolist()}
    for name, rule in RULES.items():
        values = np.array([rule(score) for score in scores]).reshape(num_orders, takes)
        rows[f"best by {name}"] = _listen(listeners, written, firsts + values.argmax(axis=1))
        rows[f"worst by {name}"] = _listen(listeners, written, firsts + values.argmin(axis=1))
    return rows


def _score(networks: Networks, clips: made.Clips, clip: int) -> SongScore:
    """The score of a clip at the top level."""
    prior, order = networks.priors[networks.top], clips.orders[clip]
    rate = prior.config.sampling_rate
    total, start = (round(slots * made.SLOT * rate) for slots in (len(order.song.lyrics), order.start_slot))
    song = SongDescription(total, order.song.artist, order.song.genre, order.song.lyrics, start)
    labels = networks.tokenizers[networks.top].labels(song, prior.config)
    return score_song(prior, clips.codes[networks.top][clip], labels)


def _listen(listeners: made.Listeners, clips: made.Clips, chosen: Sequence[int]) -> list[float]:
    """Shares of artists, genres, vowels and lyrics that are right in some of the clips."""
    some = replace(clips, audio=clips.audio[chosen], orders=[clips.orders[clip] for clip in chosen])
    heard = made.listen(listeners, some, frozenset())
    return [heard.artist.right, heard.genre.right, heard.vowels, heard.picked]


if __name__ == "__main__":
    raise SystemExit(main())
