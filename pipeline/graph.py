"""The user's graph: its tables, and which of their columns mean what.

Comes in: DataFrames, paths of tables, or tables in memory. Goes out: `Graph`, checked as far as that costs no job.
Knows nothing of the prepared graph that is made of it once (prepare.py, prepared.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pipeline import shown
from pipeline.errors import DataError, shortened
from pipeline.places.given import check_flags, path_of
from pipeline.schema import DST, ID, SRC, EdgeType
from pipeline.spark.session import active_session, refuse_ended
from pipeline.tables.csv import CsvTable, settle_ids
from pipeline.tables.csv_text import Csv
from pipeline.tables.layout import (
    Layout,
    check_id_types,
    check_not_swapped,
    columns_of,
)
from pipeline.tables.looked_at import is_untyped, layout_of, no_number, surveyed, types_of_columns, without_unasked
from pipeline.tables.memory import ArrowTable
from pipeline.tables.one_table import OneTable
from pipeline.tables.opening import TAKES, NeedsSpark, Reading, is_frame, open_given
from pipeline.tables.parquet import ParquetTable
from pipeline.tables.types import GivenTable, both_ways, check_option, edge_ends, given_tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


Paths = str | os.PathLike[str] | Mapping[Any, str | os.PathLike[str]]
"""A path; or type → path."""


class Graph:
    """Nodes with ids and features, and edges that carry messages from `src` to `dst`.

    Parameters
    ----------
    nodes, edges : DataFrame, path or table in memory; or type → one of these
        Spark DataFrames of any source; paths of Parquet, CSV or Delta tables, as on the command line; pandas or polars
        DataFrames, Arrow tables. Of paths and tables in memory what can be read without Spark is. A GraphFrame may
        stand for both. Of a typed graph, a table for each type: `{"account": …, "shop": …}` and
        `{("account", "pays", "shop"): …}`. Ids are per type: the same id in two types is two nodes. An empty table says
        that there are none of a type. Several tables of edges over the same nodes: one node table, and
        `{"follows": …, "blocks": …}`, which are edges from "node" to "node". The options below are then for all types
        alike, or by type.
    features : str, list of str, mapping or None
        A list of columns of numbers, or of one column of arrays: the feature "x". A mapping, name → column or columns;
        a column alone is a feature of its own name.
        Of a typed graph by type: `{"account": ["age", "balance"], "shop": None}`; a type that is not named has x, if
        its table has such a column.
    edge_features : str, list of str, mapping or None
        Columns of numbers or arrays, each a value of its own name; or name → column or columns.
    undirected : bool
        Each edge is there in both directions; a self-loop once. Parallel edges are kept. Of a typed graph, edges
        between two types get a type of their own for the other direction, with the same values: those of
        ("account", "pays", "shop") are ("shop", "rev_pays", "account"), too.
    reverse : bool
        Also store the edges against their direction, for models that reduce at the source. `infer` does so by itself
        with a graph that it prepares; undirected edges need it not.
    id, src, dst : str
        Columns of ids: integers of any size in all three, or strings in all three; in a typed graph, for each type of
        nodes and all that leads to or from them.
    drop_dangling : bool
        Leave out edges whose ends are not among the nodes, which are an error otherwise.
    format, edges_format : str, optional
        Of paths: parquet, csv, delta, or auto: names and contents of the files tell it. `edges_format` where the tables
        have different ones.
    csv : Csv, optional
        How CSV files are to be read, if not by their header lines, in UTF-8.
    spark : SparkSession or False, optional
        Reads paths that only Spark can; else the active one. False: none is used, though one be active.
    node_type, relation, edge_types : optional
        One node table and one edge table of several types: the column of types, that of relations, and the types that
        the relations are between: `[("account", "pays", "shop"), …]`, or what the column holds → such a triple.

    Raises
    ------
    DataError
        If a column is missing or of a type that cannot be used; if types and tables do not go together. No job is
        started to find out; only to show what text is in a column of numbers, to find the types of CSV, which is read
        once for it, and what a column of types holds.
    StorageError
        If a path holds no table that can be read whole.
    """

    def __init__(
        self,
        nodes: Any,
        edges: Any = None,
        features: Any = "x",
        edge_features: Any = (),
        undirected: bool = False,
        id: Any = ID,
        src: Any = SRC,
        dst: Any = DST,
        drop_dangling: bool = False,
        reverse: bool = False,
        format: str | None = None,
        edges_format: str | None = None,
        csv: Csv | None = None,
        spark: SparkSession | Literal[False] | None = None,
        node_type: str | None = None,
        relation: str | None = None,
        edge_types: Any = None,
    ) -> None:
        check_flags(undirected=undirected, drop_dangling=drop_dangling, reverse=reverse)
        for name, option in (("features", features), ("edge_features", edge_features)):
            check_option(name, option)
        for name, option in (("id", id), ("src", src), ("dst", dst)):
            check_option(name, option, one=True)
        if edges is None:
            if not (hasattr(nodes, "vertices") and hasattr(nodes, "edges")):
                raise DataError(f"a graph needs a node table and an edge table, or one GraphFrame; it takes {TAKES}")
            nodes, edges = nodes.vertices, nodes.edges
        csv = csv or Csv()
        if node_type is not None or relation is not None:
            columns = OneTable.of(nodes, edges, node_type, relation, edge_types)
            session = _session_of((nodes, edges), spark)
            readings = Reading(session, format, csv), Reading(session, edges_format or format, csv)
            nodes, edges = columns.split(nodes, edges, readings, _named((features, edge_features, id, src, dst)))
        elif edge_types is not None:
            raise DataError("edge_types is for a table of edges with a column of relations: relation= says which")
        given = given_tables(nodes, edges, features, edge_features, id, src, dst)
        given = both_ways(given) if undirected else given
        self.undirected = undirected
        self._session = _session_of((each.given for each in given), spark)
        if self._session is not None:
            refuse_ended(self._session)
        self.drop_dangling = drop_dangling
        formats = {True: format, False: edges_format or format}
        opened = {
            each.name: open_given(
                each.name,
                each.given,
                Reading(self._session, formats[each.is_nodes], csv),
                [*each.ids, *columns_of(each.values)],
            )
            for each in given
        }
        self.sources = {name: dict(found.source) for name, found in opened.items() if found.source is not None}
        """Where the tables come from, if they were read from paths: `verify` reads them again."""
        types = {name: types_of_columns(name, found.table) for name, found in opened.items()}
        given = [without_unasked(each, types[each.name]) for each in given]
        if is_untyped(given):
            check_not_swapped(types, {each.name: each.ids for each in given})
        tables = {
            each.name: surveyed(each.name, opened[each.name].table, [*each.ids], columns_of(each.values))
            for each in given
        }
        for each in given:
            if isinstance(each.type, str):
                of_type = {table.name: (tables[table.name], ids) for table, ids in edge_ends(given, each.type)}
                tables |= settle_ids(of_type)
        self.tables: dict[str, Any] = tables
        """What a table is called, "nodes" or "edges[account__pays__card]" → the table."""
        types = {name: types_of_columns(name, table) for name, table in tables.items()}
        self.layouts: tuple[Layout, ...] = tuple(
            layout_of(each, types[each.name], partial(no_number, tables[each.name]), undirected, reverse)
            for each in given
        )
        """Of each table, those of nodes first."""
        self._check_ids(given, types)

    def _check_ids(self, given: Sequence[GivenTable], types: Mapping[str, Mapping[str, str]]) -> None:
        """The ids of a node type are of one kind in all tables."""
        examples = {
            each.name: text
            for each in given
            if isinstance(table := self.tables[each.name], CsvTable)
            and (text := table.no_integer(list(each.ids))) is not None
        }
        of_nodes = {layout.type: layout for layout in self.node_layouts}
        for layout in self.edge_layouts:
            for end, type in enumerate((layout.edge_type.source, layout.edge_type.target)):
                nodes = of_nodes[type]
                check_id_types(nodes, layout, types[nodes.table], types[layout.table], examples, end)
        self.id_types = {
            layout.type: "string" if layout.text else types[layout.table][layout.keys[0]]
            for layout in self.node_layouts
        }
        """Node type → Spark's word for the type of its ids."""

    # ---- what it holds

    @property
    def node_layouts(self) -> tuple[Layout, ...]:
        return tuple(layout for layout in self.layouts if len(layout.keys) == 1)

    @property
    def edge_layouts(self) -> tuple[Layout, ...]:
        return tuple(layout for layout in self.layouts if len(layout.keys) > 1)

    @property
    def widths(self) -> dict[str | EdgeType, dict[str, int | None]]:
        """Type → column → numbers in a row; None where only the rows tell it."""
        return {
            layout.type if len(layout.keys) == 1 else layout.edge_type: {
                value.name: len(value.columns) if len(value.columns) > 1 else None for value in layout.values
            }
            for layout in self.layouts
        }

    @property
    def is_typed(self) -> bool:
        """Whether it has types of its own; else it is a node table and an edge table."""
        return set(self.tables) != {"nodes", "edges"}

    @property
    def nodes(self) -> Any:
        """The node table of a graph without types."""
        return self.tables[self.node_layout.table]

    @property
    def edges(self) -> Any:
        """The edge table of a graph without types."""
        return self.tables[self.edge_layout.table]

    @property
    def node_layout(self) -> Layout:
        """Of a graph without types."""
        assert not self.is_typed, "a typed graph has node_layouts"
        return self.node_layouts[0]

    @property
    def edge_layout(self) -> Layout:
        """Of a graph without types."""
        assert not self.is_typed, "a typed graph has edge_layouts"
        return self.edge_layouts[0]

    @property
    def id_type(self) -> str:
        """Of a graph without types."""
        (word,) = self.id_types.values()
        return word

    @property
    def id_names(self) -> dict[str, str]:
        """Node type → the column of its ids."""
        return {layout.type: layout.keys[0] for layout in self.node_layouts}

    @staticmethod
    def from_graphframe(frame: Any, **options: Any) -> Graph:
        """The graph of a GraphFrame: its vertices by their id, its edges by src and dst. `options` are those of
        `Graph`. It needs neither the package graphframes nor its jar. `graphframes.with_scores` is the way back.

        Raises
        ------
        DataError
            If it is no GraphFrame; else as `Graph`.
        """
        if not (hasattr(frame, "vertices") and hasattr(frame, "edges")):
            raise DataError(f"from_graphframe takes a GraphFrame, not {type(frame).__name__}")
        return Graph(frame.vertices, frame.edges, **options)

    @staticmethod
    def read(
        spark: SparkSession | None,
        nodes: Paths,
        edges: Paths,
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph:
        """A graph of tables on disk, by type or one of each kind; `options` are those of `Graph`. Faster than the same
        with DataFrames: workers read files that they see without the JVM.
        """
        nodes, edges = _paths("nodes", nodes), _paths("edges", edges)
        return Graph(nodes, edges, format=format, edges_format=edges_format, spark=spark, **options)

    @staticmethod
    def of_files(
        nodes: Paths,
        edges: Paths,
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph | None:
        """A graph of tables that this process reads itself, whoever has a session: `prepare` needs no Spark for it.
        None if only Spark can read them. Formats as in `read`.
        """
        nodes, edges = _paths("nodes", nodes), _paths("edges", edges)
        try:
            return Graph(nodes, edges, format=format, edges_format=edges_format, spark=False, **options)
        except NeedsSpark:
            return None

    @property
    def session(self) -> SparkSession | None:
        """Of its DataFrames, or what its paths were read with; None if this process reads its tables itself."""
        return self._session

    def __repr__(self) -> str:
        return shown.text(*self._facts())

    def _repr_html_(self) -> str:
        return shown.html(*self._facts())

    def _facts(self) -> tuple[str, dict[str, str]]:
        """What is known without a job."""
        facts = {}
        if self.is_typed:
            facts["types"] = f"{len(self.node_layouts):,} of nodes, {len(self.edge_layouts):,} of edges"
        facts |= {layout.table: self._of_table(layout) for layout in self.layouts[: shown.MOST]}
        if len(self.layouts) > shown.MOST:
            facts["…"] = f"{len(self.layouts) - shown.MOST:,} more tables"
        if self.undirected:
            facts["undirected"] = "each edge is there in both directions"
        return "Graph of tables, not prepared", facts

    def _of_table(self, layout: Layout) -> str:
        table = self.tables[layout.table]
        kind = "in memory" if isinstance(table, ArrowTable) else "DataFrame" if is_frame(table) else "files"
        rows = f"{table.count():,} rows, " if isinstance(table, (ArrowTable, ParquetTable)) else ""
        values = shown.some(value.name for value in layout.values) or "none"
        keys = f"{'id' if len(layout.keys) == 1 else 'src, dst'}: {', '.join(layout.keys)}"
        return f"{kind}; {rows}{keys}; features: {values}"

    def with_reverse(self) -> Graph:
        """The same graph, of which the edges against their direction are stored too."""
        graph = copy(self)
        graph.layouts = (*self.node_layouts, *(replace(layout, reverse=True) for layout in self.edge_layouts))
        return graph

    def describe(self) -> dict[str, Any]:
        """Sources and the meaning of columns, for the manifest."""
        return {
            "sources": self.sources,
            "columns": {
                layout.table: {
                    "ids": list(layout.keys),
                    "values": {value.name: list(value.columns) for value in layout.values},
                    **({"where": [layout.where.column, layout.where.value]} if layout.where else {}),
                }
                for layout in self.layouts
            },
            "undirected": self.undirected,
            "reverse": any(len(layout.edge_types) > 1 for layout in self.edge_layouts),
            "drop_dangling": bool(self.drop_dangling),
            "id_type": dict(self.id_types) if self.is_typed else self.id_type,
        }


def _paths(what: str, given: Paths) -> Any:
    if isinstance(given, Mapping):
        return {key: path_of(f"{what} of {shortened(key)}", path) for key, path in given.items()}
    return path_of(what, given)


def _session_of(tables: Iterable[Any], spark: SparkSession | Literal[False] | None) -> SparkSession | None:
    """The session of the DataFrames among the tables; else the one that is to read paths."""
    tables = list(tables)
    for table in filter(is_frame, tables):
        session: SparkSession = table.sparkSession
        return session
    if spark is not None:
        return spark or None
    return active_session() if any(isinstance(table, (str, os.PathLike)) for table in tables) else None


def _named(option: Any) -> list[str]:
    """All columns that options name, by type or not."""
    if isinstance(option, Mapping):
        option = list(option.values())
    return [option] if isinstance(option, str) else [name for each in option or () for name in _named(each)]
