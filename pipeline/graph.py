"""The user's graph: two tables, and which of their columns mean what. And the prepared graph that is made of it once.

Comes in: DataFrames, or paths of tables; the path of a prepared graph. Goes out: `Graph`, checked as far as that costs
no job; `PreparedGraph`. Knows nothing of how one becomes the other (prepare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline import storage
from pipeline.blocks import Block
from pipeline.columns import DST, ID, SRC
from pipeline.errors import DataError, StorageError
from pipeline.layout import Columned, check_id_types, edge_layout, node_layout
from pipeline.rows import KINDS
from pipeline.schema import GraphSchema

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
    id, src, dst : str
        Columns of ids: integers of any size in all three, or strings in all three.
    drop_dangling : bool
        Leave out edges whose ends are not among the nodes, which are an error otherwise.

    Raises
    ------
    DataError
        If a column is missing or of a type that cannot be used. No job is started to find out.
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
    ) -> None:
        if edges is None:
            if not (hasattr(nodes, "vertices") and hasattr(nodes, "edges")):
                raise DataError("a graph needs a node table and an edge table, or one GraphFrame")
            nodes, edges = nodes.vertices, nodes.edges
        self.nodes: DataFrame = nodes
        self.edges: DataFrame = edges
        self.drop_dangling = drop_dangling
        self.sources = dict(sources or {})
        """Where the tables come from, if they were read from paths: `verify` reads them again."""
        node_types, edge_types = _types("nodes", nodes), _types("edges", edges)
        self.node_layout = node_layout(node_types, id, features)
        self.edge_layout = edge_layout(edge_types, src, dst, edge_features, undirected)
        check_id_types(self.node_layout, self.edge_layout, node_types, edge_types)
        self.id_type = node_types[id]

    @staticmethod
    def read(spark: SparkSession, nodes: str, edges: str, format: str | None = None, **options: Any) -> Graph:
        """A graph of two tables on disk, see `read_table`; `options` are those of `Graph`."""
        sources = {"nodes": {"path": nodes, "format": format}, "edges": {"path": edges, "format": format}}
        return Graph(read_table(spark, nodes, format), read_table(spark, edges, format), sources=sources, **options)

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
            "undirected": self.edge_layout.undirected,
            "drop_dangling": self.drop_dangling,
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
        return GraphSchema.from_json(self.manifest["schema"])

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

    def block(self, index: int, kinds: Collection[str] = KINDS) -> Block:
        """A block, or of it what the kinds say."""
        return storage.read_block(self.path, index, kinds)


def open_graph(path: str) -> PreparedGraph:
    """A prepared graph; StorageError if there is none, or one that another version has written."""
    return PreparedGraph(path, storage.read_manifest(path))


# ---- reading tables

FORMATS = ("parquet", "csv", "delta")


def read_table(spark: SparkSession, path: str, format: str | None = None) -> DataFrame:
    """A Parquet, CSV or Delta table as a DataFrame. CSV has a header line; its types are inferred, which runs a job.

    The format is taken from the names of the files if it is not given.
    """
    from pyspark.errors import PySparkException

    found = _look(path)
    format = format or (_format_of(path, found) if found else "csv" if path.endswith(CSV_ENDINGS) else "parquet")
    if format not in FORMATS:
        raise StorageError(f"{path}: unknown format {format!r}; known: {', '.join(FORMATS)}")
    if found:
        _check_content(path, found, format)
    reader = spark.read.format(format)
    if format == "csv":
        reader = reader.options(header=True, inferSchema=True)
    try:
        table = reader.load(path)
        columns = table.columns
    except PySparkException as error:
        if "PATH_NOT_FOUND" in str(error.getCondition()):
            raise StorageError(f"{path}: no such file or directory") from error
        raise StorageError(f"{path}: cannot be read as {format}: {first_line(error)}") from error
    if not columns:
        raise StorageError(f"{path}: has no columns" + (", not even a header line" if format == "csv" else ""))
    return table


CSV_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst")
PARQUET_ENDINGS = (".parquet", ".pq")


def first_line(error: Exception) -> str:
    """Of what Spark says, the part for people."""
    return str(error).strip().partition("\n")[0]


def _look(path: str) -> list[fs.FileInfo]:
    """The data files under a path, as far as it can be seen from here; Spark may know file systems that we do not.

    A path without a scheme is local here, and may be another one in Spark: if it is not found, Spark decides.
    """
    try:
        filesystem, inner = storage.locate(path)
        info = filesystem.get_file_info(inner)
        if info.type == fs.FileType.NotFound:
            return []
        if info.type == fs.FileType.File:
            return [info]
        inside = filesystem.get_file_info(fs.FileSelector(inner, recursive=True))
    except (OSError, pa.ArrowException):
        return []
    files = [file for file in inside if file.type == fs.FileType.File and not _hidden(file.path[len(inner) :])]
    if not files:
        raise StorageError(f"{path}: the directory holds no data files")
    return files


def _hidden(path: str) -> bool:
    """Names that Spark passes over, but for the log of a Delta table."""
    return any(part.startswith((".", "_")) and part != "_delta_log" for part in path.strip("/").split("/"))


def _format_of(path: str, files: list[fs.FileInfo]) -> str:
    if any("/_delta_log/" in file.path for file in files):
        return "delta"
    for format, endings in (("parquet", PARQUET_ENDINGS), ("csv", CSV_ENDINGS)):
        if any(file.path.endswith(endings) for file in files):
            return format
    raise StorageError(f"{path}: the name does not tell the format; give it, one of {', '.join(FORMATS)}")


def _check_content(path: str, files: list[fs.FileInfo], format: str) -> None:
    """A file that is not what its name says would give a Java stack trace, or a table of garbage."""
    if format == "delta":
        return
    filesystem, _ = storage.locate(path)
    for file in files:
        try:
            with filesystem.open_input_stream(file.path, compression=None) as stream:
                start = stream.read(4)
        except PermissionError as error:
            raise StorageError(f"{path}: no permission to read {file.base_name}") from error
        if format == "parquet" and start != b"PAR1":
            raise StorageError(f"{path}: {file.base_name} is not a Parquet file")
        if format == "csv" and start == b"PAR1":
            raise StorageError(f"{path}: {file.base_name} is a Parquet file, not CSV")
        if format == "csv" and not start:
            raise StorageError(f"{path}: {file.base_name} is empty, without a header line")


def _types(table: str, frame: DataFrame) -> dict[str, str]:
    twice = [name for name, times in Counter(frame.columns).items() if times > 1]
    if twice:
        raise DataError(f"{table} has more than one column named {twice[0]!r}; rename or drop one of them")
    return dict(frame.dtypes)
