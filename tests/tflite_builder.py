"""A builder of small int8 .tflite models, as flatbuffers, without TensorFlow; random but seeded."""

import math
from dataclasses import dataclass, replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyengine.oracle import serialised
from tinyengine.shapes import window

ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
PAIR_OPTIONS = {  # of operators of two operands: the names of their tables
    "ADD": "AddOptions",
    "SUB": "SubOptions",
    "MUL": "MulOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "SQUARED_DIFFERENCE": "SquaredDifferenceOptions",
    "PRELU": None,
}
FUSED = ("ADD", "SUB", "MUL")  # which of them have a fused activation
TYPES = {
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.float32): schema.TensorType.FLOAT32,
}


@dataclass
class Value:
    """An activation that a model under construction has computed."""

    index: int
    shape: tuple
    scale: np.float32
    zero_point: int


class Builder:
    """A model under construction; every method adds one operator and returns its output."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.tensors, self.buffers, self.operators, self.codes = [], [schema.BufferT()], [], []

    def value(self, shape, scale=None, zero_point=None, dtype=np.int8):
        """An activation; the scale and the zero point are random where they are not given."""
        scale = np.float32(self.rng.uniform(0.01, 0.1) if scale is None else scale)
        ends = np.iinfo(dtype).min, np.iinfo(dtype).max + 1
        zero_point = int(self.rng.integers(*ends) if zero_point is None else zero_point)
        index = self._tensor(shape, dtype, [scale], [zero_point])
        return Value(index, tuple(shape), scale, zero_point)

    def constant(self, data, scales=(), axis=0, zero_points=None):
        """The index of a constant; zero points are 0 where they are not given."""
        zero_points = [0] * len(scales) if zero_points is None else zero_points
        index = self._tensor(data.shape, data.dtype, scales, zero_points, axis)
        self.tensors[index].buffer = len(self.buffers)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.buffers.append(buffer)
        return index

    def _tensor(self, shape, dtype, scales=(), zero_points=(), axis=0):
        tensor = schema.TensorT()
        tensor.shape, tensor.type = [int(n) for n in shape], TYPES[np.dtype(dtype)]
        tensor.hasRank = True
        tensor.name = f"tensor_{len(self.tensors)}"
        if len(scales):
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = [float(s) for s in scales]
            tensor.quantization.zeroPoint = [int(z) for z in zero_points]
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, kind, inputs, output, options=None, **fields):
        """Adds an operator, and returns its output or list of outputs.

        options: the name of its table; fields: the table's.
        """
        number = getattr(schema.BuiltinOperator, kind)
        if number not in self.codes:
            self.codes.append(number)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(number)
        outputs = output if isinstance(output, list) else [output]
        operator.inputs, operator.outputs = list(inputs), [value.index for value in outputs]
        if options:
            table = getattr(schema, options + "T")()
            for name, field in fields.items():
                assert hasattr(table, name), f"{options} has no {name}"
                setattr(table, name, field)
            operator.builtinOptions = table
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        self.operators.append(operator)
        return output

    def model(self, source, output):
        """The bytes of the finished model."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = [source.index], [output.index]
        for number in self.codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
            code.version = 1
            model.operatorCodes = [*(model.operatorCodes or []), code]
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        return serialised(model)

    # --- operators

    def _weighted(self, x, shape, axis, sums, per_channel, factors, bias):
        """(indices of inputs, output scale) of an operator with weights.

        factors: how large real multipliers are: "usual" ones spread the outputs over int8, "large"
        ones are above 1, and "vanishing" ones are too small for 31 bits in some of the channels.
        sums: products in an accumulator.
        """
        channels = shape[axis]
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = np.float32(self.rng.uniform(0.005, 0.02, channels if per_channel else 1))
        spread = 75 * 127 * 0.6 * math.sqrt(sums)  # an accumulator's, about
        output_scale = float(x.scale) * float(scales.mean()) * spread / 60
        if factors == "large":
            # few weights, and small ones, or else all outputs saturate
            weights = (
                self.rng.choice([-1, 1], shape) * (self.rng.random(shape) < 1 / sums)
            ).astype(np.int8)
            spread = 50
            output_scale = float(x.scale) * float(scales.min()) / self.rng.uniform(1.1, 2)
        if factors == "vanishing":
            scales[self.rng.random(len(scales)) < 0.6] = 1e-14
            scales[0] = 1e-14
        inputs = [x.index, self.constant(weights, scales, axis)]
        if bias:
            numbers = self.rng.normal(0, spread / 2, channels).astype(np.int32)
            inputs.append(self.constant(numbers, x.scale * scales))
        return inputs, output_scale

    def convolution(
        self,
        x,
        outputs,
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        padding="SAME",
        activation="NONE",
        depthwise=False,
        per_channel=True,
        zero_point=None,
        factors="usual",
        bias=True,
        groups=1,
    ):
        attributes = dict(zip(("stride_y", "stride_x"), stride))
        attributes |= dict(zip(("dilation_y", "dilation_x"), dilation)) | {"padding": padding}
        _, height, width = window(attributes, *kernel, x.shape[1:3])
        channels = x.shape[3]
        shape = (1, *kernel, outputs) if depthwise else (outputs, *kernel, channels // groups)
        sums = math.prod(kernel) * (1 if depthwise else channels // groups)
        axis = 3 if depthwise else 0
        inputs, scale = self._weighted(x, shape, axis, sums, per_channel, factors, bias)
        y = self.value((1, height, width, outputs), scale, zero_point)
        multiplier = {"depthMultiplier": outputs // channels} if depthwise else {}
        return self.operator(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            inputs,
            y,
            "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
            padding=getattr(schema.Padding, padding),
            strideH=stride[0],
            strideW=stride[1],
            dilationHFactor=dilation[0],
            dilationWFactor=dilation[1],
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
            **multiplier,
        )

    def fully_connected(
        self,
        x,
        outputs,
        activation="NONE",
        per_channel=False,
        zero_point=None,
        factors="usual",
        bias=True,
        keep_dims=False,
    ):
        size = x.shape[-1]
        inputs, scale = self._weighted(x, (outputs, size), 0, size, per_channel, factors, bias)
        shape = (*x.shape[:-1], outputs) if keep_dims else (math.prod(x.shape[:-1]), outputs)
        return self.operator(
            "FULLY_CONNECTED",
            inputs,
            self.value(shape, scale, zero_point),
            "FullyConnectedOptions",
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
            keepNumDims=keep_dims,
        )

    def thresholds(self, x, kind):
        """A convolution or a FULLY_CONNECTED whose accumulators are where outputs step.

        They are the biases; the factor is so small that the last bit of a multiplier decides.
        """
        factor = float(self.rng.uniform(0.6e-6, 1.2e-6))
        weight_scale = np.float32(self.rng.uniform(0.01, 0.1))
        steps = np.round((np.arange(-127, 127) + 0.5) / factor)
        biases = (steps[:, None] + np.arange(-4, 5)).astype(np.int32).ravel()
        zeros = np.zeros((len(biases), 1), np.int8)
        if kind == "CONV_2D":
            zeros = zeros.reshape(-1, 1, 1, 1)
        weights = self.constant(zeros, [weight_scale])
        inputs = [x.index, weights, self.constant(biases, [x.scale * weight_scale])]
        scale = float(x.scale) * float(weight_scale) / factor
        y = self.value((*x.shape[:-1], len(biases)), scale, 0)
        if kind == "CONV_2D":
            return self.operator(kind, inputs, y, "Conv2DOptions", strideH=1, strideW=1)
        return self.operator(kind, inputs, y, "FullyConnectedOptions")

    def product_thresholds(self, x, kind):
        """A product by a constant with a factor that is a power of two in float32, and in double a
        bit less, where two halves are rounded up one after the other."""
        while True:
            scales = np.float32(x.scale), np.float32(self.rng.uniform(0.01, 0.1))
            if float(scales[0] * scales[1]) > float(scales[0]) * float(scales[1]):
                break
        values = np.repeat([-51, -5, 5, 51], 256).reshape(1, 32, 32)  # 51 * 5 = 2^8 - 1
        other = self.constant(values.astype(np.int8), [scales[1]])
        y = self.value(x.shape, scales[0] * scales[1] * np.float32(512), 0)
        inputs = [x.index, other]
        return self.operator(kind, inputs, y, PAIR_OPTIONS[kind])

    def pool(self, kind, x, kernel, stride=(1, 1), padding="SAME", activation="NONE"):
        attributes = {"stride_y": stride[0], "stride_x": stride[1], "padding": padding}
        _, height, width = window(attributes, *kernel, x.shape[1:3])
        return self.operator(
            kind,
            [x.index],
            self.value((1, height, width, x.shape[3]), x.scale, x.zero_point),
            "Pool2DOptions",
            padding=getattr(schema.Padding, padding),
            strideH=stride[0],
            strideW=stride[1],
            filterHeight=kernel[0],
            filterWidth=kernel[1],
            fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
        )

    def add(self, x, other, scale, activation="NONE", zero_point=None):
        return self.pair("ADD", x, other, scale, activation, zero_point)

    def pair(self, kind, x, other, scale=None, activation="NONE", zero_point=None):
        """An operator of two operands, either of which may be repeated, as in NumPy."""
        y = self.value(np.broadcast_shapes(x.shape, other.shape), scale, zero_point)
        options = PAIR_OPTIONS[kind]
        fused = {"fusedActivationFunction": getattr(schema.ActivationFunctionType, activation)}
        return self.operator(
            kind, [x.index, other.index], y, options, **fused if kind in FUSED else {}
        )

    def constant_value(self, shape, scale=None, zero_point=None):
        """A constant in place of an activation, with values all over int8."""
        made = self.value(shape, scale, zero_point)
        data = self.rng.integers(-128, 128, shape).astype(np.int8)
        index = self.constant(data, [made.scale])
        self.tensors[index].quantization.zeroPoint = [made.zero_point]
        return replace(made, index=index)

    def reduce(self, kind, x, axes, keep_dims, scale=None, zero_point=None):
        reduced = {a % len(x.shape) for a in axes}
        shape = [1 if i in reduced else n for i, n in enumerate(x.shape)]
        if not keep_dims:
            shape = [n for i, n in enumerate(x.shape) if i not in reduced]
        inputs = [x.index, self.constant(np.array(axes, np.int32))]
        y = self.value(shape, x.scale * 0.5 if scale is None else scale, zero_point)
        return self.operator(kind, inputs, y, "ReducerOptions", keepDims=keep_dims)

    def average_pool(self, x, *window, **attributes):
        return self.pool("AVERAGE_POOL_2D", x, *window, **attributes)

    def mean(self, x, *axes, **attributes):
        return self.reduce("MEAN", x, *axes, **attributes)

    def extreme(self, kind, x, axes, keep_dims):
        """REDUCE_MAX or REDUCE_MIN."""
        return self.reduce(kind, x, axes, keep_dims, x.scale, x.zero_point)

    def pad(self, x, paddings):
        shape = [n + sum(p) for n, p in zip(x.shape, paddings)]
        inputs = [x.index, self.constant(np.array(paddings, np.int32))]
        return self.operator("PAD", inputs, self.value(shape, x.scale, x.zero_point), "PadOptions")

    def transpose(self, x, permutation):
        shape = [x.shape[i] for i in permutation]
        inputs = [x.index, self.constant(np.array(permutation, np.int32))]
        y = self.value(shape, x.scale, x.zero_point)
        return self.operator("TRANSPOSE", inputs, y, "TransposeOptions")

    def reshape(self, x, shape):
        inputs = [x.index, self.constant(np.array(shape, np.int32))]
        y = self.value(shape, x.scale, x.zero_point)
        return self.operator("RESHAPE", inputs, y, "ReshapeOptions", newShape=list(shape))

    def quantize(self, x, scale=None, zero_point=None, dtype=np.int8):
        y = self.value(x.shape, scale, zero_point, dtype)
        return self.operator("QUANTIZE", [x.index], y, "QuantizeOptions")

    def lookup(self, kind, x, scale=None, zero_point=None, options=None, **fields):
        """An operator that computes each value from one value."""
        y = self.value(x.shape, scale, zero_point)
        return self.operator(kind, [x.index], y, options, **fields)

    def softmax(self, x, beta=1.0, dtype=np.int8):
        ends = np.iinfo(dtype)
        y = self.value(x.shape, 1 / (1 << ends.bits), ends.min, dtype)
        return self.operator("SOFTMAX", [x.index], y, "SoftmaxOptions", beta=beta)


def inputs(content, rng, count=6):
    """[count, ...] for a model: all the lowest and all the highest value, only these two, and
    uniformly random ones."""
    model = schema.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    tensor = graph.Tensors(graph.Inputs(0))
    shape = [int(n) for n in tensor.ShapeAsNumpy()]
    dtype = next(dtype for dtype, number in TYPES.items() if number == tensor.Type())
    ends = np.iinfo(dtype).min, np.iinfo(dtype).max
    constants = [np.full(shape, value) for value in ends]
    extremes = rng.choice(ends, shape)
    random = rng.integers(*ends, (count - 3, *shape), endpoint=True)
    return np.stack([*constants, extremes, *random]).astype(dtype)
