/* Passes of the interior-point method over the hinges of rows; hpcml/kernels/reference/interior_point.py has the
 * equations. All of it is double: what rows weigh in the normal equations spans more than single precision holds. */
#include "device.h"

constexpr double GAP_TO_PRICE = 0x1p-50;  /* alpha stays so far below its price, relative to it */

enum { GRAM, CORRECT, STEP };
constexpr int SCALARS = 4;

struct Numbers {
    double positive, epsilon, price, other_price, barrier, step;
};

struct Passes {
    const double *margins;  /* (n, vectors): of the coefficients and of their directions */
    Int vectors;
    const double *y, *weights;  /* (n,); weights 0: all 1 */
    double *alpha, *lower, *upper;  /* (n, hinges) */
    Int hinges;  /* of a row: 1, or 2 about a tube */
    const Numbers *numbers;
    Int pass;
    double *inner;  /* (n,): weights of the normal equations */
    double *pulled;  /* (n, 2): what rows pull at the coefficients with */
    const Int *bounds;
    Int most_parts;
    double *scalars;  /* (shards, most_parts, SCALARS) */
    double *ratios;  /* (shards, most_parts): the largest -dx/x */
};

struct Point {
    double a, u, v, z, t, D, da, du, dv;

    __device__ __forceinline__ Point(double alpha, double lower, double upper, double price, double overshoot)
        : a(alpha), u(lower), v(upper), z(price - alpha), t(overshoot), D(a * z / (u * z + v * a)), da(0), du(0), dv(0) {}

    __device__ __forceinline__ void predict(double slope) {
        da = D * (t - slope);
        du = -u - u * da / a;
        dv = -v + v * da / z;
    }
    __device__ __forceinline__ void correct(double slope, double barrier) {
        const double r_u = barrier - a * u - da * du, r_v = barrier - z * v + da * dv;
        const double q = t + barrier * (1 / a - 1 / z) - da * du / a - da * dv / z;
        da = D * (q - slope);
        du = (r_u - u * da) / a;
        dv = (r_v + v * da) / z;
    }
    __device__ __forceinline__ double ratio() const {
        const double of_alpha = da < 0 ? -da / a : da / z, of_u = -du / u, of_v = -dv / v;
        const double most = of_u > of_v ? of_u : of_v;
        return of_alpha > most ? of_alpha : most;
    }
};

/* Return the largest value of a block in thread 0. */
__device__ __forceinline__ double block_most(double value, double (&room)[THREADS / WARP_SIZE]) {
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) {
        const double other = __shfl_xor_sync(ALL_LANES, value, bits);
        value = other > value ? other : value;
    }
    __syncthreads();  /* the room may still be read from the call before */
    if (threadIdx.x % WARP_SIZE == 0) room[threadIdx.x / WARP_SIZE] = value;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int i = 1; i < THREADS / WARP_SIZE; i++) value = room[i] > value ? room[i] : value;
    return value;
}

/* A thread takes a row. Grid: (most_parts, shards) */
__device__ __forceinline__ void pass(const Passes &a) {
    __shared__ double room[THREADS / WARP_SIZE];
    const Int row = a.bounds[blockIdx.y] + (Int)blockIdx.x * THREADS + threadIdx.x;
    const bool there = row < a.bounds[blockIdx.y + 1];
    const Numbers by = *a.numbers;
    double inner = 0, first = 0, second = 0, ratio = 0, products = 0, live = 0, primal = 0, dual = 0;
    if (there) {
        const double y = a.y[row], *margin = a.margins + row * a.vectors;
        for (Int j = 0; j < a.hinges; j++) {
            const Int at = row * a.hinges + j;
            const double s = a.hinges == 1 ? (y == by.positive ? 1.0 : -1.0) : j == 0 ? 1.0 : -1.0;
            const double o = a.hinges == 1 ? 1.0 : s * y - by.epsilon;
            const double unit = a.hinges == 1 && y != by.positive ? by.other_price : by.price;
            const double c = a.weights ? unit * a.weights[row] : unit;
            if (!(c > 0)) {  /* counts nowhere */
                if (a.pass == GRAM) a.alpha[at] = 0.0, a.lower[at] = a.upper[at] = 1 + by.step * (by.barrier - 1);
                continue;
            }
            Point x(a.alpha[at], a.lower[at], a.upper[at], c, o - s * margin[0]);
            x.predict(s * margin[1]);
            if (a.pass == CORRECT) {
                first += s * (x.D * (1 / x.a - 1 / x.z));
                second += s * (-x.D * (x.da * x.du / x.a + x.da * x.dv / x.z));
                products += x.da * x.du - x.da * x.dv;
            } else {
                x.correct(s * margin[2], by.barrier);
            }
            if (a.pass != GRAM) {
                const double most = x.ratio();
                ratio = most > ratio ? most : ratio;
                continue;
            }
            const double moved = x.a + by.step * x.da, most = c * (1 - GAP_TO_PRICE);
            const double alpha = a.alpha[at] = moved < most ? moved : most;
            const double lower = a.lower[at] = x.u + by.step * x.du, upper = a.upper[at] = x.v + by.step * x.dv;
            const Point here(alpha, lower, upper, c, o - s * (margin[0] + by.step * margin[2]));
            inner += here.D;
            first += s * here.a;
            second += s * (here.D * here.t);
            products += here.a * here.u + here.z * here.v;
            live += 1;
            primal += c * (here.t > 0 ? here.t : 0.0);
            dual += o * here.a;
        }
        if (a.pass == GRAM) a.inner[row] = inner;
        if (a.pass != STEP) a.pulled[2 * row] = first, a.pulled[2 * row + 1] = second;
    }
    const Int part = blockIdx.y * a.most_parts + blockIdx.x;
    const double scalars[SCALARS] = {products, live, primal, dual};
#pragma unroll
    for (int i = 0; i < SCALARS; i++) {
        const double sum = block_sum(scalars[i], room);
        if (threadIdx.x == 0) a.scalars[part * SCALARS + i] = sum;
    }
    ratio = block_most(ratio, room);
    if (threadIdx.x == 0) a.ratios[part] = ratio;
}
KERNEL(pass_over_hinges, THREADS, 1, Passes, pass)

struct Codes {
    const double *ratios;  /* (shards, most_parts) */
    const Int *bounds;
    Int most_parts, n_codes, shift, lowest;  /* of hpcml/kernels/overshoot.py */
    const double *least;
    double *statistics;
    Int stride, at;
};

/* A shard counts itself under the code of its largest ratio. Grid: (n_codes / THREADS, shards) */
__device__ __forceinline__ void count_codes(const Codes &a) {
    const Int code = (Int)blockIdx.x * THREADS + threadIdx.x, s = blockIdx.y;
    if (code >= a.n_codes) return;
    const Int n_parts = (a.bounds[s + 1] - a.bounds[s] + THREADS - 1) / THREADS;
    double most = 0;
    for (Int i = 0; i < n_parts; i++) {
        const double ratio = a.ratios[s * a.most_parts + i];
        most = ratio > most ? ratio : most;
    }
    const double beyond = most - 1.0 > *a.least ? most - 1.0 : *a.least;
    const Int found = (__double_as_longlong(beyond) >> a.shift) - a.lowest;
    a.statistics[s * a.stride + a.at + code] = code == (found < a.n_codes - 1 ? found : a.n_codes - 1) ? 1.0 : 0.0;
}
KERNEL(count_overshoots, THREADS, 1, Codes, count_codes)
