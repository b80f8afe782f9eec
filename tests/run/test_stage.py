"""The tasks of the distributed tier, fed with rows in any order, without Spark: the same bits as in one process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.blocks.rows import ID_OFFSETS, IDS, PUSHES, TILES, send_rows, static_rows, to_batches
from pipeline.formula import spread, total_sum
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.result.output import SUPERSTEP, OutputTable
from pipeline.run.fused import run_fused
from pipeline.run.stage import superstep_worker
from pipeline.run.task import Run, static_kinds
from pipeline.schema import ID
from tests.formulas import WIDTH, build
from tests.whole import Whole, pushing, whole


def by_rows(plan: Plan, graph: Whole, blocks: int, seed: int) -> dict[int, bytes]:
    """id → the output's bits, every superstep a task that gets its rows in random order."""
    rng = np.random.default_rng(seed)
    run = Run(plan, blocks, (OutputTable.of(plan.program.outputs, "bigint", False),), folder=None)
    parts = graph.blocks(blocks)
    made: list[pa.RecordBatch] = []
    for step in plan.steps:
        static = [batch for block in parts for batch in to_batches([*static_rows(block), *send_rows(block)])]
        rows = [batch.slice(row, 1) for batch in [*static, *made] for row in range(batch.num_rows)]
        made = list(superstep_worker(run, step.number)(rows[place] for place in rng.permutation(len(rows))))
    table = pa.concat_tables(pa.Table.from_batches([batch]) for batch in made if batch[SUPERSTEP].null_count)
    return {
        node: np.asarray(row, np.float32).tobytes()
        for node, row in zip(table[ID].to_pylist(), table["output"].to_pylist(), strict=True)
    }


def in_process(plan: Plan, graph: Whole, blocks: int) -> dict[int, bytes]:
    parts = graph.blocks(blocks)
    return {
        node: row.tobytes()
        for block, outputs in zip(parts, run_fused(plan, parts), strict=True)
        for node, row in zip(block.ids["node"].to_pylist(), outputs["output"], strict=True)
    }


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize("name", ["sage", "gat", "merging", "graph_norm", "virtual_node", "linear_attention"])
def test_the_order_of_rows_does_not_show(name: str, push: bool) -> None:
    plan, graph = Plan.of(build(name)), whole("mixed")
    plan = pushing(plan) if push else plan
    want = in_process(plan, graph, 5)
    for seed in (1, 2):
        assert by_rows(plan, graph, 5, seed) == want


def test_a_superstep_that_only_merges_totals_reads_nothing_of_its_block() -> None:
    steps = Plan.of(build("graph_norm")).steps
    assert [TILES[0] in static_kinds([step]) for step in steps] == [False, True, False, False, True]
    assert static_kinds([steps[2]]) == (IDS, ID_OFFSETS)


def test_edges_that_may_be_pushed_are_read_by_who_pushes_them() -> None:
    plan = Plan.of(build("sage"))
    assert not any(PUSHES[0] in static_kinds([step]) for step in plan.steps)
    assert [PUSHES[0] in static_kinds([step]) for step in pushing(plan).steps] == [True, True, False]


def test_parts_of_a_total_are_added_in_the_order_of_the_blocks() -> None:
    graph = whole("mixed")
    x = graph.x.copy()
    x[3], x[70] = 1e20, -1e20  # what is added between the two loses its digits
    graph = replace(graph, x=x)
    plan = Plan.of(Model.from_formula(lambda x: spread(total_sum(x)), {}, {"nodes.x": WIDTH}))
    want = in_process(plan, graph, 17)
    for seed in (1, 2, 3):
        assert by_rows(plan, graph, 17, seed) == want
