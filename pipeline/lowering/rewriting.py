"""How a program is rewritten: bottom-up, sharing equal values, keeping a rewrite always or only where it is cheaper.

Comes in: a program and a rule (value → another value with the same meaning, or None). Goes out: a program. Knows no
rule; they are in rewrites/, one a file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import Kind, Value
from pipeline.lowering.cost import cost
from pipeline.lowering.rewritten import Rewritten

Rule = Callable[[Value], Value | None]

# A rule that grows a program for ever is a mistake of ours; real programs need a few applications per value.
MOST_APPLICATIONS = 10_000


_Key = tuple[Kind, tuple[Value, ...]]

_SHARING: WeakKeyDictionary[Program, dict[_Key, Value]] = WeakKeyDictionary()
"""Programs in which nothing is there twice, those that `rebuild` has made, or found to be so: what each value does →
the value; empty until somebody asks, since most programs are tried and dropped."""


def _known(program: Program) -> dict[_Key, Value] | None:
    """What each value of a program does → the value; None where something may be there twice."""
    known = _SHARING.get(program)
    if known is not None and not known:
        known.update({(Kind.of(value), value.inputs): value for value in program.values})
    return known


class Sharing:
    """Makes values that were not seen yet and returns the earlier one where the same was made before."""

    def __init__(self, known: Mapping[_Key, Value]) -> None:
        self._known = known
        self._seen: dict[_Key, Value] = {}

    def __call__(self, value: Value) -> Value:
        key = Kind.of(value), value.inputs
        known = self._known.get(key)
        return self._seen.setdefault(key, value) if known is None else known


def rebuild(program: Program, change: Callable[[Value], Value | None], at: Collection[int] | None = None) -> Program:
    """Copies a program bottom-up; `change` sees each value with its inputs already new, and may give another. What is
    returned is the program itself, if nothing is changed and nothing is there twice.

    `at`: Value.id of those that it sees; None: all.
    """
    known = _known(program)
    share = Sharing(known or {})
    # of a program in which nothing is there twice only what is new is looked at: of 90 relations most stays as it is
    new: dict[int, Value] = {} if known is None else {value.id: value for value in program.values}

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
                copy = top if inputs == top.inputs else top.on(inputs)
                shared = share(copy)
                new[top.id] = new[copy.id] = new[shared.id] = shared
        return new[value.id]

    for value in program.values:
        inputs = tuple([new[operand.id] for operand in value.inputs])  # they come first
        if known is None or inputs != value.inputs:
            copy = value if inputs == value.inputs else value.on(inputs)
            new[value.id] = new[copy.id] = share(copy)
            new[new[copy.id].id] = new[copy.id]
        placed = new[value.id]
        if at is not None and value.id not in at:
            continue
        changed = change(placed)
        if changed is not None:
            new[value.id] = place(changed)
    outputs = {name: new[value.id] for name, value in program.outputs.items()}
    made = program if outputs == program.outputs else Program.rewritten(program, outputs)
    _SHARING.setdefault(made, {})
    return made


def shared(program: Program) -> Program:
    """The program with equal values once."""
    return program if program in _SHARING else rebuild(program, lambda value: None)


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


def if_cheaper(program: Program, rule: Rule, seen: Rewritten | None = None) -> Program:
    """Applies a rule at one value at a time, and keeps the result only where the whole program gets cheaper. `seen` is
    told of each try."""
    program = shared(program)
    best = None
    position = 0
    while position < len(program.values):
        here = program.values[position]
        candidate = rule(here)
        if candidate is not None:
            best = best or cost(program)
            tried = _replace(program, here, candidate)
            price = cost(tried)
            if seen is not None:
                seen.judged(rule, here, best, price)
            if price < best:
                program, best, position = tried, price, 0
                continue
        position += 1
    return program


class Alike:
    """What is known of values, whichever program they are in: their kind, and what each rule would put in their place.

    Values that are made alike are of one kind, whatever their weights, relations and types are called.
    """

    def __init__(self) -> None:
        self._kinds: dict[Hashable, int] = {}
        self._of: dict[int, int] = {}
        """Value.id → the number of its kind."""
        self._candidates: dict[Rule, dict[int, Value | None]] = {}

    def found(self, program: Program, rule: Rule) -> dict[int, list[tuple[Value, Value]]]:
        """What a rule finds in a program: kind → the values of this kind and what would take their place."""
        tried = self._candidates.setdefault(rule, {})
        found: dict[int, list[tuple[Value, Value]]] = {}
        for value in program.values:
            number = value.id
            if number not in self._of:
                self._of[number] = self._kinds.setdefault(self._kind(value), len(self._kinds))
            if number not in tried:
                tried[number] = rule(value)
            candidate = tried[number]
            if candidate is not None:
                found.setdefault(self._of[number], []).append((value, candidate))
        return found

    def _kind(self, value: Value) -> Hashable:
        named = value.is_weight and value.op == "weight"
        attributes = () if named else tuple(sorted((key, _unnamed(item)) for key, item in value.attributes.items()))
        inputs = tuple([self._of[operand.id] for operand in value.inputs])
        return value.op, value.shape, _unnamed(value.space), attributes, inputs


def if_cheaper_alike(
    program: Program, rule: Rule, seen: Rewritten | None = None, alike: Alike | None = None
) -> Program:
    """The same for programs of many relations, whose values are alike: of those that differ in names only, the first is
    tried, and what is found is right for the others. HGT of 90 relations, two layers, has thousands to try, each of
    which takes a copy of 7,000 values and its cost. `alike`: what is known already."""
    alike = alike or Alike()
    program = shared(program)
    best = cost(program)
    rejected: set[int] = set()
    while True:
        for kind, found in alike.found(program, rule).items():
            if kind in rejected:
                continue
            tried = _replace(program, *found[0])
            price = cost(tried)
            if seen is not None:
                seen.judged(rule, found[0][0], best, price, len(found))
            if not price < best:
                rejected.add(kind)
                continue
            together = _replace_all(program, found)
            if (price_of_all := cost(together)) < price:
                tried, price = together, price_of_all
            program, best = tried, price
            break
        else:
            return program


def _replace(program: Program, old: Value, new: Value) -> Program:
    return rebuild(program, lambda value: new if value is old else None, {old.id})


def _replace_all(program: Program, found: Sequence[tuple[Value, Value]]) -> Program:
    """Those that read another one of them are left for the next time."""
    new = {old.id: candidate for old, candidate in found}
    return rebuild(program, lambda value: new.get(value.id), new.keys())


def _unnamed(item: Any) -> str:
    if isinstance(item, Edges):
        return f"edges {item.part}"
    return type(item).__name__ if isinstance(item, Nodes) else repr(item)
