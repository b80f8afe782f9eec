"""What one reduction over edges computes: its leaves, what BLAS computes before the loop, what is kept in scratch.

Comes in: a reduction, a value of a formula. Goes out: the values below it, sorted by the role they have in the loop.
Knows nothing of text or arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.compiler.scope import EDGE, FUNCTION, ROW
from pipeline.errors import FormulaError
from pipeline.formula.operations import COSTLY, ELEMENTWISE, LANE_REDUCTIONS, OPERATIONS, Shape
from pipeline.formula.reductions import REDUCTIONS, Reduction
from pipeline.formula.values import Value

# a row operation that only says where a lane comes from, or sums a few lanes, becomes part of the loop ...
INLINE = LANE_REDUCTIONS | {"reshape", "broadcast_to", "transpose", "slice", "concat"}
# ... the others are computed by NumPy, for a chunk of edges at a time
DENSE = frozenset(name for name, operation in OPERATIONS.items() if operation.kind == "row") - INLINE
# A longer chain of operations is not written into one loop: the rest of it is computed by NumPy too. Writing goes down
# the chain by recursion, seven calls for each operation, of which Python allows 1,000.
LONGEST_CHAIN = 64
LEAVES = frozenset(["src", "dst", "input", "fill"])


@dataclass
class EdgeProgram:
    """The values below one reduction."""

    value: Value
    roots: list[Value]
    """The edge values that are reduced: messages; or logits and messages."""
    own: list[Value]
    """Further inputs, one row per node: own logit and own message, own message, or the default of `last`."""
    dense: list[Value] = field(default_factory=list)
    """Edge values that enter the loop as arrays."""
    arrays: set[int] = field(default_factory=set)
    """Their ids."""
    inner: list[Value] = field(default_factory=list)
    """Values computed in the loop and its leaves, inputs first."""
    below: list[Value] = field(default_factory=list)
    """Values that the dense ones need, inputs first; the dense ones included."""
    kept: set[int] = field(default_factory=set)
    """Ids of values that are computed once into a scratch array."""
    levels: dict[int, str] = field(default_factory=dict)
    """Value.id → the outermost loop that its numbers are known in."""

    @property
    def reduction(self) -> Reduction:
        """The record of the operation."""
        return REDUCTIONS[self.value.op]

    def leaves(self, op: str) -> list[Value]:
        """The leaves of one kind that the loop itself reads, each array once."""
        return _distinct(value for value in self.inner if value.op == op)

    def moved(self, op: str) -> list[Value]:
        """The node values under src or dst, in the loop or before it, each once."""
        values = (value.inputs[0] for value in [*self.inner, *self.below] if value.op == op)
        return list({value.id: value for value in values}.values())

    @property
    def weights(self) -> list[Value]:
        """The weights that the loop reads, constants excluded."""
        return [value for value in self.inner if value.is_weight and value.op != "constant"]


def edge_program(value: Value) -> EdgeProgram:
    """Sorts the values below a reduction; a FormulaError names an operation that cannot stand there."""
    if value.op not in REDUCTIONS:
        raise FormulaError(f"{value.op} is no reduction over edges; known: {', '.join(sorted(REDUCTIONS))}")
    record = REDUCTIONS[value.op]
    program = EdgeProgram(value, list(value.inputs[: record.messages]), list(value.inputs[record.messages :]))
    if record.keeps_messages:
        program.dense, program.below = program.roots, _collect(program.roots, stop=frozenset())
        return program
    _sort(program)
    return program


def joint_program(programs: Sequence[EdgeProgram]) -> EdgeProgram:
    """What one loop for several reductions reads and computes: the roots are their messages, in turn."""
    joint = EdgeProgram(programs[0].value, [root for program in programs for root in program.roots], [])
    _sort(joint)
    return joint


def _sort(program: EdgeProgram) -> None:
    cut = _too_deep(_collect(program.roots, stop=DENSE))
    program.inner = _collect(program.roots, stop=DENSE, cut=cut)
    program.dense = [inner for inner in program.inner if _is_dense(inner, cut)]
    program.arrays = {inner.id for inner in program.dense}
    program.below = _collect(program.dense, stop=frozenset())
    for inner in program.inner:
        program.levels[inner.id] = _level(inner, program)
    program.kept = _kept(program)


def _is_dense(value: Value, cut: Collection[int]) -> bool:
    return (value.op in DENSE or value.id in cut) and not value.is_weight


def _too_deep(values: Iterable[Value]) -> set[int]:
    """Ids of the values, inputs first, that end a chain of LONGEST_CHAIN operations."""
    cut: set[int] = set()
    depth: dict[int, int] = {}
    for value in values:
        if value.is_weight or value.op in LEAVES or value.op in DENSE:
            depth[value.id] = 0
            continue
        depth[value.id] = 1 + max(depth[operand.id] for operand in value.inputs)
        if depth[value.id] >= LONGEST_CHAIN and value.op not in ("reshape", "restrict"):  # these have no text
            cut.add(value.id)
            depth[value.id] = 0
    return cut


def _collect(roots: Iterable[Value], stop: frozenset[str], cut: Collection[int] = ()) -> list[Value]:
    """The values that the roots need down to the leaves, inputs first. Iterative: edge programs can be deep."""
    order: list[Value] = []
    done: set[int] = set()
    stack = [(value, False) for value in reversed(list(roots))]
    while stack:
        value, expanded = stack.pop()
        if value.id in done:
            continue
        if expanded or value.is_weight or value.op in LEAVES or value.op in stop or value.id in cut:
            done.add(value.id)
            order.append(value)
            continue
        kind = OPERATIONS[value.op].kind
        if kind not in ("elementwise", "row") and value.op != "restrict":
            raise FormulaError(
                f"{value.op} cannot be computed inside a reduction over edges; what can: src, dst, edge columns, "
                "elementwise operations and operations inside a row"
            )
        stack.append((value, True))
        stack.extend((operand, False) for operand in reversed(value.inputs))
    return order


def _level(value: Value, program: EdgeProgram) -> str:
    if value.is_weight or value.op == "fill":
        return FUNCTION
    if value.op == "dst":
        return ROW
    if value.op in LEAVES or value.id in program.arrays:
        return EDGE
    below = {program.levels[operand.id] for operand in value.inputs}
    return next((level for level in (EDGE, ROW) if level in below), FUNCTION)


def _kept(program: EdgeProgram) -> set[int]:
    """Values that are costly and would be computed several times, by loops that do not share their names."""
    users: dict[int, list[Value]] = {value.id: [] for value in program.inner}
    for value in program.inner:
        if value.id in program.levels and not _is_leaf(value, program):
            for operand in value.inputs:
                users[operand.id].append(value)
    kept: set[int] = set()
    costly: set[int] = set()
    for value in program.inner:
        if _is_leaf(value, program):
            continue
        is_costly = OPERATIONS[value.op].cost == COSTLY or value.op in LANE_REDUCTIONS
        if not (is_costly or any(operand.id in costly for operand in value.inputs)):
            continue
        inside = [user for user in users[value.id] if user.op in LANE_REDUCTIONS]
        again = inside and len(users[value.id]) > 1
        repeated = any(_repeats(value.shape, user.shape) for user in users[value.id] if user.op in ELEMENTWISE)
        by_row = program.levels[value.id] == ROW  # per row instead of per edge
        if value.width > 1 and (again or repeated or by_row):
            kept.add(value.id)
        else:
            costly.add(value.id)
    return kept


def _is_leaf(value: Value, program: EdgeProgram) -> bool:
    return value.is_weight or value.op in LEAVES or value.id in program.arrays


def _repeats(shape: Shape, to: Shape) -> bool:
    """Whether broadcasting walks the same lanes again and again: (c,) to (h, c), but not (h, 1) to (h, c)."""
    aligned = (1,) * (len(to) - len(shape)) + tuple(shape)
    varies = False
    for size, wanted in zip(reversed(aligned), reversed(to), strict=True):
        varies = varies or size > 1
        if varies and size == 1 and wanted > 1:
            return True
    return False


def _distinct(values: Iterable[Value]) -> list[Value]:
    """One value per array: two `src` of the same value read the same lanes, two inputs of one name the same column."""
    found: dict[object, Value] = {}
    for value in values:
        found.setdefault(array_key(value), value)
    return list(found.values())


def array_key(value: Value) -> object:
    """What identifies the array that a leaf reads."""
    if value.op in ("src", "dst"):
        return value.op, value.inputs[0].id
    if value.op == "input":
        return value.op, value.attributes["name"]
    return value.op, value.id
