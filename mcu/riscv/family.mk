FAMILY_COMPILERS = RISC-V (riscv64-unknown-elf-gcc, riscv-none-elf-gcc or riscv64-elf-gcc)
FAMILY_BREW = riscv64-elf-gcc
PREFIX := $(firstword $(foreach p,riscv64-unknown-elf- riscv-none-elf- riscv64-elf-,\
	$(if $(shell command -v $(p)gcc),$(p))) riscv64-unknown-elf-)
FAMILY_OBJECTS = start.o chip.o
FAMILY_EMULATED = $(TRACE_ELF) $(OUT)/emulator
FAMILY_EMULATION = --emulator $(OUT)/emulator
