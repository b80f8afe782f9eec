"""Values that go out side by side, made side by side: what a shipment of several values sends is there when they are.

Comes in: a superstep. Goes out: which of its values have their place in the rows of a shipment, and arrays for these
rows. A value that others read too is an array of its own, and copied; so are joins, which branches add to, and
features. Knows nothing of how anything is sent.

Of HGT with 6 relations, two layers, 2^18 nodes, the copies were 300 MB in each exchange, and all of it was there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pipeline.blocks.block import FloatArray
from pipeline.formula.values import Value
from pipeline.lowering.levels import local_values
from pipeline.plan.superstep import Superstep

Values = tuple[Value, ...]
"""Of a shipment."""


class Place(NamedTuple):
    """Where in the rows of a shipment a value is made."""

    values: Values
    lane: int


def places_in(step: Superstep) -> dict[int, Place]:
    """Value.id → its place, of those that nobody but a shipment reads behind the phase that makes them."""
    found: dict[int, Place] = {}
    several = {shipment.values: shipment for shipment in step.ships if len(shipment.values) > 1}
    twice = _read_elsewhere(step)
    for values, shipment in several.items():
        for value in values:
            if value.id in found:
                twice.add(value.id)
            found[value.id] = Place(values, shipment.offsets[value.id])
    return {number: place for number, place in found.items() if number not in twice}


def _read_elsewhere(step: Superstep) -> set[int]:
    """Ids of the values that are arrays of their own: read after the phase that makes them, or not made in chunks."""
    found = {value.id for value in (*step.keeps, *step.outputs)}
    found |= {value.id for shipment in step.ships if len(shipment.values) == 1 for value in shipment.values}
    found |= {entry.id for value in step.reductions for entry in local_values(value)}
    found |= {value.id for branch in step.branches for value in branch.dense}
    for phase in step.phases:
        found |= phase.joins.keys()
        found |= {value.id for value in phase.reductions}
        inside = {value.id for value in phase.nodes}
        found |= {value.id for value in phase.nodes if value.op == "input"}
        found |= {entry.id for value in phase.nodes for entry in phase.operands(value)} - inside
    return found


class Outgoing:
    """The rows of the shipments of a block, while its values are being made."""

    def __init__(self, step: Superstep):
        self._places = places_in(step)
        self.arrays: dict[Values, FloatArray] = {}
        """Values of a shipment → (nodes, width): those that have their place there."""

    def array(self, value: Value, nodes: int) -> FloatArray:
        """(nodes, *shape) to write a value into."""
        place = self._places.get(value.id)
        if place is None:
            return np.empty((nodes, *value.shape), np.float32)
        whole = self.arrays.get(place.values)
        if whole is None:
            width = sum(each.width for each in place.values)
            whole = self.arrays[place.values] = np.empty((nodes, width), np.float32)
        part = whole[:, place.lane : place.lane + value.width].reshape(nodes, *value.shape)
        assert part.base is whole, "it is a view"
        return part


def complete(whole: FloatArray, values: Values, made: Mapping[int, FloatArray]) -> FloatArray:
    """The rows of a shipment, with those values copied in that were not made there."""
    lane = 0
    for value in values:
        part = whole[:, lane : lane + value.width]
        if not np.may_share_memory(made[value.id], whole):
            part[:] = made[value.id].reshape(part.shape)
        lane += value.width
    return whole
