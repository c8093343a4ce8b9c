/* Take rows through a tree, one level at a time, so that their loads overlap, until all are in leaves. */
INLINE void ISA(descend)(const step_t *steps, const float *x, int64_t d, int64_t count, uint32_t *at, const int with_nan) {
    for (int64_t i = 0; i < count; i++) at[i] = 0;
    for (uint32_t moved = 1; moved;) {
        moved = 0;
        for (int64_t i = 0; i < count; i++) {
            const step_t *step = steps + at[i];
            const float v = x[i * d + step->feature];
            uint32_t right = !(v <= step->threshold);
            if (with_nan) right &= ~((v != v) & step->missing_left);
            const uint32_t next = step->left + right; /* a leaf is its own left child and sends nothing right */
            moved |= next ^ at[i];
            at[i] = next;
        }
    }
}

INLINE int ISA(has_nan)(const float *x, int64_t n) {
    int found = 0;
    for (int64_t i = 0; i < n; i++) found |= x[i] != x[i];
    return found;
}

/* Add the values of the rows' leaves; k columns. */
INLINE void ISA(add_values)(const double *values, const int32_t *numbers, const uint32_t *at, int64_t count, double *out,
                            const int64_t k) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < k; j++) out[i * k + j] += values[numbers[at[i]] * k + j];
}

static void ISA(leaves_of_block)(const forest_t *f, const float *x, int64_t d, int64_t count, int32_t *out) {
    uint32_t at[ROWS_AT_ONCE];
    const int with_nan = ISA(has_nan)(x, count * d);
    for (int64_t t = 0; t < f->n_trees; t++) {
        const int64_t start = f->offsets[t];
        if (with_nan) ISA(descend)(f->steps + start, x, d, count, at, 1);
        else ISA(descend)(f->steps + start, x, d, count, at, 0);
        for (int64_t i = 0; i < count; i++) out[i * f->n_trees + t] = f->numbers[start + at[i]];
    }
}

static void ISA(values_of_block)(const forest_t *f, const float *x, int64_t d, int64_t count, double *out) {
    uint32_t at[ROWS_AT_ONCE];
    const int with_nan = ISA(has_nan)(x, count * d);
    for (int64_t t = 0; t < f->n_trees; t++) {
        const int64_t start = f->offsets[t], k = f->n_values;
        const double *values = f->values + start * k;
        const int32_t *numbers = f->numbers + start;
        if (with_nan) ISA(descend)(f->steps + start, x, d, count, at, 1);
        else ISA(descend)(f->steps + start, x, d, count, at, 0);
        switch (k) {
            case 1: ISA(add_values)(values, numbers, at, count, out, 1); break;
            case 2: ISA(add_values)(values, numbers, at, count, out, 2); break;
            default: ISA(add_values)(values, numbers, at, count, out, k);
        }
    }
}

/* A share of the rows, as over_blocks hands it out. */
static void ISA(rows_through_trees)(const void *call, int64_t start, int64_t stop, double *statistic, void *scratch) {
    const forest_t *f = call;
    (void)statistic, (void)scratch;
    for (int64_t i = start; i < stop; i += ROWS_AT_ONCE) {
        const int64_t count = stop - i < ROWS_AT_ONCE ? stop - i : ROWS_AT_ONCE;
        if (f->sums) ISA(values_of_block)(f, f->x + i * f->d, f->d, count, f->sums + i * f->n_values);
        else ISA(leaves_of_block)(f, f->x + i * f->d, f->d, count, f->leaves + i * f->n_trees);
    }
}
