# ARMv6-M with one-cycle multiplier; memories of the smallest STM32F030. Runs under QEMU, on the
# MPS2 board, whose core executes ARMv6-M code.
FAMILY = cortexm
ARCH = -mcpu=cortex-m0 -mthumb
FLASH_SIZE = 16384
SRAM_SIZE = 4096
HAS_MULTIPLIER = 1
WAIT_STATES = 0
MACHINE = mps2-an385
