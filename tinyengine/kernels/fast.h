/* Kernels for Cortex-M4 and other cores with its DSP extension (simd.h), beside those of
 * tinyengine.h: the same results from fewer instructions, under conditions that
 * tinyengine/packing.py proves from the weights. It also writes the records they read.
 *
 * All need lowest = -128, highest = 127. Scratch memory starts at a multiple of 4.
 */
#ifndef TINYENGINE_FAST_H
#define TINYENGINE_FAST_H

#include "tinyengine.h"

/* How accumulators become int8. TE_SIGNED holds for every activation. TE_RELU is shorter where the
 * activation cuts at the zero point, for then how ties of negative values round does not show. */
typedef enum { TE_SIGNED, TE_RELU } te_rounding;

/* Convolution, two output channels at a time. records: for each pair of channels its biases,
 * `steps` words of weights (two inputs of both channels each), and its two requantisations. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point, steps;
    te_rounding rounding;
    const uint32_t *records;
} te_conv_2d_pairs;

/* Bytes of scratch; `steps` is that of the description. */
#define TE_CONV_2D_PAIRS_SCRATCH(steps, window_width, in_channels)                                 \
    (16 * (steps) + 4 * (((window_width) * (in_channels) + 3) & ~3))

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch);

#endif
