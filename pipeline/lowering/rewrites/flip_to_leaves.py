"""An edge value seen from the other end is computed from values seen from there: no edge is ever moved.

flip(src(v))             → dst(v) over the reversed edges, and the other way round
flip(column), flip(c)    → the same column, the same constant, of the reversed edges
flip(f(a, b))            → f(flip(a), flip(b)); restrict and extend likewise
flip(flip(a))            → a
flip(softmax(a))         → the softmax written out: what it reduces stays with the edges, and is read at their source

On an undirected graph the reversed edges within a type are the edges themselves, with the same values:
`merge_reversed`.
"""

from __future__ import annotations

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.lowering.rewrites.fuse_softmax import expand_softmax
from pipeline.lowering.rewriting import rebuild


def flip_to_leaves(value: Value) -> Value | None:
    """flip(f(src(a), b)) → f(dst(a), flip(b))."""
    if value.op != "flip":
        return None
    inner, edges = value.inputs[0], value.space
    if inner.op == "flip":
        return inner.inputs[0]
    if inner.op in ("src", "dst"):
        return apply("dst" if inner.op == "src" else "src", inner.inputs[0], edges=edges)
    if inner.op == "input":
        return Value("input", (), inner.attributes, edges, inner.shape)
    if inner.op == "fill":
        return fill(inner.attributes["value"], edges, inner.shape)
    if inner.op == "extend":
        return apply("extend", apply("flip", inner.inputs[0]), inner.inputs[1])
    if inner.op == "restrict" or OPERATIONS[inner.op].kind in ("elementwise", "row"):
        operands = [operand if operand.is_weight else apply("flip", operand) for operand in inner.inputs]
        return apply(inner.op, *operands, **inner.attributes)
    return None


def flip_of_softmax(value: Value) -> Value | None:
    """flip(softmax(a)) → flip of exponentials and their sums. After all flips that meet have cancelled: what is flipped
    twice is a softmax still, and one pass over the edges."""
    if value.op != "flip" or value.inputs[0].op != "softmax":
        return None
    expanded = expand_softmax(value.inputs[0])
    assert expanded is not None
    return apply("flip", expanded)


def merge_reversed(program: Program) -> Program:
    """A program without flips of edges within a type, for graphs in which each edge is there in both directions."""

    def change(value: Value) -> Value | None:
        attributes, space = dict(value.attributes), value.space
        if "edges" in attributes:
            attributes["edges"] = _forward(attributes["edges"])
        if value.inputs:
            return apply(value.op, *value.inputs, **attributes) if isinstance(space, Edges) else None
        return Value(value.op, (), attributes, _forward(space), value.shape) if isinstance(space, Edges) else None

    return rebuild(program, change)


def _forward(edges: Edges) -> Edges:
    type = edges.type
    return edges.reversed if type.is_reversed and type.source == type.target else edges
