"""Functions of torch_scatter that its compiled extension computes, where it is installed: max, min and product.

Comes in: a recorder. Goes out: these functions by torch's own scatter_reduce, which a recording sees; the extension
writes through pointers. What else it compiles is refused. The check on other graphs runs the extension itself.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor

from pipeline.pyg.recorder import Recorder
from pipeline.pyg.replaced import Function
from pipeline.pyg.symbols import Learned, Refusal

LIBRARY = "torch_scatter"
REDUCED = {"scatter_max": "amax", "scatter_min": "amin", "scatter_mul": "prod"}
# by pointers into sorted edges; scatter says the same by the numbers of the nodes
POINTERS = tuple(
    f"{what}_{kind}"
    for what in ("segment", "gather", *(f"segment_{reduce}" for reduce in ("sum", "add", "mean", "max", "min")))
    for kind in ("csr", "coo")
)
POSITION = Refusal("gives the number of an edge, which the rows of a table do not have", "take the value itself")
SORTED = Refusal(
    "reduces edges that are sorted, in a compiled extension",
    "use torch_geometric.utils.scatter(src, edge_index[1], dim_size=x.size(0), reduce=…)",
)


def torch_scatter_functions(recorder: Recorder) -> dict[Function, Function]:
    """Each of these functions, and what stands in its place; none if nobody has imported the library."""
    held = vars(sys.modules[LIBRARY]) if LIBRARY in sys.modules else {}
    found = {held[name]: _reduced(held[name], name, recorder) for name in REDUCED if name in held}
    return found | {held[name]: _refused(held[name], name, recorder) for name in POINTERS if name in held}


def _reduced(original: Function, name: str, recorder: Recorder) -> Function:
    def scatter(src: Tensor, index: Tensor, dim: int = -1, out: Any = None, dim_size: int | None = None) -> Any:
        if isinstance(recorder.symbol(src), Learned) and isinstance(recorder.symbol(index), Learned):
            return original(src, index, dim, out, dim_size)
        if out is not None:
            raise recorder.place(name).error(Refusal("writes into a tensor that is given", "leave out= out"))
        sizes = list(src.shape)
        sizes[dim] = int(index.max()) + 1 if dim_size is None else dim_size
        if index.dim() == 1:
            index = index.view([-1 if axis == dim % src.dim() else 1 for axis in range(src.dim())])
        while index.dim() < src.dim():
            index = index.unsqueeze(-1)
        product = name == "scatter_mul"
        empty = src.new_ones(sizes) if product else src.new_zeros(sizes)
        result = empty.scatter_reduce(dim, index.expand_as(src), src, REDUCED[name], include_self=product)
        return result if product else (result, _position(result, name, recorder))

    return scatter


def _position(result: Tensor, name: str, recorder: Recorder) -> Tensor:
    """In the place of the second result: where a maximum was found."""

    def refuse() -> Any:
        raise POSITION

    with recorder.paused():
        position = torch.zeros(result.shape, dtype=torch.int64)
    recorder.say(position, name, refuse)
    return position


def _refused(original: Function, name: str, recorder: Recorder) -> Function:
    @functools.wraps(original)
    def refused(src: Tensor, *args: Any, **options: Any) -> Any:
        if isinstance(recorder.symbol(src), Learned):
            return original(src, *args, **options)
        raise recorder.place(name).error(SORTED)

    return refused
