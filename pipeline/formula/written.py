"""A model's directory, written: whole, or not at all; and what must not be overwritten by it.

Comes in: a path, what model.json is to say, and weights. Goes out: a directory that `saved.py` reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as fs
import pyarrow.parquet as pq
import safetensors.numpy
from safetensors import SafetensorError

from pipeline.errors import ModelError, StorageError, unwritable
from pipeline.formula.node_rows import NodeRows, sum_of
from pipeline.formula.saved import PROGRAM_FILE, WEIGHTS_FILE, rows_files
from pipeline.places.contents import is_model, owned_files
from pipeline.places.filesystem import Opened, opened
from pipeline.places.given import path_of
from pipeline.places.marker import MODEL, read_marker
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.staging import followed, refuse_taken, staged
from pipeline.schema import ID

FILES = (PROGRAM_FILE, WEIGHTS_FILE)


def write_saved(
    path: str | os.PathLike[str],
    told: Mapping[str, Any],
    weights: Mapping[str, npt.NDArray[Any]],
    fingerprint: str,
    overwrite: bool = False,
    node_rows: Mapping[str, NodeRows] | None = None,
) -> None:
    """StorageError if `path` exists; `overwrite` replaces a saved model, and nothing else. `node_rows`: learned rows of
    nodes, by type."""
    rows = node_rows or {}
    place, here = on_disk(path)
    versions = versions_here()
    with staged(place, here, partial(_saved_files, place), overwrite) as staging:
        directory = Path(staging.opened.path)
        try:
            text = json.dumps({**told, "versions": versions}, indent=1)
            (directory / PROGRAM_FILE).write_text(text + "\n", encoding="utf-8")
            safetensors.numpy.save_file(dict(weights), directory / WEIGHTS_FILE)
            for type, file in rows_files(rows).items():
                _write_rows(directory / file, rows[type])
            # safetensors lets nobody else read its files, whatever the user's umask says
            (directory / WEIGHTS_FILE).chmod((directory / PROGRAM_FILE).stat().st_mode)
        except SafetensorError as error:
            raise StorageError(f"{place}: cannot be written: {error}") from error
        except (OSError, pa.ArrowException) as error:
            raise unwritable(str(place), error) from error
        names = (*FILES, *rows_files(rows).values())
        files = [{"name": name, "bytes": (directory / name).stat().st_size} for name in names]
        of = {"model": fingerprint, "weights": _sum_of(weights)}
        of |= {"node_rows": sum_of(rows)} if rows else {}
        staging.publish(MODEL, {"files": files, **of, "versions": versions})


def _write_rows(path: Path, rows: NodeRows) -> None:
    """A row for each node: its id, and a list of numbers for each column."""
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
        for name, array in rows.columns.items()
    }
    pq.write_table(pa.table({ID: rows.ids, **columns}), path)


def check_unchanged(
    directory: str, weights: Mapping[str, npt.NDArray[Any]], node_rows: Mapping[str, NodeRows] | None = None
) -> None:
    """ModelError if these are not the weights that were saved there: a bit that a disk has changed is seen."""
    marker = read_marker(Opened(fs.LocalFileSystem(), os.path.abspath(directory)))
    if marker is None or marker["kind"] != MODEL or "weights" not in marker:
        return
    if marker["weights"] != _sum_of(weights):
        raise ModelError(
            f"{directory}/{WEIGHTS_FILE} is damaged, or was changed: its numbers are not those that were saved; "
            "export the model again"
        )
    if node_rows and marker.get("node_rows") != sum_of(node_rows):
        raise ModelError(
            f"{directory}: the learned rows of its nodes are damaged, or were changed: they are not those that were "
            "saved; export the model again"
        )


def add_weights(digest: Any, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Names, shapes and bytes, into one of hashlib's."""
    for name, array in sorted(weights.items()):
        digest.update(canonical([name, list(array.shape)]))
        digest.update(array.tobytes())


def canonical(item: Any) -> bytes:
    """The same bytes for the same JSON."""
    return json.dumps(item, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sum_of(weights: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    add_weights(digest, weights)
    return digest.hexdigest()


def refuse_to_save(
    path: str | os.PathLike[str], overwrite: bool, read: Mapping[str, str | os.PathLike[str] | None]
) -> None:
    """What `save` would refuse, before anything is done; and a SettingError for a path that is, holds or lies in
    something that was read: in words → where."""
    place, here = on_disk(path)
    refuse_overlap(place, {what: Place.of(file) for what, file in read.items() if file is not None})
    for what, file in read.items():
        if file is not None and not os.path.isfile(file):
            raise StorageError(f"{what} {file} {'is not a file' if os.path.exists(file) else 'does not exist'}")
    refuse_taken(place, followed(here), partial(_saved_files, place), overwrite)


def on_disk(path: str | os.PathLike[str]) -> tuple[Place, Opened]:
    place = Place.of(path_of("the path of a model", path))
    here = opened(place) if place.is_local else None
    if here is None:
        raise StorageError(f"{place}: models lie on disks of this machine; give a path without {place.scheme}:")
    return place, here


def _saved_files(place: Place, here: Opened) -> list[str]:
    return owned_files(place, here, MODEL, _without_marker)


def _without_marker(here: Opened) -> dict[str, int | None] | None:
    """The files of a model that a version without markers saved."""
    file = Path(here.path) / PROGRAM_FILE
    try:
        return dict.fromkeys(FILES) if file.is_file() and is_model(file.read_text(encoding="utf-8")) else None
    except (OSError, UnicodeDecodeError):
        return None


def versions_here() -> dict[str, str]:
    found = {}
    for package in ("graphsweep", "numpy", "torch", "torch_geometric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # torch need not be there; graphsweep may run from its sources
            continue
    return found
