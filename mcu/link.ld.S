/* Flash at 0, SRAM at 0x20000000; preprocessed with FLASH_SIZE, SRAM_SIZE, STACK_BOUND, and
 * WINDOWS_IN_SRAM (SCANS_IN_SRAM too: not only that of their sums), INNER_IN_SRAM and KERNELS_IN_SRAM
 * if the inner loops of windows, those of all kernels, and all kernels, are to run from SRAM. Flash
 * is linked where it runs; the programmer of a CH32V00x sees the same bytes at 0x08000000.
 *
 * There is no __global_pointer$, on purpose: without it the linker lets no code use gp, so kernels
 * may borrow it whatever interrupts them. */

ENTRY(_start)

MEMORY {
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = FLASH_SIZE
    SRAM (rwx) : ORIGIN = 0x20000000, LENGTH = SRAM_SIZE
}

#define KERNELS */kernel-*.o */assembly-*.o
#define STRIPS */kernel-strips.o */assembly-strips.o

SECTIONS {
    .text : {
        KEEP(*(.init))
#if defined(INNER_IN_SRAM)
        *(EXCLUDE_FILE(KERNELS) .text EXCLUDE_FILE(KERNELS) .text.*)
#ifndef KERNELS_IN_SRAM /* all but BitNetMCU_inner_* */
        */kernel-*.o(.text .text.[!B]* .text.BitNetMCU_[!i]*)
        */assembly-*.o(.text .text.[!B]* .text.BitNetMCU_[!i]*)
#endif
#elif defined(WINDOWS_IN_SRAM)
        *(EXCLUDE_FILE(STRIPS) .text EXCLUDE_FILE(STRIPS) .text.*)
        */kernel-strips.o(.text .text.[!B]* .text.BitNetMCU_[!i]*)
        */assembly-strips.o(.text .text.[!B]* .text.BitNetMCU_[!i]*)
#ifndef SCANS_IN_SRAM
        */assembly-strips.o(.text.BitNetMCU_inner_scan)
#endif
#else
        *(.text .text.*)
#endif
        . = ALIGN(4);
    } > FLASH

    .rodata : {
        *(.rodata .rodata.* .srodata .srodata.*)
        . = ALIGN(4);
    } > FLASH

    .data : {
        __data_start = .;
#if defined(INNER_IN_SRAM)
        */kernel-*.o(.text .text.*)
        */assembly-*.o(.text .text.*)
        . = ALIGN(4);
#elif defined(WINDOWS_IN_SRAM)
        */kernel-strips.o(.text .text.*)
        */assembly-strips.o(.text .text.*)
        . = ALIGN(4);
#endif
        *(.data .data.* .sdata .sdata.*)
        . = ALIGN(4);
        __data_end = .;
    } > SRAM AT > FLASH
    __data_load = LOADADDR(.data);

    .bss (NOLOAD) : {
        *(.bss .bss.* .sbss .sbss.* COMMON)
        . = ALIGN(4);
        __bss_end = .;
    } > SRAM

    __stack_top = ORIGIN(SRAM) + LENGTH(SRAM);
    ASSERT(__bss_end + STACK_BOUND <= __stack_top, "variables and worst stack exceed SRAM")
    ASSERT(__data_load + SIZEOF(.data) <= ORIGIN(FLASH) + LENGTH(FLASH), "flash is exceeded")

    /DISCARD/ : { *(.comment .*.attributes .ARM.* .eh_frame .note .note.*) }
}
