/* Growth of trees: the rows of split nodes go to their children, and means of targets. */
#include "growth.h"

struct Cut {  /* of a node */
    Int at, to, n;  /* rows in the streams, and where those of its children go */
    Int feature, code, missing, missing_left;
    Int n_left;
};

struct Partition {
    const unsigned char *binned;
    Int d;
    const Cut *cuts;
    const Int *tiles;  /* (n_tiles, 3): node, first row in it, the row after the last */
    Int *left;  /* (n_tiles,): rows that go left; then rows of the node that go left before the tile */
    unsigned *rows;
    Word *a, *b;  /* b may be 0 */
};

__device__ __forceinline__ bool goes_left(const Partition &a, const Cut &cut, Int i) {
    const int bin = a.binned[(Int)a.rows[cut.at + i] * a.d + cut.feature];
    return bin == cut.missing ? cut.missing_left != 0 : bin <= cut.code;
}

/* Grid: (n_tiles) */
__device__ __forceinline__ void count(const Partition &a) {
    __shared__ int room[WARPS];
    const Int *tile = a.tiles + 3 * (Int)blockIdx.x;
    const Cut cut = a.cuts[tile[0]];
    int left = 0;
    for (Int i = tile[1] + threadIdx.x; i < tile[2]; i += THREADS) left += goes_left(a, cut, i);
    left = warp_sum(left);
    if (threadIdx.x % WARP_SIZE == 0) room[threadIdx.x / WARP_SIZE] = left;
    __syncthreads();
    if (threadIdx.x) return;
    for (int w = 1; w < WARPS; w++) left += room[w];
    a.left[blockIdx.x] = left;
}
KERNEL(count_left, THREADS, 1, Partition, count)

/* Rows keep their order. Grid: (n_tiles) */
__device__ __forceinline__ void move(const Partition &a) {
    __shared__ int room[WARPS];
    const Int *tile = a.tiles + 3 * (Int)blockIdx.x;
    const Cut cut = a.cuts[tile[0]];
    Int before = a.left[blockIdx.x];
    for (Int base = tile[1]; base < tile[2]; base += THREADS) {
        const Int i = base + threadIdx.x;
        const bool there = i < tile[2], left = there && goes_left(a, cut, i);
        const Votes votes = count_votes(left, room);
        if (there) {
            const Int lefts = before + votes.before, from = cut.at + i;
            const Int to = cut.to + (left ? lefts : cut.n_left + i - lefts);
            a.rows[to] = a.rows[from];
            a.a[to] = a.a[from];
            if (a.b) a.b[to] = a.b[from];
        }
        before += votes.all;
    }
}
KERNEL(move_rows, THREADS, 1, Partition, move)

struct Means {
    const unsigned *rows;
    const Word *a;
    Int layout;
    const TreeParameters *trees;
    const double *weights;  /* (sets, n), or 0: the words hold whole weights */
    const Int *sets;
    const double *y;
    Int n;
    const Node *nodes;
    const double *node_weights;
    Int n_nodes;
    double *means, *variances;
};

/* sum w (y - center)^power in eight lanes, row i in lane i mod 8, then the lanes in a fixed tree. */
template <int POWER>
__device__ __forceinline__ double lane_sum(const Means &a, const Node &node, const TreeParameters &tree, double center) {
    const int lane = threadIdx.x % WARP_SIZE;
    double sum = 0;
    for (Int base = 0; base < node.n; base += WARP_SIZE) {
        const Int i = node.at + base + lane;
        double value = 0;
        if (base + lane < node.n) {
            const Int row = a.rows[i];
            const double x = a.y[row] - center;
            double w;
            if (a.layout == PACKED) w = (double)(Int)(a.a[i] >> tree.weight_shift & tree.weight_mask);
            else w = a.weights ? a.weights[a.sets[node.tree] * a.n + row] : (double)(Int)a.a[i];
            value = POWER == 1 ? w * x : w * (x * x);
        }
#pragma unroll
        for (int q = 0; q < WARP_SIZE / 8; q++) sum += __shfl_sync(ALL_LANES, value, lane % 8 + 8 * q);
    }
    for (int bits = 4; bits > 0; bits /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, bits);
    return sum;
}

/* mean = sum w y / W, variance = sum w (y - mean)^2 / W. A warp a node. Grid: (n_nodes / WARPS) */
__device__ __forceinline__ void describe(const Means &a) {
    const Int number = (Int)blockIdx.x * WARPS + threadIdx.x / WARP_SIZE;
    if (number >= a.n_nodes) return;
    const Node node = a.nodes[number];
    const TreeParameters tree = a.trees[node.tree];
    const double first = a.y[a.rows[node.at]], weight = a.node_weights[number];
    bool same = true;
    for (Int base = 0; base < node.n && same; base += WARP_SIZE) {
        const Int i = base + threadIdx.x % WARP_SIZE;
        same = __all_sync(ALL_LANES, i >= node.n || a.y[a.rows[node.at + i]] == first);
    }
    double mean = first, variance = 0;
    if (!same) {
        mean = lane_sum<1>(a, node, tree, 0.0) / weight;
        variance = lane_sum<2>(a, node, tree, mean) / weight;
    }
    if (threadIdx.x % WARP_SIZE == 0) a.means[number] = mean, a.variances[number] = variance;
}
KERNEL(describe_nodes, THREADS, 1, Means, describe)
