/* Runs BitNetMCU_fixed_shift_max on the cases in kernel_cases.h, over activations from 0 up to the
 * largest; prints '.' for each case that leaves the larger ones, 'x' for others. */

#include "chip.h"
#include "kernel_cases.h"

static uint32_t run(const Case *one) {
    int8_t activations[MOST + 2];
    uint32_t wrong = 0, there = 0, round, k;

    for (round = 0; round < 3; round++) {
        for (k = 0; k < one->count + 2; k++) {
            activations[k] = (int8_t)(round ? there : 0);
            there = there < one->highest ? there + 1 : 0;
        }
        activations[0] = activations[one->count + 1] = 99;
        if (round == 2)
            for (k = 0; k < one->count; k++)
                activations[k + 1] = (int8_t)one->highest;
        there = activations[1];
        BitNetMCU_fixed_shift_max(one->accumulators, one->count, activations + 1, one->shift,
                                  one->highest);
        for (k = 0; k < one->count; k++) {
            int8_t larger = (int8_t)(round == 2 ? one->highest : round ? there : 0);

            there = there < one->highest ? there + 1 : 0;
            if (one->expected[k] > larger)
                larger = one->expected[k];
            wrong |= activations[k + 1] != larger;
        }
        wrong |= activations[0] != 99 || activations[one->count + 1] != 99;
    }
    return wrong;
}

int main(void) {
    uint32_t i;

    chip_init();
    for (i = 0; i < CASES; i++)
        chip_put(run(&cases[i]) ? 'x' : '.');
    for (;;)
        chip_sleep();
}
