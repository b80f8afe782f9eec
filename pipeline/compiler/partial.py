"""Long rows are summed in parts: the rounding error of a hub's sum stays that of a short one.

A float32 sum of n numbers, one after another, is off by some √n units in the last place (n, if they are equal), and a
count stops at 2^24. So the edges of a row are summed from zero in parts of √n, at least 64, and the parts added to the
result. A row of at most 32 in a tile is added edge by edge: most rows are short, and for them starting from zero would
take 1.2 (64 lanes) to 1.9 times (one lane) as long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.compiler.scope import ROW, Writer

SHORT = 32
PARTS = "max(64, int(np.sqrt(float32(high - low))))"


def sum_edges(
    writer: Writer, results: Mapping[str, int], edges: Callable[[Mapping[str, str]], None], part: str = PARTS
) -> None:
    """Writes the loop over the edges low .. high of row i, twice: for short rows and for long ones.

    `results`: names of the arrays that are added to → their lanes. `edges` writes the loop; it is told for each name
    the text of the row to add to, up to the lane. `part`: how many edges are summed from zero.
    """
    with writer.block(f"if high - low <= {SHORT}:", ROW):
        edges({name: f"{name}[i, " for name in results})
    for name, width in results.items():
        writer.prologue.append(f"part_{name} = np.empty({width}, np.float32)")
    with writer.block("else:"):
        writer.line("end = high")
        writer.line(f"step = {part}")
        with writer.block("for low in range(low, end, step):", ROW):
            writer.line("high = min(low + step, end)")
            for name, width in results.items():
                with writer.block(f"for k in range({width}):"):
                    writer.line(f"part_{name}[k] = ZERO")
            edges({name: f"part_{name}[" for name in results})
            for name, width in results.items():
                with writer.block(f"for k in range({width}):"):
                    writer.line(f"{name}[i, k] += part_{name}[k]")
