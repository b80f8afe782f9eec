"""Tables in memory, of each library that has them, by every way that a graph can be used: the same rows as of files."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, infer, prepare, score, verify
from pipeline.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NODES, EDGES = 50, 300
RNG = np.random.default_rng(11)
NAMES = np.array([f"n{i:02d}" for i in range(NODES)], object)
NODE_TABLE = pa.table({
    "id": NAMES.tolist(),
    "x": list(RNG.normal(size=(NODES, 2)).astype(np.float32)),
    "name": ["of no use"] * NODES,
})  # fmt: skip
EDGE_TABLE = pa.table({
    "src": NAMES[RNG.integers(0, NODES, EDGES)].tolist(),
    "dst": NAMES[RNG.integers(0, NODES, EDGES)].tolist(),
    "w": RNG.integers(1, 9, EDGES),
})  # fmt: skip


def arrow_backed(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=pd.ArrowDtype)


KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "pandas, Arrow's types": arrow_backed,
    "pandas, an index that is none": lambda table: table.to_pandas().sample(frac=1, random_state=1),
    "polars": pl.from_arrow,
    "polars, categories": lambda table: pl.from_arrow(table).with_columns(pl.col(pl.String).cast(pl.Categorical)),
    "Arrow": lambda table: table,
    "Arrow, in chunks": lambda table: pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7)]),
    "Arrow batch": lambda table: table.combine_chunks().to_batches()[0],
    "Arrow reader": lambda table: table.to_reader(max_chunksize=13),
    "Arrow dataset": lambda table: pyarrow.dataset.dataset(table),
}


@pytest.fixture(scope="module")
def model() -> Model:
    def formula(g: Any, x: Any, w: Any) -> Any:
        return x + g.mean(g.src(x) * g.edge("w").reshape(1))

    return Model.from_formula(formula, {}, {"nodes.x": 2, "edges.w": ()})


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """By NumPy, in float64."""
    place = {name: at for at, name in enumerate(NAMES)}
    src, dst = ([place[name] for name in EDGE_TABLE[end].to_pylist()] for end in ("src", "dst"))
    x = np.array(NODE_TABLE["x"].to_pylist(), np.float64)
    sums, counts = np.zeros_like(x), np.zeros(NODES)
    for s, d, w in zip(src, dst, EDGE_TABLE["w"].to_pylist(), strict=True):
        sums[d] += x[s] * w
        counts[d] += 1
    return dict(zip(NAMES, x + sums / np.maximum(counts, 1)[:, None], strict=True))


def close(table: pa.Table, expected: dict[str, np.ndarray]) -> None:
    found = dict(zip(table["id"].to_pylist(), table["output"].to_pylist(), strict=True))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[name] for name in expected], list(expected.values()), rtol=2e-6, atol=2e-6)


def fingerprint_of_files(tmp_path: Path) -> str:
    for name, table in (("n", NODE_TABLE), ("e", EDGE_TABLE)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    graph = Graph(tmp_path / "n.parquet", tmp_path / "e.parquet", edge_features=["w"])
    return prepare(graph, tmp_path / "files", 3, overwrite=True).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_in_this_process(
    no_session: None, kind: str, model: Model, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    def graph() -> Graph:
        return Graph(KINDS[kind](NODE_TABLE), KINDS[kind](EDGE_TABLE), edge_features=["w"])

    assert prepare(graph(), tmp_path / "g", 3).fingerprint == fingerprint_of_files(tmp_path)
    score(graph(), model, tmp_path / "o")
    close(pq.ParquetDataset(tmp_path / "o").read(), expected)
    assert verify(graph(), model, tmp_path / "o").passed
    raw = (KINDS[kind](table) for table in (NODE_TABLE, EDGE_TABLE))
    assert verify(tmp_path / "g", model, tmp_path / "o", *raw, sample=9).passed


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_session(
    spark: SparkSession, kind: str, model: Model, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    graph = Graph(KINDS[kind](NODE_TABLE), KINDS[kind](EDGE_TABLE), edge_features=["w"])
    rows = infer(graph, model, settings={"tier": "distributed", "blocks": 3}, spark=spark)
    close(rows.toArrow(), expected)


@pytest.mark.parametrize("kind", ["pandas", "polars, categories", "Arrow, in chunks"])
def test_beside_a_dataframe_of_spark(
    spark: SparkSession, kind: str, model: Model, expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    nodes, edges = (spark.createDataFrame(table) for table in (NODE_TABLE, EDGE_TABLE))
    for at, graph in enumerate((
        Graph(KINDS[kind](NODE_TABLE), edges, edge_features=["w"]),
        Graph(nodes, KINDS[kind](EDGE_TABLE), edge_features=["w"]),
    )):  # fmt: skip
        assert prepare(graph, tmp_path / f"g{at}", 3).fingerprint == fingerprint_of_files(tmp_path)
        score(graph, model, tmp_path / f"o{at}")
        close(pq.ParquetDataset(tmp_path / f"o{at}").read(), expected)
        assert verify(graph, model, tmp_path / f"o{at}", sample=9).passed


def test_ids_of_pandas_that_are_numbers(model: Model, tmp_path: Path, no_session: None) -> None:
    """pandas makes floats of integers where one is missing: ids that are floats are refused, and never rounded."""
    nodes = pd.DataFrame({"id": [1, 2, None], "a": [0.0, 1.0, 2.0]})
    edges = pd.DataFrame({"src": [1, 2], "dst": [2, 1]})
    with pytest.raises(DataError, match=r"nodes\.id is double; ids may be integers up to 64 bits, or strings"):
        Graph(nodes, edges, features="a")
    nodes["id"] = nodes["id"].astype("Int64")
    with pytest.raises(DataError, match=r"nodes\.id .*1 null"):
        prepare(Graph(nodes, edges, features="a"), tmp_path / "g")


TENSOR = pa.fixed_shape_tensor(pa.float32(), [1, 2], permutation=[1, 0])
ODD: dict[str, tuple[Any, str]] = {
    "true as 5": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 5], pa.int8())), "extension<arrow.bool8>"),
    "axes in another order": (
        pa.ExtensionArray.from_storage(TENSOR, pa.array([[1, 2], [3, 4]], pa.list_(pa.float32(), 2))),
        r"extension<arrow.fixed_shape_tensor",
    ),
    "runs": (pa.RunEndEncodedArray.from_arrays([1, 2], [1.0, 2.0]), "run_end_encoded"),
    "lists of lists": (pa.array([[[1.0]], [[2.0]]]), "array<array<double>>"),
    "a union": (pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1.0, 2.0])]), "sparse_union"),
}


@pytest.mark.parametrize("what", ODD)
def test_values_that_are_none(what: str, no_session: None) -> None:
    column, word = ODD[what]
    with pytest.raises(DataError, match=rf"nodes\.x is {word}.*; values must be numbers or arrays of numbers"):
        Graph(pa.table({"id": [1, 2], "x": column}), pa.table({"src": [1], "dst": [2]}))


FLAT = np.arange(10.0, dtype=np.float32)
ROWS = {
    "a slice of fixed lists": pa.FixedSizeListArray.from_arrays(pa.array(FLAT), 2).slice(1, 3),
    "a slice of lists": pa.array(list(FLAT.reshape(5, 2))).slice(1, 3),
    "views that overlap": pa.ListViewArray.from_arrays(
        pa.array([2, 4, 6], pa.int32()), pa.array([2, 2, 2], pa.int32()), pa.array(FLAT)
    ),
    "a tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(FLAT[2:8].reshape(3, 1, 2)),
    "a slice of polars": pl.Series(FLAT.reshape(5, 2).tolist(), dtype=pl.Array(pl.Float32, 2)).slice(1, 3).to_arrow(),
}


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_begin_somewhere_in_a_buffer(what: str, tmp_path: Path, no_session: None) -> None:
    graph = Graph(pa.table({"id": [1, 2, 3], "x": ROWS[what]}), pa.table({"src": [1], "dst": [2]}))
    copied = Graph(pa.table({"id": [1, 2, 3], "x": list(FLAT[2:8].reshape(3, 2))}), pa.table({"src": [1], "dst": [2]}))
    assert prepare(graph, tmp_path / "g", 2).fingerprint == prepare(copied, tmp_path / "h", 2).fingerprint


CODED = {"a null code": ([0, 1, None], ["a", "b"]), "a code of null": ([0, 1, 2], ["a", "b", None])}


@pytest.mark.parametrize("what", CODED)
def test_ids_of_a_dictionary_that_are_null(what: str, tmp_path: Path, no_session: None) -> None:
    codes, names = CODED[what]
    ids = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(names))
    graph = Graph(pa.table({"id": ids, "x": [1.0, 2.0, 3.0]}), pa.table({"src": ["a"], "dst": ["b"]}))
    with pytest.raises(DataError, match=r"nodes\.id holds 1 null; fill them or drop these rows"):
        prepare(graph, tmp_path / "g")


MIXED = {
    "numbers and texts": [1, "two", 3],
    "decimals": [Decimal(1), Decimal(2), Decimal(3)],
    "times": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"]),
    "lists": [[1], [2], [3]],
    "integers beyond 64 bits": [1, 2, 2**70],
}


@pytest.mark.parametrize("what", MIXED)
def test_ids_that_are_none(what: str, no_session: None) -> None:
    edges = pd.DataFrame({"src": [1, 2], "dst": [2, 1]})
    words = (
        r"nodes: Arrow cannot be made of this pandas table|nodes\.id is .*; ids may be integers up to 64 bits, or st"
    )
    with pytest.raises(DataError, match=words):
        Graph(pd.DataFrame({"id": MIXED[what], "a": [0.0, 1.0, 2.0]}), edges, features="a")


def test_columns_of_pandas_that_are_no_names(no_session: None, tmp_path: Path) -> None:
    """Numbers as names of columns are what pandas gives them that have none; two of one name are refused."""
    nodes = pd.DataFrame({"id": [1, 2], 0: [0.5, 1.5]})
    edges = pd.DataFrame({"src": [1, 2], "dst": [2, 1]})
    assert prepare(Graph(nodes, edges, features=["0"]), tmp_path / "g").nodes == 2
    twice = pd.DataFrame([[1, 0.5, 1.5]], columns=["id", "a", "a"])
    with pytest.raises(DataError, match="nodes has more than one column named 'a'; rename or drop one of them"):
        Graph(twice, edges, features="a")
