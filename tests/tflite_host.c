/* Runs all models of a batch: inputs from stdin, every operator's output to stdout. */

#include <stdio.h>

#include "tflite_batch.h"

void harness_trace(uint32_t step, const int8_t *output, uint32_t bytes) {
    (void)step;
    fwrite(output, 1, bytes, stdout);
}

int main(void) {
    uint32_t i, repeat;

    for (i = 0; i < model_count; i++)
        for (repeat = 0; repeat < repeats; repeat++) {
            if (fread(models[i].input(), 1, models[i].bytes, stdin) != models[i].bytes)
                return 1;
            harness_trace(0, models[i].run(), models[i].output_bytes);
        }
    return 0;
}
