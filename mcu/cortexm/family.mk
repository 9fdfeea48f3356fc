FAMILY_COMPILERS = Arm (arm-none-eabi-gcc)
FAMILY_BREW = arm-none-eabi-gcc
PREFIX = arm-none-eabi-
FAMILY_OBJECTS = start.o chip.o
ifneq ($(PLACE),flash)
$(error PLACE=$(PLACE) brings nothing on $(TARGET); use PLACE=flash)
endif
FAMILY_EMULATED = $(BUILD)/host.elf $(BUILD)/host-trace.elf

# The whole test set: a main() that reads images from the computer through semihosting.
HOST = $(addprefix $(BUILD)/,host.o $(KERNEL_OBJECTS) $(FAMILY_OBJECTS))

$(BUILD)/host.elf: $(HOST) $(BUILD)/network.o link.ld.S
	$(call link,$(HOST) $(BUILD)/network.o,$(TRACE_FLASH))

$(BUILD)/host-trace.elf: $(HOST) $(BUILD)/network-trace.o link.ld.S
	$(call link,$(HOST) $(BUILD)/network-trace.o,$(TRACE_FLASH))
