/* Runs a compiled TensorFlow Lite model on all inputs in the file "inputs" and writes to "results",
 * per input: in a trace build each operator's output and the instructions so far; then the output
 * and the instructions of the whole. Then how deep the stack was. */

#include "chip.h"
#include "compiler/record.h"
#include "cortexm/files.h"
#include "cortexm/stack.h"
#include "tflite_plan.h"

enum {
    INPUTS = sizeof tflite_input_bytes / sizeof *tflite_input_bytes,
    OUTPUTS = sizeof tflite_output_bytes / sizeof *tflite_output_bytes
};

static uint32_t results; /* file handle */
static uint32_t start;

static void write_count(uint32_t count) { transfer(SYS_WRITE, results, &count, sizeof count); }

/* In a trace build. Writing a file is not counted. */
void record(uint32_t step, const void *data, uint32_t bytes) {
    uint32_t count = chip_cycles() - start;

    (void)step;
    transfer(SYS_WRITE, results, data, bytes);
    write_count(count);
    chip_init();
    start = chip_cycles();
}

/* Whether there was one more of each. */
static int read_inputs(uint32_t file) {
    void *inputs[INPUTS];

    tflite_inputs(inputs);
    for (uint32_t i = 0; i < INPUTS; i++)
        if (transfer(SYS_READ, file, inputs[i], tflite_input_bytes[i]) != 0)
            return 0;
    return 1;
}

int main(void) {
    uint32_t inputs = open_file("inputs", 1, 6); /* "rb" */

    results = open_file("results", 5, 7); /* "wb" */
    paint_stack();
    while (read_inputs(inputs)) {
        const void *outputs[OUTPUTS];

        chip_init(); /* the counter starts anew: it has 24 bits */
        start = chip_cycles();
        tflite_outputs(outputs);
        start = chip_cycles() - start;
        for (uint32_t i = 0; i < OUTPUTS; i++)
            transfer(SYS_WRITE, results, outputs[i], tflite_output_bytes[i]);
        write_count(start);
    }
    write_count(stack_used());
    semihosting(SYS_CLOSE, (uintptr_t)&results);
    chip_sleep();
    return 0;
}
