/* Runs the requantisers on the cases in kernel_cases.h, over other memory and in place, and to
 * halves of words; prints '.' for each case that gives what was expected, 'x' for others. */

#include "chip.h"
#include "kernel_cases.h"

static uint32_t run(const Case *one, const int32_t *accumulators, int8_t *activations) {
    uint32_t shift = one->shift, wrong = 0, k;

    if (one->fixed)
        BitNetMCU_fixed_shift_relu(accumulators, one->count, activations, shift, one->highest);
    else
        shift = BitNetMCU_shiftnorm_relu(accumulators, one->count, activations, one->highest);
    for (k = 0; k < one->count; k++)
        wrong |= activations[k] != one->expected[k];
    return wrong | (shift != one->shift);
}

/* ShiftNorm of the same in int16, over other memory and in place. */
static uint32_t run_16(const Case *one) {
    int16_t narrow[MOST + 1];
    int8_t room[MOST + 8], *const activations = room + 4;
    uint32_t wrong, k;

    for (k = 0; k < MOST + 8; k++)
        room[k] = 99;
    narrow[one->count] = 99;
    BitNetMCU_narrow(one->accumulators, one->count, narrow);
    wrong = narrow[one->count] != 99;
    for (k = 0; k < one->count; k++)
        wrong |= narrow[k] != one->accumulators[k];
    wrong |=
        one->shift != BitNetMCU_shiftnorm_relu_16(narrow, one->count, activations, one->highest);
    wrong |= one->shift !=
             BitNetMCU_shiftnorm_relu_16(narrow, one->count, (int8_t *)narrow, one->highest);
    for (k = 0; k < one->count; k++)
        wrong |= activations[k] != one->expected[k] || ((int8_t *)narrow)[k] != activations[k];
    for (k = 0; k < 4; k++)
        wrong |= room[k] != 99 || activations[one->count + k] != 99;
    return wrong | (narrow[one->count] != 99);
}

/* A constant shift of the same to low halves, then of the same backwards to high ones. */
static uint32_t run_pairs(const Case *one) {
    uint32_t words[MOST + 2], *const pairs = words + 1, wrong = 0, last = one->count - 1, k;
    int32_t backwards[MOST];

    for (k = 0; k < one->count; k++)
        backwards[k] = one->accumulators[last - k];
    for (k = 0; k < MOST + 2; k++)
        words[k] = 0xa5a5a5a5u;
    BitNetMCU_fixed_shift_pairs(one->accumulators, one->count, pairs, one->shift, one->highest, 0);
    for (k = 0; k < one->count; k++)
        wrong |= pairs[k] != (uint32_t)one->expected[k];
    BitNetMCU_fixed_shift_pairs(backwards, one->count, pairs, one->shift, one->highest, 1);
    for (k = 0; k < one->count; k++)
        wrong |= pairs[k] != ((uint32_t)one->expected[last - k] << 16 | (uint32_t)one->expected[k]);
    return wrong | (words[0] != 0xa5a5a5a5u) | (pairs[one->count] != 0xa5a5a5a5u);
}

int main(void) {
    uint32_t i, k;

    chip_init();
    for (i = 0; i < CASES; i++) {
        const Case *one = &cases[i];
        int8_t activations[MOST + 1];
        int32_t accumulators[MOST];
        uint32_t wrong;

        activations[one->count] = 99;
        wrong = run(one, one->accumulators, activations) | (activations[one->count] != 99);
        for (k = 0; k < one->count; k++)
            accumulators[k] = one->accumulators[k];
        wrong |= run(one, accumulators, (int8_t *)accumulators);
        if (one->fits_16 && !one->fixed)
            wrong |= run_16(one);
        if (one->fits_rounded && one->fixed)
            wrong |= run_pairs(one);
        chip_put(wrong ? 'x' : '.');
    }
    for (;;)
        chip_sleep();
}
