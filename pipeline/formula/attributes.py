"""What the attributes of operations may be, and the sizes that a formula may have.

Comes in: an attribute, a shape or a name, from a formula's author or from a file. Goes out: nothing, or a ValueError
that says what is expected. Knows no operation: which attributes each has is in operations.py, and which of their values
fit its operands in rules.py.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

from pipeline.errors import shortened
from pipeline.formula.spaces import PARTS, Edges, Nodes

MOST_AXES = 16  # of a row; NumPy 1 has 32
MOST_LANES = 1 << 24  # of a row: 64 MB
MOST_COMPUTED = 1 << 28  # numbers of all weights that are computed from weights: 1 GB
MOST_LETTERS = 1000  # of a name


def check_attribute(key: str, item: Any) -> None:
    """ValueError unless an attribute is of its kind."""
    fits, expected = ATTRIBUTES[key]
    if not fits(item):
        raise ValueError(f"{key} is {shortened(item)}; {expected} expected")


def check_shape(shape: Any, weight: bool = False) -> None:
    """ValueError unless it is the shape of a row, or of a weight, that can be held."""
    if not _wholes(shape) or any(size < 0 for size in shape):
        raise ValueError(f"a shape is {shortened(shape)}; sizes from 0 are expected")
    if len(shape) > MOST_AXES:
        raise ValueError(f"a shape of {len(shape)} axes; {MOST_AXES} are supported")
    if not weight and math.prod(shape) > MOST_LANES:
        raise ValueError(f"rows of shape {shape} hold {math.prod(shape):,} numbers each; {MOST_LANES:,} are supported")


def check_name(what: str, name: Any) -> None:
    """ValueError unless it is a name that can be stored and shown: of a column, a weight, an output."""
    if not isinstance(name, str):
        raise ValueError(f"the name of {what} is {shortened(name)}; a text is expected")
    if not 0 < len(name) <= MOST_LETTERS:
        raise ValueError(f"the name of {what} has {len(name):,} letters; 1 to {MOST_LETTERS:,} are supported")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        raise ValueError(f"the name of {what} is {shortened(name)}: it holds control characters")


def is_number(item: Any) -> bool:
    """Whether it is one that a float can hold, infinite ones and NaN included."""
    if isinstance(item, bool) or not isinstance(item, Real):
        return False
    try:
        float(item)
    except OverflowError:
        return False
    return True


def _whole(item: Any) -> bool:
    return type(item) is int or (isinstance(item, Integral) and not isinstance(item, bool))


def _wholes(item: Any) -> bool:
    return isinstance(item, tuple | list) and all(map(_whole, item))


def _one_of(*choices: str) -> tuple[Callable[[Any], bool], str]:
    return lambda item: isinstance(item, str) and item in choices, " or ".join(map(repr, choices)) + " is"


_NUMBER = (is_number, "a number is")

ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("slope", "alpha", "scale", "input_scale", "beta", "threshold", "low", "high", "empty"), _NUMBER),
    "value": _NUMBER,
    **dict.fromkeys(("axis", "start", "stop", "step", "logits"), (_whole, "a whole number is")),
    **dict.fromkeys(("shape", "axes", "indices"), (_wholes, "whole numbers are")),
    "keepdims": (lambda item: isinstance(item, bool), "true or false is"),
    "approximate": _one_of("none", "tanh"),
    "interpolation": (lambda item: isinstance(item, str), "a name is"),
    "part": _one_of(*PARTS),
    "q": (lambda item: isinstance(item, tuple | list) and all(map(is_number, item)), "numbers are"),
    "edges": (lambda item: isinstance(item, Edges), "edges are"),
    "nodes": (lambda item: isinstance(item, Nodes), "nodes are"),
}
