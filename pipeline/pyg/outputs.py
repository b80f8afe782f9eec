"""The outputs of a module by name: all that forward returned, or those that are wanted, under the names that they get.

Comes in: what forward returned, what the user says of names. Goes out: name → tensor. A tensor has no name of its own:
it is "output", unless the user gives another one. Knows nothing of what the tensors mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from pipeline.errors import ModelError, nearest, shortened
from pipeline.formula.program import OUTPUT

Outputs = str | Sequence[str] | Mapping[str, str] | None
"""Names, or name → what forward calls it."""


class Wanted(NamedTuple):
    """An output that is wanted."""

    name: str
    """That it gets."""
    of: str = ""
    """What forward calls it, if that is something else."""


def wanted_outputs(given: Any) -> tuple[Wanted, ...]:
    """Of what the user said: a name, names, or name → what forward calls it. ModelError for anything else."""
    given = (given,) if isinstance(given, str) else () if given is None else given
    if isinstance(given, Mapping):
        wanted = [Wanted(str(name), str(of)) for name, of in given.items()]
    elif isinstance(given, Iterable):
        wanted = [Wanted(str(name)) for name in given]
    else:
        raise ModelError(f"outputs is {shortened(given)}; names are expected, or name → what forward calls it")
    twice = [each.name for at, each in enumerate(wanted) if each.name in (other.name for other in wanted[:at])]
    if twice:
        raise ModelError(f"outputs names {twice[0]!r} twice")
    return tuple(wanted)


def parts_of(result: Any) -> tuple[dict[str, Any], bool]:
    """Name → what forward returned; whether it gave them no names. ModelError if that is no tensor, nor several."""
    if isinstance(result, Mapping):
        return {str(key): item for key, item in result.items()}, False
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return dict(zip(result._fields, result, strict=True)), False
    if isinstance(result, tuple | list):
        return {f"output_{position}": item for position, item in enumerate(result)}, True
    raise ModelError(f"forward returned {type(result).__name__}; a tensor, or several by name, is expected")


def are_names(wanted: Sequence[Wanted], known: Iterable[str], count: int) -> bool:
    """Whether new names were given to all of so many tensors that have none: in their order, none of them known."""
    return len(wanted) == count and not any(each.of or each.name in known for each in wanted)


def named_outputs(result: Any, wanted: Sequence[Wanted] = ()) -> dict[str, Tensor]:
    """Of a module for one type of nodes. One tensor is "output"; several go by their keys, fields or positions.
    `wanted`: only these, in this order; none: all."""
    alone = isinstance(result, Tensor)
    found, unnamed = ({OUTPUT: result}, True) if alone else parts_of(result)
    if unnamed and are_names(wanted, found, len(found)):
        chosen = dict(zip((each.name for each in wanted), found.values(), strict=True))
    else:
        chosen = {each.name: found[_known(each, found)] for each in wanted} if wanted else found
    if not chosen:
        raise ModelError("forward returned nothing")
    for name, item in chosen.items():
        if not isinstance(item, Tensor):
            tensors = [name for name, item in chosen.items() if isinstance(item, Tensor)]
            raise ModelError(
                f"output {name!r} of forward is {type(item).__name__}, not a tensor"
                + (f"; choose those that have a row per node: outputs={tensors}" if tensors else "")
            )
    return chosen


def _known(each: Wanted, found: Iterable[str]) -> str:
    name = each.of or each.name
    if name not in found:
        raise ModelError(f"outputs names {name!r}, which forward does not return; {nearest(name, found)}")
    return name
