/* BitNetMCU_fc_multiply_4bit and _4bitsym of ../multiply.c for RV32EC with Zmmul: the same method.
 *
 * One column of words (eight outputs) is done for all inputs of a group before the next, so that
 * sums meet memory once a group. The first of the four sums of pairs is that of whole words times
 * x: less the others, each 16 times as much as the one before, it is exact modulo 2^32, so it needs
 * no mask.
 *
 * Borrows: nothing. Stack: FRAME bytes; the inner routine uses those of its caller. */

#if defined(__riscv_mul) || defined(__riscv_zmmul)

#include "../multiply.h"

/* The frame; the list is last, so that the rest is in reach of compressed instructions. */
#define SUMS 0                      /* accumulators of this column */
#define STOP (SUMS + 4)             /* SUMS at which there is more to do than to count on */
#define DOUBLED (STOP + 4)
#define LOWEST (DOUBLED + 4)        /* the lowest level */
#define GROUP_LOWEST (LOWEST + 4)   /* the same times the sum of the group */
#define PART (GROUP_LOWEST + 4)     /* accumulators of the last column, if it is incomplete */
#define X (PART + COLUMN)           /* the first x of the next group, or 0 */
#define NEXT (X + 4)                /* where scanning goes on; 0 at the end */
#define ROW (NEXT + 4)
#define ACTIVATIONS_END (ROW + 4)
#define OFFSET (ACTIVATIONS_END + 4)
#define STRIDE (OFFSET + 4)         /* bytes of a row */
#define BASE (STRIDE + 4)           /* SUMS of the first column */
#define FULL (BASE + 4)             /* SUMS after the last complete column */
#define LAST (FULL + 4)             /* SUMS after the last column */
#define INNER_RA (LAST + 4)
#define FLUSHED (INNER_RA + 4)      /* 0: nothing is summed yet */
#define OUTPUTS (FLUSHED + 4)
#define SAVED (OUTPUTS + 4)         /* ra, s0, s1 */
#define LIST (SAVED + 12)           /* per input of the group: address of its row, x; 0 */
#define LIST_END (LIST + 8 * GROUP_INPUTS)
#define FRAME (LIST_END + 4)

#include "columns.inc"

    /* sum += \factor * x, or the first time = */
.macro product sum, factor, first
    .if \first
    mul     \sum, \factor, t0
    .else
    mul     a2, \factor, t0
    add     \sum, \sum, a2
    .endif
.endm

.macro pair sum, first
    srli    a1, a1, 4
    and     a2, a1, t1
    product \sum, a2, \first
.endm

    /* The products of the entry \at(a3) and eight weights. */
.macro row at, first
    lw      a0, \at(a3)
    .ifeq \first
    beqz    a0, .Lflush
    .endif
    lw      t0, 4 + \at(a3)
    add     a0, a0, t2
    lw      a1, 0(a0)
    product s0, a1, \first
    pair    s1, \first
    pair    a4, \first
    pair    a5, \first
.endm

    /* \at(a0) += or, the first time, = (a2 << DOUBLED) + GROUP_LOWEST */
.macro flush at, first
    sll     a2, a2, ra
    add     a2, a2, a3
    add_to  a2, \at, \first, a1
.endm

.macro flush_pair sum, at, first
    and     a2, \sum, t0
    flush   \at, \first
    srli    a2, \sum, 16
    flush   16 + \at, \first
.endm

.macro flush_all first
    flush_pair s0, 0, \first
    flush_pair s1, 4, \first
    flush_pair a4, 8, \first
    flush_pair a5, 12, \first
.endm

.macro append
    sw      a2, 0(a1)
    sw      a5, 4(a1)
    addi    a1, a1, 8
.endm

    .section .text.BitNetMCU_inner_multiply, "ax"
    .balign 4
    .globl  BitNetMCU_inner_multiply
    .type   BitNetMCU_inner_multiply, @function
BitNetMCU_inner_multiply:           /* a0 = activations */
    sw      ra, INNER_RA(sp)
    li      a3, 0                   /* the sum of the group */
    lw      a2, ROW(sp)
.Lgroup:
    addi    a1, sp, LIST            /* the end of the list */
    addi    t0, sp, LIST_END
    lw      a4, ACTIVATIONS_END(sp)
#if BITNETMCU_BITS > 7
    lw      s0, OFFSET(sp)
#endif
    lw      s1, STRIDE(sp)
#if SUM_BOUNDS
    beqz    a3, .Lscan
.Lappend:
    append
    beq     a1, t0, .Lfull
#endif
    .balign 4                       /* a jump to 32 bits across words takes a cycle more */
.Lscan:
    beq     a0, a4, .Lend
    lb      a5, 0(a0)
    addi    a0, a0, 1
    add     a2, a2, s1
#if BITNETMCU_BITS > 7
    add     a5, a5, s0
#endif
    beqz    a5, .Lscan
#if SUM_BOUNDS
    add     t1, a3, a5
    li      t2, GROUP_SUM
    bgtu    t1, t2, .Lover
    mv      a3, t1
    j       .Lappend
#else
    add     a3, a3, a5
    append
    bne     a1, t0, .Lscan
    j       .Lfull
#endif
.Lend:
    li      a0, 0
.Lfull:
    li      a5, 0
.Lover:
    sw      a5, X(sp)
    sw      a0, NEXT(sp)
    sw      a2, ROW(sp)
    sw      zero, 0(a1)
    lw      a0, LOWEST(sp)
    mul     a3, a3, a0
    sw      a3, GROUP_LOWEST(sp)
    lw      a0, BASE(sp)
    li      t1, PAIR
    li      t2, 0                   /* column, in bytes of a row */
    addi    a2, sp, LIST
    beq     a1, a2, .Ldone
    lw      a1, FULL(sp)
    beq     a0, a1, .Lincomplete
    sw      a0, SUMS(sp)
    sw      a1, STOP(sp)
.Lcolumn:
    addi    a3, sp, LIST
    row     0, 1
.Lrows:
    row     8, 0
    row     16, 0
    addi    a3, a3, 16
    j       .Lrows
.Lflush:
    slli    a0, a5, 4
    add     a0, a0, a4
    slli    a0, a0, 4
    add     a0, a0, s1
    slli    a0, a0, 4
    sub     s0, s0, a0
    lw      a0, SUMS(sp)
    lw      a3, GROUP_LOWEST(sp)
    lw      ra, DOUBLED(sp)
    li      t0, 0xffff
    if_first .Lfirst
    flush_all 0
.Lflushed:
    lw      a1, STOP(sp)
    addi    t2, t2, 4
    addi    a0, a0, COLUMN
    sw      a0, SUMS(sp)
    bne     a0, a1, .Lcolumn

    lw      a1, LAST(sp)
    beq     a0, a1, .Lsummed
.Lincomplete:
    addi    a0, sp, PART
    sw      a0, SUMS(sp)
    addi    a0, a0, COLUMN
    sw      a0, STOP(sp)
    j       .Lcolumn
.Lsummed:
    sw      sp, FLUSHED(sp)         /* not 0 */
.Ldone:
    lw      a0, NEXT(sp)
    lw      a2, ROW(sp)
    lw      a5, X(sp)
    mv      a3, a5
    bnez    a0, .Lgroup
    lw      ra, INNER_RA(sp)
    ret
.Lfirst:
    flush_all 1
    j       .Lflushed
    .size   BitNetMCU_inner_multiply, . - BitNetMCU_inner_multiply
    .set    frame.BitNetMCU_inner_multiply, 0

    .section .text.BitNetMCU_fc_multiply, "ax"
    .globl  BitNetMCU_fc_multiply_4bit
    .type   BitNetMCU_fc_multiply_4bit, @function
BitNetMCU_fc_multiply_4bit:
    li      t0, 0
    li      t1, -8
    j       BitNetMCU_fc_multiply
    .size   BitNetMCU_fc_multiply_4bit, . - BitNetMCU_fc_multiply_4bit
    .set    frame.BitNetMCU_fc_multiply_4bit, 0

    .globl  BitNetMCU_fc_multiply_4bitsym
    .type   BitNetMCU_fc_multiply_4bitsym, @function
BitNetMCU_fc_multiply_4bitsym:
    li      t0, 1
    li      t1, -15
    j       BitNetMCU_fc_multiply
    .size   BitNetMCU_fc_multiply_4bitsym, . - BitNetMCU_fc_multiply_4bitsym
    .set    frame.BitNetMCU_fc_multiply_4bitsym, 0

    .type   BitNetMCU_fc_multiply, @function
BitNetMCU_fc_multiply:              /* activations, offset, rows, inputs, outputs, accumulators; */
    addi    sp, sp, -FRAME          /* t0 1 to double sums, t1 the lowest level */
    sw      ra, SAVED(sp)
    sw      s0, SAVED + 4(sp)
    sw      s1, SAVED + 8(sp)
    sw      t0, DOUBLED(sp)
    sw      t1, LOWEST(sp)
    sw      a1, OFFSET(sp)
    sw      a4, OUTPUTS(sp)
    sw      a5, BASE(sp)
    sw      zero, LIST_END(sp)      /* ends a full list */
    add     a3, a3, a0
    sw      a3, ACTIVATIONS_END(sp)
    addi    a1, a4, 7
    srli    a1, a1, 3
    slli    a1, a1, 2
    sw      a1, STRIDE(sp)
    sub     a2, a2, a1
    sw      a2, ROW(sp)

    start_columns
    call    BitNetMCU_inner_multiply
    finish_columns
    lw      ra, SAVED(sp)
    lw      s0, SAVED + 4(sp)
    lw      s1, SAVED + 8(sp)
    addi    sp, sp, FRAME
    ret
    .size   BitNetMCU_fc_multiply, . - BitNetMCU_fc_multiply
    .set    frame.BitNetMCU_fc_multiply, FRAME

#endif
