/* BitNetMCU_scan_strip and BitNetMCU_window_nibbles for RV32EC. The method, the lists and the
 * header of weights are those of kernels/strips.c, the plain twin of this file.
 *
 *     void BitNetMCU_scan_strip(const int8_t *map, const BitNetMCU_strip *strip, uint8_t *lists);
 *     void BitNetMCU_window_nibbles(const uint8_t *lists, const BitNetMCU_strip *strip,
 *                                   uint32_t first, uint32_t position,
 *                                   const BitNetMCU_window *window, int32_t *accumulators);
 *
 * Both borrow gp and tp (restored on return); sp keeps its meaning all the time, so that interrupts
 * may come.
 *
 * BitNetMCU_inner_strips takes most of the time and is worth SRAM. It is called by
 * BitNetMCU_window_nibbles alone, on its frame.
 *
 * A block of 32 outputs is summed in two steps. The first one goes through the lists and leaves the
 * 8-bit lanes of each, of all its columns of eight outputs, in the list's slot. The second one goes
 * through the columns: it widens the slots, from the highest bit down, into 16-bit lanes in
 * registers, and unpacks those to accumulators.
 */

#include "../strips.h"

/* BitNetMCU_strip and BitNetMCU_window */
#define ROW_BYTES 0
#define WIDTH 4
#define ROWS 8
#define CHANNELS 12
#define BITS 16
#define POSITIONS 20
#define ENTRIES 24
#define WEIGHTS 0
#define COLUMNS 4
#define OUTPUTS 8
#define INPUTS 12

    .macro if_list operation, list, end
    .if \list < STRIP_LISTS
    \operation \list, \end
    .endif
    .endm

/* `operation` LIST, REGISTER with the list's end, from bit 0 up */
    .macro each_list operation
    if_list \operation, 0, s0
    if_list \operation, 1, s1
    if_list \operation, 2, a0
    if_list \operation, 3, a1
    if_list \operation, 4, a2
    if_list \operation, 5, t1
    if_list \operation, 6, t2
    .endm

/* With so few lists the loop that fills them is beside the inner one, in SRAM. */
#define SCAN_BESIDE_INNER (STRIP_LISTS < 6)

/* --- lists. Registers: a3 the value, its next bit on top; a4 its address; a5 spare; t0 its position;
 * ra that of the end of the run: values that are \step bytes apart, tp; gp where the table goes on;
 * and the ends of the lists. A run is a column where a pixel is one value, else a pixel. */
#define SCAN_COLUMN 0     /* address of the column */
#define SCAN_RUN 4        /* positions in a run */
#define SCAN_STRIP 8
#define SCAN_ROW 12       /* address of the pixel, if that is a run */
#define SCAN_LEFT 16      /* pixels of the column */
#define SCAN_POSITIONS 20
#define SCAN_CHANNELS 24
#define SCAN_RA 28
#define SCAN_S0 32
#define SCAN_S1 36
#define SCAN_GP 40
#define SCAN_TP 44
#define SCAN_FRAME 48

    .macro start list, end
    mv      \end, gp
    add     gp, gp, a5
    .endm

    .macro tabulate list, end
    sb      \end, \list(gp)
    .endm

    .macro test list, end
    slli    a3, a3, 1
    bgez    a3, 1f
    sb      t0, 0(\end)
    addi    \end, \end, 1
1:
    .endm

    .macro next
    add     a4, a4, tp
    addi    t0, t0, 1
    beq     t0, ra, .Lrun_end
    .endm

    .section .text.BitNetMCU_scan_strip, "ax"
    .globl  BitNetMCU_scan_strip
    .type   BitNetMCU_scan_strip, @function
    .balign 4
BitNetMCU_scan_strip:
    addi    sp, sp, -SCAN_FRAME
    sw      ra, SCAN_RA(sp)
    sw      s0, SCAN_S0(sp)
    sw      s1, SCAN_S1(sp)
    sw      gp, SCAN_GP(sp)
    sw      tp, SCAN_TP(sp)
    sw      a0, SCAN_COLUMN(sp)
    sw      a1, SCAN_STRIP(sp)
    mv      a4, a0
    lw      a5, POSITIONS(a1)
    sw      a5, SCAN_POSITIONS(sp)
    lw      a3, CHANNELS(a1)
    sw      a3, SCAN_CHANNELS(sp)
    lw      tp, ROW_BYTES(a1)
    lw      ra, ROWS(a1)
    addi    a3, a3, -1
    beqz    a3, 1f
    li      tp, 1
1:  addi    a3, tp, -1
    bnez    a3, 1f
    lw      ra, CHANNELS(a1)        /* a run is a pixel */
    lw      a3, ROWS(a1)
    sw      a3, SCAN_LEFT(sp)
    sw      a0, SCAN_ROW(sp)
1:  sw      ra, SCAN_RUN(sp)
    lw      a3, ENTRIES(a1)
    mv      gp, a2
    add     a3, a3, a2
    each_list start
    mv      gp, a3
    each_list tabulate
    addi    gp, gp, STRIP_LISTS
    li      t0, 0
    lla     a5, .Lfirst
    jr      a5

.Lpixel_end:
    lw      a5, SCAN_LEFT(sp)
    lw      a3, SCAN_STRIP(sp)
    addi    a5, a5, -1
    beqz    a5, 1f
    sw      a5, SCAN_LEFT(sp)
    lw      a4, SCAN_ROW(sp)
    lw      a5, ROW_BYTES(a3)
    add     a4, a4, a5
    sw      a4, SCAN_ROW(sp)
    lla     a3, .Lrun
    jr      a3
1:  lw      a5, ROWS(a3)
    sw      a5, SCAN_LEFT(sp)
    lw      a4, SCAN_COLUMN(sp)
    lw      a5, SCAN_CHANNELS(sp)
    add     a4, a4, a5
    sw      a4, SCAN_ROW(sp)
    lla     a3, .Lcolumn_end
    jr      a3

.Lscanned:
    lw      ra, SCAN_RA(sp)
    lw      s0, SCAN_S0(sp)
    lw      s1, SCAN_S1(sp)
    lw      gp, SCAN_GP(sp)
    lw      tp, SCAN_TP(sp)
    addi    sp, sp, SCAN_FRAME
    ret
    .size   BitNetMCU_scan_strip, . - BitNetMCU_scan_strip
    .set    frame.BitNetMCU_scan_strip, SCAN_FRAME

#if SCAN_BESIDE_INNER
    .section .text.BitNetMCU_inner_strips, "ax"
#endif
    .type   BitNetMCU_scan_columns, @function
    .balign 4
BitNetMCU_scan_columns:
.Lwork:
    slli    a3, a3, 31 - STRIP_LISTS
    if_list test, 6, t2
    if_list test, 5, t1
    if_list test, 4, a2
    if_list test, 3, a1
    if_list test, 2, a0
    if_list test, 1, s1
    if_list test, 0, s0
.Lnext:
    next
.Lfirst:
    lb      a3, 0(a4)
    bnez    a3, .Lwork
    next
    lb      a3, 0(a4)
    beqz    a3, .Lnext
    j       .Lwork

.Lrun_end:
    addi    a5, tp, -1
    beqz    a5, .Lto_pixel_end
.Lcolumn_end:
    each_list tabulate
    lw      a5, SCAN_POSITIONS(sp)
    addi    gp, gp, STRIP_LISTS
    beq     t0, a5, .Lto_scanned
    lw      a4, SCAN_COLUMN(sp)
    lw      a5, SCAN_CHANNELS(sp)
    add     a4, a4, a5
    sw      a4, SCAN_COLUMN(sp)
.Lrun:
    lw      a5, SCAN_RUN(sp)
    add     ra, ra, a5
    j       .Lfirst
.Lto_pixel_end:
    lla     a5, .Lpixel_end
    jr      a5
.Lto_scanned:
    lla     a5, .Lscanned
    jr      a5
    .size   BitNetMCU_scan_columns, . - BitNetMCU_scan_columns
    .set    frame.BitNetMCU_scan_columns, 0

/* --- windows. The frame: a slot for each list has the lanes of its columns, even and odd ones in
 * turns; before that START, END and ODD. */
#define START 0           /* of the list's part */
#define END 4
#define ODD 8             /* what sums over the odd nibbles start from */
#define SLOT (32 * STRIP_LISTS)
#define DOUBLED SLOT             /* whether weights are, once there are no more lists */
#define SLOTS_END (SLOT + 4)
#define RETURN (SLOT + 8)
#define LISTS_AT (SLOT + 12)
#define TABLE_FIRST (SLOT + 16)
#define TABLE_LAST (SLOT + 20)
#define STRIP (SLOT + 24)
#define WINDOW (SLOT + 28)
#define POSITION (SLOT + 32)
#define BLOCK (SLOT + 36)        /* its weights */
#define BLOCK_START (SLOT + 40)  /* its accumulators */
#define BLOCK_END (SLOT + 44)
#define ACCUMULATOR (SLOT + 48)  /* of the next column */
#define FAST_LAST (SLOT + 52)    /* the last at which a column can be unpacked as a whole */
#define ALL_END (SLOT + 56)
#define BASE (SLOT + 60)         /* weights of the block at position 0 */
#define WIDE (SLOT + 64)         /* 1: four columns, 0: two */
#define DONE (SLOT + 68)         /* entries of each list that earlier passes summed */
#define LEFT (SLOT + 72)         /* not 0: there are more */
#define SUM (SLOT + 76)          /* of values */
#define OLD_RA (SLOT + 80)
#define OLD_S0 (SLOT + 84)
#define OLD_S1 (SLOT + 88)
#define OLD_GP (SLOT + 92)
#define OLD_TP (SLOT + 96)
#define FRAME (SLOT + 100)

/* The sum of column `at` over a row: rows of 8 nibbles to two words of 8-bit lanes. */
    .macro add_word even, odd, at
    lw      a5, \at(a3)
    add     \even, \even, a5
    srli    a5, a5, 4
    and     a5, a5, a4
    add     \odd, \odd, a5
    .endm

    .macro add_row_4 entry
    lbu     a3, \entry(ra)
    slli    a3, a3, 4
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    add_word s1, t0, 8
    add_word t1, t2, 12
    .endm

    .macro add_row_2
    lbu     a3, 0(ra)
    slli    a3, a3, 3
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    .endm

/* Sums all lists into their slots. a3: the first slot, a4: 0x0f0f0f0f, tp: BASE. Keeps sp only. */
    .section .text.BitNetMCU_inner_strips, "ax"
    .globl  BitNetMCU_inner_strips
    .type   BitNetMCU_inner_strips, @function
    .balign 4
BitNetMCU_inner_strips:
    sw      ra, RETURN(sp)
.Llist:
    sw      a3, SLOT(sp)
    lw      ra, START(a3)
    lw      gp, END(a3)
    lw      a1, ODD(a3)
    slli    a0, a1, 4
    add     a0, a0, a1
    mv      a2, a0
    mv      s0, a1
    mv      s1, a0
    mv      t0, a1
    mv      t1, a0
    mv      t2, a1
    sub     a5, gp, ra
    beqz    a5, .Lstore
    lw      a3, WIDE(sp)
    beqz    a3, .Lrows_2
    andi    a5, a5, 1
    beqz    a5, .Lrows_4
    addi    ra, ra, -1
    j       .Lodd
    .balign 4
.Lrows_4:
    add_row_4 0
.Lodd:
    add_row_4 1
    addi    ra, ra, 2
    bne     ra, gp, .Lrows_4
.Lstore:
    lw      a3, SLOT(sp)
    lw      a5, SLOTS_END(sp)
    sw      a0, 0(a3)
    sw      a1, 4(a3)
    sw      a2, 8(a3)
    sw      s0, 12(a3)
    sw      s1, 16(a3)
    sw      t0, 20(a3)
    sw      t1, 24(a3)
    sw      t2, 28(a3)
    addi    a3, a3, 32
    bne     a3, a5, .Llist
    lw      ra, RETURN(sp)
    ret

    .balign 4
.Lrows_2:
    add_row_2
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_2
    j       .Lstore
    .size   BitNetMCU_inner_strips, . - BitNetMCU_inner_strips
    .set    frame.BitNetMCU_inner_strips, 0

    .macro times_lists to, from     /* one of them is a spare register afterwards */
    .if STRIP_LISTS == 1
    mv      \to, \from
    .elseif STRIP_LISTS == 2
    slli    \to, \from, 1
    .elseif STRIP_LISTS == 3
    slli    \to, \from, 1
    add     \to, \to, \from
    .elseif STRIP_LISTS == 4
    slli    \to, \from, 2
    .elseif STRIP_LISTS == 5
    slli    \to, \from, 2
    add     \to, \to, \from
    .elseif STRIP_LISTS == 6
    slli    \to, \from, 1
    add     \to, \to, \from
    slli    \to, \to, 1
    .else
    slli    \to, \from, 3
    sub     \to, \to, \from
    .endif
    .endm

    .section .text.BitNetMCU_window_nibbles, "ax"
    .globl  BitNetMCU_window_nibbles
    .type   BitNetMCU_window_nibbles, @function
    .balign 4
BitNetMCU_window_nibbles:
    addi    sp, sp, -FRAME
    sw      ra, OLD_RA(sp)
    sw      s0, OLD_S0(sp)
    sw      s1, OLD_S1(sp)
    sw      gp, OLD_GP(sp)
    sw      tp, OLD_TP(sp)
    sw      a0, LISTS_AT(sp)
    sw      a1, STRIP(sp)
    sw      a3, POSITION(sp)
    sw      a4, WINDOW(sp)
    sw      a5, ACCUMULATOR(sp)
    lw      s0, ENTRIES(a1)
    add     s0, s0, a0
    times_lists s1, a2
    add     s0, s0, s1
    sw      s0, TABLE_FIRST(sp)
    lw      a2, COLUMNS(a4)
    times_lists s1, a2
    add     s0, s0, s1
    sw      s0, TABLE_LAST(sp)
    lw      s0, BITS(a1)
    slli    s0, s0, 5
    add     s0, s0, sp
    sw      s0, SLOTS_END(sp)
    lw      s0, OUTPUTS(a4)
    slli    s0, s0, 2
    add     s0, s0, a5
    sw      s0, ALL_END(sp)
    lw      s0, WEIGHTS(a4)
    addi    s0, s0, 8
    sw      s0, BLOCK(sp)

.Lblock:                              /* of up to 32 outputs */
    lw      a0, ACCUMULATOR(sp)
    lw      a1, ALL_END(sp)
    sub     a2, a1, a0
    li      a3, 128
    bgeu    a3, a2, 1f
    add     a1, a0, a3
    mv      a2, a3
1:  sw      a0, BLOCK_START(sp)
    sw      a1, BLOCK_END(sp)
    li      a3, 64
    sltu    a3, a3, a2
    sw      a3, WIDE(sp)
    lw      a4, POSITION(sp)
    lw      a5, BLOCK(sp)
    slli    a4, a4, 3
    sll     a4, a4, a3
    sub     a5, a5, a4
    sw      a5, BASE(sp)
    sw      zero, DONE(sp)

.Lpass:                               /* over so many entries of each list as 8-bit lanes can sum */
    lw      a4, STRIP(sp)
    lw      a5, WINDOW(sp)
    lw      a0, LISTS_AT(sp)
    lw      t0, TABLE_FIRST(sp)
    lw      t1, TABLE_LAST(sp)
    lw      a4, POSITIONS(a4)
    lw      a5, WEIGHTS(a5)
    lbu     s0, 0(a5)
    lbu     s1, 1(a5)
    lw      t2, SLOTS_END(sp)
    lw      tp, DONE(sp)
    mv      a3, sp
    li      ra, 0                   /* sum of values */
    li      gp, 0                   /* the bit */
    sw      zero, LEFT(sp)
1:  lbu     a5, 0(t0)
    lbu     a1, 0(t1)
    sub     a1, a1, a5
    andi    a1, a1, 255             /* entries */
    sub     a5, a5, a0
    andi    a5, a5, 255
    add     a5, a5, a0
    bnez    tp, .Llater_pass
.Lcheck:
    bltu    s0, a1, .Ltoo_many
.Lfits:
    sw      a5, START(a3)
    add     a5, a5, a1
    sw      a5, END(a3)
    sll     a2, a1, gp
    add     ra, ra, a2
    slli    a1, a1, 3
    mv      a2, s1
    sub     a2, a2, a1              /* bias - 8 * rows, in each byte */
    mv      a1, a2
    slli    a1, a1, 8
    add     a2, a2, a1
    mv      a1, a2
    slli    a1, a1, 16
    add     a2, a2, a1
    sw      a2, ODD(a3)
    addi    t0, t0, 1
    addi    t1, t1, 1
    addi    gp, gp, 1
    add     a0, a0, a4
    addi    a3, a3, 32
    bne     a3, t2, 1b
    sw      ra, SUM(sp)
    lw      tp, BASE(sp)
    li      a4, 0x0f0f0f0f
    mv      a3, sp
    call    BitNetMCU_inner_strips

/* Registers of the next loop: a0 to a3 16-bit lanes; tp the column's lanes in the highest bit's slot;
 * ra where to widen the next bit's; gp: 0x00ff00ff; t0: minus the biases, for both halves of a word;
 * t2: what else to add, once doubled. */
    lw      a4, STRIP(sp)
    lw      a5, WINDOW(sp)
    lw      a2, BITS(a4)
    lw      a5, WEIGHTS(a5)
    lhu     a0, 2(a5)
    lbu     a1, 1(a5)
    lw      s0, 4(a5)
    sw      s0, DOUBLED(sp)
    sll     a3, a1, a2
    sub     a3, a3, a1
    sub     a3, a0, a3
    slli    t0, a3, 16
    add     t0, t0, a3
    sll     a0, a0, s0
    neg     t2, a0
    beqz    s0, 1f
    lw      a3, SUM(sp)
    add     t2, t2, a3
1:  addi    a2, a2, -1              /* 38 bytes for each bit but the highest */
    mv      a3, a2
    slli    a3, a3, 1
    add     a2, a2, a3
    slli    a3, a3, 3
    add     a2, a2, a3
    slli    a2, a2, 1
    lla     ra, .Lwidened
    sub     ra, ra, a2
    li      gp, 0x00ff00ff
    lw      tp, SLOTS_END(sp)
    addi    tp, tp, -32
    li      a4, 0
    lw      a3, DONE(sp)
    bnez    a3, .Lcolumns
    lw      a4, BLOCK_END(sp)
    addi    a4, a4, -32
.Lcolumns:
    sw      a4, FAST_LAST(sp)

/* The first and third word also take what lies above the even bytes. */
.Lcolumn:
    mv      a4, tp
    mv      a5, gp
    lw      a0, 0(a4)
    lw      a2, 4(a4)
    mv      s0, a2
    slli    s0, s0, 4
    sub     a0, a0, s0
    mv      a1, a0
    srli    a1, a1, 8
    and     a1, a1, a5
    mv      a3, a2
    srli    a3, a3, 8
    and     a3, a3, a5
    jr      ra

.Lwiden:
    .rept   STRIP_LISTS - 1
    addi    a4, a4, -32
    lw      s0, 0(a4)
    lw      s1, 4(a4)
    mv      t1, s1
    slli    t1, t1, 4
    sub     s0, s0, t1
    slli    a0, a0, 1
    add     a0, a0, s0
    srli    s0, s0, 8
    and     s0, s0, a5
    slli    a1, a1, 1
    add     a1, a1, s0
    slli    a2, a2, 1
    add     a2, a2, s1
    srli    s1, s1, 8
    and     s1, s1, a5
    slli    a3, a3, 1
    add     a3, a3, s1
    .endr
.Lwidened:
    .if . - .Lwiden - 38 * (STRIP_LISTS - 1)
    .error "a slot is not widened in 38 bytes"
    .endif
    lw      a4, ACCUMULATOR(sp)
    lw      a5, FAST_LAST(sp)
    slli    s0, a1, 8
    sub     a0, a0, s0
    slli    s0, a3, 8
    sub     a2, a2, s0
    add     a0, a0, t0
    add     a1, a1, t0
    add     a2, a2, t0
    add     a3, a3, t0
    bltu    a5, a4, .Lslow
    lw      a5, DOUBLED(sp)
    beqz    a5, .Lplain

    .macro unpack word, at, doubled
    mv      s0, \word
    slli    s0, s0, 16
    srli    s0, s0, 16 - \doubled
    add     s0, s0, t2
    sw      s0, \at(a4)
    srli    \word, \word, 16
    .if \doubled
    slli    \word, \word, 1
    .endif
    add     \word, \word, t2
    sw      \word, \at + 4(a4)
    .endm

    .macro unpack_all doubled
    unpack  a0, 0, \doubled
    unpack  a1, 8, \doubled
    unpack  a2, 16, \doubled
    unpack  a3, 24, \doubled
    addi    a4, a4, 32
    .endm

    unpack_all 1
.Lunpacked:
    sw      a4, ACCUMULATOR(sp)
    addi    tp, tp, 8
    lw      a5, BLOCK_END(sp)
    bltu    a4, a5, .Lcolumn
    lw      a0, LEFT(sp)
    bnez    a0, .Lnext_pass
    lw      a5, ALL_END(sp)
    bne     a4, a5, .Lnext_block
    lw      ra, OLD_RA(sp)
    lw      s0, OLD_S0(sp)
    lw      s1, OLD_S1(sp)
    lw      gp, OLD_GP(sp)
    lw      tp, OLD_TP(sp)
    addi    sp, sp, FRAME
    ret

.Lplain:
    unpack_all 0
    j       .Lunpacked

/* The last outputs, and later passes: one output at a time, added to what is there. */
.Lslow:
    addi    a5, a4, 32
    lw      s0, BLOCK_END(sp)
    bgeu    s0, a5, 1f
    mv      a5, s0
1:  lw      s0, DONE(sp)
    bnez    s0, 3f
    mv      s0, a4
2:  sw      zero, 0(s0)
    addi    s0, s0, 4
    bne     s0, a5, 2b
3:  li      t1, 16
    lw      s0, DOUBLED(sp)
    sub     t1, t1, s0
4:  mv      s0, a0
    slli    s0, s0, 16
    srl     s0, s0, t1
    add     s0, s0, t2
    lw      s1, 0(a4)
    add     s0, s0, s1
    sw      s0, 0(a4)
    addi    a4, a4, 4
    beq     a4, a5, .Lunpacked
    srli    a0, a0, 16
    slli    a0, a0, 16
    srl     a0, a0, t1
    add     a0, a0, t2
    lw      s1, 0(a4)
    add     a0, a0, s1
    sw      a0, 0(a4)
    addi    a4, a4, 4
    mv      a0, a1
    mv      a1, a2
    mv      a2, a3
    bne     a4, a5, 4b
    j       .Lunpacked

.Lnext_block:
    lw      a5, WINDOW(sp)
    lw      a1, BLOCK(sp)
    lw      a0, INPUTS(a5)
    slli    a0, a0, 4
    add     a0, a0, a1
    sw      a0, BLOCK(sp)
    j       .Lblock

.Lnext_pass:
    lw      a5, WINDOW(sp)
    lw      a5, WEIGHTS(a5)
    lbu     a0, 0(a5)
    lw      a1, DONE(sp)
    add     a0, a0, a1
    sw      a0, DONE(sp)
    lw      a4, BLOCK_START(sp)
    sw      a4, ACCUMULATOR(sp)
    j       .Lpass

.Llater_pass:
    bltu    tp, a1, 1f
    mv      a1, tp
1:  sub     a1, a1, tp
    add     a5, a5, tp
    j       .Lcheck
.Ltoo_many:
    mv      a1, s0
    sw      s0, LEFT(sp)
    j       .Lfits
    .size   BitNetMCU_window_nibbles, . - BitNetMCU_window_nibbles
    .set    frame.BitNetMCU_window_nibbles, FRAME
