"""The user's graph: two tables, and which of their columns mean what. And the prepared graph that is made of it once.

Comes in: DataFrames, or paths of tables; the path of a prepared graph. Goes out: `Graph`, checked as far as that costs
no job; `PreparedGraph`. Knows nothing of how one becomes the other (prepare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.blocks import Block
from pipeline.columns import DST, ID, SRC
from pipeline.errors import DataError
from pipeline.places.given import path_of
from pipeline.ranges import Ranges, merge_ranges
from pipeline.rows import KINDS
from pipeline.run.manifest import checked_manifest
from pipeline.run.opening import Known, open_block
from pipeline.schema import GraphSchema
from pipeline.tables.files import ParquetTable, find_format, parquet_pieces, read_table
from pipeline.tables.given import check_table
from pipeline.tables.layout import Columned, are_sparks, check_id_types, edge_layout, node_layout
from pipeline.workers import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Graph:
    """Nodes with ids and features, and edges that carry messages from `src` to `dst`.

    Parameters
    ----------
    nodes, edges : DataFrame
        Of any source. A GraphFrame may stand for both.
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

    Raises
    ------
    DataError
        If a column is missing or of a type that cannot be used. No job is started to find out; only to show what text
        is in a column of numbers.
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
        sources: Mapping[str, Any] | None = None,
        reverse: bool = False,
    ) -> None:
        if edges is None:
            if not (hasattr(nodes, "vertices") and hasattr(nodes, "edges")):
                raise DataError("a graph needs a node table and an edge table, or one GraphFrame")
            nodes, edges = nodes.vertices, nodes.edges
        check_table("nodes", nodes)
        check_table("edges", edges)
        self.nodes: Any = nodes
        self.edges: Any = edges
        self.drop_dangling = drop_dangling
        self.sources = dict(sources or {})
        """Where the tables come from, if they were read from paths: `verify` reads them again."""
        self._read: tuple[Any, Any] | None = None
        node_types, edge_types = _types("nodes", nodes), _types("edges", edges)
        self.node_layout = node_layout(node_types, id, features, partial(_no_number, nodes))
        look = partial(_no_number, edges)
        self.edge_layout = edge_layout(edge_types, src, dst, edge_features, undirected, look, reverse)
        check_id_types(self.node_layout, self.edge_layout, node_types, edge_types)
        self.id_type = "string" if self.node_layout.text else node_types[id]

    @staticmethod
    def read(
        spark: SparkSession,
        nodes: str | PathLike[str],
        edges: str | PathLike[str],
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph:
        """A graph of two tables on disk, see `read_table`; `options` are those of `Graph`.

        `edges_format` is for tables of different formats. Faster than the same with DataFrames if a table is Parquet:
        workers read it without the JVM.
        """
        nodes, edges = path_of("nodes", nodes), path_of("edges", edges)
        sources = {
            "nodes": {"path": nodes, "format": format or find_format(nodes)},
            "edges": {"path": edges, "format": edges_format or format or find_format(edges)},
        }
        tables = {table: read_table(spark, source["path"], source["format"]) for table, source in sources.items()}
        graph = Graph(tables["nodes"], tables["edges"], sources=sources, **options)
        graph._read = (graph.nodes, graph.edges)
        return graph

    @staticmethod
    def of_files(
        nodes: str | PathLike[str],
        edges: str | PathLike[str],
        format: str | None = None,
        edges_format: str | None = None,
        **options: Any,
    ) -> Graph | None:
        """A graph of two plain Parquet tables that this process reads itself: `prepare` needs no Spark for it. None if
        they are not, or if it takes Spark to say what is wrong with them. Formats as in `read`.
        """
        nodes, edges = path_of("nodes", nodes), path_of("edges", edges)
        given = ((nodes, format), (edges, edges_format or format))
        found = [table for path, form in given if (table := ParquetTable.open(path, form))]
        if len(found) < 2:
            return None
        sources = {"nodes": {"path": nodes, "format": "parquet"}, "edges": {"path": edges, "format": "parquet"}}
        try:
            graph = Graph(found[0], found[1], sources=sources, **options)
        except DataError:
            if all(are_sparks(dict(table.dtypes).values()) for table in found):
                raise
            return None
        for layout in (graph.node_layout, graph.edge_layout):
            if parquet_pieces(sources[layout.table]["path"], layout.columns) is None:
                return None
        graph._read = (graph.nodes, graph.edges)
        return graph

    @property
    def session(self) -> SparkSession | None:
        """Of its tables; None if they are files that this process reads itself."""
        return None if isinstance(self.nodes, ParquetTable) else self.nodes.sparkSession

    def with_reverse(self) -> Graph:
        """The same graph, of which the edges against their direction are stored too."""
        graph = copy(self)
        graph.edge_layout = replace(self.edge_layout, reverse=True)
        return graph

    @property
    def as_read(self) -> bool:
        """Whether the tables are those of `sources`, as they are there."""
        return self._read == (self.nodes, self.edges)

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
    manifest: Mapping[str, Any]

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
        return open_block(self.known, self.path, index, kinds)


def open_graph(path: str | PathLike[str]) -> PreparedGraph:
    """A prepared graph; StorageError if there is none, or one that another version has written."""
    path = path_of("the path of a prepared graph", path)
    return PreparedGraph(path, checked_manifest(path, storage.read_manifest(path)))


def _types(table: str, frame: DataFrame) -> dict[str, str]:
    twice = [name for name, times in Counter(frame.columns).items() if times > 1]
    if twice:
        raise DataError(f"{table} has more than one column named {twice[0]!r}; rename or drop one of them")
    return dict(frame.dtypes)


def _no_number(frame: DataFrame | ParquetTable, column: str) -> object:
    """Runs a job, or reads the file, but only to say what is wrong: a text that is not a number."""
    if isinstance(frame, ParquetTable):
        return frame.no_number(column)
    from pyspark.sql import functions as F

    text = F.col(quoted(column))
    row = frame.select(text.alias("text")).where(text.isNotNull() & text.try_cast("double").isNull()).first()
    return row.text if row else None
