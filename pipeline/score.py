"""A run that ends in a table on disk: every node's output written, put in place whole, and reported.

Comes in: what `infer` takes, and a path. Goes out: a Parquet or CSV table, log lines, a Report. Knows Spark only by the
DataFrame that infer.py builds, and does without it where there is no session (infer_local.py). A failed run leaves
nothing under the path, and an old table where it was.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError, SettingError, StorageError, nearest, unwritable
from pipeline.graph import Graph, PreparedGraph
from pipeline.infer import RESULT, Frames, Observations, run_frames
from pipeline.model import Model
from pipeline.places.filesystem import Opened, opened
from pipeline.places.given import path_of
from pipeline.places.marker import SCORES
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.scratch import Scratch
from pipeline.places.staging import Staging
from pipeline.places.through_spark import default_filesystem, literal
from pipeline.plan.memory import size
from pipeline.planning import NO_SESSION, planned_for, probes_of, refuse_without_spark, session_of, warn_far_outside
from pipeline.result.by_type import giving, types_of
from pipeline.result.counted import File, count_files, mark_done, refuse_missing, refuse_other_blocks
from pipeline.result.destination import Direct, Manifest, destination, find_manifest, tidy
from pipeline.result.flat import lanes_of
from pipeline.result.inputs import inputs_of
from pipeline.result.manifest import differences, facts_of, origin
from pipeline.result.output import OutputTable
from pipeline.result.written import CSV, PARQUET, Folder, Receipt
from pipeline.run.arguments import model_of, some_graph
from pipeline.run.in_process import run_in_process
from pipeline.run.planned import Planned
from pipeline.run.progress import Progress
from pipeline.schema import spelled
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.session import readable_errors
from pipeline.tables.identity import identity

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

FORMATS = (PARQUET, CSV)
SKIP = "skip"

# What a CSV reader (RFC 4180) reads back is what was given: nothing is trimmed, quotes are doubled.
CSV_OPTIONS = {
    "header": "true",
    "escape": '"',
    "ignoreLeadingWhiteSpace": "false",
    "ignoreTrailingWhiteSpace": "false",
}


@dataclass(frozen=True)
class Wish:
    """What the user wants of the result. SettingError for what there is not."""

    output: str | os.PathLike[str]
    format: str = PARQUET
    overwrite: bool = False
    classify: bool = False
    if_same: str | None = None
    """"skip": a result of the same graph, model and settings that is there already is as good."""
    types: tuple[str, ...] | None = None
    """Of a typed graph: the types of nodes to score; None: all."""

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise SettingError(f"unknown output format {self.format!r}; {nearest(self.format, FORMATS)}")
        if self.if_same not in (None, SKIP):
            raise SettingError(f"if_same is {self.if_same!r}; accepted: {SKIP}")

    def is_met_by(self, manifest: Manifest, wanted: Mapping[str, Any]) -> bool:
        """Whether a result that is there is the wanted one. StorageError if it is not, and may not be replaced."""
        found = differences(manifest, wanted)
        if found and not self.overwrite:
            raise StorageError(
                f"{self.output}: exists already, and is not the same ({', '.join(found)}); give another path, or "
                "overwrite it"
            )
        if found:
            log.info("%s: will be replaced, because it is not the same (%s)", self.output, ", ".join(found))
        return not found


@dataclass(frozen=True)
class SuperstepReport:
    """What one superstep did; bytes are None where nothing left the process."""

    number: int
    seconds: float
    """Computing, summed over tasks (fused: elapsed)."""
    shipped: int | None = None
    kept: int | None = None


@dataclass(frozen=True)
class Report:
    """What a run did."""

    output: str
    rows: int
    seconds: float
    prepare_seconds: float
    tier: str
    reason: str
    supersteps: tuple[SuperstepReport, ...]
    spark: bool = True
    """Whether Spark ran it; else this process did."""
    run: str = ""
    """Of the run that wrote the table: it is in the table's marker, _graphsweep.json."""
    skipped: bool = False
    """Whether the same result was there already, and nothing was done."""

    def with_preparing(self, seconds: float) -> Report:
        """The same, if the graph had been prepared for this run before."""
        return replace(self, seconds=self.seconds + seconds, prepare_seconds=self.prepare_seconds + seconds)

    def __str__(self) -> str:
        if self.skipped:
            return f"already there: {self.rows:,} nodes scored by run {self.run}, {self.reason}, in {self.output}"
        prepared = f", of which preparing the graph {self.prepare_seconds:.1f} s" if self.prepare_seconds else ""
        return f"{self.rows:,} nodes scored in {self.seconds:.1f} s{prepared} ({self.tier}), written to {self.output}"


class AlreadyThere(Exception):
    """The result that is wanted is there; it has been found while nobody else writes."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__("the same result is there already")
        self.manifest = manifest


def score(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str = PARQUET,
    overwrite: bool = False,
    classify: bool = False,
    if_same: str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
    types: Sequence[str] | None = None,
) -> Report:
    """Runs jobs: computes every node's output and writes it to `output`; of a typed graph a table for each type of
    nodes, in a folder of its name, all of them at once.

    Without a session, a graph that is prepared, or read by `Graph.of_files`, is run in this process: no Spark, no Java.

    Parameters
    ----------
    format
        "parquet", or "csv": with a column for each lane, embedding_0, embedding_1, …
    overwrite
        Replace scores that graphsweep wrote. Nothing else is ever replaced.
    if_same
        "skip": do nothing if scores of the same graph, model and settings are there already.
    types
        Of a typed graph, the types of nodes to score, and nothing is computed that these do not need; else all for
        which the model gives something.

    Raises
    ------
    SettingError
        If the path is, holds or lies in something that the run reads.
    StorageError
        If the path exists (and `overwrite` is not given, or it is not ours), or cannot be written. Before any job
        starts.
    """
    settings = Settings.taken(settings)
    wish = Wish(path_of("the output", output), format, overwrite, classify, if_same, types_of(types))
    with Scratch(settings.scratch) as scratch:
        return scored(graph, model, wish, settings, spark, progress, scratch)


def scored(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    wish: Wish,
    settings: Settings,
    spark: SparkSession | None,
    progress: Progress | None,
    scratch: Scratch,
    tables: Mapping[str, Any] | None = None,
) -> Report:
    """The same for who has a scratch directory, and for a graph that was prepared in it: of `tables`."""
    started = time.perf_counter()
    read = {"the model": None if isinstance(model, Model) else model}
    model, graph = giving(model_of(model), wish.types), some_graph(graph)
    session = session_of(graph, spark)
    default = default_filesystem(session)
    place = Place.of(wish.output, default)
    refuse_overlap(place, inputs_of(default, graph, settings, files=read))
    if session is None:
        refuse_without_spark(place, settings)
    if isinstance(graph, Graph):
        tables = identity(graph, default)
    known = None if isinstance(graph, Graph) else graph.fingerprint
    wanted = origin(model, settings, wish.format, wish.classify, known, tables, wish.types)

    def look(manifest: Manifest) -> None:
        if wish.is_met_by(manifest, wanted):
            raise AlreadyThere(manifest)

    try:
        if wish.if_same and (there := find_manifest(place, session)):
            look(there)
        with destination(place, wish.overwrite, session, look if wish.if_same else None) as staging:
            shake = handshake(session, [*probes_of(graph, settings), *_probes(place)], default)
            folder = _folder(place, staging, wish.format, settings, shake)
            planned = planned_for(graph, model, settings, shake, scratch)
            warn_far_outside(planned.graph, model)
            prepared = time.perf_counter() - started if isinstance(graph, Graph) else 0.0
            facts, observations = _run(planned, session, settings, wish, progress, staging, folder, place)
            if staging.opened is not None and not staging.opened.renames:
                log.info("%s: nothing can be renamed there; who lists it meanwhile sees old and new files", place)
            steps = _supersteps(planned, observations, facts)
            fingerprint, made = planned.graph.fingerprint, _tables(planned, wish)
            by_type = planned.graph.is_typed
            staging.publish(SCORES, facts_of(wanted, fingerprint, made, facts["files"], facts["rows"], by_type))
    except AlreadyThere as found:
        with suppress(StorageError):  # somebody is writing there, or nobody can: the result is there all the same
            tidy(place)
        return _skipped(wish, found.manifest, time.perf_counter() - started)
    seconds, choice = time.perf_counter() - started, planned.choice
    report = Report(os.fspath(wish.output), facts["rows"], seconds, prepared, choice.tier, choice.reason, steps)
    return replace(report, spark=session is not None, run=staging.run)


def find_same(place: Place, wish: Wish, wanted: Mapping[str, Any], spark: SparkSession | None) -> Report | None:
    """The report of a result that is there already, if the wish is content with it. Nothing is begun."""
    started = time.perf_counter()
    there = find_manifest(place, spark) if wish.if_same else None
    if there is None or not wish.is_met_by(there, wanted):
        return None
    with suppress(StorageError):
        tidy(place)
    return _skipped(wish, there, time.perf_counter() - started)


def _skipped(wish: Wish, manifest: Manifest, seconds: float) -> Report:
    reason = f"of {manifest.get('created', 'an unknown time')}, from the same graph, model and settings"
    run, rows = str(manifest.get("run")), int(manifest["rows"])
    return Report(os.fspath(wish.output), rows, seconds, 0.0, "", reason, (), False, run, skipped=True)


# ---- computing and writing


def _folder(
    output: Place, staging: Staging | Direct, format: str, settings: Settings, shake: Handshake
) -> Folder | None:
    """Where workers write the table themselves; None: Spark writes it, from their rows."""
    if staging.opened is None:
        if settings.write == "worker":
            raise SettingError(f'write is "worker", but {output} is a place that can be reached by Spark only')
        return None
    if output.is_local or settings.write == "worker":  # on disks of their own, Spark's executors would write too
        shake.require_written(_probed(output), "give a path that all machines share, or of a file system that they do")
    if settings.write == "spark":
        return None
    return Folder(staging.place.uri, str(output), format) if shake.writes(_probed(output)) else None


def _probes(output: Place) -> list[Probe]:
    return [] if opened(output) is None else [Probe(_probed(output), made=True)]


def _probed(output: Place) -> str:
    """What tasks are asked about: in the user's own words, where these mean the same to them."""
    return str(output) if output.is_local else output.uri


def _run(
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
    types = [table.node_type for table in _tables(planned, wish)]
    by_type = planned.graph.is_typed
    if by_type:
        if folder is None or staging.opened is None:
            raise SettingError(
                f"{output}: the tables of a typed graph are written by tasks, and these cannot write there, or are not "
                'to (write = "spark"); give a path that all machines share'
            )
        folder = replace(folder, by_type=True)
        for type in types if staging.opened.renames else ():
            _make_folder(staging.opened.child(spelled(type)), f"{output}/{spelled(type)}")
    if session is None:
        assert folder is not None
        receipts = run_in_process(planned, settings, wish.classify, folder, marks)
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
    if by_type:
        facts["files"] = _count_types(staging.opened, types, planned, wish, receipts, str(output))
        return facts, observations
    facts["files"] = files = count_files(staging.opened, wish.format, str(output))
    if folder is not None:
        refuse_other_blocks(files, blocks, receipts, str(output))
    refuse_missing(sum(file.rows for file in files), facts["rows"], nodes, str(output))
    mark_done(staging.opened)
    return facts, observations


def _make_folder(folder: Opened, output: str) -> None:
    try:
        folder.filesystem.create_dir(folder.path, recursive=False)
    except OSError as error:  # a name that is too long for the disk, say
        raise unwritable(output, error) from error


def _count_types(
    directory: Opened, types: Sequence[str], planned: Planned, wish: Wish, receipts: Sequence[Receipt], output: str
) -> list[File]:
    """The files of all tables; StorageError unless each has a row for every node of its type."""
    found = []
    for type in types:
        name = spelled(type)
        here, called = directory.child(name), f"{output}/{name}"
        files = count_files(here, wish.format, called)
        mine = [receipt for receipt in receipts if receipt.node_type == type]
        refuse_other_blocks(files, planned.graph.blocks, mine, called)
        rows = {receipt.block: receipt.rows or 0 for receipt in mine if receipt.block is not None}
        count = sum(file.rows for file in files)
        refuse_missing(count, sum(rows.values()), planned.graph.node_counts[type], called)
        mark_done(here)
        found += [file._replace(name=f"{name}/{file.name}") for file in files]
    return found


def _clock(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Of a result that tasks have written: its rows, and the milliseconds of supersteps."""
    rows = {(receipt.node_type, receipt.block): receipt.rows or 0 for receipt in receipts if receipt.block is not None}
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


def _tables(planned: Planned, wish: Wish) -> tuple[OutputTable, ...]:
    return OutputTable.of_program(planned.plan.program, planned.graph.id_types, wish.classify)


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


def _supersteps(planned: Planned, observations: Observations, facts: dict[str, Any]) -> tuple[SuperstepReport, ...]:
    seen = {name: observation.get for name, observation in observations.items() if name != RESULT}
    supersteps = []
    for step in planned.plan.steps:
        found = seen.get(str(step.number), {})
        milliseconds = found.get("ms") or facts.get(f"ms_{step.number}") or 0
        report = SuperstepReport(step.number, milliseconds / 1000, found.get("shipped"), found.get("kept"))
        supersteps.append(report)
        moved = ""
        if found:
            moved = f", shipped {size(report.shipped or 0)}, kept {size(report.kept or 0)}"
        log.info("superstep %d: %d nodes, computed in %.2f s%s", step.number, facts["rows"], report.seconds, moved)
    return tuple(supersteps)
