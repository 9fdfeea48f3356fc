/* The core: decoding, execution, memory, and the cycle model.
 *
 * Instructions are decoded once into `Decoded`; the compressed ones become the base instruction
 * they stand for. Encodings: The RISC-V Instruction Set Manual, Volume I, 20191213 (E 1.9, C 2.0,
 * M 2.0, Zicsr 2.0).
 *
 * Cycle model (docs/emulator.md): measurements of the QingKe V2A core by jnk0le/random. */

#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum Op {
    UNDECODED, /* 0: what a cleared table holds */
    OP_END,    /* behind the last byte of a memory */
    OP_ILLEGAL,
    OP_LUI,
    OP_AUIPC,
    OP_JAL,
    OP_JALR,
    OP_BEQ,
    OP_BNE,
    OP_BLT,
    OP_BGE,
    OP_BLTU,
    OP_BGEU,
    OP_LB,
    OP_LH,
    OP_LW,
    OP_LBU,
    OP_LHU,
    OP_SB,
    OP_SH,
    OP_SW,
    OP_ADDI,
    OP_SLTI,
    OP_SLTIU,
    OP_XORI,
    OP_ORI,
    OP_ANDI,
    OP_SLLI,
    OP_SRLI,
    OP_SRAI,
    OP_ADD,
    OP_SUB,
    OP_SLL,
    OP_SLT,
    OP_SLTU,
    OP_XOR,
    OP_SRL,
    OP_SRA,
    OP_OR,
    OP_AND,
    OP_MUL,
    OP_MULH,
    OP_MULHSU,
    OP_MULHU,
    OP_FENCE,
    OP_ECALL,
    OP_EBREAK,
    OP_MRET,
    OP_WFI,
    OP_CSRRW,
    OP_CSRRS,
    OP_CSRRC,
    OP_CSRRWI,
    OP_CSRRSI,
    OP_CSRRCI
};

uint32_t machine_trap(Machine *m, const char *format, ...) {
    va_list arguments;

    if (m->trap[0] == '\0') { /* the first one counts */
        va_start(arguments, format);
        vsnprintf(m->trap, sizeof m->trap, format, arguments);
        va_end(arguments);
    }
    return 0;
}

/* --- Decoding */

static uint32_t bits(uint32_t word, int high, int low) {
    return word >> low & ((2u << (high - low)) - 1);
}

static int32_t sign_extend(uint32_t value, int width) {
    uint32_t sign = 1u << (width - 1);

    return (int32_t)((value ^ sign) - sign);
}

static Decoded make(int op, uint32_t rd, uint32_t rs1, uint32_t rs2, int32_t imm) {
    Decoded d = {(uint8_t)op, (uint8_t)rd, (uint8_t)rs1, (uint8_t)rs2, 4, 0, imm};

    return d;
}

static const Decoded illegal = {OP_ILLEGAL, 0, 0, 0, 4, 0, 0};

static Decoded decode_system(uint32_t w) {
    uint32_t funct3 = bits(w, 14, 12), rd = bits(w, 11, 7), rs1 = bits(w, 19, 15);
    static const uint8_t csr_ops[8] = {OP_ILLEGAL, OP_CSRRW,  OP_CSRRS,  OP_CSRRC,
                                       OP_ILLEGAL, OP_CSRRWI, OP_CSRRSI, OP_CSRRCI};

    if (w == 0x00000073)
        return make(OP_ECALL, 0, 0, 0, 0);
    if (w == 0x00100073)
        return make(OP_EBREAK, 0, 0, 0, 0);
    if (w == 0x30200073)
        return make(OP_MRET, 0, 0, 0, 0);
    if (w == 0x10500073)
        return make(OP_WFI, 0, 0, 0, 0);
    /* The immediate forms keep their 5-bit constant in rs2: rs1 is checked as a register. */
    if (funct3 >= 5)
        return make(csr_ops[funct3], rd, 0, rs1, (int32_t)bits(w, 31, 20));
    return make(csr_ops[funct3], rd, rs1, 0, (int32_t)bits(w, 31, 20));
}

static Decoded decode_register(uint32_t w, bool has_mul) {
    static const uint8_t base[8] = {OP_ADD, OP_SLL, OP_SLT, OP_SLTU, OP_XOR, OP_SRL, OP_OR, OP_AND};
    static const uint8_t mul[4] = {OP_MUL, OP_MULH, OP_MULHSU, OP_MULHU};
    uint32_t funct3 = bits(w, 14, 12), funct7 = bits(w, 31, 25);
    int op = OP_ILLEGAL;

    if (funct7 == 0)
        op = base[funct3];
    else if (funct7 == 0x20 && funct3 == 0)
        op = OP_SUB;
    else if (funct7 == 0x20 && funct3 == 5)
        op = OP_SRA;
    else if (funct7 == 1 && funct3 < 4 && has_mul)
        op = mul[funct3];
    return make(op, bits(w, 11, 7), bits(w, 19, 15), bits(w, 24, 20), 0);
}

static Decoded decode_immediate(uint32_t w) {
    static const uint8_t base[8] = {OP_ADDI, OP_SLLI, OP_SLTI, OP_SLTIU,
                                    OP_XORI, OP_SRLI, OP_ORI,  OP_ANDI};
    uint32_t funct3 = bits(w, 14, 12), funct7 = bits(w, 31, 25);
    int32_t imm = sign_extend(bits(w, 31, 20), 12);
    int op = base[funct3];

    if (funct3 == 1 || funct3 == 5) {
        imm = (int32_t)bits(w, 24, 20);
        if (funct7 == 0x20 && funct3 == 5)
            op = OP_SRAI;
        else if (funct7 != 0)
            op = OP_ILLEGAL;
    }
    return make(op, bits(w, 11, 7), bits(w, 19, 15), 0, imm);
}

static Decoded decode32(uint32_t w, bool has_mul) {
    static const uint8_t branches[8] = {OP_BEQ, OP_BNE, OP_ILLEGAL, OP_ILLEGAL,
                                        OP_BLT, OP_BGE, OP_BLTU,    OP_BGEU};
    static const uint8_t loads[8] = {OP_LB,  OP_LH,  OP_LW,      OP_ILLEGAL,
                                     OP_LBU, OP_LHU, OP_ILLEGAL, OP_ILLEGAL};
    static const uint8_t stores[8] = {OP_SB,      OP_SH,      OP_SW,      OP_ILLEGAL,
                                      OP_ILLEGAL, OP_ILLEGAL, OP_ILLEGAL, OP_ILLEGAL};
    uint32_t rd = bits(w, 11, 7), rs1 = bits(w, 19, 15), rs2 = bits(w, 24, 20);
    uint32_t funct3 = bits(w, 14, 12);
    int32_t imm_i = sign_extend(bits(w, 31, 20), 12);

    switch (bits(w, 6, 0)) {
    case 0x37:
        return make(OP_LUI, rd, 0, 0, (int32_t)(w & 0xfffff000));
    case 0x17:
        return make(OP_AUIPC, rd, 0, 0, (int32_t)(w & 0xfffff000));
    case 0x6f:
        return make(OP_JAL, rd, 0, 0,
                    sign_extend(bits(w, 31, 31) << 20 | bits(w, 19, 12) << 12 |
                                    bits(w, 20, 20) << 11 | bits(w, 30, 21) << 1,
                                21));
    case 0x67:
        return make(funct3 == 0 ? OP_JALR : OP_ILLEGAL, rd, rs1, 0, imm_i);
    case 0x63:
        return make(branches[funct3], 0, rs1, rs2,
                    sign_extend(bits(w, 31, 31) << 12 | bits(w, 7, 7) << 11 | bits(w, 30, 25) << 5 |
                                    bits(w, 11, 8) << 1,
                                13));
    case 0x03:
        return make(loads[funct3], rd, rs1, 0, imm_i);
    case 0x23:
        return make(stores[funct3], 0, rs1, rs2,
                    sign_extend(bits(w, 31, 25) << 5 | bits(w, 11, 7), 12));
    case 0x13:
        return decode_immediate(w);
    case 0x33:
        return decode_register(w, has_mul);
    case 0x0f:
        return funct3 <= 1 ? make(OP_FENCE, 0, 0, 0, 0) : illegal;
    case 0x73:
        return decode_system(w);
    }
    return illegal;
}

/* Quadrant 0: loads, stores and addresses with the eight registers x8..x15. */
static Decoded decode_c0(uint32_t h) {
    uint32_t rd = 8 + bits(h, 4, 2), rs1 = 8 + bits(h, 9, 7);
    int32_t offset = (int32_t)(bits(h, 5, 5) << 6 | bits(h, 12, 10) << 3 | bits(h, 6, 6) << 2);
    int32_t stack = (int32_t)(bits(h, 10, 7) << 6 | bits(h, 12, 11) << 4 | bits(h, 5, 5) << 3 |
                              bits(h, 6, 6) << 2);

    switch (bits(h, 15, 13)) {
    case 0: /* c.addi4spn */
        return stack ? make(OP_ADDI, rd, 2, 0, stack) : illegal;
    case 2: /* c.lw */
        return make(OP_LW, rd, rs1, 0, offset);
    case 6: /* c.sw */
        return make(OP_SW, 0, rs1, rd, offset);
    }
    return illegal;
}

static Decoded decode_c1_arithmetic(uint32_t h, int32_t imm) {
    static const uint8_t ops[4] = {OP_SUB, OP_XOR, OP_OR, OP_AND};
    uint32_t rd = 8 + bits(h, 9, 7), rs2 = 8 + bits(h, 4, 2);

    switch (bits(h, 11, 10)) {
    case 0: /* c.srli, c.srai: a shift by 32 or more is for RV64 */
        return bits(h, 12, 12) ? illegal : make(OP_SRLI, rd, rd, 0, imm & 31);
    case 1:
        return bits(h, 12, 12) ? illegal : make(OP_SRAI, rd, rd, 0, imm & 31);
    case 2: /* c.andi */
        return make(OP_ANDI, rd, rd, 0, imm);
    }
    return bits(h, 12, 12) ? illegal : make(ops[bits(h, 6, 5)], rd, rd, rs2, 0);
}

/* Quadrant 1: constants, arithmetic, jumps and branches. */
static Decoded decode_c1(uint32_t h) {
    uint32_t rd = bits(h, 11, 7);
    int32_t imm = sign_extend(bits(h, 12, 12) << 5 | bits(h, 6, 2), 6);
    int32_t stack = sign_extend(bits(h, 12, 12) << 9 | bits(h, 4, 3) << 7 | bits(h, 5, 5) << 6 |
                                    bits(h, 2, 2) << 5 | bits(h, 6, 6) << 4,
                                10);
    int32_t jump = sign_extend(bits(h, 12, 12) << 11 | bits(h, 8, 8) << 10 | bits(h, 10, 9) << 8 |
                                   bits(h, 6, 6) << 7 | bits(h, 7, 7) << 6 | bits(h, 2, 2) << 5 |
                                   bits(h, 11, 11) << 4 | bits(h, 5, 3) << 1,
                               12);
    int32_t branch = sign_extend(bits(h, 12, 12) << 8 | bits(h, 6, 5) << 6 | bits(h, 2, 2) << 5 |
                                     bits(h, 11, 10) << 3 | bits(h, 4, 3) << 1,
                                 9);

    switch (bits(h, 15, 13)) {
    case 0: /* c.addi, c.nop */
        return make(OP_ADDI, rd, rd, 0, imm);
    case 1: /* c.jal */
        return make(OP_JAL, 1, 0, 0, jump);
    case 2: /* c.li */
        return make(OP_ADDI, rd, 0, 0, imm);
    case 3: /* c.addi16sp, c.lui */
        if (imm == 0)
            return illegal;
        if (rd == 2)
            return make(OP_ADDI, 2, 2, 0, stack);
        return make(OP_LUI, rd, 0, 0, (int32_t)((uint32_t)imm << 12));
    case 4:
        return decode_c1_arithmetic(h, imm);
    case 5: /* c.j */
        return make(OP_JAL, 0, 0, 0, jump);
    case 6: /* c.beqz, c.bnez */
        return make(OP_BEQ, 0, 8 + bits(h, 9, 7), 0, branch);
    }
    return make(OP_BNE, 0, 8 + bits(h, 9, 7), 0, branch);
}

/* Quadrant 2: all registers; stack loads and stores, moves, jumps through registers. */
static Decoded decode_c2(uint32_t h) {
    uint32_t rd = bits(h, 11, 7), rs2 = bits(h, 6, 2);
    int32_t load = (int32_t)(bits(h, 3, 2) << 6 | bits(h, 12, 12) << 5 | bits(h, 6, 4) << 2);
    int32_t store = (int32_t)(bits(h, 8, 7) << 6 | bits(h, 12, 9) << 2);

    switch (bits(h, 15, 13)) {
    case 0: /* c.slli */
        return bits(h, 12, 12) ? illegal : make(OP_SLLI, rd, rd, 0, (int32_t)rs2);
    case 2: /* c.lwsp */
        return rd ? make(OP_LW, rd, 2, 0, load) : illegal;
    case 4:
        if (bits(h, 12, 12) == 0) {
            if (rs2) /* c.mv */
                return make(OP_ADD, rd, 0, rs2, 0);
            return rd ? make(OP_JALR, 0, rd, 0, 0) : illegal; /* c.jr */
        }
        if (rs2) /* c.add */
            return make(OP_ADD, rd, rd, rs2, 0);
        return rd ? make(OP_JALR, 1, rd, 0, 0) : make(OP_EBREAK, 0, 0, 0, 0); /* c.jalr */
    case 6:                                                                   /* c.swsp */
        return make(OP_SW, 0, 2, rs2, store);
    }
    return illegal;
}

static Decoded decode(uint32_t word, bool has_mul) {
    Decoded d;

    switch (word & 3) {
    case 0:
        d = decode_c0(word & 0xffff);
        break;
    case 1:
        d = decode_c1(word & 0xffff);
        break;
    case 2:
        d = decode_c2(word & 0xffff);
        break;
    default:
        d = decode32(word, has_mul);
    }
    if ((d.rd | d.rs1) > 15 || (d.rs2 > 15 && d.op < OP_CSRRWI))
        d = illegal; /* x16..x31 do not exist in RV32E */
    d.size = (word & 3) == 3 ? 4 : 2;
    return d;
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

    memset(m->written + index, 1, size);
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

static uint32_t load(Machine *m, uint32_t address, uint32_t size) {
    uint32_t index = address - SRAM_BASE, i;

    if (address & (size - 1))
        return machine_trap(m, "misaligned load of %u bytes from 0x%08x", size, address);
    if (in_sram(m, address, size)) {
        for (i = 0; i < size; i++)
            if (!m->written[index + i])
                return machine_trap(m, "load of SRAM never written, at 0x%08x", address + i);
        m->cycles += 1;
        m->count[LOAD_SRAM]++;
        return little_endian(m->sram + index, size);
    }
    if (in_flash(m, address, size)) {
        m->cycles += 1 + machine_wait_states(m);
        m->count[LOAD_FLASH]++;
        return little_endian(m->flash + flash_index(address), size);
    }
    if (address < 0x40000000 || size != 4)
        return machine_trap(m, "load of %u bytes from 0x%08x, where there is nothing", size,
                            address);
    m->cycles += 1;
    m->count[LOAD_IO]++;
    return io_load(m, address);
}

static void store(Machine *m, uint32_t address, uint32_t value, uint32_t size) {
    uint32_t index = address - SRAM_BASE, i;

    m->cycles += 1;
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
        if (!m->written[index]) {
            machine_trap(m, "execution of SRAM never written, at 0x%08x", pc);
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
    m->lowest_sp = 0xffffffff;
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

enum Stop machine_run(Machine *m, uint32_t address, uint64_t limit) {
    uint64_t end = m->instructions + limit;

    while (m->pc != address) {
        uint32_t pc = m->pc, next, a, b, result = 0;
        int32_t imm;
        bool taken = false;
        Decoded copy;
        const Decoded *entry, *d = &copy;

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
        if (d->rd != 0) {
            m->x[d->rd] = result;
            if (d->rd == 2 && result < m->lowest_sp)
                m->lowest_sp = result;
        }
        if (taken) {
            const Decoded *target = fetch(m, next);

            if (target == NULL)
                return TRAPPED;
            if (target->size == 4 && next & 2)
                m->cycles++;
        }
        m->pc = next;
        if (d->op == OP_WFI)
            return ASLEEP;
    }
    return AT_ADDRESS;
}
