/* Instructions of RV32E with C, Zicsr and, if `has_mul`, Zmmul. */
#ifndef DECODE_H
#define DECODE_H

#include "machine.h"

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

/* What the 16 or 32 bits of `word` stand for; compressed instructions become the base instruction
 * that they abbreviate. Without its cost. */
Decoded decode(uint32_t word, bool has_mul);

/* The lowest `width` bits of `value` as a signed number. */
int32_t sign_extend(uint32_t value, int width);

#endif
