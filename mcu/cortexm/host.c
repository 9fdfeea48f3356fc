/* Runs all inputs in the file "inputs" through the network and writes to "results", per image:
 * what each step wrote (in a trace build), prediction, instructions, logits; behind all images how
 * deep the stack was. For the test on the desk; the demo is main.c. */

#include "BitNetMCU_model.h"
#include "chip.h"
#include "compiler/record.h"
#include "cortexm/files.h"
#include "cortexm/stack.h"

static int8_t input[BITNETMCU_INPUTS];
static int32_t logits[BITNETMCU_CLASSES];
static uint32_t results; /* file handle */

void record(uint32_t step, const void *data, uint32_t bytes) {
    (void)step;
    transfer(SYS_WRITE, results, data, bytes);
}

int main(void) {
    uint32_t images, pair[2], deepest;

    images = open_file("inputs", 1, 6);
    results = open_file("results", 5, 7);
    paint_stack();
    while (transfer(SYS_READ, images, input, sizeof input) == 0) {
        chip_init(); /* the counter starts anew: it has 24 bits */
        pair[1] = chip_cycles();
        pair[0] = BitNetMCU_infer(input, logits);
        pair[1] = chip_cycles() - pair[1];
        transfer(SYS_WRITE, results, pair, sizeof pair);
        transfer(SYS_WRITE, results, logits, sizeof logits);
    }
    deepest = stack_used();
    transfer(SYS_WRITE, results, &deepest, sizeof deepest);
    semihosting(SYS_CLOSE, (uintptr_t)&results);
    chip_sleep();
    return 0;
}
