"""The result table: one row per node, the user's id first, then the model's outputs; or one row per edge, the ids of
both ends first.

Comes in: a block's outputs as arrays. Goes out: Arrow batches, and the schema that Spark is told. Knows nothing of how
the outputs were computed.

A run's own clock travels beside the rows, in two columns that infer.py takes out again before anybody sees them: it is
never shuffled, because Spark compares the rows of a repeated task with those of the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.blocks.arrow import numbers, one_row
from pipeline.blocks.block import FloatArray
from pipeline.formula.classes import Label, labels_of
from pipeline.formula.program import PARALLEL, Program
from pipeline.formula.values import Value
from pipeline.schema import DST, ID, NODE, SRC, AnyType, quoted

PREDICTED = "predicted"  # int: position of the largest lane of the first output
PROBABILITY = "probability"  # float: its share in the softmax over the lanes
SUPERSTEP = "__superstep"  # clock rows only
MILLISECONDS = "__milliseconds"

ID_TYPES = {
    "string": pa.string(),
    "bigint": pa.int64(),
    "int": pa.int32(),
    "smallint": pa.int16(),
    "tinyint": pa.int8(),
}

# 64k rows of 32 lanes are 8 MB: large enough for Arrow, small enough for the JVM's copies of a batch.
BATCH_LANES = 1 << 21
_ARRAYS = pa.list_(pa.float32())


@dataclass(frozen=True)
class OutputTable:
    """What the result looks like: the id's type, the outputs' widths, whether classes are added."""

    id_type: str
    """Of the user's ids, of edges those of their sources, in Spark's words: string, bigint, int, smallint or
    tinyint."""
    outputs: Mapping[str, tuple[int, ...]]
    """Output → shape of a row; () is one number."""
    classify: bool = False
    probabilities: bool = False
    """Whether the first output is a softmax already."""
    type: AnyType = NODE
    """Of the nodes, or of the edges, that there is a row for each of."""
    id_name: str = ID
    """What the column of ids is called."""
    edge_columns: Mapping[str, int] | None = None
    """Of a table with a row per edge: the edges' own columns, with the numbers in a row; None: a row per node."""
    labels: Mapping[str, Label] = field(default_factory=dict)
    """Column of labels → whose they are."""
    target_id_type: str | None = None
    """Of the ids of edges' targets; None: as those of the sources."""

    @staticmethod
    def of(
        outputs: Mapping[str, Value],
        id_type: str,
        classify: bool,
        type: AnyType = NODE,
        id_name: str = ID,
        edge_columns: Mapping[str, int] | None = None,
        labels: Mapping[str, Label] | None = None,
        target_id_type: str | None = None,
    ) -> OutputTable:
        shapes = {name: value.shape for name, value in outputs.items()}
        id_type, of_targets = _id_word(id_type), None if target_id_type is None else _id_word(target_id_type)
        softmax = is_softmax(next(iter(outputs.values())))
        return OutputTable(id_type, shapes, classify, softmax, type, id_name, edge_columns, labels or {}, of_targets)

    @staticmethod
    def of_program(
        program: Program,
        id_types: Mapping[str, str],
        ids: Mapping[str, str],
        classify: bool,
        edge_columns: Mapping[AnyType, Mapping[str, int]] | None = None,
        classes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> tuple[OutputTable, ...]:
        """A table for each type that has outputs. `id_types`: of the nodes; `ids`: node type → the name of the column
        of ids; `edge_columns`: of the graph, by type; `classes`: of the model, by the program's outputs."""
        tables = []
        for type in program.output_types:
            outputs, labels = program.outputs_of(type), labels_of(program, type, classes or {})
            if isinstance(type, str):
                tables.append(OutputTable.of(outputs, id_types[type], classify, type, ids[type], None, labels))
                continue
            own, (source, target) = (edge_columns or {}).get(type, {}), (id_types[type.source], id_types[type.target])
            tables.append(OutputTable.of(outputs, source, classify, type, ID, own, labels, target))
        return tuple(tables)

    @property
    def keys(self) -> pa.Schema:
        """The columns that say whose row it is."""
        id = ID_TYPES[self.id_type]
        if self.edge_columns is None:
            return pa.schema([pa.field(self.id_name, id)])
        own = [(name, pa.float32() if width == 1 else _ARRAYS) for name, width in self.edge_columns.items()]
        target = ID_TYPES[self.target_id_type or self.id_type]
        return pa.schema([(SRC, id), (DST, target), (PARALLEL, pa.int32()), *own])

    @property
    def columns(self) -> pa.Schema:
        """What the user sees."""
        fields = list(self.keys)
        for name, shape in self.outputs.items():
            fields.append(pa.field(name, pa.float32() if shape == () else _ARRAYS))
        if self.classify:
            fields += [pa.field(PREDICTED, pa.int32()), pa.field(PROBABILITY, pa.float32())]
        fields += [pa.field(name, pa.string()) for name in self.labels]
        return pa.schema(fields)

    @property
    def widths(self) -> dict[str, int]:
        """Column of arrays → lanes."""
        own = {name: width for name, width in (self.edge_columns or {}).items() if width != 1}
        return {**own, **{name: int(np.prod(shape)) for name, shape in self.outputs.items() if shape != ()}}

    def describe(self) -> list[dict[str, Any]]:
        """The columns for a marker: name, type in Spark's words, of arrays the width, of labels their output and the
        names of all its classes."""
        more: dict[str, dict[str, Any]] = {name: {"width": width} for name, width in self.widths.items()}
        more |= {name: {"of": label.output, "classes": [*label.names]} for name, label in self.labels.items()}
        return [{"name": field.name, "type": _word(field.type)} | more.get(field.name, {}) for field in self.columns]

    @property
    def schema(self) -> pa.Schema:
        """The same with the clock's columns."""
        return pa.schema([*self.columns, pa.field(SUPERSTEP, pa.int32()), pa.field(MILLISECONDS, pa.int32())])

    @property
    def ddl(self) -> str:
        """The same schema in Spark's words."""
        return ", ".join(f"{quoted(field.name)} {_word(field.type)}" for field in self.schema)

    def rows(self, keys: Sequence[pa.Array], outputs: Mapping[str, FloatArray]) -> Iterator[pa.RecordBatch]:
        """Of a block, in the columns that the user sees: those of `keys` (n,), outputs (n, *shape) float32."""
        lanes = max(1, sum(int(np.prod(shape)) for shape in self.outputs.values()))
        size, count = max(1, BATCH_LANES // lanes), len(keys[0])
        for start in range(0, count, size):
            rows = slice(start, min(start + size, count))
            arrays = [column[rows].cast(field.type) for column, field in zip(keys, self.keys, strict=True)]
            arrays += [column_of(outputs[name][rows], shape) for name, shape in self.outputs.items()]
            if self.classify:
                arrays += classes(outputs[next(iter(self.outputs))][rows], self.probabilities)
            arrays += [labels(outputs[label.output][rows], label.names) for label in self.labels.values()]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.columns)

    def batches(self, keys: Sequence[pa.Array], outputs: Mapping[str, FloatArray]) -> Iterator[pa.RecordBatch]:
        """The same with room for a clock."""
        for batch in self.rows(keys, outputs):
            empty = pa.nulls(batch.num_rows, pa.int32())
            yield pa.RecordBatch.from_arrays([*batch.columns, empty, empty], schema=self.schema)

    def clock(self, superstep: int, seconds: float) -> pa.RecordBatch:
        """One row that tells how long a superstep took in this task."""
        row = dict.fromkeys(self.schema.names) | {SUPERSTEP: superstep, MILLISECONDS: round(1000 * seconds)}
        return one_row(row, self.schema)


def classes(scores: FloatArray, probabilities: bool = False) -> list[pa.Array]:
    """Predicted class and its probability of (n, classes) logits or probabilities; a tie goes to the lower class."""
    flat = scores.reshape(len(scores), -1)
    best = flat.argmax(axis=1).astype(np.int32)
    highest = flat.max(axis=1, keepdims=True)
    share = highest[:, 0] if probabilities else 1 / np.exp(flat - highest).sum(axis=1)
    return [numbers(best), numbers(share.astype(np.float32))]


def labels(scores: FloatArray, names: Sequence[str]) -> pa.Array:
    """The name of the largest of (n, classes) numbers; a tie goes to the lower class. Null where a number is NaN: then
    none is the largest."""
    flat = scores.reshape(len(scores), -1)
    best = pa.array(flat.argmax(axis=1), mask=np.isnan(flat).any(axis=1))
    return pa.array(names, pa.string()).take(best)


def is_softmax(value: Value) -> bool:
    """Whether a value ends as exp(x) / sum(exp(x)) over its lanes. Logarithms of a softmax count as logits."""
    while value.op == "reshape":
        value = value.inputs[0]
    if value.op != "div":
        return False
    above, below = value.inputs
    return above.op == "exp" and below.op == "lane_sum" and below.inputs[0] is above


def _id_word(word: str) -> str:
    return word if word in ID_TYPES else "string"  # varchar(8)


def _word(type: pa.DataType) -> str:
    words = {type: word for word, type in ID_TYPES.items()} | {pa.float32(): "float"}
    return words.get(type, "array<float>")


def column_of(values: FloatArray, shape: tuple[int, ...]) -> pa.Array:
    """(n, *shape) as numbers, or as arrays of numbers."""
    if shape == ():
        return numbers(values)
    width = int(np.prod(shape))
    offsets = np.arange(len(values) + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(numbers(offsets), numbers(np.ascontiguousarray(values).reshape(-1)))
