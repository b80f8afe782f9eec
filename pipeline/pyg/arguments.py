"""What forward takes: which argument is which column; which are None, numbers, the edges, or a matrix.

Comes in: a module's signature and what the user says about it. Goes out: the arguments, or a ModelError that says what
to add. Knows nothing of their widths.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch_geometric.data import HeteroData

from pipeline.errors import ModelError, nearest
from pipeline.formula.spaces import Edges, Nodes, parse_space
from pipeline.pyg.called import AS_IT_IS, STARS, Called, called
from pipeline.pyg.edge_sets import EdgeSets, check_all_named, edge_sets
from pipeline.pyg.outputs import Wanted
from pipeline.pyg.several_columns import several_columns
from pipeline.pyg.types import UNTYPED, Types
from pipeline.pyg.untold import matrix_forms, matrix_like, untold
from pipeline.schema import EdgeType

EDGE_INDEX, DATA, NUM_NODES = "edge_index", "data", "num_nodes"
GCN_NORM, COLUMN = "gcn_norm", "column"  # what the values of a matrix are
TABLES = {"x": "nodes", "edge_weight": "edges", "edge_attr": "edges"}  # what PyG's own arguments are

Told = int | range | type[bool] | Sequence[int | range]
Features = int | range | Mapping[str, Told] | None
Source = str | EdgeType | Sequence[str | None] | bool | int | float | None
Inputs = Mapping[str, Source] | None
"""Argument → column or columns, "edge_index", the name of a table of edges or its type, a matrix such as ("edge_index",
"edges.weight"), a number, or None."""


@dataclass(frozen=True)
class Argument:
    """A tensor that forward takes: an attribute of `data`, or a parameter of its own."""

    name: str
    column: str
    """"nodes.x" """
    shape: tuple[int, ...]
    """of a row"""
    below: int | None = None
    """Integers from 0 to below this; None: floats."""
    mask: bool = False
    """Truth values."""
    made_of: tuple[str, ...] = ()
    """The columns that it is put together from, one number each, if it is not one column."""
    parameter: str = ""
    """Of several types: the parameter that takes this one's tensor in a dict, or the attribute of a HeteroData."""

    @property
    def space(self) -> Nodes | Edges:
        """What it has one row per."""
        space = parse_space(self.column.partition(".")[0])
        assert isinstance(space, Nodes | Edges)
        return space

    @property
    def input(self) -> str:
        """The program's name for it."""
        return self.parameter.removesuffix("_dict") or self.name.replace(".", "_")


@dataclass(frozen=True)
class Matrix:
    """An argument that takes the edges as a sparse matrix of (dst, src), as PyG's `adj_t` is."""

    name: str
    values: str | None
    """"column": those of the argument of this name; "gcn_norm": as PyG's gcn_norm makes them; None: all are 1."""


@dataclass(frozen=True)
class Signature:
    """How forward is called."""

    arguments: tuple[Argument, ...]
    indices: tuple[str, ...]
    """The parameters that take edge_index."""
    as_data: str | None = None
    """The parameter that takes everything as one Data object."""
    matrices: tuple[Matrix, ...] = ()
    none: tuple[str, ...] = ()
    """Arguments, or attributes of data, that the user says are None."""
    left_out: tuple[str, ...] = ()
    """Optional arguments that nobody gave."""
    types: Types = UNTYPED
    edge_sets: tuple[tuple[str, EdgeType], ...] = ()
    """Parameters that take the edges of one type each, where there are several over the same nodes."""
    constants: tuple[tuple[str, bool | int | float], ...] = ()
    """Parameters that are the same number for every graph."""
    counts: tuple[str, ...] = ()
    """Parameters that take the number of nodes."""
    adjs: tuple[tuple[str, int], ...] = ()
    """Parameters that take the sampled edges of each layer, and of how many: all edges stand in their place."""
    tables: tuple[str, ...] = ()
    """Parameters of the module, by name, whose rows are a column of the nodes: a learned row per node."""
    called: Called = AS_IT_IS
    outputs: tuple[Wanted, ...] = ()
    """The outputs that are wanted; none: all."""

    @property
    def by_type(self) -> bool:
        """Whether forward takes and gives dicts by type, or a HeteroData."""
        return self.types.is_typed and not self.edge_sets

    @property
    def nodes(self) -> Nodes:
        """Of a module for one type of nodes: these."""
        return Nodes(self.types.nodes[0])


def _is_of_matrix(told: Any) -> bool:
    """Whether it says what the values of a matrix are; `_matrix` checks the rest."""
    if not isinstance(told, tuple | list) or not told:
        return False
    return told[0] == EDGE_INDEX or (isinstance(told, tuple) and told[0] in ("nodes", "edges"))  # a table, no column


def signature(net: torch.nn.Module, inputs: Inputs, like: HeteroData | None = None) -> Signature:
    """The arguments of forward, without their widths.

    `inputs`: argument → "nodes.COLUMN", "edges.COLUMN", a list of columns, "edge_index", ("edge_index", values of a
    matrix), a list of "edge_index" for sampled edges, "data", "num_nodes", a number, or None. Where there are several
    sets of edges, argument → its table, "pos", whose columns are "pos.COLUMN". `like`: a graph that has these.
    Required parameters called x, edge_index, edge_weight, edge_attr and num_nodes need no mention, nor does a single
    one that is a Data object.
    """
    given: dict[str, Any] = dict(inputs or {})
    sets = edge_sets(given, TABLES, like)
    given = {name: told for name, told in given.items() if name not in sets.of}
    adjs = tuple((name, len(told)) for name, told in given.items() if _is_sampled(told))
    several = {
        name: several_columns(name, told, _usual_table(name, sets), sets.tables)
        for name, told in given.items()
        if isinstance(told, list | tuple) and not _is_of_matrix(told) and name not in dict(adjs)
    }
    given |= {name: columns.column_of(name) for name, columns in several.items()}
    call = called(net)
    parameters, named = call.parameters, call.named
    required = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    required = [name for name in required if name not in sets.of]
    as_data = _data(named, required, given)
    held = [name for name in ("x", EDGE_INDEX) if as_data and name not in named and not (sets and name == EDGE_INDEX)]
    weights = {name: each for name, each in net.named_parameters(remove_duplicate=False) if each.dim() > 1}
    tables = tuple(name for name in given if name in weights and name not in named)
    if len({len(weights[name]) for name in tables}) > 1:
        rows = " and ".join(f"{name} has {len(weights[name]):,} rows" for name in tables)
        raise ModelError(
            f"inputs gives several weights as columns of the nodes, and {rows}: a column has a row for every node; put "
            "the rows of all nodes into one weight"
        )
    if as_data is None and not call.any_name:
        for name in (*sets.of, *given):
            if name not in named and name not in tables:
                raise ModelError(f"inputs names {name!r}, which forward does not take; {nearest(name, named)}")
    constants = {
        name: told
        for name, told in given.items()
        if isinstance(told, bool | int | float) and not matrix_like(named, name)
    }
    plain = {name: told for name, told in given.items() if name not in constants and name not in dict(adjs)}
    counts = [name for name in dict.fromkeys([*required, *plain]) if plain.get(name, name) == NUM_NODES]
    matrices = {name: _matrix(name, told) for name, told in plain.items() if not isinstance(told, str | None)}
    indices = [name for name, told in plain.items() if told == EDGE_INDEX]
    for name in indices:
        if matrix_like(named, name):
            raise ModelError(
                f"inputs gives {name!r} the edge_index, which has no values, and a matrix has: {matrix_forms(name)}"
            )
    needed = EDGE_INDEX in (*required, *held) or not (indices or matrices or adjs or sets)
    if EDGE_INDEX not in plain and needed and (EDGE_INDEX in named or held):
        indices.append(EDGE_INDEX)
    if sets:
        check_all_named(sets, [*indices, *matrices, *dict(adjs)])
    columns = {}
    for name in dict.fromkeys([*required, *held, *given]):
        if name in (*indices, *counts, *constants, *dict(adjs), as_data) or (name in given and given[name] is None):
            continue
        if name in matrices:
            if matrices[name].values == COLUMN:
                columns[name] = _column(name, str(list(given[name] or ())[1]), ("edges",))
            continue
        if name not in given and TABLES.get(name) not in sets.tables:
            raise untold(name, named, net, sets.tables)
        allowed = ("nodes",) if name in tables else sets.tables
        columns[name] = _column(name, str(given.get(name) or f"{TABLES[name]}.{name}"), allowed)
    told = (*sets.of, *required, *held, *given, *indices, as_data)
    left_out = tuple(STARS.get(parameter.kind, "") + name for name, parameter in parameters.items() if name not in told)
    if not (indices or matrices or adjs or sets):
        _check_no_edges(columns, parameters, left_out)
    return Signature(
        tuple(
            Argument(
                name,
                _in_type(column, sets),
                tuple(weights[name].shape[1:]) if name in tables else (),
                made_of=several[name].names if name in several else (),
            )
            for name, column in columns.items()
        ),
        tuple(indices),
        as_data,
        tuple(matrices.values()),
        tuple(name for name, told in given.items() if told is None),
        left_out,
        sets.types,
        tuple(sets.of.items()),
        constants=tuple(constants.items()),
        counts=tuple(counts),
        adjs=adjs,
        tables=tables,
        called=call,
    )


def _data(named: Mapping[str, inspect.Parameter], required: Sequence[str], given: Mapping[str, Any]) -> str | None:
    """The parameter that takes everything as one Data object: whatever a single one is called, unless it is told."""
    said = next((name for name, told in given.items() if told == DATA and name in named), None)
    if said is not None:
        return said
    open_names = [name for name in required if name not in given]
    if "data" in open_names:
        return "data"
    if len(open_names) != 1 or open_names[0] in (*TABLES, EDGE_INDEX, NUM_NODES) or matrix_like(named, open_names[0]):
        return None
    others = any(name in named and isinstance(told, str | list | tuple) for name, told in given.items())
    return open_names[0] if len(required) == 1 and not others else None


def _is_sampled(told: Any) -> bool:
    """Whether it stands for the edges that a sampler gives each layer."""
    return isinstance(told, list) and bool(told) and all(each == EDGE_INDEX for each in told)


def _check_no_edges(columns: Mapping[str, str], parameters: Mapping[str, Any], left_out: Sequence[str]) -> None:
    """ModelError if a model without edges is probably one whose edges nobody told."""
    optional = [name for name in left_out if not name.startswith("*") and parameters[name].default is None]
    if columns and not optional:
        return
    takes = ", ".join(STARS.get(each.kind, "") + name for name, each in parameters.items()) or "nothing"
    if columns:
        raise ModelError(
            f"forward takes no edge_index; it takes {takes}: if {optional[0]} is the graph, give "
            f"inputs={{{optional[0]!r}: 'edge_index'}}; if the model reads no edges, inputs={{{optional[0]!r}: None}}"
        )
    raise ModelError(
        f"forward takes no edge_index; it takes {takes}: the graph is an argument, not something that the module holds "
        "or finds elsewhere: write forward(self, x, edge_index)"
        + (", or name what it takes in inputs={'x': 'nodes.x', 'edge_index': 'edge_index'}" if "*" in takes else "")
    )


def _usual_table(name: str, sets: EdgeSets) -> str | None:
    """Of several sets of edges, none is the usual one."""
    usual = TABLES.get(name) or ("edges" if name.startswith("edge") else None)
    return usual if usual in sets.tables else None


def _column(name: str, column: str, tables: Sequence[str]) -> str:
    table, _, key = column.partition(".")
    if table not in tables or not key:
        raise ModelError(f"input {name!r} is {column!r}; write {' or '.join(f'{each}.COLUMN' for each in tables)}")
    return column


def _in_type(column: str, sets: EdgeSets) -> str:
    """Of several sets of edges: with the type of its rows."""
    table, _, key = column.partition(".")
    space = sets.space(table)
    return column if space is None else f"{space}.{key}"


def _matrix(name: str, told: Any) -> Matrix:
    """What inputs says of a matrix."""
    parts = tuple(told) if isinstance(told, tuple | list) else ()
    if len(parts) != 2 or parts[0] != EDGE_INDEX or not isinstance(parts[1], str | None):
        raise ModelError(f"input {name!r} is {told!r}; write a column, or for a matrix ('edge_index', VALUES)")
    return Matrix(name, parts[1] if parts[1] in (None, GCN_NORM) else COLUMN)
