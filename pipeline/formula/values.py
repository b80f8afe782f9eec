"""A value: one step of a formula, with the space and the shape of what it computes.

Comes in: an operation's name, input values, attributes. Goes out: a Value whose space and shape the table of operations
has derived, or a FormulaError in the user's words. A value holds no numbers; interpret.py and the compiler do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.errors import FormulaError, nearest, shortened
from pipeline.formula.attributes import check_attribute, check_shape
from pipeline.formula.numpy_names import advice, operation_of
from pipeline.formula.operations import OPERATIONS, Shape
from pipeline.formula.spaces import WEIGHT, Edges, Nodes, Space, Weight, WholeGraph

_counter = itertools.count()


class Kind:
    """What a value does, whatever its inputs are. Compared by content, which is looked at once: planning 90 relations
    compares millions of them."""

    __slots__ = ("_content", "_hash")

    def __init__(self, value: Value):
        attributes = tuple(sorted((key, _hashable(item)) for key, item in value.attributes.items()))
        self._content: Hashable = (value.op, attributes, value.space, value.shape)
        self._hash = hash(self._content)

    @staticmethod
    def of(value: Value) -> Kind:
        if value.kind is None:
            value.kind = Kind(value)
        return value.kind

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kind) and self._content == other._content


def _hashable(item: Any) -> Hashable:
    return tuple(item) if isinstance(item, list) else (type(item).__name__, repr(item))


class Value:
    """A node of the program graph.

    `shape` is the shape of one row: a node feature of width 64 has shape (64,), an edge weight (), attention logits of
    four heads (4,) or (4, 1). A weight's shape is its whole shape.
    """

    __slots__ = (
        "attributes", "edge_cost", "id", "inputs", "inside", "is_node", "is_weight", "kind", "level", "op", "shape",
        "space", "width", "work",
    )  # fmt: skip

    def __init__(self, op: str, inputs: tuple[Value, ...], attributes: dict[str, Any], space: Space, shape: Shape):
        self.op = op
        self.inputs = inputs
        self.attributes = attributes
        self.space = space
        self.shape = shape
        self.id = next(_counter)
        self.is_weight = isinstance(space, Weight)
        self.is_node = isinstance(space, Nodes)
        self.width = math.prod(shape)
        """float32 lanes of one row."""
        self.kind: Kind | None = None
        self.inside: tuple[Value, ...] | None = None
        """Of a reduction, once somebody has asked: levels.edge_values."""
        self.work: float | None = None
        """Once somebody has asked: cost.work_of."""
        self.edge_cost: tuple[float, tuple[Value, ...]] | None = None
        """Of a reduction, once somebody has asked: cost.edge_cost."""
        self.level: int | None = None
        """Once somebody has asked: levels.level_of."""

    def on(self, inputs: tuple[Value, ...]) -> Value:
        """The same operation on other inputs, of the same spaces and shapes."""
        made = Value(self.op, inputs, self.attributes, self.space, self.shape)
        made.kind = self.kind
        return made

    @property
    def is_edge(self) -> bool:
        return isinstance(self.space, Edges)

    @property
    def is_graph(self) -> bool:
        return isinstance(self.space, WholeGraph)

    def __repr__(self) -> str:
        return f"<{self.space} {self.shape} = {self.op}>"

    # arithmetic: NumPy's operators on rows
    def __add__(self, other: Operand) -> Value:
        return apply("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        return apply("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        return apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return apply("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        return apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return apply("div", other, self)

    def __pow__(self, other: Operand) -> Value:
        return apply("pow", self, other)

    def __neg__(self) -> Value:
        return apply("neg", self)

    def __matmul__(self, other: Value) -> Value:
        return apply("matmul", self, other)

    def __abs__(self) -> Value:
        return apply("abs", self)

    def __lt__(self, other: Operand) -> Value:
        return apply("less", self, other)

    def __le__(self, other: Operand) -> Value:
        return apply("less_equal", self, other)

    def __gt__(self, other: Operand) -> Value:
        return apply("greater", self, other)

    def __ge__(self, other: Operand) -> Value:
        return apply("greater_equal", self, other)

    def __bool__(self) -> bool:
        raise FormulaError(f"a formula cannot branch on {_text(self)}: it has no numbers yet; where(condition, x, y)")

    # NumPy's functions, and what an array has and a value has not
    def __array_ufunc__(self, function: Any, method: str, *operands: Any, **options: Any) -> Value:
        name = operation_of(function.__name__)
        if name is None or method != "__call__" or options:
            raise FormulaError(f"np.{function.__name__} cannot be used in a formula{_instead(function.__name__)}")
        return apply(name, *map(_operand, operands))

    def __array_function__(self, function: Any, types: Any, operands: Any, options: Any) -> Value:
        raise FormulaError(f"np.{function.__name__} cannot be used in a formula{_instead(function.__name__)}")

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, operands: Any = (), options: Any = None) -> Value:
        """Torch calls it, which nobody here has imported."""
        name = getattr(function, "__name__", "a function")
        instead = _instead(name) or "; use the functions of graphsweep.formula"
        raise FormulaError(f"torch.{name} cannot be used in a formula{instead}")

    def __getattr__(self, name: str) -> Any:
        if name in OPERATIONS and not name.startswith("_"):  # torch has them as methods
            raise FormulaError(f"a value of a formula has no .{name}; write {name}(x), of graphsweep.formula")
        if advice(name) is None:
            raise AttributeError(f"a value of a formula has no {name!r}")
        raise FormulaError(f"a value of a formula has no .{name}{_instead(name)}")

    # the shape of a row
    def reshape(self, *shape: int) -> Value:
        """The same lanes under another row shape; one size may be -1."""
        sizes = list(shape)
        if -1 in sizes:
            known = 1
            for size in sizes:
                known *= size if size != -1 else 1
            sizes[sizes.index(-1)] = self.width // known if known else 0
        return apply("reshape", self, shape=tuple(sizes))

    def heads(self, count: int) -> Value:
        """(…, d) → (…, count, d / count)."""
        if not self.shape or self.shape[-1] % count:
            raise FormulaError(f"cannot split {_text(self)} into {count} heads: its last size is not a multiple of it")
        return self.reshape(*self.shape[:-1], count, self.shape[-1] // count)

    def flat(self) -> Value:
        """Any row shape → (width,)."""
        return self.reshape(self.width)

    def __iter__(self) -> Iterator[Value]:
        raise FormulaError(f"cannot go through {_text(self)} one by one: x[0], x[1], … are its columns; {_NO_ROWS}")

    def __float__(self) -> float:
        raise FormulaError(f"{_text(self)} is no number: {_NO_ROWS}")

    __int__ = __index__ = __float__

    def __len__(self) -> int:
        raise FormulaError(f"{_text(self)} has no length: x.shape is the shape of one row, and {_NO_ROWS}")

    def __getitem__(self, lanes: slice | int | tuple[Any, ...]) -> Value:
        """A slice of the last axis of a row; an index drops the axis. x[:, 0] and x[..., 0] are x[0], because a formula
        is of one row."""
        axis = len(self.shape) - 1
        if axis < 0:
            raise FormulaError(f"cannot take columns of {_text(self)}: it is one number per row")
        if isinstance(lanes, tuple) and (lanes[:-1] in ((...,), (slice(None),) * len(self.shape))) and lanes:
            lanes = lanes[-1]
        if not isinstance(lanes, int | slice):
            raise FormulaError(
                f"cannot take {lanes!r} of {_text(self)}: x[2] is a column, x[:4] some of them; rows have no numbers"
            )
        if isinstance(lanes, int):
            if not -self.shape[axis] <= lanes < self.shape[axis]:
                raise FormulaError(f"there is no column {lanes} in {_text(self)}")
            start = lanes % self.shape[axis]
            return apply("slice", self, axis=axis, start=start, stop=start + 1, step=1).reshape(*self.shape[:-1])
        start, stop, step = lanes.indices(self.shape[axis])
        return apply("slice", self, axis=axis, start=start, stop=stop, step=step)


Operand = Value | float | int


def constant(number: float) -> Value:
    """A number, as a weight of shape ()."""
    return Value("constant", (), {"value": float(number)}, WEIGHT, ())


def weight(name: str, shape: Sequence[int]) -> Value:
    """A learned weight, held by name beside the program."""
    return Value("weight", (), {"name": name}, WEIGHT, tuple(shape))


def node_input(name: str, shape: Sequence[int], space: Nodes | None = None) -> Value:
    """A column of the node table."""
    return Value("input", (), {"name": name}, space or Nodes(), tuple(shape))


def edge_input(name: str, shape: Sequence[int], space: Edges | None = None) -> Value:
    """A column of the edge table, for every edge of a type."""
    return Value("input", (), {"name": name}, space or Edges(), tuple(shape))


def fill(number: float, space: Space, shape: Sequence[int] = ()) -> Value:
    """The same number in every row of a space."""
    return Value("fill", (), {"value": float(number)}, space, tuple(shape))


def leaf(op: str, attributes: dict[str, Any], space: Space, shape: Shape) -> Value:
    """A value without inputs, as a file describes it; ValueError if none of the functions above would make it."""
    kind = "value" if op in ("constant", "fill") else "name"
    if attributes.keys() != {kind}:
        raise ValueError(f"its attributes are [{kind!r}], not {shortened(sorted(attributes))}")
    (item,) = attributes.values()
    if kind == "value":
        check_attribute(kind, item)
    check_shape(shape, weight=op == "weight")
    if op in ("weight", "constant"):
        if not isinstance(space, Weight) or (op == "constant" and shape):
            raise ValueError(f"it is on {space}, of shape {shape}; a {op} is not")
        return weight(item, shape) if op == "weight" else constant(item)
    if isinstance(space, Weight) or (op == "input" and isinstance(space, WholeGraph)):
        raise ValueError(f"it is on {space}; rows of nodes or edges are expected")
    return fill(item, space, shape) if op == "fill" else Value(op, (), {"name": item}, space, shape)


def apply(op: str, *operands: Operand, **attributes: Any) -> Value:
    """Adds one operation to the formula: the single point where spaces and shapes are checked."""
    if op not in OPERATIONS:
        raise FormulaError(f"unknown operation {op!r}; {nearest(op, OPERATIONS)}")
    inputs = tuple(operand if isinstance(operand, Value) else constant(operand) for operand in operands)
    operation = OPERATIONS[op]
    try:
        operation.check(len(inputs), attributes)
        space = operation.space([value.space for value in inputs], attributes)
        shape = operation.shape([value.shape for value in inputs], attributes)
        check_shape(shape, weight=isinstance(space, Weight))
    except ValueError as error:
        raise FormulaError(f"{op}({', '.join(map(_text, inputs))}): {error}") from None
    return Value(op, inputs, attributes, space, shape)


def topological(outputs: Iterable[Value], stop: Collection[str] = ()) -> list[Value]:
    """All values that the outputs need, inputs before users, in a fixed order. Iterative: programs can be deep.

    `stop`: operations whose inputs are not looked at.
    """
    order: list[Value] = []
    done: set[int] = set()
    stack = list(outputs)[::-1]
    while stack:  # half a million turns where 90 relations are planned
        value = stack[-1]
        if value.id not in done:
            if value.op not in stop:
                missing = [operand for operand in reversed(value.inputs) if operand.id not in done]
                if missing:
                    stack += missing
                    continue
            done.add(value.id)
            order.append(value)
        stack.pop()
    return order


def _operand(given: Any) -> Operand:
    """A value, or a number, perhaps NumPy's."""
    if isinstance(given, Value):
        return given
    if np.ndim(given) == 0 and isinstance(given, int | float | np.number | np.ndarray):
        return float(given)
    raise FormulaError(f"a formula cannot hold {shortened(given, 60)}; give arrays as weights, w.a")


_NO_ROWS = "a formula says what becomes of each row, and knows no numbers yet"


def _instead(name: str) -> str:
    """What to write in place of it, as the end of a message."""
    known = advice(name)
    return f"; {known}" if known else ""


def _text(value: Value) -> str:
    kinds = {"Nodes": "node value", "Edges": "edge value", "WholeGraph": "total", "Weight": "weight"}
    kind = kinds[type(value.space).__name__]
    if value.is_edge and str(value.space) != "edges":
        kind = f"edge value on {value.space}"
    return f"{kind} of shape {value.shape}"
