"""Random networks of convolutions, as the C that is exported: every value against the rules.

Each network is drawn from its number, so that one that fails can be run again. Some steps are fused
and some are not; kernels are chosen as for a random one of the cores. All of a batch are compiled
into one program, with sanitizers where the compiler has them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import tempfile
from collections import Counter

import fuzz
import numpy as np
from conftest import extreme_inputs, sanitizing, untrained

import cli
import workers
from compiler import hostrun, operators
from compiler.graph import Range
from compiler.trace import Layout
from lowbit import emission, kernelrows, lowering, pipeline
from lowbit.rules import Windows

EXAMPLES = """examples:
  python tests/fuzz_windows.py                     20,000 networks
  python tests/fuzz_windows.py --first 1234 --networks 1
"""

BATCH = 50
IMAGES = 4
MOST_VALUES = 2000  # of a map
NARROWED = "sums in int16"
CORES = ("size", "speed", "speed", "host")
MAIN = """
#include "record.h"
#include <stdio.h>

void record(uint32_t step, const void *data, uint32_t bytes) {{
    (void)step;
    fwrite(data, 1, bytes, stdout);
}}

typedef uint32_t infer(const int8_t *input, int32_t *logits);

static const struct {{
    infer *infer;
    uint32_t inputs;
}} networks[] = {{{rows}}};

int main(void) {{
    static int8_t input[{most}];
    int32_t logits[{classes}];
    uint32_t number, i;

    for (number = 0; number < sizeof networks / sizeof *networks; number++) {{
        for (i = 0; i < {images}; i++) {{
            uint32_t size = networks[number].inputs;

            if (fread(input, 1, size, stdin) != size)
                return 1;
            networks[number].infer(input, logits);
        }}
        fflush(stdout);
    }}
    return 0;
}}
"""


def random_windows(rng, size, channels):
    """`Windows` of a map of that size; as often one position each as others."""
    if rng.random() < 0.3:
        return Windows(size, channels, (1, 1))
    padding = tuple(int(n) for n in rng.choice([0, 0, 1, 2], 2))
    if rng.random() < 0.5:
        padding = (0, 0)
    most = [min(16, length + 2 * pad) for length, pad in zip(size, padding)]
    kernel = tuple(int(rng.integers(1, n + 1)) for n in most)
    padding = tuple(min(pad, length - 1) for pad, length in zip(padding, kernel))
    kernel = tuple(min(n, length + 2 * pad) for n, length, pad in zip(kernel, size, padding))
    stride = tuple(int(n) for n in rng.integers(1, 5, 2))
    return Windows(size, channels, kernel, stride, padding)


def random_network(number):
    """(graph, optimise, int8 inputs [IMAGES, I]) of the network with that number."""
    rng = np.random.default_rng(number)
    optimise, bits = CORES[rng.integers(len(CORES))], fuzz.bits_of(number)
    size = tuple(int(n) for n in rng.integers(1, 17, 2))
    channels = fuzz.random_size(rng, max(1, min(8, 255 // (size[0] * size[1]))))
    reads = fuzz.random_reads(rng, bits)
    chain = lowering.Chain("network", size[0] * size[1] * channels, reads)
    chain.as_map(size, channels)
    convolutions = int(rng.integers(1, 4))
    for number_of in range(convolutions + int(rng.integers(1, 3))):
        some = int(rng.integers(1, min(bits, 7) + 1))
        if number_of < convolutions:
            size, channels = chain.last.shape[:2], chain.last.shape[2]
            windows = random_windows(rng, size, channels)
            most = max(1, min(20, MOST_VALUES // windows.count))
            inputs = windows.kernel[0] * windows.kernel[1] * channels
            layer = fuzz.random_layer(rng, inputs, fuzz.random_size(rng, most), some)
            if rng.random() < 0.5:  # what has the most kernels
                layer = four_bits(rng, layer)
            chain.convolution(layer, windows)
        else:
            chain.linear(fuzz.random_layer(rng, chain.last.size, fuzz.random_size(rng, 20), some))
        writes = Range(0, 2**some - 1)
        if rng.random() < 0.3:
            chain.shiftnorm_relu(writes)
        else:
            fitting = max(chain.last.range.highest.bit_length() - some, 0)
            shift = min(rng.integers(max(fitting - 6, 0), fitting + 1), 30 - some)
            chain.fixed_shift_relu(int(shift), writes)
    chain.linear(fuzz.random_layer(rng, chain.last.size, fuzz.random_size(rng, 12), 7))
    images = extreme_inputs(rng, chain.tensors[0].size, reads)
    return chain.graph(), optimise, images[rng.permutation(len(images))[:IMAGES]]


def four_bits(rng, layer):
    """A layer of 4-bit weights of the same size."""
    row = fuzz.FORMATS[rng.choice(["4bit", "4bitsym"])]
    weights = rng.choice(row.levels, layer.weights.shape).astype(np.int32)
    return fuzz.IntegerLayer(row, weights, layer.factors)


def compiled_network(number):
    graph, optimise, images = random_network(number)
    return pipeline.compile_network(graph, optimise), images


def kernels(folder, bits):
    """Compiles all kernels for BITNETMCU_BITS; returns the objects."""
    made = []
    for path in kernelrows.sources():
        flags = ["-c", f"-DBITNETMCU_BITS={bits}", f"-I{kernelrows.ROOT}"]
        target = Path(folder) / f"{path.stem}-{bits}.o"
        made.append(hostrun.compile_c(target, [path], *flags, compiler=sanitizing()))
    return made


def run_batch(objects, folder, first, count):
    """Run networks `first` .. `first + count - 1`; returns (what differs, counted kernels)."""
    failures, counted = [], Counter()
    for bits, linked in objects.items():
        numbers = fuzz.numbers_of(bits, first, count)
        if not numbers:
            continue
        networks = [compiled_network(number) for number in numbers]
        wanted = []
        for compiled, images in networks:
            counted.update(choice.kernel.name for choice in pipeline.layers_of(compiled))
            graph = compiled.graph
            counted[NARROWED] += sum(step.kind == "CONVOLUTION_16" for step in graph.operators)
            lowered = operators.execute(compiled.stages["lowered"], images)
            wanted.append(Layout.of(graph).write(lowered))
        program = build(Path(folder) / f"{first}-{bits}", networks, linked, bits)
        stream = b"".join(images.tobytes() for _, images in networks)
        failures += fuzz.first_differing(program, stream, numbers, wanted)
    return failures, counted


def build(folder, networks, objects, bits):
    """Compiles one program of all `networks`; returns its path."""
    folder.mkdir()
    text, rows = "", []
    for index, (compiled, _) in enumerate(networks):
        emitted = emission.emit(compiled, untrained(compiled.graph), f"n{index}")
        header = f"n{index}_model.h"
        (folder / header).write_text(emitted.files[header])
        text += f'#define N{index}_MODEL_IMPLEMENTATION\n#include "{header}"\n'
        rows.append(f"{{n{index}_infer, {compiled.graph.input.size}}}")
    most = max(compiled.graph.input.size for compiled, _ in networks)
    classes = max(compiled.graph.output.size for compiled, _ in networks)
    text += MAIN.format(rows=", ".join(rows), most=most, classes=classes, images=IMAGES)
    source = folder / "all.c"
    source.write_text(text)
    flags = [f"-DBITNETMCU_BITS={bits}", f"-I{folder}", f"-I{kernelrows.ROOT}", f"-I{hostrun.HERE}"]
    flags += hostrun.RECORDED
    return hostrun.compile_c(folder / "all", [source, *objects], *flags, compiler=sanitizing())


def run(first, count, jobs):
    """Run `count` networks from number `first`; returns (failures, counted kernels)."""
    counted = Counter()
    with tempfile.TemporaryDirectory() as folder:
        some = fuzz.bits_among(first, count)
        made = workers.run(kernels, [(folder, bits) for bits in some], jobs)
        fixed = (dict(zip(some, made, strict=True)), folder)
        for failures, kinds in fuzz.in_batches(run_batch, fixed, first, count, BATCH, jobs):
            counted += kinds
            if failures:
                return failures, counted
    return [], counted


def main():
    arguments = fuzz.arguments_of(__doc__, EXAMPLES, 20_000)
    failures, counted = run(arguments.first, arguments.networks, arguments.jobs)
    for name, count in counted.most_common():
        print(f"{count:8} layers with {name}")
    kinds = len(counted.keys() - {NARROWED})
    return fuzz.report("fuzz_windows.py", arguments, failures, IMAGES, kinds)


if __name__ == "__main__":
    cli.run(main)
