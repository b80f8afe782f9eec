"""--json: one object on stdout for each command, whatever came of it; its keys are those that docs/json.md lists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import pipeline
from pipeline import cli
from pipeline.command.answers import FORMAT, OUTCOMES, _object
from pipeline.command.exits import MEANINGS
from tests.formulas import build
from tests.whole import whole

PAGE = (Path(pipeline.__file__).parent.parent / "docs" / "json.md").read_text(encoding="utf-8")
ALL = {"format", "graphsweep", "command", "outcome", "exit_code", "message"}
GRAPH = {
    "nodes", "edges", "self_loops", "largest_in_degree", "dangling_edges_dropped", "undirected", "node_types",
    "edge_types", "id_types", "columns", "blocks", "bytes", "fingerprint",
}  # fmt: skip
MODEL = {"model", "origin", "inputs", "outputs", "weights", "classes", "parameters", "about"}
RUN = {
    "output", "format_of_output", "run", "skipped", "rows", "seconds", "prepare_seconds", "compile_seconds", "tier",
    "reason", "spark", "supersteps", "mlflow_run", "rows_of",
}  # fmt: skip
VERIFIED = {
    "passed", "recomputed", "whole_graph", "rows", "nodes", "repeated_ids", "missing_ids", "unknown_ids",
    "wrong_classes", "wrong_labels", "left_out_too_large", "outputs", "wire", "seconds", "compared_edges",
}  # fmt: skip
PLANNED = {"tier", "reason", "spills", "transport", "largest_block_bytes", "expected_seconds", "supersteps"}


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    pq.write_table(whole("mixed").nodes(), tmp_path / "nodes.parquet")
    pq.write_table(whole("mixed").edges(), tmp_path / "edges.parquet")
    build("sage").save(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(command: str, code: int = 0) -> dict[str, Any]:
    """What a program reads."""
    done = CliRunner().invoke(cli.app, [*command.split(), "--json"])
    assert done.exit_code == code, done.output
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["command"] == command.split()[0]
    assert (found["format"], found["exit_code"], found["outcome"]) == (FORMAT, code, OUTCOMES[code])
    assert (found["message"] is None) == (code in (0, 3))
    return found


def test_every_command_and_its_keys(at: Path) -> None:
    prepared = said("prepare --nodes nodes.parquet --edges edges.parquet --edge-features weight --blocks 3 --output g")
    assert prepared.keys() == ALL | GRAPH | {"output", "skipped"}
    assert (prepared["nodes"], prepared["edges"], prepared["blocks"], prepared["skipped"]) == (200, 1500, 3, False)
    assert prepared["columns"] == {"nodes": {"x": 6}, "edges": {"weight": 1}}
    assert prepared["node_types"] == {"node": 200}
    there = "prepare --nodes nodes.parquet --edges edges.parquet --edge-features weight --blocks 3 --output g"
    assert said(f"{there} --if-same skip") == {**prepared, "skipped": True}

    explained = said("explain --graph g --model model")
    assert explained.keys() == ALL | GRAPH | MODEL | PLANNED
    assert explained["outputs"] == {"output": 4}
    assert [step["number"] for step in explained["supersteps"]] == [0, 1, 2]
    assert all(step["shipped_bytes"] > 0 for step in explained["supersteps"][:-1])

    run = said("infer --graph g --model model --output o")
    assert run.keys() == ALL | RUN
    assert (run["rows"], run["skipped"], run["tier"], run["spark"]) == (200, False, "fused", False)
    marker = json.loads((at / "o" / "_graphsweep.json").read_text())
    assert run["run"] == marker["run"]
    again = said("infer --graph g --model model --output o --if-same skip")
    assert again.keys() == run.keys()
    assert (again["skipped"], again["tier"], again["run"]) == (True, None, run["run"])

    verified = said("verify --graph g --model model --output o --sample all")
    assert verified.keys() == ALL | VERIFIED
    assert (verified["passed"], verified["recomputed"], verified["missing_ids"]) == (True, 200, 0)
    assert [output["name"] for output in verified["outputs"]] == ["output"]


def test_scores_that_differ(at: Path) -> None:
    said("prepare --nodes nodes.parquet --edges edges.parquet --output g")
    said("infer --graph g --model model --output o")
    scores = pq.read_table(at / "o")
    pq.write_table(scores.slice(1), at / "fewer.parquet")
    found = said("verify --graph g --model model --output fewer.parquet", 3)
    assert (found["passed"], found["missing_ids"], found["rows"]) == (False, 1, 199)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("infer --graph nix --model model --output o", "nix: no prepared graph here (manifest.json is missing)"),
        ("infer --model model --output o", "give either --graph, or both --nodes and --edges, or --graph-spec"),
        ("status nix", "nix: is no work directory of a run"),
        ("explain --graph nix --model model", "nix: no prepared graph here (manifest.json is missing)"),
    ],
)
def test_a_refusal_is_told_to_programs_too(at: Path, command: str, message: str) -> None:
    found = said(command, 2)
    assert found.keys() == ALL
    assert found["message"].endswith(message)


def test_a_mistake_of_ours_is_told_too(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("pipeline.job.status.status", fail)
    assert said("status w", 1)["message"] == "RuntimeError: broken"
    monkeypatch.setattr("pipeline.job.status.status", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert said("status w", 130)["message"] == "interrupted"


def test_the_page_lists_every_key_and_every_exit_code() -> None:
    listed = set(re.findall(r"`([a-z_]+)`", PAGE))
    assert listed >= ALL | GRAPH | MODEL | RUN | VERIFIED | PLANNED
    codes = dict(re.findall(r"^\| (\d+) \| `([a-z ]+)` \|", PAGE, re.MULTILINE))
    assert codes == {str(code): word for code, word in OUTCOMES.items()}
    assert OUTCOMES.keys() == MEANINGS.keys()


def test_numbers_that_json_lacks_are_texts() -> None:
    found = json.loads(_object("verify", 0, None, {"outputs": ({"error": float("inf"), "units": float("nan")},)}))
    assert found["outputs"] == [{"error": "inf", "units": "nan"}]
