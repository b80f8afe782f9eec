"""Rows of the user's tables by ids: asked of Spark, or read from files by this process.

Comes in: a graph, and ids. Goes out: Arrow tables: keys under our names, as int64 or string; values as v0, v1, …, lists
of float32. Knows nothing of hops, nor of what the rows are for.

Edges are asked for by their dst. An undirected edge is there once more, turned. By both ends, every edge is there once
more by its src, as if that were the dst, with BACK true.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import DST, ID, SRC, quoted
from pipeline.spark.resources import is_local, task_cores
from pipeline.spark.session import frame_of_arrow
from pipeline.tables.layout import Layout
from pipeline.tables.survey import frame_of
from pipeline.tables.table import Piece, Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from pipeline.graph import Graph

BACK = "back"  # boolean: the edge was found by its src, which stands in the column of the dst
COUNT = "count"

OTHER_TABLES = "give the tables that were scored, nodes= and edges="
OR_DROPPED = "or drop_dangling=True, if the run left such edges out"
"""What to do about edges, and scores, of ids that are not among the nodes."""


class Rows(Protocol):
    """A table of nodes, or of edges."""

    def among(self, ids: pa.Array, limit: int | None = None, values: bool = True) -> pa.Table:
        """The rows whose node, or whose dst, is one of these; `limit` of them at most, any; without values the keys."""

    def everything(self) -> pa.Table:
        """All rows of the table."""

    def none(self) -> pa.Table:
        """No row of the table."""

    def total(self) -> int:
        """How many rows there are."""

    def counts(self, ids: pa.Array) -> pa.Table:
        """How many these are: a row of key and COUNT for each id that has some."""


def node_rows(graph: Graph, layout: Layout | None = None) -> Rows:
    """`layout`: of the nodes of a type, where there are several."""
    layout = layout or graph.node_layout
    pieces = _pieces(graph, layout)
    if pieces is not None:
        return FileRows(pieces, layout, (ID,))
    return FrameRows(_standard(frame_of(graph.tables[layout.table], graph.session, layout), layout, (ID,)), (ID,))


def edge_rows(graph: Graph, by_both_ends: bool, layout: Layout | None = None) -> Rows:
    """`layout`: of the edges of a type, where there are several."""
    layout = layout or graph.edge_layout
    pieces = _pieces(graph, layout)
    if pieces is not None:
        return FileRows(pieces, layout, (SRC, DST), _ways(layout.undirected, by_both_ends))
    edges = _standard(frame_of(graph.tables[layout.table], graph.session, layout), layout, (SRC, DST))
    if layout.undirected:
        edges = edges.union(_turned(edges))
    if by_both_ends:
        from pyspark.sql import functions as F

        edges = edges.select("*", F.lit(False).alias(BACK)).union(_turned(edges).select("*", F.lit(True).alias(BACK)))
    return FrameRows(edges, (SRC, DST))


def _pieces(graph: Graph, layout: Layout) -> list[Piece] | None:
    """Of a table that this process reads: where workers are on other machines, they do."""
    table = graph.tables[layout.table]
    return table.pieces(layout.columns) if isinstance(table, Table) and is_local(graph.session) else None


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

    def everything(self) -> pa.Table:
        return self.frame.toArrow()

    def none(self) -> pa.Table:
        return self.frame.limit(0).toArrow()

    def total(self) -> int:
        return self.frame.count()

    def counts(self, ids: pa.Array) -> pa.Table:
        return self._joined(self.frame, ids).groupBy(self.keys[-1]).count().toArrow()

    def _joined(self, frame: DataFrame, ids: pa.Array) -> DataFrame:
        key = self.keys[-1]
        wanted = frame_of_arrow(frame.sparkSession, pa.table({key: ids}))
        return frame.join(wanted, on=key, how="left_semi").select(*frame.columns)


def _turned(edges: DataFrame) -> DataFrame:
    """All but the self-loops, with their ends changed over."""
    back = [edges[DST].alias(SRC), edges[SRC].alias(DST)]
    return edges.where(f"{SRC} != {DST}").select(*back, *(edges[name] for name in edges.columns[2:]))


def _standard(table: DataFrame, layout: Layout, keys: tuple[str, ...]) -> DataFrame:
    from pyspark.sql import functions as F

    def column(name: str) -> Column:
        return F.col(quoted(name))

    if layout.where is not None:
        table = table.where(column(layout.where.column).cast("string") == layout.where.value)
    words = ["string" if text else "bigint" for text in layout.texts]
    chosen = [column(name).cast(word).alias(ours) for name, word, ours in zip(layout.keys, words, keys, strict=True)]
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
    """Each call reads the pieces once, on all cores."""

    pieces: list[Piece]
    layout: Layout
    keys: tuple[str, ...]
    """As those of FrameRows."""
    ways: tuple[Way, ...] = (Way(),)

    def among(self, ids: pa.Array, limit: int | None = None, values: bool = True) -> pa.Table:
        found, rows = [], 0
        for part in self._parts(ids, values):
            found.append(part)
            rows += len(part)
            if limit is not None and rows >= limit:
                break
        whole = pa.concat_tables(found).slice(0, limit).combine_chunks()
        return whole if values else whole.select(list(self.keys))

    def everything(self) -> pa.Table:
        return pa.concat_tables(self._parts(None, values=True)).combine_chunks()

    def total(self) -> int:
        return sum(len(part) for part in self._parts(None, values=False))

    def none(self) -> pa.Table:
        return next(self._parts(pa.array([], self._key_types[-1]), values=True))

    def counts(self, ids: pa.Array) -> pa.Table:
        key = self.keys[-1]
        parts = [counts(part, key) for part in self._parts(ids, values=False)]  # of a hub not every edge is kept
        whole = pa.concat_tables(parts).group_by(key).aggregate([(COUNT, "sum")])
        return pa.table({key: whole[key], COUNT: whole[f"{COUNT}_sum"]})

    def _parts(self, ids: pa.Array | None, values: bool) -> Iterator[pa.Table]:
        """An empty one comes first, so that there is one. Without ids all rows."""
        yield from self._each_way(self._empty(values), ids)
        where = self.layout.where
        columns = self.layout.columns if values else (*self.layout.keys, *([where.column] if where else []))
        waiting = iter(self.pieces)
        threads = task_cores(None)
        with ThreadPoolExecutor(threads) as pool:
            # as many at a time as there are threads: what is found of a piece is held until it is taken
            while some := list(itertools.islice(waiting, threads)):
                for parts in pool.map(lambda piece: self._of_piece(piece, columns, ids, values), some):
                    yield from parts

    def _of_piece(self, piece: Piece, columns: Sequence[str], ids: pa.Array | None, values: bool) -> list[pa.Table]:
        asked = {self.keys.index(self._asked(way)) for way in self.ways}
        found: list[pa.Table] = []
        for batch in map(self.layout.chosen, read_pieces([piece], columns)):
            keys = [batch.column(at).cast(self._key_types[at]) for at in sorted(asked)]
            some = batch
            if ids is not None:
                some = batch.filter(functools.reduce(pc.or_, (pc.is_in(key, value_set=ids) for key in keys)))
            if some.num_rows:
                found += self._each_way(self._standard(some, values), ids)
        return found

    def _empty(self, values: bool) -> pa.Table:
        columns = dict(zip(self.keys, self._key_types, strict=True))
        columns |= {
            f"v{number}": pa.list_(pa.float32()) for number, _ in enumerate(self.layout.values if values else ())
        }
        return pa.table({name: pa.array([], type) for name, type in columns.items()})

    def _each_way(self, rows: pa.Table, ids: pa.Array | None) -> Iterator[pa.Table]:
        for way in self.ways:
            chosen = pa.array(np.ones(len(rows), np.bool_))
            if ids is not None:
                chosen = pc.is_in(rows[self._asked(way)], value_set=ids)
            if not way.loops:
                chosen = pc.and_(chosen, pc.not_equal(rows[SRC], rows[DST]))
            found = rows.filter(chosen)
            if way.turned:
                ends = {SRC: DST, DST: SRC}
                found = found.select([ends.get(name, name) for name in rows.column_names])
                found = found.rename_columns(rows.column_names)
            if self._by_both_ends:
                found = found.append_column(BACK, pa.array(np.full(len(found), way.back)))
            yield found

    def _asked(self, way: Way) -> str:
        return SRC if way.turned else self.keys[-1]

    @property
    def _by_both_ends(self) -> bool:
        return any(way.back for way in self.ways)

    @property
    def _key_types(self) -> list[pa.DataType]:
        return [pa.string() if text else pa.int64() for text in self.layout.texts]

    def _standard(self, batch: pa.RecordBatch, values: bool) -> pa.Table:
        columns = {ours: batch.column(at).cast(self._key_types[at]) for at, ours in enumerate(self.keys)}
        at = len(self.keys)
        for number, value in enumerate(self.layout.values if values else ()):
            parts = batch.columns[at : at + len(value.columns)]
            columns[f"v{number}"] = _floats(parts[0]) if value.array else _side_by_side(parts)
            at += len(value.columns)
        return pa.table(columns)


def _floats(lists: pa.Array) -> pa.Array:
    return lists.cast(pa.list_(pa.float32()), safe=False)  # a double becomes the nearest float, as it does in Spark


def _side_by_side(numbers: list[pa.Array]) -> pa.Array:
    lanes = [column.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False) for column in numbers]
    flat = np.stack(lanes, axis=1).astype(np.float32, copy=False).reshape(-1)
    ends = np.arange(0, len(flat) + 1, len(lanes), dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat))
