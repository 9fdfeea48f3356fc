/* TinyEngine kernels: int8 operators of TensorFlow Lite, one in a file, C99.
 *
 * Each takes its description (constant, written by the compiler), its inputs, its output, and
 * scratch memory. No dynamic memory, no floating point, no division in the inner loops. Results are
 * those of TensorFlow Lite's reference kernels on every value. Activations are int8, NHWC.
 */
#ifndef TINYENGINE_H
#define TINYENGINE_H

#include <stdint.h>

/* Sizes of an activation: height, width, channels. */
typedef struct {
    int32_t height, width, channels;
} te_shape;

/* Where a window of height x width goes over the input. Padding counts as the zero point. */
typedef struct {
    int32_t height, width, stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left;
} te_window;

/* From int32 accumulators to int8: of channel c,
 *     clamp(rounding_shift(doubling_high_multiply(acc << left, multipliers[c]), right)
 *           + zero_point, lowest, highest)
 * with left = max(0, shifts[c]) and right = max(0, -shifts[c]); the product saturates and both steps
 * round, as in gemmlowp. */
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

typedef struct {
    te_shape input, output;
    te_window window;
    int32_t lowest, highest;
} te_average_pool_2d;

void te_run_conv_2d(const te_conv_2d *op, const int8_t *input, int8_t *output, void *scratch);
void te_run_depthwise_conv_2d(const te_depthwise_conv_2d *op, const int8_t *input, int8_t *output,
                              void *scratch);
void te_run_fully_connected(const te_fully_connected *op, const int8_t *input, int8_t *output,
                            void *scratch);
void te_run_average_pool_2d(const te_average_pool_2d *op, const int8_t *input, int8_t *output,
                            void *scratch);

#endif
