/* DEPTHWISE_CONV_2D, four channels at a time: rows of the input are expanded to int16, one plane
 * per channel, for SMLAD to multiply two neighbours at once. All rows of a small image are kept;
 * else only as many as the window is high, and a row of the output is written when the rows above
 * the next one that is needed have been read. So an output no higher and no wider may take the
 * place of the input. The zero point is taken off when a row is expanded: padding is 0 and rows of
 * it are left out. */

#include "clip.h"
#include "depthwise.h"
#include "fast.h"

/* Rows of the output, of the channels in the records, all of one plane if pitch is 0. runs: for
 * each row, how many bytes of weights there are in front of its first run, then where the columns
 * of each run of the window's words lie, in bytes from those of the first output, then INT32_MIN.
 * row, pixel: from one of the output to the next; pitch: bytes from a channel's planes to the next
 * one's. kind: words of a run less two, and 3 more with stride 2. A record is a requantisation,
 * then the words of weights: with stride 1 each for outputs at even columns of the plane is
 * followed by one for odd columns. planes_m4.S knows it. */
typedef struct {
    const int32_t *runs;
    const uint32_t *planes;
    int8_t *output;
    int32_t rows, row, pixel, width, pitch, kind;
    const uint32_t *records, *records_end;
    int32_t record_bytes;
} te_planes_rows;

#if TE_DSP
void te_planes_run(const te_planes_rows *rows);
#else
static void te_planes_run(const te_planes_rows *rows) {
    const int32_t stride = 1 + rows->kind / 3, words = 2 + rows->kind % 3;
    const uint32_t *record = rows->records, *planes = rows->planes;

    for (int32_t lane = 0; record != rows->records_end; lane++) {
        const int32_t *run = rows->runs;

        for (int32_t y = 0; y < rows->rows; y++) {
            const uint32_t *weights = record + REQUANTISATION + *run++ / 4;
            const int32_t *const first = run;

            for (int32_t x = 0; x < rows->width; x++) {
                const uint32_t *w = weights + (stride == 1 && x % 2);
                uint32_t sum = record[BIAS];

                for (run = first; *run >= 0; run++)
                    for (int32_t i = 0; i < words; i++, w += 3 - stride)
                        sum = te_smlad(planes[*run / 4 + x * stride / 2 + i], *w, sum);
                rows->output[y * rows->row + x * rows->pixel + lane] =
                    te_requantise_depthwise(sum, record);
            }
            run++;
        }
        record += rows->record_bytes / 4, planes += rows->pitch / 4;
    }
}
#endif

/* A row of four planes that are `pitch` int16 apart. lanes: how many channels there are; bytes: of
 * the input from here on. Where four bytes of a pixel are not its own they are in no plane that
 * counts. */
static void expand_row(const te_depthwise_conv_2d_planes *op, const int8_t *row, int16_t *plane,
                       int32_t lanes, int32_t bytes) {
    const int32_t channels = op->input.channels, width = op->input.width;
    const int32_t pitch = channels > 1 ? 2 * op->plane_words : 0; /* there is one plane only */
    const int32_t zero_point = op->input_zero_point;
    const uint32_t offset = te_halves(-zero_point, -zero_point);
    const uint32_t padding = (zero_point & 0xff) * 0x01010101u;
    const int32_t read = te_smaller(width, (bytes - 4) / channels + 1); /* four bytes at a time */
    int32_t x;

    for (x = 0; x + 1 < read; x += 2, row += 2 * channels, plane += 2)
        te_expand_two(plane, pitch, te_load(row), te_load(row + channels), offset);
    if (x + 1 == width && x < read)
        te_expand_two(plane, pitch, te_load(row), padding, offset);
    else
        for (; x < width; x += 2, row += 2 * channels, plane += 2)
            te_expand_two(plane, pitch, te_load_part(row, lanes),
                          x + 1 < width ? te_load_part(row + channels, lanes) : padding, offset);
}

/* Of `lanes` channels of the input, each with several outputs. */
static void run_several(te_planes_rows rows, int32_t lanes, int32_t multiplier) {
    const int32_t pitch = rows.pitch / 4, words = multiplier * rows.record_bytes / 4;

    for (rows.pitch = 0; lanes; lanes--) {
        rows.records_end = rows.records + words;
        te_planes_run(&rows);
        rows.records = rows.records_end, rows.planes += pitch, rows.output += multiplier;
    }
}

void te_run_depthwise_conv_2d_planes(const te_depthwise_conv_2d_planes *op, const int8_t *input,
                                     int8_t *output, void *scratch) {
    const te_shape *in = &op->input, *out = &op->output;
    const int32_t height = op->window.height, parts = op->row_runs, words = op->run_words;
    const int32_t stride = op->window.stride_x, row_bytes = in->width * in->channels;
    const int32_t slot = (in->channels > 1 ? 4 : 1) * op->plane_words; /* of a row */
    const int32_t lanes = te_smaller(in->channels, 4);
    const int32_t weights = 4 * words * parts * (3 - stride); /* bytes of a row of the window */
    const int32_t at_once = op->kept_rows < in->height ? 1 : out->height;
    int32_t *const runs = scratch;
    uint32_t *const planes = (uint32_t *)scratch + at_once * (height * parts + 2);
    te_planes_rows rows = {.runs = runs,
                           .rows = at_once,
                           .row = out->width * out->channels,
                           .pixel = out->channels,
                           .width = out->width,
                           .pitch = 4 * op->plane_words,
                           .kind = words - 2 + 3 * (stride - 1),
                           .records_end = op->records,
                           .record_bytes = 4 * REQUANTISATION + height * weights};

    for (int32_t i = 0; i < op->kept_rows * slot; i++)
        planes[i] = 0;
    for (int32_t channel = 0; channel < in->channels; channel += 4) {
        /* Of the last channels, some are expanded again, as four are read at a time. */
        const int32_t from = te_larger(te_smaller(channel, in->channels - 4), 0);
        const int32_t here = te_smaller(in->channels - channel, 4);
        int32_t next = 0, top = -op->window.pad_top, *run = runs;

        rows.records = rows.records_end;
        rows.records_end += here * op->multiplier * (rows.record_bytes / 4);
        rows.planes = planes + (channel - from) * op->plane_words;
        rows.output = output + channel * op->multiplier;
        for (int32_t y = 0; y < out->height; y++, top += op->window.stride_y) {
            const int32_t first = te_larger(top, 0), last = te_smaller(top + height, in->height);

            for (next = te_larger(next, first); next < last; next++)
                expand_row(op, input + next * row_bytes + from,
                           (int16_t *)(planes + next % op->kept_rows * slot) + op->window.pad_left,
                           lanes, (in->height - next) * row_bytes - from);
            if (at_once == 1 || !channel) {
                *run++ = te_larger(first - top, 0) * weights;
                for (int32_t i = first; i < last; i++)
                    for (int32_t part = 0; part < parts; part++)
                        *run++ = 4 * (i % op->kept_rows * slot + part * words);
                *run++ = INT32_MIN;
            }
            if (at_once > 1 && y + 1 < out->height)
                continue;
            if (op->multiplier == 1)
                te_planes_run(&rows);
            else
                run_several(rows, here, op->multiplier);
            rows.output += rows.row, run = runs;
        }
    }
    te_clamp_all(output, out->height * out->width * out->channels, op->lowest, op->highest);
}
