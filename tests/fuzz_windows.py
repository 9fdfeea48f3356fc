"""Random networks of convolutions, as the C that is exported: every value against the rules.

Each network is drawn from its number, so that one that fails can be run again. Some steps are fused
and some are not; kernels are chosen as for a random one of the cores, of which a third have a
multiplier. All of a batch for such a core are compiled into one program, with sanitizers where the
compiler has them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import itertools
import tempfile
from collections import Counter
from dataclasses import replace

import fuzz
import numpy as np
from conftest import extreme_inputs, sanitizing, untrained

import cli
import workers
from compiler import hostrun, operators
from compiler.graph import Range
from compiler.trace import Layout
from lowbit import emission, kernelrows, lowering, pipeline
from lowbit.maps import Windows

EXAMPLES = """examples:
  python tests/fuzz_windows.py                     20,000 networks
  python tests/fuzz_windows.py --first 1234 --networks 1
"""

BATCH = 50
IMAGES = 4
MOST_VALUES = 2000  # of a map
COUNTED = {  # name: (step) -> whether it is one of those
    "sums in int16": lambda step: step.kind == "CONVOLUTION_16",
    "groups": lambda step: step.kind == "CONVOLUTION" and step.fields.groups > 1,
    "groups, fused": lambda step: step.kind == "FUSED" and step.fields.stages[0][0].groups > 1,
    "pools": lambda step: "POOL" in step.kind,
    "pools, fused": lambda step: step.kind == "FUSED" and step.fields.pool is not None,
    "streams": lambda step: step.kind == "STREAMED",
    "streams of more": lambda step: step.kind == "STREAMED" and len(step.fields.parts) > 1,
    "single channels": lambda step: step.kind == "CHANNELLED",
    "sums of two": lambda step: step.kind == "ADD",
    "sums of two, fused": lambda step: step.kind == "FUSED" and step.fields.added is not None,
}
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
    if rng.random() < 0.4:
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
    by_channel = rng.random() < 0.1
    size = tuple(int(n) for n in rng.integers(3 if by_channel else 1, 17, 2))
    channels = fuzz.random_size(rng, max(1, min(8, 255 // (size[0] * size[1]))))
    reads = fuzz.random_reads(rng, bits)
    chain = lowering.Chain("network", size[0] * size[1] * channels, reads)
    chain.as_map(size, channels)
    convolutions = int(rng.integers(1, 4))
    if by_channel:
        fast = rng.random() < 0.6
        for _ in range(int(rng.integers(1, 4))):
            if not fast or min(chain.last.shape[:2]) >= 3:
                random_depthwise(rng, chain, int(rng.integers(1, min(bits, 7) + 1)), fast)
    elif rng.random() < 0.1:
        random_pool(rng, chain)
    for number_of in range(convolutions + int(rng.integers(1, 3))):
        some, before = int(rng.integers(1, min(bits, 7) + 1)), chain.last
        if number_of < convolutions:
            random_convolution(rng, chain, some)
        else:
            chain.linear(fuzz.random_layer(rng, chain.last.size, fuzz.random_size(rng, 20), some))
        if chain.last.shape == before.shape and rng.random() < 0.5:
            chain.add(chain.tensors.index(before), int(rng.integers(0, 12)))
        is_map = len(chain.last.shape) == 3
        if is_map and rng.random() < 0.3:
            random_pool(rng, chain)
        requantise(rng, chain, some)
        if is_map and rng.random() < 0.3:
            random_pool(rng, chain)
            if chain.last.dtype == "int32":
                requantise(rng, chain, some)
    chain.linear(fuzz.random_layer(rng, chain.last.size, fuzz.random_size(rng, 12), 7))
    images = extreme_inputs(rng, chain.tensors[0].size, reads)
    return chain.graph(), optimise, images[rng.permutation(len(images))[:IMAGES]]


def random_convolution(rng, chain, bits):
    """One of the map that is there, some of groups; bits: of the activations behind it."""
    *size, channels = chain.last.shape
    windows = random_windows(rng, tuple(size), channels)
    if rng.random() < 0.2:  # as large as what it reads, for what may be added to it
        kernel = tuple(min(3, length) // 2 * 2 + 1 if length > 2 else 1 for length in size)
        windows = Windows(tuple(size), channels, kernel, padding=tuple(n // 2 for n in kernel))
    most = max(1, min(20, MOST_VALUES // windows.count))
    dividing = [n for n in range(1, channels + 1) if channels % n == 0 and n <= most]
    groups = int(rng.choice(dividing)) if rng.random() < 0.4 else 1
    outputs = groups * fuzz.random_size(rng, most // groups)
    if rng.random() < 0.3 and channels <= most:
        outputs = channels
    inputs = windows.kernel_size * (channels // groups)
    layer = fuzz.random_layer(rng, inputs, outputs, bits)
    if rng.random() < 0.5:  # what has the most kernels
        layer = four_bits(rng, layer)
    chain.convolution(layer, windows, groups)


def random_depthwise(rng, chain, bits, fast):
    """One with a fixed shift, and perhaps a pool, of which there may be more one behind the other;
    of a map of one channel any convolution. bits: of the activations behind it; fast: such as has a
    kernel of its own."""
    *size, channels = chain.last.shape
    kernel = tuple(int(rng.integers(1, min(5, length) + 1)) for length in size)
    padding, stride = (0, 0), (1, 1)
    if fast:
        kernel = (3, 3)
    if not fast and rng.random() < 0.3:
        padding = tuple(int(rng.integers(n)) for n in kernel)
    if not fast and rng.random() < 0.3:
        stride = tuple(int(rng.integers(1, n + 1)) for n in kernel)
    windows = Windows(tuple(size), channels, kernel, stride, padding)
    outputs = channels if channels > 1 else int(rng.integers(1, 9))
    layer = fuzz.random_layer(rng, windows.kernel_size, outputs, bits)
    if rng.random() < (0.8 if fast else 0.2):
        layer = replace(layer, factors=None)
    chain.convolution(layer, windows, channels)
    pooled, front = min(windows.positions) > 1 and rng.random() < 0.5, rng.random() < 0.5
    if pooled and front:
        chain.pool("MAX_POOL", (2, 2))
    fixed_shift(rng, chain, bits)
    if pooled and not front:
        chain.pool("MAX_POOL", (2, 2))


def random_pool(rng, chain):
    """One of the map that is there, as often one that can be fused as not."""
    size = chain.last.shape[:2]
    kernel = tuple(int(rng.integers(1, min(4, length) + 1)) for length in size)
    if rng.random() < 0.3 and min(size) > 1:
        kernel = (2, 2)
    stride = kernel if rng.random() < 0.6 else tuple(int(n) for n in rng.integers(1, 4, 2))
    kind = "MAX_POOL" if rng.random() < 0.7 else "SUM_POOL"
    small = chain.last.range.largest < 2**24 // (kernel[0] * kernel[1])
    front = chain.steps == []
    if kind == "SUM_POOL" and (front or not small):
        kind = "MAX_POOL"
    chain.pool(kind, kernel, stride)


def requantise(rng, chain, bits):
    """Brings the accumulators that are there to so many bits."""
    writes = Range(0, 2**bits - 1)
    if rng.random() < 0.3:
        chain.shiftnorm_relu(writes)
    else:
        fixed_shift(rng, chain, bits)


def fixed_shift(rng, chain, bits):
    fitting = max(chain.last.range.highest.bit_length() - bits, 0)
    shift = min(rng.integers(max(fitting - 6, 0), fitting + 1), 30 - bits)
    chain.fixed_shift_relu(int(shift), Range(0, 2**bits - 1))


def four_bits(rng, layer):
    """A layer of 4-bit weights of the same size."""
    row = fuzz.FORMATS[rng.choice(["4bit", "4bitsym"])]
    weights = rng.choice(row.levels, layer.weights.shape).astype(np.int32)
    return fuzz.IntegerLayer(row, weights, layer.factors)


def compiled_network(number):
    """(the network, its images, whether it is for a core with a multiplier)"""
    graph, optimise, images = random_network(number)
    multiplier = optimise == "host" or number % 3 == 0
    return pipeline.compile_network(graph, optimise, multiplier), images, multiplier


def defines(bits, multiplier):
    return [f"-DBITNETMCU_BITS={bits}", f"-DBITNETMCU_MULTIPLIER={int(multiplier)}"]


def kernels(folder, bits, multiplier):
    """Compiles all kernels for BITNETMCU_BITS and BITNETMCU_MULTIPLIER; returns the objects."""
    made = []
    for path in kernelrows.sources():
        flags = ["-c", *defines(bits, multiplier), f"-I{kernelrows.ROOT}"]
        target = Path(folder) / f"{path.stem}-{bits}-{int(multiplier)}.o"
        made.append(hostrun.compile_c(target, [path], *flags, compiler=sanitizing()))
    return made


def run_batch(objects, folder, first, count):
    """Run networks `first` .. `first + count - 1`; returns (what differs, counted kernels)."""
    failures, counted = [], Counter()
    drawn = {
        bits: {number: compiled_network(number) for number in fuzz.numbers_of(bits, first, count)}
        for bits in dict.fromkeys(bits for bits, _ in objects)
    }
    for (bits, multiplier), linked in objects.items():
        numbers = [number for number, (*_, one) in drawn[bits].items() if one == multiplier]
        if not numbers:
            continue
        networks = [drawn[bits][number][:2] for number in numbers]
        wanted = []
        for compiled, images in networks:
            counted.update(choice.kernel.name for choice in pipeline.layers_of(compiled))
            for name, applies in COUNTED.items():
                counted[name] += sum(map(applies, compiled.graph.operators))
            lowered = operators.execute(compiled.stages["lowered"], images)
            wanted.append(Layout.of(compiled.graph).write(lowered))
        own = Path(folder) / f"{first}-{bits}-{int(multiplier)}"
        program = build(own, networks, linked, defines(bits, multiplier))
        stream = b"".join(images.tobytes() for _, images in networks)
        failures += fuzz.first_differing(program, stream, numbers, wanted)
    return failures, counted


def build(folder, networks, objects, options):
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
    flags = [*options, f"-I{folder}", f"-I{kernelrows.ROOT}", f"-I{hostrun.HERE}"]
    flags += hostrun.RECORDED
    return hostrun.compile_c(folder / "all", [source, *objects], *flags, compiler=sanitizing())


def run(first, count, jobs):
    """Run `count` networks from number `first`; returns (failures, counted kernels)."""
    counted = Counter()
    with tempfile.TemporaryDirectory() as folder:
        some = list(itertools.product(fuzz.bits_among(first, count), (False, True)))
        made = workers.run(kernels, [(folder, *core) for core in some], jobs)
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
    kinds = len(counted.keys() - COUNTED.keys())
    return fuzz.report("fuzz_windows.py", arguments, failures, IMAGES, kinds)


if __name__ == "__main__":
    cli.run(main)
