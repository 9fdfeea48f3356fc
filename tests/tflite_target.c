/* As tflite_host.c, on a chip: inputs from the file "inputs", outputs to "results"; behind each
 * model's outputs how deep the stack was, and last how deep it was at all. */

#include "chip.h"
#include "cortexm/files.h"
#include "cortexm/stack.h"
#include "tflite_batch.h"

static uint32_t results;

void record(uint32_t step, const void *data, uint32_t bytes) {
    (void)step;
    transfer(SYS_WRITE, results, data, bytes);
}

int main(void) {
    uint32_t inputs = open_file("inputs", 1, 6), deepest = 0, i, repeat;

    results = open_file("results", 5, 7);
    for (i = 0; i < model_count; i++) {
        uint32_t used;

        paint_stack();
        for (repeat = 0; repeat < repeats; repeat++) {
            transfer(SYS_READ, inputs, models[i].input(), models[i].bytes);
            record(0, models[i].run(), models[i].output_bytes);
        }
        used = stack_used();
        transfer(SYS_WRITE, results, &used, sizeof used);
        deepest = used > deepest ? used : deepest;
    }
    transfer(SYS_WRITE, results, &deepest, sizeof deepest);
    semihosting(SYS_CLOSE, (uintptr_t)&results);
    chip_sleep();
    return 0;
}
