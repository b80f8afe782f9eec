"""The weights of a program: parameters under their own names, and what torch made of them.

Comes in: tensors that are the same for every row. Goes out: Values, and the arrays that belong to their names.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from pipeline.formula.values import Value, constant, weight
from pipeline.pyg.call import Sizes
from pipeline.pyg.symbols import Refusal


class Captured:
    """Every weight that a recording has needed so far."""

    def __init__(self, net: torch.nn.Module):
        self.arrays: dict[str, npt.NDArray[np.float64]] = {}
        self.tables = {each.num_embeddings for each in net.modules() if isinstance(each, torch.nn.Embedding)}
        """How many rows the model's own tables have."""
        self._rows = {
            f"{path}.weight".lstrip("."): each.num_embeddings
            for path, each in net.named_modules()
            if isinstance(each, torch.nn.Embedding)
        }
        self.first_axes = {len(each) for each in net.parameters() if each.dim() == 2}
        self.read_by_python: set[str] = set()
        """Weights whose numbers Python has read: what it made of them nobody sees."""
        self._names: dict[int, str] = {}
        self._own: set[str] = set()
        self._made: dict[bytes, str] = {}
        """What a content is known by → its name."""
        self._kept = []  # ids stay unique as long as their tensors live
        self._in_memory: dict[int, frozenset[str]] = {}
        self._made_of: Any = WeakIdKeyDictionary()
        self._read: dict[int, frozenset[str]] = {}
        named = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
        for name, tensor in named:
            self._names.setdefault(id(tensor), name)
            self._own.add(name)
            self._kept.append(tensor)
            memory = tensor.untyped_storage().data_ptr()
            self._in_memory[memory] = self._in_memory.get(memory, frozenset()) | {name}

    def named(self, rows: int) -> list[str]:
        """The model's own tables of so many rows, by the names of their weights."""
        return [
            self._names[id(tensor)]
            for tensor in self._kept
            if tensor.dim() == 2 and len(tensor) == rows and id(tensor) in self._names
        ]

    def made_of(self, tensor: Tensor) -> frozenset[str]:
        """The weights that a tensor is, is a view of, or was computed from."""
        known: frozenset[str] | None = self._made_of.get(tensor)
        if known is None and tensor.layout is torch.strided:
            known = self._in_memory.get(tensor.untyped_storage().data_ptr())
        return known or frozenset()

    def joined_tables(self, rows: int) -> tuple[str, ...]:
        """The tables of the model that have so many rows together; none if there are no such, or too many to try."""
        tried = itertools.islice(itertools.combinations(self._rows, 2), 1000)
        return next(
            (each for each in (*tried, tuple(self._rows)) if sum(map(self._rows.__getitem__, each)) == rows), ()
        )

    def computed(self, tensor: Tensor, inputs: Iterable[Tensor]) -> None:
        """`tensor` was computed by torch from others."""
        names = frozenset().union(*map(self.made_of, inputs))
        if names:
            self._made_of[tensor] = names

    def read(self, values: Iterable[Value]) -> set[str]:
        """The weights that some values are made of; and those that Python has read."""
        return self.read_by_python.union(*(self._read.get(value.id, ()) for value in values))

    def value(self, tensor: Tensor, sizes: Sizes) -> Value:
        """The weight or constant that a tensor is, as it is now."""
        value = self._value(tensor, sizes)
        self._read[value.id] = self.made_of(tensor)
        return value

    def _value(self, tensor: Tensor, sizes: Sizes) -> Value:
        array = np.array(tensor.detach().cpu().resolve_conj().resolve_neg().numpy(), dtype=_float_type(tensor))
        name = self._names.get(id(tensor))
        if name is None and array.ndim == 0:
            number = float(array)
            if sizes.space(number) is not None:
                raise Refusal(
                    f"computes with the number of {sizes.space(number)}",
                    "give that number to the model as a constant",
                )
            return constant(number)
        if name is None:
            name = self._derived(array)
        self.arrays[name] = array
        return weight(name, array.shape)

    def _derived(self, array: npt.NDArray[np.float64]) -> str:
        """The name of what torch made of weights: one name for one content, however often it is made."""
        content = hashlib.sha256(f"{array.shape}".encode() + (array + 0.0).tobytes()).digest()  # -0.0 is 0.0
        if content not in self._made:
            own = self._own
            name = next(name for name in map("derived.{}".format, itertools.count(len(self._made))) if name not in own)
            self._made[content] = name
        return self._made[content]

    def forget(self, tensor: Tensor) -> None:
        """A parameter that forward changes in place is one no longer."""
        memory = tensor.untyped_storage().data_ptr()
        for known in self._kept:
            if known.untyped_storage().data_ptr() == memory:
                self._names.pop(id(known), None)


def _float_type(tensor: Tensor) -> Any:
    if tensor.is_complex():
        raise Refusal("computes with complex numbers")
    return np.float64
