"""Random networks through the C kernels, each value compared with the rules of the contract.

Every network is new: depth, sizes, formats, kernels, weights, factors, ranges and inputs are drawn
from its number. The C is built with AddressSanitizer and UBSan, for several BITNETMCU_BITS, without
multiplications and with them; the latter builds also have the kernels that need them, and other
networks.
Exits 1 and names the number of a network whose C differs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import contextlib
import itertools
import os
import subprocess
import tempfile
import time

import numpy as np
from conftest import ROOT, STRICT, extreme_inputs, layers_of, sanitizing

import cli
import workers
from compiler import operators
from compiler.formats import FACTORS, FORMATS
from compiler.graph import INT32, Range
from compiler.selection import Choice, Unfit
from compiler.trace import Layout
from lowbit import kernelrows, lowering
from lowbit.rules import IntegerLayer, linear_bound

EXAMPLES = """examples:
  python tests/fuzz.py                     100,000 networks
  python tests/fuzz.py --first 1234 --networks 1
"""

SHIFTNORM = 99  # instead of a constant shift
BATCH = 250  # networks for each run of the C
IMAGES = 6
BITS = (8, 7, 5, 4, 2)  # BITNETMCU_BITS of networks, in turn
ALL = {kernel.name: kernel for kernel in kernelrows.LINEAR}


def tables(multiplier):
    """The C's tables of kernels, in their order: {macro: names}."""
    able = [kernel for kernel in ALL.values() if multiplier or not kernel.multiplier]
    return {
        "KERNELS": [kernel.name for kernel in able if not kernel.by_input],
        "KERNELS_BY_INPUT": [kernel.name for kernel in able if kernel.by_input],
    }


def random_size(rng, most):
    """1 to `most`, small ones more often than large."""
    return int(np.exp(rng.uniform(0, np.log(most + 1))))


def random_layer(rng, inputs, outputs, bits):
    """An `IntegerLayer` of a random format, some with factors, some with a bias.

    Its sums fit int32, also when they are rounded to activations of so many bits.
    """
    fits = INT32.highest - (1 << 30 - bits)
    row = FORMATS[rng.choice(list(FORMATS))]
    levels = np.array(row.levels)
    if rng.random() < 0.2:  # only the ends of the format: the largest sums
        levels = levels[[levels.argmin(), levels.argmax()]]
    weights = rng.choice(levels, (outputs, inputs)).astype(np.int32)
    if rng.random() < 0.2:  # rows of one level
        weights[rng.integers(outputs)] = rng.choice(levels)
    factors = rng.choice(FACTORS, outputs).astype(np.int32) if rng.random() < 0.5 else None
    bias = None
    if rng.random() < 0.5:  # small ones, and as large as int32 allows
        most = (fits - linear_bound(IntegerLayer(row, weights, factors))) // max(FACTORS)
        reach = most if rng.random() < 0.3 else min(most, 128 * inputs * max(levels.max(), 1))
        bias = rng.integers(-reach, reach + 1, outputs) if reach > 0 else None
    layer = IntegerLayer(row, weights, factors, bias)
    return layer if linear_bound(layer) <= fits else IntegerLayer(row, weights)


def bits_of(number):
    """The BITNETMCU_BITS that are enough for a network."""
    return BITS[number % len(BITS)]


def random_reads(rng, bits):
    """The `Range` of inputs: any of so many bits, or signed ones where there are eight."""
    if bits < 8:
        return Range(0, int(rng.integers(1, 2**bits)))
    return lowering.MEASURED if rng.random() < 0.5 else lowering.IMAGES


def random_network(number, multiplier):
    """(graph, the `Choice` for each of its layers, int8 inputs [IMAGES, I]).

    multiplier: kernels may be those that need one.
    """
    rng = np.random.default_rng(number)
    depth = rng.integers(1, 5)
    large = rng.random() < 0.02
    sizes = [random_size(rng, 4096 if large else 300)]
    sizes += [random_size(rng, 256 if large else 80) for _ in range(depth)]
    bits = bits_of(number)
    reads = random_reads(rng, bits)
    chain = lowering.Chain("network", sizes[0], reads)
    behind = rng.integers(1, min(bits, 7) + 1, depth)  # bits of the activations behind each layer
    if rng.random() < 0.5:
        behind[:] = min(bits, 7)
    for *pair, some in zip(sizes, sizes[1:], behind.tolist()):
        chain.linear(random_layer(rng, *pair, some))
        if chain.layers < depth:
            writes = Range(0, 2**some - 1)
            if rng.random() < 0.7:
                chain.shiftnorm_relu(writes)
            else:  # any shift, about the one that fits: some saturate
                fitting = max(chain.last.range.highest.bit_length() - some, 0)
                shift = min(rng.integers(max(fitting - 6, 0), fitting + 1), 30 - some)
                chain.fixed_shift_relu(int(shift), writes)
    graph, choices = chain.graph(), []
    for layer in layers_of(graph):
        able = []
        for kernel in kernelrows.kernels_of(layer.format):
            if multiplier or not kernel.multiplier:
                with contextlib.suppress(Unfit):
                    able.append(Choice(kernel, kernel.pack(layer)))
        choices.append(able[rng.integers(len(able))])
    images = extreme_inputs(rng, sizes[0], reads)
    return graph, choices, images[rng.permutation(len(images))[:IMAGES]]


def serialise(graph, choices, images, multiplier):
    """A network and its inputs as the bytes that fuzz_harness.c reads."""
    kernels = sum(tables(multiplier).values(), [])
    heads, arrays = [], []
    behind = [step.fields for step in graph.operators if step.kind != "LINEAR"]
    ends = [(each.writes.highest, getattr(each, "shift", SHIFTNORM)) for each in behind]
    for choice, end in zip(choices, [*ends, (0, SHIFTNORM)], strict=True):
        packed = choice.packed
        words, surplus, factors = (packed[key] for key in ("words", "surplus", "factors"))
        heads += [kernels.index(choice.kernel.name), packed["offset"]]
        heads += [packed["layer"].inputs, packed["layer"].outputs]
        heads += [words.size, surplus is not None, factors is not None, *end]
        arrays += [part.tobytes() for part in (words, surplus, factors) if part is not None]
    head = np.array([len(choices), len(images), *heads], np.uint32)
    return b"".join([head.tobytes(), *arrays, images.tobytes()])


def expected(graph, images):
    """What fuzz_harness.c should write: the record of each image, uint8 [B, bytes]."""
    return Layout.of(graph).write(operators.execute(graph, images))


def build(folder, multiplier, bits=8):
    """Compile the harness; returns its path."""
    program = Path(folder) / f"fuzz-{multiplier}-{bits}"
    defines = [f"-DBITNETMCU_MULTIPLIER={multiplier}", f"-DBITNETMCU_BITS={bits}"]
    for table, names in tables(multiplier).items():
        defines.append(f"-D{table}={','.join(f'BitNetMCU_fc_{name}' for name in names)}")
    sources = [ROOT / "tests/fuzz_harness.c", *kernelrows.sources()]
    command = [*sanitizing(), *STRICT, *defines, "-o", program, *sources]
    subprocess.run(command, check=True)
    return program


def run_batch(programs, first, count):
    """Run networks `first` .. `first + count - 1`; returns [(number, which build), ...] that fail.

    programs: {(BITNETMCU_MULTIPLIER, BITNETMCU_BITS): path}.
    """
    failures = []
    for (multiplier, bits), program in programs.items():
        numbers = numbers_of(bits, first, count)
        if not numbers:
            continue
        networks = [random_network(number, multiplier) for number in numbers]
        stream = b"".join(serialise(*network, multiplier) for network in networks)
        wanted = [expected(graph, images) for graph, _, images in networks]
        name = f"BITNETMCU_MULTIPLIER={multiplier} BITNETMCU_BITS={bits}"
        for number, said in first_differing(program, stream, numbers, wanted):
            failures.append((number, f"{name}: {said}"))
    return failures


def fuzz(first, count, jobs):
    """Run `count` networks from number `first`; returns the failures of the first bad batch."""
    with tempfile.TemporaryDirectory() as folder:
        builds = list(itertools.product((0, 1), bits_among(first, count)))
        compiled = workers.run(build, [(folder, *each) for each in builds], jobs)
        programs = dict(zip(builds, compiled, strict=True))
        for failures in in_batches(run_batch, (programs,), first, count, BATCH, jobs):
            if failures:
                return failures
    return []


# --- what fuzz_windows.py shares


def bits_among(first, count):
    """Which BITNETMCU_BITS so many networks have."""
    return sorted({bits_of(number) for number in range(first, first + min(count, len(BITS)))})


def numbers_of(bits, first, count):
    """The networks with those BITNETMCU_BITS."""
    return [number for number in range(first, first + count) if bits_of(number) == bits]


def first_differing(program, stream, numbers, wanted):
    """Run a program; returns [(number, its errors)] of the first network that fails, or [].

    wanted: what it should write for each network. One that dies fails at the network at which its
    output ends.
    """
    done = subprocess.run([program], input=stream, capture_output=True)
    said, values, at = done.stderr.decode()[:2000], np.frombuffer(done.stdout, np.uint8), 0
    for number, want in zip(numbers, wanted, strict=True):
        if not np.array_equal(values[at : at + want.size], want.ravel()):
            return [(number, said)]
        at += want.size
    if done.returncode or at < values.size:  # after the last value, as of a leak
        return [(numbers[0], said)]
    return []


def in_batches(function, fixed, first, count, size, jobs):
    """Yields function(*fixed, number, how many) for `count` networks from `first`, in batches."""
    starts = range(first, first + count, size)
    batches = [(*fixed, at, min(size, first + count - at)) for at in starts]
    yield from cli.progress(workers.run(function, batches, jobs), total=len(batches), unit="batch")


def arguments_of(description, examples, networks):
    """The command line of a fuzzer that runs so many networks if it is not told."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", type=int, default=networks)
    parser.add_argument("--first", type=int, default=0, help="the number of the first network")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.set_defaults(start=time.perf_counter())
    arguments = parser.parse_args()
    for name, least in (("networks", 1), ("jobs", 1), ("first", 0)):
        if getattr(arguments, name) < least:
            raise cli.UserError(
                f"--{name} {getattr(arguments, name)} is not valid; it takes {least} or more"
            )
    return arguments


def report(script, arguments, failures, images, kernels):
    """Print what failed, and a line that counts; returns the exit status.

    images: of each network; kernels: how many were used.
    """
    for number, what in failures:
        print(f"network {number} differs: {what}")
        print(f"again: python tests/{script} --first {number} --networks 1")
    print(
        f"networks={arguments.networks} images={images * arguments.networks} "
        f"kernels={kernels} differing={len(failures)} "
        f"seconds={time.perf_counter() - arguments.start:.0f}"
    )
    return 1 if failures else 0


def main():
    arguments = arguments_of(__doc__, EXAMPLES, 100_000)
    failures = fuzz(arguments.first, arguments.networks, arguments.jobs)
    return report("fuzz.py", arguments, failures, IMAGES, len(ALL))


if __name__ == "__main__":
    cli.run(main)
