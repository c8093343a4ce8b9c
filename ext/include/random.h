/* Counter-based random numbers; the definition is hpcml/kernels/random.py. */
#ifndef HPCML_RANDOM_H
#define HPCML_RANDOM_H

#include <stdint.h>

#define KEY_BOOTSTRAP 1u
#define KEY_ROOT 2u
#define KEY_LEFT (1ull << 40)
#define KEY_RIGHT (KEY_LEFT + 1)

static inline uint64_t hash_at(uint64_t key, uint64_t counter) {
    uint64_t z = key + (counter + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static inline double uniform_at(uint64_t key, uint64_t counter) {
    return (double)(int64_t)(hash_at(key, counter) >> 11) * 0x1p-53;
}

#endif
