"""A saved model, read: `model.json`, the program and what it reads, and `weights.safetensors`. Data, never code.

Comes in: a directory, from anybody. Goes out: the parts of a model, each known to be well formed; whether they fit each
other is for pipeline.model to say. Nothing is allocated or read because a file says so: sizes are looked at first.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy
from safetensors import SafetensorError

from pipeline.errors import FormulaError, ModelError, StorageError, reason_of, shortened
from pipeline.formula.attributes import check_name
from pipeline.formula.node_rows import NodeRows
from pipeline.formula.program import Program, input_name
from pipeline.places.contents import OURS, describe
from pipeline.places.filesystem import opened
from pipeline.places.given import path_of
from pipeline.places.place import Place
from pipeline.places.regular import check_regular, parse_json, read_regular
from pipeline.schema import ID

FORMAT = 1  # of model.json; raised when an older version could misread a newer file
PROGRAM_FILE = "model.json"
MOST_ID = 4096  # bytes of an id, on average
ROWS_FILE = re.compile(r"node_rows-\d+\.parquet")
WEIGHTS_FILE = "weights.safetensors"

MOST_JSON = 64 << 20  # bytes of model.json: a program of 1,000 operations takes some 100 KB
MOST_HEADER = 64 << 20  # bytes of names and shapes before the weights; safetensors has a limit of 100 MB of its own


class Saved(NamedTuple):
    """The parts of a model, as they were saved."""

    program: Program
    weights: dict[str, npt.NDArray[Any]]
    columns: dict[str, str]
    origin: str
    about: Any
    """What the file tells of where the model comes from, as it stands there; None if it tells nothing."""
    training: dict[str, Any]
    """The same of its columns in training."""
    classes: dict[str, Any]
    """The same of the names of classes."""
    node_rows: dict[str, NodeRows]
    """Node type → its learned rows."""


def read_saved(path: str | os.PathLike[str]) -> Saved:
    """Reads a model's directory; StorageError if it cannot be read, ModelError if it is not a model of ours."""
    directory = Path(path_of("the path of a model", path))
    try:
        there = os.path.isdir(directory)
    except ValueError:  # a null character
        there = False
    if not there:
        found = "is not a directory" if os.path.lexists(directory) else "does not exist"
        raise StorageError(f"{directory} {found}; a model is a directory of {PROGRAM_FILE} and {WEIGHTS_FILE}")
    data = _read_json(directory / PROGRAM_FILE)
    program, columns, origin = _read_program(directory / PROGRAM_FILE, data)
    weights = _read_weights(directory / WEIGHTS_FILE, program)
    told = data.get("training", {}), data.get("classes", {})
    return Saved(program, weights, columns, origin, data.get("about"), *told, _read_rows(directory, data))


def rows_files(rows: Mapping[str, NodeRows]) -> dict[str, str]:
    """Node type → the file of its learned rows."""
    return {type: f"node_rows-{at}.parquet" for at, type in enumerate(rows)}


def told_of(rows: Mapping[str, NodeRows]) -> dict[str, Any]:
    """What model.json says of learned rows: node type → file, columns and widths."""
    return {
        type: {"file": file, "rows": len(rows[type]), "columns": {n: a.shape[1] for n, a in rows[type].columns.items()}}
        for type, file in rows_files(rows).items()
    }


def _read_rows(directory: Path, data: dict[str, Any]) -> dict[str, NodeRows]:
    """Learned rows of nodes. A file is looked at by its name and its size before it is read."""
    found = {}
    try:
        told = {
            str(type): (str(of["file"]), int(of["rows"]), {str(n): int(w) for n, w in of["columns"].items()})
            for type, of in data.get("node_rows", {}).items()
        }
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{directory}/{PROGRAM_FILE} is not well formed: {shortened(error, 500)}") from None
    for type, (file, count, columns) in told.items():
        path = directory / file
        if not ROWS_FILE.fullmatch(file):
            raise ModelError(f"{directory}/{PROGRAM_FILE} is not well formed: {shortened(file)} holds no learned rows")
        try:
            check_regular(path, MOST_HEADER + count * (MOST_ID + 8 * sum(columns.values())))
            with pq.ParquetFile(path) as opened_file:
                if opened_file.metadata.num_rows != count:
                    raise ModelError(
                        f"{path} has {opened_file.metadata.num_rows:,} rows; {PROGRAM_FILE} says {count:,}"
                    )
                table = opened_file.read([ID, *columns])
            arrays = {name: _matrix(table, name, width) for name, width in columns.items()}
            found[type] = NodeRows.of(str(path), table[ID].combine_chunks(), arrays)
        except FileNotFoundError:
            raise ModelError(f"{directory} holds no {file}: the model was not saved whole") from None
        except (pa.ArrowException, ValueError, KeyError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path} cannot be read as learned rows: {shortened(error, 200)}") from None
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"cannot read {path}: {_reason(path, error)}") from error
    return found


def _matrix(table: pa.Table, name: str, width: int) -> npt.NDArray[Any]:
    column = table[name].combine_chunks()
    if column.type != pa.list_(pa.float32(), width) or column.null_count:
        raise ValueError(f"column {name} is {column.type}; lists of {width} float32 are expected")
    return np.asarray(column.flatten().to_numpy()).reshape(len(column), width)


def _read_program(path: Path, data: dict[str, Any]) -> tuple[Program, dict[str, str], str]:
    if data.get("format") != FORMAT:
        raise ModelError(f"{path} has format {shortened(data.get('format'))}; this version reads format {FORMAT}")
    try:
        program = Program.from_json(data["program"])
        columns = {name: _text(f"the column of {name}", entry["column"]) for name, entry in data["inputs"].items()}
        origin = _text("the origin", data.get("origin", "file"))
        declared = {name: tuple(entry["shape"]) for name, entry in data["inputs"].items()}
        widths = {name: entry["width"] for name, entry in data["outputs"].items()}
    except (ModelError, FormulaError) as error:
        raise ModelError(f"{path}: {error}") from None
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is not well formed: {shortened(error, 500)}") from None
    read = {input_name(column): column.shape for column in program.inputs}
    given = {name: value.width for name, value in program.outputs.items()}
    if (declared, widths) != (read, given):
        raise ModelError(
            f"{path} contradicts itself: it declares inputs {shortened(declared, 200)} and outputs "
            f"{shortened(widths, 200)}, its program has inputs {shortened(read, 200)} and outputs "
            f"{shortened(given, 200)}"
        )
    return program, columns, origin


def _text(what: str, item: Any) -> str:
    check_name(what, item)
    text: str = item
    return text


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(read_regular(path, MOST_JSON))
    except FileNotFoundError:
        there = opened(Place.of(os.path.abspath(path.parent)))
        found = "" if there is None else describe(there)
        it_is = f"{found}, " if found in OURS else "it is "
        raise ModelError(f"{path.parent} holds no {path.name}: {it_is}not a saved model") from None
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {path}: {_reason(path, error)}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path} is not well formed: an object is expected")
    return data


def _read_weights(path: Path, program: Program) -> dict[str, npt.NDArray[Any]]:
    numbers = sum(math.prod(shape) for shape in program.weights.values())
    try:
        check_regular(path, MOST_HEADER + 8 * numbers)  # twice float32: told of another type by name
        with open(path, "rb"):  # safetensors says of a file that it may not read that there is none
            pass
        arrays: dict[str, npt.NDArray[Any]] = safetensors.numpy.load_file(path)
    except FileNotFoundError:
        raise ModelError(f"{path.parent} holds no {path.name}: the model was not saved whole") from None
    except StorageError:
        raise
    except (OSError, MemoryError) as error:
        raise StorageError(f"cannot read {path}: {_reason(path, error)}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {shortened(error, 200)}") from None
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise ModelError(f"weight {name[:60]} in {path} is {array.dtype}; float32 is expected")
    return arrays


def _reason(path: Path, error: OSError | MemoryError) -> str:
    return "it does not fit in memory" if isinstance(error, MemoryError) else reason_of(path, error)
