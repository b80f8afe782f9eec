"""The steps of prepare, in their order: packed rows of one block become its nodes, tiles and send lists.

Comes in: rows of one block. Goes out: rows for the same and for other blocks; what one step gives, the next one takes.
Knows nothing of Spark: prepare.py moves the rows through shuffles, `blocks_from_tables` through memory.

    build    packed nodes and edges of block t → nodes, tiles, and for each source block the src keys that t needs, and
                                                 the edges that s may push to t
    answer   those keys and edges, in block s  → send lists: local indices, in the order of the keys; the edges by them

If dangling edges are to be dropped, `build` goes in three steps: which edges are pulled depends on all that is kept.

    collect       as build, but tiles are whole still, and t asks only which keys there are
    find_missing  those keys, in block s       → the keys that s does not have
    drop_edges    these, in block t            → the rest of build, of the tiles without their edges
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.blocks import storage
from pipeline.blocks.rows import KINDS, Row
from pipeline.preparing.answer import answer, find_missing
from pipeline.preparing.build import build, collect
from pipeline.preparing.drop import drop_edges
from pipeline.preparing.facts import file_row
from pipeline.preparing.preparation import Preparation, Step


def steps(plan: Preparation) -> list[Step]:
    """What each block does in turn; between two steps, rows go to their targets."""
    return [collect, find_missing, drop_edges, answer] if plan.drop_dangling else [build, answer]


Writes = tuple[str, str]
"""The folder of all blocks, and which of a block's files a step writes there."""


def steps_written(plan: Preparation) -> Iterator[tuple[Step, str | None]]:
    """Each step, and the file of what blocks keep that it writes: none, as long as a later step amends it."""
    for step in steps(plan):
        yield step, None if step in (collect, find_missing) else storage.SENDING if step is answer else storage.STATIC


def keep(rows: Iterable[Row], index: int, folder: str, file: str) -> Iterator[Row]:
    """Writes a file of a block; the rows that are not of it pass, and then its size."""
    kept: list[Row] = []
    for row in rows:
        if row.kind in KINDS:
            kept.append(row)
        else:
            yield row
    yield file_row(index, file, storage.write_rows(folder, index, file, kept))
