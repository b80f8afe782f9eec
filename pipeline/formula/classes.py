"""What the numbers of an output stand for: names of classes, which a result has as labels.

Comes in: a program, names as somebody gives them, or as a file holds them. Goes out: the same, checked, by output; what
the column of labels is called. Knows no table and no number: which class a row has is for the result to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import ModelError, nearest, shortened
from pipeline.formula.about import SHOWN
from pipeline.formula.attributes import check_name
from pipeline.formula.program import Program, output_key
from pipeline.schema import AnyType, EdgeType
from pipeline.shown import some

LABEL = "label"

Classes = dict[str, tuple[str, ...]]
"""Output, as the program calls it → the names of its classes, in the order of its numbers."""


class Label(NamedTuple):
    """A column of labels."""

    output: str
    """That it is of, by its name in the table."""
    names: tuple[str, ...]


def labels_of(program: Program, type: AnyType, classes: Mapping[str, tuple[str, ...]]) -> dict[str, Label]:
    """Of the table of a type: column → what its labels are. With one output it is called `label`, with several
    OUTPUT_label, whether or not all of them have classes."""
    outputs = [*program.outputs_of(type)]
    found = {}
    for name in outputs:
        names = classes.get(output_key(type, name))
        if names is not None:
            found[LABEL if len(outputs) == 1 else f"{name}_{LABEL}"] = Label(name, names)
    return found


def lines_of_classes(classes: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each output whose classes have names."""
    return [f"classes of {name}: {some(names, SHOWN)}" for name, names in classes.items()]


def checked_classes(program: Program, given: Any) -> Classes:
    """Names of classes for the outputs of a program.

    Parameters
    ----------
    given
        A list, for the only output; or output → list, under the names that `Model.outputs` has; of several types also
        type → list, or type → output → list. None, or nothing in it: no classes have names.

    Raises
    ------
    ModelError
        If they are not as many as the output has numbers in a row, if two are the same, or one is no text. If the
        column of labels would be called as an output is.
    """
    if given is None:
        return {}
    found = {key: _checked(key, program.outputs[key].width, names) for key, names in _by_output(program, given).items()}
    for type in program.output_types:
        taken = {name.lower(): name for name in program.outputs_of(type)}
        for column, label in labels_of(program, type, found).items():
            if column.lower() in taken:
                raise ModelError(
                    f"the labels of output {label.output!r} would be a column {column!r}, and the model has an output "
                    f"{taken[column.lower()]!r}: export it with other names of its outputs"
                )
    return found


def _by_output(program: Program, given: Any) -> dict[str, Any]:
    outputs = [*program.outputs]
    if not isinstance(given, Mapping):
        if len(outputs) > 1:
            raise ModelError(
                f"classes is one list, and the model has {len(outputs)} outputs: write {{{outputs[0]!r}: [...], …}}, "
                f"output → names; the outputs are {', '.join(outputs)}"
            )
        return {outputs[0]: given}
    found: dict[str, Any] = {}
    for key, names in given.items():
        for output, each in _of_key(program, key, names).items():
            if output in found:
                raise ModelError(f"classes has output {output!r} twice")
            found[output] = each
    return found


def _of_key(program: Program, key: Any, names: Any) -> dict[str, Any]:
    """`key` is an output, or a type."""
    if isinstance(key, tuple) and len(key) == 3:
        key = EdgeType(*key)
    if key in program.outputs:
        return {key: names}
    if key not in program.output_types:
        known = [*program.outputs]
        said = nearest(key, known) if isinstance(key, str) else f"known: {', '.join(known)}"
        raise ModelError(f"classes names {shortened(key)}, which is no output of the model; {said}")
    of_type = {name: output_key(key, name) for name in program.outputs_of(key)}
    if not isinstance(names, Mapping):
        if len(of_type) > 1:
            raise ModelError(
                f"classes has one list for type {str(key)!r}, which has {len(of_type)} outputs: {', '.join(of_type)}; "
                "write output → names"
            )
        return dict.fromkeys(of_type.values(), names)
    unknown = [name for name in names if name not in of_type]
    if unknown:
        raise ModelError(
            f"classes names {shortened(unknown[0])}, which is no output of type {str(key)!r}; "
            f"known: {', '.join(of_type)}"
        )
    return {of_type[name]: each for name, each in names.items()}


def _checked(output: str, width: int, names: Any) -> tuple[str, ...]:
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ModelError(
            f"the classes of output {output!r} are {shortened(names)}; a list of texts is expected, in the order of "
            "the output's numbers"
        )
    if width < 2:
        raise ModelError(
            f"output {output!r} has one number in a row, so none of it is the largest; classes name the numbers of an "
            "output that has one for each class. Leave classes out, and compare the number with your threshold"
        )
    if len(names) != width:
        raise ModelError(
            f"{len(names)} {'class is' if len(names) == 1 else 'classes are'} named for output {output!r}, which has "
            f"{width} numbers in a row; name each of them, in their order"
        )
    for at, name in enumerate(names):
        try:
            check_name(f"class {at} of output {output!r}", name)
        except ValueError as error:
            raise ModelError(str(error)) from None
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        if seen.setdefault(name, at) != at:
            raise ModelError(f"classes {seen[name]} and {at} of output {output!r} are both called {name!r}")
    return tuple(str(name) for name in names)
