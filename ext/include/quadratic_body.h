/* One instruction set; see quadratic.h. No include guard. */

/* Minimise along each coordinate, or each that is not 0; returns the largest entry of the least subgradient met. */
HOT double ISA(sweep)(const quadratic_t *q, int only_moving) {
    double largest = 0.0;
    for (int64_t j = 0; j < q->p; j++) {
        const double u = q->u[j], l1 = q->l1[j], *h = q->h + j * q->p;
        if (only_moving && u == 0 && l1 != 0) continue;
        const double slope = u != 0 ? fabs(q->c[j] + (u > 0 ? l1 : -l1)) : fmax(fabs(q->c[j]) - l1, 0.0);
        if (slope > largest) largest = slope;
        const double target = u * h[j] - q->c[j], left = fabs(target) - l1;
        const double found = left > 0 ? (target > 0 ? left : -left) / h[j] : 0.0, change = found - u;
        if (change == 0) continue;
        for (int64_t i = 0; i < q->p; i++) q->c[i] += change * h[i];
        q->u[j] = found;
    }
    return largest;
}

static void ISA(descend)(const quadratic_t *q, double tol, int64_t max_sweeps) {
    watch_t watch = {q->signals, 0, 0};
    const int64_t work = q->p * q->p;
    for (int64_t sweep = 0; sweep < max_sweeps && !is_stopped_after(&watch, work);) {
        const double largest = ISA(sweep)(q, 0);
        sweep++;
        if (largest <= tol) break;
        while (sweep < max_sweeps && !is_stopped_after(&watch, work) && ISA(sweep)(q, 1) > tol) sweep++;
    }
}
