"""A superstep as a Spark stage, and a whole run as one: the two functions that mapInArrow calls inside tasks.

Comes in: Arrow batches of rows (columns.ROW_DDL). Goes out: rows for the next superstep, or the result table. Knows of
Spark only the shape of a mapInArrow function: an iterator of batches in, an iterator of batches out. We use mapInArrow
where SQL functions are the usual advice, because a superstep is loops over arrays that no SQL function expresses.

Rows are grouped by their explicit target column: where Spark placed them is speed, never correctness.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.blocks.block import LOOPS, Block, FloatArray
from pipeline.blocks.opening import checked_block
from pipeline.blocks.rows import Row, array_rows, block_from_rows, by_target, id_rows, ids_of, join, to_batches
from pipeline.blocks.wire import decode, encode
from pipeline.formula.values import Value
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Shipment, Superstep
from pipeline.run.edge_rows import Names
from pipeline.run.edges import Partial, Payload, Receive, Values
from pipeline.run.fused import BlockSource
from pipeline.run.progress import mark
from pipeline.run.superstep import Computed, Parts, compute, payload, sent_rows, side_by_side
from pipeline.run.task import (
    Run,
    clock_batch,
    opened_block,
    result_batches,
    run_whole,
    static_edges,
    static_kinds,
    stored_blocks,
)
from pipeline.run.total import TotalArray
from pipeline.schema import EdgeType
from pipeline.spark.limits import trim_memory

# kinds of rows that a run makes; those of a block are in rows.py
SEED = "seed"  # empty: every block takes part in every superstep, whether or not anything is sent to it
STATE = "state"  # NAME is the value's number in the program; from the block to itself
PAYLOAD = "payload"  # NAME is the edge type
PARTIAL = "partial"  # NAME is the number of the reduction in the program
SOURCE_IDS, SOURCE_ID_OFFSETS = "source ids", "source id offsets"  # as IDS: of the nodes in a send list
TOTAL = "total"  # a block's parts of all totals side by side, one row; to every block
CLOCK = "clock"  # PART is milliseconds, NAME the superstep; taken out before the shuffle

Worker = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


def superstep_worker(run: Run, number: int) -> Worker:
    """The task of one superstep: for each block among its rows, the rows of the next superstep or of the result."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        step, last = run.plan.steps[number], number == len(run.plan.steps) - 1
        arrived = by_target(batches)
        for index in list(arrived):  # each is let go when its turn comes
            started = time.perf_counter()
            rows = arrived.pop(index)
            stored = None if run.folder is None else opened_block(run.known, run.folder, index, step)
            block = stored or _block(run, index, [step], rows)
            with threadpool_limits(1):
                state, parts = _state(run.plan, rows), _parts(run, step, rows)
                made = compute(run.plan, step, block, state, _receiver(rows), _partial(run.plan, rows), parts)
                pushed = list(_pushed_rows(run.plan, step, block, made))  # here, for BLAS's threads and the clock
            seconds = time.perf_counter() - started
            if last:
                outputs = {name: made.values[value.id] for name, value in run.plan.program.outputs.items()}
                yield from result_batches(run, block, outputs, _names(rows))
                yield clock_batch(run, number, seconds)
            else:
                yield from to_batches(chain(_next_rows(run, step, block, made), pushed))
                yield from to_batches([_clock_row(index, number, seconds)])
            mark(run.marks, number, index)

    return work


def fused_worker(run: Run) -> Worker:
    """The task of a whole run: all blocks, all supersteps, one task."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrived = by_target(batches)
        if not arrived:
            return  # one of the empty partitions
        if run.folder is not None:
            source = stored_blocks(run, run.folder)
        else:
            steps = run.plan.steps
            source = BlockSource.of([_block(run, index, steps, rows) for index, rows in sorted(arrived.items())])
        yield from run_whole(run, source)
        trim_memory()  # the worker waits for other work, for a minute

    return work


def _block(run: Run, index: int, steps: Sequence[Superstep], rows: Iterable[Row]) -> Block:
    """What some supersteps need of a block, made of the rows that came."""
    if run.known is None:
        return block_from_rows(index, rows)
    return checked_block(run.known, index, rows, static_kinds(steps), static_edges(steps))


def _state(plan: Plan, rows: list[Row]) -> Values:
    chunks: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == STATE:
            chunks[row.name].append(row)
    state = {}
    for name, parts in chunks.items():
        value = plan.program.values[int(name)]
        state[value.id] = join(parts).reshape(-1, *value.shape)
    return state


def _receiver(rows: list[Row]) -> Receive:
    chunks: dict[tuple[EdgeType, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == PAYLOAD:
            chunks[EdgeType.parse(row.name), row.source].append(row)

    def receive(shipment: Shipment, source: int) -> Payload:
        # joined anew for each pass: kept, it would be there twice, since the rows stay until the block is done
        arrived = chunks.get((shipment.edge_type, source))
        # of a tile whose edges are all pushed nothing is sent
        return Payload(decode(join(arrived)) if arrived else np.empty((0, shipment.width), np.float32))

    return receive


def _partial(plan: Plan, rows: list[Row]) -> Partial:
    chunks: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == PARTIAL:
            chunks[row.name, row.source].append(row)

    def partial(shipment: Shipment, source: int, reduction: Value) -> FloatArray:
        return decode(join(chunks[str(plan.program.numbers[reduction.id]), source]))

    return partial


def _names(rows: list[Row]) -> Names:
    chunks: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind in (SOURCE_IDS, SOURCE_ID_OFFSETS):
            chunks[row.kind, row.name, row.source].append(row)

    def names(edge_type: EdgeType, source: int) -> pa.Array:
        offsets = chunks.get((SOURCE_ID_OFFSETS, str(edge_type), source))
        return ids_of(join(chunks[SOURCE_IDS, str(edge_type), source]), join(offsets) if offsets else None)

    return names


def _parts(run: Run, step: Superstep, rows: list[Row]) -> Parts:
    chunks: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == TOTAL:
            chunks[row.source].append(row)
    assert len(chunks) == (run.blocks if step.merges else 0), "a part of a total for each block"
    lanes = [join(parts).reshape(-1) for _, parts in sorted(chunks.items())]
    places, lane = {}, 0
    for total in step.merges:
        places[total.id] = slice(lane, lane + total.width)
        lane += total.width

    def of(total: Value) -> list[TotalArray]:
        return [part[places[total.id]].reshape(1, *total.shape) for part in lanes]

    return of


def _next_rows(run: Run, step: Superstep, block: Block, made: Computed) -> Iterator[Row]:
    here, values = block.index, made.values
    yield _seed(here)
    numbers = run.plan.program.numbers
    for value in step.keeps:
        array = np.ascontiguousarray(values[value.id]).reshape(len(values[value.id]), value.width)
        yield from array_rows(here, here, STATE, str(numbers[value.id]), array)
    for shipment in step.ships:
        for target in sorted(block.sends.get(shipment.edge_type, {})):
            rows = sent_rows(shipment, block, target)
            if (target == LOOPS and not shipment.loops) or not len(rows):
                continue
            to, source = (here, LOOPS) if target == LOOPS else (target, here)
            sent = encode(payload(shipment, rows, values), shipment.wire)
            yield from array_rows(to, source, PAYLOAD, str(shipment.edge_type), sent)
    for edge_type in step.ships_ids:
        for to, rows in sorted(block.sends.get(edge_type, {}).items()):
            if to != LOOPS:
                ids = block.ids[edge_type.source].take(pa.array(rows))
                yield from id_rows(to, here, str(edge_type), ids, (SOURCE_IDS, SOURCE_ID_OFFSETS))
    if step.totals:
        order = run.plan.steps[step.number + 1].merges
        lanes = np.concatenate([made.parts[total.id].reshape(1, total.width) for total in order], axis=1)
        for to in range(run.blocks):
            yield from array_rows(to, here, TOTAL, "", lanes)


def _pushed_rows(plan: Plan, step: Superstep, block: Block, made: Computed) -> Iterator[Row]:
    """Partial results for the reductions of the next superstep."""
    for shipment in step.ships:
        if not shipment.push:
            continue
        compiled = plan.compile(plan.steps[step.number + 1])
        values = side_by_side(shipment, made.values)
        for target, tile in sorted(block.pushes.get(shipment.edge_type, {}).items()):
            for reduction in shipment.pushed:
                sent = encode(compiled[reduction.id].partial(tile, values), shipment.wire)
                yield from array_rows(target, block.index, PARTIAL, str(plan.program.numbers[reduction.id]), sent)


def _seed(block: int) -> Row:
    return next(array_rows(block, block, SEED, "", np.empty(0, np.uint8)))


def _clock_row(block: int, superstep: int, seconds: float) -> Row:
    return Row(block, block, CLOCK, str(superstep), "", 0, round(1000 * seconds), np.empty(0, np.uint8))
