"""The map side of prepare: the user's rows, sorted by block, as a few binary rows.

Comes in: Arrow batches of the node or the edge table. Goes out: binary rows of up to a megabyte, each with all that
some nodes or edges of one block have; and findings about what is wrong. One JVM row per edge is what this avoids. Knows
nothing of Spark, nor of what a block does with its rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import FloatArray, IntArray, LongArray
from pipeline.blocks.columns import CHUNK_BYTES
from pipeline.blocks.rows import Row, text_buffers
from pipeline.kernels.jit import read_only
from pipeline.kernels.sort import count_codes, spread, spread_pairs
from pipeline.preparing.checks import EXAMPLES, Finding, merge
from pipeline.preparing.preparation import Preparation
from pipeline.schema import EdgeType
from pipeline.tables.layout import Layout, ValueColumns
from pipeline.tables.words import not_text

# kinds of rows, beside those of blocks
# NAME the node or edge type, WIDTH the float32 lanes of a record, DTYPE how they are divided: "64,1"; SOURCE how many
# of the records are as the table has them: those of undirected edges that are turned come behind
PACKED_NODES = "packed nodes"
PACKED_EDGES = "packed edges"
FINDING = "finding"

FLUSH_ROWS = 1 << 20  # with 8 blocks a chunk of edges is the full megabyte; less makes more and smaller rows
FLUSH_BYTES = 1 << 26  # and what the features of a flush may take; a worker holds it three times


class Packed(NamedTuple):
    """Records of one block: nodes (keys; texts if ids are text) or edges (keys are dst, sources are src)."""

    keys: LongArray
    sources: LongArray | None
    matrix: FloatArray
    """(n, lanes) float32: all values side by side."""
    widths: tuple[int, ...]
    texts: pa.Array | None
    given: int = 0
    """How many are as the table has them; the edges behind are turned."""


def pack(batches: Iterable[pa.RecordBatch], layout: Layout, plan: Preparation) -> Iterator[Row]:
    """Packed rows of all records of a table, then rows of kind FINDING for all that is wrong with them."""
    findings: list[Finding] = []
    for table in flushes(map(layout.chosen, batches)):
        found: list[Finding] = []
        yield from _pack(table, layout, plan, found)
        findings = merge([*findings, *found])
    for finding in findings:
        yield finding_row(0, finding)


def finding_row(target: int, finding: Finding) -> Row:
    return Row(target, target, FINDING, "", "|u1", 0, 0, np.frombuffer(finding.to_bytes(), np.uint8))


def flushes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches, gathered: Spark sends 10 000 rows at a time, of which each block would get too little."""
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if batch.num_rows:
            pending.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
        if rows >= FLUSH_ROWS or size >= FLUSH_BYTES:
            yield pa.Table.from_batches(pending)
            pending, rows, size = [], 0, 0
    if pending:
        yield pa.Table.from_batches(pending)


def good_columns(table: pa.Table, layout: Layout, findings: list[Finding]) -> list[pa.Array]:
    """The columns of the layout, without rows whose keys cannot be used."""
    columns = _without_null_keys([_whole(column) for column in table.columns], layout, findings)
    return _without_bytes(columns, layout, findings)


def keys_of(columns: Sequence[pa.Array], layout: Layout) -> list[LongArray]:
    """The 64-bit keys of the layout's key columns, which come first."""
    return [
        layout.text_hash(ids, layout.seed) if text else ids.cast(pa.int64()).to_numpy()
        for ids, text in zip(columns, layout.texts, strict=False)
    ]


def _pack(table: pa.Table, layout: Layout, plan: Preparation, findings: list[Finding]) -> Iterator[Row]:
    columns = good_columns(table, layout, findings)
    names, at = columns[: len(layout.keys)], len(layout.keys)
    keys = keys_of(names, layout)
    matrices = []
    for value in layout.values:
        parts = columns[at : at + len(value.columns)]
        at += len(value.columns)
        matrices.append((_arrays if value.array else _numbers)(parts, names, layout, value, findings))
    matrix = _side_by_side(matrices, len(keys[0]))
    widths = ",".join(str(part.shape[1]) for part in matrices)

    texts = names[0] if layout.text and len(keys) == 1 else None
    for name, targets, sources, records in directions(keys, layout):
        block = plan.blocks_of(name if sources is None else EdgeType.parse(name).target, targets)
        numbered = sources is None or layout.undirected or bool(matrix.shape[1])
        by_block = _by_block(block, plan.blocks, targets, sources, numbered)
        for target, some in _chunks(by_block.offsets, _record_bytes(layout, matrix, texts)):
            chosen = None if by_block.order is None else by_block.order[some]
            part = Packed(
                by_block.keys[some],
                None if by_block.sources is None else by_block.sources[some],
                matrix[:0] if chosen is None else matrix.take(records[chosen], axis=0),
                (),
                None if texts is None or chosen is None else texts.take(pa.array(chosen)),
            )
            records_here = some.stop - some.start
            # positions in a block ascend
            given = records_here if chosen is None else int(np.searchsorted(chosen, len(keys[0])))
            yield Row(
                target,
                given,
                PACKED_NODES if sources is None else PACKED_EDGES,
                name,
                widths,
                matrix.shape[1],
                records_here,
                _join(part),
            )


def directions(keys: list[LongArray], layout: Layout) -> Iterator[tuple[str, LongArray, LongArray | None, IntArray]]:
    """For each type of rows that a table stands for: its name, the keys that decide the block, the keys of the other
    ends, and the records that they are of."""
    records = np.arange(len(keys[0]), dtype=np.int32)
    if len(keys) == 1:
        yield layout.type, keys[0], None, records
        return
    sources, targets = keys
    if layout.undirected:
        back = np.flatnonzero(sources != targets).astype(np.int32)
        sources, targets = np.concatenate([sources, targets[back]]), np.concatenate([targets, sources[back]])
        records = np.concatenate([records, back])
    forward, *against = layout.edge_types
    yield str(forward), targets, sources, records
    for edge_type in against:
        yield str(edge_type), sources, targets, records


def _record_bytes(layout: Layout, matrix: FloatArray, texts: pa.Array | None) -> int:
    text = 0 if texts is None else 4 + texts.nbytes // max(1, len(texts))
    return 8 * len(layout.keys) + 4 * matrix.shape[1] + text


class _ByBlock(NamedTuple):
    """Records, block by block."""

    offsets: LongArray
    """(blocks + 1,): where those of each block begin, and the last end."""
    keys: LongArray
    sources: LongArray | None
    order: IntArray | None
    """Which record each is; None if nobody asks."""


def _by_block(block: IntArray, blocks: int, keys: LongArray, sources: LongArray | None, numbered: bool) -> _ByBlock:
    """Keys are moved to the places of their blocks. `numbered`: the numbers of records too."""
    offsets, block = np.empty(blocks + 1, np.int64), read_only(block)
    count_codes(block, offsets)
    given = block, read_only(offsets)
    moved = np.empty(len(keys), np.int64)
    order = np.empty(len(keys), np.int32) if numbered else None
    numbers = np.arange(len(keys) if numbered else 0, dtype=np.int32)
    if sources is None and order is not None:
        spread_pairs(*given, read_only(keys), read_only(numbers), moved, order)
        return _ByBlock(offsets, moved, None, order)
    assert sources is not None, "nodes are numbered"
    ends = np.empty(len(keys), np.int64)
    spread_pairs(*given, read_only(keys), read_only(sources), moved, ends)
    if order is not None:
        spread(*given, read_only(numbers), order)
    return _ByBlock(offsets, moved, ends, order)


def _chunks(offsets: LongArray, record_bytes: int) -> Iterator[tuple[int, slice]]:
    """Each block with its records in pieces of up to a megabyte. A block without any has an empty one: it has to learn
    the widths of its values."""
    each = max(1, CHUNK_BYTES // record_bytes)
    for target, (start, end) in enumerate(pairwise(offsets.tolist())):
        for at in range(start, max(end, start + 1), each):
            yield target, slice(at, min(at + each, end))


def _join(part: Packed) -> npt.NDArray[np.uint8]:
    """keys, sources, matrix, text offsets, text bytes; padded to 8 bytes, so that the cells of a batch stay aligned."""
    pieces: list[npt.NDArray[np.generic] | None] = [part.keys, part.sources, part.matrix.reshape(-1)]
    if part.texts is not None:
        offsets, data = text_buffers(part.texts)
        pieces += [offsets - offsets[0], data[offsets[0] : offsets[-1]]]
    flat = [piece.view(np.uint8) for piece in pieces if piece is not None]
    flat.append(np.zeros(-sum(map(len, flat)) % 8, np.uint8))
    return np.concatenate(flat)


def unpack(row: Row, layout: Layout) -> Packed:
    """The records of a row of kind PACKED_NODES or PACKED_EDGES; views."""
    count, lanes, data = row.part, row.width, row.data
    edges = len(layout.keys) > 1
    text = layout.text and not edges
    ends = np.cumsum([0, 8 * count, 8 * count * edges, 4 * count * lanes, 4 * (count + 1) * text]).tolist()
    keys, sources, matrix, offsets = (data[start:end] for start, end in pairwise(ends))
    texts = None
    if text:
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[ends[-1] :])]
        texts = pa.Array.from_buffers(pa.string(), count, buffers)
    return Packed(
        keys.view(np.int64),
        sources.view(np.int64) if edges else None,
        matrix.view(np.float32).reshape(count, lanes),
        tuple(map(int, row.dtype.split(","))) if row.dtype else (),
        texts,
        row.source,
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _without_null_keys(columns: list[pa.Array], layout: Layout, findings: list[Finding]) -> list[pa.Array]:
    keys = columns[: len(layout.keys)]
    if not any(key.null_count for key in keys):
        return columns
    for key, name, other in zip(keys, layout.keys, reversed(keys), strict=True):
        if key.null_count:
            ends = other.filter(key.is_null()).drop_null() if len(keys) > 1 else pa.array([], other.type)
            examples = tuple(f"null with {end}" for end in _smallest(ends))
            findings.append(Finding(layout.table, name, "null", key.null_count, examples))
    valid = keys[0].is_valid()
    for key in keys[1:]:
        valid = pc.and_(valid, key.is_valid())
    return [column.filter(valid) for column in columns]


def _without_bytes(columns: list[pa.Array], layout: Layout, findings: list[Finding]) -> list[pa.Array]:
    """Without rows whose ids are bytes that are no UTF-8: nobody could print them, or look them up."""
    wrong: list[pa.Array] = []
    for at, (name, text) in enumerate(zip(layout.keys, layout.texts, strict=True)):
        bad = not_text(columns[at]) if text else None
        if bad is not None:
            examples = [str(text)[1:] for text in columns[at].filter(bad)[:EXAMPLES].cast(pa.binary()).to_pylist()]
            findings.append(Finding(layout.table, name, "no text", pc.sum(bad).as_py(), tuple(sorted(examples))))
            wrong.append(bad)
    return [column.filter(pc.invert(functools.reduce(pc.or_, wrong))) for column in columns] if wrong else columns


def _arrays(
    parts: list[pa.Array], names: list[pa.Array], layout: Layout, value: ValueColumns, findings: list[Finding]
) -> FloatArray:
    """(n, width) float32 of a column of arrays; zeros for rows that are not of the usual length."""
    (column,) = parts
    (name,) = value.columns
    lengths = pc.list_value_length(column)
    if column.null_count:
        _find(lengths.is_null(), names, layout, name, "null", findings)
    counts = {item["values"]: item["counts"] for item in pc.value_counts(lengths.drop_null()).to_pylist()}
    for width, count in counts.items():
        some = pc.equal(lengths, width) if len(counts) > 1 else pa.array(np.arange(len(column)) < EXAMPLES)
        findings.append(Finding(layout.table, name, "width", count, _examples(some, names), width))
    usual = max(counts, key=lambda width: (counts[width], width), default=0)
    good = pc.equal(lengths, usual).fill_null(False)
    whole = len(counts) == 1 and not column.null_count
    flat = column.flatten() if whole else column.filter(good).flatten()
    rows = None if whole else np.flatnonzero(good.to_numpy(zero_copy_only=False))
    if flat.null_count:
        bad = np.zeros(len(column), bool)
        at = np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False)) // usual
        bad[at if rows is None else rows[at]] = True
        _find(pa.array(bad), names, layout, name, "null", findings)
        flat = _filled(flat)
    matrix = _float32(flat.to_numpy(zero_copy_only=False)).reshape(len(column) if rows is None else len(rows), usual)
    if rows is not None:
        filled = np.zeros((len(column), usual), np.float32)
        filled[rows] = matrix
        matrix = filled
    finite = np.isfinite(matrix)
    if not finite.all():
        _find(pa.array(~finite.all(axis=1)), names, layout, name, "not finite", findings)
    return matrix


def _numbers(
    parts: list[pa.Array], names: list[pa.Array], layout: Layout, value: ValueColumns, findings: list[Finding]
) -> FloatArray:
    """(n, number of columns) float32 of columns of numbers; zeros for nulls."""
    matrix = np.empty((len(names[0]), len(parts)), np.float32)
    for lane, (column, name) in enumerate(zip(parts, value.columns, strict=True)):
        if column.null_count:
            _find(column.is_null(), names, layout, name, "null", findings)
            column = _filled(column)
        matrix[:, lane] = _float32(column.to_numpy(zero_copy_only=False))
        finite = np.isfinite(matrix[:, lane])
        if not finite.all():
            _find(pa.array(~finite), names, layout, name, "not finite", findings)
    return matrix


def _filled(column: pa.Array) -> pa.Array:
    """Zeros for nulls, which are findings."""
    return column.fill_null(pa.scalar(0).cast(column.type))


def _float32(array: npt.NDArray[np.generic]) -> FloatArray:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is a finding
        return array.astype(np.float32, copy=False)


def _side_by_side(matrices: list[FloatArray], rows: int) -> FloatArray:
    if len(matrices) == 1:
        return matrices[0]
    return np.concatenate(matrices, axis=1) if matrices else np.empty((rows, 0), np.float32)


def _find(
    bad: pa.Array, names: list[pa.Array], layout: Layout, column: str, what: str, findings: list[Finding]
) -> None:
    findings.append(Finding(layout.table, column, what, pc.sum(bad).as_py(), _examples(bad, names)))


def _examples(bad: pa.Array, names: list[pa.Array]) -> tuple[int | str, ...]:
    chosen = [ids.filter(bad) for ids in names]
    if len(chosen) == 1:
        return _smallest(chosen[0])
    ends = pa.table(chosen, names=["src", "dst"])
    pairs = ends.sort_by([("src", "ascending"), ("dst", "ascending")]).slice(0, EXAMPLES)
    return tuple(f"{src} -> {dst}" for src, dst in zip(*(column.to_pylist() for column in pairs.columns), strict=True))


def _smallest(ids: pa.Array) -> tuple[int | str, ...]:
    return tuple(ids.take(pc.array_sort_indices(ids).slice(0, EXAMPLES)).to_pylist())
