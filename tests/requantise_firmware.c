/* Runs the requantisers on the cases in kernel_cases.h, over other memory and in place; prints '.'
 * for each case that gives what was expected, 'x' for others. */

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
    int8_t activations[MOST];
    uint32_t wrong, k;

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
    return wrong | (narrow[one->count] != 99);
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
        chip_put(wrong ? 'x' : '.');
    }
    for (;;)
        chip_sleep();
}
