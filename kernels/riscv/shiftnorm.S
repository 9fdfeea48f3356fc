/* BitNetMCU_shiftnorm_relu, BitNetMCU_fixed_shift_relu and BitNetMCU_fixed_shift_pairs for RV32EC.
 * Their plain twins are in BitNetMCU_inference.c.
 *
 * They use no stack and no register that a function must keep. Loops take two values a round, in
 * the order of memory; an odd count starts at the second half of a round.
 */

#include "BitNetMCU_inference.h"

    .macro function name
    .globl  \name
    .type   \name, @function
\name:
    .set    frame.\name, 0
    .endm

    .macro end name
    .size   \name, . - \name
    .endm

/* Kernels for so few bits leave room for the second loop in SRAM. */
#define ROUND_BESIDE_INNER (BITNETMCU_BITS < 5)

    .macro to_round
#if ROUND_BESIDE_INNER
    lla     a5, BitNetMCU_round
    jr      a5
#else
    j       BitNetMCU_round
#endif
    .endm

/* From a0 accumulators, a1 of them, to activations a2: t1 whether they are odd, t2 their end, and
 * the round before the first where they are. */
    .macro rounds
    slli    t2, a1, 2
    add     t2, t2, a0
    andi    t1, a1, 1
    sub     a2, a2, t1
    slli    a5, t1, 2
    sub     a0, a0, a5
    .endm

    .section .text.BitNetMCU_fixed_shift_relu, "ax"
    .balign 4
function BitNetMCU_fixed_shift_relu /* a3: shift, a4: highest */
    rounds
    mv      a1, a4
    mv      t0, a3
    li      a4, 1
    sll     a4, a4, t0
    addi    a3, a1, 1
    sll     a3, a3, t0
    srli    a4, a4, 1
    addi    a3, a3, -1
    li      a5, 31
    sub     a5, a5, t0
    srl     a5, a1, a5
    beqz    a5, 1f
    lui     a3, 0x80000             /* no sum is clipped: the largest int32, once less half */
    addi    a3, a3, -1
    add     a3, a3, a4
1:  to_round
    end     BitNetMCU_fixed_shift_relu

    .section .text.BitNetMCU_shiftnorm_relu, "ax"
    .balign 4
function BitNetMCU_shiftnorm_relu   /* a3: highest */
    rounds
    mv      a1, a3
    mv      a4, a3                  /* the largest, if that asks for a shift */
    mv      a3, a0
    bnez    t1, .Llargest_second
.Llargest:
    lw      a5, 0(a3)
    blt     a4, a5, .Llarger_first
.Llargest_second:
    lw      a5, 4(a3)
    blt     a4, a5, .Llarger_second
.Llargest_next:
    addi    a3, a3, 8
    bne     a3, t2, .Llargest

    mv      a3, a1                  /* the largest that the shift t0 brings to highest or below */
    li      t0, 0
    j       2f
.Llarger_first:
    mv      a4, a5
    j       .Llargest_second
.Llarger_second:
    mv      a4, a5
    j       .Llargest_next

1:  slli    a3, a3, 1
    addi    a3, a3, 1
    addi    t0, t0, 1
2:  bltu    a3, a4, 1b
    li      a4, 1
    sll     a4, a4, t0
    srli    a4, a4, 1
#if ROUND_BESIDE_INNER
    to_round
#endif
    end     BitNetMCU_shiftnorm_relu

/* a1: highest, a3: the largest sum that becomes highest or less, with a4 added, half of what the
 * shift t0 shifts out; the rest as `rounds` leaves it. Returns the shift. */
#if ROUND_BESIDE_INNER
    .section .text.BitNetMCU_inner_round, "ax"
    .balign 4
#endif
function BitNetMCU_round
    sub     a3, a3, a4
    bnez    t1, .Lround_second
.Lround:
    lw      a5, 0(a0)
    sb      zero, 0(a2)             /* most are not positive */
    blez    a5, .Lround_second
    bltu    a3, a5, .Lclip_first
    add     a5, a5, a4
    srl     a5, a5, t0
    sb      a5, 0(a2)
.Lround_second:
    lw      a5, 4(a0)
    sb      zero, 1(a2)
    blez    a5, .Lround_next
    bltu    a3, a5, .Lclip_second
    add     a5, a5, a4
    srl     a5, a5, t0
    sb      a5, 1(a2)
.Lround_next:
    addi    a0, a0, 8
    addi    a2, a2, 2
    bne     a0, t2, .Lround
    mv      a0, t0
    ret
.Lclip_first:
    sb      a1, 0(a2)
    j       .Lround_second
.Lclip_second:
    sb      a1, 1(a2)
    j       .Lround_next
    end     BitNetMCU_round

/* Value \n of a round of BitNetMCU_fixed_shift_pairs. What is not positive is still less than 1 when
 * half of 1 is added to it. */
    .macro pair n, high
.Lpair_\high\n:
    lw      a5, 4 * \n(a0)
    .ifeq \high
    sw      zero, 4 * \n(a2)
    .endif
    add     a5, a5, t1
    bltz    a5, 1f
    srl     a5, a5, a3
    bltu    a4, a5, .Lclip_\high\n
.Lset_\high\n:
    .if \high
    lw      t2, 4 * \n(a2)
    slli    a5, a5, 16
    add     a5, a5, t2
    .endif
    sw      a5, 4 * \n(a2)
1:
    .endm

    .macro clip n, high
.Lclip_\high\n:
    mv      a5, a4
    j       .Lset_\high\n
    .endm

    .macro pairs high
    li      t2, 1
    beq     t0, t2, .Lpair_\high\()3
    li      t2, 2
    beq     t0, t2, .Lpair_\high\()2
    bnez    t0, .Lpair_\high\()1
    pair    0, \high
    pair    1, \high
    pair    2, \high
    pair    3, \high
    addi    a0, a0, 16
    addi    a2, a2, 16
    bne     a0, a1, .Lpair_\high\()0
    ret
    clip    0, \high
    clip    1, \high
    clip    2, \high
    clip    3, \high
    .endm

    .section .text.BitNetMCU_fixed_shift_pairs, "ax"
    .balign 4
function BitNetMCU_fixed_shift_pairs /* a2: words, a3: shift, a4: highest, a5: half */
    andi    t0, a1, 3
    slli    a1, a1, 2
    add     a1, a1, a0
    li      t1, 1
    sll     t1, t1, a3
    srli    t1, t1, 1
    beqz    t0, 2f                  /* the first round is of fewer than four */
    slli    t2, t0, 2
    addi    t2, t2, -16
    add     a0, a0, t2
    add     a2, a2, t2
2:  beqz    a5, .Llow_halves
    pairs   1
.Llow_halves:
    pairs   0
    end     BitNetMCU_fixed_shift_pairs
