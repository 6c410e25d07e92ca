"""Native steps write into memory of the sizes they were told, whatever the process around them is set to."""

import copy
import threading
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from jukebox_hf import JukeboxModel, SamplingSettings, sample_window
from jukebox_hf.model.sampling.cpp_library import native_library
from jukebox_hf.model.sampling.cpp_step import CppStepper, address_of

needs_native = pytest.mark.skipif(native_library() is None, reason="native steps are not here")


@contextmanager
def _default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


_AROUND = {
    "float64 by default": lambda: _default(torch.float64),
    "bfloat16 by default": lambda: _default(torch.bfloat16),
    "float16 by default": lambda: _default(torch.float16),
    "tensors on meta": lambda: torch.device("meta"),
}


def _window(prior, inputs, backend="cpp"):
    own = dict(inputs)
    codes = own.pop("codes")
    tokens = prior.sequence(codes[:, :3], own.get("lyric_ids"))
    settings = SamplingSettings(temperature=0)
    return sample_window(prior, tokens, prior.condition(**own), 24, settings, keep_logits=True, backend=backend).logits


@needs_native
@pytest.mark.parametrize("around", _AROUND)
@pytest.mark.parametrize("backend", ["cpp", "eager", "auto"])
def test_a_window_is_the_same_whatever_tensors_are_made_like_by_default(
    tiny_prior, inputs_for, flavour, around, backend
):
    prior = tiny_prior(flavour)
    inputs = inputs_for(prior.config)
    wanted = _window(prior, inputs, backend)
    with _AROUND[around]():
        found = _window(prior, inputs, backend)
    assert found.dtype == wanted.dtype
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("around", _AROUND)
def test_songs_are_the_same_whatever_tensors_are_made_like_by_default(repository, around):
    """With priors that are loaded, and freed again, meanwhile."""
    model = JukeboxModel.from_pretrained(repository)
    wanted = model.generate(seconds=0.032, seed=3)
    model.release(0)
    model.release(1)
    with _AROUND[around]():
        found = model.generate(seconds=0.032, seed=3)
    assert torch.equal(found.audio, wanted.audio)


def test_threads_that_load_half_precision_sing_as_one_does_and_leave_the_default_dtype(repository):
    model = JukeboxModel.from_pretrained(repository, dtype=torch.bfloat16)
    wanted = [model.generate(seconds=0.032, seed=seed).audio for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def sing(seed):
        for _ in range(3):
            found[seed] = model.generate(seconds=0.032, seed=seed).audio

    threads = [threading.Thread(target=sing, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.get_default_dtype() == torch.float32
    assert all(torch.equal(found[seed], wanted[seed]) for seed in range(4))


@needs_native
def test_two_models_step_in_two_threads(tiny_prior, inputs_for):
    priors = [tiny_prior("labelled"), tiny_prior("labelled", hidden_size=48)]
    inputs = [inputs_for(prior.config, batch=3) for prior in priors]
    wanted = [_window(*pair) for pair in zip(priors, inputs, strict=True)]
    found: dict[int, torch.Tensor] = {}

    def step(number):
        for _ in range(5):
            found[number] = _window(priors[number], inputs[number])

    threads = [threading.Thread(target=step, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], wanted[number]) for number in range(2))


def _given_back():
    tensor = torch.zeros(2, 3)
    tensor.untyped_storage().resize_(8)
    return tensor


_TENSORS = {
    "another dtype": (lambda: torch.zeros(2, 3, dtype=torch.float64), "is torch.float64"),
    "another shape": (lambda: torch.zeros(3, 2), r"\(3, 2\)"),
    "as many numbers in one row": (lambda: torch.zeros(6), r"\(6,\)"),
    "a transposed one": (lambda: torch.zeros(3, 2).mT, "not contiguous"),
    "one number for all": (lambda: torch.zeros(1).expand(2, 3), "not contiguous"),
    "elsewhere": (lambda: torch.zeros(2, 3, device="meta"), "on meta"),
    "memory given back": (_given_back, "given its memory back"),
    "negated when read": (lambda: torch.zeros(2, 3, dtype=torch.complex64).conj().imag, "not contiguous"),
    "a subclass": (lambda: torch.zeros(2, 3).as_subclass(type("Strange", (torch.Tensor,), {})), "a Strange"),
}


@pytest.mark.parametrize("name", _TENSORS)
def test_no_address_is_given_of_what_c_was_not_told_of(name):
    make, message = _TENSORS[name]
    address_of(torch.zeros(2, 3), (2, 3), torch.float32)
    address_of(nn.Parameter(torch.zeros(2, 3)), (2, 3), torch.float32)
    with pytest.raises(ValueError, match=message):
        address_of(make(), (2, 3), torch.float32)


@needs_native
def test_a_step_beyond_the_end_or_into_another_cache_is_refused(tiny_prior):
    prior = tiny_prior("bare")
    cache, nothing = prior.new_cache(1), prior.condition()
    stepper, token = CppStepper(prior, cache), torch.zeros(1, 1, dtype=torch.long)
    for position in (-1, 24, 10**9):
        cache.position.fill_(position)
        with pytest.raises(ValueError, match=f"position {position} of this cache is none of the 24"):
            stepper.step(token, nothing, cache)
    with pytest.raises(ValueError, match="of another cache"):
        stepper.step(token, nothing, prior.new_cache(1))


@needs_native
def test_a_step_after_the_caches_were_replaced_writes_into_none(tiny_prior, inputs_for):
    """What a stepper points to stays alive as long as it does."""
    prior = tiny_prior("bare")
    cache = prior.new_cache(1)
    stepper = CppStepper(prior, cache)
    cache.layers = [torch.zeros(1) for _ in cache.layers]
    token = torch.zeros(1, 1, dtype=torch.long)
    assert stepper.step(token, prior.condition(), cache).isfinite().all()
    assert all(float(layer) == 0 for layer in cache.layers)


@needs_native
def test_a_copy_of_a_prior_has_memory_of_its_own(tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    inputs = inputs_for(prior.config)
    wanted = _window(prior, inputs)
    with torch.no_grad():
        for parameter in copy.deepcopy(prior).parameters():
            parameter.fill_(float("nan"))
    assert torch.equal(_window(prior, inputs), wanted)
