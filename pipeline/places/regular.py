"""Small files of this machine, read whole: settings, the description of a model, the tables of a typed graph.

Comes in: a path, and how large the file may be. Goes out: its bytes. A pipe that nobody writes to, or a device, would
never end; a file of many gigabytes is no description of anything. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import Any

from pipeline.errors import SettingError, StorageError, shortened

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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


def read_toml(path: str | os.PathLike[str], most: int) -> dict[str, Any]:
    """A TOML file. SettingError if it cannot be read, or is none; StorageError as of `check_regular`."""
    try:
        content = read_regular(path, most)
        return tomllib.loads(content.decode("utf-8").replace("\r\n", "\n"))
    except StorageError:
        raise
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{path}: is not TOML: it is {_kind(content)}") from error
    except (ValueError, RecursionError) as error:  # also of text that is not UTF-8, and of a path with a null
        raise SettingError(f"{path}: is not TOML: {shortened(str(error), 200)}") from error


def _kind(content: bytes) -> str:
    """What a file is that is no text."""
    return next((kind for start, kind in KINDS.items() if content.startswith(start)), "a binary file")


KINDS = {
    b"PAR1": "a Parquet file",
    b"PK": "a ZIP archive, such as torch.save and NumPy write",
    b"\x80": "a pickle of Python",
    b"\x1f\x8b": "compressed by gzip",
    b"\xff\xfe": "text in UTF-16, and UTF-8 is expected",
}
"""How a file begins → what it is."""


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
