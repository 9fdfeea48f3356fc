/* Encodings: The RISC-V Instruction Set Manual, Volume I, 20191213 (E 1.9, C 2.0, M 2.0,
 * Zicsr 2.0). */

#include "decode.h"

static uint32_t bits(uint32_t word, int high, int low) {
    return word >> low & ((2u << (high - low)) - 1);
}

int32_t sign_extend(uint32_t value, int width) {
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
        return funct3 == 0 ? make(OP_FENCE, 0, 0, 0, 0) : illegal; /* no fence.i: no Zifencei */
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

Decoded decode(uint32_t word, bool has_mul) {
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
