"""Depthwise convolutions channel by channel: which steps, in C, as firmware; what is refused.

Random networks are in test_windows.py, kernels/depthwise.c alone in test_depthwise.py.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import extreme_inputs
from test_firmware import last_line, make, need

import training
from compiler import operators
from compiler.formats import FACTORS, FORMATS
from compiler.graph import Range
from compiler.selection import Unfit
from compiler.trace import Layout
from lowbit import channels, fusion, lowering, pipeline
from lowbit.maps import Channelled, Windows
from lowbit.rules import IntegerLayer
from train import config

PIXELS = Range(0, 15)


def layer_of(rng, outputs, inputs, name="FP130", factors=False, bias=0):
    weights = rng.choice(FORMATS[name].levels, (outputs, inputs)).astype(np.int32)
    drawn = rng.choice(FACTORS, outputs).astype(np.int32) if factors else None
    biases = rng.integers(-bias, bias, outputs) if bias else None
    return IntegerLayer(FORMATS[name], weights, drawn, biases)


def chain_of(size=(9, 10), channels=1, reads=PIXELS):
    chain = lowering.Chain("network", size[0] * size[1] * channels, reads)
    chain.as_map(size, channels)
    return chain


def add(rng, chain, kernel=(3, 3), outputs=None, pool=None, depthwise=True, shift=7, **given):
    """A convolution, a fixed shift, perhaps a pool; given: of `Windows`, or `layer_of`."""
    *size, channels = chain.last.shape
    shapes = {key: given.pop(key) for key in ("stride", "padding") if key in given}
    windows = Windows(tuple(size), channels, kernel, **shapes)
    reads = 1 if depthwise else channels
    layer = layer_of(rng, outputs or channels, windows.kernel_size * reads, **given)
    chain.convolution(layer, windows, channels if depthwise else 1)
    chain.fixed_shift_relu(shift, PIXELS)
    if pool:
        chain.pool("MAX_POOL", (pool, pool))


def graph_of(rng, chain):
    chain.linear(layer_of(rng, 4, chain.last.size, "2bitsym"))
    return chain.graph()


def network(rng, outputs=5, pools=(None, 2), size=(9, 10), inputs=1, **given):
    """A convolution of `outputs` channels, and depthwise ones, one for each of `pools`."""
    chain = chain_of(size, inputs)
    add(rng, chain, outputs=outputs, pool=pools[0], **given)
    for pool in pools[1:]:
        add(rng, chain, pool=pool, **given)
    return graph_of(rng, chain)


def kinds_of(graph):
    return [step.kind for step in fusion.fuse(graph).operators]


def test_a_run_of_depthwise_convolutions_is_one_step(rng):
    assert kinds_of(network(rng, pools=(None, 2, None))) == ["CHANNELLED", "LINEAR"]
    assert kinds_of(network(rng, pools=(2, 2), size=(14, 14))) == ["CHANNELLED", "LINEAR"]
    assert kinds_of(network(rng, pools=(None,), inputs=5)) == ["CHANNELLED", "LINEAR"]


def test_one_convolution_of_one_channel_is_left_as_it_was(rng):
    """All its outputs read the same values, so that they are better made together."""
    assert kinds_of(network(rng, pools=(None,))) == ["FUSED", "LINEAR"]
    assert kinds_of(network(rng, outputs=1)) == ["STREAMED", "LINEAR"]


def test_convolutions_of_all_channels_are_executed_row_by_row(rng):
    chain = chain_of()
    add(rng, chain, outputs=4)
    add(rng, chain, depthwise=False)
    assert kinds_of(graph_of(rng, chain)) == ["STREAMED", "LINEAR"]


def test_what_is_added_or_seen_position_by_position_is_no_part(rng):
    chain = chain_of(channels=3)
    add(rng, chain)
    add(rng, chain, kernel=(1, 1), depthwise=False)  # together with the one in front of it
    assert kinds_of(graph_of(rng, chain)) == ["FUSED", "LINEAR"]
    chain = chain_of(channels=3)
    windows = Windows((9, 10), 3, (3, 3), padding=(1, 1))
    chain.convolution(layer_of(rng, 3, 9), windows, 3)
    chain.add(0, 2)
    chain.fixed_shift_relu(7, PIXELS)
    assert kinds_of(graph_of(rng, chain)) == ["FUSED", "LINEAR"]


def test_a_map_is_whole_only_where_that_takes_less_than_its_rows(rng):
    for pool, kinds in ((None, ["STREAMED"]), (2, ["CHANNELLED", "FUSED"])):
        chain = chain_of((14, 14))
        add(rng, chain, outputs=6)
        add(rng, chain, pool=pool)
        add(rng, chain, outputs=4, kernel=(2, 2), depthwise=False)
        assert kinds_of(graph_of(rng, chain)) == [*kinds, "LINEAR"]


CASES = {
    "two parts": {},
    "three parts": {"pools": (None, 2, None), "size": (12, 13)},
    "pools": {"pools": (2, 2), "size": (12, 11)},
    "a map of channels": {"inputs": 5},
    "one part": {"pools": (2,), "inputs": 5},
    "7x2": {"kernel": (4, 2)},
    "steps": {"stride": (2, 1), "size": (16, 11)},
    "padding": {"padding": (1, 2)},
    "pools of 3x3": {"pools": (3, None), "size": (14, 12)},
    "8bit": {"name": "8bit", "shift": 10},
    "biases": {"bias": 200, "name": "Ternary", "shift": 4},
    "factors": {"factors": True, "name": "2bitsym"},
    "factors and biases, 8bit": {"factors": True, "bias": 2000, "name": "8bit", "shift": 12},
    "past 16 bits": {"bias": 10**6, "name": "8bit", "shift": 16},
}
PLAIN = {"7x2", "steps", "padding", "pools of 3x3", "factors and biases, 8bit"}


@pytest.mark.parametrize(
    ("optimise", "multiplier"), [("size", 0), ("speed", 0), ("speed", 1), ("host", 1)]
)
@pytest.mark.parametrize("case", CASES)
def test_every_value_is_that_of_the_rules(case, optimise, multiplier, build_harness, tmp_path, rng):
    graph = network(rng, **CASES[case])
    harness = build_harness(graph, tmp_path, optimise, multiplier)
    executed, choices = harness.compiled.graph, harness.compiled.choices
    assert [step.kind for step in executed.operators] == ["CHANNELLED", "LINEAR"]
    is_fast = optimise == "speed" and case not in PLAIN
    fast = channels.MULTIPLYING if multiplier else channels.KERNEL
    assert (choices[0].kernel is fast) == is_fast, choices[0].skipped
    images = extreme_inputs(rng, graph.input.size, PIXELS)
    expected = operators.execute(graph, images)
    assert expected[executed.operators[0].outputs[0]].max() > 0
    assert not Layout.of(executed).differences(harness.run(images).values, expected)


def test_signed_inputs_take_plain_kernels(build_harness, tmp_path, rng):
    chain = chain_of(channels=3, reads=lowering.MEASURED)
    add(rng, chain, shift=9)
    add(rng, chain)
    graph = graph_of(rng, chain)
    harness = build_harness(graph, tmp_path, "speed")
    (reason,) = harness.compiled.choices[0].skipped
    assert reason == "depthwise: inputs may be negative, down to -128"
    images = extreme_inputs(rng, graph.input.size)
    found = harness.run(images).values
    assert not Layout.of(harness.compiled.graph).differences(
        found, operators.execute(graph, images)
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kernel": (3, 2)}, "3x3 windows"),
        ({"stride": (1, 2)}, "one apart"),
        ({"padding": (1, 1)}, "without padding"),
        ({"pools": (3, None), "size": (14, 14)}, "pools of 2x2"),
        ({"size": (3, 300)}, "more than 255"),
        ({"factors": True, "name": "8bit"}, "times their factor reach"),
    ],
)
def test_what_the_fast_kernel_is_not_for_is_refused(changes, reason, rng):
    if changes.get("size") == (3, 300):
        changes = changes | {"pools": (None,), "inputs": 2, "outputs": 2}
    step = fusion.fuse(network(rng, **changes)).operators[0]
    for kernel in (channels.KERNEL, channels.MULTIPLYING):
        with pytest.raises(Unfit, match=reason):
            kernel.pack(step.fields)


def test_sums_past_int32_are_refused(rng):
    step = fusion.fuse(network(rng)).operators[0]
    first, *others = step.fields.parts
    ((conv, shift),) = first.stages
    layer = replace(conv.layer, bias=np.full(5, 2**31))
    first = replace(first, stages=((replace(conv, layer=layer), shift),))
    with pytest.raises(Unfit, match="past int32"):
        channels.pack(Channelled((first, *others)))


def test_of_what_lies_between_there_is_one_channel(rng):
    """16x16 pixels, 64 channels of 14x14 and 12x12, of which 4 values each are written."""
    graph = network(rng, outputs=64, pools=(None, 2, 2), size=(16, 16))
    compiled = pipeline.compile_network(graph, "speed")
    assert compiled.choices[0].scratch == 14 * 14 * 2  # two values in a word
    assert compiled.arena == 14 * 14 * 2 + 64 * 2 * 2
    compiled = pipeline.compile_network(graph, "size")
    assert compiled.choices[0].scratch == 4 + 14 * 14 + 6 * 6


def test_a_network_with_many_weights_has_one_kernel_for_its_dense_layers(rng):
    """16 KB of flash have no room for two."""
    for width, expected in ((20, "nibbles"), (120, "planes_4bitsym")):
        chain = chain_of((16, 16))
        chain.linear(layer_of(rng, width, 256, "2bitsym"))
        chain.shiftnorm_relu(PIXELS)
        chain.linear(layer_of(rng, 60, width, "4bitsym"))
        names = [
            choice.kernel.name
            for choice in pipeline.layers_of(pipeline.compile_network(chain.graph(), "speed"))
        ]
        assert names == ["planes_2bitsym", expected]


FIRMWARE = [
    "dataset=Digits", "model=CNNMNIST", "image_size=12", "num_epochs=2", "activation_bits=4",
    "layers=conv 3x3 8,depthwise 3x3,maxpool 2x2,depthwise 3x3,dense 16",
]  # fmt: skip


@pytest.mark.parametrize("formats", ["FP130,FP130,FP130,2bitsym,4bitsym", "8bit"])
@pytest.mark.parametrize(
    "options",
    [(f"TARGET={target}",) for target in ("CH32V003", "CH32V002", "cortex-m0")]
    + [("TARGET=CH32V003", f"KERNELS={kernels}") for kernels in ("c", "plain")]
    + [("TARGET=CH32V003", "PLACE=flash")],
    ids=" ".join,
)
def test_firmware_gives_the_same_values(options, formats, tmp_path):
    """The kernel in assembly writes code to SRAM, and runs it there."""
    need(options[0].removeprefix("TARGET="))
    settings = config.load(overrides=[*FIRMWARE, f"QuantType={formats}"])
    path = training.train(settings, tmp_path, report=lambda line: None)
    line = last_line(make("emulate", f"MODEL={path}", *options, build=tmp_path / "b"))
    assert line["mismatches"] == "0"
    report = json.loads(next((tmp_path / "b").glob(f"*/{path.stem}/export.json")).read_text())
    first = report["steps"][0]
    assert first["kind"] == "CHANNELLED"
    assert (first["kernel"] == "depthwise") == ("KERNELS=plain" not in options)
    assert [layer["kernel"] for layer in report["layers"][:3]] == ["depthwise"] * 3 or (
        first["kernel"] == " > ".join(layer["kernel"] for layer in report["layers"][:3])
    )
