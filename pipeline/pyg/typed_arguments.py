"""What the forward of a module with several types takes: which argument is which column of which types, and how wide.

Comes in: a module's signature, its types, what the user says. Goes out: an argument for each type that has the column,
or a ModelError that says what to add.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import Parameter
from typing import Any

import torch
from torch_geometric.data import HeteroData

from pipeline.errors import ModelError, nearest, shortened
from pipeline.formula.spaces import Edges, Nodes
from pipeline.pyg.arguments import TABLES, Argument, Signature
from pipeline.pyg.called import STARS, called
from pipeline.pyg.forms import told_forms
from pipeline.pyg.types import METADATA, Types, own_types, triple, types_of

EDGE_INDICES = ("edge_index_dict", "edge_index")
DICT = "_dict"
DATA = "data"


def has_types(net: torch.nn.Module, metadata: Any, like: Any) -> bool:
    """Whether a module takes several types: somebody says so, or its forward does."""
    if metadata is not None or like is not None:
        return True
    parameters = called(net).parameters
    if EDGE_INDICES[0] in parameters:
        return True
    first = next(iter(parameters.values()), None)
    if first is None:
        return False
    return _is_hetero_data(first) or (first.name == DATA and own_types(net) is not None)


def _is_hetero_data(parameter: Parameter) -> bool:
    return "HeteroData" in str(parameter.annotation)


def types_for(net: torch.nn.Module, metadata: Any, like: Any) -> Types:
    """The types that a module is imported with: those that the user says, else its own."""
    found = types_of(metadata) if metadata is not None else None
    found = found or (types_of(like.metadata()) if like is not None else own_types(net))
    if found is None:
        raise ModelError(f"forward takes several types, and the module does not say which: give {METADATA}")
    return found


def typed_signature(net: torch.nn.Module, inputs: Mapping[str, Any] | None, types: Types, like: Any) -> Signature:
    """The arguments of forward, without their widths.

    `inputs`: parameter → "nodes.COLUMN" or "edges.COLUMN", of all types that have it; or type → column; or None.
    Required parameters called x_dict, edge_index_dict, edge_weight_dict and edge_attr_dict need no mention.
    """
    given = dict(inputs or {})
    call = called(net)
    parameters, named = call.parameters, call.named
    required = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    as_data = required[0] if required == [DATA] or (required and _is_hetero_data(named[required[0]])) else None
    weights = {name: each for name, each in net.named_parameters(remove_duplicate=False) if each.dim() > 1}
    tables = tuple(name for name in given if name in weights and name not in named)
    index = next((name for name in EDGE_INDICES if name in named), None)  # to_hetero calls it edge_index
    if as_data:
        if len(required) > 1:
            others = ", ".join(map(repr, required[1:]))
            raise ModelError(
                f"forward takes {others} beside {as_data!r}, a HeteroData; import a module whose "
                f"forward({as_data}: HeteroData) calls this one with them"
            )
        given = {name.removesuffix(DICT): told for name, told in given.items()}  # data.time_dict is what is called time
        held = [name for name in TABLES if name == "x" or (like is not None and _holding(like, types, name))]
        required = [*held, EDGE_INDICES[1]]
    else:
        for name in given:
            if name not in named and name not in tables:
                raise ModelError(f"inputs names {name!r}, which forward does not take; {nearest(name, named)}")
        if index is None:
            raise ModelError(f"forward takes no edge_index_dict; it takes {', '.join(named) or 'nothing'}")
    arguments = [
        argument
        for name in dict.fromkeys([*required, *given])
        if name not in (*EDGE_INDICES, *tables) and (name not in given or given[name] is not None)
        for argument in _arguments(name, given.get(name), types, like)
    ]
    arguments += [_of_table(name, given[name], tuple(weights[name].shape[1:]), types) for name in tables]
    return Signature(
        tuple(arguments),
        EDGE_INDICES[1:] if as_data or index is None else (index,),
        as_data,
        none=tuple(name for name, told in given.items() if told is None),
        left_out=tuple(
            STARS.get(parameter.kind, "") + name
            for name, parameter in parameters.items()
            if name not in (*required, *given, index, as_data)
        ),
        types=types,
        tables=tables,
        called=call,
    )


def _of_table(name: str, told: Any, shape: tuple[int, ...], types: Types) -> Argument:
    """A weight whose rows are those of the nodes of a type."""
    if not isinstance(told, Mapping) or len(told) != 1:
        raise ModelError(
            f"input {name!r} is {shortened(told)}; of a weight with a row for each node of a type write "
            "{TYPE: COLUMN}, or give node_ids={TYPE: ids}"
        )
    ((kind, column),) = told.items()
    space = _space(name, kind, types)
    if not isinstance(space, Nodes):
        raise ModelError(f"input {name!r} is a column of edges; learned rows are of nodes")
    return Argument(name, f"{space}.{_column_of(name, column)}", shape)


def _arguments(name: str, told: Any, types: Types, like: Any) -> Iterator[Argument]:
    """One for each type that has the column."""
    short = name.removesuffix(DICT)
    if isinstance(told, Mapping):
        for kind, column in told.items():
            space = _space(name, kind, types)
            yield _argument(name, space, _column_of(name, column))
        return
    if told is None and short not in TABLES:
        raise ModelError(
            f"forward takes {name!r}: say where it comes from, inputs={{{name!r}: 'nodes.COLUMN'}} or 'edges.COLUMN', "
            "of all types that have it; or by type, {TYPE: COLUMN}"
        )
    table, _, column = (told or f"{TABLES[short]}.{short}").partition(".")
    if table not in ("nodes", "edges") or not column:
        raise ModelError(f"input {name!r} is {told!r}; write nodes.COLUMN or edges.COLUMN")
    spaces: list[Nodes | Edges] = (
        [Nodes(kind) for kind in types.nodes] if table == "nodes" else [Edges(kind) for kind in types.edges]
    )
    for space in spaces:
        if like is None or short in like[_key(space)] or column in like[_key(space)]:
            yield _argument(name, space, column)


def _argument(name: str, space: Nodes | Edges, column: str) -> Argument:
    return Argument(f"{name}[{_key(space)!r}]", f"{space}.{column}", (), parameter=name)


def _column_of(name: str, told: Any) -> str:
    if not isinstance(told, str) or not told:
        raise ModelError(f"input {name!r} is {shortened(told)} for a type; the name of its column is expected")
    return told.removeprefix("nodes.").removeprefix("edges.")


def _key(space: Nodes | Edges) -> Any:
    return space.type if isinstance(space, Nodes) else triple(space.type)


def _space(name: str, kind: Any, types: Types) -> Nodes | Edges:
    """The rows of a type that the user names."""
    if kind in types.nodes:
        return Nodes(kind)
    for edge_type in types.edges:
        if kind == triple(edge_type):
            return Edges(edge_type)
    known = [*types.nodes, *map(triple, types.edges)]
    raise ModelError(f"{name!r} names the type {kind!r}, which the module does not have; it has {known}")


def _holding(like: HeteroData, types: Types, name: str) -> bool:
    kinds = types.nodes if TABLES[name] == "nodes" else map(triple, types.edges)
    return any(name in like[kind] for kind in kinds)


# ---- widths


def told_widths(found: Signature, features: Any, like: Any) -> Signature:
    """With the forms that `features` (parameter → form, or type → form) and the tensors of `like` tell.

    Of the others the shape stays ().
    """
    given = dict(features or {}) if not isinstance(features, int | range) else {_first(found): features}
    parameters = list(dict.fromkeys(argument.parameter for argument in found.arguments))
    for name in given:
        if name not in parameters:
            raise ModelError(f"features names {name!r}, which is no input; {nearest(name, parameters)}")
    for name, told in given.items():
        for kind in told if isinstance(told, Mapping) else ():
            _space(name, kind, found.types)
    return replace(found, arguments=tuple(_formed(each, given.get(each.parameter), like) for each in found.arguments))


def told_by(found: Signature, features: Any, like: HeteroData | None) -> Any:
    """`features` of a module for one type of nodes, with what the tensors of `like` tell: argument → form."""
    if like is None or not isinstance(features, int | range | Mapping | None):
        return features
    given = dict(features or {}) if not isinstance(features, int | range) else {"x": features}
    formed = {each.name: _formed(each, None, like) for each in found.arguments if _in_like(each, like) is not None}
    forms = {
        name: bool if each.mask else (*each.shape, *([] if each.below is None else [range(each.below)]))
        for name, each in formed.items()
    }
    return {**forms, **given}


def _first(found: Signature) -> str:
    return next((each.parameter for each in found.arguments), "x_dict")


def _formed(argument: Argument, told: Any, like: Any) -> Argument:
    kind = _key(argument.space)
    told = told.get(kind) if isinstance(told, Mapping) else told
    if told is None and like is not None:
        tensor = _in_like(argument, like)
        if tensor is not None:
            shape = tuple(tensor.shape[1:])
            if tensor.dtype is torch.bool:
                return replace(argument, shape=shape, mask=True)
            whole = not tensor.dtype.is_floating_point
            return replace(
                argument, shape=shape, below=max(int(tensor.max()) + 1, 1) if whole and len(tensor) else None
            )
    if told is None:
        return argument
    form = told_forms(argument.name, told)[0]
    return replace(argument, shape=form.shape, below=form.below, mask=form.mask)


def is_told(argument: Argument, features: Any, like: Any) -> bool:
    """Whether somebody said how wide it is."""
    if isinstance(features, int | range):
        return True
    told = dict(features or {}).get(argument.parameter)
    kind = _key(argument.space)
    told = told.get(kind) if isinstance(told, Mapping) else told
    return told is not None or (like is not None and _in_like(argument, like) is not None)


def _in_like(argument: Argument, like: HeteroData) -> torch.Tensor | None:
    """By the name of the argument, as PyG has it, or that of the column, as a graph has it."""
    held = like[_key(argument.space)]
    found = held.get(argument.input, held.get(argument.column.rpartition(".")[2]))
    return found if isinstance(found, torch.Tensor) else None


def hint(names: Sequence[Argument]) -> str:
    """features={…} for messages."""
    by_parameter: dict[str, list[str]] = {}
    for argument in names:
        by_parameter.setdefault(argument.parameter, []).append(f"{_key(argument.space)!r}: WIDTH")
    return "features={" + ", ".join(f"{name!r}: {{{', '.join(each)}}}" for name, each in by_parameter.items()) + "}"
