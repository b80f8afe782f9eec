"""Whether the arrays of a block can be worked on: no index leads beyond an array.

Comes in: a block, of which perhaps some kinds of arrays only, and the numbers of nodes that the manifest tells. Goes
out: nothing, or a StorageError. Generated loops look at no bounds: a wrong index would read, or write, whatever lies
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.block import LOOPS, Block, IntArray, LongArray
from pipeline.blocks.rows import FEATURES, IDS, PUSHES, TILES, VALUES, Row
from pipeline.blocks.stacked import StackedTiles
from pipeline.errors import StorageError
from pipeline.schema import GraphSchema, name_of

MATRICES = (FEATURES, VALUES, PUSHES[TILES.index(VALUES)])


class Unsound(Exception):
    """What is wrong, for the message."""


def check_rows(rows: Iterable[Row], text: Mapping[str, bool]) -> None:
    """ValueError unless the bytes of each row are of the type that its kind has: they are going to be taken for it."""
    for row in rows:
        if row.kind == IDS and name_of(row.name) not in text:
            raise ValueError(f"ids of {row.name}, a type that the graph does not have")
        ids = "|u1" if row.kind == IDS and text[name_of(row.name)] else "<i8"
        wanted = ids if row.kind == IDS else "<f4" if row.kind in MATRICES else "<i4"
        if row.dtype != wanted or row.width < 0 or (row.width and row.kind not in MATRICES):
            raise ValueError(f"{row.kind} of type {row.dtype} and width {row.width}")


def check_block(where: str, block: Block, nodes: Mapping[str, Sequence[int]], text: Mapping[str, bool]) -> None:
    """StorageError unless all that is there of a block fits together.

    `nodes`: node type → the number of nodes of every block. `text`: node type → whether ids are text.
    """
    blocks = len(next(iter(nodes.values())))

    def nodes_of(type: str) -> int:
        _expect(type in nodes, f"it has nodes of {type}, a type that the graph does not have")
        return nodes[type][block.index]

    try:
        for name, ids in block.ids.items():
            count = nodes_of(name)
            _expect(len(ids) == count, f"it has {len(ids):,} ids of {name}, not {count:,}")
            _expect(pa.types.is_string(ids.type) == text[name], f"its ids are {ids.type}")
            if text[name]:
                _check_texts(ids)
        for type, columns in block.features.items():
            count = nodes_of(type)
            for name, matrix in columns.items():
                _expect(matrix.shape[:1] == (count,), f"feature {name} has {len(matrix):,} rows, not {count:,}")
        for edge_type, tiles in block.tiles.items():
            if not tiles:
                continue
            stacked = StackedTiles.of(tiles)
            _check_tiles(stacked, nodes_of(edge_type.target), stacked.heads[:, 3], blocks)
        for edge_type, sends in block.sends.items():
            for target, rows in sends.items():
                _expect(target == LOOPS or 0 <= target < blocks, f"there is no block {target}")
                _below(rows, nodes_of(edge_type.source), "send lists")
                pulled = block.pulled.get(edge_type, {}).get(target, 0)
                _expect(0 <= pulled <= len(rows), f"it sends {pulled:,} of {len(rows):,} rows")
        for edge_type, pushes in block.pushes.items():
            if not pushes:
                continue
            stacked = StackedTiles.of(pushes)
            senders = np.full(len(stacked), nodes_of(edge_type.source), np.int32)
            _expect(LOOPS not in stacked, f"there is no block {LOOPS}")
            _check_tiles(stacked, stacked.heads[:, 1], senders, blocks)
    except Unsound as error:
        raise StorageError(f"{where}: block {block.index} is not well formed: {error}") from None


def check_columns(where: str, block: Block, schema: GraphSchema, features: bool) -> None:
    """StorageError unless nodes (if their features were read) and tiles have the columns of the schema, as wide."""
    for kind, matrices in block.features.items() if features else ():
        _check_widths(where, block.index, kind, schema.nodes.get(kind, {}), matrices)
    for edge_type, tiles in (*block.tiles.items(), *block.pushes.items()):
        stored = schema.edges.get(edge_type, schema.edges.get(edge_type.reversed, {}))
        if tiles:
            _check_widths(where, block.index, str(edge_type), stored, StackedTiles.of(tiles).columns)


def _check_widths(where: str, index: int, kind: str, wanted: Mapping[str, int], found: Mapping[str, Any]) -> None:
    widths = {name: matrix.shape[1] for name, matrix in found.items()}
    if widths != wanted:
        raise StorageError(
            f"{where}: block {index} is not well formed: {kind} have columns {widths}, not {dict(wanted)}"
        )


def _check_texts(ids: pa.Array) -> None:
    try:
        ids.validate(full=True)
    except pa.ArrowInvalid as error:
        raise Unsound(f"its ids are no texts: {error}") from None


def _check_tiles(tiles: StackedTiles, nodes: int | IntArray, senders: IntArray, blocks: int) -> None:
    """Of all tiles of a type at once. `nodes`: below it are all rows, or those of each tile; `senders`: the same of the
    columns."""
    arrays: Mapping[str, npt.NDArray[Any]] = {"rows": tiles.rows, "indptr": tiles.indptr, "indices": tiles.indices}
    for name, array in arrays.items():
        _expect(array.ndim == 1 and array.dtype == np.int32, f"{name} of a tile are {array.dtype} of {array.ndim} axes")
    sources, rows, edges, _, cut = tiles.heads.T
    outside = sources[((sources < 0) & (sources != LOOPS)) | (sources >= blocks)]
    _expect(not len(outside), f"there is no block {outside[:1].sum()}")
    _expect(bool((sources[1:] > sources[:-1]).all()), "tiles are not in order")
    _expect(bool((rows > 0).all()) and tiles.row_ends[-1] == len(tiles.rows), "rows of a tile are not in order")
    _expect(len(tiles.indptr) == len(tiles.rows) + len(rows), "a tile has rows without edges")
    ends = tiles.row_ends[1:] + np.arange(len(rows))
    starts = np.append(0, ends[:-1] + 1)
    inside = np.delete(np.diff(tiles.indptr), ends[:-1])
    whole = (tiles.indptr[starts] == 0).all() and (tiles.indptr[ends] == edges).all()
    _expect(bool(whole) and bool((inside > 0).all()), "indptr of a tile are not in order")
    _expect(tiles.edge_ends[-1] == len(tiles.indices), "indptr of a tile are not in order")
    _each_below(tiles.rows, tiles.row_ends, nodes, "rows of a tile")
    ascending = np.delete(tiles.rows[1:] > tiles.rows[:-1], tiles.row_ends[1:-1] - 1)
    _expect(bool(ascending.all()), "rows of a tile are not in order")
    _each_below(tiles.indices, tiles.edge_ends, senders, "indices of a tile")
    for name, values in tiles.columns.items():
        fits = values.shape[:1] == tiles.indices.shape
        _expect(fits, f"edge column {name} has {len(values):,} rows, not {len(tiles.indices):,}")
    _expect(bool(((cut == 0) | (cut == 1)).all()), "a tile has other middles than rows")
    middles = np.empty(0, np.int32) if tiles.middles is None else tiles.middles
    fits = middles.dtype == np.int32 and middles.shape == (tiles.middle_ends[-1],)
    _expect(fits, "a tile has other middles than rows")
    if len(middles):
        of_cut = np.repeat(cut.astype(bool), rows)
        before, after = (np.delete(tiles.indptr, at)[of_cut] for at in (ends, starts))
        between = (middles >= before) & (middles <= after)
        _expect(bool(between.all()), "middles of a tile are not between its indptr")


def _each_below(indices: npt.NDArray[Any], ends: LongArray, counts: int | IntArray, what: str) -> None:
    """The same of parts that each have a bound of their own. No part is empty."""
    if isinstance(counts, int):
        _below(indices, counts, what)
        return
    most = np.maximum.reduceat(indices.view(np.uint32), ends[:-1])
    wrong = np.flatnonzero(most >= counts.astype(np.int64))
    _expect(not len(wrong), f"{what} lead beyond {counts[wrong[0]] if len(wrong) else 0:,} rows")


def _below(indices: npt.NDArray[Any], count: int, what: str) -> None:
    _expect(indices.ndim == 1 and indices.dtype == np.int32, f"{what} are {indices.dtype} of {indices.ndim} axes")
    if len(indices):
        # a negative number is a large one without its sign: one pass instead of two
        _expect(int(indices.view(np.uint32).max()) < count, f"{what} lead beyond {count:,} rows")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unsound(otherwise)
