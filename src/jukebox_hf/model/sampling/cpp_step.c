/* One step of a transformer on a CPU: every layer, every song, one position or several. cpp_step.py compiles and calls it.

   A step reads each weight once and does two operations with it, so its time is the time of reading the weights. That
   is what this file is about: rows of weights stream through once, in the type they are stored in, while activations
   stay in float32 and in the cache. Loops are plain C that compilers turn into vector instructions. Threads share rows of
   matrices, and heads and songs of attention (cpp_crew.h): every number is summed by one of them, in one order.

   The plain twin is JukeboxTransformer.step; names are its names. */

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cpp_crew.h"

enum { FLOAT32, BFLOAT16, INT8 };
enum { SONGS_OF_TILE = 4, SUMS_OF_TILE = 24 };        /* at most */
enum { SONGS_OF_PANEL = 16, COLUMNS_OF_PANEL = 512 }; /* their floats fit into the nearest cache */

typedef struct {        /* y = (weight @ x) * scale + bias */
    const void *weight; /* (rows, columns) */
    const float *scale; /* (rows,) of INT8, else NULL */
    const float *bias;  /* (rows,) or NULL */
    int64_t rows, columns, type, is_streamed; /* does it come from memory at every step, as no cache holds them all? */
} Matrix;

typedef struct {
    const float *attention_norm_weight, *attention_norm_bias, *mlp_norm_weight, *mlp_norm_bias; /* (D,) */
    Matrix query, output, up, down; /* query holds keys and values too, but in a cross layer */
    void *cache;                    /* (2, songs, slots, H, E) */
    int64_t slots, kind, is_cross;  /* kind: which of the runs is this layer's */
} Layer;

typedef struct { int64_t write, is_kept, first, count; } Run; /* slots to write and to read, of one kind and row */

typedef struct {
    int64_t num_layers, songs, batch, width, mlp_size, heads, head_size, cache_type, most_slots; /* the longest run */
    float residual_scale, epsilon;
} Sizes;

static inline float from_bfloat16(uint16_t bits) {
    union { uint32_t bits; float value; } both = {(uint32_t)bits << 16};
    return both.value;
}

static inline uint16_t to_bfloat16(float value) {
    union { float value; uint32_t bits; } both = {value};
    if (value != value) return 0x7fc0;
    return (uint16_t)((both.bits + 0x7fff + ((both.bits >> 16) & 1)) >> 16); /* to the nearest, ties to even */
}

/* a * b + c. Where the processor does it at once, the compiler may not take its terms apart and merge constants. */
static inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* 2^(x log2 e) without a call, so that loops over it become vector instructions; relative error under
   1e-7, and under 5e-6 where the compiler merges the two parts of log 2 (half of the last bit of 88 is 3.8e-6). */
static inline float fast_exp(float x) {
    if (x < -87.0f) x = -87.0f;
    if (x > 88.0f) x = 88.0f;
    const float whole = rintf(x * 1.44269504f); /* casts and branches would keep the loop from becoming vectors */
    const float r = multiply_add(whole, 2.12194440e-4f, multiply_add(whole, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    union { uint32_t bits; float value; } power = {(uint32_t)((int32_t)whole + 127) << 23};
    return (p * r * r + r + 1.0f) * power.value;
}

/* Vectors of LANES floats: GCC's and clang's own, which any processor has; where widening halves and bytes to them has
   an instruction, it is named, because compilers do not find it. Rows, for few and for many songs, by SONGS_OF_TILE are
   as many sums as fit into registers. */
#if defined(__AVX512F__) && defined(__AVX512BW__)
enum { LANES = 16, ROWS_FOR_FEW = 4, ROWS_FOR_MANY = 6 };
#define WIDENED_HALVES(FROM) ((Bits)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(FROM))))
#define WIDENED_BYTES(FROM) ((Integers)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(FROM))))
#elif defined(__AVX2__)
enum { LANES = 8, ROWS_FOR_FEW = 3, ROWS_FOR_MANY = 3 };
#define WIDENED_HALVES(FROM) ((Bits)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(FROM))))
#define WIDENED_BYTES(FROM) ((Integers)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(FROM))))
#else
enum { LANES = 8, ROWS_FOR_FEW = 3, ROWS_FOR_MANY = 3 };
#define WIDENED_HALVES(FROM) __builtin_convertvector(LOADED(Halves, FROM), Bits)
#define WIDENED_BYTES(FROM) __builtin_convertvector(LOADED(Bytes, FROM), Integers)
#endif
/* Rows at once of a matrix that comes from memory: as many as fill a line of it, so that few lines are asked for out of
   their order. Caches give more than the additions of so few rows can take. */
#define ROWS_OF_STREAM(SIZE)                                                                                           \
    ((SIZE) * LANES * ROWS_FOR_FEW > LINE ? LINE / ((SIZE) * LANES) : ROWS_FOR_FEW)
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));

#define LOADED(TYPE, FROM)                                                                                             \
    ({                                                                                                                 \
        TYPE loaded;                                                                                                   \
        memcpy(&loaded, FROM, sizeof(TYPE));                                                                           \
        loaded;                                                                                                        \
    })

/* The same for vectors. It is named because compilers, left to choose, round once or twice by the shape of a tile
   (GCC for Zen 2 and 3): a song's sums would then depend on how many others there are. */
static inline __attribute__((always_inline)) Floats multiply_add_all(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
    return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    union { Floats all; float32x4_t half[2]; } x = {a}, y = {b}, sum = {c};
    for (int i = 0; i < 2; i++) sum.half[i] = vfmaq_f32(sum.half[i], x.half[i], y.half[i]);
    return sum.all;
#else
    return a * b + c; /* twice, where there is no such instruction */
#endif
}

/* The sums of four vectors of floats, or of integers. The order within a vector is the same for all. */
#if defined(__AVX512F__) && defined(__AVX512BW__)
#define QUARTERS(TYPE, X, Y, WHICH) ((TYPE)_mm512_shuffle_f32x4((__m512)(X), (__m512)(Y), WHICH))
#define PERMUTED(TYPE, X, WHICH) ((TYPE)_mm512_permute_ps((__m512)(X), WHICH))
#define SUMS_OF_FOUR(NAME, TYPE, NUMBER)                                                                               \
    static inline void NAME(const TYPE *x, NUMBER *sums) {                                                             \
        const TYPE ab = QUARTERS(TYPE, x[0], x[1], 0x44) + QUARTERS(TYPE, x[0], x[1], 0xee);                           \
        const TYPE cd = QUARTERS(TYPE, x[2], x[3], 0x44) + QUARTERS(TYPE, x[2], x[3], 0xee);                           \
        TYPE all = QUARTERS(TYPE, ab, cd, 0x88) + QUARTERS(TYPE, ab, cd, 0xdd);                                        \
        all += PERMUTED(TYPE, all, 0x4e);                                                                              \
        all += PERMUTED(TYPE, all, 0xb1); /* each 128 bits hold one sum, four times */                                 \
        for (int i = 0; i < 4; i++) sums[i] = all[4 * i];                                                              \
    }
#else
#define SUMS_OF_FOUR(NAME, TYPE, NUMBER)                                                                               \
    static inline void NAME(const TYPE *x, NUMBER *sums) {                                                             \
        for (int i = 0; i < 4; i++) {                                                                                  \
            sums[i] = 0;                                                                                               \
            for (int lane = 0; lane < LANES; lane++) sums[i] += x[i][lane];                                            \
        }                                                                                                              \
    }
#endif
SUMS_OF_FOUR(floats_of_four, Floats, float)

#define FLOATS_OF_FLOAT32(FROM) LOADED(Floats, FROM)
#define FLOATS_OF_BFLOAT16(FROM) ((Floats)(WIDENED_HALVES(FROM) << 16))
#define FLOATS_OF_INT8(FROM) __builtin_convertvector(WIDENED_BYTES(FROM), Floats)

typedef struct {        /* a piece of a product: rows and songs by columns, which are a whole number of vectors */
    const void *weight; /* (rows, columns), row_step apart */
    const float *x;     /* (songs, columns), song_step apart */
    int64_t type, row_step, song_step, columns;
    int rows, songs, is_first; /* of the pieces of its sums */
    const char *ahead;         /* fetched from memory meanwhile, `stride` bytes for each step along the columns */
    int64_t stride;
} Tile;

/* sums (R, S) = or += the products of R rows, of which `from` is the first, with S songs, in registers. Loops are
   unrolled by name: compilers else keep a copy of the sums in memory. */
#define EACH(INDEX, COUNT) _Pragma("GCC unroll 8") for (int INDEX = 0; INDEX < COUNT; INDEX++)
#define ADD_PRODUCTS(NAME, TYPE, FLOATS)                                                                               \
    static inline __attribute__((always_inline)) void NAME(const Tile *t, Floats *sums, int from, const int R,         \
                                                           const int S) {                                              \
        const int64_t columns = t->columns, row_step = t->row_step, song_step = t->song_step, stride = t->stride;      \
        const TYPE *weight = (const TYPE *)t->weight + from * row_step;                                                \
        const char *ahead = t->ahead;                                                                                  \
        const float *x = t->x;                                                                                         \
        Floats total[SUMS_OF_TILE / SONGS_OF_TILE][SONGS_OF_TILE] = {0};                                               \
        if (!t->is_first) EACH(r, R) EACH(s, S) total[r][s] = sums[(from + r) * S + s];                                \
        for (int64_t i = 0; i < columns; i += LANES, ahead += stride) {                                                \
            if (((uintptr_t)ahead & 63) < (uintptr_t)stride) /* a line of memory begins here */                        \
                for (int64_t byte = 0; byte < stride; byte += 64) __builtin_prefetch(ahead + byte, 0, 2);              \
            EACH(r, R) {                                                                                               \
                const Floats w = FLOATS(weight + r * row_step + i);                                                    \
                EACH(s, S) total[r][s] = multiply_add_all(w, LOADED(Floats, x + s * song_step + i), total[r][s]);      \
            }                                                                                                          \
        }                                                                                                              \
        EACH(r, R) EACH(s, S) sums[(from + r) * S + s] = total[r][s];                                                  \
    }

ADD_PRODUCTS(add_float32_products, float, FLOATS_OF_FLOAT32)
ADD_PRODUCTS(add_bfloat16_products, uint16_t, FLOATS_OF_BFLOAT16)
ADD_PRODUCTS(add_int8_products, int8_t, FLOATS_OF_INT8)

#define WITH_SONGS(ADD, FROM, ROWS)                                                                                    \
    do {                                                                                                               \
        if (t->songs == 4) ADD(t, sums, FROM, ROWS, 4);                                                                \
        else if (t->songs == 3) ADD(t, sums, FROM, ROWS, 3);                                                           \
        else if (t->songs == 2) ADD(t, sums, FROM, ROWS, 2);                                                           \
        else ADD(t, sums, FROM, ROWS, 1);                                                                              \
    } while (0)
#define WITH_ROWS(ADD, OF_STREAM)                                                                                      \
    do {                                                                                                               \
        if (t->rows == ROWS_FOR_FEW) WITH_SONGS(ADD, 0, ROWS_FOR_FEW);                                                 \
        else if (t->rows == OF_STREAM) WITH_SONGS(ADD, 0, OF_STREAM);                                                  \
        else                                                                                                           \
            for (int row = 0; row < t->rows; row++) WITH_SONGS(ADD, row, 1);                                           \
    } while (0)

static void add_products(const Tile *t, Floats *sums) {
    if (t->type == FLOAT32 && t->rows == ROWS_FOR_MANY) WITH_SONGS(add_float32_products, 0, ROWS_FOR_MANY);
    else if (t->type == FLOAT32) WITH_ROWS(add_float32_products, ROWS_OF_STREAM(4));
    else if (t->type == BFLOAT16) WITH_ROWS(add_bfloat16_products, ROWS_OF_STREAM(2));
    else WITH_ROWS(add_int8_products, ROWS_OF_STREAM(1));
}

static inline int64_t size_of(int64_t type) { return type == FLOAT32 ? 4 : type == BFLOAT16 ? 2 : 1; }

static inline const void *weight_at(const Matrix *m, int64_t row, int64_t column) {
    return (const char *)m->weight + (row * m->columns + column) * size_of(m->type);
}

static inline float number_at(const Matrix *m, int64_t row, int64_t column) {
    const void *at = weight_at(m, row, column);
    if (m->type == FLOAT32) return *(const float *)at;
    return m->type == BFLOAT16 ? from_bfloat16(*(const uint16_t *)at) : (float)*(const int8_t *)at;
}

static inline int at_most(int64_t count, int64_t most) { return (int)(count < most ? count : most); }
static inline int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

/* Rows of weights in float32, `row_step` apart. */
static void widen(const Matrix *m, int64_t row, int rows, int64_t column, int64_t columns, float *wide,
                  int64_t row_step) {
    for (int r = 0; r < rows; r++, wide += row_step) {
        const void *from = weight_at(m, row + r, column);
        for (int64_t i = 0; i < columns; i += LANES)
            *(Floats *)(wide + i) = m->type == BFLOAT16 ? FLOATS_OF_BFLOAT16((const uint16_t *)from + i)
                                                        : FLOATS_OF_INT8((const int8_t *)from + i);
    }
}

/* y of a tile's sums: across their lanes, with the columns behind the last whole vector, scaled, and with the bias. */
static void finish(const Matrix *m, int64_t row, const Tile *t, const float *x, const Floats *sums, float *y) {
    float flat[SUMS_OF_TILE];
    for (int i = 0; i < t->rows * t->songs; i += 4) floats_of_four(sums + i, flat + i);
    for (int r = 0; r < t->rows; r++) {
        const float scale = m->scale ? m->scale[row + r] : 1.0f, bias = m->bias ? m->bias[row + r] : 0.0f;
        for (int s = 0; s < t->songs; s++) {
            float sum = flat[r * t->songs + s];
            for (int64_t i = m->columns / LANES * LANES; i < m->columns; i++)
                sum += number_at(m, row + r, i) * x[s * m->columns + i];
            y[s * m->rows + row + r] = sum * scale + bias;
        }
    }
}

#include "cpp_int8.h"

/* Rows `span` of y (B, rows), of x (B, columns). A few rows of weights at a time are read from memory once for all.

   One tile of songs: weights go straight to registers. Rows end too soon for the processor's own guesses, so the tile
   after the next is fetched by hand; few rows at once keep to the order of memory. More songs, for which arithmetic
   counts more than memory: rows are cut into panels, so that a panel, which is widened to float32 once for all songs,
   stays in the nearest cache; sums wait between panels, so their order is that of one tile. Each tile fetches its share
   of the rows that come next, so that memory works meanwhile. */
static void linear(const Matrix *m, Input *input, float *y, int64_t batch, Span span) {
    if (m->type == INT8 && linear_of_int8(m, input, y, batch, span)) return;
    const float *x = input->x;
    const int64_t whole = m->columns / LANES * LANES, tiles = parts(batch, SONGS_OF_TILE);
    const int64_t panels = tiles > 1 ? parts(whole, COLUMNS_OF_PANEL) : 1;
    const int64_t panel = whole ? parts(whole / LANES, panels) * LANES : 0;
    const int rows = tiles > 1 ? ROWS_FOR_MANY : m->is_streamed ? (int)ROWS_OF_STREAM(size_of(m->type)) : ROWS_FOR_FEW;
    const int is_widened = tiles > 1 && m->type != FLOAT32;
    Floats sums[SONGS_OF_PANEL / SONGS_OF_TILE][SUMS_OF_TILE], wide[ROWS_FOR_MANY * COLUMNS_OF_PANEL / LANES];
    Tile t = {.type = is_widened ? FLOAT32 : m->type, .row_step = is_widened ? panel : m->columns};
    t.song_step = m->columns;
    t.stride = parts(rows * LANES * size_of(m->type), tiles);
    for (int64_t row = span.first; row < span.last; row += rows) {
        t.rows = at_most(span.last - row, rows);
        t.ahead = weight_at(m, row + (tiles > 1 ? 1 : 2) * rows, 0);
        for (int64_t first = 0; first < batch; first += SONGS_OF_PANEL) {
            const int64_t last = first + at_most(batch - first, SONGS_OF_PANEL);
            const int64_t songs = parts(last - first, parts(last - first, SONGS_OF_TILE)); /* 5: 3 and 2, not 4 and 1 */
            for (int64_t column = 0; column == 0 || column < whole; column += panel) {
                t.columns = at_most(whole - column, panel);
                t.is_first = column == 0;
                t.weight = is_widened ? wide : weight_at(m, row, column);
                if (is_widened) widen(m, row, t.rows, column, t.columns, (float *)wide, panel);
                for (int64_t song = first; song < last; song += songs) {
                    t.songs = at_most(last - song, songs);
                    t.x = x + song * m->columns + column;
                    add_products(&t, sums[(song - first) / songs]);
                    t.ahead += t.columns / LANES * t.stride;
                }
                if (panel == 0) break; /* fewer columns than a vector has */
            }
            for (int64_t song = first; song < last; song += songs) {
                t.songs = at_most(last - song, songs);
                finish(m, row, &t, x + song * m->columns, sums[(song - first) / songs], y + song * m->rows);
            }
        }
    }
}

static void layer_norm(Member *me, const float *all, const float *weight, const float *bias, float *normed,
                       const Sizes *sizes) {
    for (Span songs = {0, 0}; take(me, sizes->batch, 1, &songs);)
    for (int64_t song = songs.first; song < songs.last; song++) {
        const float *x = all + song * sizes->width;
        float *y = normed + song * sizes->width;
        float mean = 0, variance = 0;
        for (int64_t i = 0; i < sizes->width; i++) mean += x[i];
        mean /= sizes->width;
        for (int64_t i = 0; i < sizes->width; i++) variance += (x[i] - mean) * (x[i] - mean);
        const float inverse = 1.0f / sqrtf(variance / sizes->width + sizes->epsilon);
        for (int64_t i = 0; i < sizes->width; i++) y[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
    }
}

static void quick_gelu(float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = x[i] / (1.0f + fast_exp(-1.702f * x[i]));
}

static void store(void *cache, int64_t at, const float *values, const Sizes *sizes) {
    const int64_t count = sizes->head_size;
    if (sizes->cache_type == FLOAT32) memcpy((float *)cache + at, values, count * sizeof(float));
    else
        for (int64_t i = 0; i < count; i++) ((uint16_t *)cache)[at + i] = to_bfloat16(values[i]);
}

/* One song and head: softmax(q k) v over a run of slots. scores: (count,). */
#define ATTEND(NAME, TYPE, READ)                                                                                       \
    static void NAME(const float *query, const TYPE *keys, const TYPE *values, float *out, float *scores,              \
                     int64_t count, int64_t stride, int64_t size) {                                                    \
        const float scale = 1.0f / sqrtf((float)size);                                                                 \
        float largest = -INFINITY, total = 0;                                                                          \
        for (int64_t t = 0; t < count; t++) {                                                                          \
            float sum = 0;                                                                                             \
            for (int64_t e = 0; e < size; e++) sum += query[e] * READ(keys[t * stride + e]);                           \
            scores[t] = sum * scale;                                                                                   \
            if (scores[t] > largest) largest = scores[t];                                                              \
        }                                                                                                              \
        for (int64_t t = 0; t < count; t++) total += scores[t] = fast_exp(scores[t] - largest);                        \
        for (int64_t e = 0; e < size; e++) out[e] = 0;                                                                 \
        for (int64_t t = 0; t < count; t++) {                                                                          \
            const float share = scores[t] / total;                                                                     \
            for (int64_t e = 0; e < size; e++) out[e] += share * READ(values[t * stride + e]);                         \
        }                                                                                                              \
    }

ATTEND(attend_float32, float, )
ATTEND(attend_bfloat16, uint16_t, from_bfloat16)

/* One row and head, which sees what rows of its song before it have stored. */
static void attend(const Layer *layer, const Run *run, int64_t song, int64_t head, const float *query, float *out,
                   float *scores, const Sizes *sizes) {
    const int64_t size = sizes->head_size, state = sizes->heads * size, all = sizes->songs * layer->slots * state;
    const int64_t from = song * layer->slots * state + head * size;
    const int64_t write = from + run->write * state, key = from + run->first * state;
    if (run->is_kept && !layer->is_cross) {
        store(layer->cache, write, query + state, sizes);
        store(layer->cache, all + write, query + 2 * state, sizes);
    }
    if (sizes->cache_type == FLOAT32)
        attend_float32(query, (const float *)layer->cache + key, (const float *)layer->cache + all + key, out, scores,
                       run->count, state, size);
    else
        attend_bfloat16(query, (const uint16_t *)layer->cache + key, (const uint16_t *)layer->cache + all + key, out,
                        scores, run->count, state, size);
}

/* runs: (batch,). Rows of a song, firsts[song] and on, are its positions in their order: one thread takes all of them. */
static void attention(Member *me, const Layer *layer, const Run *runs, const int64_t *firsts, const float *projected,
                      float *out, float *scores, const Sizes *sizes) {
    const int64_t heads = sizes->heads, size = sizes->head_size;
    for (Span tasks = {0, 0}; take(me, sizes->songs * heads, 1, &tasks);)
        for (int64_t task = tasks.first; task < tasks.last; task++) {
            const int64_t song = task / heads, head = task % heads;
            for (int64_t row = firsts[song]; row < firsts[song + 1]; row++)
                attend(layer, runs + row, song, head, projected + row * layer->query.rows + head * size,
                       out + (row * heads + head) * size, scores, sizes);
        }
}

/* Rows that a member takes at once: four pieces for each, so that none waits long for a slow one, of whole tiles and
   whole vectors. */
static inline int64_t rows_at_once(const Member *me, int64_t rows) {
    enum { WHOLE = 48 };
    return parts(rows, 4 * (me ? me->crew->count : 1) * WHOLE) * WHOLE;
}

/* The rows of y that a member takes: { ... } is done with each span of them. */
#define EACH_SPAN(MATRIX) for (Span span = {0, 0}; take(me, (MATRIX).rows, rows_at_once(me, (MATRIX).rows), &span);)
#define EACH_NUMBER(SIZE)                                                                                              \
    for (int64_t song = 0; song < batch; song++)                                                                       \
        for (int64_t i = song * (SIZE) + span.first; i < song * (SIZE) + span.last; i++)

typedef struct {
    const Layer *layers; const Run *runs; const int64_t *firsts; const Sizes *sizes; float *hidden, *scratch;
} Step;

/* Floats of scratch for each member: scores, and room for an input of a matrix. */
static inline int64_t member_size(const Sizes *sizes) {
    const int64_t state = sizes->heads * sizes->head_size, most = sizes->width > state ? sizes->width : state;
    return sizes->most_slots + fixed_size(sizes->batch, most > sizes->mlp_size ? most : sizes->mlp_size);
}

static void share_of_step(Member *me, const void *job) {
    const Step *the = job;
    const Sizes *sizes = the->sizes;
    const int64_t state = sizes->heads * sizes->head_size, batch = sizes->batch, width = batch * sizes->width;
    float *hidden = the->hidden, *normed = the->scratch, *attended = normed + width, *mlp = attended + width;
    float *inner = mlp + width, *projected = inner + batch * sizes->mlp_size, *read = projected + 3 * batch * state;
    float *mine = read + batch * state + (me ? me->number : 0) * member_size(sizes), *room = mine + sizes->most_slots;
    Input input;
    for (int64_t index = 0; index < sizes->num_layers; index++) {
        const Layer *l = the->layers + index;
        layer_norm(me, hidden, l->attention_norm_weight, l->attention_norm_bias, normed, sizes);
        meet(me);
        input = (Input){normed, room, 0};
        EACH_SPAN(l->query) linear(&l->query, &input, projected, batch, span);
        meet(me);
        attention(me, l, the->runs + l->kind * batch, the->firsts, projected, read, mine, sizes);
        meet(me);
        input = (Input){read, room, 0};
        EACH_SPAN(l->output) {
            linear(&l->output, &input, attended, batch, span);
            EACH_NUMBER(sizes->width) mlp[i] = hidden[i] + attended[i];
        }
        meet(me);
        layer_norm(me, mlp, l->mlp_norm_weight, l->mlp_norm_bias, normed, sizes);
        meet(me);
        input = (Input){normed, room, 0};
        EACH_SPAN(l->up) {
            linear(&l->up, &input, inner, batch, span);
            for (int64_t song = 0; song < batch; song++)
                quick_gelu(inner + song * sizes->mlp_size + span.first, span.last - span.first);
        }
        meet(me);
        input = (Input){inner, room, 0};
        EACH_SPAN(l->down) {
            linear(&l->down, &input, mlp, batch, span);
            EACH_NUMBER(sizes->width) hidden[i] += sizes->residual_scale * (attended[i] + mlp[i]);
        }
        meet(me);
    }
}

/* hidden (B, D) goes through all layers in place. runs: (kinds, B). firsts: (songs + 1,), the first row of each song, and
   B behind. scratch: as many floats as scratch_size says. */
void step(const Layer *layers, const Run *runs, const int64_t *firsts, const Sizes *sizes, float *hidden,
          float *scratch, Crew *crew) {
    together(crew, share_of_step, &(Step){layers, runs, firsts, sizes, hidden, scratch});
}

typedef struct { const Matrix *matrix; const float *hidden; float *logits; int64_t batch; float *scratch; } Head;

static void share_of_head(Member *me, const void *job) {
    const Head *the = job;
    const int64_t room = (me ? me->number : 0) * fixed_size(the->batch, the->matrix->columns);
    Input input = {the->hidden, the->scratch + room, 0};
    EACH_SPAN(*the->matrix) linear(the->matrix, &input, the->logits, the->batch, span);
    meet(me);
}

/* Logits (B, rows) of hidden states (B, columns), summed in the same order whatever the batch. scratch: of a step. */
void head(const Matrix *matrix, const float *hidden, float *logits, int64_t batch, float *scratch, Crew *crew) {
    together(crew, share_of_head, &(Head){matrix, hidden, logits, batch, scratch});
}

/* Floats of scratch that `step` and `head` need with so many threads. */
int64_t scratch_size(const Sizes *sizes, int64_t threads) {
    const int64_t state = sizes->heads * sizes->head_size;
    return sizes->batch * (3 * sizes->width + sizes->mlp_size + 4 * state) + threads * member_size(sizes);
}
