"""The import checks what will be run: the program, rewritten as planning does it, gives what the recorded one gives.

Comes in: a recorded program, its weights, a graph that it is checked on. Goes out: nothing, or WrongRewrite, which
names the rewrite. A rewrite that counted a shared layer once too often gave wrong scores, and every command ended well.

Compared are the program as it is planned; the same for a graph that has each edge in both directions, if the model
tells directions apart; and one in which each rewrite is taken wherever it finds something, because what is cheaper is
another thing where some outputs alone are wanted. Nothing is compiled: the loops have their own tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.interpret import GraphArrays, evaluate
from pipeline.formula.program import Program
from pipeline.garbage import collecting_later
from pipeline.lowering.lower import Stage, cheapest, everything, last, prepared
from pipeline.lowering.rewrites import fold_weights
from pipeline.pyg.same import same

Array = npt.NDArray[Any]
Way = Callable[[Program], Iterator[Stage]]


class WrongRewrite(AssertionError):
    """A rewrite changes what a program computes: a mistake of graphsweep."""


@dataclass(frozen=True)
class Form:
    """A program after the rewrites of one kind."""

    way: Way
    """From a prepared program."""
    program: Program
    weights: Mapping[str, Array]
    """Those that the recorded program has not: what is made of weights alone."""
    undirected: bool = False
    """Whether it is for graphs that have each edge in both directions, and for these only."""


def check_as_run(program: Program, weights: Mapping[str, Array], graphs: Iterable[GraphArrays]) -> None:
    """WrongRewrite if a program, rewritten as planning does it, gives other numbers on some graph."""
    forms = forms_of(program, weights)
    for graph in graphs:
        check_forms(forms, program, weights, graph)


def forms_of(program: Program, weights: Mapping[str, Array]) -> Sequence[Form]:
    """What planning may make of a program."""
    with collecting_later():
        first = last(prepared(program))
        planned = fold_weights(last(cheapest(first)), weights, np.float64)
        forms = [Form(cheapest, *planned), Form(everything, last(everything(first)), {})]
        if any(each.is_reversed for each in program.edge_types):
            turned = last(cheapest(last(prepared(program, undirected=True))))
            forms.append(Form(cheapest, turned, {}, undirected=True))
    return forms


def check_forms(forms: Sequence[Form], program: Program, weights: Mapping[str, Array], graph: GraphArrays) -> None:
    """WrongRewrite if a form of a program gives other numbers on a graph than the program does."""
    turned = both_ways(graph)
    for given, some in (
        (graph, [form for form in forms if not form.undirected]),
        (turned, [form for form in forms if form.undirected]),
    ):
        for form, name, found, expected in _evaluated(some, program, weights, given):
            if not same(found, expected):
                rewrite = _blamed(form, program, weights, given, name, expected)
                raise WrongRewrite(_said(rewrite, name, found, expected))


def _evaluated(
    forms: Sequence[Form], program: Program, weights: Mapping[str, Array], graph: GraphArrays
) -> Iterator[tuple[Form, str, Array, Array]]:
    """Of each form and output: what it gives, and what the program gives. What they share is computed once: of
    thousands of relations that is a third."""
    if not forms:
        return
    outputs = [value for each in (program, *[form.program for form in forms]) for value in each.outputs.values()]
    known = dict(weights)
    for form in forms:
        known |= form.weights
    values = evaluate(outputs, known, graph, keep=False)
    for form in forms:
        for name, value in form.program.outputs.items():
            yield form, name, values[value.id], values[program.outputs[name].id]


def both_ways(graph: GraphArrays) -> GraphArrays:
    """The same with each edge within a type in both directions, with the same values; self-loops once."""
    ends, columns = dict(graph.ends), dict(graph.edge_columns)
    for kind, (src, dst) in graph.ends.items():
        if kind.source == kind.target:
            back = src != dst
            ends[kind] = np.concatenate([src, dst[back]]), np.concatenate([dst, src[back]])
            columns[kind] = {
                name: np.concatenate([array, array[back]]) for name, array in graph.edge_columns.get(kind, {}).items()
            }
    return GraphArrays(graph.counts, ends, graph.node_columns, columns)


def _blamed(
    form: Form, program: Program, weights: Mapping[str, Array], graph: GraphArrays, name: str, expected: Array
) -> str:
    """The first rewrite after which an output is another one."""
    first = [*prepared(program, form.undirected)]
    for stage in (*first, *form.way(first[-1].program)):
        value = stage.program.outputs[name]
        if not same(evaluate([value], weights, graph)[value.id], expected):
            return stage.rewrite
    return fold_weights.__name__


def _said(rewrite: str, name: str, found: Array, expected: Array) -> str:
    error = np.nan_to_num(np.abs(found - expected), nan=np.inf)
    place = np.unravel_index(np.argmax(error), error.shape)
    return (
        f"this is a mistake of graphsweep, not of the module: the rewrite {rewrite} gives other numbers than "
        f"the module. Output {name!r} of a random graph is {found[place]:.6g} in row {place[0]}, and should be "
        f"{expected[place]:.6g}. Nothing was imported, because its scores would be wrong. Please report this message, "
        "with the class of the module and how it is made"
    )
