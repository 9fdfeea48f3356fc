/* A convolution that is a part of a larger operator, by conv_2d_pairs.c: a few rows of its output
 * at a time, from where the pixels go to their places. */

#include "copy.h"
#include "fast.h"

/* Some channels of all pixels, side by side. */
static void take_channels(const te_conv_2d_part *op, const int8_t *input, int8_t *taken) {
    const te_shape *shape = &op->part.input;
    int8_t *const end = taken + shape->height * shape->width * shape->channels;

    input += op->first_channel;
    for (; taken != end; taken += shape->channels, input += op->input_channels)
        te_copy(taken, input, shape->channels);
}

void te_run_conv_2d_part(const te_conv_2d_part *op, const int8_t *input, int8_t *output,
                         void *scratch) {
    te_conv_2d_pairs part = op->part;
    const te_shape *shape = &op->part.output;
    int8_t *rows = (int8_t *)scratch + op->used;
    int32_t y, row, x;

    if (part.input.channels < op->input_channels) {
        take_channels(op, input, rows);
        input = rows;
        rows += part.input.height * part.input.width * part.input.channels;
    }
    for (y = 0; y < op->rows; y += shape->height) {
        if (y > op->rows - shape->height) /* the last ones: some of them again */
            y = op->rows - shape->height;
        part.window.pad_top = op->part.window.pad_top - y * part.window.stride_y;
        te_run_conv_2d_pairs(&part, input, rows, scratch);
        const int8_t *from = rows;
        for (row = y; row < y + shape->height; row++) {
            int8_t *to = output + op->first + row * op->row_stride;
            for (x = 0; x < shape->width; x++, from += shape->channels, to += op->pixel_stride)
                te_copy(to, from, shape->channels);
        }
    }
}
