"""Random graphs to run a module on: one to record it, others to check the recording.

Comes in: what forward takes. Goes out: tensors in float64, and how many rows each space has. The graphs have what real
ones have: isolated nodes (the last one too), self-loops, parallel edges, a hub. Parallel self-loops are left out: where
self-loops carry values, PyG keeps one of them by the order of the edges.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.formula.interpret import GraphArrays
from pipeline.formula.spaces import PROPER, SELF_LOOPS, Edges, Nodes
from pipeline.pyg.arguments import Argument
from pipeline.pyg.call import Sizes
from pipeline.pyg.types import UNTYPED, Types, counts_of, few_rows, linked
from pipeline.schema import EdgeType


@dataclass(frozen=True)
class Example:
    """One graph, for the module as tensors and for the interpreter as arrays."""

    edge_indices: Mapping[EdgeType, Tensor]
    """(2, edges) int64 of each edge type."""
    columns: Mapping[str, Tensor]
    """Argument.name → (rows, *shape), float64, int64 or bool"""
    arguments: Sequence[Argument]
    sizes: Sizes

    @property
    def edge_index(self) -> Tensor:
        """That of a graph of one edge type."""
        (edge_index,) = self.edge_indices.values()
        return edge_index

    @property
    def arrays(self) -> GraphArrays:
        ends = {kind: (index[0].numpy(), index[1].numpy()) for kind, index in self.edge_indices.items()}
        counts = {space.type: count for space, count in self.sizes.counts.items() if isinstance(space, Nodes)}
        nodes: dict[str, dict[str, Any]] = {name: {} for name in counts}
        edges: dict[EdgeType, dict[str, Any]] = {kind: {} for kind in ends}
        for argument in self.arguments:
            space, array = argument.space, self.columns[argument.name].numpy()
            (nodes[space.type] if isinstance(space, Nodes) else edges[space.type])[argument.input] = array
        return GraphArrays(counts, ends, nodes, edges)

    def fresh(self) -> Example:
        """The same in tensors of its own: forward may change what it is given in place."""
        columns = {name: tensor.clone() for name, tensor in self.columns.items()}
        return replace(
            self, edge_indices={kind: each.clone() for kind, each in self.edge_indices.items()}, columns=columns
        )

    def without(self, edge_type: EdgeType) -> Example:
        """The same without edges of a type."""
        indices = {kind: each[:, :0] if kind == edge_type else each for kind, each in self.edge_indices.items()}
        of_type = {
            each.name for each in self.arguments if isinstance(each.space, Edges) and each.space.type == edge_type
        }
        columns = {name: each[:0] if name in of_type else each for name, each in self.columns.items()}
        return replace(self, edge_indices=indices, columns=columns)

    def positive(self) -> Example:
        """The same without negative numbers, for models that take logarithms or roots of their inputs."""
        signs = {name: tensor for name, tensor in self.columns.items() if tensor.dtype is not torch.bool}
        return replace(self, columns={**self.columns, **{name: tensor.abs() for name, tensor in signs.items()}})


GRAPHS = ((1009, 1301, 211), (317, 1103, 103), (614, 401, 59), (211, 797, 37))
SMALL = (41, 60, 7)
FEW_KINDS = min(map(min, GRAPHS))
MOST_KINDS = 1 << 13  # kinds of rows of which forward may go through all, one by one; an embedding may have millions


def examples(
    arguments: Sequence[Argument],
    widths: Iterable[int],
    seed: int = 0,
    distinct: bool = False,
    types: Types = UNTYPED,
) -> Iterator[Example]:
    """Graphs of ever other sizes; of several types, also one for each in which that type is empty. The first is to be
    recorded. `widths`: sizes that occur in the model, which no number of rows may equal.

    `distinct`: no parallel edges, and ordered by dst and src, as the entries of a sparse matrix are.
    """
    taken = frozenset(widths)
    rng = np.random.default_rng(seed)
    # every number of self-loops is another one, and at most one loop a node
    most = max((types.among(name) for name in types.nodes), default=0)
    more = _more_than_kinds(arguments)
    graphs = [(max(nodes, 4 * most), proper, loops) for nodes, proper, loops in GRAPHS]
    graphs[0] = graphs[0][0] + more, graphs[0][1] + more, graphs[0][2] + more
    for nodes, proper, loops in graphs:
        while True:
            sizes = Sizes(counts_of(types, nodes, proper, loops, taken), taken)
            if len(set(sizes.counts.values())) == len(sizes.counts) and taken.isdisjoint(sizes.counts.values()):
                break
            nodes, proper, loops = nodes + 2, proper + 6, loops + 4
        yield _example(arguments, rng, sizes, distinct, types)
    for name in types.nodes if len(types.nodes) > 1 else ():
        yield _example(arguments, rng, Sizes(counts_of(types, *graphs[-1], taken, name), taken), distinct, types)


def kinds_of(arguments: Iterable[Argument]) -> int:
    """How many kinds of rows forward may tell apart, at most."""
    return max((each.below for each in arguments if each.below and each.below <= MOST_KINDS), default=0)


def _more_than_kinds(arguments: Sequence[Argument]) -> int:
    """How much larger than in GRAPHS the sizes of the recorded graph have to be: forward may compare a column with each
    of its kinds, which must not pass for a number of rows (RGCN, of relation 211). The others are not recorded, and
    work that is done for each kind and row is theirs three times."""
    kinds = kinds_of(arguments)
    return kinds if kinds > FEW_KINDS else 0


def tiny_example(
    arguments: Sequence[Argument], widths: Iterable[int], distinct: bool = False, types: Types = UNTYPED
) -> Example:
    """A graph of a few edges, to try widths on. No width is its number of nodes, else a row could pass for a column."""
    taken = set(widths)
    nodes = next(nodes for nodes in itertools.count(7) if nodes not in taken)
    sizes = Sizes(counts_of(types, nodes, 11, 3, taken))
    return _example(arguments, np.random.default_rng(1), sizes, distinct, types)


def small_examples(arguments: Sequence[Argument], distinct: bool = False, types: Types = UNTYPED) -> Iterator[Example]:
    """Graphs of few nodes, for programs alone: a module might take a number of rows for another one. The second lacks
    the nodes of a type and the edges of some; of one type, it has no edges."""
    rng = np.random.default_rng(2)
    nodes, proper, loops = SMALL
    proper += kinds_of(arguments)
    yield _example(arguments, rng, Sizes(few_rows(types, nodes, proper, loops)), distinct, types)
    less = few_rows(types, nodes, proper, loops, types.nodes[-1]) if types.is_typed else few_rows(types, nodes, 0, 0)
    yield _example(arguments, rng, Sizes(less), distinct, types)


def example_of(
    arguments: Sequence[Argument],
    nodes: int,
    proper: int,
    loops: int,
    widths: Iterable[int],
    distinct: bool = False,
    types: Types = UNTYPED,
    parallel_loops: bool = False,
) -> Example:
    """A graph of this size, whatever else has it. `parallel_loops`: some nodes have several self-loops."""
    rng = np.random.default_rng(nodes + proper)
    sizes = Sizes(counts_of(types, nodes, proper, loops), frozenset(widths))
    return _example(arguments, rng, sizes, distinct, types, parallel_loops)


def _example(
    arguments: Sequence[Argument],
    rng: np.random.Generator,
    sizes: Sizes,
    distinct: bool,
    types: Types,
    parallel_loops: bool = False,
) -> Example:
    indices = {
        kind: torch.from_numpy(np.stack(_edges(rng, sizes.counts, kind, distinct, parallel_loops)))
        for kind in types.edges
    }
    columns = {a.name: torch.from_numpy(_column(rng, a, sizes.counts[a.space])) for a in arguments}
    return Example(indices, columns, arguments, sizes)


def _edges(
    rng: np.random.Generator,
    counts: Mapping[Nodes | Edges, int],
    kind: EdgeType,
    distinct: bool,
    parallel_loops: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random src and dst; the last tenth of the nodes has no edge at all."""
    here = linked(counts[Nodes(kind.target)])
    if kind.source != kind.target:
        src, dst = _between(rng, linked(counts[Nodes(kind.source)]), here, counts[Edges(kind)])
        return src, dst
    proper, loops = counts[Edges(kind, PROPER)], counts[Edges(kind, SELF_LOOPS)]
    src, dst = (_distinct if distinct else _parallel)(rng, max(here, 1), proper)
    own = rng.integers(0, max(here // 4, 1), loops) if parallel_loops else rng.permutation(here)[:loops]
    src, dst = np.concatenate([src, own]), np.concatenate([dst, own])
    order = np.lexsort((src, dst)) if distinct else rng.permutation(proper + loops)
    return src[order], dst[order]


def _between(rng: np.random.Generator, sources: int, targets: int, edges: int) -> tuple[npt.NDArray[Any], ...]:
    """Edges between two types, of which a tenth is there twice, and an eighth leads to node 0."""
    src, dst = rng.integers(0, max(sources, 1), edges), rng.integers(0, max(targets, 1), edges)
    dst[: edges // 8] = 0
    again = edges // 10
    src[edges - again :], dst[edges - again :] = src[:again], dst[:again]
    order = rng.permutation(edges)
    return src[order], dst[order]


def _parallel(rng: np.random.Generator, linked: int, proper: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Edges of which a tenth is there twice, and an eighth leads to node 0."""
    src = rng.integers(0, linked, proper)
    dst = (src + rng.integers(1, max(linked, 2), proper)) % linked
    hub = slice(0, proper // 8)
    dst[hub] = 0
    src[hub] = rng.integers(min(1, linked - 1), linked, proper // 8)
    repeated = slice(proper - proper // 10, proper)
    source = slice(proper - 2 * (proper // 10), proper - proper // 10)
    src[repeated][: proper // 10], dst[repeated][: proper // 10] = src[source], dst[source]
    return src, dst


def _distinct(rng: np.random.Generator, linked: int, proper: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Edges that are all different; up to an eighth of them leads to node 0. Needs less than half of all pairs."""
    hub = 1 + rng.permutation(linked - 1)[: proper // 8] if linked > 1 else np.zeros(0, np.int64)
    found = hub * linked  # src * linked + dst
    while len(found) < proper:
        src = rng.integers(0, linked, proper)
        dst = (src + rng.integers(1, linked, proper)) % linked
        _, first = np.unique(codes := np.concatenate([found, src * linked + dst]), return_index=True)
        found = codes[np.sort(first)]
    found = found[:proper]
    return found // linked, found % linked


def _column(rng: np.random.Generator, argument: Argument, rows: int) -> npt.NDArray[Any]:
    """Numbers around 0; a single number per row (an edge's weight) is positive, as degrees are made of them.

    Of other single numbers than a weight each third is 0, 1, 2 or 3: they may be kinds that forward compares.
    """
    shape = (rows, *argument.shape)
    if argument.mask:
        chosen = rng.random(shape) < 0.4
        chosen[:2] = (True, False)[: len(chosen)]
        return chosen
    if argument.below is not None:
        numbers = rng.integers(0, argument.below, shape)
        if FEW_KINDS < argument.below <= rows - 2 and len(shape) == 1:
            numbers[2 : argument.below + 2] = rng.permutation(argument.below)  # on this graph each is tried
        numbers[:2] = argument.below - 1  # what is too large for the module is there, whichever nodes a mask chooses
        return numbers
    if len(shape) > 1:
        return rng.normal(size=shape)
    values = rng.uniform(0.1, 1.5, shape)
    if argument.input != "edge_weight":
        values[::3] = rng.integers(0, 4, len(values[::3]))
    return values
