/* Losses and gradients of dense rows for many problems at once, with a problem in every lane; see linear_loss.h. No include guard.
 *
 * A row of margins holds the columns of the first class of all problems, then those of the second ..., each padded to
 * whole vectors; slopes take their place. Rows that a problem leaves out have weight 0 in its lane.
 */

#define WIDE_BYTES (256 << 10) /* of the margins of a block */

typedef struct {
    REAL *x, *margins, *masks, *totals, *y, *w; /* (rows, stride), (rows, columns), (rows, lanes), (columns), (rows) */
    const REAL **mask, **factor;                /* (rows): what the lanes of a row multiply its weight by */
    int64_t rows, stride, lanes, columns;
} ISA(wide_block);

static size_t ISA(cut_wide)(const linear_t *c, void *memory, ISA(wide_block) *b) {
    b->lanes = ISA(padded)(c->P);
    b->columns = ISA(packed_columns)(c);
    b->stride = ISA(padded)(c->d + 1);
    const int64_t fit = WIDE_BYTES / (b->columns * (int64_t)sizeof(REAL)) / RL * RL, most = ISA(block_rows)(c);
    b->rows = fit > most ? most : fit < RL ? RL : fit;
    const int64_t sizes[] = {b->rows * b->stride, b->rows * b->columns,
                             c->folds && c->held ? b->rows * b->lanes : 0, b->columns, b->rows, b->rows};
    REAL **parts[] = {&b->x, &b->margins, &b->masks, &b->totals, &b->y, &b->w};
    size_t at = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = memory ? (REAL *)memory + at : NULL;
        at += (size_t)(sizes[i] + 15) / 16 * 16;
    }
    char *pointers = memory ? (char *)((REAL *)memory + at) : NULL;
    b->mask = (const REAL **)pointers;
    b->factor = pointers ? (const REAL **)pointers + b->rows : NULL;
    return at * sizeof(REAL) + 2 * (size_t)b->rows * sizeof(REAL *);
}

/* Weights of rows, and what lanes multiply them by. */
static void ISA(weigh_wide)(const linear_t *c, const ISA(wide_block) *b, const ISA(model) *m, int64_t first, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        b->y[i] = (REAL)c->y[first + i];
        b->w[i] = c->weights ? (REAL)c->weights[first + i] : 1;
        b->factor[i] = c->factors ? m->factors + (int64_t)c->y[first + i] * b->lanes : m->ones;
        b->mask[i] = m->ones;
        if (!c->folds || !c->held) continue;
        REAL *own = b->masks + i * b->lanes;
        for (uint64_t left = (uint64_t)c->held[first + i]; left; left &= left - 1) {
            const int64_t fold = __builtin_ctzll(left);
            if (fold >= c->n_folds) break;
            const REAL *keep = m->keeps + fold * b->lanes;
            if (b->mask[i] == m->ones) {
                b->mask[i] = keep;
                continue;
            }
            for (int64_t p = 0; p < b->lanes; p++) own[p] = b->mask[i][p] * keep[p];
            b->mask[i] = own;
        }
    }
}

INLINE VR ISA(weight_of_lanes)(const ISA(wide_block) *b, int64_t i, int64_t p) {
    return ISA(splat_r)(b->w[i]) * ISA(load_r)(b->mask[i] + p) * ISA(load_r)(b->factor[i] + p);
}

/* Problems of one column; `which` is known where this is inlined. */
INLINE void ISA(wide_losses)(const int which, const ISA(wide_block) *b, const ISA(model) *m, REAL epsilon, int64_t n) {
    const VR plus = ISA(splat_r)(1), minus = ISA(splat_r)(-1);
    for (int64_t p = 0; p < b->lanes; p += RL) {
        const VR class = ISA(load_r)(m->positive + p);
        VR total = {0};
        for (int64_t i = 0; i < n; i++) {
            REAL *at = b->margins + i * b->columns + p;
            const VR margin = ISA(load_r)(at), target = ISA(splat_r)(b->y[i]), weight = ISA(weight_of_lanes)(b, i, p);
            VR value, slope, curvature;
            if (which == LOSS_SQUARED_EPSILON_INSENSITIVE) {
                ISA(squared_epsilon_insensitive)(margin, target, epsilon, &value, &slope, &curvature);
            } else {
                const VRM other = ISA(less_r)(target, class) | ISA(less_r)(class, target);
                const VR t = ISA(select_r)(other, minus, plus);
                if (which == LOSS_LOGISTIC) ISA(logistic)(margin, t, &value, &slope, &curvature);
                else ISA(squared_hinge)(margin, t, &value, &slope, &curvature);
            }
            total += weight * value;
            ISA(store_r)(at, weight * slope);
        }
        ISA(store_r)(b->totals + p, total);
    }
}

/* Problems of several columns: as multinomial does it, with problems for rows. */
HOT void ISA(wide_multinomial)(const ISA(wide_block) *b, int64_t n) {
    const int64_t lanes = b->lanes, K = b->columns / lanes;
    const VR one = ISA(splat_r)(1), zero = {0};
    for (int64_t k = 0; k < b->columns; k++) b->totals[k] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < lanes; p += RL) {
            REAL *z = b->margins + i * b->columns + p;
            const int64_t target = (int64_t)b->y[i];
            const VR weight = ISA(weight_of_lanes)(b, i, p), of_target = ISA(load_r)(z + target * lanes);
            VR most = ISA(load_r)(z), first = zero;
            for (int64_t k = 1; k < K; k++) { /* the first column of the largest margin */
                const VR margin = ISA(load_r)(z + k * lanes);
                const VRM more = ISA(less_r)(most, margin);
                most = ISA(select_r)(more, margin, most);
                first = ISA(select_r)(more, ISA(splat_r)((REAL)k), first);
            }
            VR others = zero; /* sum of exp(z_k - z_first) but for that column, where it is 1 */
            for (int64_t k = 0; k < K; k++) {
                const VR e = ISA(exp_r)(ISA(load_r)(z + k * lanes) - most), class = ISA(splat_r)((REAL)k);
                const VRM differs = ISA(less_r)(first, class) | ISA(less_r)(class, first);
                others += ISA(select_r)(differs, e, zero);
                ISA(store_r)(z + k * lanes, e);
            }
            const VR value = weight * (ISA(log_one_plus)(others) + (most - of_target)), part = weight / (one + others);
            REAL *total = b->totals + target * lanes + p;
            ISA(store_r)(total, ISA(load_r)(total) + value);
            for (int64_t k = 0; k < K; k++) {
                VR slope = ISA(load_r)(z + k * lanes) * part;
                if (k == target) slope -= weight;
                ISA(store_r)(z + k * lanes, slope);
            }
        }
}

HOT void ISA(wide_losses_of_block)(const linear_t *c, const ISA(wide_block) *b, const ISA(model) *m, int64_t n) {
    const REAL epsilon = (REAL)c->epsilon;
    switch (c->loss) {
        case LOSS_LOGISTIC: ISA(wide_losses)(LOSS_LOGISTIC, b, m, epsilon, n); break;
        case LOSS_MULTINOMIAL: ISA(wide_multinomial)(b, n); break;
        case LOSS_SQUARED_HINGE: ISA(wide_losses)(LOSS_SQUARED_HINGE, b, m, epsilon, n); break;
        default: ISA(wide_losses)(LOSS_SQUARED_EPSILON_INSENSITIVE, b, m, epsilon, n);
    }
}

static void ISA(wide_shard)(const linear_t *c, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const int64_t e = c->d + 1, K = c->K, P = c->P;
    ISA(model) m;
    ISA(model_of)(c, &m);
    ISA(wide_block) b;
    ISA(cut_wide)(c, scratch, &b);
    ISA(start_block)(c, b.x, b.rows, b.stride);
    const passes_t passes = passes_of((double)b.rows * K * e);
    for (int64_t first = start; first < stop && go_on(&passes); first += b.rows) {
        const int64_t n = stop - first < b.rows ? stop - first : b.rows;
        ISA(copy_rows)(c, m.origin, b.x, b.stride, first, n);
        ISA(rows_times)(b.x, b.stride, n, e, m.w, b.columns, NULL, b.margins, b.columns);
        ISA(weigh_wide)(c, &b, &m, first, n);
        ISA(wide_losses_of_block)(c, &b, &m, n);
        for (int64_t k = 0; k < K / P; k++)
            for (int64_t p = 0; p < P; p++) statistic[k * P + p] += (double)b.totals[k * b.lanes + p];
        for (int64_t k = 0; k < K / P; k++)
            ISA(across_rows)(b.x, b.stride, e, b.margins + k * b.lanes, b.columns, P, n, statistic + K + k * P, K, 0);
    }
}
#undef WIDE_BYTES
