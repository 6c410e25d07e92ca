"""Triton kernels of one step: five launches a layer, each reading its weights once, for up to 16 songs.

A layer is (1) norm, queries, keys and values, into the cache; (2) attention over a run of slots, in parts; (3) the
parts put together and projected; (4) norm, up, quick GELU; (5) down, and the residual. Weights are bfloat16, float16,
float32, or int8 with a scale per row; sums and activations between kernels are float32. triton_step.py is the only
caller, and JukeboxTransformer.step the plain twin.

Each program of a projection computes ROWS outputs of every song from chunks of CHUNK inputs. Up to 4 songs are
multiplied and summed; more go through the tensor cores, which take the songs in the weights' own type.
"""

from collections.abc import Callable

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:  # then triton_step.py gives the reason, and nothing here is called
    triton = tl = None
    constexpr = object


def _kernel(function: Callable) -> Callable:
    return function if triton is None else triton.jit(function)


@_kernel
def query_kernel(
    hidden, norm_weight, norm_bias, weight, scale, bias, query, cache, runs, position,
    epsilon,
    BATCH: constexpr, SLOTS: constexpr, WIDTH: constexpr, STATE: constexpr, OUTPUTS: constexpr,
    HAS_SCALE: constexpr, SONGS: constexpr, ROWS: constexpr, CHUNK: constexpr,
    WHOLE: constexpr, USE_DOT: constexpr,
):  # fmt: skip
    """query (B, S), and keys and values of the cache's slot, from hidden (B, D). A cross layer has queries alone."""
    songs, rows = tl.arange(0, SONGS), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mean, inverse = _moments(hidden, songs, epsilon, BATCH, WIDTH, WHOLE)
    sums = _normed_products(
        hidden, norm_weight, norm_bias, weight, mean, inverse, songs, rows,
        BATCH, WIDTH, OUTPUTS, SONGS, ROWS, CHUNK, USE_DOT,
    )  # fmt: skip
    sums = _scaled(sums, scale, bias, rows, OUTPUTS, HAS_SCALE)
    is_real = (songs < BATCH)[:, None] & (rows < OUTPUTS)[None, :]
    part, within = rows // STATE, rows % STATE
    tl.store(query + songs[:, None] * STATE + within[None, :], sums, mask=is_real & (part == 0)[None, :])
    if OUTPUTS > STATE:
        run = runs + tl.load(position) * 4
        slot, is_kept = tl.load(run), tl.load(run + 1)
        of_song = ((part - 1)[None, :] * BATCH + songs[:, None]).to(tl.int64) * SLOTS
        to = cache + (of_song + slot) * STATE + within[None, :]
        tl.store(to, sums.to(cache.dtype.element_ty), mask=is_real & (part * is_kept > 0)[None, :])


@_kernel
def attention_kernel(
    query, cache, runs, position, partial, top, total,
    score_scale,
    BATCH: constexpr, SLOTS: constexpr, HEADS: constexpr, SIZE: constexpr, SIZE_PADDED: constexpr,
    PARTS: constexpr, SLOTS_AT_ONCE: constexpr,
):  # fmt: skip
    """One part of a run, of one song and head: sum of weighted values, largest score, sum of weights."""
    head, song, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    run = runs + tl.load(position) * 4
    first, count = tl.load(run + 2), tl.load(run + 3)
    share = (count + PARTS - 1) // PARTS  # so part 0 is never empty
    start, stop = first + part * share, first + tl.minimum((part + 1) * share, count)
    inside = tl.arange(0, SIZE_PADDED)
    is_inside = inside < SIZE
    state = HEADS * SIZE
    q = tl.load(query + song * state + head * SIZE + inside, mask=is_inside, other=0.0) * score_scale
    keys = cache + song.to(tl.int64) * SLOTS * state + head * SIZE
    values = keys + BATCH * SLOTS * state
    largest = -float("inf")
    weights_sum = 0.0
    sums = tl.zeros([SIZE_PADDED], dtype=tl.float32)
    for begin in range(start, stop, SLOTS_AT_ONCE):
        places = begin + tl.arange(0, SLOTS_AT_ONCE)
        at = places[:, None].to(tl.int64) * state + inside[None, :]
        is_read = (places < stop)[:, None] & is_inside[None, :]
        k = tl.load(keys + at, mask=is_read, other=0.0).to(tl.float32)
        v = tl.load(values + at, mask=is_read, other=0.0).to(tl.float32)
        scores = tl.where(places < stop, tl.sum(k * q[None, :], axis=1), -float("inf"))
        new_largest = tl.maximum(largest, tl.max(scores, axis=0))
        weights = tl.exp(scores - new_largest)
        shrink = tl.exp(largest - new_largest)
        weights_sum = weights_sum * shrink + tl.sum(weights, axis=0)
        sums = sums * shrink + tl.sum(weights[:, None] * v, axis=0)
        largest = new_largest
    of_part = part * BATCH + song
    tl.store(partial + of_part * state + head * SIZE + inside, sums, mask=is_inside)
    tl.store(top + of_part * HEADS + head, largest)
    tl.store(total + of_part * HEADS + head, weights_sum)


@_kernel
def output_kernel(
    partial, top, total, weight, scale, bias, hidden, after,
    residual_scale,
    BATCH: constexpr, WIDTH: constexpr, HEADS: constexpr, SIZE: constexpr, PARTS: constexpr,
    HAS_SCALE: constexpr, SONGS: constexpr, ROWS: constexpr, CHUNK: constexpr,
    USE_DOT: constexpr,
):  # fmt: skip
    """after = hidden + a, which the MLP reads; hidden += residual_scale * a. a: attention's parts, projected."""
    songs, rows = tl.arange(0, SONGS), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_song, state = (songs < BATCH)[:, None], HEADS * SIZE
    sums = _no_sums(SONGS, ROWS, CHUNK, USE_DOT)
    for begin in tl.range(0, state, CHUNK, num_stages=1):  # fetching ahead would not fit the shared memory
        columns = begin + tl.arange(0, CHUNK)
        is_read, head = is_song & (columns < state)[None, :], columns // SIZE
        largest = tl.full([SONGS, CHUNK], -float("inf"), dtype=tl.float32)
        weights_sum = tl.zeros([SONGS, CHUNK], dtype=tl.float32)
        attended = tl.zeros([SONGS, CHUNK], dtype=tl.float32)
        for part in tl.range(0, PARTS, num_stages=1):
            of_song = part * BATCH + songs[:, None]
            part_top = tl.load(top + of_song * HEADS + head[None, :], mask=is_read, other=0.0)
            part_total = tl.load(total + of_song * HEADS + head[None, :], mask=is_read, other=1.0)
            part_sums = tl.load(partial + of_song * state + columns[None, :], mask=is_read, other=0.0)
            new_largest = tl.maximum(largest, part_top)
            shrink, share = tl.exp(largest - new_largest), tl.exp(part_top - new_largest)
            weights_sum = weights_sum * shrink + part_total * share
            attended = attended * shrink + part_sums * share
            largest = new_largest
        x = tl.where(is_read, attended / weights_sum, 0.0)
        sums = _add_products(sums, x, weight, rows, columns, WIDTH, state, USE_DOT)
    sums = _scaled(_summed(sums, USE_DOT), scale, bias, rows, WIDTH, HAS_SCALE)
    is_real, at = is_song & (rows < WIDTH)[None, :], songs[:, None] * WIDTH + rows[None, :]
    before = tl.load(hidden + at, mask=is_real, other=0.0)
    tl.store(after + at, before + sums, mask=is_real)
    tl.store(hidden + at, before + residual_scale * sums, mask=is_real)


@_kernel
def up_kernel(
    after, norm_weight, norm_bias, weight, scale, bias, inner,
    epsilon,
    BATCH: constexpr, WIDTH: constexpr, OUTPUTS: constexpr, HAS_SCALE: constexpr,
    SONGS: constexpr, ROWS: constexpr, CHUNK: constexpr, WHOLE: constexpr, USE_DOT: constexpr,
):  # fmt: skip
    """inner (B, M) = quick GELU of the first layer of the MLP over norm(after)."""
    songs, rows = tl.arange(0, SONGS), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    mean, inverse = _moments(after, songs, epsilon, BATCH, WIDTH, WHOLE)
    sums = _normed_products(
        after, norm_weight, norm_bias, weight, mean, inverse, songs, rows,
        BATCH, WIDTH, OUTPUTS, SONGS, ROWS, CHUNK, USE_DOT,
    )  # fmt: skip
    sums = _scaled(sums, scale, bias, rows, OUTPUTS, HAS_SCALE)
    is_real = (songs < BATCH)[:, None] & (rows < OUTPUTS)[None, :]
    tl.store(inner + songs[:, None] * OUTPUTS + rows[None, :], sums / (1.0 + tl.exp(-1.702 * sums)), mask=is_real)


@_kernel
def down_kernel(
    inner, weight, scale, bias, hidden,
    residual_scale,
    BATCH: constexpr, WIDTH: constexpr, INPUTS: constexpr, HAS_SCALE: constexpr,
    SONGS: constexpr, ROWS: constexpr, CHUNK: constexpr, USE_DOT: constexpr,
):  # fmt: skip
    """hidden += residual_scale * (the second layer of the MLP over inner (B, M))."""
    songs, rows = tl.arange(0, SONGS), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    is_song = (songs < BATCH)[:, None]
    sums = _no_sums(SONGS, ROWS, CHUNK, USE_DOT)
    for begin in range(0, INPUTS, CHUNK):
        columns = begin + tl.arange(0, CHUNK)
        is_read = is_song & (columns < INPUTS)[None, :]
        x = tl.load(inner + songs[:, None] * INPUTS + columns[None, :], mask=is_read, other=0.0)
        sums = _add_products(sums, x, weight, rows, columns, WIDTH, INPUTS, USE_DOT)
    sums = _scaled(_summed(sums, USE_DOT), scale, bias, rows, WIDTH, HAS_SCALE)
    is_real, at = is_song & (rows < WIDTH)[None, :], songs[:, None] * WIDTH + rows[None, :]
    before = tl.load(hidden + at, mask=is_real, other=0.0)
    tl.store(hidden + at, before + residual_scale * sums, mask=is_real)


# --- parts of kernels -------------------------------------------------------------------------------------------------


@_kernel
def _moments(x, songs, epsilon, BATCH: constexpr, WIDTH: constexpr, WHOLE: constexpr):
    """Mean and inverse deviation (SONGS,) of x (B, D), WHOLE columns at once: every program needs all of them."""
    is_song = (songs < BATCH)[:, None]
    mean = tl.zeros_like(songs).to(tl.float32)
    variance = tl.zeros_like(songs).to(tl.float32)
    for begin in range(0, WIDTH, WHOLE):
        columns = begin + tl.arange(0, WHOLE)[None, :]
        values = tl.load(x + songs[:, None] * WIDTH + columns, mask=is_song & (columns < WIDTH), other=0.0)
        mean += tl.sum(values, axis=1) / WIDTH
    for begin in range(0, WIDTH, WHOLE):
        columns = begin + tl.arange(0, WHOLE)[None, :]
        is_read = is_song & (columns < WIDTH)
        values = tl.load(x + songs[:, None] * WIDTH + columns, mask=is_read, other=0.0)
        centred = tl.where(is_read, values - mean[:, None], 0.0)
        variance += tl.sum(centred * centred, axis=1)
    return mean, 1.0 / tl.sqrt(variance / WIDTH + epsilon)


@_kernel
def _normed_products(
    x, norm_weight, norm_bias, weight, mean, inverse, songs, rows,
    BATCH: constexpr, WIDTH: constexpr, OUTPUTS: constexpr, SONGS: constexpr, ROWS: constexpr,
    CHUNK: constexpr, USE_DOT: constexpr,
):  # fmt: skip
    """(SONGS, ROWS): rows of weights times norm(x)."""
    sums = _no_sums(SONGS, ROWS, CHUNK, USE_DOT)
    for begin in range(0, WIDTH, CHUNK):
        columns = begin + tl.arange(0, CHUNK)
        is_column = columns < WIDTH
        is_read = (songs < BATCH)[:, None] & is_column[None, :]
        values = tl.load(x + songs[:, None] * WIDTH + columns[None, :], mask=is_read, other=0.0)
        gain = tl.load(norm_weight + columns, mask=is_column, other=0.0).to(tl.float32)
        shift = tl.load(norm_bias + columns, mask=is_column, other=0.0).to(tl.float32)
        normed = (values - mean[:, None]) * inverse[:, None] * gain[None, :] + shift[None, :]
        sums = _add_products(sums, normed, weight, rows, columns, OUTPUTS, WIDTH, USE_DOT)
    return _summed(sums, USE_DOT)


@_kernel
def _no_sums(SONGS: constexpr, ROWS: constexpr, CHUNK: constexpr, USE_DOT: constexpr):
    """Zeros to add to: sums where dot products are made, else a product per column, to be summed once at the end."""
    return tl.zeros([SONGS, ROWS] if USE_DOT else [SONGS, ROWS, CHUNK], dtype=tl.float32)


@_kernel
def _add_products(sums, x, weight, rows, columns, OUTPUTS: constexpr, INPUTS: constexpr, USE_DOT: constexpr):
    """Add a chunk: x (SONGS, CHUNK) times weight (ROWS, CHUNK)."""
    is_read = (rows < OUTPUTS)[:, None] & (columns < INPUTS)[None, :]
    w = tl.load(weight + rows[:, None].to(tl.int64) * INPUTS + columns[None, :], mask=is_read, other=0)
    if USE_DOT:
        if w.dtype == tl.int8:
            w = w.to(tl.bfloat16)
        sums = tl.dot(x.to(w.dtype), tl.trans(w), sums, input_precision="ieee")
    else:
        sums += x[:, None, :] * w.to(tl.float32)[None, :, :]
    return sums


@_kernel
def _summed(sums, USE_DOT: constexpr):
    if not USE_DOT:
        sums = tl.sum(sums, axis=2)
    return sums


@_kernel
def _scaled(sums, scale, bias, rows, OUTPUTS: constexpr, HAS_SCALE: constexpr):
    """Undo the quantisation of each row, and add its bias."""
    if HAS_SCALE:
        sums = sums * tl.load(scale + rows, mask=rows < OUTPUTS, other=0.0).to(tl.float32)[None, :]
    return sums + tl.load(bias + rows, mask=rows < OUTPUTS, other=0.0).to(tl.float32)[None, :]
