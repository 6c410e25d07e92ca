/* Products of int8 weights by integer dot products, where the processor has them (AVX-512 VNNI): four multiplications
   and additions where widening to floats takes an instruction for each, so one song waits for memory again.

   What is multiplied is not rounded to bytes. The numbers of a song become integers of 24 bits, whose unit follows from
   the largest of them, and three planes of bytes hold those. A plane meets the weights in sums of 32 bits, and the
   three are put together in 64: nothing is rounded on the way, so any order gives the same bits. */

typedef struct {    /* what a matrix is multiplied with */
    const float *x; /* (B, columns) */
    float *room;    /* of the member who reads it, for as many floats as fixed_size says */
    int is_fixed;   /* is x in there? */
} Input;

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
enum { BYTES = 64, PLANES = 3, MOST_SUMS = 28, ROWS_OF_BLOCK = 24 }; /* rows that stay in the second cache */
enum { MIDDLE = 1 << 23, MOST_COLUMNS = 1 << 16 };                   /* of which no sum leaves 32 bits */

typedef struct { double *units; uint8_t *planes; int64_t columns; } Fixed; /* (B,), (B, PLANES, columns): whole vectors */

static inline int64_t whole_vectors(int64_t bytes) { return parts(bytes, BYTES) * BYTES; }

/* Floats of room for a batch in fixed point. */
static inline int64_t fixed_size(int64_t batch, int64_t columns) {
    return (BYTES + whole_vectors(batch * (int64_t)sizeof(double)) + batch * PLANES * whole_vectors(columns)) / 4;
}

static inline Fixed fixed_in(float *room, int64_t batch, int64_t columns) {
    uint8_t *first = (uint8_t *)whole_vectors((intptr_t)room);
    return (Fixed){(double *)first, first + whole_vectors(batch * (int64_t)sizeof(double)), whole_vectors(columns)};
}

/* One song: unit * (integer - MIDDLE) is x to half a unit. Where x is not finite, no number is. */
static void fix(const float *x, int64_t count, double *unit, uint8_t *planes, int64_t step) {
    union { uint32_t bits; float value; } largest = {0};
    for (int64_t i = 0; i < count; i++) {
        union { float value; uint32_t bits; } number = {x[i]};
        const uint32_t size = number.bits & 0x7fffffff;
        if (size > largest.bits) largest.bits = size;
    }
    memset(planes, 0, PLANES * step);
    *unit = largest.bits < 0x7f800000 ? 0 : NAN;
    if (largest.value < 1e-30f || *unit != 0) return; /* so small that they are zero beside any bias */
    const float factor = (MIDDLE - 8) / largest.value; /* no rounding leads out of 24 bits */
    *unit = 1.0 / factor;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t whole = (uint32_t)((int32_t)rintf(x[i] * factor) + MIDDLE);
        planes[i] = whole >> 16, planes[step + i] = whole >> 8, planes[2 * step + i] = whole;
    }
}

SUMS_OF_FOUR(integers_of_four, Integers, int32_t)

/* sum += products of 64 bytes, the first without a sign. Written out: GCC 12 moves the sums of its own function about. */
#define ADD_BYTES(SUM, X, WEIGHT) __asm__("vpdpbusd %2, %1, %0" : "+v"(SUM) : "v"(X), "v"(WEIGHT))

/* y of R rows, of which `row` is the first, and of S songs. `stride` bytes a vector of columns are fetched meanwhile. */
static inline __attribute__((always_inline)) void whole_products(const Matrix *m, int64_t row, const Fixed *fixed,
                                                                 int64_t song, float *y, const char **fetched,
                                                                 int64_t stride, const int R, const int S) {
    const int64_t columns = m->columns, step = fixed->columns;
    const int8_t *weight = weight_at(m, row, 0);
    const uint8_t *planes = fixed->planes + song * PLANES * step;
    const char *ahead = *fetched;
    const __m512i ones = _mm512_set1_epi8(1);
    const int of_row = PLANES * S + 1; /* the last is the sum of its weights, for MIDDLE */
    Integers total[SONGS_OF_TILE][SONGS_OF_TILE][PLANES] = {0}, of_weights[SONGS_OF_TILE] = {0}, sums[MOST_SUMS] = {0};
    int32_t flat[MOST_SUMS];
    for (int64_t i = 0; i < columns; i += BYTES, ahead += stride) {
        const __mmask64 here = columns - i < BYTES ? ((uint64_t)1 << (columns - i)) - 1 : ~(uint64_t)0;
        __m512i w[SONGS_OF_TILE];
        if (((uintptr_t)ahead & 63) < (uintptr_t)stride) /* a line of memory begins here */
            for (int64_t byte = 0; byte < stride; byte += 64) __builtin_prefetch(ahead + byte, 0, 2);
        EACH(r, R) {
            w[r] = _mm512_maskz_loadu_epi8(here, weight + r * columns + i);
            ADD_BYTES(of_weights[r], ones, w[r]);
        }
        EACH(s, S) EACH(plane, PLANES) {
            const __m512i x = _mm512_loadu_si512(planes + (s * PLANES + plane) * step + i);
            EACH(r, R) ADD_BYTES(total[r][s][plane], x, w[r]);
        }
    }
    *fetched = ahead;
    EACH(r, R) sums[r * of_row + PLANES * S] = of_weights[r];
    EACH(r, R) EACH(s, S) EACH(plane, PLANES) sums[r * of_row + PLANES * s + plane] = total[r][s][plane];
    EACH(i, (R * of_row + 3) / 4) integers_of_four(sums + 4 * i, flat + 4 * i);
    for (int r = 0; r < R; r++) {
        const float scale = m->scale ? m->scale[row + r] : 1.0f, bias = m->bias ? m->bias[row + r] : 0.0f;
        for (int s = 0; s < S; s++) {
            const int32_t *plane = flat + r * of_row + PLANES * s;
            const int64_t sum = plane[0] * (int64_t)65536 + plane[1] * (int64_t)256 + plane[2] -
                                flat[r * of_row + PLANES * S] * (int64_t)MIDDLE;
            y[(song + s) * m->rows + row + r] = multiply_add((float)(sum * fixed->units[song + s]), scale, bias);
        }
    }
}

#define ROWS_AT_ONCE(ROWS, SONGS)                                                                                      \
    do {                                                                                                               \
        for (; row + ROWS <= last; row += ROWS) whole_products(m, row, &fixed, song, y, &ahead, stride, ROWS, SONGS);  \
        for (; row < last; row++) whole_products(m, row, &fixed, song, y, &ahead, stride, 1, SONGS);                   \
    } while (0)

/* `linear` of int8; 0 where that is not done here. Blocks of rows are read from memory once for all songs, and the next
   one is fetched meanwhile. */
static int linear_of_int8(const Matrix *m, Input *input, float *y, int64_t batch, Span span) {
    const Fixed fixed = fixed_in(input->room, batch, m->columns);
    const int64_t tiles = parts(batch, SONGS_OF_TILE), most = parts(batch, tiles); /* 5: 3 and 2, not 4 and 1 */
    const int rows = most == 1 ? 4 : most == 2 ? 3 : 2;                            /* their sums fit into registers */
    const int64_t block = tiles == 1 ? rows : ROWS_OF_BLOCK, stride = parts(rows * BYTES, tiles);
    if (m->columns > MOST_COLUMNS) return 0;
    for (int64_t song = 0; !input->is_fixed && song < batch; song++)
        fix(input->x + song * m->columns, m->columns, fixed.units + song, fixed.planes + song * PLANES * fixed.columns,
            fixed.columns);
    input->is_fixed = 1;
    for (int64_t first = span.first; first < span.last; first += block) {
        const int64_t last = first + at_most(span.last - first, block);
        const char *ahead = weight_at(m, first + (tiles == 1 ? 2 : 1) * block, 0);
        for (int64_t song = 0, row = first; song < batch; song += most, row = first)
            switch (at_most(batch - song, most)) {
                case 4: ROWS_AT_ONCE(2, 4); break;
                case 3: ROWS_AT_ONCE(2, 3); break;
                case 2: ROWS_AT_ONCE(3, 2); break;
                default: ROWS_AT_ONCE(4, 1);
            }
    }
    return 1;
}
#else
static inline int64_t fixed_size(int64_t batch, int64_t columns) { return 0; }

static inline int linear_of_int8(const Matrix *m, Input *input, float *y, int64_t batch, Span span) { return 0; }
#endif
