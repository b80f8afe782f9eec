"""Where targets are: the rows of each block that are theirs.

Comes in: a prepared graph, ids of each type. Goes out: local indices by block; or an error that names ids that are no
nodes'.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import IntArray
from pipeline.blocks.rows import ID_OFFSETS, IDS
from pipeline.errors import DataError, ModelError, SettingError, nearest, shortened
from pipeline.formula.node_rows import NodeRows
from pipeline.graph import Graph
from pipeline.kernels.hash import blocks_of
from pipeline.kernels.jit import read_only
from pipeline.prepared import PreparedGraph
from pipeline.schema import ID, NODE
from pipeline.tables.targets import Targets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

FIRST = 3  # ids that are named


@dataclass(frozen=True)
class Located:
    """The nodes that are wanted."""

    rows: tuple[Mapping[str, IntArray], ...]
    """Of each block: node type → local indices, ascending."""
    ids: Mapping[str, pa.Array]
    """Node type → all of them, ascending."""

    @property
    def counts(self) -> dict[str, int]:
        """Node type → how many."""
        return {type: len(ids) for type, ids in self.ids.items()}

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    def of_type(self, type: str) -> Located:
        """Those of one type."""
        return Located(tuple({type: rows[type]} for rows in self.rows), {type: self.ids[type]})


def ids_of(targets: Targets, graph: Graph | PreparedGraph, spark: SparkSession | None) -> dict[str, pa.Array]:
    """Node type → the ids that were asked for, as the graph's are; errors as of Targets.ids_as.

    Raises
    ------
    SettingError
        If the graph has several types of nodes and nobody says which these are of; or it has no such type.
    """
    id_types = graph.id_types
    if isinstance(graph, Graph):
        names, spark = graph.id_names, graph.session or spark
    elif graph.is_typed:
        names = graph.id_names
    else:
        columns = graph.manifest.get("columns", {}).get("nodes", {})
        names = {NODE: (columns.get("ids") or [ID])[0]}
    if not graph.is_typed or (targets.types is None and len(id_types) == 1):
        (type,) = id_types
        return {type: targets.ids_as(id_types[type], names[type], spark)}
    if targets.types is None:
        known = ", ".join([*id_types][:FIRST]) + (", …" if len(id_types) > FIRST else "")
        raise SettingError(
            f"this graph has several types of nodes ({known}): say which the targets are of, as in "
            f"targets={{{next(iter(id_types))!r}: table}}, or --targets {next(iter(id_types))}=TABLE"
        )
    if not targets.types:
        raise DataError("targets: there are no rows, so there is nothing to score")
    for type in targets.types:
        if type not in id_types:
            raise SettingError(
                f"targets names {type!r}, which is no type of this graph's nodes; {nearest(type, id_types)}"
            )
    return {type: targets.ids_as(id_types[type], names[type], spark, type) for type in targets.types}


def locate(graph: PreparedGraph, ids: Mapping[str, pa.Array], ignore_unknown: bool, threads: int = 1) -> Located:
    """Reads the ids of all blocks. `ids`: of each type ascending, each once.

    Raises
    ------
    DataError
        If some are not among the nodes, and that is not to be ignored; or none is.
    """
    found = {type: _of_type(graph, type, each, ignore_unknown, threads) for type, each in ids.items()}
    if not any(len(known) for _, known in found.values()):
        raise DataError("targets: none of them is among the graph's nodes; there is nothing to score")
    return Located(
        tuple({type: rows[block] for type, (rows, _) in found.items()} for block in range(graph.blocks)),
        {type: known for type, (_, known) in found.items()},
    )


def _of_type(
    graph: PreparedGraph, type: str, ids: pa.Array, ignore_unknown: bool, threads: int
) -> tuple[list[IntArray], pa.Array]:
    """Of each block the local indices, and the ids that are known."""
    among: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = [np.arange(len(ids))] * graph.blocks
    if pa.types.is_integer(ids.type) and "blocks_by" not in graph.manifest:
        numbers = np.empty(len(ids), np.int32)
        blocks_of(read_only(ids.to_numpy()), graph.blocks, numbers)
        order = np.argsort(numbers, kind="stable")
        among = np.split(order, np.searchsorted(numbers[order], np.arange(1, graph.blocks)))
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(partial(_in_block, graph, type, ids, among), range(graph.blocks)))
    known = np.zeros(len(ids), np.bool_)
    for _, at in found:
        known[at] = True
    unknown = ids.filter(pa.array(~known))
    if len(unknown):
        some = ", ".join(shortened(each) for each in unknown[:FIRST].to_pylist())
        nodes = f"nodes of type {type}" if graph.is_typed else "nodes"
        what = f"targets: {len(unknown):,} of {len(ids):,} ids are not among the graph's {nodes}: {some}"
        what += ", …" if len(unknown) > FIRST else ""
        if not ignore_unknown:
            raise DataError(f"{what}; correct them, or pass ignore_unknown=True to leave them out")
        if len(unknown) == len(ids) and not graph.is_typed:
            raise DataError(f"{what}; there is nothing to score")
        log.warning("%s; they are left out", what)
    return [rows for rows, _ in found], ids.filter(pa.array(known))


def _in_block(
    graph: PreparedGraph,
    type: str,
    ids: pa.Array,
    among: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
    index: int,
) -> tuple[IntArray, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Local indices, ascending, and where in `ids` each of them is. `among`: of each block, which ids may be there."""
    at = among[index]
    here = graph.block(index, [IDS, ID_OFFSETS]).ids[type]
    if not pa.types.is_integer(here.type):
        found = pc.index_in(here, value_set=ids)
        rows = np.flatnonzero(np.asarray(found.is_valid()))
        return rows.astype(np.int32), found.drop_null().to_numpy().astype(np.int64)
    keys, wanted = here.to_numpy(), ids.to_numpy()[at]
    assert bool((keys[1:] > keys[:-1]).all()), "the ids of a block are in order"
    place = np.searchsorted(keys, wanted)
    there = place < len(keys)
    there[there] = keys[place[there]] == wanted[there]
    return place[there].astype(np.int32), at[there]


def refuse_unknown(graph: PreparedGraph, type: str, rows: NodeRows, threads: int = 1) -> None:
    """ModelError if the model has no learned row for some nodes of a type. Reads the ids of all blocks."""

    def in_block(index: int) -> tuple[int, list[int | str]]:
        lost = rows.unknown(graph.block(index, [IDS, ID_OFFSETS]).ids[type])
        return len(lost), lost[:FIRST].to_pylist()

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(in_block, range(graph.blocks)))
    count = sum(lost for lost, _ in found)
    if count:
        first = [id for _, some in found for id in some][:FIRST]
        nodes = f"nodes of type {type}" if graph.is_typed else "nodes"
        raise ModelError(
            f"the model has no learned row for {count:,} of {graph.node_counts[type]:,} {nodes}: "
            f"{', '.join(map(shortened, first))}{', …' if count > FIRST else ''}; it was trained on {len(rows):,}, "
            f"for example {shortened(rows.ids[0].as_py()) if len(rows) else 'none'}. Leave these nodes out of the "
            "graph, or train the model with them"
        )
