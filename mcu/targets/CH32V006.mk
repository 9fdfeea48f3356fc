# QingKe V2C: RV32EC with Zmmul; 62 KB flash, 8 KB SRAM; two flash wait states at 48 MHz.
# GCC before 13 has no Zmmul: M without division stands for it, and the emulator traps on `div`.
FAMILY = riscv
ASSEMBLY = riscv
ARCH = -march=rv32emc -mabi=ilp32e -mno-div
FLASH_SIZE = 63488
SRAM_SIZE = 8192
HAS_MULTIPLIER = 1
WAIT_STATES = 2
EMULATOR_FLAGS = --mul
PROBE_RS_CHIP = CH32V006
