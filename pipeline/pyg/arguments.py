"""What forward takes: which argument is which column, and how wide.

Comes in: a module's signature and what the user says about it. Goes out: the arguments, or a ModelError that says what
to add. Widths that nobody gave are found by trying.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pipeline.errors import ModelError, nearest

EDGE_INDEX = "edge_index"
TABLES = {"x": "nodes", "edge_weight": "edges", "edge_attr": "edges"}  # what PyG's own arguments are
TRIALS = 2000  # forwards on a graph of a few edges

Features = int | Mapping[str, int | Sequence[int]] | None


@dataclass(frozen=True)
class Argument:
    """A tensor that forward takes: an attribute of `data`, or a parameter of its own."""

    name: str
    column: str
    """"nodes.x" """
    shape: tuple[int, ...]
    """of a row"""

    @property
    def table(self) -> str:
        return self.column.partition(".")[0]


@dataclass(frozen=True)
class Signature:
    """How forward is called."""

    arguments: tuple[Argument, ...]
    index: str
    """The parameter that takes edge_index."""
    as_data: str | None = None
    """The parameter that takes everything as one Data object."""


Forward = Callable[[Signature], object]


def signature(net: torch.nn.Module, inputs: Mapping[str, str] | None) -> Signature:
    """The arguments of forward, without their widths.

    `inputs`: argument → "nodes.COLUMN", "edges.COLUMN" or "edge_index". Required parameters called x, edge_index,
    edge_weight and edge_attr need no mention.
    """
    given = dict(inputs or {})
    parameters = inspect.signature(net.forward).parameters
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    required = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    as_data = required[0] if required == ["data"] else None
    if as_data:
        required = ["x", EDGE_INDEX]
    elif not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in given:
            if name not in named:
                raise ModelError(f"inputs names {name!r}, which forward does not take; {nearest(name, named)}")
    index = next((name for name, column in given.items() if column == EDGE_INDEX), EDGE_INDEX)
    columns = {}
    for name in dict.fromkeys([*required, *given]):
        if name == index:
            continue
        column = given.get(name) or (f"{TABLES[name]}.{name}" if name in TABLES else None)
        if column is None:
            raise ModelError(
                f"forward takes {name!r}: say where it comes from, "
                f"inputs={{{name!r}: 'nodes.COLUMN'}} or 'edges.COLUMN' (or 'edge_index')"
            )
        table, _, key = column.partition(".")
        if table not in ("nodes", "edges") or not key:
            raise ModelError(f"input {name!r} is {column!r}; write nodes.COLUMN or edges.COLUMN")
        columns[name] = column
    if as_data is None and index not in named:
        raise ModelError(f"forward takes no edge_index; it takes {', '.join(named) or 'nothing'}")
    return Signature(tuple(Argument(name, column, ()) for name, column in columns.items()), index, as_data)


def with_widths(net: torch.nn.Module, found: Signature, features: Features, run: Forward) -> Signature:
    """The same arguments with the shapes of their rows.

    `run`: forward on a small graph, which raises where a width does not fit.
    """
    given = {"x": features} if isinstance(features, int) else dict(features or {})
    names = [argument.name for argument in found.arguments]
    for name in given:
        if name not in names:
            raise ModelError(f"features names {name!r}, which is no input; {nearest(name, names)}")
    choices = [_choices(net, argument, given.get(argument.name)) for argument in found.arguments]
    if math.prod(map(len, choices)) == 1:
        return _shaped(found, [choice[0] for choice in choices])
    fitting, failure = _fitting(found, choices, run)
    if len(fitting) == 1:
        return fitting[0]
    open_names = [name for name, choice in zip(names, choices, strict=True) if len(choice) != 1]
    what = "several widths fit" if fitting else "no width was found that fits"
    why = "" if fitting else f" (the last failure: {failure})"
    asked = ", ".join(f"{name!r}: WIDTH" for name in open_names or names)
    raise ModelError(
        f"{what} {' and '.join(open_names or names)} of {type(net).__name__}; give features={{{asked}}}{why}"
    )


def _choices(net: torch.nn.Module, argument: Argument, given: Any) -> list[tuple[int, ...]]:
    """Row shapes that an argument may have."""
    if given is not None:
        return [(given,) if isinstance(given, int) else tuple(map(int, given))]
    if argument.name == "edge_weight":
        return [()]
    known = {"x": "in_channels", "edge_attr": "edge_dim"}.get(argument.name)
    width = getattr(net, known, None) if known else None
    if isinstance(width, tuple | list) and len(set(width)) == 1:
        width = width[0]
    if isinstance(width, int) and width > 0:
        return [(width,)]
    return [(size,) for size in sorted({size for tensor in net.parameters() for size in tensor.shape})]


def _fitting(
    found: Signature, choices: Sequence[Sequence[tuple[int, ...]]], run: Forward
) -> tuple[list[Signature], str]:
    """The signatures with which forward runs, and what the last one that did not run said."""
    fitting, failure = [], "nothing to try"
    for shapes in itertools.islice(itertools.product(*choices), TRIALS):
        candidate = _shaped(found, shapes)
        try:
            run(candidate)
            fitting.append(candidate)
        except Exception as error:  # whatever a module raises at a width that does not fit
            failure = str(error)
    return fitting, failure


def _shaped(found: Signature, shapes: Sequence[tuple[int, ...]]) -> Signature:
    arguments = (replace(argument, shape=shape) for argument, shape in zip(found.arguments, shapes, strict=True))
    return replace(found, arguments=tuple(arguments))
