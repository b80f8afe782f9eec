"""What the columns of a model held when it was trained: their names in order, and their ranges.

Comes in: tables, arrays or names that the user gives once, with the model; later the columns and ranges of a graph.
Goes out: records for model.json; a ModelError where the columns are others or in another order; lines about numbers
that lie far outside. Knows nothing of programs or weights.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.ranges import Range, Ranges
from pipeline.errors import ModelError, StorageError, nearest

ROUNDING = 1e-6  # of a number: what float32 and a file of decimals may change


@dataclass(frozen=True)
class Trained:
    """One input of a model, as it was in training."""

    names: tuple[str, ...] | None = None
    """The columns that it was made of, in order. None: not known, as of a column of arrays."""
    ranges: tuple[Range, ...] | None = None
    """Of each number of a row. None: not known."""

    def to_json(self) -> dict[str, Any]:
        return {
            "names": None if self.names is None else list(self.names),
            "ranges": None if self.ranges is None else [list(each) for each in self.ranges],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], lanes: int) -> Trained:
        """ValueError or TypeError if it is not well formed."""
        names, ranges = data["names"], data["ranges"]
        if names is not None and not all(isinstance(name, str) for name in names):
            raise TypeError(f"names of columns are {names!r}")
        found = Trained(
            None if names is None else tuple(names),
            None if ranges is None else tuple(Range(float(a), float(b), bool(c)) for a, b, c in ranges),
        )
        if any(part is not None and len(part) != lanes for part in (found.names, found.ranges)):
            raise ValueError(f"training is of another number of columns than {lanes}")
        return found


Training = Mapping[str, Trained]
"""Table column of a model's input ("nodes.x") → what it was."""


def lines_of_training(training: Training) -> list[str]:
    """A line for each input whose columns in training are known."""
    return [f"trained on {column}: {', '.join(of.names)}" for column, of in training.items() if of.names]


@dataclass(frozen=True)
class TrainingTable:
    """A table on disk, Parquet or CSV, and which of its columns, in order."""

    path: str
    columns: tuple[str, ...] | None = None


def remembered(inputs: Mapping[str, int], arguments: Mapping[str, str], given: Any) -> dict[str, Trained]:
    """What the user says of the training, for the inputs that it tells of.

    Parameters
    ----------
    inputs
        Table column → width.
    arguments
        Other names of inputs, as forward calls them → table column.
    given
        Of the features of the nodes ("nodes.x", or the only input of the nodes): names of columns in order; or a table
        of just these columns (pandas, Arrow, a path of Parquet or CSV); or an array; or name → (smallest, largest). Or
        input → one of these.
    """
    if isinstance(given, Mapping) and not all(map(_is_range, given.values())):
        found = {}
        for key, each in given.items():
            column = arguments.get(key, key)
            if column not in inputs:
                raise ModelError(f"training names {key!r}, which the model does not read; {nearest(key, inputs)}")
            found[column] = _trained(column, inputs[column], each)
        return found
    nodes = [column for column in inputs if column.startswith("nodes")]
    chosen = "nodes.x" if "nodes.x" in nodes else nodes[0] if len(nodes) == 1 else None
    if chosen is None:
        raise ModelError(f"training is of one input, and the model reads {', '.join(inputs)}: training={{INPUT: …}}")
    return {chosen: _trained(chosen, inputs[chosen], given)}


def _is_range(given: Any) -> bool:
    return isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(end, int | float) for end in given)


def _trained(column: str, lanes: int, given: Any) -> Trained:
    names, ranges = _names_and_ranges(column, given)
    count = len(names) if names is not None else len(ranges or ())
    if count != lanes:
        given = f"the columns {', '.join(names)}" if names else f"{count} columns"
        raise ModelError(
            f"training gives {column} {given}: {count}, and the model reads {lanes} numbers there; give just the "
            "columns that it was trained on, in their order"
        )
    return Trained(None if names is None else tuple(names), None if ranges is None else tuple(ranges))


def _names_and_ranges(column: str, given: Any) -> tuple[Sequence[str] | None, Sequence[Range] | None]:
    if isinstance(given, str | os.PathLike):
        given = TrainingTable(os.fspath(given))
    if isinstance(given, TrainingTable):
        return _of_batches(column, *_scan(given))
    if isinstance(given, Mapping):
        return list(given), [Range(float(low), float(high), False) for low, high in given.values()]
    if isinstance(given, tuple | list) and given and all(isinstance(name, str) for name in given):
        return given, None
    if isinstance(given, pa.Table):
        return _of_batches(column, given.column_names, given.to_batches())
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):
        table = pa.Table.from_pandas(given, preserve_index=False)
        return _of_batches(column, table.column_names, table.to_batches())
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray) and given.ndim in (1, 2) and given.dtype.kind in "fiub":
        return None, [_range(given[:, lane]) for lane in range(given.shape[1])] if given.ndim == 2 else [_range(given)]
    raise ModelError(
        f"training gives {column} {type(given).__name__}; names of columns, a pandas or Arrow table, a path of Parquet "
        "or CSV, or an array is expected"
    )


def _scan(table: TrainingTable) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    if not os.path.exists(table.path):
        raise StorageError(f"training table {table.path} does not exist")
    import pyarrow.dataset  # 0.1 s that only an import has to wait for

    format = "csv" if table.path.lower().endswith(".csv") else "parquet"
    try:
        data = pyarrow.dataset.dataset(table.path, format=format)
    except (pa.ArrowException, OSError) as error:
        raise StorageError(f"training table {table.path} cannot be read as {format}: {error}") from None
    names = list(table.columns or data.schema.names)
    for name in names:
        if name not in data.schema.names:
            raise ModelError(f"training table {table.path} has no column {name!r}; {nearest(name, data.schema.names)}")
    return names, data.to_batches(columns=names)


def _of_batches(
    column: str, names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> tuple[Sequence[str] | None, Sequence[Range]]:
    """Names and ranges of a table; of one column of arrays, no names."""
    ranges: list[Range] = []
    arrays = False
    for batch in batches:
        arrays = arrays or (len(names) == 1 and not _is_number(batch.schema.field(0).type))
        found = [_range(lane) for lane in _lanes(column, batch)]
        ranges = [_both(a, b) for a, b in zip(ranges or found, found, strict=True)]
    return (None if arrays else names), ranges


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _lanes(column: str, batch: pa.RecordBatch) -> Iterator[npt.NDArray[Any]]:
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if _is_number(field.type):
            yield array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        elif hasattr(field.type, "value_type") and batch.num_columns == 1 and _is_number(field.type.value_type):
            matrix = np.stack(array.drop_null().to_numpy(zero_copy_only=False)) if len(array) else np.zeros((0, 0))
            yield from matrix.T
        else:
            raise ModelError(
                f"training gives {column} the column {field.name!r}, which is {field.type}; give just the columns of "
                "numbers that the model was trained on"
            )


def _range(numbers: npt.NDArray[Any]) -> Range:
    """As blocks hold them, in float32. What is not finite tells nothing."""
    numbers = numbers.astype(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return Range(math.inf, -math.inf, True)
    return Range(float(numbers.min()), float(numbers.max()), bool((numbers == np.rint(numbers)).all()))


def _both(a: Range, b: Range) -> Range:
    return Range(min(a.low, b.low), max(a.high, b.high), a.whole and b.whole)


# ---- against a graph


def check_names(training: Training, columns: Mapping[str, Any]) -> None:
    """ModelError where an input is made of other columns than in training, or in another order.

    `columns`: what the manifest says of both tables. A column of arrays has no names inside.
    """
    for column, trained in training.items():
        table, _, name = column.rpartition(".")
        given = columns.get(table, {}).get("values", {}).get(name)
        if trained.names is None or given is None or (len(given) == 1 and len(trained.names) > 1):
            continue
        if tuple(given) != trained.names:
            order = sorted(given) == sorted(trained.names)
            what = "in another order than" if order else "others than"
            raise ModelError(
                f"{column} is made of columns that are {what} in training.\n"
                f"now:         {', '.join(given)}\nin training: {', '.join(trained.names)}\n"
                f"give them as in training: {'features' if table == 'nodes' else 'edge_features'}={list(trained.names)}"
            )


def far_outside(training: Training, ranges: Ranges) -> list[str]:
    """A line for each column whose numbers lie beyond those of training by more than these are wide; or are fractions
    where they were whole."""
    lines = []
    for column, trained in training.items():
        held = ranges.get(column, ())
        if trained.ranges is None or len(held) != len(trained.ranges):
            continue
        for lane, (before, now) in enumerate(zip(trained.ranges, held, strict=True)):
            now = Range(*now)
            if before.high < before.low:
                continue
            name = trained.names[lane] if trained.names else str(lane)
            wide = before.high - before.low
            margin = max(wide, ROUNDING * max(abs(before.low), abs(before.high)))
            if now.high > before.high + margin or now.low < before.low - margin:
                held_now, held_before = (f"{each.low:.6g} to {each.high:.6g}" for each in (now, before))
                lines.append(f"{column}, {name}: {held_now}; in training {held_before}")
            elif before.whole and wide > 1 and not now.whole:
                lines.append(f"{column}, {name}: fractions; in training whole numbers")
    return lines


def with_names(before: Training, told: Training) -> dict[str, Trained]:
    """What is told now, with the names that were known before where it has none. ModelError if they are others."""
    found = dict(told)
    for column, now in told.items():
        names = before[column].names if column in before else None
        if names is None or now.names == names:
            continue
        if now.names is not None:
            raise ModelError(
                f"training gives {column} the columns {', '.join(now.names)}; the model reads {', '.join(names)} "
                "there, in this order"
            )
        found[column] = Trained(names, now.ranges)
    return found


def places_of(training: Training, columns: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Of inputs whose columns are known, and that a graph does not hold by their name: the values that hold them. It
    is one value that is made of the same columns, or one value for each column.

    `columns`: what the manifest says of both tables.
    """
    found: dict[str, tuple[str, ...]] = {}
    for column, trained in training.items():
        table, _, name = column.rpartition(".")
        values = columns.get(table, {}).get("values", {})
        if trained.names is None or name in values:
            continue
        same = next((value for value, made in values.items() if tuple(made) == trained.names), None)
        alone = {made[0]: value for value, made in values.items() if len(made) == 1}
        if same is not None:
            found[column] = (f"{table}.{same}",)
        elif all(each in alone for each in trained.names):
            found[column] = tuple(f"{table}.{alone[each]}" for each in trained.names)
    return found


def moved(training: Training, places: Mapping[str, Sequence[str]]) -> dict[str, Trained]:
    """The same records for the values that hold the columns now."""
    found: dict[str, Trained] = {}
    for column, trained in training.items():
        places_now = places.get(column, (column,))
        if len(places_now) == 1:
            found[places_now[0]] = trained
            continue
        for lane, place in enumerate(places_now):
            names = trained.names[lane : lane + 1] if trained.names else None
            found[place] = Trained(names, trained.ranges[lane : lane + 1] if trained.ranges else None)
    return found
