"""What __main__.py found, as Markdown.

Comes in: outcomes. Goes out: text. Medians over rounds; a ratio is the median of the ratios of single rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from jobs.bench.rivals.contender import Outcome
from jobs.bench.table import cores, gigabytes, table

TITLES = {
    "pyg": "PyG, its process from start to end",
    "raw": "graphsweep, raw tables → output, new process",
    "prepare": "graphsweep, prepare",
    "fused": "graphsweep, fused",
    "distributed": "graphsweep, distributed",
    "spark": "plain Spark, join + groupBy",
    "khop 1": "k-hop on Spark + PyG, a neighbourhood per node",
    "khop 1024": "k-hop on Spark + PyG, a neighbourhood per 1024 nodes",
    "graphframes": "GraphFrames, aggregateMessages",
}
HEAD = [
    "", "seconds", "× fused", "× distributed", "core-seconds", "shuffled", "peak memory", "seconds per 10⁹ edges",
    "difference", "",
]  # fmt: skip


def render(outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    by_name: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_name.setdefault(outcome.name, []).append(outcome)
    rows = [row(name, by_name, about) for name in by_name]
    return f"{headline(outcomes, about)}\n\n{table(HEAD, rows)}\n"


def headline(outcomes: Sequence[Outcome], about: Mapping[str, Any]) -> str:
    given, task, machine = about["parameters"], about["task"], about["machine"]
    loads = [outcome.run.load for outcome in outcomes if outcome.run] or [0.0]
    hub = f" ({given['hub']:.0%} of the edges have one node as {given['hub_end']})" if given["hub"] else ""
    model = f"{given['features']}→{given['features'] if task['model'] == 'wide' else 64}→32"
    return (
        f"GraphSAGE (mean) {model}; R-MAT graph of {task['nodes']:,} nodes and {task['edges']:,} edges{hub}; "
        f"{task['blocks']} blocks; plain Spark sums by {task['form']}. {machine['cores']} cores of {machine['cpu']}, "
        f"{gigabytes(machine['memory_bytes'])}; load average before runs {min(loads):.1f}–{max(loads):.1f}. "
        f"Commit {machine['commit']}. Prepared graph → output (graphsweep, but where it says raw), raw "
        f"tables → output (all others); warm, but for PyG and raw."
    )


def row(name: str, by_name: Mapping[str, list[Outcome]], about: Mapping[str, Any]) -> list[str]:
    """What is reckoned rather than measured has ~ or ≥ before it, and its row ends with how."""
    done = [outcome for outcome in by_name[name] if outcome.run]
    note = "; ".join(dict.fromkeys(outcome.failed for outcome in by_name[name] if outcome.failed))
    if not done:
        return [TITLES[name], *["—"] * (len(HEAD) - 2), note]
    runs = [outcome.run for outcome in done if outcome.run]
    seconds = median(whole(outcome) for outcome in done)
    part = done[0].seeds is not None
    if part:
        measured = f"measured: {median(run.seconds for run in runs):.1f} s for {done[0].seeds:,} nodes, the other "
        note = "; ".join(filter(None, [measured + "figures but seconds are of these; all nodes: reckoned", note]))
    # a sample too small to tell from a quarter of it gives a bound only
    mark = "" if not part else "~" if any(whole(one) > one.run.seconds for one in done if one.run) else "≥"
    shuffled = [outcome.shuffled for outcome in done if outcome.shuffled is not None]
    differences = [run.max_difference for run in runs if run.max_difference is not None]
    return [
        TITLES[name],
        f"{mark}{seconds:.1f}",
        ratio(done, by_name.get("fused", []), mark),
        ratio(done, by_name.get("distributed", []), mark),
        f"{median(map(cores, runs)):.1f}",
        gigabytes_or_less(median(shuffled)) if shuffled else "",
        gigabytes(median(run.peak_bytes for run in runs)),
        f"{mark}{seconds / about['task']['edges'] * 1e9:,.0f}",
        f"{max(differences):.0e}" if differences else "",
        note,
    ]


def whole(outcome: Outcome) -> float:
    assert outcome.whole is not None
    return outcome.whole


def ratio(done: Sequence[Outcome], others: Sequence[Outcome], mark: str) -> str:
    """Within a round: a machine that gets slower in a later one does not change it."""
    by_round = {other.run.round: whole(other) for other in others if other.run}
    found = [whole(one) / by_round[one.run.round] for one in done if one.run and one.run.round in by_round]
    return f"{mark}{median(found):.2f}" if found else ""


def gigabytes_or_less(number: float) -> str:
    return gigabytes(number) if number >= 1e8 else f"{number / 1e6:.1f} MB"
