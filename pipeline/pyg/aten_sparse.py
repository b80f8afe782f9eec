"""aten operations on a sparse matrix that has an entry for each edge → sums of weighted messages.

A product with it is a reduction: row i of `A @ x` is the sum, over the edges whose row is i, of value times x at the
column. Its parts are the ends of the edges and their values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from pipeline.formula.values import Value, apply, fill
from pipeline.pyg.call import Call, Handler, describe, need_rows
from pipeline.pyg.layout import elementwise, reshape, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, Pointers, Refusal, Rows, SparseMatrix, Symbol, added

MADE_OF_EDGES = Refusal(
    "makes a sparse matrix of something else than the edges and a value of each",
    "make it by torch.sparse_coo_tensor of edge_index and a value per edge, or send messages along edge_index: "
    "index_add or scatter edge_weight * x[edge_index[0]]",
)

SQUARED = Refusal(
    "multiplies sparse matrices of the edges with each other: the edges of two hops, which are in no table",
    "multiply step by step: A @ (A @ x)",
)
PRODUCTS = ("mm", "matmul", "addmm", "_sparse_sparse_matmul", "_sparse_addmm")


def product(matrix: SparseMatrix, other: Symbol, reduce: str = "sum") -> Rows:
    """A @ x, reduced by sum, mean, amax or amin. Rows without entries are 0."""
    if matrix.others and reduce != "sum":
        raise Refusal(f"reduces by {reduce!r} over the edges of several sparse matrices that are added up")
    first, *others = matrix.terms
    found = _product(first, other, reduce)
    for each in others:
        more = _product(each, other, reduce)
        if more.value.space != found.value.space:
            raise Refusal(f"adds sparse matrices of {found.value.space} and of {more.value.space}")
        found = with_value(found, apply("add", found.value, more.value))
    return found


def _product(matrix: SparseMatrix, other: Symbol, reduce: str) -> Rows:
    rows, columns = matrix.index.row(0), matrix.index.row(1)
    x = need_rows(other)
    if x.space != columns.nodes or x.axis or x.before or x.after or x.is_whole:
        raise Refusal(f"multiplies a sparse matrix with {x.space} whose rows are not the first axis")
    value = matrix.value
    if x.value.shape:
        value = reshape(value, tuple(1 for _ in x.value.shape))
    messages = apply("mul", value, apply(columns.which, x.value, edges=columns.edges))
    return with_value(x, _reduced(rows, messages, reduce))


def _reduced(end: End, messages: Value, reduce: str) -> Value:
    """Messages into the end of the edges."""
    ones = fill(1.0, end.edges)
    if end.mask is not None:
        neutral = {"amax": -math.inf, "amin": math.inf}.get(reduce, 0.0)
        wide = reshape(end.mask, tuple(1 for _ in messages.shape))
        messages, ones = apply("where", wide, messages, neutral), end.mask
    if reduce == "sum":
        return apply("sum", end.facing(messages))
    if reduce == "mean":
        total = apply("sum", end.facing(messages))
        count = apply("clamp", apply("sum", end.facing(ones)), low=1.0, high=math.inf)
        return total / reshape(count, tuple(1 for _ in total.shape))
    if reduce not in ("amax", "amin"):
        raise Refusal(f"reduces by {reduce!r}; formulas know sum, mean, max, min")
    op, worst = ("max", -math.inf) if reduce == "amax" else ("min", math.inf)
    if end.mask is None:
        return apply(op, end.facing(messages), empty=0.0)
    best = apply(op, end.facing(messages), empty=worst)
    return apply("where", apply("equal", best, worst), 0.0, best)


def _matrix(symbol: Symbol) -> SparseMatrix:
    if not isinstance(symbol, SparseMatrix):
        raise Refusal(f"needs a sparse matrix; this is {describe(symbol)}")
    return symbol


def _one_matrix(symbol: Symbol) -> SparseMatrix:
    """Of one set of edges."""
    matrix = _matrix(symbol)
    if matrix.others:
        raise Refusal(
            "asks for the entries of a sum of sparse matrices: those of several sets of edges are not put together",
            "multiply each matrix by itself, and add up what comes",
        )
    return matrix


def _each(matrix: SparseMatrix, change: Callable[[SparseMatrix], SparseMatrix]) -> SparseMatrix:
    """What is done to a sum of matrices is done to each of them."""
    return added([change(term) for term in matrix.terms])


def _sum_of_matrices(sign: float) -> Handler:
    """A + alpha * B, A - alpha * B"""

    def handler(call: Call) -> Symbol:
        first, second = _matrix(call["self"]), _matrix(call["other"])
        factor = sign * float(call["alpha"])
        if factor != 1:
            second = _each(second, lambda each: replace(each, value=apply("mul", each.value, factor)))
        return added([first, second])

    return handler


def _added(first: str, second: str) -> Handler:
    """addmm: beta * self + alpha * A @ x"""

    def handler(call: Call) -> Symbol:
        y = product(_matrix(call[first]), call[second])
        if call["alpha"] != 1:
            y = elementwise("mul", [y, float(call["alpha"])])
        base = call.operand("self")
        if call["beta"] == 0 or (isinstance(base, Rows) and _is_zero(base.value)):
            return y
        if call["beta"] != 1:
            raise Refusal("scales what a product with a sparse matrix is added to", "add it in a line of its own")
        return elementwise("add", [y, base])

    return handler


def _is_zero(value: Value) -> bool:
    return value.op == "fill" and value.attributes["value"] == 0.0


def _multiplied(call: Call) -> tuple[Symbol | Refusal, ...]:
    """torch.sparse.mm(A, x, reduce), and which entry the largest is."""
    reduce = {"sum": "sum", "mean": "mean", "amax": "amax", "amin": "amin", "max": "amax", "min": "amin"}
    which = Refusal("asks which of the edges is the largest: rows have no numbers", "use the largest value itself")
    return product(_matrix(call["self"]), call["other"], reduce.get(call["reduce"], call["reduce"])), which


def _turned(call: Call) -> Symbol:
    return _each(_matrix(call["self"]), lambda each: replace(each, index=each.index.turned()))


def _same(call: Call) -> Symbol:
    return _matrix(call["self"])


def _scaled(call: Call) -> Symbol:
    matrix, number = _matrix(call["self"]), call["other"]
    if isinstance(number, Learned) and number.tensor.dim() == 0:
        number = number.value
    if not isinstance(number, int | float | Value):
        raise Refusal(f"multiplies a sparse matrix, entry by entry, with {describe(number)}")
    operation = "div" if call.operation == "div" else "mul"
    return _each(matrix, lambda each: replace(each, value=apply(operation, each.value, number)))


def _part(kind: str) -> Handler:
    """The rows, columns or values of the entries."""

    def handler(call: Call) -> Symbol:
        matrix = _one_matrix(call["self"])
        if kind == "values":
            return Rows(matrix.value)
        if kind == "indices":
            return matrix.index
        # of a matrix in compressed columns, as A.t() is, the columns are what is compressed
        return matrix.index.row(0 if kind in ("rows", "row pointers") else 1)

    return handler


def _pointers(position: int) -> Handler:
    return lambda call: Pointers(_one_matrix(call["self"]).index.row(position))


def _sum(call: Call) -> Symbol:
    """torch.sparse.sum(A, dim): a number per node."""
    matrix, dims = _one_matrix(call["self"]), call["dim"]
    axes = [dim % 2 for dim in ([dims] if isinstance(dims, int) else dims)]
    if len(axes) != 1:
        raise Refusal("sums all entries of a sparse matrix", "sum them at each node")
    return Rows(_reduced(matrix.index.row(1 - axes[0]), matrix.value, "sum"))


def _made(call: Call) -> Symbol:
    """torch.sparse_coo_tensor(edge_index.flip(0), values, size): an entry per edge."""
    index, values = call["indices"], call["values"]
    return matrix_of(index, values) if isinstance(index, EdgeIndex) else _refused()


def _compressed(call: Call) -> Symbol:
    """torch.sparse_csr_tensor(A.crow_indices(), A.col_indices(), values): the entries of another matrix."""
    pointers, end = call["compressed_indices"], call["plain_indices"]
    if not isinstance(pointers, Pointers) or not isinstance(end, End) or call["layout"] is not torch.sparse_csr:
        return _refused()
    first = pointers.end
    if (first.edges, first.mask) != (end.edges, end.mask) or first.which == end.which:
        return _refused()
    return matrix_of(EdgeIndex(first.edges, first.which == "dst", 0, first.mask), call["values"])


def matrix_of(index: EdgeIndex, values: Symbol) -> SparseMatrix:
    """An entry for each edge, at the place that `index` says."""
    if index.axis or not isinstance(values, Rows) or values.value.shape or values.space != index.edges:
        raise MADE_OF_EDGES
    return SparseMatrix(index, values.value)


def _refused() -> Symbol:
    raise MADE_OF_EDGES


def _by_segments(call: Call) -> Symbol:
    """Messages in the order of the entries of a matrix, reduced at its rows."""
    messages, offsets = call.rows("data"), call["offsets"]
    if not isinstance(offsets, Pointers) or messages.space != offsets.end.edges or messages.axis:
        raise Refusal("reduces by segments that are not the rows of a sparse matrix")
    reduce = {"max": "amax", "min": "amin"}.get(call["reduce"], call["reduce"])
    reduced = with_value(messages, _reduced(offsets.end, messages.value, reduce))
    if reduce in ("amax", "amin"):  # torch gives infinity to rows without entries
        worst = -math.inf if reduce == "amax" else math.inf
        count = _reduced(offsets.end, fill(1.0, offsets.end.edges), "sum")
        wide = reshape(apply("equal", count, 0.0), tuple(1 for _ in reduced.value.shape))
        return with_value(reduced, apply("where", wide, worst, reduced.value))
    return reduced


CONVERSIONS = ("_to_sparse", "_to_sparse_csr", "_to_sparse_csc", "_coalesce", "_coalesced")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(CONVERSIONS, _same),
    "_sparse_addmm": _added("mat1", "mat2"),
    "_sparse_mm_reduce_impl": _multiplied,
    "_sparse_sum": _sum,
    "_sparse_coo_tensor_with_dims_and_tensors": _made,
    "_sparse_coo_tensor_unsafe": _made,
    "sparse_compressed_tensor": _compressed,
    "_sparse_compressed_tensor_unsafe": _compressed,
    "_to_dense": lambda call: call.rows("self"),  # of a sum; a whole matrix is refused
    "crow_indices": _pointers(0),
    "ccol_indices": _pointers(1),
    "col_indices": _part("columns"),
    "row_indices": _part("rows"),
    "indices": _part("indices"),
    "_indices": _part("indices"),
    "values": _part("values"),
    "_values": _part("values"),
    "segment_reduce": _by_segments,
}

# Of operations that dense tensors have too, what they are on a sparse matrix.
OF_MATRICES: dict[str, Handler] = {
    "mm": lambda call: product(_matrix(call["self"]), call["mat2"]),
    "mv": lambda call: product(_matrix(call["self"]), call["vec"]),
    "addmm": _added("mat1", "mat2"),
    "addmv": _added("mat", "vec"),
    "t": _turned,
    "transpose": _turned,
    "add": _sum_of_matrices(1.0),
    "sub": _sum_of_matrices(-1.0),
    "neg": lambda call: _each(_matrix(call["self"]), lambda each: replace(each, value=apply("neg", each.value))),
    "mul": _scaled,
    "div": _scaled,
    "sum": _sum,
    **dict.fromkeys(("detach", "clone", "alias", "contiguous", "_to_copy", "lift_fresh"), _same),
}
