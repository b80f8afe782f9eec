"""Spark's part of a run, played in this process: the tasks are those that `pipeline.infer` gives to Spark.

Comes in: a planned run. Goes out: its result, and the bytes between its supersteps. What Spark does between
tasks (it reads files, unites rows, takes the clock out, brings a block's rows together) is some lines of pyarrow here,
in an order that Spark could choose as well. That Spark itself does it is held by tests/test_infer.py, once each way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from pipeline.blocks.columns import DATA, KIND, NAME, ROW_COLUMNS, TARGET
from pipeline.blocks.rows import EDGE_KINDS, array_rows, to_batches
from pipeline.plan.superstep import Superstep
from pipeline.prepared import PreparedGraph
from pipeline.result.output import SUPERSTEP
from pipeline.run.planned import Planned
from pipeline.run.stage import (
    CLOCK,
    PARTIAL,
    PAYLOAD,
    SEED,
    SOURCE_ID_OFFSETS,
    SOURCE_IDS,
    STATE,
    TOTAL,
    fused_worker,
    superstep_worker,
)
from pipeline.run.task import Run, static_edges, static_kinds
from pipeline.settings import Settings


@dataclass(frozen=True)
class Staged:
    result: pa.Table
    """A row for each node."""
    shipped: list[int]
    """Bytes from block to block behind each superstep but the last; distributed tier only."""
    kept: list[int]
    """Bytes from a block to itself."""


def run_stages(planned: Planned, settings: Settings, seed: int = 5) -> Staged:
    """`seed` is of the order in which rows come to a task."""
    run, rng = Run.of(planned, settings), np.random.default_rng(seed)
    shipped: list[int] = []
    kept: list[int] = []
    if planned.choice.tier == "fused":
        rows = _static(planned.graph, run.plan.steps) if run.folder is None else _seeds(run.blocks)
        return Staged(_result(fused_worker(run)(_shuffled(rows, rng))), shipped, kept)
    made: pa.Table | None = None
    for step in run.plan.steps:
        parts = [] if made is None else [made]
        if run.folder is None:
            parts.append(_static(planned.graph, [step]))
        elif made is None:
            parts.append(_seeds(run.blocks))
        rows, work = pa.concat_tables(parts), superstep_worker(run, step.number)
        out = [batch for block in range(run.blocks) for batch in work(_shuffled(_of_block(rows, block), rng))]
        if step is run.plan.steps[-1]:
            return Staged(_result(out), shipped, kept)
        made = pa.Table.from_batches(out)
        made = made.filter(pc.not_equal(made[KIND], CLOCK))
        shipped.append(_bytes(made, (PAYLOAD, PARTIAL, TOTAL, SOURCE_IDS, SOURCE_ID_OFFSETS)))
        kept.append(_bytes(made, (STATE,)))
    raise AssertionError("a plan has a last superstep")


def _of_block(rows: pa.Table, block: int) -> pa.Table:
    return rows.filter(pc.equal(rows[TARGET], block))


def _shuffled(rows: pa.Table, rng: np.random.Generator) -> Iterator[pa.RecordBatch]:
    """In batches of a few rows, as Arrow's size of batches cuts them anywhere."""
    return iter(rows.take(rng.permutation(len(rows))).combine_chunks().to_batches(max_chunksize=7))


def _result(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    return table.filter(pc.is_null(table[SUPERSTEP]))


def _seeds(blocks: int) -> pa.Table:
    none = np.empty(0, np.uint8)
    return pa.Table.from_batches(
        to_batches(row for block in range(blocks) for row in array_rows(block, block, SEED, "", none))
    )


def _static(graph: PreparedGraph, steps: Sequence[Superstep]) -> pa.Table:
    """The stored rows that some supersteps need."""
    rows = pa.dataset.dataset(graph.folder, partitioning=_targets()).to_table(columns=list(ROW_COLUMNS))
    edges = pc.split_pattern(rows[NAME], "/", max_splits=1)
    here = pc.is_in(pc.list_element(edges, 0), pa.array(static_edges(steps), pa.string()))
    of_edges = pc.is_in(rows[KIND], pa.array(list(EDGE_KINDS)))
    wanted = pc.is_in(rows[KIND], pa.array(list(static_kinds(steps))))
    return rows.filter(pc.and_(wanted, pc.or_(pc.invert(of_edges), here)))


def _targets() -> pyarrow.dataset.Partitioning:
    return pyarrow.dataset.partitioning(pa.schema([(TARGET, pa.int32())]), flavor="hive")


def _bytes(rows: pa.Table, kinds: tuple[str, ...]) -> int:
    return pc.sum(pc.binary_length(rows.filter(pc.is_in(rows[KIND], pa.array(kinds)))[DATA])).as_py() or 0
