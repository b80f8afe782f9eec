"""Results as bits, node by node: those of a run by any way, and those of the block program in one process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from tests.formulas import build
from tests.whole import Whole

Bits = dict[Any, bytes]
"""Id → the bytes of its row."""

# (tier, who reads the blocks)
WAYS = [(tier, read) for tier in ("fused", "distributed") for read in ("worker", "spark")]


def by_id(table: pa.Table, output: str = "output") -> Bits:
    return {
        node: np.asarray(row, np.float32).tobytes()
        for node, row in zip(table["id"].to_pylist(), table[output].to_pylist(), strict=True)
    }


def in_process(name: str, graph: Whole, blocks: int, output: str = "output", plan: Plan | None = None) -> Bits:
    model = build(name)
    parts = graph.blocks(blocks, reverse=model.reads_reversed)
    results = run_fused(plan or Plan.of(model), parts)
    return {
        node: row.tobytes()
        for block, outputs in zip(parts, results, strict=True)
        for node, row in zip(block.ids["node"].to_pylist(), outputs[output], strict=True)
    }


def rounds_like(got: Bits, exact: Bits, wire: str, products: bool) -> None:
    """Asserts that numbers are off by what a wire rounds, and by no more. `products` of hundreds of rounded numbers are
    off by as many parts; of them only what is finite is compared."""
    short, want = (np.concatenate([np.frombuffer(rows[node], np.float32) for node in exact]) for rows in (got, exact))
    finite = np.isfinite(want)
    assert (np.isfinite(short) == finite).all()
    off, scale = np.abs(short[finite] - want[finite]).max(), np.abs(want[finite]).max()
    if not products:
        assert 1e-6 * scale < off < {"float16": 4e-3, "bfloat16": 2e-2}[wire] * scale
