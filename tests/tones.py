"""A recogniser that is right by construction: letters are tones, and a layer that tells tones apart is a CTC.

Flows in: words. Flows out: sound whose times are known, and a repository for AutoModelForCTC that hears them.
"""

import runpy
from pathlib import Path

import numpy as np
import torch

EXAMPLE = Path(__file__).parents[1] / "examples" / "ctc" / "train_ctc.py"
RATE, SLOT, TONE = 16_000, 0.2, 0.16  # samples per second; seconds of a letter, and of its tone, which begins the slot
LETTERS = "| abcdefghijklmnopqrstuvwxyz"


def sing(words, rate=RATE, slot=SLOT, before=0.0):
    """A tone for each letter and a low one for each blank, after `before` seconds of nearly nothing: (S,)."""
    samples = np.random.default_rng(0).normal(0, 2e-3, round((before + len(words) * slot + 0.1) * rate))
    time = np.arange(round(TONE * rate)) / rate
    for place, letter in enumerate(words.lower().replace("\n", " ")):
        start = round((before + place * slot) * rate)
        tone = 0.3 * np.sin(2 * np.pi * _hertz(letter) * time) * np.hanning(len(time))
        samples[start : start + len(time)] += tone
    return samples.astype(np.float32)


def _hertz(letter):
    place = LETTERS.replace(" ", "").index("|" if letter == " " else letter)
    mels = np.linspace(1127 * np.log1p(250 / 700), 1127 * np.log1p(7000 / 700), 27)  # as far apart as the ear has them
    return 700 * np.expm1(mels[place] / 1127)


def write_tone_ctc(folder):
    """Write a repository whose only trained layer tells tones apart, frame by frame."""
    example = runpy.run_path(str(EXAMPLE))
    processor, vocabulary = example["make_processor"](stride=2), example["VOCABULARY"]
    torch.manual_seed(0)
    model = example["make_model"](len(vocabulary), hidden_size=64, num_hidden_layers=0, stride=2)  # frames of 20 ms
    random = np.random.default_rng(0)
    inputs, labels = [], []
    for _ in range(50):  # spectra are evened out song by song, so songs differ in length and in what they hold
        known = random.choice(list("abcdefghijklmnopqrstuvwxyz"), random.integers(3, 20))
        words = "".join(random.choice([*known, " ", " "], random.integers(8, 36)))
        found = processor.feature_extractor(sing(words), sampling_rate=RATE, return_tensors="pt")["input_features"][0]
        seconds = (np.arange(len(found)) + 0.5) * 0.02
        place = np.minimum((seconds / SLOT).astype(int), len(words) - 1)
        is_tone = (abs(seconds - place * SLOT - TONE / 2) < 0.4 * TONE) & (seconds < len(words) * SLOT)
        tokens = np.array([vocabulary.index("|" if letter == " " else letter) for letter in words])
        inputs.append(found)
        labels.append(torch.from_numpy(np.where(is_tone, tokens[place], 0)))
    inputs, labels = torch.cat(inputs)[None], torch.cat(labels)  # every frame is heard alone
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    model.eval()
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 200) + 1e-4
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs).logits[0], labels).backward()
        optimizer.step()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
