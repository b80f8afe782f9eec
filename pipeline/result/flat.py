"""A result without arrays, for formats that have none: a column for each lane, output_0, output_1, …

Comes in: batches with arrays, and how wide these are. Goes out: the same rows. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa


def flat_schema(schema: pa.Schema, widths: Mapping[str, int]) -> pa.Schema:
    """`widths`: column → lanes of its arrays; the others stay as they are."""
    fields: list[pa.Field] = []
    for field in schema:
        if field.name in widths:
            fields += [pa.field(name, field.type.value_type) for name in lanes_of(field.name, widths[field.name])]
        else:
            fields.append(field)
    return pa.schema(fields)


def flat_batch(batch: pa.RecordBatch, widths: Mapping[str, int]) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in widths:
            lanes = column.flatten().to_numpy().reshape(len(column), widths[name])
            columns += [pa.array(lanes[:, lane]) for lane in range(widths[name])]
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=flat_schema(batch.schema, widths))


def lanes_of(name: str, width: int) -> list[str]:
    """The columns that an array column becomes."""
    return [f"{name}_{lane}" for lane in range(width)]
