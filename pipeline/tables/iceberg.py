"""Iceberg tables by name: which snapshot is read.

Comes in: the name of a table in a catalog of Iceberg, for Spark. Goes out: the number of its newest snapshot, or of the
one that is wanted. A snapshot is to Iceberg what a version is to Delta; its number is a random one of 64 bits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError, first_line

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")


def snapshot_of(spark: SparkSession, quoted: str, given: str, asked: int | None) -> dict[str, Any]:
    """The snapshot of a table that is read, as its version, and what the table is known by; nothing if there is none
    yet. Runs a small job. `quoted`: the table for Spark. `asked`: the snapshot that is wanted, else the newest.

    Raises
    ------
    StorageError
        If there is no such snapshot, or not any more.
    """
    try:
        rows = spark.sql(f"SELECT snapshot_id FROM {quoted}.refs WHERE name = 'main'").collect()
        if asked is not None:
            wanted = spark.sql(f"SELECT snapshot_id FROM {quoted}.snapshots WHERE snapshot_id = {asked}").first()
    except Exception as error:  # of a catalog that has no tables of metadata
        log.debug("%s: its snapshot is not known: %s", given, first_line(error))
        return {} if asked is None else {"version": asked}
    newest = int(rows[0].snapshot_id) if rows else None
    if asked is not None and wanted is None:
        there = "it has none" if newest is None else f"the newest is {newest}"
        raise StorageError(f"{given}: there is no snapshot {asked}; {there}")
    version = newest if asked is None else asked
    return {} if version is None else {"version": version, "id": f"iceberg {quoted.replace('`', '')}"}
