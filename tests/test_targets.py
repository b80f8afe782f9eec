"""Scores of some nodes only: which ids are taken and which refused, and everything that a result of all nodes has too.

Without Spark; tests/test_targets_spark.py has the rest.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline import Graph, cli, explain, prepare, score, verify
from pipeline.errors import DataError, SettingError, StorageError
from pipeline.places.marker import MARKER
from pipeline.prepared import PreparedGraph
from pipeline.run import needed
from pipeline.settings import Settings
from tests.formulas import build
from tests.run.test_tiers import prepared_graph
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")

IDS = whole("mixed").ids
SOME = [IDS[0], IDS[1], IDS[2], IDS[50], IDS[199]]


@pytest.fixture(autouse=True)
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much of this small graph is needed, supersteps are cut down."""
    monkeypatch.setattr(needed, "MOST_NODES", 1.0)
    monkeypatch.setattr(needed, "MOST_EDGES", 1.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepared_graph("mixed", tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """Ids of text: ü0 … ü8."""
    return prepared_graph("loops only", tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def everything(prepared: PreparedGraph, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return scored(prepared, tmp_path_factory.mktemp("all"), None)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "sage"
    build("sage").save(path)
    return path


def scored(graph: Any, at: Path, targets: Any, name: str = "sage", **options: Any) -> pa.Table:
    score(graph, build(name), at / "o", targets=targets, **options)
    found = pq.read_table(at / "o")
    return found.sort_by(found.column_names[0])


def of(table: pa.Table, ids: list[Any]) -> pa.Table:
    return table.filter(pa.array([each in ids for each in table["id"].to_pylist()])).combine_chunks()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


# ---- how ids are given


@pytest.mark.parametrize(
    "given",
    [
        SOME,
        tuple(SOME),
        np.array(SOME),
        pa.array(SOME),
        pa.chunked_array([SOME[:2], SOME[2:]]),
        pd.Series(SOME),
        pd.DataFrame({"other": "a", "id": SOME}),
        pa.table({"node": SOME}),
        pa.table({"id": pa.array(SOME).dictionary_encode()}),
        [*SOME, *SOME[::-1]],
    ],
    ids=["list", "tuple", "numpy", "arrow", "chunked", "series", "pandas", "one column", "dictionary", "twice"],
)
def test_the_rows_of_the_targets(prepared: PreparedGraph, everything: pa.Table, tmp_path: Path, given: Any) -> None:
    table = scored(prepared, tmp_path, given)
    assert table["id"].to_pylist() == sorted(SOME)
    assert table.combine_chunks().equals(of(everything, SOME))


@pytest.mark.parametrize("type", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64()], ids=str)
def test_integers_of_any_size(prepared: PreparedGraph, tmp_path: Path, type: pa.DataType) -> None:
    assert scored(prepared, tmp_path, pa.table({"id": pa.array([0], type)}))["id"].to_pylist() == [0]


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_tables_at_paths(prepared: PreparedGraph, everything: pa.Table, tmp_path: Path, format: str) -> None:
    table = pa.table({"id": SOME, "why": ["a"] * 5})
    path = tmp_path / f"t.{format}"
    pq.write_table(table, path) if format == "parquet" else pyarrow.csv.write_csv(table, path)
    assert scored(prepared, tmp_path, path).combine_chunks().equals(of(everything, SOME))


def test_ids_of_text(text: PreparedGraph, tmp_path: Path) -> None:
    want = of(scored(text, tmp_path / "all", None), ["ü1", "ü4"])
    assert scored(text, tmp_path / "list", ["ü4", "ü1"]).combine_chunks().equals(want)
    (tmp_path / "t.csv").write_text("id\nü4\nü1\n", encoding="utf-8")
    assert scored(text, tmp_path / "csv", tmp_path / "t.csv").combine_chunks().equals(want)
    large = pa.table({"id": pa.array(["ü4", "ü1"], pa.large_string())})
    assert scored(text, tmp_path / "large", large).combine_chunks().equals(want)


def test_ids_that_are_there_before_are_said(
    prepared: PreparedGraph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    assert scored(prepared, tmp_path, [0, -1, 0, 0]).num_rows == 2
    assert "targets: 2 of 4 ids are there before: each is scored once" in caplog.text
    assert "targets: computed are superstep 0: all nodes; superstep 1: " in caplog.text


# ---- ids that are refused


def refused(graph: Any, at: Path, targets: Any, error: type[Exception], says: str, **options: Any) -> None:
    with pytest.raises(error) as caught:
        scored(graph, at, targets, **options)
    assert says in str(caught.value)
    assert not (at / "o").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "targets: there are no rows, so there is nothing to score"),
        (pa.table({"id": pa.array([], pa.int64())}), "targets: there are no rows"),
        ([0, None, 1], "targets: 1 of 3 ids are null; leave them out"),
        (pa.table({"id": pa.nulls(2)}), "targets: 2 of 2 ids are null"),
        (["0"], "targets: the ids are of type string, for example '0', but those of the graph are integers"),
        ([0.0], "targets: the ids are of type double, for example 0.0, but those of the graph are integers"),
        ([True], "targets: the ids are of type boolean, for example True, but those of the graph are integers"),
        (pa.array([2**64 - 1], pa.uint64()), "targets: ids are integers of 64 bits at most"),
        ([0, "a"], "targets is a list; a table with a column of ids, its path, or a list of ids, all of one type"),
        (7, "targets is a int; a table with a column of ids"),
        ({"id": [0]}, "targets is a dict; a table with a column of ids"),
        (pa.table({"a": [0], "b": [0]}), "targets: there is no column 'id'; it has 'a, b'. Call the ids id"),
        ([0, 5, 7, 9, 11], "targets: 4 of 5 ids are not among the graph's nodes: 5, 7, 9, …; correct them, or pass"),
    ],
)
def test_what_is_wrong_with_the_ids(prepared: PreparedGraph, tmp_path: Path, given: Any, says: str) -> None:
    refused(prepared, tmp_path, given, DataError, says)


def test_integers_for_a_graph_of_text(text: PreparedGraph, tmp_path: Path) -> None:
    says = "targets: the ids are of type bigint, for example 1, but those of the graph are text"
    refused(text, tmp_path, [1], DataError, says)
    refused(text, tmp_path, ["ü1", "x"], DataError, "targets: 1 of 2 ids are not among the graph's nodes: 'x'; correct")


def test_one_id_in_several_forms(prepared: PreparedGraph, tmp_path: Path) -> None:
    """007 is no other way to write 7: who writes so means text."""
    (tmp_path / "t.csv").write_text("id\n0\n00\n")
    says = "targets: '00' is not written as an integer is, but the ids of the graph are integers"
    refused(prepared, tmp_path, tmp_path / "t.csv", DataError, says)


def test_unknown_ids_are_left_out_if_that_is_wanted(
    prepared: PreparedGraph, everything: pa.Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = scored(prepared, tmp_path, [*SOME, 5, 7], ignore_unknown=True)
    assert table.combine_chunks().equals(of(everything, SOME))
    assert "targets: 2 of 7 ids are not among the graph's nodes: 5, 7; they are left out" in caplog.text
    says = "targets: 2 of 2 ids are not among the graph's nodes: 5, 7; there is nothing to score"
    refused(prepared, tmp_path / "none", [5, 7], DataError, says, ignore_unknown=True)
    refused(prepared, tmp_path / "all", None, SettingError, "ignore_unknown=True is about targets", ignore_unknown=True)


def test_a_table_that_is_not_there(prepared: PreparedGraph, tmp_path: Path) -> None:
    refused(prepared, tmp_path, tmp_path / "none.parquet", StorageError, "none.parquet")


def test_the_output_may_not_touch_the_targets(prepared: PreparedGraph, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": SOME}), tmp_path / "o")
    with pytest.raises(SettingError, match="the targets"):
        score(prepared, build("sage"), tmp_path / "o", targets=tmp_path / "o", overwrite=True)
    assert pq.read_table(tmp_path / "o").num_rows == 5


# ---- results


@pytest.mark.parametrize("format", ["parquet", "csv"])
def test_classes_and_formats(prepared: PreparedGraph, tmp_path: Path, format: str) -> None:
    for name, targets in (("all", None), ("some", SOME)):
        score(prepared, build("sage"), tmp_path / name, format=format, classify=True, targets=targets)
    reads = pq.read_table if format == "parquet" else _csv
    assert reads(tmp_path / "some").sort_by("id").equals(of(reads(tmp_path / "all").sort_by("id"), SOME))


def _csv(path: Path) -> pa.Table:
    parts = [pyarrow.csv.read_csv(path / name) for name in sorted(os.listdir(path)) if name.startswith("part")]
    return pa.concat_tables(part for part in parts if part.num_rows).combine_chunks()


@pytest.mark.parametrize("name", ["graph_norm", "ordered"])
def test_models_that_need_all_nodes(
    prepared: PreparedGraph, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    want = of(scored(prepared, tmp_path / "all", None, name), SOME)
    assert scored(prepared, tmp_path / "some", SOME, name).combine_chunks().equals(want)
    assert "so all nodes are computed, and the rows of the targets are kept" in caplog.text


@pytest.mark.parametrize("options", [{"wire": "float16"}, {"exchange": "auto"}, {"threads": 1}, {"task_memory": "1m"}])
def test_settings(prepared: PreparedGraph, tmp_path: Path, options: dict[str, Any]) -> None:
    settings = Settings(tier="fused", scratch=str(tmp_path / "scratch"), **options)
    want = of(scored(prepared, tmp_path / "all", None, "gat", settings=settings), SOME)
    assert scored(prepared, tmp_path / "some", SOME, "gat", settings=settings).combine_chunks().equals(want)


def test_a_work_directory(
    prepared: PreparedGraph, everything: pa.Table, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "graphsweep")
    settings = Settings(work_dir=str(tmp_path / "work"))
    assert scored(prepared, tmp_path, SOME, settings=settings).combine_chunks().equals(of(everything, SOME))
    assert "targets: work_dir keeps what is done of all blocks, so all nodes are computed" in caplog.text
    assert os.listdir(tmp_path / "work") == [MARKER]


def test_a_killed_run_may_go_on_for_other_targets(
    prepared: PreparedGraph, everything: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is the same, whatever the targets: they are the rows that the last superstep writes."""
    settings = Settings(work_dir=str(tmp_path / "work"))
    for targets in (SOME, SOME[:2], None):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules["pipeline.computing"], "count_files", _fails)
            with pytest.raises(RuntimeError):
                scored(prepared, tmp_path, SOME, settings=settings)
        rows = scored(prepared, tmp_path / f"of {targets}", targets, settings=settings)
        assert rows.combine_chunks().equals(of(everything, IDS if targets is None else targets))


def _fails(*arguments: Any) -> None:
    raise RuntimeError


def test_raw_tables(everything: pa.Table, tmp_path: Path) -> None:
    graph = Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"])
    settings = Settings(blocks=3)
    assert scored(graph, tmp_path, SOME, settings=settings).combine_chunks().equals(of(everything, SOME))
    refused(graph, tmp_path / "unknown", [5], DataError, "not among the graph's nodes: 5", settings=settings)


def test_the_name_of_the_ids_column(tmp_path: Path) -> None:
    nodes = whole("mixed").nodes()
    nodes = nodes.rename_columns(["node" if name == "id" else name for name in nodes.column_names])
    graph = prepare(Graph(nodes, whole("mixed").edges(), id="node"), tmp_path / "graph", 2)
    assert scored(graph, tmp_path, pa.table({"x": [1.0], "node": [0]}))["node"].to_pylist() == [0]


def test_the_same_result_is_known_by_its_targets(prepared: PreparedGraph, tmp_path: Path) -> None:
    def skipped(targets: Any) -> bool:
        report = score(prepared, build("sage"), tmp_path / "o", targets=targets, if_same="skip")
        return report.skipped

    assert not skipped(SOME)
    assert skipped(SOME)
    assert skipped(SOME[::-1] + SOME), "the same ids"
    for other in (None, SOME[:3], [*SOME, IDS[7]]):
        with pytest.raises(StorageError, match=r"is not the same \(the targets\)"):
            skipped(other)
    report = score(prepared, build("sage"), tmp_path / "o", if_same="skip", overwrite=True)
    assert (report.skipped, report.rows) == (False, 200)
    with pytest.raises(StorageError, match=r"is not the same \(the targets\)"):
        skipped(SOME)


def test_verify_knows_the_targets(prepared: PreparedGraph, tmp_path: Path) -> None:
    scored(prepared, tmp_path, [*SOME, 5], ignore_unknown=True)
    found = verify(prepared, build("sage"), tmp_path / "o", sample="all")
    assert found.passed, str(found)
    assert found.recomputed == 5
    assert "all 5 ids: each is that of a node, and has one row; the other 195 nodes were no targets" in str(found)
    assert verify(prepared, build("sage"), tmp_path / "o", sample=3).recomputed == 3
    part = next(path for path in sorted((tmp_path / "o").glob("part-*")) if pq.read_metadata(path).num_rows)
    table = pq.read_table(part)
    pq.write_table(table.slice(1), part)
    lost = verify(prepared, build("sage"), tmp_path / "o", sample="all")
    assert not lost.passed
    assert "the scores have 4 rows, of 5 targets" in str(lost)
    other = pa.array([next(each for each in IDS if each not in SOME)], table.schema.field("id").type)
    pq.write_table(pa.concat_tables([table.slice(1), table.slice(0, 1).set_column(0, "id", other)]), part)
    changed = verify(prepared, build("sage"), tmp_path / "o", sample="all")
    assert not changed.passed
    assert "the ids of the scores are not those of the targets" in str(changed)


def test_the_marker_of_a_result_of_targets_is_looked_at(prepared: PreparedGraph, tmp_path: Path) -> None:
    scored(prepared, tmp_path, SOME)
    marker = json.loads((tmp_path / "o" / MARKER).read_text())
    assert marker["targets"]["rows"] == marker["rows"] == 5
    marker["targets"] = 5
    (tmp_path / "o" / MARKER).write_text(json.dumps(marker))
    with pytest.raises(StorageError, match="its marker is damaged: targets is 5"):
        verify(prepared, build("sage"), tmp_path / "o")


# ---- explain, and the command line


def test_explain_says_both(prepared: PreparedGraph) -> None:
    text = explain(prepared, build("sage"), targets=SOME)
    assert "targets  5 of 200 nodes are wanted, expected: under 0.1 s where all take under 0.1 s" in text
    assert "superstep 0: all nodes" in text
    assert "superstep 2: 5 nodes, " in text
    all_of_them = explain(prepared, build("graph_norm"), targets=SOME)
    assert "5 of 200 nodes are wanted: all are computed, because the model reads totals over all nodes" in all_of_them
    apart = explain(prepared, build("sage"), {"tier": "distributed"}, targets=SOME)
    assert "all are computed, because the run is distributed, and the rows of these are kept" in apart
    assert "targets" not in explain(prepared, build("sage"))


def test_explain_says_when_all_are_less_work(prepared: PreparedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "MOST_NODES", 0.01)
    text = explain(prepared, build("sage"), targets=SOME)
    assert "5 of 200 nodes are wanted: all are computed, because that is less work" in text


def test_on_the_command_line(prepared: PreparedGraph, model_path: Path, everything: pa.Table, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [*SOME, 5]}), tmp_path / "t.parquet")
    given = ("--graph", prepared.path, "--model", model_path, "--targets", tmp_path / "t.parquet")
    result = run("infer", *given, "--output", tmp_path / "o")
    assert result.exit_code == 2
    assert "targets: 1 of 6 ids are not among the graph's nodes: 5; correct them, or give --ignore-unknown" in (
        result.output
    )
    assert not (tmp_path / "o").exists()
    result = run("infer", *given, "--output", tmp_path / "o", "--ignore-unknown")
    assert result.exit_code == 0, result.output
    assert pq.read_table(tmp_path / "o").sort_by("id").combine_chunks().equals(of(everything, SOME))
    result = run("verify", *given[:4], "--output", tmp_path / "o", "--sample", "all")
    assert result.exit_code == 0, result.output
    assert run("explain", *given).exit_code == 2
    assert "5 of 200 nodes are wanted" in run("explain", *given, "--ignore-unknown").output
    result = run("infer", *given[:4], "--output", tmp_path / "p", "--ignore-unknown")
    assert (result.exit_code, "--ignore-unknown is about targets" in result.output) == (2, True)
    result = run("infer", *given[:4], "--output", tmp_path / "p", "--targets", "")
    assert (result.exit_code, "--targets is empty; is a variable unset?" in result.output) == (2, True)
