"""Whether a graph has the columns that a model reads.

Comes in: a program, the columns of its inputs, and a graph's schema. Goes out: nothing, or an error that says what the
graph would have to be prepared with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pipeline.errors import ModelError
from pipeline.formula.checked import lanes_of
from pipeline.formula.graph_types import check_types
from pipeline.formula.program import Program, input_name
from pipeline.formula.spaces import Nodes
from pipeline.schema import EDGE, NODE, EdgeType, GraphSchema
from pipeline.tables.training import Training


def check_columns(
    program: Program,
    columns: Mapping[str, str],
    training: Training,
    schema: GraphSchema,
    own: Collection[str] = (),
) -> None:
    """ModelError unless a graph of this schema has every column that a program reads, in its width; 0 is one that no
    row tells, because there is none.

    Parameters
    ----------
    columns
        Input of the program → table column.
    training
        Table column → what it held in training, as far as that is known.
    own
        Columns that the model holds itself.
    """
    if any(type.is_reversed for type in program.edge_types) and not any(type.is_reversed for type in schema.edges):
        raise ModelError(
            "the model reduces at the source of edges, and this graph was prepared without its edges against their "
            "direction; prepare it with reverse=True"
        )
    check_types(program, schema)
    read = {columns[input_name(column)] for column in program.inputs}
    for column in program.inputs:
        name = columns[input_name(column)]
        if name in own:
            continue
        space = column.space
        present = schema.nodes[space.type] if isinstance(space, Nodes) else schema.edges[space.type]
        table, _, wanted = name.rpartition(".")
        lanes = lanes_of(column.shape)
        if wanted not in present:
            known = ", ".join(f"{table}.{key} ({width})" for key, width in sorted(present.items()))
            free = {key: width for key, width in present.items() if f"{table}.{key}" not in read}
            raise ModelError(
                f"the model reads {name} (width {lanes}), which the graph does not have; "
                f"{table} of this graph: {known or 'no columns'}{_remedy(name, lanes, space.type, free, training)}"
            )
        if present[wanted] not in (lanes, 0):
            raise ModelError(f"the model expects {name} of width {lanes}; the graph has width {present[wanted]}")


def _remedy(column: str, lanes: int, kind: str | EdgeType, free: Mapping[str, int], training: Training) -> str:
    """How the graph would have a column that it lacks. `free`: its columns that nothing else of the model reads."""
    table, _, name = column.rpartition(".")
    option = "features" if table.startswith("nodes") else "edge_features"
    names = training[column].names if column in training else None
    fitting = [key for key, width in free.items() if width == lanes]
    if names is None and len(fitting) == 1:
        names = (fitting[0],)
    if names is None:
        return ""
    made: Any = {name: names[0] if len(names) == 1 else list(names)}
    if kind not in (NODE, EDGE, EDGE.reversed):
        made = {kind if isinstance(kind, str) else (kind.source, kind.relation, kind.target): made}
    guessed = f"if {names[0]} is meant, " if column not in training else ""
    return f"; {guessed}prepare it with {option}={made!r}"
