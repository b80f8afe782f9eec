"""Exact k-hop neighbourhoods of a few nodes, collected from the raw tables hop by hop with semi-joins
(tables/semi_join.py).

Comes in: a graph's tables, node ids, how many hops. Goes out: sub-graphs that fit in memory. Knows nothing of prepared
graphs, blocks or plans: `verify` is to share as little as possible with what it verifies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Program
from pipeline.graph import Graph
from pipeline.schema import DST, ID, SRC
from pipeline.verifying.semi_join import BACK, COUNT, OR_DROPPED, OTHER_TABLES, counts, edge_rows, node_rows


@dataclass(frozen=True)
class Hops:
    """How far from a node its output reads."""

    edges: int
    """Edges into the node, into the sources of these edges, …: so many times."""
    features: int
    """Features are read up to this distance. A degree needs edges one hop beyond the features."""

    both_ways: bool = False
    """Edges out of a node are read as well as edges into it."""
    distance: Mapping[int, int] = field(default_factory=dict, compare=False, repr=False)
    """Value.id of a node value → up to which distance from the node it is read; of a softmax over neighbours, of the
    nodes that its edges lead to."""

    @staticmethod
    def of(program: Program) -> Hops:
        # of edge values, how far off is the node that reads them: as its edges' dst, or (`there`) as their src
        distance = {(value.id, False): 0 for value in program.outputs.values()}
        edges = features = 0
        needed: dict[int, int] = {}
        for value in reversed(program.values):
            kind = OPERATIONS[value.op].kind
            for there in (False, True):
                if (value.id, there) not in distance:
                    continue
                at, side = distance[value.id, there], there
                if value.op == "input" and value.is_node:
                    features = max(features, at)
                elif value.op == "flip":
                    side = not there
                elif value.op == "src" or kind in ("reduce", "normalise") or value.op == "dst":
                    at, side = at + (there != (value.op == "src")), False
                if kind in ("reduce", "normalise"):
                    edges = max(edges, at + 1)
                if value.is_node or kind == "normalise":
                    needed[value.id] = max(needed.get(value.id, 0), at)
                for operand in value.inputs:
                    key = operand.id, side and operand.is_edge
                    distance[key] = max(distance.get(key, 0), at)
        return Hops(edges, features, any(edge_type.is_reversed for edge_type in program.edge_types), needed)


@dataclass(frozen=True)
class Neighbourhood:
    """Some nodes, and everything that their outputs depend on."""

    rings: tuple[pa.Array, ...]
    """Ids of the nodes that it is around, the centres; of those at distance 1; …; a node is in the first ring that
    reaches it. All edges into a node are in `edges`, but for the last ring."""
    edges: pa.Table
    """src, dst, and the values v0, v1, … of the edge layout."""

    @property
    def centres(self) -> pa.Array:
        return self.rings[0]

    @property
    def outer(self) -> pa.Array:
        return self.rings[-1]

    @property
    def nodes(self) -> pa.Array:
        """Ring by ring."""
        return pa.concat_arrays(self.rings)

    @property
    def reach(self) -> tuple[int, ...]:
        """How many nodes there are up to distance 0, 1, …"""
        return tuple(accumulate(map(len, self.rings)))

    def grown(self, edges: pa.Table) -> Neighbourhood:
        """One hop larger; `edges` are all the edges into `outer`."""
        sources = pc.unique(edges[SRC])
        beyond = sources.filter(pc.invert(pc.is_in(sources, value_set=self.nodes)))
        return Neighbourhood((*self.rings, beyond), pa.concat_tables([self.edges, edges]))

    def one_way(self) -> Neighbourhood:
        """Each edge once, in its own direction, where edges were collected by both ends."""
        inner = pa.concat_arrays([self.outer[:0], *self.rings[:-1]])
        back = self.edges[BACK].combine_chunks()
        twice = pc.and_(back, pc.is_in(self.edges[SRC].combine_chunks(), value_set=inner))
        edges = self.edges.filter(pc.invert(twice))
        back = edges[BACK]
        turned = {end: pc.if_else(back, edges[other], edges[end]) for end, other in ((SRC, DST), (DST, SRC))}
        values = {name: edges[name] for name in edges.column_names if name not in (SRC, DST, BACK)}
        return Neighbourhood(self.rings, pa.table({**turned, **values}))

    def around(self, centres: pa.Array, hops: int, more: pa.Table | None = None) -> Neighbourhood:
        """The part of it that belongs to some of its centres, up to a distance; `more`: edges into `outer`, if they
        are known. A node of the outermost ring may be nearer to another centre: its edges are not among these."""
        edges = self.edges if more is None else pa.concat_tables([self.edges, more])
        part = Neighbourhood((centres,), self.edges[:0])
        for _ in range(hops):
            part = part.grown(edges.filter(pc.is_in(edges[DST], value_set=part.outer)))
        return part

    def sizes(self, degrees: pa.Table) -> list[int]:
        """Edges around each centre after one more hop; `degrees`: how many edges lead to which node of `outer`."""
        ids = self.nodes
        degree = np.zeros(len(ids), np.int64)
        for known in (counts(self.edges, DST), degrees):
            degree[pc.index_in(known[DST], value_set=ids).to_numpy()] = known[COUNT].to_numpy()
        src, dst = (pc.index_in(self.edges[end], value_set=ids).to_numpy() for end in (SRC, DST))
        order = np.argsort(dst, kind="stable")
        src, ends = src[order], np.searchsorted(dst[order], np.arange(len(ids) + 1))
        reached_by = np.full(len(ids), -1)
        sizes = []
        for centre in range(len(self.centres)):
            ring, size = np.array([centre]), 0
            reached_by[centre] = centre
            for _ in range(len(self.rings) - 1):
                size += int(degree[ring].sum())
                ring = np.unique(src[_ranges(ends[ring], ends[ring + 1])])
                ring = ring[reached_by[ring] != centre]
                reached_by[ring] = centre
            sizes.append(size + int(degree[ring].sum()))
        return sizes


def _ranges(starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """start, start + 1, … end - 1 of each, one after another."""
    lengths = ends - starts
    return np.arange(lengths.sum()) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)


class Neighbourhoods:
    """The neighbourhoods of a sample, in as few groups as the limit allows.

    A semi-join reads the whole table, whatever it is asked for, and a group may be small: so the neighbourhoods of many
    groups are collected together, as long as they may be held, and cut afterwards.
    """

    def __init__(
        self, graph: Graph, hops: Hops, limit: int, hold: int, whole: Callable[[], int | None] = lambda: None
    ) -> None:
        """
        Parameters
        ----------
        limit
            Edges in one group.
        hold
            Edges that may be collected together, at least the limit.
        whole
            Tells how many edges there are in all, if they may be computed with at once in place of the groups; else
            None. It is asked once there is more than one group.
        """
        self.hops = hops
        self.limit = limit
        self.hold = max(limit, hold)
        self.too_large: list[int | str] = []
        """Ids around which there are more edges than the limit; complete when all groups have been taken."""
        self.rest: pa.Array | None = None
        """Ids that no group has, because groups of them would have more edges than the whole graph. Known when all
        groups have been taken."""
        self._whole = cache(whole)
        self._left_out = 0  # edges around those that are too large
        self._drop_dangling = graph.drop_dangling
        self._nodes = node_rows(graph)
        self._edges = edge_rows(graph, hops.both_ways)

    def groups(self, centres: pa.Array) -> Iterator[tuple[Neighbourhood, pa.Table]]:
        """Neighbourhoods with the features of their nodes (id, v0, v1, …)."""
        start = Neighbourhood((centres,), self._edges.none())
        done: list[pa.Array] = [centres[:0]]
        for whole, sizes in self._expand(start, [], 0):
            left = len(centres) - sum(map(len, done))
            if self._covers(self._edges_of_groups(whole, sizes) * left / max(1, len(whole.centres))):
                break
            done.append(whole.centres)
            whole, features = self._with_features(whole)
            for group in self._cut(whole, sizes):
                some = features.filter(pc.is_in(features[ID], value_set=group.nodes))
                yield (group.one_way() if self.hops.both_ways else group), some
        else:
            if not self._covers(0):
                return
        self.rest = centres.filter(pc.invert(pc.is_in(centres, value_set=pa.concat_arrays(done))))
        self.too_large.clear()

    def _edges_of_groups(self, collected: Neighbourhood, sizes: Sequence[int]) -> int:
        """About how many edges the groups of collected neighbourhoods have together."""
        if len(collected.edges) <= self.limit:
            return len(collected.edges)
        groups = _packed(sizes, self.limit, self.limit)
        return sum(min(sum(sizes[at] for at in chosen), self.limit) for chosen in groups)

    def _covers(self, edges: float) -> bool:
        """Whether groups of so many edges, and those that are too large, have more than the whole graph."""
        if edges + self._left_out <= self.limit:  # one group
            return False
        whole = self._whole()
        return whole is not None and edges + self._left_out > whole * (2 if self.hops.both_ways else 1)

    def _expand(self, group: Neighbourhood, sizes: list[int], hop: int) -> Iterator[tuple[Neighbourhood, list[int]]]:
        """Collected neighbourhoods, and the edges around each centre if those of all are more than the limit."""
        if hop == self.hops.edges:
            yield group, sizes
            return
        room = self.hold - len(group.edges)
        edges = self._edges.among(group.outer, room + 1)
        if len(group.edges) + len(edges) <= self.limit:
            yield from self._expand(group.grown(edges), [], hop + 1)
            return
        fits = len(edges) <= room
        sizes = group.sizes(counts(edges, DST) if fits else self._edges.counts(group.outer))
        too_large = {at: size for at, size in enumerate(sizes) if size > self.limit}
        self.too_large += [group.centres[at].as_py() for at in too_large]
        self._left_out += sum(too_large.values())
        for chosen in _packed(sizes, self.limit, sum(sizes) if fits else self.hold):
            centres, chosen_sizes = group.centres.take(pa.array(chosen)), [sizes[at] for at in chosen]
            if fits:
                part = group.around(centres, hop + 1, edges)
            else:
                part = group.around(centres, hop)
                part = part.grown(self._edges.among(part.outer))
            yield from self._expand(part, chosen_sizes, hop + 1)

    def _cut(self, whole: Neighbourhood, sizes: Sequence[int]) -> Iterator[Neighbourhood]:
        """Groups of centres, in their order."""
        if len(whole.edges) <= self.limit:
            yield whole
            return
        for chosen in _packed(sizes, self.limit, self.limit):
            yield whole.around(whole.centres.take(pa.array(chosen)), self.hops.edges)

    def _with_features(self, group: Neighbourhood) -> tuple[Neighbourhood, pa.Table]:
        """The nodes' rows, and whether the nodes beyond the features are nodes at all: one or two semi-joins."""
        near = pa.concat_arrays(group.rings[: self.hops.features + 1])
        features = self._nodes.among(near)
        known = pc.unique(features[ID])
        beyond = group.nodes.filter(pc.invert(pc.is_in(group.nodes, value_set=near)))
        if len(beyond):
            more = self._nodes.among(beyond, values=False)
            known = pa.concat_arrays([known, pc.unique(more[ID])])
        unknown = group.nodes.filter(pc.invert(pc.is_in(group.nodes, value_set=known)))
        return self._without(group, unknown) if len(unknown) else group, features

    def _without(self, group: Neighbourhood, unknown: pa.Array) -> Neighbourhood:
        """Without dangling edges. Unknown centres, or dangling edges that were not to be dropped: other tables."""
        scored = group.centres.filter(pc.is_in(group.centres, value_set=unknown))
        if len(scored) or not self._drop_dangling:
            what = "the scores hold ids" if len(scored) else "the edges begin at ids"
            first = ", ".join(map(str, (scored if len(scored) else unknown)[:3].to_pylist()))
            remedy = OTHER_TABLES if len(scored) else f"{OTHER_TABLES}; {OR_DROPPED}"
            raise DataError(f"{what} that are not among the nodes (first: {first}); {remedy}")
        ends = pc.or_(*(pc.is_in(group.edges[end], value_set=unknown) for end in (SRC, DST)))
        rings = tuple(ids.filter(pc.invert(pc.is_in(ids, value_set=unknown))) for ids in group.rings)
        return Neighbourhood(rings, group.edges.filter(pc.invert(ends)))


def _packed(sizes: Sequence[int], largest: int, most: int) -> Iterator[list[int]]:
    """Places of those that are not larger than `largest`, in turn, as many together as `most` has room for."""
    chosen: list[int] = []
    total = 0
    for at, size in enumerate(sizes):
        if size > largest:
            continue
        if chosen and total + size > most:
            yield chosen
            chosen, total = [], 0
        chosen.append(at)
        total += size
    if chosen:
        yield chosen
