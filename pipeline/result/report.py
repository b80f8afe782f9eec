"""What a run did, for people and for programs.

Comes in: counts and times. Goes out: a `Report`, and its one line of text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipeline import shown

NODES, EDGES = "nodes", "edges"


@dataclass(frozen=True)
class SuperstepReport:
    """What one superstep did; bytes are None where nothing left the process."""

    number: int
    seconds: float
    """Computing, summed over tasks (fused: elapsed)."""
    shipped: int | None = None
    kept: int | None = None


@dataclass(frozen=True)
class Report:
    """What a run did."""

    output: str
    rows: int
    seconds: float
    prepare_seconds: float
    tier: str
    reason: str
    supersteps: tuple[SuperstepReport, ...]
    spark: bool = True
    """Whether Spark ran it; else this process did."""
    run: str = ""
    """Of the run that wrote the table: it is in the table's marker, _graphsweep.json."""
    of: str = NODES
    """What the table has a row for each of: "nodes", or "edges"."""
    skipped: bool = False
    """Whether the same result was there already, and nothing was done."""

    def with_preparing(self, seconds: float) -> Report:
        """The same, if the graph had been prepared for this run before."""
        return replace(self, seconds=self.seconds + seconds, prepare_seconds=self.prepare_seconds + seconds)

    @property
    def counted(self) -> str:
        """1 node, 20,000 nodes, 3 edges."""
        return shown.counted(self.rows, self.of.removesuffix("s"))

    @property
    def facts(self) -> dict[str, Any]:
        """For programs: keys that stay. Bytes of a superstep are null where nothing left the process."""
        return {
            "output": self.output,
            "run": self.run,
            "skipped": self.skipped,
            "rows": self.rows,
            "rows_of": self.of,
            "seconds": self.seconds,
            "prepare_seconds": self.prepare_seconds,
            "tier": self.tier or None,
            "reason": self.reason,
            "spark": self.spark,
            "supersteps": [
                {"number": step.number, "seconds": step.seconds, "shipped_bytes": step.shipped, "kept_bytes": step.kept}
                for step in self.supersteps
            ],
        }

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        seconds = ", ".join(f"{step.seconds:.2f}" for step in self.supersteps)
        return shown.html(
            "Report: already there" if self.skipped else "Report",
            {
                f"{self.of} scored": f"{self.rows:,}",
                "seconds": f"{self.seconds:.1f}",
                "of these preparing": f"{self.prepare_seconds:.1f}",
                "tier": f"{self.tier}{'' if self.spark else ', without Spark'}: {self.reason}",
                "supersteps": f"{len(self.supersteps)}: {seconds} s",
                "output": self.output,
                "run": self.run,
            },
        )

    def __str__(self) -> str:
        if self.skipped:
            return f"already there: {self.counted} scored by run {self.run}, {self.reason}, in {self.output}"
        prepared = f", of which preparing the graph {self.prepare_seconds:.1f} s" if self.prepare_seconds else ""
        return f"{self.counted} scored in {self.seconds:.1f} s{prepared} ({self.tier}), written to {self.output}"
