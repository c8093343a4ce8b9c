/* Two products of blocks that lie in the cache, for bodies of each_real.h. No include guard.
 *
 *   rows_times     out = start + X W   rows of X with packed columns of W
 *   across_rows    G  += A^T B         over the rows of a block; the block's sum in REAL, G in double
 *
 * Every number is one chain of fused multiply-adds in the order of the inner index, whatever tile it is in: it does
 * not depend on the block that a row is in, nor on how many rows that block has.
 */

#if REAL_LEVEL == 2
#define TILE_ROWS 6
#define TILE_VECTORS 4 /* 24 sums, 4 columns, 1 row: of 32 registers */
#else
#define TILE_ROWS 6
#define TILE_VECTORS 2 /* 12 sums, 2 columns, 1 row: of 16 registers */
#endif
#define TILE_LANES (TILE_VECTORS * RL)

/* Columns of W, padded to whole vectors. */
INLINE int64_t ISA(padded)(int64_t columns) { return (columns + RL - 1) / RL * RL; }

/* W (d, columns), element (j, k) at w[j * row_stride + k * column_stride], to panels of TILE_LANES columns, or of the
 * vectors that are left: panel after panel, in each of them row after row; zeros beyond the last column. `packed`
 * holds d * padded(columns) numbers, aligned. */
static void ISA(pack_columns)(const REAL *w, int64_t d, int64_t columns, int64_t row_stride, int64_t column_stride,
                              REAL *packed) {
    for (int64_t k0 = 0; k0 < columns; k0 += TILE_LANES) {
        int64_t left = ISA(padded)(columns - k0), width = left < TILE_LANES ? left : TILE_LANES;
        for (int64_t j = 0; j < d; j++)
            for (int64_t k = k0; k < k0 + width; k++)
                *packed++ = k < columns ? w[j * row_stride + k * column_stride] : 0;
    }
}

INLINE void ISA(rows_times_tile)(const REAL *x, int64_t x_stride, int64_t d, const REAL *w, const REAL *start,
                                 REAL *out, int64_t out_stride, const int rows, const int vectors) {
    VR sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sum[r][v] = start ? ISA(load_r)(start + v * RL) : (VR){0};
    for (int64_t j = 0; j < d; j++, w += vectors * RL) {
        VR column[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) column[v] = ISA(load_r)(w + v * RL);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            VR value = ISA(splat_r)(x[r * x_stride + j]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sum[r][v] = ISA(fma_r)(value, column[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) ISA(store_r)(out + r * out_stride + v * RL, sum[r][v]);
}

#define ROWS_TIMES_PANEL(vectors)                                                                          \
    do {                                                                                                   \
        int64_t r = 0;                                                                                     \
        for (; r + TILE_ROWS <= n; r += TILE_ROWS)                                                         \
            ISA(rows_times_tile)(x + r * x_stride, x_stride, d, packed, start, out + r * out_stride,       \
                                 out_stride, TILE_ROWS, vectors);                                          \
        for (; r + 2 <= n; r += 2)                                                                         \
            ISA(rows_times_tile)(x + r * x_stride, x_stride, d, packed, start, out + r * out_stride,       \
                                 out_stride, 2, vectors);                                                  \
        if (r < n)                                                                                         \
            ISA(rows_times_tile)(x + r * x_stride, x_stride, d, packed, start, out + r * out_stride,       \
                                 out_stride, 1, vectors);                                                  \
    } while (0)

HOT void ISA(rows_times_panel)(const REAL *x, int64_t x_stride, int64_t n, int64_t d, const REAL *packed,
                               const REAL *start, REAL *out, int64_t out_stride, int64_t vectors) {
    switch (vectors) {
        case 1: ROWS_TIMES_PANEL(1); break;
        case 2: ROWS_TIMES_PANEL(2); break;
#if TILE_VECTORS == 4
        case 3: ROWS_TIMES_PANEL(3); break;
        case 4: ROWS_TIMES_PANEL(4); break;
#endif
    }
}
#undef ROWS_TIMES_PANEL

/* out (n, padded(columns)) = start + X W. X (n, d) has rows `x_stride` numbers apart; `packed` is W as pack_columns
 * leaves it; `start` holds padded(columns) numbers, or is NULL for zeros; rows of `out` are `out_stride` apart. */
INLINE void ISA(rows_times)(const REAL *x, int64_t x_stride, int64_t n, int64_t d, const REAL *packed,
                            int64_t columns, const REAL *start, REAL *out, int64_t out_stride) {
    for (int64_t k0 = 0; k0 < columns; k0 += TILE_LANES) {
        int64_t left = ISA(padded)(columns - k0), width = left < TILE_LANES ? left : TILE_LANES;
        ISA(rows_times_panel)(x, x_stride, n, d, packed + k0 * d, start ? start + k0 : NULL, out + k0, out_stride,
                              width / RL);
    }
}

INLINE void ISA(across_rows_tile)(const REAL *a, int64_t a_stride, const REAL *b, int64_t b_stride, int64_t n,
                                  double *g, int64_t g_stride, int64_t columns, const int rows, const int vectors) {
    VR sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int p = 0; p < rows; p++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) sum[p][v] = (VR){0};
    for (int64_t i = 0; i < n; i++) {
        VR column[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) column[v] = ISA(load_r)(b + i * b_stride + v * RL);
#pragma GCC unroll 8
        for (int p = 0; p < rows; p++) {
            VR value = ISA(splat_r)(a[i * a_stride + p]);
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++) sum[p][v] = ISA(fma_r)(value, column[v], sum[p][v]);
        }
    }
#pragma GCC unroll 8
    for (int p = 0; p < rows; p++) {
        REAL line[TILE_LANES] = {0};
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) ISA(store_r)(line + v * RL, sum[p][v]);
        for (int64_t q = 0; q < columns; q++) g[p * g_stride + q] += (double)line[q];
    }
}

#define ACROSS_ROWS_TILE(rows)                                                                             \
    (vectors == 1 ? ISA(across_rows_tile)(a, a_stride, b, b_stride, n, g, g_stride, columns, rows, 1)      \
     : vectors == 2 || TILE_VECTORS == 2                                                                   \
         ? ISA(across_rows_tile)(a, a_stride, b, b_stride, n, g, g_stride, columns, rows, 2)               \
     : vectors == 3                                                                                        \
         ? ISA(across_rows_tile)(a, a_stride, b, b_stride, n, g, g_stride, columns, rows, TILE_VECTORS - 1) \
         : ISA(across_rows_tile)(a, a_stride, b, b_stride, n, g, g_stride, columns, rows, TILE_VECTORS))

HOT void ISA(across_rows_some)(const REAL *a, int64_t a_stride, const REAL *b, int64_t b_stride, int64_t n, double *g,
                               int64_t g_stride, int64_t columns, int64_t rows, int64_t vectors) {
    switch (rows) {
        case 1: ACROSS_ROWS_TILE(1); break;
        case 2: ACROSS_ROWS_TILE(2); break;
        case 3: ACROSS_ROWS_TILE(3); break;
        case 4: ACROSS_ROWS_TILE(4); break;
        case 5: ACROSS_ROWS_TILE(5); break;
        default: ACROSS_ROWS_TILE(6); break;
    }
}
#undef ACROSS_ROWS_TILE

/* G (p, q) += A^T B over n rows, at most BLOCK_ROWS of them. Rows of A, B and G are a_stride, b_stride and g_stride
 * numbers apart; a row of B must be readable up to padded(q), whatever it holds there. With `upper`, only tiles with
 * an element on or above the diagonal are computed: p = q, and what lies below the diagonal means nothing. */
INLINE void ISA(across_rows)(const REAL *a, int64_t a_stride, int64_t p, const REAL *b, int64_t b_stride, int64_t q,
                             int64_t n, double *g, int64_t g_stride, int upper) {
    for (int64_t q0 = 0; q0 < q; q0 += TILE_LANES) {
        int64_t columns = q - q0 < TILE_LANES ? q - q0 : TILE_LANES, vectors = (columns + RL - 1) / RL;
        for (int64_t p0 = 0; p0 < p; p0 += TILE_ROWS) {
            if (upper && p0 >= q0 + columns) break;
            int64_t rows = p - p0 < TILE_ROWS ? p - p0 : TILE_ROWS;
            int64_t below = upper && p0 > q0 ? (p0 - q0) / RL : 0, from = q0 + below * RL; /* vectors to leave out */
            ISA(across_rows_some)(a + p0, a_stride, b + from, b_stride, n, g + p0 * g_stride + from, g_stride,
                                  columns - below * RL, rows, vectors - below);
        }
    }
}
#undef TILE_ROWS
#undef TILE_VECTORS
#undef TILE_LANES
