/* Runs a compiled network on inputs from standard input and writes, for each, the record of all its
 * steps and then its output to standard output. Arena memory that the plan says is free is filled
 * with noise after each step, so that a mistake in the plan changes values. Compiled with
 * harness_plan.h, which the compiler writes for the network. */

#include "record.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct {
    uint32_t start, end;
} Range;

static uint8_t *arena; /* once a step has written to it */
static void fresh_arena(void *start);

#include "harness_plan.h"

static uint32_t noise = 1, recorded; /* outputs of the present step */

static void write_all(const void *data, uint32_t bytes) {
    if (fwrite(data, 1, bytes, stdout) != bytes)
        exit(1);
}

/* Noise in all bytes of the arena that are not in the `count` ranges, which ascend. */
static void poison(const Range *range, uint32_t count) {
    uint32_t byte;

    for (byte = 0; byte < ARENA_BYTES; byte++) {
        while (count > 0 && byte >= range->end) {
            range++;
            count--;
        }
        if (count == 0 || byte < range->start) {
            noise = noise * 1664525u + 1013904223u;
            arena[byte] = (uint8_t)(noise >> 24);
        }
    }
}

/* Of networks whose arena is there before they run. */
static void fresh_arena(void *start) {
    arena = start;
    poison(0, 0);
}

void record(uint32_t step, const void *data, uint32_t bytes) {
    write_all(data, bytes);
    /* its value comes first, and where that lies tells where the arena is */
    if (recorded == 0 && value_offsets[step] >= 0)
        arena = (uint8_t *)(uintptr_t)data - value_offsets[step];
    if (++recorded < written_counts[step])
        return;
    recorded = 0;
    if (arena)
        poison(live_after[step], live_counts[step]);
}

int main(void) {
    static int8_t input[INPUT_BYTES];
    static int32_t output[(OUTPUT_BYTES + 3) / 4];

    while (fread(input, 1, sizeof input, stdin) == sizeof input) {
        run(input, output);
        (void)fresh_arena;
        write_all(output, OUTPUT_BYTES);
        arena = 0;
    }
    return 0;
}
