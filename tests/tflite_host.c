/* Runs all models of a batch: inputs from stdin, every operator's output to stdout. */

#include <stdio.h>

#include "tflite_batch.h"

void record(uint32_t step, const void *data, uint32_t bytes) {
    (void)step;
    fwrite(data, 1, bytes, stdout);
}

int main(void) {
    void *inputs[MOST];
    const void *outputs[MOST];
    const Model *model;
    uint32_t repeat, i;

    for (model = models; model < models + model_count; model++)
        for (repeat = 0; repeat < repeats; repeat++) {
            model->inputs(inputs);
            for (i = 0; i < model->input_count; i++)
                if (fread(inputs[i], 1, model->input_bytes[i], stdin) != model->input_bytes[i])
                    return 1;
            model->outputs(outputs);
            for (i = 0; i < model->output_count; i++)
                record(0, outputs[i], model->output_bytes[i]);
        }
    return 0;
}
