/* The score that the best split maximises. The sequence of operations is that of the NumPy reference. */

typedef uint16_t ISA(vh) __attribute__((vector_size(VL * 8), aligned(2), may_alias));

/* w, s: weight and weighted target (or weight of class 1) left of the split and in the node */
INLINE VF ISA(score_packed)(int entropy, VF w_left, VF s_left, VF w, VF s) {
    VF w_right = w - w_left;
    if (!entropy) { /* (W s_L - w_L S)^2 / (w_L w_R) */
        VF d = w * s_left - w_left * s;
        return (d * d) / (w_left * w_right);
    }
    VF zero_left = w_left - s_left, s_right = s - s_left, zero_right = (w - s) - zero_left;
    VF left = ISA(x_log_x)(zero_left) + ISA(x_log_x)(s_left);
    VF right = ISA(x_log_x)(zero_right) + ISA(x_log_x)(s_right);
    return (left - ISA(x_log_x)(w_left)) + (right - ISA(x_log_x)(w_right));
}

typedef struct { /* the rows left of a candidate, where sums are a word a plane */
    uint64_t *left, *total;
    uint64_t w_left, w, n_left;
    uint64_t left_squares, right_squares; /* sums of squares over the classes */
} ISA(planes_t);

/* Move weight `w` (and, in regression, target `s`) of plane k to the left. */
INLINE void ISA(move_left)(const tree_t *t, ISA(planes_t) *a, int64_t k, uint64_t w, uint64_t s, uint64_t n) {
    uint64_t l = a->left[k], r = a->total[k] - l;
    if (t->small_sums) {
        a->left_squares += w * (2 * l + w);
        a->right_squares -= w * (2 * r - w);
    }
    a->left[k] = l + w;
    if (t->p->n_classes == 0) a->left[1] += s;
    a->w_left += w;
    a->n_left += n;
}

INLINE double ISA(sum_x_log_x)(const double *x, int64_t n) {
    double sum = 0.0;
    for (int64_t k = 0; k < n; k += VL) {
        VF v = {0};
        for (int i = 0; i < VL && k + i < n; i++) v[i] = x[k + i];
        v = ISA(x_log_x)(v);
        for (int i = 0; i < VL && k + i < n; i++) sum += v[i];
    }
    return sum;
}

static double ISA(score_planes)(const tree_t *t, const ISA(planes_t) *a) {
    const problem_t *p = t->p;
    double w_left = (double)(int64_t)a->w_left, w = (double)(int64_t)a->w, w_right = w - w_left;
    if (p->n_classes <= 2) {
        VF s_left = ISA(splat)((double)(int64_t)a->left[1]), s = ISA(splat)((double)(int64_t)a->total[1]);
        return ISA(score_packed)(p->entropy, ISA(splat)(w_left), s_left, ISA(splat)(w), s)[0];
    }
    if (!p->entropy) {
        double left = 0.0, right = 0.0;
        if (t->small_sums) {
            left = (double)(int64_t)a->left_squares;
            right = (double)(int64_t)a->right_squares;
        } else {
            for (int64_t k = 0; k < p->n_classes; k++) {
                double l = (double)(int64_t)a->left[k], r = (double)(int64_t)a->total[k] - l;
                left += l * l;
                right += r * r;
            }
        }
        return left / w_left + right / w_right;
    }
    double *l = malloc(2 * (size_t)p->n_classes * sizeof *l), *r = l + p->n_classes;
    for (int64_t k = 0; k < p->n_classes; k++) {
        l[k] = (double)(int64_t)a->left[k];
        r[k] = (double)(int64_t)a->total[k] - l[k];
    }
    double left = ISA(sum_x_log_x)(l, p->n_classes), right = ISA(sum_x_log_x)(r, p->n_classes);
    free(l);
    double of_weights[2] = {w_left, w_right};
    VF v = {0};
    v[0] = of_weights[0];
    v[1] = of_weights[1];
    v = ISA(x_log_x)(v);
    return (left - v[0]) + (right - v[1]);
}
