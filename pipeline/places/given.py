"""Paths and flags as functions of the library are given them.

Comes in: a text, a Path, True or False, or anything else. Goes out: a text that can be a path or a URI, or an error.
Knows nothing of what is there.
"""

from __future__ import annotations

import os
from typing import Any

from pipeline.errors import SettingError, StorageError, shortened


def path_of(what: str, path: Any) -> str:
    """StorageError unless it is a text or a Path that a file system can have. `what`: for the message."""
    if not isinstance(path, str | os.PathLike) or not isinstance(text := os.fspath(path), str):
        found = (
            shortened(path) if isinstance(path, str | bytes | int | float | list | None) else f"a {type(path).__name__}"
        )
        raise StorageError(f"{what} is {found}; a path is expected: a text or a Path")
    if not text:
        raise StorageError(f"{what} is empty; a path is expected")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StorageError(f"{what} is {shortened(text)}, which is not UTF-8") from None
    if "\0" in text:
        raise StorageError(f"{what} is {shortened(text)}, which holds a null character")
    return text


def check_flags(**given: Any) -> None:
    """SettingError unless each is True or False: "no" and "false" are texts, which Python takes for true."""
    for name, flag in given.items():
        if not isinstance(flag, bool):
            raise SettingError(f"{name} is {shortened(flag)}; accepted: True, False")
