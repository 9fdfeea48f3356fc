/* BitNetMCU_scan_strip and BitNetMCU_window_nibbles for RV32EC. The method, the lists and the header
 * of weights are those of kernels/strips.c, the plain twin of this file.
 *
 *     void BitNetMCU_scan_strip(const int8_t *map, const BitNetMCU_strip *strip, uint8_t *lists);
 *     void BitNetMCU_window_nibbles(const uint8_t *lists, const BitNetMCU_strip *strip,
 *                                   uint32_t first, uint32_t position, int32_t *accumulators);
 *
 * Both borrow gp and tp (restored on return); sp keeps its meaning all the time, so that interrupts
 * may come.
 *
 * BitNetMCU_inner_strips takes most of the time and is worth SRAM. It is called by
 * BitNetMCU_sum_columns alone, on its frame; that is what BitNetMCU_window_nibbles ends in.
 *
 * A block of 32 outputs is summed in two steps. The first one goes through the lists and leaves the
 * 8-bit lanes of each, of all its columns of eight outputs, in the list's slot. The second one goes
 * through the columns: it widens the slots, from the highest bit down, into 16-bit lanes in
 * registers, and unpacks those to accumulators.
 */

#include "lists.inc"

/* With so few lists the loop that fills them is worth SRAM, too. */
#define SCAN_IS_INNER (STRIP_LISTS < 6)

/* --- lists. Registers: a3 the value, its next bit on top; a4 its address; a5 spare; t0 its position;
 * ra that of the end of the run: values that are tp bytes apart; gp where the table goes on; and the
 * ends of the lists. A run is a column where a pixel is one value, else a pixel. */
#define SCAN_RUN 0        /* positions in a run */
#define SCAN_BACK 4       /* from behind a column to the next */
#define SCAN_STRIP 8
#define SCAN_ROW 12       /* address of the pixel, if that is a run */
#define SCAN_LEFT 16      /* pixels of the column */
#define SCAN_POSITIONS 20
#define SCAN_RA 24
#define SCAN_S0 28
#define SCAN_S1 32
#define SCAN_GP 36
#define SCAN_TP 40
#define SCAN_FRAME 44

/* Adds SCAN_RUN or SCAN_BACK, which are in t1 and t2 where there are no lists for them. */
    .macro add_kept to, at, register
#if STRIP_LISTS < 6
    add     \to, \to, \register
#else
    lw      a5, \at(sp)
    add     \to, \to, a5
#endif
    .endm

    .macro start list, end
    mv      \end, gp
    add     gp, gp, a5
    .endm

/* A list that is more than the strip has bits: what is out of range goes into the first one. */
    .macro fold list, end
    .if \list > 0
    mv      \end, s0
    addi    t0, t0, 1
    beqz    t0, .Lstarted
    .endif
    .endm

    .macro tabulate list, end
    sb      \end, \list(gp)
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
    sw      a1, SCAN_STRIP(sp)
    mv      a4, a0
    lw      a5, POSITIONS(a1)
    sw      a5, SCAN_POSITIONS(sp)
    lw      tp, ROW_BYTES(a1)
    lw      ra, ROWS(a1)
    lw      a3, CHANNELS(a1)
    lw      t2, BYTES(a1)
    sub     t2, a3, t2
    addi    a3, a3, -1
    beqz    a3, 1f
    li      tp, 1
1:  addi    a3, tp, -1
    bnez    a3, 1f
    lw      ra, CHANNELS(a1)        /* a run is a pixel */
    lw      a3, ROWS(a1)
    sw      a3, SCAN_LEFT(sp)
    sw      a0, SCAN_ROW(sp)
1:  mv      t1, ra
#if STRIP_LISTS > 5
    sw      t1, SCAN_RUN(sp)
    sw      t2, SCAN_BACK(sp)
#endif
    lw      t0, BITS(a1)
    addi    t0, t0, -STRIP_LISTS
    lw      a3, ENTRIES(a1)
    mv      gp, a2
    add     a3, a3, a2
    each_list start
    bltz    t0, .Lfewer_bits
.Lstarted:
    mv      gp, a3
    each_list tabulate
    addi    gp, gp, STRIP_LISTS
    li      t0, 0
    lla     a5, .Lfirst
    jr      a5

.Lfewer_bits:
    each_list_downwards fold
.Lpixel_end:
    lw      a3, SCAN_STRIP(sp)
    lw      a4, SCAN_ROW(sp)
    lw      a5, ROW_BYTES(a3)
    add     a4, a4, a5
    lw      a5, SCAN_LEFT(sp)
    addi    a5, a5, -1
    beqz    a5, 1f
    sw      a5, SCAN_LEFT(sp)
    sw      a4, SCAN_ROW(sp)
    lla     a3, .Lrun
    jr      a3
1:  lw      a5, ROWS(a3)
    sw      a5, SCAN_LEFT(sp)
    mv      a3, a4
    add_kept a3, SCAN_BACK, t2
    sw      a3, SCAN_ROW(sp)
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

#if SCAN_IS_INNER
    .section .text.BitNetMCU_inner_scan, "ax"
#endif
    .type   BitNetMCU_scan_columns, @function
    .balign 4
BitNetMCU_scan_columns:
.Lwork:
    slli    a3, a3, 31 - STRIP_LISTS
    each_list_downwards test
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
    add_kept a4, SCAN_BACK, t2
.Lrun:
    add_kept ra, SCAN_RUN, t1
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
 * turns; before that START, END and ODD. Positions of the last lists come first: from them on, sums
 * double. */
#define START 0           /* of the list's part */
#define END 4
#define ODD 8             /* what sums over the odd nibbles start from */
#define SLOT (32 * STRIP_LISTS)
#define COLUMN SLOT              /* the same once there are no more lists */
#define SLOTS_END (SLOT + 4)     /* of the pass */
#define LISTS_END (SLOT + 8)
#define TABLE_FIRST (SLOT + 12)  /* ends of what the tables have for the window's first column */
#define TABLE_LAST (SLOT + 16)   /* and for its last one */
#define STRIP (SLOT + 20)
#define POSITION (SLOT + 24)     /* twice, and 1 if sums are added to what is there */
#define BLOCK (SLOT + 28)        /* its weights */
#define BLOCK_START (SLOT + 32)  /* its accumulators */
#define BLOCK_END (SLOT + 36)
#define ALL_END (SLOT + 40)
#define BASE (SLOT + 44)         /* weights of the block at position 0 */
#define LOOP (SLOT + 48)         /* where rows of a block are summed, 0 for rows of four words */
#define DONE (SLOT + 52)         /* entries of each list that earlier passes summed */
#define LEFT (SLOT + 56)         /* not 0: there are more, in slots up to here */
#define SUM (SLOT + 60)          /* of values */
#define FAST_END (SLOT + 64)     /* of the columns that are unpacked as a whole */
#define RETURN FAST_END          /* before there are columns */
#define OLD_RA (SLOT + 68)
#define OLD_S0 (SLOT + 72)
#define OLD_S1 (SLOT + 76)
#define OLD_GP (SLOT + 80)
#define OLD_TP (SLOT + 84)
#define FRAME (SLOT + 88)

/* The sum of column `at` over a row: rows of 8 nibbles to two words of 8-bit lanes. */
    .macro add_word even, odd, at
    lw      a5, \at(a3)
    add     \even, \even, a5
    srli    a5, a5, 4
    and     a5, a5, a4
    add     \odd, \odd, a5
    .endm

/* Takes the odd nibbles off. */
    .macro less_odd even, odd
    slli    a5, \odd, 4
    sub     \even, \even, a5
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

    .macro add_row_3 entry
    lbu     a3, \entry(ra)
    slli    a3, a3, 2
    mv      a5, a3
    add     a5, a5, tp
    slli    a3, a3, 1
    add     a3, a3, a5
    add_word a0, a1, 0
    add_word a2, s0, 4
    add_word s1, t0, 8
    .endm

    .macro add_row_2
    lbu     a3, 0(ra)
    slli    a3, a3, 3
    add     a3, a3, tp
    add_word a0, a1, 0
    add_word a2, s0, 4
    .endm

/* Sums all lists into their slots. a3: their end, a4: 0x0f0f0f0f, tp: BASE. Keeps sp only. */
    .section .text.BitNetMCU_inner_strips, "ax"
    .globl  BitNetMCU_inner_strips
    .type   BitNetMCU_inner_strips, @function
    .option push
    .option norelax                 /* else alignment leaves bytes of SRAM behind */
    .balign 4
BitNetMCU_inner_strips:
    sw      ra, RETURN(sp)
.Lnext_slot:
    addi    a3, a3, -32
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
    lw      a3, LOOP(sp)
    bnez    a3, .Lother_rows
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
    less_odd t1, t2
    sw      t1, 24(a3)
    sw      t2, 28(a3)
.Lstore_3:
    less_odd s1, t0
    sw      s1, 16(a3)
    sw      t0, 20(a3)
.Lstore_2:
    less_odd a2, s0
    sw      a2, 8(a3)
    sw      s0, 12(a3)
.Lstore_1:
    less_odd a0, a1
    sw      a0, 0(a3)
    sw      a1, 4(a3)
    bne     a3, sp, .Lnext_slot
    lw      ra, RETURN(sp)
    ret

.Lother_rows:
    jr      a3
    .balign 4
.Lrows_2:
    add_row_2
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_2
    lw      a3, SLOT(sp)
    j       .Lstore_2
    .option pop
    .size   BitNetMCU_inner_strips, . - BitNetMCU_inner_strips
    .set    frame.BitNetMCU_inner_strips, 0

/* Rows of three words, or one: fewer networks have them. A jump to .Lstore may go to SRAM. */
    .section .text.BitNetMCU_sum_columns, "ax"
    .type   BitNetMCU_other_rows, @function
    .balign 4
BitNetMCU_other_rows:
.Lrows_3:
    andi    a5, a5, 1
    beqz    a5, 1f
    addi    ra, ra, -1
    j       2f
    .balign 4
1:  add_row_3 0
2:  add_row_3 1
    addi    ra, ra, 2
    bne     ra, gp, 1b
    lw      a3, SLOT(sp)
    lla     a5, .Lstore_3
    jr      a5

    .balign 4
.Lrows_1:
    lbu     a3, 0(ra)
    slli    a3, a3, 2
    add     a3, a3, tp
    add_word a0, a1, 0
    addi    ra, ra, 1
    bne     ra, gp, .Lrows_1
    lw      a3, SLOT(sp)
    lla     a5, .Lstore_1
    jr      a5
    .size   BitNetMCU_other_rows, . - BitNetMCU_other_rows
    .set    frame.BitNetMCU_other_rows, 0

    .globl  BitNetMCU_window_nibbles
    .type   BitNetMCU_window_nibbles, @function
    .balign 4
BitNetMCU_window_nibbles:
    lw      a5, COLUMNS(a1)
    li      t0, 0
    .size   BitNetMCU_window_nibbles, . - BitNetMCU_window_nibbles
    .set    frame.BitNetMCU_window_nibbles, FRAME   /* of what follows */

/* The same for a5 columns, and t0: 1 if the sums are added to what is there, else 0. */
    .globl  BitNetMCU_sum_columns
    .type   BitNetMCU_sum_columns, @function
BitNetMCU_sum_columns:
    addi    sp, sp, -FRAME
    sw      ra, OLD_RA(sp)
    sw      s0, OLD_S0(sp)
    sw      s1, OLD_S1(sp)
    sw      gp, OLD_GP(sp)
    sw      tp, OLD_TP(sp)
    sw      a1, STRIP(sp)
    slli    a3, a3, 1
    add     a3, a3, t0
    sw      a3, POSITION(sp)
    lw      s0, ENTRIES(a1)
    add     a0, a0, s0
    sw      a0, LISTS_END(sp)
    times_lists s1, a2
    mv      t0, a0
    add     t0, t0, s1
    lw      s1, BITS(a1)
    add     t0, t0, s1
    sw      t0, TABLE_FIRST(sp)
    times_lists s1, a5
    mv      t1, t0
    add     t1, t1, s1
    sw      t1, TABLE_LAST(sp)
    mv      a5, a1
    lw      a1, OUTPUTS(a5)
    slli    a1, a1, 2
    add     a1, a1, a4
    sw      a1, ALL_END(sp)
    lw      a2, WEIGHTS(a5)
    sw      a2, BLOCK(sp)

/* A block of up to 32 outputs, from a4 on, and its passes, each over so many entries of each list as
 * 8-bit lanes can sum. Registers: a1 ALL_END, a2 BLOCK, a3 POSITION; a0 LISTS_END, t0 TABLE_FIRST,
 * t1 TABLE_LAST, a5 STRIP also for a pass; there s0: entries of a list that need no closer look. */
.Lblock:
    sw      a4, BLOCK_START(sp)
    sub     s0, a1, a4
    li      s1, 128
    bltu    s1, s0, .Lfull_block
.Lblock_end:
    sw      a1, BLOCK_END(sp)
    srai    a3, a3, 1
    slli    a3, a3, 2               /* of a word of the rows in front of the first value */
    li      s1, 96
    bgeu    s1, s0, .Lfewer_words
    slli    a3, a3, 2
    li      s1, 0
.Lwords:
    sw      s1, LOOP(sp)
    sub     a2, a2, a3
    sw      a2, BASE(sp)
    sw      zero, DONE(sp)
    lw      s0, MOST(a5)
    lw      a3, BITS(a5)
    lw      a4, POSITIONS(a5)
    slli    a3, a3, 5
    add     a3, a3, sp
.Lpass:
    sw      a3, SLOTS_END(sp)
    lw      s1, LIST_BIAS(a5)
    li      ra, 0                   /* sum of values */
    sw      zero, LEFT(sp)
.Llist_of_pass:
    addi    t0, t0, -1
    addi    t1, t1, -1
    addi    a3, a3, -32
    sub     a0, a0, a4
    lbu     a5, 0(t0)
    lbu     a1, 0(t1)
    sub     a1, a1, a5
    andi    a1, a1, 255             /* entries */
    beqz    a1, .Lempty_list
.Lbelow_others:
    sub     a5, a5, a0
    andi    a5, a5, 255
    add     a5, a5, a0
    bltu    s0, a1, .Lsome
.Lfits:
    sw      a5, START(a3)
    add     a5, a5, a1
    sw      a5, END(a3)
    slli    ra, ra, 1
    add     ra, ra, a1
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
    bne     a3, sp, .Llist_of_pass
    sw      ra, SUM(sp)
    lw      a3, SLOTS_END(sp)
    lw      tp, BASE(sp)
    li      a4, 0x0f0f0f0f
    call    BitNetMCU_inner_strips

/* Registers of the next loop: a0 to a3 16-bit lanes; a4 the column's lanes in bit 0's slot, t1 from
 * there to the highest bit's; ra where to widen the next bit's; a5: 0x00ff00ff; t0: what lanes lack;
 * gp where to unpack; t2: what else to add, once doubled; tp to where. */
    lw      a5, STRIP(sp)
    lw      t1, SLOTS_END(sp)
    lw      s0, DOUBLED(a5)
    lw      t0, LACKING(a5)
    lw      t2, MORE(a5)
    addi    t1, t1, -32
    sub     t1, t1, sp
    lla     ra, .Lwidened           /* 28 bytes for each bit but the highest, and 32 for bits 4 and 5 */
    srli    a3, t1, 3
    add     ra, ra, a3
    sub     ra, ra, t1
    lw      s1, LIST_BIAS(a5)
    srli    a2, t1, 5               /* lists, less one */
    slli    s1, s1, 1
    sll     s1, s1, a2
    sub     t0, t0, s1
    slli    s1, s1, 16
    sub     t0, t0, s1
#if STRIP_LISTS > 5
    addi    a3, a3, -16
    blez    a3, 1f
    sub     ra, ra, a3
1:
#endif
    lla     gp, .Lplain
    beqz    s0, 1f
    lw      a3, SUM(sp)
    add     t2, t2, a3
    lla     gp, .Ldoubled
1:  lw      tp, BLOCK_START(sp)
    lw      a3, BLOCK_END(sp)
    sub     a3, a3, tp
    andi    a3, a3, -32
    lw      a2, DONE(sp)
    lw      s0, POSITION(sp)
    andi    s0, s0, 1
    or      a2, a2, s0
    beqz    a2, 1f
    li      a3, 0
1:  add     a2, tp, a3
    sw      a2, FAST_END(sp)
    mv      a4, sp
    li      a5, 0x00ff00ff
    beqz    a3, .Lslow_column

/* The first and third word also take what lies above the even bytes. */
.Lcolumn:
    mv      s1, a4
    add     s1, s1, t1
    lw      a0, 0(s1)
    lw      a2, 4(s1)
    mv      a1, a0
    srli    a1, a1, 8
    and     a1, a1, a5
    mv      a3, a2
    srli    a3, a3, 8
    and     a3, a3, a5
    jr      ra

    .macro widen_list bit
    lw      s0, 32 * \bit(a4)
    lw      s1, 32 * \bit + 4(a4)
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
    .endm

.Lwiden:
    .irp    bit, 5, 4, 3, 2, 1, 0
    .if     \bit < STRIP_LISTS - 1
    widen_list \bit
    .endif
    .endr
.Lwidened:
    .if . - .Lwiden - 28 * (STRIP_LISTS - 1) - 4 * (STRIP_LISTS - 5) * -(STRIP_LISTS > 5)
    .error "a slot is not widened in 28 or 32 bytes"
    .endif
    slli    s0, a1, 8
    sub     a0, a0, s0
    slli    s0, a3, 8
    sub     a2, a2, s0
    add     a0, a0, t0
    add     a1, a1, t0
    add     a2, a2, t0
    add     a3, a3, t0
    mv      s1, tp
    jr      gp

    .macro unpack word, at, doubled
    mv      s0, \word
    slli    s0, s0, 16
    srli    s0, s0, 16 - \doubled
    add     s0, s0, t2
    sw      s0, \at(s1)
    srli    \word, \word, 16
    .if \doubled
    slli    \word, \word, 1
    .endif
    add     \word, \word, t2
    sw      \word, \at + 4(s1)
    .endm

    .macro unpack_all doubled
    unpack  a0, 0, \doubled
    unpack  a1, 8, \doubled
    unpack  a2, 16, \doubled
    unpack  a3, 24, \doubled
    addi    tp, tp, 32
    .endm

.Ldoubled:
    unpack_all 1
.Lunpacked:
    addi    a4, a4, 8
    lw      s0, FAST_END(sp)
    bltu    tp, s0, .Lcolumn
    lw      s0, BLOCK_END(sp)
    bltu    tp, s0, .Lslow_column
    lw      a0, LEFT(sp)
    bnez    a0, .Lnext_pass
    lw      a5, ALL_END(sp)
    bne     tp, a5, .Lnext_block
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
.Lslow_column:
    lla     gp, .Lslow
    j       .Lcolumn
.Lslow:
    sw      a4, COLUMN(sp)
    mv      a4, tp
    addi    a5, a4, 32
    lw      s0, BLOCK_END(sp)
    bgeu    s0, a5, 1f
    mv      a5, s0
1:  lw      s0, DONE(sp)
    lw      t1, POSITION(sp)
    andi    t1, t1, 1
    or      s0, s0, t1
    bnez    s0, 3f
2:  sw      zero, 0(s1)
    addi    s1, s1, 4
    bne     s1, a5, 2b
3:  lw      s0, STRIP(sp)
    lw      s0, DOUBLED(s0)
    li      t1, 16
    sub     t1, t1, s0
4:  mv      s0, a0
    slli    s0, s0, 16
    srl     s0, s0, t1
    add     s0, s0, t2
    lw      s1, 0(a4)
    add     s0, s0, s1
    sw      s0, 0(a4)
    addi    a4, a4, 4
    beq     a4, a5, 5f
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
5:  mv      tp, a4
    lw      a4, COLUMN(sp)
    lw      t1, SLOTS_END(sp)
    addi    t1, t1, -32
    sub     t1, t1, sp
    li      a5, 0x00ff00ff
    j       .Lunpacked

.Lfull_block:
    mv      s0, s1
    mv      a1, a4
    add     a1, a1, s1
    j       .Lblock_end

.Lfewer_words:
    li      s1, 64
    bgeu    s1, s0, 1f
    sub     a2, a2, a3
    slli    a3, a3, 1
    lla     s1, .Lrows_3
    j       .Lwords
1:  li      s1, 32
    bgeu    s1, s0, 1f
    slli    a3, a3, 1
    lla     s1, .Lrows_2
    j       .Lwords
1:  lla     s1, .Lrows_1
    j       .Lwords

    .macro load_pass
    lw      a0, LISTS_END(sp)
    lw      t0, TABLE_FIRST(sp)
    lw      t1, TABLE_LAST(sp)
    lw      a5, STRIP(sp)
    .endm

.Lnext_block:
    load_pass
    lw      a2, BLOCK(sp)
    lw      a1, INPUTS(a5)
    slli    a1, a1, 4
    add     a2, a2, a1
    sw      a2, BLOCK(sp)
    lw      a1, ALL_END(sp)
    lw      a3, POSITION(sp)
    mv      a4, tp
    j       .Lblock

/* Without the highest lists, if nothing is left of them. */
.Lnext_pass:
    load_pass
    lw      a2, MOST(a5)
    lw      a1, DONE(sp)
    add     a1, a1, a2
    sw      a1, DONE(sp)
    li      s0, 0
    lw      a4, POSITIONS(a5)
    lw      a2, LEFT(sp)
    lw      a3, BITS(a5)
    slli    a3, a3, 5
    add     a3, a3, sp
1:  beq     a3, a2, .Lpass
    addi    a3, a3, -32
    addi    t0, t0, -1
    addi    t1, t1, -1
    sub     a0, a0, a4
    j       1b

/* The highest lists are often empty, and are left out. */
.Lempty_list:
    bnez    ra, .Lbelow_others
    beq     a3, sp, .Lbelow_others
    sw      a3, SLOTS_END(sp)
    j       .Llist_of_pass

/* Without the entries that earlier passes summed, and not more than this one can. */
.Lsome:
    lw      a2, DONE(sp)
    bltu    a2, a1, 1f
    mv      a1, a2
1:  sub     a1, a1, a2
    add     a5, a5, a2
    lw      a2, STRIP(sp)
    lw      a2, MOST(a2)
    bgeu    a2, a1, .Lfits
    mv      a1, a2
    lw      a2, LEFT(sp)
    bnez    a2, .Lfits
    addi    a2, a3, 32
    sw      a2, LEFT(sp)
    j       .Lfits
    .size   BitNetMCU_sum_columns, . - BitNetMCU_sum_columns
    .set    frame.BitNetMCU_sum_columns, FRAME
