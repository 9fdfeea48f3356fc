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
    uint32_t file = open_file("inputs", 1, 6), deepest = 0, repeat, i;
    void *inputs[MOST];
    const void *outputs[MOST];
    const Model *model;

    results = open_file("results", 5, 7);
    for (model = models; model < models + model_count; model++) {
        uint32_t used;

        paint_stack();
        for (repeat = 0; repeat < repeats; repeat++) {
            model->inputs(inputs);
            for (i = 0; i < model->input_count; i++)
                transfer(SYS_READ, file, inputs[i], model->input_bytes[i]);
            model->outputs(outputs);
            for (i = 0; i < model->output_count; i++)
                record(0, outputs[i], model->output_bytes[i]);
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
