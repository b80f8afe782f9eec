"""Where targets are: the rows of each block that are theirs.

Comes in: a prepared graph, ids. Goes out: local indices by block; or an error that names ids that are no nodes'.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import IntArray
from pipeline.blocks.rows import ID_OFFSETS, IDS
from pipeline.errors import DataError, SettingError, shortened
from pipeline.graph import Graph
from pipeline.kernels.hash import blocks_of
from pipeline.kernels.jit import read_only
from pipeline.prepared import PreparedGraph
from pipeline.schema import ID
from pipeline.tables.targets import Targets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

FIRST = 3  # ids that are named


@dataclass(frozen=True)
class Located:
    """The nodes that are wanted."""

    rows: tuple[IntArray, ...]
    """Of each block, local indices, ascending."""
    ids: pa.Array
    """Of all of them, ascending."""

    @property
    def count(self) -> int:
        return len(self.ids)


def ids_of(targets: Targets, graph: Graph | PreparedGraph, spark: SparkSession | None) -> pa.Array:
    """The ids that were asked for, as the graph's are; errors as of Targets.ids_as. SettingError for a typed graph."""
    if graph.is_typed:
        raise SettingError(
            "targets are for graphs of one type of nodes, and this one is typed; leave them out, and take the rows "
            "that you want from the result (types= computes one type alone)"
        )
    if isinstance(graph, Graph):
        return targets.ids_as(graph.id_type, graph.node_layout.keys[0], graph.session or spark)
    columns = graph.manifest.get("columns", {}).get("nodes", {})
    return targets.ids_as(graph.id_type, (columns.get("ids") or [ID])[0], spark)


def locate(graph: PreparedGraph, ids: pa.Array, ignore_unknown: bool, threads: int = 1) -> Located:
    """Reads the ids of all blocks. `ids`: ascending, each once.

    Raises
    ------
    DataError
        If some are not among the nodes, and that is not to be ignored; or none is.
    """
    (type,) = graph.id_types
    among: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = [np.arange(len(ids))] * graph.blocks
    if pa.types.is_integer(ids.type):
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
        what = f"targets: {len(unknown):,} of {len(ids):,} ids are not among the graph's nodes: {some}"
        what += ", …" if len(unknown) > FIRST else ""
        if not ignore_unknown:
            raise DataError(f"{what}; correct them, or pass ignore_unknown=True to leave them out")
        if len(unknown) == len(ids):
            raise DataError(f"{what}; there is nothing to score")
        log.warning("%s; they are left out", what)
    return Located(tuple(rows for rows, _ in found), ids.filter(pa.array(known)))


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
