"""The generated function of one reduction: rows → edges → lanes.

    def tile(rows, offsets, columns, payload, unit, <dst>, <edges>, <weights>, out[, top, total][, seen])

Comes in: an edge program and the lanes of each sent value in the payload. Goes out: text. All arrays are
(rows, width) float32 but the weights, (width,); `out` and what follows it is accumulated into, the rest only read.
Row numbers become uint64, since Numba would look at the sign of each.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.compiler.edge_program import EdgeProgram, array_key
from pipeline.compiler.expression import Expression
from pipeline.compiler.index import Index
from pipeline.compiler.partial import sum_edges
from pipeline.compiler.scope import EDGE, ROW, Writer
from pipeline.compiler.softmax import write_softmax_sum
from pipeline.formula.values import Value

RESULTS = {"softmax_sum": ["out", "top", "total"], "max": ["out", "seen"], "min": ["out", "seen"]}
STEP = {"max": "maximum({0}, {1})", "min": "minimum({0}, {1})", "prod": "{0} * {1}"}


def write_loop(program: EdgeProgram, offsets: Mapping[int, int]) -> str:
    """The text of the function `tile`."""
    arrays, names = arguments(program, offsets)
    results = RESULTS.get(program.value.op, ["out"])
    given = ["rows", "offsets", "columns", "payload", "unit", *names, *results]
    writer = Writer(f"def tile({', '.join(given)}):")
    expression = Expression(writer, program, arrays)
    if program.value.op == "softmax_sum":
        write_softmax_sum(expression)
    elif program.value.op == "sum":
        _sum(expression)
    else:
        _edge_by_edge(expression)
    return writer.text()


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


def _sum(expression: Expression) -> None:
    writer, program = expression.writer, expression.program
    message = program.roots[0]

    def edges(rows: Mapping[str, str]) -> None:
        def add(index: Index) -> None:
            name = expression.write(message, index)
            writer.line(f"{rows['out']}{index}] += {name}")

        with writer.block("for e in range(low, high):", EDGE):
            expression.source()
            expression.nest(message.shape, expression.is_flat(message), add)

    def times(index: Index) -> None:
        writer.line(f"out[i, {index}] += float32(high - low) * {expression.write(message, index)}")

    with writer.block("for j in range(len(rows)):", ROW):
        writer.line("i = np.uint64(rows[j])")
        writer.line("low = offsets[j]")
        writer.line("high = offsets[j + 1]")
        if program.levels[message.id] != EDGE:  # a degree, say: the same for all edges of a row
            expression.nest(message.shape, expression.is_flat(message), times)
            return
        sum_edges(writer, {"out": message.width}, edges)


def _edge_by_edge(expression: Expression) -> None:
    """max, min, prod, last: each edge changes, or takes the place of, what its row has."""
    writer, program = expression.writer, expression.program
    message = program.roots[0]

    def update(index: Index) -> None:
        name = expression.write(message, index)
        if program.value.op == "last":
            writer.line(f"out[i, {index}] = {name}")
            return
        write_step(writer, program.value.op, f"out[i, {index}]", name)

    with writer.block("for j in range(len(rows)):", ROW):
        writer.line("i = np.uint64(rows[j])")
        if "seen" in RESULTS.get(program.value.op, []):
            writer.line("seen[i] = True")
        first = "offsets[j + 1] - 1" if program.value.op == "last" else "offsets[j]"
        with writer.block(f"for e in range({first}, offsets[j + 1]):", EDGE):
            expression.source()
            expression.nest(message.shape, expression.is_flat(message), update)


def write_step(writer: Writer, op: str, target: str, message: str) -> None:
    """max, min, prod: what a row has becomes that and a message."""
    before = writer.fresh("t")
    writer.line(f"{before} = {target}")
    writer.line(f"{target} = {STEP[op].format(before, message)}")
