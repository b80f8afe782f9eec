"""Where a job finds a Spark session, if it needs one.

Comes in: two functions of the entry point, which alone reads the environment. Goes out: a session, or none. Knows
nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.prepared import PreparedGraph
from pipeline.tables.opening import file_bytes

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of Parquet files or of a prepared graph: up to here the JVM does not earn back what its optimising compiler costs.
SMALL_BYTES = 1 << 26


@dataclass(frozen=True)
class Sessions:
    """Of an entry point."""

    optional: Callable[[], bool]
    """Whether this machine may do without Spark what it can do alone."""
    start: Callable[[bool, Callable[[], None] | None], AbstractContextManager[SparkSession]]
    """A session, for as long as the context lasts. Takes whether its JVM has little to do, and what is called just
    before it starts: that returns at once."""


def is_small(prepared: PreparedGraph | None, paths: Iterable[str]) -> bool:
    """Whether a JVM has little to do: of a prepared graph, or else of raw tables."""
    if prepared is not None:
        totals = prepared.manifest["totals"]
        return int(totals["static_bytes"] + totals["sends_bytes"]) <= SMALL_BYTES
    sizes = [file_bytes(path) for path in paths]
    return all(size is not None for size in sizes) and sum(size or 0 for size in sizes) <= SMALL_BYTES
