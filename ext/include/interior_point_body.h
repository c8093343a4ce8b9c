/* One pass over a shard, at one instruction set; see interior_point.h. All of it in double precision: what rows weigh
 * in the normal equations spans more than single precision holds. No include guard.
 */
#if REAL_BITS == 64
#include "product.h"

/* Rows of X in double precision, the 1 of the intercept last, then zeros. */
HOT void ISA(load_rows)(const interior_call *call, int64_t first, int64_t n, double *restrict x, int64_t stride) {
    int64_t d = call->d;
    for (int64_t i = 0; i < n; i++) {
        double *restrict row = x + i * stride;
        if (call->is_double) {
            memcpy(row, (const double *)call->values + (first + i) * d, (size_t)d * sizeof(double));
        } else {
            const float *restrict from = (const float *)call->values + (first + i) * d;
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

/* The largest -dx/x so far */
INLINE VR ISA(overshoot)(const ISA(point) *x, VR most) {
    VR ratio = ISA(max_r)(-x->da * x->per_a, x->da * x->per_z);
    VR per_both = 1.0 / (x->u * x->v);
    ratio = ISA(max_r)(ratio, ISA(max_r)(-x->du * x->v, -x->dv * x->u) * per_both);
    return ISA(select_r)(x->live, ISA(max_r)(most, ratio), most);
}

/* Hinges of n rows from the first on, with margins of the vectors; what pads them has price 0. Returns their
 * number, padded. */
static int64_t ISA(hinges_of)(const interior_call *call, int64_t first, int64_t n, interior_scratch *p) {
    int64_t J = call->n_hinges, count = n * J, padded = (count + WIDTH - 1) / WIDTH * WIDTH;
    const double *y = call->y + first, *weights = call->weights ? call->weights + first : NULL;
    if (J == 1) {
        for (int64_t i = 0; i < n; i++) {
            p->s[i] = y[i] == call->positive ? 1.0 : -1.0;
            p->c[i] = y[i] == call->positive ? call->price : call->other_price;
            p->o[i] = 1.0;
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            p->s[2 * i] = 1.0, p->s[2 * i + 1] = -1.0;
            p->c[2 * i] = p->c[2 * i + 1] = call->price;
            p->o[2 * i] = y[i] - call->epsilon, p->o[2 * i + 1] = -y[i] - call->epsilon;
        }
    }
    for (int64_t i = 0; weights && i < n; i++)
        for (int64_t k = i * J; k < (i + 1) * J; k++) p->c[k] *= weights[i];
    for (int64_t i = 0; i < n; i++) {
        const double *margin = p->margins + i * WIDTH;
        for (int64_t k = i * J; k < (i + 1) * J; k++) {
            double s = p->s[k];
            p->t[k] = p->o[k] - s * margin[0];
            p->predicted[k] = s * margin[1];
            p->corrected[k] = s * margin[2]; /* of two vectors: what pads them */
        }
    }
    memcpy(p->a, call->alpha + first * J, (size_t)count * sizeof(double));
    memcpy(p->u, call->lower + first * J, (size_t)count * sizeof(double));
    memcpy(p->v, call->upper + first * J, (size_t)count * sizeof(double));
    double *zero[] = {p->s, p->o, p->c, p->t, p->predicted, p->corrected, p->a, p->u, p->v};
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        for (int64_t k = count; k < padded; k++) zero[i][k] = 0.0;
    return padded;
}

static void ISA(take_step)(const interior_call *call, int64_t first, int64_t n, interior_scratch *p, int64_t padded) {
    const VR barrier = ISA(splat_r)(call->barrier), step = ISA(splat_r)(call->step), zero = {0};
    int64_t count = n * call->n_hinges;
    for (int64_t k = 0; k < padded; k += RL) {
        ISA(point) x = ISA(at_point)(p, k);
        VR slope = ISA(load_r)(p->corrected + k);
        ISA(predict)(&x, ISA(load_r)(p->predicted + k));
        ISA(correct)(&x, slope, barrier);
        VR a = ISA(min_r)(x.a + step * x.da, x.c * (1.0 - GAP_TO_PRICE));
        ISA(store_r)(p->a + k, ISA(select_r)(x.live, a, zero));
        ISA(store_r)(p->u + k, x.u + step * x.du);
        ISA(store_r)(p->v + k, x.v + step * x.dv);
        ISA(store_r)(p->t + k, ISA(load_r)(p->t + k) - step * slope);
    }
    memcpy(call->alpha + first * call->n_hinges, p->a, (size_t)count * sizeof(double));
    memcpy(call->lower + first * call->n_hinges, p->u, (size_t)count * sizeof(double));
    memcpy(call->upper + first * call->n_hinges, p->v, (size_t)count * sizeof(double));
}

/* Two numbers of every hinge, times its sign, to two numbers of every row; and the sum of D. */
static void ISA(to_rows)(const interior_call *call, int64_t n, interior_scratch *p) {
    int64_t J = call->n_hinges;
    for (int64_t i = 0; i < n; i++) {
        double first = 0.0, second = 0.0, h = 0.0;
        for (int64_t k = i * J; k < (i + 1) * J; k++) {
            first += p->s[k] * p->first[k];
            second += p->s[k] * p->second[k];
            h += p->D[k];
        }
        p->of_rows[i * WIDTH] = first;
        p->of_rows[i * WIDTH + 1] = second;
        p->h[i] = h;
    }
}

static void ISA(interior_rows)(const void *given, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const interior_call *call = given;
    int64_t d = call->d, e = d + 1, stride = interior_stride(d);
    int sparse = call->indptr != NULL, gram = call->pass == GRAM;
    interior_scratch p = interior_cut(scratch, d, sparse);
    const VR zero = {0}, one = ISA(splat_r)(1.0), barrier = ISA(splat_r)(call->barrier);
    VR products = zero, live = zero, primal = zero, dual = zero, cross = zero, most = zero;
    double *sums = statistic + (gram ? e * e : 0);
    memset(p.margins, 0, BLOCK_ROWS * WIDTH * sizeof(double));
    if (!sparse) ISA(pack_columns)(call->vectors, e, call->n_vectors, 1, e, p.packed);
    for (int64_t first = start; first < stop; first += BLOCK_ROWS) {
        int64_t n = stop - first < BLOCK_ROWS ? stop - first : BLOCK_ROWS;
        if (sparse) {
            interior_sparse_margins(call, first, n, p.margins);
        } else {
            ISA(load_rows)(call, first, n, p.x, stride);
            ISA(rows_times)(p.x, stride, n, e, p.packed, call->n_vectors, NULL, p.margins, WIDTH);
        }
        int64_t padded = ISA(hinges_of)(call, first, n, &p);
        if (gram) ISA(take_step)(call, first, n, &p, padded);
        for (int64_t k = 0; k < padded; k += RL) {
            ISA(point) x = ISA(at_point)(&p, k);
            if (gram) {
                VR o = ISA(load_r)(p.o + k);
                products += ISA(select_r)(x.live, x.a * x.u + x.z * x.v, zero);
                live += ISA(select_r)(x.live, one, zero);
                primal += ISA(select_r)(x.live, x.c * ISA(max_r)(x.t, zero), zero);
                dual += ISA(select_r)(x.live, o * x.a, zero);
                ISA(store_r)(p.D + k, x.D);
                ISA(store_r)(p.first + k, ISA(select_r)(x.live, x.a, zero));
                ISA(store_r)(p.second + k, x.D * x.t);
                continue;
            }
            ISA(predict)(&x, ISA(load_r)(p.predicted + k));
            if (call->pass == CORRECT) {
                VR cross_u = x.da * x.du, cross_v = x.da * x.dv;
                cross += ISA(select_r)(x.live, cross_u - cross_v, zero);
                ISA(store_r)(p.D + k, x.D);
                ISA(store_r)(p.first + k, x.D * (x.per_a - x.per_z));
                ISA(store_r)(p.second + k, -x.D * (cross_u * x.per_a + cross_v * x.per_z));
            } else {
                ISA(correct)(&x, ISA(load_r)(p.corrected + k), barrier);
            }
            most = ISA(overshoot)(&x, most);
        }
        if (call->pass == STEP) continue;
        ISA(to_rows)(call, n, &p);
        if (sparse) {
            interior_sparse_sums(call, first, n, p.of_rows, sums);
            if (gram) interior_sparse_gram(call, first, n, p.h, statistic);
            continue;
        }
        ISA(across_rows)(p.of_rows, WIDTH, 2, p.x, stride, e, n, sums, e, 0);
        if (!gram) continue;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < stride; j++) p.hx[i * stride + j] = p.h[i] * p.x[i * stride + j];
        ISA(across_rows)(p.hx, stride, e, p.x, stride, e, n, statistic, e, 1);
    }
    if (gram) {
        double *rest = sums + 2 * e;
        rest[0] = ISA(sum_r)(products);
        rest[1] = ISA(sum_r)(live);
        rest[2] = ISA(sum_r)(primal);
        rest[3] = ISA(sum_r)(dual);
        return;
    }
    double *codes = call->pass == CORRECT ? sums + 2 * e + 1 : statistic, largest = 0.0;
    if (call->pass == CORRECT) sums[2 * e] = ISA(sum_r)(cross);
    for (int lane = 0; lane < RL; lane++) largest = most[lane] > largest ? most[lane] : largest;
    codes[interior_code(largest)] += 1.0;
}
#endif
