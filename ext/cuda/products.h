/* Sums of products over rows, in tiles: what the Gram matrix and the moments of mixtures have in common. */
#pragma once

#include "device.h"

constexpr int DEPTH = 16, FLUSH = 64;  /* rows that are loaded at a time, and added up in the type A */

/* A block of 16 x 16 threads adds up left(row, i) right(row, j) over rows for i and j below 16 EACH; thread (tx, ty)
 * holds those of i = ty + 16 .. and j = tx + 16 .. . Products are added up in the type A over FLUSH rows, and these
 * sums in double, in the order of the rows. */
template <typename A, int EACH, typename Left, typename Right>
__device__ __forceinline__ void tile_of_products(double (&sum)[EACH][EACH], Int start, Int stop, Left left, Right right) {
    constexpr int TILE = 16 * EACH;
    __shared__ A u_rows[DEPTH][TILE + 1], v_rows[DEPTH][TILE + 1];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    A some[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) sum[i][j] = 0, some[i][j] = 0;
    for (Int base = start; base < stop; base += DEPTH) {
        __syncthreads();  /* all have read the rows before */
        for (int e = threadIdx.x; e < DEPTH * TILE; e += THREADS) {
            const int r = e / TILE, column = e % TILE;
            u_rows[r][column] = base + r < stop ? left(base + r, column) : (A)0;
            v_rows[r][column] = base + r < stop ? right(base + r, column) : (A)0;
        }
        __syncthreads();
#pragma unroll
        for (int r = 0; r < DEPTH; r++) {
            A u[EACH], v[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) u[i] = u_rows[r][ty + 16 * i], v[i] = v_rows[r][tx + 16 * i];
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) some[i][j] += u[i] * v[j];
        }
        if ((base - start) / DEPTH % (FLUSH / DEPTH) == FLUSH / DEPTH - 1 || base + DEPTH >= stop) {
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sum[i][j] += (double)some[i][j], some[i][j] = 0;
        }
    }
}
