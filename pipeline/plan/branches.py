"""Branches: what each of several relations adds to the same nodes, computed one relation after another.

    sum(x over edges of relation 1) @ W1 / n1 + sum(x over edges of relation 2) @ W2 / n2 + … + y

Comes in: a lowered program, when and in which phase each value is computed. Goes out: sums (or maxima, minima) of many
such terms as joins, and their terms as branches: reductions over the same edges and what is computed from them alone. A
branch is computed for those nodes only that have such an edge, added to the join, and gone before the next one. The
others get nothing, because the term is 0 there (-inf in a maximum): where that is not so, nothing is changed.

The edges of a branch are those of a type, or those of them whose column has a number: sum(where(relation == 3, x, 0)).
Where there are several types, two are enough: HeteroConv of SAGE of 6 relations, two into each type of nodes, two
layers, 2^20 nodes, 16.8M edges, takes 0.82 of the core-seconds that it takes with all sums side by side. So are two
numbers, since each edge would be gone through for each of them: RGCN by 6 numbers takes 0.65.

Of 90 relations over 2 million edges HeteroConv of SAGE, two layers, took 4.7 core-seconds without branches where 6
relations took 0.7: each relation had a row for every node.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.interpret import execute_rows
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Kind, Value, apply
from pipeline.lowering.levels import local_values, sent_values
from pipeline.plan.branch import JOINS, Branch, Chosen, neutral

FEWEST = 2
"""Of edges of so many types, where there are several, or numbers."""

Array = npt.NDArray[Any]


@dataclass
class Found:
    """What was found in a program."""

    branches: dict[tuple[int, int], list[Branch]] = field(default_factory=dict)
    """(superstep, phase after whose nodes it is computed) → branches."""
    joins: dict[int, tuple[Value, ...]] = field(default_factory=dict)
    """Value.id of each join → its other terms, in order."""
    inside: set[int] = field(default_factory=set)
    """Ids of the values that are computed nowhere else: of branches, and sums between a join and its terms."""


_Key = tuple[Edges, Chosen | None]


def chosen_edges(reduction: Value) -> tuple[Chosen, Value] | None:
    """sum(where(column == number, m, 0)): which edges count, and sum(m) over these. None: it is no such sum."""
    message = reduction.inputs[0]
    if reduction.op != "sum" or len(reduction.inputs) > 1 or message.op != "where":
        return None
    mask, kept, other = message.inputs
    if other.op not in ("fill", "constant") or np.any(other.attributes["value"]) or mask.op != "equal":
        return None
    for column, number in (mask.inputs, mask.inputs[::-1]):
        if number.op != "constant":
            continue
        while column.op == "reshape":
            column = column.inputs[0]
        if column.op == "input" and column.is_edge and column.width == 1 and kept.is_edge:
            if kept.shape != message.shape or kept.space != message.space:
                return None
            chosen = float(np.float32(number.attributes["value"]))
            return Chosen(column.attributes["name"], chosen), apply("sum", kept)
    return None


def find_branches(
    program: Program, when: Mapping[int, int], rank: Mapping[int, int], weights: Mapping[str, Array]
) -> Found:
    """Branches and joins.

    Parameters
    ----------
    when, rank
        Value.id of a node value → its superstep, its phase there.
    weights
        Name → array, of all weights of the program.
    """
    reductions = [value for value in program.values if value.op in REDUCTIONS]
    chosen = sum(chosen_edges(value) is not None for value in reductions)
    if chosen < FEWEST and not program.has_relations:
        return Found()
    return _Search(program, when, rank, weights).found()


class _Search:
    def __init__(
        self, program: Program, when: Mapping[int, int], rank: Mapping[int, int], weights: Mapping[str, Array]
    ):
        self.program, self.when, self.rank, self.weights = program, when, rank, weights
        self.nodes = [value for value in program.values if value.is_node]
        self.chosen: dict[int, tuple[Chosen, Value]] = {}
        self.sums: dict[int, Value] = {}
        """Value.id of what is summed over chosen edges → the sum."""
        self.key: dict[int, _Key] = {}
        self.empty: dict[int, Array] = {}
        """Value.id → (1, *shape): what it is at a node without an edge, where that is known."""
        self.of_no_edges: dict[Kind, Array] = {}
        """The same of a reduction, by what it does: there may be thousands that do the same."""
        self.edges_only: set[int] = set()
        """Ids of what is computed from edges alone: a degree, say. It can be computed again in a later superstep."""
        with np.errstate(all="ignore"):
            for value in program.values:
                self._look(value)
        self._read()
        self._chain()

    # ---- what is computed from the edges of one branch, and what it is without any

    def _look(self, value: Value) -> None:
        if value.is_weight:
            if value.op == "constant":
                self.empty[value.id] = np.asarray(value.attributes["value"], np.float32)
            elif value.op == "weight" and value.attributes["name"] in self.weights:
                self.empty[value.id] = self.weights[value.attributes["name"]]
        elif not value.is_node:
            return
        elif value.op == "fill":
            self.empty[value.id] = np.full((1, *value.shape), value.attributes["value"], np.float32)
            self.edges_only.add(value.id)
        elif value.op in REDUCTIONS:
            self._look_at_reduction(value)
        elif OPERATIONS[value.op].kind in ("elementwise", "row"):
            keys = {self.key[entry.id] for entry in value.inputs if entry.id in self.key}
            if len(keys) != 1:
                return
            empty = self._empty(value)
            if empty is not None:
                self.key[value.id], self.empty[value.id] = keys.pop(), empty
                if all(entry.is_weight or entry.id in self.edges_only for entry in value.inputs):
                    self.edges_only.add(value.id)

    def _look_at_reduction(self, value: Value) -> None:
        record, edges = REDUCTIONS[value.op], value.inputs[0].space
        if record.loop is None or not value.width or len(value.inputs) != record.messages:
            return
        assert isinstance(edges, Edges)
        if (chosen := chosen_edges(value)) is not None:
            # sums of the same over the edges of one relation and another are one value, compiled once
            same = self.sums.setdefault(chosen[1].inputs[0].id, chosen[1])
            self.chosen[value.id] = chosen = chosen[0], same
        self.key[value.id] = edges, chosen[0] if chosen else None
        self.empty[value.id] = self._of_no_edges(value)
        if not sent_values(value) and not local_values(value):
            self.edges_only.add(value.id)

    def _of_no_edges(self, value: Value) -> Array:
        alike = Kind.of(value)
        if alike not in self.of_no_edges:
            record = REDUCTIONS[value.op]
            self.of_no_edges[alike] = record.result(record.start(1, value), value)
        return self.of_no_edges[alike]

    def _empty(self, value: Value) -> Array | None:
        inputs = value.inputs
        mask = self.empty.get(inputs[0].id) if value.op == "where" else None
        if mask is not None and (np.all(mask) or not np.any(mask)):  # the other side does not count
            taken = self.empty.get(inputs[1 if np.all(mask) else 2].id)
            return None if taken is None else np.broadcast_to(taken, (1, *value.shape))
        if any(entry.id not in self.empty for entry in inputs):
            return None
        return execute_rows(value, [self.empty[entry.id] for entry in inputs])

    # ---- who reads it

    def _read(self) -> None:
        self.readers: dict[int, list[Value]] = defaultdict(list)
        self.at_target: dict[int, list[Value]] = defaultdict(list)
        """Value.id → the reductions that read it at their targets."""
        self.outside = {value.id for value in self.program.outputs.values()}
        for value in self.program.values:
            if value.op in REDUCTIONS:
                for entry in local_values(value):
                    self.at_target[entry.id].append(value)
                self.outside |= {entry.id for entry, _ in sent_values(value)}
            elif value.is_node:
                for entry in value.inputs:
                    self.readers[entry.id].append(value)
            elif value.is_graph:
                self.outside |= {entry.id for entry in value.inputs}

    def _chain(self) -> None:
        """Sums of sums: the last is a join, those between go into it."""
        self.join: dict[int, Value] = {}
        for value in reversed(self.nodes):
            if value.op not in JOINS or value.id in self.key:
                continue
            readers = self.readers[value.id]
            above = readers[0] if len(readers) == 1 and value.id not in self.outside else None
            alike = above is not None and Kind.of(above) == Kind.of(value)
            same = above is not None and self.when[above.id] == self.when[value.id]
            into = self.join.get(above.id) if above is not None and alike and same else None
            self.join[value.id] = value if into is None else into
        self.terms: dict[int, list[Value]] = {}
        for value in self.nodes:
            if self.join.get(value.id) is value:
                self.terms[value.id] = self._terms(value)

    def _terms(self, join: Value) -> list[Value]:
        found: list[Value] = []
        stack = [join]
        while stack:
            top = stack.pop()
            if self.join.get(top.id) is join:
                stack += reversed(top.inputs)
            else:
                found.append(top)
        return found

    # ---- branches

    def found(self) -> Found:
        alone = self._alone()
        before = self._before(alone)
        found = Found(inside={*alone, *before})
        terms: dict[tuple[int, int, _Key], list[tuple[Value, Value]]] = {}
        for join in self.nodes:
            branched = [term for term in self.terms.get(join.id, ()) if term.id in alone]
            if not branched:
                continue
            found.joins[join.id] = tuple(term for term in self.terms[join.id] if term.id not in alone)
            at = self.when[join.id]
            for term in branched:
                phase = max(self._phases(self._below(term, alone), at))
                terms.setdefault((at, phase, self.key[term.id]), []).append((join, term))
        found.inside |= {number for number, join in self.join.items() if join.id in found.joins and number != join.id}
        for (at, phase, key), pairs in terms.items():
            found.branches.setdefault((at, phase), []).append(self._branch(key, pairs, alone, before))
        return found

    def _before(self, alone: set[int]) -> dict[int, _Key]:
        """Value.id → the edges of the branches that it is read by, at their targets, and by nobody else."""
        found: dict[int, _Key] = {}
        for value in reversed(self.nodes):
            if value.op in REDUCTIONS or value.id in alone or value.id in self.outside or value.id in self.join:
                continue
            if OPERATIONS[value.op].kind not in ("elementwise", "row"):
                continue
            by = [*self.readers[value.id], *self.at_target[value.id]]
            keys = {self.key[each.id] if each.id in alone else found.get(each.id) for each in by}
            direct = all(each.id not in alone for each in self.readers[value.id])
            if len(keys) == 1 and direct and all(self.when[each.id] == self.when[value.id] for each in by):
                (key,) = keys
                if key is not None:
                    found[value.id] = key
        return found

    def _branch(
        self, key: _Key, pairs: Sequence[tuple[Value, Value]], alone: set[int], before: Collection[int]
    ) -> Branch:
        below = {value.id: value for _, term in pairs for value in self._below(term, alone)}
        values = [below[number] for number in sorted(below, key=self._place)]
        reductions = tuple(value for value in values if value.op in REDUCTIONS)
        executed = tuple(self.chosen[value.id][1] if value.id in self.chosen else value for value in reductions)
        nodes = tuple(value for value in values if value.op not in REDUCTIONS)
        read = {entry.id: entry for value in reductions for entry in local_values(value)}
        stack, first = list(read.values()), {}
        while stack:
            top = stack.pop()
            if top.id in before and top.id not in first:
                first[top.id] = top
                stack += top.inputs
        targets = tuple(first[number] for number in sorted(first, key=self._place))
        return Branch(*key, reductions, executed, targets, nodes, tuple(pairs))

    def _place(self, number: int) -> int:
        if not hasattr(self, "_places"):
            self._places = {value.id: place for place, value in enumerate(self.program.values)}
        return self._places[number]

    def _below(self, term: Value, alone: set[int]) -> list[Value]:
        found: dict[int, Value] = {}
        stack = [term]
        while stack:
            top = stack.pop()
            if top.id in alone and top.id not in found:
                found[top.id] = top
                stack += top.inputs
        return list(found.values())

    def _phases(self, values: Iterable[Value], at: int) -> Iterable[int]:
        """The phases that values of a branch have to wait for."""
        inside = list(values)
        numbers = {value.id for value in inside}
        for value in inside:
            if value.op in REDUCTIONS:
                yield self.rank[value.id] if self.when[value.id] == at else 0
                continue
            for entry in value.inputs:
                if entry.is_node and entry.id not in numbers and self.when[entry.id] == at:
                    yield self.rank[entry.id] + (entry.op in REDUCTIONS)

    def _alone(self) -> set[int]:
        """Ids of the values that only joins read, and values that only joins read."""
        alone = set(self.key)
        while True:
            before = len(alone)
            for value in reversed(self.nodes):
                if value.id in alone and not self._is_alone(value, alone):
                    alone.discard(value.id)
            for value in self.nodes:
                if value.id in alone and any(i.id in self.key and i.id not in alone for i in value.inputs if i.is_node):
                    alone.discard(value.id)
            for join, terms in self.terms.items():
                self._enough(join, [term for term in terms if term.id in alone], alone)
            if len(alone) == before:
                return alone

    def _is_alone(self, value: Value, alone: set[int]) -> bool:
        readers = self.readers[value.id]
        if value.id in self.outside or value.id in self.at_target or not readers:
            return False
        return all(self._fits(value, by, alone) for by in readers)

    def _fits(self, value: Value, reader: Value, alone: set[int]) -> bool:
        """Whether what a value is read by is a join that it is a term of, or in the same branch."""
        if value.id not in self.edges_only and self.when[value.id] != self.when[reader.id]:
            return False
        join = self.join.get(reader.id)
        if join is None:
            return reader.id in alone and self.key[reader.id] == self.key[value.id]
        return value.shape == join.shape and bool(np.all(self.empty[value.id] == neutral(join)))

    def _enough(self, join: int, terms: Sequence[Value], alone: set[int]) -> None:
        """Takes the terms of a join out that cannot be there in time; all, if few are left."""
        at = self.when[join]
        late = {term.id for term in terms if max(self._phases(self._below(term, alone), at)) >= self.rank[join]}
        if len({self.key[term.id] for term in terms if term.id not in late}) < FEWEST:
            late = {term.id for term in terms}
        alone -= late
