/* The core: execution, memory, and the cycle model. Instructions are decoded once.
 *
 * Cycle model (docs/emulator.md): measurements of the QingKe V2A core by jnk0le/random. */

#include "decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

uint32_t machine_trap(Machine *m, const char *format, ...) {
    va_list arguments;

    if (m->trap[0] == '\0') { /* the first one counts */
        va_start(arguments, format);
        vsnprintf(m->trap, sizeof m->trap, format, arguments);
        va_end(arguments);
    }
    return 0;
}

/* --- Memory */

/* The flash byte that `address` names, or an index past the end. Flash is mirrored at 0. */
static uint32_t flash_index(uint32_t address) {
    return address >= FLASH_BASE ? address - FLASH_BASE : address;
}

static bool in_flash(const Machine *m, uint32_t address, uint32_t size) {
    return flash_index(address) < m->flash_size && flash_index(address) + size <= m->flash_size;
}

static bool in_sram(const Machine *m, uint32_t address, uint32_t size) {
    return address - SRAM_BASE < m->sram_size && address - SRAM_BASE + size <= m->sram_size;
}

void machine_forget_decoded(Machine *m) {
    memset(m->decoded_flash, 0, sizeof m->decoded_flash);
    memset(m->decoded_sram, 0, sizeof m->decoded_sram);
    m->decoded_flash[m->flash_size / 2].op = OP_END;
    m->decoded_sram[m->sram_size / 2].op = OP_END;
}

/* Marks bytes of SRAM as written and forgets the instructions that they were part of. */
static void sram_written(Machine *m, uint32_t index, uint32_t size) {
    uint32_t first = index / 2, last = (index + size - 1) / 2;

    memset(m->state + index, WRITTEN, size);
    if (first > 0)
        first--; /* a 32-bit instruction may begin one halfword earlier */
    for (; first <= last; first++)
        m->decoded_sram[first].op = UNDECODED;
}

bool machine_write(Machine *m, uint32_t address, const void *source, uint32_t size) {
    if (size == 0)
        return true;
    if (in_flash(m, address, size)) {
        memcpy(m->flash + flash_index(address), source, size);
        machine_forget_decoded(m);
        return true;
    }
    if (!in_sram(m, address, size))
        return false;
    memcpy(m->sram + (address - SRAM_BASE), source, size);
    sram_written(m, address - SRAM_BASE, size);
    return true;
}

static uint32_t little_endian(const uint8_t *p, uint32_t size) {
    uint32_t value = p[0];

    if (size > 1)
        value |= (uint32_t)p[1] << 8;
    if (size > 2)
        value |= (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    return value;
}

static uint32_t trap_unwritten(Machine *m, const char *access, uint32_t address) {
    const char *what =
        m->state[address - SRAM_BASE] == POPPED ? "popped from the stack" : "never written";

    return machine_trap(m, "%s of SRAM %s, at 0x%08x", access, what, address);
}

/* Cycles of a load or store beyond its instruction's own. */
static uint32_t access_cost(const Machine *m, bool flash) {
    return 1 + (flash ? machine_wait_states(m) : 0);
}

static uint32_t load(Machine *m, uint32_t address, uint32_t size) {
    uint32_t index = address - SRAM_BASE, i;

    if (address & (size - 1))
        return machine_trap(m, "misaligned load of %u bytes from 0x%08x", size, address);
    if (in_sram(m, address, size)) {
        for (i = 0; i < size; i++)
            if (m->state[index + i] != WRITTEN)
                return trap_unwritten(m, "load", address + i);
        m->cycles += access_cost(m, false);
        m->count[LOAD_SRAM]++;
        return little_endian(m->sram + index, size);
    }
    if (in_flash(m, address, size)) {
        m->cycles += access_cost(m, true);
        m->count[LOAD_FLASH]++;
        return little_endian(m->flash + flash_index(address), size);
    }
    if (address < 0x40000000 || size != 4)
        return machine_trap(m, "load of %u bytes from 0x%08x, where there is nothing", size,
                            address);
    m->cycles += access_cost(m, false);
    m->count[LOAD_IO]++;
    return io_load(m, address);
}

static void store(Machine *m, uint32_t address, uint32_t value, uint32_t size) {
    uint32_t index = address - SRAM_BASE, i;

    m->cycles += access_cost(m, false);
    m->count[STORE]++;
    if (address & (size - 1))
        machine_trap(m, "misaligned store of %u bytes to 0x%08x", size, address);
    else if (in_sram(m, address, size)) {
        for (i = 0; i < size; i++)
            m->sram[index + i] = (uint8_t)(value >> 8 * i);
        sram_written(m, index, size);
    } else if (in_flash(m, address, size))
        machine_trap(m, "store to flash, at 0x%08x", address);
    else if (address < 0x40000000 || size != 4)
        machine_trap(m, "store of %u bytes to 0x%08x, where there is nothing", size, address);
    else
        io_store(m, address, value);
}

/* --- Cycles */

uint32_t machine_wait_states(const Machine *m) { return m->io.flash_actlr & 3; }

static bool runs_from_sram(uint32_t pc) { return pc >= SRAM_BASE; }

/* Cycles of an instruction but for jumps and memory: each wait state delays 32-bit instructions
 * in flash by one cycle; `mul` takes one more than an addition (not measured: 1 to 2). */
static uint8_t static_cost(const Machine *m, const Decoded *d, uint32_t pc) {
    uint32_t cost = 1;
    bool memory_access = d->op >= OP_LB && d->op <= OP_SW;

    if (d->size == 4 && !runs_from_sram(pc) && !memory_access)
        cost += machine_wait_states(m);
    if (d->op >= OP_MUL && d->op <= OP_MULHU)
        cost += 1;
    return (uint8_t)cost;
}

/* Cycles of a taken branch or jump from `pc`, without the target's own. */
static uint32_t jump_cost(const Machine *m, uint32_t pc) {
    if (runs_from_sram(pc))
        return 3;
    return 3 + machine_wait_states(m) * (pc & 2 ? 2 : 1);
}

/* Cycles that the target of a jump adds: a 32-bit instruction across two words takes two fetches.
 */
static uint32_t target_cost(uint32_t size, uint32_t pc) { return size == 4 && pc & 2; }

void machine_rules(const Machine *m, bool sram, Rule *rules) {
    static const Decoded alu2 = {OP_ADDI, 0, 0, 0, 2, 0, 0}, alu4 = {OP_ADDI, 0, 0, 0, 4, 0, 0};
    static const Decoded mul = {OP_MUL, 0, 0, 0, 4, 0, 0}, lw = {OP_LW, 0, 0, 0, 4, 0, 0};
    uint32_t pc = sram ? SRAM_BASE : 0;
    Rule all[RULES] = {{"arithmetic_16bit", static_cost(m, &alu2, pc)},
                       {"arithmetic_32bit", static_cost(m, &alu4, pc)},
                       {"multiplication", static_cost(m, &mul, pc)},
                       {"load_sram", static_cost(m, &lw, pc) + access_cost(m, false)},
                       {"load_flash", static_cost(m, &lw, pc) + access_cost(m, true)},
                       {"store", static_cost(m, &lw, pc) + access_cost(m, false)},
                       {"taken_aligned", jump_cost(m, pc)},
                       {"taken_unaligned", jump_cost(m, pc + 2)},
                       {"target_16bit_unaligned", target_cost(2, pc + 2)},
                       {"target_32bit_unaligned", target_cost(4, pc + 2)}};

    memcpy(rules, all, sizeof all);
}

/* --- Execution */

/* The decoded instruction at `pc`, or NULL after a trap. */
static Decoded *fetch(Machine *m, uint32_t pc) {
    uint32_t index, left;
    const uint8_t *bytes;
    Decoded *d;

    if (pc & 1) {
        machine_trap(m, "misaligned jump to 0x%08x", pc);
        return NULL;
    }
    if (in_flash(m, pc, 2)) {
        index = flash_index(pc);
        bytes = m->flash + index;
        left = m->flash_size - index;
        d = &m->decoded_flash[index / 2];
    } else if (in_sram(m, pc, 2)) {
        index = pc - SRAM_BASE;
        bytes = m->sram + index;
        left = m->sram_size - index;
        d = &m->decoded_sram[index / 2];
        if (m->state[index] != WRITTEN ||
            (left > 2 && (bytes[0] & 3) == 3 && m->state[index + 2] != WRITTEN)) {
            trap_unwritten(m, "execution", pc);
            return NULL;
        }
    } else {
        machine_trap(m, "execution at 0x%08x, where there is nothing", pc);
        return NULL;
    }
    if (d->op == UNDECODED) {
        if ((bytes[0] & 3) == 3 && left < 4) {
            machine_trap(m, "instruction at 0x%08x ends behind its memory", pc);
            return NULL;
        }
        *d = decode(little_endian(bytes, (bytes[0] & 3) == 3 ? 4 : 2), m->has_mul);
        d->cost = static_cost(m, d, pc);
    }
    return d;
}

static uint32_t *csr(Machine *m, uint32_t number) {
    static const uint16_t numbers[] = {0x300, 0x305, 0x340, 0x341, 0x342, 0x804};
    uint32_t *registers[] = {&m->mstatus, &m->mtvec,  &m->mscratch,
                             &m->mepc,    &m->mcause, &m->intsyscr};
    size_t i;

    for (i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] == number)
            return registers[i];
    return NULL;
}

static uint32_t access_csr(Machine *m, const Decoded *d) {
    uint32_t *target = csr(m, (uint32_t)d->imm), old;
    uint32_t value = d->op >= OP_CSRRWI ? d->rs2 : m->x[d->rs1];

    if (target == NULL)
        return machine_trap(m, "CSR 0x%03x is not modelled", (uint32_t)d->imm);
    old = *target;
    switch (d->op) {
    case OP_CSRRW:
    case OP_CSRRWI:
        *target = value;
        break;
    case OP_CSRRS:
    case OP_CSRRSI:
        *target |= value;
        break;
    default:
        *target &= ~value;
    }
    return old;
}

static uint32_t multiply_high(uint32_t a, uint32_t b, bool a_signed, bool b_signed) {
    int64_t left = a_signed ? (int32_t)a : (int64_t)a, right = b_signed ? (int32_t)b : (int64_t)b;

    return (uint32_t)((uint64_t)left * (uint64_t)right >> 32);
}

static uint32_t shift_right_signed(uint32_t value, uint32_t shift) {
    uint32_t fill = value >> 31 && shift ? ~(0xffffffffu >> shift) : 0;

    return value >> shift | fill;
}

void machine_reset(Machine *m) {
    memset(m->x, 0, sizeof m->x);
    m->pc = 0;
    m->cycles = m->instructions = 0;
    memset(m->count, 0, sizeof m->count);
    m->mstatus = 0x1800;
    m->mtvec = m->mepc = m->mcause = m->mscratch = m->intsyscr = 0;
    m->lowest_sp = NOWHERE;
    m->trap[0] = '\0';
    io_reset(m);
    machine_forget_decoded(m);
}

void machine_init(Machine *m, uint32_t flash_size, uint32_t sram_size, bool has_mul) {
    memset(m, 0, sizeof *m);
    memset(m->flash, 0xff, sizeof m->flash);
    m->flash_size = flash_size;
    m->sram_size = sram_size;
    m->has_mul = has_mul;
    m->host_listens = true;
    m->breakpoint = NOWHERE;
    machine_reset(m);
}

/* Enters the handler of SysTick: the address in entry 12 of the vector table. */
static void interrupt(Machine *m) {
    enum { SYSTICK = 12 };
    uint32_t vector = (m->mtvec & ~3u) + 4 * SYSTICK;

    m->mepc = m->pc;
    m->pc = in_flash(m, vector, 4) ? little_endian(m->flash + flash_index(vector), 4)
                                   : machine_trap(m, "vector table outside flash");
    m->interrupted = true;
}

/* Sets the stack pointer. What was popped holds nothing any more: an interrupt may put something
 * there before it is read. Not inlined: it is seldom called, and would slow the loop by a tenth. */
__attribute__((noinline)) static void move_stack(Machine *m, uint32_t to) {
    uint32_t from = m->x[2], i;

    if (to < m->stack_end) {
        machine_trap(m, "the stack grows to 0x%08x, into variables, which end at 0x%08x", to,
                     m->stack_end);
        return;
    }
    if (from < to && from >= SRAM_BASE && to <= SRAM_BASE + m->sram_size)
        for (i = from - SRAM_BASE; i < to - SRAM_BASE; i++)
            if (m->state[i] == WRITTEN)
                m->state[i] = POPPED;
    if (to < m->lowest_sp)
        m->lowest_sp = to;
    m->x[2] = to;
}

enum Stop machine_run(Machine *m, uint32_t address, uint64_t limit) {
    uint64_t end = m->instructions + limit;

    while (m->pc != address) {
        uint32_t pc, next, a, b, result = 0;
        int32_t imm;
        bool taken = false;
        Decoded copy;
        const Decoded *entry, *d = &copy;

        if (m->interrupt_period && !m->interrupted && m->instructions >= m->interrupt_due)
            interrupt(m);
        pc = m->pc;
        if (m->instructions >= end)
            return OUT_OF_TIME;
        if (pc == m->breakpoint)
            return AT_BREAKPOINT;
        entry = fetch(m, pc);
        if (entry == NULL)
            return TRAPPED;
        copy = *entry; /* a store may change the instruction that it is */
        a = m->x[d->rs1];
        b = m->x[d->rs2 & 15];
        imm = d->imm;
        next = pc + d->size;

        switch (d->op) {
        case OP_LUI:
            result = (uint32_t)imm;
            break;
        case OP_AUIPC:
            result = pc + (uint32_t)imm;
            break;
        case OP_JAL:
            result = next;
            next = pc + (uint32_t)imm;
            taken = true;
            break;
        case OP_JALR:
            result = next;
            next = (a + (uint32_t)imm) & ~1u;
            taken = true;
            break;
        case OP_BEQ:
            taken = a == b;
            break;
        case OP_BNE:
            taken = a != b;
            break;
        case OP_BLT:
            taken = (int32_t)a < (int32_t)b;
            break;
        case OP_BGE:
            taken = (int32_t)a >= (int32_t)b;
            break;
        case OP_BLTU:
            taken = a < b;
            break;
        case OP_BGEU:
            taken = a >= b;
            break;
        case OP_LB:
            result = (uint32_t)sign_extend(load(m, a + (uint32_t)imm, 1), 8);
            break;
        case OP_LH:
            result = (uint32_t)sign_extend(load(m, a + (uint32_t)imm, 2), 16);
            break;
        case OP_LW:
            result = load(m, a + (uint32_t)imm, 4);
            break;
        case OP_LBU:
            result = load(m, a + (uint32_t)imm, 1);
            break;
        case OP_LHU:
            result = load(m, a + (uint32_t)imm, 2);
            break;
        case OP_SB:
            store(m, a + (uint32_t)imm, b, 1);
            break;
        case OP_SH:
            store(m, a + (uint32_t)imm, b, 2);
            break;
        case OP_SW:
            store(m, a + (uint32_t)imm, b, 4);
            break;
        case OP_ADDI:
            result = a + (uint32_t)imm;
            break;
        case OP_SLTI:
            result = (int32_t)a < imm;
            break;
        case OP_SLTIU:
            result = a < (uint32_t)imm;
            break;
        case OP_XORI:
            result = a ^ (uint32_t)imm;
            break;
        case OP_ORI:
            result = a | (uint32_t)imm;
            break;
        case OP_ANDI:
            result = a & (uint32_t)imm;
            break;
        case OP_SLLI:
            result = a << imm;
            break;
        case OP_SRLI:
            result = a >> imm;
            break;
        case OP_SRAI:
            result = shift_right_signed(a, (uint32_t)imm);
            break;
        case OP_ADD:
            result = a + b;
            break;
        case OP_SUB:
            result = a - b;
            break;
        case OP_SLL:
            result = a << (b & 31);
            break;
        case OP_SLT:
            result = (int32_t)a < (int32_t)b;
            break;
        case OP_SLTU:
            result = a < b;
            break;
        case OP_XOR:
            result = a ^ b;
            break;
        case OP_SRL:
            result = a >> (b & 31);
            break;
        case OP_SRA:
            result = shift_right_signed(a, b & 31);
            break;
        case OP_OR:
            result = a | b;
            break;
        case OP_AND:
            result = a & b;
            break;
        case OP_MUL:
            result = a * b;
            break;
        case OP_MULH:
            result = multiply_high(a, b, true, true);
            break;
        case OP_MULHSU:
            result = multiply_high(a, b, true, false);
            break;
        case OP_MULHU:
            result = multiply_high(a, b, false, false);
            break;
        case OP_FENCE:
            break;
        case OP_CSRRW:
        case OP_CSRRS:
        case OP_CSRRC:
        case OP_CSRRWI:
        case OP_CSRRSI:
        case OP_CSRRCI:
            result = access_csr(m, d);
            break;
        case OP_MRET:
            next = m->mepc;
            taken = true;
            m->interrupted = false;
            m->interrupt_due = m->instructions + 1 + m->interrupt_period;
            break;
        case OP_WFI:
            break;
        case OP_ECALL:
            machine_trap(m, "ecall: no handler is modelled");
            break;
        case OP_EBREAK:
            machine_trap(m, "ebreak");
            break;
        default:
            machine_trap(m, "illegal instruction");
        }
        if (m->trap[0] != '\0')
            return TRAPPED;

        m->instructions++;
        m->cycles += d->cost;
        if (taken) {
            if (d->op >= OP_BEQ && d->op <= OP_BGEU)
                next = pc + (uint32_t)imm;
            m->cycles += jump_cost(m, pc) - d->cost;
            m->count[TAKEN]++;
        } else if (d->op >= OP_BEQ && d->op <= OP_BGEU)
            m->count[NOT_TAKEN]++;
        else if (d->op >= OP_MUL && d->op <= OP_MULHU)
            m->count[MUL]++;
        else if (d->op >= OP_FENCE)
            m->count[SYSTEM]++;
        else if (d->op < OP_LB || d->op > OP_SW)
            m->count[ALU]++;
        if (d->rd == 2) {
            move_stack(m, result);
            if (m->trap[0] != '\0')
                return TRAPPED;
        } else if (d->rd != 0)
            m->x[d->rd] = result;
        if (taken) {
            const Decoded *target = fetch(m, next);

            if (target == NULL)
                return TRAPPED;
            m->cycles += target_cost(target->size, next);
        }
        m->pc = next;
        if (d->op == OP_WFI)
            return ASLEEP;
    }
    return AT_ADDRESS;
}
