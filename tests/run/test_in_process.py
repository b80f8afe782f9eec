"""Runs in this process, without Spark: the bits that Spark's task would write, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, open_graph, prepare, score
from pipeline.errors import DataError, ModelError, StorageError
from pipeline.places.place import Place
from pipeline.plan.plan import Plan
from pipeline.planning import runs_in_process
from pipeline.prepared import PreparedGraph
from pipeline.run import task
from pipeline.run.fused import run_fused
from pipeline.schema import spelled
from pipeline.settings import Settings
from tests import typed_tables
from tests.formulas import build
from tests.whole import whole

BLOCKS = 3
MODELS = ["sage", "gcn_weighted", "gat", "graph_norm", "virtual_node", "both_ends"]


pytestmark = pytest.mark.usefixtures("no_session")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    at = tmp_path_factory.mktemp("tables")
    pq.write_table(whole("mixed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), at / "edges.parquet")
    return str(at / "nodes.parquet"), str(at / "edges.parquet")


def graph_of(tables: tuple[str, str], **options: bool) -> Graph:
    graph = Graph.of_files(*tables, edge_features=["weight", "attr"], **options)
    assert graph is not None
    return graph


@pytest.fixture(scope="module")
def prepared(tables: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(graph_of(tables, reverse=True), str(tmp_path_factory.mktemp("graphs") / "g"), blocks=BLOCKS)


def scores(output: Path) -> dict[object, list[float]]:
    table = pq.read_table(output)
    return dict(zip(table["id"].to_pylist(), table["output"].to_pylist(), strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_the_block_program(prepared: PreparedGraph, tmp_path: Path, name: str, threads: int) -> None:
    model = build(name)
    report = score(prepared, model, str(tmp_path / "o"), settings=Settings(threads=threads))
    assert (report.tier, report.spark, report.rows) == ("fused", False, prepared.nodes)
    blocks = whole("mixed").blocks(BLOCKS, reverse=True)
    found = run_fused(Plan.of(model), blocks)
    want = {
        node: row.tolist()
        for block, outputs in zip(blocks, found, strict=True)
        for node, row in zip(block.ids["node"].to_pylist(), outputs["output"], strict=True)
    }
    assert scores(tmp_path / "o") == want
    assert os.listdir(tmp_path) == ["o"], "nothing is left beside it"
    assert (tmp_path / "o" / "_SUCCESS").exists()


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_a_graph_that_is_replaced_while_a_run_reads_it(
    tables: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Other features, at the same path, in the middle of a superstep: an error, and no output."""
    graph = prepare(graph_of(tables), tmp_path / "g", blocks=BLOCKS)
    other = whole("mixed").nodes()
    pq.write_table(other.set_column(1, "x", other["x"][::-1]), tmp_path / "n.parquet")
    opened = []
    read = task.open_block

    def open_block(*arguments: object) -> object:
        if len(opened) == after:
            prepare(graph_of((f"{tmp_path}/n.parquet", tables[1])), tmp_path / "g", blocks=BLOCKS, overwrite=True)
        opened.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(task, "open_block", open_block)
    with pytest.raises(StorageError, match=r"/g: replaced while being read; run again"):
        score(graph, build("sage"), str(tmp_path / "o"), settings=Settings(threads=1))
    assert sorted(os.listdir(tmp_path)) == ["g", "n.parquet"]
    again = score(tmp_path / "g", build("sage"), str(tmp_path / "o"))
    assert again.rows == graph.nodes


def test_raw_files_are_prepared_first(tables: tuple[str, str], prepared: PreparedGraph, tmp_path: Path) -> None:
    settings = Settings(scratch=str(tmp_path / "scratch"), blocks=BLOCKS)
    report = score(graph_of(tables), build("gat"), str(tmp_path / "raw"), settings=settings)
    assert report.prepare_seconds > 0
    score(prepared, build("gat"), str(tmp_path / "prepared"))
    assert scores(tmp_path / "raw") == scores(tmp_path / "prepared")


def test_the_files_that_sparks_task_would_write(spark: object, prepared: PreparedGraph, tmp_path: Path) -> None:
    for name, session in (("here", None), ("spark", spark)):
        score(prepared, build("gat"), str(tmp_path / name), classify=True, spark=session)  # type: ignore[arg-type]
    parts = sorted(part.name for part in (tmp_path / "here").glob("part-*"))
    assert len(parts) == BLOCKS
    for part in parts:
        assert (tmp_path / "here" / part).read_bytes() == (tmp_path / "spark" / part).read_bytes()


@pytest.mark.parametrize("classify", [False, True])
def test_infer_gives_the_same_rows_as_an_arrow_table(prepared: PreparedGraph, tmp_path: Path, classify: bool) -> None:
    found = infer(prepared, build("gat"), classify=classify)
    score(prepared, build("gat"), str(tmp_path / "o"), classify=classify)
    assert isinstance(found, pa.Table)
    assert found.sort_by("id").equals(pq.read_table(tmp_path / "o").sort_by("id"))


def test_infer_takes_paths_of_a_graph_and_a_model(prepared: PreparedGraph, tmp_path: Path) -> None:
    build("sage").save(tmp_path / "model")
    want = infer(prepared, build("sage"))
    assert infer(Path(prepared.path), tmp_path / "model").equals(want)
    assert infer(prepared.path, str(tmp_path / "model"), settings={"threads": 1}).equals(want)


def test_infer_prepares_raw_tables_and_leaves_nothing(tables: tuple[str, str], tmp_path: Path) -> None:
    graph = Graph(*map(Path, tables), edge_features=["weight", "attr"])
    settings = Settings(scratch=str(tmp_path), blocks=BLOCKS)
    in_memory = Graph(pq.read_table(tables[0]), pq.read_table(tables[1]).to_pandas(), edge_features=["weight", "attr"])
    found = [infer(each, build("both_ends"), settings=settings) for each in (graph, in_memory)]
    assert found[0].num_rows == len(whole("mixed").ids)
    assert found[0].equals(found[1])
    assert os.listdir(tmp_path) == []


def test_infer_of_a_graph_without_nodes_has_the_columns() -> None:
    nodes, edges = whole("mixed").nodes().slice(0, 0), whole("mixed").edges().slice(0, 0)
    found = infer(Graph(nodes, edges), build("sage"))
    assert (found.num_rows, found.column_names) == (0, ["id", "output"])


def test_infer_of_a_typed_graph_is_a_table_for_each_type(tmp_path: Path) -> None:
    nodes, edges = typed_tables.tables()
    graph = Graph(nodes, edges, features=typed_tables.FEATURES, edge_features=typed_tables.EDGE_FEATURES)
    model = typed_tables.model()
    found = infer(graph, model)
    score(graph, model, tmp_path / "o")
    folders = {type: tmp_path / "o" / spelled(type) for type in model.program.output_types}
    assert {type: table.sort_by("id") for type, table in found.items()} == {
        type: pq.read_table(folder).sort_by("id") for type, folder in folders.items()
    }
    one = next(iter(found))
    assert infer(graph, model, types=[one]) == {one: found[one]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tier": "distributed"}, "tier is distributed, which takes Spark"),
        ({"read": "spark"}, "read is spark"),
        ({"task_memory": "1m"}, "in one task, which has 1.0 MB"),
    ],
)
def test_infer_says_what_takes_a_session(prepared: PreparedGraph, settings: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=f"{message}.*there is no active Spark session; make one, or pass spark="):
        infer(prepared, build("sage"), settings=settings)


def test_memory_without_room_for_the_values(prepared: PreparedGraph, tmp_path: Path) -> None:
    settings = Settings(tier="fused", task_memory="1m", scratch=str(tmp_path / "spill"))
    report = score(prepared, build("sage"), str(tmp_path / "spilled"), settings=settings)
    assert "node values wait on disk" in report.reason
    score(prepared, build("sage"), str(tmp_path / "roomy"))
    assert scores(tmp_path / "spilled") == scores(tmp_path / "roomy")
    assert os.listdir(tmp_path / "spill") == []


REFUSED = [
    ({"tier": "distributed"}, "o", "tier is distributed, which takes Spark"),
    ({"read": "spark"}, "o", "read is spark"),
    ({"write": "spark"}, "o", "write is spark"),
    ({}, "viewfs://there/o", "viewfs://there/o can be reached by Spark only"),
    ({"task_memory": "1m"}, "o", "in one task, which has 1.0 MB"),
]


@pytest.mark.parametrize(("settings", "output", "message"), REFUSED)
def test_what_takes_spark(
    prepared: PreparedGraph, tmp_path: Path, settings: dict[str, str], output: str, message: str
) -> None:
    output = output if "://" in output else str(tmp_path / output)
    assert not runs_in_process(prepared, build("sage"), Place.of(output), Settings.of(settings))
    with pytest.raises(ModelError, match=f"{message}.*there is no active Spark session"):
        score(prepared, build("sage"), output, settings=Settings.of(settings))
    assert os.listdir(tmp_path) == []


def test_a_failed_run_leaves_the_old_table(tables: tuple[str, str], prepared: PreparedGraph, tmp_path: Path) -> None:
    score(prepared, build("sage"), str(tmp_path / "o"))
    before = scores(tmp_path / "o")
    pq.write_table(pq.read_table(tables[0]).slice(1), tmp_path / "fewer.parquet")
    bad = Graph.of_files(str(tmp_path / "fewer.parquet"), tables[1])
    assert bad is not None
    with pytest.raises(DataError, match="absent from the nodes"):
        score(bad, build("sage"), str(tmp_path / "o"), overwrite=True, settings=Settings(scratch=str(tmp_path / "s")))
    assert scores(tmp_path / "o") == before
    assert sorted(os.listdir(tmp_path)) == ["fewer.parquet", "o"]


CODE = """
import sys
from pipeline.cli import main
try:
    main(sys.argv[1:])
finally:
    assert not {"pyspark", "py4j", "torch"} & set(sys.modules)
"""


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, that could not start Spark: there is no Java."""
    given = [sys.executable, "-c", CODE, *map(str, arguments)]
    environment = {**os.environ, "JAVA_HOME": "/nowhere"}
    return subprocess.run(given, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_parquet_needs_no_ending(tables: tuple[str, str], tmp_path: Path) -> None:
    """Names that do not tell it: of raw tables, and of those that the manifest remembers."""
    nodes, edges = (
        shutil.copyfile(path, tmp_path / name) for path, name in zip(tables, ("nodes", "edges"), strict=True)
    )
    build("sage").save(tmp_path / "model")
    raw, output = ["--nodes", nodes, "--edges", edges, "--edge-features", "weight,attr"], ["--output", tmp_path / "g"]
    done = command("prepare", *raw, *output)
    assert done.returncode == 0, done.stderr
    done = command("prepare", *raw, "--nodes-format", "parquet", "--edges-format", "parquet", *output, "--overwrite")
    assert done.returncode == 0, done.stderr
    for name in ("infer", "verify"):
        done = command(name, "--graph", tmp_path / "g", "--model", tmp_path / "model", "--output", tmp_path / "o")
        assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("PASS\n")


@pytest.mark.slow
def test_the_commands_import_no_spark(tables: tuple[str, str], prepared: PreparedGraph, tmp_path: Path) -> None:
    build("gat").save(tmp_path / "model")
    raw = ["--nodes", tables[0], "--edges", tables[1]]
    done = command("infer", *raw, "--model", tmp_path / "model", "--blocks", BLOCKS, "--output", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "tier     fused, without Spark: " in done.stdout
    score(open_graph(prepared.path), build("gat"), str(tmp_path / "same"))
    assert scores(tmp_path / "o") == scores(tmp_path / "same")

    given = ["--graph", prepared.path, "--model", tmp_path / "model", "--output"]
    passed = command("verify", *given, tmp_path / "o")
    assert passed.returncode == 0, passed.stderr
    assert passed.stdout.endswith("PASS\n")
    assert passed.stderr == ""
    wrong = {id: [lane + 1 for lane in lanes] for id, lanes in scores(tmp_path / "o").items()}
    pq.write_table(pa.table({"id": list(wrong), "output": list(wrong.values())}), tmp_path / "wrong.parquet")
    failed = command("verify", *given, tmp_path / "wrong.parquet")
    assert failed.returncode == 3, failed.stderr
    assert failed.stdout.endswith("FAIL\n")
    absent = command("verify", *given, tmp_path / "nowhere")
    assert (absent.returncode, absent.stderr) == (2, f"graphsweep: {tmp_path}/nowhere: no such file or directory\n")
