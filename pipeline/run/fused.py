"""All supersteps in one process: the fused tier, and the transport of tests. Blocks in threads; an exchange is arrays.

Comes in: a plan and all blocks. Goes out: each block's outputs. A block is opened when its turn in a superstep comes
and let go after it, and reads what the others made where it lies (in_place.py). So at no time is there more than one
block for each thread, beside the values that cross to the next superstep, which may wait on disk (spill.py).
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
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.blocks.block import Block, FloatArray, IntArray
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.run.in_place import NOTHING, Held, Sends, compute_in_place, hold
from pipeline.run.spill import Keep
from pipeline.run.superstep import Computed
from pipeline.schema import EdgeType

Done = Callable[[int, int], None]
"""Called after each block of each superstep: (superstep, block)."""
Outputs = Mapping[str, FloatArray]
"""Output name → (n, *shape) float32, in local order."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class BlockSource:
    """Where blocks come from."""

    blocks: int
    open: Callable[[int, Superstep], Block]
    """The parts of a block that a superstep needs."""
    sends: Callable[[int], Sends]
    """The send lists of a block."""
    only_nodes: Callable[[int, Superstep], Block] | None = None
    """As `open`, but no edges. None: all or nothing."""
    only_tiles: Callable[[int, Superstep], Block] | None = None
    """As `open`, but nothing else than edges."""
    only_ids: Callable[[int], Mapping[str, pa.Array]] | None = None
    """Node type → the ids of a block's nodes."""

    def nodes(self, index: int, step: Superstep) -> Block:
        """A block with at least the nodes that a superstep needs."""
        return (self.only_nodes or self.open)(index, step)

    def tiles(self, index: int, step: Superstep) -> Block:
        """A block with at least the edges that a superstep needs."""
        return (self.only_tiles or self.open)(index, step)

    def ids(self, index: int) -> Mapping[str, pa.Array]:
        assert self.only_ids is not None, "who writes rows of edges reads ids"
        return self.only_ids(index)

    @staticmethod
    def of(blocks: Sequence[Block]) -> BlockSource:
        """Blocks that are in memory anyway."""
        return BlockSource(
            len(blocks),
            lambda index, _: blocks[index],
            lambda index: blocks[index].sends,
            only_ids=lambda index: blocks[index].ids,
        )


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
    sends: list[Sends] | None = None,
) -> Iterator[Result]:
    """Runs a plan over a whole graph, and gives what `finish` makes of each block and its outputs, in turn.

    `keep` puts an array of node values elsewhere until the next superstep reads it, and returns it from there. `sends`:
    the send lists of all blocks, if they are there already.
    """
    for step in plan.steps:
        plan.compile(step)  # before the threads start
    # One BLAS thread per block thread: two pools would fight for the cores, and the bits depend on their number.
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        sends = sends or all_sends(source, keep)
        held = [NOTHING] * source.blocks
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
    held: list[Held],
    done: Done | None,
    keep: Keep | None,
    index: int,
) -> Held:
    made = hold(step, _compute(plan, step, source.open(index, step), sends, held), keep)
    if done is not None:
        done(step.number, index)
    return made


def _last(
    plan: Plan,
    source: BlockSource,
    sends: list[Sends],
    held: list[Held],
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


def _compute(plan: Plan, step: Superstep, block: Block, sends: list[Sends], held: list[Held]) -> Computed:
    return compute_in_place(plan, step, block, sends.__getitem__, held.__getitem__, len(held))


def all_sends(source: BlockSource, keep: Keep | None = None) -> list[Sends]:
    """The send lists of all blocks; `keep` as for `run_stored`."""
    return [_kept(source.sends(index), keep) for index in range(source.blocks)]


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
