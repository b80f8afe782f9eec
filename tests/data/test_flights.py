"""data/flights: the tables agree with each other, with their source, and with the model's stored answers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

FLIGHTS = Path(__file__).parents[2] / "data" / "flights"
ABOUT = ["id", "name", "city", "country", "latitude", "longitude", "state", "region", "split", "x"]  # not features


def script(name: str) -> ModuleType:
    """A file of data/flights as a module."""
    spec = importlib.util.spec_from_file_location(f"flights_{name}", FLIGHTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(stem: str) -> pa.Table:
    return pa.parquet.read_table(FLIGHTS / f"{stem}.parquet")


@pytest.fixture(scope="module")
def nodes() -> pd.DataFrame:
    return table("nodes").to_pandas()


@pytest.fixture(scope="module")
def edges() -> pd.DataFrame:
    return table("edges").to_pandas()


def test_ids_are_unique_and_every_route_ends_at_an_airport(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    assert (len(nodes), len(edges)) == (514, 9161)
    assert nodes.id.is_unique
    assert set(edges.src) | set(edges.dst) <= set(nodes.id)


def test_the_graph_has_parallel_edges_and_isolated_nodes_but_no_self_loops(
    nodes: pd.DataFrame, edges: pd.DataFrame
) -> None:
    assert not edges.duplicated(["src", "dst", "carrier"]).any()
    assert len(edges.drop_duplicates(["src", "dst"])) == 6022
    assert len(set(nodes.id) - set(edges.src) - set(edges.dst)) == 162
    assert (edges.src != edges.dst).all()


def test_x_is_the_feature_columns_in_their_order(nodes: pd.DataFrame) -> None:
    columns = [name for name in nodes if name not in ABOUT]
    assert len(columns) == 19
    x = np.stack(nodes.x)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x, nodes[columns].to_numpy(np.float32))


def test_features_are_what_the_routes_say(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    busiest = nodes.set_index("id").loc["ORD"]
    leaving = edges[edges.src == "ORD"]
    assert (busiest.routes, busiest.carriers) == (len(leaving), leaving.carrier.nunique())
    assert busiest.destinations == leaving.dst.nunique()
    assert busiest.share_WN == pytest.approx((leaving.carrier == "WN").mean(), abs=1e-4)
    assert (edges.carriers == edges.groupby(["src", "dst"]).carrier.transform("size")).all()
    both = edges.merge(edges, left_on=["src", "dst", "carrier"], right_on=["dst", "src", "carrier"])
    assert (both.distance_x == both.distance_y).all()


def test_csv_holds_what_parquet_holds(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    for stem, frame in (("nodes", nodes.drop(columns="x")), ("edges", edges)):
        # only an empty field is null: no id or carrier code is a reader's word for null, and the default finds the same
        read = pd.read_csv(FLIGHTS / f"{stem}.csv", keep_default_na=False, na_values=[""])
        pd.testing.assert_frame_equal(read, pd.read_csv(FLIGHTS / f"{stem}.csv"))
        # the shortest decimals of a float32 read as double: equal again once they are float32
        pd.testing.assert_frame_equal(read.astype(frame.dtypes.to_dict()), frame, check_exact=True)


def test_every_region_is_in_every_split(nodes: pd.DataFrame) -> None:
    counts = pd.crosstab(nodes.region, nodes.split)
    assert counts.sum().to_dict() == {"test": 102, "train": 173, "validation": 70}
    assert counts.shape == (4, 3)
    assert (counts > 0).all(axis=None)
    assert (nodes.split.isna() == (nodes.region.isna() | (nodes.routes == 0))).all()


def test_regenerating_gives_the_same_tables() -> None:
    pytest.importorskip("bokeh_sampledata", reason="the source tables are in bokeh_sampledata")
    prepare = script("prepare")
    if differing := prepare.edition_differs():
        pytest.skip(f"bokeh_sampledata has another edition of {', '.join(differing)}")
    for stem, made in prepare.tables().items():
        assert made.equals(table(stem)), stem


def test_pyg_gives_the_stored_answers(nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch_geometric")
    module = script("module")
    expected = table("expected").to_pandas()
    assert expected.id.tolist() == nodes.id.tolist()
    position = pd.Index(nodes.id)
    x = torch.tensor(np.stack(nodes.x))
    edge_index = torch.tensor(np.stack([position.get_indexer(edges.src), position.get_indexer(edges.dst)]))
    distance = torch.tensor(edges.distance.to_numpy(np.float32, copy=True))[:, None]
    with torch.no_grad():
        out = module.build()(x, edge_index, distance).numpy()
        out64 = module.build().double()(x.double(), edge_index, distance.double()).numpy()

    # probabilities: other processors add in another order, the file's own float32 is 4.4e-7 away from its float64
    assert np.abs(out - np.stack(expected.out)).max() < 1e-5
    assert np.abs(out64 - np.stack(expected.out64)).max() < 1e-12
    assert np.abs(np.stack(expected.out) - np.stack(expected.out64)).max() < 1e-6

    metrics = json.loads((FLIGHTS / "metrics.json").read_text())
    predicted = pd.Series([module.REGIONS[best] for best in out.argmax(axis=1)])
    for split, rows in nodes.groupby("split"):
        assert (predicted[rows.index] == rows.region).mean() == pytest.approx(metrics["accuracy"][split], abs=1e-4)
    assert metrics["accuracy"]["test"] > metrics["test_majority_share"] + 0.4


@pytest.mark.parametrize("form", ["array", "columns"])
def test_the_map_draws_scores_in_either_form(form: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    drawing = script("map")
    expected = table("expected")
    scores = pa.table({"id": expected["id"], "output": expected["out"]})
    if form == "columns":
        values = np.stack(expected.to_pandas().out)
        regions = {region: values[:, column] for column, region in enumerate(drawing.COLOURS)}
        scores = pa.table({"id": expected["id"], **regions})
    (tmp_path / "scores").mkdir()
    pa.parquet.write_table(scores, tmp_path / "scores" / "part-0.parquet")
    drawing.main(tmp_path / "scores", tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 100_000


def test_the_map_refuses_scores_that_it_cannot_read(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    drawing = script("map")
    pa.parquet.write_table(pa.table({"id": ["ORD"], "score": [0.5]}), tmp_path / "one.parquet")
    with pytest.raises(SystemExit, match="has columns score; expected an array of 4 probabilities"):
        drawing.main(tmp_path / "one.parquet", tmp_path / "out.png")
    pa.parquet.write_table(pa.table({"id": ["ORD"], "out": [[0.1, 0.2, 0.3, 0.4]]}), tmp_path / "few.parquet")
    with pytest.raises(SystemExit, match="has no scores for 513 of the 514 airports"):
        drawing.main(tmp_path / "few.parquet", tmp_path / "out.png")


def test_regions_and_their_order_are_the_same_everywhere(nodes: pd.DataFrame) -> None:
    pytest.importorskip("torch_geometric")
    pytest.importorskip("matplotlib")
    regions = list(script("module").REGIONS)
    assert list(script("map").COLOURS) == regions
    assert set(nodes.region.dropna()) == set(regions)
    assert json.loads((FLIGHTS / "metrics.json").read_text())["classes"] == regions
