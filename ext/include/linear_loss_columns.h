/* Losses and gradients of sparse rows for many problems at once; see linear_loss.h. No include guard.
 *
 * RL problems are taken at a time, one in every lane. A pass over the rows of some shards leaves their slopes in memory,
 * as many as the second cache holds, and a pass over the columns adds them up: every entry of a gradient is the sum over
 * the shards in their fixed tree, which is climbed in the first cache. Row after row, a gradient as long as the table is
 * wide would be written and added up for every shard, which takes longer than all else.
 */

/* RL numbers in double precision. */
typedef double ISA(doubles) __attribute__((vector_size(RL * sizeof(double)), aligned(sizeof(double)), may_alias));
typedef int64_t ISA(bits) __attribute__((vector_size(RL * sizeof(double)), aligned(sizeof(double)), may_alias));
INLINE void ISA(add_doubles)(double *to, VR x) {
    *(ISA(doubles) *)to += __builtin_convertvector(x, ISA(doubles));
}

static int64_t ISA(lanes_at_once)(void) { return RL; }

/* Bytes of the coefficients (classes, d + 1, RL), of the slopes (classes, rows, RL), of what lanes read, and of a
 * thread's block. */
static void ISA(bytes_of_lanes)(const linear_columns_t *t, size_t bytes[4]) {
    const linear_t *c = t->c;
    const size_t K = (size_t)(c->K / c->P), vector = RL * sizeof(REAL);
    bytes[0] = K * (size_t)(c->d + 1) * vector;
    bytes[1] = K * (size_t)t->most_rows * vector;
    bytes[2] = (size_t)(2 + c->n_folds + c->n_classes) * vector;
    bytes[3] = (LINEAR_ROWS * (K + 1) + K) * vector + LINEAR_ROWS * (2 * sizeof(REAL) + 2 * sizeof(REAL *));
}

static ISA(wide_block) ISA(block_of_lanes)(const linear_t *c, void *scratch) {
    const int64_t columns = c->K / c->P * RL;
    ISA(wide_block) b = {.rows = LINEAR_ROWS, .lanes = RL, .columns = columns, .masks = scratch};
    b.margins = b.masks + LINEAR_ROWS * RL;
    b.totals = b.margins + LINEAR_ROWS * columns;
    b.y = b.totals + columns;
    b.w = b.y + LINEAR_ROWS;
    b.mask = (const REAL **)(b.w + LINEAR_ROWS);
    b.factor = b.mask + LINEAR_ROWS;
    return b;
}

/* What lanes read. */
static ISA(model) ISA(model_of_lanes)(const linear_columns_t *t) {
    REAL *at = t->lanes, *keeps = at + 2 * RL;
    return (ISA(model)){
        .lanes = RL, .ones = at, .positive = at + RL, .keeps = keeps, .factors = keeps + t->c->n_folds * RL};
}

static void ISA(pack_lanes)(const linear_columns_t *t) {
    const linear_t *c = t->c;
    const ISA(model) m = ISA(model_of_lanes)(t);
    for (int64_t l = 0; l < RL; l++) {
        const int64_t p = t->first + l, inside = p < c->P;
        m.ones[l] = 1;
        m.positive[l] = inside && c->K == c->P ? (REAL)c->positive[p] : 0;
        for (int64_t f = 0; f < c->n_folds; f++) m.keeps[f * RL + l] = inside ? c->folds[p] != f : 0;
        for (int64_t k = 0; k < c->n_classes; k++)
            m.factors[k * RL + l] = inside ? (REAL)c->factors[p * c->n_classes + k] : 0;
    }
}

/* The coefficients from feature j on, side by side. */
static void ISA(pack_coefficients)(const linear_columns_t *t, int64_t j, int64_t stop) {
    const linear_t *c = t->c;
    const int64_t e = c->d + 1, P = c->P, n = P - t->first < RL ? P - t->first : RL;
    for (int64_t k = 0; k < c->K / P; k++) {
        REAL *to = (REAL *)t->w + k * e * RL;
        const double *from = c->W + (k * P + t->first) * e;
        for (int64_t i = j; i < stop; i++)
            for (int64_t l = 0; l < RL; l++) to[i * RL + l] = l < n ? (REAL)from[l * e + i] : 0;
    }
}

/* A row's margins. Four sums take turns, because one waits for itself. */
INLINE VR ISA(row_times_lanes)(const linear_t *c, const REAL *w, int64_t begin, int64_t end) {
    const REAL *x = c->x;
    const int32_t *indices = c->indices;
    VR sum[4] = {ISA(load_r)(w + c->d * RL)};
    int64_t q = begin;
    for (; q + 4 <= end; q += 4)
#pragma GCC unroll 4
        for (int t = 0; t < 4; t++)
            sum[t] = ISA(fma_r)(ISA(splat_r)(x[q + t]), ISA(load_r)(w + indices[q + t] * (int64_t)RL), sum[t]);
    for (; q < end; q++)
        sum[0] = ISA(fma_r)(ISA(splat_r)(x[q]), ISA(load_r)(w + indices[q] * (int64_t)RL), sum[0]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

HOT void ISA(lanes_margins)(const linear_t *c, const REAL *w, int64_t first, int64_t n, REAL *margins) {
    const int64_t K = c->K / c->P;
    for (int64_t k = 0; k < K; k++, w += (c->d + 1) * RL)
        for (int64_t i = 0; i < n; i++) {
            const VR z = ISA(row_times_lanes)(c, w, c->indptr[first + i], c->indptr[first + i + 1]);
            ISA(store_r)(margins + (i * K + k) * RL, z);
        }
}

/* The slopes of a shard's rows; its losses and its part of the gradient by the intercepts go to its sums. */
static void ISA(slopes_of_shard)(const linear_columns_t *t, int64_t shard, void *scratch) {
    const linear_t *c = t->c;
    const int64_t K = c->K / c->P, at = shard - t->first_shard;
    const ISA(wide_block) b = ISA(block_of_lanes)(c, scratch);
    const ISA(model) m = ISA(model_of_lanes)(t);
    double *losses = t->sums + 2 * at * b.columns, *intercepts = losses + b.columns;
    for (int64_t k = 0; k < 2 * b.columns; k++) losses[k] = 0;
    for (int64_t first = t->bounds[shard], n; first < t->bounds[shard + 1]; first += n) {
        const int64_t left = t->bounds[shard + 1] - first;
        n = left < LINEAR_ROWS ? left : LINEAR_ROWS;
        ISA(lanes_margins)(c, t->w, first, n, b.margins);
        ISA(weigh_wide)(c, &b, &m, first, n);
        ISA(wide_losses_of_block)(c, &b, &m, n);
        for (int64_t k = 0; k < b.columns; k++) losses[k] += (double)b.totals[k];
        for (int64_t i = 0; i < n; i++) {
            const int64_t row = first + i - t->first_row;
            t->shards[row] = (uint8_t)at;
            for (int64_t k = 0; k < K; k++) {
                const VR slope = ISA(load_r)(b.margins + (i * K + k) * RL);
                ISA(add_doubles)(intercepts + k * RL, slope);
                ISA(store_r)((REAL *)t->slopes + (k * t->most_rows + row) * RL, slope);
            }
        }
    }
}

/* Adds the sums of the shards at hand, (shards, RL), up, and to what waits for them; afterwards they are 0. Column j of
 * class k is d for the intercept, d + 1 for the losses. */
static void ISA(climb_column)(const linear_columns_t *t, double *sums, int64_t k, int64_t j) {
    const linear_t *c = t->c;
    const int64_t e = c->d + 2, lanes = c->P - t->first < RL ? c->P - t->first : RL;
    for (int64_t w = 1; w < t->n_shards; w *= 2)
        for (int64_t i = 0; i + w < t->n_shards; i += 2 * w)
            *(ISA(doubles) *)(sums + i * RL) += *(const ISA(doubles) *)(sums + (i + w) * RL);
    int64_t level = 0;
    for (; t->group >> level; level++) { /* the sums of left halves wait at the levels of the bits of the group */
        const int64_t waits = t->group >> level & 1;
        if (!waits && !t->is_last) break;
        if (waits)
            *(ISA(doubles) *)sums += *(const ISA(doubles) *)(t->waiting + ((level * (c->K / c->P) + k) * e + j) * RL);
    }
    double *to = t->is_last ? t->statistic + (j > c->d ? 0 : c->K + j * c->K) + k * c->P + t->first
                            : t->waiting + ((level * (c->K / c->P) + k) * e + j) * RL;
    memcpy(to, sums, (size_t)(t->is_last ? lanes : RL) * sizeof(double));
    memset(sums, 0, (size_t)(t->n_shards * RL) * sizeof(double));
}

#define AHEAD 12       /* entries by which memory is asked for slopes */
#define COLUMNS_AHEAD 2 /* columns by which it is asked for entries: those of some rows are short stretches */

INLINE void ISA(ask_for_entries)(const linear_columns_t *t, int64_t j, int64_t n) {
    if (j >= t->c->d) return;
    const char *values = (const char *)((const REAL *)t->values + t->from[j]);
    const char *rows = (const char *)(t->rows + t->from[j]);
    for (int64_t at = 0; at < n * (int64_t)sizeof(REAL); at += HPCML_ALIGNMENT) __builtin_prefetch(values + at);
    for (int64_t at = 0; at < n * (int64_t)sizeof(int32_t); at += HPCML_ALIGNMENT) __builtin_prefetch(rows + at);
}

/* The gradient of a class by the coefficients of a feature, of the rows at hand; `sums` is 0 before and after. */
HOT void ISA(gradient_of_column)(const linear_columns_t *t, int64_t k, int64_t j, double *sums) {
    const int64_t end = t->starts[j + 1], stop = t->first_row + t->n_rows;
    const REAL *values = t->values, *slopes = (const REAL *)t->slopes + k * t->most_rows * RL;
    int64_t q = t->from[j], last = -1;
    ISA(doubles) sum = {0};
    const int64_t likely = (end - t->starts[j]) * t->n_rows / t->c->n + 4;
    ISA(ask_for_entries)(t, j + COLUMNS_AHEAD, likely < 64 ? likely : 64);
    for (; q < end && t->rows[q] < stop; q++) {
        const int64_t row = t->rows[q] - t->first_row, next = q + AHEAD < end ? t->rows[q + AHEAD] - t->first_row : row;
        __builtin_prefetch(slopes + (next < t->n_rows ? next : row) * RL);
        const VR product = ISA(load_r)(slopes + row * RL) * ISA(splat_r)(values[q]);
        const int64_t shard = t->shards[row];
        /* a new shard starts from 0; the sum stays in registers, and nobody guesses where shards end */
        const ISA(bits) stays = (ISA(bits)){0} - (shard == last);
        sum = (ISA(doubles))((ISA(bits))sum & stays) + __builtin_convertvector(product, ISA(doubles));
        *(ISA(doubles) *)(sums + shard * RL) = sum;
        last = shard;
    }
    if (k == t->c->K / t->c->P - 1) t->from[j] = q;
    ISA(climb_column)(t, sums, k, j);
}
#undef AHEAD
#undef COLUMNS_AHEAD

/* The losses, and the gradient by the intercepts. */
static void ISA(sums_without_column)(const linear_columns_t *t, double *sums) {
    const int64_t K = t->c->K / t->c->P;
    for (int64_t part = 0; part < 2; part++)
        for (int64_t k = 0; k < K; k++) {
            for (int64_t shard = 0; shard < t->n_shards; shard++)
                memcpy(sums + shard * RL, t->sums + ((2 * shard + part) * K + k) * RL, RL * sizeof(double));
            ISA(climb_column)(t, sums, k, part ? t->c->d : t->c->d + 1);
        }
}
