"""Verification: the recomputed nodes equal the whole graph's forward in float64, and what is wrong is found.

The witness is the interpreter on the whole graph, or a change that is known to matter. No prepared graph is needed.
Tables are files, which verify reads in this process; tests/verifying/test_through_spark.py plays some of these tests on
DataFrames.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, ModelError, SettingError
from pipeline.formula import GraphArrays, flip, interpret, leaky_relu, linear, relu
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.verify import verify
from pipeline.verifying import run
from pipeline.verifying.neighbourhood import Hops
from pipeline.verifying.run import _bytes_per_edge, _held_bytes
from pipeline.verifying.sampled import sample_rows
from pipeline.verifying.semi_join import FileRows
from pipeline.verifying.sources import local_scores

NODES, EDGES, WIDTH = 60, 220, 3


def sage(g, x, w):
    for lin in (w.a, w.b):
        x = relu(linear(g.mean(g.src(x)), lin) + x)
    return x


def gcn(g, x, w):
    """Degrees with self-loops, on both sides of an edge: edges one hop further than features."""
    own = g.without_self_loops().with_self_loops(weight=1.0)
    weight = own.edge("weight")
    scale = own.sum(weight) ** -0.5
    for lin in (w.a, w.b):
        x = relu(own.sum((own.src(scale) * weight * own.dst(scale)).reshape(1) * own.src(linear(x, lin))))
    return {"output": x, "degree": own.sum(weight)}


def gat(g, x, w):
    h = linear(x, w.a)
    share = g.softmax(leaky_relu(g.src(h) + g.dst(x), 0.2) + g.edge("weight").reshape(1))
    return g.sum(share * g.src(h)) + g.max(g.src(h))


def both(g, x, w):
    """A softmax into the nodes at the other end of the edges out of a node: what is read are its siblings."""
    back = g.reversed()
    share = g.softmax(g.src(linear(x, w.a)))
    x = relu(back.sum(flip(share * g.edge("weight").reshape(1))) + x)
    return linear(g.mean(g.src(x)), w.b)


def against(g, x, w):
    back = g.reversed()
    return {
        "output": linear(back.mean(back.src(x) * back.edge("weight").reshape(1)), w.a) + back.sum(flip(g.dst(x))),
        "far": linear(g.max(flip(back.dst(x))), w.b),
    }


MODELS = {
    "sage": (sage, (2, 2)),
    "gcn": (gcn, (3, 2)),
    "gat": (gat, (1, 1)),
    "both": (both, (3, 3, True)),
    "against": (against, (1, 1, True)),
}


def model(name, columns=None):
    rng = np.random.default_rng(1)
    weights = {
        f"{lin}.{part}": rng.normal(size=size) for lin in "ab" for part, size in (("weight", (3, 3)), ("bias", 3))
    }
    if name == "gat":
        weights = {key: array for key, array in weights.items() if key.startswith("a")}
    inputs = {"nodes.x": WIDTH} | ({} if name == "sage" else {"edges.weight": ()})
    return Model.from_formula(MODELS[name][0], weights, inputs, columns)


def arrays(undirected=False):
    """Isolated nodes, self-loops, parallel edges, a hub; ids far apart."""
    rng = np.random.default_rng(7)
    ids = rng.permutation(NODES).astype(np.int64) * 1_000_003 - 5
    src, dst = rng.integers(0, NODES - 2, (2, EDGES))
    dst[:70] = 4
    src[70:76] = dst[70:76]
    src[80:90], dst[80:90] = src[90:100], dst[90:100]
    weight = rng.uniform(0.5, 2, EDGES).astype(np.float32)
    return ids, rng.normal(size=(NODES, WIDTH)).astype(np.float32), src, dst, weight


def tables(text=False):
    ids, x, src, dst, weight = arrays()
    name = (lambda key: [f"n{i}" for i in key.tolist()]) if text else list
    nodes = pa.table({"id": name(ids), "x": list(x), **{f"x{i}": x[:, i].astype(np.float64) for i in range(WIDTH)}})
    edges = pa.table({"src": name(ids[src]), "dst": name(ids[dst]), "weight": weight})
    return nodes, edges


@dataclass
class Kept:
    """Tables as files that verify reads itself, or as DataFrames of a session."""

    directory: Path
    spark: Any = None
    count: int = 0

    def graph(self, nodes, edges, **options):
        if self.spark is not None:
            return Graph(self.scores(nodes), self.scores(edges), **options)
        found = Graph.of_files(self.scores(nodes), self.scores(edges), **options)
        assert found is not None
        assert found.session is None
        return found

    def scores(self, table, parts=1):
        """`parts`: of a DataFrame, or row groups of a file."""
        if self.spark is not None:
            frame = self.spark.createDataFrame(table)
            return frame if parts == 1 else frame.repartition(parts)
        self.count += 1
        path = self.directory / f"{self.count}.parquet"
        pq.write_table(table, path, row_group_size=max(1, 50 // parts))
        return str(path)


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


def forward(net, undirected=False):
    """The whole graph at once."""
    ids, x, src, dst, weight = arrays()
    if undirected:
        back = src != dst
        src, dst = np.concatenate([src, dst[back]]), np.concatenate([dst, src[back]])
        weight = np.concatenate([weight, weight[back]])
    return ids, interpret(net.program, net.weights, GraphArrays.single(src, dst, x, weight=weight))


def scores(net, undirected=False, text=False, change=None):
    ids, outputs = forward(net, undirected)
    if change:
        change(outputs)
    columns = {"id": [f"n{i}" for i in ids.tolist()] if text else ids}
    for name, values in outputs.items():
        values = values.astype(np.float32)
        columns[name] = values if values.ndim == 1 else list(values)
    return pa.table(columns)


def without(table, id):
    return table.filter(pc.not_equal(table["id"], id))


def more_edges(edges, *rows):
    return pa.concat_tables(
        [edges, pa.table(list(map(pa.array, zip(*rows, strict=True))), edges.column_names).cast(edges.schema)]
    )


# ---- how far an output reads


@pytest.mark.parametrize("name", MODELS)
def test_hops(name):
    assert Hops.of(model(name).program) == Hops(*MODELS[name][1])


def test_a_program_without_edges_reads_its_own_node_only():
    assert Hops.of(Model.from_formula(lambda g, x, w: x * 2.0, {}, {"nodes.x": 3}).program) == Hops(0, 0)


# ---- right scores pass


def test_rows_of_edges(kept):
    """In columns of arrays, and in one for each number, all of it text, as CSV has them."""

    def per_edge(g, x, w):
        return g.src(x) * g.edge("weight") - g.dst(g.sum(g.src(x)))

    net = Model.from_formula(per_edge, {}, {"nodes.x": WIDTH, "edges.weight": 1})
    graph = kept.graph(*tables(text=True), edge_features="weight")
    ids, x, src, dst, weight = arrays()
    (found,) = interpret(net.program, net.weights, GraphArrays.single(src, dst, x, weight=weight)).values()
    found = found.astype(np.float32)
    ends = {"src": [f"n{i}" for i in ids[src]], "dst": [f"n{i}" for i in ids[dst]], "weight": weight}
    whole = pa.table({**ends, "output": list(found)})
    lanes = pa.table({**ends, **{f"output_{lane}": found[:, lane] for lane in range(WIDTH)}})
    as_text = pa.table({name: column.cast(pa.string()) for name, column in zip(lanes.column_names, lanes, strict=True)})
    for table in (whole, lanes, as_text):
        checked = verify(graph, net, kept.scores(table), sample=20)
        assert checked.passed, checked
        assert checked.rows == checked.expected_rows == EDGES
    found[3, 0] += 1
    wrong = kept.scores(pa.table({**ends, "output": list(found)}))
    assert not verify(graph, net, wrong, sample="all").passed


@pytest.mark.parametrize("name", MODELS)
def test_right_scores_pass(kept, name):
    net = model(name)
    found = verify(kept.graph(*tables(), edge_features="weight"), net, kept.scores(scores(net)), sample=20)
    assert found.passed, str(found)
    assert found.recomputed == 20
    assert found.hops == MODELS[name][1][0]
    assert {output.name for output in found.outputs} == set(net.outputs)
    # the only difference is the rounding of the scores to float32
    assert all(output.error <= 1e-6 * output.scale for output in found.outputs)
    assert str(found).endswith("PASS")


@pytest.mark.parametrize("name", ["gcn", "both"])
def test_undirected_edges_in_both_directions(kept, name):
    net = model(name)
    graph = kept.graph(*tables(), edge_features="weight", undirected=True)
    assert verify(graph, net, kept.scores(scores(net, undirected=True)), sample=NODES).passed
    assert not verify(graph, net, kept.scores(scores(net)), sample=NODES).passed


def test_text_ids_and_features_in_several_columns(kept):
    net = model("gat", {"edges.weight": "edges.amount"})
    nodes, edges = tables(text=True)
    graph = kept.graph(
        nodes.rename_columns({"id": "the id"}),
        edges.rename_columns({"src": "a.b"}),
        features=["x0", "x1", "x2"],
        edge_features={"amount": "weight"},
        id="the id",
        src="a.b",
    )
    found = verify(graph, net, kept.scores(scores(net, text=True)), sample=15, output_id="id")
    assert found.passed, str(found)
    assert str(found.outputs[0].worst).startswith("n")


@pytest.mark.parametrize("name", ["gcn", "both"])
def test_dangling_edges_are_dropped_if_the_graph_says_so(kept, name):
    net = model(name)
    nodes, edges = tables()
    src, dst = (edges[end].to_pylist()[:10] for end in ("src", "dst"))
    edges = more_edges(edges, (99, dst[0], 1.0), (src[1], 98, 1.0), (98, 99, 1.0), *((97, end, 1.0) for end in dst))
    given = scores(net)
    found = verify(
        kept.graph(nodes, edges, edge_features="weight", drop_dangling=True), net, kept.scores(given), sample=NODES
    )
    assert found.passed, str(found)
    with pytest.raises(DataError, match=r"the edges begin at ids that are not among the nodes \(first: 9[789]"):
        verify(kept.graph(nodes, edges, edge_features="weight"), net, kept.scores(given), sample=NODES)


def test_the_sample_is_the_seeds(kept):
    net = model("sage")
    given = scores(net)
    graph = kept.graph(*tables())
    first = verify(graph, net, kept.scores(given), sample=3)
    assert (first.nodes, first.edges) == (lambda v: (v.nodes, v.edges))(
        verify(graph, net, kept.scores(given, parts=5), sample=3)
    )
    others = {
        (v.nodes, v.edges) for v in (verify(graph, net, kept.scores(given), sample=3, seed=seed) for seed in (1, 2))
    }
    assert others != {(first.nodes, first.edges)}


# ---- groups


@pytest.mark.parametrize("hold", [1, 400, 1 << 30])
@pytest.mark.parametrize("name", ["sage", "against"])
def test_groups_give_the_same(kept, name, hold, monkeypatch):
    """However many of them are collected together: each for itself, some, all."""
    net = model(name)
    given, graph = kept.scores(scores(net)), kept.graph(*tables(), edge_features="weight")
    whole = verify(graph, net, given, sample=12)
    monkeypatch.setattr(run, "HOLD_BYTES", hold * _held_bytes(net.program))
    cut = verify(graph, net, given, sample=12, limit=whole.edges - 1)
    assert cut.passed, str(cut)
    assert cut.recomputed == 12
    assert cut.edges > whole.edges
    assert [(o.name, o.worst) for o in cut.outputs] == [(o.name, o.worst) for o in whole.outputs]


def test_groups_are_collected_together(kept, monkeypatch):
    """Edges of two hops, features, however many groups: a table is read that often, and once more if all are held."""
    asked = []
    given, graph = kept.scores(scores(model("sage"))), kept.graph(*tables())
    among = FileRows.among
    monkeypatch.setattr(FileRows, "among", lambda rows, *given, **more: asked.append(0) or among(rows, *given, **more))
    limit = verify(graph, model("sage"), given, sample=1, seed=2).edges + 150
    asked.clear()
    assert verify(graph, model("sage"), given, sample=NODES, limit=limit).passed
    assert len(asked) == 3
    asked.clear()
    monkeypatch.setattr(run, "HOLD_BYTES", 1)
    assert verify(graph, model("sage"), given, sample=NODES, limit=limit).passed
    assert len(asked) > 6


@pytest.mark.parametrize(("name", "hold"), [("sage", 1), ("both", 1 << 30)])
def test_the_whole_graph_where_groups_would_be_more(kept, name, hold, monkeypatch):
    """Neighbourhoods that are cut into groups if the whole graph may not be computed at once."""
    net = model(name)
    right, wrong = (kept.scores(scores(net, change=change)) for change in (None, wrong_number))
    graph = kept.graph(*tables(), edge_features="weight")
    monkeypatch.setattr(run, "GROUP_BYTES", 90 * _bytes_per_edge(net.program))
    monkeypatch.setattr(run, "HOLD_BYTES", hold * _held_bytes(net.program))
    covered = verify(graph, net, right, sample=NODES - 5)
    assert (covered.covered, covered.whole, covered.limit) == (True, True, 90)
    assert covered.edges <= 2 * EDGES  # of a group that came before it was known how many there are
    assert f"from the raw tables: the whole graph, fewer edges than {covered.hops} hops around each, " in str(covered)
    assert not covered.too_large
    assert (covered.recomputed, covered.passed) == (NODES - 5, True), str(covered)
    monkeypatch.setattr(run, "local_memory", lambda: 0)
    groups = verify(graph, net, right, sample=NODES - 5)
    assert (groups.covered, groups.whole) == (False, False)
    assert groups.edges > EDGES or groups.too_large
    assert groups.recomputed + len(groups.too_large) == NODES - 5
    assert groups.passed
    for memory in (0, 1 << 40):
        monkeypatch.setattr(run, "local_memory", lambda memory=memory: memory)
        found = verify(graph, net, wrong, sample=NODES)
        assert found.covered == (memory > 0)
        assert found.passed == (int(arrays()[0][17]) in found.too_large)
    assert not found.passed


def test_a_sample_that_is_far_from_the_whole_graph_is_not_all_of_it(kept):
    found = verify(kept.graph(*tables()), model("sage"), kept.scores(scores(model("sage"))), sample=2)
    assert (found.covered, found.whole) == (False, False)
    assert "2 hops" in str(found)


def test_a_limit_of_the_user_is_kept(kept):
    found = verify(kept.graph(*tables()), model("sage"), kept.scores(scores(model("sage"))), sample=NODES, limit=90)
    assert not found.covered


def test_neighbourhoods_beyond_the_limit_are_left_out_and_told(kept):
    net = model("gat")
    found = verify(kept.graph(*tables(), edge_features="weight"), net, kept.scores(scores(net)), sample=NODES, limit=30)
    assert found.passed, str(found)
    hub = int(arrays()[0][4])
    assert found.too_large == (hub,)
    assert found.recomputed == NODES - 1
    assert f"recomputed {NODES - 1} of {NODES} sampled nodes" in str(found)
    assert f"not recomputed: 1 node (first: {hub}) that more than 30 edges lead to" in str(found)


def test_nothing_recomputed_is_no_pass(kept):
    net = model("sage")
    only = scores(net).slice(4, 1)
    nodes, edges = tables()
    assert not verify(kept.graph(nodes, edges), net, kept.scores(only), limit=1).passed


# ---- what is wrong is found


def wrong_number(outputs):
    outputs["output"][17, 1] += 0.01


def not_a_number(outputs):
    outputs["output"][17, 1] = np.nan


@pytest.mark.parametrize("change", [wrong_number, not_a_number])
def test_a_wrong_score_fails_and_is_named(kept, change):
    net = model("sage")
    found = verify(kept.graph(*tables()), net, kept.scores(scores(net, change=change)), sample=NODES)
    assert not found.passed
    assert found.outputs[0].worst == int(arrays()[0][17])
    assert re.search(rf"output: largest error .*\(id {arrays()[0][17]}, number 1\)", str(found))
    assert str(found).endswith("FAIL")


def test_the_tolerance_is_the_users(kept):
    """For scores of a run whose wire rounds: what passes is in parts of the largest value, and is said."""
    net = model("sage")
    graph, found = kept.graph(*tables()), kept.scores(scores(net, change=wrong_number))
    scale = verify(graph, net, found, sample=NODES).outputs[0].scale
    assert verify(graph, net, found, sample=NODES, tolerance=0.0101 / scale).passed
    strict = verify(graph, net, found, sample=NODES, tolerance=0.0099 / scale)
    assert not strict.passed
    assert f"which is {0.0099 / scale:g} of the largest value" in str(strict)
    with pytest.raises(SettingError, match="tolerance is 2; accepted: a number from 0 to 1"):
        verify(graph, net, found, tolerance=2)


@pytest.mark.parametrize("name", ["sage", "both"])
def test_a_lost_edge_fails(kept, name):
    net = model(name)
    nodes, edges = tables()
    graph = kept.graph(nodes, pa.concat_tables([edges.slice(0, 120), edges.slice(121)]), edge_features="weight")
    assert not verify(graph, net, kept.scores(scores(net)), sample=NODES).passed


def test_lost_and_repeated_rows_fail(kept):
    net = model("sage")
    given, graph = scores(net), kept.graph(*tables())
    lost = verify(graph, net, kept.scores(given.slice(1)), sample=5)
    assert not lost.passed
    assert f"the scores have {NODES - 1} rows, the graph has {NODES} nodes" in str(lost)
    twice = verify(graph, net, kept.scores(pa.concat_tables([given, given.slice(0, 1)])), sample=NODES + 1)
    assert not twice.passed
    assert "1 row has an id that another row has too (first: " in str(twice)


def test_one_row_for_another_fails_whatever_the_sample(kept):
    """As many rows as nodes, one twice and one not; then an id that is no node's."""
    net, hub = model("sage"), int(arrays()[0][4])
    given, graph = scores(net), kept.graph(*tables())
    lost = without(given, hub)
    found = verify(graph, net, kept.scores(pa.concat_tables([lost, lost.sort_by("id").slice(0, 1)])), sample=3)
    assert not found.passed
    assert (found.rows, found.check.repeated, found.check.missing, found.check.unknown) == (NODES, 1, 1, 0)
    assert dict(found.check.examples) == {"repeated": (int(arrays()[0].min()),), "missing": (hub,)}
    stranger = given.set_column(0, "id", pa.array([1 if id == hub else id for id in given["id"].to_pylist()]))
    found = verify(graph, net, kept.scores(stranger), sample=NODES)
    assert not found.passed
    assert (found.check.repeated, found.check.missing, found.check.unknown) == (0, 1, 1)
    assert found.recomputed == NODES - 1
    assert f"1 node has no row (first: {hub})\n1 id of the scores is not among the nodes (first: 1)" in str(found)


@pytest.mark.parametrize("sample", [5, "all"])
def test_an_empty_graph_passes(kept, sample):
    net = model("gat")
    nodes, edges = (table.slice(0, 0) for table in tables())
    graph = kept.graph(nodes, edges, edge_features="weight")
    found = verify(graph, net, kept.scores(scores(net).slice(0, 0)), sample=sample)
    assert found.passed, str(found)
    assert str(found).startswith("recomputed 0 of 0 sampled nodes")


@pytest.mark.parametrize("undirected", [False, True])
@pytest.mark.parametrize("name", ["gcn", "both"])
def test_all_nodes_at_once(kept, name, undirected):
    net = model(name)
    graph = kept.graph(*tables(), edge_features="weight", undirected=undirected)
    found = verify(graph, net, kept.scores(scores(net, undirected)), sample="all")
    assert found.passed, str(found)
    assert found.whole
    assert found.recomputed == found.nodes == NODES
    assert not verify(graph, net, kept.scores(scores(net, not undirected)), sample="all").passed


def test_dangling_edges_and_all_nodes(kept):
    net = model("gcn")
    nodes, edges = tables()
    edges = more_edges(edges, (99, int(arrays()[0][3]), 1.0))
    given = kept.scores(scores(net))
    assert verify(kept.graph(nodes, edges, edge_features="weight", drop_dangling=True), net, given, sample="all").passed
    with pytest.raises(DataError, match=r"the edges have ends that are not among the nodes \(first: 99\)"):
        verify(kept.graph(nodes, edges, edge_features="weight"), net, given, sample="all")


def test_scores_of_something_else_are_refused(kept):
    net = model("sage")
    given, graph = scores(net), kept.graph(*tables())
    with pytest.raises(DataError, match="the scores have no column 'output'; they have id, other"):
        verify(graph, net, kept.scores(given.rename_columns({"output": "other"})))
    with pytest.raises(DataError, match=r"the scores hold ids that are not among the nodes \(first: 1\)"):
        verify(graph, net, kept.scores(given.set_column(0, "id", pa.array([1] * NODES))))
    with pytest.raises(DataError, match="the scores' output has 1 columns; the model gives 3"):
        verify(graph, net, kept.scores(given.set_column(1, "output", pc.list_slice(given["output"], 0, 1))))
    with pytest.raises(ModelError, match=r"the model reads edges.weight, which the graph does not have; it has none"):
        verify(graph, model("gat"), kept.scores(given))
    with pytest.raises(SettingError, match="sample is 0; accepted: a whole number from 1, or all"):
        verify(graph, net, kept.scores(given), sample=0)


def test_a_score_without_an_id_is_refused(tmp_path):
    pq.write_table(pa.table({"id": [1, None], "output": [[0.0], [1.0]]}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="the scores hold 1 row without an id"):
        sample_rows(local_scores(str(tmp_path / "s.parquet")), ["output"], False, 5, 0)
