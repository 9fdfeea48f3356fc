"""What models keep from run to run: exact over a sequence of runs, and reset to what it was."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import SANITIZE

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402
import tflite_copies  # noqa: E402
import tflite_models  # noqa: E402
import tflite_states  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402
from tflite_states import assign, beginning, call_once, handle, read  # noqa: E402

import check_tflite  # noqa: E402
from cli import UserError  # noqa: E402
from compiler import hostrun, operators, report  # noqa: E402
from compiler.emission import identifier  # noqa: E402
from tinyengine import emission, importer, lowering, oracle, pipeline  # noqa: E402

MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
REAL = ("tflm_keyword8", "tflm_mnist_lstm", "mww_v2_vad")
OPERATORS = {n: c for n, c in tflite_models.cases() if n.startswith(("svdf_", "lstm_"))}
RUNS = 20
OPTIMISE = ("none", "speed")
MAIN = """
#include <stdio.h>
#include "model.h"
%s
int main(void) { /* all inputs, a reset, and all inputs once more */
    static int8_t given[%d][%d];
    void *inputs[1];
    const void *outputs[1];

    if (fread(given, sizeof given, 1, stdin) != 1)
        return 1;
    for (int i = 0; i < 2 * %d; i++) {
        if (i == %d)
            %s_reset();
        model_inputs(inputs);
        for (uint32_t at = 0; at < model_input_bytes[0]; at++)
            ((int8_t *)inputs[0])[at] = given[i %% %d][at];
        model_outputs(outputs);
        fwrite(outputs[0], model_output_bytes[0], 1, stdout);
    }
    return 0;
}
"""


def build(make, values=None, shape=(1, 6), **given):
    """The bytes of a model; make: (builder, input) -> output. values: of variables, at first."""
    builder = tflite_builder.Builder(3)
    x = builder.value(shape, **{"scale": 0.05, "zero_point": 3} | given)
    content = builder.model(x, make(builder, x))
    return content if values is None else beginning(builder, content, values)


# --- variables: (values before the first run, model)


def _delayed(b, x):
    """What comes out is what went in one run before."""
    call_once(b)
    kept = handle(b, "kept")
    y = b.quantize(read(b, kept, x), 0.07, 5)
    assign(b, kept, b.pair("ADD", x, x, 0.05, zero_point=3))
    return y


def _summed(b, x):
    call_once(b)
    kept = handle(b, "kept")
    y = b.pair("ADD", read(b, kept, x), x, 0.05, zero_point=3)
    assign(b, kept, y)
    return b.quantize(y, 0.1)


def _read_before_and_used_behind(b, x):
    call_once(b)
    kept = handle(b, "kept")
    before = read(b, kept, x)
    assign(b, kept, b.pair("ADD", x, x, 0.05, zero_point=3))
    return b.pair("ADD", before, x, 0.1)


def _read_through_a_reshape(b, x):
    call_once(b)
    kept = handle(b, "kept")
    before = b.reshape(read(b, kept, x), (3, 2))
    assign(b, kept, b.pair("ADD", x, x, 0.05, zero_point=3))
    return b.quantize(b.reshape(b.pair("MUL", before, before, 0.1), (6,)), 0.2)


def _read_as_it_is(b, x):
    """The output is the variable itself, as it was."""
    call_once(b)
    kept = handle(b, "kept")
    before = read(b, kept, x)
    assign(b, kept, b.pair("ADD", x, x, 0.05, zero_point=3))
    return before


def _assigned_first(b, x):
    """No value is needed before the first run."""
    kept = handle(b, "kept")
    assign(b, kept, b.pair("ADD", x, x, 0.05, zero_point=3))
    return b.quantize(read(b, kept, x), 0.1)


def _twice(b, x):
    call_once(b)
    one, other = handle(b, "one"), handle(b, "other")
    again = handle(b, "one")
    y = b.pair("ADD", read(b, one, x), read(b, other, x), 0.07)
    z = b.pair("SUB", read(b, again, x), x, 0.1)
    assign(b, again, b.quantize(x, 0.05, 3))
    assign(b, other, b.quantize(y, 0.05, 3))
    return b.pair("ADD", y, z, 0.15)


def _stream(b, x):
    """As of streaming models: a convolution over five rows, of which each run brings two."""
    call_once(b)
    kept = handle(b, "kept")
    rows = b.reshape(x, (1, 2, 1, 3))
    before = b.value((1, 3, 1, 3), x.scale, x.zero_point)
    before = b.operator("READ_VARIABLE", [kept], before, "ReadVariableOptions")
    rows = tflite_copies.concatenation(b, [before, rows], 1)
    assign(b, kept, tflite_copies.slice_of(b, rows, (0, 2, 0, 0), (1, 3, 1, 3)))
    return b.convolution(rows, 4, (5, 1), padding="VALID", activation="RELU")


def _kept_by_a_convolution(b, x):
    """A convolution writes the state, so its channels cannot be pruned."""
    call_once(b)
    kept = handle(b, "kept")
    image = b.reshape(x, (1, 1, 1, 6))
    like = b.value((1, 1, 1, 4), 0.3, 0)
    y = b.convolution(read(b, kept, like), 3)
    z = b.convolution(image, 4, activation="RELU", zero_point=0)
    z.scale = like.scale
    b.tensors[z.index].quantization.scale = [float(like.scale)]
    assign(b, kept, z)
    return y


SIX, VARIED = np.full((1, 6), -7), np.array([[-128, 127, 0, 3, -1, 90]])
VARIABLES = {
    "delayed": ({"kept": SIX}, _delayed),
    "delayed_from_several_values": ({"kept": VARIED}, _delayed),
    "summed": ({"kept": VARIED}, _summed),
    "read_before_and_used_behind": ({"kept": VARIED}, _read_before_and_used_behind),
    "read_through_a_reshape": ({"kept": VARIED}, _read_through_a_reshape),
    "read_as_it_is": ({"kept": SIX}, _read_as_it_is),
    "assigned_first": (None, _assigned_first),
    "twice": ({"one": VARIED, "other": SIX}, _twice),
    "stream": ({"kept": np.full((1, 3, 1, 3), 3)}, _stream),
    "kept_by_a_convolution": ({"kept": np.arange(4).reshape(1, 1, 1, 4)}, _kept_by_a_convolution),
}
STREAMS = {name: build(make, values) for name, (values, make) in VARIABLES.items()}
SMALL = OPERATORS | STREAMS
FEW = {name: SMALL[name] for name in (*STREAMS, "svdf_int8_rank_5", "svdf_int16_rank_2")}
FEW |= {name: SMALL[name] for name in ("svdf_int8_state_zero_point_37", "lstm_1x9x13_7")}
FEW |= {name: SMALL[name] for name in ("lstm_zero_points_127_-128", "lstm_cell_2^-9_coupled")}


def named(name):
    if name in SMALL:
        return SMALL[name]
    path = MODELS / "field" / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    return path.read_bytes()


def inputs_of(graph, runs=RUNS):
    return check_tflite.make_inputs(graph.input, runs)


@pytest.mark.parametrize("name", [*SMALL, *REAL])
def test_rules_are_exact_over_a_sequence_of_runs(name):
    """As the oracle, also once that is reset."""
    content = named(name)
    graph = lowering.lower(importer.parse(content))
    reference, inputs = oracle.Oracle(content, graph.inputs), inputs_of(graph)
    computed = operators.execute(graph, inputs)
    for _ in range(2):
        for i, wanted in check_tflite.wanted_of(graph, reference, inputs).items():
            np.testing.assert_array_equal(computed[i], wanted)
        reference.reset()


@pytest.mark.parametrize("name", STREAMS)
def test_variables_are_those_of_tensorflow_lite(name):
    """In one piece: the oracle keeps variables itself, and so do we."""
    content = STREAMS[name]
    whole = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    whole.allocate_tensors()
    (given,), (output,) = whole.get_input_details(), whole.get_output_details()
    graph = importer.parse(content)
    reference = oracle.Oracle(content)
    for values in inputs_of(graph):
        whole.set_tensor(given["index"], values)
        whole.invoke()
        wanted = whole.get_tensor(output["index"])
        np.testing.assert_array_equal(reference.run(values)[graph.outputs[0]], wanted)


@pytest.mark.parametrize("optimise", OPTIMISE)
@pytest.mark.parametrize("name", [*FEW, *REAL])
def test_c_is_exact_over_a_sequence_of_runs(name, optimise, tmp_path):
    content = named(name)
    compiled = pipeline.compile_model(content, "model", optimise=optimise)
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path, ("cc", *SANITIZE))
    assert not check_tflite.differences(harness, content, inputs_of(compiled.graph))


@pytest.mark.parametrize("name", FEW)
def test_a_reset_in_c_forgets_all_runs(name, tmp_path):
    compiled = pipeline.compile_model(FEW[name], name)
    emitted, inputs = emission.emit(compiled), inputs_of(compiled.graph)
    hostrun.write(emitted, tmp_path)
    access = emission.access(compiled, "model")
    sizes = len(inputs), compiled.graph.input.bytes, len(inputs), len(inputs)
    main = MAIN % (access, *sizes, identifier(name), len(inputs))
    (tmp_path / "main.c").write_text(main)
    kernels = [path for path in emitted.kernels if path.suffix == ".c"]
    program = hostrun.compile_c(
        tmp_path / "main",
        [tmp_path / "main.c", tmp_path / emitted.source, *kernels],
        f"-I{tmp_path}",
        *hostrun.includes(emitted),
        compiler=("cc", *SANITIZE),
    )
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True, check=True)
    once, again = np.frombuffer(done.stdout, np.int8).reshape(2, len(inputs), -1)
    np.testing.assert_array_equal(once, again)
    (i,) = compiled.graph.outputs
    wanted = operators.execute(compiled.graph, inputs)[i]
    np.testing.assert_array_equal(once, wanted.view(np.int8))


def test_state_counts_as_memory_and_stateless_models_have_no_reset():
    compiled = pipeline.compile_model(SMALL["svdf_int16_memory_8"], "model")
    emitted = emission.emit(compiled)
    assert compiled.state == 6 * 8 * 2 == report.facts(compiled, emitted)["state"]
    assert "void model_reset(void);" in emitted.files["model.h"]
    stateless = build(lambda b, x: b.quantize(x, 0.1))
    assert "reset" not in emission.emit(pipeline.compile_model(stateless, "m")).files["model.h"]


# --- what need not be copied


def kinds(name):
    graph = lowering.lower(importer.parse(STREAMS[name]))
    return [step.kind for step in graph.operators]


@pytest.mark.parametrize("name", ["delayed", "stream", "assigned_first"])
def test_nothing_is_copied_where_the_order_allows_it(name):
    assert not {"READ_VARIABLE", "ASSIGN_VARIABLE"} & {*kinds(name)}


@pytest.mark.parametrize("name", ["read_before_and_used_behind", "read_as_it_is"])
def test_a_value_that_is_needed_behind_the_assignment_is_copied(name):
    assert kinds(name).count("READ_VARIABLE") == 1


def test_a_step_that_reads_the_state_does_not_write_it():
    assert kinds("summed").count("ASSIGN_VARIABLE") == 1


# --- refusals


def message_of(content):
    with pytest.raises(UserError) as raised:
        pipeline.compile_model(content, "model", "model.tflite")
    message = str(raised.value)
    assert "\n" not in message and message.startswith("model.tflite: ")
    return message


def changed(content, change):
    """The bytes of a model after `change(model, its graph)`, objects of the schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    change(model, model.subgraphs[0])
    return oracle.serialised(model)


def _without_initialisation(model, graph):
    graph.operators, model.subgraphs = graph.operators[1:], [graph]


def _another_shape_at_first(model, graph):
    model.subgraphs[1].tensors[1].shape = [6]


def _read_in_the_beginning(model, graph):
    model.subgraphs[1].operators[1].inputs = [0, 0]


def _first_behind_others(model, graph):
    graph.operators = [*graph.operators[1:], graph.operators[0]]


def _no_such_graph(model, graph):
    graph.operators[0].builtinOptions.initSubgraphIndex = 2


@pytest.mark.parametrize(
    "change, words",
    [
        (_without_initialisation, "of a variable without a value"),
        (_another_shape_at_first, "a variable begins as int8 [6], and is used as int8 [1, 6]"),
        (_read_in_the_beginning, "supported are constants for variables"),
        (_first_behind_others, "behind what it has to begin with"),
        (_no_such_graph, "CALL_ONCE of graph 2 of 2"),
    ],
)
def test_variables_without_a_first_value_are_refused(change, words):
    assert words in message_of(changed(STREAMS["delayed"], change))


def test_a_state_of_two_operators_is_refused():
    def both(b, x):
        y = tflite_states.svdf(b, x, 4, memory=2)
        tflite_states.svdf(b, x, 4, memory=2)
        b.operators[-1].inputs[4] = b.operators[0].inputs[4]
        return y

    assert "a variable that several operators write (SVDF 1)" in message_of(build(both))


def test_a_state_that_another_operator_reads_is_refused():
    def reading(b, x):
        y = tflite_states.svdf(b, x, 6, memory=1)
        b.operator("ADD", [y.index, b.operators[0].inputs[4]], b.value((1, 6)), "AddOptions")
        return y

    assert "variables (1 tensor)" in message_of(build(reading))


def _svdf(**options):
    return build(lambda b, x: tflite_states.svdf(b, x, 4, **options))


def _lstm(change, **options):
    def make(b, x):
        y = tflite_states.lstm(b, x, 4, **options)
        change(b, b.operators[-1])
        return y

    return build(make, shape=(1, 3, 5))


def _peephole(b, operator):
    constant = b.constant(np.ones(4, np.int16), [0.01])
    operator.inputs[9:12] = [constant] * 3


def _projection(b, operator):
    operator.inputs[16] = b.constant(np.ones((4, 4), np.int8), [0.01])


def _layer_normalisation(b, operator):
    operator.inputs[20:24] = [b.constant(np.ones(4, np.int16), [0.01])] * 4


def _relu(b, operator):
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU


def _two_sequences(b, operator):
    operator.builtinOptions.timeMajor = True


@pytest.mark.parametrize(
    "content, words",
    [
        (_svdf(wide=True, relu=False), "activation NONE beside a state of int16"),
        (_svdf(bias=False), "no bias"),
        (_svdf(wide=True, state_zero_point=5), "a state with zero point 5"),
        (_svdf(wide=True, memory=900), "accumulators could leave int32"),
        (_lstm(_peephole), "peephole connections"),
        (_lstm(_projection), "a projection"),
        (_lstm(_layer_normalisation), "layer normalisation"),
        (_lstm(_relu), "activation RELU; supported is TANH"),
        (_lstm(_two_sequences), "a batch of 3"),
        (_lstm(lambda *_: None, cell_power=-8), "a cell state of 7 integer bits"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name(content, words):
    assert words in message_of(content)
