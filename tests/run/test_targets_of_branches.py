"""Some nodes of a graph of many relations: the bits of a run for all, where each relation has rows of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch_geometric.nn import GATConv, SAGEConv

from pipeline.blocks.block import Block
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.result.by_type import giving
from pipeline.run import branch, picked
from pipeline.run.for_targets import run_for_targets
from pipeline.run.fused import BlockSource, all_sends, run_fused
from pipeline.run.needed import Needed, Rows, needed_for, why_whole
from pipeline.run.remembering import remembering
from tests.plan.test_branches import KINDS, YES, planned
from tests.pyg.test_many_relations import GRAPHS, METADATA, WIDTHS, Layers, Relational, Transformer, by_column, graph
from tests.run.conftest import CHUNK
from tests.typed import TypedGraph, random_graph
from tests.whole import pushing

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    by_table = {
        "mean": Layers(lambda: SAGEConv((8, 8), 8)),
        "max": Layers(lambda: SAGEConv((8, 8), 8, aggr="max"), "mean"),
        "softmax of each": Layers(lambda: GATConv((8, 8), 4, heads=2, add_self_loops=False)),
        "one softmax": Transformer(),
    }
    options = {"inputs": {"edge_type": "edges.edge_type"}, "features": {"x": 8, "edge_type": range(12)}}
    models = {
        name: Model.from_pyg(net.eval(), metadata=METADATA, features={"x_dict": WIDTHS})
        for name, net in by_table.items()
    }
    models = {name: giving(model, ["author"]) for name, model in models.items()}
    models["by column"] = Model.from_pyg(Relational(12, num_bases=3).eval(), **options)
    return {name: Plan.of(model) for name, model in models.items()}


def chosen(blocks: Sequence[Block], share: float, type: str) -> list[Rows]:
    rng = np.random.default_rng(3)
    return [{type: np.flatnonzero(rng.random(block.nodes(type)) < share).astype(np.int32)} for block in blocks]


def only_tiles(blocks: Sequence[Block]) -> Callable[[int, Superstep], Block]:
    """As a prepared graph gives them: neither ids nor features."""
    return lambda index, _: replace(blocks[index], ids={}, features={})


def assert_same(plan: Plan, given: TypedGraph, share: float, count: int = 3) -> list[Needed]:
    """What the supersteps compute, when all bits are those of the whole run."""
    blocks = given.blocks(count)
    (type,) = plan.program.output_types
    targets = chosen(blocks, share, str(type))
    source = remembering(replace(BlockSource.of(blocks), only_tiles=only_tiles(blocks)))
    sends = all_sends(source)
    nodes = {type: [block.nodes(type) for block in blocks] for type in blocks[0].ids}
    parts = needed_for(plan, source, sends, nodes, targets)
    made = list(run_for_targets(plan, source, sends, parts, targets, lambda _, outputs: outputs))
    for all_outputs, rows, outputs in zip(run_fused(plan, blocks), targets, made, strict=True):
        ((_, some),) = rows.items()
        for name, array in all_outputs.items():
            want = array[some]
            assert (outputs[name].shape, outputs[name].tobytes()) == (want.shape, want.tobytes())
    return parts


@pytest.mark.parametrize("rows", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["mean", "max", "softmax of each", "one softmax", "by column"])
def test_the_bits_of_the_whole_run(
    plans: dict[str, Plan], name: str, rows: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether rows are nodes with an edge, or all nodes, or as it is best."""
    monkeypatch.setattr(branch, "MOST_ROWS", rows)
    plan = plans[name]
    assert why_whole(plan) is None
    assert all(step.branches for step in plan.steps[1:])
    graphs = [by_column(200, 900, 12), by_column(90, 60, 12)] if name == "by column" else GRAPHS.values()
    for given in graphs:
        for share in (0.05, 0.4, 1.0):
            parts = assert_same(plan, given, share)
            assert parts[-1].blocks is not None, "the last superstep is cut down"


@pytest.mark.parametrize("name", ["mean", "by column"])
def test_the_same_where_partial_results_are_sent(plans: dict[str, Plan], name: str) -> None:
    plan = pushing(plans[name])
    assert plan.pushes
    for given in [by_column(200, 900, 12)] if name == "by column" else GRAPHS.values():
        assert_same(plan, given, 0.1)


def test_a_largest_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a row that nobody needs -inf is no answer: nothing of it may come to the node whose place it has."""
    monkeypatch.setattr(branch, "MOST_ROWS", 1.0)
    _, plan = planned(YES["the largest"]())
    assert plan.steps[-1].branches
    for seed in range(4):
        few = random_graph({"a": 12, "b": 60}, dict.fromkeys(KINDS, 40), {"a": 4, "b": 4}, seed=seed)
        assert_same(plan, few, 0.3)


def test_edges_of_nobody(plans: dict[str, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that takes edges in pieces keeps some edges into other nodes, so that rows are cut where they were."""
    monkeypatch.setattr(branch, "MOST_ROWS", 1.0)
    given = graph(lambda number: 12000 if number == 1 else 5, (300, 300))
    for share in (0.01, 0.2):
        assert_same(plans["softmax of each"], given, share, count=1)


def test_what_is_computed(plans: dict[str, Plan]) -> None:
    """Of the last superstep the edges into the targets, of all relations; nothing else."""
    given = GRAPHS["few nodes have each"]
    blocks = given.blocks(3)
    targets = chosen(blocks, 0.1, "author")
    ids = np.concatenate(
        [block.ids["author"].to_numpy()[rows["author"]] for block, rows in zip(blocks, targets, strict=True)]
    )
    into = sum(int(np.isin(dst, ids).sum()) for kind, (_, dst) in given.ends.items() if kind.target == "author")
    last = assert_same(plans["mean"], given, 0.1)[-1]
    assert (last.nodes, last.edges) == (len(ids), into)


def test_rows_keep_their_place_within_a_chunk() -> None:
    """So that a matrix product of a chunk gives them the same bits."""
    rng = np.random.default_rng(0)
    for count, share in ((5, 0.5), (61, 0.1), (200, 0.6), (64, 1.0)):
        whole = np.flatnonzero(rng.random(300) < count / 300).astype(np.int32)
        marks = rng.random(300) < share
        places = picked.pick(marks)
        rows = picked.pick_of_branch(whole, marks, places)
        wanted = np.flatnonzero(marks[whole])
        by_node = {
            int(places.rows[node]): int(row) for row, node in zip(rows.needed, rows.nodes[rows.needed], strict=True)
        }
        assert by_node.keys() == set(whole[wanted].tolist())
        short = len(whole) - len(whole) % CHUNK
        for at in wanted:
            row = by_node[int(whole[at])]
            assert row % CHUNK == at % CHUNK
            assert (at >= short) == (row >= len(rows.nodes) - len(rows.nodes) % CHUNK), "of the shorter chunk"
