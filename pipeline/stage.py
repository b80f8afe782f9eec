"""A superstep as a Spark stage, and a whole run as one: the two functions that run inside tasks.

Comes in: Arrow batches of rows (columns.ROW_DDL). Goes out: rows for the next superstep, or the result table. Knows of
Spark only the shape of a mapInArrow function: an iterator of batches in, an iterator of batches out. We use mapInArrow
where SQL functions are the usual advice, because a superstep is loops over arrays that no SQL function expresses.

Rows are grouped by their explicit target column: where Spark placed them is speed, never correctness.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from pipeline.blocks import LOOPS, Block, FloatArray
from pipeline.formula.values import Value
from pipeline.fused import Outputs, Sends, Source, run_stored
from pipeline.places.place import Place
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Shipment, Superstep, edges_of
from pipeline.planned import Planned
from pipeline.progress import mark
from pipeline.resources import give_back
from pipeline.result.output import OutputTable
from pipeline.result.written import RECEIPT_DDL, Folder, Receipt, write_block
from pipeline.rows import (
    FEATURES,
    ID_OFFSETS,
    IDS,
    PULLED,
    PUSHES,
    SENDS,
    TILES,
    Row,
    array_rows,
    block_from_rows,
    by_target,
    join,
    to_batches,
)  # fmt: skip
from pipeline.run.opening import Known, checked_block, open_block
from pipeline.schema import EdgeType
from pipeline.settings import Settings
from pipeline.spill import spill_to
from pipeline.superstep import (
    Computed,
    Partial,
    Parts,
    Payload,
    Receive,
    Values,
    compute,
    payload,
    sent_rows,
    side_by_side,
)
from pipeline.total import TotalArray
from pipeline.wire import decode, encode

# kinds of rows that a run makes; those of a block are in rows.py
SEED = "seed"  # empty: every block takes part in every superstep, whether or not anything is sent to it
STATE = "state"  # NAME is the value's number in the program; from the block to itself
PAYLOAD = "payload"  # NAME is the edge type
PARTIAL = "partial"  # NAME is the number of the reduction in the program
TOTAL = "total"  # a block's parts of all totals side by side, one row; to every block
CLOCK = "clock"  # PART is milliseconds, NAME the superstep; taken out before the shuffle

Worker = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class Run:
    """What every task of a run is told."""

    plan: Plan
    blocks: int
    table: OutputTable
    folder: str | None
    """Where a task reads its blocks itself; None: they come as rows."""
    output: Folder | None = None
    """Directory that a task writes the results of its blocks into; None: they go out as rows."""
    marks: str | None = None
    """Where finished blocks are marked for the progress bar."""
    threads: int = 1
    spill: str | None = None
    """Fused: directory where node values wait from one superstep to the next; None: in memory."""
    known: Known | None = None
    """What the blocks are known by; None if they were never stored."""

    @staticmethod
    def of(
        planned: Planned,
        settings: Settings,
        classify: bool = False,
        marks: str | None = None,
        output: Folder | None = None,
    ) -> Run:
        """The run that was decided upon; `output` and `marks` as above."""
        graph, plan = planned.graph, planned.plan
        table = OutputTable.of(plan.program.outputs, graph.id_type, classify)
        folder = graph.folder if planned.opens else None
        spill = _spill_directory(settings) if planned.choice.spills else None
        return Run(plan, graph.blocks, table, folder, output, marks, planned.threads, spill, graph.known)

    @property
    def ddl(self) -> str:
        """Of what the last stage gives."""
        return self.table.ddl if self.output is None else RECEIPT_DDL


def _spill_directory(settings: Settings) -> str:
    """On the disk of the machine where the task runs."""
    place = Place.of(tempfile.gettempdir() if settings.scratch is None else settings.scratch)
    return place.path if place.is_local else tempfile.gettempdir()


def static_kinds(steps: Iterable[Superstep]) -> tuple[str, ...]:
    """The kinds of static rows that some supersteps need of a block."""
    kinds = [IDS, ID_OFFSETS]  # always: they tell how many nodes there are
    needs = list(steps)
    if any(step.features for step in needs):
        kinds.append(FEATURES)
    if any(step.reductions for step in needs):
        kinds += TILES
    if any(step.ships for step in needs):
        kinds += [SENDS, PULLED]
    if any(shipment.push for step in needs for shipment in step.ships):
        kinds += PUSHES
    return tuple(kinds)


def static_edges(steps: Iterable[Superstep]) -> tuple[str, ...]:
    """The types of edges, by name, whose tiles or send lists some supersteps need."""
    found = {edges_of(reduction).type for step in steps for reduction in step.reductions}
    found |= {shipment.edge_type for step in steps for shipment in step.ships}
    return tuple(sorted(map(str, found)))


def superstep_worker(run: Run, number: int) -> Worker:
    """The task of one superstep: for each block among its rows, the rows of the next superstep or of the result."""

    def work(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        step, last = run.plan.steps[number], number == len(run.plan.steps) - 1
        arrived = by_target(batches)
        for index in list(arrived):  # each is let go when its turn comes
            started = time.perf_counter()
            rows = arrived.pop(index)
            stored = None if run.folder is None else _opened(run.known, run.folder, index, step)
            block = stored or _block(run, index, [step], rows)
            with threadpool_limits(1):
                state, parts = _state(run.plan, rows), _parts(run, step, rows)
                made = compute(run.plan, step, block, state, _receiver(rows), _partial(run.plan, rows), parts)
                pushed = list(_pushed_rows(run.plan, step, block, made))  # here, for BLAS's threads and the clock
            seconds = time.perf_counter() - started
            if last:
                outputs = {name: made.values[value.id] for name, value in run.plan.program.outputs.items()}
                yield from _result(run, block, outputs)
                yield _clock_batch(run, number, seconds)
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
            source = Source.of([_block(run, index, steps, rows) for index, rows in sorted(arrived.items())])
        yield from run_whole(run, source)
        give_back()  # the worker waits for other work, for a minute

    return work


def run_whole(run: Run, source: Source) -> Iterator[pa.RecordBatch]:
    """All supersteps of all blocks: the batches of the result, or receipts, and those of the clock."""
    clock = {step.number: 0.0 for step in run.plan.steps}
    last = [time.perf_counter()]

    def done(superstep: int, block: int) -> None:
        now = time.perf_counter()
        clock[superstep] += now - last[0]
        last[0] = now
        mark(run.marks, superstep, block)

    def finish(block: Block, outputs: Outputs) -> list[pa.RecordBatch]:
        return list(_result(run, block, outputs))

    keep = None if run.spill is None else spill_to(run.spill)
    for made in run_stored(run.plan, source, finish, run.threads, done, keep):
        yield from made
    for superstep, seconds in clock.items():
        yield _clock_batch(run, superstep, seconds)


def stored_blocks(run: Run, folder: str) -> Source:
    """The blocks of a prepared graph, each opened when its turn comes."""
    edges = static_edges(run.plan.steps)

    def sends(index: int) -> Sends:
        assert run.known is not None, "what is stored is known"
        return open_block(run.known, folder, index, [SENDS], edges).sends

    return Source(run.blocks, partial(_opened, run.known, folder), sends)


def _result(run: Run, block: Block, outputs: Mapping[str, FloatArray]) -> Iterator[pa.RecordBatch]:
    """The rows of a block; or its file written, and a receipt."""
    ids = next(iter(block.ids.values()))
    if run.output is None:
        yield from run.table.batches(ids, outputs)
    else:
        rows = write_block(run.output, block.index, run.table, run.table.rows(ids, outputs))
        yield Receipt(block.index, rows).batch()


def _clock_batch(run: Run, superstep: int, seconds: float) -> pa.RecordBatch:
    if run.output is None:
        return run.table.clock(superstep, seconds)
    return Receipt(None, None, superstep, round(1000 * seconds)).batch()


def _opened(known: Known | None, folder: str, index: int, step: Superstep) -> Block:
    """What a superstep needs of a block."""
    assert known is not None, "what is stored is known"
    return open_block(known, folder, index, static_kinds([step]), static_edges([step]))


def _block(run: Run, index: int, steps: Sequence[Superstep], rows: Iterable[Row]) -> Block:
    """The same of rows that came, for some supersteps."""
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
        return Payload(decode(join(chunks[shipment.edge_type, source])))

    return receive


def _partial(plan: Plan, rows: list[Row]) -> Partial:
    chunks: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind == PARTIAL:
            chunks[row.name, row.source].append(row)

    def partial(shipment: Shipment, source: int, reduction: Value) -> FloatArray:
        return decode(join(chunks[str(plan.program.numbers[reduction.id]), source]))

    return partial


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
