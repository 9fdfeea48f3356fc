/* TinyEngine kernels: int8 operators of TensorFlow Lite, one in a file, C99.
 *
 * Each takes its description (constant, written by the compiler), its inputs, its output, and
 * scratch memory. No dynamic memory, no floating point, no division in the inner loops. Results are
 * those of TensorFlow Lite's reference kernels on every value; of FULLY_CONNECTED, of TensorFlow
 * Lite Micro's. Activations are int8, NHWC, of a batch of one. The output of te_run_add,
 * te_run_quantize and te_run_softmax may be one of their inputs; others' do not overlap.
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

/* weights: [out channels][window height][window width][in channels]; bias: [out channels] */
typedef struct {
    te_shape input, output;
    te_window window;
    int32_t input_zero_point;
    const int8_t *weights;
    const int32_t *bias;
    te_requantise requantise;
} te_conv_2d;

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

/* input + other, both of `size` values:
 *     each = ((value - its zero point) << left_shift) * its scale
 *     clamp((each input + each other) * output_scale + output_zero_point, lowest, highest) */
typedef struct {
    int32_t size, left_shift, input_zero_point, other_zero_point, output_zero_point;
    te_scale input_scale, other_scale, output_scale;
    int32_t lowest, highest;
} te_add;

/* A dimension: its size, and how far apart in the input two neighbours along it are. */
typedef struct {
    int32_t size, stride;
} te_axis;

/* Means over all of the `reduced` axes, for each index of the `kept` ones, the last the fastest.
 * scale: of 1 / (how many are summed), with the input's and the output's. */
typedef struct {
    te_axis kept[TE_RANK], reduced[TE_RANK];
    int32_t input_zero_point, output_zero_point;
    te_scale scale;
} te_mean;

/* Of each of `rows` rows of `size` values. input_scale: from a difference of two inputs to the
 * exponent of e, 5.26 bits; differences below lowest_difference count as e to minus infinity.
 * The output's scale is 1/256, its zero point -128. */
typedef struct {
    int32_t rows, size;
    te_scale input_scale;
    int32_t lowest_difference;
} te_softmax;

/* From one scale and zero point to another, `size` values. */
typedef struct {
    int32_t size, input_zero_point, output_zero_point;
    te_scale scale;
} te_quantize;

/* A dimension of `size`, and how many of the value come before and after it. */
typedef struct {
    int32_t size, before, after;
} te_padded_axis;

typedef struct {
    te_padded_axis axes[TE_RANK];
    int8_t value;
} te_pad;

/* Copies with strides: axes of the output, the last the fastest, with the input's strides. */
typedef struct {
    te_axis axes[TE_RANK];
} te_transpose;

void te_run_conv_2d(const te_conv_2d *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_depthwise_conv_2d(const te_depthwise_conv_2d *op, const int8_t *input, int8_t *output,
                              void *scratch);
void te_run_fully_connected(const te_fully_connected *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_average_pool_2d(const te_average_pool_2d *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_add(const te_add *op, const int8_t *input, const int8_t *other, int8_t *output,
                void *scratch);
void te_run_mean(const te_mean *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_softmax(const te_softmax *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_quantize(const te_quantize *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_pad(const te_pad *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_transpose(const te_transpose *op, const int8_t *input, int8_t *output, void *scratch);

#ifdef __cplusplus
}
#endif

#endif
