"""The user's tables by type: one of each node type and one of each edge type; or one of each kind, without types.

Comes in: what `Graph` takes. Goes out: a `GivenTable` for each, with its columns' names; a DataError where types and
tables do not go together. Knows nothing of what is in the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import DataError, nearest, shortened
from pipeline.schema import EDGE, NODE, EdgeType
from pipeline.tables.layout import Columned, Where, table_of

Type = str | EdgeType
OPTIONAL = "x"  # the features of a node type for which none are named, if its table has such a column


@dataclass(frozen=True)
class Chosen:
    """The rows of one type of a table that holds several."""

    table: Any
    """Opened."""
    where: Where


@dataclass(frozen=True)
class GivenTable:
    """A table of the user's, and which of its columns mean what."""

    type: Type
    given: Any
    """A path, a DataFrame, a table in memory."""
    ids: tuple[str, ...]
    """The column of ids; or src and dst."""
    values: Columned
    where: Where | None = None
    optional: bool = False
    """Whether the table may be without the columns of values: nobody asked for them."""

    @property
    def name(self) -> str:
        """What messages and the manifest call it."""
        return table_of(self.type)

    @property
    def is_nodes(self) -> bool:
        return isinstance(self.type, str)


def given_tables(
    nodes: Any,
    edges: Any,
    features: Any,
    edge_features: Any,
    id: Any,
    src: Any,
    dst: Any,
) -> list[GivenTable]:
    """The tables of nodes, then those of edges, in the order given. Options are as `Graph` takes them: of a typed graph
    for all tables alike, or by type.

    Raises
    ------
    DataError
        If a type is named twice, or is no name; if nodes or edges have no type; if the ends of edges are of a type that
        has no table; if an option is for a type that is not there.
    """
    if not isinstance(nodes, Mapping) and not isinstance(edges, Mapping):
        return [GivenTable(NODE, nodes, (id,), features), GivenTable(EDGE, edges, (src, dst), edge_features)]
    if not isinstance(edges, Mapping):
        raise DataError(
            "nodes are given by type, and edges are one table; give both by type: "
            'Graph(nodes={"account": …}, edges={("account", "pays", "account"): …})'
        )
    if not isinstance(nodes, Mapping):
        return _of_one_node_table(nodes, edges, features, edge_features, id, src, dst)
    node_types = _by_type(nodes, node_type_of, "node")
    edge_types = _by_type(edges, edge_type_of, "edge")
    _check_ends(node_types, edge_types)
    of_nodes, ids = _option("features", features, node_types, OPTIONAL), _option("id", id, node_types, "id")
    of_edges = _option("edge_features", edge_features, edge_types, None)
    sources, targets = _option("src", src, edge_types, "src"), _option("dst", dst, edge_types, "dst")
    named = {node_type_of(key) for key in features} if isinstance(features, Mapping) else set()
    unasked = isinstance(features, Mapping) or (isinstance(features, str) and features == OPTIONAL)
    return [
        *(
            _given(type, node_types[type], (ids[type],), of_nodes[type], unasked and type not in named)
            for type in node_types
        ),
        *(_given(type, edge_types[type], (sources[type], targets[type]), of_edges[type]) for type in edge_types),
    ]


def reverse_of(type: EdgeType) -> EdgeType:
    """The type of the same edges in the other direction, by the name that PyG's ToUndirected gives it."""
    return EdgeType(type.target, f"rev_{type.relation}", type.source)


def both_ways(tables: Sequence[GivenTable]) -> list[GivenTable]:
    """The tables of a graph whose edges are there in both directions: those between two types are read once more, for
    a type of their own from dst to src.

    Raises
    ------
    DataError
        If there is a table of such a type already.
    """
    known = {each.type for each in tables}
    found = list(tables)
    for each in tables:
        if not isinstance(each.type, EdgeType) or each.type.source == each.type.target:
            continue
        turned = reverse_of(each.type)
        if turned in known:
            raise DataError(
                f"undirected makes edges {spelt(turned)} of those of {spelt(each.type)}, and there is a table of them "
                "already; leave out that table, or undirected"
            )
        found.append(replace(each, type=turned, ids=each.ids[::-1]))
    return found


def one_way(types: Iterable[EdgeType]) -> list[EdgeType]:
    """Of the types of a graph whose edges are there in both directions, those that were given."""
    found: list[EdgeType] = []
    for type in types:
        if not any(type == reverse_of(each) and each.source != each.target for each in found):
            found.append(type)
    return found


def _of_one_node_table(
    nodes: Any, edges: Mapping[Any, Any], features: Any, edge_features: Any, id: Any, src: Any, dst: Any
) -> list[GivenTable]:
    """Several tables of edges over the same nodes: relation, or edge type, → table."""
    edge_types = _by_type(edges, _relation, "edge")
    ends = list(dict.fromkeys(end for type in edge_types for end in (type.source, type.target)))
    if len(ends) > 1:
        raise DataError(
            f"nodes are one table, and edges are between nodes of several types ({', '.join(map(repr, ends))}); give "
            'both by type: Graph(nodes={"account": …}, edges={("account", "pays", "account"): …})'
        )
    of_edges = _option("edge_features", edge_features, edge_types, None, _relation)
    sources, targets = (
        _option(name, given, edge_types, name, _relation) for name, given in (("src", src), ("dst", dst))
    )
    return [
        GivenTable(ends[0], nodes, (id,), features, None, isinstance(features, str) and features == OPTIONAL),
        *(GivenTable(type, edge_types[type], (sources[type], targets[type]), of_edges[type]) for type in edge_types),
    ]


def _relation(key: Any) -> EdgeType:
    """The edge type that a key names; a text is a relation among the nodes."""
    return edge_type_of((NODE, key, NODE) if isinstance(key, str) and key else key)


def check_option(name: str, given: Any, one: bool = False) -> None:
    """DataError unless an option of `Graph` names columns: a text, or by type; and, but for `one`, a list of texts,
    None, or names for any of these."""
    if isinstance(given, str) or (given is None and not one):
        return
    if isinstance(given, Mapping):
        for each in given.values():
            check_option(name, each, one)
        return
    texts = isinstance(given, Sequence) and all(isinstance(each, str) for each in given)
    if one or not texts or isinstance(given, bytes):
        kinds = "a column" if one else "a column, a list of columns, None, or name → column or columns"
        raise DataError(f"{name}={shortened(given)}: {kinds} is expected")


def _given(type: Type, given: Any, ids: tuple[str, ...], values: Columned, optional: bool = False) -> GivenTable:
    if not isinstance(given, Chosen):
        return GivenTable(type, given, ids, values, None, optional)
    return GivenTable(type, given.table, ids, values, given.where, optional)


def node_type_of(key: Any) -> str:
    """The node type that a key names; DataError if it is none."""
    if not isinstance(key, str) or not key:
        raise DataError(f"a node type is {shortened(key)}; a text that is not empty is expected")
    return _encodable("a node type", key)


def edge_type_of(key: Any) -> EdgeType:
    """The edge type that a key names: an EdgeType, or three texts."""
    if isinstance(key, EdgeType):
        if key.is_reversed:
            raise DataError(f"an edge type is {key}, edges against their direction; reverse=True stores these too")
        key = (key.source, key.relation, key.target)
    names = list(key) if isinstance(key, (tuple, list)) else []
    if len(names) != 3 or not all(isinstance(name, str) and name for name in names):
        raise DataError(
            f"an edge type is {shortened(key)}; three texts that are not empty are expected: "
            '("account", "pays", "account")'
        )
    source, relation, target = (_encodable("an edge type", name) for name in names)
    return EdgeType(source, relation, target)


def _encodable(what: str, name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} is {shortened(name)}, which is not UTF-8") from None
    if "\0" in name:
        raise DataError(f"{what} is {shortened(name)}, which holds a null character")
    return name


def spelt(type: Type) -> str:
    """A type in messages."""
    return type if isinstance(type, str) else f"({type.source}, {type.relation}, {type.target})"


def _by_type(tables: Mapping[Any, Any], type_of: Any, kind: str) -> dict[Any, Any]:
    if not tables:
        raise DataError(f"a typed graph needs at least one {kind} type; {kind}s is empty")
    found: dict[Any, Any] = {}
    for key, table in tables.items():
        type = type_of(key)
        if type in found:
            raise DataError(f"the {kind} type {spelt(type)} is there twice; one table for each type is expected")
        found[type] = table
    return found


def _check_ends(nodes: Iterable[str], edges: Iterable[EdgeType]) -> None:
    known = set(nodes)
    for type in edges:
        for end in (type.source, type.target):
            if end not in known:
                raise DataError(
                    f"edges {spelt(type)} lead {'from' if end == type.source else 'to'} nodes of type {end!r}, which "
                    f"have no table; {nearest(end, known)} (of nodes that there are none of, give an empty table)"
                )


def _option(name: str, given: Any, types: Mapping[Any, Any], otherwise: Any, named: Any = None) -> dict[Any, Any]:
    """An option of each type: the same for all, or by type, of which those that are not named have `otherwise`."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(types, given)
    type_of = named or (node_type_of if isinstance(next(iter(types)), str) else edge_type_of)
    found = dict.fromkeys(types, otherwise)
    for key, value in given.items():
        type = type_of(key)
        if type not in found:
            known = {spelt(each): each for each in types}
            raise DataError(
                f"{name} names {spelt(type)}, which is no type of this graph; {nearest(spelt(type), known)}"
            )
        found[type] = value
    return found


def edge_ends(tables: Sequence[GivenTable], node_type: str) -> list[tuple[GivenTable, list[str]]]:
    """The tables that hold ids of nodes of a type, each with the columns that do."""
    found = []
    for table in tables:
        if isinstance(table.type, EdgeType):
            ends = (table.type.source, table.type.target)
            columns = [name for name, end in zip(table.ids, ends, strict=True) if end == node_type]
        else:
            columns = [*table.ids] if table.type == node_type else []
        if columns:
            found.append((table, columns))
    return found
