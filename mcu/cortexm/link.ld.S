/* Flash at 0, SRAM at 0x20000000; preprocessed with FLASH_SIZE, SRAM_SIZE and STACK_BOUND. */

ENTRY(_start)

#ifdef KERNELS_IN_SRAM
#error "kernels run from flash on this target: KERNELS=flash"
#endif

MEMORY {
    FLASH (rx) : ORIGIN = 0x00000000, LENGTH = FLASH_SIZE
    SRAM (rwx) : ORIGIN = 0x20000000, LENGTH = SRAM_SIZE
}

SECTIONS {
    .text : {
        KEEP(*(.init))
        *(.text .text.*)
        *(.rodata .rodata.*)
        . = ALIGN(4);
    } > FLASH

    .data : {
        __data_start = .;
        *(.data .data.*)
        . = ALIGN(4);
        __data_end = .;
    } > SRAM AT > FLASH
    __data_load = LOADADDR(.data);

    .bss (NOLOAD) : {
        *(.bss .bss.* COMMON)
        . = ALIGN(4);
        __bss_end = .;
    } > SRAM

    __stack_top = ORIGIN(SRAM) + LENGTH(SRAM);
    ASSERT(__bss_end + STACK_BOUND <= __stack_top, "variables and worst stack exceed SRAM")
    ASSERT(__data_load + SIZEOF(.data) <= ORIGIN(FLASH) + LENGTH(FLASH), "flash is exceeded")

    /DISCARD/ : { *(.comment .ARM.attributes .ARM.exidx .eh_frame .note .note.*) }
}
