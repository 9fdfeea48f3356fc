"""Whether bytes are a flatbuffer of TensorFlow Lite's schema, so that all of it can be read.

`verify` looks at what flatbuffers' own verifier in C++ looks at, with which TensorFlow Lite begins:
every offset, length and alignment, also of what the compiler reads nowhere.
"""

import struct

# A table is a tuple of its fields, in the order of the schema. A field is the bytes of a number, a
# TEXT, a table, [what there is many of], or a dict {type: table}, the union whose type is the field
# in front of it. None is a field that is no more.
TEXT = "text"
DEPTH, TABLES = 64, 1_000_000  # the verifier's own limits

BLOCKWISE = (4, 4, 4, [4])
QUANTISATION = ([4], [4], [4], [8], 1, {1: ([1],), 2: BLOCKWISE}, 4)
INTEGERS = {1: ([4],), 2: ([2],), 3: ([1],)}
SPARSITY = ([4], [4], [(1, 4, 1, INTEGERS, 1, INTEGERS)])
TENSOR = ([4], 1, 4, TEXT, QUANTISATION, 1, SPARSITY, [4], 1, [([4], 1, 1)], 4)
OPTIONS = {  # by the name of the union's type; of others, only that they are tables
    "AddOptions": (1, 1),
    "ArgMaxOptions": (1,),
    "ConcatenationOptions": (4, 1),
    "Conv2DOptions": (1, 4, 4, 1, 4, 4, 1),
    "DepthwiseConv2DOptions": (1, 4, 4, 4, 1, 4, 4),
    "FullyConnectedOptions": (1, 1, 1, 1, 1),
    "GatherOptions": (4, 4),
    "LeakyReluOptions": (4,),
    "MulOptions": (1,),
    "PackOptions": (4, 4),
    "Pool2DOptions": (1, 4, 4, 4, 4, 1),
    "ReducerOptions": (1,),
    "ReshapeOptions": ([4],),
    "ResizeBilinearOptions": (None, None, 1, 1),
    "ResizeNearestNeighborOptions": (1, 1),
    "ShapeOptions": (1,),
    "SoftmaxOptions": (4,),
    "SplitOptions": (4,),
    "SplitVOptions": (4,),
    "SqueezeOptions": ([4],),
    "StridedSliceOptions": (4, 4, 4, 4, 4, 1),
    "SubOptions": (1, 1),
    "SVDFOptions": (4, 1, 1),
    "TransposeConvOptions": (1, 4, 4, 1, 1),
    "UnidirectionalSequenceLSTMOptions": (1, 4, 4, 1, 1, 1),
    "UnpackOptions": (4, 4),
    "CallOnceOptions": (4,),
    "VarHandleOptions": (TEXT, TEXT),
}
TENSOR_MAP = (TEXT, 4)


def model(options):
    """The fields of the schema's root. options: {number in the file: name} of builtin options."""
    tables = {number: OPTIONS.get(name, ()) for number, name in options.items() if number}
    operator = (4, [4], [4], 1, tables, [1], 1, [1], [4], 8, 8, 1, {}, 4)
    return (
        4,
        [(1, TEXT, 4, 4)],
        [([TENSOR], [4], [4], [operator], TEXT, 4)],
        TEXT,
        [([1], 8, 8)],
        [4],
        [(TEXT, 4)],
        [([TENSOR_MAP], [TENSOR_MAP], TEXT, None, 4)],
        [(TEXT,)],
        [(4, 4, 8, 8, TEXT)],
    )


def verify(content, root):
    """Raises ValueError if `content` is no flatbuffer whose root has the fields `root`."""
    verifier = _Verifier(content)
    verifier.table(verifier.offset(0), root, 0)


class _Verifier:
    def __init__(self, content):
        self.content, self.tables = content, 0

    def number(self, at, size, code):
        """The number at an offset, as `struct` unpacks it."""
        self.inside(at, size)
        self.aligned(at, size)
        return struct.unpack_from(code, self.content, at)[0]

    def inside(self, at, size):
        if at < 0 or at + size > len(self.content):
            raise ValueError(f"{size} bytes at {at} of {len(self.content)}")

    def aligned(self, at, size):
        if at % size:
            raise ValueError(f"a number of {size} bytes at byte {at}")

    def offset(self, at):
        """Where the offset at `at` leads to."""
        distance = self.number(at, 4, "<i")
        if distance <= 0:
            raise ValueError(f"the offset at byte {at} is {distance}")
        self.inside(at + distance, 1)
        return at + distance

    def table(self, at, fields, depth):
        self.tables += 1
        if depth >= DEPTH or self.tables > TABLES:
            raise ValueError("tables without end")
        vtable = at - self.number(at, 4, "<i")
        size = self.number(vtable, 2, "<H")
        self.inside(vtable, size)
        if size % 2:
            raise ValueError(f"the table at byte {at} has a list of {size} bytes")
        places = [0] * len(fields)
        for i in range(min(len(fields), size // 2 - 2)):
            place = self.number(vtable + 4 + 2 * i, 2, "<H")
            places[i] = at + place if place else 0
        for i, (place, field) in enumerate(zip(places, fields)):
            if isinstance(field, dict) and place:
                kind = self.content[places[i - 1]] if places[i - 1] else 0
                field = field.get(kind, ())
            if place and field is not None:
                self.field(place, field, depth)

    def field(self, at, field, depth):
        if isinstance(field, int):
            self.inside(at, field)
            self.aligned(at, field)
        elif isinstance(field, tuple):
            self.table(self.offset(at), field, depth + 1)
        elif field == TEXT:
            _, end = self.many(at, 1)
            self.inside(end, 1)
            if self.content[end]:
                raise ValueError(f"the text that ends at byte {end} has no end")
        elif isinstance(field[0], int):
            self.many(at, field[0])
        else:
            for place in range(*self.many(at, 4), 4):
                self.field(place, field[0], depth)

    def many(self, at, size):
        """(start, end) of what the offset at `at` leads to, each of `size` bytes."""
        start = self.offset(at)
        length = self.number(start, 4, "<I")
        self.inside(start + 4, length * size)
        return start + 4, start + 4 + length * size
