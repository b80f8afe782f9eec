"""Scores beside what they are of: a GraphFrame of GraphFrames, with what a model said of its vertices or edges.

Comes in: a GraphFrame, and the DataFrame that `infer` gives for it. Goes out: a GraphFrame, lazily: no job. It is two
DataFrames, so neither its package nor its jar is needed here. How it becomes a graph: `Graph.from_graphframe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

GRAPHFRAME = TypeVar("GRAPHFRAME")
ID, EDGE = "id", ("src", "dst", "parallel")
"""Columns by which scores of nodes, and scores of edges, are known."""


def with_scores(frame: GRAPHFRAME, scores: DataFrame) -> GRAPHFRAME:
    """The same GraphFrame with scores: `with_scores(g, infer(Graph.from_graphframe(g), model))`.

    Scores of nodes become columns of its vertices; of vertices that were not scored (`targets`) they are null. Scores
    of edges become its edges: they hold the columns that the graph was given as edge features.

    Parameters
    ----------
    frame : graphframes.GraphFrame
        With the same ids as the graph that was scored.
    scores : pyspark.sql.DataFrame
        What `infer` gives, or a table that it was written into.

    Raises
    ------
    DataError
        If these are no scores, or a column of the vertices has the name of one of theirs.
    """
    if not (hasattr(frame, "vertices") and hasattr(frame, "edges")):
        raise DataError(f"with_scores takes a GraphFrame, not {type(frame).__name__}")
    columns = getattr(scores, "columns", None)
    if columns is None or not hasattr(scores, "sparkSession"):
        raise DataError(f"with_scores takes the DataFrame that infer gives, not {type(scores).__name__}")
    make = type(frame)
    if set(EDGE) <= set(columns):
        return make(frame.vertices, scores)  # type: ignore[call-arg]
    if ID not in columns:
        raise DataError(
            f"scores of nodes have a column {ID}, as the vertices of a GraphFrame; these have {', '.join(columns)}"
        )
    there = {name.lower() for name in frame.vertices.columns}
    twice = [name for name in columns if name != ID and name.lower() in there]
    if twice:
        raise DataError(
            f"the vertices have a column {twice[0]} already; give the output another name, as outputs=['score'] when "
            f"the model is imported, or scores.withColumnRenamed('{twice[0]}', …)"
        )
    return make(frame.vertices.join(scores, on=ID, how="left"), frame.edges)  # type: ignore[call-arg]
