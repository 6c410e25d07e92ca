"""What the training tests share: songs in memory, arguments for quick runs, and a fresh small VQ-VAE."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from jukebox_hf import JukeboxVQVAE
from jukebox_hf.data.code_shards import CodedSong, CodeFacts, CodeShardWriter
from jukebox_hf.data.songs import Song
from jukebox_hf.model.inputs.label_vocabulary import LabelVocabulary
from jukebox_hf.model.inputs.tokenization_jukebox import JukeboxTokenizer
from jukebox_hf.training import JukeboxVQVAETrainer, JukeboxVQVAETrainingArguments
from jukebox_hf.training.assemble import main as assemble

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


# --- priors ---

HOPS, RATE, CODEBOOK = (4, 16), 1000, 24  # of the codes below, finest first
STEPS = {"Ann Ash": 1, "Bob Birch": 7}  # an artist's codes grow by so much


def coded_song(number, length=72):
    """A song whose codes follow its artist's rule, but for one in ten; the finer codes follow from the top ones."""
    draws = np.random.default_rng(number)
    artist = list(STEPS)[number % 2]
    moves = np.where(draws.random(length) < 0.1, draws.integers(0, CODEBOOK, length), STEPS[artist])
    top = moves.cumsum() % CODEBOOK
    fine = (top[:, None] * 5 + np.arange(4)).reshape(-1) % CODEBOOK
    lyrics = "".join(draws.choice(list("abcdef "), 30)).strip()
    song = Song(f"{number}.flac", artist, ("folk", "rock")[number // 2 % 2], lyrics)
    return CodedSong(song, length * HOPS[-1], (fine, top))


@pytest.fixture(scope="session")
def coded_songs(tmp_path_factory):
    """A maker of folders of codes: (count, length, fingerprint of each level); the same folder for the same numbers."""
    made = {}

    def make(count=16, length=72, fingerprint="abc"):
        key = count, length, fingerprint
        if key not in made:
            made[key] = tmp_path_factory.mktemp("codes") / "codes"
            with CodeShardWriter(made[key], CodeFacts(RATE, HOPS, CODEBOOK, (fingerprint,) * 2)) as writer:
                for number in range(count):
                    writer.add(coded_song(number, length))
        return made[key]

    return make


@pytest.fixture(scope="session")
def coded_config(tiny_prior_config):
    """A maker of configurations of small priors for these codes: (flavour, **changes)."""

    def make(flavour="labelled", **changes):
        level = {"level": 0, "hop_length": 4} if flavour == "upsampler" else {"level": 1, "hop_length": 16}
        words = {"lyric_vocab_size": 79, "lyric_length": 12} if flavour in ("prefix", "encoder") else {}
        return tiny_prior_config(flavour, **{"codebook_size": CODEBOOK, "max_genres": 1, **level, **words, **changes})

    return make


@pytest.fixture
def prior_words(tmp_path, coded_config, coded_songs):
    """A maker of command lines for a quick run of train_prior: (flavour, **replaced); None leaves a flag out."""

    def make(flavour="labelled", changes=None, **replaced):
        config = tmp_path / f"{flavour}.json"
        config.write_text(coded_config(flavour, **(changes or {})).to_json_string())
        flags = {
            "config": config,
            "train_codes": None if "train_songs" in replaced else coded_songs(),
            "output_dir": tmp_path / "run",
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "shift": True,
            **replaced,
        }
        return [str(word) for name, value in flags.items() if value is not None for word in (f"--{name}", value)]

    return make


@pytest.fixture(scope="session")
def make_coding_vqvae(tiny_vqvae):
    """A maker of VQ-VAEs of two levels whose codes are of the kind above."""
    return lambda: tiny_vqvae(
        level_strides=((2, 2), (2, 2)), codebook_size=CODEBOOK, hidden_sizes=(8, 6), residual_depths=(2, 3)
    )


@pytest.fixture
def coding_vqvae(make_coding_vqvae):
    return make_coding_vqvae()


OLD = LabelVocabulary("v3", {"unknown": 0, "ann ash": 1, "bob birch": 2}, {"unknown": 0, "folk": 1, "rock": 2})


@pytest.fixture(scope="session")
def make_whole(tiny_prior, coded_config, make_coding_vqvae):
    """A maker of whole Jukeboxes of two levels, assembled from parts as training leaves them: (folder)."""

    def make(folder):
        make_coding_vqvae().save_pretrained(folder / "vqvae")
        lists = JukeboxTokenizer(artists={"v3": OLD.artists}, genres={"v3": OLD.genres}, label_versions=["v3"] * 2)
        for level, flavour in enumerate(("upsampler", "prefix")):
            config = coded_config(flavour, num_artists=3, num_genres=3)
            prior = tiny_prior(flavour, **{name: getattr(config, name) for name in type(config).__annotations__})
            prior.save_pretrained(folder / f"part_{level}")
            lists.save_pretrained(folder / f"part_{level}")
        words = [str(folder / name) for name in ("whole", "vqvae", "part_0", "part_1")]
        assert assemble([words[0], "--vqvae", words[1], "--priors", *words[2:]]) == 0
        (folder / "whole" / "LICENSE").write_text("ours")
        return folder / "whole"

    return make
