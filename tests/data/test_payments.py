"""data/payments: the tables hold together, the model's answers are PyG's, and ours are the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, prepare
from pipeline.cli import main
from pipeline.prepared import PreparedGraph
from pipeline.score import score
from pipeline.settings import Settings
from tests.scripts import scripts_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PAYMENTS = Path(__file__).parents[2] / "data" / "payments"
FEATURES: dict[str, Any] = {
    "account": ["age", "balance", "business"], "card": {"x": "limit"}, "merchant": ["ticket", "online"], "device": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The folder's own files."""
    with scripts_of(PAYMENTS, ("generate", "module", "train", "draw")) as found:
        yield found


@pytest.fixture(scope="module")
def tables(scripts: dict[str, ModuleType]) -> tuple[dict[str, pa.Table], dict[Any, pa.Table]]:
    found: tuple[dict[str, pa.Table], dict[Any, pa.Table]] = scripts["generate"].tables()
    return found


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    return pq.read_table(PAYMENTS / "expected.parquet").to_pandas().set_index("id")


def assert_expected(path: Path, expected: pd.DataFrame) -> None:
    found = pq.read_table(path).to_pandas().set_index("id")["probability"]
    assert found.index.is_unique
    assert set(found.index) == set(expected.index)
    assert np.abs(found - expected.out64.reindex(found.index)).max() < 1e-5  # probabilities; PyG's float32: 2.1e-6


def test_the_tables_hold_together(tables: Any, scripts: dict[str, ModuleType]) -> None:
    nodes, edges = tables
    assert {name: table.num_rows for name, table in nodes.items()} == {
        "account": 12_000, "card": 15_000, "device": 9_000, "merchant": 400,
    }  # fmt: skip
    ids = {name: set(table["id"].to_pylist()) for name, table in nodes.items()}
    assert all(len(ids[name]) == table.num_rows for name, table in nodes.items())
    for (source, _, target), table in edges.items():
        assert set(table["src"].to_pylist()) <= ids[source]
        assert set(table["dst"].to_pylist()) <= ids[target]
    account = nodes["account"].to_pandas()
    rings = account[account.fraud].groupby("ring").size()
    assert len(rings) == 60
    assert rings.between(4, 9).all()
    again_nodes, again_edges = scripts["generate"].tables()
    assert all(again_nodes[name].equals(table) for name, table in nodes.items())
    assert all(again_edges[kind].equals(table) for kind, table in edges.items())


def test_pyg_gives_the_stored_answers(scripts: dict[str, ModuleType], expected: pd.DataFrame, tables: Any) -> None:
    import torch

    data, train = scripts["train"].load(), scripts["train"]
    with torch.no_grad():
        out = scripts["module"].build()(data)["account"].numpy()
    assert tables[0]["account"]["id"].to_pylist() == expected.index.tolist()
    assert np.abs(out - expected.out).max() < 1e-5
    assert np.abs(expected.out - expected.out64).max() < 1e-5
    metrics = json.loads((PAYMENTS / "metrics.json").read_text())
    found = train.average_precision(scripts["module"].build(), data, "test")
    assert found == pytest.approx(metrics["average_precision"]["test"], abs=1e-3)
    assert found > 3 * metrics["average_precision_without_edges"]


@pytest.fixture(scope="module")
def prepared(tables: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, PreparedGraph]:
    """Number of blocks → graph."""
    nodes, edges = tables
    raw = Graph(nodes, edges, features=FEATURES, edge_features={("account", "pays", "account"): "amount"})
    place = tmp_path_factory.mktemp("graphs")
    return {blocks: prepare(raw, place / str(blocks), blocks=blocks) for blocks in (1, 3, 8)}


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_scores(prepared: dict[int, PreparedGraph], blocks: int, expected: pd.DataFrame, tmp_path: Path) -> None:
    score(prepared[blocks], Model.load(PAYMENTS / "model"), tmp_path / "scores")
    assert_expected(tmp_path / "scores" / "account", expected)


def test_spark_gives_the_same_bits(
    prepared: dict[int, PreparedGraph], spark: SparkSession, expected: pd.DataFrame, tmp_path: Path
) -> None:
    model = Model.load(PAYMENTS / "model")
    for name, more in (("alone", {"tier": "fused"}), ("files", {"tier": "distributed", "transport": "files"}),
                       ("shuffle", {"tier": "distributed", "transport": "shuffle"})):  # fmt: skip
        session = None if name == "alone" else spark
        score(prepared[3], model, tmp_path / name, settings=Settings(**more), spark=session)
    found = {name: pq.read_table(tmp_path / name / "account").sort_by("id") for name in ("alone", "files", "shuffle")}
    assert found["alone"].equals(found["files"])
    assert found["alone"].equals(found["shuffle"])
    assert_expected(tmp_path / "alone" / "account", expected)


def test_the_command_from_tables_to_scores(
    scripts: dict[str, ModuleType], expected: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts["generate"].write(tmp_path / "tables")
    shutil.copy(PAYMENTS / "graph.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    # amounts are on payments only, which the graph tells
    like = ["--input", "edge_attr=edges.amount", "--outputs", "probability", "--like"]
    for command in (
        ["prepare", "--graph-spec", "graph.toml", "--output", "graph"],
        ["export", "module:build", *like, "graph", "--output", "model"],
        ["export", "module:build", *like, "graph.toml", "--output", "same"],
        ["infer", "--graph", "graph", "--model", "model", "--output", "scores"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--quiet"])
        assert ended.value.code == 0
    assert_expected(tmp_path / "scores" / "account", expected)
    for name in ("model", "same"):
        assert Model.load(name).fingerprint == Model.load(PAYMENTS / "model").fingerprint


def test_a_picture(scripts: dict[str, ModuleType], tables: Any, expected: pd.DataFrame, tmp_path: Path) -> None:
    edges = {kind: table.to_pandas() for kind, table in tables[1].items()}
    account = tables[0]["account"].to_pandas()
    fraud = set(account[account.fraud].id)
    suspect = expected.out.idxmax()
    assert scripts["draw"].neighbourhood(edges, suspect)[0] == suspect
    scripts["draw"].picture(expected.out, edges, suspect, fraud, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 20_000
