"""Paths of what is no file system, or is misspelt: refused by every command before it does anything."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare, score
from pipeline.errors import SettingError
from pipeline.places.filesystem import opened
from pipeline.places.place import Place
from pipeline.places.schemes import BUCKETS, PYTHON, SAME, SPARK
from tests.formulas import build
from tests.whole import whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/x", "ftp is no file system; copy it to a disk or an object store"),
        ("https://host/x.parquet", "https is no file system; copy it"),
        ("htpp://host/x", "no file system is called htpp; did you mean 'http'"),
        ("hfds://n/x", "no file system is called hfds; did you mean 'hdfs'"),
        ("Dbsf:/x", "no file system is called Dbsf; did you mean 'dbfs'"),
        ("run:12", r"no file system is called run\. A file of that name in the current folder is \./run:12"),
    ],
)
def test_what_is_no_file_system(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Place.of(text)


def test_names_of_models_that_mlflow_keeps_are_no_mistakes() -> None:
    """Places are made of all that a run reads, to compare them with its output."""
    assert (Place.of("models:/fraud@prod").scheme, Place.of("runs:/12ab/model").scheme) == ("models", "runs")


def test_case_and_other_names_of_the_same() -> None:
    assert Place.of("S3://b/x").uri == Place.of("s3n://b/x").uri == "s3://b/x"
    assert Place.of("WASBS://c@a/x").scheme == "wasb"
    assert Place.of("file:/x").path == Place.of("//x").path == "/x"
    assert not set(PYTHON) & set(SPARK)
    assert set(SAME.values()) | BUCKETS <= {*PYTHON, *SPARK}


@pytest.mark.parametrize("scheme", [*SPARK, "lake", "dfs", "myfs"])
def test_what_only_spark_opens(scheme: str) -> None:
    place = Place.of(f"{scheme}://somebody/x")
    assert (place.scheme, opened(place)) == (scheme, None)


def test_what_a_cluster_tells_is_never_refused() -> None:
    """It may have a file system of its own; a table's files are where they are."""
    assert Place.told("myfs://c/x").scheme == "myfs"
    assert Place.of("/x", "myfs://c").uri == "myfs://c/x"
    assert Place.told("s3a://c/x") == Place.of("s3a://c/x")


# ---- every command, in every place that takes a path


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables, graph, model, scores."""
    at = tmp_path_factory.mktemp("schemes")
    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    graph = Graph.of_files(at / "nodes.parquet", at / "edges.parquet", features="x", edge_features=["weight", "attr"])
    assert graph is not None
    build("sage").save(at / "model")
    prepare(graph, at / "graph", 2)
    score(at / "graph", at / "model", at / "scores")
    (at / "settings.toml").write_text('scratch = "BAD"\n')
    (at / "graph.toml").write_text(
        '[nodes.a]\npath = "BAD"\n[[edges]]\ntype = ["a", "to", "a"]\npath = "edges.parquet"\n'
    )
    return at


RAW = "--nodes nodes.parquet --edges edges.parquet"
FROM = "--graph graph --model model"
COMMANDS = [
    f"prepare {RAW} --output BAD",
    "prepare --nodes BAD --edges edges.parquet --output new",
    "prepare --nodes nodes.parquet --edges BAD --output new",
    "prepare --graph-spec BAD --output new",
    "prepare --graph-spec FILE/graph.toml --output new",
    f"prepare {RAW} --output new --work-dir BAD",
    f"prepare {RAW} --output new --report BAD",
    f"infer {RAW} --model model --output BAD",
    f"infer {RAW} --model BAD --output new",
    f"infer {RAW} --model model --output new --work-dir BAD",
    f"infer {RAW} --model model --output new --targets BAD",
    f"infer {RAW} --model model --output new --report BAD",
    f"infer {RAW} --model model --output new --conf FILE/settings.toml",
    "infer --nodes BAD --edges edges.parquet --model model --output new",
    "infer --graph-spec BAD --model model --output new",
    "infer --graph BAD --model model --output new",
    f"infer {FROM} --output BAD",
    f"infer {FROM} --output BAD --if-same skip",
    f"infer {FROM} --output BAD --overwrite --classify",
    f"infer {FROM} --output new --work-dir BAD",
    f"infer {FROM} --output new --targets BAD",
    f"infer {FROM} --output new --report BAD",
    f"infer {FROM} --output new --conf FILE/settings.toml",
    f"verify {FROM} --output BAD",
    "verify --graph BAD --model model --output scores",
    "verify --graph graph --model BAD --output scores",
    f"verify {FROM} --output scores --nodes BAD",
    f"verify {FROM} --output scores --report BAD",
    "explain --graph BAD --model model",
    "explain --graph graph --model BAD",
    f"explain {FROM} --targets BAD",
    f"explain {FROM} --html BAD",
    "status BAD",
    "doctor --path BAD",
    "export tests.x:y --output BAD",
    "export tests.x:y --output new --like BAD",
]


BAD = "htpp://host/x"


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch, at: Path) -> None:
    """No table is prepared, and no session started."""

    def never(*_: object) -> None:
        raise AssertionError("work has begun")

    monkeypatch.chdir(at)
    monkeypatch.setattr("pipeline.command.own_session.spark_session", never)
    monkeypatch.setattr("pipeline.job.score.prepare_for", never)
    monkeypatch.setattr("pipeline.job.prepare.prepare", never)


def run(command: str) -> Result:
    return CliRunner().invoke(cli.app, command.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(command: str, at: Path, no_work: None, tmp_path: Path) -> None:
    before = sorted(at.rglob("*"))
    for file in ("settings.toml", "graph.toml"):
        (tmp_path / file).write_text((at / file).read_text().replace("BAD", BAD))
    done = run(command.replace("BAD", BAD).replace("FILE", str(tmp_path)))
    assert done.exit_code == 2, done.output
    assert f"{BAD}: no file system is called htpp" in done.output
    assert sorted(at.rglob("*")) == before


def test_what_only_spark_opens_is_asked_of_spark_before_work(
    no_work: None, at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that this machine could prepare are not: Spark may have no way to the output either."""

    def refused(*_: object) -> None:
        raise SettingError("no Spark here")

    monkeypatch.setattr("pipeline.command.own_session.spark_session", refused)
    done = run(f"infer {RAW} --model model --output viewfs://lake/x")
    assert (done.exit_code, done.output) == (2, "graphsweep: no Spark here\n")
