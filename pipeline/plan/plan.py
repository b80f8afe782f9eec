"""A plan: a model made ready to run. The lowered program, its weights, its supersteps; small enough to send to a worker.

Comes in: a program and weights. Goes out: supersteps with their edge programs compiled. Pickles as plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiler import CompiledReduction, compile_reduction
from pipeline.formula.program import Program
from pipeline.plan.levels import sent_values
from pipeline.plan.lower import lower
from pipeline.plan.schedule import Superstep, edges_of, schedule

FloatArray = npt.NDArray[np.float32]


class Plan:
    """The supersteps of a lowered program."""

    def __init__(self, program: Program, weights: Mapping[str, FloatArray]):
        """`program` is lowered already; `Plan.of` lowers one as its author wrote it."""
        self.program = program
        self.weights = dict(weights)
        self.steps: list[Superstep] = schedule(program).steps

    @staticmethod
    def of(program: Program, weights: Mapping[str, npt.NDArray[Any]]) -> Plan:
        """Rewrites a program and cuts it into supersteps."""
        return Plan(*lower(program, weights))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.program.to_json(), self.weights)

    @cached_property
    def compiled(self) -> dict[int, CompiledReduction]:
        """Value.id of each reduction → its loop, compiled for the payload that it will read."""
        found = {}
        for step in self.steps:
            for reduction in step.reductions:
                offsets: Mapping[int, int] = {}
                if sent_values(reduction):
                    edge_type = edges_of(reduction).type
                    offsets = next(s.offsets for s in step.receives if s.edge_type == edge_type)
                found[reduction.id] = compile_reduction(reduction, offsets, self.weights)
        return found


def _rebuild(program: Mapping[str, Any], weights: Mapping[str, FloatArray]) -> Plan:
    return Plan(Program.from_json(program), weights)
