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

from pipeline.blocks.block import LOOPS, Block, Tile
from pipeline.blocks.rows import FEATURES, IDS, PUSHES, TILES, VALUES, Row
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
            for source, tile in tiles.items():
                _expect(source == LOOPS or 0 <= source < blocks, f"there is no block {source}")
                _check_tile(tile, rows=nodes_of(edge_type.target), columns=tile.senders)
        for edge_type, sends in block.sends.items():
            for target, rows in sends.items():
                _expect(target == LOOPS or 0 <= target < blocks, f"there is no block {target}")
                _below(rows, nodes_of(edge_type.source), "send lists")
                pulled = block.pulled.get(edge_type, {}).get(target, 0)
                _expect(0 <= pulled <= len(rows), f"it sends {pulled:,} of {len(rows):,} rows")
        for edge_type, pushes in block.pushes.items():
            for target, tile in pushes.items():
                _expect(0 <= target < blocks, f"there is no block {target}")
                _check_tile(tile, rows=len(tile.rows), columns=nodes_of(edge_type.source))
    except Unsound as error:
        raise StorageError(f"{where}: block {block.index} is not well formed: {error}") from None


def check_columns(where: str, block: Block, schema: GraphSchema, features: bool) -> None:
    """StorageError unless nodes (if their features were read) and tiles have the columns of the schema, as wide."""
    for kind, matrices in block.features.items() if features else ():
        _check_widths(where, block.index, kind, schema.nodes.get(kind, {}), matrices)
    for edge_type, tiles in (*block.tiles.items(), *block.pushes.items()):
        stored = schema.edges.get(edge_type, schema.edges.get(edge_type.reversed, {}))
        for tile in tiles.values():
            _check_widths(where, block.index, str(edge_type), stored, tile.values)


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


def _check_tile(tile: Tile, rows: int, columns: int) -> None:
    arrays: Mapping[str, npt.NDArray[Any]] = {"rows": tile.rows, "indptr": tile.indptr, "indices": tile.indices}
    for name, array in arrays.items():
        _expect(array.ndim == 1 and array.dtype == np.int32, f"{name} of a tile are {array.dtype} of {array.ndim} axes")
    _below(tile.rows, rows, "rows of a tile")
    _expect(len(tile.rows) > 0 and bool((tile.rows[1:] > tile.rows[:-1]).all()), "rows of a tile are not in order")
    _expect(len(tile.indptr) == len(tile.rows) + 1, "a tile has rows without edges")
    ends = tile.indptr[0] == 0 and tile.indptr[-1] == tile.edges
    _expect(bool(ends) and bool((tile.indptr[1:] > tile.indptr[:-1]).all()), "indptr of a tile are not in order")
    _below(tile.indices, columns, "indices of a tile")
    for name, values in tile.values.items():
        _expect(values.shape[:1] == (tile.edges,), f"edge column {name} has {len(values):,} rows, not {tile.edges:,}")
    if tile.middles is not None:
        inside = tile.middles.shape == tile.rows.shape and tile.middles.dtype == np.int32
        _expect(inside, "a tile has other middles than rows")
        between = (tile.middles >= tile.indptr[:-1]) & (tile.middles <= tile.indptr[1:])
        _expect(bool(between.all()), "middles of a tile are not between its indptr")


def _below(indices: npt.NDArray[Any], count: int, what: str) -> None:
    _expect(indices.ndim == 1 and indices.dtype == np.int32, f"{what} are {indices.dtype} of {indices.ndim} axes")
    if len(indices):
        # a negative number is a large one without its sign: one pass instead of two
        _expect(int(indices.view(np.uint32).max()) < count, f"{what} lead beyond {count:,} rows")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unsound(otherwise)
