"""A learned row for each node, and the ids of these nodes: what a module reads of itself becomes a column of the nodes.

Comes in: a module, the ids of the nodes that it was trained on, in the order of its rows. Goes out: `inputs` and
`features` that name these rows as columns, and the rows by id. How a weight stands for a column is for forward.py to
know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.errors import ModelError, nearest, shortened
from pipeline.formula.node_rows import NodeRows
from pipeline.formula.spaces import Nodes
from pipeline.pyg.copies import unwrapped
from pipeline.schema import NODE

NODE_IDS = "node_ids"
MOST_NUMBERED = 1 << 24  # numbers that float32 holds exactly

Ids = Mapping[str, pa.Array]
"""Node type → ids; NODE alone of a module for one type."""


@dataclass(frozen=True)
class Told:
    """What an import is told."""

    inputs: Any
    features: Any
    ids: Ids = field(default_factory=dict)
    rows: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(node type, weight or argument) → its rows, (ids, …)."""

    def rows_of(self, read: Mapping[str, str]) -> dict[str, NodeRows]:
        """Node type → the rows that the program reads. `read`: input of the program → column."""
        found: dict[str, dict[str, Any]] = {}
        for (type, name), rows in self.rows.items():
            if f"{Nodes(type)}.{_key(name)}" in read.values():
                found.setdefault(type, {})[_key(name)] = rows
        if self.ids and not found:
            raise ModelError("node_ids: no output depends on a learned row of a node; leave node_ids out")
        called = {type: NODE_IDS if type == NODE else f"{NODE_IDS} of type {type}" for type in found}
        return {type: NodeRows.of(called[type], self.ids[type], columns) for type, columns in found.items()}


def with_node_ids(net: Any, inputs: Any, features: Any, ids: Ids) -> Told:
    """ModelError if the module has no weight with a row for each id, or not the one that inputs names."""
    said = _said(inputs) if isinstance(inputs, Mapping) else {}
    if not ids:
        if said:
            raise ModelError(
                f"inputs says {next(iter(said))!r} is 'node_ids', and these are not there: give node_ids=, the ids of "
                "the nodes in the order of the rows"
            )
        return Told(inputs, features)
    if not isinstance(net, torch.nn.Module) or not isinstance(inputs, Mapping | None):
        return Told(inputs, features)  # who imports says what is wrong with them
    weights = {name: each for name, each in unwrapped(net).named_parameters(remove_duplicate=False) if each.dim() > 1}
    chosen: dict[str, str] = {}
    numbers: dict[str, list[str]] = {}
    for name, types in said.items():
        of = [_known(name, type, ids) for type in types] or [*ids]
        if name in weights:
            chosen[name] = _of_type(name, weights[name], of, ids)
        else:
            numbers[name] = of
    if not said:
        chosen = _found(weights, inputs or {}, ids)
    rows: dict[tuple[str, str], Any] = {
        (type, name): weights[name].detach().cpu().to(torch.float64).numpy() for name, type in chosen.items()
    }
    for name, of in numbers.items():
        for type in of:
            if len(ids[type]) > MOST_NUMBERED:
                raise ModelError(
                    f"node_ids: {len(ids[type]):,} ids, and {name} tells {MOST_NUMBERED:,} rows apart at most, by a "
                    "number in float32"
                )
            rows[type, name] = np.arange(len(ids[type]))
    told = {**(inputs or {})}
    for name, of in {**{name: [type] for name, type in chosen.items()}, **numbers}.items():
        others = {key: each for key, each in _by_type(told.get(name)).items() if each != NODE_IDS}
        told[name] = f"nodes.{_key(name)}" if of == [NODE] else {**others, **dict.fromkeys(of, _key(name))}
    counts = {name: {type: range(len(ids[type])) for type in of} for name, of in numbers.items()}
    return Told(told, _features(features, counts), ids, rows)


def _key(name: str) -> str:
    """The column of a weight or an argument."""
    return name.removesuffix("_dict").replace(".", "_")


def _by_type(told: Any) -> Mapping[Any, Any]:
    return told if isinstance(told, Mapping) else {}


def _said(inputs: Mapping[str, Any]) -> dict[str, list[str]]:
    """Weight or argument that is "node_ids" → for which types; none: for all that have ids."""
    found: dict[str, list[str]] = {}
    for name, told in inputs.items():
        types = [str(type) for type, each in _by_type(told).items() if each == NODE_IDS]
        if types or (isinstance(told, str) and told == NODE_IDS):
            found[name] = types
    return found


def _known(name: str, type: str, ids: Ids) -> str:
    if type not in ids:
        raise ModelError(f"inputs says {name!r} is 'node_ids' of type {type!r}, which has none; {nearest(type, ids)}")
    return type


def _of_type(name: str, weight: Tensor, of: Sequence[str], ids: Ids) -> str:
    """The type whose nodes a weight has rows for."""
    fitting = [type for type in of if len(ids[type]) == len(weight)]
    if not fitting:
        has = " and ".join(f"{len(ids[type]):,} ids{'' if type == NODE else f' of type {type}'}" for type in of)
        raise ModelError(f"node_ids has {has}, and {name} has {len(weight):,} rows, one for each node")
    named = [type for type in fitting if type in name.split(".")]
    if len(fitting) > 1 and len(named) != 1:
        raise ModelError(
            f"{name} has {len(weight):,} rows, and so many ids have {' and '.join(fitting)}: say whose they are, "
            f"inputs={{{name!r}: {{{fitting[0]!r}: 'node_ids'}}}}"
        )
    return named[0] if len(fitting) > 1 else fitting[0]


def _found(weights: Mapping[str, Tensor], inputs: Mapping[str, Any], ids: Ids) -> dict[str, str]:
    """The weights that hold a row for each id → the type of these."""
    counts = {len(each) for each in ids.values()}
    found = {
        name: _of_type(name, each, [*ids], ids)
        for name, each in weights.items()
        if len(each) in counts and name not in inputs
    }
    for type, each in ids.items():
        if type in found.values():
            continue
        largest = sorted(weights, key=lambda name: -len(weights[name]))[:3]
        rows = ", ".join(f"{name} has {len(weights[name]):,}" for name in largest)
        raise ModelError(
            f"node_ids has {len(each):,} ids{'' if type == NODE else f' of type {type}'}, and no weight of the module "
            "has a row for each of them" + (f": {rows}" if rows else "")
        )
    return found


def _features(features: Any, counts: Mapping[str, Mapping[str, range]]) -> Any:
    """With the number of rows that each argument counts."""
    if not counts:
        return features
    if features is not None and not isinstance(features, Mapping | int):
        raise ModelError(f"features is {shortened(features)}; argument → width is expected")
    typed = any([*of] != [NODE] for of in counts.values())
    given = features if isinstance(features, Mapping) else {} if features is None else {_x(typed): features}
    found = dict(given)
    for name, of in counts.items():
        found[name] = {**_by_type(found.get(name)), **of} if typed else of[NODE]
    return found


def _x(typed: bool) -> str:
    return "x_dict" if typed else "x"
