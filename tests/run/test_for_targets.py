"""Some nodes of a graph: the bits that a run for all nodes gives them, and no more computed than they need."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.blocks.block import Block
from pipeline.plan.plan import Plan
from pipeline.run import needed
from pipeline.run.for_targets import run_for_targets
from pipeline.run.fused import BlockSource, Outputs, all_sends, run_fused
from pipeline.run.needed import Needed, Rows, needed_for, why_whole
from pipeline.run.picked import pick
from pipeline.run.remembering import remembering
from pipeline.schema import NODE
from tests.formulas import build
from tests.run.conftest import CHUNK
from tests.whole import _whole, pushing, whole

pytestmark = pytest.mark.usefixtures("small_chunks")

CUT = ["sage", "gcn_weighted", "gat", "gat_no_loops", "softmax_twice", "appnp", "extremes", "gin",
       "jumping", "long_skip", "every_distributive", "no_edges", "both_ways", "both_ends"]  # fmt: skip


def run(
    plan: Plan, blocks: Sequence[Block], targets: Sequence[Rows], threads: int = 1
) -> tuple[list[Needed], list[tuple[Block, Outputs]]]:
    source = remembering(BlockSource.of(blocks))
    sends = all_sends(source)
    nodes = {NODE: [block.nodes(NODE) for block in blocks]}
    parts = needed_for(plan, source, sends, nodes, targets, threads)
    made = run_for_targets(plan, source, sends, parts, targets, lambda block, outputs: (block, outputs), threads)
    return parts, list(made)


def chosen(blocks: Sequence[Block], share: float, seed: int) -> list[Rows]:
    rng = np.random.default_rng(seed)
    return [{NODE: np.flatnonzero(rng.random(block.nodes(NODE)) < share).astype(np.int32)} for block in blocks]


def same(plan: Plan, blocks: Sequence[Block], targets: Sequence[Rows], threads: int = 1) -> list[Needed]:
    """The parts, when all bits are those of the whole run."""
    whole_run = run_fused(plan, blocks)
    parts, made = run(plan, blocks, targets, threads)
    for block, all_outputs, rows, (some, outputs) in zip(blocks, whole_run, targets, made, strict=True):
        assert some.ids[NODE].to_pylist() == block.ids[NODE].take(rows[NODE]).to_pylist()
        for name, array in all_outputs.items():
            want = array[rows[NODE]]
            assert (outputs[name].shape, outputs[name].tobytes()) == (want.shape, want.tobytes())
    return parts


@pytest.mark.parametrize("kind", ["mixed", "hub", "skewed"])
@pytest.mark.parametrize("name", CUT)
def test_the_bits_of_the_whole_run(name: str, kind: str) -> None:
    model = build(name)
    blocks = whole(kind).blocks(3, reverse=model.reads_reversed)
    plan = Plan.of(model)
    assert why_whole(plan) is None
    for share in (0.02, 0.3, 1.0):
        parts = same(plan, blocks, chosen(blocks, share, seed=1))
        assert parts[-1].blocks is not None, "the last superstep is cut down"


@pytest.mark.parametrize("name", ["sage", "both_ways", "every_distributive"])
def test_the_same_where_partial_results_are_sent(name: str) -> None:
    model = build(name)
    blocks = whole("skewed").blocks(3, reverse=model.reads_reversed)
    plan = pushing(Plan.of(model))
    if name == "every_distributive":  # logsumexp takes its edges in pieces, and of a tile that is pulled others
        assert "logsumexp in superstep 1" in (why_whole(plan) or "")
    else:
        assert plan.pushes
        same(plan, blocks, chosen(blocks, 0.1, seed=2))


@pytest.mark.parametrize("wire", ["float16", "bfloat16"])
def test_a_short_wire_rounds_alike(wire: str) -> None:
    blocks = whole("mixed").blocks(3)
    same(Plan.of(build("gat"), wire=wire), blocks, chosen(blocks, 0.1, seed=3), threads=2)


def test_one_target_of_one_block() -> None:
    blocks = whole("mixed").blocks(4)
    targets: list[Rows] = [{NODE: np.empty(0, np.int32)} for _ in blocks]
    targets[2] = {NODE: np.array([1], np.int32)}
    parts = same(Plan.of(build("sage")), blocks, targets)
    assert parts[-1].nodes == 1
    tiles = [tile for by_source in blocks[2].tiles.values() for tile in by_source.values()]
    assert parts[-1].edges == sum(int(np.diff(tile.indptr)[tile.rows == 1].sum()) for tile in tiles)


def test_what_a_superstep_computes_is_found_backward() -> None:
    """Nodes 0 → 1 → 2 → 3 of a path: of node 3 two layers need 2 and 1, and nothing else."""
    blocks = _whole([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]).blocks(2)
    targets: list[Rows] = [
        {NODE: np.flatnonzero(np.isin(block.ids[NODE].to_numpy(), [3])).astype(np.int32)} for block in blocks
    ]
    parts = same(Plan.of(build("appnp")), blocks, targets)
    edges = [part.edges for part in parts if part.blocks is not None]
    assert edges[-1] == 1
    assert all(fewer <= more for more, fewer in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("graph_norm", "the model reads totals over all nodes"),
        ("virtual_node", "the model reads totals over all nodes"),
        ("against", "in superstep 1 is computed for chunks of all edges"),
        ("gated", "in superstep 1 is computed for chunks of all edges"),
        ("ordered", "in superstep 1 is computed for chunks of all edges"),
    ],
)
def test_what_needs_all_nodes_is_computed_for_all(name: str, why: str) -> None:
    blocks = whole("mixed").blocks(2)
    plan = Plan.of(build(name))
    assert why in (why_whole(plan) or "")
    source = BlockSource.of(blocks)
    nodes = {NODE: [block.nodes(NODE) for block in blocks]}
    parts = needed_for(plan, source, all_sends(source), nodes, chosen(blocks, 0.1, seed=1))
    assert all(part.blocks is None for part in parts)


def test_a_superstep_that_needs_most_edges_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needed, "MOST_EDGES", 0.5)
    blocks = whole("mixed").blocks(2)
    parts = same(Plan.of(build("sage")), blocks, chosen(blocks, 0.2, seed=1))
    assert [part.blocks is None for part in parts] == [True, True, False]
    assert parts[1].nodes == 200


def test_places_keep_the_place_within_a_chunk() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 5, 8, 16, 61, 200):
        for share in (0.0, 0.1, 0.6, 1.0):
            marks = rng.random(count) < share
            found = pick(marks)
            nodes = np.flatnonzero(marks)
            assert (found.rows[found.places[nodes]] == nodes).all()
            full = nodes[nodes < count - count % CHUNK]
            assert (found.places[full] % CHUNK == full % CHUNK).all()
            rest = nodes[nodes >= count - count % CHUNK]
            assert len(found.rows) % CHUNK == (count % CHUNK if len(rest) else 0)
            if 0 < len(nodes) < count:
                assert found.spare >= 0
                assert found.spare not in found.places[nodes]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.7])
def test_a_loop_that_takes_edges_in_pieces_cuts_rows_where_it_did(share: float) -> None:
    """One tile of 12,000 edges, 40 into each node: a row of it in each piece of 512 is cut, each somewhere else."""
    rng = np.random.default_rng(4)
    blocks = _whole(list(range(300)), *rng.integers(0, 300, (2, 12000))).blocks(1)
    plan = Plan.of(build("gat_no_loops"))
    for seed in range(5):
        same(plan, blocks, chosen(blocks, share, seed))
