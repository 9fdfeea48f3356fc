# ARMv7E-M with DSP instructions; memories of the nRF52840. Runs under QEMU, on the MPS2 board.
FAMILY = cortexm
ARCH = -mcpu=cortex-m4 -mthumb
FLASH_SIZE = 1048576
SRAM_SIZE = 262144
HAS_MULTIPLIER = 1
WAIT_STATES = 0
MACHINE = mps2-an386
