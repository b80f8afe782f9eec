"""`g` in a formula of a typed graph: the edges of each type, and reductions over several of them at once.

Comes in: edge types and their columns. Goes out: a Relation for each; sums, means, maxima and one softmax over all
edges into a node, whatever their type.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.errors import FormulaError, nearest, shortened
from pipeline.formula.relation import Relation
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.schema import EdgeType

Triple = tuple[str, str, str]


class Relations(Mapping[Triple, Relation]):
    """(source type, relation, target type) → the edges of that type, in the order of the model's inputs."""

    def __init__(self, columns: Mapping[EdgeType, Mapping[str, tuple[int, ...]]], types: Sequence[str]):
        """`columns`: edge type → edge column → shape of a row. `types`: those of the nodes, with edges or without."""
        self.types = tuple(types)
        self._relations = {
            (kind.source, kind.relation, kind.target): Relation(Edges(kind), held) for kind, held in columns.items()
        }

    def __getitem__(self, kind: Triple) -> Relation:
        if kind in self._relations:
            return self._relations[kind]
        known = {str(each): each for each in self._relations}
        near = nearest(str(kind), known)
        raise FormulaError(f"no edges of the type {shortened(kind)} among the inputs; {near}")

    def __iter__(self) -> Iterator[Triple]:
        return iter(self._relations)

    def __len__(self) -> int:
        return len(self._relations)

    def __contains__(self, kind: object) -> bool:
        return kind in self._relations

    def into(self, node_type: str) -> list[Triple]:
        """The edge types whose targets are nodes of this type."""
        return [kind for kind in self if kind[2] == node_type]

    def sum(self, messages: Mapping[Triple, Value]) -> dict[str, Value]:
        """Sum over the edges of all given types into each node: node type → value. 0 where a node has none."""
        return self._together(messages, lambda kind, each: self[kind].sum(each), "add")

    def degree(self) -> dict[str, Value]:
        """Number of edges of all types into each node, shape (): node type → value."""
        return self.sum({kind: relation.ones() for kind, relation in self.items()})

    def mean(self, messages: Mapping[Triple, Value]) -> dict[str, Value]:
        """Mean over the edges of all given types into each node; 0 where there are none."""
        counts = self._counts(messages)
        return {
            name: total / apply("maximum", counts[name], 1.0).reshape(*(1 for _ in total.shape))
            for name, total in self.sum(messages).items()
        }

    def max(self, messages: Mapping[Triple, Value]) -> dict[str, Value]:
        """Maximum over the edges of all given types into each node; 0 where there are none."""
        return self._extreme(messages, "max", -math.inf)

    def min(self, messages: Mapping[Triple, Value]) -> dict[str, Value]:
        """Minimum over the edges of all given types into each node; 0 where there are none."""
        return self._extreme(messages, "min", math.inf)

    def softmax(self, logits: Mapping[Triple, Value]) -> dict[Triple, Value]:
        """One softmax over the edges of all given types into the same node, per lane: edge type → shares."""
        for kind, each in logits.items():
            _check_edges(kind, each)
        shares: dict[Triple, Value] = {}
        for members in _by_target(logits).values():
            shares |= zip(members, shared_softmax([logits[kind] for kind in members]), strict=True)
        return {kind: shares[kind] for kind in logits}

    def _extreme(self, messages: Mapping[Triple, Value], op: str, empty: float) -> dict[str, Value]:
        both = {"max": "maximum", "min": "minimum"}[op]
        found = self._together(messages, lambda _, each: apply(op, each, empty=empty), both)
        counts = self._counts(messages)
        return {
            name: apply(
                "where",
                apply("equal", counts[name], 0.0).reshape(*(1 for _ in value.shape)),
                fill(0.0, value.space, value.shape),
                value,
            )
            for name, value in found.items()
        }

    def _counts(self, messages: Mapping[Triple, Value]) -> dict[str, Value]:
        """How many messages each node gets: node type → value of shape ()."""
        return self.sum({kind: fill(1.0, each.space) for kind, each in messages.items()})

    def _together(
        self, messages: Mapping[Triple, Value], reduced: Callable[[Triple, Value], Value], op: str
    ) -> dict[str, Value]:
        for kind, each in messages.items():
            _check_edges(kind, each)
        return {
            name: functools.reduce(functools.partial(apply, op), [reduced(kind, messages[kind]) for kind in kinds])
            for name, kinds in _by_target(messages).items()
        }


def shared_softmax(logits: Sequence[Value]) -> list[Value]:
    """Softmax over the edges of several types into the same nodes (torch_geometric.utils.softmax)."""
    if len(logits) == 1:
        return [apply("softmax", logits[0])]
    highest = [apply("max", each, empty=-math.inf) for each in logits]
    top = functools.reduce(functools.partial(apply, "maximum"), highest)
    powers = [apply("exp", each - apply("dst", top, edges=each.space)) for each in logits]
    sums = [apply("sum", each) for each in powers]
    total = functools.reduce(functools.partial(apply, "add"), sums) + 1e-16
    return [each / apply("dst", total, edges=each.space) for each in powers]


def _by_target(kinds: Mapping[Triple, Value]) -> dict[str, list[Triple]]:
    """Node type → the edge types into it, in their order."""
    found: dict[str, list[Triple]] = {}
    for kind in kinds:
        found.setdefault(kind[2], []).append(kind)
    return found


def _check_edges(kind: Triple, value: Value) -> None:
    """FormulaError unless the value has a row for each edge of this type."""
    space = getattr(value, "space", None)
    if not isinstance(space, Edges) or space.type != EdgeType(*kind):
        raise FormulaError(
            f"for the edges {kind} a value of these edges is expected, g[{', '.join(map(repr, kind))}].src(…); "
            f"this is {value!r}"
        )
