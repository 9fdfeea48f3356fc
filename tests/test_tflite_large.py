"""Models of hundreds of operators: every stage must take them in seconds, and they stay exact.

Where time grows with the square of the operators, these tests take minutes.
"""

import functools

import pytest

for package in ("ai_edge_litert", "tflite"):
    pytest.importorskip(package)

from tflite_builder import Builder, inputs  # noqa: E402

from compiler import hostrun, operators  # noqa: E402
from compiler.trace import Layout  # noqa: E402
from tinyengine import emission, pipeline  # noqa: E402


class Level(Builder):
    """A builder whose convolutions keep the scale of their input, so that chains can be long."""

    def _weighted(self, x, *others):
        constants, scale = super()._weighted(x, *others)
        for i in constants[1:]:
            quantisation = self.tensors[i].quantization
            quantisation.scale = [s * float(x.scale) / scale for s in quantisation.scale]
        return constants, x.scale


def mixed(count=1000):
    """`count` operators of seven kinds, one behind the other."""
    b = Level(1)
    source = x = b.value((1, 4, 6, 8))
    for i in range(count):
        x = _step(b, i, x)
    return b.model(source, x)


def _step(b, i, x):
    """Operator i of `mixed`; each second RESHAPE undoes the one before."""
    _, height, width, channels = x.shape
    steps = (
        lambda: b.convolution(x, channels, (3, 3), activation="RELU"),
        lambda: b.convolution(x, channels, (3, 3), depthwise=True),
        lambda: b.quantize(x, x.scale / 2),
        lambda: b.reshape(x, (1, width, height, channels)),
        lambda: b.average_pool(x, (2, 2), (1, 1), "SAME"),
        lambda: b.convolution(x, channels),
        lambda: b.add(x, x, x.scale * 2),
    )
    return steps[i % len(steps)]()


def chain(count=1000):
    """`count` convolutions, one behind the other."""
    b = Level(2)
    source = x = b.value((1, 4, 4, 8))
    for _ in range(count):
        x = b.convolution(x, 8, (3, 3), zero_point=0)
    return b.model(source, x)


def branches(count=256):
    """`count` convolutions of the input, all of them alive before a tree of ADDs reads them."""
    b = Level(3)
    source = b.value((1, 4, 4, 8))
    values = [b.convolution(source, 8, zero_point=0) for _ in range(count)]
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2])
        values = [b.add(x, y, x.scale * 1.2, zero_point=0) for x, y in pairs]
    return b.model(source, *values)


STEPS = {mixed: 857, chain: 1000, branches: 511}  # of the 1,000 of `mixed`, 143 are RESHAPE
content_of = functools.cache(lambda build: build())


@pytest.mark.parametrize("optimise", ["none", "speed"])
@pytest.mark.parametrize("build", STEPS, ids=lambda build: build.__name__)
def test_a_large_model_is_exact_on_every_value(build, optimise, tmp_path, rng):
    content = content_of(build)
    compiled = pipeline.compile_model(content, "large", optimise=optimise)
    assert len(compiled.graph.operators) == STEPS[build]
    assert compiled.plan.minimal
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path, ["cc", "-O1"])
    given = inputs(content, rng)[-1:]
    found, wanted = harness.run(given).values, operators.execute(compiled.graph, given)
    assert not Layout.of(compiled.graph).differences(found, wanted)
    assert len({value.tobytes() for value in found.values()}) > STEPS[build] // 2
