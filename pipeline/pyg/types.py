"""The node and edge types of a module, and how many rows each has in an example graph.

Comes in: PyG's metadata, a module that holds it, or a HeteroData. Goes out: the types; counts of rows, all different,
so that a tensor's size tells what its rows are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch_geometric.nn.module_dict import ModuleDict

from pipeline.errors import ModelError, shortened
from pipeline.formula.spaces import ALL, ALL_SELF, PROPER, PROPER_SELF, SELF_LOOPS, Edges, Nodes
from pipeline.schema import EDGE, NODE, EdgeType

METADATA = "metadata=(node_types, edge_types), as HeteroData.metadata() gives it, or like=a HeteroData or a Graph"
TRIALS = 1000
FEWEST = 29  # rows of a space: smaller numbers are constants of many forwards
MANY = 100  # edge types: of more, sizes grow in small steps
Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Types:
    """Node types and edge types, in the order of the module's metadata."""

    nodes: tuple[str, ...] = (NODE,)
    edges: tuple[EdgeType, ...] = (EDGE,)

    @property
    def is_typed(self) -> bool:
        return self != UNTYPED

    def among(self, name: str) -> int:
        """How many edge types lead from nodes of a type to nodes of the same type."""
        return sum(each.source == each.target == name for each in self.edges)


UNTYPED = Types()


def triple(edge_type: EdgeType) -> Triple:
    """An edge type as PyG writes it."""
    return edge_type.source, edge_type.relation, edge_type.target


def types_of(metadata: Any) -> Types:
    """From (node types, edge types as triples); ModelError for what is not that."""
    try:
        nodes, edges = metadata
        triples = [tuple(each) for each in edges]
        names = [*nodes, *(name for each in triples for name in each)]
        fits = all(len(each) == 3 for each in triples) and all(isinstance(name, str) for name in names)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ModelError(f"metadata is {shortened(metadata)}; a pair is expected: {METADATA}")
    found = Types(tuple(nodes), tuple(EdgeType(*each) for each in triples))
    for what, each in (("node type", found.nodes), ("edge type", found.edges)):
        twice = next((name for name in each if list(each).count(name) > 1), None)
        if twice is not None:
            raise ModelError(f"metadata names the {what} {twice} twice")
    for edge_type in found.edges:
        for name in (edge_type.source, edge_type.target):
            if name not in found.nodes:
                raise ModelError(
                    f"metadata has the edge type {triple(edge_type)}, but no node type {name!r}; "
                    f"its node types are {', '.join(map(repr, found.nodes))}"
                )
    return found


def own_types(net: torch.nn.Module) -> Types | None:
    """The types that a module says itself, in `metadata` or in the keys of its parts; None if it does not.

    The parts of several layers are joined: a layer may leave some types out.
    """
    nodes: dict[str, None] = {}
    edges: dict[Triple, None] = {}
    for module in net.modules():
        held = vars(module)
        said = held.get("metadata", held.get("_metadata"))
        if isinstance(said, tuple | list) and len(said) == 2:
            own = types_of(said)
        elif _are_names(held.get("node_types")) and _are_triples(held.get("edge_types")):
            own = types_of((held["node_types"], held["edge_types"]))
        else:
            keys = list(module.keys()) if isinstance(module, ModuleDict) else []
            triples = [key for key in keys if isinstance(key, tuple) and len(key) == 3]
            own = Types(tuple(dict.fromkeys(end for key in triples for end in key[::2])), _edges(triples))
        nodes |= dict.fromkeys(own.nodes)
        edges |= dict.fromkeys(map(triple, own.edges))
    return Types(tuple(nodes), _edges(edges)) if edges else None


def _edges(triples: Iterable[Triple]) -> tuple[EdgeType, ...]:
    return tuple(EdgeType(*each) for each in triples)


def _are_names(item: Any) -> bool:
    return isinstance(item, tuple | list) and bool(item) and all(isinstance(name, str) for name in item)


def _are_triples(item: Any) -> bool:
    return isinstance(item, tuple | list) and all(isinstance(each, tuple) and len(each) == 3 for each in item)


def counts_of(
    types: Types, nodes: int, proper: int, loops: int, widths: Collection[int] = (), empty: str | None = None
) -> dict[Nodes | Edges, int]:
    """How many rows each space has. Of several types the first has these sizes, the others a few more; all are
    different, and unlike `widths`. `empty`: a node type without nodes."""
    if not types.is_typed:
        return {Nodes(): nodes, **_parts(EDGE, {NODE: nodes}, proper, loops)}
    taken = set(widths)
    rows: dict[str, int] = {}
    for number, name in enumerate(types.nodes):
        count = nodes + 7 * number
        while count in taken:
            count += 1
        rows[name] = 0 if name == empty else count
        taken.add(count)
    found: dict[Nodes | Edges, int] = {Nodes(name): count for name, count in rows.items()}
    for number, edge_type in enumerate(types.edges):
        ends = rows[edge_type.source], rows[edge_type.target]
        among = edge_type.source == edge_type.target
        own = loops + 3 * number if among else 0
        step = 11 if len(types.edges) < MANY else 2
        others = proper + step * number if min(map(linked, ends)) > among else 0
        parts = _parts(edge_type, rows, *_free_sizes(others, own, ends[1], among, taken))
        taken |= set(parts.values())
        found |= parts
    return found


def few_rows(types: Types, nodes: int, proper: int, loops: int, empty: str | None = None) -> dict[Nodes | Edges, int]:
    """The same for a graph that no module is run on: spaces may have as many rows as others. With `empty` every third
    type of edges has none, too."""
    if not types.is_typed:
        return counts_of(types, nodes, proper, loops)
    rows = {name: 0 if name == empty else nodes for name in types.nodes}
    found: dict[Nodes | Edges, int] = {Nodes(name): count for name, count in rows.items()}
    for number, kind in enumerate(types.edges):
        some = rows[kind.source] and rows[kind.target] and not (empty and number % 3 == 2)
        found |= _parts(kind, rows, proper, loops) if some else _parts(kind, rows, 0, 0)
    return found


def _free_sizes(proper: int, loops: int, nodes: int, among: bool, taken: Collection[int]) -> tuple[int, int]:
    """Sizes of one edge type, near those given, that make all of its parts different and like nothing that is taken. Of
    a graph of a few nodes there may be none: then any."""
    most = linked(nodes)

    def fits(sizes: tuple[int, int]) -> bool:
        counts = _part_sizes(*sizes, nodes) if among else sizes[:1]
        return len(set(counts)) == len(counts) and not any(count in taken for count in counts)

    wished = ((proper + more, min(loops + more // 7, most)) for more in range(TRIALS if proper else 1))
    # so many relations that the next number of self-loops would be more than nodes have: one that was passed over
    others = ((proper + more, own) for own in range(FEWEST, most) if own not in taken for more in range(TRIALS))
    tried = chain(wished, others if among and proper and loops > most else ())
    return next((sizes for sizes in tried if fits(sizes)), (proper, min(loops, most)))


def _parts(edge_type: EdgeType, rows: Mapping[str, int], proper: int, loops: int) -> dict[Nodes | Edges, int]:
    """Of one edge type; of one between two types, which has no self-loops, there are no parts."""
    if edge_type.source != edge_type.target:
        return {Edges(edge_type): proper}
    kinds = (ALL, PROPER, SELF_LOOPS, ALL_SELF, PROPER_SELF)
    counts = _part_sizes(proper, loops, rows[edge_type.target])
    return {Edges(edge_type, kind): count for kind, count in zip(kinds, counts, strict=True)}


def _part_sizes(proper: int, loops: int, nodes: int) -> tuple[int, ...]:
    """ALL, PROPER, SELF_LOOPS, ALL_SELF, PROPER_SELF."""
    return proper + loops, proper, loops, proper + loops + nodes, proper + nodes


def linked(nodes: int) -> int:
    """How many of the nodes of an example have edges: the last tenth has none."""
    return nodes - nodes // 10
