"""What a run has done so far, in its work directory: which supersteps, and the files that they have left.

Comes in: a place, and facts that say which run it is: its graph, model, settings. Goes out: the journal of its
supersteps. When the run has ended well its files go, and the marker says so. The directory itself: places/working.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.blocks.storage import find_manifest
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.places.working import (
    BEGUN,
    DONE,
    GRAPH,
    PREPARED,
    Facts,
    Journal,
    damaged,
    locked,
    new_marker,
    remove_folder,
)
from pipeline.run.through_files import Files, Stored


class Work:
    """The supersteps that are done."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.files = Files(journal.path, checksums=True)

    def done(self) -> dict[int, list[Stored]]:
        """Superstep → the receipts of all its blocks."""
        try:
            supersteps = self._journal.marker["supersteps"].items()
            return {int(number): [Stored(*row) for row in rows] for number, rows in supersteps}
        except (AttributeError, TypeError, ValueError) as error:
            raise damaged(self._journal.place, error) from None

    def note(self, superstep: int, stored: Sequence[Stored]) -> None:
        """All blocks of a superstep are done: what the superstep before left is removed."""
        self._journal.marker["supersteps"][str(superstep)] = stored
        self._journal.write()
        if superstep:
            remove_folder(self.files.superstep(superstep - 1))

    def end(self) -> None:
        """The run has ended well: its files go."""
        self._journal.write(state=DONE, supersteps={})
        self._journal.remove_files()
        remove_graph(self._journal.place)


@contextmanager
def work_directory(place: Place, facts: Facts, plan: Facts) -> Iterator[Work]:
    """The work directory at a place; nobody else works in it meanwhile. `plan`: what is told to people who ask. Errors
    as of `locked`."""
    with locked(place, {BEGUN: facts, PREPARED: {}}) as here:
        marker = read_marker(here)
        if marker is None or marker.get("state") != BEGUN:
            marker = {**new_marker(BEGUN, facts, plan), "supersteps": {}}
        names = ("of", "plan", "state", "begun", "supersteps")
        journal = Journal(place, here, {name: marker[name] for name in names})
        journal.write()
        yield Work(journal)


def remove_graph(place: Place) -> None:
    """Removes the graph that was prepared in a work directory, if there is one."""
    path = place.child(GRAPH).uri
    if find_manifest(path) is not None:
        remove_folder(path)
