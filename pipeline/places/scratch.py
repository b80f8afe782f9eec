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
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import unwritable
from pipeline.places.directories import make_directories, remove_empty, remove_tree
from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import MARKER, read_marker, write_marker
from pipeline.places.owner import is_alive, this_process
from pipeline.places.place import Place, refuse_unreachable

KIND = "scratch of a run"
RENEWED = 600.0  # seconds from one renewal to the next
FORGOTTEN = 86_400.0  # seconds without one after which the owner, on another machine, counts as dead
_NAME = re.compile(r"graphsweep-[0-9a-f]{32}")


@contextmanager
def scratch_directory(base: str | None = None) -> Iterator[str]:
    """A new directory in `base`, which is made; None: where this machine keeps temporary files, for this user only.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    above = Place.of(tempfile.gettempdir() if base is None else base)
    found = opened(above)
    if found is None:
        raise refuse_unreachable(above)
    mine = found._replace(path=f"{found.path.rstrip('/')}/graphsweep-{uuid.uuid4().hex}")
    process, made, ended = os.getpid(), [], threading.Event()
    try:
        try:
            made += make_directories(found)
            if base is None:
                os.mkdir(mine.path, 0o700)
            make_directories(mine)
            write_marker(mine, KIND, this_process())
        except OSError as error:
            raise unwritable(str(above), error) from error
        _sweep(found, mine)
        threading.Thread(target=_renew, args=(mine, ended), name="scratch", daemon=True).start()
        yield f"{above.uri.rstrip('/')}/{mine.path.rpartition('/')[2]}"
    finally:
        ended.set()
        if os.getpid() == process:  # a child that was forked ends with the same words
            with suppress(OSError, pa.ArrowException):
                remove_tree(mine, last=MARKER)
            remove_empty(found, made)


def _renew(mine: Opened, ended: threading.Event) -> None:
    while not ended.wait(RENEWED):
        with suppress(OSError, pa.ArrowException):
            write_marker(mine, KIND, this_process())


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
    alive = is_alive(marker)
    return now - _renewed(other) > FORGOTTEN if alive is None else not alive


def _renewed(directory: Opened) -> float:
    info = directory.filesystem.get_file_info(f"{directory.path}/{MARKER}")
    return info.mtime.timestamp() if info.mtime else float("inf")
