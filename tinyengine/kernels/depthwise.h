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

/* Where a row of pixels and another one begin in the input, and how far it is from one to the next;
 * 0: the row is padding. */
typedef struct {
    int32_t upper, lower, upper_step, lower_step;
} te_two_rows;

/* `pairs` of rows. Four channels of each become words: in each column the pairs, of each the four
 * channels. pitch: from a column to the next one, in bytes; padding: four channels of it; offset:
 * as above. expand_pairs_m4.S knows it. */
typedef struct {
    const te_two_rows *rows;
    uint32_t *words;
    int32_t pairs, columns, pitch;
    uint32_t offset;
    const int8_t *padding;
} te_pairs;

/* input: from the first of the four channels on. */
#if TE_DSP
void te_expand_pairs(const te_pairs *of, const int8_t *input);
#else
static inline void te_expand_pairs(const te_pairs *of, const int8_t *input) {
    for (int32_t pair = 0; pair < of->pairs; pair++) {
        const te_two_rows *rows = of->rows + pair;
        const int8_t *upper = rows->upper_step ? input + rows->upper : of->padding;
        const int8_t *lower = rows->lower_step ? input + rows->lower : of->padding;
        uint32_t *words = of->words + 4 * pair;

        for (int32_t i = 0; i < of->columns; i++, words += of->pitch / 4)
            te_expand_two((int16_t *)words, 2, te_load(upper + i * rows->upper_step),
                          te_load(lower + i * rows->lower_step), of->offset);
    }
}
#endif

#endif
