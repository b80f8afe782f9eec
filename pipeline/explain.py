"""`explain`: what a run of a model on a prepared graph would do. Starts no work, not even Spark.

Comes in: a prepared graph and a model, opened or as paths. Goes out: text.
"""

from __future__ import annotations

from pipeline.graph import PreparedGraph, open_graph
from pipeline.model import Model
from pipeline.plan.explain import explain_plan
from pipeline.planned import plan_run
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake


def explain(graph: PreparedGraph | str, model: Model | str, settings: Settings | None = None) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    prepared = open_graph(graph) if isinstance(graph, str) else graph
    model = Model.load(model) if isinstance(model, str) else model
    planned = plan_run(prepared, model, settings or Settings(), handshake(None))
    return explain_plan(model, planned.plan, prepared.manifest, planned.choice, planned.threads)
