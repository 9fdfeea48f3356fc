/* Kernels for Cortex-M4 and other cores with its DSP extension (simd.h), beside those of
 * tinyengine.h: the same results from fewer instructions, under conditions that
 * tinyengine/packing.py proves from the weights. It also writes the records they read.
 *
 * What an activation cuts off inside of int8 is cut off in the end, in a pass of its own that is
 * left out where lowest is -128 and highest 127. Scratch memory starts at a multiple of 4.
 */
#ifndef TINYENGINE_FAST_H
#define TINYENGINE_FAST_H

#include "linear_shift.h"
#include "relu_shift.h"
#include "tinyengine.h"

/* How accumulators become int8. TE_SIGNED holds for every activation. TE_LINEAR is a multiplication
 * and a shift, where tinyengine/linear.py has proven that it gives the same. TE_PARTS: they do not,
 * they are parts of others. TE_RELU is shorter than TE_SIGNED where the activation cuts at the
 * zero point, for then how ties of negative values round does not show. */
typedef enum { TE_LINEAR, TE_SIGNED, TE_PARTS, TE_RELU } te_rounding;

/* Convolution, four output channels at a time (pairs.h), two pixels at a time; _threes is for many
 * pixels, _pixels for one at a time. records: for each four channels, of record_words, what the
 * sums E1 to E3 start with, two words of weights, three of _threes, for each of `steps` steps (two
 * inputs each), and their requantisations: multiplier and addend of each channel, with TE_SIGNED
 * the right shift, too. With TE_PARTS, where sums would leave 24 bits, in _pixels, there are
 * records of all channels for each part, of `steps` each, and of each channel its bias, multiplier,
 * addend and right shift. tiles: of two pixels, whose windows are expanded at once. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point, steps, tiles, parts, record_words;
    te_rounding rounding;
    const uint32_t *records;
    int32_t lowest, highest;
} te_conv_2d_pairs;
typedef te_conv_2d_pairs te_conv_2d_threes;
typedef te_conv_2d_pairs te_conv_2d_pixels;

void te_run_conv_2d_pairs(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                          void *scratch);
void te_run_conv_2d_threes(const te_conv_2d_threes *op, const int8_t *input, int8_t *output,
                           void *scratch);
void te_run_conv_2d_pixels(const te_conv_2d_pixels *op, const int8_t *input, int8_t *output,
                           void *scratch);

/* Convolution of 3x3 with stride 1 by Winograd's F(4x4, 3x3). weights: for each pair of output
 * channels U as conv_2d_winograd.c has it where they are transformed, else for each two inputs nine
 * words of a tap of both inputs and outputs. records: for each output channel 36 times its bias,
 * the inverse of 9 shifted left, multiplier, addend, right shift. */
typedef struct {
    te_shape input, output;
    int32_t pad_top, pad_left, input_zero_point, transformed;
    te_rounding rounding;
    const uint32_t *weights, *records;
    int32_t lowest, highest;
} te_conv_2d_winograd;

void te_run_conv_2d_winograd(const te_conv_2d_winograd *op, const int8_t *input, int8_t *output,
                             void *scratch);

/* A convolution that is a part of a larger operator: from `part.input.channels` of the input's
 * channels, from first_channel on, to `rows` rows of pixels that lie apart in the output, from
 * `first` on. part.output.height: rows at a time; used: bytes of scratch that `part` works in. */
typedef struct {
    te_conv_2d_pairs part;
    int32_t rows, input_channels, first_channel, first, row_stride, pixel_stride, used;
} te_conv_2d_part;

void te_run_conv_2d_part(const te_conv_2d_part *op, const int8_t *input, int8_t *output,
                         void *scratch);

/* Depthwise convolution with a window of 3x3, stride 1 or 2 in both directions. The output may be
 * the input's memory where it is no higher and no wider, and the multiplier 1. exchanged: whether
 * heights and widths are, which may be where input and output are of one size. plane_words: of
 * scratch. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t multiplier, exchanged, input_zero_point, plane_words;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_3x3;

void te_run_depthwise_conv_2d_3x3(const te_depthwise_conv_2d_3x3 *op, const int8_t *input,
                                  int8_t *output, void *scratch);

/* Depthwise convolution with a window of 3x3, stride 1 and padding all around, of an image three to
 * six rows high and at least four channels. The output may be the input's memory. exchanged: as
 * above. */
typedef struct {
    te_shape shape;
    int32_t exchanged, input_zero_point;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_low;

void te_run_depthwise_conv_2d_low(const te_depthwise_conv_2d_low *op, const int8_t *input,
                                  int8_t *output, void *scratch);

/* Depthwise convolution with a window of five or seven rows, stride_y 1 or 2, no dilation, of at
 * least four channels and three rows of the output. The output may be the input's memory where it
 * is no higher and no wider. pairs: of rows that are kept of four channels. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point, pairs;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_columns;

void te_run_depthwise_conv_2d_columns(const te_depthwise_conv_2d_columns *op, const int8_t *input,
                                      int8_t *output, void *scratch);

/* Depthwise convolution with stride_x 1 or 2, no dilation. The output may be the input's memory
 * where it is no higher and no wider, and the multiplier 1. Of each channel kept_rows rows are in
 * scratch, of plane_words each: those of the input or of the window. A row of the window is
 * row_runs runs of run_words words of weights, 2 to 4. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t multiplier, input_zero_point, kept_rows, plane_words, run_words, row_runs;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_planes;

void te_run_depthwise_conv_2d_planes(const te_depthwise_conv_2d_planes *op, const int8_t *input,
                                     int8_t *output, void *scratch);

/* As te_run_max_pool_2d, of at least 4 channels. */
typedef te_max_pool_2d te_max_pool_2d_fast;

void te_run_max_pool_2d_fast(const te_max_pool_2d_fast *op, const int8_t *input, int8_t *output,
                             void *scratch);

/* As te_run_average_pool_2d, of windows of at most 256 values. */
typedef te_average_pool_2d te_average_pool_2d_fast;

void te_run_average_pool_2d_fast(const te_average_pool_2d_fast *op, const int8_t *input,
                                 int8_t *output, void *scratch);

/* Of each channel the sum over all pixels of a row, less offset, times a te_scale. row_stride,
 * stride: of the output, behind a row and a channel. addend: half of 2^right, with the output's
 * zero point; ties: -1, or 0 where right is 0. */
typedef struct {
    int32_t rows, pixels, channels, row_stride, stride, offset;
    uint32_t multiplier, addend, right, ties;
} te_mean_fast;

void te_run_mean_fast(const te_mean_fast *op, const int8_t *input, int8_t *output, void *scratch);

/* Of each channel, at least 4 of them, the largest of all pixels of a row. */
typedef struct {
    int32_t rows, pixels, channels;
} te_reduce_max_fast;
typedef te_reduce_max_fast te_reduce_min_fast;

void te_run_reduce_max_fast(const te_reduce_max_fast *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_reduce_min_fast(const te_reduce_min_fast *op, const int8_t *input, int8_t *output,
                            void *scratch);

/* Depthwise convolution with multiplier 1, four channels and more, any window. weights as of
 * te_depthwise_conv_2d; records: of each channel twice its bias and its requantisation. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point;
    const int8_t *weights;
    const uint32_t *records;
    int32_t lowest, highest;
} te_depthwise_conv_2d_taps;

void te_run_depthwise_conv_2d_taps(const te_depthwise_conv_2d_taps *op, const int8_t *input,
                                   int8_t *output, void *scratch);

/* Kernels of two operands take rows of `size` values; behind a row an operand moves on by its jump,
 * or back. swapped: whether input is the second one, other the first. The output may be the memory
 * of an operand that has its size. */

/* input + other, or their difference: floor((input * factor * 2^-8 + other * other_factor * 2^-8 +
 * offset) * 2^-16) - 128, each product rounded down. other_fixed: whether other is one value for
 * all of a row. */
typedef struct {
    int32_t rows, size, input_jump, other_jump, swapped, other_fixed;
    uint32_t factor, other_factor, offset;
    int32_t lowest, highest;
} te_sum_linear;

void te_run_sum_linear(const te_sum_linear *op, const int8_t *one, const int8_t *two,
                       int8_t *output, void *scratch);

/* input + other, either of which may be one value for a row, with a step of 0, not 1, or is
 * subtracted; input is the one with the larger scale. input_factor: 2^19, or that less than 0;
 * other_sign: 1 or -1. */
typedef struct {
    int32_t rows, size, input_jump, other_jump, swapped;
    uint32_t other_factor, other_offset, other_multiplier, other_addend, other_right;
    uint32_t input_offset, multiplier, addend, right;
    int32_t lowest, highest, input_step, other_step;
    uint32_t input_factor, other_sign;
} te_sum_fast;

void te_run_sum_fast(const te_sum_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch);

/* (one - two)^2; input_factor: 2^6. */
typedef te_sum_fast te_squared_difference_fast;

void te_run_squared_difference_fast(const te_squared_difference_fast *op, const int8_t *one,
                                    const int8_t *two, int8_t *output, void *scratch);

/* input * other: floor((product * factor * 2^-18 + offset) * 2^-16) - 128, the first product with
 * factor rounded down. Else as te_mul_fast. */
typedef struct {
    int32_t rows, size, input_jump, other_jump, swapped, other_fixed;
    int32_t input_zero_point, other_zero_point;
    uint32_t factor, offset;
    int32_t lowest, highest;
} te_mul_linear;

void te_run_mul_linear(const te_mul_linear *op, const int8_t *one, const int8_t *two,
                       int8_t *output, void *scratch);

/* input * other. other_fixed: whether other is one value for all of a row. */
typedef struct {
    int32_t rows, size, input_jump, other_jump, swapped, other_fixed;
    int32_t input_zero_point, other_zero_point;
    uint32_t multiplier, addend, right;
    int32_t lowest, highest;
} te_mul_fast;

void te_run_mul_fast(const te_mul_fast *op, const int8_t *one, const int8_t *two, int8_t *output,
                     void *scratch);

/* The larger one of input and other. other_fixed: whether other is one value for all of a row. */
typedef struct {
    int32_t rows, size, input_jump, other_jump, swapped, other_fixed;
} te_maximum_fast;
typedef te_maximum_fast te_minimum_fast;

void te_run_maximum_fast(const te_maximum_fast *op, const int8_t *one, const int8_t *two,
                         int8_t *output, void *scratch);
void te_run_minimum_fast(const te_minimum_fast *op, const int8_t *one, const int8_t *two,
                         int8_t *output, void *scratch);

/* positive: the outputs of inputs from their zero point on. */
typedef struct {
    int32_t rows, size, alpha_jump, input_zero_point, alpha_zero_point;
    uint32_t multiplier, addend, right;
    const int8_t *positive;
} te_prelu_fast;

void te_run_prelu_fast(const te_prelu_fast *op, const int8_t *input, const int8_t *alpha,
                       int8_t *output, void *scratch);

/* exponentials: of each difference to the largest value of a row, from 0 on, Q0.31. Of the
 * `entries` and beyond, they are too small to count. The output may be the input's memory. */
typedef struct {
    int32_t rows, size, entries;
    const int32_t *exponentials;
} te_softmax_fast;

void te_run_softmax_fast(const te_softmax_fast *op, const int8_t *input, int8_t *output,
                         void *scratch);

/* The same of the logarithm. */
typedef struct {
    te_log_softmax log;
    int32_t entries;
    const int32_t *exponentials;
} te_log_softmax_fast;

void te_run_log_softmax_fast(const te_log_softmax_fast *op, const int8_t *input, int8_t *output,
                             void *scratch);

/* A te_scale of sums. half: of 2^right, 0 where right is 0; left: one more than the shift. */
typedef struct {
    uint32_t multiplier, half, left, right;
} te_sum_scale;

/* As te_quantize_int16, of factors below 2^14. */
typedef struct {
    int32_t size, input_zero_point, output_zero_point, output_bytes;
    te_sum_scale scale;
} te_quantize_int16_fast;

void te_run_quantize_int16_fast(const te_quantize_int16_fast *op, const int16_t *input,
                                void *output, void *scratch);

enum { TE_SUMS = 1073741696 }; /* 2^30 - 128, where sums of outputs are cut off */

/* features: for each four filters, with zeros for those that are not there, what their sums begin
 * with, and for each four inputs a word of weights of each. times: as of te_svdf; bias: with the
 * state's zero point in it, and 0 behind the last one. */
typedef struct {
    int32_t inputs, units, rank, memory, state_zero_point, output_zero_point, wide;
    const uint32_t *features;
    const void *times;
    const int32_t *bias;
    te_sum_scale state_scale, output_scale;
} te_svdf_fast;

void te_run_svdf_fast(const te_svdf_fast *op, const int8_t *input, void *state, int8_t *output,
                      void *scratch);

/* As te_unidirectional_sequence_lstm. weights: for each cell the biases for input and state, then
 * for each four of the inputs, and of the state, a word of weights of each gate. Gates: forget,
 * cell, output, input. */
typedef struct {
    int32_t steps, inputs, cells, coupled;
    const uint32_t *weights;
    te_sum_scale input_scales[4], state_scales[4];
    int32_t cell_bits, cell_limit, output_zero_point;
    te_sum_scale output_scale;
} te_unidirectional_sequence_lstm_fast;

void te_run_unidirectional_sequence_lstm_fast(const te_unidirectional_sequence_lstm_fast *op,
                                              const int8_t *input, int8_t *state, int16_t *cells,
                                              int8_t *output, void *scratch);

#endif
