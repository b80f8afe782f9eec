"""The tables of a graph, looked at as far as that takes no job, and the layouts of their rows.

Comes in: a table of a type as it was given, and what it was opened as. Goes out: its columns and their types, its
layout, the table ready to be read. Knows nothing of graphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import DataError, first_line
from pipeline.schema import EDGE, NODE, EdgeType, quoted
from pipeline.tables.csv import CsvTable, check_partition_ids
from pipeline.tables.layout import Layout, Look, columns_of, edge_layout, node_layout
from pipeline.tables.parquet import ParquetTable
from pipeline.tables.table import Table
from pipeline.tables.types import GivenTable

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def is_untyped(given: Sequence[GivenTable]) -> bool:
    return [each.type for each in given] == [NODE, EDGE]


def without_unasked(each: GivenTable, types: Mapping[str, str]) -> GivenTable:
    """Of a typed graph, a node table without x has no features: nobody asked for them."""
    missing = each.optional and any(column not in types for column in columns_of(each.values))
    return replace(each, values=None) if missing else each


def layout_of(each: GivenTable, types: Mapping[str, str], look: Look, undirected: bool, reverse: bool) -> Layout:
    if isinstance(each.type, EdgeType):
        src, dst = each.ids
        within = each.type.source == each.type.target
        layout = edge_layout(types, src, dst, each.values, undirected and within, look, reverse, each.type)
    else:
        (id,) = each.ids
        layout = node_layout(types, id, each.values, look, each.type)
    return replace(layout, where=each.where)


def types_of_columns(name: str, table: DataFrame | Table) -> dict[str, str]:
    try:
        columns, types = table.columns, dict(table.dtypes)
    except Exception as error:  # of Java, of py4j, of PySpark
        raise DataError(f"{name} cannot be used: {first_line(error)}") from error
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise DataError(f"{name} has more than one column named {twice[0]!r}; rename or drop one of them")
    return types


def surveyed(name: str, table: DataFrame | Table, ids: list[str], values: list[str]) -> DataFrame | Table:
    """The table, whose files have all columns that are read; of CSV with their types, which takes all rows."""
    if isinstance(table, Table):
        table.check(name, [*ids, *values])
    if isinstance(table, CsvTable):
        table = table.surveyed(ids, values)
    if isinstance(table, (CsvTable, ParquetTable)):
        check_partition_ids(name, table.listing, ids)
    return table


def no_number(table: DataFrame | Table, column: str) -> object:
    """Runs a job, or reads the file, but only to say what is wrong: a text that is not a number."""
    if isinstance(table, Table):
        return table.no_number(column)
    from pyspark.sql import functions as F

    text = F.col(quoted(column))
    row = table.select(text.alias("text")).where(text.isNotNull() & text.try_cast("double").isNull()).first()
    return row.text if row else None
