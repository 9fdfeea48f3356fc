/* The tile of conv_2d_pairs.c for cores with the DSP extension; multiply() there is its meaning in C.
 * By hand, for it needs 14 registers at once and GCC moves values to the stack and back.
 *
 *     void te_pairs_four_relu(const te_pairs_tile *tile);     and three more
 *
 * r0 columns, r1 record, r4-r7 sums of both channels per pixel, r8-r11 sums of the low one. Four
 * pixels: r2 r3 activations of two, r12 weights of both channels, lr those of the low one. Three
 * leave room for r2 r3 r7 activations of all, r11 r12 lr weights of three steps: fewer loads.
 */

#include "relu_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_pairs_tile, copied to the stack; then where a channel pair's product starts */
    .equ    COLUMNS, 0
    .equ    COLUMNS_END, 4
    .equ    RECORDS, 8
    .equ    RECORDS_END, 12
    .equ    OUTPUT, 16
    .equ    STRIDE, 20
    .equ    STEPS, 24
    .equ    ENTRY, 28
    .equ    INSIDE, 32              /* the first step, if not the first of three */
    .equ    LOCALS, 36
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* two inputs of two channels; every instruction four bytes, for ENTRY */
    .equ    FOUR_BYTES, 12 * 4
    .macro  step_four
    ldrd    r2, r3, [r0], #8
    ldr     r12, [r1], #4
    sxtb16.w lr, r12
    smlad   r4, r12, r2, r4
    smlad   r8, lr, r2, r8
    smlad   r5, r12, r3, r5
    smlad   r9, lr, r3, r9
    ldrd    r2, r3, [r0], #8
    smlad   r6, r12, r2, r6
    smlad   r10, lr, r2, r10
    smlad   r7, r12, r3, r7
    smlad   r11, lr, r3, r11
    .endm

    .equ    THREE_BYTES, 8 * 4
    .macro  step_three weights
    ldm.w   r0!, {r2, r3, r7}
    smlad   r4, \weights, r2, r4
    smlad   r5, \weights, r3, r5
    smlad   r6, \weights, r7, r6
    sxtb16.w \weights, \weights
    smlad   r8, \weights, r2, r8
    smlad   r9, \weights, r3, r9
    smlad   r10, \weights, r7, r10
    .endm

/* to -128 .. 127; temporary holds the addend with the sign for rounding half away from zero */
    .macro  requantise acc, multiplier, addend, right, temporary, relu
    .if     \relu
    smmla   \acc, \acc, \multiplier, \addend
    ssat    \acc, #8, \acc, asr #TE_RELU_SHIFT
    .else
    add     \temporary, \addend, \acc, asr #31
    smmlar  \acc, \acc, \multiplier, \temporary
    asr     \acc, \acc, \right
    ssat    \acc, #8, \acc
    .endif
    .endm

    .macro  tile name, pixels, relu
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r4-r10}
    stm     sp, {r4-r10}
    .if     \pixels == 4
    rsb     r2, r10, #0             /* the first pass leaves out -steps mod 8 */
    and     r2, r2, #7
    movs    r3, #FOUR_BYTES
    mul     r2, r2, r3
    adr.w   r3, 2f
    add     r2, r2, r3
    .else
    add     r2, r10, #2             /* threes, and what the first one leaves out */
    movs    r3, #3
    udiv    r2, r2, r3
    mul     r3, r2, r3
    sub     r3, r3, r10
    rsb     r2, r2, #0              /* the first pass leaves out -threes mod 4 */
    and     r2, r2, #3
    movs    r12, #4 + 3 * THREE_BYTES
    mul     r2, r2, r12
    adr.w   r12, 2f
    add     r2, r2, r12
    cbz     r3, 3f
    add     r2, r2, r3, lsl #5      /* THREE_BYTES */
    add     r2, r2, #4 + 1
    str     r2, [sp, #INSIDE]
    adr.w   r2, 4f - 8
    add     r2, r2, r3, lsl #3
    .endif
3:  orr     r2, r2, #1
    str     r2, [sp, #ENTRY]
    mov     r1, r6
1:  ldrd    r4, r8, [r1], #8
    ldr     r0, [sp, #COLUMNS]
    mov     r5, r4
    mov     r6, r4
    mov     r9, r8
    mov     r10, r8
    .if     \pixels == 4
    mov     r7, r4
    mov     r11, r8
    .endif
    ldr     pc, [sp, #ENTRY]
    .balign 4
    .if     \pixels == 4
2:  .rept   8
    step_four
    .endr
    .else
4:  ldrd    r12, lr, [r1], #8       /* two of three steps */
    ldr.w   pc, [sp, #INSIDE]
    ldr.w   lr, [r1], #4            /* one */
    ldr.w   pc, [sp, #INSIDE]
2:  .rept   4
    ldm.w   r1!, {r11, r12, lr}
    step_three r11
    step_three r12
    step_three lr
    .endr
    .endif
    ldr     r2, [sp, #COLUMNS_END]
    cmp     r0, r2
    bne.w   2b
    sub     r4, r4, r8
    sub     r5, r5, r9
    sub     r6, r6, r10
    .if     \pixels == 4
    sub     r7, r7, r11
    .endif
    ldm     r1!, {r0, r2, r3, r12}  /* shift, multiplier, addend, right shift */
    asr     r4, r4, r0
    requantise r4, r2, r3, r12, lr, \relu
    asr     r5, r5, r0
    requantise r5, r2, r3, r12, lr, \relu
    asr     r6, r6, r0
    requantise r6, r2, r3, r12, lr, \relu
    .if     \pixels == 4
    asr     r7, r7, r0
    requantise r7, r2, r3, r12, lr, \relu
    .endif
    ldrd    lr, r0, [sp, #OUTPUT]
    strb    r4, [lr, #1]!
    strb    r5, [lr, r0]
    strb    r6, [lr, r0, lsl #1]
    ldm     r1!, {r2, r3, r4, r12}
    .if     \pixels == 4
    add     lr, lr, r0
    strb    r7, [lr, r0, lsl #1]
    lsl     r11, r11, r2
    requantise r11, r3, r4, r12, r5, \relu
    sub     lr, lr, #1
    strb    r11, [lr, r0, lsl #1]
    sub     lr, lr, r0
    .else
    sub     lr, lr, #1
    .endif
    lsl     r10, r10, r2
    requantise r10, r3, r4, r12, r5, \relu
    strb    r10, [lr, r0, lsl #1]
    lsl     r9, r9, r2
    requantise r9, r3, r4, r12, r5, \relu
    strb    r9, [lr, r0]
    lsl     r8, r8, r2
    requantise r8, r3, r4, r12, r5, \relu
    strb    r8, [lr], #2
    str     lr, [sp, #OUTPUT]
    ldr     r2, [sp, #RECORDS_END]
    cmp     r1, r2
    bne.w   1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED + LOCALS
    .endm

    tile    te_pairs_three_signed, 3, 0
    tile    te_pairs_three_relu, 3, 1
    tile    te_pairs_four_signed, 4, 0
    tile    te_pairs_four_relu, 4, 1
#endif
