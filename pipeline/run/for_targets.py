"""The fused tier for some nodes: all supersteps in one process, each on what is needed of its blocks.

Comes in: a plan, the blocks, what each superstep needs (needed.py). Goes out: of each block the outputs of the nodes
that are wanted, with the bits of a run for all nodes. The block program is the same (superstep.py): what it is given is
a block with fewer nodes and edges. Values wait between two supersteps as they do in fused.py; where the next superstep
needs fewer nodes, what it keeps is cut down when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.blocks.arrow import numbers
from pipeline.blocks.block import LOOPS, Block, FloatArray, IntArray
from pipeline.formula.spaces import Nodes
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.run.fused import BlockSource, Done, Outputs
from pipeline.run.in_place import NOTHING, Held, Sends, compute_in_place, hold
from pipeline.run.needed import BlockNeeded, Needed, Rows
from pipeline.run.spill import Keep
from pipeline.run.superstep import Computed
from pipeline.schema import EdgeType

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Run:
    plan: Plan
    source: BlockSource
    sends: Sequence[Sends]
    """Of each block, as they are stored."""
    parts: Sequence[Needed]
    """Of each superstep."""


def run_for_targets(
    plan: Plan,
    source: BlockSource,
    sends: Sequence[Sends],
    parts: Sequence[Needed],
    targets: Sequence[Rows],
    finish: Callable[[Block, Outputs], Result],
    threads: int = 1,
    done: Done | None = None,
    keep: Keep | None = None,
) -> Iterator[Result]:
    """What `finish` makes of each block, cut down to its targets, and their outputs, in turn.

    Parameters
    ----------
    sends
        The send lists of each block.
    parts
        What each superstep computes.
    targets
        Of each block, the nodes that are wanted.
    keep
        As for fused.run_stored.
    """
    run = _Run(plan, source, sends, parts)
    for step in plan.steps:
        plan.compile(step)  # before the threads start
    # one BLAS thread per block thread, as run_stored
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        held: list[Held] = [NOTHING] * len(sends)
        for step in plan.steps[:-1]:
            held = list(pool.map(partial(_step, run, step, held, done, keep), range(len(sends))))
        yield from pool.map(partial(_last, run, held, targets, done, finish), range(len(sends)))


def _step(run: _Run, step: Superstep, held: Sequence[Held], done: Done | None, keep: Keep | None, index: int) -> Held:
    computed = _compute(run, step, held, index)
    if done is not None:
        done(step.number, index)
    return NOTHING if computed is None else hold(step, computed[1], keep)


def _last(
    run: _Run,
    held: Sequence[Held],
    targets: Sequence[Rows],
    done: Done | None,
    finish: Callable[[Block, Outputs], Result],
    index: int,
) -> Result:
    step, outputs = run.plan.steps[-1], run.plan.program.outputs
    computed = _compute(run, step, held, index)
    if done is not None:
        done(step.number, index)
    if computed is None:
        none: dict[str, pa.Array] = {str(type): pa.array([], pa.int64()) for type in run.plan.program.output_types}
        return finish(
            Block(index, none, {}, {}, {}),
            {name: np.empty((0, *value.shape), np.float32) for name, value in outputs.items()},
        )
    block, made = computed
    parts = run.parts[step.number].blocks
    at = {
        type: rows if parts is None else parts[index].picked[type].places[rows] for type, rows in targets[index].items()
    }
    ids = {type: block.ids[type].take(numbers(places)) for type, places in at.items()}
    return finish(
        Block(index, ids, {}, {}, {}),
        {name: made.values[value.id][at[_type_of(value)]] for name, value in outputs.items()},
    )


def _compute(run: _Run, step: Superstep, held: Sequence[Held], index: int) -> tuple[Block, Computed] | None:
    """A superstep of a block, on what is needed of it; None if nothing is."""
    parts, blocks = run.parts[step.number].blocks, len(run.sends)
    if parts is None:
        block = (run.source.open if step.reductions else run.source.nodes)(index, step)
        return block, compute_in_place(run.plan, step, block, run.sends.__getitem__, held.__getitem__, blocks)
    part = parts[index]
    if part.is_empty:
        return None
    block = _cut(run.source.nodes(index, step), step, part)
    before = run.parts[step.number - 1].blocks if step.number else None
    own = held[index]
    if step.number:
        own = _cut_down(run.plan.steps[step.number - 1], own, part, before[index] if before else None)

    def sends(sender: int) -> Sends:
        """What a block sends to this one, by the place that each row has there."""
        found: dict[EdgeType, dict[int, IntArray]] = {type: {} for type in part.reads}
        for type, by_source in part.reads.items():
            for source, target in ((LOOPS, LOOPS), (sender, index)):
                if source in by_source and (source != LOOPS or sender == index):
                    rows = by_source[source]
                    found[type][target] = before[sender].picked[type.source].places[rows] if before else rows
        return found

    def of(other: int) -> Held:
        return own if other == index else held[other]

    return block, compute_in_place(run.plan, step, block, sends, of, blocks, part.branch_rows)


def _cut(block: Block, step: Superstep, part: BlockNeeded) -> Block:
    """A block with the nodes and edges that are needed."""
    features: dict[str, dict[str, FloatArray]] = {type: {} for type in part.picked}
    for type, name in step.features:
        if name not in block.features.get(type, {}):
            continue  # the model has its rows
        features[type][name] = block.features[type][name].take(part.picked[type].rows, axis=0)
    ids = {type: block.ids[type].take(numbers(picked.rows)) for type, picked in part.picked.items()}
    return Block(block.index, ids, features, part.tiles, {})


def _cut_down(earlier: Superstep, held: Held, part: BlockNeeded, before: BlockNeeded | None) -> Held:
    """What a block keeps for itself, at the places of this superstep. `before`: of the one that it was computed in;
    None: whole."""

    def at(value: Value) -> IntArray:
        rows = part.picked[_type_of(value)].rows
        return rows if before is None else before.picked[_type_of(value)].places[rows]

    def kept(value: Value) -> FloatArray:
        whole = held.values.get(value.id)
        if whole is None:  # nothing was needed of the block before, so nothing of these nodes is
            return np.empty((0, *value.shape), np.float32)
        return whole.take(at(value), axis=0)

    return Held({value.id: kept(value) for value in earlier.keeps}, held.sent, {})


def _type_of(value: Value) -> str:
    assert isinstance(value.space, Nodes), "a plan that is cut down has no values of the whole graph"
    return value.space.type
