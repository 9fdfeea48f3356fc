# BitNetMCU: `make demo` shows the whole pipeline, `make test` proves it. `make help` lists the rest.

TAKES = ARGS BASE_PYTHON BENCH BUILD CC CFLAGS LIBRARY MULTIPLIER VENV
include options.mk

VENV ?= .venv
BUILD = build
BASE_PYTHON ?= python3
CFLAGS ?= -O2
STRICT = -std=c99 -Wall -Wextra -Werror -pedantic
# 0: kernels without a multiplication, on any core; 1: with; empty: as the compiler says.
MULTIPLIER ?=
DEFINES = $(if $(MULTIPLIER),-DBITNETMCU_MULTIPLIER=$(MULTIPLIER))

ifeq ($(OS),Windows_NT)
BIN = $(VENV)/Scripts
LIBRARY ?= $(BUILD)/Bitnet_inf.dll
else
BIN = $(VENV)/bin
ifeq ($(shell uname -s),Darwin)
LIBRARY ?= $(BUILD)/Bitnet_inf.dylib
else
LIBRARY ?= $(BUILD)/Bitnet_inf.so
endif
endif
PYTHON = $(BIN)/python
# What is installed: the pipeline's packages; those of tests and TensorFlow Lite, too.
READY = $(VENV)/.bitnetmcu-ready
READY_ALL = $(VENV)/.bitnetmcu-ready-all
DEMO = build/demo

KERNELS = BitNetMCU_inference.c $(wildcard kernels/*.c)
ENGINE = $(KERNELS) BitNetMCU_inference.h

.PHONY: help demo test fuzz test-long setup setup-all toolchain lint train export parity study-fc \
	study-fc-choices study-formats study-bias study-sensors bench-training bench bench-firmware bench-tflite \
	figures lib ctest clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-20s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## the whole pipeline on embedded data: train, export, compile, prove
	$(PYTHON) training.py dataset=Digits num_epochs=60 --out $(DEMO) --build $(DEMO)
	$(PYTHON) exportquant.py --build $(DEMO)
	$(MAKE) -s ctest BUILD=$(DEMO)
	$(PYTHON) test_inference.py --build $(DEMO)

# On all cores; whoever is done takes over tests of the others.
PYTEST = $(PYTHON) -m pytest -n auto --maxprocesses 8 --dist worksteal

test: $(READY_ALL) ## the tests, minutes
	$(PYTEST)

fuzz: $(READY_ALL) ## 100,000 random networks, every value of the C, under sanitizers, minutes
	$(PYTHON) tests/fuzz.py $(ARGS)

test-long: $(READY_ALL) ## the tests with long fuzzing and a full training
	$(PYTEST) -m "long or not long"

setup: $(READY) ## virtual environment with what the pipeline needs
	@du -sh $(VENV)

setup-all: $(READY_ALL) ## the same, and what tests, lint and TensorFlow Lite need
	@du -sh $(VENV)

lint: $(READY_ALL) ## check style: ruff and clang-format
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/clang-format --dry-run --Werror *.c *.h kernels/*.c tinyengine/*.c tinyengine/kernels/*.c tinyengine/kernels/*.h tests/*.c mcu/*.c mcu/*.h mcu/*/*.c mcu/*/*.h

PACKAGES = gcc g++ clang libclang-rt-dev make gcc-riscv64-unknown-elf gcc-arm-none-eabi qemu-system-arm

toolchain: ## compilers and QEMU (apt, as root; otherwise prints the command)
	@if dpkg -s $(PACKAGES) >/dev/null 2>&1; then \
		echo "all there: $(PACKAGES)"; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else \
		echo "install the compilers, on Debian and Ubuntu with:"; \
		echo "  sudo apt-get install $(PACKAGES)"; \
	fi

$(READY): requirements.txt
	@echo "installing into $(VENV): about 5.8 GB on Linux, 5.3 of it PyTorch with CUDA;" \
		"README.md says how to take the one for CPUs"
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(BASE_PYTHON) -m venv --clear $(VENV)
	$(PYTHON) -m pip install -r requirements.txt
	@touch $@

$(READY_ALL): requirements-all.txt $(READY)
	$(PYTHON) -m pip install -r requirements-all.txt
	@touch $@

train: $(READY) ## train what trainingparameters.yaml names (ARGS="key=value ...")
	$(PYTHON) training.py --build $(BUILD) $(ARGS)

export: $(READY) ## write the C of the network that was trained last
	$(PYTHON) exportquant.py --build $(BUILD) $(ARGS)

parity: $(READY) ## prove C = Python on all test images for what was exported last
	$(PYTHON) test_inference.py --build $(BUILD)

study-fc: $(READY) ## five seeds of the committed networks -> docs/study-fc.csv (resumes)
	$(PYTHON) study.py studies/fc.yaml

study-fc-choices: $(READY) ## what the defaults were chosen on -> docs/study-fc-choices.csv
	$(PYTHON) study.py studies/fc-choices.yaml

study-bias: $(READY) ## what biases give on images -> docs/study-bias.csv (resumes)
	$(PYTHON) study.py studies/bias.yaml

study-sensors: $(READY) ## measured values, with and without a bias -> docs/study-sensors.csv (resumes)
	$(PYTHON) examples/sensors.py build/sensors
	$(PYTHON) examples/vibration.py build/sensors/vibration.npz
	$(PYTHON) study.py studies/sensors.yaml

study-formats: $(READY) ## every number format and scale at about 12 kB -> docs/formats.csv (resumes)
	$(PYTHON) study.py studies/formats.yaml --out docs/formats.csv

bench-training: $(READY) ## samples per second against a per-sample PIL pipeline
	$(PYTHON) docs/bench_training.py

bench: $(READY) ## cycles and bytes, model x kernel x placement x target (BENCH="target=... model=...")
	$(PYTHON) mcu/bench.py $(BENCH)

bench-firmware: $(READY) ## the fast firmware, all test images -> docs/firmware.csv and -CH32V002.csv
	$(PYTHON) mcu/bench.py target=CH32V003 kernel=assembly,c placement=auto,flash --images 10000 \
		--out docs/firmware.csv
	$(PYTHON) mcu/bench.py target=CH32V002 model=fc12k kernel=assembly,c placement=auto \
		--images 10000 --out docs/firmware-CH32V002.csv
	$(PYTHON) docs/cycle_model.py

bench-tflite: $(READY_ALL) ## int8 TFLite models in BITNETMCU_MODELS on a Cortex-M4 -> docs/bench-tflite.csv
	$(PYTHON) docs/bench_tflite.py

figures: $(READY) ## draw the figures of docs/
	$(PYTHON) docs/plots.py

lib: $(LIBRARY)

# Changes when the flags do, so that what was built with others is built again.
FLAGS = $(CC) $(CFLAGS) $(DEFINES)

%.flags: FORCE
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
FORCE:

$(LIBRARY): BitNetMCU_lib.c $(ENGINE) $(BUILD)/BitNetMCU_model.h $(LIBRARY).flags
	$(CC) $(CFLAGS) $(STRICT) $(DEFINES) -fPIC -shared -I. -I$(BUILD) -o $@ BitNetMCU_lib.c $(KERNELS)

$(BUILD)/BitNetMCU_MNIST_test: BitNetMCU_MNIST_test.c $(ENGINE) $(BUILD)/BitNetMCU_model.h \
		$(BUILD)/BitNetMCU_MNIST_test_data.h $(BUILD)/BitNetMCU_MNIST_test.flags
	$(CC) $(CFLAGS) $(STRICT) $(DEFINES) -I. -I$(BUILD) -o $@ BitNetMCU_MNIST_test.c $(KERNELS)

ctest: $(BUILD)/BitNetMCU_MNIST_test ## ten test images through the exported C
	$<

$(BUILD)/BitNetMCU_model.h $(BUILD)/BitNetMCU_MNIST_test_data.h:
	@echo "$@ is missing; run exportquant.py first" >&2; exit 1

clean: ## remove the folder build/ (models and virtual environment stay)
	rm -rf build
