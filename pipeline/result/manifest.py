"""What the marker of a result says: what it was computed from, its columns, its files.

Comes in: a run. Goes out: facts that JSON can hold; whether a result that is there is the one that is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa

from pipeline.errors import SettingError
from pipeline.model import Model
from pipeline.result.counted import File
from pipeline.result.output import OutputTable
from pipeline.result.report import EDGES, NODES
from pipeline.schema import NODE, AnyType, EdgeType, folder_of
from pipeline.settings import Settings
from pipeline.tables.targets import digest_of

Facts = dict[str, Any]

# what is asked for → what it is called when it differs
WORDS = {"graph": "the graph", "tables": "the tables", "model": "the model", "graphsweep": "graphsweep"}

NODE_TYPES, EDGE_TYPES = "node_types", "edge_types"  # in the marker of a typed graph: type → its table

# of which nodes a result is, if not of all
PARTS = {"types": "the types", "targets": "the targets"}


def origin(
    model: Model,
    settings: Settings,
    format: str,
    classify: bool,
    ids: Mapping[str, str],
    fingerprint: str | None = None,
    tables: Mapping[str, Any] | None = None,
    types: Collection[AnyType] | None = None,
    targets: str | Mapping[str, str] | None = None,
) -> Facts:
    """All that decides about the bits and the columns of a result.

    Parameters
    ----------
    ids
        Node type → what the column of its ids is called.
    fingerprint
        Of a prepared graph.
    tables
        What raw tables are known by (tables/identity.py), where the run begins with these; they are cut into as many
        blocks as the settings say.
    targets
        What the ids are known by that were asked for, see tables/targets.py.
    """
    asked: Facts = {
        "wire": settings.wire,
        "exchange": settings.exchange,
        "classify": classify,
        "format": format,
        "output_id": ids[NODE] if [*ids] == [NODE] else dict(ids),
        **({"blocks": settings.blocks} if tables is not None else {}),
        **({"types": sorted(map(str, types))} if types is not None else {}),
        **({"targets": targets} if targets is not None else {}),
    }
    return {
        "graph": fingerprint,
        "tables": dict(tables) if tables is not None else None,
        "model": model.fingerprint,
        "settings": asked,
        "graphsweep": own_version(),
    }


def differences(manifest: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In what a result that is there differs from the one that is asked for; none if they are the same.

    A run from raw tables is compared by these, another one by the prepared graph.
    """
    by = "tables" if wanted["tables"] is not None else "graph"
    if wanted[by] is None:
        raise SettingError(
            'if_same="skip": tables that are DataFrames, or that cannot be listed, are not known again; prepare the '
            "graph first, or give paths"
        )
    found = [WORDS[name] for name in (by, "model", "graphsweep") if manifest.get(name) != wanted[name]]
    settings = manifest.get("settings", {})
    for name, value in wanted["settings"].items():
        if settings.get(name) != value:
            found.append("the targets" if name == "targets" else f"{name} {settings.get(name)} instead of {value}")
    # a result of some of the nodes is not one of all
    found += [word for name, word in PARTS.items() if name in settings and name not in wanted["settings"]]
    return found


def facts_of(
    wanted: Mapping[str, Any],
    fingerprint: str,
    tables: Sequence[OutputTable],
    files: Sequence[File],
    rows: int,
    by_type: bool = False,
    targets: Mapping[str, pa.Array] | None = None,
) -> Facts:
    """The marker of a result that is whole. `files` are of all tables; of a typed graph each is in its table's
    folder. `targets`: node type → the ids of the nodes that were wanted, if not all were."""
    described: Facts = {"columns": tables[0].describe(), "keys": tables[0].keys.names}
    if by_type:
        kind = EDGE_TYPES if tables[0].edge_columns is not None else NODE_TYPES
        described = {kind: {str(table.type): _of_table(table, files) for table in tables}}
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **wanted,
        "graph": fingerprint,
        **described,
        "rows": rows,
        "rows_of": EDGES if tables[0].edge_columns is not None else NODES,
        **({"targets": _of_targets(targets)} if targets is not None else {}),
        "files": [file._asdict() for file in files],
    }


def tables_by_type(marker: Mapping[str, Any]) -> dict[AnyType, Mapping[str, Any]] | None:
    """Type → what the marker of a result says of its table; None of a graph without types, or if it is damaged."""
    for kind, read in ((NODE_TYPES, str), (EDGE_TYPES, EdgeType.parse)):
        tables = marker.get(kind)
        if isinstance(tables, dict) and all(isinstance(name, str) for name in tables):
            try:
                return {read(name): of for name, of in tables.items()}
            except ValueError:
                return None
    return None


def _of_targets(targets: Mapping[str, pa.Array]) -> Facts:
    by_type = {type: {"rows": len(ids), "ids": digest_of(ids)} for type, ids in targets.items()}
    return by_type[NODE] if [*by_type] == [NODE] else {"rows": sum(map(len, targets.values())), "node_types": by_type}


def id_columns(names: Mapping[str, str], marker: Mapping[str, Any], output_id: str | None = None) -> dict[str, str]:
    """Node type → what the ids are called in a result: as the user says; else as its marker says, if it has one; else
    as `names` has it, those of the node tables."""
    told = marker.get("settings")
    said = told.get("output_id") if isinstance(told, dict) else None
    of_types = said if isinstance(said, dict) else dict.fromkeys(names, said)
    known = {type: name for type, name in of_types.items() if isinstance(name, str)}
    return {type: output_id or known.get(type, name) for type, name in names.items()}


def _of_table(table: OutputTable, files: Sequence[File]) -> Facts:
    folder = folder_of(table.type)
    rows = sum(file.rows for file in files if file.name.startswith(f"{folder}/"))
    return {"folder": folder, "columns": table.describe(), "keys": table.keys.names, "rows": rows}


def own_version() -> str:
    try:
        return version("graphsweep")
    except PackageNotFoundError:  # run from its sources
        return "unknown"
