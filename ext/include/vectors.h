/* The vector operations that the bodies need, for the instruction set that is being compiled. No include guard. */

typedef double VF __attribute__((vector_size(VL * 8), aligned(8), may_alias));
typedef uint64_t VU __attribute__((vector_size(VL * 8), aligned(8), may_alias));
typedef int64_t VI __attribute__((vector_size(VL * 8), aligned(8), may_alias));

INLINE VF ISA(splat)(double x) { return (VF){0} + x; }
INLINE VU ISA(splat_u)(uint64_t x) { return (VU){0} + x; }

/* Exact for integers below 2^52. */
INLINE VF ISA(to_double)(VU x) { return (VF)(x | 0x4330000000000000u) - 0x1p52; }

/* VM: one truth value a lane; & and | join them */
#if VL == 8
typedef __mmask8 VM;
#define VM_ALL ((VM)0xFF)
INLINE VM ISA(above)(VF a, VF b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ); }
INLINE VM ISA(at_least)(VF a, VF b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GE_OQ); }
INLINE VM ISA(differ)(VU a, VU b) { return _mm512_cmpneq_epu64_mask((__m512i)a, (__m512i)b); }
INLINE VM ISA(below_i)(VI a, VI b) { return _mm512_cmplt_epi64_mask((__m512i)a, (__m512i)b); }
INLINE VF ISA(select)(VM m, VF a, VF b) { return (VF)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a); }
INLINE VI ISA(select_i)(VM m, VI a, VI b) { return (VI)_mm512_mask_blend_epi64(m, (__m512i)b, (__m512i)a); }
INLINE int ISA(any)(VM m) { return m != 0; }
#else
typedef VI VM;
#define VM_ALL (~(VI){0})
INLINE VM ISA(above)(VF a, VF b) { return (VI)(a > b); }
INLINE VM ISA(at_least)(VF a, VF b) { return (VI)(a >= b); }
INLINE VM ISA(differ)(VU a, VU b) { return (VI)(a != b); }
INLINE VM ISA(below_i)(VI a, VI b) { return a < b; }
INLINE VF ISA(select)(VM m, VF a, VF b) { return (VF)((m & (VI)a) | (~m & (VI)b)); }
INLINE VI ISA(select_i)(VM m, VI a, VI b) { return (m & a) | (~m & b); }
INLINE int ISA(any)(VM m) {
    int64_t found = 0;
    for (int i = 0; i < VL; i++) found |= m[i];
    return found != 0;
}
#endif

/* Lanes of a, then of b, by number. GCC has had clang's name for it since version 12 only. */
#ifndef SHUFFLE
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (VI){__VA_ARGS__})
#endif
#endif

INLINE VU ISA(prefix_sum)(VU x) {
    const VU zero = {0};
#if VL == 8
    x += SHUFFLE(zero, x, 0, 8, 9, 10, 11, 12, 13, 14);
    x += SHUFFLE(zero, x, 0, 0, 8, 9, 10, 11, 12, 13);
    x += SHUFFLE(zero, x, 0, 0, 0, 0, 8, 9, 10, 11);
#elif VL == 4
    x += SHUFFLE(zero, x, 0, 4, 5, 6);
    x += SHUFFLE(zero, x, 0, 0, 4, 5);
#else
    x += SHUFFLE(zero, x, 0, 2);
#endif
    return x;
}

INLINE VU ISA(splat_last)(VU x) {
#if VL == 8
    return SHUFFLE(x, x, 7, 7, 7, 7, 7, 7, 7, 7);
#elif VL == 4
    return SHUFFLE(x, x, 3, 3, 3, 3);
#else
    return SHUFFLE(x, x, 1, 1);
#endif
}

INLINE VI ISA(lanes)(void) {
    VI x;
    for (int i = 0; i < VL; i++) x[i] = i;
    return x;
}

/* Natural logarithm of positive normal numbers, the same operations as the NumPy reference:
 * x = 2^e m, s = (m - 1)/(m + 1), log m = 2 s + 2 s (z/3 + z^2/5 + ...), z = s^2 */
INLINE VF ISA(log)(VF x) {
    VU bits = (VU)x;
    VF e = ISA(to_double)(bits >> 52) - 1023.0;
    VF m = (VF)((bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    VM high = ISA(above)(m, ISA(splat)(SQRT2));
    m = ISA(select)(high, m * 0.5, m);
    e = ISA(select)(high, e + 1.0, e);
    VF s = (m - 1.0) / (m + 1.0), z = s * s, series = {0};
    for (int k = LOG_TERMS; k > 0; k--) series = z * (series + 1.0 / (2 * k + 1));
    return e * LN2 + (2.0 * s + (2.0 * s) * series);
}

/* x log x, 0 at 0 */
INLINE VF ISA(x_log_x)(VF x) {
    const VF zero = {0};
    VM positive = ISA(above)(x, zero);
    return ISA(select)(positive, x * ISA(log)(ISA(select)(positive, x, ISA(splat)(1.0))), zero);
}

/* Sum in eight lanes, element i into lane i mod 8, then the lanes in a fixed tree. */
INLINE double ISA(fold_lanes)(const double *a) {
    double b0 = a[0] + a[4], b1 = a[1] + a[5], b2 = a[2] + a[6], b3 = a[3] + a[7];
    return (b0 + b2) + (b1 + b3);
}
