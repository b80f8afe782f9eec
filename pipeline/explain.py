"""`explain`: what a run of a model on a prepared graph would do. Starts no work, not even Spark.

Comes in: a prepared graph and a model, opened or as paths. Goes out: text; or facts for programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

from pipeline.lowering.rewritten import Rewritten
from pipeline.model import Model
from pipeline.plan.counts import Counts
from pipeline.plan.explain import explain_plan, plan_facts
from pipeline.plan.plan import Plan
from pipeline.plan.seconds import duration, expect, expect_part
from pipeline.planning import plan_run, refuse_targets, why_all, with_targets
from pipeline.prepared import PreparedGraph
from pipeline.report.diagram import exchanges
from pipeline.report.page_file import PageFile
from pipeline.report.plan_page import plan_page
from pipeline.result.by_type import giving, types_wanted
from pipeline.run.arguments import model_of, prepared_of
from pipeline.run.kept import Kept
from pipeline.run.needed import computed
from pipeline.run.planned import Planned
from pipeline.run.remembering import remembering
from pipeline.run.task import Run, parts_of, stored_blocks
from pipeline.run.transport import transport_of
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from pipeline.tables.targets import Targets


@dataclass(frozen=True)
class Explanation:
    """Of a run that may be."""

    graph: PreparedGraph
    model: Model
    planned: Planned
    transport: tuple[str | None, str]
    """How blocks send, and why."""
    kept: Kept | None = None
    """What a work directory would cost, and what of the run is there; None: there is none."""
    of_targets: tuple[str, ...] = ()
    """A line for each thing to know of a run for some nodes."""
    drawn: Mapping[str, Any] | None = None
    """Of its page, if there is one: where it is, exchanges, rewrites."""

    @staticmethod
    def of(
        graph: PreparedGraph | str | PathLike[str],
        model: Model | str | PathLike[str],
        settings: Settings | Mapping[str, Any] | None = None,
        targets: Any = None,
        ignore_unknown: bool = False,
    ) -> Explanation:
        prepared, model, settings = prepared_of(graph, "explain"), model_of(model), Settings.taken(settings)
        wanted = Targets.of(targets, ignore_unknown)
        refuse_targets(model, wanted)
        model = giving(model, types_wanted(None, wanted, model))
        planned = plan_run(prepared, model, settings, handshake(None))
        lines = [] if wanted is None else _targets(with_targets(planned, wanted, settings, None), settings)
        kept = Kept.of(planned, model, settings)
        return Explanation(prepared, model, planned, transport_of(planned, settings), kept, tuple(lines))

    @property
    def facts(self) -> dict[str, Any]:
        """For programs: keys that stay."""
        planned = self.planned
        plan = plan_facts(planned.plan, self.graph.manifest, planned.choice, planned.threads, self.transport[0])
        of_targets = {"targets": list(self.of_targets)} if self.of_targets else {}
        kept = {} if self.kept is None else {"work_dir": self.kept.facts}
        return {**self.graph.facts, **self.model.facts, **plan, **kept, **of_targets, **(self.drawn or {})}

    def with_page(self, page: PageFile, settings: Settings) -> Explanation:
        """The same, drawn as a page. StorageError if it cannot be written."""
        planned, seen = self.planned, Rewritten()
        counts = Counts.of(self.graph.manifest)
        columns = self.graph.manifest.get("columns", {})
        Plan.of(self.model.bound_to(columns), self.graph.undirected, settings.wire, seen)
        drawn = {"html": page.path, "exchanges": exchanges(planned.plan, counts), "rewrites": seen.facts}
        found = replace(self, drawn=drawn)
        page.write(plan_page(found.facts, planned.plan, counts, str(self)))
        return found

    def __str__(self) -> str:
        planned = self.planned
        manifest, lines = self.graph.manifest, list(self.of_targets)
        choice, sends = planned.choice, self.transport
        kept = [] if self.kept is None else self.kept.lines
        return explain_plan(self.model, planned.plan, manifest, choice, planned.threads, lines, sends, kept)


def explain(
    graph: PreparedGraph | str | PathLike[str],
    model: Model | str | PathLike[str],
    settings: Settings | Mapping[str, Any] | None = None,
    targets: Any = None,
    ignore_unknown: bool = False,
) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark.

    Of a run for targets (as for `score`) also what each superstep computes, and what that takes beside the run for all
    nodes: to find out, the ids and the edges of the graph are read. With `settings.work_dir` what that would cost, and
    how much of this run is there already.
    """
    return str(Explanation.of(graph, model, settings, targets, ignore_unknown))


def _targets(planned: Planned, settings: Settings) -> list[str]:
    """Lines about a run for some nodes."""
    graph, plan = planned.graph, planned.plan
    first = f"{planned.rows:,} of {graph.nodes:,} nodes are wanted"
    why = why_all(planned, settings)
    if why:
        return [f"{first}: all are computed, because {why}, and the rows of these are kept"]
    run = Run.of(planned, settings)
    _, _, parts = parts_of(run, remembering(stored_blocks(run, graph.folder)))
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
