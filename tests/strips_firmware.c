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
    uint32_t bytes = one->bytes, gp = get_gp(), tp = get_tp(), sp = get_sp(), wrong, first, i;
    uint32_t position = 0;
    uint8_t *lists = memory.bytes + MARGIN + one->shift;
    const int32_t *expected = one->expected;

    for (i = 0; i < sizeof memory.bytes; i++)
        memory.bytes[i] = CANARY;
    BitNetMCU_scan_strip(one->map, &one->strip, lists);
    wrong = changed(gp, tp, sp);
    for (i = 1; i <= MARGIN - 3; i++)
        wrong |= lists[-(int32_t)i] != CANARY || lists[bytes + i - 1] != CANARY;
    for (first = 0; first + one->strip.columns <= one->strip.width; first += one->stride) {
        for (i = 0; i < MOST_OUTPUTS + 2 * MARGIN; i++)
            accumulators[i] = CANARY;
        BitNetMCU_window_nibbles(lists, &one->strip, first, position, accumulators + MARGIN);
        position += one->step;
        wrong |= changed(gp, tp, sp);
        for (i = 0; expected && i < one->strip.outputs; i++)
            wrong |= accumulators[MARGIN + i] != *expected++;
        for (i = 0; i < MARGIN; i++)
            wrong |= accumulators[i] != CANARY;
        for (i = MARGIN + one->strip.outputs; i < MOST_OUTPUTS + 2 * MARGIN; i++)
            wrong |= accumulators[i] != CANARY;
    }
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
