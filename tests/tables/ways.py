"""The rows of a pair of tables by every way that they can come: in this process, with a session, through Spark alone,
by the console command, and as `verify` reads them.

What is compared is the graph as it was prepared, node by node and edge by edge, with what a test wrote down by hand.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from typer.testing import CliRunner

from pipeline import cli, open_graph, prepare
from pipeline.errors import GraphsweepError
from pipeline.graph import Graph
from pipeline.schema import DST, ID, SRC
from pipeline.spark.session import readable_errors
from pipeline.verifying.semi_join import edge_rows, node_rows
from tests.graphs import edges_of, nodes_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BLOCKS = 2


@dataclass(frozen=True)
class Case:
    """Two tables at paths, and what their rows are."""

    nodes: str
    edges: str
    features: list[str] = field(default_factory=lambda: ["x"])
    edge_features: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    """Of Graph; `arguments` are the same for the command."""
    arguments: tuple[str, ...] = ()
    ids: tuple[Any, ...] = (1, 2, 3)
    """That verify asks for."""


Rows = tuple[dict[Any, Any], list[Any]]
"""id → its numbers; (src, dst, numbers …), sorted."""


def in_process(case: Case, spark: SparkSession, at: Path) -> Rows:
    graph = Graph.of_files(case.nodes, case.edges, **_options(case))
    assert graph is not None, "it takes Spark"
    assert graph.session is None
    return _prepared(graph, at)


def in_a_session(case: Case, spark: SparkSession, at: Path) -> Rows:
    return _prepared(Graph.read(spark, case.nodes, case.edges, **_options(case)), at)


def by_tasks(case: Case, spark: SparkSession, at: Path) -> Rows:
    """Workers read the pieces."""
    return _prepared(Graph.read(spark, case.nodes, case.edges, **_options(case)), at, fits=False)


def by_spark_alone(case: Case, spark: SparkSession, at: Path) -> Rows:
    """As if only Spark saw the files: the rows that it reads, prepared in this process."""
    graph = Graph.read(spark, case.nodes, case.edges, **_options(case))
    with readable_errors():
        tables = [frame.toArrow() for frame in _frames(graph, spark)]
    return _prepared(Graph(*tables, spark=False, **_of_frames(case)), at)


def by_dataframes(case: Case, spark: SparkSession, at: Path) -> Rows:
    """The same, and Spark makes keys and numbers of them: as on a cluster."""
    graph = Graph.read(spark, case.nodes, case.edges, **_options(case))
    return _prepared(Graph(*_frames(graph, spark), **_of_frames(case)), at)


def by_the_command(case: Case, spark: SparkSession, at: Path) -> Rows:
    arguments = ["prepare", "--nodes", case.nodes, "--edges", case.edges, "--output", str(at), "--blocks", str(BLOCKS)]
    arguments += ["--features", ",".join(f"{name}={name}" for name in case.features)]
    if case.edge_features:
        arguments += ["--edge-features", ",".join(case.edge_features)]
    done = CliRunner().invoke(cli.app, [*arguments, *case.arguments])
    assert done.exit_code in (0, 2), done.output
    if done.exit_code:
        assert not at.exists()
        raise GraphsweepError(done.stderr)
    return _stored(str(at))


def by_verify(case: Case, spark: SparkSession, at: Path) -> Rows:
    graph = Graph.of_files(case.nodes, case.edges, **_options(case))
    assert graph is not None
    return _looked_up(graph, case.ids)


def by_verify_with_spark(case: Case, spark: SparkSession, at: Path) -> Rows:
    """As on a cluster: semi-joins of Spark."""
    graph = Graph.read(spark, case.nodes, case.edges, **_options(case))
    return _looked_up(Graph(*_frames(graph, spark), **_of_frames(case)), case.ids)


Way = Callable[[Case, "SparkSession", Path], Rows]
WAYS: tuple[Way, ...] = (in_process, in_a_session, by_spark_alone, by_the_command, by_verify)
# The same pieces and the same frames once more, in jobs that take seconds: for some cases of each kind.
IN_JOBS: tuple[Way, ...] = (by_tasks, by_dataframes, by_verify_with_spark)


def all_ways(
    case: Case, spark: SparkSession, at: Path, but: tuple[Way, ...] = (), in_jobs: bool = False
) -> dict[str, Rows | str]:
    """Way → rows, or what the refusal says. Whatever else is raised is a crash."""
    found: dict[str, Rows | str] = {}
    for way in (*WAYS, *IN_JOBS) if in_jobs else WAYS:
        if way in but:
            continue
        before = sorted(os.listdir(at))
        try:
            found[way.__name__] = way(case, spark, at / "prepared")
        except GraphsweepError as error:
            found[way.__name__] = str(error)
            assert sorted(os.listdir(at)) == before, "a refusal leaves nothing behind"
    return found


def _options(case: Case) -> dict[str, Any]:
    return {"features": {name: name for name in case.features}, "edge_features": case.edge_features, **case.options}


def _frames(graph: Graph, spark: SparkSession) -> list[DataFrame]:
    tables = (graph.nodes, graph.node_layout), (graph.edges, graph.edge_layout)
    return [table.frame(spark, layout.columns) for table, layout in tables]


def _of_frames(case: Case) -> dict[str, Any]:
    """Options without those of files."""
    return {name: value for name, value in _options(case).items() if name not in ("csv", "format", "edges_format")}


def _prepared(graph: Graph, at: Path, fits: bool = True) -> Rows:
    module = sys.modules["pipeline.prepare"]
    usual = module._fits_in_process
    if not fits:
        module._fits_in_process = lambda *_: False
    try:
        prepare(graph, str(at), BLOCKS)
    finally:
        module._fits_in_process = usual
    return _stored(str(at))


def _stored(path: str) -> Rows:
    prepared = open_graph(path)
    blocks = [prepared.block(index) for index in range(prepared.blocks)]
    shutil.rmtree(path)
    nodes = {id: tuple(v for _, values in sorted(row.items()) for v in values) for id, row in nodes_of(blocks).items()}
    edges = sorted((src, dst, *(v for values in rest for v in values)) for src, dst, *rest in edges_of(blocks))
    return nodes, edges


def _looked_up(graph: Graph, ids: tuple[Any, ...]) -> Rows:
    """The rows of these ids."""
    assert graph.node_layout.text == isinstance(ids[0], str)
    every = pa.array(ids)
    order = {
        table: sorted(range(len(layout.values)), key=lambda at: layout.values[at].name)
        for table, layout in (("nodes", graph.node_layout), ("edges", graph.edge_layout))
    }
    nodes = {
        row[ID]: tuple(v for at in order["nodes"] for v in row[f"v{at}"])
        for row in node_rows(graph).among(every).to_pylist()
    }
    edges = sorted(
        (row[SRC], row[DST], *(v for at in order["edges"] for v in row[f"v{at}"]))
        for row in edge_rows(graph, False).among(every).to_pylist()
    )
    return nodes, edges
