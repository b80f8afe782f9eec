"""Partial results of a distributive reduction, which another block has made of its own edges, merged into the states.

    def tile(rows, partial, <states>)

Comes in: the record of a reduction. Goes out: a compiled function. rows (r,) int32, each of them once; partial (r, w)
float32; states (n, w) float32, and marks (n,) bool.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.compiler.load import load
from pipeline.compiler.scope import ROW, Writer
from pipeline.formula.reductions import SEEN, Reduction


def merge_function(record: Reduction) -> Callable[..., None]:
    """The function that merges partial results of a reduction."""
    return load(write_merge(record))


def write_merge(record: Reduction) -> str:
    """The text of the function `tile`."""
    assert record.is_distributive, record.name
    writer = Writer(f"def tile({', '.join(['rows', 'partial', *(state.name for state in record.state)])}):")
    lanes = {state.name: f"{state.name}[i, c]" for state in record.state if state is not SEEN}
    with writer.block("for j in range(rows.shape[0]):", ROW):
        writer.line("i = rows[j]")
        if SEEN in record.state:
            writer.line(f"{SEEN.name}[i] = True")
        with writer.block("for c in range(partial.shape[1]):"):
            for statement in record.merge:
                writer.line(statement.format(partial="partial[j, c]", **lanes))
    return writer.text()
