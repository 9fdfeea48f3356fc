/* A QingKe V2 microcontroller (CH32V003, CH32V00x): RV32EC with or without Zmmul, flash, SRAM and
 * the few peripherals that BitNetMCU's firmware uses, with a model of its cycles.
 *
 * The machine is strict: whatever the chip would not do, or would do silently wrong, stops it with
 * a message. It is deterministic and has no state outside `Machine`. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH_BASE 0x08000000u /* the same bytes lie at 0 */
#define SRAM_BASE 0x20000000u
#define FLASH_MAX 65536u
#define SRAM_MAX 8192u
#define NOWHERE 0xffffffffu

enum Stop { AT_ADDRESS, AT_BREAKPOINT, ASLEEP, OUT_OF_TIME, TRAPPED };

/* Instruction classes that are counted. */
enum Class { ALU, MUL, LOAD_SRAM, LOAD_FLASH, LOAD_IO, STORE, TAKEN, NOT_TAKEN, SYSTEM, CLASSES };

/* What a byte of SRAM holds. Those of a stack frame are of no value once it is popped. */
enum { NEVER_WRITTEN, WRITTEN, POPPED };

/* An instruction, decoded once: `op` is one of enum Op in decode.h. */
typedef struct {
    uint8_t op, rd, rs1, rs2;
    uint8_t size; /* bytes: 2 or 4 */
    uint8_t cost; /* cycles, but for what depends on the data */
    int32_t imm;
} Decoded;

typedef struct Machine {
    uint32_t x[16], pc;
    uint64_t cycles, instructions;
    uint64_t count[CLASSES];
    uint32_t mstatus, mtvec, mepc, mcause, mscratch, intsyscr;

    uint32_t flash_size, sram_size;
    bool has_mul;
    uint8_t flash[FLASH_MAX], sram[SRAM_MAX];
    uint8_t state[SRAM_MAX]; /* of each byte of SRAM */
    Decoded decoded_flash[FLASH_MAX / 2 + 1], decoded_sram[SRAM_MAX / 2 + 1];

    uint32_t breakpoint; /* machine_run stops when this instruction is next; NOWHERE: none */
    uint32_t lowest_sp;  /* the deepest the stack pointer has been */
    uint32_t stack_end;  /* where it must not go below: the end of .bss; 0: anywhere */

    /* Raises SysTick's interrupt every so many instructions of what it interrupts, 0: never. Core
     * registers are left to the handler (no hardware stacking). */
    uint64_t interrupt_period, interrupt_due;
    bool interrupted;

    struct {
        uint32_t rcc_ctlr, rcc_cfgr0, rcc_apb2pcenr, rcc_apb1pcenr, rcc_ahbpcenr, rcc_rstsckr;
        uint32_t flash_actlr;
        uint32_t gpio_cfglr[3], gpio_outdr[3];
        uint32_t usart_brr, usart_ctlr[3];
        uint32_t systick_ctlr, systick_sr, systick_cmp, systick_offset;
        uint32_t pfic_sctlr;
        uint32_t dmdata[2];
    } io;
    bool host_listens; /* whether a debugger empties the mailbox */
    void (*console)(struct Machine *, char);
    void (*pin)(struct Machine *, char port, int pin, bool high);

    char trap[200]; /* why it TRAPPED */
} Machine;

/* A machine after reset, with empty (erased) flash and SRAM that was never written. Flash and SRAM
 * sizes in bytes, at most FLASH_MAX and SRAM_MAX. */
void machine_init(Machine *m, uint32_t flash_size, uint32_t sram_size, bool has_mul);

/* Resets core and peripherals; flash and SRAM keep their bytes. */
void machine_reset(Machine *m);

/* Runs until the instruction at `address` is next (AT_ADDRESS), or the one at the breakpoint is
 * (AT_BREAKPOINT), after WFI (ASLEEP), after `limit` more instructions (OUT_OF_TIME), or until
 * something is wrong (TRAPPED). */
enum Stop machine_run(Machine *m, uint32_t address, uint64_t limit);

/* Puts `size` bytes at `address` in flash or SRAM from outside; false if they do not fit there. */
bool machine_write(Machine *m, uint32_t address, const void *bytes, uint32_t size);

/* A rule of the cycle model: cycles that an instruction takes, or that a jump's target adds. */
typedef struct {
    const char *name;
    uint32_t cycles;
} Rule;

/* Puts the rules for code in SRAM, or in flash at the present wait states, into `rules`, which has
 * RULES places. */
enum { RULES = 10 };
void machine_rules(const Machine *m, bool sram, Rule *rules);

/* Flash wait states in force. */
uint32_t machine_wait_states(const Machine *m);

/* The core's clock in MHz, before it is divided. */
uint32_t machine_mhz(const Machine *m);

/* Stops the machine with a message in the manner of printf; returns 0. */
uint32_t machine_trap(Machine *m, const char *format, ...);

/* The peripherals: 32-bit accesses to addresses from 0x40000000. */
void io_reset(Machine *m);
uint32_t io_load(Machine *m, uint32_t address);
void io_store(Machine *m, uint32_t address, uint32_t value);

/* Forgets all decoded instructions: they hold costs, which depend on the wait states. */
void machine_forget_decoded(Machine *m);

#endif
