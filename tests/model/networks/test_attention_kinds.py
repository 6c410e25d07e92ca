"""All attention kinds on the grid: what a cache must hold, and that reading in pieces equals reading at once."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jukebox_hf import JukeboxPrior, prior_preset
from jukebox_hf.model.networks.attention import LayerSettings
from jukebox_hf.model.networks.attention_kinds import ATTENTION_KINDS, Grid
from jukebox_hf.model.networks.transformer import JukeboxTransformer, TransformerSettings

WIDTH, HEADS = 12, 2
GRID = Grid(rows=5, columns=6, prefix=10, tail=2, cross=7)


@pytest.mark.parametrize(
    ("kind", "slots"),
    [
        ("row", 6),
        ("previous_row", 12),
        ("column", 30),
        ("dense", 30),
        ("row_ends", 4 + 1),
        ("row_tails", 2 * 4 + 2),
        ("lyrics_prefix", 10),
        ("lyrics_cross", 7),
    ],
)
def test_a_cache_holds_as_many_slots_as_its_kind_can_ever_read(kind, slots):
    assert ATTENTION_KINDS[kind](GRID).slots == slots


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_a_step_reads_only_slots_that_exist_and_writes_one_of_them(kind):
    kind = ATTENTION_KINDS[kind](GRID)
    for position in range(30):
        address = kind.address(torch.tensor(position))
        assert 0 <= int(address.write_slot) < kind.slots
        assert 0 <= int(address.read_slots.min()) <= int(address.read_slots.max()) < kind.slots
        assert address.is_visible.shape == (1, len(address.read_slots))
        assert address.is_visible.any(), "a softmax over nothing is not a number"


@pytest.mark.parametrize("kind", sorted(set(ATTENTION_KINDS) - {"lyrics_cross"}))
def test_no_kind_gives_one_slot_to_two_positions_that_a_later_one_reads(kind):
    kind = ATTENTION_KINDS[kind](GRID)
    held = {}
    for position in range(30):
        address = kind.address(torch.tensor(position))
        if bool(address.is_kept):
            held[int(address.write_slot)] = position
        visible = address.read_slots[address.is_visible[0]].tolist()
        for slot in visible:
            assert held.get(slot, -1) in _readable(kind, position) | {-1}
        read = {held[slot] for slot in visible if slot in held}
        assert read == _readable(kind, position)


def _readable(kind, position):
    """The sentences of the grid, one by one."""
    row, column = divmod(position, 6)
    return {
        "Dense": set(range(position + 1)),
        "Row": {6 * row + j for j in range(column + 1)},
        "PreviousRow": {6 * (row - 1) + j for j in range(6)} if row else set(),
        "Column": {6 * i + column for i in range(row + 1)},
        "RowEnds": {6 * i + 5 for i in range(4) if 6 * i + 5 <= position},
        "RowTails": {6 * i + j for i in range(4) for j in (4, 5) if 6 * i + j <= position},
        "LyricsPrefix": set(range(min(position + 1, 10))),
    }[type(kind).__name__]


def test_caches_of_the_1b_lyrics_prior_hold_about_a_third_of_a_uniform_cache():
    config = prior_preset("prior_1b_lyrics")
    with torch.device("meta"):
        cache = JukeboxPrior(config).new_cache(1)
    held = sum(layer.shape[2] for layer in cache.layers)
    uniform = config.num_hidden_layers * config.sequence_length
    assert held == 22 * 102 + 23 * 204 + 23 * 6528 + 3 * 448 + 6528
    assert held / uniform == pytest.approx(0.351, abs=0.001)
    assert cache.num_bytes == held * 2 * 512 * 4


def _transformer(kinds, grid):
    layer = LayerSettings(
        width=WIDTH, attention_size=8, mlp_size=10, num_heads=HEADS, states_width=WIDTH if grid.cross else 0
    )
    model = JukeboxTransformer(TransformerSettings(vocab_size=9, grid=grid, kinds=kinds, layer=layer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.4 if parameter.dim() > 1 else 1.0))
    return model.eval()


@torch.no_grad()
def _in_pieces(model, inputs, states, cuts, first_step):
    """Read runs between `cuts` in parallel, and everything from `first_step` on one by one."""
    cache = model.new_cache(inputs.shape[0])
    edges = sorted({0, *(cut for cut in cuts if cut < first_step), first_step})
    pieces = []
    for start, stop in pairwise(edges):
        pieces.append(model(inputs[:, start:stop], states, start, cache))
        cache.position.fill_(stop)
    pieces += [model.step(inputs[:, i : i + 1], cache) for i in range(first_step, inputs.shape[1])]
    return torch.cat(pieces, dim=1)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(ATTENTION_KINDS)),
    rows=st.integers(1, 5),
    columns=st.integers(1, 6),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_reading_in_any_pieces_and_steps_equals_reading_at_once(kind, rows, columns, seed, data):
    torch.manual_seed(seed)
    length = rows * columns
    grid = Grid(
        rows, columns, prefix=data.draw(st.integers(1, length)), tail=data.draw(st.integers(1, columns)), cross=3
    )
    model = _transformer((kind, kind), grid)
    inputs, states = torch.randn(2, length, WIDTH), torch.randn(2, 3, WIDTH)
    cuts = data.draw(st.sets(st.integers(1, length), max_size=6))
    first_step = data.draw(st.integers(1, length))
    with torch.no_grad():
        at_once = model(inputs, states)
    assert (_in_pieces(model, inputs, states, cuts, first_step) - at_once).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_a_shorter_run_equals_the_beginning_of_a_longer_one(kind, assert_same_but_for_rounding):
    model = _transformer((kind, kind), GRID)
    inputs, states = torch.randn(2, 30, WIDTH), torch.randn(2, 7, WIDTH)
    with torch.no_grad():
        whole = model(inputs, states)
        for length in (1, 5, 6, 7, 17, 29):
            assert_same_but_for_rounding(model(inputs[:, :length], states), whole[:, :length], model)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_a_change_is_heard_exactly_where_the_kind_says(kind):
    model = _transformer((kind,), GRID)
    inputs, states = torch.randn(1, 30, WIDTH), torch.randn(1, 7, WIDTH)
    with torch.no_grad():
        before = model(inputs, states)
        for changed in range(30):
            other = inputs.clone()
            other[:, changed] = torch.randn(WIDTH)
            moved = (model(other, states) - before).abs().amax(dim=-1)[0] > 1e-6
            heard = {p for p in range(30) if p == changed or (kind != "lyrics_cross" and changed in _heard(kind, p))}
            assert set(moved.nonzero().flatten().tolist()) == heard


def _heard(kind, position):
    return _readable(ATTENTION_KINDS[kind](GRID), position)


@torch.no_grad()
def test_the_first_row_hears_nothing_from_a_row_above():
    model = _transformer(("previous_row",), GRID)
    attention = model.layers[0].attention
    attention.output.bias.zero_()
    out, _ = attention(torch.randn(2, 30, WIDTH))
    assert (out[:, :6] == 0).all()
    assert (out[:, 6:].abs().amax(dim=-1) > 0).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["row_ends", "row_tails"])
def test_null_keys_take_a_share_of_the_attention(kind):
    model = _transformer((kind,), GRID)
    _, probabilities = model.layers[0].attention(torch.randn(2, 30, WIDTH), with_probabilities=True)
    nulls = ATTENTION_KINDS[kind](GRID).tail
    assert probabilities.shape == (2, HEADS, 30, ATTENTION_KINDS[kind](GRID).slots)
    assert torch.allclose(probabilities[:, :, 0, :nulls].sum(-1), torch.ones(2, HEADS))
    assert (probabilities[:, :, -1, :nulls] > 0).all()


@torch.no_grad()
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_probabilities_of_every_query_sum_to_one(kind):
    model = _transformer((kind,), GRID)
    _, probabilities = model.layers[0].attention(
        torch.randn(2, 30, WIDTH), torch.randn(2, 7, WIDTH), with_probabilities=True
    )
    assert torch.allclose(probabilities.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("kind", sorted(set(ATTENTION_KINDS) - {"lyrics_cross"}))
def test_the_positions_kept_of_a_run_are_those_that_the_kind_keeps(kind):
    kind = ATTENTION_KINDS[kind](GRID)
    for start in range(30):
        for stop in range(start, 31):
            run = torch.arange(start, stop)
            assert torch.equal(kind.kept_positions(start, stop), run[kind.is_kept(run)])


@torch.no_grad()
@pytest.mark.parametrize("kind", ["row", "row_tails"])
def test_a_layer_compiles_into_one_graph(kind):
    """Shapes depend on no data; row_tails is the kind whose kept positions are no plain range."""
    model = _transformer((kind,), GRID)
    attention, hidden = model.layers[0].attention, torch.randn(2, 17, WIDTH)
    compiled = torch.compile(lambda hidden: attention(hidden)[0], fullgraph=True, backend="eager")
    assert torch.equal(compiled(hidden), attention(hidden)[0])
