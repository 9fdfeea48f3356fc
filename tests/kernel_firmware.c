/* Runs the fully connected kernel KERNEL on the cases in kernel_cases.h, on a chip; prints '.' for
 * each that gives what was expected, 'x' for others. */

#include "chip.h"
#include "kernel_cases.h"

int main(void) {
    uint32_t i, o;

    chip_init();
    for (i = 0; i < CASES; i++) {
        const Case *one = &cases[i];
        int32_t accumulators[256];
        uint32_t wrong = 0;

        KERNEL(one->activations, one->offset, one->rows, one->inputs, one->outputs, accumulators);
        for (o = 0; o < one->outputs; o++)
            wrong |= accumulators[o] != one->expected[o];
        chip_put(wrong ? 'x' : '.');
    }
    for (;;)
        chip_sleep();
}
