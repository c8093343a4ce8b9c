/* First and second moments of features about given centers, in double; NaN counts nowhere. */
#include "device.h"

template <typename T> struct Moments {
    const T *X;  /* (n, d) */
    Int d;
    const double *weights, *centers;  /* (n,) or 0: all 1; (d,) */
    const Int *bounds;
    Int columns;  /* of a block: a power of two up to WARP_SIZE */
    Int rows_of_part, most_parts;
    double *parts;  /* (shards, most_parts, 3, d): weights, sums, squares */
};

/* A block takes some columns of a part, and each of its threads every THREADS / columns-th row of one of them: so
 * that neighbours read neighbours. Their sums are added up in halves. Grid: (d / columns, most_parts, shards) */
template <typename T> __device__ __forceinline__ void moments(const Moments<T> &a) {
    __shared__ double room[3][THREADS];
    const int t = threadIdx.x, width = (int)a.columns, apart = THREADS / width;
    const Int column = (Int)blockIdx.x * width + t % width, end = a.bounds[blockIdx.z + 1];
    const Int first = a.bounds[blockIdx.z] + blockIdx.y * a.rows_of_part;
    const Int stop = first + a.rows_of_part < end ? first + a.rows_of_part : end;
    double count = 0, sum = 0, square = 0;
    if (column < a.d) {
        const double center = a.centers[column];
        for (Int row = first + t / width; row < stop; row += apart) {
            const T x = a.X[row * a.d + column];
            const double w = a.weights ? a.weights[row] : 1.0;
            if (!isnan(x)) {
                const double deviation = (double)x - center;
                count += w;
                sum += w * deviation;
                square += w * (deviation * deviation);
            }
        }
    }
    room[0][t] = count, room[1][t] = sum, room[2][t] = square;
    for (int half = THREADS / 2; half >= width; half /= 2) {
        __syncthreads();
        if (t < half)
            for (int i = 0; i < 3; i++) room[i][t] += room[i][t + half];
    }
    if (t >= width || column >= a.d) return;
    double *part = a.parts + (blockIdx.z * a.most_parts + blockIdx.y) * 3 * a.d + column;
    for (int i = 0; i < 3; i++) part[i * a.d] = room[i][t];
}
KERNEL(feature_moments_float, THREADS, 1, Moments<float>, moments<float>)
KERNEL(feature_moments_double, THREADS, 1, Moments<double>, moments<double>)
