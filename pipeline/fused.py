"""All supersteps in one process: the fused tier, and the transport of tests. Blocks in threads; an exchange is arrays.

Comes in: a plan and all blocks. Goes out: each block's outputs. A block is opened when its turn in a superstep comes
and let go after it; payloads are gathered when a tile asks for them, and partial results computed when they are merged.
So at no time is there more than one block and one payload for each thread, beside the values that cross to the next
superstep, which may wait on disk (spill.py).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.blocks import LOOPS, Block, FloatArray, IntArray
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Shipment, Superstep
from pipeline.schema import EdgeType
from pipeline.spill import Keep
from pipeline.superstep import Computed, Partial, Parts, Receive, compute, payload
from pipeline.tiles import pushed_edges
from pipeline.wire import rounded

Done = Callable[[int, int], None]
"""Called after each block of each superstep: (superstep, block)."""
Outputs = Mapping[str, FloatArray]
"""Output name → (n, *shape) float32, in local order."""
Sends = Mapping[EdgeType, Mapping[int, IntArray]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Source:
    """Where blocks come from."""

    blocks: int
    open: Callable[[int, Superstep], Block]
    """The parts of a block that a superstep needs."""
    sends: Callable[[int], Sends]
    """The send lists of a block."""

    @staticmethod
    def of(blocks: Sequence[Block]) -> Source:
        """Blocks that are in memory anyway."""
        return Source(len(blocks), lambda index, _: blocks[index], lambda index: blocks[index].sends)


def run_fused(plan: Plan, blocks: Sequence[Block], threads: int = 1) -> list[Outputs]:
    """Runs a plan over a graph in memory: the outputs of each block."""
    return list(run_stored(plan, Source.of(blocks), lambda block, outputs: outputs, threads))


def run_stored(
    plan: Plan,
    source: Source,
    finish: Callable[[Block, Outputs], Result],
    threads: int = 1,
    done: Done | None = None,
    keep: Keep | None = None,
) -> Iterator[Result]:
    """Runs a plan over a whole graph, and gives what `finish` makes of each block and its outputs, in turn.

    `keep` puts an array of node values elsewhere until the next superstep reads it, and returns it from there.
    """
    for step in plan.steps:
        plan.compile(step)  # before the threads start
    # One BLAS thread per block thread: two pools would fight for the cores, and the bits depend on their number.
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        sends = [_kept(source.sends(index), keep) for index in range(source.blocks)]
        held = [Computed({}, {})] * source.blocks
        for step in plan.steps[:-1]:
            held = list(pool.map(partial(_step, plan, step, source, sends, held, done, keep), range(source.blocks)))
        work = partial(_last, plan, source, sends, held, done, finish)
        ahead: deque[Future[Result]] = deque()  # no more than threads can make at a time: whoever takes may be slow
        for index in range(source.blocks):
            ahead.append(pool.submit(work, index))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _step(
    plan: Plan,
    step: Superstep,
    source: Source,
    sends: list[Sends],
    held: list[Computed],
    done: Done | None,
    keep: Keep | None,
    index: int,
) -> Computed:
    made = _compute(plan, step, source.open(index, step), sends, held)
    if keep is not None:
        made = Computed({number: keep(array) for number, array in made.values.items()}, made.parts)
    if done is not None:
        done(step.number, index)
    return made


def _last(
    plan: Plan,
    source: Source,
    sends: list[Sends],
    held: list[Computed],
    done: Done | None,
    finish: Callable[[Block, Outputs], Result],
    index: int,
) -> Result:
    step = plan.steps[-1]
    block = source.open(index, step)
    made = _compute(plan, step, block, sends, held)
    if done is not None:
        done(step.number, index)
    return finish(block, {name: made.values[value.id] for name, value in plan.program.outputs.items()})


def _compute(plan: Plan, step: Superstep, block: Block, sends: list[Sends], held: list[Computed]) -> Computed:
    gather = _gatherer(block, sends, held)

    def receive(shipment: Shipment, source: int) -> FloatArray:
        return rounded(gather(shipment, source), shipment.wire)

    partial = _partial(plan, step, block, gather)
    return compute(plan, step, block, held[block.index].values, receive, partial, _parts(held))


def _parts(held: list[Computed]) -> Parts:
    return lambda total: [made.parts[total.id] for made in held]


def _gatherer(block: Block, sends: list[Sends], held: list[Computed]) -> Receive:
    """Payloads of whole send lists, before they are sent."""
    last: dict[tuple[EdgeType, int], FloatArray] = {}  # a tile may be asked for twice, for both parts of its edges

    def gather(shipment: Shipment, source: int) -> FloatArray:
        key = shipment.edge_type, source
        if key not in last:
            last.clear()
            sender = block.index if source == LOOPS else source
            target = LOOPS if source == LOOPS else block.index
            last[key] = payload(shipment, sends[sender][shipment.edge_type][target], held[sender].values)
        return last[key]

    return gather


def _partial(plan: Plan, step: Superstep, block: Block, gather: Receive) -> Partial:
    """Partial results of edges that another block would push, made here: of the same rows, in the same order."""

    def partial(shipment: Shipment, source: int, reduction: Value) -> FloatArray:
        compiled = plan.compile(step)[reduction.id]
        tile = pushed_edges(block.tiles[shipment.edge_type][source], compiled.edge_columns)
        return rounded(compiled.partial(tile, gather(shipment, source)), shipment.wire)

    return partial


def _kept(sends: Sends, keep: Keep | None) -> Sends:
    """All lists of a block as one array: with 256 blocks there are 65,536 lists, more than a process may map files."""
    lists = [(kind, target, rows) for kind, by_target in sends.items() for target, rows in by_target.items()]
    if keep is None or not lists:
        return sends
    ends = list(itertools.accumulate(len(rows) for _, _, rows in lists))
    whole = keep(np.concatenate([rows for _, _, rows in lists]))
    kept: dict[EdgeType, dict[int, IntArray]] = {kind: {} for kind in sends}
    for (kind, target, rows), end in zip(lists, ends, strict=True):
        kept[kind][target] = whole[end - len(rows) : end]
    return kept
