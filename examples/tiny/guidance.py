"""`python -m examples.tiny.guidance`: what guidance does to the clips of the tiny model, scale by scale.

Flows in: the folder of a run, with its `songs` and `test-songs` (measure.sh makes them), and a repository. Flows out: a
Markdown table, and in the run's folder `guidance.json` and the picture `guidance.png`. Listeners, orders, seeds and
temperatures are those of `examples.tiny.evaluate`, and every row is on the same clips; rows that are there already are
not measured again.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch

from examples.tiny import clips as made
from examples.tiny.evaluate import TEMPERATURES
from examples.tiny.metrics import standard_error
from examples.tiny.parts import Networks, Recordings, open_recordings, open_repository

matplotlib.use("agg")

KINDS = ("labels", "lyrics", "both", "double")
ORDER = ("reconstructions", "off", *KINDS)
MEASURES = ("genre", "artist", "vowels", "picked", "codes")
_TRAINING_SONGS, _UNSEEN_SONGS = 400, 240

Row = dict[str, Any]


@torch.no_grad()
def main(words: Sequence[str] | None = None) -> int:
    """Measure as the words of a command line say."""
    parser = argparse.ArgumentParser(prog="python -m examples.tiny.guidance", description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/tiny"), help="the folder of the run")
    parser.add_argument("--model", type=Path, default=Path("src/jukebox_hf/tiny"), help="the repository to measure")
    every = ["off", *(f"{kind}={scale}" for kind in KINDS for scale in (1.5, 2, 3, 5))]
    parser.add_argument("--guided", nargs="+", default=every, help="off, or what guidance hides and its scale: both=2")
    parser.add_argument("--clips", type=int, default=200, help="clips to write at the top level")
    parser.add_argument("--final", type=int, default=200, help="clips to write at all three levels; 0 for none")
    said = parser.parse_args(words)
    networks = open_repository(said.model)
    hop = networks.vqvae.config.hop_lengths[-1]
    train = open_recordings(said.run / "songs", _TRAINING_SONGS, hop)
    unseen = open_recordings(said.run / "test-songs", _UNSEEN_SONGS, hop).sung()
    path, settings = said.run / "guidance.json", [setting_of(word) for word in said.guided]
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    for level, count in ((networks.top, said.clips), (0, said.final)):
        there = [_key(row) for row in rows]
        wanted = [one for one in settings if (_name(level), *one[:2], count) not in there]
        for row in measure(networks, train, unseen, level, count, wanted) if count and wanted else ():
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows = [one for one in rows if _key(one) != _key(row)] + [row]
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    rows.sort(key=lambda row: (row["clips"] == "final", [*ORDER].index(row["kind"]), row["scale"]))
    print(as_markdown(rows))
    draw(rows, said.run / "guidance.png")
    return 0


def setting_of(word: str) -> tuple[str, float, dict[str, Any]]:
    """`both=2` as kind, scale and settings; the double form has the scale for all words and again for the lyrics.

    Raises:
        ValueError: another word.
    """
    kind, _, scale = word.partition("=")
    if word == "off":
        return "off", 1.0, {}
    if kind not in KINDS:
        raise ValueError(f"{word!r} is none of off, {', '.join(f'{kind}=2' for kind in KINDS)}; choose some")
    by = {"lyrics_guidance": float(scale)} if kind == "double" else {"guidance_on": kind}
    return kind, float(scale), {"guidance_scale": float(scale), **by}


def _name(level: int) -> str:
    return "top" if level else "final"


def _key(row: Row) -> tuple[str, str, float, int]:
    return row["clips"], row["kind"], row["scale"], row["count"]


def measure(
    networks: Networks,
    train: Recordings,
    unseen: Recordings,
    level: int,
    count: int,
    settings: Sequence[tuple[str, float, Mapping[str, Any]]],
) -> Iterator[Row]:
    """What listeners hear in the same clips, guided in each way and decoded at one level."""
    rate, samples = networks.vqvae.config.sampling_rate, networks.priors[networks.top].config.window_samples
    with torch.enable_grad():
        listeners = made.train_listeners(made.through(networks, made.cut_clips(train, rate, samples), level), rate)
    orders = made.make_orders(count, [song.lyrics for song in unseen.songs], listeners.artists, listeners.genres)
    temperatures = {each: TEMPERATURES[each] for each in range(level, networks.top + 1)}
    name = _name(level)
    ceiling = made.through(networks, made.cut_clips(unseen, rate, samples), level)
    yield _row(name, "reconstructions", 0.0, listeners, ceiling)
    for kind, scale, guidance in settings:
        clips = made.write_clips(networks, orders, samples, temperatures, guidance=guidance)
        different = len(clips.codes[level].unique()) / networks.vqvae.config.codebook_size
        yield _row(name, kind, scale, listeners, clips) | {"codes": different}


def _row(name: str, kind: str, scale: float, listeners: made.Listeners, clips: made.Clips) -> Row:
    heard = made.listen(listeners, clips, frozenset())
    return {
        "clips": name,
        "kind": kind,
        "scale": scale,
        "count": heard.count,
        "genre": heard.genre.right,
        "artist": heard.artist.right,
        "vowels": heard.vowels,
        "picked": heard.picked,
        "loudness": float(clips.audio.square().mean().sqrt()),
        "beyond": float((clips.audio.abs() > 1).float().mean()),
    }


def as_markdown(rows: Sequence[Row]) -> str:
    """The table of the page."""
    lines = [
        "| clips | guided by | scale | genre as asked | artist as asked | vowels right | right lyric of 20 "
        "| codes in use | loudness |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shares = [f"{100 * row[name]:.1f}" if name in row else "-" for name in MEASURES]
        scale = f"{row['scale']:g}" if row["scale"] else "-"
        lines.append(f"| {row['clips']} | {row['kind']} | {scale} | {' | '.join(shares)} | {row['loudness']:.3f} |")
    counts = {row["clips"]: row["count"] for row in rows if row["kind"] != "reconstructions"}
    errors = ", ".join(
        f"{name} ± {100 * standard_error(0.5, count):.1f} at most, n={count}" for name, count in counts.items()
    )
    return "\n".join([*lines, "", f"Percent; standard errors of shares of clips: {errors}."])


def draw(rows: Sequence[Row], path: Path) -> None:
    """A curve for each way to guide: how often clips are as asked, by scale."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(row["clips"] for row in rows))
    titles = {"genre": "genre as asked", "artist": "artist as asked", "vowels": "vowels right", "picked": "right lyric"}
    figure, axes = pyplot.subplots(
        len(names), 4, figsize=(11, 2.6 * len(names)), layout="constrained", sharex=True, squeeze=False
    )
    for name, line in zip(names, axes, strict=True):
        of_name = [row for row in rows if row["clips"] == name]
        for axis, (what, title) in zip(line, titles.items(), strict=True):
            for color, kind in enumerate(KINDS):
                points = [(row["scale"], 100 * row[what]) for row in of_name if row["kind"] in ("off", kind)]
                if len(points) > 1:
                    axis.plot(*zip(*sorted(points), strict=True), f"C{color}o-", markersize=3, label=kind)
            for row in of_name:
                if row["kind"] == "reconstructions":
                    axis.axhline(100 * row[what], color="gray", linestyle=":")
            axis.set(title=f"{name} clips: {title}", xlabel="scale", ylabel="%")
            axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=7)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
