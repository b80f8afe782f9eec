"""Scores that have a row per edge: those of the edges into some nodes, and the recomputed rows that they belong to.

Comes in: scores; parts of the graph, with the edges into nodes of the sample. Goes out: rows of both in one order, and
an `EdgeCheck`. A row is found by the ids of both ends and by the columns of the edge that the model reads: edges that
are the same in all of these have the same output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.schema import DST, SRC, quoted
from pipeline.shown import counted
from pipeline.tables.table import Table, read_pieces
from pipeline.verifying.recompute import Subgraph
from pipeline.verifying.sampled import order_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

FIRST = 3  # edges that are named


@dataclass(frozen=True)
class EdgeCheck:
    """What the rows say, beside their values."""

    rows: int
    """Of the scores."""
    edges: int | None
    """Of the raw table, an undirected one in both directions; None: dangling ones were dropped, and not counted."""
    missing: int = 0
    """Edges into nodes of the sample that have no row."""
    unknown: int = 0
    """Rows of such edges that there are not."""
    first: tuple[str, ...] = ()
    repeated: int = 0

    @property
    def nodes(self) -> int:
        """What is expected: the rows of the raw table."""
        return self.rows if self.edges is None else self.edges

    @property
    def passed(self) -> bool:
        return self.rows == self.nodes and not (self.missing or self.unknown)

    def __str__(self) -> str:
        lines = []
        if self.edges is None:
            lines.append("rows were not counted: edges whose ends are no nodes were dropped")
        elif self.rows != self.edges:
            lines.append(f"the scores have {counted(self.rows, 'row')}, the graph has {counted(self.edges, 'edge')}")
        elif self.passed:
            lines.append(f"{counted(self.rows, 'row')}, as many as edges; into these nodes each edge has one")
        some = f" (first: {', '.join(self.first)})" if self.first else ""
        if self.missing:
            lines.append(f"{counted(self.missing, 'edge has', 'edges have')} no row{some}")
        if self.unknown:
            lines.append(f"{counted(self.unknown, 'row is', 'rows are')} of no edge{'' if self.missing else some}")
        return "\n".join(lines)


@dataclass
class EdgeRows:
    """Rows of the scores of all edges into some nodes."""

    sampled: pa.Table
    read: Sequence[str]
    """The columns of the edges that the model reads."""
    missing: int = 0
    unknown: int = 0
    first: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> pa.Array:
        """The nodes that these edges lead to."""
        return pc.unique(self.sampled[DST].combine_chunks())

    def matched(self, centres: pa.Array, part: Subgraph) -> tuple[pa.Table, list[int | str], Subgraph]:
        """The rows of the edges into some of the nodes, what each edge is called, and the part that compares these."""
        assert part.edges is not None, "a part of rows of edges knows them"
        here = self.sampled.filter(pc.is_in(self.sampled[DST], value_set=centres)).combine_chunks()
        ids = [
            pc.unique(pa.chunked_array([table[end].combine_chunks() for table in (here, part.edges)]))
            for end in (SRC, DST)
        ]
        lanes = part.edge_lanes(self.read)
        expected = _keys(part.edges, ids, lanes)
        found = _keys(here, ids, [_lanes(here, name, own.shape[1]) for name, own in zip(self.read, lanes, strict=True)])
        _, at, rows = np.intersect1d(expected, found, assume_unique=True, return_indices=True)
        order = np.argsort(at)
        at, rows = at[order], rows[order]
        lost = np.setdiff1d(np.arange(len(expected)), at)
        strange = np.setdiff1d(np.arange(len(found)), rows)
        self.missing, self.unknown = self.missing + len(lost), self.unknown + len(strange)
        self.first += [*_named(part.edges.take(lost[:FIRST])), *_named(here.take(strange[:FIRST]))]
        names: list[int | str] = [*_named(part.edges.take(at))]
        return here.take(rows), names, part.of_rows(at)

    def leave_out(self, strangers: pa.Array) -> None:
        """Rows of edges into what is no node."""
        rows = self.sampled.filter(pc.is_in(self.sampled[DST], value_set=strangers))
        self.unknown += len(rows)
        self.first += _named(rows.slice(0, FIRST))

    def check(self, rows: int, edges: int | None) -> EdgeCheck:
        return EdgeCheck(rows, edges, self.missing, self.unknown, tuple(self.first[:FIRST]))


def _named(edges: pa.Table) -> list[str]:
    return [f"{s} → {d}" for s, d in zip(edges[SRC].to_pylist(), edges[DST].to_pylist(), strict=True)]


def _lanes(rows: pa.Table, name: str, width: int) -> npt.NDArray[np.float32]:
    column = rows[name]
    flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if len(flat) != width * len(rows):
        raise DataError(f"the scores' {name} has {len(flat):,} numbers in {len(rows):,} rows; the edges' has {width}")
    return np.asarray(flat.to_numpy(), np.float32).reshape(len(rows), width)


def _keys(edges: pa.Table, ids: Sequence[pa.Array], lanes: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[Any]:
    """The ends, the columns, and 0, 1, … among rows that are the same in these, as the bytes of one key each. `ids`: of
    sources, of targets."""
    ends = [
        pc.index_in(edges[end], value_set=known).to_numpy().astype(np.int32)
        for end, known in zip((SRC, DST), ids, strict=True)
    ]
    numbers = [np.where(np.isnan(lane), np.float32(np.nan), lane + np.float32(0)).astype(np.float32) for lane in lanes]
    words = [end[:, None] for end in ends] + [np.ascontiguousarray(lane).view(np.int32) for lane in numbers]
    matrix = np.concatenate(words, axis=1).astype(np.int32)
    order = np.lexsort(matrix.T[::-1])
    ordered = matrix[order]
    at = np.arange(len(matrix), dtype=np.int32)
    other = np.ones(len(matrix), bool)
    other[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    again = np.empty(len(matrix), np.int32)
    again[order] = at - np.maximum.accumulate(np.where(other, at, 0))
    whole = np.ascontiguousarray(np.concatenate([matrix, again[:, None]], axis=1), np.int32)
    return whole.view(np.dtype((np.void, whole.shape[1] * 4))).reshape(-1)


# ---- of the scores


def sample_edges(
    scores: DataFrame | Table, columns: Sequence[str], texts: Sequence[bool], sample: int | None, seed: int
) -> tuple[pa.Table, int]:
    """Of the nodes that edges lead to, `sample` whose hashed ids are smallest, or all: src, dst and `columns` of the
    edges into these; and how many rows the scores have. `texts`: of src and of dst, whether the ids are text.

    Raises
    ------
    DataError
        If a column is missing.
    """
    names = [SRC, DST, *columns]
    for name in names:
        if name not in scores.columns:
            raise DataError(f"the scores have no column {name!r}; they have {', '.join(scores.columns)}")
    if isinstance(scores, Table):
        return _of_files(scores, names, [pa.string() if text else pa.int64() for text in texts], sample, seed)
    return _of_frame(scores, names, ["string" if text else "bigint" for text in texts], sample, seed)


def _of_files(
    scores: Table, names: list[str], keys: list[pa.DataType], sample: int | None, seed: int
) -> tuple[pa.Table, int]:
    rows, ends = 0, [pa.array([], keys[1])]
    for batch in read_pieces(scores.pieces([DST]) or [], [DST]):
        rows += batch.num_rows
        ends.append(pc.unique(batch.column(0).cast(keys[1])))
    ids = pc.unique(pa.chunked_array(ends))
    order = pa.table({"hash": order_of(ids, seed), "id": ids})
    chosen = ids.take(pc.sort_indices(order, [("hash", "ascending"), ("id", "ascending")]).slice(0, sample))
    parts = []
    for batch in read_pieces(scores.pieces(names) or [], names):
        ends = [column.cast(key) for column, key in zip(batch.columns, keys, strict=False)]
        part = pa.table([*ends, *batch.columns[2:]], names)
        parts.append(part.filter(pc.is_in(part[DST], value_set=chosen)))
    none = zip(names, [*keys, *[pa.list_(pa.float32())] * len(names)], strict=False)
    return (pa.concat_tables(parts) if parts else pa.table({name: pa.array([], type) for name, type in none})), rows


def _of_frame(
    scores: DataFrame, names: list[str], keys: list[str], sample: int | None, seed: int
) -> tuple[pa.Table, int]:
    """Runs jobs."""
    from pyspark.sql import functions as F

    columns = [F.col(quoted(name)).cast(key).alias(name) for name, key in zip(names, keys, strict=False)]
    rows = scores.select(*columns, *(F.col(quoted(name)) for name in names[2:]))
    count = rows.count()
    if sample is not None:
        ids = rows.select(DST).distinct()
        chosen = ids.orderBy(F.xxhash64(F.lit(seed).cast("bigint"), F.col(DST)), DST).limit(sample)
        rows = rows.join(chosen, DST, "left_semi").select(*names)
    return rows.toArrow(), count
