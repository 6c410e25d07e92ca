/* cpp_window.c, and with it cpp_step.c, for one of several sets of instructions in one library: it is compiled once for each with -DSET=its name,
   which its functions then end in, and once without, for what the library holds but once. setup.py builds it, and
   cpp_library.py opens it with ctypes: it needs no headers of Python. */

#ifdef SET
#define JOINED(NAME, END) NAME##_##END
#define OF_SET(NAME, END) JOINED(NAME, END)
#define step OF_SET(step, SET)
#define head OF_SET(head, SET)
#define write_codes OF_SET(write_codes, SET)
#define scratch_size OF_SET(scratch_size, SET)
#define hire OF_SET(hire, SET)
#define dismiss OF_SET(dismiss, SET)
#define members_of OF_SET(members_of, SET)
#include "cpp_window.c"
#else
#include <stdint.h>

/* The best set that this processor and its system have: its place in SETS of cpp_source.py. */
int64_t best_set(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
        !__builtin_cpu_supports("bmi2"))
        return 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return 1;
    return __builtin_cpu_supports("avx512vnni") ? 3 : 2;
#else
    return 0;
#endif
}

#ifdef SOURCE_DIGEST
int64_t source_digest(void) { return SOURCE_DIGEST; } /* of the files that this was compiled from */
#endif
#endif
