"""Guidance: one batch holds songs as they are and songs that are told less; what is drawn follows their difference."""

import pytest
import torch
import torch.nn.functional as F

from jukebox_hf import SamplingSettings, sample_window
from jukebox_hf.model.networks.conditioning import joined
from jukebox_hf.model.sampling.cpp_library import native_library
from jukebox_hf.model.sampling.sampling_ops import choose, guided

BY_LABELS = SamplingSettings(temperature=3.0, guidance_scale=2.5, guidance_on="labels")
BY_LYRICS = SamplingSettings(temperature=3.0, lyrics_guidance=2.0)
DOUBLE = SamplingSettings(temperature=3.0, guidance_scale=2.5, lyrics_guidance=2.0)


def test_the_formulas_are_those_of_musicgen_and_of_its_double_form():
    c, w, u = torch.randn(3, 2, 5)
    assert torch.equal(guided(torch.cat([c, u]), BY_LABELS), u + 2.5 * (c - u))
    assert torch.equal(guided(torch.cat([c, w]), BY_LYRICS), w + 2.0 * (c - w))
    assert torch.equal(guided(torch.cat([c, w, u]), DOUBLE), u + 2.5 * (w + 2.0 * (c - w) - u))
    assert guided(c, SamplingSettings()) is c


@pytest.mark.parametrize(
    ("settings", "contrasts"),
    [
        (SamplingSettings(), ()),
        (SamplingSettings(guidance_scale=3), (("labels", "lyrics"),)),
        (BY_LABELS, (("labels",),)),
        (SamplingSettings(guidance_scale=3, guidance_on="lyrics"), (("lyrics",),)),
        (BY_LYRICS, (("lyrics",),)),
        (DOUBLE, (("lyrics",), ("labels", "lyrics"))),
    ],
)
def test_every_row_beside_a_songs_own_says_what_it_hides(settings, contrasts):
    assert settings.contrasts == contrasts
    assert settings.rows == 1 + len(contrasts)


def test_guidance_is_by_what_there_is_to_hide():
    both = SamplingSettings(guidance_scale=3)
    assert both.contrasting(True, True) == both
    assert both.contrasting(True, False) == SamplingSettings(guidance_scale=3, guidance_on="labels")
    assert both.contrasting(False, True) == SamplingSettings(guidance_scale=3, guidance_on="lyrics")
    assert both.contrasting(False, False) == SamplingSettings()
    assert DOUBLE.contrasting(True, False) == BY_LABELS
    assert SamplingSettings(guidance_scale=3, guidance_on="lyrics").contrasting(True, False) == SamplingSettings()


@pytest.mark.parametrize("name", ["guidance_scale", "lyrics_guidance"])
@pytest.mark.parametrize("scale", [0, 0.5, -1, float("nan"), float("inf"), 101, "3", True, None])
def test_scales_are_numbers_from_1(name, scale):
    with pytest.raises(ValueError, match=rf"{name}=.* must be 1 \(off\) or a larger number, at most 100; try 2"):
        SamplingSettings(**{name: scale})


def test_what_guides_is_one_of_three_and_the_double_form_needs_both():
    with pytest.raises(ValueError, match="guidance_on='genre' is none of labels, lyrics, both"):
        SamplingSettings(guidance_on="genre")
    with pytest.raises(ValueError, match="guidance_on='lyrics' and lyrics_guidance=2 exclude each other"):
        SamplingSettings(guidance_scale=3, guidance_on="lyrics", lyrics_guidance=2)


def _told(prior, inputs, hidden=()):
    """The inputs of a prior without what is hidden."""
    less = dict(inputs)
    if "labels" in hidden and prior.config.has_labels:
        less["artist_ids"] = torch.zeros_like(inputs["artist_ids"])
        less["genre_ids"] = torch.full_like(inputs["genre_ids"], -1)
        less["genre_ids"][:, 0] = 0
    if "lyrics" in hidden and "lyric_ids" in inputs:
        less["lyric_ids"] = torch.zeros_like(inputs["lyric_ids"])
    return less


@pytest.mark.parametrize("settings", [BY_LABELS, BY_LYRICS, DOUBLE], ids=["labels", "lyrics", "double"])
@pytest.mark.parametrize("kind", ["prefix", "encoder", "upsampler"])
@pytest.mark.parametrize("backend", ["eager", "cpp", "cuda_graph"])
def test_a_guided_window_equals_forwards_of_all_its_rows(settings, kind, backend, tiny_prior, inputs_for):
    if backend == "cpp" and native_library() is None:
        pytest.skip("no C compiler")
    prior = tiny_prior(kind)
    inputs, uniforms, known = inputs_for(prior.config), torch.rand(2, 24), 3
    rows = [_told(prior, inputs, hidden) for hidden in ((), *settings.contrasts)]
    start = [{name: value for name, value in row.items() if name != "codes"} for row in rows]
    tokens = torch.cat([prior.sequence(row["codes"][:, :known], row.get("lyric_ids")) for row in rows])
    conditioning = joined([prior.condition(**row) for row in start])
    codes, logits = sample_window(
        prior, tokens, conditioning, 24, settings, uniforms=uniforms, backend=backend, keep_logits=True
    )
    assert codes.shape == (2, 24)
    assert torch.equal(codes[:, :known], inputs["codes"][:, :known])
    with torch.no_grad():
        plain = guided(torch.cat([prior(**row, codes=codes).logits for row in start]), settings)
    assert logits.shape == plain.shape
    assert (logits - plain).abs().max() < 1e-3
    offset, first = prior.config.code_offset, prior.config.prefix_length
    for place in range(known, 24):
        allowed = F.pad(logits[:, first + place, offset:], (offset, 0), value=float("-inf"))
        drawn = choose(allowed, settings, uniforms[:, place]) - offset
        assert torch.equal(drawn, codes[:, place]), "drawn from the guided logits, by the songs' own uniforms"


def test_hooks_see_guided_logits_one_row_a_song(tiny_prior, inputs_for):
    prior, seen = tiny_prior("labelled"), []
    inputs = inputs_for(prior.config)
    rows = [_told(prior, inputs, hidden) for hidden in ((), *BY_LABELS.contrasts)]
    codes = torch.cat([row.pop("codes")[:, :20] for row in rows])
    _, logits = sample_window(
        prior,
        prior.sequence(codes),
        joined([prior.condition(**row) for row in rows]),
        24,
        BY_LABELS,
        uniforms=torch.rand(2, 24),
        keep_logits=True,
        hook=lambda logits, place: seen.append((place, logits)) or logits,
    )
    assert [place for place, _ in seen] == [20, 21, 22, 23]
    assert all(torch.equal(heard, logits[:, place]) for place, heard in seen)


def test_rows_that_are_no_multiple_of_what_guidance_takes_are_refused(tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    inputs = inputs_for(prior.config, batch=3)
    codes = inputs.pop("codes")[:, :3]
    with pytest.raises(ValueError, match="tokens has 3 rows, but guidance takes 2 of every song"):
        sample_window(prior, codes, prior.condition(**inputs), 24, BY_LABELS, uniforms=torch.rand(1, 24))
