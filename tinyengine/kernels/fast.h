/* Kernels for Cortex-M4 and other cores with its DSP extension (simd.h), beside those of
 * tinyengine.h: the same results from fewer instructions, under conditions that
 * tinyengine/packing.py proves from the weights. It also writes the records they read.
 *
 * What an activation cuts off inside of int8 is cut off in the end, in a pass of its own that is
 * left out where lowest is -128 and highest 127. Scratch memory starts at a multiple of 4.
 */
#ifndef TINYENGINE_FAST_H
#define TINYENGINE_FAST_H

#include "relu_shift.h"
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
    int32_t lowest, highest;
} te_conv_2d_pairs;

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch);

/* Depthwise convolution with multiplier 1, stride_x 1 or 2, no dilation, a window of at most 8
 * rows. The output may be the input's memory where it is no higher and no wider. plane_words:
 * of a row of a channel in scratch. window_words, record_words: of a row of a window, of a channel.
 */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point, plane_words, window_words, record_words;
    te_rounding rounding;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_planes;

void te_run_depthwise_conv_2d_planes(const te_depthwise_conv_2d_planes *op, const int8_t *input,
                                     int8_t *output, void *scratch);

/* Four outputs at a time; what is not there of the last four has weights 0. records: for each four
 * biases, words of weights for two inputs of outputs 0, 1 and of 2, 3, requantisations. */
typedef struct {
    int32_t rows, inputs, outputs;
    te_rounding rounding;
    const uint32_t *records;
    int32_t lowest, highest;
} te_fully_connected_pairs;

void te_run_fully_connected_pairs(const te_fully_connected_pairs *op, const int8_t *input,
                                  int8_t *output, void *scratch);

/* input + other, of `size` values; `input` is the one with the larger scale. The output may be the
 * memory of either. */
typedef struct {
    int32_t size, swapped;
    uint32_t other_factor, other_offset, other_multiplier, other_addend, other_right;
    uint32_t input_offset, multiplier, addend, right;
    int32_t lowest, highest;
} te_add_fast;

void te_run_add_fast(const te_add_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch);

#endif
