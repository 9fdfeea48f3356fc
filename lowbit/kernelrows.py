"""The kernels of low-bit networks, by operator; those of LINEAR by the formats that they are for.

A kernel of LINEAR is a function BitNetMCU_fc_NAME. What it is given, packed, are the words of its
layout (layouts.py); what is added to each input before it sees it (offset); what its sums have too
much then, less the bias (surplus); and codes of the factors of outputs: the last two None where
there are none.

Shapes: O = outputs of a layer.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from compiler.formats import FACTORS, FORMATS
from compiler.graph import INT32
from compiler.selection import Kernel, Unfit, always
from lowbit import layouts

ROOT = Path(__file__).resolve().parent.parent
PLAIN_SOURCE = ROOT / "BitNetMCU_inference.c"  # also of what is no step of its own
OPTIMISE = ("size", "speed", "host", "bittest")


def linear_kernel(name, layout, source=PLAIN_SOURCE, by_input=False, refuse=None, **options):
    """The `Kernel` BitNetMCU_fc_NAME in `source`.

    layout: `IntegerLayer` -> uint32 words. by_input: its rows are those of one input, and it takes
    unsigned activations. refuse: (layer, largest activation) -> why it could not be exact, "" if it
    is.
    """

    function = f"BitNetMCU_fc_{name}"

    def pack(layer):
        offset = -layer.reads.lowest if by_input and layer.reads.signed else 0
        largest = layer.reads.highest + offset
        most = largest * layer.inputs * (layer.format.highest - layer.format.lowest)
        if by_input and most > INT32.highest:
            raise Unfit(
                f"sums of {layer.inputs} inputs of 0..{largest} could reach {most}, past int32"
            )
        reason = refuse(layer, largest) if refuse else ""
        if reason:
            raise Unfit(reason)
        return packed_layer(layer, layout(layer), offset)

    def emit(packed, place):
        layer, (source,), (target,) = packed["layer"], place.inputs, place.outputs
        offset = f" {packed['offset']}," if by_input else ""
        words = weights_of(packed, place)
        yield f"{function}({source},{offset} {words}, {layer.inputs}, {layer.outputs}, {target});"
        yield from emit_corrections(packed, place)

    return Kernel(name, function, source, emit, pack, by_input=by_input, **options)


def packed_layer(layer, words, offset):
    """What the C of a layer is given."""
    return {
        "layer": layer,
        "words": words,
        "offset": offset,
        "surplus": surplus(layer, offset),
        "factors": None if layer.factors is None else factor_codes(layer.factors),
    }


def weights_of(packed, place):
    """The C name of a layer's words."""
    return place.constants.array(f"{place.prefix}_weights_{place.step.index}", packed["words"])


def emit_corrections(packed, place, output=None):
    """Lines that make accumulators of a layer's sums; output: C for the one that there is."""
    (target,), count, at = place.outputs, packed["layer"].outputs, ""
    if output:
        count, at = 1, f" + {output}"
    for what, operation in (("surplus", "subtract"), ("factors", "scale")):
        if packed[what] is not None:
            name = f"{place.prefix}_{what}_{place.step.index}"
            values = place.constants.array(name, packed[what])
            yield f"BitNetMCU_{operation}({target}, {count}, {values}{at});"


def surplus(layer, offset):
    """What a layer's sums have too much, int32 [O]: what the offset of its inputs adds, less bias.

    None where there is neither.
    """
    if not offset and layer.bias is None:
        return None
    bias = 0 if layer.bias is None else layer.bias
    return (layer.weights.sum(axis=1) * offset - bias).astype(np.int32)


def factor_codes(factors):
    """Factors int [O], each one of FACTORS, as the bytes of BitNetMCU_scale, uint8 [O]."""
    codes = {2**a + 2**b: a | b << 4 for a in range(4) for b in range(4)}
    assert codes.keys() == set(FACTORS)
    return np.array([codes[int(factor)] for factor in factors], np.uint8)


def _fast(name, layout, source, formats, by_input=True, **options):
    path = ROOT / "kernels" / f"{source}.c"
    in_assembly = ROOT / "kernels" / "riscv" / f"{source}.S"
    assembly = in_assembly if in_assembly.is_file() else None
    return linear_kernel(
        name, layout, path, by_input, formats=formats, assembly=assembly, **options
    )


def _planes(name, *formats):
    return _fast(
        f"planes_{name}", layouts.pack_columns, "planes", formats, refuse=layouts.refuse_columns
    )


def _multiply(name):
    layout = layouts.pack_by_input
    return _fast(f"multiply_{name}", layout, "multiply", (name,), multiplier=True)


def _bittest(name, *formats):
    return _fast(
        f"{name}_bittest",
        layouts.pack_signs,
        "bittest",
        formats,
        by_input=False,
        refuse=layouts.refuse_part_words,
    )


PLAIN = tuple(  # one for each `Format.kernel`: few bytes, little code
    linear_kernel(
        name,
        layouts.pack_digits if any(row.bits % 1 for row in rows) else layouts.pack_bits,
        formats=tuple(row.name for row in rows),
    )
    for name in dict.fromkeys(row.kernel for row in FORMATS.values())
    for rows in [[row for row in FORMATS.values() if row.kernel == name]]
)
FAST = (  # those of a format the fastest first; they may take more flash
    _planes("Binary", "Binary", "BinarySym"),
    _planes("Ternary", "Ternary"),
    linear_kernel("TernaryPlanes", layouts.pack_planes, formats=("Ternary",)),
    _planes("2bitsym", "2bitsym"),
    _multiply("4bit"),
    _multiply("4bitsym"),
    _fast(
        "nibbles",
        layouts.pack_nibbles,
        "nibbles",
        ("4bit", "4bitsym"),
        proven=layouts.describe_nibbles,
    ),
    _planes("4bit", "4bit"),
    _planes("4bitsym", "4bitsym"),
    _fast("shifts", layouts.pack_shifts, "shifts", ("FP130",)),
    _fast("pairs", layouts.pack_by_input, "pairs", ("NF4",), refuse=layouts.refuse_large_inputs),
    _fast("table", layouts.pack_by_input, "table", ("NF4",)),
    _planes("5bitsym", "5bitsym"),
    _planes("8bit", "8bit"),
)
BITTEST = (  # the way others compute, to measure against
    _bittest("Binary", "Binary", "BinarySym"),
    _bittest("2bitsym", "2bitsym"),
    _bittest("4bitsym", "4bitsym"),
    _bittest("FP130", "FP130"),
)
HALFWORDS = _fast("halfwords", layouts.pack_halfwords, "halfwords", None, multiplier=True)
LINEAR = (*FAST, *BITTEST, HALFWORDS, *PLAIN)
CHOICES = {"size": (), "speed": FAST, "host": (HALFWORDS,), "bittest": BITTEST}


def _shiftnorm(name):
    function = f"BitNetMCU_{name}"

    def emit(packed, place):
        (accumulators,), (activations, shift) = place.inputs, place.outputs
        arguments = f"{accumulators}, {packed.size}, {activations}, {packed.writes.highest}"
        yield f"const uint32_t {shift} = {function}({arguments});"

    return Kernel(name, function, PLAIN_SOURCE, emit, in_place=always, assembly=REQUANTISERS)


REQUANTISERS = ROOT / "kernels" / "riscv" / "shiftnorm.S"
SHIFTNORM_RELU = _shiftnorm("shiftnorm_relu")
SHIFTNORM_RELU_16 = _shiftnorm("shiftnorm_relu_16")  # of accumulators in int16
GATHERING = ROOT / "kernels" / "riscv" / "gather.S"
GATHER = Kernel("gather", "BitNetMCU_gather", PLAIN_SOURCE, emit=None, assembly=GATHERING)
# Brings them there; convolutions call it.
NARROW = Kernel("narrow", "BitNetMCU_narrow", PLAIN_SOURCE, emit=None, assembly=REQUANTISERS)


def _emit_fixed_shift(packed, place):
    (accumulators,), (activations,) = place.inputs, place.outputs
    arguments = f"{packed.size}, {activations}, {packed.shift}, {packed.writes.highest}"
    yield f"{FIXED_SHIFT_RELU.function}({accumulators}, {arguments});"


FIXED_SHIFT_RELU = Kernel(
    "fixed_shift_relu",
    "BitNetMCU_fixed_shift_relu",
    PLAIN_SOURCE,
    _emit_fixed_shift,
    in_place=always,
    assembly=REQUANTISERS,
)


def kernels_of(row):
    """All kernels of LINEAR that can execute a `Format`, the plain one last."""
    return tuple(k for k in LINEAR if k.formats is None or row.name in k.formats)


def candidates(layer, optimise="size", multiplier=False, last=()):
    """The kernels to choose from for a layer, the fastest first.

    optimise: one of OPTIMISE; multiplier: the core has one, or is a computer's; last: names of
    sources whose kernels are not to be taken where another fast one is there.
    """
    multiplier = multiplier or optimise == "host"
    able = kernels_of(layer.format)
    wanted = [
        _refused(k) if k.multiplier and not multiplier else k
        for k in CHOICES[optimise]
        if k in able
    ]
    return (*sorted(wanted, key=lambda kernel: kernel.source.stem in last), able[-1])


def _refused(kernel):
    """A kernel of other cores, which says so."""

    def pack(layer):
        raise Unfit("for cores with a multiplier (--multiplier)")

    return replace(kernel, pack=pack)


def sources():
    """The C files of all kernels."""
    return [PLAIN_SOURCE, *sorted((ROOT / "kernels").glob("*.c"))]
