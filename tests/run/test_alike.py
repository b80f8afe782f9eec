"""Branches that are reduced together give the bits of one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
from torch_geometric.nn import SAGEConv

from pipeline.blocks.block import LOOPS, Block
from pipeline.errors import StorageError
from pipeline.formula import Program, Relation, apply, edge_input, node_input, take, weight, where
from pipeline.lowering.lower import lower
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.run import alike, branch, joint
from pipeline.run.fused import run_fused
from tests.pyg.test_many_relations import GRAPHS, METADATA, WIDTHS, Layers, Relational, Transformer, by_column
from tests.typed import TypedGraph
from tests.whole import pushing

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    by_table = {"mean": Layers(lambda: SAGEConv((8, 8), 8)), "one softmax": Transformer()}
    models = {
        name: Model.from_pyg(net.eval(), metadata=METADATA, features={"x_dict": WIDTHS})
        for name, net in by_table.items()
    }
    options = {"inputs": {"edge_type": "edges.edge_type"}, "features": {"x": 8, "edge_type": range(12)}}
    models["by column"] = Model.from_pyg(Relational(12).eval(), **options)
    found = {name: Plan.of(model) for name, model in models.items()}
    return {**found, "mean, pushed": pushing(found["mean"])}


def graphs(name: str) -> list[TypedGraph]:
    return [by_column(200, 900, 12), by_column(90, 60, 12)] if name == "by column" else list(GRAPHS.values())


def half_pushed(block: Block) -> Block:
    """Of each row that reads another block, the second half of its edges is begun there."""
    tiles = {
        type: {
            source: tile if source == LOOPS else replace(tile, middles=tile.indptr[:-1] + np.diff(tile.indptr) // 2)
            for source, tile in of.items()
        }
        for type, of in block.tiles.items()
    }
    return replace(block, tiles=tiles)


def outputs(plan: Plan, blocks: Sequence[Block]) -> list[Mapping[str, bytes]]:
    return [{name: array.tobytes() for name, array in each.items()} for each in run_fused(plan, blocks)]


@pytest.mark.parametrize("rows", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["mean", "mean, pushed", "one softmax", "by column"])
def test_the_bits_of_one_after_another(
    plans: dict[str, Plan], name: str, rows: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are reduced together, and whether rows are nodes with an edge, or all nodes."""
    monkeypatch.setattr(branch, "MOST_ROWS", rows)
    monkeypatch.setattr(alike, "FEWEST", 3)
    monkeypatch.setattr(joint, "ROWS", 100)
    sizes: list[int] = []
    most = alike.TOGETHER

    def noted(work: Any, branches: Any, passes: Any, batch: alike.Batch, run: Any = alike._run) -> None:
        sizes.append(len(branches))
        run(work, branches, passes, batch)

    monkeypatch.setattr(alike, "_run", noted)
    for given in graphs(name):
        for count in (1, 3):
            blocks = [
                half_pushed(block) for block in given.blocks(count)
            ]  # where the plan pulls it makes no difference
            with monkeypatch.context() as patch:
                patch.setattr(alike, "_likeness", lambda *_: None)
                one_by_one = outputs(plans[name], blocks)
            assert not sizes
            for together in (0, 40, most):
                monkeypatch.setattr(alike, "TOGETHER", together)
                assert outputs(plans[name], blocks) == one_by_one
                assert sizes, "branches are alike"
                assert together < most or max(sizes) > 2
                sizes.clear()


@pytest.mark.parametrize("name", ["mean", "mean, pushed", "by column"])
def test_blocks_of_different_graphs(plans: dict[str, Plan], name: str) -> None:
    """A tile that reads beyond what is sent is an error, not a row of somebody else."""
    blocks = graphs(name)[0].blocks(3)
    short = {type: {block: rows[:1] for block, rows in sends.items()} for type, sends in blocks[1].sends.items()}
    blocks[1] = replace(blocks[1], sends=short)
    with pytest.raises(StorageError, match="block 1 of the prepared graph does not send"):
        run_fused(plans[name], blocks)


def test_numbers_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relations that are added up from the last to the first, and one that is left out."""
    g, x, kinds = Relation(), node_input("x", (8,)), edge_input("edge_type", ())
    weights = {"w": np.random.default_rng(1).normal(size=(12, 8, 8)).astype(np.float32)}
    matrices = weight("w", (12, 8, 8))
    terms = [
        g.sum(where(apply("equal", kinds.reshape(1), float(number)), g.src(x), 0.0)) @ take(matrices, number)
        for number in [11, 10, 8, 9, 7, 6, 4, 3, 2, 1, 0]
    ]
    plan = Plan(*lower(Program({"y": reduce(lambda a, b: a + b, terms)}), weights))
    assert [len(step.branches) for step in plan.steps] == [0, 11]
    blocks = by_column(200, 900, 12).blocks(3)
    found = outputs(plan, blocks)
    monkeypatch.setattr(alike, "_likeness", lambda *_: None)
    assert outputs(plan, blocks) == found
