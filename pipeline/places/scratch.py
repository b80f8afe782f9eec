"""A directory for a while, which is gone when its owner has ended, however it has ended.

Comes in: where such directories may be made. Goes out: the path of a new one. What runs left that were killed is swept
when the next directory is made beside it: only what carries our marker, is the same user's, and whose owner is dead. A
process of another machine is taken for dead when it has not renewed its marker for a day. Knows nothing of what is put
there.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import uuid
from contextlib import suppress
from types import TracebackType

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import unwritable
from pipeline.places.directories import make_directories, remove_empty, remove_tree
from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import MARKER, read_marker, write_marker
from pipeline.places.owner import is_alive, is_here, process_facts
from pipeline.places.place import Place, refuse_unreachable

KIND = "scratch"
RENEWED = 600.0  # seconds from one renewal to the next
FORGOTTEN = 86_400.0  # seconds without one after which the owner, on another machine, counts as dead
_NAME = re.compile(r"graphsweep-[0-9a-f]{32}")


class Scratch:
    """`with Scratch(settings.scratch) as scratch: … scratch.make()`; until `make` is called, nothing is written."""

    def __init__(self, base: str | None) -> None:
        """`base`: the directory that it is made in; None: where this machine keeps temporary files, for this user."""
        self._base = base
        self._process = os.getpid()
        self._ended = threading.Event()
        self._mine: Opened | None = None
        self._made: list[str] = []
        self._path = ""

    def make(self) -> str:
        """The directory, as a path or a URI; it is made by the first call. StorageError if it cannot be."""
        if self._mine is not None:
            return self._path
        above = Place.of(tempfile.gettempdir() if self._base is None else self._base)
        found = opened(above)
        if found is None:
            raise refuse_unreachable(above)
        self._ended = threading.Event()
        name = f"graphsweep-{uuid.uuid4().hex}"
        self._mine, self._path = found._replace(path=f"{found.path.rstrip('/')}/{name}"), above.child(name).uri
        try:
            self._made = make_directories(found)
            if self._base is None:
                os.mkdir(self._mine.path, 0o700)
            self._made += make_directories(self._mine)
            write_marker(self._mine, KIND, process_facts())
        except (OSError, pa.ArrowException) as error:
            self.discard()
            raise unwritable(str(above), error) from error
        _sweep(found, self._mine)
        threading.Thread(target=_renew, args=(self._mine, self._ended), name="scratch", daemon=True).start()
        return self._path

    def discard(self) -> None:
        """Removes it, with directories above that were made for it."""
        self._ended.set()
        if self._mine is not None and os.getpid() == self._process:  # a child that was forked has the same exits
            with suppress(OSError, pa.ArrowException):
                remove_tree(self._mine, last=MARKER)
            remove_empty(self._mine, self._made)
            self._mine = None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def _renew(mine: Opened, ended: threading.Event) -> None:
    while not ended.wait(RENEWED):
        with suppress(OSError, pa.ArrowException):
            write_marker(mine, KIND, process_facts())


def _sweep(found: Opened, mine: Opened) -> None:
    """It is about disk space only: whatever goes wrong here is nobody's trouble."""
    with suppress(OSError, pa.ArrowException):
        now = _renewed(mine)  # by the clock of the file system, which all who share it have in common
        for info in found.filesystem.get_file_info(fs.FileSelector(found.path)):
            other = found._replace(path=info.path)
            if info.type == fs.FileType.Directory and _NAME.fullmatch(info.base_name) and other != mine:
                with suppress(OSError, pa.ArrowException):
                    if _is_left(other, now):
                        remove_tree(other, last=MARKER)


def _is_left(other: Opened, now: float) -> bool:
    if other.is_local and (os.path.islink(other.path) or os.stat(other.path).st_uid != os.geteuid()):
        return False
    marker = read_marker(other)
    if marker is None or marker["kind"] != KIND:
        return False
    return not is_alive(marker) if is_here(marker) else now - _renewed(other) > FORGOTTEN


def _renewed(directory: Opened) -> float:
    info = directory.filesystem.get_file_info(f"{directory.path}/{MARKER}")
    return info.mtime.timestamp() if info.mtime else float("inf")
