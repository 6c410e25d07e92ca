"""What all tests share: small configurations, networks with lively random weights, and inputs that fit them."""

import io
import os
import runpy
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may need the network

import numpy as np
import pytest
import torch

from jukebox_hf import JukeboxPrior, JukeboxPriorConfig, JukeboxVQVAE, JukeboxVQVAEConfig
from jukebox_hf.app import cli
from jukebox_hf.data.synthesis.recorded.sampled_notes import DRUM_KIT
from jukebox_hf.data.synthesis.recorded.singers import voices
from jukebox_hf.data.synthesis.recorded.speakers import Phone, SpokenWord
from jukebox_hf.data.synthesis.recorded.spelling import UNVOICED
from jukebox_hf.data.synthesis.recorded.styles import drum_keys, tuned_notes
from jukebox_hf.data.synthesis.recorded.voice_bank import VoiceBank
from jukebox_hf.model.sampling.cpp_library import native_library

ROOT = Path(__file__).parents[1]

# Tiny tensors: more threads only wait for each other. CI asks for 2 to see that nothing depends on their number.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

_TINY_PRIOR = {
    "level": 1,
    "codebook_size": 24,
    "context_length": 24,
    "hop_length": 8,
    "sampling_rate": 1000,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "attention_multiplier": 0.5,
    "attention_kinds": None,
    "attention_rows": 4,
    "init_scale": 1.0,
    "num_artists": 5,
    "num_genres": 4,
    "max_genres": 2,
    "timing_bins": 8,
    "min_song_seconds": 0.1,
    "max_song_seconds": 10.0,
    "lyrics": "none",
}
_LYRICS = {"lyric_length": 12, "lyric_vocab_size": 11}
_FLAVOURS = {
    "bare": {"num_artists": 0, "num_genres": 0},
    "labelled": {},
    "prefix": {
        "lyrics": "prefix",
        **_LYRICS,
        "num_hidden_layers": 4,
        "attention_kinds": ("row", "column", "previous_row", "lyrics_prefix"),
    },
    "encoder": {
        "lyrics": "encoder",
        **_LYRICS,
        "num_hidden_layers": 4,
        "attention_kinds": ("row", "column", "previous_row", "lyrics_cross"),
        "lyric_encoder_hidden_size": 8,
        "lyric_encoder_num_hidden_layers": 3,
        "lyric_encoder_num_attention_heads": 2,
        "lyric_encoder_attention_multiplier": 0.5,
        "lyric_encoder_attention_rows": 3,
        "tie_word_embeddings": False,
    },
    "upsampler": {
        "level": 0,
        "hop_length": 4,
        "upper_strides": (2, 2),
        "conditioner_hidden_size": 12,
        "conditioner_residual_depth": 3,
        "conditioner_dilation_cycle": 2,
    },
}
_TINY_VQVAE = {
    "sampling_rate": 1000,
    "level_strides": ((2, 2), (2,), (4,)),
    "codebook_size": 32,
    "codebook_dim": 8,
    "hidden_sizes": (8, 6, 4),
    "residual_depths": (2, 3, 2),
    "multispectral_fft_sizes": (256, 128),
    "multispectral_hop_lengths": (60, 30),
    "multispectral_window_lengths": (200, 100),
}


class CutExample(NamedTuple):
    """How a cut of `SamplingSettings` is tried: every test that asks for `cut` runs on each of `_CUTS`."""

    name: str
    number: float  # leaves out some of ten codes, and keeps some
    refused: tuple[float, ...]  # just beyond what it may be; the first may be typed at the command line
    sentence: str  # that refuses them
    kept: tuple[int, ...]  # which of ten codes it leaves, of these probabilities

    shares = (0.15, 0.03, 0.26, 0.01, 0.12, 0.2, 0.055, 0.1, 0.065, 0.01)

    @property
    def said(self):
        return {self.name: self.number}

    @property
    def flag(self):
        return f"--{self.name.replace('_', '-')}"


_CUTS = (
    CutExample("top_k", 4, (-1, 2.5), "must be 0 (keep all) or a whole number of codes to keep", (0, 2, 4, 5)),
    CutExample("top_p", 0.8, (0.0, 1.5), "must lie over 0 and up to 1 (keep all)", (0, 2, 4, 5, 7)),
    CutExample("min_p", 0.2, (1.5, -0.1), "must be 0 (keep all) or lie over 0 and up to 1", (0, 2, 4, 5, 6, 7, 8)),
    CutExample("typical_p", 0.5, (0.0, 1.5), "must lie over 0 and up to 1 (keep all)", (0, 4, 5, 7)),
    CutExample(
        "epsilon_cutoff",
        0.06,
        (1.0, -0.1),
        "must be 0 (keep all) or lie over 0 and under 1; try 0.0005",
        (0, 2, 4, 5, 7, 8),
    ),
)


def _tiny_prior_config(flavour="labelled", **changes):
    return JukeboxPriorConfig(**{**_TINY_PRIOR, **_FLAVOURS[flavour], **changes})


def _enliven(model, seed=0):
    """Give every weight a random value, also those that start at zero, so that nothing is equal for being silent."""
    generator = torch.Generator().manual_seed(seed)

    def random(tensor, scale):
        return torch.randn(tensor.shape, generator=generator) * scale

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm.weight" in name:
                parameter.copy_(1 + random(parameter, 0.1))
            elif "embedding" in name or parameter.dim() < 2:
                parameter.copy_(random(parameter, 0.5))
            else:
                parameter.copy_(random(parameter, 1.4 * parameter[0].numel() ** -0.5))
        for buffer in model.buffers():
            buffer.copy_(random(buffer, 1.0))
    return model.eval()


def _inputs_for(config, batch=2, length=None, seed=0):
    """Every argument that the forward of this prior takes, different in every row."""
    generator = torch.Generator().manual_seed(seed)

    def ids(high, *shape, low=0):
        return torch.randint(low, high, (batch, *shape), generator=generator)

    inputs = {"codes": ids(config.codebook_size, length or config.context_length)}
    if config.upper_strides:
        inputs["upper_codes"] = ids(config.codebook_size, config.upper_length)
    if config.has_labels:
        inputs["artist_ids"] = torch.arange(batch) % config.num_artists
        inputs["genre_ids"] = ids(config.num_genres, config.max_genres, low=-1)
    if config.has_timing:
        rate = config.sampling_rate
        total = ids(int(config.max_song_seconds * rate), low=int(config.max_song_seconds * rate) // 2)
        offset = ids(int(config.max_song_seconds * rate) // 4)
        inputs["timing"] = torch.stack([total, offset, torch.full_like(total, config.window_samples)], dim=1)
    if config.lyrics != "none":
        inputs["lyric_ids"] = ids(config.lyric_vocab_size, config.lyric_length)
    return inputs


def _terms(model):
    """How many float32 roundings one output of a network meets at most: the lengths of all its sums."""
    products = (module.weight for module in model.modules() if hasattr(module, "weight") and module.weight is not None)
    return sum(weight[0].numel() if weight.dim() > 1 else weight.numel() for weight in products)


def _assert_same_but_for_rounding(found, wanted, terms, message="", largest=None):
    """Two ways to the same float32 sums agree, whatever processor adds them up in whatever order.

    Each of n roundings moves a value by up to half an eps of it, and they point in no common direction: together they
    wander by eps * sqrt(n) of the largest value, give or take (Higham and Mary 2019 show that hardly any go further).

    Args:
        found, wanted: the same quantity, computed twice.
        terms: the roundings on the way to one number, such as the length of its sum; or the network, for those of
            all its layers.
        message: what is compared.
        largest: what a sum of terms that cancel would be without their signs; by default the largest value of `wanted`.
    """
    count = _terms(terms) if isinstance(terms, torch.nn.Module) else terms
    found, wanted = found.detach().double(), wanted.detach().double()
    assert found.shape == wanted.shape, f"{message}: {tuple(found.shape)} is not {tuple(wanted.shape)}"
    largest = wanted.abs().max().item() if largest is None else largest
    allowed = torch.finfo(torch.float32).eps * count**0.5 * largest
    error = (found - wanted).abs().max().item()
    assert error <= allowed, f"{message}: {error:.3g} apart, where {count} roundings explain {allowed:.3g}"


def _run_python(code, *arguments, cwd=None, env=None):
    """Run Python code in a fresh process and give what it printed; fail with its errors."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class _Child:
    """The command line in a fork of this process, which has imported everything; what it says goes to a file."""

    def __init__(self, words, log, before=lambda: None):
        self.log, self.code = log, None
        self.pid = os.fork()
        if self.pid == 0:
            self._run(words, before)

    def _run(self, words, before):
        code = 1
        try:
            for stream in (1, 2):
                os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(stream, "w"), write_through=True) for stream in (1, 2))
            sys.argv = ["jukebox-hf", *map(str, words)]
            torch.set_num_threads(torch.get_num_threads())  # else two threads that load weights make torch's pool anew
            before()
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        finally:  # a child must never come back into pytest
            sys.stdout.flush()
            os._exit(code)

    def poll(self):
        """Its exit code once it has ended, or minus the signal that ended it."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if found else None
        return self.code

    def wait(self, seconds=300):
        stop = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < stop, "the child does not end"
            time.sleep(0.002)
        return self.code

    def send(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    @property
    def said(self):
        return self.log.read_text()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def root():
    """The repository."""
    return ROOT


@pytest.fixture(params=_FLAVOURS)
def flavour(request):
    """Each kind of prior in turn: a test that asks for it runs on all of them."""
    return request.param


@pytest.fixture(params=_CUTS, ids=lambda cut: cut.name)
def cut(request):
    """Each cut of `SamplingSettings` in turn, as a `CutExample`."""
    return request.param


@pytest.fixture(scope="session")
def cuts():
    """All of them."""
    return _CUTS


@pytest.fixture(scope="session")
def tiny_prior_config():
    """A maker of small prior configurations: (flavour, **changes)."""
    return _tiny_prior_config


@pytest.fixture(scope="session")
def tiny_prior():
    """A maker of small priors with random weights, in evaluation mode: (flavour, **changes)."""
    return lambda flavour="labelled", **changes: _enliven(JukeboxPrior(_tiny_prior_config(flavour, **changes)))


@pytest.fixture(scope="session")
def tiny_vqvae_config():
    return lambda **changes: JukeboxVQVAEConfig(**{**_TINY_VQVAE, **changes})


@pytest.fixture(scope="session")
def tiny_vqvae(tiny_vqvae_config):
    """A maker of small VQ-VAEs with random weights, in evaluation mode: (**changes)."""
    return lambda **changes: _enliven(JukeboxVQVAE(tiny_vqvae_config(**changes)))


@pytest.fixture(scope="session")
def tones():
    """Words as tones, and a CTC that tells them apart: see tones.py."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tones.py"))))


@pytest.fixture(scope="session")
def tone_ctc(tones, tmp_path_factory):
    """The folder of a CTC that hears tones."""
    return tones.write_tone_ctc(tmp_path_factory.mktemp("ctc") / "tones")


@pytest.fixture
def enliven():
    return _enliven


@pytest.fixture
def inputs_for():
    return _inputs_for


@pytest.fixture
def assert_same_but_for_rounding():
    """(found, wanted, terms, message): see `_assert_same_but_for_rounding`."""
    return _assert_same_but_for_rounding


@pytest.fixture
def run_python():
    return _run_python


class Outcome(NamedTuple):
    """What a command left: its exit code, what it printed and what it said on stderr."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def child_of_this_process():
    """The command line in a fork, which spares the seconds of all imports: (words, log, before=called first)."""
    native_library()  # these two once here, not once in every child
    import_module("jukebox_hf.rendering.picture")
    return _Child


@pytest.fixture(scope="session")
def run_to_the_end(child_of_this_process, tmp_path_factory):
    """Run the command line in a child until it has ended well, and give what it said: (*words, folder=its own)."""

    def run(*words, folder="."):
        child = child_of_this_process(words, tmp_path_factory.mktemp("log") / "log", lambda: os.chdir(folder))
        assert child.wait() == 0, f"{words}\n{child.said}"
        return child.said

    return run


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A headless Chromium, where there is one."""
    tool = runpy.run_path(str(ROOT / "tests" / "headless_browser.py"))
    if (path := tool["find_browser"]()) is None:
        pytest.skip("no browser here: no chromium is installed (apt-get install chromium)")
    opened = tool["Browser"](path, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def browser(chromium):
    """A page of its own in a headless Chromium; what an earlier page still asks for is not told of it."""
    chromium.start_page()
    return chromium


@pytest.fixture
def run_cli(monkeypatch, capsys):
    """Run `jukebox-hf` in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["jukebox-hf", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return Outcome(stop.value.code or 0, printed.out, printed.err)

    return run


@pytest.fixture
def says_one_sentence():
    """Check that a command was refused in one line that names what is wrong, without a traceback."""

    def check(done, *parts):
        assert done.code == 2, done.err
        told = [line for line in done.err.splitlines() if not line.startswith("jukebox-hf: cpu with ")]  # what it chose
        assert len(told) == 1, done.err
        assert told[0].startswith("jukebox-hf: ")
        assert "Traceback" not in done.err
        for part in parts:
            assert str(part) in done.err
        assert done.out == ""

    return check


_STAND_IN_PHONES = {"a": "aa", "e": "eh", "i": "iy", "o": "ow", "u": "uw", "y": "iy", "c": "k", "h": "hh", "j": "jh",
                    "q": "k", "x": "s"}  # fmt: skip
_STAND_IN_SECONDS, _STAND_IN_RATE = 0.08, 16_000


def _stand_in_word(word, hertz):
    """A word of buzzes (voiced) and hisses, one sound of 80 ms for each letter."""
    length = round(_STAND_IN_SECONDS * _STAND_IN_RATE)
    clock = np.arange(length) / _STAND_IN_RATE
    buzz = sum(np.sin(2 * np.pi * hertz * number * clock) / number for number in range(1, 20))
    hiss = np.random.default_rng(3).standard_normal(length)
    sounds, phones = [], []
    for place, letter in enumerate(word):
        name = _STAND_IN_PHONES.get(letter, letter)
        sounds.append((3000 * hiss if name in UNVOICED else 9000 * buzz).astype(np.int16))
        phones.append(Phone(name, place * _STAND_IN_SECONDS, (place + 1) * _STAND_IN_SECONDS))
    return SpokenWord(np.concatenate(sounds), tuple(phones))


def _stand_in_note(pitch):
    clock = np.arange(_STAND_IN_RATE) / _STAND_IN_RATE
    return (8000 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * clock) * np.exp(-2 * clock)).astype(np.int16)


@pytest.fixture(scope="session")
def stand_in_bank():
    """Makes a voice bank of given words that needs no program: buzzes for voices, fading sines for instruments."""

    def make(words):
        spoken = {(voice, word): _stand_in_word(word, 110 + 20 * place)
                  for place, voice in enumerate(voices()) for word in sorted(set(words))}  # fmt: skip
        notes = {note: _stand_in_note(note[1]) for note in (*tuned_notes(), *((DRUM_KIT, key) for key in drum_keys()))}
        return VoiceBank(spoken, notes, {"flite": "stand-in", "soundfont": "stand-in"})

    return make
