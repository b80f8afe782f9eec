"""Skew: how much heavier the heaviest block is than the median, and what helps.

Comes in: a plan, and the counts of a prepared graph. Goes out: ratios, and lines of text. A superstep takes as long as
its heaviest block where each has a core of its own, and a task needs the memory of its heaviest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median_low

from pipeline.plan.counts import Counts
from pipeline.plan.memory import block_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import pull_bytes, push_bytes
from pipeline.plan.shipped import received_bytes
from pipeline.shown import size

BAD = 1.5  # from here on it is worth a word


def ratio(numbers: Sequence[float]) -> float:
    """The largest over the median; of an even number of blocks the lower of the two in the middle. 1 if all are 0, and
    infinite if most are."""
    largest, middle = max(numbers, default=0), median_low(numbers or [0])
    return largest / middle if middle else (math.inf if largest else 1.0)


def skew_lines(plan: Plan, counts: Counts) -> list[str]:
    """What `explain` says of it: one line, and more where it is bad."""
    if counts.blocks == 1:
        return ["none, with one block"]
    received = {
        step.number: [
            sum(received_bytes(counts, shipment, block) for shipment in step.ships) for block in range(counts.blocks)
        ]
        for step in plan.steps
        if step.ships
    }
    worst = max(received, key=lambda number: ratio(received[number]), default=None)
    of = {"edges": list(counts.edges)}
    if worst is not None:
        of["received"] = received[worst]
    of["memory"] = [block_bytes(plan, counts, block) for block in range(counts.blocks)]
    lines = ["heaviest block over the median: " + ", ".join(f"{name} {_text(of[name])}" for name in of)]
    if ratio(of["edges"]) > BAD:
        lines.append(_edges(plan, counts))
    if worst is not None and ratio(of["received"]) > BAD:
        block, most = _heaviest(of["received"])
        middle = size(median_low(of["received"]))
        lines.append(f"block {block} receives {size(most)} after superstep {worst}, the median block {middle}")
    if len(lines) == 1 and ratio(of["memory"]) > BAD:
        block, most = _heaviest(of["memory"])
        lines.append(f"block {block} needs {size(most)}; more blocks would divide it")
    return lines


def _edges(plan: Plan, counts: Counts) -> str:
    """The block with most edges, and what helps against it."""
    block, edges = _heaviest(counts.edges)
    hub = counts.in_degree[block]
    text = f"block {block} has {int(edges):,} edges"
    if edges - hub > BAD * median_low(counts.edges):
        return f"{text}, into many nodes: more blocks would spread them over the cores"
    text += f", {hub:,} of them into one node, which more blocks do not divide"
    ships = [shipment for step in plan.steps for shipment in step.ships]
    if any(shipment.push for shipment in ships):
        return f"{text}; distributed, other blocks push what they have for it"
    if any(shipment.mergeable and push_bytes(counts, shipment) < pull_bytes(counts, shipment) for shipment in ships):
        return f"{text}; exchange auto would let other blocks push what they have for it"
    return text


def _heaviest(numbers: Sequence[float]) -> tuple[int, float]:
    """The block, and how heavy it is."""
    block = max(range(len(numbers)), key=numbers.__getitem__)
    return block, numbers[block]


def _text(numbers: Sequence[float]) -> str:
    found = ratio(numbers)
    return f"{found:.2f}" if math.isfinite(found) else f"in {sum(map(bool, numbers))} of {len(numbers)} blocks only"
