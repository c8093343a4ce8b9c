/* Losses of the rows of a block, a row in every lane; see linear_loss.h. No include guard.
 *
 * z, r and D hold column after column, `rows` numbers apart, of which the first `n`, whole vectors, are there. Slopes
 * and curvatures come out with the weights in them, and losses are added to `loss`, one number a column, if it is not
 * NULL.
 */

/* log(1 + x) of x >= 0, to the last bits of small x too: log(u) x / (u - 1) with u = 1 + x */
INLINE VR ISA(log_one_plus)(VR x) {
    const VR one = ISA(splat_r)(1), u = one + x;
    const VRM lost = ISA(less_r)(u, ISA(splat_r)(1 + (REAL)(REAL_BITS == 32 ? 0x1p-23 : 0x1p-52)));
    const VR below = ISA(select_r)(lost, one, u - one);
    return ISA(select_r)(lost, x, ISA(log_r)(u) * x / below);
}

#define LOGISTIC_TERMS (REAL_BITS == 32 ? 6 : 15) /* the next one is below half a unit in the last place */

/* l = log(1 + exp(-m)), m = t z; with e = exp(-|m|), s = 1/(1 + e): sigma(-m) = e s for m > 0, else s, and
 * log(1 + e) = 2 atanh q, q = e/(2 + e) <= 1/3, by its Taylor series; one division gives both fractions */
INLINE void ISA(logistic)(VR z, VR t, VR *loss, VR *slope, VR *curvature) {
    const VR one = ISA(splat_r)(1), zero = {0}, m = t * z;
    const VR e = ISA(exp_r)(-ISA(abs_r)(m)), a = one + e, b = a + one, inverse = one / (a * b);
    const VR s = inverse * b, q = e * a * inverse, square = q * q;
    VR series = ISA(splat_r)((REAL)(1.0 / (2 * LOGISTIC_TERMS + 1)));
#pragma GCC unroll 16
    for (int k = LOGISTIC_TERMS - 1; k >= 0; k--)
        series = ISA(fma_r)(series, square, ISA(splat_r)((REAL)(1.0 / (2 * k + 1))));
    const VRM right = ISA(less_r)(zero, m);
    *loss = ISA(fma_r)(q + q, series, ISA(max_r)(-m, zero));
    *slope = -t * ISA(select_r)(right, e * s, s);
    *curvature = e * s * s;
}

/* l = max(0, 1 - m)^2 */
INLINE void ISA(squared_hinge)(VR z, VR t, VR *loss, VR *slope, VR *curvature) {
    const VR one = ISA(splat_r)(1), zero = {0}, short_of = ISA(max_r)(one - t * z, zero);
    *loss = short_of * short_of;
    *slope = (REAL)-2 * t * short_of;
    *curvature = ISA(select_r)(ISA(less_r)(zero, short_of), one + one, zero);
}

/* l = max(0, |z - y| - epsilon)^2 */
INLINE void ISA(squared_epsilon_insensitive)(VR z, VR y, REAL epsilon, VR *loss, VR *slope, VR *curvature) {
    const VR zero = {0}, two = ISA(splat_r)(2), residual = z - y;
    const VR beyond = ISA(max_r)(ISA(abs_r)(residual) - epsilon, zero);
    *loss = beyond * beyond;
    *slope = two * ISA(select_r)(ISA(less_r)(residual, zero), -beyond, beyond);
    *curvature = ISA(select_r)(ISA(less_r)(zero, beyond), two, zero);
}

/* One column; `which` is known where this is inlined. */
INLINE void ISA(losses_of_column)(const int which, int64_t n, REAL positive, REAL epsilon, const REAL *z, const REAL *y,
                                  const REAL *w, REAL *r, REAL *D, double *loss) {
    const VR plus = ISA(splat_r)(1), minus = ISA(splat_r)(-1), class = ISA(splat_r)(positive);
    VR total = {0};
    for (int64_t i = 0; i < n; i += RL) {
        const VR margin = ISA(load_r)(z + i), target = ISA(load_r)(y + i), weight = ISA(load_r)(w + i);
        const VRM other = ISA(less_r)(target, class) | ISA(less_r)(class, target);
        const VR t = ISA(select_r)(other, minus, plus);
        VR value, slope, curvature;
        if (which == LOSS_LOGISTIC) ISA(logistic)(margin, t, &value, &slope, &curvature);
        else if (which == LOSS_SQUARED_HINGE) ISA(squared_hinge)(margin, t, &value, &slope, &curvature);
        else ISA(squared_epsilon_insensitive)(margin, target, epsilon, &value, &slope, &curvature);
        total += weight * value;
        ISA(store_r)(r + i, weight * slope);
        ISA(store_r)(D + i, weight * curvature);
    }
    if (loss) *loss += ISA(sum_as_double)(total);
}

/* l = log sum_k exp(z_k) - z_y, slopes p_k - [y = k], curvatures of each column p_k (1 - p_k); p_k is left in z.
 * Columns are `rows` numbers apart; the losses of a class's rows are added to loss[class * step]. */
HOT void ISA(multinomial)(int64_t K, int64_t rows, int64_t n, REAL *z, const REAL *y, const REAL *w, REAL *r, REAL *D,
                          double *loss, int64_t step) {
    const VR one = ISA(splat_r)(1), zero = {0};
    for (int64_t i = 0; i < n; i += RL) {
        const VR weight = ISA(load_r)(w + i), target = ISA(load_r)(y + i);
        VR most = ISA(load_r)(z + i), first = zero, of_target = zero;
        for (int64_t k = 1; k < K; k++) { /* the first column of the largest margin */
            const VR margin = ISA(load_r)(z + k * rows + i);
            const VRM more = ISA(less_r)(most, margin);
            most = ISA(select_r)(more, margin, most);
            first = ISA(select_r)(more, ISA(splat_r)((REAL)k), first);
        }
        VR others = zero; /* sum of exp(z_k - z_first) but for that column, where it is 1 */
        for (int64_t k = 0; k < K; k++) {
            const VR margin = ISA(load_r)(z + k * rows + i), class = ISA(splat_r)((REAL)k);
            const VR e = ISA(exp_r)(margin - most);
            const VRM differs = ISA(less_r)(first, class) | ISA(less_r)(class, first);
            const VRM not_target = ISA(less_r)(target, class) | ISA(less_r)(class, target);
            others += ISA(select_r)(differs, e, zero);
            of_target = ISA(select_r)(not_target, of_target, margin);
            ISA(store_r)(z + k * rows + i, e);
        }
        const VR part = one / (one + others);
        if (loss) {
            REAL values[RL];
            ISA(store_r)(values, weight * (ISA(log_one_plus)(others) + (most - of_target)));
            for (int64_t l = 0; l < RL; l++) loss[(int64_t)y[i + l] * step] += (double)values[l];
        }
        for (int64_t k = 0; k < K; k++) {
            const VR class = ISA(splat_r)((REAL)k), p = ISA(load_r)(z + k * rows + i) * part;
            const VRM not_target = ISA(less_r)(target, class) | ISA(less_r)(class, target);
            ISA(store_r)(z + k * rows + i, p);
            ISA(store_r)(r + k * rows + i, weight * ISA(select_r)(not_target, p, p - one));
            ISA(store_r)(D + k * rows + i, weight * p * (one - p));
        }
    }
}

/* One problem, whose first column is at z, r and D; losses go to those of its columns. */
HOT void ISA(losses_of_problem)(const linear_t *c, int64_t p, int64_t rows, int64_t n, REAL *z, const REAL *y,
                                const REAL *w, REAL *r, REAL *D, double *loss) {
    double *value = loss ? loss + p : NULL;
    if (c->loss == LOSS_MULTINOMIAL) {
        ISA(multinomial)(c->K / c->P, c->P * rows, n, z, y, w, r, D, value, c->P);
        return;
    }
    const REAL positive = (REAL)c->positive[p], epsilon = (REAL)c->epsilon;
    switch (c->loss) {
        case LOSS_LOGISTIC: ISA(losses_of_column)(LOSS_LOGISTIC, n, positive, epsilon, z, y, w, r, D, value); break;
        case LOSS_SQUARED_HINGE:
            ISA(losses_of_column)(LOSS_SQUARED_HINGE, n, positive, epsilon, z, y, w, r, D, value);
            break;
        default: ISA(losses_of_column)(LOSS_SQUARED_EPSILON_INSENSITIVE, n, positive, epsilon, z, y, w, r, D, value);
    }
}
