"""SVDF, UNIDIRECTIONAL_SEQUENCE_LSTM: operators that keep a state from run to run.

Their states are inputs that they write, too: a rule takes them behind the input, and returns them
behind the output. Sources: tflite/kernels of google-ai-edge/LiteRT: internal/reference/svdf.h,
unidirectional_sequence_lstm.cc, lstm_eval.cc, internal/reference/portable_tensor_utils.cc;
gemmlowp's fixedpoint.h; of an SVDF with a state of 8 bits, which LiteRT does not have,
tensorflow/lite/micro/kernels/svdf_common.cc of tensorflow/tflite-micro.
"""

import math

import numpy as np
import tflite

from compiler.graph import DTYPES, INT8
from tinyengine import descriptions, quantisation, rules
from tinyengine.kind import CLAMP, Kind, plain, row
from tinyengine.quantisation import INT16, rounding_shift, saturated_16

BIAS_TOLERANCE = 1e-5  # of the scale of an SVDF's bias


def _weights(operator, tensors, place, dtypes=("int8",)):
    """A constant with one scale and no zero point."""
    tensor = tensors[operator.inputs[place]]
    if tensor.dtype not in dtypes or tensor.scales is None or len(tensor.scales) != 1:
        raise ValueError(
            f"weights of type {tensor.dtype} as input {place}; supported are "
            f"{' and '.join(dtypes)} with one scale"
        )
    if tensor.zero_point != 0:
        raise ValueError(f"weights with zero point {tensor.zero_point} as input {place}")
    return tensor


def _bias(operator, tensors, place, size):
    """int32 [size]; zeros where there is none."""
    i = operator.inputs[place]
    if i < 0:
        return np.zeros(size, np.int32)
    tensor = tensors[i]
    if tensor.dtype != "int32" or tensor.size != size:
        raise ValueError(f"a bias of {tensor.size} values of type {tensor.dtype}, not {size}")
    return tensor.data.ravel()


def _fitting(weights, bias, zero_point, scale):
    """Raises ValueError where sums of products of int8 inputs, scaled, could leave int32."""
    bounds = quantisation.accumulator_bounds(weights, bias, zero_point)
    _, shift = scale
    if not quantisation.fits(bounds, np.array(shift)):
        raise ValueError("accumulators could leave int32")


# --- SVDF


def _int8_ends(operator, tensors):
    """The tensors of its first input and its output. Raises ValueError where they are not int8."""
    ends = descriptions.ends(operator, tensors)
    if any(tensor.dtype != "int8" for tensor in ends):
        raise ValueError(f"from {ends[0].dtype} to {ends[1].dtype}; supported is int8")
    return ends


def svdf_shape(operator, tensors):
    x, features, times = (tensors[i] for i in operator.inputs[:3])
    state, rank = tensors[operator.inputs[4]], operator.attributes["rank"]
    if len(x.shape) != 2 or x.shape[0] != 1:
        raise ValueError(f"an input of shape {list(x.shape)}; supported is [1, inputs]")
    if len(features.shape) != 2 or len(times.shape) != 2:
        raise ValueError(f"weights of shapes {list(features.shape)}, {list(times.shape)}")
    filters, inputs = features.shape
    if rank < 1 or filters % rank or times.shape[0] != filters or inputs != x.shape[1]:
        raise ValueError(
            f"weights of shapes {list(features.shape)}, {list(times.shape)}, rank {rank} "
            f"for {x.shape[1]} inputs"
        )
    if state.shape != (1, times.size):
        raise ValueError(f"a state of shape {list(state.shape)}, not {[1, times.size]}")
    return 1, filters // rank


def describe_svdf(operator, tensors):
    x, y = _int8_ends(operator, tensors)
    state = tensors[operator.inputs[4]]
    features = _weights(operator, tensors, 1)
    times = _weights(operator, tensors, 2, (state.dtype,))
    if state.dtype == "int16" and state.zero_point != 0:
        raise ValueError(f"a state with zero point {state.zero_point}; supported is 0")
    taken = {"int8": ("RELU", "NONE"), "int16": ("RELU",)}[state.dtype]  # and left out by all
    if operator.attributes["activation"] not in taken:
        raise ValueError(
            f"activation {operator.attributes['activation']} beside a state of {state.dtype}; "
            f"supported are {' and '.join(taken)}"
        )
    if state.dtype == "int8":
        _check_bias_of_micro(operator, tensors, state, times)
    bias = _bias(operator, tensors, 3, y.size)
    scales = {
        "state_scale": _factor(x, features, state),
        "output_scale": _factor(state, times, y),
    }
    _fitting(features.data, np.zeros(len(features.data)), x.zero_point, scales["state_scale"])
    fields = {
        "inputs": features.shape[1],
        "units": y.size,
        "rank": operator.attributes["rank"],
        "memory": times.shape[1],
        "input_zero_point": x.zero_point,
        "state_zero_point": state.zero_point,
        "output_zero_point": y.zero_point,
        "wide": int(state.dtype == "int16"),
        "features": features.data,
        "times": times.data,
        "bias": bias,
        **descriptions.scales(scales),
    }
    shift = scales["output_scale"][1]
    if not quantisation.fits(np.array([svdf_bound(fields)]), np.array([shift])):
        raise ValueError("accumulators could leave int32")
    return fields


def _check_bias_of_micro(operator, tensors, state, times):
    """Raises ValueError for a bias that TensorFlow Lite Micro refuses."""
    bias = tensors[operator.inputs[3]]
    if operator.inputs[3] < 0 or bias.scales is None:
        raise ValueError("no bias with a scale, which a state of 8 bits needs beside it")
    scale = float(np.float32(state.scale)) * float(np.float32(times.scale))
    if not abs(bias.scale - scale) < BIAS_TOLERANCE:
        raise ValueError(f"a bias of scale {bias.scale:g}, not {scale:g}")


def _factor(x, weights, y):
    """The te_scale of products. LiteRT, for a state of 16 bits, computes it in float32, TensorFlow
    Lite Micro, for one of 8, in double: as the cases svdf_thresholds show."""
    wide = "int16" in (x.dtype, y.dtype)
    x, weights, y = (
        (np.float32 if wide else np.float64)(np.float32(tensor.scale)) for tensor in (x, weights, y)
    )
    return quantisation.quantise_multiplier(float(x * weights / y))


def _state(fields):
    return DTYPES["int16" if fields["wide"] else "int8"]


def svdf(fields, x, state):
    """One new value for each filter goes behind its last ones, and a unit sums up `rank` filters
    over all of them. Its clamp comes before the zero point, with which it wraps around where that
    is beyond int8. The clamp of outputs is the only activation."""
    ends, zero_point = _state(fields), fields["state_zero_point"]
    centred = x.astype(np.int64) - fields["input_zero_point"]
    new = rules.scaled(centred @ fields["features"].T.astype(np.int64), fields["state_scale"])
    new = (np.clip(new, ends.lowest, ends.highest) + zero_point).astype(state.dtype)
    kept = state.reshape(len(x), -1, fields["memory"])
    kept = np.concatenate([kept[..., 1:], new[..., None]], axis=2)
    sums = ((kept.astype(np.int64) - zero_point) * fields["times"]).sum(axis=2)
    sums = sums.reshape(len(x), fields["units"], fields["rank"]).sum(axis=2) + fields["bias"]
    values = rules.scaled(sums, fields["output_scale"]) + fields["output_zero_point"]
    return rules.clamped(values), kept.reshape(len(x), -1)


def svdf_sizes(fields):
    state = fields["times"].size
    return fields["inputs"], state, fields["units"], state


def svdf_dtypes(fields):
    state = "int16" if fields["wide"] else "int8"
    return "int8", state, "int8", state


def svdf_bound(fields):
    """Of both sums."""
    zero_point, ends = fields["state_zero_point"], _state(fields)
    furthest = max(ends.highest - zero_point, zero_point - ends.lowest)
    times = np.abs(fields["times"].astype(np.int64)).reshape(fields["units"], -1).sum(axis=1)
    sums = furthest * times + np.abs(fields["bias"].astype(np.int64))
    features = quantisation.accumulator_bounds(fields["features"], 0, fields["input_zero_point"])
    return int(max(sums.max(), features.max()))


def svdf_macs(fields):
    return fields["features"].size + fields["times"].size


def macs_of_svdf(operator, tensors):
    return sum(tensors[i].size for i in operator.inputs[1:3])


def svdf_weights(fields):
    return sum(fields[name].nbytes for name in ("features", "times", "bias"))


# --- UNIDIRECTIONAL_SEQUENCE_LSTM

# Places of inputs: weights of the input and of the recurrent output, biases, of each gate.
GATES = {"input_gate": (1, 5, 12), "forget_gate": (2, 6, 13), "cell_gate": (3, 7, 14)}
GATES |= {"output_gate": (4, 8, 15)}
OUTPUT_STATE, CELL_STATE = 18, 19
REFUSED = {
    "peephole connections": (9, 10, 11),
    "a projection": (16, 17),
    "layer normalisation": (20, 21, 22, 23),
}
GATE_BITS = 3  # integer ones of what goes into sigmoid and tanh of gates, of 16
POWER_TOLERANCE = 1e-3  # of the exponent of a cell state's scale
MOST_CELL_BITS = 6  # for which TensorFlow Lite has a tanh
ONE = INT16.highest  # as Q0.15


def lstm_shape(operator, tensors):
    count = len(operator.inputs)
    if count not in (20, 24):
        raise ValueError(f"{count} inputs; there are 20 or 24")
    if len({operator.inputs[place] < 0 for place in GATES["input_gate"]}) > 1:
        raise ValueError("an input gate of which something is missing")
    x = tensors[operator.inputs[0]]
    weights = tensors[operator.inputs[GATES["output_gate"][0]]]
    if len(x.shape) != 3 or 1 not in x.shape[:2]:
        raise ValueError(f"an input of shape {list(x.shape)}; supported is one sequence")
    batch = x.shape[1] if operator.attributes["time_major"] else x.shape[0]
    if batch != 1:
        raise ValueError(f"a batch of {batch}; supported is one sequence")
    return *x.shape[:2], weights.shape[0]


def describe_lstm(operator, tensors):
    x, y = _int8_ends(operator, tensors)
    state, cell = tensors[operator.inputs[OUTPUT_STATE]], tensors[operator.inputs[CELL_STATE]]
    for what, places in REFUSED.items():
        if any(i >= 0 for place, i in enumerate(operator.inputs) if place in places):
            raise ValueError(f"{what}; supported are an LSTM's four gates alone")
    if operator.attributes["activation"] != "TANH":
        raise ValueError(f"activation {operator.attributes['activation']}; supported is TANH")
    cells = y.shape[-1]
    if state.size != cells or cell.size != cells:
        raise ValueError(f"states of {state.size} and {cell.size} values, not {cells}")
    if (state.dtype, cell.dtype) != ("int8", "int16"):
        raise ValueError(f"states of {state.dtype} and {cell.dtype}; supported are int8 and int16")
    hidden, clip = tensors[operator.attributes["hidden"]], operator.attributes["cell_clip"]
    if hidden.scales is None or hidden.scale <= 0:
        raise ValueError("an intermediate output without a scale")
    if not min(clip, operator.attributes["projection_clip"]) >= 0:
        raise ValueError("values that are cut off at negative ones")
    bits = 15 + _power_of_two(cell.scale)
    if not 0 <= bits <= MOST_CELL_BITS:
        raise ValueError(f"a cell state of {bits} integer bits; supported are 0 to 6")
    coupled = operator.inputs[GATES["input_gate"][0]] < 0
    gates = {
        name: _gate(operator, tensors, places, x, state, cells)
        for name, places in GATES.items()
        if not (coupled and name == "input_gate")
    }
    scale = quantisation.quantise_multiplier(
        float(np.float32(2.0**-15 / float(np.float32(hidden.scale)) * 2.0**-15))
    )
    if not quantisation.fits(np.array([ONE**2]), np.array([scale[1]])):
        raise ValueError(f"an intermediate output of scale {hidden.scale:g}")
    limit = int(min(np.float32(clip) / np.float32(cell.scale), np.float32(INT16.highest)))
    return {
        "steps": x.size // x.shape[-1],
        "inputs": x.shape[-1],
        "cells": cells,
        "coupled": int(coupled),
        **({"input_gate": gates["forget_gate"]} if coupled else {}),
        **gates,
        "cell_bits": bits,
        "cell_limit": limit or -INT16.lowest,
        "output_zero_point": hidden.zero_point,
        "output_scale": descriptions.scale(scale),
    }


def _power_of_two(scale):
    """The exponent, as near as TensorFlow Lite wants it."""
    exponent = round(math.log2(scale))
    if abs(math.log2(scale) - exponent) >= POWER_TOLERANCE:
        raise ValueError(f"a cell state of scale {scale:g}; supported are powers of 2")
    return exponent


def _gate(operator, tensors, places, x, state, cells):
    """te_lstm_gate: its two matrices, each with its biases and its scale.

    Zero points are in the biases. Factors are float32, from the products to Q3.12.
    """
    fields, (of_input, of_state, bias_at) = {}, places
    ends = ("input", of_input, x, x.shape[-1]), ("state", of_state, state, cells)
    for name, place, source, size in ends:
        weights = _weights(operator, tensors, place)
        if weights.shape != (cells, size):
            raise ValueError(f"weights of shape {list(weights.shape)}, not {[cells, size]}")
        bias = np.zeros(cells, np.int64)
        if name == "input":
            bias += _bias(operator, tensors, bias_at, cells)
        bias -= source.zero_point * weights.data.sum(axis=1, dtype=np.int64)
        product = np.float32(weights.scale) * np.float32(source.scale)
        scale = quantisation.quantise_multiplier(float(product / np.float32(2.0**-12)))
        _fitting(weights.data, bias, 0, scale)
        fields |= {
            f"{name}_weights": weights.data,
            f"{name}_bias": bias.astype(np.int32),
            f"{name}_scale": descriptions.scale(scale),
        }
    return fields


def lstm(fields, x, state, cell):
    """Gates are Q3.12 in front of sigmoid and tanh, Q0.15 behind."""
    xs = x.reshape(len(x), fields["steps"], fields["inputs"]).astype(np.int64)
    state, cell, outputs = state.astype(np.int64), cell.astype(np.int64), []
    bits = fields["cell_bits"]
    for step in range(fields["steps"]):
        gates = {
            name: _gate_sums(fields[name], xs[:, step], state)
            for name in GATES
            if not (fields["coupled"] and name == "input_gate")
        }
        new = _tanh(gates.pop("cell_gate"), GATE_BITS)
        shares = {name: _sigmoid(sums) for name, sums in gates.items()}
        forget = shares["forget_gate"]
        share = ONE - forget if fields["coupled"] else shares["input_gate"]
        cell = rounding_shift(forget * cell, 15) + rounding_shift(share * new, 15 + bits)
        cell = saturated_16(cell)
        if fields["cell_limit"] <= INT16.highest:
            cell = np.clip(cell, -fields["cell_limit"], fields["cell_limit"])
        products = shares["output_gate"] * _tanh(cell, bits)
        state = rules.scaled(products, fields["output_scale"]) + fields["output_zero_point"]
        state = np.clip(state, INT8.lowest, INT8.highest)
        outputs.append(state)
    return np.stack(outputs, 1).astype(np.int8).reshape(len(x), -1), state, cell


def _gate_sums(gate, x, state):
    """Q3.12: what a gate makes of the input, and of the last output; each cut off to 16 bits."""
    total = 0
    for name, values in (("input", x), ("state", state)):
        sums = values @ gate[f"{name}_weights"].T.astype(np.int64) + gate[f"{name}_bias"]
        total = saturated_16(total + rules.scaled(sums, gate[f"{name}_scale"]))
    return total


# gemmlowp's fixed point in 16 bits: "Qa" has a integer bits, and 15 - a fractional ones.

# e^-(2^k) of k = -2 .. 4, Q0.
FACTORS = (25520, 19875, 12055, 4435, 600, 11, 0)
E_TO_MINUS_EIGHTH, THIRD = 28918, 10923  # Q0
START, SLOPE = 23130, -15420  # Q2: 48/17, -32/17


def _multiply(a, b):
    """a * b * 2^-15, halves round up; not of -1 and -1, Q0, which would saturate."""
    return (a * b + (1 << 14)) >> 15


def _exponential(x, bits):
    """e^x, Q0, of x <= 0, Qbits: the fraction by a series, then a factor for each bit above."""
    quarter = 1 << (13 - bits)
    fraction = (x & (quarter - 1)) - quarter
    t = (fraction << bits) + (1 << 12)  # of e^-1/8 * e^t
    t2 = _multiply(t, t)
    t3, t4 = _multiply(t2, t), _multiply(t2, t2)
    series = t + rounding_shift(_multiply(rounding_shift(t4, 2) + t3, THIRD) + t2, 1)
    result = saturated_16(E_TO_MINUS_EIGHTH + _multiply(E_TO_MINUS_EIGHTH, series))
    for k, factor in enumerate(FACTORS[: bits + 2]):
        there = (fraction - x) & (quarter << k) != 0
        result = np.where(there, _multiply(result, factor), result)
    beyond = x < -(1 << (20 - bits))  # -32, as only 6 bits and more can be
    result = np.where(beyond, 0, result)
    return np.where(x == 0, ONE, result)


def _reciprocal(x):
    """2 / (1 + x), Q2, of x from 0 to 1, Q0, by Newton's method."""
    half = (x + ONE + 1) >> 1
    guess = START + _multiply(half, SLOPE)
    for _ in range(3):
        error = (1 << 13) - _multiply(half, guess)
        guess = guess + (_multiply(guess, error) << 2)
    return guess


def _sigmoid(x):
    """Q0, of x, Q3."""
    positive = saturated_16(_reciprocal(_exponential(-np.abs(x), GATE_BITS)) << 1)
    return np.where(x == 0, 1 << 14, np.where(x > 0, positive, ONE - positive))


def _tanh(x, bits):
    """Q0, of x, Qbits."""
    exponential = _exponential(-np.abs(x), bits + 1)  # e^-2x
    positive = saturated_16((_reciprocal(exponential) - (1 << 13)) << 2)
    return np.where(x == 0, 0, np.where(x > 0, positive, -positive))


def lstm_sizes(fields):
    steps, cells = fields["steps"], fields["cells"]
    return steps * fields["inputs"], cells, cells, steps * cells, cells, cells


def _gates(fields):
    names = [name for name in GATES if not (fields["coupled"] and name == "input_gate")]
    return [fields[name] for name in names]


def lstm_bound(fields):
    return max(
        int(quantisation.accumulator_bounds(gate[f"{n}_weights"], gate[f"{n}_bias"], 0).max())
        for gate in _gates(fields)
        for n in ("input", "state")
    )


def lstm_macs(fields):
    sizes = (gate[f"{n}_weights"].size for gate in _gates(fields) for n in ("input", "state"))
    return fields["steps"] * sum(sizes)


def macs_of_lstm(operator, tensors):
    x, places = tensors[operator.inputs[0]], [p for gate in GATES.values() for p in gate[:2]]
    matrices = (operator.inputs[place] for place in places)
    return x.size // x.shape[-1] * sum(tensors[i].size for i in matrices if i >= 0)


def lstm_weights(fields):
    names = [f"{n}_{what}" for n in ("input", "state") for what in ("weights", "bias")]
    return sum(gate[name].nbytes for gate in _gates(fields) for name in names)


KINDS = (
    Kind(
        svdf_shape,
        describe_svdf,
        row(
            "SVDF",
            svdf_sizes,
            svdf,
            dtypes=svdf_dtypes,
            bound=svdf_bound,
            macs=svdf_macs,
            weights=svdf_weights,
            colour="#e2d6ef",
        ),
        tflite.SVDFOptions,
        CLAMP | {"rank": plain("Rank")},
        inputs=(5, 5),
        dtypes=("int8", "int16"),
        constants=(1, 2, 3),
        macs=macs_of_svdf,
        optional=(3,),
        variables=(4,),
    ),
    Kind(
        lstm_shape,
        describe_lstm,
        row(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            lstm_sizes,
            lstm,
            dtypes=("int8", "int8", "int16", "int8", "int8", "int16"),
            bound=lstm_bound,
            macs=lstm_macs,
            weights=lstm_weights,
            colour="#e2d6ef",
        ),
        tflite.UnidirectionalSequenceLSTMOptions,
        CLAMP
        | {
            "cell_clip": plain("CellClip"),
            "projection_clip": plain("ProjClip"),
            "time_major": plain("TimeMajor"),
        },
        inputs=(20, 24),
        dtypes=("int8", "int16"),
        constants=(*range(1, OUTPUT_STATE), *range(20, 24)),
        macs=macs_of_lstm,
        optional=(1, 5, 12, *(place for places in REFUSED.values() for place in places)),
        variables=(OUTPUT_STATE, CELL_STATE),
        intermediates={"hidden": 4},
    ),
)
