"""What a prepared graph was made of: which files, and what was asked for.

Comes in: a `Graph`. Goes out: its tables' places; what the manifest keeps of it, and in what another graph differs, so
that a repeated prepare can tell that there is nothing to do. What files are known by is in tables/identity.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from pipeline.blocks.storage import VERSION, find_manifest
from pipeline.errors import SettingError, StorageError
from pipeline.graph import Graph
from pipeline.places.place import Place
from pipeline.places.through_spark import read_from
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.tables.identity import known_source
from pipeline.tables.layout import words_of
from pipeline.tables.named import TableName, is_name


def places_of(graph: Graph) -> dict[str, list[Place]]:
    """What the tables are, for messages → where they lie. For DataFrames, the files that Spark says they read."""
    found = {}
    for table, frame in graph.tables.items():
        source = graph.sources.get(table, {})
        path = source.get("path") or source.get("location")
        found[words_of(table)] = [*(_places(path) if path else ()), *(() if "path" in source else read_from(frame))]
    return found


def places_named(paths: Mapping[str, str]) -> dict[str, list[Place]]:
    """The same, of paths that have not been read yet: what a table is called → its path."""
    return {words_of(table): _places(path) for table, path in paths.items() if not is_name(path)}


def _places(path: str) -> list[Place]:
    name = TableName.of(path)
    try:
        return [Place.of(path if name is None or name.path is None else name.path[0])]
    except SettingError:  # what is no path is of a source that has no files
        return []


# ---- what the manifest keeps


def origin_of(graph: Graph, blocks: int | None, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """For the manifest: what was asked for, and the files of all tables as they are now.

    `blocks`: as they were asked for; None if that was left to us. `columns`: that say which nodes go into one block.
    """
    by = {} if columns is None else {"blocks_by": dict(columns)}
    return {"asked_blocks": blocks, **by, "files": files_of(graph)}


def files_of(graph: Graph) -> dict[str, dict[str, Any] | None]:
    """Table → what its files are known by, as they are now; None if they are not known."""
    return {table: _files(graph, table) for table in graph.tables}


def _files(graph: Graph, table: str) -> dict[str, Any] | None:
    """None if they are not known: a DataFrame is whatever Spark makes of it."""
    return known_source(graph.sources.get(table, {}), graph.session)


def same_graph(
    graph: Graph,
    path: str | os.PathLike[str],
    blocks: int | None,
    overwrite: bool = False,
    columns: Mapping[str, str] | None = None,
) -> PreparedGraph | None:
    """The graph that is at `path` already, if it is what `prepare` would make there; None if nothing is there, or, with
    `overwrite`, another one.

    Raises
    ------
    StorageError
        If there is another one and it is not to be replaced; it says what is different.
    """
    manifest = find_manifest(os.fspath(path))
    if manifest is None:
        return None
    why = _difference(graph, manifest, blocks, columns)
    if why is None:
        return open_graph(path)
    if not overwrite:
        raise StorageError(f"{path}: another graph is there already: {why}; give another path, or overwrite")
    return None


def _difference(
    graph: Graph, manifest: Mapping[str, Any], blocks: int | None, columns: Mapping[str, str] | None
) -> str | None:
    """What is not the same, in words; None if everything is."""
    if manifest.get("version") != VERSION:
        return f"it is of version {manifest.get('version')} of the format, not {VERSION}"
    asked: dict[str, Any] = json.loads(json.dumps({**graph.describe(), "asked_blocks": blocks, "blocks_by": columns}))
    asked["sources"] = _unversioned(asked["sources"])
    for name, value in asked.items():
        then = _unversioned(manifest.get(name)) if name == "sources" else manifest.get(name)
        if then != value and not (name == "asked_blocks" and value == manifest.get("blocks")):
            return f"{name.removeprefix('asked_').replace('_', ' ')} was {_spelt(then)}, now {_spelt(value)}"
    before = manifest.get("files")
    for table in graph.tables:
        words = words_of(table)
        now, then = _files(graph, table), before.get(table) if isinstance(before, dict) else None
        if now is None or then is None:
            return f"which files {words} consists of is not known, now or then"
        if now != then:
            if _told(now) == _told(then):
                return f"{words} has changed: its files were written or renamed since ({_told(now)}, as before)"
            return f"{words} has changed: it was {_told(then)}, and is {_told(now)} now"
    return None


def _unversioned(sources: Any) -> Any:
    """Which tables these are: the version of one is what files are of others, and compared like them."""
    if not isinstance(sources, dict):
        return sources
    return {
        table: {name: value for name, value in source.items() if name not in ("version", "id")}
        for table, source in sources.items()
        if isinstance(source, dict)
    }


def _told(files: Mapping[str, Any]) -> str:
    if "version" in files:
        return f"version {files['version']} of the table {files.get('id')}"
    count = files.get("files")
    return f"{count} file{'' if count == 1 else 's'} of {files.get('bytes')} bytes"


def _spelt(value: Any) -> str:
    return "auto" if value is None else json.dumps(value)
