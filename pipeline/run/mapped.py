"""A file of named arrays that is written at once and mapped by whoever reads it.

Comes in: arrays by name. Goes out: the same arrays, views of the mapped file; only pages that are looked at are read.
Of a file in an object store, ranges are (ranges.py). Knows nothing of what the arrays are. The layout is that of
safetensors, so that other programs can look into one, but its own reader copies every array.

    8 bytes      length of the header, little-endian
    header       JSON: name → {"dtype", "shape", "data_offsets": [start, end] from the end of the header}
    arrays       one after the other, those of 8 bytes an item first, so that all of them are aligned; the last one is
                 the CRC-32 of all before it, if somebody wants to check the file later
"""

from __future__ import annotations

import json
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.storage import reached
from pipeline.errors import StorageError, unwritable

Arrays = Mapping[str, npt.NDArray[Any]]
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<Q")
MOST_HEADER = 1 << 28  # bytes


CHECKSUM = "checksum"  # (1,) int64
_CHECKED = 8  # bytes of it, at the end of the file


class Written(NamedTuple):
    """What a file is known by."""

    bytes: int
    checksum: int
    """CRC-32 of all that is before it; 0 if nobody wants it."""


def write_arrays(path: str, arrays: Arrays, checksum: bool = False) -> Written:
    """Writes a file, which appears whole or not at all; of two attempts at the same time, each writes the same.

    `checksum` takes 0.7 s for a gigabyte. StorageError if the disk is full, or the directory cannot be written.
    """
    chosen = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    placed = [*chosen, (CHECKSUM, np.zeros(1, np.int64))] if checksum else chosen
    header, at = {}, 0
    for name, array in placed:
        if name == CHECKSUM:
            at += -at % _CHECKED
        header[name] = {
            "dtype": _NAMES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pieces: list[Any] = [_LENGTH.pack(len(text)), text, *(_flat(array) for _, array in chosen)]
    pieces.append(bytes(-sum(map(len, pieces)) % _CHECKED if checksum else 0))
    found = 0
    with _appearing(path) as write:
        for piece in pieces:
            write(memoryview(piece))
            if checksum:
                found = zlib.crc32(piece, found)
        if checksum:
            write(memoryview(struct.pack("<q", found)))
    return Written(sum(map(len, pieces)) + (_CHECKED if checksum else 0), found)


@contextmanager
def _appearing(path: str) -> Iterator[Callable[[memoryview], None]]:
    """How pieces are written of a file that is there when all of them are."""
    place = reached(path)
    try:
        if place.is_local:
            temporary = f"{place.path}-{uuid.uuid4().hex}"
            try:
                with open(temporary, "wb", buffering=0) as file:
                    yield partial(_write_all, file)
                os.replace(temporary, place.path)
            except BaseException:
                with suppress(OSError):
                    os.remove(temporary)
                raise
        else:
            # It is there when its stream is closed. Of an upload that has failed there is nothing to remove, and by
            # that name there may be what another attempt has written.
            with place.filesystem.open_output_stream(place.path, compression=None) as stream:
                yield stream.write
    except OSError as error:
        raise unwritable(os.path.dirname(path), error) from error


def read_arrays(path: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, read-only. It stays mapped for as long as one of them lives, and is not open meanwhile: a
    process may map 65,530 files, but often has no more than 1,024 open.

    StorageError if the file is not there, or not whole.
    """
    try:
        with pa.memory_map(path) as file:
            whole = memoryview(file.read_buffer())
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path}: cannot be read: {error}") from error
    try:
        return _arrays(whole)
    except (*DAMAGED, struct.error) as error:
        raise StorageError(f"{path}: is damaged: {error}") from None


def check_file(path: str) -> Written | None:
    """What a file with a checksum is known by; None if it is not there, or not what was written."""
    place = reached(path)
    try:
        found = 0
        with place.filesystem.open_input_file(place.path) as file:
            left = size = file.size()
            head = file.read_at(_LENGTH.size + _header_bytes(file.read_at(_LENGTH.size, 0), size), 0)
            if CHECKSUM not in places_of(head, size):
                return None
            file.seek(0)
            while left > _CHECKED and (piece := file.read(min(1 << 22, left - _CHECKED))):
                found, left = zlib.crc32(piece, found), left - len(piece)
            (wanted,) = struct.unpack("<q", file.read(_CHECKED))
    except (StorageError, OSError, pa.ArrowException, struct.error, *DAMAGED):
        return None
    return Written(size, found) if found == wanted else None


class Placed(NamedTuple):
    """Where an array lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int
    last: int
    """Bytes from the start of the file."""


DAMAGED = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
"""What it comes to when a header is none."""


def _header_bytes(start: bytes | memoryview, size: int) -> int:
    """The length of the header of a file of `size` bytes, by its beginning."""
    (length,) = _LENGTH.unpack_from(start)
    if length > MOST_HEADER or _LENGTH.size + length > size:
        raise ValueError("its header is longer than the file")
    return int(length)


def places_of(head: bytes | memoryview, size: int) -> dict[str, Placed]:
    """Name → where the array is, by the first bytes of a file, which hold its header. ValueError if that is damaged."""
    start = _LENGTH.size + _header_bytes(head, size)
    header = json.loads(bytes(head[_LENGTH.size : start]).decode())
    found: dict[str, Placed] = {}
    last = start
    for name, entry in header.items():
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        first, last = (start + offset for offset in entry["data_offsets"])
        count = int(np.prod(shape, dtype=np.int64))
        if last > size or last - first != count * dtype.itemsize or min(shape, default=0) < 0:
            raise ValueError(f"{name} does not lie within it")
        found[name] = Placed(dtype, shape, first, last)
    if last != size:
        raise ValueError("it has another length than its header says")
    return found


def _arrays(whole: memoryview) -> dict[str, npt.NDArray[Any]]:
    return {
        name: np.frombuffer(whole, at.dtype, int(np.prod(at.shape, dtype=np.int64)), at.first).reshape(at.shape)
        for name, at in places_of(whole, len(whole)).items()
    }


def _flat(array: npt.NDArray[Any]) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _write_all(file: Any, piece: memoryview) -> None:
    """Linux writes no more than 2 GB at a time."""
    while len(piece):
        piece = piece[file.write(piece) :]
