/* Includes BODY once for every instruction set of this processor family; see isa.h. No include guard. */

#define VL 2
#define SUFFIX baseline
#include BODY
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX

#if HPCML_X86
HPCML_TARGET_AVX2
#define VL 4
#define SUFFIX avx2
#include BODY
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX
HPCML_TARGET_END

HPCML_TARGET_AVX512
#define VL 8
#define SUFFIX avx512
#include BODY
#undef VL
#undef VM_ALL
#undef KEYS
#undef SUFFIX
HPCML_TARGET_END
#endif

#undef BODY
