/* Rows against all centers: a tile of rows lies transposed in the cache, lanes are rows, and every panel of centers
 * passes over it. A number is one chain of operations in the order of the features, whatever tile its row is in.
 * No include guard.
 */

#if REAL_LEVEL == 2
#define ROW_VECTORS 3
#define PANEL 8 /* 24 sums, 3 vectors of rows, 1 center: of 32 registers */
#elif REAL_LEVEL == 1
#define ROW_VECTORS 3
#define PANEL 4 /* 12 sums, 3 vectors of rows, 1 center: of 16 registers */
#else
#define ROW_VECTORS 2
#define PANEL 4
#endif
#define TILE (ROW_VECTORS * RL)

#define LONG_ROW 128 /* bytes: the processor itself fetches shorter rows ahead */

/* What a panel computes of x and c: their product on top of the start, or the square of their difference. */
#define PRODUCT 0
#define DIFFERENCE 1

typedef struct {
    REAL x[FEATURES_AT_ONCE * TILE]; /* feature after feature */
    REAL best[TILE], second[TILE];
    REAL_INT nearest[TILE];
    REAL values[]; /* center after center: sums to go on with, or the result */
} ISA(tile_t);

/* The size of a tile; `values` where they are wanted, or where the features come in several parts. */
static size_t ISA(tile_bytes)(int64_t k, int64_t d, int with_values) {
    size_t values = with_values || d > FEATURES_AT_ONCE ? (size_t)k * TILE * sizeof(REAL) : 0;
    return (sizeof(ISA(tile_t)) + values + HPCML_ALIGNMENT - 1) / HPCML_ALIGNMENT * HPCML_ALIGNMENT;
}

/* -- centers ------------------------------------------------------------------------------------------------------ */

/* Features that are taken at a time. */
INLINE int64_t ISA(part_of)(int64_t d) {
    int64_t parts = (d + FEATURES_AT_ONCE - 1) / FEATURES_AT_ONCE;
    return parts ? (d + parts - 1) / parts : 0;
}

/* Centers of the panel at j: the full width, or the largest power of two that is left. */
INLINE int64_t ISA(panel_width)(int64_t left) {
    int64_t width = PANEL;
    while (width > left) width /= 2;
    return width;
}

/* Centers (k, d) to `packed` (k d numbers): part after part of the features, panel after panel, in each of them
 * feature after feature; and `start` = -|c|^2 / 2. */
static void ISA(pack_centers)(const REAL *centers, int64_t k, int64_t d, REAL *packed, REAL *start) {
    int64_t part = ISA(part_of)(d);
    for (int64_t f0 = 0; f0 < d; f0 += part) {
        int64_t f1 = f0 + part < d ? f0 + part : d;
        for (int64_t j = 0, width; j < k; j += width) {
            width = ISA(panel_width)(k - j);
            for (int64_t f = f0; f < f1; f++)
                for (int64_t c = 0; c < width; c++) *packed++ = centers[(j + c) * d + f];
        }
    }
    for (int64_t j = 0; j < k; j++) {
        double sum = 0;
        for (int64_t f = 0; f < d; f++) sum += (double)centers[j * d + f] * (double)centers[j * d + f];
        start[j] = (REAL)(-0.5 * sum);
    }
}

/* -- rows --------------------------------------------------------------------------------------------------------- */

/* The first n <= RL numbers, then anything. */
INLINE VR ISA(load_first)(const REAL *p, int64_t n) {
    if (n >= RL) return ISA(load_r)(p);
#if REAL_LEVEL == 2 && REAL_BITS == 32
    return (VR)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif REAL_LEVEL == 2
    return (VR)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
#elif REAL_LEVEL == 1 && REAL_BITS == 32
    const VRI lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    return (VR)_mm256_maskload_ps(p, (__m256i)(lanes < (int32_t)n));
#elif REAL_LEVEL == 1
    const VRI lanes = {0, 1, 2, 3};
    return (VR)_mm256_maskload_pd(p, (__m256i)(lanes < n));
#else
    VR x = {0};
    for (int64_t i = 0; i < n; i++) x[i] = p[i];
    return x;
#endif
}

#if RL == 16
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif RL == 8
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#elif RL == 4
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#else
#define LOW_HALVES 0, 2
#define HIGH_HALVES 1, 3
#endif
#if defined(__clang__)
#define INTERLEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define INTERLEAVE(a, b, ...) __builtin_shuffle(a, b, (VRI){__VA_ARGS__})
#endif

/* Transposes RL vectors: each round of perfect shuffles rotates the bits of (row, column) by one. */
INLINE void ISA(transpose)(VR *a) {
    VR b[RL];
#pragma GCC unroll 4
    for (int round = 1; round < RL; round *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < RL / 2; i++) {
            b[2 * i] = INTERLEAVE(a[i], a[i + RL / 2], LOW_HALVES);
            b[2 * i + 1] = INTERLEAVE(a[i], a[i + RL / 2], HIGH_HALVES);
        }
#pragma GCC unroll 16
        for (int i = 0; i < RL; i++) a[i] = b[i];
    }
}

/* Rows of d numbers: one after the other from the first, or by their numbers from there. */
typedef struct {
    const REAL *first;
    const int64_t *numbers; /* NULL for one after the other */
    int64_t n, d;
} ISA(rows_t);

INLINE const REAL *ISA(row_of)(const ISA(rows_t) * rows, int64_t r, const int in_order) {
    return rows->first + (in_order ? r : rows->numbers[r]) * rows->d;
}

/* Features f0 to f1 of at most TILE rows, less the origin, to the tile; what lies beyond the rows is zero. */
INLINE void ISA(fill_tile_in)(ISA(tile_t) * tile, const ISA(rows_t) * rows, const REAL *origin, int64_t f0, int64_t f1,
                              const int in_order) {
    const int64_t n = rows->n;
    for (int64_t f = f0; f < f1; f += RL) {
        int64_t wide = f1 - f < RL ? f1 - f : RL;
        VR less = origin ? ISA(load_first)(origin + f, wide) : (VR){0};
        for (int64_t r0 = 0; r0 < TILE; r0 += RL) {
            VR a[RL];
            REAL *to = tile->x + (f - f0) * TILE + r0;
            if (r0 + RL <= n && wide == RL) {
#pragma GCC unroll 16
                for (int r = 0; r < RL; r++) a[r] = ISA(load_r)(ISA(row_of)(rows, r0 + r, in_order) + f) - less;
            } else {
#pragma GCC unroll 16
                for (int r = 0; r < RL; r++) {
                    a[r] = (VR){0};
                    if (r0 + r < n) a[r] = ISA(load_first)(ISA(row_of)(rows, r0 + r, in_order) + f, wide) - less;
                }
            }
            ISA(transpose)(a);
            if (wide == RL) {
#pragma GCC unroll 16
                for (int i = 0; i < RL; i++) ISA(store_r)(to + i * TILE, a[i]);
            } else {
                for (int i = 0; i < wide; i++) ISA(store_r)(to + i * TILE, a[i]);
            }
        }
    }
}

HOT void ISA(fill_tile)(ISA(tile_t) * tile, const ISA(rows_t) * rows, const REAL *origin, int64_t f0, int64_t f1) {
    if (rows->numbers) ISA(fill_tile_in)(tile, rows, origin, f0, f1, 0);
    else ISA(fill_tile_in)(tile, rows, origin, f0, f1, 1);
}

/* Keeps a number that all rows take in a register: the compiler would read it anew for every vector of rows. */
#if REAL_LEVEL == 2
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif REAL_LEVEL == 1
#define IN_REGISTER(x) __asm__("" : "+x"(x))
#else
#define IN_REGISTER(x) ((void)0)
#endif

/* -- panels ------------------------------------------------------------------------------------------------------- */

/* What becomes of the sums of a panel: kept in `values`, or compared with the best so far. */
#define KEEP 0
#define BEST 1
#define BEST_TWO 2

INLINE void ISA(compare)(ISA(tile_t) * tile, VR sum[ROW_VECTORS][PANEL], int64_t j, const int width, const int end) {
#pragma GCC unroll 4
    for (int v = 0; v < ROW_VECTORS; v++) {
        VR best = ISA(load_r)(tile->best + v * RL), second = ISA(load_r)(tile->second + v * RL);
        VRI nearest = *(VRI *)(tile->nearest + v * RL);
#pragma GCC unroll 8
        for (int c = 0; c < width; c++) {
            VRM better = ISA(less_r)(best, sum[v][c]);
            if (end == BEST_TWO) second = ISA(max_r)(second, ISA(select_r)(better, best, sum[v][c]));
            best = ISA(select_r)(better, sum[v][c], best);
            nearest = ISA(select_ri)(better, (VRI){0} + (REAL_INT)(j + c), nearest);
        }
        ISA(store_r)(tile->best + v * RL, best);
        if (end == BEST_TWO) ISA(store_r)(tile->second + v * RL, second);
        *(VRI *)(tile->nearest + v * RL) = nearest;
    }
}

INLINE void ISA(panel)(ISA(tile_t) * tile, int64_t n_features, const REAL *packed, const REAL *start, int64_t j,
                       const int width, const int what, const int end) {
    VR sum[ROW_VECTORS][PANEL];
#pragma GCC unroll 4
    for (int v = 0; v < ROW_VECTORS; v++)
#pragma GCC unroll 8
        for (int c = 0; c < width; c++)
            sum[v][c] = start ? ISA(splat_r)(start[c]) : ISA(load_r)(tile->values + (j + c) * TILE + v * RL);
    const REAL *x = tile->x;
    for (int64_t f = 0; f < n_features; f++, x += TILE, packed += width) {
        VR row[ROW_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < ROW_VECTORS; v++) row[v] = ISA(load_r)(x + v * RL);
#pragma GCC unroll 8
        for (int c = 0; c < width; c++) {
            VR center = ISA(splat_r)(packed[c]);
            IN_REGISTER(center);
#pragma GCC unroll 4
            for (int v = 0; v < ROW_VECTORS; v++) {
                if (what == PRODUCT) {
                    sum[v][c] = ISA(fma_r)(row[v], center, sum[v][c]);
                } else {
                    VR difference = row[v] - center;
                    sum[v][c] = ISA(fma_r)(difference, difference, sum[v][c]);
                }
            }
        }
    }
    if (end != KEEP) {
        ISA(compare)(tile, sum, j, width, end);
    } else {
#pragma GCC unroll 4
        for (int v = 0; v < ROW_VECTORS; v++)
#pragma GCC unroll 8
            for (int c = 0; c < width; c++) ISA(store_r)(tile->values + (j + c) * TILE + v * RL, sum[v][c]);
    }
}

#if PANEL == 8
#define WIDEST_PANEL(what, end) \
    case 8: ISA(panel)(tile, n_features, packed, start, j, 8, what, end); break;
#else
#define WIDEST_PANEL(what, end)
#endif
#define PANELS(name, what, end)                                                                                 \
    HOT void ISA(name)(ISA(tile_t) * tile, int64_t n_features, const REAL *packed, const REAL *start, int64_t j, \
                       int64_t width) {                                                                         \
        switch (width) {                                                                                        \
            WIDEST_PANEL(what, end)                                                                             \
            case 4: ISA(panel)(tile, n_features, packed, start, j, 4, what, end); break;                        \
            case 2: ISA(panel)(tile, n_features, packed, start, j, 2, what, end); break;                        \
            default: ISA(panel)(tile, n_features, packed, start, j, 1, what, end); break;                       \
        }                                                                                                       \
    }
PANELS(products, PRODUCT, KEEP)
PANELS(best_products, PRODUCT, BEST)
PANELS(best_two_products, PRODUCT, BEST_TWO)
PANELS(differences, DIFFERENCE, KEEP)
#undef PANELS
#undef WIDEST_PANEL
#undef IN_REGISTER

/* Fetch some of what is read after the present part of the features: the next part of the same rows, or the first
 * part of the rows after them. Panels share this out, so that memory is read while they compute. */
INLINE void ISA(fetch_next)(const ISA(rows_t) * rows, int64_t f1, int64_t part, int64_t j, int64_t width, int64_t k) {
    if (rows->numbers || part * (int64_t)sizeof(REAL) < LONG_ROW) return;
    const REAL *next = f1 < rows->d ? rows->first + f1 : rows->first + rows->n * rows->d;
    const int64_t from = TILE * j / k, to = TILE * (j + width) / k;
    for (int64_t r = from; r < to; r++)
        for (int64_t f = 0; f < part; f += HPCML_ALIGNMENT / (int64_t)sizeof(REAL))
            __builtin_prefetch(next + r * rows->d + f, 0, 2);
}

/* Compute at most TILE rows against all centers. PRODUCT with BEST or BEST_TWO: `nearest`, `best`, `second` of x c + start;
 * DIFFERENCE with KEEP: `values` = |x - c|^2, where `start` must be zeros. `filled`: the tile holds all features of the
 * rows already. */
INLINE void ISA(against_all)(ISA(tile_t) * tile, const ISA(rows_t) * rows, const REAL *origin, const REAL *packed,
                             const REAL *start, int64_t k, const int what, const int end, const int filled) {
    const int64_t d = rows->d, part = ISA(part_of)(d);
    int64_t f0 = 0;
    if (end != KEEP)
        for (int r = 0; r < TILE; r++) {
            tile->best[r] = tile->second[r] = (REAL)-INFINITY;
            tile->nearest[r] = 0;
        }
    do {
        int64_t f1 = f0 + part < d ? f0 + part : d;
        if (!filled) ISA(fill_tile)(tile, rows, origin, f0, f1);
        for (int64_t j = 0, width; j < k; j += width, packed += width * (f1 - f0)) {
            width = ISA(panel_width)(k - j);
            const REAL *from = f0 ? NULL : start + j;
            ISA(fetch_next)(rows, f1, part, j, width, k);
            if (what == DIFFERENCE) ISA(differences)(tile, f1 - f0, packed, from, j, width);
            else if (f1 < d) ISA(products)(tile, f1 - f0, packed, from, j, width);
            else if (end == BEST) ISA(best_products)(tile, f1 - f0, packed, from, j, width);
            else ISA(best_two_products)(tile, f1 - f0, packed, from, j, width);
        }
        f0 = f1;
    } while (f0 < d);
}
