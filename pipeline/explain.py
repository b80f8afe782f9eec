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
from pipeline.planning import plan_run
from pipeline.run.arguments import model_of, prepared_of
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake


def explain(
    graph: PreparedGraph | str | PathLike[str],
    model: Model | str | PathLike[str],
    settings: Settings | Mapping[str, Any] | None = None,
) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    prepared, model = prepared_of(graph, "explain"), model_of(model)
    planned = plan_run(prepared, model, Settings.taken(settings), handshake(None))
    return explain_plan(model, planned.plan, prepared.manifest, planned.choice, planned.threads)
