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
from pipeline.formula.spaces import ALL_SELF, PROPER, PROPER_SELF, SELF_LOOPS, Edges, Nodes
from pipeline.pyg.arguments import Argument
from pipeline.pyg.call import Sizes
from pipeline.schema import EDGE, NODE


@dataclass(frozen=True)
class Example:
    """One graph, for the module as tensors and for the interpreter as arrays."""

    edge_index: Tensor
    """(2, edges) int64"""
    columns: Mapping[str, Tensor]
    """Argument → (rows, *shape), float64, int64 or bool"""
    tables: Mapping[str, str]
    """Argument → its table, "nodes" or "edges"."""
    sizes: Sizes

    @property
    def arrays(self) -> GraphArrays:
        src, dst = self.edge_index.numpy()
        nodes, edges = (
            {name: self.columns[name].numpy() for name in self.columns if self.tables[name] == table}
            for table in ("nodes", "edges")
        )
        return GraphArrays({NODE: self.sizes.counts[Nodes()]}, {EDGE: (src, dst)}, {NODE: nodes}, {EDGE: edges})

    def fresh(self) -> Example:
        """The same in tensors of its own: forward may change what it is given in place."""
        columns = {name: tensor.clone() for name, tensor in self.columns.items()}
        return replace(self, edge_index=self.edge_index.clone(), columns=columns)

    def positive(self) -> Example:
        """The same without negative numbers, for models that take logarithms or roots of their inputs."""
        signs = {name: tensor for name, tensor in self.columns.items() if tensor.dtype is not torch.bool}
        return replace(self, columns={**self.columns, **{name: tensor.abs() for name, tensor in signs.items()}})


def examples(
    arguments: Sequence[Argument], widths: Iterable[int], seed: int = 0, distinct: bool = False
) -> Iterator[Example]:
    """Graphs of ever other sizes. `widths`: sizes that occur in the model, which no number of rows may equal.

    `distinct`: no parallel edges, and ordered by dst and src, as the entries of a sparse matrix are.
    """
    taken = set(widths)
    rng = np.random.default_rng(seed)
    for nodes, proper, loops in ((1009, 1301, 211), (317, 1103, 103), (614, 401, 59), (211, 797, 37)):
        while True:
            sizes = _sizes(nodes, proper, loops, frozenset(taken))
            if len(set(sizes.counts.values())) == len(sizes.counts) and taken.isdisjoint(sizes.counts.values()):
                break
            nodes, proper, loops = nodes + 2, proper + 6, loops + 4
        yield _example(arguments, rng, sizes, nodes, proper, loops, distinct)


def tiny_example(arguments: Sequence[Argument], widths: Iterable[int], distinct: bool = False) -> Example:
    """A graph of a few edges, to try widths on. No width is its number of nodes, else a row could pass for a column."""
    taken = set(widths)
    nodes = next(nodes for nodes in itertools.count(7) if nodes not in taken)
    return _example(arguments, np.random.default_rng(1), _sizes(nodes, 11, 3), nodes, 11, 3, distinct)


def example_of(
    arguments: Sequence[Argument], nodes: int, proper: int, loops: int, widths: Iterable[int], distinct: bool = False
) -> Example:
    """A graph of this size, whatever else has it."""
    rng = np.random.default_rng(nodes + proper)
    return _example(arguments, rng, _sizes(nodes, proper, loops, frozenset(widths)), nodes, proper, loops, distinct)


def counts_of(nodes: int, proper: int, loops: int) -> dict[Nodes | Edges, int]:
    """How many rows each space has."""
    return _sizes(nodes, proper, loops).counts


def _sizes(nodes: int, proper: int, loops: int, widths: frozenset[int] = frozenset()) -> Sizes:
    return Sizes(
        {
            Nodes(): nodes,
            Edges(): proper + loops,
            Edges(part=PROPER): proper,
            Edges(part=SELF_LOOPS): loops,
            Edges(part=ALL_SELF): proper + loops + nodes,
            Edges(part=PROPER_SELF): proper + nodes,
        },
        widths,
    )


def _example(
    arguments: Sequence[Argument],
    rng: np.random.Generator,
    sizes: Sizes,
    nodes: int,
    proper: int,
    loops: int,
    distinct: bool,
) -> Example:
    src, dst = _edges(rng, nodes, proper, loops, distinct)
    rows = {"nodes": nodes, "edges": len(src)}
    columns = {a.name: torch.from_numpy(_column(rng, a, rows[a.table])) for a in arguments}
    tables = {a.name: a.table for a in arguments}
    return Example(torch.from_numpy(np.stack([src, dst])), columns, tables, sizes)


def _edges(
    rng: np.random.Generator, nodes: int, proper: int, loops: int, distinct: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Random src and dst; the last tenth of the nodes has no edge at all."""
    linked = nodes - nodes // 10
    src, dst = (_distinct if distinct else _parallel)(rng, linked, proper)
    own = rng.permutation(linked)[:loops]
    src, dst = np.concatenate([src, own]), np.concatenate([dst, own])
    order = np.lexsort((src, dst)) if distinct else rng.permutation(proper + loops)
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
        chosen[:2] = True, False
        return chosen
    if argument.below is not None:
        numbers = rng.integers(0, argument.below, shape)
        numbers[:2] = argument.below - 1  # what is too large for the module is there, whichever nodes a mask chooses
        return numbers
    if len(shape) > 1:
        return rng.normal(size=shape)
    values = rng.uniform(0.1, 1.5, shape)
    if argument.name != "edge_weight":
        values[::3] = rng.integers(0, 4, len(values[::3]))
    return values
