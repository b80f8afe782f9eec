"""Of a model for typed graphs, that which some types of nodes need.

Comes in: a model, names of types. Goes out: the model that gives only these. Knows nothing of graphs and of files.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from pipeline.errors import ModelError, SettingError, nearest
from pipeline.formula.program import Program, input_name, output_key
from pipeline.model import Model
from pipeline.schema import NODE
from pipeline.tables.targets import Targets

log = logging.getLogger("graphsweep")


def types_of(types: Any) -> tuple[str, ...] | None:
    """Types of nodes as they were asked for, each once. SettingError if that is no list of names."""
    if types is None:
        return None
    if isinstance(types, str) or not isinstance(types, Iterable):
        raise SettingError(f"types is {types!r}; a list of node types is expected")
    names = list(types)
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingError(f"types is {names!r}; a list of node types is expected")
    return tuple(dict.fromkeys(names))


def types_wanted(types: tuple[str, ...] | None, targets: Targets | None, model: Model) -> tuple[str, ...] | None:
    """The types of nodes that a run computes: those that were asked for, or those of the targets. None: all.

    Raises
    ------
    SettingError
        If types and targets name different types; if the model gives nothing for the targets of a type.
    """
    of_targets = None if targets is None else targets.types
    given = model.program.output_types
    if of_targets is None or given == (NODE,):
        return types
    if types is not None and set(types) != set(of_targets):
        raise SettingError(
            f"types names {', '.join(types)}, and targets {', '.join(of_targets)}: only nodes of the types of the "
            "targets are scored, so leave types out"
        )
    for type in of_targets:
        if type not in given:
            raise SettingError(f"targets names {type!r}, for which the model gives nothing; {nearest(type, given)}")
    return of_targets or types


def giving(model: Model, types: Collection[str] | None) -> Model:
    """The model that computes the outputs of these types of nodes and what they need, and nothing else. None: all
    types.

    Raises
    ------
    ModelError
        If the model gives nothing for a type.
    """
    if types is None:
        return model
    given = model.program.output_types
    for type in types:
        if type not in given and given == (NODE,):
            raise ModelError(f"types names {type!r}, but the model knows one type of nodes only; leave types out")
        if type not in given:
            raise ModelError(f"types names {type!r}, for which the model gives nothing; {nearest(type, given)}")
    program = Program(
        {
            output_key(type, name): value
            for type in given
            if type in types
            for name, value in model.program.outputs_of(type).items()
        }
    )
    columns = {name: model.columns[name] for name in map(input_name, program.inputs)}
    weights = {name: model.weights[name] for name in program.weights}
    classes = {name: names for name, names in model.classes.items() if name in program.outputs}
    return Model(program, weights, columns, model.origin, model.about, model.training, classes)


def say_left_out(model: Model, chosen: Model) -> None:
    """Logs what of a model is not computed, where some of its types were asked for."""
    given = chosen.program.output_types
    left = [type for type in model.program.output_types if type not in given]
    if not left:
        return
    unread = [name for name in model.inputs if name not in chosen.inputs]
    idle = [str(type) for type in model.program.edge_types if type not in chosen.program.edge_types]
    log.info(
        "nodes of type %s only; left out: the outputs of %s%s%s",
        ", ".join(given),
        ", ".join(left),
        f"; not read: {', '.join(unread)}" if unread else "",
        f"; edges {', '.join(idle)}" if idle else "",
    )
