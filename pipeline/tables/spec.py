"""A typed graph as a file or a folder says it: which tables there are, of which types, and what their columns mean.

Comes in: a TOML file, or a folder with nodes/TYPE and edges/SOURCE__RELATION__TARGET. Goes out: a `GraphSpec`, the
arguments of `Graph`. Looks at names only; knows nothing of what is in the tables.

    [nodes.account]                            [[edges]]
    path = "accounts.parquet"                  type = ["account", "pays", "merchant"]
    id = "number"                              path = "payments"
    features = ["age", "balance"]              src = "payer"
                                               dst = "payee"
    [nodes.merchant]                           features = ["amount"]
    path = "merchants"

One table of nodes with a column of types, and one of edges with a column of relations:

    [nodes]                                    [edges]
    path = "nodes.parquet"                     path = "edges.parquet"
    type = "kind"                              relation = "relation"
    types.account.features = ["age"]           types = [
                                                   {type = ["account", "pays", "merchant"], features = ["amount"]},
                                               ]

Paths are from the folder of the file on. `id`, `src` and `dst` may be left out if the columns are called so; without
`features`, x is a node table's, if it has such a column.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import DataError, SettingError, StorageError, nearest, shortened
from pipeline.places.directories import list_directory
from pipeline.places.filesystem import Opened, opened
from pipeline.places.place import Place
from pipeline.places.regular import read_toml
from pipeline.schema import EdgeType, name_of
from pipeline.tables.layout import table_of
from pipeline.tables.named import TableName
from pipeline.tables.types import Type, edge_type_of, node_type_of, spelt

NODES, EDGES = "nodes", "edges"
PARTS = (NODES, EDGES)
OF_NODES = ("path", "id", "features")
OF_EDGES = ("type", "path", "src", "dst", "features")
OF_ALL_NODES = ("path", "type", "id", "types")  # of one table for all types
OF_ALL_EDGES = ("path", "relation", "src", "dst", "types")
ENDINGS = (".parquet", ".csv")
MOST_BYTES = 1 << 24  # of a file that people write


@dataclass(frozen=True)
class GraphSpec:
    """Tables by type, and what was said of their columns."""

    source: str
    """The path of the file or the folder."""

    nodes: Mapping[str, str]
    """Node type → path."""
    edges: Mapping[EdgeType, str]
    """Edge type → path."""
    options: Mapping[str, Mapping[Type, Any]] = field(default_factory=dict)
    """id, src, dst, features, edge_features → type → what was said."""
    columns: tuple[str, str] | None = None
    """The columns of types and of relations, where one table holds all nodes and another one all edges."""

    @staticmethod
    def read(path: str | os.PathLike[str]) -> GraphSpec:
        """SettingError if it is neither a file that says a graph, nor a folder that holds one."""
        text = os.fspath(path)
        if not text:
            raise SettingError("the graph's file is an empty path; is a variable unset?")
        found = opened(Place.of(text))
        try:
            if found is not None and found.is_local and found.info.is_file:
                return _of_file(text)
            if found is not None and not found.info.is_file and list_directory(found):
                return _of_folder(text, found)
        except DataError as error:  # of a type
            raise SettingError(f"{text}: {error}") from None
        raise SettingError(
            f"{text}: no file and no folder of tables is there; give a TOML file that names tables by type, or a "
            "folder with nodes/TYPE and edges/SOURCE__RELATION__TARGET"
        )

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Of `Graph`, `Graph.read` or `Graph.of_files`; `more` is what is known better."""
        said: dict[str, Any] = {name: dict(by_type) for name, by_type in self.options.items() if by_type}
        if self.columns is not None:
            node_type, relation = self.columns
            said |= {"node_type": node_type, "relation": relation, "edge_types": list(self.edges)}
            nodes, edges = (next(iter(by_type.values())) for by_type in (self.nodes, self.edges))
            return {"nodes": nodes, "edges": edges, **said, **more}
        return {"nodes": dict(self.nodes), "edges": dict(self.edges), **said, **more}

    @property
    def tables(self) -> dict[str, str]:
        """What a table is called → its path."""
        return {table_of(type): path for by_type in (self.nodes, self.edges) for type, path in by_type.items()}


# ---- a file


def _of_file(path: str) -> GraphSpec:
    said = _parsed(path)
    _check_keys(path, "it", said, PARTS)
    nodes, edges = said.get(NODES), said.get(EDGES)
    if isinstance(nodes, dict) and isinstance(edges, dict) and isinstance(nodes.get("path"), str):
        return _of_one_table(path, nodes, edges)
    if not isinstance(nodes, dict) or not nodes or not all(isinstance(table, dict) for table in nodes.values()):
        raise SettingError(f"{path}: names no node tables; write [nodes.account] and below it path = …, for each type")
    if not isinstance(edges, list) or not edges or not all(isinstance(table, dict) for table in edges):
        raise SettingError(
            f'{path}: names no edge tables; write [[edges]] and below it type = ["account", "pays", "account"] and '
            "path = …, for each type"
        )
    options: dict[str, dict[Type, Any]] = {name: {} for name in ("id", "src", "dst", "features", "edge_features")}
    of_nodes: dict[str, str] = {}
    for name, table in nodes.items():
        node_type, where = node_type_of(name), f"nodes.{name}"
        _check_keys(path, where, table, OF_NODES)
        of_nodes[node_type] = _path(path, where, table)
        _take(options, path, where, table, node_type, {"id": "id", "features": "features"})
    of_edges: dict[EdgeType, str] = {}
    for number, table in enumerate(edges, 1):
        where = f"edges number {number}"
        _check_keys(path, where, table, OF_EDGES)
        if "type" not in table:
            raise SettingError(f'{path}: {where} has no type; write type = ["account", "pays", "account"]')
        edge_type = edge_type_of(table["type"])
        if edge_type in of_edges:
            raise SettingError(
                f"{path}: the edge type {spelt(edge_type)} is there twice; one table for each is expected"
            )
        of_edges[edge_type] = _path(path, where, table)
        of = {"src": "src", "dst": "dst", "features": "edge_features"}
        _take(options, path, where, table, edge_type, of)
    return GraphSpec(path, of_nodes, of_edges, options)


def _of_one_table(path: str, nodes: Mapping[str, Any], edges: Mapping[str, Any]) -> GraphSpec:
    """Types are those that edges lead between, and those that are named."""
    _check_keys(path, NODES, nodes, OF_ALL_NODES)
    _check_keys(path, EDGES, edges, OF_ALL_EDGES)
    for where, table, column in ((NODES, nodes, "type"), (EDGES, edges, "relation")):
        if not isinstance(table.get(column), str) or not table[column]:
            raise SettingError(f'{path}: {where} has no {column}; write {column} = "…", the column that tells it')
    at = {NODES: _path(path, NODES, nodes), EDGES: _path(path, EDGES, edges)}
    named, kinds = nodes.get("types", {}), edges.get("types")
    if not isinstance(named, dict) or not all(isinstance(table, dict) for table in named.values()):
        raise SettingError(f"{path}: types of nodes is {shortened(named)}; write types.account.features = …")
    if not isinstance(kinds, list) or not kinds or not all(isinstance(table, dict) for table in kinds):
        raise SettingError(
            f'{path}: edges has no types; write types = [{{type = ["account", "pays", "account"]}}], one for each '
            "relation"
        )
    options: dict[str, dict[Type, Any]] = {name: {} for name in ("id", "src", "dst", "features", "edge_features")}
    of_edges: dict[EdgeType, str] = {}
    for number, table in enumerate(kinds, 1):
        where = f"edges.types number {number}"
        _check_keys(path, where, table, ("type", "features"))
        edge_type = edge_type_of(table.get("type"))
        if edge_type in of_edges:
            raise SettingError(f"{path}: the edge type {spelt(edge_type)} is there twice")
        of_edges[edge_type] = at[EDGES]
        _take(options, path, where, table, edge_type, {"features": "edge_features"})
        _take(options, path, EDGES, edges, edge_type, {"src": "src", "dst": "dst"})
    ends = [end for type in of_edges for end in (type.source, type.target)]
    of_nodes = dict.fromkeys([*map(node_type_of, named), *ends], at[NODES])
    for type in of_nodes:
        _check_keys(path, f"nodes.types.{type}", named.get(type, {}), ("features",))
        _take(options, path, f"nodes.types.{type}", named.get(type, {}), type, {"features": "features"})
        _take(options, path, NODES, nodes, type, {"id": "id"})
    return GraphSpec(path, of_nodes, of_edges, options, (nodes["type"], edges["relation"]))


def _parsed(path: str) -> dict[str, Any]:
    try:
        return read_toml(path, MOST_BYTES)
    except StorageError as error:
        raise SettingError(str(error)) from None
    except SettingError as error:
        if "Cannot declare" in str(error) or "Cannot overwrite" in str(error):
            raise SettingError(f"{error}; is a node type there twice, or [edges] in place of [[edges]]?") from error
        raise


def _check_keys(path: str, where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in table:
        if key not in known:
            raise SettingError(f"{path}: {where} has a key {key!r}; {nearest(key, known)}")


def _path(path: str, where: str, table: Mapping[str, Any]) -> str:
    given = table.get("path")
    if not isinstance(given, str) or not given:
        what = "no path" if given is None else f"the path {shortened(given)}"
        raise SettingError(f'{path}: {where} has {what}; write path = "…", from the folder of this file on')
    folder = os.path.dirname(path)
    name = TableName.of(given, folder)
    if name is not None:
        return str(name)
    if ":" in given.partition("/")[0] or os.path.isabs(given):
        return given
    return f"{folder}/{given}" if folder else given


def _take(
    options: dict[str, dict[Type, Any]],
    path: str,
    where: str,
    table: Mapping[str, Any],
    type: Type,
    names: Mapping[str, str],
) -> None:
    for key, option in names.items():
        if key not in table:
            continue
        value = table[key]
        good = _is_columns(value) if key == "features" else isinstance(value, str) and value
        if not good:
            expected = "a column, a list of columns, or a table of these" if key == "features" else "a column's name"
            raise SettingError(f"{path}: {key} of {where} is {shortened(value)}; {expected} is expected")
        options[option][type] = value


def _is_columns(value: Any) -> bool:
    if isinstance(value, dict):
        return all(not isinstance(item, dict) and _is_columns(item) for item in value.values())
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


# ---- a folder


def _of_folder(path: str, found: Opened) -> GraphSpec:
    nodes = {_node_type(name): f"{path}/{NODES}/{entry}" for name, entry in _entries(path, found, NODES)}
    edges = {_edge_type(path, name): f"{path}/{EDGES}/{entry}" for name, entry in _entries(path, found, EDGES)}
    return GraphSpec(path, nodes, edges)


def _entries(path: str, found: Opened, part: str) -> list[tuple[str, str]]:
    """The types of the tables in a folder, as they are spelt, and the names of their files or folders."""
    entries: dict[str, str] = {}
    for entry in list_directory(found.child(part)):
        if entry.startswith((".", "_")):
            continue
        name = next((entry.removesuffix(ending) for ending in ENDINGS if entry.endswith(ending)), entry)
        if name in entries:
            raise SettingError(f"{path}/{part}: {entries[name]} and {entry} are of one type; one table is expected")
        entries[name] = entry
    if not entries:
        raise SettingError(
            f"{path}: holds no tables in {part}/; a folder with nodes/TYPE and edges/SOURCE__RELATION__TARGET is "
            "expected"
        )
    return list(entries.items())


def _node_type(name: str) -> str:
    try:
        return name_of(name)
    except (ValueError, UnicodeDecodeError):
        return node_type_of(name)  # as it is


def _edge_type(path: str, name: str) -> EdgeType:
    try:
        return EdgeType.parse(name)
    except (ValueError, UnicodeDecodeError):
        parts = name.split("__")
        if len(parts) != 3 or not all(parts):
            raise SettingError(
                f"{path}/{EDGES}/{name}: is not the name of an edge type; SOURCE__RELATION__TARGET is expected, as in "
                "account__pays__merchant; names that hold __ go into a TOML file"
            ) from None
        source, relation, target = parts
        return EdgeType(source, relation, target)
