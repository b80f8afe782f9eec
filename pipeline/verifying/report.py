"""What verification found, for a person and for a program.

Comes in: errors of the columns, the check of the rows, counts. Goes out: `Verification`, whose text says what was
compared, what came of it, and what a sample of this size can see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.shown import counted
from pipeline.verifying.edges import EdgeCheck
from pipeline.verifying.judging import OutputError
from pipeline.verifying.rows import RowCheck


@dataclass(frozen=True)
class Verification:
    """What was recomputed, and what came of it."""

    outputs: tuple[OutputError, ...]
    """Of each output; of the probability where the scores have classes."""
    recomputed: int
    """Nodes that were compared."""
    too_large: tuple[int | str, ...]
    """Ids of the sample that were left out: more edges than `limit` lead to them."""
    check: RowCheck | EdgeCheck
    """Of the ids of the whole table; of rows of edges, of the sample, and their number."""
    hops: int
    nodes: int
    """Nodes touched; a node that several groups touch counts for each."""
    edges: int
    limit: int
    seconds: float
    whole: bool = False
    """Whether the whole graph was computed at once."""
    covered: bool = False
    """Whether that was because the neighbourhoods of the sample would have taken more edges."""
    wrong_classes: tuple[int | str, ...] = ()
    """Ids whose predicted class is not the most probable one, and not as probable within rounding."""
    wrong_labels: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Column of labels → ids whose label is not the name of the largest number in their row."""
    compared_edges: int | None = None
    """Rows that were compared, where they are of edges: all edges into the recomputed nodes."""
    wire: str = "float32"
    """Of the run, from the marker of its result."""

    @property
    def of(self) -> str:
        """What the scores have a row for each of."""
        return "nodes" if self.compared_edges is None else "edges"

    @property
    def rows(self) -> int:
        """Of the scores."""
        return self.check.rows

    @property
    def expected_rows(self) -> int:
        """Nodes of the raw table."""
        return self.check.nodes

    @property
    def repeated(self) -> int:
        """Rows whose id has another row."""
        return self.check.repeated

    @property
    def passed(self) -> bool:
        compared = self.recomputed > 0 or self.rows == 0
        right = all(output.passed for output in self.outputs)
        right = right and not self.wrong_classes and not any(self.wrong_labels.values())
        return self.check.passed and compared and right

    def seen(self, share: float) -> float:
        """The probability that a fault in this share of the nodes would have been found."""
        if self.recomputed and self.recomputed == self.expected_rows and self.compared_edges is None:
            return 1.0
        return 1 - float(1 - share) ** self.recomputed

    @property
    def facts(self) -> dict[str, Any]:
        """For programs: keys that stay."""
        return {
            "passed": self.passed,
            "recomputed": self.recomputed,
            "whole_graph": self.whole,
            "seconds": self.seconds,
            "wire": self.wire,
            "outputs": [{**asdict(output), "passed": output.passed} for output in self.outputs],
            "rows": self.check.rows,
            "nodes": self.check.nodes,
            "repeated_ids": self.check.repeated,
            "missing_ids": self.check.missing,
            "unknown_ids": self.check.unknown,
            "wrong_classes": len(self.wrong_classes),
            "wrong_labels": {name: len(ids) for name, ids in self.wrong_labels.items()},
            "left_out_too_large": len(self.too_large),
            "compared_edges": self.compared_edges,
        }

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        how = "the whole graph" if self.whole else counted(self.hops, "hop")
        if self.covered:
            how = f"the whole graph, fewer edges than {counted(self.hops, 'hop')} around each"
        touched = f"{counted(self.nodes, 'node')} and {counted(self.edges, 'edge')} touched"
        lines = [
            f"recomputed {self.recomputed:,} of {counted(self.recomputed + len(self.too_large), 'sampled node')} in "
            f"float64 from the raw tables: {how}, {touched}, {self.seconds:.1f} s",
            *([f"compared {counted(self.compared_edges, 'edge')} into these nodes"] if self.compared_edges else []),
            *map(str, self.outputs),
        ]
        if self.wire != "float32":
            lines.append(f"the run sent numbers as {self.wire}: what that rounds is counted as rounding")
        if self.wrong_classes:
            first = ", ".join(map(str, self.wrong_classes[:3]))
            wrong = counted(len(self.wrong_classes), "class is", "classes are")
            lines.append(f"predicted: {wrong} not the most probable (first: id {first})")
        for name, ids in self.wrong_labels.items():
            if ids:
                first = ", ".join(map(str, ids[:3]))
                wrong = f"{counted(len(ids), 'label')} {'is' if len(ids) == 1 else 'are'}"
                lines.append(f"{name}: {wrong} not the name of the largest number in the row (first: id {first})")
        if self.too_large:
            lines.append(
                f"not recomputed: {counted(len(self.too_large), 'node')} (first: "
                f"{', '.join(map(str, self.too_large[:3]))}) that more than {counted(self.limit, 'edge')} lead to; "
                "a higher limit (--limit) includes them"
            )
        lines.append(str(self.check))
        if 0 < self.recomputed < self.expected_rows and not (self.compared_edges is not None and self.whole):
            these = "this node" if self.recomputed == 1 else f"these {self.recomputed:,} nodes"
            lines.append(
                f"a fault in 1 % of the nodes would be found by {these} with probability "
                f"{100 * self.seen(0.01):.0f} %; in 0.1 %, with {100 * self.seen(0.001):.0f} %; "
                "--sample all compares every node"
            )
        return "\n".join([*lines, "PASS" if self.passed else "FAIL"])


@dataclass(frozen=True)
class TypedVerification:
    """The same of the scores of a typed graph."""

    types: Mapping[str, Verification]
    """Type → what was recomputed of its scores."""
    left_out: tuple[str, ...] = ()
    """Types for which the model gives something, and there are no scores."""

    @property
    def passed(self) -> bool:
        return all(found.passed for found in self.types.values())

    @property
    def facts(self) -> dict[str, Any]:
        """For programs: keys that stay."""
        types = {name: found.facts for name, found in self.types.items()}
        return {"passed": self.passed, "types": types, "left_out_types": list(self.left_out)}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        parts = [f"{found.of} of type {name}\n{found}" for name, found in self.types.items()]
        if self.left_out:
            parts.append(f"not verified, because there are no scores of them: {', '.join(self.left_out)}")
        return "\n".join([*parts, f"all types: {'PASS' if self.passed else 'FAIL'}"])
