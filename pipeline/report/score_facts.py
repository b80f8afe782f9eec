"""What numbers a result holds: how each column of scores is distributed, which class is the most frequent.

Comes in: the place of a result that is whole, its marker. Goes out: facts with keys that stay. Reads the files as they
are, a batch at a time, in the order of their names; so the same result has the same facts. Knows nothing of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pipeline.places.filesystem import Opened, opened
from pipeline.places.place import Place
from pipeline.report.sketch import Histogram, Sketch
from pipeline.result.counted import BLOCK_BYTES
from pipeline.result.destination import find_manifest
from pipeline.result.flat import lanes_of
from pipeline.result.manifest import tables_by_type
from pipeline.result.output import PREDICTED
from pipeline.result.written import CSV
from pipeline.schema import NODE

SHOWN = 24
"""Columns of numbers of a table whose distribution is told. A page of a thousand plots is not read."""
CLASSES = (2, 1000)
"""Numbers in a row that may be one for each class."""
MOST_NUMBERS = 1 << 27
"""That are read of a table. Of a larger one every k-th file: blocks are made by a hash of the ids, and so any of them
is a fair part of the nodes."""
BATCH_ROWS = 1 << 16

Facts = dict[str, Any]
Batch = Mapping[str, npt.NDArray[np.float32]]
"""Column → (n, width) float32."""


class Column(NamedTuple):
    """A column of a result."""

    name: str
    width: int
    is_array: bool


def score_facts(place: Place) -> Facts:
    """Type → what its table holds, under "tables"; or under "not_available" why nobody can tell."""
    here = opened(place)
    if here is None:
        return _unknown("the scores are where Spark alone reaches")
    try:
        marker = find_manifest(place, None)
        if marker is None:
            return _unknown("the scores have no marker of a whole result")
        return {"not_available": None, "tables": {of.type: _facts(here, of) for of in _tables(marker)}}
    except (OSError, pa.ArrowException) as error:
        return _unknown(f"the scores cannot be read from here: {error}")


def _unknown(why: str) -> Facts:
    return {"not_available": why, "tables": {}}


class _Table(NamedTuple):
    type: str
    files: Sequence[tuple[str, int]]
    """Name and rows, in the order of the names."""
    columns: Sequence[Column]
    classified: bool
    classes: Mapping[str, Sequence[str]]
    """Output → the names of its classes, if it has labels."""
    format: str


def _tables(marker: Mapping[str, Any]) -> Iterator[_Table]:
    format = marker["settings"]["format"]
    files = sorted((file["name"], int(file["rows"])) for file in marker["files"])
    types = tables_by_type(marker)
    if types is None:
        types = {NODE: {"folder": "", "columns": marker["columns"], "keys": marker["keys"]}}
    for type, of in types.items():
        folder = f"{of['folder']}/" if of["folder"] else ""
        columns = [
            Column(column["name"], int(column.get("width", 1)), "width" in column)
            for column in of["columns"]
            if column["name"] not in (*of["keys"], PREDICTED) and "classes" not in column
        ]
        named = {column["of"]: column["classes"] for column in of["columns"] if "classes" in column}
        classified = any(column["name"] == PREDICTED for column in of["columns"])
        own = [file for file in files if file[0].startswith(folder)]
        yield _Table(str(type), own, columns, classified, named, format)


def _facts(here: Opened, table: _Table) -> Facts:
    rows = sum(rows for _, rows in table.files)
    width = sum(column.width for column in table.columns)
    step = max(1, -(-rows * width // MOST_NUMBERS))
    read = table.files[::step]
    shown = [(column.name, lane) for column in table.columns for lane in range(column.width)][:SHOWN]
    sketches = {each: Sketch() for each in shown}
    nan = infinite = 0
    classes = _Classes.of(table)
    for part in _parts(here, table, read):
        for numbers in part.values():
            nan += int(np.isnan(numbers).sum())
            infinite += int(np.isinf(numbers).sum())
        for (name, lane), sketch in sketches.items():
            sketch.add(part[name][:, lane])
        for each in classes:
            each.add(part[each.column])
    histograms = {each: Histogram(*sketch.range()) for each, sketch in sketches.items() if sketch.finite}
    for part in _parts(here, table, read) if histograms else ():
        for (name, lane), histogram in histograms.items():
            histogram.add(part[name][:, lane])
    arrays = {column.name for column in table.columns if column.is_array}
    return {
        "rows": rows,
        "rows_read": sum(rows for _, rows in read),
        "columns": width,
        "columns_shown": len(shown),
        "nan": nan,
        "infinite": infinite,
        "distributions": [
            _distribution(f"{name}[{lane}]" if name in arrays else name, sketches[name, lane])
            | _bars(histograms.get((name, lane)))
            for name, lane in shown
        ],
        "classes": [each.facts for each in classes],
    }


def _distribution(name: str, sketch: Sketch) -> Facts:
    low, median, high = sketch.quantiles((0.01, 0.5, 0.99)) or (None, None, None)
    return {
        "name": name,
        "nan": sketch.nan,
        "infinite": sketch.infinite,
        "least": sketch.least if sketch.finite else None,
        "percentile_1": low,
        "median": median,
        "mean": sketch.mean,
        "percentile_99": high,
        "largest": sketch.largest if sketch.finite else None,
    }


def _bars(histogram: Histogram | None) -> Facts:
    if histogram is None:
        return {"bars": None}
    return {
        "bars": {
            "from": histogram.low,
            "to": histogram.high,
            "counts": [int(count) for count in histogram.counts],
            "below": histogram.below,
            "above": histogram.above,
        }
    }


class _Classes:
    """Of each row the position of its largest number: the predicted class, where the output is one number for each."""

    def __init__(self, column: Column, sure: bool, names: Sequence[str] | None) -> None:
        self.column, self._sure, self._names = column.name, sure, names
        self._counts = np.zeros(column.width, np.int64)
        self._without = 0

    @staticmethod
    def of(table: _Table) -> list[_Classes]:
        """Of the outputs whose classes have names; and of the first, if it is as wide as one that may have classes."""
        found = []
        for at, column in enumerate(table.columns):
            names = table.classes.get(column.name)
            if names is not None or (at == 0 and CLASSES[0] <= column.width <= CLASSES[1]):
                found.append(_Classes(column, names is not None or (at == 0 and table.classified), names))
        return found

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        whole = rows[~np.isnan(rows).any(axis=1)]
        self._without += len(rows) - len(whole)
        if len(whole):
            self._counts += np.bincount(whole.argmax(axis=1), minlength=len(self._counts))

    @property
    def facts(self) -> Facts:
        return {
            "output": self.column,
            "names": None if self._names is None else [*self._names],
            "asked_for": self._sure,
            "counts": [int(count) for count in self._counts],
            "rows_with_nan": self._without,
        }


def _parts(here: Opened, table: _Table, files: Sequence[tuple[str, int]]) -> Iterator[Batch]:
    for name, rows in files:
        if not rows:
            continue  # a file of no rows, which of CSV may have no header
        at = here.child(name)
        yield from _csv(at, table.columns) if table.format == CSV else _parquet(at, table.columns)


def _parquet(file: Opened, columns: Sequence[Column]) -> Iterator[Batch]:
    with file.filesystem.open_input_file(file.path) as stream:
        reader = pq.ParquetFile(stream)
        widest = max(column.width for column in columns)
        rows = max(1, BATCH_ROWS // max(1, widest // 32))
        for batch in reader.iter_batches(batch_size=rows, columns=[column.name for column in columns]):
            yield {column.name: _numbers(batch.column(column.name), column) for column in columns}


def _numbers(array: pa.Array, column: Column) -> npt.NDArray[np.float32]:
    flat = array.flatten() if column.is_array else array
    numbers: npt.NDArray[np.float32] = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return numbers.reshape(len(array), column.width)


def _csv(file: Opened, columns: Sequence[Column]) -> Iterator[Batch]:
    names = {
        column.name: lanes_of(column.name, column.width) if column.is_array else [column.name] for column in columns
    }
    wanted = {lane: pa.float32() for lanes in names.values() for lane in lanes}
    convert = csv.ConvertOptions(include_columns=list(wanted), column_types=wanted)
    read, parse = csv.ReadOptions(block_size=BLOCK_BYTES), csv.ParseOptions(newlines_in_values=True)
    with file.filesystem.open_input_stream(file.path, compression=None) as stream:
        for batch in csv.open_csv(stream, read, parse, convert):
            yield {
                name: np.stack([_numbers(batch.column(lane), Column(lane, 1, False))[:, 0] for lane in lanes], axis=1)
                for name, lanes in names.items()
            }
