"""`g` in a formula: the edges of one type, as the place where node values meet.

Get vertex: `src`, `dst`. Get edge: `edge`. Message passing: the reductions. Everything else in a formula is per row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import FormulaError, nearest
from pipeline.formula.spaces import ALL, PROPER, SELF_LOOPS, SELF_PART, Edges
from pipeline.formula.values import Operand, Value, apply, edge_input, fill


class Relation:
    """The edges of one type, or of one part of it, in a formula."""

    def __init__(self, edges: Edges | None = None, columns: Mapping[str, tuple[int, ...]] | None = None):
        """`columns`: edge column → shape of a row, as the model declares its inputs."""
        self.edges = edges or Edges()
        self._columns = dict(columns or {})
        self._own_values: dict[str, Operand] = {}
        self._remaining: float | None = None
        self._forward: Relation | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        known = [each for each in dir(type(self)) if not each.startswith("_")]
        raise FormulaError(f"the edges of a formula have no g.{name}; {nearest(name, known)}")

    def src(self, value: Value) -> Value:
        """The value of each edge's source node: this is what crosses the network."""
        return apply("src", value, edges=self.edges)

    def dst(self, value: Value) -> Value:
        """The value of each edge's target node."""
        return apply("dst", value, edges=self.edges)

    def edge(self, name: str) -> Value:
        """A column of the edge table; on added self-loops the value that with_self_loops was given (1 if none)."""
        if self._forward is not None:
            return apply("flip", self._forward.edge(name))
        if name not in self._columns:
            raise FormulaError(f"no edge column {name!r} among the inputs; {nearest(name, self._columns)}")
        value = edge_input(name, self._columns[name], Edges(self.edges.type, ALL))
        base = {own: part for part, own in SELF_PART.items()}.get(self.edges.part, self.edges.part)
        if base != ALL:
            value = apply("restrict", value, part=base)
        if self.edges.part != base:
            value = apply("extend", value, self._own_value(name, value))
        return value

    def _own_value(self, name: str, value: Value) -> Value:
        """What an edge column is on the added loops."""
        own = self._own_values.get(name, 1.0)
        if not isinstance(own, Value):
            own = fill(own, self.edges.target, value.shape)
        if self._remaining is None:
            return own
        table = edge_input(name, self._columns[name], Edges(self.edges.type, ALL))
        return apply("last", apply("restrict", table, part=SELF_LOOPS), own)

    def ones(self) -> Value:
        """1 for every edge."""
        return fill(1.0, self.edges)

    def sum(self, messages: Value) -> Value:
        """Sum over the edges into each node; 0 where there are none."""
        return apply("sum", messages)

    def degree(self) -> Value:
        """Number of edges into each node, shape ()."""
        return self.sum(self.ones())

    def mean(self, messages: Value) -> Value:
        """Mean over the edges into each node; 0 where there are none."""
        count = apply("clamp", self.degree(), low=1.0, high=float("inf"))
        return self.sum(messages) / count.reshape(*(1 for _ in messages.shape))

    def max(self, messages: Value) -> Value:
        """Maximum over the edges into each node; 0 where there are none, as in PyG."""
        return apply("max", messages, empty=0.0)

    def min(self, messages: Value) -> Value:
        """Minimum over the edges into each node; 0 where there are none, as in PyG."""
        return apply("min", messages, empty=0.0)

    def prod(self, messages: Value) -> Value:
        """Product over the edges into each node; 1 where there are none, as in PyG."""
        return apply("prod", messages)

    def logsumexp(self, messages: Value) -> Value:
        """log Σ exp over the edges into each node, a smooth maximum; 0 where there are none, as in torch_scatter."""
        return apply("logsumexp", messages, empty=0.0)

    def quantile(self, messages: Value, q: float | Sequence[float], interpolation: str = "linear") -> Value:
        """Quantile over the edges into each node, lane by lane; 0 where there are none, as in PyG.

        Several of them stand one behind the other: (d, …) → (len(q) * d, …). `interpolation`: linear, lower, higher or
        midpoint.
        """
        parts = (q,) if isinstance(q, int | float) else q
        return apply("quantile", messages, q=tuple(map(float, parts)), interpolation=interpolation, empty=0.0)

    def median(self, messages: Value) -> Value:
        """Median over the edges into each node, the lower one of two; 0 where there are none, as in PyG."""
        return self.quantile(messages, 0.5, "lower")

    def softmax(self, logits: Value) -> Value:
        """Softmax over the edges into the same node, per lane (torch_geometric.utils.softmax)."""
        return apply("softmax", logits)

    def reversed(self) -> Relation:
        """The same edges against their direction: src and dst in each other's place, reductions at the other end.

        An edge value of `g` becomes one of `g.reversed()`, and the other way round, by `flip`.
        """
        if self._forward is not None:
            return self._forward
        turned = Relation(self.edges.reversed, self._columns)
        turned._forward = self
        return turned

    def without_self_loops(self) -> Relation:
        """The same edges less the self-loops (torch_geometric.utils.remove_self_loops)."""
        if self._forward is not None:
            return self._forward.without_self_loops().reversed()
        if self.edges.part != ALL:
            raise FormulaError(f"self-loops were already changed: these edges are {self.edges}")
        return self._part(PROPER)

    def with_self_loops(self, **values: Operand) -> Relation:
        """The same edges and one loop per node. `values`: edge column → its value there, a number or a node value."""
        if self._forward is not None:
            return self._forward.with_self_loops(**values).reversed()
        if self.edges.part not in SELF_PART:
            raise FormulaError(f"self-loops were already added: these edges are {self.edges}")
        relation = self._part(SELF_PART[self.edges.part])
        relation._own_values = dict(values)
        return relation

    def with_remaining_self_loops(self, value: float = 1.0) -> Relation:
        """One loop per node: the table's own where there is one, with its values, else one with `value` in all columns
        (torch_geometric.utils.add_remaining_self_loops)."""
        if self._forward is not None:
            return self._forward.with_remaining_self_loops(value).reversed()
        relation = self.without_self_loops().with_self_loops(**dict.fromkeys(self._columns, value))
        relation._remaining = value
        return relation

    def _part(self, part: str) -> Relation:
        return Relation(Edges(self.edges.type, part), self._columns)
