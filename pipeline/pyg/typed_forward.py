"""Running the forward of a module with several node and edge types: dicts by type, or a HeteroData.

Comes in: a copy of a module, an example graph. Goes out: its outputs by name, those of a dict by type "TYPE.output".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData

from pipeline.errors import ModelError, nearest
from pipeline.formula.program import OUTPUT, output_key
from pipeline.formula.spaces import Nodes
from pipeline.pyg.arguments import Argument, Signature
from pipeline.pyg.example import Example
from pipeline.pyg.outputs import Wanted, are_names, parts_of
from pipeline.pyg.types import Types, triple
from pipeline.schema import AnyType, EdgeType


def arguments_of(signature: Signature, example: Example) -> dict[str, Any]:
    """What forward is given, by parameter."""
    given: dict[str, Any] = {}
    for argument in signature.arguments:
        if argument.name in signature.tables:
            continue
        given.setdefault(argument.parameter, {})[type_key(argument)] = example.columns[argument.name]
    edges = {triple(kind): index for kind, index in example.edge_indices.items()}
    given |= {name: dict(edges) for name in signature.indices}
    given |= dict.fromkeys(signature.none)
    return {signature.as_data: _data(signature, example, given)} if signature.as_data else given


def type_key(argument: Argument) -> Any:
    """How PyG calls the type of an argument."""
    kind = argument.space.type
    return kind if isinstance(kind, str) else triple(kind)


def _data(signature: Signature, example: Example, given: Mapping[str, Any]) -> HeteroData:
    data = HeteroData()
    for node_type in signature.types.nodes:
        data[node_type].num_nodes = example.sizes.counts[Nodes(node_type)]
    for attribute, by_type in given.items():
        for kind, tensor in (by_type or {}).items():
            data[kind][attribute] = tensor
    return data


def named_by_type(result: Any, types: Types, wanted: Sequence[Wanted] = ()) -> dict[str, Tensor]:
    """The tensors of what forward returned. One by one they go by their keys, fields or positions; a dict by type, of
    nodes or of edges, gives an output of each of the types, None of a type that has none. `wanted`: only these, by
    their names or keys; none: all."""
    by_type = isinstance(result, Mapping) and bool(result) and all(_type_of(key, types) is not None for key in result)
    alone = by_type or isinstance(result, Tensor)
    parts, unnamed = ({OUTPUT: result}, True) if alone else parts_of(result)
    found = _by_key(parts, types)
    known = {*found, *parts}
    if unnamed and are_names(wanted, known, len(parts)):
        names = [each.name for each in wanted]
        found = _by_key(dict(zip(names, parts.values(), strict=True)), types)
    elif wanted:
        found = {key: item for each in wanted for key, item in _chosen(each, found, known)}
    for key, (_, tensor) in found.items():
        if not isinstance(tensor, Tensor):
            raise ModelError(f"output {key!r} of forward is {type(tensor).__name__}, not a tensor")
    if not found:
        raise ModelError("forward returned nothing")
    return {key: tensor for key, (_, tensor) in found.items()}


Found = dict[str, tuple[str, Any]]
"""`output_key` → the name alone, and what forward returned."""


def _type_of(key: Any, types: Types) -> AnyType | None:
    """The type that a key of a dict is."""
    if isinstance(key, str):
        return key if key in types.nodes else None
    found = EdgeType(*key) if isinstance(key, tuple) and len(key) == 3 else None
    return found if found in types.edges else None


def _by_key(parts: Mapping[str, Any], types: Types) -> Found:
    found: Found = {}
    for name, item in parts.items():
        if not isinstance(item, Mapping):
            found[name] = (name, item)
            continue
        kinds = {key: _type_of(key, types) for key in item}
        unknown = [str(key) for key, kind in kinds.items() if kind is None]
        if unknown:
            raise ModelError(
                f"forward returned a dict with {', '.join(map(repr, unknown))}, which is no type of nodes or edges"
            )
        given = [(kind, item[key]) for key, kind in kinds.items() if kind is not None and item[key] is not None]
        found |= {output_key(kind, name): (name, each) for kind, each in given}
    return found


def _chosen(each: Wanted, found: Found, known: Collection[str]) -> Iterator[tuple[str, tuple[str, Any]]]:
    """What one name means: an output of one type, or of all that have one of this name."""
    of = each.of or each.name
    if of not in known:
        raise ModelError(f"outputs names {of!r}, which forward does not return; {nearest(of, known)}")
    for key, (name, item) in found.items():
        if of in (key, name):
            start = key.removesuffix(name)
            yield (start + each.name.removeprefix(start) if each.of else key), (name, item)


@contextmanager
def lost_types(net: torch.nn.Module, types: Sequence[str], lost: dict[str, str]) -> Iterator[None]:
    """While the block runs, `lost` learns of each node type that a part of the module was given and gave no more of:
    type → that part."""

    def watching(path: str) -> Any:
        def leave(module: torch.nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            given = {key for each in (*args, *kwargs.values()) if isinstance(each, Mapping) for key in each}
            if not isinstance(result, Mapping):
                return
            for name in types:
                if name in given and result.get(name) is None:
                    lost.setdefault(name, f"{path} ({type(module).__name__})")

        return leave

    handles = [
        module.register_forward_hook(watching(path), with_kwargs=True) for path, module in net.named_modules() if path
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
