"""`explain`: what a run of a model on a prepared graph would do. Starts no work, not even Spark.

Comes in: a prepared graph and a model, opened or as paths. Goes out: text.
"""

from __future__ import annotations

from pipeline.graph import PreparedGraph, open_graph
from pipeline.model import Model
from pipeline.plan.exchange import choose_exchange
from pipeline.plan.explain import explain_plan
from pipeline.plan.memory import Counts, choose_tier
from pipeline.plan.plan import Plan
from pipeline.resources import task_cores, task_memory
from pipeline.settings import Settings


def explain(graph: PreparedGraph | str, model: Model | str, settings: Settings | None = None) -> str:
    """What a run would do: supersteps, bytes, memory, tier and why. Starts no work, not even Spark."""
    settings = settings or Settings()
    prepared = open_graph(graph) if isinstance(graph, str) else graph
    model = Model.load(model) if isinstance(model, str) else model
    model.check_against(prepared.schema, prepared.ranges)
    counts = Counts.of(prepared.manifest)
    plan = choose_exchange(Plan.of(model, prepared.undirected, settings.wire), counts, settings.exchange)
    memory, threads = settings.task_memory or task_memory(None), settings.threads or task_cores(None)
    choice = choose_tier(plan, counts, memory, settings.tier, alone=True, threads=threads)
    return explain_plan(model, plan, prepared.manifest, choice, threads)
