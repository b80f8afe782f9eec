"""`explain`: what a run would do, before it does it: supersteps, what each ships, bytes for this graph, tier and why.

Comes in: a model and a prepared graph's manifest. Goes out: text. Starts no work.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

from pipeline.formula.totals import TOTALS
from pipeline.formula.values import Value
from pipeline.model import Model
from pipeline.plan.advice import advice
from pipeline.plan.branch import Branch
from pipeline.plan.counts import Counts
from pipeline.plan.memory import block_bytes, sorted_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import pull_bytes, push_bytes
from pipeline.plan.seconds import FILES, MACHINE, STARTING, Seconds, about, duration, expect
from pipeline.plan.shipped import (
    id_bytes,
    kept_bytes,
    kept_lanes,
    kept_totals,
    shipment_bytes,
    shipped_rows,
    total_bytes,
    total_lanes,
)
from pipeline.plan.skew import skew_lines
from pipeline.plan.superstep import Shipment, Superstep, edges_of
from pipeline.plan.tier import Choice
from pipeline.schema import EDGE, NODE
from pipeline.shown import counted, size

LINE = 119  # characters
WAYS = {"fused": "fused", FILES: "distributed through files", "distributed": "through the shuffle"}
SHORT = {"fused": "fused", FILES: "files", "distributed": "the shuffle"}
SHOWN_SECONDS = 1.0  # a run below is not said superstep by superstep


def explain_plan(
    model: Model,
    plan: Plan,
    manifest: Mapping[str, Any],
    choice: Choice,
    cores: int = 1,
    targets: Sequence[str] = (),
    transport: tuple[str | None, str] | None = None,
    kept: Sequence[str] = (),
) -> str:
    """The plan of a model on a prepared graph, for people.

    Parameters
    ----------
    cores
        Of one task (fused), or of all together.
    targets
        What is to be said of a run for some nodes.
    transport
        How blocks send ("memory", "files", "shuffle", or None if that is not known yet), and why, in words.
    kept
        What is to be said of a work directory.
    """
    counts, totals = Counts.of(manifest), manifest["totals"]
    numbers = plan.program.numbers
    reads = ", ".join(f"{name} ({width})" for name, width in model.inputs.items())
    outputs = ", ".join(f"{name} ({width})" for name, width in model.outputs.items())
    per_task = [block_bytes(plan, counts, block) for block in range(counts.blocks)]
    heaviest, median = max(counts.edges, default=0), median_low(counts.edges)
    lines = [
        f"graph    {totals['nodes']:,} nodes, {totals['edges']:,} edges ({totals['self_loops']:,} self-loops), "
        f"largest in-degree {totals['max_in_degree']:,}",
        f"         {counted(counts.blocks, 'block')}; the heaviest has {counted(heaviest, 'edge')}, "
        f"the median {median:,}",
        *_communities(manifest),
        *_types(manifest),
        f"model    {model.origin}: reads {reads or 'no columns'}; gives {outputs}",
        f"tier     {choice.tier}: {choice.reason}",
        f"memory   {size(max(per_task))} for the largest block of the distributed tier",
    ]
    expected = {way: expect(plan, counts, way, cores) for way in WAYS}
    way = FILES if transport and transport[0] == "files" else choice.tier
    if transport and len(plan.steps) > 1:
        lines += _titled("sends", [transport[1]])
    lines += _titled("work", kept)
    lines += _titled("seconds", [_seconds(expected, way, cores)])
    lines += _titled("targets", targets)
    lines += _titled("skew", skew_lines(plan, counts))
    lines += [*_titled("would", advice(plan, counts, choice, cores)), ""]
    for step in plan.steps:
        lines += _superstep(plan, step, counts, numbers)
        if expected[way].total >= SHOWN_SECONDS:
            lines.append(f"  takes   {about(expected[way].steps[step.number])}")
    return "\n".join(lines)


def plan_facts(
    plan: Plan, manifest: Mapping[str, Any], choice: Choice, cores: int = 1, transport: str | None = None
) -> dict[str, Any]:
    """The same for programs: keys that stay. Bytes are those that this plan moves in all."""
    counts = Counts.of(manifest)
    expected = {way: expect(plan, counts, way, cores) for way in WAYS}
    way = FILES if transport == "files" else choice.tier
    return {
        "tier": choice.tier,
        "reason": choice.reason,
        "spills": choice.spills,
        "largest_block_bytes": max(block_bytes(plan, counts, block) for block in range(counts.blocks)),
        "transport": transport,
        "expected_seconds": {way: found.total for way, found in expected.items()},
        "supersteps": [
            {
                "number": step.number,
                "seconds": expected[way].steps[step.number],
                "shipped_bytes": sum(shipment_bytes(counts, each) for each in step.ships) + id_bytes(counts, step),
                "kept_bytes": kept_bytes(counts, step) if step.keeps else 0,
            }
            for step in plan.steps
        ],
    }


def _types(manifest: Mapping[str, Any]) -> list[str]:
    """Of a typed graph, how many there are of each type."""
    if isinstance(manifest.get("id_type", ""), str):
        return []
    of_nodes = [f"{type} {sum(of['nodes']):,}" for type, of in manifest["node_types"].items()]
    of_edges = [
        f"{type} {sum(of['edges']):,} (largest in-degree {max(of['max_in_degree']):,})"
        for type, of in manifest["edge_types"].items()
    ]
    return _titled("", [f"nodes: {', '.join(of_nodes)}", f"edges: {', '.join(of_edges)}"])


def _communities(manifest: Mapping[str, Any]) -> list[str]:
    """Of blocks by a column, what that saves."""
    found = manifest.get("communities")
    if found is None:
        return []
    sent, own, by_hash = (found[name] for name in ("rows", "rows_own", "rows_by_hash"))
    columns = ", ".join(dict.fromkeys(manifest["blocks_by"].values()))
    about = "about " if found["estimated"] else ""
    return _titled(
        "",
        [
            f"blocks by {columns}: {counted(found['count'], 'value')}; an exchange over all edges sends "
            f"{counted(sent, 'row')}, {own:,} of them to their own block, where blocks by the hash of ids would send "
            f"{about}{by_hash:,}"
        ],
    )


def _wrap(text: str, width: int, *, initial_indent: str, subsequent_indent: str) -> list[str]:
    """Lines of words: a path stays in one piece, for who copies it."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=initial_indent,
        subsequent_indent=subsequent_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _titled(title: str, texts: Sequence[str]) -> list[str]:
    """Lines under a title, which the first of them has."""
    lines = []
    for text in texts:
        lines += _wrap(text, LINE, initial_indent=f"{title:9}", subsequent_indent=" " * 9)
        title = ""
    return lines


def _seconds(expected: Mapping[str, Seconds], way: str, cores: int) -> str:
    """What each way would take; of the one that is chosen what for, starting Spark's stages and tasks left out."""
    found = expected[way]
    totals = ", ".join(f"{duration(one.total)} {WAYS[name]}" for name, one in expected.items())
    parts = [f"{name} {spent:.1f}" for name, spent in found.parts.items() if spent >= 0.05 and name != STARTING]
    of = f" (of {SHORT[way]}: {', '.join(parts)})" if found.total >= SHOWN_SECONDS else ""
    busy = f"{found.cores} of {cores} cores" if found.cores < cores else f"{cores} core" + "s" * (cores > 1)
    return f"expected: {totals}, on {busy}{of}; rates of {MACHINE}, warm"


def _superstep(plan: Plan, step: Superstep, counts: Counts, numbers: Mapping[int, int]) -> list[str]:
    lines = [f"superstep {step.number}", *_operations("graph", step.graph_values)]
    for phase in step.phases:
        lines += _operations(
            "nodes", [value for value in phase.nodes if value.op not in ("input", "fill", "spread", *TOTALS)]
        )
        for entry in phase.reductions:
            most = max(sorted_bytes(counts, entry, block) for block in range(counts.blocks))
            sorts = f", sorted: {size(most)} of messages at a time" if most else ""
            lines.append(f"  edges   {_text(entry, numbers)} over {edges_of(entry)}{sorts}")
        lines += _branches(phase.branches, numbers)
    for shipment in step.ships:
        values = ", ".join(f"%{numbers[value.id]}{list(value.shape)}" for value in shipment.values)
        rows, partials = shipped_rows(counts, shipment)
        moved = size(shipment_bytes(counts, shipment))
        against = ", against the edges" if shipment.edge_type.is_reversed else ""
        if plan.program.output_types not in ((NODE,), (EDGE,)):
            against = f", for edges {shipment.edge_type}"
        pushed = f" + {shipment.partial_width} × {partials:,} partial results" if shipment.push else ""
        sent = f"{counted(shipment.width, 'column')} × {counted(rows, 'row')}{pushed}"
        text = f"{values}: {sent} = {moved}{against}{_other(counts, shipment)}"
        lines += _wrap(text, 120, initial_indent="  ships   ", subsequent_indent=" " * 10)
    if step.ships_ids:
        rows = sum(sum(counts.rows_in(edge_type)) for edge_type in step.ships_ids)
        lines.append(
            f"  ids     of the sources of edges × {counted(rows, 'row')} = {size(id_bytes(counts, step))} (of numbers)"
        )
    if step.totals:
        values = ", ".join(_text(value, numbers) for value in step.totals)
        to_all = f"{counted(total_lanes(step), 'column')} from each of {counted(counts.blocks, 'block')} to each"
        moved = size(total_bytes(counts, step))
        lines += _wrap(f"{values}: {to_all} = {moved}", 100, initial_indent="  totals  ", subsequent_indent=" " * 10)
    if step.keeps:
        once = f" and {kept_totals(step)} per block" if kept_totals(step) else ""
        lines.append(
            f"  keeps   {counted(kept_lanes(step), 'column')} per node{once} = {size(kept_bytes(counts, step))}"
        )
    if step.outputs:
        outputs = plan.program.outputs.items()
        of = " of edges" if plan.program.is_per_edge else ""
        lines.append(f"  outputs{of} " + ", ".join(f"{name} = %{numbers[value.id]}" for name, value in outputs))
    return lines


def _branches(branches: Sequence[Branch], numbers: Mapping[int, int]) -> list[str]:
    """A line for all branches that are alike."""
    alike: dict[str, int] = {}
    for branch in branches:
        text = ", ".join([f"{value.op}{list(value.shape)}" for value in branch.reductions])
        text += "".join(f", {_operation(value)}" for value in branch.nodes)
        into = ", ".join(dict.fromkeys(f"%{numbers[join.id]}" for join, _ in branch.terms))
        by = f" by {branch.chosen.column}" if branch.chosen else ""
        text += f"; into {into}, for nodes with such an edge only"
        alike[f"{by}: {text}"] = alike.get(f"{by}: {text}", 0) + 1
    return [
        line
        for text, count in alike.items()
        for line in _wrap(
            f"{count} relation{'s' * (count > 1)}{text}", 100, initial_indent="  each of ", subsequent_indent=" " * 10
        )
    ]


def _other(counts: Counts, shipment: Shipment) -> str:
    """What the other kind of exchange would ship, if there is one."""
    if not shipment.mergeable or not sum(counts.hybrid_rows(shipment.edge_type)[1]):
        return ""
    if shipment.push:
        return f"; {size(pull_bytes(counts, shipment))} without partial results"
    return f"; {size(push_bytes(counts, shipment))} with partial results"


def _operations(kind: str, values: Sequence[Value]) -> list[str]:
    text = ", ".join(map(_operation, values))
    return _wrap(text, 100, initial_indent=f"  {kind}   ", subsequent_indent=" " * 10)


def _operation(value: Value) -> str:
    if value.op == "matmul":
        return f"matmul {value.inputs[0].shape[-1]}→{value.shape[-1]}"
    return value.op


def _text(value: Value, numbers: Mapping[int, int]) -> str:
    return f"%{numbers[value.id]} {value.op}{list(value.shape)}"
