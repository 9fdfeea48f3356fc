/* An int8 input expanded to int16, for kernels that multiply it by many weights. */
#ifndef TINYENGINE_EXPAND_H
#define TINYENGINE_EXPAND_H

#include "simd.h"

/* To words of two int16: of each four bytes, 0 and 2, then 1 and 3; zeros at the end. */
static inline void te_expand(const int8_t *input, int32_t count, uint32_t *words,
                             const uint32_t *end) {
    uint32_t four;

    for (; count >= 4; input += 4, count -= 4) {
        four = te_load(input);
        te_store_two(&words, te_sxtb16(four), te_sxtb16_ror8(four));
    }
    if (count) {
        four = te_load_part(input, count);
        te_store_two(&words, te_sxtb16(four), te_sxtb16_ror8(four));
    }
    while (words != end)
        *words++ = 0;
}

#endif
