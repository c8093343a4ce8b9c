/* One tree: rows partitioned, nodes described, split and expanded. */

/* Copy or not, without a branch: element i goes to both sides, only one side's end moves on. */
#define COMPACT(type, left, right, source, go, n)            \
    do {                                                     \
        type *l_ = (left), *r_ = (right);                    \
        const type *s_ = (source);                           \
        for (int64_t i_ = 0; i_ < (n); i_++) {               \
            const type x_ = s_[i_];                          \
            *l_ = x_;                                        \
            *r_ = x_;                                        \
            l_ += (go)[i_];                                  \
            r_ += 1 - (go)[i_];                              \
        }                                                    \
    } while (0)

/* 64-bit elements; AVX-512 has an instruction for it. */
HOT void ISA(compact_words)(uint64_t *left, uint64_t *right, const uint64_t *source, const uint8_t *go, int64_t n) {
    int64_t i = 0;
#if VL == 8
    for (; i + 8 <= n; i += 8) {
        const __m512i x = _mm512_loadu_si512(source + i);
        const __mmask8 mask = (__mmask8)_mm_test_epi8_mask(_mm_loadl_epi64((const __m128i *)(go + i)), _mm_set1_epi8(1));
        const int to_left = __builtin_popcount(mask);
        _mm512_storeu_si512(left, _mm512_maskz_compress_epi64(mask, x));
        _mm512_storeu_si512(right, _mm512_maskz_compress_epi64((__mmask8)~mask, x));
        left += to_left;
        right += 8 - to_left;
    }
#endif
    COMPACT(uint64_t, left, right, source + i, go + i, n - i);
}

/* Decide where each row goes, and send its bins there. */
INLINE int64_t ISA(send_bins)(uint8_t *left, uint8_t *right, const uint8_t *source, int64_t feature, const uint8_t *side,
                              uint8_t *go, int64_t n, const size_t stride) {
    const uint8_t *const start = left;
    uint8_t row[RECORD_FEATURES];
    for (int64_t i = 0; i < n; i++, source += stride) {
        const size_t to_left = go[i] = side[source[feature]];
        memcpy(row, source, stride);
        memcpy(left, row, stride);
        memcpy(right, row, stride);
        left += stride * to_left; /* a product, for compilers turn a choice into a branch */
        right += stride * (1 - to_left);
    }
    return (left - start) / (int64_t)stride;
}

/* Separate the rows of a node; returns the number that goes left. See growth_types.h for where they go. */
HOT int64_t ISA(partition)(tree_t *t, const place_t *place, int64_t n, const split_t *split, int children_split) {
    const int from = place->buffer, to = 1 - from;
    const int64_t at = place->at, scratch = place->scratch, missing = t->p->n_bins[split->feature];
    uint8_t side[MAX_CODES] = {0}, *go = t->go_left;
    for (int64_t c = 0; c <= split->code; c++) side[c] = 1;
    side[missing] = (uint8_t)split->missing_left;
    int64_t n_left = 0;
    if (t->p->columns) {
        const uint8_t *column = t->p->columns + split->feature * t->p->n;
        const uint32_t *row = t->row[from] + at;
        for (int64_t i = 0; i < n; i++) n_left += go[i] = side[column[row[i]]];
    } else {
        uint8_t *bins = t->bins[from] + at * t->stride, *right = t->bins[to] + scratch * t->stride;
        switch (children_split ? t->stride : 0) {
            case 0:
                for (int64_t i = 0; i < n; i++) n_left += go[i] = side[bins[i * t->stride + split->feature]];
                break;
#define STRIDE(s) case s: n_left = ISA(send_bins)(bins, right, bins, split->feature, side, go, n, s); break;
            STRIDE(8) STRIDE(16) STRIDE(24) STRIDE(32) STRIDE(40) STRIDE(48) STRIDE(56) STRIDE(64)
#undef STRIDE
        }
    }
    if (t->row[0]) COMPACT(uint32_t, t->row[from] + at, t->row[to] + scratch, t->row[from] + at, go, n);
    if (t->pack[0]) ISA(compact_words)(t->pack[from] + at, t->pack[to] + scratch, t->pack[from] + at, go, n);
    if (t->target[0])
        ISA(compact_words)((uint64_t *)(t->target[from] + at), (uint64_t *)(t->target[to] + scratch),
                           (uint64_t *)(t->target[from] + at), go, n);
    return n_left;
}

/* Sums over the rows of a node, in the fixed point. */
static void ISA(sum_rows)(const tree_t *t, const place_t *place, int64_t n, uint64_t *sums) {
    memset(sums, 0, (size_t)t->n_planes * sizeof *sums);
    if (t->packed) {
        const uint64_t *pack = t->pack[place->buffer] + place->at;
        uint64_t total = 0;
        for (int64_t i = 0; i < n; i++) total += pack[i];
        sums[0] = total >> t->weight_shift & t->weight_mask;
        sums[1] = total & t->sum_mask;
        return;
    }
    const uint32_t *row = t->row[place->buffer] + place->at;
    if (t->p->n_classes)
        for (int64_t i = 0; i < n; i++) sums[t->s_of_row[row[i]]] += t->w_of_row[row[i]];
    else
        for (int64_t i = 0; i < n; i++) {
            sums[0] += t->w_of_row[row[i]];
            sums[1] += t->s_of_row[row[i]];
        }
}

INLINE double ISA(weight_of)(const tree_t *t, const uint64_t *pack, const uint32_t *row, int64_t i) {
    return pack ? (double)(int64_t)(pack[i] >> t->weight_shift & t->weight_mask) : t->w[row[i]];
}

/* sum w (y - center)^power in eight lanes in the order of the rows; power 1 or 2 */
INLINE double ISA(lane_sum)(const tree_t *t, const double *y, const uint64_t *pack, const uint32_t *row, int64_t n,
                            double center, const int power) {
    VF lanes[8 / VL] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int v = 0; v < 8 / VL; v++) {
            const VF x = *(const VF *)(y + i + v * VL) - center;
            VF w;
            if (pack) w = ISA(to_double)(*(const VU *)(pack + i + v * VL) >> t->weight_shift & t->weight_mask);
            else for (int l = 0; l < VL; l++) w[l] = t->w[row[i + v * VL + l]];
            lanes[v] += power == 1 ? w * x : w * (x * x);
        }
    double a[8];
    memcpy(a, lanes, sizeof a);
    for (int l = 0; i < n; i++, l++) {
        const double x = y[i] - center, w = ISA(weight_of)(t, pack, row, i);
        a[l] += power == 1 ? w * x : w * (x * x);
    }
    return ISA(fold_lanes)(a);
}

/* mean = sum w y / W, variance = sum w (y - mean)^2 / W */
static double ISA(mean_and_variance)(const tree_t *t, const place_t *place, int64_t n, double weight, double *variance) {
    const double *y = t->target[place->buffer] + place->at;
    const uint64_t *pack = t->packed ? t->pack[place->buffer] + place->at : NULL;
    const uint32_t *row = t->packed ? NULL : t->row[place->buffer] + place->at;
    int64_t same = 1;
    while (same < n && y[same] == y[0]) same++;
    *variance = 0.0;
    if (same == n) return y[0];
    const double mean = ISA(lane_sum)(t, y, pack, row, n, 0.0, 1) / weight;
    *variance = ISA(lane_sum)(t, y, pack, row, n, mean, 2) / weight;
    return mean;
}

static double ISA(class_impurity)(const double *counts, int64_t n_classes, double weight, int entropy) {
    double impurity = 0.0;
    if (!entropy) {
        for (int64_t k = 0; k < n_classes; k++) impurity += counts[k] * counts[k];
        return 1.0 - impurity / (weight * weight);
    }
    for (int64_t k = 0; k < n_classes; k++) {
        if (counts[k] > 0) {
            const double q = counts[k] / weight;
            impurity -= q * (ISA(log)(ISA(splat)(q))[0] / LN2);
        }
    }
    return impurity;
}

/* Append a node; returns its number as created, or NO_MEMORY. */
static int64_t ISA(add_node)(tree_t *t, const place_t *place, int64_t n, const uint64_t *sums, int32_t depth) {
    const problem_t *p = t->p;
    const int64_t n_values = width_of_values(p), i = t->n_nodes;
    if (i == t->capacity && reserve_nodes(t, n_values) < 0) return NO_MEMORY;
    t->n_nodes++;
    uint64_t *own = t->sums + i * t->n_planes;
    memcpy(own, sums, (size_t)t->n_planes * sizeof *own);
    t->places[i] = *place;
    t->places[i].histogram = t->places[i].number = t->places[i].left = t->places[i].right = -1;
    node_t *node = t->nodes + i;
    double *value = t->values + i * n_values;
    memset(node, 0, sizeof *node);
    node->left = node->right = LEAF;
    node->feature = UNDEFINED;
    node->threshold = UNDEFINED;
    node->n_samples = n;
    node->depth = depth;
    uint64_t w = own[0];
    if (p->n_classes && !t->packed)
        for (int64_t k = 1; k < t->n_planes; k++) w += own[k];
    node->weight = (double)(int64_t)w * t->weight_unit;
    if (p->n_classes == 0) {
        value[0] = ISA(mean_and_variance)(t, place, n, node->weight, &node->impurity);
        return i;
    }
    for (int64_t k = 0; k < n_values; k++) value[k] = 0.0;
    if (t->packed) {
        value[0] = (double)(int64_t)(own[0] - own[1]) * t->weight_unit;
        value[1] = (double)(int64_t)own[1] * t->weight_unit;
    } else {
        for (int64_t k = 0; k < n_values; k++) value[k] = (double)(int64_t)own[k] * t->weight_unit;
    }
    node->impurity = ISA(class_impurity)(value, n_values, node->weight, p->entropy);
    for (int64_t k = 0; k < n_values; k++) value[k] /= node->weight;
    return i;
}

/* Search max_features features in random order, and more until one varies in the node. */
static split_t ISA(find_split)(tree_t *t, const place_t *place, int64_t n, const uint64_t *sums) {
    const int64_t d = t->p->d;
    int64_t *order = t->order, drawn = 0, varying = 0;
    const int all = d <= RECORD_FEATURES && t->p->max_features >= d;
    split_t best = {-INFINITY, -1, 0, 0, 0, 0, 0};
    while (drawn < d && (drawn < t->p->max_features || !varying)) {
        int64_t start = drawn, end = drawn < t->p->max_features ? t->p->max_features : drawn + 1;
        if (end - start > RECORD_FEATURES) end = start + RECORD_FEATURES;
        for (; drawn < end; drawn++) {
            const int64_t j = drawn + (int64_t)(uniform_at(place->key, drawn) * (double)(d - drawn)), f = order[drawn];
            order[drawn] = order[j];
            order[j] = f;
            t->swaps[drawn] = j;
        }
        const int64_t *features = order + start, *ranks = t->ranks + start; /* drawn ones: 0, 1, 2 ... */
        if (all) { /* in the order of the table, each with its place in the permutation */
            features = t->ranks;
            ranks = t->ranks + d;
            for (int64_t j = 0; j < d; j++) t->ranks[d + order[j]] = j;
        }
        const int few = t->packed && end - start <= FEW_FEATURES;
        if (n <= (few ? SMALL_NODE_OF_FEW : SMALL_NODE)) ISA(search_sorted)(t, place, n, sums, features, ranks, end - start, &best, &varying);
        else ISA(search_histogram)(t, place, n, sums, features, ranks, end - start, &best, &varying);
    }
    while (drawn-- > 0) {
        const int64_t f = order[drawn];
        order[drawn] = order[t->swaps[drawn]];
        order[t->swaps[drawn]] = f;
    }
    return best;
}

/* Split a node and add its children; returns 1 if it was split, 0 for a leaf, or why it failed. */
static int ISA(expand_at)(tree_t *t, int64_t i, place_t *at) {
    const problem_t *p = t->p;
    const place_t place = *at;
    const node_t node = t->nodes[i];
    const int64_t n = node.n_samples;
    if (node.depth >= p->max_depth || n < p->min_samples_split || n < 2 * p->min_samples_leaf ||
        node.weight < 2 * p->min_weight_leaf || node.impurity <= (p->n_classes ? EPSILON : 0.0))
        return 0;
    const split_t split = ISA(find_split)(t, &place, n, t->sums + i * t->n_planes);
    if (t->watch->stopped) return STOPPED;
    if (split.feature < 0) return 0;
    const int64_t n_left = ISA(partition)(t, &place, n, &split, node.depth + 1 < p->max_depth), n_right = n - n_left;
    const int other = 1 - place.buffer;
    const place_t left = {place.at, place.scratch + n_right, hash_at(place.key, KEY_LEFT), place.buffer, -1, -1, -1, -1};
    const place_t right = {place.scratch, place.at + n_left, hash_at(place.key, KEY_RIGHT), other, -1, -1, -1, -1};
    uint64_t *sums = t->plane_left, *rest = t->plane_total;
    ISA(sum_rows)(t, &left, n_left, sums);
    for (int64_t k = 0; k < t->n_planes; k++) rest[k] = t->sums[i * t->n_planes + k] - sums[k];
    const int64_t l = ISA(add_node)(t, &left, n_left, sums, node.depth + 1);
    const int64_t r = l < 0 ? NO_MEMORY : ISA(add_node)(t, &right, n_right, rest, node.depth + 1);
    if (r < 0) return NO_MEMORY;
    const double w = node.weight;
    const double improvement = (w / t->total_weight) * (node.impurity - (t->nodes[r].weight / w) * t->nodes[r].impurity -
                                                        (t->nodes[l].weight / w) * t->nodes[l].impurity);
    if (improvement + EPSILON < p->min_impurity_decrease) {
        t->n_nodes -= 2;
        return 0;
    }
    const int64_t row = split.feature * MAX_CODES;
    node_t *parent = t->nodes + i;
    parent->improvement = improvement;
    parent->feature = (int32_t)split.feature;
    parent->threshold = split.next_code == p->n_bins[split.feature]
                            ? INFINITY
                            : (double)p->upper[row + split.code] / 2.0 + (double)p->lower[row + split.next_code] / 2.0;
    parent->missing_go_to_left = (uint8_t)(split.has_missing ? split.missing_left : n_left > n_right);
    t->places[i].left = (int32_t)l;
    t->places[i].right = (int32_t)r;
    if (t->kept && t->packed && n > SMALL_NODE && node.depth + 1 < p->max_depth) ISA(keep_histograms)(t, at, l, r);
    return 1;
}

static int ISA(expand)(tree_t *t, int64_t i) {
    if (is_stopped_after(t->watch, t->nodes[i].n_samples * t->p->max_features)) return STOPPED;
    place_t place = t->places[i];
    const int expanded = ISA(expand_at)(t, i, &place);
    if (place.histogram >= 0) t->free_slots[t->n_free++] = place.histogram;
    return expanded;
}

/* Depth first, numbered in preorder. */
static int ISA(grow_depth_first)(tree_t *t) {
    int64_t n_open = 1, n_numbered = 0;
    t->queue[0] = 0;
    while (n_open > 0) {
        const int64_t i = t->queue[--n_open];
        t->places[i].number = (int32_t)n_numbered++;
        const int expanded = ISA(expand)(t, i);
        if (expanded < 0) return expanded;
        if (expanded) {
            t->queue[n_open++] = t->places[i].right;
            t->queue[n_open++] = t->places[i].left;
        }
    }
    return 0;
}

/* Best first, numbered as they are reached: the node of the greatest improvement, then of the lowest number. */
static int ISA(grow_best_first)(tree_t *t) {
    int64_t n_open = 0, n_numbered = 0, added[2] = {0, -1};
    for (int64_t n_leaves = 1;; n_leaves++) {
        for (int c = 0; c < 2; c++) {
            if (added[c] < 0) continue;
            t->places[added[c]].number = (int32_t)n_numbered++;
            const int expanded = ISA(expand)(t, added[c]);
            if (expanded < 0) return expanded;
            if (expanded) heap_push(t, n_open++, added[c]);
        }
        if (n_open == 0 || n_leaves >= t->p->max_leaf_nodes) break;
        const int64_t i = heap_pop(t, n_open--);
        added[0] = t->places[i].left;
        added[1] = t->places[i].right;
    }
    return 0;
}

/* Returns 0, or why it failed. */
static int ISA(grow_tree)(tree_t *t, uint64_t seed, grown_t *out) {
    const int started = ISA(start_tree)(t, seed);
    if (started < 0) return started;
    const place_t root = {0, 0, hash_at(seed, KEY_ROOT), 0, -1, -1, -1, -1};
    ISA(sum_rows)(t, &root, t->m, t->plane_left);
    if (ISA(add_node)(t, &root, t->m, t->plane_left, 0) < 0) return NO_MEMORY;
    t->total_weight = t->nodes[0].weight;
    const int failed = t->p->max_leaf_nodes ? ISA(grow_best_first)(t) : ISA(grow_depth_first)(t);
    return failed ? failed : finish_tree(t, out);
}
