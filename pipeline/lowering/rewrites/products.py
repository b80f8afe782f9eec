"""The factors of a product of values, and the terms of a sum: shared by the rules that look through either."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.formula.values import Value, apply

# A number multiplied with itself forty times over has 2^40 factors: of a longer product, the rest is one of them.
MOST_FACTORS = 64


@dataclass(frozen=True)
class Factor:
    value: Value
    inverse: bool = False  # divided by


def factors(value: Value, whole: Callable[[Value], bool] = lambda value: False) -> list[Factor]:
    """a * b / c → [a, b, 1/c], from left to right; what is `whole` is one factor."""
    found: list[Factor] = []
    stack = [Factor(value)]
    while stack:
        top = stack.pop()
        is_product = top.value.op in ("mul", "div") and not whole(top.value)
        if is_product and len(found) + len(stack) < MOST_FACTORS:
            left, right = top.value.inputs
            flipped = top.inverse != (top.value.op == "div")
            stack.append(Factor(right, flipped))
            stack.append(Factor(left, top.inverse))
        else:
            found.append(top)
    return found


def terms(value: Value, op: str = "add", most: int | None = None) -> list[Value]:
    """What a chain of additions adds up, or of another `op`, from left to right. Of more than `most` the rest is one: a
    number added to itself forty times over has 2^40 terms."""
    found: list[Value] = []
    stack = [value]
    while stack:
        top = stack.pop()
        if top.op == op and not top.is_weight and (most is None or len(found) + len(stack) < most):
            stack += reversed(top.inputs)
        else:
            found.append(top)
    return found


def product(parts: Iterable[Factor], start: Value | None = None) -> Value | None:
    """The product again, from left to right; None where there are no factors."""
    result = start
    inverses = []
    for part in parts:
        if part.inverse:
            inverses.append(part.value)
        else:
            result = part.value if result is None else result * part.value
    for value in inverses:
        result = apply("reciprocal", value) if result is None else result / value
    return result


def one_per_row(value: Value) -> bool:
    """Is it a single number per row, so that it commutes with a linear map over lanes?"""
    return all(size == 1 for size in value.shape)
