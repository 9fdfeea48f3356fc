/* ADD. TensorFlow Lite scales both inputs to half of the larger scale: the input that has it is
 * only shifted, so one of the three requantisations is none. */

#include "fast.h"
#include "simd.h"

enum { LEFT_SHIFT = 20 }; /* of te_add, always */

/* a * multiplier with both roundings of gemmlowp: acc is twice the sum, addend has the half. */
static inline uint32_t scaled(uint32_t acc, uint32_t multiplier, uint32_t addend, uint32_t right) {
    return te_asr(te_smmlar(acc, multiplier, addend + te_asr(acc, 31)), right);
}

#define ONE                                                                                        \
    do {                                                                                           \
        uint32_t sum = (uint32_t)*other++ * other_factor + other_offset;                           \
        sum = scaled(sum, other_multiplier, other_addend, other_right);                            \
        sum = (uint32_t)*input++ * (1u << LEFT_SHIFT) + (input_offset + 2 * sum);                  \
        *output++ = (int8_t)te_ssat8(scaled(sum, multiplier, addend, right));                      \
    } while (0)

void te_run_add_fast(const te_add_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch) {
    const int8_t *input = op->swapped ? two : one, *other = op->swapped ? one : two;
    const uint32_t other_factor = op->other_factor, other_offset = op->other_offset;
    const uint32_t other_multiplier = op->other_multiplier, other_addend = op->other_addend;
    const uint32_t other_right = op->other_right, input_offset = op->input_offset;
    const uint32_t multiplier = op->multiplier, addend = op->addend, right = op->right;
    int8_t *const start = output;
    const int8_t *const end = output + op->size, *const fours = output + (op->size & ~3);

    (void)scratch;
    while (output != fours) {
        ONE;
        ONE;
        ONE;
        ONE;
    }
    while (output != end)
        ONE;
    te_clamp_all(start, op->size, op->lowest, op->highest);
}
