/* The transforms and the product of conv_2d_winograd.c for cores with the DSP extension; the
 * functions there are their meaning in C. By hand, for each needs 13 or 14 registers at once. */

#include "relu_shift.h"

#if defined __ARM_FEATURE_DSP && defined __thumb2__ /* as in simd.h */
    .syntax unified
    .thumb
    .text

    .equ    SAVED, 9 * 4            /* r4-r11 lr */
    .equ    POSITIONS, 36
    .equ    ROW_BYTES, 6 * 4
    .equ    COLUMN_BYTES, 12 * 4    /* of two pairs of channels */
    .equ    M_STRIDE, 8 * 4         /* a position of M: two outputs of four tiles */

    .macro  function name
    .globl  \name
    .thumb_func
    .type   \name, %function
\name:
    push    {r4-r11, lr}
    .endm

    .macro  finish name, locals
    pop     {r4-r11, pc}
    .size   \name, . - \name
    .set    frame.\name, SAVED + \locals
    .endm

/* B^T d of d = r4-r9, in place; r10, r11 temporary. */
    .macro  transform_input
    sub     r4, r4, r6
    sub     r10, r8, r6
    sub     r11, r7, r5
    sub     r8, r8, r6, lsl #2
    sub     r9, r9, r7
    sub     r7, r7, r5, lsl #2
    sub     r6, r8, r7
    add     r5, r8, r7
    add     r7, r10, r11, lsl #1
    sub     r8, r10, r11, lsl #1
    add     r4, r10, r4, lsl #2
    sub     r9, r9, r11, lsl #2
    .endm

/* void te_winograd_columns(const int8_t *source, int32_t pixel, int32_t row, uint32_t *columns,
 *                          const uint32_t *end);
 *
 * r0 source, r1 pixel, r2 row, r3 three rows, r12 columns, lr 128 in both halves. */
    .macro  column pair, rotation:vararg
    add     r10, r0, r2
    ldr     r4, [r0]
    ldr     r5, [r0, r2]
    ldr     r6, [r0, r2, lsl #1]
    ldr     r7, [r0, r3]
    ldr     r8, [r0, r2, lsl #2]
    ldr     r9, [r10, r2, lsl #2]
    sxtab16 r4, lr, r4 \rotation
    sxtab16 r5, lr, r5 \rotation
    sxtab16 r6, lr, r6 \rotation
    sxtab16 r7, lr, r7 \rotation
    sxtab16 r8, lr, r8 \rotation
    sxtab16 r9, lr, r9 \rotation
    transform_input
    str     r4, [r12, #24 * \pair]
    str     r5, [r12, #24 * \pair + 4]
    str     r6, [r12, #24 * \pair + 8]
    str     r7, [r12, #24 * \pair + 12]
    str     r8, [r12, #24 * \pair + 16]
    str     r9, [r12, #24 * \pair + 20]
    .endm

    function te_winograd_columns
    mov     r12, r3
    mov     lr, #0x00800080
    add     r3, r2, r2, lsl #1
1:  column  0
    column  1, , ror #8
    ldr     r4, [sp, #SAVED]
    add     r12, r12, #COLUMN_BYTES
    add     r0, r0, r1
    cmp     r12, r4
    bne     1b
    finish  te_winograd_columns, 0

/* void te_winograd_rows(const uint32_t *columns, uint32_t *v, int32_t bytes);
 *
 * r0 columns, r1 v, r2 bytes, r3 six times that, r12 18 times, lr where the pair's columns end. */
    .macro  row
    ldr     r4, [r0, #0 * COLUMN_BYTES]
    ldr     r5, [r0, #1 * COLUMN_BYTES]
    ldr     r6, [r0, #2 * COLUMN_BYTES]
    ldr     r7, [r0, #3 * COLUMN_BYTES]
    ldr     r8, [r0, #4 * COLUMN_BYTES]
    ldr     r9, [r0, #5 * COLUMN_BYTES]
    add     r8, r8, #0x8000
    add     r9, r9, #0x8000
    transform_input
    eor     r4, r4, #0x8000
    eor     r5, r5, #0x8000
    eor     r6, r6, #0x8000
    eor     r7, r7, #0x8000
    eor     r8, r8, #0x8000
    eor     r9, r9, #0x8000
    add     r10, r1, r12
    str     r4, [r1]
    str     r5, [r1, r3]
    str     r6, [r1, r3, lsl #1]
    str     r7, [r10]
    str     r8, [r10, r3]
    str     r9, [r10, r3, lsl #1]
    adds    r0, #4
    add     r1, r1, r2
    .endm

    function te_winograd_rows
    add     r3, r2, r2, lsl #1
    lsls    r3, r3, #1
    add     r12, r3, r3, lsl #1
    add     lr, r0, #COLUMN_BYTES
1:  .rept   3
    row
    .endr
    sub     r10, lr, r0
    cmp     r10, #COLUMN_BYTES / 2
    bne     2f
    subs    r1, r1, r3              /* the other pair's first position */
    adds    r1, #4 * 4
2:  cmp     r0, lr
    bne     1b
    finish  te_winograd_rows, 0

/* G g of g = r4-r6: to r4, r7-r10, r6; r11, r12 temporary. */
    .macro  transform_weights
    sadd16  r11, r4, r6
    sadd16  r12, r6, r6
    sadd16  r12, r12, r12
    sadd16  r7, r11, r5
    ssub16  r8, r11, r5
    sadd16  r12, r12, r4
    sadd16  r5, r5, r5
    sadd16  r9, r12, r5
    ssub16  r10, r12, r5
    .endm

/* void te_winograd_weights(const uint32_t *taps, uint32_t *u, int32_t bytes,
 *                          const uint32_t *u_end);
 *
 * r0 taps, r1 u, r2 bytes, r3 three times that, lr five times. */
    .equ    U_END, 0
    .equ    TAPS, 4                 /* taps transformed along their rows: [row][6] */
    .equ    WEIGHTS_LOCALS, TAPS + 3 * ROW_BYTES

    .macro  weights_of_output rotation:vararg
    .irp    row, 0, 1, 2
    ldr     r4, [r0, #12 * \row]
    ldr     r5, [r0, #12 * \row + 4]
    ldr     r6, [r0, #12 * \row + 8]
    sxtb16  r4, r4 \rotation
    sxtb16  r5, r5 \rotation
    sxtb16  r6, r6 \rotation
    transform_weights
    str     r4, [sp, #TAPS + ROW_BYTES * \row]
    str     r7, [sp, #TAPS + ROW_BYTES * \row + 4]
    str     r8, [sp, #TAPS + ROW_BYTES * \row + 8]
    str     r9, [sp, #TAPS + ROW_BYTES * \row + 12]
    str     r10, [sp, #TAPS + ROW_BYTES * \row + 16]
    str     r6, [sp, #TAPS + ROW_BYTES * \row + 20]
    .endr
    .irp    column, 0, 1, 2, 3, 4, 5
    ldr     r4, [sp, #TAPS + 4 * \column]
    ldr     r5, [sp, #TAPS + ROW_BYTES + 4 * \column]
    ldr     r6, [sp, #TAPS + 2 * ROW_BYTES + 4 * \column]
    transform_weights
    str     r4, [r1]
    str     r7, [r1, r2]
    str     r8, [r1, r2, lsl #1]
    str     r9, [r1, r3]
    str     r10, [r1, r2, lsl #2]
    str     r6, [r1, lr]
    add     r1, r1, r3, lsl #1
    .endr
    mov     r4, #36                 /* back to the first position */
    mls     r1, r2, r4, r1
    add     r1, r1, #4
    .endm

    function te_winograd_weights
    sub     sp, #WEIGHTS_LOCALS
    str     r3, [sp, #U_END]
    add     r3, r2, r2, lsl #1
    add     lr, r2, r2, lsl #2
1:  weights_of_output
    weights_of_output , ror #8
    ldr     r4, [sp, #U_END]
    add     r0, r0, #9 * 4
    cmp     r1, r4
    bne     1b
    add     sp, #WEIGHTS_LOCALS
    finish  te_winograd_weights, WEIGHTS_LOCALS

/* void te_winograd_product(const uint32_t *v, const uint32_t *u, uint32_t *m, int32_t pairs);
 *
 * r0 v, r1 u, r4-r7 sums of the first output for four tiles, r8-r11 of the second one, r2 r3 their
 * weights, r12 lr inputs of two tiles. The first pair begins the sums; the others go through 16 steps
 * once, or through eight steps several times (long); the first pass leaves some of them out. */
    .equ    M, 0
    .equ    V_END, 4
    .equ    ENTRY, 8
    .equ    POSITION_END, 12
    .equ    POSITION_BYTES, 16
    .equ    PRODUCT_LOCALS, 20
    .equ    STEP_BYTES, 14 * 4

    .macro  first_step
    ldr     r2, [r1, #4]
    ldr     r3, [r1], #8
    ldr     r12, [r0, #4]
    ldr     lr, [r0, #8]
    smuad   r5, r3, r12
    smuad   r9, r2, r12
    smuad   r6, r3, lr
    smuad   r10, r2, lr
    ldr     r12, [r0, #12]
    ldr     lr, [r0], #16
    smuad   r7, r3, r12
    smuad   r11, r2, r12
    smuad   r4, r3, lr
    smuad   r8, r2, lr
    .endm

/* every instruction four bytes, for ENTRY */
    .macro  step
    ldr.w   r2, [r1, #4]
    ldr     r3, [r1], #8
    ldr.w   r12, [r0, #4]
    ldr.w   lr, [r0, #8]
    smlad   r5, r3, r12, r5
    smlad   r9, r2, r12, r9
    smlad   r6, r3, lr, r6
    smlad   r10, r2, lr, r10
    ldr.w   r12, [r0, #12]
    ldr     lr, [r0], #16
    smlad   r7, r3, r12, r7
    smlad   r11, r2, r12, r11
    smlad   r4, r3, lr, r4
    smlad   r8, r2, lr, r8
    .endm

    .macro  product name, steps, long
    function \name
    sub     sp, #PRODUCT_LOCALS
    lsls    r4, r3, #4              /* bytes of V of a position */
    movs    r5, #POSITIONS
    mla     r5, r4, r5, r0
    strd    r2, r5, [sp, #M]
    .if     \long
    add     r5, r0, r4
    strd    r5, r4, [sp, #POSITION_END]
    .endif
    rsb     r3, r3, #1              /* the first pass leaves out 1 - pairs mod steps */
    and     r3, r3, #\steps - 1
    movs    r4, #STEP_BYTES
    mul     r3, r3, r4
    adr.w   r4, 2f
    add     r3, r3, r4
    orr     r3, r3, #1
    str     r3, [sp, #ENTRY]
    first_step
    ldr     pc, [sp, #ENTRY]
    .balign 4
2:  .rept   \steps
    step
    .endr
    .if     \long
    ldrd    r2, r3, [sp, #POSITION_END]
    cmp     r0, r2
    bne.w   2b
    add     r2, r2, r3
    str     r2, [sp, #POSITION_END]
    .endif
    ldrd    r2, r3, [sp, #M]
    str     r4, [r2], #M_STRIDE     /* eight STR take less than an STM */
    .irp    lane, 5, 6, 7, 8, 9, 10, 11
    str     r\lane, [r2, #4 * (\lane - 4) - M_STRIDE]
    .endr
    str     r2, [sp, #M]
    cmp     r0, r3
    beq     3f
    first_step
    ldr     pc, [sp, #ENTRY]
3:
    add     sp, #PRODUCT_LOCALS
    finish  \name, PRODUCT_LOCALS
    .endm

    product te_winograd_product, 16, 0
    product te_winograd_product_long, 8, 1

/* A^T m of m = r4-r9, divided by 1, 2, 4, 4: to r4, r8, r6, r5. r10 temporary, r12 is 6. */
    .macro  transform_output
    add     r10, r5, r6
    sub     r5, r5, r6
    add     r6, r7, r8
    sub     r7, r7, r8
    sub     r8, r6, r10, lsl #2
    mla     r4, r4, r12, r8
    sub     r8, r7, r5, lsl #1
    sub     r6, r6, r10
    rsb     r5, r5, r7, lsl #1
    mla     r5, r9, r12, r5
    .endm

/* A sum times 9 * 2^(6 - divided) to -128 .. 127. r11 inverse, r1 multiplier, r2 addend, r3 right. */
    .macro  requantise value, divided, relu
    mul     \value, \value, r11
    .if     \relu
    .if     \divided < 4
    asr     \value, \value, #4 - \divided
    .endif
    smmla   \value, \value, r1, r2
    ssat    \value, #8, \value, asr #TE_RELU_SHIFT
    .else
    asr     \value, \value, #5 - \divided
    add     r10, r2, \value, asr #31
    smmlar  \value, \value, r1, r10
    asr     \value, \value, r3
    ssat    \value, #8, \value
    .endif
    .endm

    .macro  output_row row, divided, relu
    ldr     r4, [sp, #COLUMNS + 24 * \row]
    ldr     r5, [sp, #COLUMNS + 24 * \row + 4]
    ldr     r6, [sp, #COLUMNS + 24 * \row + 8]
    ldr     r7, [sp, #COLUMNS + 24 * \row + 12]
    ldr     r8, [sp, #COLUMNS + 24 * \row + 16]
    ldr     r9, [sp, #COLUMNS + 24 * \row + 20]
    transform_output
    requantise r4, \divided, \relu
    requantise r8, (\divided + 1), \relu
    requantise r6, (\divided + 2), \relu
    requantise r5, (\divided + 2), \relu
    strb    r4, [r0]
    strb    r8, [r0, lr]
    strb    r6, [r0, lr, lsl #1]
    add     r4, r0, lr
    strb    r5, [r4, lr, lsl #1]
    .endm

/* void te_winograd_output_signed(const uint32_t *m, const uint32_t *record,
 *                                te_winograd_place *places, const te_winograd_place *end);
 *
 * Columns first: r0 m, r11 bias. Then rows: r0 output, lr bytes of a pixel. */
    .equ    ARGUMENT_M, 0
    .equ    RECORD, 4
    .equ    PLACES, 8
    .equ    PLACES_END, 12
    .equ    OUTPUT_ROW, 16
    .equ    COLUMNS, 20             /* [4 rows][6 columns] */
    .equ    OUTPUT_LOCALS, COLUMNS + 4 * 6 * 4

    .macro  output name, relu
    function \name
    sub     sp, #OUTPUT_LOCALS
    stm     sp, {r0-r3}
    mov     r12, #6
1:  ldr     r11, [r1]
    .irp    column, 0, 1, 2, 3, 4, 5
    ldr     r4, [r0, #M_STRIDE * (6 * \column)]
    ldr     r5, [r0, #M_STRIDE * (6 * \column + 1)]
    ldr     r6, [r0, #M_STRIDE * (6 * \column + 2)]
    ldr     r7, [r0, #M_STRIDE * (6 * \column + 3)]
    ldr     r8, [r0, #M_STRIDE * (6 * \column + 4)]
    ldr     r9, [r0, #M_STRIDE * (6 * \column + 5)]
    .if     \column == 1
    add     r5, r5, r11
    .endif
    transform_output
    str     r4, [sp, #COLUMNS + 4 * \column]
    str     r8, [sp, #COLUMNS + 24 + 4 * \column]
    str     r6, [sp, #COLUMNS + 48 + 4 * \column]
    str     r5, [sp, #COLUMNS + 72 + 4 * \column]
    .endr
    adds    r0, #4
    str     r0, [sp, #ARGUMENT_M]
    ldr     r10, [sp, #PLACES]
    ldr     r11, [r1, #4]
    ldr     r2, [r1, #12]
    ldr     r3, [r1, #16]
    ldr     r1, [r1, #8]
    ldr     r0, [r10]
    ldr     lr, [r10, #4]
    ldr     r4, [r10, #8]
    adds    r5, r0, #1
    str     r5, [r10], #12
    str     r10, [sp, #PLACES]
    str     r4, [sp, #OUTPUT_ROW]
    output_row 0, 0, \relu
    ldr     r10, [sp, #OUTPUT_ROW]
    add     r0, r0, r10
    output_row 1, 1, \relu
    ldr     r10, [sp, #OUTPUT_ROW]
    add     r0, r0, r10
    output_row 2, 2, \relu
    ldr     r10, [sp, #OUTPUT_ROW]
    add     r0, r0, r10
    output_row 3, 2, \relu
    ldm     sp, {r0-r3}
    cmp     r2, r3
    bne.w   1b
    add     sp, #OUTPUT_LOCALS
    finish  \name, OUTPUT_LOCALS
    .endm

    output  te_winograd_output_signed, 0
    output  te_winograd_output_relu, 1
#endif
