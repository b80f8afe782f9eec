"""A table of several types: nodes with a column of types, edges with a column of relations.

Comes in: a table, and the column. Goes out: for each type a `Chosen`, which stands for its rows. The
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
from pipeline.tables.opening import Reading, open_given
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

    @staticmethod
    def of(nodes: Any, edges: Any, node_type: Any, relation: Any, edge_types: Any) -> OneTable:
        """DataError unless all three arguments are given, and tables that are not by type already."""
        if not (isinstance(node_type, str) and isinstance(relation, str)) or edge_types is None:
            raise DataError(
                "a node table and an edge table of several types take three arguments together: node_type=, the column "
                'of types; relation=, that of relations; edge_types=, what these are between: [("account", "pays", '
                '"shop"), …]'
            )
        if isinstance(nodes, Mapping) or isinstance(edges, Mapping):
            raise DataError(
                "node_type= and relation= are for one node table and one edge table; these are by type already"
            )
        return OneTable(node_type, relation, edge_types)

    def split(
        self, nodes: Any, edges: Any, readings: tuple[Reading, Reading], wanted: Sequence[str]
    ) -> tuple[dict[str, Chosen], dict[EdgeType, Chosen]]:
        """Node type → its rows, edge type → its rows. Reads both columns.

        Parameters
        ----------
        nodes, edges : Any
            The tables, as `Graph` takes them.
        readings : pair of Reading
            How each is read.
        wanted : sequence of str
            The columns that will be read beside those of types.

        Raises
        ------
        DataError
            If a type or a relation is null, or a relation is none of edge_types; if a column is not there, or holds
            neither texts nor integers.
        """
        of_nodes, of_edges = readings
        node_table = open_given("nodes", nodes, of_nodes, [*wanted, self.node_type]).table
        edge_table = open_given("edges", edges, of_edges, [*wanted, self.relation]).table
        named = self._relations()
        held = _values("nodes", node_table, self.node_type, of_nodes.spark)
        found = _values("edges", edge_table, self.relation, of_edges.spark)
        unknown = sorted(set(found) - set(named))
        if unknown:
            shown = some((f"{shortened(each)} in {_rows(found[each])}" for each in unknown), SHOWN)
            raise DataError(
                f"edges.{self.relation} holds relations that edge_types does not name: {shown} "
                f"({nearest(unknown[0], named)}); name them with the types of their ends, or leave these rows out"
            )
        return {type: Chosen(node_table, Where(self.node_type, type, rows)) for type, rows in sorted(held.items())}, {
            type: Chosen(edge_table, Where(self.relation, value, found.get(value, 0))) for value, type in named.items()
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
