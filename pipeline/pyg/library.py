"""Functions of PyG and torch that are recorded as one operation, instead of being looked into.

Softmax over neighbours: its parts (maximum, exponential, sum, quotient) would be recorded well enough, but as one
operation it is computed in one pass over the edges. One-hot rows: torch looks at the numbers themselves. Self-loop
helpers need nothing here: the tables know what their masks and joins mean (aten_take.py, aten_join.py), whoever wrote
them; but for loops that are added twice (loops_again.py).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_geometric.backend
import torch_geometric.typing
import torch_geometric.utils
from torch import Tensor

from pipeline.formula.relations import shared_softmax
from pipeline.formula.values import Value, apply
from pipeline.pyg.aggregations import aggregations, need_end
from pipeline.pyg.aten_take import one_hot as one_hot_rows
from pipeline.pyg.call import Sizes
from pipeline.pyg.counts import of_math
from pipeline.pyg.hetero_linear import hetero_linear
from pipeline.pyg.joined import joined, parts_of
from pipeline.pyg.layout import reshape, with_value
from pipeline.pyg.loops_again import loops_again
from pipeline.pyg.matrices import matrices
from pipeline.pyg.merged_edges import merged_edges
from pipeline.pyg.recorder import Recorder
from pipeline.pyg.replaced import replaced
from pipeline.pyg.symbols import Joined, Refusal, Rows, Symbol
from pipeline.pyg.torch_scatter_functions import torch_scatter_functions
from pipeline.pyg.totals import constant

# Extensions that replace aten operations where they are installed.
EXTENSIONS = ("WITH_TORCH_SCATTER", "WITH_PYG_LIB", "WITH_SOFTMAX", "WITH_SEGMM", "WITH_GMM", "WITH_INDEX_SORT")


@contextmanager
def recorded_whole(recorder: Recorder) -> Iterator[None]:
    """While the block runs, these functions record themselves, wherever they were imported. Not for several threads."""
    softmax, one_hot = torch_geometric.utils.softmax, torch.nn.functional.one_hot
    whole = {softmax: _softmax(softmax, recorder), one_hot: _one_hot(one_hot, recorder)}
    whole |= loops_again(recorder) | merged_edges(recorder) | torch_scatter_functions(recorder)
    with (
        replaced({**whole, **matrices(recorder), **of_math()}),
        aggregations(recorder),
        hetero_linear(recorder),
        _without_extensions(),
    ):
        yield


def _softmax(original: Callable[..., Tensor], recorder: Recorder) -> Callable[..., Tensor]:
    @functools.wraps(original)
    def softmax(src: Tensor, index: Any = None, ptr: Any = None, num_nodes: Any = None, dim: int = 0) -> Tensor:
        if not isinstance(recorder.symbol(src), Rows | Joined) or not isinstance(index, Tensor):
            return original(src, index, ptr, num_nodes, dim)
        if constant(recorder.symbol(index)) is not None:  # over all nodes: its parts are totals
            return original(src, index, ptr, num_nodes, dim)
        with recorder.paused():
            result = original(src, index, None, num_nodes, dim)
        recorder.say(result, "softmax", lambda: _of(recorder.symbol(src), recorder.symbol(index), dim, recorder.sizes))
        return result

    return softmax


def _of(rows: Symbol, index: Symbol, dim: int, sizes: Sizes) -> Symbol:
    """The share of each edge among those into a node. Edge types that are joined share one softmax."""
    parts, ends = parts_of(rows), parts_of(index)
    if len(parts) != len(ends):
        raise Refusal("groups rows by an index of other edges")
    logits = []
    for part, index_of_part in zip(parts, ends, strict=True):
        end = need_end(part, index_of_part, dim)
        value = part.value
        if end.mask is not None:
            value = apply("where", reshape(end.mask, tuple(1 for _ in value.shape)), value, -math.inf)
        logits.append(end.facing(value))
    groups = dict.fromkeys((end.start, end.nodes) for end in ends)
    shares: dict[int, Value] = {}
    for group in groups:
        members = [number for number, end in enumerate(ends) if (end.start, end.nodes) == group]
        shares |= zip(members, shared_softmax([logits[number] for number in members]), strict=True)
    found = [with_value(part, end.facing(shares[n])) for n, (part, end) in enumerate(zip(parts, ends, strict=True))]
    return joined(found, sizes) if isinstance(rows, Joined) else found[0]


def _one_hot(original: Callable[..., Tensor], recorder: Recorder) -> Callable[..., Tensor]:
    """torch's own reads the smallest and the largest number into Python."""

    def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
        index = recorder.symbol(tensor)
        if not all(isinstance(part, Rows) for part in parts_of(index)):
            return original(tensor, num_classes)
        with recorder.paused():
            result = original(tensor, num_classes)

        def make() -> Symbol:
            if num_classes < 0:
                raise Refusal("counts the classes by the largest number of a column", "give num_classes")
            with recorder.paused():
                rows = [one_hot_rows(part, num_classes, recorder.learned) for part in parts_of(index)]
            return joined(rows, recorder.sizes) if isinstance(index, Joined) else rows[0]

        recorder.say(result, "one_hot", make)
        return result

    return one_hot


@contextmanager
def _without_extensions() -> Iterator[None]:
    present = {
        name: getattr(torch_geometric.typing, name) for name in EXTENSIONS if hasattr(torch_geometric.typing, name)
    }
    for name in present:
        setattr(torch_geometric.typing, name, False)
    by_segments = torch_geometric.backend.use_segment_matmul  # None: decided by the number of edges of a relation
    torch_geometric.backend.use_segment_matmul = False
    try:
        yield
    finally:
        torch_geometric.backend.use_segment_matmul = by_segments
        for name, value in present.items():
            setattr(torch_geometric.typing, name, value)
