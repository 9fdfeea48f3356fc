"""Windows of a sequence as a stream: what is computed piece by piece is what the window gives."""

import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, assert_same, refused, run_script, sanitizing
from test_firmware import last_line, make, need
from test_maps import QUICK, sequences

import exportquant
import test_inference
import training
from compiler import operators
from compiler.formats import FACTORS, FORMATS
from compiler.graph import Range
from compiler.trace import Layout
from lowbit import fusion, lowering, pipeline, poolrows, sliding
from lowbit.maps import Windows
from lowbit.rules import IntegerLayer
from lowbit.sliding import Cost, Stream
from train import checkpoint, config

MEASURED = Range(-127, 127)
GOOD = (1, 2, 3, 4, 6, 8, 12)  # hops that strides often divide


def layer_of(rng, inputs, outputs):
    """An `IntegerLayer` of a random format, some with factors, some with a bias."""
    row = FORMATS[rng.choice(list(FORMATS))]
    weights = rng.choice(row.levels, (outputs, inputs)).astype(np.int32)
    factors = rng.choice(FACTORS, outputs).astype(np.int32) if rng.random() < 0.3 else None
    reach = 60 * inputs * row.levels[-1] if rng.random() < 0.5 else 0
    bias = rng.integers(-abs(reach), abs(reach) + 1, outputs) if reach else None
    return IntegerLayer(row, weights, factors, bias)


def convolve(rng, chain, kernel, stride, outputs, padding=0, groups=1):
    """A convolution of what is there."""
    _, length, channels = chain.last.shape
    layer = layer_of(rng, kernel * (channels // groups), outputs)
    windows = Windows((1, length), channels, (1, kernel), (1, stride), (0, padding))
    chain.convolution(layer, windows, groups)


def requantise(chain, windows):
    """A fixed shift, by the sums that there are for `windows`, so that answers differ."""
    sums = operators.run(chain.graph(), windows)
    largest = int(np.quantile(sums.max(axis=1), 0.7))
    chain.fixed_shift_relu(max(0, largest.bit_length() - 6))


def begin(rng, window, channels):
    """(the `Chain` of such windows, some of them)"""
    chain = lowering.Chain("network", window * channels, MEASURED)
    chain.as_map((1, window), channels)
    return chain, rng.integers(-127, 128, (5, window * channels)).astype(np.int8)


def random_sequence(number):
    """(the graph of a network of one row, a `Stream`, some windows) with that number."""
    rng = np.random.default_rng(number)
    window, channels = int(rng.integers(8, 60)), int(rng.integers(1, 5))
    chain, windows = begin(rng, window, channels)
    for _ in range(int(rng.integers(1, 4))):
        random_layer(rng, chain, windows)
    if rng.random() < 0.8:
        chain.linear(layer_of(rng, chain.last.size, 5))
    else:  # logits are those of all positions
        convolve(rng, chain, int(rng.integers(1, chain.last.shape[1] + 1)), 2, 3)
    every = int(rng.integers(1, window + 1))
    if rng.random() < 0.6:
        every = int(rng.choice([n for n in GOOD if n <= window]))
    return chain.graph(), Stream(window, channels, every), windows


def random_layer(rng, chain, windows):
    """A convolution or a pool of what is there, and what brings it to activations."""
    _, length, channels = chain.last.shape
    kernel, stride = int(rng.integers(1, min(7, length) + 1)), int(rng.integers(1, 4))
    if chain.steps and rng.random() < 0.25:
        chain.pool("MAX_POOL", (1, min(kernel, 3)), (1, stride))
        return
    before, groups = chain.last, channels if rng.random() < 0.2 else 1
    outputs = channels if rng.random() < 0.3 else groups * int(rng.integers(1, 6))
    if rng.random() < 0.15:
        kernel, stride = kernel - 1 + kernel % 2, 1  # as large as what it reads
    padding = kernel // 2 if rng.random() < 0.2 else 0
    convolve(rng, chain, kernel, stride, outputs, padding, groups)
    if chain.last.shape == before.shape and chain.steps[1:] and rng.random() < 0.7:
        chain.add(chain.tensors.index(before), 3)
    if rng.random() < 0.4:
        size = (1, int(rng.integers(1, min(3, chain.last.shape[1]) + 1)))
        large = chain.last.range.largest > 2**26
        kind = "MAX_POOL" if large or rng.random() < 0.7 else "SUM_POOL"
        chain.pool(kind, size, None if rng.random() < 0.6 else (1, int(rng.integers(1, 4))))
    if rng.random() < 0.1:
        chain.shiftnorm_relu(Range(0, 31))
    else:
        requantise(chain, windows)


def answers(graph, stream, windows):
    """What a stream says of each window, by the rules."""
    return stream.last(operators.run(graph, stream.pieces_of(windows)))


@pytest.mark.parametrize("keep", sliding.KEEPS)
def test_a_stream_gives_what_windows_give(keep):
    kinds, states, different = Counter(), Counter(), 0
    for number in range(300):
        graph, stream, windows = random_sequence(number)
        slid = sliding.slide(graph, replace(stream, keep=keep))
        fused = fusion.fuse(slid)
        wanted = operators.run(graph, windows)
        assert np.array_equal(answers(slid, stream, windows), wanted), number
        assert np.array_equal(answers(fused, stream, windows), wanted), number
        kinds.update(step.kind for step in fused.operators)
        states[len(slid.state)] += 1
        different += len(np.unique(wanted, axis=0)) > 1
    assert different > 250  # of networks, those that do not say the same of all windows
    assert kinds["SLIDE"] > 200 and kinds["FUSED"] > 100
    if keep == "layers":
        assert kinds["SLIDE_WITHIN"] > 100 and states[2] > 40 and states[3] > 10
        assert kinds["ADD"] + kinds["STREAMED"] > 20  # behind what slides
    else:
        assert set(states) == {0, 1}


@pytest.mark.parametrize("number", range(24))
def test_the_c_of_random_streams_is_exact(number, build_harness, tmp_path):
    graph, stream, windows = random_sequence(1000 + number)
    slid, pieces = sliding.slide(graph, stream), stream.pieces_of(windows)
    harness = build_harness(slid, tmp_path, "speed" if number % 2 else "size")
    assert_same(harness.compiled.graph, harness.run(pieces).values, operators.execute(slid, pieces))


def sequence_graph(layers, window=75, channels=6):
    """Convolutions as (kernel, stride, outputs), then a layer of 4 outputs."""
    rng = np.random.default_rng(0)
    chain, windows = begin(rng, window, channels)
    for layer in layers:
        convolve(rng, chain, *layer)
        requantise(chain, windows)
    chain.linear(layer_of(rng, chain.last.size, 4))
    return chain.graph()


def test_what_is_kept_is_what_windows_see():
    """Of conv 6/3 and conv 3/2, 24 new readings of 75: 27 positions, 10, and the whole last map."""
    graph = sequence_graph([(6, 3, 32), (3, 2, 32)])
    slid = sliding.slide(graph, Stream(75, 6, 24))
    assert [slid.tensors[i].shape for i in slid.state] == [(1, 27, 6), (1, 10, 32), (1, 11, 32)]
    fused = fusion.fuse(slid)
    kinds = ["SLIDE", "FUSED", "SLIDE_WITHIN", "FUSED", "SLIDE_WITHIN", "LINEAR"]
    assert [step.kind for step in fused.operators] == kinds
    compiled = pipeline.compile_network(slid, "speed")
    whole = pipeline.compile_network(graph, "speed")
    assert compiled.state == 164 + 320 + 352 and compiled.arena < whole.arena / 4
    assert Cost.of(compiled).macs < Cost.of(whole).macs / 2


def test_windows_that_meet_keep_nothing():
    """A convolution at each position, and one whose windows do not overlap, need no memory."""
    graph = sequence_graph([(1, 1, 5), (4, 4, 6)], window=40, channels=3)
    slid = sliding.slide(graph, Stream(40, 3, 8))
    assert [slid.tensors[i].shape for i in slid.state] == [(1, 10, 6)]
    graph = sequence_graph([(1, 1, 5), (4, 4, 6)], window=42, channels=3)  # two are left out
    slid = sliding.slide(graph, Stream(42, 3, 8))
    assert [slid.tensors[i].shape for i in slid.state] == [(1, 10, 5), (1, 10, 6)]


@pytest.mark.parametrize("layers", [[(1, 3, 4), (1, 2, 3)], [(2, 4, 5), (1, 1, 3)]])
def test_windows_with_gaps_between_them_are_exact(layers, build_harness, tmp_path):
    """They see fewer positions than there are new ones."""
    graph, stream = sequence_graph(layers, window=23, channels=3), Stream(23, 3, 12)
    slid = sliding.slide(graph, stream)
    slides = [step.fields for step in slid.operators if step.kind == "SLIDE"]
    assert any(fields.size < fields.count for fields in slides)
    windows = np.random.default_rng(0).integers(-127, 128, (5, 69)).astype(np.int8)
    pieces = stream.pieces_of(windows)
    expected = operators.execute(slid, pieces)
    assert np.array_equal(stream.last(expected[slid.outputs[0]]), operators.run(graph, windows))
    harness = build_harness(slid, tmp_path)
    assert_same(harness.compiled.graph, harness.run(pieces).values, expected)


def test_what_a_residual_adds_slides_whole():
    """Not only what its first convolution sees: the sum behind the second one reads all of it."""
    chain, windows = begin(np.random.default_rng(0), 30, 2)
    convolve(np.random.default_rng(1), chain, 3, 1, 4)
    requantise(chain, windows)
    read = len(chain.tensors) - 1
    for outputs in (5, 4):
        convolve(np.random.default_rng(2), chain, 1, 1, outputs)
        if outputs == 4:
            chain.add(read, 2)
        requantise(chain, windows)
    chain.linear(layer_of(np.random.default_rng(3), chain.last.size, 4))
    graph, stream = chain.graph(), Stream(30, 2, 5)
    slid = sliding.slide(graph, stream)
    assert [slid.tensors[i].shape for i in slid.state] == [(1, 7, 2), (1, 28, 4)]
    assert np.array_equal(answers(slid, stream, windows), operators.run(graph, windows))


@pytest.mark.parametrize(
    ("every", "states", "better"), [(25, 1, 24), (3, 2, 6), (6, 3, None), (74, 1, 69), (75, 0, 69)]
)
def test_where_what_is_new_cannot_be_divided_the_map_slides_whole(every, states, better):
    graph, stream = sequence_graph([(6, 3, 4), (3, 2, 5)]), Stream(75, 6, every)
    assert len(sliding.slide(graph, stream).state) == states
    assert sliding.better(graph, stream) == better


def test_a_wrong_remainder_or_shift_is_found(monkeypatch, build_harness, tmp_path):
    """What windows leave over at the end of the map is not left over in what slides."""
    graph, stream = sequence_graph([(4, 3, 4), (3, 2, 5)], window=24, channels=2), Stream(24, 2, 6)
    windows = np.random.default_rng(0).integers(-127, 128, (5, 48)).astype(np.int8)
    wanted, slid = operators.run(graph, windows), sliding.slide(graph, stream)
    assert np.array_equal(answers(slid, stream, windows), wanted)
    with monkeypatch.context() as changed:
        changed.setattr(sliding, "seen", lambda w, fresh: fresh - w.stride[1] + w.kernel[1])
        wrong = sliding.slide(graph, stream)
    assert (answers(wrong, stream, windows) != wanted).any()

    def room(fields, place):
        (line,) = emit(fields, place)
        yield line.replace(f"+ {fields.count},", f"+ {fields.count - 1},")

    emit = poolrows.ROOM.emit
    object.__setattr__(poolrows.ROOM, "emit", room)
    try:
        harness = build_harness(slid, tmp_path)
    finally:
        object.__setattr__(poolrows.ROOM, "emit", emit)
    pieces = stream.pieces_of(windows)
    found = Layout.of(harness.compiled.graph).differences(
        harness.run(pieces).values, operators.execute(slid, pieces)
    )
    assert any(name.startswith("SLIDE_WITHIN") for name in found)


@pytest.mark.parametrize(
    ("layers", "whole", "chosen"),
    [
        (Cost(50, 800, 100), Cost(100, 400, 700), "layers"),  # less of both
        (Cost(50, 800, 100), Cost(100, 400, 100), "layers"),  # half the time
        (Cost(90, 800, 100), Cost(100, 400, 100), "input"),  # more memory for little
        (Cost(90, 800, 100), Cost(100, 400, 500), "layers"),
        (Cost(100, 400, 100), Cost(100, 400, 100), "input"),  # nothing that could be kept
    ],
)
def test_layers_keep_what_they_computed_where_that_pays(layers, whole, chosen):
    assert sliding.choice({"layers": layers, "input": whole}) == chosen


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The path of a sequence network: 24 readings of 3 channels."""
    folder = tmp_path_factory.mktemp("sliding")
    layers = "layers=conv 5/2 8,conv 3 6,dense 8"
    given = [f"dataset={sequences(folder)}", layers, "augmented_copies=0", *QUICK]
    return training.train(config.load(overrides=given), folder, report=str)


def assert_no_difference(found):
    differing = {key: value for key, value in found.items() if key.startswith("differing")}
    assert {"differing_windows", "differing_pushes", "differing_values"} <= differing.keys()
    assert not any(differing.values()), differing


@pytest.mark.parametrize(
    ("every", "keep", "kept"),
    [(4, "auto", "layers"), (4, "input", "input"), (5, "auto", "input"), (1, "auto", "input"),
     (10, "layers", "layers"), (24, "auto", "input")],
)  # fmt: skip
def test_a_stream_goes_through_the_chain(every, keep, kept, trained, tmp_path):
    report = exportquant.export(trained, tmp_path, optimise="speed", every=every, keep=keep)
    assert report["stream"] == {"window": 24, "channels": 3, "every": every, "keep": kept}
    found = test_inference.compare(tmp_path)
    assert_no_difference(found)
    assert found["accuracy_c"] > 60 and found["runs"] == 60 * -(-24 // every)
    macro = f"#define BITNETMCU_STATE_BYTES {report['state']}\n"
    assert macro in (tmp_path / "BitNetMCU_model.h").read_text()
    text = exportquant.format_report(report)
    assert f"each run takes {every} readings and classifies the last 24" in text
    done = subprocess.run(
        ["make", "-s", "ctest", f"BUILD={tmp_path}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1].endswith("differing_logits=0"), done.stdout + done.stderr


def test_other_networks_are_exported_as_before(trained, tmp_path):
    exportquant.export(trained, tmp_path)
    assert "EVERY" not in (tmp_path / "BitNetMCU_model.h").read_text()
    assert "differing_windows" not in test_inference.compare(tmp_path)


def test_reset_forgets_all_readings(trained, tmp_path):
    """Each call of the library begins with it, and so as a chip does: the first runs, which see
    less than a window, are equal, too."""
    report = exportquant.export(trained, tmp_path, every=4)
    stream, loaded = exportquant.stream_of(report), checkpoint.load(trained)
    graph = fusion.fuse(exportquant.graph_of(loaded, report))
    pieces = stream.pieces_of(loaded.samples.inputs.numpy())[:7]  # ends within a window
    library = test_inference.Library(test_inference.build_library(tmp_path, True), graph)
    expected = operators.execute(graph, pieces)
    for _ in range(2):
        assert_same(graph, library.run(pieces).values, expected)


def test_a_wrong_piece_of_the_c_fails_the_proof(trained, tmp_path):
    exportquant.export(trained, tmp_path, every=4)
    header = tmp_path / "BitNetMCU_model.h"
    text = header.read_text()
    assert text.count("kept_activations_1 + 16, 1,") == 1  # two new positions of 8 channels
    header.write_text(text.replace("kept_activations_1 + 16, 1,", "kept_activations_1 + 8, 1,"))
    found = test_inference.compare(tmp_path)
    assert found["differing_values"] and found["differing_pushes"]
    assert not found["differing_windows"]  # those of Python
    assert run_script("test_inference.py", "--build", tmp_path).returncode == 1


MAIN = """
#include "BitNetMCU_model.h"
#include <stdio.h>

int main(void) {
    static int32_t raw[80][MOTOR_CHANNELS];
    int32_t logits[MOTOR_CLASSES];
    int round, i;

    if (fread(raw, sizeof raw, 1, stdin) != 1)
        return 1;
    for (round = 0; round < 2; round++, motor_reset())
        for (i = 0; i < 80 - 7 * round; i++) /* the second one ends between two runs */
            printf("%d ", (int)motor_push(raw[i], logits));
    for (i = 0; i < 30; i++) /* and begins anew, here by the names that tools use */
        printf("%d ", (int)BitNetMCU_push(raw[i], logits));
    return 0;
}
"""


@pytest.mark.parametrize(("compiler", "every"), [("cc", 4), ("cc", 5), ("g++", 10)])
def test_readings_one_by_one_give_the_classes_of_windows(compiler, every, trained, tmp_path):
    report = exportquant.export(trained, tmp_path, every=every, name="motor")
    if compiler != "cc" and shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    loaded = checkpoint.load(trained)
    samples = checkpoint.load_data(loaded).test_images
    raw = loaded.input_map.raw(samples).reshape(-1, 3)[:80]
    graph = lowering.lower(loaded.network, loaded.reads)
    wanted = np.full(80, -1)
    for end in range(24, 81, every):
        inputs = loaded.input_map.quantise(raw[end - 24 : end].reshape(1, -1))
        wanted[end - 1] = operators.run(graph, inputs).argmax()
    (tmp_path / "main.c").write_text(MAIN)
    network = tmp_path / "motor_model.c"
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", f"-I{tmp_path / 'kernels'}"]
    if compiler == "cc":
        command = [*sanitizing(), "-std=c99", "-pedantic"]
        sources = [tmp_path / name for name in report["sources"]]
    else:  # the network in C++, its kernels in C
        command = [compiler]
        network.write_text('#define MOTOR_MODEL_IMPLEMENTATION\n#include "motor_model.h"\n')
        sources = [network.rename(tmp_path / "motor.cpp")]
        kernels = [tmp_path / name for name in report["sources"][1:]]
        objects = [tmp_path / f"{path.stem}.o" for path in kernels]
        for path, made in zip(kernels, objects):
            subprocess.run(["cc", "-c", *flags, "-o", made, path], check=True)
        sources += objects
    program = tmp_path / "program"
    command += [*flags, "-o", program, tmp_path / "main.c", *sources]
    subprocess.run(list(map(str, command)), check=True)
    done = subprocess.run([program], input=raw.astype(np.int32).tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = np.array(done.stdout.split(), int)
    assert np.array_equal(found, np.concatenate([wanted, wanted[:73], wanted[:30]]))


def test_a_fully_connected_network_keeps_its_readings(tmp_path):
    given = [f"dataset={sequences(tmp_path)}", "widths=9,9", "augmented_copies=0", *QUICK]
    path = training.train(config.load(overrides=given), tmp_path, report=str)
    report = exportquant.export(path, tmp_path / "b", every=8, keep="layers")
    assert [step["kind"] for step in report["steps"]][:2] == ["SLIDE", "LINEAR"]
    assert report["state"] == 72
    assert_no_difference(test_inference.compare(tmp_path / "b"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--every", "0"), "--every 0 is not valid; a window has 24 readings, so it takes 1 to 24"),
        (("--every", "25"), "takes 1 to 24"),
        (("--keep", "input"), "name its --every N, too"),
    ],
)
def test_what_is_no_stream_is_refused_with_one_line(arguments, expected, trained, tmp_path):
    done = run_script("exportquant.py", trained, "--build", tmp_path / "b", *arguments)
    assert expected in refused(done) and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("shape", "layers", "expected"),
    [
        ((6,), "widths=9,9", "6 features without time"),
        ((6, 5, 2), "layers=conv 3x3 4,dense 8", "reads maps of 6x5"),
    ],
)
def test_other_values_than_sequences_are_refused(shape, layers, expected, tmp_path):
    rng, labels = np.random.default_rng(0), np.arange(60) % 2
    x, file = rng.normal(size=(60, *shape)) + labels.reshape(-1, *[1] * len(shape)), "x.npz"
    np.savez(tmp_path / file, x_train=x, y_train=labels, x_test=x, y_test=labels)
    given = [f"dataset={tmp_path / file}", layers, "augmented_copies=0", "num_epochs=1"]
    path = training.train(config.load(overrides=given), tmp_path, report=str)
    with pytest.raises(exportquant.cli.UserError, match=expected):
        exportquant.export(path, tmp_path / "b", every=2)


def test_networks_of_images_are_refused(tmp_path):
    path = checkpoint.MODELDATA / "WindowMNIST-MNIST-4bitsym-0c935144.pth"
    done = run_script("exportquant.py", path, "--build", tmp_path / "b", "--every", "4")
    assert "this network reads images: leave --every out" in refused(done)


@pytest.mark.parametrize("options", [("TARGET=CH32V003",), ("TARGET=cortex-m0", "KEEP=input")])
def test_firmware_of_a_stream_gives_the_same_values(options, trained, tmp_path):
    need(options[0])
    done = make("emulate", f"MODEL={trained}", "EVERY=4", *options, build=tmp_path)
    line = last_line(done)
    assert line["mismatches"] == "0" and line["images"] == "60" and line["runs"] == "360"
    assert line["keep"] == ("input" if len(options) > 1 else "layers")
    assert done.stdout.count("sample ") == 4
    needs = json.loads(next(tmp_path.glob("*/*/firmware.budget.json")).read_text())
    assert needs["ram"]["variables"] >= int(line["state"]) + 12 + 12  # and input, logits
    assert "KEEP=some is not known" in make("KEEP=some", build=tmp_path, check=False).stderr
