"""At the door: every input that cannot be read is refused in one sentence with a cure."""

import re

import numpy as np
import pytest
import torch

from jukebox_hf.model.networks.prior_inputs import chosen_layers


def _refused(call, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as refusal:
        call()
    message = str(refusal.value)
    assert "\n" not in message
    assert len(message) < 300
    assert re.search(r"; \w+|must be |, but |pass it|the spectral", message), f"no cure in: {message}"


def _conditions(inputs):
    return {name: value for name, value in inputs.items() if name != "codes"}


@pytest.mark.parametrize("name", ["upper_codes", "artist_ids", "genre_ids", "timing", "lyric_ids"])
@pytest.mark.parametrize("flavour_", ["bare", "prefix", "encoder", "upsampler"])
def test_a_missing_input_and_an_unwanted_one_are_refused_by_name(name, flavour_, tiny_prior, inputs_for):
    prior = tiny_prior(flavour_)
    inputs = inputs_for(prior.config)
    if name in inputs:
        without = {key: value for key, value in inputs.items() if key != name}
        sentence = f"{name} is missing, but this prior was built to need it; pass it"
        _refused(lambda: prior(**without), sentence)
        _refused(lambda: prior.condition(**_conditions(without)), sentence)
    else:
        too_much = {**inputs, name: torch.zeros(2, 1, dtype=torch.long)}
        sentence = f"{name} was given, but this prior cannot use it: it "
        _refused(lambda: prior(**too_much), sentence)
        _refused(lambda: prior.condition(**_conditions(too_much)), sentence)


def test_all_missing_inputs_are_named_at_once(tiny_prior, inputs_for):
    prior = tiny_prior("prefix")
    inputs = inputs_for(prior.config)
    missing = [name for name in ("artist_ids", "genre_ids", "timing", "lyric_ids") if name in inputs]
    sentence = f"{', '.join(missing)} are missing, but this prior was built to need them; pass them"
    _refused(lambda: prior(inputs["codes"]), sentence)


LONG = torch.long
WRONG_INPUTS = [
    ("bare", "codes", torch.zeros(2, 24), "codes must be a tensor of int64 (B, T), not of torch.float32; convert it"),
    (
        "bare",
        "codes",
        torch.zeros(2, 24, dtype=torch.bool),
        "codes must be a tensor of int64 (B, T), not of torch.bool",
    ),
    ("bare", "codes", [[1, 2]], "codes must be a tensor of int64 (B, T), not list; convert it with torch.as_tensor"),
    ("bare", "codes", torch.zeros(24, dtype=LONG), "codes has shape (24,), but must be (B, T); reshape it"),
    ("bare", "codes", torch.zeros(2, 0, dtype=LONG), "codes has 0 codes, but a window of this prior holds 1 to 24"),
    ("bare", "codes", torch.zeros(2, 25, dtype=LONG), "codes has 25 codes, but a window of this prior holds 1 to 24"),
    ("bare", "codes", torch.zeros(0, 24, dtype=LONG), "of different numbers of rows (codes: 0); give each as many"),
    ("bare", "codes", torch.full((2, 24), 24), "codes holds 24, but only 0 to 23 are allowed; use codes of the VQ-VAE"),
    ("bare", "codes", torch.full((2, 24), -1), "codes holds -1, but only 0 to 23 are allowed"),
    (
        "labelled",
        "artist_ids",
        torch.tensor([0, 5]),
        "artist_ids holds 5, but only 0 to 4 are allowed; 0 is the unknown",
    ),
    ("labelled", "artist_ids", torch.tensor([[0], [1]]), "artist_ids has shape (2, 1), but must be (B,); reshape it"),
    (
        "labelled",
        "artist_ids",
        torch.tensor([0]),
        "of different numbers of rows (codes: 2, artist_ids: 1, genre_ids: 2",
    ),
    ("labelled", "genre_ids", torch.tensor([[0], [4]]), "genre_ids holds 4, but only -1 to 3 are allowed; 0 is the"),
    ("labelled", "genre_ids", torch.tensor([[0], [-2]]), "genre_ids holds -2, but only -1 to 3 are allowed"),
    (
        "labelled",
        "genre_ids",
        torch.zeros(2, 3, dtype=LONG),
        "genre_ids has 3 slots a row, but this prior takes 1 to 2",
    ),
    (
        "labelled",
        "genre_ids",
        torch.zeros(2, 0, dtype=LONG),
        "genre_ids has 0 slots a row, but this prior takes 1 to 2",
    ),
    ("labelled", "timing", torch.zeros(2, 3), "timing must be a tensor of int64 (B, 3), not of torch.float32; convert"),
    (
        "labelled",
        "timing",
        torch.ones(2, 2, dtype=LONG),
        "timing has shape (2, 2), but must be (B, 3): song length, off",
    ),
    ("labelled", "timing", torch.tensor([[99, 0, 9]] * 2), "timing[:, 0] (song length, in samples) holds 99"),
    ("labelled", "timing", torch.tensor([[10_000, 0, 9]] * 2), "timing[:, 0] (song length, in samples) holds 10000"),
    ("labelled", "timing", torch.tensor([[500, -1, 9]] * 2), "timing[:, 1] (offset, in samples) holds -1"),
    (
        "labelled",
        "timing",
        torch.tensor([[500, 500, 9]] * 2),
        "timing[:, 1] / timing[:, 0] (position in the song) holds 1.0",
    ),
    ("labelled", "timing", torch.tensor([[500, 9, -1]] * 2), "timing[:, 2] (window length, in samples) holds -1"),
    (
        "prefix",
        "lyric_ids",
        torch.zeros(2, 11, dtype=LONG),
        "lyric_ids has 11 characters, but this prior takes exactly",
    ),
    ("encoder", "lyric_ids", torch.full((2, 12), 11), "lyric_ids holds 11, but only 0 to 10 are allowed; 0 is padding"),
    ("encoder", "lyric_ids", torch.zeros(3, 12, dtype=LONG), "of different numbers of rows (codes: 2, artist_ids: 2"),
    ("encoder", "lyric_ids", "la la la", "lyric_ids must be a tensor of int64 (B, N), not str; give such a tensor"),
    ("upsampler", "upper_codes", torch.zeros(2, 7, dtype=LONG), "upper_codes has 7 codes, but a window takes 1 to 6"),
    ("upsampler", "upper_codes", torch.zeros(2, 0, dtype=LONG), "upper_codes has 0 codes, but a window takes 1 to 6"),
    ("upsampler", "upper_codes", torch.full((2, 6), 24), "upper_codes holds 24, but only 0 to 23 are allowed"),
    (
        "upsampler",
        "upper_codes",
        torch.zeros(2, 5, dtype=LONG),
        "codes has 24 codes, but upper_codes conditions only 20 (4 each); pass more upper_codes or fewer codes",
    ),
]


@pytest.mark.parametrize(("flavour_", "name", "value", "sentence"), WRONG_INPUTS)
def test_a_wrong_input_of_a_prior_is_refused(flavour_, name, value, sentence, tiny_prior, inputs_for):
    prior = tiny_prior(flavour_)
    inputs = inputs_for(prior.config)
    assert prior(**inputs).loss.isfinite(), "right inputs must pass"
    inputs[name] = value
    _refused(lambda: prior(**inputs), sentence)
    is_about_codes = name == "codes" or "codes has" in sentence.replace("upper_codes has", "") or "codes: 2" in sentence
    if not is_about_codes:
        _refused(lambda: prior.condition(**_conditions(inputs)), sentence)
    if name == "codes" and value is not None and "has 0 codes" not in sentence:
        _refused(lambda: prior.sequence(value), sentence)


@pytest.mark.parametrize("return_loss", [False, True])
def test_int32_ids_are_as_good_as_int64(return_loss, tiny_prior, inputs_for):
    prior = tiny_prior("encoder")
    inputs = inputs_for(prior.config)
    narrow = {name: value.int() for name, value in inputs.items()}
    with torch.no_grad():
        expected = prior(**inputs, return_loss=return_loss)
        found = prior(**narrow, return_loss=return_loss)
    assert torch.equal(expected.logits, found.logits)


def test_a_sequence_needs_its_lyrics(tiny_prior):
    prior = tiny_prior("prefix")
    nothing_yet = torch.zeros(2, 0, dtype=LONG)
    _refused(lambda: prior.sequence(nothing_yet), "lyric_ids is missing, but this prior was built to need it; pass it")
    assert prior.sequence(nothing_yet, torch.zeros(2, 12, dtype=LONG)).shape == (2, 12)
    bare = tiny_prior("bare")
    _refused(
        lambda: bare.sequence(nothing_yet, torch.zeros(2, 12, dtype=LONG)),
        "it is not conditioned on lyrics (lyrics='none')",
    )


@pytest.mark.parametrize(
    ("tokens", "start", "stop", "sentence"),
    [
        (
            torch.zeros(2, 5, dtype=LONG),
            0,
            7,
            "start=0, stop=7 must be 0 <= start < stop <= 6, with 5 known tokens in a",
        ),
        (
            torch.zeros(2, 24, dtype=LONG),
            0,
            25,
            "must be 0 <= start < stop <= 24, with 24 known tokens in a sequence of",
        ),
        (torch.zeros(2, 5, dtype=LONG), 4, 4, "start=4, stop=4 must be 0 <= start < stop <= 6"),
        (torch.zeros(2, 5, dtype=LONG), -1, 4, "start=-1, stop=4 must be 0 <= start < stop <= 6"),
        (
            torch.zeros(3, 5, dtype=LONG),
            0,
            None,
            "tokens has 3 rows, but the cache was made for 2; make another cache",
        ),
        (torch.zeros(2, 5), 0, None, "tokens must be a tensor of int64 (B, known), not of torch.float32; convert it"),
        (torch.zeros(5, dtype=LONG), 0, None, "tokens has shape (5,), but must be (B, known); reshape it"),
        (
            torch.full((2, 5), 24),
            0,
            None,
            "tokens holds 24, but only 0 to 23 are allowed; use tokens of `sequence`, or",
        ),
        (torch.full((2, 5), -1), 0, None, "tokens holds -1, but only 0 to 23 are allowed; use tokens of `sequence`"),
        (torch.zeros(2, 5, dtype=LONG), "0", None, "start='0', stop=6 must be 0 <= start < stop <= 6"),
        (torch.zeros(2, 5, dtype=LONG), 0, 3.0, "start=0, stop=3.0 must be 0 <= start < stop <= 6"),
    ],
)
def test_positions_that_can_not_be_run_are_refused(tokens, start, stop, sentence, tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    conditioning = prior.condition(**_conditions(inputs_for(prior.config)))
    cache = prior.new_cache(2)
    _refused(lambda: prior.prefill(tokens, conditioning, cache, start, stop), sentence)


def test_nothing_is_read_without_what_conditions_it(tiny_prior):
    prior = tiny_prior("labelled")
    _refused(
        lambda: prior.prefill(torch.zeros(2, 5, dtype=LONG), None, prior.new_cache(2)),
        "conditioning must be what `condition` gives, not NoneType; call prior.condition with what conditions",
    )


@pytest.mark.parametrize(
    ("heads", "sentence"),
    [
        ({}, "heads names layers [], but must name one or more of those that attend to lyrics: [3]"),
        ({0: [0]}, "heads names layers [0], but must name one or more of those that attend to lyrics: [3]"),
        ({3: [0], 2: [0]}, "heads names layers [3, 2], but must name one or more of those that attend to lyrics: [3]"),
        ({3: [2]}, "heads[3]=[2] must be one or more heads of the layer, from 0 to 1"),
        ({3: [-1]}, "heads[3]=[-1] must be one or more heads of the layer, from 0 to 1"),
        ({3: []}, "heads[3]=[] must be one or more heads of the layer, from 0 to 1"),
    ],
)
def test_heads_that_look_at_no_lyrics_are_refused(heads, sentence, tiny_prior, inputs_for):
    prior = tiny_prior("encoder")
    inputs = inputs_for(prior.config)
    _refused(lambda: prior.lyric_attention(inputs.pop("codes"), heads, **inputs), sentence)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "2", None, True])
def test_a_cache_for_no_songs_is_refused(batch_size, tiny_prior):
    prior = tiny_prior("bare")
    _refused(lambda: prior.new_cache(batch_size), f"batch_size={batch_size!r} must be a positive number of rows")


@pytest.mark.parametrize("wanted", [[3], [-4], ["0"], 2, [1.0], "01", [True]])
@pytest.mark.parametrize("name", ["output_hidden_states", "output_attentions"])
def test_layers_that_do_not_exist_are_refused(wanted, name, tiny_prior, inputs_for):
    prior = tiny_prior("bare", num_hidden_layers=2 if name == "output_hidden_states" else 3)
    inputs = inputs_for(prior.config)
    _refused(
        lambda: prior(**inputs, **{name: wanted}),
        f"{name}={wanted!r} must be True, False or a list of indices from -3 to 2",
    )


def test_layers_are_counted_from_the_end_too():
    assert chosen_layers("layers", [-1, 0], 4) == (3, 0)
    assert chosen_layers("layers", True, 3) == (0, 1, 2)
    assert chosen_layers("layers", False, 3) == chosen_layers("layers", None, 3) == ()


WRONG_AUDIO = [
    (
        torch.zeros(1, 1, 320, dtype=LONG),
        "input_values must be a floating-point tensor (B, 1, S), not a torch.int64 ten",
    ),
    (
        [0.0] * 320,
        "input_values must be a floating-point tensor (B, 1, S), not a list; convert it with torch.as_tensor",
    ),
    (torch.zeros(320), "input_values has shape (320,), but must be (B, 1, S): songs, one channel, samples; reshape or"),
    (torch.zeros(1, 320), "input_values has shape (1, 320), but must be (B, 1, S)"),
    (torch.zeros(1, 2, 320), "input_values has shape (1, 2, 320), but must be (B, 1, S)"),
    (torch.zeros(0, 1, 320), "input_values has shape (0, 1, 320), but must be (B, 1, S)"),
    (
        torch.zeros(1, 1, 0),
        "input_values has 0 samples, but level 2 needs a positive multiple of its hop of 32; pad to 32",
    ),
    (
        torch.zeros(1, 1, 330),
        "input_values has 330 samples, but level 2 needs a positive multiple of its hop of 32; crop",
    ),
]


@pytest.mark.parametrize(("audio", "sentence"), WRONG_AUDIO)
def test_audio_that_can_not_be_encoded_is_refused(audio, sentence, tiny_vqvae):
    model = tiny_vqvae()
    _refused(lambda: model.encode(audio), sentence)
    _refused(lambda: model(audio), sentence)


@pytest.mark.parametrize("there", [1, 4])
def test_layers_that_were_taken_out_or_put_in_are_not_called_a_depth(there, tiny_prior, inputs_for):
    prior = tiny_prior("bare")
    layers = prior.transformer.layers
    prior.transformer.layers = layers[:there] if there < len(layers) else layers.append(layers[0])
    sentence = f"this prior has {there} layers, which are not the 3 of its configuration: some were taken out or put in"
    _refused(lambda: prior(**inputs_for(prior.config)), sentence)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_audio_that_is_not_finite_is_not_encoded(number, tiny_vqvae):
    audio = torch.zeros(2, 1, 320)
    audio[1, 0, 7] = number
    _refused(lambda: tiny_vqvae().encode(audio), "input_values holds numbers that are not finite, which no code stands")


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([], "levels=[] must be a list such as [0, 2], or None for all"),
        (1, "levels=1 must be a list such as [0, 2], or None for all"),
        ([3], "levels=3 is not a level of this model; choose from 0 (finest) to 2 (top)"),
        ([-1], "levels=-1 is not a level of this model; choose from 0 (finest) to 2 (top)"),
        ([True], "levels=True is not a level of this model"),
        ("01", "levels='0' is not a level of this model"),
    ],
)
def test_levels_that_do_not_exist_are_refused(levels, sentence, tiny_vqvae):
    model = tiny_vqvae()
    _refused(lambda: model.encode(torch.zeros(1, 1, 320), levels=levels), sentence)


@pytest.mark.parametrize("chunk_seconds", [0, -1.0, "30", True, float("nan"), float("inf")])
def test_chunks_of_no_length_are_refused(chunk_seconds, tiny_vqvae):
    model, sentence = tiny_vqvae(), f"chunk_seconds={chunk_seconds!r} must be a positive number of seconds, or None"
    _refused(lambda: model.encode(torch.zeros(1, 1, 320), chunk_seconds=chunk_seconds), sentence)
    _refused(lambda: model.decode(torch.zeros(1, 9, dtype=LONG), chunk_seconds=chunk_seconds), sentence)


def test_a_chunk_longer_than_any_recording_is_one_pass(tiny_vqvae):
    model, audio = tiny_vqvae(), torch.randn(1, 1, 320)
    pairs = zip(model.encode(audio, chunk_seconds=1e307).audio_codes, model.encode(audio).audio_codes, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("codes", "level", "sentence"),
    [
        (
            torch.zeros(1, 9),
            0,
            "audio_codes must be a tensor of int64 (B, T), not of torch.float32; convert it with .long",
        ),
        (None, 0, "audio_codes must be a tensor of int64 (B, T), not NoneType; give such a tensor"),
        (
            (torch.zeros(1, 9, dtype=LONG), torch.zeros(1, 3, dtype=LONG)),
            0,
            "audio_codes must be a tensor of int64 (B, T), not tuple; choose one of its tensors, such as the first",
        ),
        (np.zeros((1, 9), dtype=int), 0, "must be a tensor of int64 (B, T), not ndarray; convert it with torch.as_ten"),
        (torch.zeros(9, dtype=LONG), 0, "audio_codes has shape (9,), but must be (B, T); reshape it"),
        (torch.zeros(1, 0, dtype=LONG), 0, "audio_codes has shape (1, 0) and holds no code; give at least one"),
        (torch.full((1, 9), 32), 0, "audio_codes holds 32, but only 0 to 31 are allowed; use codes of the VQ-VAE this"),
        (torch.full((1, 9), -1), 0, "audio_codes holds -1, but only 0 to 31 are allowed"),
        (torch.zeros(1, 9, dtype=LONG), 3, "level=3 is not a level of this model; choose from 0 (finest) to 2 (top)"),
        (torch.zeros(1, 9, dtype=LONG), None, "level=None is not a level of this model"),
        (torch.zeros(1, 9, dtype=LONG), 1.0, "level=1.0 is not a level of this model"),
    ],
)
def test_codes_that_can_not_be_decoded_are_refused(codes, level, sentence, tiny_vqvae):
    model = tiny_vqvae()
    _refused(lambda: model.decode(codes, level=level), sentence)


def test_a_vocabulary_of_codes_and_characters_is_not_resized(tiny_prior):
    prior = tiny_prior("prefix")
    with pytest.raises(ValueError, match="made of codebook_size and, before a lyric prefix, lyric_vocab_size"):
        prior.resize_token_embeddings(50)


@pytest.mark.parametrize(
    ("seconds", "samples", "is_allowed"),
    [
        (600.0, 600 * 44100 - 1, False),  # an odd number over 2**24: float32 rounds it up to the limit
        (600.0, 600 * 44100 - 2, True),
        (600.0, 600 * 44100, False),
        (380.0, 380 * 44100 - 1, True),  # under 2**24, every integer is itself
        (380.0, 380 * 44100, False),
    ],
)
def test_song_lengths_are_compared_as_the_network_will_see_them(seconds, samples, is_allowed, tiny_prior, inputs_for):
    """In float32, as the original: a length that rounds up to the longest song has no bin."""
    prior = tiny_prior("labelled", sampling_rate=44100, max_song_seconds=seconds)
    inputs = inputs_for(prior.config, batch=1)
    inputs["timing"] = torch.tensor([[samples, 0, prior.config.window_samples]])
    if is_allowed:
        assert prior(**inputs).logits.isfinite().all()
    else:
        _refused(lambda: prior(**inputs), f"timing[:, 0] (song length, in samples) holds {seconds * 44100}, but only")
        _refused(
            lambda: prior(**inputs), "to 26459998.0 are allowed" if seconds == 600 else "to 16757999.0 are allowed"
        )


def test_a_window_that_float32_moves_to_the_end_of_its_song_is_refused(tiny_prior, inputs_for):
    prior = tiny_prior("labelled", sampling_rate=44100, max_song_seconds=600.0)
    inputs = inputs_for(prior.config, batch=1)
    total = 500 * 44100  # over 2**24: float32 holds even numbers only
    inputs["timing"] = torch.tensor([[total, total - 1, 0]])
    _refused(lambda: prior(**inputs), "timing[:, 1] / timing[:, 0] (position in the song) holds 1.0")
    inputs["timing"] = torch.tensor([[total, total - 2, 0]])
    assert prior(**inputs).logits.isfinite().all()


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (
            {"artist_weights": torch.ones(2, 1)},
            "artist_ids has shape (2,), but must be (B, A) beside its weights",
        ),
        (
            {"artist_ids": torch.zeros(2, 2, dtype=LONG), "artist_weights": torch.ones(2, 3)},
            "artist_weights must be floating-point numbers, one for each of artist_ids (2, 2), not (2, 3); give such",
        ),
        (
            {"artist_ids": torch.zeros(2, 2, dtype=LONG), "artist_weights": torch.ones(2, 2, dtype=LONG)},
            "artist_weights must be floating-point numbers",
        ),
        (
            {"artist_ids": torch.full((2, 2), 5), "artist_weights": torch.ones(2, 2)},
            "artist_ids holds 5, but only -1 to 4 are allowed",
        ),
        (
            {"genre_ids": torch.zeros(2, 3, dtype=LONG), "genre_weights": torch.full((2, 3), -0.5)},
            "genre_weights holds -0.5, but only 0 to",
        ),
        ({"genre_weights": [0.5]}, "genre_weights must be floating-point numbers"),
    ],
)
def test_mixes_that_do_not_fit_are_refused(inputs, sentence, tiny_prior, inputs_for):
    prior = tiny_prior("labelled")
    _refused(lambda: prior.condition(**{**_conditions(inputs_for(prior.config)), **inputs}), sentence)


def test_weights_of_labels_that_a_prior_has_not_are_refused(tiny_prior):
    _refused(lambda: tiny_prior("bare").condition(artist_weights=torch.ones(1, 1)), "there are no artist_ids to weigh")
