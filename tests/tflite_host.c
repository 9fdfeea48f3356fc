/* Runs all models of a batch: inputs from stdin, every operator's output to stdout. */

#include <stdio.h>

#include "tflite_batch.h"

void record(uint32_t step, const void *data, uint32_t bytes) {
    (void)step;
    fwrite(data, 1, bytes, stdout);
}

int main(void) {
    uint32_t i, repeat;

    for (i = 0; i < model_count; i++)
        for (repeat = 0; repeat < repeats; repeat++) {
            if (fread(models[i].input(), 1, models[i].bytes, stdin) != models[i].bytes)
                return 1;
            record(0, models[i].run(), models[i].output_bytes);
        }
    return 0;
}
