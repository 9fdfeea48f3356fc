# `make tflite MODEL=file.tflite TARGET=cortex-m4`: a compiled TensorFlow Lite model on a target that
# QEMU emulates, compared with the reference on every value.

OPTIMISE ?= speed
INPUTS ?= 4
TFLITE = $(OUT)/$(TARGET)-tflite-$(OPTIMISE)/$(NAME)
TFLITE_CFLAGS = $(ARCH) -O2 -std=c99 -Wall -Wextra -Werror -pedantic -ffreestanding -ffunction-sections \
	-fdata-sections -fno-common -fstack-usage -I.. -I. -I../tinyengine/kernels -I$(TFLITE)
KERNEL_FOLDER = ../tinyengine/kernels
-include $(TFLITE)/kernels.mk
TFLITE_COMMON = $(addprefix $(TFLITE)/,$(TFLITE_KERNELS:%=kernel-%.o) memory.o arithmetic.o \
	$(FAMILY_OBJECTS))

.PHONY: tflite tflite-build tflite-check
tflite-check:
	@[ "$(FAMILY)" = cortexm ] || { echo "error: make tflite runs under QEMU; choose TARGET=cortex-m4" >&2; exit 1; }
	@[ -f "$(if $(MODEL),$(NETWORK))" ] || { echo "error: MODEL=$(MODEL) is no file; name a .tflite file" >&2; exit 1; }

tflite-build: tflite-check
	$(Q)$(RUN) mcu/run_tflite.py compile $(NETWORK) --build $(TFLITE) --optimise $(OPTIMISE)
	$(Q)$(MAKE) --no-print-directory MODEL=$(NETWORK) OUT=$(OUT) PYTHON=$(PYTHON) $(TFLITE)/tflite.elf $(TFLITE)/tflite-trace.elf

tflite: tflite-build ## a TensorFlow Lite model on a target under QEMU (MODEL=, TARGET=, OPTIMISE=, INPUTS=)
	$(Q)$(RUN) mcu/run_tflite.py run $(NETWORK) --build $(TFLITE) --optimise $(OPTIMISE) \
		--inputs $(INPUTS) --target $(TARGET)

$(TFLITE)/tflite.elf: $(addprefix $(TFLITE)/,main.o model.o) $(TFLITE_COMMON) link.ld.S
	$(call link,$(filter %.o,$^),$(FLASH_SIZE))

$(TFLITE)/tflite-trace.elf: $(addprefix $(TFLITE)/,main.o model-trace.o) $(TFLITE_COMMON) link.ld.S
	$(call link,$(filter %.o,$^),$(FLASH_SIZE))

$(TFLITE)/main.o: tflite/main.c chip.h $(TFLITE)/tflite_plan.h ../compiler/record.h
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/memory.o: tflite/memory.c
	$(call compile,$(TFLITE_CFLAGS) -fno-tree-loop-distribute-patterns)
$(TFLITE)/arithmetic.o: tflite/arithmetic.c
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/model.o: $(TFLITE)/model.c $(TFLITE)/tflite_plan.h
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/model-trace.o: $(TFLITE)/model.c $(TFLITE)/tflite_plan.h
	$(call compile,$(TFLITE_CFLAGS) $(RECORDED))
$(TFLITE)/kernel-%.o: $(KERNEL_FOLDER)/%.c $(wildcard $(KERNEL_FOLDER)/*.h)
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/kernel-%.o: $(KERNEL_FOLDER)/%.S
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/%.o: $(FAMILY)/%.c chip.h
	$(call compile,$(TFLITE_CFLAGS))
$(TFLITE)/%.o: $(FAMILY)/%.S
	$(call compile,$(TFLITE_CFLAGS))
