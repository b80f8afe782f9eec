"""OpenLineage: START and COMPLETE or FAIL with what was read and written, through the client's own file transport; and
a client that is missing, wrong or without its server changes nothing about a run."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare
from pipeline.command import lineage
from tests.formulas import build
from tests.whole import whole


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    build("sage").save(tmp_path / "model")
    prepare(Graph(whole("mixed").nodes(), whole("mixed").edges()), tmp_path / "g", 2)
    monkeypatch.chdir(tmp_path)
    for name in ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(lineage, "FILES", (Path("openlineage.yml"),))
    return tmp_path


def configured(at: Path) -> None:
    (at / "openlineage.yml").write_text(
        f"transport:\n  type: file\n  log_file_path: {at}/events.json\n  append: true\n", encoding="utf-8"
    )


def events(at: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (at / "events.json").read_text().splitlines()]


def infer(code: int = 0, model: str = "model") -> Any:
    done = CliRunner().invoke(cli.app, ["infer", "--graph", "g", "--model", model, "--output", "o"])
    assert done.exit_code == code, done.output
    return done


def test_a_run_and_its_tables(at: Path) -> None:
    configured(at)
    infer()
    start, complete = events(at)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["job"]["name"] == complete["job"]["name"] == "graphsweep.infer.o"
    assert [(each["namespace"], each["name"]) for each in complete["inputs"]] == [
        ("file", str(at / "g")), ("file", str(at / "model"))
    ]  # fmt: skip
    (output,) = complete["outputs"]
    assert (output["namespace"], output["name"]) == ("file", str(at / "o"))
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 200
    assert start["eventTime"] < complete["eventTime"]


def test_a_run_that_fails(at: Path) -> None:
    configured(at)
    infer(2, "nix")
    start, fail = events(at)
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert "nix does not exist" in fail["run"]["facets"]["errorMessage"]["message"]
    assert "outputFacets" not in fail["outputs"][0] or not fail["outputs"][0]["outputFacets"]


def test_without_a_configuration_nothing_is_told(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "Lineage", lambda *_: pytest.fail("nobody asked for it"))
    infer()


def test_without_the_client_nothing_is_told(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(at)
    monkeypatch.setattr(lineage, "find_spec", lambda name: None)
    infer()
    assert not (at / "events.json").exists()


@pytest.mark.parametrize("text", ["transport:\n  type: nix\n", "transport: [", "transport:\n  type: http\n"])
def test_a_wrong_configuration_fails_no_run(at: Path, text: str) -> None:
    (at / "openlineage.yml").write_text(text, encoding="utf-8")
    assert "written  o (parquet)" in infer().stdout


def test_a_server_that_is_away_holds_up_no_run(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def emit(self, event: object) -> None:
            time.sleep(60)

    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(lineage, "PATIENCE", 0.1)
    monkeypatch.setattr("openlineage.client.OpenLineageClient", Away)
    told: list[float] = []
    monkeypatch.setattr(lineage.threading.Thread, "join", lambda self, timeout=None: told.append(timeout))
    with lineage.lineage("infer", {"graph": "g"}, "o") as found:
        assert found is not None
        found.made(3)
    assert told == [0.1]


@pytest.mark.parametrize(
    ("path", "dataset"),
    [
        ("/data/x", ("file", "/data/x")),
        ("s3a://bucket/a/b", ("s3://bucket", "a/b")),
        ("hdfs://host:8020/a", ("hdfs://host:8020", "/a")),
        ("", None),
    ],
)
def test_names_of_datasets(path: str, dataset: tuple[str, str] | None) -> None:
    assert lineage._dataset(path) == dataset


def test_the_client_is_loaded_for_nobody(at: Path) -> None:
    loaded = set(sys.modules)
    infer()
    assert not {name for name in set(sys.modules) - loaded if name.startswith("openlineage")}
