"""data/flights/typed: the tables hold together, nothing of a hidden pair is left, and our rows are PyG's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from pipeline import Graph, Model, infer, prepare, verify
from pipeline.cli import main
from tests.scripts import scripts_of

TYPED = Path(__file__).parents[2] / "data" / "flights" / "typed"
NAMES = ("tables", "module", "train")
FEATURES = {
    "airport": ["latitude", "longitude", "altitude", "large"], "carrier": ["airports", "routes"], "state": ["airports"],
}  # fmt: skip
DISTANCE = {("airport", "flies to", "airport"): "distance"}


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    """The folder's own files."""
    with scripts_of(TYPED, NAMES) as found:
        yield found


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.Series]:
    found = pd.read_parquet(TYPED / "expected.parquet")
    return {name: rows.set_index("id").out64 for name, rows in found.groupby("type")}


def assert_expected(found: dict[str, pd.DataFrame], expected: dict[str, pd.Series]) -> None:
    assert set(found) == set(expected)
    for name, rows in expected.items():
        mine = found[name].set_index("id").iloc[:, 0]
        assert sorted(mine.index) == sorted(rows.index)
        assert np.abs(np.stack(mine.reindex(rows.index)) - np.stack(rows)).max() < 2e-6  # PyG's float32: 5.3e-7


def test_the_tables_hold_together(scripts: dict[str, ModuleType]) -> None:
    nodes, edges = scripts["tables"].tables()
    assert {name: len(table) for name, table in nodes.items()} == {"airport": 514, "carrier": 12, "state": 50}
    for (source, _, target), table in edges.items():
        assert set(table.src) <= set(nodes[source].id)
        assert set(table.dst) <= set(nodes[target].id)
    assert len(edges["airport", "flies to", "airport"]) == 9_161
    assert nodes["carrier"].airports.sum() == len(edges["carrier", "serves", "airport"]) == 1_414


def test_of_a_hidden_pair_nothing_is_left(scripts: dict[str, ModuleType]) -> None:
    hidden = pd.DataFrame({"carrier": ["WN"], "airport": ["MDW"]})
    whole, edges = scripts["tables"].tables()[1], scripts["tables"].tables(hidden)[1]
    serves = edges["carrier", "serves", "airport"]
    assert not ((serves.src == "WN") & (serves.dst == "MDW")).any()
    flies = ("airport", "flies to", "airport")
    routes = pd.read_parquet(TYPED.parent / "edges.parquet")
    gone = (routes.carrier == "WN") & ((routes.src == "MDW") | (routes.dst == "MDW"))
    assert len(whole[flies]) - len(edges[flies]) == gone.sum() > 0


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_rows_are_those_of_pyg(
    tmp_path: Path, scripts: dict[str, ModuleType], expected: dict[str, pd.Series], blocks: int, no_session: None
) -> None:
    raw = Graph(*scripts["tables"].tables(), features=FEATURES, edge_features=DISTANCE)
    graph, model = prepare(raw, tmp_path / "graph", blocks=blocks), Model.load(TYPED / "model")
    found = infer(graph, model)
    assert_expected({name: table.to_pandas() for name, table in found.items()}, expected)
    assert verify(raw, model, found, sample=12).passed


def test_the_command_takes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, ModuleType], expected: dict[str, pd.Series]
) -> None:
    scripts["tables"].main(str(tmp_path / "tables"))
    (tmp_path / "graph.toml").write_text((TYPED / "graph.toml").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["infer", "--graph-spec", "graph.toml", "--model", str(TYPED / "model"), "--output", "scores"])
    assert not ended.value.code
    assert_expected({name: pd.read_parquet(tmp_path / "scores" / name) for name in expected}, expected)


def test_the_model_is_the_module(scripts: dict[str, ModuleType]) -> None:
    """The weights of the exported model are those that training wrote."""
    stored = Model.load(TYPED / "model")
    weights = scripts["module"].build().state_dict()
    wide = {name: value.numpy() for name, value in weights.items() if value.ndim == 2 and value.numel() > 500}
    kept = [array for array in stored.weights.values() if array.ndim == 2]
    used = [name for name, value in wide.items() if any(np.array_equal(value, array) for array in kept)]
    assert len(used) > 10


def test_the_documents_say_what_was_measured() -> None:
    told, metrics = (TYPED / "README.md").read_text(encoding="utf-8"), json.loads((TYPED / "metrics.json").read_text())
    found = metrics["average_precision"]
    assert f"**{found['model']:.2f}**" in told
    assert f"| {found['airports_of_most_carriers']:.2f} |" in told
    assert found["model"] > found["airports_of_most_carriers"] > found["chance"]
