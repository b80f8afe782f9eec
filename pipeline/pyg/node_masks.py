"""Masks over the nodes while a forward is recorded: in their place stand numbers of the nodes that they choose.

Comes in: tensors and what they stand for. Goes out: numbers of nodes, as many as the recording has given to that
choice. How many nodes a mask chooses is known only from the data, so the numbers themselves mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pipeline.formula.spaces import Nodes
from pipeline.formula.values import apply
from pipeline.pyg.call import Sizes
from pipeline.pyg.chosen import ONE_MASK, Chosen, is_mask
from pipeline.pyg.symbols import NodeNumbers, Refusal, Rows, Symbol


def chosen_by(mask: Tensor, symbol: Symbol, sizes: Sizes, line: str) -> Chosen | None:
    """The nodes where a column of one number per node is not 0; None if it is no such column."""
    if not isinstance(symbol, Rows) or symbol.space != Nodes() or mask.dim() != 1 or symbol.value.shape != ():
        return None
    value = symbol.value if mask.dtype is torch.bool else apply("not_equal", symbol.value, 0.0)
    return sizes.choose(value, line)


def numbers(nodes: Chosen, sizes: Sizes) -> Tensor:
    """(chosen,) int64: as many numbers of nodes as the choice was given."""
    return torch.arange(sizes.counts[nodes]) % sizes.counts[Nodes()]


def count_read(symbols: list[Symbol], sizes: Sizes, line: str) -> int | None:
    """What int(mask.sum()) gives to Python: the number that stands for that of the chosen nodes. None for others."""
    value = symbols[0].value if len(symbols) == 1 and isinstance(symbols[0], Rows) else None
    if value is None or value.op != "total_sum" or not is_mask(value.inputs[0]) or value.shape != ():
        return None
    return sizes.counts[sizes.choose(value.inputs[0], line)]


def mixed(symbols: Iterable[Any]) -> Refusal | None:
    """Why torch did not go on: rows of a choice beside rows of something else."""
    spaces = [symbol.space for symbol in symbols if isinstance(symbol, Rows) and not symbol.is_whole]
    spaces += [symbol.nodes for symbol in symbols if isinstance(symbol, NodeNumbers)]
    different = sorted(set(spaces), key=spaces.index)
    if len(different) < 2 or not any(isinstance(space, Chosen) for space in different):
        return None
    # what is chosen from comes first, where an operation takes or writes rows by numbers
    *_, first, second = different
    return Refusal(f"mixes rows of {first} with rows of {second}", ONE_MASK)
