"""The operators of low-bit networks: all that is known of each in one row (CONTRIBUTING.md)."""

from dataclasses import replace

from compiler import operators
from compiler.operators import Row
from lowbit import channels, convolutions, kernelrows, maps, poolrows, rules, streams


def _linear_words(layer):
    more = ["bias"] * (layer.bias is not None) + ["factors"] * (layer.factors is not None)
    return [f"{layer.inputs}x{layer.outputs}", layer.format.name], more


def _size(size):
    return "x".join(map(str, size))


def _windows_words(windows):
    stride = "" if windows.stride == (1, 1) else f"/{_size(windows.stride)}"
    padding = [] if windows.padding == (0, 0) else [f"padded by {_size(windows.padding)}"]
    return f"{_size(windows.kernel)}{stride} at {_size(windows.positions)}", padding


def _convolution_words(fields):
    shape, padding = _windows_words(fields.windows)
    (size, name), more = _linear_words(fields.layer)
    groups = [f"{fields.groups} groups"] if fields.groups > 1 else []
    return [f"{shape}: {size}", name], groups + padding + more


def _fused_words(fields):
    shapes, more = [], []
    for conv, shift in fields.stages:
        (shape, name), rest = _convolution_words(conv)
        shapes.append(f"{shape} {name}")
        more += [*rest, *_requantiser_words(shift)[0]]
    if fields.added:
        more.append("added")
    if fields.pool:
        more.append(f"largest of {_pool_words(fields.pool)[0][0]}")
    return shapes, more


def _pool_words(fields):
    shape, _ = _windows_words(fields.windows)
    return [shape], []


def _add_words(fields):
    return [f"{fields.size} values"], [f"shifted by {fields.shift}"]


def _requantiser_words(fields):
    return [f"{fields.writes.bits} bits"], []


def _slide_words(fields):
    return [f"{fields.count} new of {fields.size}"], []


def _weight_bytes(layer):
    """Of its weights as codes side by side, and of what each output has besides."""
    per_output = 4 * (layer.bias is not None) + (layer.factors is not None)
    return -(-layer.weights.size * 32 // layer.format.per_word // 8) + per_output * layer.outputs


def _of_stages(measure, most=max):
    """fields of FUSED -> `most` of what `measure` gives for the convolutions."""
    return lambda fields: most(measure(conv) for conv, _ in fields.stages)


def _macs(fields):
    return fields.windows.count * fields.layer.weights.size


def _fused_bound(fields):
    """Of the sums of all stages, and of their rounding."""
    rounding = max(rules.rounding_bound(shift) for _, shift in fields.stages)
    added = fields.added.writes.largest if fields.added else 0
    return max(rounding, added, _of_stages(lambda conv: rules.linear_bound(conv.layer))(fields))


def _fused_sizes(fields):
    inputs = [fields.stages[0][0].windows.inputs]
    return (*inputs, *([fields.added.size] if fields.added else ()), fields.outputs)


def _fused_ranges(fields):
    reads = [fields.stages[0][0].layer.reads]
    return (*reads, *([fields.added.adds] if fields.added else ()), fields.last.writes)


def _sums_bound(fields):
    return fields.sums.largest


def _of_parts(measure, most=max):
    """fields of STREAMED or CHANNELLED -> `most` of what `measure` gives for its parts."""
    return lambda fields: most(measure(part) for part in fields.parts)


def _streamed_words(fields):
    words = [_fused_words(part) for part in fields.parts]
    return [shape for shapes, _ in words for shape in shapes], [
        w for _, more in words for w in more
    ]


def _pool_sizes(fields):
    return fields.windows.inputs, fields.outputs


POOL_COLOUR = "#d5ecd4"
ROWS = operators.table(
    Row(
        "LINEAR",
        lambda layer: (layer.inputs, layer.outputs),
        rules.linear,
        kernelrows.LINEAR,
        dtypes=("int8", "int32"),
        ranges=lambda layer: (layer.reads, rules.accumulator_range(layer)),
        bound=rules.linear_bound,
        macs=lambda layer: layer.weights.size,
        weights=_weight_bytes,
        words=_linear_words,
        colour="#e2d6ef",
    ),
    Row(
        "CONVOLUTION",
        lambda fields: (fields.windows.inputs, fields.outputs),
        maps.convolution,
        (convolutions.PARTS,),
        dtypes=("int8", "int32"),
        ranges=lambda fields: (fields.layer.reads, rules.accumulator_range(fields.layer)),
        bound=lambda fields: rules.linear_bound(fields.layer),
        macs=_macs,
        weights=lambda fields: _weight_bytes(fields.layer),
        words=_convolution_words,
        colour="#cfe3f5",
    ),
    Row(
        "FUSED",
        _fused_sizes,
        maps.fused,
        (convolutions.PARTS,),
        ranges=_fused_ranges,
        bound=_fused_bound,
        macs=_of_stages(_macs, sum),
        weights=_of_stages(lambda conv: _weight_bytes(conv.layer), sum),
        words=_fused_words,
        colour="#cfe3f5",
    ),
    Row(
        "STREAMED",
        lambda fields: (_fused_sizes(fields.parts[0])[0], fields.parts[-1].outputs),
        maps.streamed,
        (streams.PARTS,),
        ranges=lambda f: (_fused_ranges(f.parts[0])[0], f.parts[-1].last.writes),
        bound=_of_parts(_fused_bound),
        macs=_of_parts(_of_stages(_macs, sum), sum),
        weights=_of_parts(_of_stages(lambda conv: _weight_bytes(conv.layer), sum), sum),
        words=_streamed_words,
        colour="#cfe3f5",
    ),
    Row(
        "MAX_POOL",
        _pool_sizes,
        maps.max_pool,
        (poolrows.MAX_POOL,),
        ranges=lambda fields: (fields.reads, fields.reads),
        words=_pool_words,
        colour=POOL_COLOUR,
    ),
    Row(
        "SUM_POOL",
        _pool_sizes,
        maps.sum_pool,
        (poolrows.SUM_POOL,),
        dtypes=("int8", "int32"),
        ranges=lambda fields: (fields.reads, fields.sums),
        bound=_sums_bound,
        words=_pool_words,
        colour=POOL_COLOUR,
    ),
    Row(
        "ADD",
        lambda fields: (fields.size, fields.size, fields.size),
        maps.add,
        (poolrows.ADD,),
        dtypes=("int32", "int8", "int32"),
        ranges=lambda fields: (fields.reads, fields.adds, fields.writes),
        bound=lambda fields: fields.writes.largest,
        words=_add_words,
        colour="#f6d5d5",
    ),
    Row(
        "SHIFTNORM_RELU",
        lambda fields: (fields.size, fields.size, 1),
        rules.shiftnorm_relu,
        (kernelrows.SHIFTNORM_RELU,),
        dtypes=("int32", "int8", "uint32"),
        ranges=lambda fields: (fields.reads, fields.writes, None),
        bound=rules.rounding_bound,
        words=_requantiser_words,
        colour="#fbe3b4",
    ),
    Row(
        "FIXED_SHIFT_RELU",
        lambda fields: (fields.size, fields.size),
        rules.fixed_shift_relu,
        (kernelrows.FIXED_SHIFT_RELU,),
        dtypes=("int32", "int8"),
        ranges=lambda fields: (fields.reads, fields.writes),
        bound=rules.rounding_bound,
        words=_requantiser_words,
        colour="#fbe3b4",
    ),
    Row(
        "SLIDE",
        lambda fields: (fields.size, fields.count, fields.size),
        rules.slide,
        (poolrows.SLIDE,),
        ranges=lambda fields: (fields.reads,) * 3,
        words=_slide_words,
    ),
)


def _of_16_bits(kind, **changes):
    """The row of a kind with accumulators as int16 (fusion.py)."""
    row = ROWS[kind]
    dtypes = tuple("int16" if dtype == "int32" else dtype for dtype in row.dtypes)
    return replace(row, kind=f"{kind}_16", dtypes=dtypes, **changes)


def _of_accumulators(kind, kernel):
    """The row of a pool of accumulators, not activations."""
    return replace(ROWS[kind], kind=f"{kind}_32", dtypes=("int32", "int32"), kernels=(kernel,))


ROWS |= operators.table(
    replace(ROWS["STREAMED"], kind="CHANNELLED", kernels=(channels.PARTS,)),
    replace(ROWS["SLIDE"], kind="SLIDE_WITHIN", kernels=(poolrows.ROOM,)),
    _of_16_bits("CONVOLUTION"),
    _of_16_bits("SHIFTNORM_RELU", kernels=(kernelrows.SHIFTNORM_RELU_16,)),
    _of_accumulators("MAX_POOL", poolrows.MAX_POOL_32),
    _of_accumulators("SUM_POOL", poolrows.SUM_POOL_32),
)
