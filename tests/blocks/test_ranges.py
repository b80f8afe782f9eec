"""What columns hold, and that a model refuses categories that its tables have no row for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline import Graph, Model, infer, open_graph, prepare
from pipeline.blocks.ranges import SOME, Range, merge_ranges, ranges_of
from pipeline.errors import ModelError
from pipeline.formula import clamp, concat, lookup, where
from pipeline.formula.categories import categories
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.settings import Settings


def test_ranges_of_lanes() -> None:
    matrix = np.array([[1, 0.5, -3], [2, 0, -3]], np.float32)
    assert ranges_of({"a": matrix}) == {"a": [Range(1, 2, True), Range(0, 0.5, False), Range(-3, -3, True)]}


def test_a_fraction_far_down_is_seen() -> None:
    column = np.zeros((3 * SOME, 2), np.float32)
    column[-1, 1] = 0.25
    assert [lane.whole for lane in ranges_of({"a": column})["a"]] == [True, False]


@pytest.mark.parametrize("lanes", [0, 1, 3, 8, 100, 256])
@pytest.mark.parametrize("rows", [1, 17, 511, 512, 513, 4096, 4097, 10_000])
def test_lanes_of_many_rows(rows: int, lanes: int) -> None:
    matrix = np.random.default_rng(rows + lanes).standard_normal((rows, lanes)).astype(np.float32)
    found = ranges_of({"a": matrix})["a"]
    assert [(lane.low, lane.high) for lane in found] == [(min(lane), max(lane)) for lane in matrix.T.tolist()]


def test_columns_without_rows_and_very_wide_ones_are_left_out() -> None:
    assert ranges_of({"none": np.empty((0, 3)), "wide": np.ones((2, 300))}) == {}


def test_merging() -> None:
    parts = [{"a": [Range(0, 1, True)]}, {}, {"a": [[-2.0, 0.5, False]], "b": [Range(7, 7, True)]}]
    assert merge_ranges(parts) == {"a": [Range(-2, 1, False)], "b": [Range(7, 7, True)]}  # type: ignore[arg-type]


# ---- what a model looks up


def formula(g, x, kind, w):
    """`kind` has two integers a row; relations are looked up on the edges with self-loops added."""
    loops = g.with_self_loops(relation=0.0)
    beside = concat([x, lookup(w.first, kind[0]), lookup(w.second, kind[1])])
    computed = lookup(w.second, clamp(kind[0], 0.0, 1.0))
    return concat([beside, computed, loops.sum(lookup(w.relation, loops.edge("relation")) * loops.src(x))])


SHAPES = {"first": (10, 2), "second": (3, 2), "relation": (4, 2)}
INPUTS = {"nodes.x": 2, "nodes.kind": 2, "edges.relation": ()}


def model() -> Model:
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
    return Model.from_formula(formula, weights, INPUTS, {"edges.relation": "edges.type"})


def test_categories_of_a_program() -> None:
    found = {(str(entry.column), entry.lanes, entry.rows, entry.table) for entry in categories(model().program)}
    assert found == {
        ("nodes.kind", (0,), 10, "first"),
        ("nodes.kind", (1,), 3, "second"),
        ("edges.relation", (0,), 4, "relation"),
    }


FITS = {"nodes.kind": [Range(0, 9, True), Range(0, 2, True)], "edges.type": [Range(0, 3, True)]}
SCHEMA = GraphSchema({NODE: {"x": 2, "kind": 2}}, {EDGE: {"type": 1}})


def test_categories_that_fit() -> None:
    model().check_against(SCHEMA, FITS)
    model().check_against(SCHEMA, {})
    model().check_against(SCHEMA)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"nodes.kind": [Range(0, 17, True), Range(0, 2, True)]},
         r"nodes.kind\[0\] holds 17; the model's table first has 10 rows \(0 to 9\): number the categories"),
        ({"nodes.kind": [Range(0, 9, True), Range(-1, 2, True)]}, r"nodes.kind\[1\] holds -1; the model's table"),
        ({"edges.type": [Range(0.5, 2, False)]}, r"edges.type holds numbers that are not whole; .*relation has 4 rows"),
        ({"edges.type": [Range(0, 4, True)]}, r"edges.type holds 4; the model's table relation has 4 rows \(0 to 3\)"),
    ],
)  # fmt: skip
def test_categories_that_the_model_has_no_row_for(held: dict[str, list[Range]], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model().check_against(SCHEMA, FITS | held)


# ---- an index that is computed


def pairs(kind, age, w):
    return lookup(w.pairs, kind * 4 + clamp(age, 0.0, 99.0))


def of_pairs(function=pairs, **shapes) -> Model:
    shapes = {"nodes.kind": (), "nodes.age": (), **shapes}
    return Model.from_formula(function, {"pairs": np.ones((12, 2))}, shapes)


PAIRS = GraphSchema({NODE: {"kind": 1, "age": 1}}, {EDGE: {}})


@pytest.mark.parametrize(
    ("kind", "age", "message"),
    [
        (
            (0, 2),
            (0, 99),
            r"nodes.age holds 99, with which the number of a row .* is at least 99; the model's table pairs",
        ),
        ((0, 7), (0, 3), r"nodes.kind holds 7, .* is at least 28; .*pairs has 12 rows \(0 to 11\): number the categor"),
        ((-2, 2), (1, 3), r"nodes.kind holds -2, .* is at most -5; the model's table"),
        ((3, 5), (0, 3), r"nodes.kind holds 5, .* is at least 20; the model's table"),
    ],
)
def test_a_computed_index_that_is_no_row(kind: tuple[int, int], age: tuple[int, int], message: str) -> None:
    held = {"nodes.kind": [Range(*kind, True)], "nodes.age": [Range(*age, True)]}
    with pytest.raises(ModelError, match=message):
        of_pairs().check_against(PAIRS, held)


@pytest.mark.parametrize(
    ("kind", "age"),
    [
        ((0, 2), (0, 3)),
        ((0, 2), (0, 11)),  # 2 * 4 + 11 is none, but no row need be both
        ((-1, 2), (0, 9)),  # as -4 + 9 is one
        ((0, 2), (-5, 3)),  # as the clamp makes it 0
    ],
)
def test_a_computed_index_that_may_be_a_row(kind: tuple[int, int], age: tuple[int, int]) -> None:
    held = {"nodes.kind": [Range(*kind, True)], "nodes.age": [Range(*age, True)]}
    of_pairs().check_against(PAIRS, held)
    of_pairs().check_against(PAIRS, {"nodes.kind": held["nodes.kind"]})


def test_lanes_of_a_computed_index() -> None:
    """Several integers a row, negated, and a choice between two of them."""

    def chosen(kind, age, w):
        return lookup(w.pairs, where(age - 3, 11 - kind, kind + 2.0))

    schema = GraphSchema({NODE: {"kind": 2, "age": 1}}, {EDGE: {}})
    held = {"nodes.kind": [Range(0, 9, True), Range(0, 11, True)], "nodes.age": [Range(0, 9, True)]}
    of_pairs(chosen, **{"nodes.kind": 2}).check_against(schema, held)
    differences = of_pairs(lambda kind, age, w: lookup(w.pairs, kind[0] - kind[1] + age), **{"nodes.kind": 2})
    differences.check_against(schema, held | {"nodes.age": [Range(0, 20, True)]})  # 0 - 9 + 20
    sums = of_pairs(lambda kind, w: lookup(w.pairs, kind[0] + kind[1]), **{"nodes.kind": 2})
    sums.check_against(schema, {"nodes.kind": [Range(0, 20, True), Range(-20, 0, True)]})
    with pytest.raises(ModelError, match=r"nodes.kind\[1\] holds 20, .* is at most -9; the model's table"):
        of_pairs(lambda kind, w: lookup(w.pairs, 11 - kind), **{"nodes.kind": 2}).check_against(
            schema, held | {"nodes.kind": [Range(0, 9, True), Range(0, 20, True)]}
        )


def test_ends_of_edges_are_not_judged() -> None:
    """No edge need lead from a node to another."""

    def formula(g, kind, age, w):
        return g.sum(lookup(w.pairs, g.src(kind) * 4 + g.dst(age)))

    made = of_pairs(formula)
    held = {"nodes.kind": [Range(0, 99, True)], "nodes.age": [Range(0, 3, True)]}
    made.check_against(PAIRS, held)


# ---- through Spark


def tables(relations: list[float]) -> tuple[pa.Table, pa.Table]:
    floats = pa.list_(pa.float32())
    ids = list(range(40))
    x = [[float(i), 1.0] for i in ids]
    kind = [[float(i % 10), float(i % 3)] for i in ids]
    nodes = pa.table({"id": pa.array(ids), "x": pa.array(x, floats), "kind": pa.array(kind, floats)})
    src = [i % 40 for i in range(len(relations))]
    edges = pa.table({"src": pa.array(src), "dst": pa.array([(7 * i) % 40 for i in src]), "type": pa.array(relations)})
    return nodes, edges


def graph(spark, relations: list[float]) -> Graph:
    nodes, edges = map(spark.createDataFrame, tables(relations))
    return Graph(nodes, edges, features={"x": "x", "kind": "kind"}, edge_features="type")


@pytest.mark.parametrize("blocks", [1, 3])
def test_prepare_keeps_ranges(spark, tmp_path, blocks: int) -> None:
    prepare(graph(spark, [float(i % 4) for i in range(90)]), str(tmp_path / "g"), blocks=blocks)
    ranges = open_graph(str(tmp_path / "g")).ranges
    assert ranges == {
        "nodes.x": [Range(0, 39, True), Range(1, 1, True)],
        "nodes.kind": [Range(0, 9, True), Range(0, 2, True)],
        "edges.type": [Range(0, 3, True)],
    }


def test_a_prepared_graph_is_refused_before_any_job(spark, tmp_path, monkeypatch) -> None:
    prepared = prepare(graph(spark, [0.0, 1.0, 6.0]), str(tmp_path / "g"), blocks=3)
    monkeypatch.setattr("pipeline.plan.plan.Plan.of", lambda model: pytest.fail("the run was planned"))
    with pytest.raises(ModelError, match=r"edges.type holds 6; the model's table relation has 4 rows \(0 to 3\)"):
        infer(prepared, model())


def test_raw_tables_are_refused_when_they_are_prepared(spark) -> None:
    with pytest.raises(ModelError, match=r"edges.type holds -1; the model's table relation"):
        infer(graph(spark, [0.0, -1.0]), model())


def test_categories_cross_processes(spark, tmp_path) -> None:
    """The distributed tier against plain NumPy."""
    relations = [float(i % 4) for i in range(90)]
    nodes, edges = tables(relations)
    prepared = prepare(graph(spark, relations), str(tmp_path / "g"), blocks=3)
    net = model()
    table = infer(prepared, net, settings=Settings(tier="distributed"), spark=spark).toArrow().sort_by("id")
    found = np.array(table["output"].to_pylist())
    x, kind = (np.array(nodes[name].to_pylist()) for name in ("x", "kind"))
    kind = kind.astype(int)
    first, second, relation = (np.asarray(net.weights[name], float) for name in SHAPES)
    summed = relation[0] * x
    src, dst = edges["src"].to_numpy(), edges["dst"].to_numpy()
    np.add.at(summed, dst, relation[np.array(relations, int)] * x[src])
    parts = [x, first[kind[:, 0]], second[kind[:, 1]], second[np.minimum(kind[:, 0], 1)], summed]
    np.testing.assert_allclose(found, np.concatenate(parts, 1), rtol=1e-5, atol=1e-5)
