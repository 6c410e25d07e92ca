/* cpp_step.c over a range of shapes, by one thread and by three, with buffers of just the sizes that it is promised: to
   be built with -fsanitize=address,undefined, or thread. SHORT takes floats off the scratch, to see that the sanitizer
   watches. */

#include "../../../src/jukebox_hf/model/sampling/cpp_step.c"
#include <stdio.h>
#include <stdlib.h>

#ifndef SHORT
#define SHORT 0
#endif

static uint32_t state = 1;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u; }
static float number(void) { return (float)(next() >> 8) / 16777216.0f - 0.5f; }

static float *floats(int64_t count) {
    float *made = malloc(count * sizeof(float));
    for (int64_t i = 0; i < count; i++) made[i] = number();
    return made;
}

static void *numbers(int64_t count, int64_t type) {
    if (type == FLOAT32) return floats(count);
    void *made = malloc(count * size_of(type));
    for (int64_t i = 0; i < count; i++)
        if (type == BFLOAT16) ((uint16_t *)made)[i] = to_bfloat16(number());
        else ((int8_t *)made)[i] = (int8_t)next();
    return made;
}

static Matrix matrix(int64_t rows, int64_t columns, int64_t type, int has_bias) {
    return (Matrix){numbers(rows * columns, type), type == INT8 ? floats(rows) : NULL, has_bias ? floats(rows) : NULL,
                    rows, columns, type};
}

static void discard(Matrix m) {
    free((void *)m.weight);
    free((void *)m.scale);
    free((void *)m.bias);
}

static void products(int64_t rows, int64_t columns, int64_t type, int64_t batch, Crew *crew) {
    Matrix m = matrix(rows, columns, type, rows % 2);
    const Sizes sizes = {.width = columns, .batch = batch};
    float *x = floats(batch * columns), *y = floats(batch * rows);
    float *scratch = floats(scratch_size(&sizes, members_of(crew)));
    head(&m, x, y, batch, scratch, crew);
    for (int64_t i = 0; i < batch * rows; i++)
        if (!isfinite(y[i])) exit(3);
    free(x), free(y), free(scratch), discard(m);
}

static void one_step(int64_t heads, int64_t head_size, int64_t width, int64_t mlp, int64_t type, int64_t cache_type,
                     int64_t batch, Crew *crew) {
    enum { LAYERS = 3, SLOTS = 5 };
    const int64_t size = heads * head_size, songs = (batch + 2) / 3; /* of three rows each, but for the last */
    Sizes sizes = {LAYERS, songs, batch, width, mlp, heads, head_size, cache_type, SLOTS, 0.5f, 1e-5f};
    Run *runs = malloc(2 * batch * sizeof(Run));
    int64_t *firsts = malloc((songs + 1) * sizeof(int64_t));
    for (int64_t row = 0; row < batch; row++) {
        runs[row] = (Run){SLOTS - 1 - row % 3, 1, 0, SLOTS};
        runs[batch + row] = (Run){0, 0, SLOTS - 1, 1};
    }
    for (int64_t song = 0; song <= songs; song++) firsts[song] = song < songs ? 3 * song : batch;
    Layer layers[LAYERS];
    for (int i = 0; i < LAYERS; i++)
        layers[i] = (Layer){floats(width), floats(width), floats(width), floats(width),
                            matrix(i == 2 ? size : 3 * size, width, type, 1), matrix(width, size, type, 1),
                            matrix(mlp, width, type, 1), matrix(width, mlp, type, 0),
                            numbers(2 * songs * SLOTS * size, cache_type), SLOTS, i % 2, i == 2};
    float *hidden = floats(batch * width), *scratch = floats(scratch_size(&sizes, members_of(crew)) - SHORT);
    step(layers, runs, firsts, &sizes, hidden, scratch, crew);
    for (int64_t i = 0; i < batch * width; i++)
        if (!isfinite(hidden[i])) exit(3);
    for (int i = 0; i < LAYERS; i++) {
        const Layer *l = layers + i;
        free((void *)l->attention_norm_weight), free((void *)l->attention_norm_bias);
        free((void *)l->mlp_norm_weight), free((void *)l->mlp_norm_bias), free(l->cache);
        discard(l->query), discard(l->output), discard(l->up), discard(l->down);
    }
    free(hidden), free(scratch), free(runs), free(firsts);
}

int main(void) {
    const int64_t counts[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 24, 31, 33, 500, 513, 1040},
                  batches[] = {1, 2, 3, 4, 5, 16, 17, 33};
    Crew *crew = hire(3), *crews[] = {NULL, crew};
    int done = 0;
    if (members_of(crew) != 3) exit(4);
    for (int type = FLOAT32; type <= INT8; type++)
        for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            for (size_t r = 0; r < 12; r++)
                for (size_t c = 0; c < sizeof counts / sizeof *counts; c++, done++)
                    products(counts[r], counts[c], type, batches[b], crews[done % 2]);
            for (int64_t heads = 1; heads <= 3; heads++)
                for (int64_t size = 1; size <= 17; size += 4)
                    for (int cache = FLOAT32; cache <= BFLOAT16; cache++, done++)
                        one_step(heads, size, 7 * heads + size, 9 + size, type, cache, batches[b], crews[done % 2]);
        }
    dismiss(crew);
    printf("%d shapes\n", done);
    return 0;
}
