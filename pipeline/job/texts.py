"""What a job says: of a graph, and of scores when they are written.

Comes in: a prepared graph; a report. Goes out: lines for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.shown import counted

if TYPE_CHECKING:
    from pipeline.prepared import PreparedGraph
    from pipeline.result.report import Report


def describe(graph: PreparedGraph) -> str:
    """What a prepared graph holds."""
    totals = graph.manifest["totals"]
    return (
        f"graph of {counted(totals['nodes'], 'node')} and {counted(totals['edges'], 'edge')} "
        f"({counted(totals['self_loops'], 'self-loop')}, largest in-degree {totals['max_in_degree']:,}) "
        f"in {counted(graph.blocks, 'block')}"
        + (f"; {counted(totals['dropped'], 'dangling edge')} dropped" if totals.get("dropped") else "")
        + (_types(graph) if graph.is_typed else "")
    )


def _types(graph: PreparedGraph) -> str:
    of_nodes = ", ".join(f"{type} {count:,}" for type, count in graph.node_counts.items())
    of_edges = ", ".join(
        f"{type.source} {type.relation} {type.target} {count:,}"
        for type, count in graph.edge_counts.items()
        if not type.is_reversed
    )
    return f"; nodes: {of_nodes}; edges: {of_edges}"


def already_there(report: Report, format: str) -> str:
    """Of a result that was there."""
    return (
        f"skipped  {report.counted} {'is' if report.rows == 1 else 'are'} scored already, by run {report.run} "
        f"{report.reason}\n"
        f"written  {report.output} ({format})"
    )


def report_line(page: Mapping[str, Any] | None) -> list[str]:
    """Where the page about it is, if there is one."""
    return [] if page is None else [f"report   {page['path']}"]


def summary(report: Report, compiling: float, format: str) -> str:
    """Of a result that was computed. `compiling`: seconds that the run waited for compiled code before it started."""
    computed = sum(step.seconds for step in report.supersteps)
    steps = ", ".join(f"{step.seconds:.1f}" for step in report.supersteps)
    where = [f"preparing {report.prepare_seconds:.1f} s"] if report.prepare_seconds else []
    where += [f"compiling {compiling:.1f} s"] if compiling >= 0.05 else []
    if report.tier == "fused":
        rest = max(0.0, report.seconds - report.prepare_seconds - computed)
        where += [f"supersteps {computed:.1f} s ({steps})", f"the rest {rest:.1f} s"]
    else:
        where += [
            f"the rest over {counted(len(report.supersteps), 'stage')}, whose tasks computed {computed:.1f} s ({steps})"
        ]
    return "\n".join(
        [
            f"scored   {report.counted} in {report.seconds + compiling:.1f} s: {', '.join(where)}",
            f"tier     {report.tier}{'' if report.spark else ', without Spark'}: {report.reason}",
            f"written  {report.output} ({format})",
        ]
    )
