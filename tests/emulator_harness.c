/* Runs short programs on the emulator's core: reads `struct Job`s from standard input and writes a
 * `struct Outcome` for each. SRAM is all written beforehand unless `fresh`. */

#include "machine.h"

#include <stdio.h>
#include <string.h>

#define CODE_BYTES 96

struct Job {
    uint32_t pc, has_mul, wait_states, steps, fresh, asleep_host, stack_end;
    uint32_t x[16];
    uint8_t code[CODE_BYTES];
    uint8_t sram[2048];
};

struct Outcome {
    uint32_t x[16], pc, stop, cycles, instructions;
    uint32_t count[CLASSES];
    uint8_t sram[2048];
    char trap[200], console[56];
};

static Machine machine;
static struct Job job;
static struct Outcome outcome;

static void hear(Machine *m, char c) {
    size_t length = strlen(outcome.console);

    (void)m;
    if (length < sizeof outcome.console - 1)
        outcome.console[length] = c;
}

int main(void) {
    int i;

    while (fread(&job, sizeof job, 1, stdin) == 1) {
        memset(&outcome, 0, sizeof outcome);
        machine_init(&machine, 16384, sizeof job.sram, job.has_mul);
        machine.console = hear;
        machine.host_listens = !job.asleep_host;
        if (!job.fresh)
            machine_write(&machine, SRAM_BASE, job.sram, sizeof job.sram);
        machine_write(&machine, job.pc, job.code, sizeof job.code);
        machine.io.flash_actlr = job.wait_states;
        machine.stack_end = job.stack_end;
        memcpy(machine.x, job.x, sizeof machine.x);
        machine.x[0] = 0;
        machine.pc = job.pc;
        outcome.stop = machine_run(&machine, NOWHERE, job.steps);
        memcpy(outcome.x, machine.x, sizeof outcome.x);
        outcome.pc = machine.pc;
        outcome.cycles = (uint32_t)machine.cycles;
        outcome.instructions = (uint32_t)machine.instructions;
        for (i = 0; i < CLASSES; i++)
            outcome.count[i] = (uint32_t)machine.count[i];
        memcpy(outcome.sram, machine.sram, sizeof outcome.sram);
        memcpy(outcome.trap, machine.trap, sizeof outcome.trap);
        fwrite(&outcome, sizeof outcome, 1, stdout);
    }
    return 0;
}
