"""`explain`: what a run of a model on a prepared graph would do. Starts no work, not even Spark.

Comes in: a prepared graph and a model, opened or as paths. Goes out: text; or facts for programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from pipeline.graph import PreparedGraph
from pipeline.model import Model
from pipeline.plan.explain import explain_plan, plan_facts
from pipeline.planning import plan_run
from pipeline.run.arguments import model_of, prepared_of
from pipeline.run.planned import Planned
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake


@dataclass(frozen=True)
class Explanation:
    """Of a run that may be."""

    graph: PreparedGraph
    model: Model
    planned: Planned

    @staticmethod
    def of(
        graph: PreparedGraph | str | PathLike[str],
        model: Model | str | PathLike[str],
        settings: Settings | Mapping[str, Any] | None = None,
    ) -> Explanation:
        prepared, model = prepared_of(graph, "explain"), model_of(model)
        return Explanation(prepared, model, plan_run(prepared, model, Settings.taken(settings), handshake(None)))

    @property
    def facts(self) -> dict[str, Any]:
        """For programs: keys that stay."""
        planned = self.planned
        plan = plan_facts(planned.plan, self.graph.manifest, planned.choice, planned.threads)
        return {**self.graph.facts, **self.model.facts, **plan}

    def __str__(self) -> str:
        planned = self.planned
        return explain_plan(self.model, planned.plan, self.graph.manifest, planned.choice, planned.threads)


def explain(
    graph: PreparedGraph | str | PathLike[str],
    model: Model | str | PathLike[str],
    settings: Settings | Mapping[str, Any] | None = None,
) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    return str(Explanation.of(graph, model, settings))
