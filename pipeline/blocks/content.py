"""What a block holds, as a few numbers: a checksum for each kind of its rows.

Comes in: the rows of a block, in any order. Goes out: key → a number of 64 bits, the sum over the rows of that kind.
`prepare` writes them into the manifest; whoever opens a block compares. So a page that has rotted, a row group that a
reader has passed over and a file in another block's place are noticed, for what it takes to read them once more.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from pipeline.blocks.block import LOOPS
from pipeline.blocks.rows import KINDS, LISTS, PUSHES, Row, edge_type_of
from pipeline.errors import StorageError
from pipeline.kernels.checksum import LANES, add_words
from pipeline.kernels.jit import read_only

Sums = Mapping[str, int]
WORD = 4  # bytes

_SENT = (*LISTS, *PUSHES)


def file_of(row: Row) -> str:
    """The file of a block that a row is kept in: what goes to others is in one of its own."""
    return "sends" if row.kind in _SENT and row.source != LOOPS else "static"


def sums_of(rows: Iterable[Row]) -> dict[str, int]:
    """Key → the sum of the rows that it stands for; rows that are not of a block are passed over."""
    found: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.kind in KINDS:
            key = f"{file_of(row)}/{row.kind}/{edge_type_of(row.kind, row.name)}"
            found[key] = (found[key] + sum_of(row)) % (1 << 64)
    return dict(found)


def sum_of(row: Row) -> int:
    """Of a row of any kind: what it holds, and its place."""
    data = row.data
    if data.ctypes.data % WORD:
        data = data.copy()  # to Numba an unaligned array is another type
    whole = len(data) - len(data) % (WORD * LANES)
    sums = np.zeros(LANES, np.uint32)
    add_words(read_only(data[:whole].view(np.uint32)), sums)
    # by the row's place and shape too: a chunk in another's place, or another block, is not the same
    numbers = [int(number) for number in (row.target, row.source, row.width, row.part)]
    head = repr((numbers, row.kind, row.name, row.dtype))
    digest = hashlib.blake2b(head.encode(), digest_size=8)
    digest.update(sums.tobytes())
    digest.update(data[whole:].tobytes())
    return int.from_bytes(digest.digest(), "little")


def check_sums(
    where: str, index: int, rows: Iterable[Row], kinds: Collection[str], edges: Collection[str] | None, known: Sums
) -> None:
    """StorageError unless rows of these kinds, and of these types of edges (None: of all), are those of a block.

    `where`: what the graph is called. `known`: the sums of the block.
    """
    found = sums_of(rows)
    wanted = {key: number for key, number in known.items() if _is_read(key, kinds, edges)}
    if found == wanted:
        return
    wrong = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    files = sorted({key.partition("/")[0] for key in wrong})
    what = sorted({key.split("/")[1] for key in wrong})
    raise StorageError(
        f"{where}: block {index} is damaged: {', '.join(what)} in {' and '.join(files)}.parquet of target={index} "
        f"are not what was prepared; prepare the graph again"
    )


def _is_read(key: str, kinds: Collection[str], edges: Collection[str] | None) -> bool:
    _, kind, edge_type = key.split("/", 2)
    return kind in kinds and (edges is None or not edge_type or edge_type in edges)
