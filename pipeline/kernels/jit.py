"""The one way a function is compiled, and where compiled code is kept.

Comes in: a plain Python loop over arrays. Goes out: the same loop as machine code, cached on disk, so that a fresh
worker process loads it (10-100 ms) and does not compile it again (seconds). Knows nothing of what the loops compute.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy.typing as npt
import platformdirs

Function = TypeVar("Function", bound=Callable[..., Any])

_decorating = threading.Lock()


def jit(function: Function) -> Function:
    """Compile a kernel at its first call, for the types it is called with.

    Signatures are lazy because Arrow's views are read-only, which is another type to Numba than a writable array.
    `nogil` lets blocks run in threads; NumPy's error model has no branch for division by zero in the inner loop.
    """
    with _decorating:
        chosen = numba.config.CACHE_DIR  # the user's NUMBA_CACHE_DIR, which goes first
        try:
            # Numba looks at this once, while it decorates: setting it for longer would move other libraries' caches.
            numba.config.CACHE_DIR = chosen or str(cache_directory())
            compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
        finally:
            numba.config.CACHE_DIR = chosen
    return compiled


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view, which is another type to Numba: with all inputs of one kind a kernel is compiled once."""
    view = array.view()
    view.flags.writeable = False
    return view


@functools.cache
def cache_directory() -> Path:
    """A directory for compiled and generated code that only this user can write: what is in it is executed.

    The first that can be had of: one inside NUMBA_CACHE_DIR if that is set, the user's own cache directory, one in the
    directory for temporary files, and a new one that is deleted when the process ends.
    """
    for candidate in _candidates():
        if _private(candidate):
            return candidate
    directory = Path(tempfile.mkdtemp(prefix="graphsweep-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def _candidates() -> Iterator[Path]:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / f"graphsweep-{user}"
    yield platformdirs.user_cache_path("graphsweep")
    yield Path(tempfile.gettempdir()) / f"graphsweep-{user}"


def _private(directory: Path) -> bool:
    """Make the directory if need be; whether it is a real one, ours, closed to others, and can be written."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()  # not stat: a link that somebody else planted is not a directory of ours
        if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
            return False
        if stat.S_IMODE(found.st_mode) & 0o077:
            directory.chmod(0o700)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
