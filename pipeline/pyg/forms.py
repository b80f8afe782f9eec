"""What `features` says of an argument: the shape of its rows, integers of a range, a mask.

Comes in: what the user wrote. Goes out: the forms that it may mean, the likelier first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.errors import ModelError


class Form(NamedTuple):
    """What the rows of an argument may be."""

    rank: int
    """How unlikely: of several forms that fit, the ones of the lowest rank count."""
    shape: tuple[int, ...]
    below: int | None = None
    """As in Argument; 1 stands for as many as will be found."""
    mask: bool = False
    told: bool = False
    """The module itself says so, by its in_channels."""


def told_forms(name: str, given: Any) -> list[Form]:
    """What `features` says: a width, a shape; range(10) for integers, at the end of several; bool for a mask."""
    if given is bool:
        return [Form(0, (), mask=True)]
    parts = (given,) if isinstance(given, int | range) else tuple(given) if isinstance(given, tuple | list) else (None,)
    if not all(isinstance(part, int | range) for part in parts):
        raise ModelError(f"features gives {name!r} {given!r}; write a width, a shape, range(K) for integers, or bool")
    if parts and isinstance(parts[-1], range):
        numbers = parts[-1]
        if (numbers.start, numbers.step) != (0, 1) or not numbers:
            raise ModelError(f"features gives {name!r} {numbers}; write integers as range(K), for 0 to K - 1")
        return [Form(0, tuple(map(int, parts[:-1])), numbers.stop)]
    shape = tuple(map(int, parts))
    return [Form(0, shape), Form(1, shape, 1)]
