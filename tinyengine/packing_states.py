"""What the fast kernels of operators with a state are given: weights of four rows at a time.

And that of QUANTIZE of int16, as it scales as they do.
"""

import numpy as np

from compiler.csource import constants
from compiler.graph import DTYPES
from compiler.selection import Unfit
from tinyengine import quantisation
from tinyengine.quantisation import LARGEST_ACCUMULATOR

INT16 = DTYPES["int16"]
SUMS = constants("tinyengine/kernels/fast.h")["TE_SUMS"]
LSTM_GATES = ("forget_gate", "cell_gate", "output_gate", "input_gate")


def pack_quantize_int16_fast(fields):
    return fields | {"scale": _sum_scale(fields["scale"], INT16.span)}


def pack_svdf_fast(fields):
    features, times = fields["features"].astype(np.int64), fields["times"].astype(np.int64)
    filters = len(features)
    rows = np.zeros((-(-filters // 4) * 4, features.shape[1]), np.int64)
    rows[:filters] = features
    begin = -fields["input_zero_point"] * rows.sum(axis=1)
    fours = [(begin[i : i + 4], _words(rows[i : i + 4])) for i in range(0, len(rows), 4)]
    by_unit = times.reshape(fields["units"], -1).sum(axis=1)
    bias = np.append(fields["bias"] - fields["state_zero_point"] * by_unit, 0)
    bounds = quantisation.accumulator_bounds(features, 0, fields["input_zero_point"])
    names = ("inputs", "units", "rank", "memory", "state_zero_point", "output_zero_point", "wide")
    return {name: fields[name] for name in names} | {
        "features": _records(fours),
        "times": fields["times"],
        "bias": _wrapped(bias).view(np.int32),
        "state_scale": _sum_scale(fields["state_scale"], int(bounds.max())),
        "output_scale": _output_scale(fields["output_scale"]),
    }


def _output_scale(scale):
    """The te_sum_scale of sums that are cut off at SUMS, as all beyond is the same in int8."""
    if scale["multiplier"] * SUMS < 1 << 31 - scale["shift"] + 10:
        raise Unfit("sums of which all bits count")
    return _sum_scale(scale, SUMS)


def svdf_scratch(packed):
    """The expanded input."""
    return _expanded(packed["inputs"])


def pack_lstm_fast(fields):
    gates = [None if fields["coupled"] and g == "input_gate" else fields[g] for g in LSTM_GATES]
    none = {f"{end}_scale": fields["forget_gate"][f"{end}_scale"] for end in ("input", "state")}
    fours, scales = [], {"input": [], "state": []}
    for cell in range(fields["cells"]):
        begin, words = [], []
        for end, size in (("input", fields["inputs"]), ("state", fields["cells"])):
            rows = np.zeros((4, size), np.int64)
            for row, gate in zip(range(4), gates):
                if gate:
                    rows[row] = gate[f"{end}_weights"][cell]
            begin += [gate[f"{end}_bias"][cell] if gate else 0 for gate in gates]
            words.append(_words(rows))
        fours.append((np.array(begin), np.concatenate(words)))
    for gate in gates:
        for end, found in scales.items():
            bound = 0
            if gate:
                weights, bias = gate[f"{end}_weights"], gate[f"{end}_bias"]
                bound = int(quantisation.accumulator_bounds(weights, bias, 0).max())
            found.append(_sum_scale((gate or none)[f"{end}_scale"], bound))
    names = ("steps", "inputs", "cells", "coupled", "cell_bits", "cell_limit", "output_zero_point")
    return {name: fields[name] for name in names} | {
        "weights": _records(fours),
        "input_scales": scales["input"],
        "state_scales": scales["state"],
        "output_scale": _sum_scale(fields["output_scale"], INT16.highest**2),
    }


def lstm_scratch(packed):
    """The expanded input, and the expanded state."""
    return _expanded(packed["inputs"]) + _expanded(packed["cells"])


def _expanded(size):
    """Bytes of int8 values as int16, in fours."""
    return -(-size // 4) * 8


def _words(rows):
    """uint32 [n]: of four rows of weights, for each four inputs a word of each row."""
    padded = np.zeros((4, -(-rows.shape[1] // 4) * 4), np.int8)
    padded[:, : rows.shape[1]] = rows
    return np.ascontiguousarray(padded.view("<u4").T).ravel()


def _records(fours):
    """[(int64 [n], words)] one behind the other, uint32."""
    return np.concatenate([part for begin, words in fours for part in (_wrapped(begin), words)])


def _wrapped(values):
    """Integers modulo 2^32, as sums in C are."""
    return (np.asarray(values, np.int64) & 0xFFFFFFFF).astype(np.uint32)


def _sum_scale(scale, bound):
    """The te_sum_scale of a te_scale, for sums up to `bound`. Raises `Unfit` for larger ones."""
    left, right = max(scale["shift"], 0) + 1, max(-scale["shift"], 0)
    if bound << left > LARGEST_ACCUMULATOR or right > 31:
        raise Unfit(f"sums up to {bound}, which are shifted by {left}")
    half = 1 << right >> 1
    return {"multiplier": scale["multiplier"], "half": half, "left": left, "right": right}
