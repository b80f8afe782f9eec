"""What a run will be, before anything of it is started: its plan on a graph, its tier, what a task may use.

Comes in: a prepared graph, a model, settings, what is known of the tasks. Goes out: a `Planned`. Knows no Spark.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.graph import PreparedGraph
from pipeline.plan.memory import Choice
from pipeline.plan.plan import Plan

log = logging.getLogger("graphsweep")


@dataclass(frozen=True)
class Planned:
    """A run that is decided upon."""

    graph: PreparedGraph
    plan: Plan
    choice: Choice
    threads: int
    """Blocks that a task works on at a time."""
    reads_files: bool
    """Tasks open the graph's files themselves; else they are sent what is in them."""
