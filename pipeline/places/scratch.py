"""A directory for what a process needs for a while: graphs that are prepared on the fly.

Comes in: the directory that the settings name, or none. Goes out: a new one inside of it, which is removed in the end.
What killed processes have left there is removed when the next one needs its own.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from contextlib import suppress
from types import TracebackType

import pyarrow as pa

from pipeline.errors import unwritable
from pipeline.places.directories import list_directory, make_directories, remove_directory, remove_empty
from pipeline.places.filesystem import Opened, opened
from pipeline.places.marker import SCRATCH, read_marker, write_marker
from pipeline.places.owner import is_alive, is_this_machine, process_facts
from pipeline.places.place import Place, refuse_unreachable

# After so many seconds the scratch directory of a process on another machine, of which nothing can be known, is
# nobody's.
FORGOTTEN = 7 * 24 * 3600.0
_NAME = re.compile(r"graphsweep-[0-9a-f]{32}")


class Scratch:
    """`with Scratch(settings.scratch) as scratch: … scratch.make()`; until `make` is called, nothing is written."""

    def __init__(self, base: str | None) -> None:
        self._base = tempfile.gettempdir() if base is None else base
        self._made: tuple[Opened, str] | None = None
        self._parents: list[Opened] = []
        self._process = os.getpid()

    def inside(self, name: str) -> str:
        """Where something in it is going to be, for those who ask before it is made."""
        return Place.of(self._base).child(name).uri

    def make(self) -> str:
        """The directory, as a path or a URI; it is made by the first call.

        StorageError if it cannot be.
        """
        if self._made is None:
            base = Place.of(self._base)
            place = base.child(f"graphsweep-{uuid.uuid4().hex}")
            here = opened(place)
            if here is None:
                raise refuse_unreachable(base)
            try:
                self._parents = make_directories(here.parent)
                self._made = here, place.uri
                if here.is_local:
                    os.mkdir(here.path, 0o700)  # what is in the tables is nobody else's business
                else:
                    here.filesystem.create_dir(here.path)
                write_marker(here, SCRATCH, process_facts())
            except (OSError, pa.ArrowException) as error:
                raise unwritable(self._base, error) from error
            _sweep(here)
        return self._made[1]

    def discard(self) -> None:
        """Removes it, with directories above that were made for it."""
        if self._made is not None and os.getpid() == self._process:  # a child that was forked ends with the same words
            with suppress(OSError, pa.ArrowException):
                remove_directory(self._made[0])
            remove_empty(self._parents)
            self._made = None

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def _sweep(own: Opened) -> None:
    """Removes the directories beside our own whose processes have ended."""
    with suppress(OSError, pa.ArrowException):
        now = own.info.mtime
        for name in list_directory(own.parent):
            other = own.sibling(name)
            if not _NAME.fullmatch(name) or name == own.name:
                continue
            marker = read_marker(other)
            if marker is None or marker["kind"] != SCRATCH:
                continue
            made = other.info.mtime
            old = now is not None and made is not None and (now - made).total_seconds() > FORGOTTEN
            if not is_alive(marker) if is_this_machine(marker) else old:
                with suppress(OSError, pa.ArrowException):
                    remove_directory(other)
