"""What a run will be, before anything of it is started: its plan on a graph, its tier, what a task may use.

Comes in: a prepared graph, a model, settings, what is known of the tasks. Goes out: a `Planned`. Knows no Spark.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.graph import PreparedGraph
from pipeline.model import Model
from pipeline.plan.exchange import choose_exchange
from pipeline.plan.memory import Choice, Counts, choose_tier
from pipeline.plan.plan import Plan
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake

log = logging.getLogger("graphsweep")


@dataclass(frozen=True)
class Planned:
    """A run that is decided upon."""

    graph: PreparedGraph
    plan: Plan
    choice: Choice
    threads: int
    """Blocks that a task works on at a time."""
    opens: bool
    """Tasks open the graph's files themselves; else they are sent what is in them."""


def plan_run(graph: PreparedGraph, model: Model, settings: Settings, shake: Handshake, opens: bool = True) -> Planned:
    """Decides what a run will be. Starts no work.

    Parameters
    ----------
    opens : bool
        Tasks open the graph's files themselves.

    Raises
    ------
    ModelError
        If the graph lacks a column that the model reads, or has it in another width.
    """
    model.check_against(graph.schema, graph.ranges, graph.manifest.get("columns"))
    counts = Counts.of(graph.manifest)
    plan = choose_exchange(Plan.of(model, graph.undirected, settings.wire), counts, settings.exchange)
    memory, threads = settings.task_memory or shake.task_memory, settings.threads or shake.task_cores
    choice = choose_tier(plan, counts, memory, settings.tier, shake.local, threads, opens)
    return Planned(graph, plan, choice, threads, opens)


def warn_far_outside(graph: PreparedGraph, model: Model) -> None:
    """Says which columns hold numbers far outside of those that the model was trained on, if it remembers them."""
    lines = model.far_outside(graph.ranges)
    if lines:
        log.warning("columns far outside of what the model was trained on:\n  %s", "\n  ".join(lines))
