"""What every task of a run is given, and a whole run in one task.

Comes in: a plan and where its blocks are. Goes out: the batches of the result table, or a file for each block and its
receipt. Knows no Spark: the same task runs in a session's worker (run/stage.py) and in this process (in_process.py).
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from pipeline.blocks.arrow import numbers
from pipeline.blocks.block import Block, FloatArray, IntArray
from pipeline.blocks.opening import Known, open_block
from pipeline.blocks.rows import FEATURES, ID_OFFSETS, IDS, LISTS, PUSHES, TILES
from pipeline.formula.program import output_key
from pipeline.places.place import Place
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep, edges_of
from pipeline.result.columns import Columns
from pipeline.result.output import OutputTable
from pipeline.result.written import RECEIPT_DDL, Folder, Receipt, write_block
from pipeline.run.edge_rows import Names, keys_of_edges, names_by
from pipeline.run.for_targets import run_for_targets
from pipeline.run.fused import BlockSource, Outputs, all_sends, run_stored
from pipeline.run.in_place import Sends
from pipeline.run.needed import Needed, computed, needed_for
from pipeline.run.planned import Planned
from pipeline.run.progress import mark
from pipeline.run.remembering import remembering
from pipeline.run.spill import Keep, spill_to
from pipeline.schema import EdgeType
from pipeline.settings import Settings

log = logging.getLogger("graphsweep")


MOST_CHOSEN = 1 << 28
"""Edges of a graph of which those that lead to targets wait in memory, 4 bytes each; of a larger one on disk."""


@dataclass(frozen=True)
class Run:
    """What every task of a run is given."""

    plan: Plan
    blocks: int
    tables: tuple[OutputTable, ...]
    """Of each type that has outputs."""
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
    targets: tuple[Mapping[str, IntArray], ...] | None = None
    """The nodes that are wanted: of each block, node type → local indices, ascending; None: all."""

    @staticmethod
    def of(
        planned: Planned,
        settings: Settings,
        columns: Columns | None = None,
        marks: str | None = None,
        output: Folder | None = None,
    ) -> Run:
        """The run that was decided upon; `output` and `marks` as above. `columns`: what is asked of the result's."""
        graph, plan = planned.graph, planned.plan
        tables = (columns or Columns()).tables(plan.program, graph, classes=planned.classes)
        folder = graph.folder if planned.reads_files else None
        targets = None if planned.targets is None else planned.targets.rows
        spills = planned.choice.spills or (targets is not None and graph.edges > MOST_CHOSEN)
        spill = _spill_directory(settings) if spills else None
        return Run(plan, graph.blocks, tables, folder, output, marks, planned.threads, spill, graph.known, targets)

    @property
    def table(self) -> OutputTable:
        """The only one: several types are no rows of one table."""
        (table,) = self.tables
        return table

    @property
    def ddl(self) -> str:
        """Of what the last stage gives."""
        return self.table.ddl if self.output is None else RECEIPT_DDL


def _spill_directory(settings: Settings) -> str:
    """On the disk of the machine where the task runs."""
    place = Place.of(tempfile.gettempdir() if settings.scratch is None else settings.scratch)
    return place.path if place.is_local else tempfile.gettempdir()


def static_kinds(steps: Iterable[Superstep], sends: bool = True) -> tuple[str, ...]:
    """The kinds of static rows that some supersteps need of a block. `sends`: whether the block puts together what it
    sends; else the others read its values where they lie (in_place.py)."""
    kinds = [IDS, ID_OFFSETS]  # always: they tell how many nodes there are
    needs = list(steps)
    if any(step.features for step in needs):
        kinds.append(FEATURES)
    if any(step.reductions for step in needs):
        kinds += TILES
    if sends and any(step.ships or step.ships_ids for step in needs):
        kinds += LISTS
    if sends and any(shipment.push for step in needs for shipment in step.ships):
        kinds += PUSHES
    return tuple(kinds)


def static_edges(steps: Iterable[Superstep]) -> tuple[str, ...]:
    """The types of edges, by name, whose tiles or send lists some supersteps need."""
    found = {edges_of(reduction).type for step in steps for reduction in step.reductions}
    found |= {shipment.edge_type for step in steps for shipment in step.ships}
    found |= {edge_type for step in steps for edge_type in step.ships_ids}
    return tuple(sorted(map(str, found)))


def run_whole(run: Run, source: BlockSource) -> Iterator[pa.RecordBatch]:
    """All supersteps of all blocks: the batches of the result, or receipts, and those of the clock."""
    clock = {step.number: 0.0 for step in run.plan.steps}
    last = [time.perf_counter()]

    def done(superstep: int, block: int) -> None:
        now = time.perf_counter()
        clock[superstep] += now - last[0]
        last[0] = now
        mark(run.marks, superstep, block)

    def finish(block: Block, outputs: Outputs) -> list[pa.RecordBatch]:
        names = names_by(block.index, sends.__getitem__, source.ids) if sends else None
        return list(result_batches(run, block, outputs, names))

    def finish_targets(block: Block, outputs: Outputs) -> list[pa.RecordBatch]:
        return list(_rows_of(run, block, outputs))

    keep = None if run.spill is None else spill_to(run.spill)
    sends: list[Sends] | None = all_sends(source, keep) if run.plan.program.is_per_edge else None
    parts = None
    if run.targets is not None:
        source = source if keep else remembering(source)
        lists, targets, parts = parts_of(run, source, keep)
        log.info("targets: computed are %s", "; ".join(computed(parts)))
    if parts is None or parts[-1].blocks is None:
        results = run_stored(run.plan, source, finish, run.threads, done, keep, sends)
    else:
        results = run_for_targets(run.plan, source, lists, parts, targets, finish_targets, run.threads, done, keep)
    for made in results:
        yield from made
    for superstep, seconds in clock.items():
        yield clock_batch(run, superstep, seconds)


def parts_of(
    run: Run, source: BlockSource, keep: Keep | None = None
) -> tuple[Sequence[Sends], Sequence[Mapping[str, IntArray]], list[Needed]]:
    """Of a run for targets the send lists and the targets of each block, and what each superstep computes."""
    assert run.targets is not None, "there are targets"
    assert run.known is not None, "targets are of a graph that is stored"
    sends = all_sends(source, keep)
    return sends, run.targets, needed_for(run.plan, source, sends, run.known.nodes, run.targets, run.threads, keep)


def stored_blocks(run: Run, folder: str) -> BlockSource:
    """The blocks of a prepared graph, each opened when its turn comes."""
    known, edges = run.known, static_edges(run.plan.steps)
    assert known is not None, "what is stored is known"

    def sends(index: int) -> Sends:
        return open_block(known, folder, index, LISTS, edges).sends

    def nodes(index: int, step: Superstep) -> Block:
        kinds = [kind for kind in static_kinds([step], sends=False) if kind not in TILES]
        return open_block(known, folder, index, kinds)

    def tiles(index: int, step: Superstep) -> Block:
        return open_block(known, folder, index, TILES, static_edges([step]))

    opened = partial(opened_block, known, folder, sends=False)
    return BlockSource(run.blocks, opened, sends, nodes, tiles, partial(stored_ids, run))


def stored_ids(run: Run, index: int) -> Mapping[str, pa.Array]:
    """Node type → the ids of a block of a prepared graph."""
    assert run.known is not None, "what is stored is known"
    assert run.folder is not None, "blocks are read by those who compute"
    return open_block(run.known, run.folder, index, [IDS, ID_OFFSETS]).ids


def result_batches(
    run: Run, block: Block, outputs: Mapping[str, FloatArray], names: Names | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a block, those of targets if there are some; or its files written, one for each type of nodes, and
    their receipts. `names`: of the sources of the block's edges, where the rows are those of edges."""
    if run.plan.program.is_per_edge:
        assert names is not None, "rows of edges have the ids of their sources"
        yield from _edges_of(run, block, outputs, names)
        return
    if run.targets is not None:
        rows, program = run.targets[block.index], run.plan.program
        ids = {type: block.ids[type].take(numbers(at)) for type, at in rows.items()}
        at_of = {key: at for type, at in rows.items() for key in program.keys_of(type)}
        block, outputs = replace(block, ids=ids), {key: array[at_of[key]] for key, array in outputs.items()}
    yield from _rows_of(run, block, outputs)


def _rows_of(run: Run, block: Block, outputs: Mapping[str, FloatArray]) -> Iterator[pa.RecordBatch]:
    """The rows that are given, or their files."""
    if run.output is None:
        yield from run.table.batches([_ids(block, run.table)], _of_table(run.table, outputs))
        return
    for table in run.tables:
        rows = table.rows([_ids(block, table)], _of_table(table, outputs))
        yield _written(run.output, block, table, rows)


def _ids(block: Block, table: OutputTable) -> pa.Array:
    assert isinstance(table.type, str), "rows of nodes"
    return block.ids[table.type]


def _written(output: Folder, block: Block, table: OutputTable, rows: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Writes the file of a block; its receipt."""
    count = write_block(output.of_type(table.type), block.index, table, rows)
    return Receipt(block.index, count, type=str(table.type)).batch()


def _edges_of(run: Run, block: Block, outputs: Mapping[str, FloatArray], names: Names) -> Iterator[pa.RecordBatch]:
    """The same of tables with a row per edge, tile by tile."""

    def pieces(table: OutputTable, rows_of: Callable[..., Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        assert isinstance(table.type, EdgeType), "rows of edges"
        own = _of_table(table, outputs)
        for rows, keys in keys_of_edges(block, table.type, names, table.edge_columns or {}):
            yield from rows_of(keys, {name: array[rows] for name, array in own.items()})

    if run.output is None:
        yield from pieces(run.table, run.table.batches)
        return
    for table in run.tables:
        yield _written(run.output, block, table, pieces(table, table.rows))


def _of_table(table: OutputTable, outputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """A program's outputs that are columns of a table, by the names that they have there."""
    return {name: outputs[output_key(table.type, name)] for name in table.outputs}


def clock_batch(run: Run, superstep: int, seconds: float) -> pa.RecordBatch:
    if run.output is None:
        return run.table.clock(superstep, seconds)
    return Receipt(None, None, superstep, round(1000 * seconds)).batch()


def opened_block(known: Known | None, folder: str, index: int, step: Superstep, sends: bool = True) -> Block:
    """What a superstep needs of a block; `sends` as for `static_kinds`."""
    assert known is not None, "what is stored is known"
    return open_block(known, folder, index, static_kinds([step], sends), static_edges([step]))
