"""A value as statements: each lane of it becomes a scalar with a name, in the loop where it can first be known.

Comes in: a value and the position of a lane. Goes out: the name that holds it, after the lines that compute it were
written. Elementwise chains need no array this way; what is used again under the same position has its name already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.compiler.edge_program import EdgeProgram, array_key
from pipeline.compiler.index import ZERO_INDEX, Index, broadcast_index, join, split
from pipeline.compiler.lane_reduction import folded_sum, folds, reduce_lanes
from pipeline.compiler.scope import Writer
from pipeline.formula.operations import ELEMENTWISE, LANE_REDUCTIONS, OPERATIONS, Shape
from pipeline.formula.values import Value

HEADS = 8  # as many outer positions are written out inside one loop over the last axis


class Expression:
    """Writes the values of one edge program.

    `arrays`: key of a leaf → text of its array up to the lane, `payload[s, `, and the lane that its row starts at.
    """

    def __init__(self, writer: Writer, program: EdgeProgram, arrays: Mapping[object, tuple[str, int]]):
        self.writer = writer
        self.program = program
        self.arrays = arrays
        self._flat: dict[int, bool] = {}

    def write(self, value: Value, index: Index) -> str:
        """The name of a lane of a value."""
        if value.op in ("constant", "fill"):
            return self.writer.constant(value.attributes["value"])
        if value.op in ("restrict", "reshape") and not value.is_weight:
            return self.write(value.inputs[0], index)  # a tile belongs to one part; a reshape moves no lane
        return self.named((value.id, index), self.program.levels[value.id], index, lambda: self._text(value, index))

    def named(self, key: object, level: str, index: Index, text: Callable[[], str]) -> str:
        """The name of `text()`, which is written once per loop, in the outermost one that knows what it needs."""
        depth = self.writer.depth([level, *index.variables])
        with self.writer.at(depth) as scope:
            if (key, index) not in scope.names:
                expression = text()
                scope.names[key, index] = self.writer.fresh("t")
                self.writer.line(f"{scope.names[key, index]} = {expression}")
            return scope.names[key, index]

    def source(self) -> None:
        """At the start of an edge: the row of the payload."""
        if self.program.leaves("src"):
            self.writer.line("s = np.uint64(indices[e])")

    def nest(self, shape: Shape, flat: bool, body: Callable[[Index], None]) -> None:
        """Loops over the lanes of a row, the last axis innermost; `flat` if one loop over all lanes will do.

        Up to 8 outer positions are written out inside the loop over the last axis. For 4 heads of 16 lanes this is 1.7
        times as fast as a loop over heads around it: one check per edge that the arrays do not overlap, not four.
        """
        sizes = [size for size in shape if size != 1]
        if flat and sizes:
            sizes = [_product(sizes)]
        if not sizes:
            body(ZERO_INDEX)
            return
        lanes = sizes[-1]
        heads = _product(sizes[:-1])
        if heads <= HEADS:
            variable = self.writer.fresh("c")
            with self.writer.block(loop(variable, lanes, heads), variable):
                for head in range(heads):
                    body(Index.loop(variable, lanes) + head * lanes)
        else:
            self._nest(sizes, ZERO_INDEX, body)

    def _nest(self, sizes: list[int], index: Index, body: Callable[[Index], None]) -> None:
        if not sizes:
            body(index)
            return
        variable = self.writer.fresh("c")
        with self.writer.block(loop(variable, sizes[0], 1), variable):
            self._nest(sizes[1:], index + Index.loop(variable, sizes[0]) * _product(sizes[1:]), body)

    def is_flat(self, value: Value) -> bool:
        """Whether every lane needs only the lane at its own position, or a single number."""
        if value.id not in self._flat:
            self._flat[value.id] = self._is_flat(value)
        return self._flat[value.id]

    def _is_flat(self, value: Value) -> bool:
        if value.width == 1 or value.is_weight or value.op in ("src", "dst", "input", "fill"):
            return True
        if value.id in self.program.arrays or value.id in self.program.kept:
            return True
        if value.op in ELEMENTWISE or value.op in ("reshape", "restrict", "broadcast_to"):
            return all(operand.width in (1, value.width) and self.is_flat(operand) for operand in value.inputs)
        return False

    # ---- one operation

    def _text(self, value: Value, index: Index) -> str:
        if array_key(value) in self.arrays:
            array, offset = self.arrays[array_key(value)]
            return f"{array}{index + offset}]"
        text = None if value.id in self.program.kept else self._compute(value, index)
        return text or f"{self._scratch(value)}[{index}]"

    def _compute(self, value: Value, index: Index) -> str | None:
        """The expression of one operation; None if the position cannot be told apart into axes."""
        if value.op in ELEMENTWISE:
            return self._elementwise(value, index)
        if value.op == "broadcast_to":
            source = broadcast_index(index, value.shape, value.inputs[0].shape)
            return None if source is None else self.write(value.inputs[0], source)
        axes = split(index, value.shape)
        if axes is None:
            return None
        if value.op in LANE_REDUCTIONS:
            return folded_sum(self, value, index) if folds(value) else reduce_lanes(self, value, axes)
        operand, attributes = value.inputs[0], value.attributes
        if value.op == "slice":
            axis = attributes["axis"]
            axes[axis] = axes[axis] * attributes["step"] + attributes["start"]
            return self.write(operand, join(axes, operand.shape))
        if value.op == "transpose":
            moved = dict(zip(attributes["axes"], axes, strict=True))
            return self.write(operand, join([moved[axis] for axis in range(len(axes))], operand.shape))
        assert value.op == "concat", value.op
        return self._part(value, axes)

    def _elementwise(self, value: Value, index: Index) -> str | None:
        sources = [broadcast_index(index, value.shape, operand.shape) for operand in value.inputs]
        names = []
        for operand, source in zip(value.inputs, sources, strict=True):
            if source is None:
                return None
            names.append(self.write(operand, source))
        numbers = {
            key: self.writer.constant(number)
            for key, number in value.attributes.items()
            if isinstance(number, (int, float))
        }
        return template(value).format(*names, **numbers)

    def _part(self, value: Value, axes: list[Index]) -> str | None:
        """A lane of joined rows, if its place along their axis is known when the code is written."""
        axis = value.attributes["axis"]
        if axes[axis].terms:
            return None
        place = axes[axis].constant
        for operand in value.inputs:
            if place < operand.shape[axis]:
                axes[axis] = Index(place)
                return self.write(operand, join(axes, operand.shape))
            place -= operand.shape[axis]
        raise AssertionError("a lane beyond the joined rows")

    # ---- what is kept in an array

    def _scratch(self, value: Value) -> str:
        """The array that holds all lanes of a value, filled once per edge (or row)."""
        with self.writer.at(self.writer.depth([self.program.levels[value.id]])) as scope:
            key = ("scratch", value.id)
            if key not in scope.names:
                name = scope.names[key] = self.writer.array("m", value.width)
                if value.op == "concat":
                    self._join(value, name)
                else:
                    flat = value.op in ELEMENTWISE and all(map(self.is_flat, value.inputs))
                    flat = flat and all(operand.width in (1, value.width) for operand in value.inputs)
                    self.nest(value.shape, flat, lambda index: self._store(name, value, index))
            return scope.names[key]

    def _store(self, name: str, value: Value, index: Index) -> None:
        text = self._compute(value, index)
        assert text is not None, value
        self.writer.line(f"{name}[{index}] = {text}")

    def _join(self, value: Value, name: str) -> None:
        axis = value.attributes["axis"]
        start = 0
        for operand in value.inputs:

            def copy(index: Index, operand: Value = operand, start: int = start) -> None:
                axes = split(index, operand.shape)
                assert axes is not None
                axes[axis] = axes[axis] + start
                self.writer.line(f"{name}[{join(axes, value.shape)}] = {self.write(operand, index)}")

            self.nest(operand.shape, False, copy)
            start += operand.shape[axis]


def template(value: Value) -> str:
    """The expression of an elementwise value, see Operation.code."""
    code = OPERATIONS[value.op].code
    assert code is not None, value.op
    return code if isinstance(code, str) else code(**value.attributes)


def loop(variable: str, lanes: int, heads: int) -> str:
    """The header of a loop over lanes.

    LLVM unrolls loops of up to some 40 known steps into scalars, before it looks for vectors. `unit`, an argument that
    is always 1, hides the number of steps and leaves visible that it is a multiple of 8. A sum over edges of 32 lanes
    takes 0.49 of the time of the plain loop, of 16 lanes 0.8, of 64 lanes 1.04; short loops are faster known.
    """
    hidden = 12 <= lanes < 64 or (lanes == 8 and heads > 1)
    return f"for {variable} in range({f'unit * {lanes}' if hidden else lanes}):"


def _product(sizes: list[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
