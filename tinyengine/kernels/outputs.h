/* int8 outputs of sums with 16 bits behind the point and 128 more in front of it. */
#ifndef TINYENGINE_OUTPUTS_H
#define TINYENGINE_OUTPUTS_H

#include "simd.h"

/* 256 times bytes 1 and 3 of a word, as two int16; those of word << 8 are bytes 0 and 2. */
#define TE_HIGH_BYTES 0xff00ff00u

static inline uint32_t te_four_outputs(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t even = te_usat8_16(te_pkhtb(c, a)), odd = te_usat8_16(te_pkhtb(d, b));

    return (even | odd << 8) ^ 0x80808080u;
}

static inline int8_t te_one_output(uint32_t sum) {
    return (int8_t)((int32_t)(te_usat8_16(sum >> 16) & 0xff) - 128);
}

#endif
