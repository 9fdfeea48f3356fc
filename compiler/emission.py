"""C text that both compilers write: constants, memory, and the calls of kernels in their order.

Nothing here depends on time or place: the same model gives the same bytes.
"""

import re
from dataclasses import dataclass

import numpy as np

from compiler import trace
from compiler.graph import ARENA, STATE, WITHIN, Step

C_TYPES = {f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32)}
PER_LINE = {1: 20, 2: 14, 4: 8}  # values of an array, by their bytes
BYTES_OF_A_FIELD = 4  # on the target: int32_t, or a pointer
EXTERN_C = ('#ifdef __cplusplus\nextern "C" {\n#endif\n', "#ifdef __cplusplus\n}\n#endif\n")


def identifier(name):
    """A model's name as a C identifier."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"model_{name}" if not name or name[0].isdigit() else name


def comment(value):
    """`value` as text that neither ends a C comment nor begins one in it."""
    return str(value).replace("*/", "* /").replace("/*", "/ *")


def c_string(text):
    """`text` as a C string literal; what is not plain ASCII as octal bytes of UTF-8."""
    plain = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"?\\' else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(plain)}"'


def literal(value):
    """An integer as C of the type that it takes."""
    value = int(value)
    if value == -(2**31):
        return "(-2147483647 - 1)"
    return f"{value}u" if value >= 2**31 else str(value)


def _lines(values):
    """The lines of an initialiser of `values`; unsigned words are masks, in hexadecimal."""
    flat, form = values.ravel(), literal
    if flat.dtype == np.uint32:
        form = "0x{:08x}".format
    texts = [form(value) for value in flat.tolist()]
    step = PER_LINE[flat.itemsize]
    return [f"    {', '.join(texts[at : at + step])}," for at in range(0, len(texts), step)]


def array(declaration, values):
    """The C definition of an array of NumPy `values`, of one or two dimensions."""
    sizes = "".join(f"[{size}]" for size in values.shape)
    rows = _lines(values)
    if values.ndim == 2:
        rows = [line for row in values for line in ("    {", *_lines(row), "    },")]
    return "\n".join([f"{declaration}{sizes} = {{", *rows, "};", ""])


class Constants:
    """Constants as C text, each content once. bytes: how much flash they take."""

    def __init__(self):
        self._parts, self.bytes, self._names = [], 0, {}

    @property
    def text(self):
        return "".join(self._parts)

    def add(self, text):
        """More of the text."""
        self._parts.append(text)

    def comment(self, text):
        self.add(f"/* {comment(text)} */\n")

    def array(self, name, values):
        """The name by which C refers to the array `values`."""
        content = (values.dtype.name, values.tobytes())
        if content not in self._names:
            self._names[content] = name
            declaration = f"static const {C_TYPES[values.dtype.name]} {name}"
            self.add(array(declaration, values.ravel()) + "\n")
            self.bytes += values.nbytes
        return self._names[content]

    def structure(self, ctype, name, fields):
        """Defines a constant of a structure type."""
        # What fields name is put into the text by and by, so it goes before this.
        lines = [f"    .{k} = {self._initialiser(f'{name}_{k}', v)}," for k, v in fields.items()]
        self.add("\n".join([f"static const {ctype} {name} = {{", *lines, "};", "", ""]))

    def _initialiser(self, name, value):
        if isinstance(value, dict):
            parts = (f".{k} = {self._initialiser(f'{name}_{k}', v)}" for k, v in value.items())
            return "{" + ", ".join(parts) + "}"
        if isinstance(value, list):
            parts = (self._initialiser(f"{name}_{i}", v) for i, v in enumerate(value))
            return "{" + ", ".join(parts) + "}"
        if isinstance(value, np.ndarray):
            return self.array(name, value)
        self.bytes += BYTES_OF_A_FIELD
        return value if isinstance(value, str) else literal(value)


@dataclass(frozen=True)
class Emitted:
    """The C of a compiled network.

    files: {name: text}; source: which of them holds the network. kernels: the files that it needs;
    assembly: those that can take the place of C on some cores; headers: what all these include.
    run: C of a function `static void run(const int8_t *input, void *output)` that
    executes it. constants: bytes of flash that they take.
    """

    files: dict
    source: str
    kernels: list
    assembly: list
    headers: list
    run: str
    constants: int


@dataclass(frozen=True)
class Place:
    """What a kernel's `emit` knows of a step besides what was packed for it.

    prefix: of the names that it defines. inputs, outputs: the C names of tensors. scratch: a
    pointer to bytes of the arena, 0 if it needs none. parts: numbers of the inputs that lie in the
    output already.
    """

    step: Step
    prefix: str
    inputs: tuple
    outputs: tuple
    scratch: str
    constants: Constants
    parts: frozenset = frozenset()


def body(compiled, prefix):
    """(constants, C): what executes a `Compiled` model, to stand behind `int8_t *arena`.

    Tensors of the arena become pointers into it, state pointers into the static array PREFIX_state;
    what the caller owns has the names of its tensors.
    """
    graph, constants, lines = compiled.graph, Constants(), []
    if graph.state:
        kept = f"static uint32_t {prefix}_state[{compiled.state // 4}];"
        constants.add(f"{kept} /* keeps its content from run to run */\n\n")
        lines.append(f"int8_t *const state = (int8_t *)(void *){prefix}_state;")
    written = [i for step in graph.operators for i in step.outputs]
    named = {*written, *(i for step in graph.operators for i in step.inputs)}
    for i in (*graph.inputs, *dict.fromkeys((*graph.state, *written))):
        tensor = graph.tensors[i]
        places = {ARENA: ("arena", compiled.offset), STATE: ("state", compiled.state_offset)}
        if tensor.storage in places:
            memory, offset_of = places[tensor.storage]
            ctype = C_TYPES[tensor.dtype]
            cast = "" if tensor.dtype == "int8" else f"({ctype} *)(void *)"
            at = f"{memory} + {offset_of(i)}"
            lines.append(f"{ctype} *const {tensor.name} = {f'{cast}({at})' if cast else at};")
            if i not in named:  # an input that nothing reads
                lines.append(f"(void){tensor.name};")
        elif tensor.storage == WITHIN:
            (reader,) = graph.consumers(i)
            whole = graph.tensors[reader.inputs[0]]
            at = f"{whole.name} + {whole.size - tensor.size}"
            lines.append(f"{C_TYPES[tensor.dtype]} *const {tensor.name} = {at};")
    lines.append("")
    before = {  # index of a tensor: the step whose C goes in front of that which writes it
        step.inputs[-1]: number
        for number, (step, choice) in enumerate(zip(graph.operators, compiled.choices))
        if choice.kernel.before
    }
    for number, step in enumerate(graph.operators):
        for early in (before[i] for i in step.outputs if i in before):
            lines += _calls(compiled, early, prefix, constants)
        if not compiled.choices[number].kernel.before:
            lines += _calls(compiled, number, prefix, constants)
        lines += trace.calls(graph, number, step)
    return constants, indented(lines)


def _calls(compiled, number, prefix, constants):
    """The lines of C that execute the step with that number."""
    graph, choice = compiled.graph, compiled.choices[number]
    step, scratch = graph.operators[number], compiled.scratch_offset(number)
    names = [[graph.tensors[i].name for i in ends] for ends in (step.inputs, step.outputs)]
    place = "0" if scratch is None else f"arena + {scratch}"
    shape, more = graph.row(step).details(graph, step)
    constants.comment(f"{' '.join([step.name, *shape, *more])}: {choice.kernel.name}")
    place = Place(step, prefix, *names, place, constants, compiled.parts(step))
    return choice.kernel.emit(choice.packed, place)


def indented(lines):
    """Lines of C as the text of a block."""
    return "\n".join(f"    {line}" if line else "" for line in lines)
