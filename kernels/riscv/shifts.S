/* BitNetMCU_fc_shifts of ../shifts.c for RV32EC: the same method.
 *
 * The inner routine keeps eight sums in registers. One column of words (eight outputs) is done for
 * all inputs of a group before the next, so that sums meet memory once a group. Columns lie 32
 * bytes apart, so that the register with MASK counts columns in bits 5 to 7, where it may have
 * anything; the list holds addresses less MASK. After eight columns the list is moved on.
 *
 * Borrows: gp and tp, which interrupt handlers must not rely on meanwhile. Stack: FRAME bytes; the
 * inner routine uses those of its caller. */

#include "../shifts.h"

/* The frame. */
#define LIST 0                      /* per input of the group: address of its row - MASK, x; 0 */
#define LIST_END (LIST + 8 * GROUP_INPUTS)
#define PART (LIST_END + 4)         /* accumulators of the last column, if it is incomplete */
#define X (PART + COLUMN)           /* the first x of the next group, or 0 */
#define NEXT (X + 4)                /* where scanning goes on; 0 at the end */
#define ROW (NEXT + 4)
#define TURN (ROW + 4)              /* the activation at which a turn ends (shifts.c) */
#define TURN_ROW (TURN + 4)
#define TURN_INPUTS (TURN_ROW + 4)
#define ACTIVATIONS_END (TURN_INPUTS + 4)
#define OFFSET (ACTIVATIONS_END + 4)
#define STRIDE (OFFSET + 4)         /* bytes from row to row */
#define SUMS (STRIDE + 4)           /* accumulators of this column */
#define STOP (SUMS + 4)             /* SUMS at which there is more to do than to count on */
#define BASE (STOP + 4)             /* SUMS of the first column */
#define FULL (BASE + 4)             /* SUMS after the last complete column */
#define LAST (FULL + 4)             /* SUMS after the last column */
#define INNER_RA (LAST + 4)
#define FLUSHED (INNER_RA + 4)      /* 0: nothing is summed yet */
#define OUTPUTS (FLUSHED + 4)
#define SAVED (OUTPUTS + 4)         /* ra, s0, s1, gp, tp */
#define FRAME (SAVED + 20)

#include "columns.inc"

    /* sum += x << code, or the first time = */
.macro product sum, code, first
    .if \first
    sll     \sum, gp, \code
    .else
    sll     a2, gp, \code
    add     \sum, \sum, a2
    .endif
.endm

    /* The products of the entry \at(a3) and eight weights. */
.macro row at, first
    lw      a0, \at(a3)
    .ifeq \first
    beqz    a0, .Lflush
    .endif
    lw      gp, 4 + \at(a3)
    add     a0, a0, ra
    lw      a1, 0(a0)
    and     a0, a1, ra              /* E of shifts.c */
    product s0, a0, \first
    srli    a0, a0, 8
    product s1, a0, \first
    srli    a0, a0, 8
    product a4, a0, \first
    srli    a0, a0, 8
    product a5, a0, \first
    srli    a0, a1, 5
    slli    a1, a1, 1
    xor     a1, a1, a0
    and     a1, a1, ra              /* F */
    product t0, a1, \first
    srli    a1, a1, 8
    product t1, a1, \first
    srli    a1, a1, 8
    product t2, a1, \first
    srli    a1, a1, 8
    product tp, a1, \first
.endm

    /* \at(a0) += or, the first time, = low half of sum - high half */
.macro flush sum, at, first
    and     a2, \sum, gp
    srli    \sum, \sum, 16
    sub     a2, a2, \sum
    add_to  a2, \at, \first, a1
.endm

.macro next_input
    beq     a0, a4, .Lturn
    lb      a5, 0(a0)
    addi    a0, a0, 1
    add     a2, a2, s1
#if BITNETMCU_BITS > 7
    add     a5, a5, s0
#endif
.endm

.macro append
    sw      a2, 0(a1)
    sw      a5, 4(a1)
    addi    a1, a1, 8
.endm

    .section .text.BitNetMCU_inner_shifts, "ax"
    .balign 4
    .globl  BitNetMCU_inner_shifts
    .type   BitNetMCU_inner_shifts, @function
BitNetMCU_inner_shifts:             /* a0 = activations = TURN; TURN_ROW: 4 less than the first */
    sw      ra, INNER_RA(sp)
#if SUM_BOUNDS
    li      a3, 0                   /* the sum of the group */
#endif
.Lgroup:
    addi    a1, sp, LIST            /* the end of the list */
    addi    t0, sp, LIST_END
    lw      a2, ROW(sp)
    lw      a4, TURN(sp)
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
.Lscan:                             /* two a round */
    next_input
    bnez    a5, .Lfound
    next_input
    beqz    a5, .Lscan
.Lfound:
#if SUM_BOUNDS
    add     a3, a3, a5
    addi    t1, a3, -GROUP_SUM
    blez    t1, .Lappend
    sw      a5, X(sp)
    j       .Lcolumns
#else
    append
    bne     a1, t0, .Lscan
    j       .Lfull
#endif
.Lturn:
    lw      t1, ACTIVATIONS_END(sp)
    beq     a0, t1, .Lend
    lw      a2, TURN_ROW(sp)
    lw      a5, TURN_INPUTS(sp)
    addi    a2, a2, 4
    sw      a2, TURN_ROW(sp)
    add     a4, a4, a5
    bleu    a4, t1, .Lscan
    mv      a4, t1
    j       .Lscan
.Lend:
    li      a0, 0
.Lfull:
#if SUM_BOUNDS
    sw      zero, X(sp)
.Lcolumns:
#endif
    sw      a0, NEXT(sp)
    sw      a2, ROW(sp)
    sw      a4, TURN(sp)
    sw      zero, 0(a1)
    lw      a0, BASE(sp)
    li      ra, MASK
    beq     a1, sp, .Ldone          /* LIST is empty */
    lw      a1, FULL(sp)
    beq     a0, a1, .Lincomplete
.Lmany:                             /* complete columns, eight at most */
    sw      a0, SUMS(sp)
    addi    a2, a0, 8 * COLUMN
    bleu    a1, a2, 1f
    mv      a1, a2
1:  sw      a1, STOP(sp)
.Lcolumn:
    addi    a3, sp, LIST
    row     0, 1
.Lrows:
    row     8, 0
    row     16, 0
#if BITNETMCU_BITS < 5              /* the room that smaller frames leave */
    row     24, 0
    row     32, 0
    addi    a3, a3, 16
#endif
    addi    a3, a3, 16
    j       .Lrows
.Lflush:
    lw      a0, SUMS(sp)
    li      gp, 0xffff
    if_first .Lfirst
    flush_eight 0
.Lflushed:
    lw      a1, STOP(sp)
    addi    ra, ra, COLUMN
    addi    a0, a0, COLUMN
    sw      a0, SUMS(sp)
    bne     a0, a1, .Lcolumn

    lw      a1, LAST(sp)
    beq     a0, a1, .Lsummed
    andi    a1, ra, 8 * COLUMN      /* set in MASK; a carry clears it after eight columns */
    bnez    a1, .Lincomplete
    li      ra, MASK
    mv      a3, sp
1:  lw      a2, LIST(a3)
    beqz    a2, 2f
    addi    a2, a2, 8 * COLUMN
    sw      a2, LIST(a3)
    addi    a3, a3, 8
    j       1b
2:  lw      a1, FULL(sp)
    bne     a0, a1, .Lmany
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
#if SUM_BOUNDS
    lw      a5, X(sp)
    mv      a3, a5
#endif
    bnez    a0, .Lgroup
    lw      ra, INNER_RA(sp)
    ret
.Lfirst:
    flush_eight 1
    j       .Lflushed
    .size   BitNetMCU_inner_shifts, . - BitNetMCU_inner_shifts
    .set    frame.BitNetMCU_inner_shifts, 0

    .section .text.BitNetMCU_fc_shifts, "ax"
    .globl  BitNetMCU_fc_shifts
    .type   BitNetMCU_fc_shifts, @function
BitNetMCU_fc_shifts:                /* activations, offset, rows, inputs, outputs, accumulators */
    addi    sp, sp, -FRAME
    save_registers
    sw      a0, TURN(sp)
    sw      a1, OFFSET(sp)
    sw      a4, OUTPUTS(sp)
    sw      a5, BASE(sp)
    sw      zero, LIST_END(sp)      /* ends a full list */
    addi    s0, a3, 7
    srli    s0, s0, 3
    sw      s0, TURN_INPUTS(sp)
    add     a3, a3, a0
    sw      a3, ACTIVATIONS_END(sp)
    addi    a1, a4, 7
    srli    a1, a1, 3
    slli    a1, a1, 5
    sw      a1, STRIDE(sp)
    sub     a2, a2, a1
    li      a1, MASK + 4
    sub     a2, a2, a1
    sw      a2, TURN_ROW(sp)
    sw      a2, ROW(sp)

    start_columns
    call    BitNetMCU_inner_shifts
    finish_columns
    restore_registers
    addi    sp, sp, FRAME
    ret
    .size   BitNetMCU_fc_shifts, . - BitNetMCU_fc_shifts
    .set    frame.BitNetMCU_fc_shifts, FRAME
