"""Grouped convolutions, pools, residuals and sequences: from their text or a user's class to the C.

That the C of all of them is exact on random networks is in test_windows.py.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import refused, run_script, write_own
from test_firmware import last_line, make, need
from test_windows import WINDOWS, assert_pytorch_agrees

import BitNetMCU
import exportquant
import test_inference
import training
from cli import UserError
from compiler import operators
from compiler.graph import Range
from lowbit import fusion, lowering, maps, pipeline
from train import checkpoint, config, models
from train.layers import Layer

PIXELS = Range(0, 15)
QUICK = ["num_epochs=40", "batch_size=8"]
TEXTS = [
    "dense 64",
    "conv 7x7/3 32",
    "conv 3x3 pad 1 16",
    "conv 3x3/2 pad 1 groups 4 16",
    "conv 1x9/4 16",
    "depthwise 3x3",
    "depthwise 3x3/2 pad 1 32",
    "maxpool 2x2",
    "maxpool 3x3/2",
    "maxpool 1x2/2",
    "sumpool 2x2",
    "avgpool all",
    "residual 3",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_layer_is_what_it_means(text):
    assert str(Layer.parse(text)) == text
    assert Layer.parse(f"  {text.replace(' ', '   ')} ") == Layer.parse(text)


def test_one_number_is_a_size_along_time():
    assert str(Layer.parse("conv 9/4 16")) == "conv 1x9/4 16"
    assert Layer.parse("maxpool 2").kernel == (1, 2)


@pytest.mark.parametrize(
    "text",
    ["", "conv", "conv 3x3", "conv 3x3 0", "conv 0x3 4", "conv 3x3/0 4", "conv 3x3 groups 0 4",
     "conv 3x3x3 4", "depthwise 3x3 0", "maxpool", "maxpool 2x2 8", "maxpool 2x0", "residual",
     "residual 0", "dense 5000", "dense all", "avgpool all/2", "Conv 3x3 4"],
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError):
        Layer.parse(text)


def test_pools_are_those_of_pytorch(rng):
    values = rng.integers(-1000, 1000, (3, 5 * 7 * 2))
    pool = maps.Pool(maps.Windows((5, 7), 2, (2, 3), (2, 2)), Range(-1000, 1000))
    x = torch.from_numpy(values).double().view(3, 5, 7, 2).movedim(3, 1)
    for rule, module in (
        (maps.max_pool, BitNetMCU.MaxPool2d),
        (maps.sum_pool, BitNetMCU.SumPool2d),
    ):
        wanted = BitNetMCU.as_in_memory(module((2, 3), 2).eval()(x))
        assert np.array_equal(rule(pool, values), wanted.numpy())


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_those_of_pytorch(rng, groups):
    torch.manual_seed(groups)
    layer = BitNetMCU.BitConv2d(4, 8, 3, "8bit", stride=2, padding=1, groups=groups, bias=True)
    torch.nn.init.normal_(layer.bias)
    x = torch.from_numpy(rng.integers(0, 128, (2, 4, 7, 5))).float()
    weights = layer.integer_weights().double().view(8, 4 // groups, 3, 3)
    wanted = torch.nn.functional.conv2d(
        x.double(), weights, layer.integer_bias(), 2, 1, groups=groups
    )
    assert torch.equal(layer.eval()(x).double(), wanted)


NETWORKS = {
    "3x3": ["conv 3x3 pad 1 6", "maxpool 2x2", "conv 3x3 pad 1 8", "maxpool 2x2", "conv 2x2 9"],
    "depthwise": ["conv 3x3 5", "depthwise 3x3 pad 1 10", "maxpool 2x2", "conv 1x1 groups 2 4"],
    "averages": ["conv 3x3 5", "avgpool 2x2", "conv 1x1 7", "sumpool 3x3", "dense 8"],
    "residual": ["conv 3x3/2 pad 1 6", "residual 2", "conv 3x3 pad 1 5", "conv 3x3 pad 1 6",
                 "residual 3", "depthwise 3x3 pad 1", "maxpool 1x1", "conv 1x1 6", "avgpool all"],
    "odd pools": ["conv 2x3 4", "maxpool 3x2", "depthwise 2x2", "maxpool 2x2/1"],
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": "all", "WScale": "PerOutput", "activation_bits": 7},
        {"requantiser": "ShiftNorm"},
    ],
    ids=["plain", "factors, biases", "shiftnorm"],
)
@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_pytorch_and_the_rules_agree(settings, layers, changes, rng):
    """Before and behind fusion, also when it is read again."""
    changed = replace(settings, layers=layers, image_size=12, **changes)
    if "ShiftNorm" in changes.values() and any("residual" in each for each in layers):
        with pytest.raises(UserError, match="requantiser=FixedShift"):
            models.build(changed, 144, 10)
        return
    torch.manual_seed(1)
    network = models.build(changed, 144, 10).train()
    images = rng.integers(0, 16, (6, 144)) * (rng.random((6, 144)) < 0.5)
    network(torch.from_numpy(images).float())  # shifts follow what they see
    network = network.eval()
    again = BitNetMCU.from_architecture(network.architecture()).eval()
    again.load_state_dict(network.state_dict())
    graph = assert_pytorch_agrees(again, images.astype(np.int8))
    fused = fusion.fuse(graph)
    logits = operators.run(graph, images.astype(np.int8))
    assert logits.any()
    assert np.array_equal(operators.run(fused, images.astype(np.int8)), logits)


@pytest.fixture
def settings():
    return config.load(overrides=[*WINDOWS, "image_size=12"])


def test_what_lies_between_convolutions_is_a_few_rows(settings):
    """conv 3x3 of 16 channels behind a pool: three rows, padded, not the map's eight."""
    layers = ["conv 3x3 pad 1 16", "maxpool 2x2", "conv 3x3 pad 1 24", "maxpool 2x2"]
    torch.manual_seed(0)
    network = models.build(replace(settings, layers=layers, image_size=16), 256, 10).eval()
    compiled = pipeline.compile_network(lowering.lower(network, PIXELS))
    (step, *_), (choice, *_) = compiled.graph.operators, compiled.choices
    assert [maps.Rows.of(part) for part in step.fields.parts] == [
        maps.Rows(4, 18, 2),
        maps.Rows(4, 10, 2),
    ]
    first, second = (part.bytes for part in choice.packed["parts"])
    assert (first, second) == (-(-3 * 18 // 4) * 4, 3 * 10 * 16)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("avgpool 2x2, conv 3x3 4", "cannot read the inputs"),
        ("conv 3x3 4, residual 1, conv 3x3 4", "adds maps of 4x4x4"),
        ("conv 3x3 4, residual 2, conv 3x3 pad 1 4", "2 convolutions or pools belong behind it"),
        ("conv 3x3 4, residual 2, conv 3x3 pad 1 4, dense 4", "2 convolutions or pools"),
        ("conv 3x3 4, residual 2, conv 1x1 4, avgpool 1x1", "takes a convolution as its last"),
        ("conv 3x3 4, maxpool 7x7", "takes maps of at least 7x7"),
        ("dense 9, maxpool 2x2", "in front of all dense layers"),
        ("conv 3x3 groups 3 4", "groups=3 of a BitConv2d is not valid"),
        ("conv 3x3 4, depthwise 3x3 6", "groups=4 of a BitConv2d is not valid"),
    ],
)
def test_layers_that_do_not_fit_are_refused_with_one_line(layers, expected, tmp_path):
    done = run_script("training.py", *WINDOWS, f"layers={layers}", "--out", tmp_path / "out")
    assert expected in refused(done)
    assert not list((tmp_path / "out").glob("*.pth"))


OWN = {
    "pools of PyTorch": "BitConv2d(1, 6, 3, '4bitsym', padding=1), nn.BatchNorm2d(6), nn.ReLU(), "
    "nn.MaxPool2d(2), BitConv2d(6, 12, 3, '4bitsym', groups=3), nn.ReLU(), "
    "nn.AdaptiveAvgPool2d(1), nn.Flatten(), BitLinear(12, c, '4bitsym')",
    "residual": "BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), Residual([BitConv2d(4, 5, 1, '4bitsym'),"
    " nn.BatchNorm2d(5), nn.ReLU(), BitConv2d(5, 4, 3, '4bitsym', padding=1, groups=1), "
    "nn.BatchNorm2d(4)]), nn.ReLU(), nn.AvgPool2d(3), nn.Flatten(), BitLinear(16, c, '4bitsym')",
    "sums of accumulators": "nn.MaxPool2d(2, 1), BitConv2d(1, 8, 2, '8bit'), SumPool2d(2), "
    "nn.ReLU(), nn.Flatten(), BitLinear(72, c, '4bitsym')",
}


@pytest.mark.parametrize("layers", OWN.values(), ids=OWN)
def test_own_networks_go_through_the_chain(layers, tmp_path):
    own = write_own(tmp_path, layers)
    given = ["dataset=Digits", "image_size=8", "num_epochs=6", "batch_size=16"]
    settings = config.load(overrides=[*given, "requantiser=FixedShift"])
    path = training.train(replace(settings, model=own), tmp_path, report=str)
    exportquant.export(path, tmp_path, optimise="speed")
    found = test_inference.compare(tmp_path)
    assert found["differing_values"] == found["differing_values_multiplier"] == 0
    assert found["accuracy_c"] > 30


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("nn.MaxPool2d(2, padding=1), BitLinear(16, c, '4bitsym')", "use pools without padding"),
        ("nn.AvgPool2d(2), nn.Flatten(), BitLinear(16, c, '4bitsym')", "cannot read the inputs"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), "
         "BitLinear(16, c, '4bitsym')", "adaptive pools with an output size of 1"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), Residual([BitConv2d(4, 4, 1, '4bitsym'), "
         "BitConv2d(4, 4, 1, '4bitsym')]), nn.ReLU(), nn.Flatten(), BitLinear(144, c, '4bitsym')",
         "must take turns"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), Residual([BitConv2d(4, 4, 1, '4bitsym'), "
         "nn.ReLU()]), nn.Flatten(), BitLinear(144, c, '4bitsym')", "must end in a BitConv2d"),
        ("BitConv2d(1, 4, 3, '4bitsym'), nn.ReLU(), Residual([BitConv2d(4, 5, 1, '4bitsym')]), "
         "nn.ReLU(), nn.Flatten(), BitLinear(144, c, '4bitsym')", "adds maps of 5x6x6"),
        ("BitConv2d(1, 4, 3, '4bitsym', groups=2), nn.ReLU(), nn.Flatten(), "
         "BitLinear(144, c, '4bitsym')", "groups=2"),
    ],
)  # fmt: skip
def test_own_networks_that_do_not_fit_are_refused(layers, expected, tmp_path):
    settings = config.load(overrides=["dataset=Digits", "image_size=8", "requantiser=FixedShift"])
    with pytest.raises(UserError) as caught:
        models.build(replace(settings, model=write_own(tmp_path, layers)), 64, 10)
    assert expected in str(caught.value)


def sequences(folder, time=24, channels=3, samples=240):
    """A file of sequences whose class is the channel that swings."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % channels
    x = rng.normal(0, 0.1, (samples, time, channels))
    phase = rng.uniform(0, 6, (samples, 1))
    x[np.arange(samples), :, labels] += np.sin(np.arange(time) + phase)
    file = folder / "sequences.npz"
    part = samples * 3 // 4
    np.savez(file, x_train=x[:part], y_train=labels[:part], x_test=x[part:], y_test=labels[part:])
    return file


@pytest.mark.parametrize(
    "layers",
    ["conv 5/2 8,conv 3 6,dense 8", "depthwise 4/2,conv 1 9,avgpool all", "maxpool 2,conv 3 8"],
)
def test_sequences_go_through_the_chain(layers, tmp_path):
    given = [f"dataset={sequences(tmp_path)}", f"layers={layers}", "augmented_copies=0", *QUICK]
    path = training.train(config.load(overrides=given), tmp_path, report=str)
    trained = checkpoint.load(path)
    assert isinstance(trained.network.layers[0], BitNetMCU.ChannelsLast)
    exportquant.export(path, tmp_path, optimise="speed")
    found = test_inference.compare(tmp_path)
    assert found["differing_values"] == found["differing_values_multiplier"] == 0
    assert found["accuracy_c"] > 60


def test_a_users_sequence_needs_no_unflatten(tmp_path):
    own = write_own(
        tmp_path,
        "BitConv1d(3, 8, 5, '4bitsym', stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool1d(2), "
        "nn.Flatten(), BitLinear(40, c, '4bitsym')",
    )
    given = [f"dataset={sequences(tmp_path)}", "augmented_copies=0", *QUICK]
    settings = config.load(overrides=[*given, "requantiser=FixedShift"])
    path = training.train(replace(settings, model=own), tmp_path, report=str)
    exportquant.export(path, tmp_path)
    assert test_inference.compare(tmp_path)["differing_values"] == 0


def test_what_is_read_is_added_at_the_size_of_accumulators(rng):
    torch.manual_seed(0)
    residual = BitNetMCU.Residual([BitNetMCU.BitConv2d(2, 2, 1, "4bitsym")], bits=4).train()
    x = torch.from_numpy(rng.integers(0, 16, (8, 2, 3, 3))).float()
    residual(x)
    sums = residual.layers(x)
    largest = sums.relu().flatten(1).amax(1).quantile(0.9)
    assert 8 <= largest / 2 ** int(residual.shift) < 16
    residual.eval()
    assert torch.equal(residual(x), residual.layers(x) + x * 2 ** int(residual.shift))


@pytest.mark.parametrize("kernels", ["assembly", "c"])
@pytest.mark.parametrize("channels", [8, 5], ids=["words", "bytes"])
def test_rows_and_lanes_in_firmware(kernels, channels, tmp_path):
    """kernels/riscv/gather.S: columns of values in words and of single ones, windows brought
    together where they are summed, rows that move, and a saturating pool in lanes."""
    need("CH32V003")
    layers = f"conv 3x3 pad 1 {channels},maxpool 2x2,conv 2x2 pad 1 6,maxpool 2x2"
    given = [f"layers={layers}", "num_epochs=2", "activation_bits=3"]
    path = training.train(config.load(overrides=[*WINDOWS, *given]), tmp_path, report=str)
    trained = checkpoint.load(path)
    for layer in trained.network.layers:
        if isinstance(layer, BitNetMCU.FixedShiftReLU):
            layer.shift -= 2  # so that many saturate
    dataset, sure = checkpoint.load_data(trained), trained.confidence
    checkpoint.save(path, trained.network, trained.settings, dataset, trained.metrics, sure)
    build = tmp_path / "b"
    line = last_line(make("emulate", f"MODEL={path}", f"KERNELS={kernels}", build=build))
    assert line["mismatches"] == "0"
    report = json.loads(next(build.glob(f"*/{path.stem}/export.json")).read_text())
    assert [layer["kernel"] for layer in report["layers"][:2]] == ["lanes", "lanes"]
