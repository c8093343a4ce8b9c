/* Growth of trees: what its kernels share. hpcml/kernels/reference/growth.py is the definition.
 *
 * The rows in the bag of a tree lie one after the other in streams: the number of the row, and one or two words of
 * weight and target. Those of a node lie together and in ascending order. Streams have two buffers: the children
 * of a node get the places of their parent in the other one. Weights and targets are whole numbers (fixed point), so
 * that sums do not depend on the order of additions. */
#pragma once

#include "device.h"

typedef unsigned long long Word;

constexpr int WARPS = THREADS / WARP_SIZE;
constexpr int RUN = 8;  /* bins that a lane adds up: at most 8 x 32 in all */

/* -- random numbers: hpcml/kernels/random.py ------------------------------------------------------------------- */

__device__ __forceinline__ Word hash_at(Word key, Word counter) {
    Word z = key + (counter + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ __forceinline__ double uniform_at(Word key, Word counter) {
    return (double)(Int)(hash_at(key, counter) >> 11) * 0x1p-53;
}

/* -- blocks ---------------------------------------------------------------------------------------------------- */

/* Return how many threads before this one, and of all, say yes. All threads of the block call it. */
struct Votes {
    int before, all;
};
__device__ __forceinline__ Votes count_votes(bool yes, int (&room)[WARPS]) {
    const int warp = threadIdx.x / WARP_SIZE, lane = threadIdx.x % WARP_SIZE;
    const unsigned votes = __ballot_sync(ALL_LANES, yes);
    __syncthreads();  /* the room may still be read from the call before */
    if (lane == 0) room[warp] = __popc(votes);
    __syncthreads();
    Votes found = {__popc(votes & ((1u << lane) - 1)), 0};
    for (int i = 0; i < WARPS; i++) {
        if (i < warp) found.before += room[i];
        found.all += room[i];
    }
    return found;
}

/* -- fixed point ------------------------------------------------------------------------------------------------ */

/* How weight and target share words. PACKED: [rows][weight][target] in one word. CLASSES, NARROW: a is the class
 * and the weight, 32 bits each, and sums fit 32 bits; CLASSES, WIDE: a is the weight, b the class; TARGET: a is the
 * weight, b the target. */
enum { PACKED, CLASSES, TARGET };

struct TreeParameters {  /* of one tree */
    Word min_weight;     /* of a child */
    Word weight_shift, weight_mask, count_shift;  /* of packed words; count_shift 0: rows are not counted */
};

struct Node {
    Int at, n, tree;  /* its rows in the streams, both buffers counted */
    Word key;
    Int histogram;  /* number of its histogram in global memory; -1: it is made in shared memory */
};

/* -- histograms ------------------------------------------------------------------------------------------------- */

/* Sums by plane and bin. Words of 64 bits are two of 32, for additions of these in shared memory take no loop: the
 * carry of the lower one goes with the upper one. The sums are the same in any order. */
template <bool WIDE> struct Histogram {
    unsigned *words;
    int stride;  /* of planes */

    /* the bins of a lane are one word apart from a multiple of the banks */
    __device__ __forceinline__ Int place(Int plane, int bin) const { return plane * stride + bin + bin / RUN; }

    __device__ __forceinline__ static void add_at(unsigned *words, Int i, Word value) {
        const unsigned low = (unsigned)value, high = (unsigned)(value >> 32);
        if (!WIDE) {
            atomicAdd(words + i, low);
            return;
        }
        const unsigned before = atomicAdd(words + 2 * i, low);
        const unsigned carry = before + low < before;
        if (high + carry) atomicAdd(words + 2 * i + 1, high + carry);
    }
    __device__ __forceinline__ void add(Int plane, int bin, Word value) const {
        add_at(words, place(plane, bin), value);
    }
    __device__ __forceinline__ static Word get_at(const unsigned *words, Int i) {
        return WIDE ? (Word)words[2 * i + 1] << 32 | words[2 * i] : (Word)words[i];
    }
    __device__ __forceinline__ Word get(Int plane, int bin) const { return get_at(words, place(plane, bin)); }
    __device__ __forceinline__ void set(Int plane, int bin, Word value) const {
        const Int i = place(plane, bin);
        if (WIDE) {
            words[2 * i] = (unsigned)value;
            words[2 * i + 1] = (unsigned)(value >> 32);
        } else {
            words[i] = (unsigned)value;
        }
    }
};

/* What fills and searches histograms. */
struct Table {
    const unsigned char *binned;  /* (n, d) */
    Int d;
    const int *n_bins;
    const unsigned *rows;  /* streams */
    const Word *a, *b;
    const Node *nodes;
    Int n_nodes;
    const int *order;  /* (d, n_nodes): the order in which a node looks at the features */
    Int first, slots, group;  /* places in the order that are looked at, and how many by a block */
    Int layout, planes, counted;  /* of a histogram; 1: the last plane counts rows */
    Int stride;
    unsigned *histograms;  /* (histograms, slots, planes, stride) in global memory */
};

/* Features of a block. */
__device__ __forceinline__ int choose_features(const Table &a, Int node, int (&feature)[WARPS]) {
    const Int from = blockIdx.y * a.group, left = a.slots - from;
    const int count = (int)(left < a.group ? left : a.group);
    if ((int)threadIdx.x < count) feature[threadIdx.x] = a.order[(a.first + from + threadIdx.x) * a.n_nodes + node];
    return count;
}

template <bool WIDE> __device__ __forceinline__ Histogram<WIDE> histogram_of(const Table &a, unsigned *words, int slot) {
    return {words + slot * a.planes * a.stride * (WIDE ? 2 : 1), (int)a.stride};
}
template <bool WIDE> __device__ __forceinline__ unsigned *global_histograms(const Table &a, Int number) {
    return a.histograms + (number * a.slots + blockIdx.y * a.group) * a.planes * a.stride * (WIDE ? 2 : 1);
}

/* Add rows of a node to the histograms of some features. */
template <bool WIDE>
__device__ __forceinline__ void fill(const Table &a, Int start, Int stop, const int *feature, int count, unsigned *words) {
    for (Int i = start + threadIdx.x; i < stop; i += THREADS) {
        const unsigned char *bins = a.binned + (Int)a.rows[i] * a.d;
        Word value = a.a[i], second = 0;
        Int plane = 0;
        if (a.layout == CLASSES) {
            plane = (Int)(WIDE ? a.b[i] : value >> 32);
            if (!WIDE) value &= 0xffffffffu;
        } else if (a.layout == TARGET) {
            second = a.b[i];
        }
        for (int f = 0; f < count; f++) {
            const Histogram<WIDE> h = histogram_of<WIDE>(a, words, f);
            const int bin = bins[feature[f]];
            h.add(plane, bin, value);
            if (a.layout == TARGET) h.add(1, bin, second);
            if (a.counted) h.add(a.planes - 1, bin, 1);
        }
    }
}

/* -- scores: the sequence of operations is that of the reference ------------------------------------------------- */

constexpr int LOG_TERMS = 11;
constexpr double LN2 = 0.6931471805599453, SQRT2 = 1.4142135623730951;

/* x = 2^e m, s = (m - 1)/(m + 1), log m = 2 s + 2 s (z/3 + z^2/5 + ...), z = s^2 */
__device__ __forceinline__ double log_of(double x) {
    const Int bits = __double_as_longlong(x);
    double e = (double)(bits >> 52) - 1023.0;
    double m = __longlong_as_double((bits & 0x000FFFFFFFFFFFFFll) | 0x3FF0000000000000ll);
    if (m > SQRT2) {
        m *= 0.5;
        e += 1.0;
    }
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double series = 0.0;
#pragma unroll
    for (int k = LOG_TERMS; k > 0; k--) series = z * (series + 1.0 / (2 * k + 1));
    return e * LN2 + (2.0 * s + (2.0 * s) * series);
}

__device__ __forceinline__ double x_log_x(double x) { return x > 0 ? x * log_of(x) : 0.0; }

/* w, s: weight and weighted target (or weight of class 1) left of the split and in the node */
__device__ __forceinline__ double score_of_two(bool entropy, double w_left, double s_left, double w, double s) {
    const double w_right = w - w_left;
    if (!entropy) {  /* (W s_L - w_L S)^2 / (w_L w_R) */
        const double d = w * s_left - w_left * s;
        return (d * d) / (w_left * w_right);
    }
    const double zero_left = w_left - s_left, s_right = s - s_left, zero_right = (w - s) - zero_left;
    const double left = x_log_x(zero_left) + x_log_x(s_left), right = x_log_x(zero_right) + x_log_x(s_right);
    return (left - x_log_x(w_left)) + (right - x_log_x(w_right));
}
