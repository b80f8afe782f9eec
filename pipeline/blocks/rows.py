"""Arrays as rows that travel, and blocks from them again.

Comes in: a block, or rows of columns.ROW_DDL from a shuffle or from files. Goes out: the other one. A row is a chunk of
one array and says of which: its block, the block at the other end, kind, name, element type, width, position. Knows
nothing of Spark and of files.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.arrow import numbers
from pipeline.blocks.block import LOOPS, Block, Tile
from pipeline.blocks.columns import CHUNK_BYTES, ROW_COLUMNS
from pipeline.blocks.stacked import HEAD, StackedTiles, ends_of
from pipeline.schema import EDGE, EdgeType, name_of, spelled

# Kinds of arrays of a block. NAME is the node or edge type as it is spelled, then "/column" where there are several.
IDS = "ids"  # (n,) int64, or the ids' UTF-8 bytes as uint8
ID_OFFSETS = "id offsets"  # (n + 1,) int32: id i is bytes[i : i + 1], for ids of text
FEATURES = "features"  # (n, width) float32
# of all tiles of a type of edges, stacked (stacked.py)
HEADS = "heads"  # (k * HEAD,) int32
ROWS, INDPTR, INDICES = "rows", "indptr", "indices"  # int32
VALUES = "values"  # (e, width) float32
MIDDLES = "middles"  # int32
SENDS = "sends"  # int32: local indices for other blocks, one list behind another; or with SOURCE LOOPS for itself
SENT_TO = "sent to"  # (k * SENT,) int32: of each of these lists the block, its length, how many a hybrid exchange sends

TILES = (HEADS, ROWS, INDPTR, INDICES, VALUES, MIDDLES)
PUSHES = tuple(f"push {kind}" for kind in TILES)  # of the edges that may be pushed to other blocks
LISTS = (SENDS, SENT_TO)
KINDS = (IDS, ID_OFFSETS, FEATURES, *TILES, *PUSHES, *LISTS)
SENT = 3
ALL = -1  # of a list that a hybrid exchange sends whole

# What is read together, apart from anything else.
_PARTS = {
    **{kind: kind for kind in KINDS},
    **dict.fromkeys(TILES, "tiles"),
    **dict.fromkeys(PUSHES, "pushes"),
    SENT_TO: SENDS,
}
EDGE_KINDS = (*TILES, *PUSHES, *LISTS)  # of one type of edges each

# Spark's vectorized reader takes up to 4096 rows of a row group at once: 4 GB if groups were not kept small.
GROUP_BYTES = 16 * CHUNK_BYTES

SCHEMA = pa.schema(
    zip(
        ROW_COLUMNS,
        (pa.int32(), pa.int32(), pa.string(), pa.string(), pa.string(), pa.int32(), pa.int32(), pa.binary()),
        strict=True,
    )
)


_Of = TypeVar("_Of")


class Row(NamedTuple):
    """One row that travels; see columns.py."""

    target: int
    source: int
    kind: str
    name: str
    dtype: str
    width: int
    part: int
    data: npt.NDArray[np.uint8]


# ---- arrays ↔ rows


def array_rows(target: int, source: int, kind: str, name: str, array: npt.NDArray[Any]) -> Iterator[Row]:
    """An array as chunks of whole rows, at most CHUNK_BYTES each (or one row). An empty array is one chunk."""
    dtype = array.dtype.newbyteorder("<")
    array = np.ascontiguousarray(array, dtype)
    width = array.shape[1] if array.ndim == 2 else 0
    each = max(1, CHUNK_BYTES // max(1, array.itemsize * max(width, 1)))
    for part, start in enumerate(range(0, max(len(array), 1), each)):
        data = array[start : start + each].reshape(-1).view(np.uint8)
        yield Row(target, source, kind, name, dtype.str, width, part, data)


def join(rows: Iterable[Row]) -> npt.NDArray[Any]:
    """The array whose chunks these are, in any order. A view if they lie one after the other in memory, as they do when
    pyarrow has read them from a file; else a copy."""
    parts = sorted(rows, key=lambda row: row.part)
    first = parts[0]
    pieces = [row.data for row in parts]
    flat = _adjacent(pieces)
    if flat is None:
        flat = np.concatenate(pieces)
    dtype = np.dtype(first.dtype)
    if flat.ctypes.data % dtype.itemsize:
        flat = flat.copy()  # to Numba an unaligned array is another type, and a slow one
    array = flat.view(dtype)
    array.flags.writeable = (
        False  # as all views of Arrow are: to Numba a writable array is another type, compiled again
    )
    return array.reshape(-1, first.width) if first.width else array


def _adjacent(pieces: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8] | None:
    """The stretch of memory that the pieces make up, if they are views of one array of bytes."""
    if len(pieces) == 1:
        return pieces[0]
    base: Any = pieces[0].base
    if not isinstance(base, np.ndarray) or base.dtype != np.uint8 or base.ndim != 1:
        return None
    start = end = pieces[0].ctypes.data - base.ctypes.data
    for piece in pieces:
        if piece.base is not base or piece.ctypes.data - base.ctypes.data != end:
            return None
        end += len(piece)
    stretch: npt.NDArray[np.uint8] = base[start:end]
    return stretch


def to_batches(rows: Iterable[Row], limit: int = GROUP_BYTES) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow batches of about `limit` bytes; a batch holds rows of one part, and of one type of edges."""
    pending: list[Row] = []
    size = 0
    for row in rows:
        if pending and (size + len(row.data) > limit or _part_of(row) != _part_of(pending[-1])):
            yield _to_batch(pending)
            pending, size = [], 0
        pending.append(row)
        size += len(row.data)
    if pending:
        yield _to_batch(pending)


def _part_of(row: Row) -> tuple[str, str]:
    return part_of(row.kind), edge_type_of(row.kind, row.name)


def part_of(kind: str) -> str:
    """What a kind of rows is written and read with."""
    return _PARTS.get(kind, kind)


def edge_type_of(kind: str, name: str) -> str:
    """The type of edges that a row of a tile or a send list belongs to; "" for other rows."""
    return name.partition("/")[0] if kind in EDGE_KINDS else ""


def _to_batch(rows: list[Row]) -> pa.RecordBatch:
    offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row.data) for row in rows], out=offsets[1:])
    data = np.concatenate([row.data for row in rows])
    heads = zip(*(row[:-1] for row in rows), strict=True)
    columns = [pa.array(head, field.type) for head, field in zip(heads, SCHEMA, strict=False)]
    columns.append(pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)]))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def from_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    """The rows of Arrow batches; their data are views, which keep the batch alive."""
    for batch in batches:
        binary = batch.column(ROW_COLUMNS[-1])
        offsets = np.frombuffer(binary.buffers()[1], np.int32, len(binary) + 1, 4 * binary.offset)
        data = np.frombuffer(binary.buffers()[2] or b"", np.uint8)
        heads = zip(*(batch.column(name).to_pylist() for name in ROW_COLUMNS[:-1]), strict=True)
        for i, head in enumerate(heads):
            yield Row._make((*head, data[offsets[i] : offsets[i + 1]]))


def by_target(batches: Iterable[pa.RecordBatch]) -> dict[int, list[Row]]:
    """The rows of Arrow batches for each block among them, by ascending block."""
    arrived: dict[int, list[Row]] = defaultdict(list)
    for row in from_batches(batches):
        arrived[row.target].append(row)
    return dict(sorted(arrived.items()))


# ---- blocks ↔ rows


def static_rows(block: Block) -> Iterator[Row]:
    """All of a block but its send lists to other blocks, in an order of their own: the same block has the same digest.

    8-byte arrays come first, so that what is read back is aligned.
    """
    here = block.index
    for node_type, ids in block.ids.items():
        yield from id_rows(here, here, spelled(node_type), ids, (IDS, ID_OFFSETS))
    for node_type, columns in block.features.items():
        for column, matrix in sorted(columns.items()):
            yield from array_rows(here, here, FEATURES, f"{spelled(node_type)}/{column}", matrix)
    for edge_type, tiles in _by_name(block.tiles):
        yield from tile_rows(here, edge_type, tiles, TILES)
    for edge_type, sends in _by_name(block.sends):
        if LOOPS in sends:
            yield from array_rows(here, LOOPS, SENDS, str(edge_type), sends[LOOPS])


def id_rows(target: int, source: int, name: str, ids: pa.Array, kinds: tuple[str, str]) -> Iterator[Row]:
    """Ids under the kind of ids, or for ids of text of bytes, and that of offsets into these."""
    of_ids, of_offsets = kinds
    if pa.types.is_string(ids.type):
        offsets, data = text_buffers(ids)
        yield from array_rows(target, source, of_offsets, name, offsets - offsets[0])
        yield from array_rows(target, source, of_ids, name, data[offsets[0] : offsets[-1]])
    else:
        yield from array_rows(target, source, of_ids, name, ids.to_numpy())


def send_rows(block: Block) -> Iterator[Row]:
    """What a block has for others (and for itself as one of the P): send lists, and the edges that it may push."""
    here = block.index
    for edge_type, sends in _by_name(block.sends):
        pulled = block.pulled.get(edge_type, {})
        to = sorted(sends.keys() - {LOOPS})
        if to:
            told = [(other, len(sends[other]), pulled.get(other, ALL)) for other in to]
            yield from array_rows(here, here, SENT_TO, str(edge_type), np.array(told, np.int32).reshape(-1))
            yield from array_rows(here, here, SENDS, str(edge_type), np.concatenate([sends[other] for other in to]))
    for edge_type, tiles in _by_name(block.pushes):
        yield from tile_rows(here, edge_type, tiles, PUSHES)


def _by_name(by_type: Mapping[EdgeType, _Of]) -> list[tuple[EdgeType, _Of]]:
    """In an order of their own, which is that of their spelling."""
    return sorted(by_type.items(), key=lambda item: str(item[0]))


def tile_rows(here: int, edge_type: EdgeType, tiles: Mapping[int, Tile], kinds: Sequence[str]) -> Iterator[Row]:
    """The tiles of a type under the six kinds that say which of a block's they are: TILES or PUSHES."""
    if not tiles:
        return
    name, stacked = str(edge_type), StackedTiles.of(tiles)
    heads, rows, indptr, indices, values, middles = kinds
    yield from array_rows(here, here, heads, name, stacked.heads.reshape(-1))
    yield from array_rows(here, here, rows, name, stacked.rows)
    yield from array_rows(here, here, indptr, name, stacked.indptr)
    yield from array_rows(here, here, indices, name, stacked.indices)
    for column, matrix in sorted(stacked.columns.items()):
        yield from array_rows(here, here, values, f"{name}/{column}", matrix)
    if stacked.middles is not None:
        yield from array_rows(here, here, middles, name, stacked.middles)


def block_from_rows(index: int, rows: Iterable[Row]) -> Block:
    """The block with this index; rows of other targets and of kinds that are not a block's are passed over.

    What a kind would have filled is empty if the rows were read without it.
    """
    arrays = _arrays((row for row in rows if row.target == index), KINDS)
    ids = {
        name_of(name): ids_of(array, arrays[ID_OFFSETS].get((at, name))) for (at, name), array in arrays[IDS].items()
    }
    features: dict[str, dict[str, npt.NDArray[np.float32]]] = {node_type: {} for node_type in ids}
    for (_, name), array in arrays[FEATURES].items():
        spelling, _, column = name.partition("/")
        node_type = name_of(spelling)
        features.setdefault(node_type, {})[column] = _matrix(array, len(ids.get(node_type, ())))
    sends, pulled = _lists(arrays)
    return Block(
        index,
        ids,
        features,
        {EDGE: {}, **_tiles(arrays, TILES)},
        {EDGE: {}, **sends},
        pulled,
        _tiles(arrays, PUSHES),
    )


_Arrays = dict[str, dict[tuple[int, str], npt.NDArray[Any]]]


def _arrays(rows: Iterable[Row], kinds: Sequence[str]) -> _Arrays:
    """Kind → source and name → array."""
    chunks: dict[tuple[str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind in kinds:
            chunks[row.kind, row.source, row.name].append(row)
    arrays: _Arrays = {kind: {} for kind in kinds}
    for (kind, source, name), parts in sorted(chunks.items()):
        arrays[kind][source, name] = join(parts)
    return arrays


def _lists(
    arrays: _Arrays,
) -> tuple[dict[EdgeType, dict[int, npt.NDArray[Any]]], dict[EdgeType, dict[int, int]]]:
    """Send lists, and how much of them a hybrid exchange sends."""
    sends: dict[EdgeType, dict[int, npt.NDArray[Any]]] = defaultdict(dict)
    pulled: dict[EdgeType, dict[int, int]] = {}
    for (source, name), array in arrays[SENDS].items():
        edge_type = EdgeType.parse(name)
        if source == LOOPS:
            sends[edge_type][LOOPS] = array
            continue
        to, lengths, some = arrays[SENT_TO][source, name].reshape(-1, SENT).T
        ends = ends_of(lengths)
        if lengths.min(initial=0) < 0 or ends[-1] != len(array):
            raise ValueError("send lists are not as long as they say")
        others, bounds = to.tolist(), ends.tolist()
        for other, start, end in zip(others, bounds[:-1], bounds[1:], strict=True):
            sends[edge_type][other] = array[start:end]
        part = {other: count for other, count in zip(others, some.tolist(), strict=True) if count != ALL}
        if part:
            pulled[edge_type] = part
    return dict(sends), pulled


def _tiles(arrays: _Arrays, kinds: Sequence[str]) -> dict[EdgeType, StackedTiles]:
    heads, rows, indptr, indices, values, middles = (arrays[kind] for kind in kinds)
    by_column: dict[str, dict[str, npt.NDArray[np.float32]]] = defaultdict(dict)
    for (at, name), array in values.items():
        edge_type, _, column = name.partition("/")
        by_column[edge_type][column] = _matrix(array, len(indices[at, edge_type]))
    return {
        EdgeType.parse(name): StackedTiles(
            array.reshape(-1, HEAD),
            rows[at, name],
            indptr[at, name],
            indices[at, name],
            by_column.get(name, {}),
            middles.get((at, name)),
        )
        for (at, name), array in heads.items()
    }


def _matrix(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """A matrix of no columns comes as a vector without items: WIDTH 0 stands for both."""
    return array if array.ndim == 2 else array.reshape(rows, 0)


def text_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Offsets (n + 1,) and bytes of an Arrow string array without nulls; views."""
    texts = texts.cast(pa.string())
    offsets = np.frombuffer(texts.buffers()[1] or bytes(4), np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return offsets, np.frombuffer(texts.buffers()[2] or b"", np.uint8)


def ids_of(array: npt.NDArray[Any], offsets: npt.NDArray[np.int32] | None) -> pa.Array:
    if offsets is None:
        return numbers(array)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(array))


def digest(rows: Iterable[Row]) -> str:
    """A hash of arrays that come as rows in their fixed order: the same for the same content, on any machine."""
    content = hashlib.sha256()  # 1.4 GB/s where the CPU has instructions for it, 2.5 times as fast as blake2b
    for row in rows:
        content.update(repr(row[:-1]).encode())
        content.update(row.data.data)
    return content.hexdigest()
