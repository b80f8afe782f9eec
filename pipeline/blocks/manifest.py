"""The manifest of a prepared graph: whether it is whole, and says what a manifest has to say.

Comes in: plain data, from anybody's file. Goes out: the same, of which every part that a run reads is of its kind; or a
StorageError. Knows nothing of how a manifest is written or found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import StorageError
from pipeline.formula.attributes import MOST_LANES, is_number
from pipeline.schema import NODE, EdgeType, GraphSchema, spelled

# What the seal covers: all that a run depends on. Where the tables are may be changed.
SEALED = (
    "fingerprint", "blocks", "schema", "ranges", "columns", "undirected", "reverse", "drop_dangling", "id_type",
    "totals", "per_block", "node_types", "edge_types", "sums",
)  # fmt: skip
# Of each block, those that are read without asking whether they are there.
COUNTED = (
    "nodes", "edges", "self_loops", "payload_rows_in", "payload_rows_loops", "max_in_degree", "static_bytes",
    "sends_bytes",
)  # fmt: skip
# The same of its edges of each type.
COUNTED_EDGES = (
    "edges", "self_loops", "payload_rows_in", "payload_rows_loops", "payload_rows_pulled", "payload_rows_pushed",
    "max_in_degree", "static_bytes", "sends_bytes", "push_bytes",
)  # fmt: skip


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with a hash of its contents."""
    return {**manifest, "seal": _seal(manifest)}


def _seal(manifest: Mapping[str, Any]) -> str:
    content = {key: manifest.get(key) for key in SEALED}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checked_manifest(path: str, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """StorageError unless it is whole and well formed. `path`: the graph's, for the message."""
    try:
        if manifest.get("seal") != _seal(manifest):
            raise ValueError("its contents are not those that were written")
        for key, (fits, expected) in PARTS.items():
            if not fits(manifest.get(key)):
                raise ValueError(f"{key} is not {expected}")
        _check_types(manifest)
        _check_counts(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path}: manifest.json is damaged: {error}; prepare the graph again") from None
    return manifest


def id_types_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Node type → Spark's word for the type of its ids."""
    word = manifest["id_type"]
    return {NODE: word} if isinstance(word, str) else dict(word)


def _check_types(manifest: Mapping[str, Any]) -> None:
    """All parts are about the same types, and edges lead from and to nodes that are there."""
    schema = GraphSchema.from_json(manifest["schema"])
    nodes, edges = list(schema.nodes), {str(type) for type in schema.edges}
    if not nodes or not edges:
        raise ValueError("schema has no types of nodes or of edges")
    if isinstance(manifest["id_type"], str) and nodes != [NODE]:
        raise ValueError("schema has other types of nodes")
    for name in nodes:
        table = "nodes" if name == NODE else f"nodes[{spelled(name)}]"
        if table not in manifest["columns"]:
            raise ValueError(f"columns of {table} are missing")
    for key, types in (("node_types", set(nodes)), ("edge_types", edges), ("id_type", set(nodes))):
        found = id_types_of(manifest) if key == "id_type" else manifest[key]
        if set(found) != types:
            raise ValueError(f"{key} are of other types than the schema")
    for type in schema.edges:
        if not {type.source, type.target} <= set(nodes):
            raise ValueError(f"edges {type} lead to nodes that are not in the schema")


def _check_counts(manifest: Mapping[str, Any]) -> None:
    blocks = manifest["blocks"]
    parts: list[tuple[str, Mapping[str, Any], Sequence[str]]] = [("", manifest["per_block"], COUNTED)]
    parts += [(f" of {type}", counts, ("nodes",)) for type, counts in manifest["node_types"].items()]
    parts += [(f" of {type}", counts, COUNTED_EDGES) for type, counts in manifest["edge_types"].items()]
    for of, counts, needed in parts:
        for name, numbers in counts.items():
            if not isinstance(numbers, list) or len(numbers) != blocks or not all(map(_is_count, numbers)):
                raise ValueError(f"{name}{of} is not a number for each of {blocks} blocks")
        for name in needed:
            if name not in counts:
                raise ValueError(f"{name}{of} is missing")
    for name, types in (("nodes", manifest["node_types"]), ("edges", _given(manifest["edge_types"]))):
        together = [sum(numbers) for numbers in zip(*(counts[name] for counts in types.values()), strict=True)]
        if together != manifest["per_block"][name]:
            raise ValueError(f"{name} of all types are not those of the blocks")
    for name in COUNTED:
        numbers = manifest["per_block"][name]
        total = max(numbers) if name == "max_in_degree" else sum(numbers)
        if manifest["totals"].get(name) != total:
            raise ValueError(f"{name} of all blocks are {total:,}, not what it says")
    if len(manifest["sums"]) != blocks:
        raise ValueError(f"sums are not those of {blocks} blocks")


def _given(edge_types: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a table; others are the same edges against their direction."""
    return {type: counts for type, counts in edge_types.items() if not EdgeType.parse(type).is_reversed}


# ---- kinds of parts


def _is_count(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 63


def _is_text(item: Any) -> bool:
    return isinstance(item, str)


def _is_flag(item: Any) -> bool:
    return isinstance(item, bool)


def _is_source(item: Any) -> bool:
    """Where a table is: a path, and how it is to be read. It may be changed by hand, so the seal does not cover it."""
    return isinstance(item, dict) and all(isinstance(item.get(key, ""), str) for key in ("path", "format"))


def _is_width(item: Any) -> bool:
    return _is_count(item) and item <= MOST_LANES


def _is_range(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and is_number(item[0]) and is_number(item[1]) and _is_flag(item[2])


def _mapping(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, dict) and all(map(of, item.values()))


def _list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda item: isinstance(item, list) and all(map(of, item))


def _is_columns(item: Any) -> bool:
    """Of each table, nodes and edges or nodes[…] and edges[…]: which columns are ids, which values."""
    if not isinstance(item, dict) or {table.partition("[")[0] for table in item} != {"nodes", "edges"}:
        return False
    return all(
        isinstance(columns, dict)
        and _list(_is_text)(columns.get("ids"))
        and len(columns["ids"]) == (1 if table.startswith("nodes") else 2)
        and _mapping(_list(_is_text))(columns.get("values"))
        for table, columns in item.items()
    )


def _is_schema(item: Any) -> bool:
    widths = _mapping(_mapping(_is_width))
    return isinstance(item, dict) and widths(item.get("nodes")) and widths(item.get("edges"))


def _is_sums(item: Any) -> bool:
    return _mapping(lambda number: isinstance(number, int))(item) and all(key.count("/") >= 2 for key in item)


PARTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "blocks": (lambda item: _is_count(item) and 0 < item < 1 << 31, "a number of blocks"),
    "fingerprint": (_is_text, "a text"),
    "id_type": (lambda item: _is_text(item) or _mapping(_is_text)(item), "a text, or one for each type of nodes"),
    "undirected": (_is_flag, "true or false"),
    "drop_dangling": (_is_flag, "true or false"),
    "schema": (_is_schema, "a schema"),
    "ranges": (_mapping(_list(_is_range)), "ranges of columns"),
    "columns": (_is_columns, "the columns of all tables"),
    "sources": (_mapping(_is_source), "the sources of the tables"),
    "totals": (_mapping(_is_count), "numbers"),
    "per_block": (_mapping(lambda item: isinstance(item, list)), "numbers for each block"),
    "node_types": (_mapping(_mapping(lambda item: isinstance(item, list))), "numbers for each type of nodes"),
    "edge_types": (_mapping(_mapping(lambda item: isinstance(item, list))), "numbers for each type of edges"),
    "sums": (_list(_is_sums), "sums of blocks"),
}
