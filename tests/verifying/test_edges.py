"""verify of a result with a row per edge: right scores pass, and each kind of fault is seen and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.errors import DataError
from pipeline.verifying.report import Verification
from tests.run.test_edge_rows import CASES, model_of
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")


def graph_of(kind: str, **options: bool) -> Graph:
    table = whole(kind)
    return Graph(table.nodes(), table.edges(), edge_features=["weight", "attr"], **options)


@pytest.fixture
def right(tmp_path: Path) -> pa.Table:
    """The scores of the mixed graph, which has parallel edges and self-loops."""
    prepared = prepare(graph_of("mixed"), tmp_path / "g", blocks=3)
    table = infer(prepared, model_of("classified"), classify=True)
    assert isinstance(table, pa.Table)
    return table


def checked(scores: Any, kind: str = "mixed", name: str = "classified", **options: Any) -> Verification:
    found = verify(graph_of(kind), model_of(name), scores, **options)
    assert isinstance(found, Verification)
    return found


@pytest.mark.parametrize("sample", [20, "all"])
@pytest.mark.parametrize("name", CASES)
def test_right_scores_pass(name: str, sample: int | str) -> None:
    scores = infer(graph_of("mixed"), model_of(name), settings={"blocks": 3})
    found = checked(scores, name=name, sample=sample)
    assert found.passed, found
    edges = len(whole("mixed").src)
    assert found.rows == found.expected_rows == edges
    assert found.compared_edges == edges if sample == "all" else 20 <= found.compared_edges < edges
    assert f"compared {found.compared_edges:,} edges into these nodes" in str(found)
    assert found.facts["compared_edges"] == found.compared_edges


@pytest.mark.parametrize("name", CASES)
def test_scores_without_arrays_pass(name: str, tmp_path: Path) -> None:
    """CSV has a column for each number, of the outputs and of the edges' own columns; all of it is text."""
    prepared = prepare(graph_of("mixed"), tmp_path / "g", blocks=3)
    score(prepared, model_of(name), tmp_path / "o", format="csv")
    for sample in (20, "all"):
        found = checked(tmp_path / "o", name=name, sample=sample)
        assert found.passed, found
        assert found.compared_edges >= 20


def test_a_wrong_number_without_arrays_is_seen(tmp_path: Path) -> None:
    prepared = prepare(graph_of("mixed"), tmp_path / "g", blocks=1)
    score(prepared, model_of("classified"), tmp_path / "o", format="csv")
    (file,) = (tmp_path / "o").glob("*.csv")
    header, first, *lines = file.read_text().splitlines()
    fields = first.split(",")
    at = header.split(",").index('"output_1"')
    fields[at] = str(float(fields[at]) + 1)
    file.write_text("\n".join([header, ",".join(fields), *lines]) + "\n")
    found = checked(tmp_path / "o", sample="all")
    assert not found.passed
    assert "FAIL" in str(found)


@pytest.mark.parametrize("kind", ["no edges", "one node", "loops only", "hub", "skewed"])
def test_awkward_graphs_pass(kind: str) -> None:
    scores = infer(graph_of(kind), model_of("classified"), settings={"blocks": 1})
    for sample in (5, "all"):
        found = checked(scores, kind, sample=sample)
        assert found.passed, found


@pytest.mark.parametrize("options", [{"undirected": True}, {"drop_dangling": True}])
def test_options_of_the_graph(options: dict[str, bool], tmp_path: Path) -> None:
    table = whole("mixed")
    edges = table.edges()
    if "drop_dangling" in options:
        other = edges.slice(0, 7).set_column(0, "src", pa.array([12345] * 7))
        edges = pa.concat_tables([edges, other])
    graph = Graph(table.nodes(), edges, edge_features=["weight", "attr"], **options)
    score(prepare(graph, tmp_path / "g", 3), model_of("classified"), tmp_path / "o")
    for sample in (10, "all"):
        found = verify(graph, model_of("classified"), tmp_path / "o", sample=sample)
        assert found.passed, found
        lost = "rows were not counted: edges whose ends are no nodes were dropped"
        assert (lost in str(found)) == ("drop_dangling" in options)


def put(table: pa.Table, name: str, row: int, value: Any) -> pa.Table:
    rows = table[name].to_pylist()
    rows[row] = value
    return table.set_column(table.column_names.index(name), name, pa.array(rows, table[name].type))


def one_value(table: pa.Table) -> pa.Table:
    first, second = table["output"][100].as_py()
    return put(table, "output", 100, [first * (1 + 1e-4), second])


def of_each_other(table: pa.Table) -> pa.Table:
    """The outputs of two parallel edges, whose columns differ, in each other's place."""
    at = table["parallel"].to_pylist().index(1)
    outputs = [table["output"][at].as_py(), table["output"][at - 1].as_py()]
    return put(put(table, "output", at - 1, outputs[0]), "output", at, outputs[1])


def ends_exchanged(table: pa.Table) -> pa.Table:
    at = next(i for i, (s, d) in enumerate(zip(*(table[c].to_pylist() for c in ("src", "dst")), strict=True)) if s != d)
    src, dst = table["src"][at].as_py(), table["dst"][at].as_py()
    return put(put(table, "src", at, dst), "dst", at, src)


FAULTS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "one value": (one_value, "output"),
    "parallel edges": (of_each_other, "output"),
    "ends": (ends_exchanged, "1 edge has no row"),
    "a row less": (lambda table: table.slice(1), "the scores have 1,499 rows, the graph has 1,500 edges"),
    "a row twice": (lambda table: pa.concat_tables([table, table.slice(7, 1)]), "1 row is of no edge"),
    "a class": (
        lambda table: put(table, "predicted", 5, 1 - table["predicted"][5].as_py()),
        "predicted: 1 class is not",
    ),
    "another edge": (lambda table: put(table, "weight", 9, 77.0), "1 edge has no row"),
    "no node": (lambda table: put(table, "dst", 9, 5), "1 row is of no edge"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(right: pa.Table, fault: str) -> None:
    make, message = FAULTS[fault]
    for sample in (10_000, "all"):
        found = checked(make(right), sample=sample)
        assert not found.passed
        assert message in str(found)


def test_a_sample_of_few_sees_that_a_row_is_missing(right: pa.Table) -> None:
    assert not checked(right.slice(1), sample=1).passed


def test_the_sample_is_of_the_seed_alone(right: pa.Table) -> None:
    order = pc.sort_indices(right, [("dst", "descending"), ("src", "ascending")])
    first, again, other = (
        checked(table, sample=3, seed=seed) for table, seed in ((right, 1), (right.take(order), 1), (right, 2))
    )
    assert (first.compared_edges, first.nodes) == (again.compared_edges, again.nodes)
    assert (first.compared_edges, first.nodes) != (other.compared_edges, other.nodes)


def test_another_width_of_a_column(right: pa.Table) -> None:
    wide = pa.array([[1.0, 2.0]] * len(right), pa.list_(pa.float32()))
    with pytest.raises(DataError, match=r"the scores' weight has [\d,]+ numbers in [\d,]+ rows; the edges' has 1"):
        checked(right.set_column(3, "weight", wide))


def test_scores_of_nodes(right: pa.Table) -> None:
    with pytest.raises(DataError, match="the scores have no column 'src'; they have id, output"):
        checked(pa.table({"id": [1], "output": [np.float32(1)]}))
