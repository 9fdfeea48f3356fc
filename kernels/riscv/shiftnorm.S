/* BitNetMCU_shiftnorm_relu, that of 16 bits, BitNetMCU_narrow, BitNetMCU_fixed_shift_relu,
 * BitNetMCU_fixed_shift_max and BitNetMCU_fixed_shift_pairs for RV32EC. Their plain twins are in
 * BitNetMCU_inference.c.
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

    .macro to_round name
#if ROUND_BESIDE_INNER
    lla     a5, \name
    jr      a5
#else
    j       \name
#endif
    .endm

/* From a0 accumulators, a1 of them of `size` bytes, to activations a2: t1 whether they are odd, t2
 * their end, and the round before the first where they are. */
    .macro rounds size
    slli    t2, a1, \size / 2
    add     t2, t2, a0
    andi    t1, a1, 1
    sub     a2, a2, t1
    slli    a5, t1, \size / 2
    sub     a0, a0, a5
    .endm

    .section .text.BitNetMCU_fixed_shift_relu, "ax"
    .balign 4
function BitNetMCU_fixed_shift_relu /* a3: shift, a4: highest */
    rounds  4
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
1:  to_round BitNetMCU_round
    end     BitNetMCU_fixed_shift_relu

/* Accumulators of `size` bytes, and how they are loaded; those of 32 bits have no suffix. */
    .macro shiftnorm load, size, suffix
    .section .text.BitNetMCU_shiftnorm_relu\suffix, "ax"
    .balign 4
function BitNetMCU_shiftnorm_relu\suffix /* a3: highest */
    rounds  \size
    mv      a1, a3
    mv      a4, a3                  /* the largest, if that asks for a shift */
    mv      a3, a0
    bnez    t1, .Llargest_second\suffix
.Llargest\suffix:
    \load   a5, 0(a3)
    blt     a4, a5, .Llarger_first\suffix
.Llargest_second\suffix:
    \load   a5, \size(a3)
    blt     a4, a5, .Llarger_second\suffix
.Llargest_next\suffix:
    addi    a3, a3, 2 * \size
    bne     a3, t2, .Llargest\suffix

    mv      a3, a1                  /* the largest that the shift t0 brings to highest or below */
    li      t0, 0
    j       2f
.Llarger_first\suffix:
    mv      a4, a5
    j       .Llargest_second\suffix
.Llarger_second\suffix:
    mv      a4, a5
    j       .Llargest_next\suffix

1:  slli    a3, a3, 1
    addi    a3, a3, 1
    addi    t0, t0, 1
2:  bltu    a3, a4, 1b
    li      a4, 1
    sll     a4, a4, t0
    srli    a4, a4, 1
#if ROUND_BESIDE_INNER
    to_round BitNetMCU_round\suffix
#endif
    end     BitNetMCU_shiftnorm_relu\suffix

/* a1: highest, a3: the largest sum that becomes highest or less, with a4 added, half of what the
 * shift t0 shifts out; the rest as `rounds` leaves it. Returns the shift. */
#if ROUND_BESIDE_INNER
    .section .text.BitNetMCU_inner_round\suffix, "ax"
    .balign 4
#endif
function BitNetMCU_round\suffix
    sub     a3, a3, a4
    bnez    t1, .Lround_second\suffix
.Lround\suffix:
    \load   a5, 0(a0)
    sb      zero, 0(a2)             /* most are not positive */
    blez    a5, .Lround_second\suffix
    bltu    a3, a5, .Lclip_first\suffix
    add     a5, a5, a4
    srl     a5, a5, t0
    sb      a5, 0(a2)
.Lround_second\suffix:
    \load   a5, \size(a0)
    sb      zero, 1(a2)
    blez    a5, .Lround_next\suffix
    bltu    a3, a5, .Lclip_second\suffix
    add     a5, a5, a4
    srl     a5, a5, t0
    sb      a5, 1(a2)
.Lround_next\suffix:
    addi    a0, a0, 2 * \size
    addi    a2, a2, 2
    bne     a0, t2, .Lround\suffix
    mv      a0, t0
    ret
.Lclip_first\suffix:
    sb      a1, 0(a2)
    j       .Lround_second\suffix
.Lclip_second\suffix:
    sb      a1, 1(a2)
    j       .Lround_next\suffix
    end     BitNetMCU_round\suffix
    .endm

    shiftnorm lw, 4
    shiftnorm lh, 2, _16

    .section .text.BitNetMCU_narrow, "ax"
    .balign 4
function BitNetMCU_narrow           /* a0: accumulators, a1 of them, a2: as int16 */
    andi    a4, a1, 3
    slli    a1, a1, 2
    add     a1, a1, a0
    beqz    a4, 2f
1:  lw      a5, 0(a0)
    addi    a0, a0, 4
    sh      a5, 0(a2)
    addi    a2, a2, 2
    addi    a4, a4, -1
    bnez    a4, 1b
    beq     a0, a1, 3f              /* then four a round */
2:  lw      a5, 0(a0)
    lw      a4, 4(a0)
    sh      a5, 0(a2)
    sh      a4, 2(a2)
    lw      a5, 8(a0)
    lw      a4, 12(a0)
    sh      a5, 4(a2)
    sh      a4, 6(a2)
    addi    a0, a0, 16
    addi    a2, a2, 8
    bne     a0, a1, 2b
3:  ret
    end     BitNetMCU_narrow

/* One value of BitNetMCU_fixed_shift_pairs, the \n-th from a0 on. What is not positive is still less
 * than 1 when half of 1 is added to it. */
    .macro pair n, high, name
    lw      a5, 4 * \n(a0)
    .ifeq \high
    sw      zero, 4 * \n(a2)
    .endif
    add     a5, a5, t1
    bltz    a5, 1f
    srl     a5, a5, a3
    bltu    a4, a5, .Lclip_\name
.Lset_\name:
    .if \high
    sh      a5, 4 * \n + 2(a2)
    .else
    sw      a5, 4 * \n(a2)
    .endif
1:
    .endm

    .macro clip name
.Lclip_\name:
    mv      a5, a4
    j       .Lset_\name
    .endm

    .macro pairs high
.Lpairs_\high:
    beqz    t0, 3f
    pair    0, \high, rest_\high
    addi    t0, t0, -1
    addi    a0, a0, 4
    addi    a2, a2, 4
    j       .Lpairs_\high
2:  .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
    pair    \n, \high, \high\n
    .endr
    addi    a0, a0, 32
    addi    a2, a2, 32
3:  bne     a0, a1, 2b
    ret
    .irp    name, rest_\high, \high\()0, \high\()1, \high\()2, \high\()3, \high\()4, \high\()5, \high\()6, \high\()7
    clip    \name
    .endr
    .endm

    .section .text.BitNetMCU_fixed_shift_pairs, "ax"
    .balign 4
function BitNetMCU_fixed_shift_pairs /* a2: words, a3: shift, a4: highest, a5: half */
    andi    t0, a1, 7               /* they come first, then rounds of eight */
    slli    a1, a1, 2
    add     a1, a1, a0
    li      t1, 1
    sll     t1, t1, a3
    srli    t1, t1, 1
    beqz    a5, .Lpairs_0
    pairs   1
    pairs   0
    end     BitNetMCU_fixed_shift_pairs

/* The \n-th of four values of BitNetMCU_fixed_shift_max. Most are less than t0, the least one that is
 * not brought to 0, and change nothing. */
    .macro max n
.Lmax_\n:
    lw      a5, 4 * \n(a0)
    bge     a5, t0, .Lround_max_\n
.Lnext_max_\n:
    .endm

    .macro round_max n
.Lround_max_\n:
    add     a5, a5, t1
    srl     a5, a5, a3
    bltu    a4, a5, .Lclip_max_\n
.Lcompare_max_\n:
    lbu     a1, \n(a2)
    bgeu    a1, a5, .Lnext_max_\n
    sb      a5, \n(a2)
    j       .Lnext_max_\n
.Lclip_max_\n:
    mv      a5, a4
    j       .Lcompare_max_\n
    .endm

    .section .text.BitNetMCU_fixed_shift_max, "ax"
    .balign 4
function BitNetMCU_fixed_shift_max /* a3: shift, a4: highest */
    slli    t2, a1, 2
    add     t2, t2, a0
    li      t1, 1
    sll     t1, t1, a3
    srli    t1, t1, 1
    mv      t0, t1
    bnez    a3, 1f
    li      t0, 1
1:  andi    a1, a1, 3               /* fewer than four are the last ones of a round */
    beqz    a1, .Lmax_0
    add     a2, a2, a1
    addi    a2, a2, -4
    slli    a5, a1, 2
    add     a0, a0, a5
    addi    a0, a0, -16
    addi    a1, a1, -2
    bltz    a1, .Lmax_3
    beqz    a1, .Lmax_2
    j       .Lmax_1
    .balign 4
    max     0
    max     1
    max     2
    max     3
    addi    a0, a0, 16
    addi    a2, a2, 4
    bne     a0, t2, .Lmax_0
    ret
    .irp    n, 0, 1, 2, 3
    round_max \n
    .endr
    end     BitNetMCU_fixed_shift_max
