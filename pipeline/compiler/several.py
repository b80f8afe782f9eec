"""One call for several small tiles: a generated loop runs for each, and what other blocks have begun is merged between.

    def tile(rows, indptr, …, <states>, row_ends, merge_rows, merge_ends, <partial results>)

Comes in: the text of a loop over a tile, and of the merges of its reductions. Goes out: text. Each state changes as if
loop and merge were called for one tile after another: the same bits. What is saved is the call, 20 to 40 µs from
Python, which many blocks make of tiles with few edges.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.compiler.scope import Writer

IMPORT = "from pipeline.kernels.jit import jit"


def write_several(loop: str, merges: Sequence[str], states: Sequence[Sequence[str]]) -> str:
    """The text of the function `tile`. `states`: of each merge, the arguments of the loop that it changes."""
    given = arguments_of(loop)
    partials = [f"partial{number}" for number in range(len(merges))]
    parts = [IMPORT, "", _renamed(loop, "one")]
    parts += [_renamed(merge, f"merge{number}") for number, merge in enumerate(merges)]
    arguments = [*given, "row_ends", "merge_rows", "merge_ends", *partials]
    writer = Writer(f"def tile({', '.join(arguments)}):")
    with writer.block("for t in range(len(row_ends) - 1):"):
        writer.line("first, last = row_ends[t], row_ends[t + 1]")
        with writer.block("if last > first:"):
            writer.line(f"one(rows[first:last], indptr[first : last + 1], {', '.join(given[2:])})")
        writer.line("first, last = merge_ends[t], merge_ends[t + 1]")
        with writer.block("if last > first:"):
            for number, names in enumerate(states):
                some = f"merge_rows[first:last], partial{number}[first:last]"
                writer.line(f"merge{number}({some}, {', '.join(names)})")
    return "\n".join([*parts, writer.text()])


def arguments_of(loop: str) -> list[str]:
    """The names of a generated function's arguments."""
    return loop.partition("def tile(")[2].partition(")")[0].split(", ")


def _renamed(text: str, name: str) -> str:
    """Compiled under another name; constants may stand before the function."""
    return text.replace("def tile(", f"@jit\ndef {name}(", 1) + "\n"
