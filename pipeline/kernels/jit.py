"""The one way a function is compiled, and where compiled code is kept.

Comes in: a plain Python loop over arrays. Goes out: the same loop as machine code, cached on disk, so that a fresh
worker process loads it (10-100 ms) and does not compile it again (seconds). Numba keeps it under the path and the time
stamp of the file that a loop stands in; here that is a copy named by the hash of its text, so that another checkout and
another environment load it too. Knows nothing of what the loops compute.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
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
    if not numba.config.DISABLE_JIT:  # then it is run as it stands, and coverage wants its own file
        kept = _kept_source(function.__code__.co_filename, function.__globals__.get("__loader__"))
        function.__code__ = function.__code__.replace(co_filename=str(kept))
    with _decorating:
        chosen = numba.config.CACHE_DIR  # the user's NUMBA_CACHE_DIR, which goes first
        try:
            # Numba looks at this once, while it decorates: setting it for longer would move other libraries' caches.
            numba.config.CACHE_DIR = chosen or str(cache_directory())
            compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
        finally:
            numba.config.CACHE_DIR = chosen
    return compiled


@functools.cache
def _kept_source(path: str, loader: Any = None) -> Path:
    """The copy of a source file. A function that is compiled may call others of its own file, and of no other.

    `loader` has read it: of a zip file, which `spark-submit --py-files` puts on the path, it alone can read it again.
    """
    file = Path(path)
    if file.parent.parent == cache_directory():  # it is one
        return file
    try:
        text = file.read_bytes() if file.is_file() else loader.get_data(path)
    except (OSError, AttributeError):  # nobody reads it: where Numba keeps what is compiled then is its own business
        return file
    return keep("kernels", f"{file.stem}_{hashlib.sha256(text).hexdigest()}.py", text)


def keep(folder: str, name: str, text: bytes) -> Path:
    """A source file in the cache; it is written if it is not there already, as it should be."""
    directory = cache_directory() / folder
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / name
    with contextlib.suppress(OSError):
        if not path.is_symlink() and path.read_bytes() == text:
            return path
    handle, temporary = tempfile.mkstemp(dir=directory)
    with os.fdopen(handle, "wb") as file:
        file.write(text)
    os.replace(temporary, path)
    return path


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


def is_kept(directory: Path) -> bool:
    """Whether what is in the cache directory stays there when the process ends."""
    return directory in _candidates()


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
