"""Learned rows of nodes: a model that holds an embedding for each node of its training, known by the user's ids.

Comes in: ids, and columns with a row for each of them. Goes out: the rows of other ids, in their order. Which columns
of a program they are is for pipeline.model to say. Knows nothing of graphs and of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ModelError, shortened
from pipeline.schema import NODE
from pipeline.shown import counted

FIRST = 3  # ids that are named

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NodeRows:
    """Of the nodes of one type. It goes to every task of a run."""

    ids: pa.Array
    """(n,) int64 or string: ascending, each once."""
    columns: Mapping[str, FloatArray]
    """Column of the nodes → (n, lanes) float32, read-only."""

    @staticmethod
    def of(what: str, ids: pa.Array, columns: Mapping[str, npt.ArrayLike]) -> NodeRows:
        """Of ids in any order, and rows in the same order.

        Raises
        ------
        ModelError
            If an id is null or there twice, if they are neither integers nor text, if there are not as many rows, or
            these hold NaN. `what` the ids are called in messages.
        """
        if ids.null_count:
            raise ModelError(f"{what}: {ids.null_count:,} of {len(ids):,} ids are null")
        if not (pa.types.is_int64(ids.type) or pa.types.is_string(ids.type)):
            raise ModelError(f"{what}: the ids are {ids.type}; integers or text are expected")
        order = pc.sort_indices(ids)
        ordered = ids.take(order)
        twice = ordered[1:].filter(pc.equal(ordered[1:], ordered[:-1])) if len(ids) > 1 else ids[:0]
        if len(twice):
            raise ModelError(f"{what}: {shortened(twice[0].as_py())} is there more than once; each node has one row")
        at, kept = order.to_numpy(), {}
        for name, rows in columns.items():
            array = np.asarray(rows, np.float32)
            if array.ndim < 1 or len(array) != len(ids):
                raise ModelError(f"{what}: {len(ids):,} ids, and {name} has rows of shape {array.shape}")
            array = np.ascontiguousarray(array.reshape(len(array), -1)[at])
            if not np.isfinite(array).all():
                raise ModelError(f"{what}: {name} holds numbers that are NaN or infinite in float32")
            array.flags.writeable = False
            kept[name] = array
        return NodeRows(ordered, kept)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return int(self.ids.nbytes) + sum(array.nbytes for array in self.columns.values())

    def only(self, names: Any) -> NodeRows:
        """With these columns."""
        return NodeRows(self.ids, {name: rows for name, rows in self.columns.items() if name in names})

    def places(self, ids: pa.Array) -> npt.NDArray[np.int64]:
        """(ids,): where each of some ids is; -1 if it is not there."""
        if ids.type != self.ids.type:
            return np.full(len(ids), -1, np.int64)
        if pa.types.is_string(ids.type):
            return np.asarray(pc.fill_null(pc.index_in(ids, value_set=self.ids), -1).to_numpy(), np.int64)
        known, wanted = self.ids.to_numpy(), ids.to_numpy()
        at = np.searchsorted(known, wanted)
        there = at < len(known)
        there[there] = known[at[there]] == wanted[there]
        return np.where(there, at, -1).astype(np.int64)

    def unknown(self, ids: pa.Array) -> pa.Array:
        """Those of some ids that have no row."""
        return ids.filter(pa.array(self.places(ids) < 0))

    def rows(self, name: str, ids: pa.Array) -> FloatArray:
        """(ids, lanes) float32 of a column. All of them are there: who starts the work has looked (`unknown`)."""
        at = self.places(ids)
        assert not len(at) or at.min() >= 0, "each node has a learned row"
        found: FloatArray = self.columns[name][at]
        return found

    def add_to(self, digest: Any) -> None:
        """Ids and numbers, into one of hashlib's."""
        for text in self.ids.to_pylist():
            digest.update(f"{text}\0".encode())
        for name, rows in sorted(self.columns.items()):
            digest.update(f"{name} {rows.shape}".encode())
            digest.update(rows.tobytes())


def lines_of_rows(rows: Mapping[str, NodeRows]) -> list[str]:
    """A line for each type of nodes whose learned rows a model has."""
    return [
        f"learned rows of {counted(len(each), 'node')}{'' if type == NODE else f' of type {type}'}, found by id: "
        + ", ".join(f"{name} ({array.shape[1]})" for name, array in each.columns.items())
        for type, each in rows.items()
    ]


def sum_of(rows: Mapping[str, NodeRows]) -> str:
    """What learned rows are known by."""
    digest = hashlib.sha256()
    for type, each in sorted(rows.items()):
        digest.update(f"{type}\0".encode())
        each.add_to(digest)
    return digest.hexdigest()
