/* One block of rows through a mixture: E, then M. A row's numbers follow one fixed order of operations, whatever its
 * lane and block; sums over rows have one fixed order as well: lanes of a block, then blocks in double precision. */

#if REAL_BITS == 32
#define BLOCK (72 * RL) /* rows at most: a lane adds up 72 numbers before they go to double */
#else
#define BLOCK 1152 /* a shard of most tables is one block */
#endif
#define STRIDE (BLOCK + RL)      /* from feature to feature: a power of two would meet the same lines of the cache */
#define CHUNK (16 * RL)          /* rows whose weighted deviations lie in the nearest cache */
#define CHUNK_STRIDE (CHUNK + RL)
#define TILE 4 /* columns of a tile */
#if REAL_LEVEL == 2
#define PANEL_VECTORS 4 /* 4 x 4 sums of 32 registers */
#define TILE_ROWS 4
#else
#define PANEL_VECTORS 2 /* 4 x 2 sums of 16 registers */
#define TILE_ROWS 2
#endif
#define PANEL (PANEL_VECTORS * RL)
#if REAL_BITS == 32
#define SQRT_R sqrtf
#else
#define SQRT_R sqrt
#endif

static int64_t ISA(block_rows)(void) { return BLOCK; }
INLINE int64_t ISA(up)(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

#if REAL_BYTES * 8 / REAL_BITS == 16
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#elif REAL_BYTES * 8 / REAL_BITS == 8
#define LANE_NUMBERS {0, 1, 2, 3, 4, 5, 6, 7}
#elif REAL_BYTES * 8 / REAL_BITS == 4
#define LANE_NUMBERS {0, 1, 2, 3}
#else
#define LANE_NUMBERS {0, 1}
#endif

/* -- lanes --------------------------------------------------------------------------------------------------- */

/* Lanes of a where the bit h of their number is 0 and of b, h places down, where it is 1; with `high` h places up. */
INLINE VR ISA(halves)(VR a, VR b, const int h, const int high) {
#if defined(__clang__)
    VR out;
    for (int l = 0; l < RL; l++) out[l] = high ? (l & h ? b[l] : a[l + h]) : (l & h ? b[l - h] : a[l]);
    return out;
#else
    const VRI lane = LANE_NUMBERS, set = (VRI)((lane & h) != 0);
    return __builtin_shuffle(a, b, high ? lane + ((set & RL) | (~set & h)) : lane + (set & (RL - h)));
#endif
}

INLINE void ISA(transpose)(VR *v) {
#pragma GCC unroll 4
    for (int h = RL / 2; h > 0; h /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < RL; i++)
            if (!(i & h)) {
                VR low = ISA(halves)(v[i], v[i + h], h, 0), high = ISA(halves)(v[i], v[i + h], h, 1);
                v[i] = low, v[i + h] = high;
            }
}

/* Lane l becomes the sum of the lanes of v[l]. */
INLINE VR ISA(sums_of_lanes)(const REAL *lanes) {
    VR v[RL];
#pragma GCC unroll 16
    for (int i = 0; i < RL; i++) v[i] = ISA(load_r)(lanes + i * RL);
#pragma GCC unroll 4
    for (int h = RL / 2; h > 0; h /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < h; i++) v[i] = ISA(halves)(v[i], v[i + h], h, 0) + ISA(halves)(v[i], v[i + h], h, 1);
    return v[0];
}

/* Rows less the center, feature after feature; zeros up to `rows`, a multiple of RL. */
HOT void ISA(read_block)(const mixture_t *m, int64_t start, int64_t count, int64_t rows, REAL *xt) {
    const REAL *x = (const REAL *)m->x + start * m->d, *center = m->center;
    const int64_t d = m->d, whole = count / RL * RL;
    int64_t i0 = 0;
    for (; i0 + RL <= d; i0 += RL)
        for (int64_t r = 0; r < whole; r += RL) {
            VR v[RL];
            const VR c = ISA(load_r)(center + i0);
#pragma GCC unroll 16
            for (int l = 0; l < RL; l++) v[l] = ISA(load_r)(x + (r + l) * d + i0) - c;
            ISA(transpose)(v);
#pragma GCC unroll 16
            for (int l = 0; l < RL; l++) ISA(store_r)(xt + (i0 + l) * STRIDE + r, v[l]);
        }
    for (int64_t i = 0; i < d; i++) {
        for (int64_t r = i < i0 ? whole : 0; r < count; r++) xt[i * STRIDE + r] = x[r * d + i] - center[i];
        for (int64_t r = count; r < rows; r++) xt[i * STRIDE + r] = 0;
    }
}

/* -- E ------------------------------------------------------------------------------------------------------- */

/* Numbers of a packed factor: for every TILE columns, those of each row down to the diagonal. */
static int64_t ISA(packed_length)(int64_t d) {
    int64_t length = 0;
    for (int64_t j = 0; j < d; j += TILE) length += TILE * (j + TILE < d ? j + TILE : d);
    return length;
}

static void ISA(pack_factors)(const mixture_t *m) {
    REAL *out = m->packed;
    const int64_t d = m->d;
    for (int64_t c = 0; c < m->k; c++) {
        const REAL *factor = (const REAL *)m->factors + c * d * d;
        for (int64_t j0 = 0; j0 < d; j0 += TILE)
            for (int64_t i = 0; i < j0 + TILE && i < d; i++)
                for (int64_t j = j0; j < j0 + TILE; j++) *out++ = j < d && i <= j ? factor[i * d + j] : 0;
    }
}

/* q = |z P|^2 of a panel of rows, z feature after feature */
HOT void ISA(length_of_product)(const REAL *z, const REAL *packed, int64_t d, REAL *q) {
    VR total[PANEL_VECTORS] = {{0}};
    for (int64_t j0 = 0; j0 < d; j0 += TILE) {
        VR y[TILE][PANEL_VECTORS] = {{{0}}};
        const int64_t rows = j0 + TILE < d ? j0 + TILE : d;
        for (int64_t i = 0; i < rows; i++, packed += TILE) {
            VR value[PANEL_VECTORS];
#pragma GCC unroll 8
            for (int v = 0; v < PANEL_VECTORS; v++) value[v] = ISA(load_r)(z + i * PANEL + v * RL);
#pragma GCC unroll 8
            for (int j = 0; j < TILE; j++) {
                const VR factor = ISA(splat_r)(packed[j]);
#pragma GCC unroll 8
                for (int v = 0; v < PANEL_VECTORS; v++) y[j][v] = ISA(fma_r)(value[v], factor, y[j][v]);
            }
        }
#pragma GCC unroll 8
        for (int j = 0; j < TILE; j++)
#pragma GCC unroll 8
            for (int v = 0; v < PANEL_VECTORS; v++) total[v] = ISA(fma_r)(y[j][v], y[j][v], total[v]);
    }
#pragma GCC unroll 8
    for (int v = 0; v < PANEL_VECTORS; v++) ISA(store_r)(q + v * RL, total[v]);
}

/* q = sum of ((x - m) p)^2 over the features of a panel of rows */
HOT void ISA(length_of_scaled)(const REAL *xt, const REAL *mean, const REAL *factor, int64_t d, REAL *q) {
    VR total[PANEL_VECTORS] = {{0}};
    for (int64_t i = 0; i < d; i++) {
        const VR p = ISA(splat_r)(factor[i]), mp = ISA(splat_r)(-mean[i] * factor[i]);
#pragma GCC unroll 8
        for (int v = 0; v < PANEL_VECTORS; v++) {
            VR y = ISA(fma_r)(ISA(load_r)(xt + i * STRIDE + v * RL), p, mp);
            total[v] = ISA(fma_r)(y, y, total[v]);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < PANEL_VECTORS; v++) ISA(store_r)(q + v * RL, total[v]);
}

/* log w_k N(x | k) of a block, component after component; a panel of rows stays in the nearest cache */
static void ISA(log_joint)(const mixture_t *m, const REAL *xt, int64_t rows, REAL *z, REAL *log_p) {
    const int64_t d = m->d, length = ISA(packed_length)(d);
    const VR lowest = ISA(splat_r)(LOWEST_LOG);
    for (int64_t r = 0; r < rows; r += PANEL)
        for (int64_t c = 0; c < m->k; c++) {
            const REAL *mean = (const REAL *)m->means + c * d, weight = ((const REAL *)m->log_weights)[c];
            REAL *out = log_p + c * STRIDE + r;
            if (m->diagonal) ISA(length_of_scaled)(xt + r, mean, (const REAL *)m->factors + c * d, d, out);
            else {
                for (int64_t i = 0; i < d; i++)
#pragma GCC unroll 8
                    for (int v = 0; v < PANEL_VECTORS; v++)
                        ISA(store_r)(z + i * PANEL + v * RL, ISA(load_r)(xt + i * STRIDE + r + v * RL) - mean[i]);
                ISA(length_of_product)(z, (const REAL *)m->packed + c * length, d, out);
            }
            for (int v = 0; v < PANEL_VECTORS; v++) {
                VR p = ISA(fma_r)(ISA(load_r)(out + v * RL), ISA(splat_r)((REAL)-0.5), ISA(splat_r)(weight));
                ISA(store_r)(out + v * RL, ISA(select_r)(ISA(less_r)(lowest, p), p, lowest)); /* NaN: lowest */
            }
        }
}

/* Turn log w_k N(x | k) into responsibilities; return log-densities. Vectors side by side hide each other's waits. */
HOT void ISA(normalise)(REAL *log_p, int64_t k, int64_t rows, REAL *log_densities) {
    const VR nothing = ISA(splat_r)(LOG_NOTHING), zero = {0};
    for (int64_t r = 0; r < rows; r += PANEL) {
        VR top[PANEL_VECTORS], total[PANEL_VECTORS] = {{0}};
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int v = 0; v < PANEL_VECTORS; v++)
        EACH_VECTOR top[v] = ISA(load_r)(log_p + r + v * RL);
        for (int64_t c = 1; c < k; c++)
            EACH_VECTOR top[v] = ISA(max_r)(top[v], ISA(load_r)(log_p + c * STRIDE + r + v * RL));
        for (int64_t c = 0; c < k; c++) {
            REAL *p = log_p + c * STRIDE + r;
            EACH_VECTOR {
                const VR below = ISA(load_r)(p + v * RL) - top[v];
                const VR e = ISA(select_r)(ISA(less_r)(below, nothing), zero, ISA(exp_r)(below));
                ISA(store_r)(p + v * RL, e);
                total[v] += e;
            }
        }
        EACH_VECTOR {
            ISA(store_r)(log_densities + r + v * RL, top[v] + ISA(log_r)(total[v]));
            total[v] = (REAL)1 / total[v];
        }
        for (int64_t c = 0; c < k; c++) {
            REAL *p = log_p + c * STRIDE + r;
            EACH_VECTOR ISA(store_r)(p + v * RL, ISA(load_r)(p + v * RL) * total[v]);
        }
#undef EACH_VECTOR
    }
}

/* -- M ------------------------------------------------------------------------------------------------------- */

/* u = sqrt(r) (x - s), sum of r (x - s) in lanes; `vectors` of a chunk */
HOT void ISA(weigh)(const REAL *xt, const REAL *r, const REAL *shift, int64_t d, int64_t vectors, REAL *root, REAL *u,
                    REAL *sums) {
    for (int64_t j = 0; j < vectors * RL; j++) root[j] = SQRT_R(r[j]);
    for (int64_t i = 0; i < d; i++) {
        const VR s = ISA(splat_r)(shift[i]);
        VR even = ISA(load_r)(sums + i * RL), odd = {0};
        int64_t v = 0;
        for (; v + 2 <= vectors; v += 2) {
            const VR z0 = ISA(load_r)(xt + i * STRIDE + v * RL) - s, z1 = ISA(load_r)(xt + i * STRIDE + v * RL + RL) - s;
            even = ISA(fma_r)(ISA(load_r)(r + v * RL), z0, even);
            odd = ISA(fma_r)(ISA(load_r)(r + v * RL + RL), z1, odd);
            ISA(store_r)(u + i * CHUNK_STRIDE + v * RL, ISA(load_r)(root + v * RL) * z0);
            ISA(store_r)(u + i * CHUNK_STRIDE + v * RL + RL, ISA(load_r)(root + v * RL + RL) * z1);
        }
        ISA(store_r)(sums + i * RL, even + odd);
    }
}

/* sums += u_i u_j, in lanes, for a tile of features */
INLINE void ISA(products_tile)(const REAL *a, const REAL *b, int64_t vectors, REAL *sums, const int upper) {
    VR sum[TILE_ROWS][TILE];
#pragma GCC unroll 4
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = upper ? i : 0; j < TILE; j++) sum[i][j] = ISA(load_r)(sums + (i * TILE + j) * RL);
    for (int64_t v = 0; v < vectors; v++) {
        VR column[TILE];
#pragma GCC unroll 4
        for (int j = 0; j < TILE; j++) column[j] = ISA(load_r)(b + j * CHUNK_STRIDE + v * RL);
#pragma GCC unroll 4
        for (int i = 0; i < TILE_ROWS; i++) {
            const VR row = upper ? column[i] : ISA(load_r)(a + i * CHUNK_STRIDE + v * RL);
#pragma GCC unroll 4
            for (int j = upper ? i : 0; j < TILE; j++) sum[i][j] = ISA(fma_r)(row, column[j], sum[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 4
        for (int j = upper ? i : 0; j < TILE; j++) ISA(store_r)(sums + (i * TILE + j) * RL, sum[i][j]);
}

HOT void ISA(products_upper)(const REAL *u, int64_t vectors, REAL *sums) {
    ISA(products_tile)(u, u, vectors, sums, 1);
}
HOT void ISA(products_other)(const REAL *a, const REAL *b, int64_t vectors, REAL *sums) {
    ISA(products_tile)(a, b, vectors, sums, 0);
}

/* sum of u u^T on and above the diagonal, tile after tile */
static void ISA(products)(const REAL *u, int64_t d, int64_t vectors, REAL *sums) {
    for (int64_t i = 0; i < d; i += TILE_ROWS)
        for (int64_t j = i / TILE * TILE; j < d; j += TILE, sums += TILE_ROWS * TILE * RL) {
            if (i == j && TILE_ROWS == TILE) ISA(products_upper)(u + i * CHUNK_STRIDE, vectors, sums);
            else ISA(products_other)(u + i * CHUNK_STRIDE, u + j * CHUNK_STRIDE, vectors, sums);
        }
}

static int64_t ISA(product_vectors)(int64_t d) {
    int64_t n = 0;
    for (int64_t i = 0; i < d; i += TILE_ROWS) n += (ISA(up)(d, TILE) - i / TILE * TILE) / TILE * TILE_ROWS * TILE;
    return n;
}

/* sums of r z and of r z^2 in lanes, z = x - s, for TILE features */
HOT void ISA(scaled_moments)(const REAL *xt, const REAL *r, const REAL *shift, int64_t features, int64_t vectors,
                             REAL *sums, REAL *squares) {
    VR sum[TILE], square[TILE];
    REAL s[TILE] = {0};
    memcpy(s, shift, (size_t)features * sizeof(REAL));
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) sum[i] = ISA(load_r)(sums + i * RL), square[i] = ISA(load_r)(squares + i * RL);
    for (int64_t v = 0; v < vectors; v++) {
        const VR w = ISA(load_r)(r + v * RL);
#pragma GCC unroll 4
        for (int i = 0; i < TILE; i++) {
            const VR z = ISA(load_r)(xt + i * STRIDE + v * RL) - s[i], wz = w * z;
            sum[i] += wz;
            square[i] = ISA(fma_r)(wz, z, square[i]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) ISA(store_r)(sums + i * RL, sum[i]), ISA(store_r)(squares + i * RL, square[i]);
}

/* Add responsibilities of a chunk to a count in lanes; return whether there are any. */
INLINE int ISA(add_count)(const REAL *r, int64_t vectors, REAL *count) {
    VR n = {0};
    for (int64_t v = 0; v < vectors; v++) n += ISA(load_r)(r + v * RL);
    ISA(store_r)(count, ISA(load_r)(count) + n);
    return ISA(sum_r)(n) > 0;
}

/* Scratch of a thread, in numbers: `dp` features, so many as fill tiles. */
typedef struct {
    int64_t dp, tiles; /* vectors of sums of products */
    REAL *xt, *r, *log_densities, *z, *u, *root, *lanes, *flat;
} ISA(space);

static size_t ISA(lay_out)(const mixture_t *m, REAL *base, ISA(space) *s) {
    REAL *at = base;
    const int64_t dp = s->dp = ISA(up)(m->d, TILE), vectors = m->diagonal ? dp : ISA(product_vectors)(m->d);
    s->tiles = vectors;
    s->xt = at, at += dp * STRIDE;
    s->r = at, at += m->k * STRIDE;
    s->log_densities = at, at += BLOCK;
    s->z = at, at += dp * PANEL;
    s->u = at, at += m->diagonal ? 0 : dp * CHUNK_STRIDE;
    s->root = at, at += CHUNK;
    s->lanes = at, at += ISA(up)(vectors + dp + 1, RL) * RL; /* count, sums, squares */
    s->flat = at, at += ISA(up)(vectors + dp + 1, RL);
    return (size_t)(at - base) * sizeof(REAL);
}

static size_t ISA(scratch_bytes)(const mixture_t *m) {
    ISA(space) s;
    return ISA(lay_out)(m, NULL, &s);
}

/* Add the moments of a block to the statistic of the shard. */
static void ISA(moments)(const mixture_t *m, const ISA(space) *s, int64_t rows, double *counts, double *sums,
                         double *squares) {
    const int64_t d = m->d, n_lanes = s->tiles + s->dp + 1;
    for (int64_t c = 0; c < m->k; c++) {
        const REAL *r = s->r + c * STRIDE, *shift = (const REAL *)m->shifts + c * d;
        REAL *count = s->lanes, *sum = count + RL, *square = sum + s->dp * RL;
        int found = 0;
        memset(s->lanes, 0, (size_t)(ISA(up)(n_lanes, RL) * RL) * sizeof(REAL));
        for (int64_t r0 = 0; r0 < rows; r0 += CHUNK) {
            const int64_t vectors = (rows - r0 < CHUNK ? rows - r0 : CHUNK) / RL;
            if (!ISA(add_count)(r + r0, vectors, count)) continue;
            found = 1;
            if (m->diagonal)
                for (int64_t i = 0; i < d; i += TILE)
                    ISA(scaled_moments)(s->xt + i * STRIDE + r0, r + r0, shift + i, d - i < TILE ? d - i : TILE,
                                        vectors, sum + i * RL, square + i * RL);
            else {
                ISA(weigh)(s->xt + r0, r + r0, shift, d, vectors, s->root, s->u, sum);
                ISA(products)(s->u, d, vectors, square);
            }
        }
        if (!found) continue;
        for (int64_t i = 0; i < n_lanes; i += RL) ISA(store_r)(s->flat + i, ISA(sums_of_lanes)(s->lanes + i * RL));
        counts[c] += (double)s->flat[0];
        for (int64_t i = 0; i < d; i++) sums[c * d + i] += (double)s->flat[1 + i];
        const REAL *flat = s->flat + 1 + s->dp;
        if (m->diagonal) {
            for (int64_t i = 0; i < d; i++) squares[c * d + i] += (double)flat[i];
            continue;
        }
        for (int64_t i0 = 0; i0 < d; i0 += TILE_ROWS)
            for (int64_t j0 = i0 / TILE * TILE; j0 < d; j0 += TILE, flat += TILE_ROWS * TILE)
                for (int64_t i = i0; i < i0 + TILE_ROWS && i < d; i++)
                    for (int64_t j = j0 < i ? i : j0; j < j0 + TILE && j < d; j++)
                        squares[(c * d + i) * d + j] += (double)flat[(i - i0) * TILE + j - j0];
    }
}

/* Responsibilities that are given, component after component. */
static void ISA(read_given)(const mixture_t *m, int64_t start, int64_t count, REAL *out) {
    const REAL *given = m->responsibilities;
    const int64_t k = m->k;
    for (int64_t c = 0; c < k; c++, out += STRIDE) {
        if (given)
            for (int64_t r = 0; r < count; r++) out[r] = given[(start + r) * k + c];
        else if (m->labels)
            for (int64_t r = 0; r < count; r++) out[r] = m->labels[start + r] == (int32_t)c;
        else memset(out, 0, (size_t)count * sizeof(REAL));
    }
}

/* -- a shard, and rows --------------------------------------------------------------------------------------- */

/* Blocks of nearly the same size. */
INLINE int64_t ISA(rows_of_blocks)(int64_t n) {
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    return blocks ? ISA(up)((n + blocks - 1) / blocks, PANEL) : PANEL;
}

/* Add the statistic of a block that lies in the scratch. With a model: log-likelihood, counts, sums, squares. */
static void ISA(add_block)(const mixture_t *m, const ISA(space) *s, int64_t start, int64_t count, int64_t rows,
                           double *likelihood, double *counts, double *sums, double *squares) {
    if (m->means) {
        ISA(log_joint)(m, s->xt, rows, s->z, s->r);
        ISA(normalise)(s->r, m->k, rows, s->log_densities);
        double lanes[8] = {0};
        for (int64_t r = 0; r < count; r++) lanes[r & 7] += (double)s->log_densities[r];
        *likelihood += ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    } else ISA(read_given)(m, start, count, s->r);
    for (int64_t c = 0; c < m->k; c++)
        for (int64_t r = count; r < rows; r++) s->r[c * STRIDE + r] = 0;
    ISA(moments)(m, s, rows, counts, sums, squares);
}

/* Zero what fills up tiles beyond the features. */
static void ISA(clear)(const mixture_t *m, const ISA(space) *s) {
    for (int64_t i = m->d; i < s->dp; i++) memset(s->xt + i * STRIDE, 0, STRIDE * sizeof(REAL));
    if (!m->diagonal)
        memset(s->u + m->d * CHUNK_STRIDE, 0, (size_t)((s->dp - m->d) * CHUNK_STRIDE) * sizeof(REAL));
}

/* With a model: log-likelihood, counts, sums, squares. With given responsibilities: without the first. */
static void ISA(mixture_shard)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const mixture_t *m = call;
    ISA(space) s;
    ISA(lay_out)(m, scratch, &s);
    double *likelihood = statistic, *counts = m->means ? statistic + 1 : statistic, *sums = counts + m->k,
           *squares = sums + m->k * m->d;
    const int64_t most = ISA(rows_of_blocks)(stop - start);
    ISA(clear)(m, &s);
    const passes_t passes = passes_of((double)most * m->k * m->d * (m->diagonal ? 1 : m->d));
    for (int64_t first = start; first < stop && go_on(&passes); first += most) {
        const int64_t count = stop - first < most ? stop - first : most, rows = ISA(up)(count, PANEL);
        ISA(read_block)(m, first, count, rows, s.xt);
        ISA(add_block)(m, &s, first, count, rows, likelihood, counts, sums, squares);
    }
}

/* -- several mixtures ---------------------------------------------------------------------------------------- */

/* The widest one's: the rows lie first, and need the same space for all. */
static size_t ISA(mixtures_bytes)(const mixtures_t *all) {
    size_t most = 0;
    for (int64_t i = 0; i < all->n; i++) {
        size_t bytes = ISA(scratch_bytes)(all->each + i);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* Log-likelihoods, counts, sums, squares: a block of rows passes through all mixtures while it lies in the cache. */
static void ISA(mixtures_shard)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const mixtures_t *all = call;
    const mixture_t *one = all->each;
    const int64_t d = one->d, square = one->diagonal ? d : d * d, most = ISA(rows_of_blocks)(stop - start);
    double *counts = statistic + all->n, *sums = counts + all->k, *squares = sums + all->k * d;
    const passes_t passes = passes_of((double)most * all->k * square);
    for (int64_t first = start; first < stop && go_on(&passes); first += most) {
        const int64_t count = stop - first < most ? stop - first : most, rows = ISA(up)(count, PANEL);
        int64_t component = 0;
        for (int64_t i = 0; i < all->n; i++) {
            const mixture_t *m = one + i;
            ISA(space) s;
            ISA(lay_out)(m, scratch, &s);
            ISA(clear)(m, &s);
            if (!i) ISA(read_block)(m, first, count, rows, s.xt);
            ISA(add_block)(m, &s, first, count, rows, statistic + i, counts + component, sums + component * d,
                           squares + component * square);
            component += m->k;
        }
    }
}

/* The component of largest log-density, the first of equals. */
static void ISA(largest)(const REAL *log_p, int64_t k, int64_t rows, int32_t *labels, int64_t count) {
    for (int64_t r = 0; r < rows; r += RL) {
        VR top = ISA(load_r)(log_p + r);
        VRI best = {0};
        for (int64_t c = 1; c < k; c++) {
            const VR p = ISA(load_r)(log_p + c * STRIDE + r);
            const VRM more = ISA(less_r)(top, p);
            top = ISA(select_r)(more, p, top);
            best = ISA(select_ri)(more, (VRI){0} + (REAL_INT)c, best);
        }
        for (int64_t l = 0; l < RL && r + l < count; l++) labels[r + l] = (int32_t)best[l];
    }
}

static void ISA(rows_of_mixture)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const mixture_t *m = call;
    (void)statistic;
    ISA(space) s;
    ISA(lay_out)(m, scratch, &s);
    for (int64_t first = start; first < stop; first += BLOCK) {
        const int64_t count = stop - first < BLOCK ? stop - first : BLOCK, rows = ISA(up)(count, PANEL);
        ISA(read_block)(m, first, count, rows, s.xt);
        ISA(log_joint)(m, s.xt, rows, s.z, s.r);
        ISA(largest)(s.r, m->k, rows, m->labels_out + first, count);
        ISA(normalise)(s.r, m->k, rows, s.log_densities);
        memcpy((REAL *)m->log_densities + first, s.log_densities, (size_t)count * sizeof(REAL));
        REAL *out = m->responsibilities_out;
        for (int64_t r = 0; out && r < count; r++)
            for (int64_t c = 0; c < m->k; c++) out[(first + r) * m->k + c] = s.r[c * STRIDE + r];
    }
}

#undef BLOCK
#undef STRIDE
#undef CHUNK
#undef CHUNK_STRIDE
#undef TILE
#undef TILE_ROWS
#undef PANEL_VECTORS
#undef PANEL
#undef SQRT_R
#undef LANE_NUMBERS
