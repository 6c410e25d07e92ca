/* One step of a transformer on a CPU: every layer, every song, one position. native_step.py compiles and calls it.

   A step reads each weight once and does two operations with it, so its time is the time of reading the weights. That is
   what this file is about: rows of weights stream through once, in the type they are stored in, while activations stay
   in float32 and in the cache. Loops are plain C that compilers turn into vector instructions.

   The plain twin is JukeboxTransformer.step; names are its names. */

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { FLOAT32, BFLOAT16, INT8 };
enum { ROWS_AT_ONCE = 4, SONGS_AT_ONCE = 4, ROWS_OF_BLOCK = 64 }; /* of a tile, whose 16 sums fit into registers */

typedef struct {        /* y = (weight @ x) * scale + bias */
    const void *weight; /* (rows, columns) */
    const float *scale; /* (rows,) of INT8, else NULL */
    const float *bias;  /* (rows,) or NULL */
    int64_t rows, columns, type;
} Matrix;

typedef struct {
    const float *attention_norm_weight, *attention_norm_bias, *mlp_norm_weight, *mlp_norm_bias; /* (D,) */
    Matrix query, output, up, down; /* query holds keys and values too, but in a cross layer */
    void *cache;                    /* (2, B, slots, H, E) */
    int64_t slots, kind, is_cross;  /* kind: which of the runs is this layer's */
} Layer;

typedef struct { int64_t write, is_kept, first, count; } Run; /* slots to write and to read, of one kind */

typedef struct {
    int64_t num_layers, batch, width, mlp_size, heads, head_size, cache_type;
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

/* 2^(x log2 e) without a call, so that loops over it become vector instructions; relative error under 3e-7. */
static inline float fast_exp(float x) {
    if (x < -87.0f) x = -87.0f;
    if (x > 88.0f) x = 88.0f;
    const float whole = (float)(int32_t)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f));
    const float r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
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
   an instruction, it is named, because compilers do not find it. */
#if defined(__AVX512F__) && defined(__AVX512BW__)
enum { LANES = 16 };
#define WIDENED_HALVES(FROM) ((Bits)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(FROM))))
#define WIDENED_BYTES(FROM) ((Integers)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(FROM))))
#elif defined(__AVX2__)
enum { LANES = 8 };
#define WIDENED_HALVES(FROM) ((Bits)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(FROM))))
#define WIDENED_BYTES(FROM) ((Integers)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(FROM))))
#else
enum { LANES = 8 };
#define WIDENED_HALVES(FROM) __builtin_convertvector(LOADED(Halves, FROM), Bits)
#define WIDENED_BYTES(FROM) __builtin_convertvector(LOADED(Bytes, FROM), Integers)
#endif
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
static inline float sum_of(Floats x) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
    return _mm512_reduce_add_ps((__m512)x);
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
#endif
}

#define FLOATS_OF_FLOAT32(FROM) LOADED(Floats, FROM)
#define FLOATS_OF_BFLOAT16(FROM) ((Floats)(WIDENED_HALVES(FROM) << 16))
#define FLOATS_OF_INT8(FROM) __builtin_convertvector(WIDENED_BYTES(FROM), Floats)

/* The products of R rows of weights with S songs, in registers, while lines of weights that come later are fetched from
   `ahead` on, `stride` bytes for each step along the rows. x: (S, columns). */
#define PRODUCTS(NAME, TYPE, FLOATS, READ)                                                                             \
    static inline __attribute__((always_inline)) void NAME(const TYPE *weight, const float *x, int64_t columns,         \
                                                           const char *ahead, int64_t stride,                          \
                                                           float sums[ROWS_AT_ONCE][SONGS_AT_ONCE], const int R,        \
                                                           const int S) {                                              \
        Floats total[ROWS_AT_ONCE][SONGS_AT_ONCE] = {0};                                                               \
        int64_t i = 0;                                                                                                 \
        for (; i + LANES <= columns; i += LANES, ahead += stride) {                                                    \
            for (int64_t byte = 0; byte < stride; byte += 64) __builtin_prefetch(ahead + byte, 0, 2);                  \
            for (int r = 0; r < R; r++) {                                                                              \
                const Floats w = FLOATS(weight + r * columns + i);                                                     \
                for (int s = 0; s < S; s++) total[r][s] += w * LOADED(Floats, x + s * columns + i);                    \
            }                                                                                                          \
        }                                                                                                              \
        for (int r = 0; r < R; r++)                                                                                    \
            for (int s = 0; s < S; s++) {                                                                              \
                float sum = sum_of(total[r][s]);                                                                       \
                for (int64_t j = i; j < columns; j++) sum += READ(weight[r * columns + j]) * x[s * columns + j];       \
                sums[r][s] = sum;                                                                                      \
            }                                                                                                          \
    }

PRODUCTS(float32_products, float, FLOATS_OF_FLOAT32, )
PRODUCTS(bfloat16_products, uint16_t, FLOATS_OF_BFLOAT16, from_bfloat16)
PRODUCTS(int8_products, int8_t, FLOATS_OF_INT8, (float))

#define TILE(R, S)                                                                                                     \
    do {                                                                                                               \
        const int64_t from = row * m->columns, n = m->columns;                                                         \
        if (m->type == FLOAT32)                                                                                        \
            float32_products((const float *)m->weight + from, x, n, ahead, stride, sums, R, S);                        \
        else if (m->type == BFLOAT16)                                                                                  \
            bfloat16_products((const uint16_t *)m->weight + from, x, n, ahead, stride, sums, R, S);                    \
        else int8_products((const int8_t *)m->weight + from, x, n, ahead, stride, sums, R, S);                         \
    } while (0)

static void tile(const Matrix *m, int64_t row, int rows, const float *x, int songs, const char *ahead, int64_t stride,
                 float *y) {
    float sums[ROWS_AT_ONCE][SONGS_AT_ONCE];
    if (rows == ROWS_AT_ONCE && songs == SONGS_AT_ONCE) TILE(ROWS_AT_ONCE, SONGS_AT_ONCE);
    else if (rows == ROWS_AT_ONCE && songs == 1) TILE(ROWS_AT_ONCE, 1);
    else TILE(rows, songs);
    for (int r = 0; r < rows; r++) {
        const float scale = m->scale ? m->scale[row + r] : 1.0f, bias = m->bias ? m->bias[row + r] : 0.0f;
        for (int s = 0; s < songs; s++) y[s * m->rows + row + r] = sums[r][s] * scale + bias;
    }
}

static inline int at_most(int64_t count, int most) { return count < most ? (int)count : most; }

/* y (B, rows) of x (B, columns). A block of rows is read from memory once and stays in the cache for all songs, while the
   songs of a tile stay in the nearest cache for the whole block. What comes later is fetched by hand, because rows end
   too soon for the processor's own guesses: where one tile holds all songs, the tile after the next; where a block is
   gone through several times, the next block, a share of it each time, so that memory works while the tiles compute. */
static void linear(const Matrix *m, const float *x, float *y, int64_t batch) {
    const int64_t size = m->type == FLOAT32 ? 4 : m->type == BFLOAT16 ? 2 : 1, row_size = m->columns * size;
    const int64_t times = (batch + SONGS_AT_ONCE - 1) / SONGS_AT_ONCE;
    const int64_t stride = (ROWS_AT_ONCE * LANES * size + times - 1) / times;
    for (int64_t block = 0; block < m->rows; block += ROWS_OF_BLOCK) {
        const int64_t stop = block + ROWS_OF_BLOCK < m->rows ? block + ROWS_OF_BLOCK : m->rows;
        const char *ahead = (const char *)m->weight + (times > 1 ? stop : block + 2 * ROWS_AT_ONCE) * row_size;
        for (int64_t song = 0; song < batch; song += SONGS_AT_ONCE)
            for (int64_t row = block; row < stop; row += ROWS_AT_ONCE, ahead += m->columns / LANES * stride)
                tile(m, row, at_most(stop - row, ROWS_AT_ONCE), x + song * m->columns,
                     at_most(batch - song, SONGS_AT_ONCE), ahead, stride, y + song * m->rows);
    }
}

static void layer_norm(const float *x, const float *weight, const float *bias, float *y, const Sizes *sizes) {
    for (int64_t song = 0; song < sizes->batch; song++, x += sizes->width, y += sizes->width) {
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
    const int64_t count = sizes->heads * sizes->head_size;
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

static void attention(const Layer *layer, const Run *run, const float *projected, float *out, float *scores,
                      const Sizes *sizes) {
    const int64_t state = sizes->heads * sizes->head_size, all = sizes->batch * layer->slots * state;
    for (int64_t song = 0; song < sizes->batch; song++) {
        const int64_t from = song * layer->slots * state;
        const float *query = projected + song * layer->query.rows;
        if (run->is_kept && !layer->is_cross) {
            store(layer->cache, from + run->write * state, query + state, sizes);
            store(layer->cache, all + from + run->write * state, query + 2 * state, sizes);
        }
        for (int64_t head = 0; head < sizes->heads; head++) {
            const int64_t key = from + run->first * state + head * sizes->head_size;
            const float *q = query + head * sizes->head_size;
            float *o = out + song * state + head * sizes->head_size;
            if (sizes->cache_type == FLOAT32)
                attend_float32(q, (const float *)layer->cache + key, (const float *)layer->cache + all + key, o, scores,
                               run->count, state, sizes->head_size);
            else
                attend_bfloat16(q, (const uint16_t *)layer->cache + key, (const uint16_t *)layer->cache + all + key, o,
                                scores, run->count, state, sizes->head_size);
        }
    }
}

/* hidden (B, D) goes through all layers in place. scratch: as many floats as scratch_size says. */
void step(const Layer *layers, const Run *runs, const Sizes *sizes, float *hidden, float *scratch) {
    const int64_t state = sizes->heads * sizes->head_size, batch = sizes->batch, width = batch * sizes->width;
    float *normed = scratch, *attended = normed + width, *mlp = attended + width, *inner = mlp + width;
    float *projected = inner + batch * sizes->mlp_size, *read = projected + 3 * batch * state;
    float *scores = read + batch * state;
    for (int64_t index = 0; index < sizes->num_layers; index++) {
        const Layer *layer = layers + index;
        layer_norm(hidden, layer->attention_norm_weight, layer->attention_norm_bias, normed, sizes);
        linear(&layer->query, normed, projected, batch);
        attention(layer, runs + layer->kind, projected, read, scores, sizes);
        linear(&layer->output, read, attended, batch);
        for (int64_t i = 0; i < width; i++) mlp[i] = hidden[i] + attended[i];
        layer_norm(mlp, layer->mlp_norm_weight, layer->mlp_norm_bias, normed, sizes);
        linear(&layer->up, normed, inner, batch);
        quick_gelu(inner, batch * sizes->mlp_size);
        linear(&layer->down, inner, mlp, batch);
        for (int64_t i = 0; i < width; i++) hidden[i] += sizes->residual_scale * (attended[i] + mlp[i]);
    }
}

/* Logits (B, rows) of hidden states (B, columns), summed in the same order whatever the batch. */
void head(const Matrix *matrix, const float *hidden, float *logits, int64_t batch) { linear(matrix, hidden, logits, batch); }

/* Floats of scratch that `step` needs; the longest run is of `most_slots`. */
int64_t scratch_size(const Sizes *sizes, int64_t most_slots) {
    const int64_t state = sizes->heads * sizes->head_size;
    return sizes->batch * (3 * sizes->width + sizes->mlp_size + 4 * state) + most_slots;
}
