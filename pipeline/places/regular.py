"""Small files of this machine, read whole: settings, the description of a model.

Comes in: a path, and how large the file may be. Goes out: its bytes. A pipe that nobody writes to, or a device, would
never end; a file of many gigabytes is no description of anything. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from pipeline.errors import StorageError


def check_regular(path: str | os.PathLike[str], most: int) -> int:
    """The size of a file. StorageError if it is no plain file, or larger than `most` bytes; OSError as of `open`."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a pipe, a socket or a device"
        raise StorageError(f"{path} is {kind}; a file is expected")
    if found.st_size > most:
        raise StorageError(f"{path} has {found.st_size:,} bytes; at most {most:,} are expected")
    return found.st_size


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a plain file of at most `most` bytes; errors as those of `check_regular`."""
    check_regular(path, most)
    with open(path, "rb") as file:
        return file.read(most)


def parse_json(content: bytes) -> Any:
    """Plain data; ValueError, with what is wrong, for anything that JSON's own rules do not allow, and for a key that
    is there twice: two readers could take different ones."""
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:60]!r} is there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
