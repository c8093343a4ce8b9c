/* Includes BODY for float, then for double, at one instruction set; for each_real.h only. */

#define SUFFIX HPCML_JOIN(f32, REAL_ISA)
#define REAL float
#define REAL_INT int32_t
#define REAL_BITS 32
#define RL (REAL_BYTES / 4)
#define REAL_SIGN INT32_MIN
#define REAL_MANTISSA 23
#define REAL_BIAS 127
#define REAL_WHOLE 8388608.0f /* 2^23: below it a whole number is its low bits */
#define REAL_WHOLE_BITS 0x4B000000
#define REAL_FRACTION 0x007FFFFF
#define REAL_ONE 0x3F800000
#define EXP_LOW (-87.3365447505531f) /* log of the smallest normal number */
#define EXP_HIGH (88.7228317f)
#define EXP_MAGIC (12582912.0f) /* 1.5 2^23: what is added to it is rounded to a whole number in its low bits */
#define EXP_LN2_HIGH (0.693359375f)
#define EXP_LN2_LOW (-2.12194440054690583e-4f)
#define EXP_TERMS 7
#define LOG_TERMS_R 4
#define LOG_LN2_HIGH 0.693359375
#define LOG_LN2_LOW (-2.12194440054690583e-4)
#include "real.h"
#include BODY
#include "end_real.h"

#define SUFFIX HPCML_JOIN(f64, REAL_ISA)
#define REAL double
#define REAL_INT int64_t
#define REAL_BITS 64
#define RL (REAL_BYTES / 8)
#define REAL_SIGN INT64_MIN
#define REAL_MANTISSA 52
#define REAL_BIAS 1023
#define REAL_WHOLE 4503599627370496.0 /* 2^52 */
#define REAL_WHOLE_BITS 0x4330000000000000
#define REAL_FRACTION 0x000FFFFFFFFFFFFF
#define REAL_ONE 0x3FF0000000000000
#define EXP_LOW (-708.39641853226408)
#define EXP_HIGH (709.78271289338397)
#define EXP_MAGIC (6755399441055744.0) /* 1.5 2^52 */
#define EXP_LN2_HIGH (0.693147180369123816490)
#define EXP_LN2_LOW (1.90821492927058770002e-10)
#define EXP_TERMS 13
#define LOG_TERMS_R 11
#define LOG_LN2_HIGH 0.693147180369123816490
#define LOG_LN2_LOW 1.90821492927058770002e-10
#include "real.h"
#include BODY
#include "end_real.h"
