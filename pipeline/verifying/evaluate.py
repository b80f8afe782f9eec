"""A program on a graph in memory, as its author wrote it: exactly, and in some float32 trials.

Comes in: a program, its weights, a graph. Goes out: for each output an `Estimate` of its rows. Knows nothing of plans,
nor of how a run computes: it shares with it the program and the meaning of the operations.

Values are computed stage by stage: a stage is what is known before the next reductions. In it node values are computed
for some rows at a time, and reductions for the edges into some nodes at a time; only node values that edges, totals or
later stages read are kept whole, each up to the distance at which it is needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.interpret import execute_rows
from pipeline.formula.operations import OPERATIONS, TOTALS
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, WholeGraph
from pipeline.formula.values import Value, topological
from pipeline.schema import EdgeType
from pipeline.verifying.apply import apply_rows, with_trials
from pipeline.verifying.edges import EdgeChunk, Grouped, LocalGraph, filled
from pipeline.verifying.estimate import Array, Estimate
from pipeline.verifying.noise import Noise
from pipeline.verifying.rounding import U

TRIALS = 8
NODE_ROWS = 1024
EDGE_LANES = 1 << 17  # of the widest value of a chunk of edges


def evaluate(
    program: Program,
    weights: Mapping[str, npt.NDArray[np.float32]],
    graph: LocalGraph,
    distance: Mapping[int, int],
    trials: int = TRIALS,
) -> dict[str, Estimate]:
    """Output → the estimate of its rows, those at distance 0. `distance`: see `Hops`."""
    with np.errstate(all="ignore"):
        return _Work(program, weights, graph, distance, trials).run()


class _Work:
    def __init__(
        self,
        program: Program,
        weights: Mapping[str, npt.NDArray[np.float32]],
        graph: LocalGraph,
        distance: Mapping[int, int],
        trials: int,
    ) -> None:
        self.program, self.graph, self.trials = program, graph, trials
        self.rows = {number: graph.reach[min(at, len(graph.reach) - 1)] for number, at in distance.items()}
        self.grouped: dict[EdgeType, Grouped] = {}
        self.weights = {}
        self.stage = stages(program)
        self.known: dict[int, Any] = {}
        self.stored: dict[int, Estimate] = {}
        self.kept = kept_values(program, self.stage)
        for value in program.values:
            if value.is_weight:
                self.weights[value.id] = self._weight(value, weights)

    def run(self) -> dict[str, Estimate]:
        last = max(self.stage.values(), default=0)
        for stage in range(last + 1):
            values = [value for value in self.program.values if self.stage[value.id] == stage]
            for value in values:
                if isinstance(value.space, WholeGraph) and value.op not in TOTALS:
                    self.known[value.id] = self._rows_of(value, [self._graph(i) for i in value.inputs], 0)
            self._node_values([v for v in values if v.id in self.kept and not _reduces(v) and v.op != "input"])
            following = [value for value in self.program.values if self.stage[value.id] == stage + 1]
            by_type: dict[EdgeType, list[Value]] = defaultdict(list)
            for value in following:
                if value.op in TOTALS:
                    self.known[value.id] = self._total(value)
                elif _reduces(value):
                    by_type[_edges(value).type].append(value)
            for edge_type, reductions in by_type.items():
                self._reduce(edge_type, reductions)
        return {name: self._read(value, np.arange(self.graph.reach[0])) for name, value in self.program.outputs.items()}

    def noise(self, value: Value, first: int) -> Noise:
        return Noise(self.trials, self.program.numbers[value.id], first)

    # ---- weights and totals

    def _weight(self, value: Value, weights: Mapping[str, npt.NDArray[np.float32]]) -> Estimate:
        if value.op == "weight":
            exact = np.asarray(weights[value.attributes["name"]], np.float64).reshape(value.shape)
            return self._rounded(value, exact)
        if value.op == "constant":
            exact = np.asarray(value.attributes["value"], np.float64)
            return self._rounded(value, exact)
        inputs = [self.weights[operand.id] for operand in value.inputs]
        exact = np.asarray(execute_rows(value, [operand.exact for operand in inputs]), np.float64).reshape(value.shape)

        def compute(arrays: list[Array], _: int) -> Array:
            return np.asarray(execute_rows(value, arrays)).reshape(value.shape)

        return with_trials(inputs, Estimate(exact), compute, self.noise(value, 0), 0.0)

    def _rounded(self, value: Value, exact: Array) -> Estimate:
        """A run may round a weight once more, when it puts a factor into a matrix. Not if it has few digits: 1, 0.5."""
        single = exact.astype(np.float32)
        if not self.trials:
            return Estimate(exact)
        short = (np.ascontiguousarray(single).view(np.uint32) & 0xFFF == 0) & (single == exact)
        if short.all():
            return Estimate(exact)
        noise = self.noise(value, 0)
        scale = np.where(short, 0, 0.42 * U * np.abs(exact)).astype(np.float64)
        drawn = [exact + scale * noise.draw(number, exact.shape) for number in range(self.trials)]
        return Estimate(exact, np.asarray(drawn, np.float32))

    def _graph(self, value: Value) -> Estimate:
        return self.weights[value.id] if value.is_weight else self.known[value.id]

    def _total(self, value: Value) -> Estimate:
        inputs = [self._read(operand, slice(None)) for operand in value.inputs]

        def compute(arrays: list[Array], _: int | None) -> Array:
            rows = [array.astype(np.float64) for array in arrays]
            if value.op == "total_product":
                return np.einsum("n...i,n...j->...ij", *rows)[None]
            if value.op == "total_sum":
                return rows[0].sum(axis=0, keepdims=True)
            if value.op == "total_max":
                return rows[0].max(axis=0, keepdims=True, initial=-np.inf)
            return rows[0].min(axis=0, keepdims=True, initial=np.inf)

        exact = compute([operand.exact for operand in inputs], None)
        scale = 0.35 * U * np.abs(exact) if value.op in ("total_sum", "total_product") else 0.0
        return with_trials(inputs, Estimate(exact), compute, self.noise(value, 0), scale)

    # ---- node values

    def _node_values(self, values: Sequence[Value]) -> None:
        """Whole, computed for some rows at a time."""
        if not values:
            return
        order = self._below(values)
        made = {value.id: _Whole(self.rows[value.id], value.shape, self.trials) for value in values}
        for low in range(0, max(self.rows[value.id] for value in values), NODE_ROWS):
            chunk: dict[int, Estimate] = {}
            for value in order:
                rows = min(NODE_ROWS, self.rows[value.id] - low)
                if rows <= 0:
                    continue
                if value.op == "input" or value.id in self.known:
                    chunk[value.id] = self._read(value, slice(low, low + rows))
                else:
                    inputs = [chunk[i.id].take(slice(rows)) if i.is_node else self._graph(i) for i in value.inputs]
                    chunk[value.id] = self._rows_of(value, inputs, low, rows)
                if value.id in made:
                    made[value.id].put(slice(low, low + rows), chunk[value.id])
        for value in values:
            self.known[value.id] = made[value.id].done()

    def _below(self, values: Sequence[Value]) -> list[Value]:
        """The node values that are computed for these, and those known that they read; inputs first."""
        wanted = {value.id for value in values}
        found = []
        for value in reversed(self.program.values):
            if value.id in wanted and value.is_node:
                found.append(value)
                if value.id not in self.known:
                    wanted.update(operand.id for operand in value.inputs)
        return found[::-1]

    def _rows_of(self, value: Value, inputs: list[Estimate], low: int, rows: int = 1) -> Estimate:
        if value.op == "fill":
            return filled(value, rows)
        if value.op == "spread":
            return inputs[0].map(lambda array: np.broadcast_to(array, (rows, *value.shape)))
        return apply_rows(value, inputs, self.noise(value, low))

    def _read(self, value: Value, rows: Any) -> Estimate:
        if value.op == "input":
            column = self.graph.node_columns[value.attributes["name"]][rows]
            return Estimate(column.astype(np.float64).reshape(-1, *value.shape))
        return self.known[value.id].take(rows)

    # ---- over edges

    def _reduce(self, edge_type: EdgeType, reductions: list[Value]) -> None:
        grouped = self._grouped(edge_type)
        below = topological((i for r in reductions for i in r.inputs if not i.is_node), stop=("src", "dst"))
        below = [value for value in below if value.is_edge]
        for value in below:
            if value.op == "softmax" and _edges(value).type != edge_type and value.id not in self.stored:
                self._store(value)
        made = {value.id: _Whole(self.rows[value.id], value.shape, self.trials) for value in reductions}
        for low, high in self._chunks(grouped, below, max(self.rows[value.id] for value in reductions)):
            chunk = self._chunk(grouped, low, high, below)
            for value in reductions:
                if low < self.rows[value.id]:
                    result, rows = chunk.reduce(value), min(high, self.rows[value.id]) - low
                    made[value.id].put(slice(low, low + rows), result.take(slice(rows)))
        for value in reductions:
            self.known[value.id] = made[value.id].done()

    def _store(self, value: Value) -> None:
        """A softmax that is read from the other end of its edges: those are not all edges into a node."""
        grouped, space = self._grouped(_edges(value).type), _edges(value)
        below = [v for v in topological([value], stop=("src", "dst")) if v.is_edge]
        nodes = self.rows[value.id]
        made = _Whole(len(self.graph.src) + self.graph.reach[-1], value.shape, self.trials)
        for low, high in self._chunks(grouped, below, nodes):
            chunk = self._chunk(grouped, low, high, below)
            made.put(chunk.places(space.part), chunk(value))
        self.stored[value.id] = made.done()

    def _grouped(self, edge_type: EdgeType) -> Grouped:
        if edge_type not in self.grouped:
            self.grouped[edge_type] = Grouped(self.graph, edge_type)
        return self.grouped[edge_type]

    def _chunks(self, grouped: Grouped, below: Sequence[Value], nodes: int) -> list[tuple[int, int]]:
        widest = max((value.width for value in below), default=1)
        return grouped.chunks(nodes, max(64, EDGE_LANES // max(1, widest)), NODE_ROWS)

    def _chunk(self, grouped: Grouped, low: int, high: int, below: Sequence[Value]) -> EdgeChunk:
        def noise(value: Value) -> Noise:
            return self.noise(value, low)

        chunk = EdgeChunk(grouped, low, high, self._read, self.weights, self.stored, noise)
        for value in below:
            chunk.compute(value)
        return chunk


class _Whole:
    """A node value that is made row by row."""

    def __init__(self, rows: int, shape: tuple[int, ...], trials: int) -> None:
        self._exact = np.zeros((rows, *shape))
        self._count = trials
        self._trials: npt.NDArray[np.float32] | None = None
        self._squares: npt.NDArray[np.float64] | None = None

    def put(self, rows: Any, part: Estimate) -> None:
        """Some rows: a slice, or their numbers."""
        self._exact[rows] = part.exact
        if part.trials is not None and self._trials is None:
            self._trials = np.empty((self._count, *self._exact.shape), np.float32)
            self._trials[:] = self._exact
        if self._trials is not None:
            self._trials[:, rows] = part.exact if part.trials is None else part.trials
        if part.squares is not None and self._squares is None:
            self._squares = np.square(self._exact)
        if self._squares is not None:
            self._squares[rows] = part.magnitude2

    def done(self) -> Estimate:
        return Estimate(self._exact, self._trials, self._squares)


# ---- the order of things


def share(program: Program) -> Program:
    """The same program, equal values being one: a run computes a degree once, with one error, however often a model
    says it."""
    seen: dict[Any, Value] = {}
    new: dict[int, Value] = {}
    for value in program.values:
        inputs = tuple(new[operand.id] for operand in value.inputs)
        attributes = tuple(sorted((name, repr(item)) for name, item in value.attributes.items()))
        key = (value.op, tuple(operand.id for operand in inputs), attributes, value.space, value.shape)
        if key not in seen:
            seen[key] = Value(value.op, inputs, value.attributes, value.space, value.shape)
        new[value.id] = seen[key]
    return Program({name: new[value.id] for name, value in program.outputs.items()})


def stages(program: Program) -> dict[int, int]:
    """Value.id → how many reductions and totals there are, one above another, before it is known."""
    stage: dict[int, int] = {}
    for value in program.values:
        deepest = max((stage[operand.id] for operand in value.inputs), default=0)
        stage[value.id] = deepest + (_reduces(value) or value.op in TOTALS)
    return stage


def kept_values(program: Program, stage: Mapping[int, int]) -> set[int]:
    """Ids of the node values that are read elsewhere than in the rows and the stage where they are computed."""
    kept = {value.id for value in program.outputs.values()}
    for value in program.values:
        for operand in value.inputs:
            elsewhere = not value.is_node or _reduces(value) or stage[value.id] > stage[operand.id]
            if operand.is_node and (elsewhere or _reduces(operand)):
                kept.add(operand.id)
    return kept


def _reduces(value: Value) -> bool:
    return OPERATIONS[value.op].kind == "reduce"


def _edges(value: Value) -> Edges:
    space = value.inputs[0].space
    assert isinstance(space, Edges)
    return space
