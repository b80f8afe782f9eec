"""A whole run in this process: the fused tier's task without Spark around it.

Comes in: a run that is planned. Goes out: the files of all blocks, and their receipts; or the rows themselves. Where a
graph fits one machine and everybody's files are on its disks, Spark would only be started and stopped: of the 14 s for
the airline network 10.
"""

from __future__ import annotations

import pyarrow as pa

from pipeline.result.columns import Columns
from pipeline.result.output import SUPERSTEP
from pipeline.result.written import Folder, Receipt
from pipeline.run.planned import Planned
from pipeline.run.task import Run, run_whole, stored_blocks
from pipeline.settings import Settings
from pipeline.spark.limits import trim_memory


def run_in_process(
    planned: Planned, settings: Settings, columns: Columns, output: Folder, marks: str | None
) -> list[Receipt]:
    """Runs all supersteps and writes a file for each block into the directory `output`."""
    run = Run.of(planned, settings, columns, marks, output)
    batches = run_whole(run, stored_blocks(run, planned.graph.folder))
    receipts = [Receipt(**row) for batch in batches for row in batch.to_pylist()]
    trim_memory()
    return receipts


def table_in_process(planned: Planned, settings: Settings, columns: Columns) -> pa.Table:
    """Runs all supersteps; the rows of the nodes of the one type that has outputs, held in memory: id, outputs."""
    run = Run.of(planned, settings, columns)
    batches = [
        batch.select(run.table.columns.names)
        for batch in run_whole(run, stored_blocks(run, planned.graph.folder))
        if batch[SUPERSTEP].null_count == batch.num_rows  # else it is the clock's
    ]
    trim_memory()
    return pa.Table.from_batches(batches, run.table.columns)
