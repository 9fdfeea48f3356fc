/* Runs the kernels of strips on the cases in kernel_cases.h, on a chip or here; prints '.' for each
 * that gives what was expected and writes nothing else, 'x' for others. */

#include "chip.h"
#include "kernel_cases.h"

#define CANARY 0x5a
#define MARGIN 8u /* bytes, and accumulators, that must stay as they are */

static union {
    uint32_t aligned; /* for sanitizers: lists themselves need no alignment */
    uint8_t bytes[MOST_BYTES + 2 * MARGIN];
} memory;
static int32_t accumulators[MOST_OUTPUTS + 2 * MARGIN];

#ifdef __riscv /* registers that kernels may borrow */
#define BORROWED(get, set)                                                                         \
    static uint32_t get(void) {                                                                    \
        uint32_t value;                                                                            \
        __asm__ volatile("mv %0, " #set : "=r"(value));                                            \
        return value;                                                                              \
    }
BORROWED(get_gp, gp)
BORROWED(get_tp, tp)
BORROWED(get_sp, sp)
#else
static uint32_t get_gp(void) { return 0; }
static uint32_t get_tp(void) { return 0; }
static uint32_t get_sp(void) { return 0; }
#endif

static uint32_t changed(uint32_t gp, uint32_t tp, uint32_t sp) {
    return gp != get_gp() || tp != get_tp() || sp != get_sp();
}

static uint32_t run(const Case *one) {
    const BitNetMCU_strip *strip = &one->pieces.strip;
    uint32_t bytes = one->bytes, gp = get_gp(), tp = get_tp(), sp = get_sp(), wrong = 0, first, i;
    uint32_t position = 0, pixels = one->pieces.pixels;
    BitNetMCU_scanned scanned;
    uint8_t *lists = memory.bytes + MARGIN + one->shift;
    const int32_t *expected = one->expected;

    for (i = 0; i < sizeof memory.bytes; i++)
        memory.bytes[i] = CANARY;
    scanned.map = one->map;
    scanned.rest = strip->width;
    scanned.scanned = scanned.first = 0;
    if (one->whole)
        BitNetMCU_scan_strip(one->map, strip, lists);
    for (first = 0; first + strip->columns <= strip->width; first += pixels) {
        for (i = 0; i < MOST_OUTPUTS + 2 * MARGIN; i++)
            accumulators[i] = CANARY;
        if (one->whole)
            BitNetMCU_window_nibbles(lists, strip, first, position, accumulators + MARGIN);
        else
            BitNetMCU_window_pieces(&scanned, &one->pieces, lists, accumulators + MARGIN);
        position += one->pieces.positions;
        wrong |= changed(gp, tp, sp);
        for (i = 0; expected && i < strip->outputs; i++)
            wrong |= accumulators[MARGIN + i] != *expected++;
        for (i = 0; i < MARGIN; i++)
            wrong |= accumulators[i] != CANARY;
        for (i = MARGIN + strip->outputs; i < MOST_OUTPUTS + 2 * MARGIN; i++)
            wrong |= accumulators[i] != CANARY;
    }
    for (i = 1; i <= MARGIN - 3; i++)
        wrong |= lists[-(int32_t)i] != CANARY || lists[bytes + i - 1] != CANARY;
    return wrong;
}

int main(void) {
    uint32_t i;

    chip_init();
    for (i = 0; i < CASES; i++)
        chip_put(run(&cases[i]) ? 'x' : '.');
    for (;;)
        chip_sleep();
}
