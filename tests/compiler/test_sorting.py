"""Quantiles over neighbours: against NumPy's own, however tiles and ranges of nodes are cut; numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.blocks.block import Tile
from pipeline.compiler import sorting
from pipeline.compiler.dense import rows_between
from pipeline.compiler.sorting import kept_floats, ranges, reduce_sorted
from pipeline.errors import FormulaError
from pipeline.formula import Relation, node_input
from pipeline.formula.values import apply
from pipeline.model import Model
from pipeline.plan.explain import explain_plan
from pipeline.plan.memory import block_bytes, fused_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.tier import Choice
from pipeline.run.fused import run_fused
from tests.compiler.test_reductions import columns_graph
from tests.compiler.tiles import compiled
from tests.counts import counts as counts_of
from tests.counts import manifest_of
from tests.formulas import WIDTH
from tests.whole import whole

NAN, INF = np.nan, np.inf
G = Relation()
S = node_input("s", ())


def quantile(q, interpolation="linear", width=3):
    return G.quantile(G.src(node_input("x", (width,))), q, interpolation)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint"])
@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_against_numpy(q, interpolation):
    rng = np.random.default_rng(0)
    dst = np.repeat(np.arange(1, 13), np.arange(12)).astype(np.int32)  # node i has i - 1 messages
    messages = rng.normal(size=(len(dst), 3)).astype(np.float32)
    order = rng.permutation(len(dst))
    out = np.full((14, 3), -7, np.float32)
    reduce_sorted(quantile(q, interpolation), dst[order], messages[order], out)
    for node in range(14):
        own = messages[dst == node].astype(float)
        want = np.quantile(own, q, axis=0, method=interpolation) if len(own) else np.full(3, -7.0)
        np.testing.assert_allclose(out[node], want, rtol=1e-6, atol=1e-6)


def test_numbers_that_are_none():
    """NaN is the largest number, as in torch.sort; the mean of two infinities of one sign is none, as in PyG."""
    graph = columns_graph([1, NAN, 5, -INF, -INF, INF, 2, -0.0, 0.0], [0, 0, 0, 1, 1, 2, 2, 3, 3], 12)
    median = compiled(G.median(G.src(S)), graph, {}, 3)
    np.testing.assert_array_equal(median, [5, -INF, 2, 0, *[0] * 8])
    assert not np.signbit(median[3])
    top = compiled(apply("quantile", G.src(S), q=(1.0,), interpolation="lower", empty=9.0), graph, {}, 3)
    np.testing.assert_array_equal(top, [NAN, -INF, INF, 0, *[9] * 8])
    linear = compiled(G.quantile(G.src(S), 0.5), graph, {}, 3)
    np.testing.assert_array_equal(linear, [5, NAN, INF, 0, *[0] * 8])


def test_ranges_keep_to_their_bound():
    rng = np.random.default_rng(4)
    tiles, degrees = [], np.zeros(50, int)
    for _ in range(3):
        rows = np.flatnonzero(rng.random(50) < 0.5).astype(np.int32)
        counts = rng.integers(1, 9, len(rows))
        counts[0] = 100
        degrees[rows] += counts
        offsets = np.append(0, np.cumsum(counts)).astype(np.int32)
        tiles.append(Tile(rows, offsets, np.arange(offsets[-1], dtype=np.int32)))
    for floats in (1, 60, 500, 10**9):
        cuts = ranges(tiles, 50, 4, floats)
        assert [low for low, _ in cuts] == [0, *(high for _, high in cuts[:-1])]
        assert cuts[-1][1] == 50
        for low, high in cuts:
            assert high - low == 1 or degrees[low:high].sum() * 4 <= floats
            edges = sum(rows_between(tile, low, high).edges for tile in tiles)
            assert edges == degrees[low:high].sum()
    assert len(cuts) == 1
    assert ranges([], 0, 4) == []
    assert ranges([], 3, 0) == [(0, 3)]


def test_edges_between():
    tile = Tile(np.array([1, 4, 9], np.int32), np.array([0, 2, 3, 7], np.int32), np.arange(7, dtype=np.int32),
                {"w": np.arange(7.0).reshape(7, 1).astype(np.float32)})  # fmt: skip
    part = rows_between(tile, 2, 10)
    assert (part.rows.tolist(), part.indptr.tolist(), part.indices.tolist()) == ([4, 9], [0, 1, 5], [2, 3, 4, 5, 6])
    assert part.values["w"][:, 0].tolist() == [2, 3, 4, 5, 6]
    assert rows_between(tile, 0, 10) is tile
    assert rows_between(tile, 5, 9).edges == 0


def model():
    def formula(g, x):
        loops = g.without_self_loops().with_self_loops()
        pairs = loops.quantile(loops.src(x) - loops.dst(x), [0.5, 0.75])
        two_hops = g.median(g.src(loops.prod(loops.src(x))))
        return {"pairs": pairs, "two hops": two_hops, "of edges": g.median(g.edge("attr"))}

    return Model.from_formula(formula, {}, {"nodes.x": WIDTH, "edges.attr": 3})


@pytest.mark.parametrize("blocks", [1, 8])
def test_the_same_bits_whatever_the_ranges(blocks, monkeypatch):
    plan, parts = Plan.of(model()), whole("hub").blocks(blocks)
    first = run_fused(plan, parts)
    for floats in (1, 100, 5000):
        monkeypatch.setattr(sorting, "FLOATS", floats)
        for one, other in zip(first, run_fused(plan, parts), strict=True):
            assert {key: array.tobytes() for key, array in one.items()} == {k: a.tobytes() for k, a in other.items()}


def test_what_is_kept_is_told():
    counts = counts_of([100, 50], [10**7, 10], [300, 5], [1, 0], [10_000, 500], [10**6, 5])
    plan = Plan.of(model())
    most = 4 * kept_floats(10**7, 10**6, WIDTH)
    assert most == 4 * 3 * sorting.FLOATS
    assert kept_floats(10**7, 10**7, WIDTH) == 3 * 10**7 * WIDTH
    assert block_bytes(plan, counts, 0) > most
    assert block_bytes(plan, counts, 1) < 20_000
    assert fused_bytes(plan, counts) > most
    block = {"nodes": [9], "edges": [10**7], "payload_rows_in": [9], "payload_rows_loops": [0]}
    block |= {"static_bytes": [0], "sends_bytes": [0], "max_in_degree": [7]}
    totals = {"nodes": 9, "edges": 10**7, "self_loops": 0, "max_in_degree": 7}
    text = explain_plan(model(), plan, manifest_of(block, totals), Choice("fused", "a test"))
    assert "over edges(proper), sorted: 101 MB of messages at a time" in text


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"q": (1.5,)}, r"quantiles are numbers from 0 to 1, not \(1.5,\)"),
        ({"q": ()}, "quantiles are numbers from 0 to 1"),
        ({"interpolation": "linaer"}, "unknown interpolation 'linaer'; did you mean 'linear'"),
        ({"interpolation": "nearest"}, "unknown interpolation 'nearest'; "),
    ],
)
def test_quantiles_that_are_none(attributes, message):
    with pytest.raises(FormulaError, match=message):
        apply("quantile", G.src(S), **{"q": (0.5,), "interpolation": "linear", "empty": 0.0, **attributes})
