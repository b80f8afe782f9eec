"""Several sets of edges over the same nodes, as in forward(x, pos_edge_index, neg_edge_index): a table of edges each.

Comes in: what `inputs` says, {"pos_edge_index": "pos", "neg_edge_index": "neg"}. Goes out: which argument is the edges
of which type, or a ModelError that says what to write. Knows nothing of columns but their tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch_geometric.data import HeteroData

from pipeline.errors import ModelError, nearest, shortened
from pipeline.formula.spaces import Edges, Nodes
from pipeline.pyg.types import UNTYPED, Types, triple, types_of
from pipeline.schema import NODE, EdgeType

WORDS = ("edge_index", "data", "num_nodes")  # what else a text without a dot may say
TABLES = ("nodes", "edges")  # of a graph with one set of edges


@dataclass(frozen=True)
class EdgeSets:
    """Argument → the type of its edges. All types are between nodes of one type."""

    of: Mapping[str, EdgeType]

    def __bool__(self) -> bool:
        return bool(self.of)

    @property
    def types(self) -> Types:
        edges = tuple(dict.fromkeys(self.of.values()))
        return Types((edges[0].target,), edges) if edges else UNTYPED

    @property
    def tables(self) -> tuple[str, ...]:
        """What a column may be of: "nodes", or a set of edges by its relation."""
        return ("nodes", *dict.fromkeys(each.relation for each in self.of.values())) if self else TABLES

    def space(self, table: str) -> Nodes | Edges | None:
        """The rows of a table; None of a graph with one set of edges, which needs no types."""
        if not self:
            return None
        if table == "nodes":
            return Nodes(self.types.nodes[0])
        return next(Edges(each) for each in self.types.edges if each.relation == table)


def edge_sets(given: Mapping[str, Any], columns: Collection[str], like: HeteroData | None = None) -> EdgeSets:
    """Those that `inputs` names: a relation, "pos", or an edge type, ("user", "trusts", "user").

    `columns`: arguments that are columns whatever is said, such as edge_weight. `like`: a graph that has such types.

    Raises
    ------
    ModelError
        If the types are between several types of nodes, or the graph has none of that name.
    """
    types = types_of(like.metadata()) if like is not None else None
    said = {name: told for name, told in given.items() if name not in columns and _is_set(name, told)}
    found = EdgeSets({name: _edge_type(name, told, types) for name, told in said.items()})
    if not found:
        return found
    ends = list(dict.fromkeys(end for each in found.of.values() for end in (each.source, each.target)))
    if len(ends) > 1:
        raise ModelError(
            f"inputs gives forward edges between nodes of several types ({', '.join(ends)}), and it takes the columns "
            "of one: import a module whose forward takes x_dict and edge_index_dict"
        )
    forbidden = next((each.relation for each in found.of.values() if each.relation in TABLES), None)
    if forbidden is not None:
        raise ModelError(f"inputs calls a table of edges {forbidden!r}, which says any table; give it another name")
    return found


def check_all_named(found: EdgeSets, others: Sequence[str]) -> None:
    """ModelError if some edges have a table of their own and others, which are the edges of a graph with one, have not;
    or if one argument alone has one, and may be a column that is misspelt."""
    name, edge_type = next(iter(found.of.items()))
    if others:
        names = ", ".join(f"{each!r}: 'TABLE'" for each in others)
        raise ModelError(
            f"inputs takes {name} for the edges of the table {edge_type.relation!r}, and "
            f"{' and '.join(others)} for the edges of a graph with one table of them: name the table of each, "
            f"inputs={{{names}}}; if {name} is a column, write 'nodes.{edge_type.relation}' or "
            f"'edges.{edge_type.relation}'"
        )


def several(names: Sequence[str]) -> str:
    """Forward takes several sets of edges, and nobody told which."""
    short = [name.replace("edge_index", "").strip("_") or "given" for name in names]
    tables = short if len(set(short)) == len(short) else names
    inputs = ", ".join(f"{name!r}: {table!r}" for name, table in zip(names, tables, strict=True))
    graph = ", ".join(f"{table!r}: …" for table in tables)
    return (
        f"forward takes several sets of edges ({', '.join(names)}), each a table of its own over the same nodes: name "
        f"the tables, inputs={{{inputs}}}, and give the graph as Graph(nodes, {{{graph}}})"
    )


def _is_set(name: str, told: Any) -> bool:
    if isinstance(told, EdgeType):
        return True
    if isinstance(told, tuple) and len(told) == 3 and all(isinstance(each, str) and each for each in told):
        return not any("." in each for each in told) and ("edge_index" in name or told[0] == told[2])
    return isinstance(told, str) and "." not in told and told not in WORDS and _names_edges(name)


def _names_edges(name: str) -> bool:
    """Whether an argument is called as edges are; a column whose table was forgotten mostly is not."""
    lower = name.lower()
    ends = ("weight", "weights", "attr", "attrs", "type", "types", "feat", "feats", "features", "label", "mask", "norm")
    return ("edge" in lower or lower.startswith("ei_") or lower.endswith("_ei")) and not lower.endswith(ends)


def _edge_type(name: str, told: Any, types: Types | None) -> EdgeType:
    if isinstance(told, tuple):
        told = EdgeType(*told)
    if types is None:
        return EdgeType(NODE, told, NODE) if isinstance(told, str) else told
    fitting = [each for each in types.edges if told in (each, each.relation)]
    if not fitting:
        known = {each.relation: each for each in types.edges}
        wanted = told if isinstance(told, str) else told.relation
        raise ModelError(f"inputs gives {name!r} the edges {wanted!r}, which like= has not; {nearest(wanted, known)}")
    if len(fitting) > 1:
        kinds = " and ".join(map(str, map(triple, fitting)))
        raise ModelError(f"inputs gives {name!r} the edges {shortened(told)}, and like= has {kinds}: write one of them")
    return fitting[0]
