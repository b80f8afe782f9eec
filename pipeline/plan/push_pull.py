"""Pull or push: which shipments of a plan send partial results, as the counts of a graph have it.

Comes in: a plan, the counts of a prepared graph (its manifest), what the user wants. Goes out: the same plan, its
shipments decided. The decision is part of the plan, which travels to the workers: all tiers and tasks have the same.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.shipped import shipment_bytes
from pipeline.plan.superstep import Shipment

PULL = "pull"


def choose_exchange(plan: Plan, counts: Counts, wanted: str = "auto") -> Plan:
    """Each shipment pushes if that is fewer bytes; none with `wanted` "pull". The tier plays no part, because it may
    not show in the bits."""
    if wanted == PULL:
        return plan
    return plan.pushing(
        [
            (step.number, shipment.edge_type)
            for step in plan.steps
            for shipment in step.ships
            if shipment.mergeable and push_bytes(counts, shipment) < pull_bytes(counts, shipment)
        ]
    )


def pull_bytes(counts: Counts, shipment: Shipment) -> int:
    """What a shipment would be if all edges were pulled."""
    return shipment_bytes(counts, replace(shipment, push=False))


def push_bytes(counts: Counts, shipment: Shipment) -> int:
    """What it would be if the edges that can be were pushed."""
    return shipment_bytes(counts, replace(shipment, push=True))
