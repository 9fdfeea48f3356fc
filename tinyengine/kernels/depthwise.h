/* For the kernels of DEPTHWISE_CONV_2D that expand four channels to int16, a plane for each. */
#ifndef TINYENGINE_DEPTHWISE_H
#define TINYENGINE_DEPTHWISE_H

#include "depthwise_shift.h"
#include "simd.h"

#define FORCE_INLINE static inline __attribute__((always_inline))

/* How a channel's sums become int8. In place of the shift, TE_ONCE where they are rounded once. */
enum { BIAS, MULTIPLIER, ADDEND, RIGHT, REQUANTISATION };

#if !TE_DSP
static const uint32_t TE_ONCE = UINT32_MAX;

static inline int8_t te_requantise_depthwise(uint32_t sum, const uint32_t *to) {
    if (to[RIGHT] == TE_ONCE)
        return (int8_t)te_ssat8(
            te_asr(te_smmla(sum, to[MULTIPLIER], to[ADDEND]), TE_DEPTHWISE_SHIFT));
    return (int8_t)te_ssat8(te_rounded(sum, to[MULTIPLIER], to[ADDEND], to[RIGHT]));
}
#endif

/* Of each of four channels the word of two pixels, to words that are `pitch` int16 apart; the first
 * channel's is written last, for a pitch of 0. offset: the zero point, negated, in both halves. */
FORCE_INLINE void te_expand_two(int16_t *words, int32_t pitch, uint32_t one, uint32_t other,
                                uint32_t offset) {
    uint32_t low = te_pkhbt(one, other), high = te_pkhtb(other, one);

    te_store(words + 3 * pitch, te_sxtab16_ror8(offset, high));
    te_store(words + 2 * pitch, te_sxtab16(offset, high));
    te_store(words + pitch, te_sxtab16_ror8(offset, low));
    te_store(words, te_sxtab16(offset, low));
}

#endif
