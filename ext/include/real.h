/* Vectors of REAL, which is float or double: the part of a body that each_real.h includes for both and for every
 * instruction set. No include guard.
 *
 * A body uses ISA(name) for its own names, REAL, RL lanes of REAL in a VR, and the operations below. Sums over
 * lanes have one fixed order.
 */

typedef REAL VR __attribute__((vector_size(RL * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
typedef REAL_INT VRI __attribute__((vector_size(RL * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

INLINE VR ISA(splat_r)(REAL x) { return x - (VR){0}; } /* x - 0 is x, -0 included: no addition is left */
INLINE VR ISA(load_r)(const REAL *p) { return *(const VR *)p; }
INLINE void ISA(store_r)(REAL *p, VR x) { *(VR *)p = x; }

/* The first n < RL numbers, then zeros; and their way back. */
INLINE VR ISA(load_some)(const REAL *p, int64_t n) {
    VR x = {0};
    memcpy(&x, p, (size_t)n * sizeof(REAL));
    return x;
}
INLINE void ISA(store_some)(REAL *p, VR x, int64_t n) { memcpy(p, &x, (size_t)n * sizeof(REAL)); }

/* a b + c, rounded once where the instruction set has it */
INLINE VR ISA(fma_r)(VR a, VR b, VR c) {
#if REAL_LEVEL == 2 && REAL_BITS == 32
    return (VR)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif REAL_LEVEL == 2
    return (VR)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif REAL_LEVEL == 1 && REAL_BITS == 32
    return (VR)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif REAL_LEVEL == 1
    return (VR)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__) && REAL_BITS == 32
    return (VR)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__aarch64__)
    return (VR)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
}

/* VRM: one truth value a lane */
#if REAL_LEVEL == 2 && REAL_BITS == 32
typedef __mmask16 VRM;
INLINE VRM ISA(less_r)(VR a, VR b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
INLINE VR ISA(select_r)(VRM m, VR a, VR b) { return (VR)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
INLINE VRI ISA(select_ri)(VRM m, VRI a, VRI b) { return (VRI)_mm512_mask_blend_epi32(m, (__m512i)b, (__m512i)a); }
#elif REAL_LEVEL == 2
typedef __mmask8 VRM;
INLINE VRM ISA(less_r)(VR a, VR b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ); }
INLINE VR ISA(select_r)(VRM m, VR a, VR b) { return (VR)_mm512_mask_blend_pd(m, (__m512d)b, (__m512d)a); }
INLINE VRI ISA(select_ri)(VRM m, VRI a, VRI b) { return (VRI)_mm512_mask_blend_epi64(m, (__m512i)b, (__m512i)a); }
#else
typedef VRI VRM;
INLINE VRM ISA(less_r)(VR a, VR b) { return (VRI)(a < b); }
INLINE VR ISA(select_r)(VRM m, VR a, VR b) { return (VR)((m & (VRI)a) | (~m & (VRI)b)); }
INLINE VRI ISA(select_ri)(VRM m, VRI a, VRI b) { return (m & a) | (~m & b); }
#endif

INLINE VR ISA(min_r)(VR a, VR b) { return ISA(select_r)(ISA(less_r)(b, a), b, a); }
INLINE VR ISA(max_r)(VR a, VR b) { return ISA(select_r)(ISA(less_r)(a, b), b, a); }
INLINE VR ISA(abs_r)(VR a) { return (VR)((VRI)a & ~((VRI){0} + REAL_SIGN)); }

/* Halves are added until one lane is left. */
INLINE REAL ISA(sum_r)(VR x) {
    REAL a[RL];
    memcpy(a, &x, sizeof a);
    for (int half = RL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
}

/* The same in double precision. */
INLINE double ISA(sum_as_double)(VR x) {
    double a[RL];
    for (int i = 0; i < RL; i++) a[i] = (double)x[i];
    for (int half = RL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0];
}

/* exp x = 2^n exp r, n the whole number nearest to x / ln 2, |r| <= ln 2 / 2, exp r by its Taylor series whose next
 * term is below half a unit in the last place. 0 below EXP_LOW, where the result would not be a normal number;
 * inf above EXP_HIGH. */
INLINE VR ISA(exp_r)(VR x) {
    const VR low = ISA(splat_r)(EXP_LOW), high = ISA(splat_r)(EXP_HIGH), one = ISA(splat_r)(1);
    VRM under = ISA(less_r)(x, low), over = ISA(less_r)(high, x);
    VR inside = ISA(min_r)(ISA(max_r)(x, low), high);
    VR shifted = ISA(fma_r)(inside, ISA(splat_r)(1.4426950408889634), ISA(splat_r)(EXP_MAGIC));
    VR n = shifted - EXP_MAGIC;
    VR r = ISA(fma_r)(n, ISA(splat_r)(-EXP_LN2_HIGH), inside);
    r = ISA(fma_r)(n, ISA(splat_r)(-EXP_LN2_LOW), r);
    static const double inverse_factorial[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                                               1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800,
                                               1.0 / 479001600, 1.0 / 6227020800.0};
    VR series = ISA(splat_r)((REAL)inverse_factorial[EXP_TERMS]);
#pragma GCC unroll 16
    for (int k = EXP_TERMS - 1; k >= 1; k--)
        series = ISA(fma_r)(series, r, ISA(splat_r)((REAL)inverse_factorial[k]));
    series = ISA(fma_r)(series, r, one);
    /* the low bits of `shifted` hold n: they go to the exponent */
    VR result = (VR)((VRI)series + ((VRI)shifted << REAL_MANTISSA));
    result = ISA(select_r)(under, (VR){0}, result);
    result = ISA(select_r)(over, ISA(splat_r)((REAL)INFINITY), result);
    return ISA(select_r)((VRM)(ISA(less_r)(x, x + one) | under | over), result, x + x); /* NaN stays NaN */
}

/* log of positive normal numbers: x = 2^e m, s = (m - 1)/(m + 1), log m = 2 s + 2 s (z/3 + z^2/5 + ...), z = s^2 */
INLINE VR ISA(log_r)(VR x) {
    VRI bits = (VRI)x;
    VR e = (VR)((bits >> REAL_MANTISSA) | REAL_WHOLE_BITS) - (REAL_WHOLE + REAL_BIAS);
    VR m = (VR)((bits & REAL_FRACTION) | REAL_ONE);
    VRM high = ISA(less_r)(ISA(splat_r)((REAL)SQRT2), m);
    m = ISA(select_r)(high, m * (REAL)0.5, m);
    e = ISA(select_r)(high, e + (REAL)1, e);
    VR s = (m - (REAL)1) / (m + (REAL)1), z = s * s, series = {0};
#pragma GCC unroll 16
    for (int k = LOG_TERMS_R; k > 0; k--) series = z * (series + (REAL)(1.0 / (2 * k + 1)));
    VR tail = ISA(fma_r)(s + s, series, e * (REAL)LOG_LN2_LOW); /* small terms first */
    return ISA(fma_r)(e, ISA(splat_r)((REAL)LOG_LN2_HIGH), s + s + tail);
}
