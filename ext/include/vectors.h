/* The vector operations that the bodies need, for the instruction set that is being compiled. No include guard. */

typedef double VF __attribute__((vector_size(VL * 8), aligned(8), may_alias));
typedef uint64_t VU __attribute__((vector_size(VL * 8), aligned(8), may_alias));
typedef int64_t VI __attribute__((vector_size(VL * 8), aligned(8), may_alias));

INLINE VF ISA(splat)(double x) { return (VF){0} + x; }
INLINE VU ISA(splat_u)(uint64_t x) { return (VU){0} + x; }

/* Exact for integers below 2^52. */
INLINE VF ISA(to_double)(VU x) { return (VF)(x | 0x4330000000000000u) - 0x1p52; }

/* mask ? a : b, where every lane of the mask is 0 or -1 */
INLINE VF ISA(select)(VI mask, VF a, VF b) { return (VF)((mask & (VI)a) | (~mask & (VI)b)); }
INLINE VI ISA(select_i)(VI mask, VI a, VI b) { return (mask & a) | (~mask & b); }

INLINE VU ISA(prefix_sum)(VU x) {
    const VU zero = {0};
#if VL == 8
    x += __builtin_shufflevector(zero, x, 0, 8, 9, 10, 11, 12, 13, 14);
    x += __builtin_shufflevector(zero, x, 0, 0, 8, 9, 10, 11, 12, 13);
    x += __builtin_shufflevector(zero, x, 0, 0, 0, 0, 8, 9, 10, 11);
#elif VL == 4
    x += __builtin_shufflevector(zero, x, 0, 4, 5, 6);
    x += __builtin_shufflevector(zero, x, 0, 0, 4, 5);
#else
    x += __builtin_shufflevector(zero, x, 0, 2);
#endif
    return x;
}

INLINE VU ISA(splat_last)(VU x) {
#if VL == 8
    return __builtin_shufflevector(x, x, 7, 7, 7, 7, 7, 7, 7, 7);
#elif VL == 4
    return __builtin_shufflevector(x, x, 3, 3, 3, 3);
#else
    return __builtin_shufflevector(x, x, 1, 1);
#endif
}

INLINE VI ISA(lanes)(void) {
    VI x;
    for (int i = 0; i < VL; i++) x[i] = i;
    return x;
}

/* Natural logarithm of positive normal numbers, the same operations as the NumPy reference:
 * x = 2^e m, s = (m - 1)/(m + 1), log m = 2 s + 2 s (z/3 + z^2/5 + ...), z = s^2 */
#define LOG_TERMS 11
INLINE VF ISA(log)(VF x) {
    VU bits = (VU)x;
    VF e = ISA(to_double)(bits >> 52) - 1023.0;
    VF m = (VF)((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    VI high = (VI)(m > 1.4142135623730951);
    m = ISA(select)(high, m * 0.5, m);
    e = ISA(select)(high, e + 1.0, e);
    VF s = (m - 1.0) / (m + 1.0), z = s * s, series = {0};
    for (int k = LOG_TERMS; k > 0; k--) series = z * (series + 1.0 / (2 * k + 1));
    return e * 0.6931471805599453 + (2.0 * s + (2.0 * s) * series);
}

/* x log x, 0 at 0 */
INLINE VF ISA(x_log_x)(VF x) {
    VI positive = (VI)(x > 0.0);
    return (VF)(positive & (VI)(x * ISA(log)(ISA(select)(positive, x, ISA(splat)(1.0)))));
}

/* Sum in eight lanes, element i into lane i mod 8, then the lanes in a fixed tree. */
INLINE double ISA(fold_lanes)(const double *a) {
    double b0 = a[0] + a[4], b1 = a[1] + a[5], b2 = a[2] + a[6], b3 = a[3] + a[7];
    return (b0 + b2) + (b1 + b3);
}
