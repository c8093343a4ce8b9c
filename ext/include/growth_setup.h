/* The start of a tree: rows in the bag, fixed point, streams of the root. */

static void ISA(draw_rows)(const tree_t *t, uint64_t seed, uint32_t *draws) {
    enum { BLOCK = 256, STEPS = 16 }; /* steps of a search, about */
    const problem_t *p = t->p;
    const uint64_t key = hash_at(seed, KEY_BOOTSTRAP);
    memset(draws, 0, (size_t)p->n * sizeof *draws);
    double u[BLOCK];
    for (int64_t start = 0; start < p->n_draws && !is_stopped_after(t->watch, BLOCK * STEPS); start += BLOCK) {
        const int64_t count = p->n_draws - start < BLOCK ? p->n_draws - start : BLOCK;
        for (int64_t i = 0; i < BLOCK; i++) u[i] = uniform_at(key, (uint64_t)(start + i));
        if (!p->cumulative_weights) {
            for (int64_t i = 0; i < count; i++) draws[(int64_t)(u[i] * (double)p->n)]++;
            continue;
        }
        const double *c = p->cumulative_weights, total = c[p->n - 1];
        for (int64_t i = 0; i < count; i++) { /* first row whose cumulative weight is above u * total */
            const double x = u[i] * total;
            int64_t low = 0, high = p->n - 1;
            while (low < high) {
                const int64_t middle = (low + high) / 2;
                if (c[middle] > x || c[middle] == total) high = middle;
                else low = middle + 1;
            }
            draws[low]++;
        }
    }
}

INLINE uint8_t *ISA(copy_in_bag)(uint8_t *to, const uint8_t *from, int64_t step, const uint8_t *in, int64_t n,
                               const size_t stride) {
    for (int64_t i = 0; i < n; i++, from += step) {
        memcpy(to, from, stride);
        to += stride * in[i];
    }
    return to;
}

/* Copy the bins of the rows in the bag; whole words, so the last rows, which have no room for one, go apart. */
static void ISA(copy_bins)(tree_t *t, const uint8_t *in) {
    const problem_t *p = t->p;
    const int64_t apart = p->n < 8 ? p->n : 8, n = p->n - apart;
    uint8_t *to = t->bins[0];
    switch (t->stride) {
#define STRIDE(s) case s: to = ISA(copy_in_bag)(to, p->binned, p->d, in, n, s); break;
        STRIDE(8) STRIDE(16) STRIDE(24) STRIDE(32) STRIDE(40) STRIDE(48) STRIDE(56) STRIDE(64)
#undef STRIDE
    }
    for (int64_t i = n; i < p->n; i++) {
        memcpy(to, p->binned + i * p->d, (size_t)p->d);
        to += t->stride * in[i];
    }
}

/* Choose the fixed point and whether (count, weight, target) share one 64-bit word; fill the streams of the root.
 * Returns 0, or why it failed. */
static int ISA(start_tree)(tree_t *t, uint64_t seed) {
    const problem_t *p = t->p;
    const int64_t n = p->n;
    const double *weights = p->weights ? p->weights + t->i_weights * n : NULL;
    if (p->n_draws) ISA(draw_rows)(t, seed, t->draws);
    if (t->watch->stopped) return STOPPED;
    const uint32_t *draws = p->n_draws ? t->draws : NULL;
#define WEIGHT(i) ((weights ? weights[i] : 1.0) * (draws ? (double)draws[i] : 1.0))
    double total = 0.0, low = INFINITY, high = -INFINITY;
    int whole = 1, unit = 1;
    int64_t m = 0;
    uint8_t *in = t->go_left;
    if (weights)
        for (int64_t i = 0; i < n; i++) {
            const double w = WEIGHT(i);
            total += w;
            whole &= w == floor(w);
            unit &= (w == 1.0) | (w == 0.0);
            in[i] = w > 0;
        }
    else {
        total = (double)(draws ? p->n_draws : n);
        for (int64_t i = 0; i < n; i++) {
            in[i] = draws ? draws[i] > 0 : 1;
            unit &= !draws || draws[i] <= 1;
        }
    }
    for (int64_t i = 0; i < n; i++) m += in[i];
    if (!p->n_classes)
        for (int64_t i = 0; i < n; i++) {
            const double y = p->y[i];
            low = in[i] && y < low ? y : low;
            high = in[i] && y > high ? y : high;
        }
    whole &= total < 0x1p51;
    int e_w = whole ? 0 : EXACT_BITS - exponent_of(total);
    if (e_w > MAX_EXPONENT) e_w = MAX_EXPONENT;
    const double w_scale = ldexp(1.0, e_w);
    const int counts_rows = p->min_samples_leaf > 1 && !unit;
    int w_bits = whole ? bit_length((uint64_t)total) : EXACT_BITS, bits = WORD_BITS - w_bits * (counts_rows ? 2 : 1);
    double s_scale = 0.0;
    if (p->n_classes == 0) {
        if (bits > EXACT_BITS) bits = EXACT_BITS;
        t->packed = whole && bits - 1 - w_bits >= p->target_bits;
        if (!t->packed) bits = EXACT_BITS;
        int e_s = bits - 1 - exponent_of(total) - exponent_of(high - low);
        s_scale = ldexp(1.0, e_s > MAX_EXPONENT ? MAX_EXPONENT : e_s);
    } else {
        t->packed = whole && p->n_classes == 2 && bits >= w_bits;
        bits = w_bits;
    }
    t->m = m;
    t->counts_rows = counts_rows;
    t->weight_unit = ldexp(1.0, -e_w);
    t->weight_shift = bits;
    t->count_shift = bits + w_bits;
    t->sum_mask = (1ull << bits) - 1;
    t->weight_mask = counts_rows ? (1ull << w_bits) - 1 : ~0ull;
    t->n_planes = t->packed ? 2 : most_planes(p);
    const double least = p->min_weight_leaf * w_scale;
    t->min_w_int = (uint64_t)(whole ? ceil(least) : floor(least + 0.5));
    if (t->min_w_int < 1) t->min_w_int = 1;
    /* where every weight is 1, rows are counted by their weight */
    if (!counts_rows && t->min_w_int < (uint64_t)p->min_samples_leaf) t->min_w_int = (uint64_t)p->min_samples_leaf;
    t->n_nodes = 0;
    for (t->n_free = 0; t->n_free < KEPT_NODES; t->n_free++) t->free_slots[t->n_free] = t->n_free;
    if (need_streams(t) < 0) return NO_MEMORY;
    if (!t->packed && !p->n_classes && need((void **)&t->w, n, 8) < 0) return NO_MEMORY;
    if (!p->columns) ISA(copy_bins)(t, in);
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) { /* without a branch: a row out of the bag is overwritten by the next */
        const double y = p->y[i];
        uint64_t w_int, s_int;
        double w = 1.0;
        if (!weights && p->n_classes) w_int = draws ? draws[i] : 1;
        else {
            w = WEIGHT(i);
            const double scaled = floor(w * w_scale + 0.5);
            w_int = (uint64_t)(int64_t)(scaled < 1.0 ? 1.0 : scaled);
        }
        if (p->n_classes) s_int = w_int * (y == 1.0);
        else s_int = in[i] ? (uint64_t)(int64_t)floor(w * ((y - low) * s_scale) + 0.5) : 0;
        if (t->packed)
            t->pack[0][at] = s_int | w_int << t->weight_shift | (counts_rows ? 1ull << t->count_shift : 0);
        else {
            t->w_of_row[i] = w_int;
            t->s_of_row[i] = p->n_classes ? (uint64_t)(int64_t)y : s_int;
            if (t->w) t->w[i] = w;
        }
        if (t->target[0]) t->target[0][at] = y;
        if (t->row[0]) t->row[0][at] = (uint32_t)i;
        at += in[i];
    }
#undef WEIGHT
    return 0;
}
