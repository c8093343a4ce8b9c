/* The best split of each feature from sorted rows: the search for small nodes, where most bins would be empty.
 *
 * A key is (bin, row in the node) in 16 bits. Lanes are features: a sorting network (Batcher 1968, merge exchange)
 * orders the rows of all features at once.
 */

#define KEYS (VL * 4) /* 16-bit keys in a vector */

INLINE void ISA(compare_exchange)(uint16_t *a, uint16_t *b, int64_t n) {
    for (int64_t j = 0; j < n; j += KEYS) {
#if VL == 8
        __m512i x = _mm512_loadu_si512(a + j), y = _mm512_loadu_si512(b + j);
        _mm512_storeu_si512(a + j, _mm512_min_epu16(x, y));
        _mm512_storeu_si512(b + j, _mm512_max_epu16(x, y));
#elif VL == 4
        __m256i x = _mm256_loadu_si256((__m256i *)(a + j)), y = _mm256_loadu_si256((__m256i *)(b + j));
        _mm256_storeu_si256((__m256i *)(a + j), _mm256_min_epu16(x, y));
        _mm256_storeu_si256((__m256i *)(b + j), _mm256_max_epu16(x, y));
#else
        ISA(vh) x = *(ISA(vh) *)(a + j), y = *(ISA(vh) *)(b + j), less = (ISA(vh))(x < y);
        *(ISA(vh) *)(a + j) = (x & less) | (y & ~less);
        *(ISA(vh) *)(b + j) = (y & less) | (x & ~less);
#endif
    }
}

INLINE void ISA(sort_rows)(uint16_t *keys, int64_t n, int64_t width) {
    for (int64_t p = 1; p < n; p *= 2)
        for (int64_t k = p; k >= 1; k /= 2)
            for (int64_t j = k & (p - 1); j + k < n; j += 2 * k)
                for (int64_t i = j; i < j + k && i + k < n; i++)
                    if ((i & -(2 * p)) == ((i + k) & -(2 * p)))
                        ISA(compare_exchange)(keys + i * width, keys + (i + k) * width, width);
}

/* Gather the words of VL sorted rows. */
INLINE VU ISA(gather_words)(const uint64_t *words, VU row) {
#if VL == 8
    return (VU)_mm512_i64gather_epi64((__m512i)row, words, 8);
#elif VL == 4
    return (VU)_mm256_i64gather_epi64((const long long *)words, (__m256i)row, 8);
#else
    VU x;
    for (int i = 0; i < VL; i++) x[i] = words[row[i]];
    return x;
#endif
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

/* Search VL features at once; the best score and position of each go to scores and positions. */
static __attribute__((noinline)) void ISA(scan_sorted)(const tree_t *t, const uint16_t *keys, int64_t width, const uint64_t *pack, int64_t n,
                             const uint64_t *sums, double *scores, int64_t *positions) {
    const int w_shift = t->weight_shift;
    const uint64_t w_mask = t->weight_mask, s_mask = t->sum_mask;
    const VF w = ISA(splat)((double)(int64_t)sums[0]), s = ISA(splat)((double)(int64_t)sums[1]);
    const VF least = ISA(splat)((double)(int64_t)t->min_w_int), worst = ISA(splat)(-INFINITY);
    const int64_t min_rows = t->p->min_samples_leaf;
    VF best = worst;
    VI position = {0}, at = {0};
    VU x = {0}, key = ISA(widen_keys)(keys);
    for (int64_t i = 0; i + min_rows < n; i++, at += 1) {
        const VU next = ISA(widen_keys)(keys + (i + 1) * width);
        x += ISA(gather_words)(pack, key & 255);
        if (i + 1 >= min_rows) {
            VF w_left = ISA(to_double)(x >> w_shift & w_mask), s_left = ISA(to_double)(x & s_mask);
            VI valid = (VI)((key >> 8) != (next >> 8));
            valid &= (VI)(w_left >= least) & (VI)(w - w_left >= least);
            VF score = ISA(score_packed)(t->p->entropy, w_left, s_left, w, s);
            VI better = valid & (VI)(score > best);
            best = ISA(select)(better, score, best);
            position = ISA(select_i)(better, at, position);
        }
        key = next;
    }
    *(VF *)scores = best;
    *(VI *)positions = position;
}

/* One feature where sums are a word a plane: the codes that occur are the bins of a short histogram. */
static int ISA(search_sorted_planes)(const tree_t *t, const uint16_t *keys, int64_t width, const uint32_t *row, int64_t n,
                                     const uint64_t *sums, split_t *found) {
    const int64_t n_words = (n + 8) & ~7, missing = t->p->n_bins[found->feature];
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

static __attribute__((noinline)) void ISA(search_sorted)(const tree_t *t, const place_t *place, int64_t n, const uint64_t *sums,
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
    double scores[8];
    int64_t positions[8];
    for (int64_t j = 0; j < n_features; j++) {
        if (t->packed && j % VL == 0)
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
        if (scores[j % VL] == -INFINITY) continue;
        const int64_t at = positions[j % VL];
        const split_t found = {scores[j % VL], features[j], ranks[j], key[at * width] >> 8, key[(at + 1) * width] >> 8, 0, 0};
        keep_better(best, &found);
    }
}
