/* The best split of each feature from a histogram of its bins: the search for large nodes. */

/* The lane of the highest score, then of the lowest code; -1 unless it is above *highest, which it replaces. */
INLINE int64_t ISA(best_lane)(VF scores, VI codes, double *highest) {
    int64_t at = -1;
    for (int i = 0; i < VL; i++) {
        if (scores[i] > *highest || (scores[i] == *highest && codes[i] < at)) {
            *highest = scores[i];
            at = codes[i];
        }
    }
    return at;
}

/* Packed words: search all bins of one histogram; `init` is on the left from the start. */
INLINE void ISA(scan_packed_for)(const tree_t *t, const uint64_t *h, int64_t n_words, uint64_t init, uint64_t node,
                                 uint64_t more_than, split_t *found, int missing_left, const int entropy,
                                 const int counts_rows) {
    const problem_t *p = t->p;
    const int w_shift = t->weight_shift, n_shift = t->count_shift;
    const uint64_t w_mask = t->weight_mask, s_mask = t->sum_mask;
    const uint64_t w_node = node >> w_shift & w_mask;
    const uint64_t least = t->min_w_int > more_than ? t->min_w_int : more_than + 1;
    const VF w = ISA(splat)((double)(int64_t)w_node), s = ISA(splat)((double)(int64_t)(node & s_mask));
    const VF least_left = ISA(splat)((double)(int64_t)least), least_right = ISA(splat)((double)(int64_t)t->min_w_int);
    const int64_t min_rows = p->min_samples_leaf;
    const VF n_node = ISA(splat)((double)(int64_t)(counts_rows ? node >> n_shift : 0));
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
        VM valid = ISA(at_least)(w_left, least_left) & ISA(at_least)(w - w_left, least_right);
        if (counts_rows) {
            VF n_left = ISA(to_double)(x >> n_shift);
            valid &= ISA(at_least)(n_left, least_n) & ISA(at_least)(n_node - n_left, least_n);
        }
        VF score = ISA(score_packed)(entropy, w_left, s_left, w, s);
        VM better = valid & ISA(above)(score, score_of_lane);
        score_of_lane = ISA(select)(better, score, score_of_lane);
        code_of_lane = ISA(select_i)(better, code, code_of_lane);
    }
    const int64_t at = ISA(best_lane)(score_of_lane, code_of_lane, &found->score);
    if (at < 0) return;
    found->code = at;
    found->missing_left = missing_left;
}

/* One loop for each criterion, so that none carries the constants of the others. */
HOT void ISA(scan_packed)(const tree_t *t, const uint64_t *h, int64_t n_words, uint64_t init, uint64_t node,
                             uint64_t more_than, split_t *found, int missing_left) {
    if (t->p->entropy) ISA(scan_packed_for)(t, h, n_words, init, node, more_than, found, missing_left, 1, t->counts_rows);
    else if (t->counts_rows) ISA(scan_packed_for)(t, h, n_words, init, node, more_than, found, missing_left, 0, 1);
    else ISA(scan_packed_for)(t, h, n_words, init, node, more_than, found, missing_left, 0, 0);
}

#if VL == 8
/* Bring the words of the bins that occur together, and their codes; returns how many. */
INLINE int64_t ISA(occupied_bins)(const uint64_t *h, int64_t n_words, uint64_t *words, uint64_t *codes) {
    int64_t n = 0;
    __m512i code = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    for (int64_t b = 0; b < n_words; b += 8, code = _mm512_add_epi64(code, _mm512_set1_epi64(8))) {
        const __m512i x = _mm512_loadu_si512(h + b);
        const __mmask8 mask = _mm512_test_epi64_mask(x, x);
        _mm512_storeu_si512(words + n, _mm512_maskz_compress_epi64(mask, x));
        _mm512_storeu_si512(codes + n, _mm512_maskz_compress_epi64(mask, code));
        n += __builtin_popcount(mask);
    }
    _mm512_storeu_si512(words + n, _mm512_setzero_si512());
    return n;
}
#endif

/* Both directions of the missing values; returns whether the feature varies in the node. */
HOT int ISA(search_packed)(const tree_t *t, uint64_t *h, uint64_t node, int64_t n, int64_t feature, int64_t rank,
                              split_t *best) {
    int64_t missing = t->p->n_bins[feature], n_words = missing + 1;
    split_t found = {-INFINITY, feature, rank, 0, 0, 0, h[missing] != 0};
#if VL == 8
    uint64_t words[MAX_CODES + 16], codes[MAX_CODES + 16];
    const int sparse = n < SPARSE_NODE;
    if (sparse) {
        codes[n_words = ISA(occupied_bins)(h, n_words, words, codes)] = missing;
        missing = found.has_missing ? n_words - 1 : n_words;
        h = words;
    }
#else
    const int sparse = 0;
    const uint64_t codes[1] = {0};
    (void)n;
#endif
    VM elsewhere = VM_ALL;
    for (int64_t b = 0; b < n_words; b += VL) elsewhere &= ISA(differ)(*(const VU *)(h + b), ISA(splat_u)(node));
    if (ISA(any)(~elsewhere & VM_ALL)) return 0;
    ISA(scan_packed)(t, h, n_words, 0, node, 0, &found, 0);
    if (found.has_missing) {
        const uint64_t word = h[missing];
        h[missing] = 0;
        ISA(scan_packed)(t, h, n_words, word, node, word >> t->weight_shift & t->weight_mask, &found, 1);
        h[missing] = word;
    }
    found.next_code = found.code + 1;
    while (found.next_code < missing && h[found.next_code] == 0) found.next_code++;
    if (sparse) {
        found.code = (int64_t)codes[found.code];
        found.next_code = (int64_t)codes[found.next_code];
    }
    keep_better(best, &found);
    return 1;
}

/* Planes: word b of plane k is the sum of class k (or of weight, then target; last, of rows) over the rows of bin b.
 * Returns whether any candidate separates rows. */
HOT int ISA(scan_planes)(const tree_t *t, const uint64_t *h, int64_t n_words, const uint64_t *total, int64_t n,
                            int64_t missing, split_t *found, int missing_left) {
    const problem_t *p = t->p;
    const int64_t n_planes = t->n_planes, classes = p->n_classes;
    VU *carry = (VU *)t->carry;
    double init = 0.0, node = 0.0;
    for (int64_t k = 0; k < n_planes + t->counts_rows; k++) {
        const uint64_t word = missing_left ? h[k * n_words + missing] : 0;
        carry[k] = ISA(splat_u)(word);
        if (k < n_planes && (classes || k == 0)) {
            init += (double)(int64_t)word;
            node += (double)(int64_t)total[k];
        }
    }
    const double min_w = (double)(int64_t)t->min_w_int;
    const VF w = ISA(splat)(node), least_right = ISA(splat)(min_w), worst = ISA(splat)(-INFINITY);
    const VF least_left = ISA(splat)(min_w > init ? min_w : init + 1.0), n_node = ISA(splat)((double)n);
    const VF least_n = ISA(splat)((double)p->min_samples_leaf), zero = {0};
    VF score_of_lane = worst;
    VI code_of_lane = {0}, code = ISA(lanes)();
    VM separates = ~VM_ALL & VM_ALL;
    for (int64_t b = 0; b < n_words; b += VL, code += VL) {
        VF w_left = zero, s_left = zero, left = zero, right = zero;
        VM valid = ISA(below_i)(code, (VI)ISA(splat_u)((uint64_t)missing)), enough_rows = VM_ALL;
        for (int64_t k = 0; k < n_planes + t->counts_rows; k++) {
            VU x = ISA(prefix_sum)(*(const VU *)(h + k * n_words + b));
            const VU sum = ISA(splat_last)(x);
            x += carry[k];
            carry[k] += sum;
            const VF l = ISA(to_double)(x);
            if (k == n_planes) enough_rows = ISA(at_least)(l, least_n) & ISA(at_least)(n_node - l, least_n);
            else if (classes > 2) {
                const VF r = (double)(int64_t)total[k] - l;
                w_left += l;
                if (p->entropy) {
                    left += ISA(x_log_x)(l);
                    right += ISA(x_log_x)(r);
                } else {
                    left += l * l;
                    right += r * r;
                }
            } else {
                if (classes || k == 0) w_left += l;
                s_left = l;
            }
        }
        const VF w_right = w - w_left;
        separates |= valid & ISA(above)(w_left, zero) & ISA(above)(w_right, zero);
        valid &= enough_rows & ISA(at_least)(w_left, least_left) & ISA(at_least)(w_right, least_right);
        VF score;
        if (classes <= 2) score = ISA(score_packed)(p->entropy, w_left, s_left, w, ISA(splat)((double)(int64_t)total[1]));
        else if (p->entropy) score = (left - ISA(x_log_x)(w_left)) + (right - ISA(x_log_x)(w_right));
        else score = left / w_left + right / w_right;
        const VM better = valid & ISA(above)(score, score_of_lane);
        score_of_lane = ISA(select)(better, score, score_of_lane);
        code_of_lane = ISA(select_i)(better, code, code_of_lane);
    }
    const int64_t at = ISA(best_lane)(score_of_lane, code_of_lane, &found->score);
    if (at >= 0) {
        found->code = at;
        found->missing_left = missing_left;
    }
    return ISA(any)(separates);
}

/* Both directions of the missing values; h has n_words words a plane, those of missing rows at `missing`. */
static int ISA(search_planes)(const tree_t *t, const uint64_t *h, int64_t n_words, const uint64_t *total, int64_t n,
                              int64_t missing, split_t *found) {
    const int64_t n_weights = t->p->n_classes ? t->n_planes : 1;
    uint64_t w_missing = 0;
    for (int64_t k = 0; k < n_weights; k++) w_missing += h[k * n_words + missing];
    found->has_missing = w_missing != 0;
    const int varies = ISA(scan_planes)(t, h, n_words, total, n, missing, found, 0);
    if (w_missing) ISA(scan_planes)(t, h, n_words, total, n, missing, found, 1);
    int64_t next = found->code + 1;
    for (; next < missing; next++) {
        uint64_t w = 0;
        for (int64_t k = 0; k < n_weights; k++) w += h[k * n_words + next];
        if (w) break;
    }
    found->next_code = next;
    return varies;
}

/* Add rows to the histograms of k features: with k known, their places stay in registers. */
INLINE void ISA(fill_group)(const uint8_t *bins, int64_t stride, const uint64_t *pack, int64_t n, uint64_t *h,
                            const int64_t *features, const int k) {
    int64_t feature[FILL_TOGETHER];
    for (int j = 0; j < k; j++) feature[j] = features[j];
    for (int64_t i = 0; i < n; i++, bins += stride) {
        const uint64_t word = pack[i];
        for (int j = 0; j < k; j++) h[j * HISTOGRAM_WORDS + bins[feature[j]]] += word;
    }
}

/* Whether to stop in the midst of a node: asked of large ones alone. */
INLINE int ISA(is_stopped_in)(const tree_t *t, int64_t n) {
    return n * FILL_TOGETHER > WORK_BETWEEN_LOOKS && is_stopped_after(t->watch, n * FILL_TOGETHER);
}

/* Histograms of some features over the rows of a node, HISTOGRAM_WORDS apart. */
HOT void ISA(fill_packed)(const tree_t *t, const place_t *at, int64_t n, const int64_t *features, int64_t n_features,
                          uint64_t *h) {
    const uint64_t *pack = t->pack[at->buffer] + at->at;
    for (int64_t j = 0; j < n_features; j++)
        memset(h + j * HISTOGRAM_WORDS, 0, (size_t)words_of(t->p->n_bins[features[j]]) * sizeof *h);
    if (t->p->columns) {
        const uint32_t *row = t->row[at->buffer] + at->at;
        for (int64_t j = 0; j < n_features; j++, h += HISTOGRAM_WORDS) {
            if (ISA(is_stopped_in)(t, n)) return;
            const uint8_t *column = t->p->columns + features[j] * t->p->n;
            for (int64_t i = 0; i < n; i++) h[column[row[i]]] += pack[i];
        }
        return;
    }
    const uint8_t *bins = t->bins[at->buffer] + at->at * t->stride;
    for (int64_t j = 0; j < n_features; j += FILL_TOGETHER, h += FILL_TOGETHER * HISTOGRAM_WORDS) {
        if (ISA(is_stopped_in)(t, n)) return;
        switch (n_features - j) {
#define GROUP(k) case k: ISA(fill_group)(bins, t->stride, pack, n, h, features + j, k); break;
            GROUP(1) GROUP(2) GROUP(3) GROUP(4) GROUP(5) GROUP(6) GROUP(7)
#undef GROUP
            default: ISA(fill_group)(bins, t->stride, pack, n, h, features + j, FILL_TOGETHER);
        }
    }
}

/* Add row r of the table to bin b of a histogram of planes. */
INLINE void ISA(add_to_planes)(const tree_t *t, uint64_t *h, int64_t n_words, int64_t b, uint32_t r) {
    if (t->p->n_classes == 0) {
        h[b] += t->w_of_row[r];
        h[n_words + b] += t->s_of_row[r];
    } else h[(int64_t)t->s_of_row[r] * n_words + b] += t->w_of_row[r]; /* s_of_row: the class */
    if (t->counts_rows) h[t->n_planes * n_words + b] += 1;
}

static void ISA(search_histogram_of_planes)(const tree_t *t, const place_t *at, int64_t n, const uint64_t *sums,
                                            const int64_t *features, const int64_t *ranks, int64_t n_features,
                                            split_t *best, int64_t *varying) {
    const int64_t n_planes = t->n_planes + t->counts_rows;
    const uint32_t *row = t->row[at->buffer] + at->at;
    const uint8_t *bins = t->p->columns ? NULL : t->bins[at->buffer] + at->at * t->stride;
    for (int64_t j = 0; j < n_features; j += FILL_TOGETHER) {
        if (ISA(is_stopped_in)(t, n)) return;
        const int64_t group = n_features - j < FILL_TOGETHER ? n_features - j : FILL_TOGETHER;
        uint64_t *h[FILL_TOGETHER + 1] = {t->histogram};
        int64_t words[FILL_TOGETHER];
        for (int64_t g = 0; g < group; g++) {
            words[g] = words_of(t->p->n_bins[features[j + g]]);
            h[g + 1] = h[g] + words[g] * n_planes;
        }
        memset(h[0], 0, (size_t)(h[group] - h[0]) * sizeof *h[0]);
        if (bins)
            for (int64_t i = 0; i < n; i++)
                for (int64_t g = 0; g < group; g++)
                    ISA(add_to_planes)(t, h[g], words[g], bins[i * t->stride + features[j + g]], row[i]);
        else
            for (int64_t g = 0; g < group; g++)
                for (int64_t i = 0; i < n; i++)
                    ISA(add_to_planes)(t, h[g], words[g], t->p->columns[features[j + g] * t->p->n + row[i]], row[i]);
        for (int64_t g = 0; g < group; g++) {
            split_t found = {-INFINITY, features[j + g], ranks[j + g], 0, 0, 0, 0};
            *varying += ISA(search_planes)(t, h[g], words[g], sums, n, t->p->n_bins[features[j + g]], &found);
            keep_better(best, &found);
        }
    }
}

/* Search some features by histogram; *varying counts those that are not constant in the node. */
static void ISA(search_histogram)(const tree_t *t, const place_t *at, int64_t n, const uint64_t *sums,
                                  const int64_t *features, const int64_t *ranks, int64_t n_features, split_t *best,
                                  int64_t *varying) {
    uint64_t *h = at->histogram < 0 ? t->histogram : t->kept + at->histogram * t->kept_words;
    if (!t->packed) {
        ISA(search_histogram_of_planes)(t, at, n, sums, features, ranks, n_features, best, varying);
        return;
    }
    const int64_t together = t->p->columns ? 1 : RECORD_FEATURES;
    const uint64_t node = (t->counts_rows ? (uint64_t)n << t->count_shift : 0) | sums[0] << t->weight_shift | sums[1];
    for (int64_t start = 0; start < n_features; start += together) {
        const int64_t end = start + together < n_features ? start + together : n_features;
        if (at->histogram < 0) ISA(fill_packed)(t, at, n, features + start, end - start, h);
        for (int64_t j = start; j < end; j++)
            *varying += ISA(search_packed)(t, h + (j - start) * HISTOGRAM_WORDS, node, n, features[j], ranks[j], best);
    }
}

/* Keep the histograms of two children: the larger one's is the parent's less the smaller one's, exactly. */
static void ISA(keep_histograms)(tree_t *t, place_t *parent, int64_t left, int64_t right) {
    const int64_t n_left = t->nodes[left].n_samples, n_right = t->nodes[right].n_samples, d = t->p->d;
    place_t *small = t->places + (n_left < n_right ? left : right), *large = t->places + (n_left < n_right ? right : left);
    const int64_t n_small = n_left < n_right ? n_left : n_right, n_large = n_left + n_right - n_small;
    if (n_large <= SMALL_NODE || n_small + WORTH_SUBTRACTING > n_large) return;
    if (parent->histogram < 0 && t->n_free == 0) return;
    const uint64_t *of_parent = parent->histogram < 0 ? t->histogram : t->kept + parent->histogram * t->kept_words;
    large->histogram = parent->histogram < 0 ? t->free_slots[--t->n_free] : parent->histogram;
    parent->histogram = -1;
    uint64_t *of_small = t->spare, *of_large = t->kept + large->histogram * t->kept_words;
    if (n_small > SMALL_NODE && t->n_free > 0) {
        small->histogram = t->free_slots[--t->n_free];
        of_small = t->kept + small->histogram * t->kept_words;
    }
    ISA(fill_packed)(t, small, n_small, t->ranks, d, of_small);
    for (int64_t f = 0; f < d; f++)
        for (int64_t b = f * HISTOGRAM_WORDS; b < f * HISTOGRAM_WORDS + words_of(t->p->n_bins[f]); b++)
            of_large[b] = of_parent[b] - of_small[b];
}
