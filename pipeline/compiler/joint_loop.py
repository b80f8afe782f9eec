"""One generated function for several reductions over the same edges: what their messages share is computed once.

    def tile(rows, indptr, indices, payload, unit, <dst>, <edges>, <weights>, out0[, seen0], out1[, seen1], …)

Comes in: the edge programs of reductions that step one array, the lanes of the sent values. Goes out: text. Each
result has the bits of its own loop: a row's edges come in the same order, and sums are cut into the same parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.compiler.edge_program import EdgeProgram, array_key
from pipeline.compiler.expression import Expression
from pipeline.compiler.index import Index
from pipeline.compiler.loops import arguments, state_names, write_step
from pipeline.compiler.partial import sum_edges
from pipeline.compiler.scope import EDGE, ROW, Writer
from pipeline.formula.operations import Shape
from pipeline.formula.reductions.record import SEEN, STEPPED, SUMMED

# Reductions of one loop. LLVM checks that no two of the arrays overlap, and gives up vectors when there are too many
# pairs: 8 sums over 64 lanes take 0.45 of the time of their own loops, 12 take 0.5, 16 take 1.1 to 1.9 times as long.
MOST = 8


def sharing(programs: Sequence[EdgeProgram]) -> list[list[int]]:
    """Positions of the programs by the loop that they go into: those that go over the same lanes of the same arrays.

    Where nothing is shared there is nothing to gain: each alone, as are those whose loop is of another form.
    """
    loops: list[list[int]] = []
    for position, program in enumerate(programs):
        for members in loops:
            if len(members) < MOST and _share(programs[members[0]], program):
                members.append(position)
                break
        else:
            loops.append([position])
    return loops


def write_joint_loop(joint: EdgeProgram, programs: Sequence[EdgeProgram], offsets: Mapping[int, int]) -> str:
    """The text of the function `tile`."""
    arrays, names = arguments(joint, offsets)
    results = [name for number, program in enumerate(programs) for name in state_names(program, number)]
    given = ["rows", "indptr", "indices", "payload", "unit", *names, *results]
    writer = Writer(f"def tile({', '.join(given)}):")
    expression = Expression(writer, joint, arrays)
    flat = all(map(expression.is_flat, joint.roots))
    sums = {f"out{n}": p.value.width for n, p in enumerate(programs) if p.reduction.loop == SUMMED}

    def edges(rows: Mapping[str, str]) -> None:
        def update(index: Index) -> None:
            messages = [expression.write(root, index) for root in joint.roots]
            for number, (program, message) in enumerate(zip(programs, messages, strict=True)):
                row = rows.get(f"out{number}", f"out{number}[i, ")
                write_step(writer, program, {"out": f"{row}{index}]"}, message)

        with writer.block("for e in range(low, high):", EDGE):
            expression.source()
            expression.nest(joint.roots[0].shape, flat, update)

    with writer.block("for j in range(len(rows)):", ROW):
        writer.line("i = np.uint64(rows[j])")
        for name in results:
            if name.startswith(SEEN.name):
                writer.line(f"{name}[i] = True")
        writer.line("low = indptr[j]")
        writer.line("high = indptr[j + 1]")
        if sums:
            sum_edges(writer, sums, edges)
        else:
            edges({})
    return writer.text()


def _share(one: EdgeProgram, other: EdgeProgram) -> bool:
    return _joins(one) and _joins(other) and _lanes(one) == _lanes(other) and bool(_read(one) & _read(other))


def _joins(program: EdgeProgram) -> bool:
    """Whether each edge changes a number per lane, by what is known in the loop alone."""
    message = program.roots[0]
    per_edge = program.levels.get(message.id) == EDGE
    stepped = program.reduction.loop in (STEPPED, SUMMED)
    return stepped and per_edge and bool(message.width) and not program.dense


def _lanes(program: EdgeProgram) -> Shape:
    return tuple(size for size in program.roots[0].shape if size != 1)


def _read(program: EdgeProgram) -> set[object]:
    """The arrays that each edge reads a row of."""
    return {array_key(value) for op in ("src", "input") for value in program.leaves(op)}
