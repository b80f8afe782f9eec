"""A table of several types: nodes with a column of types, edges with a column of relations.

Comes in: a table that was opened, and the column. Goes out: for each type a `Chosen`, which stands for its rows. The
column is read once, to know all types before any work; a row whose type is null, or is none that was named, would be
lost without a word, and is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError, nearest, shortened
from pipeline.schema import EdgeType, quoted
from pipeline.shown import some
from pipeline.tables.layout import INTEGERS, Where
from pipeline.tables.table import Table, read_pieces
from pipeline.tables.types import Chosen, edge_type_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SHOWN = 3  # values in a message


@dataclass(frozen=True)
class OneTable:
    """How a node table and an edge table hold several types.

    Each type reads the table anew and takes its rows of it: right for tens of types, slow for thousands.
    """

    node_type: str
    """Column of the node table: the type of each."""
    relation: str
    """Column of the edge table: what relation each is of."""
    edge_types: Sequence[Any] | Mapping[str, Any]
    """(source, relation, target) of each relation; or what the column holds → such a triple."""

    def split(
        self, nodes: DataFrame | Table, edges: DataFrame | Table, spark: SparkSession | None
    ) -> tuple[dict[str, Chosen], dict[EdgeType, Chosen]]:
        """Node type → its rows, edge type → its rows. Reads both columns.

        Raises
        ------
        DataError
            If a type or a relation is null, or a relation is none of edge_types; if a column is not there, or holds
            neither texts nor integers.
        """
        named = self._relations()
        held = _values("nodes", nodes, self.node_type, spark)
        of_nodes = {type: Chosen(nodes, Where(self.node_type, type, rows)) for type, rows in sorted(held.items())}
        found = _values("edges", edges, self.relation, spark)
        unknown = sorted(set(found) - set(named))
        if unknown:
            shown = some((f"{shortened(each)} in {_rows(found[each])}" for each in unknown), SHOWN)
            raise DataError(
                f"edges.{self.relation} holds relations that edge_types does not name: {shown} "
                f"({nearest(unknown[0], named)}); name them with the types of their ends, or leave these rows out"
            )
        return of_nodes, {
            type: Chosen(edges, Where(self.relation, value, found.get(value, 0))) for value, type in named.items()
        }

    def _relations(self) -> dict[str, EdgeType]:
        """What the column holds → the type of edges."""
        if isinstance(self.edge_types, Mapping):
            return {str(value): edge_type_of(type) for value, type in self.edge_types.items()}
        named: dict[str, EdgeType] = {}
        for type in map(edge_type_of, self.edge_types):
            if type.relation in named:
                raise DataError(
                    f"edge_types names the relation {type.relation!r} twice; where a relation is between several types "
                    "of nodes, give the edges of each as a table of their own, or name them apart in the table"
                )
            named[type.relation] = type
        return named


def _values(name: str, table: DataFrame | Table, column: str, spark: SparkSession | None) -> dict[str, int]:
    """What a column of types holds → rows."""
    types = dict(table.dtypes)
    if column not in types:
        raise DataError(f"{name} has no column {column!r} of types; {nearest(column, types)}")
    if types[column] not in INTEGERS and not types[column].startswith(("string", "varchar", "char")):
        raise DataError(f"{name}.{column} is {types[column]}; types are texts or integers")
    counts: Counter[str | None] = Counter()
    if isinstance(table, Table) and (pieces := table.pieces([column])) is not None:
        for batch in read_pieces(pieces, [column]):
            found = pc.value_counts(batch.column(0).cast(pa.string()))
            for value, rows in zip(*(part.to_pylist() for part in found.flatten()), strict=True):
                counts[value] += rows
    else:
        if isinstance(table, Table):
            assert spark is not None, "who has no session reads pieces"
            table = table.frame(spark, [column])
        from pyspark.sql import functions as F

        kinds = table.groupBy(F.col(quoted(column)).cast("string").alias("value")).count()
        counts.update({row["value"]: row["count"] for row in kinds.collect()})
    empty = counts.pop(None, 0)
    if empty or "" in counts:
        what = f"null in {_rows(empty)}" if empty else f"empty texts in {_rows(counts[''])}"
        raise DataError(f"{name}.{column} holds {what}; each row needs a type: fill them or drop these rows")
    return {value: rows for value, rows in counts.items() if value is not None}


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
