"""A result with a row per edge: every way of running gives the same bits, and NumPy's numbers in float64.

The witness knows the graph as arrays only. A row is found by the ids of its ends and by the edge's own columns.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, Model, infer, prepare, score
from pipeline.errors import SettingError
from pipeline.explain import Explanation, explain
from pipeline.formula import concat, dot, exp, linear, relu
from pipeline.plan.counts import Counts
from pipeline.plan.shipped import shipped_bytes
from pipeline.planning import planned_for
from pipeline.prepared import PreparedGraph
from pipeline.run.edge_rows import among_parallel
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from tests.bits import WAYS
from tests.run.test_tiers import prepared_graph
from tests.stages import run_stages
from tests.whole import GRAPHS, WIDTH, Whole, whole

pytestmark = pytest.mark.usefixtures("no_session")

BLOCKS = 3
EDGES = {"weight": (), "attr": 3}


# ---- formulas, and the same in NumPy


def classified(g: Any, x: Any, w: Any) -> Any:
    """Two layers, the second with edge features that the first has changed; then both ends and the edge itself."""
    e = relu(linear(concat([g.src(x), g.dst(x), g.edge("attr")]), w.e)) + g.edge("attr")
    h = relu(linear(x, w.one) + g.sum(g.src(linear(x, w.one)) * g.edge("weight").reshape(1)))
    h = h + g.mean(g.src(h) * linear(e, w.two))
    return linear(concat([g.src(h), g.dst(h), e]), w.out)


def classified_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    src, dst, x = graph.src, graph.dst, graph.x.astype(np.float64)
    attr, weight = graph.attr.astype(np.float64), graph.weight.astype(np.float64)
    e = np.maximum(np.concatenate([x[src], x[dst], attr], 1) @ w["e.weight"].T, 0) + attr
    one = x @ w["one.weight"].T
    total = np.zeros_like(one)
    np.add.at(total, dst, one[src] * weight[:, None])
    h = np.maximum(one + total, 0)
    total = np.zeros_like(h)
    np.add.at(total, dst, h[src] * (e @ w["two.weight"].T))
    h = h + total / np.maximum(np.bincount(dst, minlength=len(x)), 1)[:, None]
    return np.concatenate([h[src], h[dst], e], 1) @ w["out.weight"].T


def scored(g: Any, x: Any, w: Any) -> Any:
    """A dot product of both ends, one number per edge."""
    h = linear(g.sum(g.src(x)), w.one)
    return dot(g.src(h), g.dst(h))


def scored_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    total = np.zeros_like(graph.x, np.float64)
    np.add.at(total, graph.dst, graph.x[graph.src].astype(np.float64))
    h = total @ w["one.weight"].T
    return (h[graph.src] * h[graph.dst]).sum(1)


def attention(g: Any, x: Any, w: Any) -> Any:
    return g.softmax(g.src(linear(x, w.one)) - g.dst(linear(x, w.one)))


def attention_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    one = graph.x.astype(np.float64) @ w["one.weight"].T
    found = np.exp(one[graph.src] - one[graph.dst])
    total = np.zeros_like(one)
    np.add.at(total, graph.dst, found)
    return found / total[graph.dst]


def degrees(g: Any, x: Any, w: Any) -> Any:
    """Of the source: known without an exchange, but by its own block only."""
    return g.src(g.degree()) - g.dst(g.degree()) * 2.0


def degrees_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    degree = np.bincount(graph.dst, minlength=len(graph.x))
    return degree[graph.src] - 2.0 * degree[graph.dst]


def deep(g: Any, x: Any, w: Any) -> Any:
    """So many sums that relations which few nodes have would be looked for among them."""
    h = linear(x, w.one)
    for _ in range(8):
        h = h * 0.5 + g.mean(g.src(h))
    return g.src(h) - g.dst(h)


def deep_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    h = graph.x.astype(np.float64) @ w["one.weight"].T
    for _ in range(8):
        total = np.zeros_like(h)
        np.add.at(total, graph.dst, h[graph.src])
        h = h * 0.5 + total / np.maximum(np.bincount(graph.dst, minlength=len(h)), 1)[:, None]
    return h[graph.src] - h[graph.dst]


def own_columns(g: Any, x: Any, w: Any) -> Any:
    """Nothing of any node."""
    return exp(g.edge("attr") * 0.1)


def own_columns_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    return np.exp(graph.attr.astype(np.float64) * np.float32(0.1))


def against(g: Any, x: Any, w: Any) -> Any:
    """A value of the reversed edges is a row of the edge itself."""
    back = g.reversed()
    return back.src(linear(x, w.one)) * 2.0 - back.dst(linear(x, w.one))


def against_in_numpy(graph: Whole, w: dict[str, np.ndarray]) -> np.ndarray:
    one = graph.x.astype(np.float64) @ w["one.weight"].T
    return one[graph.dst] * 2.0 - one[graph.src]


ONE = {"one.weight": (4, WIDTH)}
Case = tuple[Callable[..., Any], Callable[..., np.ndarray], dict[str, tuple[int, ...]], dict[str, Any]]
CASES: dict[str, Case] = {
    "classified": (
        classified,
        classified_in_numpy,
        {"e.weight": (3, 2 * WIDTH + 3), "one.weight": (4, WIDTH), "two.weight": (4, 3), "out.weight": (2, 11)},
        EDGES,
    ),
    "scored": (scored, scored_in_numpy, ONE, {}),
    "attention": (attention, attention_in_numpy, ONE, {}),
    "degrees": (degrees, degrees_in_numpy, {}, {}),
    "deep": (deep, deep_in_numpy, ONE, {}),
    "own columns": (own_columns, own_columns_in_numpy, {}, {"attr": 3}),
    "against": (against, against_in_numpy, ONE, {}),
}


def weights_of(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    return {key: rng.uniform(-0.6, 0.6, shape).astype(np.float32) for key, shape in CASES[name][2].items()}


def model_of(name: str) -> Model:
    columns = {f"edges.{column}": form for column, form in CASES[name][3].items()}
    return Model.from_formula(CASES[name][0], weights_of(name), {"nodes.x": WIDTH, **columns})


# ---- comparing


Key = tuple[Any, ...]


def keyed(table: pa.Table) -> list[tuple[Key, int, bytes]]:
    """Each row as (src, dst, weight, attr), which of parallel ones, the bytes of its output; in the order of these."""
    names = ["src", "dst", "weight", "attr", "parallel", "output"]
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    found = [((s, d, w, *a), at, np.asarray(out, np.float32).tobytes()) for s, d, w, a, at, out in rows]
    return sorted(found, key=lambda row: (tuple(map(str, row[0])), row[1]))


def assert_numbers(table: pa.Table, graph: Whole, want: np.ndarray) -> None:
    """A row for each edge of the table, with its numbers; of parallel edges each has its own number."""
    want = want if want.ndim == 2 else want[:, None]
    rows = [
        ((graph.ids[s], graph.ids[d], *map(float, (w, *a))), out)
        for s, d, w, a, out in zip(graph.src, graph.dst, graph.weight, graph.attr, want, strict=True)
    ]
    rows.sort(key=lambda row: tuple(map(str, row[0])))
    got = keyed(table)
    assert [key for key, _, _ in got] == [key for key, _ in rows]
    if rows:
        exact = np.array([out for _, out in rows])
        found = np.array([np.frombuffer(out, np.float32) for _, _, out in got])
        np.testing.assert_allclose(found, exact, rtol=0, atol=3e-6 * np.abs(exact).max(initial=1.0))
    numbers: dict[Key, list[int]] = {}
    for key, at, _ in got:
        numbers.setdefault(key[:2], []).append(at)
    assert all(sorted(found) == list(range(len(found))) for found in numbers.values())


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], PreparedGraph]:
    made: dict[tuple[str, int], PreparedGraph] = {}

    def of(kind: str, blocks: int) -> PreparedGraph:
        if (kind, blocks) not in made:
            at = tmp_path_factory.mktemp("graph")
            table = whole(kind)
            columns = ["weight", "attr"]
            made[kind, blocks] = prepare(Graph(table.nodes(), table.edges(), edge_features=columns), at / "g", blocks)
        return made[kind, blocks]

    return of


Graphs = Callable[[str, int], PreparedGraph]


@pytest.mark.parametrize("blocks", [1, 3, 8])
@pytest.mark.parametrize("name", CASES)
def test_the_numbers_of_numpy(graphs: Graphs, name: str, blocks: int) -> None:
    want = CASES[name][1](whole("mixed"), {key: w.astype(np.float64) for key, w in weights_of(name).items()})
    assert_numbers(infer(graphs("mixed", blocks), model_of(name)), whole("mixed"), want)


@pytest.mark.parametrize("kind", [*GRAPHS, "skewed"])
def test_awkward_graphs(graphs: Graphs, kind: str) -> None:
    graph = whole(kind)
    want = classified_in_numpy(graph, {key: w.astype(np.float64) for key, w in weights_of("classified").items()})
    table = infer(graphs(kind, BLOCKS), model_of("classified"))
    assert_numbers(table, graph, want)
    assert table.schema.field("src").type == (pa.string() if isinstance(graph.ids[0], str) else pa.int64())


@pytest.mark.parametrize(("tier", "read"), WAYS)
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_in_every_tier(graphs: Graphs, name: str, tier: str, read: str) -> None:
    settings = Settings(tier=tier, read=read)
    planned = planned_for(graphs("mixed", BLOCKS), model_of(name), settings, handshake(None))
    staged = run_stages(planned, settings)
    assert keyed(staged.result) == keyed(infer(graphs("mixed", BLOCKS), model_of(name)))
    counts = Counts.of(planned.graph.manifest)
    predicted = [shipped_bytes(counts, step) for step in planned.plan.steps[:-1]]
    assert staged.shipped == (predicted if tier == "distributed" else [])


@pytest.mark.parametrize("kind", ["loops only", "skewed"])  # ids of text; hubs at both ends
def test_the_same_bits_behind_a_shuffle(graphs: Graphs, kind: str) -> None:
    settings = Settings(tier="distributed", read="spark")
    planned = planned_for(graphs(kind, BLOCKS), model_of("classified"), settings, handshake(None))
    assert keyed(run_stages(planned, settings).result) == keyed(infer(graphs(kind, BLOCKS), model_of("classified")))


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_through_files_and_from_a_spilling_run(graphs: Graphs, tmp_path: Path, name: str) -> None:
    graph, model = graphs("mixed", BLOCKS), model_of(name)
    want = keyed(infer(graph, model))
    score(graph, model, tmp_path / "files", settings={"work_dir": str(tmp_path / "work")})
    spilling = {"tier": "fused", "task_memory": "1m", "scratch": str(tmp_path / "spill")}
    score(graph, model, tmp_path / "spilled", settings=spilling)
    for output in ("files", "spilled"):
        assert keyed(pq.read_table(tmp_path / output)) == want


def test_a_result_says_what_it_is_of(graphs: Graphs, tmp_path: Path) -> None:
    graph, model, edges = graphs("mixed", BLOCKS), model_of("classified"), len(whole("mixed").src)
    report = score(graph, model, tmp_path / "o", classify=True)
    assert (report.rows, report.facts["rows_of"]) == (edges, "edges")
    assert str(report).startswith("1,500 edges scored in ")
    again = score(graph, model, tmp_path / "o", classify=True, if_same="skip")
    assert again.skipped
    assert again.facts["rows_of"] == "edges"
    table = pq.read_table(tmp_path / "o")
    assert table.column_names == ["src", "dst", "parallel", "weight", "attr", "output", "predicted", "probability"]
    assert table["predicted"].to_pylist() == [int(np.argmax(row)) for row in table["output"].to_pylist()]


def test_csv_has_a_column_for_each_number(graphs: Graphs, tmp_path: Path) -> None:
    graph = graphs("loops only", BLOCKS)
    report = score(graph, model_of("classified"), tmp_path / "o", format="csv")
    lines = [line for file in sorted((tmp_path / "o").glob("part-*.csv")) for line in file.read_text().splitlines()]
    head = '"src","dst","parallel","weight","attr_0","attr_1","attr_2","output_0","output_1"'
    assert lines.count(head) == BLOCKS
    assert sorted(line.split(",")[:3] for line in lines if line != head) == [
        ['"ü0"', '"ü0"', "0"],
        ['"ü3"', '"ü3"', "0"],
        ['"ü3"', '"ü3"', "1"],
    ]
    assert report.rows == 3


def test_of_an_undirected_graph_each_direction_has_a_row(tmp_path: Path) -> None:
    graph = prepared_graph("mixed", tmp_path, undirected=True)
    table, arrays = infer(graph, model_of("degrees")), whole("mixed")
    src, dst = np.concatenate([arrays.src, arrays.dst]), np.concatenate([arrays.dst, arrays.src])
    weight, attr = np.tile(arrays.weight, 2), np.tile(arrays.attr, (2, 1))
    once = np.append(np.ones(len(arrays.src), bool), arrays.src != arrays.dst)  # a self-loop is one edge
    both = Whole(arrays.ids, src[once], dst[once], arrays.x, weight[once], attr[once])
    assert_numbers(table, both, degrees_in_numpy(both, {}))


def test_parallel_edges_are_numbered_in_their_order() -> None:
    dst, src = np.array([0, 0, 0, 1, 1, 4], np.int32), np.array([2, 2, 3, 3, 3, 3], np.int32)
    assert among_parallel(dst, src).tolist() == [0, 1, 0, 0, 1, 0]
    assert among_parallel(dst[:0], src[:0]).tolist() == []


# ---- what is refused


@pytest.mark.parametrize("way", [infer, explain])
def test_targets_are_nodes(graphs: Graphs, way: Callable[..., Any]) -> None:
    with pytest.raises(SettingError, match="targets are ids of nodes, and the result of this model has a row per edge"):
        way(graphs("mixed", BLOCKS), model_of("degrees"), targets=[0])


def test_targets_of_a_run_that_writes(graphs: Graphs, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="leave them out, and take the rows that you want from the result"):
        score(graphs("mixed", BLOCKS), model_of("degrees"), tmp_path / "o", targets=[0])
    assert not (tmp_path / "o").exists()


def test_a_column_of_the_edges_called_as_one_of_the_result() -> None:
    table = whole("mixed")
    edges = table.edges().rename_columns(["src", "dst", "Output", "attr"])
    message = "two columns 'output', which differs from 'Output' by case only: a column of the edges, and the output"
    with pytest.raises(SettingError, match=f"{message} 'output'; --edge-features NEW=COLUMN, edge_features="):
        infer(Graph(table.nodes(), edges, edge_features=["Output"]), model_of("degrees"))


def test_the_ids_of_edges_have_their_names() -> None:
    with pytest.raises(
        SettingError, match="output_id= names the ids of nodes, and the result of this model has a row pe"
    ):
        infer(Graph(whole("mixed").nodes(), whole("mixed").edges()), model_of("degrees"), output_id="key")


# ---- what is expected


def test_explain_counts_the_ids_and_the_rows(graphs: Graphs) -> None:
    graph = graphs("mixed", BLOCKS)
    found = Explanation.of(graph, model_of("own columns"))
    counts = Counts.of(graph.manifest)
    rows = sum(graph.manifest["per_block"]["payload_rows_in"])
    assert f"ids     of the sources of edges × {rows:,} rows = " in str(found)
    assert "outputs of edges output = %" in str(found)
    assert (
        found.facts["supersteps"][0]["shipped_bytes"] == 8 * rows == shipped_bytes(counts, found.planned.plan.steps[0])
    )
    wide = Model.from_formula(lambda g, x: concat([g.edge("attr")] * 50), {}, {"nodes.x": WIDTH, "edges.attr": 3})
    more = Explanation.of(graph, wide).facts["largest_block_bytes"] - found.facts["largest_block_bytes"]
    assert more >= 2 * 4 * 147 * max(counts.edges)
