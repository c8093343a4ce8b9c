/* Includes BODY once for float and once for double, for every instruction set; see real.h. AT_REAL picks one at
 * run time. No include guard. */

#ifndef HPCML_AT_REAL
#define HPCML_AT_REAL
#if defined(__aarch64__)
#include <arm_neon.h>
#endif
#if HPCML_X86
#define AT_REAL(level, is_double, name)                                                                     \
    ((level) == 2   ? ((is_double) ? name##_f64_avx512 : name##_f32_avx512)                                 \
     : (level) == 1 ? ((is_double) ? name##_f64_avx2 : name##_f32_avx2)                                     \
                    : ((is_double) ? name##_f64_baseline : name##_f32_baseline))
#else
#define AT_REAL(level, is_double, name) ((void)(level), (is_double) ? name##_f64_baseline : name##_f32_baseline)
#endif
#endif

#define REAL_LEVEL 0
#define REAL_BYTES 16
#define REAL_ISA baseline
#include "both_reals.h"
#undef REAL_LEVEL
#undef REAL_BYTES
#undef REAL_ISA

#if HPCML_X86
HPCML_TARGET_AVX2
#define REAL_LEVEL 1
#define REAL_BYTES 32
#define REAL_ISA avx2
#include "both_reals.h"
#undef REAL_LEVEL
#undef REAL_BYTES
#undef REAL_ISA
HPCML_TARGET_END

HPCML_TARGET_AVX512
#define REAL_LEVEL 2
#define REAL_BYTES 64
#define REAL_ISA avx512
#include "both_reals.h"
#undef REAL_LEVEL
#undef REAL_BYTES
#undef REAL_ISA
HPCML_TARGET_END
#endif

#undef BODY
