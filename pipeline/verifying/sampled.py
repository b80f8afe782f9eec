"""Some rows of the scores, chosen by a seed alone: the same of a table in Spark as of its files.

Comes in: scores, which outputs, a seed. Goes out: an Arrow table. Knows nothing of what they are compared with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DataError
from pipeline.kernels.hash import hash_texts
from pipeline.kernels.jit import read_only
from pipeline.schema import ID, quoted
from pipeline.shown import counted
from pipeline.tables.layout import text_keys
from pipeline.tables.table import Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LongArray = npt.NDArray[np.int64]

SPARK_SEED = 42  # of its `xxhash64`


def sample_rows(scores: DataFrame | Table, outputs: list[str], text: bool, sample: int, seed: int) -> pa.Table:
    """Id and outputs of the rows whose hashed ids are smallest; how the scores are split plays no part.

    Raises
    ------
    DataError
        If a column is missing, or an id.
    """
    for name in (ID, *outputs):
        if name not in scores.columns:
            raise DataError(f"the scores have no column {name!r}; they have {', '.join(scores.columns)}")
    chosen = _of_files if isinstance(scores, Table) else _of_frame
    return chosen(scores, outputs, text, sample, seed)  # type: ignore[arg-type]


def _of_frame(scores: DataFrame, outputs: list[str], text: bool, sample: int, seed: int) -> pa.Table:
    """Runs a job."""
    from pyspark.sql import functions as F

    id = F.col(ID).cast("string" if text else "bigint")
    order = F.xxhash64(F.lit(seed).cast("bigint"), id)
    chosen = scores.orderBy(order, id).limit(sample).select(id.alias(ID), *(F.col(quoted(name)) for name in outputs))
    return chosen.toArrow()


def _of_files(scores: Table, outputs: list[str], text: bool, sample: int, seed: int) -> pa.Table:
    names, key = [ID, *outputs], pa.string() if text else pa.int64()
    none = {ID: pa.array([], key), **{name: pa.array([], pa.list_(pa.float32())) for name in outputs}}
    parts = []
    for batch in read_pieces(scores.pieces(names) or [], names):
        ids = batch.column(0).cast(key)
        if ids.null_count:
            raise DataError(f"the scores hold {counted(ids.null_count, 'row')} without an id")
        parts.append(_first(pa.table([ids, *batch.columns[1:]], names), sample, seed))
    return _first(pa.concat_tables(parts).combine_chunks(), sample, seed) if parts else pa.table(none)


def _first(rows: pa.Table, sample: int, seed: int) -> pa.Table:
    ids = rows[ID].combine_chunks()
    order = pa.table({"hash": order_of(ids, seed), "id": ids})
    return rows.take(pc.sort_indices(order, [("hash", "ascending"), ("id", "ascending")]).slice(0, sample))


def order_of(ids: pa.Array, seed: int) -> LongArray:
    """What Spark's `xxhash64` gives for the seed, a bigint, and the id: each is hashed from the hash before."""
    start = int(_hashes(np.array([seed], np.int64), SPARK_SEED)[0])
    return text_keys(ids, start) if pa.types.is_string(ids.type) else _hashes(ids.to_numpy(), start)


def _hashes(numbers: LongArray, seed: int) -> LongArray:
    """A bigint is hashed as its eight bytes."""
    out = np.empty(len(numbers), np.int64)
    ends = np.arange(0, 8 * len(numbers) + 1, 8, dtype=np.int32)
    hash_texts(read_only(ends), read_only(np.ascontiguousarray(numbers).view(np.uint8)), seed, out)
    return out
