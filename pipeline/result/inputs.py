"""What a run reads: places that its output must not touch.

Comes in: what a command or a call was given. Goes out: what each is, in words, and where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.graph import Graph
from pipeline.places.place import Place
from pipeline.places.schemes import LOCAL
from pipeline.places.through_spark import read_from
from pipeline.prepared import PreparedGraph
from pipeline.settings import Settings
from pipeline.tables.layout import words_of
from pipeline.tables.named import TableName
from pipeline.tables.opening import is_frame

Path = str | os.PathLike[str]


def inputs_of(
    graph: Graph | PreparedGraph | None = None,
    settings: Settings | None = None,
    tables: Mapping[str, Path | None] | None = None,
    files: Mapping[str, Path | None] | None = None,
    default: str = LOCAL,
) -> dict[str, Place]:
    """What is read, in words → where it is.

    Parameters
    ----------
    tables
        "nodes", "edges", or of a typed graph "nodes[account]" → the path of a raw table.
    files
        What it is → a path of this machine: "the model".
    default
        The file system of such tables' paths without a scheme, as `Place.of` takes it.
    """
    found = {words_of(name): each for name, path in (tables or {}).items() if (each := _place(path, default))}
    found |= {what: each for what, path in (files or {}).items() if (each := _place(path))}
    if settings is not None and settings.scratch is not None:
        found["the scratch directory"] = Place.of(settings.scratch)
    if isinstance(graph, PreparedGraph):
        found["the prepared graph"] = Place.of(graph.path)
        found |= dict(_sources(graph.manifest.get("sources") or {}, " that the graph was prepared from"))
    elif graph is not None:
        found |= dict(_sources(graph.sources, ""))
        found |= _of_frames(graph)
    return found


def _place(given: Path | None, default: str = LOCAL) -> Place | None:
    """None of what is not given, and of a table by name: where that lies only its DataFrame tells."""
    if given is None:
        return None
    name = TableName.of(given)
    if name is None:
        return Place.of(given, default)
    return None if name.path is None else Place.of(name.path[0], default)


def _sources(sources: Mapping[str, Any], more: str) -> Iterator[tuple[str, Place]]:
    """Tables that were opened: a path without a scheme is of disks, whatever a session's default is."""
    for name, source in sources.items():
        path = source and (source.get("path") or source.get("location"))
        if path:
            yield f"{words_of(name)}{more}", Place.told(path)


def _of_frames(graph: Graph) -> dict[str, Place]:
    """Of DataFrames that somebody made, and of tables by name: the files that they are read from."""
    found = {}
    for name, frame in graph.tables.items():
        if "path" in graph.sources.get(name, ()) or not is_frame(frame):
            continue
        for number, place in enumerate(read_from(frame)):
            found[f"a file of {words_of(name)} (number {number + 1})" if number else words_of(name)] = place
    return found
