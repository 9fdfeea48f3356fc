/* Runs BitNetMCU_shiftnorm_relu on the cases in kernel_cases.h, on a chip; prints '.' for each that
 * gives what was expected, 'x' for others. */

#include "chip.h"
#include "kernel_cases.h"

int main(void) {
    uint32_t i, k;

    chip_init();
    for (i = 0; i < CASES; i++) {
        const Case *one = &cases[i];
        int8_t activations[257];
        uint32_t wrong;

        activations[one->count] = 99;
        wrong = BitNetMCU_shiftnorm_relu(one->accumulators, one->count, activations) != one->shift;
        for (k = 0; k < one->count; k++)
            wrong |= activations[k] != one->expected[k];
        wrong |= activations[one->count] != 99;
        chip_put(wrong ? 'x' : '.');
    }
    for (;;)
        chip_sleep();
}
