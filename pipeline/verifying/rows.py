"""Whether the scores have a row for each node, and no other: all ids of both tables, whatever the sample.

Comes in: the graph's node table and the scores. Goes out: `RowCheck`. Knows nothing of values. Two tables that this
process reads are compared here, 20 bytes a row; else Spark does it, with two anti-joins and a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.graph import Graph
from pipeline.schema import ID, quoted
from pipeline.shown import counted
from pipeline.spark.resources import is_local
from pipeline.spark.session import active_session
from pipeline.tables.layout import Layout
from pipeline.tables.survey import frame_of
from pipeline.tables.table import Table, read_pieces
from pipeline.tables.targets import digest_of
from pipeline.verifying.sampled import order_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FIRST = 3  # ids that are named


@dataclass(frozen=True)
class RowCheck:
    """What the ids of the whole table say."""

    rows: int
    """Of the scores."""
    nodes: int
    repeated: int = 0
    """Rows whose id has another row before."""
    missing: int = 0
    """Nodes without a row."""
    unknown: int = 0
    """Ids of the scores that are not among the nodes."""
    examples: tuple[tuple[str, tuple[int | str, ...]], ...] = ()
    """repeated, missing, unknown → some ids."""
    targets: int | None = None
    """How many nodes were wanted, if not all; those without a row are not missing then."""
    others: bool = False
    """Whether the ids are not those that were wanted, as far as that was compared."""

    @property
    def passed(self) -> bool:
        if self.targets is not None:
            return self.rows == self.targets and not (self.repeated or self.unknown or self.others)
        return self.rows == self.nodes and not (self.repeated or self.missing or self.unknown)

    def __str__(self) -> str:
        if self.passed and self.targets is not None:
            return (
                f"all {counted(self.rows, 'id')}: each is that of a node, and has one row; the other "
                f"{counted(self.missing, 'node was no target', 'nodes were no targets')}"
            )
        if self.passed:
            return f"all {counted(self.nodes, 'id')}: each node has one row, and there is no other"
        known = dict(self.examples)

        def some(what: str) -> str:
            return f" (first: {', '.join(map(str, known[what]))})" if known.get(what) else ""

        lines = []
        if self.targets is not None and self.rows != self.targets:
            lines.append(f"the scores have {counted(self.rows, 'row')}, of {counted(self.targets, 'target')}")
        elif self.targets is not None and self.others:
            lines.append("the ids of the scores are not those of the targets")
        if self.targets is None and self.rows != self.nodes:
            lines.append(f"the scores have {counted(self.rows, 'row')}, the graph has {counted(self.nodes, 'node')}")
        if self.repeated:
            lines.append(
                f"{counted(self.repeated, 'row has', 'rows have')} an id that another row has too{some('repeated')}"
            )
        if self.missing and self.targets is None:
            lines.append(f"{counted(self.missing, 'node has', 'nodes have')} no row{some('missing')}")
        if self.unknown:
            lines.append(
                f"{counted(self.unknown, 'id of the scores is', 'ids of the scores are')} not among the nodes"
                f"{some('unknown')}"
            )
        return "\n".join(lines)


def check_rows(
    graph: Graph, scores: DataFrame | Table, layout: Layout, targets: Mapping[str, Any] | None = None
) -> RowCheck:
    """Reads the ids of both tables in full. DataError if a score has no id. `layout`: of the nodes' table. `targets`:
    what the marker of the scores says of them, if not all nodes were wanted."""
    table, where = graph.tables[layout.table], layout.where
    columns = [layout.keys[0], *([where.column] if where else [])]
    if isinstance(scores, Table) and isinstance(table, Table) and is_local(graph.session):
        nodes, rows = table.pieces(columns), scores.pieces([ID])
        if nodes is not None and rows is not None:
            text, chosen = layout.text, map(layout.chosen, read_pieces(nodes, columns))
            found = _ids(read_pieces(rows, [ID]), text)
            check = _compared(_ids(chosen, text), found)
            if targets is None:
                return check
            ids = pc.unique(found)
            others = digest_of(ids.take(pc.sort_indices(ids))) != targets["ids"]
            return replace(check, targets=int(targets["rows"]), others=others)
    check = _by_spark(graph, scores, layout)
    return check if targets is None else replace(check, targets=int(targets["rows"]))


def _ids(batches: Iterable[pa.RecordBatch], text: bool) -> pa.ChunkedArray:
    key = pa.string() if text else pa.int64()
    parts = [batch.column(0).cast(key) for batch in batches]
    empty = sum(part.null_count for part in parts)
    if empty:
        raise DataError(f"the scores hold {counted(empty, 'row')} without an id")
    return pa.chunked_array(parts, key)


def _compared(nodes: pa.ChunkedArray, rows: pa.ChunkedArray) -> RowCheck:
    """By the 64-bit hashes of the ids, which of two ids are the same with a probability of 5e-20."""
    known, found = (_hashes(ids) for ids in (nodes, rows))
    order = np.argsort(found, kind="stable")
    ordered = found[order]
    again = order[1:][ordered[1:] == ordered[:-1]]
    ordered_nodes = np.sort(known)
    unknown = order[~_among(ordered, ordered_nodes)]
    missing = np.flatnonzero(~_among(known, ordered))
    examples = [
        (what, tuple(ids.take(pa.array(np.sort(at)[:FIRST])).to_pylist()))
        for what, ids, at in (("repeated", rows, again), ("missing", nodes, missing), ("unknown", rows, unknown))
        if len(at)
    ]
    return RowCheck(len(rows), len(nodes), len(again), len(missing), len(unknown), tuple(examples))


def _hashes(ids: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers are themselves."""
    parts = [chunk.to_numpy() if pa.types.is_integer(ids.type) else order_of(chunk, 0) for chunk in ids.chunks]
    return np.concatenate([np.empty(0, np.int64), *parts])


def _among(
    numbers: np.ndarray[tuple[int], np.dtype[np.int64]], ordered: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    if not len(ordered):
        return np.zeros(len(numbers), np.bool_)
    at = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    return ordered[at] == numbers


def _by_spark(graph: Graph, scores: DataFrame | Table, layout: Layout) -> RowCheck:
    from pyspark.sql import functions as F

    spark = graph.session or active_session()
    found = scores.frame(spark, [ID]) if isinstance(scores, Table) and spark is not None else scores
    assert not isinstance(found, Table), "a table that takes Spark comes with a session"
    key = "string" if layout.text else "bigint"
    nodes = frame_of(graph.tables[layout.table], spark, layout)
    if layout.where is not None:
        nodes = nodes.where(F.col(quoted(layout.where.column)).cast("string") == layout.where.value)
    known = nodes.select(F.col(quoted(layout.keys[0])).cast(key).alias(ID))
    ids = found.select(F.col(ID).cast(key).alias(ID))
    counted = ids.agg(F.count(F.lit(1)).alias("rows"), F.count_if(F.col(ID).isNull()).alias("empty")).toArrow()
    rows, empty = counted["rows"][0].as_py(), counted["empty"][0].as_py()
    if empty:
        raise DataError(f"the scores hold {counted(empty, 'row')} without an id")
    several = ids.groupBy(ID).count().where("count > 1").select(ID, (F.col("count") - 1).alias("more"))
    numbers, examples = {}, []
    for what, frame in (
        ("repeated", several),
        ("missing", known.join(ids, ID, "left_anti").select(ID, F.lit(1).alias("more"))),
        ("unknown", ids.join(known, ID, "left_anti").select(ID, F.lit(1).alias("more"))),
    ):
        numbers[what] = frame.agg(F.coalesce(F.sum("more"), F.lit(0)).alias("n")).toArrow()["n"][0].as_py()
        if numbers[what]:
            examples.append((what, tuple(frame.orderBy(ID).limit(FIRST).toArrow()[ID].to_pylist())))
    return RowCheck(rows, known.count(), examples=tuple(examples), **numbers)
