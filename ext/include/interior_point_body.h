/* One pass over a shard, at one instruction set; see interior_point.h. All of it in double precision: what rows weigh
 * in the normal equations spans more than single precision holds. No include guard.
 */
#if REAL_BITS == 64
#include "product.h"

/* Rows of X in double precision, the 1 of the intercept last, then zeros. */
HOT void ISA(load_rows)(const interior_call *call, const int64_t *rows, int64_t n, double *restrict x,
                        int64_t stride) {
    int64_t d = call->d;
    for (int64_t i = 0; i < n; i++) {
        double *restrict row = x + i * stride;
        if (call->is_double) {
            const double *restrict from = (const double *)call->values + rows[i] * d;
            /* whole vectors, the last of them at the end of the row: a call of memcpy takes longer than short rows */
            for (int64_t j = 0; j < d - d % RL; j += RL) memcpy(row + j, from + j, sizeof(VR));
            if (d > RL) memcpy(row + d - RL, from + d - RL, sizeof(VR));
            else memcpy(row, from, (size_t)d * sizeof(double));
        } else {
            const float *restrict from = (const float *)call->values + rows[i] * d;
            for (int64_t j = 0; j < d; j++) row[j] = (double)from[j];
        }
        for (int64_t j = d; j < stride; j++) row[j] = j == d;
    }
}

/* 1 / alpha, 1 / z, D, and the predicted direction; then the corrected one. */
typedef struct {
    VR a, u, v, z, t, c, D, per_a, per_z, da, du, dv;
    VRM live;
} ISA(point);

INLINE ISA(point) ISA(at_point)(const interior_scratch *p, int64_t k) {
    const VR one = ISA(splat_r)(1.0), zero = {0};
    ISA(point) x;
    x.c = ISA(load_r)(p->c + k);
    x.live = ISA(less_r)(zero, x.c);
    VR a = ISA(load_r)(p->a + k);
    x.a = ISA(select_r)(x.live, a, one);
    x.u = ISA(select_r)(x.live, ISA(load_r)(p->u + k), one);
    x.v = ISA(select_r)(x.live, ISA(load_r)(p->v + k), one);
    x.z = ISA(select_r)(x.live, x.c - a, one);
    x.t = ISA(select_r)(x.live, ISA(load_r)(p->t + k), zero);
    VR both = x.a * x.z, per_both = one / both; /* one division for two */
    x.D = ISA(select_r)(x.live, both / (x.u * x.z + x.v * x.a), zero);
    x.per_a = x.z * per_both;
    x.per_z = x.a * per_both;
    return x;
}

INLINE void ISA(predict)(ISA(point) *x, VR slope) {
    x->da = x->D * (x->t - slope);
    x->du = -x->u - x->u * x->da * x->per_a;
    x->dv = x->v * x->da * x->per_z - x->v;
}

INLINE void ISA(correct)(ISA(point) *x, VR slope, VR barrier) {
    VR cross_u = x->da * x->du, cross_v = x->da * x->dv;
    VR r_u = barrier - x->a * x->u - cross_u, r_v = barrier - x->z * x->v + cross_v;
    VR q = x->t + barrier * (x->per_a - x->per_z) - cross_u * x->per_a - cross_v * x->per_z;
    x->da = x->D * (q - slope);
    x->du = (r_u - x->u * x->da) * x->per_a;
    x->dv = (r_v + x->v * x->da) * x->per_z;
}

/* The largest -dx/x */
INLINE VR ISA(overshoot)(const ISA(point) *x) {
    const VR zero = {0};
    VR ratio = ISA(max_r)(-x->da * x->per_a, x->da * x->per_z);
    VR per_both = 1.0 / (x->u * x->v);
    ratio = ISA(max_r)(ratio, ISA(max_r)(-x->du * x->v, -x->dv * x->u) * per_both);
    return ISA(select_r)(x->live, ratio, zero);
}

/* Calls an inline function with the numbers of hinges and, where there is one, of models as constants. */
#define WITH_SIZES(call, function, ...)                                                       \
    do {                                                                                      \
        int64_t J_ = (call)->n_hinges, M_ = (call)->n_models;                                 \
        if (J_ == 1 && M_ == 1) function(__VA_ARGS__, 1, 1);                                  \
        else if (J_ == 1) function(__VA_ARGS__, 1, M_);                                       \
        else if (M_ == 1) function(__VA_ARGS__, 2, 1);                                        \
        else function(__VA_ARGS__, 2, M_);                                                    \
    } while (0)

/* Hinges of some rows, with their margins. */
INLINE void ISA(hinges_of_rows)(const interior_call *call, const int64_t *rows, int64_t n, interior_scratch *p,
                                const int64_t J, const int64_t M) {
    int64_t width = interior_padded(interior_columns(call));
    const double *restrict positive = call->positive, *restrict price = call->price;
    const double *restrict other_price = call->other_price, *restrict margins = p->margins;
    double *restrict s = p->s, *restrict o = p->o, *restrict c = p->c, *restrict t = p->t;
    double *restrict predicted = p->predicted, *restrict corrected = p->corrected;
    double *restrict y = p->first, *restrict weight = p->second; /* free until sums are made */
    /* of two vectors the third is never read */
    int64_t third = call->n_vectors > 2 ? 2 * M : M;
    for (int64_t i = 0; i < n; i++) y[i] = call->y[rows[i]];
    for (int64_t i = 0; i < n; i++) weight[i] = call->weights ? call->weights[rows[i]] : 1.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 0; m < M; m++) {
            /* as whole numbers, for which no branch is made: labels come in any order */
            int64_t label, of_model;
            memcpy(&label, y + i, sizeof label);
            memcpy(&of_model, positive + m, sizeof of_model);
            double is_other = (double)(label != of_model);
            double sign = 1.0 - 2.0 * is_other, own = (1.0 - is_other) * price[m] + is_other * other_price[m];
            for (int64_t j = 0; j < J; j++) {
                int64_t k = (i * M + m) * J + j;
                double side = J == 1 ? sign : j ? -1.0 : 1.0;
                s[k] = side;
                o[k] = J == 1 ? 1.0 : side * y[i] - call->epsilon;
                c[k] = (J == 1 ? own : price[m]) * weight[i];
            }
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t j = 0; j < J; j++) {
                int64_t k = (i * M + m) * J + j;
                t[k] = o[k] - s[k] * margins[i * width + m];
                predicted[k] = s[k] * margins[i * width + M + m];
                corrected[k] = s[k] * margins[i * width + third + m];
            }
}

/* Copies the state of some rows to the scratch memory or back; `whole` if they follow each other. */
static void ISA(move_state)(const interior_call *call, const int64_t *rows, int64_t n, int whole, interior_scratch *p,
                            int back) {
    int64_t H = call->n_models * call->n_hinges;
    double *states[] = {call->alpha, call->lower, call->upper}, *here[] = {p->a, p->u, p->v};
    for (int array = 0; array < 3; array++)
        for (int64_t i = 0; i < (whole ? 1 : n); i++) {
            double *state = states[array] + rows[i] * H, *own = here[array] + i * H;
            memcpy(back ? state : own, back ? own : state, (size_t)(whole ? n * H : H) * sizeof(double));
        }
}

/* Hinges and state of some rows; what pads them has price 0. Returns their number, padded. */
HOT int64_t ISA(hinges_of)(const interior_call *call, const int64_t *rows, int64_t n, int whole, interior_scratch *p) {
    int64_t count = n * call->n_models * call->n_hinges, padded = interior_padded(count);
    WITH_SIZES(call, ISA(hinges_of_rows), call, rows, n, p);
    ISA(move_state)(call, rows, n, whole, p, 0);
    double *zero[] = {p->s, p->o, p->c, p->t, p->predicted, p->corrected, p->a, p->u, p->v};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        for (int64_t k = count; k < padded; k++) zero[i][k] = 0.0;
    return padded;
}

static void ISA(take_step)(interior_scratch *p, int64_t padded) {
    const VR zero = {0};
    for (int64_t k = 0; k < padded; k += RL) {
        ISA(point) x = ISA(at_point)(p, k);
        VR slope = ISA(load_r)(p->corrected + k), step = ISA(load_r)(p->step + k);
        ISA(predict)(&x, ISA(load_r)(p->predicted + k));
        ISA(correct)(&x, slope, ISA(load_r)(p->barrier + k));
        VR a = ISA(min_r)(x.a + step * x.da, x.c * (1.0 - GAP_TO_PRICE));
        ISA(store_r)(p->a + k, ISA(select_r)(x.live, a, zero));
        ISA(store_r)(p->u + k, x.u + step * x.du);
        ISA(store_r)(p->v + k, x.v + step * x.dv);
        ISA(store_r)(p->t + k, ISA(load_r)(p->t + k) - step * slope);
    }
}

/* Of two numbers of every hinge, times its sign, and of D and some terms, the sums over the hinges of a row. */
INLINE void ISA(to_rows_of)(int64_t n, interior_scratch *p, double *const *terms, int64_t n_terms, const int64_t J,
                            const int64_t M) {
    int64_t width = interior_padded(n_terms * M);
    const double *restrict s = p->s, *restrict a = p->first, *restrict b = p->second, *restrict D = p->D;
    double *restrict h = p->h, *restrict of_rows = p->of_rows;
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 0; m < M; m++) {
            double first = 0.0, second = 0.0, sum = 0.0;
            for (int64_t k = (i * M + m) * J; k < (i * M + m + 1) * J; k++) {
                first += s[k] * a[k];
                second += s[k] * b[k];
                sum += D[k];
            }
            of_rows[i * 2 * M + m] = first;
            of_rows[i * 2 * M + M + m] = second;
            h[i * M + m] = sum;
        }
    for (int64_t q = 0; q < n_terms; q++) {
        const double *restrict term = terms[q];
        for (int64_t i = 0; i < n; i++)
            for (int64_t m = 0; m < M; m++) {
                double sum = 0.0;
                for (int64_t k = (i * M + m) * J; k < (i * M + m + 1) * J; k++) sum += term[k];
                p->terms[i * width + q * M + m] = sum;
            }
    }
}

HOT void ISA(to_rows)(const interior_call *call, int64_t n, interior_scratch *p, double *const *terms,
                      int64_t n_terms) {
    WITH_SIZES(call, ISA(to_rows_of), n, p, terms, n_terms);
}

/* The largest overshoots so far, of every model, from those of the hinges. */
HOT void ISA(most_of)(const interior_call *call, int64_t n, interior_scratch *p) {
    int64_t J = call->n_hinges, M = call->n_models;
    const double *restrict ratio = p->a;
    double *restrict most = p->most;
    if (M == 1) { /* vectors of one model */
        VR largest = {0};
        for (int64_t k = 0; k < interior_padded(n * J); k += RL) largest = ISA(max_r)(largest, ISA(load_r)(ratio + k));
        for (int lane = 0; lane < RL; lane++) most[0] = largest[lane] > most[0] ? largest[lane] : most[0];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t m = 0; m < M; m++)
            for (int64_t j = 0; j < J; j++, ratio++) most[m] = *ratio > most[m] ? *ratio : most[m];
}
#undef WITH_SIZES

/* Rows of a block that count, in order; returns their number. */
static int64_t ISA(live_rows)(const interior_call *call, int64_t first, int64_t stop, int64_t *rows) {
    int64_t n = 0;
    for (int64_t i = first; i < stop; i++) {
        rows[n] = i;
        n += !call->weights || call->weights[i] > 0.0;
    }
    return n;
}

static void ISA(interior_rows)(const void *given, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const interior_call *call = given;
    int64_t d = call->d, e = d + 1, stride = interior_stride(d), M = call->n_models, H = M * call->n_hinges;
    int64_t columns = interior_columns(call), width = interior_padded(columns), n_terms = interior_n_terms(call);
    int64_t rows[BLOCK_ROWS];
    int sparse = call->indptr != NULL, gram = call->pass == GRAM;
    interior_scratch p;
    interior_cut(&p, scratch, call);
    const VR zero = {0}, one = ISA(splat_r)(1.0);
    double *sums = statistic + (gram ? M * e * e : 0);
    const double unit = 1.0;
    memset(p.margins, 0, (size_t)(BLOCK_ROWS * width) * sizeof(double));
    memset(p.most, 0, (size_t)M * sizeof(double));
    for (int64_t k = 0; k < BLOCK_ROWS * H;)
        for (int64_t m = 0; m < M; m++)
            for (int64_t j = 0; j < call->n_hinges; j++, k++) {
                p.barrier[k] = call->barrier ? call->barrier[m] : 0.0;
                p.step[k] = call->step ? call->step[m] : 0.0;
            }
    if (!sparse) ISA(pack_columns)(call->vectors, e, columns, 1, e, p.packed);
    const passes_t passes = passes_of((double)BLOCK_ROWS * e * (columns + (gram ? M * e : 0)));
    for (int64_t first = start; first < stop && go_on(&passes); first += BLOCK_ROWS) {
        int64_t end = stop - first < BLOCK_ROWS ? stop : first + BLOCK_ROWS;
        int64_t n = ISA(live_rows)(call, first, end, rows);
        if (!n) continue;
        int whole = n == end - first;
        if (sparse) {
            interior_sparse_margins(call, rows, n, p.margins, width);
        } else {
            ISA(load_rows)(call, rows, n, p.x, stride);
            ISA(rows_times)(p.x, stride, n, e, p.packed, columns, NULL, p.margins, width);
        }
        int64_t padded = ISA(hinges_of)(call, rows, n, whole, &p);
        if (gram) {
            ISA(take_step)(&p, padded);
            ISA(move_state)(call, rows, n, whole, &p, 1);
        }
        for (int64_t k = 0; k < padded; k += RL) {
            ISA(point) x = ISA(at_point)(&p, k);
            if (gram) {
                VR o = ISA(load_r)(p.o + k);
                ISA(store_r)(p.D + k, x.D);
                ISA(store_r)(p.first + k, ISA(select_r)(x.live, x.a, zero));
                ISA(store_r)(p.second + k, x.D * x.t);
                /* products, live hinges, primal and dual objective, where nothing is read any more */
                ISA(store_r)(p.a + k, ISA(select_r)(x.live, x.a * x.u + x.z * x.v, zero));
                ISA(store_r)(p.u + k, ISA(select_r)(x.live, one, zero));
                ISA(store_r)(p.v + k, ISA(select_r)(x.live, x.c * ISA(max_r)(x.t, zero), zero));
                ISA(store_r)(p.o + k, ISA(select_r)(x.live, o * x.a, zero));
                continue;
            }
            ISA(predict)(&x, ISA(load_r)(p.predicted + k));
            if (call->pass == CORRECT) {
                VR cross_u = x.da * x.du, cross_v = x.da * x.dv;
                ISA(store_r)(p.D + k, x.D);
                ISA(store_r)(p.first + k, x.D * (x.per_a - x.per_z));
                ISA(store_r)(p.second + k, -x.D * (cross_u * x.per_a + cross_v * x.per_z));
                ISA(store_r)(p.u + k, ISA(select_r)(x.live, cross_u - cross_v, zero));
            } else {
                ISA(correct)(&x, ISA(load_r)(p.corrected + k), ISA(load_r)(p.barrier + k));
            }
            ISA(store_r)(p.a + k, ISA(overshoot)(&x));
        }
        if (!gram) ISA(most_of)(call, n, &p);
        if (call->pass == STEP) continue;
        double *terms[] = {gram ? p.a : p.u, p.u, p.v, p.o};
        ISA(to_rows)(call, n, &p, terms, n_terms / M);
        ISA(across_rows)(&unit, 0, 1, p.terms, interior_padded(n_terms), n_terms, n, sums + 2 * M * e, n_terms, 0);
        if (sparse) {
            interior_sparse_sums(call, rows, n, p.of_rows, sums);
            if (gram) interior_sparse_gram(call, rows, n, p.h, statistic);
            continue;
        }
        ISA(across_rows)(p.of_rows, 2 * M, 2 * M, p.x, stride, e, n, sums, e, 0);
        for (int64_t m = 0; gram && m < M; m++) {
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j < stride; j++) p.hx[i * stride + j] = p.h[i * M + m] * p.x[i * stride + j];
            ISA(across_rows)(p.hx, stride, e, p.x, stride, e, n, statistic + m * e * e, e, 1);
        }
    }
    if (gram) return;
    double *codes = call->pass == CORRECT ? sums + 2 * M * e + M : statistic;
    for (int64_t m = 0; m < M; m++) codes[m * N_CODES + interior_code(p.most[m])] += 1.0;
}
#endif
