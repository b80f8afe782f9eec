"""The tables that a graph is given: what cannot be one.

Comes in: anything. Goes out: nothing, or an error that says what to do. Knows nothing of columns.
"""

from __future__ import annotations

import os
from typing import Any

from pipeline.errors import DataError, shortened


def check_table(name: str, table: Any) -> None:
    """DataError for a path, for nothing, and for a table without end."""
    if isinstance(table, str | os.PathLike):
        raise DataError(
            f"{name} is the path {shortened(os.fspath(table))}; tables are expected: Graph.read(spark, nodes, edges) "
            f"reads paths, and Graph.of_files(nodes, edges) those of Parquet files without Spark"
        )
    if not (hasattr(table, "columns") and hasattr(table, "dtypes")):
        raise DataError(f"{name} is {'None' if table is None else type(table).__qualname__}; a table is expected")
    if getattr(table, "isStreaming", False) is True:
        raise DataError(f"{name} is a stream, which has no last row: write it to a table, and read that")
