/* Memory of a growing tree, the frontier of best-first growth, and the finished tree. */
#ifndef HPCML_GROWTH_MEMORY_H
#define HPCML_GROWTH_MEMORY_H

#include "growth_types.h"

/* Vector code reads and writes up to this many bytes past the end of a stream. */
#define SLACK 128

static void *allocate(int64_t n, size_t size) { return malloc((size_t)n * size + SLACK); }

static void free_tree(tree_t *t) {
    for (int b = 0; b < 2; b++) {
        free(t->bins[b]);
        free(t->pack[b]);
        free(t->target[b]);
        free(t->row[b]);
    }
    void *all[] = {t->w_of_row, t->s_of_row, t->w,           t->draws,  t->go_left, t->order, t->swaps, t->ranks, t->histogram, t->spare, t->kept,
                   t->keys,     t->carry, t->plane_left, t->plane_total, t->nodes, t->places,  t->values, t->sums,  t->queue};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    memset(t, 0, sizeof *t);
}

static int64_t width_of_values(const problem_t *p) { return p->n_classes ? p->n_classes : 1; }
static int64_t most_planes(const problem_t *p) { return p->n_classes > 2 ? p->n_classes : 2; }

/* What every tree of a problem needs; the streams are allocated on first use and kept. Returns 0, or NO_MEMORY. */
static int allocate_tree(tree_t *t, const problem_t *p, watch_t *watch) {
    const int64_t n = p->n, d = p->d, planes = most_planes(p);
    memset(t, 0, sizeof *t);
    t->p = p;
    t->watch = watch;
    t->stride = (d + 7) & ~7;
    t->capacity = 256;
    t->go_left = allocate(n, 1);
    t->order = allocate(d, 8);
    t->swaps = allocate(d, 8);
    t->ranks = allocate(2 * d, 8);
    const int64_t together = d < RECORD_FEATURES ? d : RECORD_FEATURES;
    const int64_t words = together * HISTOGRAM_WORDS, of_planes = FILL_TOGETHER * HISTOGRAM_WORDS * (planes + 1);
    t->histogram = allocate(words > of_planes ? words : of_planes, 8);
    if (d <= RECORD_FEATURES && p->max_features >= d && !p->max_leaf_nodes) {
        t->kept_words = d * HISTOGRAM_WORDS;
        t->spare = allocate(t->kept_words, 8);
        t->kept = allocate(KEPT_NODES * t->kept_words, 8);
        if (!t->spare || !t->kept) return NO_MEMORY;
    }
    t->keys = allocate(SMALL_NODE * (RECORD_FEATURES + 32), 2);
    t->carry = allocate((planes + 1) * 8, 8);
    t->plane_left = allocate(planes, 8);
    t->plane_total = allocate(planes, 8);
    t->draws = p->n_draws ? allocate(n, 4) : NULL;
    t->nodes = allocate(t->capacity, sizeof *t->nodes);
    t->places = allocate(t->capacity, sizeof *t->places);
    t->values = allocate(t->capacity * width_of_values(p), 8);
    t->sums = allocate(t->capacity * planes, 8);
    t->queue = allocate(t->capacity, 8);
    if (!t->go_left || !t->order || !t->swaps || !t->ranks || !t->histogram || !t->keys || !t->carry || !t->plane_left || !t->plane_total ||
        (p->n_draws && !t->draws) || !t->nodes || !t->places || !t->values || !t->sums || !t->queue)
        return NO_MEMORY;
    for (int64_t f = 0; f < d; f++) t->order[f] = t->ranks[f] = t->ranks[d + f] = f;
    return 0;
}

static int need(void **where, int64_t n, size_t size) {
    if (!*where) *where = allocate(n, size);
    return *where ? 0 : NO_MEMORY;
}

static int need_streams(tree_t *t) {
    const problem_t *p = t->p;
    const int64_t n = p->n;
    int failed = 0;
    for (int b = 0; b < 2; b++) {
        if (!p->columns) failed |= need((void **)&t->bins[b], n, (size_t)t->stride);
        if (t->packed) failed |= need((void **)&t->pack[b], n, 8);
        if (!p->n_classes) failed |= need((void **)&t->target[b], n, 8);
        if (p->columns || !t->packed) failed |= need((void **)&t->row[b], n, 4);
    }
    if (!t->packed) {
        failed |= need((void **)&t->w_of_row, n, 8);
        failed |= need((void **)&t->s_of_row, n, 8);
    }
    return failed;
}

static int grow_array(void **where, int64_t n, size_t size) {
    void *larger = realloc(*where, (size_t)n * size + SLACK);
    if (!larger) return NO_MEMORY;
    *where = larger;
    return 0;
}

static int reserve_nodes(tree_t *t, int64_t n_values) {
    const int64_t n = 2 * t->capacity;
    if (grow_array((void **)&t->nodes, n, sizeof *t->nodes) || grow_array((void **)&t->places, n, sizeof *t->places) ||
        grow_array((void **)&t->values, n * n_values, 8) || grow_array((void **)&t->queue, n, 8) ||
        grow_array((void **)&t->sums, n * most_planes(t->p), 8))
        return NO_MEMORY;
    t->capacity = n;
    return 0;
}

/* Binary heap of nodes as created: greatest improvement, then lowest number, on top. */
static int precedes(const tree_t *t, int64_t a, int64_t b) {
    const double x = t->nodes[a].improvement, y = t->nodes[b].improvement;
    return x > y || (x == y && t->places[a].number < t->places[b].number);
}

static void heap_push(tree_t *t, int64_t n, int64_t node) {
    int64_t *heap = t->queue, i = n;
    for (; i > 0 && precedes(t, node, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = node;
}

static int64_t heap_pop(tree_t *t, int64_t n) {
    int64_t *heap = t->queue, top = heap[0], last = heap[n - 1], i = 0;
    for (int64_t c; (c = 2 * i + 1) < n - 1; i = c) {
        if (c + 1 < n - 1 && precedes(t, heap[c + 1], heap[c])) c++;
        if (!precedes(t, heap[c], last)) break;
        heap[i] = heap[c];
    }
    heap[i] = last;
    return top;
}

/* Copy the numbered nodes out, in their order; nodes that were only looked ahead are left behind. */
static int finish_tree(tree_t *t, grown_t *out) {
    const int64_t n_values = width_of_values(t->p);
    int64_t n = 0;
    for (int64_t i = 0; i < t->n_nodes; i++) n += t->places[i].number >= 0;
    out->n_nodes = n;
    out->nodes = allocate(n, sizeof *out->nodes);
    out->values = allocate(n * n_values, 8);
    if (!out->nodes || !out->values) return NO_MEMORY;
    for (int64_t i = 0; i < t->n_nodes; i++) {
        const place_t *place = t->places + i;
        if (place->number < 0) continue;
        node_t *node = out->nodes + place->number;
        *node = t->nodes[i];
        memcpy(out->values + place->number * n_values, t->values + i * n_values, (size_t)n_values * 8);
        if (place->left >= 0 && t->places[place->left].number >= 0) {
            node->left = t->places[place->left].number;
            node->right = t->places[place->right].number;
        } else {
            node->feature = UNDEFINED;
            node->threshold = UNDEFINED;
            node->improvement = 0.0;
            node->missing_go_to_left = 0;
        }
    }
    return 0;
}

#endif
