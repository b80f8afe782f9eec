"""What a run will be, before anything of it is started: its plan on a graph, its tier, what a task may use.

Comes in: a prepared graph, a model, settings. Goes out: a `Planned`. Knows of Spark only what a session tells of its
tasks; without one, this machine is asked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.graph import PreparedGraph
from pipeline.model import Model
from pipeline.plan.exchange import choose_exchange
from pipeline.plan.memory import Choice, Counts, choose_tier
from pipeline.plan.plan import Plan
from pipeline.resources import is_local, task_cores, task_memory
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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


def plan_run(
    graph: PreparedGraph, model: Model, settings: Settings, spark: SparkSession | None = None, opens: bool = True
) -> Planned:
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
    memory, threads = settings.task_memory or task_memory(spark), settings.threads or task_cores(spark)
    choice = choose_tier(plan, counts, memory, settings.tier, is_local(spark), threads, opens)
    return Planned(graph, plan, choice, threads, opens)


def warn_far_outside(graph: PreparedGraph, model: Model) -> None:
    """Says which columns hold numbers far outside of those that the model was trained on, if it remembers them."""
    lines = model.far_outside(graph.ranges)
    if lines:
        log.warning("columns far outside of what the model was trained on:\n  %s", "\n  ".join(lines))
