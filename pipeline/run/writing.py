"""Computing all outputs and writing them: by this process, by Spark's tasks, or by Spark's writer.

Comes in: a run that is planned, and a place to write into. Goes out: what came of it, counted. Knows nothing of where
the result goes in the end (result/destination.py).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError, SettingError, StorageError
from pipeline.infer import NO_SESSION, RESULT, Frames, Observations, run_frames
from pipeline.infer_local import infer_here
from pipeline.places.place import Place
from pipeline.places.staging import Staging
from pipeline.planned import Planned
from pipeline.progress import Progress
from pipeline.result.counted import count_files, mark_done, refuse_missing, refuse_other_blocks
from pipeline.result.destination import Direct
from pipeline.result.flat import lanes_of
from pipeline.result.output import OutputTable
from pipeline.result.wish import Wish
from pipeline.result.written import CSV, PARQUET, Folder, Receipt
from pipeline.settings import Settings
from pipeline.spark.paths import literal
from pipeline.spark.sight import workers_see
from pipeline.workers import readable_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

# What a CSV reader (RFC 4180) reads back is what was given: nothing is trimmed, quotes are doubled.
CSV_OPTIONS = {
    "header": "true",
    "escape": '"',
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}


def folder_of(
    output: Place, staging: Staging | Direct, format: str, settings: Settings, spark: SparkSession | None
) -> Folder | None:
    """Where workers write the table themselves; None: Spark writes it, from their rows.

    `auto` runs a small job to find out whether they see it, unless all is local.
    """
    if settings.write == "spark":
        return None
    if staging.opened is None:
        if settings.write == "worker":
            raise SettingError(f'write is "worker", but {output} is a place that can be reached by Spark only')
        return None
    if spark is None or workers_see(spark, staging.place, staging.run):
        return Folder(staging.place.uri, str(output), format)
    if output.is_local or settings.write == "worker":
        raise StorageError(
            f"{output}: the workers do not see this directory; give a path that all machines share, or the setting "
            'write = "spark" if Spark sees it all the same'
        )
    return None


def compute(
    planned: Planned,
    session: SparkSession | None,
    settings: Settings,
    wish: Wish,
    progress: Progress | None,
    staging: Staging | Direct,
    folder: Folder | None,
    output: Place,
) -> tuple[dict[str, Any], Observations]:
    """Computes and writes; what came of it: "rows" and "files", and milliseconds of supersteps."""
    choice, marks = planned.choice, progress.directory if progress else None
    if session is None and choice.tier != "fused":
        raise ModelError(f"{choice.reason}; {NO_SESSION}")
    log.info("%s%s: %s", choice.tier, "" if session else ", without Spark", choice.reason)
    if progress:
        progress.expect(len(planned.plan.steps), planned.graph.blocks)
    receipts: list[Receipt] = []
    observations: Observations = {}
    if session is None:
        assert folder is not None
        receipts = infer_here(planned, settings, wish.classify, folder, marks)
    else:
        frames = run_frames(planned, session, settings, wish.classify, marks, folder)
        observations = frames.observations
        if folder is not None:
            with readable_errors():
                receipts = [Receipt(*row) for row in frames.result.collect()]
        else:
            with _writable(output, staging):
                _write_by_spark(frames, wish, planned, staging)
    facts = _clock(receipts) if folder else dict(observations[RESULT].get)
    nodes, blocks = planned.graph.nodes, planned.graph.blocks
    if staging.opened is None:
        assert session is not None
        facts["files"] = []
        refuse_missing(_count_by_spark(session, wish, staging.place), facts["rows"], nodes, str(output))
        return facts, observations
    facts["files"] = files = count_files(staging.opened, wish.format, str(output))
    if folder is not None:
        refuse_other_blocks(files, blocks, receipts, str(output))
    refuse_missing(sum(file.rows for file in files), facts["rows"], nodes, str(output))
    mark_done(staging.opened)
    return facts, observations


def _clock(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Of a result that tasks have written: its rows, and the milliseconds of supersteps."""
    rows = {receipt.block: receipt.rows or 0 for receipt in receipts if receipt.block is not None}
    facts: dict[str, Any] = {"rows": sum(rows.values())}  # a block that was tried twice has two receipts
    for receipt in receipts:
        if receipt.milliseconds is not None:
            name = f"ms_{receipt.superstep}"
            facts[name] = facts.get(name, 0) + receipt.milliseconds
    return facts


def _write_by_spark(frames: Frames, wish: Wish, planned: Planned, staging: Staging | Direct) -> None:
    table = frames.result if wish.format == PARQUET else flattened(frames)
    # the directory beside is there already, with its marker; a place that only Spark reaches must not be
    writer = table.write.mode("errorifexists" if staging.opened is None else "append")
    path = staging.place.for_spark
    if wish.format == PARQUET:
        writer.parquet(path)
    else:
        writer.options(**CSV_OPTIONS, quoteAll=planned.graph.id_type == "string").csv(path)


def _count_by_spark(spark: SparkSession, wish: Wish, place: Place) -> int:
    reader = spark.read
    if wish.format == CSV:
        # with a schema: to find one, Spark takes the names of files for patterns once more
        return reader.schema("id string").options(**CSV_OPTIONS, multiLine=True).csv(literal(place)).count()
    return reader.parquet(literal(place)).count()


# what the system says of a disk, among all that Spark says
_DISK = re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied")


@contextmanager
def _writable(output: Place, staging: Staging | Direct) -> Iterator[None]:
    """What Spark's writer says of the directory beside the output is said of the output."""
    try:
        yield
    except Exception as error:  # of Java, of py4j or of PySpark
        found = _DISK.search(str(error))
        if found is not None and staging.place.name in str(error):
            raise StorageError(f"{output}: cannot be written: {found[0]}") from error
        raise


def table_of(planned: Planned, wish: Wish) -> OutputTable:
    return OutputTable.of(planned.plan.program.outputs, planned.graph.id_type, wish.classify)


def flattened(frames: Frames) -> DataFrame:
    """The result for formats without arrays: a column per lane, embedding_0, embedding_1, …"""
    from pyspark.sql import functions as F

    columns: list[Any] = []
    outputs = frames.plan.program.outputs
    for name in frames.result.columns:
        value = outputs.get(name)
        if value is None or value.shape == ():
            columns.append(F.col(f"`{name}`"))
        else:
            names = lanes_of(name, value.width)
            columns += [F.col(f"`{name}`")[lane].alias(alias) for lane, alias in enumerate(names)]
    return frames.result.select(*columns)
