"""Where a page goes: a file that appears whole or not at all, and takes the place of nothing but an older page.

Comes in: the path of a file or of a folder. Goes out: a file. Knows nothing of what is in a page but its first lines,
by which it is known again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import Any

from pipeline.errors import SettingError, StorageError, unwritable
from pipeline.places.beside import beside, new_run
from pipeline.places.directories import make_directories, remove_empty
from pipeline.places.filesystem import Opened, opened
from pipeline.places.given import path_of
from pipeline.places.place import Place, refuse_overlap

ENDINGS = (".html", ".htm")
OURS = '<meta name="generator" content="graphsweep">'
HEAD = 1000
"""Letters of a file that are read to know it again."""


class PageFile:
    """A file that is going to be a page."""

    def __init__(self, place: Place, what: str) -> None:
        self.place, self._what = place, what
        self._target: Opened = _opened(place)

    @property
    def path(self) -> str:
        """As the user wrote it; of a folder with the name of the page."""
        return str(self.place)

    @staticmethod
    def asked(
        given: str | os.PathLike[str], command: str, reads: Mapping[str, Place], what: str = "report"
    ) -> PageFile:
        """The page that was asked for. Before any work.

        Parameters
        ----------
        given
            A file whose name ends in .html, or a folder: then the page has the command and the time in its name.
        reads
            What the page must not be, hold or lie in: "the output" → where it is.
        what
            What the page is called in messages.

        Raises
        ------
        SettingError, StorageError
            If the page cannot go there. Nothing is touched then, and nothing left behind.
        """
        place = Place.of(path_of(f"the {what}", given))
        if not place.is_local:
            raise SettingError(f"{place}: a {what} is a file of this machine; give a path on a disk")
        text = os.fspath(given)
        is_folder = text.endswith("/") or os.path.isdir(place.path) or not place.name.lower().endswith(ENDINGS)
        if is_folder:
            if os.path.lexists(place.path) and not os.path.isdir(place.path):
                raise SettingError(
                    f"{place}: is a file; a {what} is a file whose name ends in .html, or goes into a folder"
                )
            name = f"{command}-{new_run()}.html"
            place = Place.of(os.path.join(text, name))
        refuse_overlap(place, reads, f"the {what}")
        page = PageFile(place, what)
        page._try()
        return page

    def holds(self, run: str) -> bool:
        """Whether there is a page of this run already."""
        return bool(run) and _of_run(run) in self._head()

    def write(self, text: str) -> None:
        """Puts the page in place. StorageError if that cannot be."""
        made: Sequence[Opened] = ()
        temporary = self._temporary()
        try:
            made = make_directories(self._target.parent)
            self._refuse_other()
            with open(temporary, "x", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.replace(temporary, self._target.path)
        except BaseException as error:
            with suppress(OSError):
                os.remove(temporary)
            remove_empty(made)
            if isinstance(error, OSError) and not isinstance(error, StorageError):
                raise unwritable(self.path, error) from error
            raise

    def _try(self) -> None:
        """That a file can be made there shows by making one."""
        made: Sequence[Opened] = ()
        try:
            self._refuse_other()
            made = make_directories(self._target.parent)
            temporary = self._temporary()
            with open(temporary, "x"):
                pass
            os.remove(temporary)
        except StorageError:
            raise
        except OSError as error:
            raise unwritable(self.path, error) from error
        finally:
            remove_empty(made)

    def _refuse_other(self) -> None:
        path = self._target.path
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not os.path.isfile(path) or OURS not in self._head():
            raise StorageError(
                f"{self.path}: exists already, and is no {self._what} of graphsweep; give another path. Nothing was "
                "touched"
            )

    def _head(self) -> str:
        try:
            with open(self._target.path, encoding="utf-8", errors="replace") as file:
                return file.read(HEAD)
        except OSError:
            return ""

    def _temporary(self) -> str:
        return self._target.sibling(beside(self._target.name, new_run())).path


def marks(run: str | None) -> str:
    """What the head of a page has to hold, as HTML: by it the page is known again, and its run."""
    return OURS + (_of_run(run) if run else "")


def _of_run(run: str) -> str:
    return f'<meta name="graphsweep-run" content="{escape(run)}">'


def _opened(place: Place) -> Opened:
    """A link is followed: the page is replaced where it leads to, and the link stays."""
    found: Any = opened(place)
    return Opened(found.filesystem, os.path.realpath(found.path))
