"""All supersteps in one process: the fused tier, and the transport of tests. Blocks in threads; an exchange is arrays.

Comes in: a plan and all blocks. Goes out: each block's outputs. A block is opened when its turn in a superstep comes
and let go after it. A tile reads the rows of another block where they lie, and partial results are computed when they
are merged: at 4 million nodes in 32 blocks that is 0.7 to 0.9 of the time of payloads put together for each tile. So at
no time is there more than one block for each thread, beside the values that cross to the next superstep, which may wait
on disk (spill.py).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pipeline.blocks.block import LOOPS, Block, FloatArray, IntArray
from pipeline.blocks.tile_edges import pushed_edges
from pipeline.blocks.wire import rounded
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Shipment, Superstep
from pipeline.run.spill import Keep
from pipeline.run.superstep import Computed, Parts, Payload, Values, compute, not_sent, read_at, side_by_side
from pipeline.run.total import TotalArray
from pipeline.schema import EdgeType

Done = Callable[[int, int], None]
"""Called after each block of each superstep: (superstep, block)."""
Outputs = Mapping[str, FloatArray]
"""Output name → (n, *shape) float32, in local order."""
Sends = Mapping[EdgeType, Mapping[int, IntArray]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class BlockSource:
    """Where blocks come from."""

    blocks: int
    open: Callable[[int, Superstep], Block]
    """The parts of a block that a superstep needs."""
    sends: Callable[[int], Sends]
    """The send lists of a block."""

    @staticmethod
    def of(blocks: Sequence[Block]) -> BlockSource:
        """Blocks that are in memory anyway."""
        return BlockSource(len(blocks), lambda index, _: blocks[index], lambda index: blocks[index].sends)


@dataclass(frozen=True)
class _Held:
    """What a block has made for the next superstep."""

    values: Values
    """What it reads itself, and what it sends if that is one value."""
    sent: Mapping[EdgeType, FloatArray]
    """(nodes, shipment.width): all values that a shipment sends, side by side; a view if it is one."""
    parts: Mapping[int, TotalArray]


def run_fused(plan: Plan, blocks: Sequence[Block], threads: int = 1) -> list[Outputs]:
    """Runs a plan over a graph in memory: the outputs of each block."""
    return list(run_stored(plan, BlockSource.of(blocks), lambda block, outputs: outputs, threads))


def run_stored(
    plan: Plan,
    source: BlockSource,
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
        held = [_Held({}, {}, {})] * source.blocks
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
    source: BlockSource,
    sends: list[Sends],
    held: list[_Held],
    done: Done | None,
    keep: Keep | None,
    index: int,
) -> _Held:
    made = _hold(step, _compute(plan, step, source.open(index, step), sends, held), keep)
    if done is not None:
        done(step.number, index)
    return made


def _hold(step: Superstep, made: Computed, keep: Keep | None) -> _Held:
    """Of what a superstep has made of a block, that which is read after it."""
    put = keep or _same
    alone = [shipment.values[0] for shipment in step.ships if len(shipment.values) == 1]
    values = {number: put(made.values[number]) for number in {value.id for value in [*step.keeps, *alone]}}
    sent = {
        shipment.edge_type: side_by_side(shipment, values)
        if len(shipment.values) == 1
        else put(side_by_side(shipment, made.values))
        for shipment in step.ships
    }
    return _Held(values, sent, made.parts)


def _same(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array


def _last(
    plan: Plan,
    source: BlockSource,
    sends: list[Sends],
    held: list[_Held],
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


def _compute(plan: Plan, step: Superstep, block: Block, sends: list[Sends], held: list[_Held]) -> Computed:
    def sent_to(shipment: Shipment, source: int) -> tuple[FloatArray, IntArray]:
        """The values of the block that sends, and which rows of them this one gets."""
        sender, target = (block.index, LOOPS) if source == LOOPS else (source, block.index)
        rows = sends[sender].get(shipment.edge_type, {}).get(target)
        if rows is None:
            raise not_sent(block, source)
        return held[sender].sent[shipment.edge_type], rows

    def receive(shipment: Shipment, source: int) -> Payload:
        sent, at = sent_to(shipment, source)
        if shipment.wire == "float32":
            return Payload(sent, at)
        return Payload(rounded(sent[at], shipment.wire))

    def partial(shipment: Shipment, source: int, reduction: Value) -> FloatArray:
        """Made here: of the same rows as the other block has, in the same order."""
        sent, at = sent_to(shipment, source)
        compiled = plan.compile(step)[reduction.id]
        tile = pushed_edges(block.tiles[shipment.edge_type][source], compiled.edge_columns)
        return rounded(compiled.partial(read_at(tile, at), sent), shipment.wire)

    return compute(plan, step, block, held[block.index].values, receive, partial, _parts(held))


def _parts(held: list[_Held]) -> Parts:
    return lambda total: [made.parts[total.id] for made in held]


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
