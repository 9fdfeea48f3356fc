/* Reads from standard input: counts of channels, raw values, logits of a sample and samples; the
 * map of each channel; the raw values; the logits. Writes the inputs, int8, and the margins,
 * uint32. Buffers have their exact sizes, so that AddressSanitizer sees any access past them. */

#include <stdio.h>
#include <stdlib.h>

#include "BitNetMCU_inference.h"

static void *read_array(size_t size, size_t count) {
    void *array = malloc(size * count);

    if (!array || fread(array, size, count, stdin) != count)
        exit(2);
    return array;
}

int main(void) {
    uint32_t *counts = read_array(sizeof *counts, 4), i;
    BitNetMCU_channel *map = read_array(sizeof *map, counts[0]);
    int32_t *raw = read_array(sizeof *raw, counts[1]);
    int32_t *logits = read_array(sizeof *logits, counts[2] * counts[3]);
    int8_t *inputs = malloc(counts[1]);

    BitNetMCU_map(raw, counts[1], map, counts[0], inputs);
    fwrite(inputs, 1, counts[1], stdout);
    for (i = 0; i < counts[3]; i++) {
        uint32_t margin = BitNetMCU_margin(logits + i * counts[2], counts[2]);

        fwrite(&margin, sizeof margin, 1, stdout);
    }
    free(counts);
    free(map);
    free(raw);
    free(logits);
    free(inputs);
    return 0;
}
