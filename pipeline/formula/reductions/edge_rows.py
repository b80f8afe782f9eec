"""edge_rows: nothing is reduced; the rows of the edges themselves are the result, which only an output can be.

A program has one where its output has a row per edge (Program puts it there). It stands among the reductions because it
is computed as they are: in a superstep's pass over the tiles, from values at both ends and the edge's own columns. Its
rows are in the order of the edges: in the interpreter as they were given, in a block tile by tile.
"""

from __future__ import annotations

from pipeline.formula.reductions.record import Array, Reduction


def rows_of_edges(messages: Array, dst: Array, count: int) -> Array:
    """(e, …): the messages as they are."""
    return messages


EDGE_ROWS = Reduction("edge_rows", rows_of_edges, state=(), loop=None, is_per_edge=True, is_exact=True)
