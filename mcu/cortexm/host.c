/* Runs all inputs in the file "images" through the network and writes to "results", per image:
 * each layer's value (in a trace build), prediction, instructions, logits. Then prints how deep
 * the stack was. For the test on the desk; the demo is main.c. */

#include "BitNetMCU_model.h"
#include "chip.h"
#include "cortexm/files.h"
#include "cortexm/host_trace.h"

#define PAINT 0xa5a5a5a5u

extern uint32_t __bss_end;

static int8_t input[BITNETMCU_INPUTS];
static int32_t logits[BITNETMCU_CLASSES];
static uint32_t results; /* file handle */

void host_trace(uint32_t layer, const int32_t *accumulators, uint32_t count, uint32_t shift) {
    (void)layer;
    transfer(SYS_WRITE, results, accumulators, count << 2);
    transfer(SYS_WRITE, results, &shift, 4);
}

static uint32_t *stack_pointer(void) {
    uint32_t *sp;

    __asm__ volatile("mov %0, sp" : "=r"(sp));
    return sp;
}

/* Fills the stack below `top`, but for what the call of this function needs. */
static void paint_stack(const uint32_t *top) {
    volatile uint32_t *word = &__bss_end;

    while (word < top - 16)
        *word++ = PAINT;
}

static uint32_t stack_used(const uint32_t *top) {
    const volatile uint32_t *word = &__bss_end;

    while (word < top && *word == PAINT)
        word++;
    return (uint32_t)((uintptr_t)top - (uintptr_t)word);
}

int main(void) {
    uint32_t images, pair[2], deepest;

    images = open_file("images", 1, 6);
    results = open_file("results", 5, 7);
    paint_stack(stack_pointer());
    while (transfer(SYS_READ, images, input, sizeof input) == 0) {
        chip_init(); /* the counter starts anew: it has 24 bits */
        pair[1] = chip_cycles();
        pair[0] = BitNetMCU_infer(input, logits);
        pair[1] = chip_cycles() - pair[1];
        transfer(SYS_WRITE, results, pair, sizeof pair);
        transfer(SYS_WRITE, results, logits, sizeof logits);
    }
    deepest = stack_used(stack_pointer());
    transfer(SYS_WRITE, results, &deepest, sizeof deepest);
    semihosting(SYS_CLOSE, (uintptr_t)&results);
    chip_sleep();
    return 0;
}
