/* Sums of products of int8 weights and an input that is expanded to int16, of four rows of weights
 * at a time: for each four inputs a word of each row. */
#ifndef TINYENGINE_DOTS_H
#define TINYENGINE_DOTS_H

#include "simd.h"

/* Adds to four sums; returns the weights behind. Inlined, its loop would lack registers. */
static __attribute__((noinline)) const uint32_t *
te_dots(const uint32_t *weights, const uint32_t *input, const uint32_t *end, uint32_t *sums) {
    uint32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], first, second, four;

    while (input != end) {
        te_load_two(&input, &first, &second);
        four = *weights++;
        a = te_smlad(te_sxtb16(four), first, a);
        a = te_smlad(te_sxtb16_ror8(four), second, a);
        four = *weights++;
        b = te_smlad(te_sxtb16(four), first, b);
        b = te_smlad(te_sxtb16_ror8(four), second, b);
        four = *weights++;
        c = te_smlad(te_sxtb16(four), first, c);
        c = te_smlad(te_sxtb16_ror8(four), second, c);
        four = *weights++;
        d = te_smlad(te_sxtb16(four), first, d);
        d = te_smlad(te_sxtb16_ror8(four), second, d);
    }
    sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
    return weights;
}

#endif
