"""Softmax and logsumexp over edges: sums of exponentials in running form. Tiles come one after another, in any number,
and no edge is kept.

Per row and lane of the logits: `top`, the largest logit so far, and `total`, Σ exp(logit - top); and if there are
messages (softmax_sum, softmax_state), per lane of them `out`, Σ exp(logit - top) * message. A larger logit rescales
what was accumulated under the old top.

512 edges are taken at a time, of however many rows: their logits, then all exponentials in one loop, then their
messages. At the 2-3 edges per row of a tile of a large graph this takes 0.66 of the time of doing so row by row, or of
an update edge by edge (4 heads of 16 lanes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pipeline.compiler.edge_program import EdgeProgram
from pipeline.compiler.expression import Expression
from pipeline.compiler.index import Index, broadcast_index
from pipeline.compiler.partial import sum_edges
from pipeline.compiler.scope import EDGE, ROW, Writer
from pipeline.formula.operations import Shape
from pipeline.formula.reductions.record import SEEN
from pipeline.formula.rules import broadcast_shapes

PIECE = 512  # edges; fewer if the logits have many lanes, so that their shares stay in the cache
SHARES = 1 << 14


def piece_of(program: EdgeProgram) -> int:
    """How many edges of a tile are taken at a time: a row that goes on after so many is cut there."""
    return min(PIECE, max(SHARES // max(program.roots[0].width, 1), 1))


def write_exponentials(expression: Expression) -> None:
    """Writes the body of the function."""
    writer = expression.writer
    width, piece = expression.program.roots[0].width, piece_of(expression.program)
    writer.prologue += [
        f"shares = np.empty(({piece}, {width}), np.float32)",
        "flat = shares.reshape(-1)",
        f"highest = np.empty({width}, np.float32)",
        f"scale = np.empty({width}, np.float32)",
        "first = 0",
    ]
    with writer.block(f"for start in range(indptr[0], indptr[len(rows)], {piece}):"):
        writer.line(f"stop = min(start + {piece}, indptr[len(rows)])")
        with _rows(writer):
            _logits(expression)
            _rescale(expression)
        with writer.block(f"for q in range((stop - start) * {width}):"):
            writer.line("flat[q] = exp(flat[q])")
        with _rows(writer):
            _totals(expression)
        writer.line("first = j - 1 if indptr[j] > stop else j")  # a row that goes on is taken up again


@contextmanager
def _rows(writer: Writer) -> Iterator[None]:
    """The rows that have edges among start .. stop; those edges are low .. high."""
    writer.line("j = first")
    with writer.block("while j < len(rows) and indptr[j] < stop:", ROW):
        writer.line("i = np.uint64(rows[j])")
        writer.line("low = max(indptr[j], start)")
        writer.line("high = min(indptr[j + 1], stop)")
        yield
        writer.line("j += 1")


@contextmanager
def _edges(expression: Expression) -> Iterator[None]:
    with expression.writer.block("for e in range(low, high):", EDGE):
        expression.source()
        expression.writer.line("q = np.uint64(e - start)")
        yield


def _logits(expression: Expression) -> None:
    """The logits of a row into `shares`, the largest of them and `top` into `highest`."""
    writer = expression.writer
    logits = expression.program.roots[0]

    def each(index: Index) -> None:
        name = expression.write(logits, index)
        writer.line(f"shares[q, {index}] = {name}")
        writer.line(f"highest[{index}] = {name} if {name} > highest[{index}] else highest[{index}]")

    with writer.block(f"for k in range({logits.width}):"):
        writer.line("highest[k] = top[i, k]")
    with _edges(expression):
        expression.nest(logits.shape, expression.is_flat(logits), each)


def _rescale(expression: Expression) -> None:
    """Brings what was accumulated to the new top, and subtracts it from the logits.

    In a softmax, a row whose logits were all -inf so far has top = -inf: its edges count in `total`, which tells it
    from a row without edges (PyG gives NaN and 0), and stops counting as soon as there is a larger logit. To skip the
    rescaling of what is still 0 makes the whole loop 1.2 times as fast.
    """
    writer = expression.writer
    logits = expression.program.roots[0]
    shape = _weighed(expression) if _weighs(expression) else ()
    writer.line("changed = False")
    with writer.block(f"for k in range({logits.width}):"):
        writer.line("scale[k] = ONE")
        with writer.block("if highest[k] > top[i, k]:"):
            with writer.block("if top[i, k] > -INFINITY:"):
                writer.line("scale[k] = exp(top[i, k] - highest[k])")
                writer.line("total[i, k] *= scale[k]")
                writer.line("changed = True")
            if _weighs(expression):
                with writer.block("else:"):
                    writer.line("total[i, k] = ZERO")
            writer.line("top[i, k] = highest[k]")
        if _weighs(expression):
            with writer.block("if highest[k] == -INFINITY:"):
                writer.line("highest[k] = ZERO")
                writer.line("total[i, k] += float32(high - low)")
        else:  # exp(inf - inf) is no number: right for a share of infinite logits, wrong for their sum
            with writer.block("if abs(highest[k]) == INFINITY:"):
                writer.line("highest[k] = ZERO")
    if SEEN in expression.program.reduction.state:
        writer.line(f"{SEEN.name}[i] = True")
    if _weighs(expression):
        with writer.block("if changed:"):
            expression.nest(shape, False, lambda index: writer.line(
                f"out[i, {index}] *= scale[{_logit_lane(index, shape, logits.shape)}]"
            ))  # fmt: skip
    with writer.block("for e in range(low, high):"), writer.block(f"for k in range({logits.width}):"):
        writer.line("shares[np.uint64(e - start), k] -= highest[k]")


def _weighs(expression: Expression) -> bool:
    """Whether there are messages beside the logits."""
    return len(expression.program.roots) > 1


def _weighed(expression: Expression) -> Shape:
    """Of a message by its share."""
    return broadcast_shapes([root.shape for root in expression.program.roots])


def _totals(expression: Expression) -> None:
    """Adds up the exponentials, and what they weigh."""
    if _weighs(expression):
        _messages(expression)
        return
    writer, width = expression.writer, expression.program.roots[0].width

    def edges(rows: Mapping[str, str]) -> None:
        with writer.block("for e in range(low, high):", EDGE):
            writer.line("q = np.uint64(e - start)")
            with writer.block(f"for k in range({width}):"):
                writer.line(f"{rows['total']}k] += shares[q, k]")

    sum_edges(writer, {"total": width}, edges, part="high - low")


def _messages(expression: Expression) -> None:
    writer = expression.writer
    logits, messages = expression.program.roots
    shape = _weighed(expression)
    width = math.prod(shape)
    flat = expression.is_flat(messages) and messages.width in (1, width) and logits.width in (1, width)

    def edges(rows: Mapping[str, str]) -> None:
        def add(index: Index) -> None:
            source = broadcast_index(index, shape, messages.shape)
            lane = _logit_lane(index, shape, logits.shape)
            assert source is not None
            share = expression.named("share", EDGE, lane, lambda: f"shares[q, {lane}]")
            name = expression.write(messages, source)
            writer.line(f"{rows['out']}{index}] += {share} * {name}")

        with _edges(expression):
            with writer.block(f"for k in range({logits.width}):"):
                writer.line(f"{rows['total']}k] += shares[q, k]")
            expression.nest(shape, flat, add)

    sum_edges(writer, {"out": width, "total": logits.width}, edges, part="high - low")


def _logit_lane(index: Index, shape: Shape, logits: Shape) -> Index:
    lane = broadcast_index(index, shape, logits)
    assert lane is not None, (shape, logits)
    return lane
