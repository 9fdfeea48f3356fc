/* Runs BitNetMCU firmware for CH32V003 and CH32V00x and measures it.
 *
 *     emulator [options] firmware.elf
 *     emulator --rules
 *
 *   --flash BYTES --sram BYTES   sizes of the memories (16384, 2048)
 *   --mul                        the core has Zmmul
 *   --limit N                    give up after N million instructions a stretch (1000)
 *   --images FILE                run to the first call of BitNetMCU_infer, then call it for each
 *                                input in FILE (as many bytes each as BitNetMCU_input has)
 *   --results FILE               then: prediction, cycles, logits of each image, int32
 *   --deaf                       nobody listens on the debug link
 *   --interrupt N                raise SysTick's interrupt every N instructions of an inference
 *   --trace                      and before these what each step wrote (a trace build)
 *   --rules                      print the rules of the cycle model as JSON, and nothing else
 *
 * Without --images it runs from reset until the firmware sleeps and prints its console. Ends with
 * one line of JSON on standard output. Exits 1 when the machine trapped. */

#include "elf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *firmware, *images, *results;
    uint32_t flash, sram;
    uint64_t limit, interrupt;
    bool mul, trace, deaf, rules;
} Options;

static Machine machine; /* large: not on the stack */
static uint64_t pin_changes;

static int fail(const char *what, const char *why) {
    fprintf(stderr, "error: %s %s\n", what, why);
    return 2;
}

static void print_console(Machine *m, char c) {
    (void)m;
    putchar(c);
}

static void count_pin(Machine *m, char port, int pin, bool high) {
    (void)m, (void)port, (void)pin, (void)high;
    pin_changes++;
}

static bool parse(int argc, char **argv, Options *options) {
    int i;

    for (i = 1; i < argc; i++) {
        bool last = i + 1 == argc;

        if (strcmp(argv[i], "--mul") == 0)
            options->mul = true;
        else if (strcmp(argv[i], "--trace") == 0)
            options->trace = true;
        else if (strcmp(argv[i], "--deaf") == 0)
            options->deaf = true;
        else if (strcmp(argv[i], "--rules") == 0)
            options->rules = true;
        else if (strcmp(argv[i], "--flash") == 0 && !last)
            options->flash = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--sram") == 0 && !last)
            options->sram = (uint32_t)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--limit") == 0 && !last)
            options->limit = strtoull(argv[++i], NULL, 0) * 1000000;
        else if (strcmp(argv[i], "--interrupt") == 0 && !last)
            options->interrupt = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--images") == 0 && !last)
            options->images = argv[++i];
        else if (strcmp(argv[i], "--results") == 0 && !last)
            options->results = argv[++i];
        else if (argv[i][0] != '-' && options->firmware == NULL)
            options->firmware = argv[i];
        else
            return false;
    }
    return (options->firmware != NULL) != options->rules && options->flash <= FLASH_MAX &&
           options->sram <= SRAM_MAX && options->flash >= 1024 && options->sram >= 256;
}

/* Says why a run stopped where it should not have; returns the exit status. */
static int explain(const Elf *elf, enum Stop stop) {
    uint32_t offset;
    const char *where = elf_locate(elf, machine.pc, &offset);

    fflush(stdout);
    fprintf(stderr, "%s at 0x%08" PRIx32 " (%s+0x%" PRIx32 ") after %" PRIu64 " instructions: %s\n",
            stop == TRAPPED ? "trap" : "stopped", machine.pc, where, offset, machine.instructions,
            stop == TRAPPED  ? machine.trap
            : stop == ASLEEP ? "the firmware sleeps"
                             : "the limit is reached");
    return 1;
}

static void print_summary(uint32_t images, uint64_t lowest, uint64_t highest, uint64_t sum) {
    static const char *names[CLASSES] = {"alu",   "mul",   "load_sram", "load_flash", "load_io",
                                         "store", "taken", "not_taken", "system"};
    uint32_t i, touched = 0, top = SRAM_BASE + machine.sram_size;

    for (i = 0; i < machine.sram_size; i++)
        touched += machine.state[i] != NEVER_WRITTEN;
    printf("{\"images\": %" PRIu32 ", \"cycles_min\": %" PRIu64 ", \"cycles_max\": %" PRIu64
           ", \"cycles_sum\": %" PRIu64 ", \"instructions\": %" PRIu64 ", \"stack\": %" PRIu32
           ", \"ram_touched\": %" PRIu32 ", \"pin_changes\": %" PRIu64 ", \"mhz\": %" PRIu32
           ", \"classes\": {",
           images, lowest, highest, sum, machine.instructions,
           machine.lowest_sp < top ? top - machine.lowest_sp : 0, touched, pin_changes,
           machine_mhz(&machine));
    for (i = 0; i < CLASSES; i++)
        printf("%s\"%s\": %" PRIu64, i ? ", " : "", names[i], machine.count[i]);
    printf("}}\n");
}

/* {"PLACE": {"RULE": cycles, ...}, ...}; PLACE: where code lies, and the flash wait states. */
static void print_rules(void) {
    static const char *places[2] = {"flash", "sram"};
    Rule rules[RULES];
    uint32_t waits, place, i;

    for (waits = 0; waits <= 2; waits++) {
        machine.io.flash_actlr = waits;
        for (place = 0; place < 2; place++) {
            printf("%s\"%s, %" PRIu32 " wait states\": {", waits + place ? ",\n " : "{",
                   places[place], waits);
            machine_rules(&machine, place == 1, rules);
            for (i = 0; i < RULES; i++)
                printf("%s\"%s\": %" PRIu32, i ? ", " : "", rules[i].name, rules[i].cycles);
            printf("}");
        }
    }
    printf("}\n");
}

/* Runs one inference and writes what its steps record to `results`. */
static enum Stop infer(uint32_t entry, uint32_t home, uint64_t limit, FILE *results) {
    enum Stop stop;

    machine.pc = entry;
    machine.x[1] = home;
    while ((stop = machine_run(&machine, home, limit)) == AT_BREAKPOINT) {
        /* record(step, data, bytes) is about to begin. */
        uint32_t bytes = machine.x[12], offset = machine.x[11] - SRAM_BASE;
        uint32_t breakpoint = machine.breakpoint;

        if (offset > machine.sram_size || bytes > machine.sram_size - offset) {
            machine_trap(&machine, "data to record are not in SRAM");
            return TRAPPED;
        }
        fwrite(machine.sram + offset, 1, bytes, results);
        machine.breakpoint = NOWHERE;
        stop = machine_run(&machine, machine.x[1], limit);
        machine.breakpoint = breakpoint;
        if (stop != AT_ADDRESS)
            return stop;
    }
    return stop;
}

static bool in_sram(Symbol symbol) {
    uint32_t offset = symbol.address - SRAM_BASE;

    return symbol.size > 0 && offset < machine.sram_size &&
           symbol.size <= machine.sram_size - offset;
}

static int run_images(const Elf *elf, const Options *options, uint32_t at_infer) {
    static uint8_t input[SRAM_MAX];
    Symbol at_input, at_logits, at_home, at_trace = {NOWHERE, 0};
    uint64_t lowest = UINT64_MAX, highest = 0, sum = 0;
    uint32_t sp = machine.x[2], images = 0;
    FILE *in, *out;

    if (!elf_symbol(elf, "BitNetMCU_input", &at_input) ||
        !elf_symbol(elf, "BitNetMCU_logits", &at_logits) || !elf_symbol(elf, "_start", &at_home) ||
        (options->trace && !elf_symbol(elf, "record", &at_trace)))
        return fail(options->firmware, "lacks BitNetMCU_input, BitNetMCU_logits, record or _start");
    if (!in_sram(at_input) || !in_sram(at_logits))
        return fail(options->firmware, "has BitNetMCU_input or _logits outside SRAM, or empty");
    if ((in = fopen(options->images, "rb")) == NULL)
        return fail(options->images, "cannot be opened");
    if ((out = fopen(options->results, "wb")) == NULL)
        return fail(options->results, "cannot be written");

    machine.breakpoint = at_trace.address;
    machine.interrupt_period = machine.interrupt_due = options->interrupt;
    machine.instructions = 0;
    machine.lowest_sp = sp;
    memset(machine.count, 0, sizeof machine.count);
    while (fread(input, 1, at_input.size, in) == at_input.size) {
        uint64_t start = machine.cycles, cycles;
        uint32_t spent;
        enum Stop stop;

        machine_write(&machine, at_input.address, input, at_input.size);
        machine.x[2] = sp;
        machine.x[10] = at_input.address;
        machine.x[11] = at_logits.address;
        if ((stop = infer(at_infer, at_home.address, options->limit, out)) != AT_ADDRESS)
            return explain(elf, stop);
        cycles = machine.cycles - start;
        spent = (uint32_t)cycles;
        fwrite(&machine.x[10], 4, 1, out);
        fwrite(&spent, 4, 1, out);
        fwrite(machine.sram + (at_logits.address - SRAM_BASE), 1, at_logits.size, out);
        lowest = cycles < lowest ? cycles : lowest;
        highest = cycles > highest ? cycles : highest;
        sum += cycles;
        images++;
    }
    fclose(in);
    if (fclose(out) != 0)
        return fail(options->results, "cannot be written");
    print_summary(images, lowest, highest, sum);
    return 0;
}

int main(int argc, char **argv) {
    Options options = {NULL, NULL, NULL, 16384, 2048, 1000000000, 0, false, false, false, false};
    Symbol at_infer, at_bss_end;
    Elf elf;
    const char *error;
    enum Stop stop;
    int status;

    if (!parse(argc, argv, &options) || (options.images && !options.results))
        return fail("usage:",
                    "emulator [--flash BYTES] [--sram BYTES] [--mul] [--deaf] [--limit MILLIONS] "
                    "[--interrupt N] [--images FILE --results FILE [--trace]] firmware.elf, or "
                    "emulator --rules");
    machine_init(&machine, options.flash, options.sram, options.mul);
    if (options.rules) {
        print_rules();
        return 0;
    }
    machine.host_listens = !options.deaf;
    machine.console = print_console;
    machine.pin = count_pin;
    error = elf_open(&elf, options.firmware);
    if (error == NULL)
        error = elf_load(&elf, &machine);
    if (error == NULL && elf_symbol(&elf, "__bss_end", &at_bss_end)) /* of link.ld.S */
        machine.stack_end = at_bss_end.address;

    if (error != NULL)
        status = fail(options.firmware, error);
    else if (options.images == NULL) {
        stop = machine_run(&machine, NOWHERE, options.limit);
        status = stop == ASLEEP ? 0 : explain(&elf, stop);
        if (status == 0)
            print_summary(0, 0, 0, machine.cycles);
    } else if (!elf_symbol(&elf, "BitNetMCU_infer", &at_infer))
        status = fail(options.firmware, "has no BitNetMCU_infer");
    else if ((stop = machine_run(&machine, at_infer.address, options.limit)) != AT_ADDRESS)
        status = explain(&elf, stop);
    else /* the clock runs, the stack is as deep as it is for the demo's first image */
        status = run_images(&elf, &options, at_infer.address);
    elf_close(&elf);
    return status;
}
