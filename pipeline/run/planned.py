"""A run that is decided upon: its plan on a graph, its tier, what a task may use. planning.py decides.

Knows no Spark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.plan.plan import Plan
from pipeline.plan.tier import Choice
from pipeline.prepared import PreparedGraph
from pipeline.run.located import Located
from pipeline.schema import EdgeType


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
    targets: Located | None = None
    """The nodes that are wanted; None: all."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the model: output → the names of its classes."""

    @property
    def rows(self) -> int:
        """Of the result."""
        if self.plan.program.is_per_edge:
            counts = self.graph.edge_counts
            return sum(counts[type] for type in self.plan.program.output_types if isinstance(type, EdgeType))
        return self.graph.nodes if self.targets is None else self.targets.count
