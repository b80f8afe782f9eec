"""A few files of an object store, brought to this machine.

Comes in: a place, which names are wanted. Goes out: a directory with these files and nothing else, for as long as the
process lives. Knows nothing of what they hold.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.errors import unreadable
from pipeline.places.directories import list_directory
from pipeline.places.filesystem import opened
from pipeline.places.place import Place, refuse_unreachable
from pipeline.places.scratch import Scratch

CONTENT = "content"  # beside the marker of the scratch directory


def brought(place: Place, wanted: Callable[[str], bool]) -> str:
    """The directory, with those files whose names are wanted.

    StorageError if this process has no way to the place, or may not read it.
    """
    there = opened(place)
    if there is None:
        raise refuse_unreachable(place)
    scratch = Scratch(None)  # the next run removes what a killed one has left
    atexit.register(scratch.discard)
    directory = f"{scratch.make()}/{CONTENT}"
    try:
        os.mkdir(directory)
        for name in filter(wanted, list_directory(there)):
            file = there.child(name)
            if file.info.type == fs.FileType.File:
                fs.copy_files(
                    file.path,
                    f"{directory}/{name}",
                    source_filesystem=file.filesystem,
                    destination_filesystem=fs.LocalFileSystem(),
                )
    except (OSError, pa.ArrowException) as error:
        raise unreadable(str(place), error) from error
    return directory
