/* The best split of each feature from sorted rows: the search for small nodes, where most bins would be empty.
 *
 * A key is (bin, row in the node) in 16 bits. Lanes are features: a sorting network (Batcher 1968, merge exchange)
 * orders the rows of all features at once.
 */

#if VL >= 4
#define KEYS 16 /* 16-bit keys in a vector, and what the features are padded to: a multiple of SUMMED_TOGETHER */
#else
#define KEYS 8
typedef uint16_t ISA(vh) __attribute__((vector_size(VL * 8), aligned(2), may_alias));
#endif

INLINE void ISA(compare_exchange)(uint16_t *a, uint16_t *b, int64_t n) {
    int64_t j = 0;
#if VL == 8
    for (; j + 32 <= n; j += 32) {
        const __m512i x = _mm512_loadu_si512(a + j), y = _mm512_loadu_si512(b + j);
        _mm512_storeu_si512(a + j, _mm512_min_epu16(x, y));
        _mm512_storeu_si512(b + j, _mm512_max_epu16(x, y));
    }
#endif
    for (; j < n; j += KEYS) {
#if VL >= 4
        const __m256i x = _mm256_loadu_si256((__m256i *)(a + j)), y = _mm256_loadu_si256((__m256i *)(b + j));
        _mm256_storeu_si256((__m256i *)(a + j), _mm256_min_epu16(x, y));
        _mm256_storeu_si256((__m256i *)(b + j), _mm256_max_epu16(x, y));
#else
        const ISA(vh) x = *(ISA(vh) *)(a + j), y = *(ISA(vh) *)(b + j), less = (ISA(vh))(x < y);
        *(ISA(vh) *)(a + j) = (x & less) | (y & ~less);
        *(ISA(vh) *)(b + j) = (y & less) | (x & ~less);
#endif
    }
}

HOT void ISA(sort_rows)(uint16_t *keys, int64_t n, int64_t width) {
    for (int64_t p = 1; p < n; p *= 2)
        for (int64_t k = p; k >= 1; k /= 2)
            for (int64_t j = k & (p - 1); j + k < n; j += 2 * k)
                for (int64_t i = j; i < j + k && i + k < n; i++)
                    if ((i & -(2 * p)) == ((i + k) & -(2 * p)))
                        ISA(compare_exchange)(keys + i * width, keys + (i + k) * width, width);
}

INLINE VU ISA(widen_keys)(const uint16_t *keys) {
#if VL == 8
    return (VU)_mm512_cvtepu16_epi64(_mm_loadu_si128((const __m128i *)keys));
#elif VL == 4
    return (VU)_mm256_cvtepu16_epi64(_mm_loadl_epi64((const __m128i *)keys));
#else
    VU x;
    for (int i = 0; i < VL; i++) x[i] = keys[i];
    return x;
#endif
}

/* Search VL features at once: words[i] holds the sums of the first i + 1 rows, SUMMED_TOGETHER apart. */
INLINE void ISA(scan_sorted_for)(const tree_t *t, const uint16_t *keys, int64_t width, const uint64_t *words, int64_t n,
                                 const uint64_t *sums, double *scores, int64_t *positions, const int entropy) {
    const int w_shift = t->weight_shift;
    const uint64_t w_mask = t->weight_mask, s_mask = t->sum_mask;
    const VF w = ISA(splat)((double)(int64_t)sums[0]), s = ISA(splat)((double)(int64_t)sums[1]);
    const VF least = ISA(splat)((double)(int64_t)t->min_w_int), worst = ISA(splat)(-INFINITY);
    const int64_t min_rows = t->p->min_samples_leaf, first = min_rows - 1;
    VF best = worst;
    VI position = {0}, at = (VI)ISA(splat_u)((uint64_t)first);
    VU key = ISA(widen_keys)(keys + first * width);
    for (int64_t i = first; i + min_rows < n; i++, at += 1) {
        const VU next = ISA(widen_keys)(keys + (i + 1) * width), x = *(const VU *)(words + i * SUMMED_TOGETHER);
        VF w_left = ISA(to_double)(x >> w_shift & w_mask), s_left = ISA(to_double)(x & s_mask);
        VM valid = ISA(differ)(key >> 8, next >> 8);
        valid &= ISA(at_least)(w_left, least) & ISA(at_least)(w - w_left, least);
        VF score = ISA(score_packed)(entropy, w_left, s_left, w, s);
        VM better = valid & ISA(above)(score, best);
        best = ISA(select)(better, score, best);
        position = ISA(select_i)(better, at, position);
        key = next;
    }
    *(VF *)scores = best;
    *(VI *)positions = position;
}

/* Search SUMMED_TOGETHER features; the best score and position of each go to scores and positions. */
HOT void ISA(scan_sorted)(const tree_t *t, const uint16_t *keys, int64_t width, const uint64_t *pack, int64_t n,
                          const uint64_t *sums, double *scores, int64_t *positions) {
    uint64_t words[SMALL_NODE * SUMMED_TOGETHER];
    sum_sorted(keys, width, pack, n, words);
    for (int j = 0; j < SUMMED_TOGETHER; j += VL) {
        if (t->p->entropy) ISA(scan_sorted_for)(t, keys + j, width, words + j, n, sums, scores + j, positions + j, 1);
        else ISA(scan_sorted_for)(t, keys + j, width, words + j, n, sums, scores + j, positions + j, 0);
    }
}

/* One feature where sums are a word a plane: the codes that occur are the bins of a short histogram. */
static int ISA(search_sorted_planes)(const tree_t *t, const uint16_t *keys, int64_t width, const uint32_t *row, int64_t n,
                                     const uint64_t *sums, split_t *found) {
    const int64_t n_words = words_of(n), missing = t->p->n_bins[found->feature];
    uint8_t codes[SMALL_NODE + 1];
    uint64_t *h = t->histogram;
    int64_t bin = -1;
    memset(h, 0, (size_t)((t->n_planes + t->counts_rows) * n_words) * sizeof *h);
    for (int64_t i = 0; i < n; i++) {
        const uint16_t key = keys[i * width];
        if (bin < 0 || codes[bin] != key >> 8) codes[++bin] = (uint8_t)(key >> 8);
        ISA(add_to_planes)(t, h, n_words, bin, row[key & 255]);
    }
    const int has_missing = codes[bin] == missing;
    if (!has_missing) codes[bin + 1] = (uint8_t)missing;
    const int varies = ISA(search_planes)(t, h, n_words, sums, n, has_missing ? bin : bin + 1, found);
    found->code = codes[found->code];
    found->next_code = codes[found->next_code];
    return varies;
}

HOT void ISA(search_sorted)(const tree_t *t, const place_t *place, int64_t n, const uint64_t *sums,
                               const int64_t *features, const int64_t *ranks, int64_t n_features, split_t *best,
                               int64_t *varying) {
    const int64_t width = (n_features + KEYS - 1) / KEYS * KEYS;
    uint16_t *keys = t->keys;
    const uint8_t *bins = t->p->columns ? NULL : t->bins[place->buffer] + place->at * t->stride;
    const uint32_t *row = t->row[place->buffer] ? t->row[place->buffer] + place->at : NULL;
    for (int64_t i = 0; i < n; i++) {
        uint16_t *key = keys + i * width;
        const uint8_t *bin = bins + i * t->stride;
        if (!bins)
            for (int64_t j = 0; j < n_features; j++) key[j] = t->p->columns[features[j] * t->p->n + row[i]] << 8 | i;
        else if (n_features == t->p->d) /* all, in their order */
            for (int64_t j = 0; j < n_features; j++) key[j] = bin[j] << 8 | i;
        else
            for (int64_t j = 0; j < n_features; j++) key[j] = bin[features[j]] << 8 | i;
        for (int64_t j = n_features; j < width; j++) key[j] = i;
    }
    ISA(sort_rows)(keys, n, width);
    double scores[SUMMED_TOGETHER];
    int64_t positions[SUMMED_TOGETHER];
    for (int64_t j = 0; j < n_features; j++) {
        if (t->packed && j % SUMMED_TOGETHER == 0)
            ISA(scan_sorted)(t, keys + j, width, t->pack[place->buffer] + place->at, n, sums, scores, positions);
        const uint16_t *key = keys + j;
        if (!t->packed) {
            split_t found = {-INFINITY, features[j], ranks[j], 0, 0, 0, 0};
            *varying += ISA(search_sorted_planes)(t, key, width, row, n, sums, &found);
            keep_better(best, &found);
            continue;
        }
        const int64_t first = key[0] >> 8, last = key[(n - 1) * width] >> 8, missing = t->p->n_bins[features[j]];
        if (first == last) continue;
        if (last == missing) { /* missing values ask for a second direction: rare, so by histogram */
            ISA(search_histogram)(t, place, n, sums, features + j, ranks + j, 1, best, varying);
            continue;
        }
        *varying += 1;
        if (scores[j % SUMMED_TOGETHER] == -INFINITY) continue;
        const int64_t at = positions[j % SUMMED_TOGETHER];
        const split_t found = {scores[j % SUMMED_TOGETHER], features[j], ranks[j], key[at * width] >> 8, key[(at + 1) * width] >> 8, 0, 0};
        keep_better(best, &found);
    }
}
