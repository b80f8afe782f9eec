"""Lowering: a program as its author wrote it → the same program as it is executed.

Comes in: a program and its weights. Goes out: a program without softmax, added self-loops and flips, with every value
where it is cheapest, and the weights that it still needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from pipeline.formula.program import Program
from pipeline.lowering import rewrites as rules
from pipeline.lowering.rewriting import Alike, always, if_cheaper, if_cheaper_alike, rebuild
from pipeline.lowering.rewritten import Rewritten, Rule

# Always: they prepare for what follows.
NORMAL = (
    rules.flip_to_leaves,
    rules.reshape_of_elementwise,
    rules.restrict_to_leaves,
    rules.constants_stay,
    rules.totals_stay,
    rules.identities,
    rules.thin_product,
    rules.join_views,
)
# Only where the program gets cheaper, in this order.
CHEAPER = (
    rules.push_to_ends,
    rules.linear_of_concat,
    rules.linear_of_concat_at_dst,
    rules.factor_sums,
    rules.linear_before_sum,
    rules.linear_after_sum,
    rules.fold_affine,
)
# Where there are several types of edges: each would be applied to all nodes of its source type.
MAPS = (rules.map_after_softmax, rules.map_of_query)


class Stage(NamedTuple):
    """A program on its way."""

    rewrite: str
    """What has just been done to it."""
    program: Program


def lower(
    program: Program,
    weights: Mapping[str, npt.NDArray[Any]],
    undirected: bool = False,
    seen: Rewritten | None = None,
) -> tuple[Program, dict[str, npt.NDArray[Any]]]:
    """Applies the rewrites until none of them helps. `undirected`: every edge of the graph is there both ways.
    `seen` is told what became of each rewrite. Weights are float32."""
    program = last(prepared(program, undirected, seen))
    program = last(cheapest(program, seen))
    program.check_weights()  # of rewritten programs nobody has
    return rules.fold_weights(program, weights)


def last(stages: Iterator[Stage]) -> Program:
    """The program after all of them."""
    *_, stage = stages
    return stage.program


def prepared(program: Program, undirected: bool = False, seen: Rewritten | None = None) -> Iterator[Stage]:
    """The program after each rewrite that is taken whatever it costs. Each computes what the given one does."""
    normal = _watched(NORMAL, seen)
    program = rules.shared_softmax(program)
    yield Stage("shared_softmax", program)
    program = always(program, *normal)
    yield Stage(_name(NORMAL), program)
    program = always(program, *_watched([rules.flip_of_softmax], seen), *normal)
    yield Stage("flip_of_softmax", program)
    if undirected:
        program = rules.merge_reversed(program)
        yield Stage("merge_reversed", program)
    for rule in (rules.fuse_softmax, rules.expand_softmax):
        program = always(program, *_watched([rule], seen))
        yield Stage(rule.__name__, program)
    program = rules.split_self_loops(program)
    yield Stage("split_self_loops", program)
    yield Stage(_name(NORMAL), always(program, *normal))


def cheapest(program: Program, seen: Rewritten | None = None) -> Iterator[Stage]:
    """A prepared program after each kind of rewrite that makes it cheaper, until none does."""
    normal = _watched(NORMAL, seen)
    # of one type of edges, either way, programs keep the bits that they had
    several = program.has_relations
    choose = partial(if_cheaper_alike, alike=Alike()) if several else if_cheaper
    done: dict[Rule, Program] = {}
    """Rule → the program in which it has found nothing, or nothing any more."""
    while True:
        before = program
        for rule in CHEAPER:
            if done.get(rule) is program:
                continue
            cheaper = choose(program, rule, seen)
            if cheaper is program:
                done[rule] = program
            else:
                program = always(cheaper, *normal)
                yield Stage(rule.__name__, program)
        if program is before:
            break
    if several:
        program = always(program, *_watched([rules.sum_of_stack], seen))
        yield Stage("sum_of_stack", program)
        (sum_linears,) = _watched([rules.sum_linears], seen)
        program = rebuild(program, sum_linears, rules.whole_sums(program))
        yield Stage("sum_linears", program)
        program = always(always(program, *_watched(MAPS, seen)), *normal)
    yield Stage(_name(MAPS), program)


def everything(program: Program) -> Iterator[Stage]:
    """A prepared program after each rewrite that some program may want, taken wherever it finds something, whatever
    that costs here. Nothing that is run."""
    for rule in (*CHEAPER, rules.sum_of_stack, *MAPS):
        program = always(rebuild(program, rule), *NORMAL)
        yield Stage(rule.__name__, program)
    yield Stage("sum_linears", rebuild(program, rules.sum_linears, rules.whole_sums(program)))


def _watched(rewrites: Sequence[Rule], seen: Rewritten | None) -> list[Rule]:
    return [rule if seen is None else seen.watched(rule) for rule in rewrites]


def _name(rewrites: Sequence[Rule]) -> str:
    return " or ".join(rule.__name__ for rule in rewrites)
