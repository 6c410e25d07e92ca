"""Codes written without Python between them are those drawn one at a time, whoever listens."""

import ctypes
import re

import pytest
import torch

from jukebox_hf import SamplingSettings, sample_window
from jukebox_hf.model.networks.transformer import JukeboxTransformer
from jukebox_hf.model.sampling import cpp_window, window_decoder
from jukebox_hf.model.sampling.cpp_library import native_library
from jukebox_hf.model.sampling.cpp_source import source_files
from jukebox_hf.model.sampling.window_decoder import WindowDecoder
from jukebox_hf.model.sampling.window_requests import DecodeOptions

pytestmark = pytest.mark.skipif(native_library() is None, reason="native steps are not here")

GREEDY, BOLD, BOLDER = SamplingSettings(temperature=0), SamplingSettings(temperature=5.0), SamplingSettings(30.0)


def _start(prior, inputs, known=2):
    conditioning = prior.condition(**{name: value for name, value in inputs.items() if name != "codes"})
    return prior.sequence(inputs["codes"][:, :known], inputs.get("lyric_ids")), conditioning


@pytest.fixture
def written(monkeypatch):
    """How many codes were written natively, and how many were left to be drawn by torch, so far."""
    counts, write = {"written": 0, "left": 0}, cpp_window.CodeWriter.write

    def counted(self, first, last):
        count, is_undrawn = write(self, first, last)
        counts["written"] += count
        counts["left"] += is_undrawn
        return count, is_undrawn

    monkeypatch.setattr(cpp_window.CodeWriter, "write", counted)
    return counts


@pytest.fixture
def both_ways(monkeypatch):
    """Codes of a window, written natively and one at a time: (prior, tokens, conditioning, settings, ...)."""

    def ways(prior, start, settings, **more):
        found = sample_window(prior, *start, 24, settings, backend="cpp", **more).codes
        with monkeypatch.context() as plain:
            plain.setattr(window_decoder, "writer_of", lambda *_: None)
            return found, sample_window(prior, *start, 24, settings, backend="cpp", **more).codes

    return ways


@pytest.mark.parametrize("settings", [GREEDY, SamplingSettings(1.0), BOLD, BOLDER], ids=lambda one: one.temperature)
@pytest.mark.parametrize("batch", [1, 3])
def test_they_are_the_codes_drawn_one_at_a_time(flavour, settings, batch, tiny_prior, inputs_for, both_ways, written):
    prior = tiny_prior(flavour)
    start = _start(prior, inputs_for(prior.config, batch=batch))
    for seed in range(5):
        uniforms = torch.rand(batch, 24, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found, wanted = both_ways(prior, start, settings, uniforms=uniforms)
        assert torch.equal(found, wanted), seed
    assert written["written"] > 50, "few codes were written natively"


def test_in_bfloat16_embeddings_are_rounded_as_torch_rounds_them(flavour, tiny_prior, inputs_for, both_ways, written):
    prior = tiny_prior(flavour).to(torch.bfloat16)
    start = _start(prior, inputs_for(prior.config))
    uniforms = torch.rand(2, 24, dtype=torch.float64)
    found, wanted = both_ways(prior, start, BOLD, uniforms=uniforms)
    assert torch.equal(found, wanted)
    assert written["written"] > 10


def test_characters_are_drawn_where_they_may_be(tiny_prior, inputs_for, both_ways, written):
    prior = tiny_prior("prefix", tie_word_embeddings=False)
    with torch.no_grad():
        prior.lm_head.weight[:11] *= 20
    start, uniforms = _start(prior, inputs_for(prior.config)), torch.rand(2, 24, dtype=torch.float64)
    free, wanted = both_ways(prior, start, BOLD, uniforms=uniforms, may_draw_lyrics=True)
    assert torch.equal(free, wanted)
    assert (free == 0).float().mean() > 0.3
    assert torch.equal(*both_ways(prior, start, BOLD, uniforms=uniforms))
    assert written["written"] > 20


def test_a_uniform_that_rounding_could_put_elsewhere_is_left_to_torch(tiny_prior, inputs_for, both_ways, written):
    """Uniforms on the steps of torch's own distribution function, a last bit more and a last bit less."""
    prior = tiny_prior("labelled")
    start, uniforms = _start(prior, inputs_for(prior.config)), torch.rand(2, 24, dtype=torch.float64)
    logits = sample_window(prior, *start, 24, BOLD, uniforms=uniforms, keep_logits=True, backend="cpp").logits
    steps = (logits[:, 3] / BOLD.temperature).softmax(dim=-1).double().cumsum(dim=-1)
    for place in range(0, steps.shape[-1] - 1, 5):
        for nudge in (-1e-9, 0.0, 1e-9):
            uniforms[:, 3] = (steps[:, place] + nudge).clamp(0, 1 - 1e-12)
            before = written["left"]
            found, wanted = both_ways(prior, start, BOLD, uniforms=uniforms)
            assert torch.equal(found, wanted), (place, nudge)
            assert written["left"] > before, "a step of the distribution function was decided natively"


def test_the_likeliest_of_equals_is_torchs(tiny_prior, inputs_for, both_ways, written):
    prior = tiny_prior("bare", tie_word_embeddings=False)
    with torch.no_grad():
        prior.lm_head.weight.copy_(prior.lm_head.weight[:1].expand_as(prior.lm_head.weight))
    assert torch.equal(*both_ways(prior, _start(prior, inputs_for(prior.config)), GREEDY))
    assert written["written"] == 0
    assert written["left"] > 10


def test_logits_that_are_not_finite_are_told_where_they_are(tiny_prior, inputs_for):
    prior = tiny_prior("labelled", tie_word_embeddings=False)
    start = _start(prior, inputs_for(prior.config))
    codes = sample_window(prior, *start, 24, GREEDY, backend="cpp").codes
    with torch.no_grad():
        prior.transformer.position_embedding.weight[17] = float("nan")
    with pytest.raises(FloatingPointError, match="the logits are not finite") as refused:
        sample_window(prior, *start, 24, GREEDY, backend="cpp")
    assert refused.value.args[1:3] == (0, 17)
    assert codes.shape == (2, 24)


@pytest.mark.parametrize("at", [3, 9, 23])
def test_a_hook_that_comes_in_the_midst_hears_every_code_from_there(at, tiny_prior, inputs_for):
    prior, heard, watched = tiny_prior("labelled"), [], []
    start, uniforms = _start(prior, inputs_for(prior.config)), torch.rand(2, 24)
    wanted = sample_window(prior, *start, 24, BOLD, uniforms=uniforms).codes

    def watch(position):
        watched.append(position)
        if position == at:
            prior.lm_head.register_forward_hook(lambda *_: heard.append(position))

    found = sample_window(prior, *start, 24, BOLD, uniforms=uniforms, watch=watch).codes
    assert watched == list(range(2, 24)), "each code is told once"
    assert len(heard) == 24 - at
    assert torch.equal(found, wanted)


def test_whoever_is_asked_for_every_code_is_asked(tiny_prior, inputs_for, written):
    prior = tiny_prior("labelled")
    start, uniforms, asked = _start(prior, inputs_for(prior.config)), torch.rand(2, 24), []
    told = {"uniforms": uniforms, "backend": "cpp"}
    sample_window(prior, *start, 24, BOLD, **told, hook=lambda logits, place: asked.append(place) or logits)
    assert asked == list(range(2, 24))
    kept = sample_window(prior, *start, 24, BOLD, **told, keep_logits=True).logits
    assert kept.shape[1] == prior.config.sequence_length
    sample_window(prior, *start, 24, SamplingSettings(5.0, top_k=3), **told)
    sample_window(prior, *start, 24, BOLD, **told, jacobi=4)
    assert written["written"] == 0


def test_replaced_embeddings_are_asked_themselves(tiny_prior, inputs_for, written):
    class Louder(torch.nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    prior = tiny_prior("labelled", tie_word_embeddings=False)
    start, old = _start(prior, inputs_for(prior.config)), prior.transformer.position_embedding
    quiet = sample_window(prior, *start, 24, GREEDY, backend="cpp", keep_logits=True).logits
    prior.transformer.position_embedding = Louder(old.num_embeddings, old.embedding_dim, _weight=old.weight)
    loud = sample_window(prior, *start, 24, GREEDY, backend="cpp").codes
    eager = sample_window(prior, *start, 24, GREEDY, backend="eager", keep_logits=True)
    assert written["written"] == 0
    assert torch.equal(loud, eager.codes)
    assert not torch.allclose(eager.logits, quiet)


@pytest.mark.parametrize("cls", [JukeboxTransformer, torch.nn.Embedding])
def test_classes_whose_embedding_was_patched_are_asked(cls, tiny_prior, inputs_for, written, monkeypatch):
    prior = tiny_prior("labelled", tie_word_embeddings=False)
    start, name = _start(prior, inputs_for(prior.config)), "embed_step" if cls is JukeboxTransformer else "forward"
    own = getattr(cls, name)
    monkeypatch.setattr(cls, name, lambda self, *given: -3 * own(self, *given))
    eager, found = (sample_window(prior, *start, 24, GREEDY, backend=way).codes for way in ("eager", "auto"))
    assert torch.equal(found, eager)
    assert written["written"] == 0


def test_a_window_that_is_written_in_parts_is_the_one_written_at_once(flavour, tiny_prior, inputs_for):
    prior = tiny_prior(flavour)
    start, uniforms = _start(prior, inputs_for(prior.config)), torch.rand(2, 24)
    wanted = sample_window(prior, *start, 24, BOLD, uniforms=uniforms).codes
    decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(BOLD))
    decoder.prefill(*start, 24, uniforms)
    parts = [decoder.decode_until(stop) for stop in (2, 3, 4, 11, 24)]
    assert all(torch.equal(part, wanted[:, : part.shape[1]]) for part in parts)


def test_weights_that_are_replaced_between_two_parts_are_used(tiny_prior, inputs_for, written):
    prior, other = tiny_prior("labelled"), tiny_prior("labelled")
    start = _start(prior, inputs_for(prior.config))
    for one in (prior, other):
        decoder = WindowDecoder(one, one.new_cache(2), DecodeOptions(GREEDY, "cpp"))
        decoder.prefill(*start, 24)
        decoder.decode_until(9)
        weight = one.transformer.position_embedding.weight
        with torch.no_grad():
            louder = 3 * weight
        if one is prior:
            one.transformer.position_embedding.weight = torch.nn.Parameter(louder)
        else:
            weight.data.copy_(louder)
        one.codes_after = decoder.decode_until(24)
    assert torch.equal(prior.codes_after, other.codes_after)
    assert written["written"] > 30


def test_places_that_a_window_does_not_have_never_reach_c(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    start = _start(prior, inputs_for(prior.config))
    decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(GREEDY, "cpp"))
    decoder.prefill(*start, 24)
    for first, last in ((0, 4), (5, 4), (3, 25)):
        with pytest.raises(ValueError, match=f"codes {first} to {last} are none of the 24 places"):
            decoder._writer.write(first, last)
    decoder._buffers.tokens[0, 4] = 10**6  # what nobody draws
    assert decoder._writer.write(5, 8) == (0, False)


def test_as_many_are_written_at_once_as_take_a_moment(tiny_prior, inputs_for, monkeypatch):
    prior = tiny_prior("labelled")
    decoder = WindowDecoder(prior, prior.new_cache(2), DecodeOptions(GREEDY, "cpp"))
    decoder.prefill(*_start(prior, inputs_for(prior.config)), 24)
    assert decoder._writer.at_once == 1
    for seconds, codes in ((1.0, 1), (0.01, 3), (1e-6, cpp_window.MOST_CODES_AT_ONCE)):
        now = iter((0.0, seconds))
        monkeypatch.setattr(cpp_window.time, "perf_counter", lambda now=now: next(now))
        decoder._writer.write(3, 4)
        assert decoder._writer.at_once == codes


def test_the_window_of_c_is_the_window_of_python():
    """The same fields in the same order and of the same sizes."""
    text = re.sub(r"/\*.*?\*/", "", source_files()["cpp_window.c"], flags=re.DOTALL)
    (fields,) = re.findall(r"typedef struct \{([^}]*)\} Window;", text)
    declared = []
    for line in filter(None, map(str.strip, fields.split(";"))):
        names = line.split(",")
        first = names[0].rsplit(" ", 1)
        for name in (first[1], *map(str.strip, names[1:])):
            kind = ctypes.c_void_p if name.startswith("*") else {"int64_t": ctypes.c_int64, "float": ctypes.c_float}
            declared.append((name.lstrip("*"), kind if name.startswith("*") else kind[first[0]]))
    assert declared == cpp_window._CWindow._fields_
