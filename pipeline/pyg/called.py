"""What is called of a module, and which parameters that takes.

Comes in: a module. Goes out: the name of the method that gives a row per node, and its parameters. Most modules are
called as they are. A forward(*args, **kwargs) hands on what it is given: the part that takes it says what that is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.nn import GAE, DeepGraphInfomax

from pipeline.errors import ModelError
from pipeline.pyg.types import own_types

FORWARD = "forward"
ENCODERS = {GAE: "encode", DeepGraphInfomax: "encoder"}  # of these wrappers only the encoder gives a row per node
PARTS = ("encoder", "module", "model", "net", "gnn")  # what people call the part that a wrapper hands its arguments to
TYPED = ("x_dict", "edge_index_dict")
STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True)
class Called:
    """`method` of the module takes `parameters`."""

    method: str
    parameters: Mapping[str, inspect.Parameter]
    by_position: bool = False
    """It takes no names: the parameters in their order."""

    @property
    def named(self) -> dict[str, inspect.Parameter]:
        """The parameters that have a name of their own."""
        return {name: each for name, each in self.parameters.items() if each.kind not in STARS}

    @property
    def any_name(self) -> bool:
        """Whether it takes names that it does not list."""
        return any(each.kind is inspect.Parameter.VAR_KEYWORD for each in self.parameters.values())


AS_IT_IS = Called(FORWARD, {})


def called(net: torch.nn.Module) -> Called:
    """How a module is called for a row per node."""
    for kind, method in ENCODERS.items():
        if isinstance(net, kind) and type(net).forward is getattr(kind, FORWARD):
            return Called(method, called(net.encoder).parameters)
    parameters = _parameters(net)
    if any(each.kind not in STARS for each in parameters.values()):
        return Called(FORWARD, parameters)
    if parameters and own_types(net) is not None and not any(_says_types(each) for each in net.children()):
        return Called(FORWARD, {name: _required(name) for name in TYPED})  # PyG's HeteroConv
    part = _part(net) if parameters else None
    if part is None:
        return Called(FORWARD, parameters)
    by_name = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    return Called(FORWARD, called(part).parameters, not by_name)


def _parameters(net: torch.nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(net.forward).parameters
    except (TypeError, ValueError) as error:
        raise ModelError(f"forward of {type(net).__name__} does not say what it takes: {error}") from error


def _says_types(part: torch.nn.Module) -> bool:
    """Whether a part takes dicts by type itself: then it is what a wrapper hands its arguments to."""
    return TYPED[1] in called(part).parameters


def _required(name: str) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _part(net: torch.nn.Module) -> torch.nn.Module | None:
    """What a forward(*args, **kwargs) hands on to, most probably. If it is not, forward fails with what it is given."""
    parts = dict(net.named_children())
    return next((parts[name] for name in PARTS if name in parts), None) or (
        next(iter(parts.values())) if len(parts) == 1 else None
    )
