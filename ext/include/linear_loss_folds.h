/* Losses and gradients of the training rows of every fold, at parameters that all folds share; see linear_loss.h. No
 * include guard.
 *
 * Margins, losses and slopes are computed once for all folds. Rows that the same folds leave out follow each other
 * here, and what they add up to goes to all other folds: nothing is subtracted.
 */

#define FOLDS_ROWS 2048 /* that are brought into order at a time */

typedef struct {
    int32_t *order, *group; /* rows of a group after those of another; group of every row */
    int64_t *sets, *ends;   /* folds that leave the rows of a group out; where a group ends in `order` */
    double *sum;            /* losses and gradient of a group */
} ISA(groups);

static size_t ISA(cut_groups)(const linear_t *c, char *memory, ISA(groups) *g) {
    const size_t rows = FOLDS_ROWS, sums = (size_t)(c->K * (c->d + 2));
    g->sum = (double *)memory;
    g->sets = (int64_t *)(memory + sums * sizeof(double));
    g->ends = g->sets + rows;
    g->order = (int32_t *)(g->ends + rows);
    g->group = g->order + rows;
    return sums * sizeof(double) + rows * (2 * sizeof(int64_t) + 2 * sizeof(int32_t));
}

/* Rows by their set of folds, in the order in which sets turn up; returns the number of groups. */
static int64_t ISA(group_rows)(const int64_t *held, int64_t n, const ISA(groups) *g) {
    int64_t n_groups = 0, last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!n_groups || g->sets[last] != held[i]) {
            for (last = 0; last < n_groups && g->sets[last] != held[i]; last++) {}
            if (last == n_groups) g->sets[n_groups] = held[i], g->ends[n_groups++] = 0;
        }
        g->group[i] = (int32_t)last;
        g->ends[last]++;
    }
    for (int64_t at = 0, j = 0; j < n_groups; j++) {
        const int64_t size = g->ends[j];
        g->ends[j] = at;
        at += size;
    }
    for (int64_t i = 0; i < n; i++) g->order[g->ends[g->group[i]]++] = (int32_t)i;
    return n_groups;
}

/* Losses and gradient of some rows, added to `sum`. */
static void ISA(add_some)(const linear_t *c, const ISA(wide_block) *b, const ISA(model) *m, int64_t first,
                          const int32_t *order, int64_t n, double *sum) {
    const int64_t e = c->d + 1, K = c->K, P = c->P;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = first + order[i];
        const REAL *from = (const REAL *)c->x + row * c->d;
        REAL *to = b->x + i * b->stride;
        for (int64_t j = 0; j < c->d; j++) to[j] = from[j] - m->origin[j];
        b->y[i] = (REAL)c->y[row];
        b->w[i] = c->weights ? (REAL)c->weights[row] : 1;
        b->mask[i] = b->factor[i] = m->ones;
    }
    ISA(rows_times)(b->x, b->stride, n, e, m->w, b->columns, NULL, b->margins, b->columns);
    ISA(wide_losses_of_block)(c, b, m, n);
    for (int64_t k = 0; k < K / P; k++)
        for (int64_t p = 0; p < P; p++) sum[k * P + p] += (double)b->totals[k * b->lanes + p];
    for (int64_t k = 0; k < K / P; k++)
        ISA(across_rows)(b->x, b->stride, e, b->margins + k * b->lanes, b->columns, P, n, sum + K + k * P, K, 0);
}

static void ISA(folds_shard)(const linear_t *c, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const int64_t K = c->K, each = K * (c->d + 1), size = K + each;
    double *losses = statistic, *gradients = statistic + c->F * K;
    ISA(model) m;
    ISA(model_of)(c, &m);
    ISA(wide_block) b;
    ISA(groups) g;
    const size_t taken = ISA(cut_wide)(c, scratch, &b);
    ISA(cut_groups)(c, (char *)scratch + (taken + 63) / 64 * 64, &g);
    ISA(start_block)(c, b.x, b.rows, b.stride);
    const passes_t passes = passes_of((double)FOLDS_ROWS * each);
    for (int64_t first = start; first < stop && go_on(&passes); first += FOLDS_ROWS) {
        const int64_t n = stop - first < FOLDS_ROWS ? stop - first : FOLDS_ROWS;
        const int64_t n_groups = ISA(group_rows)(c->held + first, n, &g);
        for (int64_t j = 0, at = 0; j < n_groups; j++) {
            for (int64_t k = 0; k < size; k++) g.sum[k] = 0;
            for (int64_t some; at < g.ends[j]; at += some) {
                some = g.ends[j] - at < b.rows ? g.ends[j] - at : b.rows;
                ISA(add_some)(c, &b, &m, first, g.order + at, some, g.sum);
            }
            for (int64_t f = 0; f < c->F; f++) {
                if (g.sets[j] >> c->each[f] & 1) continue;
                for (int64_t k = 0; k < K; k++) losses[f * K + k] += g.sum[k];
                for (int64_t k = 0; k < each; k++) gradients[f * each + k] += g.sum[K + k];
            }
        }
    }
}

static size_t ISA(folds_scratch_bytes)(const linear_t *c) {
    ISA(wide_block) b;
    ISA(groups) g;
    return (ISA(cut_wide)(c, NULL, &b) + 63) / 64 * 64 + ISA(cut_groups)(c, NULL, &g);
}
#undef FOLDS_ROWS
