/* The outputs of fully_connected_pairs.c for cores with the DSP extension; multiply() there is its
 * meaning in C. By hand, for GCC takes no LDM, and one loads four words.
 *
 *     void te_full_relu(const te_full_tile *tile);            and one more
 *
 * r0 columns, r1 record, r2-r5 activations, r6-r9 sums: both and low of two pairs of outputs,
 * r10-r12 lr weights.
 */

#include "relu_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_full_tile, copied to the stack; then the address of the first step */
    .equ    COLUMNS, 0
    .equ    COLUMNS_END, 4
    .equ    RECORDS_END, 8
    .equ    OUTPUT, 12
    .equ    ENTRY, 16
    .equ    LOCALS, 20
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

/* eight inputs and four outputs; every instruction four bytes, for ENTRY */
    .equ    STEP_BYTES, 27 * 4
    .macro  step
    ldm.w   r0!, {r2-r5}
    four_inputs r2, r3
    four_inputs r4, r5
    .endm

    .macro  four_inputs even, odd
    ldm.w   r1!, {r10-r12, lr}
    smlad   r6, r10, \even, r6
    smlad   r8, r11, \even, r8
    smlad   r6, r12, \odd, r6
    smlad   r8, lr, \odd, r8
    sxtb16  r10, r10
    sxtb16  r11, r11
    sxtb16  r12, r12
    sxtb16  lr, lr
    smlad   r7, r10, \even, r7
    smlad   r9, r11, \even, r9
    smlad   r7, r12, \odd, r7
    smlad   r9, lr, \odd, r9
    .endm

/* The sum `acc` to -128 .. 127. */
    .macro  requantise acc, shift, relu
    ldm     r1!, {r2-r5}            /* left or right shift, multiplier, addend, right shift */
    \shift  \acc, \acc, r2
    .if     \relu
    smmla   \acc, \acc, r3, r4
    ssat    \acc, #8, \acc, asr #TE_RELU_SHIFT
    .else
    add     r4, r4, \acc, asr #31   /* half away from zero */
    smmlar  \acc, \acc, r3, r4
    asr     \acc, \acc, r5
    ssat    \acc, #8, \acc
    .endif
    .endm

    .macro  tile name, relu
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r5}             /* records are not copied, they are read once */
    stm     sp, {r2-r5}
    sub     r2, r2, r3              /* the first pass leaves out -steps mod 4 */
    ubfx    r2, r2, #4, #2
    movs    r3, #STEP_BYTES
    mul     r2, r2, r3
    adr.w   r3, 2f
    add     r2, r2, r3
    orr     r2, r2, #1
    str     r2, [sp, #ENTRY]
1:  ldm     r1!, {r6-r9}
    ldr     r0, [sp, #COLUMNS]
    ldr     pc, [sp, #ENTRY]
    .balign 4
2:  .rept   4
    step
    .endr
    ldr     r2, [sp, #COLUMNS_END]
    cmp     r0, r2
    bne.w   2b
    sub     r6, r6, r7
    sub     r8, r8, r9
    requantise r6, asr, \relu
    requantise r7, lsl, \relu
    requantise r8, asr, \relu
    requantise r9, lsl, \relu
    ldrd    r2, r3, [sp, #RECORDS_END]      /* and OUTPUT */
    strb    r7, [r3], #4
    strb    r6, [r3, #-3]
    strb    r9, [r3, #-2]
    strb    r8, [r3, #-1]
    str     r3, [sp, #OUTPUT]
    cmp     r1, r2
    bne.w   1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED + LOCALS
    .endm

    tile    te_full_signed, 0
    tile    te_full_relu, 1
#endif
