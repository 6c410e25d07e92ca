/* Codes of a window one after the other, without a way back to Python between them: around a small network Python takes
   longer than the network. cpp_window.py calls it; cpp_step.c does the layers and the head.

   The plain twin is `decode_one`. Sums of embeddings are rounded as torch rounds them. A draw is torch's, or none at all:
   where its rounding could decide, the logits are handed back undrawn. */

#include "cpp_step.c"

typedef struct {
    const void *tokens, *positions, *conditions; /* (V, D), (T, D), and (songs, condition_rows, D) or NULL; of one type */
    const Run *runs;                             /* (kinds, T) */
    int64_t *sequence;                           /* (songs, T), filled up */
    const double *uniforms;                      /* (songs, codes) of the codes, or NULL for the likeliest */
    int64_t *firsts;                             /* (songs + 1,): song s is row s */
    Run *here;                                   /* (kinds, songs) */
    float *hidden, *logits;                      /* (songs, D), (songs, V) */
    double *upto;                                /* (V,) */
    int64_t *drawn;                              /* (songs,) */
    int64_t type, condition_rows, is_tied, kinds, length, codes, prefix, first_code, vocabulary, has_logits;
    float temperature;
} Window;

static inline float loaded(const void *from, int64_t at, int64_t type) {
    return type == FLOAT32 ? ((const float *)from)[at] : from_bfloat16(((const uint16_t *)from)[at]);
}

static inline float rounded(float value, int64_t type) {
    return type == FLOAT32 ? value : from_bfloat16(to_bfloat16(value));
}

/* What rows before it compute is in memory before rows behind it are: sums keep the order in which they stand here. */
#define IN_THIS_ORDER __asm__ volatile("" ::: "memory")

/* hidden = token + position, + condition. */
static void embed(const Window *w, const Sizes *sizes, int64_t place) {
    const int64_t width = sizes->width, type = w->type;
    for (int64_t song = 0; song < sizes->songs; song++) {
        const int64_t token = w->sequence[song * w->length + place - 1] * width;
        float *hidden = w->hidden + song * width;
        for (int64_t i = 0; i < width; i++)
            hidden[i] = rounded(loaded(w->tokens, token + i, type) + loaded(w->positions, place * width + i, type), type);
        if (!w->conditions) continue;
        IN_THIS_ORDER;
        const int64_t condition = (song * w->condition_rows + place) * width;
        for (int64_t i = 0; i < width; i++)
            hidden[i] = rounded(hidden[i] + loaded(w->conditions, condition + i, type), type);
    }
    IN_THIS_ORDER;
}

static void add_conditions(const Window *w, const Sizes *sizes, int64_t place) {
    for (int64_t song = 0; song < sizes->songs; song++)
        for (int64_t i = 0; i < sizes->width; i++)
            w->hidden[song * sizes->width + i] +=
                loaded(w->conditions, (song * w->condition_rows + place) * sizes->width + i, w->type);
}

static inline int is_finite(float value) {
    union { float value; uint32_t bits; } both = {value};
    return (both.bits & 0x7f800000) != 0x7f800000;
}

/* The token that torch draws from softmax(logits / temperature) at a uniform; -1 where that cannot be told from here:
   logits that are not finite, the likeliest of equals, or a uniform so near to a step of the distribution function that
   roundings could put it on the other side. torch sums float32 in four lanes or more, so a sum is off by a quarter of V
   roundings at most; the rest is for divisions, exponentials, and the logits' own last bits. */
static int64_t draw(const float *logits, const Window *w, const double *uniform) {
    const int64_t first = w->first_code, count = w->vocabulary;
    float largest = -INFINITY, furthest = 0;
    int are_finite = 1;
    for (int64_t i = 0; i < count; i++) are_finite &= is_finite(logits[i]);
    if (!are_finite) return -1;
    for (int64_t i = first; i < count; i++) {
        if (logits[i] > largest) largest = logits[i];
        if (fabsf(logits[i]) > furthest) furthest = fabsf(logits[i]);
    }
    if (!uniform) {
        int64_t found = -1;
        for (int64_t i = first; i < count; i++)
            if (logits[i] == largest) {
                if (found >= 0) return -1;
                found = i;
            }
        return found;
    }
    double total = 0;
    for (int64_t i = first; i < count; i++) w->upto[i] = expf((logits[i] - largest) / w->temperature);
    for (int64_t i = first; i < count; i++) w->upto[i] = total += w->upto[i];
    const double wanted = *uniform * total, rounding = total * 0x1p-24;
    const double margin = rounding * (0.25 * (double)count + 8.0 * furthest / w->temperature + 128.0);
    int64_t low = first, high = count; /* the first that lies over it */
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (w->upto[middle] > wanted) high = middle;
        else low = middle + 1;
    }
    if (low == count || w->upto[low] - wanted < margin) return -1;
    return low > first && wanted - w->upto[low - 1] < margin ? -1 : low;
}

/* Writes the tokens at places `from` to `to` of the sequence and tells how many were drawn. Where one is not, `has_logits`
   says whether its place was run, so that it is only to be drawn from `logits`. */
int64_t write_codes(const Layer *layers, const Sizes *sizes, const Matrix *matrix, Window *w, int64_t from, int64_t to,
                    float *scratch, Crew *crew) {
    for (int64_t place = from; place < to; place++) {
        w->has_logits = 0;
        for (int64_t song = 0; song < sizes->songs; song++) {
            const int64_t token = w->sequence[song * w->length + place - 1];
            if (token < 0 || token >= w->vocabulary) return place - from;
            for (int64_t kind = 0; kind < w->kinds; kind++)
                w->here[kind * sizes->songs + song] = w->runs[kind * w->length + place];
        }
        embed(w, sizes, place);
        step(layers, w->here, w->firsts, sizes, w->hidden, scratch, crew);
        if (w->is_tied && w->conditions) add_conditions(w, sizes, place);
        head(matrix, w->hidden, w->logits, sizes->songs, scratch, crew);
        w->has_logits = 1;
        for (int64_t song = 0; song < sizes->songs; song++) {
            const double *uniform = w->uniforms ? w->uniforms + song * w->codes + place - w->prefix : NULL;
            w->drawn[song] = draw(w->logits + song * w->vocabulary, w, uniform);
            if (w->drawn[song] < 0) return place - from;
        }
        for (int64_t song = 0; song < sizes->songs; song++) w->sequence[song * w->length + place] = w->drawn[song];
    }
    return to - from;
}
