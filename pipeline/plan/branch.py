"""What a branch is: what one relation adds to nodes; and what it is added to. branches.py finds them."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from pipeline.formula.interpret import Array
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Kind, Value
from pipeline.lowering.levels import local_values

JOINS = frozenset({"add", "maximum", "minimum", "merge_states"})


def neutral(join: Value) -> Array:
    """(*shape): what a join starts with. A term that is this has nothing to add."""
    start = {"maximum": -np.inf, "minimum": np.inf}.get(join.op, 0.0)
    found = np.full(join.shape, start, np.float32)
    if join.op == "merge_states":
        found[-join.attributes["logits"] :] = -np.inf
    return found


@dataclass(frozen=True)
class Chosen:
    """The edges of which a column has one number."""

    column: str
    number: float


@dataclass(frozen=True)
class Branch:
    """Reductions over the same edges, and what is computed from them, row by row."""

    edges: Edges
    chosen: Chosen | None
    """None: all of them."""
    reductions: tuple[Value, ...]
    executed: tuple[Value, ...]
    """The same, but that they take all edges that they are given. Two of them may be one value."""
    before: tuple[Value, ...]
    """What the reductions alone read at their targets: computed for the same nodes. Inputs first."""
    nodes: tuple[Value, ...]
    """Inputs first."""
    terms: tuple[tuple[Value, Value], ...]
    """(join, what is added to it)."""

    @property
    def id(self) -> int:
        """Value.id of its first term, which is of no other branch."""
        return self.terms[0][1].id

    @functools.cached_property
    def likeness(self) -> Hashable:
        """Equal for branches whose terms are made in the same way, of their own reductions and weights."""
        place = {value.id: at for at, value in enumerate((*self.reductions, *self.nodes))}

        def read(value: Value) -> Hashable:
            """A weight, the place of a value of the branch, or a value of the block."""
            return "weight" if value.is_weight else (place.get(value.id), None if value.id in place else value.id)

        made = tuple((Kind.of(value), tuple(map(read, value.inputs))) for value in self.nodes)
        return made, tuple((join.id, place[term.id]) for join, term in self.terms)

    @property
    def dense(self) -> list[Value]:
        """The node values that are read, beside those that the branch computes."""
        inside = {value.id for value in (*self.before, *self.reductions, *self.nodes)}
        read = [entry for value in (*self.before, *self.nodes) for entry in value.inputs]
        read += [entry for value in self.reductions for entry in local_values(value)]
        return list({each.id: each for each in read if each.is_node and each.id not in inside}.values())
