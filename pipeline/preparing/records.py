"""The packed records of one block, joined: its nodes in local order, and its edges by their keys.

Comes in: records from all tasks of the map side, in any order. Goes out: arrays, and findings about nodes that are
there twice. Knows nothing of how rows travel, or of other blocks.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.block import FloatArray, LongArray
from pipeline.errors import DataError
from pipeline.preparing import tiles
from pipeline.preparing.checks import EXAMPLES, Finding
from pipeline.preparing.pack import Packed
from pipeline.tables.layout import Layout


def nodes_of(
    index: int, packed: Sequence[Packed], layout: Layout, findings: list[Finding]
) -> tuple[LongArray, pa.Array, dict[str, FloatArray]]:
    """Keys, ids and features, of one type, in local order."""
    arrived = np.concatenate([np.empty(0, np.int64), *(part.keys for part in packed)])
    order = np.argsort(arrived)
    keys = arrived[order]
    ids = pa.array(keys)
    if layout.text:
        size = sum(part.texts.nbytes for part in packed if part.texts is not None)
        if size >= 1 << 31:
            raise DataError(f"block {index} has {size} bytes of ids, more than 2^31 - 1; prepare with more blocks")
        ids = pa.concat_arrays([pa.array([], pa.string()), *(part.texts for part in packed)]).take(pa.array(order))
    findings += _repeated(keys, ids, layout)

    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    widths = widths_of(packed, layout)
    features = {
        value.name: np.zeros((len(keys), width), np.float32) for value, width in zip(layout.values, widths, strict=True)
    }
    ends = itertools.accumulate((len(part.keys) for part in packed), initial=0)
    for part, start in zip(packed, ends, strict=False):
        if part.widths == widths:
            for name, matrix in split_values(part.matrix, layout, widths).items():
                features[name][place[start : start + len(part.keys)]] = matrix
    return keys, ids, features


def edges_of(index: int, packed: Sequence[Packed], layout: Layout) -> tuple[tuple[int, ...], tiles.Edges]:
    widths = widths_of(packed, layout)
    packed = [part for part in packed if part.widths == widths]
    count = sum(len(part.keys) for part in packed)
    if count >= 1 << 31:
        raise DataError(f"block {index} has {count} edges, more than 2^31 - 1; prepare with more blocks")
    return widths, tiles.Edges(
        np.concatenate([np.empty(0, np.int64), *(part.keys for part in packed)]),
        np.concatenate([np.empty(0, np.int64), *(part.sources for part in packed if part.sources is not None)]),
        np.concatenate([np.empty((0, sum(widths)), np.float32), *(part.matrix for part in packed)]),
        np.concatenate([np.empty(0, bool), *map(_turned, packed)]) if layout.undirected else None,
    )


def _turned(part: Packed) -> npt.NDArray[np.bool_]:
    turned = np.ones(len(part.keys), bool)
    turned[: part.given] = False
    return turned


def widths_of(packed: Sequence[Packed], layout: Layout) -> tuple[int, ...]:
    """Width of each value. If parts differ, the map side has told and prepare is going to fail: any will do."""
    unseen = tuple(0 if value.array else len(value.columns) for value in layout.values)
    return max((part.widths for part in packed), default=unseen)


def split_values(matrix: FloatArray, layout: Layout, widths: Sequence[int]) -> Mapping[str, FloatArray]:
    ends = itertools.accumulate(widths)
    return {
        value.name: matrix[:, end - width : end] for value, width, end in zip(layout.values, widths, ends, strict=True)
    }


def _repeated(keys: LongArray, ids: pa.Array, layout: Layout) -> Iterator[Finding]:
    """Keys that occur more than once: the same id again, or another text with the same hash."""
    again = np.flatnonzero(keys[1:] == keys[:-1])
    same: dict[int, list[int | str]] = defaultdict(list)
    for at in np.union1d(again, again + 1).tolist():
        same[int(keys[at])].append(ids[at].as_py())
    duplicate = {name for names in same.values() for name, count in Counter(names).items() if count > 1}
    collision = {name for names in same.values() for name in names if len(set(names)) > 1}
    for what, names in (("duplicate", duplicate), ("collision", collision)):
        if names:
            yield Finding(layout.table, layout.keys[0], what, len(names), tuple(sorted(names)[:EXAMPLES]))
