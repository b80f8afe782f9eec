"""The generated function of one reduction: rows → edges → lanes. Here an edge weight is multiplied by a sender's row.

    def tile(rows, indptr, indices, payload, unit, <dst>, <edges>, <weights>, <states>)

Comes in: an edge program and the lanes of each sent value in the payload. Goes out: text. All arrays are
(rows, width) float32 but the weights, (width,), and marks, (rows,) bool; the states of the reduction, `out` and so on,
are accumulated into, the rest is only read.
Row numbers become uint64, since Numba would look at the sign of each.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from pipeline.compiler.edge_program import EdgeProgram, array_key
from pipeline.compiler.expression import Expression
from pipeline.compiler.index import Index
from pipeline.compiler.partial import sum_edges
from pipeline.compiler.scope import EDGE, ROW, Writer
from pipeline.compiler.softmax import write_exponentials
from pipeline.formula.reductions.record import EXPONENTIALS, SEEN, STEPPED, SUMMED
from pipeline.formula.values import Value, topological


def write_loop(program: EdgeProgram, offsets: Mapping[int, int]) -> str:
    """The text of the function `tile`."""
    arrays, names = arguments(program, offsets)
    given = ["rows", "indptr", "indices", "payload", "unit", *names, *state_names(program)]
    writer = Writer(f"def tile({', '.join(given)}):")
    assert program.reduction.loop is not None, program.value.op
    WRITERS[program.reduction.loop](Expression(writer, program, arrays))
    return writer.text()


Texts = dict[Hashable, str]
"""What is known of loops → their text: of many relations, which differ in names only, it is written once."""


def write_once(program: EdgeProgram, offsets: Mapping[int, int], texts: Texts) -> str:
    """The same, taken from `texts` if a loop alike is there."""
    key = likeness(program, offsets)
    if key not in texts:
        texts[key] = write_loop(program, offsets)
    return texts[key]


def likeness(program: EdgeProgram, offsets: Mapping[int, int]) -> Hashable:
    """All that the text depends on. Values are told by their place, whatever weights, relations and types are called;
    of a column the name stays, because two leaves of one name are one array."""
    numbers: dict[int, int] = {}

    def number(value: Value) -> int:
        return numbers.setdefault(value.id, len(numbers))

    found: list[Hashable] = []
    for value in topological(program.roots, stop=("src", "dst")):
        inputs = tuple([number(entry) for entry in value.inputs])
        lane = offsets[value.inputs[0].id] if value.op == "src" else None
        named = () if value.op == "weight" else _attributes(value)
        found.append((number(value), value.op, value.shape, value.is_weight, named, inputs, lane))
    roots = tuple([number(root) for root in program.roots])
    return program.value.op, program.value.shape, _attributes(program.value), roots, tuple(found)


def _attributes(value: Value) -> Hashable:
    return tuple([(key, repr(item)) for key, item in sorted(value.attributes.items()) if key != "edges"])


def state_names(program: EdgeProgram, suffix: object = "") -> list[str]:
    """The arrays that are accumulated into, in the order of the arguments."""
    return [f"{state.name}{suffix}" for state in program.reduction.state]


def arguments(program: EdgeProgram, offsets: Mapping[int, int]) -> tuple[dict[object, tuple[str, int]], list[str]]:
    """Where each leaf is read: text up to the lane, first lane; and the names of the arguments."""
    arrays: dict[object, tuple[str, int]] = {}
    names: list[str] = []
    for value in program.leaves("src"):
        arrays[array_key(value)] = ("payload[s, ", offsets[value.inputs[0].id])
    for kind, row, values in _arrays(program):
        for number, value in enumerate(values):
            names.append(f"{kind}{number}")
            arrays[array_key(value)] = (f"{names[-1]}[{row}", 0)
    return arrays, names


def _arrays(program: EdgeProgram) -> list[tuple[str, str, list[Value]]]:
    """The arrays of the loop, in the order of its arguments: prefix of their names, text of the row, values."""
    return [
        ("n", "i, ", program.leaves("dst")),
        ("a", "e, ", program.leaves("input")),
        ("b", "e, ", program.dense),
        ("w", "", program.weights),
    ]


def _summed(expression: Expression) -> None:
    """Each edge adds to what its row has; long rows in parts."""
    writer, program = expression.writer, expression.program
    message = program.roots[0]

    def edges(rows: Mapping[str, str]) -> None:
        def add(index: Index) -> None:
            write_step(writer, program, {"out": f"{rows['out']}{index}]"}, expression.write(message, index))

        with writer.block("for e in range(low, high):", EDGE):
            expression.source()
            expression.nest(message.shape, expression.is_flat(message), add)

    def times(index: Index) -> None:
        all_edges = f"float32(high - low) * {expression.write(message, index)}"
        write_step(writer, program, {"out": f"out[i, {index}]"}, all_edges)

    with writer.block("for j in range(len(rows)):", ROW):
        writer.line("i = np.uint64(rows[j])")
        writer.line("low = indptr[j]")
        writer.line("high = indptr[j + 1]")
        if program.levels[message.id] != EDGE:  # a degree, say: the same for all edges of a row
            expression.nest(message.shape, expression.is_flat(message), times)
            return
        sum_edges(writer, {"out": message.width}, edges)


def _stepped(expression: Expression) -> None:
    """Each edge changes what its row has."""
    writer, program = expression.writer, expression.program
    message = program.roots[0]

    def update(index: Index) -> None:
        write_step(writer, program, {"out": f"out[i, {index}]"}, expression.write(message, index))

    with writer.block("for j in range(len(rows)):", ROW):
        writer.line("i = np.uint64(rows[j])")
        if SEEN in program.reduction.state:
            writer.line(f"{SEEN.name}[i] = True")
        with writer.block("for e in range(indptr[j], indptr[j + 1]):", EDGE):
            expression.source()
            expression.nest(message.shape, expression.is_flat(message), update)


def write_step(writer: Writer, program: EdgeProgram, states: Mapping[str, str], message: str) -> None:
    """One edge, one lane. `states`: name of each state → the text of its lane."""
    writer.line(program.reduction.step.format(message=message, **states))


WRITERS = {SUMMED: _summed, STEPPED: _stepped, EXPONENTIALS: write_exponentials}
