/* What rows add to the statistic of their center, and squared distances from the differences themselves; all in
 * double precision, a row after the other. No include guard.
 */

typedef struct {
    VD lanes;
    double rest;
} ISA(squares_t);

INLINE double ISA(total)(ISA(squares_t) squares) {
    double a[DL];
    memcpy(a, &squares.lanes, sizeof a);
    for (int half = DL / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) a[i] += a[i + half];
    return a[0] + squares.rest;
}

/* x - origin, rounded as REAL */
INLINE VD ISA(less_origin)(const REAL *x, const REAL *origin) {
#if REAL_BITS == 64
    return ISA(as_doubles)(x) - ISA(as_doubles)(origin);
#else
    return __builtin_convertvector(*(const ISA(vh) *)x - *(const ISA(vh) *)origin, VD);
#endif
}

/* sum += w (x - origin) */
INLINE void ISA(add_row)(const REAL *x, const REAL *origin, double w, double *sum, int64_t d, const int weighted) {
    int64_t f = 0;
    for (; f + DL <= d; f += DL) {
        VD value = ISA(less_origin)(x + f, origin + f);
        if (weighted) value *= w;
        *(VD *)(sum + f) += value;
    }
    for (; f < d; f++) {
        double value = (double)(REAL)(x[f] - origin[f]);
        sum[f] += weighted ? w * value : value;
    }
}

/* squares += w |x - origin - c|^2 */
INLINE void ISA(add_squares)(const REAL *x, const REAL *origin, const REAL *c, double w, int64_t d,
                             ISA(squares_t) * squares) {
    int64_t f = 0;
    for (; f + DL <= d; f += DL) {
        VD difference = ISA(less_origin)(x + f, origin + f) - ISA(as_doubles)(c + f);
        squares->lanes += (w * difference) * difference;
    }
    for (; f < d; f++) {
        double difference = (double)(REAL)(x[f] - origin[f]) - (double)c[f];
        squares->rest += (w * difference) * difference;
    }
}

INLINE double ISA(squared_distance)(const REAL *x, const REAL *origin, const REAL *c, int64_t d) {
    ISA(squares_t) squares = {{0}, 0};
    ISA(add_squares)(x, origin, c, 1.0, d, &squares);
    return ISA(total)(squares);
}
