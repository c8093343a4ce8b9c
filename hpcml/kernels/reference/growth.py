"""Growth of binned decision trees: the definition that every other implementation equals to the bit.

Weights and weighted targets are integers (fixed point), so that sums do not depend on the order of rows;
the score of a split is computed from these integers by one fixed sequence of IEEE operations.
"""

import heapq
import math

import numpy as np

from hpcml.kernels import random
from hpcml.kernels.nodes import EPSILON, LEAF, NODE_DTYPE, UNDEFINED

EXACT_BITS = 51  # integers below 2**51 and sums rounded up to 2**52 are exact in float64
WORD_BITS = 64
LOG_TERMS = 11  # of the series of log: the next one is below 2**-60
MAX_EXPONENT = 1000  # of a fixed-point scale, so that it is a finite float64


def grow(
    binned, lower, upper, n_bins, y, weights, cumulative_weights, seeds, n_draws,
    *, criterion, n_classes, max_features, max_depth, min_samples_split, min_samples_leaf,
    min_weight_leaf, max_leaf_nodes, min_impurity_decrease, target_bits, n_threads=1,
):  # fmt: skip
    """Grow one tree for every seed; see :mod:`hpcml.kernels.contract` for the arguments."""
    trees = []
    for t, seed in enumerate(seeds):
        n_samples = len(y)
        if weights is None:
            w = np.ones(n_samples)
        else:
            w = np.asarray(weights[t % len(weights)], dtype=np.float64)
        if n_draws:
            rows = random.bootstrap_indices(seed, n_samples, n_draws, cumulative_weights)
            w = w * np.bincount(rows, minlength=n_samples)
        tree = _Tree(
            binned, lower, upper, n_bins, y, w, seed,
            criterion=criterion, n_classes=n_classes, max_features=max_features, max_depth=max_depth,
            min_samples_split=min_samples_split, min_samples_leaf=min_samples_leaf,
            min_weight_leaf=min_weight_leaf, min_impurity_decrease=min_impurity_decrease,
            target_bits=target_bits,
        )  # fmt: skip
        trees.append(tree.grow_best_first(max_leaf_nodes) if max_leaf_nodes else tree.grow_depth_first())
    offsets = np.concatenate([[0], np.cumsum([len(nodes) for nodes, _ in trees])]).astype(np.int64)
    return np.concatenate([n for n, _ in trees]), np.concatenate([v for _, v in trees]), offsets


def weight_exponent(total, whole):
    """Return e of round(w 2^e): 0 keeps whole numbers, otherwise the sum has EXACT_BITS bits."""
    return 0 if whole else min(EXACT_BITS - math.frexp(total)[1], MAX_EXPONENT)


def least_weight(min_weight_leaf, exponent, whole):
    """Return the least weight of a leaf in fixed point."""
    scaled = min_weight_leaf * 2.0**exponent
    return math.ceil(scaled) if whole else math.floor(scaled + 0.5)


def sum_bits(weight_bits, whole, counts_rows, target_bits):
    """Return the bits of the sum of the targets, and whether a 64-bit word has them.

    They are what it leaves beside weight and row count; where that is less than ``target_bits`` a unit of
    weight, the sums take words of their own.
    """
    bits = min(EXACT_BITS, WORD_BITS - weight_bits * (2 if counts_rows else 1))
    fits = whole and bits - 1 - weight_bits >= target_bits
    return bits if fits else EXACT_BITS, fits


def target_exponent(bits, total, span):
    """Return e of round(w (y - min y) 2^e)."""
    return min(bits - 1 - math.frexp(total)[1] - math.frexp(span)[1], MAX_EXPONENT)


class _Tree:
    def __init__(self, binned, lower, upper, n_bins, y, w, seed, **parameters):
        self.binned, self.lower, self.upper, self.n_bins = binned, lower, upper, n_bins
        self.y, self.w = y, w
        vars(self).update(parameters)
        self.rows = np.flatnonzero(w > 0)
        self.root_key = random.hash_at(seed, random.ROOT)
        self._quantise(y[self.rows], w[self.rows], self.min_samples_leaf)
        self.total_weight = self._weight(self.rows)
        self.min_w_int = least_weight(self.min_weight_leaf, self.weight_exponent, self.whole_weights)

    def _weight(self, rows):
        return float(self.w_int[rows].sum()) * 2.0**-self.weight_exponent

    def _quantise(self, y, w, min_samples_leaf):
        # w_int = round(w 2^e): e = 0 keeps whole numbers, otherwise the sum has EXACT_BITS bits
        total = _ordered_sum(w)
        whole = bool(np.all(w == np.floor(w))) and total < 2.0**EXACT_BITS
        e_w = weight_exponent(total, whole)
        w_int = np.maximum(np.floor(w * 2.0**e_w + 0.5), 1.0).astype(np.int64)
        if self.n_classes:
            s_int = np.where(y == 1, w_int, 0)
        else:  # s_int = round(w (y - min y) 2^e)
            span = float(y.max() - y.min())
            counts_rows = min_samples_leaf > 1 and bool(np.any(w != 1))
            bits, _ = sum_bits(int(w_int.sum()).bit_length(), whole, counts_rows, self.target_bits)
            e_y = target_exponent(bits, total, span)
            s_int = np.floor(w * ((y - y.min()) * 2.0**e_y) + 0.5).astype(np.int64)
        self.whole_weights, self.weight_exponent = whole, e_w
        self.w_int = np.zeros(len(self.w), dtype=np.int64)
        self.s_int = np.zeros(len(self.w), dtype=np.int64)
        self.w_int[self.rows], self.s_int[self.rows] = w_int, s_int

    # -- one node ------------------------------------------------------------------------------------------

    def describe(self, rows, depth):
        """Return the fields and the value of a node that holds ``rows`` (in ascending order)."""
        node = np.zeros((), dtype=NODE_DTYPE)
        node["left"] = node["right"] = LEAF
        node["feature"] = node["threshold"] = UNDEFINED
        node["n_samples"], node["depth"] = len(rows), depth
        w = node["weight"] = self._weight(rows)
        if self.n_classes == 0:
            value, node["impurity"] = self._mean_and_variance(rows, w)
        else:
            counts = np.bincount(self.y[rows].astype(np.int64), self.w_int[rows], self.n_classes)
            counts = counts * 2.0**-self.weight_exponent
            (impurity,) = class_impurity(counts[np.newaxis], np.array([w]), self.criterion != "gini")
            value, node["impurity"] = counts / w, impurity
        return node, np.atleast_1d(value)

    def _mean_and_variance(self, rows, weight):
        y, w = self.y[rows], self.w[rows]
        if y.min() == y.max():
            return y[0], 0.0
        mean = _lane_sum(w * y) / weight
        deviation = y - mean
        return mean, _lane_sum(w * (deviation * deviation)) / weight

    def is_leaf(self, node):
        n = node["n_samples"]
        return bool(
            node["depth"] >= self.max_depth
            or n < self.min_samples_split
            or n < 2 * self.min_samples_leaf
            or node["weight"] < 2 * self.min_weight_leaf
            or node["impurity"] <= (0.0 if self.n_classes == 0 else EPSILON)
        )

    def split(self, rows, key):
        """Return ``(feature, last left code, threshold, missing_go_to_left or None)`` of the best split."""
        best_score, best = -math.inf, None
        visited = varying = 0
        for f in random.feature_order(key, self.binned.shape[1]):
            if visited >= self.max_features and varying:
                break
            visited += 1
            codes = self.binned[rows, f]
            if codes.min() == codes.max():
                continue
            varying += 1
            for missing_left in (0, 1):
                scores = self._scores(rows, codes, self.n_bins[f], missing_left)
                if len(scores) and scores.max() > best_score:
                    best_score = scores.max()
                    best = (int(f), int(scores.argmax()), missing_left)
        if best is None:
            return None
        f, code, missing_left = best
        codes = self.binned[rows, f]
        has_missing = bool(np.any(codes == self.n_bins[f]))
        above = codes[(codes > code) & (codes < self.n_bins[f])]
        if len(above) == 0:
            return f, code, math.inf, 0
        below = codes[codes <= code].max()
        threshold = float(self.upper[f, below]) / 2.0 + float(self.lower[f, above.min()]) / 2.0
        return f, code, threshold, missing_left if has_missing else None

    def _scores(self, rows, codes, missing, missing_left):
        """Return the score of "codes <= b go left" for every bin b, -inf where that is no valid split."""
        w_int = self.w_int[rows]
        if self.n_classes <= 2:
            terms = [self.s_int[rows]]
        else:
            terms = [np.where(self.y[rows] == k, w_int, 0) for k in range(self.n_classes)]

        def left_sums(a):
            histogram = np.zeros(missing + 1, dtype=np.int64)
            np.add.at(histogram, codes, a)
            return np.cumsum(histogram[:missing]) + (histogram[missing] if missing_left else 0)

        n_missing = int(np.sum(codes == missing))
        if missing_left and n_missing == 0:
            return np.empty(0)
        n_left, w_left = left_sums(np.ones_like(w_int)), left_sums(w_int)
        n_right, w_right = len(rows) - n_left, w_int.sum() - w_left
        least = max(1, self.min_samples_leaf)
        valid = (n_left >= least) & (n_right >= least)
        valid &= (w_left >= self.min_w_int) & (w_right >= self.min_w_int)
        if missing_left:  # missing values alone on the left mirror missing values alone on the right
            valid &= n_left > n_missing
        scores = np.full(missing, -np.inf)
        s_left = [left_sums(a)[valid].astype(np.float64) for a in terms]
        s_total = [float(a.sum()) for a in terms]
        w_left, w_right = w_left[valid].astype(np.float64), w_right[valid].astype(np.float64)
        scores[valid] = self._score(w_left, w_right, s_left, float(w_int.sum()), s_total)
        return scores

    def _score(self, w_left, w_right, s_left, w_total, s_total):
        """Return what the best split maximises: the impurity decrease up to a constant and a factor."""
        entropy = self.criterion in ("entropy", "log_loss")
        if self.n_classes <= 2 and not entropy:
            # (W s_L - w_L S)^2 / (w_L w_R)
            d = w_total * s_left[0] - w_left * s_total[0]
            return (d * d) / (w_left * w_right)
        if self.n_classes <= 2:
            s_left = [w_left - s_left[0], s_left[0]]
            s_total = [w_total - s_total[0], s_total[0]]
        left = right = 0.0
        for s_l, s in zip(s_left, s_total, strict=True):
            s_r = s - s_l
            left = left + (_x_log_x(s_l) if entropy else s_l * s_l)
            right = right + (_x_log_x(s_r) if entropy else s_r * s_r)
        if entropy:
            return (left - _x_log_x(w_left)) + (right - _x_log_x(w_right))
        return left / w_left + right / w_right

    # -- the whole tree ------------------------------------------------------------------------------------

    def expand(self, node, rows, key):
        """Return ``(improvement, feature, threshold, missing_go_to_left, children)`` or None for a leaf."""
        if self.is_leaf(node):
            return None
        found = self.split(rows, key)
        if found is None:
            return None
        feature, code, threshold, missing_left = found
        codes = self.binned[rows, feature]
        go_left = codes <= code
        missing = codes == self.n_bins[feature]
        go_left = np.where(missing, bool(missing_left), go_left)
        children = []
        for side, counter in ((go_left, random.LEFT), (~go_left, random.RIGHT)):
            child_rows = rows[side]
            child, value = self.describe(child_rows, node["depth"] + 1)
            children.append((child, value, child_rows, random.hash_at(key, counter)))
        (left, *_), (right, *_) = children
        if missing_left is None:
            missing_left = left["n_samples"] > right["n_samples"]
        w = node["weight"]
        improvement = (w / self.total_weight) * (
            node["impurity"]
            - (right["weight"] / w) * right["impurity"]
            - (left["weight"] / w) * left["impurity"]
        )
        if improvement + EPSILON < self.min_impurity_decrease:
            return None
        return float(improvement), feature, threshold, int(missing_left), children

    def grow_depth_first(self):
        nodes, values = [], []

        def visit(node, value, rows, key):
            number = len(nodes)
            nodes.append(node)
            values.append(value)
            expanded = self.expand(node, rows, key)
            if expanded is not None:
                left, right = _fill(node, expanded)
                node["left"] = visit(*left)
                node["right"] = visit(*right)
            return number

        visit(*self._root())
        return np.array(nodes, dtype=NODE_DTYPE), np.array(values)

    def grow_best_first(self, max_leaf_nodes):
        nodes, values, frontier = [], [], []

        def add(node, value, rows, key):
            nodes.append(node)
            values.append(value)
            expanded = self.expand(node, rows, key)
            if expanded is not None:  # ties of the improvement go to the lowest node number
                heapq.heappush(frontier, (-expanded[0], len(nodes) - 1, expanded))
            return len(nodes) - 1

        add(*self._root())
        for _ in range(max_leaf_nodes - 1):
            if not frontier:
                break
            _, number, expanded = heapq.heappop(frontier)
            left, right = _fill(nodes[number], expanded)
            nodes[number]["left"] = add(*left)
            nodes[number]["right"] = add(*right)
        return np.array(nodes, dtype=NODE_DTYPE), np.array(values)

    def _root(self):
        node, value = self.describe(self.rows, 0)
        return node, value, self.rows, self.root_key


def _fill(node, expanded):
    improvement, feature, threshold, missing_left, children = expanded
    node["improvement"], node["feature"] = improvement, feature
    node["threshold"], node["missing_go_to_left"] = threshold, missing_left
    return children


def _ordered_sum(a):
    return float(np.cumsum(a)[-1]) if len(a) else 0.0


def _lane_sum(a):
    """Sum in eight lanes, element i into lane i mod 8, then the lanes in a fixed tree."""
    padded = np.zeros((1 + -(-len(a) // 8)) * 8)  # the lanes start at 0
    padded[8 : 8 + len(a)] = a
    lanes = np.cumsum(padded.reshape(-1, 8), axis=0)[-1]
    lanes = lanes[:4] + lanes[4:]
    lanes = lanes[:2] + lanes[2:]
    return float(lanes[0] + lanes[1])


def class_impurity(counts, weight, entropy):
    """Return Gini impurity, 1 - sum c^2 / W^2, or entropy in bits, - sum p log2 p, of nodes (in rows)."""
    impurity = np.zeros(len(weight))
    for c in counts.T:
        if entropy:
            p = c / weight
            impurity -= np.where(c > 0, p * (logarithm(np.where(c > 0, p, 1.0)) / LN2), 0.0)
        else:
            impurity += c * c
    return impurity if entropy else 1.0 - impurity / (weight * weight)


LN2 = 0.6931471805599453
SQRT2 = 1.4142135623730951


def logarithm(x):
    """Natural logarithm of positive float64, the same bits everywhere.

    x = 2^e m with m in (sqrt(1/2), sqrt(2)]; log m = 2 (s + s^3/3 + s^5/5 + ...) with s = (m - 1)/(m + 1).
    """
    m, e = np.frexp(x)
    m, e = m * 2.0, e - 1.0
    high = m > SQRT2
    m, e = np.where(high, m * 0.5, m), np.where(high, e + 1.0, e)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = np.zeros_like(z)
    for k in range(LOG_TERMS, 0, -1):
        series = z * (series + 1.0 / (2 * k + 1))
    return e * LN2 + (2.0 * s + (2.0 * s) * series)


def _x_log_x(x):
    return np.where(x > 0, x * logarithm(np.where(x > 0, x, 1.0)), 0.0)
