/* CONV_2D and FULLY_CONNECTED as a matrix product, LANES output pixels, 1 or 2, by four output
 * channels at a time, with WORDS words of weights, 2 or 3, for each two inputs. These are defined
 * where it is included, so that a firmware has the assembly that it needs.
 *
 * A halfword has the weights of two channels, and a word those of two inputs x: of the channels 0
 * to 3, 256 * w1 + w0 + 128, and 256 * w3 + w2. Their bytes make a third one, 256 * w2 + w1. An
 * SMLAD of each with the activations of two inputs adds up
 *
 *     E1 = 256 * S1 + S0 + 128 * sum(x),  E2 = 256 * S2 + S1,  E3 = 256 * S3 + S2
 *
 * modulo 2^32. E1 starts without its last term, so E1 - 256 * E2 + 65536 * E3 = S0 + 2^24 * S3:
 * this has S0 in its low 24 bits, and is all of it while S0 is less than 2^23. From S0 follow S1,
 * S2 and S3. So three multiplications do what else takes four, and two loads bring eight weights.
 * The 128 is there for w0 to borrow nothing from w1. For many pixels the third word is in the
 * record, too, and the 128 is not.
 *
 * The activations of the pixels are expanded to int16 beforehand, once for all channels, in the
 * order in which the product reads them: of each tile two words that E1 starts with, then for each
 * step a word of either pixel. */

#ifndef TINYENGINE_PAIRS_H
#define TINYENGINE_PAIRS_H

#include "fast.h"
#include "simd.h"

/* Pixels whose windows are expanded, for all records of four channels. pairs_m4.S knows it. */
typedef struct {
    const uint32_t *columns, *columns_end, *records, *records_end;
    int8_t *output;
    int32_t stride, steps, rounding; /* the last one a te_rounding, which may be a byte */
} te_pairs_tile;

#define HEAD 3       /* words of a record in front of its weights */
#define MOST_TILES 8 /* that are expanded at once */

/* Windows side by side in the input, of one or two pixels at a time. source: where each begins;
 * pitch: from row to row; run: bytes of a row; step: to those of the next tile; starts: what E1 of
 * the first tile starts with, so far. pairs_m4.S knows it. */
typedef struct {
    const int8_t *source[2];
    int32_t pitch, run, rows, step, tiles;
    uint32_t *starts;
} te_pairs_windows;

/* Expands a run of a pixel, whose words are `lanes` words apart, and subtracts 128 times its sum
 * from *start where there are two words of weights. Of each four bytes, 0 and 2 are a step, then 1
 * and 3; what is left at the end are one or two. */
static uint32_t *expand_run(uint32_t *columns, int32_t lanes, const int8_t *source, int32_t run,
                            uint32_t *start) {
    const int32_t more = run & 3;
    const int8_t *const end = source + run - more;
    const uint32_t factors = WORDS == 2 ? te_halves(-128, -128) : 0;
    uint32_t sum = *start, even, odd;

    for (; source != end; source += 4, columns += 2 * lanes) {
        even = te_load(source);
        columns[0] = te_sxtb16(even), columns[lanes] = te_sxtb16_ror8(even);
        sum = te_smlad(columns[0], factors, te_smlad(columns[lanes], factors, sum));
    }
    if (more) {
        even = te_load_part(source, more);
        odd = te_sxtb16_ror8(even), even = te_sxtb16(even);
        sum = te_smlad(even, factors, te_smlad(odd, factors, sum));
        *columns = more == 2 ? te_pkhbt(even, odd) : even, columns += lanes;
        if (more == 3)
            *columns = odd, columns += lanes;
    }
    *start = sum;
    return columns;
}

/* The same for all rows of all tiles. columns: of the first one's first step. Returns what is
 * behind all. */
static uint32_t *expand_plain(uint32_t *columns, int32_t lanes, const te_pairs_windows *windows) {
    uint32_t *starts = windows->starts, *end = columns;
    int32_t tile, row, lane;

    for (tile = 0; tile < windows->tiles; tile++) {
        if (tile > 0) {
            starts = columns, columns += lanes;
            memset(starts, 0, (uint32_t)lanes * sizeof *starts);
        }
        for (row = 0; row < windows->rows; row++, columns = end)
            for (lane = 0; lane < lanes; lane++)
                end =
                    expand_run(columns + lane, lanes,
                               windows->source[lane] + tile * windows->step + row * windows->pitch,
                               windows->run, starts + lane) -
                    lane;
    }
    return columns;
}

#if TE_DSP
/* pairs_m4.S */
uint32_t *te_pairs_expand_two(uint32_t *columns, const te_pairs_windows *windows);
uint32_t *te_pairs_expand_three(uint32_t *columns, const te_pairs_windows *windows);
uint32_t *te_pairs_expand_one(uint32_t *columns, const te_pairs_windows *windows);
void te_pairs_two(const te_pairs_tile *tile);
void te_pairs_three(const te_pairs_tile *tile);
void te_pairs_one(const te_pairs_tile *tile);

static uint32_t *expand(uint32_t *columns, int32_t lanes, const te_pairs_windows *windows) {
    if (windows->run < 4)
        return expand_plain(columns, lanes, windows);
    return WORDS == 3                 ? te_pairs_expand_three(columns, windows)
           : LANES == 2 && lanes == 2 ? te_pairs_expand_two(columns, windows)
                                      : te_pairs_expand_one(columns, windows);
}

static void multiply(const te_pairs_tile *tile, int32_t lanes) {
    if (WORDS == 3)
        te_pairs_three(tile);
    else if (LANES == 2 && lanes == 2)
        te_pairs_two(tile);
    else
        te_pairs_one(tile);
}
#else
#define expand expand_plain

/* sum: 2^8 times it; returns the words of a channel behind those read. */
static const uint32_t *requantise(uint32_t sum, const uint32_t *words, int32_t rounding,
                                  int8_t *output) {
    if (rounding == TE_LINEAR) {
        *output = (int8_t)te_ssat8(te_asr(te_smmla(sum, words[0], words[1]), TE_LINEAR_SHIFT));
        return words + 2;
    }
    *output = (int8_t)te_ssat8(te_rounded(te_asr(sum, 7), words[0], words[1], words[2]));
    return words + 3;
}

/* All channels in the records of all tiles in the columns. */
static void multiply(const te_pairs_tile *tile, int32_t pixels) {
    const uint32_t *record = tile->records, *next = record, *columns, *x, *weights;
    int32_t first, i, channel, step;
    uint32_t sums[4], second, last, so_far;
    int8_t *output;

    for (first = 0; record != tile->records_end; record = next, first += 4) {
        output = tile->output + (tile->rounding == TE_PARTS ? 4 * first : first);
        for (columns = tile->columns; columns != tile->columns_end;
             columns += pixels * (1 + tile->steps))
            for (i = 0; i < pixels; i++, output += tile->stride) {
                memcpy(sums + 1, record, sizeof sums - sizeof *sums);
                sums[1] += columns[i];
                weights = record + HEAD, x = columns + pixels + i;
                for (step = 0; step < tile->steps; step++, weights += WORDS, x += pixels) {
                    last = weights[WORDS - 1];
                    second = WORDS == 3 ? weights[1]
                                        : te_sxtab16_ror8(last << 8 & 0xff00ff00u, *weights);
                    sums[1] = te_smlad(*weights, *x, sums[1]);
                    sums[2] = te_smlad(second, *x, sums[2]);
                    sums[3] = te_smlad(last, *x, sums[3]);
                }
                sums[0] = (sums[1] - (sums[2] << 8) + (sums[3] << 16)) << 8;
                for (channel = 1; channel < 4; channel++)
                    sums[channel] -= te_asr(sums[channel - 1], 8);
                for (channel = 0, next = weights; channel < 4; channel++)
                    if (tile->rounding == TE_PARTS) {
                        memcpy(&so_far, output + 4 * channel, sizeof so_far);
                        so_far += te_asr(sums[channel], 8);
                        memcpy(output + 4 * channel, &so_far, sizeof so_far);
                    } else {
                        next = requantise(sums[channel], next, tile->rounding, output + channel);
                    }
            }
    }
}
#endif

/* What is the same for all pixels. Lines and columns of the output have numbers from 0 on: the
 * windows of those from line, column to before lines, columns are inside of the input, and have no
 * gaps in a row. padded: words of a lane that have no inputs. */
typedef struct {
    const te_conv_2d_pairs *op;
    const int8_t *input;
    int32_t line, lines, column, columns, pitch, step, padded;
    int8_t *memory; /* for a row of a window of each lane */
    te_pairs_windows windows;
} te_plan;

/* n / by without dividing, which takes long, where there is no need to. */
static int32_t divided(int32_t n, int32_t by) { return by == 1 || n == 0 ? n : n / by; }

static te_plan plan_of(const te_conv_2d_pairs *op, const int8_t *input, int8_t *memory) {
    const te_window *window = &op->window;
    const int32_t down = op->input.height - 1 - (window->height - 1) * window->dilation_y;
    const int32_t right = op->input.width - window->width;
    const int32_t run = window->width * op->input.channels;
    te_plan plan;

    plan.op = op, plan.input = input, plan.memory = memory;
    plan.line = divided(window->pad_top + window->stride_y - 1, window->stride_y);
    plan.column = divided(window->pad_left + window->stride_x - 1, window->stride_x);
    plan.lines = plan.columns = 0;
    if (down + window->pad_top >= 0 && right + window->pad_left >= 0 && window->dilation_x == 1) {
        plan.lines = divided(down + window->pad_top, window->stride_y) + 1;
        plan.columns = divided(right + window->pad_left, window->stride_x) + 1;
    }
    if (plan.columns > op->output.width)
        plan.columns = op->output.width;
    plan.pitch = op->input.width * op->input.channels;
    plan.step = window->stride_x * op->input.channels;
    plan.windows.pitch = window->dilation_y * plan.pitch, plan.windows.run = run;
    plan.padded = op->steps * op->parts - window->height * ((run >> 2) * 2 + ((run & 3) + 1) / 2);
    return plan;
}

/* A pixel of the output. */
typedef struct {
    int32_t line, column;
} te_place;

static int is_inside(const te_plan *plan, te_place place) {
    return place.line >= plan->line && place.line < plan->lines && place.column >= plan->column &&
           place.column < plan->columns;
}

/* A row of a window that is partly in the padding, or dilated: copied together. row: of the input,
 * or NULL; x: of the window's first column. */
static void gather(const te_conv_2d_pairs *op, const int8_t *row, int32_t x, int8_t *target) {
    const int32_t channels = op->input.channels, dilation = op->window.dilation_x;
    const int8_t *const end = target + op->window.width * channels;
    int32_t i;

    for (; target != end; x += dilation)
        if (row && x >= 0 && x < op->input.width)
            for (i = 0; i < channels; i++)
                *target++ = row[x * channels + i];
        else
            for (i = 0; i < channels; i++)
                *target++ = (int8_t)op->input_zero_point;
}

/* Row y of a window that begins at column x: where it lies, or its copy in memory. */
static const int8_t *row_of(const te_plan *plan, int32_t y, int32_t x, int8_t *memory) {
    const te_conv_2d_pairs *op = plan->op;
    const int8_t *row = y >= 0 && y < op->input.height ? plan->input + y * plan->pitch : NULL;

    if (row && x >= 0 && x + op->window.width <= op->input.width && op->window.dilation_x == 1)
        return row + x * op->input.channels;
    gather(op, row, x, memory);
    return memory;
}

/* Of how many pixels a tile is. With three words of weights it is of two, also where only one is
 * left: then they are the same, and at the same place in the output. */
static int32_t lanes_of(int32_t pixels) { return WORDS == 3 || pixels > 1 ? LANES : 1; }

/* Expands windows of at most so many pixels, from the first place on. Returns of how many. */
static int32_t expand_pixels(te_plan *plan, te_place first, uint32_t *columns, int32_t pixels) {
    const te_window *window = &plan->op->window;
    const int32_t lanes = lanes_of(pixels);
    te_pairs_windows *windows = &plan->windows;
    te_place place[2];
    int32_t y[2], x[2], lane, i, inside = 1;

    place[0] = place[1] = first;
    if (pixels > 1 && ++place[1].column == plan->op->output.width)
        place[1].column = 0, place[1].line++;
    windows->tiles = 1, windows->starts = columns;
    for (lane = 0; lane < lanes; lane++) {
        *columns++ = 0;
        y[lane] = place[lane].line * window->stride_y - window->pad_top;
        x[lane] = place[lane].column * window->stride_x - window->pad_left;
        inside &= is_inside(plan, place[lane]);
    }
    if (inside) {
        for (lane = 0; lane < lanes; lane++)
            windows->source[lane] =
                plan->input + y[lane] * plan->pitch + x[lane] * plan->op->input.channels;
        windows->rows = window->height, windows->step = lanes * plan->step;
        if (place[lanes - 1].line == first.line && !plan->padded) {
            i = plan->columns - first.column;
            windows->tiles = (i < pixels ? i : pixels) >> (lanes - 1);
            windows->tiles += windows->tiles == 0;
        }
        columns = expand(columns, lanes, windows);
    } else {
        windows->rows = 1;
        for (i = 0; i < window->height; i++) {
            for (lane = 0; lane < lanes; lane++, y[lane - 1] += window->dilation_y)
                windows->source[lane] =
                    row_of(plan, y[lane], x[lane], plan->memory + lane * ((windows->run + 3) & ~3));
            columns = expand(columns, lanes, windows);
        }
    }
    for (i = lanes * plan->padded; i > 0; i--)
        *columns++ = 0;
    return pixels == 1 ? 1 : lanes * windows->tiles;
}

/* All channels of the pixels of a tile's columns. Of each four there is a record. The last one is
 * that of the last four, of which the one in front of it may have some, too; of less than four
 * channels it has others that are not there. */
static void multiply_all(const te_conv_2d_pairs *op, te_pairs_tile *tile, int32_t pixels,
                         int8_t *output) {
    const int32_t lanes = lanes_of(pixels), channels = op->output.channels;
    int8_t few[2 * MOST_TILES * 4];
    int32_t i;

    tile->records = op->records;
    tile->records_end = tile->records + channels / 4 * op->record_words;
    tile->output = output, tile->stride = pixels < lanes ? 0 : channels;
    if (channels >= 4)
        multiply(tile, lanes);
    if (channels % 4) {
        tile->records = tile->records_end, tile->records_end += op->record_words;
        tile->output = output + channels - 4;
        if (channels < 4)
            tile->output = few, tile->stride = pixels < lanes ? 0 : 4;
        multiply(tile, lanes);
        for (i = 0; channels < 4 && i < pixels; i++)
            memcpy(output + i * channels, few + 4 * i, (uint32_t)channels);
    }
}

/* Part of a window that is one run in the input, expanded; then zeros. */
static void expand_part(te_plan *plan, te_place place, int32_t part, uint32_t *columns) {
    const te_conv_2d_pairs *op = plan->op;
    const int32_t most = 2 * op->steps, left = op->window.width * op->input.channels - part * most;
    te_pairs_windows windows = {{NULL, NULL}, 0, left < most ? left : most, 1, 0, 1, columns};
    uint32_t *end = columns + 1, *const behind = columns + 1 + op->steps;

    *columns = 0;
    windows.source[0] = plan->input + place.line * op->window.stride_y * plan->pitch +
                        place.column * plan->step + part * most;
    if (left > 0)
        end = expand(end, 1, &windows);
    while (end != behind)
        *end++ = 0;
}

/* The pixel at place, whose sums may leave 24 bits: those of each part of its steps do not. Of
 * windows that are one run, columns are for a part; else for all, of which each begins with the
 * last word of the one in front, no longer needed. sums: of all channels, and up to a multiple
 * of 4. */
static void run_in_parts(te_plan *plan, te_place place, uint32_t *columns, uint32_t *sums,
                         int8_t *output) {
    const te_conv_2d_pairs *op = plan->op;
    const int32_t channels = op->output.channels, words = (channels + 3) / 4 * op->record_words;
    const uint32_t *record = op->records + op->parts * words; /* of a channel */
    const int one_run = op->window.height == 1 && plan->line + plan->column == 0 &&
                        plan->lines >= op->output.height && plan->columns == op->output.width;
    te_pairs_tile tile = {columns, NULL, op->records, NULL, (int8_t *)sums, 0, op->steps, TE_PARTS};
    int32_t part, i;

    for (i = 0; i < channels; i++)
        sums[i] = record[4 * i];
    for (; i & 3; i++)
        sums[i] = 0;
    if (!one_run)
        expand_pixels(plan, place, columns, 1);
    for (part = 0; part < op->parts; part++) {
        if (one_run) {
            expand_part(plan, place, part, columns);
        } else {
            for (i = 1, *columns = 0; i <= op->steps; i++)
                *columns = te_smlad(columns[i], te_halves(-128, -128), *columns);
        }
        tile.columns = columns, tile.columns_end = columns + 1 + op->steps;
        tile.records_end = tile.records + words;
        multiply(&tile, 1);
        tile.records = tile.records_end;
        columns += one_run ? 0 : op->steps;
    }
    for (i = 0; i < channels; i++, record += 4) /* bias, multiplier, addend, right shift */
        output[i] = (int8_t)te_ssat8(te_rounded(2 * sums[i], record[1], record[2], record[3]));
}

/* Behind a number of pixels. */
static te_place moved(te_place place, int32_t pixels, int32_t width) {
    for (place.column += pixels; place.column >= width; place.line++)
        place.column -= width;
    return place;
}

static void te_run_product(const te_conv_2d_pairs *op, const int8_t *input, int8_t *output,
                           void *scratch) {
    const int32_t width = op->output.width, pixels = op->output.height * width;
    const int32_t channels = op->output.channels;
    const int32_t words = 1 + op->steps * op->parts; /* of a pixel */
    const int32_t most = LANES == 1 ? 1 : 2 * op->tiles;
    const int32_t sums = LANES == 1 && op->rounding == TE_PARTS ? (channels + 3) & ~3 : 0;
    uint32_t *const base = (uint32_t *)scratch + sums, *end;
    int8_t *const memory = (int8_t *)(base + (pixels < most ? pixels : most) * words);
    te_plan plan = plan_of(op, input, memory);
    te_pairs_tile tile = {base, NULL, NULL, NULL, NULL, 0, op->steps, op->rounding};
    int32_t left, at_once, lanes, done, i;
    te_place place = {0, 0};

    for (left = pixels; left; left -= at_once, output += at_once * channels) {
        at_once = left < most ? left : most;
        at_once -= at_once > 1 ? at_once % 2 : 0; /* an odd one by itself */
        if (LANES == 1 && sums) {
            run_in_parts(&plan, place, base, scratch, output);
            place = moved(place, 1, width);
            continue;
        }
        lanes = lanes_of(at_once);
        for (end = base, i = at_once; i; i -= done) {
            done = expand_pixels(&plan, place, end, i);
            end += (done < lanes ? lanes : done) * words;
            place = moved(place, done, width);
        }
        tile.columns_end = end;
        multiply_all(op, &tile, at_once, output);
    }
    output -= pixels * channels;
    te_clamp_all(output, pixels * channels, op->lowest, op->highest);
}

#endif
