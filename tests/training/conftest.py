"""What the training tests share: songs in memory, arguments for quick runs, and a fresh small VQ-VAE."""

import pytest
import torch
from torch.utils.data import Dataset

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.training import JukeboxVQVAETrainer, JukeboxVQVAETrainingArguments

WINDOW = 1056  # whole codes of every level, and long enough for the spectral losses


class Songs(Dataset):
    """Windows of noise with a beat, in memory; item i is always the same."""

    def __init__(self, count=8, samples=WINDOW, sampling_rate=None, **extra):
        generator = torch.Generator().manual_seed(0)
        beat = torch.sin(torch.arange(samples) * torch.linspace(0.05, 0.6, count)[:, None])
        self.audio = (0.3 * beat + 0.05 * torch.randn(count, samples, generator=generator))[:, None]
        self.extra = extra
        if sampling_rate is not None:
            self.sampling_rate = sampling_rate

    def __len__(self):
        return len(self.audio)

    def __getitem__(self, index):
        return {"input_values": self.audio[index], **self.extra}


@pytest.fixture
def songs():
    """A maker of data sets: (count, samples, ...)."""
    return Songs


@pytest.fixture
def arguments(tmp_path):
    """A maker of arguments for a quick run on the CPU: (**changes)."""

    def make(**changes):
        defaults = {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 4,
            "per_device_train_batch_size": 2,
            "per_device_eval_batch_size": 4,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "linear",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 3,
        }
        return JukeboxVQVAETrainingArguments(**{**defaults, **changes})

    return make


@pytest.fixture
def fresh_vqvae(tiny_vqvae_config):
    """A maker of small VQ-VAEs as training finds them: equal weights, codebooks never trained: (**changes)."""

    def make(**changes):
        torch.manual_seed(11)
        return JukeboxVQVAE(tiny_vqvae_config(**changes))

    return make


@pytest.fixture
def trainer_for(fresh_vqvae, arguments, songs):
    """A maker of trainers on songs in memory: (model=None, data=None, **changes of arguments)."""

    def make(model=None, data=None, evaluation=None, **changes):
        model = fresh_vqvae() if model is None else model
        data = songs() if data is None else data
        return JukeboxVQVAETrainer(model, arguments(**changes), train_dataset=data, eval_dataset=evaluation)

    return make
