"""The types that a program is about, beside those of a graph.

Comes in: a program, a graph's schema. Goes out: an error for types that the graph lacks, the types that no output
depends on. Knows nothing of columns and their widths.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.errors import ModelError, nearest
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema
from pipeline.shown import some

MOST = 8  # types that a message names


def check_types(program: Program, schema: GraphSchema) -> None:
    """ModelError if the program is about nodes or edges of a type that the graph does not have: without a column of
    theirs, it would find none of them, and go on."""
    types: dict[str | EdgeType, None] = {}
    reduced = set(program.edge_types)
    for value in program.values:
        if isinstance(value.space, Nodes | Edges):
            type = value.space.type
            # against their direction edges are read only where they are reduced; what is seen from there is turned back
            turned = isinstance(type, EdgeType) and type.is_reversed and type not in reduced
            types[type.reversed if turned and isinstance(type, EdgeType) else type] = None
    missing = [type for type in types if type not in (schema.nodes if isinstance(type, str) else schema.edges)]
    if not missing:
        return
    known: list[str | EdgeType] = [*schema.nodes, *schema.edges]
    if set(types) <= {NODE, EDGE, EDGE.reversed}:
        raise ModelError(
            f"the model is for graphs without types, and this graph has several: {named(known)}; import the model with "
            "metadata=, or give one node table and one edge table"
        )
    if set(known) <= {NODE, EDGE, EDGE.reversed}:
        relations = [each.relation for each in types if isinstance(each, EdgeType) and not each.is_reversed]
        tables = ", ".join(f"{each!r}: …" for each in dict.fromkeys(relations))
        raise ModelError(
            f"the model is for a typed graph, with {named(list(types))}, and this graph has no types; give a table for "
            "each type" + (f": Graph(nodes, {{{tables}}})" if NODE in types else "")
        )
    # as people write it, and not against its direction
    alike = nearest(named(missing[:1]), [named([each]) for each in known])
    hint = f" ({alike})" if alike.startswith("did") else ""
    raise ModelError(
        f"the model reads {named(missing)}, of which this graph has no table{hint}; it has {named(known)}. Where there "
        "are none of a type, give an empty table for it"
    )


def unread_types(program: Program, schema: GraphSchema) -> list[str | EdgeType]:
    """The types of a graph that no output of the program depends on."""
    read = set(program.edge_types)
    edges = [each for each in schema.edges if not each.is_reversed and not {each, each.reversed} & read]
    ends = {end for each in read for end in (each.source, each.target)}
    return [*(each for each in schema.nodes if each not in ends and each not in program.node_types), *edges]


def named(types: Collection[str | EdgeType]) -> str:
    """Types in messages: nodes 'paper', 'author'; edges (author, writes, paper)."""
    nodes = [repr(each) for each in types if isinstance(each, str)]
    forward = [each.forward for each in types if isinstance(each, EdgeType)]
    edges = [f"({each.source}, {each.relation}, {each.target})" for each in dict.fromkeys(forward)]
    parts = []
    for word, of_kind in (("nodes", nodes), ("edges", edges)):
        if of_kind:
            parts.append(f"{word} {some(of_kind, MOST)}")
    return "; ".join(parts)
