/* BitNetMCU_shiftnorm_relu for RV32EC. Its plain twin is in BitNetMCU_inference.c.
 *
 *     uint32_t BitNetMCU_shiftnorm_relu(const int32_t *accumulators, uint32_t count,
 *                                       int8_t *activations);
 *
 * Uses no stack and no register that a function must keep. Both loops take two values a round, in
 * the order of memory; an odd count starts at the second half of a round.
 */

    .section .text.BitNetMCU_shiftnorm_relu, "ax"
    .globl  BitNetMCU_shiftnorm_relu
    .type   BitNetMCU_shiftnorm_relu, @function
    .balign 4
BitNetMCU_shiftnorm_relu:
    andi    t1, a1, 1
    slli    t2, t1, 2
    sub     a2, a2, t1
    slli    a1, a1, 2
    add     a1, a1, a0              /* end of the accumulators */
    sub     a0, a0, t2
    mv      a3, a0
    li      a4, 127                 /* the largest, if that asks for a shift */
    bnez    t1, .Llargest_second
.Llargest:
    lw      a5, 0(a3)
    blt     a4, a5, .Llarger_first
.Llargest_second:
    lw      a5, 4(a3)
    blt     a4, a5, .Llarger_second
.Llargest_next:
    addi    a3, a3, 8
    bne     a3, a1, .Llargest

    li      a3, 127                 /* the largest that the shift t0 brings below 128 */
    li      t0, 0
    j       2f
1:  slli    a3, a3, 1
    addi    a3, a3, 1
    addi    t0, t0, 1
2:  bltu    a3, a4, 1b
    li      a4, 1
    sll     a4, a4, t0
    srli    a4, a4, 1               /* half of what is shifted out */
    sub     a3, a3, a4              /* the largest that is still below 128 once rounded */
    bnez    t1, .Lround_second
.Lround:
    lw      a5, 0(a0)
    bltu    a3, a5, .Lclip_first    /* or negative */
    add     a5, a5, a4
    sra     a5, a5, t0
    sb      a5, 0(a2)
.Lround_second:
    lw      a5, 4(a0)
    bltu    a3, a5, .Lclip_second
    add     a5, a5, a4
    sra     a5, a5, t0
.Lround_next:
    sb      a5, 1(a2)
    addi    a0, a0, 8
    addi    a2, a2, 2
    bne     a0, a1, .Lround
    mv      a0, t0
    ret

.Llarger_first:
    mv      a4, a5
    j       .Llargest_second
.Llarger_second:
    mv      a4, a5
    j       .Llargest_next

    .macro clip                     /* 0 if negative, else 127 */
    srai    a5, a5, 31
    not     a5, a5
    srli    a5, a5, 25
    .endm

.Lclip_first:
    clip
    sb      a5, 0(a2)
    j       .Lround_second
.Lclip_second:
    clip
    j       .Lround_next
    .size   BitNetMCU_shiftnorm_relu, . - BitNetMCU_shiftnorm_relu
    .set    frame.BitNetMCU_shiftnorm_relu, 0
