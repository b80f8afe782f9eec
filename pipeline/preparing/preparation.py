"""What all steps of prepare know: the tables' layouts and the number of blocks; which kinds of rows go between them.

Comes in: layouts. Goes out: a `Preparation`. Knows nothing of what a step does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.blocks.block import IntArray, LongArray
from pipeline.blocks.rows import Row
from pipeline.kernels.hash import blocks_of
from pipeline.kernels.jit import read_only
from pipeline.preparing.communities import ByCommunity
from pipeline.schema import EdgeType
from pipeline.tables.layout import Layout

# kinds of rows between the steps; arrays of a block have the kinds of rows.py
KEYS = "keys"  # (n,) int64 keys of the nodes of block TARGET, ascending
REQUEST = "request"  # bytes: what block SOURCE needs of block TARGET, see requests.py
QUESTION = "question"  # (k,) int64 keys that block SOURCE will request if they are there, ascending
ASKED = "asked"  # the same of all its tiles, kept by the block itself
BOTH = "both"  # (k,) int32 of each of these, how many edges of the table have their reverse in it too; kept likewise
MISSING = "missing"  # (m,) int64 positions in the question of block TARGET to block SOURCE that are no nodes
NO_KEYS: LongArray = np.empty(0, np.int64)


# Two texts with the same hash (0.7 % likely among 5e8 nodes) get other hashes with another seed.
SEEDS = (42, 43, 44)


@dataclass(frozen=True)
class Preparation:
    """What every task of prepare knows."""

    layouts: tuple[Layout, ...]
    """Of all tables, those of nodes first."""
    blocks: int
    drop_dangling: bool = False
    by: ByCommunity | None = None
    """Which nodes go into one block; None: each by itself, by the hash of its key."""

    def blocks_of(self, type: str, keys: LongArray) -> IntArray:
        """(n,) int32: the block of each node of a type, by its key; of keys that are no nodes' too, the same for all
        who ask."""
        found = np.empty(len(keys), np.int32)
        blocks_of(read_only(keys), self.blocks, found)
        return found if self.by is None else self.by.place(type, keys, found)

    @cached_property
    def nodes(self) -> dict[str, Layout]:
        """Node type → the layout of its table."""
        return {layout.type: layout for layout in self.layouts if len(layout.keys) == 1}

    @cached_property
    def edges(self) -> dict[EdgeType, Layout]:
        """Type of tiles → the layout of the table that they are made of."""
        return {type: layout for layout in self.layouts if len(layout.keys) > 1 for type in layout.edge_types}

    @property
    def given(self) -> list[EdgeType]:
        """The types of edges that have tables; others are the same edges against their direction."""
        return [type for type in self.edges if not type.is_reversed]


Step = Callable[[int, Iterable[Row], Preparation], Iterator[Row]]
"""What a block does with the rows that have come for it: gives rows for itself and for others."""
