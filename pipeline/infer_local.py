"""A whole run in this process: the fused tier's task without Spark around it.

Comes in: a run that is planned. Goes out: the files of all blocks, and their receipts. Where a graph fits one machine
and everybody's files are on its disks, Spark would only be started and stopped: of the 14 s for the airline network 10.
"""

from __future__ import annotations

from pipeline.errors import ModelError
from pipeline.graph import PreparedGraph
from pipeline.infer import NO_SESSION, planned_for
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.place import Place
from pipeline.planned import Planned
from pipeline.resources import give_back
from pipeline.result.written import Folder, Receipt
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from pipeline.stage import Run, run_whole, stored_blocks


def infer_here(
    planned: Planned, settings: Settings, classify: bool, output: Folder, marks: str | None
) -> list[Receipt]:
    """Runs all supersteps and writes a file for each block into the directory `output`."""
    run = Run.of(planned, settings, classify, marks, output)
    batches = run_whole(run, stored_blocks(run, planned.graph.folder))
    receipts = [Receipt(**row) for batch in batches for row in batch.to_pylist()]
    give_back()
    return receipts


def runs_here(graph: PreparedGraph, model: Model, output: Place, settings: Settings) -> bool:
    """Whether a run needs no Spark: this process sees all files and has the memory, and nobody asked for something
    else."""
    if _why_spark(output, settings) is not None:
        return False
    return planned_for(graph, model, settings, handshake(None)).choice.tier == "fused"


def refuse_without_spark(output: Place, settings: Settings) -> None:
    """ModelError if a run needs a session, as far as that is known before the graph is."""
    why = _why_spark(output, settings)
    if why is not None:
        raise ModelError(f"{why}, but {NO_SESSION}")


def _why_spark(output: Place, settings: Settings) -> str | None:
    if settings.tier == "distributed":
        return "tier is distributed, which takes Spark"
    for name in ("read", "write"):
        if getattr(settings, name) == "spark":
            return f"{name} is spark"
    if opened(output) is None:
        return f"{output} can be reached by Spark only"
    return None
