"""All supersteps in one process: the fused tier, and the transport of tests. Blocks in threads; an exchange is arrays.

Comes in: a plan and all blocks. Goes out: each block's outputs. Payloads are gathered when a tile asks for them, and
partial results computed when they are merged, so at no time is more than one of these per thread in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from threadpoolctl import threadpool_limits

from pipeline.blocks import LOOPS, Block, FloatArray
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Shipment, Superstep
from pipeline.superstep import Computed, Partial, Parts, Receive, compute, partial_result, payload, sent_rows

Done = Callable[[int, int], None]
"""Called after each block of each superstep: (superstep, block)."""


def run_fused(
    plan: Plan, blocks: Sequence[Block], threads: int = 1, done: Done | None = None
) -> list[Mapping[str, FloatArray]]:
    """Runs a plan over a whole graph.

    Returns
    -------
    For each block: output name → (n, *shape) float32, in local order.
    """
    for step in plan.steps:
        plan.compile(step)  # before the threads start
    held = [Computed({}, {}) for _ in blocks]
    # One BLAS thread per block thread: two pools would fight for the cores, and the bits depend on their number.
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        for step in plan.steps:
            work = partial(_one, plan, step, blocks, held, done)
            held = list(pool.map(work, blocks))
    outputs = plan.program.outputs
    return [{name: made.values[value.id] for name, value in outputs.items()} for made in held]


def _one(
    plan: Plan, step: Superstep, blocks: Sequence[Block], held: list[Computed], done: Done | None, block: Block
) -> Computed:
    receive, partial = _receiver(block, blocks, held), _partial(plan, step, block, blocks, held)
    made = compute(plan, step, block, held[block.index].values, receive, partial, _parts(held))
    if done is not None:
        done(step.number, block.index)
    return made


def _parts(held: list[Computed]) -> Parts:
    return lambda total: [made.parts[total.id] for made in held]


def _receiver(block: Block, blocks: Sequence[Block], held: list[Computed]) -> Receive:
    def receive(shipment: Shipment, source: int) -> FloatArray:
        sender = block.index if source == LOOPS else source
        target = LOOPS if source == LOOPS else block.index
        return payload(shipment, sent_rows(shipment, blocks[sender], target), held[sender].values)

    return receive


def _partial(plan: Plan, step: Superstep, block: Block, blocks: Sequence[Block], held: list[Computed]) -> Partial:
    def partial(shipment: Shipment, source: int, reduction: Value) -> FloatArray:
        tile = blocks[source].pushes[shipment.edge_type][block.index]
        return partial_result(plan, plan.steps[step.number - 1], reduction, tile, held[source])

    return partial
