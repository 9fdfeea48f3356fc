/* void te_expand_pairs(const te_pairs *of, const int8_t *input): its meaning in C is in depthwise.h.
 */

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

    .equ    WORDS, 0                /* te_pairs, as far as it is not in registers; then the input */
    .equ    PAIRS, 4
    .equ    COLUMNS, 8
    .equ    PADDING, 12
    .equ    INPUT, 16
    .equ    LOCALS, 20
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

    .macro  column upper, lower
    pkhbt   r12, \upper, \lower, lsl #16
    pkhtb   \lower, \lower, \upper, asr #16
    sxtab16 \upper, r3, r12
    sxtab16 r12, r3, r12, ror #8
    str     \upper, [r1]
    str     r12, [r1, #4]
    sxtab16 \upper, r3, \lower
    sxtab16 \lower, r3, \lower, ror #8
    str     \upper, [r1, #8]
    str     \lower, [r1, #12]
    .endm

    .macro  two_columns
    ldr     r8, [r4]
    ldr     r9, [r5]
    ldr     r10, [r4, r6]
    ldr     r11, [r5, r7]
    add     r4, r4, r6, lsl #1
    add     r5, r5, r7, lsl #1
    column  r8, r9
    add     r1, r1, lr
    .endm

    .globl  te_expand_pairs
    .thumb_func
    .type   te_expand_pairs, %function
te_expand_pairs:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r0, r2, r4-r6, r8, r9}
    mov     r3, r8
    mov     lr, r6                  /* pitch */
    mov     r6, r9
    mov     r7, r1
    stm     sp, {r2, r4-r7}
1:  ldm     r0!, {r4-r7}            /* upper, lower row, their steps */
    ldr     r1, [sp, #WORDS]
    ldr     r2, [sp, #COLUMNS]
    ldr     r8, [sp, #INPUT]
    ldr     r9, [sp, #PADDING]
    add     r10, r1, #16
    str     r10, [sp, #WORDS]
    cmp     r6, #0
    ite     ne
    addne   r4, r4, r8
    moveq   r4, r9
    cmp     r7, #0
    ite     ne
    addne   r5, r5, r8
    moveq   r5, r9
    subs    r2, #4
    blt     3f
2:  two_columns
    column  r10, r11
    add     r1, r1, lr
    two_columns
    subs    r2, #4
    column  r10, r11
    add     r1, r1, lr
    bge     2b
3:  adds    r2, #2
    blt     4f
    two_columns
    column  r10, r11
    add     r1, r1, lr
    subs    r2, #2
4:  adds    r2, #1
    blt     5f
    ldr     r8, [r4]
    ldr     r9, [r5]
    column  r8, r9
5:  ldr     r2, [sp, #PAIRS]
    subs    r2, #1
    str     r2, [sp, #PAIRS]
    bne     1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   te_expand_pairs, . - te_expand_pairs
    .set    frame.te_expand_pairs, SAVED + LOCALS
#endif
