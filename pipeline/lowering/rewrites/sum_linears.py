"""Linear maps of the same rows that are summed are one linear map: layers of many relations have one for each.

    matmul(a, A) + b + matmul(x, B) + matmul(c, C) + d + matmul(x, D) → matmul(a, A) + matmul(x, B + D) + … + (b + d)

So does HeteroConv of SAGE, once a relation: it stacks what the relations give and sums the stack, which becomes a sum
of its parts. A chunk of rows of a stack of 90 relations is 90 times as large as the sum, and leaves the cache. Both,
and values of a chunk that end where nobody reads them any more (superstep.py), took a run of 90 relations over 4
million edges, two layers, from 31 to 6 core-seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import reduce

from pipeline.formula.program import Program
from pipeline.formula.values import Value, apply
from pipeline.lowering.rewrites.products import terms

# A reduction of a stack, over what is stacked → what joins two of its parts.
STACKED = {"lane_sum": "add", "lane_mean": "add", "lane_max": "maximum", "lane_min": "minimum"}


def sum_of_stack(value: Value) -> Value | None:
    """lane_sum(concat(reshape(a), reshape(b)), axes=(0,)) → a + b; likewise the mean, the largest and the smallest."""
    if value.op not in STACKED or tuple(value.attributes["axes"]) != (0,) or value.attributes["keepdims"]:
        return None
    stack = value.inputs[0]
    if stack.op != "concat" or stack.attributes["axis"] != 0 or not value.is_node:
        return None
    if any(part.op != "reshape" or part.shape != (1, *value.shape) for part in stack.inputs):
        return None
    parts = [part.inputs[0] for part in stack.inputs]
    if any(part.shape != value.shape for part in parts):
        return None
    joined = reduce(lambda left, right: apply(STACKED[value.op], left, right), parts)
    return joined / float(len(parts)) if value.op == "lane_mean" else joined


def whole_sums(program: Program) -> set[int]:
    """Value.id of each sum of values of its own shape that is no part of a larger one. Only these are rewritten: of a
    sum of 500 relations each part is a sum of up to 499."""
    fits: dict[int, bool] = {}
    readers: dict[int, list[Value]] = defaultdict(list)
    for value in program.values:
        fits[value.id] = (
            value.is_node and value.op == "add" and all(_fits(entry, value, fits) for entry in value.inputs)
        )
        for entry in value.inputs:
            readers[entry.id].append(value)
    outputs = {value.id for value in program.outputs.values()}

    def is_part(number: int) -> bool:
        return number not in outputs and len(readers[number]) == 1 and fits[readers[number][0].id]

    return {number for number, found in fits.items() if found and not is_part(number)}


def _fits(term: Value, value: Value, fits: Mapping[int, bool]) -> bool:
    return term.shape == value.shape and (fits[term.id] or term.op != "add" or term.is_weight)


def sum_linears(value: Value) -> Value | None:
    """matmul(x, A) + b + matmul(x, B) + c → matmul(x, A + B) + (b + c)."""
    if value.op != "add" or not value.is_node:
        return None
    parts = terms(value)
    if any(term.shape != value.shape for term in parts):
        return None
    products: dict[tuple[int, tuple[int, ...]], list[Value]] = {}
    for term in parts:
        if _is_linear(term):
            products.setdefault((term.inputs[0].id, term.inputs[1].shape), []).append(term)
    if all(len(same) == 1 for same in products.values()):
        return None
    found: list[Value] = []
    for term in parts:
        if _is_linear(term):
            # at the first one of them; a term that is there twice is twice among them
            same = products.pop((term.inputs[0].id, term.inputs[1].shape), [])
            if same:
                matrix = reduce(lambda left, right: left + right, (each.inputs[1] for each in same))
                found.append(apply("matmul", term.inputs[0], matrix))
        elif not term.is_weight:
            found.append(term)
    found += [reduce(lambda left, right: left + right, shifts)] if (shifts := [t for t in parts if t.is_weight]) else []
    return reduce(lambda left, right: left + right, found)


def _is_linear(term: Value) -> bool:
    return term.op == "matmul" and term.inputs[1].is_weight and not term.inputs[0].is_weight
