"""`explain`: what a run of a model on a prepared graph would do. Starts no work, not even Spark.

Comes in: a prepared graph and a model, opened or as paths. Goes out: text.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from pipeline.graph import PreparedGraph
from pipeline.model import Model
from pipeline.plan.explain import explain_plan
from pipeline.plan.memory import Counts
from pipeline.plan.seconds import duration, expect, expect_part
from pipeline.planning import plan_run, why_all, with_targets
from pipeline.run.arguments import model_of, prepared_of
from pipeline.run.fused import all_sends
from pipeline.run.needed import computed, needed_for
from pipeline.run.planned import Planned
from pipeline.run.remembering import remembering
from pipeline.run.task import Run, stored_blocks
from pipeline.run.transport import transport_of
from pipeline.schema import NODE
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from pipeline.tables.targets import Targets


def explain(
    graph: PreparedGraph | str | PathLike[str],
    model: Model | str | PathLike[str],
    settings: Settings | Mapping[str, Any] | None = None,
    targets: Any = None,
    ignore_unknown: bool = False,
) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark.

    Of a run for targets (as for `score`) also what each superstep computes, and what that takes beside the run for all
    nodes: to find out, the ids and the edges of the graph are read.
    """
    prepared, model, settings = prepared_of(graph, "explain"), model_of(model), Settings.taken(settings)
    planned = plan_run(prepared, model, settings, handshake(None))
    wanted = Targets.of(targets, ignore_unknown)
    lines = [] if wanted is None else _targets(with_targets(planned, wanted, settings, None), settings)
    sends = transport_of(planned, settings)
    return explain_plan(model, planned.plan, prepared.manifest, planned.choice, planned.threads, lines, sends)


def _targets(planned: Planned, settings: Settings) -> list[str]:
    """Lines about a run for some nodes."""
    graph, plan = planned.graph, planned.plan
    first = f"{planned.rows:,} of {graph.nodes:,} nodes are wanted"
    why = why_all(planned, settings)
    if why:
        return [f"{first}: all are computed, because {why}, and the rows of these are kept"]
    run = Run.of(planned, settings)
    assert run.targets is not None, "there are targets"
    rows = [{NODE: of_block} for of_block in run.targets]
    source = remembering(stored_blocks(run, graph.folder))
    parts = needed_for(plan, source, all_sends(source), graph.known.nodes, rows, planned.threads)
    if parts[-1].blocks is None:
        return [f"{first}: all are computed, because that is less work, and the rows of these are kept"]
    counts = Counts.of(graph.manifest)
    shares = [
        (1.0, 1.0) if part.blocks is None else (part.nodes / max(graph.nodes, 1), part.edges / max(graph.edges, 1))
        for part in parts
    ]
    less = expect_part(plan, counts, planned.threads, shares)
    whole = expect(plan, counts, "fused", planned.threads).total
    return [f"{first}, expected: {duration(less)} where all take {duration(whole)}", *computed(parts)]
