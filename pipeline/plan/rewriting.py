"""How a program is rewritten: bottom-up, sharing equal values, keeping a rewrite always or only where it is cheaper.

Comes in: a program and a rule (value → another value with the same meaning, or None). Goes out: a program. Knows no
rule; they are in rewrites/, one a file.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from pipeline.formula.program import Program
from pipeline.formula.values import Value
from pipeline.plan.cost import cost

Rule = Callable[[Value], Value | None]

# A rule that grows a program for ever is a mistake of ours; real programs need a few applications per value.
MOST_APPLICATIONS = 10_000


class Sharing:
    """Makes values that were not seen yet and returns the earlier one where the same was made before."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, Value] = {}

    def __call__(self, value: Value) -> Value:
        attributes = tuple(sorted((key, _hashable(item)) for key, item in value.attributes.items()))
        inputs = tuple(operand.id for operand in value.inputs)
        return self._seen.setdefault((value.op, inputs, attributes, value.space, value.shape), value)


def rebuild(program: Program, change: Callable[[Value], Value | None]) -> Program:
    """Copies a program bottom-up; `change` sees each value with its inputs already new, and may give another."""
    share = Sharing()
    new: dict[int, Value] = {}

    def place(value: Value) -> Value:
        # what a rule returns can itself be several new values deep
        stack = [value]
        while stack:
            top = stack[-1]
            missing = [operand for operand in top.inputs if operand.id not in new]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            if top.id not in new:
                inputs = tuple(new[operand.id] for operand in top.inputs)
                copy = top if inputs == top.inputs else _with_inputs(top, inputs)
                shared = share(copy)
                new[top.id] = new[copy.id] = new[shared.id] = shared
        return new[value.id]

    for value in program.values:
        placed = place(value)
        changed = change(placed)
        if changed is not None:
            new[value.id] = place(changed)
    return Program({name: new[value.id] for name, value in program.outputs.items()})


def always(program: Program, *rules: Rule) -> Program:
    """Applies rules everywhere until none of them finds anything."""
    for _ in range(MOST_APPLICATIONS):
        found = False

        def change(value: Value) -> Value | None:
            nonlocal found
            for rule in rules:
                changed = rule(value)
                if changed is not None:
                    found = True
                    return changed
            return None

        program = rebuild(program, change)
        if not found:
            return program
    raise AssertionError("rewriting does not end")


def if_cheaper(program: Program, rule: Rule) -> Program:
    """Applies a rule at one value at a time, and keeps the result only where the whole program gets cheaper."""
    program = rebuild(program, lambda value: None)
    best = cost(program)
    position = 0
    while position < len(program.values):
        here = program.values[position]
        candidate = rule(here)
        if candidate is not None:
            tried = _replace(program, here, candidate)
            price = cost(tried)
            if price < best:
                program, best, position = tried, price, 0
                continue
        position += 1
    return program


def _replace(program: Program, old: Value, new: Value) -> Program:
    return rebuild(program, lambda value: new if value is old else None)


def _with_inputs(value: Value, inputs: tuple[Value, ...]) -> Value:
    return Value(value.op, inputs, value.attributes, value.space, value.shape)


def _hashable(item: Any) -> Hashable:
    return tuple(item) if isinstance(item, list) else (type(item).__name__, repr(item))
