"""The commands by a real spark-submit on a real cluster: its master says afterwards what it has run."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, open_graph, prepare, score
from tests.formulas import build
from tests.spark.standalone import Application, Standalone
from tests.whole import whole

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and a model."""
    directory, graph = tmp_path_factory.mktemp("cluster"), whole("mixed")
    pq.write_table(graph.nodes(), directory / "nodes.parquet")
    pq.write_table(graph.edges(), directory / "edges.parquet")
    build("sage").save(str(directory / "model"))
    (directory / "settings.toml").write_text('scratch = "scratch"\n')
    for name, columns in {"nodes": "id,a,b", "edges": "src,dst"}.items():
        rows = "".join(f"{number},{(number + 1) % 50}{',0.5' if name == 'nodes' else ''}\n" for number in range(50))
        (directory / f"{name}.csv").write_text(f"{columns}\n{rows}")
    return directory


def run(standalone: Standalone, place: Path, job: str, **options: str) -> tuple[str, Application]:
    """What a command says, given relative paths, and the one application that the master has run for it. Spark warns
    of what it wants to, and never with a stack of Java, which looks as if something had failed."""
    before = {application.id for application in standalone.applications()}
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    done = standalone.submit(job, *given, cwd=place, conf={"spark.log.level": "WARN"})
    assert done.returncode == 0, done.stdout
    assert "\n\tat " not in done.stdout, done.stdout
    (ran,) = [application for application in standalone.applications() if application.id not in before]
    return done.stdout, ran


def test_the_cluster_runs_the_commands(standalone: Standalone, place: Path) -> None:
    """Small tables that the driver sees, for which one machine alone would start no Spark; and nothing but the master
    asks for one. (prepare by itself, and a graph that was prepared: tests/spark/test_interrupted.py.)"""
    tables = {"nodes": "nodes.parquet", "edges": "./edges.parquet"}
    raw, ran = run(standalone, place, "infer", **tables, model="model", output="raw", conf="settings.toml")
    assert "without Spark" not in raw
    assert "2 tasks at once on 1 host" in raw
    assert (ran.state, ran.cores) == ("FINISHED", 2)
    # the handshake's two, and those that pack, build and score
    assert ran.tasks > 4
    assert ran.executors == {"0", "1"}

    graph = Graph.of_files(place / "nodes.parquet", place / "edges.parquet")
    assert graph is not None
    score(prepare(graph, place / "graph"), place / "model", place / "scores")
    said, ran = run(standalone, place, "verify", graph="graph", model="model", output="raw")
    assert "PASS" in said
    assert ran.tasks > 0

    one, other = (pq.read_table(place / name).sort_by("id") for name in ("raw", "scores"))
    assert one.num_rows == other.num_rows == 200
    assert one.equals(other)
    assert not [file for file in place.iterdir() if file.name.startswith(".")], "nothing is left beside them"
    assert not (place / "scratch").exists()


def test_tables_that_only_spark_reaches(standalone: Standalone, place: Path) -> None:
    """Here the scheme viewfs leads to this machine's disk. CSV comes through Spark, and gives the same graph."""
    lake = {"spark.hadoop.fs.viewfs.mounttable.lake.link./t": f"file://{place}"}
    tables = ["--nodes", "viewfs://lake/t/nodes.csv", "--edges", "viewfs://lake/t/edges.csv", "--features", "a,b"]
    done = standalone.submit("prepare", *tables, "--output", "lake", "--blocks", 2, conf=lake, cwd=place)
    assert done.returncode == 0, done.stdout
    here = Graph.of_files(place / "nodes.csv", place / "edges.csv", features=["a", "b"])
    assert here is not None
    assert open_graph(place / "lake").fingerprint == prepare(here, place / "here", blocks=2).fingerprint
