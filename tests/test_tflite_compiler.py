"""The compiler of TensorFlow Lite models: whole models exact, bad files refused in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SANITIZE
from conftest import compiler as compiler_named

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402
import tflite_graphs  # noqa: E402
import tflite_models  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from tflite_batch import Batch  # noqa: E402

import check_tflite  # noqa: E402
from cli import UserError  # noqa: E402
from compiler import hostrun, operators  # noqa: E402
from compiler.emission import identifier  # noqa: E402
from tinyengine import (  # noqa: E402
    emission,
    importer,
    kernelrows,
    lowering,
    oracle,
    pipeline,
    pruning,
)

MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
CASES = dict(tflite_models.cases())
GRAPHS = dict(
    [
        *tflite_graphs.odd(),
        *tflite_graphs.random_graphs(range(80)),
        *tflite_graphs.random_copies(range(40)),
        *tflite_graphs.random_convolutions(range(40)),
    ]
)
FIVE = {  # the floor of DESIGN: live tensors, with PAD folded and depthwise convolutions in place
    "ad01_int8": 768,
    "kws_ref_model": 16_000,
    "mcunet_vww": 89_600,
    "pretrainedResnet_quant": 49_152,
    "vww_96_int8": 55_296,
}


FIELD = sorted((MODELS / "field").glob("*.tflite"))


def chain():
    """The case with the most operators, as bytes."""
    return max(CASES.values(), key=lambda content: len(importer.parse(content).operators))


@pytest.mark.parametrize("optimise", ["none", "speed"])
@pytest.mark.parametrize("name", FIVE)
def test_a_real_model_is_exact_on_every_value(name, optimise, tmp_path):
    path = MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    compiled = pipeline.load(path, optimise)
    inputs = check_tflite.make_inputs(compiled.graph.input, 8)
    sanitized = ("cc", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path, sanitized)
    wrong = check_tflite.differences(harness, path.read_bytes(), inputs)
    assert not wrong
    if optimise == "speed":  # the plain depthwise kernel does not work in place
        assert compiled.arena <= FIVE[name] + compiled.scratch


@pytest.mark.parametrize("path", FIELD, ids=lambda path: path.stem)
def test_a_model_from_the_field_is_exact_on_every_value(path, tmp_path):
    """What others have published, as it is."""
    compiled = pipeline.load(path)
    found = [compiled.graph.tensors[i] for i in compiled.graph.inputs]
    inputs = check_tflite.all_inputs(found, 2)
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path)
    given = inputs if len(found) > 1 else inputs[0]
    assert not check_tflite.differences(harness, path.read_bytes(), given)


def check_on_host(batch, folder, command):
    """Asserts that all models are exact, built by the compiler `command`."""
    program = batch.build(folder, command, [ROOT / "tests" / "tflite_host.c"])
    done = subprocess.run([program], input=batch.stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    batch.check(done.stdout)


@pytest.mark.parametrize("optimise", ["none", "speed"])
def test_every_attribute_is_exact_on_every_value(optimise, tmp_path):
    """All of `tflite_models.cases()`, through all stages, under sanitizers."""
    batch = Batch(CASES, optimise)
    check_on_host(batch, tmp_path, ["cc", *SANITIZE])
    rows = kernelrows.KERNELS.values()
    fast = {kernel.name for row in rows for kernel in row[:-1]} - {row[-1].name for row in rows}
    assert fast <= batch.kernels if optimise == "speed" else not fast & batch.kernels


@pytest.mark.parametrize("optimise", ["none", "speed"])
def test_odd_and_random_graphs_are_exact_on_every_value(optimise, tmp_path):
    batch = Batch(GRAPHS, optimise)
    check_on_host(batch, tmp_path, ["cc", *SANITIZE])
    assert sum(block.shares is not None for m in batch.models for block in m.blocks) > 20
    pruned = [t for m in batch.models for t in m.graph.tensors if t.channels is not None]
    assert len(pruned) > 5 if optimise == "speed" else not pruned


def test_clang_agrees(tmp_path):
    batch = Batch(GRAPHS, "speed")
    clang = [*compiler_named("clang"), "-O2"]
    check_on_host(batch, tmp_path, clang)
    hostrun.build(batch.models[0], emission.emit(batch.models[0]), tmp_path, clang)


def test_poison_finds_a_plan_in_which_tensors_overlap(tmp_path):
    content = next(c for n, c in CASES.items() if len(pipeline.compile_model(c, "m").choices) > 2)
    compiled = pipeline.compile_model(content, "model")
    compiled.plan.offsets.update(dict.fromkeys(compiled.plan.offsets, 0))
    inputs = tflite_builder.inputs(content, np.random.default_rng(0))
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path)
    assert check_tflite.differences(harness, content, inputs)


# --- folding


def kinds(content):
    return [operator.kind for operator in pipeline.compile_model(content, "model").graph.operators]


def test_no_case_keeps_a_reshape():
    for name, content in CASES.items():
        assert "RESHAPE" not in kinds(content), name


# --- pruning


@pytest.mark.parametrize("name", [*CASES, *GRAPHS, "vww_96_int8"])
def test_every_value_lies_in_the_interval_of_its_channel(name):
    path = MODELS / f"{name}.tflite"
    content = (CASES | GRAPHS).get(name)
    if content is None and not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    content = content or path.read_bytes()
    graph = lowering.lower(importer.parse(content))
    intervals = pruning.intervals(graph)
    reference = oracle.Oracle(content, graph.inputs[0])
    for values in check_tflite.make_inputs(graph.tensors[graph.inputs[0]], 6):
        outputs = reference.run(values)
        for i, interval in intervals.items():
            lowest, highest = interval.T
            output = outputs[i].reshape(-1, len(interval))
            assert np.all(lowest <= output) and np.all(output <= highest)


def test_pruning_halves_the_work_of_a_model_with_dead_channels():
    path = MODELS / "vww_96_int8.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    graph = lowering.lower(importer.parse(path.read_bytes()))
    before, after = (
        sum(g.row(step).macs(step.fields) for step in g.operators)
        for g in (graph, pruning.prune(graph))
    )
    assert before == 7_489_664 and after == 3_903_749


# --- bad files


def message_of(content):
    with pytest.raises(UserError) as raised:
        pipeline.compile_model(content, "model", "model.tflite")
    message = str(raised.value)
    assert "\n" not in message and message.startswith("model.tflite: ")
    assert message.count("model.tflite") == 1
    return message


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"\x1c\0\0\0TFL3" + b"\xff" * 40])
def test_what_is_no_model_is_refused(content):
    message_of(content)


def changed(change):
    """The bytes of a small model after `change(model)`, an object of the schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(chain(), 0))
    change(model)
    return oracle.serialised(model)


def test_an_unknown_operator_is_refused_by_name():
    def change(model):
        code = model.operatorCodes[model.subgraphs[0].operators[1].opcodeIndex]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.LSTM

    message = message_of(changed(change))
    assert "not supported: LSTM (1); supported are: " in message


def test_a_float_model_is_refused():
    def change(model):
        for tensor in model.subgraphs[0].tensors:
            if model.buffers[tensor.buffer].data is None:
                tensor.type = schema.TensorType.FLOAT32

    message = message_of(changed(change))
    assert "float32 activations (" in message and "full integer quantisation" in message


def test_two_subgraphs_are_refused():
    assert "2 subgraphs" in message_of(changed(lambda m: m.subgraphs.append(m.subgraphs[0])))


def test_a_batch_of_two_is_refused():
    def change(model):
        tensors = model.subgraphs[0].tensors
        for tensor in tensors:
            if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
                tensor.shape = [2, *tensor.shape[1:]]

    assert "supported is one image, [1, height, width, channels]" in message_of(changed(change))


def test_truncated_models_are_refused_or_compile():
    content = chain()
    for length in range(0, len(content), max(1, len(content) // 200)):
        survive(content[:length])


def survive(content):
    """Compiles, or is refused with one line: nothing else."""
    try:
        compiled = pipeline.compile_model(content, "model", "model.tflite")
        emission.emit(compiled)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_models_are_refused_or_compile(seed):
    """Bytes, and aligned words with small and huge numbers, anywhere in the file."""
    rng = np.random.default_rng(seed)
    contents = [content for content in CASES.values() if len(content) < 4000]
    for _ in range(300):
        content = bytearray(contents[rng.integers(len(contents))])
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(content) - 4))
            if rng.random() < 0.5:
                content[at] = rng.integers(256)
            else:
                word = int(rng.choice([0, 1, 2, 255, 2**16, 2**31 - 1, 2**32 - 1]))
                content[at // 4 * 4 :][:4] = b""
                content[at // 4 * 4 : at // 4 * 4 + 4] = word.to_bytes(4, "little")
        survive(bytes(content))


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.parametrize("script", ["compile_tflite.py", "check_tflite.py"])
def test_a_missing_file_is_one_line(script, tmp_path):
    done = run(
        script, tmp_path / "none.tflite", *(["--out", tmp_path] * (script == "compile_tflite.py"))
    )
    assert done.returncode == 2
    assert done.stderr.strip().count("\n") == 0 and "none.tflite" in done.stderr


def test_the_command_lines(tmp_path):
    path = tmp_path / "small-model.tflite"
    path.write_bytes(chain())
    done = run("compile_tflite.py", path, "--out", tmp_path / "out", "--print")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("model=small-model arena=")
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {
        *("model.c", "model.h", "kernels", "report.json", "report.txt", "memory.png"),
        *("graph-1-imported.png", "graph-2-lowered.png", "graph-3-pruned.png"),
    }
    files = json.loads((tmp_path / "out" / "report.json").read_text())["sources"]
    command = ["cc", *hostrun.WARNINGS, "-Ikernels", "-c", *(f for f in files if f[-1] == "c")]
    subprocess.run(command, cwd=tmp_path / "out", check=True)
    done = run("compile_tflite.py", path, "--out", tmp_path / "out", "--optimise", "none")
    assert done.returncode == 0 and not (tmp_path / "out" / "graph-3-pruned.png").exists()
    done = run("check_tflite.py", path, "--inputs", 5)
    assert done.returncode == 0, done.stderr
    assert "inputs=5 differing_values=0" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("compile_tflite.py", ("--out", "{}/mine"), "holds other files"),
        ("compile_tflite.py", ("--out", "{}/mine/file"), "is a file"),
        ("compile_tflite.py", ("--out", "{}/mine/file/x"), "choose another folder"),
        ("check_tflite.py", ("--inputs", "0"), "0 inputs are not enough"),
        ("check_tflite.py", ("--image", "{}/mine/file"), "no photo"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(script, arguments, words, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    (tmp_path / "model.tflite").write_bytes(CASES["mean_3"])
    done = run(script, tmp_path / "model.tflite", *(a.format(tmp_path) for a in arguments))
    assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_the_same_model_gives_the_same_bytes():
    once, again = (emission.emit(pipeline.compile_model(chain(), "m")) for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    ("name", "expected"), [("vww_96", "vww_96"), ("3d-net", "model_3d_net"), ("é", "_")]
)
def test_names_become_identifiers(name, expected):
    assert identifier(name) == expected


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_a_cpp_program_calls_a_compiled_model(name, tmp_path):
    """The model and its kernels are C; all public headers can be included from C++."""
    compiled = pipeline.compile_model(chain(), "model")
    emitted = emission.emit(compiled)
    hostrun.write(emitted, tmp_path)
    includes = [f"-I{tmp_path}", *hostrun.includes(emitted)]
    objects = [
        hostrun.compile_c(tmp_path / f"{source.stem}.o", [source], "-c", *includes)
        for source in (tmp_path / "model.c", *compiled.sources)
    ]
    caller = tmp_path / "app.cpp"
    caller.write_text(
        '#include "tinyengine.h"\n#include "fast.h"\n#include "model.h"\n#include <cstdio>\n'
        "int main() {\n"
        "    for (int i = 0; i < MODEL_INPUT_BYTES; i++)\n"
        "        model_input()[i] = static_cast<int8_t>(i % 100);\n"
        "    return std::fwrite(model_run(), MODEL_OUTPUT_BYTES, 1, stdout) != 1;\n"
        "}\n"
    )
    flags = ["-std=c++11", *hostrun.WARNINGS[1:], *includes]
    program = tmp_path / "app"
    command = [*compiler_named(name), *flags, "-o", program, caller, *objects]
    subprocess.run(command, check=True)
    done = subprocess.run([program], capture_output=True, check=True)
    x = compiled.graph.input
    inputs = (np.arange(x.size) % 100).astype(np.int8).reshape(1, *x.shape[1:])
    expected = operators.run(compiled.graph, inputs)
    assert np.array_equal(np.frombuffer(done.stdout, np.int8), expected[0])
