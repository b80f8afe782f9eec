"""Of a model for typed graphs, that which some types need.

Comes in: a model, types of nodes, or of edges where it gives a row per edge. Goes out: the model that gives only these.
Knows nothing of graphs and of files.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from pipeline.errors import ModelError, SettingError, nearest
from pipeline.formula.program import Program, output_key
from pipeline.model import Model
from pipeline.schema import NODE, AnyType, EdgeType
from pipeline.tables.targets import Targets

log = logging.getLogger("graphsweep")


EXPECTED = "a list of node types is expected, or of edge types, (source, relation, target)"


def types_of(types: Any) -> tuple[AnyType, ...] | None:
    """Types as they were asked for, each once. SettingError if that is no list of types."""
    if types is None:
        return None
    if isinstance(types, str) or not isinstance(types, Iterable):
        raise SettingError(f"types is {types!r}; {EXPECTED}")
    names = [EdgeType(*name) if _is_triple(name) else name for name in types]
    if not names or not all(isinstance(name, str | EdgeType) for name in names):
        raise SettingError(f"types is {names!r}; {EXPECTED}")
    return tuple(dict.fromkeys(names))


def _is_triple(name: Any) -> bool:
    return isinstance(name, tuple) and len(name) == 3 and all(isinstance(part, str) for part in name)


def types_wanted(
    types: tuple[AnyType, ...] | None, targets: Targets | None, model: Model
) -> tuple[AnyType, ...] | None:
    """The types that a run computes: those that were asked for, or those of the targets. None: all.

    Raises
    ------
    SettingError
        If types and targets name different types; if the model gives nothing for the targets of a type.
    """
    of_targets = None if targets is None else targets.types
    given = model.program.output_types
    if of_targets is None or given == (NODE,) or model.program.is_per_edge:
        return types
    if types is not None and set(types) != set(of_targets):
        raise SettingError(
            f"types names {_some(types)}, and targets {', '.join(of_targets)}: only nodes of the types of the "
            "targets are scored, so leave types out"
        )
    for type in of_targets:
        if type not in given:
            raise SettingError(f"targets names {type!r}, for which the model gives nothing; {_nearest(type, given)}")
    return of_targets or types


def giving(model: Model, types: Collection[AnyType] | None) -> Model:
    """The model that computes the outputs of these types and what they need, and nothing else. None: all types. A type
    of edges may be a text, SOURCE__RELATION__TARGET.

    Raises
    ------
    ModelError
        If the model gives nothing for a type.
    """
    if types is None:
        return model
    given = model.program.output_types
    wanted = set(map(str, types))
    for name in map(str, types):
        if name not in map(str, given) and given == (NODE,):
            raise ModelError(f"types names {name!r}, but the model knows one type of nodes only; leave types out")
        if name not in map(str, given):
            raise ModelError(f"types names {name!r}, for which the model gives nothing; {_nearest(name, given)}")
    program = Program(
        {
            output_key(type, name): value
            for type in given
            if str(type) in wanted
            for name, value in model.program.outputs_of(type).items()
        }
    )
    return model.only(program)


def _nearest(name: str, given: Iterable[AnyType]) -> str:
    return nearest(name, [*map(str, given)])


def _some(types: Iterable[AnyType]) -> str:
    return ", ".join(map(str, types))


def say_left_out(model: Model, chosen: Model) -> None:
    """Logs what of a model is not computed, where some of its types were asked for."""
    given = chosen.program.output_types
    left = [type for type in model.program.output_types if type not in given]
    if not left:
        return
    unread = [name for name in model.inputs if name not in chosen.inputs]
    idle = [str(type) for type in model.program.edge_types if type not in chosen.program.edge_types]
    log.info(
        "%s of type %s only; left out: the outputs of %s%s%s",
        chosen.program.what,
        _some(given),
        _some(left),
        f"; not read: {', '.join(unread)}" if unread else "",
        f"; edges {', '.join(idle)}" if idle else "",
    )
