"""Where anything but the plain modules would run, it runs, in every position; and once it is said why."""

import copy
import logging
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrizations, parametrize
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from jukebox_hf import SamplingSettings, sample_window
from jukebox_hf.model.networks import attention, plain_modules, transformer
from jukebox_hf.model.networks.conditioning import UpperConditioner
from jukebox_hf.model.networks.modeling_jukebox_prior import JukeboxPrior
from jukebox_hf.model.sampling import backends, cpp_step, triton_step
from jukebox_hf.model.sampling.step_checks import listener, misfit
from jukebox_hf.model.sampling.window_decoder import DecodeOptions, WindowDecoder

_FLOATS = (torch.float32, torch.bfloat16)


def _first(output):
    return (1.25 * output[0], *output[1:]) if isinstance(output, tuple) else 1.25 * output


def _louder(module, inputs, output):
    return _first(output)


def _louder_before(module, inputs):
    return (inputs[0] + 0.1 * inputs[0].cumsum(-1), *inputs[1:])


class _Louder(nn.Module):
    """Something of the user's that stands around a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return _first(self.inner(*args, **kwargs))


class _LouderNorm(transformer.FloatLayerNorm):
    def forward(self, hidden):
        return 1.25 * super().forward(hidden)


class _LouderLinear(nn.Linear):
    def forward(self, x):
        return 1.25 * super().forward(x)


class _LouderAttention(attention.JukeboxAttention):
    def forward(self, hidden, lyric_states=None, start=0, cache=None, with_probabilities=False):
        return _first(super().forward(hidden, lyric_states, start, cache, with_probabilities))


class _LouderMLP(transformer.JukeboxMLP):
    def forward(self, hidden):
        return 1.25 * super().forward(hidden)


class _LouderBlock(transformer.JukeboxBlock):
    def forward(self, *args, **kwargs):
        return _first(super().forward(*args, **kwargs))


class _Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def _patch(module):
    plain = module.forward
    module.forward = lambda *args, **kwargs: _first(plain(*args, **kwargs))


def _replace(owner, name, make):
    setattr(owner, name, make(getattr(owner, name)).eval())


def _as(module, cls):
    module.__class__ = cls


_PARTS = {
    "transformer": lambda prior: prior.transformer,
    "block": lambda prior: prior.transformer.layers[1],
    "attention": lambda prior: prior.transformer.layers[1].attention,
    "query": lambda prior: prior.transformer.layers[1].attention.query_key_value,
    "output": lambda prior: prior.transformer.layers[1].attention.output,
    "attention norm": lambda prior: prior.transformer.layers[1].attention_norm,
    "mlp norm": lambda prior: prior.transformer.layers[1].mlp_norm,
    "mlp": lambda prior: prior.transformer.layers[1].mlp,
    "up": lambda prior: prior.transformer.layers[1].mlp.up,
    "down": lambda prior: prior.transformer.layers[1].mlp.down,
    "dropout": lambda prior: prior.transformer.layers[1].dropout,
    "head": lambda prior: prior.lm_head,
}
_OTHERS = {  # which every way to step calls
    "token embedding": lambda prior: prior.transformer.token_embedding,
    "position embedding": lambda prior: prior.transformer.position_embedding,
    "embedding dropout": lambda prior: prior.transformer.dropout,
}
_CHANGES = {
    **{
        f"a hook on {name}": lambda prior, part=part: part(prior).register_forward_hook(_louder)
        for name, part in (_PARTS | _OTHERS).items()
    },
    **{
        f"a hook before {name}": lambda prior, part=part: part(prior).register_forward_pre_hook(_louder_before)
        for name, part in (_PARTS | _OTHERS).items()
        if "embedding" not in name  # which ids go into
    },
    **{
        f"a patched forward of {name}": lambda prior, part=part: _patch(part(prior))
        for name, part in (_PARTS | _OTHERS).items()
    },
    "a wrapped block": lambda prior: _replace(prior.transformer.layers, "1", _Louder),
    "a wrapped attention": lambda prior: _replace(prior.transformer.layers[1], "attention", _Louder),
    "a wrapped mlp": lambda prior: _replace(prior.transformer.layers[1], "mlp", _Louder),
    "a wrapped norm": lambda prior: _replace(prior.transformer.layers[1], "mlp_norm", _Louder),
    "a wrapped query": lambda prior: _replace(prior.transformer.layers[1].attention, "query_key_value", _Louder),
    "a wrapped projection": lambda prior: _replace(prior.transformer.layers[0].mlp, "up", _Louder),
    "a wrapped head": lambda prior: _replace(prior, "lm_head", _Louder),
    "a wrapped dropout": lambda prior: _replace(prior.transformer.layers[1], "dropout", _Louder),
    "another norm": lambda prior: _as(prior.transformer.layers[0].attention_norm, _LouderNorm),
    "another linear": lambda prior: _as(prior.transformer.layers[0].mlp.down, _LouderLinear),
    "another attention": lambda prior: _as(prior.transformer.layers[0].attention, _LouderAttention),
    "another mlp": lambda prior: _as(prior.transformer.layers[0].mlp, _LouderMLP),
    "another block": lambda prior: _as(prior.transformer.layers[0], _LouderBlock),
    "weight_norm": lambda prior: parametrizations.weight_norm(prior.transformer.layers[0].mlp.up).register_forward_hook(
        _louder
    ),
    "a parametrisation": lambda prior: parametrize.register_parametrization(
        prior.transformer.layers[0].mlp.up, "weight", _Doubled()
    ),
    "a parametrised norm": lambda prior: parametrize.register_parametrization(
        prior.transformer.layers[0].mlp_norm, "weight", _Doubled()
    ),
    "spectral_norm": lambda prior: torch.nn.utils.spectral_norm(prior.transformer.layers[0].mlp.up).eval(),
    "a compiled module": lambda prior: _replace(
        prior.transformer.layers[0].mlp, "up", lambda up: torch.compile(_Louder(up), backend="eager")
    ),
}


def _inputs(prior, inputs_for):
    inputs = inputs_for(prior.config)
    codes = inputs.pop("codes")
    return prior.sequence(codes, inputs.get("lyric_ids")), prior.condition(**inputs)


@torch.no_grad()
def _logits(prior, inputs_for, backend, known=7, length=20):
    """Of steps after a prefill, for tokens that do not depend on them."""
    tokens, conditioning = _inputs(prior, inputs_for)
    cache = prior.new_cache(len(tokens))
    settings = SamplingSettings(temperature=0)
    known += prior.config.prefix_length

    def forced(logits, place):  # the codes that are written are the given ones
        codes = tokens[:, prior.config.prefix_length + place, None]
        return torch.full_like(logits, float("-inf")).scatter(1, codes, 0.0)

    written = sample_window(
        prior, tokens[:, :known], conditioning, length, settings, keep_logits=True, hook=forced, backend=backend,
        cache=cache,
    )  # fmt: skip
    return written.logits


@torch.no_grad()
def _all_at_once(prior, inputs_for, length=20):
    tokens, conditioning = _inputs(prior, inputs_for)
    return prior._run(tokens, conditioning, 0, prior.config.prefix_length + length)


@pytest.mark.parametrize("flavour", ["labelled", "prefix"])
@pytest.mark.parametrize("name", _CHANGES)
def test_what_is_put_around_a_module_acts_in_every_position(tiny_prior, inputs_for, flavour, name):
    prior = tiny_prior(flavour)
    before = _all_at_once(prior, inputs_for)
    _CHANGES[name](prior)
    wanted = _all_at_once(prior, inputs_for)
    assert (wanted - before).abs().max() > 1e-3  # it does something
    torch.testing.assert_close(_logits(prior, inputs_for, "auto"), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(_logits(prior, inputs_for, "eager"), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", _CHANGES)
def test_compiled_steps_and_kernels_know_that_they_would_leave_it_out(tiny_prior, name):
    prior = tiny_prior("bare", attention_kinds=("row",) * 3)
    assert misfit(prior, prior.new_cache(1), _FLOATS) is None
    _CHANGES[name](prior)
    assert misfit(prior, prior.new_cache(1), _FLOATS) is not None
    with pytest.raises(ValueError, match=r"backend='cpp' is not possible here: .*; use 'auto' or 'eager'"):
        backends.check_backend_here(prior, 1, "cpp")


@contextmanager
def _on_all(register, hook):
    handle = register(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _patched_class(cls):
    plain = cls.forward
    cls.forward = lambda self, *args, **kwargs: _first(plain(self, *args, **kwargs))
    try:
        yield
    finally:
        cls.forward = plain


def _louder_linear(module, inputs, output):
    return 1.25 * output if isinstance(module, nn.Linear) else None


@contextmanager
def _patched_function(name, factor):
    """One of torch's functions that gives more for what a layer hands it."""
    plain = getattr(F, name)

    def louder(*args, **kwargs):
        return factor * plain(*args, **kwargs)

    setattr(F, name, louder)
    try:
        yield
    finally:
        setattr(F, name, plain)


class _LouderFunctions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return 1.25 * found if function is F.linear else found


class _LouderNorms(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        return _first(found) if function is torch.ops.aten.native_layer_norm.default else found


_AROUND = {
    "a patched linear": lambda: _patched_function("linear", 1.25),
    "a patched layer norm": lambda: _patched_function("layer_norm", 1.25),
    "a function mode": _LouderFunctions,
    "a dispatch mode": _LouderNorms,
    "a hook on all modules": lambda: _on_all(register_module_forward_hook, _louder_linear),
    "a hook before all modules": lambda: _on_all(
        register_module_forward_pre_hook,
        lambda module, inputs: (1.25 * inputs[0],) if isinstance(module, nn.Linear) else None,
    ),
    **{
        f"{cls.__name__}.forward": lambda cls=cls: _patched_class(cls)
        for cls in (
            nn.Linear,
            transformer.FloatLayerNorm,
            transformer.JukeboxMLP,
            transformer.JukeboxBlock,
            attention.JukeboxAttention,
            transformer.JukeboxTransformer,
        )
    },
}


@pytest.mark.parametrize("name", _AROUND)
def test_what_is_put_around_all_modules_acts_in_every_position(tiny_prior, inputs_for, name):
    prior = tiny_prior("labelled")
    before = _all_at_once(prior, inputs_for)
    with _AROUND[name]():
        wanted = _all_at_once(prior, inputs_for)
        assert (wanted - before).abs().max() > 1e-3
        torch.testing.assert_close(_logits(prior, inputs_for, "auto"), wanted, atol=1e-4, rtol=1e-4)
        assert misfit(prior, prior.new_cache(1), _FLOATS) is not None
        assert listener(prior) is not None
    assert misfit(prior, prior.new_cache(1), _FLOATS) is None
    torch.testing.assert_close(_logits(prior, inputs_for, "auto"), before, atol=1e-4, rtol=1e-4)


def test_a_counter_of_flops_counts_every_step(tiny_prior, inputs_for):
    counted = []
    for backend in ("auto", "eager"):
        with FlopCounterMode(display=False) as counter:
            _logits(tiny_prior("labelled"), inputs_for, backend)
        counted.append(counter.get_total_flops())
    assert counted[0] == counted[1] > 0


def _begun(prior, tokens, conditioning, backend):
    """A window of 20 codes that knows some."""
    options = DecodeOptions(SamplingSettings(0), backend)
    decoder = WindowDecoder(prior, prior.new_cache(len(tokens)), options, keep_logits=True)
    decoder.prefill(tokens, conditioning, 20)
    return decoder


@pytest.mark.parametrize("backend", ["auto", "cpp"])
def test_a_mode_that_is_entered_within_a_window_hears_the_rest(tiny_prior, inputs_for, backend):
    prior = tiny_prior("labelled")
    tokens, conditioning = _inputs(prior, inputs_for)
    window = _begun(prior, tokens[:, :5], conditioning, backend)
    window.decode_until(10)
    with FlopCounterMode(display=False) as counter:
        if backend == "cpp":
            with pytest.raises(ValueError, match=r"'cpp' is not possible here: a FlopCounterMode intercepts torch"):
                window.decode_until(20)
            return
        window.decode_until(20)
    assert counter.get_total_flops() > 0


def test_where_new_tensors_lie_is_no_listener(tiny_prior):
    prior = tiny_prior("labelled")
    with torch.device("cpu"), torch.inference_mode():
        assert misfit(prior, prior.new_cache(1), _FLOATS) is None


def test_what_a_hook_keeps_is_not_written_over(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    tokens, conditioning = _inputs(prior, inputs_for)
    kept, copies = [], []
    for layer in prior.transformer.layers:
        layer.register_forward_hook(lambda module, inputs, output: kept.append((inputs[0], output[0])))
        layer.register_forward_hook(
            lambda module, inputs, output: copies.append((inputs[0].clone(), output[0].clone()))
        )
    with torch.no_grad():
        prior.prefill(tokens, conditioning, prior.new_cache(len(tokens)))
    assert len(kept) == len(prior.transformer.layers)
    for tensors, wanted in zip(kept, copies, strict=True):
        assert all(map(torch.equal, tensors, wanted))


def test_a_hook_is_called_for_every_step(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    calls = []
    prior.transformer.layers[2].register_forward_hook(lambda module, inputs, output: calls.append(output[0].shape[1]))
    _logits(prior, inputs_for, "auto")
    assert calls == [8, *[1] * 12]


@pytest.mark.parametrize("backend", ["auto", "cpp"])
def test_a_hook_that_comes_within_a_window_acts_from_then_on(tiny_prior, inputs_for, backend):
    prior = tiny_prior("labelled")
    tokens, conditioning = _inputs(prior, inputs_for)
    window = _begun(prior, tokens[:, :5], conditioning, backend)
    window.decode_until(10)
    handle = prior.transformer.layers[1].register_forward_hook(_louder)
    if backend == "cpp":
        with pytest.raises(ValueError, match=r"backend='cpp' is not possible here: there is a hook on .*layers\.1"):
            window.decode_until(20)
        return
    codes = window.decode_until(20)
    handle.remove()
    plain = _begun(prior, tokens[:, :5], conditioning, "eager")
    plain.decode_until(10)
    prior.transformer.layers[1].register_forward_hook(_louder)
    assert torch.equal(codes, plain.decode_until(20))
    torch.testing.assert_close(torch.cat(window.kept_logits, 1), torch.cat(plain.kept_logits, 1), atol=1e-4, rtol=1e-4)


def test_a_hook_that_watch_puts_on_acts_in_the_step_it_watches(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    tokens, conditioning = _inputs(prior, inputs_for)
    calls = []

    def watch(place):
        if place == 12:
            prior.lm_head.register_forward_hook(lambda *arguments: calls.append(place))

    sample_window(prior, tokens[:, :5], conditioning, 20, SamplingSettings(0), watch=watch)
    assert len(calls) == 8


def test_it_is_said_once_why_steps_are_plain(tiny_prior, inputs_for, caplog):
    prior = tiny_prior("labelled")
    prior.transformer.layers[1].mlp.register_forward_hook(_louder)
    backends.logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="transformers"), _propagated():
        for _ in range(3):
            _logits(prior, inputs_for, "auto")
    said = [record.getMessage() for record in caplog.records if "steps are eager" in record.getMessage()]
    assert said == ["steps are eager, which is slower: there is a hook on transformer.layers.1.mlp"]


@contextmanager
def _propagated():
    """transformers' loggers end at their own handler."""
    loggers = [logging.getLogger(name) for name in ("transformers", "jukebox_hf")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.propagate = True
    try:
        yield
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.propagate = propagate


class _OwnForward(JukeboxPrior):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs)


_UNCALLED = {
    "a hook on the prior": lambda prior: prior.register_forward_hook(_louder),
    "a hook on prior.lyrics": lambda prior: prior.lyrics.register_forward_pre_hook(_louder_before),
    "the forward that was put over that of the prior": lambda prior: _patch(prior),
    "the forward that was put over that of the prior, by a subclass": lambda prior: _as(prior, _OwnForward),
}


@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("what", _UNCALLED)
def test_it_is_said_once_what_of_a_prior_songs_do_not_call(what, backend, tiny_prior, inputs_for, caplog):
    prior = tiny_prior("encoder")
    _UNCALLED[what](prior)
    plain_modules.logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="transformers"), _propagated():
        for _ in range(2):
            _logits(prior, inputs_for, backend)
    (said,) = (record.getMessage() for record in caplog.records if "is not called" in record.getMessage())
    assert said.startswith(f"{what.partition(',')[0]} is not called while a song is written")
    assert "hook or patch prior.transformer, or prior." in said


@pytest.mark.parametrize("part", ["transformer", "lyrics.transformer", "lm_head"])
def test_nothing_is_said_of_hooks_that_are_called(part, tiny_prior, inputs_for, caplog):
    prior, seen = tiny_prior("encoder"), []
    prior.get_submodule(part).register_forward_hook(lambda *_: seen.append(part))
    prior.forward, prior._original_forward = prior.forward, prior.forward  # as accelerate leaves it after a training
    plain_modules.logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="transformers"), _propagated():
        _logits(prior, inputs_for, "auto")
    assert seen
    assert "is not called" not in caplog.text


def test_nothing_is_said_of_what_shares_a_prior_among_ranks(tiny_prior, caplog):
    prior = tiny_prior("bare")
    prior.__class__ = type("FSDPJukeboxPrior", (FSDPModule, JukeboxPrior), {})
    prior.register_forward_hook(lambda *_: None)
    plain_modules.logger.warning_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="transformers"), _propagated():
        plain_modules.say_uncalled(prior, JukeboxPrior, "a prior", "prior.transformer")
        assert "is not called" not in caplog.text
        prior.__class__ = JukeboxPrior
        plain_modules.say_uncalled(prior, JukeboxPrior, "a prior", "prior.transformer")
    assert "is not called" in caplog.text


@pytest.mark.parametrize("mode", ["training", "one part", "autocast"])
def test_other_modes_step_plainly(tiny_prior, mode):
    prior = tiny_prior("bare", residual_dropout=0.5)
    cache = prior.new_cache(1)
    assert misfit(prior, cache, _FLOATS) is None
    if mode == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert misfit(prior, cache, _FLOATS) == "autocast is on"
        return
    (prior if mode == "training" else prior.transformer.layers[1].dropout).train()
    assert "training mode" in misfit(prior, cache, _FLOATS)


def test_a_window_under_autocast_is_written(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    wanted = _logits(prior, inputs_for, "auto")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = _logits(prior, inputs_for, "auto")
    assert 0 < (found - wanted).abs().max() < 0.2 * wanted.std()


def test_dropout_in_training_acts_in_steps_too(tiny_prior, inputs_for):
    prior = tiny_prior("bare", residual_dropout=0.5, attention_dropout=0.5, embedding_dropout=0.5)
    wanted = _logits(prior, inputs_for, "auto")
    for name in ("transformer.dropout", "transformer.layers.1.dropout"):
        part = prior.get_submodule(name).train()
        calls = []
        handle = part.register_forward_hook(lambda module, inputs, output, calls=calls: calls.append(output.shape[1]))
        assert not torch.equal(_logits(prior, inputs_for, "auto"), wanted)
        assert calls.count(1) >= 12
        handle.remove()
        part.eval()


@pytest.mark.parametrize(
    "name", ["steps of its own", "a patched step", "a subclass that steps as it does", "a patched head"]
)
def test_a_prior_that_steps_in_a_way_of_its_own_does(tiny_prior, name):
    prior = tiny_prior("bare")
    cls = type(prior)
    if name == "a patched step":
        prior.step = prior.step
    elif name == "a patched head":
        prior.logits = prior.logits
    else:
        own = {"step": lambda self, *arguments: cls.step(self, *arguments)} if name == "steps of its own" else {}
        prior.__class__ = type("Own", (cls,), own)
    is_plain = name == "a subclass that steps as it does"
    assert (misfit(prior, prior.new_cache(1), _FLOATS) is None) == is_plain


def test_graphs_are_not_replayed_past_hooks_or_over_other_weights(tiny_prior, inputs_for, monkeypatch):
    """On a CPU `cuda_graph` is plain; what decides is asked as if the graph were one."""
    prior = tiny_prior("labelled")
    tokens, conditioning = _inputs(prior, inputs_for)
    decoder = WindowDecoder(prior, prior.new_cache(len(tokens)), DecodeOptions(SamplingSettings(0), "cuda_graph"))

    def window():
        decoder.prefill(tokens[:, :5], conditioning, 10)
        decoder.decode_until(10)
        return decoder._recorded.body

    first = window()
    assert window() is first
    prior.transformer.layers[1].mlp = copy.deepcopy(prior.transformer.layers[1].mlp)
    second = window()
    assert second is not first
    prior.transformer.layers[1].mlp.register_forward_hook(_louder)
    assert window() is second  # without CUDA nothing is replayed
    monkeypatch.setattr(backends, "unheard", lambda prior, backend, device: listener(prior))
    with pytest.raises(ValueError, match="backend='cuda_graph' is not possible here: there is a hook on transformer"):
        window()


def test_int8_and_adapters_are_no_reason_to_be_silent(tiny_prior):
    """torchao puts its own functions on modules, but none that a call runs."""
    quantization = pytest.importorskip("torchao.quantization", reason='needs pip install "jukebox_hf[quant]"')
    prior = tiny_prior("bare")
    quantization.quantize_(prior.transformer.layers, quantization.Int8WeightOnlyConfig())
    assert cpp_step.misfit(prior, prior.new_cache(1), _FLOATS) is None
    assert triton_step.misfit(prior, prior.new_cache(1), _FLOATS) is None


@pytest.mark.parametrize("flavour", ["encoder", "upsampler", "labelled"])
def test_hooks_on_what_conditions_a_window_act_and_leave_steps_compiled(tiny_prior, flavour):
    prior = tiny_prior(flavour)
    for part in filter(None, (prior.labels, prior.timing, prior.upper, prior.lyrics)):
        for module in part.modules():
            module.register_forward_hook(_louder)
    assert misfit(prior, prior.new_cache(1), _FLOATS) is None


@pytest.mark.parametrize("part", ["", "upsampler", "upsampler.ups.0", "upsampler.into", "embedding", "norm"])
def test_hooks_on_the_conditioner_act_without_gradients_as_with_them(tiny_prior, inputs_for, part):
    prior = tiny_prior("upsampler")
    upper: UpperConditioner = prior.upper
    codes = inputs_for(prior.config)["upper_codes"]
    upper.get_submodule(part).register_forward_hook(_louder)
    shapes = []
    upper.get_submodule(part).register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    wanted = upper(codes)
    with torch.no_grad():
        torch.testing.assert_close(upper(codes), wanted, atol=1e-5, rtol=1e-5)
    assert len(shapes) == 2
    assert shapes[0] == shapes[1]
