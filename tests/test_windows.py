"""Convolutions over windows: the same integers in PyTorch, by the rules, in C and as firmware."""

from dataclasses import replace

import fuzz_windows
import numpy as np
import pytest
import torch
from conftest import refused, run_script, write_own
from torch import nn

import BitNetMCU
import exportquant
import test_inference
import training
from cli import UserError
from compiler import hostrun, operators
from compiler.formats import FORMATS
from compiler.graph import Range
from compiler.trace import Layout
from lowbit import fusion, lowering, maps, pipeline
from lowbit.rules import IntegerLayer
from train import checkpoint, config, models

PIXELS = Range(0, 15)
WINDOWS = ["model=WindowMNIST", "dataset=Digits", "image_size=8"]


@pytest.fixture
def settings():
    return config.load(overrides=["model=WindowMNIST", "image_size=8"])


def network_of(settings, layers, **changes):
    """An untrained network for 8x8 pixels whose fixed shifts fit, in eval mode."""
    torch.manual_seed(0)
    network = models.build(replace(settings, layers=layers, **changes), 64, 10)
    network.train()(torch.randint(0, 16, (50, 64)).float())
    return network.eval()


def images_of(rng, count=60):
    images = rng.integers(0, 16, (count, 64), dtype=np.int8)
    images[:3] = np.array([[0], [15], [8]])
    return images


def assert_pytorch_agrees(network, images):
    """PyTorch and the rules, unfused and fused."""
    graph = lowering.lower(network, PIXELS)
    expected = operators.execute(graph, images)
    found = test_inference.pytorch_values(network, graph, torch.from_numpy(images))
    assert not Layout.of(graph).differences(found, expected)
    fused = fusion.fuse(graph)
    again = operators.execute(fused, images)
    assert not Layout.of(fused).differences(again, expected)
    return graph


LAYERS = [
    ["conv 3x3/2 9", "conv 1x1 5", "dense 12"],
    ["conv 5x2 pad 1 7", "conv 3x3/2 6", "conv 1x1 4"],
    ["conv 8x8 20", "dense 9"],
]


@pytest.mark.parametrize("layers", LAYERS, ids=" ".join)
@pytest.mark.parametrize("requantiser", BitNetMCU.REQUANTISERS)
@pytest.mark.parametrize(("scale", "bias"), [("PerTensor", "none"), ("PerOutput", "all")])
@pytest.mark.parametrize("name", FORMATS)
def test_pytorch_agrees_with_the_rules(name, scale, bias, requantiser, layers, settings, rng):
    changes = {"QuantType": name, "WScale": scale, "bias": bias, "requantiser": requantiser}
    network = network_of(settings, layers, **changes)
    graph = assert_pytorch_agrees(network, images_of(rng))
    assert [step.kind for step in graph.operators].count("CONVOLUTION") == sum(
        layer.startswith("conv") for layer in layers
    )


def test_windows_are_those_of_a_loop(rng):
    windows = maps.Windows((5, 4), 2, (3, 2), (2, 1), (1, 0))
    some = rng.integers(-9, 9, (3, 5, 4, 2))
    padded = np.pad(some, [(0, 0), (1, 1), (0, 0), (0, 0)])
    assert windows.positions == (3, 3)
    looped = [padded[:, y : y + 3, x : x + 2].reshape(3, -1) for y in (0, 2, 4) for x in (0, 1, 2)]
    assert np.array_equal(windows.of(some.reshape(3, -1)), np.stack(looped, 1))


def test_random_networks_in_c():
    """400 of the 20,000 that `python tests/fuzz_windows.py` runs."""
    failures, counted = fuzz_windows.run(1, 400, jobs=2)
    assert not failures
    for name in (
        "strips",
        "sums in int16",
        "pools, fused",
        "streams of more",
        "sums of two, fused",
    ):
        assert counted[name] > 20, name
    for name in ("code", "groups", "sums of two", "single channels", "depthwise"):
        assert counted[name] > 6, name
    assert counted["lanes"] > 1 and counted["pieces"] > 1


def test_the_fuzz_sees_a_wrong_weight(monkeypatch):
    pack = pipeline.kernelrows.layouts.pack_strips

    def packed(layer):
        words = pack(layer).copy()
        words.flat[0] ^= 1
        return words

    monkeypatch.setattr(pipeline.kernelrows.layouts, "pack_strips", packed)
    failures, counted = fuzz_windows.run(1, 50, jobs=1)
    assert failures and counted["strips"]


def test_which_steps_are_fused(settings):
    graph = lowering.lower(network_of(settings, LAYERS[0]), PIXELS)
    assert [step.kind for step in fusion.fuse(graph).operators] == [
        "FUSED", "LINEAR", "FIXED_SHIFT_RELU", "LINEAR",
    ]  # fmt: skip
    graph = lowering.lower(network_of(settings, LAYERS[1]), PIXELS)
    first, last = fusion.fuse(graph).operators
    assert (first.kind, last.kind) == ("STREAMED", "LINEAR")  # its map is padded
    assert [len(part.stages) for part in first.fields.parts] == [1, 2]
    network = network_of(settings, LAYERS[0], requantiser="ShiftNorm")
    graph = lowering.lower(network, PIXELS)
    assert [step.kind for step in fusion.fuse(graph).operators] == [
        "CONVOLUTION_16", "SHIFTNORM_RELU_16", "CONVOLUTION_16", "SHIFTNORM_RELU_16",
        "LINEAR", "SHIFTNORM_RELU", "LINEAR",
    ]  # fmt: skip


def layer_that_reaches(largest, outputs=3):
    """An `IntegerLayer` of 2 inputs of 0..127 whose sums are from -largest to largest."""
    weights = np.full((outputs, 2), 127, np.int32)
    weights[1] = -127
    bias = np.full(outputs, largest - 2 * 127 * 127)
    bias[1] *= -1
    return IntegerLayer(FORMATS["8bit"], weights, bias=bias)


def narrowable(layer, windows, bits=5):
    """The graph of a convolution, ShiftNorm, and a layer of two outputs."""
    chain = lowering.Chain("network", windows.inputs, Range(0, 127))
    chain.as_map(windows.map_size, windows.channels)
    chain.convolution(layer, windows)
    chain.shiftnorm_relu(Range(0, 2**bits - 1))
    weights = np.ones((2, chain.last.size), np.int32)
    chain.linear(IntegerLayer(FORMATS["8bit"], weights))
    return chain.graph()


@pytest.mark.parametrize("optimise", ["size", "speed"])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize(("largest", "dtype"), [(2**15 - 1, "int16"), (2**15, "int32")])
def test_sums_are_int16_up_to_its_ends(largest, dtype, padding, optimise, build_harness, tmp_path):
    windows = maps.Windows((3, 3), 1, (1, 2), padding=(0, padding))
    graph = narrowable(layer_that_reaches(largest), windows)
    images = np.array([np.full(windows.inputs, x) for x in (0, 1, 127)], np.int8)
    images = np.concatenate([images, images[2:] * (np.arange(9) % 3 > 0)]).astype(np.int8)
    harness = build_harness(graph, tmp_path, optimise)
    executed = harness.compiled.graph
    (i,) = executed.operators[0].outputs
    assert executed.tensors[i].dtype == dtype
    expected = operators.execute(graph, images)
    assert (expected[i].min(), expected[i].max()) == (-largest, largest)
    found = harness.run(images)
    assert not Layout.of(executed).differences(found.values, expected)


@pytest.mark.parametrize("positions", range(1, 8))
@pytest.mark.parametrize("bits", [1, 4, 7])
def test_int16_is_taken_where_it_saves_memory(positions, bits, build_harness, tmp_path, rng):
    """1x1 convolutions are executed at one position at a time, or at two."""
    weights = rng.choice(FORMATS["4bitsym"].levels, (6, 4)).astype(np.int32)
    layer = IntegerLayer(FORMATS["4bitsym"], weights)
    graph = narrowable(layer, maps.Windows((1, positions), 4, (1, 1)), bits)
    harness = build_harness(graph, tmp_path, "speed")
    step, choice = harness.compiled.graph.operators[0], harness.compiled.choices[0]
    assert step.kind == ("CONVOLUTION_16" if positions > 2 else "CONVOLUTION")
    assert (choice.kernel.name == "code") == (positions not in (1, 3, 4))
    each = 2 if step.kind == "CONVOLUTION_16" else 4
    assert harness.compiled.arena == each * 6 * positions + choice.scratch
    assert harness.compiled.arena < 4 * 6 * positions or positions < 3
    images = rng.integers(0, 128, (20, 4 * positions), dtype=np.int8)
    found = harness.run(images).values
    assert not Layout.of(harness.compiled.graph).differences(
        found, operators.execute(graph, images)
    )


def test_weights_that_are_all_0_are_no_code(build_harness, tmp_path):
    """Its C would have variables that nothing uses."""
    layer = IntegerLayer(FORMATS["4bit"], np.zeros((3, 4), np.int32))
    graph = narrowable(layer, maps.Windows((1, 6), 4, (1, 1)))
    harness = build_harness(graph, tmp_path, "speed")
    (first, *_) = pipeline.layers_of(harness.compiled)
    assert first.skipped[0] == "code: all weights are 0"
    assert not harness.run(np.ones((1, 24), np.int8)).output.any()


def test_shiftnorm_holds_the_windows_of_a_chip_in_half_the_memory(settings):
    """conv 8x8/4 32: 9 positions of 32 outputs, 576 bytes, and 128 for the sums of one."""
    torch.manual_seed(0)
    layers = ["conv 8x8/4 32", "conv 1x1 16", "dense 64"]
    changed = replace(settings, layers=layers, requantiser="ShiftNorm", image_size=16)
    network = models.build(changed, 256, 10).eval()
    compiled = pipeline.compile_network(lowering.lower(network, PIXELS), "speed")
    first, *_ = compiled.blocks
    assert (first.size, compiled.choices[0].scratch, compiled.arena) == (576, 128, 704)


def test_kernels_of_a_fast_network_and_why_not_others(settings):
    def chosen(layers, **changes):
        network = network_of(settings, layers, **changes)
        compiled = pipeline.compile_network(lowering.lower(network, PIXELS), "speed")
        return [choice.kernel.name for choice in pipeline.layers_of(compiled)], compiled

    names, _ = chosen(LAYERS[0])
    assert names == ["strips", "code", "nibbles", "nibbles"]
    _, compiled = chosen(["conv 7x7 9", "conv 1x1 40", "conv 1x1 41"])
    _, _, last = pipeline.layers_of(compiled)[:3]
    assert last.skipped[0] == "code: 1640 weights, at most 640 as code"


@pytest.mark.parametrize("optimise", ["size", "speed", "host"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"requantiser": "ShiftNorm", "WScale": "PerOutput", "bias": "all"}],
    ids=["fixed", "shiftnorm, factors, biases"],
)
def test_a_trained_network_goes_through_the_chain(optimise, changes, tmp_path):
    overrides = [
        *WINDOWS,
        "num_epochs=30",
        "batch_size=64",
        "layers=conv 4x4/2 12,conv 1x1 6,dense 16",
    ]
    settings = replace(config.load(overrides=overrides), **changes)
    path = training.train(settings, tmp_path, report=str)
    exportquant.export(path, tmp_path, optimise=optimise)
    found = test_inference.compare(tmp_path)
    assert [found[key] for key in found if key.startswith("differing")] == [0, 0, 0]
    assert found["accuracy_c"] > 70


def test_the_exported_folder_compiles_alone(tmp_path):
    """As its report says: with -Ikernels and nothing else of this project."""
    path = checkpoint.MODELDATA / "WindowMNIST-MNIST-4bitsym-0c935144.pth"
    report = exportquant.export(path, tmp_path, optimise="speed")
    assert "kernels/strips.c" in report["sources"]
    for source in report["sources"]:
        folder = f"-I{tmp_path / 'kernels'}"
        hostrun.compile_c(tmp_path / "object.o", [tmp_path / source], "-c", folder)


OWN = [
    "BitConv2d(1, 6, 3, '4bitsym', stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), "
    "BitLinear(54, c, '4bitsym')",
    "nn.Unflatten(1, (1, 8, 8)), BitConv2d(1, 5, (3, 2), '2bitsym', padding=1, "
    "WScale='PerOutput', bias=True), nn.ReLU(), BitConv2d(5, 8, 4, 'Ternary', stride=2), "
    "FixedShiftReLU(5), nn.Flatten(), BitLinear(72, c, 'Binary')",
]


@pytest.mark.parametrize("layers", OWN, ids=["batch norm", "mixed"])
def test_own_networks_may_hold_convolutions(layers, tmp_path):
    own = write_own(tmp_path, layers)
    overrides = ["dataset=Digits", "image_size=8", "num_epochs=12", "batch_size=16"]
    settings = replace(config.load(overrides=overrides), model=own)
    path = training.train(settings, tmp_path, report=str)
    exportquant.export(path, tmp_path, optimise="speed")
    found = test_inference.compare(tmp_path)
    assert found["differing_values"] == found["differing_values_multiplier"] == 0
    assert found["accuracy_c"] > 40


def test_a_linear_layer_reads_a_map_as_pytorch_flattens_it(rng):
    """Weights of a BitLinear behind Flatten belong to channels first, whatever the C's order is."""
    torch.manual_seed(3)
    layers = [
        BitNetMCU.Unflatten((1, 8, 8)),
        BitNetMCU.BitConv2d(1, 3, 4, "8bit", stride=2),
        BitNetMCU.FixedShiftReLU(),
        BitNetMCU.Flatten(),
        BitNetMCU.BitLinear(27, 5, "8bit"),
    ]
    network = BitNetMCU.Network(layers, "RMS").eval()
    images = images_of(rng, 4)
    graph = assert_pytorch_agrees(network, images)
    x = nn.functional.conv2d(
        torch.from_numpy(images).double().view(-1, 1, 8, 8),
        layers[1].integer_weights().double().view(3, 1, 4, 4),
        stride=2,
    )
    hidden = x.clamp(0, 127).flatten(1)
    logits = hidden @ layers[4].integer_weights().double().T
    assert np.array_equal(operators.run(graph, images), logits.numpy())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["layers=conv 9x9 4"], "takes maps of at least 9x9"),
        (["layers=dense 8, conv 3x3 4"], "in front of all dense layers"),
        (["layers=conv 3x3"], "layers='conv 3x3' is not valid"),
        (["layers=conv 17x1 3"], "kernel_size=(17, 1)"),
        (["layers=conv 3x3 pad 3 3"], "padding less than the kernel"),
        (["layers=conv 3x3/0 3"], "is not valid"),
        (["layers=conv 3x3 4", "QuantType=Binary,Binary,Binary"], "3 formats for 2 layers"),
        (["layers=conv 3x3 4", "activation_bits=4,4"], "2 numbers for 1 hidden layers"),
    ],
)
def test_layers_that_cannot_be_are_refused_with_one_line(overrides, expected, tmp_path):
    done = run_script("training.py", *WINDOWS, *overrides, "--out", tmp_path / "out")
    assert expected in refused(done)
    assert not list((tmp_path / "out").glob("*.pth"))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), BitLinear(144, c, '4bitsym')", "144 inputs"),
        ("BitConv2d(2, 4, 3, '4bitsym'), nn.ReLU(), nn.Flatten(), BitLinear(144, c, '4bitsym')",
         "maps of 2 channels"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.Flatten(), nn.ReLU(), BitLinear(144, c, '4bitsym')",
         "belongs between maps"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), "
         "BitLinear(144, c, '4bitsym')", "directly behind a BitConv2d"),
        ("BitConv2d(1, c, 8, '4bitsym')", "with a BitLinear at the end"),
        ("nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), BitLinear(144, c, '4bitsym')",
         "is a Conv2d, which has no integer form"),
        ("nn.Flatten(2), BitLinear(64, c, '4bitsym')", "use nn.Flatten()"),
    ],
)  # fmt: skip
def test_own_networks_with_maps_that_do_not_fit_are_refused(layers, expected, tmp_path):
    own = write_own(tmp_path, layers)
    overrides = ["dataset=Digits", "image_size=8"]
    settings = replace(config.load(overrides=overrides), model=own)
    with pytest.raises(UserError, match="model") as caught:
        models.build(settings, 64, 10)
    assert expected in str(caught.value)


def test_measured_values_are_no_map(settings):
    with pytest.raises(UserError, match="needs a map; a.csv has 64 values"):
        models.build(replace(settings, dataset="a.csv"), 64, 10)
