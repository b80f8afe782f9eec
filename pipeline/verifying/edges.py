"""Edge values, and reductions over them, for the edges into some nodes at a time: no edge value is ever held whole.

Comes in: a graph in memory, estimates of node values. Goes out: estimates of edge values, and of reductions. Knows
nothing of the order in which values are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.formula.spaces import ALL, BASE_PART, LOOPS, Edges
from pipeline.formula.values import Value
from pipeline.schema import EDGE, EdgeType
from pipeline.verifying.apply import apply_rows, with_trials
from pipeline.verifying.estimate import Array, Estimate, FloatArray
from pipeline.verifying.noise import Noise
from pipeline.verifying.rounding import ROUNDED, U, sum_rounding
from pipeline.verifying.segments import Segments

LongArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LocalGraph:
    """A graph in memory: all of it, or the surroundings of some nodes."""

    reach: tuple[int, ...]
    """Nodes up to distance 0, 1, … of those that outputs are wanted of; they come in this order."""
    src: LongArray
    dst: LongArray
    """(edges,): ends of the edges into all nodes but the outermost; in the order of dst."""
    node_columns: Mapping[str, FloatArray] = field(default_factory=dict)
    """Column → (nodes as far as features are read, lanes)."""
    edge_columns: Mapping[str, FloatArray] = field(default_factory=dict)
    """Column → (edges, lanes)."""

    def ends(self, edge_type: EdgeType) -> tuple[LongArray, LongArray]:
        """src and dst; the edges against their direction are the same edges in the same order."""
        return (self.src, self.dst) if edge_type == EDGE else (self.dst, self.src)


class Grouped:
    """The edges of a type by the node that they lead to."""

    def __init__(self, graph: LocalGraph, edge_type: EdgeType) -> None:
        self.graph = graph
        self.type = edge_type
        dst = graph.ends(edge_type)[1]
        self._order = None if edge_type == EDGE else np.argsort(dst, kind="stable")
        ordered = dst if self._order is None else dst[self._order]
        self.offsets: LongArray = np.searchsorted(ordered, np.arange(graph.reach[-1] + 1))

    def numbers(self, low: int, high: int) -> slice | LongArray:
        """Which edges lead to the nodes low … high - 1, in the order of these."""
        edges = slice(int(self.offsets[low]), int(self.offsets[high]))
        return edges if self._order is None else self._order[edges]

    def chunks(self, nodes: int, edges: int, most: int) -> list[tuple[int, int]]:
        """Ranges of the first `nodes` nodes with about so many edges each, and at most `most` nodes."""
        ranges, low = [], 0
        while low < nodes:
            high = int(np.searchsorted(self.offsets, self.offsets[low] + edges, side="right")) - 1
            high = min(max(high, low + 1), low + most, nodes)
            ranges.append((low, high))
            low = high
        return ranges


Read = Callable[[Value, Array], Estimate]
"""(node value, numbers of nodes) → its rows."""


class EdgeChunk:
    """Edge values of the edges that lead to a few nodes, each computed once."""

    def __init__(
        self,
        grouped: Grouped,
        low: int,
        high: int,
        read: Read,
        weights: Mapping[int, Estimate],
        stored: Mapping[int, Estimate],
        noise: Callable[[Value], Noise],
    ) -> None:
        self.grouped, self.low, self.high = grouped, low, high
        self.numbers = grouped.numbers(low, high)
        self._own = np.arange(low, high)
        self._read, self._noise, self._stored = read, noise, stored
        self._known: dict[int, Estimate] = dict(weights)
        src, dst = (end[self.numbers] for end in grouped.graph.ends(EDGE))
        self._ends, self._loops = (src, dst), src == dst

    # ---- which edges

    def kept(self, part: str) -> Array | None:
        """Of the stored edges of this chunk those of a part; None: all."""
        base = BASE_PART.get(part, part)
        return None if base == ALL else self._loops if base == LOOPS else ~self._loops

    def ends(self, edges: Edges) -> tuple[Array, Array]:
        """src and dst of the edges of a part; added loops come last."""
        kept = self.kept(edges.part)
        src, dst = self._ends if kept is None else (end[kept] for end in self._ends)
        if edges.part in BASE_PART:
            src, dst = (np.concatenate([end, self._own]) for end in (src, dst))
        return (src, dst) if edges.type == EDGE else (dst, src)

    def places(self, part: str) -> LongArray:
        """Where the edges of a part stand in an array of all edges, with an added loop of each node behind them."""
        edges = len(self.grouped.graph.src)
        numbers, kept = np.arange(edges)[self.numbers], self.kept(part)
        numbers = numbers if kept is None else numbers[kept]
        return np.concatenate([numbers, edges + self._own]) if part in BASE_PART else numbers

    def _segments(self, edges: Edges) -> tuple[Segments, LongArray | None]:
        """The edges of a part by the node that they lead to, and their order there; None: as they are."""
        dst = self.ends(edges)[1] - self.low
        order = np.argsort(dst, kind="stable") if edges.part in BASE_PART else None
        ordered = dst if order is None else dst[order]
        return Segments(np.searchsorted(ordered, np.arange(self.high - self.low + 1))), order

    # ---- their values

    def __call__(self, value: Value) -> Estimate:
        return self._known[value.id]

    def compute(self, value: Value) -> None:
        """An edge value whose inputs are computed."""
        self._known[value.id] = self._edge_value(value)

    def _edge_value(self, value: Value) -> Estimate:
        op, space = value.op, value.space
        assert isinstance(space, Edges)
        if value.id in self._stored:
            return self._stored[value.id].take(self.places(space.part))
        if op in ("src", "dst"):
            src, dst = self.ends(space)
            return self._read(value.inputs[0], src if op == "src" else dst)
        if op == "input":
            column = self.grouped.graph.edge_columns[value.attributes["name"]][self.numbers]
            return Estimate(column.astype(np.float64).reshape(-1, *value.shape))
        if op == "fill":
            return filled(value, len(self.ends(space)[0]))
        inputs = [self._known[operand.id] if not operand.is_node else None for operand in value.inputs]
        first = inputs[0]
        assert first is not None
        if op == "flip":
            return first
        if op == "restrict":
            old, new = self.kept(value.inputs[0].space.part), self.kept(space.part)  # type: ignore[union-attr]
            kept = np.ones(len(self._loops), bool) if new is None else new
            return first.take(np.flatnonzero(kept if old is None else kept[old]))
        if op == "extend":
            return self._extended(value, first)
        if op == "softmax":
            return self._softmax(value, first)
        return apply_rows(value, [one for one in inputs if one is not None], self._noise(value))

    def _extended(self, value: Value, stored: Estimate) -> Estimate:
        own = value.inputs[1]
        loops = self._known[own.id] if own.is_weight else self._read(own, self._own)

        def rows(array: Array, count: int) -> Array:
            return np.broadcast_to(array, (count, *value.shape))

        return joined(
            stored.map(lambda array: rows(array, len(stored.exact))),
            loops.map(lambda array: rows(array, len(self._own))),
        )

    def _softmax(self, value: Value, logits: Estimate) -> Estimate:
        assert isinstance(value.space, Edges)
        segments, order = self._segments(value.space)
        back = None if order is None else np.argsort(order)

        def compute(arrays: list[Array], turn: int | None) -> Array:
            shares = segments.softmax(arrays[0] if order is None else arrays[0][order], turn)
            return shares if back is None else shares[back]

        exact = compute([logits.exact], None)
        ordered = logits.exact if order is None else logits.exact[order]
        below = segments.spread(segments.largest(ordered, 0.0)) - ordered
        scale = U * exact * (1 + 0.35 * (below if back is None else below[back]))
        return with_trials([logits], Estimate(exact), compute, self._noise(value), scale)

    # ---- reductions

    def reduce(self, value: Value) -> Estimate:
        """(high - low, *shape)"""
        op = value.op
        edges = value.inputs[0].space
        assert isinstance(edges, Edges)
        segments, order = self._segments(edges)
        inputs = [self._read(i, self._own) if i.is_node else self._known[i.id] for i in value.inputs]
        message = inputs[0]
        if order is not None:
            message = message.take(order)
        if op == "sum":
            return self._sum(value, segments, message)
        if op == "softmax_sum":
            return self._softmax_sum(value, segments, order, inputs)
        if op == "quantile" and len(inputs) == 2:
            segments, message = self._with_own(segments, message, inputs[1])

        def compute(arrays: list[Array], _: int | None) -> Array:
            rows = arrays[0]
            if op == "prod":
                return segments.product(rows)
            if op == "max":
                return segments.largest(rows, value.attributes["empty"])
            if op == "min":
                return segments.smallest(rows, value.attributes["empty"])
            if op == "last":
                others = arrays[1] if len(arrays) > 1 else np.zeros((len(segments), *value.shape), rows.dtype)
                return segments.last(rows, others)
            assert op == "quantile", op
            q, interpolation, empty = (value.attributes[name] for name in ("q", "interpolation", "empty"))
            return segments.quantiles(rows, q, interpolation, empty).reshape(len(segments), *value.shape)

        given = [message, *inputs[1:]] if op == "last" else [message]
        result = Estimate(compute([one.exact for one in given], None))
        scale: Array | float = 0.0
        if op == "prod":
            scale = ROUNDED * np.sqrt(_column(segments.counts, value)) * np.abs(result.exact)
        elif op == "quantile" and value.attributes["interpolation"] in ("linear", "midpoint"):
            scale = ROUNDED * np.abs(result.exact)
        return with_trials(given, result, compute, self._noise(value), scale)

    def _sum(self, value: Value, segments: Segments, message: Estimate) -> Estimate:
        if not self._noise(value).trials:
            return Estimate(segments.sum(message.exact))
        result = Estimate(segments.sum(message.exact), None, segments.sum(message.magnitude2))
        if message.trials is None and is_whole(message.exact, segments.sum(np.abs(message.exact))):
            return result
        scale = sum_rounding(result.exact, result.magnitude2, _column(segments.counts, value))
        return with_trials(
            [message], result, lambda arrays, turn: segments.sum(arrays[0], turn), self._noise(value), scale
        )

    def _softmax_sum(
        self, value: Value, segments: Segments, order: LongArray | None, inputs: list[Estimate]
    ) -> Estimate:
        logits, messages = (one if order is None else one.take(order) for one in inputs[:2])
        if len(inputs) == 4:
            longer, messages = self._with_own(segments, messages, inputs[3])
            segments, logits = self._with_own(segments, logits, inputs[2])
            assert np.array_equal(longer.offsets, segments.offsets)

        def compute(arrays: list[Array], turn: int | None) -> Array:
            rank = len(value.shape) + 1
            share, rows = (a.reshape(len(a), *(1,) * (rank - a.ndim), *a.shape[1:]) for a in arrays)
            return segments.sum(segments.softmax(share, turn) * rows, turn)

        noise = self._noise(value)
        exact = compute([logits.exact, messages.exact], None)
        if not noise.trials:
            return Estimate(exact)
        squares = compute([logits.exact, messages.magnitude2], None)
        scale = sum_rounding(exact, squares, _column(segments.counts, value)) + U * np.sqrt(squares)
        return with_trials([logits, messages], Estimate(exact), compute, noise, scale)

    def _with_own(self, segments: Segments, rows: Estimate, own: Estimate) -> tuple[Segments, Estimate]:
        """One more edge for every node, the last of its group."""
        both = joined(rows, own)
        group = np.concatenate([np.repeat(np.arange(len(segments)), segments.counts), np.arange(len(segments))])
        order = np.argsort(group, kind="stable")
        return Segments(np.searchsorted(group[order], np.arange(len(segments) + 1))), both.take(order)


def filled(value: Value, rows: int) -> Estimate:
    number = value.attributes["value"]
    exact = np.full((rows, *value.shape), number, np.float64)
    return Estimate(exact)


def joined(first: Estimate, second: Estimate) -> Estimate:
    """The rows of both."""
    exact = np.concatenate([first.exact, second.exact])
    trials = squares = None
    count = len(first.trials) if first.trials is not None else len(second.trials) if second.trials is not None else 0
    if count:
        trials = np.stack([np.concatenate([first.trial(number), second.trial(number)]) for number in range(count)])
    if first.squares is not None or second.squares is not None:
        squares = np.concatenate([first.magnitude2, second.magnitude2])
    return Estimate(exact, trials, squares)


def is_whole(numbers: Array, absolute: Array) -> bool:
    """Whether float32 adds these numbers up without rounding: they are whole, and not too large together."""
    return bool(absolute.max(initial=0) <= 1 << 24) and bool(
        np.array_equal(np.rint(numbers[:8]), numbers[:8]) and np.array_equal(np.rint(numbers), numbers)
    )


def _column(counts: LongArray, value: Value) -> Array:
    return counts.reshape(-1, *(1,) * len(value.shape)).astype(np.float64)
