"""A plan: a model made ready to run. The lowered program, its weights, its supersteps; it is sent to the workers.

Comes in: a program and weights. Goes out: supersteps with their edge programs compiled. Pickles as plain data.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from pipeline.compiler import CompiledReduction, EdgePass, compile_reduction
from pipeline.compiler.loops import Texts
from pipeline.formula.node_rows import NodeRows, sum_of
from pipeline.formula.program import Input, Program, input_name
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Value
from pipeline.formula.written import add_weights
from pipeline.garbage import collecting_later
from pipeline.lowering.lower import lower
from pipeline.lowering.rewriting import rebuild
from pipeline.lowering.rewritten import Rewritten
from pipeline.model import Model
from pipeline.plan.schedule import Pushes, schedule
from pipeline.plan.superstep import Superstep, branch_passes, edges_of, passes

FloatArray = npt.NDArray[np.float32]


class Plan:
    """The supersteps of a lowered program."""

    def __init__(
        self,
        program: Program,
        weights: Mapping[str, FloatArray],
        pushes: Pushes = (),
        wire: str = "float32",
        node_rows: Mapping[str, NodeRows] | None = None,
    ):
        """`program` is lowered already; `Plan.of` lowers one as its author wrote it."""
        self.node_rows = dict(node_rows or {})
        """Node type → the columns that no graph has, by the ids of the nodes."""
        self.program = program
        self.weights = dict(weights)
        self.pushes = sorted(pushes)
        self.wire = wire
        self.steps: list[Superstep] = schedule(program, pushes, wire, self.weights).steps
        self._texts: Texts = {}
        self._compiled: dict[int, dict[int, CompiledReduction]] = {}
        self._passes: dict[int, list[list[EdgePass]]] = {}
        self._branches: dict[int, list[list[list[EdgePass]]]] = {}

    @staticmethod
    def of(model: Model, undirected: bool = False, wire: str = "float32", seen: Rewritten | None = None) -> Plan:
        """Rewrites a model's program, reading the graph's columns, and cuts it into supersteps. Once for a model: of a
        small graph that is scored again and again it took half of the time.

        Parameters
        ----------
        undirected
            Every edge of the graph is there in both directions, with the same values.
        wire
            Number format of what blocks send, see wire.py.
        seen
            Is told what became of each rewrite.
        """
        made, key = _MADE.setdefault(model, {}), (undirected, wire)
        if seen is not None or key not in made:
            with collecting_later():
                lowered = lower(_on_columns(model), model.weights, undirected, seen)
                made[key] = Plan(*lowered, wire=wire, node_rows=model.node_rows)
        return made[key]

    def pushing(self, pushes: Pushes) -> Plan:
        """The same plan, but that these shipments push; those that cannot do not."""
        if sorted(pushes) == self.pushes:
            return self
        return Plan(self.program, self.weights, pushes, self.wire, self.node_rows)

    @cached_property
    def _sent(self) -> tuple[str, bytes]:
        """What the plan is known by in a worker, and its program as bytes. Once for all supersteps of a run."""
        program = pickle.dumps(self.program.to_json())
        digest = hashlib.sha256(program)
        add_weights(digest, self.weights)
        digest.update(repr((sum_of(self.node_rows), self.pushes, self.wire)).encode())
        return digest.hexdigest(), program

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (*self._sent, self.weights, self.pushes, self.wire, self.node_rows)

    def is_own(self, type: str, name: str) -> bool:
        """Whether a column of the nodes comes with the model."""
        return type in self.node_rows and name in self.node_rows[type].columns

    def compile(self, step: Superstep) -> dict[int, CompiledReduction]:
        """Value.id of each reduction of a superstep → its loop, compiled for the payload that it will read."""
        if step.number not in self._compiled:
            offsets = {shipment.edge_type: shipment.offsets for shipment in step.receives}
            executed = {value.id: value for phase in step.phases for value in phase.reductions}
            for branch in step.branches:
                executed |= {value.id: other for value, other in zip(branch.reductions, branch.executed, strict=True)}
            once = {
                value.id: compile_reduction(value, offsets.get(edges_of(value).type, {}), self.weights, self._texts)
                for value in {value.id: value for value in executed.values()}.values()
            }
            compiled = {number: once[value.id] for number, value in executed.items()}
            self._passes[step.number] = [
                [EdgePass([compiled[reduction.id] for reduction in together]) for together in passes(step, phase)]
                for phase in step.phases
            ]
            made: dict[tuple[int, ...], EdgePass] = {}
            self._branches[step.number] = [
                [
                    [_pass_of(compiled, together, made) for together in branch_passes(step, branch)]
                    for branch in phase.branches
                ]
                for phase in step.phases
            ]
            self._compiled[step.number] = compiled
        return self._compiled[step.number]

    def passes(self, step: Superstep) -> list[list[EdgePass]]:
        """For each phase of a superstep, its passes over edges."""
        self.compile(step)
        return self._passes[step.number]

    def branch_passes(self, step: Superstep) -> list[list[list[EdgePass]]]:
        """For each phase of a superstep and each of its branches, the passes of the branch."""
        self.compile(step)
        return self._branches[step.number]


def _pass_of(
    compiled: Mapping[int, CompiledReduction], together: Sequence[Value], made: dict[tuple[int, ...], EdgePass]
) -> EdgePass:
    """The pass of these reductions; of branches that compute the same over other edges it is one."""
    reductions = list({compiled[value.id].value.id: compiled[value.id] for value in together}.values())
    key = tuple(reduction.value.id for reduction in reductions)
    if key not in made:
        made[key] = EdgePass(reductions)
    return made[key]


_MADE: WeakKeyDictionary[Model, dict[tuple[bool, str], Plan]] = WeakKeyDictionary()
"""For as long as a model lives."""


MOST_KEPT = 1 << 26
"""Bytes of weights and learned rows of a plan that a worker keeps, until it is sent another one."""

_kept: tuple[str, Plan] | None = None
"""The plan that was sent to this process last."""


def _received(
    key: str,
    program: bytes,
    weights: Mapping[str, FloatArray],
    pushes: Pushes,
    wire: str,
    node_rows: Mapping[str, NodeRows],
) -> Plan:
    """The plan that a task is given. A worker does many tasks of a run, and what it has made of a plan for one of them
    serves the others: of HGT with 90 relations, schedule and compiled loops took 0.5 core-seconds of each task."""
    global _kept
    if _kept is not None and _kept[0] == key:
        return _kept[1]
    _kept = None  # before the next one is made
    plan = Plan(Program.from_json(pickle.loads(program)), weights, pushes, wire, node_rows)
    held = sum(array.nbytes for array in weights.values()) + sum(rows.nbytes for rows in node_rows.values())
    if held <= MOST_KEPT:
        _kept = key, plan
    return plan


def _on_columns(model: Model) -> Program:
    """The model's program, its inputs under the names of the tables' columns."""

    def change(value: Value) -> Value | None:
        if value.op != "input":
            return None
        assert isinstance(value.space, Nodes | Edges)
        read = Input(value.space, value.attributes["name"], value.shape)
        column = model.columns[input_name(read)].rpartition(".")[2]
        if column == value.attributes["name"]:
            return None
        return Value("input", (), {"name": column}, value.space, value.shape)

    return rebuild(model.program, change)
