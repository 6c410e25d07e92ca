"""Which layer knows what: linear probes on every layer of a prior, against statistics of a log-mel spectrogram.

    jukebox-hf synth-corpus songs --hours 0.34 --seed 1
    python examples/probes/probe_layers.py songs probes --model tiny

Writes OUT/accuracy.csv, OUT/accuracy.md and OUT/accuracy.png. SONGS is a folder with labels.csv (a column `file`, and
one for each thing to probe), a corpus of `synth-corpus` (whose genre, artist, key and tempo are known), or folders
named after their class, as GTZAN has them. Features lie in OUT/features and are made once: a stopped run goes on.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jukebox_hf import JukeboxFeatures
from jukebox_hf.data.synthesis.artists import ARTISTS
from jukebox_hf.data.synthesis.corpus import CorpusSettings, synth_spec
from jukebox_hf.data.synthesis.genres import GENRES
from jukebox_hf.features.embedded_songs import embed_songs, load_features
from jukebox_hf.model.inputs.audio_input import read_audio

FOLDS, MEL_BANDS, FFT = 5, 64, 1024


def read_labels(songs: Path) -> dict[str, dict[str, str]]:
    """{file: {what: class}} of a folder."""
    if (songs / "labels.csv").is_file():
        rows = list(csv.DictReader((songs / "labels.csv").open(encoding="utf-8", newline="")))
        return {row["file"]: {name: value for name, value in row.items() if name != "file"} for row in rows}
    if (songs / "corpus.json").is_file():
        return labels_of_corpus(songs)
    kinds = (".wav", ".flac", ".mp3", ".ogg", ".au")
    files = sorted(path for path in songs.glob("*/*") if path.suffix.lower() in kinds)
    if not files:
        raise SystemExit(f"{songs} has neither labels.csv nor folders named after classes with recordings in them")
    return {path.relative_to(songs).as_posix(): {"genre": path.parent.name} for path in files}


def labels_of_corpus(songs: Path) -> dict[str, dict[str, str]]:
    """Genre and artist as its list says; key and tempo from the seeds that made it."""
    facts = json.loads((songs / "corpus.json").read_text())
    names = CorpusSettings.__dataclass_fields__
    settings = CorpusSettings(**{name: value for name, value in facts.items() if name in names})
    labels = {}
    rows = csv.DictReader((songs / "metadata.csv").open(encoding="utf-8", newline=""))
    for index, row in enumerate(rows):
        spec = synth_spec(settings, index)
        assert (spec.artist, spec.genre) == (row["artist"], row["genre"]), f"{songs} is of another version"
        key = int(np.random.default_rng([spec.seed, 1]).choice(ARTISTS[spec.artist].keys)) % 12
        tempo = round(60 / (spec.slot * GENRES[spec.genre].slots_per_beat))
        labels[row["file_name"]] = {
            "genre": row["genre"],
            "artist": row["artist"],
            "key": str(key),
            "tempo": str(tempo),
        }
    return labels


def log_mel_statistics(path: Path, rate: int = 16000) -> np.ndarray:
    """Means and deviations over time of a log-mel spectrogram and of its differences: (4 * MEL_BANDS,)."""
    samples = read_audio(path, rate)
    samples = np.pad(samples, (0, max(FFT - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, FFT)[:: FFT // 2] * np.hanning(FFT)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    mel = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), MEL_BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / rate)
    rising = (bins - mel[:-2, None]) / (mel[1:-1] - mel[:-2])[:, None]
    falling = (mel[2:, None] - bins) / (mel[2:] - mel[1:-1])[:, None]
    bands = np.log(power @ np.clip(np.minimum(rising, falling), 0, None).T + 1e-6)
    steps = np.diff(bands, axis=0) if len(bands) > 1 else np.zeros_like(bands)
    return np.concatenate([bands.mean(0), bands.std(0), steps.mean(0), steps.std(0)])


def reason_against(classes: list[str]) -> str:
    """Why nothing can be learnt of these classes; "" where it can."""
    names, counts = np.unique(classes, return_counts=True)
    if len(names) < 2:
        return f"all {len(classes)} songs are {names[0]}; add songs of others"
    if counts.min() < 2:
        return f"one song alone is {names[counts.argmin()]}, and a fold needs others to learn from; add songs"
    return ""


def accuracy(rows: np.ndarray, classes: list[str], probe: object) -> float:
    """Mean accuracy over folds, each as rich in every class as the whole."""
    if reason_against(classes):
        return float("nan")
    counts = np.unique(classes, return_counts=True)[1]
    folds = StratifiedKFold(min(FOLDS, counts.min()), shuffle=True, random_state=0)
    return float(cross_val_score(make_pipeline(StandardScaler(), probe), rows, classes, cv=folds).mean())


def main() -> None:
    """Embed, probe, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("songs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny", help="folder or name of a converted model, or tiny")
    parser.add_argument("--layers", type=int, nargs="+", help="which layers (default: all, with the input as 0)")
    parser.add_argument("--dtype", default=None)
    parser.add_argument("--device", default="cpu")
    said = parser.parse_args()
    layers = said.layers or list(range(JukeboxFeatures.from_pretrained(said.model, layers=-1).layers[0] + 1))
    features = JukeboxFeatures.from_pretrained(said.model, layers=layers, dtype=said.dtype, device=said.device)
    show = lambda reached: print(f"\r{reached.done} of {reached.total}", end="", flush=True)  # noqa: E731
    embed_songs(str(said.songs), said.out / "features", features, facts={"model": said.model}, progress=show)
    labels = read_labels(said.songs)
    folder = said.out / "features" / "features"
    labels = {name: label for name, label in labels.items() if (folder / f"{name}.npy").is_file()}
    values = np.stack([load_features(folder / f"{name}.npy") for name in labels])  # (songs, layers, D)
    inputs = {f"layer {layer}": values[:, index] for index, layer in enumerate(layers)}
    inputs["log-mel"] = np.stack([log_mel_statistics(said.songs / name) for name in labels])
    table = {}
    for what in next(iter(labels.values())):
        classes = [label[what] for label in labels.values()]
        probes = {
            name: accuracy(rows, classes, LogisticRegression(C=0.1, max_iter=2000)) for name, rows in inputs.items()
        }
        if reason := reason_against(classes):
            print(f"\n{what} is not probed (nan): {reason}", end="")
        chance = accuracy(inputs["log-mel"], classes, DummyClassifier(strategy="most_frequent"))
        table[what] = probes | {"chance": chance}
        print(f"\n{what}: " + ", ".join(f"{name} {value:.2f}" for name, value in table[what].items()))
    write(said.out, table, layers, len(labels))


def write(out: Path, table: dict[str, dict[str, float]], layers: list[int], num_songs: int) -> None:
    """A table as CSV and Markdown, and a picture of accuracy by layer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(next(iter(table.values())))
    with (out / "accuracy.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["what", *names])
        rows.writerows([what, *(f"{found[name]:.4f}" for name in names)] for what, found in table.items())
    lines = [f"| {num_songs} songs | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {what} | {' | '.join(f'{found[name]:.2f}' for name in names)} |" for what, found in table.items()]
    (out / "accuracy.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for what, found in table.items():
        (line,) = axes.plot(layers, [found[f"layer {layer}"] for layer in layers], marker="o", label=what)
        axes.axhline(found["log-mel"], color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(
        xlabel="layer (0: input of the first)", ylabel="accuracy", ylim=(0, 1.02), title="dotted: log-mel statistics"
    )
    axes.legend()
    figure.savefig(out / "accuracy.png", dpi=110)


if __name__ == "__main__":
    main()
