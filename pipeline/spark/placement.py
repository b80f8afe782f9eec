"""Which partition a row goes to: exactly the one with the number in its `target` column.

Comes in: a DataFrame of columns.ROW_DDL. Goes out: the same rows in P partitions, a block in each. Placement is only
speed: whoever works on a partition groups its rows by `target`, so a foreign shuffle may place them as it likes.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from pipeline.blocks.columns import TARGET

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def place(rows: DataFrame, blocks: int) -> DataFrame:
    """One shuffle: block b becomes partition b.

    `repartition(P, target)` would put 256 blocks into 158 partitions, up to 6 in one, since Spark hashes the column.
    """
    if _knows_repartition_by_id(rows):
        return rows.repartitionById(blocks, TARGET)  # from Spark 4.1
    from pyspark.sql import functions as F

    # constant folding makes one array of this; a literal for each block would be a plan of thousands of nodes
    keys = F.split(F.lit(",".join(map(str, inverse_keys(blocks)))), ",").cast("array<int>")
    return rows.repartition(blocks, F.get(keys, F.col(TARGET)))


def _knows_repartition_by_id(rows: DataFrame) -> bool:
    """Both ends must know it: a new client may talk to an old server."""
    major, minor = (int(part) for part in rows.sparkSession.version.split(".")[:2])
    return (major, minor) >= (4, 1) and hasattr(rows, "repartitionById")


def inverse_keys(partitions: int) -> list[int]:
    """For each partition, the smallest integer that Spark's hash partitioning sends there."""
    keys: dict[int, int] = {}
    for value in count():
        keys.setdefault(murmur3(value) % partitions, value)
        if len(keys) == partitions:
            return [keys[partition] for partition in range(partitions)]
    raise AssertionError("unreachable")


def murmur3(value: int, seed: int = 42) -> int:
    """Spark's hash of an int column: Murmur3_x86_32, as a signed number."""
    mask = 0xFFFFFFFF

    def rotate(word: int, bits: int) -> int:
        return ((word << bits) | (word >> (32 - bits))) & mask

    word = rotate((value & mask) * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask
    result = (rotate((seed ^ word) & mask, 13) * 5 + 0xE6546B64) & mask
    result ^= 4  # bytes of the key
    result = (result ^ (result >> 16)) * 0x85EBCA6B & mask
    result = (result ^ (result >> 13)) * 0xC2B2AE35 & mask
    result ^= result >> 16
    return result - (1 << 32) if result >> 31 else result
