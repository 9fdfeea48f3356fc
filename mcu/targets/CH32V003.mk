# QingKe V2A: RV32EC, no multiplier; 16 KB flash, 2 KB SRAM; one flash wait state at 48 MHz.
FAMILY = riscv
ASSEMBLY = riscv
ARCH = -march=rv32ec -mabi=ilp32e
FLASH_SIZE = 16384
SRAM_SIZE = 2048
WAIT_STATES = 1
EMULATOR_FLAGS =
PROBE_RS_CHIP = CH32V003
