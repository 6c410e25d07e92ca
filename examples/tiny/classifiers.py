"""Listeners: small networks that say who sings, in which genre, and which letter is sung.

They are trained on reconstructions, never on clean audio: what the codec does to a sound must not count as a mistake of
the prior. Flows in: audio. Flows out: scores. The same audio and seed always give the same listener.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.tiny.metrics import CLASSES, classes_of, is_vowel

_MELS, _FFT, _HOP = 40, 512, 200
_FRAMES_PER_SLOT = 6
_QUIET = 1e-3
SONG_STEPS, SLOT_STEPS = 600, 1500  # of training


def log_mel(audio: Tensor, sampling_rate: int) -> Tensor:
    """Audio (B, S) as log mel spectrogram (B, frames, 40), a frame every 200 samples."""
    window = torch.hann_window(_FFT)
    spectrum = torch.stft(audio.float(), _FFT, _HOP, window=window, return_complex=True).abs()
    return (spectrum.transpose(1, 2) @ _filters(sampling_rate) + _QUIET).log()


def song_features(audio: Tensor, sampling_rate: int) -> Tensor:
    """What a song sounds like on the whole (B, 200): level, spread and movement of each band, and its beat."""
    mel = log_mel(audio, sampling_rate)
    change = mel.diff(dim=1)
    beat = (change - change.mean(dim=1, keepdim=True)).clamp(min=0).mean(dim=2)  # how much begins in each frame
    rhythm = torch.fft.rfft(beat - beat.mean(dim=1, keepdim=True), n=2048).abs()[:, 1:161]
    rhythm = F.avg_pool1d(rhythm[:, None], 4)[:, 0].log1p()
    return torch.cat([mel.mean(dim=1), mel.std(dim=1), change.std(dim=1), mel.quantile(0.9, dim=1), rhythm], dim=1)


def slot_features(audio: Tensor, sampling_rate: int, slot_seconds: float) -> Tensor:
    """The spectrogram of each character's time (B, N, 240), for the N whole slots of audio (B, S)."""
    mel = log_mel(audio, sampling_rate)
    slots = int(audio.shape[1] / sampling_rate / slot_seconds + 1e-6)
    places = (torch.arange(slots)[:, None] + (torch.arange(_FRAMES_PER_SLOT) + 0.5) / _FRAMES_PER_SLOT) * slot_seconds
    frames = (places * sampling_rate / _HOP).round().long().clamp(max=mel.shape[1] - 1)
    return mel[:, frames].flatten(2)  # (B, N, 6, 40) -> (B, N, 240)


@dataclass(frozen=True)
class Listener:
    """A trained classifier."""

    network: nn.Module
    mean: Tensor
    spread: Tensor

    @torch.no_grad()
    def log_probabilities(self, features: Tensor) -> Tensor:
        """Features (..., F) -> (..., classes)."""
        return self.network((features - self.mean) / self.spread).log_softmax(dim=-1)

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of features (B, F) whose likeliest class is their label (B,)."""
        return float((self.log_probabilities(features).argmax(dim=-1) == labels).float().mean())


def train_listener(
    features: Tensor, labels: Tensor, num_classes: int, *, seed: int = 0, steps: int | None = None, width: int = 96
) -> Listener:
    """Train a classifier of features (B, F) with labels (B,)."""
    steps = SONG_STEPS if steps is None else steps
    mean, spread = features.mean(dim=0), features.std(dim=0) + 1e-3
    normed = (features - mean) / spread
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(features.shape[1], width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, num_classes)
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            batch = torch.randint(len(features), (min(256, len(features)),))
            optimizer.zero_grad()
            F.cross_entropy(network(normed[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return Listener(network.eval(), mean, spread)


def train_slot_listener(audio: Tensor, lyrics: list[str], sampling_rate: int, slot_seconds: float) -> Listener:
    """Learn what each kind of letter sounds like, from songs (B, S) and their lyrics."""
    features = slot_features(audio, sampling_rate, slot_seconds)
    labels = torch.from_numpy(np.stack([classes_of(text)[: features.shape[1]] for text in lyrics]))
    return train_listener(features.flatten(0, 1), labels.flatten(), len(CLASSES), steps=SLOT_STEPS, width=128)


def vowels_right(scores: Tensor, lyrics: str, only: np.ndarray | None = None) -> tuple[int, int]:
    """How many vowels of the lyrics are the likeliest vowel at their time, and how many there are.

    Args:
        scores: (N, classes) of the slots.
        lyrics: of the same slots.
        only: (N,) bool, which characters to look at.
    """
    classes = classes_of(lyrics)[: len(scores)]
    wanted = is_vowel(classes) if only is None else is_vowel(classes) & only[: len(scores)]
    vowels = scores[:, : is_vowel(np.arange(len(CLASSES))).sum()].argmax(dim=1).numpy()
    return int((vowels == classes)[wanted].sum()), int(wanted.sum())


def picked_lyric(scores: Tensor, candidates: list[str]) -> int:
    """Which of the candidates fits the slots' scores (N, classes) best."""
    fits = [scores[torch.arange(len(scores)), torch.from_numpy(classes_of(text)[: len(scores)])].sum() for text in
            candidates]  # fmt: skip
    return int(torch.stack(fits).argmax())


@cache
def _filters(sampling_rate: int) -> Tensor:
    """Triangles on the mel scale (257, 40)."""

    def to_mel(hertz: float) -> float:
        return 2595 * np.log10(1 + hertz / 700)

    points = 700 * (10 ** (np.linspace(to_mel(60), to_mel(sampling_rate / 2 * 0.95), _MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / sampling_rate)[:, None]
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))
