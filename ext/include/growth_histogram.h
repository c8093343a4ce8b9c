/* The best split of each feature from a histogram of its bins: the search for large nodes. */

/* Packed words: search all bins of one histogram; `init` is on the left from the start. */
static void ISA(scan_packed)(const tree_t *t, const uint64_t *h, int64_t n_words, uint64_t init, uint64_t node,
                             uint64_t more_than, split_t *best, int64_t feature, int missing_left) {
    const problem_t *p = t->p;
    const int w_shift = t->weight_shift, n_shift = t->count_shift;
    const uint64_t w_mask = t->weight_mask, s_mask = t->sum_mask;
    const uint64_t w_node = node >> w_shift & w_mask;
    const uint64_t least = t->min_w_int > more_than ? t->min_w_int : more_than + 1;
    const VF w = ISA(splat)((double)(int64_t)w_node), s = ISA(splat)((double)(int64_t)(node & s_mask));
    const VF least_left = ISA(splat)((double)(int64_t)least), least_right = ISA(splat)((double)(int64_t)t->min_w_int);
    const int64_t min_rows = p->min_samples_leaf;
    const VF n_node = ISA(splat)((double)(int64_t)(t->counts_rows ? node >> n_shift : 0));
    const VF least_n = ISA(splat)((double)min_rows), worst = ISA(splat)(-INFINITY);
    VF score_of_lane = worst;
    VI code_of_lane = {0}, code = ISA(lanes)();
    VU carry = ISA(splat_u)(init);
    for (int64_t b = 0; b < n_words; b += VL, code += VL) {
        VU x = ISA(prefix_sum)(*(const VU *)(h + b));
        const VU sum = ISA(splat_last)(x);
        x += carry;
        carry += sum;
        VF w_left = ISA(to_double)(x >> w_shift & w_mask), s_left = ISA(to_double)(x & s_mask);
        VI valid = (VI)(w_left >= least_left) & (VI)(w - w_left >= least_right);
        if (t->counts_rows) {
            VF n_left = ISA(to_double)(x >> n_shift);
            valid &= (VI)(n_left >= least_n) & (VI)(n_node - n_left >= least_n);
        }
        VF score = ISA(score_packed)(p->entropy, w_left, s_left, w, s);
        VI better = valid & (VI)(score > score_of_lane);
        score_of_lane = ISA(select)(better, score, score_of_lane);
        code_of_lane = ISA(select_i)(better, code, code_of_lane);
    }
    double highest = -INFINITY;
    int64_t at = -1;
    for (int i = 0; i < VL; i++) {
        if (score_of_lane[i] > highest || (score_of_lane[i] == highest && at >= 0 && code_of_lane[i] < at)) {
            highest = score_of_lane[i];
            at = code_of_lane[i];
        }
    }
    if (at < 0 || !(highest > best->score)) return;
    int64_t next = at + 1;
    const int64_t missing = p->n_bins[feature];
    while (next < missing && h[next] == 0) next++;
    *best = (split_t){highest, feature, best->rank, at, next, missing_left, best->has_missing};
}

/* Both directions of the missing values; returns whether the feature varies in the node. */
static int ISA(search_packed)(const tree_t *t, uint64_t *h, uint64_t node, int64_t feature, int64_t rank,
                              split_t *best) {
    const int64_t missing = t->p->n_bins[feature], n_words = missing + 1;
    VI constant = {0};
    for (int64_t b = 0; b < n_words; b += VL) constant |= (VI)(*(const VU *)(h + b) == node);
    for (int i = 0; i < VL; i++)
        if (constant[i]) return 0;
    split_t found = {-INFINITY, -1, rank, 0, 0, 0, h[missing] != 0};
    ISA(scan_packed)(t, h, n_words, 0, node, 0, &found, feature, 0);
    if (h[missing]) {
        uint64_t word = h[missing];
        h[missing] = 0;
        ISA(scan_packed)(t, h, n_words, word, node, word >> t->weight_shift & t->weight_mask, &found, feature, 1);
        h[missing] = word;
    }
    if (found.feature >= 0) keep_better(best, &found);
    return 1;
}

/* One plane a class, or (weight, target), and a count of rows where min_samples_leaf asks for it. */
static int ISA(search_planes)(const tree_t *t, const uint64_t *h, const uint64_t *total, int64_t n, int64_t feature,
                              int64_t rank, split_t *best) {
    const problem_t *p = t->p;
    const int64_t missing = p->n_bins[feature], n_planes = t->n_planes, size = n_planes + 1;
    const int regression = p->n_classes == 0;
    const int64_t n_weights = regression ? 1 : n_planes;
    split_t found = {-INFINITY, -1, rank, 0, 0, 0, h[missing * size + n_planes] != 0};
    int occupied = 0;
    for (int64_t b = 0; b <= missing; b++) occupied += h[b * size + n_planes] != 0;
    if (occupied < 2) return 0;
    uint64_t w = 0, squares = 0;
    for (int64_t k = 0; k < n_weights; k++) {
        w += total[k];
        squares += total[k] * total[k];
    }
    for (int missing_left = 0; missing_left <= found.has_missing; missing_left++) {
        ISA(planes_t) a = {t->plane_left, (uint64_t *)total, 0, w, 0, 0, squares};
        memset(a.left, 0, (size_t)n_planes * sizeof *a.left);
        int64_t previous = -1;
        for (int64_t i = missing_left ? -1 : 0; i < missing; i++) {
            const int64_t b = i < 0 ? missing : i;
            const uint64_t *bin = h + b * size, n_bin = bin[n_planes];
            if (n_bin == 0) continue;
            if (previous >= 0 && found.code == previous && found.next_code < 0) found.next_code = b;
            if (regression) ISA(move_left)(t, &a, 0, bin[0], bin[1], n_bin);
            else {
                for (int64_t k = 0; k < n_planes; k++)
                    if (bin[k]) ISA(move_left)(t, &a, k, bin[k], 0, 0);
                a.n_left += n_bin;
            }
            if (i < 0) continue;
            previous = b;
            const int64_t n_right = n - (int64_t)a.n_left;
            if (n_right < p->min_samples_leaf || (int64_t)a.n_left < p->min_samples_leaf || n_right == 0) continue;
            if (a.w_left < t->min_w_int || w - a.w_left < t->min_w_int) continue;
            const double score = ISA(score_planes)(t, &a);
            if (score > found.score) found = (split_t){score, feature, rank, b, -1, missing_left, found.has_missing};
        }
        if (found.feature >= 0 && found.next_code < 0) found.next_code = missing;
    }
    if (found.feature >= 0) keep_better(best, &found);
    return 1;
}

/* Add rows to the histograms of k features: with k known, the places of all k stay in registers. */
INLINE void ISA(fill_group)(const uint8_t *bins, int64_t stride, const uint64_t *pack, int64_t n, uint64_t *h,
                            const int64_t *features, const int64_t *words, const int k) {
    const uint8_t *column[FILL_TOGETHER];
    uint64_t *start[FILL_TOGETHER];
    for (int j = 0; j < k; j++) {
        column[j] = bins + features[j];
        start[j] = h + words[j];
    }
    for (int64_t i = 0, at = 0; i < n; i++, at += stride) {
        const uint64_t word = pack[i];
        for (int j = 0; j < k; j++) start[j][column[j][at]] += word;
    }
}

/* Add the rows of a node to the histograms of the features; h holds zeros, words[j] is where feature j starts. */
static void ISA(fill_packed)(const tree_t *t, const place_t *at, int64_t n, const int64_t *features,
                             int64_t n_features, const int64_t *words) {
    const uint64_t *pack = t->pack[at->buffer] + at->at;
    uint64_t *h = t->histogram;
    if (t->p->columns) {
        const uint32_t *row = t->row[at->buffer] + at->at;
        for (int64_t j = 0; j < n_features; j++) {
            const uint8_t *column = t->p->columns + features[j] * t->p->n;
            for (int64_t i = 0; i < n; i++) h[words[j] + column[row[i]]] += pack[i];
        }
        return;
    }
    const uint8_t *bins = t->bins[at->buffer] + at->at * t->stride;
    for (int64_t j = 0; j < n_features; j += FILL_TOGETHER) {
        switch (n_features - j) {
#define GROUP(k) case k: ISA(fill_group)(bins, t->stride, pack, n, h, features + j, words + j, k); break;
            GROUP(1) GROUP(2) GROUP(3) GROUP(4) GROUP(5)
#undef GROUP
            default: ISA(fill_group)(bins, t->stride, pack, n, h, features + j, words + j, FILL_TOGETHER);
        }
    }
}

static void ISA(fill_planes)(const tree_t *t, const place_t *at, int64_t n, int64_t feature, uint64_t *h) {
    const int64_t size = t->n_planes + 1, stride = t->stride;
    const uint32_t *row = t->row[at->buffer] + at->at;
    const uint8_t *column = t->p->columns ? t->p->columns + feature * t->p->n : NULL;
    const uint8_t *bins = column ? NULL : t->bins[at->buffer] + at->at * stride + feature;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t r = row[i];
        uint64_t *bin = h + (column ? column[r] : bins[i * stride]) * size;
        if (t->p->n_classes == 0) {
            bin[0] += t->w_of_row[r];
            bin[1] += t->s_of_row[r];
        } else bin[t->s_of_row[r]] += t->w_of_row[r]; /* s_of_row: the class */
        bin[size - 1] += 1;
    }
}

/* Search some features by histogram; *varying counts those that are not constant in the node. */
static void ISA(search_histogram)(const tree_t *t, const place_t *at, int64_t n, const uint64_t *sums,
                                  const int64_t *features, const int64_t *ranks, int64_t n_features, split_t *best,
                                  int64_t *varying) {
    const int32_t *n_bins = t->p->n_bins;
    uint64_t *h = t->histogram;
    if (!t->packed) {
        for (int64_t j = 0; j < n_features; j++) {
            memset(h, 0, (size_t)((n_bins[features[j]] + 1) * (t->n_planes + 1)) * sizeof *h);
            ISA(fill_planes)(t, at, n, features[j], h);
            *varying += ISA(search_planes)(t, h, sums, n, features[j], ranks[j], best);
        }
        return;
    }
    const int64_t together = t->p->columns ? 1 : RECORD_FEATURES;
    const uint64_t node = (t->counts_rows ? (uint64_t)n << t->count_shift : 0) | sums[0] << t->weight_shift | sums[1];
    for (int64_t start = 0; start < n_features; start += together) {
        const int64_t end = start + together < n_features ? start + together : n_features;
        int64_t words[RECORD_FEATURES + 1] = {0};
        for (int64_t j = start; j < end; j++) words[j - start + 1] = words[j - start] + ((n_bins[features[j]] + 8) & ~7);
        memset(h, 0, (size_t)words[end - start] * sizeof *h);
        ISA(fill_packed)(t, at, n, features + start, end - start, words);
        for (int64_t j = start; j < end; j++)
            *varying += ISA(search_packed)(t, h + words[j - start], node, features[j], ranks[j], best);
    }
}
