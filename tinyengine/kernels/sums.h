/* Sums of the bytes of pixels, four channels at a time: those of bytes 0 and 2 in the halves of one
 * word, of bytes 1 and 3 in those of another. 256 values of int8 fit. */
#ifndef TINYENGINE_SUMS_H
#define TINYENGINE_SUMS_H

#include "simd.h"

typedef struct {
    uint32_t even, odd;
} te_sums;

static inline te_sums te_sum(te_sums sums, const int8_t *pixel) {
    const uint32_t word = te_load(pixel);

    sums.even = te_sxtab16(sums.even, word);
    sums.odd = te_sxtab16_ror8(sums.odd, word);
    return sums;
}

/* Of one pixel. */
static inline te_sums te_sum_of(const int8_t *pixel) {
    const uint32_t word = te_load(pixel);
    const te_sums sums = {te_sxtb16(word), te_sxtb16_ror8(word)};

    return sums;
}

/* Of `count` pixels that are `step` bytes apart. */
static inline te_sums te_sum_all(te_sums sums, const int8_t *pixel, int32_t step, int32_t count) {
    for (; count >= 4; count -= 4) {
        sums = te_sum(sums, pixel), pixel += step;
        sums = te_sum(sums, pixel), pixel += step;
        sums = te_sum(sums, pixel), pixel += step;
        sums = te_sum(sums, pixel), pixel += step;
    }
    for (; count; count--, pixel += step)
        sums = te_sum(sums, pixel);
    return sums;
}

#endif
