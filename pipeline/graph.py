"""The user's graph: two tables, and which of their columns mean what. And the prepared graph that is made of it once.

Comes in: DataFrames, paths of tables, or tables in memory; the path of a prepared graph. Goes out: `Graph`, checked as
far as that costs no job; `PreparedGraph`. Knows nothing of how one becomes the other (prepare.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from pipeline.blocks import storage
from pipeline.blocks.block import Block
from pipeline.blocks.manifest import checked_manifest
from pipeline.blocks.opening import Known, open_block
from pipeline.blocks.ranges import Ranges, merge_ranges
from pipeline.blocks.rows import KINDS
from pipeline.errors import DataError, first_line
from pipeline.places.given import path_of
from pipeline.places.place import Place
from pipeline.schema import DST, ID, SRC, GraphSchema, quoted
from pipeline.spark.session import active_session, refuse_ended
from pipeline.tables.csv import CsvTable, check_partition_ids, settle_ids
from pipeline.tables.csv_text import Csv
from pipeline.tables.layout import Columned, check_id_types, check_not_swapped, columns_of, edge_layout, node_layout
from pipeline.tables.opening import TAKES, NeedsSpark, Reading, is_frame, open_given
from pipeline.tables.parquet import ParquetTable
from pipeline.tables.table import Table

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Graph:
    """Nodes with ids and features, and edges that carry messages from `src` to `dst`.

    Parameters
    ----------
    nodes, edges : DataFrame, path or table in memory
        Spark DataFrames of any source; paths of Parquet, CSV or Delta tables, as on the command line; pandas or polars
        DataFrames, Arrow tables. Of paths and tables in memory what can be read without Spark is. A GraphFrame may
        stand for both.
    features : str, list of str, mapping or None
        A column of arrays, several columns of numbers (together they are the feature "x"), or name → either of these.
    edge_features : str, list of str, mapping or None
        Columns of numbers or arrays, each a value of its own name; or name → column or columns.
    undirected : bool
        Each edge is there in both directions; a self-loop once. Parallel edges are kept.
    reverse : bool
        Also store the edges against their direction, for models that reduce at the source. `infer` does so by itself
        with a graph that it prepares; undirected edges need it not.
    id, src, dst : str
        Columns of ids: integers of any size in all three, or strings in all three.
    drop_dangling : bool
        Leave out edges whose ends are not among the nodes, which are an error otherwise.
    format, edges_format : str, optional
        Of paths: parquet, csv, delta, or auto: names and contents of the files tell it. `edges_format` where the tables
        have different ones.
    csv : Csv, optional
        How CSV files are to be read, if not by their header lines, in UTF-8.
    spark : SparkSession, optional
        Reads paths that only Spark can; else the active one.

    Raises
    ------
    DataError
        If a column is missing or of a type that cannot be used. No job is started to find out; only to show what text
        is in a column of numbers, and to find the types of CSV, which is read once for it.
    StorageError
        If a path holds no table that can be read whole.
    """

    def __init__(
        self,
        nodes: Any,
        edges: Any = None,
        features: Columned = "x",
        edge_features: Columned = (),
        undirected: bool = False,
        id: str = ID,
        src: str = SRC,
        dst: str = DST,
        drop_dangling: bool = False,
        reverse: bool = False,
        format: str | None = None,
        edges_format: str | None = None,
        csv: Csv | None = None,
        spark: SparkSession | None = None,
    ) -> None:
        if edges is None:
            if not (hasattr(nodes, "vertices") and hasattr(nodes, "edges")):
                raise DataError(f"a graph needs a node table and an edge table, or one GraphFrame; it takes {TAKES}")
            nodes, edges = nodes.vertices, nodes.edges
        frames = [given for given in (nodes, edges) if is_frame(given)]
        paths = any(isinstance(given, (str, os.PathLike)) for given in (nodes, edges))
        self._session = frames[0].sparkSession if frames else spark or (active_session() if paths else None)
        if self._session is not None:
            refuse_ended(self._session)
        self.drop_dangling = drop_dangling
        ids = {"nodes": [id], "edges": [src, dst]}
        values = {"nodes": columns_of(features), "edges": columns_of(edge_features)}
        opened = {
            name: open_given(name, given, Reading(self._session, form, csv or Csv()), [*ids[name], *values[name]])
            for name, given, form in (("nodes", nodes, format), ("edges", edges, edges_format or format))
        }
        self.sources = {name: dict(found.source) for name, found in opened.items() if found.source is not None}
        """Where the tables come from, if they were read from paths: `verify` reads them again."""
        types = {name: _types(name, found.table) for name, found in opened.items()}
        check_not_swapped(types, ids)
        tables = {name: _surveyed(name, found.table, ids[name], values[name]) for name, found in opened.items()}
        tables = settle_ids({name: (table, ids[name]) for name, table in tables.items()})
        self.nodes: Any = tables["nodes"]
        self.edges: Any = tables["edges"]
        node_types, edge_types = _types("nodes", self.nodes), _types("edges", self.edges)
        self.node_layout = node_layout(node_types, id, features, partial(_no_number, self.nodes))
        look = partial(_no_number, self.edges)
        self.edge_layout = edge_layout(edge_types, src, dst, edge_features, undirected, look, reverse)
        examples = {
            name: text
            for name, table in tables.items()
            if isinstance(table, CsvTable) and (text := table.no_integer(ids[name])) is not None
        }
        check_id_types(self.node_layout, self.edge_layout, node_types, edge_types, examples)
        self.id_type = "string" if self.node_layout.text else node_types[id]

    @staticmethod
    def read(
        spark: SparkSession | None,
        nodes: str | os.PathLike[str],
        edges: str | os.PathLike[str],
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph:
        """A graph of two tables on disk; `options` are those of `Graph`. Faster than the same with DataFrames: workers
        read files that they see without the JVM.
        """
        nodes, edges = path_of("nodes", nodes), path_of("edges", edges)
        return Graph(nodes, edges, format=format, edges_format=edges_format, spark=spark, **options)

    @staticmethod
    def of_files(
        nodes: str | os.PathLike[str],
        edges: str | os.PathLike[str],
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph | None:
        """A graph of two tables that this process reads itself, whoever has a session: `prepare` needs no Spark for it.
        None if only Spark can read them. Formats as in `read`.
        """
        nodes, edges = path_of("nodes", nodes), path_of("edges", edges)
        csv = options.pop("csv", None) or Csv()
        ids = [options.get(name, name) for name in (ID, SRC, DST)]
        wanted = [*ids, *columns_of(options.get("features", "x")), *columns_of(options.get("edge_features"))]
        try:
            node_table = open_given("nodes", nodes, Reading(None, format, csv), wanted).table
            edge_table = open_given("edges", edges, Reading(None, edges_format or format, csv), wanted).table
        except NeedsSpark:
            return None
        return Graph(node_table, edge_table, **options)

    @property
    def session(self) -> SparkSession | None:
        """Of its DataFrames, or what its paths were read with; None if this process reads its tables itself."""
        return self._session

    def with_reverse(self) -> Graph:
        """The same graph, of which the edges against their direction are stored too."""
        graph = copy(self)
        graph.edge_layout = replace(self.edge_layout, reverse=True)
        return graph

    def describe(self) -> dict[str, Any]:
        """Sources and the meaning of columns, for the manifest."""
        return {
            "sources": self.sources,
            "columns": {
                layout.table: {
                    "ids": list(layout.keys),
                    "values": {value.name: list(value.columns) for value in layout.values},
                }
                for layout in (self.node_layout, self.edge_layout)
            },
            "undirected": bool(self.edge_layout.undirected),
            "reverse": len(self.edge_layout.edge_types) > 1,
            "drop_dangling": bool(self.drop_dangling),
            "id_type": self.id_type,
        }


@dataclass(frozen=True)
class PreparedGraph:
    """A graph cut into blocks, on disk. Made by `prepare`, opened again by `open_graph`."""

    path: str
    """Absolute, or a URI."""
    manifest: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Where its blocks are: of this prepare, and of no other that may come to the same path."""
        return f"{self.path.rstrip('/')}/{storage.folder_name(self.manifest['prepare'])}"

    @property
    def sizes(self) -> dict[str, list[int]]:
        """File of a block → its bytes, for each block."""
        return {name: self.manifest["per_block"][f"{name}_file_bytes"] for name in storage.FILES}

    @property
    def blocks(self) -> int:
        """Number of blocks, P."""
        return int(self.manifest["blocks"])

    @property
    def schema(self) -> GraphSchema:
        schema = GraphSchema.from_json(self.manifest["schema"])
        return schema.both_ways() if self.undirected else schema

    @property
    def ranges(self) -> Ranges:
        """What numbers the columns hold."""
        return merge_ranges([self.manifest["ranges"]])

    @property
    def fingerprint(self) -> str:
        """A hash of all blocks: the same for the same graph and P, however the files were split or ordered."""
        return str(self.manifest["fingerprint"])

    @property
    def nodes(self) -> int:
        return int(self.manifest["totals"]["nodes"])

    @property
    def edges(self) -> int:
        """Edges, with both directions of an undirected one."""
        return int(self.manifest["totals"]["edges"])

    @property
    def undirected(self) -> bool:
        return bool(self.manifest["undirected"])

    @property
    def id_type(self) -> str:
        """Spark's word for the type of the user's ids."""
        return str(self.manifest["id_type"])

    @property
    def known(self) -> Known:
        """What its blocks are known by, for those who open them."""
        return Known.of(self.path, self.manifest)

    def block(self, index: int, kinds: Collection[str] = KINDS) -> Block:
        """A block, or of it what the kinds say."""
        return open_block(self.known, self.folder, index, kinds)


def open_graph(path: str | PathLike[str]) -> PreparedGraph:
    """A prepared graph; StorageError if there is none, or one that another version has written."""
    place = Place.of(path_of("the path of a prepared graph", path))
    manifest = checked_manifest(str(place), storage.read_manifest(place.given))
    return PreparedGraph(place.path if place.is_local else place.given, manifest)


def _types(name: str, table: DataFrame | Table) -> dict[str, str]:
    try:
        columns, types = table.columns, dict(table.dtypes)
    except Exception as error:  # of Java, of py4j, of PySpark
        raise DataError(f"{name} cannot be used: {first_line(error)}") from error
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise DataError(f"{name} has more than one column named {twice[0]!r}; rename or drop one of them")
    return types


def _surveyed(name: str, table: DataFrame | Table, ids: list[str], values: list[str]) -> DataFrame | Table:
    """The table, whose files have all columns that are read; of CSV with their types, which takes all rows."""
    if isinstance(table, Table):
        table.check(name, [*ids, *values])
    if isinstance(table, CsvTable):
        table = table.surveyed(ids, values)
    if isinstance(table, (CsvTable, ParquetTable)):
        check_partition_ids(name, table.listing, ids)
    return table


def _no_number(table: DataFrame | Table, column: str) -> object:
    """Runs a job, or reads the file, but only to say what is wrong: a text that is not a number."""
    if isinstance(table, Table):
        return table.no_number(column)
    from pyspark.sql import functions as F

    text = F.col(quoted(column))
    row = table.select(text.alias("text")).where(text.isNotNull() & text.try_cast("double").isNull()).first()
    return row.text if row else None
