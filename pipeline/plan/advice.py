"""Advice: what would change the choice, or the time, of a run; only what matters.

Comes in: a plan, the counts of a prepared graph, the tier that was chosen and why, cores. Goes out: lines of text; none
for a graph that takes no time.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.plan.counts import Counts
from pipeline.plan.memory import SLACK, WORKER_BYTES, block_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import pull_bytes, push_bytes
from pipeline.plan.seconds import STARTING, about, expect
from pipeline.plan.shipped import shipment_bytes
from pipeline.plan.superstep import Shipment
from pipeline.plan.tier import Choice
from pipeline.shown import size

WORTH_SECONDS = 2.0  # less is not worth a line
WORTH_SHARE = 0.1  # of the time
WORTH_BYTES = 1e6
NEAR = 0.25  # of the memory that there is: what needs less is far from the border


def advice(plan: Plan, counts: Counts, choice: Choice, cores: int) -> list[str]:
    """A few lines, the most important first."""
    return [
        *_memory(plan, counts, choice, cores),
        *_bytes(plan, counts, choice, cores),
        *_cores(plan, counts, choice, cores),
    ]


def _memory(plan: Plan, counts: Counts, choice: Choice, cores: int) -> list[str]:
    """Where the tier's borders are, if the run is near one of them."""
    if not choice.memory:
        return []
    fused = expect(plan, counts, "fused", cores).total
    lines = []
    apart = f"below {size(choice.with_spill)} it is distributed"
    if choice.tier == "distributed":
        saved = expect(plan, counts, "distributed", cores).total - fused
        instead = f": {about(fused)}" if saved >= WORTH_SECONDS else ""
        if choice.all_in_memory > choice.memory:
            less = choice.with_spill < choice.all_in_memory
            bare = f", with {size(choice.with_spill)} too if there is one machine" if less else ""
            lines.append(f"with {size(choice.all_in_memory)} in one task it would be fused{bare}{instead}")
        elif instead:
            lines.append(f"tier auto would be fused{instead}")
        most = max(SLACK * block_bytes(plan, counts, block) for block in range(counts.blocks)) + WORKER_BYTES
        if most > choice.memory > WORKER_BYTES:
            blocks = int(counts.blocks * (most - WORKER_BYTES) / (choice.memory - WORKER_BYTES)) + 1
            lines.append(f"a task needs {size(most)} for the largest block: prepare with {blocks:,} blocks or more")
    elif choice.spills:
        lines.append(f"with {size(choice.all_in_memory)} nothing waits on disk; {apart}")
    elif choice.all_in_memory > NEAR * choice.memory:
        lines.append(f"below {size(choice.all_in_memory)} node values wait on disk; {apart}")
    return lines


def _bytes(plan: Plan, counts: Counts, choice: Choice, cores: int) -> list[str]:
    """What other settings would ship; fused nothing is shipped."""
    shipments = [shipment for step in plan.steps for shipment in step.ships]
    now = sum(shipment_bytes(counts, shipment) for shipment in shipments)
    if choice.tier != "distributed" or now < WORTH_BYTES:
        return []
    lines = []
    best = sum(_least(counts, shipment) for shipment in shipments)
    if best < (1 - WORTH_SHARE) * now:
        lines.append(f"exchange auto would ship {size(best)} instead of {size(now)}")
    if plan.wire == "float32":
        half = sum(shipment_bytes(counts, replace(shipment, wire="float16")) for shipment in shipments)
        lines.append(f"wire float16 would ship half: {size(half)}")
    return lines


def _least(counts: Counts, shipment: Shipment) -> int:
    pull = pull_bytes(counts, shipment)
    return min(pull, push_bytes(counts, shipment)) if shipment.mergeable else pull


def _cores(plan: Plan, counts: Counts, choice: Choice, cores: int) -> list[str]:
    """Whether more cores, or more blocks for those that there are, would pay."""
    now, twice = (_working(plan, counts, choice, number) for number in (cores, 2 * cores))
    if counts.blocks < cores:
        # as if the same work could be divided evenly
        if now - _working(plan, counts, choice, 1) / cores >= max(WORTH_SECONDS, WORTH_SHARE * now):
            return [f"{cores} blocks would give all cores something to do: {counts.blocks} of {cores} have"]
    elif now - twice >= max(5 * WORTH_SECONDS, WORTH_SHARE * now):
        return [f"{2 * cores} cores would take {about(expect(plan, counts, choice.tier, 2 * cores).total)}"]
    return []


def _working(plan: Plan, counts: Counts, choice: Choice, cores: int) -> float:
    """Seconds, but for those of starting stages and tasks."""
    found = expect(plan, counts, choice.tier, cores)
    return found.total - found.parts.get(STARTING, 0.0)
