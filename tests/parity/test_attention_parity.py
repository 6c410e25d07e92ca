"""Every attention kind gives the original's outputs and equals the mask oracle; so do stacks in all thirteen orders."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from jukebox_hf.conversion.openai_checkpoint import read_checkpoint
from jukebox_hf.conversion.openai_keys import KeyPair, openai_attention_keys, to_ours
from jukebox_hf.model.configuration.attention_patterns import attention_kinds_of_order
from jukebox_hf.model.configuration.configuration_jukebox import prefix_span
from jukebox_hf.model.networks.attention import JukeboxAttention, LayerSettings
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS, Grid
from jukebox_hf.model.networks.lyric_conditioning import bits
from jukebox_hf.model.networks.transformer import JukeboxTransformer, TransformerSettings

REFERENCE = Path(__file__).parents[1] / "reference" / "openai"
FUNCTIONS = (  # the original's numbers 0 to 7 in words
    "dense",
    "row",
    "column",
    "previous_row",
    "row_ends",
    "row_tails",
    "lyrics_cross",
    "lyrics_prefix",
)
WIDTH, HEADS = 16, 2


class Shape(NamedTuple):
    """Sizes of a grid; `lyrics` is how many characters stand in front, before their prefix is rounded up."""

    rows: int
    columns: int
    lyrics: int
    tail: int
    states: int

    @property
    def grid(self):
        return Grid(self.rows, self.columns, prefix_span(self.lyrics, self.rows), self.tail, self.states)

    @property
    def length(self):
        return self.rows * self.columns


RECORDED = Shape(rows=4, columns=6, lyrics=10, tail=2, states=10)
OTHERS = [
    Shape(rows=3, columns=5, lyrics=7, tail=3, states=4),
    Shape(rows=5, columns=4, lyrics=5, tail=4, states=1),  # tails as long as the rows, lyrics that fill rows evenly
    Shape(rows=2, columns=9, lyrics=1, tail=1, states=12),
    Shape(rows=6, columns=1, lyrics=3, tail=1, states=3),
    Shape(rows=1, columns=7, lyrics=2, tail=2, states=3),
]

each_function = pytest.mark.parametrize("function", range(8))
each_kind = pytest.mark.parametrize("kind", FUNCTIONS)
each_order = pytest.mark.parametrize("order", range(13))


# --- one layer, as recorded ---


def recorded_layer(recording, function):
    """The original's layer with its recorded parameters."""
    kind = FUNCTIONS[function]
    layer = JukeboxAttention(ATTENTION_KINDS[kind](RECORDED.grid), layer_settings(attention_size=8))
    state = {name: recording.given(name) for name in recording.names("param.*")}
    pairs = [
        pair._replace(ours=pair.ours.removeprefix("layer.")) for pair in openai_attention_keys("param", "layer", kind)
    ]
    layer.load_state_dict(to_ours(state, pairs))
    return layer


def layer_settings(**changes):
    return LayerSettings(
        **{"width": WIDTH, "attention_size": 8, "mlp_size": WIDTH, "num_heads": HEADS, "states_width": WIDTH} | changes
    )


def depends_on(out, source):
    """Which positions of `source` (B, T', D) each position of `out` (B, T, D) depends on, by gradient: (T, T')."""
    gradients = [torch.autograd.grad(out[:, i].sum(), source, retain_graph=True)[0] for i in range(out.shape[1])]
    return torch.stack([gradient.abs().sum(dim=(0, 2)) > 0 for gradient in gradients])


@each_function
@pytest.mark.compares("attention/func_{function}", "out", "attn_probs", given=("x", "encoder_kv", "param.*"))
@torch.no_grad()
def test_one_layer_gives_the_originals_output_and_probabilities(function, recording):
    layer, hidden, states = recorded_layer(recording, function), recording.given("x"), recording.given("encoder_kv")
    out, _ = layer(hidden, states)
    recording.compare("out", out, "layer")
    out, probabilities = layer(hidden, states, with_probabilities=True)  # another path through the layer
    torch.testing.assert_close(out, layer(hidden, states)[0], atol=1e-5, rtol=1e-5)
    if FUNCTIONS[function] == "lyrics_prefix":  # recorded: from codes to characters only
        probabilities = probabilities[:, :, RECORDED.lyrics :, : RECORDED.lyrics]
    recording.compare("attn_probs", probabilities, "layer_attention")


@each_function
@pytest.mark.compares(
    "attention/func_{function}",
    "connectivity",
    "connectivity_encoder",
    given=("x", "encoder_kv", "param.*"),
)
def test_one_layer_depends_on_what_the_original_and_the_oracle_say(function, recording, mask_oracle):
    layer, kind = recorded_layer(recording, function), FUNCTIONS[function]
    hidden, states = recording.given("x").requires_grad_(), recording.given("encoder_kv")
    if states is not None:
        states.requires_grad_()
    out, _ = layer(hidden, states)
    on_positions = depends_on(out, hidden)
    recording.compare("connectivity", on_positions.to(torch.uint8), "connectivity")
    by_oracle, null_keys = mask_oracle.positions_read(kind, *RECORDED)
    if kind == "lyrics_cross":
        on_states = depends_on(out, states)
        recording.compare("connectivity_encoder", on_states.to(torch.uint8), "connectivity")
        assert torch.equal(on_states, by_oracle)
    else:
        assert torch.equal(on_positions, mask_oracle.dependencies(by_oracle, null_keys))


# --- one layer against the oracle, and its cache against itself ---


def random_layer(kind, shape):
    """A layer with random weights, and inputs and states for two songs."""
    torch.manual_seed(20 * FUNCTIONS.index(kind) + shape.length)
    layer = JukeboxAttention(ATTENTION_KINDS[kind](shape.grid), layer_settings())
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer, torch.randn(2, shape.length, WIDTH), torch.randn(2, shape.states, WIDTH)


def new_cache(layer):
    return torch.zeros(2, 2, layer.kind.slots, HEADS, layer.output.in_features // HEADS)


def oracle_output(layer, kind, shape, hidden, states, mask_oracle):
    """The layer's output with the oracle in place of its folds."""
    if kind == "lyrics_cross":
        queries, (keys, values) = layer.query(hidden), layer.key_value(states).chunk(2, dim=-1)
    else:
        queries, keys, values = layer.query_key_value(hidden).chunk(3, dim=-1)
    queries, keys, values = (x.unflatten(-1, (HEADS, -1)) for x in (queries, keys, values))
    return layer.output(
        mask_oracle.attend(queries, keys, values, *mask_oracle.positions_read(kind, *shape)).flatten(-2)
    )


def assert_same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("with_probabilities", [False, True])
@pytest.mark.parametrize("shape", [RECORDED, *OTHERS], ids=str)
@each_kind
@torch.no_grad()
def test_every_kind_equals_the_mask_oracle_on_any_grid(kind, shape, with_probabilities, mask_oracle):
    layer, hidden, states = random_layer(kind, shape)
    ours, _ = layer(hidden, states, with_probabilities=with_probabilities)
    assert_same(ours, oracle_output(layer, kind, shape, hidden, states, mask_oracle))


@pytest.mark.parametrize("shape", [RECORDED, *OTHERS], ids=str)
@each_kind
@torch.no_grad()
def test_single_steps_equal_the_mask_oracle_wherever_they_begin(kind, shape, mask_oracle):
    """The first positions in one parallel pass, the others one by one; the original cannot do it for two kinds."""
    layer, hidden, states = random_layer(kind, shape)
    whole = oracle_output(layer, kind, shape, hidden, states, mask_oracle)
    for first in sorted({1, 2, shape.columns, shape.length // 2 + 1}):
        cache = new_cache(layer)
        pieces = [layer(hidden[:, :first], states, 0, cache)[0]]
        for position in range(first, shape.length):
            address = layer.kind.address(torch.tensor(position))
            pieces.append(layer.step(hidden[:, position : position + 1], address, cache))
        assert_same(torch.cat(pieces, dim=1), whole)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 6, 7, 12, 24])
@each_function
@pytest.mark.compares("attention/func_{function}", "out", given=("x", "encoder_kv", "param.*"))
@torch.no_grad()
def test_a_layer_read_in_chunks_gives_the_originals_output(function, chunk, recording):
    layer, hidden, states = recorded_layer(recording, function), recording.given("x"), recording.given("encoder_kv")
    cache = new_cache(layer)
    pieces = [
        layer(hidden[:, start : start + chunk], states, start, cache)[0] for start in range(0, RECORDED.length, chunk)
    ]
    recording.compare("out", torch.cat(pieces, dim=1), "layer")


@pytest.mark.parametrize("chunk", [2, 3, 4, 7])
@pytest.mark.parametrize("shape", OTHERS, ids=str)
@each_kind
@torch.no_grad()
def test_a_layer_read_in_chunks_equals_the_mask_oracle_on_any_grid(kind, shape, chunk, mask_oracle):
    layer, hidden, states = random_layer(kind, shape)
    cache = new_cache(layer)
    pieces = [
        layer(hidden[:, start : start + chunk], states, start, cache)[0] for start in range(0, shape.length, chunk)
    ]
    assert_same(torch.cat(pieces, dim=1), oracle_output(layer, kind, shape, hidden, states, mask_oracle))


# --- stacks of all orders ---


class Stack(nn.Module):
    """The original's autoregressive transformer: ours, and an output layer that may be tied."""

    def __init__(self, facts):
        super().__init__()
        config = facts["config"]
        self.kinds = attention_kinds_of_order(config["attn_order"], config["depth"])
        settings = layer_settings(
            attention_size=int(config["m_attn"] * WIDTH),
            mlp_size=int(config["m_mlp"] * WIDTH),
            num_heads=config["heads"],
            residual_scale=1 / config["depth"] if config["res_scale"] else 1.0,
        )
        self.transformer = JukeboxTransformer(
            TransformerSettings(config["bins"], RECORDED.grid, self.kinds, settings, has_start_embedding=False)
        )
        self.head = nn.Linear(WIDTH, config["bins"], bias=False)
        self.is_tied = not config["merged_decoder"]
        _, state = read_checkpoint(REFERENCE / facts["checkpoint"])
        self.load_state_dict(to_ours(state, self._keys()))

    def forward(self, tokens, start_embedding, conditioning, states, start=0, stop=24, cache=None):
        """Logits of positions start .. stop-1, and what the output layer reads."""
        here = conditioning.expand(-1, RECORDED.length, -1)[:, start:stop]
        inputs = self.transformer.embed(tokens, start_embedding, start, stop) + here
        hidden = self._conditioned_again(self.transformer(inputs, states, start, cache), here)
        return self.head(hidden), hidden

    def step(self, token, conditioning, cache):
        here = conditioning.index_select(1, cache.position.view(1))
        inputs = self.transformer.embed_step(token, cache.position.clone()) + here
        return self.head(self._conditioned_again(self.transformer.step(inputs, cache), here))

    def _conditioned_again(self, hidden, conditioning):
        return hidden + conditioning if self.is_tied else hidden

    def _keys(self):
        yield KeyPair("x_emb.weight", "transformer.token_embedding.weight")
        yield KeyPair("pos_emb.pos_emb", "transformer.position_embedding.weight")
        yield KeyPair("x_out.weight", "head.weight")
        names = {"ln_0": "attention_norm", "ln_1": "mlp_norm", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down"}
        for index, kind in enumerate(self.kinds):
            theirs, ours = f"transformer._attn_mods.{index}", f"transformer.layers.{index}"
            yield from openai_attention_keys(f"{theirs}.attn", f"{ours}.attention", kind)
            for their_part, our_part in names.items():
                weight, bias = ("w", "b") if "mlp" in their_part else ("weight", "bias")
                yield KeyPair(f"{theirs}.{their_part}.{weight}", f"{ours}.{our_part}.weight", weight == "w")
                yield KeyPair(f"{theirs}.{their_part}.{bias}", f"{ours}.{our_part}.bias")


def continue_greedily(stack, tokens, start_embedding, conditioning, states):
    """Prefill what is known, then take the likeliest token step by step: all tokens, and logits of every position."""
    cache, known = stack.transformer.new_cache(len(tokens)), tokens.shape[1]
    logits = [stack(tokens, start_embedding, conditioning, states, 0, known + 1, cache)[0]]
    cache.position.fill_(known + 1)
    for place in range(known, RECORDED.length):
        tokens = torch.cat([tokens, logits[-1][:, -1:].argmax(dim=-1)], dim=1)
        if place + 1 < RECORDED.length:
            logits.append(stack.step(tokens[:, -1:], conditioning, cache))
    return tokens, torch.cat(logits, dim=1)


@each_order
@pytest.mark.compares("attention/order_{order}")
def test_every_order_stacks_the_originals_kinds(order, recording):
    functions, depth = recording.facts["attn_funcs"], recording.facts["config"]["depth"]
    assert attention_kinds_of_order(order, depth) == tuple(FUNCTIONS[function] for function in functions)


@each_order
@pytest.mark.compares(
    "attention/order_{order}",
    "acts",
    "logits",
    "logits_with_x_cond_length1",
    given=("x", "x_cond", "y_cond", "encoder_kv"),
)
@torch.no_grad()
def test_every_order_gives_the_originals_logits_and_losses(order, recording):
    facts, tokens = recording.facts, recording.given("x")
    start, conditioning, states = (recording.given(name) for name in ("y_cond", "x_cond", "encoder_kv"))
    stack = Stack(facts)
    logits, hidden = stack(tokens, start, conditioning, states)
    recording.compare("logits", logits, "stack")
    recording.compare("acts", hidden, "stack")
    of_one, _ = stack(tokens, start, conditioning[:, :1], states)
    recording.compare("logits_with_x_cond_length1", of_one, "stack")
    lyrics = facts["config"]["prime_len"] or 0
    losses = {"gen_loss": bits(logits[:, lyrics:], tokens[:, lyrics:])}
    if lyrics:
        losses["prime_loss"] = bits(logits[:, :lyrics], tokens[:, :lyrics])
        assert set(losses) < set(facts)
        for name, ours in losses.items():
            recording.compare_number(name, facts[name], ours, "stack_losses")
    recording.compare_number("loss", facts["loss"], bits(logits, tokens), "stack_losses")


@pytest.mark.parametrize("order", [order for order in range(13) if order not in (3, 4, 5)])
@pytest.mark.compares(
    "attention/order_{order}",
    "sample.*",
    "primed.z",
    "primed.logits",
    given=("x_cond", "y_cond", "encoder_kv", "primed.prefix"),
)
@torch.no_grad()
def test_argmax_sampling_of_every_order_gives_the_originals_tokens(order, recording):
    conditions = [recording.given(name) for name in ("y_cond", "x_cond", "encoder_kv")]
    prompts = {"sample": torch.zeros(2, 0, dtype=torch.long), "primed": recording.given("primed.prefix")}
    stack = Stack(recording.facts)
    for case, prompt in prompts.items():
        tokens, logits = continue_greedily(stack, prompt, *conditions)
        recording.compare(f"{case}.z", tokens, "stack_sampled")
        recording.compare(f"{case}.logits", logits, "stack_sampling_logits")


@pytest.mark.parametrize("known", [0, 1, 11])
@pytest.mark.parametrize("order", [3, 4, 5])
@pytest.mark.compares("attention/order_{order}", given=("x", "x_cond", "y_cond", "encoder_kv"))
@torch.no_grad()
def test_orders_the_original_can_not_sample_step_as_they_run(order, known, recording):
    assert "NotImplementedError" in recording.facts["sampling_error"]
    conditions = [recording.given(name) for name in ("y_cond", "x_cond", "encoder_kv")]
    stack = Stack(recording.facts)
    tokens, stepped = continue_greedily(stack, recording.given("x")[:, :known], *conditions)
    logits, _ = stack(tokens, *conditions)
    assert_same(stepped, logits)
