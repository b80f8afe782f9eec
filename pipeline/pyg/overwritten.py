"""What a tensor stands for after its memory, or a part of it, was written through another tensor: x[:, 0] = 1.

Comes in: the tensor, the one that was written, and what both stand for. Goes out: the symbol of the first as it is now.
Where an element of one is in the other is read from their strides: every row has to have the same lanes replaced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.formula.values import apply
from pipeline.pyg.call import Sizes
from pipeline.pyg.joined import is_unwritten, with_part, with_row
from pipeline.pyg.layout import reshape, view
from pipeline.pyg.symbols import EdgeIndex, End, Joined, Opaque, Refusal, Rows, Symbol

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


def overwritten(tensor: Tensor, before: Symbol, written: Tensor, new: Symbol, sizes: Sizes) -> Symbol:
    """The symbol of `tensor`, which stood for `before`, now that `written` stands for `new`; Refusal if none does."""
    if isinstance(before, EdgeIndex | End) and isinstance(new, EdgeIndex | End):
        return _with_end(tensor, before, written, new)
    held = before.unwritten if isinstance(before, Opaque) else before
    if isinstance(held, Joined) and isinstance(new, Rows) and tensor.shape != written.shape:
        return _with_type(tensor, before, held, written, new, sizes)
    whole = tensor.numel() == written.numel() and tensor.storage_offset() == written.storage_offset()
    if isinstance(new, Rows) and whole and tensor.is_contiguous() and written.is_contiguous():
        return view(new, sizes.count(new.space), tensor.shape)
    if isinstance(new, Rows) and isinstance(before, Rows):
        return _with_lanes(tensor, before, written, new)
    raise LEFT_BEHIND


def _with_end(tensor: Tensor, before: EdgeIndex | End, written: Tensor, new: EdgeIndex | End) -> Symbol:
    """An edge index of which one row was written: edge_index[0] += offset."""
    if (tensor.shape, tensor.storage_offset()) == (written.shape, written.storage_offset()):
        if isinstance(before, type(new)):
            return new
        raise LEFT_BEHIND
    if not isinstance(before, EdgeIndex) or not isinstance(new, End) or before.axis or written.dim() != 1:
        raise LEFT_BEHIND
    found = with_row(before, _rows_before(tensor, written), new)
    if found is None:
        raise LEFT_BEHIND
    return found


def _with_type(tensor: Tensor, before: Symbol, held: Joined, written: Tensor, new: Rows, sizes: Sizes) -> Symbol:
    """Rows of several types of which those of one were written: out[start:end] = rows."""
    if tensor.shape[1:] != written.shape[1:] or not (tensor.is_contiguous() and written.is_contiguous()):
        raise LEFT_BEHIND
    found = with_part(held, _rows_before(tensor, written), new, sizes)
    if found is None:
        raise LEFT_BEHIND
    return replace(before, unwritten=found) if isinstance(before, Opaque) and is_unwritten(found) else found


def _rows_before(tensor: Tensor, written: Tensor) -> int:
    """Rows of `tensor` before the first that was written."""
    return int(written.storage_offset() - tensor.storage_offset()) // max(tensor.stride(0), 1)


def _with_lanes(tensor: Tensor, before: Rows, written: Tensor, new: Rows) -> Rows:
    """Rows of which some lanes were written: x[:, 0] = 1."""
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
