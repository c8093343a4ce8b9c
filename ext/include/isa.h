/* One C body for every instruction set: a body is included once per set, its names carry the set's suffix,
 * and AT_LEVEL picks one at run time (0 baseline, 1 AVX2, 2 AVX-512).
 *
 * A body uses ISA(name) for its own names, VL lanes of 64 bits, and the vector types VF, VU, VI.
 */
#ifndef HPCML_ISA_H
#define HPCML_ISA_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define HPCML_X86 1
#else
#define HPCML_X86 0
#endif

#define MAX_CODES 256 /* uint8 codes of a feature: at most 255 bins and one for missing values */
#define LN2 0.6931471805599453
#define SQRT2 1.4142135623730951
#define LOG_TERMS 11 /* of the series of log: the next one is below 2^-60 */

#define HPCML_JOIN2(a, b) a##_##b
#define HPCML_JOIN(a, b) HPCML_JOIN2(a, b)
#define ISA(name) HPCML_JOIN(name, SUFFIX)
#define VF ISA(vf)
#define VU ISA(vu)
#define VI ISA(vi)
#define VM ISA(vm)
#define VR ISA(vr) /* these three: real.h */
#define VRI ISA(vri)
#define VRM ISA(vrm)
#define INLINE static inline __attribute__((always_inline))
/* A function of its own, with the registers for itself: a hot loop inside a large caller spills. */
#define HOT static __attribute__((noinline))

#if defined(__clang__)
#define HPCML_TARGET_AVX2 \
    _Pragma("clang attribute push(__attribute__((target(\"avx2,fma,bmi,bmi2\"))), apply_to = function)")
#define HPCML_TARGET_AVX512 \
    _Pragma("clang attribute push(__attribute__((target(\"avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2\"))), apply_to = function)")
#define HPCML_TARGET_END _Pragma("clang attribute pop")
#else
#define HPCML_TARGET_AVX2 _Pragma("GCC push_options") _Pragma("GCC target(\"avx2,fma,bmi,bmi2\")")
#define HPCML_TARGET_AVX512                                                                  \
    _Pragma("GCC push_options")                                                              \
    _Pragma("GCC target(\"avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi,bmi2,prefer-vector-width=512\")")
#define HPCML_TARGET_END _Pragma("GCC pop_options")
#endif

#if HPCML_X86
#define AT_LEVEL(level, name) ((level) == 2 ? name##_avx512 : (level) == 1 ? name##_avx2 : name##_baseline)
#else
#define AT_LEVEL(level, name) ((void)(level), name##_baseline)
#endif

#endif
