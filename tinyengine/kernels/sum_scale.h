/* What te_scaled does, where nothing is lost to the left, from precomputed numbers. */
#ifndef TINYENGINE_SUM_SCALE_H
#define TINYENGINE_SUM_SCALE_H

#include "fast.h"
#include "simd.h"

/* As te_scaled, of sums that stay below 2^31 where they are shifted to the left. */
static inline int32_t te_scaled_sum(uint32_t sum, const te_sum_scale *scale) {
    uint32_t high = te_smmlar(sum << scale->left, scale->multiplier, 0);

    if (scale->right)
        high = te_asr(high + scale->half + te_asr(high, 31), scale->right);
    return (int32_t)high;
}

#endif
