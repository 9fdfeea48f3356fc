/* Runs a compiled model on inputs from stdin and writes, for each, the output of every operator and
 * of the model to stdout. Memory that the plan says is free is filled with noise before each
 * operator, so that a mistake in the plan changes values. Compiled with the generated model.c, and
 * harness_plan.h. */

#include <stdio.h>
#include <stdlib.h>

#include "harness_plan.h"

static uint32_t noise = 1;

/* Noise in all bytes of the arena that are not in the `count` ranges, which ascend. */
static void poison(const Range *range, uint32_t count) {
    int8_t *arena = HARNESS_ARENA;
    uint32_t byte;

    for (byte = 0; byte < HARNESS_BYTES; byte++) {
        while (count > 0 && byte >= range->end) {
            range++;
            count--;
        }
        if (count == 0 || byte < range->start) {
            noise = noise * 1664525u + 1013904223u;
            arena[byte] = (int8_t)(noise >> 24);
        }
    }
}

void harness_trace(uint32_t step, const int8_t *output, uint32_t bytes) {
    if (fwrite(output, 1, bytes, stdout) != bytes)
        exit(1);
    poison(live_after[step], live_counts[step]);
}

int main(void) {
    static int8_t input[HARNESS_INPUT];
    const int8_t *output;
    uint32_t i;

    while (fread(input, 1, sizeof input, stdin) == sizeof input) {
        poison(0, 0);
        for (i = 0; i < sizeof input; i++)
            HARNESS_MODEL_INPUT()[i] = input[i];
        output = HARNESS_RUN();
        if (fwrite(output, 1, HARNESS_OUTPUT, stdout) != HARNESS_OUTPUT)
            return 1;
    }
    return 0;
}
