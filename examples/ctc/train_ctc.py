"""A small speech recogniser for songs: a character CTC of transformers, trained from nothing on songs with lyrics.

    jukebox-hf synth-corpus songs --hours 2 --seed 11 --uneven 1
    python examples/ctc/train_ctc.py songs --out ctc

SONGS are folders as `open_songs` reads them: recordings with lyrics; times are not looked at. OUT is a repository for
`AutoModelForCTC`, `AutoProcessor` and `pipeline("automatic-speech-recognition")`, and so for `jukebox-hf align --ctc`
and `jukebox-hf wer --asr`. Checkpoints lie in OUT/checkpoints: a stopped run goes on where it was when the same line is
run again. 1500 steps took 3.3 minutes of one core; what they understand is in docs/how-to/align-recordings.md.

No weights of recognisers for singing can be had offline, so this one is made. It knows the letters a to z, and the
singers that it heard: it measures and tests what is here, and is not for other music.
"""

import argparse
import json
import string
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from transformers import (
    SeamlessM4TFeatureExtractor,
    Trainer,
    TrainingArguments,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from jukebox_hf.data.audio_windows import mix
from jukebox_hf.data.open_songs import open_songs
from jukebox_hf.model.inputs.romanization import romanize

RATE, MELS = 16_000, 80
STRIDE = 4  # spectra of 10 ms in a frame: the quickest letters last 100 ms, and half the frames take half the time
BLANK, BETWEEN_WORDS = "[PAD]", "|"
VOCABULARY = (BLANK, BETWEEN_WORDS, "[UNK]", *string.ascii_lowercase)


def main() -> None:
    """Train as the words of a command line say."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("songs", nargs="+", help="folders of songs with lyrics")
    parser.add_argument("--out", type=Path, required=True, help="folder of the recogniser")
    parser.add_argument("--steps", type=int, default=1500, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=8, help="songs per step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--save-steps", type=int, default=50, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and the order of songs")
    said = parser.parse_args()
    train(said.songs, said.out, said.steps, said.batch, said.learning_rate, said.save_steps, said.seed)


def train(
    sources: Sequence[str], out: Path, steps: int, batch: int, learning_rate: float, save_steps: int, seed: int
) -> None:
    """Train a recogniser, or go on with one that was stopped, and save it with its processor.

    Args:
        sources: folders of songs with lyrics.
        out: the folder to write.
        steps, batch, learning_rate: of AdamW with warm-up and a cosine.
        save_steps: steps between checkpoints.
        seed: of the first weights and the order of songs.
    """
    set_seed(seed)
    processor = make_processor()
    model = make_model(len(processor.tokenizer))
    checkpoints = out / "checkpoints"
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 20),
        weight_decay=0.01,
        max_grad_norm=1.0,
        adam_beta2=0.98,
        seed=seed,
        save_steps=save_steps,
        save_total_limit=1,
        logging_steps=min(20, steps),
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        remove_unused_columns=False,
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=collate,
        train_dataset=SungWords(sources, processor),
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None)
    model.save_pretrained(out)
    processor.save_pretrained(out)


def make_processor(stride: int = STRIDE) -> Wav2Vec2BertProcessor:
    """Log-mel spectra, so many to a frame (four: 25 frames a second), and the alphabet."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps({token: index for index, token in enumerate(VOCABULARY)}), encoding="utf-8")
        tokenizer = Wav2Vec2CTCTokenizer(
            str(path), pad_token=BLANK, unk_token="[UNK]", word_delimiter_token=BETWEEN_WORDS, bos_token=None,
            eos_token=None,
        )  # fmt: skip
    extractor = SeamlessM4TFeatureExtractor(
        feature_size=MELS, num_mel_bins=MELS, stride=stride, sampling_rate=RATE, padding_value=0.0
    )
    return Wav2Vec2BertProcessor(extractor, tokenizer)


def make_model(
    vocab_size: int, hidden_size: int = 96, num_hidden_layers: int = 3, stride: int = STRIDE
) -> Wav2Vec2BertForCTC:
    """A Conformer of half a million weights; a frame sees its neighbours."""
    return Wav2Vec2BertForCTC(
        Wav2Vec2BertConfig(
            vocab_size=vocab_size,
            feature_projection_input_dim=MELS * stride,
            hidden_size=hidden_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=4,
            intermediate_size=2 * hidden_size,
            position_embeddings_type=None,  # its convolutions know what is before and behind, at a third of the price
            conv_depthwise_kernel_size=15,
            conformer_conv_dropout=0.0,
            final_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
            pad_token_id=VOCABULARY.index(BLANK),
            ctc_loss_reduction="mean",
            ctc_zero_infinity=True,
        )
    )


class SungWords(Dataset):
    """Songs as log-mel spectra (T, 320), which are kept once they are made, and their words as tokens."""

    def __init__(self, sources: Sequence[str], processor: Wav2Vec2BertProcessor) -> None:
        self._songs = [(songs, index) for songs in map(open_songs, sources) for index in range(len(songs))]
        self._processor = processor
        self._made: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._songs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index not in self._made:
            songs, own = self._songs[index]
            samples = mix(songs.read(own, 0, songs.header(own).num_samples(RATE), RATE))
            found = self._processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="np")
            labels = self._processor.tokenizer(in_letters(songs[own].lyrics)).input_ids
            self._made[index] = {"features": found["input_features"][0].astype(np.float16), "labels": labels}
        return self._made[index]


def in_letters(lyrics: str) -> str:
    """Words of letters, a blank between them."""
    known = "".join(each if each in VOCABULARY else " " for each in romanize(lyrics).text.lower())
    return " ".join(known.split())


def collate(songs: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Songs to a batch: features, their mask, and labels with -100 behind the shorter ones."""
    features = [torch.from_numpy(song["features"]).float() for song in songs]
    labels = [torch.tensor(song["labels"], dtype=torch.long) for song in songs]
    return {
        "input_features": pad_sequence(features, batch_first=True),
        "attention_mask": pad_sequence(
            [torch.ones(len(each), dtype=torch.long) for each in features], batch_first=True
        ),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


if __name__ == "__main__":
    main()
