"""What a reduction over the edges into a node is: one record, which interpreter, compiler and planner read.

A reduction is its meaning in NumPy, and the same in steps: a state for each node, which starts somewhere, which each
edge steps, and which is finished when all edges have come. Edges come in tiles, one source block after another, so the
state is all that is kept of them. In the words of databases a reduction is

* distributive, if the results of some of a node's edges `merge` into the result of all: another block may begin it;
* holistic, if it needs all messages of a node at once: these are kept, sorted, and given to `of_sorted`.

Knows nothing of values, of Numba (code is text here) and of tiles.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.formula import rules
from pipeline.formula.rules import Attributes, Shape
from pipeline.formula.spaces import Space

if TYPE_CHECKING:
    from pipeline.formula.values import Value

Array = npt.NDArray[Any]
States = Mapping[str, Array]
"""Name of a State → its array: (nodes, lanes) float32, (nodes,) bool for SEEN."""

# The loops that the compiler can write around a message (compiler/loops.py).
STEPPED = "stepped"  # each edge changes the state of its row by `step`
SUMMED = "summed"  # the same, but that long rows are added up in parts: `step` adds
EXPONENTIALS = "exponentials"  # the largest message and the sum of the exponentials below it (compiler/softmax.py)


@dataclass(frozen=True)
class State:
    """One array that is kept for the nodes of a block while their edges come."""

    name: str
    start: float | str
    """What it is before any edge: a number, or the attribute that says it."""
    of: int | None = None
    """Whose lanes its rows have: those of an input, by its position; None: those of the result."""


SEEN = State("seen", False)
"""A mark for each node instead of a row: whether it has an edge."""


class EdgeWork(NamedTuple):
    """What a reduction does with the messages of one edge, in lanes; what makes the messages is counted elsewhere."""

    added: float = 0
    """Added up, compared, multiplied."""
    weighed: float = 0
    """Multiplied by a weight of their own and added up."""
    costly: float = 0
    """Exponentials."""
    sorted: float = 0
    """Kept and sorted."""


def _added(value: Value) -> EdgeWork:
    return EdgeWork(added=value.width)


@dataclass(frozen=True)
class Reduction:
    """One reduction over edges."""

    name: str
    meaning: Callable[..., Array]
    """meaning(*messages, dst, count, *, attributes): (e, …) of each message and (e,) rows of dst → (count, …). Its
    keyword-only parameters are the attributes of the operation."""
    state: tuple[State, ...] = (State("out", 0.0),)
    loop: str | None = STEPPED
    """None: there is none, its messages are kept."""
    step: str = ""
    """A statement of the generated loop, for one lane of one edge: {message} changes {out}, or whatever the states are
    called. For text of this kind see Operation.code."""
    merge: tuple[str, ...] = ()
    """Statements for one lane of a result that another block has of some edges, {partial}. Empty: not distributive."""
    finish: Callable[[States, Value], Array] | None = None
    """(states, value) → (nodes, width) float32, which may be one of the states. None: the first of them as it is."""
    own: str | None = None
    """How one more edge that every node has, an added self-loop, comes in: an elementwise operation of the result and
    its message. None: its messages are further inputs, one for each that there is."""
    start_own: Callable[[States, Sequence[Array], Value], None] | None = None
    """(states, further inputs (nodes, …), value): what the states start from then. A holistic reduction needs none."""
    of_sorted: Callable[..., Array] | None = None
    """Holistic: of_sorted(ordered (k, …), *, attributes) → (results, …), k > 0 messages sorted along the first axis."""
    messages: int = 1
    """How many edge values it takes."""
    space: Callable[[Sequence[Space], Attributes], Space] = rules.to_nodes
    shape: Callable[[Sequence[Shape], Attributes], Shape] = rules.first
    work: Callable[[Value], EdgeWork] = _added
    is_per_edge: bool = False
    """Reduces nothing: the result has the row of each edge instead of one for each node."""
    is_exact: bool = False
    """Each lane of the result is a lane of a message: nothing is rounded."""
    passes: int = 1
    """How often the result is gone through before the first edge and after the last."""

    @property
    def is_holistic(self) -> bool:
        return self.loop is None and not self.is_per_edge

    @property
    def keeps_messages(self) -> bool:
        """Whether NumPy makes its messages as arrays, instead of a generated loop that uses them up."""
        return self.loop is None

    @property
    def is_distributive(self) -> bool:
        return bool(self.merge)

    @property
    def inputs(self) -> tuple[int, ...]:
        """How many there may be."""
        return (self.messages,) if self.own or self.is_per_edge else (self.messages, 2 * self.messages)

    @cached_property
    def attributes(self) -> frozenset[str]:
        """The keyword-only parameters of the meaning."""
        parameters = inspect.signature(self.meaning).parameters.values()
        return frozenset(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)

    def start(self, nodes: int, value: Value) -> dict[str, Array]:
        """The states before any edge."""
        return {state.name: self._start(state, nodes, value) for state in self.state}

    def _start(self, state: State, nodes: int, value: Value) -> Array:
        if state is SEEN:
            return np.zeros(nodes, np.bool_)
        start = value.attributes[state.start] if isinstance(state.start, str) else state.start
        return np.full((nodes, self.lanes(state, value)), start, np.float32)

    @staticmethod
    def lanes(state: State, value: Value) -> int:
        """float32 lanes of a row of a state; 0 of marks."""
        if state is SEEN:
            return 0
        return value.width if state.of is None else value.inputs[state.of].width

    def result(self, states: States, value: Value) -> Array:
        """(nodes, *shape) float32 of states that have all their edges, which are used up."""
        out = states[self.state[0].name] if self.finish is None else self.finish(states, value)
        return out.reshape(len(out), *value.shape)


def fill_empty(states: States, value: Value) -> Array:
    """`out`, and the attribute `empty` for nodes without an edge."""
    states["out"][~states[SEEN.name]] = value.attributes["empty"]
    return states["out"]


def aligned(array: Array, shape: Shape, to: Shape) -> Array:
    """Rows of `shape`, with 1s behind the row axis so that they broadcast to rows of `to`."""
    return array.reshape(len(array), *(1,) * (len(to) - len(shape)), *shape)
