/* Which leaf of every tree a row falls into, and the sum of the leaves' values: the bits of the processor. */
#include "device.h"

/* As NODE_DTYPE of hpcml/kernels/nodes.py. */
struct Node {
    int left, right, feature;
    unsigned char missing_go_to_left;
    double threshold, impurity;
    Int n_samples;
    double weight, improvement;
    int depth;
};
static_assert(sizeof(Node) == 64, "NODE_DTYPE is aligned");

struct Trees {
    const float *X;  /* (n, d) */
    const Node *nodes;
    const Int *offsets;  /* (trees + 1,): first node of every tree */
    Int n, d, trees;
    int *leaves;  /* (n, trees), or 0 */
    const double *values;  /* (nodes, K), or 0 */
    Int K;
    double *total;  /* (n, K), or 0 */
};

__device__ __forceinline__ int leaf_of(const Node *tree, const float *x) {
    int at = 0;
    while (tree[at].left != -1) {
        const Node &node = tree[at];
        const float value = x[node.feature];
        const bool left = isnan(value) ? node.missing_go_to_left != 0 : (double)value <= node.threshold;
        at = left ? node.left : node.right;
    }
    return at;
}

/* A thread takes a row through all trees: values are added in the order of the trees. Grid: (n / THREADS) */
__device__ __forceinline__ void predict(const Trees &a) {
    const Int row = (Int)blockIdx.x * THREADS + threadIdx.x;
    if (row >= a.n) return;
    for (Int t = 0; t < a.trees; t++) {
        const int leaf = leaf_of(a.nodes + a.offsets[t], a.X + row * a.d);
        if (a.leaves) a.leaves[row * a.trees + t] = leaf;
        if (a.total)
            for (Int k = 0; k < a.K; k++) {
                double *total = a.total + row * a.K + k;
                *total = (t ? *total : 0.0) + a.values[(a.offsets[t] + leaf) * a.K + k];
            }
    }
}
KERNEL(predict_rows, THREADS, 1, Trees, predict)
