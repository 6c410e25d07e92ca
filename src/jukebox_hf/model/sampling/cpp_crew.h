/* Threads that share the work of a step: a crew belongs to one stepper of cpp_step.py and lives as long as it does.

   All members run the same function over the same job. It is made of phases: pieces of each are taken until none is
   left, and the next begins when the last of them is done. It waits for pieces, not for members: one whose core is
   lent to another process holds up the piece that it has, and else nobody. Whoever waits spins for a moment, because a
   phase is short, and then sleeps: between steps, too. Who takes which piece never decides how a number is summed.
   A member of NULL is one thread that takes everything at once. */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

enum { SPIN_NANOSECONDS = 50000, LOOKS_AT_ONCE = 32, LINE = 64 };

typedef struct Crew Crew;
typedef struct { Crew *crew; int64_t number; uint32_t phase; } Member; /* phase: where it is in the work */
typedef void (*Work)(Member *me, const void *job);

struct Crew { /* each of the words that many write has a line of memory of its own */
    int64_t count; /* of members; the first is the caller */
    pthread_t *threads;
    Member *members;
    Work work;
    const void *job;
    uint32_t first_phase;
    int is_closing;
    pthread_mutex_t lock; /* only for those who sleep */
    pthread_cond_t changed;
    _Alignas(LINE) atomic_uint jobs;   /* that were begun */
    _Alignas(LINE) atomic_uint phases; /* that were ended, in all jobs */
    _Alignas(LINE) atomic_ullong next; /* the phase, times 2^32, and how much of it is taken */
    _Alignas(LINE) atomic_llong done;  /* of this phase */
    _Alignas(LINE) atomic_uint inside; /* members that may look at the job */
    _Alignas(LINE) atomic_int is_open; /* may others come inside? */
    _Alignas(LINE) atomic_int sleeping;
};

typedef struct { int64_t first, last; } Span;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

/* Until a word is not what it was. */
static void wait_for(Crew *crew, atomic_uint *word, unsigned before) {
    const int64_t start = nanoseconds();
    do {
        for (int look = 0; look < LOOKS_AT_ONCE; look++, pause_briefly())
            if (atomic_load_explicit(word, memory_order_acquire) != before) return;
    } while (nanoseconds() - start < SPIN_NANOSECONDS);
    pthread_mutex_lock(&crew->lock);
    atomic_fetch_add(&crew->sleeping, 1); /* before the last look: who changes the word looks here after it */
    while (atomic_load(word) == before) pthread_cond_wait(&crew->changed, &crew->lock);
    atomic_fetch_sub(&crew->sleeping, 1);
    pthread_mutex_unlock(&crew->lock);
}

static void change(Crew *crew, atomic_uint *word, int by) {
    atomic_fetch_add(word, by);
    if (atomic_load(&crew->sleeping) == 0) return;
    pthread_mutex_lock(&crew->lock);
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
}

/* Take the next piece, of at most `size` of `count`, when the one before it is done; 0 if none is left in this phase.
   A span starts as {0, 0}. */
static inline int take(Member *me, int64_t count, int64_t size, Span *span) {
    if (!me) {
        *span = (Span){span->last, count};
        return span->first < count;
    }
    Crew *crew = me->crew;
    const int64_t taken = span->last - span->first;
    if (taken && atomic_fetch_add(&crew->done, taken) + taken == count) { /* the phase is over */
        atomic_store_explicit(&crew->done, 0, memory_order_relaxed);
        atomic_store(&crew->next, (unsigned long long)(me->phase + 1) << 32);
        change(crew, &crew->phases, 1);
        return 0;
    }
    unsigned long long next = atomic_load(&crew->next);
    do {
        const int64_t first = (uint32_t)next;
        if ((uint32_t)(next >> 32) != me->phase || first >= count) return 0;
        *span = (Span){first, first + size < count ? first + size : count};
    } while (!atomic_compare_exchange_weak(&crew->next, &next, next + size));
    return 1;
}

/* Go on to the next phase as soon as all of this one is done; what others have written can be read from then on. */
static inline void meet(Member *me) {
    if (me) wait_for(me->crew, &me->crew->phases, me->phase++);
}

static void *serve(void *argument) {
    Member *me = argument;
    Crew *crew = me->crew;
    for (unsigned seen = 0;;) {
        wait_for(crew, &crew->jobs, seen);
        seen = atomic_load(&crew->jobs);
        if (crew->is_closing) return NULL;
        atomic_fetch_add(&crew->inside, 1); /* before the look: the caller closes first, and then counts */
        if (atomic_load(&crew->is_open)) {
            me->phase = crew->first_phase;
            crew->work(me, crew->job);
        }
        change(crew, &crew->inside, -1);
    }
}

/* Have the members do a job, and come back when it is done and nobody looks at it any more. */
static void together(Crew *crew, Work work, const void *job) {
    if (!crew) {
        work(NULL, job);
        return;
    }
    Member *me = crew->members;
    crew->work = work, crew->job = job, crew->first_phase = me->phase;
    atomic_store(&crew->is_open, 1);
    change(crew, &crew->jobs, 1);
    work(me, job);
    atomic_store(&crew->is_open, 0);
    for (unsigned inside; (inside = atomic_load(&crew->inside)) != 0;) wait_for(crew, &crew->inside, inside);
}

/* Send all threads home and wait until they are gone. */
void dismiss(Crew *crew) {
    crew->is_closing = 1;
    change(crew, &crew->jobs, 1);
    for (int64_t i = 1; i < crew->count; i++) pthread_join(crew->threads[i], NULL);
    pthread_mutex_destroy(&crew->lock);
    pthread_cond_destroy(&crew->changed);
    free(crew->threads);
    free(crew->members);
    free(crew);
}

/* A crew of `count`, the caller included; NULL if the system gives no more than one. Signals stay with the caller. */
Crew *hire(int64_t count) {
    Crew *crew = aligned_alloc(LINE, (sizeof(Crew) + LINE - 1) / LINE * LINE);
    if (!crew) return NULL;
    *crew = (Crew){.count = 1, .threads = calloc(count, sizeof(pthread_t)), .members = calloc(count, sizeof(Member))};
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->changed, NULL);
    if (crew->members) crew->members[0].crew = crew;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; crew->threads && crew->members && crew->count < count; crew->count++) {
        crew->members[crew->count] = (Member){crew, crew->count, 0};
        if (pthread_create(crew->threads + crew->count, NULL, serve, crew->members + crew->count)) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (crew->count > 1) return crew;
    dismiss(crew);
    return NULL;
}

int64_t members_of(const Crew *crew) { return crew ? crew->count : 1; }
