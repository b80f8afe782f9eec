"""What a tensor stands for after its memory, or a part of it, was written through another tensor: x[:, 0] = 1.

Comes in: the tensor, the one that was written, and what both stand for. Goes out: the symbol of the first as it is now.
Where an element of one is in the other is read from their strides: every row has to have the same lanes replaced.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.formula.values import apply
from pipeline.pyg.layout import reshape
from pipeline.pyg.symbols import Refusal, Rows

LEFT_BEHIND = Refusal(
    "changes, in place, a tensor of which another view is used later", "use the out-of-place form, or torch.where"
)


def overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors share an element, not only a storage: the halves that chunk() makes do not."""
    if a.layout is not torch.strided or b.layout is not torch.strided:
        return False  # a sparse matrix is made of other tensors
    storage = a.untyped_storage()
    if not storage.nbytes() or storage.data_ptr() != b.untyped_storage().data_ptr():
        return False
    touched = torch.zeros(storage.nbytes() // a.element_size(), dtype=torch.bool)
    places = [touched.as_strided(t.shape, t.stride(), t.storage_offset()) for t in (a, b)]
    places[0].fill_(True)
    return bool(places[1].any())


def overwritten(tensor: Tensor, before: Rows, written: Tensor, new: Rows) -> Rows:
    """The symbol of `tensor`, which stood for `before`, now that `written` stands for `new`."""
    if before.space != new.space or any((before.before, before.after, new.before, new.after)):
        raise LEFT_BEHIND
    elements = np.full(written.untyped_storage().nbytes() // written.element_size(), -1)
    elements[_offsets(written)] = np.arange(written.numel()).reshape(written.shape)
    found = np.moveaxis(elements[_offsets(tensor)], before.axis, 0)
    rows = len(found)
    found = found.reshape(rows, -1)
    places = np.moveaxis(np.arange(written.numel()).reshape(written.shape), new.axis, 0).reshape(rows, -1)
    order = np.argsort(places, axis=None)  # element of `written` → its row and lane there
    row, lane = (part[order] for part in np.divmod(np.arange(places.size), max(places.shape[1], 1)))
    replaced = found >= 0
    lanes = np.where(replaced, lane[found] if len(lane) else -1, -1)
    if (replaced != replaced[:1]).any() or (lanes != lanes[:1]).any():
        raise LEFT_BEHIND
    if (replaced & (row[found] != np.arange(rows)[:, None])).any():
        raise LEFT_BEHIND
    width = before.value.width
    taken = tuple(int(width + to if to >= 0 else at) for at, to in enumerate(lanes[0]))
    both = apply("concat", reshape(before.value, (width,)), reshape(new.value, (new.value.width,)), axis=0)
    mixed = apply("take", both, axis=0, indices=taken) if min(taken) < width else _only(new, taken, width)
    return Rows(reshape(mixed, before.value.shape), before.axis)


def _only(new: Rows, taken: tuple[int, ...], width: int) -> Any:
    """Nothing is left of what was there."""
    flat = reshape(new.value, (new.value.width,))
    indices = tuple(at - width for at in taken)
    return flat if indices == tuple(range(new.value.width)) else apply("take", flat, axis=0, indices=indices)


def _offsets(tensor: Tensor) -> npt.NDArray[np.int64]:
    """Each element's place in the storage."""
    places = np.full(tuple(tensor.shape), tensor.storage_offset(), np.int64)
    for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        places += (np.arange(size) * stride).reshape(-1, *(1,) * (tensor.dim() - 1 - axis))
    return places
