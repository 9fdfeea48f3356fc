/* Runs networks that come in on standard input, layer by layer, and writes what each step
 * writes: accumulators, activations and shift. Every buffer is allocated at its exact size, so that
 * AddressSanitizer sees any access past it.
 *
 * KERNELS and KERNELS_BY_INPUT list the kernels; the input counts them in order. */

#include <stdio.h>
#include <stdlib.h>

#include "BitNetMCU_inference.h"

static BitNetMCU_fc *const by_output[] = {KERNELS};
static BitNetMCU_fc_by_input *const by_input[] = {KERNELS_BY_INPUT};

enum { SHIFTNORM = 99 };
enum { KERNELS_BY_OUTPUT = sizeof by_output / sizeof *by_output };

typedef struct {
    uint32_t kernel, offset, inputs, outputs, words, has_surplus, has_factors;
    uint32_t highest;     /* activation behind it; 0 if it is the last */
    uint32_t fixed_shift; /* SHIFTNORM if it is not fixed */
} Layer;

static void *read_array(size_t size, size_t count) {
    void *array = malloc(size * count > 0 ? size * count : 1);

    if (!array || fread(array, size, count, stdin) != count) {
        fprintf(stderr, "the input ends too early\n");
        exit(2);
    }
    return array;
}

/* Replaces *activations by those of the next layer and writes the layer's value. */
static void run_layer(const Layer *layer, const uint32_t *weights, const int32_t *surplus,
                      const uint8_t *factors, int8_t **activations) {
    int32_t *accumulators = malloc(layer->outputs * sizeof *accumulators);
    uint32_t shift = 0;

    if (layer->kernel < KERNELS_BY_OUTPUT)
        by_output[layer->kernel](*activations, weights, layer->inputs, layer->outputs,
                                 accumulators);
    else
        by_input[layer->kernel - KERNELS_BY_OUTPUT](*activations, (int32_t)layer->offset, weights,
                                                    layer->inputs, layer->outputs, accumulators);
    if (layer->has_surplus)
        BitNetMCU_subtract(accumulators, layer->outputs, surplus);
    if (layer->has_factors)
        BitNetMCU_scale(accumulators, layer->outputs, factors);
    free(*activations);
    *activations = malloc(layer->outputs);
    if (layer->highest && layer->fixed_shift == SHIFTNORM)
        shift =
            BitNetMCU_shiftnorm_relu(accumulators, layer->outputs, *activations, layer->highest);
    else if (layer->highest)
        BitNetMCU_fixed_shift_relu(accumulators, layer->outputs, *activations, layer->fixed_shift,
                                   layer->highest);
    fwrite(accumulators, sizeof *accumulators, layer->outputs, stdout);
    if (layer->highest) {
        fwrite(*activations, 1, layer->outputs, stdout);
        if (layer->fixed_shift == SHIFTNORM)
            fwrite(&shift, sizeof shift, 1, stdout);
    }
    free(accumulators);
}

static void run_network(uint32_t layers, uint32_t images) {
    Layer *layer = read_array(sizeof *layer, layers);
    uint32_t **weights = malloc(layers * sizeof *weights);
    int32_t **surplus = malloc(layers * sizeof *surplus);
    uint8_t **factors = malloc(layers * sizeof *factors);
    uint32_t i;

    for (i = 0; i < layers; i++) {
        weights[i] = read_array(sizeof **weights, layer[i].words);
        surplus[i] = read_array(sizeof **surplus, layer[i].has_surplus * layer[i].outputs);
        factors[i] = read_array(sizeof **factors, layer[i].has_factors * layer[i].outputs);
    }
    for (; images > 0; images--) {
        int8_t *activations = read_array(1, layer[0].inputs);

        for (i = 0; i < layers; i++)
            run_layer(&layer[i], weights[i], surplus[i], factors[i], &activations);
        free(activations);
    }
    for (i = 0; i < layers; i++) {
        free(weights[i]);
        free(surplus[i]);
        free(factors[i]);
    }
    free(weights);
    free(surplus);
    free(factors);
    free(layer);
}

int main(void) {
    uint32_t sizes[2]; /* layers, images */

    while (fread(sizes, sizeof *sizes, 2, stdin) == 2) {
        run_network(sizes[0], sizes[1]);
        fflush(stdout); /* so that what is missing after a crash is this network's */
    }
    return 0;
}
