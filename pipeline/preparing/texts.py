"""The texts that keys stand for, looked up in the tables: only to say what is wrong.

Comes in: keys of edge ends. Goes out: their texts. Reads pieces of a table here, or runs a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa

from pipeline.graph import Graph
from pipeline.preparing.findings import texts_of
from pipeline.schema import quoted
from pipeline.spark.task_function import task_function
from pipeline.tables.layout import Layout
from pipeline.tables.survey import Pieces, frame_of
from pipeline.tables.table import read_pieces


def texts_by_key(graph: Graph, pieces: Pieces, layout: Layout, column: str, keys: list[int]) -> dict[int, str]:
    """Runs a job, or reads pieces of the table here, but only to say what is wrong: edge ends by their keys."""
    here = pieces.get(layout.table)
    if here is not None:
        named: dict[int, str] = {}
        for batch in read_pieces(here, [column]):
            named |= texts_of(batch.column(0), keys, layout)
        return named
    find = partial(_find_texts, keys=keys, layout=layout)
    edges = frame_of(graph.tables[layout.table], graph.session, layout)
    found = edges.select(quoted(column)).mapInArrow(task_function(find), "key bigint, text string").distinct().collect()
    return {row.key: row.text for row in found}


def _find_texts(batches: Iterable[pa.RecordBatch], keys: list[int], layout: Layout) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = texts_of(batch.column(0), keys, layout)
        yield pa.RecordBatch.from_arrays(
            [pa.array(found.keys(), pa.int64()), pa.array(found.values(), pa.string())], ["key", "text"]
        )
