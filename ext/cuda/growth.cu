/* Growth of trees: the rows in the bag of each, and the splits of many nodes at a time. */
#include "growth.h"

/* -- rows in the bag --------------------------------------------------------------------------------------------- */

struct Draws {
    const Word *keys;  /* of the bootstrap of every tree */
    Int n, n_draws;
    const double *cumulative;  /* (n,): running sum of the weights by which rows are drawn; 0: all alike */
    unsigned *counts;  /* (trees, n): how often a row was drawn */
};

/* Grid: (n_draws / THREADS, trees) */
__device__ __forceinline__ void draw(const Draws &a) {
    const Int i = (Int)blockIdx.x * THREADS + threadIdx.x, t = blockIdx.y;
    if (i >= a.n_draws) return;
    const double u = uniform_at(a.keys[t], i);
    Int row = (Int)(u * (double)a.n);
    if (a.cumulative) {  /* the first row whose cumulative weight is above u * total */
        const double total = a.cumulative[a.n - 1], x = u * total;
        Int low = 0, high = a.n - 1;
        while (low < high) {
            const Int middle = (low + high) / 2;
            if (a.cumulative[middle] > x || a.cumulative[middle] == total) high = middle;
            else low = middle + 1;
        }
        row = low;
    }
    atomicAdd(a.counts + t * a.n + row, 1u);
}
KERNEL(draw_rows, THREADS, 1, Draws, draw)

struct Bags {
    const unsigned *draws;  /* (trees, n), or 0 */
    const double *weights;  /* (sets of weights, n), or 0 */
    const Int *sets;  /* (trees,) */
    const double *y;
    Int n, tile;  /* rows of a block */
    Int tiles;
    Int *counts, *others;  /* (trees, tiles): rows in the bag; whether a weight is not 1 */
    double *lowest, *highest;  /* (trees, tiles): of the targets in the bag */
};

__device__ __forceinline__ bool in_bag(const unsigned *draws, const double *weights, Int row) {
    return draws ? draws[row] > 0 : weights ? weights[row] > 0 : true;
}

/* Grid: (tiles, trees) */
__device__ __forceinline__ void survey(const Bags &a) {
    __shared__ int counts[WARPS], others[WARPS];
    __shared__ double lowest[WARPS], highest[WARPS];
    const Int t = blockIdx.y, start = (Int)blockIdx.x * a.tile;
    const Int stop = start + a.tile < a.n ? start + a.tile : a.n;
    const unsigned *draws = a.draws ? a.draws + t * a.n : 0;
    const double *weights = a.weights ? a.weights + a.sets[t] * a.n : 0;
    int count = 0, other = 0;
    double low = INFINITY, high = -INFINITY;
    for (Int i = start + threadIdx.x; i < stop; i += THREADS) {
        if (!in_bag(draws, weights, i)) continue;
        count += 1;
        other |= draws ? draws[i] != 1 : weights ? weights[i] != 1 : 0;
        const double y = a.y[i];
        low = y < low ? y : low;
        high = y > high ? y : high;
    }
    count = warp_sum(count);
    other = __any_sync(ALL_LANES, other);
    for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) {
        const double l = __shfl_xor_sync(ALL_LANES, low, bits), h = __shfl_xor_sync(ALL_LANES, high, bits);
        low = l < low ? l : low;
        high = h > high ? h : high;
    }
    const int warp = threadIdx.x / WARP_SIZE;
    if (threadIdx.x % WARP_SIZE == 0) counts[warp] = count, others[warp] = other, lowest[warp] = low, highest[warp] = high;
    __syncthreads();
    if (threadIdx.x) return;
    for (int i = 1; i < WARPS; i++) {
        count += counts[i];
        other |= others[i];
        low = lowest[i] < low ? lowest[i] : low;
        high = highest[i] > high ? highest[i] : high;
    }
    const Int at = t * a.tiles + blockIdx.x;
    a.counts[at] = count;
    a.others[at] = other;
    a.lowest[at] = low;
    a.highest[at] = high;
}
KERNEL(survey_rows, THREADS, 1, Bags, survey)

struct Scales {  /* of one tree: w_int = round(w weight), s_int = round(w (y - low) target) */
    double weight, target, low;
};

struct Start {
    const unsigned *draws;
    const double *weights;
    const Int *sets;
    const double *y;
    Int n, tile, tiles;
    const Int *offsets;  /* (trees, tiles): where the rows of a tile go */
    const Scales *scales;
    const TreeParameters *trees;
    Int layout, wide;
    unsigned *rows;  /* streams */
    Word *a, *b;
    unsigned *sums;  /* (trees, sums_of_tree): of weights by class, or of weights and targets; 64 bits each */
    Int sums_of_tree, in_shared;
};

/* Grid: (tiles, trees) */
__device__ __forceinline__ void start(const Start &a) {
    __shared__ int room[WARPS];
    DYNAMIC_SHARED(shared);
    const Int t = blockIdx.y, first = (Int)blockIdx.x * a.tile;
    const Int stop = first + a.tile < a.n ? first + a.tile : a.n;
    unsigned *all = a.sums + 2 * t * a.sums_of_tree, *sums = a.in_shared ? (unsigned *)shared : all;
    if (a.in_shared)
        for (Int k = threadIdx.x; k < 2 * a.sums_of_tree; k += THREADS) sums[k] = 0;
    __syncthreads();
    const unsigned *draws = a.draws ? a.draws + t * a.n : 0;
    const double *weights = a.weights ? a.weights + a.sets[t] * a.n : 0;
    const Scales scales = a.scales[t];
    const TreeParameters tree = a.trees[t];
    Int at = a.offsets[t * a.tiles + blockIdx.x];
    for (Int base = first; base < stop; base += THREADS) {
        const Int i = base + threadIdx.x;
        const bool in = i < stop && in_bag(draws, weights, i);
        const Votes votes = count_votes(in, room);
        if (in) {
            const Int to = at + votes.before;
            const double y = a.y[i], w = weights ? weights[i] : draws ? (double)draws[i] : 1.0;
            const double scaled = floor(w * scales.weight + 0.5);
            const Word w_int = (Word)(Int)(scaled < 1.0 ? 1.0 : scaled);
            a.rows[to] = (unsigned)i;
            if (a.layout == CLASSES) {
                a.a[to] = a.wide ? w_int : (Word)(Int)y << 32 | w_int;
                if (a.wide) a.b[to] = (Word)(Int)y;
                Histogram<true>::add_at(sums, (Int)y, w_int);
            } else {
                const Word s_int = (Word)(Int)floor(w * ((y - scales.low) * scales.target) + 0.5);
                if (a.layout == PACKED)
                    a.a[to] = s_int | w_int << tree.weight_shift |
                              (tree.count_shift ? (Word)1 << tree.count_shift : (Word)0);
                else
                    a.a[to] = w_int, a.b[to] = s_int;
                Histogram<true>::add_at(sums, 0, w_int);
                Histogram<true>::add_at(sums, 1, s_int);
            }
        }
        at += votes.all;
    }
    if (!a.in_shared) return;
    __syncthreads();
    for (Int k = threadIdx.x; k < a.sums_of_tree; k += THREADS)
        Histogram<true>::add_at(all, k, Histogram<true>::get_at(sums, k));
}
KERNEL(start_rows, THREADS, 1, Start, start)

/* -- the best split of a node -------------------------------------------------------------------------------------- */

struct Order {
    const Node *nodes;
    Int n_nodes, d;
    int *order;  /* (d, n_nodes) */
};

/* A thread draws the permutation of the features of a node (Fisher-Yates). Grid: (n_nodes / THREADS) */
__device__ __forceinline__ void draw_order(const Order &a) {
    const Int node = (Int)blockIdx.x * THREADS + threadIdx.x;
    if (node >= a.n_nodes) return;
    const Word key = a.nodes[node].key;
    int *order = a.order + node;
    for (Int i = 0; i < a.d; i++) order[i * a.n_nodes] = (int)i;
    for (Int i = 0; i + 1 < a.d; i++) {
        const Int j = i + (Int)(uniform_at(key, i) * (double)(a.d - i));
        const int other = order[j * a.n_nodes];
        order[j * a.n_nodes] = order[i * a.n_nodes];
        order[i * a.n_nodes] = other;
    }
}
KERNEL(order_features, THREADS, 1, Order, draw_order)

struct Fill {
    Table table;
    const Int *items;  /* (n_items, 3): node, first row in it, the row after the last */
    Int in_shared;  /* 1: rows are added up in shared memory first */
};

/* Rows of large nodes go to histograms in global memory. Grid: (n_items, groups of features) */
template <bool WIDE> __device__ __forceinline__ void fill_large(const Fill &a) {
    __shared__ int feature[WARPS];
    DYNAMIC_SHARED(room);
    const Table &table = a.table;
    const Int *item = a.items + 3 * (Int)blockIdx.x;
    const Node node = table.nodes[item[0]];
    const int count = choose_features(table, item[0], feature);
    unsigned *all = global_histograms<WIDE>(table, node.histogram);
    unsigned *words = a.in_shared ? (unsigned *)room : all;
    const Int size = count * table.planes * table.stride;
    if (a.in_shared)
        for (Int i = threadIdx.x; i < size * (WIDE ? 2 : 1); i += THREADS) words[i] = 0;
    __syncthreads();
    fill<WIDE>(table, node.at + item[1], node.at + item[2], feature, count, words);
    if (!a.in_shared) return;
    __syncthreads();
    for (Int i = threadIdx.x; i < size; i += THREADS) {
        const Word value = Histogram<WIDE>::get_at(words, i);
        if (value) Histogram<WIDE>::add_at(all, i, value);
    }
}
KERNEL(fill_narrow, THREADS, 1, Fill, fill_large<false>)
KERNEL(fill_wide, THREADS, 1, Fill, fill_large<true>)

constexpr unsigned NO_SPLIT = 0x80000000u, VARIES = 1u << 20, HAS_MISSING = 1u << 19, MISSING_LEFT = 1u << 18;

struct Search {
    Table table;
    const Int *active;  /* nodes that are searched */
    const TreeParameters *trees;
    const Word *totals;  /* (n_nodes, planes): sums of a node, as in a histogram */
    Int classes, entropy, min_rows;
    Int sums_of_node;  /* numbers of `sums` */
    double *scores;  /* (active, slots) */
    unsigned *splits;  /* (active, slots): code | next code << 9 | flags */
    Word *sums;  /* (active, slots, sums_of_node): of the rows on the left */
};

struct Split {
    double score;
    int code, missing_left;
};

/* The best split of a feature by a warp; the histogram becomes that of all bins up to each. */
template <bool WIDE>
__device__ __forceinline__ void search_feature(const Search &a, const Histogram<WIDE> &h, Int i, const Node &node,
                                               int missing, Int result) {
    const int lane = threadIdx.x % WARP_SIZE;
    const Int planes = a.table.planes, layout = a.table.layout;
    const Word *total = a.totals + i * planes;
    const TreeParameters tree = a.trees[node.tree];
    const Word sum_mask = ((Word)1 << tree.weight_shift) - 1;
    for (Int k = 0; k < planes; k++) {
        Word sum = 0;
        for (int b = RUN * lane; b < RUN * lane + RUN && b < missing; b++) sum += h.get(k, b);
        Word before = sum;
        for (int by = 1; by < WARP_SIZE; by *= 2) {
            const Word other = __shfl_up_sync(ALL_LANES, before, by);
            if (lane >= by) before += other;
        }
        before -= sum;
        for (int b = RUN * lane; b < RUN * lane + RUN && b < missing; b++) {
            before += h.get(k, b);
            h.set(k, b, before);
        }
    }
    __syncwarp();

    const Int weights = layout == CLASSES ? planes - a.table.counted : 1;  /* planes whose sum is the weight */
    const auto weight_in = [&](Word word) {
        return layout == PACKED ? word >> tree.weight_shift & tree.weight_mask : word;
    };
    const auto weight_to = [&](int bin) {
        Word sum = 0;
        for (Int k = 0; k < weights; k++) sum += weight_in(h.get(k, bin));
        return sum;
    };
    const auto of_missing = [&](Int k) { return total[k] - (missing > 0 ? h.get(k, missing - 1) : 0); };
    Word node_weight = 0, missing_weight = 0;
    for (Int k = 0; k < weights; k++) {
        node_weight += weight_in(total[k]);
        missing_weight += weight_in(of_missing(k));
    }
    const double w = (double)(Int)node_weight;
    const double s = (double)(Int)(layout == PACKED ? total[0] & sum_mask : total[1]);

    Split best = {-INFINITY, -1, 0};
    bool varies = missing_weight > 0 && missing_weight < node_weight;
    for (int missing_left = 0; missing_left <= (missing_weight > 0); missing_left++) {
        Split found = {-INFINITY, 256, missing_left};
        for (int b = lane; b < missing; b += WARP_SIZE) {
            double w_left = 0, s_left = 0, score;
            Word left_weight = 0, left_rows = 0, rows = 0;
            const auto left_of = [&](Int k) { return h.get(k, b) + (missing_left ? of_missing(k) : 0); };
            if (layout == PACKED) {
                const Word word = left_of(0);
                left_weight = weight_in(word);
                s_left = (double)(Int)(word & sum_mask);
                if (tree.count_shift) left_rows = word >> tree.count_shift, rows = total[0] >> tree.count_shift;
            } else {
                for (Int k = 0; k < weights; k++) left_weight += left_of(k);
                if (a.classes <= 2) s_left = (double)(Int)left_of(1);
                if (a.table.counted) left_rows = left_of(planes - 1), rows = total[planes - 1];
            }
            const Word right_weight = node_weight - left_weight;
            if (left_weight == 0) continue;
            if (right_weight == 0) continue;
            varies = true;
            if (left_weight < tree.min_weight || right_weight < tree.min_weight) continue;
            if (rows && (left_rows < (Word)a.min_rows || rows - left_rows < (Word)a.min_rows)) continue;
            /* missing values alone on the left mirror missing values alone on the right */
            if (missing_left && left_weight <= missing_weight) continue;
            w_left = (double)(Int)left_weight;
            if (a.classes <= 2) {
                score = score_of_two(a.entropy != 0, w_left, s_left, w, s);
            } else {
                double left = 0, right = 0;
                for (Int k = 0; k < weights; k++) {
                    const double l = (double)(Int)left_of(k), r = (double)(Int)total[k] - l;
                    left = left + (a.entropy ? x_log_x(l) : l * l);
                    right = right + (a.entropy ? x_log_x(r) : r * r);
                }
                const double w_right = w - w_left;
                score = a.entropy ? (left - x_log_x(w_left)) + (right - x_log_x(w_right))
                                  : left / w_left + right / w_right;
            }
            if (score > found.score) found.score = score, found.code = b;
        }
        for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) {  /* ties go to the lowest code */
            const double score = __shfl_xor_sync(ALL_LANES, found.score, bits);
            const int code = __shfl_xor_sync(ALL_LANES, found.code, bits);
            if (score > found.score || (score == found.score && code < found.code)) found.score = score, found.code = code;
        }
        if (found.score > best.score) best = found;
    }
    varies = __any_sync(ALL_LANES, varies);
    unsigned split = (varies ? VARIES : 0) | (missing_weight ? HAS_MISSING : 0);
    if (best.code < 0) {
        split |= NO_SPLIT;
    } else {
        const Word here = weight_to(best.code);
        int next = missing;  /* the next bin that is not empty */
        for (int b = best.code + 1 + lane; b < missing && next == missing; b += WARP_SIZE)
            if (weight_to(b) > here) next = b;
        for (int bits = WARP_SIZE / 2; bits > 0; bits /= 2) next = min(next, __shfl_xor_sync(ALL_LANES, next, bits));
        split |= (unsigned)best.code | (unsigned)next << 9 | (best.missing_left ? MISSING_LEFT : 0);
        for (Int k = lane; k < a.sums_of_node; k += WARP_SIZE) {
            const Int plane = layout == PACKED ? 0 : k;
            const Word word = h.get(plane, best.code) + (best.missing_left ? of_missing(plane) : 0);
            a.sums[result * a.sums_of_node + k] = layout != PACKED ? word : k == 0 ? weight_in(word) : word & sum_mask;
        }
    }
    if (lane == 0) a.scores[result] = best.score, a.splits[result] = split;
}

/* A warp a feature. Grid: (active nodes, groups of features) */
template <bool WIDE> __device__ __forceinline__ void search(const Search &a) {
    __shared__ int feature[WARPS];
    DYNAMIC_SHARED(room);
    const Table &table = a.table;
    const Int i = a.active[blockIdx.x];
    const Node node = table.nodes[i];
    const int count = choose_features(table, i, feature);
    unsigned *words = (unsigned *)room;
    if (node.histogram >= 0) {
        words = global_histograms<WIDE>(table, node.histogram);
    } else {
        for (Int e = threadIdx.x; e < count * table.planes * table.stride * (WIDE ? 2 : 1); e += THREADS) words[e] = 0;
    }
    __syncthreads();
    if (node.histogram < 0) fill<WIDE>(table, node.at, node.at + node.n, feature, count, words);
    __syncthreads();
    const int warp = threadIdx.x / WARP_SIZE;
    if (warp >= count) return;
    const Int result = (Int)blockIdx.x * table.slots + blockIdx.y * table.group + warp;
    search_feature<WIDE>(a, histogram_of<WIDE>(table, words, warp), i, node, table.n_bins[feature[warp]], result);
}
KERNEL(search_narrow, THREADS, 2, Search, search<false>)
KERNEL(search_wide, THREADS, 2, Search, search<true>)

struct Choose {
    const Int *active;
    Int n_active;
    const int *order;
    Int n_nodes, first, slots, max_features;
    Int sums_of_node;
    const double *scores;
    const unsigned *splits;
    const Word *sums;
    double *best;  /* (n_nodes,): score of the chosen split so far */
    Int *chosen;  /* (n_nodes, 3): its feature, or -1; the split; whether a feature has varied */
    Word *sums_left;  /* (n_nodes, sums_of_node) */
};

/* The best of the features that a node looks at: max_features, and more until one varies. Ties go to the first.
 * Grid: (n_active / THREADS) */
__device__ __forceinline__ void choose(const Choose &a) {
    const Int at = (Int)blockIdx.x * THREADS + threadIdx.x;
    if (at >= a.n_active) return;
    const Int node = a.active[at];
    Int *chosen = a.chosen + 3 * node, slot = -1;
    double best = a.first ? a.best[node] : -INFINITY;
    bool varies = a.first && chosen[2];
    for (Int j = 0; j < a.slots && !(varies && a.first + j >= a.max_features); j++) {
        const unsigned split = a.splits[at * a.slots + j];
        varies = varies || (split & VARIES);
        if (!(split & NO_SPLIT) && a.scores[at * a.slots + j] > best) best = a.scores[at * a.slots + j], slot = j;
    }
    a.best[node] = best;
    chosen[2] = varies;
    if (slot < 0) {
        if (a.first == 0) chosen[0] = -1;
        return;
    }
    chosen[0] = a.order[(a.first + slot) * a.n_nodes + node];
    chosen[1] = a.splits[at * a.slots + slot];
    for (Int k = 0; k < a.sums_of_node; k++)
        a.sums_left[node * a.sums_of_node + k] = a.sums[(at * a.slots + slot) * a.sums_of_node + k];
}
KERNEL(choose_splits, THREADS, 1, Choose, choose)
