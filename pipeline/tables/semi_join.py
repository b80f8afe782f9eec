"""Rows of the user's tables by ids: asked of Spark, or read from files by this process.

Comes in: a graph, and ids. Goes out: Arrow tables: keys under our names, as int64 or string; values as v0, v1, …, lists
of float32. Knows nothing of hops, nor of what the rows are for.

Edges are asked for by their dst. An undirected edge is there once more, turned. By both ends, every edge is there once
more by its src, as if that were the dst, with BACK true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline import storage
from pipeline.columns import DST, ID, SRC
from pipeline.tables.files import ParquetTable, parquet_pieces
from pipeline.tables.layout import Layout
from pipeline.workers import quoted

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline.graph import Graph

BACK = "back"  # boolean: the edge was found by its src, which stands in the column of the dst
COUNT = "count"


class Rows(Protocol):
    """A table of nodes, or of edges."""

    def among(self, ids: pa.Array, limit: int | None = None, values: bool = True) -> pa.Table:
        """The rows whose node, or whose dst, is one of these; `limit` of them at most, any; without values the keys."""

    def none(self) -> pa.Table:
        """No row of the table."""

    def counts(self, ids: pa.Array) -> pa.Table:
        """How many these are: a row of key and COUNT for each id that has some."""


def node_rows(graph: Graph) -> Rows:
    if isinstance(graph.nodes, ParquetTable):
        return FileRows(graph.nodes, graph.node_layout, (ID,))
    return FrameRows(_standard(graph.nodes, graph.node_layout, (ID,)), (ID,))


def edge_rows(graph: Graph, by_both_ends: bool) -> Rows:
    layout = graph.edge_layout
    if isinstance(graph.edges, ParquetTable):
        return FileRows(graph.edges, layout, (SRC, DST), _ways(layout.undirected, by_both_ends), by_both_ends)
    edges = _standard(graph.edges, layout, (SRC, DST))
    if layout.undirected:
        edges = edges.union(_turned(edges))
    if by_both_ends:
        from pyspark.sql import functions as F

        edges = edges.select("*", F.lit(False).alias(BACK)).union(_turned(edges).select("*", F.lit(True).alias(BACK)))
    return FrameRows(edges, (SRC, DST))


def counts(rows: pa.Table, key: str) -> pa.Table:
    """How many rows have which key: key and COUNT."""
    counted = rows.group_by(key).aggregate([(key, "count")])
    return pa.table({key: counted[key], COUNT: counted[f"{key}_count"]})


# ---- by Spark


@dataclass(frozen=True)
class FrameRows:
    """Each call runs a job."""

    frame: DataFrame
    keys: tuple[str, ...]
    """The last one is what rows are asked for by."""

    def among(self, ids: pa.Array, limit: int | None = None, values: bool = True) -> pa.Table:
        found = self._joined(self.frame if values else self.frame.select(*self.keys), ids)
        return (found if limit is None else found.limit(limit)).toArrow()

    def none(self) -> pa.Table:
        return self.frame.limit(0).toArrow()

    def counts(self, ids: pa.Array) -> pa.Table:
        return self._joined(self.frame, ids).groupBy(self.keys[-1]).count().toArrow()

    def _joined(self, frame: DataFrame, ids: pa.Array) -> DataFrame:
        key = self.keys[-1]
        wanted = frame.sparkSession.createDataFrame(pa.table({key: ids}))
        return frame.join(wanted, on=key, how="left_semi").select(*frame.columns)


def _turned(edges: DataFrame) -> DataFrame:
    """All but the self-loops, with their ends changed over."""
    back = [edges[DST].alias(SRC), edges[SRC].alias(DST)]
    return edges.where(f"{SRC} != {DST}").select(*back, *(edges[name] for name in edges.columns[2:]))


def _standard(table: DataFrame, layout: Layout, keys: tuple[str, ...]) -> DataFrame:
    from pyspark.sql import functions as F

    def column(name: str) -> Column:
        return F.col(quoted(name))

    key = "string" if layout.text else "bigint"
    chosen = [column(name).cast(key).alias(ours) for name, ours in zip(layout.keys, keys, strict=True)]
    for number, value in enumerate(layout.values):
        parts = [column(name) for name in value.columns]
        array = parts[0] if value.array else F.array(*(part.cast("float") for part in parts))
        chosen.append(array.cast("array<float>").alias(f"v{number}"))
    return table.select(*chosen)


# ---- from files


class Way(NamedTuple):
    """One of the ways in which an edge of the file is an edge of the table."""

    turned: bool = False
    back: bool = False
    loops: bool = True


def _ways(undirected: bool, by_both_ends: bool) -> tuple[Way, ...]:
    ways = [Way(), *([Way(turned=True, loops=False)] if undirected else [])]
    if by_both_ends:
        ways += [Way(not way.turned, back=True, loops=False) for way in ways]
    return tuple(ways)


@dataclass(frozen=True)
class FileRows:
    """Each call reads the file once, on all cores: a billion edges in a minute of two."""

    table: ParquetTable
    layout: Layout
    keys: tuple[str, ...]
    ways: tuple[Way, ...] = (Way(),)
    by_both_ends: bool = False

    def among(self, ids: pa.Array, limit: int | None = None, values: bool = True) -> pa.Table:
        found, rows = [self._standard(self._no_batch(), values)], 0
        for part in self._parts(ids, values):
            found.append(part)
            rows += len(part)
            if limit is not None and rows >= limit:
                break
        whole = pa.concat_tables(found).slice(0, limit).combine_chunks()
        return whole if values else whole.select(list(self.keys))

    def none(self) -> pa.Table:
        return self._standard(self._no_batch(), values=True)

    def counts(self, ids: pa.Array) -> pa.Table:
        key = self.keys[-1]
        none = self._standard(self._no_batch(), values=False)
        # counted part by part: of a hub not every edge is kept
        parts = [counts(part, key) for part in [none, *self._parts(ids, values=False)]]
        whole = pa.concat_tables(parts).group_by(key).aggregate([(COUNT, "sum")])
        return pa.table({key: whole[key], COUNT: whole[f"{COUNT}_sum"]})

    def _parts(self, ids: pa.Array, values: bool) -> Iterator[pa.Table]:
        tested = {self._asked(way) for way in self.ways}
        wanted = None
        for name in sorted(tested):
            is_one = ds.field(self._column(name)).cast(self._key_type).isin(ids)
            wanted = is_one if wanted is None else wanted | is_one
        for batch in self._dataset().to_batches(columns=self._columns(values), filter=wanted):
            if batch.num_rows:
                yield from self._each_way(self._standard(batch, values), ids)

    def _each_way(self, rows: pa.Table, ids: pa.Array) -> Iterator[pa.Table]:
        for way in self.ways:
            chosen = pc.is_in(rows[self._asked(way)], value_set=ids)
            if not way.loops:
                chosen = pc.and_(chosen, pc.not_equal(rows[SRC], rows[DST]))
            found = rows.filter(chosen)
            if way.turned:
                ends = {SRC: DST, DST: SRC}
                found = found.rename_columns([ends.get(name, name) for name in found.column_names])
                found = found.select(rows.column_names)
            if self.by_both_ends:
                found = found.set_column(found.column_names.index(BACK), BACK, pa.array(np.full(len(found), way.back)))
            yield found

    def _asked(self, way: Way) -> str:
        return SRC if way.turned else self.keys[-1]

    def _column(self, key: str) -> str:
        return self.layout.keys[self.keys.index(key)]

    @property
    def _key_type(self) -> pa.DataType:
        return pa.string() if self.layout.text else pa.int64()

    def _columns(self, values: bool) -> list[str]:
        return list(dict.fromkeys(self.layout.columns if values else self.layout.keys))

    def _dataset(self) -> ds.Dataset:
        pieces = parquet_pieces(self.table.path, self.layout.columns) or []
        filesystem, _ = storage.locate(self.table.path)
        return ds.dataset(list(dict.fromkeys(piece.file for piece in pieces)), format="parquet", filesystem=filesystem)

    def _no_batch(self) -> pa.RecordBatch:
        schema = self._dataset().schema
        names = self._columns(values=True)
        return pa.RecordBatch.from_arrays([pa.array([], schema.field(name).type) for name in names], names)

    def _standard(self, batch: pa.RecordBatch, values: bool) -> pa.Table:
        columns = {
            ours: batch.column(name).cast(self._key_type)
            for name, ours in zip(self.layout.keys, self.keys, strict=True)
        }
        for number, value in enumerate(self.layout.values if values else ()):
            parts = [batch.column(name) for name in value.columns]
            columns[f"v{number}"] = _floats(parts[0]) if value.array else _side_by_side(parts)
        if self.by_both_ends:
            columns[BACK] = pa.array(np.zeros(batch.num_rows, bool))
        return pa.table(columns)


def _floats(lists: pa.Array) -> pa.Array:
    return lists.cast(pa.list_(pa.float32()), safe=False)  # a double becomes the nearest float, as it does in Spark


def _side_by_side(numbers: list[pa.Array]) -> pa.Array:
    lanes = [column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False) for column in numbers]
    flat = np.stack(lanes, axis=1).astype(np.float32, copy=False).reshape(-1)
    ends = np.arange(0, len(flat) + 1, len(lanes), dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))
