"""What a run reads: places that its output must not touch.

Comes in: what a command or a call was given. Goes out: what each is, in words, and where.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.graph import Graph
from pipeline.places.place import LOCAL, Place
from pipeline.places.through_spark import read_from
from pipeline.prepared import PreparedGraph
from pipeline.settings import Settings
from pipeline.tables.layout import words_of
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
    found = {words_of(name): Place.of(path, default) for name, path in (tables or {}).items() if path is not None}
    found |= {what: Place.of(path) for what, path in (files or {}).items() if path is not None}
    if settings is not None and settings.scratch is not None:
        found["the scratch directory"] = Place.of(settings.scratch)
    if isinstance(graph, PreparedGraph):
        found["the prepared graph"] = Place.of(graph.path)
        found |= dict(_sources(graph.manifest.get("sources") or {}, " that the graph was prepared from"))
    elif graph is not None:
        found |= dict(_sources(graph.sources, ""))
        found |= _of_frames(graph)
    return found


def _sources(sources: Mapping[str, Any], more: str) -> Iterator[tuple[str, Place]]:
    """Tables that were opened: a path without a scheme is of disks, whatever a session's default is."""
    for name, source in sources.items():
        if source and source.get("path"):
            yield f"{words_of(name)}{more}", Place.of(source["path"])


def _of_frames(graph: Graph) -> dict[str, Place]:
    """Of DataFrames that somebody made: the files that they are read from."""
    found = {}
    for name, frame in graph.tables.items():
        if name in graph.sources or not is_frame(frame):
            continue
        for number, place in enumerate(read_from(frame)):
            found[words_of(name) if number == 0 else f"a file of {words_of(name)} (number {number + 1})"] = place
    return found
