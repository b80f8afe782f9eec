"""Lowering: a program as its author wrote it → the same program as it is executed.

Comes in: a program and its weights. Goes out: a program without softmax, added self-loops and flips, with every value
where it is cheapest, and the weights that it still needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.formula.program import Program
from pipeline.plan import rewrites as rules
from pipeline.plan.branches import FEWEST
from pipeline.plan.rewriting import Alike, always, if_cheaper, if_cheaper_alike, rebuild
from pipeline.plan.rewritten import Rewritten, Rule

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


def lower(
    program: Program, weights: Mapping[str, npt.NDArray[Any]], undirected: bool = False, seen: Rewritten | None = None
) -> tuple[Program, dict[str, npt.NDArray[np.float32]]]:
    """Applies the rewrites until none of them helps. `undirected`: every edge of the graph is there both ways.
    `seen` is told what became of each rewrite."""

    def watched(rule: Rule) -> Rule:
        return rule if seen is None else seen.watched(rule)

    normal = [watched(rule) for rule in NORMAL]
    program = always(program, *normal)
    program = always(program, watched(rules.flip_of_softmax), *normal)
    if undirected:
        program = rules.merge_reversed(program)
    program = always(program, watched(rules.fuse_softmax))
    program = always(program, watched(rules.expand_softmax))
    program = rules.split_self_loops(program)
    program = always(program, *normal)
    # of one type of edges, either way, programs keep the bits that they had
    is_typed = len({each.reversed if each.is_reversed else each for each in program.edge_types}) > 1
    choose = partial(if_cheaper_alike, alike=Alike()) if is_typed else if_cheaper
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
        if program is before:
            break
    if is_typed:
        program = always(program, watched(rules.sum_of_stack))
        program = rebuild(program, watched(rules.sum_linears), rules.whole_sums(program))
        if len(program.edge_types) >= FEWEST:
            program = always(always(program, *map(watched, (rules.map_after_sum, rules.map_of_query))), *normal)
    return rules.fold_weights(program, weights)
