/* The kernels of k-means for one type of numbers and one instruction set. No include guard. */

#include "kmeans_tile.h"

#define VD ISA(vd)
/* Half a vector of REAL, or a whole one, as doubles. */
typedef double VD __attribute__((vector_size(REAL_BYTES), aligned(8), may_alias));
#define DL (REAL_BYTES / 8)
#if REAL_BITS == 64
INLINE VD ISA(as_doubles)(const REAL *p) { return *(const VD *)p; }
#else
typedef float ISA(vh) __attribute__((vector_size(REAL_BYTES / 2), aligned(4), may_alias));
INLINE VD ISA(as_doubles)(const REAL *p) { return __builtin_convertvector(*(const ISA(vh) *)p, VD); }
#endif

#include "kmeans_sums.h"
#include "kmeans_sparse.h"
#include "kmeans_steps.h"
#include "kmeans_distances.h"
#include "kmeans_sets.h"

#undef ROW_VECTORS
#undef PANEL
#undef TILE
#undef PRODUCT
#undef LONG_ROW
#undef DIFFERENCE
#undef KEEP
#undef BEST
#undef BEST_TWO
#undef LOW_HALVES
#undef HIGH_HALVES
#undef INTERLEAVE
#undef SPARSE_VECTORS
#undef DL
#undef VD
