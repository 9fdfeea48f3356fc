/* A row of a 3x3 depthwise convolution with stride 1 or 2, for the channels whose planes are expanded;
 * row_3x3() in depthwise_conv_2d_planes.c is its meaning in C.
 *
 *     void te_planes_1_relu(const te_planes_row *row);        1: the stride; and three more
 *
 * r0-r2 columns in three rows, r3 output, r4-r9 weights, r10 r11 four columns of a row,
 * r12 lr sums of two outputs.
 */

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

/* te_planes_row, copied to the stack, then a channel's requantisation */
    .equ    ROWS, 0                 /* three, then output */
    .equ    CHANNELS, 16
    .equ    EVEN_BYTES, 20
    .equ    ODD, 24
    .equ    PITCH, 28
    .equ    RECORD, 32
    .equ    RECORDS_END, 36
    .equ    BIAS, 40
    .equ    MULTIPLIER, 44          /* then addend */
    .equ    ADDEND, 48
    .equ    RIGHT, 52
    .equ    END, 56
    .equ    LOCALS, 60
    .equ    SAVED, 9 * 4            /* r4-r11 lr */

    .macro  requantise acc, relu
    ldrd    r10, r11, [sp, #MULTIPLIER]
    .if     \relu == 0
    add     r11, r11, \acc, asr #31
    .endif
    smmlar  \acc, \acc, r10, r11
    ldr     r10, [sp, #RIGHT]
    asr     \acc, \acc, r10
    ssat    \acc, #8, \acc
    .endm

/* two outputs; even_in, odd_in: what is added to */
    .macro  columns row, w01, w12, even_in, odd_in, stride
    ldrd    r10, r11, [\row], #4 * \stride
    smlad   r12, r10, \w01, \even_in
    .if     \stride == 1
    smlatb  lr, r10, \w01, \odd_in
    smlabt  r12, r11, \w12, r12
    smlad   lr, r11, \w12, lr
    .else
    ldr     r10, [\row]
    smlad   lr, r11, \w01, \odd_in
    smlabt  r12, r11, \w12, r12
    smlabt  lr, r10, \w12, lr
    .endif
    .endm

    .macro  row_3x3 name, relu, stride
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    sub     sp, #LOCALS
    ldm     r0, {r1-r10}
    stm     sp, {r1-r10}
    ldm     sp, {r0-r3}
    mov     r10, r9
1:  ldm     r10!, {r4-r7}           /* r10: record */
    add     r11, sp, #BIAS
    stm     r11, {r4-r7}
    ldm     r10!, {r4-r9}
    str     r10, [sp, #RECORD]
    ldr     r10, [sp, #EVEN_BYTES]
    add     r10, r10, r0
    str     r10, [sp, #END]
    cmp     r10, r0
    beq     3f
2:  ldr     lr, [sp, #BIAS]
    columns r0, r4, r5, lr, lr, \stride
    columns r1, r6, r7, r12, lr, \stride
    columns r2, r8, r9, r12, lr, \stride
    ldrd    r10, r11, [sp, #MULTIPLIER]
    .if     \relu
    smmlar  r12, r12, r10, r11
    smmlar  lr, lr, r10, r11
    .else
    add     r11, r11, r12, asr #31
    smmlar  r12, r12, r10, r11
    ldr     r11, [sp, #ADDEND]
    add     r11, r11, lr, asr #31
    smmlar  lr, lr, r10, r11
    .endif
    ldrd    r10, r11, [sp, #RIGHT]  /* and END */
    asr     r12, r12, r10
    asr     lr, lr, r10
    ldr     r10, [sp, #CHANNELS]
    ssat    r12, #8, r12
    ssat    lr, #8, lr
    strb    r12, [r3]
    strb    lr, [r3, r10]
    add     r3, r3, r10, lsl #1
    cmp     r11, r0
    bne     2b
3:  ldr     r10, [sp, #ODD]         /* a last output */
    cmp     r10, #0
    beq     4f
    ldr     lr, [sp, #BIAS]
    ldrd    r10, r11, [r0]
    smlad   lr, r10, r4, lr
    smlabt  lr, r11, r5, lr
    ldrd    r10, r11, [r1]
    smlad   lr, r10, r6, lr
    smlabt  lr, r11, r7, lr
    ldrd    r10, r11, [r2]
    smlad   lr, r10, r8, lr
    smlabt  lr, r11, r9, lr
    requantise lr, \relu
    strb    lr, [r3]
4:  ldm     sp, {r0-r3}             /* the next channel */
    ldr     r10, [sp, #PITCH]
    add     r0, r0, r10
    add     r1, r1, r10
    add     r2, r2, r10
    adds    r3, #1
    stm     sp, {r0-r3}
    ldrd    r10, r11, [sp, #RECORD]         /* and RECORDS_END */
    cmp     r10, r11
    bne     1b
    add     sp, #LOCALS
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED + LOCALS
    .endm

    row_3x3 te_planes_1_signed, 0, 1
    row_3x3 te_planes_1_relu, 1, 1
    row_3x3 te_planes_2_signed, 0, 2
    row_3x3 te_planes_2_relu, 1, 2
#endif
