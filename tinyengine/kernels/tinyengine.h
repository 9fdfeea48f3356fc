/* TinyEngine kernels: int8 operators of TensorFlow Lite, one in a file, C99.
 *
 * Each takes its description (constant, written by the compiler), its inputs, its output, and
 * scratch memory. No dynamic memory, no floating point, no division in the inner loops. Results are
 * those of TensorFlow Lite's reference kernels on every value; of FULLY_CONNECTED, and of SVDF with
 * a state of int8, of TensorFlow Lite Micro's. Activations are int8, NHWC, of a batch of one. The
 * output of te_run_lookup, te_run_softmax and te_run_log_softmax may be their input; that of a
 * kernel of two operands may be one that has its size, and so is repeated nowhere; that of
 * te_run_max_pool_2d and te_run_average_pool_2d may be their input where each pixel of it lies at
 * or in front of the first one that its window reads; others' do not overlap.
 */
#ifndef TINYENGINE_H
#define TINYENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most dimensions of a tensor; descriptions of fewer fill up with sizes of 1. */
enum { TE_RANK = 5 };

/* Sizes of an activation: height, width, channels. */
typedef struct {
    int32_t height, width, channels;
} te_shape;

/* Where a window of height x width goes over the input. Padding counts as the zero point. */
typedef struct {
    int32_t height, width, stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left;
} te_window;

/* A factor of multiplier * 2^(shift - 31): with left = max(0, shift) and right = max(0, -shift),
 *     rounding_shift(doubling_high_multiply(x << left, multiplier), right)
 * where the product saturates and both steps round, as in gemmlowp; see requantise.h. */
typedef struct {
    int32_t multiplier, shift;
} te_scale;

/* From int32 accumulators to int8: of channel c,
 *     clamp(acc * the te_scale {multipliers[c], shifts[c]} + zero_point, lowest, highest) */
typedef struct {
    const int32_t *multipliers;
    const int8_t *shifts;
    int32_t zero_point, lowest, highest;
} te_requantise;

/* weights: [out channels][window height][window width][in channels / groups]; bias: [out channels].
 * Channels lie in `groups` of the same size, and those of the output read those of their group. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t groups, input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    te_requantise requantise;
} te_conv_2d;

/* Pixel (y, x) of the input times the tap in row i and column j of the window adds to pixel
 * (y * stride_y + i - pad_top, x * stride_x + j - pad_left) of the output, if that is there.
 * Weights as of te_conv_2d, without groups; dilations are 1. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    te_requantise requantise;
} te_transpose_conv;

/* weights: [window height][window width][out channels]; out channels = in channels * multiplier,
 * output channel c reads input channel c / multiplier */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t multiplier, input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    te_requantise requantise;
} te_depthwise_conv_2d;

/* weights: [outputs][inputs]; for each of `rows` rows of the input */
typedef struct {
    int32_t rows, inputs, outputs, input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    te_requantise requantise;
} te_fully_connected;

/* The mean of what of the window is inside the input. Dilations are 1. */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t lowest, highest;
} te_average_pool_2d;

/* The largest value of what of the window is inside the input. */
typedef te_average_pool_2d te_max_pool_2d;

/* A dimension of the output of two operands, and how far apart in each of them two neighbours along
 * it are: 0 where one value is for all of it. The last axis is the fastest, its strides 0 or 1. */
typedef struct {
    int32_t size, input_stride, other_stride;
} te_pair_axis;

/* input + other:
 *     each = ((value - its zero point) << left_shift) * its scale
 *     clamp((each input + each other) * output_scale + output_zero_point, lowest, highest) */
typedef struct {
    te_pair_axis axes[TE_RANK];
    int32_t left_shift, input_zero_point, other_zero_point, output_zero_point;
    te_scale input_scale, other_scale, output_scale;
    int32_t lowest, highest;
} te_add;

/* The same of (each input - each other), and of its square. */
typedef te_add te_sub;
typedef te_add te_squared_difference;

/* clamp((input - its zero point) * (other - its zero point) * scale + output_zero_point, lowest,
 * highest) */
typedef struct {
    te_pair_axis axes[TE_RANK];
    int32_t input_zero_point, other_zero_point, output_zero_point;
    te_scale scale;
    int32_t lowest, highest;
} te_mul;

/* Inputs below their zero point are multiplied by alpha, the other operand, as in MUL, with
 * negative_scale; others by positive_scale only. */
typedef struct {
    te_pair_axis axes[TE_RANK];
    int32_t input_zero_point, other_zero_point, output_zero_point;
    te_scale positive_scale, negative_scale;
} te_prelu;

/* The larger one of two values, or the smaller one, whatever their scales are. */
typedef struct {
    te_pair_axis axes[TE_RANK];
} te_maximum;
typedef te_maximum te_minimum;

/* A dimension: its size, and how far apart in the input two neighbours along it are. */
typedef struct {
    int32_t size, stride;
} te_axis;

/* Sums over the axis `run` and all of the `reduced` axes, for each index of the `kept` ones, the
 * last the fastest. scale: with the input's and the output's; of a mean, with 1 / (how many are
 * summed). */
typedef struct {
    te_axis kept[TE_RANK], reduced[TE_RANK], run;
    int32_t input_zero_point, output_zero_point;
    te_scale scale;
} te_mean;

/* The largest value, or the smallest, over the same axes. */
typedef struct {
    te_axis kept[TE_RANK], reduced[TE_RANK], run;
} te_reduce_max;
typedef te_reduce_max te_reduce_min;

/* Of each of `rows` rows of `size` values. input_scale: from a difference of two inputs to the
 * exponent of e, 5.26 bits; differences below lowest_difference count as e to minus infinity.
 * The output's scale is 1/256, its zero point -128. */
typedef struct {
    int32_t rows, size;
    te_scale input_scale;
    int32_t lowest_difference;
} te_softmax;

/* The same to int16: the output's scale is 1/65536, its zero point -32768. */
typedef te_softmax te_softmax_int16;

/* Rows as of te_softmax. difference_scale: from Q5.26 back to a difference of two inputs. The
 * output's scale is 1/16, its zero point 127. */
typedef struct {
    te_softmax softmax;
    te_scale difference_scale;
} te_log_softmax;

/* Of each of `size` bytes, int8 or uint8, what `table` has at its bits. */
typedef struct {
    int32_t size;
    const uint8_t *table; /* [256] */
} te_lookup;

/* A dimension of `size`, and how many of the value come before and after it. */
typedef struct {
    int32_t size, before, after;
} te_padded_axis;

typedef struct {
    te_padded_axis axes[TE_RANK];
    int8_t value;
} te_pad;

/* `rows` rows of contiguous `bytes`, and how far apart they are. */
typedef struct {
    int32_t rows, bytes, input_stride, output_stride;
} te_copy_rows;

/* A dimension of `size` of the output: what is at index i of it is at places[i] * stride of the
 * input, or at i * stride where places are 0. */
typedef struct {
    int32_t size, stride;
    const int16_t *places;
} te_gathered_axis;

/* The last axis is the fastest. */
typedef struct {
    te_gathered_axis axes[TE_RANK];
} te_gather;

/* A pixel of the output with index i lies at (i * step + start) / 1024 of the input, or at the edge
 * where that is outside. */
typedef struct {
    int32_t step, start;
} te_resized_axis;

/* The mean of the four pixels around that place, weighted by how near they are. */
typedef struct {
    te_shape input, output;
    te_resized_axis y, x;
} te_resize_bilinear;

/* Each of units * rank filters makes one feature of an input, and keeps `memory` of them; a unit
 * sums up those of `rank` filters. features: [filters][inputs]; times: [filters][memory], of the
 * type of the state: int16 if wide, else int8; bias: [units]. */
typedef struct {
    int32_t inputs, units, rank, memory, wide;
    int32_t input_zero_point, state_zero_point, output_zero_point;
    const int8_t *features;
    const void *times;
    const int32_t *bias;
    te_scale state_scale, output_scale;
} te_svdf;

/* Of each cell its weights and biases, with the zero points in them, for the input and for the last
 * output. Both sums are scaled to 3.12 bits. */
typedef struct {
    const int8_t *input_weights;
    const int32_t *input_bias;
    te_scale input_scale;
    const int8_t *state_weights;
    const int32_t *state_bias;
    te_scale state_scale;
} te_lstm_gate;

/* A sequence of `steps` inputs. The state is the last output; cells keep values of cell_bits
 * integer bits, up to cell_limit of either sign. coupled: the input gate is 1 less the forget
 * gate, and its description is not read. */
typedef struct {
    int32_t steps, inputs, cells, coupled;
    te_lstm_gate input_gate, forget_gate, cell_gate, output_gate;
    int32_t cell_bits, cell_limit, output_zero_point;
    te_scale output_scale;
} te_unidirectional_sequence_lstm;

/* From int16 to values of output_bytes: int8, int16 or int32. The output may be the input's memory
 * unless it is int32. */
typedef struct {
    int32_t size, input_zero_point, output_zero_point, output_bytes;
    te_scale scale;
} te_quantize_int16;

void te_run_conv_2d(const te_conv_2d *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_transpose_conv(const te_transpose_conv *op, const int8_t *input, int8_t *output,
                           void *scratch);
void te_run_depthwise_conv_2d(const te_depthwise_conv_2d *op, const int8_t *input, int8_t *output,
                              void *scratch);
void te_run_fully_connected(const te_fully_connected *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_average_pool_2d(const te_average_pool_2d *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_add(const te_add *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch);
void te_run_sub(const te_sub *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch);
void te_run_squared_difference(const te_squared_difference *op, const int8_t *input,
                               const int8_t *other, int8_t *output, void *scratch);
void te_run_mul(const te_mul *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch);
void te_run_prelu(const te_prelu *op, const int8_t *input, const int8_t *alpha, int8_t *output,
                  void *scratch);
void te_run_maximum(const te_maximum *op, const int8_t *input, const int8_t *other, int8_t *output,
                    void *scratch);
void te_run_minimum(const te_minimum *op, const int8_t *input, const int8_t *other, int8_t *output,
                    void *scratch);
void te_run_max_pool_2d(const te_max_pool_2d *op, const int8_t *input, int8_t *output,
                        void *scratch);
void te_run_mean(const te_mean *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_reduce_max(const te_reduce_max *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_reduce_min(const te_reduce_min *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_softmax(const te_softmax *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_log_softmax(const te_log_softmax *op, const int8_t *input, int8_t *output,
                        void *scratch);
void te_run_lookup(const te_lookup *op, const void *input, void *output, void *scratch);
void te_run_pad(const te_pad *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_copy_rows(const te_copy_rows *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_gather(const te_gather *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_resize_bilinear(const te_resize_bilinear *op, const int8_t *input, int8_t *output,
                            void *scratch);

/* What is neither constant nor called input or output is kept from run to run. */
void te_run_svdf(const te_svdf *op, const int8_t *input, void *state, int8_t *output,
                 void *scratch);
void te_run_unidirectional_sequence_lstm(const te_unidirectional_sequence_lstm *op,
                                         const int8_t *input, int8_t *state, int16_t *cells,
                                         int8_t *output, void *scratch);
void te_run_softmax_int16(const te_softmax_int16 *op, const int8_t *input, int16_t *output,
                          void *scratch);
void te_run_quantize_int16(const te_quantize_int16 *op, const int16_t *input, void *output,
                           void *scratch);

#ifdef __cplusplus
}
#endif

#endif
